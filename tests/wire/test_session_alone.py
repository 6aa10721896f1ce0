"""A message that leaves past the lanes, as nothing else is to leave."""

from __future__ import annotations

from math import inf

import pytest

from tests.wire.sides import LIMITS, Parcel, Side, pair, reconnect, settle
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind, Lane
from trioworkers.wire.epoch import Cancelled
from trioworkers.wire.flow import Arrived
from trioworkers.wire.hello import LinkLimits


@pytest.mark.parametrize("lane", list(Lane))
def test_it_leaves_as_from_a_lane(lane: Lane) -> None:
    """S-PROXY-6: past the lanes a message has the same frame as from them."""
    one, other = pair()
    another, _ = pair()
    frame = one.send(other, lane, b"body")
    another.put(lane, b"body")
    assert frame == another.say(other) != b""
    other.coming.pop()
    assert other.hear() == [Arrived(lane, b"body")]


@pytest.mark.parametrize(
    ("deadline", "trace"), [(5.0, None), (inf, {"traceparent": "x"}), (5.0, {"a": "b"})]
)
def test_what_is_said_beside_it(deadline: float, trace: dict[str, str] | None) -> None:
    """S-PROXY-8: past the lanes a request has its time and its trace with it."""
    one, other = pair()
    assert one.send(other, Lane.DATA, b"body", deadline, trace, now=2.0)
    seconds = None if deadline == inf else deadline - 2.0
    assert other.hear() == [Arrived(Lane.DATA, b"body", seconds, trace)]


@pytest.mark.parametrize("size", [LIMITS.lane_window // 4 + 1, LIMITS.message_size + 1])
@pytest.mark.parametrize("deadline", [5.0, inf])
def test_a_large_one_goes_through_its_lane(size: int, deadline: float) -> None:
    """S-PROXY-6: what is no whole of one frame, or is not taken, has to wait in its lane."""
    one, other = pair()
    assert not one.send(other, Lane.DATA, b"x" * size, deadline)
    assert len(one.lanes) == 1


def test_one_whose_head_is_too_much() -> None:
    """S-PROXY-6: it is the whole, with what is said beside it, that has to be no bigger than a unit."""
    one, other = pair()
    body = b"x" * (LIMITS.lane_window // 4)
    assert not one.send(other, Lane.DATA, body, deadline=5.0)
    one, other = pair()
    assert one.send(other, Lane.DATA, body)


def test_no_credit() -> None:
    """S-PROXY-6: without credit a message has to wait in its lane, and takes no number."""
    one, other = pair()
    sent = [one.send(other, Lane.DATA, b"%d" % n) for n in range(LIMITS.messages + 1)]
    assert [bool(frame) for frame in sent] == [True] * LIMITS.messages + [False]
    assert one.epoch.sent[Lane.DATA].next == LIMITS.messages + 1
    while other.coming:
        other.hear()
    assert other.arrived[Lane.DATA] == [b"%d" % n for n in range(LIMITS.messages)]


def test_nothing_passes_what_is_due() -> None:
    """S-PROXY-6: what else is to leave goes before a message that is alone."""
    one, other = pair()
    one.session.cancel(Cancelled("job", None, "path"))
    assert not one.session.leave_alone(Lane.DATA, Parcel(b"body"), 0)
    one.say(other)
    assert one.send(other, Lane.DATA, b"body")
    one.coming.append(chunks.write_token(Kind.PING, 7))
    one.hear()
    assert not one.session.leave_alone(Lane.DATA, Parcel(b"body"), 0)
    assert one.session.has_more(one.lanes)


def test_nothing_follows_a_goodbye() -> None:
    """S-PROXY-6: after the goodbye of either side, and before the hello, nothing leaves alone."""
    one, other = pair()
    fresh = Side("c")
    assert not fresh.send(other, Lane.DATA, b"body")
    one.session.close(1000, "bye")
    assert not one.session.leave_alone(Lane.DATA, Parcel(b"body"), 0)
    one.say(other)
    while other.coming:
        other.hear()
    assert not other.session.has_more(other.lanes)
    assert not other.session.leave_alone(Lane.DATA, Parcel(b"body"), 0)


def test_another_connection_has_taken_its_place() -> None:
    """S-PROXY-6: what left over an old connection would have a number twice."""
    one, _ = pair(keeping=True)
    old = one.session
    assert not old.has_more(one.lanes)
    one.connect()
    assert not old.leave_alone(Lane.DATA, Parcel(b"body"), 0)


def test_it_is_kept_until_it_is_taken() -> None:
    """S-PROXY-7: at least once, what left alone is sent again over the next connection."""
    one, other = pair(keeping=True)
    assert one.send(other, Lane.DATA, b"lost")
    reconnect(one, other)
    settle(one, other)
    assert other.arrived[Lane.DATA] == [b"lost"]


def test_small_messages_bring_credit() -> None:
    """S-PROXY-6: messages that come one by one are counted as those that come together."""
    one, other = pair()
    for n in range(10 * LIMITS.messages):
        assert one.send(other, Lane.DATA, b"%d" % n)
        other.hear()
        assert other.take(Lane.DATA)
        if other.session.has_more(other.lanes):
            other.say(one)
            one.hear()


def test_no_more_is_kept_than_has_room() -> None:
    """S-PROXY-8: at least once, what is not taken over there has to be kept, and that is bounded."""
    one, other = pair(keeping=True, limits=LinkLimits(message_size=1000, window=800, messages=50))
    left = 0
    while one.send(other, Lane.DATA, bytes(100)):
        left += 1
        settle(one, other)
    assert left == 8
    assert other.take(Lane.DATA)
    other.session.check(LIMITS.heartbeat)
    settle(one, other)
    assert not one.lanes
    assert len(other.arrived[Lane.DATA]) == 9
