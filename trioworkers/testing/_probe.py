"""A worker that a test holds in its hands."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs
import trio

from .._handlers import HandlerTable, JobHandler, SystemHandler
from .._handlers import handles as check_handled
from .._jobs import Job
from .._worker import Worker
from ..errors import JobFailed, WorkerGoneError
from ..messages import BusMessage, BusSystemMessage

__all__ = ["Probe", "ProbeJob"]

M = TypeVar("M", bound=BusMessage)
T = TypeVar("T")


class ProbeJob:
    """A job that a probe was asked to do, for the test to answer.

    Attributes:
        job: the job as a handler sees it: `await job.update(...)`, `await job.stream(...)`.
        payload: what the requester passed, as it is.
        cancelled: whether the handler was cancelled before it was answered.
    """

    def __init__(self, job: Job, payload: Any) -> None:
        """Made by the probe."""
        self.job = job
        self.payload = payload
        self.cancelled: bool = False
        self._answered = trio.Event()
        self._exited = trio.Event()
        self._response: Any = None
        self._error: Exception | None = None

    def __repr__(self) -> str:
        """Show name, payload and requester."""
        return f"<ProbeJob {self.job.name!r} {self.payload!r} of {self.job.requester!r}>"

    @property
    def name(self) -> str:
        """The job's name."""
        return self.job.name

    def answer(self, response: Any = None) -> None:
        """Complete the job.

        Args:
            response: a dict, an attrs object or None.

        Raises:
            RuntimeError: it was answered already, or its handler has exited.
        """
        if self._answered.is_set() or self._exited.is_set():
            state = "was cancelled" if self.cancelled else "was answered already"
            raise RuntimeError(f"job {self.name!r} of {self.job.requester!r} {state}")
        self._response = response
        self._answered.set()

    def fail(self, reason: str = "", response: dict[str, Any] | None = None) -> None:
        """Let the job fail: the requester gets `JobFailedError`.

        Raises:
            RuntimeError: as `answer`.
        """
        self.crash(JobFailed(reason, response))

    def crash(self, error: Exception) -> None:
        """Let the handler raise `error`: the requester gets `JobRemoteError`.

        Raises:
            RuntimeError: as `answer`.
        """
        self.answer()
        self._error = error

    async def wait_exited(self) -> None:
        """Wait until the handler has exited, answered or `cancelled`.  A checkpoint."""
        await self._exited.wait()

    async def run(self) -> Any:
        """Be the handler: wait for the answer, and give it."""
        try:
            await self._answered.wait()
            if self._error is not None:
                raise self._error
            return self._response
        except trio.Cancelled:
            self.cancelled = True
            raise
        finally:
            self._exited.set()


class Probe(Worker):
    """A worker that handles everything and hands it to the test.

    Every message for it by name is kept until `receive` takes it, every job request until
    `next_job` takes it; the job then runs until the test answers it.
    """

    def __init__(
        self,
        name: str,
        *,
        hears: Iterable[type[BusMessage]] = (),
        active: bool = True,
        max_concurrent_jobs: int = 64,
    ) -> None:
        """Make a probe; add it like any worker.

        Args:
            name: its name.
            hears: the types whose broadcasts reach it too.
            active: whether it starts active.
            max_concurrent_jobs: how many jobs it takes at once.

        Raises:
            TypeError: a type in `hears` is no message type that can be handled.
        """
        super().__init__(name, active=active, max_concurrent_jobs=max_concurrent_jobs)
        self._messages: list[BusMessage] = []
        self._jobs: list[ProbeJob] = []
        self._waiting = trio.lowlevel.ParkingLot()
        self._over = False
        self._handler_table = _catch_all(hears)  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    async def receive(self, message_type: type[M]) -> M:
        """Take the oldest message of this type that was not taken; wait for one if there is none.

        A checkpoint.  Messages of other types stay.

        Args:
            message_type: a message class; subclasses included.

        Raises:
            WorkerGoneError: the probe stopped, and there is none.
        """
        return await self._take(
            self._messages, lambda found: found if isinstance(found, message_type) else None
        )

    async def next_job(self, name: str | None = None) -> ProbeJob:
        """Take the oldest job of this name that was not taken; wait for one if there is none.

        A checkpoint.  Jobs that were cancelled before they were taken are passed over.

        Args:
            name: the job's name; None for any.

        Raises:
            WorkerGoneError: the probe stopped, and there is none.
        """
        return await self._take(
            self._jobs, lambda found: found if name in (None, found.name) else None
        )

    def none_left(self) -> bool:
        """Check that every message and job was taken.

        Returns:
            True, so that it may stand in an `assert`.

        Raises:
            AssertionError: something was not taken.
        """
        left = [*map(repr, self._messages), *map(repr, self._jobs)]
        if left:
            raise AssertionError(f"probe {self.name!r} still has {', '.join(left)}")
        return True

    async def on_start(self) -> None:
        """Begin to take messages."""
        self._over = False

    async def on_stop(self) -> None:
        """Let go of tests that wait."""
        self._over = True
        self._waiting.unpark_all()

    async def _take(self, items: list[Any], pick: Callable[[Any], T | None]) -> T:
        await trio.lowlevel.checkpoint()
        while True:
            for place, item in enumerate(items):
                found = pick(item)
                if found is not None:
                    del items[place]
                    return found
            if self._over:
                raise WorkerGoneError(self.name, str(self.stop_reason))
            await self._waiting.park()

    async def _keep(self, message: Any) -> None:
        self._messages.append(message)
        self._waiting.unpark_all()

    async def _serve(self, job: Job, payload: Any) -> Any:
        pending = ProbeJob(job, payload)
        self._jobs.append(pending)
        self._waiting.unpark_all()
        try:
            return await pending.run()
        finally:
            if pending in self._jobs:
                self._jobs.remove(pending)


# The tables of a probe: like those of a class, but what is not in them is made when looked up.


def _is_handled(message_type: type[BusMessage]) -> bool:
    try:
        check_handled(message_type)
    except TypeError:
        return False
    return True


class _DataTable(dict[type[BusMessage], Any]):
    def __contains__(self, message_type: object) -> bool:
        return isinstance(message_type, type) and _is_handled(message_type)

    def __missing__(self, message_type: type[BusMessage]) -> Any:
        return Probe._keep


class _SystemTable(dict[type[BusMessage], SystemHandler]):
    def get(self, message_type: type[BusMessage], _default: object = None) -> Any:
        if message_type in self:
            return self[message_type]
        return SystemHandler(Probe._keep) if _is_handled(message_type) else None


@attrs.define(eq=False)
class _ProbeHandler(JobHandler):
    def payload(self, value: Any) -> Any:
        return value


class _JobTable(dict[str, JobHandler]):
    def get(self, name: str, _default: object = None) -> Any:
        return _ProbeHandler(name, Probe._serve, False)


def _catch_all(hears: Iterable[type[BusMessage]]) -> HandlerTable:
    own = Worker._handler_table
    table = HandlerTable(_DataTable(), _SystemTable(own.system), _JobTable())
    for message_type in hears:
        check_handled(message_type)
        if issubclass(message_type, BusSystemMessage):
            table.system[message_type] = SystemHandler(Probe._keep)
        else:
            table.data[message_type] = Probe._keep
    return table
