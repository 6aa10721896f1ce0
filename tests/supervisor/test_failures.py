"""Failures at awkward moments: nothing waits for ever, and no error is lost."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio

from trioworkers import (
    Backoff,
    BackpressureDeadlockError,
    BusDataMessage,
    Job,
    JobRefusedError,
    Restart,
    StopReason,
    Strategy,
    Worker,
    WorkerErrorData,
    WorkerRunner,
    _mailbox,  # the cap is looked up at each message
    handles,
    job,
    message,
    open_runner,
)

Act = Callable[[], Awaitable[object]]


@message
class Crash(BusDataMessage):
    """Make the worker fail."""


class Child(Worker):
    """Fails when told to, serves, and may do something when it cleans up."""

    on_the_way_out: Act | None = None

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise ValueError(self.name)

    @job()
    async def serve(self, job: Job, payload: dict[str, Any]) -> None: ...

    async def on_stop(self) -> None:
        if self.on_the_way_out is not None:
            await self.on_the_way_out()


class Parent(Child):
    """Adds one child, and does something when it fails."""

    backoff = Backoff(initial=1)

    def __init__(self, child: Worker, restart: Restart | None, act: Act | None = None) -> None:
        super().__init__("parent")
        self.child = child
        self.restart = restart
        self.act = act

    async def on_start(self) -> None:
        await self.add_workers(self.child, restart=self.restart)


class Watching(Parent):
    """Acts when its child fails."""

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        assert self.act is not None
        await self.act()


@pytest.mark.parametrize("how", ["ask", "wait_ready"])
async def test_the_hook_cannot_wait_for_the_child_it_judges(
    how: str, autojump_clock: object
) -> None:
    """A hook that waits for the child whose restart waits for the hook is refused (S-MAIL-12)."""
    refused: list[Exception] = []

    async def wait() -> None:
        try:
            if how == "ask":
                await parent.ask("child", "serve")
            else:
                await parent.registry.wait_ready("child")
        except (JobRefusedError, BackpressureDeadlockError) as error:
            refused.append(error)

    parent = Watching(Child("child"), Restart.PERMANENT, wait)
    with trio.fail_after(10):
        async with open_runner(parent) as runner:
            await runner.send(Crash(target="child"))
            await trio.sleep(5)
            assert await runner.ask("child", "serve") == {}
    assert "child -> child" in str(refused[0])


async def test_others_can_wait_for_the_child_that_is_judged(autojump_clock: object) -> None:
    """A request from elsewhere waits for the hook, the restart, and is served (S-MAIL-1)."""
    parent = Watching(Child("child"), Restart.PERMANENT, partial(trio.sleep, 3))
    async with open_runner(parent) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(1)
        assert await runner.ask("child", "serve") == {}
        assert trio.current_time() > 3


async def test_overlapping_additions_leave_no_false_circle(autojump_clock: object) -> None:
    """A parent that once added children can ask one that waits for its restart (S-MAIL-12)."""

    class Slow(Child):
        async def on_start(self) -> None:
            await trio.sleep(2)

    class Busy(Child):
        backoff = Backoff(initial=1)

        async def on_start(self) -> None:
            self.nursery.start_soon(self.later)
            await self.add_workers(Slow("a"), restart=Restart.PERMANENT)

        async def later(self) -> None:
            await trio.sleep(1)
            await self.add_workers(Slow("b"), restart=Restart.PERMANENT)

        async def on_activated(self, args: Any) -> None:
            await self.registry.wait_ready("b")
            self.send_nowait(Crash(target="b"))
            await trio.sleep(0.1)
            self.answer = await self.ask("b", "serve")

    busy = Busy("busy")
    async with open_runner(busy):
        await trio.sleep(20)
    assert busy.answer == {}


async def test_a_hook_that_raises_does_not_hide_the_failure(autojump_clock: object) -> None:
    """The parent fails with the child's error and with the hook's (S-LIFE-10)."""

    async def fail() -> None:
        raise RuntimeError("hook")

    with pytest.RaisesGroup(ValueError, RuntimeError):
        async with open_runner(Watching(Child("child"), None, fail)) as runner:
            await runner.send(Crash(target="child"))
            await trio.sleep_forever()


async def test_a_parent_that_cannot_be_asked_has_not_handled_the_failure(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure that finds the parent's system lane full goes on (S-LIFE-10)."""
    monkeypatch.setattr(_mailbox, "SYSTEM_LANE_LIMIT", 0)
    parent = Watching(Child("child"), None, trio.sleep_forever)
    with pytest.RaisesGroup(ValueError):
        async with open_runner(parent) as runner:
            await runner.send(Crash(target="child"))
            await trio.sleep_forever()


async def test_a_child_is_restarted_also_if_its_parent_cannot_be_asked(
    autojump_clock: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full system lane of the parent keeps no child from its restart (S-SUP-3)."""
    monkeypatch.setattr(_mailbox, "SYSTEM_LANE_LIMIT", 0)
    async with open_runner(Watching(Child("child"), Restart.PERMANENT)) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(5)
        assert await runner.ask("child", "serve") == {}


async def test_a_hook_that_is_cut_off_has_not_handled_the_failure(autojump_clock: object) -> None:
    """A failure whose hook was cancelled is raised, not lost (S-LIFE-10)."""
    with pytest.RaisesGroup(ValueError):
        async with open_runner(Watching(Child("child"), None, trio.sleep_forever)) as runner:
            await runner.send(Crash(target="child"))
            await trio.sleep(1)
            await runner.cancel()


async def test_a_restart_that_is_cut_off_is_no_failure(autojump_clock: object) -> None:
    """A child that would have been restarted is no failure of a runner that is cancelled (S-SUP-1)."""
    parent = Watching(Child("child"), Restart.TRANSIENT, trio.sleep_forever)
    async with open_runner(parent) as runner:
        await runner.send(Crash(target="child"))
        await trio.sleep(1)
        await runner.cancel()


async def test_the_clean_up_of_a_child_of_a_failing_parent(autojump_clock: object) -> None:
    """What a child's `on_stop` raises while its parent fails is in the group too (S-LIFE-10)."""
    child = Child("child")

    async def fail() -> None:
        raise KeyError("clean-up")

    child.on_the_way_out = fail
    with pytest.RaisesGroup(ValueError, KeyError):
        async with open_runner(Parent(child, None)) as runner:
            await runner.send(Crash(target="parent"))
            await trio.sleep_forever()


async def test_the_clean_up_of_a_sibling_is_logged(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """What `on_stop` raises in a child that is stopped for a sibling's restart is logged (S-SUP-1)."""

    class All(Worker):
        strategy = Strategy.ONE_FOR_ALL

        async def on_start(self) -> None:
            await self.add_workers(Child("a"), second, restart=Restart.PERMANENT)

    async def fail() -> None:
        second.on_the_way_out = None
        raise KeyError("clean-up")

    second = Child("b")
    second.on_the_way_out = fail
    async with open_runner(All("all")) as runner:
        await runner.send(Crash(target="a"))
        await trio.sleep(5)
        assert await runner.ask("b", "serve") == {}
    assert "b failed when it was stopped" in caplog.text
    assert "KeyError: 'clean-up'" in caplog.text


@pytest.mark.parametrize("restart", [Restart.TRANSIENT, Restart.TEMPORARY])
async def test_a_failure_that_is_dealt_with_is_logged(
    restart: Restart, autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A supervised child's failure is in the log, with its traceback (S-SUP-3)."""
    with caplog.at_level(logging.WARNING):
        async with open_runner(Parent(Child("child"), restart)) as runner:
            await runner.send(Crash(target="child"))
            await trio.sleep(5)
    assert "ValueError: child" in caplog.text


async def test_a_clean_up_cannot_ask_who_waits_for_it(autojump_clock: object) -> None:
    """A child's `on_stop` that asks its failing parent is refused at once (S-MAIL-12)."""
    child = Child("child")
    waited: list[float] = []

    async def ask() -> None:
        began = trio.current_time()
        with pytest.raises(JobRefusedError, match="deadlock"):
            await child.ask("parent", "serve")
        waited.append(trio.current_time() - began)

    child.on_the_way_out = ask
    async with open_runner() as runner:
        await runner.add_workers(Parent(child, None), restart=Restart.TRANSIENT)
        await runner.send(Crash(target="parent"))
        await trio.sleep(5)
        child.on_the_way_out = None
    assert waited == [0]


async def test_the_reason_of_a_worker_that_was_starting(autojump_clock: object) -> None:
    """A runner that is cancelled while a worker starts is the worker's reason (S-LIFE-9)."""

    class Never(Worker):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    worker = Never("worker")
    runner = WorkerRunner("runner", handle_sigint=False)
    await runner.add_workers(worker)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        await runner.cancel("maintenance")
    assert worker.stop_reason == StopReason("cancelled", "maintenance", "runner")


async def test_a_failing_parent_does_not_wait_past_the_cut_off(autojump_clock: object) -> None:
    """Children that ignore the cut-off hold up neither the stop of others nor each other (S-LIFE-8)."""

    class Stubborn(Child):
        async def on_activated(self, args: Any) -> None:
            with trio.CancelScope(shield=True):
                await trio.sleep(20)

    class Pair(Child):
        async def on_start(self) -> None:
            await self.add_workers(Child("first"), Stubborn("second"))

    with pytest.RaisesGroup(ValueError):
        async with open_runner(Pair("pair"), cancel_grace=1) as runner:
            await runner.send(Crash(target="pair"))
            await trio.sleep(5)
            assert runner.get_worker("first") is None
            assert runner.get_worker("second") is not None
            await trio.sleep_forever()
    assert trio.current_time() == 20
