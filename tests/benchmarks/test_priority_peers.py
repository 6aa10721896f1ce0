"""The peers' sides of the benchmark of priority, where their environments are there."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from benchmarks.harness import run_once
from benchmarks.priority import SUBJECT
from benchmarks.priority_parts import as_parameters
from benchmarks.priority_table import complete_report
from trioworkers.bench import PrioritySettings

SHORT = PrioritySettings(backlog=100, probes=20, interval=0.0005, producers=2, patience=10)

PEERS = pytest.mark.parametrize("name", list(SUBJECT.peers))


def report_of(name: str, case: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Run one case of a peer's side."""
    if not SUBJECT.peers[name].is_ready():
        pytest.skip(f"the environment of {name} is not there: make interop makes it")
    report = run_once(SUBJECT.sides(peers=True)[name], case, parameters)
    assert "error" not in report
    complete_report(report)
    return report


@PEERS
@pytest.mark.parametrize(
    "knobs", [{}, {"handler": "sleeping", "cost": 0.0001}, {"neighbours": 5}], ids=str
)
def test_a_load(name: str, knobs: dict[str, Any]) -> None:
    """A peer handles every probe under a flood, and tells both lanes as ours does."""
    settings = attrs.evolve(SHORT, **knobs)
    figures = report_of(name, "load", as_parameters(settings, name))["figures"]
    assert figures["unhandled"] == 0
    assert figures["system_p50"] > 0
    assert figures["data_p50"] > 0


@PEERS
def test_a_flood_stops_at_its_backlog(name: str) -> None:
    """A peer without bounds is not flooded with more than a mailbox of ours would hold."""
    settings = attrs.evolve(SHORT, backlog=0, producers=8, probes=200)
    report = report_of(name, "load", as_parameters(settings, name))
    depths = [int(item.split(":")[1]) for item in report["recorded"]["depths"].split()]
    assert max(depths) <= 256 + 8 * 64


@PEERS
def test_a_backlog(name: str) -> None:
    """A peer handles the system message that is due behind a backlog."""
    figures = report_of(name, "backlog", {"backlog": 100, "repetitions": 2})["figures"]
    assert figures["p50"] > 0


def test_a_cancel() -> None:
    """Pipecat's data handlers before and after a cancel are told, to be drawn."""
    report = report_of("pipecat", "cancel", {"backlog": 50})
    assert report["recorded"]["events"].count("d") == 50
