"""Ending by signals: the first ends, the second cancels, the third interrupts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from typing import Any

import pytest
import trio

from tests.lives import Actor, forever, sleep
from trioworkers import StopReason, WorkerRunner
from trioworkers._signals import stop_signals

PROGRAM = """
import os, signal, sys, time
import trio
from trioworkers import BusDataMessage, Worker, WorkerRunner, handles, message

@message
class Go(BusDataMessage):
    pass

def interrupt(times):
    for _ in range(times):
        os.kill(os.getpid(), signal.SIGINT)

class Main(Worker):
    async def on_stop(self):
        print("stop", self.stop_reason.kind, flush=True)

    @handles(Go)
    async def go(self, message):
        try:
            {body}
        finally:
            print("left", flush=True)

async def main():
    runner = WorkerRunner(cancel_grace=1, end_deadline=5)
    await runner.add_workers(Main("main"))
    await runner.send(Go(target="main"))
    print(await runner.run(), flush=True)

try:
    trio.run(main)
except KeyboardInterrupt:
    print("interrupted")
"""


def run_program(body: str) -> list[str]:
    """Run a program with a handler, and return its output."""
    program = PROGRAM.replace("{body}", body)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=False
    )
    assert "Traceback" not in done.stderr
    return done.stdout.splitlines()


def test_one_signal_ends() -> None:
    """S-RUN-2: the first SIGINT ends: what is in progress is finished."""
    lines = run_program("interrupt(1); await trio.sleep(0.02)")
    assert lines[:2] == ["left", "stop ended"]
    assert lines[2].startswith("ended: a signal")


def test_two_signals_while_the_loop_is_blocked_cancel() -> None:
    """S-RUN-2: two SIGINT in a blocked loop are counted as two: the second cancels."""
    lines = run_program("interrupt(2); await trio.sleep_forever()")
    assert lines[:2] == ["left", "stop cancelled"]
    assert lines[2].startswith("cancelled: a second signal")


def test_three_signals_interrupt_a_blocked_loop() -> None:
    """S-RUN-2: the third SIGINT raises KeyboardInterrupt, also while the loop is blocked."""
    lines = run_program("interrupt(3); time.sleep(30)")
    assert lines == ["left", "stop failed", "interrupted"]


def test_three_signals_interrupt_an_idle_loop() -> None:
    """S-RUN-2: nor does the third break trio when it comes while nothing runs."""
    body = (
        "import subprocess; subprocess.Popen(['sh', '-c', 'sleep 0.1; for i in 1 2 3; do "
        "kill -INT ' + str(os.getpid()) + '; sleep 0.05; done']); "
        "await trio.to_thread.run_sync(time.sleep, 0.5)"
    )
    lines = run_program(body)
    assert lines[-1] == "interrupted"


async def test_both_signals_count_together(autojump_clock: Any) -> None:
    """S-RUN-2: with handle_sigterm SIGTERM counts like SIGINT; handlers are put back."""
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    runner = WorkerRunner(handle_sigterm=True, cancel_grace=1)
    results: list[Any] = []

    async def run(**options: Any) -> None:
        results.append(await runner.run(**options))

    await runner.add_workers(Actor(stop=forever))
    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        os.kill(os.getpid(), signal.SIGTERM)
        await trio.sleep(1)
        assert runner.state == "ending"
        os.kill(os.getpid(), signal.SIGINT)
    assert results == [StopReason("cancelled", "a second signal", runner.name)]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


async def test_the_third_without_a_handler_before(autojump_clock: Any) -> None:
    """S-RUN-2: the third raises KeyboardInterrupt also if SIGINT was ignored before."""
    former = signal.signal(signal.SIGINT, signal.SIG_IGN)
    calls: list[str] = []
    try:
        with (
            pytest.raises(KeyboardInterrupt),
            stop_signals([signal.SIGINT], lambda: calls.append("end"), lambda: calls.append("c")),
        ):
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
                await trio.testing.wait_all_tasks_blocked()
    finally:
        signal.signal(signal.SIGINT, former)
    assert calls == ["end", "c"]


async def test_counting_is_protected_from_further_signals() -> None:
    """S-RUN-2: a signal that comes while one is counted raises nothing in the middle of that."""
    protected: list[bool] = []

    def note(_number: int, _frame: object) -> None:
        protected.append(trio.lowlevel.currently_ki_protected())

    former = signal.signal(signal.SIGINT, note)
    try:
        signal.raise_signal(signal.SIGINT)
        with stop_signals([signal.SIGINT], lambda: None, lambda: None):
            for _ in range(3):
                signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, former)
    assert protected == [False, True]


async def start_two(nursery: trio.Nursery, **options: Any) -> tuple[WorkerRunner, WorkerRunner]:
    """Run two runners that handle signals, side by side."""
    runners = WorkerRunner("a", **options), WorkerRunner("b", **options)
    for runner in runners:
        await runner.add_workers(Actor(f"of-{runner.name}"))
        await nursery.start(runner.run)
    return runners


@pytest.mark.parametrize("first", [0, 1])
async def test_two_runners_in_any_order(first: int) -> None:
    """S-RUN-3: of two runners, either may stop first: the other handles signals until it stops."""
    before = signal.getsignal(signal.SIGINT)
    async with trio.open_nursery() as nursery:
        runners = await start_two(nursery)
        await runners[first].end()
        await runners[first].wait_stopped()
        await trio.testing.wait_all_tasks_blocked()
        other = runners[1 - first]
        assert other.state == "ready"
        assert signal.getsignal(signal.SIGINT) is not before
        signal.raise_signal(signal.SIGINT)
        await other.wait_stopped()
    assert other.stop_reason == StopReason("ended", "a signal", other.name)
    assert signal.getsignal(signal.SIGINT) is before


async def test_one_signal_ends_all_runners() -> None:
    """S-RUN-2: a signal counts for every runner that handles it."""
    async with trio.open_nursery() as nursery:
        a, b = await start_two(nursery, handle_sigterm=True)
        signal.raise_signal(signal.SIGTERM)
    for runner in (a, b):
        assert runner.stop_reason == StopReason("ended", "a signal", runner.name)


async def test_the_third_for_one_of_two() -> None:
    """S-RUN-2: the third for one raises KeyboardInterrupt; who came later counts for itself."""
    before = signal.getsignal(signal.SIGINT)
    calls: list[str] = []
    numbers = [signal.SIGINT]
    with stop_signals(numbers, lambda: calls.append("a ends"), lambda: calls.append("a")):
        signal.raise_signal(signal.SIGINT)
        with stop_signals(numbers, lambda: calls.append("b ends"), lambda: calls.append("b")):
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()
            assert calls == ["a ends", "a", "b ends", "b"]
            assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


async def test_the_handler_put_back_after_its_time() -> None:
    """S-RUN-3: if somebody who kept the handler puts it back, Ctrl-C still interrupts."""
    before = signal.getsignal(signal.SIGINT)
    with stop_signals([signal.SIGINT], lambda: None, lambda: None):
        kept = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, kept)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)


def run_in_thread(function: Any, *args: Any) -> None:
    """Run something in a thread that is not trio's, and raise what it raises."""
    problems: list[BaseException] = []

    def call() -> None:
        try:
            function(*args)
        except BaseException as error:  # noqa: ASYNC103, BLE001 - raised below
            problems.append(error)

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    for problem in problems:
        raise problem


def test_off_the_main_thread() -> None:
    """S-RUN-2: off the main thread handle_sigint is ignored with a warning."""

    async def main() -> None:
        runner = WorkerRunner()
        await runner.add_workers(Actor(start=lambda me: me.stop()))
        with pytest.warns(RuntimeWarning, match="SIGINT cannot be handled outside the main"):
            await runner.run()

    run_in_thread(trio.run, main)


def test_off_the_main_thread_without_signals() -> None:
    """S-RUN-2: without handle_sigint there is nothing to warn of."""

    async def main() -> None:
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(Actor(start=lambda me: me.stop(), stop=sleep(0)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            await runner.run()

    run_in_thread(trio.run, main)
