"""Which method handles what: marks, tables, and what is refused when a class is made."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import (
    Annotated,
    Any,
    Generic,
    Literal,
    NewType,
    NotRequired,
    Optional,
    TypedDict,
    TypeVar,
    Union,
)

import attrs
import pytest

from trioworkers import (
    BusCancelMessage,
    BusDataMessage,
    BusEndMessage,
    BusFrameMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    BusSystemMessage,
    FrameDirection,
    Job,
    JobRefusedError,
    Worker,
    WorkerErrorData,
    WorkerReadyData,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers._handlers import (
    ChildFailed,
    WatchedReady,
    admits_none,
    allows_none,
    annotated_types,
    collect,
    fit,
    fit_args,
    plain_args,
)
from trioworkers._payloads import MisfitError
from trioworkers.testing import DeadLetterLog

T = TypeVar("T")


@message
class Tick(BusDataMessage):
    n: int = 0


@message
class Tock(BusDataMessage):
    pass


@message
class Alarm(BusSystemMessage):
    pass


@message
class NoLane(BusMessage):
    pass


class Forgotten(BusDataMessage):
    pass


@attrs.frozen
class Count:
    n: int


@attrs.frozen
class Holder(Generic[T]):
    held: T


class Sizes(TypedDict):
    n: int
    words: NotRequired[list[str]]


Counting = NewType("Counting", Count)
Table = NewType("Table", dict[str, Any])


@dataclass
class Plain:
    n: int


async def method(self: Any, message: Any) -> None:
    """Be a method that can be marked."""


# Marking


@pytest.mark.parametrize(
    ("handled", "says"),
    [
        (Tick(), r"needs a message class, not Tick\("),
        (int, "needs a message class, not <class 'int'>"),
        (Forgotten, "Forgotten is not marked @message: put it before the class"),
        (NoLane, "NoLane has no lane: derive it from BusDataMessage or BusSystemMessage"),
        (BusEndMessage, "BusEndMessage has no handlers: override on_stop"),
        (BusCancelMessage, "override on_stop"),
        (BusJobRequestMessage, r"mark a method @job\(\)"),
        (BusJobResponseMessage, r"what a job answers goes to ask\(\)"),
        (BusJobUpdateUrgentMessage, r"what a job answers goes to ask\(\)"),
        (BusJobStreamDataMessage, r"what a job answers goes to ask\(\)"),
    ],
)
def test_what_cannot_be_handled(handled: Any, says: str) -> None:
    """A type that no handler would ever get is refused, with what to do instead (S-MSG-2)."""
    with pytest.raises(TypeError, match=says):
        handles(handled)


def test_options_go_with_their_types() -> None:
    """`interrupt` is for system messages, `bridge` is for frames."""
    with pytest.raises(TypeError, match="Tick is a data message"):
        handles(Tick, interrupt=True)
    with pytest.raises(TypeError, match="bridge= is for BusFrameMessage, not for Tick"):
        handles(Tick, bridge="voice")


def sync(self: Any, message: Any) -> None:
    """Is not async."""


async def yielding(self: Any, message: Any) -> Any:
    """Is an async generator."""
    yield


async def too_few(self: Any) -> None:
    """Take no message."""


async def too_many(self: Any, message: Any, more: Any) -> None:
    """Take more than a message."""


@pytest.mark.parametrize(
    ("function", "mend"),
    [
        (sync, "sync is none: write 'async def'"),
        (yielding, "yielding is none: leave out its yield"),
        (5, "5 is none: mark the method itself"),
        (staticmethod(method), "method is none: mark the method itself"),
    ],
)
def test_handlers_are_async_methods(function: Any, mend: str) -> None:
    """What is no `async def` method is refused by both decorators, with its name and what to do."""
    for mark in (handles(Tick), job()):
        with pytest.raises(
            TypeError, match=f"is for 'async def' methods without yield, and {mend}"
        ):
            mark(function)


@pytest.mark.parametrize("function", [too_few, too_many])
def test_handlers_take_a_message(function: Any) -> None:
    """A method that cannot be called with a message is refused, with what it takes."""
    says = rf"{function.__name__} must take \(self, message\), it takes \(self"
    with pytest.raises(TypeError, match=says):
        handles(Tick)(function)


def test_jobs_take_a_payload() -> None:
    """A method that cannot be called with a job and a payload is refused."""
    with pytest.raises(TypeError, match=r"must take \(self, job, payload\), it takes \(self"):
        job()(method)


def test_job_needs_parentheses() -> None:
    """`@job` without parentheses is refused, and says so."""
    with pytest.raises(TypeError, match=r"write @job\(\) with parentheses"):
        job(method)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_handles_needs_parentheses() -> None:
    """`@handles` without a message class is refused, and says what to write."""
    with pytest.raises(TypeError, match=r"write @handles\(MessageType\) before method"):
        handles(method)  # type: ignore[type-var]  # pyright: ignore[reportArgumentType]


def test_decorators_return_the_method_itself() -> None:
    """A marked method is the same function, and can be marked for more."""

    async def serve(self: Any, job: Any, payload: Any) -> None: ...

    assert handles(Tick)(method) is method
    assert job("a name")(serve) is serve


# Tables


class Base(Worker):
    @handles(Tick)
    @handles(Tock)
    async def data(self, message: BusDataMessage) -> None: ...

    @handles(Alarm, interrupt=True)
    async def alarm(self, message: Alarm) -> None: ...

    @job("count", sequential=True)
    async def serve(self, job: Job, payload: Count) -> Count:
        return payload

    @job()
    async def other(self, job: Job, payload: dict[str, Any]) -> None: ...


def test_a_class_has_one_table() -> None:
    """Marked methods are found under their types and names; decorators stack."""
    table = collect(Base)
    assert table.data == {Tick: Base.data, Tock: Base.data}
    assert table.system[Alarm].function is Base.alarm
    assert table.system[Alarm].interrupt
    assert {name: each.sequential for name, each in table.jobs.items()} == {
        "count": True,
        "other": False,
    }


def test_what_is_heard() -> None:
    """Broadcasts of the handled types are heard; notices of the framework are not (S-BUS-2)."""
    assert set(collect(Base).heard()) == {Tick, Tock, Alarm}
    assert {ChildFailed, WatchedReady} <= set(collect(Base).system)


def test_an_override_takes_the_mark() -> None:
    """A method that overrides a marked one handles the same; a new mark replaces the old one."""

    class Unmarked(Base):
        async def data(self, message: BusDataMessage) -> None: ...

    class Marked(Base):
        @handles(Tock)
        async def data(self, message: BusDataMessage) -> None: ...

    assert collect(Unmarked).data == {Tick: Unmarked.data, Tock: Unmarked.data}
    assert collect(Marked).data == {Tock: Marked.data}


@pytest.mark.parametrize("override", [None, sync, too_few])
def test_an_override_is_called_like_what_it_overrides(override: Any) -> None:
    """An override that cannot be called like a handler is refused when the class is made."""
    with pytest.raises(TypeError, match=r"is for 'async def' methods|must take"):
        type("Bad", (Base,), {"data": override})
    with pytest.raises(TypeError, match=r"@job is for 'async def' methods|must take"):
        type("Bad", (Base,), {"serve": override})


def test_decorators_above_a_mark() -> None:
    """A decorator that wraps a marked method keeps its marks."""

    def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        async def wrapper(*args: Any) -> Any:
            return await function(*args)

        return wrapper

    class Wrapped(Worker):
        @wrapped
        @handles(Tick)
        async def tick(self, message: Tick) -> None: ...

    assert collect(Wrapped).data == {Tick: Wrapped.tick}


def test_mixins_bring_their_handlers() -> None:
    """Handlers of all bases are found, those of the nearest one first."""

    class Mixin:
        @handles(Tick)
        async def mixed(self, message: Tick) -> None: ...

    class Both(Mixin, Worker):
        @handles(Tock)
        async def own(self, message: Tock) -> None: ...

    assert set(collect(Both).data) == {Tick, Tock}


def test_two_handlers_for_one_type() -> None:
    """Two methods for one type, or one job name, are refused when the class is made."""
    both = {"one": handles(Tick)(make_handler()), "two": handles(Tick)(make_handler())}
    with pytest.raises(TypeError, match="Bad has two handlers for Tick: one and two; keep one"):
        type("Bad", (Worker,), both)
    with pytest.raises(TypeError, match="Bad has two handlers for job 'count': serve and again"):
        type("Bad", (Base,), {"again": job("count")(make_job())})


def make_job() -> Any:
    """Make a fresh method that can serve jobs."""

    async def serve(self: Any, job: Any, payload: Any) -> None: ...

    return serve


def make_handler() -> Any:
    """Make a fresh method: marks stay on the function."""

    async def handler(self: Any, message: Any) -> None: ...

    return handler


# Frames


class Listener(Worker):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.heard: list[tuple[str, Any]] = []

    @handles(BusFrameMessage, bridge="voice")
    async def voice(self, message: BusFrameMessage) -> None:
        self.heard.append(("voice", message.frame))


class Hearing(Listener):
    @handles(BusFrameMessage)
    async def rest(self, message: BusFrameMessage) -> None:
        self.heard.append(("rest", message.frame))


async def send_frames(worker: Listener) -> list[str]:
    """Send a frame over two bridges and over none; return the dead letters."""
    log = DeadLetterLog()
    async with open_runner(worker) as runner:
        runner.add_instrument(log)
        for bridge in ("voice", "video", None):
            frame = BusFrameMessage(
                target="w", frame=bridge, direction=FrameDirection.UPSTREAM, bridge=bridge
            )
            await runner.send(frame)
    return [letter.reason for letter in log.letters]


async def test_frames_go_by_bridge() -> None:
    """A frame goes to the handler of its bridge, or to the one without."""
    worker = Hearing("w")
    assert await send_frames(worker) == []
    assert worker.heard == [("voice", "voice"), ("rest", "video"), ("rest", None)]


async def test_frames_of_another_bridge() -> None:
    """A frame whose bridge nobody handles is a dead letter (S-BUS-3)."""
    worker = Listener("w")
    assert await send_frames(worker) == ["unhandled", "unhandled"]
    assert worker.heard == [("voice", "voice")]


@pytest.mark.parametrize("direction", [None, FrameDirection.DOWNSTREAM])
def test_an_answer_to_a_frame(direction: FrameDirection | None) -> None:
    """A reply goes to the sender, over the same bridge."""
    frame = BusFrameMessage(
        source="w", target="v", frame="hello", direction=FrameDirection.UPSTREAM, bridge="voice"
    )
    answer = frame.reply("hi", direction)
    assert (answer.target, answer.source, answer.bridge) == ("w", "", "voice")
    assert answer.frame == "hi"
    assert answer.direction is (direction or FrameDirection.UPSTREAM)


# Payloads


async def test_a_notice_reaches_its_hook() -> None:
    """The framework's own notices call the hooks of the worker."""
    heard: list[Any] = []

    class Hooked(Worker):
        async def on_worker_ready(self, data: WorkerReadyData) -> None:
            heard.append(data)

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            heard.append(data)

    worker, table = Hooked("w"), collect(Hooked)
    ready = WorkerReadyData("c", "main")
    failed = WorkerErrorData("c", "why")
    settled: list[bool] = []
    notice = ChildFailed(data=failed, settle=settled.append)
    async with open_runner(worker) as runner:
        await runner.registry.wait_ready("w")
        await table.system[WatchedReady].function(worker, WatchedReady(data=ready))
        await table.system[ChildFailed].function(worker, notice)
    assert heard == [ready, failed]
    assert settled == [True]


@pytest.mark.parametrize(
    ("value", "wanted", "fitted"),
    [
        ({"n": 1}, Count, Count(1)),
        (Count(1), Count, Count(1)),
        ({"n": 1}, Count | None, Count(1)),
        (Count(1), Optional[Count], Count(1)),  # noqa: UP045 - both spellings
        ({"n": 1}, Union[Count, None], Count(1)),  # noqa: UP007
        (None, Count | None, None),
        ({"held": 1}, Holder[int], Holder(1)),
        (Count(1), dict[str, Any], {"n": 1}),
        ({"n": 1}, dict[str, Any], {"n": 1}),
        (None, dict[str, Any], {}),
        (None, dict[str, Any] | None, None),
        (None, Any, None),
        (None, object, None),
        (None, dict[str, int], {}),
        (None, dict[str, int] | None, None),
        ({"n": 1}, dict[str, int], {"n": 1}),
        ({"n": 1}, Mapping[str, int] | None, {"n": 1}),
        (Count(1), dict[str, int], {"n": 1}),
        ({1: "a"}, dict[int, Any], {1: "a"}),
        ({"n": 1}, Sizes, {"n": 1}),
        ({"n": 1, "words": ["a"]}, Sizes | None, {"n": 1, "words": ["a"]}),
        (None, Sizes | None, None),
        ({"n": 1}, Counting, Count(1)),
        ({"n": 1}, Counting | None, Count(1)),
        (Count(1), Table, {"n": 1}),
    ],
)
def test_fit(value: Any, wanted: Any, fitted: Any) -> None:
    """A payload becomes what the handler's annotation says: an object, a dict, or None."""
    assert fit(value, wanted) == fitted


def test_a_frozen_payload_is_passed_as_it_is() -> None:
    """A frozen object reaches the handler itself, also where it may be None (S-JOB-2)."""
    count = Count(1)
    assert fit(count, Count) is count
    assert fit(count, Count | None) is count


@pytest.mark.parametrize("value", [None, {}, {"n": "1"}, {"n": 1, "m": 1}, [], Holder(1)])
def test_misfits(value: Any) -> None:
    """What does not fit the annotation is refused (S-JOB-2)."""
    with pytest.raises(MisfitError):
        fit(value, Count)


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        ({"n": "1"}, dict[str, int]),
        ({1: 1}, dict[str, int]),
        ({"n": 1}, dict[int, Any]),
        ({"n": "1"}, Sizes),
        ({"n": 1, "words": "abc"}, Sizes),
        ({"n": 1, "m": 1}, Sizes),
        ({}, Sizes),
        (None, Sizes),
        ({"n": "1"}, Counting),
        ({"n": 1}, T),
        ({"n": 1}, int),
    ],
)
def test_typed_dicts_are_checked(value: Any, wanted: Any) -> None:
    """S-JOB-2: what an annotation says about the values of a dict holds."""
    with pytest.raises(MisfitError):
        fit(value, wanted)


@pytest.mark.parametrize(
    ("annotation", "shown"),
    [
        (int, "int"),
        (list[Count], r"list\[.*Count\]"),
        (Plain, r".*Plain"),
        (str | None, r"str \| None"),
        (Count | dict[str, Any], r".*Count \| dict\[str, typing\.Any\]"),
        (Sizes | dict[str, int], r".*Sizes \| dict\[str, int\]"),
        (Annotated[int, []], "int"),
        (Literal[[]], r"Literal\[\[\]\]"),  # type: ignore[valid-type]  # pyright: ignore[reportInvalidTypeForm]
        (Tick, None),
    ],
)
def test_annotations_that_no_payload_can_be(annotation: Any, shown: str | None) -> None:
    """A parameter that no payload fits is refused where the class is made (S-JOB-2)."""

    async def serve(self: Any, job: Any, payload: Any) -> None: ...

    async def on_activated(self: Any, args: Any) -> None: ...

    serve.__annotations__["payload"] = on_activated.__annotations__["args"] = annotation
    methods = {"serve": job()(serve)}, {"on_activated": on_activated}
    if shown is None:
        for each in methods:
            type("Good", (Worker,), each)
        return
    text = f"annotated {shown}, but a payload is a dict, .*: annotate dict"
    with pytest.raises(TypeError, match=f"Bad.serve takes a payload {text}"):
        type("Bad", (Worker,), methods[0])
    with pytest.raises(TypeError, match=f"Bad.on_activated takes arguments {text}"):
        type("Bad", (Worker,), methods[1])


# A name of its own, as type checkers let nobody use a type variable outside of a signature.
FREE: Any = TypeVar("FREE")


@pytest.mark.parametrize(
    "annotation", ["Missing", FREE, Holder[FREE], dict[str, FREE], Any, object, dict]
)
def test_annotations_that_may_fit(annotation: Any) -> None:
    """What is defined further down, or filled in by a subclass, is looked at when it is needed."""

    async def serve(self: Any, job: Any, payload: Any) -> None: ...

    serve.__annotations__["payload"] = annotation
    type("Good", (Worker,), {"serve": job()(serve)})


async def test_an_annotation_that_turns_out_wrong() -> None:
    """S-JOB-2: a payload for an annotation that could not be resolved in time is refused, not passed."""

    async def serve(self: Any, job: Any, payload: Any) -> None: ...

    serve.__annotations__["payload"] = "Later"
    cls = type("Late", (Worker,), {"serve": job()(serve)})
    globals()["Later"] = list[int]
    try:
        async with open_runner(cls("late")) as runner:
            with pytest.raises(
                JobRefusedError, match=r"annotated list\[int\]; a payload is a dict"
            ):
                await runner.ask("late", "serve", {})
    finally:
        del globals()["Later"]


def test_an_annotation_that_cannot_be_hashed() -> None:
    """An annotation that nothing can be looked up by is a misfit, and no crash (S-JOB-2)."""
    with pytest.raises(MisfitError, match="nothing can be made of the annotation"):
        fit({}, Annotated[dict[str, Any], []])


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [
        (Any, True),
        (None, True),
        (object, True),
        (int | None, True),
        (int, False),
        (dict, False),
        (dict[str, None], False),
    ],
)
def test_allows_none(wanted: Any, allowed: bool) -> None:
    """None is passed on where the annotation admits it."""
    assert allows_none(wanted) is allowed


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (Count | None, True),
        (Sizes | None, True),
        (Count, False),
        (Sizes, False),
        (dict[str, Any] | None, False),
        (dict[str, int] | None, False),
        (Any, False),
    ],
)
def test_empty_responses(wanted: Any, admitted: bool) -> None:
    """An empty response stands for None where fields are named, and for itself elsewhere (S-JOB-2)."""
    assert admits_none(wanted) is admitted


def test_activation_arguments() -> None:
    """Activation carries a dict, an object's fields, or nothing; all else is refused."""
    assert plain_args(None) is None
    assert plain_args({"n": 1}) == {"n": 1}
    assert plain_args(Count(1)) == {"n": 1}
    with pytest.raises(TypeError, match=r"a dict, an attrs object or None, not \[1\]"):
        plain_args([1])


def test_activation_arguments_are_fitted() -> None:
    """`on_activated` gets an object if it asks for one, else what was sent (S-LIFE-6)."""
    assert fit_args({"n": 1}, Count) == Count(1)
    assert fit_args(None, Count | None) is None
    assert fit_args({"n": 1}, dict[str, Any]) == {"n": 1}
    assert fit_args(None, dict[str, Any]) is None
    assert fit_args(None, dict[str, int]) is None
    assert fit_args({"n": 1}, Sizes | None) == {"n": 1}
    for args, wanted in ((None, Sizes), (None, Count), ({"n": "1"}, dict[str, int])):
        with pytest.raises(MisfitError):
            fit_args(args, wanted)


def test_annotations() -> None:
    """Annotations are resolved when they are needed, once; what is not annotated is not asked."""
    handler = collect(Base).jobs["count"]
    assert handler.types() == (Count, Count)
    assert handler.types() is handler.types()
    assert handler.payload({"n": 1}) == Count(1)

    async def bare(self, job, payload): ...

    assert annotated_types(bare, 2)[1] is annotated_types(bare, 5)[0]


@pytest.mark.parametrize("annotation", ["Missing", "attrs.Missing", "not python", "'a' | None"])
def test_annotations_that_cannot_be_resolved(annotation: str) -> None:
    """An annotation that names nothing is an error that names the method and says what to do."""

    async def serve(self: Any, job: Any, payload: Any) -> None: ...

    serve.__annotations__["payload"] = annotation
    with pytest.raises(TypeError, match=r"serve cannot be resolved .*at module level"):
        annotated_types(serve, 2)
