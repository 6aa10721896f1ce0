"""Guest mode: a runner inside trio inside somebody else's loop."""

from __future__ import annotations

import asyncio
import queue
import signal
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import attrs
import pytest
import trio
from outcome import Outcome

from trioworkers import (
    BusDataMessage,
    Job,
    StopReason,
    Worker,
    WorkerRunner,
    WorkerState,
    handles,
    job,
    message,
    open_runner,
)

T = TypeVar("T")

# Seconds until a host that waits for nothing gives up.
PATIENCE = 30


@message
class Tick(BusDataMessage):
    n: int


@message
class Crash(BusDataMessage):
    pass


@attrs.frozen
class Count:
    n: int


@attrs.frozen
class Counted:
    n: int


class Counter(Worker):
    def __init__(self, name: str, on_tick: Callable[[int], object] = print) -> None:
        super().__init__(name)
        self.on_tick = on_tick

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        await trio.lowlevel.checkpoint()
        self.on_tick(message.n)

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise ValueError("broken")

    @job()
    async def count(self, job: Job, request: Count) -> Counted:
        # As long as it takes for the guest to wait in its I/O thread.
        await trio.sleep(0.001)
        return Counted(request.n)


# Two hosts


def run_in_queue(async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run trio as the guest of a loop that knows nothing but a queue of callbacks."""
    todo: queue.Queue[Callable[[], object]] = queue.Queue()
    done: list[Outcome[T]] = []
    trio.lowlevel.start_guest_run(
        async_fn, *args, run_sync_soon_threadsafe=todo.put, done_callback=done.append
    )
    while not done:
        todo.get(timeout=PATIENCE)()
    return done[0].unwrap()


def start_in_asyncio(async_fn: Callable[..., Awaitable[T]], *args: Any) -> asyncio.Future[T]:
    """Start trio as the guest of the running asyncio loop."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(outcome: Outcome[T]) -> None:
        # What a host does with an outcome; `unwrap` can be called only once.
        try:
            future.set_result(outcome.unwrap())
        except BaseException as error:  # noqa: ASYNC103, BLE001 - goes on at the host
            future.set_exception(error)

    trio.lowlevel.start_guest_run(
        async_fn,
        *args,
        run_sync_soon_threadsafe=loop.call_soon_threadsafe,
        done_callback=finish,
    )
    return future


def run_in_asyncio(async_fn: Callable[..., Awaitable[T]], *args: Any) -> T:
    """Run trio as the guest of asyncio."""

    async def host() -> T:
        return await asyncio.wait_for(start_in_asyncio(async_fn, *args), PATIENCE)

    return asyncio.run(host())


HOSTS = pytest.mark.parametrize("host", [run_in_queue, run_in_asyncio])


# What is the same under every host


@HOSTS
def test_jobs_and_messages(host: Callable[..., Any]) -> None:
    """A runner works in guest mode as in a run of trio's own (S-RUN-4)."""
    ticks: list[int] = []

    async def main() -> Counted:
        async with open_runner(Counter("counter", ticks.append)) as runner:
            for n in range(100):
                await runner.send(Tick(target="counter", n=n))
            return await runner.ask("counter", Counter.count, Count(7))

    assert host(main) == Counted(7)
    assert ticks == list(range(100))


@HOSTS
def test_crash(host: Callable[..., Any]) -> None:
    """A crash reaches the host as the run's outcome (S-RUN-1)."""

    async def main() -> None:
        async with open_runner(Counter("counter")) as runner:
            await runner.send(Crash(target="counter"))
            await trio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="broken")):
        host(main)


@HOSTS
def test_ends(host: Callable[..., Any]) -> None:
    """`run` returns its reason to the host (S-RUN-1)."""

    async def main() -> StopReason:
        runner = WorkerRunner("guest", handle_sigint=False)
        await runner.add_workers(Counter("counter"))
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            await runner.end("enough")
        assert runner.stop_reason is not None
        return runner.stop_reason

    assert host(main) == StopReason("ended", "enough", "guest")


@HOSTS
def test_timeout_cancels(host: Callable[..., Any]) -> None:
    """Deadlines hold in guest mode, where trio's I/O wait is in a thread (S-JOB-6)."""

    class Slow(Worker):
        @job()
        async def nap(self, job: Job, payload: dict[str, Any]) -> None:
            await trio.sleep_forever()

    async def main() -> None:
        async with open_runner(Slow("slow")) as runner:
            with trio.fail_after(0.01):
                await runner.ask("slow", "nap")

    with pytest.raises(trio.TooSlowError):
        host(main)


@HOSTS
def test_threads(host: Callable[..., Any]) -> None:
    """A thread beside the host sends to workers of the guest (S-MAIL-11)."""
    ticks: list[int] = []

    async def main() -> None:
        async with open_runner(Counter("counter", ticks.append)) as runner:

            def send() -> None:
                for n in range(300):
                    runner.bus.send_from_thread(Tick(target="counter", n=n))

            # A thread that trio knows nothing of.
            thread = threading.Thread(target=send)
            thread.start()
            await trio.to_thread.run_sync(thread.join)

    host(main)
    assert ticks == list(range(300))


@HOSTS
def test_sigint_ends(host: Callable[..., Any]) -> None:
    """The first SIGINT ends a runner that handles it, and the host's handler is back then (S-RUN-2)."""
    former = signal.getsignal(signal.SIGINT)

    async def main() -> StopReason:
        runner = WorkerRunner("guest")
        await runner.add_workers(Counter("counter"))
        async with trio.open_nursery() as nursery:
            before = signal.getsignal(signal.SIGINT)
            await nursery.start(runner.run)
            signal.raise_signal(signal.SIGINT)
            await runner.wait_stopped()
        assert signal.getsignal(signal.SIGINT) is before
        assert runner.stop_reason is not None
        return runner.stop_reason

    assert host(main).kind == "ended"
    assert signal.getsignal(signal.SIGINT) is former


# What only a host can do


class SleepWatch(trio.abc.Instrument):
    """Tells asyncio when the guest goes to wait for I/O with nothing to do."""

    def __init__(self, asleep: asyncio.Event) -> None:
        self.asleep = asleep

    def before_io_wait(self, timeout: float) -> None:
        """Note a long wait."""
        if timeout > PATIENCE:
            self.asleep.set()


class TestFromTheHost:
    """asyncio code uses the runner between two steps of the guest."""

    def test_send_nowait(self) -> None:
        """The host sends to a worker without waiting, and the guest wakes up (S-RUN-4)."""

        async def host() -> list[int]:
            loop = asyncio.get_running_loop()
            runner_ready: asyncio.Future[WorkerRunner] = loop.create_future()
            ticks: list[int] = []
            all_ticks, asleep = asyncio.Event(), asyncio.Event()

            def on_tick(n: int) -> None:
                ticks.append(n)
                if n == 9:
                    all_ticks.set()

            async def guest() -> None:
                async with open_runner(Counter("counter", on_tick)) as runner:
                    runner_ready.set_result(runner)
                    trio.lowlevel.add_instrument(SleepWatch(asleep))
                    await runner.wait_stopped()

            finished = start_in_asyncio(guest)
            runner = await runner_ready
            # From here on a send has to wake the guest.
            await asyncio.wait_for(asleep.wait(), PATIENCE)
            for n in range(10):
                runner.send_nowait(Tick(target="counter", n=n))
            await asyncio.wait_for(all_ticks.wait(), PATIENCE)
            await runner.end("the host wants it")
            await asyncio.wait_for(finished, PATIENCE)
            assert runner.state is WorkerState.STOPPED
            return ticks

        assert asyncio.run(host()) == list(range(10))

    def test_both_loops_go_on(self) -> None:
        """Neither loop holds up the other (S-MAIL-9)."""

        async def host() -> tuple[int, int]:
            host_steps = 0
            ticks: list[int] = []

            async def guest() -> int:
                async with open_runner(Counter("counter", ticks.append)) as runner:
                    for n in range(50):
                        await runner.send(Tick(target="counter", n=n))
                return host_steps

            finished = start_in_asyncio(guest)
            while not finished.done():
                host_steps += 1
                await asyncio.sleep(0)
            return await finished, len(ticks)

        steps_meanwhile, handled = asyncio.run(host())
        assert handled == 50
        assert steps_meanwhile >= 50

    def test_host_that_gives_up(self) -> None:
        """A host that gives up cancels the runner, and waits for its clean-ups (S-RUN-3)."""
        stopped: list[str | None] = []

        class Tidy(Worker):
            async def on_stop(self) -> None:
                await trio.sleep(0.001)
                assert self.stop_reason is not None
                stopped.append(self.stop_reason.reason)

        async def host() -> None:
            ready = asyncio.Event()
            runners: list[WorkerRunner] = []

            async def guest() -> None:
                async with open_runner(Tidy("tidy")) as runner:
                    runners.append(runner)
                    ready.set()
                    await runner.wait_stopped()

            finished = start_in_asyncio(guest)
            await ready.wait()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(finished), 0.01)
            await runners[0].cancel("the host gave up")
            await asyncio.wait_for(finished, PATIENCE)

        asyncio.run(host())
        assert stopped == ["the host gave up"]
