"""`no_leaks`: what a block left behind is found, and nothing else is."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest
import trio

from trioworkers import BusDataMessage, Worker, WorkerRunner, message, open_runner
from trioworkers.testing import Probe, _inside, _leaks, no_leaks

pytestmark = pytest.mark.filterwarnings("error")


@message
class Tick(BusDataMessage):
    pass


class TestThreads:
    def test_thread_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread that goes on is found, by name (S-RUN-3)."""
        monkeypatch.setattr(_leaks, "THREAD_GRACE", 0.0)
        go = threading.Event()
        thread = threading.Thread(target=go.wait, name="stray")
        with pytest.raises(AssertionError, match=r"^left behind: thread 'stray'$"):
            with no_leaks():
                thread.start()
        go.set()
        thread.join()

    def test_thread_may_take_a_moment(self) -> None:
        """A thread on its way out is waited for (S-RUN-3)."""
        go = threading.Event()
        with no_leaks():
            threading.Thread(target=go.wait).start()
            go.set()

    async def test_idle_threads_of_trio_are_no_leak(self) -> None:
        """Idle threads are kept by trio for later (S-RUN-3)."""
        with no_leaks():
            await trio.to_thread.run_sync(int)

    async def test_working_thread_of_trio_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A thread of trio's that still works is a leak (S-RUN-3)."""
        monkeypatch.setattr(_leaks, "THREAD_GRACE", 0.0)
        begun, go = trio.Event(), threading.Event()

        def work() -> None:
            trio.from_thread.run_sync(begun.set)
            go.wait()

        async with trio.open_nursery() as nursery:
            try:
                with pytest.raises(AssertionError, match=r"thread 'work from "):
                    with no_leaks():
                        nursery.start_soon(trio.to_thread.run_sync, work)
                        await begun.wait()
            finally:
                go.set()

    async def test_idle_thread_that_works_again_is_found(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A thread that trio kept and that works again is a leak like a new one (S-RUN-3)."""
        await trio.to_thread.run_sync(int)
        await self.test_working_thread_of_trio_is_found(monkeypatch)


class TestDescriptors:
    def test_file_is_found(self, tmp_path: os.PathLike[str]) -> None:
        """An open file is found, by path (S-RUN-3)."""
        path = os.path.join(tmp_path, "kept")
        with pytest.raises(AssertionError, match=rf"descriptor \d+ \({path}\)"):
            with no_leaks():
                file = open(path, "w")  # noqa: SIM115
        file.close()

    def test_socket_is_found(self) -> None:
        """An open socket is found (S-RUN-3)."""
        with pytest.raises(AssertionError, match=r"descriptor \d+ \(socket:"):
            with no_leaks():
                sock = socket.socket()
        sock.close()

    def test_same_number_is_not_the_same_file(self) -> None:
        """A descriptor whose number was free again is found all the same (S-RUN-3)."""
        old = os.open(os.devnull, os.O_RDONLY)
        with pytest.raises(AssertionError, match=rf"descriptor {old} "):
            with no_leaks():
                os.close(old)
                new = socket.socket()
                assert new.fileno() == old
        new.close()

    def test_closed_file_is_no_leak(self) -> None:
        """What was closed is no leak (S-RUN-3)."""
        with no_leaks():
            os.close(os.open(os.devnull, os.O_RDONLY))


class TestTasks:
    async def test_task_is_found(self) -> None:
        """A task in a nursery outside of the block is found, by name (S-RUN-3)."""
        async with trio.open_nursery() as nursery:
            with pytest.raises(AssertionError, match="task 'sleepyhead'"):
                with no_leaks():
                    nursery.start_soon(trio.sleep_forever, name="sleepyhead")
            nursery.cancel_scope.cancel()

    async def test_tasks_inside_are_no_leak(self) -> None:
        """Tasks that were there before, and tasks that have ended, are no leak (S-RUN-3)."""
        async with trio.open_nursery() as outer:
            outer.start_soon(trio.sleep_forever)
            with no_leaks():
                async with trio.open_nursery() as inner:
                    inner.start_soon(trio.lowlevel.checkpoint)
                    inner.start_soon(trio.lowlevel.checkpoint)
            outer.cancel_scope.cancel()

    async def test_system_tasks_are_no_leak(self) -> None:
        """System tasks belong to trio (S-RUN-3)."""
        done = trio.Event()
        with no_leaks():
            trio.lowlevel.spawn_system_task(done.wait)
        done.set()


class TestRunners:
    async def test_stopped_runner_is_no_leak(self) -> None:
        """A runner that was used and has stopped leaves nothing (S-RUN-3)."""
        with no_leaks():
            async with open_runner(Probe("probe", hears=[Tick])) as runner:
                async with runner.bus.open_dead_letters(), runner.bus.open_subscription(Tick):
                    await runner.send(Tick(target="probe"))

    def test_runner_that_never_ran_is_no_leak(self) -> None:
        """A runner that was only made is garbage, no leak (S-RUN-3)."""
        with no_leaks():
            WorkerRunner("idle")

    async def test_running_runner_is_found(self) -> None:
        """A runner that still runs is found, with its tasks (S-RUN-3)."""
        async with trio.open_nursery() as nursery:
            with pytest.raises(AssertionError) as caught:
                with no_leaks():
                    runner = WorkerRunner("stray", handle_sigint=False)
                    await runner.add_workers(Worker("worker"))
                    await nursery.start(runner.run)
            await runner.end()
        assert "runner 'stray' is still running" in str(caught.value)
        assert "task 'worker stray/worker'" in str(caught.value)

    async def test_failed_runner_is_no_leak(self) -> None:
        """A runner that failed leaves nothing either (S-RUN-3)."""

        class Failing(Worker):
            async def on_start(self) -> None:
                self.nursery.start_soon(self.fail)

            async def fail(self) -> None:
                raise ValueError

        with no_leaks():
            with pytest.RaisesGroup(ValueError):
                async with open_runner(Failing("failing")):
                    await trio.sleep_forever()

    async def test_every_table_is_looked_at(self) -> None:
        """Whatever table of a stopped runner or its bus holds something is named (S-RUN-3)."""
        async with open_runner(Probe("probe")) as runner:
            pass
        assert _inside.leftovers(runner) == []
        looked_at = set()
        for owner in _inside.owners(runner):
            for name, table in _inside.tables(owner):
                fill(table)
                (told,) = _inside.leftovers(runner)
                assert f"still holds {name} =" in told
                table.clear()
                looked_at.add(name)
        assert looked_at >= {"open_requests", "_entries", "children", "edges", "_subscriptions"}

    async def test_shared_bus(self) -> None:
        """While another runner is on the bus, only what belongs to the stopped one counts."""
        async with open_runner(Probe("a")) as one:
            with no_leaks():
                async with open_runner(Probe("b"), bus=one.bus) as two:
                    await two.send(Tick(target="a"))


def fill(table: Any) -> None:
    """Put something into a dict, list, set or deque."""
    match table:
        case dict():
            table["stray"] = "value"
        case set():
            table.add("value")
        case _:
            table.append("value")


class TestBlocks:
    def test_exceptions_leave_with_a_note(self) -> None:
        """An exception of the block is not replaced; it gets a note of what was left."""
        with pytest.raises(KeyError) as caught:
            with no_leaks():
                sock = socket.socket()
                raise KeyError("mine")
        assert caught.value.__notes__[0].startswith("left behind: descriptor")
        sock.close()

    def test_blocks_may_overlap(self) -> None:
        """Blocks that overlap without being nested leave the runner's class as it was."""
        original = WorkerRunner.__init__
        first, second = no_leaks(), no_leaks()
        for block in (first, second):
            block.__enter__()
        WorkerRunner()
        for block in (first, second):
            block.__exit__(None, None, None)
        assert WorkerRunner.__init__ is original
