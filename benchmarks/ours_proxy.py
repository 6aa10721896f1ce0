"""Our side of the two-process measurements, written as a user would write it: public names only."""

from __future__ import annotations

import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

import trio

from trioworkers import (
    BusDataMessage,
    Job,
    JSONMessageSerializer,
    Worker,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, serve_proxies

from . import proxy_side, side

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Literal, TypeAlias

    from .side import Figures

    TransportName: TypeAlias = Literal["trio-websocket", "websockets"]
    Dialect: TypeAlias = Literal["native", "pipecat"]

DISTRIBUTIONS = ["trio", "trio-websocket", "websockets", "wsproto"]


@message
class Tick(BusDataMessage):
    """The message that is counted; the last one has the number 0."""

    wire_name: ClassVar[str] = "__main__.Tick"  # as Pipecat calls its own

    n: int
    body: dict[str, Any]


@message
class Handled(BusDataMessage):
    """Tells how many ticks were handled when the last one was."""

    wire_name: ClassVar[str] = "__main__.Handled"

    count: int


@message
class Flood(BusDataMessage):
    """Tells the sender to send."""

    count: int
    body: dict[str, Any]


class Assistant(Worker):
    """Counts ticks, and echoes jobs."""

    def __init__(self) -> None:
        super().__init__("assistant")
        self.handled = 0

    @handles(Tick)
    async def tick(self, tick: Tick) -> None:
        self.handled += 1
        if not tick.n:
            count, self.handled = self.handled, 0
            await self.send(Handled(target="acme", count=count))

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return payload


class Acme(Worker):
    """Sends ticks from inside a handler, each made just before it is sent."""

    def __init__(self) -> None:
        super().__init__("acme")
        self.started_at = 0.0
        self.finished_at = 0.0
        self.count = 0
        self.finished = trio.Event()

    @handles(Flood)
    async def flood(self, flood: Flood) -> None:
        self.started_at = time.perf_counter()
        for n in reversed(range(flood.count)):
            await self.send(Tick(target="assistant", n=n, body=flood.body))

    @handles(Handled)
    async def handled(self, handled: Handled) -> None:
        self.finished_at = time.perf_counter()
        self.count = handled.count
        self.finished.set()

    async def timed_flood(self, count: int, body: dict[str, Any]) -> float:
        """Return the seconds per message from the first send to the word that all were handled."""
        self.finished = trio.Event()
        await self.send(Flood(target="acme", count=count, body=body))
        await self.finished.wait()
        if self.count != count:
            message = f"{self.count} of {count} arrived"
            raise AssertionError(message)
        return (self.finished_at - self.started_at) / count

    async def timed_ask(self, payload: dict[str, Any]) -> float:
        """Return the seconds that one job takes."""
        started = time.perf_counter()
        answer = await self.ask("assistant", "echo", payload)
        seconds = time.perf_counter() - started
        if answer != payload:
            message = f"answered {answer}"
            raise AssertionError(message)
        return seconds


def linked(measure: Callable[[Acme], Any], transport: TransportName, dialect: Dialect) -> Figures:
    """Measure with a worker that is linked with the other process."""

    async def main(port: int) -> Figures:
        acme = Acme()
        proxy = WebSocketProxyClient(
            "proxy",
            url=f"ws://127.0.0.1:{port}/ws",
            local_worker_name="acme",
            remote_worker_name="assistant",
            serializer=JSONMessageSerializer(messages=[Tick]),
            active=True,
            dialect=dialect,
            transport=transport,
        )
        async with open_runner(acme, proxy) as runner:
            await runner.registry.wait_ready("assistant")
            figures: Figures = await measure(acme)
            await runner.cancel()
        return figures

    # The server's side speaks what it hears.
    with proxy_side.other_process(transport) as port:
        return trio.run(main, port)


def one_way(
    count: int,
    body: str,
    transport: TransportName = "trio-websocket",
    dialect: Dialect = "native",
) -> Figures:
    """Send messages to a worker of the other process."""
    carried = proxy_side.body(body)

    async def measure(acme: Acme) -> Figures:
        await acme.timed_flood(max(1, count // proxy_side.WARM_UP), carried)
        return {"message": await acme.timed_flood(count, carried)}

    return linked(measure, transport, dialect)


def ask(
    count: int,
    body: str,
    transport: TransportName = "trio-websocket",
    dialect: Dialect = "native",
) -> Figures:
    """Ask a worker of the other process, one job at a time."""
    carried = proxy_side.body(body)

    async def measure(acme: Acme) -> Figures:
        for _ in range(count // proxy_side.WARM_UP):
            await acme.timed_ask(carried)
        return side.percentiles([await acme.timed_ask(carried) for _ in range(count)])

    return linked(measure, transport, dialect)


def local(count: int, body: str) -> Figures:
    """Send the same messages from worker to worker within one process, without a link."""
    carried = proxy_side.body(body)

    async def main() -> Figures:
        acme = Acme()
        async with open_runner(acme, Assistant()) as runner:
            await runner.registry.wait_ready("acme")
            await runner.registry.wait_ready("assistant")
            await acme.timed_flood(max(1, count // proxy_side.WARM_UP), carried)
            figures = {"message": await acme.timed_flood(count, carried)}
            await runner.cancel()
        return figures

    return trio.run(main)


def serve(transport: TransportName) -> None:
    """Serve the worker that is talked to, until the input ends."""

    async def build(websocket: Any) -> list[Worker]:
        proxy = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="assistant",
            remote_worker_name="acme",
            serializer=JSONMessageSerializer(messages=[Handled]),
        )
        return [Assistant(), proxy]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            listener = await nursery.start(
                partial(serve_proxies, build, "127.0.0.1", 0, transport=transport)
            )
            proxy_side.tell_port(listener.port)
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()

    trio.run(main)


if __name__ == "__main__":
    proxy_side.main(serve, {"one_way": one_way, "ask": ask, "local": local}, DISTRIBUTIONS)
