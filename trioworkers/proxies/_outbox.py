"""What waits to leave over the link of a proxy.

An intake of the bus, like a mailbox: what is for the worker beyond the link is queued here.  Each
message is encoded in its sender's step, so what cannot cross is an error there.  While there is
no link the outbox takes nothing, and senders wait as for a full lane.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

import attrs
import trio
from trio.lowlevel import Abort, current_task, wait_task_rescheduled

from .. import _clock
from .._mailbox import Overflow
from .._values import DeadLetterReason
from .._waits import Mover
from ..errors import LocalWireError, SystemLaneFullError
from ..messages import BusSystemMessage
from ..wire.lanes import Lanes

__all__ = ["Outbox", "OutboxOwner", "Packed"]

CAPACITY = 256
"""How many messages wait in the data lane before their senders do."""

BYTES = 4 * 2**20
"""How many bytes wait in both lanes before senders do; one message may exceed it."""

SMALL = 16 * 2**10
"""How many bytes leave in their sender's step at most; to a bigger message it means little."""

PAUSE = 0.0001
"""Seconds after a message has left at once in which others do not: a write costs more than they do."""

SYSTEM_LIMIT = 10_000
"""The hard cap of the system lane, which never makes a sender wait."""


@attrs.define(eq=False, weakref_slot=False)
class Packed:
    """A message, or an open request, and the frame that says it."""

    item: Any
    frame: bytes
    job: str | None
    urgent: bool
    deadline: float = inf
    trace: dict[str, str] | None = None


class Release(Protocol):
    """Ends a wait."""

    def __call__(self, ticket: Any, error: Exception | None = None, /) -> None:
        """Let who waits with `ticket` go on, or fail."""
        ...


class OutboxOwner(Protocol):
    """What an outbox asks of the portal it belongs to."""

    def pack(self, item: Any) -> Packed | None:
        """Encode a message or request; None if it may not cross, which was reported then."""
        ...

    def reject(self, item: Any, reason: DeadLetterReason, detail: str = "") -> None:
        """Take what will not leave."""
        ...

    def outbox_movers(self) -> Sequence[Mover]:
        """Return who must move before the outbox takes anything."""
        ...


class Outbox:
    """Two lanes that one writer task empties."""

    overflow: Overflow = "wait"

    def __init__(self, name: str, owner: OutboxOwner, release: Release) -> None:
        """Begin without a link.

        Args:
            name: the worker beyond the link.
            owner: encodes, and takes what does not leave.
            release: ends the wait of a sender, with an error if there is one.
        """
        self.name: str = name
        self.dropped: int = 0
        self.waiting: OrderedDict[Any, Any] | None = None
        self._owner = owner
        self._release = release
        self.lanes: Lanes[Packed] = Lanes()
        self._linked = False
        self._closed = False
        self._writer: trio.lowlevel.Task | None = None
        # Lets what may leave leave at once, and tells whether it has; while there is a link, and
        # its writer waits.
        self._leave_now: Callable[[], bool] | None = None
        self._leave_alone: Callable[[Packed], bool | None] | None = None
        self._left_at = 0.0

    # As an intake of the bus

    @property
    def full(self) -> bool:
        """Whether a sender has to wait: there is no room, or no link."""
        lanes = self.lanes
        if not self._linked or lanes.size >= BYTES:
            return True
        return len(lanes) >= CAPACITY and (lanes.data_depth >= CAPACITY or self._crowded)

    @property
    def _crowded(self) -> bool:
        """Whether even an urgent event of a job has to wait."""
        return len(self.lanes) >= SYSTEM_LIMIT or self.lanes.size >= 2 * BYTES

    def _has_room(self, packed: Packed) -> bool:
        if not self.full:
            return True
        if not packed.urgent or self._crowded:
            return False
        # Once they are here they leave, be it that the requester asks for no more of them.
        return packed.job is None or self.lanes.waiting(packed.job) < CAPACITY

    def put(self, item: Any, now: float) -> bool:
        """Queue a message, an event of a job, or an open request; False if there is no room.

        Raises:
            LocalWireError: it cannot cross.
        """
        del now
        if self._closed:
            self._owner.reject(item, "stopped")
            return True
        packed = self._owner.pack(item)
        if packed is None:
            return True
        if not self._has_room(packed):
            return False
        self._append(packed)
        return True

    def put_system(self, message: BusSystemMessage) -> None:
        """Queue a system message, link or not.

        Raises:
            LocalWireError: it cannot cross.
            SystemLaneFullError: the hard cap is reached.
        """
        if self._closed:
            self._owner.reject(message, "stopped")
            return
        packed = self._owner.pack(message)
        if packed is None:
            return
        if self.lanes.system_depth >= SYSTEM_LIMIT:
            raise SystemLaneFullError(self.name, SYSTEM_LIMIT)
        self._append(packed)

    def put_reply(self, packed: Packed) -> None:
        """Queue an answer, which is bounded by the peer's jobs, or an announcement."""
        if self._linked:
            self._append(packed)

    def wait(self, ticket: Any, item: Any) -> None:
        """Note that `ticket` waits until `item` has entered; `del waiting[ticket]` undoes it."""
        if self.waiting is None:
            self.waiting = OrderedDict()
        self.waiting[ticket] = item

    def wait_label(self) -> str:
        """Return the name of the worker beyond the link."""
        return self.name

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before there is room: nobody here, once there is a link."""
        return False, self._owner.outbox_movers()

    # The link

    def connect(self) -> None:
        """Begin to take messages: there is a link."""
        self._linked = True
        self.hand_over()
        self.wake()

    def disconnect(self) -> list[Any]:
        """Take no more messages; return what did not leave.  Who waits goes on waiting."""
        self._linked = False
        return [packed.item for packed in self.lanes.clear()]

    def close(self) -> None:
        """Take nothing for good, and let go of everybody who waits."""
        self._closed = True
        for item in self.disconnect():
            self._owner.reject(item, "stopped")
        while self.waiting:
            ticket, item = self.waiting.popitem(last=False)
            self._release(ticket)
            self._owner.reject(item, "stopped")

    @property
    def empty(self) -> bool:
        """Whether nothing waits to leave."""
        return not self.lanes and not self.waiting

    @property
    def awaited(self) -> bool:
        """Whether the writer waits for something to leave."""
        return self._writer is not None

    def depths(self) -> tuple[int, int]:
        """Return how many messages wait in the data and in the system lane."""
        return self.lanes.data_depth, self.lanes.system_depth

    def shortcut(
        self,
        leave_now: Callable[[], bool] | None,
        leave_alone: Callable[[Packed], bool | None] | None = None,
    ) -> None:
        """Let messages leave in their sender's step when the writer has nothing to do.

        What follows closely is queued, and leaves together.

        Args:
            leave_now: takes what may leave out of `lanes`, and tells whether nothing is left for
                the writer; None when there is no connection.
            leave_alone: the same for one message that is in no lane, or None if it has to be.
        """
        self._leave_alone = leave_alone
        self._leave_now = leave_now

    async def changed(self) -> None:
        """Wait until something is to leave or has left."""
        self._writer = current_task()
        await wait_task_rescheduled(self._abort)

    def wake(self, size: int = 0) -> None:
        """See to it that what is to leave does, of `size` bytes."""
        if self._writer is None:
            return
        if self._leave_now is not None and size <= SMALL:
            now = _clock.slice_clock()
            if now - self._left_at >= PAUSE:
                self._left_at = now
                # Who enters while others leave must not leave before them.
                writer, self._writer = self._writer, None
                if self._leave_now():
                    self._writer = writer
                else:
                    trio.lowlevel.reschedule(writer)
                return
        self.rouse()

    def _alone(self, packed: Packed) -> bool:
        """Let a message leave that nothing waits with, past the lanes; False if it must not."""
        now = _clock.slice_clock()
        if self._leave_alone is None or now - self._left_at < PAUSE:
            return False
        whole = self._leave_alone(packed)
        if whole is None:
            return False
        self._left_at = now
        if not whole:
            self.rouse()
        return True

    def rouse(self) -> None:
        """End the writer's wait."""
        if self._writer is not None:
            writer, self._writer = self._writer, None
            trio.lowlevel.reschedule(writer)

    def withdraw(self, request: Any) -> bool:
        """Take a request out again; False if it has left already."""
        removed = self.lanes.remove(lambda packed: packed.item is request)
        if removed:
            self.hand_over()
        return removed

    def _append(self, packed: Packed) -> None:
        size = len(packed.frame)
        if self._writer is not None and size <= SMALL and not self.lanes and self._alone(packed):
            return
        put = self.lanes.put_urgent if packed.urgent else self.lanes.put
        put(packed, size, packed.job)
        self.wake(size)

    def _abort(self, _raise_cancel: object) -> Abort:
        self._writer = None
        return Abort.SUCCEEDED

    def hand_over(self) -> None:
        """Let what waits enter while there is room, in the order of waiting.

        It is written anew: this may be another link, whose peer takes less, and it may have been
        changed.  What cannot be written now is an error of its sender, who is still there.
        """
        while self.waiting and not self.full:
            ticket, item = next(iter(self.waiting.items()))
            packed: Packed | None = None
            problem: LocalWireError | None = None
            try:
                packed = self._owner.pack(item)
            except LocalWireError as error:
                problem = error
            # Whoever watches what is refused may have cancelled its sender.
            if self.waiting.pop(ticket, None) is not None:
                self._release(ticket, problem)
                if packed is not None:
                    self._append(packed)
