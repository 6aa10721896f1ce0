"""One lane of one connection in the native dialect: numbers, credit, and units, both ways.

What may be sent is said by the receiver as two totals.  That of messages grows as they are taken,
that is, delivered: a worker that is stuck stops the senders on the other side.  That of bytes is a
window beyond what has arrived, so there is never more than a window on its way, in whose midst a
system message may find itself; it stands still while too much is held.

A message of more than a quarter of a window goes in units of at most that, and new credit is told
when half a window is used up: so neither side can wait for the other for ever.
"""

from __future__ import annotations

from math import inf
from typing import Any, Protocol, cast

import attrs

from ..errors import RemoteWireError
from . import chunks
from .chunks import Lane, LaneCredit, Messages, Unit
from .epoch import Had, Sent
from .hello import LinkLimits
from .lanes import Lanes

__all__ = ["Arrived", "Flow", "Parcel"]

UNITS = 4
"""Into how many units a window of a large message is cut."""


@attrs.frozen
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


class Flow:
    """One lane of one connection, both ways."""

    __slots__ = (
        "_abandoned",
        "_lane",
        "_limits",
        "_next_bytes",
        "_next_taken",
        "_partial",
        "_rest",
        "_told",
        "byte_limit",
        "bytes_had",
        "bytes_sent",
        "had",
        "sent",
    )

    def __init__(self, lane: Lane, sent: Sent, had: Had, limits: LinkLimits) -> None:
        """Begin without credit.

        Args:
            lane: which it is.
            sent: how far this side has come.
            had: how far the other has.
            limits: what this side takes.
        """
        self._lane = lane
        self._limits = limits
        self.sent: Sent = sent
        self.had: Had = had
        sent.limit = 0
        self.byte_limit: int = 0
        self.bytes_sent: int = 0
        self.bytes_had: int = 0
        # What the other side was told that it may send.
        self._told = LaneCredit(0, 0, 0)
        # From which numbers on it may have to be told more.
        self._next_taken = self._next_bytes = 0
        # What of a large message is still to leave, and what of one has arrived.
        self._rest: tuple[bytes, int] | None = None
        self._abandoned: int | None = None
        self._partial: tuple[int, bytearray] | None = None

    # What comes in

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
        had, largest = self.had, self._limits.message_size
        for body in bodies[had.arrived + 1 - first :]:
            if len(body) > largest:
                raise self._too_big(len(body))
            had.arrive(len(body))
            events.append(Arrived(self._lane, body))

    def hear_unit(self, unit: Unit) -> Arrived | None:
        """Take a piece of a message; return the message if it is the last one.

        Raises:
            RemoteWireError: it breaks the rules.
        """
        _, number, length, offset, piece = unit
        self._check(number, number, len(piece))
        if number <= self.had.arrived:
            return None
        if length > self._limits.message_size + chunks.META:
            raise self._too_big(length)
        whole, begun = self._partial or (length, bytearray())
        if (length, offset) != (whole, len(begun)):
            raise RemoteWireError(
                f"bytes from {offset} of {length} of message {number} of lane {self._lane.name}, "
                f"after {len(begun)} of {whole}"
            )
        begun.extend(piece)
        self._partial = (length, begun)
        if len(begun) < length:
            return None
        self._partial = None
        message = self._opened(bytes(begun))
        self.had.arrive(length)
        return message

    def hear_abandon(self, number: int) -> None:
        """Take note that a message will not come, or not to its end.

        Raises:
            RemoteWireError: it is not the next one.
        """
        self._check(number, number, 0)
        if number > self.had.arrived:
            self._partial = None
            self.had.skip()

    def _check(self, first: int, last: int, size: int) -> None:
        """Check number and credit of what arrives; what was had before is no offence."""
        self.bytes_had += size
        messages, window, _ = self._told
        if last > messages or self.bytes_had > window:
            raise RemoteWireError(
                f"message {last} and {self.bytes_had} bytes in lane {self._lane.name}, beyond the "
                f"credit for message {messages} and {window} bytes"
            )
        if first > self.had.arrived + 1:
            raise RemoteWireError(
                f"message {first} of lane {self._lane.name} after {self.had.arrived}"
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
        seconds, trace = meta.get("seconds"), meta.get("trace")
        if not (seconds is None or isinstance(seconds, (int, float))):
            raise RemoteWireError(
                f"the time left to a message must be a number, not {seconds!r:.50}"
            )
        if not (trace is None or _is_texts(trace)):
            raise RemoteWireError(
                f"the trace of a message must be a dict of texts, not {trace!r:.200}"
            )
        return Arrived(self._lane, body, seconds, trace)

    # Credit

    def _credit(self) -> LaneCredit:
        had, limits = self.had, self._limits
        taken = had.taken
        # One message of the largest size can always come to its end.
        largest = limits.message_size + chunks.META + limits.lane_window
        room = max(0, min(limits.lane_window, largest - had.held))
        return LaneCredit(taken + limits.messages, self.bytes_had + room, taken)

    @property
    def credit_is_due(self) -> bool:
        """Whether the other side has used up so much that it is to be told of more."""
        had = self.had
        if had.arrived - len(had.sizes) < self._next_taken and self.bytes_had < self._next_bytes:
            # Which is so nearly always when this is asked.
            return False
        messages, window, _ = self._credit()
        told, limits = self._told, self._limits
        return (
            2 * (messages - told[0]) >= limits.messages
            or 2 * (window - told[1]) >= limits.lane_window
        )

    def tell_credit(self) -> LaneCredit:
        """Return what the other side may send, and hold it to that from now on."""
        messages, window, taken = self._credit()
        # What was once given is not taken back.
        told = LaneCredit(max(messages, self._told[0]), max(window, self._told[1]), taken)
        self._told, limits = told, self._limits
        # Before that many there is nothing to tell, however little is held.
        self._next_taken = told.messages - limits.messages // 2
        self._next_bytes = told.bytes - limits.lane_window // 2
        return told

    def hear_credit(self, messages: int, window: int, taken: int) -> None:
        """Take credit.

        Raises:
            RemoteWireError: more was taken than was sent.
        """
        self.sent.confirm(taken, self._lane)
        self.sent.limit = messages
        self.byte_limit = window

    # What goes out

    @property
    def has_begun(self) -> bool:
        """Whether the rest of a message is to leave, or messages are to leave again."""
        return self._rest is not None or bool(self.sent.again)

    def is_empty(self, lanes: Lanes[Any]) -> bool:
        """Tell whether nothing is left to leave."""
        return self._rest is None and not self.sent.again and lanes.head(self._lane) is None

    def fill(
        self,
        said: list[bytes],
        lanes: Lanes[Any],
        room: int,
        now: float,
        *,
        window: int,
        keeping: bool,
    ) -> int:
        """Let messages leave.

        Args:
            said: where their chunks go.
            lanes: what is to leave.
            room: how many bytes may leave.
            now: the time.
            window: what the other side takes of this lane at once.
            keeping: whether what leaves is kept until it is taken.

        Returns:
            How many bytes have left.
        """
        if self._abandoned is not None:
            said.append(chunks.write_abandon(self._lane, self._abandoned))
            self._abandoned = None
        begun, unit = self.bytes_sent, max(1, window // UNITS)
        end = min(begun + room, self.byte_limit)
        while self.bytes_sent < end:
            if self._rest is None and not (
                self._send_small(said, lanes, end, unit, keeping)
                or self._begin_large(lanes, now, unit, keeping)
            ):
                break
            if self._rest is not None:
                self._send_unit(said, min(unit, end - self.bytes_sent))
        return self.bytes_sent - begun

    def _next(self, lanes: Lanes[Any]) -> Any:
        """Return what leaves next, if there is something and credit for it."""
        sent = self.sent
        if sent.next > sent.limit:
            return None
        return sent.again[0] if sent.again else lanes.head(self._lane)

    def _took(self, parcel: Any, lanes: Lanes[Any], keeping: bool) -> None:
        sent = self.sent
        if sent.again:
            sent.again.popleft()
        else:
            lanes.take_from(self._lane)
        sent.next += 1
        if keeping:
            sent.unconfirmed.append(parcel)

    def _send_small(
        self, said: list[bytes], lanes: Lanes[Any], end: int, unit: int, keeping: bool
    ) -> bool:
        """Send consecutive small messages; False if there is none."""
        bodies: list[bytes] = []
        first, size = self.sent.next, self.bytes_sent
        while (parcel := self._next(lanes)) is not None:
            body = parcel.frame
            if len(body) > unit or parcel.deadline != inf or parcel.trace is not None:
                break
            if size + len(body) > end and (bodies or size + len(body) > self.byte_limit):
                break
            size += len(body)
            bodies.append(body)
            self._took(parcel, lanes, keeping)
        if bodies:
            said.append(chunks.write_messages(self._lane, first, bodies))
            self.bytes_sent = size
        return bool(bodies)

    def _begin_large(self, lanes: Lanes[Any], now: float, unit: int, keeping: bool) -> bool:
        """Begin with a message that does not go with others; False if there is none."""
        parcel = self._next(lanes)
        if parcel is None or (
            len(parcel.frame) <= unit and parcel.deadline == inf and parcel.trace is None
        ):
            return False
        meta: dict[str, Any] = {}
        if parcel.deadline != inf:
            # A duration and no time of day: the clocks of two machines differ.
            meta["seconds"] = max(0.0, parcel.deadline - now)
        if parcel.trace is not None:
            meta["trace"] = parcel.trace
        self._rest = (chunks.whole(meta, parcel.frame), 0)
        self._took(parcel, lanes, keeping)
        return True

    def _send_unit(self, said: list[bytes], size: int) -> None:
        assert self._rest is not None
        whole, offset = self._rest
        piece, number = whole[offset : offset + size], self.sent.next - 1
        self.bytes_sent += len(piece)
        if len(piece) == len(whole):
            said.append(chunks.write_envelope(self._lane, number, whole))
        else:
            said.append(chunks.write_unit(self._lane, number, len(whole), offset, piece))
        end = offset + len(piece)
        self._rest = None if end == len(whole) else (whole, end)

    def abandon(self, number: int) -> bool:
        """Do not go on with a message, if a part of it has left; tell whether that is so."""
        if self._rest is None or self.sent.next - 1 != number:
            return False
        self._rest = None
        self._abandoned = number
        return True


def _is_texts(value: Any) -> bool:
    # The keys of JSON are texts.
    return isinstance(value, dict) and all(
        isinstance(each, str) for each in cast("dict[str, Any]", value).values()
    )
