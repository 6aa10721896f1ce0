"""`Recorder` and `DeadLetterLog`: what happened, in order."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trioworkers import (
    BusDataMessage,
    Job,
    JobRemoteError,
    Restart,
    Worker,
    WorkerRunner,
    WorkerState,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers.testing import DeadLetterLog, Recorder, wait_idle


@message
class Tick(BusDataMessage):
    n: int = 0


@message
class Crash(BusDataMessage):
    pass


class Counter(Worker):
    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        await trio.lowlevel.checkpoint()

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise ValueError

    @job()
    async def divide(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return {"result": payload["a"] / payload["b"]}


async def test_record(autojump_clock: MockClock) -> None:
    """States, messages, jobs, restarts and dead letters are recorded with the time (S-LIFE-1)."""
    recorder = Recorder()
    async with open_runner() as runner:
        runner.add_instrument(recorder)
        await runner.add_workers(lambda: Counter("counter"), restart=Restart.PERMANENT)
        await runner.send(Tick(target="counter", n=1))
        await wait_idle(runner)
        await runner.ask("counter", "divide", {"a": 1, "b": 1})
        with pytest.raises(JobRemoteError):
            await runner.ask("counter", "divide", {"a": 1, "b": 0})
        await runner.send(Crash(target="counter"))
        await trio.sleep(10)
        assert recorder.events[-1].at < trio.current_time()

    assert recorder.states("counter") == [
        WorkerState.STARTING,
        WorkerState.READY,
        WorkerState.FAILED,
        WorkerState.STARTING,
        WorkerState.READY,
        WorkerState.ENDING,
        WorkerState.STOPPED,
    ]
    assert recorder.sent(Tick) == recorder.handled(Tick) == recorder.handled(Tick, "counter")
    assert recorder.sent(Tick, "somebody else") == []
    assert (
        recorder.jobs("counter")
        == recorder.jobs()
        == [
            ("divide", "completed"),
            ("divide", "error"),
        ]
    )
    ((attempt, delay),) = recorder.restarts()
    assert attempt == 1
    assert delay > 0
    kinds = [event.kind for event in recorder.events if event.kind != "state"]
    assert [kind for kind in kinds if kind != "sent"] == [
        "handled",
        *("job_started", "job_finished") * 2,
        "dead_letter",
        "restart",
    ]


class TestDeadLetterLog:
    async def test_unexpected(self) -> None:
        """A dead letter that was not expected is named with its reason (S-BUS-3)."""
        log = DeadLetterLog()
        async with open_runner() as runner:
            runner.add_instrument(log)
            await runner.send(Tick(target="nobody", n=5))
        with pytest.raises(
            AssertionError, match=r"unexpected dead letter \(unknown\): Tick\(.*n=5"
        ):
            log.check()
        log.expect("unknown", Crash)
        with pytest.raises(AssertionError, match="unexpected dead letter"):
            log.check()

    async def test_expected(self, worker_runner: WorkerRunner, dead_letters: DeadLetterLog) -> None:
        """Any number of expected dead letters may come, and are kept in order (S-BUS-3)."""
        dead_letters.expect("unknown")
        for n in range(2):
            await worker_runner.send(Tick(target="nobody", n=n))
        dead_letters.check()
        assert [letter.message for letter in dead_letters.letters] == [
            Tick(source=worker_runner.name, target="nobody", n=n) for n in range(2)
        ]

    def test_missing(self) -> None:
        """A dead letter that was expected and did not come is named (S-BUS-3)."""
        log = DeadLetterLog()
        log.expect("overflow", Tick)
        with pytest.raises(
            AssertionError, match=r"^no dead letter \(overflow\) of type Tick came$"
        ):
            log.check()
