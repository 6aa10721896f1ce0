"""Workers inside a FastAPI application, under Hypercorn's trio worker.

The runner lives in the application's lifespan.  If a worker fails, the lifespan fails, and
Hypercorn takes the service down; its supervisor (systemd, Kubernetes) starts it again.  (The
`hypercorn` command of Hypercorn 0.18 goes down too, but with exit code 0.)

    pip install '.[asgi]' fastapi
    python examples/embed_in_fastapi.py 8000
    hypercorn --worker-class trio examples.embed_in_fastapi:app

Then try `POST /take/pear`, `GET /left/pear` and `GET /health`; and `POST /take/unicorn`, a bug of
this program, to see the service go down.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, TypedDict, cast

import attrs
import trio
from fastapi import Depends, FastAPI, HTTPException, Request, Response
from hypercorn.config import Config
from hypercorn.trio import serve  # pyright: ignore[reportUnknownVariableType]
from hypercorn.typing import ASGIFramework

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
    open_runner,
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


class State(TypedDict):
    runner: WorkerRunner


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[State]:
    async with open_runner(Stock("stock")) as runner:
        yield {"runner": runner}


async def get_runner(request: Request) -> WorkerRunner:
    return cast("WorkerRunner", request.state.runner)


Runner = Annotated[WorkerRunner, Depends(get_runner)]
app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health(runner: Runner, response: Response) -> dict[str, str]:
    if runner.state is not WorkerState.READY:
        response.status_code = 503
    return {"state": runner.state}


@app.post("/take/{item}", status_code=202)
async def take(item: str, runner: Runner) -> None:
    await runner.send(Take(target="stock", item=item))


@app.get("/left/{item}")
async def left(item: str, runner: Runner) -> int:
    try:
        answer = await runner.ask("stock", Stock.count, Question(item))
    except JobError as error:
        raise HTTPException(404, str(error)) from error
    return answer.left


async def wait_for_signal() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


async def main(port: int) -> None:
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    await serve(cast("ASGIFramework", app), config, shutdown_trigger=wait_for_signal)


if __name__ == "__main__":
    trio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
