"""One link between two runners in the native dialect, as a state machine.

Theory of operation
===================

Both sides are equal: this file does not know which one connected.  Frames come in with `receive`,
which says what happened, and go out with `next_frame`, which takes what is to leave out of two
lanes.  There is no clock and no chance here: the time is passed in, and so is the name of an epoch.

*Opening.*  Each side begins with a HELLO: its limits, the name of its epoch, and, if it has met the
other one before, how far it had come in that one's epoch.  Nothing else may come before it.  The
link is open when both have spoken, and messages leave from then on.

*Epochs.*  A message has a number within its lane and its sender's epoch.  What a side keeps of an
epoch (`Memory`) outlives the connection, if delivery is to be at least once: what was sent and not
taken is sent again over the next connection, from where the other side says that it had come.  The
receiver drops what it has had.  A side that finds a stranger where it left an acquaintance cannot
know what became of the messages in between, and says so: `Opened.lost`.

*Lanes.*  Data, system messages, and replies: what is said about a job that was asked for.  Each has
numbers and credit of its own, so that none waits for another: a requester that takes no data until
it has its answer gets that.  The system lane leaves first.

*Credit.*  What may be sent is said by the receiver, for each lane, as two totals.  That of messages
grows as they are taken, that is, delivered: a worker that is stuck stops the senders on the other
side, and what was sent and not taken is bounded, and so is what is kept to be sent again.  That of
bytes is half a window beyond what has arrived, so that the data and replies which are on their way,
and in whose midst a system message may find itself, are never more than a window; it stops growing
when too much is held.
Credits, cancels, pings and goodbyes need none.

*Size.*  What leaves together is one frame, of a quarter of a window or a little more.  A message
that is larger than a quarter of what its lane may send at once goes in units, between which the
other lanes get their turn.  As units are at most a quarter, and new credit is told when half is used
up, neither side can wait for the other for ever.

*Cancels.*  A cancelled job is told beside the lanes, once; a cancel that was perhaps lost with a
connection is told again over the next one.  One that overtakes its request waits for it at the
other side.  A request of which only a part has left is given up.

*Silence.*  Who has heard nothing for one heartbeat sends a ping, and who has heard nothing for two
gives the other side up.  Any frame is a sign of life.

*Closing.*  `close` lets what is in the lanes leave, then says GOODBYE.  After its own, a side takes
no messages to send; after the other's, none can come.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum, auto
from typing import Any

import attrs

from ..errors import RemoteWireError
from . import chunks
from .chunks import Credit, Kind, Lane, Messages, Unit
from .epoch import Cancelled, Epoch
from .flow import Arrived, Flow
from .hello import Hello, LinkLimits
from .lanes import Lanes

__all__ = ["TRANSITIONS", "Broken", "Closed", "Event", "Opened", "Session", "Speaker"]

VERSION = 1

CANCELS = 16
"""How many cancels one frame has at most: each has a reason and a path."""

CHUNKS = 2048
"""How many chunks one frame has at most."""

SLACK = 2**17
"""How many bytes a frame may have beyond a window: the heads of its chunks, and cancels."""


class Speaker(Enum):
    """How far one side has come."""

    SILENT = auto()
    TALKING = auto()
    GONE = auto()


_TALK = [kind for kind in Kind if kind not in (Kind.HELLO, Kind.GOODBYE)]

# What a side may say, and what becomes of it by that.
TRANSITIONS: dict[Speaker, dict[Kind, Speaker]] = {
    Speaker.SILENT: {Kind.HELLO: Speaker.TALKING, Kind.GOODBYE: Speaker.GONE},
    Speaker.TALKING: {**dict.fromkeys(_TALK, Speaker.TALKING), Kind.GOODBYE: Speaker.GONE},
    Speaker.GONE: {},
}


@attrs.frozen
class Opened:
    """Both sides have said hello.

    `resumed` says whether each knows the other from before.  `lost` was sent over a connection
    before, and nobody can say any more whether it has arrived.
    """

    resumed: bool
    lost: tuple[Any, ...]


@attrs.frozen
class Closed:
    """The other side has said goodbye."""

    code: int
    reason: str


@attrs.frozen
class Broken:
    """The other side has broken the rules: this connection is of no more use."""

    reason: str


Event = Opened | Arrived | Cancelled | Closed | Broken


class Session:
    """One side of one connection."""

    __slots__ = (
        "_cancels_told",
        "_epoch",
        "_farewell",
        "_first",
        "_flows",
        "_heard",
        "_limits",
        "_ping_due",
        "_pinged",
        "_pong",
        "_told",
        "ours",
        "takes",
        "theirs",
    )

    def __init__(self, epoch: Epoch, limits: LinkLimits, now: float) -> None:
        """Begin a connection.

        Args:
            epoch: what is known from before.
            limits: what is taken here.
            now: the time, in seconds, of a clock that never goes back.
        """
        self._epoch = epoch
        self._limits = limits
        self.ours: Speaker = Speaker.SILENT
        self.theirs: Speaker = Speaker.SILENT
        self._flows = tuple(Flow(lane, epoch.sent[lane], epoch.had[lane], limits) for lane in Lane)
        # What the other side takes, once it has said so.
        self.takes: LinkLimits = limits
        # Which of the lanes that are as important leaves first.
        self._first = Lane.DATA
        self._heard = now
        # Whether a ping is due, and whether one was sent since something was heard.
        self._ping_due = False
        self._pinged = False
        # What else is to be said, and what of it was.
        self._pong: int | None = None
        self._farewell: tuple[int, str] | None = None
        self._cancels_told = 0
        self._told: Credit | None = None

    @property
    def is_open(self) -> bool:
        """Whether messages may go both ways."""
        return self.ours is self.theirs is Speaker.TALKING

    # What comes in

    def receive(self, frame: bytes, now: float) -> list[Event]:
        """Take a frame; return what has happened.

        What happened before a rule was broken has happened: that is an event too, the last one,
        and no exception.
        """
        self._heard = now
        self._pinged = False
        events: list[Event] = []
        try:
            if len(frame) > self._limits.window + SLACK:
                raise RemoteWireError(f"a frame of {len(frame)} bytes")
            for number, (kind, content) in enumerate(chunks.parse(frame)):
                if number >= CHUNKS:
                    raise RemoteWireError(f"a frame of more than {CHUNKS} chunks")
                following = TRANSITIONS[self.theirs].get(kind)
                if following is None:
                    raise RemoteWireError(f"{kind.name} from a side that is {self.theirs.name}")
                self.theirs = following
                _RECEIVERS[kind](self, content, events)
            if self._epoch.early:
                events.extend(self._epoch.due([]))
        except RemoteWireError as error:
            self.theirs = Speaker.GONE
            events.append(Broken(str(error)))
        return events

    def taken(self, lane: Lane) -> None:
        """Take note that the oldest message of a lane was delivered."""
        self._epoch.had[lane].take()

    def _hear_hello(self, said: dict[str, Any], events: list[Event]) -> None:
        hello, epoch = Hello.read(said), self._epoch
        self.takes = hello.limits
        knows = hello.knows == epoch.name
        lost = epoch.rewind(hello.had if knows else None)
        self._cancels_told = epoch.cancels_sent - len(epoch.cancels)
        met = epoch.meet(hello.epoch, hello.sent)
        events.append(Opened(knows and met, lost))

    def _hear_credit(self, credit: Credit, events: list[Event]) -> None:
        del events
        for lane in Lane:
            self._flows[lane].hear_credit(*credit.lanes[lane])
        self._epoch.confirm_cancels(credit.cancels_taken)

    def _hear_messages(self, messages: Messages, events: list[Event]) -> None:
        self._flows[messages.lane].hear_messages(messages, events)

    def _hear_unit(self, unit: Unit, events: list[Event]) -> None:
        message = self._flows[unit.lane].hear_unit(unit)
        if message is not None:
            events.append(message)

    def _hear_abandon(self, unit: Unit, events: list[Event]) -> None:
        del events
        self._flows[unit.lane].hear_abandon(unit.id)

    def _hear_cancels(self, said: dict[str, Any], events: list[Event]) -> None:
        first, cancels = _read_cancels(said)
        had = self._epoch.cancels_had
        if not 1 <= first <= had + 1:
            raise RemoteWireError(f"cancel {first} after {had}")
        new = cancels[had + 1 - first :]
        self._epoch.cancels_had += len(new)
        events.extend(self._epoch.due(new))
        if len(self._epoch.early) > self._limits.messages:
            raise RemoteWireError(f"{len(self._epoch.early)} cancels of jobs not asked for")

    def _hear_ping(self, number: int, events: list[Event]) -> None:
        del events
        self._pong = number

    def _hear_pong(self, number: int, events: list[Event]) -> None:
        """Do nothing: that something was heard is all that is wanted."""

    def _hear_goodbye(self, said: dict[str, Any], events: list[Event]) -> None:
        code, reason = said.get("code"), said.get("reason")
        if not isinstance(code, int) or not isinstance(reason, str):
            raise RemoteWireError(f"a goodbye that cannot be read: {said!r:.200}")
        events.append(Closed(code, reason[:200]))

    # What goes out

    def cancel(self, cancelled: Cancelled) -> bool:
        """Tell the other side with the next frame that a job is cancelled.

        Returns:
            Whether its request has not left to its end, and will not.
        """
        self._epoch.cancels_sent += 1
        self._epoch.cancels.append(cancelled)
        return self._flows[Lane.DATA].abandon(cancelled.after)

    @property
    def due(self) -> bool:
        """Whether there is something to say that is in no lane."""
        if self.ours is Speaker.SILENT:
            return True
        return self.is_open and (
            self._pong is not None
            or self._ping_due
            or self._cancels_told < self._epoch.cancels_sent
            or self._credit_is_due
        )

    def has_more(self, lanes: Lanes[Any]) -> bool:
        """Tell whether anything is to leave, for which there may be credit or not."""
        return self.due or len(lanes) > 0 or any(flow.has_begun for flow in self._flows)

    def close(self, code: int, reason: str) -> None:
        """Say goodbye when nothing is left to leave."""
        self._farewell = (code, reason)

    def next_frame(self, lanes: Lanes[Any], now: float) -> bytes:
        """Return what leaves now, and take it out of `lanes`; empty if there is nothing."""
        said: list[bytes] = []
        if self.ours is Speaker.SILENT:
            said.append(self._hello())
        if self.is_open:
            self._say_what_is_due(said)
            self._let_messages_leave(said, lanes, now)
        if self._farewell is not None and self._is_done(lanes):
            said.append(self._goodbye(*self._farewell))
        return b"".join(said)

    def check(self, now: float) -> float:
        """See to a silent peer; return when to look again.  After it a ping may be due.

        Raises:
            RemoteWireError: nothing was heard for two heartbeats.
        """
        silent, beat = now - self._heard, self._limits.heartbeat
        if silent >= 2 * beat:
            raise RemoteWireError(f"nothing was heard for {silent:.3f} s, two heartbeats")
        if silent < beat:
            return self._heard + beat
        self._ping_due = self.is_open and not self._pinged
        return self._heard + 2 * beat

    def _is_done(self, lanes: Lanes[Any]) -> bool:
        """Tell whether nothing is left to leave, or nobody takes it any more."""
        if self.ours is not Speaker.TALKING:
            return False
        return self.theirs is Speaker.GONE or all(flow.is_empty(lanes) for flow in self._flows)

    def _hello(self) -> bytes:
        self.ours = TRANSITIONS[self.ours][Kind.HELLO]
        epoch = self._epoch
        hello = Hello(
            VERSION, epoch.name, self._limits, epoch.place_sent, epoch.peer, epoch.place_had
        )
        return chunks.write_json(Kind.HELLO, attrs.asdict(hello))

    def _goodbye(self, code: int, reason: str) -> bytes:
        self.ours = TRANSITIONS[self.ours][Kind.GOODBYE]
        return chunks.write_json(Kind.GOODBYE, {"code": code, "reason": reason})

    def _say_what_is_due(self, said: list[bytes]) -> None:
        self._say_credit(said)
        epoch = self._epoch
        if self._cancels_told < epoch.cancels_sent:
            confirmed = epoch.cancels_sent - len(epoch.cancels)
            start = self._cancels_told - confirmed
            new = [attrs.astuple(each) for each in list(epoch.cancels)[start : start + CANCELS]]
            first = self._cancels_told + 1
            said.append(chunks.write_json(Kind.CANCEL, {"first": first, "jobs": new}))
            self._cancels_told += len(new)
        if self._ping_due:
            self._ping_due, self._pinged = False, True
            said.append(chunks.write_token(Kind.PING, 0))
        if self._pong is not None:
            said.append(chunks.write_token(Kind.PONG, self._pong))
            self._pong = None

    def _say_credit(self, said: list[bytes]) -> None:
        # All of it if any of it is worth a chunk.
        if self._credit_is_due:
            lanes = tuple(flow.tell_credit() for flow in self._flows)
            self._told = Credit(lanes, self._epoch.cancels_had)
            said.append(chunks.write_credit(self._told))

    @property
    def _credit_is_due(self) -> bool:
        told = self._told
        if told is None or told.cancels_taken != self._epoch.cancels_had:
            return True
        return any(flow.credit_is_due for flow in self._flows)

    def _let_messages_leave(self, said: list[bytes], lanes: Lanes[Any], now: float) -> None:
        room = max(1, self.takes.window // 4)
        for lane in _ORDER[self._first]:
            if room > 0:
                room -= self._flows[lane].fill(
                    said,
                    lanes,
                    room,
                    now,
                    window=self.takes.lane_window,
                    keeping=self._epoch.keeping,
                )
        self._first = Lane.REPLY if self._first is Lane.DATA else Lane.DATA


# Neither data nor replies may keep the other from leaving.
_ORDER = {
    Lane.DATA: (Lane.SYSTEM, Lane.DATA, Lane.REPLY),
    Lane.REPLY: (Lane.SYSTEM, Lane.REPLY, Lane.DATA),
}


def _read_cancels(said: dict[str, Any]) -> tuple[int, list[Cancelled]]:
    first: Any = said.get("first")
    jobs: Any = said.get("jobs")
    try:
        if isinstance(first, int):
            return first, [Cancelled(*job) for job in jobs]
    except TypeError:
        pass
    raise RemoteWireError(f"cancels that cannot be read: {said!r:.200}")


_RECEIVERS: dict[Kind, Callable[[Session, Any, list[Event]], None]] = {
    Kind.HELLO: Session._hear_hello,
    Kind.CREDIT: Session._hear_credit,
    Kind.MESSAGES: Session._hear_messages,
    Kind.ENVELOPE: Session._hear_unit,
    Kind.UNIT: Session._hear_unit,
    Kind.ABANDON: Session._hear_abandon,
    Kind.CANCEL: Session._hear_cancels,
    Kind.PING: Session._hear_ping,
    Kind.PONG: Session._hear_pong,
    Kind.GOODBYE: Session._hear_goodbye,
}
