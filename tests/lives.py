"""Workers that do what a test tells them, in any hook or handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from trioworkers import (
    BusDataMessage,
    BusLocalMessage,
    BusSystemMessage,
    DeadLetter,
    Instrument,
    Job,
    Worker,
    WorkerErrorData,
    WorkerRunner,
    WorkerState,
    handles,
    job,
    message,
)

Act = Callable[[Any], Awaitable[object]]


async def nothing(_worker: Any) -> None:
    """Do nothing."""


async def forever(_worker: Any) -> None:
    """Wait until cancelled."""
    await trio.sleep_forever()


async def crash(_worker: Any) -> None:
    """Fail."""
    raise ValueError("crash")


def sleep(seconds: float) -> Act:
    """Make an act that sleeps."""

    async def act(_worker: Any) -> None:
        await trio.sleep(seconds)

    return act


def stubborn(seconds: float) -> Act:
    """Make an act that cannot be cancelled for a while."""

    async def act(_worker: Any) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    return act


async def until(condition: Callable[[], bool]) -> None:
    """Wait, pass by pass of the scheduler, for something that tells nobody."""
    while True:
        if condition():
            return
        await trio.lowlevel.checkpoint()


def note(log: list[Any], what: object) -> Act:
    """Make an act that writes something down."""

    async def act(_worker: Any) -> None:
        log.append(what)

    return act


@message
class Do(BusDataMessage, BusLocalMessage):
    """Do something as a data message."""

    act: Act = nothing


@message
class DoNow(BusSystemMessage, BusLocalMessage):
    """Do something as a system message."""

    act: Act = nothing


@message
class Interrupt(BusSystemMessage, BusLocalMessage):
    """Do something instead of the data message in progress."""

    act: Act = nothing


class Actor(Worker):
    """Does what its messages, jobs and constructor say."""

    def __init__(
        self,
        name: str = "actor",
        *,
        start: Act = nothing,
        stop: Act = nothing,
        activated: Act = nothing,
        **settings: Any,
    ) -> None:
        super().__init__(name, **settings)
        self.start = start
        self.at_stop = stop
        self.activated = activated
        self.log: list[Any] = []

    async def on_start(self) -> None:
        self.log.append("start")
        await self.start(self)

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        await self.activated(self)

    async def on_stop(self) -> None:
        self.log.append("stop")
        await self.at_stop(self)

    @handles(Do)
    async def do(self, message: Do) -> None:
        await message.act(self)

    @handles(DoNow)
    async def do_now(self, message: DoNow) -> None:
        await message.act(self)

    @handles(Interrupt, interrupt=True)
    async def interrupted(self, message: Interrupt) -> None:
        await message.act(self)

    @job()
    async def work(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        await trio.sleep(payload.get("seconds", 0))
        return {"by": self.name}

    @job()
    async def shielded_work(self, job: Job, payload: dict[str, Any]) -> None:
        with self.cleanup():
            await trio.sleep(payload["seconds"])


class Guardian(Actor):
    """Handles the failures of its children."""

    def __init__(self, name: str = "guardian", *, failed: Act = nothing, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.failed = failed
        self.failures: list[WorkerErrorData] = []

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        self.failures.append(data)
        await self.failed(self)


def parent_of(*children: Any, restart: Any = None) -> Act:
    """Make an act, for a start, that adds children."""

    async def act(worker: Worker) -> None:
        await worker.add_workers(*children, restart=restart)

    return act


class Tracer(Instrument):
    """Writes down the states of workers, and the dead letters."""

    def __init__(self, runner: WorkerRunner | None = None) -> None:
        self.states: list[tuple[str, str]] = []
        self.letters: list[DeadLetter] = []
        if runner is not None:
            runner.add_instrument(self)

    def worker_state_changed(self, worker: str, state: WorkerState) -> None:
        self.states.append((worker, str(state)))

    def dead_letter(self, letter: DeadLetter) -> None:
        self.letters.append(letter)

    def of(self, worker: str) -> list[str]:
        """Return the states of one worker."""
        return [state for name, state in self.states if name == worker]

    @property
    def reasons(self) -> list[str]:
        """Return why messages became dead letters."""
        return [letter.reason for letter in self.letters]


def assert_empty(runner: WorkerRunner) -> None:
    """Check that a runner which has stopped left nothing in its tables."""
    bus = runner.bus
    assert runner.children == {}
    assert runner.registry.entries() == ()
    assert not runner.registry._starters
    assert not bus._routes
    assert not bus._boxes
    assert not any(bus._listeners.values())
    assert not bus.open_requests
    assert not bus.waits.edges
    assert not runner._context.shields
