"""The page of figures shows what the benchmarks have written, and nothing else."""

from __future__ import annotations

import re

import pytest

from benchmarks import report


def test_the_tables_are_the_results() -> None:
    """Every table on the page is what its benchmark shows of the file that it wrote."""
    page = report.PAGE.read_text(encoding="utf-8")
    assert report.filled(page) == page
    measured = {path.stem for path in report.RESULTS.glob("*.json")}
    shown = set(re.findall(r"<!-- (\w+) -->", page))
    assert measured <= shown
    assert page.count(f"```text\n{report.NOT_YET}\n```") == len(shown - measured)


def test_the_pictures_are_of_the_results() -> None:
    """Every picture on the page was drawn of the results, and there are no others."""
    page = report.PAGE.read_text(encoding="utf-8")
    paths = set()
    for name in re.findall(r"<!-- plots: (\w+) -->", page):
        for picture in report.pictures(name):
            assert picture.is_current(), f"{picture.path}: python -m benchmarks.report draws it"
            paths.add(picture.path)
    assert set(report.PICTURES.glob("*.svg")) == paths


def test_a_table_that_is_out_of_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table is replaced whole, and the text around it stays."""
    monkeypatch.setattr(report, "shown", lambda name: f"new {name}")
    page = "before\n<!-- core -->\n\n```text\nold\n```\nafter\n"
    assert report.filled(page) == "before\n<!-- core -->\n\n```text\nnew core\n```\nafter\n"
