"""Adding children at odd moments."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trioworkers import StopReason, Worker, WorkerRunner, WorkerState, open_runner


class Slowly(Worker):
    """Adds two children, and is told to end in between."""

    async def on_start(self) -> None:
        await self.add_workers(Worker("one"))
        await self.runner.end("enough")
        await self.add_workers(Worker("two"))
        self.both = tuple(self.children)


async def test_an_end_while_starting_lets_the_start_finish(autojump_clock: object) -> None:
    """A worker that is told to end goes on adding children and ends with them (S-LIFE-7)."""
    worker = Slowly("slowly")
    runner = WorkerRunner("runner", handle_sigint=False)
    await runner.add_workers(worker)
    assert await runner.run() == StopReason("ended", "enough", "runner")
    assert worker.both == ("one", "two")
    assert worker.state is WorkerState.STOPPED


class TooLate(Worker):
    """Adds a child when it cleans up."""

    error: Exception | None = None

    async def on_stop(self) -> None:
        try:
            await self.add_workers(Worker("child"))
        except RuntimeError as error:
            self.error = error


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_nothing_is_added_while_cleaning_up(how: Any, autojump_clock: object) -> None:
    """`on_stop` cannot add children, and is told so (S-LIFE-7)."""
    worker = TooLate("worker")
    async with open_runner(worker) as runner:
        await getattr(runner, how)()
        with trio.fail_after(1):
            await worker.wait_stopped()
    assert "is stopping and takes no more workers" in str(worker.error)


@pytest.mark.parametrize("how", ["end_worker", "cancel_worker"])
async def test_a_root_that_is_stopped_before_it_is_ready(how: str, autojump_clock: object) -> None:
    """A root that somebody stops while it starts is no failure of the run (S-RUN-1)."""

    class Never(Worker):
        async def on_start(self) -> None:
            await trio.sleep_forever()

    runner = WorkerRunner("runner", handle_sigint=False, end_deadline=1)
    await runner.add_workers(Never("never"), Worker("other"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        await getattr(runner, how)("never")
        await runner.registry.wait_ready("other")
        await runner.end()
    assert runner.state is WorkerState.STOPPED
