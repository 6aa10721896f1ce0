"""The page about the native dialect says what the code does."""

from __future__ import annotations

import importlib.util
import re
from types import ModuleType

import attrs
import pytest

from tests.docs.pages import DOCS
from trioworkers.wire import chunks, session
from trioworkers.wire.chunks import Kind
from trioworkers.wire.hello import Hello, LinkLimits, Place

PAGE = (DOCS / "wire.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    """Load the command that fills the page."""
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_made_is_up_to_date(generate: ModuleType) -> None:
    """The diagram is that of the table, and the example what two sessions say."""
    assert generate.filled(PAGE) == PAGE, "run python docs/generate.py"


def test_the_diagram_has_every_transition(generate: ModuleType) -> None:
    """Each entry of the table is an arrow."""
    arrows = {
        (before, kind, after)
        for before, after, kinds in re.findall(r"(\w+) --> (\w+): (.+)", generate.diagram())
        for kind in kinds.split(", ")
    }
    assert arrows == {
        (before.name, kind.name, after.name)
        for before, following in session.TRANSITIONS.items()
        for kind, after in following.items()
    }


def test_a_page_without_a_place_for_it(generate: ModuleType) -> None:
    """What has no place on the page is missed."""
    with pytest.raises(ValueError, match="no place for diagram"):
        generate.filled("nothing")


def test_every_kind_is_explained() -> None:
    """The table of kinds has each with its number."""
    rows = re.findall(r"^\| (\d+) \| ([A-Z]+) \|", PAGE, re.MULTILINE)
    assert [(int(number), name) for number, name in rows] == [(k.value, k.name) for k in Kind]


@pytest.mark.parametrize("cls", [Hello, LinkLimits, Place])
def test_every_field_of_a_hello_is_shown(cls: type[attrs.AttrsInstance]) -> None:
    """The hello on the page has every field."""
    (shown,) = re.findall(r"## Hello\n+```json\n(.*?)```", PAGE, re.DOTALL)
    assert all(f'"{field.name}":' in shown for field in attrs.fields(cls))


def test_the_limits_are_those_of_the_code() -> None:
    """The numbers of the page are those that hold."""
    (limits,) = re.findall(r"^## Limits\n(.*?)^## ", PAGE, re.MULTILINE | re.DOTALL)
    found = [int(number) for number in re.findall(r"\b\d{1,6}\b", limits)]
    assert found == [
        *(session.SLACK, session.CHUNKS, 4, session.MESSAGES),
        *(session.CANCELS, session.HOLDS, chunks.META),
    ]
