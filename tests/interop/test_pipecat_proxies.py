"""Our proxies with the real ones of Pipecat 1.14.0, in its own processes.

`pipecat_server_peer.py` has the real server, which one process serves to all tests here, each with
a session of its own.  `pipecat_client_peer.py` has the real client; it takes its steps in one go.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio

from tests.interop.ours import client_proxy, server_proxy, serving
from tests.interop.parts import BIG, AcmePart, AssistantPart, TextFrame
from tests.interop.peers import PIPECAT, need, peer_process, script, server_process
from trioworkers import (
    Backoff,
    BusFrameMessage,
    BusTTSSpeakMessage,
    DeadLetter,
    FrameDirection,
    Job,
    JobFailedError,
    JobRemoteError,
    JobStatus,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    handles,
    job,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient

need(PIPECAT)

SERVER = (PIPECAT.python, script("pipecat_server_peer.py"))
CLIENT = (PIPECAT.python, script("pipecat_client_peer.py"))

# Our client, their server


class Acme(AcmePart):
    """Our end of a session with the real server."""

    @handles(BusTTSSpeakMessage)
    async def on_speech(self, message: BusTTSSpeakMessage) -> None:
        await self.tell.send(message.text)

    @handles(BusFrameMessage)
    async def on_frame(self, message: BusFrameMessage) -> None:
        await self.tell.send((message.frame.text, message.direction, message.bridge))


class Bystander(Worker):
    """Must never hear anything from beyond the link."""

    def __init__(self) -> None:
        super().__init__("bystander")
        self.heard: list[Any] = []

    @handles(BusFrameMessage)
    async def on_frame(self, message: BusFrameMessage) -> None:
        self.heard.append(message)


@attrs.frozen
class Session:
    """A session with the real server, in which the assistant is active."""

    runner: WorkerRunner
    acme: Acme
    proxy: WebSocketProxyClient
    bystander: Bystander
    letters: Any

    async def next_letter(self) -> DeadLetter:
        """Return the next dead letter."""
        letter: DeadLetter = await anext(self.letters)
        return letter


@attrs.frozen
class Server:
    """The process with the real server."""

    url: str
    log: Any

    @asynccontextmanager
    async def session(self, **settings: Any) -> AsyncGenerator[Session]:
        """Open a session and activate the assistant.  What the process logged is noted on errors."""
        begin = self.log.seek(0, 2)
        settings = {"headers": {"x-token": "s3cret"}, "reconnect": None} | settings
        acme, bystander = Acme(), Bystander()
        proxy = client_proxy(self.url, TextFrame, **settings)
        try:
            with trio.fail_after(20):
                async with (
                    open_runner(acme, proxy, bystander) as runner,
                    runner.bus.open_dead_letters() as letters,
                ):
                    await acme.activate_worker("proxy")
                    await activate(acme)
                    yield Session(runner, acme, proxy, bystander, letters)
        except BaseException as error:
            self.log.seek(begin)
            error.add_note(f"the server logged:\n{self.log.read().decode(errors='replace')}")
            raise


async def activate(acme: Acme) -> None:
    """Activate the assistant, when it is there."""
    assert acme.runner is not None
    await acme.registry.wait_ready("assistant")
    await acme.activate_worker("assistant", args={"metadata": {"greeting": "hello"}})
    assert await acme.heard.receive() == 'activated with {"metadata": {"greeting": "hello"}}'


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Start the real server."""
    with server_process(*SERVER) as (port, log):
        yield Server(f"ws://127.0.0.1:{port}/ws", log)


async def test_activation_and_deactivation(server: Server) -> None:
    """S-PROXY-2, S-PROXY-7: activation and deactivation cross; an inactive worker is deaf."""
    async with server.session() as session:
        acme = session.acme
        await acme.deactivate_worker("assistant")
        assert await acme.heard.receive() == "deactivated"
        with trio.move_on_after(0.3) as scope:
            await acme.ask("assistant", "count", {"n": 1})
        assert scope.cancelled_caught
        await activate(acme)
        assert await acme.ask("assistant", "count", {"n": 1}) == {"counted": 1}


async def test_requests_updates_and_streams(server: Server) -> None:
    """S-PROXY-7: events of every kind arrive in order, and the end of a stream is the answer."""
    async with server.session() as session:
        told = session.acme.told
        assert await told("count", {"n": 4}) == (
            [("update", {"i": i}) for i in range(4)],
            {"counted": 4},
        )
        assert await told("urgent") == ([("update", {"u": 1})], {"urgent": True})
        chunks = [("stream_data", {"i": i}) for i in range(3)]
        assert await told("stream", {"n": 3}) == (
            [("stream_start", {"n": 3}), *chunks, ("stream_end", {"total": 3})],
            {"total": 3},
        )
        assert await session.acme.ask("assistant", "stream", {"n": 1}) == {"total": 1}


async def test_failures(server: Server) -> None:
    """S-PROXY-7, S-JOB-3: statuses become the errors they mean."""
    async with server.session() as session:
        with pytest.raises(JobFailedError) as failed:
            await session.acme.ask("assistant", "fail")
        assert failed.value.status is JobStatus.FAILED
        assert failed.value.response == {"why": "business"}
        with pytest.raises(JobRemoteError, match="bug"):
            await session.acme.ask("assistant", "error")


async def test_cancels_and_timeouts(server: Server) -> None:
    """S-PROXY-7, S-JOB-6: a job that is given up is cancelled over there, with the reason."""
    async with server.session() as session:
        acme = session.acme
        # A handler of Pipecat that raises never answers.
        with trio.move_on_after(0.3) as scope:
            await acme.ask("assistant", "boom")
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            async with acme.job("assistant", "sleep") as pending:
                async for event in pending:
                    assert event.data == {"asleep": True}
                    scope.cancel(reason="changed my mind")
        assert scope.cancelled_caught
        async with acme.job("assistant", "sleep") as pending:
            async for _event in pending:
                break
        with pytest.raises(LookupError):
            async with acme.job("assistant", "sleep") as pending:
                async for _event in pending:
                    raise LookupError
        response = await acme.ask("assistant", "cancelled")
        assert len(response["reasons"]) == 4
        assert response["reasons"][1] == "changed my mind"


async def test_update_requests(server: Server) -> None:
    """S-PROXY-7: an update that was asked for comes."""
    async with server.session() as session:
        async with session.acme.job("assistant", "progress") as pending:
            seen = []
            async for event in pending:
                seen.append(event.data)
                if len(seen) == 1:
                    await pending.request_update()
        assert seen == [{"started": True}, {"progress": "half"}]
        assert pending.response == {"done": True}


async def test_a_group_of_one_and_many_at_once(server: Server) -> None:
    """S-PROXY-7: groups, and jobs that run at the same time, keep their answers apart."""
    async with server.session() as session:
        acme = session.acme
        async with acme.job_group("assistant", name="count", payload={"n": 1}) as group:
            events = [(e.worker_name, e.type, e.data) async for e in group]
        assert events == [("assistant", "update", {"i": 0})]
        assert group.responses == {"assistant": {"counted": 1}}

        answers: dict[int, Any] = {}

        async def ask(n: int) -> None:
            answers[n] = await acme.told("count", {"n": n})

        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(ask, n)
        assert answers == {
            n: ([("update", {"i": i}) for i in range(n)], {"counted": n}) for n in range(20)
        }


async def test_big_payloads(server: Server) -> None:
    """S-PROXY-4, S-PROXY-7: payloads of half a mebibyte go there and back unchanged."""
    async with server.session() as session:
        assert await session.acme.ask("assistant", "echo", BIG) == BIG


async def test_frames(server: Server) -> None:
    """S-PROXY-2, S-PROXY-7: frames cross with or without a target, and keep their bridge tag."""
    async with server.session() as session:
        for target in ("assistant", None):
            frame = TextFrame(f"hello {target}")
            direction = FrameDirection.DOWNSTREAM
            await session.acme.send(
                BusFrameMessage(target=target, frame=frame, direction=direction, bridge="voice")
            )
        expected = [("HELLO ASSISTANT", FrameDirection.UPSTREAM, "voice")]
        expected.append(("HELLO NONE", FrameDirection.UPSTREAM, "voice"))
        assert [await session.acme.heard.receive() for _ in range(2)] == expected
        # Our own broadcast reached the worker here, and nothing came from beyond.
        assert [message.source for message in session.bystander.heard] == ["acme"]


async def test_the_registry_on_both_sides(server: Server) -> None:
    """S-PROXY-3: both sides announce: the real server's worker can ask ours."""
    async with server.session() as session:
        entry = session.runner.registry.get("assistant")
        assert entry is not None
        assert entry.name == "assistant"
        assert await session.acme.ask("assistant", "call_back") == {
            "events": [["update", {"breath": "deep"}]],
            "response": {"text": "HEY"},
        }
        events = (await session.acme.ask("assistant", "events"))["events"]
        assert "connected with s3cret" in events


async def test_what_must_not_come_in(server: Server) -> None:
    """S-PROXY-2, S-PROXY-3: what Pipecat's own client would let through becomes dead letters."""
    async with server.session() as session:
        assert await session.acme.ask("assistant", "trespass") == {"trespassed": True}
        letters = [await session.next_letter() for _ in range(4)]
        assert {letter.reason for letter in letters} == {"refused"}
        assert sorted(type(letter.message).__name__ for letter in letters) == [
            "BusCancelMessage",
            "BusFrameMessage",
            "BusTTSSpeakMessage",
            "BusWorkerRegistryMessage",
        ]
        assert session.bystander.heard == []
        assert "bank" not in session.runner.registry
        assert await session.acme.ask("assistant", "count", {"n": 0}) == {"counted": 0}


@pytest.mark.parametrize("code", [1000, 1001, 1011])
async def test_disconnect_in_mid_job(server: Server, code: int) -> None:
    """S-PROXY-3, S-PROXY-9: a job over a lost link fails at once; the next link works again."""
    async with server.session(reconnect=Backoff(initial=0, jitter=0)) as session:
        lost, events = trio.Event(), []

        @session.proxy.event_handler("on_connected")
        async def connected(proxy: Worker, websocket: Any) -> None:
            events.append("connected")

        @session.proxy.event_handler("on_disconnected")
        async def disconnected(proxy: Worker, websocket: Any) -> None:
            events.append("disconnected")
            assert "assistant" not in session.runner.registry
            lost.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_gone, session.acme)
            with pytest.raises(WorkerGoneError):
                await session.acme.ask("assistant", "hang_up", {"code": code})
        await lost.wait()
        await activate(session.acme)
        assert await session.acme.ask("assistant", "count", {"n": 2}) == {"counted": 2}
        assert events == ["disconnected", "connected"]


async def expect_gone(acme: Acme) -> None:
    """Have another job open meanwhile."""
    with pytest.raises(WorkerGoneError):
        await acme.ask("assistant", "sleep")


async def test_server_killed_in_mid_job() -> None:
    """S-PROXY-3: a job fails at once when the process of its worker is killed."""
    async with peer_process(*SERVER) as process:
        port = (await process.line())["port"]
        with tempfile.TemporaryFile() as log:
            server = Server(f"ws://127.0.0.1:{port}/ws", log)
            async with server.session() as session:
                with pytest.raises(WorkerGoneError):
                    async with session.acme.job("assistant", "sleep") as pending:
                        async for event in pending:
                            assert event.data == {"asleep": True}
                            process.kill()
                assert "assistant" not in session.runner.registry


# Our server, their client


class Assistant(AssistantPart):
    """Serves every kind of job to the real client."""

    def __init__(self, proxy: Worker) -> None:
        super().__init__()
        self.proxy = proxy

    async def speak(self, text: str) -> None:
        await self.send(BusTTSSpeakMessage(target="acme", text=text))

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        await self.speak(f"activated with {json.dumps(args)}")

    async def on_deactivated(self) -> None:
        await self.speak("deactivated")

    @handles(BusFrameMessage, bridge="voice")
    async def on_frame(self, message: BusFrameMessage) -> None:
        answer = BusFrameMessage(
            target="acme",
            frame=TextFrame(message.frame.text.upper()),
            direction=FrameDirection.UPSTREAM,
            bridge=message.bridge,
        )
        await self.send(answer)

    @job()
    async def hang_up(self, job: Job, request: dict[str, Any]) -> None:
        await self.proxy.stop("hanging up")
        await self.sleep(job, None)


class Sessions:
    """What happened in the sessions with the real client."""

    def __init__(self) -> None:
        self.assistants: list[Assistant] = []
        self.events: list[str] = []
        self.over = trio.Event()

    async def build(self, websocket: Any) -> list[Worker]:
        """Make the workers of a session."""
        assert websocket.headers["x-token"] == "s3cret"
        proxy = server_proxy(websocket, TextFrame)
        assistant = Assistant(proxy)
        self.assistants.append(assistant)

        @proxy.event_handler("on_client_connected")
        async def connected(proxy: Worker, websocket: Any) -> None:
            self.events.append("connected")

        @proxy.event_handler("on_client_disconnected")
        async def disconnected(proxy: Worker, websocket: Any) -> None:
            self.events.append("disconnected")
            if self.events.count("disconnected") == 2:
                self.over.set()

        return [assistant, proxy]


ERRORED = {"error": "JobError: worker 'assistant' errored"}
STEPS: dict[str, Any] = {
    "connect": {"runner": True},
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
    # Where Pipecat's own worker keeps silent, ours answers.
    "error": ERRORED,
    "boom": ERRORED,
    "unknown_job": ERRORED,
    "no_name": ERRORED,
    "timeout": {"error": "JobError: timeout"},
    "leave": {},
    "cancel": {"error": "JobError: changed my mind"},
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
    "frame": {
        "frames": [["HELLO ASSISTANT", "UPSTREAM", "voice"], ["HELLO NONE", "UPSTREAM", "voice"]]
    },
    "call_back": {
        "events": [],
        "response": {"events": [["update", {"breath": "deep"}]], "response": {"text": "HEY"}},
    },
    "deactivate": {"text": "deactivated"},
    "while_inactive": ERRORED,
    "activate_again": {"text": "activated with null", "events": [], "response": {"counted": 0}},
    "hang_up": {},
    "reconnect": {
        "text": "activated with null",
        "events": [["update", {"i": 0}], ["update", {"i": 1}]],
        "response": {"counted": 2},
    },
    "vanish": {},
}


async def test_the_real_client_with_our_server() -> None:
    """S-PROXY-7, S-PROXY-3: Pipecat's own client cannot tell our server from its own."""
    sessions = Sessions()
    with trio.fail_after(60):
        async with serving(sessions.build) as url, peer_process(*CLIENT, url) as process:
            lines = await process.lines()
            assert await process.finish() == 0
            await sessions.over.wait()
    steps = {line.pop("step"): line for line in lines}
    assert steps == STEPS
    assert sessions.events == 2 * ["connected", "disconnected"]
    # The jobs that were open at the end of each session did not run on.
    assert [len(assistant.reasons) for assistant in sessions.assistants] == [4, 1]
