"""How much memory an idle worker takes.

    python -m benchmarks.memory                        # ours and bare trio
    python -m benchmarks.memory --peers                # and Pykka and Pipecat
    python -m benchmarks.memory --json FILE --plot FILE.svg

The resident memory of the process, read from `/proc` after three collections, before and after so
many idle workers are added; the difference, divided by their number.  50 workers are there before,
so that what the first ones import is not counted.  Linux only.

- *Bare trio* is a sleeping task.  Pykka's actors are threads, of which the stack is mostly untouched
  and so not resident.  Pipecat's start-up broadcasts are left out, in its favour: what they leave in
  memory is not.
- Memory comes in pages and in arenas of 256 KiB and more, so figures for less than 1,000 workers are
  coarse; the plot shows the sum.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group
from .stats import in_kb
from .subjects import Curve, Subject, at_sizes

SIZES = (300, 1_000, 3_000, 10_000)
FEWER = SIZES[:2]

OURS, OURS_LINE = at_sizes("memory", "ours", {n: {"count": n} for n in SIZES}, {10_000: "memory"})
BARE, BARE_LINE = at_sizes("memory", "limits", {n: {"count": n} for n in SIZES})
PYKKA, PYKKA_LINE = at_sizes("memory", "pykka", {n: {"count": n} for n in FEWER})
PIPECAT, PIPECAT_LINE = at_sizes(
    "memory", "pipecat", {n: {"count": n} for n in FEWER}, {1_000: "peer memory"}
)

SUBJECT = Subject(
    "memory",
    groups=(
        Group("memory", rounds=3, quick_rounds=1, runs=(*OURS, *BARE, *PYKKA, *PIPECAT)),
    ),
    claims=(
        Claim("resident memory per idle worker", Figure("memory", "bytes"), in_kb, "below", 7_000),
        Claim(
            "memory per idle worker, against Pipecat",
            Figure("memory", "bytes"), in_kb, "faster", other=Figure("peer memory", "bytes"),
        ),
        Claim(
            "memory per idle worker, against Pykka",
            Figure("memory", "bytes"), in_kb, "faster", other=Figure("pykka memory 1000", "bytes"),
        ),
        Claim(
            "memory per idle worker, against a bare task",
            Figure("memory", "bytes"), in_kb, "within", other=Figure("limits memory 10000", "bytes"),
        ),
    ),
    plots=(
        Curve(
            "memory",
            "Resident memory of idle workers",
            size="idle workers",
            cost="resident memory",
            field="total",
            lines={
                "ours": OURS_LINE,
                "limits": BARE_LINE,
                "pykka": PYKKA_LINE,
                "pipecat": PIPECAT_LINE,
            },
            unit="bytes",
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
