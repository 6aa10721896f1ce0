"""A runner that lives as long as a block."""

from __future__ import annotations

import queue
import signal
import threading
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.lives import Actor, Do, assert_empty, crash, forever, note, sleep, stubborn
from trioworkers import StopReason, WorkerRunner, open_runner


async def test_entered_when_every_worker_is_ready(autojump_clock: Any) -> None:
    """S-RUN-4: the block begins when the slowest worker is ready, and its end is an end."""
    actors = [Actor("a", start=sleep(2)), Actor("b", start=sleep(3), stop=sleep(1))]
    async with open_runner(*actors, name="me") as runner:
        assert trio.current_time() == pytest.approx(5)
        assert (runner.name, runner.state) == ("me", "ready")
    assert trio.current_time() == pytest.approx(6)
    assert runner.stop_reason == StopReason("ended", "the block was left", "me")
    assert_empty(runner)


async def test_left_normally_it_ends_with_the_deadline(autojump_clock: Any) -> None:
    """S-RUN-4: what is in progress is finished, until end_deadline."""
    log: list[Any] = []
    async with open_runner(Actor(), end_deadline=4) as runner:
        await runner.send(Do(target="actor", act=sleep(3)))
        await runner.send(Do(target="actor", act=note(log, "handled")))
        await runner.send(Do(target="actor", act=forever))
    assert log == ["handled"]
    assert trio.current_time() == pytest.approx(4)
    assert runner.state == "cancelled"


async def test_left_by_an_exception_it_cancels(autojump_clock: Any) -> None:
    """S-RUN-4: if only the body raised, its exception leaves as it is."""
    actor = Actor(stop=sleep(1))
    with pytest.raises(ZeroDivisionError) as caught:
        async with open_runner(actor) as runner:
            await runner.send(Do(target="actor", act=forever))
            raise ZeroDivisionError
    assert type(caught.value) is ZeroDivisionError
    assert actor.log == ["start", "stop"]
    assert runner.stop_reason == StopReason(
        "cancelled", "the block raised ZeroDivisionError", runner.name
    )


async def test_left_by_a_cancellation_it_cancels(autojump_clock: Any) -> None:
    """S-RUN-4: a block that is cancelled cancels its workers; Cancelled goes on."""
    actor = Actor(stop=sleep(1))
    with trio.move_on_after(5) as scope:
        async with open_runner(actor) as runner:
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert actor.log == ["start", "stop"]
    assert runner.state == "cancelled"
    assert_empty(runner)


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_end_and_cancel_from_elsewhere(autojump_clock: Any, how: str) -> None:
    """S-RUN-4: they do not cancel the body."""
    async with open_runner(Actor()) as runner:
        await getattr(runner, how)()
        await runner.wait_stopped()
        await trio.sleep(1)
    assert trio.current_time() == pytest.approx(1)


async def test_a_crash_cancels_the_body(autojump_clock: Any) -> None:
    """S-RUN-4: a crash cancels the body, and leaves the block in a group."""
    reasons: list[Any] = []
    with pytest.RaisesGroup(ValueError):
        async with open_runner(Actor()) as runner:
            await runner.send(Do(target="actor", act=crash))
            try:
                await trio.sleep_forever()
            except trio.Cancelled as cancelled:
                reasons.append(cancelled.reason)
                raise
    assert reasons == [f"runner {runner.name} failed"]


async def test_a_crash_and_an_exception_of_the_body(autojump_clock: Any) -> None:
    """S-RUN-4: both leave in one flat group."""
    with pytest.RaisesGroup(ValueError, ZeroDivisionError, KeyError):
        async with open_runner(Actor(stop=crash)):
            raise ExceptionGroup("", [ZeroDivisionError(), KeyError()])


async def test_a_crash_while_the_block_is_being_left(autojump_clock: Any) -> None:
    """S-RUN-4: a crash during the end leaves the block."""
    with pytest.RaisesGroup(ValueError):
        async with open_runner(Actor(stop=crash)):
            pass


async def test_a_crash_that_the_body_ignores(autojump_clock: Any) -> None:
    """S-RUN-4: a body that swallows its cancellation does not hide the crash."""
    with pytest.RaisesGroup(ValueError):
        async with open_runner(Actor()) as runner:
            await runner.send(Do(target="actor", act=crash))
            with pytest.raises(trio.Cancelled):
                await trio.sleep_forever()


async def test_an_exception_of_the_body_in_a_cancelled_host(autojump_clock: Any) -> None:
    """S-RUN-4: what the body raises is not lost when a scope round the block is cancelled."""
    with trio.CancelScope() as scope, pytest.raises(ZeroDivisionError):
        async with open_runner(Actor()):
            scope.cancel()
            raise ZeroDivisionError
    assert not scope.cancelled_caught


async def test_a_group_of_the_body_in_a_cancelled_host(autojump_clock: Any) -> None:
    """S-RUN-4: of a group with Cancelled in it, the rest leaves the block."""

    async def fail() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ZeroDivisionError

    with trio.CancelScope() as scope, pytest.RaisesGroup(ZeroDivisionError):
        async with open_runner(Actor()):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(fail)
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep(1)
                scope.cancel()


async def test_a_clean_up_that_fails_in_a_cancelled_host(autojump_clock: Any) -> None:
    """S-RUN-1, S-RUN-4: nor is the failure of a clean-up."""
    with trio.CancelScope() as scope, pytest.RaisesGroup(ValueError):
        async with open_runner(Actor(stop=crash)):
            scope.cancel()
            await trio.sleep_forever()


async def test_a_keyboard_interrupt_of_a_worker(autojump_clock: Any) -> None:
    """S-RUN-4: what is no Exception cancels the body and leaves the block."""

    async def interrupt(_me: Actor) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        async with open_runner(Actor()) as runner:
            await runner.send(Do(target="actor", act=interrupt))
            await trio.sleep_forever()


async def test_a_worker_that_does_not_start(autojump_clock: Any) -> None:
    """S-RUN-4: the block is not entered, and the crash is raised."""
    first = Actor("first")
    with pytest.RaisesGroup(ValueError):
        async with open_runner(first, Actor(start=crash)):
            pytest.fail("it was entered")
    assert first.log == ["start", "stop"]


async def test_cancelled_while_entering(autojump_clock: Any) -> None:
    """S-RUN-4: entering is cancelled as a whole, after on_stop."""
    actor = Actor(start=forever, stop=sleep(1))
    with trio.move_on_after(1) as scope:
        async with open_runner(actor):
            pytest.fail("it was entered")
    assert scope.cancelled_caught
    assert actor.log == ["start", "stop"]
    assert trio.current_time() == pytest.approx(2)


async def test_a_clean_up_that_fails_while_entering(autojump_clock: Any) -> None:
    """S-RUN-1: cancelled while entering, the failure of a clean-up is raised."""
    with trio.move_on_after(1), pytest.RaisesGroup(ValueError):
        async with open_runner(Actor(start=forever, stop=crash)):
            pytest.fail("it was entered")


async def test_left_in_another_task(autojump_clock: Any) -> None:
    """S-RUN-4: leaving in another task is a RuntimeError that says so."""
    block = open_runner(Actor())
    await block.__aenter__()

    async def leave() -> None:
        with pytest.raises(RuntimeError, match="in the task that entered it"):
            await block.__aexit__(None, None, None)

    async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - shorter
        nursery.start_soon(leave)
    await block.__aexit__(None, None, None)


async def test_left_when_what_is_round_it_is_closed(autojump_clock: Any) -> None:
    """S-RUN-4: entered in on_start and left in on_stop, the errors say so, and nothing is left."""
    stack = AsyncExitStack()
    inner: list[WorkerRunner] = []
    log: list[Any] = []

    async def enter(_me: Actor) -> None:
        block = open_runner(Actor("inner", stop=note(log, "inner stops")))
        inner.append(await stack.enter_async_context(block))

    async def leave(_me: Actor) -> None:
        await stack.aclose()

    with pytest.RaisesGroup(RuntimeError, RuntimeError) as caught:
        async with open_runner(Actor("outer", start=enter, stop=leave), name="me"):
            await trio.sleep(1)
    texts = [str(error) for error in caught.value.exceptions]
    assert texts[0].startswith("worker me/outer has left a nursery or an open_runner() open: ")
    assert texts[1].startswith("open_runner() must be left before what was opened round it")
    assert inner[0].stop_reason is not None
    assert inner[0].stop_reason.kind == "ended"
    assert log == ["inner stops"]
    assert_empty(inner[0])


async def test_left_while_something_in_it_is_open(autojump_clock: Any) -> None:
    """S-RUN-4: leaving it too early is a RuntimeError that says so, and it can be left later."""
    block = open_runner(Actor())
    runner = await block.__aenter__()
    async with trio.open_nursery():
        with pytest.raises(RuntimeError, match="and after what was opened in its block"):
            await block.__aexit__(None, None, None)
        assert runner.state == "ready"
    await block.__aexit__(None, None, None)
    assert runner.state == "stopped"


async def test_all_keywords_are_passed_on(autojump_clock: Any) -> None:
    """S-RUN-4: open_runner takes the same keywords as the runner, without the signals."""
    async with open_runner(cancel_grace=1, job_grace=2, max_restarts=5, period=9) as runner:
        assert isinstance(runner, WorkerRunner)
        context = runner._context
        assert (context.cancel_grace, context.job_grace) == (1, 2)
        assert (runner.max_restarts, runner.period) == (5, 9)
        assert runner._signals == []


def test_it_works_in_guest_mode() -> None:
    """S-RUN-4: a runner runs in a guest run, beside another loop."""
    log: list[Any] = []
    outcomes: list[Any] = []

    async def main() -> None:
        async with open_runner(Actor()) as runner:
            log.append(await runner.ask("actor", "work", {}))

    ready: queue.Queue[Any] = queue.Queue()

    def host() -> None:
        trio.lowlevel.start_guest_run(
            main, run_sync_soon_threadsafe=ready.put, done_callback=outcomes.append
        )
        while not outcomes:
            ready.get()()

    thread = threading.Thread(target=host)
    thread.start()
    thread.join()
    outcomes[0].unwrap()
    assert log == [{"by": "actor"}]


async def test_a_task_under_its_own_shield_is_waited_for(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-RUN-3, S-LIFE-11: a user's own shield cannot be cut; it is waited for and reported."""
    async with open_runner(Actor(), cancel_grace=2) as runner:
        await runner.send(Do(target="actor", act=stubborn(10)))
        await trio.sleep(1)
        await runner.cancel()
    assert trio.current_time() == pytest.approx(10)
    assert "has not stopped" in caplog.text


def test_ctrl_c_while_the_block_is_being_left() -> None:
    """S-RUN-4: KeyboardInterrupt that trio delivers at the end of the block leaves as it is."""
    log: list[Any] = []

    @trio.lowlevel.enable_ki_protection
    def press() -> None:
        signal.raise_signal(signal.SIGINT)

    async def act(me: Actor) -> None:
        press()
        await trio.sleep_forever()

    async def main() -> None:
        async with open_runner(Actor(stop=note(log, "stop"))) as runner:
            await runner.send(Do(target="actor", act=act))

    with pytest.raises(KeyboardInterrupt):
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert log == ["stop"]
