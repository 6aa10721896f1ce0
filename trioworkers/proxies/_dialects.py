"""How the messages of a link are put into frames, and read from them: one object for a connection.

Between the portal, which knows messages, and the link, which knows connections.  There is no I/O
here but the look at whether a silent peer is still there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import trio

from ._outbox import Packed
from ._portal import Portal
from ._transport import LinkClosed, Transport

__all__ = ["Dialect", "PipecatDialect", "beat"]

WINDOW = 64 * 2**10
"""How many bytes leave in one write at most; one message may exceed it."""


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


class Dialect(ABC):
    """What one connection speaks."""

    @abstractmethod
    def leave_alone(self, packed: Packed) -> bytes:
        """Let a message leave that need not wait in the outbox, where nothing is; return its frame.

        It is empty if the message has to.
        """

    @abstractmethod
    def leave(self) -> list[bytes]:
        """Take out of the outbox what may leave now; return its frames, none if there is nothing."""

    @abstractmethod
    def receive(self, frame: bytes | str) -> bool:
        """Take a frame from the peer; never waits.

        Returns:
            Whether it should have taken effect before the next one is taken.

        Raises:
            RemoteWireError: the connection is of no more use.
        """

    @abstractmethod
    async def watch(self, transport: Transport) -> None:
        """See to a silent peer, as long as the connection lasts.

        Raises:
            LinkClosed: it is gone.
        """

    @property
    @abstractmethod
    def has_more(self) -> bool:
        """Whether something is to leave, be it that it may not yet."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether nothing is left to leave."""

    def close(self, code: int, reason: str) -> None:
        """Begin to close the connection: the peer is to know when nothing is left to leave."""
        del code, reason

    def part(self, code: int, reason: str) -> list[bytes]:
        """Return what tells the peer now, before anything crosses, that nothing will."""
        del code, reason
        return []

    def is_goodbye(self, frame: bytes | str) -> bool:
        """Tell whether a frame, which nobody will take, says that the peer will not go on."""
        del frame
        return False

    @abstractmethod
    def farewell(self) -> list[bytes]:
        """Return the last frames: what is urgent, such as the cancel that is why all ends."""


class PipecatDialect(Dialect):
    """A frame is a message, and there is nothing else.

    Args:
        portal: where messages come from and go to.
        heartbeat: seconds between two looks at whether the peer is there, and for its answer.
    """

    def __init__(self, portal: Portal, heartbeat: float) -> None:
        self._portal = portal
        self._heartbeat = heartbeat

    def leave_alone(self, packed: Packed) -> bytes:
        """Let a message leave: its frame is there."""
        self._portal.left(packed)
        return packed.frame

    def leave(self) -> list[bytes]:
        """Take messages of one write."""
        frames: list[bytes] = []
        outbox, room = self._portal.outbox, WINDOW
        while room > 0 and (packed := outbox.lanes.take()) is not None:
            self._portal.left(packed)
            frames.append(packed.frame)
            room -= len(packed.frame)
        if frames:
            outbox.hand_over()
        return frames

    def receive(self, frame: bytes | str) -> bool:
        """Take the message that a frame is."""
        return self._portal.receive(frame)

    @property
    def has_more(self) -> bool:
        """Whether there are messages in the outbox."""
        return len(self._portal.outbox.lanes) > 0

    @property
    def done(self) -> bool:
        """Whether the outbox is empty."""
        return self._portal.outbox.empty

    async def watch(self, transport: Transport) -> None:
        """Ping, if that can be done."""
        await beat(transport, self._heartbeat)

    def farewell(self) -> list[bytes]:
        """Take the system lane."""
        lanes = self._portal.outbox.lanes
        frames: list[bytes] = []
        while lanes.system_depth and (packed := lanes.take()) is not None:
            self._portal.left(packed)
            frames.append(packed.frame)
        return frames
