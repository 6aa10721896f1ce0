"""The assistant: a FastAPI application that gives each connection a runner of its own.

    pip install '.[asgi]' fastapi
    python examples/remote_assistant/assistant.py --port 8765

Then start main.py in another terminal.  Ctrl-C stops the server, whatever its clients do.  Port 0
lets the system choose one, which is printed.
"""

from __future__ import annotations

import argparse
import signal
import sys
from typing import cast

import attrs
import trio
from fastapi import FastAPI, WebSocket
from hypercorn.config import Config
from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.typing import ASGIFramework

from trioworkers import (
    BusFrameMessage,
    FrameDirection,
    Job,
    JobFailed,
    JSONMessageSerializer,
    Worker,
    WorkerRunner,
    handles,
    job,
)
from trioworkers.proxies import WebSocketProxyServer, open_guarded_listener

PRICES = {"anvil": 120, "rope": 15, "spring": 8}
ANSWERS = {"open": "We are open from 9 to 17.", "deliver": "We deliver anywhere, in two days."}


# main.py has a class of the same name.  Over the link a frame is known by that name only, and
# nothing but the frames that a serializer lists can come in.
@attrs.frozen
class TextFrame:
    text: str


# What a peer sends is checked against these classes before a worker sees it.
@attrs.frozen
class Instruction:
    role: str
    content: str


@attrs.frozen
class Briefing:
    messages: tuple[Instruction, ...] = ()


@attrs.frozen
class Order:
    items: tuple[str, ...]


@attrs.frozen
class Quote:
    total: int


class Assistant(Worker):
    def __init__(self) -> None:
        super().__init__("assistant", active=False)

    async def on_activated(self, args: Briefing | None) -> None:
        for instruction in (args or Briefing()).messages:
            print(f"told: {instruction.content}")
        welcome = TextFrame("Welcome to Acme. What can I do for you?")
        await self.send(
            BusFrameMessage(
                target="acme", frame=welcome, direction=FrameDirection.DOWNSTREAM, bridge="voice"
            )
        )

    @handles(BusFrameMessage, bridge="voice")
    async def listen(self, message: BusFrameMessage) -> None:
        asked = message.frame.text.lower()
        known = (answer for word, answer in ANSWERS.items() if word in asked)
        answer = TextFrame(next(known, "I do not know."))
        # A reply goes to whoever spoke, over the same bridge.
        await self.send(message.reply(answer, FrameDirection.DOWNSTREAM))

    @job()
    async def quote(self, job: Job, order: Order) -> Quote:
        total = 0
        for item in order.items:
            if item not in PRICES:
                raise JobFailed(f"we do not sell {item!r}")
            await trio.sleep(0.1)  # looking it up
            total += PRICES[item]
            await job.update({"item": item, "price": PRICES[item]})
        return Quote(total)


app = FastAPI()


@app.websocket("/ws")
async def session(websocket: WebSocket) -> None:
    runner = WorkerRunner(handle_sigint=False)
    gateway = WebSocketProxyServer(
        "gateway",
        websocket=websocket,
        worker_name="assistant",
        remote_worker_name="acme",
        forward_messages=(BusFrameMessage,),
        serializer=JSONMessageSerializer(frames=(TextFrame,)),
    )

    @gateway.event_handler("on_client_connected")
    async def on_client_connected(proxy: WebSocketProxyServer, websocket: WebSocket) -> None:
        print("a client has connected")

    @gateway.event_handler("on_client_disconnected")
    async def on_client_disconnected(proxy: WebSocketProxyServer, websocket: WebSocket) -> None:
        print("a client has gone")
        await runner.cancel("the client has gone")

    await runner.add_workers(gateway, Assistant())
    await runner.run()


async def wait_for_signal() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


async def main(port: int) -> None:
    config = Config()
    # After a signal, seconds for sessions to end by themselves.
    config.graceful_timeout = 1.0
    # Under an ASGI server these two are the server's business: it reads the messages.
    config.websocket_max_message_size = 2**20
    config.websocket_ping_interval = 20.0
    async with open_guarded_listener("127.0.0.1", port) as listener:
        config.bind = [listener.bind]
        print(f"listening at ws://127.0.0.1:{listener.port}/ws")
        await serve(cast("ASGIFramework", app), config, shutdown_trigger=wait_for_signal)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve the assistant.")
    parser.add_argument("--port", type=int, default=8765)
    try:
        trio.run(main, parser.parse_args().port)
    except* (OSError, ValueError) as group:
        sys.exit(f"cannot serve: {group.exceptions[0]}")
