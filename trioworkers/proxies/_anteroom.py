"""Where a connection is until its messages are wanted.

Who does not read does not see the peer leave.  So it is read: what comes early is kept for the
link, up to a bound.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from ._dialects import beat
from ._transport import LinkClosed, Transport

__all__ = ["Anteroom"]

EARLY_MESSAGES = 1024
"""How many messages are kept that come before there is a link; then the peer waits."""

EARLY_BYTES = 4 * 2**20


class Anteroom:
    """Watches a connection while something else has to be done first.

    Args:
        transport: the connection.
        heartbeat: seconds between two looks at whether the peer is there, and for its answer; and
            how long a peer may wait that has sent too much.
    """

    def __init__(self, transport: Transport, heartbeat: float) -> None:
        self.transport: Transport = transport
        self.kept: deque[bytes | str] = deque(transport.unread)
        self._heartbeat = heartbeat
        self.show_life: Callable[[Transport], Awaitable[None]] | None = None
        """Shows a peer that expects it that this side is there, for as long as is waited here."""

        self._size = 0
        self._end: LinkClosed | None = None
        # Around what is done meanwhile.
        self._cut: trio.CancelScope | None = None

    def drop(self, end: LinkClosed) -> None:
        """Cut short what is done meanwhile, as if the connection had ended so."""
        if self._cut is not None:
            self._end = self._end or end
            self._cut.cancel(reason=str(end))

    async def receive(self) -> bytes | str:
        """Return the next message, the ones that were kept first.  A checkpoint.

        Raises:
            LinkClosed: there is none any more.
        """
        if self.kept:
            await trio.lowlevel.checkpoint()
            return self.kept.popleft()
        return await self.transport.receive()

    async def during(
        self, nursery: trio.Nursery, work: Callable[[], Awaitable[None]]
    ) -> LinkClosed | None:
        """Do something; when the connection is over, it is cancelled.  A checkpoint.

        What `work` raises goes out as it is: it is not done in a nursery of this block.

        Args:
            nursery: where the watching is done.
            work: what to do.

        Returns:
            How the connection has ended, or None if `work` was done.
        """
        watching, cut, left = trio.CancelScope(), trio.CancelScope(), trio.Event()
        self._cut = cut
        nursery.start_soon(self._watch, watching, cut, left)
        with cut:
            try:
                await work()
            finally:
                watching.cancel(reason="nobody need watch the connection any more")
        if cut.cancelled_caught:
            return self._end
        # There is one reader at a time.
        await left.wait()
        return None

    async def _watch(
        self, watching: trio.CancelScope, cut: trio.CancelScope, left: trio.Event
    ) -> None:
        try:
            with watching:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._until_lost, self._keep, cut)
                    if self.transport.accepted:
                        nursery.start_soon(self._until_lost, self._beat, cut)
                    if self.show_life is not None:
                        nursery.start_soon(
                            self._until_lost, partial(self.show_life, self.transport), cut
                        )
        finally:
            left.set()

    async def _until_lost(self, work: Callable[[], Awaitable[None]], cut: trio.CancelScope) -> None:
        try:
            await work()
        except LinkClosed as end:
            # What a peer has said before it closed, such as goodbye, is yet to be read.
            if end.by != "peer" or work == self._keep:
                self._end = self._end or end
                cut.cancel(reason=f"the connection is over: {end}")

    async def _beat(self) -> None:
        await beat(self.transport, self._heartbeat)

    async def _keep(self) -> None:
        while len(self.kept) < EARLY_MESSAGES and self._size < EARLY_BYTES:
            message = await self.transport.early()
            self.kept.append(message)
            self._size += len(message)
        # The peer waits now, as for a reader that is slow; but nobody sees it leave.
        await trio.sleep(self._heartbeat)
        raise LinkClosed(1008, "too many messages before there was a link", "us")
