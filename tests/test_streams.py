"""A lagging stream tells its reader what it missed, and never waits for it."""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Iterator

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers import Lagged
from trioworkers._streams import LaggingStream


@pytest.fixture(autouse=True)
def limit() -> Iterator[None]:
    """End a test that waits, or goes round, for ever: nothing here needs any time."""

    def give_up(_number: int, _frame: object) -> None:
        raise TimeoutError("the test has not ended for 10 s")

    former = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, 10)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, former)


def read_all(stream: LaggingStream[int]) -> list[int | Lagged]:
    """Close a stream and read what it holds."""

    async def read() -> list[int | Lagged]:
        return [item async for item in stream]

    stream.close()
    return trio.run(read)


@pytest.mark.parametrize("capacity", [0, -1])
def test_capacity_is_at_least_one(capacity: int) -> None:
    """A stream that could hold nothing is refused, with the number."""
    with pytest.raises(ValueError, match=f"at least 1, not {capacity}"):
        LaggingStream(capacity)


@pytest.mark.parametrize("capacity", ["7", None, 2.5])
def test_capacity_is_an_int(capacity: object) -> None:
    """A capacity that is no number of items is refused, with the value."""
    with pytest.raises(TypeError, match="must be an int, not"):
        LaggingStream(capacity)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_items_come_in_order_and_the_stream_ends() -> None:
    """What fits is read in order; a closed stream ends behind what it holds, for good."""
    stream: LaggingStream[int] = LaggingStream(3)
    for item in range(3):
        stream.push(item)
    stream.close()
    stream.push(4)
    assert [item async for item in stream] == [0, 1, 2]
    with pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_lagging_reader_is_told() -> None:
    """`Lagged` comes first and counts what was left out; the newest items follow (S-BUS-4)."""
    stream: LaggingStream[int] = LaggingStream(2)
    for item in range(5):
        stream.push(item)
    assert [await anext(stream) for _ in range(3)] == [Lagged(3), 3, 4]
    stream.push(5)
    assert await anext(stream) == 5


@settings(deadline=None)
@given(st.integers(1, 4), st.lists(st.integers(0, 6), max_size=12))
def test_nothing_is_lost_untold(capacity: int, bursts: list[int]) -> None:
    """Items read and items missed add up to items pushed, in order (S-BUS-4)."""
    stream: LaggingStream[int] = LaggingStream(capacity)
    pushed = 0
    kept: deque[int] = deque(maxlen=capacity)
    for burst in bursts:
        for _ in range(burst):
            stream.push(pushed)
            kept.append(pushed)
            pushed += 1
    read = read_all(stream)
    missed = sum(item.missed for item in read if isinstance(item, Lagged))
    assert [item for item in read if not isinstance(item, Lagged)] == list(kept)
    assert missed + len(kept) == pushed
    assert all(isinstance(item, int) for item in read[1:])


async def test_reading_is_a_checkpoint() -> None:
    """Each read is a checkpoint, whether there is an item, none yet, or no more."""
    stream: LaggingStream[int] = LaggingStream(1)
    stream.push(1)
    with trio.testing.assert_checkpoints():
        await anext(stream)
    stream.close()
    with trio.testing.assert_checkpoints(), pytest.raises(StopAsyncIteration):
        await anext(stream)


async def test_a_push_wakes_the_reader() -> None:
    """A reader sleeps until there is an item; closing wakes it as well."""
    stream: LaggingStream[int] = LaggingStream(1)
    read: list[int | Lagged] = []

    async def reader() -> None:
        read.extend([item async for item in stream])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        stream.push(1)
        await trio.testing.wait_all_tasks_blocked()
        stream.close()
    assert read == [1]


async def test_a_cancelled_reader_takes_nothing() -> None:
    """A reader cancelled before its turn leaves the item for the next one (S-MAIL-8)."""
    stream: LaggingStream[int] = LaggingStream(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(stream)
    stream.push(1)
    assert await anext(stream) == 1


async def test_an_item_that_woke_a_reader_survives_its_cancellation() -> None:
    """A reader cancelled after it was woken returns the item all the same (S-MAIL-8)."""
    stream: LaggingStream[int] = LaggingStream(1)
    read: list[int | Lagged] = []

    async def reader(scope: trio.CancelScope) -> None:
        with scope:
            read.append(await anext(stream))

    async with trio.open_nursery() as nursery:
        scope = trio.CancelScope()
        nursery.start_soon(reader, scope)
        await trio.testing.wait_all_tasks_blocked()
        stream.push(1)
        scope.cancel()
    assert read == [1]


async def test_a_parked_reader_can_be_cancelled() -> None:
    """A reader that sleeps can be cancelled, and another one can read after it (S-MAIL-8)."""
    stream: LaggingStream[int] = LaggingStream(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(anext, stream)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    stream.push(1)
    assert await anext(stream) == 1


async def test_there_is_one_reader() -> None:
    """A second reader at the same time is refused, also between the wake-up and the read."""
    stream: LaggingStream[int] = LaggingStream(1)
    read: list[int | Lagged] = []

    async def reader() -> None:
        read.append(await anext(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError, match="open a second one"):
            await anext(stream)
        stream.push(1)
        with pytest.raises(trio.BusyResourceError):
            await anext(stream)
    assert read == [1]


async def test_reading_is_protected_from_control_c() -> None:
    """KeyboardInterrupt cannot leave a reader behind that is no longer there."""
    protected: list[bool] = []

    class Items(deque[int]):
        def popleft(self) -> int:
            protected.append(trio.lowlevel.currently_ki_protected())
            return super().popleft()

    stream: LaggingStream[int] = LaggingStream(1)
    stream._items = Items([1])
    await anext(stream)
    assert protected == [True]
