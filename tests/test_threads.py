"""Threads that wait for room in a lane, and how such a wait ends."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.test_bus import Tick
from trioworkers import (
    BackpressureDeadlockError,
    Job,
    JobCancelledError,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    handles,
    job,
    open_runner,
)
from trioworkers._mailbox import Mailbox

Work = Callable[[], None]


class Edges(dict[Any, Any]):
    """The waits of a bus, which tell when one for room in a lane begins."""

    def __init__(self) -> None:
        self.begun = trio.Event()

    def __setitem__(self, task: Any, resource: Any) -> None:
        super().__setitem__(task, resource)
        if isinstance(resource, Mailbox):
            self.begun.set()


class Thread(threading.Thread):
    """A thread that trio knows nothing of; keeps what it raised."""

    def __init__(self, work: Work) -> None:
        super().__init__()
        self.work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self.work()
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            self.error = error


class Host(Worker):
    """Its handler waits for a thread that sends to it: trio's own, or a foreign one."""

    def __init__(self, foreign: bool = False, target: str | None = "host") -> None:
        super().__init__("host", mailbox_capacity=2)
        self.foreign = foreign
        self.target = target
        self.thread = Thread(self.flood)
        self.raised: list[BaseException] = []
        self.heard: list[int] = []
        self.done = trio.Event()

    def flood(self) -> None:
        for n in range(1, 10):
            self.bus.send_from_thread(Tick(source="other", target=self.target, n=n))

    async def run_thread(self) -> None:
        if self.foreign:
            self.thread.start()
            await trio.to_thread.run_sync(self.thread.join)
            return
        try:
            await trio.to_thread.run_sync(self.flood)
        except trio.Cancelled as error:
            self.raised.append(error)
            raise
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            self.raised.append(error)
        finally:
            self.done.set()

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        self.heard.append(message.n)
        if message.n == 0:
            await self.run_thread()

    @job()
    async def feed(self, job: Job, payload: dict[str, Any]) -> None:
        await self.run_thread()


@asynccontextmanager
async def running(host: Host, **settings: Any) -> AsyncIterator[tuple[WorkerRunner, Edges]]:
    """Run it beside a worker in whose name the thread sends."""
    async with open_runner(Worker("other"), host, **settings) as runner:
        runner.bus.waits.edges = edges = Edges()
        yield runner, edges


async def test_a_thread_that_its_own_worker_waits_for() -> None:
    """S-MAIL-12: a handler's thread that would wait for that handler gets an error instead."""
    host = Host()
    async with running(host) as (runner, _):
        await runner.send(Tick(target="host"))
        await host.done.wait()
    (error,) = host.raised
    assert isinstance(error, BackpressureDeadlockError)
    assert error.cycle == ("host", "host")
    assert host.heard == [0, 1, 2]


async def test_a_thread_is_cancelled_with_its_task() -> None:
    """S-MAIL-11: the wait of a thread of trio's is that of the task which waits for the thread."""
    host = Host()
    gate = trio.Event()

    class Slow(Worker):
        @handles(Tick)
        async def tick(self, message: Tick) -> None:
            await gate.wait()

    host.target = "slow"
    slow = Slow("slow", mailbox_capacity=1)
    async with running(host) as (runner, edges):
        await runner.add_workers(slow)
        with pytest.raises(JobCancelledError):
            async with runner.job("host", "feed") as pending:
                await edges.begun.wait()
                assert slow.statistics().mailbox.waiting_senders == 1
                assert await runner.cancel_job(pending.id)
        assert slow.statistics().mailbox.waiting_senders == 0
        assert [type(error) for error in host.raised] == [trio.Cancelled]
        gate.set()


@pytest.mark.parametrize("target", ["host", None])
async def test_a_foreign_thread_does_not_hold_up_a_cancel(target: str | None) -> None:
    """S-LIFE-8, S-MAIL-11: a thread does not wait for a worker that is cut off, and is told so."""
    host = Host(foreign=True, target=target)
    async with running(host) as (runner, edges):
        await runner.send(Tick(target="host"))
        await edges.begun.wait()
        await runner.cancel("enough")
        await runner.wait_stopped()
        assert host.stop_reason is not None
        assert (host.stop_reason.kind, host.stop_reason.reason) == ("cancelled", "enough")
    assert isinstance(host.thread.error, WorkerGoneError)
    assert "'host' is gone: it was cut off while a thread waited" in str(host.thread.error)
    assert host.heard == [0]


async def test_a_foreign_thread_does_not_hold_up_a_scope() -> None:
    """S-LIFE-8, S-MAIL-11: the same when a scope round the runner is cancelled."""
    host = Host(foreign=True)
    with trio.CancelScope() as scope:
        async with running(host) as (runner, edges):
            await runner.send(Tick(target="host"))
            await edges.begun.wait()
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert isinstance(host.thread.error, WorkerGoneError)


async def test_a_foreign_thread_does_not_hold_up_an_end() -> None:
    """S-LIFE-7, S-MAIL-11: a worker that ends takes no more, so that a thread goes on."""
    host = Host(foreign=True)
    async with running(host) as (runner, edges):
        await runner.send(Tick(target="host"))
        await edges.begun.wait()
    assert host.thread.error is None
    assert host.heard == [0, 1, 2]


class Starting(Worker):
    """Takes its time to start."""

    def __init__(self) -> None:
        super().__init__("starting", mailbox_capacity=1)
        self.gate = trio.Event()
        self.heard: list[int] = []

    async def on_start(self) -> None:
        await self.gate.wait()

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        self.heard.append(message.n)


@pytest.mark.parametrize("how", ["foreign", "of another run"])
async def test_a_thread_waits_for_a_start(how: str) -> None:
    """S-LIFE-3, S-MAIL-11: a thread that waits for a worker which starts goes on when it is ready."""
    worker = Starting()
    async with open_runner() as runner, trio.open_nursery() as nursery:
        runner.bus.waits.edges = edges = Edges()

        def work() -> None:
            for n in range(3):
                runner.bus.send_from_thread(Tick(target="starting", n=n))

        def work_in_another_run() -> None:
            trio.run(trio.to_thread.run_sync, work)

        thread = Thread(work if how == "foreign" else work_in_another_run)
        nursery.start_soon(runner.add_workers, worker)
        await trio.testing.wait_all_tasks_blocked()
        thread.start()
        await edges.begun.wait()
        worker.gate.set()
        await trio.to_thread.run_sync(thread.join)
        assert thread.error is None
    assert worker.heard == [0, 1, 2]
