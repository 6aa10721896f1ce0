"""Links with a process that has the older names on the wire."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Server
from tests.proxies.pairs import connecting, pair
from trioworkers import (
    BusActivateWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    BusTTSSpeakMessage,
    BusWorkerErrorMessage,
    JobRemoteError,
    JobStatus,
    JSONMessageSerializer,
    LocalWireError,
    Worker,
)

OLDER = JSONMessageSerializer(names="subagents")


class Listener(JSONMessageSerializer):
    """Keeps the tags of what it writes."""

    def __init__(self) -> None:
        super().__init__(names="subagents")
        self.tags: list[str] = []

    def serialize(self, message: BusMessage) -> bytes:
        data = super().serialize(message)
        self.tags.append(json.loads(data)["__type__"].rpartition(".")[2])
        return data


async def test_a_link_with_older_names(autojump_clock: Any) -> None:
    """S-PROXY-7: announcements, jobs and activations cross with the older names."""
    near_words, far_words = Listener(), Listener()
    async with pair(
        lambda: Worker("acme"),
        lambda: Server("assistant"),
        client={"serializer": near_words},
        server={"serializer": far_words},
    ) as (near, far):
        acme, assistant = near.runner.get_worker("acme"), far.runner.get_worker("assistant")
        assert acme is not None
        assert isinstance(assistant, Server)
        assert await acme.ask("assistant", "echo", {"n": 2}) == {"n": 2}
        await acme.activate_worker("assistant", args={})
        await assistant.send(BusWorkerErrorMessage(target="acme", error="none"))
        await trio.testing.wait_all_tasks_blocked()
    assert near_words.tags == [
        "BusAgentRegistryMessage",
        "BusTaskRequestMessage",
        "BusActivateAgentMessage",
    ]
    assert far_words.tags == [
        "BusAgentRegistryMessage",
        "BusTaskResponseMessage",
        "BusAgentErrorMessage",
    ]


async def test_a_message_that_has_no_older_name(autojump_clock: Any) -> None:
    """S-PROXY-4: the sender of what does not exist over there learns it, and the link lives."""
    async with connecting(Worker("acme"), serializer=OLDER) as (side, network):
        far = await network.far()
        far.serializer = OLDER
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        acme = side.runner.get_worker("acme")
        assert acme is not None
        with pytest.raises(LocalWireError, match="a BusTTSSpeakMessage has no older name"):
            await acme.send(BusTTSSpeakMessage(target="assistant", text="hi"))
        await acme.activate_worker("assistant", args={})
        await far.hear(BusActivateWorkerMessage)


async def test_an_unreadable_older_answer(autojump_clock: Any) -> None:
    """S-PROXY-4: an older answer that cannot be read fails its job at once."""
    async with connecting(Worker("acme"), serializer=OLDER) as (side, network):
        far = await network.far()
        far.serializer = OLDER
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        acme = side.runner.get_worker("acme")
        assert acme is not None
        outcomes: list[Any] = []

        async def ask() -> None:
            with pytest.raises(JobRemoteError, match="its answer cannot be read") as caught:
                await acme.ask("assistant", "count", {"n": 1})
            outcomes.append(caught.value)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            request = await far.hear(BusJobRequestMessage)
            answer = BusJobResponseMessage(
                source="assistant",
                target="acme",
                job_id=request.job_id,
                status=JobStatus.COMPLETED,
                response={},
            )
            await far.say(OLDER.serialize(answer).replace(b'"response"', b'"answer"'))
        assert len(outcomes) == 1
