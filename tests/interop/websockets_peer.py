"""`websockets` from PyPI as a client or server, driven by JSON lines.

Runs in an environment that has websockets 17.4: `websockets_peer.py client URL` or
`websockets_peer.py server`, which writes {"port": ...} first.  Reads {"send": text, "binary":
bool}, {"close": code} and {"abort": true}; writes {"open": subprotocol}, {"got": text, "binary":
bool} and {"closed": code, "reason": text}.  A server serves one connection after the other.
"""

# pyright: reportMissingImports=false

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

LIFE = 120
"""Seconds after which the process ends whatever happens."""


def say(**line: Any) -> None:
    """Tell the test something."""
    print(json.dumps(line), flush=True)


async def listen(websocket: Any) -> None:
    """Tell everything that comes in."""
    say(open=websocket.subprotocol, token=websocket.request.headers.get("x-token"))
    try:
        while True:
            data = await websocket.recv()
            binary = isinstance(data, bytes)
            say(got=data.decode() if isinstance(data, bytes) else data, binary=binary)
    except ConnectionClosed:
        say(closed=websocket.close_code, reason=websocket.close_reason)


async def obey(websocket: Any, order: dict[str, Any]) -> None:
    """Do what a line says."""
    match order:
        case {"send": text, "binary": binary}:
            await websocket.send(text.encode() if binary else text)
        case {"close": code}:
            await websocket.close(code)
        case {"abort": _}:
            websocket.transport.abort()


async def orders() -> AsyncIterator[dict[str, Any]]:
    """Yield what the lines of the input say, until it ends."""
    reader = asyncio.StreamReader(limit=2**24)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        yield json.loads(line)


async def client(url: str) -> None:
    """Connect and talk."""
    headers = {"x-token": "s3cret"}
    async with connect(url, additional_headers=headers, max_size=2**24) as websocket:
        listening = asyncio.create_task(listen(websocket))
        async for order in orders():
            await obey(websocket, order)
    await listening


async def server() -> None:
    """Serve and talk to whoever came last."""
    connections: list[Any] = []

    async def handle(websocket: Any) -> None:
        connections.append(websocket)
        await listen(websocket)

    async with serve(handle, "127.0.0.1", 0, max_size=2**24) as serving:
        say(port=serving.sockets[0].getsockname()[1])
        async for order in orders():
            await obey(connections[-1], order)


if __name__ == "__main__":
    signal.alarm(LIFE)
    asyncio.run(client(sys.argv[2]) if sys.argv[1] == "client" else server())
