"""Whole binary messages are written and picked as wsproto would do it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Message, Ping, Pong, TextMessage

from trioworkers.proxies._frames import BYTES, PICKS, Sieve, binary_frame, masked
from trioworkers.proxies._frames import FRAMES as FRAMES_A_STEP

REQUEST = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
RESPONSE = b"HTTP/1.1 101 Switching Protocols\r\n\r\n"
LIMIT = 70_000

SIZES = (0, 1, 125, 126, 127, 300, 65_535, 65_536, LIMIT)


def kind_of(masks: bool) -> tuple[ConnectionType, ConnectionType]:
    """Return what the sender is, and the receiver."""
    client, server = ConnectionType.CLIENT, ConnectionType.SERVER
    return (client, server) if masks else (server, client)


class Ear:
    """Finds messages by means of wsproto."""

    def __init__(self, masks: bool) -> None:
        self.wsproto = Connection(kind_of(masks)[1])
        self.parts: list[Any] = []

    def hear(self, data: bytes) -> list[Any]:
        """Return messages, pings and pongs; and the code of a close, the last that is heard."""
        found: list[Any] = []
        if self.wsproto.state is ConnectionState.OPEN:
            self.wsproto.receive_data(data)
            for event in self.wsproto.events():
                if isinstance(event, Message):
                    self.parts.append(event.data)
                    if event.message_finished:
                        empty = "" if isinstance(event, TextMessage) else b""
                        found.append(empty.join(self.parts))
                        self.parts = []
                elif isinstance(event, CloseConnection):
                    self.wsproto.send(event)  # is closed from now on
                    found.append(event.code)
                else:
                    found.append(event)
        return found


def split(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """Cut data into pieces."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_what_wsproto_reads(size: int, mask: bool) -> None:
    """S-PROXY-5: a message of any size is one frame, masked by a client and not by a server."""
    payload = bytes(index * 7 % 256 for index in range(size))
    frame = binary_frame(payload, mask=mask)
    assert Ear(mask).hear(frame) == [payload]
    assert len(frame) == len(Connection(kind_of(mask)[0]).send(BytesMessage(payload)))


def test_each_frame_has_a_mask_of_its_own() -> None:
    """S-PROXY-5: masks are not used twice, as RFC 6455 wants it."""
    assert len({binary_frame(b"\0\0\0\0", mask=True)[2:6] for _ in range(50)}) > 45


@given(st.binary(max_size=3000), st.binary(min_size=4, max_size=4))
def test_a_mask_put_on_twice_is_taken_off(data: bytes, key: bytes) -> None:
    """S-PROXY-5: a mask changes each byte by its part of the key, whatever the size."""
    once = masked(data, key)
    assert once == bytes(byte ^ key[place % 4] for place, byte in enumerate(data))
    assert masked(once, key) == data


class Peer:
    """Sends messages and other frames, and knows what has to arrive."""

    def __init__(self, masks: bool) -> None:
        self.wsproto = Connection(kind_of(masks)[0])
        self.sent = REQUEST if masks else RESPONSE

    def send(self, kind: str, size: int) -> None:
        """Send something."""
        data = bytes(size)
        if kind == "binary":
            self.sent += self.wsproto.send(BytesMessage(data))
        elif kind == "text":
            self.sent += self.wsproto.send(TextMessage("x" * size))
        elif kind == "fragments":
            self.sent += self.wsproto.send(BytesMessage(data, message_finished=False))
            self.sent += self.wsproto.send(Ping(b"between"))
            self.sent += self.wsproto.send(BytesMessage(data))
        elif kind == "ping":
            self.sent += self.wsproto.send(Ping(data[:125]))
        elif kind == "pong":
            self.sent += self.wsproto.send(Pong(data[:125]))
        else:
            self.sent += bytes.fromhex(kind)


WRONG = (
    "8200",  # by a client: not masked; by a server: nothing wrong
    "828000000000",  # the other way round
    "c28000000000",  # a reserved bit
    "c200",
    "8300",  # no such frame
    "0000",  # a continuation of nothing
    "827e0001",  # a length in more bytes than needed
    "82fe000100000000",
    "827f8000000000000000",  # a length of 2**63
    "0900",  # a ping in fragments
    "8a7e",  # a pong that is too long
    "8800",  # a close
    "888203e8",
)
FRAMES = st.tuples(
    st.sampled_from(["binary", "binary", "binary", "text", "fragments", "ping", "pong", *WRONG]),
    st.sampled_from([0, 1, 20, 125, 126, 130, 65_536]),
)


class Reader:
    """Reads through a sieve, and in the order in which its user would."""

    def __init__(self, masks: bool, head: bytes) -> None:
        self.ear = Ear(masks)
        self.sieve = Sieve()
        self.got: list[Any] = []
        self.returned = 0
        self.head = len(head)

    def feed(self, piece: bytes, picks: bool) -> None:
        """Take a piece; pick nothing while trio-websocket has a message in hand."""
        self._step(piece, picks)
        while self.sieve.more:
            self._step(b"", picks)

    def _step(self, piece: bytes, picks: bool) -> None:
        quiet = picks and self.sieve.left_alone == self.returned
        rest, messages = self.sieve.sift(piece, 65_536 if quiet else -1)
        self.got += messages
        head, rest = rest[: self.head], rest[self.head :]
        self.head -= len(head)
        found = self.ear.hear(rest)
        self.got += found
        self.returned += sum(isinstance(each, bytes | str) for each in found)


def data_of(found: list[Any]) -> list[Any]:
    """Leave out pings and pongs, which may overtake messages."""
    return [each for each in found if not isinstance(each, Ping | Pong)]


@given(
    st.booleans(),
    st.lists(FRAMES, max_size=8),
    st.lists(st.integers(0, 1_000_000), max_size=12),
    st.lists(st.booleans(), min_size=14, max_size=14),
)
def test_what_is_picked_and_what_is_left_are_everything(
    masks: bool, frames: list[tuple[str, int]], cuts: list[int], picks: list[bool]
) -> None:
    """S-PROXY-5: however the bytes arrive, the sieve finds what wsproto finds, in its order."""
    peer = Peer(masks)
    head = peer.sent
    for kind, size in frames:
        peer.send(kind, size)
    expected = Ear(masks).hear(peer.sent[len(head) :])
    reader = Reader(masks, head)
    for piece, pick in zip(split(peer.sent, cuts), picks, strict=False):
        reader.feed(piece, pick)
    assert data_of(reader.got) == data_of(expected)
    pings = [each for each in expected if isinstance(each, Ping | Pong)]
    assert [each for each in reader.got if isinstance(each, Ping | Pong)] == pings


@pytest.mark.parametrize("masks", [True, False])
def test_whole_messages_never_come_to_wsproto(masks: bool) -> None:
    """S-PROXY-5: messages are picked, also in single bytes, if nothing was left before them."""
    payloads = [bytes(size) for size in (0, 5, 126, 1000)]
    sent = b"".join(binary_frame(each, mask=masks) for each in payloads)
    for pieces in ([sent], [bytes([byte]) for byte in sent]):
        sieve = Sieve()
        head = REQUEST if masks else RESPONSE
        assert sieve.sift(head, -1) == (head, [])
        results = [sieve.sift(piece, 1000) for piece in pieces]
        assert [each for _, messages in results for each in messages] == payloads
        assert b"".join(rest for rest, _ in results) == b""


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\n",
        b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_after_an_odd_handshake_nothing_is_picked(head: bytes) -> None:
    """S-PROXY-5: where it is not sure where the frames begin, trio-websocket gets everything."""
    sieve = Sieve()
    sent = head + binary_frame(b"abc", mask=True) * 3 + binary_frame(b"abc", mask=False) * 3
    got = [sieve.sift(bytes([byte]), 100) for byte in sent]
    assert b"".join(rest for rest, _ in got) == sent
    assert not any(messages for _, messages in got)


def test_a_message_that_is_too_big_is_left_to_trio_websocket() -> None:
    """S-PROXY-5: a message above the limit is not kept here, not even in part."""
    sieve = Sieve()
    sieve.sift(REQUEST, -1)
    sent = binary_frame(bytes(1001), mask=True)
    assert sieve.sift(sent[:100], 1000) == (sent[:100], [])
    assert sieve.sift(sent[100:], 1000) == (sent[100:], [])
    assert sieve.left_alone == 1


FLOODS = {
    "pongs": b"\x8a\x80\0\0\0\0" * 10_000,
    "empty fragments": b"\x02\x80\0\0\0\0" + b"\x00\x80\0\0\0\0" * 3000,
    "what follows a close": b"\x88\x80\0\0\0\0" + b"\x8a\x80\0\0\0\0" * 10_000,
    "what breaks the rules": b"\x8a\x00" * 10_000,
    "empty messages": b"\x82\x80\0\0\0\0" * 10_000,
}


@pytest.mark.parametrize("flood", list(FLOODS))
@pytest.mark.parametrize("limit", [-1, 100])
def test_a_read_full_of_tiny_frames_is_taken_in_small_steps(flood: str, limit: int) -> None:
    """S-PROXY-5: one step has few frames in it, however many have arrived; and none is lost."""
    sieve = Sieve()
    rest, messages = sieve.sift(REQUEST + FLOODS[flood], limit)
    passed, picked = rest[len(REQUEST) :], len(messages)
    assert len(passed) <= 6 * FRAMES_A_STEP + BYTES
    while sieve.more:
        rest, messages = sieve.sift(b"", limit)
        assert len(rest) <= 6 * FRAMES_A_STEP + BYTES
        assert len(messages) <= PICKS
        passed += rest
        picked += len(messages)
    assert len(passed) + 6 * picked == len(FLOODS[flood])
    if flood == "empty messages" and limit > 0:
        assert picked == 10_000
