"""Our own ends of the connections."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeAlias

import trio

from trioworkers import BusFrameMessage, Worker
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, serve_proxies
from trioworkers.wire import JSONMessageSerializer

__all__ = ["client_proxy", "server_proxy", "serving"]


Names: TypeAlias = Literal["pipecat", "subagents"]


def server_proxy(websocket: Any, frame: type, *, names: Names = "pipecat") -> WebSocketProxyServer:
    """Make the proxy that stands between `assistant` here and `acme` there."""
    return WebSocketProxyServer(
        "gateway",
        websocket=websocket,
        worker_name="assistant",
        remote_worker_name="acme",
        forward_messages=(BusFrameMessage,),
        serializer=JSONMessageSerializer(frames=(frame,), names=names),
    )


def client_proxy(
    url: str, frame: type, *, names: Names = "pipecat", **settings: Any
) -> WebSocketProxyClient:
    """Make the proxy that stands between `acme` here and `assistant` there."""
    return WebSocketProxyClient(
        "proxy",
        url=url,
        local_worker_name="acme",
        remote_worker_name="assistant",
        forward_messages=(BusFrameMessage,),
        serializer=JSONMessageSerializer(frames=(frame,), names=names),
        dialect="pipecat",
        **settings,
    )


@asynccontextmanager
async def serving(
    build: Callable[[Any], Awaitable[Iterable[Worker]]], **settings: Any
) -> AsyncGenerator[str]:
    """Serve sessions for the time of the block; gives the URL."""
    async with trio.open_nursery() as nursery:
        serve = functools.partial(serve_proxies, build, "127.0.0.1", 0, **settings)
        listener = await nursery.start(serve)
        yield f"ws://127.0.0.1:{listener.port}/ws"
        nursery.cancel_scope.cancel()
