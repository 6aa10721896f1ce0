"""A worker's place in the tree: its name, mailbox and life, across restarts.

The slot owns the state of the worker, and `_set_state` is the one place where it changes.  Each
life of the worker, an incarnation, is a task in the parent's nursery: `live`.  How it ends is
settled in that same task, after everything below it and `on_stop` are done; then the parent's
supervisor is told.
"""

from __future__ import annotations

import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from math import inf
from typing import Any

import trio
from trio.lowlevel import checkpoint_if_cancelled, current_task, enable_ki_protection

from . import _clock
from ._address import Address
from ._handlers import ChildFailed, WatchedReady
from ._interrupts import protected
from ._requests import serving
from ._tree import Context, Node, leaves, split, start_task
from ._turns import Turns
from ._values import (
    DeadLetterReason,
    Down,
    Restart,
    StopReason,
    Up,
    WorkerErrorData,
    WorkerReadyData,
    WorkerRegistryEntry,
    WorkerState,
    WorkerStatistics,
    error_text,
    errors_text,
)
from .errors import SystemLaneFullError, WorkerGoneError
from .messages import BusWorkerReadyMessage

__all__ = ["Slot"]

logger = logging.getLogger("trioworkers")

_RESTARTED = (Restart.PERMANENT, Restart.TRANSIENT)
_FINAL_STATES = {
    "ended": WorkerState.STOPPED,
    "cancelled": WorkerState.CANCELLED,
    "failed": WorkerState.FAILED,
}


@protected
class Slot(Address):
    """One worker in the tree."""

    __slots__ = (
        "_begun",
        "_handled",
        "_noticed",
        "_past",
        "_ready",
        "_stopped",
        "_watched",
        "dismissed",
        "failures",
        "introduced",
        "ready_at",
        "restart",
        "restarts",
        "source",
        "variables",
    )

    def __init__(
        self, worker: Any, source: Any, restart: Restart | None, parent: Node, context: Context
    ) -> None:
        """Put a worker into the tree and on the bus; it does not run yet.

        Args:
            worker: the first incarnation's object.
            source: the worker again, or a function that makes a new one for each restart.
            restart: how its supervisor treats it; None for not at all.
            parent: where it belongs.
            context: what all nodes of the runner share.

        Raises:
            NameTakenError: its name is taken.
        """
        super().__init__(worker, parent, context)
        self.source = source
        self.restart = restart
        # The context that each of its lives starts in.
        self.variables = contextvars.copy_context()
        if serving.get() is not None:
            # It outlives the job that adds it.
            self.variables.run(serving.set, None)
        self._begun = False
        # The turns of this incarnation, once it takes no more of them.
        self._past: Turns | None = None
        # How many messages the incarnations before this one have handled.
        self._handled = 0
        self._ready: trio.Event | None = None
        self._stopped: trio.Event | None = None
        self._watched: list[tuple[str, Callable[[Up | Down], None]]] | None = None
        # The workers whose being ready waits in the system lane.
        self._noticed: set[WorkerReadyData] | None = None
        # Whether somebody else told it to stop; if so it is not restarted.
        self.dismissed = False
        self.restarts = 0
        # Failures in a row, for the supervisor's backoff.
        self.failures = 0
        self.ready_at: float | None = None
        # Whether it was ever ready; if not, its failure belongs to whoever added it.
        self.introduced = False
        parent.children[self.name] = self
        context.registry.starting(self.name, self)

    # State

    def _set_state(self, state: WorkerState) -> None:
        self.state = state
        if self.bus.observers.worker_state_changed:
            self.bus.observers.notify("worker_state_changed", self.name, state)

    def entry(self) -> WorkerRegistryEntry:
        """Return its registry entry."""
        parent = self.parent.name if isinstance(self.parent, Slot) else None
        return WorkerRegistryEntry(self.name, parent, self.active, False, time.time())

    def statistics(self) -> WorkerStatistics:
        """Return what it has done so far."""
        desk = self._desk
        turns = self.turns or self._past
        return WorkerStatistics(
            name=self.name,
            state=self.state,
            active=self.active,
            mailbox=self._box.statistics(_clock.slice_clock()),
            handled=self._handled + (0 if turns is None else turns.handled),
            jobs_running=0 if desk is None else len(desk.running),
            jobs_queued=0 if desk is None else len(desk.queue),
            jobs_served=0 if desk is None else desk.served,
            restarts=self.restarts,
            children=len(self.children),
        )

    def succeed(self, rested: Slot) -> None:
        """Go on with the counts of a slot that was closed, as its next life."""
        self.introduced = True
        self.restarts = rested.restarts
        self.variables = rested.variables
        self._handled = rested._handled
        if rested._desk is not None:
            self.desk.served = rested._desk.served

    # Stopping

    def end(self, reason: str | None, seconds: float, path: str) -> None:
        """Begin to end: close the intake now, finish what is there, then stop.

        Args:
            reason: why, for whom it concerns.
            seconds: when to cancel what is not finished; `inf` if somebody above sees to that.
            path: who decided it.
        """
        if self.closed:
            return
        first = self.stop is None
        self.dismissed = self.dismissed or path != self.path
        self.note_end(reason, trio.current_time() + seconds, path)
        if self.task is None:
            self._withdraw()
        elif first:
            self._set_state(WorkerState.ENDING)
            self._box.close("ending")
            if self.turns is not None:
                self.turns.begin_ending()

    def cancel(self, reason: str | None, path: str) -> None:
        """Cut off this worker and all below it, now."""
        if self.closed:
            return
        self.dismissed = self.dismissed or path != self.path
        self.note_cancel(reason, path)
        if self.task is None:
            self._withdraw()

    def _withdraw(self) -> None:
        assert self.parent is not None
        self.parent.supervisor.withdraw(self)

    def finished_ending(self) -> bool:
        """Take the next step of ending: running jobs, then the children in reverse order."""
        desk = self._desk
        if desk is not None and (desk.running or desk.queue):
            return False
        return self.end_children() and self.worker._is_drained(self)

    def child_stopped(self) -> None:
        """Take note that a child has stopped for good."""
        self._box.wake()

    async def wait_stopped(self) -> None:
        """Wait until it has stopped for good.  A checkpoint."""
        await trio.lowlevel.checkpoint()
        if not self.closed:
            if self._stopped is None:
                self._stopped = trio.Event()
            await self._stopped.wait()

    async def wait_started(self) -> bool:
        """Wait until the start that is going on made it ready (True), or has failed (False)."""
        if self._ready is None:
            self._ready = trio.Event()
        await self._ready.wait()
        return self.ready_at is not None and not self.closed

    def _end_start(self) -> None:
        """Wake who waits for the start that is going on."""
        started, self._ready = self._ready, None
        if started is not None:
            started.set()

    # One incarnation

    def spawn(self, nursery: trio.Nursery) -> None:
        """Make a task for the next incarnation."""
        self.spawned = True
        start_task(self.variables, nursery, self.live, name=f"worker {self.path}")

    async def live(self) -> None:
        """Live once: start, handle messages until stopped, clean up, tell the supervisor."""
        # Between this task's making and its first step the supervisor may have begun anew.
        if self.closed or not self.spawned or self.task is not None:
            return
        self.task = current_task()
        self._begun = False
        errors: list[Exception] = []
        rest: BaseException | None = None
        # Everything that can leave the incarnation is held here while `on_stop` runs; what is
        # not a failure of the worker (an outer cancellation, KeyboardInterrupt) then goes on.
        try:
            await self._run_incarnation()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - goes on below
            rest = self._note_errors(self._explained(error), errors)
        rest = await self._clean_up(errors, rest)
        self._end_incarnation(errors)
        assert self.parent is not None
        self.parent.supervisor.exited(self, errors)
        if rest is not None:
            raise rest

    def _explained(self, error: BaseException) -> BaseException:
        """Say what is wrong if the nursery could not be closed, which trio only asserts."""
        if not current_task().child_nurseries:
            return error
        explained = RuntimeError(
            f"worker {self.path} has left a nursery or an open_runner() open: close it in the hook "
            "or handler that opens it, or give it a task of its own, with "
            "'await self.nursery.start(...)'"
        )
        explained.__cause__ = error
        return explained

    async def _run_incarnation(self) -> None:
        async with trio.open_nursery() as nursery:
            self._begin_life(nursery)
            try:
                # A scope above may be cancelled: user code would run up to its first checkpoint.
                await checkpoint_if_cancelled()
                self._begun = True
                await self.worker._call_hook("on_start")
                turns = self.turns = Turns(self, self.worker, self.table, nursery)
                self._become_ready()
                try:
                    await turns.run(self._first_activation())
                finally:
                    # What arrives now waits, for the next incarnation or to become a dead
                    # letter: the nursery is about to close.
                    self._past, self.turns = turns, None
            except Exception as error:
                self.stop = StopReason("failed", error_text(error), self.path)
                self.set_cut_off()
                if self.children:
                    # Shielded, and bounded by the cut-off.
                    await self.supervisor.stop_all(f"{self.name!r} failed")  # noqa: ASYNC120
                raise
            except trio.Cancelled as error:  # noqa: ASYNC103 - see below
                # Now and not when all below has unwound: the cut-off counts from here.
                self.cancelled_from_outside(error)
                # It need not go on: this task ends here, and a scope that is cancelled stays
                # so for everybody else.  An exception group in the nursery of every worker is
                # half of what cancelling a tree would cost.
            except BaseException as error:
                self.cancelled_from_outside(error)
                raise
            if not nursery.cancel_scope.cancel_called:
                # Not a cancel of the worker, which has come to its end.
                self.life = None
                if nursery.child_tasks:
                    nursery.cancel_scope.cancel(reason="the worker has ended")

    def _begin_life(self, nursery: trio.Nursery) -> None:
        # The nursery's own scope: another one round it would cost as much as the task, in time at
        # the start and at a cancel, and in memory.
        self.nursery, self.life = nursery, nursery.cancel_scope
        self.scope_shared = False
        self._set_state(WorkerState.STARTING)

    def _become_ready(self) -> None:
        assert self.turns is not None
        if self.state is WorkerState.STARTING:
            self._set_state(WorkerState.READY)
        self.ready_at = trio.current_time()
        self.introduced = True
        self._end_start()
        self.context.registry.starting(self.name, None)
        entry = self.entry()
        self.context.registry.register(entry)
        self.bus.publish(
            BusWorkerReadyMessage(
                source=self.name,
                runner=self.path.partition("/")[0],
                parent=entry.parent,
                active=entry.active,
                started_at=entry.started_at,
            )
        )
        if isinstance(self.parent, Slot):
            self.parent.notice_ready(self.name)
        if self._desk is not None:
            self._desk.resume()
        self._box.move_up()
        if self.stop is not None:
            self.turns.begin_ending()

    def _first_activation(self) -> Callable[[], Awaitable[None]] | None:
        if self.active and self.worker._hears("on_activated"):
            return partial(self.worker._call_hook, "on_activated", self._first_args())
        return None

    def _note_errors(self, error: BaseException, errors: list[Exception]) -> BaseException | None:
        """Sort what left the incarnation into failures of the worker and the rest."""
        for leaf in leaves(error):
            if isinstance(leaf, Exception):
                _note_worker(leaf, self.path)
                errors.append(leaf)
        if errors:
            self.stop = StopReason("failed", errors_text(errors), self.path)
            self.set_cut_off()
        return split(error, Exception)[1]

    async def _clean_up(
        self, errors: list[Exception], rest: BaseException | None
    ) -> BaseException | None:
        """Run `on_stop`, shielded until the cut-off."""
        if rest is not None:
            self.cancelled_from_outside(rest)
        if not self._begun or not self.worker._hears("on_stop"):
            return rest
        try:
            with self.shielded() as scope:
                await self.worker._call_hook("on_stop")
            if scope.cancelled_caught:
                logger.warning("on_stop of %s was cut off after the grace period", self.path)
                self._note_end_deadline()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - as in live()
            more = self._note_errors(error, errors)
            if more is not None:
                rest = _worse(rest, more)
        return rest

    def _note_end_deadline(self) -> None:
        """Note that an end was cut off, which the life's scope can tell no more."""
        stop = self.stop
        if stop is not None and stop.kind == "ended" and trio.current_time() >= self.deadline:
            self.stop = StopReason("cancelled", "end deadline", stop.path)

    def _end_incarnation(self, errors: list[Exception]) -> None:
        self.context.registry.unregister(self.name, self.stop_reason)
        # Children that rest between two lives have no task that would close them.
        for child in reversed(tuple(self.children.values())):
            assert isinstance(child, Slot)
            child.close()
        turns, self._past = self._past, None
        if turns is not None:
            self._handled += turns.handled
            lost: DeadLetterReason = "crashed" if errors else "cancelled"
            for message in (turns.in_hand, turns.system_in_hand):
                if message is not None:
                    self.reject(message, lost)
        self.task = None
        self.spawned = False
        self.context.registry.starting(self.name, self)
        self._end_start()

    @property
    def final_state(self) -> WorkerState:
        """The state to stop in, by how the last incarnation ended."""
        reason = self.stop_reason
        return WorkerState.CANCELLED if reason is None else _FINAL_STATES[reason.kind]

    def rest_between_lives(self) -> None:
        """Get ready for another incarnation."""
        self.spawned = False
        self._set_state(self.final_state)
        self.stop = None
        self.deadline = inf
        self.cutoff = None
        self.life = None
        self.nursery = None
        self._supervisor = None
        self.ready_at = None
        self._box.reopen()
        self._unwatch()
        self.context.registry.starting(self.name, self)

    def close(self) -> None:
        """Stop for good: leave the bus and the tree; what the mailbox holds is dead letters."""
        if self.closed:
            return
        self.closed = True
        self.stop = self.stop_reason
        self._set_state(self.final_state)
        self.nursery = None
        self.life = None
        self.leave_bus()
        self.context.registry.starting(self.name, None)
        self._unwatch()
        self.context.forget(self)
        assert self.parent is not None
        del self.parent.children[self.name]
        self._end_start()
        if self._stopped is not None:
            self._stopped.set()
        self.parent.child_stopped()

    @property
    def doomed(self) -> bool:
        """Whether nothing more is handled here: cut off or failed, without another life to come."""
        own = self.stop
        if own is not None and own.kind == "cancelled" and self.dismissed:
            return True
        if own is not None and own.kind == "failed" and self.restart not in _RESTARTED:
            return True
        above = [node.own_stop_reason for node in self.chain() if node is not self]
        return any(reason is not None and reason.kind != "ended" for reason in above)

    def gone_text(self) -> str:
        """Say why the worker's jobs end with it."""
        reason = self.stop_reason
        return "it failed" if reason is None else str(reason)

    # Watching others

    def notice_ready(self, name: str) -> None:
        """Tell the worker, on its system lane, that a watched worker is ready."""
        data = self.context.registry.ready_data(name)
        if self._noticed is None:
            self._noticed = set()
        if data in self._noticed or not self.worker._hears("on_worker_ready"):
            return
        notice = WatchedReady(source=name, target=self.name, data=data)
        self._noticed.add(data)
        try:
            self.notify(notice)
        except SystemLaneFullError:
            # The worker that became ready, whose step this is, is not to blame.
            self.notice_taken(data)
            self.bus.dead_letter(notice, "overflow", self.name)

    def notice_taken(self, data: WorkerReadyData) -> None:
        """Take note that a notice has left the system lane: another one may follow."""
        if self._noticed is not None:
            self._noticed.discard(data)

    def reject(self, item: Any, reason: DeadLetterReason) -> None:
        """Take an item that was not handled: a request gets its outcome, a message is dead."""
        if isinstance(item, WatchedReady):
            self.notice_taken(item.data)
        super().reject(item, reason)

    def watch(self, name: str) -> None:
        """Call the worker's `on_worker_ready` whenever `name` becomes ready."""

        def listen(change: Up | Down) -> None:
            # Children are watched anyway.
            if isinstance(change, Up) and name not in self.children:
                self.notice_ready(name)

        if self._watched is None:
            self._watched = []
        elif any(watched == name for watched, _ in self._watched):
            return
        self._watched.append((name, listen))
        self.context.registry.listen(name, listen)
        if name in self.context.registry and name not in self.children:
            self.notice_ready(name)

    def _unwatch(self) -> None:
        for name, listen in self._watched or ():
            self.context.registry.unlisten(name, listen)
        self._watched = None

    def fail(self, errors: list[Exception]) -> None:
        """Fail with the errors of a child that nobody handled."""
        assert self.nursery is not None
        self.nursery.start_soon(_raise, errors, name=f"failure in {self.path}")

    async def tell_failed(self, child: str, error: Exception) -> bool:
        """Let the worker's `on_worker_failed` handle the failure of a child.

        Returns:
            False if the worker has no such hook, or stops before it could run, or its system
            lane is full.
        """
        if self.stopping or not self.worker._hears("on_worker_failed"):
            return False
        settled = trio.Event()
        verdict: list[bool] = []

        def settle(handled: bool) -> None:
            verdict.append(handled)
            settled.set()

        data = WorkerErrorData(child, error_text(error), error)
        try:
            self.notify(ChildFailed(source=child, target=self.name, data=data, settle=settle))
        except SystemLaneFullError:
            # The hook cannot be asked; that must not cost the child's own error.
            return False
        await settled.wait()
        return verdict[0]

    def start_error(self) -> WorkerGoneError:
        """Return the error for whoever waited for a start that did not come."""
        return WorkerGoneError(self.name, self.gone_text())


def _worse(rest: BaseException | None, more: BaseException) -> BaseException:
    """Return what goes on of two exceptions: a mere cancellation gives way."""
    if split(rest, trio.Cancelled)[1] is None:
        return more
    assert rest is not None
    return BaseExceptionGroup("a worker was interrupted twice", [rest, more])


def _note_worker(error: Exception, path: str) -> None:
    """Note where an error comes from, the first time that it leaves a worker."""
    # Without, if the exception takes no notes, as those of frozen dataclasses.
    with suppress(Exception):
        notes: Sequence[str] = getattr(error, "__notes__", ())
        if not any(note.startswith("in worker ") for note in notes):
            error.add_note(f"in worker {path}")


@enable_ki_protection
async def _raise(errors: list[Exception]) -> None:
    raise ExceptionGroup("a child failed", errors)
