"""The names of pipecat_subagents: golden bytes, a closed table of their own, and what is different."""

from __future__ import annotations

import json
import random
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trioworkers.messages as bus
from tests.wire import golden, samples
from tests.wire.older import GOLDEN, KNOWN, LOCAL_ONLY, SERIALIZER, older_name
from trioworkers import BusDataMessage, LocalWireError, RemoteWireError, message
from trioworkers.messages import BusMessage
from trioworkers.wire import JSONMessageSerializer, Limits

MODULE = "pipecat_subagents.bus.messages"
FIELDS = {"source": "acme", "target": "assistant", "task_id": "1"}


def text(data: Any, tag: str = f"{MODULE}.BusTaskRequestMessage") -> bytes:
    """Write an envelope by hand."""
    return json.dumps({"__type__": tag, "__data__": data}).encode()


@pytest.mark.parametrize(
    ("message_id", "original", "data"), GOLDEN, ids=[older_name(type(each[1])) for each in GOLDEN]
)
def test_golden_bytes(message_id: int, original: BusMessage, data: bytes) -> None:
    """S-PROXY-7: the bytes are those that the older package wrote, and are read as the message."""
    assert SERIALIZER.serialize_numbered(original, message_id=message_id, number=0) == data
    assert SERIALIZER.deserialize(data) == original


def test_every_message_that_it_has_is_there() -> None:
    """S-PROXY-7: golden bytes are there for each message of the table, and for nothing else."""
    assert {type(each[1]) for each in GOLDEN} == set(KNOWN)
    assert {*SERIALIZER.messages} - {*samples.MESSAGES} == set(KNOWN)


@settings(deadline=None)
@given(st.one_of(*map(samples.built_in, KNOWN), samples.EVERYTHING, samples.NAMED))
def test_what_is_sent_arrives(original: BusMessage) -> None:
    """S-PROXY-7: any message that has an older name, and any of one's own, arrives as it was sent."""
    assert SERIALIZER.deserialize(SERIALIZER.serialize(original)) == original


UNKNOWN = [cls for cls in samples.CROSSING if cls not in KNOWN]


@settings(deadline=None)
@given(st.one_of(*map(samples.built_in, UNKNOWN)))
def test_what_it_does_not_have_is_refused(original: BusMessage) -> None:
    """S-PROXY-4: a message that the older package has not is an error at the sender, named or not."""
    cls = type(original)
    for serializer in (SERIALIZER, JSONMessageSerializer(names="subagents", messages=[cls])):
        with pytest.raises(LocalWireError, match=f"a {cls.__name__} has no older name"):
            serializer.serialize(original)


@pytest.mark.parametrize("data", LOCAL_ONLY)
def test_local_only_messages_are_refused(data: bytes) -> None:
    """S-PROXY-4: what is local-only over there too is refused by its older name."""
    with pytest.raises(RemoteWireError, match=r"Bus\w*Agent\w*Message, which is local-only"):
        SERIALIZER.deserialize(data)
    with pytest.raises(LocalWireError, match="local-only"):
        SERIALIZER.serialize(bus.BusAddWorkerMessage(source="a", worker=None))


def test_the_two_tables_are_closed_to_each_other() -> None:
    """S-PROXY-4: a serializer takes the names it was made for, and no others."""
    newer = samples.serializer()
    for _, _, data in GOLDEN:
        with pytest.raises(RemoteWireError, match=r"unknown type 'pipecat_sub"):
            newer.deserialize(data)
    for _, _, _, data in golden.GOLDEN:
        with pytest.raises(RemoteWireError, match=r"unknown type 'pipecat\.bus"):
            SERIALIZER.deserialize(data)


def test_values_have_their_own_names() -> None:
    """S-PROXY-4: an entry with its newer tag is no entry in an older announcement."""
    data = next(data for _, each, data in GOLDEN if isinstance(each, bus.BusWorkerRegistryMessage))
    newer = data.replace(
        b"pipecat_subagents.types.AgentRegistryEntry", b"pipecat.registry.types.WorkerRegistryEntry"
    )
    assert newer != data
    with pytest.raises(RemoteWireError, match="a value of the unknown type"):
        SERIALIZER.deserialize(newer)


def test_what_a_frame_carries_means_nothing() -> None:
    """S-PROXY-7: a message may carry all that a frame has, or nothing of it, in any order."""
    request = bus.BusJobRequestMessage(source="acme", target="assistant", job_id="1")
    carried = {
        "id": 7,
        "name": "BusTaskRequestMessage#3",
        "pts": 5,
        "broadcast_sibling_id": 3,
        "metadata": {"a": [1]},
        "transport_source": "mic",
        "transport_destination": "tv",
        "interruptible": False,
    }
    for data in (FIELDS, carried | FIELDS, FIELDS | carried):
        assert SERIALIZER.deserialize(text(data)) == request
    assert SERIALIZER.deserialize(text({**FIELDS, **dict.fromkeys(carried)})) == request
    with pytest.raises(RemoteWireError, match="unknown type"):
        SERIALIZER.deserialize(text(FIELDS | {"metadata": {"__type__": "x.Y", "__data__": {}}}))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"task_id": None}, "field 'task_id': expected str, got None"),
        ({"task_id": 5}, "field 'task_id': expected str, got 5"),
        ({"task_id": "x" * 129}, "field 'task_id': expected a name of at most 128 characters"),
        ({"task_name": 5}, "field 'task_name': expected"),
        ({"job_id": "1"}, r"unknown fields \['job_id'\]"),
        ({"job_name": "count"}, r"unknown fields \['job_name'\]"),
        ({"urgent": True}, r"unknown fields \['urgent'\]"),
    ],
)
def test_fields_are_checked_by_their_older_names(changes: dict[str, Any], why: str) -> None:
    """S-PROXY-4: what is wrong with a field is told by the name that the peer gave it."""
    with pytest.raises(RemoteWireError, match=f"bad {MODULE}.BusTaskRequestMessage: {why}"):
        SERIALIZER.deserialize(text(FIELDS | changes))
    with pytest.raises(RemoteWireError, match="no field 'task_id'; unknown fields"):
        SERIALIZER.deserialize(text({"source": "a", "job_id": "1"}))


def test_fields_are_checked_at_the_sender_by_their_own_names() -> None:
    """S-PROXY-4: what cannot leave is told by the name that the sender knows."""
    bad: Any = 5
    with pytest.raises(LocalWireError, match=r"BusJobRequestMessage\.job_id cannot cross"):
        SERIALIZER.serialize(bus.BusJobRequestMessage(source="a", job_id=bad))
    assert SERIALIZER.deserialize(text({"source": "a", "task_id": "1"})).target is None


@message
class Own(BusDataMessage):
    """Has fields named like those of the older package, and like those of a frame."""

    wire_name: ClassVar[str] = "app.messages.Own"

    job_id: str
    metadata: dict[str, Any]


def test_messages_of_ones_own_keep_their_fields() -> None:
    """S-PROXY-7: only the package's own messages are renamed; others are frames like them."""
    serializer = JSONMessageSerializer(names="subagents", messages=[Own])
    original = Own(source="a", job_id="1", metadata={"k": 1})
    data = serializer.serialize(original)
    assert data == (
        b'{"__type__":"app.messages.Own","__data__":{"id":0,"name":"Own#0","interruptible":true,'
        b'"source":"a","job_id":"1","metadata":{"k":1}}}'
    )
    assert serializer.deserialize(data) == original


def test_a_table_that_is_added_to_keeps_its_names() -> None:
    """S-PROXY-7: what a local worker handles is added to the older names, not to the newer."""
    limits = Limits(name_length=4)
    serializer = JSONMessageSerializer(names="subagents", limits=limits).including([Own])
    assert b'"task_id":"1"' in serializer.serialize(
        bus.BusJobRequestMessage(source="a", job_id="1")
    )
    assert Own in serializer.messages
    assert serializer.limits == limits


def test_tables_are_shared_by_name() -> None:
    """A serializer for the same types and names costs nothing to make."""
    first, second = (JSONMessageSerializer(names="subagents") for _ in range(2))
    assert first._format is second._format
    assert first._format is not JSONMessageSerializer()._format
    assert JSONMessageSerializer(names="pipecat")._format is JSONMessageSerializer()._format


def test_unknown_names_are_refused() -> None:
    """Names that no package has are refused where the serializer is made."""
    bad: Any = "agents"
    with pytest.raises(ValueError, match="names must be one of pipecat, subagents, not 'agents'"):
        JSONMessageSerializer(names=bad)


@pytest.mark.parametrize("seed", range(2))
def test_damaged_messages_are_read_or_refused(seed: int) -> None:
    """S-PROXY-4: an older message, damaged at random, can be sent again, or is the one error."""
    chance = random.Random(seed)
    read = 0
    for _ in range(3_000):
        data = bytearray(chance.choice(GOLDEN)[2])
        other = chance.choice(GOLDEN)[2]
        at = chance.randrange(len(data))
        match chance.randrange(3):
            case 0:
                data[at] = chance.randrange(256)
            case 1:
                del data[at : at + chance.randrange(30)]
            case _:
                data[at:] = other[min(at, len(other)) :]
        try:
            found = SERIALIZER.deserialize(bytes(data))
        except RemoteWireError:
            continue
        read += 1
        assert SERIALIZER.deserialize(SERIALIZER.serialize(found)) == found
    assert read > 50


def test_typed_values_cross_in_payloads() -> None:
    """S-PROXY-7: bytes, enums, frames and entries in payloads are tagged as in messages."""
    entry = samples.WorkerRegistryEntry("assistant")
    payload = {"b": b"\0", "e": entry, "d": bus.FrameDirection.UPSTREAM, "f": samples.Plain("x")}
    original = bus.BusJobRequestMessage(source="a", job_id="1", payload=payload)
    data = SERIALIZER.serialize(original)
    assert b"pipecat_subagents.types.AgentRegistryEntry" in data
    assert SERIALIZER.deserialize(data) == original
    with pytest.raises(LocalWireError, match="both keys"):
        SERIALIZER.serialize(attrs.evolve(original, payload={"__type__": 1, "__data__": 2}))
