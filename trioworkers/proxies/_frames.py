"""WebSocket frames, as far as whole binary messages need them; pure.

trio-websocket does the handshakes, pings and closes, and knows what to say to a peer that breaks
the rules.  But it takes several times as long to hand over a message as it takes to find its bytes.
So frames that are whole binary messages, which is what proxies send, are written here, and picked
here out of what arrives, before trio-websocket sees them.
"""

from __future__ import annotations

import os
import re

__all__ = ["BYTES", "FRAMES", "PICKS", "Sieve", "binary_frame", "masked"]

_TABLES = tuple(bytes(byte ^ key for byte in range(256)) for key in range(256))
_SHORT = 1024

_WHOLE_BINARY = 0x82
_FINAL = 0x80
_RESERVED = 0x70
_CODE = 0x0F
_MASK = 0x80
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10

# How much is looked at in one step: frames that trio-websocket gets, messages that are picked, and
# bytes that follow no rules any more.  A frame takes trio-websocket long, however small it is.
FRAMES = 16
PICKS = 1024
BYTES = 64

_BLANK_LINE = re.compile(rb"\n\r?\n")  # the same as for h11
_HAS_BODY = re.compile(rb"\n(content-length|transfer-encoding)[ \t]*:", re.IGNORECASE)


def masked(data: bytes, key: bytes) -> bytes:
    """Return `data` with a mask put on, or taken off."""
    size = len(data)
    if size < _SHORT:
        pattern = int.from_bytes((key * (size // 4 + 1))[:size], "little")
        return (int.from_bytes(data, "little") ^ pattern).to_bytes(size, "little")
    result = bytearray(data)
    for place in range(4):
        result[place::4] = data[place::4].translate(_TABLES[key[place]])
    return bytes(result)


def binary_frame(payload: bytes, *, mask: bool) -> bytes:
    """Return the frame of one binary message.

    Args:
        payload: the message.
        mask: whether to mask it, as a client has to.
    """
    size, flag = len(payload), _MASK if mask else 0
    if size < 126:
        head = bytes((_WHOLE_BINARY, flag | size))
    elif size < 1 << 16:
        head = bytes((_WHOLE_BINARY, flag | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((_WHOLE_BINARY, flag | 127)) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    key = os.urandom(4)
    return b"".join((head, key, masked(payload, key)))


class Sieve:
    """Picks whole binary messages out of the bytes of one connection; the rest is trio-websocket's.

    It follows the bytes from the first one on: over the head of the opening handshake, then from
    frame to frame.  At the first thing that is not allowed it gives up: from there on everything is
    left to trio-websocket, which will close the connection; and so it is after a close frame.

    It goes on in small steps, as a read may have thousands of frames in it: as long as there is
    `more`, it has to be called again, with nothing new.

    A message that is not picked may be on its way through trio-websocket for a while.  The caller
    sees to it that no later one is picked meanwhile.
    """

    def __init__(self) -> None:
        """Begin before the first byte."""
        self.left_alone: int = 0
        """How many messages were left to trio-websocket; perhaps not all of the last one yet."""

        self.empty: int = 0
        """How many empty fragments that are not its last one the present message has."""

        self.ahead: bool = False
        """Whether anything has come behind the head of the opening handshake."""

        self._head: bytearray | None = bytearray()
        self._gave_up = False
        # Whether the peer masks: a client does.
        self._masks = False
        # Whether more frames of the last message will come.
        self._fragmented = False
        # What has arrived and was not looked at.
        self._later = b""
        # What has arrived of a frame that is not complete, and how much of that was passed on.
        self._held = bytearray()
        self._given = 0
        # How many bytes a message has, with its head, that may be picked when they are there.
        self._wanted = 0
        # How many bytes are left of a frame that is passed on.
        self._passing = 0

    @property
    def more(self) -> bool:
        """Whether something has arrived that was not looked at."""
        return bool(self._later)

    def sift(self, data: bytes, limit: int) -> tuple[bytes, list[bytes]]:
        """Take what has arrived; return what trio-websocket is to get next, and the messages.

        Args:
            data: what has arrived.
            limit: the size of the biggest message that may be picked now; less than 0 for none.
        """
        at = 0
        messages: list[bytes] = []
        if self._later:
            data, self._later = self._later + data, b""
        elif limit >= 0 and self._between_messages:
            # Nearly always there is nothing but whole messages.
            at = self._pick(data, 0, limit, messages)
            self.ahead = True
            if at == len(data):
                return b"", messages
        if self._gave_up:
            self._later = data[BYTES:]
            return data[:BYTES], []
        if self._held:
            self._held += data
            if limit >= 0 and len(self._held) < self._wanted:
                return b"", []
            data = bytes(self._held)
            self._held.clear()
        given, self._given, self._wanted = self._given, 0, 0
        passed: list[bytes] = []
        if self._head is not None:
            at = self._end_of_head(self._head, data)
            passed.append(data[:at])
        self.ahead = self.ahead or at < len(data)
        self._go_on(data, at, given, limit, passed, messages)
        return b"".join(passed), messages

    @property
    def _between_messages(self) -> bool:
        return self._head is None and not (
            self._held or self._passing or self._fragmented or self._gave_up
        )

    def _go_on(
        self,
        data: bytes,
        at: int,
        given: int,
        limit: int,
        passed: list[bytes],
        messages: list[bytes],
    ) -> None:
        """Pass on and pick what begins at `at`, as much as belongs into one step."""
        begun = 0
        while at < len(data):
            if stop := self._passed_until(data, at):
                passed.append(data[max(at, given) : stop])
                at = stop
                if not self._gave_up:
                    continue
            if self._gave_up or begun >= FRAMES or len(messages) >= PICKS:
                self._later = data[at:]
                break
            may_pick = limit >= 0 and at >= given and not self._fragmented
            if may_pick:
                at = self._pick(data, at, limit, messages)
                if len(messages) >= PICKS:
                    continue
            left_alone = self.left_alone
            if self._wanted or not self._begin(data, at):
                self._held += data[at:]
                if not may_pick:
                    passed.append(data[max(at, given) :])
                    self._given = len(self._held)
                break
            begun += 1
            if self.left_alone > left_alone:
                limit = -1

    def _passed_until(self, data: bytes, at: int) -> int:
        """Return where what is to be passed on ends; 0 if a frame begins at `at`."""
        if self._gave_up:
            return min(len(data), at + BYTES)
        if not self._passing:
            return 0
        stop = min(len(data), at + self._passing)
        self._passing -= stop - at
        return stop

    def _pick(self, data: bytes, at: int, limit: int, messages: list[bytes]) -> int:
        """Pick the messages that stand at `at`; return where something else begins."""
        flag = _MASK if self._masks else 0
        while len(data) - at >= 2 and data[at] == _WHOLE_BINARY and data[at + 1] & _MASK == flag:
            if len(messages) >= PICKS:
                break
            start, size = _payload(data, at)
            if not 0 <= size <= limit:
                break
            stop = start + size
            if stop > len(data):
                self._wanted = stop - at
                break
            payload = data[start:stop]
            messages.append(masked(payload, data[start - 4 : start]) if flag else payload)
            at = stop
        return at

    def _begin(self, data: bytes, at: int) -> bool:
        """Begin to pass on what stands at `at`; False if that is not even the head of a frame."""
        if len(data) - at < 2:
            return at == len(data)
        first, second = data[at], data[at + 1]
        final, code = bool(first & _FINAL), first & _CODE
        ok = not first & _RESERVED and bool(second & _MASK) == self._masks
        if code in (_PING, _PONG):
            ok = ok and final and second & ~_MASK < 126
        else:
            # A close frame is the last one that matters.
            ok = ok and code in ((_CONTINUATION,) if self._fragmented else (_TEXT, _BINARY))
        start, size = _payload(data, at) if ok else (0, 0)
        if ok and not start:
            return False
        if not ok or size < 0:
            self._gave_up = True
            return True
        if code < _CLOSE:
            self._fragmented = not final
            self.left_alone += final
            self.empty = self.empty + (not size) if self._fragmented else 0
        self._passing = start + size - at
        return True

    def _end_of_head(self, head: bytearray, data: bytes) -> int:
        """Return where the opening handshake's head ends in `data`."""
        before = len(head)
        head += data
        end = _BLANK_LINE.search(head, max(0, before - 2))
        if end is None:
            return len(data)
        head[end.end() :] = b""
        self._head = None
        self._masks = not head.startswith(b"HTTP/")
        accepted = self._masks or head.startswith(b"HTTP/1.1 101")
        self._gave_up = not accepted or _HAS_BODY.search(head) is not None
        return end.end() - before


def _payload(data: bytes, at: int) -> tuple[int, int]:
    """Return where the payload of the frame at `at` begins, and its size.

    The first is 0 if the head is not complete; the second less than 0 if it is wrong.
    """
    size = data[at + 1] & ~_MASK
    start = at + 2
    if size > 125:
        start += 2 if size == 126 else 8
        least = 126 if size == 126 else 1 << 16
        size = int.from_bytes(data[at + 2 : start], "big")
        if size < least or size >> 63:
            size = -1
    if data[at + 1] & _MASK:
        start += 4
    return (start, size) if start <= len(data) else (0, -1)
