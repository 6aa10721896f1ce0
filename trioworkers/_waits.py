"""The wait-for graph: who cannot go on before whom.

Nodes are trio tasks and resources.  A task waits for at most one resource; a resource has
movers, the tasks and resources that must move before it is granted.  A wait that would close a
circle never ends, so it is refused before it begins.  Only waits that the framework makes are
known here: a handler's own child tasks and events are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import trio
from outcome import Error, Value
from trio.lowlevel import reschedule

from ._interrupts import protected

__all__ = ["Mover", "Resource", "WaitGraph"]

Mover: TypeAlias = "trio.lowlevel.Task | Resource"


class Resource(Protocol):
    """Something a task can wait for."""

    def wait_label(self) -> str:
        """Return the name of the worker that this resource belongs to."""
        ...

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return whether any one mover suffices (else all are needed), and the movers.

        Without movers the resource is granted without anybody's help.
        """
        ...


@protected
class WaitGraph:
    """All waits of one bus.

    `edges` is public to this package: the one who parks sets and removes its edge itself, because
    a function call for each would cost as much as the wait.
    """

    __slots__ = ("edges",)

    def __init__(self) -> None:
        """Start without waits."""
        self.edges: dict[trio.lowlevel.Task, Resource] = {}

    def release(self, task: trio.lowlevel.Task, error: Exception | None = None) -> None:
        """Let `task` go on, or fail: from now on, not when it runs, it waits for nothing."""
        self.edges.pop(task, None)
        reschedule(task, Value(None) if error is None else Error(error))

    def find_circle(self, task: trio.lowlevel.Task, resource: Resource) -> tuple[str, ...] | None:
        """Return the circle of names that would keep `task` waiting for `resource` for ever.

        None if the wait can end: everything that can move is let move, and then `resource` is
        granted.  Nothing here recurses: a chain of waits may be longer than the recursion limit.
        """
        if self._goes_on(task, resource):
            return None
        # What each resource is blocked by: other resources, or `task` itself (None).
        blockers: dict[Resource, list[Resource | None]] = {}
        # How many of them must go before it is granted, and which resources each holds up.
        missing: dict[Resource, int] = {}
        held_up: dict[Resource, list[Resource]] = {}
        found = [resource]
        for each in found:
            if each not in blockers:
                blockers[each], missing[each] = self._look_at(each, task)
                if each is resource and missing[each] <= 0:
                    return None
                for blocker in blockers[each]:
                    if blocker is not None:
                        held_up.setdefault(blocker, []).append(each)
                        found.append(blocker)
        _let_move(missing, held_up)
        if missing[resource] <= 0:
            return None
        return _name_circle(resource, blockers, missing)

    def _goes_on(self, task: trio.lowlevel.Task, resource: Resource) -> bool:
        """Tell the usual cases, quickly: no mover, or one other task that waits for nothing."""
        movers = resource.movers()[1]
        if len(movers) != 1 or movers[0] is task:
            return not movers
        mover = movers[0]
        return isinstance(mover, trio.lowlevel.Task) and mover not in self.edges

    def _look_at(
        self, resource: Resource, task: trio.lowlevel.Task
    ) -> tuple[list[Resource | None], int]:
        """Return what blocks `resource`, and how many of that must go before it is granted."""
        any_suffices, movers = resource.movers()
        missing = min(1, len(movers)) if any_suffices else len(movers)
        blockers: list[Resource | None] = []
        for mover in movers:
            if mover is task:
                blockers.append(None)
            elif not isinstance(mover, trio.lowlevel.Task):
                blockers.append(mover)
            elif (awaited := self.edges.get(mover)) is not None:
                blockers.append(awaited)
            else:
                missing -= 1
        return blockers, missing


def _let_move(missing: dict[Resource, int], held_up: dict[Resource, list[Resource]]) -> None:
    """Grant what can be granted, and what can be granted after that, until nothing moves."""
    granted = [each for each, count in missing.items() if count <= 0]
    for each in granted:
        for other in held_up.get(each, ()):
            missing[other] -= 1
            if missing[other] == 0:
                granted.append(other)


def _name_circle(
    start: Resource, blockers: dict[Resource, list[Resource | None]], missing: dict[Resource, int]
) -> tuple[str, ...]:
    """Return the names on the shortest way from `start` through what is stuck to the task."""
    came_from: dict[Resource, Resource | None] = {start: None}
    queue = [start]
    for last in queue:
        if None in blockers[last]:
            break
        for blocker in blockers[last]:
            if blocker is not None and missing[blocker] > 0 and blocker not in came_from:
                came_from[blocker] = last
                queue.append(blocker)
    else:
        # A circle without the task: one that its members could not see when they began to wait.
        last = queue[-1]
    names: list[str] = []
    step: Resource | None = last
    while step is not None:
        # A worker can stand behind several resources in a row; its name is wanted once.
        if not names or names[-1] != step.wait_label():
            names.append(step.wait_label())
        step = came_from[step]
    return (names[0], *reversed(names))
