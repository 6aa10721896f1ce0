"""What must hold of measured figures, and the table that says whether it does.

Pure: takes samples that somebody measured, or the record that holds them, and returns lines of text.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from .stats import Spread, significant

Verdict = Literal["PASS", "FAIL", "info", "skip"]

Samples = dict[str, list[dict[str, Any]]]
"""For each run's key, the reports of its rounds."""

BUSY_LOAD = 0.7
"""How many others may want each core before a measurement."""

BUSY_SPIN = 1.7
"""How many times the median a fixed loop may take."""


@attrs.frozen
class Figure:
    """One figure of one run, all rounds of it, in the order of the rounds."""

    run: str
    field: str


@attrs.frozen
class Claim:
    """A line of the table: our figure, what it is compared with, and what the comparison must show.

    Every figure is a cost, so smaller is better. The comparison is made within each round, where
    both sides met the same noise; the verdict is about the median of the rounds' ratios.

    Attributes:
        kind: `faster`: other / ours must be at least `bound`. `within`: ours / other must be at
            most `bound`. `share`: other / ours, as a percentage, must be at least `bound`.
            `below`: ours alone must be at most `bound`. With no bound the line only informs.
    """

    title: str
    ours: Figure
    show: Callable[[float], str]
    kind: Literal["faster", "within", "share", "below"]
    bound: float | None = None
    aim: float | None = None
    other: Figure | None = None


@attrs.frozen
class Line:
    """A claim's outcome, as text for the table."""

    title: str
    ours: str
    other: str
    needed: str
    verdict: Verdict
    ratio: str


def values(samples: Samples, figure: Figure) -> list[float] | None:
    """Return a figure's value in each round, or None if it was not measured in all of them."""
    found = [report.get("figures", {}).get(figure.field) for report in samples.get(figure.run, ())]
    known = [float(value) for value in found if value is not None]
    return known if known and len(known) == len(found) else None


def is_bound(samples: Samples, figure: Figure | None) -> bool:
    """Tell whether a figure is only what it is at least: somebody has waited no longer."""
    reports = samples.get(figure.run, ()) if figure else ()
    return any(figure and figure.field in report.get("bounds", ()) for report in reports)


def judge(claim: Claim, samples: Samples, sides: Mapping[str, str]) -> Line:
    """Compare a claim with the samples.

    Args:
        claim: What must hold.
        samples: What was measured.
        sides: The name of the side that each run belongs to, by the run's key.
    """
    ours = values(samples, claim.ours)
    other = values(samples, claim.other) if claim.other else None
    needed = describe_bound(claim)
    if ours is None or (claim.other and other is None):
        shown = claim.show(statistics.median(ours)) if ours else "-"
        verdict: Verdict = "skip" if is_without_figure(claim, samples) else "FAIL"
        return Line(claim.title, shown, "-", needed, verdict, "-")
    ours_open, other_open = is_bound(samples, claim.ours), is_bound(samples, claim.other)
    compared = ours
    shown_other = "-"
    if claim.other and other is not None:
        shown_other = f"{sides[claim.other.run]} {written(claim, other, other_open)}"
        compared = [compare(claim, mine, theirs) for mine, theirs in zip(ours, other, strict=True)]
    spread = Spread.of(compared)
    at_most = claim.kind in ("within", "below")
    # What the ratio is at least, or at most, where a side is only known to take longer than that.
    low, high = (ours_open, other_open) if at_most else (other_open, ours_open)
    ratio = bounded(describe(claim, spread, len(compared)), low, high)
    if claim.bound is None:
        verdict = "info"
    else:
        met = spread.median <= claim.bound if at_most else spread.median >= claim.bound
        verdict = "PASS" if met and not (low if at_most else high) else "FAIL"
    return Line(
        claim.title, written(claim, ours, ours_open), shown_other, needed, verdict, ratio
    )  # fmt: skip


def written(claim: Claim, figures: Sequence[float], is_open: bool) -> str:
    """Write the median of a figure, which may only be a bound."""
    return bounded(claim.show(statistics.median(figures)), is_open)


def bounded(text: str, low: bool, high: bool = False) -> str:
    """Write what something is at least, if `low`, or at most, if `high`; with both it is anything."""
    return "-" if low and high else "> " * low + "< " * high + text


def is_without_figure(claim: Claim, samples: Samples) -> bool:
    """Tell whether a claim cannot be judged, and nobody failed.

    A side was not asked for; or nothing has to hold, and a process had nothing to tell, as a data
    handler that hangs has no rate.
    """
    runs = [figure.run for figure in (claim.ours, claim.other) if figure]
    if any(run not in samples for run in runs):
        return True
    failed = any("error" in report for run in runs for report in samples[run])
    return claim.bound is None and not failed


def compare(claim: Claim, ours: float, other: float) -> float:
    """Return one round's ratio, the way round that the claim is about."""
    if claim.kind == "within":
        return ours / other
    return other / ours * (100 if claim.kind == "share" else 1)


def describe_bound(claim: Claim) -> str:
    """Say what a claim asks for."""
    if claim.bound is None:
        return ""
    text = {
        "faster": f">= {claim.bound:g}x",
        "within": f"<= {claim.bound:g}x",
        "share": f">= {claim.bound:g} %",
        "below": f"<= {claim.show(claim.bound)}",
    }[claim.kind]
    return text if claim.aim is None else f"{text} (aim {claim.aim:g}x)"


def describe(claim: Claim, spread: Spread, rounds: int) -> str:
    """Write a ratio and its spread."""
    if claim.kind == "below":
        return between(claim.show(spread.low), claim.show(spread.high), rounds)
    unit = " %" if claim.kind == "share" else "x"
    middle, low, high = map(significant, (spread.median, spread.low, spread.high))
    return f"{middle}{unit} {between(low, high, rounds)}"


def between(low: str, high: str, rounds: int) -> str:
    """Write a spread; one round has none."""
    return f"[{low} - {high}]" if rounds > 1 else "[-]"


def lines_of(claims: Iterable[Claim], samples: Samples, titles: Mapping[str, str]) -> list[Line]:
    """Return the lines of all claims whose figures were asked for.

    Args:
        claims: What must hold.
        samples: What was measured.
        titles: The name of the side that each run belongs to, by the run's key.
    """
    return [
        judge(claim, samples, titles)
        for claim in claims
        if claim.ours.run in samples and (claim.other is None or claim.other.run in samples)
    ]


HEAD = ("what", "ours", "compared with", "needed", "", "ratio [min - max of rounds]")


@attrs.frozen
class Table:
    """A table that is shown: to a terminal in another way than to a file."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: int | None = None
    """Which column has a verdict."""


Part: TypeAlias = str | Table
"""What is shown: a table, or lines of text."""


def table_of(lines: Sequence[Line]) -> list[Part]:
    """Return the table of claims, if there are any."""
    return [Table(HEAD, [attrs.astuple(line) for line in lines], verdict=4)] if lines else []


def as_text(part: Part) -> str:
    """Return what is shown as plain text."""
    return part if isinstance(part, str) else "\n".join(aligned([part.head, *part.rows]))


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as text, each column as wide as it must be, with a rule below the first row."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = ["-" * width for width in widths]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (rows[0], rule, *rows[1:])
    ]


def noise(samples: Samples) -> Spread:
    """Return how much the machine's speed varied: a fixed loop's time beside every measurement."""
    spins = [spin for reports in samples.values() for r in reports for spin in r.get("spin", ())]
    return Spread.of(spins or [0.0])


def slowest(spread: Spread) -> float:
    """Return how many times the median of the fixed loop's times the largest is."""
    return spread.high / spread.median if spread.median else 1.0


def signs_of_load(record: Mapping[str, Any]) -> list[str]:
    """Return what tells that a machine was busy: the load before, and the fixed loop meanwhile."""
    found: list[str] = []
    if record["load"] > BUSY_LOAD * (record["machine"]["cores"] or 1):
        found.append(f"a load of {record['load']} before")
    if (worst := slowest(noise(record["samples"]))) > BUSY_SPIN:
        found.append(f"a fixed loop that took {worst:.2g} times as long, meanwhile")
    return found
