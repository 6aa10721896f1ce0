"""What a measurement of priority has found, and the histograms behind it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from ._recorder import Recording

__all__ = ["LaneReport", "PriorityReport", "histogram", "lane_report", "report_of"]

_NO_EXTRA = (
    "latencies are kept in histograms of the package hdrhistogram, which is not installed: "
    "pip install 'trioworkers[bench]'"
)
_NANOSECONDS = 1_000_000_000
_LONGEST = 3_600 * _NANOSECONDS
_DIGITS = 3


@attrs.frozen
class LaneReport:
    """The latencies of one lane, in seconds, from when a message was due to its handler's start."""

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    maximum: float


@attrs.frozen
class PriorityReport:
    """What one run of a scenario has found.

    Attributes:
        system: latencies of the system messages.
        data: latencies of the data messages.
        starvation: the longest time, in seconds, in which data waited and none was handled.
        throughput: data messages handled per second.
        unhandled: probes that were not handled when the patience was over; they are in `system`
            with the time they had waited.
        refused: messages of a flood that a full lane refused.
        depths: now and then, the seconds since the first flood or probe, and how many data and
            how many system messages then waited in the busiest mailbox.
    """

    system: LaneReport
    data: LaneReport
    starvation: float
    throughput: float
    unhandled: int
    refused: int
    depths: tuple[tuple[float, int, int], ...]


def histogram(counts: Iterable[tuple[float, int]]) -> Any:
    """Make an `HdrHistogram` in nanoseconds, of pairs of seconds and how often they occurred.

    Raises:
        ModuleNotFoundError: hdrhistogram is not installed; says what to install.
    """
    try:
        from hdrh.histogram import HdrHistogram
    except ModuleNotFoundError as error:
        if error.name not in {"hdrh", "hdrh.histogram"}:
            raise
        raise ModuleNotFoundError(_NO_EXTRA, name=error.name) from error
    made: Any = HdrHistogram(1, _LONGEST, _DIGITS)
    for seconds, count in counts:
        made.record_value(min(_LONGEST, max(1, round(seconds * _NANOSECONDS))), count)
    return made


def lane_report(counts: Iterable[tuple[float, int]], maximum: float | None = None) -> LaneReport:
    """Return the percentiles of a lane; all 0 if nothing was measured.

    Args:
        counts: seconds, and how often they occurred.
        maximum: the largest of them, if it is known better than by the counts.
    """
    made = histogram(counts)
    if not made.get_total_count():
        return LaneReport(0, 0.0, 0.0, 0.0, 0.0, 0.0)
    largest = made.get_max_value() / _NANOSECONDS if maximum is None else maximum

    def at(percentile: float) -> float:
        # A bucket is shown by its upper end, which may be beyond the largest value in it.
        seconds: float = made.get_value_at_percentile(percentile) / _NANOSECONDS
        return min(largest, seconds)

    return LaneReport(made.get_total_count(), at(50), at(90), at(99), at(99.9), largest)


def report_of(recording: Recording) -> PriorityReport:
    """Return what a recording says."""
    system, data = recording.system, recording.data
    return PriorityReport(
        system=lane_report(system.counts(), system.longest),
        data=lane_report(data.counts(), data.longest),
        starvation=recording.starvation,
        throughput=recording.throughput,
        unhandled=recording.unhandled,
        refused=recording.refused,
        depths=tuple(recording.depths),
    )
