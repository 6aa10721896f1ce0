"""Taking latencies without the messages' help."""

from __future__ import annotations

from itertools import pairwise

import trio
from hypothesis import given
from hypothesis import strategies as st

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Restart,
    Worker,
    WorkerRunner,
    handles,
    message,
    open_runner,
)
from trioworkers._slot import Slot
from trioworkers.bench._recorder import Lane, Recorder, Recording, RecordingBus
from trioworkers.errors import MailboxFullError


@message
class Data(BusDataMessage):
    pass


@message
class Boom(BusDataMessage):
    pass


@message
class Urgent(BusSystemMessage):
    pass


class Target(Worker):
    """Remembers what it handled; stops at a gate."""

    def __init__(self, name: str = "target", **settings: object) -> None:
        super().__init__(name, **settings)  # type: ignore[arg-type]
        self.seen: list[str] = []
        self.gate = trio.Event()
        self.gate.set()
        self.all_seen = trio.Event()

    @handles(Data)
    async def data(self, message: Data) -> None:
        self.seen.append("data")
        await self.gate.wait()
        self.all_seen.set()

    @handles(Boom)
    async def boom(self, message: Boom) -> None:
        raise ValueError("boom")

    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None:
        self.seen.append("urgent")


class Pool(Worker):
    """Restarts its target."""

    def __init__(self, make: object) -> None:
        super().__init__("pool")
        self.make = make

    async def on_start(self) -> None:
        await self.add_workers(self.make, restart=Restart.TRANSIENT)  # type: ignore[arg-type]


def slot_of(runner: WorkerRunner, name: str) -> Slot:
    """Find a worker's slot."""
    route = runner.bus.route(name)
    assert isinstance(route, Slot)
    return route


def watched(runner: WorkerRunner, bus: RecordingBus, name: str = "target") -> Recorder:
    """Watch a worker."""
    recorder = Recorder(bus)
    runner.add_instrument(recorder)
    recorder.watch(slot_of(runner, name))
    return recorder


async def settle(steps: int = 20) -> None:
    """Let others run."""
    for _ in range(steps):
        await trio.lowlevel.checkpoint()


async def test_both_lanes_are_taken() -> None:
    """Each message handled is one latency of its lane, and its handler runs as ever."""
    bus, target = RecordingBus(), Target()
    async with open_runner(target, bus=bus) as runner:
        recorder = watched(runner, bus)
        for _ in range(3):
            await runner.send(Data(target="target"))
        await runner.send(Urgent(target="target"))
        await settle()
        recording = recorder.finish()
    assert (recording.data.count, recording.system.count) == (3, 1)
    assert sorted(target.seen) == ["data"] * 3 + ["urgent"]
    assert all(0 < each < 10 for each in (*recording.data.samples, *recording.system.samples))
    assert not bus.stamps
    assert recording.throughput > 0


async def test_a_backlog_from_before_is_taken() -> None:
    """What waited before the worker was watched counts from its send, too."""
    bus, target = RecordingBus(), Target()
    target.gate = trio.Event()
    async with open_runner(target, bus=bus) as runner:
        for _ in range(10):
            runner.send_nowait(Data(target="target"))
        recorder = watched(runner, bus)
        target.gate.set()
        await settle()
        assert recorder.finish().data.count == 10


async def test_a_worker_that_is_not_watched_is_left_alone() -> None:
    """Another worker keeps its own handlers, and its messages are in no lane."""
    bus, target, other = RecordingBus(), Target(), Target("other")
    async with open_runner(target, other, bus=bus) as runner:
        recorder = watched(runner, bus)
        await runner.send(Data(target="other"))
        await other.all_seen.wait()
        assert slot_of(runner, "other").table is Target._handler_table
        assert recorder.finish().data.count == 0


async def test_the_class_is_left_alone() -> None:
    """The table of handlers that all instances share stays what it was."""
    before = Target._handler_table
    bus = RecordingBus()
    async with open_runner(Target(), bus=bus) as runner:
        watched(runner, bus)
    assert Target._handler_table is before


async def test_a_due_time_counts_instead_of_the_send() -> None:
    """A probe counts from when it was due; from its send it is counted beside that."""
    bus = RecordingBus()
    async with open_runner(Target(), bus=bus) as runner:
        recorder = watched(runner, bus)
        message = Urgent(target="target")
        recorder.expect(message, due=recorder.recording.begun - 5)
        runner.send_nowait(message)
        await settle()
        assert recorder.recording.system.longest > 5
        assert recorder.recording.sent.longest < 5
        assert not recorder.awaited
        assert not bus.due


async def test_what_is_not_handled_is_forgotten() -> None:
    """A message that becomes a dead letter leaves no stamp, and a probe is known to be lost."""
    bus = RecordingBus()
    async with open_runner(Target(), bus=bus) as runner:
        recorder = watched(runner, bus)
        message = Urgent(target="nobody")
        recorder.expect(message, due=0.0)
        runner.send_nowait(message)
        assert recorder.lost == {"unknown": 1}
        assert not recorder.awaited
        assert not bus.stamps
        assert not bus.due


async def test_probes_given_up_count_as_long_as_they_waited() -> None:
    """A probe that nobody handles is not left out: it counts with the time until then."""
    bus = RecordingBus()
    async with open_runner(Target(), bus=bus) as runner:
        recorder = watched(runner, bus)
        recorder.expect(Urgent(target="target"), due=recorder.recording.begun - 3)
        recorder.give_up()
        assert recorder.recording.unhandled == 1
        assert recorder.recording.system.longest > 3
        assert recorder.recording.sent.longest > 3


async def test_a_restart_is_watched_as_well() -> None:
    """A new object in the worker's place is measured, and the same object is not measured twice."""
    for make in (Target, Target()):
        bus = RecordingBus()
        async with open_runner(Pool(make), bus=bus) as runner:
            recorder = watched(runner, bus)
            table = slot_of(runner, "target").table
            await runner.send(Boom(target="target"))
            await settle(50)
            await runner.registry.wait_ready("target")
            await runner.send(Data(target="target"))
            await settle()
            assert recorder.recording.data.count == 2
            assert (slot_of(runner, "target").table is table) is (make is not Target)


async def test_starvation_is_waiting_without_being_handled() -> None:
    """Data that waits while its worker is held by a system message starves; handled data does not."""

    class Held(Target):
        @handles(Urgent)
        async def urgent(self, message: Urgent) -> None:
            await self.gate.wait()

    bus, target = RecordingBus(), Held()
    async with open_runner(target, bus=bus) as runner:
        recorder = watched(runner, bus)
        target.gate = trio.Event()
        runner.send_nowait(Urgent(target="target"))
        await settle()
        runner.send_nowait(Data(target="target"))
        await settle()
        waiting = recorder.finish().starvation
        target.gate.set()
        await target.all_seen.wait()
        assert 0 < waiting <= recorder.finish().starvation


async def test_refused_messages_do_no_harm() -> None:
    """A stamp of a message that was refused is not taken for that of another one."""
    bus, target = RecordingBus(), Target(mailbox_capacity=1, overflow="refuse")
    target.gate = trio.Event()
    refused = 0
    async with open_runner(target, bus=bus) as runner:
        recorder = watched(runner, bus)
        for _ in range(50):
            try:
                await runner.send(Data(target="target"))
            except MailboxFullError:
                refused += 1
        target.gate.set()
        await settle()
        assert refused
        assert recorder.finish().data.count == 50 - refused
        assert len(bus.stamps) <= refused


@given(count=st.integers(0, 2_000), most=st.integers(1, 50))
def test_a_lane_is_thinned_evenly(count: int, most: int) -> None:
    """Of many latencies a bounded number is kept, at even distances, and the largest is known."""
    lane = Lane(most)
    for number in range(1, count + 1):
        lane.add(float(number))
    assert lane.count == count
    assert lane.longest == count
    assert len(lane.samples) <= most
    distances = {after - before for before, after in pairwise(lane.samples)}
    assert len(distances) <= 1
    assert len(lane.samples) >= min(count, most // 2)
    counts = list(lane.counts())
    assert sum(times for _, times in counts) == count
    assert max((seconds for seconds, _ in counts), default=0) == count
    assert all(times >= 0 for _, times in counts)


@given(count=st.integers(0, 5_000))
def test_depths_are_bounded(count: int) -> None:
    """Looking at a mailbox for long keeps a bounded number of looks, in their order."""
    recording = Recording()
    slower = sum(recording.note_depth(float(number), number, 0) for number in range(count))
    assert len(recording.depths) < 1_000
    assert [at for at, _, _ in recording.depths] == sorted(at for at, _, _ in recording.depths)
    assert slower == 0 or count >= 1_000
