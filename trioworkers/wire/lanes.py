"""What waits to leave over a link: a system lane, which goes first, and a data lane.

Events of a job that are urgent leave with the system lane.  They must not overtake older events
of the same job, so they take those along, out of the data lane.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterator
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Lanes"]

T = TypeVar("T")


class _Entry(NamedTuple, Generic[T]):
    item: T
    size: int
    job: str | None


class Lanes(Generic[T]):
    """Two queues that know their size in bytes.  The caller sees to the bounds."""

    __slots__ = ("_data", "_jobs", "_system", "size")

    def __init__(self) -> None:
        """Start empty."""
        self._system: deque[_Entry[T]] = deque()
        self._data: deque[_Entry[T]] = deque()
        # How many entries of each job are in the data lane.
        self._jobs: Counter[str] = Counter()
        self.size: int = 0

    def __len__(self) -> int:
        """Return how many items there are in both lanes."""
        return len(self._system) + len(self._data)

    def __iter__(self) -> Iterator[T]:
        """Yield the items in the order of leaving."""
        for entry in (*self._system, *self._data):
            yield entry.item

    @property
    def data_depth(self) -> int:
        """How many items there are in the data lane."""
        return len(self._data)

    @property
    def system_depth(self) -> int:
        """How many items there are in the system lane."""
        return len(self._system)

    def put(self, item: T, size: int, job: str | None = None) -> None:
        """Put `item`, of `size` bytes, in the data lane; `job` is the job it is an event of."""
        self._data.append(_Entry(item, size, job))
        self.size += size
        if job is not None:
            self._jobs[job] += 1

    def put_urgent(self, item: T, size: int, job: str | None = None) -> None:
        """Put `item` in the system lane, behind the older events of its job."""
        if job is not None and job in self._jobs:
            self._system.extend(entry for entry in self._data if entry.job == job)
            self._data = deque(entry for entry in self._data if entry.job != job)
            del self._jobs[job]
        self._system.append(_Entry(item, size, job))
        self.size += size

    def take(self) -> T | None:
        """Take what leaves next, or None."""
        if self._system:
            entry = self._system.popleft()
        elif self._data:
            entry = self._data.popleft()
            self._forget(entry)
        else:
            return None
        self.size -= entry.size
        return entry.item

    def head(self, lane: int) -> T | None:
        """Return what leaves next of the data (0) or system lane (1), or None."""
        entries = self._system if lane else self._data
        return entries[0].item if entries else None

    def take_from(self, lane: int) -> T:
        """Take what leaves next of the data (0) or system lane (1).

        Raises:
            IndexError: there is nothing.
        """
        entry = self._system.popleft() if lane else self._data.popleft()
        if not lane:
            self._forget(entry)
        self.size -= entry.size
        return entry.item

    def remove(self, wanted: Callable[[T], bool]) -> bool:
        """Remove the first item of the data lane that is wanted; False if there is none."""
        for place, entry in enumerate(self._data):
            if wanted(entry.item):
                del self._data[place]
                self._forget(entry)
                self.size -= entry.size
                return True
        return False

    def clear(self) -> list[T]:
        """Empty both lanes; return what they held, in the order of leaving."""
        held = list(self)
        self._system.clear()
        self._data.clear()
        self._jobs.clear()
        self.size = 0
        return held

    def _forget(self, entry: _Entry[T]) -> None:
        if entry.job is not None:
            self._jobs[entry.job] -= 1
            if not self._jobs[entry.job]:
                del self._jobs[entry.job]
