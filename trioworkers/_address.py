"""What is behind a worker's name on the bus: its mailbox, its jobs, its activity.

A place in the tree that takes messages and requests, whether or not the worker runs at the
moment.  The turns and the job desk work for it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from functools import partial
from typing import Any

import attrs
import trio

from . import _clock, _payloads
from ._handlers import (
    ChildFailed,
    HandlerTable,
    JobHandler,
    WatchedReady,
    annotated_types,
    fit_args,
)
from ._interrupts import protected
from ._jobs import Job, JobDesk
from ._mailbox import Mailbox
from ._observers import Observers
from ._requests import Request
from ._tree import Context, Node, start_task
from ._turns import Turns
from ._values import DeadLetterReason, WorkerState
from ._waits import Mover
from .messages import (
    BusActivateWorkerMessage,
    BusCancelWorkerMessage,
    BusDeactivateWorkerMessage,
    BusEndWorkerMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
    BusSystemMessage,
)

__all__ = ["Address"]


@protected
class Address(Node):
    """A node that messages and requests can be sent to."""

    __slots__ = (
        "_box",
        "_desk",
        "activation_args",
        "active",
        "judged",
        "scope_shared",
        "spawned",
        "starter",
        "state",
        "table",
        "task",
        "turns",
        "worker",
    )

    def __init__(self, worker: Any, parent: Node, context: Context) -> None:
        """Put the name of `worker` on the bus.

        Raises:
            NameTakenError: it is taken.
        """
        super().__init__(worker.name, parent, context)
        self.state = WorkerState.ADDED
        self.active: bool = worker._initially_active
        self.activation_args: dict[str, Any] | None = None
        self._box = Mailbox(
            self.name, worker._mailbox_capacity, worker._overflow, self, context.bus.waits.release
        )
        self._desk: JobDesk | None = None
        self.turns: Turns | None = None
        self.task: trio.lowlevel.Task | None = None
        # Whether the user has got hold of the scope that this incarnation lives in.
        self.scope_shared = False
        # Whether a task for the next incarnation is on its way.
        self.spawned = False
        # Who starts it when its siblings before it are ready.
        self.starter: trio.lowlevel.Task | None = None
        # Whether its parent is being asked what to do about its failure.
        self.judged = False
        self.bus.attach(self.name, self)
        self.worker: Any = None
        self.table: HandlerTable = worker._handler_table
        self.is_edge = worker._is_edge
        try:
            self.employ(worker)
        except BaseException:
            self.bus.detach(self.name)
            raise

    def employ(self, worker: Any) -> None:
        """Let `worker` be the object of the next incarnation."""
        if self.worker is not None:
            self.bus.unlisten(self.name, self.table.heard())
            self.worker._left_bus(self)
        worker._entered_bus(self)
        self.worker = worker
        self.table = worker._handler_table
        self.bus.listen(self.name, self.table.heard())
        worker._slot = self

    def stop_batch(self) -> None:
        """Handle no further message before the next checkpoint."""
        self._box.preempt = True
        if self.turns is not None:
            self.turns.cancelled = True

    @property
    @abstractmethod
    def doomed(self) -> bool:
        """Whether nothing more is handled here: cut off or failed, without another life to come."""

    @abstractmethod
    def gone_text(self) -> str:
        """Say why the worker's jobs end with it."""

    @property
    def desk(self) -> JobDesk:
        """The desk that serves its jobs, made when it is first needed."""
        if self._desk is None:
            self._desk = JobDesk(self)
        return self._desk

    def leave_bus(self) -> None:
        """Take the name off the bus; what the mailbox and the desk hold gets its outcome."""
        self._box.close("stopped")
        if self._desk is not None:
            self._desk.close(self.gone_text())
        self.worker._left_bus(self)
        self.bus.unlisten(self.name, self.table.heard())
        self.bus.detach(self.name)

    # As the owner of the mailbox, and as a route of the bus

    @property
    def mailbox(self) -> Mailbox:
        """Its mailbox."""
        return self._box

    @property
    def present_nursery(self) -> trio.Nursery | None:
        """The nursery of the present incarnation, while that handles messages."""
        return None if self.turns is None else self.nursery

    def hears(self, message: BusMessage) -> bool:
        """Tell whether a broadcast is for it now."""
        if self.stop is not None:
            return False
        kind = type(message)
        if kind in self.table.data:
            # Its place is behind an activation that is still in the lane.
            return self.active or self._to_be_activated()
        return self.active and kind in self.table.system

    def wake_system(self, message: BusSystemMessage) -> None:
        """See to it that the system message just queued is handled."""
        if self.turns is not None:
            self.turns.system_arrived(message)

    def command(self, message: BusMessage) -> None:
        """Carry out an end or a cancel of this worker."""
        path = self._path_of(message.source)
        if isinstance(message, BusCancelWorkerMessage):
            self.cancel(message.reason, path)
        else:
            assert isinstance(message, BusEndWorkerMessage)
            self.end(message.reason, self.context.end_deadline, path)

    def _path_of(self, name: str) -> str:
        route = self.bus.route(name)
        return name if route is None else route.path

    def may_enter_while_ending(self, item: Any) -> bool:
        """Let in what descendants send, the requests of its own jobs, and those about its jobs."""
        if isinstance(item, BusJobUpdateRequestMessage):
            return True
        if isinstance(item, BusMessage):
            return item.source != self.name and self._is_above(item.source)
        return self._is_above(item.requester)

    def _is_above(self, name: str) -> bool:
        route: object = self.bus.route(name)
        return isinstance(route, Node) and any(node is self for node in route.chain())

    def reject(self, item: Any, reason: DeadLetterReason) -> None:
        """Take an item that was not handled: a request gets its outcome, a message is dead."""
        if isinstance(item, Request):
            if reason == "ending":
                item.refuse("ending")
            else:
                item.gone(self.gone_text())
        elif isinstance(item, ChildFailed):
            item.settle(False)
        elif not isinstance(item, WatchedReady):
            self.bus.dead_letter(item, reason, self.name)

    def lane_movers(self) -> Sequence[Mover]:
        """Return the tasks that must move before the data lane does."""
        if self.turns is None:
            return self._start_movers()
        if self.turns.system_task is None:
            return (self.turns.task,)
        return (self.turns.task, self.turns.system_task)

    def _start_movers(self) -> Sequence[Mover]:
        if self.task is not None:
            return (self.task,)
        if self.spawned:
            return ()
        if self.judged:
            # It has failed, and whether it lives again is said when the parent's hook is done.
            turns = self.parent.turns if isinstance(self.parent, Address) else None
            return () if turns is None or turns.system_task is None else (turns.system_task,)
        return () if self.starter is None else (self.starter,)

    @property
    def admits(self) -> bool:
        """Whether it takes requests now, or they keep their places in the lane."""
        return self.turns is not None

    def admit(self, request: Request) -> None:
        """Take an open request that was at the head of the data lane."""
        self.desk.admit(request)

    # As a resource of the wait-for graph: its start

    def wait_label(self) -> str:
        """Return its name."""
        return self.name

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before it is ready."""
        return False, () if self.turns is not None else self._start_movers()

    # As a responder

    def offer(self, request: Request) -> bool:
        """Take `request`, or give it an outcome; False if it must wait for room."""
        box = self._box
        request.responder = self
        if self.closed or (self.turns is None and self.doomed):
            request.gone(self.gone_text())
        elif box.ending and not self.may_enter_while_ending(request):
            request.refuse("ending")
        elif self.turns is not None and not box.data:
            self.desk.admit(request)
        elif self.turns is not None and not self.active and not self._to_be_activated():
            request.refuse("inactive")
        elif not box.full:
            box.put_request(request, _clock.slice_clock())
        elif box.overflow == "wait":
            return False
        else:
            request.refuse("busy")
        return True

    def _to_be_activated(self) -> bool:
        return any(isinstance(item, BusActivateWorkerMessage) for item in self._box.data)

    def cancel_request(self, request: Request) -> None:
        """Cancel a request wherever it is: in the lane, waiting for a job slot, or running."""
        if request.job is not None:
            self.desk.cancel(request)
            return
        if self._box.requests:
            self._box.remove(request)
        request.finish(request.cancelled())
        request.exit()

    def request_movers(self, request: Request) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before `request` is done."""
        if request.job is not None:
            return self.desk.movers(request)
        return False, (self._box,)

    # As the host of the turns and of the job desk

    def handle_other(self, message: BusMessage) -> Callable[[], Awaitable[None]] | None:
        """Take a message that is in no handler table; return what is left to run for it."""
        if isinstance(message, BusActivateWorkerMessage):
            return self._activate(message)
        if isinstance(message, BusDeactivateWorkerMessage):
            self._switch(False, None)
            return partial(self.worker._call_hook, "on_deactivated")
        if isinstance(message, BusJobUpdateRequestMessage):
            return self._find_job(message)
        self.reject(message, "unhandled" if self.active else "inactive")
        return None

    def _activate(self, message: BusActivateWorkerMessage) -> Callable[[], Awaitable[None]] | None:
        try:
            args = _fitted(message.args, self.worker)
        except _payloads.MisfitError:
            self.reject(message, "bad payload")
            return None
        self._switch(True, message.args)
        return partial(self.worker._call_hook, "on_activated", args)

    def _first_args(self) -> Any:
        """Return what an incarnation is activated with at its start."""
        try:
            return _fitted(self.activation_args, self.worker)
        except _payloads.MisfitError as error:
            if self.activation_args is not None:
                raise
            raise TypeError(
                f"on_activated of {self.path} needs arguments, and there are none: start the "
                "worker with active=False, or annotate them `... | None`"
            ) from error

    def _switch(self, active: bool, args: dict[str, Any] | None) -> None:
        self.active = active
        self.activation_args = args
        entry = self.context.registry.get(self.name)
        # It is ready: this is one of its turns.
        assert entry is not None
        self.context.registry.update(attrs.evolve(entry, active=active))

    def _find_job(
        self, message: BusJobUpdateRequestMessage
    ) -> Callable[[], Awaitable[None]] | None:
        for request, job in self.desk.running.items():
            if request.id == message.job_id and request.requester == message.source:
                return partial(self.worker._call_hook, "on_job_update_requested", job)
        # The job is over, and its requester knows: nothing is lost.
        return None

    @property
    def handlers(self) -> Mapping[str, JobHandler]:
        """The job handlers of the present incarnation."""
        return self.table.jobs

    @property
    def capacity(self) -> int:
        """How many requests may wait for a job slot."""
        return self._box.capacity

    @property
    def max_concurrent_jobs(self) -> int:
        """How many jobs run at once."""
        limit: int = self.worker._max_concurrent_jobs
        return limit

    @property
    def cancel_grace(self) -> float:
        """How long an interrupted handler may unwind, in seconds."""
        return self.context.cancel_grace

    @property
    def observers(self) -> Observers:
        """The instruments."""
        return self.bus.observers

    def start_job(self, run: Callable[[Job], Coroutine[Any, Any, None]], job: Job) -> None:
        """Run `job` in a task of its own, in the context of its request."""
        assert self.nursery is not None
        name = f"job {job.name} of {self.path}"
        start_task(job.request.variables, self.nursery, run, job, name=name)

    def job_exited(self) -> None:
        """Take note that a job's task is about to end."""
        if self.stop is not None:
            self._box.wake()

    def report_stuck(self, what: str, seconds: float, task: trio.lowlevel.Task) -> None:
        """Report a handler that does not react to its cancellation."""
        self.context.report_stuck(f"{what} of {self.path}", seconds, task)

    def notify(self, notice: BusSystemMessage) -> None:
        """Put a notice of the framework's own in the system lane."""
        self._box.put_system(notice)
        self.wake_system(notice)


def _fitted(args: dict[str, Any] | None, worker: Any) -> Any:
    return fit_args(args, annotated_types(worker.__class__.on_activated, 1)[0])
