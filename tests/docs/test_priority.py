"""The page on measuring priority has the knobs of the code."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import attrs
import pytest

from benchmarks import priority_plots
from tests.cli.program import run_command
from tests.docs.pages import DOCS, scripts
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the page's scenario in `my_module.py`."""
    (script,) = scripts(DOCS / "priority.md")
    (tmp_path / "my_module.py").write_text(script.block.text, encoding="utf-8")
    return tmp_path


def test_the_scenario_is_measured_by_the_command(folder: Path) -> None:
    """The page's scenario, in a file of the name that the page gives it, is measured by the command of the page."""
    command = ["-m", "trioworkers", "bench", "priority", "--scenario", "my_module:scenario"]
    less = ["--rounds", "1", "--backlog", "10", "--probes", "10"]
    done = run_command([sys.executable, *command, *less], cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "load: the scenario my_module:scenario" in done.stdout


def test_the_scenario_runs_by_itself(folder: Path) -> None:
    """The same file, run as a program, prints what it has measured."""
    done = run_command([sys.executable, "my_module.py"], cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("p99 of 100 system messages: ")
