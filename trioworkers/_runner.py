"""The runner: the root of a worker tree, and the way to run or embed it."""

from __future__ import annotations

import contextvars
import secrets
import signal
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Literal, TypeAlias, TypeVar

import trio

from ._bus import LocalBus
from ._checks import check_async, check_settings
from ._interrupts import let_interrupt, protected
from ._participant import Participant
from ._registry import Registry
from ._requests import Request
from ._root import Root
from ._signals import FIRST_SIGNAL, SECOND_SIGNAL, stop_signals
from ._slot import Slot
from ._supervisor import Supervisor
from ._tree import Context, Node, leaves, start_task
from ._values import (
    Backoff,
    Restart,
    RunnerStatistics,
    StopReason,
    Strategy,
    WorkerState,
    errors_text,
)
from ._watchdog import Watchdog, report_stuck
from ._worker import Worker, WorkerSource
from .abc import Instrument
from .messages import (
    check_name,
)

__all__ = ["RunnerEvent", "WorkerRunner"]

H = TypeVar("H", bound=Callable[..., Awaitable[object]])

RunnerEvent: TypeAlias = Literal["on_ready"]

_BEFORE = WorkerState.ADDED


@protected
class WorkerRunner(Participant):
    """Runs workers as a tree of trio tasks, and stops them."""

    def __init__(
        self,
        name: str | None = None,
        *,
        bus: LocalBus | None = None,
        handle_sigint: bool = True,
        handle_sigterm: bool = False,
        end_deadline: float = 30.0,
        cancel_grace: float = 5.0,
        job_grace: float = 1.0,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        max_restarts: int = 3,
        period: float = 5.0,
    ) -> None:
        """Make a runner; nothing runs yet.

        Args:
            name: its own name on the bus; made up if None.
            bus: a bus to share with another runner in this process.
            handle_sigint: let the first SIGINT end, the second cancel, the third raise
                `KeyboardInterrupt`.
            handle_sigterm: count SIGTERM like SIGINT.
            end_deadline: seconds an end may take before it becomes a cancel.
            cancel_grace: seconds that clean-ups may take after a cancel.
            job_grace: seconds a requester that leaves waits for its job's handler to exit.
            strategy: which root workers are restarted with one that stops.
            max_restarts: how many restarts of root workers are allowed in `period`.
            period: seconds in which restarts are counted.

        Raises:
            ValueError: the name is impossible, or a time or number is negative.
            TypeError: an argument is of the wrong type.
        """
        check_settings(
            {
                "end_deadline": end_deadline,
                "cancel_grace": cancel_grace,
                "job_grace": job_grace,
                "strategy": strategy,
                "max_restarts": max_restarts,
                "period": period,
            }
        )
        if bus is not None and not isinstance(bus, LocalBus):
            raise TypeError(f"bus must be a LocalBus() or None, not {bus!r}")
        suffix = secrets.token_hex(4)
        self.name: str = check_name(f"runner-{suffix}" if name is None else name, "runner name")
        self.strategy = strategy
        self.max_restarts = max_restarts
        self.period = period
        self.backoff: Backoff = Backoff()
        self._signals = [
            number
            for number, wanted in (
                (signal.SIGINT, handle_sigint),
                (signal.SIGTERM, handle_sigterm),
            )
            if wanted
        ]
        bus = LocalBus() if bus is None else bus
        self._watchdog = Watchdog(cancel_grace)
        self._context = Context(
            runner=self,
            bus=bus,
            registry=Registry(self.name, bus.waits),
            cancel_grace=cancel_grace,
            end_deadline=end_deadline,
            job_grace=job_grace,
            make_supervisor=_make_supervisor,
            watch_cut_off=self._watchdog.watch,
            forget=self._watchdog.forget,
            report_stuck=report_stuck,
            job_prefix=suffix,
        )
        self._slot = self._root = Root(self.name, self._context)
        self._state = _BEFORE
        self._stopped = trio.Event()
        self._announced = False
        self._ready_handlers: list[Callable[[WorkerRunner], Awaitable[object]]] = []
        bus.attach(self.name, self._root)
        bus.runner_expected = True

    @property
    def _node(self) -> Node:
        return self._root

    def __repr__(self) -> str:
        """Show the name and the state."""
        return f"<WorkerRunner {self.name!r} {self._state}>"

    # What a runner is

    @property
    def bus(self) -> LocalBus:
        """The bus of its workers."""
        return self._context.bus

    @property
    def registry(self) -> Registry:
        """The names of the ready workers."""
        return self._context.registry

    @property
    def state(self) -> WorkerState:
        """Where it is in its life; `ready` is what a health probe wants."""
        if self._state is WorkerState.READY and self._root.stop is not None:
            return WorkerState.ENDING
        return self._state

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it stops; None before."""
        return self._root.stop

    @property
    def children(self) -> Mapping[str, Worker]:
        """The root workers, by name, in the order of adding."""
        slots = self._root.children.values()
        return MappingProxyType(
            {slot.name: slot.worker for slot in slots if isinstance(slot, Slot)}
        )

    def get_worker(self, name: str) -> Worker | None:
        """Return the worker of this name, wherever it is in the tree, or None."""
        slot = self._slot_of(name)
        return None if slot is None else slot.worker

    def _slot_of(self, name: str) -> Slot | None:
        route = self.bus.route(name)
        if isinstance(route, Slot) and route.context is self._context:
            return route
        return None

    def statistics(self) -> RunnerStatistics:
        """Return what it has done so far."""
        bus = self.bus
        return RunnerStatistics(
            name=self.name,
            state=self.state,
            workers=len(self._workers()),
            sent=bus.sent,
            open_jobs=len(bus.open_requests),
            dead_letters=dict(bus.dead_letters),
        )

    def _workers(self) -> list[Slot]:
        return [node for node in self._root.below() if isinstance(node, Slot)]

    def add_instrument(self, instrument: Instrument) -> None:
        """Let `instrument` watch; its hooks are called synchronously.

        Raises:
            TypeError: it is no `Instrument`.
        """
        if not isinstance(instrument, Instrument):
            raise TypeError(f"{instrument!r} is no Instrument: derive its class from it")
        self.bus.observers.add(instrument)
        self.bus.watch_changed()

    def remove_instrument(self, instrument: Instrument) -> None:
        """Undo `add_instrument`; harmless if it was removed already."""
        self.bus.observers.remove(instrument)
        self.bus.watch_changed()

    def event_handler(self, event: RunnerEvent) -> Callable[[H], H]:
        """Add a handler: `on_ready` is called with the runner when every root is ready.

        Handlers run beside the workers, in order of adding; an end of the runner cancels them.

        Returns:
            A decorator for `async def handler(runner)`, which returns the handler itself.

        Raises:
            ValueError: there is no such event.
            TypeError: the decorated function is not async.
        """
        if event != "on_ready":
            raise ValueError(f"there is no event {event!r}; there is: on_ready")

        def add(handler: H) -> H:
            check_async(handler, "a handler of on_ready")
            self._ready_handlers.append(let_interrupt(handler))
            return handler

        return add

    # Workers

    async def add_workers(self, *workers: WorkerSource, restart: Restart | None = None) -> None:
        """Add root workers; while running, wait until every one is ready, one after the other.

        A checkpoint.

        Args:
            workers: workers, or functions without arguments that make one.  A restart of a
                function makes a new object; of an object, calls `on_start` again on the same one.
            restart: how they are supervised; None for not at all.

        Raises:
            NameTakenError: a name is taken.
            TypeError: something is neither a worker nor a function that makes one.
            RuntimeError: the runner is stopping or has stopped, or this is no trio run.
            WorkerGoneError: a worker stopped before it was ready.
            Exception: whatever the first `on_start` of a worker raises; it is not restarted.
        """
        check_trio()
        if self._stopped.is_set():
            raise RuntimeError(f"runner {self.name!r} has stopped: make a new one")
        await self._root.supervisor.add(workers, restart)

    def _known(self, name: str) -> Slot:
        slot = self._slot_of(name)
        if slot is None:
            known = ", ".join(each.name for each in self._workers()) or "none"
            raise ValueError(f"{name!r} is no worker of runner {self.name!r}; there are: {known}")
        return slot

    async def end_worker(
        self, name: str, reason: str | None = None, deadline: float | None = None
    ) -> None:
        """Begin to end a worker gracefully; its `wait_stopped` waits for it.

        A checkpoint.

        Args:
            name: any worker's of this runner.
            reason: why.
            deadline: seconds until it is cancelled; `end_deadline` by default.

        Raises:
            ValueError: there is no such worker, or the deadline is negative.
        """
        slot = self._known(name)
        seconds = self._context.end_seconds(deadline)
        await trio.lowlevel.checkpoint()
        slot.end(reason, seconds, self.name)

    async def cancel_worker(self, name: str, reason: str | None = None) -> None:
        """Cancel a worker and all below it; its `wait_stopped` waits for it.

        A checkpoint.

        Raises:
            ValueError: there is no such worker.
        """
        slot = self._known(name)
        await trio.lowlevel.checkpoint()
        slot.cancel(reason, self.name)

    async def cancel_job(self, job_id: str, reason: str | None = None) -> bool:
        """Cancel a job for somebody who is not its requester.

        A checkpoint.

        Args:
            job_id: the job's.
            reason: why; it reaches the handler and the requester.

        Returns:
            False if there is no such job, or it is not cancellable.
        """
        await trio.lowlevel.checkpoint()
        request: Request | None = self.bus.open_requests.get(job_id)
        if request is None or not request.cancellable or request.outcome is not None:
            return False
        request.cancel(reason, self.name)
        return True

    # Stopping

    async def end(self, reason: str | None = None, deadline: float | None = None) -> None:
        """Begin to end everything gracefully: root workers one by one, in reverse order of adding.

        Starts the end and returns; `wait_stopped` waits.  Legal in every state; not a checkpoint.

        Args:
            reason: why.
            deadline: seconds until the rest is cancelled; `end_deadline` by default.

        Raises:
            ValueError: the deadline is negative.
        """
        seconds = self._context.end_seconds(deadline)
        if not self._stopped.is_set():
            self._root.end(reason, seconds, self.name)

    async def cancel(self, reason: str | None = None) -> None:
        """Cancel everything, also during an end.

        Starts the cancel and returns; `wait_stopped` waits.  Legal in every state; not a
        checkpoint.
        """
        if not self._stopped.is_set():
            self._root.cancel(reason, self.name)

    async def wait_stopped(self) -> None:
        """Wait until everything has stopped.  A checkpoint."""
        await self._stopped.wait()

    # Running

    async def run(
        self,
        auto_end: bool = True,
        *,
        task_status: trio.TaskStatus[WorkerRunner] = trio.TASK_STATUS_IGNORED,
    ) -> StopReason:
        """Run until ended or cancelled.

        A checkpoint.  `await nursery.start(runner.run)` returns when every worker is ready.

        Args:
            auto_end: end when the last root worker has stopped.
            task_status: set by `nursery.start`.

        Returns:
            Why it stopped.

        Raises:
            ValueError: `auto_end` is set and no worker was added.
            RuntimeError: it has been run before, or this is no trio run.
            ExceptionGroup: workers failed; flat, with the original exceptions.
            trio.Cancelled: a scope round this call was cancelled.
        """
        check_trio()
        if self._state is not _BEFORE:
            raise RuntimeError(f"runner {self.name!r} was run before: make a new one")
        if auto_end and not self._root.has_work:
            raise ValueError(
                f"runner {self.name!r} has no workers: add some, or pass auto_end=False"
            )
        root = self._root
        end = partial(root.end, FIRST_SIGNAL, self._context.end_deadline, self.name)
        cancel = partial(root.cancel, SECOND_SIGNAL, self.name)
        with stop_signals(self._signals, end, cancel):
            return await self.serve(auto_end, task_status)

    async def serve(self, auto_end: bool, task_status: trio.TaskStatus[WorkerRunner]) -> StopReason:
        """Run without signal handlers; what `run` and `open_runner` are made of."""
        root = self._root
        root.life = trio.CancelScope(deadline=root.deadline)
        if root.stop is not None and root.stop.kind == "cancelled":
            root.life.cancel(reason=root.stop.reason)
        self._state = WorkerState.STARTING
        self.bus.open(self.name)
        rest: BaseException | None = None
        # Held until everything is put away, then raised again as one flat group.
        try:
            async with trio.open_nursery() as service:
                watching = trio.CancelScope(shield=True)
                service.start_soon(self._watch, watching, name=f"watchdog of {self.name}")
                try:
                    await self._run_tree(root.life, auto_end, task_status)
                finally:
                    watching.cancel()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - goes on in _close
            rest = error
        reason, problem = self._close(rest)
        if problem is not None:
            raise problem
        if not self._announced:
            task_status.started(self)
        return reason

    def abandon(self) -> None:
        """Put everything away without having run."""
        self.bus.open(self.name)
        self._close(None)

    @property
    def entered(self) -> bool:
        """Whether every root worker was ready once."""
        return self._announced

    async def _watch(self, watching: trio.CancelScope) -> None:
        with watching:
            await self._watchdog.run()

    async def _run_tree(
        self, life: trio.CancelScope, auto_end: bool, task_status: trio.TaskStatus[WorkerRunner]
    ) -> None:
        root = self._root
        with life:
            async with trio.open_nursery() as root.nursery:
                try:
                    # A watch belongs to the runner, not to the worker that becomes ready.
                    variables = contextvars.copy_context()
                    self.registry.open(partial(start_task, variables, root.nursery))
                    await self._start_roots()
                    self._state = WorkerState.READY
                    if self._ready_handlers and not root.stopping:
                        root.telling = trio.CancelScope()
                        name = f"on_ready of {self.name}"
                        root.nursery.start_soon(self._tell_ready, task_status, name=name)
                    else:
                        self._announce(task_status)
                    await self._until_ended(auto_end)
                except BaseException as error:
                    # Now and not when all workers have unwound: the cut-off counts from here.
                    root.cancelled_from_outside(error)
                    raise
                root.nursery.cancel_scope.cancel(reason="the runner has ended")

    async def _tell_ready(self, task_status: trio.TaskStatus[WorkerRunner]) -> None:
        """Call the handlers of `on_ready`; in a task of their own, lest they hold up an end."""
        root = self._root
        assert root.telling is not None
        with root.telling:
            for handler in self._ready_handlers:
                if not root.stopping:
                    await handler(self)
        root.telling = None
        root.changed.set()
        self._announce(task_status)

    def _announce(self, task_status: trio.TaskStatus[WorkerRunner]) -> None:
        self._announced = True
        task_status.started(self)

    async def _start_roots(self) -> None:
        supervisor = self._root.supervisor
        assert isinstance(supervisor, Supervisor)
        await trio.lowlevel.checkpoint()
        await supervisor.start_all()

    async def _until_ended(self, auto_end: bool) -> None:
        root = self._root
        while True:
            root.changed = trio.Event()
            idle = root.telling is None and not root.has_work
            if root.stop is None and auto_end and idle:
                root.end("the last worker has stopped", self._context.end_deadline, self.name)
            if root.stop is not None and root.end_children():
                return
            await root.changed.wait()

    def _close(self, error: BaseException | None) -> tuple[StopReason, BaseException | None]:
        """Put everything away; return why it stopped, and what to raise."""
        root = self._root
        for slot in reversed([each for each in root.children.values() if isinstance(each, Slot)]):
            slot.close()
        errors = list(root.errors)
        others: list[BaseException] = []
        for leaf in () if error is None else leaves(error):
            if isinstance(leaf, Exception):
                errors.append(leaf)
            else:
                others.append(leaf)
        reason = root.own_stop_reason or StopReason("cancelled", None, self.name)
        if errors:
            reason = StopReason("failed", errors_text(errors), self.name)
        root.stop = reason
        root.nursery = None
        self._state = {
            "ended": WorkerState.STOPPED,
            "cancelled": WorkerState.CANCELLED,
            "failed": WorkerState.FAILED,
        }[reason.kind]
        self.registry.close()
        self.bus.detach(self.name)
        self.bus.close(self.name)
        root.closed = True
        self._context.forget(root)
        self._stopped.set()
        return reason, _problem(self.name, errors, others)


def check_trio() -> None:
    """Refuse to go on where there is no trio.

    Raises:
        RuntimeError: this is no trio run.
    """
    if not trio.lowlevel.in_trio_task():
        raise RuntimeError(
            "this does not run under trio: start it with trio.run(main), not asyncio.run(main())"
        )


def _problem(
    name: str, errors: list[Exception], others: list[BaseException]
) -> BaseException | None:
    serious = [other for other in others if not isinstance(other, trio.Cancelled)]
    if errors and not serious:
        return ExceptionGroup(f"runner {name} failed", errors)
    if serious:
        return serious[0] if len(serious) == 1 and not errors else BaseExceptionGroup(
            f"runner {name} failed", [*errors, *serious]
        )  # fmt: skip
    return others[0] if others else None


def _make_supervisor(node: Node) -> Supervisor:
    return Supervisor(node, node.worker if isinstance(node, Slot) else node.context.runner)
