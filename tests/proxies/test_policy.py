"""What may cross a link, against a second reading of the rules that shares no code."""

from __future__ import annotations

import itertools
import random
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trioworkers.messages as bus
from tests.wire.samples import BASES, BUILT_IN, Plain
from trioworkers import BusDataMessage, BusLocalMessage, BusSystemMessage, message
from trioworkers._values import WorkerRegistryEntry
from trioworkers.messages import BusMessage, FrameDirection, JobStatus
from trioworkers.proxies import SESSION_CONTROL, Decision, ProxyPolicy
from trioworkers.wire import ForeignMessage


@message
class Tick(BusDataMessage):
    pass


@message
class Tock(Tick):
    pass


@message
class Urgent(BusSystemMessage):
    pass


@message
class Private(Tick, BusLocalMessage):
    pass


@message
class SneakyEnd(bus.BusEndMessage):
    """Session control by another name."""


@message
class LocalEnd(bus.BusEndMessage, BusLocalMessage):
    pass


@message
class Odd(BusMessage):
    """Is in no lane."""


@message
class SneakyUpdate(bus.BusJobUpdateMessage):
    """An event of a job by another name."""


@message
class SneakyRegistry(bus.BusWorkerRegistryMessage):
    """An announcement by another name."""


@message
class LocalRegistry(bus.BusWorkerRegistryMessage, BusLocalMessage):
    pass


OWN = [
    LocalRegistry,
    Tick,
    Tock,
    Urgent,
    Private,
    SneakyEnd,
    LocalEnd,
    SneakyRegistry,
    ForeignMessage,
]
TYPES: list[type[BusMessage]] = [*BUILT_IN, *OWN]
NAMES = ["acme", "assistant", "bank", "", "Acme", "acme ", "gateway"]
TARGETS = [None, *NAMES]
ENDS = (bus.BusJobResponseMessage, bus.BusJobResponseUrgentMessage, bus.BusJobStreamEndMessage)

FIELDS: dict[str, Any] = {
    "frame": Plain("x"),
    "direction": FrameDirection.UPSTREAM,
    "text": "x",
    "worker": None,
    "runner": "runner",
    "workers": [WorkerRegistryEntry("assistant")],
    "error": "x",
    "job_id": "1",
    "status": JobStatus.COMPLETED,
    "tag": "x",
    "detail": "y",
}


def make(cls: Any, source: str, target: str | None, workers: list[str] | None = None) -> Any:
    """Make a message of any type."""
    needed = {
        each.name: FIELDS[each.name]
        for each in attrs.fields(cls)
        if each.default is attrs.NOTHING and each.name not in {"source", "target"}
    }
    if workers is not None and "workers" in needed:
        needed["workers"] = [WorkerRegistryEntry(name) for name in workers]
    return cls(source=source, target=target, **needed)


def may_cross(  # the second reading: S-PROXY-2 and S-PROXY-3, sentence by sentence
    sent: Any,
    inward: bool,
    forward: tuple[type, ...],
    accept: tuple[type, ...] | None,
) -> bool:
    """Read the rules once more, in the order of the text."""
    kind = type(sent)
    mro = kind.__mro__
    local, remote = "acme", "assistant"
    # "Local-only types are refused in both directions."
    if BusLocalMessage in mro:
        return False
    # What is no message here is a dead letter.
    if ForeignMessage in mro:
        return False
    # "Announcements are accepted for the configured worker name only."  "Both sides announce":
    # the proxy does, nobody else.
    if bus.BusWorkerRegistryMessage in mro:
        if not inward:
            return False
        return [each.name for each in sent.workers] == [remote] and sent.target in (None, local)
    near, far = (remote, local) if inward else (local, remote)
    # "Outbound: source is the local worker"; "Inbound: source is the remote worker".
    if sent.source != near:
        return False
    # "Session control crosses only when named in `forward_messages`."
    controls = (
        bus.BusEndMessage,
        bus.BusCancelMessage,
        bus.BusEndWorkerMessage,
        bus.BusCancelWorkerMessage,
    )
    is_control = any(each in mro for each in controls)
    named = kind in forward
    if is_control and not named:
        return False
    # "for a type in `forward_messages` the target may also be `None`".
    forwarded = named or (not is_control and any(each in mro for each in forward))
    if not (sent.target == far or (sent.target is None and forwarded)):
        return False
    if accept is None:
        return True
    # "`accept=` narrows what comes in", and no request may wait for an answer that cannot come in.
    if inward:
        return any(each in mro for each in accept)
    if bus.BusJobRequestMessage in mro:
        return all(any(each in answer.__mro__ for each in accept) for answer in ENDS)
    return True


def compare(
    cls: type[BusMessage],
    source: str,
    target: str | None,
    workers: list[str],
    forward: tuple[type[BusMessage], ...],
    accept: tuple[type[BusMessage], ...] | None,
) -> None:
    """Ask the policy and the second reading about one message, both ways."""
    policy = ProxyPolicy("acme", "assistant", forward_messages=forward, accept=accept)
    sent = make(cls, source, target, workers)
    out, back = policy.outbound(sent), policy.inbound(sent)
    assert bool(out) is may_cross(sent, False, forward, accept), out
    assert bool(back) is may_cross(sent, True, forward, accept), back
    assert out.receiver == ("assistant" if out else None)
    announced = isinstance(sent, bus.BusWorkerRegistryMessage)
    assert back.receiver == ("acme" if back and not announced else None)
    assert bool(out.reason) is not out.allowed
    assert bool(back.reason) is not back.allowed


ALL = [cls for cls in (*TYPES, *BASES) if not issubclass(cls, BusLocalMessage)]
TUPLES = st.lists(st.sampled_from(ALL), max_size=4, unique=True).map(tuple)


@settings(deadline=None, max_examples=500)
@given(
    st.sampled_from(TYPES),
    st.sampled_from(NAMES),
    st.sampled_from(TARGETS),
    st.lists(st.sampled_from(NAMES), max_size=3),
    TUPLES,
    st.none() | TUPLES,
)
def test_nothing_forbidden_crosses(cls, source, target, workers, forward, accept) -> None:
    """S-PROXY-2: whatever the message and the settings, only what the rules allow crosses."""
    compare(cls, source, target, workers, forward, accept)


def test_every_type_name_and_target() -> None:
    """S-PROXY-2: the whole table of types, sources and targets, without and with settings."""
    settings_: list[tuple[tuple[type[BusMessage], ...], tuple[type[BusMessage], ...] | None]] = [
        ((), None),
        ((bus.BusFrameMessage,), None),
        ((BusMessage,), None),
        (SESSION_CONTROL, None),
        (tuple(cls for cls in TYPES if cls in ALL), None),
        ((), ()),
        ((), (bus.BusFrameMessage, Tick)),
        ((Tick,), (BusDataMessage,)),
    ]
    for cls, source, target in itertools.product(TYPES, NAMES, TARGETS):
        for forward, accept in settings_:
            compare(cls, source, target, ["assistant"], forward, accept)


def test_many_at_random() -> None:
    """S-PROXY-2: ten thousand more, settings and all."""
    chance = random.Random(2)
    for _ in range(10_000):
        forward = tuple(chance.sample(ALL, chance.randrange(4)))
        accept = tuple(chance.sample(ALL, chance.randrange(4))) if chance.random() < 0.5 else None
        workers = chance.choices(NAMES, k=chance.randrange(3))
        source, target = chance.choice(NAMES[:3]), chance.choice(TARGETS[:4])
        compare(chance.choice(TYPES), source, target, workers, forward, accept)


def test_what_was_asked_before_does_not_matter() -> None:
    """S-PROXY-2: a policy that has seen many messages decides as a new one."""
    chance = random.Random(3)
    for forward, accept in (((), None), ((BusMessage,), (Tick,)), (SESSION_CONTROL, None)):
        old = ProxyPolicy("acme", "assistant", forward_messages=forward, accept=accept)
        for _ in range(5000):
            sent = make(chance.choice(TYPES), chance.choice(NAMES[:3]), chance.choice(TARGETS[:4]))
            new = ProxyPolicy("acme", "assistant", forward_messages=forward, accept=accept)
            assert old.outbound(sent) == new.outbound(sent)
            assert old.inbound(sent) == new.inbound(sent)


# The rules one by one, as a reader would look for them.


@pytest.fixture
def policy() -> ProxyPolicy:
    """Make the policy of acme's proxy, as in most examples."""
    return ProxyPolicy("acme", "assistant", forward_messages=(bus.BusFrameMessage,))


def frame(source: str, target: str | None = None) -> Any:
    """Make a frame message."""
    return make(bus.BusFrameMessage, source, target)


def test_forwarded_types_reach_the_named_worker_only(policy: ProxyPolicy) -> None:
    """S-PROXY-2: a frame without target goes to the named worker; one to a bystander goes nowhere."""
    assert policy.outbound(frame("acme")) == Decision(True, "assistant")
    assert policy.inbound(frame("assistant")) == Decision(True, "acme")
    assert policy.inbound(frame("assistant", "bank")).reason == (
        "its target is 'bank', only 'acme' can be reached"
    )
    assert not policy.outbound(frame("acme", "bank"))
    assert not policy.outbound(frame("acme", "acme"))


def test_sources_cannot_be_forged(policy: ProxyPolicy) -> None:
    """S-PROXY-2: what says that it is from somebody else is refused, in both directions."""
    assert policy.inbound(frame("bank")).reason == (
        "its source is 'bank', only 'assistant' may send through this proxy"
    )
    assert not policy.inbound(frame("acme"))
    assert not policy.outbound(frame("bank"))
    assert not policy.outbound(frame(""))


def test_broadcasts_stay_at_home(policy: ProxyPolicy) -> None:
    """S-PROXY-2: a message without target crosses only if its type is forwarded."""
    assert policy.outbound(make(Tick, "acme", "assistant"))
    assert policy.outbound(make(Tick, "acme", None)).reason == (
        "it has no target, and Tick is not in forward_messages=(...)"
    )


@pytest.mark.parametrize("cls", SESSION_CONTROL)
def test_session_control_has_to_be_named(cls: type[BusMessage]) -> None:
    """S-PROXY-2: no peer can stop anything, unless exactly that was allowed; a base class is not."""
    sent = make(cls, "assistant", "acme")
    for forward in ((), (BusMessage,), (BusDataMessage, BusSystemMessage), (bus.BusFrameMessage,)):
        decision = ProxyPolicy("acme", "assistant", forward_messages=forward).inbound(sent)
        assert decision.reason == (
            f"{cls.__name__} stops others and is not in forward_messages=(...)"
        )
    policy = ProxyPolicy("acme", "assistant", forward_messages=(cls,))
    assert policy.inbound(sent) == Decision(True, "acme")
    assert policy.inbound(make(cls, "assistant", None)) == Decision(True, "acme")
    assert not policy.inbound(make(cls, "assistant", "runner"))


def test_a_subclass_of_session_control_is_session_control() -> None:
    """S-PROXY-2: naming a class does not let its subclasses stop anything."""
    policy = ProxyPolicy("acme", "assistant", forward_messages=(bus.BusEndMessage, Tick))
    assert not policy.inbound(make(SneakyEnd, "assistant", "acme"))


def test_activation_crosses(policy: ProxyPolicy) -> None:
    """S-PROXY-2: activation and deactivation cross, both ways."""
    for cls in (bus.BusActivateWorkerMessage, bus.BusDeactivateWorkerMessage):
        assert policy.outbound(make(cls, "acme", "assistant"))
        assert policy.inbound(make(cls, "assistant", "acme"))


@pytest.mark.parametrize("cls", [cls for cls in TYPES if issubclass(cls, BusLocalMessage)])
def test_local_only_types_never_cross(cls: type[BusMessage]) -> None:
    """S-PROXY-2: a local-only type is refused in both directions, and cannot be named."""
    policy = ProxyPolicy("acme", "assistant", forward_messages=(BusMessage,))
    for setting in ("forward_messages", "accept"):
        rules: dict[str, Any] = {setting: (Tick, cls)}
        with pytest.raises(ValueError, match=f"{setting}: {cls.__name__} is local-only and never"):
            ProxyPolicy("acme", "assistant", **rules)
    assert policy.outbound(make(cls, "acme", "assistant")).reason.endswith("is local-only")
    assert policy.inbound(make(cls, "assistant", "acme")).reason.endswith("is local-only")


def test_accept_narrows(policy: ProxyPolicy) -> None:
    """S-PROXY-2: with `accept`, other types do not come in; what goes out is not narrowed."""
    narrow = ProxyPolicy("acme", "assistant", accept=(Tick,))
    assert narrow.inbound(make(Tock, "assistant", "acme"))
    assert narrow.inbound(make(Urgent, "assistant", "acme")).reason == (
        "Urgent is not in accept=(...)"
    )
    assert narrow.outbound(make(Urgent, "acme", "assistant"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(Odd, "it has no lane"), (SneakyUpdate, "derived from a message of the job")],
)
def test_what_no_bus_takes_crosses_no_proxy(kind: type[BusMessage], reason: str) -> None:
    """S-PROXY-2: what could not be sent here is refused both ways, even if it is named."""
    policy = ProxyPolicy("acme", "assistant", forward_messages=(kind,), accept=(kind,))
    assert reason in policy.outbound(make(kind, "acme", "assistant")).reason
    assert reason in policy.inbound(make(kind, "assistant", "acme")).reason


def test_a_request_whose_answer_cannot_come_in_is_refused() -> None:
    """S-PROXY-2: `accept` without the answers refuses the request, so that nobody waits for ever."""
    request = make(bus.BusJobRequestMessage, "acme", "assistant")
    assert ProxyPolicy("acme", "assistant", accept=ENDS).outbound(request)
    for accept in ((), (Tick,), *itertools.combinations(ENDS, 2)):
        decision = ProxyPolicy("acme", "assistant", accept=accept).outbound(request)
        (missing, *_) = (kind.__name__ for kind in ENDS if kind not in accept)
        assert decision.reason == f"accept=(...) leaves out {missing}, which can end the job"


@pytest.mark.parametrize(
    ("workers", "allowed"),
    [
        (["assistant"], True),
        ([], False),
        (["bank"], False),
        (["acme"], False),
        (["assistant", "bank"], False),
        (["assistant", "assistant"], False),
        (["Assistant"], False),
    ],
)
def test_only_the_configured_worker_is_announced(workers: list[str], allowed: bool) -> None:
    """S-PROXY-3: an announcement names the configured worker and nobody else, whoever sends it."""
    narrow = ProxyPolicy("acme", "assistant", accept=())
    for source, target in itertools.product(["gateway", "assistant", "acme"], [None, "acme"]):
        sent = make(bus.BusWorkerRegistryMessage, source, target, workers)
        assert narrow.inbound(sent).allowed is allowed
        assert not narrow.outbound(sent)
    elsewhere = make(bus.BusWorkerRegistryMessage, "gateway", "bank", workers)
    assert narrow.inbound(elsewhere).reason == "an announcement to 'bank'"


def test_settings_are_checked() -> None:
    """S-PROXY-2: names have to be names, two different ones, and types have to be message classes."""
    with pytest.raises(ValueError, match="both 'acme'"):
        ProxyPolicy("acme", "acme")
    for local, remote in (("", "a"), ("a", "b/c"), ("a", "x" * 129)):
        with pytest.raises(ValueError, match="is not allowed"):
            ProxyPolicy(local, remote)
    for bad in (int, "BusFrameMessage", Tick(source="a"), BusLocalMessage):
        with pytest.raises(TypeError, match=r"forward_messages: .* is no message class"):
            ProxyPolicy("a", "b", forward_messages=(bad,))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"accept: .* is no message class"):
            ProxyPolicy("a", "b", accept=[bad])  # type: ignore[list-item]


@pytest.mark.parametrize("given", [Tick, "Tick", 7, None])
def test_one_class_is_not_several(given: Any) -> None:
    """S-PROXY-2: a class without the tuple round it is an error that shows the tuple."""
    with pytest.raises(TypeError, match=r"forward_messages takes several message classes, such as"):
        ProxyPolicy("acme", "assistant", forward_messages=given)
