"""What a side of a native link knows beyond one connection: how far it and the other have come.

A message has a number within its lane and the epoch of its sender.  If delivery is to be at least
once, what was sent and not taken is kept, and sent again over the next connection from where the
other side says that it had come; the receiver drops what it has had.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
from attrs.validators import and_, instance_of, max_len, optional

from ..errors import RemoteWireError
from .chunks import Lane
from .hello import VERSION, Hello, LinkLimits, Place, between

__all__ = ["ABANDONED", "Cancelled", "Epoch", "Had", "Sent"]

ABANDONED: Any = object()
"""Stands where a message was that will not be sent to its end."""

_text = and_(instance_of(str), max_len(256))


@attrs.frozen
class Cancelled:
    """A job is cancelled: why, by whom, and with which message of the data lane it was asked for.

    Each text has at most 256 characters.
    """

    job_id: str = attrs.field(validator=_text)
    reason: str | None = attrs.field(validator=optional(_text))
    path: str = attrs.field(validator=_text)
    after: int = attrs.field(default=0, validator=between(0, 2**63))


class Sent:
    """The sending half of a lane."""

    __slots__ = ("again", "kept", "next", "repeated", "unconfirmed")

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.next: int = 1
        # What was sent and not taken, if it is kept, and its bytes: see `has_room`.
        self.unconfirmed: deque[Any] = deque()
        self.kept: int = 0
        # What of it is to be sent again, and how many messages were.
        self.again: deque[Any] = deque()
        self.repeated: int = 0

    def has_room(self, limits: LinkLimits) -> bool:
        """Tell whether one more may be kept; what a peer gives credit for may be without bounds."""
        return len(self.unconfirmed) < limits.messages and self.kept < limits.window

    def keep(self, parcel: Any) -> None:
        """Keep what leaves until it is taken."""
        self.unconfirmed.append(parcel)
        self.kept += _size(parcel)

    def confirm(self, taken: int, lane: Lane) -> None:
        """Take note that the other side has taken everything up to a number.

        Raises:
            RemoteWireError: so much was not sent.
        """
        kept = self.next - 1 - taken
        if kept < 0:
            raise RemoteWireError(
                f"message {taken} of lane {lane.name} was taken, and {self.next - 1} were sent"
            )
        while len(self.unconfirmed) > kept:
            self.kept -= _size(self.unconfirmed.popleft())

    def rewind(self, had: int, lane: Lane) -> None:
        """Let everything behind a number be sent again; what is before it may not be taken yet.

        Raises:
            RemoteWireError: that cannot be.
        """
        behind = self.next - 1 - had
        if not 0 <= behind <= len(self.unconfirmed):
            raise RemoteWireError(
                f"message {had} of lane {lane.name} is said to be the last one that has arrived, "
                f"and {self.next - 1} were sent, of which {len(self.unconfirmed)} are kept"
            )
        for _ in range(behind):
            parcel = self.unconfirmed.pop()
            self.kept -= _size(parcel)
            self.again.appendleft(parcel)
        self.next = had + 1

    def abandon(self, number: int) -> bool:
        """Give up a message that is to be sent again; False if that is not so."""
        place = number - self.next
        if not 0 <= place < len(self.again) or self.again[place] is ABANDONED:
            return False
        self.again[place] = ABANDONED
        return True

    def abandon_last(self) -> None:
        """Give up the message that was sent last."""
        if self.unconfirmed:
            self.kept -= _size(self.unconfirmed[-1])
            self.unconfirmed[-1] = ABANDONED

    def forget(self) -> list[Any]:
        """Give up what was not taken, and return it."""
        lost = [each for each in (*self.unconfirmed, *self.again) if each is not ABANDONED]
        self.unconfirmed.clear()
        self.again.clear()
        self.kept = 0
        return lost


def _size(parcel: Any) -> int:
    return 0 if parcel is ABANDONED else len(parcel.frame)


class Had:
    """The receiving half of a lane."""

    __slots__ = ("arrived", "delivered", "held", "sizes")

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.arrived: int = 0
        # The sizes of what was not taken yet, and their sum; None where a message was abandoned.
        self.sizes: deque[int | None] = deque()
        self.held: int = 0
        # How many bytes were taken.
        self.delivered: int = 0

    @property
    def taken(self) -> int:
        """The number of the last message that was taken.

        It may be negative, while messages of somebody from before are held.
        """
        return self.arrived - len(self.sizes)

    def begin(self, number: int) -> None:
        """Begin anew behind the message of that number; what is held stays so until it is taken."""
        self.arrived = number

    def arrive(self, size: int) -> None:
        """Take note of the next message."""
        self.arrived += 1
        self.sizes.append(size)
        self.held += size

    def skip(self) -> None:
        """Take note that the next message will not come."""
        self.arrived += 1
        if self.sizes:
            self.sizes.append(None)

    def take(self) -> None:
        """Take note that the oldest message was taken."""
        size = self.sizes.popleft() or 0
        self.held -= size
        self.delivered += size
        while self.sizes and self.sizes[0] is None:
            self.sizes.popleft()


class Epoch:
    """One side's memory of itself and of the other."""

    def __init__(self, name: str, *, keeping: bool = False) -> None:
        """Begin an epoch.

        Args:
            name: unlike all others, of at most 100 characters.
            keeping: whether what was not taken is sent again over the next connection.
        """
        self.name: str = name
        self.keeping: bool = keeping
        # How many connections there were, and over which this side met the other.
        self.connections: int = 0
        self.meeting: str | None = None
        # Whether the other side has said anything since then: before it nothing could leave.
        self.answered: bool = False
        self.sent: tuple[Sent, ...] = tuple(Sent() for _ in Lane)
        self.had: tuple[Had, ...] = tuple(Had() for _ in Lane)
        # Cancels that the other side has not confirmed.  No more than there were open jobs, and a
        # side that does not confirm them is given up.
        self.cancels: deque[Cancelled] = deque()
        self.cancels_sent: int = 0
        self.cancels_had: int = 0
        # Cancels that came before the requests they are for.
        self.early: list[Cancelled] = []

    @property
    def cancels_confirmed(self) -> int:
        """How many cancels the other side has had."""
        return self.cancels_sent - len(self.cancels)

    def greet(self, limits: LinkLimits) -> Hello:
        """Begin a connection: return what is said on it first."""
        self.connections += 1
        data, system, reply = (lane.next - 1 for lane in self.sent)
        sent = Place(data, system, reply, self.cancels_confirmed)
        name = f"{self.name}.{self.connections}"
        return Hello(VERSION, name, limits, sent, self.meeting, self.arrived(), self.keeping)

    def arrived(self) -> Place:
        """Return how far the other side has come."""
        data, system, reply = (lane.arrived for lane in self.had)
        return Place(data, system, reply, self.cancels_had)

    def confirm_arrived(self, had: Place) -> None:
        """Take note of how far this side has come, according to the other: that is not lost.

        Raises:
            RemoteWireError: so much was not sent.
        """
        for lane in Lane:
            self.sent[lane].confirm(had.of(lane), lane)

    def begin(self, sent: Place) -> tuple[Any, ...]:
        """Begin with somebody else, who goes on behind `sent`; return what was lost with the other.

        That is what nobody can say any more of whether it has arrived.
        """
        self.answered = False
        for lane in Lane:
            self.had[lane].begin(sent.of(lane))
        self.cancels_had = sent.cancels
        self.early.clear()
        # The jobs that they are about have ended with the link.
        self.cancels_sent = self.cancels_confirmed
        self.cancels.clear()
        return tuple(item for lane in self.sent for item in lane.forget())

    def resume(self, sent: Place, had: Place) -> None:
        """Get ready to send again what the other side has not had.

        Args:
            sent: how far it says that it had come itself.
            had: how far it says that this side had come.

        Raises:
            RemoteWireError: that cannot be.  The next connection begins anew.
        """
        meeting, self.meeting = self.meeting, None
        for lane in Lane:
            if sent.of(lane) < self.had[lane].arrived:
                raise RemoteWireError(
                    f"{sent.of(lane)} messages of lane {lane.name} are said to have been sent, and "
                    f"{self.had[lane].arrived} have come"
                )
            self.sent[lane].rewind(had.of(lane), lane)
        self.confirm_cancels(had.cancels, self.cancels_sent)
        self.meeting = meeting

    def take_cancels(self, new: list[Cancelled]) -> list[Cancelled]:
        """Take cancels; return those whose requests have come.  The others wait for that."""
        arrived = self.had[Lane.DATA].arrived
        self.cancels_had += len(new)
        self.early += [each for each in new if each.after > arrived]
        return [each for each in new if each.after <= arrived]

    def due(self) -> list[Cancelled]:
        """Return the cancels that have waited for their requests, which have come now."""
        arrived, early = self.had[Lane.DATA].arrived, self.early
        self.early = [each for each in early if each.after > arrived]
        return [each for each in early if each.after <= arrived]

    def confirm_cancels(self, taken: int, told: int) -> None:
        """Take note that the other side has had so many cancels.

        Raises:
            RemoteWireError: it was not told of so many.
        """
        if taken > told:
            raise RemoteWireError(f"{taken} cancels were taken, and {told} were sent")
        while self.cancels_confirmed < taken:
            self.cancels.popleft()
