"""What is done before the runner runs, or twice."""

from __future__ import annotations

import pytest
import trio

from trioworkers import (
    BusDataMessage,
    UnknownWorkerError,
    Worker,
    WorkerRunner,
    handles,
    message,
    open_runner,
)


@message
class Note(BusDataMessage):
    """Something to keep."""


class Keeper(Worker):
    """Counts notes."""

    notes = 0

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.notes += 1


async def test_asking_before_the_run_does_not_wait_for_ever() -> None:
    """Who asks before any runner runs is told to start one (S-JOB-3)."""
    runner = WorkerRunner("runner", handle_sigint=False)
    keeper = Keeper("keeper")
    await runner.add_workers(keeper)
    for asker in (runner, keeper):
        with pytest.raises(RuntimeError, match="start it first"):
            await asker.ask("keeper", "work")


async def test_sending_before_the_run_fills_the_lane_and_no_more() -> None:
    """What is sent before the run is kept; what would wait for room is refused (S-LIFE-3)."""
    runner = WorkerRunner("runner", handle_sigint=False)
    keeper = Keeper("keeper", mailbox_capacity=2)
    await runner.add_workers(keeper)
    for _ in range(2):
        await runner.send(Note(target="keeper"))
    with pytest.raises(RuntimeError, match="start it first"):
        await runner.send(Note(target="keeper"))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.end()
    assert keeper.notes == 2


async def test_a_block_is_entered_once() -> None:
    """An `open_runner()` object cannot be entered again (S-RUN-4)."""
    opened = open_runner(Worker("a"))
    async with opened:
        pass
    with pytest.raises(RuntimeError, match="call it again"):
        await opened.__aenter__()


async def test_an_unknown_worker_is_named_as_such() -> None:
    """Asking a name that nobody has says so (S-JOB-3)."""
    async with open_runner(Worker("a")) as runner:
        with pytest.raises(UnknownWorkerError, match="there is no worker 'b' on the bus"):
            await runner.ask("b", "work")
