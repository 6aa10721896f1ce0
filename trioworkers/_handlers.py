"""Which method handles what: marked by decorators, collected once per class."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeVar

import attrs

from . import _payloads
from ._interrupts import let_interrupt
from ._values import WorkerErrorData, WorkerReadyData
from .messages import (
    JOB_REPLIES,
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
    BusJobUpdateRequestMessage,
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
    **dict.fromkeys(JOB_REPLIES, "what a job answers goes to ask(), job() and job_group()"),
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


PAYLOADS = (
    "a payload is a dict, an attrs object or None: annotate dict[str, ...], a TypedDict, or attrs "
    "classes joined by |, each with or without None"
)


def fit(value: Any, wanted: Any) -> Any:
    """Return a payload as `wanted`: what it is annotated with, or plain data if that says nothing.

    Raises:
        MisfitError: it does not fit.
    """
    shape = _shape(wanted)
    if not shape.supported:
        raise _payloads.MisfitError(f"it is annotated {shown(wanted)}; {PAYLOADS}")
    if value is None:
        if shape.optional:
            return None
        value = {}
    if shape.is_open:
        return _payloads.as_plain(value)
    fits = isinstance(value, tuple(cls for cls in shape.classes if isinstance(cls, type)))
    return _payloads.as_type(value, type(value) if fits else shape.wanted)


def admits_none(wanted: Any) -> bool:
    """Tell whether an empty response annotated with `wanted` stands for None."""
    shape = _shape(wanted)
    return shape.optional and shape.has_fields


def fit_args(args: Any, wanted: Any) -> Any:
    """Return activation arguments as `wanted`; None stays None if that names no fields.

    Raises:
        BaseException: one of `_payloads.MisfitError`, if they do not fit.
    """
    return args if args is None and not _shape(wanted).has_fields else fit(args, wanted)


@attrs.frozen
class _Shape:
    """What an annotation says about a payload."""

    wanted: Any
    # Whether it may be None.
    optional: bool
    # Whether it says no more than that it is a dict.
    is_open: bool
    # The attrs classes in it.
    classes: tuple[Any, ...]
    # Whether it names fields.
    has_fields: bool
    # Whether a payload can be that at all.
    supported: bool


def _shape(wanted: Any) -> _Shape:
    try:
        return _shape_of(wanted)
    except TypeError as error:  # it cannot be hashed
        raise _payloads.MisfitError(f"nothing can be made of the annotation: {error}") from error


@functools.lru_cache(maxsize=4096)
def _shape_of(annotation: Any) -> _Shape:
    wanted = _meaning(annotation)
    stated = typing.get_args(wanted) if _is_union(wanted) else (wanted,)
    parts = [_meaning(each) for each in stated]
    named = [each for each in parts if each not in (None, type(None))]
    classes = tuple(each for each in named if _payloads.is_attrs_class(each))
    is_open = all(_is_open(each) for each in named)
    lone = len(named) == 1 and (_is_mapping(named[0]) or _payloads.is_typed_dict(named[0]))
    return _Shape(
        wanted=wanted,
        optional=wanted is inspect.Parameter.empty or allows_none(wanted),
        is_open=is_open,
        classes=classes,
        has_fields=bool(classes) or any(_payloads.is_typed_dict(each) for each in named),
        supported=is_open or lone or len(classes) == len(named),
    )


def _meaning(annotation: Any) -> Any:
    """Return what a NewType or a type alias stands for; anything else is itself."""
    while not isinstance(annotation, type):
        stands_for = getattr(annotation, "__supertype__", getattr(annotation, "__value__", None))
        if stands_for is None:
            break
        annotation = stands_for
    return annotation


def _is_mapping(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in (dict, Mapping, MutableMapping)


def _is_open(kind: Any) -> bool:
    anything = (inspect.Parameter.empty, Any, object)
    if not _is_mapping(kind):
        return kind in anything
    keys, values = typing.get_args(kind) or (str, Any)
    return (keys is str or keys in anything) and values in anything


def shown(annotation: Any) -> str:
    """Return an annotation as it is written."""
    return inspect.formatannotation(annotation)


def check_annotation(function: Callable[..., Any], what: str, place: int) -> None:
    """Check that a payload can be what a parameter is annotated with.

    An annotation that cannot be resolved yet is looked at when it is first needed, and so is one
    with type variables.

    Args:
        function: the method.
        what: how an error message names it, and what it takes.
        place: the number of the parameter.

    Raises:
        TypeError: no payload can be that.
    """
    try:
        wanted = annotated_types(function, place)[0]
    except _payloads.MisfitError:
        return
    if isinstance(wanted, TypeVar) or getattr(wanted, "__parameters__", None):
        return
    try:
        supported = _shape(wanted).supported
    except _payloads.MisfitError:
        supported = False
    if not supported:
        raise TypeError(f"{what} annotated {shown(wanted)}, but {PAYLOADS}")


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
    if wanted in (Any, object, None, type(None)):
        return True
    return _is_union(wanted) and type(None) in typing.get_args(wanted)


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


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
            f"the annotations of {_name_of(function)} cannot be resolved ({error}): define the "
            "class at module level"
        ) from error
    wanted = hints.get(parameters[place].name, empty) if len(parameters) > place else empty
    return wanted, hints.get("return", empty)


def _name_of(function: object) -> str:
    name: str = getattr(function, "__qualname__", repr(function))
    return name


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
    if inspect.isroutine(message_type):
        raise TypeError(
            f"@handles needs a message class: write @handles(MessageType) before "
            f"{_name_of(message_type)}"
        )
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
    name = _name_of(function)
    if not inspect.iscoroutinefunction(function):
        if inspect.isasyncgenfunction(function):
            mend = "leave out its yield"
        elif inspect.isfunction(function):
            mend = "write 'async def'"
        else:
            mend = "mark the method itself"
        raise TypeError(
            f"{decorator} is for 'async def' methods without yield, and {name} is none: {mend}"
        )
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
    for name in marked_names(cls):
        function = let_interrupt(getattr(cls, name))
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
            check_annotation(function, f"{cls.__qualname__}.{name} takes a payload", 2)
            _claim(cls, owners, job_mark.name, name)
            table.jobs[job_mark.name] = JobHandler(job_mark.name, function, job_mark.sequential)
    if frames:
        table.data[BusFrameMessage] = _frame_handler(frames)
    interruptible = any(handler.interrupt for handler in table.system.values())
    return attrs.evolve(table, interruptible=interruptible)


def marked_names(cls: type) -> list[str]:
    """Return the names of the marked methods of `cls`."""
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
