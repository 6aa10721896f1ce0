"""The native dialect's session: two sides against each other, without any input or output."""

from __future__ import annotations

import re

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.sides import LIMITS, Side, pair, settle
from trioworkers.errors import RemoteWireError
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind, Lane
from trioworkers.wire.epoch import Cancelled
from trioworkers.wire.flow import Arrived
from trioworkers.wire.session import (
    CANCELS,
    CHUNKS,
    HOLDS,
    SLACK,
    TRANSITIONS,
    Broken,
    Closed,
    Hold,
    Opened,
    Speaker,
)


def test_both_say_hello_first() -> None:
    """S-PROXY-6: the link opens with a hello of each, and nothing leaves before."""
    left, right = Side("left"), Side("right")
    left.put(Lane.DATA, b"early")
    hello = left.say(right)
    assert [kind for kind, _ in chunks.parse(hello)] == [Kind.HELLO]
    assert left.say(right) == b""
    assert not left.session.is_open
    assert right.hear() == [Opened(False, ())]
    settle(left, right)
    assert left.session.is_open
    assert right.session.is_open
    assert right.arrived[Lane.DATA] == [b"early"]


def test_a_system_message_overtakes() -> None:
    """S-PROXY-6: what waits in the system lane leaves before what waits in the data lane."""
    left, right = pair()
    left.put(Lane.DATA, b"data")
    left.put(Lane.SYSTEM, b"system")
    left.say(right)
    assert [event.body for event in right.hear() if isinstance(event, Arrived)] == [
        b"system",
        b"data",
    ]


def test_a_stuck_receiver_stops_the_sender() -> None:
    """S-PROXY-6: without deliveries no more leaves than there was credit for; cancels and pings do."""
    left, right = pair()
    for n in range(100):
        left.put(Lane.DATA, b"%d" % n)
    settle(left, right)
    assert len(right.arrived[Lane.DATA]) == LIMITS.messages
    assert len(left.lanes) == 100 - LIMITS.messages
    left.put(Lane.SYSTEM, b"urgent")
    left.session.cancel(Cancelled("job", "why", "left/worker"))
    settle(left, right)
    assert right.arrived[Lane.SYSTEM] == [b"urgent"]
    assert Cancelled("job", "why", "left/worker") in right.events
    settle(left, right, taking=True)
    assert right.arrived[Lane.DATA] == [b"%d" % n for n in range(100)]


def test_data_and_replies_take_turns() -> None:
    """S-PROXY-6: neither of data and replies waits until the other has left."""
    left, right = pair()
    for n in range(8):
        left.put(Lane.DATA, b"%d" % n * 50)
        left.put(Lane.REPLY, b"%d" % n * 50)
    first, second = left.say(right), left.say(right)
    assert [content.lane for _, content in chunks.parse(first)] == [Lane.DATA]
    assert [content.lane for _, content in chunks.parse(second)] == [Lane.REPLY]


def test_a_requester_gets_its_answer() -> None:
    """S-PROXY-6: replies come through when no data is taken any more."""
    left, right = pair()
    for _ in range(100):
        left.put(Lane.DATA, b"data")
    settle(left, right)
    left.put(Lane.REPLY, b"answer")
    settle(left, right)
    assert right.arrived[Lane.REPLY] == [b"answer"]


def test_a_cancel_waits_for_its_request() -> None:
    """S-PROXY-6: a cancel that overtakes its request is told behind it, once."""
    left, right = pair()
    left.put(Lane.DATA, b"request")
    request = left.session.next_frame(left.lanes, 0)
    told = Cancelled("job", "why", "left", 1)
    assert not left.session.cancel(told)
    right.coming.extend([left.session.next_frame(left.lanes, 0), request])
    assert right.hear() == []
    assert right.hear() == [Arrived(Lane.DATA, b"request"), told]
    settle(left, right)
    assert right.events.count(told) == 1
    assert not right.epoch.early


def test_what_is_due() -> None:
    """S-PROXY-6: a session says that there is something to say beside the lanes, and only then."""
    left, right = Side("left"), Side("right")
    assert left.session.due
    left.say(right)
    assert not left.session.due
    settle(left, right)
    assert not left.session.due
    left.session.cancel(Cancelled("job", None, "left"))
    assert left.session.due
    left.say(right)
    right.hear()
    assert right.session.due, "the cancel is to be confirmed"
    right.say(left)
    right.coming.append(chunks.write_token(Kind.PING, 7))
    right.hear()
    assert right.session.due
    assert list(chunks.parse(right.say(left))) == [(Kind.PONG, 7)]
    left.session.check(10)
    assert left.session.due
    left.session.close(1000, "")
    left.say(right)
    assert not left.session.due


def test_many_cancels_take_many_frames() -> None:
    """S-PROXY-6: cancels in great number do not make a frame larger than the other side takes."""
    left, right = pair()
    told = [Cancelled(f"job-{n}", None, "left") for n in range(CANCELS + 1)]
    for each in told:
        left.session.cancel(each)
    left.say(right)
    assert [event for event in right.hear() if isinstance(event, Cancelled)] == told[:CANCELS]
    assert left.session.due
    settle(left, right)
    assert [event for event in right.events if isinstance(event, Cancelled)] == told


def test_a_job_is_held_and_goes_on() -> None:
    """S-PROXY-6: what was said last of a job is told once; the next connection knows nothing of it."""
    left, right = pair()
    left.session.hold("a", held=True)
    left.session.hold("b", held=True)
    left.session.hold("b", held=False)
    assert left.session.due
    settle(left, right)
    assert not left.session.due
    assert right.holds == [Hold("a", True), Hold("b", False)]
    left.session.hold("a", held=False)
    left.connect()
    right.connect()
    settle(left, right)
    assert len(right.holds) == 2


def test_no_credit_is_told_before_a_hold() -> None:
    """S-PROXY-6: what comes after a hold is bounded by the credit from before, though many are due."""
    left, right = pair()
    for n in range(LIMITS.messages):
        right.put(Lane.REPLY, b"%d" % n)
    right.say(left)
    left.hear()
    for n in range(2 * HOLDS + 1):
        left.session.hold(f"job-{n}", held=True)
    while left.take(Lane.REPLY):
        pass
    kinds = [kind for _ in range(4) for kind, _ in chunks.parse(left.say(right))]
    assert kinds == [*[Kind.HOLD] * (2 * HOLDS + 1), Kind.CREDIT]


def test_a_large_message_goes_in_units() -> None:
    """S-PROXY-6: never more than a window is on its way, and a system message gets in between."""
    left, right = pair()
    large = bytes(range(250)) * 4
    left.put(Lane.DATA, large)
    left.say(right)
    left.put(Lane.SYSTEM, b"urgent")
    frames = 0
    while not right.arrived[Lane.DATA]:
        assert len(left.say(right)) < 2 * LIMITS.window
        right.hear()
        right.say(left)
        left.hear()
        frames += 1
    assert frames >= len(large) // LIMITS.window
    assert right.arrived == {Lane.DATA: [large], Lane.SYSTEM: [b"urgent"], Lane.REPLY: []}


def test_a_message_waits_for_the_credit_it_needs() -> None:
    """S-PROXY-6: what does not fit into the rest of a window waits whole, and so does what follows."""
    left, right = pair()
    bodies = [b"%d" % n * 90 for n in range(6)]
    for body in bodies:
        left.put(Lane.DATA, body)
    while left.say(right):
        pass
    while right.coming:
        right.hear()
    assert right.arrived[Lane.DATA] == bodies[:4]
    settle(left, right)
    assert right.arrived[Lane.DATA] == bodies


def test_meta_crosses() -> None:
    """S-JOB-6: the time left crosses as a duration, counted from when the message leaves."""
    left, right = pair()
    left.put(Lane.DATA, b"request", 105.0, trace={"traceparent": "00-1"})
    left.put(Lane.DATA, b"late", 90.0)
    left.say(right, now=100)
    assert right.hear() == [
        Arrived(Lane.DATA, b"request", 5.0, {"traceparent": "00-1"}),
        Arrived(Lane.DATA, b"late", 0.0, None),
    ]


def test_a_message_that_is_given_up_half_way() -> None:
    """S-PROXY-6: the rest of a large message need not be sent, and the lane goes on behind it."""
    left, right = pair()
    left.put(Lane.DATA, b"x")
    left.put(Lane.DATA, bytes(900))
    left.put(Lane.DATA, b"y")
    left.say(right)
    assert left.session.cancel(Cancelled("job", None, "left", 2))
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"x", b"y"]
    assert Cancelled("job", None, "left", 2) in right.events
    settle(left, right, taking=True)
    assert right.epoch.had[Lane.DATA].taken == 3


def test_the_first_message_is_given_up() -> None:
    """S-PROXY-6: what will not come has been taken if all before it has."""
    left, right = pair()
    left.put(Lane.DATA, bytes(900))
    left.say(right)
    assert left.session.cancel(Cancelled("job", None, "left", 1))
    settle(left, right)
    assert right.epoch.had[Lane.DATA].taken == 1
    left.put(Lane.DATA, b"x")
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"x"]


def test_a_silent_peer_is_found() -> None:
    """S-PROXY-6: a ping after one heartbeat, and after two the other side is given up."""
    left, right = pair()
    assert left.session.check(9.9) == 10
    assert left.say(right, 9.9) == b""
    assert left.session.check(10) == 20
    assert [kind for kind, _ in chunks.parse(left.say(right, 10))] == [Kind.PING]
    assert left.session.check(15) == 20
    assert left.say(right, 15) == b""
    right.hear(15)
    right.say(left, 15)
    left.hear(16)
    assert left.session.check(20) == 26
    left.session.check(26)
    left.say(right, 26)
    with pytest.raises(RemoteWireError, match=r"nothing was heard for 20\.000 s"):
        left.session.check(36)


def test_a_goodbye_comes_last() -> None:
    """S-PROXY-6: a close lets what waits leave, says why, and is the end of talking."""
    left, right = pair()
    for n in range(20):
        left.put(Lane.DATA, b"%d" % n)
    left.session.close(1000, "done")
    settle(left, right, taking=True)
    assert len(right.arrived[Lane.DATA]) == 20
    assert right.events[-1] == Closed(1000, "done")
    assert left.session.ours is Speaker.GONE
    right.put(Lane.DATA, b"too late")
    assert right.say(left) == b""
    right.session.close(1000, "so am I")
    settle(left, right)
    assert left.events[-1] == Closed(1000, "so am I")


def test_what_was_sent_is_sent_again() -> None:
    """PROXY-8: what was not taken is sent again over the next connection, and is taken once."""
    left, right = pair(keeping=True)
    for n in range(4):
        left.put(Lane.DATA, b"%d" % n)
    left.say(right)
    right.hear()
    right.take(Lane.DATA)
    left.put(Lane.DATA, b"4")
    left.say(right)
    right.coming.clear()
    for side in (left, right):
        side.connect()
    settle(left, right)
    assert right.arrived[Lane.DATA] == [b"%d" % n for n in range(5)]
    assert Opened(True, ()) in left.events


def test_a_peer_that_has_forgotten() -> None:
    """PROXY-8: what nobody can say any more is told, and the rest goes on."""
    left, right = pair(keeping=True)
    left.put(Lane.DATA, b"first")
    left.put(Lane.SYSTEM, b"urgent")
    left.put(Lane.DATA, b"second", 5.0)
    left.say(right)
    stranger = Side("stranger", keeping=True)
    left.connect()
    left.put(Lane.DATA, b"third")
    settle(left, stranger)
    opened = [event for event in left.events if isinstance(event, Opened)][-1]
    assert not opened.resumed
    assert [parcel.frame for parcel in opened.lost] == [b"first", b"second", b"urgent"]
    assert stranger.arrived[Lane.DATA] == [b"third"]
    stranger.take(Lane.DATA)
    settle(left, stranger)
    assert stranger.epoch.had[Lane.DATA].taken == 3


def test_cancels_are_told_again() -> None:
    """S-PROXY-6: a cancel that may have been lost with a connection is told over the next, once."""
    left, right = pair(keeping=True)
    told = [Cancelled(f"job-{n}", None, "left/worker") for n in range(3)]
    left.session.cancel(told[0])
    settle(left, right)
    left.session.cancel(told[1])
    left.say(right)
    right.hear()
    left.session.cancel(told[2])
    left.say(right)
    for side in (left, right):
        side.connect()
    settle(left, right)
    assert [event for event in right.events if isinstance(event, Cancelled)] == told


def messages(*bodies: bytes, lane: Lane = Lane.DATA, first: int = 1) -> bytes:
    """Return a frame of small messages."""
    return chunks.write_messages(lane, first, bodies)


def goodbye(**said: object) -> bytes:
    """Return a frame that says goodbye."""
    return chunks.write_json(Kind.GOODBYE, said)


def cancels(first: object, *jobs: object) -> bytes:
    """Return a frame of cancels."""
    return chunks.write_json(Kind.CANCEL, {"first": first, "jobs": list(jobs)})


def credit(data: tuple[int, int, int], rest: tuple[int, int, int], *, cancels: int = 0) -> bytes:
    """Return a frame of credit."""
    others = chunks.LaneCredit(*rest)
    return chunks.write_credit(chunks.Credit((chunks.LaneCredit(*data), others, others), cancels))


def unit(number: int, length: int, offset: int, size: int) -> bytes:
    """Return a frame with a piece of a message."""
    return chunks.write_unit(Lane.DATA, number, length, offset, bytes(size))


def enveloped(meta: dict[str, object]) -> bytes:
    """Return a frame with a message that has meta."""
    return chunks.write_envelope(Lane.DATA, 1, chunks.whole(meta, b""))


@pytest.mark.parametrize(
    ("frames", "says"),
    [
        ([b"\x00"], "no chunk at byte 0"),
        ([chunks.write_json(Kind.HELLO, {})], "HELLO from a side that is TALKING"),
        ([goodbye(code=1000, reason=""), messages(b"x")], "MESSAGES from a side that is GONE"),
        ([goodbye(code="1000", reason="")], "a goodbye that cannot be read"),
        ([messages(b"x", first=2)], "message 2 of lane DATA after 0"),
        ([messages(b"x", first=9)], "beyond the credit for message 8 and 400 bytes"),
        ([messages(bytes(401))], "message 1 and 401 bytes in lane DATA, beyond the credit"),
        ([messages(bytes(300)), messages(bytes(300), first=2)], "message 2 and 600 bytes"),
        ([unit(1, 5000, 0, 10)], "a message of 5000 bytes in lane DATA: 300 are taken"),
        ([unit(1, 100, 10, 10)], "bytes from 10 of 100 of message 1 of lane DATA, after 0 of 100"),
        ([unit(1, 100, 0, 10), unit(1, 90, 10, 10)], "bytes from 10 of 90 .* after 10 of 100"),
        ([unit(1, 100, 0, 10), messages(b"x")], "message 1 of lane DATA in the midst of another"),
        ([messages(bytes(301))], "a message of 301 bytes in lane DATA: 300 are taken"),
        (
            [chunks.write_envelope(Lane.DATA, 1, chunks.whole(None, bytes(301)))],
            "a message of 301 bytes in lane DATA: 300 are taken",
        ),
        ([enveloped({"seconds": "soon"})], "the time left to a message must be a number"),
        ([enveloped({"trace": {"a": 1}})], "the trace of a message must be a dict of texts"),
        (
            [credit((1, 1, 1), (1, 1, 0))],
            "message 1 of lane DATA was taken, and 0",
        ),
        ([credit((1, 1, 0), (1, 1, 0), cancels=1)], "1 cancels were taken, and 0"),
        ([cancels(2)], "cancel 2 after 0"),
        ([cancels("1")], "cancels that cannot be read"),
        ([cancels(1, ["job", 3, ""])], "cancels that cannot be read"),
        ([cancels(1, "abc")], "cancels that cannot be read"),
        ([chunks.write_abandon(Lane.DATA, 2)], "message 2 of lane DATA after 0"),
        ([bytes(LIMITS.window + SLACK + 1)], "a frame of 131873 bytes"),
        (
            [chunks.write_token(Kind.PONG, 0) * (CHUNKS + 1)],
            f"a frame of more than {CHUNKS} chunks",
        ),
        (
            [cancels(1, *(["job", None, "", 1] for _ in range(LIMITS.messages + 1)))],
            "9 cancels of jobs not asked for",
        ),
    ],
)
def test_rules_that_are_broken(frames: list[bytes], says: str) -> None:
    """S-PROXY-4: who breaks a rule is told which, and is heard no more."""
    limits = attrs.evolve(LIMITS, message_size=300)
    _, right = pair(limits=limits)
    right.events.clear()
    right.coming.extend(frames)
    while right.coming:
        right.hear()
    assert isinstance(right.events[-1], Broken)
    assert re.search(says, right.events[-1].reason)
    right.coming.append(chunks.write_token(Kind.PING, 1))
    assert isinstance(right.hear()[0], Broken)


PLACES = ("data", "system", "reply", "cancels")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"version": 0}, "version"),
        ({"version": "1"}, "version"),
        ({"name": "x" * 129}, "name"),
        ({"name": ""}, "name"),
        ({"version": True}, "version"),
        ({"sent": dict.fromkeys(PLACES, 2**62 + 1)}, "data"),
        ({"limits": {"window": 1}}, "message_size"),
        ({"limits": None}, "NoneType"),
        ({"limits": "message_size"}, "TypeError"),
        ({"sent": dict.fromkeys(PLACES, -1)}, "data"),
        ({"sent": {"data": 1}}, "system"),
        ({"meeting": 3}, "meeting"),
        ({"had": None}, "NoneType"),
    ],
)
def test_hellos_that_are_none(change: dict[str, object], says: str) -> None:
    """S-PROXY-4: a hello is checked field by field; fields of later versions are left out."""
    left, right = Side("left"), Side("right")
    hello = left.session.next_frame(left.lanes, 0)
    ((_, said),) = chunks.parse(hello)
    right.coming.append(chunks.write_json(Kind.HELLO, said | {"new": 1} | change))
    (event,) = right.hear()
    assert isinstance(event, Broken)
    assert says in event.reason


def test_what_came_before_a_broken_rule_has_come() -> None:
    """PROXY-8: a message that counts as arrived is an event, whatever else is in its frame."""
    left, right = pair()
    left.put(Lane.DATA, b"good")
    right.coming.append(left.session.next_frame(left.lanes, 0) + b"\xff")
    good, broken = right.hear()
    assert good == Arrived(Lane.DATA, b"good")
    assert isinstance(broken, Broken)


def test_what_was_had_before_is_dropped() -> None:
    """PROXY-8: a message that comes twice is taken once."""
    _, right = pair()
    frames = [
        messages(b"1", b"2"),
        messages(b"2", b"3", first=2),
        unit(2, 100, 0, 10),
        chunks.write_abandon(Lane.DATA, 3),
        chunks.write_abandon(Lane.DATA, 4),
        messages(b"5", first=5),
        cancels(1, ["a", None, ""]),
        cancels(1, ["a", None, ""], ["b", None, ""]),
    ]
    right.coming.extend(frames)
    while right.coming:
        right.hear()
    assert right.arrived[Lane.DATA] == [b"1", b"2", b"3", b"5"]
    assert [event.job_id for event in right.events if isinstance(event, Cancelled)] == ["a", "b"]
    assert right.epoch.had[Lane.DATA].taken == 0
    for _ in range(3):
        right.take(Lane.DATA)
    assert right.epoch.had[Lane.DATA].taken == 4


def test_a_goodbye_without_a_hello() -> None:
    """S-PROXY-6: who does not want to talk may say so at once, and is not talked to."""
    left, right = Side("left"), Side("right")
    right.coming.append(goodbye(code=1008, reason="not you"))
    assert right.hear() == [Closed(1008, "not you")]
    right.put(Lane.DATA, b"kept")
    right.session.close(1000, "then not")
    kinds = [kind for kind, _ in chunks.parse(right.say(left))]
    assert kinds == [Kind.HELLO, Kind.GOODBYE]
    assert len(right.lanes) == 1


def test_the_tables() -> None:
    """S-PROXY-6: a hello comes first and once, and nothing comes after a goodbye."""
    assert set(TRANSITIONS) == set(Speaker)
    assert set(TRANSITIONS[Speaker.TALKING]) == set(Kind) - {Kind.HELLO}
    assert TRANSITIONS[Speaker.GONE] == {}


@given(st.lists(st.binary(max_size=60), max_size=5))
def test_whatever_comes(bodies: list[bytes]) -> None:
    """S-PROXY-4: no bytes do more than break the connection they came over."""
    for opened in (True, False):
        right = pair()[1] if opened else Side("right")
        for body in bodies:
            right.coming.append(body)
            assert all(isinstance(event, Broken | Arrived | Closed) for event in right.hear())
