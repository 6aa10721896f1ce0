"""The frames of the native dialect as bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers.errors import RemoteWireError
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Credit, Kind, Lane, LaneCredit, Messages, Unit

lanes = st.sampled_from(list(Lane))
numbers = st.integers(0, 2**64 - 1)
said = st.dictionaries(
    st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3
)

written = st.one_of(
    st.builds(
        lambda kind, value: (chunks.write_json(kind, value), kind, value),
        st.sampled_from([Kind.HELLO, Kind.CANCEL, Kind.GOODBYE]),
        said,
    ),
    st.builds(
        lambda kind, number: (chunks.write_token(kind, number), kind, number),
        st.sampled_from([Kind.PING, Kind.PONG]),
        numbers,
    ),
    st.builds(
        lambda credit: (chunks.write_credit(credit), Kind.CREDIT, credit),
        st.builds(
            Credit, st.tuples(*[st.builds(LaneCredit, numbers, numbers, numbers)] * 3), numbers
        ),
    ),
    st.builds(
        lambda lane, first, bodies: (
            chunks.write_messages(lane, first, bodies),
            Kind.MESSAGES,
            Messages(lane, first, bodies),
        ),
        lanes,
        numbers,
        st.lists(st.binary(max_size=20), min_size=1, max_size=4),
    ),
    st.builds(
        lambda lane, number, content: (
            chunks.write_envelope(lane, number, content),
            Kind.ENVELOPE,
            Unit(lane, number, len(content), 0, content),
        ),
        lanes,
        numbers,
        st.binary(max_size=20),
    ),
    st.builds(
        lambda lane, number, offset, piece: (
            chunks.write_unit(lane, number, 2**20, offset, piece),
            Kind.UNIT,
            Unit(lane, number, 2**20, offset, piece),
        ),
        lanes,
        numbers,
        st.integers(0, 2**19),
        st.binary(min_size=1, max_size=20),
    ),
    st.builds(
        lambda lane, number: (
            chunks.write_abandon(lane, number),
            Kind.ABANDON,
            Unit(lane, number, 0, 0, b""),
        ),
        lanes,
        numbers,
    ),
    st.builds(
        lambda job_id, held: (chunks.write_hold(job_id, held), Kind.HOLD, (job_id, held)),
        st.text(min_size=1, max_size=20),
        st.booleans(),
    ),
)


@given(st.lists(written, max_size=5))
def test_there_and_back(items: list[tuple[bytes, Kind, Any]]) -> None:
    """S-PROXY-6: what is written is read, however many chunks a frame has."""
    frame = b"".join(written for written, _, _ in items)
    assert list(chunks.parse(frame)) == [(kind, content) for _, kind, content in items]


@given(lanes, numbers, st.binary(max_size=50))
def test_a_frame_of_one_message(lane: Lane, number: int, body: bytes) -> None:
    """S-PROXY-6: one message is written and read in one step as it is among others."""
    frame = chunks.write_message(lane, number, body)
    assert frame == chunks.write_messages(lane, number, [body])
    assert chunks.read_message(frame) == (lane, number, body)


@given(st.lists(written, max_size=2), st.integers(0, 60), st.binary(max_size=2))
def test_no_frame_of_one_message(
    items: list[tuple[bytes, Kind, Any]], cut: int, more: bytes
) -> None:
    """S-PROXY-6: what is read in one step is what is read chunk by chunk, or left to that."""
    frame = b"".join(written for written, _, _ in items)[:cut] + more
    if (found := chunks.read_message(frame)) is not None:
        lane, number, body = found
        assert list(chunks.parse(frame)) == [(Kind.MESSAGES, Messages(lane, number, [body]))]


def test_a_lane_that_is_none_is_not_read_in_one_step() -> None:
    """S-PROXY-6: a wrong lane is left to the reader that says what is wrong."""
    frame = bytearray(chunks.write_message(Lane.DATA, 1, b"x"))
    frame[5] = 3
    assert chunks.read_message(bytes(frame)) is None


@given(said, st.binary(max_size=50))
def test_a_whole_message(meta: dict[str, Any], body: bytes) -> None:
    """S-PROXY-6: meta and body are told apart."""
    assert chunks.split_whole(chunks.whole(meta, body)) == (meta, body)
    assert chunks.split_whole(chunks.whole(None, body)) == ({}, body)


def test_bytes() -> None:
    """S-PROXY-6: the bytes are those that the documentation names."""
    assert chunks.write_messages(Lane.DATA, 3, [b"a", b"bc"]).hex(" ") == (
        "03 00 00 00 18 00 00 00 00 00 00 00 00 03 00 00 00 02 00 00 00 01 00 00 00 02 61 62 63"
    )
    assert chunks.write_token(Kind.PING, 5).hex(" ") == "08 00 00 00 08 00 00 00 00 00 00 00 05"
    assert chunks.write_hold("j7", True).hex(" ") == "0b 00 00 00 03 01 6a 37"


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\x00\x00\x00\x00\x00", "no chunk at byte 0"),
        (b"\x08\x00", "no chunk at byte 0"),
        (b"\x08\x00\x00\x00\x09" + bytes(8), "PING of 9 bytes at byte 0 goes beyond the end"),
        (b"\x08\x00\x00\x00\x01\x00", "PING cannot be read"),
        (b"\x01\x00\x00\x00\x02[]", r"HELLO cannot be read \(no JSON object\)"),
        (b"\x01\x00\x00\x00\x02\xff\xff", "HELLO cannot be read"),
        (b"\x0a\x00\x00\x00\x0b" + b'{"code":NaN', "NaN is no JSON number"),
        (chunks.write_messages(Lane.DATA, 1, [])[:], "0 messages"),
        (b"\x03\x00\x00\x00\x0d\x00" + bytes(8) + b"\xff\xff\xff\xff", "4294967295 messages"),
        (
            b"\x03\x00\x00\x00\x11\x00" + bytes(8) + b"\0\0\0\1" + b"\0\0\0\1",
            "18 bytes of messages",
        ),
        (
            b"\x03\x00\x00\x00\x12\x03" + bytes(8) + b"\0\0\0\1" + b"\0\0\0\1x",
            "there is no lane 3",
        ),
        (chunks.write_unit(Lane.DATA, 1, 5, 4, b"xy"), "2 bytes at 4 of 5"),
        (chunks.write_unit(Lane.DATA, 1, 5, 4, b""), "0 bytes at 4 of 5"),
        (chunks.write_hold("", True), r"HOLD cannot be read \(no 0 or 1 and the id of a job\)"),
        (chunks.write_hold("x" * 1025, False), "HOLD cannot be read"),
        (b"\x0b\x00\x00\x00\x02\x02j", "no 0 or 1"),
        (b"\x0b\x00\x00\x00\x02\x01\xff", "HOLD cannot be read"),
        (b"\x01\x00\x00\x27\x10" + b"[" * 10_000, "HELLO cannot be read"),
        (b"\x01\x00\x00\x13\x88" + b"9" * 5_000, "HELLO cannot be read"),
    ],
)
def test_frames_that_are_none(frame: bytes, says: str) -> None:
    """S-PROXY-4: what cannot be read is named."""
    with pytest.raises(RemoteWireError, match=says):
        list(chunks.parse(frame))


@pytest.mark.parametrize(
    "whole", [b"", b"\0\0\0", b"\0\0\0\2[]", b"\0\0\0\1", b"\0\1\0\0" + bytes(70_000)]
)
def test_metas_that_are_none(whole: bytes) -> None:
    """S-PROXY-4: so is a meta."""
    with pytest.raises(RemoteWireError, match="a message whose meta cannot be read"):
        chunks.split_whole(whole)


def test_a_long_chunk_is_not_repeated_whole() -> None:
    """S-PROXY-4: an error shows the beginning only."""
    with pytest.raises(RemoteWireError) as caught:
        list(chunks.parse(b"\x08\x00\x00\x03\xe8" + bytes(1000)))
    assert len(str(caught.value)) < 300
