"""What is done before the runner runs, or twice."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import trio

from trioworkers import (
    BusAddWorkerMessage,
    BusCancelMessage,
    BusDataMessage,
    BusEndMessage,
    LocalBus,
    StopReason,
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
    started = False

    async def on_start(self) -> None:
        self.started = True

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


@pytest.mark.parametrize("how", ["end", "cancel"])
@pytest.mark.parametrize("whose", ["runner", "worker", "message", "broadcast"])
async def test_stopping_before_the_run(how: str, whose: str) -> None:
    """S-LIFE-8: end and cancel are legal before the start, of whomever: the run is over at once."""
    runner = WorkerRunner("runner", handle_sigint=False)
    keeper = Keeper("keeper")
    await runner.add_workers(keeper)
    make = BusEndMessage if how == "end" else BusCancelMessage
    if whose == "message":
        await keeper.send(make(target="runner", reason="early"))
    elif whose == "broadcast":
        await runner.send(make(reason="early"))
    else:
        stopped: Any = keeper if whose == "worker" else runner
        await getattr(stopped, how)("early")
    assert not runner.bus.dead_letters
    path = "runner/keeper" if whose in ("worker", "message") else "runner"
    kind: Literal["ended", "cancelled"] = "ended" if how == "end" else "cancelled"
    assert await runner.run() == StopReason(kind, "early", path)
    assert not keeper.started


async def test_adding_by_message_before_the_run() -> None:
    """A worker that is sent to a runner that does not run yet starts with the others (S-LIFE-3)."""
    runner = WorkerRunner("runner", handle_sigint=False)
    await runner.add_workers(Keeper("keeper"))
    late = Keeper("late")
    await runner.send(BusAddWorkerMessage(worker=late))
    assert list(runner.children) == ["keeper", "late"]
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert late.started
        await runner.end()


async def test_a_broadcast_end_leaves_alone_who_does_not_run_yet() -> None:
    """S-MAIL-6: of two runners on a bus, an end for everybody reaches the one that runs."""
    bus = LocalBus()
    second = WorkerRunner("second", bus=bus, handle_sigint=False)
    async with open_runner(Keeper("a"), name="first", bus=bus) as first:
        await first.send(BusEndMessage())
        await first.wait_stopped()
        assert second.stop_reason is None
    await second.end()
    await second.run(auto_end=False)


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
