"""The page on measuring priority has the knobs of the code."""

from __future__ import annotations

import re

import attrs

from benchmarks import priority_plots
from tests.docs.pages import DOCS
from trioworkers.bench import PrioritySettings

PAGE = (DOCS / "priority.md").read_text(encoding="utf-8")


def test_the_knobs_are_those_of_the_settings() -> None:
    """Each setting has a row with its default and its sentence, in order."""
    table = PAGE[PAGE.index("| knob |") : PAGE.index("Pipecat and Pykka have no bounded")]
    rows = re.findall(r"^\| `(\w+)` \| `(.+)` \| (.+) \|$", table, re.MULTILINE)
    texts = PrioritySettings.help()
    assert rows == [
        (field.name, repr(field.default), texts[field.name])
        for field in attrs.fields(PrioritySettings)
    ]


def test_the_pictures_are_those_that_are_drawn() -> None:
    """Each picture has a row."""
    named = re.findall(r"^\| `priority(?:-(\w+))?\.svg` \|", PAGE, re.MULTILINE)
    drawn = [name for name, _, _ in priority_plots.PICTURES]
    assert named == ["", *drawn[1:]]
