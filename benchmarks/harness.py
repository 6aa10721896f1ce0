"""Runs measurements in fresh processes, in turns, and compares what comes back.

Knows nothing about workers: `core.py` says what is measured and what is claimed.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

HERE = Path(__file__).resolve().parent
PACKAGE = __package__ or "benchmarks"
CHECKOUT = None if "." in PACKAGE else HERE.parent
"""The folder of the checkout that this is part of; None if it was installed, as part of a wheel."""

Verdict = Literal["PASS", "FAIL", "info", "skip"]


@attrs.frozen
class Side:
    """A program that can measure cases (see `side.py`), and the interpreter that runs it."""

    name: str
    module: str
    python: str = sys.executable

    @property
    def is_peer(self) -> bool:
        """Whether it runs in an environment that does not know us."""
        return self.python != sys.executable

    @property
    def program(self) -> tuple[str, ...]:
        """What starts it; a case and its parameters follow."""
        if self.is_peer:
            return (
                self.python, "-P", str(HERE / "alone.py"), self.module.removeprefix(f"{PACKAGE}."),
            )  # fmt: skip
        return (self.python, "-m", self.module)


def environment(side: Side) -> dict[str, str]:
    """Return the environment variables of a measured process."""
    # Hashes are the same in all rounds, so that no round has a luckier order of dicts and sets.
    found = {**os.environ, "PYTHONHASHSEED": "0"}
    if side.is_peer:
        found.pop("PYTHONPATH", None)
    elif CHECKOUT is not None:
        found["PYTHONPATH"] = str(CHECKOUT)
    return found


@attrs.frozen
class Run:
    """One measurement: a case of a side, with parameters. `key` is how claims refer to it."""

    key: str
    side: str
    case: str
    parameters: Mapping[str, int | str] = attrs.field(factory=dict)
    quick: Mapping[str, int | str] = attrs.field(factory=dict)
    """What `--quick` changes."""


@attrs.frozen
class Group:
    """Runs that are compared with each other, and so take turns: A B C, A B C, ..."""

    name: str
    rounds: int
    runs: Sequence[Run]
    quick_rounds: int = 2


@attrs.frozen
class Figure:
    """One figure of one run, all rounds of it, in the order of the rounds."""

    run: str
    field: str


@attrs.frozen
class Spread:
    """A median and the extremes around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))


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


Samples = dict[str, list[dict[str, Any]]]


def measure(
    groups: Iterable[Group], sides: Mapping[str, Side], *, quick: bool, rounds: int | None
) -> Samples:
    """Run every group whose sides are there, in fresh processes that take turns.

    Returns:
        For each run's key the reports of its rounds. A process that fails reports an `error`.
    """
    samples: Samples = {}
    for group in groups:
        runs = [run for run in group.runs if run.side in sides]
        broken: set[str] = set()
        total = rounds or (group.quick_rounds if quick else group.rounds)
        for number in range(total):
            print(f"\r\x1b[K{group.name}, round {number + 1} of {total}", end="", file=sys.stderr)
            for run in (run for run in runs if run.key not in broken):
                parameters = {**run.parameters, **(run.quick if quick else {})}
                report = run_once(sides[run.side], run.case, parameters)
                samples.setdefault(run.key, []).append(report)
                if "error" in report:
                    broken.add(run.key)
    print("\r\x1b[K", end="", file=sys.stderr)
    return samples


def run_once(side: Side, case: str, parameters: Mapping[str, int | str]) -> dict[str, Any]:
    """Run one case in a process of its own and return its report."""
    done = subprocess.run(
        [*side.program, case, json.dumps(parameters)],
        capture_output=True,
        text=True,
        check=False,
        env=environment(side),
    )
    if done.returncode:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        print(f"\r\x1b[K{side.name} {case} {parameters} failed:\n{done.stderr}", file=sys.stderr)
        return {"error": last}
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


def values(samples: Samples, figure: Figure) -> list[float] | None:
    """Return a figure's value in each round, or None if it was not measured."""
    reports = samples.get(figure.run)
    if not reports or any("error" in report for report in reports):
        return None
    return [float(report["figures"][figure.field]) for report in reports]


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
        wanted = [figure for figure in (claim.ours, claim.other) if figure]
        missing = any(figure.run not in samples for figure in wanted)
        shown = claim.show(statistics.median(ours)) if ours else "-"
        verdict: Verdict = "skip" if missing else "FAIL"
        return Line(claim.title, shown, "-", needed, verdict, "-")
    compared = ours
    shown_other = "-"
    if claim.other and other is not None:
        shown_other = f"{sides[claim.other.run]} {claim.show(statistics.median(other))}"
        compared = [compare(claim, mine, theirs) for mine, theirs in zip(ours, other, strict=True)]
    spread = Spread.of(compared)
    if claim.bound is None:
        verdict = "info"
    else:
        at_most = claim.kind in ("within", "below")
        met = spread.median <= claim.bound if at_most else spread.median >= claim.bound
        verdict = "PASS" if met else "FAIL"
    return Line(
        claim.title,
        claim.show(statistics.median(ours)),
        shown_other,
        needed,
        verdict,
        describe(claim, spread),
    )


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


def describe(claim: Claim, spread: Spread) -> str:
    """Write a ratio and its spread."""
    if claim.kind == "below":
        return f"[{claim.show(spread.low)} - {claim.show(spread.high)}]"
    unit = " %" if claim.kind == "share" else "x"
    numbers = [significant(value) for value in (spread.median, spread.low, spread.high)]
    return f"{numbers[0]}{unit} [{numbers[1]} - {numbers[2]}]"


def significant(value: float) -> str:
    """Write a number with as many digits as its noise allows."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def print_table(lines: Sequence[Line]) -> None:
    """Print the outcome of all claims."""
    head = Line("what", "ours", "compared with", "needed", "info", "ratio [min - max of rounds]")
    rows = [attrs.astuple(line) for line in (head, *lines)]
    rows[0] = (*rows[0][:4], "", rows[0][5])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for number, row in enumerate(rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
        if not number:
            print("  ".join("-" * width for width in widths))


def noise(samples: Samples) -> Spread:
    """Return how much the machine's speed varied: a fixed loop's time beside every measurement."""
    spins = [spin for reports in samples.values() for r in reports for spin in r.get("spin", ())]
    return Spread.of(spins or [0.0])


def machine() -> dict[str, Any]:
    """Describe the machine, without anything that names it."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }


def cpu_model() -> str:
    """Return the processor's name where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
