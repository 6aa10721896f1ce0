"""How the two sides of a new connection find out what they speak."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Note, Server
from tests.proxies import links
from tests.proxies.pairs import KNOWN, Far, LoggedServer, Side, connecting, ends, guarded, pair
from trioworkers import (
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusWorkerRegistryMessage,
    JSONMessageSerializer,
    RemoteWireError,
    Worker,
    open_runner,
)
from trioworkers.proxies._native import SUBPROTOCOL, is_hello
from trioworkers.proxies._proxy import HANDSHAKE_SECONDS
from trioworkers.proxies.server import UNDECIDED
from trioworkers.testing import Probe
from trioworkers.wire.chunks import Kind, Lane, write_json, write_messages
from trioworkers.wire.session import Speaker

pytestmark = [pytest.mark.usefixtures("dialect"), links.NATIVE_ONLY]

HELLO_TWICE = "HELLO from a side that is TALKING"


@asynccontextmanager
async def meeting(
    offers: tuple[str, ...] | None, **settings: Any
) -> AsyncGenerator[tuple[Side, Far]]:
    """Run a server whose client has offered this, or may have; it has said nothing yet."""
    end, far = ends()
    end.offers = offers
    settings.setdefault("serializer", JSONMessageSerializer(messages=KNOWN))
    proxy = LoggedServer(end, **settings)
    async with guarded(), open_runner(Server("assistant"), proxy) as runner:
        yield Side(runner, proxy), Far(far)
    await far.abort()


async def works(far: Far) -> None:
    """Check that the local worker can be asked."""
    await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={"n": 1})
    assert (await far.hear(BusJobResponseMessage)).response == {"n": 1}


def pipecat(far: Far) -> Far:
    """Let the peer speak Pipecat's dialect."""
    far.native = None
    return far


# The server


async def test_an_offer_is_confirmed(autojump_clock: Any) -> None:
    """S-PROXY-6: a server that sees the offer confirms it, and speaks natively at once."""
    async with meeting((SUBPROTOCOL, "other")) as (side, far):
        assert is_hello(await far.end.receive())
        assert side.proxy._transport.subprotocol == SUBPROTOCOL


@pytest.mark.parametrize("offers", [(), ("chat",)])
async def test_no_offer(offers: tuple[str, ...], autojump_clock: Any) -> None:
    """S-PROXY-6: without the offer a server speaks Pipecat's dialect from its first frame."""
    async with meeting(offers) as (side, far):
        assert isinstance(await pipecat(far).next(), BusWorkerRegistryMessage)
        assert side.proxy._transport.subprotocol is None
        await works(far)


async def test_offers_that_are_unknown_and_a_hello(autojump_clock: Any) -> None:
    """S-PROXY-6: a server that cannot know begins in Pipecat's format, and changes for a hello."""
    async with meeting(None) as (_, far):
        first = await far.end.receive()
        assert isinstance(far.serializer.deserialize(first), BusWorkerRegistryMessage)
        await far.hail()
        assert is_hello(await far.end.receive())


async def test_offers_that_are_unknown_and_a_client_that_leaves_out_the_rest(
    autojump_clock: Any,
) -> None:
    """S-PROXY-6: a native client does not mind what came before the hello."""
    async with meeting(None) as (side, far):
        await works(far)
        assert side.letters.take() == []
        assert trio.current_time() == 0


async def test_offers_that_are_unknown_and_a_message(autojump_clock: Any) -> None:
    """S-PROXY-6: a first frame that is no hello counts, and the worker is announced once."""
    async with meeting(None) as (side, far):
        pipecat(far)
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={"n": 1})
        assert isinstance(await far.next(), BusWorkerRegistryMessage)
        assert isinstance(await far.next(), BusJobResponseMessage)
        assert side.proxy.connected
        assert trio.current_time() == 0


async def test_offers_that_are_unknown_and_silence(autojump_clock: Any) -> None:
    """S-PROXY-6: a peer that says nothing for a second is taken for a Pipecat process."""
    async with meeting(None) as (side, far):
        await trio.sleep(UNDECIDED / 2)
        assert not side.proxy.connected
        await trio.sleep(UNDECIDED / 2 + 0.001)
        assert side.proxy.connected
        # Too late.
        await far.hail()
        await trio.testing.wait_all_tasks_blocked()
        assert [reason for reason, _ in side.letters.take()] == ["undecodable"]
        await works(pipecat(far))


async def test_offers_that_are_unknown_and_no_worker_yet(autojump_clock: Any) -> None:
    """S-PROXY-6: a worker that comes later is announced later, whatever was found out."""
    end, far_end = ends()
    end.offers = None
    proxy = LoggedServer(end)
    async with guarded(), open_runner(proxy) as runner:
        await trio.sleep(2)
        assert proxy.connected
        await runner.add_workers(Probe("assistant"))
        assert isinstance(await pipecat(Far(far_end)).next(), BusWorkerRegistryMessage)
    await far_end.abort()


async def test_a_connection_that_ends_undecided(autojump_clock: Any) -> None:
    """S-PROXY-6, S-PROXY-9: it may be over before it is known what it speaks."""
    async with meeting(None) as (side, far):
        await far.end.receive()
        await far.end.close(1001, "changed my mind")
        await side.proxy.wait_stopped()
        assert "1001 changed my mind" in str(side.proxy.stop_reason)
        assert side.proxy.events == []


async def test_a_native_server_and_a_client_of_pipecats(autojump_clock: Any) -> None:
    """S-PROXY-6: a server that is to speak natively sends away who does not."""
    async with meeting((), dialect="native") as (side, far):
        assert is_hello(await far.end.receive())
        pipecat(far)
        await far.announce()
        end = await far.until_closed()
        assert end.code == 1002
        assert end.reason == f"no hello within {HANDSHAKE_SECONDS} s"
        assert trio.current_time() == HANDSHAKE_SECONDS
        await side.proxy.wait_stopped()
        assert "no hello within" in str(side.proxy.stop_reason)


async def test_a_native_server_without_an_offer(autojump_clock: Any) -> None:
    """S-PROXY-6: it needs no offer to speak natively."""
    async with meeting((), dialect="native") as (_, far):
        await works(far)


async def test_a_server_of_pipecats_dialect(autojump_clock: Any) -> None:
    """S-PROXY-7: a server that is to speak Pipecat's dialect confirms no offer."""
    async with meeting((SUBPROTOCOL,), dialect="pipecat") as (side, far):
        await works(pipecat(far))
        assert side.proxy._transport.subprotocol is None


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"\x01\x00\x00\x00\x02{}", "a hello that cannot be read"),
        (b"\x01\x00\x00\x00\x02", "HELLO of 2 bytes at byte 0 goes beyond the end"),
        (b"\x01", "no chunk at byte 0"),
    ],
)
async def test_a_hello_that_is_none(frame: bytes, says: str, autojump_clock: Any) -> None:
    """S-PROXY-6: a hello that breaks the rules is told so, with the rule."""
    async with meeting((SUBPROTOCOL,)) as (_, far):
        await far.end.send([frame])
        far.native = None
        end = await far.until_closed()
        assert end.code == 1002
        assert says in end.reason


async def test_garbage_before_the_hello(autojump_clock: Any) -> None:
    """S-PROXY-6: what comes before a hello is left out, and a goodbye is no hello."""
    async with meeting((SUBPROTOCOL,)) as (side, far):
        goodbye = write_json(Kind.GOODBYE, {"code": 1000, "reason": ""})
        await far.end.send([b"garbage", b"", b"\xff", goodbye])
        await far.end.send_text("text")
        await works(far)
        assert side.letters.take() == []


async def test_a_goodbye_behind_the_hello(autojump_clock: Any) -> None:
    """S-PROXY-6: who says hello and goodbye at once has been there."""
    async with meeting((SUBPROTOCOL,)) as (side, far):
        assert far.native is not None
        far.native.session.close(4000, "only looking")
        await far.hail()
        while far.native.session.ours is not Speaker.GONE:
            await far.listen()
        await far.end.close(4000, "only looking")
        await side.proxy.wait_stopped()
        assert "4000 only looking" in str(side.proxy.stop_reason)


async def test_a_goodbye_in_the_frame_of_the_hello(autojump_clock: Any) -> None:
    """S-PROXY-6: who has heard our hello may have nothing to say but goodbye."""
    async with meeting((SUBPROTOCOL,)) as (side, far):
        assert far.native is not None
        far.native.hear(await far.end.receive())
        far.native.session.close(4000, "not you")
        await far.hail()
        assert far.native.session.ours is Speaker.GONE
        await trio.testing.wait_all_tasks_blocked()
        assert side.proxy._life.farewell
        await far.end.close(4000, "not you")
        await side.proxy.wait_stopped()


async def test_messages_in_the_frame_of_the_hello(autojump_clock: Any) -> None:
    """S-PROXY-6: who has heard our hello may say more in the frame of its own."""
    async with meeting((SUBPROTOCOL,)) as (_, far):
        assert far.native is not None
        far.native.hear(await far.end.receive())
        # A cancel needs no credit, and so may be in the first frame.
        far.native.cancel("1", "never mind", "acme", 1)
        (first, *_) = far.native.frames()
        assert is_hello(first)
        await far.end.send([first])
        await far.tell(BusJobRequestMessage, job_id="1", job_name="hang", payload={})
        assert (await far.hear(BusJobResponseMessage)).status == "cancelled"


# Once it is open


async def test_a_second_hello(autojump_clock: Any) -> None:
    """S-PROXY-6: a peer that says hello twice breaks the rules, and is told which."""
    async with meeting((SUBPROTOCOL,)) as (_, far):
        assert far.native is not None
        (hello,) = far.native.frames()
        await far.end.send([hello, hello])
        end = await far.until_closed()
        assert (end.code, end.reason) == (1008, HELLO_TWICE)


async def test_a_text_message(autojump_clock: Any) -> None:
    """S-PROXY-6: all frames of the native dialect are binary."""
    async with meeting((SUBPROTOCOL,)) as (_, far):
        await works(far)
        await far.end.send_text("hello")
        end = await far.until_closed()
        assert (end.code, end.reason) == (1008, "a text message in the native dialect: 'hello'")


async def test_a_peer_that_takes_more_than_it_was_given(autojump_clock: Any) -> None:
    """S-PROXY-6: a peer that breaks the rules of credit is told which one."""
    async with meeting((SUBPROTOCOL,), credit=2) as (side, far):
        assert far.native is not None
        await works(far)
        body = far.serializer.serialize(Note(source="acme", target="assistant"))
        far.native.lanes.clear()
        await far.end.send([write_messages(Lane.DATA, 2, [body] * 3)])
        end = await far.until_closed()
        assert end.code == 1008
        assert "credit" in end.reason
        await side.proxy.wait_stopped()


# The client


async def test_a_client_and_a_server_that_is_not_native(autojump_clock: Any, caplog: Any) -> None:
    """S-PROXY-6: a native client gives up a Pipecat server after its timeout, and tries again."""
    settings: dict[str, Any] = {"dialect": "native", "handshake_timeout": 3}
    async with connecting(Probe("acme"), **settings) as (side, network):
        for _ in range(2):
            far = pipecat(Far(await network.accept(), "assistant", "acme"))
            await far.announce()
            assert (await far.until_closed()).code == 1006
        assert network.attempts == [0, 4]
        assert side.proxy.events == []
    assert "is not native: no hello within 3 s" in caplog.text


async def test_a_client_that_tries_once(autojump_clock: Any) -> None:
    """S-PROXY-6: with reconnect=None that is the proxy's failure, and says what to do."""
    with pytest.RaisesGroup(
        pytest.RaisesExc(RemoteWireError, match='is not native: .* dialect="pipecat"'),
        flatten_subgroups=True,
    ):
        async with connecting(Worker("acme"), dialect="native", reconnect=None):
            await trio.sleep_forever()


@pytest.mark.parametrize("frame", [b"\x01\x00\x00\x00\x02{}", b"\x01"])
async def test_a_server_whose_hello_is_none(frame: bytes, autojump_clock: Any, caplog: Any) -> None:
    """S-PROXY-6: a server whose hello breaks the rules is tried again like any that fails."""
    async with connecting(Probe("acme"), dialect="native") as (side, network):
        end = await network.accept()
        await end.send([frame])
        await network.accept()
        assert side.proxy.events == []
        assert network.attempts == [0, 1]
    assert "no link in the native dialect" in caplog.text


@pytest.mark.parametrize("server", ["auto", "native"])
async def test_both_of_ours(server: str, autojump_clock: Any) -> None:
    """S-PROXY-6: two of ours speak natively without being told."""
    near, far = Server("acme"), Server("assistant")
    async with pair(lambda: near, lambda: far, server={"dialect": server}) as (one, two):
        assert one.proxy._portal._credit is not None
        assert two.proxy._portal._credit is not None
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert await far.ask("acme", "echo", {"n": 2}) == {"n": 2}
