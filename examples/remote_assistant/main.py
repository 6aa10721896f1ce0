"""The client of the assistant: it asks, prints the answers, and ends.

    pip install .
    python examples/remote_assistant/main.py --remote-url ws://localhost:8765/ws anvil rope

Start assistant.py in another terminal before.  The items are what it asks a price for.  Ctrl-C
ends it early; pressed again, it cancels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from trioworkers import (
    BusFrameMessage,
    FrameDirection,
    JobFailedError,
    JSONMessageSerializer,
    RemoteWireError,
    StopReason,
    Worker,
    WorkerGoneError,
    WorkerReadyData,
    WorkerRunner,
    handles,
)
from trioworkers.proxies import WebSocketProxyClient

DONE = "everything was asked"


@attrs.frozen
class TextFrame:
    text: str


class Acme(Worker):
    def __init__(self, items: Sequence[str]) -> None:
        super().__init__("acme")
        self.items = items
        self.questions = ["When do you open?", "Do you like music?"]

    async def on_start(self) -> None:
        # The proxy connects when it is activated.
        await self.activate_worker("proxy")

    @handles(BusFrameMessage, bridge="voice")
    async def hear(self, message: BusFrameMessage) -> None:
        print(f"assistant: {message.frame.text}")
        if self.questions:
            question = TextFrame(self.questions.pop(0))
            print(f"acme: {question.text}")
            await self.send(message.reply(question, FrameDirection.UPSTREAM))
        else:
            await self.ask_for_a_price()
            await self.end(DONE)

    async def ask_for_a_price(self) -> None:
        try:
            with trio.fail_after(10):
                async with self.job("assistant", "quote", {"items": self.items}) as pending:
                    async for event in pending:
                        print(f"assistant: {event.data}")
        except JobFailedError as error:
            print(f"assistant: {error.reason}")
        except trio.TooSlowError:
            print("no price within 10 seconds")
        else:
            print(f"total: {pending.response['total']}")


def link_to(url: str) -> WebSocketProxyClient:
    return WebSocketProxyClient(
        "proxy",
        url=url,
        local_worker_name="acme",
        remote_worker_name="assistant",
        forward_messages=(BusFrameMessage,),
        serializer=JSONMessageSerializer(frames=(TextFrame,)),
        # One attempt: if it fails, so does the proxy, and run() raises the error.  Without this
        # argument it would try again until there is a server.
        reconnect=None,
    )


async def main(proxy: WebSocketProxyClient, items: Sequence[str]) -> StopReason:
    runner = WorkerRunner()
    acme = Acme(items)

    async def on_assistant_ready(data: WorkerReadyData) -> None:
        instruction = {"role": "developer", "content": "Welcome the user."}
        await acme.activate_worker("assistant", args={"messages": [instruction]})

    await runner.registry.watch("assistant", on_assistant_ready)

    @proxy.event_handler("on_connected")
    async def on_connected(proxy: WebSocketProxyClient, websocket: Any) -> None:
        print("connected")

    @proxy.event_handler("on_disconnected")
    async def on_disconnected(proxy: WebSocketProxyClient, websocket: Any) -> None:
        print("disconnected")
        await runner.end("the connection is lost")

    await runner.add_workers(proxy, acme)
    return await runner.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Ask the assistant.")
    parser.add_argument("--remote-url", required=True)
    parser.add_argument("items", nargs="*", default=["anvil", "rope"])
    arguments = parser.parse_args()
    try:
        link = link_to(arguments.remote_url)
    except ValueError as error:
        parser.error(str(error))
    try:
        stopped = trio.run(main, link, arguments.items)
    except* (OSError, RemoteWireError) as group:
        # What is behind a "?" may be secret.
        address, mark, _ = arguments.remote_url.partition("?")
        sys.exit(f"no connection to {address}{mark and '?...'}: {group.exceptions[0]}")
    except* WorkerGoneError as group:
        sys.exit(f"the assistant has gone: {group.exceptions[0]}")
    print(stopped)
    sys.exit(stopped.reason != DONE)
