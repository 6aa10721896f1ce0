"""A runner with a proxy, in a process of its own: a server or a client, to be stopped or killed.

    python -m tests.proxies.far_process TRANSPORT server
    python -m tests.proxies.far_process TRANSPORT client PORT

A server prints its port.  Both print `lost` when their link is over, and exit.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from typing import Any

import trio

from trioworkers import Job, Worker, WorkerGoneError, job, open_runner
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, serve_proxies


class Far(Worker):
    """Asks for a job that does not end, and has one."""

    def __init__(self, name: str, other: str) -> None:
        super().__init__(name)
        self.other = other

    async def on_start(self) -> None:
        self.nursery.start_soon(self.ask_for_ever)

    async def ask_for_ever(self) -> None:
        """Ask."""
        try:
            await self.ask(self.other, "hang", {})
        except WorkerGoneError:
            say("lost")

    @job()
    async def hang(self, job: Job, payload: dict[str, Any]) -> None:
        await trio.sleep_forever()


def say(text: object) -> None:
    """Print a line that is read at once."""
    print(text, flush=True)


async def serve(transport: Any) -> None:
    """Serve until the first session is over."""
    over = trio.Event()

    async def build(websocket: Any) -> Iterable[Worker]:
        proxy = WebSocketProxyServer(
            "gateway", websocket=websocket, worker_name="assistant", remote_worker_name="acme"
        )

        @proxy.event_handler("on_client_disconnected")
        async def disconnected(proxy: Worker, websocket: Any) -> None:
            over.set()

        return [Far("assistant", "acme"), proxy]

    async with trio.open_nursery() as nursery:
        listener = await nursery.start(
            functools.partial(serve_proxies, build, "127.0.0.1", 0, transport=transport)
        )
        say(listener.port)
        await over.wait()
        nursery.cancel_scope.cancel()


async def connect(transport: Any, port: str) -> None:
    """Be connected until the link is lost."""
    proxy = WebSocketProxyClient(
        "proxy",
        url=f"ws://127.0.0.1:{port}/ws",
        local_worker_name="acme",
        remote_worker_name="assistant",
        active=True,
        reconnect=None,
        transport=transport,
    )
    async with open_runner(Far("acme", "assistant"), proxy):
        await proxy.wait_stopped()


if __name__ == "__main__":
    with_port = sys.argv[2] == "client"
    trio.run(connect, sys.argv[1], sys.argv[3]) if with_port else trio.run(serve, sys.argv[1])
