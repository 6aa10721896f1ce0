"""One lane of one connection in the native dialect: numbers, credit, and units, both ways.

What may be sent is said by the receiver as two totals.  That of messages grows as they are taken,
that is, delivered: a worker that is stuck stops the senders on the other side.  That of bytes is
half a window beyond what has arrived, so there is never more than that of a lane on its way, in
whose midst a system message may find itself; it stands still while too much is held.

A message of more than a quarter of what the lane may send at once goes in units of at most that,
and new credit is told when half is used up: so neither side can wait for the other for ever.
"""

from __future__ import annotations

from collections import deque
from math import inf, isfinite
from typing import Any, Protocol, cast

import attrs

from ..errors import RemoteWireError
from . import chunks
from .chunks import Lane, LaneCredit, Messages, Unit
from .epoch import ABANDONED, Had, Sent
from .hello import LinkLimits
from .lanes import Lanes

__all__ = ["Arrived", "Frame", "Incoming", "Outgoing", "Parcel"]

UNITS = 4
"""Into how many units that of a large message is cut which its lane may send at once."""


# Not frozen, as that takes as long as all else that is done for a small message.
@attrs.define(weakref_slot=False)
class Arrived:
    """A message has arrived: what is left of its time, in seconds, and what traces it."""

    lane: Lane
    body: bytes
    seconds: float | None = None
    trace: dict[str, str] | None = None


class Parcel(Protocol):
    """What leaves: the body of a message, and what is said of it on the way."""

    @property
    def frame(self) -> bytes:
        """The body."""
        ...

    @property
    def deadline(self) -> float:
        """When nobody needs it any more; `inf` for never."""
        ...

    @property
    def trace(self) -> dict[str, str] | None:
        """The context that traces it, if it is traced."""
        ...


@attrs.define
class Frame:
    """What leaves together: how many bytes and how many messages or units may join, and when."""

    room: int
    messages: int
    now: float
    said: list[bytes] = attrs.field(factory=list[bytes])


class Incoming:
    """What arrives in one lane of one connection."""

    __slots__ = (
        "_bytes",
        "_had",
        "_lane",
        "_limits",
        "_next_bytes",
        "_next_delivered",
        "_next_taken",
        "_partial",
        "_told",
    )

    def __init__(self, lane: Lane, had: Had, limits: LinkLimits) -> None:
        """Begin without having given credit.

        Args:
            lane: which it is.
            had: how far the other side has come.
            limits: what this side takes.
        """
        self._lane = lane
        self._had = had
        self._limits = limits
        # How many bytes have arrived, and what of a large message has.
        self._bytes = 0
        self._partial: tuple[int, bytearray] | None = None
        # What the other side was told that it may send, and before what it is not told again.
        self._told = LaneCredit(0, 0, 0)
        self._next_taken = self._next_bytes = self._next_delivered = 0

    def agree(self, limits: LinkLimits) -> None:
        """Hold the other side to limits that are no larger than what it takes itself."""
        self._limits = limits

    def hear_lone(self, number: int, size: int) -> bool:
        """Take one message of `size` bytes, if that breaks no rule and asks for no new credit.

        Otherwise `hear_messages` has to.
        """
        had, told = self._had, self._told
        arrived = self._bytes + size
        if (
            number != had.arrived + 1
            or number > told.messages
            or arrived > told.bytes
            or arrived >= self._next_bytes
            or size > self._limits.message_size
            or self._partial is not None
        ):
            return False
        self._bytes = arrived
        had.arrive(size)
        return True

    def hear_messages(self, messages: Messages, events: list[Any]) -> None:
        """Take consecutive messages; add those that are new to `events`.

        Raises:
            RemoteWireError: they break the rules.
        """
        _, first, bodies = messages
        self._check(first, first + len(bodies) - 1, sum(map(len, bodies)))
        if self._partial is not None:
            raise RemoteWireError(
                f"message {first} of lane {self._lane.name} in the midst of another"
            )
        had, lane, largest = self._had, self._lane, self._limits.message_size
        for body in bodies[had.arrived + 1 - first :]:
            if len(body) > largest:
                raise self._too_big(len(body))
            had.arrive(len(body))
            events.append(Arrived(lane, body))

    def hear_unit(self, unit: Unit, events: list[Any]) -> None:
        """Take a piece of a message; add the message to `events` if it is the last one.

        Raises:
            RemoteWireError: it breaks the rules.
        """
        _, number, length, offset, piece = unit
        self._check(number, number, len(piece))
        if number <= self._had.arrived:
            return
        if length > self._limits.message_size + chunks.EXTRA:
            raise self._too_big(length)
        whole, begun = self._partial or (length, bytearray())
        if (length, offset) != (whole, len(begun)):
            raise RemoteWireError(
                f"bytes from {offset} of {length} of message {number} of lane {self._lane.name}, "
                f"after {len(begun)} of {whole}"
            )
        begun.extend(piece)
        self._partial = (length, begun)
        if len(begun) == length:
            self._partial = None
            message = self._opened(bytes(begun))
            self._had.arrive(length)
            events.append(message)

    def hear_abandon(self, number: int) -> None:
        """Take note that a message will not come, or not to its end.

        Raises:
            RemoteWireError: it is not the next one.
        """
        self._check(number, number, 0)
        if number > self._had.arrived:
            self._partial = None
            self._had.skip()

    def _check(self, first: int, last: int, size: int) -> None:
        """Check number and credit of what arrives; what was had before is no offence."""
        self._bytes += size
        messages, window, _ = self._told
        if last > messages or self._bytes > window:
            raise RemoteWireError(
                f"message {last} and {self._bytes} bytes in lane {self._lane.name}, beyond the "
                f"credit for message {messages} and {window} bytes"
            )
        if not 1 <= first <= self._had.arrived + 1:
            raise RemoteWireError(
                f"message {first} of lane {self._lane.name} after {self._had.arrived}"
            )

    def _too_big(self, size: int) -> RemoteWireError:
        return RemoteWireError(
            f"a message of {size} bytes in lane {self._lane.name}: "
            f"{self._limits.message_size} are taken"
        )

    def _opened(self, whole: bytes) -> Arrived:
        meta, body = chunks.split_whole(whole)
        if len(body) > self._limits.message_size:
            raise self._too_big(len(body))
        return Arrived(self._lane, body, _seconds(meta.get("seconds")), _trace(meta.get("trace")))

    def _credit(self) -> LaneCredit:
        had, limits = self._had, self._limits
        # One message of the largest size can always come to its end.
        largest = limits.message_size + chunks.EXTRA + limits.lane_window
        begun = len(self._partial[1]) if self._partial is not None else 0
        room = max(0, min(limits.lane_window, largest - had.held - begun))
        # What was once given is not taken back.
        return LaneCredit(
            max(had.taken + limits.messages, self._told.messages),
            max(self._bytes + room, self._told.bytes),
            max(0, had.taken),
        )

    def take(self) -> bool:
        """Take note that the oldest message was taken; tell whether credit may be due now."""
        self._had.take()
        return self.may_be_due

    @property
    def may_be_due(self) -> bool:
        """Whether `credit_is_due` is worth a look: so it is seldom, and this is soon said."""
        had = self._had
        return (
            self._bytes >= self._next_bytes
            or had.delivered >= self._next_delivered
            or had.arrived - len(had.sizes) >= self._next_taken
        )

    @property
    def credit_is_due(self) -> bool:
        """Whether so much was used up, or delivered, that the other side is to be told."""
        if not self.may_be_due:
            return False
        if self._had.delivered >= self._next_delivered:
            return True
        credit, told, limits = self._credit(), self._told, self._limits
        return (
            2 * (credit.messages - told.messages) >= limits.messages
            or 2 * (credit.bytes - told.bytes) >= limits.lane_window
        )

    def tell_credit(self) -> LaneCredit:
        """Return what the other side may send, and hold it to that from now on."""
        told, limits = self._credit(), self._limits
        self._told = told
        # Before that many there is nothing to tell, however little is held.
        self._next_taken = told.messages - limits.messages // 2
        self._next_bytes = told.bytes - limits.lane_window // 2
        # Who keeps what was sent may have no room for more until it is told.
        self._next_delivered = self._had.delivered + limits.lane_window // 2
        return told


class Outgoing:
    """What leaves in one lane of one connection."""

    __slots__ = (
        "_abandoned",
        "_bytes",
        "_credit",
        "_keeping",
        "_lane",
        "_largest",
        "_limits",
        "_refused",
        "_rest",
        "_sent",
        "_small",
        "_unit",
    )

    def __init__(self, lane: Lane, sent: Sent, refused: deque[Any], *, keeping: bool) -> None:
        """Begin without credit.

        Args:
            lane: which it is.
            sent: how far this side has come.
            refused: where what the other side does not take goes, as it is too big.
            keeping: whether what leaves is kept until it is taken.
        """
        self._lane = lane
        self._refused = refused
        self._sent = sent
        self._keeping = keeping
        self._limits = LinkLimits()
        # How big a message the other side takes, a unit is, and what goes together with others.
        self._largest = self._unit = self._small = 0
        self._credit = LaneCredit(0, 0, 0)
        self._bytes = 0
        # What of a large message is still to leave, and which one was given up in its midst.
        self._rest: tuple[bytes, int] | None = None
        self._abandoned: int | None = None

    def agree(self, limits: LinkLimits, largest: int) -> None:
        """Learn what both sides keep to, and how big a message the other one takes."""
        self._limits = limits
        self._largest = largest
        self._unit = limits.lane_window // UNITS
        self._small = min(self._unit, largest)

    def hear_credit(self, credit: LaneCredit) -> None:
        """Take credit.

        Raises:
            RemoteWireError: more was taken than was sent.
        """
        self._sent.confirm(credit.taken, self._lane)
        self._credit = LaneCredit(
            max(credit.messages, self._credit.messages),
            max(credit.bytes, self._credit.bytes),
            credit.taken,
        )

    def is_empty(self, lanes: Lanes[Any]) -> bool:
        """Tell whether nothing is left to leave."""
        # What nearly always decides stands first: this is asked for each frame.
        return lanes.head(self._lane) is None and not self.has_begun and self._abandoned is None

    @property
    def has_begun(self) -> bool:
        """Whether the rest of a message is to leave, or messages are to leave again."""
        return self._rest is not None or len(self._sent.again) > 0

    @property
    def due(self) -> bool:
        """Whether something may leave that waits in no queue: it has begun, or was sent before."""
        if not self.has_begun or self._bytes >= self._credit.bytes:
            return False
        if self._rest is not None:
            return True
        if not self._may_begin():
            return False
        parcel = self._sent.again[0]
        return not self._is_small(parcel) or (self._bytes + len(parcel.frame) <= self._credit.bytes)

    def fill(self, frame: Frame, lanes: Lanes[Any]) -> bool:
        """Let messages of `lanes` join a frame; tell whether any did."""
        begun, before = self._bytes, len(frame.said)
        if self._abandoned is not None:
            frame.said.append(chunks.write_abandon(self._lane, self._abandoned))
            self._abandoned = None
        end = min(begun + frame.room, self._credit.bytes)
        while self._bytes < end and frame.messages > 0:
            if self._rest is not None:
                self._send_unit(frame, end)
            elif not (self._send_small(frame, lanes, end) or self._begin_other(frame, lanes)):
                break
        frame.room -= self._bytes - begun
        return len(frame.said) > before

    def leave_alone(self, parcel: Parcel, now: float) -> bytes:
        """Let a message leave before all others of its lane; return its frame.

        It is empty if there is no credit for it, or it cannot leave as a whole.
        """
        sent, body = self._sent, parcel.frame
        if len(body) > self._small or sent.next > self._credit.messages:
            return b""
        if self._keeping and not sent.has_room(self._limits):
            return b""
        if plain := parcel.deadline == inf and parcel.trace is None:
            content = body
        else:
            content = _whole(parcel, now)
        size = len(content)
        if size > self._unit or self._bytes + size > self._credit.bytes:
            return b""
        write = chunks.write_message if plain else chunks.write_envelope
        chunk = write(self._lane, sent.next, content)
        self._bytes += size
        sent.next += 1
        if self._keeping:
            sent.keep(parcel)
        return chunk

    def abandon(self, number: int) -> bool:
        """Give up a message that has not left to its end; tell whether that is so."""
        if self._rest is not None and self._sent.next - 1 == number:
            self._rest = None
            self._abandoned = number
            self._sent.abandon_last()
            return True
        return self._sent.abandon(number)

    def _may_begin(self) -> bool:
        sent = self._sent
        return sent.next <= self._credit.messages and (
            not self._keeping or sent.has_room(self._limits)
        )

    def _next(self, lanes: Lanes[Any]) -> Any:
        """Return what leaves next, if there is something and credit for it."""
        if not self._may_begin():
            return None
        again = self._sent.again
        return again[0] if again else lanes.head(self._lane)

    def _is_small(self, parcel: Any) -> bool:
        """Tell whether it goes together with others."""
        return (
            parcel is not ABANDONED
            and len(parcel.frame) <= self._small
            and parcel.deadline == inf
            and parcel.trace is None
        )

    def _took(self, parcel: Any, lanes: Lanes[Any]) -> None:
        """Give its number to what leaves next, and keep `parcel` in its place."""
        sent = self._sent
        if sent.again:
            sent.again.popleft()
            sent.repeated += parcel is not ABANDONED
        else:
            lanes.take_from(self._lane)
        sent.next += 1
        if self._keeping:
            sent.keep(parcel)

    def _send_small(self, frame: Frame, lanes: Lanes[Any], end: int) -> bool:
        """Send consecutive small messages; False if there is none."""
        # In a flood this is what a message costs: so `_next` and `_took` are here once more, as
        # far as it goes without calls.
        sent, lane, keeping = self._sent, self._lane, self._keeping
        bodies: list[bytes] = []
        first, room = sent.next, end - self._bytes
        for _ in range(min(frame.messages, self._credit.messages + 1 - first)):
            if keeping and not sent.has_room(self._limits):
                break
            again = bool(sent.again)
            parcel = sent.again[0] if again else lanes.head(lane)
            if parcel is None or not self._is_small(parcel) or len(parcel.frame) > room:
                break
            room -= len(parcel.frame)
            bodies.append(parcel.frame)
            if again or keeping:
                self._took(parcel, lanes)
            else:
                lanes.take_from(lane)
                sent.next += 1
        if not bodies:
            return False
        frame.said.append(chunks.write_messages(self._lane, first, bodies))
        frame.messages -= len(bodies)
        self._bytes = end - room
        return True

    def _begin_other(self, frame: Frame, lanes: Lanes[Any]) -> bool:
        """Begin with a message that does not go with others; False if there is none."""
        parcel = self._next(lanes)
        if parcel is None or self._is_small(parcel):
            return False
        if parcel is ABANDONED or len(parcel.frame) > self._largest:
            if parcel is not ABANDONED:
                self._refused.append(parcel)
            frame.said.append(chunks.write_abandon(self._lane, self._sent.next))
            frame.messages -= 1
            self._took(ABANDONED, lanes)
            return True
        self._rest = (_whole(parcel, frame.now), 0)
        self._took(parcel, lanes)
        return True

    def _send_unit(self, frame: Frame, end: int) -> None:
        assert self._rest is not None
        whole, offset = self._rest
        size = min(self._unit, end - self._bytes)
        piece, number = whole[offset : offset + size], self._sent.next - 1
        self._bytes += len(piece)
        frame.messages -= 1
        if len(piece) == len(whole):
            frame.said.append(chunks.write_envelope(self._lane, number, whole))
        else:
            frame.said.append(chunks.write_unit(self._lane, number, len(whole), offset, piece))
        reached = offset + len(piece)
        self._rest = None if reached == len(whole) else (whole, reached)


def _whole(parcel: Parcel, now: float) -> bytes:
    """Return a message with its meta."""
    meta: dict[str, Any] = {}
    if parcel.deadline != inf:
        # A duration and no time of day: the clocks of two machines differ.
        meta["seconds"] = max(0.0, parcel.deadline - now)
    # What traces a message is not worth its loss.
    if parcel.trace is not None and chunks.is_meta(meta | {"trace": parcel.trace}):
        meta["trace"] = parcel.trace
    return chunks.whole(meta, parcel.frame)


def _seconds(said: Any) -> float | None:
    if said is None:
        return None
    try:
        # Neither a bool nor an int that no float can be.
        if type(said) in (int, float) and isfinite(said) and said >= 0:
            return float(said)
    except OverflowError:
        pass
    raise RemoteWireError(f"the time left to a message must be a number of seconds: {said!r:.50}")


def _trace(said: Any) -> dict[str, str] | None:
    # The keys of JSON are texts.
    if said is None or (
        isinstance(said, dict)
        and all(isinstance(each, str) for each in cast("dict[str, Any]", said).values())
    ):
        return cast("dict[str, str] | None", said)
    raise RemoteWireError(f"the trace of a message must be a dict of texts, not {said!r:.200}")
