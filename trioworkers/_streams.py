"""A bounded stream that tells its reader what it missed instead of waiting for it."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

import trio

from ._values import Lagged

__all__ = ["LaggingStream"]

T = TypeVar("T")


class LaggingStream(Generic[T]):
    """Keeps the newest `capacity` items; `Lagged(n)` stands for the older ones that were lost.

    An item that was taken by a reader is never lost: the reader is either cancelled before it
    takes the item, or it returns it.
    """

    def __init__(self, capacity: int) -> None:
        """Start empty.

        Raises:
            ValueError: `capacity` is less than 1.
        """
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, not {capacity!r}")
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._missed = 0
        self._closed = False
        self._reader: trio.lowlevel.Task | None = None

    def push(self, item: T) -> None:
        """Append `item`; drops the oldest one if the reader lags."""
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
        if self._reader is not None:
            reader, self._reader = self._reader, None
            trio.lowlevel.reschedule(reader)

    def __aiter__(self) -> LaggingStream[T]:
        """Return itself: there is one reader."""
        return self

    async def __anext__(self) -> T | Lagged:
        """Wait for the next item.

        A checkpoint.

        Raises:
            trio.BusyResourceError: another task is reading.
        """
        await trio.lowlevel.checkpoint()
        if self._reader is not None:
            raise trio.BusyResourceError("another task is reading this stream: open a second one")
        if not self._items and not self._closed:
            self._reader = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        if self._missed:
            missed, self._missed = self._missed, 0
            return Lagged(missed)
        if self._items:
            return self._items.popleft()
        raise StopAsyncIteration

    def _abort(self, _raise_cancel: object) -> trio.lowlevel.Abort:
        self._reader = None
        return trio.lowlevel.Abort.SUCCEEDED
