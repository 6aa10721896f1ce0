"""The turns of one worker incarnation: which message is handled next.

Theory of operation.  The worker's own task takes data messages from its mailbox, at most 64 and
at most 1 ms of them between two schedule points.  If a handler of its class can interrupt, it runs
inside one lasting cancel scope, the *turn scope*; a scope for each message would cost nine times
the throughput.

A system message is the next message handled.  If the worker's task sleeps, it wakes and handles
it itself.  If the task is inside a data handler, a *system task* is started, which runs the system
lane beside the suspended handler.  Either way `system_busy` is set while the system lane is being
run, so system handlers never overlap and no data handler starts meanwhile.  The limits of a batch
hold for the system lane too; a data batch and the system messages handled in the same step are one.

An *interrupting* system message cancels the turn scope at the moment of sending.  The data
handler in progress unwinds, the task leaves the scope and enters a new one.  The interrupting
message keeps its place in the system lane; before its handler runs, the system task waits until
the data handler has exited, but no longer than `cancel_grace`.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import trio
from trio.lowlevel import Abort, checkpoint, current_task, wait_task_rescheduled

from . import _clock
from ._bus import SENDS_PER_PASS, SLICE
from ._handlers import ChildFailed, HandlerTable, WatchedReady
from ._interrupts import protected
from ._mailbox import Mailbox
from ._observers import Observers
from ._tree import start_task
from ._values import DeadLetterReason
from .messages import BusActivateWorkerMessage, BusDeactivateWorkerMessage, BusMessage

__all__ = ["TurnHost", "Turns"]

logger = logging.getLogger("trioworkers")

_NO_SCOPE = nullcontext()
# What runs a hook, and no handler.
_NOTICES = (ChildFailed, WatchedReady)
_SWITCHES = (BusActivateWorkerMessage, BusDeactivateWorkerMessage)


class TurnHost(Protocol):
    """What the turns ask of the worker slot."""

    path: str
    name: str
    active: bool
    scope_shared: bool

    @property
    def mailbox(self) -> Mailbox:
        """The mailbox whose messages are handled."""
        ...

    @property
    def cancel_grace(self) -> float:
        """How long an interrupted handler may unwind, in seconds."""
        ...

    @property
    def observers(self) -> Observers:
        """The instruments."""
        ...

    def handle_other(self, message: BusMessage) -> Callable[[], Awaitable[None]] | None:
        """Take a message that is in no table; return what is left to run for it."""
        ...

    def finished_ending(self) -> bool:
        """Take the next step of ending; True when nothing is left to wait for."""
        ...

    def reject(self, item: Any, reason: DeadLetterReason) -> None:
        """Take a message that was not handled."""
        ...

    def report_stuck(self, what: str, seconds: float, task: trio.lowlevel.Task) -> None:
        """Report a handler that does not react to its cancellation."""
        ...


@protected
class Turns:
    """Runs the handlers of one worker incarnation."""

    __slots__ = (
        "_box",
        "_data",
        "_ending",
        "_finished",
        "_host",
        "_interruptible",
        "_last",
        "_nursery",
        "_system",
        "_until",
        "_worker",
        "cancelled",
        "handled",
        "in_hand",
        "system_busy",
        "system_in_hand",
        "system_task",
        "task",
        "turn",
        "unwinding",
    )

    def __init__(
        self, host: TurnHost, worker: Any, table: HandlerTable, nursery: trio.Nursery
    ) -> None:
        """Prepare to run; called in the worker's own task."""
        self._host = host
        self._worker = worker
        self._box = host.mailbox
        self._data = table.data
        self._system = table.system
        self._interruptible = table.interruptible
        self._nursery = nursery
        self._ending = False
        self._finished = False
        self.task = current_task()
        self.system_task: trio.lowlevel.Task | None = None
        # The data message whose handler runs or is suspended.
        self.in_hand: Any = None
        self.system_in_hand: BusMessage | None = None
        self.system_busy = False
        self.turn: trio.CancelScope | None = None
        # Set while an interrupted data handler unwinds; fires when it has exited.
        self.unwinding: trio.Event | None = None
        self.handled = 0
        # Where the batch ends: the slice clock, and the count of handled messages.
        self._until = 0.0
        self._last = 0
        # Whether a cancel waits for the next checkpoint.
        self.cancelled = False

    # Called by senders, in their own step

    def system_arrived(self, message: BusMessage) -> None:
        """See to it that a system message just queued is handled next."""
        if self.in_hand is None:
            if not self.system_busy:
                self._box.wake()
            return
        handler = self._system.get(type(message))
        if handler is not None and handler.interrupt:
            self._interrupt()
        if not self.system_busy:
            self.system_busy = True
            name = f"system lane of {self._host.path}"
            # A copy: the worker's own may be entered already, if this is one of its steps.
            variables = self.task.context.copy()
            start_task(variables, self._nursery, self._run_beside, name=name)

    def _interrupt(self) -> None:
        if self.unwinding is None and self.turn is not None:
            self.unwinding = trio.Event()
            self.turn.cancel(reason="interrupted by a system message")

    def use(self, table: HandlerTable) -> None:
        """Take the handlers from another table, of the same types, from the next batch on."""
        self._data = table.data
        self._system = table.system

    def begin_ending(self) -> None:
        """Stop when the lane is empty and the host has finished ending."""
        self._ending = True
        self._box.wake()

    # The worker's own task

    async def run(self, first: Callable[[], Awaitable[None]] | None) -> None:
        """Handle messages until ended.

        Args:
            first: runs before the first data message, as a turn of its own.
        """
        if first is not None:
            message = BusActivateWorkerMessage(source=self._host.name, target=self._host.name)
            with self._turn_scope():
                await self._run_early()
                await self._run_first(first, message)
            self._leave_turn_scope()
        # No coroutine more than needed: an idle worker keeps this stack, at 200 bytes each.
        while not self._finished:
            with self._turn_scope():
                await self._work()
            self._leave_turn_scope()

    def _turn_scope(self) -> AbstractContextManager[object]:
        """Make the scope that an interrupt cancels; nothing if no handler interrupts."""
        if not self._interruptible:
            return _NO_SCOPE
        self.turn = trio.CancelScope()
        return self.turn

    def _leave_turn_scope(self) -> None:
        if self.unwinding is not None:
            if self.in_hand is not None:
                message, self.in_hand = self.in_hand, None
                self._host.reject(message, "interrupted")
            self.unwinding.set()
            self.unwinding = None

    async def _run_early(self) -> None:
        """Handle the system messages that came before the worker was ready."""
        while self._box.system:
            self._begin_batch()
            self.system_busy = True
            await self._run_system()
            # Here a cancel by the last of them takes effect; the worker is not idle meanwhile.
            self.system_busy = True
            await checkpoint()
            self.system_busy = False

    async def _run_first(self, first: Callable[[], Awaitable[None]], message: BusMessage) -> None:
        self.in_hand = message
        await first()
        self.in_hand = None

    async def _work(self) -> None:
        box = self._box
        while self.unwinding is None:
            if self.system_busy:
                await self._park()
                self._begin_batch()
            elif box.system:
                self.system_busy = True
                await self._run_system()
                # In the same batch, if it is not over: system messages that come in every pass
                # would otherwise leave no pass to the data.
                if box.data and self._may_go_on():
                    box.preempt = False
                    await self._handle_batch()
            else:
                box.preempt = False
                if box.data:
                    await checkpoint()
                elif self._ending and self._host.finished_ending():
                    self._finished = True
                    return
                else:
                    box.parked = self.task
                    await wait_task_rescheduled(self._abort_park)
                self._begin_batch()
                await self._handle_batch()

    def _may_go_on(self) -> bool:
        """Tell whether data is handled in the step in which the system lane was run."""
        stopped = self.cancelled or (
            self._host.scope_shared and self._nursery.cancel_scope.cancel_called
        )
        return not stopped and self.handled < self._last and _clock.slice_clock() <= self._until

    async def _handle_batch(self) -> None:
        box, data, host = self._box, self._box.data, self._host
        clock, scope = _clock.slice_clock, self._nursery.cancel_scope
        handlers, worker = self._data, self._worker
        watchers = host.observers.message_handled
        until, last = self._until, self._last
        while data and not box.preempt:
            message: BusMessage = data.popleft()
            self.in_hand = message
            kind = type(message)
            if (box.waiting or box.requests) and kind not in _SWITCHES:
                box.move_up()
            if host.active and kind in handlers:
                await handlers[kind](worker, message)
                if watchers:
                    host.observers.notify("message_handled", host.name, message)
            else:
                await self._handle_other(message)
            self.in_hand = None
            self.handled = handled = self.handled + 1
            # The clock is read after each handler: reading it now and then gives gaps as long
            # as that many slow handlers.
            if handled >= last or clock() > until:
                return
            # Looking at a scope costs a sixth of a message, so only where the user can reach it.
            if host.scope_shared and scope.cancel_called:
                return

    def _begin_batch(self) -> None:
        self._until = _clock.slice_clock() + SLICE
        self._last = self.handled + SENDS_PER_PASS

    async def _handle_other(self, message: BusMessage) -> None:
        """Handle what is in no table.

        A switch of activity takes effect before the requests behind it are admitted, and its hook
        runs after that.
        """
        # A request is in no table either, and nothing here would answer it.
        assert isinstance(message, BusMessage)
        handle = self._host.handle_other(message)
        self._box.move_up()
        if handle is not None:
            await handle()

    async def _park(self) -> None:
        self._box.parked = self.task
        await wait_task_rescheduled(self._abort_park)

    def _abort_park(self, _raise_cancel: object) -> Abort:
        self._box.parked = None
        return Abort.SUCCEEDED

    # The system lane

    async def _run_beside(self) -> None:
        self._begin_batch()
        await self._run_system()

    async def _run_system(self) -> None:
        box = self._box
        clock, scope = _clock.slice_clock, self._nursery.cancel_scope
        watchers = self._host.observers.message_handled
        self.system_task = current_task()
        try:
            while box.system:
                cancelled = self.cancelled or (self._host.scope_shared and scope.cancel_called)
                if cancelled or self.handled >= self._last or clock() > self._until:
                    self.cancelled = False
                    await checkpoint()
                    self._begin_batch()
                message = self.system_in_hand = box.system.popleft()
                handler = self._system.get(type(message))
                if handler is None:
                    self._host.reject(message, "unhandled")
                else:
                    if handler.interrupt and self.unwinding is not None:
                        await self._wait_unwound(self.unwinding)
                    await handler.function(self._worker, message)
                    if watchers and not isinstance(message, _NOTICES):
                        self._host.observers.notify("message_handled", self._host.name, message)
                self.system_in_hand = None
                self.handled += 1
        finally:
            self.system_busy = False
            self.system_task = None
            box.wake()

    async def _wait_unwound(self, unwound: trio.Event) -> None:
        grace = self._host.cancel_grace
        with trio.move_on_after(grace) as scope:
            await unwound.wait()
        if scope.cancelled_caught:
            self._host.report_stuck("an interrupted data handler", grace, self.task)
