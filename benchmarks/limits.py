"""Bare trio: how fast the same work can be when a framework promises nothing.

A hand-made mailbox for the product's own message class, with no more than a message needs on its way: a look-up by name, an append, a wake-up,
a dispatch by type. It has the product's two lanes and its measure of fairness (a true checkpoint for each 64 messages on both sides), and leaves out
the rest: bounded lanes, dead letters, interruption, error capture, statistics, a scope and a nursery per worker.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from trio.lowlevel import (
    Abort,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    reschedule,
    wait_task_rescheduled,
)

from trioworkers.messages import BusDataMessage, BusMessage, BusSystemMessage, message

from . import side

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .side import Figures

TURN = 64
WARM_UP = 2_000


@message
class Tick(BusDataMessage):
    """The message that is counted."""

    n: int


class Mailbox:
    """Two deques and one task that empties them."""

    __slots__ = ("data", "handlers", "parked", "system", "task")

    def __init__(self) -> None:
        self.data: deque[BusMessage] = deque()
        self.system: deque[BusMessage] = deque()
        self.handlers: dict[type[BusMessage], Callable[[Any], Awaitable[None]]] = {}
        self.task: trio.lowlevel.Task | None = None
        self.parked = False

    def abort(self, _: object) -> Abort:
        self.parked = False
        return Abort.SUCCEEDED

    async def run(self) -> None:
        """Handle items for ever, at most `TURN` of them between two checkpoints."""
        self.task = current_task()
        data, system, handlers = self.data, self.system, self.handlers
        while True:
            if data or system:
                await checkpoint()
            else:
                self.parked = True
                await wait_task_rescheduled(self.abort)
            left = TURN
            while left and (data or system):
                left -= 1
                item = system.popleft() if system else data.popleft()
                await handlers[type(item)](item)


class Bus:
    """Names of mailboxes."""

    __slots__ = ("mailboxes", "sent")

    def __init__(self) -> None:
        self.mailboxes: dict[str | None, Mailbox] = {}
        self.sent = 0

    async def send(self, item: BusMessage) -> None:
        """Put an item into its target's mailbox: a cancellation point each time, a schedule point each `TURN` times."""
        self.sent = sent = self.sent + 1
        if sent % TURN:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
        mailbox = self.mailboxes[item.target]
        if isinstance(item, BusSystemMessage):
            mailbox.system.append(item)
        else:
            mailbox.data.append(item)
        if mailbox.parked:
            mailbox.parked = False
            reschedule(mailbox.task)  # type: ignore[arg-type]

    def put(self, mailbox: Mailbox, item: BusMessage) -> None:
        """Put a data message into a mailbox, without looking at its target."""
        mailbox.data.append(item)
        if mailbox.parked:
            mailbox.parked = False
            reschedule(mailbox.task)  # type: ignore[arg-type]


class Receiver:
    """Counts ticks."""

    def __init__(self, mailbox: Mailbox) -> None:
        mailbox.handlers[Tick] = self.tick
        self.expect(0)

    def expect(self, count: int) -> None:
        """Start counting anew."""
        self.handled = 0
        self.expected = count
        self.finished_at = 0.0
        self.finished = trio.Event()

    async def tick(self, item: Tick) -> None:
        self.handled += 1
        if self.handled == self.expected:
            self.finished_at = time.perf_counter()
            self.finished.set()


async def timed_send(bus: Bus, receiver: Receiver, count: int) -> float:
    """Return the seconds per message from the first send to the last one handled, the message made inside the loop."""
    receiver.expect(count)
    started = time.perf_counter()
    for n in range(count):
        await bus.send(Tick(source="sender", target="receiver", n=n))
    await receiver.finished.wait()
    return (receiver.finished_at - started) / count


async def send(count: int, others: int) -> Figures:
    """Send from one task to the mailbox of another."""
    bus = Bus()
    names = ["receiver", *(f"other-{n}" for n in range(others))]
    async with trio.open_nursery() as nursery:
        for name in names:
            bus.mailboxes[name] = Mailbox()
            nursery.start_soon(bus.mailboxes[name].run)
        receiver = Receiver(bus.mailboxes["receiver"])
        await timed_send(bus, receiver, min(count, WARM_UP))
        seconds = await timed_send(bus, receiver, count)
        nursery.cancel_scope.cancel()
    return {"message": seconds}


class Tally:
    """Notes when the last of many receivers has handled a message that was sent to all."""

    def __init__(self, receivers: int) -> None:
        self.receivers = receivers
        self.left = 0
        self.finished_at = 0.0
        self.finished = trio.Event()

    def count(self) -> None:
        """Count one that has handled it."""
        self.left -= 1
        if not self.left:
            self.finished_at = time.perf_counter()
            self.finished.set()

    async def timed(self, send: Callable[[Tick], Awaitable[None]], item: Tick) -> float:
        """Return the seconds from a send to the last one handled."""
        self.left = self.receivers
        self.finished = trio.Event()
        started = time.perf_counter()
        await send(item)
        await self.finished.wait()
        return self.finished_at - started


async def broadcast(receivers: int, count: int) -> Figures:
    """Send to all mailboxes at once; over when the last task has handled it, `count` times."""
    tally = Tally(receivers)
    bus = Bus()

    async def tick(item: Tick) -> None:
        tally.count()

    async def send(item: Tick) -> None:
        for mailbox in bus.mailboxes.values():
            bus.put(mailbox, item)

    async with trio.open_nursery() as nursery:
        for n in range(receivers):
            bus.mailboxes[f"listener-{n}"] = mailbox = Mailbox()
            mailbox.handlers[Tick] = tick
            nursery.start_soon(mailbox.run)
        await trio.testing.wait_all_tasks_blocked()
        times = [await tally.timed(send, Tick(source="sender", n=n)) for n in range(count)]
        nursery.cancel_scope.cancel()
    return {"broadcast": statistics.median(times)}


async def memory(count: int) -> Figures:
    """Resident memory per bare task that sleeps."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        before = side.resident_bytes()
        for _ in range(count):
            nursery.start_soon(trio.sleep_forever)
        await trio.testing.wait_all_tasks_blocked()
        grown = side.resident_bytes() - before
        nursery.cancel_scope.cancel()
    return {"bytes": grown / count, "total": grown}


class Question:
    """A job: who waits for its answer, and the answer."""

    __slots__ = ("answer", "asker", "item")

    def __init__(self, item: object, asker: trio.lowlevel.Task) -> None:
        self.item = item
        self.asker = asker
        self.answer: object = None


class Counter:
    """Answers each question in a task of its own, with a scope of its own, so that it can be cancelled."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.nursery = nursery

    async def ask(self, item: object) -> object:
        """Ask and wait for the answer."""
        await checkpoint_if_cancelled()
        question = Question(item, current_task())
        self.nursery.start_soon(self.serve, question, trio.CancelScope())
        await wait_task_rescheduled(lambda _: Abort.SUCCEEDED)
        return question.answer

    async def serve(self, question: Question, scope: trio.CancelScope) -> None:
        with scope:
            question.answer = await self.count(question.item)
        reschedule(question.asker)

    async def count(self, item: object) -> object:
        return item


async def ask(count: int) -> Figures:
    """One task asks another, again and again, one job at a time; no events, deadlines, errors or refusals."""
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        counter = Counter(nursery)
        for n in range(count // 10 + count):
            started = time.perf_counter()
            await counter.ask(Tick(source="asker", target="counter", n=n))
            times.append(time.perf_counter() - started)
        nursery.cancel_scope.cancel()
    return side.percentiles(times[count // 10 :])


async def branch(children: tuple[int, ...]) -> None:
    """Sleep under `children[0]` children of the next level."""
    if not children:
        await trio.sleep_forever()
    async with trio.open_nursery() as nursery:
        for _ in range(children[0]):
            nursery.start_soon(branch, children[1:])


async def cancel(children: int, leaves: int) -> Figures:
    """Cancel a tree of nested nurseries, one task for each worker and a nursery for each worker that has children."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(branch, (children, leaves))
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        started = time.perf_counter()
        nursery.cancel_scope.cancel()
    return {"cancel": time.perf_counter() - started}


async def spawn(count: int) -> Figures:
    """Start bare tasks, each up to its first sleep."""
    gc.collect()
    started = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(trio.sleep_forever)
        await trio.lowlevel.checkpoint()
        seconds = time.perf_counter() - started
        nursery.cancel_scope.cancel()
    return {"spawn": seconds}


def synchronous(case: Callable[..., Awaitable[Figures]]) -> Callable[..., Figures]:
    """Run a case under trio."""

    def run(**parameters: int) -> Figures:
        async def main() -> Figures:
            return await case(**parameters)

        return trio.run(main)

    return run


if __name__ == "__main__":
    cases = (send, ask, broadcast, cancel, spawn, memory)
    side.main({case.__name__: synchronous(case) for case in cases}, ["trio", "attrs"])
