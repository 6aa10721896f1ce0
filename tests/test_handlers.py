"""Which method handles what: marks, tables, and what is refused when a class is made."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Generic, Optional, TypeVar, Union

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


@pytest.mark.parametrize("function", [sync, yielding, 5, staticmethod(method)])
def test_handlers_are_async_methods(function: Any) -> None:
    """What is no `async def` method is refused by both decorators, with its name."""
    for mark in (handles(Tick), job()):
        with pytest.raises(
            TypeError, match=r"is for 'async def' methods without yield; .* is none"
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


def test_an_annotation_that_cannot_be_hashed() -> None:
    """An annotation that nothing can be looked up by is a misfit, and no crash (S-JOB-2)."""
    with pytest.raises(MisfitError, match="nothing can be made of the annotation"):
        fit({}, Annotated[dict[str, Any], []])


@pytest.mark.parametrize(
    ("wanted", "allowed"),
    [(Any, True), (None, True), (object, True), (int | None, True), (int, False), (dict, False)],
)
def test_allows_none(wanted: Any, allowed: bool) -> None:
    """None is passed on where the annotation admits it."""
    assert allows_none(wanted) is allowed


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
