"""How long a system message from a thread takes to a worker that has 100,000 data messages queued.

    python -m benchmarks.overtaking                    # ours
    python -m benchmarks.overtaking --peers            # and Pipecat

The shortest form of the question; `trioworkers bench priority` asks it in all its forms.

A thread sends, as a socket, a user interface or a signal would.  The loop is blocked until the thread
is about to send: otherwise Python's GIL would decide when the thread runs, on a busy loop often long
after the backlog.  The backlog's handlers do nothing.

- *Against an empty lane*: the same with 100,000 messages made and kept elsewhere, because making so
  many leaves the processor's caches cold.
- *Against an idle process*: nothing was made at all.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group, Run
from .stats import in_ms
from .subjects import Subject

SUBJECT = Subject(
    "overtaking",
    groups=(
        Group(
            "system",
            rounds=3,
            runs=(
                Run("behind", "ours", "system", {"backlog": 100_000, "repetitions": 20}),
                Run(
                    "empty", "ours", "system",
                    {"backlog": 0, "repetitions": 20, "elsewhere": 100_000},
                ),
                Run("idle", "ours", "system", {"backlog": 0, "repetitions": 100}),
                Run("peer behind", "pipecat", "system", {"backlog": 100_000, "repetitions": 3}),
            ),
        ),
    ),
    claims=(
        Claim(
            "system message from a thread behind 100,000, p50",
            Figure("behind", "p50"), in_ms, "faster", 1_000, other=Figure("peer behind", "p50"),
        ),
        Claim(
            "against an empty lane, 100,000 kept elsewhere, p50",
            Figure("behind", "p50"), in_ms, "within", 3, other=Figure("empty", "p50"),
        ),
        Claim(
            "against an idle process, p50",
            Figure("behind", "p50"), in_ms, "within", other=Figure("idle", "p50"),
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
