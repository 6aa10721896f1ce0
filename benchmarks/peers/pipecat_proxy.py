"""Pipecat's side of the two-process measurements: its real client proxy, and its real server proxy in a FastAPI app under uvicorn.

Runs in Pipecat's own environment (see `environments.py`). Where there was a choice, it is the one that is better for Pipecat, and says so.
"""

# ruff: noqa: ASYNC110 - Pipecat and uvicorn have no event for what is polled here, always outside timed code
# pyright: reportMissingImports=false, reportUnknownMemberType=false, reportUnknownVariableType=false
# pyright: reportUntypedBaseClass=false, reportUnknownArgumentType=false, reportUnknownParameterType=false
# mypy: disable-error-code="import-not-found,misc,untyped-decorator"

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from loguru import logger

# Its default writes every DEBUG line to stderr, which makes it slower still. Before the import, which logs a banner.
logger.remove()
logger.add(os.devnull, level="INFO")

import uvicorn  # noqa: E402
from fastapi import FastAPI, WebSocket  # noqa: E402
from pipecat.bus import BusDataMessage, BusMessage  # noqa: E402
from pipecat.pipeline.job_context import JobError, JobGroupError, JobParams  # noqa: E402
from pipecat.pipeline.job_decorator import job  # noqa: E402
from pipecat.workers.base_worker import BaseWorker  # noqa: E402
from pipecat.workers.proxy.websocket import WebSocketProxyClient, WebSocketProxyServer  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

from .. import proxy_side, side  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..side import Figures

TURN = 64
"""How many messages are sent between two breaks."""


@dataclass(kw_only=True)
class Tick(BusDataMessage):
    """The message that is counted; the last one has the number 0."""

    n: int
    body: dict[str, Any]


@dataclass(kw_only=True)
class Handled(BusDataMessage):
    """Tells how many ticks were handled when the last one was."""

    count: int


class Assistant(BaseWorker):
    """Counts ticks, and echoes jobs. Calls `super()` first, which its handling of jobs needs."""

    def __init__(self) -> None:
        super().__init__("assistant")
        self.handled = 0

    async def on_bus_message(self, message: BusMessage) -> None:
        await super().on_bus_message(message)
        if isinstance(message, Tick) and message.target == self.name:
            self.handled += 1
            if not message.n:
                count, self.handled = self.handled, 0
                await self.send_bus_message(Handled(source=self.name, target="acme", count=count))

    @job(name="echo")
    async def echo(self, message: Any) -> None:
        await self.send_job_response(message.job_id, message.payload)


class Acme(BaseWorker):
    """Sends ticks, each made just before it is sent, and asks."""

    def __init__(self) -> None:
        super().__init__("acme")
        self.finished_at = 0.0
        self.count = 0
        self.finished = asyncio.Event()

    async def on_bus_message(self, message: BusMessage) -> None:
        await super().on_bus_message(message)
        if isinstance(message, Handled) and message.target == self.name:
            self.finished_at = time.perf_counter()
            self.count = message.count
            self.finished.set()

    async def timed_flood(self, count: int, body: dict[str, Any]) -> float:
        """Return the seconds per message from the first send to the word that all were handled.

        Takes a break now and then, so that the other process has something to do as well: `send_bus_message` never does.
        """
        self.finished = asyncio.Event()
        started = time.perf_counter()
        for n in reversed(range(count)):
            await self.send_bus_message(Tick(source="acme", target="assistant", n=n, body=body))
            if not n % TURN:
                await asyncio.sleep(0)
        await self.finished.wait()
        if self.count != count:
            message = f"{self.count} of {count} arrived"
            raise AssertionError(message)
        return (self.finished_at - started) / count

    async def timed_ask(self, payload: dict[str, Any], limit: float | None = None) -> float:
        """Return the seconds that one job takes."""
        started = time.perf_counter()
        params = JobParams(name="echo", payload=payload, timeout=limit)
        async with self.job("assistant", params=params) as context:
            pass
        seconds = time.perf_counter() - started
        if context.response != payload:
            message = f"answered {context.response}"
            raise AssertionError(message)
        return seconds

    async def wait_linked(self) -> None:
        """Wait for the first answer: what is sent before the two proxies are set up is lost without a word."""
        while True:
            with suppress(JobError, JobGroupError):
                await self.timed_ask({}, limit=1)
                return


def linked(measure: Callable[[Acme], Awaitable[Figures]], deflate: int) -> Figures:
    """Measure with a worker that is linked with the other process."""

    async def main(port: int) -> Figures:
        acme = Acme()
        proxy = WebSocketProxyClient(
            "proxy",
            url=f"ws://127.0.0.1:{port}/ws",
            local_worker_name="acme",
            remote_worker_name="assistant",
            active=True,
        )
        runner = WorkerRunner(handle_sigint=False)
        await runner.add_workers(acme, proxy)
        running = asyncio.create_task(runner.run(auto_end=False))
        while acme.started_at is None:
            await asyncio.sleep(0.01)
        await acme.wait_linked()
        figures = await measure(acme)
        await runner.cancel()
        await running
        return figures

    with proxy_side.other_process(str(deflate)) as port:
        return asyncio.run(main(port))


def one_way(count: int, body: str, deflate: int) -> Figures:
    """Send messages to a worker of the other process."""
    carried = proxy_side.body(body)

    async def measure(acme: Acme) -> Figures:
        await acme.timed_flood(max(1, count // proxy_side.WARM_UP), carried)
        return {"message": await acme.timed_flood(count, carried)}

    return linked(measure, deflate)


def ask(count: int, body: str, deflate: int) -> Figures:
    """Ask a worker of the other process, one job at a time."""
    carried = proxy_side.body(body)

    async def measure(acme: Acme) -> Figures:
        for _ in range(count // proxy_side.WARM_UP):
            await acme.timed_ask(carried)
        return side.percentiles([await acme.timed_ask(carried) for _ in range(count)])

    return linked(measure, deflate)


def make_app() -> FastAPI:
    """Make an app that gives each connection a runner of its own."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        proxy = WebSocketProxyServer(
            "gateway", websocket=websocket, worker_name="assistant", remote_worker_name="acme"
        )
        runner = WorkerRunner(handle_sigint=False)

        @proxy.event_handler("on_client_disconnected")
        async def disconnected(worker: Any, websocket: Any) -> None:
            await runner.cancel()

        await runner.add_workers(Assistant(), proxy)
        await runner.run(auto_end=False)

    return app


def serve(deflate: str) -> None:
    """Serve the worker that is talked to, until the input ends."""

    async def main() -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            config = uvicorn.Config(
                make_app(),
                log_level="warning",
                lifespan="off",
                ws_per_message_deflate=deflate == "1",
            )
            server = uvicorn.Server(config)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            while not server.started:
                await asyncio.sleep(0.01)
            proxy_side.tell_port(listener.getsockname()[1])
            await asyncio.to_thread(sys.stdin.read)
            server.should_exit = server.force_exit = True
            await serving

    asyncio.run(main())


if __name__ == "__main__":
    distributions = ["pipecat-ai", "fastapi", "uvicorn", "websockets"]
    proxy_side.main(serve, {"one_way": one_way, "ask": ask}, distributions)
