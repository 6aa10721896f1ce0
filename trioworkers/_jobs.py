"""Jobs on the side of the worker that serves them.

Each way a handler can end leads to `JobDesk.serve`, which turns it into the request's outcome.
"""

from __future__ import annotations

import traceback
from collections import deque
from collections.abc import Callable, Coroutine, Mapping, Sequence
from math import inf
from typing import Any, Protocol, cast

import trio
from trio.lowlevel import current_task

from . import _payloads
from ._bus import LocalBus
from ._handlers import JobHandler
from ._interrupts import protected
from ._requests import Outcome, Request, serving
from ._tree import leaves
from ._values import JobEventType, StopReason, error_text, safe_text
from ._waits import Mover
from .errors import JobError, JobFailed, JobFailedError, JobRemoteError, WorkerGoneError
from .messages import (
    JobStatus,
)

__all__ = ["Job", "JobDesk", "JobHost"]

_NO_STREAM: Any = object()


@protected
class Job:
    """A job as its handler sees it.

    `deadline` is in trio time, `inf` if the requester has none; the requester's scope is what
    really limits the handler.
    """

    __slots__ = (
        "_scope",
        "_streamed",
        "deadline",
        "handler",
        "id",
        "name",
        "payload",
        "request",
        "requester",
        "task",
    )

    def __init__(self, request: Request, handler: JobHandler, payload: Any) -> None:
        """Make the handler's side of `request`."""
        self.id: str = request.id
        self.name: str = request.name
        self.requester: str = request.requester
        self.deadline: float = request.deadline
        self.payload: Any = payload
        self.handler: JobHandler = handler
        # Only its desk cancels it: it has to know who did, and why.
        self._scope: trio.CancelScope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self.request: Request = request
        self._streamed: Any = _NO_STREAM

    @property
    def stop_reason(self) -> StopReason | None:
        """Why the job was cancelled, and the path of who decided it; None if it was not.

        For a handler on its way out: to log it, or to tell others.  Beyond links the path goes on:
        `shop/acme -> desk/gateway`.  Also None where the handler is cancelled because its worker
        stops: that is the worker's `stop_reason`.
        """
        cancelled = self.request.cancelled_by
        return None if cancelled is None else StopReason("cancelled", *cancelled)

    async def update(self, data: dict[str, Any] | None = None, *, urgent: bool = False) -> None:
        """Tell the requester how the job is getting on.

        A cancellation point; waits while the requester reads its events slowly.

        Args:
            data: what to tell.
            urgent: on a link, go ahead of other data together with older events of this job.

        Raises:
            TypeError: `data` is no dict.
            RuntimeError: the job has ended.
            BackpressureDeadlockError: its reader waits, directly or not, for this job.
        """
        await self._emit("update", data, urgent)

    async def stream_start(self, data: dict[str, Any] | None = None) -> None:
        """Open the job's stream; as `update` otherwise."""
        await self._stream("stream_start", data)

    async def stream(self, data: dict[str, Any] | None = None) -> None:
        """Send one item of the job's stream; as `update` otherwise."""
        await self._stream("stream_data", data)

    async def stream_end(self, data: dict[str, Any] | None = None) -> None:
        """Close the job's stream; `data` becomes the response; as `update` otherwise."""
        await self._stream("stream_end", data)
        self._streamed = {} if data is None else data

    async def _stream(self, kind: JobEventType, data: dict[str, Any] | None) -> None:
        if self._streamed is not _NO_STREAM:
            raise RuntimeError(
                f"the stream of job {self.name!r} has ended: send no {kind} after it"
            )
        await self._emit(kind, data)

    async def _emit(
        self, kind: JobEventType, data: dict[str, Any] | None, urgent: bool = False
    ) -> None:
        if data is not None and not isinstance(data, dict):
            raise TypeError(f"{kind} takes a dict, not {data!r} of type {type(data).__name__}")
        request = self.request
        if request.exited:
            raise RuntimeError(f"job {self.name!r} has ended: send its events before it returns")
        await request.bus.pause()
        if request.bus.watched:
            request.bus.tell(request.event_message(kind, data, urgent=urgent))
        await request.box.put(request.event(kind, data), urgent)

    def response(self, returned: Any) -> Any:
        """Return what the job answers when its handler returned `returned`.

        Raises:
            TypeError: it is no possible response.
        """
        if self._streamed is not _NO_STREAM:
            if returned is not None:
                raise TypeError(
                    f"job {self.name!r} returned {returned!r} after stream_end(), which already "
                    "gave the response: return None"
                )
            return self._streamed
        if returned is None:
            return {}
        if isinstance(returned, dict) or _payloads.is_attrs_object(returned):
            return cast("Any", returned)
        raise TypeError(
            f"job {self.name!r} returned {returned!r}: return a dict, an attrs object or None"
        )


class JobHost(Protocol):
    """What a desk asks of the worker slot it belongs to."""

    name: str
    bus: LocalBus
    worker: Any
    active: bool

    @property
    def max_concurrent_jobs(self) -> int:
        """How many jobs run at once."""
        ...

    @property
    def handlers(self) -> Mapping[str, JobHandler]:
        """The job handlers of the present incarnation."""
        ...

    @property
    def capacity(self) -> int:
        """How many requests may wait for a job slot."""
        ...

    def start_job(self, run: Callable[[Job], Coroutine[Any, Any, None]], job: Job) -> None:
        """Run `job` in a task of its own."""
        ...

    def gone_text(self) -> str:
        """Say why the worker's jobs end with it."""
        ...

    def job_exited(self) -> None:
        """Take note that a job's task is about to end."""
        ...


@protected
class JobDesk:
    """Admits, runs and queues the jobs of one worker slot."""

    __slots__ = ("_host", "queue", "running", "served")

    def __init__(self, host: JobHost) -> None:
        """Start without jobs."""
        self._host = host
        # In order of starting.
        self.running: dict[Request, Job] = {}
        self.queue: deque[Request] = deque()
        self.served = 0

    def admit(self, request: Request) -> None:
        """Start `request`, let it wait for a job slot, or refuse it."""
        host = self._host
        if not host.active:
            request.refuse("inactive")
            return
        handler = host.handlers.get(request.name)
        if handler is None:
            known = ", ".join(sorted(host.handlers)) or "none"
            request.refuse("unknown job", f"it serves: {known}")
            return
        try:
            payload = handler.payload(request.payload)
        except _payloads.MisfitError as misfit:
            request.refuse("bad payload", str(misfit))
            return
        request.job = Job(request, handler, payload)
        if self._may_start(request.job):
            self._start(request)
        elif len(self.queue) >= host.capacity:
            request.refuse("busy")
        else:
            self.queue.append(request)
            self._refuse_if_stuck(request)

    def _may_start(self, job: Job) -> bool:
        if len(self.running) >= self._host.max_concurrent_jobs:
            return False
        return not job.handler.sequential or self._sequential_before(job.name) is None

    def _sequential_before(self, name: str) -> Job | None:
        for running in self.running.values():
            if running.name == name:
                return running
        return None

    def _refuse_if_stuck(self, request: Request) -> None:
        """Refuse a request whose requester waits already, if queueing it closed a circle."""
        reader = request.box.reader
        circle = None if reader is None else request.bus.waits.find_circle(reader, request)
        if circle is not None:
            self.queue.remove(request)
            request.refuse("deadlock", " -> ".join(circle))

    def _start(self, request: Request) -> None:
        job: Job = request.job
        self.running[request] = job
        self._host.start_job(self.serve, job)

    def _start_waiting(self) -> None:
        place = 0
        while place < len(self.queue):
            request = self.queue[place]
            if self._may_start(request.job):
                del self.queue[place]
                self._start(request)
            elif len(self.running) >= self._host.max_concurrent_jobs:
                return
            else:
                place += 1

    async def serve(self, job: Job) -> None:
        """Run the handler of `job`, and turn whatever happens into the one outcome."""
        request = job.request
        job.task = current_task()
        serving.set(request)
        observers = request.bus.observers
        if observers.job_started:
            observers.notify("job_started", request.target, job.id, job.name)
        try:
            # Errors are caught outside the job's own scope: it filters its cancellation out of
            # an exception group first.
            try:
                with job._scope:
                    if request.cancelled_by is None:
                        returned = await job.handler.function(self._host.worker, job, job.payload)
                        request.finish(Outcome(JobStatus.COMPLETED, job.response(returned)))
            except Exception as error:  # noqa: BLE001 - it is the answer
                request.finish(_failed(request, error))
            except BaseExceptionGroup as group:
                errors, rest = group.split(Exception)
                if errors is not None:
                    request.finish(_failed(request, errors))
                if rest is not None:
                    _escaped(request, rest)
                    raise rest from None
            except BaseException as error:
                _escaped(request, error)
                raise
        finally:
            self._exited(request)
            if observers.job_finished:
                status = cast("Outcome", request.outcome).status
                observers.notify("job_finished", request.target, job.id, job.name, str(status))

    def _exited(self, request: Request) -> None:
        del self.running[request]
        self.served += 1
        if request.cancelled_by is not None:
            request.finish(request.cancelled())
        elif request.outcome is None:
            error = WorkerGoneError(request.target, self._host.gone_text())
            request.finish(Outcome(JobStatus.ERROR, error=error))
        request.exit()
        # Else the two hold each other, and every job would be work for the garbage collector.
        request.job = None
        # When the worker is being cut off, those who wait are for its next incarnation.
        if self.queue and trio.current_effective_deadline() > -inf:
            self._start_waiting()
        self._host.job_exited()

    def cancel(self, request: Request) -> None:
        """Cancel a request that waits for a job slot or runs."""
        job = self.running.get(request)
        if job is not None:
            reason = request.cancelled_by[0] if request.cancelled_by else None
            job._scope.cancel(reason=reason)
        else:
            if request in self.queue:
                self.queue.remove(request)
            request.finish(request.cancelled())
            request.exit()

    def resume(self) -> None:
        """Look again at the waiting requests: a new incarnation may serve other jobs."""
        waiting, self.queue = self.queue, deque()
        for request in waiting:
            self.admit(request)

    def close(self, reason: str) -> None:
        """End the waiting requests: the worker is gone."""
        while self.queue:
            self.queue.popleft().gone(reason)

    def movers(self, request: Request) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before `request`, which runs or waits for a slot, is done."""
        job = self.running.get(request)
        if job is not None:
            # A task that has not made its first step is not stuck.
            return False, () if job.task is None else (job.task,)
        waiting: Job = request.job
        before = self._sequential_before(waiting.name) if waiting.handler.sequential else None
        blockers = self.running.values() if before is None else (before,)
        if any(job.task is None for job in blockers):
            return False, ()
        return True, [job.task for job in blockers if job.task is not None]


def _escaped(request: Request, error: BaseException) -> None:
    """Name what ends the worker, if it is not a cancellation."""
    for leaf in leaves(error):
        if not isinstance(leaf, trio.Cancelled):
            reason = f"its job {request.name!r} raised {type(leaf).__name__}"
            error = WorkerGoneError(request.target, reason)
            request.finish(Outcome(JobStatus.ERROR, error=error))
            return


def _trace(error: Exception) -> str:
    try:
        return "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - it looks at attributes of foreign exceptions
        return error_text(error)


def _failed(request: Request, error: Exception) -> Outcome:
    failed: JobError
    if isinstance(error, JobFailed):
        failed = JobFailedError(
            request.target, request.name, safe_text(error.reason), JobStatus.FAILED, error.response
        )
        return Outcome(JobStatus.FAILED, error.response, failed)
    failed = JobRemoteError(
        request.target, request.name, type(error).__qualname__, safe_text(error), _trace(error)
    )
    failed.__cause__ = error
    return Outcome(JobStatus.ERROR, error=failed)
