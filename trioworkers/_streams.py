"""A bounded stream that tells its reader what it missed instead of waiting for it."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

from ._interrupts import protected
from ._values import Lagged

__all__ = ["LaggingStream"]

T = TypeVar("T")


@protected
class LaggingStream(Generic[T]):
    """Keeps the newest `capacity` items; `Lagged(n)` stands for the older ones that were lost.

    An item that was taken by a reader is never lost: the reader is either cancelled before it
    takes the item, or it returns it.
    """

    def __init__(self, capacity: int) -> None:
        """Start empty.

        Raises:
            TypeError: `capacity` is no int.
            ValueError: `capacity` is less than 1.
        """
        if not isinstance(capacity, int):
            raise TypeError(f"capacity must be an int, not {capacity!r}")
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._missed = 0
        self._closed = False
        self._reading = False
        self._parked: trio.lowlevel.Task | None = None

    def push(self, item: T) -> None:
        """Append `item`; drops the oldest one if the reader lags.  Has no effect when closed."""
        if self._closed:
            return
        if len(self._items) >= self._capacity:
            self._items.popleft()
            self._missed += 1
        self._items.append(item)
        self._wake()

    def close(self) -> None:
        """End the stream behind what it holds."""
        self._closed = True
        self._wake()

    def _wake(self) -> None:
        if self._parked is not None:
            parked, self._parked = self._parked, None
            trio.lowlevel.reschedule(parked)

    def __aiter__(self) -> LaggingStream[T]:
        """Return itself: there is one reader."""
        return self

    async def __anext__(self) -> T | Lagged:
        """Wait for the next item.

        A checkpoint.

        Raises:
            trio.BusyResourceError: another task is reading.
        """
        if self._reading:
            raise trio.BusyResourceError("another task is reading this stream: open a second one")
        # Until this reader goes on: an item that woke it must not go to another one meanwhile.
        self._reading = True
        try:
            await trio.lowlevel.checkpoint()
            if not self._items and not self._closed:
                self._parked = trio.lowlevel.current_task()
                await trio.lowlevel.wait_task_rescheduled(self._abort)
        finally:
            self._reading = False
        if self._missed:
            missed, self._missed = self._missed, 0
            return Lagged(missed)
        if self._items:
            return self._items.popleft()
        raise StopAsyncIteration

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._parked = None
        return trio.lowlevel.Abort.SUCCEEDED
