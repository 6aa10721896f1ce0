"""What waits to leave over a link: a system lane, which goes first, data, and replies.

Replies are what is said about a job that was asked for.  Events that are urgent leave with the
system lane.  They must not overtake older events of the same job, so they take those along; nor may
later events of that job overtake them, where each lane leaves as it can.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from heapq import merge
from operator import attrgetter
from typing import Generic, NamedTuple, TypeVar

from .chunks import Lane

__all__ = ["Lanes"]

T = TypeVar("T")


class _Entry(NamedTuple, Generic[T]):
    item: T
    size: int
    job: str | None
    number: int


class Lanes(Generic[T]):
    """Three queues that know their size in bytes.  The caller sees to the bounds.

    For who has one lane for data and replies, `take` keeps the order in which they came.
    """

    __slots__ = ("_data", "_held", "_jobs", "_number", "_replies", "_system", "_urgent", "size")

    def __init__(self) -> None:
        """Start empty."""
        self._system: deque[_Entry[T]] = deque()
        self._data: deque[_Entry[T]] = deque()
        self._replies: deque[_Entry[T]] = deque()
        # How many replies there are to each job, and how many of each are in the system lane.
        self._jobs: Counter[str | None] = Counter()
        self._urgent: Counter[str | None] = Counter()
        # About which jobs nothing may leave a lane now.
        self._held: dict[Lane, Collection[str]] = {}
        self._number = 0
        self.size: int = 0

    def __len__(self) -> int:
        """Return how many items there are."""
        return len(self._system) + len(self._data) + len(self._replies)

    def __iter__(self) -> Iterator[T]:
        """Yield the items in the order of leaving."""
        for entry in self._system:
            yield entry.item
        for entry in merge(self._data, self._replies, key=attrgetter("number")):
            yield entry.item

    @property
    def data_depth(self) -> int:
        """How many items there are that are not in the system lane."""
        return len(self._data) + len(self._replies)

    @property
    def system_depth(self) -> int:
        """How many items there are in the system lane."""
        return len(self._system)

    def put(self, item: T, size: int, job: str | None = None) -> None:
        """Put `item`, of `size` bytes, behind the others; it is a reply if there is a `job`."""
        self._number += 1
        self.size += size
        if job is None:
            self._data.append(_Entry(item, size, None, self._number))
        else:
            self._replies.append(_Entry(item, size, job, self._number))
            self._jobs[job] += 1

    def put_urgent(self, item: T, size: int, job: str | None = None) -> None:
        """Put `item` in the system lane, behind the older replies to its job."""
        if job is not None:
            self._urgent[job] += 1
        if job is not None and job in self._jobs:
            self._system.extend(entry for entry in self._replies if entry.job == job)
            self._replies = deque(entry for entry in self._replies if entry.job != job)
            self._urgent[job] += self._jobs.pop(job)
        self._system.append(_Entry(item, size, job, 0))
        self.size += size

    def take(self) -> T | None:
        """Take what leaves next, or None."""
        if self._system:
            return self.take_from(Lane.SYSTEM)
        data, replies = self._data, self._replies
        if replies and not (data and data[0].number < replies[0].number):
            return self.take_from(Lane.REPLY)
        return self.take_from(Lane.DATA) if data else None

    def head(self, lane: Lane) -> T | None:
        """Return what may leave next of a lane, or None."""
        entries, place = self._of(lane), self._place(lane)
        return entries[place].item if place < len(entries) else None

    def take_from(self, lane: Lane) -> T:
        """Take what may leave next of a lane.

        Raises:
            IndexError: there is nothing.
        """
        entries, place = self._of(lane), self._place(lane)
        entry = entries[place]
        del entries[place]
        if entry.job is not None:
            jobs = self._urgent if lane is Lane.SYSTEM else self._jobs
            jobs[entry.job] -= 1
            if not jobs[entry.job]:
                del jobs[entry.job]
        self.size -= entry.size
        return entry.item

    def hold(self, lane: Lane, jobs: Collection[str]) -> None:
        """Let nothing about some jobs leave a lane, until this is called again."""
        self._held[lane] = jobs

    def _place(self, lane: Lane) -> int:
        """Say how many items of a lane have to wait for what is in another one."""
        place = 0
        if lane is Lane.DATA:
            return place
        entries, held = self._of(lane), self._held.get(lane, ())
        urgent = self._urgent if lane is Lane.REPLY else ()
        if held or urgent:
            while place < len(entries) and (
                entries[place].job in urgent or entries[place].job in held
            ):
                place += 1
        return place

    def remove(self, wanted: Callable[[T], bool]) -> bool:
        """Remove the first item of data that is wanted; False if there is none."""
        for place, entry in enumerate(self._data):
            if wanted(entry.item):
                del self._data[place]
                self.size -= entry.size
                return True
        return False

    def clear(self) -> list[T]:
        """Empty all lanes; return what they held, in the order of leaving."""
        held = list(self)
        for lane in Lane:
            self._of(lane).clear()
        self._jobs.clear()
        self._urgent.clear()
        self._held.clear()
        self.size = 0
        return held

    def _of(self, lane: Lane) -> deque[_Entry[T]]:
        if lane is Lane.DATA:
            return self._data
        return self._system if lane is Lane.SYSTEM else self._replies
