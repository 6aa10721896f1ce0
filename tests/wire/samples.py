"""Messages of every type, made by hypothesis, and the user types that the tests register."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, NewType

import attrs
from hypothesis import strategies as st

import trioworkers.messages as bus
from trioworkers import BusDataMessage, BusLocalMessage, BusSystemMessage, message
from trioworkers._values import WorkerRegistryEntry
from trioworkers.wire import JSONMessageSerializer

UserId = NewType("UserId", int)


class Colour(enum.Enum):
    RED = 1
    GREEN = 2


class Level(enum.StrEnum):
    LOW = "low"
    HIGH = "high"


class Size(enum.IntEnum):
    SMALL = 1
    LARGE = 2


@attrs.frozen
class Point:
    """A value that stands in fields: nobody registers it by name."""

    x: int
    y: float = 0.0
    colour: Colour | None = None


@attrs.frozen
class TextFrame:
    """Pipecat's, with the fields that it writes."""

    wire_name: ClassVar[str] = "pipecat.frames.frames.TextFrame"

    id: int
    name: str
    metadata: dict[str, Any] = attrs.Factory(dict)
    interruptible: bool = True
    text: str = ""
    includes_inter_frame_spaces: bool = False
    append_to_context: bool = True


@attrs.frozen
class Plain:
    """A frame of our own."""

    text: str
    audio: bytes = b""
    points: tuple[Point, ...] = ()


@message
class Everything(BusDataMessage):
    """Every kind of field that may cross."""

    number: int
    real: float
    truth: bool
    text: str
    blob: bytes
    anything: Any
    thing: object
    nothing: None
    colour: Colour
    level: Level
    size: Size
    point: Point
    choice: Literal["a", 1] | None
    several: int | str | Point | None
    numbers: list[int]
    bare: list
    points: Sequence[Point]
    pair: tuple[int, str]
    row: tuple[int, ...]
    table: dict[str, Point]
    loose: dict
    user: UserId
    marked: Annotated[str, "marked"]
    maybe: int | None
    default: int | None = 5
    made: int = attrs.field(init=False, default=0)


@message
class Named(BusSystemMessage):
    """Has the names of Pipecat's own fields, and a tag of its own."""

    wire_name: ClassVar[str] = "app.messages.Named"

    id: int
    name: str


@message
class Secret(BusDataMessage, BusLocalMessage):
    """Never crosses."""


FRAMES = (TextFrame, Plain)
MESSAGES = (Everything, Named, Secret)


def serializer() -> JSONMessageSerializer:
    """Make a serializer that knows all of them."""
    return JSONMessageSerializer(messages=MESSAGES, frames=FRAMES)


NAMES = st.text("abcXYZ019_-.", min_size=1, max_size=12)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
OPTIONAL_TEXT = st.none() | TEXT
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
NUMBERS = st.integers() | st.integers(-(10**40), 10**40)
LEAVES = st.none() | st.booleans() | NUMBERS | FLOATS | TEXT | st.binary(max_size=9)
KEYS = TEXT | st.sampled_from(["__type__", "type", "data"])
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)
PAYLOADS = st.dictionaries(KEYS, VALUES, max_size=3)

POINTS = st.builds(Point, x=NUMBERS, y=FLOATS, colour=st.none() | st.sampled_from(list(Colour)))
PLAIN = st.builds(
    Plain, text=TEXT, audio=st.binary(max_size=9), points=st.lists(POINTS, max_size=2).map(tuple)
)
TEXT_FRAMES = st.builds(
    TextFrame,
    id=st.integers(),
    name=TEXT,
    metadata=PAYLOADS,
    text=TEXT,
    interruptible=st.booleans(),
)
ENTRIES = st.builds(
    WorkerRegistryEntry,
    name=NAMES,
    parent=st.none() | NAMES,
    active=st.booleans(),
    bridged=st.booleans(),
    started_at=st.none() | FLOATS,
)

# What a field of the package's own messages may hold, by its annotation.
_BY_ANNOTATION: dict[str, st.SearchStrategy[Any]] = {
    "str": NAMES,
    "str | None": st.none() | NAMES,
    "bool": st.booleans(),
    "bool | None": st.booleans(),  # None is written as True
    "int": NUMBERS,
    "float | None": st.none() | FLOATS,
    "Any": VALUES,
    "dict[str, Any] | None": st.none() | PAYLOADS,
    "list[str] | None": st.none() | st.lists(NAMES, max_size=3),
    "list[WorkerRegistryEntry]": st.lists(ENTRIES, max_size=3),
    "JobStatus": st.sampled_from(list(bus.JobStatus)),
    "FrameDirection": st.sampled_from(list(bus.FrameDirection)),
}

BASES = {bus.BusMessage, bus.BusDataMessage, bus.BusSystemMessage, bus.BusUIDataMessage}
BUILT_IN: list[type[bus.BusMessage]] = [
    cls
    for cls in (getattr(bus, name) for name in bus.__all__)
    if isinstance(cls, type) and bus.is_message_class(cls) and cls not in BASES
]
CROSSING = [cls for cls in BUILT_IN if not issubclass(cls, BusLocalMessage)]


def annotation(field: Any) -> str:
    """Name a field's type as the source does, also after it was resolved."""
    if isinstance(field.type, str):
        return field.type
    text = getattr(field.type, "__name__", "") if isinstance(field.type, type) else ""
    if not text or "[" in repr(field.type):
        text = repr(field.type)
    for prefix in ("typing.", "trioworkers._values."):
        text = text.replace(prefix, "")
    if text.startswith("Optional["):
        text = f"{text.removeprefix('Optional[').removesuffix(']')} | None"
    return text


def built_in(cls: Any) -> st.SearchStrategy[Any]:
    """Make messages of one of the package's own types."""
    fields = {}
    for field in attrs.fields(cls):
        fields[field.name] = _BY_ANNOTATION[annotation(field)]
    if cls is bus.BusFrameMessage:
        fields["frame"] = PLAIN | TEXT_FRAMES
    if cls is bus.BusTTSSpeakMessage:
        fields["text"] = TEXT
    return st.builds(cls, **fields)


EVERYTHING = st.builds(
    Everything,
    source=NAMES,
    target=st.none() | NAMES,
    number=NUMBERS,
    real=FLOATS | st.integers(),
    truth=st.booleans(),
    text=TEXT,
    blob=st.binary(max_size=9),
    anything=VALUES,
    thing=VALUES,
    nothing=st.none(),
    colour=st.sampled_from(list(Colour)),
    level=st.sampled_from(list(Level)),
    size=st.sampled_from(list(Size)),
    point=POINTS,
    choice=st.sampled_from(["a", 1, None]),
    several=NUMBERS | TEXT | POINTS | st.none(),
    numbers=st.lists(NUMBERS, max_size=3),
    bare=st.lists(VALUES, max_size=3),
    points=st.lists(POINTS, max_size=2),
    pair=st.tuples(NUMBERS, TEXT),
    row=st.lists(NUMBERS, max_size=3).map(tuple),
    table=st.dictionaries(TEXT, POINTS, max_size=2),
    loose=PAYLOADS,
    user=NUMBERS,
    marked=TEXT,
    maybe=st.none() | NUMBERS,
    default=st.none() | NUMBERS,
)
NAMED = st.builds(Named, source=NAMES, target=st.none() | NAMES, id=NUMBERS, name=TEXT)

ANY_MESSAGE = st.one_of(*map(built_in, CROSSING), EVERYTHING, NAMED)
