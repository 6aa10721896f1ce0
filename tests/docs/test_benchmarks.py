"""The page of figures shows what the benchmarks have written, and nothing else."""

from __future__ import annotations

import re

import pytest

from benchmarks import report


def test_the_tables_are_the_results() -> None:
    """Every table on the page is what its benchmark shows of the file that it wrote."""
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page) == page
    assert set(re.findall(r"<!-- (\w+) -->", page)) == {
        path.stem for path in report.RESULTS.glob("*.json")
    }


def test_the_pictures_are_of_the_results() -> None:
    """Every picture on the page was drawn of the results, and there are no others."""
    paths = set()
    for name in report.DRAWN:
        for plot, path in report.pictured(name):
            assert report.is_current(plot, report.measured(name), path), f"{path}: draw it again"
            paths.add(path)
    assert set(re.findall(r"plots/(\w+\.svg)", report.PAGE.read_text(encoding="utf-8"))) >= {
        path.name for path in paths
    }


def test_a_table_that_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is replaced whole, and the text around it stays."""
    monkeypatch.setattr(report, "shown", lambda name: f"new {name}")
    page = "before\n<!-- core -->\n\n```text\nold\n```\nafter\n"
    assert report.filled(page) == "before\n<!-- core -->\n\n```text\nnew core\n```\nafter\n"
