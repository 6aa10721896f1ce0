"""A client of the native dialect, written from docs/wire.md alone, against a session."""

from __future__ import annotations

import json
import struct
from math import inf
from typing import Any

import pytest

from tests.wire.sides import LIMITS, Side
from trioworkers.wire.chunks import Lane
from trioworkers.wire.epoch import Cancelled
from trioworkers.wire.flow import Arrived
from trioworkers.wire.session import Closed, Opened

HELLO, CREDIT, MESSAGES, ENVELOPE, UNIT, ABANDON, CANCEL, PING, PONG, GOODBYE = range(1, 11)
PLACES = ("data", "system", "reply", "cancels")


def chunk(kind: int, body: bytes) -> bytes:
    """Return a chunk."""
    return struct.pack(">BI", kind, len(body)) + body


class Client:
    """What the chapter on a small client says, and nothing of the package."""

    def __init__(self) -> None:
        self.nothing = dict.fromkeys(PLACES, 0)
        self.limits = {"message_size": 5000, "window": 4000, "messages": 10, "heartbeat": 20}
        self.out = [self.json(HELLO, name="client.1", meeting=None, version=1)]
        self.had: list[int] = []
        self.bytes_had = [0, 0, 0]
        self.cancels_had = 0
        self.credit = [(0, 0)] * 3
        self.sent = [0, 0, 0]
        self.bytes_sent = [0, 0, 0]
        self.partial: dict[int, bytes] = {}
        self.delivered: list[tuple[int, bytes, dict[str, Any]]] = []
        self.cancelled: list[tuple[str, int, int]] = []
        self.over: dict[str, Any] | None = None

    def json(self, kind: int, **said: Any) -> bytes:
        """Return a chunk of JSON."""
        if kind == HELLO:
            said |= {"limits": self.limits, "sent": self.nothing, "had": self.nothing}
        return chunk(kind, json.dumps(said).encode())

    def hear(self, frame: bytes) -> None:
        """Take a frame, and say credit after it."""
        while frame:
            kind, length = struct.unpack_from(">BI", frame)
            self.take(kind, frame[5 : 5 + length])
            frame = frame[5 + length :]
        numbers = []
        for lane in range(3):
            numbers += [self.had[lane] + 10, self.bytes_had[lane] + self.window // 2]
            numbers += [self.had[lane]]
        self.out.append(chunk(CREDIT, struct.pack(">10Q", *numbers, self.cancels_had)))

    def take(self, kind: int, body: bytes) -> None:
        """Take a chunk."""
        if kind == HELLO:
            hello = json.loads(body)
            self.had = [hello["sent"][place] for place in PLACES[:3]]
            self.cancels_had = hello["sent"]["cancels"]
            self.window = min(4000, hello["limits"]["window"])
        elif kind == CREDIT:
            numbers = struct.unpack(">10Q", body)
            self.credit = [numbers[3 * lane : 3 * lane + 2] for lane in range(3)]
        elif kind == MESSAGES:
            lane, first, count = struct.unpack_from(">BQI", body)
            lengths = struct.unpack_from(f">{count}I", body, 13)
            rest = body[13 + 4 * count :]
            for number, length in enumerate(lengths, first):
                self.deliver(lane, number, rest[:length], {})
                self.bytes_had[lane] += length
                rest = rest[length:]
        elif kind == ENVELOPE:
            lane, number = struct.unpack_from(">BQ", body)
            self.bytes_had[lane] += len(body) - 9
            self.open(lane, number, body[9:])
        elif kind == UNIT:
            lane, number, length, offset = struct.unpack_from(">BQII", body)
            self.bytes_had[lane] += len(body) - 17
            begun = self.partial.pop(lane, b"")
            assert len(begun) == offset
            self.partial[lane] = begun + body[17:]
            if len(self.partial[lane]) == length:
                self.open(lane, number, self.partial.pop(lane))
        elif kind == ABANDON:
            lane, number = struct.unpack(">BQ", body)
            self.partial.pop(lane, None)
            self.had[lane] = number
        elif kind == CANCEL:
            said = json.loads(body)
            for number, job in enumerate(said["jobs"], said["first"]):
                if number > self.cancels_had:
                    self.cancels_had = number
                    self.cancelled.append((job[0], job[3], self.had[0]))
        elif kind == PING:
            self.out.append(chunk(PONG, body))
        elif kind == GOODBYE:
            self.over = json.loads(body)

    def open(self, lane: int, number: int, whole: bytes) -> None:
        """Take the whole of a message."""
        (length,) = struct.unpack_from(">I", whole)
        meta = json.loads(whole[4 : 4 + length]) if length else {}
        self.deliver(lane, number, whole[4 + length :], meta)

    def deliver(self, lane: int, number: int, body: bytes, meta: dict[str, Any]) -> None:
        """Take a message."""
        assert number == self.had[lane] + 1
        self.had[lane] = number
        self.delivered.append((lane, body, meta))

    def send(self, lane: int, body: bytes) -> bool:
        """Send a message in units; False if there is no credit for it."""
        whole = bytes(4) + body
        messages, size = self.credit[lane]
        if self.sent[lane] + 1 > messages or self.bytes_sent[lane] + len(whole) > size:
            return False
        self.sent[lane] += 1
        self.bytes_sent[lane] += len(whole)
        for at in range(0, len(whole), 50):
            head = struct.pack(">BQII", lane, self.sent[lane], len(whole), at)
            self.out.append(chunk(UNIT, head + whole[at : at + 50]))
        return True


def talk(client: Client, side: Side) -> None:
    """Let both talk until the side has nothing to say any more."""
    while True:
        while client.out:
            side.coming.append(client.out.pop(0))
            side.hear()
            for lane in Lane:
                side.take(lane)
        frame = side.session.next_frame(side.lanes, 0)
        if not frame:
            return
        client.hear(frame)


@pytest.mark.parametrize("keeping", [False, True])
def test_a_client_from_the_page(keeping: bool) -> None:
    """S-PROXY-6: who writes a client from the page alone can talk to a session."""
    client, side = Client(), Side("side", keeping=keeping)
    talk(client, side)
    assert side.events == [Opened(False, ())]
    for number in range(60):
        for lane in Lane:
            side.put(lane, b"%d" % number, 5.0 if number % 7 == 0 else inf)
    side.put(Lane.DATA, bytes(900), 5.0, {"a": "b"})
    for number in range(30):
        while not client.send(number % 3, bytes(number * 5)):
            talk(client, side)
    talk(client, side)
    for lane in Lane:
        bodies = [body for at, body, _ in client.delivered if at == lane]
        assert bodies[:60] == [b"%d" % number for number in range(60)]
        assert side.arrived[lane] == [bytes(n * 5) for n in range(30) if n % 3 == lane]
    assert client.delivered[-1] == (Lane.DATA, bytes(900), {"seconds": 5.0, "trace": {"a": "b"}})
    assert not side.lanes


def test_cancels_pings_and_a_goodbye() -> None:
    """S-PROXY-6: so it is told of cancels, signs of life and the end."""
    client, side = Client(), Side("side")
    talk(client, side)
    side.put(Lane.DATA, bytes(900))
    client.hear(side.session.next_frame(side.lanes, 0))
    assert side.session.cancel(Cancelled("job", None, "side", 1))
    client.out.append(chunk(PING, bytes(8)))
    talk(client, side)
    assert client.cancelled == [("job", 1, 0)]
    assert client.had == [1, 0, 0]
    assert not side.epoch.cancels
    said = {"first": 1, "jobs": [["their job", "why", "client"]]}
    client.out += [client.json(CANCEL, **said), client.json(GOODBYE, code=1000, reason="done")]
    talk(client, side)
    assert side.events[-2:] == [Cancelled("their job", "why", "client"), Closed(1000, "done")]
    assert not [event for event in side.events if isinstance(event, Arrived)]
    assert LIMITS.window == 800
    side.session.close(1000, "so am I")
    talk(client, side)
    had = {"data": 0, "system": 0, "reply": 0, "cancels": 1}
    assert client.over == {"code": 1000, "reason": "so am I", "had": had}
