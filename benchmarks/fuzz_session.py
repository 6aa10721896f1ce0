"""What the native dialect's session makes of a peer that says anything at all.

    python -m benchmarks.fuzz_session                             # 10,000 frames
    python -m benchmarks.fuzz_session --frames 1000000 --json benchmarks/results/fuzz/session.json

Two sessions talk to each other: messages of all lanes and sizes, cancels, pings, lost connections,
goodbyes.  Up to two of five frames are changed on their way: bytes are flipped, cut and inserted,
chunks are dropped, repeated, swapped and replaced by older ones, and numbers and values in them
become others, those at the edges above all.  A side that finds its peer breaking the rules, as many do,
starts another connection, with what it remembers of the ones before.

After each frame this looks at everything that a session promises whatever comes:

- no exception leaves it, and what it reports is one of the known events, with values within bounds;
- what it says is one frame of the dialect that a side in its state may say;
- it holds no more than its limits allow.

Every 20th conversation runs under `tracemalloc`: the peak is everything that both sides had
allocated at once, their messages included.  A conversation is the same for the same seed.

Exits with 1 if a promise is broken, and names the seed of the conversation.
"""

from __future__ import annotations

import argparse
import json
import random
import struct
import sys
import time
import tracemalloc
from collections import Counter, deque
from math import inf, isfinite
from pathlib import Path
from typing import Any

import attrs

from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind, Lane
from trioworkers.wire.epoch import Cancelled, Epoch
from trioworkers.wire.flow import Arrived
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.lanes import Lanes
from trioworkers.wire.session import (
    SLACK,
    TRANSITIONS,
    Broken,
    Closed,
    Hold,
    Opened,
    Session,
    Speaker,
)

from .harness import machine

FRAMES = 10_000
TURNS = 300
"""How often somebody does something in one conversation."""

RATES = (0.02, 0.1, 0.4)
"""How many of the frames of a conversation are changed."""

TRACED = 20
EVENTS = (Opened, Arrived, Cancelled, Hold, Closed, Broken)
EDGES = (0, 1, 2, 7, 255, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 1.5, 2**31, 2**62, 2**64, 10**400, 1e308, "", "x", "x" * 300),
    *("\ud800", [], [[]], ["a", None, "b", 1], {}, {"data": 1}, {"a": {"b": []}}),
)
JSON = (Kind.HELLO, Kind.CANCEL, Kind.GOODBYE)


class PromiseError(AssertionError):
    """A session did what it never may."""


@attrs.frozen
class Parcel:
    frame: bytes
    deadline: float = inf
    trace: dict[str, str] | None = None


class Side:
    """A session, and who uses it."""

    def __init__(self, name: str, chance: random.Random) -> None:
        self.name = name
        self.chance = chance
        self.limits = LinkLimits(
            message_size=chance.choice((1, 100, 2000, 2**20)),
            window=chance.choice((64, 200, 1000, 2**16)),
            messages=chance.choice((1, 2, 8, 1024)),
        )
        self.keeping = chance.random() < 0.7
        self.coming: deque[bytes] = deque()
        self.epochs = 0
        self.jobs = 0
        self.lanes: Lanes[Parcel] = Lanes()
        self.begin()

    def begin(self) -> None:
        self.epochs += 1
        self.epoch = Epoch(f"{self.name}{self.epochs}", keeping=self.keeping)
        self.connect()

    def connect(self) -> None:
        self.coming.clear()
        self.said = Speaker.SILENT
        if not self.keeping and self.epoch.connections:
            self.begin()
            return
        self.session = Session(self.epoch, self.limits, 0)

    def put(self) -> bytes:
        """Let a message of any kind leave alone, and return its frame, or wait, unless many do."""
        if len(self.lanes) > 50:
            return b""
        chance = self.chance
        body = bytes(chance.choice((0, 1, 10, 100, chance.randrange(3000))))
        meta = chance.random() < 0.2
        trace = {"traceparent": "00-1"} if chance.random() < 0.1 else None
        parcel = Parcel(body, 5.0 if meta else inf, trace)
        lane = chance.choice(list(Lane))
        if not self.session.has_more(self.lanes) and (
            frame := self.session.leave_alone(lane, parcel, 0.0)
        ):
            return self.checked(frame)
        if lane is Lane.SYSTEM:
            self.lanes.put_urgent(parcel, len(body))
        else:
            self.lanes.put(parcel, len(body), "job" if lane is Lane.REPLY else None)
        return b""

    def cancel(self) -> None:
        self.jobs += 1
        last = self.epoch.sent[Lane.DATA].next - 1
        if last:
            number = self.chance.randint(1, last)
            self.session.cancel(Cancelled(f"job-{self.jobs}", "why", "path", number))

    def hold(self) -> None:
        held = self.chance.random() < 0.5
        self.session.hold(f"job-{self.chance.randrange(30)}", held=held)

    def take(self) -> None:
        for lane in Lane:
            if self.epoch.had[lane].sizes and self.chance.random() < 0.8:
                self.session.taken(lane)

    def say(self) -> bytes:
        due = self.session.due
        frame = self.session.next_frame(self.lanes, 0.0)
        self.session.refused.clear()
        if due and not frame and self.session._farewell is None:
            raise PromiseError("something was due, and nothing was said")
        return self.checked(frame)

    def checked(self, frame: bytes) -> bytes:
        """Return what leaves, after a look at it."""
        for kind, _ in chunks.parse(frame):
            if kind not in TRANSITIONS[self.said]:
                raise PromiseError(f"{kind.name} said by a side that is {self.said.name}")
            self.said = TRANSITIONS[self.said][kind]
        if self.said is not self.session.ours:
            raise PromiseError(f"{self.said.name} and not {self.session.ours.name}")
        if len(frame) > self.session.takes.window + SLACK:
            raise PromiseError(f"a frame of {len(frame)} bytes")
        return frame

    def hear(self, frame: bytes) -> list[Any]:
        events: list[Any] = self.session.receive(frame, 0.0)
        for place, event in enumerate(events):
            if type(event) not in EVENTS:
                raise PromiseError(f"{event!r} is no event")
            if isinstance(event, Broken) and place != len(events) - 1:
                raise PromiseError("something happened after a rule was broken")
            self.look_at(event)
        self.look()
        return events

    def look_at(self, event: Any) -> None:
        """Look at the values of an event."""
        good = True
        if isinstance(event, Arrived):
            good = len(event.body) <= self.limits.message_size and type(event.lane) is Lane
            if event.seconds is not None:
                good &= type(event.seconds) is float and isfinite(event.seconds)
            if event.trace is not None:
                good &= all(type(each) is str for each in event.trace.values())
        elif isinstance(event, Cancelled):
            texts = (event.job_id, event.path, event.reason or "")
            good = all(type(each) is str and len(each) <= 256 for each in texts)
            good &= event.after <= self.epoch.had[Lane.DATA].arrived
        elif isinstance(event, Hold):
            good = type(event.held) is bool and len(event.job_id) <= chunks.JOB
        elif isinstance(event, Closed):
            good = type(event.code) is int and len(event.reason) <= 200
        elif isinstance(event, Broken):
            good = len(event.reason) < 1000
        if not good:
            raise PromiseError(f"an event of {event!r:.300}")

    def look(self) -> None:
        """Look at what the session holds."""
        limits, epoch = self.limits, self.epoch
        largest = limits.message_size + chunks.EXTRA + limits.lane_window
        for lane in Lane:
            had, sent = epoch.had[lane], epoch.sent[lane]
            partial = self.session._in[lane]._partial
            if had.held + (len(partial[1]) if partial else 0) > largest:
                raise PromiseError(f"{had.held} bytes are held in lane {lane.name}")
            if len(had.sizes) > limits.messages:
                raise PromiseError(f"{len(had.sizes)} messages are held in lane {lane.name}")
            if len(sent.unconfirmed) + len(sent.again) > limits.messages:
                raise PromiseError(f"{len(sent.unconfirmed)} messages of {lane.name} are kept")
            if sent.kept > limits.window + 3000:
                raise PromiseError(f"{sent.kept} bytes of lane {lane.name} are kept")
        if len(epoch.early) > limits.messages + 2 * SLACK // 20:
            raise PromiseError(f"{len(epoch.early)} cancels are early")


class Mangler:
    """Changes frames, with an eye to what they consist of."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.seen: deque[tuple[int, bytes]] = deque(maxlen=200)

    def changed(self, frame: bytes) -> bytes:
        row = list(raw(frame))
        self.seen.extend(row)
        if self.chance.random() < 0.3:
            return self.bytes_changed(frame)
        for _ in range(self.chance.choice((1, 1, 1, 2, 4))):
            self.change(row)
        return b"".join(struct.pack(">BI", kind, len(body)) + body for kind, body in row)

    def bytes_changed(self, frame: bytes) -> bytes:
        chance, data = self.chance, bytearray(frame)
        for _ in range(chance.choice((1, 1, 2, 8))):
            place = chance.randrange(len(data) + 1)
            match chance.randrange(5):
                case 0 if place < len(data):
                    data[place] ^= 1 << chance.randrange(8)
                case 1:
                    data[place:place] = chance.randbytes(chance.randrange(1, 9))
                case 2:
                    del data[place : place + chance.randrange(1, 9)]
                case 3:
                    del data[place:]
                case _:
                    data += data[: chance.randrange(len(data) + 1)]
        return bytes(data)

    def change(self, row: list[tuple[int, bytes]]) -> None:
        """Change one chunk, or the row."""
        chance = self.chance
        place = chance.randrange(len(row)) if row else 0
        match chance.randrange(8):
            case 0 if row:
                del row[place]
            case 1 if row:
                row.insert(place, row[place])
            case 2 if row:
                chance.shuffle(row)
            case 3 if row:
                row[place] = (chance.choice(list(Kind)), row[place][1])
            case 4 | 5 if self.seen:
                row.insert(place, chance.choice(self.seen))
            case _ if row:
                kind, body = row[place]
                row[place] = (kind, self.json(body) if kind in JSON else self.number(body))

    def number(self, body: bytes) -> bytes:
        """Put another number somewhere, where the fields are more often than elsewhere."""
        chance = self.chance
        width = chance.choice((1, 4, 8))
        start = chance.choice((0, 1, 9, 13, 8 * chance.randrange(10), chance.randrange(30)))
        old = int.from_bytes(body[start : start + width], "big")
        new = chance.choice((old + 1, old - 1, old + 2, old * 2, *EDGES)) % 2 ** (8 * width)
        return body[:start] + new.to_bytes(width, "big") + body[start + width :]

    def json(self, body: bytes) -> bytes:
        """Put another value somewhere."""
        try:
            value = json.loads(body)
        except (ValueError, RecursionError):
            return body
        holder, key = value, None
        while isinstance(holder, dict | list) and holder:
            key = self.chance.choice(
                list(holder) if isinstance(holder, dict) else range(len(holder))
            )
            if not isinstance(holder[key], dict | list) or self.chance.random() < 0.3:
                break
            holder = holder[key]
        if key is not None and isinstance(holder, dict | list) and holder:
            old = holder[key]
            near = [old + 1, old - 1] if type(old) is int else []
            if self.chance.random() < 0.1:
                del holder[key]
            else:
                holder[key] = self.chance.choice([*near, *near, *near, *VALUES])
        return json.dumps(value, separators=(",", ":")).encode()


def raw(frame: bytes) -> Any:
    """Yield the chunks of a frame of our own, unread."""
    place = 0
    while place < len(frame):
        kind, length = struct.unpack_from(">BI", frame, place)
        yield kind, frame[place + 5 : place + 5 + length]
        place += 5 + length


class Conversation:
    """Two sides, and somebody between them."""

    def __init__(self, seed: int, count: Counter[str]) -> None:
        self.chance = random.Random(seed)
        self.sides = [Side(name, self.chance) for name in "ab"]
        self.mangler = Mangler(self.chance)
        self.rate = self.chance.choice(RATES)
        self.count = count

    def run(self) -> None:
        for _ in range(TURNS):
            self.turn()

    def turn(self) -> None:
        who = self.chance.randrange(2)
        side, other = self.sides[who], self.sides[1 - who]
        self.send(side.put(), other)
        what = self.chance.random()
        if what < 0.05:
            side.cancel()
        elif what < 0.06:
            side.hold()
        elif what < 0.065:
            side.session.close(1000, "done")
        elif what < 0.07:
            side.begin()
            other.connect()
        elif what < 0.08:
            self.connect()
        elif what < 0.6:
            side.take()
        self.send(side.say(), other)
        while side.coming:
            self.hear(side)

    def send(self, frame: bytes, other: Side) -> None:
        """Let a frame leave, perhaps not as it is."""
        if not frame:
            return
        changed = self.chance.random() < self.rate
        other.coming.append(self.mangler.changed(frame) if changed else frame)
        if changed:
            self.count["changed"] += 1

    def hear(self, side: Side) -> None:
        self.count["frames"] += 1
        events = side.hear(side.coming.popleft())
        self.count.update(type(event).__name__ for event in events)
        if any(isinstance(event, Opened) and event.resumed for event in events):
            self.count["resumed"] += 1
        if events and isinstance(events[-1], Broken | Closed):
            self.count["refused" if isinstance(events[-1], Broken) else "closed"] += 1
            side.session.close(1008, "broken")
            side.say()
            self.connect()
        else:
            self.count["taken"] += 1

    def connect(self) -> None:
        for side in self.sides:
            side.connect()


def fuzz(frames: int, seed: int = 0, *, tell: bool = False) -> dict[str, Any]:
    """Run conversations until so many frames were heard.

    Returns:
        How many of what there were, and the highest peak of memory, in bytes.

    Raises:
        PromiseError: a session did what it never may.
    """
    count: Counter[str] = Counter()
    peak = conversations = 0
    while count["frames"] < frames:
        traced = conversations % TRACED == 0
        if traced:
            tracemalloc.start()
        try:
            Conversation(seed + conversations, count).run()
        except Exception as error:
            raise PromiseError(
                f"{error!r} in the conversation of seed {seed + conversations}"
            ) from error
        finally:
            if traced:
                peak = max(peak, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
        conversations += 1
        if tell and conversations % 200 == 0:
            print(f"{count['frames']:,} frames", file=sys.stderr, flush=True)
    return {"conversations": conversations, "peak_bytes": peak, **dict(sorted(count.items()))}


def main() -> int:
    """Fuzz, and say what came of it."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}.fuzz_session", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--frames", type=int, default=FRAMES)
    parser.add_argument("--seed", type=int, default=0, help="that of the first conversation")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    begun = time.perf_counter()
    found = fuzz(arguments.frames, arguments.seed, tell=True)
    found["seconds"] = round(time.perf_counter() - begun, 1)
    record = {"machine": machine(), "seed": arguments.seed, "found": found}
    print(json.dumps(record, indent=1))
    if arguments.json is not None:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
