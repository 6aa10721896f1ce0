"""How long a job takes from the question to the answer, and what many jobs leave behind.

    python -m benchmarks.ask                           # ours, bare trio, trio's memory channels
    python -m benchmarks.ask --peers                   # and Pykka and Pipecat
    python -m benchmarks.ask --json FILE --plot FILE.svg

A worker asks another one, which answers at once; one job after the other, each timed alone.  A
tenth as many jobs warm up.  Median and 99th percentile are of one process; the table takes the
median of the processes.

- Ours in the three ways there are: `ask` with attrs classes, `ask` by name with dicts, and the
  block `async with job()`, which also gives events.  Pipecat: `async with job()`, with dicts, without
  a timeout.  Pykka: `ask` from actor to actor, so between two threads.
- *Bare trio* is a task and a cancel scope for each job and nothing else: less cannot be if a job is
  to be cancelled alone.  *Memory channels* send the channel that the answer goes back on; nothing
  can be cancelled there, the asker just stops to wait.
- *Growth*: all containers that can be reached from runner and workers, all live objects, and the
  resident memory are counted after 4,000 jobs and again after 100,000 more.  Linux only.

What this does not say: how many jobs can run at once.  One after the other is a latency.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group, Run
from .stats import in_size, in_units, in_us
from .subjects import Dots, Subject

FEW: dict[str, int | str] = {"count": 1_000}

SUBJECT = Subject(
    "ask",
    groups=(
        Group(
            "ask",
            rounds=7,
            runs=(
                Run("ask", "ours", "ask", {"count": 5_000, "form": "ask"}, FEW),
                Run("ask dict", "ours", "ask", {"count": 5_000, "form": "ask_dict"}, FEW),
                Run("job", "ours", "ask", {"count": 5_000, "form": "job"}, FEW),
                Run("bare ask", "limits", "ask", {"count": 5_000}, FEW),
                Run("channel ask", "channels", "ask", {"count": 5_000}, FEW),
                Run("pykka ask", "pykka", "ask", {"count": 2_000}, FEW),
                Run("peer job", "pipecat", "ask", {"count": 2_000}, FEW),
            ),
        ),
        Group(
            "jobs",
            rounds=2,
            quick_rounds=1,
            runs=(Run("jobs", "ours", "jobs", {"count": 100_000}, {"count": 5_000}),),
        ),
    ),
    claims=(
        Claim(
            "ask, round trip p50",
            Figure("ask", "p50"), in_us, "faster", 5, 8, Figure("peer job", "p50"),
        ),
        Claim(
            "ask by name with dicts, p50",
            Figure("ask dict", "p50"), in_us, "faster", other=Figure("peer job", "p50"),
        ),
        Claim(
            "async with job(), p50",
            Figure("job", "p50"), in_us, "faster", other=Figure("peer job", "p50"),
        ),
        Claim(
            "the most there is: a task and a scope for each job",
            Figure("bare ask", "p50"), in_us, "faster", other=Figure("peer job", "p50"),
        ),
        Claim(
            "ask, round trip p99",
            Figure("ask", "p99"), in_us, "faster", other=Figure("peer job", "p99"),
        ),
        Claim(
            "ask, round trip p50, Pykka",
            Figure("ask", "p50"), in_us, "faster", other=Figure("pykka ask", "p50"),
        ),
        Claim(
            "ask, round trip p50, trio's memory channels",
            Figure("ask", "p50"), in_us, "faster", other=Figure("channel ask", "p50"),
        ),
        *(
            Claim(
                f"{title}, {field}, share of the speed of bare trio",
                Figure(key, field), in_us, "share", other=Figure("bare ask", field),
            )
            for title, key, field in (
                ("ask", "ask", "p50"),
                ("ask", "ask", "p99"),
                ("ask by name with dicts", "ask dict", "p50"),
                ("async with job()", "job", "p50"),
            )
        ),
        Claim(
            "many jobs: growth of all tables, entries",
            Figure("jobs", "table_entries"), in_units, "below", 0,
        ),
        Claim(
            "many jobs: growth of live objects",
            Figure("jobs", "objects"), in_units, "below", 100,
        ),
        Claim(
            "many jobs: growth of resident memory",
            Figure("jobs", "resident"), in_size, "below", 1_000_000,
        ),
    ),
    plots=(
        Dots(
            "ask",
            "How long a job takes, question to answer",
            "round trip",
            rows=(
                ("bare trio", "bare ask"),
                ("memory channels", "channel ask"),
                ("trioworkers: ask", "ask"),
                ("trioworkers: ask, dicts", "ask dict"),
                ("trioworkers: job()", "job"),
                ("Pykka: ask", "pykka ask"),
                ("Pipecat: job()", "peer job"),
            ),
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
