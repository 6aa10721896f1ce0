"""`trioworkers demo` in a terminal, and the values it shows."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
from collections import Counter
from pathlib import Path

import pytest
from rich.cells import cell_len

from tests.benchmarks.records import record, reports
from tests.cli.program import LIMIT, PROGRAM
from trioworkers._cli.demo.counting import Findings
from trioworkers._cli.demo.files import Kind
from trioworkers._cli.demo.flood import Latency, latency, split_evenly
from trioworkers._cli.demo.report import (
    as_duration,
    as_size,
    number_of,
    printable,
    top_files,
    top_words,
)
from trioworkers._cli.demo.tables import shorten
from trioworkers._cli.demo.words import Counted

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def show(width: int, *args: str) -> list[str]:
    """Run a program in a terminal of so many columns; return the lines it leaves, uncoloured."""
    outside, inside = pty.openpty()
    fcntl.ioctl(inside, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in {"COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"}
    }
    process = subprocess.Popen(
        [*PROGRAM, *args],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        env={**environment, "TERM": "xterm-256color"},
    )
    os.close(inside)
    output = b""
    try:
        while piece := os.read(outside, 65536):
            output += piece
    except OSError:  # how Linux says that the other end is closed
        pass
    os.close(outside)
    assert process.wait(LIMIT) == 0
    return CONTROL.sub("", output.decode()).replace("\r", "\n").splitlines()


@pytest.mark.parametrize(
    ("command", "part", "title"),
    [
        (("ask", "--only", "jobs"), "jobs", "many jobs: growth of live objects"),
        (
            ("priority", "--only", "load", "--link", "proxy", "--backlog", "10", "--probes", "10"),
            "load",
            "system, from due",
        ),
    ],
)
def test_a_measurement_in_a_terminal(command: tuple[str, ...], part: str, title: str) -> None:
    """Whatever is measured has the same bar, which says what runs now, and a table without it."""
    lines = show(150, "bench", *command, "--quick", "--rounds", "1")
    assert any(f"{part}, round 1 of 1: ours" in line and "━━━━" in line for line in lines)
    assert any(title in line and "round" not in line for line in lines)


@pytest.mark.parametrize("width", [80, 150])
def test_no_figure_is_cut(tmp_path: Path, width: int) -> None:
    """Whatever the width of the terminal, each figure of a table is there as a whole."""
    files = [tmp_path / "before.json", tmp_path / "after.json"]
    names = [f"a run with a rather long name, {number}" for number in range(3)]
    for file in files:
        samples = {name: reports(0.012345, 0.023456) for name in names}
        file.write_text(json.dumps(record(samples)))
    text = "".join(show(width, "bench", "compare", *map(str, files)))
    assert "…" not in text
    for name in names:
        assert name in text
    assert text.count("17.9 ms") == 6
    assert text.count("1x [") == 3


@pytest.mark.parametrize("width", [60, 80, 120])
def test_a_terminal(tmp_path: Path, width: int) -> None:
    """In a terminal there are bars and tables, and no line is wider than it."""
    folder = tmp_path / "a-folder-with-a-rather-long-name" / "and-another-one-below-it"
    folder.mkdir(parents=True)
    (folder / "世界.txt").write_text("hello " * 1000 + "w" * 100)
    (folder / "evil\x1b[31m\n.txt").write_text("hello")
    lines = show(width, "demo", "--messages", "2000", str(tmp_path))
    text = "\n".join(lines)
    assert "Counting the words of 2 files" in text
    assert "━━━━" in text
    assert "hello" in text
    assert "世界.txt" in text
    assert r"evil\x1b[31m\n.txt" in text
    assert "Flooding one worker with 2,000 messages" in text
    assert "9 workers stopped in" in text
    assert max(cell_len(line) for line in lines) <= width


def test_a_second_process_in_a_terminal(tmp_path: Path) -> None:
    """In a terminal, two lines tell of the link to the process that counted."""
    (tmp_path / "text").write_text("hello " * 1000)
    text = "\n".join(show(80, "demo", "--remote", "--messages", "2000", str(tmp_path)))
    assert re.search(
        r"Counted by process \d+, behind a proxy: \d+ messages? there, \d+ back\.", text
    )
    assert re.search(r"A round trip, of a job: p50 \S+ .s, p99 \S+ .s\.", text)
    assert "8 workers stopped in" in text


def test_doctor_in_a_terminal() -> None:
    """In a terminal the doctor shows tables."""
    assert any(line.split()[:2] == ["cli", "installed"] for line in show(80, "doctor"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0000123, "12.3 µs"), (0.00123, "1.23 ms"), (0.5, "500 ms"), (12.34, "12.3 s")],
)
def test_durations(seconds: float, text: str) -> None:
    """A duration has three digits and a unit that fits."""
    assert as_duration(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (50 * 2**20, "50.0 MiB")]
)
def test_sizes(size: int, text: str) -> None:
    """A size has a binary unit that fits."""
    assert as_size(size) == text


def test_numbers() -> None:
    """Numbers of things have separators, and an s unless there is one."""
    assert [number_of(number, "file") for number in (0, 1, 1234)] == [
        "0 files",
        "1 file",
        "1,234 files",
    ]


def test_names_are_made_printable() -> None:
    """Control characters and bytes that are no text are escaped; other letters stay."""
    assert printable("a\x1b[0m\n\udcff é") == r"a\x1b[0m\n\xff é"


@pytest.mark.parametrize("path", ["a/b", "folder/file.txt", "世界/世界/世界"])
def test_paths_are_shortened(path: str) -> None:
    """A path that is too wide keeps its end."""
    assert cell_len(shorten(path, 10)) <= 10
    assert shorten(path, 10).lstrip("…") in path
    assert shorten(path, 80) == path


def test_the_top() -> None:
    """The longest texts and the most frequent words come first, equal ones by name."""
    files = tuple(Counted(name, Kind.TEXT, words) for name, words in [("b", 1), ("c", 9), ("a", 1)])
    words = Counter({"the": 9, "beta": 2, "alpha": 2, "gamma": 1})
    findings = Findings((*files, Counted("x", Kind.BINARY)), words, Counter())
    assert [file.label for file in top_files(findings, 2)] == ["c", "a"]
    assert top_words(findings, 2, 4) == [("alpha", 2), ("beta", 2)]


def test_latencies() -> None:
    """Percentiles are values that occurred; without values there are none."""
    assert latency([]) is None
    assert latency([3.0]) == Latency(1, 3.0, 3.0, 3.0)
    assert latency([float(number) for number in range(200, 0, -1)]) == Latency(200, 100, 198, 200)


def test_even_parts() -> None:
    """Messages are split so that parts differ by one at most."""
    assert split_evenly(10, 4) == [2, 3, 2, 3]
    assert sum(split_evenly(99_999, 4)) == 99_999
