"""What a side of a native link knows beyond one connection: how far it and the other have come.

A message has a number within its lane and the epoch of its sender.  If delivery is to be at least
once, what was sent and not taken is kept, and sent again over the next connection from where the
other side says that it had come; the receiver drops what it has had.
"""

from __future__ import annotations

from collections import deque
from typing import Any

import attrs
from attrs.validators import instance_of, optional

from ..errors import RemoteWireError
from .chunks import Lane
from .hello import Place

__all__ = ["Cancelled", "Epoch", "Had", "Sent"]


@attrs.frozen
class Cancelled:
    """A job is cancelled: why, by whom, and with which message of the data lane it was asked for."""

    job_id: str = attrs.field(validator=instance_of(str))
    reason: str | None = attrs.field(validator=optional(instance_of(str)))
    path: str = attrs.field(validator=instance_of(str))
    after: int = attrs.field(default=0, validator=instance_of(int))


class Sent:
    """The sending half of a lane."""

    __slots__ = ("again", "limit", "next", "unconfirmed")

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.next: int = 1
        # The number of the last message that may be sent.
        self.limit: int = 0
        # What was sent and not taken, if it is kept: at most as many as there was credit for.
        self.unconfirmed: deque[Any] = deque()
        # What of it is to be sent again.
        self.again: deque[Any] = deque()

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
            self.unconfirmed.popleft()

    def rewind(self) -> None:
        """Let everything that was not taken be sent again."""
        self.again.extendleft(reversed(self.unconfirmed))
        self.next -= len(self.unconfirmed)
        self.unconfirmed.clear()

    def forget(self) -> list[Any]:
        """Give up what was not taken, and return it."""
        lost = [*self.unconfirmed, *self.again]
        self.unconfirmed.clear()
        self.again.clear()
        return lost


class Had:
    """The receiving half of a lane."""

    __slots__ = ("arrived", "held", "sizes")

    def __init__(self) -> None:
        """Begin at the beginning."""
        self.arrived: int = 0
        # The sizes of what was not taken yet, and their sum; None where a message was abandoned.
        self.sizes: deque[int | None] = deque()
        self.held: int = 0

    @property
    def taken(self) -> int:
        """The number of the last message that was taken."""
        return self.arrived - len(self.sizes)

    def begin(self, number: int) -> None:
        """Begin anew behind the message of that number."""
        self.arrived = number
        self.sizes.clear()
        self.held = 0

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
        self.held -= self.sizes.popleft() or 0
        while self.sizes and self.sizes[0] is None:
            self.sizes.popleft()


class Epoch:
    """One side's memory of itself and of the other."""

    def __init__(self, name: str, *, keeping: bool = False) -> None:
        """Begin an epoch.

        Args:
            name: unlike all others.
            keeping: whether what was not taken is sent again over the next connection.
        """
        self.name: str = name
        self.keeping: bool = keeping
        self.peer: str | None = None
        self.sent: tuple[Sent, ...] = tuple(Sent() for _ in Lane)
        self.had: tuple[Had, ...] = tuple(Had() for _ in Lane)
        # Cancels that the other side has not confirmed; bounded by the jobs that are open.
        self.cancels: deque[Cancelled] = deque()
        self.cancels_sent: int = 0
        self.cancels_had: int = 0
        # Cancels that came before the requests they are for.
        self.early: list[Cancelled] = []

    @property
    def place_sent(self) -> Place:
        """Behind which messages and cancels this side goes on, for who does not know it."""
        data, system, reply = (lane.next - 1 for lane in self.sent)
        return Place(data, system, reply, self.cancels_sent - len(self.cancels))

    @property
    def place_had(self) -> Place:
        """How far the other side had come."""
        data, system, reply = (lane.arrived for lane in self.had)
        return Place(data, system, reply, self.cancels_had)

    def meet(self, peer: str, sent: Place) -> bool:
        """Learn who the other side is; return whether it is the one from before.

        Args:
            peer: the name of its epoch.
            sent: how far it has come there.
        """
        if peer == self.peer:
            return True
        self.peer = peer
        for lane in Lane:
            self.had[lane].begin(sent.of(lane))
        self.cancels_had = sent.cancels
        self.early.clear()
        return False

    def rewind(self, had: Place | None) -> tuple[Any, ...]:
        """Get ready to send again what the other side has not had; return what it will not get.

        Args:
            had: how far it says that it had come; None if it does not remember this epoch.

        Raises:
            RemoteWireError: it says that it has had what was not sent.
        """
        if had is None:
            return tuple(item for lane in self.sent for item in lane.forget())
        for lane in Lane:
            self.sent[lane].confirm(had.of(lane), lane)
        self.confirm_cancels(had.cancels)
        for each in self.sent:
            each.rewind()
        return ()

    def due(self, new: list[Cancelled]) -> list[Cancelled]:
        """Take cancels; return those whose requests have come, with those that waited for that."""
        arrived = self.had[Lane.DATA].arrived
        known = [*self.early, *new]
        self.early = [each for each in known if each.after > arrived]
        return [each for each in known if each.after <= arrived]

    def confirm_cancels(self, taken: int) -> None:
        """Take note that the other side has had so many cancels.

        Raises:
            RemoteWireError: there were not so many.
        """
        if taken > self.cancels_sent:
            raise RemoteWireError(f"{taken} cancels were taken, and {self.cancels_sent} were sent")
        while len(self.cancels) > self.cancels_sent - taken:
            self.cancels.popleft()
