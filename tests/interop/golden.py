"""Messages as two real Pipecat 1.14.0 processes wrote them, and the conversation they are from.

`converse_as_client` and `converse_as_server` play the part of one of those processes, byte for
byte, to whoever stands on the other side; `Assistant` and `Acme` are the workers that the other
side needs for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

import attrs
import pytest
import trio

from tests.interop.parts import Serving
from trioworkers import (
    BusFrameMessage,
    BusTTSSpeakMessage,
    FrameDirection,
    Job,
    JobFailed,
    JobFailedError,
    Worker,
    handles,
    job,
)

REGISTRY = '{"__type__":"pipecat.bus.messages.BusWorkerRegistryMessage","__data__":{"id":8,"name":"BusWorkerRegistryMessage#2","source":"gateway","runner":"runner-39d3398a","workers":[{"__type__":"pipecat.registry.types.WorkerRegistryEntry","__data__":{"name":"assistant","active":false,"bridged":false}}]}}'
ACTIVATE = '{"__type__":"pipecat.bus.messages.BusActivateWorkerMessage","__data__":{"id":11,"name":"BusActivateWorkerMessage#1","source":"acme","target":"assistant","args":{"metadata":{"greeting":"hello"}}}}'
DEACTIVATE = '{"__type__":"pipecat.bus.messages.BusDeactivateWorkerMessage","__data__":{"id":82,"name":"BusDeactivateWorkerMessage#0","source":"acme","target":"assistant"}}'
REQUEST = '{"__type__":"pipecat.bus.messages.BusJobRequestMessage","__data__":{"id":18,"name":"BusJobRequestMessage#3","source":"acme","target":"assistant","job_id":"610ee5db-ee77-42b6-b670-f54f2a853ae9","job_name":"count","payload":{"n":4}}}'
UNNAMED_REQUEST = '{"__type__":"pipecat.bus.messages.BusJobRequestMessage","__data__":{"id":16,"name":"BusJobRequestMessage#2","source":"acme","target":"assistant","job_id":"31d2852a-80c7-4325-98a3-0987d5226a67"}}'
UPDATE = '{"__type__":"pipecat.bus.messages.BusJobUpdateMessage","__data__":{"id":17,"name":"BusJobUpdateMessage#0","source":"assistant","target":"acme","job_id":"610ee5db-ee77-42b6-b670-f54f2a853ae9","update":{"i":0}}}'
URGENT_UPDATE = '{"__type__":"pipecat.bus.messages.BusJobUpdateUrgentMessage","__data__":{"id":23,"name":"BusJobUpdateUrgentMessage#0","source":"assistant","target":"acme","job_id":"cb91249a-d6fa-485f-8b7c-1eb8ed5dd8e8","update":{"u":1}}}'
RESPONSE = '{"__type__":"pipecat.bus.messages.BusJobResponseMessage","__data__":{"id":21,"name":"BusJobResponseMessage#3","source":"assistant","target":"acme","job_id":"610ee5db-ee77-42b6-b670-f54f2a853ae9","status":"completed","response":{"counted":4}}}'
URGENT_RESPONSE = '{"__type__":"pipecat.bus.messages.BusJobResponseUrgentMessage","__data__":{"id":24,"name":"BusJobResponseUrgentMessage#0","source":"assistant","target":"acme","job_id":"cb91249a-d6fa-485f-8b7c-1eb8ed5dd8e8","status":"completed","response":{"urgent":true}}}'
FAILED = '{"__type__":"pipecat.bus.messages.BusJobResponseMessage","__data__":{"id":32,"name":"BusJobResponseMessage#4","source":"assistant","target":"acme","job_id":"5bc93b58-5adb-4fcd-883f-b2b712aee8de","status":"failed","response":{"why":"business"}}}'
CANCELLED = '{"__type__":"pipecat.bus.messages.BusJobResponseMessage","__data__":{"id":46,"name":"BusJobResponseMessage#8","source":"assistant","target":"acme","job_id":"8544ae9a-fa73-4a6d-a837-3fc82a69faa8","status":"cancelled"}}'
UPDATE_REQUEST = '{"__type__":"pipecat.bus.messages.BusJobUpdateRequestMessage","__data__":{"id":58,"name":"BusJobUpdateRequestMessage#0","source":"acme","target":"assistant","job_id":"637e23d6-b15e-4665-9654-1ef129e34bad"}}'
CANCEL = '{"__type__":"pipecat.bus.messages.BusJobCancelMessage","__data__":{"id":49,"name":"BusJobCancelMessage#3","source":"acme","target":"assistant","job_id":"60e44161-6294-4d41-9b5f-490ab9763856","reason":"timeout"}}'
STREAM_START = '{"__type__":"pipecat.bus.messages.BusJobStreamStartMessage","__data__":{"id":26,"name":"BusJobStreamStartMessage#0","source":"assistant","target":"acme","job_id":"639b25fb-69e1-4da8-aa68-f89974dd75fd","data":{"n":3}}}'
STREAM_DATA = '{"__type__":"pipecat.bus.messages.BusJobStreamDataMessage","__data__":{"id":27,"name":"BusJobStreamDataMessage#0","source":"assistant","target":"acme","job_id":"639b25fb-69e1-4da8-aa68-f89974dd75fd","data":{"i":0}}}'
STREAM_END = '{"__type__":"pipecat.bus.messages.BusJobStreamEndMessage","__data__":{"id":30,"name":"BusJobStreamEndMessage#0","source":"assistant","target":"acme","job_id":"639b25fb-69e1-4da8-aa68-f89974dd75fd","data":{"total":3}}}'
FRAME = '{"__type__":"pipecat.bus.messages.BusFrameMessage","__data__":{"id":64,"name":"BusFrameMessage#0","source":"acme","target":"assistant","frame":{"__type__":"pipecat.frames.frames.TextFrame","__data__":{"id":63,"name":"TextFrame#0","metadata":{},"interruptible":true,"text":"hello frame","includes_inter_frame_spaces":false,"append_to_context":true}},"direction":{"__type__":"pipecat.processors.frame_processor.FrameDirection","__data__":"DOWNSTREAM"},"bridge":"voice"}}'
SPEAK = '{"__type__":"pipecat.bus.messages.BusTTSSpeakMessage","__data__":{"id":74,"name":"BusTTSSpeakMessage#0","source":"assistant","target":"acme","text":"say this","append_to_context":true}}'

_JOB_ID = re.compile(r'"job_id":"([^"]*)"')
# What differs between two runs of the same program; and what an announcement says beyond the name,
# which Pipecat's proxy leaves at the defaults.
_COUNTED = [
    (re.compile(r'"id":\d+'), '"id":0'),
    (re.compile(r'#\d+"'), '#0"'),
    (re.compile(r'"runner":"[^"]*"'), '"runner":"R"'),
    (re.compile(r'"active":(true|false),"bridged":false(,"started_at":[0-9.]+)?'), '"active":A'),
]


@attrs.frozen
class TextFrame:
    """Pipecat's, with all that it writes."""

    wire_name: ClassVar[str] = "pipecat.frames.frames.TextFrame"

    id: int = 0
    name: str = "TextFrame#0"
    metadata: dict[str, Any] = attrs.Factory(dict)
    interruptible: bool = True
    text: str = ""
    includes_inter_frame_spaces: bool = False
    append_to_context: bool = True


class Peer(Protocol):
    """One end of a connection."""

    async def send(self, text: str) -> None:
        """Send a frame, text or binary as this peer does."""
        ...

    async def receive(self) -> str:
        """Return the next frame."""
        ...


def masked(text: str) -> str:
    """Replace what is counted or drawn by lot, except a job's id."""
    for pattern, replacement in _COUNTED:
        text = pattern.sub(replacement, text)
    return text


def job_of(text: str) -> str:
    """Return the id of a message's job."""
    found = _JOB_ID.search(text)
    assert found, text
    return found.group(1)


def for_job(text: str, job_id: str) -> str:
    """Return the message for another job."""
    return _JOB_ID.sub(f'"job_id":"{job_id}"', text)


def turned(text: str) -> str:
    """Return the message from the other side."""
    there, back = '"source":"acme","target":"assistant"', '"source":"assistant","target":"acme"'
    assert there in text
    return text.replace(there, back)


async def next_of(peer: Peer) -> str:
    """Return the next message, which must not be long in coming."""
    with trio.fail_after(30):
        return await peer.receive()


async def expect(peer: Peer, *texts: str) -> None:
    """Receive these messages in this order."""
    for text in texts:
        try:
            found = await next_of(peer)
        except trio.TooSlowError as error:
            error.add_note(f"while waiting for {text}")
            raise
        # Said at length: pytest explains only the asserts of test modules.
        assert masked(found) == masked(text), f"\ngot      {found}\nexpected {text}"


def with_i(text: str, numbers: Iterable[int]) -> list[str]:
    """Return a message that carries a number once for each number."""
    return [text.replace('{"i":0}', f'{{"i":{i}}}') for i in numbers]


# Pipecat's client speaks, our server answers.


class Assistant(Serving):
    """Answers as the real assistant did when the messages were recorded."""

    def __init__(self) -> None:
        super().__init__("assistant", active=False)
        self.activations: list[Any] = []

    async def on_activated(self, args: dict[str, Any] | None) -> None:
        self.activations.append(args)
        await self.send(BusTTSSpeakMessage(target="acme", text="say this"))

    async def on_deactivated(self) -> None:
        await self.send(BusTTSSpeakMessage(target="acme", text="that was all"))

    async def on_job_update_requested(self, job: Job) -> None:
        await job.update({"i": 0})

    @handles(BusFrameMessage, bridge="voice")
    async def frame(self, message: BusFrameMessage) -> None:
        answer = BusFrameMessage(
            target="acme", frame=message.frame, direction=message.direction, bridge="voice"
        )
        await self.send(answer)

    @job()
    async def fail(self, job: Job, request: dict[str, Any] | None) -> None:
        raise JobFailed("for a reason of its own", response={"why": "business"})

    @job()
    async def sleep(self, job: Job, request: dict[str, Any] | None) -> None:
        await job.update({"i": 0})
        await trio.sleep_forever()


def request(name: str, payload: str | None, job_id: str) -> str:
    """Return a request as Pipecat writes it."""
    text = for_job(REQUEST.replace('"count"', f'"{name}"'), job_id)
    return text.replace(',"payload":{"n":4}', f',"payload":{payload}' if payload else "")


async def converse_as_client(peer: Peer) -> None:
    """Play Pipecat's client to an `Assistant` behind a server proxy of the name `gateway`."""
    await expect(peer, REGISTRY)
    await peer.send(ACTIVATE)
    await expect(peer, SPEAK)

    await peer.send(REQUEST)
    await expect(peer, *with_i(UPDATE, range(4)), RESPONSE)

    job_id = job_of(URGENT_UPDATE)
    await peer.send(request("urgent", None, job_id))
    await expect(peer, URGENT_UPDATE)
    # Pipecat's worker chose to answer urgently; a handler of ours answers in order.
    answer = RESPONSE.replace('{"counted":4}', '{"urgent":true}')
    await expect(peer, for_job(answer, job_id))

    await peer.send(request("stream", '{"n":3}', job_of(STREAM_START)))
    await expect(peer, STREAM_START, *with_i(STREAM_DATA, range(3)), STREAM_END)

    await peer.send(request("fail", None, job_of(FAILED)))
    await expect(peer, FAILED)

    job_id = job_of(CANCEL)
    await peer.send(request("sleep", None, job_id))
    await expect(peer, for_job(UPDATE, job_id))
    await peer.send(for_job(UPDATE_REQUEST, job_id))
    await expect(peer, for_job(UPDATE, job_id))
    await peer.send(CANCEL)
    told = for_job(CANCELLED, job_id).replace(
        '"cancelled"}', '"cancelled","response":{"error":"timeout"}}'
    )
    await expect(peer, told)

    # Pipecat's worker would never answer this one.
    await peer.send(UNNAMED_REQUEST)
    refusal = await next_of(peer)
    assert job_of(refusal) == job_of(UNNAMED_REQUEST)
    assert '"status":"error"' in refusal

    await peer.send(FRAME)
    assert masked(await next_of(peer)) == masked(turned(FRAME))

    await peer.send(DEACTIVATE)
    await expect(peer, SPEAK.replace("say this", "that was all"))


# Pipecat's server answers, our client speaks.


class Acme(Worker):
    """Asks what the real `acme` asked, in the same order."""

    def __init__(self) -> None:
        super().__init__("acme")
        self.heard, self.hears = trio.open_memory_channel[Any](100)

    @handles(BusTTSSpeakMessage)
    async def on_speech(self, message: BusTTSSpeakMessage) -> None:
        await self.heard.send(message.text)

    @handles(BusFrameMessage)
    async def on_frame(self, message: BusFrameMessage) -> None:
        await self.heard.send((message.frame.text, message.direction.name, message.bridge))

    async def events_of(self, name: str, payload: dict[str, Any] | None) -> tuple[list[Any], Any]:
        """Do a job; return its events and its response."""
        async with self.job("assistant", name, payload) as pending:
            events = [(event.type, event.data) async for event in pending]
        return events, pending.response

    async def converse(self) -> None:
        """Ask for everything."""
        await self.activate_worker("assistant", args={"metadata": {"greeting": "hello"}})
        assert await self.hears.receive() == "say this"

        events, response = await self.events_of("count", {"n": 4})
        assert events == [("update", {"i": i}) for i in range(4)]
        assert response == {"counted": 4}

        assert await self.events_of("urgent", None) == ([("update", {"u": 1})], {"urgent": True})

        events, response = await self.events_of("stream", {"n": 3})
        assert [kind for kind, _ in events] == ["stream_start", *3 * ["stream_data"], "stream_end"]
        assert [data for _, data in events] == [{"n": 3}, *({"i": i} for i in range(3)), response]
        assert response == {"total": 3}

        with pytest.raises(JobFailedError) as caught:
            await self.ask("assistant", "fail")
        assert caught.value.status == "failed"
        assert caught.value.response == {"why": "business"}

        with trio.CancelScope() as scope:
            async with self.job("assistant", "sleep") as pending:
                asked = False
                async for event in pending:
                    assert event.data == {"i": 0}
                    if asked:
                        scope.cancel(reason="timeout")
                    else:
                        await pending.request_update()
                        asked = True
        assert scope.cancelled_caught

        frame = TextFrame(id=63, text="hello frame")
        await self.send(
            BusFrameMessage(
                target="assistant",
                frame=frame,
                direction=FrameDirection.DOWNSTREAM,
                bridge="voice",
            )
        )
        assert await self.hears.receive() == ("hello frame", "DOWNSTREAM", "voice")

        await self.deactivate_worker("assistant")
        assert await self.hears.receive() == "that was all"


async def receive_request(peer: Peer, name: str, payload: str | None) -> str:
    """Receive a request; return the id of its job."""
    text = await next_of(peer)
    job_id = job_of(text)
    assert masked(text) == masked(request(name, payload, job_id))
    return job_id


async def expect_announcement(peer: Peer) -> None:
    """Receive the announcement of `acme` by a client proxy of the name `proxy`.

    Pipecat's client announces nobody, and its server takes an announcement only with a target.
    """
    text = REGISTRY.replace('"gateway"', '"proxy"').replace('"assistant"', '"acme"')
    await expect(peer, text.replace(',"runner"', ',"target":"assistant","runner"'))


async def converse_as_server(peer: Peer) -> None:
    """Play Pipecat's server to an `Acme` behind a client proxy, from its connection on."""
    await peer.send(REGISTRY)
    await expect_announcement(peer)
    await expect(peer, ACTIVATE)
    await peer.send(SPEAK)

    job_id = await receive_request(peer, "count", '{"n":4}')
    for text in (*with_i(UPDATE, range(4)), RESPONSE):
        await peer.send(for_job(text, job_id))

    job_id = await receive_request(peer, "urgent", None)
    for text in (URGENT_UPDATE, URGENT_RESPONSE):
        await peer.send(for_job(text, job_id))

    # Pipecat's worker answers with the end of the stream.
    job_id = await receive_request(peer, "stream", '{"n":3}')
    for text in (STREAM_START, *with_i(STREAM_DATA, range(3)), STREAM_END):
        await peer.send(for_job(text, job_id))

    job_id = await receive_request(peer, "fail", None)
    await peer.send(for_job(FAILED, job_id))

    job_id = await receive_request(peer, "sleep", None)
    await peer.send(for_job(UPDATE, job_id))
    await expect(peer, for_job(UPDATE_REQUEST, job_id))
    await peer.send(for_job(UPDATE, job_id))
    await expect(peer, for_job(CANCEL, job_id))
    await peer.send(for_job(CANCELLED, job_id))

    await expect(peer, FRAME)
    await peer.send(turned(FRAME))

    await expect(peer, DEACTIVATE)
    await peer.send(SPEAK.replace("say this", "that was all"))
