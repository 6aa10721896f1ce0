"""What trioworkers' core costs, next to Pipecat and next to bare trio.

    python -m benchmarks.core                 # ours and bare trio
    python -m benchmarks.core --peers         # and Pipecat, installed once, after asking
    python -m benchmarks.core --peers --json core.json
    python -m benchmarks.core --show core.json

How it is measured:

- Each measurement runs in a fresh process, which prints its figures and exits. The sides take
  turns, A B A B, over several rounds. Ratios are made within a round, so that both sides met the
  same noise; the table gives the median of the rounds' ratios and, in brackets, the smallest and
  the largest. A verdict is about that median.
- Each side is written as its own documentation tells its users to: `ours.py`, `limits.py` (bare
  trio, no promises), `peers/pipecat_side.py`. A choice between two ways goes the peer's way.
- A message is made for each send, inside the timed loop, of the product's own message class.
- The garbage collector runs as it does for users. Each process warms up before it measures; where
  things are made or torn down once, what the imports left behind is collected before instead.
- Beside every figure, the time of one fixed loop of plain Python is taken: `noise` says how much
  the machine's own speed varied during the run.

Exits with 1 if a claim does not hold. Not part of the test suite: a test must not depend on time.
"""

from __future__ import annotations

import sys

from .command import (
    in_ms,
    in_us,
    measure_beside_peer,
    peer_parser,
    present,
    record_of,
)
from .harness import Claim, Figure, Group, Run, Samples, Side

OURS = Side("ours", f"{__package__}.ours")
LIMITS = Side("bare trio", f"{__package__}.limits")
TITLES = {"ours": "ours", "limits": "bare trio", "pipecat": "Pipecat"}
FLAT = (10, 100, 1_000, 10_000)


def in_kb(size: float) -> str:
    return f"{size / 1_000:.3g} KB"


def in_units(count: float) -> str:
    return f"{count:,.0f}"


GROUPS = (
    Group(
        "send",
        rounds=9,
        runs=(
            Run("send", "ours", "send", {"count": 100_000, "others": 0}),
            Run("bare send", "limits", "send", {"count": 100_000, "others": 0}),
            Run("bus send", "pipecat", "send_bus", {"count": 50_000, "others": 0}),
            Run("peer send", "pipecat", "send", {"count": 50_000, "others": 0}),
        ),
    ),
    Group(
        "others",
        rounds=5,
        runs=(
            Run("send 100", "ours", "send", {"count": 100_000, "others": 100}),
            Run("peer send 100", "pipecat", "send", {"count": 4_000, "others": 100}),
        ),
    ),
    Group(
        "ask",
        rounds=7,
        runs=(
            Run("ask", "ours", "ask", {"count": 5_000, "form": "ask"}),
            Run("ask dict", "ours", "ask", {"count": 5_000, "form": "ask_dict"}),
            Run("job", "ours", "ask", {"count": 5_000, "form": "job"}),
            Run("bare ask", "limits", "ask", {"count": 5_000}),
            Run("peer job", "pipecat", "ask", {"count": 2_000}),
        ),
    ),
    Group(
        "system",
        rounds=3,
        runs=(
            Run("behind", "ours", "system", {"backlog": 100_000, "repetitions": 20}),
            Run(
                "empty",
                "ours",
                "system",
                {"backlog": 0, "repetitions": 20, "elsewhere": 100_000},
            ),
            Run("idle", "ours", "system", {"backlog": 0, "repetitions": 100}),
            Run("peer behind", "pipecat", "system", {"backlog": 100_000, "repetitions": 3}),
        ),
    ),
    Group(
        "spawn",
        rounds=3,
        quick_rounds=1,
        runs=(
            Run("spawn", "ours", "spawn", {"count": 1_000}),
            Run("bare spawn", "limits", "spawn", {"count": 1_000}),
            Run("peer spawn", "pipecat", "spawn", {"count": 1_000}),
        ),
    ),
    Group(
        "memory",
        rounds=3,
        quick_rounds=1,
        runs=(
            Run("memory", "ours", "memory", {"count": 10_000}),
            Run("peer memory", "pipecat", "memory", {"count": 1_000}),
        ),
    ),
    Group(
        "cancel",
        rounds=5,
        quick_rounds=1,
        runs=(
            Run("cancel", "ours", "cancel", {"children": 30, "leaves": 29}),
            Run("bare cancel", "limits", "cancel", {"children": 30, "leaves": 29}),
            Run("peer cancel", "pipecat", "cancel", {"children": 30, "leaves": 29}),
        ),
    ),
    Group(
        "flat",
        rounds=5,
        runs=tuple(
            Run(f"flat {others}", "ours", "send", {"count": 100_000, "others": others})
            for others in FLAT
        ),
    ),
    Group(
        "jobs",
        rounds=2,
        quick_rounds=1,
        runs=(Run("jobs", "ours", "jobs", {"count": 100_000}, {"count": 20_000}),),
    ),
)

CLAIMS = (
    Claim(
        "1 send to a handler, peer's bus alone",
        Figure("send", "message"), in_us, "faster", 10, other=Figure("bus send", "message"),
    ),
    Claim(
        "1 send to a handler, whole framework",
        Figure("send", "message"), in_us, "faster", 10, other=Figure("peer send", "message"),
    ),
    Claim(
        "1 send to a handler, beside 100 others",
        Figure("send 100", "message"), in_us, "faster", 150,
        other=Figure("peer send 100", "message"),
    ),
    Claim(
        "1 the most there is: bare trio, peer's bus alone",
        Figure("bare send", "message"), in_us, "faster", other=Figure("bus send", "message"),
    ),
    Claim(
        "1 the most there is: bare trio, whole framework",
        Figure("bare send", "message"), in_us, "faster", other=Figure("peer send", "message"),
    ),
    Claim(
        "2 ask, round trip p50",
        Figure("ask", "p50"), in_us, "faster", 5, 8, Figure("peer job", "p50"),
    ),
    Claim(
        "2 ask by name with dicts, p50",
        Figure("ask dict", "p50"), in_us, "faster", other=Figure("peer job", "p50"),
    ),
    Claim(
        "2 async with job(), p50",
        Figure("job", "p50"), in_us, "faster", other=Figure("peer job", "p50"),
    ),
    Claim(
        "2 the most there is: a task and a scope for each job",
        Figure("bare ask", "p50"), in_us, "faster", other=Figure("peer job", "p50"),
    ),
    Claim("2 ask, round trip p99", Figure("ask", "p99"), in_us, "faster",
          other=Figure("peer job", "p99")),
    Claim(
        "3 system message from a thread behind 100,000, p50",
        Figure("behind", "p50"), in_ms, "faster", 1_000, other=Figure("peer behind", "p50"),
    ),
    Claim(
        "3 the same against an empty lane, 100,000 kept elsewhere, p50",
        Figure("behind", "p50"), in_ms, "within", 3, other=Figure("empty", "p50"),
    ),
    Claim(
        "3 the same against an idle process, p50",
        Figure("behind", "p50"), in_ms, "within", other=Figure("idle", "p50"),
    ),
    Claim(
        "4 spawn 1,000 workers until they can be used",
        Figure("spawn", "spawn"), in_ms, "faster", 300, other=Figure("peer spawn", "spawn"),
    ),
    Claim(
        "4 the same against bare tasks",
        Figure("spawn", "spawn"), in_ms, "within", other=Figure("bare spawn", "spawn"),
    ),
    Claim(
        "5 resident memory per idle worker",
        Figure("memory", "bytes"), in_kb, "below", 7_000,
    ),
    Claim(
        "5 the same against the peer",
        Figure("memory", "bytes"), in_kb, "faster", other=Figure("peer memory", "bytes"),
    ),
    Claim(
        "6 cancel a tree of 901 workers",
        Figure("cancel", "cancel"), in_ms, "faster", 30, other=Figure("peer cancel", "cancel"),
    ),
    Claim(
        "6 the same against bare nurseries",
        Figure("cancel", "cancel"), in_ms, "within", 2, other=Figure("bare cancel", "cancel"),
    ),
    *(
        Claim(
            f"7 send beside {others:,} others, against 10",
            Figure(f"flat {others}", "message"), in_us, "within",
            1.25 if others == FLAT[-1] else None, other=Figure(f"flat {FLAT[0]}", "message"),
        )
        for others in FLAT[1:]
    ),
    Claim(
        "8 100,000 jobs: growth of all tables, entries",
        Figure("jobs", "table_entries"), in_units, "below", 0,
    ),
    Claim(
        "8 100,000 jobs: growth of live objects",
        Figure("jobs", "objects"), in_units, "below", 100,
    ),
    Claim(
        "8 100,000 jobs: growth of resident memory",
        Figure("jobs", "resident"), in_kb, "below", 1_000_000,
    ),
    Claim(
        "9 await send, share of the speed of bare trio",
        Figure("send", "message"), in_us, "share", 60, other=Figure("bare send", "message"),
    ),
)  # fmt: skip


def main() -> int:
    """Measure, print the table, and return the exit code."""
    arguments = peer_parser(__doc__, "core", GROUPS).parse_args()
    sides = {"ours": OURS, "limits": LIMITS}
    peer = f"{__package__}.peers.pipecat_side"
    record = record_of(
        arguments,
        lambda: measure_beside_peer(arguments, GROUPS, sides, peer),
        quick=arguments.quick,
    )
    code = present(
        record, CLAIMS, {run.key: TITLES[run.side] for group in GROUPS for run in group.runs}
    )
    print_slope(record["samples"])
    return code


def print_slope(samples: Samples) -> None:
    """Print what each further worker adds to the cost of a message to one of them."""
    points = [
        (others, report["figures"]["message"])
        for others in FLAT
        for report in samples.get(f"flat {others}", ())
        if "error" not in report
    ]
    if len({others for others, _ in points}) < 2:
        return
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    over = sum((x - mean_x) * (y - mean_y) for x, y in points)
    slope = over / sum((x - mean_x) ** 2 for x, _ in points)
    print(
        f"\nslope of a targeted message: {slope * 1e9 * 1_000:.3g} ns for each 1,000 workers more"
    )


if __name__ == "__main__":
    sys.exit(main())
