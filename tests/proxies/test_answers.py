"""Answers that a peer does not read: they are counted, also in bytes."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio

from tests.proxies.attackers import frame
from tests.proxies.portals import peer_of
from tests.proxies.serving import request, serving
from trioworkers import BusJobRequestMessage, BusJobResponseMessage, Job, JobStatus, Worker, job
from trioworkers import JSONMessageSerializer as Serializer
from trioworkers.proxies import IncomingConnection, WebSocketProxyServer
from trioworkers.proxies._deliveries import ANSWER_BYTES, ANSWER_LIMIT

MUCH = 1_000_000


class Talker(Worker):
    """Answers at length, once so many have asked."""

    def __init__(self, name: str, many: int = 1) -> None:
        super().__init__(name, max_concurrent_jobs=many)
        self.many = many
        self.enough = trio.Event()

    @job()
    async def talk(self, job: Job, payload: dict[str, Any]) -> dict[str, str]:
        """Answer."""
        del job, payload
        self.many -= 1
        if self.many <= 0:
            self.enough.set()
        await self.enough.wait()
        return {"text": "x" * MUCH}


async def test_who_does_not_read_long_answers_gets_no_more(autojump_clock: Any) -> None:
    """S-PROXY-5: requests are refused while many bytes of answers wait, and only then."""
    async with peer_of(Talker("acme")) as peer:
        for number in range(30):
            peer.request("talk", {}, f"r-{number}")
            await trio.testing.wait_all_tasks_blocked()
        heard = [each for each in await peer.heard() if isinstance(each, BusJobResponseMessage)]
        said = {each.job_id: each for each in heard}
        many = 1 + ANSWER_BYTES // MUCH
        assert [said[f"r-{number}"].status for number in range(many)] == (
            [JobStatus.COMPLETED] * many
        )
        refused = [said[f"r-{number}"].response for number in range(many, 30)]
        assert all("too many bytes of answers" in str(each) for each in refused), refused
        peer.request("talk", {}, "again")
        assert (await peer.hear(BusJobResponseMessage)).status == JobStatus.COMPLETED
        assert peer.clean()


async def test_an_answer_is_held_once(autojump_clock: Any) -> None:
    """S-PROXY-5: what waits to leave is the frame, and not what was said in it as well."""
    async with peer_of(Talker("acme")) as peer:
        peer.request("talk", {})
        await trio.testing.wait_all_tasks_blocked()
        (packed,) = peer.portal.outbox.disconnect()[-1:]
        assert isinstance(packed, BusJobResponseMessage)
        assert (packed.job_id, packed.response) == ("r-1", None)


async def test_jobs_that_were_let_in_before(caplog: pytest.LogCaptureFixture) -> None:
    """S-PROXY-5: many jobs asked at once cannot answer without end: the link is closed, 1008."""
    gateways: list[WebSocketProxyServer] = []

    async def build(websocket: IncomingConnection) -> list[Worker]:
        gateways.append(
            WebSocketProxyServer(
                "gateway", websocket=websocket, worker_name="talker", remote_worker_name="acme"
            )
        )
        return [*gateways, Talker("talker", len(ask))]

    caplog.set_level(logging.INFO, "trioworkers")
    ask = [
        BusJobRequestMessage(
            source="acme", target="talker", job_id=str(n), job_name="talk", payload={}
        )
        for n in range(20 + ANSWER_LIMIT // MUCH)
    ]
    async with serving(build) as listener:
        stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
        async with stream:
            await stream.send_all(request())
            await stream.receive_some()
            await stream.send_all(b"".join(frame(Serializer().serialize(each)) for each in ask))
            with trio.fail_after(30):
                await gateways[0].wait_stopped()
    lost = [line for line in caplog.messages if "has lost" in line]
    assert len(lost) == 1
    assert "1008" in lost[0]
    assert "bytes of answers wait to leave, closed by us" in lost[0]
