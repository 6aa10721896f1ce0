"""Random programs give the same outcomes over a native link as without one."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.jobs import Alarm, Note
from tests.proxies import links
from tests.proxies.pairs import guarded, pair
from trioworkers import (
    Job,
    JobCancelledError,
    JobError,
    JobFailed,
    Worker,
    handles,
    job,
    open_runner,
)

pytestmark = [pytest.mark.usefixtures("dialect"), links.NATIVE_ONLY]


class Party(Worker):
    """Keeps what it gets, and serves jobs of each kind."""

    def __init__(self, name: str) -> None:
        super().__init__(name, mailbox_capacity=3)
        self.notes: list[int] = []
        self.alarms = 0
        self.begun: list[int] = []
        self.cancelled: list[int] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        if message.n % 3 == 0:
            await trio.sleep(0.01)
        self.notes.append(message.n)

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        self.alarms += 1

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return {"n": payload["n"], "size": len(payload["body"])}

    @job()
    async def fail(self, job: Job, payload: dict[str, Any]) -> None:
        raise JobFailed("no luck")

    @job()
    async def crash(self, job: Job, payload: dict[str, Any]) -> None:
        raise KeyError("boom")

    @job()
    async def stream(self, job: Job, payload: dict[str, Any]) -> None:
        for n in range(payload["n"]):
            await job.stream({"n": n, "body": payload["body"]})
            if n % 5 == 4:
                await job.update({"urgent": n}, urgent=True)
        await job.stream_end({"total": payload["n"]})

    @job()
    async def hang(self, job: Job, payload: dict[str, Any]) -> None:
        self.begun.append(payload["n"])
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cancelled.append(payload["n"])
            raise

    @job()
    async def back(self, job: Job, payload: dict[str, Any]) -> Any:
        return await self.ask(payload["to"], "echo", {**payload, "body": ""})


@attrs.frozen
class Step:
    """What one worker does: the kind, which way, a number, and how big."""

    kind: str
    forth: bool
    n: int
    size: int


KINDS = ["send", "alarm", "echo", "fail", "crash", "stream", "hang", "deadline", "back", "wait"]
STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(KINDS),
        st.booleans(),
        st.integers(0, 40),
        st.sampled_from([0, 10, 1000, 20_000, 100_000]),
    ),
    max_size=25,
)


async def do(step: Step, worker: Party, other: Party) -> Any:
    """Do one step, and tell what came of it."""
    payload = {"n": step.n, "body": "x" * step.size, "to": worker.name}
    match step.kind:
        case "wait":
            await trio.sleep(step.n / 1000)
        case "send":
            await worker.send(Note(target=other.name, n=step.n))
        case "alarm":
            await worker.send(Alarm(target=other.name))
        case "stream":
            async with worker.job(other.name, "stream", payload) as pending:
                return [event.data async for event in pending]
        case "hang":
            with trio.move_on_after(1) as scope:
                await worker.ask(other.name, "hang", payload)
            return scope.cancelled_caught
        case "deadline":
            with trio.fail_after(1):
                await worker.ask(other.name, "echo", payload)
        case kind:
            return await worker.ask(other.name, kind, payload)
    return None


@asynccontextmanager
async def together() -> AsyncGenerator[tuple[Party, Party]]:
    """Run both on one bus."""
    one, two = Party("acme"), Party("assistant")
    async with guarded(), open_runner(one, two):
        yield one, two


@asynccontextmanager
async def apart(window: int, credit: int) -> AsyncGenerator[tuple[Party, Party]]:
    """Run each in a runner of its own."""
    one, two = Party("acme"), Party("assistant")
    limits: dict[str, Any] = {"window": window, "credit": credit}
    async with pair(lambda: one, lambda: two, client=limits, server=limits) as (near, far):
        yield one, two
        await trio.sleep(10)
        assert near.clean()
        assert far.clean()
        assert near.letters.take() == far.letters.take() == []


async def run_program(steps: list[Step], parties: Any) -> Any:
    """Do the steps of each side in order, both sides at once; tell all that came of it."""
    outcomes: dict[str, list[Any]] = {"acme": [], "assistant": []}
    async with parties as (one, two):

        async def side(worker: Party, other: Party) -> None:
            for step in steps:
                if step.forth is not (worker is one):
                    continue
                try:
                    outcome = await do(step, worker, other)
                except JobCancelledError as error:
                    outcome = type(error)
                except (JobError, trio.TooSlowError) as error:
                    outcome = type(error)
                outcomes[worker.name].append((step.kind, step.n, outcome))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(side, one, two)
            nursery.start_soon(side, two, one)
        await trio.sleep(10)
        kept = [(each.notes, each.alarms, each.begun, each.cancelled) for each in (one, two)]
    return outcomes, kept


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS, st.sampled_from([64, 1000, 2**16]), st.sampled_from([1, 4, 1024]))
def test_programs(steps: list[Step], window: int, credit: int) -> None:
    """S-PROXY-6: every program has the same outcomes as on one bus, whatever the limits."""

    def run(parties: Any) -> Any:
        clock = trio.testing.MockClock(autojump_threshold=0.0)
        return trio.run(run_program, steps, parties, clock=clock)

    if window == 64:
        steps = [attrs.evolve(step, size=min(step.size, 1000)) for step in steps]
    assert run(apart(window, credit)) == run(together())
