"""What happens to one does not hit others: watchers, neighbours on a bus, late readers."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.lives import Actor, Do, DoNow, Tracer, forever, parent_of, sleep
from trioworkers import (
    BusCancelMessage,
    BusEndMessage,
    LocalBus,
    Worker,
    WorkerReadyData,
    WorkerRunner,
    open_runner,
)
from trioworkers import _mailbox as mailbox


class Watcher(Actor):
    """Notes who becomes ready."""

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        self.log.append(data.worker_name)


async def watch(worker: Any) -> None:
    """Watch a worker that is not there yet."""
    await worker.watch_worker("new")


async def test_a_full_system_lane_of_a_watcher(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-MAIL-11: a notice that finds the system lane full is a dead letter, not a crash."""
    monkeypatch.setattr(mailbox, "SYSTEM_LANE_LIMIT", 2)
    async with open_runner(Watcher("watcher", start=watch)) as runner:
        tracer = Tracer(runner)
        await runner.send(DoNow(target="watcher", act=sleep(5)))
        await trio.sleep(1)
        for _ in range(2):
            await runner.send(DoNow(target="watcher"))
        await runner.add_workers(Actor("new"))
        assert "new" in runner.registry
        await trio.sleep(9)
    assert tracer.reasons == ["overflow"]


async def test_equal_notices_coalesce(autojump_clock: Any) -> None:
    """S-LIFE-5: a watcher that is busy hears once of a worker that became ready twice."""
    watcher = Watcher("watcher", start=watch)
    async with open_runner(watcher) as runner:
        await runner.send(DoNow(target="watcher", act=sleep(5)))
        await trio.sleep(1)
        for _ in range(2):
            new = Actor("new")
            await runner.add_workers(new)
            await new.stop()
            await new.wait_stopped()
        await trio.sleep(9)
        assert watcher.log == ["start", "new"]
        await runner.add_workers(Actor("new"))
        await trio.sleep(1)
        assert watcher.log == ["start", "new", "new"]


async def test_a_notice_that_is_never_handled(autojump_clock: Any) -> None:
    """A watcher that is cancelled before it hears of a ready worker leaves nothing behind."""
    watcher = Watcher("watcher", start=watch)
    async with open_runner(watcher) as runner:
        slot = runner._slot_of("watcher")
        assert slot is not None
        await runner.send(DoNow(target="watcher", act=forever))
        await trio.sleep(1)
        await runner.add_workers(Actor("new"))
        assert slot._noticed
        await runner.cancel_worker("watcher")
        await watcher.wait_stopped()
        assert not slot._noticed


@pytest.mark.parametrize("first", [True, False])
async def test_watching_a_child(autojump_clock: Any, first: bool) -> None:
    """S-LIFE-5: a parent watches its children by itself; watch_worker adds nothing to that."""

    async def start(worker: Any) -> None:
        acts = [watch, parent_of(Actor("new"))]
        for act in acts if first else reversed(acts):
            await act(worker)

    watcher = Watcher("watcher", start=start)
    async with open_runner(watcher):
        await trio.sleep(1)
    assert watcher.log == ["start", "new", "stop"]


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_one_of_two_runners(autojump_clock: Any, how: str) -> None:
    """S-RUN-1: a worker's `end` and `cancel` are for its own runner, not for all on the bus."""
    bus = LocalBus()
    worker = Worker("worker")
    async with open_runner(worker, name="own", bus=bus) as own:
        async with open_runner(Worker("other"), name="neighbour", bus=bus) as neighbour:
            await getattr(worker, how)("mine only")
            await own.wait_stopped()
            assert neighbour.state == "ready"


@pytest.mark.parametrize("kind", [BusEndMessage, BusCancelMessage])
async def test_both_of_two_runners(autojump_clock: Any, kind: Any) -> None:
    """S-MAIL-6: without a target, it is for all runners of the bus."""
    bus = LocalBus()
    worker = Worker("worker")
    async with open_runner(worker, name="own", bus=bus) as own:
        async with open_runner(Worker("other"), name="neighbour", bus=bus) as neighbour:
            await worker.send(kind(reason="all"))
            await own.wait_stopped()
            await neighbour.wait_stopped()
            for runner in (own, neighbour):
                assert runner.stop_reason is not None
                assert runner.stop_reason.reason == "all"


async def test_streams_after_the_last_runner(autojump_clock: Any) -> None:
    """S-BUS-4: streams end with the runner, also those opened when it has stopped."""
    bus = LocalBus()
    async with open_runner(Worker("worker"), bus=bus):
        pass
    async with bus.open_subscription(Do) as messages, bus.open_dead_letters() as letters:
        assert [each async for each in messages] == []
        assert [each async for each in letters] == []
    runner = WorkerRunner(bus=bus, handle_sigint=False)
    async with bus.open_subscription(Do) as messages:
        with trio.move_on_after(5) as scope:
            await anext(messages)
        assert scope.cancelled_caught
        await runner.add_workers(Worker("worker"))
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await runner.send(Do(target="worker"))
            assert isinstance(await anext(messages), Do)
            await runner.end()


async def test_a_cancelled_send_is_not_shown(autojump_clock: Any) -> None:
    """S-MAIL-8: a send that is cancelled while it waits for room is not shown to subscribers."""
    async with open_runner(Actor(mailbox_capacity=1)) as runner:
        async with runner.bus.open_subscription(Do) as messages:
            for act in (sleep(9), sleep(1)):
                await runner.send(Do(target="actor", act=act))
                await trio.sleep(1)
            with trio.move_on_after(1):
                await runner.send(Do(target="actor"))
            await runner.send(Do(target="actor", act=sleep(2)))
            seen = [await anext(messages) for _ in range(3)]
            with trio.move_on_after(1) as scope:
                await anext(messages)
            assert scope.cancelled_caught
    assert len({id(each) for each in seen}) == 3


@pytest.mark.parametrize("how", ["cancel", "end"])
async def test_a_deep_tree(autojump_clock: Any, how: str) -> None:
    """S-LIFE-8: a chain of 400 nested workers is cancelled, and ended, without recursion."""
    last = Actor("w400")
    worker = last
    for number in reversed(range(400)):
        worker = Actor(f"w{number}", start=adds_soon(worker))
    async with open_runner(worker) as runner:
        await runner.registry.wait_ready("w400")
        await getattr(runner, how)()
        await last.wait_stopped()
    assert last.log == ["start", "stop"]


def adds_soon(child: Worker) -> Any:
    """Make an act that adds a child in a task of its own: starts do not pile up."""

    async def act(worker: Any) -> None:
        worker.nursery.start_soon(worker.add_workers, child)

    return act
