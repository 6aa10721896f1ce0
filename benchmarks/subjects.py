"""What a subject is: a question, the runs that answer it, what must hold, and how a cost grows.

A subject's file says in its docstring how it is measured, and has a `SUBJECT`.  Anything may run
it: `python -m benchmarks.throughput`, `trioworkers bench throughput`, or `core.py`, which runs all
subjects of one process one after the other.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import attrs

from .claims import Claim, Line, Part, Samples, between, lines_of, table_of
from .harness import PACKAGE, Group, Progress, Run, Side
from .peers.environments import PIPECAT, PYKKA, Peer
from .stats import Spread, growth, in_size, in_time, significant

TITLES = {
    "ours": "ours",
    "limits": "bare trio",
    "channels": "memory channels",
    "pykka": "Pykka",
    "pipecat": "Pipecat",
}
"""What the tables call each side."""

MODULES = {
    "ours": "ours",
    "limits": "limits",
    "channels": "channels",
    "pykka": "peers.pykka_side",
    "pipecat": "peers.pipecat_side",
}
"""Which module of this package is each side's program."""

PEERS: Mapping[str, Peer] = {"pykka": PYKKA, "pipecat": PIPECAT}
"""The sides that have environments of their own."""

Unit = Literal["time", "bytes"]

WRITTEN = {"time": in_time, "bytes": in_size}


@attrs.frozen
class Curve:
    """How a cost grows with a size: a plot with a line for each side, and its slope in the table.

    Attributes:
        name: which of the subject's curves it is.
        title: the one message of the plot.
        size: what the size counts.
        cost: what is paid.
        field: the figure of each run that is the cost.
        lines: for each side, the sizes and the keys of the runs that measured them.
        unit: of the cost.
    """

    name: str
    title: str
    size: str
    cost: str
    field: str
    lines: Mapping[str, Sequence[tuple[int, str]]]
    unit: Unit = "time"


@attrs.frozen
class Dots:
    """How several costs compare: a plot with a row for each run, median and 99th percentile."""

    name: str
    title: str
    cost: str
    rows: Sequence[tuple[str, str]]
    """The label and the key of each run."""


class Take(Protocol):
    """Measures a subject as a whole."""

    def __call__(self, *, quick: bool, rounds: int | None, progress: Progress) -> Samples:
        """Return the samples."""
        ...


class Show(Protocol):
    """Shows a record in another way than by the table of its claims."""

    def __call__(self, record: Mapping[str, Any], lines: Sequence[Line]) -> list[Part]:
        """Return what is shown; `lines` is the table of the claims."""
        ...


class Draw(Protocol):
    """Draws a record in another way than by the first plot that was measured."""

    def __call__(self, record: Mapping[str, Any], path: Path) -> list[Path]:
        """Return the pictures; the first is `path`."""
        ...


def as_they_are(samples: Samples) -> Samples:
    """Return samples that need nothing more."""
    return samples


@attrs.frozen
class Subject:
    """Something to be measured.

    Attributes:
        name: how commands call it.
        groups: what runs.
        shorter: what runs instead, if all of it takes longer than a minute and nobody has asked for
            that; parts of `groups`, with less in them.
        claims: what is compared, and what must hold.
        plots: the first of these that was measured is what `--plot` draws.
        modules: which module of this package is each side's program.
        titles: what the tables call each side.
        peers: the sides that have environments of their own.
        parts: the subjects that it is made of, if it is made of several.
        take: measures in another way than in rounds of processes.
        complete: makes the figures of what the processes have told.
        facts: what the record tells besides, for example how much load there was.
        show: shows the record in another way than by the table of its claims.
        draw: draws it in another way than by the first plot that was measured.
        alone: why there are no peers, if that is not so by itself.
    """

    name: str
    groups: Sequence[Group]
    claims: Sequence[Claim] = ()
    plots: Sequence[Curve | Dots] = ()
    modules: Mapping[str, str] = attrs.field(factory=lambda: MODULES)
    titles: Mapping[str, str] = attrs.field(factory=lambda: TITLES)
    peers: Mapping[str, Peer] = attrs.field(factory=lambda: PEERS)
    parts: Sequence[Subject] = ()
    take: Take | None = None
    shorter: Sequence[Group] = ()
    complete: Callable[[Samples], Samples] = as_they_are
    facts: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    show: Show | None = None
    draw: Draw | None = None
    alone: str = ""

    @property
    def has_plot(self) -> bool:
        """Whether something of it can be drawn."""
        return bool(self.plots or self.draw)

    @property
    def run_titles(self) -> dict[str, str]:
        """What the tables call the side of each run, by the run's key."""
        return {run.key: self.titles[run.side] for group in self.groups for run in group.runs}

    @property
    def run_sides(self) -> dict[str, str]:
        """The side of each run, by the run's key."""
        return {run.key: run.side for group in self.groups for run in group.runs}

    def needed_peers(self, groups: Sequence[Group]) -> dict[str, Peer]:
        """Return the peers that some run of these groups needs."""
        wanted = {run.side for group in groups for run in group.runs}
        return {name: peer for name, peer in self.peers.items() if name in wanted}

    def sides(self, *, peers: bool) -> dict[str, Side]:
        """Return who can be measured.

        Args:
            peers: with those whose environments must be there.
        """
        return {
            name: Side(self.titles[name], f"{PACKAGE}.{module}", str(self.peers[name].python))
            if name in self.peers
            else Side(self.titles[name], f"{PACKAGE}.{module}")
            for name, module in self.modules.items()
            if peers or name not in self.peers
        }

    def lines(self, samples: Samples) -> list[Line]:
        """Return the table of what was measured: the claims, then the slopes."""
        if self.parts:
            return [line for part in self.parts for line in part.lines(samples)]
        slopes = (plot for plot in self.plots if isinstance(plot, Curve))
        return [
            *lines_of(self.claims, samples, self.run_titles),
            *(line for curve in slopes for line in slope_lines(curve, samples, self.titles)),
        ]

    def shown(self, record: Mapping[str, Any]) -> list[Part]:
        """Return what is shown of a record."""
        lines = self.lines(record["samples"])
        return table_of(lines) if self.show is None else self.show(record, lines)


def joined(name: str, subjects: Iterable[Subject]) -> Subject:
    """Return several subjects as one."""
    every = list(subjects)
    return Subject(
        name,
        [group for subject in every for group in subject.groups],
        [claim for subject in every for claim in subject.claims],
        [plot for subject in every for plot in subject.plots],
        parts=every,
    )


def measured_line(
    curve: Curve, side: str, samples: Samples
) -> list[tuple[int, list[float]]] | None:
    """Return the sizes of a line and the costs there, round by round; None if it has no slope."""
    found = [
        (size, costs)
        for size, key in curve.lines.get(side, ())
        if (costs := values_of(samples, key, curve.field)) is not None
    ]
    return found if len(found) > 1 else None


def values_of(samples: Samples, key: str, field: str) -> list[float] | None:
    """Return one figure of a run in each round, or None where it was not measured."""
    reports = samples.get(key, ())
    if any(field not in report.get("figures", ()) for report in reports):
        return None
    return [float(report["figures"][field]) for report in reports] or None


def slope_lines(curve: Curve, samples: Samples, titles: Mapping[str, str]) -> list[Line]:
    """Return a line of the table for each side whose growth was measured."""
    lines: list[Line] = []
    for side in curve.lines:
        measured = measured_line(curve, side, samples)
        exponents = exponents_of(measured) if measured else []
        if measured is None or not exponents:
            continue
        (first, cheap), (last, dear) = measured[0], measured[-1]
        write = WRITTEN[curve.unit]
        span = f"{write(statistics.median(cheap))} to {write(statistics.median(dear))}"
        ours = side == "ours"
        spread = Spread.of(exponents)
        middle, lowest, highest = (
            significant(round(each, 3) + 0.0) for each in (spread.median, spread.low, spread.high)
        )
        lines.append(
            Line(
                title=f"{curve.cost}, {first:,} to {last:,} {curve.size}",
                ours=span if ours else "-",
                other="-" if ours else f"{titles[side]} {span}",
                needed="",
                verdict="info",
                ratio=f"n^{middle} {between(lowest, highest, len(exponents))}",
            )
        )
    return lines


def exponents_of(measured: Sequence[tuple[int, Sequence[float]]]) -> list[float]:
    """Return the exponent of growth in each round that has all sizes."""
    rounds = min(len(costs) for _, costs in measured)
    fits = (growth((size, costs[turn]) for size, costs in measured) for turn in range(rounds))
    return [fit.exponent for fit in fits if fit is not None]


def at_sizes(
    case: str,
    side: str,
    sizes: Mapping[int, Mapping[str, int | str]],
    keys: Mapping[int, str] | None = None,
    quick: Mapping[str, int | str] | None = None,
) -> tuple[list[Run], list[tuple[int, str]]]:
    """Return the runs of one side at several sizes, and their sizes and keys.

    Args:
        case: what the side's program calls it.
        side: whose.
        sizes: the parameters at each size.
        keys: what some of the runs are called already.
        quick: what `--quick` changes.
    """
    named = {size: (keys or {}).get(size, f"{side} {case} {size}") for size in sizes}
    less = quick or {}
    runs = [Run(named[size], side, case, given, less) for size, given in sizes.items()]
    return runs, list(named.items())


__all__ = [
    "MODULES",
    "PEERS",
    "TITLES",
    "Curve",
    "Dots",
    "Subject",
    "at_sizes",
    "exponents_of",
    "joined",
    "measured_line",
    "slope_lines",
]
