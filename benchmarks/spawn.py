"""How long it takes until many workers can be used.

    python -m benchmarks.spawn                         # ours and bare trio
    python -m benchmarks.spawn --peers                 # and Pykka and Pipecat
    python -m benchmarks.spawn --json FILE --plot FILE.svg

Workers are made and added to a runner in one call; over when the last of them has handled a message
that was sent once all were ready.  What the imports left behind is collected before.

- *Bare trio* starts tasks, each up to its first sleep: they have no names, no mailboxes, no state.
- Pykka starts a thread for each actor, and so ends at 1,000.
- Pipecat is watched until every worker says that it has started.  Each one that is ready makes its
  runner tell all workers of all workers, so its line is steep and ends at 1,000.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group
from .stats import in_ms
from .subjects import Curve, Subject, at_sizes

SIZES = (10, 100, 1_000, 10_000)
FEWER = SIZES[:-1]

OURS, OURS_LINE = at_sizes("spawn", "ours", {n: {"count": n} for n in SIZES}, {1_000: "spawn"})
BARE, BARE_LINE = at_sizes(
    "spawn", "limits", {n: {"count": n} for n in SIZES}, {1_000: "bare spawn"}
)
PYKKA, PYKKA_LINE = at_sizes("spawn", "pykka", {n: {"count": n} for n in FEWER})
PIPECAT, PIPECAT_LINE = at_sizes(
    "spawn", "pipecat", {n: {"count": n} for n in FEWER}, {1_000: "peer spawn"}
)

SUBJECT = Subject(
    "spawn",
    groups=(
        Group("spawn", rounds=3, quick_rounds=1, runs=(*OURS, *BARE, *PYKKA, *PIPECAT)),
    ),
    claims=(
        Claim(
            "spawn 1,000 workers until they can be used",
            Figure("spawn", "spawn"), in_ms, "faster", 300, other=Figure("peer spawn", "spawn"),
        ),
        Claim(
            "spawn 1,000 workers, against Pykka's threads",
            Figure("spawn", "spawn"), in_ms, "faster",
            other=Figure("pykka spawn 1000", "spawn"),
        ),
        Claim(
            "spawn 1,000 workers, against bare tasks",
            Figure("spawn", "spawn"), in_ms, "within", other=Figure("bare spawn", "spawn"),
        ),
    ),
    plots=(
        Curve(
            "spawn",
            "Time until all workers can be used",
            size="workers",
            cost="time until usable",
            field="spawn",
            lines={
                "ours": OURS_LINE,
                "limits": BARE_LINE,
                "pykka": PYKKA_LINE,
                "pipecat": PIPECAT_LINE,
            },
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
