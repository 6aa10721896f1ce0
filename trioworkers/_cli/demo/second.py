"""The second process of `demo --remote`: it counts, for whoever knows its token.

It reads the token from its standard input, and prints the port it listens at.  The first process
keeps that pipe open; when it is closed, by whatever end of the first process, this one ends too.

```
gateway              a proxy: lets the first process talk to the clerk
clerk                job survey: ask the coordinator, send what it found in pieces
+-- coordinator      as in one process
    +-- counter-1
    +-- counter-2
```
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from contextlib import suppress
from functools import partial
from typing import Any

import trio

from trioworkers import BusEndWorkerMessage, Job, Worker, job
from trioworkers.proxies import (
    IncomingConnection,
    WebSocketProxyServer,
    bearer_token,
    serve_proxies,
)

from .counting import Coordinator
from .pieces import Errand, Summary, pieces

__all__ = ["CLERK", "CROSSING", "SURVEYOR", "Clerk", "main"]

CLERK = "clerk"
"""The name of the worker that the first process may talk to."""

SURVEYOR = "surveyor"
"""The name of the worker of the first process that may talk to it."""

CROSSING = (BusEndWorkerMessage,)
"""What crosses beside what always may: the first process may end the clerk."""

_COME_BACK = 10.0
"""Seconds that a session waits for the first process."""

_PATIENCE = 5.0
"""Seconds this process has to end by itself when the first one is gone."""


class Clerk(Worker):
    """Hands a survey to the coordinator, its child, and sends the findings over the link."""

    def __init__(self, gateway: WebSocketProxyServer) -> None:
        """Make it, for the proxy to the first process."""
        super().__init__(CLERK)
        self._gateway = gateway
        self._jobs = 0

    async def on_start(self) -> None:
        """Add the coordinator."""
        await self.add_workers(Coordinator("coordinator"))

    @job()
    async def survey(self, job: Job, errand: Errand) -> Summary:
        """Pass on the coordinator's updates, then stream the findings."""
        self._jobs += 1
        survey = errand.survey()
        async with self.job("coordinator", Coordinator.survey, survey) as pending:
            async for event in pending:
                await job.update(event.data)
        findings = pending.response
        for piece in pieces(findings):
            await job.stream(piece)
        return Summary.of(findings)

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG002
        """Answer at once, so that somebody can measure how long that takes."""
        self._jobs += 1
        return payload

    @job()
    async def tell(self, job: Job, payload: dict[str, Any]) -> dict[str, int]:  # noqa: ARG002
        """Say how many other jobs were done, and how many messages had to be sent again."""
        return {"done": self._jobs, "sent_again": self._gateway.link_statistics().sent_again}


def main() -> None:
    """Serve until the first process closes our standard input."""
    # What is lost when the first process cancels or dies is told there, or meant.
    logging.getLogger("trioworkers").setLevel(logging.ERROR)
    token = sys.stdin.readline().strip()
    if token:
        trio.run(_serve, token)


async def _build(websocket: IncomingConnection) -> list[Worker]:
    gateway = WebSocketProxyServer(
        "gateway",
        websocket=websocket,
        worker_name=CLERK,
        remote_worker_name=SURVEYOR,
        forward_messages=CROSSING,
        # It is the first process that decides whether a lost link is the end.
        delivery="at_least_once",
        resume_within=_COME_BACK,
    )
    return [gateway, Clerk(gateway)]


async def _serve(token: str) -> None:
    async with trio.open_nursery() as nursery:
        stop = partial(nursery.cancel_scope.cancel, reason="the first process is gone")
        watch = partial(_watch_input, trio.lowlevel.current_trio_token(), stop)
        threading.Thread(target=watch, daemon=True).start()
        listener = await nursery.start(
            partial(
                serve_proxies,
                _build,
                "127.0.0.1",
                0,
                authenticate=bearer_token(token),
                max_connections=1,
            )
        )
        with suppress(BrokenPipeError):  # the first process is gone already
            os.write(1, f"{listener.port}\n".encode())


def _watch_input(trio_token: trio.lowlevel.TrioToken, stop: Any) -> None:
    """Stop this process when its input ends: first in order, then in any case."""
    # Not through sys.stdin: an interpreter that exits would wait for its lock.
    while os.read(0, 1024):
        pass
    try:
        trio_token.run_sync_soon(stop)
    except trio.RunFinishedError:
        return
    time.sleep(_PATIENCE)
    os._exit(1)
