"""A real `WebSocketProxyServer` of Pipecat in a FastAPI app under uvicorn, with a worker that serves jobs.

Runs in an environment that has pipecat-ai 1.14.0, FastAPI and uvicorn.  Writes {"port": ...}.
Ends when its input ends, or by itself after LIFE seconds.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from typing import Any

from loguru import logger

logger.remove()
logger.add(sys.stderr, level="INFO")

import uvicorn  # noqa: E402
from fastapi import FastAPI, WebSocket  # noqa: E402
from pipecat.bus.messages import (  # noqa: E402
    BusCancelMessage,
    BusFrameMessage,
    BusTTSSpeakMessage,
    BusWorkerRegistryMessage,
)
from pipecat.bus.serializers import JSONMessageSerializer  # noqa: E402
from pipecat.frames.frames import TextFrame  # noqa: E402
from pipecat.pipeline.job_context import JobError, JobGroupError, JobParams, JobStatus  # noqa: E402
from pipecat.pipeline.job_decorator import job  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection  # noqa: E402
from pipecat.registry.types import WorkerRegistryEntry  # noqa: E402
from pipecat.workers.base_worker import BaseWorker  # noqa: E402
from pipecat.workers.proxy.websocket import WebSocketProxyServer  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

LIFE = 120
"""Seconds after which the process ends whatever happens."""


EVENTS: list[str] = []
"""What the proxies of all connections have told."""


class Assistant(BaseWorker):
    """Serves every kind of job to `acme`."""

    def __init__(self, websocket: WebSocket) -> None:
        super().__init__("assistant", active=False)
        self.websocket = websocket
        self.cancelled: list[str | None] = []
        self.asked: dict[str, asyncio.Event] = {}

    async def speak(self, text: str) -> None:
        await self.send_bus_message(
            BusTTSSpeakMessage(source="assistant", target="acme", text=text)
        )

    async def on_activated(self, args: dict | None) -> None:
        await super().on_activated(args)
        await self.speak(f"activated with {json.dumps(args)}")

    async def on_deactivated(self) -> None:
        await super().on_deactivated()
        await self.speak("deactivated")

    async def on_job_cancelled(self, message: Any) -> None:
        await super().on_job_cancelled(message)
        self.cancelled.append(message.reason)

    async def on_job_update_requested(self, message: Any) -> None:
        await super().on_job_update_requested(message)
        await self.send_job_update(message.job_id, {"progress": "half"})
        self.asked[message.job_id].set()

    async def on_bus_message(self, message: Any) -> None:
        await super().on_bus_message(message)
        if isinstance(message, BusFrameMessage) and message.source == "acme":
            answer = BusFrameMessage(
                source="assistant",
                target="acme",
                frame=TextFrame(text=message.frame.text.upper()),
                direction=FrameDirection.UPSTREAM,
                bridge=message.bridge,
            )
            await self.send_bus_message(answer)

    @job(name="count")
    async def count(self, message: Any) -> None:
        for i in range(message.payload["n"]):
            await self.send_job_update(message.job_id, {"i": i})
        await self.send_job_response(message.job_id, {"counted": message.payload["n"]})

    @job(name="urgent")
    async def urgent(self, message: Any) -> None:
        await self.send_job_update(message.job_id, {"u": 1}, urgent=True)
        await self.send_job_response(message.job_id, {"urgent": True}, urgent=True)

    @job(name="stream")
    async def stream(self, message: Any) -> None:
        n = message.payload["n"]
        await self.send_job_stream_start(message.job_id, {"n": n})
        for i in range(n):
            await self.send_job_stream_data(message.job_id, {"i": i})
        await self.send_job_stream_end(message.job_id, {"total": n})

    @job(name="fail")
    async def fail(self, message: Any) -> None:
        await self.send_job_response(message.job_id, {"why": "business"}, status=JobStatus.FAILED)

    @job(name="error")
    async def error(self, message: Any) -> None:
        await self.send_job_response(message.job_id, {"why": "bug"}, status=JobStatus.ERROR)

    @job(name="boom")
    async def boom(self, message: Any) -> None:
        raise ValueError("boom")

    @job(name="sleep")
    async def sleep(self, message: Any) -> None:
        await self.send_job_update(message.job_id, {"asleep": True})
        await asyncio.Event().wait()

    @job(name="echo")
    async def echo(self, message: Any) -> None:
        await self.send_job_response(message.job_id, message.payload)

    @job(name="progress")
    async def progress(self, message: Any) -> None:
        asked = self.asked[message.job_id] = asyncio.Event()
        await self.send_job_update(message.job_id, {"started": True})
        await asked.wait()
        await self.send_job_response(message.job_id, {"done": True})

    @job(name="cancelled")
    async def tell_cancelled(self, message: Any) -> None:
        await self.send_job_response(message.job_id, {"reasons": self.cancelled})

    @job(name="events")
    async def tell_events(self, message: Any) -> None:
        await self.send_job_response(message.job_id, {"events": EVENTS})

    @job(name="call_back")
    async def call_back(self, message: Any) -> None:
        params = JobParams(name="shout", payload={"text": "hey"}, timeout=1)
        try:
            async with self.job("acme", params=params) as context:
                events = [[event.type, event.data] async for event in context]
        except (JobError, JobGroupError) as error:
            why = {"why": str(error)}
            await self.send_job_response(message.job_id, why, status=JobStatus.FAILED)
        else:
            told = {"events": events, "response": context.response}
            await self.send_job_response(message.job_id, told)

    @job(name="trespass")
    async def trespass(self, message: Any) -> None:
        """Send what a strict peer refuses, past our own bus, then answer."""
        for forbidden in (
            BusFrameMessage(
                source="assistant",
                target="bystander",
                frame=TextFrame(text="for the bystander"),
                direction=FrameDirection.DOWNSTREAM,
            ),
            BusCancelMessage(source="assistant", target="acme"),
            BusWorkerRegistryMessage(
                source="assistant",
                target="acme",
                runner="elsewhere",
                workers=[WorkerRegistryEntry(name="bank")],
            ),
            BusTTSSpeakMessage(source="somebody", target="acme", text="forged"),
        ):
            await self.websocket.send_bytes(JSONMessageSerializer().serialize(forbidden))
        await self.send_job_response(message.job_id, {"trespassed": True})

    @job(name="hang_up")
    async def hang_up(self, message: Any) -> None:
        """Close the connection in mid-job."""
        await self.websocket.close(message.payload["code"])


def make_app() -> FastAPI:
    """Make an app that gives each connection a runner of its own."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        proxy = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="assistant",
            remote_worker_name="acme",
            forward_messages=(BusFrameMessage,),
        )
        runner = WorkerRunner(handle_sigint=False)

        @proxy.event_handler("on_client_connected")
        async def connected(worker: Any, websocket: Any) -> None:
            EVENTS.append(f"connected with {websocket.headers.get('x-token')}")

        @proxy.event_handler("on_client_disconnected")
        async def disconnected(worker: Any, websocket: Any) -> None:
            EVENTS.append("disconnected")
            await runner.cancel()

        await runner.add_workers(Assistant(websocket), proxy)
        await runner.run(auto_end=False)

    return app


async def main() -> None:
    """Serve until the input ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(make_app(), log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = server.force_exit = True
        await serving


if __name__ == "__main__":
    signal.alarm(LIFE)
    asyncio.run(main())
