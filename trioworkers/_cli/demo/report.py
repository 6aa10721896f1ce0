"""What a demo run has found, and how that is written for programs: plain text and JSON."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import attrs

from trioworkers import __version__

from .counting import Findings
from .files import Kind
from .flood import Latency
from .words import Counted

__all__ = [
    "Cancelling",
    "Chaos",
    "Counting",
    "Flooding",
    "Linking",
    "Report",
    "as_duration",
    "as_json",
    "as_plain",
    "as_size",
    "number_of",
    "printable",
    "top_files",
    "top_words",
    "totals",
]


@attrs.frozen
class Counting:
    """The first act: who counted, for how many seconds, and what came out."""

    workers: int
    seconds: float
    findings: Findings


@attrs.frozen
class Chaos:
    """How often the link was cut, and what that has changed: nothing.

    Files and words are those counted over the link and then without one; `asked` and `done` are
    the jobs asked for over the link and those done.  `harmless` says that all of it is the same.
    """

    cuts: int
    resumed: int
    sent_again: int
    asked: int
    done: int
    files: tuple[int, int]
    words: tuple[int, int]
    harmless: bool


@attrs.frozen
class Linking:
    """The link to the process that counted: messages each way, and how long round trips take."""

    pid: int
    sent: int
    received: int
    round_trip: Latency
    chaos: Chaos | None = None


@attrs.frozen
class Flooding:
    """The second act: the latencies of both lanes; None for a lane without messages."""

    seconds: float
    backlog: int
    data: Latency | None
    system: Latency | None


@attrs.frozen
class Cancelling:
    """The end: a cancel of so many workers, with so many messages waiting."""

    workers: int
    waiting: int
    seconds: float


@attrs.frozen
class Report:
    """Everything; None stands for what an early end has left out.

    `linking` is only there if another process counted; `failure` says why the rest is missing.
    """

    counting: Counting | None = None
    linking: Linking | None = None
    flooding: Flooding | None = None
    cancelling: Cancelling | None = None
    failure: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing was left out."""
        return (
            self.counting is not None
            and self.counting.findings.uncounted == 0
            and self.flooding is not None
            and self.cancelling is not None
        )


# What is worth showing


def totals(findings: Findings) -> dict[str, int]:
    """Count the files by what became of them, and what is in the text files."""
    kinds = findings.others + Counter(file.kind for file in findings.files)
    return {
        "text": kinds[Kind.TEXT],
        "binary": kinds[Kind.BINARY],
        "unreadable": kinds[Kind.UNREADABLE],
        "hidden": kinds[Kind.HIDDEN],
        "other": kinds[Kind.OTHER],
        "uncounted": findings.uncounted,
        "bytes": sum(file.size for file in findings.files),
        "words": findings.words.total(),
        "different": len(findings.words),
    }


def top_files(findings: Findings, number: int) -> list[Counted]:
    """Return the text files with the most words, the longest first."""
    texts = [file for file in findings.files if file.kind is Kind.TEXT]
    return sorted(texts, key=lambda file: (-file.words, file.label))[:number]


def top_words(findings: Findings, number: int, letters: int) -> list[tuple[str, int]]:
    """Return the most frequent words of at least so many letters, and how often they occur."""
    long = [each for each in findings.words.items() if len(each[0]) >= letters]
    return sorted(long, key=lambda each: (-each[1], each[0]))[:number]


# Values as text


def printable(name: str) -> str:
    """Return a file's name so that it can be printed: bytes and control characters escaped."""
    text = os.fsencode(name).decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def number_of(number: int, thing: str) -> str:
    """Write how many there are of a thing: `1 file`, `1,234 files`."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


def as_size(size: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def as_duration(seconds: float) -> str:
    """Write a number of seconds for people, with three digits."""
    if seconds >= 1:
        return f"{_three_digits(seconds)} s"
    if seconds >= 1e-3:
        return f"{_three_digits(seconds * 1e3)} ms"
    return f"{_three_digits(seconds * 1e6)} µs"


def _three_digits(value: float) -> str:
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


# For programs


def as_plain(report: Report, number: int, letters: int) -> str:
    """Write a report as lines of fields with tabs between them; the first says what a line is."""
    lines = [
        "\t".join(str(field) for field in fields) for fields in _lines(report, number, letters)
    ]
    return "".join(f"{line}\n" for line in lines)


def _lines(report: Report, number: int, letters: int) -> Iterator[tuple[object, ...]]:
    if report.counting is not None:
        findings = report.counting.findings
        for name, value in totals(findings).items():
            yield ("total", name, value)
        yield ("total", "workers", report.counting.workers)
        yield ("total", "seconds", f"{report.counting.seconds:.6f}")
        for file in top_files(findings, number):
            yield ("file", printable(file.label), file.words, "words", file.size, "bytes")
        for word, count in top_words(findings, number, letters):
            yield ("word", word, count)
    if report.linking is not None:
        yield from _link_lines(report.linking)
    if report.flooding is not None:
        yield ("flood", "seconds", f"{report.flooding.seconds:.6f}")
        yield ("flood", "backlog", report.flooding.backlog, "messages")
        for lane, found in (("data", report.flooding.data), ("system", report.flooding.system)):
            if found is not None:
                yield ("lane", lane, found.count, "messages", *_latency_fields(found))
    if report.cancelling is not None:
        yield ("cancel", "workers", report.cancelling.workers)
        yield ("cancel", "waiting", report.cancelling.waiting, "messages")
        yield ("cancel", "seconds", f"{report.cancelling.seconds:.6f}")
    yield ("run", "complete" if report.complete else "ended early")


def _link_lines(linking: Linking) -> Iterator[tuple[object, ...]]:
    yield ("link", "sent", linking.sent, "messages")
    yield ("link", "received", linking.received, "messages")
    trips = linking.round_trip
    yield ("link", "round trip", trips.count, "jobs", *_latency_fields(trips))
    if (chaos := linking.chaos) is not None:
        yield ("chaos", "cuts", chaos.cuts)
        yield ("chaos", "resumed", chaos.resumed)
        yield ("chaos", "sent again", chaos.sent_again, "messages")
        yield ("chaos", "jobs", chaos.asked, "asked", chaos.done, "done")
        for name, (there, here) in (("files", chaos.files), ("words", chaos.words)):
            yield ("chaos", name, there, "over the link", here, "without one")


def _latency_fields(found: Latency) -> Iterator[object]:
    for name, seconds in (("p50", found.p50), ("p99", found.p99), ("max", found.max)):
        yield from (name, f"{seconds * 1e3:.3f}", "ms")


def as_json(report: Report, number: int, letters: int) -> str:
    """Write a report as one JSON document; all times are in seconds."""
    document: dict[str, Any] = {
        "trioworkers": __version__,
        "complete": report.complete,
        "counting": None,
        "link": None,
        "flood": None,
        "cancel": None,
    }
    if report.counting is not None:
        findings = report.counting.findings
        document["counting"] = {
            "seconds": report.counting.seconds,
            "workers": report.counting.workers,
            **totals(findings),
            "top_files": [
                {"path": printable(file.label), "words": file.words, "bytes": file.size}
                for file in top_files(findings, number)
            ],
            "top_words": [
                {"word": word, "count": count}
                for word, count in top_words(findings, number, letters)
            ],
        }
    if report.linking is not None:
        document["link"] = attrs.asdict(report.linking)
    if report.flooding is not None:
        document["flood"] = attrs.asdict(report.flooding)
    if report.cancelling is not None:
        document["cancel"] = attrs.asdict(report.cancelling)
    return json.dumps(document, indent=2) + "\n"


# For people


def counting_summary(counting: Counting) -> list[str]:
    """Sum up the first act in sentences."""
    found = totals(counting.findings)
    lines: list[str] = []
    if found["text"]:
        speed = as_size(found["bytes"] / counting.seconds)
        lines.append(
            f"{number_of(found['words'], 'word')} ({found['different']:,} different) in "
            f"{number_of(found['text'], 'text file')}; {as_duration(counting.seconds)}, {speed}/s."
        )
    elif not found["uncounted"]:
        lines.append("There are no text files to count.")
    left_out = [
        f"{found[kind]:,} {label}"
        for kind, label in (
            ("binary", "binary"),
            ("unreadable", "unreadable"),
            ("hidden", "hidden"),
            ("other", "links, pipes and devices"),
        )
        if found[kind]
    ]
    if left_out:
        lines.append(f"Not counted: {', '.join(left_out)}.")
    if found["uncounted"]:
        lines.append(f"Not counted yet: {number_of(found['uncounted'], 'file')}.")
    return lines


def linking_summary(linking: Linking) -> list[str]:
    """Sum up the link in sentences."""
    found = linking.round_trip
    lines = [
        f"Counted by process {linking.pid}, behind a proxy: {number_of(linking.sent, 'message')} "
        f"there, {linking.received:,} back.",
        f"A round trip, of a job: p50 {as_duration(found.p50)}, p99 {as_duration(found.p99)}.",
    ]
    return lines if linking.chaos is None else [*lines, *chaos_summary(linking.chaos)]


def chaos_summary(chaos: Chaos) -> list[str]:
    """Sum up what has become of a link that was cut."""
    return [
        f"The link was reset {number_of(chaos.cuts, 'time')} in mid-work and went on "
        f"{number_of(chaos.resumed, 'time')}; {number_of(chaos.sent_again, 'message')} sent again.",
        f"Nothing was lost: {number_of(chaos.words[0], 'word')} in {chaos.files[0]:,} text files, "
        "as when counted without a link.",
        f"Nothing was done twice: {number_of(chaos.asked, 'job')} asked for, {chaos.done:,} done.",
    ]


def flooding_summary(flooding: Flooding) -> str:
    """Sum up the second act in a sentence."""
    messages = 0 if flooding.data is None else flooding.data.count
    return (
        f"{messages / flooding.seconds:,.0f} messages/s; "
        f"up to {number_of(flooding.backlog, 'message')} waited in the data lane."
    )


def cancelling_summary(cancelling: Cancelling) -> list[str]:
    """Sum up the end in sentences."""
    return [
        f"{number_of(cancelling.workers, 'worker')} stopped in {as_duration(cancelling.seconds)}: "
        "the whole tree, threads included.",
        f"{number_of(cancelling.waiting, 'message')} still waiting became dead letters.",
    ]
