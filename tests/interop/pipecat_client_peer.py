"""A real `WebSocketProxyClient` of Pipecat whose worker `acme` drives a scenario.

Runs in an environment that has pipecat-ai 1.14.0: `pipecat_client_peer.py ws://...`.  Writes one
JSON line per step: {"step": ...} with what was seen, or with "error".
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

from pipecat.bus.messages import BusFrameMessage, BusTTSSpeakMessage  # noqa: E402
from pipecat.frames.frames import TextFrame  # noqa: E402
from pipecat.pipeline.job_context import JobGroupParams, JobParams  # noqa: E402
from pipecat.pipeline.job_decorator import job  # noqa: E402
from pipecat.processors.frame_processor import FrameDirection  # noqa: E402
from pipecat.workers.base_worker import BaseWorker, WorkerActivationArgs  # noqa: E402
from pipecat.workers.proxy.websocket import WebSocketProxyClient  # noqa: E402
from pipecat.workers.runner import WorkerRunner  # noqa: E402

LIFE = 120
"""Seconds after which the process ends whatever happens."""
STEP = 8
"""Seconds a step may take."""


class Acme(BaseWorker):
    """Asks `assistant` for everything."""

    def __init__(self, proxy: WebSocketProxyClient) -> None:
        super().__init__("acme")
        self.proxy = proxy
        self.connected: asyncio.Queue[Any] = asyncio.Queue()
        self.ready = asyncio.Event()
        self.heard: asyncio.Queue[Any] = asyncio.Queue()

    async def on_worker_ready(self, data: Any) -> None:
        await super().on_worker_ready(data)
        if data.worker_name == "assistant":
            self.runner_of_assistant = data.runner
            self.ready.set()

    async def on_bus_message(self, message: Any) -> None:
        await super().on_bus_message(message)
        if message.source == "assistant" and isinstance(
            message, BusTTSSpeakMessage | BusFrameMessage
        ):
            self.heard.put_nowait(message)

    @job(name="shout")
    async def shout(self, message: Any) -> None:
        await self.send_job_update(message.job_id, {"breath": "deep"})
        await self.send_job_response(message.job_id, {"text": message.payload["text"].upper()})

    async def ask(
        self, name: str | None, payload: dict | None = None, limit: float | None = None
    ) -> dict[str, Any]:
        """Do one job and tell everything about it."""
        params = JobParams(name=name, payload=payload, timeout=limit)
        async with self.job("assistant", params=params) as context:
            events = [[event.type, event.data] async for event in context]
        return {"events": events, "response": context.response}

    # The steps, in order.

    async def step_connect(self) -> Any:
        await self.watch_workers("assistant")
        await self.activate_worker("proxy")
        await self.connected.get()
        await self.ready.wait()
        return {"runner": bool(self.runner_of_assistant)}

    async def step_activate(self) -> Any:
        args = WorkerActivationArgs(metadata={"greeting": "hello"})
        await self.activate_worker("assistant", args=args)
        return {"text": (await self.heard.get()).text}

    async def step_count(self) -> Any:
        return await self.ask("count", {"n": 4})

    async def step_urgent(self) -> Any:
        return await self.ask("urgent")

    async def step_stream(self) -> Any:
        return await self.ask("stream", {"n": 3})

    async def step_fail(self) -> Any:
        return await self.ask("fail")

    async def step_error(self) -> Any:
        return await self.ask("error")

    async def step_boom(self) -> Any:
        return await self.ask("boom", limit=1)

    async def step_unknown_job(self) -> Any:
        return await self.ask("no-such-job", limit=1)

    async def step_no_name(self) -> Any:
        return await self.ask(None, limit=1)

    async def step_timeout(self) -> Any:
        return await self.ask("sleep", limit=0.3)

    async def step_leave(self) -> Any:
        """Leave the block in mid-job with an exception."""
        with contextlib.suppress(LookupError):
            async with self.job("assistant", params=JobParams(name="sleep")) as context:
                async for event in context:
                    raise LookupError(event.data)
        return {}

    async def step_cancel(self) -> Any:
        async with self.job("assistant", params=JobParams(name="sleep")) as context:
            async for _event in context:
                await self.cancel_job_group(context.job_id, reason="changed my mind")
        return {}

    async def step_cancelled(self) -> Any:
        return await self.ask("cancelled")

    async def step_update_request(self) -> Any:
        events = []
        async with self.job("assistant", params=JobParams(name="progress")) as context:
            async for event in context:
                events.append([event.type, event.data])
                if len(events) == 1:
                    await self.request_job_update(context.job_id, "assistant")
        return {"events": events, "response": context.response}

    async def step_group(self) -> Any:
        params = JobGroupParams(name="count", payload={"n": 1})
        async with self.job_group("assistant", params=params) as group:
            events = [[event.worker_name, event.type, event.data] async for event in group]
        return {"events": events, "responses": group.responses}

    async def step_many(self) -> Any:
        """Ask for many jobs at once."""
        answers = await asyncio.gather(*(self.ask("count", {"n": n}) for n in range(20)))
        return {"counted": [answer["response"]["counted"] for answer in answers]}

    async def step_big(self) -> Any:
        payload = {"text": "Grüße \u2603 " * 20_000, "rows": [{"i": i} for i in range(10_000)]}
        answer = await self.ask("echo", payload)
        return {"same": answer["response"] == payload, "size": len(json.dumps(payload))}

    async def step_frame(self) -> Any:
        for target in ("assistant", None):
            frame = TextFrame(text=f"hello {target}")
            await self.send_bus_message(
                BusFrameMessage(
                    source="acme",
                    target=target,
                    frame=frame,
                    direction=FrameDirection.DOWNSTREAM,
                    bridge="voice",
                )
            )
        answers = [await self.heard.get() for _ in range(2)]
        return {"frames": [[a.frame.text, a.direction.name, a.bridge] for a in answers]}

    async def step_call_back(self) -> Any:
        return await self.ask("call_back", limit=4)

    async def step_deactivate(self) -> Any:
        await self.deactivate_worker("assistant")
        return {"text": (await self.heard.get()).text}

    async def step_while_inactive(self) -> Any:
        return await self.ask("count", {"n": 1}, limit=0.5)

    async def step_activate_again(self) -> Any:
        await self.activate_worker("assistant")
        heard = await self.heard.get()
        return {"text": heard.text, **await self.ask("count", {"n": 0})}

    async def step_hang_up(self) -> Any:
        """Let the other side close in mid-job; Pipecat's requester learns nothing of that."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ask("hang_up", {"code": 1001}), 1)
        return {}

    async def step_reconnect(self) -> Any:
        """Connect again, to a new session, by activating the proxy again."""
        await self.activate_worker("proxy")
        await self.connected.get()
        await asyncio.sleep(0.2)
        await self.activate_worker("assistant")
        return {"text": (await self.heard.get()).text, **await self.ask("count", {"n": 2})}

    async def step_vanish(self) -> Any:
        """Close the connection in mid-job."""
        with contextlib.suppress(TimeoutError):
            async with self.job("assistant", params=JobParams(name="sleep", timeout=1)) as context:
                async for event in context:
                    await self.proxy._ws.close()
                    raise TimeoutError(event.type)
        return {}


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
    proxy = WebSocketProxyClient(
        "proxy",
        url=url,
        remote_worker_name="assistant",
        local_worker_name="acme",
        forward_messages=(BusFrameMessage,),
        headers={"x-token": "s3cret"},
    )
    acme = Acme(proxy)
    runner = WorkerRunner(handle_sigint=False)

    @proxy.event_handler("on_connected")
    async def connected(worker: Any, websocket: Any) -> None:
        acme.connected.put_nowait(websocket)

    await runner.add_workers(acme, proxy)
    running = asyncio.create_task(runner.run(auto_end=False))
    while acme.started_at is None:  # noqa: ASYNC110 - Pipecat has no event for it
        await asyncio.sleep(0.01)
    await drive(acme)
    await runner.cancel()
    await running


if __name__ == "__main__":
    signal.alarm(LIFE)
    asyncio.run(main(sys.argv[1]))
