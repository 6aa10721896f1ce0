"""`wait_idle`: it waits for everything that a runner has to do, and for no time."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints

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
from trioworkers.testing import Probe, wait_idle


@message
class Work(BusDataMessage):
    seconds: float


@message
class Urgent(BusSystemMessage):
    seconds: float


class Sleeper(Worker):
    @handles(Work)
    async def work(self, message: Work) -> None:
        await trio.sleep(message.seconds)

    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None:
        await trio.sleep(message.seconds)

    @job()
    async def nap(self, job: Job, payload: dict[str, Any]) -> None:
        await trio.sleep(payload["seconds"])


@pytest.fixture
async def sleeper(worker_runner: WorkerRunner) -> Sleeper:
    """Add a worker with little room to the runner."""
    sleeper = Sleeper("sleeper", mailbox_capacity=2, max_concurrent_jobs=1)
    await worker_runner.add_workers(sleeper)
    return sleeper


async def test_waits_for_the_lanes(
    worker_runner: WorkerRunner, sleeper: Sleeper, autojump_clock: MockClock
) -> None:
    """Messages that are handled, queued and waiting for room are all waited for."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(worker_runner.send, Work(target="sleeper", seconds=10))
        await trio.testing.wait_all_tasks_blocked()
        await wait_idle(worker_runner)
        assert trio.current_time() == began + 50


async def test_waits_for_the_system_lane(
    worker_runner: WorkerRunner, sleeper: Sleeper, autojump_clock: MockClock
) -> None:
    """A system handler that runs beside a data handler, or alone, is waited for."""
    began = trio.current_time()
    await worker_runner.send(Work(target="sleeper", seconds=10))
    await trio.testing.wait_all_tasks_blocked()
    await worker_runner.send(Urgent(target="sleeper", seconds=20))
    await worker_runner.send(Urgent(target="sleeper", seconds=20))
    await wait_idle(worker_runner)
    assert trio.current_time() == began + 40


async def test_waits_for_jobs(
    worker_runner: WorkerRunner, sleeper: Sleeper, autojump_clock: MockClock
) -> None:
    """Jobs that run, and jobs that wait for a job slot, are waited for."""
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(worker_runner.ask, "sleeper", "nap", {"seconds": 10})
        await trio.testing.wait_all_tasks_blocked()
        await wait_idle(worker_runner)
        assert trio.current_time() == began + 20


async def test_waits_for_every_worker(
    worker_runner: WorkerRunner, sleeper: Sleeper, autojump_clock: MockClock
) -> None:
    """The runner is idle when the last of its workers is, children included."""
    await sleeper.add_workers(Sleeper("child"))
    began = trio.current_time()
    for seconds, name in enumerate(("sleeper", "child", "sleeper", "child"), start=1):
        await worker_runner.send(Work(target=name, seconds=seconds))
    await wait_idle(worker_runner)
    assert trio.current_time() == began + 6


async def test_waits_for_starts_and_ends(autojump_clock: MockClock) -> None:
    """A worker that starts or ends is waited for."""

    class Slow(Worker):
        async def on_start(self) -> None:
            await trio.sleep(10)

        async def on_stop(self) -> None:
            await trio.sleep(5)

    async with open_runner() as runner, trio.open_nursery() as nursery:
        began = trio.current_time()
        nursery.start_soon(runner.add_workers, Slow("slow"))
        await trio.testing.wait_all_tasks_blocked()
        await wait_idle(runner)
        assert trio.current_time() == began + 10
        await runner.end_worker("slow")
        await wait_idle(runner)
        assert trio.current_time() == began + 15


async def test_is_a_checkpoint(worker_runner: WorkerRunner) -> None:
    """Waiting for an idle runner is a checkpoint, and ends at once."""
    with assert_checkpoints():
        await wait_idle(worker_runner)


async def test_stopped_runner_is_idle() -> None:
    """A runner that has stopped is idle."""
    async with open_runner(Probe("probe")) as runner:
        pass
    await wait_idle(runner)


async def test_others_may_be_busy(worker_runner: WorkerRunner) -> None:
    """Tasks and runners beside the runner do not hold it up."""
    async with open_runner(Sleeper("sleeper")) as other, trio.open_nursery() as nursery:

        async def spin() -> None:
            for _ in itertools.count():
                await trio.lowlevel.checkpoint()

        nursery.start_soon(spin)
        await other.send(Work(target="sleeper", seconds=3600))
        await wait_idle(worker_runner)
        nursery.cancel_scope.cancel()
        await other.cancel()


async def test_work_that_makes_work(worker_runner: WorkerRunner, autojump_clock: MockClock) -> None:
    """Messages that a handler sends are waited for as well."""

    class Countdown(Worker):
        @handles(Work)
        async def work(self, message: Work) -> None:
            if message.seconds:
                await trio.sleep(1)
                await self.send(Work(target=self.name, seconds=message.seconds - 1))

    await worker_runner.add_workers(Countdown("countdown"))
    began = trio.current_time()
    await worker_runner.send(Work(target="countdown", seconds=10))
    await wait_idle(worker_runner)
    assert trio.current_time() == began + 10


async def test_cancelled_wait_leaves_nothing(
    worker_runner: WorkerRunner, sleeper: Sleeper, autojump_clock: MockClock
) -> None:
    """A wait can be cancelled, and leaves no instrument behind."""
    await worker_runner.send(Work(target="sleeper", seconds=100))
    with trio.move_on_after(1) as scope:
        await wait_idle(worker_runner)
    assert scope.cancelled_caught
    await wait_idle(worker_runner)


@pytest.mark.parametrize("where", ["data", "system", "job", "hook"])
async def test_inside_a_worker_is_refused(worker_runner: WorkerRunner, where: str) -> None:
    """A handler, hook or job would wait for itself, and is told so."""
    told: list[str] = []

    class Waiter(Worker):
        async def try_it(self) -> None:
            with pytest.raises(RuntimeError, match="inside worker 'waiter'") as caught:
                await wait_idle(self.runner)
            told.append(str(caught.value))

        async def on_start(self) -> None:
            if where == "hook":
                await self.try_it()

        @handles(Work)
        async def work(self, message: Work) -> None:
            if where == "data":
                await self.try_it()
            await trio.lowlevel.checkpoint()
            await trio.lowlevel.checkpoint()

        @handles(Urgent)
        async def urgent(self, message: Urgent) -> None:
            if where == "system":
                await self.try_it()

        @job()
        async def serve(self, job: Job, payload: dict[str, Any]) -> None:
            if where == "job":
                await self.try_it()

    await worker_runner.add_workers(Waiter("waiter"))
    await worker_runner.send(Work(target="waiter", seconds=0))
    await trio.lowlevel.checkpoint()
    await worker_runner.send(Urgent(target="waiter", seconds=0))
    await worker_runner.ask("waiter", "serve")
    await wait_idle(worker_runner)
    assert len(told) == 1
