"""A conversation that two real Pipecat 1.14.0 processes had, played to each of our proxies."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
    wrap_client_stream,
    wrap_server_stream,
)

from tests.interop.golden import (
    Acme,
    Assistant,
    TextFrame,
    converse_as_client,
    converse_as_server,
)
from tests.interop.ours import client_proxy, server_proxy, serving
from trioworkers import Worker, open_runner


class RawPeer:
    """One end of a bare WebSocket connection."""

    def __init__(self, connection: WebSocketConnection, *, text: bool) -> None:
        self.connection = connection
        self.text = text

    async def send(self, text: str) -> None:
        await self.connection.send_message(text if self.text else text.encode())

    async def receive(self) -> str:
        found = await self.connection.get_message()
        assert isinstance(found, bytes), "Pipecat's server understands binary frames only"
        return found.decode()


async def build(websocket: object) -> list[Worker]:
    """Make the workers of one session."""
    return [Assistant(), server_proxy(websocket, TextFrame)]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_our_server_speaks_as_pipecats_does(text: bool) -> None:
    """S-PROXY-7: a server proxy takes what Pipecat's client writes, and writes what it reads."""
    with trio.fail_after(20):
        async with serving(build) as url, open_websocket_url(url) as connection:
            await converse_as_client(RawPeer(connection, text=text))


@pytest.mark.parametrize("accepted", [False, True])
async def test_our_server_speaks_as_pipecats_does_on_any_stream(accepted: bool) -> None:
    """S-PROXY-7, S-PROXY-1: the same over a request or connection of trio-websocket."""
    near, far = memory_stream_pair()
    done = trio.Event()
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:

            async def peer() -> None:
                stream: Any = near
                connection = await wrap_client_stream(nursery, stream, "localhost", "/ws")
                await converse_as_client(RawPeer(connection, text=False))
                done.set()

            nursery.start_soon(peer)
            request = await wrap_server_stream(nursery, far)
            websocket = await request.accept() if accepted else request
            async with open_runner(*await build(websocket)):
                await done.wait()
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_our_client_speaks_as_pipecats_does(text: bool) -> None:
    """S-PROXY-7: a client proxy takes what Pipecat's server writes, and writes what it reads."""

    async def serve(request: WebSocketRequest) -> None:
        async with await request.accept() as connection:
            await converse_as_server(RawPeer(connection, text=text))
            with pytest.raises(ConnectionClosed):
                await connection.get_message()

    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            serving = functools.partial(serve_websocket, serve, "127.0.0.1", 0, None)
            server = await nursery.start(serving)
            acme, proxy = Acme(), client_proxy(f"ws://127.0.0.1:{server.port}/ws", TextFrame)
            async with open_runner(acme, proxy) as runner:
                await acme.activate_worker("proxy")
                await runner.registry.wait_ready("assistant")
                await acme.converse()
            nursery.cancel_scope.cancel()
