"""What users subclass: construction, hooks, and the shortcuts to runner and bus."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from tests.lives import Actor, Do, Guardian, parent_of, sleep
from trioworkers import (
    BackpressureDeadlockError,
    NameTakenError,
    StopReason,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    handles,
    open_runner,
)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"name": "a/b"}, ValueError, "worker name 'a/b' is not allowed"),
        ({"name": 3}, TypeError, "worker name must be a str"),
        ({"mailbox_capacity": 0}, ValueError, "mailbox_capacity must be at least 1"),
        ({"mailbox_capacity": "9"}, TypeError, "mailbox_capacity must be an int"),
        ({"max_concurrent_jobs": True}, TypeError, "max_concurrent_jobs must be an int"),
        ({"active": "no"}, TypeError, "active must be a bool, not 'no'"),
        ({"overflow": "panic"}, ValueError, "overflow must be one of wait, refuse"),
    ],
)
def test_impossible_arguments(settings: Any, error: type[Exception], text: str) -> None:
    """A worker that cannot be is refused where it is made, with a word what is wrong."""
    with pytest.raises(error, match=text):
        Worker(**({"name": "worker"} | settings))


def test_two_handlers_for_one_type() -> None:
    """Two methods for one message type are refused where the class is made."""
    with pytest.raises(TypeError, match="two handlers for Do"):

        class Twice(Worker):
            @handles(Do)
            async def one(self, message: Do) -> None: ...

            @handles(Do)
            async def two(self, message: Do) -> None: ...


def test_a_worker_that_is_on_no_bus() -> None:
    """Before it is added a worker has a name and a state, and says what is missing."""
    worker = Worker("alone", active=False)
    assert repr(worker) == "<Worker 'alone'>"
    assert (worker.state, worker.active) == ("added", False)
    for look in ("parent", "children", "bus", "registry", "runner", "nursery", "stop_reason"):
        with pytest.raises(RuntimeError, match="'alone' is not on a bus"):
            getattr(worker, look)
    with pytest.raises(RuntimeError, match="is not on a bus"):
        worker.cleanup()


def test_unknown_events() -> None:
    """S-LIFE-4: an unknown event name is a ValueError that lists the names."""
    worker: Any = Worker("worker")
    with pytest.raises(ValueError, match="no event 'on_strat'; there are: on_activated, "):
        worker.event_handler("on_strat")


async def test_where_a_worker_is(autojump_clock: Any) -> None:
    """A worker knows its runner, bus, registry, parent and children."""
    child = Actor("child")
    actor = Actor(start=parent_of(child))
    async with open_runner(actor) as runner:
        assert actor.runner is runner
        assert actor.bus is runner.bus
        assert actor.registry is runner.registry
        assert (actor.parent, child.parent) == (None, "actor")
        assert list(actor.children.values()) == [child]
        assert (child.statistics().name, child.stop_reason) == ("child", None)


async def test_wrong_states(autojump_clock: Any) -> None:
    """S-LIFE-2: nursery and add_workers need a running worker; stop() is legal always."""
    actor = Actor()
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(actor, Actor("other"))
    with pytest.raises(RuntimeError, match="is not running"):
        _ = actor.nursery
    with pytest.raises(RuntimeError, match="is not running yet"):
        await actor.add_workers(Actor("child"))
    await actor.stop("early")
    assert (actor.state, actor.log) == ("stopped", [])
    assert actor.stop_reason == StopReason("ended", "early", f"{runner.name}/actor")
    await runner.end()
    await runner.run()
    await actor.wait_stopped()
    with pytest.raises(RuntimeError, match="is not running"):
        _ = actor.nursery


async def test_adding_while_stopping(autojump_clock: Any) -> None:
    """A worker that is stopping takes no more children, in no hook."""
    problems: list[str] = []

    async def add(me: Actor) -> None:
        try:
            await me.add_workers(Actor("child"))
        except RuntimeError as error:
            problems.append(str(error))

    async with open_runner(Actor(stop=add)) as runner:
        pass
    assert problems == [f"{runner.name}/actor is stopping and takes no more workers"]


async def cancelled_in_on_start(me: Actor) -> None:
    """Be cancelled before the start is over."""
    await me.runner.cancel_worker(me.name, "no")
    await trio.sleep_forever()


async def test_adding_children(autojump_clock: Any) -> None:
    """S-SUP-2: add_workers returns when every one is ready; a failing first start is raised."""
    actor = Guardian()
    async with open_runner(actor):
        await actor.add_workers(Actor("a", start=sleep(1)), lambda: Actor("b", start=sleep(1)))
        assert trio.current_time() == pytest.approx(2)
        assert list(actor.children) == ["a", "b"]
        with pytest.raises(NameTakenError):
            await actor.add_workers(Actor("a"))
        with pytest.raises(WorkerGoneError):
            await actor.add_workers(Actor("c", start=cancelled_in_on_start))
    assert actor.failures == []


async def test_children_that_wait_for_their_parent(autojump_clock: Any) -> None:
    """S-MAIL-12: a child whose start waits for the start of its parent is a circle."""
    child = Actor("child", start=lambda me: me.registry.wait_ready("actor"))
    with pytest.RaisesGroup(BackpressureDeadlockError):
        async with open_runner(Actor(start=parent_of(child))):
            pytest.fail("it was entered")


async def test_own_children_are_ended_and_cancelled(autojump_clock: Any) -> None:
    """end_worker and cancel_worker of a worker take its own children only."""
    a, b = Actor("a"), Actor("b")
    actor = Actor(start=parent_of(a, b))
    async with open_runner(actor, Actor("other")) as runner:
        for call in (actor.end_worker("other"), actor.cancel_worker("other")):
            with pytest.raises(
                ValueError, match="'other' is no child of 'actor'; its children are: a, b"
            ):
                await call
        await actor.end_worker("a", "bye")
        await actor.cancel_worker("b", "now")
        await a.wait_stopped()
        await b.wait_stopped()
        with pytest.raises(ValueError, match="its children are: none"):
            await actor.cancel_worker("a")
    path = f"{runner.name}/actor"
    assert a.stop_reason == StopReason("ended", "bye", path)
    assert b.stop_reason == StopReason("cancelled", "now", path)


@attrs.frozen
class Greeting:
    text: str


class Greeted(Actor):
    async def on_activated(self, args: Greeting | None) -> None:  # type: ignore[override]
        self.log.append(args)

    async def on_deactivated(self) -> None:
        self.log.append("off")


class Typed(Actor):
    async def on_activated(self, args: Greeting) -> None:  # type: ignore[override]
        self.log.append(args)


async def test_activation_with_arguments(autojump_clock: Any) -> None:
    """S-LIFE-6: arguments are structured like a payload; what does not fit is a dead letter."""
    actor, typed = Actor(), Typed("typed", active=False)
    async with open_runner(actor, typed) as runner:
        await actor.activate_worker("typed", Greeting("hello"))
        await actor.activate_worker("typed", {"text": "again"})
        await actor.activate_worker("typed", {"wrong": 1})
        await trio.sleep(1)
        assert runner.bus.dead_letters == {"bad payload": 1}
        with pytest.raises(TypeError, match="activation arguments are a dict"):
            await actor.activate_worker("typed", 3)
        with pytest.raises(ValueError, match="worker name"):
            await actor.activate_worker("a b")
    assert typed.log[1:3] == [Greeting("hello"), Greeting("again")]


async def test_handing_over(autojump_clock: Any) -> None:
    """S-LIFE-6: deactivate_self makes the giver inactive before the taker is active."""
    giver, taker = Greeted("giver"), Greeted("taker", active=False)
    async with open_runner(giver, taker):
        await giver.activate_worker("taker", {"text": "hi"}, deactivate_self=True)
        await trio.sleep(1)
        assert (giver.active, taker.active) == (False, True)
        await taker.deactivate_worker("taker")
        await trio.sleep(1)
        assert not taker.active
    assert giver.log == ["start", None, "off", "stop"]
    assert taker.log == ["start", Greeting("hi"), "off", "stop"]


async def test_watching_an_impossible_name(autojump_clock: Any) -> None:
    """A name that cannot be is refused where it is watched."""
    async with open_runner(Actor()) as runner:
        worker: Any = runner.get_worker("actor")
        with pytest.raises(ValueError, match="worker name"):
            await worker.watch_worker("a:b")
