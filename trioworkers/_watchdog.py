"""Reports tasks that do not react to their cancellation.

A task that swallows `Cancelled`, or sits in a shield of its own, cannot be killed; it can be
named.  A handler that blocks the loop stops everything, this report included, so the steps of
tasks are timed while something is being cancelled and a long one is reported after it.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator
from math import inf
from time import perf_counter
from typing import Any

import trio

from ._interrupts import protected
from ._slot import Slot
from ._tree import Node

__all__ = ["Watchdog"]

logger = logging.getLogger("trioworkers")

# A step as short as this blocks nobody, however little grace there is; in seconds.
_QUICK = 0.01


class _StepTimer(trio.abc.Instrument):
    """Reports a step of a task that keeps the loop longer than `limit` seconds."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        # Installed in the middle of a step, whose end must not count.
        self._began = inf

    def after_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio's hook
        self._began = perf_counter()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        # The next one begins at once: a hook before each would cost as much as this one.
        began, self._began = self._began, perf_counter()
        took = self._began - began
        if took > self._limit:
            report_stuck(f"{task.name} blocked the loop", took, task)
            self._began = perf_counter()


def report_stuck(what: str, seconds: float, task: trio.lowlevel.Task) -> None:
    """Log that `task` does not stop, with its stack."""
    frames = traceback.StackSummary.extract(task.iter_await_frames())
    logger.warning(
        "%s for %.3f s, past its grace period; a task cannot be killed, so make it let Cancelled "
        "through.  It is at:\n%s",
        what,
        seconds,
        "".join(frames.format()).rstrip() or "  (its end)",
    )


@protected
class Watchdog:
    """Watches nodes that are being stopped, until they have."""

    def __init__(self, grace: float) -> None:
        """Watch nothing yet."""
        self._grace = grace
        self._nodes: dict[Node, None] = {}
        self._changed: trio.Event | None = None
        self._timer = _StepTimer(max(grace, _QUICK))
        self._timing = False

    def watch(self, node: Node) -> None:
        """Report what is left of `node` after its cut-off."""
        self._nodes[node] = None
        if self._changed is not None:
            self._time_steps()
            self._changed.set()

    def _time_steps(self) -> None:
        if not self._timing:
            self._timing = True
            trio.lowlevel.add_instrument(self._timer)

    def forget(self, node: Node) -> None:
        """Stop watching a node: it has stopped."""
        self._nodes.pop(node, None)

    async def run(self) -> None:
        """Report until cancelled."""
        if self._nodes:
            self._time_steps()
        try:
            while True:
                self._changed = trio.Event()
                due = min((self._due(node) for node in self._nodes), default=inf)
                with trio.move_on_at(due):
                    await self._changed.wait()
                    continue
                self._report()
        finally:
            self._nodes.clear()
            self._changed = None
            if self._timing:
                self._timing = False
                trio.lowlevel.remove_instrument(self._timer)

    def _due(self, node: Node) -> float:
        # What is cut at the cut-off needs a moment to unwind.
        return node.cut_off() + self._grace / 10

    def _report(self) -> None:
        now = trio.current_time()
        for node in [node for node in self._nodes if self._due(node) <= now]:
            del self._nodes[node]
            for below in node.below():
                if isinstance(below, Slot) and below.task is not None:
                    report_stuck(f"worker {below.path} has not stopped", self._grace, below.task)
                    for task in _tasks(below):
                        report_stuck(f"{task.name} has not stopped", self._grace, task)


def _tasks(slot: Slot) -> Iterator[Any]:
    """Yield the tasks in the worker's nursery that are no workers themselves."""
    workers = {child.task for child in slot.children.values() if isinstance(child, Slot)}
    tasks = () if slot.nursery is None else slot.nursery.child_tasks
    yield from (task for task in tasks if task not in workers)
