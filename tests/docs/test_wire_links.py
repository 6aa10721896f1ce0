"""What the page about the native dialect says of opening, refusing and closing is what happens."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing
import trio_websocket

from tests.docs.pages import DOCS
from tests.proxies import links
from tests.proxies.pairs import LoggedServer, Side
from tests.proxies.serving import knock, serving
from tests.proxies.sockets import Sessions
from trioworkers import (
    BusDataMessage,
    Job,
    JobCancelledError,
    JobFailed,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    Worker,
    WorkerGoneError,
    job,
    message,
    open_runner,
)
from trioworkers.proxies import bearer_token
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._memory import memory_transports
from trioworkers.proxies._transport import LinkClosed
from trioworkers.wire import JSONMessageSerializer, chunks
from trioworkers.wire.chunks import Credit, Kind, Lane, LaneCredit

TEXT = (DOCS / "wire.md").read_text(encoding="utf-8")
OFFER = "trioworkers.v1"
BUS = "pipecat.bus.messages."


def said_hello(**changed: Any) -> bytes:
    """Return the hello of the page, in a frame."""
    (shown,) = re.findall(r"## Hello\n+```json\n(.*?)```", TEXT, re.DOTALL)
    return chunks.write_json(Kind.HELLO, json.loads(shown) | changed)


# All the credit there is: nothing has to be told later.
MUCH = LaneCredit(2**62, 2**62, 0)
CREDIT = chunks.write_credit(Credit((MUCH, MUCH, MUCH), 0))


@message
class Note(BusDataMessage):
    """Nobody handles it."""

    text: str


class Assistant(Worker):
    """Has jobs that end in all ways."""

    def __init__(self) -> None:
        super().__init__("assistant")

    @job()
    async def count(self, job: Job, payload: dict[str, Any] | None) -> dict[str, Any] | None:
        return payload

    @job()
    async def fail(self, job: Job, payload: dict[str, Any] | None) -> None:
        raise JobFailed("too late", payload)

    @job()
    async def crash(self, job: Job, payload: dict[str, Any] | None) -> None:
        raise ValueError("bug")

    @job()
    async def sleep(self, job: Job, payload: dict[str, Any] | None) -> None:
        await trio.sleep_forever()

    @job()
    async def strict(self, job: Job, payload: dict[str, int]) -> None:
        pass


class Raw:
    """The client's end of a connection within the process."""

    def __init__(self, end: Any) -> None:
        self.end = end
        self.numbers = dict.fromkeys(Lane, 0)
        # What else was in the frame that was received last.
        self.rest: list[tuple[Kind, Any]] = []

    async def say(self, *frames: bytes | str) -> None:
        """Send frames."""
        await self.end.send(frames)

    async def send(self, *bodies: bytes | dict[str, Any], lane: Lane = Lane.DATA) -> None:
        """Send messages in one frame."""
        texts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in bodies]
        await self.say(chunks.write_messages(lane, self.numbers[lane] + 1, texts))
        self.numbers[lane] += len(texts)

    async def chunk(self, kind: Kind) -> Any:
        """Receive frames until there is a chunk of that kind; return what is in it."""
        while True:
            while self.rest:
                found, content = self.rest.pop(0)
                if found is kind:
                    return content
            self.rest = list(chunks.parse(await self.end.receive()))

    async def answer(self) -> tuple[str, Any]:
        """Receive replies until there is the end of a job; return its status and response."""
        while True:
            got: Any = await self.chunk(Kind.MESSAGES)
            for body in got.bodies:
                data = json.loads(body)["__data__"]
                if "status" in data:
                    return data["status"], data.get("response")

    async def closed(self) -> LinkClosed:
        """Receive until the connection is over."""
        try:
            while True:
                await self.end.receive()
        except LinkClosed as end:
            return end


@asynccontextmanager
async def raw(
    offers: Sequence[str] = (OFFER,), **settings: Any
) -> AsyncGenerator[tuple[Side, Raw]]:
    """Run the assistant behind a server proxy whose client is the test."""
    end, far = memory_transports(64)
    end.offers = tuple(offers)
    settings.setdefault("serializer", JSONMessageSerializer(messages=(Note,)))
    proxy = LoggedServer(end, **settings)
    with trio.fail_after(100_000):
        async with open_runner(Assistant(), proxy) as runner:
            yield Side(runner, proxy), Raw(far)
        await far.abort()


@asynccontextmanager
async def opened(**settings: Any) -> AsyncGenerator[tuple[Side, Raw]]:
    """Run them, and open the link."""
    async with raw(**settings) as (side, client):
        await client.say(said_hello())
        await client.chunk(Kind.CREDIT)
        await client.say(CREDIT)
        side.letters.take()
        yield side, client


def request(**fields: Any) -> dict[str, Any]:
    """Write a request."""
    data = {"source": "acme", "target": "assistant", "job_id": "1", "job_name": "count"} | fields
    return {"__type__": f"{BUS}BusJobRequestMessage", "__data__": data}


# Opening


async def first(port: int, offers: Sequence[str] | None, hello: bool) -> tuple[str | None, str]:
    """Connect; return the subprotocol that was confirmed, and what the first frames are."""
    url = f"ws://127.0.0.1:{port}/ws"
    async with trio_websocket.open_websocket_url(url, subprotocols=offers) as socket:
        if hello:
            await socket.send_message(said_hello())
        seen = ""
        for _ in range(2):
            frame = await socket.get_message()
            assert isinstance(frame, bytes)
            seen += "json " if frame[:1] == b"{" else f"{Kind(frame[0]).name} "
        return socket.subprotocol, seen.strip()


@pytest.mark.parametrize(
    ("offers", "confirmed", "frames"),
    [
        ([OFFER], OFFER, "HELLO CREDIT"),
        (["other", OFFER], OFFER, "HELLO CREDIT"),
    ],
)
async def test_a_server_that_sees_the_offer(offers: list[str], confirmed: str, frames: str) -> None:
    """S-PROXY-6: it confirms the subprotocol and says hello."""
    with trio.fail_after(30):
        async with serving() as listener:
            assert await first(listener.port, offers, hello=True) == (confirmed, frames)


class Accepting(Sessions):
    """Accepts a connection before the proxy gets it, as an application may."""

    async def host(self, websocket: Any) -> None:
        if hasattr(websocket, "accept"):
            await websocket.accept()
        await super().host(websocket)


@pytest.mark.parametrize(
    ("server", "offers", "frames"),
    [
        ("FastAPI", [OFFER], "HELLO CREDIT"),
        ("a connection of trio-websocket", [OFFER], "json HELLO"),
        ("a connection of trio-websocket", None, "json HELLO"),
    ],
)
async def test_a_connection_that_was_accepted_before(
    server: str, offers: list[str] | None, frames: str
) -> None:
    """S-PROXY-6: it is not confirmed, and where no offer can be seen, Pipecat's format comes first."""
    with trio.fail_after(30):
        sessions = Accepting(Assistant())
        async with links.SERVERS[server](sessions) as port:
            assert await first(port, offers, hello=True) == (None, frames)
            sessions.over.set()


async def test_no_offer(autojump_clock: Any) -> None:
    """S-PROXY-6: without an offer, a server that would see it speaks Pipecat's format."""
    async with raw(offers=()) as (side, client):
        assert (await client.end.receive())[:1] == b"{"
        await client.say(said_hello())
        await trio.testing.wait_all_tasks_blocked()
        ((reason, _),) = side.letters.take()
        assert reason == "undecodable"


async def test_native_only(autojump_clock: Any) -> None:
    """S-PROXY-6: a server that was told to speaks natively to whoever comes."""
    async with raw(offers=(), dialect="native") as (side, client):
        await client.chunk(Kind.HELLO)
        assert side.proxy._transport.subprotocol is None


async def test_pipecat_only(autojump_clock: Any) -> None:
    """S-PROXY-6: a server that was told to does not speak natively, and confirms nothing."""
    async with raw(dialect="pipecat") as (side, client):
        assert (await client.end.receive())[:1] == b"{"
        assert side.proxy._transport.subprotocol is None


@pytest.mark.parametrize("early", [b'{"a": 1}', '{"a": 1}', chunks.write_token(Kind.PING, 1)])
async def test_what_comes_before_the_hello(early: bytes | str, autojump_clock: Any) -> None:
    """S-PROXY-6: it is left out."""
    async with raw() as (_, client):
        await client.chunk(Kind.HELLO)
        await client.say(early)
        await client.say(said_hello())
        await client.chunk(Kind.CREDIT)


async def test_who_may_connect() -> None:
    """S-PROXY-10: the statuses of the page."""
    statuses = []
    offer = f"Sec-WebSocket-Protocol: {OFFER}"
    with trio.fail_after(30):
        async with serving(authenticate=bearer_token("right")) as listener:
            for token in ((), ("Authorization: Bearer wrong",), ("Authorization: Bearer right",)):
                async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                    status, headers, _ = await knock(stream, offer, *token)
                    statuses.append((status, headers.get("sec-websocket-protocol")))
    assert statuses == [(401, None), (403, None), (101, OFFER)]


# Closing


async def close_ended(side: Side, client: Raw) -> None:
    """End it."""
    await side.proxy.end()


async def close_cancelled(side: Side, client: Raw) -> None:
    """Cancel it."""
    await side.proxy.cancel("enough")


async def close_deactivated(side: Side, client: Raw) -> None:
    """Deactivate it."""
    await side.worker("assistant").deactivate_worker("gateway")


async def close_text(side: Side, client: Raw) -> None:
    """Say something that is not binary."""
    await client.say("text")


async def close_hello_twice(side: Side, client: Raw) -> None:
    """Say hello once more."""
    await client.say(said_hello())


async def close_unreadable(side: Side, client: Raw) -> None:
    """Send more that cannot be read than anybody does by mistake."""
    await client.send(*[b"no JSON"] * 33)


@pytest.mark.parametrize(
    ("code", "close"),
    [
        (1000, close_ended),
        (1000, close_deactivated),
        (1001, close_cancelled),
        (1008, close_text),
        (1008, close_hello_twice),
        (1008, close_unreadable),
    ],
)
async def test_close_codes(code: int, close: Any, autojump_clock: Any) -> None:
    """S-PROXY-6, S-PROXY-9: the codes of the page, on an open link."""
    async with opened() as (side, client):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(close, side, client)
            assert (await client.closed()).code == code
        side.letters.take()


@pytest.mark.parametrize("said", [None, said_hello(version=0), said_hello(sent={})])
async def test_no_hello(said: bytes | None, autojump_clock: Any) -> None:
    """S-PROXY-6: a missing or bad hello closes with 1002, after 10 s at the latest."""
    async with raw() as (_, client):
        begun = trio.current_time()
        if said is not None:
            await client.say(said)
        assert (await client.closed()).code == 1002
        assert trio.current_time() - begun == pytest.approx(10.0 if said is None else 0.0)


async def test_too_long() -> None:
    """S-PROXY-4: a WebSocket message beyond the server's limit closes with 1009."""
    with trio.fail_after(30):
        async with serving() as listener, trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{listener.port}/"
            end = await open_client_transport(url, nursery=nursery, subprotocols=[OFFER])
            client = Raw(end)
            await client.say(said_hello(), bytes(2**20 + 1))
            assert (await client.closed()).code == 1009
            await end.abort()


async def test_silence(autojump_clock: Any) -> None:
    """S-PROXY-6: it asks after one heartbeat, and drops the connection after two."""
    async with opened() as (_, client):
        begun = trio.current_time()
        await client.chunk(Kind.PING)
        assert trio.current_time() - begun == pytest.approx(20.0)
        assert (await client.closed()).code == 1006
        assert trio.current_time() - begun == pytest.approx(40.0)


async def test_a_goodbye_is_not_answered(autojump_clock: Any) -> None:
    """S-PROXY-6: who has said goodbye closes."""
    async with opened() as (side, client):
        await client.say(chunks.write_json(Kind.GOODBYE, {"code": 1000, "reason": "done"}))
        with trio.move_on_after(15) as scope:
            await client.chunk(Kind.GOODBYE)
        assert scope.cancelled_caught
        assert side.proxy.connected
        await client.end.close(1000, "done")
        await side.proxy.wait_stopped()


def test_the_codes_of_the_page() -> None:
    """What is tested here is what the page says."""
    (table,) = re.findall(r"closes the connection with\n\n(.*?)\n\n", TEXT, re.DOTALL)
    codes = [int(code) for code in re.findall(r"^\| (\d{4}) \|", table, re.MULTILINE)]
    assert codes == [1000, 1001, 1002, 1008, 1009, 1011]


async def test_a_hook_that_fails(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """S-PROXY-1: a proxy that has failed closes with 1011."""
    end, far = memory_transports(64)
    end.offers = (OFFER,)
    proxy = LoggedServer(end)

    @proxy.event_handler("on_client_connected")
    async def fail(proxy: Worker, websocket: Any) -> None:
        raise ValueError("bug")

    client = Raw(far)
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with open_runner(Assistant(), proxy):
            await client.say(said_hello())
            assert (await client.closed()).code == 1011
            await trio.sleep_forever()
    await far.abort()


# Jobs


@pytest.mark.parametrize(
    ("fields", "status", "response"),
    [
        ({"payload": {"n": 1}}, "completed", {"n": 1}),
        ({}, "completed", {}),
        ({"job_name": "fail"}, "failed", {"error": "too late"}),
        ({"job_name": "fail", "payload": {"a": 1}}, "failed", {"a": 1}),
        ({"job_name": "crash"}, "error", {"error": "bug", "type": "ValueError"}),
        ({"job_name": "none"}, "error", "unknown job"),
        ({"job_name": "strict", "payload": []}, "error", "bad payload"),
    ],
    ids=str,
)
async def test_ends_of_jobs(
    fields: dict[str, Any], status: str, response: Any, autojump_clock: Any
) -> None:
    """S-JOB-2, S-PROXY-6: statuses and responses are those of the page."""
    async with opened() as (_, client):
        await client.send(request(**fields))
        got, said = await client.answer()
        assert got == status
        if isinstance(response, str):
            assert said.keys() == {"error", "refused", "detail"}
            assert said["refused"] == response
        else:
            assert said == response


async def test_a_worker_that_has_gone(autojump_clock: Any) -> None:
    """S-PROXY-3: its jobs end with an error that says so."""
    async with opened() as (side, client):
        await client.send(request(job_name="sleep"))
        await trio.testing.wait_all_tasks_blocked()
        await side.worker("assistant").cancel("enough")
        status, said = await client.answer()
        assert status == "error"
        assert said.keys() == {"error", "gone"}


@pytest.mark.parametrize(
    ("cancel", "response"),
    [
        (chunks.write_json(Kind.CANCEL, {"first": 1, "jobs": [["1", "why", "x", 1]]}), "why"),
        (chunks.write_json(Kind.CANCEL, {"first": 1, "jobs": [["1", None, "x"]]}), None),
        ({"job_id": "1", "reason": "why"}, "why"),
        ({"job_id": "1"}, None),
    ],
    ids=["reason", "no reason", "message", "message without"],
)
async def test_cancels(cancel: Any, response: str | None, autojump_clock: Any) -> None:
    """S-JOB-6, S-PROXY-6: a cancelled job ends with the reason, whichever way it was said."""
    async with opened() as (_, client):
        await client.send(request(job_name="sleep"))
        await trio.testing.wait_all_tasks_blocked()
        if isinstance(cancel, bytes):
            await client.say(cancel)
        else:
            data = {"source": "acme", "target": "assistant"} | cancel
            body = {"__type__": f"{BUS}BusJobCancelMessage", "__data__": data}
            await client.send(body, lane=Lane.SYSTEM)
        said = None if response is None else {"error": response}
        assert await client.answer() == ("cancelled", said)


async def test_a_cancel_message_that_is_early(autojump_clock: Any) -> None:
    """S-PROXY-6: a cancel as a message comes to nothing before its request; a CANCEL waits for it."""
    async with opened() as (_, client):
        data = {"source": "acme", "target": "assistant", "job_id": "1"}
        body = {"__type__": f"{BUS}BusJobCancelMessage", "__data__": data}
        await client.send(body, lane=Lane.SYSTEM)
        await client.send(request())
        assert await client.answer() == ("completed", {})
        said = {"first": 1, "jobs": [["2", "why", "x", 2]]}
        await client.say(chunks.write_json(Kind.CANCEL, said))
        await client.send(request(job_id="2", job_name="sleep"))
        assert await client.answer() == ("cancelled", {"error": "why"})


@pytest.mark.parametrize(
    ("end", "error"),
    [
        ({"status": "completed", "response": {"a": 1}}, None),
        ({"status": "completed"}, None),
        ({"status": "failed", "response": {"error": "why"}}, JobFailedError),
        ({"status": "error", "response": {"error": "why"}}, JobRemoteError),
        ({"status": "error", "response": {"error": "why", "refused": "busy"}}, JobRefusedError),
        ({"status": "error", "response": {"error": "why", "gone": "why"}}, WorkerGoneError),
        ({"status": "cancelled"}, JobCancelledError),
        ({"status": "great"}, JobRemoteError),
        ({}, JobRemoteError),
    ],
    ids=str,
)
async def test_a_client_that_is_asked(
    end: dict[str, Any], error: type[Exception] | None, autojump_clock: Any
) -> None:
    """S-PROXY-6: it need not announce itself; its end of the job is understood, or fails the job."""
    async with opened() as (side, client), trio.open_nursery() as nursery:

        async def ask() -> None:
            assistant = side.worker("assistant")
            if error is None:
                with trio.fail_after(30):
                    assert await assistant.ask("acme", "any") == end.get("response", {})
            else:
                with pytest.raises(error), trio.fail_after(30):
                    await assistant.ask("acme", "any")

        nursery.start_soon(ask)
        unit = await client.chunk(Kind.ENVELOPE)
        assert unit.lane is Lane.DATA
        meta, body = chunks.split_whole(unit.piece)
        assert 0 < meta["seconds"] <= 30
        asked = json.loads(body)["__data__"]
        assert (asked["source"], asked["target"]) == ("assistant", "acme")
        data = {"source": "acme", "target": "assistant", "job_id": asked["job_id"]} | end
        answer = {"__type__": f"{BUS}BusJobResponseMessage", "__data__": data}
        await client.send(answer, lane=Lane.REPLY)


async def test_a_deadline(autojump_clock: Any) -> None:
    """S-JOB-6: the time that is left runs from arrival on."""
    async with opened() as (_, client):
        meta = {"seconds": 5, "trace": {"traceparent": "00-1"}}
        whole = chunks.whole(meta, json.dumps(request(job_name="sleep")).encode())
        begun = trio.current_time()
        await client.say(chunks.write_envelope(Lane.DATA, 1, whole))
        assert await client.answer() == ("cancelled", {"error": "a deadline has passed"})
        assert trio.current_time() - begun == pytest.approx(5.0)


# What is not taken

NOTE = {"__type__": "Note", "__data__": {"source": "acme", "target": "assistant", "text": "x"}}
END = {"job_id": "2", "source": "acme", "target": "assistant"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"no JSON", "undecodable"),
        ([], "undecodable"),
        (NOTE | {"more": 1}, "undecodable"),
        (NOTE | {"__type__": "Unknown"}, "undecodable"),
        (request(more=1), "undecodable"),
        (request(job_id=None), "undecodable"),
        (request(job_id=1), "undecodable"),
        (request(job_id="x" * 129), "undecodable"),
        (request(payload="\ud800"), "undecodable"),
        (request(source="other"), "refused"),
        (request(target="other"), "refused"),
        (request(target=None), "refused"),
        *(
            ({"__type__": f"{BUS}{name}", "__data__": NOTE["__data__"]}, "undecodable")
            for name in ("BusAddWorkerMessage", "BusWorkerLocalErrorMessage")
        ),
        *(
            (
                {
                    "__type__": f"{BUS}{name}",
                    "__data__": {"source": "acme", "target": "assistant"},
                },
                "refused",
            )
            for name in re.findall(r"`(Bus(?:End|Cancel)\w*)`", TEXT)
        ),
        (
            {
                "__type__": f"{BUS}BusWorkerRegistryMessage",
                "__data__": {
                    "runner": "shop",
                    "workers": [
                        {
                            "__type__": "pipecat.registry.types.WorkerRegistryEntry",
                            "__data__": {"name": "somebody"},
                        }
                    ],
                },
            },
            "refused",
        ),
        (
            {
                "__type__": f"{BUS}BusJobResponseMessage",
                "__data__": END | {"status": "completed"},
            },
            "late reply",
        ),
        ({"__type__": f"{BUS}BusJobUpdateMessage", "__data__": END}, "late reply"),
        (NOTE, "unhandled"),
    ],
    ids=lambda each: str(each)[-60:],
)
async def test_what_is_not_taken(body: Any, reason: str, autojump_clock: Any) -> None:
    """S-PROXY-2, S-PROXY-4: each is the dead letter of the page, and not answered; the link lives."""
    async with opened() as (side, client):
        await client.send(body if isinstance(body, bytes) else json.dumps(body).encode())
        await client.send(request(job_id="after"))
        assert await client.answer() == ("completed", {})
        ((found, _),) = side.letters.take()
        assert found == reason


async def test_an_end_that_says_cancelled(autojump_clock: Any) -> None:
    """S-PROXY-2: it is nothing at all, if there is no such job."""
    async with opened() as (side, client):
        data = END | {"status": "cancelled"}
        await client.send({"__type__": f"{BUS}BusJobResponseMessage", "__data__": data})
        await client.send(request(job_id="after"))
        await client.answer()
        assert side.letters.take() == []


async def test_an_id_that_is_taken(autojump_clock: Any) -> None:
    """S-PROXY-2: the second request is refused without an answer, and the first one goes on."""
    async with opened() as (side, client):
        await client.send(request(job_name="sleep"))
        await client.send(request())
        await trio.testing.wait_all_tasks_blocked()
        ((reason, _),) = side.letters.take()
        assert reason == "refused"
        said = {"first": 1, "jobs": [["1", "why", "x", 1]]}
        await client.say(chunks.write_json(Kind.CANCEL, said))
        assert await client.answer() == ("cancelled", {"error": "why"})


async def test_any_lane_will_do(autojump_clock: Any) -> None:
    """S-PROXY-6: who receives goes by the type."""
    async with opened() as (_, client):
        for lane in Lane:
            await client.send(request(payload={"lane": lane.name}), lane=lane)
            assert await client.answer() == ("completed", {"lane": lane.name})
