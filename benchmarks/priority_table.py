"""What is made of the reports of `priority.py`: percentiles, and the table.

Pure, except that percentiles need hdrhistogram.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from trioworkers.bench._reports import LaneReport, lane_report

from .claims import HEAD, Line, Samples, aligned, lines_of
from .command import heading
from .latency import merged, unpack
from .priority_parts import SUBJECT, TITLES
from .stats import in_time
from .subjects import Curve, slope_lines

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LANES = ("system", "sent", "data", "passes")
KEPT = (*LANES, "depths", "events")
PERCENTILES = ("p50", "p90", "p99", "p999", "maximum")


def complete(samples: Samples) -> Samples:
    """Put what sides have told in its place: percentiles among the figures, the rest beside them.

    Also adds, as a run of its own, the time of one pass of the scheduler in the largest crowd: its
    99th percentile, as it is compared with that of a latency.
    """
    for reports in samples.values():
        for report in reports:
            if "figures" in report:
                complete_report(report)
        keep_once(reports)
    crowded = samples.get("crowd ours 1000", [])
    passes = [
        {"figures": {"time": report["figures"]["passes_p99"]}}
        for report in crowded
        if "passes_p99" in report.get("figures", {})
    ]
    if passes and len(passes) == len(crowded):
        samples["one pass"] = passes
    return samples


def complete_report(report: dict[str, Any]) -> None:
    """Part what one process has told."""
    told = report["figures"]
    if "scenario_error" in told:
        report["refused"] = told.pop("scenario_error")
    recorded = {name: told.pop(name) for name in KEPT if name in told}
    if recorded:
        report["recorded"] = recorded
    for lane in LANES:
        if recorded.get(lane):
            found = lane_report(unpack(recorded[lane]))
            told |= {f"{lane}_{name}": getattr(found, name) for name in PERCENTILES}
    if told.get("throughput"):
        told["data_time"] = 1 / told["throughput"]
    # What `bench compare` looks at, by the names that it knows.
    names = {
        "p50": "system_p50",
        "p99": "system_p99",
        "p999": "system_p999",
        "message": "data_time",
    }
    told |= {
        short: told[name] for short, name in names.items() if name in told and short not in told
    }


def keep_once(reports: list[dict[str, Any]]) -> None:
    """Keep the latencies of all rounds in the first, where they take less room; the last's depths."""
    with_records = [report for report in reports if "recorded" in report]
    if len(with_records) < 2:
        return
    found = [report.pop("recorded") for report in with_records]
    together = {lane: merged(each.get(lane, "") for each in found) for lane in LANES}
    with_records[0]["recorded"] = found[-1] | {
        lane: text for lane, text in together.items() if text
    }


def lane_of(samples: Samples, key: str, lane: str) -> LaneReport:
    """Return the percentiles of one lane over all rounds of a run."""
    return lane_report(counts_of(samples, key, lane))


def counts_of(samples: Samples, key: str, lane: str) -> list[tuple[float, int]]:
    """Return the latencies of one lane over all rounds of a run, and how often each occurred."""
    texts = (report.get("recorded", {}).get(lane, "") for report in samples.get(key, ()))
    return [pair for text in texts for pair in unpack(text)]


def sides_with(samples: Samples, part: str) -> list[str]:
    """Return the sides that one part was measured on, without an error."""
    prefix = f"{part} "
    return [
        key.removeprefix(prefix)
        for key, reports in samples.items()
        if key.startswith(prefix) and not any("error" in report for report in reports)
    ]


def median_of(samples: Samples, key: str, field: str) -> float | None:
    """Return the median of one figure over all rounds of a run."""
    found = [report.get("figures", {}).get(field) for report in samples.get(key, ())]
    known = [float(each) for each in found if each is not None]
    return statistics.median(known) if known else None


# The table


def table(document: Mapping[str, Any]) -> str:
    """Return everything as text: what the figures depend on, the lanes, and what must hold."""
    samples: Samples = document["samples"]
    parts = ["\n".join(heading(dict(document)))]
    if sides_with(samples, "load"):
        parts.append("\n".join([described(document), "", *lanes(samples)]))
    lines = lines_for(document)
    if lines:
        parts.append("\n".join(aligned([HEAD, *(as_row(line) for line in lines)])))
    parts += [text for text in (errors(samples), after_cancel(samples)) if text]
    return "\n\n".join(parts)


def fails(document: Mapping[str, Any]) -> bool:
    """Tell whether something that must hold does not."""
    return any(line.verdict == "FAIL" for line in lines_for(document))


def as_row(line: Line) -> tuple[str, ...]:
    """Return a line's cells."""
    return (line.title, line.ours, line.other, line.needed, line.verdict, line.ratio)


def lines_for(document: Mapping[str, Any]) -> list[Line]:
    """Return the lines of the table of claims and slopes."""
    if document.get("scenario"):
        return []
    samples: Samples = document["samples"]
    titles = {**SUBJECT.run_titles, "one pass": "a pass of"}
    curves = [plot for plot in SUBJECT.plots if isinstance(plot, Curve)]
    return [
        *lines_of(SUBJECT.claims, samples, titles),
        *(line for curve in curves for line in slope_lines(curve, samples, TITLES)),
    ]


def described(document: Mapping[str, Any]) -> str:
    """Say in a sentence what load the lanes were under."""
    settings = document["settings"]
    if document.get("scenario"):
        return f"load: the scenario {document['scenario']}"
    cost = f" {in_time(settings['cost'])}" if settings["cost"] else ""
    handler = f"{settings['handler']}{cost}"
    burst = "" if settings["burst"] == 1 else f", {settings['burst']} at once"
    where = ", beyond a proxy" if settings["link"] == "proxy" else ""
    more = [
        f"{settings['neighbours']:,} busy neighbours" if settings["neighbours"] else "",
        f"{settings['system_share']:.0%} of the flood system messages"
        if settings["system_share"]
        else "",
        f"overflow {settings['overflow']}" if settings["overflow"] != "wait" else "",
        "interrupting" if settings["system_handler"] == "interrupting" else "",
    ]
    extra = "".join(f", {each}" for each in more if each)
    return (
        f"load: {settings['backlog']:,} data messages queued, {settings['producers']} producers, "
        f"handlers {handler}; a system message every {in_time(settings['interval'])}{burst}"
        f"{extra}{where}"
    )


def lanes(samples: Samples) -> list[str]:
    """Return the table of latencies: a row for each side and lane, all rounds together."""
    head = (
        "latency",
        "lane",
        "count",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "data/s",
        "starved",
        "deepest",
    )
    rows: list[tuple[str, ...]] = [head]
    for side in sides_with(samples, "load"):
        key = f"load {side}"
        system, data = lane_of(samples, key, "system"), lane_of(samples, key, "data")
        sent = lane_of(samples, key, "sent")
        unhandled = sum(int(report["figures"].get("unhandled", 0)) for report in samples[key])
        lost = f", {unhandled} not handled" if unhandled else ""
        rate, starved = (median_of(samples, key, name) for name in ("throughput", "starvation"))
        rows += [
            (TITLES[side], f"system, from due{lost}", *cells(system), "", "", ""),
            ("", "system, from send", *cells(sent), "", "", ""),
            (
                "", "data", *cells(data), f"{rate or 0:,.0f}", in_time(starved or 0.0),
                f"{max((each for _, each, _ in depths_of(samples, key)), default=0):,}",
            ),
        ]  # fmt: skip
    return aligned(rows)


def depths_of(samples: Samples, key: str) -> list[tuple[float, int, int]]:
    """Return how full the mailbox was in one round: seconds, data messages, system messages."""
    for report in samples.get(key, ()):
        text: str = report.get("recorded", {}).get("depths", "")
        if text:
            parts = (item.split(":") for item in text.split())
            return [(float(at), int(data), int(system)) for at, data, system in parts]
    return []


def cells(report: LaneReport) -> tuple[str, ...]:
    """Return a lane's percentiles as text."""
    if not report.count:
        return ("0", "-", "-", "-", "-", "-")
    times = (report.p50, report.p90, report.p99, report.p999, report.maximum)
    return (f"{report.count:,}", *(in_time(each) for each in times))


def after_cancel(samples: Samples) -> str:
    """Say how many data handlers began after a cancel, side by side."""
    found = [
        f"{TITLES[side]} {count:.0f}"
        for side in sides_with(samples, "cancel")
        if (count := median_of(samples, f"cancel {side}", "after")) is not None
    ]
    if not found:
        return ""
    return "data handlers of 1 ms begun in the 0.1 s after a cancel: " + ", ".join(found)


def errors(samples: Samples) -> str:
    """Say what could not be measured."""
    return "\n".join(unmeasured(samples))


def unmeasured(samples: Samples) -> Iterable[str]:
    """Return a line for each run that failed."""
    for key, reports in samples.items():
        for report in reports:
            if "error" in report:
                yield f"{key} could not be measured: {report['error']}"
