"""Workers inside a plain trio TCP service.

`open_runner` is an async context manager like any other: the service runs in its block.  If a
worker fails, the block is cancelled and the failure leaves it, so the service goes down with it
instead of answering without its workers.

    python examples/embed_in_trio_service.py 8000
    nc localhost 8000

and then `take pear`, `left pear`; and `take unicorn`, a bug of this program, to see it go down.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial

import attrs
import trio

from trioworkers import (
    BusDataMessage,
    Job,
    JobError,
    Worker,
    WorkerRunner,
    handles,
    job,
    message,
    open_runner,
)

LONGEST_LINE = 1000


@message
class Take(BusDataMessage):
    item: str


@attrs.frozen
class Question:
    item: str


@attrs.frozen
class Answer:
    left: int


class Stock(Worker):
    async def on_start(self) -> None:
        self.items = {"apple": 10, "pear": 10}

    @handles(Take)
    async def take(self, message: Take) -> None:
        self.items[message.item] -= 1

    @job()
    async def count(self, job: Job, question: Question) -> Answer:
        return Answer(self.items[question.item])


async def read_lines(stream: trio.SocketStream) -> AsyncGenerator[bytes]:
    rest = b""
    async for chunk in stream:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line
        if len(rest) > LONGEST_LINE:
            return


async def serve_client(runner: WorkerRunner, stream: trio.SocketStream) -> None:
    async with aclosing(read_lines(stream)) as lines:
        async for line in lines:
            try:
                words = line.decode().split()
            except UnicodeDecodeError:
                words = []
            match words:
                case ["take", item]:
                    await runner.send(Take(target="stock", item=item))
                    reply = "ok"
                case ["left", item]:
                    try:
                        answer = await runner.ask("stock", Stock.count, Question(item))
                        reply = str(answer.left)
                    except JobError as error:
                        reply = f"error: {error}"
                case _:
                    reply = "error: say 'take ITEM' or 'left ITEM', in UTF-8"
            await stream.send_all(f"{reply}\n".encode())


async def serve_until_gone(runner: WorkerRunner, stream: trio.SocketStream) -> None:
    # A client that breaks its connection ends nothing but that.
    with suppress(trio.BrokenResourceError):
        await serve_client(runner, stream)


async def main(port: int) -> None:
    async with open_runner(Stock("stock")) as runner:
        listeners = await trio.open_tcp_listeners(port, host="127.0.0.1")
        print("listening on port", listeners[0].socket.getsockname()[1], flush=True)
        await trio.serve_listeners(partial(serve_until_gone, runner), listeners)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
