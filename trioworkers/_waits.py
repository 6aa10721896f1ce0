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


class WaitGraph:
    """All waits of one bus.

    `edges` is public to this package: the one who parks sets and removes its edge itself, because
    a function call for each would cost as much as the wait.
    """

    __slots__ = ("edges",)

    def __init__(self) -> None:
        """Start without waits."""
        self.edges: dict[trio.lowlevel.Task, Resource] = {}

    def find_circle(
        self, task: trio.lowlevel.Task, resource: Resource
    ) -> tuple[str, ...] | None:
        """Return the circle of names that `task` would close by waiting for `resource`."""
        labels = self._stuck(resource, task, {})
        if labels is None:
            return None
        circle = [labels[-1]]
        # A worker can stand behind several resources in a row; its name is wanted once.
        circle += [name for before, name in zip([""] + labels, labels) if name != before]
        return tuple(circle)

    def _stuck(
        self, resource: Resource, goal: trio.lowlevel.Task, known: dict[Resource, bool]
    ) -> list[str] | None:
        """Return the names on the way from `resource` to `goal` if it moves only when `goal` does.

        A chain of single movers is walked in a loop: it may be longer than the recursion limit.
        """
        chain: list[Resource] = []
        tail: list[str] = []
        while True:
            if resource in known:
                stuck = known[resource]
                break
            # While a resource is being looked at it counts as stuck: a circle that leads only
            # back to it cannot move by itself.
            known[resource] = True
            chain.append(resource)
            any_suffices, movers = resource.movers()
            if len(movers) == 1:
                mover = movers[0]
                if mover is goal:
                    stuck = True
                    break
                following = self._awaited_by(mover)
                if following is None:
                    stuck = False
                    break
                resource = following
                continue
            ways = [self._way(mover, goal, known) for mover in movers]
            blocked = [way for way in ways if way is not None]
            stuck = bool(blocked) and (len(blocked) == len(ways) or not any_suffices)
            if stuck:
                tail = blocked[0]
            break
        for seen in chain:
            known[seen] = stuck
        return [seen.wait_label() for seen in chain] + tail if stuck else None

    def _way(
        self, mover: Mover, goal: trio.lowlevel.Task, known: dict[Resource, bool]
    ) -> list[str] | None:
        if mover is goal:
            return []
        following = self._awaited_by(mover)
        return None if following is None else self._stuck(following, goal, known)

    def _awaited_by(self, mover: Mover) -> Resource | None:
        return self.edges.get(mover) if isinstance(mover, trio.lowlevel.Task) else mover
