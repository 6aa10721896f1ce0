"""What is unread of one job: when its producer is told to wait, and that there is room for the rest."""

from __future__ import annotations

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers.proxies import _outbox
from trioworkers.proxies._unread import EVENT_BYTES, EVENT_CAPACITY, Unread
from trioworkers.wire.hello import LinkLimits

LIMITS = LinkLimits()


def counted(limits: LinkLimits = LIMITS) -> tuple[Unread, list[bool]]:
    """Return a counter and what it tells."""
    told: list[bool] = []
    return Unread(limits, told.append), told


def test_it_is_told_once_each_way() -> None:
    """S-JOB-8: a job is held at half of the room, and goes on below a quarter; each is told once."""
    unread, told = counted()
    for n in range(EVENT_CAPACITY):
        unread.put(1)
        assert told == ([] if n + 1 < EVENT_CAPACITY // 2 else [True])
    while unread.events:
        unread.read(1)
        assert told == ([True] if unread.events >= EVENT_CAPACITY // 4 else [True, False])
    assert unread.size == 0
    assert unread.held is False


def test_bytes_count_as_well() -> None:
    """S-JOB-8: a few large events hold a job as many small ones do."""
    unread, told = counted()
    large = EVENT_BYTES // 8
    for _ in range(4):
        unread.put(large)
    assert told == [True]
    unread.read(large)
    unread.read(large)
    assert told == [True]
    unread.read(large)
    assert told == [True, False]


@pytest.mark.parametrize("size", [1, 2**20])
def test_the_bound(size: int) -> None:
    """S-JOB-8: of one job no more is kept than is promised, whatever the peer does."""
    unread, told = counted()
    while unread.put(size):
        pass
    assert told == [True]
    assert unread.events <= EVENT_CAPACITY + LIMITS.messages
    assert unread.size <= EVENT_BYTES + LIMITS.window + size


class Stream:
    """One job: its producer and what waits there to leave, a link with credit, and its reader."""

    def __init__(self, limits: LinkLimits, sizes: list[int]) -> None:
        self.limits = limits
        self.unread = Unread(limits, self.tell)
        self.to_make = deque(sizes)
        self.outbox: deque[int] = deque()
        self.coming: deque[int] = deque()
        self.box: deque[int] = deque()
        # What was said to the producer and has not arrived: holds, and credit for one event.
        self.going: deque[bool | int] = deque()
        self.held = False
        self.credit = limits.messages

    def tell(self, held: bool) -> None:
        self.going.append(held)

    def make(self) -> bool:
        full = len(self.outbox) >= _outbox.CAPACITY or sum(self.outbox) >= _outbox.BYTES
        if self.held or not self.to_make or full:
            return False
        self.outbox.append(self.to_make.popleft())
        return True

    def send(self) -> bool:
        if not self.outbox or not self.credit:
            return False
        self.credit -= 1
        self.coming.append(self.outbox.popleft())
        return True

    def arrive(self) -> bool:
        if not self.coming:
            return False
        size = self.coming.popleft()
        assert self.unread.put(size), "the lane would wait for this reader"
        self.box.append(size)
        self.going.append(1)
        return True

    def hear(self) -> bool:
        if not self.going:
            return False
        said = self.going.popleft()
        if isinstance(said, bool):
            self.held = said
        else:
            self.credit += said
        return True

    def read(self) -> bool:
        if not self.box:
            return False
        self.unread.read(self.box.popleft())
        return True


@settings(max_examples=60, deadline=None)
@given(
    credit=st.sampled_from([1, 20, 1024, 5000]),
    size=st.sampled_from([1, 1, 20_000, 2**16]),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["make", "send", "arrive", "hear", "read"]), st.integers(1, 3000)
        ),
        max_size=40,
    ),
)
def test_there_is_room_for_what_is_on_its_way(
    credit: int, size: int, steps: list[tuple[str, int]]
) -> None:
    """S-JOB-8, S-PROXY-6: the lane of answers never waits for one reader; all is read in the end."""
    # No more bytes of a lane are on their way than half a window, whatever the messages.
    limits = LinkLimits(messages=credit, window=max(64, 2 * credit * size))
    stream = Stream(limits, [size] * 8000)
    for what, times in steps:
        for _ in range(times):
            if not getattr(stream, what)():
                break
    # However long the reader does nothing, no arrival finds the box full.
    while stream.make() | stream.send() | stream.arrive() | stream.hear():
        pass
    assert stream.unread.events == len(stream.box)
    while stream.make() | stream.send() | stream.arrive() | stream.hear() | stream.read():
        pass
    assert not stream.to_make
    assert stream.unread.events == stream.unread.size == 0
