"""Pairs of runners that are bridged over real sockets, with a relay of the test's between them."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

import trio

from tests.proxies import links
from tests.proxies.links import Meeting, Server, hypercorn
from tests.proxies.pairs import LoggedServer, Side
from tests.proxies.relays import BUFFER, Relay, relay
from trioworkers import Worker, open_runner
from trioworkers.proxies import WebSocketProxyClient
from trioworkers.proxies.transports import Transport, transport_for


class TcpClient(WebSocketProxyClient):
    """A client proxy that keeps its events."""

    def __init__(self, port: int, name: str = "proxy", **settings: Any) -> None:
        settings = {
            "url": f"ws://127.0.0.1:{port}/ws",
            "local_worker_name": "acme",
            "remote_worker_name": "assistant",
            "active": True,
            "reconnect": None,
            "dialect": links.DIALECT,
            "transport": links.CARRIER,
            **settings,
        }
        super().__init__(name, **settings)
        self.events: list[str] = []

    async def on_connected(self, websocket: Any) -> None:
        self.events.append("connected")

    async def on_disconnected(self, websocket: Any) -> None:
        self.events.append("disconnected")


class Sessions(Meeting):
    """Gives a connection a runner with workers and a server proxy, and hands that over.

    The runner belongs to the connection's handler, or runs in `nursery`.
    """

    def __init__(
        self, *workers: Worker, nursery: trio.Nursery | None = None, **settings: Any
    ) -> None:
        super().__init__()
        self._workers, self._nursery, self._settings = workers, nursery, settings
        self._hand, self._take_side = trio.open_memory_channel[Side](1)

    async def host(self, websocket: Any) -> None:
        """Run a session until its proxy and its runner have stopped."""
        transport = transport_for(websocket)
        if self._nursery is None:
            await self._run(transport)
        else:
            self._nursery.start_soon(self._run, transport)
            await self.over.wait()

    async def _run(self, transport: Transport) -> None:
        proxy = LoggedServer(transport, **self._settings)
        async with open_runner(*self._workers, proxy) as runner:
            await self._hand.send(Side(runner, proxy))
            await proxy.wait_stopped()
            await self.over.wait()

    async def side(self) -> Side:
        """Wait for a session."""
        with trio.fail_after(5):
            return await self._take_side.receive()


def squeeze(side: Side, size: int = BUFFER) -> None:
    """Let the kernel take little from a side at a time, if the socket can be had."""
    line = getattr(side.proxy._link and side.proxy._link._transport, "_line", None)
    if line is not None:
        line.stream._stream.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)


def is_writing(side: Side) -> bool:
    """Tell whether a part of what a side writes has not left yet."""
    link: Any = side.proxy._link
    line = getattr(link._transport, "_line", None)
    return link._writing or getattr(line and line.stream, "unfinished", False)


def squeezed(make_app: Any) -> Server:
    """Make a server under Hypercorn of whose connections the kernel takes little at a time."""

    @contextlib.asynccontextmanager
    async def server(meeting: Meeting) -> AsyncIterator[int]:
        async with hypercorn(make_app(meeting)) as listener:
            with socket.socket(fileno=os.dup(listener.fd)) as sock:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
            yield listener.port

    return server


@contextlib.asynccontextmanager
async def bridged(
    server: Server, near: Worker, far: Worker, **settings: Any
) -> AsyncIterator[tuple[Side, Side, Relay]]:
    """Run `near` behind a client proxy and `far` behind a server proxy."""
    sessions = Sessions(far, **settings)
    async with contextlib.AsyncExitStack() as stack:
        port = await stack.enter_async_context(server(sessions))
        between = await stack.enter_async_context(relay(port))
        stack.callback(sessions.over.set)
        proxy = TcpClient(between.port, **settings)
        runner = await stack.enter_async_context(open_runner(near, proxy))
        stack.callback(between.allow_all)
        side = await sessions.side()
        with trio.fail_after(5):
            await runner.registry.wait_ready("assistant")
            await side.runner.registry.wait_ready("acme")
        yield Side(runner, proxy), side, between
