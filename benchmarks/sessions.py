"""What a session costs: a runner with a proxy and two workers, opened and closed again.

    python -m benchmarks.sessions                    # 10,000 sessions of each kind
    python -m benchmarks.sessions --quick --json sessions.json    # 1,000
    python -m benchmarks.sessions --show sessions.json

- *memory*: over a connection within the process; the other end is a few lines.
- *socket*: `serve_proxies` on loopback; the client is bare trio-websocket, and its time counts.
- *pair*: the same, but the client is `WebSocketProxyClient` in a runner with two workers too.  So
  these are two sessions, with a connection between them.

A session is open when the other end has heard that its worker is ready, and closed when everything
of it has stopped.  They come one after the other, in a process of its own for each kind.  Memory is
looked at `SAMPLES` times, after a warm-up and each time after a collection: what the line through
these points rises by is what each session leaves behind.  Linux only, for that reason.

Exits with 1 if a claim does not hold.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
from array import array
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
import trio.testing
from trio_websocket import open_websocket_url

from trioworkers import Worker, open_runner
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, serve_proxies
from trioworkers.proxies._memory import memory_transports  # for tests, and so not public

from . import side
from .command import run_subject
from .harness import Claim, Figure, Group, Run
from .limits import synchronous
from .stats import in_ms
from .subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from .side import Figures

    Times = tuple[float, float, float]

SESSIONS = 10_000
FEW = 1_000
KINDS = ("memory", "socket", "pair")
WARM_UP = 0.1  # of all sessions
SAMPLES = 20


def in_bytes(size: float) -> str:
    return f"{size:,.0f} bytes"


def in_objects(count: float) -> str:
    return f"{count:.3g}"


def claims(kind: str) -> tuple[Claim, ...]:
    """Return what must hold for one kind of sessions."""
    bound = 0.010 if kind == "pair" else 0.005
    return (
        Claim(f"{kind}: open", Figure(kind, "open"), in_ms, "below"),
        Claim(f"{kind}: close", Figure(kind, "close"), in_ms, "below"),
        Claim(f"{kind}: open and close, p50", Figure(kind, "p50"), in_ms, "below", bound),
        Claim(f"{kind}: open and close, p99", Figure(kind, "p99"), in_ms, "below", 4 * bound),
        Claim(f"{kind}: left in memory", Figure(kind, "resident"), in_bytes, "below", 100),
        Claim(f"{kind}: objects left", Figure(kind, "objects"), in_objects, "below", 0.01),
    )


CLAIMS = tuple(claim for kind in KINDS for claim in claims(kind))


# The measured process


def gateway(websocket: Any) -> WebSocketProxyServer:
    """Make the proxy of a session."""
    return WebSocketProxyServer(
        "gateway", websocket=websocket, worker_name="assistant", remote_worker_name="acme"
    )


async def memory(sessions: int) -> Figures:
    """Measure sessions without a socket."""

    async def one() -> Times:
        begun = time.perf_counter()
        near, far = memory_transports()
        proxy = gateway(near)
        async with open_runner(Worker("assistant"), Worker("helper"), proxy):
            await far.receive()
            opened = time.perf_counter()
            await far.close()
            await proxy.wait_stopped()
        return begun, opened, time.perf_counter()

    return await repeat(one, sessions)


class Server:
    """Runs `serve_proxies`, and knows its last session."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []

    async def build(self, websocket: Any) -> list[Worker]:
        self.workers = [Worker("assistant"), Worker("helper"), gateway(websocket)]
        return self.workers

    async def closed(self) -> None:
        """Wait until nothing is left of the last session."""
        for worker in self.workers:
            await worker.wait_stopped()

    async def measure(self, session: Callable[[str], Awaitable[Times]], sessions: int) -> Figures:
        """Measure sessions whose client is `session`."""
        async with trio.open_nursery() as nursery:
            listener = await nursery.start(partial(serve_proxies, self.build, "127.0.0.1", 0))
            url = f"ws://127.0.0.1:{listener.port}/"
            figures = await repeat(partial(session, url), sessions)
            nursery.cancel_scope.cancel()
        return figures


async def socket(sessions: int) -> Figures:
    """Measure sessions of `serve_proxies`."""
    server = Server()

    async def one(url: str) -> Times:
        begun = time.perf_counter()
        async with open_websocket_url(url) as connection:
            await connection.get_message()
            opened = time.perf_counter()
        await server.closed()
        return begun, opened, time.perf_counter()

    return await server.measure(one, sessions)


async def pair(sessions: int) -> Figures:
    """Measure sessions at both ends of a connection."""
    server = Server()

    async def one(url: str) -> Times:
        begun = time.perf_counter()
        proxy = WebSocketProxyClient(
            "proxy",
            url=url,
            local_worker_name="acme",
            remote_worker_name="assistant",
            active=True,
            reconnect=None,
        )
        async with open_runner(Worker("acme"), Worker("helper"), proxy) as runner:
            await runner.registry.wait_ready("assistant")
            opened = time.perf_counter()
        await server.closed()
        return begun, opened, time.perf_counter()

    return await server.measure(one, sessions)


async def repeat(session: Callable[[], Awaitable[Times]], sessions: int) -> Figures:
    """Run sessions one after the other, and look at the memory from time to time."""
    # Of their full size from the beginning, so that they are not taken for what sessions leave.
    opening, closing = array("d", bytes(8 * sessions)), array("d", bytes(8 * sessions))
    looked = range(0, sessions, max(1, sessions // SAMPLES))
    resident, objects = array("d", bytes(8 * len(looked))), array("d", bytes(8 * len(looked)))
    for _ in range(int(sessions * WARM_UP)):
        await session()
    for number in range(sessions):
        begun, opened, closed = await session()
        opening[number], closing[number] = opened - begun, closed - opened
        if number in looked:
            place = looked.index(number)
            await trio.testing.wait_all_tasks_blocked()  # the last one's may be on their way out
            resident[place] = side.resident_bytes()
            objects[place] = len(gc.get_objects())
    return {
        "open": statistics.median(opening),
        "close": statistics.median(closing),
        **side.percentiles([sum(both) for both in zip(opening, closing, strict=True)]),
        "resident": statistics.linear_regression(looked, resident).slope,
        "objects": statistics.linear_regression(looked, objects).slope,
    }


def group(kind: str, sessions: int) -> Group:
    """Return the runs of one kind."""
    run = Run(kind, "ours", kind, {"sessions": sessions}, {"sessions": FEW})
    return Group(kind, rounds=1, quick_rounds=1, runs=(run,))


SUBJECT = Subject(
    "sessions",
    groups=[group(kind, SESSIONS) for kind in KINDS],
    shorter=[group(kind, 2 * FEW) for kind in KINDS],
    claims=CLAIMS,
    modules={"ours": "sessions"},
    peers={},
)

if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in KINDS:  # a measured process
        cases = (memory, socket, pair)
        distributions = ["trio", "trio-websocket", "attrs", "cattrs"]
        side.main({case.__name__: synchronous(case) for case in cases}, distributions)
    else:
        sys.exit(run_subject(SUBJECT, __doc__))
