"""How the time limit of a requester shows in the jobs that follow from its request."""

from __future__ import annotations

from math import inf
from typing import Any

import trio

from trioworkers import Job, Worker, job, open_runner


class Relay(Worker):
    """Asks the next one, or answers with its own deadline."""

    def __init__(self, name: str, following: str | None = None) -> None:
        super().__init__(name)
        self.following = following
        self.found: dict[str, Any] = {}

    @job()
    async def deadline(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        if self.following is None:
            return {"deadline": job.deadline}
        return await self.ask(self.following, "deadline", payload)

    @job()
    async def leave_task(self, job: Job, payload: dict[str, Any]) -> None:
        async def later(*, task_status: trio.TaskStatus[None]) -> None:
            task_status.started()
            await trio.sleep(10)
            self.found = await self.ask("c", "deadline")

        await self.nursery.start(later)


async def test_the_deadline_goes_along_a_chain_of_jobs(autojump_clock: object) -> None:
    """A handler two jobs away knows the requester's deadline (S-JOB-6)."""
    async with open_runner(Relay("c"), Relay("b", "c"), Relay("a", "b")) as runner:
        with trio.fail_after(7):
            found = await runner.ask("a", "deadline")
            assert found == {"deadline": trio.current_effective_deadline()}
        assert await runner.ask("a", "deadline") == {"deadline": inf}


async def test_the_deadline_of_a_job_ends_with_it(autojump_clock: object) -> None:
    """A task that outlives the job that started it is not under the job's deadline (S-JOB-6)."""
    worker = Relay("a")
    async with open_runner(Relay("c"), worker) as runner:
        with trio.fail_after(7):
            await runner.ask("a", "leave_task")
        await trio.sleep(20)
        assert worker.found == {"deadline": inf}
