"""Restarts: how long they wait, and that nothing can make them spin."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio

from trioworkers import (
    Backoff,
    BusDataMessage,
    BusSystemMessage,
    Instrument,
    Job,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Worker,
    WorkerErrorData,
    handles,
    job,
    message,
    open_runner,
)


@message
class Crash(BusDataMessage):
    """Make the worker fail."""


@message
class Tick(BusDataMessage):
    """Something to handle."""


@message
class TickNow(BusSystemMessage):
    """Something to handle at once."""


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


class Busy(Worker):
    """Handles and serves, and fails when told to."""

    @handles(Tick)
    async def tick(self, message: Tick) -> None: ...

    @handles(TickNow)
    async def tick_now(self, message: TickNow) -> None: ...

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise ValueError("told to")

    @job()
    async def serve(self, job: Job, payload: dict[str, Any]) -> None: ...


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


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"active": False}, "made one with active=False, and before one with active=True: "),
        ({"mailbox_capacity": 2}, "mailbox_capacity=2, and before one with mailbox_capacity=256: "),
        ({"overflow": "refuse"}, "overflow='refuse', and before one with overflow='wait': "),
    ],
)
async def test_a_function_that_makes_other_settings_fails_the_start(
    settings: dict[str, Any], text: str, autojump_clock: object
) -> None:
    """What a restart keeps cannot change with it: that is a failed start, with a reason (S-SUP-1)."""
    made: Iterator[dict[str, Any]] = iter([{}, settings, {"max_concurrent_jobs": 2}])
    errors: list[str] = []

    class Child(Worker):
        def __init__(self) -> None:
            super().__init__("child", **next(made))

        @handles(Crash)
        async def crash(self, message: Crash) -> None:
            raise ValueError("told to")

    class Parent(Boss):
        async def on_start(self) -> None:
            await self.add_workers(Child, restart=Restart.PERMANENT)

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            errors.append(data.error)

    async with open_runner(Parent(Worker("unused"))) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(10)
        assert runner.get_worker("child") is not None
    assert [text in error for error in errors] == [False, True]


async def test_counts_survive_a_restart(autojump_clock: object) -> None:
    """What a worker has handled and served adds up over its lives, and is known afterwards (S-SUP-4)."""
    child = Busy("child")
    async with open_runner(Boss(child)) as runner:
        for _ in range(2):
            await runner.send(Tick(target="child"))
            await runner.send(TickNow(target="child"))
            await runner.ask("child", "serve")
            await runner.send(Crash(target="child"))
            await trio.sleep(1)
        counts = child.statistics()
        assert (counts.restarts, counts.handled, counts.jobs_served) == (2, 4, 2)
        await runner.send(Tick(target="child"))
        await trio.sleep(1)
        await runner.end_worker("child")
        await child.wait_stopped()
    counts = child.statistics()
    assert (counts.restarts, counts.handled, counts.jobs_served) == (2, 5, 2)


async def test_counts_survive_a_rest(autojump_clock: object) -> None:
    """A child that has ended and is started with its siblings goes on with its counts (S-SUP-4)."""

    class All(Worker):
        strategy = Strategy.ONE_FOR_ALL

        async def on_start(self) -> None:
            await self.add_workers(first, second, restart=Restart.TRANSIENT)

    first, second = Busy("first"), Busy("second")
    async with open_runner(All("all")) as runner:
        for worker in (first, second):
            await runner.send(Tick(target=worker.name))
        await runner.ask("first", "serve")
        for worker in (first, second):
            await worker.stop()
            await worker.wait_stopped()
            await trio.sleep(1)
            if worker is first:
                await runner.send(Crash(target="second"))
                await trio.sleep(5)
        assert runner.get_worker("first") is first
        await runner.send(Crash(target="first"))
        await trio.sleep(5)
        counts = [worker.statistics() for worker in (first, second)]
    assert [(each.restarts, each.handled, each.jobs_served) for each in counts] == [
        (2, 1, 1),
        (2, 1, 0),
    ]
