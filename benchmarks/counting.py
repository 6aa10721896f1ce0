"""A program whose instructions are counted: the same work as in `ours.py` and `limits.py`, between two marks.

    python -m benchmarks.counting ours send 2000

It warms up, says so and waits for a line.  Whoever counts begins to count, and writes that line.
After the work the program exits at once, so that nothing else is counted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable

import trio

from . import limits, ours
from .limits import Bus, Mailbox, Tick, synchronous

WARM_UP = 300


def mark() -> None:
    """Wait until somebody counts."""
    print("ready", flush=True)
    sys.stdin.readline()


async def ours_send(count: int) -> None:
    """Send from worker to worker."""
    sender, receiver = ours.Sender("sender"), ours.Receiver("receiver")
    async with ours.open_runner(sender, receiver) as runner:
        await ours.timed_send(runner, sender, receiver, WARM_UP)
        mark()
        await ours.timed_send(runner, sender, receiver, count)
        os._exit(0)


async def limits_send(count: int) -> None:
    """Send from task to task."""
    bus = Bus()
    async with trio.open_nursery() as nursery:
        bus.mailboxes["receiver"] = mailbox = Mailbox()
        nursery.start_soon(mailbox.run)
        receiver = limits.Receiver(mailbox)
        await limits.timed_send(bus, receiver, WARM_UP)
        mark()
        await limits.timed_send(bus, receiver, count)
        os._exit(0)


async def ours_ask(count: int) -> None:
    """Ask from worker to worker."""
    asker = ours.Asker("asker")
    async with ours.open_runner(ours.Counter("counter"), asker):

        async def run() -> None:
            await asker.run_asks("ask", WARM_UP)
            mark()
            await asker.run_asks("ask", count)
            os._exit(0)

        asker.nursery.start_soon(run)
        await trio.sleep_forever()


async def limits_ask(count: int) -> None:
    """Ask from task to task."""
    async with trio.open_nursery() as nursery:
        counter = limits.Counter(nursery)
        for n in range(WARM_UP + count):
            if n == WARM_UP:
                mark()
            await counter.ask(Tick(source="asker", target="counter", n=n))
        os._exit(0)


CASES: dict[tuple[str, str], Callable[[int], Awaitable[None]]] = {
    ("ours", "send"): ours_send,
    ("limits", "send"): limits_send,
    ("ours", "ask"): ours_ask,
    ("limits", "ask"): limits_ask,
}

if __name__ == "__main__":
    synchronous(CASES[sys.argv[1], sys.argv[2]])(count=int(sys.argv[3]))  # type: ignore[arg-type]
