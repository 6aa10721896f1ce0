"""A WebSocket connection within a process, for tests: no socket, no thread, and any clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import ClassVar

import attrs
import trio

from ._transport import LinkClosed, Transport, again, check_offered

__all__ = ["MemoryTransport", "memory_transports"]


@attrs.define
class _Wire:
    """What both ends share: the event they wait on, replaced at each change."""

    changed: trio.Event = attrs.Factory(trio.Event)

    def change(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


class MemoryTransport(Transport):
    """One end of a connection within a process; `memory_transports` makes two.

    Args:
        name: what the other end calls this one.
        wire: what both ends share.
        capacity: how many messages wait here for `receive` before the other end's `send` waits.
    """

    can_ping: ClassVar[bool] = True

    def __init__(self, name: str, wire: _Wire, capacity: int) -> None:
        self.websocket = self
        self.offers: tuple[str, ...] | None = ()
        self._name = name
        self._wire = wire
        self._capacity = capacity
        self._arrived: deque[bytes | str] = deque()
        self._frozen = False
        self._told: LinkClosed | None = None  # by the other end; to be learnt behind what arrived
        self._other = self

    def join(self, other: MemoryTransport) -> None:
        """Connect this end with another one."""
        self._other, self.peer = other, other._name

    def freeze(self) -> None:
        """Take, answer and send nothing from now on, as a process that was stopped."""
        self._frozen = True

    def thaw(self) -> None:
        """Go on after `freeze`."""
        self._frozen = False
        self._wire.change()

    async def accept(self, subprotocol: str | None = None) -> None:
        """Note the subprotocol: there is no opening handshake."""
        await trio.lowlevel.checkpoint()
        check_offered(subprotocol, self.offers)
        self.subprotocol = subprotocol

    async def receive(self) -> bytes | str:
        """Return the next message."""
        await trio.lowlevel.checkpoint()
        while self.lost is None:
            if self._frozen:
                pass
            elif self._arrived:
                message = self._arrived.popleft()
                self._wire.change()
                return message
            elif self._told is not None:
                self.lost = self._told
                self._wire.change()
                break
            await self._wire.changed.wait()
        raise again(self.lost)

    async def send(self, frames: Sequence[bytes]) -> None:
        """Put messages into the other end's buffer, waiting for room in it."""
        await trio.lowlevel.checkpoint()
        for frame in frames:
            await self._put(frame)

    async def send_text(self, text: str) -> None:
        """Send a text message, which proxies do not do by themselves."""
        await trio.lowlevel.checkpoint()
        await self._put(text)

    async def _put(self, message: bytes | str) -> None:
        other = self._other
        while True:
            if end := self._over():
                raise again(end)
            if not self._frozen and len(other._arrived) < other._capacity:
                break
            await self._wire.changed.wait()
        other._arrived.append(message)
        self._wire.change()

    def _over(self) -> LinkClosed | None:
        return self.lost or (None if self._frozen else self._told)

    async def ping(self) -> None:
        """Return when both ends are alive."""
        await trio.lowlevel.checkpoint()
        while True:
            if end := self._over():
                raise again(end)
            if not self._frozen and not self._other._frozen:
                return
            await self._wire.changed.wait()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Tell the other end, and wait until it has taken all that came before and learnt of it."""
        await trio.lowlevel.checkpoint()
        if self.lost is not None:
            return
        self.lost = LinkClosed(code, reason, "us")
        self._arrived.clear()
        self._other._told = self._other._told or LinkClosed(code, reason, "peer")
        self._wire.change()
        while self._other.lost is None:
            await self._wire.changed.wait()

    async def abort(self) -> None:
        """Drop the connection; a frozen end does not even let the other one know."""
        self.lost = self.lost or LinkClosed(reason="dropped", by="us")
        self._arrived.clear()
        if not self._frozen and self._other._told is None:
            self._other._told = LinkClosed()
        self._wire.change()
        await trio.lowlevel.cancel_shielded_checkpoint()


def memory_transports(capacity: int = 16) -> tuple[MemoryTransport, MemoryTransport]:
    """Make the two ends of a connection.

    Args:
        capacity: how many messages one end holds before the other's `send` waits.
    """
    wire = _Wire()
    one = MemoryTransport("memory one", wire, capacity)
    two = MemoryTransport("memory two", wire, capacity)
    one.join(two)
    two.join(one)
    return one, two
