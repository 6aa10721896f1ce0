"""Where the peer loses work, errors or tasks when it ends."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from tests.jobs import Actor, Alarm, Note, Server
from trioworkers import (
    BusEndMessage,
    BusFrameMessage,
    FrameDirection,
    NameTakenError,
    StopReason,
    Worker,
    WorkerErrorData,
    WorkerRunner,
    handles,
    open_runner,
)


class Slow(Worker):
    """Takes a while for each note and each frame."""

    def __init__(self, name: str = "slow", seconds: float = 0.01) -> None:
        super().__init__(name)
        self.seconds = seconds
        self.count = 0
        self.reason: StopReason | None = None

    @handles(Note)
    @handles(BusFrameMessage)
    async def take(self, message: Note | BusFrameMessage) -> None:
        await trio.sleep(self.seconds)
        self.count += 1

    async def on_stop(self) -> None:
        self.reason = self.stop_reason


async def forever(*args: Any) -> None:
    """Never return."""
    await trio.sleep_forever()


async def test_l1_end_with_a_backlog(autojump_clock) -> None:
    """Peer: runner.end() drops the whole backlog and sends a cancel.  Ours: handles it, then ends."""
    slow = Slow()
    async with open_runner(slow) as runner:
        for _ in range(100):
            await runner.send(Note(target="slow"))
        await runner.end("done")
    assert slow.count == 100
    assert slow.reason is not None
    assert (slow.reason.kind, slow.reason.reason) == ("ended", "done")


@attrs.frozen
class Text:
    text: str


async def test_l21_end_with_a_backlog_of_frames(autojump_clock) -> None:
    """Peer: runner.end() drops the frames that a pipeline worker holds.  Ours: handles them."""
    slow = Slow(seconds=1)
    async with open_runner(slow) as runner:
        for i in range(10):
            frame = BusFrameMessage(
                target="slow", frame=Text(str(i)), direction=FrameDirection.DOWNSTREAM
            )
            await runner.send(frame)
        await runner.end()
    assert slow.count == 10


async def test_l4_end_with_a_running_job(autojump_clock) -> None:
    """Peer: runner.end() cuts the handler.  Ours: it finishes, and its requester gets the answer."""
    async with open_runner(Server()) as runner:
        async with runner.job("server", "nap", {"seconds": 0.3}) as pending:
            await runner.end()
        assert pending.response == {"seconds": 0.3}


async def test_l15_children_end_before_their_parent(autojump_clock) -> None:
    """Peer: runner.end() stops parents before their children.  Ours: the last started first."""
    order: list[str] = []

    async def stop(worker: Worker) -> None:
        order.append(worker.name)

    async def start(worker: Worker) -> None:
        await worker.add_workers(Actor("c1", stop=stop), Actor("c2", stop=stop))

    async with open_runner(Actor("parent", start=start, stop=stop)) as runner:
        await runner.end()
    assert order == ["c2", "c1", "parent"]


async def test_l6_data_handler_that_is_blocked(autojump_clock) -> None:
    """Peer: the end never arrives behind a blocked data handler: hang.  Ours: the deadline cuts it."""
    actor = Actor("a", note=forever)
    async with open_runner(actor) as runner:
        await runner.send(Note(target="a"))
        await trio.sleep(1)
        await runner.end_worker("a", deadline=2)
        await actor.wait_stopped()
        assert trio.current_time() == 3
        assert actor.stop_reason is not None
        assert actor.stop_reason.reason == "end deadline"


async def test_l7_system_handler_that_is_blocked(autojump_clock) -> None:
    """Peer: runner.cancel() never finishes behind a blocked system handler.  Ours: it does at once."""
    async with open_runner(Actor("a", alarm=forever)) as runner:
        await runner.send(Alarm(target="a"))
        await trio.sleep(1)
        await runner.cancel("now")
        await runner.wait_stopped()
        assert trio.current_time() == 1


async def test_j17_handler_that_swallows_cancellation(autojump_clock) -> None:
    """Peer: the worker's inbox stalls while a cancelled handler runs on.  Ours: it goes on."""
    server = Server()
    async with open_runner(server, job_grace=1) as runner:
        with trio.move_on_after(1):
            await runner.ask("server", "linger", {"seconds": 9})
        await runner.send(Note(target="server", n=1))
        await trio.sleep(0.1)
        assert server.log == [1]
        assert trio.current_time() < 3
        await trio.sleep(9)
        assert runner.statistics().dead_letters == {"late reply": 1}


async def test_l8_backpressure(autojump_clock) -> None:
    """Peer: 200,000 sends are all queued, +108 MiB, and starve the loop.  Ours: the sender waits."""
    async with open_runner(slow := Slow()) as runner:
        for _ in range(2000):
            await runner.send(Note(target="slow"))
        assert slow.statistics().mailbox.high_water_mark == 256
        while slow.statistics().mailbox.data_depth < 256:
            runner.send_nowait(Note(target="slow"))
        with pytest.raises(trio.WouldBlock):
            runner.send_nowait(Note(target="slow"))


async def test_r5_targeted_messages_reach_one_worker(autojump_clock) -> None:
    """Peer: every subscriber gets a copy of what is for one.  Ours: one mailbox is touched."""
    workers = [Slow(f"s{i}") for i in range(3)]
    async with open_runner(*workers) as runner:
        for _ in range(10):
            await runner.send(Note(target="s0"))
        assert [worker.statistics().mailbox.accepted for worker in workers] == [10, 0, 0]


class Fragile(Worker):
    """Raises where it is told to."""

    def __init__(self, where: str) -> None:
        super().__init__("fragile")
        self.where = where

    def maybe(self, where: str) -> None:
        if where == self.where:
            raise ValueError(where)

    async def on_start(self) -> None:
        self.maybe("on_start")
        self.nursery.start_soon(self.background)

    async def background(self) -> None:
        await trio.sleep(1)
        self.maybe("background")

    async def on_activated(self, args: Any) -> None:
        self.maybe("on_activated")


@pytest.mark.parametrize("where", ["on_activated", "background"])
async def test_l9_r6_crash_of_a_root(where: str, autojump_clock) -> None:
    """Peer: an exception in on_activated or in run is logged only.  Ours: it leaves the runner."""
    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match=where)):
        async with open_runner(Fragile(where)) as runner:
            await trio.sleep_forever()
    assert runner.registry.get("fragile") is None


@pytest.mark.parametrize("where", ["on_activated", "background"])
async def test_l10_crash_of_a_child(where: str, autojump_clock) -> None:
    """Peer: the parent is not told, and the child stays registered.  Ours: it is told, and it is gone."""
    told: list[WorkerErrorData] = []

    class Parent(Worker):
        async def on_start(self) -> None:
            await self.add_workers(Fragile(where))

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            told.append(data)

    async with open_runner(Parent("parent")) as runner:
        await trio.sleep(2)
        assert runner.registry.get("fragile") is None
        assert runner.get_worker("fragile") is None
    assert [data.worker_name for data in told] == ["fragile"]
    assert str(told[0].exception) == where


async def test_l10_crash_in_on_start(autojump_clock) -> None:
    """Peer: an exception in start is logged only.  Ours: `add_workers` raises it."""
    async with open_runner() as runner:
        with pytest.raises(ValueError, match="on_start"):
            await runner.add_workers(Fragile("on_start"))
        assert runner.get_worker("fragile") is None


async def test_l11_duplicate_name(autojump_clock) -> None:
    """Peer: the second worker of a name is skipped with a log line.  Ours: NameTakenError."""
    async with open_runner(Worker("a")) as runner:
        with pytest.raises(NameTakenError, match="'a' is taken"):
            await runner.add_workers(Worker("a"))


async def test_l12_child_with_a_taken_name(autojump_clock) -> None:
    """Peer: ending a parent whose child has a taken name hangs.  Ours: the parent is told, and ends."""
    errors: list[NameTakenError] = []

    async def start(worker: Worker) -> None:
        try:
            await worker.add_workers(Worker("taken"))
        except NameTakenError as error:
            errors.append(error)

    parent = Actor("parent", start=start)
    async with open_runner(Worker("taken"), parent) as runner:
        await runner.end_worker("parent")
        await parent.wait_stopped()
    assert len(errors) == 1


async def test_l19_child_added_too_early(autojump_clock) -> None:
    """Peer: a child added before its parent is attached never starts.  Ours: that is an error."""
    parent = Worker("parent")
    with pytest.raises(RuntimeError, match="add it with add_workers"):
        await parent.add_workers(Worker("child"))
    runner = WorkerRunner()
    await runner.add_workers(parent)
    with pytest.raises(RuntimeError, match="in on_start or later"):
        await parent.add_workers(Worker("child"))
    await runner.end()
    await runner.run(auto_end=False)


async def test_l13_cancelling_run(autojump_clock) -> None:
    """Peer: a cancelled run() returns normally.  Ours: the scope learns that it was cancelled."""
    runner = WorkerRunner(handle_sigint=False)
    with trio.move_on_after(1) as scope:
        await runner.run(auto_end=False)
    assert scope.cancelled_caught


async def test_l16_end_for_somebody_else(autojump_clock) -> None:
    """Peer: an End aimed at somebody else ends the runner.  Ours: it is refused."""
    async with open_runner(Server()) as runner:
        with pytest.raises(ValueError, match="its target 'server' is none"):
            await runner.send(BusEndMessage(target="server"))
        assert runner.stop_reason is None
        assert await runner.ask("server", "nothing") == {}


@pytest.mark.parametrize("order", [("quick", "long"), ("long", "quick")])
async def test_r12_auto_end_counts_all_workers(order: tuple[str, str], autojump_clock) -> None:
    """Peer: the session ends when the first worker stops before the next one started.

    Ours: workers that were added count, in either order.
    """

    async def stop_at_once(worker: Worker) -> None:
        await worker.stop()

    async def stop_later(worker: Worker) -> None:
        worker.nursery.start_soon(_stop_after, worker)

    starts = {"quick": stop_at_once, "long": stop_later}
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(*[Actor(name, start=starts[name]) for name in order])
    assert (await runner.run()).kind == "ended"
    assert trio.current_time() == 5


async def _stop_after(worker: Worker) -> None:
    await trio.sleep(5)
    await worker.stop()


async def test_r11_jobs_leave_no_watches(autojump_clock) -> None:
    """Peer: each job leaves a watch: 12,001 after 12,000 jobs.  Ours: none."""
    async with open_runner(Server()) as runner:
        before = dict(runner.registry._listeners)
        for _ in range(500):
            await runner.ask("server", "nothing")
        assert runner.registry._listeners == before
