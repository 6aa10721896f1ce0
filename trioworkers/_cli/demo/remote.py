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

from trioworkers import (
    Backoff,
    BusEndWorkerMessage,
    Job,
    JobFailed,
    Worker,
    WorkerGoneError,
    job,
)
from trioworkers.proxies import WebSocketProxyClient

from ..exits import CRASHED, Refusal
from .chaos import Relay
from .counting import Findings, Survey
from .pieces import Errand, PiecesLost, Puzzle
from .second import CLERK, CROSSING, SURVEYOR, Clerk

__all__ = ["Crossed", "Jobs", "SecondProcess", "Surveyor", "link_to", "second_process"]

ROUND_TRIPS = 200
"""How many round trips are measured."""

MOST_ROUND_TRIPS = 20_000
"""How many are measured at most to have the link cut often enough."""

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
    port: int
    token: str = attrs.field(repr=False)


@attrs.frozen
class Look:
    """Ask what has crossed the link."""


@attrs.frozen
class Jobs:
    """How a link was that was cut: of so many jobs that were asked for so many were done."""

    asked: int
    done: int
    cuts: int
    resumed: int
    sent_again: int


@attrs.frozen
class Crossed:
    """What has crossed the link: messages each way, and how long round trips took, in seconds."""

    pid: int
    sent: int
    received: int
    round_trips: Sequence[float]
    jobs: Jobs | None = None


class Surveyor(Worker):
    """Stands in this process for the coordinator in the other one."""

    def __init__(
        self, peer: SecondProcess, link: WebSocketProxyClient, relay: Relay | None = None
    ) -> None:
        """Make it, for the other process, the proxy to it, and what cuts the link if it is cut."""
        super().__init__(SURVEYOR)
        self._peer = peer
        self._link = link
        self._relay = relay
        self._asked = 0

    async def on_start(self) -> None:
        """Begin to look whether an end was asked for, and whether the other process is there."""
        self.nursery.start_soon(self._pass_on_the_end)
        if self._relay is not None:
            self.nursery.start_soon(self._give_up, self._relay)

    async def _give_up(self, relay: Relay) -> None:
        # The proxy would go on trying.
        await relay.gone.wait()
        await self.deactivate_worker(self._link.name)

    async def _pass_on_the_end(self) -> None:
        while self.stop_reason is None:  # noqa: ASYNC110 - no event tells it in time
            await trio.sleep(_POLL)
        await self.send(BusEndWorkerMessage(target=CLERK, reason=self.stop_reason.reason))

    @job()
    async def survey(self, job: Job, survey: Survey) -> Findings:
        """Let the other process count; updates are the same as of one that counts itself."""
        puzzle = Puzzle()
        self._asked += 1
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
        round_trips: list[float] = []
        with _losses_told():
            while len(round_trips) < ROUND_TRIPS or self._goes_on(len(round_trips)):
                round_trips.append(await self._round_trip())
            jobs = None if self._relay is None else await self._count_jobs(self._relay)
        return Crossed(self._peer.pid, link.sent, link.received, round_trips, jobs)

    def _goes_on(self, round_trips: int) -> bool:
        """Tell whether there are still cuts to come."""
        cuts = self._relay is not None and not self._relay.done
        return cuts and round_trips < MOST_ROUND_TRIPS and self.stop_reason is None

    async def _count_jobs(self, relay: Relay) -> Jobs:
        told = await self.ask(CLERK, "tell", {})
        link = self._link.link_statistics()
        again = link.sent_again + told["sent_again"]
        return Jobs(self._asked, told["done"], relay.cuts, link.resumed, again)

    async def _round_trip(self) -> float:
        started = perf_counter()
        self._asked += 1
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


def link_to(peer: SecondProcess, relay_port: int | None = None) -> WebSocketProxyClient:
    """Make the proxy to the second process.

    If its link is lost, there will be no other; except through a relay, where its session goes on.
    """
    lasting = relay_port is not None
    return WebSocketProxyClient(
        "link",
        url=f"ws://127.0.0.1:{relay_port if lasting else peer.port}/",
        local_worker_name=SURVEYOR,
        remote_worker_name=CLERK,
        forward_messages=CROSSING,
        headers={"Authorization": f"Bearer {peer.token}"},
        reconnect=Backoff(initial=0.01, maximum=0.1) if lasting else None,
        delivery="at_least_once" if lasting else "at_most_once",
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
    return SecondProcess(process.pid, int(said), token)


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
