"""The native dialect on one connection: the session of `wire.session` between portal and link."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, TypeGuard

import trio

from .._requests import Request
from .._values import safe_text
from ..errors import RemoteWireError
from ..wire import chunks
from ..wire.chunks import Kind, Lane
from ..wire.epoch import Cancelled, Epoch
from ..wire.flow import Arrived
from ..wire.hello import LinkLimits
from ..wire.session import Broken, Closed, Hold, Opened, Session, Speaker
from ._anteroom import Anteroom
from ._dialects import Dialect
from ._outbox import Packed
from ._outcomes import writable
from ._portal import Portal
from ._transport import LinkClosed, Transport

__all__ = ["SUBPROTOCOL", "NativeDialect", "is_hello"]

SUBPROTOCOL = "trioworkers.v1"
"""What a client offers that speaks it."""

MANY = 32
"""How many messages of one frame are handled before the next frame is looked at."""

WHY = 200
"""How many characters of a reason, and of a path, cross with a cancel."""


def is_hello(frame: bytes | str) -> TypeGuard[bytes]:
    """Tell whether a frame begins as the first one of this dialect does, and no JSON text."""
    return isinstance(frame, bytes) and frame[:1] == bytes((Kind.HELLO,))


def _joined(told: str, here: str) -> str:
    """Join the path that a peer tells with that of its worker, which may be the end of it."""
    last = told.rpartition(" -> ")[2]
    rest = here.removeprefix(f"{last} -> ")
    return f"{told} -> {rest}"


class _Leaving:
    """The lanes as the session sees them: what it takes is about to leave."""

    __slots__ = ("_epoch", "_lanes", "_portal", "head")

    def __init__(self, portal: Portal, epoch: Epoch) -> None:
        self._portal = portal
        self._epoch = epoch
        self._lanes = portal.outbox.lanes
        self.head: Callable[[Lane], Packed | None] = self._lanes.head

    def take_from(self, lane: Lane) -> Packed:
        """Take it."""
        packed = self._lanes.take_from(lane)
        self._portal.left(packed, self._epoch.sent[lane].next)
        return packed


class NativeDialect(Dialect):
    """Credit, priority, cancels and deadlines across one connection.

    Args:
        portal: where messages come from and go to.
        epoch: what is known from before.
        limits: what is taken here.
        on_goodbye: called when the peer says that it will not go on with this session.
    """

    def __init__(
        self,
        portal: Portal,
        epoch: Epoch,
        limits: LinkLimits,
        on_goodbye: Callable[[], None],
    ) -> None:
        self._portal = portal
        self._epoch = epoch
        self._on_goodbye = on_goodbye
        self._heartbeat = limits.heartbeat
        self.limits: LinkLimits = limits
        """What is taken from it."""

        # As `trio.current_time`, which looks this up each time.
        self._now = trio.lowlevel.current_clock().current_time
        self._session = Session(epoch, limits, self._now())
        self._lanes: Any = _Leaving(portal, epoch)
        # What has come with the peer's hello.
        self._with_hello: list[Any] = []

    # Opening

    async def open(self, room: Anteroom) -> Opened:
        """Say hello, and wait for the peer's.  A checkpoint; takes any time, so bound it.

        What a peer says in Pipecat's format before is left out: it did not know better.

        Raises:
            RemoteWireError: its hello breaks the rules.
            LinkClosed: the connection is over.
        """
        await room.transport.send(self.leave())
        while not is_hello(frame := await room.receive()):
            pass
        events: list[Any] = self._session.receive(frame, self._now())
        opened, *self._with_hello = events
        if not isinstance(opened, Opened):
            raise RemoteWireError(f"no link in the native dialect: {opened.reason}")
        return opened

    def take_rest(self) -> None:
        """Take what has come with the hello: who has heard ours may say more in that frame.

        After what the hello means for the session: that counts, whatever follows.

        Raises:
            RemoteWireError: it breaks the rules.
        """
        events, self._with_hello = self._with_hello, []
        self._take(events, self._now())

    # As what the portal asks of a peer with credit

    @property
    def message_size(self) -> int:
        """How big a message the peer takes, in bytes."""
        return self._session.takes.message_size

    @property
    def repeated(self) -> int:
        """How many messages have left more than once."""
        return sum(lane.repeated for lane in self._epoch.sent)

    def tell_cancel(self, request: Request, number: int) -> bool:
        """Tell the peer of a cancel; return whether the request had left in part only, and ends."""
        reason, path = request.cancelled_by or (None, request.requester)
        text = None if reason is None else writable(reason)[:WHY]
        given_up = self._session.cancel(
            Cancelled(request.id, text, writable(path)[:WHY], int(number))
        )
        self._portal.outbox.wake()
        return given_up

    def tell_hold(self, job_id: str, held: bool) -> None:
        """Tell the peer whether the events of a job that it does are to wait."""
        self._session.hold(job_id, held=held)
        self._portal.outbox.wake()

    def taken(self, lane: Lane) -> None:
        """Take note that a message that waited here does so no more."""
        self._session.taken(lane)
        if self._session.due:
            self._portal.outbox.wake()

    # As a dialect

    def leave_alone(self, packed: Packed) -> bytes:
        """Let a message leave before all others, if it is small and there is credit."""
        lane = Lane.SYSTEM if packed.urgent else Lane.DATA
        if packed.job is not None:
            lane = Lane.REPLY
        number = self._epoch.sent[lane].next
        # The time is only for what is left of a deadline.
        now = 0.0 if packed.deadline == inf else self._now()
        frame = self._session.leave_alone(lane, packed, now)
        if frame:
            self._portal.left(packed, number)
        return frame

    def leave(self) -> list[bytes]:
        """Take one frame."""
        session = self._session
        if not self.has_more:
            return []
        frame = session.next_frame(self._lanes, self._now())
        while session.refused:
            packed = session.refused.popleft()
            detail = f"{len(packed.frame)} bytes, the peer takes {self.message_size}"
            self._portal.reject(packed.item, "refused", detail)
        if not frame:
            return []
        self._portal.outbox.hand_over()
        return [frame]

    def receive(self, frame: bytes | str) -> bool:
        """Take what a frame says."""
        if isinstance(frame, str):
            raise RemoteWireError(f"a text message in the native dialect: {frame[:40]!r}")
        session, now = self._session, self._now()
        events = session.receive(frame, now)
        # Many are handled before more come: what a mailbox has no room for has to wait here.
        gives_way = self._take(events, now) or len(events) >= MANY
        # Otherwise what is in the lanes may leave no more than before.
        if not session.calm and self.has_more:
            self._portal.outbox.wake()
        return gives_way

    def _take(self, events: list[Any], now: float) -> bool:
        """Take what has happened; tell whether it should have taken effect before the next."""
        urgent = False
        for event in events:
            if type(event) is not Arrived:
                urgent = self._happened(event) or urgent
            else:
                urgent = urgent or event.lane is Lane.SYSTEM
                if not self._portal.arrive(event, now):
                    self._session.taken(event.lane)
        return urgent

    def _happened(self, event: Any) -> bool:
        if isinstance(event, Cancelled):
            path = _joined(event.path, self._portal.path)
            self._portal.deliveries.cancel(event.job_id, event.reason, path)
            return True
        if isinstance(event, Broken):
            raise RemoteWireError(event.reason)
        if isinstance(event, Hold):
            self._portal.deliveries.hold(event.job_id, held=event.held)
        # After a goodbye the connection is closed by whoever has said it.
        if isinstance(event, Closed):
            self._on_goodbye()
        return False

    @property
    def has_more(self) -> bool:
        """Whether something is to leave, for which there may be credit or not."""
        return self._session.has_more(self._portal.outbox.lanes)

    @property
    def done(self) -> bool:
        """Whether the peer was told goodbye."""
        return self._session.ours is Speaker.GONE

    async def show_life(self, transport: Transport) -> None:
        """Say now and then that this side is there, while nobody reads what the peer says."""
        takes = self._session.takes
        ping = chunks.write_token(Kind.PING, 0)
        while True:
            await trio.sleep(min(self._heartbeat, takes.heartbeat))
            if not transport.send_now(ping):
                await transport.send([ping])

    async def watch(self, transport: Transport) -> None:
        """Look for signs of life in time."""
        del transport
        # What has come before there was a link is being read only now.
        await trio.sleep(self._heartbeat)
        try:
            while True:
                again = self._session.check(self._now())
                if self._session.due:
                    self._portal.outbox.wake()
                await trio.sleep_until(again)
        except RemoteWireError as error:
            raise LinkClosed(1006, str(error), "network") from None

    def close(self, code: int, reason: str) -> None:
        """Say goodbye when nothing is left to leave."""
        self._session.close(code, safe_text(reason))

    def part(self, code: int, reason: str) -> list[bytes]:
        """Say goodbye at once."""
        frame = self._session.part(code, safe_text(reason))
        return [frame] if frame else []

    def is_goodbye(self, frame: bytes | str) -> bool:
        """Look for a goodbye, and at nothing else."""
        try:
            return isinstance(frame, bytes) and any(
                kind is Kind.GOODBYE for kind, _ in chunks.parse(frame)
            )
        except RemoteWireError:
            return False

    def farewell(self) -> list[bytes]:
        """Take one frame more: cancels leave first, then the system lane."""
        return self.leave()
