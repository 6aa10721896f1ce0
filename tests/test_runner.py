"""The runner: running, ending, what it returns and raises."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.lives import Actor, Do, Tracer, assert_empty, crash, forever, note, parent_of, sleep
from trioworkers import (
    BusActivateWorkerMessage,
    BusAddWorkerMessage,
    BusCancelMessage,
    BusEndMessage,
    JobRefusedError,
    LocalBus,
    NameTakenError,
    Restart,
    StopReason,
    Worker,
    WorkerRunner,
    WorkerState,
    open_runner,
)


@pytest.fixture
def runner() -> WorkerRunner:
    """Make a runner without signal handlers."""
    return WorkerRunner("runner", handle_sigint=False, end_deadline=30, cancel_grace=3)


async def run_in(nursery: trio.Nursery, runner: WorkerRunner, results: list[Any]) -> None:
    """Start the runner, and keep what run() returns."""

    async def run(**options: Any) -> None:
        results.append(await runner.run(**options))

    await nursery.start(run)


# What run() returns and raises


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_run_returns_why_it_stopped(autojump_clock: Any, runner: Any, how: str) -> None:
    """S-RUN-1, S-LIFE-9: run() returns a StopReason after end or cancel."""
    await runner.add_workers(Actor())
    assert runner.state == "added"
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        await run_in(nursery, runner, results)
        assert runner.state == "ready"
        await getattr(runner, how)("enough")
        assert runner.state == "ending"
    kind = {"end": "ended", "cancel": "cancelled"}[how]
    assert results == [StopReason(kind, "enough", "runner")]  # type: ignore[arg-type]
    assert runner.stop_reason == results[0]
    assert runner.state == {"end": "stopped", "cancel": "cancelled"}[how]
    assert_empty(runner)


async def test_run_raises_the_group_of_a_crash(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1, S-LIFE-10: one flat group, whatever the depth of the tree."""
    actors = [Actor(name, stop=crash) for name in "abc"]
    await runner.add_workers(Actor(start=parent_of(Actor("p", start=parent_of(*actors)))))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(raises_group, runner, 3)
        await runner.registry.wait_ready("actor")
        await runner.end()
    assert runner.state == "failed"
    assert runner.stop_reason == StopReason(
        "failed", "; ".join(["ValueError: crash"] * 3), "runner"
    )
    assert_empty(runner)


async def raises_group(runner: WorkerRunner, count: int) -> None:
    """Run, and expect a flat group of some ValueErrors."""
    with pytest.RaisesGroup(*[ValueError] * count):
        await runner.run()


async def test_a_cancelled_host_scope(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1: run() raises Cancelled when a scope round it was cancelled."""
    await runner.add_workers(Actor(stop=sleep(1)))
    with trio.move_on_after(5) as scope:
        await runner.run()
    assert scope.cancelled_caught
    assert trio.current_time() == pytest.approx(6)
    assert runner.stop_reason == StopReason("cancelled", "a deadline has passed", "runner")
    assert_empty(runner)


async def test_a_clean_up_that_fails_in_a_cancelled_host(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1: if a clean-up fails, the group of those errors is raised instead of Cancelled."""
    await runner.add_workers(Actor(stop=crash), Actor("other"))
    with trio.move_on_after(5) as scope, pytest.RaisesGroup(ValueError):
        await runner.run()
    assert not scope.cancelled_caught
    assert_empty(runner)


@pytest.mark.parametrize("how", ["ready", "end", "cancel", "end before", "cancel before", "gone"])
async def test_started_is_called_on_every_path(autojump_clock: Any, runner: Any, how: str) -> None:
    """S-RUN-1: nursery.start(runner.run) returns whenever run() does not raise."""
    actor = Actor(start=sleep(0 if how == "ready" else 10))
    await runner.add_workers(actor)
    if how.endswith("before"):
        await getattr(runner, how.split()[0])("early")

    async def stop() -> None:
        await trio.sleep(1)
        await (runner.cancel_worker("actor") if how == "gone" else getattr(runner, how)())

    async with trio.open_nursery() as nursery:
        if how in ("end", "cancel"):
            nursery.start_soon(stop)
        assert await nursery.start(runner.run) is None or how
        await runner.end()
    assert actor.log == ([] if how.endswith("before") else ["start", "stop"])


async def test_what_started_gives(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1: nursery.start(runner.run) gives the runner, with every worker ready."""
    await runner.add_workers(Actor("a", start=sleep(2)), Actor("b", start=sleep(2)))
    async with trio.open_nursery() as nursery:
        assert await nursery.start(runner.run) is runner
        assert {"a", "b"} == {entry.name for entry in runner.registry.entries()}
        assert trio.current_time() == pytest.approx(4)
        await runner.end()


async def test_a_first_on_start_that_raises(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1, S-SUP-2: run() raises it in a group, and started() is not called."""
    await runner.add_workers(Actor("a"), Actor("b", start=crash))
    with pytest.RaisesGroup(pytest.RaisesGroup(ValueError)):
        async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - shorter
            await nursery.start(runner.run)
    assert_empty(runner)


async def test_on_ready_handlers(autojump_clock: Any, runner: Any) -> None:
    """on_ready is called with the runner when every root is ready; there is no other event."""
    ready: list[Any] = []

    @runner.event_handler("on_ready")
    async def handler(which: WorkerRunner) -> None:
        ready.append((which, "actor" in which.registry))

    await runner.add_workers(Actor())
    with pytest.raises(ValueError, match="there is no event 'on_redy'; there is: on_ready"):
        runner.event_handler("on_redy")
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert ready == [(runner, True)]
        await runner.end()


async def test_on_ready_of_a_runner_that_stops(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1: a runner that is told to stop while it starts does not say that it is ready."""
    ready: list[Any] = []

    @runner.event_handler("on_ready")
    async def handler(which: WorkerRunner) -> None:
        ready.append(which)

    await runner.add_workers(Actor(start=lambda _: runner.end("enough")))
    assert (await runner.run()).reason == "enough"
    assert not ready


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_a_long_on_ready_handler(autojump_clock: Any, runner: Any, how: str) -> None:
    """S-RUN-1: it does not hold up an end or a cancel, and none is called after it."""
    log: list[Any] = []

    @runner.event_handler("on_ready")
    async def forever(_runner: WorkerRunner) -> None:
        log.append("ready")
        try:
            await trio.sleep_forever()
        finally:
            log.append(("cut", trio.current_time()))

    runner.event_handler("on_ready")(note(log, "never"))
    await runner.add_workers(Actor(stop=note(log, "stop")))
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_in, nursery, runner, results)
        await trio.sleep(1)
        assert runner.state is WorkerState.READY
        began = trio.current_time()
        await getattr(runner, how)("enough")
        await runner.wait_stopped()
    kind: Any = "ended" if how == "end" else "cancelled"
    assert results == [StopReason(kind, "enough", "runner")]
    assert sorted(log, key=str) == [("cut", began), "ready", "stop"]
    assert trio.current_time() == began


@pytest.mark.parametrize("sleeps", [True, False])
async def test_an_on_ready_handler_that_ends_the_runner(
    autojump_clock: Any, runner: Any, sleeps: bool
) -> None:
    """S-RUN-1: it is cancelled at its next checkpoint, if any, and no further one is called."""
    log: list[Any] = []

    @runner.event_handler("on_ready")
    async def end(which: WorkerRunner) -> None:
        await which.end("enough")
        log.append("told")
        if sleeps:
            await trio.sleep(1)
            log.append("never")

    runner.event_handler("on_ready")(note(log, "never"))
    await runner.add_workers(Actor())
    await runner.run()
    assert log == ["told"]
    assert runner.stop_reason == StopReason("ended", "enough", "runner")


async def test_auto_end_waits_for_on_ready(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1, S-RUN-5: what a handler of on_ready has begun it finishes, without workers too."""
    log: list[Any] = []

    @runner.event_handler("on_ready")
    async def work(which: WorkerRunner) -> None:
        await which.end_worker("actor")
        await trio.sleep(1)
        log.append("done")

    await runner.add_workers(Actor())
    assert (await runner.run()).reason == "the last worker has stopped"
    assert log == ["done"]


async def test_an_on_ready_handler_that_raises(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1: an exception of on_ready leaves run() in its group."""
    runner.event_handler("on_ready")(crash)
    await runner.add_workers(Actor())
    await raises_group(runner, 1)
    assert_empty(runner)


async def test_a_watch_handler_that_raises(autojump_clock: Any, runner: Any) -> None:
    """S-LIFE-5, S-LIFE-9: it ends the runner, and its workers know that the runner failed."""
    reasons: list[Any] = []
    actor = Actor(stop=lambda me: note(reasons, me.stop_reason)(me))
    await runner.add_workers(actor)
    await runner.registry.watch("actor", crash)
    await raises_group(runner, 1)
    assert [(each.kind, each.path) for each in reasons] == [("failed", "runner")]
    assert runner.stop_reason == StopReason("failed", "ValueError: crash", "runner")


async def test_nothing_is_left(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-3: after run() no task is left, and no entry of any table."""
    task = trio.lowlevel.current_task()
    nurseries = list(task.child_nurseries)
    await runner.add_workers(Actor(start=parent_of(Actor("child"))), restart=Restart.PERMANENT)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        nursery.start_soon(runner.ask, "actor", "work", {"seconds": 1})
        await trio.sleep(0.5)
        await runner.end()
    assert task.child_nurseries == nurseries
    assert_empty(runner)


# When it may be used


async def test_run_needs_workers(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-5: with no worker run() raises ValueError, unless auto_end is off."""
    with pytest.raises(ValueError, match="no workers"):
        await runner.run()
    with trio.move_on_after(5) as scope:
        await runner.run(auto_end=False)
    assert scope.cancelled_caught


async def test_run_twice(autojump_clock: Any, runner: Any) -> None:
    """A runner runs once: a second run() is refused, at the same time or later."""
    await runner.add_workers(Actor(start=lambda me: me.stop()))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        with pytest.raises(RuntimeError, match="was run before"):
            await runner.run()
    with pytest.raises(RuntimeError, match="was run before"):
        await runner.run()


async def test_adding_in_wrong_states(autojump_clock: Any, runner: Any) -> None:
    """Workers are added before the run or while it runs; not while it stops, nor after."""
    await runner.add_workers(Actor(stop=sleep(5)))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.add_workers(Actor("second"))
        await runner.end()
        with pytest.raises(RuntimeError, match="is stopping"):
            await runner.add_workers(Actor("third"))
    with pytest.raises(RuntimeError, match="has stopped: make a new one"):
        await runner.add_workers(Actor("fourth"))


async def test_what_may_be_added(autojump_clock: Any, runner: Any) -> None:
    """A worker is added once, its name is free, and it is a worker."""
    actor: Any = Actor()
    await runner.add_workers(actor)
    with pytest.raises(RuntimeError, match="was added already"):
        await runner.add_workers(actor)
    with pytest.raises(NameTakenError):
        await runner.add_workers(Actor())
    with pytest.raises(TypeError, match="expected a Worker"):
        await runner.add_workers("actor")
    with pytest.raises(TypeError, match="restart must be"):
        await runner.add_workers(Actor("other"), restart="permanent")


@pytest.mark.parametrize(
    "what", ["end_deadline", "cancel_grace", "job_grace", "max_restarts", "period"]
)
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_negative_times(what: str, value: float) -> None:
    """A time or number that is negative, or none, is a ValueError at construction."""
    settings: Any = {what: value}
    with pytest.raises((TypeError, ValueError), match=f"{what} must (not be negative|be an int)"):
        WorkerRunner(**settings)


async def test_negative_deadlines(autojump_clock: Any, runner: Any) -> None:
    """A deadline that is negative is a ValueError wherever it is given."""
    actor = Actor(start=parent_of(Actor("child")))
    await runner.add_workers(actor)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        for call in (
            runner.end(deadline=-1),
            runner.end_worker("actor", deadline=-1),
            actor.end_worker("child", deadline=float("nan")),
        ):
            with pytest.raises(ValueError, match="deadline must not be negative"):
                await call
        await runner.end(deadline=0)


async def test_names(autojump_clock: Any) -> None:
    """A runner has a name of its own, made up if need be; a bus has it once."""
    assert WorkerRunner().name != WorkerRunner().name
    with pytest.raises(ValueError, match="runner name"):
        WorkerRunner("a:b")
    bus = LocalBus()
    one = WorkerRunner("one", bus=bus)
    assert repr(one) == "<WorkerRunner 'one' added>"
    with pytest.raises(NameTakenError):
        WorkerRunner("one", bus=bus)


# Looking


async def test_looking_at_a_runner(autojump_clock: Any, runner: Any) -> None:
    """Children are roots, get_worker finds any worker, statistics() counts."""
    child = Actor("child")
    actor = Actor(start=parent_of(child))
    await runner.add_workers(actor)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert dict(runner.children) == {"actor": actor}
        assert runner.get_worker("child") is child
        assert runner.get_worker("runner") is None
        await runner.send(Do(target="nobody"))
        statistics = runner.statistics()
        assert (statistics.name, statistics.workers, statistics.open_jobs) == ("runner", 2, 0)
        assert statistics.dead_letters == {"unknown": 1}
        assert child.statistics().name == "child"
        for call in (runner.end_worker("nobody"), runner.cancel_worker("nobody")):
            with pytest.raises(ValueError, match="no worker of runner 'runner'; there are: actor"):
                await call
        await runner.end()


async def test_instruments(autojump_clock: Any, runner: Any) -> None:
    """An instrument hears until it is removed; what is none is refused."""
    with pytest.raises(TypeError, match="is no Instrument"):
        runner.add_instrument(print)
    sent: list[Any] = []

    class Sent(Tracer):
        def message_sent(self, message: Any) -> None:
            sent.append(message)

    instrument = Sent(runner)
    await runner.add_workers(Actor())
    await runner.send(Do(target="actor"))
    runner.remove_instrument(instrument)
    runner.remove_instrument(instrument)
    await runner.send(Do(target="actor"))
    assert len(sent) == 1
    await runner.cancel()
    await runner.run()


async def test_the_runner_on_the_bus(autojump_clock: Any, runner: Any) -> None:
    """S-BUS-6: it is a name without mailbox and jobs; two runners share a bus by name."""
    await runner.add_workers(Actor())
    other = WorkerRunner("other", bus=runner.bus, handle_sigint=False)
    tracer = Tracer(runner)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        with pytest.raises(JobRefusedError, match="a runner serves no jobs"):
            await runner.ask("runner", "work", {})
        await runner.send(Do(target="runner"))
        assert runner.get_worker("other") is None
        assert other.get_worker("actor") is None
        await runner.end()
    other.abandon()
    assert len(tracer.letters) == 1


# Stopping


async def test_roots_end_in_reverse_order(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-6: one after the other in reverse order, and who has not had its turn takes jobs."""
    log: list[Any] = []

    async def ask(me: Actor) -> None:
        log.append((me.name, await me.ask("first", "work", {"seconds": 1})))

    await runner.add_workers(
        Actor("first", stop=note(log, "first")), Actor("b", stop=ask), Actor("c", stop=ask)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.end()
        await trio.sleep(0.5)
        assert runner.get_worker("first").state == "ready"
        assert runner.get_worker("c").state == "ending"
    assert log == [("c", {"by": "first"}), ("b", {"by": "first"}), "first"]


async def test_one_deadline_for_the_whole(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-6, S-LIFE-7: three roots that never finish end at the one deadline."""
    actors = [Actor(name) for name in "abc"]
    await runner.add_workers(*actors)
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        await run_in(nursery, runner, results)
        for actor in actors:
            await runner.send(Do(target=actor.name, act=forever))
        await trio.sleep(1)
        await runner.end("bye", deadline=7)
        await runner.end("again", deadline=100)
        await runner.wait_stopped()
        assert trio.current_time() == pytest.approx(8)
    assert results == [StopReason("cancelled", "end deadline", "runner")]


async def test_a_shorter_deadline_wins(autojump_clock: Any, runner: Any) -> None:
    """S-LIFE-8: a second end may shorten the deadline; cancel still escalates."""
    await runner.add_workers(Actor(stop=forever))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.end(deadline=100)
        await runner.end(deadline=50)
        await trio.sleep(10)
        await runner.cancel()
        await runner.wait_stopped()
        assert trio.current_time() == pytest.approx(13)
    await runner.end()
    await runner.cancel()


@pytest.mark.parametrize("message", [BusEndMessage, BusCancelMessage])
async def test_workers_stop_the_runner(autojump_clock: Any, runner: Any, message: Any) -> None:
    """S-LIFE-9: end() and cancel() of a worker stop everything; the path names the worker."""
    actor = Actor()
    await runner.add_workers(actor)
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        await run_in(nursery, runner, results)
        await (actor.end if message is BusEndMessage else actor.cancel)("mine")
    assert [(each.reason, each.path) for each in results] == [("mine", "runner/actor")]


async def test_add_worker_messages(autojump_clock: Any, runner: Any) -> None:
    """A worker that is sent to the runner is added as a root."""
    actor, second = Actor(), Actor("second")
    await runner.add_workers(actor)
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await actor.send(BusAddWorkerMessage(worker=second))
        await runner.registry.wait_ready("second")
        assert second.parent is None
        await runner.end()


async def test_auto_end(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-5: run() returns when the last root has stopped, those added later included."""
    actor, late = Actor(), Actor("late")

    async def handover(me: Actor) -> None:
        await runner.add_workers(late)
        await me.stop()

    actor.start = handover
    await runner.add_workers(actor)
    results: list[Any] = []
    async with trio.open_nursery() as nursery:
        await run_in(nursery, runner, results)
        await actor.wait_stopped()
        await trio.sleep(1)
        assert results == []
        await late.stop()
    assert results == [StopReason("ended", "the last worker has stopped", "runner")]


async def test_jobs_are_cancelled_by_an_outsider(autojump_clock: Any, runner: Any) -> None:
    """S-JOB-7: cancel_job is False for what is unknown or not cancellable."""
    await runner.add_workers(Actor())
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        assert not await runner.cancel_job("nonsense")
        async with runner.job("actor", "work", {"seconds": 1}, cancellable=False) as pending:
            assert not await runner.cancel_job(pending.id)
        pending = runner.job("actor", "work", {"seconds": 99})
        with pytest.raises(Exception, match="was cancelled by runner: why"):
            async with pending:
                assert await runner.cancel_job(pending.id, "why")
        await runner.end()


async def test_activation_through_the_bus(autojump_clock: Any, runner: Any) -> None:
    """A runner sends activation as anybody does."""
    await runner.add_workers(Actor(active=False))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.send(BusActivateWorkerMessage(target="actor"))
        await trio.sleep(1)
        assert runner.get_worker("actor").active
        await runner.end()


async def test_kinds_of_problems(autojump_clock: Any, runner: Any) -> None:
    """S-RUN-1: an exception that is no Exception leaves with the errors beside it, in a group."""

    async def interrupt(_me: Worker) -> None:
        raise KeyboardInterrupt

    await runner.add_workers(Actor("a", stop=crash), Actor("b", stop=interrupt))
    await runner.add_workers(Actor("c", stop=interrupt))
    with (
        pytest.RaisesGroup(KeyboardInterrupt, KeyboardInterrupt, ValueError),
        trio.move_on_after(1),
    ):
        await runner.run()
    assert_empty(runner)


async def test_adding_names_that_are_taken_to_an_open_runner(autojump_clock: Any) -> None:
    """S-RUN-3: workers that could not all be added leave no name on a shared bus."""
    bus = LocalBus()
    with pytest.raises(NameTakenError):
        async with open_runner(Actor(), Actor(), bus=bus):
            pytest.fail("it was entered")
    assert not bus._routes
