"""Small frozen values that several rooms pass around."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from .messages import BusMessage

DeadLetterReason: TypeAlias = Literal[
    "unknown",
    "stopped",
    "ending",
    "inactive",
    "unhandled",
    "overflow",
    "interrupted",
    "cancelled",
    "crashed",
    "bad payload",
    "late reply",
    "refused",
    "undecodable",
    "link lost",
]


def excerpt(value: object, length: int = 500) -> str:
    """Show a value in a log line, whatever its `__repr__` does; what a peer sent may be long."""
    try:
        text = repr(value)
    except Exception as problem:  # noqa: BLE001 - it is user code
        text = f"<{type(value).__name__} whose repr raises {type(problem).__name__}>"
    return text if len(text) <= length else f"{text[:length]}..."


def safe_text(value: object) -> str:
    """Return `str(value)`, also of a foreign object whose `__str__` raises."""
    try:
        return str(value)
    except Exception as problem:  # noqa: BLE001 - it is user code
        return f"<{type(value).__name__} whose text raises {type(problem).__name__}>"


def error_text(error: BaseException) -> str:
    """Return type and message of an exception on one line, whatever its `__str__` does."""
    return f"{type(error).__name__}: {safe_text(error)}"


def errors_text(errors: Iterable[BaseException]) -> str:
    """Return types and messages of several exceptions on one line."""
    return "; ".join(error_text(error) for error in errors)


class WorkerState(enum.StrEnum):
    """Where a worker, or a runner, is in its life."""

    ADDED = "added"
    STARTING = "starting"
    READY = "ready"
    ENDING = "ending"
    STOPPED = "stopped"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Restart(enum.Enum):
    """When a supervisor restarts a child (OTP's restart types)."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"


class Strategy(enum.Enum):
    """Which siblings are restarted with a child (OTP's strategies)."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"


@attrs.frozen
class Backoff:
    """How long to wait before trying again: exponential, capped, with jitter.

    All in seconds but `factor` and `jitter` (a fraction of the delay).  A child, or a link, that
    was healthy for `reset_after` starts again from `initial`.
    """

    initial: float = attrs.field(default=0.1, validator=attrs.validators.ge(0))
    maximum: float = attrs.field(default=30.0, validator=attrs.validators.ge(0))
    factor: float = attrs.field(default=2.0, validator=attrs.validators.ge(1))
    jitter: float = attrs.field(
        default=0.2, validator=[attrs.validators.ge(0), attrs.validators.le(1)]
    )
    reset_after: float = attrs.field(default=60.0, validator=attrs.validators.ge(0))

    def delay(self, attempt: int, random: float) -> float:
        """Return the seconds to wait before attempt `attempt` (from 1).

        Args:
            attempt: which try in a row this is.
            random: a number from 0 to 1 that places the delay within its jitter.
        """
        try:
            grown = self.initial * self.factor ** (attempt - 1)
        except OverflowError:
            grown = self.maximum
        return min(self.maximum, grown) * (1 + self.jitter * (2 * random - 1))


@attrs.frozen
class StopReason:
    """Why something stopped, and who decided it."""

    kind: Literal["ended", "cancelled", "failed"]
    reason: str | None
    path: str

    def __str__(self) -> str:
        """Return one line for logs and error messages."""
        return f"{self.kind}: {self.reason or 'no reason given'} (by {self.path})"


@attrs.frozen
class WorkerReadyData:
    """A worker became ready."""

    worker_name: str
    runner: str


@attrs.frozen
class WorkerErrorData:
    """A worker failed; `exception` is None when the news came over a link."""

    worker_name: str
    error: str
    exception: BaseException | None = None


@attrs.frozen
class WorkerRegistryEntry:
    """What the registry knows of a worker; `started_at` in Unix seconds."""

    name: str
    parent: str | None = None
    active: bool = False
    bridged: bool = False
    started_at: float | None = None


@attrs.frozen
class DeadLetter:
    """A message that could not be delivered or was not handled; `at` in trio time."""

    message: BusMessage
    reason: DeadLetterReason
    at: float
    detail: str = ""


@attrs.frozen
class Lagged:
    """Stands in a stream where its reader was too slow: `missed` items were left out."""

    missed: int


JobEventType: TypeAlias = Literal["update", "stream_start", "stream_data", "stream_end"]


@attrs.frozen
class JobEvent:
    """One thing a running job told its requester."""

    type: JobEventType
    data: dict[str, Any] | None


@attrs.frozen
class JobGroupEvent:
    """One thing a running member of a job group told its requester."""

    worker_name: str
    type: JobEventType
    data: dict[str, Any] | None


@attrs.frozen
class Up:
    """A monitored worker is ready."""

    worker_name: str


@attrs.frozen
class Down:
    """A monitored worker is no longer ready; `reason` is None when nobody knows it."""

    worker_name: str
    reason: StopReason | None


@attrs.frozen
class MailboxStatistics:
    """How full a mailbox is.

    `oldest_age` is in seconds and exact to within 64 messages; 0 when the data lane is empty.
    """

    data_depth: int
    system_depth: int
    capacity: int
    high_water_mark: int
    oldest_age: float
    waiting_senders: int
    accepted: int
    dropped: int


@attrs.frozen
class WorkerStatistics:
    """What one worker has done so far."""

    name: str
    state: WorkerState
    active: bool
    mailbox: MailboxStatistics
    handled: int
    jobs_running: int
    jobs_queued: int
    jobs_served: int
    restarts: int
    children: int


@attrs.frozen
class LinkStatistics:
    """What crosses the link of a proxy; counts since the session began.

    Of a session that outlives its connections, `resumed` says over how many further ones it has
    gone on, and `sent_again` how many messages had to leave more than once.
    """

    connected: bool = False
    data_depth: int = 0
    system_depth: int = 0
    waiting_senders: int = 0
    inbox_depth: int = 0
    sent: int = 0
    received: int = 0
    resumed: int = 0
    sent_again: int = 0


@attrs.frozen
class RunnerStatistics:
    """What one runner has done so far; `dead_letters` counts by reason."""

    name: str
    state: WorkerState
    workers: int
    sent: int
    open_jobs: int
    dead_letters: dict[str, int]
