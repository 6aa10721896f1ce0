"""Every request ends in exactly one outcome, whatever happens to it, and leaves nothing behind."""

from __future__ import annotations

import contextlib
from typing import Any

import attrs
import trio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.jobs import Actor, Alarm, Note, idle
from trioworkers import (
    Instrument,
    Job,
    JobCancelledError,
    JobError,
    JobFailed,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    Restart,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    open_runner,
)

EVENTS = ("none", "cancel job", "cancel worker", "end worker", "crash", "deadline", "leave")
EXPECTED: dict[str, tuple[type[Exception], ...]] = {
    "none": (),
    "cancel job": (JobCancelledError,),
    "cancel worker": (WorkerGoneError, JobRefusedError),
    "end worker": (WorkerGoneError, JobRefusedError),
    "crash": (WorkerGoneError,),
    "deadline": (trio.TooSlowError,),
    "leave": (),
}


@attrs.frozen
class Walk:
    """One way through a request's life; times are in tenths of a second."""

    ending: str
    event: str
    at: int
    start: int = 0
    before: int = 0
    work: int = 0
    events: int = 0
    linger: int = 0
    lane: bool = False
    restart: Restart = Restart.TEMPORARY


WALKS = st.builds(
    Walk,
    ending=st.sampled_from(["return", "raise", "fail", "stream", "shield"]),
    event=st.sampled_from(EVENTS),
    at=st.integers(0, 20),
    start=st.sampled_from([0, 0, 5]),
    before=st.sampled_from([0, 0, 4, 8]),
    work=st.integers(0, 15),
    events=st.sampled_from([0, 1, 3, 70]),
    linger=st.sampled_from([0, 0, 3, 30]),
    lane=st.booleans(),
    restart=st.sampled_from([Restart.TEMPORARY, Restart.PERMANENT]),
)


class Counter(Instrument):
    """Counts how often a job was begun and finished."""

    def __init__(self) -> None:
        self.open: dict[str, int] = {}

    def job_started(self, worker: str, job_id: str, job: str) -> None:
        assert job_id not in self.open
        self.open[job_id] = 1

    def job_finished(self, worker: str, job_id: str, job: str, status: str) -> None:
        self.open[job_id] -= 1


def target(walk: Walk) -> Actor:
    """Make the worker that is asked."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any] | None:
        if payload.get("blocker"):
            await trio.sleep(walk.before / 10)
            return {}
        try:
            await trio.sleep(walk.work / 10)
            for i in range(walk.events):
                await job.stream({"i": i})
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(walk.linger / 10)
        return await END[walk.ending](job)

    async def start(worker: Worker) -> None:
        await trio.sleep(walk.start / 10)

    async def note(worker: Worker) -> None:
        await trio.sleep(walk.before / 10)

    async def crash(worker: Worker) -> None:
        raise RuntimeError("crashed")

    return Actor("t", start=start, note=note, alarm=crash, serve=serve, max_concurrent_jobs=1)


async def _return(job: Job) -> dict[str, Any]:
    return {"ok": True}


async def _raise(job: Job) -> None:
    raise ValueError("raised")


async def _fail(job: Job) -> None:
    raise JobFailed("failed")


async def _stream(job: Job) -> None:
    await job.stream_end({"ok": True})


async def _shield(job: Job) -> dict[str, Any]:
    with trio.CancelScope(shield=True):
        await trio.sleep(0.1)
    return {"ok": True}


END: dict[str, Any] = {
    "return": _return,
    "raise": _raise,
    "fail": _fail,
    "stream": _stream,
    "shield": _shield,
}


async def happen(walk: Walk, runner: WorkerRunner, leave: trio.CancelScope) -> None:
    """Let the event of the walk happen to the request, or to its worker."""
    await trio.sleep(walk.at / 10)
    if walk.event == "cancel job":
        for request in list(runner.bus.open_requests.values()):
            if request.label == "the one":
                await runner.cancel_job(request.id)
    elif walk.event == "cancel worker" and runner.get_worker("t"):
        await runner.cancel_worker("t")
    elif walk.event == "end worker" and runner.get_worker("t"):
        await runner.end_worker("t", deadline=0.5)
    elif walk.event == "crash":
        await runner.send(Alarm(target="t"))
    elif walk.event == "leave":
        leave.cancel("left")


async def ask(walk: Walk, runner: WorkerRunner, outcomes: list[Any]) -> None:
    """Ask, read the stream, and note the outcome."""
    try:
        with trio.fail_after(walk.at / 10 if walk.event == "deadline" else 60):
            async with runner.job("t", "serve", {}, label="the one") as pending:
                async for _ in pending:
                    pass
    except (JobError, trio.TooSlowError) as error:
        outcomes.append(error)
    except trio.Cancelled:
        outcomes.append("left")
        raise
    else:
        outcomes.append(pending.response)


async def occupy(runner: WorkerRunner, walk: Walk) -> None:
    """Hold up the request: before the start, in the lane, or in the queue for the one slot."""
    if walk.before and walk.lane:
        for _ in range(2):
            await runner.send(Note(target="t"))
    elif walk.before:
        with contextlib.suppress(JobError):
            await runner.ask("t", "serve", {"blocker": True})


async def live(walk: Walk) -> tuple[Any, float]:
    """Live through a walk; return the outcome, and when it came."""
    outcomes: list[Any] = []
    counter = Counter()
    async with open_runner(cancel_grace=1, job_grace=1) as runner, trio.open_nursery() as nursery:
        runner.add_instrument(counter)
        nursery.start_soon(add, runner, walk)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(occupy, runner, walk)
        await trio.testing.wait_all_tasks_blocked()
        leave = trio.CancelScope()
        nursery.start_soon(happen, walk, runner, leave)
        with leave:
            await ask(walk, runner, outcomes)
        at = trio.current_time()
        # Whatever lingers has gone by then.
        await trio.sleep(30)
        assert idle(runner)
        assert not any(counter.open.values())
    (outcome,) = outcomes
    return outcome, at


async def add(runner: WorkerRunner, walk: Walk) -> None:
    """Add the worker; it may be stopped before it is ready."""
    worker = target(walk)
    with contextlib.suppress(WorkerGoneError):
        await runner.add_workers(worker, restart=walk.restart)


def by_itself(walk: Walk) -> tuple[type[Exception], ...]:
    """Return the errors that the handler can come to by itself."""
    return {"raise": (JobRemoteError,), "fail": (JobFailedError,)}.get(walk.ending, ())


@settings(deadline=None, max_examples=300)
@given(WALKS)
@example(Walk("return", "cancel worker", at=0, start=5))
@example(Walk("return", "deadline", at=3, before=8))
@example(Walk("raise", "crash", at=3, before=8, lane=True, restart=Restart.PERMANENT))
@example(Walk("return", "leave", at=3, events=70, linger=30))
@example(Walk("shield", "cancel job", at=10, work=10))
def test_exactly_one_outcome(walk: Walk) -> None:
    """S-JOB-3: exactly one outcome of the right kind, in time, and empty tables afterwards."""
    outcome, at = trio.run(live, walk, clock=MockClock(autojump_threshold=0))
    if isinstance(outcome, Exception):
        assert isinstance(outcome, (*EXPECTED[walk.event], *by_itself(walk)))
    elif outcome == "left":
        assert walk.event == "leave"
    else:
        assert outcome == {"ok": True} if walk.ending in ("return", "stream", "shield") else {}
    assert at <= 20
    if walk.event in ("deadline", "leave"):
        assert at <= walk.at / 10 + 1.001
