"""What any WebSocket client can do with our server, for clients that nobody here wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import trio

from tests.interop import golden
from tests.interop.golden import ACTIVATE, SPEAK, expect, for_job, request
from tests.interop.ours import server_proxy, serving
from tests.interop.peers import PeerProcess, WebSocketPeer, peer_process
from trioworkers import Job, Worker, job

__all__ = ["check_conversation", "check_loss", "check_sizes"]

MEGABYTE = 2**20


class Assistant(golden.Assistant):
    """Tells when a job of its was cancelled."""

    def __init__(self) -> None:
        super().__init__()
        self.cancelled = trio.Event()

    @job()
    async def sleep(self, job: Job, request: dict[str, Any] | None) -> None:
        try:
            await super().sleep(job, request)
        finally:
            self.cancelled.set()

    @job()
    async def echo(self, job: Job, request: dict[str, Any]) -> dict[str, Any]:
        return request


class Sessions:
    """Keeps the workers of all sessions."""

    def __init__(self) -> None:
        self.assistants: list[Assistant] = []
        self.ended = trio.Event()

    async def build(self, websocket: Any) -> list[Worker]:
        """Make the workers of one session."""
        assistant = Assistant()
        self.assistants.append(assistant)
        proxy = server_proxy(websocket, golden.TextFrame)

        @proxy.event_handler("on_client_disconnected")
        async def ended(proxy: Worker, websocket: Any) -> None:
            self.ended.set()

        return [assistant, proxy]


async def check_conversation(*command: str | Path, text: bool, **environ: str) -> None:
    """Play the recorded conversation, in text or binary frames."""
    sessions = Sessions()
    with trio.fail_after(30):
        async with serving(sessions.build) as url:
            async with peer_process(*command, url, **environ) as process:
                peer = WebSocketPeer(process, text=text)
                await peer.opened()
                await golden.converse_as_client(peer)
                await process.tell(close=1000)
                assert await peer.closed() == 1000
                await sessions.ended.wait()


async def start(process: PeerProcess) -> WebSocketPeer:
    """Wait for the connection and activate the assistant."""
    peer = WebSocketPeer(process)
    await peer.opened()
    await expect(peer, golden.REGISTRY)
    await peer.send(ACTIVATE)
    await expect(peer, SPEAK)
    return peer


async def check_loss(*command: str | Path, order: dict[str, Any], **environ: str) -> None:
    """Lose the connection in mid-job; the job is cancelled, and the next session is untouched."""
    sessions = Sessions()
    with trio.fail_after(30):
        async with serving(sessions.build) as url:
            async with peer_process(*command, url, **environ) as process:
                peer = await start(process)
                await peer.send(request("sleep", None, "1"))
                await expect(peer, for_job(golden.UPDATE, "1"))
                await process.tell(**order)
                await sessions.assistants[0].cancelled.wait()
                await sessions.ended.wait()
            async with peer_process(*command, url, **environ) as process:
                peer = await start(process)
                await peer.send(golden.REQUEST)
                await expect(peer, *golden.with_i(golden.UPDATE, range(4)), golden.RESPONSE)


async def check_sizes(*command: str | Path, **environ: str) -> None:
    """Send messages of up to a mebibyte there and back; a bigger one closes with 1009."""
    with trio.fail_after(30):
        async with serving(Sessions().build) as url:
            async with peer_process(*command, url, **environ) as process:
                peer = await start(process)
                for size in (0, 1, 125, 126, 65_535, 65_536, 1_000_000):
                    payload = json.dumps({"text": "x" * size}, separators=(",", ":"))
                    await peer.send(request("echo", payload, "1"))
                    answer = golden.RESPONSE.replace('{"counted":4}', payload)
                    await expect(peer, for_job(answer, "1"))
                await peer.send(" " * (MEGABYTE + 1))
                assert await peer.closed() == 1009
