"""Our proxies with the real ones of pipecat_subagents 0.6.0, in its own processes.

That package has older names on the wire.  `subagents_server_peer.py` has its server, with a session
for each test; `subagents_client_peer.py` has its client, which takes its steps in one go.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from tests.interop.ours import client_proxy, server_proxy, serving
from tests.interop.parts import BIG, AcmePart, AssistantPart, TextFrame
from tests.interop.peers import SUBAGENTS, need, peer_process, script, server_process
from trioworkers import (
    BusFrameMessage,
    FrameDirection,
    JobFailedError,
    JobRemoteError,
    JobStatus,
    Worker,
    WorkerGoneError,
    handles,
    open_runner,
)

need(SUBAGENTS)

SERVER = (SUBAGENTS.python, script("subagents_server_peer.py"))
CLIENT = (SUBAGENTS.python, script("subagents_client_peer.py"))

# Our client, their server


class Acme(AcmePart):
    """Our end of a session with the real server."""

    @handles(BusFrameMessage)
    async def on_frame(self, message: BusFrameMessage) -> None:
        await self.tell.send((message.frame.text, message.direction, message.bridge))

    async def activate(self) -> None:
        """Activate the assistant, when it is there."""
        await self.registry.wait_ready("assistant")
        await self.activate_worker("assistant", args={"metadata": {"greeting": "hello"}})
        text, _, _ = await self.heard.receive()
        assert text == 'activated with {"metadata": {"greeting": "hello"}}'


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Start the real server."""
    with server_process(*SERVER) as (port, _log):
        yield f"ws://127.0.0.1:{port}/ws"


@asynccontextmanager
async def session(url: str) -> AsyncGenerator[Acme]:
    """Open a session with the real server, in which the assistant is active."""
    acme = Acme()
    proxy = client_proxy(url, TextFrame, names="subagents", active=True, reconnect=None)
    with trio.fail_after(20):
        async with open_runner(acme, proxy):
            await acme.activate()
            yield acme


async def test_announcement_activation_and_deactivation(url: str) -> None:
    """S-PROXY-2, S-PROXY-7: the announcement of an older process is understood; activations cross."""
    async with session(url) as acme:
        entry = acme.registry.get("assistant")
        assert entry is not None
        assert entry.name == "assistant"
        await acme.deactivate_worker("assistant")
        assert (await acme.heard.receive())[0] == "deactivated"
        await acme.activate()


async def test_requests_updates_and_streams(url: str) -> None:
    """S-PROXY-7: an older process takes a job and tells its events, its answer and its stream."""
    async with session(url) as acme:
        assert await acme.told("count", {"n": 2}) == (
            [("update", {"i": 0}), ("update", {"i": 1})],
            {"counted": 2},
        )
        assert await acme.told("urgent") == ([("update", {"u": 1})], {"urgent": True})
        chunks = [("stream_data", {"i": i}) for i in range(3)]
        assert await acme.told("stream", {"n": 3}) == (
            [("stream_start", {"n": 3}), *chunks, ("stream_end", {"total": 3})],
            {"total": 3},
        )
        assert await acme.ask("assistant", "echo", BIG) == BIG


async def test_failures_and_unreadable_answers(url: str) -> None:
    """S-PROXY-4, S-PROXY-7: statuses become errors; an answer that cannot be read fails its job."""
    async with session(url) as acme:
        with pytest.raises(JobFailedError) as failed:
            await acme.ask("assistant", "fail")
        assert (failed.value.status, failed.value.response) == (JobStatus.FAILED, {"why": "bad"})
        with pytest.raises(JobRemoteError, match="bug"):
            await acme.ask("assistant", "error")
        with pytest.raises(JobRemoteError, match="NaN"):
            await acme.ask("assistant", "unreadable")
        assert await acme.ask("assistant", "count", {"n": 0}) == {"counted": 0}


async def test_cancels_and_update_requests(url: str) -> None:
    """S-PROXY-7, S-JOB-6: a job that is given up is cancelled over there; an update can be asked for."""
    async with session(url) as acme:
        with trio.CancelScope() as scope:
            async with acme.job("assistant", "sleep") as pending:
                async for event in pending:
                    assert event.data == {"asleep": True}
                    scope.cancel(reason="changed my mind")
        assert scope.cancelled_caught
        response = await acme.ask("assistant", "cancelled")
        assert response == {"reasons": ["changed my mind"]}
        async with acme.job("assistant", "progress") as pending:
            seen = []
            async for event in pending:
                seen.append(event.data)
                if len(seen) == 1:
                    await pending.request_update()
        assert seen == [{"started": True}, {"progress": "half"}]
        assert pending.response == {"done": True}


async def test_frames_and_a_job_from_over_there(url: str) -> None:
    """S-PROXY-3, S-PROXY-7: frames keep their bridge; our announcement lets their agent ask ours."""
    async with session(url) as acme:
        for target in ("assistant", None):
            frame, down = TextFrame(f"hello {target}"), FrameDirection.DOWNSTREAM
            await acme.send(
                BusFrameMessage(target=target, frame=frame, direction=down, bridge="voice")
            )
        heard = [await acme.heard.receive() for _ in range(2)]
        up = FrameDirection.UPSTREAM
        assert heard == [("HELLO ASSISTANT", up, "voice"), ("HELLO NONE", up, "voice")]
        assert await acme.ask("assistant", "call_back") == {
            "events": [["update", {"breath": "deep"}]],
            "response": {"text": "HEY"},
        }


async def test_a_lost_link(url: str) -> None:
    """S-PROXY-3: a job over a link that an older process closes fails at once."""
    async with session(url) as acme:
        with pytest.raises(WorkerGoneError):
            await acme.ask("assistant", "hang_up")
        assert "assistant" not in acme.registry


# Our server, their client


class Assistant(AssistantPart):
    """Serves every kind of job to the real client."""

    announced = True

    async def speak(self, text: str, bridge: str | None = None) -> None:
        frame = TextFrame(text)
        await self.send(
            BusFrameMessage(
                target="acme", frame=frame, direction=FrameDirection.UPSTREAM, bridge=bridge
            )
        )

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        await self.speak(f"activated with {json.dumps(args)}")

    async def on_deactivated(self) -> None:
        self.announced = "acme" in self.registry
        await self.speak("deactivated")

    @handles(BusFrameMessage, bridge="voice")
    async def on_frame(self, message: BusFrameMessage) -> None:
        await self.speak(message.frame.text.upper(), message.bridge)


ERRORED = {"error": "TaskError: worker 'assistant' errored"}
STEPS: dict[str, Any] = {
    "announcement": {"name": "assistant", "runner": True},
    "activate": {"text": 'activated with {"metadata": {"greeting": "hello"}}'},
    "count": {"events": [["update", {"i": i}] for i in range(4)], "response": {"counted": 4}},
    "urgent": {"events": [["update", {"u": 1}]], "response": {"urgent": True}},
    "stream": {
        "events": [
            ["stream_start", {"n": 3}],
            *(["stream_data", {"i": i}] for i in range(3)),
            ["stream_end", {"total": 3}],
        ],
        "response": {"total": 3},
    },
    "fail": ERRORED,
    # Where their own agent keeps silent, our worker answers.
    "boom": ERRORED,
    "no_name": ERRORED,
    "timeout": {"error": "TaskError: timeout"},
    "leave": {},
    "cancel": {"error": "TaskError: changed my mind"},
    "cancelled": {
        "events": [],
        "response": {"reasons": ["timeout", "context exited with error", "changed my mind"]},
    },
    "update_request": {
        "events": [["update", {"started": True}], ["update", {"progress": "half"}]],
        "response": {"done": True},
    },
    "group": {
        "events": [["assistant", "update", {"i": 0}]],
        "responses": {"assistant": {"counted": 1}},
    },
    "many": {"counted": list(range(20))},
    "big": {"same": True, "size": len(json.dumps(BIG))},
    "frame": {"texts": ["HELLO ASSISTANT", "HELLO NONE"]},
    "call_back": {
        "events": [],
        "response": {"events": [["update", {"breath": "deep"}]], "response": {"text": "HEY"}},
    },
    "deactivate": {"text": "deactivated"},
}


async def test_the_real_client_with_our_server() -> None:
    """S-PROXY-7: the older client cannot tell our server from its own; it announces nothing."""
    assistants: list[Assistant] = []
    over = trio.Event()

    async def build(websocket: Any) -> list[Worker]:
        assert websocket.headers["x-token"] == "s3cret"
        proxy = server_proxy(websocket, TextFrame, names="subagents")
        assistants.append(Assistant())

        @proxy.event_handler("on_client_disconnected")
        async def disconnected(proxy: Worker, websocket: Any) -> None:
            over.set()

        return [assistants[0], proxy]

    with trio.fail_after(60):
        async with serving(build) as url, peer_process(*CLIENT, url) as process:
            lines = await process.lines()
            assert await process.finish() == 0
            await over.wait()
    assert {line.pop("step"): line for line in lines} == STEPS
    assert [each.announced for each in assistants] == [False]
