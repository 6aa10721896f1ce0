"""Reports of tasks that do not stop."""

from __future__ import annotations

import time
from typing import Any

import pytest
import trio
from trio._core._run import GLOBAL_RUN_CONTEXT

from tests.lives import Actor, Do, forever, nothing, parent_of, sleep, stubborn
from trioworkers import WorkerRunner, open_runner


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the first lines of the reports."""
    texts = [record.getMessage() for record in caplog.records]
    return [text.splitlines()[0] for text in texts if "past its grace period" in text]


async def test_a_handler_that_swallows_cancellation(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-LIFE-11: it is reported once, after the grace period, with name, time and stack."""

    async def swallow(_me: Actor) -> None:
        for _ in range(3):
            with pytest.raises(trio.Cancelled):
                await trio.sleep_forever()
        with trio.CancelScope(shield=True):
            await trio.sleep(20)

    async with open_runner(Actor(), cancel_grace=2) as runner:
        await runner.send(Do(target="actor", act=swallow))
        await trio.sleep(1)
        await runner.cancel_worker("actor")
        await trio.sleep(2)
        assert reports(caplog) == []
        await trio.sleep(1)
        (line,) = reports(caplog)
    assert f"worker {runner.name}/actor has not stopped for 2.000 s" in line
    assert "in swallow" in caplog.text
    assert len(reports(caplog)) == 1


async def test_all_that_is_left_below_is_reported(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-LIFE-11: children and background tasks are named too, those that stopped are not."""
    child, quick = Actor("child"), Actor("quick")
    actor = Actor(start=parent_of(child, quick))
    async with open_runner(actor, cancel_grace=2) as runner:
        child.nursery.start_soon(stubborn(20), child, name="in the background")
        await trio.sleep(1)
        await runner.cancel_worker("actor")
        await trio.sleep(4)
    lines = reports(caplog)
    assert [line.split(" has not")[0] for line in lines] == [
        f"worker {runner.name}/actor",
        f"worker {runner.name}/actor/child",
        "in the background",
    ]


async def test_an_end_is_watched_until_its_cut_off(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-LIFE-11: after an end the report comes after deadline and grace; a cancel hastens it."""
    async with open_runner(Actor("a"), Actor("b"), cancel_grace=2) as runner:
        for name in ("a", "b"):
            await runner.send(Do(target=name, act=stubborn(30)))
        await trio.sleep(1)
        await runner.end_worker("a", deadline=10)
        await runner.end_worker("b", deadline=10)
        await trio.sleep(5)
        await runner.cancel_worker("b")
        await trio.sleep(3)
        assert [f"{runner.name}/b" in line for line in reports(caplog)] == [True]
        await trio.sleep(7)
        assert [f"{runner.name}/a" in line for line in reports(caplog)] == [False, True]


async def test_a_handler_that_blocks_the_loop(caplog: pytest.LogCaptureFixture) -> None:
    """S-LIFE-11: a step longer than the grace is reported after it, with its name."""

    async def block(_me: Actor) -> None:
        time.sleep(0.03)  # noqa: ASYNC251 - blocking is the point

    async with open_runner(Actor(), cancel_grace=0.015) as runner:
        await runner.send(Do(target="actor", act=block))
        await trio.sleep(0.05)
        assert reports(caplog) == []
        await runner.send(Do(target="actor", act=block))
    lines = [line for line in reports(caplog) if "blocked the loop" in line]
    assert any(line.startswith(f"worker {runner.name}/actor blocked") for line in lines)


async def test_no_grace_reports_nothing_that_is_quick(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-LIFE-11: with cancel_grace=0 an ordinary step is not reported."""
    async with open_runner(Actor(stop=nothing), cancel_grace=0) as runner:
        await runner.send(Do(target="actor"))
    assert reports(caplog) == []


async def test_nothing_is_timed_before_or_after_the_run(autojump_clock: Any) -> None:
    """S-RUN-3: an end before the run installs no instrument; after the run none is left."""
    actor = Actor(stop=sleep(1))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(actor, Actor("other"))
    await runner.end()
    assert instruments() == 0
    await runner.run()
    assert instruments() == 0


def instruments() -> int:
    """Count the step timers of this run."""
    found = GLOBAL_RUN_CONTEXT.runner.instruments.get("_all", {})
    return sum("trioworkers" in type(each).__module__ for each in found)


async def test_a_worker_that_stopped_in_time_is_forgotten(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-LIFE-11: who stops within the grace is not reported."""
    async with open_runner(Actor(stop=sleep(1)), cancel_grace=2) as runner:
        await runner.send(Do(target="actor", act=forever))
        await runner.cancel_worker("actor")
        await trio.sleep(10)
    assert reports(caplog) == []
