"""Payloads are taken as they are meant, or refused: nothing is guessed."""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Mapping, MutableSequence, MutableSet, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, Generic, Literal, NotRequired, Required, TypedDict, TypeVar

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers._payloads import MisfitError, as_plain, as_type, is_frozen

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"


@attrs.frozen
class Point:
    x: int
    y: int = 0


@attrs.define
class Box(Generic[T]):
    held: T


@attrs.define
class Tree:
    children: list[Tree] = attrs.field(factory=list)
    parent: Any = None


@attrs.define
class Unresolvable:
    field: Missing  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


@attrs.frozen
class Held:
    inner: Any


@attrs.frozen
class Left:
    kind: Literal["left"]


@attrs.frozen
class Right:
    kind: Literal["right"]


class Keys(TypedDict):
    x: int
    words: NotRequired[list[str]]


class MoreKeys(Keys, total=False):
    y: Required[int]
    z: Point


class LostKeys(TypedDict):
    field: Missing  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable]


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError


def refuse(error: Exception) -> Any:
    """Return a converter that raises `error`."""

    def convert(value: Any) -> Any:
        raise error

    return convert


MOMENT = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("kind", "data", "made"),
    [
        (int, 1, 1),
        (float, 1, 1),
        (float, 0.5, 0.5),
        (bool, True, True),
        (str, "1", "1"),
        (bytes, b"1", b"1"),
        (Any, object, object),
        (object, 1, 1),
        (Colour, "red", Colour.RED),
        (Literal["a"], "a", "a"),
        (int | str, "a", "a"),
        (int | None, None, None),
        (int | bool, True, True),
        (dict[str, Any], {"a": [1]}, {"a": [1]}),
        (dict, {"a": [1]}, {"a": [1]}),
        (Mapping[str, Any], {"a": [1]}, {"a": [1]}),
        (Point, {"x": 1}, Point(1)),
        (Point | None, {"x": 1}, Point(1)),
        (dict[str, Point], {"a": {"x": 1}}, {"a": Point(1)}),
        (list[int], (1, 2), [1, 2]),
        (list, [1, "a"], [1, "a"]),
        (list[Point], [{"x": 1}], [Point(1)]),
        (Sequence[str], ["a"], ["a"]),
        (MutableSequence[str], ("a",), ["a"]),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple, [1, "a"], (1, "a")),
        (set[int], [1, 1], {1}),
        (MutableSet[int], {1}, {1}),
        (frozenset[int], {1}, frozenset({1})),
        (AbstractSet[int], [1], frozenset({1})),
        (deque[int], deque([1]), deque([1])),
        (datetime, MOMENT, MOMENT),
        (Tree, {"children": [{"children": []}]}, Tree([Tree()])),
        (Keys, {"x": 1}, {"x": 1}),
        (Keys, {"x": 1, "words": ["a"]}, {"x": 1, "words": ["a"]}),
        (MoreKeys, {"x": 1, "y": 2, "z": {"x": 3}}, {"x": 1, "y": 2, "z": Point(3)}),
    ],
)
def test_what_fits(kind: Any, data: object, made: object) -> None:
    """Plain data becomes what the annotation says, also inside an object."""
    assert as_type({"held": data}, Box[kind]) == Box(made)


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (int, "1"),
        (int, True),
        (int, 1.0),
        (float, "1"),
        (float, True),
        (bool, 1),
        (str, 1),
        (str, b"1"),
        (bytes, "1"),
        (Colour, "blue"),
        (Literal["a"], "b"),
        (int | str, 1.5),
        (int | str, True),
        (int | None, True),
        (dict, [("a", 1)]),
        (Point, {"x": "1"}),
        (Point, {"y": 1}),
        (Point, {"x": 1, "z": 1}),
        (Point, []),
        (Point, ""),
        (Point, None),
        (Point | None, ()),
        (list[str], "abc"),
        (list[str], {"a": 1}),
        (list[str], None),
        (list[str], [1]),
        (list, "abc"),
        (tuple[str, ...], "abc"),
        (tuple[str, str], "ab"),
        (tuple[int, int], [1]),
        (tuple[int, int], [1, 2, 3]),
        (set[str], "abc"),
        (deque[str], "abc"),
        (dict[str, int], [("a", 1)]),
        (dict[str, int], {"a": "1"}),
        (datetime, "2026-01-01"),
        (Keys, {}),
        (Keys, {"x": "1"}),
        (Keys, {"x": 1, "words": "abc"}),
        (Keys, {"x": 1, "more": 2}),
        (Keys, {"x": 1, 2: 3}),
        (Keys, [("x", 1)]),
        (MoreKeys, {"x": 1}),
        (LostKeys, {"field": 1}),
    ],
)
def test_what_does_not_fit(kind: Any, data: object) -> None:
    """Nothing is converted that only looks alike: numbers, strings, characters, keys, pairs."""
    with pytest.raises(MisfitError):
        as_type({"held": data}, Box[kind])


@pytest.mark.parametrize("data", [[], "", 5, None, [("x", 1)], "x"])
def test_an_object_is_made_of_a_dict(data: object) -> None:
    """Whatever a peer sends where an object is wanted, the error names it."""
    with pytest.raises(TypeError, match="expected the fields of Point, got"):
        as_type(data, Point)


def test_errors_do_not_repeat_a_long_value() -> None:
    """The error about a value of a megabyte is short."""
    with pytest.raises(TypeError) as caught:
        as_type("x" * 1_000_000, Point)
    assert len(str(caught.value)) < 200


def test_a_kind_that_no_payload_can_be() -> None:
    """An annotation that nothing can be checked against is a misfit that names it."""
    with pytest.raises(MisfitError, match="no payload can be a ~T"):
        as_type(1, T)


def test_annotations_that_cannot_be_resolved() -> None:
    """A class whose annotations name nothing is a misfit that says so."""
    with pytest.raises(
        TypeError, match=r"Unresolvable cannot be resolved.*'Missing'.*module level"
    ):
        as_type({"field": 1}, Unresolvable)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({"kind": "up"}, "'up' is missing or unknown"),
        ({}, "'kind' is missing or unknown"),
        ({"kind": []}, "unhashable"),
        (5, "mappings"),
    ],
)
def test_no_member_of_a_union_fits(data: object, problem: str) -> None:
    """S-JOB-3: data that fits no member of a union of classes is a misfit, whatever cattrs raises."""
    with pytest.raises(MisfitError, match=problem):
        as_type(data, Left | Right)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (ArithmeticError("odd"), "^odd$"),
        (AssertionError(), "^AssertionError: $"),
        (Mute(), "^<Mute whose text raises RuntimeError>$"),
        (ExceptionGroup("", [ValueError(1), ValueError(2)]), "^1; 2$"),
    ],
)
def test_what_a_converter_raises_is_a_misfit(error: Exception, problem: str) -> None:
    """S-JOB-3: whatever a class's own code raises about data is a misfit that says what."""
    picky = attrs.make_class("Picky", {"x": attrs.field(converter=refuse(error))})
    with pytest.raises(MisfitError, match=problem):
        as_type({"x": 1}, picky)


def test_a_frozen_object_is_passed_as_it_is() -> None:
    """A frozen payload is not copied on its way through a process."""
    point = Point(1)
    assert as_type(point, Point) is point


def test_an_object_that_can_change_is_copied() -> None:
    """Two workers never share an object that either can change, nor a list inside it."""
    tree = Tree([Tree()])
    copied = as_type(tree, Tree)
    assert copied == tree
    assert copied is not tree
    assert copied.children is not tree.children


def test_what_is_shared() -> None:
    """What an annotation leaves open is shared if it came in a dict or in a frozen object."""
    held: list[Any] = [{"a": [1]}]
    frozen = Held(held)
    assert as_type(frozen, Held).inner is held
    assert as_type({"held": held}, Box[Any]).held is held
    assert as_type({"held": held}, dict[str, Any])["held"] is held
    assert as_type({"held": held}, Box[list[Any]]).held is not held
    assert as_type({"held": held}, Box[list[Any]]).held[0] is held[0]
    copied = as_type(Box(held), Box[Any]).held
    assert copied == held
    assert copied is not held
    assert copied[0] is not held[0]
    other = Mute()
    assert as_type(Box(other), Box[Any]).held is other


def test_an_object_of_another_class_is_looked_at_by_its_fields() -> None:
    """An attrs object fits another class with the same fields, as it would over a link."""

    @attrs.frozen
    class Position:
        x: int
        y: int

    assert as_type(Position(1, 2), Point) == Point(1, 2)


def test_an_object_that_contains_itself() -> None:
    """A payload that goes round in a circle is a misfit, and ends nobody's turn."""
    tree = Tree()
    tree.parent = tree
    with pytest.raises(MisfitError):
        as_plain(tree)


@pytest.mark.parametrize(
    ("value", "frozen"), [(Point(1), True), (Tree(), False), ({}, False), (Point, False)]
)
def test_is_frozen(value: object, frozen: bool) -> None:
    """Only an instance of a frozen attrs class is frozen."""
    assert is_frozen(value) is frozen


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (None, None),
        (Point(1), {"x": 1, "y": 0}),
        (Box([Point(1)]), {"held": [{"x": 1, "y": 0}]}),
        (Box(Colour.RED), {"held": "red"}),
        (Point, Point),
    ],
)
def test_as_plain(value: object, plain: object) -> None:
    """Objects become dicts all the way down; anything else is left alone."""
    assert as_plain(value) == plain


def test_a_dict_is_left_alone() -> None:
    """A dict is plain already and is not copied."""
    data = {"a": Point(1)}
    assert as_plain(data) is data


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=6,
)
KINDS: list[Any] = [
    *(int, float, bool, str, bytes, Colour, Point, Tree, int | str | None, Point | None),
    *(
        Left | Right,
        list[int],
        tuple[str, str],
        set[str],
        frozenset[int],
        deque[str],
        dict[str, int],
        datetime,
        Keys,
        MoreKeys,
    ),
]


@settings(deadline=None)
@given(JSON, st.sampled_from(KINDS))
def test_any_data_fits_or_is_a_misfit(data: Any, kind: Any) -> None:
    """Nothing a peer can send raises anything but a misfit."""
    for value, wanted in ((data, kind), ({"held": data}, Box[kind])):
        with suppress(MisfitError):
            as_type(value, wanted)


@settings(deadline=None)
@given(st.builds(Box, st.lists(st.builds(Point, st.integers(), st.integers()), max_size=4)))
def test_there_and_back(box: Box[list[Point]]) -> None:
    """What was made plain becomes equal again."""
    assert as_type(as_plain(box), Box[list[Point]]) == box
