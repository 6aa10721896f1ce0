"""Put into docs/wire.md what can be made: the state diagram and the worked example.

    python docs/generate.py

The diagram is `TRANSITIONS` of `trioworkers/wire/session.py`, and the example is what two sessions
say to each other.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator
from math import inf
from pathlib import Path
from typing import Any

import attrs

from trioworkers.wire.chunks import Kind, Lane
from trioworkers.wire.epoch import Cancelled, Epoch
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.lanes import Lanes
from trioworkers.wire.session import TRANSITIONS, Session, Speaker

PAGE = Path(__file__).parent / "wire.md"
WIDTH = 100


@attrs.frozen
class Parcel:
    """A message that leaves."""

    frame: bytes
    deadline: float = inf
    trace: dict[str, str] | None = None
    job: str | None = None


def diagram() -> str:
    """Draw what one side may say."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {Speaker.SILENT.name}"]
    for state, following in TRANSITIONS.items():
        ways: dict[Speaker, list[str]] = defaultdict(list)
        for kind, after in following.items():
            ways[after].append(kind.name)
        for after, kinds in ways.items():
            lines.append(f"    {state.name} --> {after.name}: {', '.join(kinds)}")
        if not following:
            lines.append(f"    {state.name} --> [*]")
    return "\n".join([*lines, "```"])


class Example:
    """Two sides, and what they say."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        limits = LinkLimits(message_size=1000, window=512, messages=4)
        self.sides = {
            name: Session(Epoch(epoch, keeping=True), limits, 0)
            for name, epoch in (("client", "c1"), ("server", "5e"))
        }
        self.lanes: dict[str, Lanes[Parcel]] = {name: Lanes() for name in self.sides}

    def say(self, name: str, what: str) -> None:
        """Let one side say a frame, and the other one hear it."""
        frame = self.sides[name].next_frame(self.lanes[name], 0)
        self.lines += ["", f"{name}: {what}", *(f"    {line}" for line in shown(frame))]
        for other, session in self.sides.items():
            if other != name:
                session.receive(frame, 0)

    def run(self) -> str:
        """Let them talk."""
        client, server = self.sides.values()
        self.say("client", "hello")
        self.say("server", "hello, and credit: 4 messages and 256 bytes in each lane")
        self.lanes["client"].put(Parcel(b"request one", 5.0, {"traceparent": "00-1"}), 11)
        self.lanes["client"].put(Parcel(b"small"), 5)
        self.lanes["client"].put(Parcel(b"also small"), 10)
        self.say("client", "credit; message 1 of the data lane with 5 s left, then 2 and 3")
        self.lanes["client"].put(Parcel(b"0123456789" * 7), 70)
        self.say("client", "message 4 is longer than a quarter of 256 bytes, and goes in units")
        server.taken(Lane.DATA)
        server.taken(Lane.DATA)
        self.lanes["server"].put(Parcel(b"answer"), 6, "job-1")
        self.say("server", "1 and 2 were delivered, which is half of 4; and a reply")
        client.cancel(Cancelled("job-7", "no longer wanted", "main/asker", 3))
        self.say("client", "the job that was asked for with message 3 is cancelled")
        client.hold("job-1", held=True)
        self.say("client", "the events of another job are to wait")
        self.say("server", "that is confirmed")
        server.check(20)
        self.say("server", "nothing was heard for one heartbeat")
        self.say("client", "still there")
        client.close(1000, "done")
        self.say("client", "goodbye")
        return "\n".join(["```text", *self.lines[1:], "```"])


def shown(frame: bytes) -> Iterator[str]:
    """Show a frame: a line for each chunk and each field of it."""
    place = 0
    while place < len(frame):
        kind, length = Kind(frame[place]), int.from_bytes(frame[place + 1 : place + 5], "big")
        yield f"{frame[place : place + 5].hex(' ')}  {kind.name}, {length} bytes"
        for name, field in fields(kind, frame[place + 5 : place + 5 + length]):
            text = field if isinstance(field, str) else field.hex(" ")
            pieces = [text[at : at + WIDTH] for at in range(0, len(text), WIDTH)]
            yield from (f"    {piece}" for piece in pieces[:-1])
            yield f"    {pieces[-1]}" + (f"  {name}" if name else "")
        place += 5 + length


def fields(kind: Kind, body: bytes) -> Iterator[tuple[str, bytes | str]]:
    """Yield the fields of a chunk: names, and bytes or JSON."""
    if kind in (Kind.HELLO, Kind.CANCEL, Kind.GOODBYE):
        yield "", body.decode()
        return
    if kind is Kind.CREDIT:
        for lane in Lane:
            yield f"{lane.name}: messages, bytes, taken", body[24 * lane : 24 * lane + 24]
        yield "cancels taken", body[72:]
        return
    if kind in (Kind.PING, Kind.PONG):
        yield "number", body
        return
    if kind is Kind.HOLD:
        yield "to wait", body[:1]
        yield "", body[1:].decode()
        return
    yield f"lane {Lane(body[0]).name}", body[:1]
    yield "number", body[1:9]
    rest: Any = body[9:]
    if kind is Kind.MESSAGES:
        count = int.from_bytes(rest[:4], "big")
        yield "how many", rest[:4]
        yield "lengths", rest[4 : 4 + 4 * count]
        yield "bodies", rest[4 + 4 * count :]
    elif kind is Kind.UNIT:
        yield "length of the whole", rest[:4]
        yield "offset", rest[4:8]
        yield "bytes of the whole", rest[8:]
    else:
        meta = 4 + int.from_bytes(rest[:4], "big")
        yield "length of the meta", rest[:4]
        yield f"meta {rest[4:meta].decode()}", rest[4:meta]
        yield "body", rest[meta:]


MADE = {"diagram": diagram, "example": lambda: Example().run()}


def filled(page: str) -> str:
    """Return the page with everything that is made as it is now."""
    for name, make in MADE.items():
        before, mark, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition("<!-- end -->")
        if not end:
            raise ValueError(f"no place for {name} in {PAGE.name}")
        page = f"{before}{mark}{make()}\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
