"""Pictures of what was measured."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.plots import NoPlotError, check_path, could_draw, digest, draw_subject, is_measured
from benchmarks.subjects import Curve, Dots, Subject
from tests.benchmarks.records import record, reports

pytestmark = pytest.mark.usefixtures("fonts")

CURVE = Curve(
    "workers", "a title", "workers", "time", "message",
    {"ours": [(1, "a"), (100, "b")], "pipecat": [(1, "c"), (100, "d")]},
)  # fmt: skip
DOTS = Dots("ask", "another title", "round trip", [("one", "e"), ("other", "f")])
SUBJECT = Subject("a", [], plots=[CURVE, DOTS])


@pytest.mark.parametrize("suffix", [".svg", ".png"])
@pytest.mark.parametrize("keys", ["ab", "abcd", "ef"])
def test_what_is_drawn(tmp_path: Path, keys: str, suffix: str) -> None:
    """The first plot with figures is drawn, of the sides that took part."""
    samples = {key: [{"figures": {"p50": 1e-6, "p99": 2e-6}}] for key in "ef" if key in keys}
    samples |= {key: reports(1e-6, 2e-6) for key in "abcd" if key in keys}
    path = tmp_path / f"plot{suffix}"
    draw_subject(SUBJECT, record(samples), path)
    data = path.read_bytes()
    assert data.startswith(b"<?xml" if suffix == ".svg" else b"\x89PNG")
    shown = DOTS if keys == "ef" else CURVE
    assert digest(shown, record(samples)).encode() in data


def test_a_picture_is_the_same_file_again(tmp_path: Path) -> None:
    """Drawn again of the same figures, a picture is the same file."""
    found = record({"a": reports(1e-6), "b": reports(3e-6)})
    for name in ("one.svg", "two.svg"):
        draw_subject(SUBJECT, found, tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_nothing_to_draw(tmp_path: Path) -> None:
    """Where no plot has figures, that is an error, and no empty picture."""
    with pytest.raises(NoPlotError, match="nothing was measured"):
        draw_subject(SUBJECT, record({"a": reports(1e-6)}), tmp_path / "plot.svg")


@pytest.mark.parametrize(
    ("keys", "drawn"), [("a", False), ("ac", False), ("ab", True), ("cd", True), ("f", True)]
)
def test_what_will_be_drawn(keys: str, drawn: bool) -> None:
    """Whether there will be a picture is known before anything is measured: a line has two sizes."""
    assert could_draw(SUBJECT, keys) == drawn
    samples = {key: [{"figures": {"p50": 1e-6, "p99": 2e-6, "message": 1e-6}}] for key in keys}
    assert any(is_measured(plot, samples) for plot in SUBJECT.plots) == drawn


@pytest.mark.parametrize(
    ("name", "why"),
    [("plot.pdf", "is a .svg or a .png"), ("plot", "ends in ''"), ("no/plot.svg", "no folder")],
)
def test_a_file_that_cannot_be(tmp_path: Path, name: str, why: str) -> None:
    """A wrong suffix or folder is refused, before anything is measured."""
    with pytest.raises(NoPlotError, match=why):
        check_path(tmp_path / name)
