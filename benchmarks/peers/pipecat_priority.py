"""Pipecat's side of `priority.py`: a worker as Pipecat's documentation tells its users to write it.

Runs in Pipecat's own environment (see `environments.py`).  Its lanes have no bound and no policy, and its
system handlers never interrupt: those settings do not apply.  `bus.send` does not yield, so the producers do, each
64 messages, as ours do; without that, nothing else would ever run.  And they stop for a moment whenever more
than `backlog` messages, or 256, are queued, in Pipecat's favour, as in Pykka's.
"""

# ruff: noqa: ASYNC110 - what is polled here is outside timed code
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pipecat.bus import BusCancelWorkerMessage, BusDataMessage, BusMessage, BusSystemMessage
from pipecat.workers.base_worker import BaseWorker

from .. import side
from ..latency import (
    INTO_BACKLOG,
    LOOK_EVERY,
    Meter,
    Share,
    due_times,
    pack,
    spin,
    told_of_cancel,
)
from .pipecat_side import running, synchronous

LEAST = 256
TURN = 64
WARM_UP = 2_000


@dataclass(kw_only=True)
class Chunk(BusDataMessage):
    """The data."""

    sent: float


@dataclass(kw_only=True)
class Note(BusSystemMessage):
    """A system message; the number is that of a probe, or -1."""

    due: float
    sent: float
    number: int


@dataclass(kw_only=True)
class Again(BusDataMessage):
    """Keeps a neighbour busy."""


class Target(BaseWorker):
    """Handles chunks as the settings say."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__("target")
        self.settings = settings
        self.meter = Meter()
        self.left: dict[int, float] = {}
        self.done = asyncio.Event()
        self.queued = 0

    async def on_bus_message(self, message: BusMessage) -> None:
        await super().on_bus_message(message)
        if message.target != self.name:
            return
        if isinstance(message, Note):
            self.meter.system_begins(message.due, message.sent)
            self.left.pop(message.number, None)
            if not self.left:
                self.done.set()
        elif isinstance(message, Chunk):
            self.queued -= 1
            self.meter.data_begins(message.sent)
            await work(self.settings)
            self.meter.data_ends()


class Neighbour(BaseWorker):
    """Is busy from its first message on."""

    async def on_bus_message(self, message: BusMessage) -> None:
        await super().on_bus_message(message)
        if isinstance(message, Again) and message.target == self.name:
            await self.send_bus_message(Again(source=self.name, target=self.name))


async def work(settings: dict[str, Any]) -> None:
    """Do what a data handler does."""
    if settings["handler"] == "blocked":
        await asyncio.Event().wait()
    elif settings["cost"] and settings["handler"] == "busy":
        spin(settings["cost"])
    elif settings["cost"]:
        await asyncio.sleep(settings["cost"])


async def produce(bus: Any, target: Target) -> None:
    """Send for ever."""
    is_system = Share(target.settings["system_share"])
    most = max(LEAST, target.settings["backlog"])
    while True:
        for _ in range(TURN):
            now = time.perf_counter()
            if is_system():
                note = Note(source="producer", target="target", due=now, sent=now, number=-1)
                await bus.send(note)
            else:
                target.queued += 1
                await bus.send(Chunk(source="producer", target="target", sent=now))
        await asyncio.sleep(0)
        while target.queued > most:
            await asyncio.sleep(0)


async def probe(bus: Any, target: Target) -> int:
    """Send the probes, each when it is due; return how many were not handled in time."""
    settings = target.settings
    begun = time.perf_counter()
    count = settings["probes"]
    target.left = dict.fromkeys(range(count), begun)
    dues = due_times(count, settings["interval"], settings["burst"], begun)
    for number, (due, _) in enumerate(dues):
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        target.left[number] = due
        now = time.perf_counter()
        await bus.send(Note(source="probe", target="target", due=due, sent=now, number=number))
    with suppress(TimeoutError):
        await asyncio.wait_for(target.done.wait(), settings["patience"])
    return target.meter.give_up(target.left.values())


async def look(target: Target) -> None:
    """Note now and then how many messages wait, on whichever of the queues."""
    every = LOOK_EVERY
    while True:
        if target.meter.note_depth(target.queued, 0):
            every *= 2
        await asyncio.sleep(every)


async def time_passes(meter: Meter) -> None:
    """Take the time between two turns of one task: what the loop needs to go round once."""
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0)
        now = time.perf_counter()
        meter.passes.append(now - last)
        last = now


async def load(settings: str) -> dict[str, Any]:
    """Flood and probe.

    Args:
        settings: those of `PrioritySettings`, as JSON.
    """
    wanted = json.loads(settings)
    target = Target(wanted)
    neighbours = [Neighbour(f"n{number}") for number in range(wanted["neighbours"])]
    async with running(target, *neighbours) as runner:
        bus = runner.bus
        for neighbour in neighbours:
            await bus.send(Again(source=neighbour.name, target=neighbour.name))
        for _ in range(wanted["backlog"]):
            target.queued += 1
            await bus.send(Chunk(source="main", target="target", sent=time.perf_counter()))
        target.meter.begin()
        tasks = [asyncio.create_task(look(target))]
        if neighbours:
            tasks.append(asyncio.create_task(time_passes(target.meter)))
        tasks += [asyncio.create_task(produce(bus, target)) for _ in range(wanted["producers"])]
        unhandled = await probe(bus, target)
        told = target.meter.tell(unhandled=unhandled)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        target.settings = {"handler": "busy", "cost": 0.0}  # what is left is over soon
    return told


async def backlog(backlog: int, repetitions: int) -> dict[str, Any]:
    """Queue data in one step, and send a system message that is due while it is handled; repeatedly."""
    quick = {"handler": "busy", "cost": 0.0}
    times: list[float] = []
    target = Target(quick)
    async with running(target) as runner:
        for number in range(repetitions + 1):
            amount = backlog if number else min(backlog, WARM_UP)
            for _ in range(amount):
                target.queued += 1
                await runner.bus.send(Chunk(source="main", target="target", sent=0.0))
            target.left, target.done = {0: 0.0}, asyncio.Event()
            due = time.perf_counter() + INTO_BACKLOG
            await asyncio.sleep(INTO_BACKLOG)
            note = Note(source="main", target="target", due=due, sent=due, number=0)
            await runner.bus.send(note)
            await target.done.wait()
            if number:  # the first is to warm up
                times.append(target.meter.sent[-1])
            while target.queued:
                await asyncio.sleep(0.01)
    return side.percentiles(times) | {"system": pack(times)}


async def cancel(backlog: int) -> dict[str, Any]:
    """Draw the two lanes round a cancel of the worker: when each handler ran."""
    data: list[list[float]] = []
    system: list[float] = []

    class Watched(BaseWorker):
        async def on_bus_message(self, message: BusMessage) -> None:
            await super().on_bus_message(message)
            if isinstance(message, Chunk):
                data.append([time.perf_counter(), 0.0])
                await asyncio.sleep(0.001)
                data[-1][1] = time.perf_counter()
            elif isinstance(message, Note):
                system.append(time.perf_counter())

    async with running(Watched("target")) as runner:
        for _ in range(backlog):
            await runner.bus.send(Chunk(source="main", target="target", sent=0.0))
        for number in range(10):
            await asyncio.sleep(0.003)
            note = Note(source="main", target="target", due=0.0, sent=0.0, number=number)
            await runner.bus.send(note)
        await asyncio.sleep(0.003)
        cancelled = time.perf_counter()
        await runner.bus.send(BusCancelWorkerMessage(source="main", target="target"))
        await asyncio.sleep(0.1)
    # What has not ended yet ends now.
    spans = [(begun, ended or time.perf_counter()) for begun, ended in data]
    return told_of_cancel(spans, system, cancelled)


if __name__ == "__main__":
    side.main(
        {case.__name__: synchronous(case) for case in (load, backlog, cancel)}, ["pipecat-ai"]
    )
