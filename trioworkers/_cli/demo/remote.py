"""Act one in two processes: what the first process has of `demo --remote`.

```
first process                          second process
link         a proxy    <---------->   gateway     a proxy
surveyor     job survey: ask for it    clerk       job survey: count
```

Ctrl-C in a terminal reaches every process in the foreground.  The second one is not there: it is
told by a message, which lets it finish what it has in hand.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter

import attrs
import trio

from trioworkers import BusEndWorkerMessage, Job, JobFailed, Worker, WorkerGoneError, job
from trioworkers.proxies import WebSocketProxyClient

from ..exits import CRASHED, Refusal
from .counting import Findings, Survey
from .pieces import Errand, PiecesLost, Puzzle
from .second import CLERK, CROSSING, SURVEYOR, Clerk

__all__ = ["Crossed", "SecondProcess", "Surveyor", "link_to", "second_process"]

ROUND_TRIPS = 200
"""How many round trips are measured."""

_START = 30.0
"""Seconds that the second process has to start."""

_STOP = 3.0
"""Seconds that it has to end by itself, before it is killed."""

_POLL = 0.05
"""Seconds between two looks at whether an end was asked for."""


@attrs.frozen
class SecondProcess:
    """Where the second process listens, and how to get in."""

    pid: int
    url: str
    token: str = attrs.field(repr=False)


@attrs.frozen
class Look:
    """Ask what has crossed the link."""


@attrs.frozen
class Crossed:
    """What has crossed the link: messages each way, and how long round trips took, in seconds."""

    pid: int
    sent: int
    received: int
    round_trips: Sequence[float]


class Surveyor(Worker):
    """Stands in this process for the coordinator in the other one."""

    def __init__(self, peer: SecondProcess, link: WebSocketProxyClient) -> None:
        """Make it, for the other process and the proxy to it."""
        super().__init__(SURVEYOR)
        self._peer = peer
        self._link = link

    async def on_start(self) -> None:
        """Begin to look whether an end was asked for."""
        self.nursery.start_soon(self._pass_on_the_end)

    async def _pass_on_the_end(self) -> None:
        while self.stop_reason is None:  # noqa: ASYNC110 - no event tells it in time
            await trio.sleep(_POLL)
        await self.send(BusEndWorkerMessage(target=CLERK, reason=self.stop_reason.reason))

    @job()
    async def survey(self, job: Job, survey: Survey) -> Findings:
        """Let the other process count; updates are the same as of one that counts itself."""
        puzzle = Puzzle()
        with _losses_told():
            async with self.job(CLERK, Clerk.survey, Errand.of(survey)) as pending:
                async for event in pending:
                    if event.type == "update":
                        await job.update(event.data)
                    else:
                        puzzle.add(event.data or {})
            return puzzle.finish(pending.response)

    @job()
    async def look(self, job: Job, look: Look) -> Crossed:  # noqa: ARG002
        """Tell what has crossed, and measure round trips."""
        link = self._link.link_statistics()
        with _losses_told():
            round_trips = [await self._round_trip() for _ in range(ROUND_TRIPS)]
        return Crossed(self._peer.pid, link.sent, link.received, round_trips)

    async def _round_trip(self) -> float:
        started = perf_counter()
        await self.ask(CLERK, "echo", {})
        return perf_counter() - started


@contextmanager
def _losses_told() -> Generator[None]:
    """Let a job fail for a reason that a user understands, if the other process is gone."""
    try:
        yield
    except WorkerGoneError as error:
        raise JobFailed(f"the second process is gone: {error.reason}") from error
    except PiecesLost as error:
        raise JobFailed(str(error)) from error


def link_to(peer: SecondProcess) -> WebSocketProxyClient:
    """Make the proxy to the second process.  If its link is lost, there will be no other."""
    return WebSocketProxyClient(
        "link",
        url=peer.url,
        local_worker_name=SURVEYOR,
        remote_worker_name=CLERK,
        forward_messages=CROSSING,
        headers={"Authorization": f"Bearer {peer.token}"},
        reconnect=None,
        active=True,
    )


@asynccontextmanager
async def second_process() -> AsyncGenerator[SecondProcess]:
    """Run the second process for the time of an `async with` block; then it is gone.

    Raises:
        Refusal: it does not start.
    """
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", _program()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0,
    )
    try:
        yield await _greet(process)
    finally:
        # Shielded, with a deadline and a kill at its end.
        await _put_away(process)  # noqa: ASYNC102


def _program() -> str:
    """Return what it runs: the same package as here, wherever that was found."""
    return f"import sys; sys.path[:] = {sys.path!r}; from {Clerk.__module__} import main; main()"


async def _greet(process: trio.Process) -> SecondProcess:
    assert process.stdin is not None
    assert process.stdout is not None
    token = secrets.token_urlsafe()
    said = b""
    with trio.move_on_after(_START):
        try:
            await process.stdin.send_all(f"{token}\n".encode())
            while not said.endswith(b"\n") and (more := await process.stdout.receive_some()):
                said += more
        except trio.BrokenResourceError:
            pass
    if not said.strip().isdigit():
        raise Refusal(CRASHED, "the second process did not start")
    return SecondProcess(process.pid, f"ws://127.0.0.1:{int(said)}/", token)


async def _put_away(process: trio.Process) -> None:
    """Let the second process end: it does when its input ends.  If it does not, kill it."""
    assert process.stdin is not None
    assert process.stdout is not None
    with trio.CancelScope(shield=True):
        await process.stdin.aclose()
        with trio.move_on_after(_STOP):
            await process.wait()
        process.kill()  # nothing happens if it has ended
        await process.wait()
        await process.stdout.aclose()
