"""Pictures of what `priority.py` has measured, each with one message; needs matplotlib."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from .latency import NANOSECONDS
from .plots import LOOKS, WORDS, Look, NoPlotError, check_path, in_unit
from .priority_parts import BACKLOGS, CROWDS, TITLES
from .priority_table import (
    counts_of,
    depths_of,
    described,
    median_of,
    sides_with,
    unhandled_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from .claims import Samples

SIDES = {
    **LOOKS,
    "two": Look("#56B4E9", "^", "--"),
    "one": Look("#009E73", "P", "-."),
}
NAMES = {
    **TITLES,
    **WORDS,
    "limits": "bare trio (prototype)",
    "two": "trio, two channels",
    "one": "trio, one channel",
}
CANCELS = {"one": " (the cancel is a message behind the data)"}
GREY = "#555555"
GRID = "#dddddd"
NINES = (0.0, 0.5, 0.9, 0.99, 0.999, 0.9999)


def draw_all(record: Mapping[str, Any], path: Path) -> list[Path]:
    """Draw everything that was measured: the first picture at `path`, the others beside it.

    Raises:
        NoPlotError: the path names no picture, or nothing was measured that can be drawn.
    """
    check_path(path)
    import matplotlib as mpl

    mpl.use("Agg")  # never a window
    samples: Samples = record["samples"]
    written: list[Path] = []
    for name, has, draw in PICTURES:
        if has(samples):
            where = path.with_stem(f"{path.stem}-{name}") if written else path
            # A picture is the same file whenever it is drawn of the same figures.
            fonts: Any = {"svg.hashsalt": name, "font.size": 10.5, "axes.titlesize": 12}
            with mpl.rc_context(fonts):
                save(draw(record), record, where)
            written.append(where)
    if not written:
        raise NoPlotError("nothing was measured that a plot of 'priority' shows")
    return written


def save(figure: Any, document: Mapping[str, Any], path: Path) -> None:
    """Write a figure, with what it depends on below it."""
    from matplotlib import pyplot as plt

    described_by = document["machine"]
    versions = document["versions"]
    names = ", ".join(
        f"{name} {versions[name]}" for name in ("trio", "pipecat-ai", "pykka") if name in versions
    )
    note = (
        f"{described_by['cpu']}, {described_by['cores']} cores, "
        f"{described_by['implementation']} {described_by['python']}, {names}; {document['commit']}"
    )
    figure.supxlabel(note, x=0.01, ha="left", fontsize=7.5, color=GREY)
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else {}
    figure.savefig(path, dpi=150, metadata=metadata)
    plt.close(figure)


def panels(rows: int = 1, columns: int = 1, **options: Any) -> tuple[Any, Any]:
    """Return a figure, and its axes with a light grid and without a frame."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(rows, columns, layout="constrained", squeeze=False, **options)
    for each in axes.flat:
        each.spines[["top", "right"]].set_visible(False)
        each.grid(which="major", color=GRID, linewidth=0.7)
        each.set_axisbelow(True)
    return figure, axes


def nines(share: float) -> float:
    """Return where a percentile stands on an axis of nines: 0.9 at 1, 0.99 at 2."""
    return -math.log10(1 - share)


# Latency percentiles per lane


def draw_percentiles(document: Mapping[str, Any]) -> Any:
    """Draw how long messages wait in each lane, from the median to the rarest."""
    samples: Samples = document["samples"]
    figure, axes = panels(1, 2, figsize=(10, 5.2), sharey=True)
    sides = sides_with(samples, "load")
    for place, (lane, title) in enumerate((("system", "System lane"), ("data", "Data lane"))):
        ax = axes[0][place]
        for side in sides:
            key = f"load {side}"
            points = percentile_line(counts_of(samples, key, lane))
            if points:
                look = SIDES[side]
                lost = unhandled_of(samples, key)
                if lost and lane == "system":
                    ax.plot(*points[-1], "^", color=look.colour, markersize=11, zorder=4)
                ax.plot(
                    [at for at, _ in points], [seconds for _, seconds in points],
                    look.line, color=look.colour, label=NAMES[side] + at_least(lost),
                    zorder=3 if side == "ours" else 2,
                    linewidth=2.6 if side == "ours" else 1.6, marker=look.marker, markersize=5,
                    markevery=[n for n, (at, _) in enumerate(points) if at in MARKED],
                )  # fmt: skip
        ax.set_title(title, loc="left")
        ax.set(yscale="log", xlabel="percentile (each step ten times rarer)")
        ax.set_xticks([nines(share) for share in NINES], [f"{100 * share:.6g}" for share in NINES])
    axes[0][0].set_ylabel("latency (log scale)")
    in_unit(axes[0][0].yaxis, "time")
    figure.suptitle(
        "How long messages wait\n" + wrapped(described(document)), x=0.01, ha="left", fontsize=12
    )
    handles, labels = merged_legend(axes[0])
    figure.legend(handles, labels, loc="outside right center", frameon=False, handlelength=3)
    return figure


def at_least(unhandled: int) -> str:
    """Say what a line of latencies is, where some messages were not handled."""
    if not unhandled:
        return ""
    return f"\n({unhandled:,} system messages not\nhandled: ▲, at least so long)"


MARKED = tuple(nines(share) for share in NINES)


def percentile_line(counts: Sequence[tuple[float, int]]) -> list[tuple[float, float]]:
    """Return points of a line of percentiles: where on the axis of nines, and how many seconds."""
    total = sum(count for _, count in counts)
    if not total:
        return []
    ordered = sorted(counts)
    wanted = [share for share in STEPS if total * (1 - share) >= 1]
    points: list[tuple[float, float]] = []
    seen, place = 0, -1
    for share in wanted:
        while seen < share * total or place < 0:
            place += 1
            seen += ordered[place][1]
        points.append((nines(share), max(ordered[place][0], 1 / NANOSECONDS)))
    return points


STEPS = sorted({*NINES, *(1 - 10 ** -(step / 20) for step in range(81))})


def merged_legend(axes: Sequence[Any]) -> tuple[list[Any], list[str]]:
    """Return each label of some panels once."""
    found = {
        label: handle
        for ax in axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    return list(found.values()), list(found)


def wrapped(text: str, width: int = 105) -> str:
    """Break a line where it is too long for a title."""
    import textwrap

    return "\n".join(textwrap.wrap(text, width))


# The two lanes round a cancel


def draw_cancel(document: Mapping[str, Any]) -> Any:
    """Draw when the handlers of each lane ran round a cancel of the worker."""
    samples: Samples = document["samples"]
    sides = sides_with(samples, "cancel")
    figure, axes = panels(len(sides), 1, figsize=(9, 1.1 + 1.35 * len(sides)), sharex=True)
    for number, side in enumerate(sides):
        ax = axes[number][0]
        spans, marks = read_events(samples[f"cancel {side}"][0]["recorded"]["events"])
        colour = SIDES[side].colour
        ax.broken_barh(
            [(begun, max(0.3, ended - begun)) for begun, ended in spans], (-0.32, 0.64),
            facecolors=[colour if n % 2 else lighter(colour) for n in range(len(spans))],
        )  # fmt: skip
        ax.plot(marks, [1] * len(marks), "|", color="black", markersize=14, markeredgewidth=2)
        ax.axvline(0, color="#CC0000", linewidth=1.8)
        after = sum(begun > 0 for begun, _ in spans)
        ax.set_yticks([0, 1], ["data", "system"])
        ax.set(ylim=(-0.6, 1.6), xlim=(-37, 100))
        text = after_it(after)
        ax.set_title(f"{NAMES[side]}{CANCELS.get(side, '')}: {text}", loc="left", fontsize=10.5)
        ax.grid(axis="y", visible=False)
    axes[-1][0].set_xlabel("milliseconds from the cancel (red line)")
    figure.suptitle(
        "What a worker does when it is cancelled: 200 messages queued, 1 ms each",
        x=0.01, ha="left", fontsize=12,
    )  # fmt: skip
    return figure


def after_it(count: int) -> str:
    """Say how many data handlers began after a cancel."""
    handlers = "data handler" if count == 1 else "data handlers"
    return f"{count or 'no'} {handlers} begun after it"


def read_events(text: str) -> tuple[list[tuple[float, float]], list[float]]:
    """Read when handlers ran, in milliseconds: spans of data handlers, moments of system ones."""
    spans: list[tuple[float, float]] = []
    marks: list[float] = []
    for item in text.split():
        if item[0] == "d":
            begun, _, ended = item[1:].partition(":")
            spans.append((int(begun) / 1e3, int(ended) / 1e3))
        else:
            marks.append(int(item[1:]) / 1e3)
    return spans, marks


def lighter(colour: str) -> str:
    """Return a colour half way to white."""
    parts = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#" + "".join(f"{(each + 255) // 2:02x}" for each in parts)


# Latency against backlog, and against busy neighbours


def draw_backlog(document: Mapping[str, Any]) -> Any:
    """Draw how long a system message waits behind ever more data."""
    samples: Samples = document["samples"]
    figure, axes = panels(1, 1, figsize=(7.6, 4.8))
    ax = axes[0][0]
    for side, sizes in BACKLOGS.items():
        points = [
            (size, found)
            for size in sizes
            if (found := spread_of(samples, f"{side} backlog {size}", "p50"))
        ]
        line(ax, side, points)
    ax.set_xscale("symlog", linthresh=1_000, linscale=0.6)
    ax.set_xticks([0, 1_000, 10_000, 100_000, 1_000_000])
    ax.set_xlim(-120, 1_600_000)
    across = (
        "data messages queued when it is due (log scale)\n"
        "(at 0 the loop is idle, and wakes up to 1 ms late for what is due)"
    )
    finish(ax, across, "system latency (log scale)")
    ax.set_title("How long a system message waits behind a backlog", loc="left", pad=10)
    return figure


def draw_crowd(document: Mapping[str, Any]) -> Any:
    """Draw how long a system message waits beside ever more busy workers, and what a pass takes."""
    samples: Samples = document["samples"]
    figure, axes = panels(1, 1, figsize=(7.6, 4.8))
    ax = axes[0][0]
    passes = [
        (size, seconds)
        for size in CROWDS["ours"]
        if size and (seconds := median_of(samples, f"crowd ours {size}", "pass")) is not None
    ]
    if passes:
        ax.plot(
            [size for size, _ in passes], [each for _, each in passes], ":", color=GREY, linewidth=1.5,
            label="one pass of trio's scheduler",
        )  # fmt: skip
    for side, sizes in CROWDS.items():
        points = [
            (size, found)
            for size in sizes
            if (found := spread_of(samples, f"crowd {side} {size}", "system_p50", "system_p99"))
        ]
        line(ax, side, points)
    ax.set_xscale("symlog", linthresh=10, linscale=0.6)
    ax.set_xticks([0, 10, 100, 1_000])
    ax.set_xlim(-1.2, 1_400)
    finish(
        ax,
        "other workers that are busy all the time (log scale)",
        "system latency (log scale;\nband: median to 99th percentile)",
    )
    ax.set_title("How long a system message waits beside busy neighbours", loc="left", pad=10)
    return figure


def line(ax: Any, side: str, points: Sequence[tuple[int, tuple[float, float, float]]]) -> None:
    """Draw one side's line of medians, and its band."""
    if not points:
        return
    look = SIDES[side]
    sizes = [size for size, _ in points]
    ax.plot(
        sizes, [middle for _, (middle, _, _) in points], look.line, marker=look.marker,
        color=look.colour, markersize=6, label=NAMES[side], zorder=3 if side == "ours" else 2,
        linewidth=2.6 if side == "ours" else 1.6,
    )  # fmt: skip
    low, high = ([found[place] for _, found in points] for place in (1, 2))
    ax.fill_between(sizes, low, high, color=look.colour, alpha=0.15, linewidth=0)


def finish(ax: Any, across: str, up: str) -> None:
    """Give a picture of growth its axes and its legend, the dearest side first."""
    ax.set(yscale="log", xlabel=across, ylabel=up)
    ax.xaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    ax.minorticks_off()
    in_unit(ax.yaxis, "time")
    handles, labels = ax.get_legend_handles_labels()
    order = sorted(range(len(handles)), key=lambda n: -handles[n].get_ydata()[-1])
    ax.legend(
        [handles[n] for n in order], [labels[n] for n in order], frameon=False,
        loc="center left", bbox_to_anchor=(1.0, 0.5), handlelength=3,
    )  # fmt: skip


def spread_of(
    samples: Samples, key: str, middle: str, high: str | None = None
) -> tuple[float, float, float] | None:
    """Return a figure's median over the rounds, and the band round it."""
    found = [report.get("figures", {}).get(middle) for report in samples.get(key, ())]
    known = [float(each) for each in found if each]
    if not known:
        return None
    if high is None:
        return statistics.median(known), min(known), max(known)
    top = median_of(samples, key, high) or max(known)
    return statistics.median(known), statistics.median(known), top


# How full the mailbox is


def draw_depth(document: Mapping[str, Any]) -> Any:
    """Draw how many messages wait, over the time of one run."""
    samples: Samples = document["samples"]
    figure, axes = panels(1, 1, figsize=(7.6, 4.6))
    ax = axes[0][0]
    for side in sides_with(samples, "load"):
        points = depths_of(samples, f"load {side}")
        if points:
            look = SIDES[side]
            ax.plot(
                [at for at, _, _ in points], [data for _, data, _ in points], look.line,
                color=look.colour, label=NAMES[side], linewidth=2.2 if side == "ours" else 1.4,
            )  # fmt: skip
    ax.set_yscale("symlog", linthresh=100)
    ax.set(
        xlabel="seconds since the load began, last round",
        ylabel="data messages waiting (log scale)",
    )
    ax.set_ylim(bottom=0)
    ax.yaxis.set_major_formatter(lambda size, _: f"{size:,.0f}")
    text = wrapped(described(document), 75)
    figure.suptitle("How many data messages wait\n" + text, x=0.01, ha="left", fontsize=12)
    handles, labels = ax.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, handlelength=3)
    return figure


def has_part(part: str) -> Callable[[Samples], bool]:
    """Return what tells whether a part was measured."""
    return lambda samples: bool(sides_with(samples, part))


def has_backlog(samples: Samples) -> bool:
    """Tell whether latencies against a backlog were measured."""
    return any(key.startswith("ours backlog ") for key in samples)


PICTURES: tuple[tuple[str, Callable[[Samples], bool], Callable[[Mapping[str, Any]], Any]], ...] = (
    ("latency", has_part("load"), draw_percentiles),
    ("timeline", has_part("cancel"), draw_cancel),
    ("backlog", has_backlog, draw_backlog),
    ("neighbours", has_part("crowd"), draw_crowd),
    ("depth", has_part("load"), draw_depth),
)
"""Each picture's name, whether it can be drawn, and what draws it."""
