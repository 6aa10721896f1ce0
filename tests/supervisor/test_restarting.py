"""Restarts: how long they wait, and that nothing can make them spin."""

from __future__ import annotations

import pytest
import trio

from trioworkers import (
    Backoff,
    BusDataMessage,
    Instrument,
    Restart,
    RestartIntensityExceeded,
    Worker,
    WorkerErrorData,
    handles,
    message,
    open_runner,
)


@message
class Crash(BusDataMessage):
    """Make the worker fail."""


class Restless(Worker):
    """Comes to life, and fails when told to or at once."""

    def __init__(self, name: str, log: list[str], *, at_once: bool = False) -> None:
        super().__init__(name)
        self.log = log
        self.at_once = at_once

    async def on_activated(self, args: object) -> None:
        self.log.append("alive")
        if self.at_once:
            raise ValueError("at once")

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise ValueError("told to")


class Boss(Worker):
    """Restarts its child without end and without delay."""

    max_restarts = 1_000_000
    backoff = Backoff(initial=0, reset_after=100)

    def __init__(self, child: Worker) -> None:
        super().__init__("boss")
        self.child = child

    async def on_start(self) -> None:
        await self.add_workers(self.child, restart=Restart.PERMANENT)


class Patient(Boss):
    """Waits before a restart: 1, 2, 4, then 5 seconds, without jitter."""

    backoff = Backoff(initial=1, maximum=5, jitter=0, reset_after=100)


async def test_a_restart_loop_lets_others_run_and_can_be_cancelled(
    autojump_clock: object,
) -> None:
    """A child that fails at once, for ever, holds up neither its neighbours nor a cancel (S-SUP-5)."""
    log: list[str] = []
    with trio.CancelScope() as scope:
        async with open_runner(Boss(Restless("child", log, at_once=True))):
            for _ in range(100):
                await trio.lowlevel.checkpoint()
            scope.cancel()
            lives = len(log)
            for _ in range(100):
                await trio.lowlevel.cancel_shielded_checkpoint()
            assert len(log) == lives
    assert 1 < lives < 100


async def test_nothing_restarts_in_a_cancelled_scope(autojump_clock: object) -> None:
    """A cancel in the middle of a backoff leaves no life to come (S-SUP-5)."""
    log: list[str] = []
    async with open_runner(Patient(Restless("child", log))) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(0.5)
        await runner.cancel()
        await runner.wait_stopped()
        assert trio.current_time() < 1
        await trio.sleep(10)
    assert log == ["alive"]


@pytest.mark.parametrize(("pause", "survives"), [(5.0, False), (5.125, True)])
async def test_the_period_includes_its_ends(
    autojump_clock: object, pause: float, survives: bool
) -> None:
    """A restart exactly `period` ago still counts, as in OTP, and one before that does not (S-SUP-6)."""

    class Strict(Boss):
        max_restarts = 1
        period = 5.0
        backoff = Backoff(initial=0)

    log: list[str] = []
    gave_up = False
    try:
        async with open_runner(Strict(Restless("child", log))) as runner:
            for wait in (pause, 1):
                await runner.send(Crash(target="child"))
                await trio.sleep(wait)
    except* RestartIntensityExceeded:
        gave_up = True
    assert gave_up is not survives
    assert log == ["alive"] * (2 + survives)


class Delays(Instrument):
    """Notes the delays of restarts."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
        self.seen.append(delay)


async def test_the_delay_grows_and_begins_again_after_good_health(
    autojump_clock: object,
) -> None:
    """The backoff doubles up to its maximum; a child that was healthy begins again (S-SUP-1)."""
    delays = Delays()
    async with open_runner(Patient(Restless("child", []))) as runner:
        runner.add_instrument(delays)
        for pause in (6, 6, 6, 6, 200, 6):
            await runner.send(Crash(target="child"))
            await trio.sleep(pause)
    assert delays.seen == [1, 2, 4, 5, 5, 1]


async def test_the_hook_runs_before_the_restart(autojump_clock: object) -> None:
    """`on_worker_failed` has returned before the child lives again (S-SUP-3)."""
    log: list[str] = []

    class Watching(Boss):
        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            assert isinstance(data.exception, ValueError)
            await trio.sleep(3)
            log.append(f"{data.worker_name} failed")

    async with open_runner(Watching(Restless("child", log))) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(10)
    assert log == ["alive", "child failed", "alive"]


async def test_a_function_that_makes_another_name_fails_the_start(autojump_clock: object) -> None:
    """A function that does not keep the name is a failed start, with a reason (S-SUP-1)."""
    names = iter(["child", "other", "child"])
    log: list[str] = []

    class Parent(Worker):
        errors: list[str] = []  # noqa: RUF012 - one per class is enough here

        async def on_start(self) -> None:
            await self.add_workers(lambda: Restless(next(names), log), restart=Restart.PERMANENT)

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            self.errors.append(data.error)

    async with open_runner(Parent("parent")) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(10)
    assert log == ["alive", "alive"]
    assert "must keep the name" in Parent.errors[1]
