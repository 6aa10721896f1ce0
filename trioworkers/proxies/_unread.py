"""The events of one job that came over a link and were not read yet: how many, and when to wait.

When they are many, the side that does the job is told to hold it: its handler waits with the next
event.  What is on its way then still comes, and what waits there to leave; so there is room for
more than that, and the lane in which the answers of all jobs come does not wait for one reader.
"""

from __future__ import annotations

from collections.abc import Callable

from ..wire.hello import LinkLimits

__all__ = ["EVENT_BYTES", "EVENT_CAPACITY", "Unread"]

EVENT_CAPACITY = 1024
"""How many events of one job wait for a slow reader; with credit, what is on its way comes on top."""

EVENT_BYTES = 16 * 2**20
"""How many bytes of them do, with credit; one may exceed it, and a window comes on top."""

_HOLD = EVENT_CAPACITY // 2
_HOLD_BYTES = EVENT_BYTES // 2


class Unread:
    """Counts them, and says when the job is to be held, and when to go on.

    Args:
        limits: what the peer may have on its way.
        tell: called with whether the job is to be held, each time that changes.
    """

    __slots__ = ("_most", "_most_bytes", "_tell", "events", "held", "on_read", "size")

    def __init__(self, limits: LinkLimits, tell: Callable[[bool], None]) -> None:
        self._tell = tell
        self._most = EVENT_CAPACITY + limits.messages
        self._most_bytes = EVENT_BYTES + limits.window
        self.events: int = 0
        self.size: int = 0
        # What the peer was told last, if it was told anything.
        self.held: bool | None = None
        self.on_read: Callable[[], None] | None = None
        """Called when one was read, while somebody waits for that."""

    def put(self, size: int) -> bool:
        """Take note of one more, of `size` bytes; False if there is no room: the peer has not obeyed."""
        if self.events >= self._most or self.size >= self._most_bytes:
            return False
        self.events += 1
        self.size += size
        # The other half is for what waits over there.
        if (self.events >= _HOLD or self.size >= _HOLD_BYTES) and not self.held:
            self._say(True)
        return True

    def read(self, size: int) -> None:
        """Take note that one was read, or that nobody will."""
        self.events -= 1
        self.size -= size
        if self.held and 2 * self.events < _HOLD and 2 * self.size < _HOLD_BYTES:
            self._say(False)
        if self.on_read is not None:
            self.on_read()

    def _say(self, held: bool) -> None:
        self.held = held
        self._tell(held)
