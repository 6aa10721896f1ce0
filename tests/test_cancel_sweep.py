"""One busy scenario, cancelled at each of its steps in turn."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.lives import Actor, Do, DoNow, Guardian, Interrupt, assert_empty, crash, parent_of, sleep
from trioworkers import Backoff, JobError, Restart, WorkerRunner, WorkersError

GRACE = 2.0


class Keeper(Guardian):
    backoff = Backoff(initial=0.2, jitter=0)


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks, and does something after one of them."""

    def __init__(self, at: int, act: Callable[[], object]) -> None:
        self.count = 0
        self._at = at
        self._act = act

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count == self._at:
            self._act()


class Scenario:
    """A tree with a restart, jobs, messages of all kinds, and an end."""

    def __init__(self) -> None:
        self.runner = WorkerRunner("sweep", handle_sigint=False, cancel_grace=GRACE)
        self.actors: list[Actor] = []
        self.using = trio.CancelScope()
        self.asked = 0
        self.outcomes: list[str] = []
        self.returned = self.crashed = False

    def make(self, name: str, kind: type[Actor] = Actor, **acts: Any) -> Actor:
        self.actors.append(kind(name, stop=sleep(0.1), **acts))
        return self.actors[-1]

    async def ask(self, name: str, job: str) -> None:
        self.asked += 1
        try:
            await self.runner.ask(name, job, {"seconds": 0.5})
        except JobError as error:
            self.outcomes.append(type(error).__name__)
        except trio.Cancelled:
            self.outcomes.append("cancelled")
            raise
        else:
            self.outcomes.append("completed")

    async def use(self) -> None:
        runner = self.runner
        async with trio.open_nursery() as nursery:
            for name in ("child", "other"):
                nursery.start_soon(self.ask, name, "work")
                nursery.start_soon(self.ask, name, "shielded_work")
            await runner.send(Do(target="other", act=sleep(1)))
            await runner.send(DoNow(target="other", act=sleep(0.1)))
            await trio.sleep(0.3)
            await runner.send(Interrupt(target="other"))
            await runner.send(Do(target="child", act=crash))
            await trio.sleep(0.7)
            nursery.start_soon(self.ask, "child", "work")
        await runner.end()

    async def play(self) -> None:
        child = self.make("child")
        keeper = self.make("keeper", Keeper, start=parent_of(child, restart=Restart.PERMANENT))
        # Refused if the runner is cancelled already.
        with contextlib.suppress(RuntimeError):
            await self.runner.add_workers(keeper, self.make("other"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.use_soon)
            try:
                await self.runner.run(auto_end=False)
            except* ValueError:
                # The child's crash goes up if nobody is left to restart it.
                self.crashed = True
            self.returned = True
            self.using.cancel()

    async def use_soon(self) -> None:
        with self.using:
            with contextlib.suppress(WorkersError, RuntimeError, trio.ClosedResourceError):
                await self.runner.registry.wait_ready("other")
                await self.use()

    def check(self) -> None:
        assert_empty(self.runner)
        assert len(self.outcomes) == self.asked
        for actor in self.actors:
            assert actor.log.count("start") == actor.log.count("stop")
            assert actor.state in ("stopped", "cancelled", "failed", "added")


def sweep(at: int, how: str) -> tuple[int, Scenario]:
    """Play the scenario, and cancel it after a step; return how many steps there were."""
    scenario = Scenario()
    cancelled_at = 0.0

    async def main() -> None:
        nonlocal cancelled_at
        with trio.CancelScope() as scope:

            def cancel() -> None:
                nonlocal cancelled_at
                cancelled_at = trio.current_time()
                if how == "host":
                    scope.cancel()
                elif not scenario.runner._stopped.is_set():
                    scenario.runner._root.cancel("swept", "test")

            steps._act = cancel
            await scenario.play()
        assert cancelled_at == 0.0 or trio.current_time() - cancelled_at <= GRACE + 1e-6

    steps = Steps(at, lambda: None)
    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=[steps])
    return steps.count, scenario


def test_the_scenario_itself() -> None:
    """S-JOB-3: uncancelled, the scenario restarts its child, and each job has one outcome."""
    _, scenario = sweep(0, "nobody")
    scenario.check()
    assert scenario.returned
    assert not scenario.crashed
    assert scenario.actors[0].log == ["start", "stop", "start", "stop"]
    assert sorted(scenario.outcomes) == ["WorkerGoneError"] + ["completed"] * 4


@pytest.mark.parametrize("how", ["host", "runner"])
def test_cancelled_at_each_step(how: str) -> None:
    """S-LIFE-8, S-RUN-3, S-JOB-3: wherever it is cancelled, nothing is left and run() returns."""
    count, _ = sweep(0, "nobody")
    assert count > 60
    for at in 3 * list(range(1, count + 1)):  # in different orders of the same steps
        _, scenario = sweep(at, how)
        if scenario.runner._stopped.is_set():
            scenario.check()
        else:
            assert not any(actor.log for actor in scenario.actors)
        assert scenario.returned or how == "host"
