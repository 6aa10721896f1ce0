"""What a peer of Pipecat's can do to the process at the other end of its link.

Every test lets a hostile peer try, over a link, and looks at its victim: first a server proxy, then a
client proxy.  On the victim's bus are `assistant`, which the proxy exposes to the peer's `acme`, and a
bystander, `secret`, which is nobody's business.

| Id | What it is about | Test |
|---|---|---|
| P1, P11 | a forwarded type comes in for anybody | `test_p1_p11_...` |
| P13 | a forwarded type goes out to anybody | `test_p13_...` |
| P3 | a forged source | `test_p3_...` |
| P4, B5 | local-only types come in | `test_p4_b5_...` |
| P5 | the peer deactivates the worker | `test_p5_...` |
| P6, P16 | the peer stops the whole runner | `test_p6_p16_...` |
| P12 | the peer announces what it likes | `test_p12_...` |
| S1 | the peer has modules imported and objects made | `test_s1_...` |
| S2 | the peer fills a cache | `test_s2_...` |
| J16 | the peer answers jobs of others | `test_j16_...` |

P2 and P9 are no weaknesses of the peer's: it does right there.
"""

from __future__ import annotations

import gc
import json
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
import trio.testing

from tests.jobs import Alarm, Note, Server, outcome_of
from tests.proxies.pairs import KNOWN, Far, Side, connecting, served
from trioworkers import (
    BusActivateWorkerMessage,
    BusAddWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusFrameMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobUpdateMessage,
    BusMessage,
    BusSystemMessage,
    BusWorkerLocalErrorMessage,
    BusWorkerRegistryMessage,
    FrameDirection,
    JobStatus,
    JSONMessageSerializer,
    WorkerGoneError,
    WorkerRegistryEntry,
    WorkerState,
)
from trioworkers.abc import MessageSerializer
from trioworkers.testing import Probe

PACKAGE = "pipecat.bus.messages"

ROLES = pytest.mark.parametrize("role", ["server", "client"])


@attrs.frozen
class Text:
    text: str


def writer() -> JSONMessageSerializer:
    """Make what both sides write with."""
    return JSONMessageSerializer(messages=KNOWN, frames=(Text,))


def frame(text: str = "hello", **head: Any) -> BusFrameMessage:
    """Make a message with a frame."""
    return BusFrameMessage(frame=Text(text), direction=FrameDirection.DOWNSTREAM, **head)


def by_hand(tag: str, data: dict[str, Any]) -> bytes:
    """Write a message as only a peer does who wants to."""
    return json.dumps({"__type__": tag, "__data__": data}).encode()


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


class Victim:
    """A runner with `assistant`, whom its peer may talk to, and with `secret`."""

    def __init__(self, side: Side, far: Far) -> None:
        self.side, self.far = side, far
        far.serializer = writer()
        self.runner = side.runner
        self.assistant = side.worker("assistant")
        self.secret = side.worker("secret")

    async def refuses(self, *reasons: str) -> None:
        """Check that what was tried has reached nobody, and is told with these reasons."""
        await settle()
        letters = self.side.letters.take()
        assert len(letters) == len(reasons), letters
        for (kind, detail), reason in zip(letters, reasons, strict=True):
            assert kind in {"refused", "undecodable"}
            assert reason in detail
        assert self.secret.none_left()
        assert self.assistant.none_left()
        assert self.side.proxy.connected
        assert self.secret.state is self.assistant.state is WorkerState.READY
        assert self.runner.state is WorkerState.READY


@asynccontextmanager
async def victim(role: str, **settings: Any) -> AsyncGenerator[Victim]:
    """Run a victim with a link to the test, at the server's or at the client's end."""
    hears = (*KNOWN, BusFrameMessage)
    workers = [Probe("assistant", hears=hears), Probe("secret", hears=hears)]
    settings = {"serializer": writer(), **settings}
    if role == "server":
        async with served(*workers, capacity=100, **settings) as (side, far):
            await far.end.receive()
            yield Victim(side, far)
    else:
        names = {"local_worker_name": "assistant", "remote_worker_name": "acme"}
        async with connecting(*workers, **names, **settings) as (side, network):
            far = Far(await network.accept(), "acme", "assistant")
            await far.end.receive()
            yield Victim(side, far)


@ROLES
async def test_p1_p11_a_forwarded_type_is_for_the_named_worker_only(
    role: str, autojump_clock: Any
) -> None:
    """Peer: forwarded types come in for anybody, from anybody.  Ours: for the exposed worker only.

    What has no target is for that worker, too; a bystander that hears such broadcasts gets none.
    """
    async with victim(role, forward_messages=(BusFrameMessage, Note)) as v:
        await v.far.say(
            frame(source="acme", target="secret"),
            Note(source="acme", target="secret"),
            frame(source="secret", target="assistant"),
            frame(source="secret"),
            frame(source=""),
            Note(source="runner", target="secret"),
        )
        at_secret = "its target is 'secret', only 'assistant' can be reached"
        forged = "its source is 'secret', only 'acme' may send"
        await v.refuses(at_secret, at_secret, forged, forged, "source is ''", "source is 'runner'")
        await v.far.say(
            frame("to all", source="acme"), frame("to it", source="acme", target="assistant")
        )
        got = [await v.assistant.receive(BusFrameMessage) for _ in range(2)]
        assert [(each.source, each.target, each.frame.text) for each in got] == [
            ("acme", "assistant", "to all"),
            ("acme", "assistant", "to it"),
        ]
        await v.refuses()


@ROLES
async def test_p13_a_forwarded_type_leaves_for_the_remote_worker_only(
    role: str, autojump_clock: Any
) -> None:
    """Peer: forwarded types leave whatever their target.  Ours: only those for the remote worker.

    Nor do those of other workers leave, be they for the remote worker.
    """
    async with victim(role, forward_messages=(BusFrameMessage,)) as v:
        await v.assistant.send(frame("private", target="secret"))
        await v.assistant.send(frame("to the runner", target="runner"))
        await v.secret.send(frame("of another", target="acme"))
        await v.secret.send(frame("of another, to all"))
        await v.assistant.send(frame("to all"))
        await v.assistant.send(frame("to it", target="acme"))
        heard = [await v.far.hear(BusFrameMessage) for _ in range(2)]
        assert [(each.source, each.frame.text) for each in heard] == [
            ("assistant", "to all"),
            ("assistant", "to it"),
        ]
        with trio.move_on_after(1):
            raise AssertionError(await v.far.next())
        at_secret = [await v.secret.receive(BusFrameMessage) for _ in range(2)]
        assert [each.frame.text for each in at_secret] == ["private", "to all"]
        assert (await v.assistant.receive(BusFrameMessage)).frame.text == "of another, to all"
        letters: list[Any] = v.side.letters.kept
        assert [(each.reason, each.message.frame.text) for each in letters] == [
            ("unknown", "to the runner"),
            ("refused", "of another"),
        ]


@ROLES
@pytest.mark.parametrize("source", ["secret", "assistant", "runner", "gateway", "proxy", ""])
async def test_p3_a_source_cannot_be_forged(role: str, source: str, autojump_clock: Any) -> None:
    """Peer: a request in another's name is done, and answered to that one.  Ours: refused."""
    async with victim(role) as v:
        request = {"source": source, "target": "assistant", "job_name": "count", "payload": {}}
        await v.far.say(
            BusJobRequestMessage(job_id="1", **request),
            Note(source=source, target="assistant"),
            BusDeactivateWorkerMessage(source=source, target="assistant"),
        )
        await v.refuses(*[f"its source is {source!r}, only 'acme' may send"] * 3)
        assert v.assistant.active
        with trio.move_on_after(1):
            raise AssertionError(await v.far.next())


@ROLES
@pytest.mark.parametrize("target", ["assistant", "secret", "runner", None])
async def test_p4_b5_local_only_types_stay_out(
    role: str, target: str | None, autojump_clock: Any
) -> None:
    """Peer: a local-only type of the network's is dispatched.  Ours: read by nobody, even if named."""
    head = {"source": "acme"} if target is None else {"source": "acme", "target": target}
    forward = (BusSystemMessage, BusDataMessage)
    async with victim(role, forward_messages=forward) as v:
        await v.far.say(
            by_hand(f"{PACKAGE}.BusWorkerLocalErrorMessage", {**head, "error": "boo"}),
            by_hand(f"{PACKAGE}.BusAddWorkerMessage", {**head, "worker": None}),
            by_hand(f"{PACKAGE}.BusAddWorkerMessage", {**head, "worker": {"name": "mole"}}),
        )
        await v.refuses(*["local-only"] * 3)
        assert v.runner.bus.route("mole") is None


class Reckless(MessageSerializer):
    """Reads the name of a class as an order to make one."""

    def serialize(self, message: BusMessage) -> bytes:
        return b""

    def deserialize(self, data: bytes) -> BusMessage:
        if data == b"add":
            return BusAddWorkerMessage(source="acme", target="assistant", worker=None)
        return BusWorkerLocalErrorMessage(source="acme", target="assistant", error="boo")


@ROLES
async def test_p4_b5_whatever_a_serializer_reads(role: str, autojump_clock: Any) -> None:
    """Peer: what the serializer can read is dispatched.  Ours: a local-only type is refused again."""
    forward = (BusSystemMessage, BusDataMessage)
    async with victim(role, serializer=Reckless(), forward_messages=forward) as v:
        await v.far.say(b"add", b"error")
        await v.refuses(
            "BusAddWorkerMessage is local-only", "BusWorkerLocalErrorMessage is local-only"
        )


@ROLES
async def test_p5_the_peer_activates_the_exposed_worker_only(
    role: str, autojump_clock: Any
) -> None:
    """Peer: its worker may deactivate ours.  Ours: so it may, but none else; `accept=` forbids it."""
    kinds = (BusDeactivateWorkerMessage, BusActivateWorkerMessage)
    async with victim(role) as v:
        for kind, active in zip(kinds, (False, True), strict=True):
            for target in ("secret", v.side.proxy.name, None):
                await v.far.say(kind(source="acme", target=target))
            named = ["only 'assistant' can be reached"] * 2
            await v.refuses(*named, f"{kind.__name__} is not in forward_messages")
            assert v.secret.active
            assert v.assistant.active is not active
            await v.far.tell(kind)
            await v.refuses()
            assert v.assistant.active is active
    async with victim(role, accept=(BusJobRequestMessage,)) as v:
        for kind in kinds:
            await v.far.tell(kind)
            await v.refuses(f"{kind.__name__} is not in accept=(...)")
            assert v.assistant.active


CONTROL = [BusCancelMessage, BusEndMessage, BusCancelWorkerMessage, BusEndWorkerMessage]


@ROLES
@pytest.mark.parametrize("kind", CONTROL)
async def test_p6_p16_the_peer_stops_nothing(
    role: str, kind: type[BusMessage], autojump_clock: Any
) -> None:
    """Peer: its worker cancels our whole runner.  Ours: nothing stops, even if all is forwarded."""
    for forward in ((), (BusSystemMessage, BusDataMessage)):
        async with victim(role, forward_messages=forward) as v:
            for target in ("assistant", "secret", "runner", None):
                await v.far.tell(kind, target=target)
            await v.refuses(*[f"{kind.__name__} stops others and is not in forward_messages"] * 4)


@ROLES
@pytest.mark.parametrize("kind", CONTROL)
async def test_p6_p16_a_peer_that_may_stop_stops_the_exposed_worker_only(
    role: str, kind: type[BusMessage], autojump_clock: Any
) -> None:
    """Peer: a cancel for the exposed worker stops the whole runner.  Ours: that worker, if named."""
    async with victim(role, forward_messages=(kind,)) as v:
        for target in ("secret", "runner"):
            await v.far.tell(kind, target=target)
        await v.refuses(*["only 'assistant' can be reached"] * 2)
        await v.far.tell(kind, target=None)
        await v.assistant.wait_stopped()
        await settle()
        assert v.secret.state is v.runner.state is WorkerState.READY
        assert v.side.proxy.connected
        assert v.side.letters.take() == []


@ROLES
@pytest.mark.parametrize("runner", ["far", "runner", "", "secret"])
async def test_p12_the_peer_announces_its_worker_only(
    role: str, runner: str, autojump_clock: Any
) -> None:
    """Peer: any announcement is believed, also of names that exist here.  Ours: of its one worker's."""
    async with victim(role) as v:
        registry = v.runner.registry
        before = registry.entries()
        lists = [["bank"], ["secret"], ["assistant"], ["ghost"], ["acme", "bank"], [], ["runner"]]
        for names in lists:
            entries = [WorkerRegistryEntry(name, active=True) for name in names]
            message = BusWorkerRegistryMessage(source="acme", runner=runner, workers=entries)
            await v.far.say(message, attrs.evolve(message, target="assistant"))
        await v.refuses(*["only 'acme' may be announced"] * 14)
        assert registry.entries() == before
        mine = [WorkerRegistryEntry("acme", active=True)]
        told = BusWorkerRegistryMessage(source="acme", runner=runner, workers=mine)
        await v.far.say(attrs.evolve(told, target="secret"))
        await v.refuses("an announcement to 'secret'")
        assert registry.entries() == before
        await v.far.say(told)
        await v.refuses()
        assert registry.get("acme") is not None
        others = [entry for entry in registry.entries() if entry.name != "acme"]
        assert others == list(before)


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Make a module that tells when it is imported; gives its name."""
    name = "module_that_a_peer_names"
    (tmp_path / f"{name}.py").write_text(
        "import dataclasses, sys\n"
        "sys.imported_by_a_peer = True\n"
        "@dataclasses.dataclass\n"
        "class Bomb:\n"
        "    source: str = ''\n"
        "    target: str | None = None\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "imported_by_a_peer", False, raising=False)
    yield name
    sys.modules.pop(name, None)


@attrs.define
class Bomb:
    """A class that a peer wants made."""

    source: str = ""
    target: str | None = None
    made: Any = None

    def __attrs_post_init__(self) -> None:
        raise AssertionError("a peer has made an object")


@ROLES
async def test_s1_nothing_is_imported_for_a_peer(role: str, trap: str, autojump_clock: Any) -> None:
    """Peer: the module that a message names is imported, any dataclass in it made.  Ours: neither."""
    head = {"source": "acme", "target": "assistant"}
    tags = [f"{trap}.Bomb", f"{__name__}.Bomb", f"{__name__}:Bomb", "builtins.dict", trap]
    async with victim(role, forward_messages=(BusFrameMessage,)) as v:
        await v.far.say(*[by_hand(tag, head) for tag in tags])
        await v.refuses(*["unknown type"] * 5)
        request = {**head, "job_id": "1", "job_name": "count"}
        for tag in tags:
            typed = {"__type__": tag, "__data__": {"source": "x"}}
            await v.far.say(
                by_hand(f"{PACKAGE}.BusJobRequestMessage", {**request, "payload": {"a": [typed]}}),
                by_hand(f"{PACKAGE}.BusFrameMessage", {**head, "frame": typed, "direction": typed}),
            )
        await v.refuses(*["a value of the unknown type"] * 10)
    assert trap not in sys.modules
    assert not sys.imported_by_a_peer  # type: ignore[attr-defined]


def kept(pattern: str) -> set[str]:
    """Find the strings like this that anything holds."""
    gc.collect()
    holders: list[Any] = gc.get_objects()
    found: set[str] = set()
    # What many hold is looked at once.
    seen: dict[int, Any] = {}
    while holders:
        holder = holders.pop()
        # The collector does not look at the keys of a dict that are strings.
        keys = list(holder) if type(holder) is dict else []
        for each in (*gc.get_referents(holder), *keys):
            if isinstance(each, str) and re.fullmatch(pattern, each):
                found.add(each)
            elif type(each) in {dict, tuple} and not gc.is_tracked(each) and id(each) not in seen:
                seen[id(each)] = each
                holders.append(each)
    return found


@ROLES
async def test_s2_names_of_types_are_not_collected(role: str, autojump_clock: Any) -> None:
    """Peer: every name of a type is kept for ever.  Ours: none is; who sends many is sent away."""
    async with victim(role) as v:
        for n in range(100):
            # The log tells the first.
            part = "UnheardOf" if n else "First"
            await v.far.say(by_hand(f"{PACKAGE}.Bus{part}{n}", {"source": "acme"}))
            # So that it is let go on.
            await v.far.say(*[Alarm(source="acme", target="assistant")] * 8)
            await settle()
            assert await v.assistant.receive(Alarm)
        assert len(v.side.letters.take()) == 100
        assert len(kept(r"\S+UnheardOf\d+")) <= 1
        for n in range(32):
            await v.far.say(by_hand(f"{PACKAGE}.BusNo{n}", {}))
        await settle()
        assert v.side.proxy.connected
        await v.far.say(by_hand(f"{PACKAGE}.BusTooMany", {}))
        end = await v.far.until_closed()
        assert (end.code, end.by) == (1008, "peer")
        assert "too many unreadable messages" in end.reason


@ROLES
async def test_j16_an_answer_is_of_the_worker_that_was_asked(
    role: str, autojump_clock: Any
) -> None:
    """Peer: whoever knows a job's id completes it.  Ours: the worker that was asked, and it alone."""
    groups: list[Any] = []
    async with victim(role) as v, trio.open_nursery() as nursery:
        await v.runner.add_workers(Server("server"))

        async def ask() -> None:
            # A worker here, and the peer's.
            asked = v.assistant.job_group("server", "acme", name="nap", payload={"seconds": 9})
            async with asked as group:
                pass
            groups.append(group)

        nursery.start_soon(ask)
        mine = await v.far.hear(BusJobRequestMessage)
        (others,) = [each for each in v.runner.bus.open_requests if each != mine.job_id]
        forged = {"status": JobStatus.COMPLETED, "response": {"forged": True}}
        for job_id in (others, "of-nobody"):
            await v.far.tell(BusJobResponseMessage, job_id=job_id, **forged)
            await v.far.tell(BusJobResponseUrgentMessage, job_id=job_id, **forged)
            await v.far.tell(BusJobUpdateMessage, job_id=job_id, update={"forged": True})
            # In the name of the worker that was asked.
            await v.far.tell(BusJobResponseMessage, source="server", job_id=job_id, **forged)
        await settle()
        reasons = [reason for reason, _ in v.side.letters.take()]
        assert reasons == (["late reply"] * 3 + ["refused"]) * 2
        assert groups == []
        answer = {"status": JobStatus.COMPLETED, "response": {"n": 1}}
        await v.far.tell(BusJobResponseMessage, job_id=mine.job_id, **answer)
    assert groups[0].responses == {"server": {"seconds": 9}, "acme": {"n": 1}}


@ROLES
async def test_j16_a_stranger_completes_nothing(role: str, autojump_clock: Any) -> None:
    """Peer: a stranger's answer completes a job.  Ours: the job fails, as its link says nonsense."""
    outcomes: list[Any] = []
    async with victim(role) as v, trio.open_nursery() as nursery:

        async def ask() -> None:
            outcomes.append(await outcome_of(v.assistant.ask("acme", "nap")))

        nursery.start_soon(ask)
        request = await v.far.hear(BusJobRequestMessage)
        answer = {"status": JobStatus.COMPLETED, "response": {"forged": True}}
        await v.far.tell(BusJobResponseMessage, source="stranger", job_id=request.job_id, **answer)
        await v.refuses("its source is 'stranger', only 'acme' may send")
    (error,) = outcomes
    assert isinstance(error, WorkerGoneError)
    assert "its answer was not let through" in str(error)
