"""Connections that are over before there is a link."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Note
from tests.proxies.links import SERVERS, Server, reset
from tests.proxies.pairs import Far, LoggedServer, connecting, guarded, served
from tests.proxies.serving import request
from tests.proxies.sockets import Sessions
from tests.proxies.test_server import activate, settle, shy
from trioworkers import BusActivateWorkerMessage, Worker, handles, open_runner
from trioworkers.proxies._anteroom import EARLY_MESSAGES
from trioworkers.proxies._frames import binary_frame
from trioworkers.proxies._proxy import HANDSHAKE_SECONDS, HEARTBEAT
from trioworkers.proxies._transport import LinkClosed
from trioworkers.testing import Probe

each_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
UPGRADE = request().replace(b"/path?query", b"/ws")


class Keeper(Worker):
    """Keeps what it gets."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.got: list[int] = []

    @handles(Note)
    async def keep(self, note: Note) -> None:
        self.got.append(note.n)


async def wait_for_ever(proxy: Worker, websocket: Any) -> None:
    """Wait in an event."""
    await trio.sleep_forever()


@each_server
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_leaving_an_inactive_proxy(server: Server, how: str) -> None:
    """S-PROXY-1: an inactive proxy stops when its client leaves, accepted or not."""
    sessions = Sessions(Probe("assistant"), active=False)
    async with server(sessions) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(UPGRADE)
            side = await sessions.side()
            if server is SERVERS["a connection of trio-websocket"]:
                assert b"101" in await stream.receive_some()
                await stream.send_all(binary_frame(b"early", mask=True) * 30)
            await trio.testing.wait_all_tasks_blocked(0.02)
            if how == "reset":
                reset(stream)
        with trio.fail_after(5):
            await side.proxy.wait_stopped()
        assert side.proxy.events == []
        sessions.over.set()


@each_server
async def test_leaving_while_the_event_runs(server: Server) -> None:
    """S-PROXY-1: a client that leaves while on_client_connected waits for it stops the proxy."""
    sessions = Sessions(Probe("assistant"), active=False)
    async with server(sessions) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await stream.send_all(UPGRADE)
            side = await sessions.side()
            side.proxy.event_handler("on_client_connected")(wait_for_ever)
            await activate(side)
            with trio.fail_after(5):
                assert b"101" in await stream.receive_some()
            await stream.send_all(binary_frame(b"early", mask=True) * 30)
            await trio.testing.wait_all_tasks_blocked(0.02)
        with trio.fail_after(5):
            await side.proxy.wait_stopped()
        assert side.proxy.events == ["connected", "disconnected"]
        sessions.over.set()


async def test_what_comes_early_is_kept(autojump_clock: Any) -> None:
    """S-PROXY-5: what comes while the event runs, or before, arrives behind it, in order."""
    keeper = Keeper("assistant")
    async with served(keeper, capacity=1, active=False) as (side, far):
        seen: list[int] = []

        @side.proxy.event_handler("on_client_connected")
        async def linger(proxy: Worker, websocket: Any) -> None:
            await trio.sleep(5)
            seen.extend(keeper.got)

        for n in range(20):
            await far.tell(Note, n=n)
        await activate(side)
        for n in range(20, 40):
            await far.tell(Note, n=n)
        assert trio.current_time() == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(far.until_closed)
            await trio.sleep(6)
            assert keeper.got == [*range(40)]
            assert seen == []
            await side.runner.end_worker("gateway")


async def test_what_a_client_said_that_has_left_is_not_taken(autojump_clock: Any) -> None:
    """S-PROXY-1: when the event was cut off, nothing of that client gets to the local worker."""
    keeper = Keeper("assistant")
    async with served(keeper, active=False) as (side, far):
        side.proxy.event_handler("on_client_connected")(wait_for_ever)
        await activate(side)
        await far.tell(Note, n=1)
        await settle()
        await far.end.close(1000, "bye")
        await side.proxy.wait_stopped()
        assert "the link is lost: 1000 bye, closed by peer" in str(side.proxy.stop_reason)
        assert side.proxy.events == ["connected", "disconnected"]
        assert keeper.got == []
        assert side.runner.bus.route("acme") is None


@pytest.mark.parametrize("active", [False, True])
async def test_too_much_that_comes_early(active: bool, autojump_clock: Any) -> None:
    """S-PROXY-5: what is kept has a bound; a client that has filled it is sent away."""
    async with served(Probe("assistant"), active=False) as (side, far):
        side.proxy.event_handler("on_client_connected")(wait_for_ever)
        if active:
            await activate(side)

        async def flood() -> None:
            with pytest.raises(LinkClosed):
                while True:
                    await far.tell(Note)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            await settle()
            assert len(side.proxy._room.kept) == EARLY_MESSAGES
            end = await far.until_closed()
            assert (end.code, end.reason) == (1008, "too many messages before there was a link")
            assert trio.current_time() == HEARTBEAT
        await side.proxy.wait_stopped()


@pytest.mark.parametrize("active", [False, True])
async def test_a_silent_peer_before_the_link(active: bool, autojump_clock: Any) -> None:
    """S-PROXY-9: a peer that is not there any more is found out before there is a link, too."""
    async with served(Probe("assistant"), active=False) as (side, far):
        side.proxy.event_handler("on_client_connected")(wait_for_ever)
        if active:
            await activate(side)
        await trio.sleep(90)
        assert side.proxy.events == ["connected"] * active
        far.end.freeze()
        await side.proxy.wait_stopped()
        assert trio.current_time() == 100 + HEARTBEAT
        assert "no answer to a ping for 20.0 s" in str(side.proxy.stop_reason)


@pytest.mark.parametrize("activated_at", [None, 6])
async def test_the_handshake_has_one_limit(activated_at: Any, autojump_clock: Any) -> None:
    """S-PROXY-1: a client waits 10 seconds for the accept at most, also for an inactive proxy."""
    end, far = shy(1000)
    proxy = LoggedServer(end, active=False)
    async with guarded(), open_runner(Probe("assistant"), proxy) as runner:
        if activated_at is not None:
            await trio.sleep(activated_at)
            await runner.send(BusActivateWorkerMessage(target="gateway"))
        await proxy.wait_stopped()
        assert trio.current_time() == HANDSHAKE_SECONDS
        assert "no handshake within 10.0 s" in str(proxy.stop_reason)
        assert proxy.events == []
        assert (await Far(far).until_closed()).code == 1006


async def test_an_event_of_a_client_is_cut_off(autojump_clock: Any) -> None:
    """S-PROXY-9: a link that is lost while on_connected runs is made again."""
    async with connecting(Probe("acme")) as (side, network):
        waits = [True, False]

        @side.proxy.event_handler("on_connected")
        async def linger(proxy: Worker, websocket: Any) -> None:
            if waits.pop(0):
                await trio.sleep_forever()

        first = await network.far()
        await settle()
        await first.end.abort()
        second = await network.far()
        await second.announce()
        await side.runner.registry.wait_ready("assistant")
        assert side.proxy.what == ["connected", "disconnected", "connected"]
