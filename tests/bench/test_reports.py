"""Percentiles of latencies."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers.bench import measure_priority
from trioworkers.bench._recorder import Lane, Recording
from trioworkers.bench._reports import histogram, lane_report, report_of

latencies = st.lists(st.floats(1e-6, 100.0), min_size=1, max_size=200)


@settings(max_examples=25)
@given(seconds=latencies)
def test_percentiles_are_in_order(seconds: list[float]) -> None:
    """Percentiles rise, lie within what was measured, and are right to three digits."""
    report = lane_report((each, 1) for each in seconds)
    found = [report.p50, report.p90, report.p99, report.p999, report.maximum]
    assert found == sorted(found)
    assert report.count == len(seconds)
    assert report.maximum == pytest.approx(max(seconds), rel=2e-3)
    assert min(seconds) * 0.998 <= report.p50 <= report.maximum


@settings(max_examples=25)
@given(seconds=latencies)
def test_the_median_is_the_median(seconds: list[float]) -> None:
    """At least half of the latencies are at most the median, to three digits."""
    report = lane_report((each, 1) for each in seconds)
    at_most = sum(each <= report.p50 * 1.002 for each in seconds)
    assert at_most >= len(seconds) / 2


def test_a_known_maximum_wins() -> None:
    """A maximum that is known exactly is not replaced by that of a bucket."""
    report = lane_report([(0.001, 99), (0.5, 1)], maximum=0.4999)
    assert report.maximum == 0.4999
    assert report.p999 <= report.maximum


def test_nothing_measured() -> None:
    """Where nothing was handled, everything is 0."""
    report = report_of(Recording())
    assert (report.system.count, report.data.maximum, report.throughput) == (0, 0.0, 0.0)


def test_a_thinned_lane_counts_all() -> None:
    """Where every so manieth latency was kept, the count and the maximum are of all messages."""
    recording = Recording(data=Lane(10))
    for number in range(1, 1_000):
        recording.data.add(50.0 if number == 501 else 0.001)
    report = report_of(recording).data
    assert (report.count, report.maximum) == (999, 50.0)
    assert report.p99 < 1


def test_what_is_out_of_range_is_kept() -> None:
    """A clock that stood still, or a latency of hours, is counted at the end of the range."""
    assert histogram([(0.0, 1), (1e6, 1)]).get_total_count() == 2


async def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hdrhistogram the error says what to install, before anything is run."""
    monkeypatch.setitem(sys.modules, "hdrh.histogram", None)

    async def scenario(bench: object) -> None:
        pytest.fail("it was run")

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'trioworkers\[bench\]'"):
        await measure_priority(scenario)
