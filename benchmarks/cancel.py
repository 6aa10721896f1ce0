"""How long it takes to cancel a whole tree of workers.

    python -m benchmarks.cancel                        # ours and bare trio
    python -m benchmarks.cancel --peers                # and Pykka and Pipecat
    python -m benchmarks.cancel --json FILE --plot FILE.svg

A tree of depth three: a root, its children, and the leaves below each of them, all idle.  The time is
from `runner.cancel()` until nothing of the tree is left.  What the start left behind is collected
before.

- *Bare trio* is nested nurseries: one task for each worker, and a nursery for each worker that has
  children.
- Pykka knows no trees: as many actors are stopped together, by `ActorRegistry.stop_all()`.  They are
  threads, so it ends at 901.
- Pipecat: from `runner.cancel()` to the return of `runner.run()`; it ends at 901 too, as it takes
  longer with the square of the number.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group
from .stats import in_ms
from .subjects import Curve, Subject, at_sizes

# By the number of all workers: how many children the root has, and each of those.
TREES: dict[int, dict[str, int | str]] = {
    10: {"children": 3, "leaves": 2},
    100: {"children": 9, "leaves": 10},
    901: {"children": 30, "leaves": 29},
    10_000: {"children": 99, "leaves": 100},
}
FEWER = {workers: tree for workers, tree in TREES.items() if workers < 1_000}

OURS, OURS_LINE = at_sizes("cancel", "ours", TREES, {901: "cancel"})
BARE, BARE_LINE = at_sizes("cancel", "limits", TREES, {901: "bare cancel"})
PYKKA, PYKKA_LINE = at_sizes("cancel", "pykka", FEWER)
PIPECAT, PIPECAT_LINE = at_sizes("cancel", "pipecat", FEWER, {901: "peer cancel"})

SUBJECT = Subject(
    "cancel",
    groups=(
        Group("cancel", rounds=5, quick_rounds=1, runs=(*OURS, *BARE, *PYKKA, *PIPECAT)),
    ),
    claims=(
        Claim(
            "cancel a tree of 901 workers",
            Figure("cancel", "cancel"), in_ms, "faster", 30, other=Figure("peer cancel", "cancel"),
        ),
        Claim(
            "cancel 901 workers, against Pykka's stop_all()",
            Figure("cancel", "cancel"), in_ms, "faster",
            other=Figure("pykka cancel 901", "cancel"),
        ),
        Claim(
            "cancel 901 workers, against bare nurseries",
            Figure("cancel", "cancel"), in_ms, "within", 2, other=Figure("bare cancel", "cancel"),
        ),
    ),
    plots=(
        Curve(
            "cancel",
            "Time to cancel a tree, until nothing of it is left",
            size="workers in the tree",
            cost="time to cancel",
            field="cancel",
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
