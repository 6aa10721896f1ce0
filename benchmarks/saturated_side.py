"""The processes of `saturated.py`: one that floods and cancels, and one that takes and is cancelled.

Both read the same monotonic clock of the machine.  The far process tells what it has seen on its
output, when its input ends.
"""

from __future__ import annotations

import json
import random
import socket
import sys
import time
from array import array
from contextlib import ExitStack, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Job,
    JSONMessageSerializer,
    Worker,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers.errors import WorkerGoneError
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, serve_proxies

from . import side
from .harness import partner
from .saturated_relay import TICK, make_small
from .side import percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal, TypeAlias

    from .side import Figures

    Dialect: TypeAlias = Literal["native", "pipecat"]
    Buffers: TypeAlias = Literal["small", "default"]

DISTRIBUTIONS = ["trio", "trio-websocket", "wsproto"]
PROGRAM = f"{__package__}.saturated_side"
RELAY = f"{__package__}.saturated_relay"
WINDOW = 65_536
"""How many bytes of data and replies may be on their way: the default of the proxies."""

SIZE = 16_384
"""How many characters a message of the flood carries."""

PATIENCE = 120
"""Seconds for the last of what was sent to arrive."""

Moments = dict[str, float]
"""When something was: `cancel 3`, `system 3`."""


@message
class Chunk(BusDataMessage):
    """The flood."""

    text: str


@message
class Note(BusSystemMessage):
    """What overtakes."""

    number: int


@message
class Begin(BusDataMessage):
    """Tells the far worker how many jobs it is to wait for."""

    probes: int


@message
class Waiting(BusDataMessage):
    """Tells that the handlers of all jobs run."""


@message
class Done(BusSystemMessage):
    """Tells that everything has arrived."""


SERIALIZER = JSONMessageSerializer(messages=[Begin, Chunk, Done, Note, Waiting])


class Passes(trio.abc.Instrument):
    """Takes the time of each pass of trio's scheduler."""

    def __init__(self) -> None:
        self.times = array("d")
        self._begun = 0.0

    def after_io_wait(self, timeout: float) -> None:
        self._begun = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        if self._begun:
            self.times.append(time.perf_counter() - self._begun)

    def figures(self) -> Figures:
        """Return the percentiles."""
        return percentiles(self.times)


# The near process


class Near(Worker):
    """Floods, and then sends what is to overtake the flood."""

    def __init__(self) -> None:
        super().__init__("near")
        self.waiting = trio.Event()
        self.done = trio.Event()
        self.text = "x" * SIZE
        self.passes = Passes()

    @handles(Waiting)
    async def all_wait(self, waiting: Waiting) -> None:
        self.waiting.set()

    @handles(Done)
    async def all_arrived(self, done: Done) -> None:
        self.done.set()

    @job()
    async def pour(self, job: Job, payload: dict[str, Any]) -> None:
        await job.stream_start()
        while True:
            await job.stream({"text": self.text})

    async def flood(self) -> None:
        """Send for ever."""
        while True:
            await self.send(Chunk(target="far", text=self.text))

    async def hold(self, number: int, scope: trio.CancelScope) -> None:
        """Ask for a job that does not end, until it is cancelled."""
        with scope:
            await self.ask("far", "wait", {"number": number})

    async def probe(self, probes: int, settle: float, interval: float) -> Moments:
        """Cancel jobs and send system messages over a full link; return when that was.

        Args:
            probes: how many of each.
            settle: seconds until the link is full.
            interval: seconds between two, on average.
        """
        scopes = [trio.CancelScope() for _ in range(probes)]
        for number, scope in enumerate(scopes):
            self.nursery.start_soon(self.hold, number, scope)
        await self.send(Begin(target="far", probes=probes))
        await self.waiting.wait()
        self.nursery.start_soon(self.flood)
        await trio.sleep(settle)
        trio.lowlevel.add_instrument(self.passes)
        moments: Moments = {}
        choose = random.Random(1)
        for number, scope in enumerate(scopes):
            # In no step with anything.
            await trio.sleep(interval * choose.uniform(0.5, 1.5))
            moments[f"cancel {number}"] = time.perf_counter()
            scope.cancel()
            await trio.sleep(interval * choose.uniform(0.5, 1.5))
            moments[f"system {number}"] = time.perf_counter()
            await self.send(Note(target="far", number=number))
        with trio.fail_after(PATIENCE):
            await self.done.wait()
        trio.lowlevel.remove_instrument(self.passes)
        return moments


class SmallSockets(trio.abc.SocketFactory):
    """Makes sockets for which the kernel buffers little."""

    def socket(self, family: int = -1, type: int = -1, proto: int = -1) -> Any:  # noqa: A002
        """Make one."""
        made = socket.socket(family, type, proto)
        make_small(made)
        return trio.socket.from_stdlib_socket(made)


def saturated(
    rate: int,
    probes: int,
    settle: int,
    interval: int,
    dialect: Dialect = "native",
    buffers: Buffers = "small",
) -> Figures:
    """Measure what a cancel and a system message wait for.

    Args:
        rate: bytes a second of the line between both processes; 0 for no line between.
        probes: how many of each.
        settle: milliseconds until the link is full.
        interval: milliseconds between two, on average.
        dialect: of the proxies.
        buffers: what the kernel has for each socket, if there is a line.
    """
    small = bool(rate) and buffers == "small"

    async def main(port: int) -> tuple[Moments, Near]:
        if small:
            trio.socket.set_custom_socket_factory(SmallSockets())
        near = Near()
        proxy = WebSocketProxyClient(
            "proxy",
            url=f"ws://127.0.0.1:{port}/",
            local_worker_name="near",
            remote_worker_name="far",
            serializer=SERIALIZER,
            active=True,
            dialect=dialect,
            window=WINDOW,
        )
        async with open_runner(near, proxy) as runner:
            await runner.registry.wait_ready("far")
            moments = await near.probe(probes, settle / 1_000, interval / 1_000)
            await runner.cancel()
        return moments, near

    with ExitStack() as stack:
        far = stack.enter_context(partner(PROGRAM, "serve", str(int(small))))
        port = int(far.stdout.readline())
        if rate:
            relay = stack.enter_context(partner(RELAY, str(rate), str(port), buffers))
            port = int(relay.stdout.readline())
        sent, near = trio.run(main, port)
        far.stdin.close()  # what it waits for
        told: dict[str, Any] = json.loads(far.stdout.readline())
        far.wait(10)
    passes = near.passes.figures(), told["passes"]
    return figures(sent, told["moments"], told["rate"], passes, TICK if rate else 0.0)


def figures(
    sent: Mapping[str, float],
    arrived: Mapping[str, float],
    rate: float,
    passes: tuple[Figures, Figures],
    held: float,
) -> Figures:
    """Return the latencies, and the bound: a window at the measured rate, and a pass of each loop.

    Args:
        sent: when each cancel and each system message was sent.
        arrived: when its handler began.
        rate: bytes a second that the far worker has taken meanwhile.
        passes: what a pass of the near loop took, and one of the far loop: p50, p99 and max.
        held: seconds of the line that the relay holds.
    """
    found: Figures = {"byte": 1 / rate, "window": WINDOW / rate}
    near, far = passes
    for name in ("p50", "p99", "max"):
        found[f"near {name}"], found[f"far {name}"] = near[name], far[name]
        found[f"bound {name}"] = WINDOW / rate + near[name] + far[name] + held
    for kind in ("cancel", "system"):
        taken = [arrived[key] - at for key, at in sent.items() if key.startswith(kind)]
        found |= {f"{kind} {name}": value for name, value in percentiles(taken).items()}
    return found


# The far process


class Far(Worker):
    """Takes the flood as fast as it can, and notes when what overtakes it has come."""

    def __init__(self) -> None:
        super().__init__("far", max_concurrent_jobs=1_000)
        self.probes = self.held = 0
        self.moments: Moments = {}
        self.passes = Passes()
        # How many bytes were taken, and from when to when that was counted.
        self.size = len(SERIALIZER.serialize(Chunk(text="x" * SIZE)))
        self.taken = 0
        self.first = self.last = 0.0

    @handles(Chunk)
    async def chunk(self, chunk: Chunk) -> None:
        self._count()

    @handles(Note)
    async def note(self, note: Note) -> None:
        await self._arrived("system", note.number)

    @handles(Begin)
    async def begin(self, begin: Begin) -> None:
        self.probes = begin.probes
        await self._when_all_wait()

    @job()
    async def wait(self, job: Job, payload: dict[str, Any]) -> None:
        self.held += 1
        await self._when_all_wait()
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self._note("cancel", payload["number"])
            raise

    async def _when_all_wait(self) -> None:
        if self.held == self.probes:
            self.nursery.start_soon(self._drink)
            await self.send(Waiting(target="near"))

    async def _drink(self) -> None:
        """Take the stream that fills the lane of replies, until the link is closed."""
        with suppress(WorkerGoneError):
            async with self.job("near", "pour") as pouring:
                async for _event in pouring:
                    self._count()

    def _count(self) -> None:
        if self.first:
            self.taken += self.size
            self.last = time.perf_counter()

    def _note(self, kind: str, number: int) -> None:
        self.moments[f"{kind} {number}"] = now = time.perf_counter()
        if not self.first:
            self.first = now
            trio.lowlevel.add_instrument(self.passes)

    async def _arrived(self, kind: str, number: int) -> None:
        self._note(kind, number)
        if len(self.moments) == 2 * self.probes:
            await self.send(Done(target="near"))

    def tell(self) -> dict[str, Any]:
        """Return what was seen."""
        rate = self.taken / (self.last - self.first)
        return {"moments": self.moments, "rate": rate, "passes": self.passes.figures()}


async def serve(small: bool, tell: Callable[[str], None]) -> None:
    """Serve the far worker until the input ends."""
    if small:
        trio.socket.set_custom_socket_factory(SmallSockets())
    far = Far()

    async def build(websocket: Any) -> list[Worker]:
        proxy = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="far",
            remote_worker_name="near",
            serializer=SERIALIZER,
            window=WINDOW,
        )
        return [far, proxy]

    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_proxies, build, "127.0.0.1", 0))
        tell(str(listener.port))
        await trio.to_thread.run_sync(sys.stdin.read)
        tell(json.dumps(far.tell()))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        trio.run(serve, sys.argv[2] == "1", partial(print, flush=True))
    else:
        side.main({"saturated": saturated}, DISTRIBUTIONS)
