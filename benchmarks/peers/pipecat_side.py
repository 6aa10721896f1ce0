"""Pipecat's side of each measurement, written as Pipecat's documentation tells its users to write it.

Runs in Pipecat's own environment (see `environments.py`). Where there was a choice, it is the one that is better for Pipecat, and says so.
"""

# ruff: noqa: ASYNC110 - Pipecat has no event for what is polled here, always outside timed code
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loguru import logger

# Its default writes every DEBUG line to stderr, which makes it slower still. Before the import, which logs a banner.
logger.remove()
logger.add(os.devnull, level="INFO")

from pipecat.bus import AsyncQueueBus, BusDataMessage, BusMessage, BusSystemMessage  # noqa: E402
from pipecat.pipeline.job_context import JobParams  # noqa: E402
from pipecat.pipeline.job_decorator import job  # noqa: E402
from pipecat.registry import WorkerRegistry  # noqa: E402
from pipecat.utils.asyncio.task_manager import TaskManager  # noqa: E402
from pipecat.workers.base_worker import BaseWorker  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

from .. import side  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..side import Figures

WARM_UP = 2_000


@dataclass(kw_only=True)
class Tick(BusDataMessage):
    """The message that is counted."""

    n: int


@dataclass(kw_only=True)
class Halt(BusSystemMessage):
    """The message that has to overtake."""


class Receiver(BaseWorker):
    """Counts ticks. Calls `super()` first, which its handling of end, cancel and jobs needs."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.handled = 0
        self.expected = 0
        self.finished_at = 0.0
        self.finished = asyncio.Event()
        self.halted = asyncio.Event()
        self.halted_at = 0.0
        self.handled_before_halt = 0

    def expect(self, count: int) -> None:
        """Start counting anew."""
        self.handled = 0
        self.expected = count
        self.finished = asyncio.Event()
        self.halted = asyncio.Event()

    async def on_bus_message(self, message: BusMessage) -> None:
        await super().on_bus_message(message)
        if message.target != self.name:
            return
        if isinstance(message, Tick):
            self.handled += 1
            if self.handled == self.expected:
                self.finished_at = time.perf_counter()
                self.finished.set()
        elif isinstance(message, Halt):
            self.halted_at = time.perf_counter()
            self.handled_before_halt = self.handled
            self.halted.set()


@asynccontextmanager
async def running(
    *workers: BaseWorker, bus: AsyncQueueBus | None = None
) -> AsyncIterator[WorkerRunner]:
    """Run workers under Pipecat's runner; entered when every one of them is ready and the start-up broadcasts are over."""
    runner = WorkerRunner(bus=bus, handle_sigint=False)
    await runner.add_workers(*workers)
    running_task = asyncio.create_task(runner.run(auto_end=False))
    while not all(worker.name in runner.registry for worker in workers):
        await asyncio.sleep(0.01)
    await quiet(runner.bus)
    yield runner
    await runner.cancel()
    await running_task


async def quiet(bus: AsyncQueueBus) -> None:
    """Wait until every queue of the bus is empty."""
    subscriptions = bus._subscriptions.values()
    while any(
        subscription.queue.qsize() or subscription.data_queue.qsize()
        for subscription in subscriptions
    ):
        await asyncio.sleep(0)


async def timed_send(bus: AsyncQueueBus, receiver: Receiver, count: int) -> float:
    """Return the seconds per message from the first send to the last one handled, the message made inside the loop."""
    receiver.expect(count)
    started = time.perf_counter()
    for n in range(count):
        await bus.send(Tick(source="sender", target="receiver", n=n))
    await receiver.finished.wait()
    return (receiver.finished_at - started) / count


async def send_bus(count: int, others: int) -> Figures:
    """Send over the bus alone: no runner, and no sender subscribed. The least that Pipecat can do for a message."""
    tasks = TaskManager(loop=asyncio.get_running_loop())
    registry = WorkerRegistry(runner_name="runner")
    bus = AsyncQueueBus()
    await bus.setup(tasks)
    receiver = Receiver("receiver")
    for worker in (receiver, *(BaseWorker(f"other-{n}") for n in range(others))):
        await worker.setup(tasks)
        await worker.attach(registry=registry, bus=bus, worker_runner=None)
    await bus.start()
    await timed_send(bus, receiver, min(count, WARM_UP))
    seconds = await timed_send(bus, receiver, count)
    await bus.stop()
    return {"message": seconds}


async def send(count: int, others: int) -> Figures:
    """Send from one worker to another under a runner: the program a user would write."""
    receiver = Receiver("receiver")
    idle = [BaseWorker(f"other-{n}") for n in range(others)]
    async with running(receiver, BaseWorker("sender"), *idle) as runner:
        await timed_send(runner.bus, receiver, min(count, WARM_UP))
        return {"message": await timed_send(runner.bus, receiver, count)}


class Counter(BaseWorker):
    """Answers a job at once."""

    @job(name="count")
    async def count(self, message: Any) -> None:
        await self.send_job_response(message.job_id, {"n": message.payload["n"]})


async def ask(count: int) -> Figures:
    """One worker asks another, again and again, one job at a time."""
    asker = BaseWorker("asker")
    times: list[float] = []
    async with running(Counter("counter"), asker):
        for n in range(count // 10 + count):
            started = time.perf_counter()
            async with asker.job(
                "counter", params=JobParams(name="count", payload={"n": n})
            ) as context:
                pass
            times.append(time.perf_counter() - started)
            if context.response != {"n": n}:
                message = f"answered {context.response}"
                raise AssertionError(message)
    return side.percentiles(times[count // 10 :])


async def system(backlog: int, repetitions: int) -> Figures:
    """Send a system message from a thread to a worker that has `backlog` data messages queued.

    The loop is blocked until the thread is about to send, as in `ours.py`.
    """
    loop = asyncio.get_running_loop()
    receiver = Receiver("receiver")
    times: list[float] = []
    left: list[int] = []

    def halt(sending: threading.Event, sent_at: list[float]) -> None:
        sending.set()
        sent_at.append(time.perf_counter())
        message = Halt(source="thread", target="receiver")
        asyncio.run_coroutine_threadsafe(runner.bus.send(message), loop).result()

    async with running(receiver) as runner:
        for _ in range(repetitions):
            receiver.expect(backlog)
            for n in range(backlog):
                await runner.bus.send(Tick(source="sender", target="receiver", n=n))
            sending = threading.Event()
            sent_at: list[float] = []
            thread = threading.Thread(target=halt, args=(sending, sent_at))
            thread.start()
            sending.wait()
            await receiver.halted.wait()
            times.append(receiver.halted_at - sent_at[0])
            left.append(backlog - receiver.handled_before_halt)
            if backlog:
                await receiver.finished.wait()
            await asyncio.to_thread(thread.join)
    return side.percentiles(times) | {"left_min": min(left), "left_max": max(left)}


class Listener(BaseWorker):
    """Counts broadcasts, together with all others of its kind."""

    left = 0
    finished = asyncio.Event()
    finished_at = 0.0

    async def on_bus_message(self, message: BusMessage) -> None:
        await super().on_bus_message(message)
        if isinstance(message, Tick):
            Listener.left -= 1
            if not Listener.left:
                Listener.finished_at = time.perf_counter()
                Listener.finished.set()


async def broadcast(receivers: int, count: int) -> Figures:
    """Send to all workers at once; over when the last of them has handled it, `count` times.

    Over the bus alone, without a runner, whose start-up would take minutes.
    """
    tasks = TaskManager(loop=asyncio.get_running_loop())
    registry = WorkerRegistry(runner_name="runner")
    bus = AsyncQueueBus()
    await bus.setup(tasks)
    for n in range(receivers):
        worker = Listener(f"listener-{n}")
        await worker.setup(tasks)
        await worker.attach(registry=registry, bus=bus, worker_runner=None)
    await bus.start()
    times: list[float] = []
    for n in range(count):
        Listener.left = receivers
        Listener.finished = asyncio.Event()
        started = time.perf_counter()
        await bus.send(Tick(source="sender", n=n))
        await Listener.finished.wait()
        times.append(Listener.finished_at - started)
    await bus.stop()
    return {"broadcast": statistics.median(times)}


async def spawn(count: int) -> Figures:
    """Start `count` workers; over when the last of them has handled a message sent once all were ready."""
    gc.collect()
    started = time.perf_counter()
    last = Receiver("receiver")
    workers = [BaseWorker(f"worker-{n}") for n in range(count - 1)]
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(*workers, last)
    running_task = asyncio.create_task(runner.run(auto_end=False))
    while any(worker.started_at is None for worker in (*workers, last)):
        await asyncio.sleep(0)
    ready = time.perf_counter()
    last.expect(1)
    await runner.bus.send(Tick(source=runner.name, target="receiver", n=0))
    await last.finished.wait()
    usable = last.finished_at - started
    await runner.cancel()
    await running_task
    return {"spawn": usable, "ready": ready - started}


class MutedBus(AsyncQueueBus):
    """A bus that says nothing while it is muted: spares the start-up broadcasts, and what they leave in memory."""

    muted = True

    async def publish(self, message: BusMessage) -> None:
        if not self.muted:
            await super().publish(message)


async def memory(count: int) -> Figures:
    """Resident memory per idle worker. Its start-up broadcasts are left out, in Pipecat's favour."""
    bus = MutedBus()
    async with running(*(BaseWorker(f"first-{n}") for n in range(50)), bus=bus) as runner:
        await asyncio.sleep(0.1)
        before = side.resident_bytes()
        await runner.add_workers(*(BaseWorker(f"worker-{n}") for n in range(count)))
        while f"worker-{count - 1}" not in runner.registry:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        after = side.resident_bytes()
        bus.muted = False
        return {"bytes": (after - before) / count, "total": after - before}


class Parent(BaseWorker):
    """Starts its children when it is activated, which is the first moment when it can."""

    def __init__(self, name: str, children: list[BaseWorker]) -> None:
        super().__init__(name)
        self._to_add = children

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        await super().on_activated(args)
        await self.add_workers(*self._to_add)


async def cancel(children: int, leaves: int) -> Figures:
    """Cancel a tree of depth three, from `runner.cancel()` to the return of `runner.run()`."""
    parents = [
        Parent(f"c{n}", [BaseWorker(f"c{n}-{m}") for m in range(leaves)]) for n in range(children)
    ]
    names = [f"c{n}-{m}" for n in range(children) for m in range(leaves)]
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(Parent("root", list(parents)))
    running_task = asyncio.create_task(runner.run(auto_end=False))
    while not all(name in runner.registry for name in names):
        await asyncio.sleep(0.01)
    await quiet(runner.bus)
    gc.collect()
    started = time.perf_counter()
    await runner.cancel()
    await running_task
    return {"cancel": time.perf_counter() - started}


def synchronous(case: Any) -> Any:
    """Run a case under asyncio."""
    return lambda **parameters: asyncio.run(case(**parameters))


if __name__ == "__main__":
    cases = (send_bus, send, ask, system, broadcast, spawn, memory, cancel)
    side.main({case.__name__: synchronous(case) for case in cases}, ["pipecat-ai"])
