"""How long a message to all workers takes until the last of them has handled it.

    python -m benchmarks.broadcast                     # ours, bare trio, trio's memory channels
    python -m benchmarks.broadcast --peers             # and Pykka and Pipecat
    python -m benchmarks.broadcast --json FILE --plot FILE.svg

Every worker is idle and handles the type.  The time is from the send to the last handler, one
broadcast after the other; the median of them is a process's figure.

- *Bare trio* appends to every mailbox and wakes its task.  *Memory channels* send to a channel of each
  task, one after the other.
- Pykka: `ActorRegistry.broadcast`, to threads; ends at 1,000.  Pipecat: over the bus alone, without a
  runner, which is in its favour; ends at 1,000.

Here nobody can win by much: whoever does it has to wake a task for each receiver, and that is most of
the cost.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group
from .stats import in_ms
from .subjects import Curve, Subject, at_sizes

# By the number of receivers: how often.
COUNTS = {1: 200, 10: 100, 100: 50, 1_000: 20, 10_000: 5}


def sizes(largest: int) -> dict[int, dict[str, int | str]]:
    """Return the parameters for each number of receivers."""
    return {
        receivers: {"receivers": receivers, "count": count}
        for receivers, count in COUNTS.items()
        if receivers <= largest
    }


OURS, OURS_LINE = at_sizes("broadcast", "ours", sizes(10_000))
BARE, BARE_LINE = at_sizes("broadcast", "limits", sizes(10_000))
CHANNELS, CHANNELS_LINE = at_sizes("broadcast", "channels", sizes(10_000))
PYKKA, PYKKA_LINE = at_sizes("broadcast", "pykka", sizes(1_000))
PIPECAT, PIPECAT_LINE = at_sizes("broadcast", "pipecat", sizes(1_000))

SUBJECT = Subject(
    "broadcast",
    groups=(
        Group(
            "broadcast", rounds=3, quick_rounds=1,
            runs=(*OURS, *BARE, *CHANNELS, *PYKKA, *PIPECAT),
        ),
    ),
    claims=tuple(
        Claim(
            f"broadcast to 1,000, against {title}",
            Figure("ours broadcast 1000", "broadcast"), in_ms, "faster",
            other=Figure(f"{side} broadcast 1000", "broadcast"),
        )
        for side, title in (
            ("pipecat", "Pipecat's bus"),
            ("pykka", "Pykka"),
            ("channels", "trio's memory channels"),
            ("limits", "bare trio"),
        )
    ),
    plots=(
        Curve(
            "broadcast",
            "Time until the last receiver of a broadcast has handled it",
            size="receivers",
            cost="time per broadcast",
            field="broadcast",
            lines={
                "ours": OURS_LINE,
                "limits": BARE_LINE,
                "channels": CHANNELS_LINE,
                "pykka": PYKKA_LINE,
                "pipecat": PIPECAT_LINE,
            },
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
