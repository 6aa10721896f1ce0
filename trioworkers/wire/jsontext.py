"""JSON text to plain values and back, within limits that hold before anything is built.

The text is made and read by the standard library's `json`, whatever else is installed.  It was
compared with orjson and msgspec:

- Both write the same message several times as fast, but neither writes the bytes that `json`
  writes, and that Pipecat therefore writes: they do not escape what is not ASCII, and print floats
  in another way.  Both make `null` of NaN without a word; orjson refuses large integers; and both
  write enums, and msgspec also bytes and attrs objects, in ways of their own, without asking the
  hook that would tag them.
- Both read it faster, too.  But whether a text is a message would depend on what is installed:
  orjson makes floats of large integers.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import accumulate
from typing import Any, TypeVarTuple, cast

import attrs

from ..errors import LocalWireError, MessageTooBigError, RemoteWireError

__all__ = ["Limits", "has_escapes", "read", "write"]

T = TypeVarTuple("T")


@attrs.frozen
class Limits:
    """What one message may be, at most.

    `message_size` is in bytes and `name_length` in characters.  `depth` counts the dicts and lists
    round a value, those of the envelope too.
    """

    message_size: int = attrs.field(default=2**20, validator=attrs.validators.ge(1))
    # Whoever walks a message does so recursively: the upper bound keeps that safe.
    depth: int = attrs.field(
        default=64, validator=[attrs.validators.ge(4), attrs.validators.le(200)]
    )
    name_length: int = attrs.field(default=128, validator=attrs.validators.ge(1))


def _finite(text: str) -> float:
    value = float(text)
    if value - value != 0:
        raise ValueError(f"{text} is out of the range of a float")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no JSON number")


_decoder = json.JSONDecoder(parse_float=_finite, parse_constant=_no_number)
_decode: Callable[[str], Any] = _decoder.decode
_decode_at: Callable[[str, int], tuple[Any, int]] = cast("Any", _decoder).scan_once

_TO_SQUARE = bytes.maketrans(b"{}", b"[]")
_STEPS = [(byte == ord("[")) - (byte == ord("]")) for byte in range(256)]
_NO_BRACKETS = bytes(set(range(256)) - set(b'{}[]"'))

# Up to this size counting is faster than searching.
_SHORT = 1024

# As a number: for one byte as bytes Python takes six times as long to look.
_BACKSLASH, _SQUARE = b"\\["


def _has_more(data: bytes, needle: bytes, limit: int) -> bool:
    """Tell whether `needle` is found more than `limit` times; `count` would look at every byte."""
    found = -1
    for _ in range(limit + 1):
        found = data.find(needle, found + 1)
        if found < 0:
            return False
    return True


def _too_deep(data: bytes, limit: int) -> bool:
    """Tell whether dicts and lists nest deeper than `limit`, without recursion or a loop in Python.

    A text that is not JSON may pass, but never one in which a parser would go deeper before it
    finds out: up to there it is JSON.
    """
    if len(data) > _SHORT and not (
        _has_more(data, b"[", limit // 2) or _has_more(data, b"{", limit // 2)
    ):
        return False
    if _BACKSLASH in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = data.translate(_TO_SQUARE, _NO_BRACKETS).replace(b'""', b"")
    if b'"' in brackets:  # what is left are texts with brackets in them
        brackets = b"".join(brackets.split(b'"')[::2])
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > limit


_PAIR = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F][0-9a-fA-F]{2}")


def _lone_surrogate(data: bytes) -> str | None:
    """Find half of a surrogate pair, which is no text and cannot be written in UTF-8."""
    if not has_escapes(data) or _SURROGATE.search(data) is None:
        return None
    lone = _SURROGATE.search(_PAIR.sub(b" ", data.replace(b"\\\\", b" ")))
    return lone and lone[0].decode("ascii")


def has_escapes(data: bytes) -> bool:
    """Tell whether any character is written as an escape: then ASCII text may hide in those."""
    return _BACKSLASH in data and b"\\u" in data  # one byte is found twenty times as fast as two


def encoder(default: Callable[[Any], Any]) -> Callable[[Any], str]:
    """Return a function that writes a value as JSON, and asks `default` what to write for others.

    `JSONEncoder` makes anew for each value what does the work, which takes longer than to write a
    small one.  It knows what is being written, and so it is for one thread.
    """
    settings: Any = {"separators": (",", ":"), "allow_nan": False, "default": default}
    encode = json.JSONEncoder(**settings).encode
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    if make is None:  # pragma: no cover - another Python
        return encode
    quote = json.encoder.encode_basestring_ascii

    def renewed() -> Any:
        # In this order: markers, default, encoder, indent, separators, sort_keys, skipkeys,
        # allow_nan.
        return make({}, default, quote, None, ":", ",", False, False, False)

    iterate = renewed()

    def fast(value: Any) -> str:
        nonlocal iterate
        try:
            return "".join(iterate(value, 0))
        except BaseException:
            # What was being written when it failed would be taken for a circle.
            iterate = renewed()
            raise

    return fast


def write(limits: Limits, encode: Callable[[*T], str], *values: *T) -> bytes:
    """Return `values` as JSON.

    Args:
        limits: what the peer takes.
        encode: returns them as `encode` of a `json.JSONEncoder` does that escapes what is not
            ASCII.
        values: what to write.

    Raises:
        MessageTooBigError: the text is too big.
        LocalWireError: the value cannot be written, or nests too deeply.
    """
    try:
        data = encode(*values).encode("ascii")
    except (TypeError, ValueError) as error:
        raise LocalWireError(f"the message cannot be written as JSON: {error}") from error
    except RecursionError:
        raise LocalWireError("the message contains itself, or nests too deeply") from None
    if len(data) > limits.message_size:
        raise MessageTooBigError(len(data), limits.message_size)
    # Few brackets are not deep, and it is a call less to see that here.
    if (
        len(data) > _SHORT
        or data.count(b"{") + (_SQUARE in data and data.count(b"[")) > limits.depth
    ) and _too_deep(data, limits.depth):
        raise LocalWireError(f"the message nests deeper than {limits.depth}: send it flatter")
    if _BACKSLASH in data and (lone := _lone_surrogate(data)):
        raise LocalWireError(f"the message contains {lone}, half of a surrogate pair: no text")
    return data


def read(data: bytes, limits: Limits) -> Any:
    """Return what a JSON text says.  If a key stands twice in an object, the last one counts.

    Raises:
        RemoteWireError: it is too big or too deep, or it is not JSON in UTF-8.
    """
    if len(data) > limits.message_size:
        raise RemoteWireError(
            f"a message of {len(data)} bytes, at most {limits.message_size} are taken"
        )
    if (
        len(data) > _SHORT
        or data.count(b"{") + (_SQUARE in data and data.count(b"[")) > limits.depth
    ) and _too_deep(data, limits.depth):
        raise RemoteWireError(f"a message that nests deeper than {limits.depth}: {data[:40]!r}...")
    if _BACKSLASH in data and (lone := _lone_surrogate(data)):
        raise RemoteWireError(f"a message with {lone}, half of a surrogate pair")
    try:
        text = str(data, "utf-8")
        # `decode` looks for spaces on both sides, which takes a third as long as the rest.
        try:
            value, end = _decode_at(text, 0)
            if end == len(text):
                return value
        except StopIteration:
            pass  # spaces, or no JSON
        return _decode(text)
    except ValueError as error:  # not UTF-8, not JSON, NaN, an integer of 5,000 digits
        # Without the cause: it would hold on to the whole text.
        raise RemoteWireError(f"not JSON in UTF-8 ({error}): {data[:40]!r}") from None
