"""The bus of one process: from a name to a mailbox, without anything in between.

A targeted message touches one mailbox, so its cost does not depend on how many workers there
are.  What cannot be delivered becomes a dead letter.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from math import inf
from typing import Any, TypeVar

import trio
from trio.lowlevel import (
    Abort,
    checkpoint,
    checkpoint_if_cancelled,
    current_task,
    wait_task_rescheduled,
)

from . import _clock
from ._checks import check_message, check_target, no_target, source_of
from ._interrupts import protected
from ._observers import Observers
from ._routes import Intake, Route
from ._streams import LaggingStream
from ._threads import check_in_trio, hosted_in, send_for, wait_with
from ._values import DeadLetter, DeadLetterReason, Lagged, excerpt
from ._waits import WaitGraph
from .abc import WorkerBus
from .errors import (
    BackpressureDeadlockError,
    MailboxFullError,
    NameTakenError,
    SystemLaneFullError,
)
from .messages import (
    JOB_PROTOCOL,
    BusAddWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusMessage,
    BusSystemMessage,
    is_message_class,
)

__all__ = ["LocalBus"]

logger = logging.getLogger("trioworkers")

M = TypeVar("M", bound=BusMessage)

SENDS_PER_PASS = 64
"""How many sends in a row there are at most without letting other tasks run."""

SLICE = 0.001
"""How many seconds of sends, or of handlers, there are at most without letting others run."""

REPORTED = 1024
"""How many kinds of dead letters are remembered as reported: names of targets have no bound."""

_SESSION = (BusEndMessage, BusCancelMessage, BusAddWorkerMessage)
_COMMANDS = (BusEndWorkerMessage, BusCancelWorkerMessage, *_SESSION)

# How a class of messages travels.
_DATA, _SYSTEM, _COMMAND = range(3)


@protected
class LocalBus(WorkerBus):
    """Carries messages between the workers of one process."""

    def __init__(self) -> None:
        """Make a bus without workers."""
        self._routes: dict[str, Route] = {}
        self._boxes: dict[str | None, Intake] = {}
        self._listeners: dict[type[BusMessage], dict[str, Route]] = {}
        self._kinds: dict[type, int] = {}
        self._subscriptions: dict[LaggingStream[BusMessage], tuple[type[BusMessage], ...]] = {}
        self._letter_streams: list[LaggingStream[DeadLetter]] = []
        self._reported: dict[tuple[str, str | None], None] = {}
        self._token: trio.lowlevel.TrioToken | None = None
        # The tasks that send for a thread.
        self._for_threads: set[trio.lowlevel.Task] = set()
        # Whether it belongs to a runner, so that nothing moves before that one runs.
        self.runner_expected = False
        self._yielded = 0.0
        # Whether anybody watches the messages that are sent.
        self.watched: bool = False
        self.waits: WaitGraph = WaitGraph()
        self.observers: Observers = Observers()
        self.sent: int = 0
        self.dead_letters: Counter[str] = Counter()
        self.open_requests: dict[str, Any] = {}
        # The runners, and the names of those that run.
        self._runners: dict[str, Route] = {}
        self._runner_names: list[str] = []
        self._ended = False

    # Names

    def attach(self, name: str, route: Route) -> None:
        """Put `route` on the bus under `name`.

        Raises:
            NameTakenError: the name is taken.
        """
        if name in self._routes:
            raise NameTakenError(name)
        self._routes[name] = route
        if route.mailbox is None:
            self._runners[name] = route
        else:
            self._boxes[name] = route.mailbox

    def detach(self, name: str) -> None:
        """Take `name` off the bus."""
        del self._routes[name]
        self._boxes.pop(name, None)
        self._runners.pop(name, None)

    def listen(self, name: str, types: Iterable[type[BusMessage]]) -> None:
        """Let broadcasts of `types` reach the route of `name`."""
        for message_type in types:
            self._listeners.setdefault(message_type, {})[name] = self._routes[name]

    def unlisten(self, name: str, types: Iterable[type[BusMessage]]) -> None:
        """Undo `listen`."""
        for message_type in types:
            listeners = self._listeners[message_type]
            del listeners[name]
            if not listeners:
                del self._listeners[message_type]

    def check_open(self) -> None:
        """Refuse what would have to wait for a runner that may never run.

        Raises:
            RuntimeError: no runner is running on this bus.
        """
        if self._token is None:
            raise RuntimeError(
                "no runner is running on this bus, so nobody would answer: start it first, with "
                "'await nursery.start(runner.run)' or 'async with open_runner(...)'"
            )

    def route(self, name: str) -> Route | None:
        """Return what is behind `name`, or None."""
        return self._routes.get(name)

    def open(self, runner_name: str) -> None:
        """Begin to take messages from threads; called by a runner when it starts."""
        self._token = trio.lowlevel.current_trio_token()
        self._runner_names.append(runner_name)

    def close(self, runner_name: str) -> None:
        """Undo `open`; with the last runner the streams end."""
        self._runner_names.remove(runner_name)
        if not self._runner_names:
            self._token = None
            self._ended = True
            for messages in self._subscriptions:
                messages.close()
            for letters in self._letter_streams:
                letters.close()

    # Sending

    async def send(self, message: BusMessage) -> None:
        """Deliver `message`, whose `source` is already right.

        A worker sends with its own `send`; this door is for runners, proxies and brokers.  A
        cancellation point each time, a schedule point at least every 64 sends or 1 ms, so no
        checkpoint in trio's strict sense.  A cancelled targeted send was not enqueued.

        Raises:
            TypeError: it is no bus message, or one that is not sent by hand.
            ValueError: it has no `source`.
            MailboxFullError: the target's lane is full and refuses.
            SystemLaneFullError: the target's system lane is at its hard cap.
            BackpressureDeadlockError: waiting for the target would close a circle.
        """
        await self.send_as(source_of(message), message)

    def send_nowait(self, message: BusMessage) -> None:
        """Deliver `message` at once; as `send` otherwise.

        Raises:
            trio.WouldBlock: the target's lane is full.
        """
        self.send_nowait_as(source_of(message), message)

    async def pause(self) -> None:
        """Make the cancellation point, and now and then the schedule point, of one send."""
        self.sent = number = self.sent + 1
        if number % SENDS_PER_PASS and _clock.slice_clock() - self._yielded < SLICE:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
            self._yielded = _clock.slice_clock()

    async def send_internal(self, message: BusMessage) -> None:
        """Deliver a data message that users do not send by hand."""
        await self.pause()
        box = self._boxes.get(message.target)
        if box is not None and not self._put_or_report(box, message, _clock.slice_clock()):
            await self.wait_for_room(box, message)
        self.tell(message)
        if box is None:
            self.dead_letter(message, "unknown", message.target)

    async def send_as(self, sender: str, message: BusMessage) -> None:
        """Deliver `message` for `sender`: check and yield first, effect last."""
        self.sent = number = self.sent + 1
        now = _clock.slice_clock()
        if number % SENDS_PER_PASS and now - self._yielded < SLICE:
            await checkpoint_if_cancelled()
        else:
            await checkpoint()
            self._yielded = now = _clock.slice_clock()
        kind = self._kinds.get(type(message))
        if kind is None:
            kind = self._kind_of(message)
        if not message.source:
            message.source = sender  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        elif message.source != sender:
            self._stamp(sender, message)
        try:
            box = self._boxes.get(message.target)
        except TypeError:
            raise no_target(message) from None
        if kind == _DATA and box is not None:
            if not box.put(message, now):
                await self.wait_for_room(box, message)
            # Only now: cancelled while it waited, it was not sent.
            if self.watched:
                self._tell(message)
        elif kind == _DATA and message.target is None:
            await self._broadcast(message, now)
        else:
            self._deliver_at_once(kind, message)

    def send_nowait_as(self, sender: str, message: BusMessage) -> None:
        """Deliver `message` for `sender` at once or raise `trio.WouldBlock`."""
        self.sent += 1
        if not self.sent % SENDS_PER_PASS:
            # The next send is to be a schedule point: this one cannot be.
            self._yielded = -inf
        kind = self._kinds.get(type(message))
        if kind is None:
            kind = self._kind_of(message)
        if message.source != sender:
            self._stamp(sender, message)
        if kind == _DATA:
            self._put_nowait(message)
        else:
            self._deliver_at_once(kind, message)

    def _put_nowait(self, message: BusMessage) -> None:
        if message.target is None:
            self._broadcast_nowait(message)
            return
        check_target(message)
        box = self._boxes.get(message.target)
        if box is None:
            self._deliver_at_once(_DATA, message)
        elif not box.put(message, _clock.slice_clock()):
            raise trio.WouldBlock
        elif self.watched:
            self._tell(message)

    def _broadcast_nowait(self, message: BusMessage) -> None:
        boxes = [box for _, box in self._hearers(message)]
        # All or nothing: a broadcast that reached some could not be repeated.
        if any(box.full and box.overflow == "wait" for box in boxes):
            raise trio.WouldBlock
        if self.watched:
            self._tell(message)
        if not boxes:
            self._report_unheard(message)
        for box in boxes:
            if not self._put_or_report(box, message, _clock.slice_clock()):
                # Filled meanwhile by somebody who watches, and sends when he sees something.
                self._report_overflow(box, message)

    def send_from_thread(self, message: BusMessage) -> None:
        """Deliver `message` from a thread other than trio's.

        Blocks the thread until the message is in its lane, which for a full data lane means
        until there is room.  Then a thread of `trio.to_thread.run_sync` waits in the name of the
        task that waits for it, and is cancelled with that.  An empty `source` becomes the
        runner's name.

        Raises:
            RuntimeError: no runner is running, or this thread runs trio itself.
            trio.RunFinishedError: the run is over.
            ValueError: `source` is not a name on this bus.
            TypeError, MailboxFullError, SystemLaneFullError: as `send`, in the calling thread.
            WorkerGoneError: the worker was cut off while the thread waited for room.
            BackpressureDeadlockError: it would wait for the task that waits for the thread.
            trio.Cancelled: the task that waits for the thread was cancelled meanwhile.
        """
        token = self._token
        if token is None:
            raise RuntimeError("no runner is running on this bus: send from a thread while one is")
        if trio.lowlevel.in_trio_run():
            raise RuntimeError(
                "this thread runs trio and must not block: use send() or send_nowait()"
            )
        if not trio.from_thread.run_sync(self._take_from_thread, message, trio_token=token):
            trio.from_thread.run(
                send_for,
                *(self._for_threads, self.send_as, message.source, message),
                trio_token=None if hosted_in(token) else token,
            )

    def _take_from_thread(self, message: BusMessage) -> bool:
        # Returns instead of raising WouldBlock: an exception would carry two stacks across.
        check_message(message)
        if not message.source and self._runner_names:
            self._stamp(self._runner_names[0], message)
        if not isinstance(message.source, str) or message.source not in self._routes:
            raise ValueError(
                f"source {message.source!r} is not on this bus: leave it out, or name a worker here"
            )
        try:
            self.send_nowait_as(message.source, message)
        except trio.WouldBlock:
            return False
        return True

    def publish(self, message: BusMessage) -> None:
        """Announce something of the framework's own; what finds no room becomes a dead letter."""
        if self.watched:
            self._tell(message)
        for route, box in self._hearers(message):
            if isinstance(message, BusSystemMessage):
                try:
                    self._put_system(route, box, message)
                except SystemLaneFullError:
                    self._report_overflow(box, message)
            elif box.full:
                self._report_overflow(box, message)
            else:
                box.put(message, _clock.slice_clock())

    def _kind_of(self, message: object) -> int:
        cls = type(message)
        check_message(message)
        if not is_message_class(cls):
            raise TypeError(f"{cls.__qualname__} is not marked @message: put it before the class")
        if isinstance(message, JOB_PROTOCOL):
            raise TypeError(
                f"{cls.__qualname__} is not sent by hand: use ask(), job(), job_group() or the Job"
            )
        if isinstance(message, _COMMANDS):
            kind = _COMMAND
        elif isinstance(message, BusSystemMessage):
            kind = _SYSTEM
        elif isinstance(message, BusDataMessage):
            kind = _DATA
        else:
            raise TypeError(
                f"{cls.__qualname__} has no lane: derive it from BusDataMessage or BusSystemMessage"
            )
        self._kinds[cls] = kind
        return kind

    def _stamp(self, sender: str, message: BusMessage) -> None:
        if message.source:
            raise ValueError(
                f"{sender!r} cannot send as {message.source!r}: leave source out, or make a new "
                "message with attrs.evolve(message, source='')"
            )
        message.source = sender  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]

    # Delivery

    async def wait_for_room(self, box: Intake, item: Any) -> None:
        """Wait until `item` has entered the data lane of `box`.

        Cancelled while it waits, the item has not entered.

        Raises:
            BackpressureDeadlockError: the wait would close a circle.
            WorkerGoneError: it was for a thread, and the worker was cut off meanwhile.
            RuntimeError: no runner is running, so the wait might never end.
        """
        if self.runner_expected:
            self.check_open()
        task = current_task()
        circle = self.waits.find_circle(task, box)
        if circle is not None:
            raise BackpressureDeadlockError(circle)
        life = self._routes[box.name].present_nursery if task in self._for_threads else None
        if life is None:
            await _wait_in(self.waits, task, box, item)
        else:
            await wait_with(life, box.name, _wait_in, self.waits, task, box, item)

    async def _broadcast(self, message: BusMessage, now: float) -> None:
        if self.watched:
            self._tell(message)
        boxes = [box for _, box in self._hearers(message)]
        if not boxes:
            self._report_unheard(message)
        full = [box for box in boxes if not self._put_or_report(box, message, now)]
        try:
            while full:
                # Meanwhile it may have got room, or its worker may have stopped.
                if not self._put_or_report(full[0], message, _clock.slice_clock()):
                    await self.wait_for_room(full[0], message)
                del full[0]
        except BaseException as problem:
            deadlock = isinstance(problem, BackpressureDeadlockError)
            for box in full:
                self.dead_letter(message, "overflow" if deadlock else "cancelled", box.name)
            raise

    def _put_or_report(self, box: Intake, message: BusMessage, now: float) -> bool:
        """Put a broadcast in one lane; a lane that refuses must not keep it from the others."""
        try:
            return box.put(message, now)
        except MailboxFullError:
            self._report_overflow(box, message)
            return True

    def _report_overflow(self, box: Intake, message: BusMessage) -> None:
        box.dropped += 1
        self.dead_letter(message, "overflow", box.name)

    def _report_unheard(self, message: BusMessage) -> None:
        """Report a broadcast that nobody handles nor reads; some may just not be there now."""
        heard = any(name != message.source for name in self._listeners.get(type(message), ()))
        if not heard and not any(
            isinstance(message, each) for each in self._subscriptions.values()
        ):
            self.dead_letter(message, "unhandled")

    def _hearers(self, message: BusMessage) -> list[tuple[Route, Intake]]:
        """Return whom a broadcast reaches now, or one of them if it has a target."""
        return [
            (route, route.mailbox)
            for name, route in self._listeners.get(type(message), {}).items()
            if name != message.source
            and message.target in (None, name)
            and route.mailbox is not None
            and route.hears(message)
        ]

    def _deliver_at_once(self, kind: int, message: BusMessage) -> None:
        if self.watched:
            self._tell(message)
        if kind == _COMMAND:
            self._command(message)
        elif message.target is None:
            self._broadcast_system(message)
        else:
            check_target(message)
            route = self._routes.get(message.target)
            if route is None:
                self.dead_letter(message, "unknown", message.target)
            elif route.mailbox is None:
                self.dead_letter(message, "unhandled", message.target)
            else:
                self._put_system(route, route.mailbox, message)

    def _broadcast_system(self, message: BusMessage) -> None:
        """Put a system broadcast in every lane; a lane at its cap fails loudly, but last."""
        hearers = self._hearers(message)
        full: SystemLaneFullError | None = None
        for route, box in hearers:
            try:
                self._put_system(route, box, message)
            except SystemLaneFullError as error:
                full = error
        if full is not None:
            raise full
        if not hearers:
            self._report_unheard(message)

    def _put_system(self, route: Route, box: Intake, message: BusMessage) -> None:
        # By how its class travels.
        assert isinstance(message, BusSystemMessage)
        box.put_system(message)
        route.wake_system(message)

    def _command(self, message: BusMessage) -> None:
        check_target(message)
        check_in_trio(message)
        if isinstance(message, _SESSION):
            self._command_runner(message)
        elif message.target is None:
            raise ValueError(f"{message!r} needs a target: name the worker")
        elif message.target in self._runners:
            raise ValueError(
                f"{message!r} is for a worker, but its target {message.target!r} is a runner: send "
                "BusEndMessage or BusCancelMessage"
            )
        elif (route := self._routes.get(message.target)) is None:
            self.dead_letter(message, "unknown", message.target)
        else:
            route.command(message)

    def _command_runner(self, message: BusMessage) -> None:
        runners = [
            route
            for name, route in self._runners.items()
            if name == message.target or (message.target is None and name in self._runner_names)
        ]
        if message.target is None and not self._runner_names:
            # None runs yet: the one that is about to stops before it starts anything.
            runners = list(self._runners.values())
        beyond = [
            route
            for name, route in self._listeners.get(type(message), {}).items()
            if message.target in (None, name) and route.hears(message)
        ]
        if message.target is not None and not runners and not beyond:
            raise ValueError(
                f"{message!r} is for a runner, but its target {message.target!r} is none: leave "
                "target out, or send BusEndWorkerMessage or BusCancelWorkerMessage"
            )
        if not runners and not beyond:
            self.dead_letter(message, "unknown", message.target)
        # First over the links: a runner that ends closes them.
        for route in (*beyond, *runners):
            route.command(message)

    # Watching

    def dead_letter(
        self,
        message: BusMessage,
        reason: DeadLetterReason,
        worker: str | None = None,
        detail: str = "",
    ) -> None:
        """Record a message that could not be delivered; logged once per reason and worker.

        Args:
            message: what was to be delivered.
            reason: why it was not, one of a closed list.
            worker: for whom it was; None for everybody.
            detail: more about the reason, for people.
        """
        check_in_trio(message)
        letter = DeadLetter(message, reason, trio.current_time(), detail)
        self.dead_letters[reason] += 1
        if (reason, worker) not in self._reported:
            if len(self._reported) >= REPORTED:
                del self._reported[next(iter(self._reported))]
            self._reported[reason, worker] = None
            logger.warning(
                "dead letter (%s) for %s: %s; further ones of this kind are only counted",
                f"{reason}: {detail}" if detail else reason,
                worker or "everybody",
                excerpt(message),
            )
        for stream in self._letter_streams:
            stream.push(letter)
        self.observers.notify("dead_letter", letter)

    @asynccontextmanager
    async def open_dead_letters(
        self, *, capacity: int = 256
    ) -> AsyncGenerator[AsyncIterator[DeadLetter | Lagged], None]:
        """Open a stream of what could not be delivered.

        Entering is a checkpoint.

        Args:
            capacity: how many letters are kept for a slow reader before it gets `Lagged`.

        Yields:
            The stream of `DeadLetter` and `Lagged`; it ends with the runner.

        Raises:
            ValueError: `capacity` is less than 1.
        """
        await checkpoint()
        stream: LaggingStream[DeadLetter] = LaggingStream(capacity)
        self._letter_streams.append(stream)
        self._end_if_over(stream)
        try:
            yield stream
        finally:
            self._letter_streams.remove(stream)
            stream.close()

    @asynccontextmanager
    async def open_subscription(
        self, *types: type[M], capacity: int = 256
    ) -> AsyncGenerator[AsyncIterator[M | Lagged], None]:
        """Open a stream of all messages of these types, whoever they are for.

        Entering is a checkpoint.  The reader is never waited for.

        Args:
            types: message classes; their subclasses are included.
            capacity: how many messages are kept for a slow reader before it gets `Lagged`.

        Yields:
            The stream of messages and `Lagged`; it ends with the runner.

        Raises:
            TypeError: no type is given, or something that is no message class.
            ValueError: `capacity` is less than 1.
        """
        if not types:
            raise TypeError("open_subscription() needs at least one message class")
        for message_type in types:
            if not (isinstance(message_type, type) and issubclass(message_type, BusMessage)):
                raise TypeError(f"{message_type!r} is no message class")
        await checkpoint()
        stream: LaggingStream[Any] = LaggingStream(capacity)
        self._subscriptions[stream] = types
        self.watch_changed()
        self._end_if_over(stream)
        try:
            yield stream
        finally:
            del self._subscriptions[stream]
            self.watch_changed()
            stream.close()

    def _end_if_over(self, stream: LaggingStream[Any]) -> None:
        """End a stream that was opened after the last runner has closed, and no other is there."""
        if self._ended and not self._routes:
            stream.close()

    def watch_changed(self) -> None:
        """Look again whether anybody watches the messages that are sent."""
        self.watched = bool(self._subscriptions or self.observers.message_sent)

    def tell(self, message: BusMessage) -> None:
        """Show a message that travels outside the lanes (a reply) to those who watch."""
        if self.watched:
            self._tell(message)

    def _tell(self, message: BusMessage) -> None:
        for stream, types in self._subscriptions.items():
            if isinstance(message, types):
                stream.push(message)
        if self.observers.message_sent:
            self.observers.notify("message_sent", message)


async def _wait_in(waits: WaitGraph, task: trio.lowlevel.Task, box: Intake, item: Any) -> None:
    box.wait(task, item)
    waits.edges[task] = box

    def abort(_raise_cancel: object) -> Abort:
        assert box.waiting is not None
        del box.waiting[task]
        # From now on, not when it runs, it waits for nothing.
        del waits.edges[task]
        return Abort.SUCCEEDED

    try:
        await wait_task_rescheduled(abort)
    finally:
        waits.edges.pop(task, None)
