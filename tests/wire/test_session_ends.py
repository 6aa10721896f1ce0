"""The native dialect's session: how it ends for good, and who may go on with it."""

from __future__ import annotations

import pytest

from tests.wire.sides import Parcel, Side, pair, reconnect, settle
from trioworkers.errors import RemoteWireError
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind, Lane
from trioworkers.wire.epoch import Cancelled, Epoch
from trioworkers.wire.flow import Arrived
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.session import Broken, Closed, Opened, Session


def kept(side: Side) -> list[bytes]:
    """Return what a side would report as lost."""
    return [parcel.frame for lane in side.epoch.sent for parcel in lane.forget()]


def test_what_has_arrived_at_a_goodbye_is_not_lost() -> None:
    """S-PROXY-8: a goodbye confirms what has arrived, told to be taken or not; the rest is lost."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, b"taken")
    left.put(Lane.REPLY, b"arrived")
    settle(left, right)
    right.take(Lane.DATA)
    right.session.close(1000, "done")
    left.put(Lane.DATA, b"on its way")
    left.session.next_frame(left.lanes, 0)
    right.say(left)
    assert left.hear()[-1] == Closed(1000, "done")
    assert kept(left) == [b"on its way"]


def test_parting_at_once() -> None:
    """S-PROXY-8: a side may part without a look at what is to leave; once, and after its hello."""
    left, right = pair(keeping=True)
    silent = Session(Epoch("silent"), LinkLimits(), 0.0)
    assert silent.part(1000, "") == b""
    left.put(Lane.DATA, b"stays")
    said = left.session.part(1008, "enough")
    assert right.session.receive(said, 0) == [Closed(1008, "enough")]
    assert left.session.part(1008, "once more") == b""
    assert not left.session.next_frame(left.lanes, 0)


@pytest.mark.parametrize(
    "had",
    [
        {"data": 1, "system": 0, "reply": 0, "cancels": 0},
        {"data": -1, "system": 0, "reply": 0, "cancels": 0},
        {"data": 0},
        7,
    ],
)
def test_a_goodbye_that_lies(had: object) -> None:
    """S-PROXY-6: a goodbye that confirms what was not sent, or cannot be read, breaks the rules."""
    left, _ = pair(keeping=True)
    said = {"code": 1000, "reason": "", "had": had}
    (broken,) = left.session.receive(chunks.write_json(Kind.GOODBYE, said), 0)
    assert isinstance(broken, Broken)


def test_a_goodbye_that_says_little() -> None:
    """S-PROXY-6: a goodbye need not say what has arrived; then nothing is confirmed."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, b"unknown")
    left.say(right)
    goodbye = chunks.write_json(Kind.GOODBYE, {"code": 1000, "reason": ""})
    assert left.session.receive(goodbye, 0) == [Closed(1000, "")]
    assert kept(left) == [b"unknown"]


@pytest.mark.parametrize(("one", "other"), [(True, False), (False, True), (False, False)])
def test_where_one_side_keeps_nothing(one: bool, other: bool) -> None:
    """S-PROXY-8: two sides go on only if both keep what they know; each learns that at once."""
    left, right = Side("left", keeping=one), Side("right", keeping=other)
    settle(left, right)
    assert left.epoch.meeting is right.epoch.meeting is None
    reconnect(left, right)
    settle(left, right)
    assert not [each for each in left.events if isinstance(each, Opened) and each.resumed]


def test_how_many_messages_were_sent_again() -> None:
    """S-PROXY-8: a side counts what it had to send more than once."""
    left, right = pair(keeping=True)
    for body in (b"one", b"two"):
        left.put(Lane.DATA, body)
    left.say(right)
    reconnect(left, right)
    settle(left, right, taking=True)
    assert right.arrived[Lane.DATA] == [b"one", b"two"]
    assert left.epoch.sent[Lane.DATA].repeated == 2
    reconnect(left, right)
    settle(left, right)
    assert left.epoch.sent[Lane.DATA].repeated == 2


def said(side: Side, body: bytes, *, urgent: bool = False) -> None:
    """Let something be said about one job."""
    parcel = Parcel(body)
    put = side.lanes.put_urgent if urgent else side.lanes.put
    put(parcel, len(body), "job")


def about_the_job(side: Side) -> list[bytes]:
    """Return the first byte of all that has arrived about jobs."""
    events = (event for event in side.events if isinstance(event, Arrived))
    return [event.body[:1] for event in events if event.lane is Lane.REPLY]


@pytest.mark.parametrize("urgent", [(True, False), (False, True), (True, False, True, False)])
@pytest.mark.parametrize("cuts", [0, 1, 2, 3, 5, 8])
def test_what_is_about_a_job_keeps_its_order(urgent: tuple[bool, ...], cuts: int) -> None:
    """S-JOB: neither size, urgency nor a cut lets what is about one job change its order."""
    left, right = pair(keeping=True)
    for n, each in enumerate(urgent):
        # Each in more pieces than may leave at once.
        said(left, bytes([n]) * 900, urgent=each)
        left.say(right)
    for cut in range(cuts):
        for _ in range(cut + 1):
            right.hear()
            right.say(left)
            left.hear()
            left.say(right)
        reconnect(left, right)
    settle(left, right, taking=True)
    assert about_the_job(right) == [bytes([n]) for n in range(len(urgent))]


def test_what_is_urgent_leaves_first() -> None:
    """S-JOB-5: an urgent event leaves before what waits to be said about other jobs."""
    left, right = pair()
    left.lanes.put(Parcel(b"other"), 5, "other")
    said(left, b"urgent", urgent=True)
    settle(left, right)
    assert right.arrived[Lane.REPLY] == [b"urgent", b"other"]


def test_no_look_is_asked_for_in_the_same_instant() -> None:
    """S-PROXY-6: whatever the clock says, a look at a silent peer is not repeated at once."""
    for tenths in range(1, 200):
        left, _ = pair()
        now = again = tenths / 10 + 0.03
        left.session.receive(chunks.write_token(Kind.PONG, 0), now)
        with pytest.raises(RemoteWireError, match="two heartbeats"):
            while True:
                now, again = again, left.session.check(again)
                assert again > now


def allowed(messages: int, size: int) -> bytes:
    """Return a frame of credit for the data lane."""
    nothing = chunks.LaneCredit(0, 0, 0)
    return chunks.write_credit(
        chunks.Credit((chunks.LaneCredit(messages, size, 0), nothing, nothing), 0)
    )


def test_what_is_to_leave_again_waits_for_credit() -> None:
    """S-PROXY-8: over the next connection too nothing leaves without credit, or is said to be due."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, b"again")
    left.session.next_frame(left.lanes, 0)
    reconnect(left, right)
    left.say(right)
    right.say(left)
    left.hear()
    left.session.next_frame(left.lanes, 0)
    assert not left.session.due, "no bytes"
    left.coming.append(allowed(0, 100))
    left.hear()
    assert not left.session.due, "no message"
    left.coming.append(allowed(1, 100))
    left.hear()
    assert left.session.due


@pytest.mark.parametrize("urgent", ["system message", "cancel"])
def test_little_leaves_behind_what_is_urgent(urgent: str) -> None:
    """S-PROXY-6: a frame is taken as a whole, so one with something urgent in it is short."""
    left, right = pair(limits=LinkLimits(window=2**16))
    for _ in range(50):
        left.put(Lane.DATA, bytes(500))
    if urgent == "cancel":
        left.session.cancel(Cancelled("job", None, "left"))
    else:
        left.put(Lane.SYSTEM, b"now")
    assert len(left.say(right)) < 2**16 // 64 + 200
    assert 2**16 // 8 < len(left.say(right)) < 2**16 // 4 + 200
    settle(left, right, taking=True)
    assert len(right.arrived[Lane.DATA]) == 50
