"""A real `WebSocketProxyServerAgent` of pipecat_subagents in a FastAPI app under uvicorn.

Runs in an environment that has pipecat-ai-subagents 0.6.0, FastAPI and uvicorn.  Its agent
`assistant` does tasks for `acme`.  Writes {"port": ...}.  Ends when its input ends, or by itself
after LIFE seconds.
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
from pipecat.frames.frames import TextFrame  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection  # noqa: E402
from pipecat_subagents.agents import BaseAgent, TaskStatus, task  # noqa: E402
from pipecat_subagents.agents.proxy.websocket import WebSocketProxyServerAgent  # noqa: E402
from pipecat_subagents.bus.messages import BusFrameMessage  # noqa: E402
from pipecat_subagents.runner import AgentRunner  # noqa: E402

LIFE = 120
"""Seconds after which the process ends whatever happens."""


class Assistant(BaseAgent):
    """Does every kind of task for `acme`."""

    def __init__(self, bus: Any, websocket: WebSocket) -> None:
        super().__init__("assistant", bus=bus, active=False)
        self.websocket = websocket
        self.cancelled: list[str | None] = []
        self.asked: dict[str, asyncio.Event] = {}

    async def speak(self, text: str, bridge: str | None = None) -> None:
        message = BusFrameMessage(
            source="assistant",
            target="acme",
            frame=TextFrame(text=text),
            direction=FrameDirection.UPSTREAM,
            bridge=bridge,
        )
        await self.send_message(message)

    async def on_activated(self, args: dict | None) -> None:
        await super().on_activated(args)
        await self.speak(f"activated with {json.dumps(args)}")

    async def on_deactivated(self) -> None:
        await super().on_deactivated()
        await self.speak("deactivated")

    async def on_task_cancelled(self, message: Any) -> None:
        await super().on_task_cancelled(message)
        self.cancelled.append(message.reason)

    async def on_task_update_requested(self, message: Any) -> None:
        await super().on_task_update_requested(message)
        await self.send_task_update(message.task_id, {"progress": "half"})
        self.asked[message.task_id].set()

    async def on_bus_message(self, message: Any) -> None:
        await super().on_bus_message(message)
        if isinstance(message, BusFrameMessage) and message.source == "acme":
            await self.speak(message.frame.text.upper(), message.bridge)

    @task(name="count")
    async def count(self, message: Any) -> None:
        for i in range(message.payload["n"]):
            await self.send_task_update(message.task_id, {"i": i})
        await self.send_task_response(message.task_id, {"counted": message.payload["n"]})

    @task(name="urgent")
    async def urgent(self, message: Any) -> None:
        await self.send_task_update(message.task_id, {"u": 1}, urgent=True)
        await self.send_task_response(message.task_id, {"urgent": True}, urgent=True)

    @task(name="stream")
    async def stream(self, message: Any) -> None:
        n = message.payload["n"]
        await self.send_task_stream_start(message.task_id, {"n": n})
        for i in range(n):
            await self.send_task_stream_data(message.task_id, {"i": i})
        await self.send_task_stream_end(message.task_id, {"total": n})

    @task(name="fail")
    async def fail(self, message: Any) -> None:
        await self.send_task_response(message.task_id, {"why": "bad"}, status=TaskStatus.FAILED)

    @task(name="error")
    async def error(self, message: Any) -> None:
        await self.send_task_response(message.task_id, {"why": "bug"}, status=TaskStatus.ERROR)

    @task(name="sleep")
    async def sleep(self, message: Any) -> None:
        await self.send_task_update(message.task_id, {"asleep": True})
        await asyncio.Event().wait()

    @task(name="echo")
    async def echo(self, message: Any) -> None:
        await self.send_task_response(message.task_id, message.payload)

    @task(name="progress")
    async def progress(self, message: Any) -> None:
        asked = self.asked[message.task_id] = asyncio.Event()
        await self.send_task_update(message.task_id, {"started": True})
        await asked.wait()
        await self.send_task_response(message.task_id, {"done": True})

    @task(name="cancelled")
    async def tell_cancelled(self, message: Any) -> None:
        await self.send_task_response(message.task_id, {"reasons": self.cancelled})

    @task(name="call_back")
    async def call_back(self, message: Any) -> None:
        shout = self.task("acme", name="shout", payload={"text": "hey"}, timeout=4)
        async with shout as context:
            events = [[event.type, event.data] async for event in context]
        told = {"events": events, "response": context.response}
        await self.send_task_response(message.task_id, told)

    @task(name="unreadable")
    async def unreadable(self, message: Any) -> None:
        """Answer with what a strict reader does not take."""
        await self.send_task_response(message.task_id, {"nothing": float("nan")})

    @task(name="hang_up")
    async def hang_up(self, message: Any) -> None:
        """Close the connection while the task runs."""
        await self.websocket.close(1001)


def make_app() -> FastAPI:
    """Make an app that gives each connection a runner of its own."""
    app = FastAPI()

    @app.websocket("/ws")
    async def endpoint(websocket: WebSocket) -> None:
        await websocket.accept()
        runner = AgentRunner(handle_sigint=False)
        proxy = WebSocketProxyServerAgent(
            "gateway",
            bus=runner.bus,
            websocket=websocket,
            agent_name="assistant",
            remote_agent_name="acme",
            forward_messages=(BusFrameMessage,),
        )

        @proxy.event_handler("on_client_disconnected")
        async def disconnected(agent: Any, websocket: Any) -> None:
            await runner.cancel()

        await runner.add_agent(Assistant(runner.bus, websocket))
        await runner.add_agent(proxy)
        await runner.run()

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
