"""Messages: the closed set, the decorator that makes them, and names."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import trioworkers
from trioworkers import (
    BusDataMessage,
    BusEndMessage,
    BusLocalMessage,
    BusMessage,
    BusSystemMessage,
    FrameDirection,
    JobStatus,
    Worker,
    WorkerRunner,
    handles,
    message,
    messages,
    open_runner,
)
from trioworkers.messages import check_name, is_message_class, wire_tag

REQUIRED = attrs.NOTHING
DATA, SYSTEM = BusDataMessage, BusSystemMessage
JOB = {"job_id": REQUIRED}

# The messages of the specification: lane, whether local, and the fields with their defaults.
SPECIFIED: dict[str, tuple[type[BusMessage], bool, dict[str, Any]]] = {
    "BusFrameMessage": (
        DATA,
        False,
        {"frame": REQUIRED, "direction": REQUIRED, "bridge": None},
    ),
    "BusTTSSpeakMessage": (DATA, False, {"text": REQUIRED, "append_to_context": None}),
    "BusActivateWorkerMessage": (DATA, False, {"args": None}),
    "BusDeactivateWorkerMessage": (DATA, False, {}),
    "BusEndMessage": (DATA, False, {"reason": None}),
    "BusEndWorkerMessage": (DATA, False, {"reason": None}),
    "BusCancelMessage": (SYSTEM, False, {"reason": None}),
    "BusCancelWorkerMessage": (SYSTEM, False, {"reason": None}),
    "BusAddWorkerMessage": (SYSTEM, True, {"worker": REQUIRED}),
    "BusWorkerRegistryMessage": (SYSTEM, False, {"runner": REQUIRED, "workers": REQUIRED}),
    "BusWorkerReadyMessage": (
        DATA,
        False,
        {
            "runner": REQUIRED,
            "parent": None,
            "active": False,
            "bridged": False,
            "started_at": None,
        },
    ),
    "BusWorkerErrorMessage": (SYSTEM, False, {"error": REQUIRED}),
    "BusWorkerLocalErrorMessage": (SYSTEM, True, {"error": REQUIRED}),
    "BusJobRequestMessage": (DATA, False, {**JOB, "job_name": None, "payload": None}),
    "BusJobResponseMessage": (DATA, False, {**JOB, "status": REQUIRED, "response": None}),
    "BusJobResponseUrgentMessage": (SYSTEM, False, {**JOB, "status": REQUIRED, "response": None}),
    "BusJobUpdateMessage": (DATA, False, {**JOB, "update": None}),
    "BusJobUpdateUrgentMessage": (SYSTEM, False, {**JOB, "update": None}),
    "BusJobUpdateRequestMessage": (DATA, False, JOB),
    "BusJobCancelMessage": (SYSTEM, False, {**JOB, "reason": None}),
    "BusJobStreamStartMessage": (DATA, False, {**JOB, "data": None}),
    "BusJobStreamDataMessage": (DATA, False, {**JOB, "data": None}),
    "BusJobStreamEndMessage": (DATA, False, {**JOB, "data": None}),
    "BusUIDataMessage": (DATA, False, {}),
    "BusUIEventMessage": (DATA, False, {"event_name": "", "payload": None}),
    "BusUICommandMessage": (DATA, False, {"command_name": "", "payload": None}),
    "BusUIJobGroupStartedMessage": (
        DATA,
        False,
        {"job_id": "", "workers": None, "label": None, "cancellable": True, "at": 0},
    ),
    "BusUIJobUpdateMessage": (
        DATA,
        False,
        {"job_id": "", "worker_name": "", "data": None, "at": 0},
    ),
    "BusUIJobCompletedMessage": (
        DATA,
        False,
        {"job_id": "", "worker_name": "", "status": "", "response": None, "at": 0},
    ),
    "BusUIJobGroupCompletedMessage": (DATA, False, {"job_id": "", "at": 0}),
}
BASES = {"BusMessage", "BusDataMessage", "BusSystemMessage", "BusLocalMessage"}


@message
class Tick(BusDataMessage):
    n: int


@message
class Named(Tick):
    wire_name: ClassVar[str] = "named"


@message
class Unnamed(Named):
    """Derives from a message with a tag of its own."""


@message
class Kept(BusDataMessage, BusLocalMessage):
    n: int = 0


# The closed set


@pytest.mark.parametrize("name", SPECIFIED)
def test_messages_are_as_specified(name: str) -> None:
    """Each message has its lane, its fields and their defaults (S-MSG-1)."""
    lane, local, fields = SPECIFIED[name]
    cls = getattr(messages, name)
    other = SYSTEM if lane is DATA else DATA
    assert issubclass(cls, lane)
    assert not issubclass(cls, other)
    assert issubclass(cls, BusLocalMessage) is local
    found = {field.name: field.default for field in attrs.fields(cls)}
    assert found == {"source": "", "target": None, **fields}
    assert getattr(trioworkers, name) is cls


def test_the_set_is_closed() -> None:
    """There is no message beside the specified ones and their bases (S-MSG-1)."""
    found = {name for name in messages.__all__ if name.startswith("Bus")}
    assert found == SPECIFIED.keys() | BASES


def test_ui_messages_have_a_base() -> None:
    """Every UI carrier derives from `BusUIDataMessage` (S-MSG-1)."""
    for name in SPECIFIED:
        if name.startswith("BusUI"):
            assert issubclass(getattr(messages, name), messages.BusUIDataMessage)


def test_enumerations() -> None:
    """A job's status is a string with Pipecat's words; frames go up or down (S-MSG-1)."""
    assert [str(status) for status in JobStatus] == ["completed", "cancelled", "failed", "error"]
    assert JobStatus("failed") is JobStatus.FAILED
    assert {each.name for each in FrameDirection} == {"UPSTREAM", "DOWNSTREAM"}


# What the decorator makes


@pytest.mark.parametrize("cls", [Tick, Kept, *(getattr(messages, name) for name in SPECIFIED)])
def test_messages_are_keyword_only_with_slots(cls: type[BusMessage]) -> None:
    """A message takes keywords only and no other attributes (S-MSG-2)."""
    assert all(field.kw_only for field in attrs.fields(cls))
    assert not hasattr(cls.__new__(cls), "__dict__")
    assert is_message_class(cls)
    with pytest.raises(TypeError, match="positional"):
        cls("source")  # type: ignore[misc]  # pyright: ignore[reportCallIssue]


def test_messages_are_immutable_to_type_checkers() -> None:
    """Type checkers see frozen, keyword-only classes (S-MSG-2)."""
    seen: dict[str, Any] = message.__dataclass_transform__  # type: ignore[attr-defined]  # pyright: ignore[reportFunctionMemberAccess]
    assert {**seen, **seen["kwargs"]}["frozen_default"]
    assert seen["kw_only_default"]


def test_messages_compare_by_value() -> None:
    """Equal messages are equal; a message of another class with the same fields is not."""
    assert Tick(n=1) == Tick(n=1) != Tick(n=2)
    assert Tick(n=1) != Named(n=1)


async def test_a_message_is_stamped_once_and_never_changed() -> None:
    """`send` fills in an empty source, and nothing else changes (S-MSG-2)."""
    kept: list[Tick] = []

    class Keeping(Worker):
        @handles(Tick)
        async def keep(self, message: Tick) -> None:
            kept.append(message)

    tick = Tick(target="w", n=1)
    async with open_runner(Keeping("w"), name="main") as runner:
        await runner.send(tick)
        await runner.send(tick)
    assert kept[0] is kept[1] is tick
    assert attrs.asdict(tick) == {"source": "main", "target": "w", "n": 1}


def test_the_mixin_adds_nothing() -> None:
    """`BusLocalMessage` marks a class and has no fields of its own (S-MSG-3)."""
    assert attrs.asdict(Kept()) == {"source": "", "target": None, "n": 0}
    assert not issubclass(BusLocalMessage, BusMessage)


def test_wire_tags() -> None:
    """A class is named by `wire_name` of its own, or else by its name (S-MSG-2)."""
    assert [wire_tag(cls) for cls in (Tick, Named, Unnamed)] == ["Tick", "named", "Unnamed"]
    assert wire_tag(BusEndMessage) == "BusEndMessage"
    assert "wire_name" not in {field.name for field in attrs.fields(Named)}


def test_the_mark_is_not_inherited() -> None:
    """A subclass without the decorator is no message class (S-MSG-2)."""

    class Forgotten(Tick):
        more: int = 0

    assert not is_message_class(Forgotten)
    with pytest.raises(TypeError, match="more"):
        Forgotten(n=1, more=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


# What the decorator refuses


def function() -> None:
    """Be no class."""


@pytest.mark.parametrize("wrong", [5, function, int, type("BusMessage", (), {})])
def test_only_bus_messages_are_marked(wrong: Any) -> None:
    """What derives from no message is refused by name, also if it is called like one."""
    name = getattr(wrong, "__qualname__", repr(wrong))
    with pytest.raises(TypeError, match=f"@message: {name} must derive from BusDataMessage or"):
        message(wrong)


@pytest.mark.parametrize(
    ("default", "kind", "factory"),
    [
        ([], "list", "list"),
        ([1], "list", "lambda: [1]"),
        ({}, "dict", "dict"),
        (set(), "set", "set"),
        (bytearray(), "bytearray", "bytearray"),
    ],
)
def test_a_default_that_can_change_is_refused(default: Any, kind: str, factory: str) -> None:
    """A default that all messages would share is refused where the class is made (S-MSG-2)."""
    text = re.escape(f"the one {kind} that is the default of ") + r".*Shared\.items: use "
    with pytest.raises(TypeError, match=text + re.escape(f"attrs.field(factory={factory})")):

        @message
        class Shared(BusDataMessage):
            items: Any = default


def test_a_factory_makes_a_default_for_each() -> None:
    """What a factory makes is the message's own, and what cannot change may be shared (S-MSG-2)."""

    @message
    class Own(BusDataMessage):
        items: list[int] = attrs.field(factory=list)
        fixed: tuple[int, ...] = (1, 2)
        known: frozenset[int] = frozenset()

    first, second = Own(), Own()
    first.items.append(1)
    assert second.items == []


def test_a_message_has_one_lane() -> None:
    """A class for both lanes is refused (S-MAIL-1)."""
    with pytest.raises(TypeError, match="Both must derive from BusDataMessage or from"):

        @message
        class Both(BusDataMessage, BusSystemMessage):
            pass


# Names

LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."


@given(st.text(LETTERS, min_size=1, max_size=128))
def test_good_names(name: str) -> None:
    """Letters, digits, `_`, `-` and `.` make a name of up to 128 characters (S-MSG-4)."""
    assert check_name(name) == name
    assert Worker(name).name == name


@given(
    st.from_regex(re.compile(rf"[{re.escape(LETTERS)}]*[^{re.escape(LETTERS)}]\Z"))
    | st.text(LETTERS, min_size=129, max_size=200)
    | st.just("")
)
def test_bad_names(name: str) -> None:
    """Every other character, and every other length, is refused (S-MSG-4)."""
    with pytest.raises(ValueError, match="is not allowed: use 1 to 128 characters"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "a:b", "ä", "a\n", "x" * 129])
def test_bad_names_are_refused_at_construction(name: str) -> None:
    """A worker or runner with an impossible name cannot be made (S-MSG-4)."""
    with pytest.raises(ValueError, match=r"worker name '.*' is not allowed"):
        Worker(name)
    if name:
        with pytest.raises(ValueError, match=r"runner name '.*' is not allowed"):
            WorkerRunner(name)


@pytest.mark.parametrize("name", [None, 5, b"w", ["w"]])
def test_names_are_strings(name: Any) -> None:
    """What is no string is a `TypeError` that shows it (S-MSG-4)."""
    with pytest.raises(TypeError, match=f"must be a str, not {re.escape(repr(name))} of type"):
        Worker(name)


async def test_everybody_on_the_bus_has_such_a_name() -> None:
    """Workers and runners, also one without a name of its own, are found by it (S-MSG-3)."""
    async with open_runner(Worker("w")) as runner:
        assert check_name(runner.name, "runner name") == runner.name
        assert runner.bus.route("w") is not None
        assert runner.bus.route(runner.name) is not None
        await trio.lowlevel.checkpoint()
