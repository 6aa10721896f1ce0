"""`websockets` from PyPI as a client of our server, and as a server for our client."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.interop import foreign, golden
from tests.interop.ours import client_proxy
from tests.interop.peers import WEBSOCKETS, WebSocketPeer, need, peer_process, script
from trioworkers import Backoff, WorkerGoneError, open_runner

need(WEBSOCKETS)

SCRIPT = (WEBSOCKETS.python, script("websockets_peer.py"))
CLIENT = (*SCRIPT, "client")


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_recorded_conversation_with_our_server(text: bool) -> None:
    """S-PROXY-7, S-PROXY-5: a foreign client is understood, in binary and in text frames."""
    await foreign.check_conversation(*CLIENT, text=text)


@pytest.mark.parametrize("order", [{"close": 1001}, {"abort": True}], ids=str)
async def test_client_lost_in_mid_job(order: dict[str, Any]) -> None:
    """S-PROXY-3: a foreign client that leaves in mid-job has its job cancelled."""
    await foreign.check_loss(*CLIENT, order=order)


async def test_sizes() -> None:
    """S-PROXY-4: messages of all sizes up to the limit pass, and no bigger ones."""
    await foreign.check_sizes(*CLIENT)


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_recorded_conversation_with_our_client(text: bool) -> None:
    """S-PROXY-7, S-PROXY-5: a foreign server is understood, in binary and in text frames."""
    with trio.fail_after(30):
        async with peer_process(*SCRIPT, "server") as process:
            port = (await process.line())["port"]
            peer = WebSocketPeer(process, text=text)
            acme = golden.Acme()
            proxy = client_proxy(f"ws://127.0.0.1:{port}/ws", golden.TextFrame)
            async with trio.open_nursery() as nursery, open_runner(acme, proxy) as runner:
                await acme.activate_worker("proxy")
                await peer.opened()
                nursery.start_soon(golden.converse_as_server, peer)
                await runner.registry.wait_ready("assistant")
                await acme.converse()
            assert await peer.closed() == 1000


@pytest.mark.parametrize("order", [{"close": 1001}, {"close": 1011}, {"abort": True}], ids=str)
async def test_server_lost_in_mid_job(order: dict[str, Any]) -> None:
    """S-PROXY-3, S-PROXY-9: a job over a lost link fails; the next link works again."""
    events: list[str] = []
    with trio.fail_after(30):
        async with peer_process(*SCRIPT, "server") as process:
            port = (await process.line())["port"]
            peer, acme = WebSocketPeer(process), golden.Acme()
            proxy = client_proxy(
                f"ws://127.0.0.1:{port}/ws",
                golden.TextFrame,
                active=True,
                reconnect=Backoff(initial=0, jitter=0),
            )

            @proxy.event_handler("on_connected")
            async def connected(proxy: Any, websocket: Any) -> None:
                events.append("connected")

            @proxy.event_handler("on_disconnected")
            async def disconnected(proxy: Any, websocket: Any) -> None:
                events.append("disconnected")

            async def ask() -> None:
                with pytest.raises(WorkerGoneError):
                    await acme.ask("assistant", "sleep")
                assert "assistant" not in runner.registry

            async with open_runner(acme, proxy) as runner:
                await peer.opened()
                await golden.expect_announcement(peer)
                await peer.send(golden.REGISTRY)
                await runner.registry.wait_ready("assistant")
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask)
                    await golden.receive_request(peer, "sleep", None)
                    await process.tell(**order)
                # In whichever order: the old connection has ended, the new one begun and announced.
                lines = [await process.line() for _ in range(3)]
                assert {key for line in lines for key in line} >= {"closed", "open", "got"}
                await peer.send(golden.REGISTRY)
                await runner.registry.wait_ready("assistant")
                assert events == ["connected", "disconnected", "connected"]
            assert events == 2 * ["connected", "disconnected"]
