"""What must hold of measured figures, and the table."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.claims import Claim, Figure, Samples, aligned, judge, lines_of
from benchmarks.stats import in_us
from tests.benchmarks.records import reports

TITLES = {"mine": "ours", "theirs": "Other"}
MINE, THEIRS = Figure("mine", "message"), Figure("theirs", "message")
Kind = Literal["faster", "within", "share", "below"]


@pytest.mark.parametrize(
    ("kind", "bound", "verdict", "ratio"),
    [
        ("faster", 3, "PASS", "4x [2 - 5]"),
        ("faster", 4.5, "FAIL", "4x [2 - 5]"),
        ("within", 0.5, "PASS", "0.25x [0.2 - 0.5]"),
        ("within", 0.2, "FAIL", "0.25x [0.2 - 0.5]"),
        ("share", 400, "PASS", "400 % [200 - 500]"),
        ("share", None, "info", "400 % [200 - 500]"),
    ],
)
def test_ratios_within_rounds(kind: Kind, bound: float | None, verdict: str, ratio: str) -> None:
    """A ratio is made within each round; the verdict is about the median of the rounds."""
    samples = {"mine": reports(1e-6, 2e-6, 1e-6), "theirs": reports(4e-6, 4e-6, 5e-6)}
    line = judge(Claim("a line", MINE, in_us, kind, bound, other=THEIRS), samples, TITLES)
    assert (line.verdict, line.ratio) == (verdict, ratio)
    assert (line.ours, line.other) == ("1 us", "Other 4 us")


def test_a_figure_alone() -> None:
    """A bound of our own figure compares with nobody, and shows its spread."""
    claim = Claim("a line", MINE, in_us, "below", 2e-6)
    line = judge(claim, {"mine": reports(1e-6, 3e-6, 1e-6)}, TITLES)
    assert (line.verdict, line.other, line.ratio) == ("PASS", "-", "[1 us - 3 us]")
    assert line.needed == "<= 2 us"


def test_a_process_that_failed() -> None:
    """A claim about what could not be measured fails."""
    samples = {"mine": reports(1e-6), "theirs": [{"error": "killed"}]}
    claim = Claim("a line", MINE, in_us, "faster", 2, other=THEIRS)
    assert judge(claim, samples, TITLES).verdict == "FAIL"


@pytest.mark.parametrize(("bound", "verdict"), [(None, "skip"), (2, "FAIL")])
def test_a_process_with_nothing_to_tell(bound: float | None, verdict: str) -> None:
    """A figure that a process does not have fails what must hold, and nothing else."""
    samples: Samples = {"mine": reports(1e-6), "theirs": [{"figures": {}}]}
    line = judge(Claim("a line", MINE, in_us, "faster", bound, other=THEIRS), samples, TITLES)
    assert (line.verdict, line.ours, line.other) == (verdict, "1 us", "-")


def test_what_was_not_asked_for() -> None:
    """Lines about sides that did not take part are left out."""
    claims = [
        Claim("a", MINE, in_us, "below", 1),
        Claim("b", MINE, in_us, "faster", 1, other=THEIRS),
    ]
    assert [line.title for line in lines_of(claims, {"mine": reports(1e-6)}, TITLES)] == ["a"]


@given(st.lists(st.tuples(st.text("abc ", max_size=9), st.text("de", max_size=9)), min_size=1))
def test_columns(rows: list[tuple[str, str]]) -> None:
    """A column begins at the same place in every row."""
    lines = aligned([("head", "second"), *rows])
    start = lines[1].index(" ") + 2 if " " in lines[1] else len(lines[1])
    assert lines[0].index("second") == start
    for (_, second), line in zip(rows, lines[2:], strict=True):
        assert line[start:] == second.rstrip()


@pytest.mark.parametrize(
    ("kind", "bound", "open_sides", "verdict", "ratio"),
    [
        ("faster", 3, ("theirs",), "PASS", "> 4x [-]"),
        ("faster", 3, ("mine",), "FAIL", "< 4x [-]"),
        ("within", 3, ("theirs",), "PASS", "< 0.25x [-]"),
        ("within", 3, ("mine",), "FAIL", "> 0.25x [-]"),
        ("faster", 3, ("mine", "theirs"), "FAIL", "-"),
        ("faster", None, ("theirs",), "info", "> 4x [-]"),
    ],
)
def test_ratios_of_bounds(
    kind: Kind, bound: float | None, open_sides: tuple[str, ...], verdict: str, ratio: str
) -> None:
    """A ratio to a time waited in vain is a bound, and no claim holds that it does not prove."""
    samples = {"mine": reports(1e-6), "theirs": reports(4e-6)}
    for side in open_sides:
        samples[side][0]["bounds"] = ["message"]
    line = judge(Claim("a line", MINE, in_us, kind, bound, other=THEIRS), samples, TITLES)
    assert (line.verdict, line.ratio) == (verdict, ratio)
    assert line.ours == "> " * ("mine" in open_sides) + "1 us"
    assert line.other == f"Other {'> ' * ('theirs' in open_sides)}4 us"


def test_a_bound_alone() -> None:
    """A figure of ours that is a bound is not below anything."""
    samples: Samples = {"mine": [{**reports(1e-6)[0], "bounds": ["message"]}]}
    line = judge(Claim("a line", MINE, in_us, "below", 2e-6), samples, TITLES)
    assert (line.verdict, line.ours) == ("FAIL", "> 1 us")
