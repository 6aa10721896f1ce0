"""`Probe`: a worker that hands everything to the test."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Job,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    job,
    message,
)
from trioworkers.testing import DeadLetterLog, Probe, ProbeJob, wait_idle


@message
class Tick(BusDataMessage):
    n: int = 0


@message
class Tock(BusDataMessage):
    pass


@message
class Stop(BusSystemMessage):
    pass


@attrs.frozen
class Count:
    n: int


@attrs.frozen
class Counted:
    n: int


class Counter(Worker):
    @job()
    async def count(self, job: Job, request: Count) -> Counted:
        return Counted(request.n)


@pytest.fixture
async def probe(worker_runner: WorkerRunner) -> Probe:
    """Add a probe to the runner."""
    probe = Probe("probe", hears=[Tock])
    await worker_runner.add_workers(probe)
    return probe


class TestMessages:
    async def test_order_within_a_type(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """Messages of one type are taken in order, those of other types stay."""
        for n in range(3):
            await worker_runner.send(Tick(target="probe", n=n))
        await worker_runner.send(Stop(target="probe"))
        await probe.receive(Stop)
        assert [(await probe.receive(Tick)).n for _ in range(3)] == [0, 1, 2]
        assert probe.none_left()

    async def test_waits(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """What is not there is waited for, whatever else comes."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(probe.receive, Tick)
            await wait_all_tasks_blocked()
            await worker_runner.send(Stop(target="probe"))
            await worker_runner.send(Tick(target="probe"))
        await probe.receive(Stop)

    async def test_broadcasts(
        self, worker_runner: WorkerRunner, probe: Probe, dead_letters: DeadLetterLog
    ) -> None:
        """Broadcasts are heard of the types in `hears`, and of no others (S-BUS-2)."""
        dead_letters.expect("unhandled", Tick)
        await worker_runner.send(Tick())
        await worker_runner.send(Tock())
        await probe.receive(Tock)
        assert probe.none_left()

    async def test_system_broadcasts(self, worker_runner: WorkerRunner) -> None:
        """System messages may stand in `hears` too (S-BUS-2)."""
        probe = Probe("probe", hears=[Stop])
        await worker_runner.add_workers(probe)
        await worker_runner.send(Stop())
        await probe.receive(Stop)

    def test_hears_only_messages(self) -> None:
        """A type that no worker can handle is refused where it is named."""
        with pytest.raises(TypeError, match="needs a message class"):
            Probe("probe", hears=[int])  # type: ignore[list-item]  # pyright: ignore[reportArgumentType]

    async def test_receive_is_a_checkpoint(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """Taking what is there is a checkpoint."""
        await worker_runner.send(Tick(target="probe"))
        await wait_idle(worker_runner)
        with assert_checkpoints():
            await probe.receive(Tick)

    async def test_none_left_names_what_is_left(
        self, worker_runner: WorkerRunner, probe: Probe
    ) -> None:
        """What was not taken is named."""
        await worker_runner.send(Tick(target="probe", n=7))
        await wait_idle(worker_runner)
        with pytest.raises(AssertionError, match=r"probe 'probe' still has Tick\(.*n=7\)"):
            probe.none_left()

    async def test_activation_is_no_message(
        self, worker_runner: WorkerRunner, dead_letters: DeadLetterLog
    ) -> None:
        """A probe is activated and deactivated like any worker (S-LIFE-6)."""
        probe = Probe("probe", active=False)
        switch = Worker("switch")
        await worker_runner.add_workers(probe, switch)
        dead_letters.expect("inactive", Tick)
        await worker_runner.send(Tick(target="probe", n=1))
        await switch.activate_worker("probe")
        await wait_idle(worker_runner)
        assert probe.active
        await worker_runner.send(Tick(target="probe", n=2))
        assert (await probe.receive(Tick)).n == 2
        await switch.deactivate_worker("probe")
        await wait_idle(worker_runner)
        assert not probe.active
        assert probe.none_left()

    async def test_stopped_probe(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """Who waits for a probe that stops is told, what it has can still be taken."""
        await worker_runner.send(Tick(target="probe"))
        await wait_idle(worker_runner)
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(WorkerGoneError, match="'probe' is gone: ended: enough"):
                    await probe.receive(Stop)

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            await worker_runner.end_worker("probe", "enough")
        await probe.receive(Tick)

    async def test_children(self, worker_runner: WorkerRunner) -> None:
        """A probe can be a parent; news of its children are hooks, no messages."""
        parent = Probe("parent")
        await worker_runner.add_workers(parent)
        await parent.add_workers(Probe("child"))
        await wait_idle(worker_runner)
        assert parent.none_left()


class TestJobs:
    async def test_answer(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """A typed job gets its payload as it is, and its answer to its requester (S-JOB-2)."""
        answers: list[Counted] = []

        async def ask() -> None:
            answers.append(await worker_runner.ask("probe", Counter.count, Count(4)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            asked = await probe.next_job("count")
            assert asked.name == "count"
            assert asked.payload == Count(4)
            assert asked.job.requester == worker_runner.name
            asked.answer(Counted(4))
            await asked.wait_exited()
            assert not asked.cancelled
        assert answers == [Counted(4)]
        assert probe.none_left()

    async def test_fail(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """A job that is failed raises `JobFailedError` at its requester (S-JOB-2)."""

        async def ask() -> None:
            with pytest.raises(JobFailedError, match="no time") as caught:
                await worker_runner.ask("probe", "count")
            assert caught.value.response == {"later": True}

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            (await probe.next_job()).fail("no time", {"later": True})

    async def test_crash(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """A job that crashes raises `JobRemoteError`, and the probe lives on (S-JOB-2)."""

        async def ask() -> None:
            with pytest.raises(JobRemoteError, match="KeyError"):
                await worker_runner.ask("probe", "count")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            (await probe.next_job("count")).crash(KeyError("x"))
        assert worker_runner.get_worker("probe") is probe

    async def test_updates(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """The test can send updates of a job (S-JOB-5)."""
        seen: list[Any] = []

        async def ask() -> None:
            async with worker_runner.job("probe", "count") as pending:
                seen.extend([(event.type, event.data) async for event in pending])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            asked = await probe.next_job("count")
            await asked.job.update({"i": 0})
            await asked.job.update({"i": 1})
            asked.answer()
        assert seen == [("update", {"i": 0}), ("update", {"i": 1})]

    async def test_cancelled(
        self, worker_runner: WorkerRunner, probe: Probe, autojump_clock: MockClock
    ) -> None:
        """The test sees that a job was cancelled, and can no longer answer it (S-JOB-6)."""
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(trio.TooSlowError):
                    with trio.fail_after(1):
                        await worker_runner.ask("probe", "count")

            nursery.start_soon(ask)
            asked = await probe.next_job("count")
            await asked.wait_exited()
            assert asked.cancelled
            with pytest.raises(RuntimeError, match=r"job 'count' of 'runner-.*' was cancelled"):
                asked.answer()

    async def test_cancelled_before_it_was_taken(
        self, worker_runner: WorkerRunner, probe: Probe, autojump_clock: MockClock
    ) -> None:
        """A job that was cancelled before the test took it is not given to it any more."""
        with trio.move_on_after(1):
            await worker_runner.ask("probe", "count")
        assert probe.none_left()

    async def test_answered_twice(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """A job is answered once."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker_runner.ask, "probe", "count")
            asked = await probe.next_job("count")
            asked.answer()
            with pytest.raises(RuntimeError, match="was answered already"):
                asked.fail()

    async def test_by_name(self, worker_runner: WorkerRunner, probe: Probe) -> None:
        """Jobs are taken by name, or any; those that are left are named."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker_runner.ask, "probe", "first")
            await wait_all_tasks_blocked()
            nursery.start_soon(worker_runner.ask, "probe", "second", {"n": 1})
            second: ProbeJob = await probe.next_job("second")
            with pytest.raises(AssertionError, match="still has <ProbeJob 'first' None of 'runner"):
                probe.none_left()
            (await probe.next_job()).answer()
            second.answer()

    async def test_inactive(self, worker_runner: WorkerRunner) -> None:
        """An inactive probe refuses jobs as any worker does (S-LIFE-6)."""
        await worker_runner.add_workers(Probe("probe", active=False))
        with pytest.raises(JobRefusedError, match="inactive"):
            await worker_runner.ask("probe", "count")
