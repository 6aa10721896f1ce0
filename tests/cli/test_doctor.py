"""`trioworkers doctor`."""

from __future__ import annotations

import json

import pytest

import trioworkers
from tests.cli.program import run
from trioworkers._cli.doctor import Extra, Package, parse_requirement, satisfies


def test_json() -> None:
    """`--json` is one document with all versions, and each extra's packages."""
    done = run("doctor", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["versions"]["trioworkers"] == trioworkers.__version__
    assert {"python", "trio", "attrs", "cattrs", "trio-websocket"} <= found["versions"].keys()
    assert found["extras"]["cli"]["state"] == "installed"
    assert found["extras"]["cli"]["packages"].keys() == {"cyclopts", "rich"}
    assert found["extras"]["redis"]["install"] == "pip install 'trioworkers[redis]'"
    assert "bench" in found["extras"]
    assert "dev" not in found["extras"]


def test_plain() -> None:
    """Without a terminal there is one line for each version, extra and package, with tabs."""
    lines = [line.split("\t") for line in run("doctor").stdout.splitlines()]
    assert {fields[0] for fields in lines} == {"version", "extra", "package"}
    assert ["version", "trioworkers", trioworkers.__version__] in lines
    assert ["extra", "cli", "installed", "pip install 'trioworkers[cli]'"] in lines


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("trio>=0.31", ("trio", ">=0.31", None)),
        ("rich>=13.9; extra == 'cli'", ("rich", ">=13.9", "cli")),
        ('hiredis<4,>=3.5; extra == "redis"', ("hiredis", "<4,>=3.5", "redis")),
        ("pyright[nodejs]==1.1; extra == 'dev'", ("pyright", "==1.1", "dev")),
        ("a-b.c (>=1) ; python_version > '3' and extra == 'x'", ("a-b.c", ">=1", "x")),
        ("plain", ("plain", "", None)),
    ],
)
def test_requirements_are_understood(line: str, parts: tuple[str, str, str | None]) -> None:
    """A line of metadata names a package, the versions that will do, and perhaps an extra."""
    assert parse_requirement(line) == parts


@pytest.mark.parametrize(
    ("installed", "wanted", "expected"),
    [
        ("3.5.0", "<4,>=3.5", True),
        ("4.0", "<4,>=3.5", False),
        ("3.4.9", "<4,>=3.5", False),
        ("3.10", ">=3.9", True),
        ("1.0", "==1", True),
        ("2.0rc1", ">=2", True),
        ("1.0", "", True),
        ("1.0", "~=9.9", True),
    ],
)
def test_versions_are_compared(installed: str, wanted: str, expected: bool) -> None:
    """Versions are compared number by number; a clause of another kind is let pass."""
    assert satisfies(installed, wanted) is expected


@pytest.mark.parametrize(
    ("installed", "state"),
    [(None, "missing"), ("1.0", "wrong version"), ("2.1", "installed")],
)
def test_an_extra_is_as_good_as_its_worst_package(installed: str | None, state: str) -> None:
    """An extra lacks something as soon as one of its packages is missing or too old."""
    extra = Extra("x", (Package("fine", "", "1"), Package("other", ">=2", installed)))
    assert extra.state == state
