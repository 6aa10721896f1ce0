"""What has arrived over a link and waits for room, in order, for a task that hands it over."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

import trio
from trio.lowlevel import Abort, current_task, wait_task_rescheduled

from .._bus import SENDS_PER_PASS
from ..wire.chunks import Lane

__all__ = ["Inbox"]


class Inbox:
    """A queue that one task empties.  Whoever puts something in sees to the bounds.

    Args:
        offer: hands one item over if there is room for it now, and tells whether it did.
        hand_over: hands one item over, and waits until there is room for it.
        lose: takes an item whose wait was cut short.
    """

    def __init__(
        self,
        offer: Callable[[Any], bool],
        hand_over: Callable[[Any], Awaitable[None]],
        lose: Callable[[Any], None],
    ) -> None:
        self.size: int = 0
        """How many bytes wait."""

        self.taken: Callable[[Lane], None] | None = None
        """Called for each item that waits no more, with the lane in which it came."""

        self._offer = offer
        self._hand_over = hand_over
        self._lose = lose
        self._items: deque[tuple[Any, int, Lane]] = deque()
        self._task: trio.lowlevel.Task | None = None
        # Around the wait for the item in hand, if there is one.
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        """Return how many items wait, the one in hand included."""
        return len(self._items) + (self._scope is not None)

    def put(self, item: Any, size: int, lane: Lane) -> None:
        """Let `item`, of `size` bytes, wait behind the others."""
        self._items.append((item, size, lane))
        self.size += size
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task)

    def clear(self) -> list[Any]:
        """Empty it; return what waited.  The item in hand is lost by itself."""
        items, self._items, self.size = self._items, deque(), 0
        if self._scope is not None:
            self._scope.cancel(reason="the link is over")
        # What a session has counted as held would else be held for ever if the next one has the
        # same memory.
        for _, _, lane in items:
            self._tell(lane)
        return [item for item, _, _ in items]

    async def run(self) -> None:
        """Hand the items over, in order, for ever."""
        handed = 0
        while True:
            while not self._items:
                self._task = current_task()
                await wait_task_rescheduled(self._abort)
                handed = 0
            item, size, lane = self._items.popleft()
            self.size -= size
            # Only a wait needs a scope, which takes longer than all the rest.
            if self._offer(item):
                handed += 1
            else:
                await self._wait_for_room(item)
                handed = 0
            self._tell(lane)
            if handed >= SENDS_PER_PASS:
                await trio.lowlevel.checkpoint()
                handed = 0

    async def _wait_for_room(self, item: Any) -> None:
        scope = self._scope = trio.CancelScope()
        try:
            with scope:
                await self._hand_over(item)
        except BaseException:
            self._lose(item)
            raise
        finally:
            self._scope = None
        if scope.cancelled_caught:
            self._lose(item)

    def _tell(self, lane: Lane) -> None:
        if self.taken is not None:
            self.taken(lane)

    def _abort(self, _raise_cancel: object) -> Abort:
        self._task = None
        return Abort.SUCCEEDED
