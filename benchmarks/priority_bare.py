"""Plain trio's sides of `priority.py`, by hand and without any promise.

- *one channel*: a memory channel, as one would begin; a system message queues behind the data.
- *two channels*: one for each lane and an event to wait for both; the system channel is looked at
  before each data message.  A handler that sleeps or hangs holds system messages up all the same.
- *limits*: the prototype of `limits.py`: two deques without bounds, and a bare reschedule.

All use the product's class of messages, with the time of sending as a field.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import trio
from trio.lowlevel import checkpoint

from trioworkers.messages import BusDataMessage, BusMessage, BusSystemMessage, message

from . import limits, side
from .latency import (
    INTO_BACKLOG,
    LOOK_EVERY,
    Meter,
    Share,
    due_times,
    pack,
    told_of_cancel,
)
from .priority_handler import work

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TURN = 64
NEIGHBOURS_CAPACITY = 256
WARM_UP = 2_000
SYSTEM_CAPACITY = 65_536


@message
class Chunk(BusDataMessage):
    """The data."""

    sent: float


@message
class Note(BusSystemMessage):
    """A system message; the number is that of a probe, or -1."""

    due: float
    sent: float
    number: int


class Box(Protocol):
    """A mailbox and the task that empties it."""

    async def send(self, item: BusMessage) -> None: ...

    def send_nowait(self, item: BusMessage) -> None: ...

    async def run(self, handle: Callable[[BusMessage], Awaitable[None]]) -> None: ...

    def depth(self) -> tuple[int, int]: ...


class OneChannel:
    """Everything goes through one channel."""

    def __init__(self, capacity: int) -> None:
        self._in, self._out = trio.open_memory_channel[BusMessage](capacity)

    async def send(self, item: BusMessage) -> None:
        await self._in.send(item)

    def send_nowait(self, item: BusMessage) -> None:
        self._in.send_nowait(item)

    async def run(self, handle: Callable[[BusMessage], Awaitable[None]]) -> None:
        async for item in self._out:
            await handle(item)

    def depth(self) -> tuple[int, int]:
        seen = self._in.statistics()
        return seen.current_buffer_used + seen.tasks_waiting_send, 0


class TwoChannels:
    """A channel for each lane."""

    def __init__(self, capacity: int) -> None:
        self._data_in, self._data = trio.open_memory_channel[BusMessage](capacity)
        self._system_in, self._system = trio.open_memory_channel[BusMessage](SYSTEM_CAPACITY)
        self._arrived = trio.Event()

    async def send(self, item: BusMessage) -> None:
        await (self._system_in if isinstance(item, BusSystemMessage) else self._data_in).send(item)
        self._arrived.set()

    def send_nowait(self, item: BusMessage) -> None:
        channel = self._system_in if isinstance(item, BusSystemMessage) else self._data_in
        channel.send_nowait(item)
        self._arrived.set()

    async def run(self, handle: Callable[[BusMessage], Awaitable[None]]) -> None:
        left = TURN
        while True:
            item = self._next()
            if item is None:
                await self._arrived.wait()
                self._arrived = trio.Event()
                left = TURN
            else:
                await handle(item)
                left -= 1
                if not left:
                    await checkpoint()
                    left = TURN

    def _next(self) -> BusMessage | None:
        for channel in (self._system, self._data):
            try:
                return channel.receive_nowait()
            except trio.WouldBlock:
                pass
        return None

    def depth(self) -> tuple[int, int]:
        seen, system = self._data_in.statistics(), self._system_in.statistics()
        return seen.current_buffer_used + seen.tasks_waiting_send, system.current_buffer_used


class Limit:
    """The prototype; its lanes have no bound, so a flood fills the memory for as long as it lasts."""

    def __init__(self, capacity: int) -> None:
        self._bus = limits.Bus()
        self._box = self._bus.mailboxes["target"] = limits.Mailbox()

    async def send(self, item: BusMessage) -> None:
        await self._bus.send(item)

    def send_nowait(self, item: BusMessage) -> None:
        lane = self._box.system if isinstance(item, BusSystemMessage) else self._box.data
        lane.append(item)
        if self._box.parked:
            self._box.parked = False
            assert self._box.task is not None
            trio.lowlevel.reschedule(self._box.task)

    async def run(self, handle: Callable[[BusMessage], Awaitable[None]]) -> None:
        self._box.handlers = {Chunk: handle, Note: handle}
        await self._box.run()

    def depth(self) -> tuple[int, int]:
        return len(self._box.data), len(self._box.system)


BOXES: dict[str, Callable[[int], Box]] = {"one": OneChannel, "two": TwoChannels, "limit": Limit}


class Load:
    """Floods and probes one box as the settings say."""

    def __init__(self, box: Box, settings: dict[str, Any]) -> None:
        self.box = box
        self.settings = settings
        self.meter = Meter()
        self.left: dict[int, float] = {}
        self.done = trio.Event()

    async def handle(self, item: BusMessage) -> None:
        if isinstance(item, Note):
            self.meter.system_begins(item.due, item.sent)
            self.left.pop(item.number, None)
            if not self.left:
                self.done.set()
        elif isinstance(item, Chunk):
            self.meter.data_begins(item.sent)
            await work(self.settings["handler"], self.settings["cost"])
            self.meter.data_ends()

    async def produce(self) -> None:
        is_system = Share(self.settings["system_share"])
        while True:
            now = time.perf_counter()
            if is_system():
                note = Note(source="producer", target="target", due=now, sent=now, number=-1)
                await self.box.send(note)
            else:
                await self.box.send(Chunk(source="producer", target="target", sent=now))

    async def probe(self) -> int:
        settings, ahead = self.settings, trio.current_time() - time.perf_counter()
        begun = time.perf_counter()
        count = settings["probes"]
        self.left = dict.fromkeys(range(count), begun)
        dues = due_times(count, settings["interval"], settings["burst"], begun)
        async with trio.open_nursery() as nursery:
            for number, (due, _) in enumerate(dues):
                if time.perf_counter() < due:
                    await trio.sleep_until(due + ahead)
                now = time.perf_counter()
                self.left[number] = due
                note = Note(source="probe", target="target", due=due, sent=now, number=number)
                try:
                    self.box.send_nowait(note)
                except trio.WouldBlock:
                    # In a task of its own, so that those due after it are not late.
                    nursery.start_soon(self.box.send, note)
            with trio.move_on_after(settings["patience"]):
                await self.done.wait()
            nursery.cancel_scope.cancel()
        return self.meter.give_up(self.left.values())

    async def look(self) -> None:
        every = LOOK_EVERY
        while True:
            if self.meter.note_depth(*self.box.depth()):
                every *= 2
            await trio.sleep(every)


async def be_busy(box: Box) -> None:
    """Be a neighbour: handle a message that sends itself again, for ever."""
    again = Chunk(source="neighbour", target="neighbour", sent=0.0)

    async def handle(item: BusMessage) -> None:
        box.send_nowait(item)

    box.send_nowait(again)
    await box.run(handle)


async def load(settings: str, box: str) -> dict[str, Any]:
    """Flood and probe.

    Args:
        settings: those of `PrioritySettings`, as JSON.
        box: which side.
    """
    wanted = json.loads(settings)
    running = Load(BOXES[box](wanted["capacity"]), wanted)
    async with trio.open_nursery() as nursery:
        for _ in range(wanted["neighbours"]):
            nursery.start_soon(be_busy, BOXES[box](NEIGHBOURS_CAPACITY))
        for _ in range(wanted["backlog"]):
            chunk = Chunk(source="main", target="target", sent=time.perf_counter())
            running.box.send_nowait(chunk)
        running.meter.begin()
        nursery.start_soon(running.box.run, running.handle)
        nursery.start_soon(running.look)
        for _ in range(wanted["producers"]):
            nursery.start_soon(running.produce)
        unhandled = await running.probe()
        nursery.cancel_scope.cancel()
    return running.meter.tell(unhandled=unhandled)


async def backlog(backlog: int, repetitions: int, box: str) -> dict[str, Any]:
    """Queue data in one step, and send a system message that is due while it is handled; repeatedly."""
    lane = BOXES[box](max(256, backlog + 1))
    times: list[float] = []
    state = {"handled": 0, "expected": 0, "begun": 0.0}
    noted, drained = [trio.Event()], [trio.Event()]

    async def handle(item: BusMessage) -> None:
        if isinstance(item, Note):
            state["begun"] = time.perf_counter()
            noted[0].set()
        else:
            state["handled"] += 1
            if state["handled"] == state["expected"]:
                drained[0].set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(lane.run, handle)
        for number in range(repetitions + 1):
            amount = backlog if number else min(backlog, WARM_UP)
            state["handled"], state["expected"] = 0, amount
            noted[0], drained[0] = trio.Event(), trio.Event()
            for _ in range(amount):
                lane.send_nowait(Chunk(source="main", target="target", sent=0.0))
            due = time.perf_counter() + INTO_BACKLOG
            await trio.sleep(INTO_BACKLOG)
            lane.send_nowait(Note(source="main", target="target", due=0.0, sent=0.0, number=0))
            await noted[0].wait()
            if number:  # the first is to warm up
                times.append(state["begun"] - due)
            if amount:
                await drained[0].wait()
        nursery.cancel_scope.cancel()
    return side.percentiles(times) | {"system": pack(times)}


async def cancel(backlog: int, box: str) -> dict[str, Any]:
    """Draw the lanes of a worker that is cancelled by a message: its last one."""
    lane = BOXES[box](max(256, backlog + 100))
    data: list[list[float]] = []
    system: list[float] = []
    cancelled = 0.0

    async def handle(item: BusMessage) -> None:
        if isinstance(item, Note):
            system.append(time.perf_counter())
            if item.number < 0:
                scope.cancel()
        else:
            data.append([time.perf_counter(), 0.0])
            await trio.sleep(0.001)
            data[-1][1] = time.perf_counter()

    def note(number: int) -> Note:
        return Note(source="main", target="target", due=0.0, sent=0.0, number=number)

    async with trio.open_nursery() as nursery:
        scope = nursery.cancel_scope
        for _ in range(backlog):
            lane.send_nowait(Chunk(source="main", target="target", sent=0.0))
        nursery.start_soon(lane.run, handle)
        for number in range(10):
            await trio.sleep(0.003)
            lane.send_nowait(note(number))
        await trio.sleep(0.003)
        cancelled = time.perf_counter()
        lane.send_nowait(note(-1))
        await trio.sleep(0.1)
        scope.cancel()
    return told_of_cancel(data, system, cancelled)


if __name__ == "__main__":
    cases = (load, backlog, cancel)
    side.main(
        {case.__name__: limits.synchronous(partial(case)) for case in cases}, ["trio", "attrs"]
    )
