"""A real `WebSocketProxyClientAgent` of pipecat_subagents whose agent `acme` drives a scenario.

Runs in an environment that has pipecat-ai-subagents 0.6.0: `subagents_client_peer.py ws://...`.
Writes one JSON line per step: {"step": ...} with what was seen, or with "error".
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from loguru import logger

logger.remove()
logger.add(sys.stderr, level="INFO")

from pipecat.frames.frames import TextFrame  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection  # noqa: E402
from pipecat_subagents.agents import AgentActivationArgs, BaseAgent, task  # noqa: E402
from pipecat_subagents.agents.proxy.websocket import WebSocketProxyClientAgent  # noqa: E402
from pipecat_subagents.bus.messages import BusFrameMessage  # noqa: E402
from pipecat_subagents.runner import AgentRunner  # noqa: E402

LIFE = 120
"""Seconds after which the process ends whatever happens."""
STEP = 8
"""Seconds a step may take."""


class Acme(BaseAgent):
    """Asks `assistant` for everything."""

    def __init__(self, bus: Any) -> None:
        super().__init__("acme", bus=bus)
        self.begun = asyncio.Event()
        self.found: asyncio.Queue[Any] = asyncio.Queue()
        self.heard: asyncio.Queue[str] = asyncio.Queue()

    async def on_ready(self) -> None:
        await super().on_ready()
        self.begun.set()

    async def on_agent_ready(self, data: Any) -> None:
        await super().on_agent_ready(data)
        self.found.put_nowait(data)

    async def on_bus_message(self, message: Any) -> None:
        await super().on_bus_message(message)
        if isinstance(message, BusFrameMessage) and message.source == "assistant":
            self.heard.put_nowait(message.frame.text)

    @task(name="shout")
    async def shout(self, message: Any) -> None:
        await self.send_task_update(message.task_id, {"breath": "deep"})
        await self.send_task_response(message.task_id, {"text": message.payload["text"].upper()})

    async def ask(
        self, name: str | None, payload: dict | None = None, limit: float | None = None
    ) -> dict[str, Any]:
        """Do one task and tell everything about it."""
        async with self.task("assistant", name=name, payload=payload, timeout=limit) as context:
            events = [[event.type, event.data] async for event in context]
        return {"events": events, "response": context.response}

    # The steps, in order.

    async def step_announcement(self) -> Any:
        await self.watch_agent("assistant")
        data = await self.found.get()
        return {"name": data.agent_name, "runner": bool(data.runner)}

    async def step_activate(self) -> Any:
        args = AgentActivationArgs(metadata={"greeting": "hello"})
        await self.activate_agent("assistant", args=args)
        return {"text": await self.heard.get()}

    async def step_count(self) -> Any:
        return await self.ask("count", {"n": 4})

    async def step_urgent(self) -> Any:
        return await self.ask("urgent")

    async def step_stream(self) -> Any:
        return await self.ask("stream", {"n": 3})

    async def step_fail(self) -> Any:
        return await self.ask("fail")

    async def step_boom(self) -> Any:
        return await self.ask("boom", limit=4)

    async def step_no_name(self) -> Any:
        return await self.ask(None, limit=4)

    async def step_timeout(self) -> Any:
        return await self.ask("sleep", limit=0.3)

    async def step_leave(self) -> Any:
        """Leave the block with an exception while the task runs."""
        with contextlib.suppress(LookupError):
            async with self.task("assistant", name="sleep") as context:
                async for event in context:
                    raise LookupError(event.data)
        return {}

    async def step_cancel(self) -> Any:
        async with self.task("assistant", name="sleep") as context:
            async for _event in context:
                await self.cancel_task(context.task_id, reason="changed my mind")
        return {}

    async def step_cancelled(self) -> Any:
        return await self.ask("cancelled")

    async def step_update_request(self) -> Any:
        events = []
        async with self.task("assistant", name="progress") as context:
            async for event in context:
                events.append([event.type, event.data])
                if len(events) == 1:
                    await self.request_task_update(context.task_id, "assistant")
        return {"events": events, "response": context.response}

    async def step_group(self) -> Any:
        async with self.task_group("assistant", name="count", payload={"n": 1}) as group:
            events = [[event.agent_name, event.type, event.data] async for event in group]
        return {"events": events, "responses": group.responses}

    async def step_many(self) -> Any:
        """Ask for many tasks at once."""
        answers = await asyncio.gather(*(self.ask("count", {"n": n}) for n in range(20)))
        return {"counted": [answer["response"]["counted"] for answer in answers]}

    async def step_big(self) -> Any:
        payload = {"text": "Grüße \u2603 " * 20_000, "rows": [{"i": i} for i in range(10_000)]}
        answer = await self.ask("echo", payload)
        return {"same": answer["response"] == payload, "size": len(json.dumps(payload))}

    async def step_frame(self) -> Any:
        for target in ("assistant", None):
            frame = TextFrame(text=f"hello {target}")
            message = BusFrameMessage(
                source="acme",
                target=target,
                frame=frame,
                direction=FrameDirection.DOWNSTREAM,
                bridge="voice",
            )
            await self.send_message(message)
        return {"texts": [await self.heard.get() for _ in range(2)]}

    async def step_call_back(self) -> Any:
        return await self.ask("call_back", limit=4)

    async def step_deactivate(self) -> Any:
        await self.deactivate_agent("assistant")
        return {"text": await self.heard.get()}


async def drive(acme: Acme) -> None:
    """Take one step after the other, and tell what came of each."""
    for name in [each for each in vars(Acme) if each.startswith("step_")]:
        step: Callable[[], Awaitable[Any]] = getattr(acme, name)
        try:
            line = await asyncio.wait_for(step(), STEP)
        except Exception as error:  # noqa: BLE001 - told to the test
            line = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps({"step": name.removeprefix("step_")} | line), flush=True)


async def main(url: str) -> None:
    """Run the scenario."""
    runner = AgentRunner(handle_sigint=False)
    proxy = WebSocketProxyClientAgent(
        "proxy",
        bus=runner.bus,
        url=url,
        remote_agent_name="assistant",
        local_agent_name="acme",
        forward_messages=(BusFrameMessage,),
        headers={"x-token": "s3cret"},
    )
    acme = Acme(runner.bus)
    await runner.add_agent(acme)
    await runner.add_agent(proxy)
    running = asyncio.create_task(runner.run())
    await acme.begun.wait()
    await drive(acme)
    await runner.cancel()
    await running


if __name__ == "__main__":
    signal.alarm(LIFE)
    asyncio.run(main(sys.argv[1]))
