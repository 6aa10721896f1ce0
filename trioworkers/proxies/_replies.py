"""What a peer says about the jobs that it was asked for.

Replies go straight to who waits for them, as within a process, and not through a mailbox.  If the
peer has credit, those that find no room wait here, in order.
"""

from __future__ import annotations

from typing import Any

from .._bus import LocalBus
from .._requests import Outcome, Request, Responder
from ..errors import RemoteWireError
from ..messages import BusMessage, JobStatus
from ..wire.chunks import Lane
from ..wire.pipecat_session import answered_job
from ..wire.replies import REPLIES, RESPONSES
from ._inbox import Inbox
from ._outcomes import outcome_of, unreadable

__all__ = ["Left", "Replies"]

EVENT_CAPACITY = 1024
"""How many events of one job over a link wait for a slow reader."""


class Left(int):
    """Stands in `Request.job`: the request has left as this message, its handler is elsewhere."""


class Replies:
    """Hands replies to the requests that they are about.

    Args:
        bus: where the requests are.
        responder: who has taken the requests that left.
        local: the worker that has asked.
    """

    def __init__(self, bus: LocalBus, responder: Responder, local: str) -> None:
        self._bus = bus
        self._responder = responder
        self._local = local
        self.inbox: Inbox = Inbox(self._hand_over, self._lose)

    def request(self, job_id: str) -> Request | None:
        """Return the open request that left here under this id."""
        request = self._bus.open_requests.get(job_id)
        if not isinstance(request, Request) or request.responder is not self._responder:
            return None
        return request if isinstance(request.job, Left) else None

    def requests(self) -> list[Request]:
        """Return all open requests that left here."""
        found = [self.request(job_id) for job_id in tuple(self._bus.open_requests)]
        return [request for request in found if request is not None]

    def receive(self, message: Any, size: int, lane: Lane) -> bool:
        """Take a reply; tell whether it waits now, for those before it or for room."""
        if self.inbox:
            self.inbox.put(message, size, lane)
            return True
        if isinstance(message, RESPONSES):
            self._answered(message)
        elif not self._happened(message):
            if self.inbox.taken is not None:
                self.inbox.put(message, size, lane)
                return True
            self._bus.dead_letter(message, "overflow", self._local)
            self._end(message)
        return False

    def fail_unread(self, frame: bytes | str, error: RemoteWireError) -> None:
        """Fail the job that an unreadable answer was for: its requester would wait for ever."""
        job_id = answered_job(frame)
        request = None if job_id is None else self.request(job_id)
        if request is not None and not request.exited:
            request.finish(unreadable(request, error))
            request.exit()

    async def _hand_over(self, message: Any) -> None:
        if isinstance(message, RESPONSES):
            self._answered(message)
        elif not self._happened(message):
            request = self.request(message.job_id)
            assert request is not None
            await request.box.put(_event_of(request, message))
            self._bus.tell(message)
            self._end(message)

    def _lose(self, message: BusMessage) -> None:
        """Do nothing: its job has failed with the link."""

    def _answered(self, message: Any) -> None:
        request = self.request(message.job_id)
        if request is not None and not request.exited:
            request.finish(outcome_of(request, message))
            request.exit()
        elif message.status is not JobStatus.CANCELLED:
            # That a handler gave in to its cancellation, however late, is no reply.
            self._bus.dead_letter(message, "late reply", self._local)

    def _happened(self, message: Any) -> bool:
        """Hand an event to its reader; False if there is no room for it."""
        request = self.request(message.job_id)
        if request is None or request.exited:
            self._bus.dead_letter(message, "late reply", self._local)
            return True
        if not request.box.put_nowait(_event_of(request, message), EVENT_CAPACITY):
            return False
        self._bus.tell(message)
        self._end(message)
        return True

    def _end(self, message: Any) -> None:
        """End the job whose last event this is."""
        request = self.request(message.job_id)
        if request is not None and REPLIES[type(message)].final:
            data = _data_of(message)
            request.finish(Outcome(JobStatus.COMPLETED, {} if data is None else data))
            request.exit()


def _event_of(request: Request, message: Any) -> Any:
    kind = REPLIES[type(message)].event
    assert kind is not None
    return request.event(kind, _data_of(message))


def _data_of(message: Any) -> Any:
    return message.update if hasattr(message, "update") else message.data
