"""A supervisor: starts the children of one node and restarts them, in OTP's terms.

Each exit that needs attention gets a task of its own in the node's nursery, so one child's
backoff does not hold up another.  A restart is a `_Round`: one task stops the children of a group
in reverse order and starts them again in order.  Whoever else fails meanwhile finds its round at
work.  If the round has yet to start it again, nothing is left to do, as OTP takes the exits of
children that it stops anyway; else the round begins anew, as OTP starts a group again when a
restart fails.
"""

from __future__ import annotations

import inspect
import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import trio

from ._interrupts import call, protected
from ._slot import Slot
from ._tree import Context, Node
from ._values import Backoff, Restart, Strategy, error_text
from ._worker import Worker
from .errors import RestartIntensityExceeded, WorkerGoneError
from .messages import BusMessage, BusWorkerErrorMessage, BusWorkerLocalErrorMessage

__all__ = ["Supervisor", "SupervisorSettings"]

logger = logging.getLogger("trioworkers")


class SupervisorSettings(Protocol):
    """How a supervisor restarts: attributes of a worker class, or keywords of a runner."""

    @property
    def strategy(self) -> Strategy:
        """Which siblings are restarted with a child."""
        ...

    @property
    def max_restarts(self) -> int:
        """How many restarts are allowed in `period`."""
        ...

    @property
    def period(self) -> float:
        """Seconds in which restarts are counted."""
        ...

    @property
    def backoff(self) -> Backoff:
        """How long to wait before a restart."""
        ...


@protected
class Supervisor:
    """Starts and restarts the children of `node`."""

    def __init__(self, node: Node, settings: SupervisorSettings) -> None:
        """Supervise nobody yet."""
        self._node = node
        self._context: Context = node.context
        self._settings = settings
        # Errors of children whose first start is being waited for.
        self._starting: dict[Slot, list[Exception]] = {}
        # The restarts that are going on, by the children they are to start again.
        self._rounds: dict[Slot, _Round] = {}
        # All children in the order of starting.  Among them are, as in OTP, transient children
        # that have ended normally: they start again together with their siblings.
        self._order: dict[Slot, None] = {}
        # The latter, by name.
        self._resting: dict[str, Slot] = {}
        # Children that are being stopped for the sake of another one, until they have exited.
        self._stopping: dict[Slot, trio.Event] = {}
        self._restart_times: deque[tuple[float, BaseException]] = deque()

    # Starting

    async def add(self, sources: tuple[Any, ...], restart: Restart | None) -> None:
        """Add children; start them, one after the other, if the node runs."""
        if restart is not None and not isinstance(restart, Restart):
            raise TypeError(f"restart must be a Restart or None, not {restart!r}")
        await trio.lowlevel.checkpoint()
        for source in sources:
            if self._takes_no_more():
                raise RuntimeError(f"{self._node.path} is stopping and takes no more workers")
            slot = self._create(source, restart)
            if self._node.nursery is not None:
                await self.start(slot)

    def _takes_no_more(self) -> bool:
        """Tell whether the node is past taking children.

        A runner is as soon as it stops.  A worker that is ending takes more until it has handled
        what it holds: what it has begun, it finishes.
        """
        node, reason = self._node, self._node.stop_reason
        if reason is None or not isinstance(node, Slot):
            return reason is not None
        cleaning_up = node.ready_at is not None and node.turns is None
        return reason.kind != "ended" or cleaning_up

    def add_soon(self, source: Any) -> None:
        """Add a child now, and start it in a task of the node, if that runs; not supervised."""
        slot = self._create(source, None)
        if self._node.nursery is not None:
            # Nobody waits for it: that it was told to stop before it was ready is no error.
            self._node.nursery.start_soon(self._try_start, slot, name=f"start of {slot.path}")

    def _create(self, source: Any, restart: Restart | None) -> Slot:
        worker = _make(source)
        if worker._slot is not None and not worker._slot.closed:
            raise RuntimeError(
                f"worker {worker.name!r} was added already: make another object for a second worker"
            )
        slot = Slot(worker, source, restart, self._node, self._context)
        # Who rests under this name gives way; OTP wants a `delete_child` first, which is not here.
        rested = self._resting.pop(slot.name, None)
        if rested is not None:
            self._order.pop(rested, None)
            self._skip(rested)
        self._order[slot] = None
        return slot

    def _close(self, child: Slot, *, rests: bool = False) -> None:
        """Close a child; one that `rests` keeps its place in the order of starting."""
        child.close()
        if rests:
            self._resting[child.name] = child
        else:
            self._order.pop(child, None)

    async def start(self, slot: Slot) -> None:
        """Start a new child and wait until it is ready; raise what its first `on_start` raises."""
        await self._try_start(slot)
        if not slot.introduced:
            raise slot.start_error()

    async def _try_start(self, slot: Slot) -> None:
        """Start a new child; return when it is ready, or was told to stop before that."""
        task = trio.lowlevel.current_task()
        waits = self._context.bus.waits
        errors: list[Exception] = []
        self._starting[slot] = errors
        try:
            # No circle can be closed here: the child has not made a step yet.
            waits.edges[task] = slot
            self._spawn(slot)
            await slot.wait_started()
        except BaseException:
            # If the node itself is stopping, that is the child's reason too.
            if not self._node.stopping or slot.task is None:
                slot.cancel("whoever added it was cancelled", self._node.path)
            raise
        finally:
            waits.edges.pop(task, None)
            self._starting.pop(slot, None)
        if errors:
            raise errors[0] if len(errors) == 1 else ExceptionGroup(f"{slot.path} failed", errors)

    async def start_all(self) -> None:
        """Start the children that were added before the node ran, one after the other."""
        for slot in self._order:
            # A child that needs a sibling waits for whoever starts it: this task.
            slot.starter = trio.lowlevel.current_task()
        for slot in tuple(self._order):
            if not self._node.stopping and not slot.closed:
                await self._try_start(slot)

    def _spawn(self, slot: Slot) -> None:
        assert self._node.nursery is not None
        slot.starter = None
        slot.spawn(self._node.nursery)

    # Exits

    def exited(self, child: Slot, errors: list[Exception]) -> None:
        """Take note that an incarnation of `child` has exited; called in its own task."""
        for error in errors:
            self._publish(child, error)
        stopped = self._stopping.pop(child, None)
        if stopped is not None:
            stopped.set()
            if errors:
                self._clean_up_failed(child, errors)
        elif child in self._starting and not child.introduced:
            self._starting[child].extend(errors)
            self._close(child)
        elif not errors and not self._is_restarted(child, failed=False):
            self._close(child, rests=self._may_rest(child))
        else:
            assert self._node.nursery is not None
            self._node.nursery.start_soon(
                self._settle, child, errors, name=f"supervision of {child.path}"
            )

    def _clean_up_failed(self, child: Slot, errors: list[Exception]) -> None:
        """Lose no error of a child that was being stopped."""
        if self._node.stopping:
            self._node.fail(errors)
        else:
            logger.error("worker %s failed when it was stopped", child.path, exc_info=errors[0])

    def _publish(self, child: Slot, error: Exception) -> None:
        text = error_text(error)
        message: BusMessage
        if isinstance(self._node, Slot):
            message = BusWorkerLocalErrorMessage(
                source=child.name, target=self._node.name, error=text
            )
        else:
            message = BusWorkerErrorMessage(source=child.name, error=text)
        self._context.bus.publish(message)

    def _is_restarted(self, child: Slot, *, failed: bool) -> bool:
        kept = child.restart is Restart.PERMANENT or (child.restart is Restart.TRANSIENT and failed)
        return kept and not child.dismissed and not self._node.stopping

    def _may_rest(self, child: Slot) -> bool:
        return (
            child.restart is Restart.TRANSIENT
            and self._settings.strategy is not Strategy.ONE_FOR_ONE
            and not child.dismissed
            and not self._node.stopping
        )

    async def _settle(self, child: Slot, errors: list[Exception]) -> None:
        """Decide what an exit leads to: nothing, a restart, or the failure of the node."""
        again = self._is_restarted(child, failed=bool(errors))
        if not again:
            self._close(child)
            self._skip(child)
        handled = bool(errors) and await self._is_handled(child, errors)
        if again and child in self._order:
            await self._restart(child, errors)
        elif errors and not handled and not again:
            if child.restart is Restart.TEMPORARY:
                logger.warning("temporary worker %s failed", child.path, exc_info=errors[0])
            else:
                self._node.fail(errors)

    async def _is_handled(self, child: Slot, errors: list[Exception]) -> bool:
        """Let the node handle the failure; if it cannot finish that, the failure is its own."""
        error = errors[0] if len(errors) == 1 else ExceptionGroup("it failed", errors)
        child.judged = True
        try:
            return await self._node.tell_failed(child.name, error)
        except trio.Cancelled:
            # The hook raised, or it was cut off and nobody will restart the child.
            stop = self._node.stop_reason
            if child.restart is None or stop is None or stop.kind == "failed":
                self._node.fail(errors)
            raise
        finally:
            child.judged = False

    # Restarting

    async def _restart(self, child: Slot, errors: list[Exception]) -> None:
        going = self._rounds.get(child)
        if child.spawned or child.task is not None or (going and child in going.unstarted):
            # Somebody else's restart has brought it back, or is about to.
            return
        cause = errors[0] if errors else WorkerGoneError(child.name, child.gone_text())
        if not self._may_restart(cause):
            await self._give_up(child)
            return
        delay = self._delay(child, cause)
        group = self._affected(child)
        for each in group:
            if each in self._rounds:
                # There is one at most: any two groups of a strategy share a child, or are one.
                self._rounds[each].repeat(group, delay)
                self._rounds.update(dict.fromkeys(group, self._rounds[each]))
                return
        await self._run_round(_Round(group, delay), f"restarted with {child.name!r}")

    async def _run_round(self, going: _Round, reason: str) -> None:
        self._rounds.update(dict.fromkeys(going.unstarted, going))
        try:
            while going.begin():
                group = [each for each in self._order if each in going.unstarted]
                await self._stop(reversed(group), reason)
                if not going.repeated:
                    with going.scope:
                        await self._start_again(going, group)
        finally:
            self._rounds = {each: by for each, by in self._rounds.items() if by is not going}

    def _abandon_rounds(self) -> None:
        for going in set(self._rounds.values()):
            going.abandon()

    def _skip(self, child: Slot) -> None:
        """Let a restart go on without a child that failed in it, and is not to be restarted."""
        going = self._rounds.pop(child, None)
        if going is not None:
            going.skip(child)

    def _may_restart(self, cause: BaseException) -> bool:
        now = trio.current_time()
        times = self._restart_times
        while times and times[0][0] < now - self._settings.period:
            times.popleft()
        times.append((now, cause))
        return len(times) <= self._settings.max_restarts

    async def _give_up(self, child: Slot) -> None:
        """Stop all children in reverse order, then let the node fail."""
        self._close(child)
        await self.stop_all("the supervisor gives up")
        error = RestartIntensityExceeded(
            self._node.path,
            self._settings.max_restarts,
            self._settings.period,
            [cause for _, cause in self._restart_times],
        )
        self._node.fail([error])

    def _delay(self, child: Slot, cause: BaseException) -> float:
        backoff = self._settings.backoff
        ready_at = child.ready_at
        if ready_at is not None and trio.current_time() - ready_at >= backoff.reset_after:
            child.failures = 0
        child.failures += 1
        delay = backoff.delay(child.failures, self._context.random.random())
        logger.warning(
            "worker %s stopped and is restarted in %.3f s", child.path, delay, exc_info=cause
        )
        self._context.bus.observers.notify("worker_restarted", child.name, child.failures, delay)
        return delay

    def _affected(self, child: Slot) -> list[Slot]:
        """Return the children to restart with `child`, in the order of starting."""
        strategy = self._settings.strategy
        if strategy is Strategy.ONE_FOR_ONE:
            return [child]
        supervised = [each for each in self._order if each.restart is not None]
        if strategy is Strategy.REST_FOR_ONE:
            return supervised[supervised.index(child) :]
        return supervised

    async def stop_all(self, reason: str) -> None:
        """Cancel and close all children one after the other, in reverse order of starting.

        They have one cut-off together; who ignores it is left to the nursery.
        """
        self._node.set_cut_off()
        self._abandon_rounds()
        children = tuple(reversed(self._order))
        with trio.CancelScope(shield=True, deadline=self._node.cut_off()):
            await self._stop(children, reason)
        for child in children:
            if child.task is None:
                self._close(child)

    async def _stop(self, children: Iterable[Slot], reason: str) -> None:
        """Cancel children one after the other, and wait until each has exited."""
        for child in children:
            if child.task is None:
                # A task may be on its way that has not made its first step.
                child.spawned = False
                continue
            stopped = self._stopping.get(child)
            if stopped is None:
                stopped = self._stopping[child] = trio.Event()
                dismissed = child.dismissed
                child.cancel(reason, self._node.path)
                child.dismissed = dismissed
            # A clean-up that asks whoever waits for it is refused, not cut off.
            edges, task = self._context.bus.waits.edges, trio.lowlevel.current_task()
            edges[task] = child
            try:
                await stopped.wait()
            finally:
                edges.pop(task, None)

    async def _start_again(self, going: _Round, group: list[Slot]) -> None:
        for slot in group:
            if slot.restart is Restart.TEMPORARY or slot.dismissed:
                self._close(slot)
            elif not slot.closed:
                slot.rest_between_lives()
        # A checkpoint even without a delay: a restart in a cancelled scope must not go on.
        await trio.sleep(going.delay)
        for slot in group:
            if going.repeated:
                return
            going.unstarted.discard(slot)
            # Who left the order meanwhile was told to stop.
            if slot in self._order and not await self._start_one_again(going, slot):
                # Either it is the cause of another restart, or it is left out.
                await going.wait_verdict()

    async def _start_one_again(self, going: _Round, slot: Slot) -> bool:
        going.begin_start()
        try:
            slot = self._wake_resting(slot) if slot.closed else self._renew(slot)
        except Exception as error:  # noqa: BLE001 - it is the failure of the child
            self.exited(slot, [error])
            return False
        slot.restarts += 1
        self._spawn(slot)
        return await slot.wait_started() or slot.closed or slot.dismissed

    def _wake_resting(self, rested: Slot) -> Slot:
        """Give a child that has ended normally a new slot in its old place."""
        worker = _make_again(rested)
        slot = Slot(worker, rested.source, rested.restart, self._node, self._context)
        slot.succeed(rested)
        self._resting.pop(rested.name, None)
        self._order = {slot if each is rested else each: None for each in self._order}
        self._rounds[slot] = self._rounds.pop(rested)
        rank = {each.name: place for place, each in enumerate(self._order)}
        children = self._node.children
        self._node.children = {
            name: children[name] for name in sorted(children, key=rank.__getitem__)
        }
        return slot

    def _renew(self, slot: Slot) -> Slot:
        """Give `slot` its next object, if it is a new one each time."""
        if not isinstance(slot.source, Worker):
            worker = _make_again(slot)
            _check_kept(slot, worker)
            slot.employ(worker)
        return slot

    def withdraw(self, child: Slot) -> None:
        """Close a child that is told to stop while it does not run."""
        self._close(child)
        self._skip(child)


@protected
class _Round:
    """One restart, of a child or of a group of them together."""

    __slots__ = ("_open", "_verdict", "delay", "repeated", "scope", "unstarted")

    def __init__(self, group: Iterable[Slot], delay: float) -> None:
        """Restart `group` after `delay` seconds."""
        # Who is to be started again, and was not yet.
        self.unstarted: set[Slot] = set(group)
        self.delay = delay
        # Whether it has to begin anew.
        self.repeated: bool = True
        # Round the starting; what was stopped stays so if it is cancelled.
        self.scope: trio.CancelScope = trio.CancelScope()
        self._open = True
        # Set when somebody has decided about the child whose start has failed.
        self._verdict = trio.Event()

    def begin(self) -> bool:
        """Begin, or begin anew; False if nothing is left to do."""
        if not (self._open and self.repeated and self.unstarted):
            return False
        self.repeated = False
        self.scope = trio.CancelScope()
        return True

    def begin_start(self) -> None:
        """Take note that a child is started now."""
        self._verdict = trio.Event()

    async def wait_verdict(self) -> None:
        """Wait until the child whose start has failed is left out."""
        await self._verdict.wait()

    def repeat(self, group: Iterable[Slot], delay: float) -> None:
        """Begin anew, with `group` and who was not started yet."""
        self.unstarted.update(group)
        self.delay = delay
        self.repeated = True
        self.scope.cancel(reason="another failure begins the restart anew")

    def skip(self, child: Slot) -> None:
        """Go on without `child`."""
        self.unstarted.discard(child)
        self._verdict.set()
        if not self.unstarted and not self.repeated:
            self.scope.cancel(reason="nobody is left to restart")

    def abandon(self) -> None:
        """Start nobody any more."""
        self._open = False
        self.repeated = True
        self.scope.cancel(reason="the supervisor stops")


def _make(source: Any) -> Worker:
    _check_class(source)
    make: Callable[[], Any] | None = source if callable(source) else None
    worker = source if make is None else call(make)
    if not isinstance(worker, Worker):
        raise TypeError(f"expected a Worker, or a function that makes one, not {worker!r}")
    return worker


def _make_again(slot: Slot) -> Worker:
    """Make the object of another life of `slot`."""
    worker = slot.variables.copy().run(_make, slot.source)
    if worker.name != slot.name:
        raise ValueError(
            f"the function that makes worker {slot.name!r} made one named {worker.name!r}: "
            "it must keep the name"
        )
    return worker


def _check_kept(slot: Slot, worker: Worker) -> None:
    """Refuse an object whose settings differ where a restart keeps what they are for."""
    before: Worker = slot.worker
    for setting, old, new in (
        ("active", before._initially_active, worker._initially_active),
        ("mailbox_capacity", before._mailbox_capacity, worker._mailbox_capacity),
        ("overflow", before._overflow, worker._overflow),
    ):
        if new != old:
            raise ValueError(
                f"the function that makes worker {slot.name!r} made one with {setting}={new!r}, "
                f"and before one with {setting}={old!r}: a restart keeps mailbox and activity, so "
                "it must keep their settings"
            )


def _check_class(source: object) -> None:
    """Refuse a class in the place of its instance; one that needs no arguments makes a worker."""
    if not (isinstance(source, type) and issubclass(source, Worker)):
        return
    try:
        inspect.signature(source).bind()
    except TypeError as error:
        name = source.__qualname__
        raise TypeError(
            f"expected a Worker, not the class {name}: pass an instance, as {name}('a-name')"
        ) from error
