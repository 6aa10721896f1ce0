"""Jobs, both sides: a request, its one outcome, and the desk that serves it.

A `Request` is what the runtime knows of a job request; it rides beside the message.  Requester and
responder share it within a process: the requester waits at its `ReplyBox`, the responder puts
events and the outcome there.  Neither travels through a mailbox, so a reply cannot wait behind
the handler that waits for it.

Every request ends in exactly one outcome, because there is one place that sets it
(`Request.finish`), it sets it once, and each way a handler can end leads there (`JobDesk.serve`).
"""

from __future__ import annotations

import functools
import traceback
from collections import OrderedDict, deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar, cast

import attrs
import trio
from trio.lowlevel import Abort, current_task, reschedule, wait_task_rescheduled

from . import _payloads
from ._bus import LocalBus
from ._handlers import JobHandler, annotated_types, fit
from ._mailbox import Mailbox
from ._tree import Node
from ._values import JobEvent, JobEventType, JobGroupEvent
from ._waits import Mover, Resource, WaitGraph
from .errors import (
    BackpressureDeadlockError,
    JobCancelledError,
    JobError,
    JobFailed,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    UnknownWorkerError,
    WorkerGoneError,
)
from .messages import (
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    JobStatus,
    check_name,
)

__all__ = ["Job", "JobDesk", "PendingJob", "ReplyBox", "Request", "Responder"]

R = TypeVar("R")

EVENT_CAPACITY = 64
"""How many events of a job, or of a group, wait for their reader before the producer does."""


@attrs.frozen(eq=False)
class Outcome:
    """How a request ended: a response, or an error to raise."""

    status: JobStatus
    response: Any = None
    error: JobError | None = None


class ReplyBox:
    """Where the events and outcomes of one ask, job or group arrive, for one reader."""

    __slots__ = ("_events", "_keeping", "_producers", "reader")

    def __init__(self, keeping: bool) -> None:
        """Start empty; without `keeping` events are discarded."""
        self._events: deque[Any] | None = None
        self._keeping = keeping
        self._producers: OrderedDict[trio.lowlevel.Task, Any] | None = None
        self.reader: trio.lowlevel.Task | None = None

    def poke(self) -> None:
        """Let the reader look again."""
        if self.reader is not None:
            reader, self.reader = self.reader, None
            reschedule(reader)

    def take(self) -> Any:
        """Return the next event, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if self._producers:
            task, following = self._producers.popitem(last=False)
            self._events.append(following)
            reschedule(task)
        return event

    def discard(self) -> None:
        """Drop events from now on, and let go of producers that wait."""
        self._keeping = False
        self._events = None
        producers, self._producers = self._producers, None
        for task in producers or ():
            reschedule(task)

    async def put(self, event: Any) -> None:
        """Hand `event` to the reader; wait while it is slow.  Checks nothing else."""
        if not self._keeping:
            return
        if self._events is None:
            self._events = deque()
        if len(self._events) < EVENT_CAPACITY:
            self._events.append(event)
            self.poke()
            return
        if self._producers is None:
            self._producers = OrderedDict()
        producers, task = self._producers, current_task()
        producers[task] = event

        def abort(_raise_cancel: object) -> Abort:
            del producers[task]
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    async def wait(self, waits: WaitGraph | None = None, resource: Resource | None = None) -> None:
        """Wait for a poke.

        Args:
            waits: the graph to enter the wait in; None for a wait with a deadline of its own.
            resource: what is waited for, in the graph.

        Raises:
            BackpressureDeadlockError: the wait would close a circle.
            trio.BusyResourceError: another task is waiting here.
        """
        if self.reader is not None:
            raise trio.BusyResourceError("another task is waiting for this job")
        self.reader = task = current_task()
        if waits is None or resource is None:
            await wait_task_rescheduled(self._abort)
            return
        circle = waits.find_circle(task, resource)
        if circle is not None:
            self.reader = None
            raise BackpressureDeadlockError(circle)
        waits.edges[task] = resource
        try:
            await wait_task_rescheduled(self._abort)
        finally:
            del waits.edges[task]

    def _abort(self, _raise_cancel: object) -> Abort:
        self.reader = None
        return Abort.SUCCEEDED


class Responder(Protocol):
    """What serves requests behind a name."""

    def offer(self, request: Request) -> bool:
        """Take `request`, or give it an outcome; False if it must wait for room."""
        ...

    def cancel_request(self, request: Request) -> None:
        """Cancel a request that was taken."""
        ...

    def request_movers(self, request: Request) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before the request is done."""
        ...

    @property
    def mailbox(self) -> Mailbox | None:
        """The mailbox whose room a request waits for."""
        ...


class Request:
    """An open job request, and in the end its outcome."""

    __slots__ = (
        "box",
        "bus",
        "cancellable",
        "cancelled_by",
        "deadline",
        "exited",
        "grouped",
        "id",
        "job",
        "label",
        "late",
        "name",
        "outcome",
        "payload",
        "requester",
        "responder",
        "target",
    )

    def __init__(
        self,
        node: Node,
        target: str,
        name: str,
        payload: Any,
        box: ReplyBox,
        *,
        label: str | None = None,
        cancellable: bool = True,
        grouped: bool = False,
    ) -> None:
        """Make a request of `node`; nothing is sent yet."""
        context = node.context
        context.job_numbers += 1
        self.id = f"{context.job_prefix}-{context.job_numbers}"
        self.bus: LocalBus = context.bus
        self.requester = node.name
        self.target = target
        self.name = name
        self.payload = payload
        self.box = box
        self.label = label
        self.cancellable = cancellable
        self.grouped = grouped
        self.deadline = trio.current_effective_deadline()
        self.outcome: Outcome | None = None
        # True once no handler runs for it, nor ever will.
        self.exited = False
        self.late = False
        self.cancelled_by: tuple[str | None, str] | None = None
        self.job: Job | None = None
        self.responder: Responder | None = None

    # What the responder does with it

    def finish(self, outcome: Outcome) -> None:
        """Set the outcome; the first one wins."""
        if self.outcome is None:
            self.outcome = outcome
            self.box.poke()
            if self.bus.watched:
                self.bus.tell(self._response(outcome))
        if self.late:
            self.bus.dead_letter(self._response(outcome), "late reply", self.requester)

    def exit(self) -> None:
        """Note that no handler runs for it, nor ever will."""
        self.exited = True
        self.box.poke()

    def end(self, error: JobError, status: JobStatus) -> None:
        """Give an outcome to a request that no handler runs for."""
        self.finish(Outcome(status, error=error))
        self.exit()

    def refuse(self, reason: str, detail: str = "") -> None:
        """Refuse it: no handler will run."""
        self.end(JobRefusedError(self.target, self.name, reason, detail), JobStatus.FAILED)

    def gone(self, reason: str) -> None:
        """Tell that its worker is gone."""
        self.end(WorkerGoneError(self.target, reason), JobStatus.ERROR)

    def event(self, kind: JobEventType, data: dict[str, Any] | None) -> JobEvent | JobGroupEvent:
        """Return an event as its reader gets it."""
        return JobGroupEvent(self.target, kind, data) if self.grouped else JobEvent(kind, data)

    # What the requester does with it

    def cancel(self, reason: str | None, path: str) -> None:
        """Cancel it at once, wherever it is."""
        if self.exited or self.cancelled_by is not None:
            return
        self.cancelled_by = (reason, path)
        if self.bus.watched:
            self.bus.tell(
                BusJobCancelMessage(
                    source=self.requester, target=self.target, job_id=self.id, reason=reason
                )
            )
        if self.responder is None:
            self.exit()
        else:
            self.responder.cancel_request(self)

    def cancelled(self) -> Outcome:
        """Return the outcome of a cancelled request."""
        reason, path = self.cancelled_by or (None, self.requester)
        error = JobCancelledError(self.target, self.name, reason, path)
        return Outcome(JobStatus.CANCELLED, error=error)

    def result(self, wanted: Any) -> Any:
        """Return the response as `wanted`, or raise the error.

        Raises:
            JobError: it did not complete, or the response does not fit `wanted`.
        """
        outcome = self.outcome
        assert outcome is not None
        if outcome.error is not None:
            raise outcome.error
        if wanted is dict:
            return _payloads.as_plain(outcome.response)
        if wanted is type(None):
            return None
        try:
            return fit(outcome.response, wanted)
        except _payloads.MISFIT as misfit:
            raise JobRemoteError(
                self.target, self.name, "TypeError", f"its response does not fit: {misfit}", ""
            ) from misfit

    # As messages, for those who watch

    def message(self) -> BusJobRequestMessage:
        """Return the request as a bus message."""
        return BusJobRequestMessage(
            source=self.requester,
            target=self.target,
            job_id=self.id,
            job_name=self.name,
            payload=self.payload,
        )

    def _response(self, outcome: Outcome) -> BusJobResponseMessage:
        return BusJobResponseMessage(
            source=self.target,
            target=self.requester,
            job_id=self.id,
            status=outcome.status,
            response=outcome.response,
        )

    # As a resource of the wait-for graph

    def wait_label(self) -> str:
        """Return the name of the worker that serves it."""
        return self.target

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before it is done."""
        if self.exited or self.responder is None:
            return False, ()
        return self.responder.request_movers(self)


_EVENT_MESSAGES: dict[JobEventType, Callable[..., BusMessage]] = {
    "stream_start": BusJobStreamStartMessage,
    "stream_data": BusJobStreamDataMessage,
    "stream_end": BusJobStreamEndMessage,
}

_NO_STREAM: Any = object()


class Job:
    """A job as its handler sees it.

    `deadline` is in trio time, `inf` if the requester has none; the requester's scope is what
    really limits the handler.
    """

    __slots__ = (
        "_request",
        "_streamed",
        "deadline",
        "handler",
        "id",
        "name",
        "payload",
        "requester",
        "scope",
        "task",
    )

    def __init__(self, request: Request, handler: JobHandler, payload: Any) -> None:
        """Make the handler's side of `request`."""
        self.id = request.id
        self.name = request.name
        self.requester = request.requester
        self.deadline = request.deadline
        self.payload = payload
        self.handler = handler
        self.scope = trio.CancelScope()
        self.task: trio.lowlevel.Task | None = None
        self._request = request
        self._streamed: Any = _NO_STREAM

    async def update(self, data: dict[str, Any] | None = None, *, urgent: bool = False) -> None:
        """Tell the requester how the job is getting on.

        A cancellation point; waits while the requester reads its events slowly.

        Args:
            data: what to tell.
            urgent: on a link, go ahead of other data together with older events of this job.

        Raises:
            TypeError: `data` is no dict.
            RuntimeError: the job has ended.
        """
        kind = BusJobUpdateUrgentMessage if urgent else BusJobUpdateMessage
        await self._emit("update", data, functools.partial(kind, update=data))

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
            raise RuntimeError(f"the stream of job {self.name!r} has ended: send no {kind} after it")
        await self._emit(kind, data, functools.partial(_EVENT_MESSAGES[kind], data=data))

    async def _emit(
        self, kind: JobEventType, data: dict[str, Any] | None, make: Callable[..., BusMessage]
    ) -> None:
        if data is not None and not isinstance(data, dict):
            raise TypeError(f"{kind} takes a dict, not {data!r} of type {type(data).__name__}")
        request = self._request
        if request.exited:
            raise RuntimeError(f"job {self.name!r} has ended: send its events before it returns")
        await request.bus.pause()
        if request.bus.watched:
            request.bus.tell(
                make(source=request.target, target=request.requester, job_id=request.id)
            )
        await request.box.put(request.event(kind, data))

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
        if isinstance(returned, dict) or attrs.has(cast("type[Any]", type(returned))):
            return returned
        raise TypeError(
            f"job {self.name!r} returned {returned!r}: return a dict, an attrs object or None"
        )


class JobHost(Protocol):
    """What a desk asks of the worker slot it belongs to."""

    name: str
    bus: LocalBus
    worker: Any
    active: bool
    max_concurrent_jobs: int

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
        except _payloads.MISFIT as misfit:
            request.refuse("bad payload", _misfit_text(misfit))
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
        job = request.job
        assert job is not None
        self.running[request] = job
        self._host.start_job(self.serve, job)

    def _start_waiting(self) -> None:
        place = 0
        while place < len(self.queue):
            request = self.queue[place]
            if request.job is not None and self._may_start(request.job):
                del self.queue[place]
                self._start(request)
            elif len(self.running) >= self._host.max_concurrent_jobs:
                return
            else:
                place += 1

    async def serve(self, job: Job) -> None:
        """Run the handler of `job`, and turn whatever happens into the one outcome."""
        request = job._request  # noqa: SLF001 - the two sides of one thing  # pyright: ignore[reportPrivateUsage]
        job.task = current_task()
        observers = request.bus.observers
        if observers.job_started:
            observers.notify("job_started", request.target, job.id, job.name)
        try:
            # Errors are caught outside the job's own scope: it filters its cancellation out of
            # an exception group first.
            try:
                with job.scope:
                    if not job.scope.cancel_called:
                        returned = await job.handler.function(self._host.worker, job, job.payload)
                        request.finish(Outcome(JobStatus.COMPLETED, job.response(returned)))
            except Exception as error:  # noqa: BLE001 - it is the answer
                request.finish(_failed(request, error))
            except BaseExceptionGroup as group:
                errors, rest = group.split(Exception)
                if errors is not None:
                    request.finish(_failed(request, errors))
                if rest is not None:
                    raise rest from None
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
        self._start_waiting()
        self._host.job_exited()

    def cancel(self, request: Request) -> None:
        """Cancel a request that waits for a job slot or runs."""
        job = self.running.get(request)
        if job is not None:
            reason = request.cancelled_by[0] if request.cancelled_by else None
            job.scope.cancel(reason=reason)
        else:
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
        waiting = request.job
        assert waiting is not None
        before = self._sequential_before(waiting.name) if waiting.handler.sequential else None
        blockers = self.running.values() if before is None else (before,)
        if any(job.task is None for job in blockers):
            return False, ()
        return True, [job.task for job in blockers if job.task is not None]


def _misfit_text(misfit: BaseException) -> str:
    if isinstance(misfit, BaseExceptionGroup):
        return "; ".join(_misfit_text(inner) for inner in misfit.exceptions)
    return str(misfit)


def _failed(request: Request, error: Exception) -> Outcome:
    failed: JobError
    if isinstance(error, JobFailed):
        failed = JobFailedError(
            request.target, request.name, error.reason, JobStatus.FAILED, error.response
        )
        return Outcome(JobStatus.FAILED, error.response, failed)
    trace = "".join(traceback.format_exception(error))
    failed = JobRemoteError(
        request.target, request.name, type(error).__qualname__, str(error), trace
    )
    failed.__cause__ = error
    return Outcome(JobStatus.ERROR, error=failed)


# The requester's side


@functools.lru_cache(maxsize=4096)
def _job_of(function: Callable[..., Any]) -> tuple[str, Any]:
    mark = getattr(function, "__trioworkers_job__", None)
    if mark is None:
        raise TypeError(f"{function!r} is no job: mark it @job(), or name the job by a string")
    return mark.name, annotated_types(function, 2)[1]


def job_of(job: str | Callable[..., Any]) -> tuple[str, Any]:
    """Return the name of a job and the type its response is wanted as.

    Raises:
        TypeError: it is neither a name nor a method marked `@job`.
    """
    if isinstance(job, str):
        return job, dict
    if not callable(job):
        raise TypeError(f"a job is named by a string or by a method marked @job(), not {job!r}")
    return _job_of(getattr(job, "__func__", job))


def check_payload(payload: object) -> None:
    """Refuse what is neither a dict nor an attrs object nor None.

    Raises:
        TypeError: it is something else.
    """
    if not (
        payload is None
        or isinstance(payload, dict)
        or attrs.has(cast("type[Any]", type(payload)))
    ):
        raise TypeError(f"a payload is a dict, an attrs object or None, not {payload!r}")


def new_request(
    node: Node,
    worker: str,
    name: str,
    payload: Any,
    box: ReplyBox,
    *,
    label: str | None = None,
    cancellable: bool = True,
    grouped: bool = False,
) -> Request:
    """Make a request, after a look at what the user passed.

    Raises:
        TypeError, ValueError: the worker's name or the payload is impossible.
    """
    check_name(worker)
    check_payload(payload)
    return Request(
        node, worker, name, payload, box, label=label, cancellable=cancellable, grouped=grouped
    )


async def post(request: Request) -> None:
    """Send `request`; waits for room in the target's data lane as a message does."""
    bus = request.bus
    await bus.pause()
    bus.open_requests[request.id] = request
    if bus.watched:
        bus.tell(request.message())
    route = cast("Responder | None", bus.route(request.target))
    if route is None:
        request.end(UnknownWorkerError(request.target), JobStatus.ERROR)
    elif not route.offer(request):
        assert route.mailbox is not None
        try:
            await bus.wait_for_room(route.mailbox, request)
        except BackpressureDeadlockError as error:
            request.refuse("deadlock", " -> ".join(error.cycle))


async def wait_done(request: Request) -> None:
    """Wait until `request` has its outcome."""
    while request.outcome is None:
        await wait_at(request.box, request.bus.waits, request, (request,))


async def wait_at(
    box: ReplyBox, waits: WaitGraph, resource: Resource, requests: Iterable[Request]
) -> None:
    """Wait at `box`; if that would close a circle, refuse the requests that close it."""
    try:
        await box.wait(waits, resource)
    except BackpressureDeadlockError as error:
        for request in requests:
            if waits.find_circle(current_task(), request) is not None:
                refuse_deadlock(request, error.cycle)


def refuse_deadlock(request: Request, circle: Sequence[str]) -> None:
    """End a request that would wait for its own requester."""
    detail = " -> ".join(circle)
    error = JobRefusedError(request.target, request.name, "deadlock", detail)
    request.finish(Outcome(JobStatus.FAILED, error=error))
    request.cancel("deadlock", request.requester)


async def withdraw(node: Node, requests: Sequence[Request], error: BaseException | None) -> None:
    """Cancel requests because their requester leaves; wait until their handlers have exited.

    The wait is shielded and bounded by `job_grace` and by the requester's own cut-off.
    """
    reason = getattr(error, "reason", None) or "its requester left"
    for request in requests:
        request.cancel(reason, node.path)
    if all(request.exited for request in requests):
        return
    deadline = min(trio.current_time() + node.context.job_grace, node.cut_off())
    with trio.CancelScope(shield=True, deadline=deadline):
        while not all(request.exited for request in requests):
            await requests[0].box.wait()
    for request in requests:
        request.late = not request.exited


def close(requests: Iterable[Request]) -> None:
    """Forget requests whose requester is done with them."""
    for request in requests:
        with suppress(KeyError):
            del request.bus.open_requests[request.id]


async def ask(node: Node, worker: str, job: str | Callable[..., Any], payload: Any) -> Any:
    """Send a request and wait for its outcome."""
    name, wanted = job_of(job)
    request = new_request(node, worker, name, payload, ReplyBox(keeping=False))
    try:
        await post(request)
        await wait_done(request)
    except BaseException as error:
        await withdraw(node, (request,), error)  # noqa: ASYNC102 - shielded, with a deadline
        raise
    finally:
        close((request,))
    return request.result(wanted)


class PendingJob(Generic[R]):
    """A job in progress: `async with` its lifetime, `async for` its events.

    Left by an exception, or after its events were read in part, the job is cancelled; left
    otherwise, its outcome is waited for.
    """

    def __init__(
        self,
        node: Node,
        worker: str,
        job: str | Callable[..., Any],
        payload: Any,
        label: str | None,
        cancellable: bool,
    ) -> None:
        """Made by `job()`."""
        name, self._wanted = job_of(job)
        self._node = node
        self._box = ReplyBox(keeping=True)
        self._make = functools.partial(
            new_request,
            node,
            worker,
            name,
            payload,
            self._box,
            label=label,
            cancellable=cancellable,
        )
        self._opened: Request | None = None
        self._iterated = False
        self._raised = False

    @property
    def _request(self) -> Request:
        if self._opened is None:
            raise RuntimeError("this job was not sent: enter it with 'async with' first")
        return self._opened

    @property
    def id(self) -> str:
        """The job's id, for `runner.cancel_job`."""
        return self._request.id

    @property
    def status(self) -> JobStatus | None:
        """How the job ended, or None while it runs."""
        outcome = self._request.outcome
        return None if outcome is None else outcome.status

    @property
    def response(self) -> R:
        """The response of the completed job.

        Raises:
            JobError: it did not complete.
            RuntimeError: it has no outcome yet.
        """
        if self._request.outcome is None:
            raise RuntimeError(f"job {self._request.name!r} has no outcome yet: leave its block first")
        return cast("R", self._request.result(self._wanted))

    async def __aenter__(self) -> PendingJob[R]:
        """Send the request.  A cancellation point."""
        if self._opened is not None:
            raise RuntimeError("this job was sent already: make a new one for each 'async with'")
        self._opened = request = self._make()
        try:
            await post(request)
        except BaseException as error:
            await self._leave(error)  # noqa: ASYNC102 - shielded, with a deadline
            raise
        return self

    async def _leave(self, error: BaseException | None) -> None:
        self._box.discard()
        try:
            await withdraw(self._node, (self._request,), error)
        finally:
            close((self._request,))

    async def __aexit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """Wait for the outcome, or cancel the job."""
        request = self._request
        given_up = self._iterated and request.outcome is None
        if error is not None or given_up:
            await self._leave(error)
            if error is None:
                await trio.lowlevel.checkpoint_if_cancelled()
            return
        self._box.discard()
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            await wait_done(request)
        except BaseException as problem:
            await self._leave(problem)  # noqa: ASYNC102 - shielded, with a deadline
            raise
        finally:
            close((request,))
        outcome = cast("Outcome", request.outcome)
        if outcome.error is not None and not self._raised:
            raise outcome.error

    def __aiter__(self) -> PendingJob[R]:
        """Iterate over the job's events."""
        return self

    async def __anext__(self) -> JobEvent:
        """Return the next event.  A cancellation point.

        Raises:
            JobError: the job did not complete.
        """
        request = self._request
        await request.bus.pause()
        self._iterated = True
        while (event := self._box.take()) is None:
            if request.outcome is not None:
                if request.outcome.error is not None:
                    self._raised = True
                    raise request.outcome.error
                raise StopAsyncIteration
            await wait_at(self._box, request.bus.waits, request, (request,))
        return cast("JobEvent", event)

    async def request_update(self) -> None:
        """Ask the worker how the job is getting on; the answer comes as an update.

        A cancellation point.  Has no effect when the job has ended.
        """
        request = self._request
        message = BusJobUpdateRequestMessage(
            source=request.requester, target=request.target, job_id=request.id
        )
        await request.bus.send_internal(message)
