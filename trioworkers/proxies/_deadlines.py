"""The deadlines of the jobs that a peer lets the local worker do.

The requester cancels a job when its time is over.  But that takes its way, and may never arrive:
so this side looks at the time that the requester said was left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from math import inf

import trio

from .._requests import Request

__all__ = ["Deadlines"]

_SPARE = 64


class Deadlines:
    """Knows which requests have no time left.

    Args:
        open_requests: those of them that are not over, by their ids; whatever else has a deadline
            here is forgotten now and then.
        expire: called with each request whose time is over.
    """

    def __init__(
        self, open_requests: Mapping[str, Request], expire: Callable[[Request], None]
    ) -> None:
        self._open = open_requests
        self._expire = expire
        self._heap: list[tuple[float, int, Request]] = []
        self._number = 0
        self._scope = trio.CancelScope()

    def __len__(self) -> int:
        """Return how many requests are remembered."""
        return len(self._heap)

    def add(self, request: Request) -> None:
        """Let `request` expire when its deadline has passed, if it is open then."""
        if request.deadline == inf:
            return
        if len(self._heap) >= 2 * len(self._open) + _SPARE:
            self._heap = [each for each in self._heap if each[2].id in self._open]
            heapify(self._heap)
        self._number += 1
        heappush(self._heap, (request.deadline, self._number, request))
        self._scope.deadline = min(self._scope.deadline, request.deadline)

    async def run(self) -> None:
        """Wait for deadlines, for ever."""
        while True:
            with trio.CancelScope() as self._scope:
                self._scope.deadline = self._heap[0][0] if self._heap else inf
                await trio.sleep_forever()
            now = trio.current_time()
            while self._heap and self._heap[0][0] <= now:
                request = heappop(self._heap)[2]
                if request.id in self._open:
                    self._expire(request)
