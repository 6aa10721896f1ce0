"""What type checkers make of asking for jobs; checked by mypy and pyright in their strict modes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, assert_type

import attrs

from trioworkers import (
    Job,
    JobEvent,
    JobGroup,
    JobGroupEvent,
    JobStatus,
    PendingJob,
    Worker,
    WorkerReadyData,
    WorkerRunner,
    job,
)


@attrs.frozen
class Count:
    n: int


@attrs.frozen
class Counted:
    n: int


class Counter(Worker):
    @job()
    async def count(self, job: Job, request: Count) -> Counted:
        assert_type(job.id, str)
        assert_type(job.deadline, float)
        return Counted(request.n)

    @job("renamed", sequential=True)
    async def plain(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    @job()
    async def lines(self, job: Job, payload: dict[str, Any]) -> None:
        await job.stream_start({"n": 2})
        await job.stream({"i": 0})
        await job.stream_end({"total": 1})
        await job.update(None, urgent=True)


async def ask(me: Worker | WorkerRunner, counter: Counter) -> None:
    assert_type(await me.ask("counter", Counter.count, Count(1)), Counted)
    assert_type(await me.ask("counter", Counter.plain, {"a": 1}), dict[str, Any])
    assert_type(await me.ask("counter", "count", {"n": 1}), dict[str, Any])
    assert_type(await me.ask("counter", "count"), dict[str, Any])

    # The payload is what the method takes.
    await me.ask("counter", Counter.count, {"n": 1})  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    await me.ask("counter", Counter.count)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    # By name it is a dict.
    await me.ask("counter", "count", Count(1))  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    # A method that is no handler of a job.
    await me.ask("counter", Counter.on_worker_ready, WorkerReadyData("a", "r"))  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def pending(me: Worker | WorkerRunner) -> None:
    async with me.job("counter", Counter.count, Count(1), label="x", cancellable=False) as typed:
        assert_type(typed, PendingJob[Counted])
        async for event in typed:
            assert_type(event, JobEvent)
            assert_type(event.data, dict[str, Any] | None)
    assert_type(typed.response, Counted)
    assert_type(typed.status, JobStatus | None)
    assert_type(typed.id, str)
    async with me.job("counter", "count", {"n": 1}) as plain:
        await plain.request_update()
    assert_type(plain.response, dict[str, Any])
    # Time limits are scopes, not parameters.
    me.job("counter", "count", {}, timeout=3)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


async def groups(me: Worker | WorkerRunner) -> None:
    async with me.job_group(Counter.count, {"w1": Count(1), "w2": Count(2)}) as typed:
        assert_type(typed, JobGroup[Counted])
        async for event in typed:
            assert_type(event, JobGroupEvent)
            assert_type(event.worker_name, str)
    assert_type(typed.responses, dict[str, Counted])
    assert_type(typed.statuses, dict[str, JobStatus])
    async with me.job_group("count", {"w1": {"n": 1}, "w2": None}, cancel_on_error=False) as plain:
        pass
    assert_type(plain.responses, dict[str, dict[str, Any]])
    async with me.job_group("w1", "w2", name="count", payload={"n": 1}, label="all") as named:
        pass
    assert_type(named.responses, dict[str, dict[str, Any]])
    me.job_group(Counter.count, {"w1": {"n": 1}})  # type: ignore[arg-type]  # pyright: ignore[reportCallIssue, reportArgumentType]
    me.job_group("w1", "w2")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


# The decorator leaves the method's type alone.
method: Callable[[Counter, Job, Count], Awaitable[Counted]] = Counter.count
