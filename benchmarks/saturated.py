"""How long a cancel and a system message take to a far worker over a link that is full.

    trioworkers bench saturated                        # the first two lines, less often
    python -m benchmarks.saturated                     # four minutes
    python -m benchmarks.saturated --quick
    python -m benchmarks.saturated --json saturated.json
    python -m benchmarks.saturated --show saturated.json

Two processes on this machine, in each a runner with a worker and a proxy.  The near worker sends
messages of 16 KiB as fast as it may, and answers a job with an endless stream of as large items; the
far one takes both as fast as it can.  So the lanes of data and of replies are full.  Then, at random
moments, jobs are cancelled that were asked for before, and system messages are sent.  The time is
from the cancel of the scope, or the send, to the first line of the far handler that runs then.  Both
processes read the same monotonic clock.

*At most* is what the native dialect promises, computed of what was measured in the same run:

- a window of 65,536 bytes at the rate at which the far worker took the flood: more of data and
  replies is never on its way, wherever it is;
- a pass of the near loop and one of the far loop, as trio's instruments see them;
- behind a relay, the 2 ms of its line that it holds at a time.

It is compared percentile for percentile: the 99th of the latencies with the window and the 99th of
the passes.  Of a hundred or less the 99th is the largest, as at 200 kB/s and in Pipecat's format.

- *Loopback*: nothing is between the processes.  The rate is what they can do.
- *2 MB/s* and *200 kB/s*: a relay in a third process forwards so much, both ways.
- The kernel has buffers of its own: at each end of each connection one for what leaves and one for
  what came, of up to some megabytes.  What is in them was sent and has not arrived.  Natively that
  counts against the window, because the far side gives credit for what its session has read and
  not for what its kernel holds: so they add nothing to the bound.  Nothing else bounds what was
  written in *Pipecat's format*, and a cancel comes behind it; it would be more if trio did not see
  to it that the kernel holds little that cannot be sent yet.  The buffers on a slow line are asked
  to be of 16 KiB each, which the kernel doubles for its own purposes; in the lines *default
  buffers* they are what it makes them.

Pipecat's format is `dialect="pipecat"` of our own proxies.  Exits with 1 if a claim does not hold.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group, Run
from .stats import in_ms
from .subjects import Subject

LINES: dict[str, dict[str, int | str]] = {
    "loopback": {"rate": 0, "probes": 200, "settle": 500, "interval": 10},
    "2 MB/s": {"rate": 2_000_000, "probes": 120, "settle": 1_000, "interval": 50},
    "2 MB/s, default buffers": {
        "rate": 2_000_000, "probes": 120, "settle": 4_000, "interval": 50, "buffers": "default",
    },
    "200 kB/s": {"rate": 200_000, "probes": 20, "settle": 2_000, "interval": 400},
}  # fmt: skip
"""What is between the processes, and how often a cancel and a system message are sent over it."""

WHAT = {"cancel": "a cancel", "system": "a system message"}


def in_rate(seconds: float) -> str:
    """Write what a byte takes as how many there are in a second."""
    return f"{1e-6 / seconds:.3g} MB/s"


def group(line: str, probes: int | str, rounds: int) -> Group:
    """Return both dialects over one line."""
    given = {**LINES[line], "probes": probes}
    # Nothing is claimed of it, so the largest of a few will do.
    other = {**given, "dialect": "pipecat", "probes": 20}
    fewer = {"probes": 5}
    return Group(
        line.replace(",", ""),  # with a comma it could not be named in a list
        rounds=rounds,
        quick_rounds=1,
        runs=(
            Run(f"{line} native", "ours", "saturated", given, fewer),
            Run(f"{line} pipecat", "pipecat", "saturated", other, fewer),
        ),
    )


def claims(line: str) -> tuple[Claim, ...]:
    """Say what must hold over one line."""
    native, pipecat = f"{line} native", f"{line} pipecat"
    made: list[Claim] = []
    for kind, what in WHAT.items():
        made += [
            Claim(
                f"{line}: {what}, {name}", Figure(native, f"{kind} {name}"), in_ms, "within",
                1 if name == "p99" else None, other=Figure(native, f"bound {name}"),
            )
            for name in ("p50", "p99", "max")
        ]  # fmt: skip
        made += [
            Claim(
                f"{line}: {what}, {name}", Figure(native, f"{kind} {name}"), in_ms, "faster",
                other=Figure(pipecat, f"{kind} {name}"),
            )
            for name in ("p50", "p99")
        ]  # fmt: skip
    return (
        *made,
        Claim(f"{line}: rate", Figure(native, "byte"), in_rate, "faster",
              other=Figure(pipecat, "byte")),
        Claim(f"{line}: of the bound, the window", Figure(native, "window"), in_ms, "below"),
        Claim(f"{line}: of the bound, a near pass, p99", Figure(native, "near p99"), in_ms, "below"),
        Claim(f"{line}: of the bound, a far pass, p99", Figure(native, "far p99"), in_ms, "below"),
    )  # fmt: skip


SUBJECT = Subject(
    "saturated",
    groups=[
        group(line, given["probes"], rounds=2 if line == "200 kB/s" else 3)
        for line, given in LINES.items()
    ],
    # Of fewer than a hundred the 99th percentile is the largest, so that the claims only get harder.
    shorter=[group("loopback", 100, rounds=2), group("2 MB/s", 60, rounds=2)],
    claims=[claim for line in LINES for claim in claims(line)],
    modules={"ours": "saturated_side", "pipecat": "saturated_side"},
    # What is beside a figure of the same run is its bound.
    titles={"ours": "at most", "pipecat": "Pipecat's format"},
    peers={},
)

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
