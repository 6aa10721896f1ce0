"""One connection of a proxy: the tasks between the socket and the portal.

The reader always drains and never waits for anybody but the socket.  The writer alone owns the
sending side: what is in the outbox together leaves together, and a sender that is cancelled
cannot cut a frame.  A third task waits for room in the local worker's mailbox, and a fourth finds
out whether a silent peer is still there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import trio

from ..errors import RemoteWireError
from ._outbox import Packed
from ._portal import Portal
from ._transport import LinkClosed, Transport

__all__ = ["Link", "beat"]

WINDOW = 64 * 2**10
"""How many bytes leave in one write at most; one message may exceed it."""

SMALL = 16 * 2**10
"""How many bytes leave in their sender's step at most; to a bigger message it means little."""

CLOSE_SECONDS = 2.0
"""How long the peer has for its part of an orderly close, and the last messages to leave."""


async def beat(transport: Transport, heartbeat: float) -> None:
    """Ask a peer now and then whether it is there, if that can be done.

    Raises:
        LinkClosed: it has not answered, or the connection is over.
    """
    if not transport.can_ping:
        return
    while True:
        await trio.sleep(heartbeat)
        with trio.move_on_after(heartbeat) as scope:
            await transport.ping()
        if scope.cancelled_caught:
            raise LinkClosed(1006, f"no answer to a ping for {heartbeat} s", "network")


class Link:
    """Runs one connection until it is lost or closed."""

    def __init__(
        self,
        portal: Portal,
        transport: Transport,
        heartbeat: float,
        on_end: Callable[[LinkClosed], None],
        early: deque[bytes | str] | None = None,
    ) -> None:
        """Prepare to run.

        Args:
            portal: where messages come from and go to.
            transport: the connection, whose handshake is done.
            heartbeat: seconds between two looks at whether the peer is there, and for its answer.
            on_end: called once, when nothing more can cross; the connection may not be closed yet.
            early: what has come already; used up.
        """
        self._portal = portal
        self._transport = transport
        self._heartbeat = heartbeat
        self._on_end = on_end
        self._early: deque[bytes | str] = deque() if early is None else early
        self._end: LinkClosed | None = None
        self._scope = trio.CancelScope()
        self._writer = trio.CancelScope(shield=True)
        self._writing = False
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
                    nursery.start_soon(self._until_lost, self._beat)
                    nursery.start_soon(self._portal.deliveries.run)
                    nursery.start_soon(self._close_in_order)
        except Exception:
            self._end = self._end or LinkClosed(1011, "the proxy has failed", "us")
            raise
        finally:
            # Shielded, with a deadline.
            await self._hang_up()  # noqa: ASYNC102
        assert self._end is not None
        return self._end

    def close_soon(self, code: int, reason: str) -> None:
        """Let what waits leave, then close the connection.  Harmless when that has begun."""
        if self._closing is None:
            self._closing = (code, reason)
            self._close_asked.set()

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
            self._lose(end)

    async def _read(self) -> None:
        try:
            while self._early:
                self._portal.receive(self._early.popleft())
                await trio.lowlevel.checkpoint()
            await self._transport.pump(self._portal.receive)
        except RemoteWireError as error:
            await self._refuse(1008, str(error))

    async def _refuse(self, code: int, reason: str) -> None:
        # Begun before the close, so that the cut is the reason and not what the peer makes of it.
        self._end = LinkClosed(code, reason, "us")
        raise self._end

    async def _write(self) -> None:
        # Shielded: cut in the middle of a frame, the connection could not be closed in order.
        self._portal.outbox.shortcut(self._send_now)
        with self._writer:
            while not self._over:
                await self._send(await self._portal.outbox.take(WINDOW))
                if self._closing is not None and self._portal.outbox.empty:
                    raise LinkClosed(*self._closing, "us")

    async def _limit_writer(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._over = True
            lost = self._end is not None and self._end.by != "us"
            if lost or self._closing is not None or self._portal.outbox.awaited:
                self._writer.cancel(reason="the link is over")
            else:
                self._writer.deadline = trio.current_time() + CLOSE_SECONDS

    def _send_now(self, packed: Packed) -> bool:
        small = len(packed.frame) <= SMALL
        if not small or self._end is not None or not self._transport.send_now(packed.frame):
            return False
        self._portal.left(packed)
        return True

    async def _send(self, packed: Sequence[Packed]) -> None:
        for each in packed:
            self._portal.left(each)
        self._writing = True
        await self._transport.send([each.frame for each in packed])
        self._writing = False

    async def _beat(self) -> None:
        await beat(self._transport, self._heartbeat)

    async def _close_in_order(self) -> None:
        await self._close_asked.wait()
        assert self._closing is not None
        if self._writing or not self._portal.outbox.empty:
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
                await self._say_farewell()
        # Not behind the peer's part of the closing handshake, which it may never do.
        self._on_end(end)
        if self._closable(end):
            with trio.CancelScope(shield=True, deadline=deadline):
                await self._transport.close(end.code, end.reason)
        await self._transport.abort()

    def _closable(self, end: LinkClosed) -> bool:
        return not self._writing and end.by == "us"

    async def _say_farewell(self) -> None:
        # Such as the cancel that is why the connection is closed.
        if urgent := self._portal.outbox.take_urgent():
            with suppress(LinkClosed):
                await self._send(urgent)
