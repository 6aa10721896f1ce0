"""The whole exception tree.

    WorkersError
    ├── NameTakenError                  a worker of this name exists already
    ├── MailboxFullError                a lane with overflow="refuse" is full
    ├── SystemLaneFullError             the hard cap of a system lane is reached
    ├── BackpressureDeadlockError       this send would close a circle of waits
    ├── RestartIntensityExceeded        a supervisor gave up; carries every cause
    ├── JobError                        a job did not complete
    │   ├── JobFailedError              its handler raised JobFailed
    │   ├── JobRemoteError              its handler raised something else
    │   ├── JobRefusedError             it was not accepted
    │   ├── JobCancelledError           somebody other than its requester cancelled it
    │   ├── WorkerGoneError             its worker stopped, crashed or was cut off
    │   │   └── UnknownWorkerError      there is no worker of that name
    │   └── JobGroupError               a member of the group did not complete
    └── WireError                       something is wrong on a link
        ├── LocalWireError              this side misused it
        │   └── MessageTooBigError      a message exceeds the peer's limit
        ├── RemoteWireError             the peer misbehaved
        └── ReplayGapError              messages were lost and cannot be sent again

`JobFailed` stands outside: a job handler raises it, its requester gets `JobFailedError`.
Where trio has the word, trio's error is used: `trio.WouldBlock`, `trio.TooSlowError`,
`trio.ClosedResourceError`, `trio.BusyResourceError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from ._values import errors_text
from .messages import JobStatus

__all__ = [
    "BackpressureDeadlockError",
    "JobCancelledError",
    "JobError",
    "JobFailed",
    "JobFailedError",
    "JobGroupError",
    "JobRefusedError",
    "JobRemoteError",
    "LocalWireError",
    "MailboxFullError",
    "MessageTooBigError",
    "NameTakenError",
    "RemoteWireError",
    "ReplayGapError",
    "RestartIntensityExceeded",
    "SystemLaneFullError",
    "UnknownWorkerError",
    "WireError",
    "WorkerGoneError",
    "WorkersError",
]


class WorkersError(Exception):
    """Base of everything this package raises on its own account."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Let it be copied and pickled: its text is not what its constructor takes."""
        return _rebuild, (type(self), self.args, self.__dict__)


def _rebuild(cls: type[WorkersError], args: tuple[Any, ...], fields: dict[str, Any]) -> Any:
    error = cls.__new__(cls, *args)
    error.__dict__.update(fields)
    return error


class NameTakenError(WorkersError):
    """A worker, proxy or runner of this name is on the bus already."""

    def __init__(self, name: str) -> None:
        """Name the name."""
        super().__init__(
            f"the name {name!r} is taken: stop the worker that has it, or choose another name"
        )
        self.name = name


class MailboxFullError(WorkersError):
    """The data lane is full: it refuses; or twice so, for an activation, which is never dropped."""

    def __init__(
        self, worker: str, capacity: int, overflow: str = "refuse", held: int | None = None
    ) -> None:
        """Name the worker, its capacity and policy, and how many messages its lane holds."""
        held = capacity if held is None else held
        what = f"{held} message{'s' * (held != 1)}, overflow={overflow!r}"
        if held >= 2 * capacity:
            what += ", and not even activation or deactivation may exceed twice its capacity"
        super().__init__(
            f"the mailbox of {worker!r} is full ({what}): "
            "send later, raise mailbox_capacity, or use overflow='wait'"
        )
        self.worker = worker
        self.capacity = capacity


class SystemLaneFullError(WorkersError):
    """The hard cap of the system lane is reached: something floods it, or nothing drains it."""

    def __init__(self, worker: str, limit: int) -> None:
        """Name the worker and the cap."""
        super().__init__(
            f"the system lane of {worker!r} holds {limit} messages, its hard cap: a system "
            "handler is stuck, or a sender uses the system lane for bulk data"
        )
        self.worker = worker
        self.limit = limit


class BackpressureDeadlockError(WorkersError):
    """This send would wait for a worker that waits, directly or not, for the sender."""

    def __init__(self, cycle: Sequence[str]) -> None:
        """Name the circle of waits, from the sender round to itself."""
        super().__init__(
            f"waiting here would close a circle of waits: {' -> '.join(cycle)}; "
            "use send_nowait, a larger mailbox_capacity, or let one of them not wait"
        )
        self.cycle: tuple[str, ...] = tuple(cycle)


class RestartIntensityExceeded(WorkersError):
    """A supervisor restarted more than `max_restarts` times in `period` seconds."""

    def __init__(
        self, supervisor: str, max_restarts: int, period: float, causes: Sequence[BaseException]
    ) -> None:
        """Name the supervisor, its settings and what made it restart, oldest first."""
        super().__init__(
            f"{supervisor!r} had to restart children more than {max_restarts} times in {period} s "
            f"({errors_text(causes)}): mend the cause, or raise max_restarts or period"
        )
        self.supervisor = supervisor
        self.causes: tuple[BaseException, ...] = tuple(causes)


class JobError(WorkersError):
    """A job did not complete."""


class JobFailed(Exception):
    """Raise this in a job handler to answer that the job failed.

    Args:
        reason: one line for the requester.
        response: data for the requester, a dict.
    """

    # For a subclass whose constructor does not call this one.
    reason: str = ""
    response: dict[str, Any] | None = None

    def __init__(self, reason: str = "", response: dict[str, Any] | None = None) -> None:
        """Take the reason and the data that go to the requester.

        Raises:
            TypeError: `response` is no dict.
        """
        if response is not None and not isinstance(response, dict):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"response must be a dict or None, not {response!r}")
        super().__init__(reason)
        self.reason = reason
        self.response = response


class JobFailedError(JobError):
    """The handler answered that the job failed."""

    def __init__(
        self, worker: str, job: str, reason: str, status: JobStatus, response: Any = None
    ) -> None:
        """Name the worker, the job and what the handler said."""
        super().__init__(f"job {job!r} of {worker!r} failed: {reason or 'no reason given'}")
        self.reason = reason
        self.status = status
        self.response = response


class JobRemoteError(JobError):
    """The handler raised an exception.

    Within a process `__cause__` is the exception itself; over a link only its text is known.
    """

    def __init__(self, worker: str, job: str, type_name: str, message: str, trace: str) -> None:
        """Name the worker, the job and the exception; `trace` is its traceback as text."""
        super().__init__(f"job {job!r} of {worker!r} raised {type_name}: {message}")
        self.type_name = type_name
        self.message = message
        self.trace = trace


_REFUSALS = {
    "inactive": "activate the worker first",
    "ending": "the worker is ending and takes no new jobs",
    "busy": "retry later, or raise max_concurrent_jobs or mailbox_capacity",
}


class JobRefusedError(JobError):
    """The job was not accepted.

    No handler ran, or it was cancelled because its requester would have waited for itself.
    """

    def __init__(self, worker: str, job: str, reason: str, detail: str = "") -> None:
        """Name the worker, the job, one of the reasons of the documentation and the details."""
        hint = detail or _REFUSALS.get(reason, "")
        super().__init__(
            f"job {job!r} was refused by {worker!r}: {reason}" + (f" ({hint})" if hint else "")
        )
        self.reason = reason
        self.detail = detail


class JobCancelledError(JobError):
    """Somebody other than the requester cancelled the job."""

    def __init__(self, worker: str, job: str, reason: str | None, path: str) -> None:
        """Name the worker, the job, why it was cancelled and who did it."""
        super().__init__(
            f"job {job!r} of {worker!r} was cancelled by {path}: {reason or 'no reason given'}"
        )
        self.reason = reason
        self.path = path


class WorkerGoneError(JobError):
    """The worker stopped, crashed or was cut off before it answered."""

    _text: ClassVar[str] = "worker {name!r} is gone: {reason}"

    def __init__(self, name: str, reason: str) -> None:
        """Name the worker and why it is gone."""
        super().__init__(self._text.format(name=name, reason=reason))
        self.name = name
        self.reason = reason


class UnknownWorkerError(WorkerGoneError):
    """There is no worker of that name here."""

    _text: ClassVar[str] = (
        "there is no worker {name!r} on the bus: check the name, add the worker first, or wait "
        "for it with registry.wait_ready()"
    )

    def __init__(self, name: str) -> None:
        """Name the name."""
        super().__init__(name, "it is unknown")


class JobGroupError(JobError):
    """A member of a job group did not complete.

    `outcomes` has one entry for every member: its response, or its `JobError`.
    """

    def __init__(self, outcomes: Mapping[str, Any]) -> None:
        """Take every member's outcome."""
        failed = {name: o for name, o in outcomes.items() if isinstance(o, JobError)}
        super().__init__(
            f"{len(failed)} of {len(outcomes)} members of the job group did not complete: "
            + "; ".join(f"{name}: {error}" for name, error in failed.items())
        )
        self.outcomes: dict[str, Any] = dict(outcomes)


class WireError(WorkersError):
    """Something is wrong on a link between two runners."""


class LocalWireError(WireError):
    """This side misused the link."""


class RemoteWireError(WireError):
    """The peer misbehaved."""


class MessageTooBigError(LocalWireError):
    """A message exceeds what the peer takes; sizes in bytes."""

    def __init__(self, size: int, limit: int) -> None:
        """Name both sizes."""
        super().__init__(f"the message has {size} bytes, the peer takes {limit}: send less at once")
        self.size = size
        self.limit = limit


class ReplayGapError(WireError):
    """Messages may be lost: they were sent over a link, and the peer has forgotten its session."""

    def __init__(self, worker: str, lost: int) -> None:
        """Name the worker beyond the link, and how many messages may be lost."""
        super().__init__(
            f"{lost} messages to {worker!r} may be lost: its side has forgotten the session that "
            "they belong to; each is a dead letter or a failed job"
        )
        self.worker = worker
        self.lost = lost
