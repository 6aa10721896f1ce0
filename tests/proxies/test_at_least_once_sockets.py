"""`delivery="at_least_once"` over real sockets, which are reset, and with a process that stands still."""

from __future__ import annotations

import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio

from tests.proxies import links
from tests.proxies.lasting import Party, Sessions, all_crossed, serializer, until
from tests.proxies.pairs import Side
from tests.proxies.relays import Relay, relay
from trioworkers import Backoff, Worker, open_runner
from trioworkers.proxies import WebSocketProxyClient, continue_session, serve_proxies

CUTS = 15


@asynccontextmanager
async def client(port: int) -> AsyncGenerator[tuple[Side, Party]]:
    """Run a party whose session goes on."""
    near = Party("acme", "assistant", random.Random(8))
    near.pace = 0.01
    proxy = WebSocketProxyClient(
        "proxy",
        url=f"ws://127.0.0.1:{port}/ws",
        local_worker_name="acme",
        remote_worker_name="assistant",
        active=True,
        serializer=serializer(),
        delivery="at_least_once",
        heartbeat=0.5,
        handshake_timeout=1.0,
        reconnect=Backoff(initial=0.01, maximum=0.05),
        transport=links.CARRIER,
    )
    async with open_runner(near, proxy) as runner:
        with trio.fail_after(20):
            await runner.registry.wait_ready("assistant")
        yield Side(runner, proxy), near


async def cut_often(way: Relay, side: Side) -> None:
    """Reset the connection, somewhere in the midst of what it carries, again and again."""
    chance = random.Random(9)
    for number in range(CUTS):
        reached = trio.Event()
        chance.choice([way.up, way.down]).allow(chance.randrange(100, 30_000), reached.set)
        await reached.wait()
        way.cut()
        way.allow_all()
        await until(lambda number=number: side.proxy.link_statistics().resumed > number // 2)


async def over_a_bad_line(port: int, made: list[Party]) -> None:
    """Let both sides talk while their connection is reset, and see that all has crossed."""
    with trio.fail_after(60):
        async with relay(port) as way, client(way.port) as (side, near):
            (far,) = made
            async with trio.open_nursery() as nursery:
                nursery.start_soon(near.talk)
                nursery.start_soon(far.talk)
                await cut_often(way, side)
                near.busy = far.busy = False
            await all_crossed(near, far)
            await all_crossed(far, near)
            assert side.letters.take() == []
            assert side.proxy.link_statistics().sent_again > 0
            assert len(made) == 1


@pytest.mark.usefixtures("carrier")
async def test_serve_proxies() -> None:
    """S-PROXY-8: through resets of a real connection nothing is lost, repeated or reordered."""
    sessions = Sessions()
    async with trio.open_nursery() as nursery:
        serve = partial(serve_proxies, sessions.build, transport=links.CARRIER, max_connections=1)
        listener = await nursery.start(serve, "127.0.0.1", 0)
        await over_a_bad_line(listener.port, sessions.made)
        nursery.cancel_scope.cancel()


async def test_a_web_application() -> None:
    """S-PROXY-8: under Hypercorn, `continue_session` hands a new connection to its proxy."""
    fastapi: Any = pytest.importorskip("fastapi")
    sessions = Sessions()
    app = fastapi.FastAPI()

    async def endpoint(websocket: Any) -> None:
        connection = await continue_session(websocket)
        if connection is None:
            return
        gateway, party = sessions.workers(connection)
        async with open_runner(party, gateway):
            await gateway.wait_stopped()

    endpoint.__annotations__ = {"websocket": fastapi.WebSocket}
    app.websocket("/ws")(endpoint)
    async with links.hypercorn(app) as listener:
        await over_a_bad_line(listener.port, sessions.made)


async def test_a_process_that_stands_still() -> None:
    """S-PROXY-8: a server that is stopped for longer than two heartbeats goes on with its session."""
    command = [sys.executable, "-m", "tests.proxies.lasting"]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(
            partial(trio.run_process, command, stdout=subprocess.PIPE, check=False)
        )
        assert process.stdout is not None
        with trio.fail_after(60):
            port = int(await process.stdout.receive_some(100))
            async with client(port) as (side, near):
                async with trio.open_nursery() as talking:
                    talking.start_soon(near.talk)
                    for number in (1, 2):
                        await until(lambda: near.outcomes.total() >= 5)
                        near.outcomes.clear()
                        os.kill(process.pid, signal.SIGSTOP)
                        await until(lambda: not side.proxy.connected)
                        os.kill(process.pid, signal.SIGCONT)
                        await until(
                            lambda number=number: side.proxy.link_statistics().resumed >= number
                        )
                    near.busy = False
                assert side.letters.take() == []
                assert set(near.outcomes.values()) <= {1}
        process.kill()


async def test_sessions_that_wait_keep_their_places(caplog: pytest.LogCaptureFixture) -> None:
    """S-PROXY-10: a client that comes back gets in where all places are taken; a new one does not."""
    caplog.set_level(logging.INFO, "trioworkers")
    sessions = Sessions()
    async with trio.open_nursery() as nursery:
        serve = partial(serve_proxies, sessions.build, max_connections=1)
        listener = await nursery.start(serve, "127.0.0.1", 0)
        with trio.fail_after(20):
            async with client(listener.port) as (side, near):
                stranger = WebSocketProxyClient(
                    "stranger",
                    url=f"ws://127.0.0.1:{listener.port}/",
                    local_worker_name="acme",
                    remote_worker_name="other",
                    active=True,
                    reconnect=None,
                )
                async with open_runner(Worker("acme"), stranger) as runner:
                    with pytest.raises(trio.TooSlowError), trio.fail_after(0.5):
                        await runner.registry.wait_ready("other")
                assert "too many sessions" in caplog.text
                await near.ask_for_work("1")
                assert side.proxy.connected
                assert len(sessions.made) == 1
        nursery.cancel_scope.cancel()
