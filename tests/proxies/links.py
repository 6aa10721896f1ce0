"""Links of every kind for tests: a client's transport, and the server's for the same connection."""

from __future__ import annotations

import functools
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Literal

import pytest
import trio
import trio_websocket
from hypercorn.config import Config
from hypercorn.trio import serve

from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._handshakes import TransportName
from trioworkers.proxies._incoming import receive_request
from trioworkers.proxies._line import Line
from trioworkers.proxies._listener import GuardedListener, open_guarded_listener
from trioworkers.proxies._memory import MemoryTransport, memory_transports
from trioworkers.proxies._native import SUBPROTOCOL
from trioworkers.proxies._trio_websocket import TrioTransport
from trioworkers.proxies.transports import Transport, transport_for

Link = tuple[Transport, Transport]
Opener = Callable[..., AbstractAsyncContextManager[Link]]
Server = Callable[..., AbstractAsyncContextManager[int]]


CARRIER: TransportName = "trio-websocket"
"""What carries the connections that are ours, unless it is said; set by the fixture `carrier`."""

DIALECT: Literal["native", "pipecat"] = "pipecat"
"""What both ends of a link speak, unless it is said; set by the fixture `dialect`."""

PIPECAT_ONLY = pytest.mark.parametrize("dialect", ["pipecat"], indirect=True)
"""Marks, where tests run in both dialects, one that is about Pipecat's."""

NATIVE_ONLY = pytest.mark.parametrize("dialect", ["native"], indirect=True)


def offered() -> tuple[str, ...]:
    """Return what a client offers."""
    return (SUBPROTOCOL,) if DIALECT == "native" else ()


@asynccontextmanager
async def memory() -> AsyncIterator[Link]:
    """Link two ends within the process."""
    one, two = memory_transports()
    yield one, two
    await one.abort()
    await two.abort()


class Meeting:
    """Where the server's end of a connection is handed over, and waits to be let go."""

    def __init__(self, accept: bool = True) -> None:
        self.over = trio.Event()
        self.accept = accept
        self._give, self._take = trio.open_memory_channel[Transport](1)

    async def host(self, websocket: Any) -> None:
        """Hand over a connection from inside its handler."""
        transport = transport_for(websocket)
        if self.accept:
            await transport.accept()
        await self._give.send(transport)
        await self.over.wait()

    async def arrive(self) -> Transport:
        """Wait for the server's end."""
        with trio.fail_after(5):
            return await self._take.receive()


@asynccontextmanager
async def ours(
    meeting: Meeting, max_message_size: int = 1_048_576, transport: str | None = None
) -> AsyncIterator[int]:
    """Run a server that is made of the pieces of `serve_proxies`; gives its port."""

    async def handle(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            line = Line(stream, nursery)
            incoming, _ = await receive_request(line, max_message_size, transport or CARRIER)
            await meeting.host(incoming)
            await line.abort()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handle, [listener])
        yield listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel()


def foreign(accepted: bool) -> Server:
    """Make a server of trio-websocket's own; it accepts a connection itself, or leaves it to us."""

    @asynccontextmanager
    async def server(meeting: Meeting) -> AsyncIterator[int]:
        async def handle(request: trio_websocket.WebSocketRequest) -> None:
            await meeting.host(await request.accept() if accepted else request)

        async with trio.open_nursery() as nursery:
            running = await nursery.start(
                trio_websocket.serve_websocket, handle, "127.0.0.1", 0, None
            )
            yield running.port
            nursery.cancel_scope.cancel()

    return server


@asynccontextmanager
async def hypercorn(app: Any, **config_settings: Any) -> AsyncIterator[GuardedListener]:
    """Run an ASGI application under Hypercorn's trio worker, and stop it in the end."""
    config = Config()
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 0.5
    for name, value in config_settings.items():
        setattr(config, name, value)
    stop = trio.Event()
    async with open_guarded_listener("127.0.0.1", 0) as listener:
        config.bind = [listener.bind]
        async with trio.open_nursery() as nursery:
            trigger = stop.wait
            await nursery.start(lambda **kw: serve(app, config, shutdown_trigger=trigger, **kw))
            yield listener
            stop.set()


def fastapi_app(meeting: Meeting) -> Any:
    """Make a FastAPI application with one WebSocket route."""
    import fastapi

    app = fastapi.FastAPI()

    async def endpoint(websocket: fastapi.WebSocket) -> None:
        await meeting.host(websocket)

    # By hand: the annotation of a local function could not be looked up.
    endpoint.__annotations__ = {"websocket": fastapi.WebSocket}
    app.websocket("/ws")(endpoint)
    return app


def quart_app(meeting: Meeting) -> Any:
    """Make a Quart-Trio application with one WebSocket route."""
    import quart
    import quart_trio

    app = quart_trio.QuartTrio(__name__)

    @app.websocket("/ws")
    async def endpoint() -> None:
        await meeting.host(quart.websocket)

    return app


def asgi(make_app: Callable[[Meeting], Any]) -> Server:
    """Make a server that runs an ASGI application under Hypercorn."""

    @asynccontextmanager
    async def server(meeting: Meeting) -> AsyncIterator[int]:
        async with hypercorn(make_app(meeting)) as listener:
            yield listener.port

    return server


fastapi, quart = asgi(fastapi_app), asgi(quart_app)
websockets: Server = functools.partial(ours, transport="websockets")

OURS: dict[str, Server] = {"ours": ours, "ours on websockets": websockets}
SERVERS: dict[str, Server] = {
    **OURS,
    "a request of trio-websocket": foreign(accepted=False),
    "a connection of trio-websocket": foreign(accepted=True),
    "FastAPI": fastapi,
    "Quart": quart,
}


@asynccontextmanager
async def link(server: Server, *, accept: bool = True, **settings: Any) -> AsyncIterator[Link]:
    """Connect a client of ours to a server."""
    settings.setdefault("transport", CARRIER)
    meeting = Meeting(accept)
    async with server(meeting) as port:
        async with trio.open_nursery() as nursery:
            opened: list[Transport] = []

            async def connect() -> None:
                opened.append(
                    await open_client_transport(
                        f"ws://127.0.0.1:{port}/ws?a=b", nursery=nursery, **settings
                    )
                )

            async def finish() -> None:
                for each in opened:
                    await each.abort()
                meeting.over.set()

            try:
                async with trio.open_nursery() as connecting:
                    connecting.start_soon(connect)
                    opened.insert(0, await meeting.arrive())
                    if not accept:
                        await opened[0].accept(*settings.get("subprotocols", ())[:1])
                yield opened[1], opened[0]
            finally:
                await finish()  # noqa: ASYNC102


def linked(server: Server) -> Opener:
    """Make an opener of links to a server."""
    return functools.partial(link, server)


both = functools.partial(link, websockets, transport="websockets")

OPENERS: dict[str, Opener] = {
    "memory": memory,
    **{name: linked(server) for name, server in SERVERS.items()},
    "a client on websockets": functools.partial(link, ours, transport="websockets"),
    "both on websockets": both,
}
OUR_OPENERS = {name: OPENERS[name] for name in ("ours", "both on websockets")}


async def send_text(transport: Transport, text: str) -> None:
    """Send text, which no proxy does by itself."""
    if isinstance(transport, MemoryTransport):
        await transport.send_text(text)
    elif isinstance(transport, TrioTransport):
        await transport.websocket.send_message(text)
    else:
        transport.websocket.send_text(text.encode())
        await transport.send([])


def reset(stream: trio.SocketStream) -> None:
    """Make closing a socket's connection a reset."""
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
