"""Interrupts a busy graph at chosen steps; a program of `test_interrupts`, in a process of its own.

`python -m tests.interrupted SEED RUNS` counts the steps of one undisturbed run: the lines of the
package, and the places in the workers here that are marked as steps.  Then it runs the graph again
and again, with SIGINT at steps drawn by lot, and looks at what is left afterwards.
"""

from __future__ import annotations

import faulthandler
import logging
import random
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import trio
import trio.testing

import trioworkers
from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    DeadLetter,
    Instrument,
    Job,
    JobError,
    Restart,
    Worker,
    WorkerErrorData,
    WorkerGoneError,
    WorkerReadyData,
    WorkerRunner,
    _clock,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers._tree import leaves

# What may be raised: the block goes on until it is cancelled, and hears that its workers are gone.
EXPECTED = (KeyboardInterrupt, trio.ClosedResourceError, JobError, WorkerGoneError)

PACKAGE = str(Path(trioworkers.__file__).parent)


class Steps:
    """Counts steps, and sends SIGINT at some."""

    def __init__(self, at: set[int]) -> None:
        self.at = at
        self.count = 0

    def step(self) -> None:
        """Take one."""
        self.count += 1
        if self.count in self.at:
            signal.raise_signal(signal.SIGINT)

    def trace(self, frame: FrameType, _event: str, _arg: object) -> Any:
        """Follow the lines of the package."""
        return self.line if frame.f_code.co_filename.startswith(PACKAGE) else None

    def line(self, _frame: FrameType, event: str, _arg: object) -> Any:
        """Take a step at each line."""
        if event == "line":
            self.step()
        return self.line


steps = Steps(set())


@message
class Tick(BusDataMessage):
    """Work for whoever gets it."""

    number: int


@message
class Stop(BusSystemMessage):
    """Interrupts the handler in progress."""


class Watcher(Instrument):
    """Looks at everything."""

    def message_sent(self, message: object) -> None:
        steps.step()

    def dead_letter(self, letter: DeadLetter) -> None:
        steps.step()

    def worker_state_changed(self, name: str, state: object) -> None:
        steps.step()


class Sink(Worker):
    """Is slow to take what it gets, and serves jobs, two at a time."""

    def __init__(self, name: str) -> None:
        super().__init__(name, mailbox_capacity=2, max_concurrent_jobs=2)

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        """Wait a little, and fall over now and then."""
        steps.step()
        await trio.sleep(0.01)
        steps.step()
        if message.number == 3:
            raise ValueError("three")

    @handles(Stop, interrupt=True)
    async def stop_it(self, message: Stop) -> None:
        """Take a step."""
        steps.step()

    @job()
    async def count(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        """Count, and tell so."""
        for number in range(payload["to"]):
            steps.step()
            await job.update({"number": number})
            await trio.sleep(0.01)
        if payload["to"] == 3:
            raise ValueError("three")
        return payload

    @job(sequential=True)
    async def one(self, job: Job, payload: dict[str, Any]) -> None:
        """Wait a little."""
        await trio.sleep(0.01)
        steps.step()

    async def on_stop(self) -> None:
        """Clean up, which takes a moment."""
        await trio.sleep(0.01)
        with self.cleanup():
            steps.step()


class Boss(Worker):
    """Has children, and lets them work."""

    async def on_start(self) -> None:
        """Start two children."""
        steps.step()
        await self.add_workers(Sink("a"), lambda: Sink("b"), restart=Restart.PERMANENT)
        await self.watch_worker("a")

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """Take a step."""
        steps.step()

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """Take a step."""
        steps.step()

    @job()
    async def work(self, job: Job, payload: dict[str, Any]) -> None:
        """Ask both children at once."""
        async with self.job_group("count", {"a": payload, "b": payload}) as group:
            async for _ in group:
                steps.step()


async def ask(runner: WorkerRunner, *args: Any) -> None:
    """Ask, whatever comes of it."""
    try:
        await runner.ask(*args)
    except JobError:
        steps.step()


async def read(streams: Any) -> None:
    """Read a stream to its end."""
    async for _ in streams:
        steps.step()


async def play(runners: list[WorkerRunner]) -> None:
    """Run the graph once."""
    async with open_runner(Boss("boss"), end_deadline=2, cancel_grace=1) as runner:
        runners.append(runner)
        runner.add_instrument(Watcher())
        async with runner.bus.open_subscription(Tick, capacity=4) as ticks:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read, ticks)
                for name in ("a", "b"):
                    nursery.start_soon(ask, runner, name, "count", {"to": 3})
                    for _ in range(3):
                        nursery.start_soon(ask, runner, name, "one", {})
                nursery.start_soon(ask, runner, "boss", "work", {"to": 2})
                for number in range(6):
                    steps.step()
                    await runner.send(Tick(target="a", number=number % 5))
                    await runner.send(Tick(number=0))
                    runner.send_nowait(Stop(target="a"))
                    with trio.move_on_after(0.005):
                        await runner.ask("b", "count", {"to": 2})
                async with runner.job("b", "count", {"to": 4}) as pending:
                    async for _ in pending:
                        break
                await runner.registry.wait_ready("a")
                nursery.cancel_scope.cancel()
    runners.append(runner)


def run(at: set[int]) -> tuple[BaseException | None, list[WorkerRunner]]:
    """Run the graph once, with SIGINT at some steps."""
    steps.__init__(at)  # type: ignore[misc]
    runners: list[WorkerRunner] = []
    clock = trio.testing.MockClock(autojump_threshold=0)
    error: BaseException | None = None
    try:
        trio.run(start, runners, clock=clock)
    except BaseException as problem:  # noqa: ASYNC103, BLE001 - looked at by the caller
        error = problem
    finally:
        sys.settrace(None)
    return error, runners


async def start(runners: list[WorkerRunner]) -> None:
    """Begin to follow the lines, now that the signal is trio's."""
    sys.settrace(steps.trace)
    await play(runners)


def leftovers(error: BaseException | None, runners: list[WorkerRunner]) -> Iterator[str]:
    """Name what is wrong after a run that was interrupted."""
    raised = [] if error is None else list(leaves(error))
    # The order of tasks is trio's, drawn by lot, so a run may be shorter than the first was.
    struck = steps.count >= min(steps.at)
    if struck and not any(isinstance(each, KeyboardInterrupt) for each in raised):
        yield "no KeyboardInterrupt"
    if not all(isinstance(each, EXPECTED) or each.args == ("three",) for each in raised):
        yield f"raised {raised}"
    for runner in runners[:1]:
        bus, registry = runner.bus, runner.registry
        tables: dict[str, Any] = {
            "open requests": bus.open_requests,
            "waits": bus.waits.edges,
            "routes": bus._routes,
            "subscriptions": bus._subscriptions,
            "listeners": bus._listeners,
            "ready": registry.entries(),
            "shields": runner._context.shields,
            "children": runner.children,
        }
        for name, table in tables.items():
            if table:
                yield f"{name}: {table!r}"
        if runner.state not in {"stopped", "cancelled", "failed"}:
            yield f"the runner is {runner.state}"


def main(seed: int, runs: int) -> int:
    """Run the graph, undisturbed and then `runs` times interrupted."""
    logging.disable()
    _clock.slice_clock = lambda: 0.0
    error, runners = run(set())
    assert error is None, error
    assert len(runners) == 2
    total = steps.count
    draw: Callable[[], int] = lambda: random.randrange(1, total)  # noqa: E731
    random.seed(seed)
    plan = [{draw(), draw()} for _ in range(runs)] if runs else [{n} for n in range(1, total)]
    wrong = 0
    for at in plan:
        faulthandler.dump_traceback_later(20, exit=True)
        for problem in leftovers(*run(at)):
            wrong += 1
            print(f"interrupted at {sorted(at)} of {total}: {problem}", flush=True)
    print(f"{len(plan)} runs")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
