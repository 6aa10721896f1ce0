"""What a peer says about the jobs that it was asked for.

Replies go straight to who waits for them, as within a process, and not through a mailbox.  A peer
with credit is told to hold the jobs whose events are read slowly; what it sends nevertheless and
finds no room waits here, in order, and holds up what is behind it.
"""

from __future__ import annotations

from functools import partial
from math import inf
from typing import Any, Protocol

import trio

from .._bus import LocalBus
from .._requests import Counted, Outcome, Request, Responder
from ..errors import RemoteWireError
from ..messages import BusMessage, JobStatus
from ..wire.chunks import Lane
from ..wire.hello import LinkLimits
from ..wire.pipecat_session import answered_job
from ..wire.replies import REPLIES, RESPONSES
from ._inbox import Inbox
from ._outcomes import outcome_of, unreadable
from ._unread import EVENT_CAPACITY, Unread

__all__ = ["Holding", "Left", "Replies"]


class Holding(Protocol):
    """What replies ask of a peer with credit."""

    @property
    def limits(self) -> LinkLimits:
        """What it may have on its way."""
        ...

    def tell_hold(self, job_id: str, held: bool) -> None:
        """Tell it whether the events of a job that it does are to wait."""
        ...


class Left(int):
    """Stands in `Request.job`: the request has left as this message, its handler is elsewhere."""

    unread: Unread | None = None


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
        self.inbox: Inbox = Inbox(self._enters, self._hand_over, self._lose)
        self._peer: Holding | None = None

    def credit(self, peer: Holding | None) -> None:
        """Take note of a connection: of a peer that has credit, or None."""
        self._peer = peer
        if peer is None:
            return
        # What it was told over the connection before may be lost.
        for request in self.requests():
            unread = request.job.unread
            if unread is not None and unread.held is not None:
                peer.tell_hold(request.id, unread.held)

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
            self.inbox.put((message, size), size, lane)
            return True
        if not self._enters((message, size)):
            if self._peer is not None:
                self.inbox.put((message, size), size, lane)
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

    def _enters(self, item: tuple[Any, int]) -> bool:
        """Hand an answer or an event over; False if the event has to wait for room."""
        message, size = item
        if isinstance(message, RESPONSES):
            self._answered(message)
            return True
        return self._happened(message, size)

    async def _hand_over(self, item: tuple[Any, int]) -> None:
        message, size = item
        while not self._happened(message, size):
            request = self.request(message.job_id)
            assert request is not None
            read, unread = trio.Event(), self._unread(request)
            unread.on_read = read.set
            await read.wait()
            unread.on_read = None

    def _lose(self, item: tuple[BusMessage, int]) -> None:
        """Do nothing: its job has failed with the link."""

    def _answered(self, message: Any) -> None:
        request = self.request(message.job_id)
        if request is not None and not request.exited:
            request.finish(outcome_of(request, message))
            request.exit()
        elif message.status is not JobStatus.CANCELLED:
            # That a handler gave in to its cancellation, however late, is no reply.
            self._bus.dead_letter(message, "late reply", self._local)

    def _happened(self, message: Any, size: int) -> bool:
        """Hand an event to its reader; False if there is no room for it."""
        request = self.request(message.job_id)
        if request is None or request.exited:
            self._bus.dead_letter(message, "late reply", self._local)
            return True
        event = _event_of(request, message)
        if self._peer is not None:
            unread = request.job.unread or self._unread(request)
            if not unread.put(size):
                return False
            request.box.put_nowait(Counted(event, size, unread.read), inf)
        elif not request.box.put_nowait(event, EVENT_CAPACITY):
            return False
        self._bus.tell(message)
        self._end(message)
        return True

    def _unread(self, request: Request) -> Unread:
        left: Left = request.job
        if left.unread is None:
            assert self._peer is not None
            left.unread = Unread(self._peer.limits, partial(self._hold, request))
        return left.unread

    def _hold(self, request: Request, held: bool) -> None:
        if self._peer is not None and request.outcome is None:
            self._peer.tell_hold(request.id, held)

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
