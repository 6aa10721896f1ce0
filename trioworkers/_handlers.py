"""Which method handles what: marked by decorators, collected once per class."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs

from . import _payloads
from ._values import WorkerErrorData, WorkerReadyData
from .messages import (
    BusActivateWorkerMessage,
    BusAddWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusFrameMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusLocalMessage,
    BusMessage,
    BusSystemMessage,
    is_message_class,
    message,
)

__all__ = [
    "ChildFailed",
    "HandlerTable",
    "JobHandler",
    "SystemHandler",
    "WatchedReady",
    "handles",
    "job",
]


@message
class ChildFailed(BusSystemMessage, BusLocalMessage):
    """Tell a worker, through its own system lane, that a child failed."""

    data: WorkerErrorData
    settle: Callable[[bool], None]


@message
class WatchedReady(BusSystemMessage, BusLocalMessage):
    """Tell a worker, through its own system lane, that a watched worker is ready."""

    data: WorkerReadyData


async def _tell_child_failed(worker: Any, notice: ChildFailed) -> None:
    await worker._call_hook("on_worker_failed", notice.data)
    notice.settle(True)


async def _tell_watched_ready(worker: Any, notice: WatchedReady) -> None:
    worker._node.notice_taken(notice.data)
    await worker._call_hook("on_worker_ready", notice.data)


F = TypeVar("F", bound=Callable[..., Awaitable[object]])

# What a handler is called with.
_MESSAGE = ("self", "message")
_PAYLOAD = ("self", "job", "payload")

_HANDLES = "__trioworkers_handles__"
_JOB = "__trioworkers_job__"

_INSTEAD: dict[type[BusMessage], str] = {
    BusActivateWorkerMessage: "override on_activated",
    BusDeactivateWorkerMessage: "override on_deactivated",
    BusEndMessage: "override on_stop",
    BusEndWorkerMessage: "override on_stop",
    BusCancelMessage: "override on_stop",
    BusCancelWorkerMessage: "override on_stop",
    BusAddWorkerMessage: "it is for the runner",
    BusJobRequestMessage: "mark a method @job()",
    BusJobCancelMessage: "the job's handler is cancelled",
    BusJobUpdateRequestMessage: "override on_job_update_requested",
    **dict.fromkeys(
        (
            BusJobResponseMessage,
            BusJobResponseUrgentMessage,
            BusJobUpdateMessage,
            BusJobUpdateUrgentMessage,
            BusJobStreamStartMessage,
            BusJobStreamDataMessage,
            BusJobStreamEndMessage,
        ),
        "what a job answers goes to ask(), job() and job_group()",
    ),
}


@attrs.frozen
class _Mark:
    message_type: type[BusMessage]
    interrupt: bool
    bridge: str | None


@attrs.frozen
class _JobMark:
    name: str
    sequential: bool


@attrs.frozen
class SystemHandler:
    """A handler of a system message, and whether it interrupts the data handler in progress."""

    function: Callable[[Any, Any], Awaitable[object]]
    interrupt: bool = False


@attrs.define(eq=False)
class JobHandler:
    """A method that serves jobs."""

    name: str
    function: Callable[[Any, Any, Any], Awaitable[Any]]
    sequential: bool
    _types: tuple[Any, Any] | None = None

    def types(self) -> tuple[Any, Any]:
        """Return what the method takes as payload and what it returns, as annotated.

        Resolved when first needed: an annotation may name what is defined further down.
        """
        if self._types is None:
            self._types = annotated_types(self.function, 2)
        return self._types

    def payload(self, value: Any) -> Any:
        """Return `value` as the method takes it.

        Raises:
            MisfitError: it does not fit.
        """
        return fit(value, self.types()[0])


def fit(value: Any, wanted: Any) -> Any:
    """Return a payload as `wanted`: an attrs class, or a union with some, or else plain data.

    Raises:
        MisfitError: it does not fit.
    """
    classes, optional = _shape(wanted)
    if value is None:
        if optional:
            return None
        value = {}
    if not classes:
        return _payloads.as_plain(value)
    fits = isinstance(value, tuple(cls for cls in classes if isinstance(cls, type)))
    return _payloads.as_type(value, type(value) if fits else wanted)


def admits_none(wanted: Any) -> bool:
    """Tell whether a payload annotated with `wanted` may be None."""
    return _shape(wanted)[1] and bool(_shape(wanted)[0])


def fit_args(args: Any, wanted: Any) -> Any:
    """Return activation arguments as `wanted`, if that names an attrs class; else as they are.

    Raises:
        BaseException: one of `_payloads.MisfitError`, if they do not fit.
    """
    return fit(args, wanted) if _shape(wanted)[0] else args


def _shape(wanted: Any) -> tuple[tuple[Any, ...], bool]:
    try:
        return _shape_of(wanted)
    except TypeError as error:  # it cannot be hashed
        raise _payloads.MisfitError(f"nothing can be made of the annotation: {error}") from error


@functools.lru_cache(maxsize=4096)
def _shape_of(wanted: Any) -> tuple[tuple[Any, ...], bool]:
    """Return the attrs classes that an annotation names, and whether it admits None."""
    union = typing.get_origin(wanted) in (typing.Union, types.UnionType)
    named = typing.get_args(wanted) if union else (wanted,)
    classes = tuple(each for each in named if _payloads.is_attrs_class(each))
    return classes, wanted is inspect.Parameter.empty or allows_none(wanted)


def plain_args(args: Any) -> dict[str, Any] | None:
    """Return activation arguments as a message carries them.

    Raises:
        TypeError: they are neither a dict nor an attrs object nor None.
    """
    plain: dict[str, Any] | None = _payloads.as_plain(args)
    if plain is not None and not isinstance(plain, dict):
        raise TypeError(f"activation arguments are a dict, an attrs object or None, not {args!r}")
    return plain


def allows_none(wanted: Any) -> bool:
    """Tell whether an annotation admits None."""
    return wanted in (Any, object, None, type(None)) or type(None) in typing.get_args(wanted)


def annotated_types(function: Callable[..., Any], place: int) -> tuple[Any, Any]:
    """Return the annotations of parameter number `place` and of the result of `function`.

    Raises:
        MisfitError: they cannot be resolved.
    """
    empty = inspect.Parameter.empty
    parameters = list(inspect.signature(function).parameters.values())
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:  # an annotation is any expression
        raise _payloads.MisfitError(
            f"the annotations of {function.__qualname__} cannot be resolved ({error}): define the "
            "class at module level"
        ) from error
    wanted = hints.get(parameters[place].name, empty) if len(parameters) > place else empty
    return wanted, hints.get("return", empty)


def handles(
    message_type: type[BusMessage], *, interrupt: bool = False, bridge: str | None = None
) -> Callable[[F], F]:
    """Mark a method as the handler of exactly this message type; stack for several types.

    Args:
        message_type: a class marked `@message`.
        interrupt: cancel the data handler in progress when such a message is sent; for system
            messages only.
        bridge: take only frames with this tag; for `BusFrameMessage` only.

    Returns:
        A decorator that returns the method itself.

    Raises:
        TypeError: the type is not marked, is not for handlers, or an option does not go with it.
    """
    _check_handled(message_type)
    if interrupt and not issubclass(message_type, BusSystemMessage):
        raise TypeError(
            f"interrupt=True is for system messages; {message_type.__qualname__} is a data message"
        )
    if bridge is not None and message_type is not BusFrameMessage:
        raise TypeError(f"bridge= is for BusFrameMessage, not for {message_type.__qualname__}")

    def mark(function: F) -> F:
        _check_method(function, "@handles", _MESSAGE)
        marks: list[_Mark] = function.__dict__.setdefault(_HANDLES, [])
        marks.append(_Mark(message_type, interrupt, bridge))
        return function

    return mark


def _check_handled(message_type: object) -> None:
    if not (isinstance(message_type, type) and issubclass(message_type, BusMessage)):
        raise TypeError(f"@handles needs a message class, not {message_type!r}")
    if not is_message_class(message_type):
        raise TypeError(
            f"{message_type.__qualname__} is not marked @message: put it before the class"
        )
    if message_type in _INSTEAD:
        raise TypeError(f"{message_type.__qualname__} has no handlers: {_INSTEAD[message_type]}")
    if not issubclass(message_type, BusDataMessage | BusSystemMessage):
        raise TypeError(
            f"{message_type.__qualname__} has no lane: derive it from BusDataMessage or "
            "BusSystemMessage"
        )


def _check_method(function: object, decorator: str, parameters: tuple[str, ...]) -> None:
    name = getattr(function, "__qualname__", repr(function))
    if not inspect.iscoroutinefunction(function):
        raise TypeError(f"{decorator} is for 'async def' methods without yield; {name} is none")
    signature = inspect.signature(function)
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise TypeError(
            f"{name} must take ({', '.join(parameters)}), it takes {signature}"
        ) from error


def job(name: str | None = None, *, sequential: bool = False) -> Callable[[F], F]:
    """Mark a method as the handler of a job; what it returns is the response.

    Args:
        name: the job's name; the method's by default.
        sequential: one at a time, in the order of the requests.

    Returns:
        A decorator that returns the method itself.

    Raises:
        TypeError: `name` is no string (write `@job()`, not `@job`), or the method is not
            `async def method(self, job, payload)`.
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"@job takes a name, not {name!r}: write @job() with parentheses")

    def mark(function: F) -> F:
        _check_method(function, "@job", _PAYLOAD)
        function.__dict__[_JOB] = _JobMark(name or function.__name__, sequential)
        return function

    return mark


@attrs.frozen(eq=False)
class HandlerTable:
    """What the instances of one class handle."""

    data: dict[type[BusMessage], Callable[[Any, Any], Awaitable[object]]]
    system: dict[type[BusMessage], SystemHandler]
    jobs: dict[str, JobHandler]
    # Whether a system message may interrupt a data handler.
    interruptible: bool = False

    def heard(self) -> tuple[type[BusMessage], ...]:
        """Return the types whose broadcasts reach these instances."""
        return (*self.data, *(cls for cls in self.system if cls not in (ChildFailed, WatchedReady)))


def collect(cls: type) -> HandlerTable:
    """Collect the marked methods of `cls`; a method that overrides a marked one takes its mark.

    Raises:
        TypeError: two methods handle one type, or serve one job name; or a method that overrides
            a marked one cannot be called like it.
    """
    table = HandlerTable({}, {}, {})
    table.system[ChildFailed] = SystemHandler(_tell_child_failed)
    table.system[WatchedReady] = SystemHandler(_tell_watched_ready)
    owners: dict[object, str] = {}
    frames: dict[str | None, Callable[[Any, Any], Awaitable[object]]] = {}
    for name in _marked_names(cls):
        function = getattr(cls, name)
        marks, job_mark = _marks_of(cls, name)
        if marks:
            _check_method(function, "@handles", _MESSAGE)
        for mark in marks:
            _claim(cls, owners, (mark.message_type, mark.bridge), name)
            if issubclass(mark.message_type, BusSystemMessage):
                table.system[mark.message_type] = SystemHandler(function, mark.interrupt)
            elif mark.message_type is BusFrameMessage:
                frames[mark.bridge] = function
            else:
                table.data[mark.message_type] = function
        if job_mark is not None:
            _check_method(function, "@job", _PAYLOAD)
            _claim(cls, owners, job_mark.name, name)
            table.jobs[job_mark.name] = JobHandler(job_mark.name, function, job_mark.sequential)
    if frames:
        table.data[BusFrameMessage] = _frame_handler(frames)
    interruptible = any(handler.interrupt for handler in table.system.values())
    return attrs.evolve(table, interruptible=interruptible)


def _marked_names(cls: type) -> list[str]:
    names: dict[str, None] = {}
    for base in reversed(cls.__mro__):
        for name, value in vars(base).items():
            if hasattr(value, _HANDLES) or hasattr(value, _JOB):
                names[name] = None
    return list(names)


def _marks_of(cls: type, name: str) -> tuple[list[_Mark], _JobMark | None]:
    for base in cls.__mro__:
        function = vars(base).get(name)
        if hasattr(function, _HANDLES) or hasattr(function, _JOB):
            return getattr(function, _HANDLES, []), getattr(function, _JOB, None)
    raise AssertionError(name)  # pragma: no cover - the name came from the same classes


def _claim(cls: type, owners: dict[object, str], what: object, name: str) -> None:
    if what in owners:
        shown = (
            f"job {what!r}" if isinstance(what, str) else typing.cast("Any", what)[0].__qualname__
        )
        raise TypeError(
            f"{cls.__qualname__} has two handlers for {shown}: {owners[what]} and {name}; keep "
            "one, or override the method of that name"
        )
    owners[what] = name


def _frame_handler(
    by_bridge: dict[str | None, Callable[[Any, Any], Awaitable[object]]],
) -> Callable[[Any, Any], Awaitable[object]]:
    """Return one handler for frames, which picks the method by the frame's bridge tag."""

    async def handle(worker: Any, message: BusFrameMessage) -> None:
        function = by_bridge.get(message.bridge) or by_bridge.get(None)
        if function is None:
            worker.bus.dead_letter(message, "unhandled", worker.name)
        else:
            await function(worker, message)

    return handle
