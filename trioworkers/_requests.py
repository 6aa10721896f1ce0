"""A job request while it is open: what requester and responder share.

A `Request` is what the runtime knows of a job request; it rides beside the message.  The requester
waits at its `ReplyBox`, the responder puts events and the outcome there.  Neither travels through
a mailbox, so a reply cannot wait behind the handler that waits for it.

Every request ends in exactly one outcome: `Request.finish` is the one place that sets it, and it
sets it once.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextvars import Context, ContextVar, copy_context
from math import inf
from typing import Any, NamedTuple, Protocol

import attrs
import trio
from trio.lowlevel import Abort, current_task, wait_task_rescheduled

from . import _payloads
from ._bus import LocalBus
from ._handlers import admits_none, fit
from ._interrupts import protected
from ._routes import Intake
from ._tree import Node
from ._values import JobEvent, JobEventType, JobGroupEvent
from ._waits import Mover, Resource, WaitGraph
from .errors import (
    BackpressureDeadlockError,
    JobCancelledError,
    JobError,
    JobRefusedError,
    JobRemoteError,
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
    BusJobUpdateUrgentMessage,
    BusMessage,
    JobStatus,
)

__all__ = [
    "EVENT_CAPACITY",
    "Counted",
    "Outcome",
    "ReplyBox",
    "Request",
    "Responder",
    "trace_context",
]

_STREAM_MESSAGES: dict[JobEventType, Callable[..., BusMessage]] = {
    "stream_start": BusJobStreamStartMessage,
    "stream_data": BusJobStreamDataMessage,
    "stream_end": BusJobStreamEndMessage,
}

EVENT_CAPACITY = 64
"""How many events of a job, or of a group, wait for their reader before the producer does."""


@attrs.define(eq=False, weakref_slot=False)
class Outcome:
    """How a request ended: a response, or an error to raise."""

    status: JobStatus
    response: Any = None
    error: JobError | None = None


class Counted(NamedTuple):
    """An event of a producer who does not wait, and whom to tell when it is read, or dropped."""

    event: Any
    size: int
    read: Callable[[int], None]


@protected
class ReplyBox:
    """Where the events and outcomes of one ask, job or group arrive, for one reader."""

    __slots__ = ("_events", "_keeping", "_owner", "_producers", "_waits", "failed", "reader")

    def __init__(self, keeping: bool, waits: WaitGraph) -> None:
        """Start empty; without `keeping` events are discarded."""
        self._waits = waits
        self._events: deque[Any] | None = None
        self._keeping = keeping
        self._producers: OrderedDict[trio.lowlevel.Task, Any] | None = None
        self.reader: trio.lowlevel.Task | None = None
        self._owner: tuple[str, trio.lowlevel.Task] | None = None
        # Called with each request that did not complete, in the step of its outcome.
        self.failed: Callable[[Request], None] | None = None

    def open(self, name: str) -> None:
        """Begin to keep events: the present task, of the worker `name`, will read them."""
        self._owner = (name, current_task())

    def poke(self) -> None:
        """Let the reader look again."""
        if self.reader is not None:
            reader, self.reader = self.reader, None
            self._waits.release(reader)

    def take(self) -> Any:
        """Return the next event, or None."""
        if not self._events:
            return None
        event = self._events.popleft()
        if self._producers:
            task, following = self._producers.popitem(last=False)
            self._events.append(following)
            self._waits.release(task)
        if type(event) is Counted:
            event.read(event.size)
            return event.event
        return event

    def discard(self) -> None:
        """Drop events from now on, and let go of everybody who waits here."""
        self._keeping = False
        events, self._events = self._events, None
        for event in events or ():
            if type(event) is Counted:
                event.read(event.size)
        producers, self._producers = self._producers, None
        for task in producers or ():
            self._waits.release(task)
        self.poke()

    async def put(self, event: Any, urgent: bool = False) -> None:
        """Hand `event` to the reader; wait while it is slow.  Checks nothing else.

        Here urgent events are as others: they have no other data to overtake.

        Raises:
            BackpressureDeadlockError: the reader waits, directly or not, for the caller.
        """
        del urgent
        if self.put_nowait(event, EVENT_CAPACITY):
            return
        if self._producers is None:
            self._producers = OrderedDict()
        producers, task = self._producers, current_task()
        circle = self._waits.find_circle(task, self)
        if circle is not None:
            raise BackpressureDeadlockError(circle)
        producers[task] = event
        self._waits.edges[task] = self

        def abort(_raise_cancel: object) -> Abort:
            del producers[task]
            del self._waits.edges[task]
            return Abort.SUCCEEDED

        try:
            await wait_task_rescheduled(abort)
        finally:
            self._waits.edges.pop(task, None)

    def put_nowait(self, event: Any, capacity: float) -> bool:
        """Hand `event` to the reader; False if `capacity` events wait for it."""
        if not self._keeping:
            if type(event) is Counted:
                event.read(event.size)
            return True
        if self._events is None:
            self._events = deque()
        if len(self._events) >= capacity:
            return False
        self._events.append(event)
        self.poke()
        return True

    # As a resource of the wait-for graph: room for an event

    def wait_label(self) -> str:
        """Return the name of the reader."""
        return "" if self._owner is None else self._owner[0]

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return the reader, who must move before there is room."""
        return False, () if self._owner is None else (self._owner[1],)

    async def wait(self, resource: Resource | None = None) -> None:
        """Wait for a poke.

        Args:
            resource: what is waited for, in the graph; None for a wait with a deadline of its own.

        Raises:
            BackpressureDeadlockError: the wait would close a circle.
            trio.BusyResourceError: another task is waiting here.
        """
        if self.reader is not None:
            raise trio.BusyResourceError("another task is waiting for this job")
        self.reader = task = current_task()
        if resource is None:
            await wait_task_rescheduled(self._abort)
            return
        waits = self._waits
        circle = waits.find_circle(task, resource)
        if circle is not None:
            self.reader = None
            raise BackpressureDeadlockError(circle)
        waits.edges[task] = resource
        try:
            await wait_task_rescheduled(self._abort)
        finally:
            waits.edges.pop(task, None)

    def _abort(self, _raise_cancel: object) -> Abort:
        assert self.reader is not None
        self._waits.edges.pop(self.reader, None)
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
    def mailbox(self) -> Intake | None:
        """Where a request waits for room."""
        ...


serving: ContextVar[Request | None] = ContextVar("serving", default=None)
"""The request whose handler this task is, or was started by."""

trace_context: ContextVar[dict[str, str] | None] = ContextVar("trace_context", default=None)
"""What a tracer wants to know at the other end, such as the W3C's `traceparent`, by name.

A job's handler finds what its requester had set, also beyond a link in the native dialect.
"""


def _inherited_deadline() -> float:
    """Return the deadline of the job that is being served here.

    A handler runs in a task of the worker, where the requester's scope is not in sight.
    """
    request = serving.get()
    return inf if request is None or request.exited else request.deadline


@protected
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
        "sender",
        "target",
        "variables",
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
        deadline: float | None = None,
    ) -> None:
        """Make a request of `node`, by default with its deadline; nothing is sent yet."""
        context = node.context
        context.job_numbers += 1
        self.id: str = f"{context.job_prefix}-{context.job_numbers}"
        self.bus: LocalBus = context.bus
        self.requester: str = node.name
        self.target: str = target
        self.name: str = name
        self.payload: Any = payload
        self.box: ReplyBox = box
        self.label: str | None = label
        self.cancellable: bool = cancellable
        self.grouped: bool = grouped
        if deadline is None:
            deadline = min(trio.current_effective_deadline(), _inherited_deadline())
        self.deadline: float = deadline
        # The handler's: whoever starts its task later, what they have set is not for it.
        self.variables: Context = copy_context()
        self.outcome: Outcome | None = None
        # True once no handler runs for it, nor ever will.
        self.exited: bool = False
        self.late: bool = False
        self.cancelled_by: tuple[str | None, str] | None = None
        # The task that waits for room in the target's data lane.
        self.sender: trio.lowlevel.Task | None = None
        # The handler's side of it, once it was admitted.
        self.job: Any = None
        self.responder: Responder | None = None

    # What the responder does with it

    def finish(self, outcome: Outcome) -> None:
        """Set the outcome; the first one wins."""
        if self.outcome is None:
            self.outcome = outcome
            self.box.poke()
            if self.bus.watched:
                self.bus.tell(self._response(outcome))
            if outcome.error is not None and self.box.failed is not None:
                self.box.failed(self)
        # That a handler gave in to its cancellation, however late, is no reply.
        if self.late and outcome.status is not JobStatus.CANCELLED:
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

    def event_message(
        self, kind: JobEventType, data: dict[str, Any] | None, *, urgent: bool = False
    ) -> BusMessage:
        """Return an event as a bus message."""
        head = {"source": self.target, "target": self.requester, "job_id": self.id}
        if kind != "update":
            return _STREAM_MESSAGES[kind](**head, data=data)
        update = BusJobUpdateUrgentMessage if urgent else BusJobUpdateMessage
        return update(**head, update=data)

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
            # It was not sent yet.
            self.finish(self.cancelled())
            self.exit()
            return
        self._stop_sending()
        self.responder.cancel_request(self)

    def _stop_sending(self) -> None:
        """Let go of the task that waits for room in the target's data lane."""
        box = None if self.responder is None else self.responder.mailbox
        if self.sender is None or box is None or not box.waiting:
            return
        if box.waiting.pop(self.sender, None) is not None:
            self.bus.waits.release(self.sender)

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
        if wanted is type(None) or (outcome.response == {} and admits_none(wanted)):
            return None
        try:
            if wanted is dict:
                return _payloads.as_plain(outcome.response)
            return fit(outcome.response, wanted)
        except _payloads.MisfitError as misfit:
            raise JobRemoteError(
                self.target,
                self.name,
                "TypeError",
                f"its response does not fit: {misfit}",
                "",
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
