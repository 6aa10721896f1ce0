"""The worker tree: what a runner and a worker slot have in common.

A node stops by two means.  `end` lets it finish, `cancel` cuts it off; either holds for the
subtree.  After a cancel there is one absolute cut-off for all clean-ups below: grace that each
level granted anew would add up with the depth of the tree.
"""

from __future__ import annotations

import contextvars
import random
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractContextManager
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, cast

import attrs
import trio

from ._bus import LocalBus
from ._interrupts import protected
from ._registry import Registry
from ._values import Restart, StopReason

if TYPE_CHECKING:
    from ._runner import WorkerRunner

__all__ = ["Context", "Node", "Supervision", "leaves", "split", "start_task"]


class Supervision(Protocol):
    """What a node asks of the supervisor of its children."""

    async def add(self, sources: tuple[Any, ...], restart: Restart | None) -> None:
        """Add children, and start them if the node runs."""
        ...

    def add_soon(self, source: Any) -> None:
        """Add a child now, and start it in a task of the node, if that runs; not supervised."""
        ...

    def exited(self, child: Any, errors: list[Exception]) -> None:
        """Take note that an incarnation of a child has exited."""
        ...

    async def stop_all(self, reason: str) -> None:
        """Cancel all children one after the other, in reverse order of starting."""
        ...

    def withdraw(self, child: Any) -> None:
        """Take note that a child which is not running is to stop."""
        ...


@attrs.define(eq=False)
class Context:
    """What all nodes of one runner share."""

    runner: WorkerRunner
    bus: LocalBus
    registry: Registry
    cancel_grace: float
    end_deadline: float
    job_grace: float
    make_supervisor: Callable[[Any], Supervision]
    watch_cut_off: Callable[[Node], None]
    forget: Callable[[Node], None]
    report_stuck: Callable[[str, float, trio.lowlevel.Task], None]
    random: random.Random = attrs.field(factory=random.Random)
    shields: dict[trio.CancelScope, Node] = attrs.field(factory=dict["trio.CancelScope", "Node"])
    job_numbers: int = 0
    job_prefix: str = ""

    def end_seconds(self, deadline: float | None) -> float:
        """Return how long an end may take.

        Raises:
            TypeError: `deadline` is no number.
            ValueError: it is negative.
        """
        if deadline is None:
            return self.end_deadline
        if isinstance(deadline, bool) or not isinstance(deadline, int | float):
            raise TypeError(f"deadline must be seconds or None, not {deadline!r}")
        if not deadline >= 0:
            raise ValueError(f"deadline must not be negative, and is {deadline!r}")
        return deadline

    def refresh_shields(self) -> None:
        """Bring the deadlines of all shielded clean-ups up to date."""
        for scope, node in self.shields.items():
            scope.deadline = min(scope.deadline, node.cut_off())


@protected
class Node(ABC):
    """A place in the worker tree that stops together with what is below it."""

    __slots__ = (
        "_supervisor",
        "bus",
        "children",
        "closed",
        "context",
        "cutoff",
        "deadline",
        "is_edge",
        "life",
        "name",
        "nursery",
        "parent",
        "path",
        "root",
        "stop",
    )

    def __init__(self, name: str, parent: Node | None, context: Context) -> None:
        """Make a node that is not running."""
        self.name: str = name
        self.parent: Node | None = parent
        self.root: Node = self if parent is None else parent.root
        self.context: Context = context
        self.bus: LocalBus = context.bus
        self.path: str = name if parent is None else f"{parent.path}/{name}"
        self.children: dict[str, Node] = {}
        # Whether it only leads elsewhere, so that a runner has nothing to do for it alone.
        self.is_edge: bool = False
        # Whether it has stopped for good.
        self.closed: bool = False
        self.stop: StopReason | None = None
        self.deadline: float = inf
        self.cutoff: float | None = None
        # New for each incarnation; nobody outside keeps them.
        self.life: trio.CancelScope | None = None
        self.nursery: trio.Nursery | None = None
        self._supervisor: Supervision | None = None

    @property
    def supervisor(self) -> Supervision:
        """The supervisor of the children, made when it is first needed."""
        if self._supervisor is None:
            self._supervisor = self.context.make_supervisor(self)
        return self._supervisor

    def chain(self) -> Iterator[Node]:
        """Yield this node and its ancestors, upwards."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    @property
    def stop_reason(self) -> StopReason | None:
        """Why this node stops: its own reason, or the nearest stopped ancestor's.

        An end gives way to a cancel or failure above it, which is what really stopped the node.
        """
        found: StopReason | None = None
        node: Node | None = self
        # Not by `chain`, and most nodes have none: it is asked four times for each that stops.
        while node is not None:
            if node.stop is not None:
                stop = node.own_stop_reason
                if stop is not None and stop.kind != "ended":
                    return stop
                found = found or stop
            node = node.parent
        return found

    @property
    def own_stop_reason(self) -> StopReason | None:
        """Why this node was told to stop; an end whose deadline has passed is a cancel."""
        stop = self.stop
        if stop is not None and stop.kind == "ended" and self.life is not None:
            late = self.life.cancel_called and trio.current_time() >= self.deadline
            return StopReason("cancelled", "end deadline", stop.path) if late else stop
        return stop

    @property
    def stopping(self) -> bool:
        """Whether this node or one above it was told to stop."""
        return self.stop_reason is not None

    @abstractmethod
    def end(self, reason: str | None, seconds: float, path: str) -> None:
        """Begin to end; cancel after `seconds`."""

    @abstractmethod
    def cancel(self, reason: str | None, path: str) -> None:
        """Cut off this node and all below it, now."""

    @abstractmethod
    def child_stopped(self) -> None:
        """Take note that a child has stopped for good."""

    @abstractmethod
    def fail(self, errors: list[Exception]) -> None:
        """Fail with the errors of a child that nobody handled."""

    @abstractmethod
    async def tell_failed(self, child: str, error: Exception) -> bool:
        """Offer the failure of a child to this node; False if it does not handle it."""

    def end_children(self) -> bool:
        """End the children one after the other, in reverse order of adding.

        Returns:
            False if one has yet to stop; to be called again when it has.
        """
        assert self.stop is not None
        for child in reversed(tuple(self.children.values())):
            # Also one that has failed or ends already, lest its supervisor restart it.
            child.end(self.stop.reason, inf, self.stop.path)
            if child.name in self.children:
                return False
        return True

    def below(self) -> Iterator[Node]:
        """Yield this node and its descendants, from the top."""
        # Not recursive: a tree may be deeper than Python's stack.
        nodes: list[Node] = [self]
        while nodes:
            node = nodes.pop()
            yield node
            nodes.extend(reversed(node.children.values()))

    @abstractmethod
    def stop_batch(self) -> None:
        """Handle no further message before the next checkpoint."""

    def note_end(self, reason: str | None, deadline: float, path: str) -> None:
        """Record that an end has begun; `deadline` in trio time."""
        if self.stop is None:
            self.stop = StopReason("ended", reason, path)
        if deadline < self.deadline:
            self.deadline = deadline
            if self.life is not None:
                self.life.deadline = min(self.life.deadline, deadline)
            self.context.refresh_shields()
            self.context.watch_cut_off(self)

    def note_cancel(self, reason: str | None, path: str) -> None:
        """Record a cancel, and cut off the subtree in one step."""
        if self.stop is None or self.stop.kind == "ended":
            self.stop = StopReason("cancelled", reason, path)
        self.set_cut_off()
        if self.life is not None:
            self.life.cancel(reason=reason)
        for node in self.below():
            node.stop_batch()

    def set_cut_off(self) -> None:
        """Fix when clean-ups of this subtree are cut, if it is not fixed already."""
        if self.cutoff is None:
            self.cutoff = trio.current_time() + self.context.cancel_grace
            self.context.refresh_shields()
            self.context.watch_cut_off(self)

    def cut_off(self) -> float:
        """Return when clean-ups here are cut, in trio time; `inf` if nothing stops this node."""
        grace = self.context.cancel_grace
        return min(
            node.deadline + grace if node.cutoff is None else node.cutoff for node in self.chain()
        )

    @property
    def was_cancelled(self) -> bool:
        """Whether a scope of this node was cancelled, by whomever."""
        return (self.life is not None and self.life.cancel_called) or (
            self.nursery is not None and self.nursery.cancel_scope.cancel_called
        )

    def _topmost_cancelled(self) -> Node | None:
        # The usual case first: asking a scope costs more than all the rest here.
        if self.root.was_cancelled:
            return self.root
        for node in reversed(tuple(self.chain())):
            if node.was_cancelled:
                return node
        return None

    def cancelled_from_outside(self, cause: BaseException) -> None:
        """Note reason and cut-off of a cancellation that did not come through `note_cancel`.

        They hold for the topmost node that the cancellation covers: one whose end deadline has
        passed, whose nursery failed or was cancelled by its owner, or else the runner, because
        then a scope round the runner was cancelled.

        Args:
            cause: the `Cancelled` that arrived, or what else ends the node without being a
                failure of it (`KeyboardInterrupt`).
        """
        top = self._topmost_cancelled() or self.root
        top.set_cut_off()
        own = top.own_stop_reason
        if own is None or own.kind == "ended":
            top.stop = top.outside_reason(cause)

    def outside_reason(self, cause: BaseException) -> StopReason:
        """Return why this node stops, by the exception that arrived."""
        leaf = next(leaves(cause))
        if not isinstance(leaf, trio.Cancelled):
            return StopReason("failed", type(leaf).__name__, self.path)
        failed = leaf.source == "nursery" and self.was_cancelled
        reason = "a deadline has passed" if leaf.source == "deadline" else leaf.reason
        return StopReason("failed" if failed else "cancelled", reason, self.path)

    def shielded(self) -> AbstractContextManager[trio.CancelScope]:
        """Shield a clean-up until the cut-off of this node."""
        return _Shield(self)

    def shield_deadline(self) -> float:
        """Return when a clean-up that begins here and now is cut."""
        deadline = inf
        if trio.current_effective_deadline() == -inf:
            top = self._topmost_cancelled()
            if top is not None:
                # One grace for all clean-ups, from the first that learns of the cancellation.
                top.set_cut_off()
            else:
                # A scope that is none of ours was cancelled.
                deadline = trio.current_time() + self.context.cancel_grace
        return min(deadline, self.cut_off())


@protected
class _Shield(AbstractContextManager[trio.CancelScope]):
    """The block of one clean-up.

    A generator would leave its scope open if an interrupt struck between it and the block.
    """

    __slots__ = ("_node", "_scope")

    def __init__(self, node: Node) -> None:
        self._node = node
        self._scope = trio.CancelScope(shield=True)

    def __enter__(self) -> trio.CancelScope:
        self._scope.deadline = self._node.shield_deadline()
        self._node.context.shields[self._scope] = self._node
        return self._scope.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        del self._node.context.shields[self._scope]
        return self._scope.__exit__(kind, error, trace)


def leaves(error: BaseException) -> Iterator[BaseException]:
    """Yield the exceptions in a group of groups; an exception that is no group yields itself."""
    errors = [error]
    while errors:
        each = errors.pop()
        if isinstance(each, BaseExceptionGroup):
            group = cast("BaseExceptionGroup[BaseException]", each)
            errors.extend(reversed(group.exceptions))
        else:
            yield each


def split(
    error: BaseException | None, kinds: type[BaseException]
) -> tuple[BaseException | None, BaseException | None]:
    """Return what of `error` is of `kinds`, and what is not; a group is split."""
    if isinstance(error, BaseExceptionGroup):
        return cast("BaseExceptionGroup[BaseException]", error).split(kinds)
    return (error, None) if isinstance(error, kinds) else (None, error)


def start_task(
    variables: contextvars.Context,
    nursery: trio.Nursery,
    run: Callable[..., Awaitable[object]],
    *args: object,
    name: object,
) -> None:
    """Start a task in a copy of `variables`; trio's own way copies those of the present step."""
    variables.run(lambda: nursery.start_soon(run, *args, name=name))
