"""What waits to leave over a link: a system lane, which goes first, data, and replies.

Replies are what is said about a job that was asked for, and stay in one lane, so that they keep
their order.  Those that are urgent go to its front, behind the older ones of their job.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from heapq import merge
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

from .chunks import Lane

__all__ = ["Lanes"]

T = TypeVar("T")


# The item, its size in bytes, the job it is a reply to, and its number.  A named tuple would take
# longer to make than all else that is done to put it in a lane.
_Entry: TypeAlias = tuple[T, int, str | None, int]
_number = itemgetter(3)


class Lanes(Generic[T]):
    """Three queues that know their size.  The caller sees to the bounds.

    For who has one lane for data and replies, `take` keeps the order in which they came.
    """

    __slots__ = ("_count", "_jobs", "_number", "_queues", "_urgent", "size")

    def __init__(self) -> None:
        """Start empty."""
        self._queues: tuple[deque[_Entry[T]], ...] = tuple(deque() for _ in Lane)
        # How many replies there are to each job, and how many at the front are urgent.
        self._jobs: Counter[str | None] = Counter()
        self._urgent = 0
        self._number = 0
        self._count = 0
        self.size: int = 0
        """How many bytes they have."""

    def __len__(self) -> int:
        """Return how many items there are."""
        return self._count

    def __iter__(self) -> Iterator[T]:
        """Yield the items in the order of leaving."""
        data, system, replies = self._queues
        for entry in (*system, *merge(data, replies, key=_number)):
            yield entry[0]

    @property
    def data_depth(self) -> int:
        """How many items there are that are not in the system lane."""
        return len(self._queues[Lane.DATA]) + len(self._queues[Lane.REPLY])

    @property
    def system_depth(self) -> int:
        """How many items there are in the system lane."""
        return len(self._queues[Lane.SYSTEM])

    def waiting(self, job: str) -> int:
        """Return how many replies to a job there are."""
        return self._jobs[job]

    def put(self, item: T, size: int, job: str | None = None) -> None:
        """Put `item`, of `size` bytes, behind the others; it is a reply if there is a `job`."""
        self._number += 1
        self._count += 1
        self.size += size
        lane = Lane.DATA if job is None else Lane.REPLY
        self._queues[lane].append((item, size, job, self._number))
        if job is not None:
            self._jobs[job] += 1

    def put_urgent(self, item: T, size: int, job: str | None = None) -> None:
        """Put `item` in the system lane; if it is a reply, before all that is not urgent.

        The older replies to its job go with it.
        """
        self._count += 1
        self.size += size
        entry: _Entry[T] = (item, size, job, 0)
        if job is None:
            self._queues[Lane.SYSTEM].append(entry)
            return
        replies, first = self._queues[Lane.REPLY], [entry]
        if job in self._jobs:
            others = [replies.pop() for _ in range(len(replies) - self._urgent)][::-1]
            first = [(*each[:3], 0) for each in others if each[2] == job] + first
            replies.extend(first)
            replies.extend(each for each in others if each[2] != job)
        else:
            replies.insert(self._urgent, entry)
        self._urgent += len(first)
        self._jobs[job] += 1

    def take(self) -> T | None:
        """Take what leaves next, or None."""
        data, system, replies = self._queues
        if system:
            return self.take_from(Lane.SYSTEM)
        if replies and not (data and _number(data[0]) < _number(replies[0])):
            return self.take_from(Lane.REPLY)
        return self.take_from(Lane.DATA) if data else None

    def head(self, lane: Lane) -> T | None:
        """Return what leaves next of a lane, or None."""
        queue = self._queues[lane]
        return queue[0][0] if queue else None

    def take_from(self, lane: Lane) -> T:
        """Take what leaves next of a lane.

        Raises:
            IndexError: there is nothing.
        """
        item, size, job, _ = self._queues[lane].popleft()
        if lane is Lane.REPLY:
            self._urgent = max(0, self._urgent - 1)
            self._jobs[job] -= 1
            if not self._jobs[job]:
                del self._jobs[job]
        self._count -= 1
        self.size -= size
        return item

    def remove(self, wanted: Callable[[T], bool]) -> bool:
        """Remove the first item of data that is wanted; False if there is none."""
        data = self._queues[Lane.DATA]
        for place, (item, size, _, _) in enumerate(data):
            if wanted(item):
                del data[place]
                self._count -= 1
                self.size -= size
                return True
        return False

    def clear(self) -> list[T]:
        """Empty all lanes; return what they held, in the order of leaving."""
        held = list(self)
        for queue in self._queues:
            queue.clear()
        self._jobs.clear()
        self._urgent = self._count = self.size = 0
        return held
