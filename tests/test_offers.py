"""What becomes of a request to a worker that is on its way out."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from trioworkers import (
    BusDataMessage,
    Job,
    JobError,
    JobEvent,
    Restart,
    Worker,
    WorkerGoneError,
    handles,
    job,
    message,
    open_runner,
)


@message
class Crash(BusDataMessage):
    """Make the worker fail."""


class Server(Worker):
    """Serves; fails when told to; cleans up for a second."""

    def __init__(self, name: str, *children: Worker) -> None:
        super().__init__(name)
        self.first = children

    async def on_start(self) -> None:
        await self.add_workers(*self.first)

    async def on_stop(self) -> None:
        await trio.sleep(1)

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise ValueError("told to")

    @job()
    async def serve(self, job: Job, payload: dict[str, Any]) -> None:
        await trio.sleep(payload.get("seconds", 0))

    async def on_job_update_requested(self, job: Job) -> None:
        await job.update({"still": "here"})


class LateAsker(Worker):
    """Asks its parent when it is too late."""

    answer: JobError | None = None
    waited = -1.0

    async def on_stop(self) -> None:
        began = trio.current_time()
        try:
            await self.ask("parent", "serve")
        except JobError as error:
            self.answer = error
        self.waited = trio.current_time() - began


async def test_a_cancelled_worker_is_gone_at_once(autojump_clock: object) -> None:
    """Who asks a worker that was cut off for good is told at once, not at the cut-off (S-JOB-3)."""
    child = LateAsker("child")
    async with open_runner(Server("parent", child)) as runner:
        await runner.cancel_worker("parent")
        await child.wait_stopped()
    assert isinstance(child.answer, WorkerGoneError)
    assert child.waited == 0


async def test_a_failed_worker_without_another_life_is_gone_at_once(
    autojump_clock: object,
) -> None:
    """Who asks a worker that failed for good does not wait for its clean-up (S-JOB-3)."""
    with pytest.RaisesGroup(ValueError):
        async with open_runner(Server("server")) as runner:
            await runner.send(Crash(target="server"))
            await trio.sleep(0.5)
            began = trio.current_time()
            with pytest.raises(WorkerGoneError, match="told to"):
                await runner.ask("server", "serve")
            assert trio.current_time() == began
            await trio.sleep_forever()


async def test_a_failed_worker_with_another_life_takes_requests(autojump_clock: object) -> None:
    """A request that comes while a failed worker cleans up waits for its next life (S-MAIL-1)."""
    async with open_runner() as runner:
        await runner.add_workers(Server("server"), restart=Restart.TRANSIENT)
        await runner.send(Crash(target="server"))
        await trio.sleep(0.5)
        assert await runner.ask("server", "serve") == {}
        assert trio.current_time() > 1


async def test_an_ending_worker_answers_for_its_jobs(autojump_clock: object) -> None:
    """A running job of an ending worker can still be asked for an update (S-LIFE-7)."""
    server = Server("server")
    async with open_runner(server) as runner:
        async with runner.job("server", "serve", {"seconds": 5}) as pending:
            await trio.sleep(1)
            await server.stop()
            await pending.request_update()
            events = [event async for event in pending]
    assert events == [JobEvent("update", {"still": "here"})]
