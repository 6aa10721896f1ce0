"""The closed set of bus messages, and the bases that users subclass.

A message is an attrs class made by `message`: keyword-only, with slots, immutable to type
checkers.  Which lane it travels in is its base class: `BusDataMessage` or `BusSystemMessage`.
`BusLocalMessage` is a mixin for what must never leave the process.
"""

from __future__ import annotations

import enum
import re
from typing import Any, ClassVar, TypeVar, cast, dataclass_transform

import attrs

from ._values import WorkerRegistryEntry

__all__ = [
    "JOB_PROTOCOL",
    "JOB_REPLIES",
    "BusActivateWorkerMessage",
    "BusAddWorkerMessage",
    "BusCancelMessage",
    "BusCancelWorkerMessage",
    "BusDataMessage",
    "BusDeactivateWorkerMessage",
    "BusEndMessage",
    "BusEndWorkerMessage",
    "BusFrameMessage",
    "BusJobCancelMessage",
    "BusJobRequestMessage",
    "BusJobResponseMessage",
    "BusJobResponseUrgentMessage",
    "BusJobStreamDataMessage",
    "BusJobStreamEndMessage",
    "BusJobStreamStartMessage",
    "BusJobUpdateMessage",
    "BusJobUpdateRequestMessage",
    "BusJobUpdateUrgentMessage",
    "BusLocalMessage",
    "BusMessage",
    "BusSystemMessage",
    "BusTTSSpeakMessage",
    "BusUICommandMessage",
    "BusUIDataMessage",
    "BusUIEventMessage",
    "BusUIJobCompletedMessage",
    "BusUIJobGroupCompletedMessage",
    "BusUIJobGroupStartedMessage",
    "BusUIJobUpdateMessage",
    "BusWorkerErrorMessage",
    "BusWorkerLocalErrorMessage",
    "BusWorkerReadyMessage",
    "BusWorkerRegistryMessage",
    "FrameDirection",
    "JobStatus",
    "check_name",
    "is_message_class",
    "message",
    "wire_tag",
]

T = TypeVar("T")

_MARK = "__trioworkers_message__"
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")


def check_name(name: object, what: str = "worker name") -> str:
    """Return `name` if it may name a worker, proxy or runner.

    Args:
        name: the candidate.
        what: how the error message calls it.

    Raises:
        TypeError: it is not a string.
        ValueError: it is not 1 to 128 characters of letters, digits, `_`, `-` and `.`.
    """
    if not isinstance(name, str):
        raise TypeError(f"{what} must be a str, not {name!r} of type {type(name).__name__}")
    if _NAME.fullmatch(name) is None:
        raise ValueError(
            f"{what} {name!r} is not allowed: use 1 to 128 characters of letters, digits, "
            "'_', '-' and '.' (':' and '/' are kept for addresses and paths)"
        )
    return name


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(attrs.field,))
def message(cls: type[T]) -> type[T]:
    """Make a bus message of a class: keyword-only, with slots, immutable to type checkers.

    `attrs.define` underneath; not `attrs.frozen`, because one message is made for every send and
    a frozen class costs three times as much to construct.

    Args:
        cls: a subclass of `BusMessage`.  `wire_name: ClassVar[str]` overrides its wire tag.

    Returns:
        The finished class.

    Raises:
        TypeError: `cls` is no subclass of `BusMessage`, or one for both lanes, or a default is a
            list, dict or set, or anything else that can change.
    """
    # The bases themselves are made with this decorator, before they exist.
    known: dict[str, type] = globals()
    if not isinstance(cls, type) or not issubclass(cls, known.get("BusMessage", object)):
        name = getattr(cls, "__qualname__", repr(cls))
        raise TypeError(f"@message: {name} must derive from BusDataMessage or BusSystemMessage")
    lanes = (known.get("BusDataMessage"), known.get("BusSystemMessage"))
    if all(lane is not None and issubclass(cls, lane) for lane in lanes):
        raise TypeError(
            f"@message: {cls.__qualname__} must derive from BusDataMessage or from "
            "BusSystemMessage, not from both: that is its lane"
        )
    made = attrs.define(
        cls, kw_only=True, slots=True, weakref_slot=False, on_setattr=attrs.setters.NO_OP
    )
    for field in attrs.fields(cast("type[attrs.AttrsInstance]", made)):
        _check_default(cls, field.name, field.default)
    setattr(made, _MARK, True)
    return made


def _check_default(cls: type, name: str, default: object) -> None:
    # What compares by content but has no hash can be changed.
    if type(default).__hash__ is None:
        kind = type(default).__name__
        factory = f"lambda: {default!r}" if default else kind
        raise TypeError(
            f"@message: all messages would share the one {kind} that is the default of "
            f"{cls.__qualname__}.{name}: use attrs.field(factory={factory})"
        )


def is_message_class(cls: type) -> bool:
    """Tell whether `cls` itself (not only a base of it) was made by `@message`."""
    return _MARK in cls.__dict__


def wire_tag(cls: type[BusMessage]) -> str:
    """Return the tag that names `cls` on a wire: `wire_name`, or its qualified name."""
    own = cls.__dict__.get("wire_name")
    return own if isinstance(own, str) else cls.__qualname__


class JobStatus(enum.StrEnum):
    """How a job ended, as it is written on a wire."""

    COMPLETED = "completed"
    CANCELLED = "cancelled"
    FAILED = "failed"
    ERROR = "error"


class FrameDirection(enum.Enum):
    """Which way a frame travels through its recipient."""

    UPSTREAM = "upstream"
    DOWNSTREAM = "downstream"


@message
class BusMessage:
    """What every message carries: who sent it and whom it is for.

    `source` may be left out; `send` stamps the sender.  `target=None` means broadcast.
    """

    wire_name: ClassVar[str]

    source: str = ""
    target: str | None = None


class BusLocalMessage:
    """Mixin: the message stays in this process, in both directions."""

    __slots__ = ()


@message
class BusDataMessage(BusMessage):
    """Base of ordinary messages: bounded lane, first in, first out."""


@message
class BusSystemMessage(BusMessage):
    """Base of messages that are handled before any waiting data message."""


# Frames and commands


@message
class BusFrameMessage(BusDataMessage):
    """Carries one frame: an instance of a registered attrs class."""

    frame: Any
    direction: FrameDirection
    bridge: str | None = None

    def reply(self, frame: Any, direction: FrameDirection | None = None) -> BusFrameMessage:
        """Return a message that answers this one: to its sender, over the same bridge.

        Args:
            frame: what to answer, an instance of a registered attrs class.
            direction: None for the direction of this one.
        """
        return BusFrameMessage(
            target=self.source,
            frame=frame,
            direction=self.direction if direction is None else direction,
            bridge=self.bridge,
        )


@message
class BusTTSSpeakMessage(BusDataMessage):
    """Ask a worker to speak a text: a command without an answer."""

    text: str
    append_to_context: bool | None = None


# Lifecycle


@message
class BusActivateWorkerMessage(BusDataMessage):
    """Make the target active; `args` reach its `on_activated`."""

    args: dict[str, Any] | None = None


@message
class BusDeactivateWorkerMessage(BusDataMessage):
    """Make the target inactive."""


@message
class BusEndMessage(BusDataMessage):
    """Ask the runner to end everything gracefully."""

    reason: str | None = None


@message
class BusEndWorkerMessage(BusDataMessage):
    """End the target gracefully."""

    reason: str | None = None


@message
class BusCancelMessage(BusSystemMessage):
    """Ask the runner to cancel everything."""

    reason: str | None = None


@message
class BusCancelWorkerMessage(BusSystemMessage):
    """Cancel the target."""

    reason: str | None = None


# Registry and errors


@message
class BusAddWorkerMessage(BusSystemMessage, BusLocalMessage):
    """Ask the runner to add a worker object as a root."""

    worker: Any


@message
class BusWorkerRegistryMessage(BusSystemMessage):
    """A snapshot of the workers of one runner."""

    runner: str
    workers: list[WorkerRegistryEntry]


@message
class BusWorkerReadyMessage(BusDataMessage):
    """Announce that a worker is ready."""

    runner: str
    parent: str | None = None
    active: bool = False
    bridged: bool = False
    started_at: float | None = None


@message
class BusWorkerErrorMessage(BusSystemMessage):
    """Report that a root worker failed."""

    error: str


@message
class BusWorkerLocalErrorMessage(BusSystemMessage, BusLocalMessage):
    """Report to the parent that a child failed."""

    error: str


# Jobs


@message
class BusJobRequestMessage(BusDataMessage):
    """Ask a worker to do a job.

    `payload` is a dict, or within a process the attrs object that the requester passed.
    """

    job_id: str
    job_name: str | None = None
    payload: Any = None


@message
class BusJobResponseMessage(BusDataMessage):
    """Tell the requester how a job ended."""

    job_id: str
    status: JobStatus
    response: Any = None


@message
class BusJobResponseUrgentMessage(BusSystemMessage):
    """As `BusJobResponseMessage`, ahead of other data on a link."""

    job_id: str
    status: JobStatus
    response: Any = None


@message
class BusJobUpdateMessage(BusDataMessage):
    """Tell the requester how a job is getting on."""

    job_id: str
    update: dict[str, Any] | None = None


@message
class BusJobUpdateUrgentMessage(BusSystemMessage):
    """As `BusJobUpdateMessage`, ahead of other data on a link."""

    job_id: str
    update: dict[str, Any] | None = None


@message
class BusJobUpdateRequestMessage(BusDataMessage):
    """Ask for an update of a running job."""

    job_id: str


@message
class BusJobCancelMessage(BusSystemMessage):
    """Cancel a running or waiting job."""

    job_id: str
    reason: str | None = None


@message
class BusJobStreamStartMessage(BusDataMessage):
    """Open the stream of a job."""

    job_id: str
    data: dict[str, Any] | None = None


@message
class BusJobStreamDataMessage(BusDataMessage):
    """Carry one item of a job's stream."""

    job_id: str
    data: dict[str, Any] | None = None


@message
class BusJobStreamEndMessage(BusDataMessage):
    """Close the stream of a job; `data` becomes the response."""

    job_id: str
    data: dict[str, Any] | None = None


JOB_REPLIES = (
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobUpdateMessage,
    BusJobUpdateUrgentMessage,
    BusJobStreamStartMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
)
"""What a worker tells whoever asked it for a job."""

JOB_PROTOCOL = (
    BusJobRequestMessage,
    BusJobCancelMessage,
    BusJobUpdateRequestMessage,
    *JOB_REPLIES,
)
"""All that is said about a job, by either side; jobs have no other messages."""


# UI carriers


@message
class BusUIDataMessage(BusDataMessage):
    """Base of what a UI worker and the owner of its transport tell each other."""


@message
class BusUIEventMessage(BusUIDataMessage):
    """A UI event, from the client to a worker."""

    event_name: str = ""
    payload: Any = None


@message
class BusUICommandMessage(BusUIDataMessage):
    """A UI command, from a worker to the client."""

    command_name: str = ""
    payload: Any = None


@message
class BusUIJobGroupStartedMessage(BusUIDataMessage):
    """A job group that the client may see has started; `at` in epoch milliseconds."""

    job_id: str = ""
    workers: list[str] | None = None
    label: str | None = None
    cancellable: bool = True
    at: int = 0


@message
class BusUIJobUpdateMessage(BusUIDataMessage):
    """Progress of one worker of a visible job group; `at` in epoch milliseconds."""

    job_id: str = ""
    worker_name: str = ""
    data: Any = None
    at: int = 0


@message
class BusUIJobCompletedMessage(BusUIDataMessage):
    """One worker of a visible job group is done; `at` in epoch milliseconds."""

    job_id: str = ""
    worker_name: str = ""
    status: str = ""
    response: Any = None
    at: int = 0


@message
class BusUIJobGroupCompletedMessage(BusUIDataMessage):
    """A visible job group is done; `at` in epoch milliseconds."""

    job_id: str = ""
    at: int = 0
