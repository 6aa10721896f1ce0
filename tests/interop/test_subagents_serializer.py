"""Byte compatibility with the serializer of a real pipecat_subagents 0.6.0, for every message.

Skipped unless there is an environment with pipecat-ai-subagents 0.6.0; `make interop` makes one.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings

import trioworkers.messages as bus
from tests.interop.peers import SUBAGENTS, need
from tests.interop.serializers import Package, SerializerPeer, numbers, serializer_peer
from tests.wire import samples
from tests.wire.older import KNOWN, SERIALIZER, older_name
from tests.wire.samples import TextFrame
from trioworkers.messages import BusMessage, FrameDirection

need(SUBAGENTS)

MESSAGES = "pipecat_subagents.bus.messages"
PACKAGE = Package(
    serializers="pipecat_subagents.bus.serializers",
    entry=("pipecat_subagents.types", "AgentRegistryEntry"),
    status=("pipecat_subagents.agents.task_context", "TaskStatus"),
    keys={"job_id": "task_id", "job_name": "task_name", "workers": "agents"},
)


@pytest.fixture(scope="module")
def peer() -> Iterator[SerializerPeer]:
    """Start the peer."""
    with serializer_peer(SUBAGENTS, PACKAGE) as found:
        yield found


WITHOUT_FRAMES = [cls for cls in KNOWN if cls is not bus.BusFrameMessage]


@pytest.mark.parametrize("cls", WITHOUT_FRAMES, ids=older_name)
def test_both_write_the_same_bytes(peer: SerializerPeer, cls: type[BusMessage]) -> None:
    """S-PROXY-7: for every type of message, the older package and this one write the same bytes."""

    @settings(deadline=None, max_examples=15, database=None)
    @given(samples.built_in(cls))
    def check(message: BusMessage) -> None:
        theirs = peer.made(message, MESSAGES, older_name(cls))
        assert SERIALIZER.serialize_numbered(message, **numbers(theirs)) == theirs
        assert SERIALIZER.deserialize(theirs) == message
        # What they read from our bytes, they write as the same bytes again.
        again = peer.ask({"echo": theirs.decode()})
        assert again == {"type": older_name(cls), "text": theirs.decode()}

    check()


@pytest.mark.parametrize("direction", FrameDirection)
def test_frames_are_written_the_same(peer: SerializerPeer, direction: FrameDirection) -> None:
    """S-PROXY-7: a frame that the older package wrote is read, and written as the same bytes."""
    for text in ("", "hello frame", "Grüße \u2603 \U0001f600"):
        original = bus.BusFrameMessage(
            source="acme", frame=TextFrame(id=0, name="", text=text), direction=direction
        )
        theirs = peer.made(original, MESSAGES, "BusFrameMessage")
        found = SERIALIZER.deserialize(theirs)
        assert isinstance(found, bus.BusFrameMessage)
        assert (found.direction, found.frame.text) == (direction, text)
        assert SERIALIZER.serialize_numbered(found, **numbers(theirs)) == theirs
        assert peer.ask({"echo": theirs.decode()})["text"] == theirs.decode()


def test_all_that_a_frame_carries(peer: SerializerPeer) -> None:
    """S-PROXY-7: what their message carries as a frame is read over, wherever they write it."""
    message = bus.BusJobRequestMessage(source="acme", target="assistant", job_id="1")
    plain = SERIALIZER.serialize(message).decode()
    carried = (
        '"metadata":{"a":[1]},"pts":5,"broadcast_sibling_id":3,"transport_source":"mic",'
        '"transport_destination":"tv","interruptible":false'
    )
    full = plain.replace('"metadata":{},"interruptible":true', carried)
    written = peer.ask({"echo": full})["text"]
    assert all(f'"{name}":' in written for name in ("pts", "transport_source", "metadata"))
    assert SERIALIZER.deserialize(written.encode()) == message
    # They do without it, too.
    bare = plain.replace('"metadata":{},"interruptible":true,', "")
    assert peer.ask({"echo": bare})["type"] == "BusTaskRequestMessage"
