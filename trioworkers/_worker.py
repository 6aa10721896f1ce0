"""`Worker`: what users subclass."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar, get_args

import trio
from trio.lowlevel import disable_ki_protection

from . import _handlers
from ._bus import LocalBus
from ._checks import check_async, check_hook, check_names, check_settings
from ._handlers import HandlerTable
from ._jobs import Job
from ._mailbox import OVERFLOWS, Overflow
from ._participant import Participant
from ._registry import Registry
from ._slot import Slot
from ._tree import Node
from ._values import (
    Backoff,
    Restart,
    StopReason,
    Strategy,
    WorkerErrorData,
    WorkerReadyData,
    WorkerState,
    WorkerStatistics,
)
from .messages import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    check_name,
)

if TYPE_CHECKING:
    from ._runner import WorkerRunner

__all__ = ["Worker", "WorkerEvent", "WorkerSource"]

H = TypeVar("H", bound=Callable[..., Awaitable[object]])

WorkerEvent: TypeAlias = Literal[
    "on_start",
    "on_activated",
    "on_deactivated",
    "on_worker_ready",
    "on_worker_failed",
    "on_job_update_requested",
    "on_stop",
]

_SETTINGS = ("strategy", "max_restarts", "period", "backoff")
_EVENTS: frozenset[str] = frozenset(get_args(WorkerEvent))
# What a subclass may override beside hooks; a class with hooks of its own names them there.
_OPEN_NAMES = (*_SETTINGS, "event_handler")


class _Placed:
    """What a worker is told of its place on the bus; for those that stand for others beyond it."""

    # Whether a runner without any other root has nothing to do.
    _is_edge: ClassVar[bool] = False

    def _entered_bus(self, node: Slot) -> None:
        """Take note that the worker got its place on a bus."""

    def _left_bus(self, node: Slot) -> None:
        """Take note that it lost its place."""

    def _is_drained(self, node: Slot) -> bool:
        """Tell whether an ending worker has nothing left to do; it is asked again when woken."""
        del node
        return True


class Worker(_Placed, Participant):
    """An actor: a trio task with a mailbox, handlers, jobs and children.

    Mark methods with `@handles(MessageType)` and `@job()`, override the `on_...` hooks.  Data
    handlers of one worker never overlap, nor do system handlers; a system handler may run while a
    data handler is suspended at an `await`.
    """

    # A supervisor's own settings, OTP's words.
    strategy: ClassVar[Strategy] = Strategy.ONE_FOR_ONE
    max_restarts: ClassVar[int] = 3
    period: ClassVar[float] = 5.0
    backoff: ClassVar[Backoff] = Backoff()

    _handler_table: ClassVar[HandlerTable]

    # Until `__init__` has run, which a subclass may forget.
    name: str = ""
    _slot: Slot | None = None
    _starts_active: bool | None = None
    _event_handlers: dict[str, list[Callable[..., Awaitable[object]]]] | None = None

    def __init__(
        self,
        name: str,
        *,
        active: bool = True,
        mailbox_capacity: int = 256,
        overflow: Overflow = "wait",
        max_concurrent_jobs: int = 16,
    ) -> None:
        """Make a worker; it runs when it was added to a runner or to another worker.

        Args:
            name: 1 to 128 characters of letters, digits, `_`, `-` and `.`.
            active: whether it starts active.  While it is not, jobs are refused, and data becomes
                dead letters; system messages addressed to it are handled.
            mailbox_capacity: how many messages its data lane holds, and how many jobs may wait
                for a job slot.
            overflow: what happens when the data lane is full: the sender waits (`wait`), gets
                `MailboxFullError` (`refuse`), or a message is dropped (`drop_oldest`,
                `drop_newest`) and becomes a dead letter.
            max_concurrent_jobs: how many jobs run at once.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: an argument has an impossible value.
        """
        self.name = check_name(name)
        if not isinstance(active, bool):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(f"active must be a bool, not {active!r}")
        self._starts_active = active
        self._mailbox_capacity = _positive(mailbox_capacity, "mailbox_capacity")
        self._max_concurrent_jobs = _positive(max_concurrent_jobs, "max_concurrent_jobs")
        if overflow not in OVERFLOWS:
            raise ValueError(f"overflow must be one of {', '.join(OVERFLOWS)}, not {overflow!r}")
        self._overflow: Overflow = overflow

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Collect the handlers of a subclass, once.

        Raises:
            TypeError: two methods handle one message type, or serve one job name; a hook is not
                async, is misspelt or takes other parameters; an annotation is of no possible
                payload; a name of this class is hidden; or a setting of the supervisor is of the
                wrong type.
            ValueError: a setting of the supervisor is negative.
        """
        super().__init_subclass__(**kwargs)
        owner = f"{cls.__qualname__}."
        check_settings({name: getattr(cls, name) for name in _SETTINGS}, owner)
        hooks = sorted(cls._events())
        for event in hooks:
            check_hook(cls, Worker, event)
        _handlers.check_annotation(cls.on_activated, f"{owner}on_activated takes arguments", 1)
        check_names(cls, Worker, hooks, _OPEN_NAMES, _handlers.marked_names(cls))
        cls._handler_table = _handlers.collect(cls)

    def __repr__(self) -> str:
        """Show the class and the name."""
        return f"<{type(self).__qualname__} {self.name!r}>"

    # Hooks

    async def on_start(self) -> None:
        """Begin; the worker is ready when this returns."""

    async def on_activated(self, args: Any) -> None:
        """React to becoming active.

        Args:
            args: a dict or None; annotate an attrs class to get it structured like a payload.
        """

    async def on_deactivated(self) -> None:
        """React to becoming inactive."""

    async def on_worker_ready(self, data: WorkerReadyData) -> None:
        """React to a watched worker, or a child of this one, becoming ready."""

    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        """React to the failure of a child; called before it is restarted.

        If the child is not supervised, overriding this handles the failure; otherwise this
        worker fails with it.
        """

    async def on_job_update_requested(self, job: Job) -> None:
        """Answer a requester who wants to know how a job is getting on, by `job.update(...)`."""

    async def on_stop(self) -> None:
        """Clean up; shielded from cancellation until the cut-off.  `stop_reason` is set."""

    def event_handler(self, event: WorkerEvent) -> Callable[[H], H]:
        """Add a handler to a hook of this one object: it runs after the method.

        Args:
            event: the hook's name.

        Returns:
            A decorator for `async def handler(worker, ...)`, which returns the handler itself.

        Raises:
            ValueError: there is no such hook.
            TypeError: the decorated function is not async.
        """
        events = self._events()
        if event not in events:
            raise ValueError(f"there is no event {event!r}; there are: {', '.join(sorted(events))}")

        def add(handler: H) -> H:
            check_async(handler, f"a handler of {event}")
            if self._event_handlers is None:
                self._event_handlers = {}
            self._event_handlers.setdefault(event, []).append(handler)
            return handler

        return add

    @classmethod
    def _events(cls) -> frozenset[str]:
        return _EVENTS

    @disable_ki_protection
    async def _call_hook(self, event: str, *args: Any) -> None:
        await getattr(self, event)(*args)
        for handler in (self._event_handlers or {}).get(event, ()):
            await handler(self, *args)

    def _hears(self, event: str) -> bool:
        return getattr(type(self), event) is not getattr(Worker, event) or event in (
            self._event_handlers or ()
        )

    # What a worker is

    @property
    def _initially_active(self) -> bool:
        if self._starts_active is None:
            cls = type(self).__qualname__
            raise RuntimeError(
                f"{cls}.__init__ did not run Worker's: call super().__init__(name) first"
            )
        return self._starts_active

    @property
    def _node(self) -> Slot:
        if self._slot is None:
            raise RuntimeError(
                f"worker {self.name!r} is not on a bus: add it with add_workers() first"
            )
        return self._slot

    @property
    def active(self) -> bool:
        """Whether it handles data messages and jobs; system messages it handles always."""
        return self._initially_active if self._slot is None else self._slot.active

    @property
    def state(self) -> WorkerState:
        """Where it is in its life."""
        return WorkerState.ADDED if self._slot is None else self._slot.state

    @property
    def parent(self) -> str | None:
        """The name of the worker it was added to; None for a root."""
        parent = self._node.parent
        return parent.name if isinstance(parent, Slot) else None

    @property
    def children(self) -> Mapping[str, Worker]:
        """Its children, by name, in the order of adding."""
        slots = self._node.children.values()
        return MappingProxyType(
            {slot.name: slot.worker for slot in slots if isinstance(slot, Slot)}
        )

    @property
    def bus(self) -> LocalBus:
        """The bus it is on."""
        return self._node.bus

    @property
    def registry(self) -> Registry:
        """The names of the ready workers."""
        return self._node.context.registry

    @property
    def runner(self) -> WorkerRunner:
        """The runner it belongs to."""
        return self._node.context.runner

    @property
    def nursery(self) -> trio.Nursery:
        """A nursery that lives and dies with this incarnation of the worker.

        Raises:
            RuntimeError: the worker is not running.
        """
        node = self._node
        if node.nursery is None:
            raise RuntimeError(f"worker {self.name!r} is not running: use its nursery in a handler")
        node.scope_shared = True
        return node.nursery

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it stops: its own reason, or the nearest stopped ancestor's; None before."""
        return self._node.stop_reason

    def statistics(self) -> WorkerStatistics:
        """Return what it has done so far."""
        return self._node.statistics()

    # Other workers

    async def add_workers(self, *workers: WorkerSource, restart: Restart | None = None) -> None:
        """Add children and wait until every one is ready, one after the other.

        A checkpoint.

        Args:
            workers: workers, or functions without arguments that make one.  A restart of a
                function makes a new object; of an object, calls `on_start` again on the same one.
            restart: how they are supervised; None for not at all.

        Raises:
            NameTakenError: a name is taken.
            TypeError: something is neither a worker nor a function that makes one.
            RuntimeError: this worker is not running, or is stopping.
            WorkerGoneError: a child stopped before it was ready.
            BackpressureDeadlockError: a child's start waits, directly or not, for the caller.
            Exception: whatever the first `on_start` of a child raises; it is not restarted.
        """
        node = self._node
        if node.nursery is None:
            raise RuntimeError(
                f"worker {self.name!r} is not running yet: add children in on_start or later"
            )
        await node.supervisor.add(workers, restart)

    async def watch_worker(self, name: str) -> None:
        """Call `on_worker_ready` each time `name` becomes ready, until this worker stops.

        A checkpoint.  Called at once if it is ready already; it need not exist yet.  A restart
        forgets it: call this in `on_start`.

        Raises:
            ValueError: `name` is no possible name.
        """
        check_name(name)
        await trio.lowlevel.checkpoint()
        self._node.watch(name)

    async def activate_worker(
        self, name: str, args: Any = None, deactivate_self: bool = False
    ) -> None:
        """Make a worker active, in order with what was sent to it before.

        A cancellation point.

        Args:
            name: the worker's.
            args: a dict or an attrs object for its `on_activated`.
            deactivate_self: make this worker inactive first.
        """
        if deactivate_self:
            await self.deactivate_worker(self.name)
        plain = _handlers.plain_args(args)
        await self.send(BusActivateWorkerMessage(target=check_name(name), args=plain))

    async def deactivate_worker(self, name: str) -> None:
        """Make a worker inactive, in order with what was sent to it before.

        A cancellation point.
        """
        await self.send(BusDeactivateWorkerMessage(target=check_name(name)))

    def _child(self, name: str) -> Node:
        children = self._node.children
        if name not in children:
            known = ", ".join(children) or "none"
            raise ValueError(f"{name!r} is no child of {self.name!r}; its children are: {known}")
        return children[name]

    async def end_worker(
        self, name: str, reason: str | None = None, deadline: float | None = None
    ) -> None:
        """Begin to end a child gracefully; `wait_stopped` waits for it.

        A checkpoint.

        Args:
            name: a child's.
            reason: why.
            deadline: seconds until it is cancelled; the runner's `end_deadline` by default.

        Raises:
            ValueError: it is no child of this worker, or the deadline is negative.
        """
        child = self._child(name)
        seconds = self._node.context.end_seconds(deadline)
        await trio.lowlevel.checkpoint()
        child.end(reason, seconds, self._node.path)

    async def cancel_worker(self, name: str, reason: str | None = None) -> None:
        """Cancel a child and all below it; `wait_stopped` waits for it.

        A checkpoint.

        Raises:
            ValueError: it is no child of this worker.
        """
        child = self._child(name)
        await trio.lowlevel.checkpoint()
        child.cancel(reason, self._node.path)

    # Stopping

    def cleanup(self) -> AbstractContextManager[trio.CancelScope]:
        """Open a block that is shielded from cancellation until this worker's cut-off."""
        return self._node.shielded()

    async def stop(self, reason: str | None = None) -> None:
        """Begin to end this worker and its children, gracefully.

        Legal anywhere, in every state.  Starts the stop and returns; not a checkpoint, so that a
        handler can finish what it does.
        """
        node = self._node
        node.end(reason, node.context.end_deadline, node.path)

    async def end(self, reason: str | None = None) -> None:
        """Ask this worker's runner to end everything gracefully.  A cancellation point."""
        await self.send(BusEndMessage(target=self._node.context.runner.name, reason=reason))

    async def cancel(self, reason: str | None = None) -> None:
        """Ask this worker's runner to cancel everything.  A cancellation point."""
        await self.send(BusCancelMessage(target=self._node.context.runner.name, reason=reason))

    async def wait_stopped(self) -> None:
        """Wait until this worker has stopped for good.  A checkpoint."""
        await self._node.wait_stopped()


Worker._handler_table = _handlers.collect(Worker)

WorkerSource: TypeAlias = Worker | Callable[[], Worker]
"""What is added: a worker, or a function that makes one."""


def _positive(value: object, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{what} must be an int, not {value!r}")
    if value < 1:
        raise ValueError(f"{what} must be at least 1, not {value}")
    return value
