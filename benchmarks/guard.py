"""Has something become slow?  A guard that does not depend on the machine.

    python -m benchmarks.guard                # exits with 1 if something is above its bound
    python -m benchmarks.guard --update       # what is measured now becomes the bound's base

No time is compared with a time of another machine or another day.  What is compared, with the bases
in `guard.json` and their tolerances:

- *time*: our processor time divided by bare trio's (`limits.py`), both in this process, in turns, the
  smallest of several rounds each: noise only ever adds.  The garbage collector waits meanwhile, as
  when it runs depends on what else the process holds.
- *instructions*: our instructions for the same work divided by bare trio's, counted by `perf stat`
  or by valgrind's callgrind, whichever works here.  These hardly vary at all, so their tolerance is
  small.  Where neither works, this part is skipped.

Each Python has a base of its own, as the two sides profit differently from a faster interpreter.
Without one the figures are only shown.

`make guard` runs it, and CI after the tests.  It is no part of them: a test must not depend on time.
"""

from __future__ import annotations

import argparse
import gc
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from . import limits, ours
from .claims import aligned
from .harness import HERE, PACKAGE, Side, environment, started
from .limits import synchronous
from .stats import significant

BASES = HERE / "guard.json"
ROUNDS = 15
TIME_TOLERANCE = 0.3
COUNT_TOLERANCE = 0.1
COUNT = 1_000
FACTOR = 10
LIMIT = 120
"""Seconds for one count."""

Case = Callable[[], float]


@attrs.frozen
class Verdict:
    """One ratio, and what it may be at most."""

    name: str
    ratio: float
    base: float | None
    tolerance: float

    @property
    def bound(self) -> float | None:
        """What the ratio may be at most; None if there is no base."""
        return None if self.base is None else self.base * (1 + self.tolerance)

    @property
    def holds(self) -> bool:
        """Whether it is not above."""
        return self.bound is None or self.ratio <= self.bound

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """The verdict as text."""
        known = self.base is not None and self.bound is not None
        return (
            self.name,
            f"{significant(self.ratio)}x",
            f"{significant(self.base or 0)}x" if known else "-",
            f"{significant(self.bound or 0)}x" if known else "-",
            ("PASS" if self.holds else "FAIL") if known else "no base",
        )


HEAD = ("ours / bare trio", "now", "base", "at most", "")


def timed_cases() -> dict[str, tuple[Case, Case]]:
    """Return for each case our way and bare trio's."""

    def case(module: Any, name: str, figure: str, **parameters: Any) -> Case:
        run = synchronous(getattr(module, name))
        return lambda: run(**parameters)[figure]

    def both(name: str, figure: str, **parameters: Any) -> tuple[Case, Case]:
        return case(ours, name, figure, **parameters), case(limits, name, figure, **parameters)

    return {
        "time: send": both("send", "message", count=5_000, others=0),
        "time: ask": (
            case(ours, "ask", "p50", count=500, form="ask"),
            case(limits, "ask", "p50", count=500),
        ),
        "time: broadcast to 100": both("broadcast", "broadcast", receivers=100, count=10),
        "time: cancel 100": both("cancel", "cancel", children=9, leaves=10),
    }


class ProcessorTime:
    """Stands in for the module `time` on both sides: what others do on this machine takes no time."""

    perf_counter = staticmethod(time.process_time)


def timed_ratio(mine: Case, theirs: Case) -> float:
    """Return our smallest cost divided by theirs."""
    smallest = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for number, case in enumerate((mine, theirs)):
            gc.collect()
            gc.disable()  # when it runs depends on what else is in this process
            try:
                smallest[number] = min(smallest[number], case())
            finally:
                gc.enable()
    return smallest[0] / smallest[1]


# Instructions


def counter() -> Callable[[str, str, int], int] | None:
    """Return what can count instructions here, or None."""
    if shutil.which("perf") and counted_by_perf(["true"]) is not None:
        return lambda side, case, count: _by_perf(side, case, count)
    if shutil.which("valgrind") and shutil.which("callgrind_control"):
        return _by_callgrind
    return None


def counted_by_perf(command: list[str], answer: str = "") -> int | None:
    """Return the instructions of a whole command, or None if the processor does not tell."""
    perf = ["perf", "stat", "-x,", "-e", "instructions:u", "-o"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "perf.csv"
        done = subprocess.run(
            [*perf, str(path), *command], input=answer, capture_output=True, text=True,
            check=False, timeout=LIMIT, env=environment(Side("counted", "")),
        )  # fmt: skip
        if done.returncode or not path.exists():
            return None
        return instructions_in(path.read_text(encoding="utf-8"))


def instructions_in(report: str) -> int | None:
    """Read what `perf stat -x,` or callgrind has written; None if it did not count."""
    for line in report.splitlines():
        first = line.partition(",")[0].strip()
        if "instructions" in line and first.isdecimal():
            return int(first)
        if line.startswith("totals:"):
            return int(line.split()[1])
    return None


def _by_perf(side: str, case: str, count: int) -> int:
    """Count with perf: the whole process, twice, with more work the second time."""
    few = counted_by_perf(_program(side, case, count), "\n")
    many = counted_by_perf(_program(side, case, count * (1 + FACTOR)), "\n")
    if few is None or many is None:
        message = f"perf could not count {side} {case}"
        raise RuntimeError(message)
    return (many - few) // FACTOR


def _by_callgrind(side: str, case: str, count: int) -> int:
    """Count with callgrind, which is told when to begin."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "callgrind.out"
        valgrind = ["valgrind", "--tool=callgrind", "--instr-atstart=no"]
        command = [*valgrind, f"--callgrind-out-file={path}", *_program(side, case, count)]
        with started(command, environment(Side("counted", "")), stdin=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            begin = ["callgrind_control", "--instr=on", str(process.pid)]
            subprocess.run(begin, check=True, capture_output=True, timeout=LIMIT)
            process.communicate("\n", timeout=LIMIT)
        found = instructions_in(path.read_text(encoding="utf-8")) if path.exists() else None
    if not found:
        message = f"callgrind could not count {side} {case}"
        raise RuntimeError(message)
    return found


def _program(side: str, case: str, count: int) -> list[str]:
    return [sys.executable, "-P", "-m", f"{PACKAGE}.counting", side, case, str(count)]


# All of it


def measured() -> Iterator[tuple[str, float, float]]:
    """Yield the name of each ratio, the ratio and its tolerance."""
    ours.time = limits.time = ProcessorTime  # type: ignore[assignment,misc]
    for name, (mine, theirs) in timed_cases().items():
        yield name, timed_ratio(mine, theirs), TIME_TOLERANCE
    count = counter()
    if count is None:
        print("instructions: skipped, neither perf nor valgrind can count here", file=sys.stderr)
        return
    for case in ("send", "ask"):
        ratio = count("ours", case, COUNT) / count("limits", case, COUNT)
        yield f"instructions: {case}", ratio, COUNT_TOLERANCE


def judged(bases: Mapping[str, float]) -> list[Verdict]:
    """Measure everything, and compare it with what it was."""
    return [
        Verdict(name, ratio, bases.get(name), tolerance) for name, ratio, tolerance in measured()
    ]


def main() -> int:
    """Measure, print, and return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--update", action="store_true", help="keep what is measured as the base")
    arguments = parser.parse_args()
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    every: dict[str, dict[str, float]] = json.loads(BASES.read_text(encoding="utf-8"))
    verdicts = judged(every.get(python, {}))
    print("\n".join(aligned([HEAD, *(verdict.row for verdict in verdicts)])))
    if arguments.update:
        every[python] = {verdict.name: round(verdict.ratio, 3) for verdict in verdicts}
        BASES.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")
    slower = [verdict.name for verdict in verdicts if not verdict.holds]
    if slower and not arguments.update:
        print(f"slower than it was: {', '.join(slower)}; see benchmarks/guard.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
