"""What trioworkers' core costs, next to Pipecat and next to bare trio.

    python benchmarks/core.py                 # ours and bare trio
    python benchmarks/core.py --peers         # and Pipecat, installed once, after asking
    python benchmarks/core.py --peers --json core.json
    python benchmarks/core.py --show core.json

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

import argparse
import datetime as dt
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.harness import (
    ROOT,
    Claim,
    Figure,
    Group,
    Run,
    Samples,
    Side,
    judge,
    machine,
    measure,
    noise,
    print_table,
    significant,
)
from benchmarks.peers.environments import PIPECAT, PeerRefusedError

OURS = Side("ours", "benchmarks.ours")
LIMITS = Side("bare trio", "benchmarks.limits")
BUSY_LOAD = 0.7
BUSY_SPIN = 1.7
FLAT = (10, 100, 1_000, 10_000)


def in_us(seconds: float) -> str:
    return f"{significant(seconds * 1e6)} us"


def in_ms(seconds: float) -> str:
    return f"{significant(seconds * 1e3)} ms"


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
    arguments = parse()
    if arguments.show:
        record = json.loads(arguments.show.read_text(encoding="utf-8"))
    else:
        record = record_of(arguments)
    samples: Samples = record["samples"]
    side_names = {run.key: title(run.side) for group in GROUPS for run in group.runs}
    measured = {figure.run for claim in CLAIMS for figure in [claim.ours] if figure.run in samples}
    lines = [judge(claim, samples, side_names) for claim in CLAIMS if claim.ours.run in measured]
    print_heading(record)
    print_table(lines)
    print_slope(samples)
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return int(any(line.verdict == "FAIL" for line in lines))


def parse() -> argparse.Namespace:
    """Read the command line."""
    summary = (__doc__ or "").partition("\n")[0]
    parser = argparse.ArgumentParser(description=summary)
    parser.add_argument("--peers", action="store_true", help="measure Pipecat as well")
    parser.add_argument("--yes", action="store_true", help="install a missing peer unasked")
    parser.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    parser.add_argument("--only", help="groups to run: " + ",".join(group.name for group in GROUPS))
    parser.add_argument("--rounds", type=int, help="rounds for every group")
    parser.add_argument("--json", type=Path, help="write machine, versions and samples there")
    parser.add_argument("--show", type=Path, help="print the table of such a file instead")
    return parser.parse_args()


def record_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure what the command line asks for and return everything worth keeping."""
    sides = {"ours": OURS, "limits": LIMITS}
    if arguments.peers:
        try:
            PIPECAT.ensure(yes=arguments.yes)
        except PeerRefusedError as error:
            raise SystemExit(str(error)) from error
        sides["pipecat"] = Side("pipecat", "benchmarks.peers.pipecat_side", str(PIPECAT.python))
    wanted = arguments.only.split(",") if arguments.only else [group.name for group in GROUPS]
    groups = [group for group in GROUPS if group.name in wanted]
    started = dt.datetime.now(dt.UTC)
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    samples = measure(groups, sides, quick=arguments.quick, rounds=arguments.rounds)
    return {
        "machine": machine(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((dt.datetime.now(dt.UTC) - started).total_seconds()),
        "load": round(load, 2),
        "quick": arguments.quick,
        "commit": commit(),
        "versions": versions(samples),
        "samples": samples,
    }


def commit() -> str:
    """Return the commit that was measured, marked if the package differs from it."""
    describe = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True, check=False, cwd=ROOT)
    return done.stdout.strip() or "unknown"


def versions(samples: Samples) -> dict[str, str]:
    """Return the versions of all distributions that the figures depend on."""
    found: dict[str, str] = {}
    for reports in samples.values():
        for report in reports:
            found.update(report.get("versions", {}))
    return dict(sorted(found.items()))


def title(side: str) -> str:
    """Return how the table calls a side."""
    return {"ours": "ours", "limits": "bare trio", "pipecat": "Pipecat"}[side]


def print_heading(record: dict[str, Any]) -> None:
    """Print what the figures depend on."""
    described = record["machine"]
    print(f"{described['cpu']}, {described['cores']} cores, {described['system']}")
    names = (f"{name} {version}" for name, version in record["versions"].items())
    print(f"{described['implementation']} {described['python']}, {', '.join(names)}")
    spread = noise(record["samples"])
    slowest = spread.high / spread.median if spread.median else 1.0
    print(
        f"commit {record['commit']}, {record['started']}, {record['seconds']} s"
        f"{', quick' if record['quick'] else ''}; noise: a fixed loop took {in_ms(spread.median)}, "
        f"{in_ms(spread.low)} at best, {slowest:.2g} times the median at worst"
    )
    if record["load"] > BUSY_LOAD or slowest > BUSY_SPIN:
        print(
            f"the machine was busy (load {record['load']} before): do not trust what is under 1 ms"
        )
    print()


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
