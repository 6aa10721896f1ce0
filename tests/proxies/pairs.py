"""Proxies over connections within the process: whole pairs, and one whose peer is the test."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio

from tests.jobs import Alarm, Note
from tests.proxies import links
from tests.proxies.natives import Native
from tests.proxies.portals import Letters
from trioworkers import (
    Backoff,
    BusMessage,
    BusWorkerRegistryMessage,
    JSONMessageSerializer,
    Worker,
    WorkerRegistryEntry,
    WorkerRunner,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer
from trioworkers.proxies._memory import MemoryTransport, memory_transports
from trioworkers.proxies._native import SUBPROTOCOL
from trioworkers.proxies._transport import LinkClosed, Transport

M = TypeVar("M", bound=BusMessage)

KNOWN = (Note, Alarm)


class Far:
    """The other end of a connection, in the test's hands."""

    def __init__(self, end: Transport, me: str = "acme", you: str = "assistant") -> None:
        self.end: Any = end
        self.me, self.you = me, you
        self.serializer = JSONMessageSerializer(messages=KNOWN)
        # What it says and hears is in frames of the native dialect, if there is a session.
        self.native: Native | None = None
        if links.DIALECT == "native":
            self.native = Native(self.serializer, me=me, you=you)

    async def say(self, *messages: BusMessage | bytes) -> None:
        """Send messages; natively it may have to hear of credit first."""
        if (native := self._native()) is not None:
            for message in messages:
                native.put(message)
            await self.flush()
            while native.lanes:
                await self.listen()
            return
        await self.end.send(
            [m if isinstance(m, bytes) else self.serializer.serialize(m) for m in messages]
        )

    def _native(self) -> Native | None:
        if self.native is not None:
            self.native.serializer = self.serializer
        return self.native

    async def hail(self) -> None:
        """Say hello, where that is what a peer does first."""
        if self.native is not None:
            await self.flush()

    async def flush(self) -> None:
        """Send what may leave now, natively."""
        assert self.native is not None
        for frame in self.native.frames():
            await self.end.send([frame])

    async def listen(self) -> None:
        """Hear one frame, natively, and answer what has to be answered."""
        assert self.native is not None
        await self.flush()
        self.native.hear(await self.end.receive())
        await self.flush()

    async def tell(self, kind: type[BusMessage], **fields: Any) -> None:
        """Send a message of the far worker to the near one."""
        head: dict[str, Any] = {"source": self.me, "target": self.you, **fields}
        await self.say(kind(**head))

    async def announce(self) -> None:
        """Announce the far worker."""
        entry = WorkerRegistryEntry(self.me, active=True)
        await self.say(BusWorkerRegistryMessage(source="far", runner="far", workers=[entry]))

    async def next(self) -> BusMessage:
        """Receive a message, whatever it is."""
        if (native := self._native()) is not None:
            while not native.heard:
                await self.listen()
            await trio.lowlevel.checkpoint()
            return native.heard.popleft()
        return self.serializer.deserialize(await self.end.receive())

    async def hear(self, kind: type[M]) -> M:
        """Receive a message; announcements aside."""
        while isinstance(message := await self.next(), BusWorkerRegistryMessage):
            pass
        assert isinstance(message, kind), message
        return message

    async def until_closed(self) -> LinkClosed:
        """Receive until the connection is over; return how it ended."""
        try:
            while True:
                await (self.end.receive() if self.native is None else self.listen())
        except LinkClosed as end:
            return end


class LoggedServer(WebSocketProxyServer):
    """A server proxy that keeps its events."""

    def __init__(self, end: Any, name: str = "gateway", **settings: Any) -> None:
        settings = {"worker_name": "assistant", "remote_worker_name": "acme", **settings}
        super().__init__(name, websocket=end, **settings)
        self.events: list[str] = []

    async def on_client_connected(self, websocket: Any) -> None:
        self.events.append("connected")

    async def on_client_disconnected(self, websocket: Any) -> None:
        self.events.append("disconnected")


class LoggedClient(WebSocketProxyClient):
    """A client proxy that keeps its events, and dials within the process."""

    def __init__(self, network: Network, name: str = "proxy", **settings: Any) -> None:
        settings = {
            "url": "ws://memory/",
            "local_worker_name": "acme",
            "remote_worker_name": "assistant",
            "active": True,
            "dialect": links.DIALECT,
            "reconnect": Backoff(initial=1.0, maximum=8.0, jitter=0.0),
            **settings,
        }
        super().__init__(name, **settings)
        self.network = network
        self.events: list[Any] = []

    async def on_connected(self, websocket: Any) -> None:
        self.events.append(("connected", trio.current_time()))

    async def on_disconnected(self, websocket: Any) -> None:
        self.events.append(("disconnected", trio.current_time()))

    @property
    def what(self) -> list[str]:
        """The events without their times."""
        return [what for what, _ in self.events]

    async def _dial(self, nursery: trio.Nursery) -> Transport:
        with trio.move_on_after(self._handshake_timeout):
            return await self.network.dial((SUBPROTOCOL,) if self._native else ())
        raise TimeoutError("the test's network did not answer")


class Network:
    """What client proxies dial: each attempt as the test says, and connections by default."""

    def __init__(self, capacity: int = 16) -> None:
        self.capacity = capacity
        self.attempts: list[float] = []
        # What goes wrong with the next attempts.
        self.troubles: list[Exception | None] = []
        self.silent = False
        self._give, self._take = trio.open_memory_channel[MemoryTransport](100)

    async def dial(self, subprotocols: tuple[str, ...] = ()) -> Transport:
        """Connect, as a client does."""
        self.attempts.append(trio.current_time())
        await trio.lowlevel.checkpoint()
        if self.silent:
            await trio.sleep_forever()
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        client, server = memory_transports(self.capacity)
        client.offers = server.offers = subprotocols
        await self._give.send(server)
        return client

    async def accept(self) -> MemoryTransport:
        """Wait for the server's end of the next connection."""
        return await self._take.receive()

    async def far(self) -> Far:
        """Wait for the next connection, whose server is the test."""
        far = Far(await self.accept(), "assistant", "acme")
        await far.hail()
        return far


def ends(capacity: int = 16) -> tuple[MemoryTransport, MemoryTransport]:
    """Make a connection whose client speaks as the fixture `dialect` says."""
    one, two = memory_transports(capacity)
    one.offers = two.offers = links.offered()
    return one, two


class Side:
    """One of the two runners."""

    def __init__(self, runner: WorkerRunner, proxy: Any) -> None:
        self.runner = runner
        self.proxy = proxy
        self.letters = Letters()
        runner.add_instrument(self.letters)

    def worker(self, name: str) -> Any:
        """Return a worker."""
        route: Any = self.runner.bus.route(name)
        return route.worker

    def clean(self) -> bool:
        """Tell whether no table holds anything of a job."""
        bus, portal = self.runner.bus, self.proxy._portal
        rest: list[Any] = [bus.open_requests, bus.waits.edges]
        if portal is not None:
            deliveries, outbox = portal.deliveries, portal.outbox
            rest += [deliveries.jobs, deliveries._unsent, deliveries.inbox, deliveries.urgent]
            rest += [outbox.lanes, outbox.lanes._jobs, outbox.lanes.size, outbox.waiting]
        return not any(rest)


@asynccontextmanager
async def guarded() -> AsyncGenerator[None]:
    """Find at once, on a clock that jumps, who waits for ever."""
    with trio.fail_after(100_000):
        await trio.lowlevel.checkpoint()
        yield


@asynccontextmanager
async def served(
    *workers: Worker, capacity: int = 16, **settings: Any
) -> AsyncGenerator[tuple[Side, Far]]:
    """Run workers and a server proxy whose client is the test."""
    end, far = ends(capacity)
    settings.setdefault("serializer", JSONMessageSerializer(messages=KNOWN))
    proxy = LoggedServer(end, **settings)
    peer = Far(far)
    await peer.hail()
    async with guarded(), open_runner(*workers, proxy) as runner:
        yield Side(runner, proxy), peer
    await far.abort()


@asynccontextmanager
async def connecting(
    *workers: Worker, network: Network | None = None, **settings: Any
) -> AsyncGenerator[tuple[Side, Network]]:
    """Run workers and a client proxy whose server is the test."""
    network = network or Network()
    settings.setdefault("serializer", JSONMessageSerializer(messages=KNOWN))
    proxy = LoggedClient(network, **settings)
    async with guarded(), open_runner(*workers, proxy) as runner:
        yield Side(runner, proxy), network


@asynccontextmanager
async def pair(
    near: Callable[[], Worker],
    far: Callable[[], Worker],
    *,
    client: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    capacity: int = 16,
) -> AsyncGenerator[tuple[Side, Side]]:
    """Run two runners with a link between them: `acme` at the client, `assistant` at the server."""
    network = Network(capacity)
    async with connecting(near(), network=network, **(client or {})) as (side, _):
        end = await network.accept()
        settings = {"serializer": JSONMessageSerializer(messages=KNOWN), **(server or {})}
        proxy = LoggedServer(end, **settings)
        async with open_runner(far(), proxy) as runner:
            await side.runner.registry.wait_ready("assistant")
            await runner.registry.wait_ready("acme")
            yield side, Side(runner, proxy)
