"""Two sides of a native link, and what is on its way between them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from math import inf
from typing import Any

import attrs

from trioworkers.wire.chunks import Lane
from trioworkers.wire.epoch import Cancelled, Epoch
from trioworkers.wire.flow import Arrived
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.lanes import Lanes
from trioworkers.wire.session import Event, Hold, Opened, Session

LIMITS = LinkLimits(message_size=1000, window=800, messages=8, heartbeat=10)


@attrs.frozen
class Parcel:
    """A message that leaves."""

    frame: bytes
    deadline: float = inf
    trace: dict[str, str] | None = None


class Numbered(Lanes[Parcel]):
    """Lanes that remember the numbers of what has left the data lane."""

    def __init__(self, epoch: Epoch) -> None:
        super().__init__()
        self.epoch = epoch
        self.numbers: dict[int, bytes] = {}

    def take_from(self, lane: Lane) -> Parcel:
        parcel = super().take_from(lane)
        if lane is Lane.DATA:
            self.numbers[self.epoch.sent[lane].next] = parcel.frame
        return parcel


class Side:
    """One side: what is to leave, what has arrived, and what is on its way to it."""

    def __init__(self, name: str, *, keeping: bool = False, limits: LinkLimits = LIMITS) -> None:
        self.name = name
        self.limits = limits
        self.keeping = keeping
        self.starts = 0
        self.coming: deque[bytes] = deque()
        self.arrived: dict[Lane, list[bytes]] = {lane: [] for lane in Lane}
        self.delivered: set[bytes] = set()
        self.refused: list[bytes] = []
        self.events: list[Event] = []
        self.start()

    def start(self) -> None:
        """Begin anew, with nothing in mind."""
        self.starts += 1
        self.epoch = Epoch(f"{self.name}-{self.starts}", keeping=self.keeping)
        self.lanes = Numbered(self.epoch)
        self.waiting: dict[Lane, deque[bytes]] = {lane: deque() for lane in Lane}
        self.coming.clear()
        self.session = Session(self.epoch, self.limits, 0)

    def connect(self, now: float = 0) -> None:
        """Begin a new connection."""
        if not self.keeping:
            self.starts += 1
            self.epoch = self.lanes.epoch = Epoch(f"{self.name}-{self.starts}")
            self.lanes.numbers.clear()
            # What has arrived is delivered, but that is no business of the new connection.
            for waiting in self.waiting.values():
                self.delivered.update(waiting)
                waiting.clear()
        self.coming.clear()
        self.session = Session(self.epoch, self.limits, now)

    def put(
        self,
        lane: Lane,
        body: bytes,
        deadline: float = inf,
        trace: dict[str, str] | None = None,
    ) -> None:
        """Let a message wait to leave."""
        parcel = Parcel(body, deadline, trace)
        if lane is Lane.SYSTEM:
            self.lanes.put_urgent(parcel, len(body))
        else:
            self.lanes.put(parcel, len(body), "job" if lane is Lane.REPLY else None)

    def send(
        self,
        other: Side,
        lane: Lane,
        body: bytes,
        deadline: float = inf,
        trace: dict[str, str] | None = None,
        now: float = 0,
    ) -> bytes:
        """Let a message leave past the lanes, if it may; else let it wait there."""
        frame = b""
        if not self.session.has_more(self.lanes):
            number = self.epoch.sent[lane].next
            frame = self.session.leave_alone(lane, Parcel(body, deadline, trace), now)
        if not frame:
            self.put(lane, body, deadline, trace)
            return b""
        if lane is Lane.DATA:
            self.lanes.numbers[number] = body
        other.coming.append(frame)
        return frame

    def say(self, other: Side, now: float = 0) -> bytes:
        """Let a frame leave."""
        frame = self.session.next_frame(self.lanes, now)
        self.refused += [parcel.frame for parcel in self.session.refused]
        self.session.refused.clear()
        if frame:
            other.coming.append(frame)
        return frame

    def hear(self, now: float = 0) -> list[Event]:
        """Take the next frame."""
        events = self.session.receive(self.coming.popleft(), now) if self.coming else []
        for event in events:
            if isinstance(event, Arrived):
                self.arrived[event.lane].append(event.body)
                self.waiting[event.lane].append(event.body)
        self.events += events
        return events

    def take(self, lane: Lane) -> bool:
        """Deliver the oldest message; False if there is none."""
        if not self.waiting[lane]:
            return False
        self.delivered.add(self.waiting[lane].popleft())
        self.session.taken(lane)
        return True

    @property
    def cancels(self) -> list[Cancelled]:
        """The cancels that were heard."""
        return [event for event in self.events if isinstance(event, Cancelled)]

    @property
    def holds(self) -> list[Hold]:
        """The holds that were heard."""
        return [event for event in self.events if isinstance(event, Hold)]

    @property
    def lost(self) -> list[bytes]:
        """What nobody can say any more of whether it has arrived."""
        opened = [event for event in self.events if isinstance(event, Opened)]
        return [parcel.frame for event in opened for parcel in event.lost]


def pair(**settings: Any) -> tuple[Side, Side]:
    """Return two sides that have said hello and given credit."""
    left, right = Side("left", **settings), Side("right", **settings)
    settle(left, right)
    return left, right


def settle(left: Side, right: Side, *, taking: bool = False) -> None:
    """Let both talk until neither has anything to say."""
    busy = True
    while busy:
        busy = any([left.say(right), right.say(left)]) or bool(left.coming or right.coming)
        while left.coming or right.coming:
            left.hear()
            right.hear()
        for side in (left, right) if taking else ():
            for lane in Lane:
                while side.take(lane):
                    busy = True


def reconnect(left: Side, right: Side) -> None:
    """Begin a new connection between two sides."""
    left.connect()
    right.connect()


@contextmanager
def changed_hello(side: Side, **change: object) -> Iterator[None]:
    """Let a side say another hello than it would."""
    session: Any = side.session
    session._greeting = attrs.evolve(session._greeting, **change)
    yield
