"""Plain trio: tasks that talk over memory channels, as one would write it without any framework.

There are no names, no types, no lanes and no jobs, and `await send` yields each time.  A request
carries the channel that its answer goes back on.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import trio

from . import side
from .limits import Tally, Tick, synchronous

if TYPE_CHECKING:
    from .side import Figures

CAPACITY = 256
"""As many messages as a worker's mailbox holds."""

WARM_UP = 2_000


async def send(count: int, others: int) -> Figures:
    """Send from one task to another, with `others` that wait at channels of their own."""
    sending, receiving = trio.open_memory_channel[Tick](CAPACITY)
    waiting = [trio.open_memory_channel[Tick](CAPACITY) for _ in range(others)]

    async def receive(amount: int) -> float:
        for _ in range(amount):
            await receiving.receive()
        return time.perf_counter()

    async def flood(amount: int) -> None:
        for n in range(amount):
            await sending.send(Tick(source="sender", target="receiver", n=n))

    async def timed(amount: int) -> float:
        started = time.perf_counter()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, amount)
            finished = await receive(amount)
        return (finished - started) / amount

    async with trio.open_nursery() as nursery:
        for _, receiver in waiting:
            nursery.start_soon(receiver.receive)
        await timed(min(count, WARM_UP))
        seconds = await timed(count)
        nursery.cancel_scope.cancel()
    return {"message": seconds}


async def ask(count: int) -> Figures:
    """One task asks another, again and again, with a fresh channel for each answer."""
    asking, asked = trio.open_memory_channel[tuple[int, trio.MemorySendChannel[int]]](CAPACITY)
    times: list[float] = []

    async def serve() -> None:
        async for n, reply in asked:
            await reply.send(n)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        for n in range(count // 10 + count):
            started = time.perf_counter()
            reply, answer = trio.open_memory_channel[int](1)
            await asking.send((n, reply))
            assert await answer.receive() == n
            times.append(time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    return side.percentiles(times[count // 10 :])


async def broadcast(receivers: int, count: int) -> Figures:
    """Send the same to a channel of each task; over when the last has it, `count` times."""
    tally = Tally(receivers)
    channels = [trio.open_memory_channel[Tick](CAPACITY) for _ in range(receivers)]

    async def listen(channel: trio.MemoryReceiveChannel[Tick]) -> None:
        async for _ in channel:
            tally.count()

    async def send_to_all(item: Tick) -> None:
        for channel, _ in channels:
            await channel.send(item)

    async with trio.open_nursery() as nursery:
        for _, channel in channels:
            nursery.start_soon(listen, channel)
        await trio.testing.wait_all_tasks_blocked()
        times = [await tally.timed(send_to_all, Tick(source="sender", n=n)) for n in range(count)]
        nursery.cancel_scope.cancel()
    return {"broadcast": statistics.median(times)}


if __name__ == "__main__":
    cases = (send, ask, broadcast)
    side.main({case.__name__: synchronous(case) for case in cases}, ["trio"])
