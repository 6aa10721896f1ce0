"""Bare trio-websocket: how fast the same JSON crosses between two processes when nobody has to be told what it means.

The same texts in the same frames, made by `json` and read by it, one frame for each message, sent when it is made; or, in `packed`,
many in one frame: each is made, written, read and looked at by itself, and a frame leaves when it is full, so that none could be
fuller. There are no workers, no names, no checks, no bounds and no table of jobs.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, open_websocket_url, serve_websocket

from . import proxy_side, side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_websocket import WebSocketConnection

    from .side import Figures

ID = "610ee5db-ee77-42b6-b670-f54f2a853ae9"
# As in trioworkers: with trio-websocket's own 4 KiB, big messages are several times as slow.
READ = 65_536

FRAME = 65_536
"""How many bytes a frame of packed messages has at most."""

LENGTH = struct.Struct("!I")
"""What stands before each packed message."""

write = json.JSONEncoder(separators=(",", ":")).encode
read = json.JSONDecoder().decode


def tick(n: int, body: dict[str, Any]) -> bytes:
    """Write a message."""
    head = {"id": n, "name": f"Tick#{n}", "source": "acme", "target": "assistant"}
    return write({"__type__": "__main__.Tick", "__data__": {**head, "n": n, "body": body}}).encode()


def job(kind: str, n: int, payload: dict[str, Any]) -> bytes:
    """Write a request or a response."""
    head = {"id": n, "name": f"{kind}#{n}", "source": "acme", "target": "assistant", "job_id": ID}
    data = {**head, "job_name": "echo", "payload": payload}
    return write({"__type__": f"pipecat.bus.messages.{kind}", "__data__": data}).encode()


def linked(measure: Callable[[WebSocketConnection], Any], form: str = "single") -> Figures:
    """Measure over a connection with the other process, which reads frames of that form."""

    async def main(port: int) -> Figures:
        url = f"ws://127.0.0.1:{port}/ws"
        async with open_websocket_url(url, receive_buffer_size=READ) as websocket:
            figures: Figures = await measure(websocket)
        return figures

    with proxy_side.other_process(form) as port:
        return trio.run(main, port)


def one_way(count: int, body: str) -> Figures:
    """Send messages to the other process."""
    carried = proxy_side.body(body)

    async def flood(websocket: WebSocketConnection, count: int) -> float:
        started = time.perf_counter()
        for n in reversed(range(count)):
            await websocket.send_message(tick(n, carried))
        await websocket.get_message()
        return (time.perf_counter() - started) / count

    async def measure(websocket: WebSocketConnection) -> Figures:
        await flood(websocket, max(1, count // proxy_side.WARM_UP))
        return {"message": await flood(websocket, count)}

    return linked(measure)


def packed(count: int, body: str) -> Figures:
    """Send messages to the other process, as many in a frame as it holds."""
    carried = proxy_side.body(body)

    async def flood(websocket: WebSocketConnection, count: int) -> float:
        started = time.perf_counter()
        said: list[bytes] = []
        size = 0
        for n in reversed(range(count)):
            message = tick(n, carried)
            longer = size + LENGTH.size + len(message)
            if longer > FRAME and said:
                await websocket.send_message(b"".join(said))
                said, longer = [], LENGTH.size + len(message)
            size = longer
            said += (LENGTH.pack(len(message)), message)
        await websocket.send_message(b"".join(said))
        await websocket.get_message()
        return (time.perf_counter() - started) / count

    async def measure(websocket: WebSocketConnection) -> Figures:
        await flood(websocket, max(1, count // proxy_side.WARM_UP))
        return {"message": await flood(websocket, count)}

    return linked(measure, "packed")


def unpacked(frame: bytes) -> Iterator[bytes]:
    """Yield the messages of a frame."""
    place = 0
    while place < len(frame):
        (length,) = LENGTH.unpack_from(frame, place)
        place += LENGTH.size
        yield frame[place : place + length]
        place += length


def ask(count: int, body: str) -> Figures:
    """Send a request and wait for its response, again and again."""
    carried = proxy_side.body(body)

    async def timed(websocket: WebSocketConnection, n: int) -> float:
        started = time.perf_counter()
        await websocket.send_message(job("BusJobRequestMessage", n, carried))
        read(str(await websocket.get_message(), "utf-8"))  # type: ignore[arg-type]
        return time.perf_counter() - started

    async def measure(websocket: WebSocketConnection) -> Figures:
        for n in range(count // proxy_side.WARM_UP):
            await timed(websocket, n)
        return side.percentiles([await timed(websocket, n) for n in range(count)])

    return linked(measure)


def serve(form: str) -> None:
    """Answer requests, and the last one of many messages, until the input ends."""

    async def take(websocket: WebSocketConnection, message: bytes) -> None:
        data = read(str(message, "utf-8"))["__data__"]
        if "payload" in data:
            response = job("BusJobResponseMessage", data["id"], data["payload"])
            await websocket.send_message(response)
        elif not data["n"]:
            await websocket.send_message(b"")

    async def handle(request: WebSocketRequest) -> None:
        websocket = await request.accept()
        try:
            while True:
                frame: Any = await websocket.get_message()
                if form == "single":
                    await take(websocket, frame)
                    continue
                for message in unpacked(frame):
                    await take(websocket, message)
        except ConnectionClosed:
            pass

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            serving = partial(
                serve_websocket, handle, "127.0.0.1", 0, None, receive_buffer_size=READ
            )
            server = await nursery.start(serving)
            proxy_side.tell_port(server.port)
            await trio.to_thread.run_sync(sys.stdin.read)
            nursery.cancel_scope.cancel()

    trio.run(main)


if __name__ == "__main__":
    cases = {"one_way": one_way, "packed": packed, "ask": ask}
    proxy_side.main(serve, cases, ["trio", "trio-websocket", "wsproto"])
