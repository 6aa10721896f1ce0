"""A mailbox: two lanes, overflow, statistics.

The data lane is a bounded queue, the system lane has a hard cap.  Items of the data lane are
messages, or open requests (a job request and what the runtime knows of it).  There is no I/O and
no waiting here: whoever waits hands in a ticket, and `release` is called with it when its wait is
over.  In a run a ticket is a parked task and `release` is `trio.lowlevel.reschedule`.

Two things hold whenever an item has left the data lane, and `move_up` makes them so: nobody waits
for room that there is, and while the owner admits, no request is at the head.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol, TypeAlias

from . import _clock
from ._interrupts import protected
from ._values import DeadLetterReason, MailboxStatistics
from ._waits import Mover
from .errors import MailboxFullError, SystemLaneFullError
from .messages import (
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusMessage,
    BusSystemMessage,
)

__all__ = ["SYSTEM_LANE_LIMIT", "Mailbox", "MailboxOwner", "Overflow"]

Overflow: TypeAlias = Literal["wait", "refuse", "drop_oldest", "drop_newest"]
OVERFLOWS = ("wait", "refuse", "drop_oldest", "drop_newest")

SYSTEM_LANE_LIMIT = 65_536
"""Hard cap of a system lane: high enough for any burst that makes sense, low enough to notice."""

_MARK_EVERY = 64
# Stands for the data lane that nothing has entered yet: falsy, of length 0, and never changed.
_NO_DATA: Any = ()
_NEVER_DROPPED = (BusActivateWorkerMessage, BusDeactivateWorkerMessage)


class MailboxOwner(Protocol):
    """What a mailbox asks of the worker slot that owns it."""

    def reject(self, item: Any, reason: DeadLetterReason) -> None:
        """Take an item that will not be handled."""
        ...

    def may_enter_while_ending(self, item: Any) -> bool:
        """Tell whether an item is let in after the intake was closed for ending."""
        ...

    def lane_movers(self) -> Sequence[Mover]:
        """Return the tasks that must move before the data lane does."""
        ...

    @property
    def admits(self) -> bool:
        """Whether it takes requests now, or they keep their places in the lane."""
        ...

    def admit(self, request: Any) -> None:
        """Take an open request that was at the head of the data lane."""
        ...


@protected
class Mailbox:
    """The two lanes of one worker slot.

    `data`, `system`, `waiting`, `requests` and `parked` are public to the turn loop, which reads
    them for every message.
    """

    __slots__ = (
        "_closed",
        "_head_at",
        "_head_number",
        "_marks",
        "_owner",
        "_release",
        "accepted",
        "capacity",
        "data",
        "dropped",
        "high_water_mark",
        "limit",
        "name",
        "overflow",
        "parked",
        "preempt",
        "requests",
        "system",
        "waiting",
    )

    def __init__(
        self,
        name: str,
        capacity: int,
        overflow: Overflow,
        owner: MailboxOwner,
        release: Callable[[Any], None],
    ) -> None:
        """Open both lanes.

        Args:
            name: the worker's.
            capacity: how many items the data lane holds.
            overflow: what happens when it is full.
            owner: takes what is not handled.
            release: ends the wait of a ticket.
        """
        self.name: str = name
        self.capacity: int = capacity
        self.overflow: Overflow = overflow
        self._owner = owner
        self._release = release
        # An empty deque is 600 bytes, and many workers are idle: each lane is made when the first
        # message enters it, and so is the queue of waiting senders.
        self.data: deque[Any] = _NO_DATA
        self.system: deque[BusSystemMessage] | None = None
        self.waiting: OrderedDict[Any, Any] | None = None
        self.requests: int = 0
        self.parked: Any = None
        self.preempt: bool = False
        self._closed: DeadLetterReason | None = None
        # What `put` compares with: the capacity while open, 0 when something must be looked at.
        self.limit: int = capacity
        self.accepted: int = 0
        self.dropped: int = 0
        self.high_water_mark: int = 0
        self._head_at = 0.0
        self._head_number = 0
        self._marks: deque[tuple[int, float]] | None = None

    # The data lane

    def put(self, item: Any, now: float) -> bool:
        """Put `item` in the data lane.

        Args:
            item: a data message or an open request.
            now: the slice clock, in seconds.

        Returns:
            False if the lane is full and the policy is to wait; the item was not taken then.

        Raises:
            MailboxFullError: the lane is full and the policy is to refuse.
        """
        depth = len(self.data)
        if depth >= self.limit:
            return self._put_slow(item, depth, now)
        # As `_append`, which would cost every message another call.
        self.accepted = number = self.accepted + 1
        if not depth or not number % _MARK_EVERY:
            self._note_time(depth, number, now)
        self.data.append(item)
        if depth >= self.high_water_mark:
            self.high_water_mark = depth + 1
        if self.parked is not None:
            self.wake()
        return True

    def put_request(self, request: Any, now: float) -> bool:
        """Put an open request in the data lane, as `put` does a message.

        The owner has looked at the policy before: a request is never dropped.
        """
        taken = self.put(request, now)
        if self.data and self.data[-1] is request:
            self.requests += 1
            self.move_up()
        return taken

    def _append(self, item: Any, depth: int, now: float) -> None:
        self.accepted = number = self.accepted + 1
        if not depth or not number % _MARK_EVERY:
            self._note_time(depth, number, now)
        self.data.append(item)
        if depth >= self.high_water_mark:
            self.high_water_mark = depth + 1
        if self.parked is not None:
            self.wake()

    def _put_slow(self, item: Any, depth: int, now: float) -> bool:
        if self._closed is not None and (
            self._closed != "ending" or not self._owner.may_enter_while_ending(item)
        ):
            self._owner.reject(item, self._closed)
        elif depth < self.capacity:
            self._append(item, depth, now)
        elif self.overflow == "wait":
            return False
        elif isinstance(item, _NEVER_DROPPED):
            # Twice the capacity is the bound for what no policy may drop.
            if depth >= 2 * self.capacity:
                raise MailboxFullError(self.name, self.capacity, self.overflow, depth)
            self._append(item, depth, now)
        elif self.overflow == "refuse":
            raise MailboxFullError(self.name, self.capacity, self.overflow, depth)
        elif self.overflow == "drop_newest" or (oldest := self._take_oldest()) is None:
            self._drop(item)
        else:
            # Before the owner hears of the drop: it may send here again.
            self._append(item, depth - 1, now)
            self.move_up()
            self._drop(oldest)
        return True

    def _take_oldest(self) -> BusMessage | None:
        for place, item in enumerate(self.data):
            if isinstance(item, BusMessage) and not isinstance(item, _NEVER_DROPPED):
                self._take_out(place)
                return item
        return None

    def _take_out(self, place: int) -> None:
        """Take an item out of the data lane; those before it move up by one number."""
        number = self.accepted - len(self.data) + 1 + place
        del self.data[place]
        if place:
            self._head_number += self._head_number <= number
            if self._marks:
                self._marks = deque((each + (each <= number), at) for each, at in self._marks)

    def _drop(self, item: Any) -> None:
        self.dropped += 1
        self._owner.reject(item, "overflow")

    @property
    def ending(self) -> bool:
        """Whether the intake was closed for ending."""
        return self._closed == "ending"

    @property
    def full(self) -> bool:
        """Whether the data lane holds as much as it may."""
        return len(self.data) >= self.capacity

    def move_up(self) -> None:
        """Let what waited behind an item move up, now that this has left the data lane.

        Waiting senders' items enter, and the owner, if it admits, takes the requests at the head.
        The turn loop, which takes messages from `data` itself, calls this.
        """
        self._hand_over()
        # Looked at anew each time: the owner may send here.
        while self.requests and self._owner.admits and not isinstance(self.data[0], BusMessage):
            request = self.data.popleft()
            self.requests -= 1
            self._hand_over()
            self._owner.admit(request)

    def wait(self, ticket: Any, item: Any) -> None:
        """Note that `ticket` waits until `item` has entered; `del waiting[ticket]` undoes it."""
        if self.waiting is None:
            self.waiting = OrderedDict()
        self.waiting[ticket] = item

    def _hand_over(self) -> None:
        """Let waiting senders' items enter while there is room, in the order of waiting."""
        while self.waiting and len(self.data) < self.capacity:
            ticket, item = self.waiting.popitem(last=False)
            self._append(item, len(self.data), _clock.slice_clock())
            if not isinstance(item, BusMessage):
                self.requests += 1
            self._release(ticket)

    def remove(self, request: Any) -> bool:
        """Remove an open request from the data lane; False if it is not there."""
        for place, item in enumerate(self.data):
            if item is request:
                self._take_out(place)
                self.requests -= 1
                self.move_up()
                return True
        return False

    # The system lane

    def put_system(self, message: BusSystemMessage) -> None:
        """Put `message` in the system lane; never waits.

        Raises:
            SystemLaneFullError: the hard cap is reached.
        """
        if self._closed == "stopped":
            self._owner.reject(message, "stopped")
            return
        if self.system is None:
            self.system = deque()
        if len(self.system) >= SYSTEM_LANE_LIMIT:
            raise SystemLaneFullError(self.name, SYSTEM_LANE_LIMIT)
        self.system.append(message)
        self.preempt = True

    # Both

    def wake(self) -> None:
        """End the wait of the consumer, if it waits."""
        if self.parked is not None:
            ticket, self.parked = self.parked, None
            self._release(ticket)

    def close(self, reason: Literal["ending", "stopped"]) -> None:
        """Close the intake.

        With `ending` the lanes keep what they hold, and the owner may still let items in; with
        `stopped` everything is rejected.
        """
        self._closed = reason
        self.limit = 0
        if reason == "stopped":
            self._reject_all()
        for ticket, item in tuple((self.waiting or {}).items()):
            if reason == "ending" and self._owner.may_enter_while_ending(item):
                continue
            # Whoever hears of a rejected item may cancel others that wait here.
            if self.waiting and self.waiting.pop(ticket, None) is not None:
                self._release(ticket)
                self._owner.reject(item, reason)

    def reopen(self) -> None:
        """Open the intake again, for another incarnation."""
        self._closed = None
        self.limit = self.capacity

    def _reject_all(self) -> None:
        held = [*(self.system or ()), *self.data]
        self.data = _NO_DATA
        self.system = None
        self.requests = 0
        for item in held:
            self._owner.reject(item, "stopped")

    # As a resource of the wait-for graph

    def wait_label(self) -> str:
        """Return the worker's name."""
        return self.name

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before there is room in the data lane: all of them."""
        return False, self._owner.lane_movers()

    # Statistics

    def _note_time(self, depth: int, number: int, now: float) -> None:
        """Note when an item enters an empty lane, and now and then when one enters a longer one."""
        if not depth:
            self._head_at = now
            self._head_number = number
            if self.data is _NO_DATA:
                self.data = deque()
            return
        if self._marks is None:
            self._marks = deque()
        # The item with this number is counted, but not in the lane yet.
        head = self.accepted - len(self.data)
        while len(self._marks) > 1 and self._marks[1][0] <= head:
            self._marks.popleft()
        self._marks.append((number, now))

    def _oldest_age(self, now: float) -> float:
        if not self.data:
            return 0.0
        head = self.accepted - len(self.data) + 1
        since = self._head_at
        for number, at in self._marks or ():
            if self._head_number < number <= head:
                since = at
        return max(0.0, now - since)

    def statistics(self, now: float) -> MailboxStatistics:
        """Return how full the mailbox is; `now` is the slice clock."""
        return MailboxStatistics(
            data_depth=len(self.data),
            system_depth=len(self.system or ()),
            capacity=self.capacity,
            high_water_mark=self.high_water_mark,
            oldest_age=self._oldest_age(now),
            waiting_senders=len(self.waiting or ()),
            accepted=self.accepted,
            dropped=self.dropped,
        )
