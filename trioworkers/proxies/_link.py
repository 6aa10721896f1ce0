"""One connection of a proxy: the tasks between the socket and the dialect.

The reader always drains and never waits for anybody but the socket.  The writer alone owns the
sending side: what is in the outbox together leaves together, and a sender that is cancelled
cannot cut a frame.  A third task finds out whether a silent peer is still there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

import trio

from ..errors import RemoteWireError
from ._dialects import Dialect
from ._outbox import Packed
from ._portal import Portal
from ._transport import LinkClosed, Transport

__all__ = ["Link"]

CLOSE_SECONDS = 2.0
"""How long the peer has for its part of an orderly close, and the last messages to leave."""


class Link:
    """Runs one connection until it is lost or closed."""

    def __init__(
        self,
        portal: Portal,
        transport: Transport,
        dialect: Dialect,
        on_end: Callable[[LinkClosed], None],
        early: deque[bytes | str] | None = None,
    ) -> None:
        """Prepare to run.

        Args:
            portal: whose messages cross.
            transport: the connection, whose handshake is done.
            dialect: what it speaks.
            on_end: called once, when nothing more can cross; the connection may not be closed yet.
            early: what has come already; used up.
        """
        self._portal = portal
        self._outbox = portal.outbox
        self._transport = transport
        self._dialect = dialect
        self._on_end = on_end
        self._early: deque[bytes | str] = deque() if early is None else early
        self._end: LinkClosed | None = None
        self._scope = trio.CancelScope()
        self._writer = trio.CancelScope(shield=True)
        self._writing = False
        # Frames that were taken to be sent at once, and could not be.
        self._kept: list[bytes] = []
        # Whether the write that goes on is the last.
        self._over = False
        self._closing: tuple[int, str] | None = None
        self._close_asked = trio.Event()

    async def run(self) -> LinkClosed:
        """Carry messages until the connection is over; return how it ended."""
        self._portal.deliveries.give_up = self._give_up
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_lost, self._read)
                    nursery.start_soon(self._until_lost, self._write)
                    nursery.start_soon(self._limit_writer)
                    nursery.start_soon(self._until_lost, self._watch)
                    nursery.start_soon(self._close_in_order)
        except Exception:
            self._end = self._end or LinkClosed(1011, "the proxy has failed", "us")
            raise
        finally:
            self._outbox.shortcut(None)
            # Shielded, with a deadline.
            await self._hang_up()  # noqa: ASYNC102
        assert self._end is not None
        return self._end

    def close_soon(self, code: int, reason: str) -> None:
        """Let what waits leave, then close the connection.  Harmless when that has begun."""
        if self._closing is None:
            self._closing = (code, reason)
            self._dialect.close(code, reason)
            self._outbox.rouse()
            self._close_asked.set()

    def drop(self, reason: str) -> None:
        """Give the connection up, as if the network had."""
        self._lose(LinkClosed(1006, reason, "network"))

    def _lose(self, end: LinkClosed) -> None:
        if self._end is None:
            self._end = end
        self._scope.cancel(reason=f"the link is over: {end}")

    def _give_up(self, reason: str) -> None:
        self._lose(LinkClosed(1008, reason, "us"))

    async def _until_lost(self, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except LinkClosed as end:
            # What a peer has said before it closed, such as goodbye, is yet to be read.
            if end.by != "peer" or work == self._read:
                self._lose(end)

    async def _read(self) -> None:
        try:
            while self._early:
                self._dialect.receive(self._early.popleft())
                await trio.lowlevel.checkpoint()
            await self._transport.pump(self._dialect.receive)
        except RemoteWireError as error:
            await self._refuse(1008, str(error))

    async def _refuse(self, code: int, reason: str) -> None:
        # Begun before the close, so that the cut is the reason and not what the peer makes of it.
        self._end = LinkClosed(code, reason, "us")
        raise self._end

    async def _write(self) -> None:
        # Shielded: cut in the middle of a frame, the connection could not be closed in order.
        self._outbox.shortcut(self._leave_now, self._leave_alone)
        with self._writer:
            while not self._over:
                frames = self._leave()
                if not frames:
                    if self._closing is not None and self._dialect.done:
                        raise LinkClosed(*self._closing, "us")
                    await self._outbox.changed()
                    frames = self._leave()
                # What was sent at once may have left in part only: that goes first.
                await self._send(frames)

    def _leave(self) -> list[bytes]:
        kept, self._kept = self._kept, []
        return kept or self._dialect.leave()

    def _leave_alone(self, packed: Packed) -> bool | None:
        if self._end is not None:
            return None
        frame = self._dialect.leave_alone(packed)
        if not frame:
            return None
        if self._transport.send_now(frame):
            return not self._transport.unfinished
        self._kept = [frame]
        return False

    def _leave_now(self) -> bool:
        if self._end is not None:
            return False
        frames = self._dialect.leave()
        if len(frames) == 1 and self._transport.send_now(frames[0]):
            return not (self._dialect.has_more or self._transport.unfinished)
        self._kept = frames
        return False

    async def _limit_writer(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._over = True
            lost = self._end is not None and self._end.by != "us"
            if lost or self._closing is not None or self._outbox.awaited:
                self._writer.cancel(reason="the link is over")
            else:
                self._writer.deadline = trio.current_time() + CLOSE_SECONDS

    async def _send(self, frames: list[bytes]) -> None:
        self._writing = True
        await self._transport.send(frames)
        self._writing = False

    async def _watch(self) -> None:
        await self._dialect.watch(self._transport)

    async def _close_in_order(self) -> None:
        await self._close_asked.wait()
        assert self._closing is not None
        # The writer ends it when nothing is left to leave.
        await trio.sleep(CLOSE_SECONDS)
        self._lose(LinkClosed(*self._closing, "us"))

    async def _hang_up(self) -> None:
        """Close the connection: with a handshake if it is whole, within a bound in any case."""
        end = self._end or LinkClosed(1001, "the proxy was cancelled", "us")
        self._end = end
        deadline = trio.current_time() + CLOSE_SECONDS
        if self._closable(end):
            with trio.CancelScope(shield=True, deadline=deadline):
                await self._say_farewell(end)
        # Not behind the peer's part of the closing handshake, which it may never do.
        self._on_end(end)
        if self._closable(end):
            with trio.CancelScope(shield=True, deadline=deadline):
                await self._transport.close(end.code, end.reason)
        await self._transport.abort()

    def _closable(self, end: LinkClosed) -> bool:
        return not self._writing and end.by == "us"

    async def _say_farewell(self, end: LinkClosed) -> None:
        self._dialect.close(end.code, end.reason)
        # What is urgent, such as the cancel that is why the connection is closed.
        if frames := [*self._kept, *self._dialect.farewell()]:
            with suppress(LinkClosed):
                await self._send(frames)
