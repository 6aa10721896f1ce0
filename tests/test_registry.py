"""The registry: names of ready workers, waits, watches and monitors."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trioworkers import (
    BackpressureDeadlockError,
    Down,
    Lagged,
    Registry,
    StopReason,
    Up,
    Worker,
    WorkerReadyData,
    WorkerRegistryEntry,
    open_runner,
)
from trioworkers._waits import WaitGraph

GONE = StopReason("ended", None, "w")


@pytest.fixture
def waits() -> WaitGraph:
    """Make the wait-for graph that the registry enters its waits in."""
    return WaitGraph()


@pytest.fixture
def registry(waits: WaitGraph) -> Registry:
    """Make an empty registry."""
    return Registry("main", waits)


def come(registry: Registry, name: str = "w") -> WorkerRegistryEntry:
    """Let a worker become ready."""
    entry = WorkerRegistryEntry(name, active=True)
    registry.register(entry)
    return entry


def test_entries(registry: Registry) -> None:
    """An entry is there from `register` to `unregister`, in the order of becoming ready."""
    b, a = come(registry, "b"), come(registry, "a")
    assert "a" in registry
    assert registry.get("a") is a
    assert registry.entries() == (b, a)
    registry.unregister("b", GONE)
    registry.unregister("b", GONE)
    assert registry.get("b") is None
    assert registry.entries() == (a,)


def test_an_entry_can_be_replaced(registry: Registry) -> None:
    """What is known of a worker changes with it; an update of an unknown one is ignored."""
    entry = attrs.evolve(come(registry), active=False)
    registry.update(entry)
    registry.update(WorkerRegistryEntry("other"))
    assert registry.entries() == (entry,)


def test_remote_workers_keep_their_runner(registry: Registry) -> None:
    """The name of another runner comes with a remote worker, and goes with it."""
    registry.register(WorkerRegistryEntry("far"), runner="elsewhere")
    come(registry)
    assert registry.ready_data("far") == WorkerReadyData("far", "elsewhere")
    assert registry.ready_data("w") == WorkerReadyData("w", "main")
    registry.unregister("far", None)
    come(registry, "far")
    assert registry.ready_data("far").runner == "main"


# Listeners


def test_a_listener_may_take_others_off_the_list(registry: Registry) -> None:
    """Who was taken off the list by a listener before it is not called any more."""
    heard: list[str] = []

    def second(_change: Any) -> None:
        heard.append("second")

    def first(_change: Any) -> None:
        heard.append("first")
        registry.unlisten("w", first)
        registry.unlisten("w", second)

    registry.listen("w", first)
    registry.listen("w", second)
    registry.listen("w", lambda change: heard.append("third"))
    come(registry)
    come(registry)
    assert heard == ["first", "third", "third"]


def test_a_listener_may_take_all_off_the_list(registry: Registry) -> None:
    """A listener that leaves nobody behind ends the round."""
    heard: list[object] = []

    def first(change: object) -> None:
        heard.append(change)
        registry.close()

    registry.listen("w", first)
    registry.listen("w", heard.append)
    come(registry)
    assert heard == [Up("w")]


def test_a_listener_may_add_another(registry: Registry) -> None:
    """Who was put on the list by a listener hears of the next change."""
    heard: list[object] = []
    registry.listen("w", lambda change: registry.listen("w", heard.append))
    come(registry)
    assert heard == []
    registry.unregister("w", GONE)
    assert heard == [Down("w", GONE)]


def test_listeners_leave_nothing_behind(registry: Registry) -> None:
    """A name that nobody listens to any more is forgotten."""
    registry.listen("w", print)
    assert registry.listener_count == 1
    registry.unlisten("w", print)
    registry.unlisten("w", print)
    assert registry.listener_count == 0
    assert registry._listeners == {}


# Waiting


async def test_wait_ready_returns_the_entry(registry: Registry) -> None:
    """A wait ends with the entry, at once if the worker is ready; it is a checkpoint each time."""
    entry = come(registry)
    with assert_checkpoints():
        assert await registry.wait_ready("w") is entry


async def test_wait_ready_waits(registry: Registry, waits: WaitGraph) -> None:
    """A wait outlasts other workers' news, and leaves nothing behind."""
    found: list[WorkerRegistryEntry] = []

    async def wait() -> None:
        found.append(await registry.wait_ready("w"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        come(registry, "other")
        await wait_all_tasks_blocked()
        assert found == []
        entry = come(registry)
    assert found == [entry]
    assert (registry.listener_count, waits.edges) == (0, {})


async def test_wait_ready_is_not_fooled_by_a_short_life(registry: Registry) -> None:
    """A worker that is gone before the waiter has its turn is waited for again."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.wait_ready, "w")
        await wait_all_tasks_blocked()
        come(registry)
        registry.unregister("w", GONE)
        await wait_all_tasks_blocked()
        assert registry.listener_count == 1
        come(registry)


async def test_a_cancelled_wait_leaves_nothing(registry: Registry, waits: WaitGraph) -> None:
    """A cancelled wait is no edge of the graph and no listener any more."""
    with trio.move_on_after(0) as scope:
        await registry.wait_ready("w")
    assert scope.cancelled_caught
    assert (registry.listener_count, waits.edges, registry._enders) == (0, {}, {})


class Start:
    """The start of a worker, which somebody must move."""

    def __init__(self, *movers: Any) -> None:
        self._movers = movers

    def wait_label(self) -> str:
        return "w"

    def movers(self) -> tuple[bool, tuple[Any, ...]]:
        return False, self._movers


async def test_waiting_for_whom_one_holds_up(registry: Registry) -> None:
    """A wait for a worker whose start waits for the caller is refused (S-MAIL-12)."""
    registry.starting("w", Start(trio.lowlevel.current_task()))
    with pytest.raises(BackpressureDeadlockError, match="w -> w") as caught:
        await registry.wait_ready("w")
    assert caught.value.cycle == ("w", "w")


async def test_the_start_is_forgotten(registry: Registry, waits: WaitGraph) -> None:
    """A wait looks at who starts now: the next incarnation, or nobody (S-MAIL-12)."""
    me = trio.lowlevel.current_task()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(registry.wait_ready, "w")
        await wait_all_tasks_blocked()
        (waiting,) = waits.edges.values()
        assert waiting.wait_label() == "w"
        assert waiting.movers() == (False, ())
        start = Start(me)
        registry.starting("w", start)
        assert waiting.movers() == (False, (start,))
        registry.starting("w", None)
        registry.starting("w", None)
        assert waiting.movers() == (False, ())
        nursery.cancel_scope.cancel()


# Watches


async def test_a_watch_is_called_each_time(registry: Registry) -> None:
    """A watch calls its handler whenever the worker becomes ready, at once if it is."""
    seen: list[WorkerReadyData] = []

    async def handler(data: WorkerReadyData) -> None:
        seen.append(data)

    async with trio.open_nursery() as nursery:
        registry.open(nursery.start_soon)
        come(registry)
        with assert_checkpoints():
            await registry.watch("w", handler)
        registry.unregister("w", GONE)
        come(registry)
    assert seen == [WorkerReadyData("w", "main")] * 2


async def test_handlers_wait_for_the_runner(registry: Registry) -> None:
    """What became ready before the runner runs handlers is told when it does."""
    seen: list[str] = []

    async def handler(data: WorkerReadyData) -> None:
        seen.append(data.worker_name)

    await registry.watch("w", handler)
    come(registry)
    assert seen == []
    async with trio.open_nursery() as nursery:
        registry.open(nursery.start_soon)
    assert seen == ["w"]


async def test_a_handler_is_looked_at(registry: Registry) -> None:
    """What is no async function is refused where it is passed."""
    for handler in (5, print):
        with pytest.raises(TypeError, match="handler must be an 'async def' function, not "):
            await registry.watch("w", handler)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def test_a_handler_that_raises_fails_by_itself() -> None:
    """A handler that raises ends the runner, not the worker that became ready."""

    async def raises(_data: WorkerReadyData) -> None:
        raise TypeError("mine")

    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match="mine")):
        async with open_runner(name="main") as runner:
            await runner.registry.watch("w", raises)
            worker = Worker("w")
            await runner.add_workers(worker)
            await trio.sleep_forever()
    assert worker.stop_reason is not None
    assert worker.stop_reason.path == "main"


# Monitors


async def test_a_monitor_tells_ups_and_downs(registry: Registry) -> None:
    """A monitor begins with `Up` if the worker is ready, and tells why it went (S-LIFE-5)."""
    come(registry)
    async with registry.monitor("w") as events:
        registry.unregister("w", GONE)
        registry.register(WorkerRegistryEntry("w"))
        assert [await anext(events) for _ in range(3)] == [Up("w"), Down("w", GONE), Up("w")]
    assert (registry.listener_count, registry._enders) == (0, {})


async def test_entering_a_monitor_is_a_checkpoint(registry: Registry) -> None:
    """Entering is a checkpoint; leaving is none, so that nothing is cut off."""
    manager = registry.monitor("w")
    with assert_checkpoints():
        await manager.__aenter__()
    await manager.__aexit__(None, None, None)


async def test_a_lagging_monitor_is_told(registry: Registry) -> None:
    """Who reads slowly gets `Lagged`, and the runner does not wait."""
    async with registry.monitor("w", capacity=1) as events:
        for _ in range(3):
            come(registry)
        assert [await anext(events) for _ in range(2)] == [Lagged(2), Up("w")]


async def test_a_monitor_that_was_left_has_ended(registry: Registry) -> None:
    """A task that still reads when the block is left gets the end, not an endless wait."""

    async def read(events: Any) -> None:
        async for _ in events:
            pass

    async with trio.open_nursery() as nursery:
        async with registry.monitor("w") as events:
            nursery.start_soon(read, events)  # noqa: ASYNC111 - it is to outlive the block
            await wait_all_tasks_blocked()


# Names, and the end


BAD_NAMES = [("", ValueError), ("a/b", ValueError), ("x" * 129, ValueError), (None, TypeError)]


@pytest.mark.parametrize(("name", "error"), BAD_NAMES)
async def test_bad_names(registry: Registry, name: Any, error: type[Exception]) -> None:
    """An impossible name is refused by each call that takes one (S-MSG-4)."""

    async def handler(_data: WorkerReadyData) -> None: ...

    with pytest.raises(error):
        await registry.wait_ready(name)
    with pytest.raises(error):
        await registry.watch(name, handler)
    with pytest.raises(error):
        await registry.monitor(name).__aenter__()


async def test_everything_ends_with_the_runner() -> None:
    """Waits and streams of others end when the runner does, and it says so (S-RUN-3)."""
    events: list[object] = []

    async def wait(registry: Registry) -> None:
        with pytest.raises(trio.ClosedResourceError, match="runner 'main' has stopped"):
            await registry.wait_ready("never")

    async def monitor(registry: Registry) -> None:
        async with registry.monitor("w") as stream:
            events.extend([type(event) async for event in stream])

    async with trio.open_nursery() as nursery:
        async with open_runner(Worker("w"), name="main") as runner:
            nursery.start_soon(wait, runner.registry)  # noqa: ASYNC111 - to outlive the runner
            nursery.start_soon(monitor, runner.registry)  # noqa: ASYNC111
            await wait_all_tasks_blocked()
    assert events == [Up, Down]


async def test_a_stopped_runner_is_told_of() -> None:
    """After the end each call says that there is nothing to wait for."""

    async def handler(_data: WorkerReadyData) -> None: ...

    async with open_runner(name="main") as runner:
        pass
    for call in (runner.registry.wait_ready("w"), runner.registry.watch("w", handler)):
        with pytest.raises(trio.ClosedResourceError, match="runner 'main' has stopped"):
            await call
    with pytest.raises(trio.ClosedResourceError):
        await runner.registry.monitor("w").__aenter__()
