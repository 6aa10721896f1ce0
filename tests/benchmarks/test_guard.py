"""The guard against becoming slow, without what it measures."""

from __future__ import annotations

import json

import pytest

from benchmarks import guard
from benchmarks.guard import Verdict, instructions_in


@pytest.mark.parametrize(
    ("ratio", "base", "holds", "word"),
    [(1.2, 1.0, True, "PASS"), (1.4, 1.0, False, "FAIL"), (9.0, None, True, "no base")],
)
def test_verdicts(ratio: float, base: float | None, holds: bool, word: str) -> None:
    """A ratio may be above its base by the tolerance; without a base it is only shown."""
    verdict = Verdict("send", ratio, base, 0.3)
    assert verdict.holds == holds
    assert verdict.row[-1] == word


@pytest.mark.parametrize(
    ("report", "count"),
    [
        ("# started on\n\n123456,,instructions:u,1000,100.00,,\n", 123456),
        ("<not supported>,,instructions:u,0,100.00,,\n", None),
        ("events: Ir\nfn=(1)\ntotals: 98765\n", 98765),
        ("", None),
    ],
)
def test_counts(report: str, count: int | None) -> None:
    """What perf and callgrind write is understood, and so is that perf cannot count."""
    assert instructions_in(report) == count


def test_bases() -> None:
    """The bases are ratios to bare trio, for each Python the same ones."""
    bases = json.loads(guard.BASES.read_text(encoding="utf-8"))
    names = {*guard.timed_cases(), "instructions: send", "instructions: ask"}
    assert all(found.keys() == names for found in bases.values())
    assert all(ratio > 1 for found in bases.values() for ratio in found.values())
