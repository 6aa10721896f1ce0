"""What trioworkers' core costs, next to Pipecat, Pykka, trio's memory channels and bare trio.

    python -m benchmarks.core                 # ours and trio
    python -m benchmarks.core --peers         # and the peers, installed once, after asking
    python -m benchmarks.core --peers --json core.json
    python -m benchmarks.core --show core.json

Runs all subjects that need one process only, one after the other, so that their figures are of one
run: `throughput`, `ask`, `overtaking`, `spawn`, `memory`, `cancel`, `broadcast`.  What each of them
measures stands in its own file.

How it is measured:

- Each measurement runs in a fresh process, which prints its figures and exits. The sides take
  turns over several rounds, A B B A: every other round goes backwards, so that a machine that
  becomes slower or faster meanwhile favours nobody. Ratios are made within a round, so that both
  sides met the same noise; the table gives the median of the rounds' ratios and, in brackets, the smallest and
  the largest. A verdict is about that median.
- Each side is written as its own documentation tells its users to: `ours.py`, `limits.py` (bare
  trio, no promises), `channels.py`, `peers/pykka_side.py`, `peers/pipecat_side.py`. A choice between
  two ways goes the peer's way.
- A message is made for each send, inside the timed loop, of the product's own message class.
- A growth `n^b` is a straight line through the logarithms of sizes and costs, by least squares, in
  each round: with 0 the size does not matter, with 1 twice the size costs twice as much.
- The garbage collector runs as it does for users. Each process warms up before it measures; where
  things are made or torn down once, what the imports left behind is collected before instead.
- Beside every figure, the time of one fixed loop of plain Python is taken: `noise` says how much
  the machine's own speed varied during the run.

Exits with 1 if a claim does not hold. Not part of the test suite: a test must not depend on time.
"""

from __future__ import annotations

import sys

from . import ask, broadcast, cancel, memory, overtaking, spawn, throughput
from .command import run_subject
from .subjects import joined

SUBJECT = joined(
    "core",
    (
        throughput.SUBJECT,
        ask.SUBJECT,
        overtaking.SUBJECT,
        spawn.SUBJECT,
        memory.SUBJECT,
        cancel.SUBJECT,
        broadcast.SUBJECT,
    ),
)

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
