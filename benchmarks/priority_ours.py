"""Our side of `priority.py`: the scenario that the settings describe, as a user would write one."""

from __future__ import annotations

import json
import sys
import time
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from trioworkers import (
    BusCancelWorkerMessage,
    BusDataMessage,
    BusSystemMessage,
    Worker,
    handles,
    message,
    open_runner,
)
from trioworkers._cli.exits import Refusal
from trioworkers.bench import PriorityScenario, PrioritySettings, ScenarioError
from trioworkers.bench._recorder import Recorder, RecordingBus
from trioworkers.bench._scenario import record

from . import side
from .latency import INTO_BACKLOG, Share, pack, pack_counts, told, told_of_cancel
from .limits import synchronous
from .priority_handler import work
from .priority_remote import remote
from .priority_scenario import load_scenario, show_users_traceback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trioworkers import BusMessage
    from trioworkers.bench._recorder import Recording

WARM_UP = 2_000


@message
class Chunk(BusDataMessage):
    """The data."""


@message
class Note(BusSystemMessage):
    """A system message whose handler does nothing, and the pass in which it was sent."""

    sent_in: int = 0


@message
class Again(BusDataMessage):
    """Keeps a neighbour busy."""


class Passes(trio.abc.Instrument):
    """Counts the passes of trio's scheduler, and takes the time of each."""

    def __init__(self) -> None:
        self.count = 0
        self.times = array("d")
        # For each note, how many passes it took part in, from its send to its handler.
        self.crossed: list[int] = []
        self._begun = 0.0

    def after_io_wait(self, timeout: float) -> None:
        self.count += 1
        self._begun = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        if self._begun:
            self.times.append(time.perf_counter() - self._begun)

    def note(self) -> Note:
        """Make a note that is about to be sent."""
        return Note(sent_in=self.count)


class Target(Worker):
    """Handles chunks as the settings say."""

    def __init__(self, settings: PrioritySettings, passes: Passes | None = None) -> None:
        super().__init__(
            "target", mailbox_capacity=settings.mailbox_capacity, overflow=settings.overflow
        )
        self.settings = settings
        self.passes = passes

    def heard(self, note: Note) -> None:
        """Count the passes that a note took part in."""
        if self.passes is not None:
            self.passes.crossed.append(self.passes.count - note.sent_in + 1)

    @handles(Chunk)
    async def chunk(self, message: Chunk) -> None:
        await work(self.settings.handler, self.settings.cost)

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.heard(message)


class Interrupted(Target):
    """The same, but a system message interrupts the handler in progress."""

    @handles(Note, interrupt=True)
    async def note(self, message: Note) -> None:
        self.heard(message)


class Neighbour(Worker):
    """Is busy from its first message on: it handles a full turn of them whenever it is its turn."""

    @handles(Again)
    async def again(self, message: Again) -> None:
        self.send_nowait(Again(target=self.name))


def make_target(settings: PrioritySettings, passes: Passes | None = None) -> Target:
    """Make the worker that is measured."""
    kind = Interrupted if settings.system_handler == "interrupting" else Target
    return kind(settings, passes)


def mixed(settings: PrioritySettings) -> Callable[[], BusMessage]:
    """Return what makes the messages of the flood."""
    if not settings.system_share:
        return Chunk
    is_system = Share(settings.system_share)
    return lambda: Note() if is_system() else Chunk()


async def standard(bench: PriorityScenario) -> None:
    """Measure what the settings say."""
    settings = bench.settings
    await bench.runner.add_workers(make_target(settings))
    for _ in range(settings.backlog):
        bench.runner.send_nowait(Chunk(target="target"))
    if settings.producers:
        await bench.flood("target", mixed(settings), producers=settings.producers)
    await bench.probe("target", Note, count=settings.probes)


async def in_a_crowd(bench: PriorityScenario, passes: Passes) -> None:
    """Measure the same beside busy neighbours, and count the scheduler's passes meanwhile."""
    settings = bench.settings
    await bench.runner.add_workers(make_target(settings, passes))
    await bench.runner.add_workers(*(Neighbour(f"n{n}") for n in range(settings.neighbours)))
    for number in range(settings.neighbours):
        bench.runner.send_nowait(Again(target=f"n{number}"))
    for _ in range(settings.backlog):
        bench.runner.send_nowait(Chunk(target="target"))
    # All are at work from now on.
    await trio.lowlevel.checkpoint()
    trio.lowlevel.add_instrument(passes)
    if settings.producers:
        await bench.flood("target", mixed(settings), producers=settings.producers)
    await bench.probe("target", passes.note, count=settings.probes)
    trio.lowlevel.remove_instrument(passes)


def load_users(settings: str, scenario: str) -> dict[str, Any]:
    """Run the user's scenario, and tell everything that was seen.

    Args:
        settings: as JSON.
        scenario: `module:scenario`.

    Raises:
        RefusedError: it cannot be measured.
    """
    wanted = PrioritySettings(**json.loads(settings))
    sys.excepthook = show_users_traceback
    try:
        # Before trio runs: its module may have a `trio.run` of its own.
        found = load_scenario(scenario)
        return tell(trio.run(record, found, wanted))
    except (ScenarioError, Refusal) as error:
        raise side.RefusedError(str(error)) from error
    except SystemExit as error:
        sentence = (
            f"{scenario} ended its process, with sys.exit({error.code!r}): a scenario returns when "
            "it is over, and raises an exception if it cannot go on"
        )
        raise side.RefusedError(sentence) from error


def load_case(settings: str, scenario: str = "") -> dict[str, Any]:
    """Run the standard scenario, or the user's."""
    if scenario:
        return load_users(settings, scenario)
    return trio.run(load, settings)


async def load(settings: str) -> dict[str, Any]:
    """Run the standard scenario, and tell everything that was seen.

    Args:
        settings: as JSON.
    """
    wanted = PrioritySettings(**json.loads(settings))
    if wanted.link == "proxy":
        return await remote(wanted)
    if not wanted.neighbours:
        return tell(await record(standard, wanted))
    passes = Passes()
    recording = await record(partial(in_a_crowd, passes=passes), wanted)
    crossed = max(passes.crossed) if passes.crossed else 0
    return tell(recording, passes.times) | {"crossed": crossed, "pass": mean(passes.times)}


def mean(times: array[float]) -> float:
    """Return the mean of some times, 0 if there are none."""
    return sum(times) / len(times) if times else 0.0


def tell(recording: Recording, passes: Iterable[float] = ()) -> dict[str, Any]:
    """Return a recording as a side tells it."""
    return told(
        system=pack_counts(recording.system.counts()),
        sent=pack_counts(recording.sent.counts()),
        data=pack_counts(recording.data.counts()),
        passes=pack(passes),
        starvation=recording.starvation,
        throughput=recording.throughput,
        unhandled=recording.unhandled,
        refused=recording.refused,
        depths=recording.depths,
    )


class Behind(Worker):
    """Tells when its system handler began, and how many data messages were handled by then."""

    def __init__(self, capacity: int) -> None:
        super().__init__("target", mailbox_capacity=capacity)
        self.begun = 0.0
        self.handled = 0
        self.handled_before = 0
        self.noted = trio.Event()
        self.drained = trio.Event()
        self.expected = 0

    @handles(Chunk)
    async def chunk(self, message: Chunk) -> None:
        self.handled += 1
        if self.handled == self.expected:
            self.drained.set()

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.begun = time.perf_counter()
        self.handled_before = self.handled
        self.noted.set()


async def backlog(backlog: int, repetitions: int) -> dict[str, Any]:
    """Queue data in one step, and send a system message that is due while it is handled; repeatedly."""
    worker = Behind(max(256, backlog))
    times: list[float] = []
    async with open_runner(worker) as runner:
        for number in range(repetitions + 1):
            amount = backlog if number else min(backlog, WARM_UP)
            worker.handled, worker.expected = 0, amount
            worker.noted, worker.drained = trio.Event(), trio.Event()
            for _ in range(amount):
                runner.send_nowait(Chunk(target="target"))
            due = time.perf_counter() + INTO_BACKLOG
            await trio.sleep(INTO_BACKLOG)
            runner.send_nowait(Note(target="target"))
            await worker.noted.wait()
            if number:  # the first is to warm up
                times.append(worker.begun - due)
            if amount:
                await worker.drained.wait()
        await runner.cancel()
    return side.percentiles(times) | {"system": pack(times)}


async def cancel(backlog: int) -> dict[str, Any]:
    """Draw the two lanes round a cancel of the worker: when each handler ran."""
    data: list[list[float]] = []
    system: list[float] = []

    class Watched(Worker):
        @handles(Chunk)
        async def chunk(self, message: Chunk) -> None:
            data.append([time.perf_counter(), 0.0])
            try:
                await trio.sleep(0.001)
            finally:
                data[-1][1] = time.perf_counter()

        @handles(Note)
        async def note(self, message: Note) -> None:
            system.append(time.perf_counter())

    async with open_runner(Watched("target", mailbox_capacity=max(256, backlog))) as runner:
        for _ in range(backlog):
            runner.send_nowait(Chunk(target="target"))
        for _ in range(10):
            await trio.sleep(0.003)
            await runner.send(Note(target="target"))
        await trio.sleep(0.003)
        cancelled = time.perf_counter()
        # `cancel_worker` would let others run first.
        runner.send_nowait(BusCancelWorkerMessage(target="target"))
        await trio.sleep(0.1)
        await runner.cancel()
    return told_of_cancel(data, system, cancelled)


async def meter(count: int, metered: int) -> dict[str, Any]:
    """Send from one task to a worker, with or without a recorder: what measuring costs."""
    bus = RecordingBus() if metered else None
    worker = Behind(256)
    async with open_runner(bus=bus) as runner:
        if bus is not None:
            runner.add_instrument(Recorder(bus))
        await runner.add_workers(worker)
        started = 0.0
        for amount in (WARM_UP, count):
            worker.handled, worker.expected, worker.drained = 0, amount, trio.Event()
            started = time.perf_counter()
            for _ in range(amount):
                await runner.send(Chunk(target="target"))
            await worker.drained.wait()
        seconds = time.perf_counter() - started
        await runner.cancel()
    return {"message": seconds / count}


if __name__ == "__main__":
    cases = (backlog, cancel, meter)
    side.main(
        {"load": load_case, **{case.__name__: synchronous(case) for case in cases}},
        ["trio", "attrs", "cattrs", "hdrhistogram"],
    )
