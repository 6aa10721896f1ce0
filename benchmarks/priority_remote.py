"""Our side of `priority.py` where the worker is beyond a proxy, in a second process on loopback.

What is sent carries the time at which it was due and at which it was sent, because the other process
cannot know that otherwise; both processes read the same monotonic clock of the machine.  The other
process tells what it has seen on its output, when its input ends.
"""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    JSONMessageSerializer,
    Worker,
    handles,
    message,
    open_runner,
)
from trioworkers.bench import PrioritySettings
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, serve_proxies

from .harness import partner
from .latency import LOOK_EVERY, Meter, Share, due_times, pack
from .priority_handler import work

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAM = f"{__package__}.priority_remote"
PIECE = 256
"""How much of a backlog is sent between two schedule points."""


@message
class FarChunk(BusDataMessage):
    """The data."""

    sent: float


@message
class FarNote(BusSystemMessage):
    """A system message; the number is that of a probe, or -1."""

    due: float
    sent: float
    number: int


@message
class Heard(BusSystemMessage):
    """Tells that a probe's handler began."""

    number: int


# The near process: it floods and probes


class Near(Worker):
    """Sends; it knows which probes have been handled."""

    def __init__(self, settings: PrioritySettings) -> None:
        super().__init__("near")
        self.settings = settings
        self.left: dict[int, float] = {}
        self.done = trio.Event()

    @handles(Heard)
    async def heard(self, message: Heard) -> None:
        self.left.pop(message.number, None)
        if not self.left:
            self.done.set()

    async def produce(self) -> None:
        """Send for ever."""
        is_system = Share(self.settings.system_share)
        while True:
            now = time.perf_counter()
            if is_system():
                await self.send(FarNote(target="target", due=now, sent=now, number=-1))
            else:
                await self.send(FarChunk(target="target", sent=now))

    async def probe(self) -> list[float]:
        """Send the probes; return when those were due that were not handled in time."""
        settings, ahead = self.settings, trio.current_time() - time.perf_counter()
        begun = time.perf_counter()
        self.left = dict.fromkeys(range(settings.probes), begun)
        times = due_times(settings.probes, settings.interval, settings.burst, begun)
        for number, (due, _) in enumerate(times):
            if time.perf_counter() < due:
                await trio.sleep_until(due + ahead)
            self.left[number] = due
            note = FarNote(target="target", due=due, sent=time.perf_counter(), number=number)
            await self.send(note)
        with trio.move_on_after(settings.patience):
            await self.done.wait()
        return list(self.left.values())


async def remote(settings: PrioritySettings) -> dict[str, Any]:
    """Measure a worker in a process of its own."""
    with partner(PROGRAM, json.dumps(attrs.asdict(settings))) as process:
        late = await measure(settings, int(process.stdout.readline()))
        process.stdin.close()  # what it waits for
        told: dict[str, Any] = json.loads(process.stdout.readline())
        process.wait(10)
    if late:
        now = time.perf_counter()
        told["unhandled"] = len(late)
        waited = pack(now - due for due in late)
        told |= {lane: f"{told[lane]} {waited}" for lane in ("system", "sent")}
    return told


async def measure(settings: PrioritySettings, port: int) -> list[float]:
    """Flood and probe the worker behind `port`."""
    near = Near(settings)
    proxy = WebSocketProxyClient(
        "proxy",
        url=f"ws://127.0.0.1:{port}/",
        local_worker_name="near",
        remote_worker_name="target",
        serializer=JSONMessageSerializer(messages=[FarChunk, FarNote]),
        active=True,
    )
    async with open_runner(near, proxy) as runner:
        await runner.registry.wait_ready("target")
        for number in range(settings.backlog):
            await near.send(FarChunk(target="target", sent=time.perf_counter()))
            if not number % PIECE:
                await trio.lowlevel.checkpoint()
        for _ in range(settings.producers):
            near.nursery.start_soon(near.produce)
        late = await near.probe()
        await runner.cancel()
    return late


# The far process: it handles


class Far(Worker):
    """Handles chunks as the settings say, and takes the latencies."""

    def __init__(self, settings: PrioritySettings, meter: Meter) -> None:
        super().__init__(
            "target", mailbox_capacity=settings.mailbox_capacity, overflow=settings.overflow
        )
        self.settings = settings
        self.meter = meter

    @handles(FarChunk)
    async def chunk(self, chunk: FarChunk) -> None:
        self.meter.data_begins(chunk.sent)
        try:
            await work(self.settings.handler, self.settings.cost)
        finally:
            self.meter.data_ends()

    @handles(FarNote)
    async def note(self, note: FarNote) -> None:
        self.meter.system_begins(note.due, note.sent)
        if note.number >= 0:
            await self.send(Heard(target="near", number=note.number))

    async def look(self) -> None:
        """Look at the mailbox now and then."""
        every = LOOK_EVERY
        while True:
            seen = self.statistics().mailbox
            if self.meter.note_depth(seen.data_depth + seen.waiting_senders, seen.system_depth):
                every *= 2
            await trio.sleep(every)


class FarInterrupted(Far):
    """The same, but a system message interrupts the handler in progress."""

    @handles(FarNote, interrupt=True)
    async def note(self, note: FarNote) -> None:
        await super().note(note)


async def serve(settings: PrioritySettings, tell: Callable[[str], None]) -> None:
    """Serve the worker until the input ends."""
    meter = Meter()

    async def build(websocket: Any) -> list[Worker]:
        kind = FarInterrupted if settings.system_handler == "interrupting" else Far
        worker = kind(settings, meter)
        nursery.start_soon(look_at, worker)
        proxy = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="target",
            remote_worker_name="near",
            serializer=JSONMessageSerializer(messages=[Heard]),
        )
        return [worker, proxy]

    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_proxies, build, "127.0.0.1", 0))
        tell(str(listener.port))
        await trio.to_thread.run_sync(sys.stdin.read)
        tell(json.dumps(meter.tell()))
        nursery.cancel_scope.cancel()


async def look_at(worker: Far) -> None:
    """Look at a worker's mailbox once it runs."""
    await trio.sleep(LOOK_EVERY)
    await worker.look()


def main() -> None:
    """Be the far process."""
    settings = PrioritySettings(**json.loads(sys.argv[1]))
    trio.run(serve, settings, partial(print, flush=True))


if __name__ == "__main__":
    main()
