"""One link between two runners in the native dialect, as a state machine.

Theory of operation
===================

Both sides are equal: this file does not know which one connected.  Frames come in with `receive`,
which says what happened, and go out with `next_frame`, which takes what is to leave out of three
lanes.  There is no clock and no chance here: the time is passed in, and so is the name of an epoch.

*Opening.*  Each side begins with a HELLO: its limits, how far it has come, and how far the other
side had come when it last heard of it.  Nothing else may come before it.  The link is open when
both have spoken, and messages leave from then on.

*Epochs.*  A message has a number within its lane and its sender's epoch.  What a side keeps of an
epoch (`Epoch`) outlives the connection, if delivery is to be at least once: what was sent and not
taken is sent again over the next connection, from where the other side says that it had come.  The
receiver drops what it has had.  Two sides go on like that if both name the same connection as the
one over which they met.  Otherwise both begin anew, and a side that has sent something to somebody
else cannot know what became of it, and says so: `Opened.lost`.

*Lanes.*  Data, system messages, and replies: what is said about a job that was asked for.  Each has
numbers and credit of its own, so that none waits for another: a requester that takes no data until
it has its answer gets that.  The system lane leaves first.  What is urgent about a job goes in that
lane, too: all about one job keeps its order, so each of these two lanes leaves out what is about a
job of which something older has not left the other one to its end.

*Credit.*  What may be sent is said by the receiver, for each lane, as two totals.  That of messages
grows as they are taken, that is, delivered: a worker that is stuck stops the senders on the other
side.  That of bytes is half a window beyond what has arrived, so that the data and replies which
are on their way, and in whose midst a system message may find itself, are never more than a window;
it stops growing when too much is held.  Of windows and numbers of messages, the smaller one of both
sides counts; so each can tell what it has to keep, whatever the other one says.
Credits, cancels, pings and goodbyes need no credit.

*Size.*  What leaves together is one frame, of a quarter of a window and what is said beside it.  A
message that is larger than a quarter of what its lane may send at once goes in units, between which
the other lanes get their turn.  As units are at most a quarter, and new credit is told when half is
used up, neither side can wait for the other for ever.  What is larger than the other side takes is
given up, with its number: `refused`.

*Cancels.*  A cancelled job is told beside the lanes, once; a cancel that was perhaps lost with a
connection is told again over the next one.  One that overtakes its request waits for it at the
other side.  A request of which only a part has left is given up.

*Holds.*  A requester whose reader of a job's events is slow says so beside the lanes, and again when
it goes on: meanwhile the other side takes no more events of that job, so they never fill the lane
that the answers of all jobs have.  No credit is told before a hold that is due, so what comes after
it is bounded by the credit from before and by what waits to leave.

*Silence.*  Who has heard nothing for one heartbeat sends a ping, and who has heard nothing for two
gives the other side up.  Any frame is a sign of life; but who does not confirm cancels is given up,
too, once it has given credit: before that it may be busy with the beginning of the connection.

*Closing.*  `close` lets what is in the lanes leave, and cancels, then says GOODBYE, and in it how far
the other side has come: what has arrived is not lost, even if that was not told before.  After its
own, a side takes no messages to send; after the other's, none can come.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import IntEnum, auto
from itertools import islice
from typing import Any, TypeGuard, cast

import attrs

from ..errors import RemoteWireError
from . import chunks
from .chunks import Credit, Kind, Lane, Messages, Unit
from .epoch import Cancelled, Epoch
from .flow import Arrived, Frame, Incoming, Outgoing, Parcel
from .hello import Hello, LinkLimits, Place, pick
from .lanes import Lanes

__all__ = ["TRANSITIONS", "Broken", "Closed", "Event", "Hold", "Opened", "Session", "Speaker"]

MESSAGES = 64
"""How many messages and units leave with one frame: as many as a worker handles in one go."""

CHUNKS = 2048
"""How many chunks one frame has at most."""

CANCELS = 8
"""How many cancels leave with one frame: as JSON, each may have 9 KiB."""

HOLDS = 16
"""How many holds leave with one frame: each may have 1 KiB."""

SLACK = 2**17
"""How many bytes a frame may have beyond a window: cancels, and the heads of messages."""


class Speaker(IntEnum):
    """How far one side has come."""

    __hash__ = int.__hash__

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

    `resumed` says whether they go on from where they were.  `lost` was sent over a connection
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


@attrs.frozen
class Hold:
    """The other side has no room for events of a job that it has asked for; or has it again."""

    job_id: str
    held: bool


Event = Opened | Arrived | Cancelled | Hold | Closed | Broken


class Session:
    """One side of one connection."""

    __slots__ = (
        "_cancels_told",
        "_confirms",
        "_credited",
        "_epoch",
        "_farewell",
        "_first",
        "_greeting",
        "_heard",
        "_holds",
        "_in",
        "_limits",
        "_number",
        "_out",
        "_ping_due",
        "_pinged",
        "_pong",
        "_stirred",
        "_told",
        "_unconfirmed_since",
        "_window",
        "calm",
        "ours",
        "refused",
        "takes",
        "theirs",
    )

    def __init__(self, epoch: Epoch, limits: LinkLimits, now: float) -> None:
        """Begin a connection; others of the same epoch are over by that.

        Args:
            epoch: what is known from before.
            limits: what is taken here.
            now: the time, in seconds, of a clock that never goes back.
        """
        self._epoch = epoch
        self._limits = limits
        self._greeting = epoch.greet(limits)
        self._number = epoch.connections
        self.ours: Speaker = Speaker.SILENT
        self.theirs: Speaker = Speaker.SILENT
        self._in = tuple(Incoming(lane, epoch.had[lane], limits) for lane in Lane)
        self.refused: deque[Any] = deque()
        """What was to leave and is bigger than the other side takes; to be looked at and emptied."""

        self._out = tuple(
            Outgoing(lane, epoch.sent[lane], self.refused, keeping=epoch.keeping) for lane in Lane
        )
        # What the other side takes, once it has said so; and the smaller one of both windows.
        self.takes: LinkLimits = limits
        self._window = 0
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
        # The jobs whose events are to wait from now on, or no more.
        self._holds: dict[str, bool] = {}
        self._told: Credit | None = None
        # Whether more credit may be due than when that was looked at last.
        self._stirred = True
        self.calm: bool = False
        """Whether nothing is to leave but what is in the lanes: that was looked at, and nothing has
        happened since.  So it is between two small messages."""

        # Whether what was taken is to be told, though it is little.
        self._confirms = False
        # Since when cancels were told that are not confirmed.  That counts from the first credit on:
        # who has not said any may be kept by somebody else from listening.
        self._unconfirmed_since: float | None = None
        self._credited = False

    @property
    def is_open(self) -> bool:
        """Whether messages may go both ways."""
        return self.ours is self.theirs is Speaker.TALKING

    @property
    def _is_over(self) -> bool:
        # What it had or sent now, the next one would not know.
        return self._number != self._epoch.connections

    @property
    def _has_heard_hello(self) -> bool:
        return self._window > 0

    # What comes in

    def receive(self, frame: bytes, now: float) -> list[Event]:
        """Take a frame; return what has happened.

        What happened before a rule was broken has happened: that is an event too, the last one,
        and no exception.
        """
        self._heard = now
        self._pinged = False
        # What nearly always comes if not much does; whatever else is the case, all is looked at.
        lone = chunks.read_message(frame)
        epoch = self._epoch
        if (
            lone is not None
            and self.theirs is Speaker.TALKING
            and self._number == epoch.connections
        ):
            lane, number, body = lone
            if self._in[lane].hear_lone(number, len(body)):
                epoch.answered = True
                arrived = Arrived(lane, body)
                return [arrived, *epoch.due()] if epoch.early else [arrived]
        return self._receive_chunks(frame)

    def _receive_chunks(self, frame: bytes) -> list[Event]:
        self._stir()
        events: list[Event] = []
        broken: list[Event] = []
        try:
            if self._is_over:
                raise RemoteWireError("another connection has taken the place of this one")
            if len(frame) > self._limits.window + SLACK:
                raise RemoteWireError(f"a frame of {len(frame)} bytes")
            for number, (kind, content) in enumerate(chunks.parse(frame)):
                if number >= CHUNKS:
                    raise RemoteWireError(f"a frame of more than {CHUNKS} chunks")
                following = TRANSITIONS[self.theirs].get(kind)
                if following is None:
                    raise RemoteWireError(f"{kind.name} from a side that is {self.theirs.name}")
                self.theirs = following
                if kind is not Kind.HELLO:
                    self._epoch.answered = True
                _RECEIVERS[kind](self, content, events)
        except RemoteWireError as error:
            self.theirs = Speaker.GONE
            broken.append(Broken(str(error)))
        # Once for a frame: they may be many, and so may its chunks.
        return events + (self._epoch.due() if self._epoch.early else []) + broken

    def taken(self, lane: Lane) -> None:
        """Take note that the oldest message of a lane was delivered."""
        if self._in[lane].take():
            self._stir()

    def _stir(self) -> None:
        self._stirred = True
        self.calm = False

    def _hear_hello(self, said: dict[str, Any], events: list[Event]) -> None:
        hello, epoch, ours = Hello.read(said), self._epoch, self._greeting
        self.takes = hello.limits
        agreed = self._limits.with_peer(hello.limits)
        self._window = agreed.window
        for lane in Lane:
            self._in[lane].agree(agreed)
            self._out[lane].agree(agreed, hello.limits.message_size)
        resumed, lost = ours.knows(hello), ()
        if resumed:
            epoch.resume(hello.sent, hello.had)
        else:
            lost = epoch.begin(hello.sent)
            # Where one of both keeps nothing, there is nothing to go on with.
            epoch.meeting = ours.meet(hello) if ours.keeps and hello.keeps else None
        self._cancels_told = epoch.cancels_confirmed
        events.append(Opened(resumed, lost))

    def _hear_credit(self, credit: Credit, events: list[Event]) -> None:
        del events
        for lane in Lane:
            self._out[lane].hear_credit(credit.lanes[lane])
        if not self._credited:
            self._credited = True
            if self._unconfirmed_since is not None:
                self._unconfirmed_since = self._heard
        epoch, told = self._epoch, self._cancels_told
        confirmed = epoch.cancels_confirmed
        epoch.confirm_cancels(credit.cancels_taken, told)
        if epoch.cancels_confirmed == told:
            self._unconfirmed_since = None
        elif epoch.cancels_confirmed > confirmed:
            self._unconfirmed_since = self._heard

    def _hear_messages(self, messages: Messages, events: list[Event]) -> None:
        self._in[messages.lane].hear_messages(messages, events)

    def _hear_unit(self, unit: Unit, events: list[Event]) -> None:
        self._in[unit.lane].hear_unit(unit, events)

    def _hear_abandon(self, unit: Unit, events: list[Event]) -> None:
        del events
        self._in[unit.lane].hear_abandon(unit.id)

    def _hear_cancels(self, said: dict[str, Any], events: list[Event]) -> None:
        first, cancels = _read_cancels(said)
        had = self._epoch.cancels_had
        if not 1 <= first <= had + 1:
            raise RemoteWireError(f"cancel {first} after {had}")
        new = cancels[had + 1 - first :]
        events.extend(self._epoch.take_cancels(new))
        if len(self._epoch.early) > self._limits.messages:
            raise RemoteWireError(f"{len(self._epoch.early)} cancels of jobs not asked for")

    def _hear_hold(self, said: tuple[str, bool], events: list[Event]) -> None:
        events.append(Hold(*said))

    def _hear_ping(self, number: int, events: list[Event]) -> None:
        del events
        self._pong = number

    def _hear_pong(self, number: int, events: list[Event]) -> None:
        """Do nothing: that something was heard is all that is wanted."""

    def _hear_goodbye(self, said: dict[str, Any], events: list[Event]) -> None:
        code, reason = said.get("code"), said.get("reason")
        if type(code) is not int or not 1000 <= code <= 4999 or not isinstance(reason, str):
            raise RemoteWireError(f"a goodbye that cannot be read: {said!r:.200}")
        # Who has not said hello speaks of what somebody else has sent.
        if (had := said.get("had")) is not None and self._has_heard_hello:
            self._epoch.confirm_arrived(_read_place(had))
        events.append(Closed(code, reason[:200]))

    # What goes out

    def cancel(self, cancelled: Cancelled) -> bool:
        """Tell the other side with the next frame that a job is cancelled.

        Returns:
            Whether its request has not left to its end, and will not.
        """
        self.calm = False
        self._epoch.cancels_sent += 1
        self._epoch.cancels.append(cancelled)
        return self._out[Lane.DATA].abandon(cancelled.after)

    def hold(self, job_id: str, *, held: bool) -> None:
        """Tell the other side whether the events of a job that it does are to wait."""
        self.calm = False
        self._holds[job_id] = held

    @property
    def due(self) -> bool:
        """Whether there is something to say that is in no lane.

        If that is a goodbye, it may have to wait for what is in the lanes.
        """
        if self.calm:
            return False
        if self.ours is Speaker.SILENT:
            return True
        if self._farewell is not None and self.ours is Speaker.TALKING:
            return True
        data, system, reply = self._out
        return self.is_open and (
            self._pong is not None
            or self._ping_due
            or self._cancels_told < self._epoch.cancels_sent
            or len(self._holds) > 0
            or self._credit_is_due
            or data.due
            or system.due
            or reply.due
        )

    def has_more(self, lanes: Lanes[Any]) -> bool:
        """Tell whether anything is to leave, for which there may be credit or not."""
        if len(lanes) > 0:
            return True
        if self.calm:
            return False
        data, system, reply = self._out
        more = self.due or data.has_begun or system.has_begun or reply.has_begun
        self.calm = self.is_open and not more
        return more

    def close(self, code: int, reason: str) -> None:
        """Say goodbye when nothing is left to leave: with the next frame, or a later one."""
        self.calm = False
        self._farewell = (code, reason)

    def part(self, code: int, reason: str) -> bytes:
        """Say goodbye now, whatever is left to leave; empty if nothing was said, or that already."""
        if self.ours is not Speaker.TALKING:
            return b""
        self.calm = False
        return self._goodbye(code, reason)

    def leave_alone(self, lane: Lane, parcel: Parcel, now: float) -> bytes:
        """Let a message leave that need not wait in its lane; return its frame.

        It is empty if the message has to: something else is to leave, or there is no credit.
        Nothing may be in the lanes.
        """
        if not self.calm or self._number != self._epoch.connections:
            return b""
        return self._out[lane].leave_alone(parcel, now)

    def next_frame(self, lanes: Lanes[Any], now: float) -> bytes:
        """Return what leaves now, and take it out of `lanes`; empty if there is nothing."""
        said: list[bytes] = []
        self.calm = False
        if self._is_over:
            return b""
        if self.ours is Speaker.SILENT:
            said.append(self._hello())
        if self.is_open:
            hurry = self._cancels_told < self._epoch.cancels_sent
            self._say_what_is_due(said, now)
            self._let_messages_leave(said, lanes, now, hurry=hurry)
        if self._farewell is not None and self._is_done(lanes):
            said.append(self._goodbye(*self._farewell))
        return b"".join(said)

    def check(self, now: float) -> float:
        """See to a silent peer; return when to look again.  After it something may be due.

        Who keeps what was sent is told now of all that was taken, so that it does not take for lost
        what has arrived long ago.

        Raises:
            RemoteWireError: nothing was heard for two heartbeats.
        """
        # Sums and no differences: rounded, those could ask for another look in this instant.
        heard, beat = self._heard, self._limits.heartbeat
        if now >= heard + 2 * beat:
            raise RemoteWireError(f"nothing was heard for {now - heard:.3f} s, two heartbeats")
        since = self._unconfirmed_since
        if since is not None and self._credited and now >= since + 2 * beat:
            raise RemoteWireError(f"cancels were not confirmed for {now - since:.3f} s")
        if self._epoch.meeting is not None and self._told is not None:
            taken = zip(self._epoch.had, self._told.lanes, strict=True)
            self._confirms = any(had.taken > told.taken for had, told in taken)
            self._stirred = self._stirred or self._confirms
            self.calm = False
        if now < heard + beat:
            return heard + beat
        self._ping_due = self.is_open and not self._pinged
        self.calm = False
        return heard + 2 * beat

    def _is_done(self, lanes: Lanes[Any]) -> bool:
        """Tell whether nothing is left to leave, or nobody takes it any more."""
        if self.ours is not Speaker.TALKING:
            return False
        return self.theirs is Speaker.GONE or (
            self._cancels_told >= self._epoch.cancels_sent
            and all(lane.is_empty(lanes) for lane in self._out)
        )

    def _hello(self) -> bytes:
        self.ours = TRANSITIONS[self.ours][Kind.HELLO]
        return chunks.write_json(Kind.HELLO, attrs.asdict(self._greeting))

    def _goodbye(self, code: int, reason: str) -> bytes:
        self.ours = TRANSITIONS[self.ours][Kind.GOODBYE]
        said: dict[str, Any] = {"code": code, "reason": reason}
        if self._has_heard_hello:
            said["had"] = attrs.asdict(self._epoch.arrived())
        return chunks.write_json(Kind.GOODBYE, said)

    def _say_holds(self, said: list[bytes]) -> None:
        told = tuple(islice(self._holds, HOLDS))
        said.extend(chunks.write_hold(job_id, self._holds.pop(job_id)) for job_id in told)

    def _say_what_is_due(self, said: list[bytes], now: float) -> None:
        if self._holds:
            self._say_holds(said)
        if not self._holds:
            # With more credit the other side could send more than a hold allows for.
            self._say_credit(said)
        epoch = self._epoch
        if self._cancels_told < epoch.cancels_sent:
            start = self._cancels_told - epoch.cancels_confirmed
            new = [attrs.astuple(each) for each in islice(epoch.cancels, start, start + CANCELS)]
            first = self._cancels_told + 1
            said.append(chunks.write_json(Kind.CANCEL, {"first": first, "jobs": new}))
            self._cancels_told += len(new)
            if self._unconfirmed_since is None:
                self._unconfirmed_since = now
        if self._ping_due:
            self._ping_due, self._pinged = False, True
            said.append(chunks.write_token(Kind.PING, 0))
        if self._pong is not None:
            said.append(chunks.write_token(Kind.PONG, self._pong))
            self._pong = None

    def _say_credit(self, said: list[bytes]) -> None:
        # All of it if any of it is worth a chunk.
        if self._credit_is_due:
            data, system, reply = (lane.tell_credit() for lane in self._in)
            self._told = Credit((data, system, reply), self._epoch.cancels_had)
            self._confirms = self._stirred = False
            said.append(chunks.write_credit(self._told))

    @property
    def _credit_is_due(self) -> bool:
        if not self._stirred:
            return False
        told = self._told
        if self._confirms or told is None or told.cancels_taken != self._epoch.cancels_had:
            return True
        data, system, reply = self._in
        self._stirred = data.credit_is_due or system.credit_is_due or reply.credit_is_due
        return self._stirred

    def _let_messages_leave(
        self, said: list[bytes], lanes: Lanes[Any], now: float, *, hurry: bool
    ) -> None:
        frame = Frame(self._window // 4, MESSAGES, now, said)
        joined: list[Lane] = []
        for lane in _ORDER[self._first]:
            if hurry and lane is not Lane.SYSTEM:
                # The frame is taken as a whole: what is behind it would delay what is urgent.
                frame.room = min(frame.room, self._window // 64)
            if not self._out[lane].is_empty(lanes) and self._out[lane].fill(frame, lanes):
                joined.append(lane)
                hurry = hurry or lane is Lane.SYSTEM
        if self._first in joined:
            self._first = Lane.REPLY if self._first is Lane.DATA else Lane.DATA


# Neither data nor replies may keep the other from leaving.
_ORDER = {
    Lane.DATA: (Lane.SYSTEM, Lane.DATA, Lane.REPLY),
    Lane.REPLY: (Lane.SYSTEM, Lane.REPLY, Lane.DATA),
}


def _read_place(said: Any) -> Place:
    try:
        return cast("Place", pick(Place, said))
    except (KeyError, TypeError, ValueError) as error:
        raise RemoteWireError(f"no numbers of messages ({error!r:.200}): {said!r:.200}") from None


def _are_rows(said: object) -> TypeGuard[list[list[Any]]]:
    return isinstance(said, list) and all(
        isinstance(each, list) for each in cast("list[object]", said)
    )


def _read_cancels(said: dict[str, Any]) -> tuple[int, list[Cancelled]]:
    first: Any = said.get("first")
    jobs: Any = said.get("jobs")
    try:
        if type(first) is int and _are_rows(jobs):
            return first, [Cancelled(*job) for job in jobs]
    except (TypeError, ValueError):
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
    Kind.HOLD: Session._hear_hold,
}
