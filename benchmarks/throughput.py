"""What a message costs from `await send` to the handler, and whether more workers make it dearer.

    python -m benchmarks.throughput                    # ours, bare trio, trio's memory channels
    python -m benchmarks.throughput --peers            # and Pykka and Pipecat
    python -m benchmarks.throughput --json FILE --plot FILE.svg

A worker's handler sends to another worker as fast as it may; the time is from the first send to the
last message handled, divided by the number of messages.  Each message is made just before it is
sent, inside the timed loop: a `@message` class of our own here and for bare trio, a dataclass for
Pipecat, a class with slots for Pykka.  2,000 messages warm up.

- *Bare trio* (`limits.py`) is the most there is: two deques and a bare reschedule, the same message
  class, a dispatch by type, the same measure of fairness, and no promise at all.
- *Memory channels* (`channels.py`) are what one takes without a framework.  They yield each time.
- *The peer's bus alone* is Pipecat's bus with a subscriber that does nothing but count; the *whole
  framework* is a worker with a handler under a runner, as users write it.
- A message that has a target must not become dearer with workers it is not for.  So the same is
  measured beside 1 to 10,000 idle ones.  Pipecat shows every message to everybody; its line ends at
  1,000, and is of the bus alone, because its runner takes minutes to start so many.

What this does not say: how long a message waits.  It is a rate, of a burst; see `priority`.
"""

from __future__ import annotations

import sys

from .command import run_subject
from .harness import Claim, Figure, Group, Run
from .stats import in_us
from .subjects import Curve, Subject, at_sizes

COUNT = 100_000
LESS = {"count": 20_000}
FLAT = (1, 10, 100, 1_000, 10_000)
# A message of Pipecat's costs more with each worker, so fewer of them take as long.
PEER_COUNTS = {1: 20_000, 10: 10_000, 100: 2_000, 1_000: 300}

OURS, FLAT_OURS = at_sizes(
    "send",
    "ours",
    {others: {"count": COUNT, "others": others} for others in FLAT},
    {others: f"flat {others}" for others in FLAT},
    LESS,
)
BARE, FLAT_BARE = at_sizes(
    "send", "limits", {others: {"count": COUNT, "others": others} for others in FLAT}, quick=LESS
)
BUS, FLAT_BUS = at_sizes(
    "send_bus",
    "pipecat",
    {others: {"count": count, "others": others} for others, count in PEER_COUNTS.items()},
)

SUBJECT = Subject(
    "throughput",
    groups=(
        Group(
            "send",
            rounds=7,
            runs=(
                Run("send", "ours", "send", {"count": COUNT, "others": 0}),
                Run("bare send", "limits", "send", {"count": COUNT, "others": 0}),
                Run("channel send", "channels", "send", {"count": COUNT // 2, "others": 0}),
                Run("pykka send", "pykka", "send", {"count": COUNT // 2, "others": 0}),
                Run("bus send", "pipecat", "send_bus", {"count": COUNT // 2, "others": 0}),
                Run("peer send", "pipecat", "send", {"count": COUNT // 2, "others": 0}),
            ),
        ),
        Group(
            "others",
            rounds=5,
            quick_rounds=1,
            runs=(
                Run("send 100", "ours", "send", {"count": COUNT, "others": 100}),
                Run("peer send 100", "pipecat", "send", {"count": 4_000, "others": 100}),
            ),
        ),
        Group("flat", rounds=3, quick_rounds=1, runs=(*OURS, *BARE, *BUS)),
    ),
    claims=(
        Claim(
            "await send, share of the speed of bare trio",
            Figure("send", "message"), in_us, "share", 60, other=Figure("bare send", "message"),
        ),
        Claim(
            "send to a handler, trio's memory channels",
            Figure("send", "message"), in_us, "faster", other=Figure("channel send", "message"),
        ),
        Claim(
            "send to a handler, Pykka",
            Figure("send", "message"), in_us, "faster", other=Figure("pykka send", "message"),
        ),
        Claim(
            "send to a handler, peer's bus alone",
            Figure("send", "message"), in_us, "faster", 10, other=Figure("bus send", "message"),
        ),
        Claim(
            "send to a handler, whole framework",
            Figure("send", "message"), in_us, "faster", 10, other=Figure("peer send", "message"),
        ),
        Claim(
            "send to a handler, beside 100 others",
            Figure("send 100", "message"), in_us, "faster", 150,
            other=Figure("peer send 100", "message"),
        ),
        Claim(
            "the most there is: bare trio, peer's bus alone",
            Figure("bare send", "message"), in_us, "faster", other=Figure("bus send", "message"),
        ),
        Claim(
            "the most there is: bare trio, whole framework",
            Figure("bare send", "message"), in_us, "faster", other=Figure("peer send", "message"),
        ),
        *(
            Claim(
                f"send beside {others:,} others, against 10",
                Figure(f"flat {others}", "message"), in_us, "within",
                1.25 if others == FLAT[-1] else None, other=Figure("flat 10", "message"),
            )
            for others in FLAT
            if others > 10
        ),
    ),
    plots=(
        Curve(
            "workers",
            "What a message to one worker costs, by how many others there are",
            size="other workers, idle",
            cost="time per message",
            field="message",
            lines={"ours": FLAT_OURS, "limits": FLAT_BARE, "pipecat": FLAT_BUS},
        ),
    ),
)  # fmt: skip

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
