"""A client in Node that was written from docs/wire.md alone, against our server."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from math import inf
from typing import Any

import attrs
import pytest
import trio

from tests.interop.ours import serving
from tests.interop.peers import WS, PeerProcess, need, peer_process, script
from trioworkers import (
    BusDataMessage,
    Job,
    JobFailedError,
    JSONMessageSerializer,
    PendingJob,
    StopReason,
    Worker,
    WorkerRegistryEntry,
    handles,
    job,
    message,
)
from trioworkers.proxies import IncomingConnection, WebSocketProxyServer, bearer_token

need(WS)

COMMAND = (WS.node or "node", script("native_client_peer.js"))
ENVIRON = {"NODE_PATH": str(WS.folder / "node_modules")}
TOKEN = "s3cret"

MANY = 3000

PATIENCE = 60
"""Seconds for everything: the machine may be busy."""


@message
class Note(BusDataMessage):
    """A message of one's own."""

    text: str


@attrs.frozen
class Cut:
    """How a handler was cancelled."""

    reason: str | None
    by: StopReason | None


def is_held(pending: PendingJob) -> bool:
    """Tell whether the far side was told to hold the events of a job."""
    # It has none before its request is taken.
    left = pending._request.job
    return left is not None and left.unread is not None and left.unread.held


class Assistant(Worker):
    """Does what the client asks for, and asks it back."""

    def __init__(self) -> None:
        super().__init__("assistant")
        self.asked: list[tuple[str, int]] = []
        self.left: list[float] = []
        self.cuts: list[Cut] = []
        self.notes: list[str] = []
        self.noted_one = trio.Event()
        self.asked_for_update = trio.Event()

    def note(self, job: Job, payload: Any) -> None:
        """Note that a job came, and how much was with it."""
        self.asked.append((job.name, len(str(payload))))

    @job()
    async def count(self, job: Job, payload: dict[str, int]) -> dict[str, int]:
        """Count, with updates."""
        self.note(job, payload)
        for number in range(payload["n"]):
            await job.update({"number": number})
        return {"counted": payload["n"]}

    @job()
    async def stream(self, job: Job, payload: dict[str, int]) -> None:
        """Stream, urgent updates in between."""
        self.note(job, payload)
        await job.stream_start({"items": payload["n"]})
        for number in range(payload["n"]):
            await job.stream({"item": number})
        await job.update({"urgent": True}, urgent=True)
        await job.stream_end({"streamed": payload["n"]})

    @job()
    async def sleep(self, job: Job, payload: dict[str, Any] | None) -> None:
        """Wait to be cancelled."""
        self.note(job, payload)
        self.left.append(job.deadline - trio.current_time())
        await job.update({"begun": True})
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            self.cuts.append(Cut(cancelled.reason, job.stop_reason))
            raise

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        """Answer with what came."""
        self.note(job, payload)
        return payload

    @job()
    async def ask_back(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        """Ask the client for three jobs: one completes, one fails, one is cancelled."""
        with trio.fail_after(PATIENCE):
            async with self.job("acme", "shout", payload) as pending:
                events = [(event.type, event.data) async for event in pending]
        answer: Any = pending.response
        with pytest.raises(JobFailedError) as caught:
            await self.ask("acme", "fail")
        await self.read_slowly()
        with trio.CancelScope() as scope:
            async with self.job("acme", "wait") as pending:
                async for _event in pending:
                    scope.cancel(reason="not needed")
        assert scope.cancelled_caught
        assert 0 < answer.pop("seconds") <= PATIENCE
        return {"events": events, "answer": answer, "failed": caught.value.reason}

    async def read_slowly(self) -> None:
        """Read nothing of a long stream until the client is told to hold it, and then all."""
        async with self.job("acme", "many", {"n": MANY}) as pending:
            with trio.fail_after(PATIENCE):
                while not is_held(pending):  # noqa: ASYNC110
                    await trio.sleep(0.01)
                # It answers in the midst of that.
                with pytest.raises(JobFailedError):
                    await self.ask("acme", "fail")
                events = [event.data async for event in pending]
        assert events == [{"number": number} for number in range(MANY)]
        assert pending.response["holds"] > 0

    @handles(Note)
    async def read(self, note: Note) -> None:
        """Answer a note."""
        self.notes.append(note.text)
        await self.send(Note(target="acme", text=f"{note.text} to you"))
        self.noted_one.set()

    @job()
    async def noted(self, job: Job, payload: dict[str, Any] | None) -> None:
        """Wait for the note."""
        await self.noted_one.wait()

    @job()
    async def idle(self, job: Job, payload: dict[str, Any] | None) -> None:
        """Say nothing until an update was asked for."""
        await job.update({"begun": True})
        await self.asked_for_update.wait()

    async def on_job_update_requested(self, job: Job) -> None:
        """Send an update."""
        await job.update({"still": "here"})
        self.asked_for_update.set()


class Gateway(WebSocketProxyServer):
    """Counts the goodbyes that it hears, and tells of the end of its connection."""

    def __init__(self, websocket: IncomingConnection, heartbeat: float) -> None:
        super().__init__(
            "gateway",
            websocket=websocket,
            worker_name="assistant",
            remote_worker_name="acme",
            serializer=JSONMessageSerializer(messages=(Note,)),
            heartbeat=heartbeat,
        )
        self.goodbyes = 0
        self.ended = trio.Event()

    async def on_client_disconnected(self, websocket: Any) -> None:
        self.ended.set()

    def _heard_goodbye(self) -> None:
        self.goodbyes += 1
        super()._heard_goodbye()


@attrs.define
class Session:
    """One session of the server, as the test sees it."""

    assistant: Assistant = attrs.Factory(Assistant)
    gateway: Any = None


@asynccontextmanager
async def session(heartbeat: float, heartbeat_there: float) -> AsyncGenerator[Any]:
    """Serve, and run the client."""
    here = Session()

    async def build(websocket: IncomingConnection) -> list[Worker]:
        assert websocket.offers == ("trioworkers.v1",)
        here.gateway = Gateway(websocket, heartbeat)
        return [here.assistant, here.gateway]

    with trio.fail_after(PATIENCE):
        async with (
            serving(build, authenticate=bearer_token(TOKEN)) as url,
            peer_process(*COMMAND, url, TOKEN, str(heartbeat_there), **ENVIRON) as process,
        ):
            yield here, process


async def hear(process: PeerProcess, *keys: str) -> dict[str, Any]:
    """Read what the client says next."""
    line = await process.line()
    assert line.keys() == set(keys), line
    return line


async def outcome(process: PeerProcess, key: str) -> tuple[list[Any], str, Any]:
    """Read the outcome of a job; returns its events, its status and its response."""
    said = (await hear(process, key))[key]
    return (
        [(each["type"], each["data"]) for each in said["events"]],
        said["status"],
        said.get("response"),
    )


async def check_jobs(process: PeerProcess, here: Session) -> None:
    """See the client ask for jobs, and cancel them."""
    assert await outcome(process, "count") == (
        [("BusJobUpdateMessage", {"number": 0}), ("BusJobUpdateMessage", {"number": 1})],
        "completed",
        {"counted": 2},
    )
    events, status, response = await outcome(process, "stream")
    assert events == [
        ("BusJobStreamStartMessage", {"items": 3}),
        *(("BusJobStreamDataMessage", {"item": number}) for number in range(3)),
        ("BusJobUpdateUrgentMessage", {"urgent": True}),
    ]
    assert (status, response) == ("completed", {"streamed": 3})
    events, status, response = await outcome(process, "unknown")
    assert (events, status, response["refused"]) == ([], "error", "unknown job")

    begun = [("BusJobUpdateMessage", {"begun": True})]
    why = {"error": "no longer wanted"}
    assert await outcome(process, "cancelled") == (begun, "cancelled", why)
    why = {"error": "a deadline has passed"}
    assert await outcome(process, "late") == (begun, "cancelled", why)
    cancelled, late = here.assistant.cuts
    assert cancelled.reason == "no longer wanted"
    assert cancelled.by is not None
    assert cancelled.by.path.startswith("shop/acme -> ")
    assert cancelled.by.path.endswith("/gateway")
    assert late.reason == "a deadline has passed"
    without, with_deadline = here.assistant.left
    assert without == inf
    assert 0 <= with_deadline <= 0.5


@pytest.mark.parametrize(
    ("heartbeat", "heartbeat_there", "pinged"),
    [(1.5, 20.0, "pings"), (20.0, 1.5, "pongs")],
    ids=["we ask", "it asks"],
)
async def test_a_client_from_the_page(
    heartbeat: float, heartbeat_there: float, pinged: str
) -> None:
    """S-PROXY-6, S-JOB-6: who knows only the page runs jobs, streams, cancels and deadlines."""
    async with session(heartbeat, heartbeat_there) as (here, process):
        assert await hear(process, "opened") == {"opened": "trioworkers.v1"}
        await check_jobs(process, here)
        assert await hear(process, "large", "same") == {"large": "completed", "same": True}
        asked = here.assistant.asked
        assert [name for name, _ in asked] == ["count", "stream", "sleep", "sleep", "echo"]
        assert asked[-1][1] > 300_000

        told = await hear(process, "told", "reason", "path")
        assert told["reason"] == "not needed"
        assert told["path"].endswith("/assistant")
        events, status, response = await outcome(process, "back")
        assert (events, status) == ([], "completed")
        assert response == {
            "events": [["update", {"breath": "deep"}]],
            "answer": {"text": "HELLO"},
            "failed": "no voice",
        }
        entry = here.gateway._node.context.registry.get("acme")
        assert entry == WorkerRegistryEntry("acme", active=True)

        assert await outcome(process, "noted") == ([], "completed", {})
        assert here.assistant.notes == ["good day"]
        said = (await hear(process, "messages"))["messages"]
        assert [
            (each["type"], each["data"]["text"]) for each in said if each["type"] == "Note"
        ] == [("Note", "good day to you")]

        events = [
            ("BusJobUpdateMessage", {"begun": True}),
            ("BusJobUpdateMessage", {"still": "here"}),
        ]
        assert await outcome(process, "idle") == (events, "completed", {})
        signs = await hear(process, "pings", "pongs")
        assert signs[pinged] >= 2
        assert await hear(process, "closed", "reason") == {"closed": 1000, "reason": "done"}
        await here.gateway.ended.wait()
        assert here.gateway.goodbyes == 1
