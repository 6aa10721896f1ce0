"""Our side of each measurement, written as a user would write it: public names only."""

from __future__ import annotations

import gc
import statistics
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Job,
    Worker,
    WorkerRunner,
    handles,
    job,
    message,
    open_runner,
)

from . import side
from .limits import Tally, Tick, synchronous

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .side import Figures

WARM_UP = 2_000


@message
class Halt(BusSystemMessage):
    """The message that has to overtake."""


@message
class Flood(BusDataMessage):
    """Tells the sender to send."""

    count: int


@attrs.frozen
class Count:
    """A job's payload."""

    n: int


@attrs.frozen
class Counted:
    """A job's answer."""

    n: int


class Receiver(Worker):
    """Counts ticks."""

    def __init__(self, name: str, capacity: int = 256) -> None:
        super().__init__(name, mailbox_capacity=capacity)
        self.expect(0)

    def expect(self, count: int) -> None:
        """Start counting anew."""
        self.handled = 0
        self.expected = count
        self.finished_at = 0.0
        self.finished = trio.Event()
        self.halted_at = 0.0
        self.halted = trio.Event()
        self.handled_before_halt = 0

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        self.handled += 1
        if self.handled == self.expected:
            self.finished_at = time.perf_counter()
            self.finished.set()

    @handles(Halt)
    async def halt(self, message: Halt) -> None:
        self.halted_at = time.perf_counter()
        self.handled_before_halt = self.handled
        self.halted.set()


class Sender(Worker):
    """Sends ticks from inside a handler, each made just before it is sent."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.started_at = 0.0

    @handles(Flood)
    async def flood(self, flood: Flood) -> None:
        self.started_at = time.perf_counter()
        for n in range(flood.count):
            await self.send(Tick(target="receiver", n=n))


def idle(count: int) -> list[Worker]:
    """Return workers that have nothing to do."""
    return [Worker(f"other-{n}") for n in range(count)]


async def timed_send(runner: WorkerRunner, sender: Sender, receiver: Receiver, count: int) -> float:
    """Return the seconds per message from the first send to the last one handled, the message made inside the loop."""
    receiver.expect(count)
    await sender.send(Flood(target=sender.name, count=count))
    await receiver.finished.wait()
    return (receiver.finished_at - sender.started_at) / count


async def send(count: int, others: int) -> Figures:
    """Send from one worker to another with `others` more around, the whole framework included."""
    sender, receiver = Sender("sender"), Receiver("receiver")
    async with open_runner(sender, receiver, *idle(others)) as runner:
        await timed_send(runner, sender, receiver, min(count, WARM_UP))
        seconds = await timed_send(runner, sender, receiver, count)
        await runner.cancel()
    return {"message": seconds}


class Counter(Worker):
    """Answers a job at once."""

    @job()
    async def count(self, job: Job, request: Count) -> Counted:
        return Counted(request.n)

    @job()
    async def count_dict(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return {"n": payload["n"]}


class Asker(Worker):
    """Asks in the three ways there are, from a task of its own nursery."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.times: list[float] = []
        self.keeps_times = True
        self.finished = trio.Event()

    async def run_asks(self, form: str, count: int) -> None:
        """Ask `count` times, one job at a time."""
        one = {"ask": self.ask_typed, "ask_dict": self.ask_dict, "job": self.ask_job}[form]
        for n in range(count):
            started = time.perf_counter()
            answer = await one(n)
            if self.keeps_times:
                self.times.append(time.perf_counter() - started)
            if answer != n:
                text = f"asked {n}, answered {answer}"
                raise AssertionError(text)
        self.finished.set()

    async def ask_typed(self, n: int) -> int:
        """Ask for a method, with attrs classes."""
        return (await self.ask("counter", Counter.count, Count(n))).n

    async def ask_dict(self, n: int) -> int:
        """Ask by name, with dicts, as Pipecat does."""
        answer: dict[str, Any] = await self.ask("counter", "count_dict", {"n": n})
        return int(answer["n"])

    async def ask_job(self, n: int) -> int:
        """Open the block that also gives events, as Pipecat does."""
        async with self.job("counter", Counter.count, Count(n)) as pending:
            pass
        response = pending.response
        assert isinstance(response, Counted)
        return response.n


async def ask(count: int, form: str) -> Figures:
    """One worker asks another, again and again, one job at a time."""
    asker = Asker("asker")
    async with open_runner(Counter("counter"), asker) as runner:
        asker.nursery.start_soon(asker.run_asks, form, count // 10 + count)
        await asker.finished.wait()
        await runner.cancel()
    return side.percentiles(asker.times[count // 10 :])


async def system(backlog: int, repetitions: int, elsewhere: int = 0) -> Figures:
    """Send a system message from a thread to a worker that has `backlog` data messages queued.

    Making very many messages leaves the processor's caches cold, whether they are queued or not.
    `elsewhere` says how many are made and kept out of the lane.

    The loop is blocked until the thread is about to send. Otherwise Python's GIL would decide when
    the thread runs, on a busy loop often long after the backlog.
    """
    receiver = Receiver("receiver", capacity=backlog + 1)
    sender = Sender("sender")
    times: list[float] = []
    left: list[int] = []

    def halt(sending: threading.Event, sent_at: list[float]) -> None:
        sending.set()
        sent_at.append(time.perf_counter())
        runner.bus.send_from_thread(Halt(target="receiver"))

    async with open_runner(receiver, sender) as runner:
        for _ in range(repetitions):
            receiver.expect(backlog)
            for n in range(backlog):
                sender.send_nowait(Tick(target="receiver", n=n))
            kept = [Tick(target="receiver", n=n) for n in range(elsewhere)]
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
            await trio.to_thread.run_sync(thread.join)
            kept.clear()
        await runner.cancel()
    return side.percentiles(times) | {"left_min": min(left), "left_max": max(left)}


class Listener(Worker):
    """Counts broadcasts, together with all others of its kind."""

    def __init__(self, name: str, tally: Tally) -> None:
        super().__init__(name, active=True)
        self._tally = tally

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        self._tally.count()


async def broadcast(receivers: int, count: int) -> Figures:
    """Send to all workers at once; over when the last of them has handled it, `count` times."""
    tally = Tally(receivers)
    names = [f"listener-{n}" for n in range(receivers)]
    async with open_runner(*(Listener(name, tally) for name in names)) as runner:
        times = [await tally.timed(runner.send, Tick(n=n)) for n in range(count)]
        await runner.cancel()
    return {"broadcast": statistics.median(times)}


async def spawn(count: int) -> Figures:
    """Start `count` workers; over when the last of them has handled a message sent once all were ready."""
    async with open_runner(Sender("sender")) as runner:
        gc.collect()
        started = time.perf_counter()
        last = Receiver("receiver")
        last.expect(1)
        await runner.add_workers(*idle(count - 1), last)
        ready = time.perf_counter()
        sender = runner.get_worker("sender")
        assert sender is not None
        await sender.send(Tick(target="receiver", n=0))
        await last.finished.wait()
        await runner.cancel()
    return {"spawn": last.finished_at - started, "ready": ready - started}


async def memory(count: int) -> Figures:
    """Resident memory per idle worker."""
    async with open_runner(*(Worker(f"first-{n}") for n in range(50))) as runner:
        await trio.sleep(0.1)
        before = side.resident_bytes()
        await runner.add_workers(*idle(count))
        await trio.sleep(0.1)
        after = side.resident_bytes()
        await runner.cancel()
    return {"bytes": (after - before) / count, "total": after - before}


class Parent(Worker):
    """Starts its children before it is ready."""

    def __init__(self, name: str, children: list[Worker]) -> None:
        super().__init__(name)
        self._to_add = children

    async def on_start(self) -> None:
        await self.add_workers(*self._to_add)


async def cancel(children: int, leaves: int) -> Figures:
    """Cancel a tree of depth three, from `runner.cancel()` until nothing is left of it."""
    parents: list[Worker] = [
        Parent(f"c{n}", [Worker(f"c{n}-{m}") for m in range(leaves)]) for n in range(children)
    ]
    async with open_runner(Parent("root", parents)) as runner:
        gc.collect()
        started = time.perf_counter()
        await runner.cancel()
        await runner.wait_stopped()
        seconds = time.perf_counter() - started
    return {"cancel": seconds}


async def jobs(count: int) -> Figures:
    """Run many jobs and compare what is there afterwards with what was there after a few."""
    asker = Asker("asker")
    asker.keeps_times = False
    async with open_runner(Counter("counter"), asker) as runner:

        async def run_asks(count: int) -> tuple[int, int, dict[str, int]]:
            asker.finished = trio.Event()
            asker.nursery.start_soon(asker.run_asks, "ask", count)
            await asker.finished.wait()
            await trio.sleep(0.05)
            resident = side.resident_bytes()
            return resident, len(gc.get_objects()), table_sizes(runner, asker)

        await run_asks(WARM_UP)
        resident, objects, tables = await run_asks(WARM_UP)
        started = time.perf_counter()
        resident_after, objects_after, tables_after = await run_asks(count)
        seconds = time.perf_counter() - started
        await runner.cancel()
    grown = {
        path: size - tables.get(path, 0)
        for path, size in tables_after.items()
        if size > tables.get(path, 0)
    }
    return {
        "resident": resident_after - resident,
        "objects": objects_after - objects,
        "table_entries": sum(grown.values()),
        "tables": len(tables_after),
        "job": seconds / count,
    }


def table_sizes(*roots: object) -> dict[str, int]:
    """Return the size of every container that can be reached from our own objects, by the path that leads there.

    Knows no private name, so that a table which is added later is found as well.
    """
    sizes: dict[str, int] = {}
    seen: set[int] = set()
    queue = deque((type(root).__name__, root) for root in roots)
    while queue:
        path, thing = queue.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, (dict, list, set, frozenset, tuple, deque)):
            sizes[path] = len(thing)
            items = thing.items() if isinstance(thing, dict) else enumerate(thing)
            queue.extend((f"{path}[{key}]", item) for key, item in items)
        elif type(thing).__module__.startswith(("trioworkers", "benchmarks", "__main__")):
            queue.extend((f"{path}.{name}", item) for name, item in attributes(thing))
    return sizes


def attributes(thing: object) -> Iterator[tuple[str, object]]:
    """Yield the attributes that an object itself holds, in slots or not."""
    yield from getattr(thing, "__dict__", {}).items()
    for cls in type(thing).__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            name = (
                f"_{cls.__name__.lstrip('_')}{name}"
                if name.startswith("__") and not name.endswith("__")
                else name
            )
            if name not in ("__dict__", "__weakref__") and hasattr(thing, name):
                yield name, getattr(thing, name)


if __name__ == "__main__":
    cases = (send, ask, system, broadcast, spawn, memory, cancel, jobs)
    side.main({case.__name__: synchronous(case) for case in cases}, ["trio", "attrs", "cattrs"])
