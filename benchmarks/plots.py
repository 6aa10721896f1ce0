"""Pictures of what was measured, each with one message; needs matplotlib.

Colours are those of Okabe and Ito, which people tell apart whatever colours they see; each side has
a marker and a line style of its own too, so that a print without colours will do.
"""

from __future__ import annotations

import hashlib
import json
import statistics
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from .claims import Samples
from .stats import growth
from .subjects import (
    WRITTEN,
    Curve,
    Dots,
    Subject,
    Unit,
    exponents_of,
    measured_line,
    values_of,
)

SUFFIXES = (".svg", ".png")

SIZE = (7.6, 4.6)
"""Inches: readable on half a page, and on a slide."""

OTHER = "#000000"
WORDS = {"ours": "trioworkers"}
"""A picture is seen without the page around it, so that "ours" would not do."""


@attrs.frozen
class Look:
    """How one side is drawn."""

    colour: str
    marker: str
    line: str


LOOKS = {
    "ours": Look("#0072B2", "o", "-"),
    "limits": Look("#000000", "s", ":"),
    "channels": Look("#56B4E9", "^", "--"),
    "pykka": Look("#E69F00", "D", "-."),
    "pipecat": Look("#D55E00", "v", "--"),
}


class NoPlotError(Exception):
    """There is nothing that could be drawn, or nowhere to draw it; says what to do."""


def check_path(path: Path) -> None:
    """Refuse a file that cannot become a picture, before anything is measured.

    Raises:
        NoPlotError: its name does not end in `.svg` or `.png`, or there is no such folder.
    """
    if path.suffix.lower() not in SUFFIXES:
        message = f"{str(path)!r} ends in {path.suffix!r}: a plot is a .svg or a .png"
        raise NoPlotError(message)
    if not path.parent.is_dir():
        message = f"there is no folder {str(path.parent)!r} for the plot {path.name!r}"
        raise NoPlotError(message)


def draw_subject(subject: Subject, record: Mapping[str, Any], path: Path) -> list[Path]:
    """Draw what was measured of a subject; return the pictures.

    Args:
        subject: what was measured.
        record: what was found.
        path: where the picture goes.

    Raises:
        NoPlotError: nothing was measured that can be drawn.
    """
    check_path(path)
    if subject.draw is not None:
        return subject.draw(record, path)
    for plot in subject.plots:
        if is_measured(plot, record["samples"]):
            draw(plot, subject, record, path)
            return [path]
    message = f"nothing was measured that a plot of {subject.name!r} shows"
    raise NoPlotError(message)


def is_measured(plot: Curve | Dots, samples: Samples) -> bool:
    """Tell whether there is something to draw."""
    if isinstance(plot, Curve):
        return any(measured_line(plot, side, samples) for side in plot.lines)
    return any(values_of(samples, key, "p50") for _, key in plot.rows)


def could_draw(subject: Subject, keys: Container[str]) -> bool:
    """Tell whether there will be something to draw once some runs have been measured.

    A subject that draws in a way of its own knows only afterwards.

    Args:
        subject: what is measured.
        keys: of these runs.
    """
    return subject.draw is not None or any(
        any(sum(key in keys for _, key in line) > 1 for line in plot.lines.values())
        if isinstance(plot, Curve)
        else any(key in keys for _, key in plot.rows)
        for plot in subject.plots
    )


def runs_of(plot: Curve | Dots) -> list[str]:
    """Return the keys of all runs that a plot shows."""
    if isinstance(plot, Curve):
        return [key for line in plot.lines.values() for _, key in line]
    return [key for _, key in plot.rows]


def digest(plot: Curve | Dots, record: Mapping[str, Any]) -> str:
    """Return a word that says which figures a picture was drawn of; it stands in the picture's file."""
    fields = (plot.field,) if isinstance(plot, Curve) else ("p50", "p99")
    samples: Samples = record["samples"]
    drawn = [(key, [values_of(samples, key, field) for field in fields]) for key in runs_of(plot)]
    return hashlib.sha256(json.dumps([drawn, record["commit"]]).encode()).hexdigest()


def draw(plot: Curve | Dots, subject: Subject, record: Mapping[str, Any], path: Path) -> None:
    """Draw one plot.

    Args:
        plot: what of it.
        subject: whose it is.
        record: what was found.
        path: where the picture goes.
    """
    import matplotlib as mpl

    mpl.use("Agg")  # never a window
    from matplotlib import pyplot as plt

    # A picture is the same file whenever it is drawn of the same figures.
    settings: Any = {"svg.hashsalt": plot.name, "font.size": 10.5, "axes.titlesize": 12}
    with mpl.rc_context(settings):
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
        if isinstance(plot, Curve):
            draw_curve(axes, plot, record["samples"], subject.titles)
        else:
            draw_dots(axes, plot, record["samples"], subject.run_sides)
        axes.set_title(plot.title, loc="left", pad=10)
        axes.spines[["top", "right"]].set_visible(False)
        figure.supxlabel(footnote(plot, record), x=0.01, ha="left", fontsize=7.5, color="#555555")
        metadata: dict[str, Any] = {"Description": digest(plot, record)}
        if path.suffix.lower() == ".svg":
            metadata["Date"] = None  # the same file whenever it is drawn
        figure.savefig(path, dpi=150, metadata=metadata)
        plt.close(figure)


def draw_curve(axes: Any, curve: Curve, samples: Samples, titles: Mapping[str, str]) -> None:
    """Draw a line for each side: medians, a band from the smallest to the largest, the fit's slope."""
    dearest: list[tuple[float, Any, str]] = []
    largest = max(size for line in curve.lines.values() for size, _ in line)
    for side in curve.lines:
        measured = measured_line(curve, side, samples)
        if measured is None:
            continue
        sizes = [size for size, _ in measured]
        middle = [statistics.median(costs) for _, costs in measured]
        look = LOOKS.get(side, Look(OTHER, "x", "-"))
        (line,) = axes.plot(
            sizes, middle, look.line, marker=look.marker, color=look.colour, markersize=6,
            linewidth=2.2 if side == "ours" else 1.5, zorder=3 if side == "ours" else 2,
        )  # fmt: skip
        low, high = ([extreme(costs) for _, costs in measured] for extreme in (min, max))
        axes.fill_between(sizes, low, high, color=look.colour, alpha=0.15, linewidth=0)
        label = WORDS.get(side, titles[side]) + slope(measured)
        dearest.append((cost_at(largest, measured), line, label))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel=f"{curve.size} (log scale)",
        ylabel=f"{curve.cost} (log scale)",
    )
    axes.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    wide_enough(axes)
    in_unit(axes.yaxis, curve.unit)
    axes.grid(which="major", color="#dddddd", linewidth=0.7)
    dearest.sort(key=lambda each: -each[0])
    axes.legend(
        [line for _, line, _ in dearest],
        [label for _, _, label in dearest],
        frameon=False,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        handlelength=3,
        labelspacing=0.9,
    )


def cost_at(size: float, measured: Sequence[tuple[int, Sequence[float]]]) -> float:
    """Return what a line costs at a size, measured there or not."""
    fit = growth((each, cost) for each, costs in measured for cost in costs)
    return 0.0 if fit is None else fit.at(size)


def slope(measured: Sequence[tuple[int, Sequence[float]]]) -> str:
    """Write how a line grows."""
    exponents = exponents_of(measured)
    if not exponents:
        return ""
    exponent = round(statistics.median(exponents), 2) + 0.0
    return f"\n(grows with n$^{{{exponent:.2f}}}$)"


def draw_dots(axes: Any, dots: Dots, samples: Samples, sides: Mapping[str, str]) -> None:
    """Draw a row for each run: a full dot at the median, an empty one at the 99th percentile."""
    rows = [
        (label, sides.get(key, ""), statistics.median(middle), statistics.median(high))
        for label, key in dots.rows
        if (middle := values_of(samples, key, "p50")) and (high := values_of(samples, key, "p99"))
    ]
    for number, (_, side, middle, high) in enumerate(rows):
        look = LOOKS.get(side, Look(OTHER, "o", "-"))
        axes.plot([middle, high], [number, number], "-", color=look.colour, linewidth=1.5)
        axes.plot(middle, number, "o", color=look.colour, markersize=8)
        axes.plot(high, number, "o", color=look.colour, markersize=8, markerfacecolor="white")
        written = WRITTEN["time"]
        axes.annotate(
            f"{written(middle)}, p99 {written(high)}",
            (high, number), xytext=(9, -4), textcoords="offset points", fontsize=9,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel=f"{dots.cost}, log scale (full: median, empty: 99th percentile)")
    low, high = min(row[2] for row in rows), max(row[3] for row in rows)
    axes.set_xlim(low / 1.5, high * max(4.0, (high / low) ** 0.5))
    in_unit(axes.xaxis, "time")
    axes.grid(axis="x", which="major", color="#dddddd", linewidth=0.7)


def in_unit(axis: Any, unit: Unit) -> None:
    """Write the numbers of an axis with their unit, where a power of ten would make one count."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = axis.get_view_interval()
    few = high / low < 100
    axis.set_major_locator(LogLocator(10, subs=(1.0, 2.0, 5.0) if few else (1.0,), numticks=12))
    axis.set_major_formatter(lambda value, _: WRITTEN[unit](value))
    axis.set_minor_formatter(NullFormatter())


def wide_enough(axes: Any) -> None:
    """Let costs that hardly differ look so: at least a power of ten is shown."""
    low, high = axes.get_ylim()
    if high / low < 10:
        middle = (low * high) ** 0.5
        axes.set_ylim(middle / 10**0.5, middle * 10**0.5)


def footnote(plot: Curve | Dots, record: Mapping[str, Any]) -> str:
    """Say what the figures depend on."""
    described = record["machine"]
    counts = {len(record["samples"][key]) for key in runs_of(plot) if key in record["samples"]}
    least, most = min(counts), max(counts)
    counted = f"{least} to {most} rounds" if least < most else f"{most} rounds"
    counted = counted if most > 1 else "1 round"
    versions = record["versions"]
    names = ", ".join(
        f"{name} {versions[name]}" for name in ("trio", "pipecat-ai", "pykka") if name in versions
    )
    return (
        f"Median of {counted}{'; band: smallest to largest' if isinstance(plot, Curve) else ''}.  "
        f"{described['cpu']}, {described['cores']} cores, {described['implementation']} "
        f"{described['python']}, {names}; {record['commit']}"
    )


__all__ = [
    "NoPlotError",
    "check_path",
    "could_draw",
    "digest",
    "draw",
    "draw_subject",
    "is_measured",
]
