"""Server proxies inside ASGI applications, under a real Hypercorn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import fastapi
import pytest
import quart
import quart_trio
import trio
import trio.testing

from tests.proxies.links import hypercorn
from tests.proxies.serving import Assistant, connected, request
from trioworkers import Worker, WorkerGoneError, open_runner
from trioworkers.proxies import ProxyListener, WebSocketProxyServer


class Site:
    """Sessions of an ASGI application, and what became of them."""

    def __init__(self, accept: bool) -> None:
        self.accept = accept
        self.log: list[str] = []
        self.over = trio.Event()

    async def serve(self, websocket: Any) -> None:
        """Run a session, as a handler does."""
        if self.accept:
            await websocket.accept()
        gateway = WebSocketProxyServer(
            "gateway", websocket=websocket, worker_name="assistant", remote_worker_name="acme"
        )

        @gateway.event_handler("on_client_connected")
        async def note_begin(worker: Worker, websocket: Any) -> None:
            self.log.append(type(websocket).__name__)

        @gateway.event_handler("on_client_disconnected")
        async def note_end(worker: Worker, websocket: Any) -> None:
            self.log.append("gone")

        try:
            async with open_runner(Assistant("assistant"), gateway):
                await gateway.wait_stopped()
        finally:
            self.over.set()


def on_fastapi(site: Site) -> Any:
    """Make a FastAPI application."""
    app = fastapi.FastAPI()

    async def endpoint(websocket: fastapi.WebSocket) -> None:
        await site.serve(websocket)

    endpoint.__annotations__ = {"websocket": fastapi.WebSocket}
    app.websocket("/ws")(endpoint)
    return app


def on_quart(site: Site) -> Any:
    """Make a Quart-Trio application."""
    app = quart_trio.QuartTrio(__name__)

    @app.websocket("/ws")
    async def endpoint() -> None:
        await site.serve(quart.websocket)

    return app


apps = pytest.mark.parametrize(
    ("make_app", "kind"), [(on_fastapi, "WebSocket"), (on_quart, "TrioWebsocket")]
)


@apps
@pytest.mark.parametrize("accept", [True, False])
async def test_a_session(make_app: Callable[[Site], Any], kind: str, accept: bool) -> None:
    """S-PROXY-1: the proxy takes the application's websocket, accepted or not, and ends with it."""
    site = Site(accept)
    async with hypercorn(make_app(site)) as listener:
        where = ProxyListener(listener.port, ())
        async with connected(where, url=f"ws://127.0.0.1:{listener.port}/ws") as acme:
            for size in (0, 10, 100_000):
                payload = {"x": "y" * size}
                assert await acme.ask("assistant", "echo", payload) == payload
        with trio.fail_after(5):
            await site.over.wait()
    assert site.log == [kind, "gone"]


@apps
async def test_the_server_is_shut_down(make_app: Callable[[Site], Any], kind: str) -> None:
    """S-PROXY-3: when the ASGI server ends, open jobs over the link fail, and nobody waits."""
    site = Site(accept=True)

    async def ask(acme: Worker, asked: trio.Event) -> None:
        with pytest.raises(WorkerGoneError):
            async with acme.job("assistant", "echo", {"wait": True}):
                asked.set()
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        opened: list[Any] = []

        async def stay(port: int, task_status: trio.TaskStatus[None]) -> None:
            where = ProxyListener(port, ())
            async with connected(where, url=f"ws://127.0.0.1:{port}/ws") as acme:
                opened.append(acme)
                task_status.started()
                await acme.wait_stopped()

        async with hypercorn(make_app(site)) as listener:
            await nursery.start(stay, listener.port)  # noqa: ASYNC111 - clients outlive servers  # noqa: ASYNC111
        with trio.fail_after(5):
            await site.over.wait()
        assert site.log == [kind, "gone"]
        nursery.cancel_scope.cancel()


@apps
async def test_strangers_harm_nobody(make_app: Callable[[Site], Any], kind: str) -> None:
    """S-PROXY-4: a client that sends garbage, and goes, leaves the application alone."""
    site = Site(accept=True)
    async with hypercorn(make_app(site)) as listener:
        for data in (b"\xff" * 100, b"\x82\x84\0\0\0\0junk", b""):
            site.over = trio.Event()
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                await stream.send_all(request().replace(b"/path?query", b"/ws"))
                assert b"101" in await stream.receive_some()
                await stream.send_all(data)
                await trio.testing.wait_all_tasks_blocked(0.02)
            with trio.fail_after(5):
                await site.over.wait()
        where = ProxyListener(listener.port, ())
        async with connected(where, url=f"ws://127.0.0.1:{listener.port}/ws") as acme:
            assert await acme.ask("assistant", "echo", {}) == {}
