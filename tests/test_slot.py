"""The life of one worker: start, stop, failure, clean-up."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.lives import (
    Actor,
    Do,
    DoNow,
    Guardian,
    Interrupt,
    Tracer,
    crash,
    forever,
    note,
    nothing,
    parent_of,
    sleep,
    until,
)
from trioworkers import (
    Backoff,
    BusWorkerErrorMessage,
    BusWorkerLocalErrorMessage,
    Job,
    JobRefusedError,
    Restart,
    StopReason,
    Worker,
    WorkerErrorData,
    WorkerGoneError,
    WorkerReadyData,
    WorkerRunner,
    handles,
    job,
    open_runner,
)


class Gentle(Actor):
    """Waits long before it is restarted."""

    backoff = Backoff(initial=10, jitter=0)


class GentleGuardian(Guardian):
    backoff = Backoff(initial=10, jitter=0)


# States


async def test_the_states_of_a_normal_life(autojump_clock: Any) -> None:
    """S-LIFE-1: added, starting, ready, ending, stopped; inactive or not does not matter."""
    actor = Actor(start=sleep(2), stop=sleep(2), active=False)
    assert actor.state == "added"
    runner = WorkerRunner(handle_sigint=False)
    tracer = Tracer(runner)
    await runner.add_workers(actor)
    assert actor.state == "added"
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await actor.stop()
    assert tracer.of("actor") == ["starting", "ready", "ending", "stopped"]


async def test_the_states_of_other_lives(autojump_clock: Any) -> None:
    """S-LIFE-1: a cancelled worker is cancelled, a failed one failed."""
    runner = WorkerRunner(handle_sigint=False)
    tracer = Tracer(runner)
    await runner.add_workers(Actor("one"), Actor("two"))
    with pytest.RaisesGroup(ValueError):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_flat, runner)
            await runner.registry.wait_ready("two")
            await runner.cancel_worker("one")
            await runner.send(Do(target="two", act=crash))
    assert tracer.of("one") == ["starting", "ready", "cancelled"]
    assert tracer.of("two") == ["starting", "ready", "failed"]


async def run_flat(runner: WorkerRunner) -> None:
    """Run, and raise the only exception of the group."""
    try:
        await runner.run()
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # noqa: ASYNC123 - tests one exception


async def test_the_worker_tree_is_the_nursery_tree(autojump_clock: Any) -> None:
    """S-LIFE-2: a child's task is in its parent's nursery, and scopes are new for each life."""
    child, scopes = Actor("child"), []
    child.start = lambda me: note(scopes, me.nursery.cancel_scope)(me)
    async with open_runner(Actor(start=parent_of(child, restart=Restart.PERMANENT))) as runner:
        actor: Any = runner.get_worker("actor")
        names = {task.name for task in actor.nursery.child_tasks}
        assert names == {f"worker {runner.name}/actor/child"}
        assert child.parent == "actor"
        assert actor.parent is None
        assert dict(actor.children) == {"child": child}
        await child.stop()
        await trio.sleep(5)
    assert len(set(map(id, scopes))) == 2


async def test_nothing_sent_between_add_and_ready_is_lost(autojump_clock: Any) -> None:
    """S-LIFE-3: what was sent to a worker before it is ready is handled when it is."""
    log: list[Any] = []
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(Actor(start=sleep(5)))
    await runner.send(Do(target="actor", act=note(log, "added")))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        await runner.send(Do(target="actor", act=note(log, "starting")))
        await runner.send(DoNow(target="actor", act=note(log, "system")))
        assert await runner.ask("actor", "work", {}) == {"by": "actor"}
        await runner.end()
    assert log == ["system", "added", "starting"]


# Hooks


async def test_on_stop_runs_if_on_start_was_begun(autojump_clock: Any) -> None:
    """S-LIFE-4: on_stop runs after an on_start that raised."""
    actor = Actor(start=crash)
    async with open_runner() as runner:
        with pytest.raises(ValueError, match="crash") as caught:
            await runner.add_workers(actor)
    assert caught.value.__notes__ == [f"in worker {runner.name}/actor"]
    assert actor.log == ["start", "stop"]


async def test_cancelled_before_the_first_step(autojump_clock: Any) -> None:
    """S-LIFE-4, S-LIFE-8: a worker cancelled before its first step runs no hook."""
    actor = Actor()
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(actor, Actor("other"))
    await runner.cancel_worker("actor")
    assert actor.state == "cancelled"
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        await runner.end()
    assert actor.log == []


@pytest.mark.parametrize("target", ["child", "parent"])
async def test_cancelled_between_add_and_first_step(autojump_clock: Any, target: str) -> None:
    """S-LIFE-4: nor does one whose task was made, but made no step before the cancel."""
    child, parent = Actor("child"), Actor("parent")
    ran = 0

    class Cancelling(Tracer):
        def worker_state_changed(self, worker: str, state: str) -> None:
            nonlocal ran
            # The last moment before user code would run.
            if worker == "child" and state == "starting":
                ran += 1
                node: Any = runner.get_worker(target)._node  # type: ignore[union-attr]
                node.cancel("now", "test")

    async with open_runner(parent, cancel_grace=1) as runner:
        Cancelling(runner)
        await runner.send(Do(target="parent", act=add_quietly(child)))
        await child_gone(child)
    assert ran == 1
    assert child.log == []


def add_quietly(child: Actor) -> Any:
    """Make an act that adds a child, whatever becomes of it."""

    async def act(worker: Actor) -> None:
        with pytest.raises((WorkerGoneError, trio.Cancelled)) as caught:
            await worker.add_workers(child)
        if isinstance(caught.value, trio.Cancelled):
            raise caught.value

    return act


async def child_gone(child: Actor) -> None:
    """Wait until a worker that may not have been added yet has stopped."""
    await trio.sleep(1)
    await child.wait_stopped()


async def test_a_cancelled_parent_before_the_childs_first_step(autojump_clock: Any) -> None:
    """S-LIFE-4: a scope above that is cancelled before the first step counts too."""
    child = Actor("child")
    with trio.CancelScope() as scope:
        async with open_runner() as runner:

            async def cancel_soon() -> None:
                await until(lambda: runner.get_worker("child") is not None)
                scope.cancel()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(cancel_soon)
                await runner.add_workers(child)
    assert child.log in ([], ["start", "stop"])
    assert child.state == "cancelled"


@pytest.mark.parametrize("hook", ["start", "activated", "at_stop"])
async def test_a_hook_that_raises_fails_the_worker(autojump_clock: Any, hook: str) -> None:
    """S-LIFE-10: an exception that leaves a hook is a failure, and on_stop ran once."""
    actor = Actor()
    setattr(actor, hook, crash)
    with pytest.RaisesGroup(ValueError) as caught:
        async with open_runner(actor):
            await trio.sleep(1)
    (error,) = caught.value.exceptions
    assert str(error) == "crash"
    assert actor.log == ["start", "stop"]
    assert actor.state == "failed"


async def test_event_handlers_run_after_the_method(autojump_clock: Any) -> None:
    """S-LIFE-4: @event_handler adds to the same hook of one object, in order."""
    actor = Actor()

    @actor.event_handler("on_start")
    async def first(worker: Actor) -> None:
        worker.log.append("first")

    @actor.event_handler("on_start")
    async def second(worker: Actor) -> None:
        worker.log.append("second")

    async with open_runner(actor):
        assert actor.log == ["start", "first", "second"]
    assert first.__name__ == "first"


async def test_an_event_handler_that_raises(autojump_clock: Any) -> None:
    """S-LIFE-4: an exception of an event handler propagates like the method's own."""
    actor = Actor()

    @actor.event_handler("on_activated")
    async def fail(worker: Worker, args: Any) -> None:
        await crash(worker)

    with pytest.RaisesGroup(ValueError):
        async with open_runner(actor):
            await trio.sleep_forever()


# Ready


async def test_ready_is_announced_after_on_start(autojump_clock: Any) -> None:
    """S-LIFE-5: the registry entry lives exactly from the end of on_start to the stop."""
    actor = Actor(start=sleep(1))
    async with open_runner() as runner:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.add_workers, actor)
            await trio.sleep(0.5)
            assert "actor" not in runner.registry
        entry = runner.registry.get("actor")
        assert entry is not None
        assert (entry.name, entry.parent, entry.active) == ("actor", None, True)
        await actor.stop()
        await actor.wait_stopped()
        assert "actor" not in runner.registry


class Watcher(Actor):
    """Writes down who became ready."""

    def __init__(self, *names: str, **settings: Any) -> None:
        super().__init__("watcher", **settings)
        self.names = names
        self.ready: list[WorkerReadyData] = []

    async def on_start(self) -> None:
        for name in self.names:
            await self.watch_worker(name)
        await super().on_start()

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        self.ready.append(data)


async def test_watched_workers_and_children(autojump_clock: Any) -> None:
    """S-LIFE-5: watch_worker tells each time, at once if it is ready; children are watched."""
    watcher = Watcher("early", "late", start=parent_of(Actor("child")))
    async with open_runner(Actor("early"), watcher) as runner:
        late = Actor("late")
        await runner.add_workers(late, restart=Restart.PERMANENT)
        await late.stop()
        await trio.sleep(1)
    names = [data.worker_name for data in watcher.ready]
    assert sorted(names) == ["child", "early", "late", "late"]
    assert {data.runner for data in watcher.ready} == {runner.name}


async def test_a_watch_ends_with_the_worker(autojump_clock: Any) -> None:
    """S-LIFE-5: a watch ends with the incarnation; the next one watches anew, and adds none."""
    watcher = Watcher("late")
    async with open_runner() as runner:
        await runner.add_workers(watcher, restart=Restart.PERMANENT)
        await watcher.stop()
        await trio.sleep(1)
        assert runner.registry.listener_count == 1
        await runner.end_worker("watcher")
        await watcher.wait_stopped()
        assert runner.registry.listener_count == 0


async def test_a_thousand_jobs_leave_the_tables_as_they_were(autojump_clock: Any) -> None:
    """S-LIFE-5: jobs leave every table as it was."""
    async with open_runner(Actor()) as runner:
        node: Any = runner.get_worker("actor")._node  # type: ignore[union-attr]
        for _ in range(1000):
            await runner.ask("actor", "work", {})
        assert not runner.bus.open_requests
        assert not node.desk.running
        assert not node.desk.queue
        assert len(node.nursery.child_tasks) == 0
        assert node.statistics().jobs_served == 1000


async def test_a_restart_watches_anew(autojump_clock: Any) -> None:
    """S-LIFE-5: a new incarnation is told at once who is ready, and only of whom it watches."""
    watcher = Watcher("early", "other")
    async with open_runner(Actor("early"), Actor("other")) as runner:
        await runner.add_workers(watcher, restart=Restart.PERMANENT)
        await trio.sleep(1)
        watcher.names = ("early",)
        await watcher.stop()
        await trio.sleep(1)
        assert [data.worker_name for data in watcher.ready] == ["early", "other", "early"]
        await runner.end_worker("other")
        await runner.get_worker("other").wait_stopped()  # type: ignore[union-attr]  # pyright: ignore[reportOptionalMemberAccess]
        await runner.add_workers(Actor("other"))
        await trio.sleep(1)
        assert len(watcher.ready) == 3


# Activity


async def test_activation_is_ordered_with_the_data(autojump_clock: Any) -> None:
    """S-LIFE-6: data before an activation is dead, data and requests behind it are handled."""
    log: list[Any] = []
    actor = Actor(active=False)
    async with open_runner(actor, Actor("other")) as runner:
        tracer = Tracer(runner)
        await runner.send(Do(target="actor", act=note(log, "before")))
        with pytest.raises(JobRefusedError, match="inactive"):
            await runner.ask("actor", "work", {})
        other: Any = runner.get_worker("other")
        await other.activate_worker("actor")
        await other.send(Do(target="actor", act=note(log, "behind")))
        assert await other.ask("actor", "work", {}) == {"by": "actor"}
        assert actor.active
        await other.deactivate_worker("actor")
        await other.send(Do(target="actor", act=note(log, "after")))
        await trio.sleep(1)
        entry = runner.registry.get("actor")
        assert entry is not None
        assert not entry.active
    assert log == ["behind"]
    assert tracer.reasons == ["inactive", "inactive"]


class Planned(Actor):
    """Is activated with a dict of numbers."""

    async def on_activated(self, args: dict[str, int]) -> None:
        self.log.append(args)


async def test_a_broadcast_behind_an_activation(autojump_clock: Any) -> None:
    """S-BUS-2, S-LIFE-6: a broadcast keeps its place behind an activation in the lane."""
    log: list[Any] = []
    first, second = Planned("first", active=False), Planned("second", active=False)
    async with open_runner(first, second, Actor("other", active=False)) as runner:
        tracer = Tracer(runner)
        other: Any = runner.get_worker("other")
        other.send_nowait(Do(act=note(log, "too early")))
        await other.activate_worker("first", {"n": 1})
        other.send_nowait(DoNow(act=note(log, "overtakes")))
        other.send_nowait(Do(act=note(log, "at once")))
        await other.send(Do(act=note(log, "behind")))
        await trio.sleep(1)
        assert first.log == ["start", {"n": 1}]
        assert log == ["at once", "behind"]
        assert not tracer.reasons
        await other.activate_worker("second", {"n": "1"})
        await other.send(Do(act=note(log, "of both")))
        await trio.sleep(1)
    assert log == ["at once", "behind", "of both"]
    assert tracer.reasons == ["bad payload", "inactive"]


async def test_an_inactive_worker_handles_system_messages(autojump_clock: Any) -> None:
    """S-LIFE-6: system messages for an inactive worker by name are handled."""
    log: list[Any] = []
    actor = Actor(active=False)
    async with open_runner(actor) as runner:
        await runner.send(DoNow(target="actor", act=note(log, "system")))
        await trio.sleep(1)
        assert not actor.active
    assert log == ["system"]


# End


async def test_an_ending_worker_finishes_what_it_has(autojump_clock: Any) -> None:
    """S-LIFE-7: queued messages are handled and jobs end before on_stop; new ones are refused."""
    actor = Actor()
    async with open_runner(actor) as runner:
        tracer = Tracer(runner)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.ask, "actor", "work", {"seconds": 5})
            await trio.sleep(1)
            await runner.send(Do(target="actor", act=sleep(1)))
            await runner.send(Do(target="actor", act=note(actor.log, "queued")))
            await runner.end_worker("actor", "bye")
            await runner.send(Do(target="actor", act=note(actor.log, "late")))
            with pytest.raises(JobRefusedError, match="ending"):
                await runner.ask("actor", "work", {})
            actor.log.append("refused")
        await actor.wait_stopped()
    assert actor.log == ["start", "refused", "queued", "stop"]
    assert tracer.reasons == ["ending"]
    assert actor.stop_reason == StopReason("ended", "bye", runner.name)


async def test_requests_of_own_jobs_while_ending(autojump_clock: Any) -> None:
    """S-LIFE-7: an ending worker serves the requests of its own jobs and of its descendants."""
    answers: list[Any] = []

    class Asking(Actor):
        @job()
        async def outer(self, job: Job, payload: dict[str, Any]) -> None:
            await trio.sleep(2)
            answers.append(await self.ask("actor", "work", {}))

    async def ask_parent(child: Actor) -> None:
        answers.append(await child.ask("actor", "work", {}))

    child = Actor("child", stop=ask_parent)
    actor = Asking(start=parent_of(child))
    async with open_runner(actor) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.ask, "actor", "outer", {})
        await trio.sleep(1)
        await runner.end_worker("actor")
        await actor.wait_stopped()
    assert answers == [{"by": "actor"}, {"by": "actor"}]


async def test_children_end_in_reverse_order(autojump_clock: Any) -> None:
    """S-LIFE-7: children are ended one by one, in reverse, while their messages are handled."""
    log: list[str] = []

    def child(name: str) -> Actor:
        async def farewell(me: Actor) -> None:
            await trio.sleep(1)
            await me.send(Do(target="actor", act=note(log, f"from {me.name}")))
            log.append(f"{me.name} stops")

        return Actor(name, stop=farewell)

    actor = Actor(start=parent_of(child("a"), child("b"), child("c")))
    async with open_runner(actor) as runner:
        await runner.end_worker("actor")
        await actor.wait_stopped()
    assert [entry for entry in log if "stops" in entry] == ["c stops", "b stops", "a stops"]
    assert sorted(entry for entry in log if "from" in entry) == ["from a", "from b", "from c"]
    assert log.index("from c") < log.index("b stops")


async def test_what_is_left_in_the_nursery_is_cancelled(autojump_clock: Any) -> None:
    """S-LIFE-7: background tasks are cancelled after the children have stopped, before on_stop."""
    log: list[Any] = []

    async def background() -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            log.append(cancelled.reason)
            raise

    async def start(me: Actor) -> None:
        me.nursery.start_soon(background)
        await me.add_workers(Actor("child", stop=note(log, "child")))

    async with open_runner(Actor(start=start, stop=note(log, "stop"))):
        await trio.sleep(1)
    assert log == ["child", "the worker has ended", "stop"]


async def test_the_end_deadline_covers_the_subtree(autojump_clock: Any) -> None:
    """S-LIFE-7, S-LIFE-9: after the deadline what is left is cancelled, with that reason."""
    child = Actor("child")
    actor = Actor(start=parent_of(child))
    async with open_runner(actor) as runner:
        await runner.send(Do(target="child", act=forever))
        began = trio.current_time()
        await runner.end_worker("actor", "bye", deadline=7)
        await actor.wait_stopped()
        assert trio.current_time() == pytest.approx(began + 7)
    reason = StopReason("cancelled", "end deadline", runner.name)
    assert (actor.stop_reason, child.stop_reason) == (reason, reason)
    assert (actor.state, child.state) == ("cancelled", "cancelled")


async def test_an_on_start_that_never_returns(autojump_clock: Any) -> None:
    """S-LIFE-7: an end during on_start waits for it, until the deadline."""
    actor = Actor(start=forever)
    async with open_runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(add_expecting_gone, runner, actor)
        await trio.sleep(1)
        await runner.end_worker("actor", deadline=2)
        await actor.wait_stopped()
        assert trio.current_time() == pytest.approx(3)
    assert actor.log == ["start", "stop"]


async def add_expecting_gone(runner: WorkerRunner, actor: Actor) -> None:
    """Add a worker that stops before it is ready."""
    with pytest.raises(WorkerGoneError):
        await runner.add_workers(actor)


async def test_an_end_during_on_start(autojump_clock: Any) -> None:
    """S-LIFE-3, S-LIFE-7: what was queued before the end is handled once on_start returned."""
    log: list[Any] = []
    actor = Actor(start=sleep(3))
    async with open_runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, actor)
        await trio.sleep(1)
        await runner.send(Do(target="actor", act=note(log, "queued")))
        await runner.end_worker("actor")
        assert actor.state == "ending"
        await actor.wait_stopped()
    assert log == ["queued"]
    assert actor.state == "stopped"


async def test_stop_in_on_start(autojump_clock: Any) -> None:
    """S-LIFE-7: a worker may stop itself in on_start; it is ready, and then ends."""
    actor = Actor(start=lambda me: me.stop("no need"))
    async with open_runner(actor) as runner:
        await actor.wait_stopped()
        assert actor.stop_reason == StopReason("ended", "no need", f"{runner.name}/actor")


async def test_a_child_stops_itself_while_its_parent_ends(autojump_clock: Any) -> None:
    """S-LIFE-7: a permanent child that stops while its parent ends is not restarted."""
    child = Actor("child", stop=sleep(3))
    actor = Actor(start=parent_of(child, restart=Restart.PERMANENT))
    async with open_runner(actor) as runner:
        await child.stop()
        await trio.sleep(1)
        await runner.end_worker("actor")
        await actor.wait_stopped()
        assert trio.current_time() < 10
    assert child.log == ["start", "stop"]


async def test_a_child_in_backoff_while_its_parent_ends(autojump_clock: Any) -> None:
    """S-LIFE-7: an end does not wait for a restart."""
    child = Actor("child")
    actor = Gentle(start=parent_of(child, restart=Restart.PERMANENT))
    async with open_runner(actor) as runner:
        await child.stop()
        await trio.sleep(1)
        await runner.end_worker("actor")
        await actor.wait_stopped()
        assert trio.current_time() == pytest.approx(1)
    assert child.log == ["start", "stop"]


async def test_a_parent_ends_while_it_hears_of_a_failure(autojump_clock: Any) -> None:
    """S-LIFE-7: a child that fails is not restarted if its parent ends in on_worker_failed."""
    child = Actor("child")
    actor = Guardian(start=parent_of(child, restart=Restart.PERMANENT), failed=sleep(2))
    async with open_runner(actor) as runner:
        await runner.send(Do(target="child", act=crash))
        await trio.sleep(1)
        await runner.end_worker("guardian")
        await actor.wait_stopped()
        assert trio.current_time() == pytest.approx(2)
    assert child.log == ["start", "stop"]
    assert actor.state == "stopped"


# Cancel


async def test_one_cut_off_for_the_whole_subtree(autojump_clock: Any) -> None:
    """S-LIFE-8: on_stop on each of five levels is cut at the same moment."""
    leaf = Actor("level-4", stop=forever)
    for level in reversed(range(4)):
        leaf = Actor(f"level-{level}", start=parent_of(leaf), stop=forever)
    async with open_runner(leaf, cancel_grace=3) as runner:
        await runner.cancel("now")
        await runner.wait_stopped()
        assert trio.current_time() == pytest.approx(3)


async def test_cleanup_is_shielded_and_finally_is_not(autojump_clock: Any) -> None:
    """S-LIFE-8: blocks of cleanup() run until the cut-off, a plain finally is cancelled."""
    log: list[Any] = []

    async def act(me: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with me.cleanup():
                await trio.sleep(1)  # noqa: ASYNC102 - that is what is tested
                log.append("cleaned")
            with me.cleanup() as scope:
                await trio.sleep_forever()  # noqa: ASYNC102 - that is what is tested
            log.append((scope.cancelled_caught, trio.current_time()))
            try:
                await trio.lowlevel.checkpoint()  # noqa: ASYNC102 - that is what is tested
            finally:
                log.append("level")

    actor = Actor(stop=note(log, "stop"))
    async with open_runner(actor, cancel_grace=3) as runner:
        await runner.send(Do(target="actor", act=act))
        await trio.sleep(1)
        await runner.cancel_worker("actor")
        await actor.wait_stopped()
    assert log == ["cleaned", (True, pytest.approx(4)), "level", "stop"]


@pytest.mark.parametrize("how", ["host", "nursery", "runner", "crash"])
async def test_the_cut_off_counts_from_the_cancellation(autojump_clock: Any, how: str) -> None:
    """S-LIFE-8: clean-ups in a row have one grace together, whatever cancelled them."""

    async def act(me: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            for _ in range(3):
                with me.cleanup():
                    await trio.sleep(2)  # noqa: ASYNC102 - that is what is tested

    actor = Actor(stop=forever)
    with trio.CancelScope() as scope:
        try:
            async with open_runner(actor, cancel_grace=3) as runner:
                await runner.send(Do(target="actor", act=act))
                await trio.sleep(1)
                match how:
                    case "host":
                        scope.cancel()
                    case "nursery":
                        actor.nursery.cancel_scope.cancel()
                        await actor.wait_stopped()
                    case "runner":
                        await runner.cancel()
                        await runner.wait_stopped()
                    case _:
                        actor.nursery.start_soon(crash, None)
                await trio.sleep_forever() if how == "crash" else None
        except* ValueError:
            assert how == "crash"
    assert trio.current_time() == pytest.approx(4)


async def test_a_crash_bounds_the_clean_ups_of_jobs(autojump_clock: Any) -> None:
    """S-LIFE-8: a job in cleanup() when its worker fails is cut after the grace."""
    actor = Actor()
    with pytest.RaisesGroup(ValueError):
        async with open_runner(actor, cancel_grace=3) as runner, trio.open_nursery() as nursery:
            nursery.start_soon(runner.ask, "actor", "shielded_work", {"seconds": 100})
            await trio.sleep(1)
            await runner.send(Do(target="actor", act=crash))
            await actor.wait_stopped()
            assert trio.current_time() == pytest.approx(4)


async def test_a_cancel_escalates_an_end(autojump_clock: Any) -> None:
    """S-LIFE-8: cancel during end escalates it, also during on_stop, with the new reason."""
    actor = Actor(stop=forever)
    async with open_runner(actor, cancel_grace=2) as runner:
        await runner.end_worker("actor", "gently")
        await trio.sleep(5)
        assert actor.log == ["start", "stop"]
        await runner.cancel_worker("actor", "now")
        await actor.wait_stopped()
        assert trio.current_time() == pytest.approx(7)
    assert actor.stop_reason == StopReason("cancelled", "now", runner.name)


async def test_end_and_cancel_are_idempotent(autojump_clock: Any) -> None:
    """S-LIFE-8: repeated and late calls change nothing; an end does not soften a cancel."""
    actor = Actor(stop=sleep(1))
    async with open_runner(actor) as runner:
        await runner.cancel_worker("actor", "first")
        await runner.cancel_worker("actor", "second")
        await runner.end_worker("actor", "third", deadline=100)
        await actor.wait_stopped()
        await actor.stop("fourth")
        actor._node.cancel("fifth", "x")
        await actor.wait_stopped()
    assert actor.log == ["start", "stop"]
    assert actor.stop_reason == StopReason("cancelled", "first", runner.name)


@pytest.mark.parametrize("hook", ["start", "activated", "at_stop"])
@pytest.mark.parametrize("how", ["end_worker", "cancel_worker"])
async def test_ending_from_inside_a_hook(autojump_clock: Any, hook: str, how: str) -> None:
    """S-LIFE-8: end and cancel are legal inside any hook."""
    actor = Actor()
    setattr(actor, hook, lambda me: getattr(me.runner, how)("actor", "inside"))
    async with open_runner() as runner:
        with trio.CancelScope() as scope:
            try:
                await runner.add_workers(actor)
            except WorkerGoneError:
                scope.cancel()
        if hook == "at_stop":
            await runner.end_worker("actor", "outside")
        await actor.wait_stopped()
    assert actor.log == ["start", "stop"]
    assert actor.stop_reason is not None


async def test_cancelled_during_on_start(autojump_clock: Any) -> None:
    """S-LIFE-8: cancel during on_start stops it, and add_workers says why."""
    actor = Actor(start=forever)
    async with open_runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(add_expecting_gone, runner, actor)
        await trio.sleep(1)
        await runner.cancel_worker("actor", "no")
    assert actor.log == ["start", "stop"]


async def test_adding_is_cancelled(autojump_clock: Any) -> None:
    """S-LIFE-8: a child whose add_workers is cancelled is cancelled too."""
    actor = Actor(start=forever)
    async with open_runner() as runner:
        with trio.move_on_after(1):
            await runner.add_workers(actor)
        await actor.wait_stopped()
    assert actor.stop_reason == StopReason(
        "cancelled", "whoever added it was cancelled", runner.name
    )


async def test_an_on_stop_that_is_cut_off_is_reported(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-LIFE-8: an on_stop cut off after the grace period is in the log."""
    async with open_runner(Actor(stop=forever), cancel_grace=1) as runner:
        await runner.cancel()
    assert "on_stop of" in caplog.text
    assert "was cut off after the grace period" in caplog.text


async def test_a_child_in_backoff_when_its_parent_is_cancelled(autojump_clock: Any) -> None:
    """S-LIFE-8: cancel during restart backoff leaves no child behind, nor its name."""
    child = Actor("child")
    actor = Gentle(start=parent_of(child, restart=Restart.PERMANENT))
    async with open_runner(actor) as runner:
        await child.stop()
        await trio.sleep(1)
        await runner.cancel_worker("actor")
        await actor.wait_stopped()
        assert child.state == "cancelled"
        await runner.add_workers(Actor("child"))
    assert child.log == ["start", "stop"]


async def test_a_child_in_backoff_when_its_parent_restarts(autojump_clock: Any) -> None:
    """S-SUP-3: a parent that fails while a child waits for its restart can add it again."""
    children: list[Actor] = []

    async def start(me: Actor) -> None:
        children.append(Actor("child"))
        await me.add_workers(children[-1], restart=Restart.PERMANENT)

    actor = Gentle(start=start)
    async with open_runner() as runner:
        await runner.add_workers(actor, restart=Restart.PERMANENT)
        await children[0].stop()
        await trio.sleep(1)
        await runner.send(Do(target="actor", act=crash))
        await trio.sleep(2)
        assert [child.state for child in children] == ["failed", "ready"]


async def test_a_child_in_backoff_can_be_cancelled(autojump_clock: Any) -> None:
    """S-LIFE-8: a cancel of a child in backoff closes it at once."""
    child = Actor("child")
    async with open_runner(Gentle(start=parent_of(child, restart=Restart.PERMANENT))) as runner:
        await child.stop()
        await trio.sleep(1)
        await runner.cancel_worker("child", "enough")
        await child.wait_stopped()
        assert trio.current_time() == pytest.approx(1)
    assert child.stop_reason == StopReason("cancelled", "enough", runner.name)


# Reasons


async def test_the_reason_reaches_everybody(autojump_clock: Any) -> None:
    """S-LIFE-9: on_stop, the requester of a job and Cancelled know reason and origin."""
    seen: list[Any] = []

    async def look(me: Actor) -> None:
        seen.append(me.stop_reason)

    async def cancelled(me: Actor) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as error:
            seen.append(error.reason)
            raise

    child = Actor("child", stop=look)
    async with open_runner(Actor(start=parent_of(child))) as runner:
        await runner.send(Do(target="child", act=cancelled))
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(WorkerGoneError) as caught:
                    await runner.ask("child", "work", {"seconds": 99})
                seen.append(caught.value.reason)

            nursery.start_soon(ask)
            await trio.sleep(1)
            await runner.cancel_worker("actor", "too hot")
    reason = StopReason("cancelled", "too hot", runner.name)
    assert {reason, "too hot", str(reason)} == set(seen)


async def test_the_reason_of_a_nursery_that_its_owner_cancelled(autojump_clock: Any) -> None:
    """S-LIFE-9: on_stop knows that the worker's own nursery was cancelled, and by what."""
    reasons: list[Any] = []
    actor = Actor(stop=lambda me: note(reasons, me.stop_reason)(me))
    async with open_runner(actor) as runner:
        actor.nursery.cancel_scope.cancel(reason="mine")
        await actor.wait_stopped()
    assert reasons == [StopReason("cancelled", "mine", f"{runner.name}/actor")]
    assert actor.stop_reason == reasons[0]


async def test_the_reason_of_children_of_a_failing_nursery(autojump_clock: Any) -> None:
    """S-LIFE-9: children of a worker whose background task failed know that it failed."""
    reasons: list[Any] = []
    child = Actor("child", stop=lambda me: note(reasons, me.stop_reason)(me))
    actor = Actor(start=parent_of(child))
    with pytest.RaisesGroup(ValueError):
        async with open_runner(actor) as runner:
            actor.nursery.start_soon(crash, None)
            await trio.sleep_forever()
    assert [(each.kind, each.path) for each in reasons] == [("failed", f"{runner.name}/actor")]
    assert "crash" in reasons[0].reason


@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_the_reason_of_a_cancelled_host(autojump_clock: Any, how: str) -> None:
    """S-LIFE-9: on_stop knows that a scope round the runner was cancelled."""
    reasons: list[Any] = []
    actor = Actor(stop=lambda me: note(reasons, me.stop_reason)(me))
    with trio.move_on_after(5) as scope:
        async with open_runner(actor) as runner:
            if how == "cancel":
                scope.cancel(reason="host")
            await trio.sleep_forever()
    assert [(each.kind, each.path) for each in reasons] == [("cancelled", runner.name)]
    text = "host" if how == "cancel" else "a deadline has passed"
    assert reasons[0].reason in (text, "the block was cancelled")


# Failures


@pytest.mark.parametrize("where", ["data", "system", "background"])
async def test_failures_of_all_kinds(autojump_clock: Any, where: str) -> None:
    """S-LIFE-10: data handler, system handler and nursery; the group is flat, paths are notes."""
    child = Actor("child")
    with pytest.RaisesGroup(ValueError) as caught:
        async with open_runner(Actor(start=parent_of(child))) as runner:
            if where == "background":
                child.nursery.start_soon(crash, None)
            else:
                await runner.send((Do if where == "data" else DoNow)(target="child", act=crash))
            await trio.sleep_forever()
    (error,) = caught.value.exceptions
    assert isinstance(error, ValueError)
    assert error.__notes__ == [f"in worker {runner.name}/actor/child"]
    assert child.state == "failed"


async def test_several_errors_are_one_flat_group(autojump_clock: Any) -> None:
    """S-LIFE-10: errors of a handler, of on_stop and of the parent's on_stop, side by side."""

    def fail(text: str) -> Any:
        async def act(_me: Actor) -> None:
            raise ValueError(text)

        return act

    child = Actor("child", stop=fail("child stops"))
    with pytest.RaisesGroup(ValueError, ValueError, ValueError) as caught:
        async with open_runner(Actor(start=parent_of(child), stop=fail("stops"))) as runner:
            await runner.send(Do(target="child", act=fail("child")))
            await trio.sleep_forever()
    assert [str(e) for e in caught.value.exceptions] == ["child", "child stops", "stops"]


async def test_a_failure_is_offered_to_the_parent(autojump_clock: Any) -> None:
    """S-LIFE-10: on_worker_failed gets it, and the parent lives on."""
    child = Actor("child")
    guardian = Guardian(start=parent_of(child))
    async with open_runner(guardian) as runner:
        await runner.send(Do(target="child", act=crash))
        await child.wait_stopped()
        await trio.sleep(1)
        assert guardian.state == "ready"
        assert dict(guardian.children) == {}
    (data,) = guardian.failures
    assert isinstance(data, WorkerErrorData)
    assert (data.worker_name, data.error) == ("child", "ValueError: crash")
    assert isinstance(data.exception, ValueError)


async def test_a_parent_whose_hook_raises(autojump_clock: Any) -> None:
    """S-LIFE-10: if on_worker_failed raises, the parent fails with the child's error too."""

    async def fail(_me: Actor) -> None:
        raise KeyError("hook")

    guardian = Guardian(start=parent_of(Actor("child")), failed=fail)
    with pytest.RaisesGroup(KeyError, ValueError):
        async with open_runner(guardian) as runner:
            await runner.send(Do(target="child", act=crash))
            await trio.sleep_forever()


async def test_a_child_that_fails_while_its_parent_ends(autojump_clock: Any) -> None:
    """S-LIFE-10: a parent that is stopping is not asked; the failure goes up."""
    child = Actor("child", stop=crash)
    guardian = Guardian(start=parent_of(child))
    with pytest.RaisesGroup(ValueError):
        async with open_runner(guardian) as runner:
            await runner.end_worker("guardian")
            await trio.sleep_forever()
    assert guardian.failures == []


async def test_failures_are_published(autojump_clock: Any) -> None:
    """S-LIFE-10: errors of children and of roots are announced on the bus."""
    async with (
        open_runner(Guardian(start=parent_of(Actor("child")))) as runner,
        runner.bus.open_subscription(BusWorkerLocalErrorMessage, BusWorkerErrorMessage) as messages,
    ):
        await runner.add_workers(Actor("root"), restart=Restart.TEMPORARY)
        await runner.send(Do(target="child", act=crash))
        await trio.sleep(1)
        await runner.send(Do(target="root", act=crash))
        await trio.sleep(1)
        local: Any = await anext(messages)
        remote: Any = await anext(messages)
    assert (local.source, local.target, local.error) == ("child", "guardian", "ValueError: crash")
    assert (remote.source, remote.error) == ("root", "ValueError: crash")


async def test_a_crash_in_on_stop_while_cancelled(autojump_clock: Any) -> None:
    """S-LIFE-10: an on_stop that raises after a cancel makes it a failure."""
    actor = Actor(stop=crash)
    with pytest.RaisesGroup(ValueError):
        async with open_runner(actor) as runner:
            await runner.cancel_worker("actor")
            await trio.sleep_forever()
    assert actor.state == "failed"


async def test_a_permanent_child_that_fails_in_a_cancelled_host(autojump_clock: Any) -> None:
    """S-RUN-1: the failure of a clean-up is not restarted and not lost when a host is cancelled."""
    actor = Actor(stop=crash)
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(actor, restart=Restart.PERMANENT)
    with pytest.RaisesGroup(ValueError), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(run_quietly, runner)
            scope.cancel()
    assert actor.log == ["start", "stop"]


async def run_quietly(runner: WorkerRunner, **options: Any) -> None:
    """Run, and raise a lone exception as it is."""
    try:
        await runner.run(**options)
    except ExceptionGroup as group:
        raise group.exceptions[0] from None  # noqa: ASYNC123 - tests one exception


async def test_a_keyboard_interrupt_out_of_a_handler(autojump_clock: Any) -> None:
    """S-LIFE-10: what is no Exception goes through everything, after on_stop of all."""

    async def interrupt(_me: Actor) -> None:
        raise KeyboardInterrupt

    child, other = Actor("child"), Actor("other")
    actor = Guardian(start=parent_of(child))
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(other, actor)

    @runner.event_handler("on_ready")
    async def ready(_runner: WorkerRunner) -> None:
        await runner.send(Do(target="child", act=interrupt))

    with pytest.raises(KeyboardInterrupt):
        await runner.run()
    assert actor.failures == []
    assert all(each.log == ["start", "stop"] for each in (child, other, actor))
    assert child.stop_reason == StopReason("failed", "KeyboardInterrupt", child._node.path)


# Messages for who is no longer there


@pytest.mark.parametrize("kind", [DoNow, Interrupt, Do])
async def test_a_message_for_a_crashed_worker(autojump_clock: Any, kind: Any) -> None:
    """S-SUP-4: what arrives during on_stop of a crash is kept for the next life."""
    log: list[Any] = []
    actor = Actor(stop=sleep(2))
    async with open_runner() as runner:
        tracer = Tracer(runner)
        await runner.add_workers(actor, restart=Restart.PERMANENT)
        await runner.send(Do(target="actor", act=crash))
        await trio.sleep(1)
        actor.at_stop = nothing
        if kind is Do:
            with pytest.raises(trio.TooSlowError), trio.fail_after(0):
                await trio.sleep_forever()
        else:
            runner.send_nowait(kind(target="actor", act=note(log, "kept")))
        await trio.sleep(5)
    assert log == ([] if kind is Do else ["kept"])
    assert tracer.reasons == ["crashed"]


async def test_asking_oneself_in_on_stop(autojump_clock: Any) -> None:
    """S-JOB-3: a request of its own in on_stop cannot be served, and is refused at once."""
    answers: list[Any] = []

    async def ask(me: Actor) -> None:
        with pytest.raises(JobRefusedError) as caught:
            await me.ask("actor", "work", {})
        answers.append(caught.value.reason)

    async with open_runner(Actor(stop=ask)):
        pass
    assert answers == ["deadlock"]


async def test_a_restart_with_another_class(autojump_clock: Any) -> None:
    """S-SUP-1: a function may make a worker of another class; its handlers count."""

    class Other(Worker):
        @handles(Do)
        async def other(self, message: Do) -> None:
            log.append("other")

    log: list[Any] = []
    kinds = iter([Actor, Other])
    async with open_runner() as runner:
        tracer = Tracer(runner)
        await runner.add_workers(lambda: next(kinds)("actor"), restart=Restart.PERMANENT)
        first: Any = runner.get_worker("actor")
        await first.stop()
        await trio.sleep(1)
        assert isinstance(runner.get_worker("actor"), Other)
        await runner.send(Do(target="actor"))
        await runner.send(DoNow(target="actor"))
        await trio.sleep(1)
    assert log == ["other"]
    assert tracer.reasons == ["unhandled"]


async def test_several_wait_for_the_stop(autojump_clock: Any) -> None:
    """Any number of tasks may wait until a worker has stopped, also afterwards."""
    actor, ended = Actor(stop=sleep(2)), []
    async with open_runner(actor), trio.open_nursery() as nursery:

        async def wait() -> None:
            await actor.wait_stopped()
            ended.append(trio.current_time())

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.sleep(1)
        await actor.stop()
        await wait()
    assert ended == [pytest.approx(3)] * 3


async def test_interrupted_twice(autojump_clock: Any) -> None:
    """S-LIFE-10: what leaves a handler and what leaves on_stop both go on."""

    async def interrupt(_me: Actor) -> None:
        raise KeyboardInterrupt

    async def leave(_me: Actor) -> None:
        raise SystemExit(3)

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(Actor(stop=leave))
    await runner.send(Do(target="actor", act=interrupt))
    with pytest.RaisesGroup(KeyboardInterrupt, SystemExit):
        await runner.run()


async def test_a_parent_ends_before_a_failure_is_settled(autojump_clock: Any) -> None:
    """S-LIFE-7, S-LIFE-10: a child that fails in the very step of its parent's end is not lost."""
    for _ in range(10):
        child = Actor("child")
        with pytest.RaisesGroup(ValueError):
            async with open_runner(Guardian(start=parent_of(child))) as runner:

                async def fail(me: Actor) -> None:
                    await me.runner.end_worker("guardian")
                    raise ValueError

                await runner.send(Do(target="child", act=fail))
                await trio.sleep_forever()
        assert child.state == "failed"
