"""Byte compatibility with the serializer of a real Pipecat 1.14.0, for every type of message.

Skipped unless there is an environment with pipecat-ai 1.14.0; `make interop` makes one.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trioworkers.messages as bus
from tests.interop.peers import PIPECAT, need
from tests.interop.serializers import Package, SerializerPeer, numbers, serializer_peer
from tests.wire import samples
from tests.wire.samples import TextFrame
from trioworkers.messages import BusMessage, FrameDirection
from trioworkers.wire import ForeignMessage, JSONMessageSerializer

need(PIPECAT)

MESSAGES, UI = "pipecat.bus.messages", "pipecat.bus.ui.messages"
PACKAGE = Package(
    serializers="pipecat.bus.serializers",
    entry=("pipecat.registry.types", "WorkerRegistryEntry"),
    status=("pipecat.pipeline.job_context", "JobStatus"),
)


@pytest.fixture(scope="module")
def peer() -> Iterator[SerializerPeer]:
    """Start the peer."""
    with serializer_peer(PIPECAT, PACKAGE) as found:
        yield found


def made_by_the_peer(peer: SerializerPeer, message: BusMessage) -> bytes:
    """Let the peer make the same message and write it."""
    name = type(message).__name__
    return peer.made(message, UI if "UI" in name else MESSAGES, name)


def messages(cls: type[BusMessage]) -> st.SearchStrategy[Any]:
    """Make messages that Pipecat can make too."""
    made = samples.built_in(cls)
    if cls is bus.BusFrameMessage:
        # Pipecat numbers frames itself, so no two are equal: see below.
        return made.map(lambda each: attrs.evolve(each, frame=samples.Plain("x")))
    return made


SERIALIZER = samples.serializer()
WITHOUT_FRAMES = [cls for cls in samples.CROSSING if cls is not bus.BusFrameMessage]


@pytest.mark.parametrize("cls", WITHOUT_FRAMES, ids=lambda cls: cls.__name__)
def test_both_write_the_same_bytes(peer: SerializerPeer, cls: type[BusMessage]) -> None:
    """S-PROXY-7: for every type of message, Pipecat and this package write the same bytes."""

    @settings(deadline=None, max_examples=15, database=None)
    @given(samples.built_in(cls))
    def check(message: BusMessage) -> None:
        theirs = made_by_the_peer(peer, message)
        assert SERIALIZER.serialize_numbered(message, **numbers(theirs)) == theirs
        assert SERIALIZER.deserialize(theirs) == message
        # What Pipecat reads from our bytes, it writes as the same bytes again.
        assert peer.ask({"echo": theirs.decode()}) == {
            "type": cls.__name__,
            "text": theirs.decode(),
        }

    check()


@pytest.mark.parametrize("direction", FrameDirection)
def test_frames_are_written_the_same(peer: SerializerPeer, direction: FrameDirection) -> None:
    """S-PROXY-7: a frame that Pipecat wrote is read, and written as the same bytes again."""
    for text in ("", "hello frame", "Grüße \u2603 \U0001f600"):
        original = bus.BusFrameMessage(
            source="acme", frame=TextFrame(id=0, name="", text=text), direction=direction
        )
        theirs = made_by_the_peer(peer, original)
        found = SERIALIZER.deserialize(theirs)
        assert isinstance(found, bus.BusFrameMessage)
        assert found.direction is direction
        assert found.frame.text == text
        assert SERIALIZER.serialize_numbered(found, **numbers(theirs)) == theirs
        assert peer.ask({"echo": theirs.decode()})["text"] == theirs.decode()


def test_flush_progress_is_known(peer: SerializerPeer) -> None:
    """S-PROXY-7: the message that only Pipecat has is read as something for the dead letters."""
    fields = {"source": "a", "target": "b", "flush_id": 7}
    written = peer.ask({"make": [MESSAGES, "BusFlushProgressMessage", fields]})["text"]
    found = SERIALIZER.deserialize(written.encode())
    assert isinstance(found, ForeignMessage)
    assert (found.source, found.target) == ("a", "b")


def test_speaking_without_a_choice(peer: SerializerPeer) -> None:
    """S-PROXY-7: what we write for no choice is what Pipecat writes for its default."""
    theirs = peer.ask({"make": [MESSAGES, "BusTTSSpeakMessage", {"source": "a", "text": "x"}]})[
        "text"
    ].encode()
    ours = bus.BusTTSSpeakMessage(source="a", text="x")
    assert SERIALIZER.serialize_numbered(ours, **numbers(theirs)) == theirs


def test_many_payloads(peer: SerializerPeer) -> None:
    """S-PROXY-7: large and odd payloads are the same bytes on both sides."""
    chance = random.Random(7)
    rows = [{"id": i, "x": chance.random() * 10 ** chance.randint(-300, 300)} for i in range(500)]
    for payload in ({"rows": rows}, {"big": 2**200, "text": '\x00\x7f\u2028\\"' * 100}, {}):
        message = bus.BusJobRequestMessage(source="a", target="b", job_id="1", payload=payload)
        theirs = made_by_the_peer(peer, message)
        assert JSONMessageSerializer().serialize_numbered(message, **numbers(theirs)) == theirs
