"""What the tests of serve_proxies have in common: sessions, a running server, and raw clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import h11
import trio

from tests.proxies import links
from trioworkers import Job, Worker, job, open_runner
from trioworkers.proxies import (
    IncomingConnection,
    ProxyListener,
    WebSocketProxyClient,
    WebSocketProxyServer,
    serve_proxies,
)

UPGRADE = [("Host", "x"), ("Connection", "upgrade"), ("Upgrade", "websocket")]


class Assistant(Worker):
    """Answers with what it was asked; crashes when it is told to."""

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer."""
        del job
        if payload.get("crash"):
            self.nursery.start_soon(self.fall_over)
            await trio.sleep_forever()
        return payload

    async def fall_over(self) -> None:
        """Fail, as a task of the worker."""
        raise ValueError("crash")


def session(websocket: IncomingConnection) -> list[Worker]:
    """Make the workers of a session."""
    gateway = WebSocketProxyServer(
        "gateway", websocket=websocket, worker_name="assistant", remote_worker_name="acme"
    )
    return [Assistant("assistant"), gateway]


async def build(websocket: IncomingConnection) -> Iterable[Worker]:
    """Make the workers of a session, as `serve_proxies` wants it."""
    return session(websocket)


@asynccontextmanager
async def serving(
    build: Any = build, host: str | None = "127.0.0.1", **settings: Any
) -> AsyncIterator[ProxyListener]:
    """Serve for the time of a block; then the server is cancelled."""
    settings.setdefault("transport", links.CARRIER)
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_proxies, build, host, 0, **settings))
        yield listener
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def connected(listener: ProxyListener, **settings: Any) -> AsyncIterator[Worker]:
    """Connect a runner with a worker `acme` to a session."""
    url = f"ws://127.0.0.1:{listener.port}/"
    settings = {"url": url, "transport": links.CARRIER, "dialect": links.DIALECT, **settings}
    proxy = WebSocketProxyClient(
        "proxy",
        local_worker_name="acme",
        remote_worker_name="assistant",
        active=True,
        reconnect=None,
        **settings,
    )
    acme = Worker("acme")
    async with open_runner(acme, proxy) as runner:
        with trio.fail_after(5):
            await runner.registry.wait_ready("assistant")
        yield acme


def request(*headers: str) -> bytes:
    """Write the request of an opening handshake."""
    lines = [
        "GET /path?query HTTP/1.1",
        "Host: x",
        "Upgrade: websocket",
        "Connection: upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


async def knock(stream: trio.abc.Stream, *headers: str) -> tuple[int, dict[str, str], str]:
    """Ask for a connection; returns the status, the headers and the text of the answer."""
    with trio.fail_after(5):
        await stream.send_all(request(*headers))
        answer = h11.Connection(h11.CLIENT)
        answer.send(h11.Request(method="GET", target="/", headers=UPGRADE))
        answer.send(h11.EndOfMessage())
        status, found, text = 0, {}, b""
        while True:
            match event := answer.next_event():
                case h11.NEED_DATA:
                    answer.receive_data(bytes(await stream.receive_some()))  # pyright: ignore[reportArgumentType]
                case h11.Response() | h11.InformationalResponse():
                    status = event.status_code
                    found = {key.decode(): value.decode() for key, value in event.headers}
                    if status == 101:
                        return status, found, ""
                case h11.Data():
                    text += event.data
                case _:
                    return status, found, text.decode()
