"""The frames of the native dialect as bytes.

A frame is a row of chunks, and a chunk is its kind (one byte), the length of its body (four), and
the body.  All numbers are unsigned and big-endian, all JSON is UTF-8.

    HELLO      JSON: who speaks, what it takes, and what it has received before
    CREDIT     for each lane three numbers: what may be sent, in messages and in bytes, and what has
               been taken, in all; and how many cancels have been
    MESSAGES   lane, id of the first, number n, n lengths, n bodies: consecutive messages
    ENVELOPE   lane, id, and the whole of one message with meta
    UNIT       lane, id, length of the whole, offset, bytes: a piece of a large message
    ABANDON    lane, id: the rest of a large message will not come
    CANCEL     JSON: jobs that are cancelled
    PING       a number
    PONG       the number of the ping
    GOODBYE    JSON: code and reason; nothing comes after it
    HOLD       1 or 0, and the id of a job: whether its events are to wait

The whole of a message is the length of its meta (four bytes), the meta as JSON, and the body.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator, Sequence
from enum import IntEnum
from itertools import accumulate, chain, pairwise
from typing import Any, NamedTuple, cast

from ..errors import RemoteWireError

__all__ = [
    "Credit",
    "Kind",
    "Lane",
    "LaneCredit",
    "Messages",
    "Unit",
    "is_meta",
    "parse",
    "read_message",
    "split_whole",
    "whole",
    "write_abandon",
    "write_credit",
    "write_envelope",
    "write_hold",
    "write_json",
    "write_message",
    "write_messages",
    "write_token",
    "write_unit",
]

META = 4096
"""How many bytes of meta a message may have."""

JOB = 1024
"""How many bytes the id of a job may have."""

EXTRA = META + 4
"""How many bytes the whole of a message may have beyond its body."""


class Kind(IntEnum):
    """What a chunk is."""

    # That of an enum is a function in Python, and a frame is looked up several times.
    __hash__ = int.__hash__

    HELLO = 1
    CREDIT = 2
    MESSAGES = 3
    ENVELOPE = 4
    UNIT = 5
    ABANDON = 6
    CANCEL = 7
    PING = 8
    PONG = 9
    GOODBYE = 10
    HOLD = 11


class Lane(IntEnum):
    """Which way a message goes.

    What is said about a job that was asked for has a lane of its own: it must come through when its
    requester takes no data until it has it.
    """

    __hash__ = int.__hash__

    DATA = 0
    SYSTEM = 1
    REPLY = 2


class LaneCredit(NamedTuple):
    """What may be sent in one lane, and what has been taken from it.

    Messages are counted from the beginning of an epoch, bytes from the beginning of a connection.
    """

    messages: int
    bytes: int
    taken: int


class Credit(NamedTuple):
    """What the sender of it lets the other side send, and what it has taken from it."""

    lanes: tuple[LaneCredit, LaneCredit, LaneCredit]
    cancels_taken: int


class Messages(NamedTuple):
    """Consecutive messages of one lane."""

    lane: Lane
    first: int
    bodies: Sequence[bytes]


class Unit(NamedTuple):
    """A piece of one message of a lane, or all of it, or (ABANDON) the end of it."""

    lane: Lane
    id: int
    length: int
    offset: int
    piece: bytes


_CHUNK = struct.Struct(">BI")
_MESSAGES = struct.Struct(">BQI")
_UNIT = struct.Struct(">BQII")
_MESSAGE = struct.Struct(">BQ")
_TOKEN = struct.Struct(">Q")
_CREDIT = struct.Struct(f">{3 * len(Lane) + 1}Q")
_LENGTH = struct.Struct(">I")
# The head of a chunk with one message.
_LONE = struct.Struct(">BIBQII")
_BEFORE_LONE = _LONE.size - _CHUNK.size

_to_json = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


# Writing


def _chunk(kind: Kind, *parts: bytes) -> bytes:
    return b"".join((_CHUNK.pack(kind, sum(map(len, parts))), *parts))


def write_json(kind: Kind, value: dict[str, Any]) -> bytes:
    """Return a chunk of JSON."""
    return _chunk(kind, _to_json(value).encode())


def write_token(kind: Kind, number: int) -> bytes:
    """Return a PING or PONG."""
    return _chunk(kind, _TOKEN.pack(number))


def write_credit(credit: Credit) -> bytes:
    """Return a CREDIT."""
    return _chunk(Kind.CREDIT, _CREDIT.pack(*chain(*credit.lanes), credit.cancels_taken))


def write_messages(lane: Lane, first: int, bodies: Sequence[bytes]) -> bytes:
    """Return MESSAGES."""
    lengths = struct.pack(f">{len(bodies)}I", *map(len, bodies))
    return _chunk(Kind.MESSAGES, _MESSAGES.pack(lane, first, len(bodies)), lengths, *bodies)


def write_message(lane: Lane, number: int, body: bytes) -> bytes:
    """Return MESSAGES with one message, as `write_messages` does, in one step."""
    size = len(body)
    return _LONE.pack(Kind.MESSAGES, _BEFORE_LONE + size, lane, number, 1, size) + body


def whole(meta: dict[str, Any] | None, body: bytes) -> bytes:
    """Return a message with its meta as one piece."""
    text = _meta(meta)
    return b"".join((_LENGTH.pack(len(text)), text, body))


def is_meta(meta: dict[str, Any]) -> bool:
    """Tell whether a meta is not too long."""
    return len(_meta(meta)) <= META


def _meta(meta: dict[str, Any] | None) -> bytes:
    return _to_json(meta).encode() if meta else b""


def write_envelope(lane: Lane, number: int, content: bytes) -> bytes:
    """Return an ENVELOPE."""
    return _chunk(Kind.ENVELOPE, _MESSAGE.pack(lane, number), content)


def write_unit(lane: Lane, number: int, length: int, offset: int, piece: bytes) -> bytes:
    """Return a UNIT."""
    return _chunk(Kind.UNIT, _UNIT.pack(lane, number, length, offset), piece)


def write_abandon(lane: Lane, number: int) -> bytes:
    """Return an ABANDON."""
    return _chunk(Kind.ABANDON, _MESSAGE.pack(lane, number))


def write_hold(job_id: str, held: bool) -> bytes:
    """Return a HOLD."""
    return _chunk(Kind.HOLD, bytes((held,)), job_id.encode())


# Reading


def parse(frame: bytes) -> Iterator[tuple[Kind, Any]]:
    """Yield the kind and the content of each chunk of a frame.

    The content is a dict for HELLO, CANCEL and GOODBYE, a number for PING and PONG, a pair for HOLD,
    and a `Credit`, `Messages` or `Unit` for the others.

    Raises:
        RemoteWireError: the frame is none of this dialect.
    """
    place = 0
    while place < len(frame):
        try:
            number, length = _CHUNK.unpack_from(frame, place)
            kind = _KINDS[number]
        except (struct.error, KeyError):
            raise RemoteWireError(
                f"no chunk at byte {place} of a frame: {_seen(frame[place:])}"
            ) from None
        body = frame[place + _CHUNK.size : place + _CHUNK.size + length]
        if len(body) != length:
            raise RemoteWireError(
                f"{kind.name} of {length} bytes at byte {place} goes beyond the end of its frame"
            )
        try:
            content = _READERS[kind](body)
        except (struct.error, ValueError, RecursionError) as error:
            raise RemoteWireError(f"{kind.name} cannot be read ({error}): {_seen(body)}") from None
        yield kind, content
        place += _CHUNK.size + length


def read_message(frame: bytes) -> tuple[Lane, int, bytes] | None:
    """Return lane, id and body, if a frame is MESSAGES with one message; None if it is not.

    `parse` gives the same, in more steps.
    """
    size = len(frame) - _LONE.size
    if size < 0:
        return None
    head: tuple[int, ...] = _LONE.unpack_from(frame)
    kind, length, lane, number, count, told = head
    if kind != Kind.MESSAGES or count != 1 or told != size or length != _BEFORE_LONE + size:
        return None
    return (_LANES[lane], number, frame[_LONE.size :]) if lane < len(_LANES) else None


def split_whole(content: bytes) -> tuple[dict[str, Any], bytes]:
    """Return meta and body of a message.

    Raises:
        RemoteWireError: it is no such thing.
    """
    try:
        (length,) = _LENGTH.unpack_from(content)
        start = _LENGTH.size + length
        if length > META or start > len(content):
            raise ValueError(f"a meta of {length} bytes")
        meta = _read_json(content[_LENGTH.size : start]) if length else {}
    except (struct.error, ValueError, RecursionError) as error:
        raise RemoteWireError(f"a message whose meta cannot be read ({error})") from None
    return meta, content[start:]


def _seen(data: bytes) -> str:
    return repr(data[:32]) + (" ..." if len(data) > 32 else "")


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


_from_json: Callable[[str], Any] = json.JSONDecoder(parse_constant=_no_number).decode


def _read_json(body: bytes) -> dict[str, Any]:
    value = _from_json(body.decode())
    if not isinstance(value, dict):
        raise ValueError("no JSON object")
    return cast("dict[str, Any]", value)


def _read_token(body: bytes) -> int:
    (number,) = _TOKEN.unpack(body)
    return int(number)


def _read_credit(body: bytes) -> Credit:
    numbers = _CREDIT.unpack(body)
    data, system, reply = (LaneCredit(*numbers[3 * lane : 3 * lane + 3]) for lane in Lane)
    return Credit((data, system, reply), numbers[-1])


def _lane(number: int) -> Lane:
    if number >= len(_LANES):
        raise ValueError(f"there is no lane {number}")
    return _LANES[number]


def _read_messages(body: bytes) -> Messages:
    lane, first, count = _MESSAGES.unpack_from(body)
    start = _MESSAGES.size + 4 * count
    if not count or start > len(body):
        raise ValueError(f"{count} messages")
    lengths = struct.unpack_from(f">{count}I", body, _MESSAGES.size)
    ends = list(accumulate(lengths, initial=start))
    if ends[-1] != len(body):
        raise ValueError(f"{ends[-1]} bytes of messages in a body of {len(body)}")
    return Messages(_lane(lane), first, [body[begin:end] for begin, end in pairwise(ends)])


def _read_envelope(body: bytes) -> Unit:
    lane, number = _MESSAGE.unpack_from(body)
    content = body[_MESSAGE.size :]
    return Unit(_lane(lane), number, len(content), 0, content)


def _read_unit(body: bytes) -> Unit:
    lane, number, length, offset = _UNIT.unpack_from(body)
    piece = body[_UNIT.size :]
    if not piece or offset + len(piece) > length:
        raise ValueError(f"{len(piece)} bytes at {offset} of {length}")
    return Unit(_lane(lane), number, length, offset, piece)


def _read_abandon(body: bytes) -> Unit:
    lane, number = _MESSAGE.unpack(body)
    return Unit(_lane(lane), number, 0, 0, b"")


def _read_hold(body: bytes) -> tuple[str, bool]:
    if not 2 <= len(body) <= 1 + JOB or body[0] > 1:
        raise ValueError("no 0 or 1 and the id of a job")
    return body[1:].decode(), body[0] == 1


# As `Kind(number)`, which takes as long as all else that is done for a small chunk.
_KINDS = {kind.value: kind for kind in Kind}
_LANES = tuple(Lane)

_READERS: dict[Kind, Callable[[bytes], Any]] = {
    Kind.HELLO: _read_json,
    Kind.CREDIT: _read_credit,
    Kind.MESSAGES: _read_messages,
    Kind.ENVELOPE: _read_envelope,
    Kind.UNIT: _read_unit,
    Kind.ABANDON: _read_abandon,
    Kind.CANCEL: _read_json,
    Kind.PING: _read_token,
    Kind.PONG: _read_token,
    Kind.GOODBYE: _read_json,
    Kind.HOLD: _read_hold,
}
