"""Jobs on the side of the one who asks for them."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar, cast

import trio
from trio.lowlevel import current_task, enable_ki_protection

from . import _payloads
from ._handlers import annotated_types
from ._interrupts import protected
from ._requests import Outcome, ReplyBox, Request, Responder, serving
from ._tree import Node
from ._values import JobEvent
from ._waits import Resource, WaitGraph
from .errors import BackpressureDeadlockError, JobRefusedError, UnknownWorkerError
from .messages import BusJobUpdateRequestMessage, JobStatus, check_name

__all__ = ["PendingJob", "ask", "job_of"]

R = TypeVar("R")


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
    if not (payload is None or isinstance(payload, dict) or _payloads.is_attrs_object(payload)):
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
    if not isinstance(worker, str) or node.bus.route(worker) is None:
        check_name(worker)
    check_payload(payload)
    return Request(
        node, worker, name, payload, box, label=label, cancellable=cancellable, grouped=grouped
    )


async def post(request: Request) -> None:
    """Send `request`; waits for room in the target's data lane as a message does."""
    bus = request.bus
    await bus.pause()
    if request.outcome is not None:
        # Another member of its group has failed meanwhile.
        return
    bus.open_requests[request.id] = request
    if bus.watched:
        bus.tell(request.message())
    found: Any = bus.route(request.target)
    route: Responder | None = found
    if route is None:
        request.end(UnknownWorkerError(request.target), JobStatus.ERROR)
    elif not route.offer(request):
        assert route.mailbox is not None
        request.sender = current_task()
        try:
            await bus.wait_for_room(route.mailbox, request)
        except BackpressureDeadlockError as error:
            request.refuse("deadlock", " -> ".join(error.cycle))
        finally:
            request.sender = None


async def wait_at(
    box: ReplyBox, waits: WaitGraph, resource: Resource, requests: Iterable[Request]
) -> None:
    """Wait at `box`; if that would close a circle, refuse the requests that close it."""
    try:
        await box.wait(resource)
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
    reason, path = _why_left(error), _who_left(node, error)
    for request in requests:
        request.cancel(reason, path)
    if all(request.exited for request in requests):
        return
    deadline = min(trio.current_time() + node.context.job_grace, node.cut_off())
    with trio.CancelScope(shield=True, deadline=deadline):
        while not all(request.exited for request in requests):
            await requests[0].box.wait()
    for request in requests:
        request.late = not request.exited


def _who_left(node: Node, error: BaseException | None) -> str:
    """Return where it was decided, and how it came here if that was with a job that is served."""
    served = serving.get()
    if not isinstance(error, trio.Cancelled) or served is None or served.cancelled_by is None:
        return node.path
    return f"{served.cancelled_by[1]} -> {node.path}"


def _why_left(error: BaseException | None) -> str:
    if isinstance(error, trio.Cancelled):
        # Trio names no reason where a deadline is one.
        reason = "a deadline has passed" if error.source == "deadline" else error.reason
        return reason or "its requester left"
    return "its requester left"


def close(requests: Iterable[Request]) -> None:
    """Forget requests whose requester is done with them."""
    for request in requests:
        request.bus.open_requests.pop(request.id, None)


async def leave(
    node: Node, box: ReplyBox, requests: Sequence[Request], error: BaseException | None
) -> None:
    """Cancel the requests of a block and wait for their handlers, and forget them."""
    box.discard()
    box.failed = None
    try:
        await withdraw(node, requests, error)
    finally:
        close(requests)


async def finish(
    node: Node, box: ReplyBox, resource: Resource, requests: Sequence[Request]
) -> None:
    """Wait for all outcomes at the end of a block; a cancellation point."""
    box.discard()
    try:
        await trio.lowlevel.checkpoint_if_cancelled()
        while any(request.outcome is None for request in requests):
            await wait_at(box, node.bus.waits, resource, requests)
        # Who was refused because of a circle has a handler that is still on its way out.
        await withdraw(node, requests, None)
    except BaseException as problem:
        await leave(node, box, requests, problem)  # noqa: ASYNC102 - shielded, with a deadline
        raise
    finally:
        close(requests)


async def give_up(
    node: Node, box: ReplyBox, requests: Sequence[Request], error: BaseException | None
) -> None:
    """Leave a block early: by `error`, or, a cancellation point then, by reading no further."""
    await leave(node, box, requests, error)
    if error is None:
        await trio.lowlevel.checkpoint_if_cancelled()


@enable_ki_protection
async def ask(node: Node, worker: str, job: str | Callable[..., Any], payload: Any) -> Any:
    """Send a request and wait for its outcome."""
    name, wanted = job_of(job)
    waits = node.bus.waits
    box = ReplyBox(keeping=False, waits=waits)
    request = new_request(node, worker, name, payload, box)
    try:
        await post(request)
        while request.outcome is None:
            await wait_at(box, waits, request, (request,))
    except BaseException as error:
        await withdraw(node, (request,), error)  # noqa: ASYNC102 - shielded, with a deadline
        raise
    finally:
        close((request,))
    return request.result(wanted)


@protected
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
        self._box = ReplyBox(keeping=True, waits=node.bus.waits)
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
            raise RuntimeError(
                f"job {self._request.name!r} has no outcome yet: leave its block first"
            )
        return cast("R", self._request.result(self._wanted))

    async def __aenter__(self) -> PendingJob[R]:
        """Send the request.  A cancellation point."""
        if self._opened is not None:
            raise RuntimeError("this job was sent already: make a new one for each 'async with'")
        self._opened = request = self._make()
        self._box.open(self._node.name)
        try:
            await post(request)
        except BaseException as error:
            # Shielded, with a deadline.
            await leave(self._node, self._box, (request,), error)  # noqa: ASYNC102
            raise
        return self

    async def __aexit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """Wait for the outcome, or cancel the job."""
        request = self._request
        if error is not None or (self._iterated and request.outcome is None):
            # Shielded, with a deadline.
            await give_up(self._node, self._box, (request,), error)  # noqa: ASYNC102
            return
        # Waits as a nursery does.
        await finish(self._node, self._box, request, (request,))  # noqa: ASYNC102
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
        if request.outcome is not None:
            await request.bus.pause()
            return
        message = BusJobUpdateRequestMessage(
            source=request.requester, target=request.target, job_id=request.id
        )
        await request.bus.send_internal(message)
