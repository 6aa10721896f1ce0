"""The bodies of messages on the page about the native dialect are those of the serializer."""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from tests.docs.pages import DOCS, blocks
from trioworkers import (
    BusDataMessage,
    JSONMessageSerializer,
    WorkerRegistryEntry,
    message,
    messages,
)
from trioworkers.messages import BusMessage, BusSystemMessage, JobStatus
from trioworkers.wire.chunks import Lane
from trioworkers.wire.replies import REPLIES

PAGE = DOCS / "wire.md"
TEXT = PAGE.read_text(encoding="utf-8")
HEAD = {"source": "assistant", "target": "acme", "job_id": "job-1"}
ASKED = {"source": "acme", "target": "assistant", "job_id": "job-1"}


@message
class Note(BusDataMessage):
    """The class of one's own that the page names."""

    text: str


# What the examples mean, in the order of the page.
MEANT: list[BusMessage] = [
    messages.BusJobRequestMessage(**ASKED, job_name="count", payload={"n": 2}),
    messages.BusWorkerRegistryMessage(
        source="proxy",
        target="assistant",
        runner="shop",
        workers=[WorkerRegistryEntry("acme", active=True)],
    ),
    messages.BusJobUpdateMessage(**HEAD, update={"number": 0}),
    messages.BusJobStreamStartMessage(**HEAD, data={"items": 1}),
    messages.BusJobStreamDataMessage(**HEAD, data={"item": 0}),
    messages.BusJobResponseMessage(**HEAD, status=JobStatus.COMPLETED, response={"counted": 2}),
    messages.BusJobStreamEndMessage(**HEAD, data={"counted": 2}),
    messages.BusJobUpdateRequestMessage(**ASKED),
    messages.BusActivateWorkerMessage(
        source="acme", target="assistant", args={"greeting": "hello"}
    ),
    messages.BusDeactivateWorkerMessage(source="acme", target="assistant"),
    Note(source="acme", target="assistant", text="good day"),
]


def examples() -> list[str]:
    """Find the messages on the page, each as it stands there."""
    found: list[str] = []
    for block in blocks(PAGE):
        rest = block.text.strip()
        if block.language != "json" or not rest.startswith('{"__type__"'):
            continue
        while rest:
            _, end = json.JSONDecoder().raw_decode(rest)
            found.append(rest[:end])
            rest = rest[end:].lstrip()
    return found


def serializer() -> JSONMessageSerializer:
    """Make a serializer that knows the class of one's own."""
    return JSONMessageSerializer(messages=(Note,))


def test_the_examples_are_read() -> None:
    """What the page shows is read as what it says."""
    assert [serializer().deserialize(each.encode()) for each in examples()] == MEANT


@pytest.mark.parametrize(
    ("meant", "shown"),
    list(zip(MEANT, examples(), strict=False)),
    ids=lambda each: type(each).__name__,
)
def test_the_examples_are_written(meant: BusMessage, shown: str) -> None:
    """What is written differs from what the page shows by `id` and `name` only."""
    written: dict[str, Any] = json.loads(serializer().serialize(meant))
    assert type(written["__data__"].pop("id")) is int
    assert type(written["__data__"].pop("name")) is str
    assert written == json.loads(shown)


def test_the_table_of_types() -> None:
    """Each type of the table has its lane and its fields."""
    rows = re.findall(r"^\| `(Bus\w+Message)` \| (\d) \| (.*?) ?\|$", TEXT, re.MULTILINE)
    assert len(rows) == 12
    for name, lane, fields in rows:
        cls: Any = getattr(messages, name)
        if issubclass(cls, BusSystemMessage):
            assert int(lane) == Lane.SYSTEM
        else:
            assert int(lane) == (Lane.REPLY if cls in REPLIES else Lane.DATA)
        own = [each for each in attrs.fields(cls) if each.name not in {"source", "target"}]
        shown = [f"{each.name}{'?' if each.default is None else ''}" for each in own]
        assert re.findall(r"`([\w?]+)`", fields) == shown


def test_every_status_is_explained() -> None:
    """The table of statuses has all of them, and no other."""
    (table,) = re.findall(r"^\| `status` \|.*?\n\n", TEXT, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert set(found) - {"status"} == {each.value for each in JobStatus}


def test_bytes_in_a_payload() -> None:
    """The bytes that the page shows are read, and written so."""
    (shown,) = re.findall(r'`(\{"__type__": "bytes".*?\})`', TEXT)
    said = examples()[0].replace('{"n": 2}', f'{{"n": {shown}}}')
    read: Any = serializer().deserialize(said.encode())
    assert read.payload == {"n": b"hi"}
    written = json.loads(serializer().serialize(read))
    assert written["__data__"]["payload"] == {"n": json.loads(shown)}
