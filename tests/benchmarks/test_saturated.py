"""What waits behind a full link: the bound, the slow line, and the processes that measure."""

from __future__ import annotations

import pytest

from benchmarks import saturated
from benchmarks.harness import Side, run_once
from benchmarks.saturated_relay import TICK, Pacer
from benchmarks.saturated_side import WINDOW, figures
from benchmarks.side import percentiles
from trioworkers.proxies._proxy import WINDOW as DEFAULT_WINDOW


def test_a_line_carries_one_piece_after_the_other() -> None:
    """What comes while the line is busy has crossed when all before it has, and at its rate."""
    pacer = Pacer(1_000)
    assert pacer.piece == 2
    assert pacer.crossed(10, 2) == pytest.approx(10.002)
    assert pacer.crossed(10, 2) == pytest.approx(10.004)
    # Who was woken a little late does not make the line slower.
    assert pacer.crossed(10.005, 2) == pytest.approx(10.006)


def test_a_line_that_was_idle_saves_nothing_up() -> None:
    """After a pause the line is no faster than before."""
    pacer = Pacer(1_000)
    pacer.crossed(10, 2)
    assert pacer.crossed(20, 2) == pytest.approx(20.002)


def test_a_line_holds_little() -> None:
    """What the relay takes at once is crossed within its tick, and never nothing."""
    assert Pacer(2_000_000).piece / 2_000_000 <= TICK
    assert Pacer(1).piece == 1


def test_the_bound_is_computed_of_what_was_measured() -> None:
    """It is a window at the measured rate, a pass of both loops, and what the relay holds."""
    sent = {"cancel 0": 1.0, "system 0": 2.0, "cancel 1": 3.0, "system 1": 4.0}
    arrived = {"cancel 0": 1.1, "system 0": 2.2, "cancel 1": 3.3, "system 1": 4.4}
    near, far = percentiles([0.001, 0.003]), percentiles([0.01, 0.01])
    found = figures(sent, arrived, WINDOW * 2.0, (near, far), 0.5)
    assert found["window"] == 0.5
    assert found["bound p50"] == pytest.approx(0.5 + 0.002 + 0.01 + 0.5)
    assert found["bound max"] == pytest.approx(0.5 + 0.003 + 0.01 + 0.5)
    assert (found["cancel p50"], found["cancel max"]) == pytest.approx((0.2, 0.3))
    assert (found["system p50"], found["system max"]) == pytest.approx((0.3, 0.4))


def test_the_window_is_that_of_the_proxies() -> None:
    """What is measured is what users have who set nothing."""
    assert WINDOW == DEFAULT_WINDOW


@pytest.mark.parametrize("line", saturated.LINES)
def test_what_must_hold(line: str) -> None:
    """Over each line the 99th percentiles must not exceed the bound of the same run."""
    bound = [claim for claim in saturated.claims(line) if claim.bound is not None]
    assert [(claim.ours.field, claim.kind, claim.bound) for claim in bound] == [
        ("cancel p99", "within", 1),
        ("system p99", "within", 1),
    ]
    for claim in bound:
        assert claim.other is not None
        assert (claim.other.run, claim.other.field) == (claim.ours.run, "bound p99")


@pytest.mark.parametrize("dialect", ["native", "pipecat"])
@pytest.mark.parametrize("rate", [0, 10_000_000])
def test_the_processes_measure(rate: int, dialect: str) -> None:
    """Everything that was sent over the full link is found again, with a line between or not."""
    side = Side("ours", "benchmarks.saturated_side")
    few: dict[str, int | str] = {"rate": rate, "probes": 2, "settle": 100, "interval": 10}
    report = run_once(side, "saturated", {**few, "dialect": dialect})
    assert "error" not in report
    found = report["figures"]
    assert 0 < found["cancel p50"] <= found["cancel max"]
    assert 0 < found["system p50"] <= found["system max"]
    assert found["bound p99"] > found["window"] > 0
