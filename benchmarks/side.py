"""What every measured process has in common: one case, one line of JSON.

A *side* is a program that can run one case and exit:

    python -m benchmarks.ours send '{"count": 100000, "others": 0}'

It prints the case's figures as JSON on a line of its output that begins with a mark. This module is all that a side needs for that, and imports nothing
beyond the standard library, because the peers' sides import it too, from environments that hold the peer and nothing else.
"""

from __future__ import annotations

import gc
import json
import math
import os
import platform
import statistics
import sys
import time
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Figures = dict[str, float]
    Case = Callable[..., Figures]

SPIN_LOOPS = 200_000

MARK = "benchmarked: "
"""What the line with the figures begins with: a user's scenario may print before and after it."""


class RefusedError(Exception):
    """A case cannot do what it was told; the text says why, for the user."""


def main(cases: Mapping[str, Case], distributions: Sequence[str]) -> None:
    """Run the case named on the command line and print its figures.

    Args:
        cases: What this side can measure.
        distributions: The installed distributions whose versions the figures depend on.
    """
    name, parameters = sys.argv[1], json.loads(sys.argv[2])
    before = spin()
    cpu = time.process_time()
    started = time.perf_counter()
    try:
        figures = cases[name](**parameters)
    except RefusedError as error:
        tell({"refused": str(error)})
        return
    report = {
        "figures": figures,
        "wall": time.perf_counter() - started,
        "cpu": time.process_time() - cpu,
        "spin": [before, spin()],
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in distributions},
    }
    tell(report)


def tell(report: Mapping[str, object]) -> None:
    """Print a report on a line of its own, whatever other threads print, and however the process ends."""
    # In one piece, and at once: an `os._exit()` in a function of atexit would lose it otherwise.
    sys.stdout.write(f"\n{MARK}{json.dumps(report)}\n")
    sys.stdout.flush()


def spin() -> float:
    """Return the seconds that a fixed piece of plain Python takes now: a thermometer for the noise of the machine."""
    started = time.perf_counter()
    total = 0
    for number in range(SPIN_LOOPS):
        total += number
    return time.perf_counter() - started


def resident_bytes() -> int:
    """Return the resident memory of this process, garbage collected first.

    Raises:
        RuntimeError: The system has no `/proc`; memory lines can be measured on Linux only.
    """
    for _ in range(3):
        gc.collect()
    try:
        with open("/proc/self/statm", encoding="ascii") as statm:
            pages = int(statm.read().split()[1])
    except OSError as error:
        message = "resident memory is read from /proc: Linux only"
        raise RuntimeError(message) from error
    return pages * os.sysconf("SC_PAGE_SIZE")


def percentiles(seconds: Sequence[float]) -> Figures:
    """Return the median, the 99th percentile and the maximum of many measured times."""
    ordered = sorted(seconds)
    return {
        "p50": statistics.median(ordered),
        "p99": ordered[math.ceil(len(ordered) * 0.99) - 1],
        "max": ordered[-1],
    }
