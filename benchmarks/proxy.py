"""What it costs to talk to a worker in another process, through our proxies and through Pipecat's.

    trioworkers bench proxy                          # small messages, and 64 KiB of text one way
    python -m benchmarks.proxy                       # ours, and bare trio-websocket
    python -m benchmarks.proxy --peers               # and Pipecat, installed once, after asking
    python -m benchmarks.proxy --peers --json proxy.json
    python -m benchmarks.proxy --show proxy.json

What is measured is what users see, from worker to worker: two processes on this machine, in each a
runner with one worker and one proxy, a WebSocket over loopback between them.

- Ours: `WebSocketProxyClient` and `serve_proxies`, with trio-websocket; and, in the lines that say so,
  with `transport="websockets"` on both sides: there the ratio is how much faster that is.  Pipecat: its real
  `WebSocketProxyClient`, and its real `WebSocketProxyServer` in a FastAPI app under uvicorn.
- Both speak Pipecat's JSON, with `dialect="pipecat"` here, and the messages have the same tags, fields
  and values.  In the lines that say *native* the bodies are the same too, but small messages leave
  many in a frame, with numbers and credit, as two of ours talk to each other by default.
- *One way*: the worker of the client's side sends messages to the one of the server's side, each
  made just before it is sent, as fast as it may; over when it has heard from the other worker that
  it has handled the last one, and all of them.  Ours waits when 256 messages wait to leave; Pipecat
  never makes a sender wait, so there the sender takes a break after every 64 messages, which is
  faster than none.
- *Job*: the same worker asks the other one, which gives back what it got; one job after the other.
- A *small* message carries one number.  64 KiB are carried as one text, of English words, and as
  1,100 small dicts.
- Pipecat's real pair compresses each message: `websockets` offers that and uvicorn takes it.  That
  is what the claims are about.  On loopback it costs much and saves nothing, so the lines "not
  compressed" tell how it would be if the server's side had turned it off.
- *bare*: trio-websocket alone and `json`, with the same texts, one frame for each message.  It has
  no workers, and nobody looks at what arrives.  Ours can be faster than that: what waits together leaves in one
  write.
- *Raw packed frames*: the same texts over trio-websocket alone, as many in a frame as 64 KiB hold.  Each
  is made, written, read and looked at by itself, and nobody waits for a frame that is not full.
- *The most there is*: these frames beside Pipecat's pair; and our two workers in one process, without
  any link, as nothing that has to be written and read again can be faster than that.

Each round runs all sides in turn, in fresh processes, every other one backwards; ratios are made within a round.  See `core.py`
for the rest of the method.  Exits with 1 if a claim does not hold.
"""

from __future__ import annotations

import sys

import attrs

from .command import run_subject
from .harness import Claim, Figure, Group, Run
from .peers.environments import PIPECAT
from .stats import in_us
from .subjects import Dots, Subject

TITLES = {"ours": "ours", "limits": "bare", "pipecat": "Pipecat"}

SIZES = {"small": "small", "text": "64 KiB of text", "rows": "64 KiB of dicts"}
ROUNDS = {"small": 5, "text": 4, "rows": 4}

SHORTER = ("one_way small", "ask small", "one_way text")
"""What `trioworkers bench proxy` measures in less than a minute."""


def in_rate(seconds: float) -> str:
    """Write the cost of a message as how many there are in a second."""
    return f"{1 / seconds:,.0f}/s"


def group(case: str, body: str, count: int, quick: int) -> Group:
    """Return all sides of one measurement."""
    key = f"{case} {body}"
    given: dict[str, int | str] = {"count": count, "body": body}
    fewer: dict[str, int | str] = {"count": quick}
    same = {**given, "dialect": "pipecat"}
    runs = [
        Run(f"{key} ours", "ours", case, same, fewer),
        Run(f"{key} core", "ours", case, {**same, "transport": "websockets"}, fewer),
        Run(f"{key} native", "ours", case, {**given, "dialect": "native"}, fewer),
        Run(f"{key} pipecat", "pipecat", case, {**given, "deflate": 1}, fewer),
        Run(f"{key} plain", "pipecat", case, {**given, "deflate": 0}, fewer),
        Run(f"{key} bare", "limits", case, given, fewer),
    ]
    if key == "one_way small":
        runs += [
            Run(f"{key} packed", "limits", "packed", given, fewer),
            Run(f"{key} local", "ours", "local", given, fewer),
        ]
    return Group(key, rounds=ROUNDS[body], runs=runs)


GROUPS = (
    group("one_way", "small", 20_000, 5_000),
    group("ask", "small", 2_000, 500),
    group("one_way", "text", 1_000, 300),
    group("one_way", "rows", 200, 50),
    group("ask", "text", 200, 50),
    group("ask", "rows", 50, 20),
)


def one_way_claims(body: str, bound: float) -> tuple[Claim, ...]:
    """Say how much faster messages must cross."""
    title, key = f"one way, {SIZES[body]}", f"one_way {body}"
    ours = Figure(f"{key} ours", "message")
    return (
        Claim(title, ours, in_rate, "faster", bound, other=Figure(f"{key} pipecat", "message")),
        Claim(
            f"{title}, not compressed", ours, in_rate, "faster",
            other=Figure(f"{key} plain", "message"),
        ),
        Claim(f"{title}, bare", ours, in_rate, "faster", other=Figure(f"{key} bare", "message")),
        Claim(
            f"{title}, on websockets", Figure(f"{key} core", "message"), in_rate, "faster",
            other=ours,
        ),
    )  # fmt: skip


def ask_claims(body: str, bound: float | None) -> tuple[Claim, ...]:
    """Say how much faster jobs must be."""
    title, key = f"job, {SIZES[body]}", f"ask {body}"

    def line(more: str, field: str, other: str, bound: float | None = None) -> Claim:
        ours, theirs = Figure(f"{key} ours", field), Figure(f"{key} {other}", field)
        return Claim(f"{title}, {more}", ours, in_us, "faster", bound, other=theirs)

    return (
        line("p50", "p50", "pipecat", bound),
        line("p99", "p99", "pipecat"),
        line("p50, not compressed", "p50", "plain"),
        line("p50, bare", "p50", "bare"),
        Claim(
            f"{title}, p50, on websockets", Figure(f"{key} core", "p50"), in_us, "faster",
            other=Figure(f"{key} ours", "p50"),
        ),
    )  # fmt: skip


def native_claims() -> tuple[Claim, ...]:
    """Say how fast the native dialect must be."""
    pipecat = Figure("one_way small pipecat", "message")
    native, packed, local = (
        Figure(f"one_way small {run}", "message") for run in ("native", "packed", "local")
    )
    return (
        Claim("native, one way, small", native, in_rate, "faster", 30, other=pipecat),
        Claim("the most there is: raw packed frames", packed, in_rate, "faster", other=pipecat),
        Claim("the most there is: no link at all", local, in_rate, "faster", other=pipecat),
        Claim("native, of raw packed frames", native, in_rate, "share", 50, other=packed),
        *(
            Claim(
                f"native, one way, {SIZES[body]}", Figure(f"one_way {body} native", "message"),
                in_rate, "faster", other=Figure(f"one_way {body} pipecat", "message"),
            )
            for body in ("text", "rows")
        ),
        *(
            Claim(
                f"native, job, {SIZES[body]}, {field}", Figure(f"ask {body} native", field),
                in_us, "faster", bound, other=Figure(f"ask {body} pipecat", field),
            )
            for body, field, bound in (
                ("small", "p50", 2), ("small", "p99", None), ("text", "p50", None),
                ("rows", "p50", None),
            )
        ),
    )  # fmt: skip


CLAIMS = (
    *one_way_claims("small", 1.5),
    *ask_claims("small", 2),
    *one_way_claims("text", 1.5),
    *one_way_claims("rows", 1.5),
    *ask_claims("text", 1.5),
    *ask_claims("rows", 1.5),
    *native_claims(),
)


SUBJECT = Subject(
    "proxy",
    groups=GROUPS,
    shorter=[attrs.evolve(each, rounds=2) for each in GROUPS if each.name in SHORTER],
    claims=CLAIMS,
    plots=(
        Dots(
            "proxy",
            "How long a job takes over a WebSocket, question to answer",
            "round trip of a small job",
            rows=(
                ("bare trio-websocket", "ask small bare"),
                ("trioworkers", "ask small native"),
                ("trioworkers,\nin Pipecat's format", "ask small ours"),
                ("Pipecat, not compressed", "ask small plain"),
                ("Pipecat", "ask small pipecat"),
            ),
        ),
    ),
    modules={"ours": "ours_proxy", "limits": "limits_proxy", "pipecat": "peers.pipecat_proxy"},
    titles=TITLES,
    peers={"pipecat": PIPECAT},
)

if __name__ == "__main__":
    sys.exit(run_subject(SUBJECT, __doc__))
