"""Ctrl-C where nobody counts signals: it stops everything, and strikes in the user's code only."""

from __future__ import annotations

import functools
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.lowlevel import currently_ki_protected

from tests.lives import Actor, Do, DoNow
from trioworkers import (
    BusDataMessage,
    BusLocalMessage,
    BusMessage,
    Instrument,
    Job,
    JobCancelledError,
    Restart,
    Worker,
    WorkerReadyData,
    WorkerRunner,
    WorkerState,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers._interrupts import let_interrupt, notify, protected


def interrupt() -> None:
    """Let a Ctrl-C come now."""
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_anywhere(seed: int) -> None:
    """S-RUN-7: Ctrl-C at any step of a busy graph ends it, and nothing is left of it."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.interrupted", str(seed), "30"],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("30 runs\n", "")


@message
class Look(BusDataMessage, BusLocalMessage):
    """Look whether Ctrl-C may strike."""


class Curious(Worker):
    """Notes whether Ctrl-C may strike, in everything that a user writes."""

    def __init__(self, name: str, seen: dict[str, bool]) -> None:
        super().__init__(name)
        self.seen = seen
        self.event_handler("on_start")(self.in_an_event_handler)

    def look(self, where: str) -> None:
        self.seen[where] = currently_ki_protected()

    async def in_an_event_handler(self, _worker: Worker) -> None:
        self.look("event handler")

    async def on_start(self) -> None:
        self.look("on_start")

    async def on_stop(self) -> None:
        self.look("on_stop")

    @handles(Look)
    async def data(self, message: Look) -> None:
        self.look("data handler")

    @handles(DoNow)
    async def system(self, message: DoNow) -> None:
        self.look("system handler")

    @job()
    async def work(self, job: Job, payload: dict[str, Any]) -> None:
        self.look("job")


class Onlooker(Instrument):
    """Notes whether Ctrl-C may strike while it looks."""

    def __init__(self, seen: dict[str, bool]) -> None:
        self.seen = seen

    def message_sent(self, message: BusMessage) -> None:
        self.seen["instrument"] = currently_ki_protected()


async def test_the_users_code_can_be_interrupted() -> None:
    """S-RUN-7: an endless loop in whatever the user wrote can be interrupted."""
    seen: dict[str, bool] = {}

    def make() -> Worker:
        seen["factory"] = currently_ki_protected()
        return Curious("curious", seen)

    async def watch(_data: WorkerReadyData) -> None:
        seen["watch"] = currently_ki_protected()

    async def ready(_runner: WorkerRunner) -> None:
        seen["on_ready"] = currently_ki_protected()

    runner = WorkerRunner(handle_sigint=False)
    runner.add_instrument(Onlooker(seen))
    runner.event_handler("on_ready")(ready)
    await runner.registry.watch("curious", watch)
    await runner.add_workers(make, restart=Restart.TRANSIENT)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.send(Look(target="curious"))
        await runner.send(DoNow(target="curious"))
        await runner.ask("curious", "work")
        await trio.testing.wait_all_tasks_blocked()
        await runner.end()
    assert seen == dict.fromkeys(
        [
            *("factory", "on_start", "event handler", "watch", "on_ready", "instrument"),
            *("data handler", "system handler", "job", "on_stop"),
        ],
        False,
    )


async def spin(_worker: Worker) -> None:
    """Be interrupted in a loop that never ends."""
    interrupt()
    raise AssertionError("it is raised above")


async def test_a_loop_in_a_handler() -> None:
    """S-RUN-7: an interrupt in a handler is raised there, and leaves open_runner."""
    with pytest.raises(KeyboardInterrupt):
        async with open_runner(Actor("a")) as runner:
            await runner.send(Do(target="a", act=spin))
            await trio.sleep_forever()
    assert runner.state == "failed"


class Looping(Instrument):
    """Is interrupted where the framework is in the middle of something."""

    def __init__(self) -> None:
        self.states: list[str] = []

    def worker_state_changed(self, name: str, state: WorkerState) -> None:
        self.states.append(state)
        if state == "starting":
            interrupt()
            raise AssertionError("it is raised above")


def test_a_loop_in_an_instrument() -> None:
    """S-RUN-7: an interrupt in an instrument is raised in the main task: its caller goes on."""
    instrument = Looping()

    async def main() -> None:
        async with open_runner() as runner:
            runner.add_instrument(instrument)
            await runner.add_workers(Actor("a"))

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert instrument.states == ["starting", "ready", "ending", "cancelled"]


async def test_an_instrument_outside_of_our_steps() -> None:
    """S-RUN-7: an interrupt where nothing of ours is going on is raised there."""
    with pytest.raises(KeyboardInterrupt):
        notify(interrupt)


async def test_a_desk_without_the_request(autojump_clock: Any) -> None:
    """S-JOB-1: a request that its desk has lost gets its outcome when it is cancelled."""
    actor = Actor("a", max_concurrent_jobs=1)
    async with open_runner(actor) as runner, runner.job("a", "work", {"seconds": 1}):
        with pytest.raises(JobCancelledError):
            async with runner.job("a", "work", {}) as waiting:
                desk = actor._node.desk
                assert [request.id for request in desk.queue] == [waiting.id]
                desk.queue.clear()
                assert await runner.cancel_job(waiting.id)


async def test_marking_a_class() -> None:
    """Methods, properties and generators of a protected class are marked, and nothing of others."""

    @protected
    class Ours:
        attribute = 1

        @property
        def value(self) -> bool:
            return currently_ki_protected()

        @contextmanager
        def block(self) -> Iterator[bool]:
            yield currently_ki_protected()

    @contextmanager
    def foreign() -> Iterator[bool]:
        yield currently_ki_protected()

    with Ours().block() as inside, foreign() as outside:
        assert (Ours().value, inside, outside) == (True, True, False)


class Called:
    """Is a function, almost."""

    async def __call__(self) -> bool:
        return currently_ki_protected()


async def plain() -> bool:
    """Tell whether an interrupt may strike."""
    return currently_ki_protected()


@pytest.mark.parametrize("function", [plain, functools.partial(plain), Called(), Called().__call__])
async def test_marking_a_function(function: Any) -> None:
    """S-RUN-7: an interrupt may strike in a function of the user's, of whatever kind."""
    seen: list[bool] = []

    @protected
    class Ours:
        async def call(self) -> None:
            seen.append(await function())

    assert let_interrupt(function) is function
    await Ours().call()
    assert seen == [False]


def test_marking_what_is_written_in_c() -> None:
    """What has no Python code is left as it is."""
    assert let_interrupt(len) is len
