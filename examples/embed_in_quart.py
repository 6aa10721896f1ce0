"""Workers inside a Quart-Trio application, under Hypercorn's trio worker.

The runner is a background task of the application.  If a worker fails, Quart-Trio loses its
background tasks and goes on answering, so the health route asks the runner: it turns red, and
who watches the service restarts it.

    pip install '.[asgi]' quart-trio
    python examples/embed_in_quart.py 8000
    hypercorn --worker-class trio examples.embed_in_quart:app

Then try `POST /take/pear`, `GET /left/pear` and `GET /health`; and `POST /take/unicorn`, a bug of
this program, to see the health route turn red.
"""

from __future__ import annotations

import signal
import sys
from functools import partial

import attrs
import trio
from hypercorn.config import Config
from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType]
from quart_trio import QuartTrio

from trioworkers import (
    BusDataMessage,
    Job,
    JobError,
    Worker,
    WorkerRunner,
    WorkerState,
    handles,
    job,
    message,
)


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


app = QuartTrio(__name__)
# Signals are the server's business.
runner = WorkerRunner(handle_sigint=False)


@app.before_serving
async def start() -> None:
    await runner.add_workers(Stock("stock"))
    await app.nursery.start(partial(runner.run, auto_end=False))


@app.after_serving
async def stop() -> None:
    await runner.end("the server stops")


@app.get("/health")
async def health() -> tuple[dict[str, str], int]:
    return {"state": runner.state}, 200 if runner.state is WorkerState.READY else 503


@app.post("/take/<item>")
async def take(item: str) -> tuple[str, int]:
    await runner.send(Take(target="stock", item=item))
    return "", 202


@app.get("/left/<item>")
async def left(item: str) -> tuple[str, int]:
    try:
        answer = await runner.ask("stock", Stock.count, Question(item))
    except JobError as error:
        return str(error), 404
    return str(answer.left), 200


@app.errorhandler(trio.ClosedResourceError)
async def stopped(error: trio.ClosedResourceError) -> tuple[str, int]:
    return "the workers have stopped", 503


async def wait_for_signal() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


async def main(port: int) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    await serve(app, config, shutdown_trigger=wait_for_signal)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
