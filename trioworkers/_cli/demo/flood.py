"""Act two: one worker is flooded with data while a thread sends it system messages.

```
flood                job run: let it rain, meanwhile alert, then ask the sink what it saw
+-- sink             handles Drop (data) and Alert (system)
+-- source-1         job pour: send drops
+-- source-2
```
"""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import partial
from math import ceil
from time import perf_counter

import attrs
import trio

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Job,
    LocalBus,
    Worker,
    handles,
    job,
    message,
)

__all__ = ["SOURCES", "Flood", "Latency", "Rain", "Seen", "latency", "split_evenly"]

SOURCES = 4
"""How many workers pour: more than one, so that they outrun the sink and a backlog builds up."""

REPORT_EVERY = 1_000
"""How many drops a source sends between two updates of its job."""

PAUSE = 0.001
"""Seconds between two alerts."""


@message
class Drop(BusDataMessage):
    """One message of the flood; `sent_at` is read from the performance counter."""

    sent_at: float


@message
class Alert(BusSystemMessage):
    """One system message; `sent_at` is read from the performance counter."""

    sent_at: float


@attrs.frozen
class Rain:
    """Ask for a flood of so many messages."""

    messages: int


@attrs.frozen
class Pour:
    """Ask a source to send so many messages."""

    messages: int


@attrs.frozen
class Look:
    """Ask the sink what it saw."""


@attrs.frozen
class Seen:
    """The latencies, in seconds, of what the sink handled in each lane.

    `seconds` is how long the flood took, `backlog` how many messages waited at most.
    """

    data: Sequence[float]
    system: Sequence[float]
    seconds: float = 0.0
    backlog: int = 0


class Sink(Worker):
    """Notes how long each message took from `send` to its handler."""

    def __init__(self, messages: int) -> None:
        """Make it, with room for the whole flood, so that the backlog is a real one."""
        super().__init__("sink", mailbox_capacity=messages)
        self._data = array("d")
        self._system = array("d")

    @handles(Drop)
    async def drop(self, drop: Drop) -> None:
        """Handle one message of the flood."""
        self._data.append(perf_counter() - drop.sent_at)

    @handles(Alert)
    async def alert(self, alert: Alert) -> None:
        """Handle one system message: before all drops that wait."""
        self._system.append(perf_counter() - alert.sent_at)

    @job()
    async def look(self, job: Job, look: Look) -> Seen:  # noqa: ARG002
        """Tell the latencies, and forget them."""
        seen = Seen(self._data, self._system, backlog=self.statistics().mailbox.high_water_mark)
        self._data, self._system = array("d"), array("d")
        return seen


class Source(Worker):
    """Sends drops as fast as the bus takes them."""

    @job()
    async def pour(self, job: Job, pour: Pour) -> None:
        """Send so many drops; fewer if an end was asked for."""
        for number in range(1, pour.messages + 1):
            await self.send(Drop(target="sink", sent_at=perf_counter()))
            if number % REPORT_EVERY == 0 or number == pour.messages:
                await job.update({"sent": (number - 1) % REPORT_EVERY + 1})
                if self.stop_reason is not None:
                    break


class Flood(Worker):
    """Floods the sink."""

    def __init__(self, messages: int) -> None:
        """Make it, for floods of `messages` at most."""
        super().__init__("flood")
        self._messages = messages

    async def on_start(self) -> None:
        """Add the sink and the sources."""
        sources = [Source(f"source-{number}") for number in range(1, SOURCES + 1)]
        await self.add_workers(Sink(self._messages), *sources)

    @job()
    async def run(self, job: Job, rain: Rain) -> Seen:
        """Flood the sink; updates say how many messages were sent."""
        counts = split_evenly(rain.messages, SOURCES)
        pours = {f"source-{number}": Pour(count) for number, count in enumerate(counts, 1)}
        stop = threading.Event()
        started = perf_counter()
        with prompt_threads():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, partial(send_alerts, self.bus, stop))
                try:
                    async with self.job_group(Source.pour, pours, label="pour") as group:
                        async for event in group:
                            await job.update(event.data or {})
                    # It queues up behind the drops: when it is served, all are handled.
                    seen = await self.ask("sink", Sink.look, Look())
                finally:
                    stop.set()
        return attrs.evolve(seen, seconds=perf_counter() - started)


def send_alerts(bus: LocalBus, stop: threading.Event) -> None:
    """Send system messages, one after the other, from a thread."""
    while not stop.wait(PAUSE):
        bus.send_from_thread(Alert(target="sink", sent_at=perf_counter()))


@contextmanager
def prompt_threads() -> Generator[None]:
    """Let no thread starve in the block.

    A thread that waits for the interpreter's lock insists on it only after one switch interval in
    which nobody let go of it.  trio's loop lets go about every millisecond, but for a moment only:
    at the default of five milliseconds a thread on a busy machine may never get its turn.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0002)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def split_evenly(total: int, parts: int) -> list[int]:
    """Split `total` into so many parts that differ by one at most."""
    return [total * (part + 1) // parts - total * part // parts for part in range(parts)]


@attrs.frozen
class Latency:
    """A distribution of latencies: how many there were, and the rest in seconds."""

    count: int
    p50: float
    p99: float
    max: float


def latency(seconds: Sequence[float]) -> Latency | None:
    """Sum up latencies by nearest rank, or return None if there are none."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    p50, p99 = (ordered[ceil(len(ordered) * rank) - 1] for rank in (0.50, 0.99))
    return Latency(len(ordered), p50, p99, ordered[-1])
