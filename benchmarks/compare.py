"""Before and after: what two files of measurements say about the code between them.

    trioworkers bench compare before.json after.json --tolerance 0.1

The two were measured one after the other, so there are no rounds that met the same noise.  Therefore
every value after is divided by every value before; the table shows the median of these ratios and, in
brackets, the quarter and the three quarters of them.  A figure of ours is *worse* if the median is
above 1 by more than the tolerance, *and* nine of ten ratios are above 1: a machine that was slow for
one round is no news.  *Better* is the same the other way round.

Peers and limits are shown, but are no verdict: they say how much the machine itself differed.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any, Literal, TypeAlias

import attrs

from .claims import noise
from .stats import in_ms, in_size, in_time, ratios, share_above, significant

Verdict: TypeAlias = Literal["worse", "same", "better", "info"]

TIMES = frozenset(
    {"message", "p50", "p90", "p99", "p999", "broadcast", "spawn", "ready", "cancel", "job",
     "open", "close", "seconds"}
)  # fmt: skip
SIZES = frozenset({"bytes", "total"})
TOLERANCE = 0.1
CERTAIN = 0.9
"""How many of the ratios must be on one side."""

HEAD = ("what", "before", "after", "", "after / before [quartiles]")


class NotARecordError(Exception):
    """What was read is not what a benchmark wrote; says why."""


@attrs.frozen
class Difference:
    """One figure, before and after."""

    run: str
    field: str
    before: float
    after: float
    ratio: float
    quartiles: tuple[float, float]
    verdict: Verdict

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """The figure as text, for a table."""
        write = in_size if self.field in SIZES else in_time
        low, high = (significant(each) for each in self.quartiles)
        return (
            f"{self.run}, {self.field}",
            write(self.before),
            write(self.after),
            self.verdict,
            f"{significant(self.ratio)}x [{low} - {high}]",
        )


def check_record(record: object) -> Mapping[str, Any]:
    """Return what was read from a file, if it is a record of measurements.

    Raises:
        NotARecordError: it is none.
    """
    if not isinstance(record, dict):
        message = "it holds no JSON object"
        raise NotARecordError(message)
    samples = record.get("samples")
    if not isinstance(samples, dict) or not isinstance(record.get("machine"), dict):
        message = "it has no 'machine' and 'samples'"
        raise NotARecordError(message)
    for key, reports in samples.items():
        if not isinstance(reports, list) or not all(isinstance(each, dict) for each in reports):
            message = f"its sample {key!r} is no list of reports"
            raise NotARecordError(message)
    return record


def compare(
    before: Mapping[str, Any], after: Mapping[str, Any], tolerance: float = TOLERANCE
) -> list[Difference]:
    """Compare every cost that both records have.

    Args:
        before: a record.
        after: another one.
        tolerance: by which part a figure may be above 1 without being worse.
    """
    sides = {**before.get("sides", {}), **after.get("sides", {})}
    found: list[Difference] = []
    for key, reports in before["samples"].items():
        for field, old in costs(reports):
            new = dict(costs(after["samples"].get(key, ()))).get(field)
            if new is not None:
                ours = sides.get(key, "ours") == "ours"
                found.append(difference(key, field, old, new, tolerance if ours else None))
    return found


def difference(
    key: str, field: str, before: list[float], after: list[float], tolerance: float | None
) -> Difference:
    """Compare the values of one figure; with no tolerance there is no verdict."""
    every = ratios(after, before)
    ratio = statistics.median(every)
    quarters = statistics.quantiles(every, method="inclusive") if len(every) > 1 else [ratio] * 3
    return Difference(
        key,
        field,
        statistics.median(before),
        statistics.median(after),
        ratio,
        (quarters[0], quarters[2]),
        "info" if tolerance is None else verdict(every, tolerance),
    )


def verdict(every: list[float], tolerance: float) -> Verdict:
    """Say what ratios of costs, after by before, mean."""
    ratio = statistics.median(every)
    if ratio > 1 + tolerance and share_above(every, 1) >= CERTAIN:
        return "worse"
    inverse = [1 / each for each in every if each > 0]
    if ratio < 1 / (1 + tolerance) and inverse and share_above(inverse, 1) >= CERTAIN:
        return "better"
    return "same"


def costs(reports: Any) -> Iterator[tuple[str, list[float]]]:
    """Yield the figures of a run that are costs, with their values in all rounds."""
    if not reports or any("figures" not in report for report in reports):
        return
    for field in reports[0]["figures"]:
        values = [report["figures"].get(field) for report in reports]
        if field in TIMES | SIZES and all(isinstance(each, (int, float)) for each in values):
            positive = [float(each) for each in values]
            if min(positive) > 0:
                yield field, positive


def failed_since(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the runs that were measured before, and failed after."""
    return [
        key
        for key, reports in after["samples"].items()
        if any("error" in report for report in reports)
        and any("figures" in report for report in before["samples"].get(key, ()))
    ]


def doubts(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Say why the two may not be comparable."""
    said: list[str] = []
    if before["machine"] != after["machine"]:
        said.append("measured on different machines or Pythons: this compares those too")
    old, new = noise(before["samples"]).median, noise(after["samples"]).median
    if old and new and not 0.9 < new / old < 1.1:
        said.append(
            f"a fixed loop took {in_ms(old)} before and {in_ms(new)} after: "
            f"the machine's own speed differed"
        )
    said.extend(
        f"measured with different {name}: this compares those too"
        for name in ("settings", "scenario")
        if before.get(name) != after.get(name)
    )
    if failed := failed_since(before, after):
        said.append(f"not compared, because it failed after: {', '.join(failed)}")
    if before.get("quick") or after.get("quick"):
        said.append("measured with --quick: too few rounds for a figure")
    return said
