"""What the tests of pictures share."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.plots import draw
from benchmarks.subjects import Curve, Dots, Subject
from tests.benchmarks.records import record, reports


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let matplotlib open its fonts, which it never closes."""
    folder: Path = tmp_path_factory.mktemp("fonts")
    curve = Curve("a", "a", "a", "a", "message", {"ours": [(1, "a"), (2, "b")]})
    dots = Dots("b", "b", "b", [("b", "c")])
    samples = {"a": reports(1e-6), "b": reports(2e-6)}
    samples["c"] = [{"figures": {"p50": 1e-6, "p99": 2e-6}}]
    for plot in (curve, dots):
        for suffix in ("svg", "png"):
            draw(plot, Subject("a", []), record(samples), folder / f"a.{suffix}")
