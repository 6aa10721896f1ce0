"""What is made of the reports of `priority.py`: percentiles, and the table.

Pure, except that percentiles need hdrhistogram.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

from trioworkers.bench._reports import LaneReport, lane_report

from .claims import Line, Part, Samples, Table, table_of
from .latency import merged, unpack
from .priority_parts import TITLES
from .stats import in_time

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LANES = ("system", "sent", "data", "passes")
KEPT = (*LANES, "depths", "events")
PROBED = ("system", "sent")
"""The lanes whose messages are waited for, with patience."""

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p999": 0.999, "maximum": 1.0}


def complete(samples: Samples) -> Samples:
    """Put what sides have told in its place: percentiles among the figures, the rest beside them."""
    for reports in samples.values():
        for report in reports:
            if "figures" in report:
                complete_report(report)
        keep_once(reports)
    return samples


def complete_report(report: dict[str, Any]) -> None:
    """Part what one process has told."""
    told = report["figures"]
    recorded = {name: told.pop(name) for name in KEPT if name in told}
    bounds: list[str] = []
    if recorded:
        report["recorded"] = recorded
    for lane in LANES:
        if recorded.get(lane):
            found = lane_report(unpack(recorded[lane]))
            told |= {f"{lane}_{name}": getattr(found, name) for name in PERCENTILES}
            if lane in PROBED:
                unhandled = told.get("unhandled", 0)
                bounds += [f"{lane}_{name}" for name in unreached(found.count, unhandled)]
    if recorded.get("depths"):
        told["most_queued"] = max(data for _, data, _ in depths_in(recorded["depths"]))
    if told.get("throughput"):
        told["data_time"] = 1 / told["throughput"]
    # What `bench compare` looks at, by the names that it knows.
    names = {
        "p50": "system_p50",
        "p99": "system_p99",
        "p999": "system_p999",
        "message": "data_time",
    }
    shorter = {short: name for short, name in names.items() if name in told and short not in told}
    told |= {short: told[name] for short, name in shorter.items()}
    if bounds:
        report["bounds"] = bounds + [short for short, name in shorter.items() if name in bounds]


def unreached(count: int, unhandled: int) -> list[str]:
    """Return the percentiles that are of messages not handled: a time waited, not a latency."""
    return [name for name, share in PERCENTILES.items() if unhandled > count * (1 - share)]


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


def shown(record: Mapping[str, Any], lines: Sequence[Line]) -> list[Part]:
    """Return what is shown: the lanes under the load, what must hold, and what a cancel left."""
    samples: Samples = record["samples"]
    parts: list[Part] = []
    if sides_with(samples, "load"):
        parts += [described(record), lanes(samples)]
    return [*parts, *table_of(lines), after_cancel(samples)]


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


def lanes(samples: Samples) -> Table:
    """Return the table of latencies: a row for each side and lane, all rounds together."""
    head = (
        "latency", "lane", "count", "p50", "p90", "p99", "p99.9", "max", "data/s", "starved",
        "most queued",
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for side in sides_with(samples, "load"):
        key = f"load {side}"
        system, data = lane_of(samples, key, "system"), lane_of(samples, key, "data")
        sent = lane_of(samples, key, "sent")
        unhandled = unhandled_of(samples, key)
        lost = f", {unhandled:,} not handled" if unhandled else ""
        rate, starved = (median_of(samples, key, name) for name in ("throughput", "starvation"))
        rows += [
            (TITLES[side], f"system, from due{lost}", *cells(system, unhandled), "", "", ""),
            ("", "system, from send", *cells(sent, unhandled), "", "", ""),
            (
                "", "data", *cells(data), f"{rate or 0:,.0f}", in_time(starved or 0.0),
                f"{most_queued(samples, key):,}",
            ),
        ]  # fmt: skip
    return Table(head, rows)


def unhandled_of(samples: Samples, key: str) -> int:
    """Return how many system messages of a run were not handled within the patience."""
    return sum(int(report["figures"].get("unhandled", 0)) for report in samples[key])


def most_queued(samples: Samples, key: str) -> int:
    """Return the largest number of data messages that waited at any time, in any round."""
    told = [int(report["figures"].get("most_queued", 0)) for report in samples[key]]
    # A record of former times has only what the last round saw.
    return max(told) or max((data for _, data, _ in depths_of(samples, key)), default=0)


def depths_of(samples: Samples, key: str) -> list[tuple[float, int, int]]:
    """Return how full the mailbox was in the last round: seconds, data messages, system messages."""
    for report in samples.get(key, ()):
        text: str = report.get("recorded", {}).get("depths", "")
        if text:
            return depths_in(text)
    return []


def depths_in(text: str) -> list[tuple[float, int, int]]:
    """Read how full a mailbox was: seconds, data messages, system messages."""
    parts = (item.split(":") for item in text.split())
    return [(float(at), int(data), int(system)) for at, data, system in parts]


def cells(report: LaneReport, unhandled: int = 0) -> tuple[str, ...]:
    """Return a lane's percentiles as text; those of what was not handled are bounds."""
    if not report.count:
        return ("0", "-", "-", "-", "-", "-")
    bounds = unreached(report.count, unhandled)
    times = (f"{'> ' * (name in bounds)}{in_time(getattr(report, name))}" for name in PERCENTILES)
    return (f"{report.count:,}", *times)


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
