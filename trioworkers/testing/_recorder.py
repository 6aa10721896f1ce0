"""An instrument that writes everything down."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias, TypeVar

import attrs
import trio

from .._values import DeadLetter, WorkerState
from ..abc import Instrument
from ..messages import BusMessage

__all__ = ["Recorded", "RecordedKind", "Recorder"]

M = TypeVar("M", bound=BusMessage)

RecordedKind: TypeAlias = Literal[
    "state", "sent", "handled", "job_started", "job_finished", "restart", "dead_letter"
]


@attrs.frozen
class Recorded:
    """One thing that happened; `at` in trio time.

    `value` is the state, the message, the job's name, a pair of the job's name and its status, a
    pair of the attempt and the delay in seconds, or the dead letter.
    """

    kind: RecordedKind
    worker: str
    value: Any
    at: float


class Recorder(Instrument):
    """Records what happens in a runner, in order, in `events`.

    Add it with `runner.add_instrument(recorder)`.
    """

    def __init__(self) -> None:
        """Start with nothing recorded."""
        self.events: list[Recorded] = []

    def _record(self, kind: RecordedKind, worker: str, value: Any) -> None:
        self.events.append(Recorded(kind, worker, value, trio.current_time()))

    def _values(self, kind: RecordedKind, worker: str | None) -> list[Any]:
        return [
            event.value
            for event in self.events
            if event.kind == kind and worker in (None, event.worker)
        ]

    # What was recorded

    def states(self, worker: str) -> list[WorkerState]:
        """Return the states of `worker`, in order."""
        return self._values("state", worker)

    def sent(self, message_type: type[M], source: str | None = None) -> list[M]:
        """Return the messages of this type that were sent, in order; by `source`, or by all."""
        return [each for each in self._values("sent", source) if isinstance(each, message_type)]

    def handled(self, message_type: type[M], worker: str | None = None) -> list[M]:
        """Return the messages of this type that were handled, in order; by `worker`, or by all."""
        return [each for each in self._values("handled", worker) if isinstance(each, message_type)]

    def jobs(self, worker: str | None = None) -> list[tuple[str, str]]:
        """Return names and statuses of the jobs that were finished, in order."""
        return self._values("job_finished", worker)

    def restarts(self, worker: str | None = None) -> list[tuple[int, float]]:
        """Return number and delay (in seconds) of each restart."""
        return self._values("restart", worker)

    # The instrument

    def worker_state_changed(self, worker: str, state: WorkerState) -> None:
        """Record a new state."""
        self._record("state", worker, state)

    def message_sent(self, message: BusMessage) -> None:
        """Record a message that was put on the bus; `worker` is its source."""
        self._record("sent", message.source, message)

    def message_handled(self, worker: str, message: BusMessage) -> None:
        """Record a message whose handler returned."""
        self._record("handled", worker, message)

    def job_started(self, worker: str, job_id: str, job: str) -> None:
        """Record a job whose handler is about to make its first step."""
        del job_id  # made up anew in each run
        self._record("job_started", worker, job)

    def job_finished(self, worker: str, job_id: str, job: str, status: str) -> None:
        """Record a job whose handler has exited."""
        del job_id
        self._record("job_finished", worker, (job, status))

    def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
        """Record a restart that will come after `delay` seconds."""
        self._record("restart", worker, (attempt, delay))

    def dead_letter(self, letter: DeadLetter) -> None:
        """Record a dead letter; `worker` is who it was for, or nobody."""
        self._record("dead_letter", letter.message.target or "", letter)
