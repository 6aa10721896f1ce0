"""Looks into runners and buses: the one place among these tools that reads private names."""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any, cast

import trio

from .._runner import WorkerRunner
from .._slot import Slot
from .._values import WorkerState

__all__ = ["busy", "descendants", "is_busy", "leftovers", "owners", "serves", "tables"]

# Tables that are meant to stay: counters, caches by class, what is told after the end; and the
# runners that are running, by which we know whether the other tables must be empty.
_STAY = {"_kinds", "_reported", "_runner_names", "dead_letters", "errors"}

_RUNNING = (WorkerState.STARTING, WorkerState.READY, WorkerState.ENDING)


# Idleness


def is_busy(slot: Slot) -> bool:
    """Tell whether a worker starts, ends, has messages queued or in hand, or runs jobs."""
    box, turns, desk = slot.mailbox, slot.turns, slot._desk
    if slot.closed:
        return False
    return bool(
        slot.state in (WorkerState.STARTING, WorkerState.ENDING)
        or box.data
        or box.system
        or box.waiting
        or (desk is not None and (desk.running or desk.queue))
        or (turns is not None and (turns.in_hand is not None or turns.system_busy))
    )


def busy(runner: WorkerRunner) -> Slot | None:
    """Return a worker of `runner` that is busy, or None."""
    return next((slot for slot in runner._workers() if is_busy(slot)), None)


def serves(runner: WorkerRunner, task: trio.lowlevel.Task) -> Slot | None:
    """Return the worker of `runner` whose handler, hook or job `task` runs, or None."""
    for slot in runner._workers():
        if task is slot.task:
            return slot
        if slot.turns is not None and task is slot.turns.system_task:
            return slot
        if slot._desk is not None and any(task is job.task for job in slot._desk.running.values()):
            return slot
    return None


# Leaks


def leftovers(runner: WorkerRunner) -> list[str]:
    """Describe what a runner that has run left behind; nothing for one that never ran."""
    if runner.state is WorkerState.ADDED:
        return []
    if runner.state in _RUNNING:
        return [f"runner {runner.name!r} is still running"]
    bus, context, root = runner.bus, runner._context, runner._root
    found = [
        f"worker {name!r} of runner {runner.name!r} is still on the bus"
        for name, route in bus._routes.items()
        if route is root or (isinstance(route, Slot) and route.context is context)
    ]
    for owner in owners(runner):
        found += [
            f"{type(owner).__name__} of runner {runner.name!r} still holds {name} = {value!r}"
            for name, value in tables(owner)
            if _holds(value)
        ]
    return found + _tasks(runner.name)


def owners(runner: WorkerRunner) -> list[object]:
    """Return the objects with tables that must be empty when `runner` has stopped."""
    bus, context = runner.bus, runner._context
    shared = [] if bus._runner_names else [bus, bus.waits]
    return [runner.registry, runner._watchdog, context, runner._root, *shared]


def tables(owner: object) -> Iterator[tuple[str, Any]]:
    """Yield the containers among the attributes of `owner`, whatever their names."""
    names = [*getattr(owner, "__dict__", ())]
    for cls in type(owner).__mro__:
        slots: str | tuple[str, ...] = cls.__dict__.get("__slots__", ())
        names += [slots] if isinstance(slots, str) else slots
    for name in names:
        value = getattr(owner, name, None)
        if isinstance(value, dict | list | set | deque) and name not in _STAY:
            yield name, cast("Any", value)


def _holds(table: Mapping[Any, Any] | Iterable[Any]) -> bool:
    """Tell whether a table holds anything; empty tables inside it do not count."""
    values = cast("Iterable[object]", table.values() if isinstance(table, Mapping) else table)
    return any(not (isinstance(value, Sized) and len(value) == 0) for value in values)


def _tasks(runner_name: str) -> list[str]:
    """Describe the tasks that bear the name of a runner, inside a trio run."""
    if not trio.lowlevel.in_trio_run():
        return []
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return [
        f"task {task.name!r} still runs"
        for task in descendants(root)
        # "job count of runner-1/counter": its paths begin with the runner's name.
        if any(word.partition("/")[0] == runner_name for word in task.name.split())
    ]


def descendants(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    """Yield `task` and all tasks below it."""
    tasks = [task]
    while tasks:
        task = tasks.pop()
        yield task
        for nursery in task.child_nurseries:
            tasks.extend(nursery.child_tasks)
