"""Pipecat's JSON: golden bytes, round trips, and what a hostile peer may send."""

from __future__ import annotations

import datetime as dt
import enum
import json
import random
import sys
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import trioworkers.messages as bus
from tests.wire import samples
from tests.wire.golden import GOLDEN
from tests.wire.samples import Colour, Everything, Level, Named, Plain, Point, Secret, Size
from trioworkers import BusDataMessage, message
from trioworkers._values import WorkerRegistryEntry
from trioworkers.abc import MessageSerializer
from trioworkers.errors import LocalWireError, MessageTooBigError, RemoteWireError
from trioworkers.messages import BusJobRequestMessage, BusMessage, FrameDirection, JobStatus
from trioworkers.wire import ForeignMessage, JSONMessageSerializer, Limits

REQUEST = "pipecat.bus.messages.BusJobRequestMessage"


def wrong(value: Any) -> Any:
    """Pass a value of a wrong type by the type checkers."""
    return value


def request(payload: Any = None, **changes: Any) -> BusJobRequestMessage:
    """Make a request from acme to assistant."""
    return BusJobRequestMessage(
        **{"source": "acme", "target": "assistant", "job_id": "1", "payload": payload} | changes
    )


def text(data: Any, tag: str = REQUEST) -> bytes:
    """Write an envelope by hand."""
    return json.dumps({"__type__": tag, "__data__": data}).encode()


FIELDS = {"source": "acme", "target": "assistant", "job_id": "1"}


@pytest.fixture
def serializer() -> JSONMessageSerializer:
    """Make a serializer that knows the samples."""
    return samples.serializer()


def crossed(message: BusMessage) -> Any:
    """Send a message and receive it."""
    serializer = samples.serializer()
    return serializer.deserialize(serializer.serialize(message))


# Golden bytes


@pytest.mark.parametrize(
    ("message_id", "number", "message", "data"),
    GOLDEN,
    ids=[type(each[2]).__name__ for each in GOLDEN],
)
def test_writes_what_pipecat_wrote(
    serializer, message_id: int, number: int, message: BusMessage, data: bytes
) -> None:
    """S-PROXY-7: the bytes are those that a real Pipecat process wrote."""
    assert serializer.serialize_numbered(message, message_id=message_id, number=number) == data


@pytest.mark.parametrize(
    ("message", "data"),
    [each[2:] for each in GOLDEN],
    ids=[type(each[2]).__name__ for each in GOLDEN],
)
def test_reads_what_pipecat_wrote(serializer, message: BusMessage, data: bytes) -> None:
    """S-PROXY-7: what a real Pipecat process wrote is read."""
    assert serializer.deserialize(data) == message


def test_numbers_are_counted_as_pipecat_does(serializer) -> None:
    """S-PROXY-7: `id` counts all messages, the number in `name` those of the class, from 0."""
    messages = [request(), bus.BusEndMessage(source="a"), request()]
    read = [json.loads(serializer.serialize(each))["__data__"] for each in messages]
    assert [(each["id"], each["name"]) for each in read] == [
        (0, "BusJobRequestMessage#0"),
        (1, "BusEndMessage#0"),
        (2, "BusJobRequestMessage#1"),
    ]


def test_numbers_may_be_left_out(serializer) -> None:
    """S-PROXY-7: what only Pipecat's logs use need not be written; a copy does so, and for all."""
    bare = serializer.unnumbered()
    written = json.loads(bare.serialize(request()))["__data__"]
    assert written == {"source": "acme", "target": "assistant", "job_id": "1"}
    assert bare.deserialize(bare.serialize(request())) == request()
    assert bare.serialize(Named(source="a", id=7, name="seven")) == serializer.serialize(
        Named(source="a", id=7, name="seven")
    )
    more = bare.including([Named])
    assert more.serialize(request()) == bare.serialize(request())
    assert b'"id":1,"name":"BusJobRequestMessage#0"' in serializer.serialize(request())


def test_id_and_name_may_be_absent(serializer) -> None:
    """S-PROXY-7: a foreign peer need not send `id` and `name`, and what they say means nothing."""
    assert serializer.deserialize(text(FIELDS)) == request()
    assert serializer.deserialize(text(FIELDS | {"id": ["?"], "name": 3})) == request()


def test_fields_named_like_pipecats_own(serializer) -> None:
    """S-PROXY-7: a message with fields `id` and `name` of its own keeps them."""
    named = Named(source="a", id=7, name="seven")
    data = serializer.serialize(named)
    assert (
        data == b'{"__type__":"app.messages.Named","__data__":{"source":"a","id":7,"name":"seven"}}'
    )
    assert serializer.deserialize(data) == named


def test_tags_may_have_any_characters() -> None:
    """S-PROXY-7: what a class is called on the wire is written as JSON writes it."""
    tag = 'app.100 %d "é\\'

    @message
    class Odd(BusDataMessage):
        wire_name: ClassVar[str] = tag

    serializer = JSONMessageSerializer(messages=[Odd])
    data = serializer.serialize(Odd(source="a"))
    written = {"id": 0, "name": '100 %d "é\\#0', "source": "a"}
    assert (
        data == json.dumps({"__type__": tag, "__data__": written}, separators=(",", ":")).encode()
    )
    assert serializer.deserialize(data) == Odd(source="a")


class Loud(str):
    """A text of a class of its own."""

    __slots__ = ()


@settings(deadline=None)
@given(samples.EVERYTHING | samples.NAMED)
def test_fields_are_written_as_json_writes_them(original: BusMessage) -> None:
    """S-PROXY-7: the short way from an object to JSON and the long one give the same text."""
    serializer = samples.serializer()
    fields: dict[str, Any] = {}
    serializer._format.table.shape(type(original)).take_apart(original, fields)
    expected = serializer._write(fields)[1:] + "}"
    assert serializer.serialize(original).endswith(expected.encode())


def test_values_of_derived_types_are_written_as_json_writes_them() -> None:
    """S-PROXY-7: a text or number of a class of its own is written as the text or number it is."""
    derived = everything(number=Size.LARGE, text=Level.LOW, maybe=Size.SMALL, marked=Loud("loud"))
    assert crossed(derived) == everything(number=2, text="low", maybe=1, marked="loud")
    assert crossed(request(source=Loud("acme"), job_name=Level.LOW)).job_name == "low"


def test_speaking_without_a_choice_is_written_as_true(serializer) -> None:
    """S-MSG-1: `append_to_context=None` is written as true, which a real Pipecat process needs."""
    speak = bus.BusTTSSpeakMessage(source="a", text="hi")
    data = serializer.serialize(speak)
    assert b'"append_to_context":true' in data
    assert serializer.deserialize(data).append_to_context is True
    quiet = bus.BusTTSSpeakMessage(source="a", text="hi", append_to_context=False)
    assert crossed(quiet) == quiet


@pytest.mark.parametrize(
    ("fields", "source", "target"),
    [({"source": "a", "target": "b", "flush_id": 3}, "a", "b"), ({"source": 1}, "", None)],
)
def test_flush_progress_becomes_a_marker(serializer, fields, source, target) -> None:
    """S-PROXY-7: a message that only Pipecat has is read as something for the dead letters."""
    tag = "pipecat.bus.messages.BusFlushProgressMessage"
    found = serializer.deserialize(text(fields, tag))
    assert isinstance(found, ForeignMessage)
    assert (found.tag, found.source, found.target) == (tag, source, target)
    with pytest.raises(LocalWireError, match="ForeignMessage are not registered"):
        serializer.serialize(found)


def test_a_bare_frame_is_taken() -> None:
    """S-PROXY-7: a frame needs only the fields that its class has; Pipecat's own are ignored."""
    frame = {"text": "hi", "id": 1, "name": "x", "pts": 3, "metadata": {}, "interruptible": False}
    data = {
        "source": "a",
        "frame": {"__type__": "Plain", "__data__": frame},
        "direction": {
            "__type__": "pipecat.processors.frame_processor.FrameDirection",
            "__data__": "UPSTREAM",
        },
    }
    found = samples.serializer().deserialize(text(data, "pipecat.bus.messages.BusFrameMessage"))
    assert found == bus.BusFrameMessage(
        source="a", frame=Plain("hi"), direction=FrameDirection.UPSTREAM
    )


# Round trips


@settings(deadline=None, max_examples=40)
@pytest.mark.parametrize("cls", samples.CROSSING, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_every_type_survives(cls: type[BusMessage], data: st.DataObject) -> None:
    """S-MSG-1: a message of each type comes out as it went in, with every field."""
    original = data.draw(samples.built_in(cls))
    assert crossed(original) == original


@settings(deadline=None)
@given(samples.EVERYTHING | samples.NAMED)
def test_user_messages_survive(original: BusMessage) -> None:
    """S-MSG-1: a registered message with every kind of field comes out as it went in."""
    assert crossed(original) == original


def test_the_tables_cover_all_messages() -> None:
    """S-MSG-1: there is no message of the package that the serializer does not know."""
    for cls in samples.BUILT_IN:
        with pytest.raises(RemoteWireError, match=r"a bad|local-only|no field"):
            samples.serializer().deserialize(text({"?": 1}, tag_of(cls)))


def tag_of(cls: type[BusMessage]) -> str:
    """Name a message as Pipecat does."""
    return f"pipecat.bus.{'ui.' if 'UI' in cls.__name__ else ''}messages.{cls.__name__}"


def test_payloads_are_not_walked_through(serializer) -> None:
    """S-PROXY-4: a payload comes back as plain data, whatever keys it has."""
    payload = {"a": [1, {"b": None}], "__type__": "x", "n": {"__data__": 1}}
    assert crossed(request(payload)).payload == payload


def test_tuples_become_lists() -> None:
    """S-PROXY-7: a tuple is written as a list (Pipecat writes null)."""
    assert crossed(request({"t": (1, (2,))})).payload == {"t": [1, [2]]}


def test_payloads_of_attrs_become_dicts() -> None:
    """S-PROXY-7: an attrs object as payload arrives as the dict that its reader structures."""
    assert crossed(request(Point(1, 2.0))).payload == Point(1, 2.0)  # registered by its annotation

    @attrs.frozen
    class Unregistered:
        blob: bytes
        point: Point

    payload = {"deep": [Unregistered(b"\0", Point(1))]}
    expected = {"deep": [{"blob": b"\0", "point": {"x": 1, "y": 0.0, "colour": None}}]}
    assert crossed(request(payload)).payload == expected


def test_registered_values_survive_in_payloads() -> None:
    """S-PROXY-7: bytes, directions, registry entries, frames and known enums keep their type."""
    payload = {
        "values": [
            b"\xff",
            FrameDirection.UPSTREAM,
            WorkerRegistryEntry("w"),
            Plain("p"),
            Colour.RED,
        ]
    }
    assert crossed(request(payload)).payload == payload


def test_enums_that_are_strings_or_numbers_are_plain() -> None:
    """S-PROXY-7: a string enum is written as a string, an integer enum as a number."""
    data = samples.serializer().serialize(request({"a": Level.LOW, "b": Size.LARGE}))
    assert b'{"a":"low","b":2}' in data


def test_a_null_that_is_no_default_is_written(serializer) -> None:
    """S-PROXY-7: None survives in a field whose default is something else (Pipecat loses it)."""

    @message
    class Tick(BusDataMessage):
        n: int | None = 5

    made = attrs.make_class("Made", {"n": attrs.field(type=int | None, default=5)})
    serializer = JSONMessageSerializer(messages=[Tick], frames=[made])
    for n in (None, 5, 6):
        for original in (Tick(source="a", n=n), request({"made": made(n)})):
            assert serializer.deserialize(serializer.serialize(original)) == original


def test_an_enum_goes_before_a_text() -> None:
    """S-PROXY-7: where either may stand, what the enum has a member for is that member."""

    @message
    class Either(BusDataMessage):
        value: Level | str

    serializer = JSONMessageSerializer(messages=[Either])
    for value in (Level.LOW, "low", "other"):
        read: Any = serializer.deserialize(serializer.serialize(Either(source="a", value=value)))
        assert read.value == value
        assert type(read.value) is (str if value == "other" else Level)


def test_private_fields_cross() -> None:
    """S-PROXY-7: a field has its own name on the wire, whatever the constructor calls it."""

    @message
    class Private(BusDataMessage):
        _secret: int
        _made: list[int] = attrs.field(factory=list)

    serializer = JSONMessageSerializer(messages=[Private])
    make: Any = Private  # not every type checker knows what attrs does to these names
    original = make(source="a", secret=1, made=[2])
    data = serializer.serialize(original)
    assert b'"_secret":1,"_made":[2]}' in data
    assert serializer.deserialize(data) == original
    short = serializer.deserialize(data.replace(b',"_made":[2]', b""))
    assert short == make(source="a", secret=1)


def test_serializers_share_their_tables() -> None:
    """A serializer for the same types costs nothing to make; a session makes one."""
    assert isinstance(JSONMessageSerializer(), MessageSerializer)
    assert JSONMessageSerializer()._format is JSONMessageSerializer()._format
    assert JSONMessageSerializer(frames=[Plain])._format is not JSONMessageSerializer()._format


# What does not leave


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (Secret(source="a"), "local-only"),
        (bus.BusAddWorkerMessage(source="a", worker=None), "local-only"),
        (bus.BusWorkerLocalErrorMessage(source="a", error="x"), "local-only"),
        (BusDataMessage(source="a"), "BusDataMessage are not registered"),
        (request({1, 2}), r"\{1, 2\} of type set"),
        (request({"at": dt.datetime(2020, 1, 1)}), "datetime"),
        (request({"f": print}), "builtin_function_or_method"),
        (request({("a", "b"): 1}), "keys must be str"),
        (request({"x": float("nan")}), "Out of range float"),
        (request({"x": -float("inf")}), "Out of range float"),
        (request({"x": 10**5000}), "4300 digits"),
        (request({"x": "\ud800"}), r"\\ud800, half"),
        (request({"x": "\\\ud800"}), r"\\ud800, half"),
        (request({"x": "\U0001f600\udc00"}), r"\\udc00, half"),
        (request({"m": request()}), "BusJobRequestMessage"),
        (request({"e": enum.Enum("Other", "A").A}), "Other"),
        (request(source=5), "BusJobRequestMessage.source cannot cross: expected str, got 5"),
        (request(source="x" * 129), "source cannot cross: expected a name of at most 128"),
        (request(target="x" * 129), "target cannot cross"),
        (request(job_id=None), "job_id cannot cross: expected str, got None"),
        (bus.BusJobUpdateMessage(source="a", job_id="1", update=wrong([1])), "update cannot cross"),
        (
            bus.BusFrameMessage(source="a", frame=Point(1), direction=FrameDirection.UPSTREAM),
            r"frame cannot cross: expected an object of a class in frames=\(...\)",
        ),
        (request(Plain("x", points=(Point(wrong("no")),))), "Point.x cannot cross: expected int"),
        (request({"__type__": "bytes", "__data__": "aGk="}), "both keys"),
        (request([{"deep": ({"__type__": 1, "__data__": 2, "more": 3},)}]), "both keys"),
        (
            request(Plain("x", points=wrong(({"__type__": 1, "__data__": 2},)))),
            "points cannot cross",
        ),
    ],
    ids=lambda each: type(each).__name__,
)
def test_what_cannot_cross_is_refused_at_the_sender(serializer, bad: BusMessage, why: str) -> None:
    """S-PROXY-4: what the peer would not take is an error at the sender that names the value."""
    with pytest.raises(LocalWireError, match=why):
        serializer.serialize(bad)


def test_look_alikes_in_frames_are_refused(serializer) -> None:
    """S-PROXY-4: a dict that looks like a typed value is found in a frame too."""
    frame = samples.TextFrame(id=1, name="x", metadata={"a": {"__type__": 1, "__data__": 2}})
    bad = bus.BusFrameMessage(source="a", frame=frame, direction=FrameDirection.UPSTREAM)
    with pytest.raises(LocalWireError, match="both keys"):
        serializer.serialize(bad)


def test_a_payload_that_contains_itself_is_refused(serializer) -> None:
    """S-PROXY-4: a circle, and nesting that no parser would survive, are errors at the sender."""
    circle: list[Any] = []
    circle.append(circle)
    for _ in range(2):
        with pytest.raises(LocalWireError, match="Circular reference"):
            serializer.serialize(request([1, circle]))
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(LocalWireError, match="contains itself, or nests too deeply"):
        serializer.serialize(request(deep))


def looks_typed(value: Any) -> bool:
    """Tell whether there is a dict with both keys in a payload."""
    if isinstance(value, dict):
        return value.keys() >= {"__type__", "__data__"} or any(map(looks_typed, value.values()))
    return isinstance(value, list) and any(map(looks_typed, value))


@settings(deadline=None, max_examples=500)
@given(
    st.dictionaries(
        st.sampled_from(["__type__", "__data__", "x"]),
        st.recursive(
            st.sampled_from(["bytes", "aGk=", "Plain", "__type__", "__data__", 1, None]),
            lambda inner: (
                st.lists(inner, max_size=2)
                | st.dictionaries(st.sampled_from(["__type__", "__data__", "text"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
@example({"__type__": "bytes"})
@example({"__type__": {"__data__": "__type__"}})
def test_no_payload_is_taken_for_something_else(payload: dict[str, Any]) -> None:
    """S-PROXY-4: a payload with Pipecat's own keys arrives as it was, or is refused at the sender."""
    serializer = samples.serializer()
    try:
        data = serializer.serialize(request(payload))
    except LocalWireError:
        assert looks_typed(payload)
    else:
        assert serializer.deserialize(data) == request(payload)


@pytest.mark.parametrize("size", [100, 2**19])
def test_too_big_is_an_error_at_the_sender(size: int) -> None:
    """S-PROXY-4: a message that exceeds the limit by one byte is refused at both ends."""
    exact = len(JSONMessageSerializer().serialize(request("x" * size)))
    fits = JSONMessageSerializer(limits=Limits(message_size=exact))
    assert fits.deserialize(fits.serialize(request("x" * size))) == request("x" * size)
    with pytest.raises(MessageTooBigError) as caught:
        fits.serialize(request("x" * size + "y"))
    assert (caught.value.size, caught.value.limit) == (exact + 1, exact)
    roomy = JSONMessageSerializer(limits=Limits(message_size=exact + 1))
    with pytest.raises(RemoteWireError, match=f"a message of {exact + 1} bytes"):
        fits.deserialize(roomy.serialize(request("x" * size + "y")))


def nested(depth: int) -> Any:
    """Nest dicts and lists."""
    value: Any = 0
    for level in range(depth):
        value = [value] if level % 2 else {"[": value}
    return value


def test_too_deep_is_an_error_at_both_ends(serializer) -> None:
    """S-PROXY-4: 64 levels, with the message's own two, cross; 65 do not."""
    assert crossed(request(nested(62))).payload == nested(62)
    with pytest.raises(LocalWireError, match="nests deeper than 64"):
        serializer.serialize(request(nested(63)))
    roomy = JSONMessageSerializer(limits=Limits(depth=65))
    with pytest.raises(RemoteWireError, match="nests deeper than 64"):
        serializer.deserialize(roomy.serialize(request(nested(63))))


# What does not come in


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON in UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        ("{}".encode("utf-16"), "not JSON"),
        (b"NaN", "NaN is no JSON number"),
        (b"[-Infinity]", "no JSON number"),
        (b"[1e999]", "1e999 is out of the range"),
        (b"1" * 5000, "digits"),
        (b"null", "no message: None"),
        (b'"x"', "no message"),
        (b"[1]", "no message"),
        (b"{}", "no message"),
        (b'{"__type__":"x"}', "no message"),
        (b'{"__type__":"x","__data__":{},"more":1}', "no message"),
        (b'{"__type__":["x"],"__data__":{}}', "no message"),
        (b'{"__type__":"x","__data__":[]}', "no message"),
        (text({}, "os.system"), "unknown type 'os.system'"),
        (text({}, "this.X"), "unknown type"),
        (text({}, "bytes"), "unknown type 'bytes'"),
        (text({}, "Plain"), "unknown type 'Plain'"),
        (text({}, "x" * 9999), r"unknown type 'xxx.*\.\.\."),
        (text({}, "pipecat.bus.messages.BusDataMessage"), "unknown type"),
        (text({}, "pipecat.bus.messages.BusAddWorkerMessage"), "local-only"),
        (text({}, "pipecat.bus.messages.BusWorkerLocalErrorMessage"), "local-only"),
        (text({}, "Secret"), "local-only"),
        (text({"source": "a"}), "no field 'job_id'"),
        (text(FIELDS | {"evil": 1, "evil2": 2}), r"unknown fields \['evil', 'evil2'\]"),
        (text(FIELDS | {"source": 5}), "field 'source': expected str, got 5 of type int"),
        (text(FIELDS | {"target": [1]}), "field 'target'"),
        (text(FIELDS | {"source": "x" * 129}), "field 'source': expected a name of at most 128"),
        (text(FIELDS | {"job_name": "x" * 129}), "field 'job_name'"),
        (text(FIELDS | {"payload": {"__type__": "os.x", "__data__": {}}}), "unknown type 'os.x'"),
        (text(FIELDS | {"payload": {"__type__": 1, "__data__": {}}}), "no typed value"),
        (text(FIELDS | {"payload": {"__type__": "bytes", "__data__": "=", "x": 1}}), "no typed"),
        (text(FIELDS | {"payload": {"__type__": "bytes", "__data__": "a==="}}), "no bytes"),
        (text(FIELDS | {"payload": {"__type__": "bytes", "__data__": 5}}), "no bytes in base64: 5"),
        (text(FIELDS | {"payload": [{"__type__": "Plain", "__data__": "x"}]}), "no fields of a"),
        (
            text(FIELDS | {"payload": [{"__type__": "Plain", "__data__": {}}]}),
            "bad Plain: no field",
        ),
        (
            text(
                FIELDS | {"payload": {"__type__": f"{Colour.__module__}.Colour", "__data__": "x"}}
            ),
            "no member of .*Colour: 'x'",
        ),
        (
            text(
                FIELDS | {"payload": {"__type__": f"{Colour.__module__}.Colour", "__data__": [1]}}
            ),
            "no member",
        ),
        (text(FIELDS | {"payload": {"__type__": REQUEST, "__data__": FIELDS}}), "unknown type"),
        (b'{"__type__":"x","__data__":{"a":"\\ud800"}}', r"\\ud800, half"),
        (b'{"__type__":"x","__data__":{"a":"\\uDC00\\ud800"}}', r"\\uDC00, half"),
        (b'{"__type__":"x","__data__":{"a":"\\ud800\\\\udc00"}}', r"\\ud800, half"),
        (b"[" * 10_000, "nests deeper than 64"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nests deeper than 64"),
        (b"[" * 500_000 + b"]" * 500_000, "nests deeper than 64"),
        (b"[[]" * 40 + b"}", "not JSON"),
        (b'["]",' * 200 + b"1" + b"]" * 200, "nests deeper than 64"),
        (b'["\\"]",' * 200 + b"1" + b"]" * 200, "nests deeper than 64"),
    ],
    ids=lambda each: repr(each)[:60],
)
def test_hostile_input_is_refused(serializer, data: bytes, why: str) -> None:
    """S-PROXY-4: whatever is no message of the table is one clear error, and never a message."""
    with pytest.raises(RemoteWireError, match=why) as caught:
        serializer.deserialize(data)
    assert len(str(caught.value)) < 1500


def test_a_hundred_megabytes_are_not_looked_at(serializer) -> None:
    """S-PROXY-4: what is too big is refused by its size alone."""
    with pytest.raises(RemoteWireError, match="a message of 104857600 bytes"):
        serializer.deserialize(bytes(100 * 2**20))


def test_statuses_are_known(serializer) -> None:
    """S-PROXY-4: a status is one of the four, as a plain string."""
    tag = "pipecat.bus.messages.BusJobResponseMessage"
    found = serializer.deserialize(text(FIELDS | {"status": "failed"}, tag))
    assert found.status is JobStatus.FAILED
    for status in ("FAILED", "done", 1, None, ["failed"], {"__type__": "x", "__data__": "FAILED"}):
        with pytest.raises(RemoteWireError, match=r"status|unknown type"):
            serializer.deserialize(text(FIELDS | {"status": status}, tag))


def test_typed_values_cannot_hide_behind_escapes(serializer) -> None:
    """S-PROXY-4: a key written with escapes is the same key."""
    hidden = text(FIELDS | {"payload": {"__type__": "os.x", "__data__": 1}})
    head, tail = hidden[:20], hidden[20:]
    for old, new in ((b"__type__", b"\\u005f_type__"), (b"__type__", b"__t\\u0079pe__")):
        with pytest.raises(RemoteWireError, match=r"unknown type 'os\.x'"):
            serializer.deserialize(head + tail.replace(old, new))
    whole = hidden.replace(b"__type__", b"\\u005f_type__")
    with pytest.raises(RemoteWireError, match=r"unknown type 'os\.x'"):
        serializer.deserialize(whole)


def test_the_last_of_two_equal_keys_counts(serializer) -> None:
    """S-PROXY-4: a key that stands twice means its last value, for the policy and for the worker."""
    data = text(FIELDS).replace(b'"source": "acme"', b'"source": "acme", "source": "evil"')
    assert serializer.deserialize(data).source == "evil"


def test_nothing_is_imported(serializer) -> None:
    """S-PROXY-4: a peer's tag never reaches the import system."""
    for module in ("this", "xdrlib", "idlelib.run", "turtledemo.clock"):
        assert module not in sys.modules
        for data in (
            text({}, f"{module}.X"),
            text(FIELDS | {"payload": json.loads(text({}, f"{module}.X"))}),
        ):
            with pytest.raises(RemoteWireError, match="unknown type"):
                serializer.deserialize(data)
        assert module not in sys.modules


def test_what_a_class_says_is_told_and_bounded() -> None:
    """S-PROXY-4: a class that refuses a value by itself is one clear error, of a bounded length."""

    def even(_: object, __: object, value: int) -> None:
        raise ValueError(f"{value} is odd" + "!" * 10_000)

    made = attrs.make_class("Even", {"n": attrs.field(type=int, validator=even)})
    serializer = JSONMessageSerializer(frames=[made])
    data = text(FIELDS | {"payload": {"__type__": "Even", "__data__": {"n": 3}}})
    with pytest.raises(RemoteWireError, match="ValueError: 3 is odd") as caught:
        serializer.deserialize(data)
    assert len(str(caught.value)) < 1000


def test_what_a_class_cannot_say() -> None:
    """S-PROXY-4: a class that refuses a value by an exception without text is one clear error."""

    class MuteError(ValueError):
        def __str__(self) -> str:
            raise RuntimeError

    def refuse(*_: object) -> None:
        raise MuteError

    made = attrs.make_class("Even", {"n": attrs.field(type=int, validator=refuse)})
    serializer = JSONMessageSerializer(frames=[made])
    data = text(FIELDS | {"payload": {"__type__": "Even", "__data__": {"n": 3}}})
    with pytest.raises(RemoteWireError, match="MuteError whose text raises RuntimeError"):
        serializer.deserialize(data)


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60) | samples.VALUES.map(lambda each: repr(each).encode()))
def test_garbage_is_refused(data: bytes) -> None:
    """S-PROXY-4: arbitrary bytes are refused, with no other error than the one for it."""
    with pytest.raises(RemoteWireError):
        samples.serializer().deserialize(data)


SEEDS = [each[3] for each in GOLDEN]
PIECES = [
    *(
        b'"',
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b":",
        b"null",
        b"NaN",
        b"\\",
        b"\\u005f",
        b"\xff",
        b"1e9",
    ),
    *(b'"__type__"', b'"__data__"', b'"bytes"', b"true", b"-1", b'"source"', b'"target":[1]'),
]


@pytest.mark.parametrize("seed", range(4))
def test_damaged_messages_are_read_or_refused(seed: int) -> None:
    """S-PROXY-4: a real message, damaged at random, is a message that can be sent, or the one error."""
    chance = random.Random(seed)
    serializer = samples.serializer()
    read = 0
    for _ in range(5_000):
        data = bytearray(chance.choice(SEEDS))
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randrange(30)]
                    data += b" "
                case 2:
                    data[at:at] = chance.choice(PIECES)
                case _:
                    other = chance.choice(SEEDS)
                    data[at:] = other[min(at, len(other)) :]
        try:
            found = serializer.deserialize(bytes(data))
        except RemoteWireError:
            continue
        read += 1
        if isinstance(found, bus.BusTTSSpeakMessage) and found.append_to_context is None:
            found = attrs.evolve(found, append_to_context=True)  # as it is written
        assert serializer.deserialize(serializer.serialize(found)) == found
    assert read > 50


# The table


def test_types_that_cannot_cross_are_refused_when_they_are_registered() -> None:
    """S-PROXY-4: a mistake in a message class shows where the serializer is made."""

    class Flags(enum.Flag):
        A = 1

    for kind, why in (
        (set[int], "set"),
        (dt.datetime, "datetime cannot cross a link"),
        (dict[int, str], "keys have to be str"),
        (Flags, "Flags cannot cross"),
        (request, "cannot cross"),
        (BusJobRequestMessage, "BusJobRequestMessage cannot cross"),
        (list[set[int]], "set"),
        ("NoSuchName", "cannot be resolved"),
    ):
        bad = message(
            type("Bad", (BusDataMessage,), {"__annotations__": {"x": kind}, "__module__": __name__})
        )
        with pytest.raises(TypeError, match=why):
            JSONMessageSerializer(messages=[bad])

    @attrs.frozen
    class Inner:
        x: set[int]

    outer = attrs.make_class("Outer", {"inner": attrs.field(type=Inner)})
    with pytest.raises(TypeError, match=r"Inner\.x"):
        JSONMessageSerializer(frames=[outer])


def test_only_messages_and_attrs_classes_are_registered() -> None:
    """S-PROXY-4: a class that is neither a message nor an attrs class is refused, with its name."""

    class Unmarked(BusDataMessage):
        pass

    with pytest.raises(TypeError, match="mark the class with @message"):
        JSONMessageSerializer(messages=[Unmarked])
    for bad in (int, BusJobRequestMessage):
        with pytest.raises(TypeError, match="make it an attrs class or an enum"):
            JSONMessageSerializer(frames=[bad])


def test_tags_are_unique() -> None:
    """S-PROXY-4: two classes with one tag, a tag of the package's own, and no tag are refused."""

    def make(tag: str) -> type:
        return attrs.make_class("Made", {"x": attrs.field(type=int)}, class_body={"wire_name": tag})

    with pytest.raises(ValueError, match="same tag 'a'"):
        JSONMessageSerializer(frames=[make("a"), make("a")])
    with pytest.raises(ValueError, match="same tag"):
        JSONMessageSerializer(frames=[make(REQUEST)])
    with pytest.raises(ValueError, match="needs a tag"):
        JSONMessageSerializer(frames=[make("")])
    with pytest.raises(ValueError, match="'bytes' has a meaning of its own"):
        JSONMessageSerializer(frames=[make("bytes")])


def test_known_and_base_classes_may_be_named_again() -> None:
    """`forward_messages` may be handed on as it is: the package's own messages are known already."""
    serializer = JSONMessageSerializer(
        messages=[bus.BusFrameMessage, BusDataMessage, bus.BusUIDataMessage, Secret, Secret]
    )
    with pytest.raises(LocalWireError, match="not registered"):
        serializer.serialize(BusDataMessage(source="a"))


def test_fields_without_annotation_take_anything() -> None:
    """S-PROXY-4: a field without an annotation is passed through."""
    loose = attrs.make_class("Loose", ["x"])
    serializer = JSONMessageSerializer(frames=[loose])
    original = request(loose({"a": b""}))
    assert serializer.deserialize(serializer.serialize(original)) == original


def everything(**changes: Any) -> Everything:
    """Make a message with every kind of field."""
    fields: dict[str, Any] = {
        "source": "a",
        "number": 1,
        "real": 1.0,
        "truth": True,
        "text": "",
        "blob": b"",
        "anything": None,
        "thing": None,
        "nothing": None,
        "colour": Colour.RED,
        "level": Level.LOW,
        "size": Size.SMALL,
        "point": Point(1),
        "choice": "a",
        "several": None,
        "numbers": [],
        "bare": [],
        "points": [],
        "pair": (1, ""),
        "row": (),
        "table": {},
        "loose": {},
        "user": 1,
        "marked": "",
        "maybe": None,
    }
    return Everything(**fields | changes)


@pytest.mark.parametrize(
    ("field", "bad"),
    [
        *(("number", each) for each in ("1", 1.0, True, None)),
        *(("real", each) for each in ("1", True, None)),
        *(("truth", each) for each in (1, "true", None)),
        *(("text", each) for each in (1, b"", None)),
        *(("blob", each) for each in ("", bytearray(), None)),
        *(("nothing", each) for each in (0, "")),
        *(("colour", each) for each in (1, "RED", FrameDirection.UPSTREAM, None)),
        *(("level", each) for each in ("LOW", 1, None)),
        *(("size", each) for each in (3, "SMALL", None)),
        *(("point", each) for each in ({"x": 1}, Plain(""), None)),
        *(("choice", each) for each in ("b", True, 1.0, 2)),
        *(("several", each) for each in (1.5, b"", [], True)),
        *(("numbers", each) for each in ("12", {"1": 1}, ["1"], [None], {1})),
        *(("bare", each) for each in ("ab", {}, None)),
        *(("points", each) for each in ([1], [{"x": 1}])),
        *(("pair", each) for each in ((1,), (1, "", 2), ("", 1), "ab")),
        *(("row", each) for each in (("1",), 1)),
        *(("table", each) for each in ({"a": 1}, {1: Point(1)}, [])),
        *(("loose", each) for each in ([], None)),
        *(("user", each) for each in ("1", None)),
        *(("marked", each) for each in (1, None)),
        *(("maybe", each) for each in ("1", 1.5)),
        *(("default", each) for each in ("1", 1.5)),
    ],
    ids=lambda each: repr(each)[:40],
)
def test_both_ends_check_every_field(field: str, bad: Any) -> None:
    """S-PROXY-4: a value of another type than annotated is refused by the sender, and by the reader."""
    serializer = samples.serializer()
    assert crossed(everything()) == everything()
    with pytest.raises(LocalWireError, match=rf"Everything\.{field} cannot cross"):
        serializer.serialize(everything(**{field: bad}))
    try:
        written = json.loads(serializer.serialize(request(bad)))["__data__"].get("payload")
    except LocalWireError:
        return  # JSON cannot say it at all
    data = json.loads(serializer.serialize(everything()))
    data["__data__"][field] = written
    if field == "table" and written == {"1": data["__data__"]["point"]}:
        return  # keys are strings on a wire
    with pytest.raises(RemoteWireError, match=rf"bad Everything: field '{field}'"):
        serializer.deserialize(json.dumps(data).encode())


def test_limits_are_checked() -> None:
    """S-PROXY-4: limits without sense are refused where they are set."""
    for bad in ({"depth": 3}, {"depth": 201}, {"message_size": 0}, {"name_length": 0}):
        with pytest.raises(ValueError, match="must be"):
            Limits(**bad)
    short = JSONMessageSerializer(limits=Limits(name_length=4))
    with pytest.raises(LocalWireError, match="at most 4 characters"):
        short.serialize(request())


class Shouting(JSONMessageSerializer):
    """A serializer of a user's own."""

    volume = 1

    def serialize(self, message: BusMessage) -> bytes:
        return super().serialize(message) + b" " * self.volume


def test_a_subclass_stays_what_it_is() -> None:
    """S-PROXY-7: a proxy that adds types to a serializer keeps what the user has made of it."""
    serializer = Shouting()
    serializer.volume = 3
    more = serializer.including([Everything])
    assert isinstance(more, Shouting)
    assert more.volume == 3
    assert Everything in more.messages
    assert Everything not in serializer.messages


@message
class Opaque(BusDataMessage):
    what: set[int] | None = None


@message
class Copycat(BusDataMessage):
    wire_name = "Everything"


def test_classes_that_are_added_if_possible() -> None:
    """S-PROXY-4: a class that cannot cross is left out, with the reason, and leaves no trace."""
    wanted = (Opaque, Everything, Copycat, Secret)
    serializer = JSONMessageSerializer().including((), if_possible=wanted)
    assert Everything in serializer.messages
    assert serializer.left_out.keys() == {Opaque, Copycat}
    assert "set[int] cannot cross" in serializer.left_out[Opaque]
    assert "the same tag 'Everything'" in serializer.left_out[Copycat]
    same = JSONMessageSerializer(messages=(Everything, Secret))
    for part in ("messages", "values", "tags", "local_only"):
        assert getattr(serializer._format.table, part) == getattr(same._format.table, part)
    # It can still be demanded.
    with pytest.raises(TypeError, match="cannot cross"):
        serializer.including((Opaque,))
    assert serializer.including((Copycat,)).left_out.keys() == {Opaque, Everything}
