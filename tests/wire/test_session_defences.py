"""The native dialect's session: what it does when the other side lies, and at the edges."""

from __future__ import annotations

import re
from math import inf

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wire.sides import LIMITS, Side, changed_hello, pair, reconnect, settle
from trioworkers.errors import RemoteWireError
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Credit, Kind, Lane, LaneCredit
from trioworkers.wire.epoch import Cancelled
from trioworkers.wire.flow import Arrived
from trioworkers.wire.hello import LinkLimits, Place
from trioworkers.wire.session import (
    CANCELS,
    CHUNKS,
    HOLDS,
    MESSAGES,
    SLACK,
    Broken,
    Closed,
    Opened,
)

HUGE = LaneCredit(2**64 - 1, 2**64 - 1, 0)


def broken(side: Side) -> str:
    """Return by what a side found its peer breaking the rules, last."""
    event = side.events[-1]
    assert isinstance(event, Broken), event
    return event.reason


def everywhere(credit: LaneCredit, cancels: int = 0) -> Credit:
    """Return the same credit for all lanes."""
    return Credit((credit, credit, credit), cancels)


def texts(*numbers: int) -> list[bytes]:
    """Return short messages."""
    return [b"%d" % number for number in numbers]


# Going on over another connection


def test_a_hello_does_not_learn_from_the_other_one() -> None:
    """PROXY-8: who hears before it speaks does not pretend to have had what it has only heard of."""
    left, _ = pair(keeping=True)
    left.put(Lane.DATA, b"lost")
    stranger = Side("stranger", keeping=True)
    left.say(stranger)
    stranger.coming.clear()
    left.connect()
    left.say(stranger)
    stranger.hear()
    settle(left, stranger)
    assert left.lost == [b"lost"]


def test_only_who_names_the_same_meeting_goes_on() -> None:
    """PROXY-8: somebody who was met in between makes both begin anew, and that is told to both."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, b"1")
    right.put(Lane.DATA, b"2")
    left.say(right)
    right.say(left)
    third = Side("third", keeping=True)
    reconnect(right, third)
    right.put(Lane.DATA, b"3")
    settle(right, third)
    reconnect(left, right)
    right.put(Lane.DATA, b"4")
    left.put(Lane.DATA, b"5")
    settle(left, right)
    assert (left.lost, right.lost) == ([b"1"], [b"2", b"3"])
    assert (left.arrived[Lane.DATA], right.arrived[Lane.DATA]) == ([b"4"], [b"5"])


def test_what_is_not_delivered_is_kept_over_a_reconnection() -> None:
    """PROXY-8: what had arrived, but was not delivered when its receiver ended, is told as lost."""
    left, right = pair(keeping=True)
    for body in texts(1, 2, 3):
        left.put(Lane.DATA, body)
    settle(left, right)
    right.take(Lane.DATA)
    reconnect(left, right)
    settle(left, right)
    assert left.lost == []
    right.start()
    left.connect()
    settle(left, right)
    assert left.lost == texts(2, 3)


def test_a_request_that_is_given_up_is_not_sent_again() -> None:
    """PROXY-8: a cancel that said that its request will not arrive is right over the next link."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, bytes(900))
    left.put(Lane.DATA, b"next")
    left.say(right)
    assert left.session.cancel(Cancelled("job", None, "left", 1))
    reconnect(left, right)
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"next"]
    assert [each.job_id for each in right.cancels] == ["job"]


def test_a_request_that_is_to_be_sent_again_can_be_given_up() -> None:
    """PROXY-8: what the other side has not had need not be sent again if it is cancelled."""
    left, right = pair(keeping=True)
    for body in texts(1, 2, 3):
        left.put(Lane.DATA, body)
    left.say(right)
    reconnect(left, right)
    right.say(left)
    left.hear()
    assert left.session.cancel(Cancelled("job", None, "left", 2))
    assert not left.session.cancel(Cancelled("again", None, "left", 2)), "it was already"
    settle(left, right, taking=True)
    assert right.arrived[Lane.DATA] == texts(1, 3)
    assert right.epoch.had[Lane.DATA].taken == 3


def test_what_was_given_up_is_not_lost() -> None:
    """PROXY-8: nobody is told of the loss of what nobody wanted any more."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, bytes(900))
    left.say(right)
    left.session.cancel(Cancelled("job", None, "left", 1))
    right.start()
    left.connect()
    settle(left, right)
    assert left.lost == []


def test_a_side_that_keeps_nothing_does_not_go_on() -> None:
    """PROXY-8: only where both sides keep what they know, they go on over the next connection."""
    left, right = Side("left", keeping=True), Side("right")
    settle(left, right)
    left.put(Lane.DATA, b"lost")
    left.say(right)
    reconnect(left, right)
    settle(left, right)
    assert left.lost == [b"lost"]
    assert Opened(True, ()) not in left.events + right.events


def test_what_waits_to_be_delivered_counts_for_the_next_peer_too() -> None:
    """S-PROXY-4: one peer after the other cannot make this side hold more than it takes."""
    left, right = pair(keeping=True)
    for body in texts(*range(6)):
        left.put(Lane.DATA, body)
    settle(left, right)
    left.start()
    right.connect()
    for body in texts(*range(6, 15)):
        left.put(Lane.DATA, body)
    settle(left, right)
    assert right.arrived[Lane.DATA] == texts(*range(8)), "8 are held"
    settle(left, right, taking=True)
    assert right.arrived[Lane.DATA] == texts(*range(15))


NOWHERE = Place(0, 0, 0, 0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"sent": NOWHERE}, "0 messages of lane DATA are said to have been sent, and 3 have come"),
        ({"had": NOWHERE}, "message 0 of lane DATA .* and 3 were sent, of which 1 are kept"),
        ({"had": Place(4, 0, 0, 0)}, "message 4 of lane DATA .* and 3 were sent"),
        ({"had": Place(3, 0, 0, 9)}, "9 cancels were taken, and 0 were sent"),
    ],
)
def test_lies_about_where_one_was(change: dict[str, Place], says: str) -> None:
    """PROXY-8: who cannot be where it says it is is told so, and the next connection begins anew."""
    left, right = pair(keeping=True, limits=attrs.evolve(LIMITS, messages=4))
    for number in range(3):
        left.put(Lane.DATA, b"%d" % number)
        right.put(Lane.DATA, b"%d" % number)
    settle(left, right)
    for side in (left, right):
        for _ in range(2):
            side.take(Lane.DATA)
    settle(left, right)
    reconnect(left, right)
    with changed_hello(right, **change):
        right.say(left)
    left.hear()
    assert re.search(says, broken(left))
    reconnect(left, right)
    settle(left, right)
    assert right.session.is_open
    assert (left.lost, right.lost) == ([b"2"], [b"2"])


def test_a_frame_that_is_cut_at_any_byte() -> None:
    """PROXY-8: wherever the last frame of a connection ends, each message arrives once."""
    for end in range(400):
        left, right = pair(keeping=True)
        bodies = [b"1", b"2" * 20, b"3"]
        for body, deadline in zip(bodies, (inf, 5.0, inf), strict=True):
            left.put(Lane.DATA, body, deadline)
        left.put(Lane.REPLY, b"r" * 30)
        left.session.cancel(Cancelled("job", None, "left", 1))
        frame = left.say(right)
        right.coming.clear()
        right.coming.append(frame[:end])
        right.hear()
        reconnect(left, right)
        settle(left, right)
        assert right.arrived[Lane.DATA] == bodies
        assert right.arrived[Lane.REPLY] == [b"r" * 30]
        assert len(right.cancels) == 1
        if end > len(frame):
            break
    else:
        pytest.fail("the frame is longer than that")


def test_a_connection_whose_place_was_taken() -> None:
    """PROXY-8: what comes or would leave over an older connection is left to the next one."""
    left, right = pair(keeping=True)
    old = left.session, right.session
    left.put(Lane.DATA, b"on its way")
    left.say(right)
    left.put(Lane.DATA, b"waiting")
    frame = right.coming.popleft()
    reconnect(left, right)
    assert old[0].next_frame(left.lanes, 0) == b""
    (event,) = old[1].receive(frame, 0)
    assert event == Broken("another connection has taken the place of this one")
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"on its way", b"waiting"]


def test_a_goodbye_of_somebody_who_was_not_met() -> None:
    """PROXY-8: what was sent to one is not confirmed by another who only says goodbye."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, b"kept")
    left.say(right)
    left.connect()
    had = attrs.asdict(Place(1, 0, 0, 0))
    left.coming.append(
        chunks.write_json(Kind.GOODBYE, {"code": 1013, "reason": "later", "had": had})
    )
    assert left.hear() == [Closed(1013, "later")]
    reconnect(left, right)
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"kept"]


def test_a_goodbye_to_somebody_who_was_not_met() -> None:
    """PROXY-8: who says goodbye before it has heard a hello says nothing of what somebody else sent."""
    left, right = pair(keeping=True)
    right.put(Lane.DATA, b"data")
    settle(left, right)
    third = Side("third", keeping=True)
    left.connect()
    left.session.close(1000, "no")
    left.say(third)
    assert third.hear() == [Opened(False, ()), Closed(1000, "no")]


# Limits


def test_the_smaller_limits_count() -> None:
    """S-PROXY-6: of windows and numbers of messages, the smaller ones of both sides count."""
    left = Side("left", limits=LinkLimits(message_size=10**6, window=10**6, messages=100))
    right = Side("right", limits=attrs.evolve(LIMITS, window=64, messages=3))
    settle(left, right)
    for side, other in ((left, right), (right, left)):
        for _ in range(5):
            side.put(Lane.DATA, b"data")
            side.put(Lane.REPLY, bytes(100))
        while side.say(other):
            pass
        sizes = [
            sum(map(len, content.bodies if kind is Kind.MESSAGES else [content.piece]))
            for frame in other.coming
            for kind, content in chunks.parse(frame)
        ]
        assert 0 < sum(sizes) <= 64
        settle(left, right)
        assert len(other.arrived[Lane.DATA]) == 3


@pytest.mark.parametrize("messages", [1, 2, 3])
def test_the_smallest_window(messages: int) -> None:
    """S-PROXY-6: with the smallest limits, everything still comes through, in both directions."""
    left, right = pair(limits=LinkLimits(message_size=1000, window=64, messages=messages))
    for side in (left, right):
        for lane in Lane:
            for body in (b"", b"x" * 1000, b"y", b"z" * 8, b"", b"z" * 9):
                side.put(lane, body)
    settle(left, right, taking=True)
    for side in (left, right):
        for lane in Lane:
            assert len(side.arrived[lane]) == 6


def test_a_message_that_is_too_big_for_the_other_side() -> None:
    """S-PROXY-4: what the other side would not take is given back, and what follows leaves."""
    left = Side("left", keeping=True)
    right = Side("right", keeping=True, limits=attrs.evolve(LIMITS, message_size=300))
    for lane in Lane:
        left.put(lane, b"first")
        left.put(lane, bytes(301))
        left.put(lane, bytes(300))
    settle(left, right, taking=True)
    assert left.refused == [bytes(301)] * 3
    for lane in Lane:
        assert right.arrived[lane] == [b"first", bytes(300)]
        assert right.epoch.had[lane].taken == 3
    assert not left.session.refused
    right.start()
    left.connect()
    settle(left, right)
    assert left.lost == []


def test_a_peer_takes_less_than_before() -> None:
    """PROXY-8: what is to be sent again, but is too big by now, is given back as well."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, bytes(90))
    left.put(Lane.DATA, b"next")
    left.say(right)
    right.limits = attrs.evolve(LIMITS, message_size=80)
    reconnect(left, right)
    settle(left, right)
    assert left.refused == [bytes(90)]
    assert right.arrived[Lane.DATA] == [b"next"]


def test_credit_without_bounds() -> None:
    """S-PROXY-4: whatever credit a peer gives and never takes back, what is kept is bounded."""
    left, right = Side("left", keeping=True), Side("right", keeping=True)
    with changed_hello(right, limits=LinkLimits(2**31, 2**31, 2**31)):
        right.say(left)
    left.say(right)
    left.hear()
    left.coming.append(chunks.write_credit(everywhere(HUGE)))
    left.hear()
    for number in range(100):
        for lane in Lane:
            left.put(lane, bytes(number % 7 * 40))
    while left.say(right):
        pass
    for sent in left.epoch.sent:
        assert 0 < len(sent.unconfirmed) <= LIMITS.messages
        assert sent.kept < LIMITS.window + 300
    left.coming.append(chunks.write_credit(everywhere(HUGE._replace(taken=3))))
    left.hear()
    assert left.say(right), "there is room again"


def test_credit_that_goes_back() -> None:
    """S-PROXY-4: credit that was given stays given; less of it changes nothing."""
    left, right = pair()
    less = LaneCredit(0, 0, 0)
    left.coming.append(chunks.write_credit(everywhere(less)))
    left.hear()
    left.put(Lane.DATA, b"data")
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"data"]


def test_large_numbers() -> None:
    """S-PROXY-4: numbers that begin as high as they may are counted on from."""
    left, right = Side("left", keeping=True), Side("right", keeping=True)
    left.epoch.cancels_sent = 2**62
    for sent in left.epoch.sent:
        sent.next = 2**62 + 1
    left.connect()
    settle(left, right)
    for lane in Lane:
        left.put(lane, b"x")
    left.session.cancel(Cancelled("job", None, "left", 2**62 + 1))
    settle(left, right, taking=True)
    assert all(right.arrived[lane] == [b"x"] for lane in Lane)
    assert len(right.cancels) == 1


@settings(deadline=None, max_examples=20)
@given(
    window=st.sampled_from([400, 10**4, 2**24]),
    items=st.lists(
        st.tuples(st.integers(1, 700), st.sampled_from(Lane), st.booleans(), st.integers(0, 40)),
        max_size=3,
    ),
    cancels=st.integers(0, 3 * CANCELS),
    holds=st.integers(0, 3 * HOLDS),
)
def test_no_frame_is_larger_than_the_other_side_takes(
    window: int, items: list[tuple[int, Lane, bool, int]], cancels: int, holds: int
) -> None:
    """S-PROXY-4: however many messages, cancels and holds there are, a frame is within the rules."""
    left, right = pair(limits=LinkLimits(window=window, messages=10**6))
    for count, lane, meta, size in items:
        for _ in range(count):
            left.put(lane, bytes(size), 5.0 if meta else inf)
    for _ in range(cancels):
        left.session.cancel(Cancelled("\U0001f600" * 256, "\0" * 256, "\U0001f600" * 256))
    for number in range(holds):
        left.session.hold(f"{number:04}" + "\U0001f600" * 255, held=True)
    while frame := left.say(right):
        assert len(frame) <= window + SLACK
        assert len(list(chunks.parse(frame))) <= CHUNKS
        assert not any(isinstance(event, Broken) for event in right.hear())
        right.say(left)
        left.hear()
    assert len(right.cancels) == cancels
    assert len(right.holds) == holds


def test_how_many_messages_a_frame_has() -> None:
    """S-PROXY-6: the smallest of messages do not all leave at once."""
    left, right = pair(limits=LinkLimits(messages=10**6))
    for _ in range(MESSAGES + 1):
        left.put(Lane.DATA, b"")
    left.say(right)
    right.hear()
    assert len(right.arrived[Lane.DATA]) == MESSAGES


@pytest.mark.parametrize("field", ["job_id", "reason", "path"])
def test_texts_of_a_cancel_are_short(field: str) -> None:
    """S-PROXY-4: a cancel has no text that would make a frame too large."""
    said = {"job_id": "job", "reason": None, "path": "left", field: "x" * 257}
    with pytest.raises(ValueError, match=field):
        Cancelled(**said)


# Meta


def test_the_longest_meta() -> None:
    """S-PROXY-6: a meta may be as long as it may; what traces a message is left out beyond that."""
    left, right = pair(limits=LinkLimits(message_size=10))
    room = chunks.META - len(b'{"seconds":5.0,"trace":{"a":""}}')
    for size in (room, room + 1):
        left.put(Lane.DATA, b"x" * 10, 5.0, {"a": "x" * size})
    settle(left, right)
    assert right.events[1:] == [
        Arrived(Lane.DATA, b"x" * 10, 5.0, {"a": "x" * room}),
        Arrived(Lane.DATA, b"x" * 10, 5.0, None),
    ]


@pytest.mark.parametrize("seconds", ["true", "-1", "1e999", "1" + "0" * 400, '"soon"', "[]"])
def test_times_that_are_none(seconds: str) -> None:
    """S-PROXY-4: the time left to a message is a number that one can count with."""
    _, right = pair(limits=LinkLimits())
    meta = b'{"seconds":' + seconds.encode() + b"}"
    whole = len(meta).to_bytes(4, "big") + meta
    right.coming.append(chunks.write_envelope(Lane.DATA, 1, whole))
    right.hear()
    assert "the time left to a message must be a number of seconds" in broken(right)


# Cancels


def test_cancels_do_not_outlive_their_jobs() -> None:
    """S-PROXY-6: who begins anew is not told of cancels that were for somebody else."""
    left, right = pair(keeping=True)
    left.session.cancel(Cancelled("old", None, "left"))
    left.say(right)
    right.start()
    left.connect()
    settle(left, right)
    left.session.cancel(Cancelled("new", None, "left"))
    settle(left, right)
    assert [each.job_id for each in right.cancels] == ["new"]
    assert not left.epoch.cancels


def test_cancels_that_were_not_told() -> None:
    """S-PROXY-4: nobody has had a cancel that it was not told of."""
    left, right = pair()
    left.session.cancel(Cancelled("job", None, "left"))
    nothing = LaneCredit(1, 1, 0)
    left.coming.append(chunks.write_credit(everywhere(nothing, 1)))
    left.hear()
    assert broken(left) == "1 cancels were taken, and 0 were sent"
    settle(left, right)


def test_cancels_are_confirmed_in_time() -> None:
    """S-PROXY-6: a peer that lives, but does not confirm cancels, is given up."""
    left, right = pair()
    for number in range(2):
        left.session.cancel(Cancelled(f"job-{number}", None, "left"))
        left.say(right, now=3)
    nothing = LaneCredit(1, 1, 0)
    for now, confirmed in ((10, 0), (18, 1), (30, 1), (37, 1)):
        left.coming.append(chunks.write_credit(everywhere(nothing, confirmed)))
        left.hear(now)
        left.session.check(now)
    with pytest.raises(RemoteWireError, match=r"cancels were not confirmed for 20\.000 s"):
        left.session.check(38)
    left.coming.append(chunks.write_credit(everywhere(nothing, 2)))
    left.hear(38)
    left.session.check(40)


def test_cancels_are_not_waited_for_before_there_is_credit() -> None:
    """S-PROXY-6: a peer that has not begun to listen is not given up, as long as it shows life."""
    left, right = pair(keeping=True)
    left.session.cancel(Cancelled("job", None, "left"))
    left.connect()
    right.connect()
    right.say(left)
    left.hear()
    left.say(right)
    for now in range(8, 64, 8):
        left.coming.append(chunks.write_token(Kind.PING, 0))
        left.hear(now)
        left.session.check(now)
    for now in (60, 70, 79):
        left.coming.append(chunks.write_credit(everywhere(LaneCredit(1, 1, 0), 0)))
        left.hear(now)
        left.session.check(now)
    with pytest.raises(RemoteWireError, match=r"cancels were not confirmed for 20\.000 s"):
        left.session.check(80)


def test_a_close_lets_cancels_leave() -> None:
    """S-PROXY-6: a goodbye comes behind all cancels, however many frames they take."""
    left, right = pair()
    for number in range(3 * CANCELS):
        left.session.cancel(Cancelled(f"job-{number}", None, "left"))
    left.session.close(1000, "done")
    settle(left, right)
    assert len(right.cancels) == 3 * CANCELS
    assert right.events[-1] == Closed(1000, "done")


@pytest.mark.parametrize("code", [True, 999, 5000, 10**400, 1000.0, None])
def test_codes_that_are_none(code: object) -> None:
    """S-PROXY-4: the code of a goodbye is one that a WebSocket can be closed with."""
    _, right = pair()
    right.coming.append(chunks.write_json(Kind.GOODBYE, {"code": code, "reason": ""}))
    right.hear()
    assert "a goodbye that cannot be read" in broken(right)


# Turns


def test_nobody_starves_who_asks_twice() -> None:
    """S-PROXY-6: a frame in which nothing leaves does not cost a lane its turn."""
    left, right = pair(limits=LinkLimits(window=800, messages=10**6))
    for _ in range(20):
        left.put(Lane.DATA, bytes(100))
        left.put(Lane.REPLY, bytes(100))
    left.coming.append(chunks.write_credit(everywhere(HUGE)))
    left.hear()
    lanes = []
    while frame := left.session.next_frame(left.lanes, 0):
        lanes += [content.lane for _, content in chunks.parse(frame)]
        waiting, left.lanes = left.lanes, Side("empty").lanes
        assert not left.session.next_frame(left.lanes, 0)
        left.lanes = waiting
    assert lanes == [Lane.DATA, Lane.REPLY] * 10
    del right


def test_what_is_due_of_what_has_begun() -> None:
    """S-PROXY-6: what is in no lane any more, but has not left, is due as soon as it may leave."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, bytes(900))
    left.say(right)
    assert left.session.due
    left.say(right)
    assert not left.session.due, "there is no credit"
    assert left.session.has_more(left.lanes)
    right.hear()
    right.say(left)
    left.hear()
    assert left.session.due
    assert left.session.cancel(Cancelled("job", None, "left", 1))
    settle(left, right)
    assert not left.session.has_more(left.lanes)
    for _ in range(3):
        left.put(Lane.DATA, bytes(90))
    left.say(right)
    reconnect(left, right)
    left.say(right)
    right.say(left)
    left.hear()
    left.say(right)
    assert not left.session.due, "there is no credit"
    small = LaneCredit(9, 50, 0)
    left.coming.append(chunks.write_credit(everywhere(small, 1)))
    left.hear()
    assert not left.session.due, "there is not enough"
    left.coming.append(chunks.write_credit(everywhere(LaneCredit(1, 500, 0), 1)))
    left.hear()
    assert left.session.due
    assert left.session.has_more(left.lanes)


def test_numbers_begin_with_one() -> None:
    """S-PROXY-4: there is no message 0."""
    _, right = pair()
    right.coming.append(chunks.write_messages(Lane.DATA, 0, [b"x"]))
    right.hear()
    assert broken(right) == "message 0 of lane DATA after 0"
