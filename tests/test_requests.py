"""Requests and reply boxes: one outcome, events in order, and bounded."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.jobs import Actor, Note, Server, idle, outcome_of
from trioworkers import (
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    DeadLetter,
    Job,
    JobCancelledError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    UnknownWorkerError,
    Worker,
    WorkerGoneError,
    job,
    open_runner,
)
from trioworkers._requests import EVENT_CAPACITY, ReplyBox, Request


async def test_a_slow_reader_holds_the_producer(autojump_clock) -> None:
    """S-JOB-8: `update` waits while as many events as the box holds are unread."""
    server = Server()
    async with open_runner(server) as runner:
        async with runner.job("server", "updates", {"n": EVENT_CAPACITY + 3}) as pending:
            await trio.sleep(1)
            assert server.log == list(range(EVENT_CAPACITY))
            assert [event.data["i"] async for event in pending if event.data] == list(
                range(EVENT_CAPACITY + 3)
            )
    assert len(server.log) == EVENT_CAPACITY + 3


async def test_several_producers_keep_their_order(autojump_clock) -> None:
    """S-JOB-8: tasks of one handler that wait for a slow reader are let in in turn."""

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> None:
        for i in range(EVENT_CAPACITY):
            await job.update({"i": i})
        async with trio.open_nursery() as nursery:
            for i in range(EVENT_CAPACITY, EVENT_CAPACITY + 3):
                nursery.start_soon(job.update, {"i": i})
                await trio.testing.wait_all_tasks_blocked()

    async with open_runner(Actor("a", serve=serve)) as runner:
        async with runner.job("a", "serve") as pending:
            await trio.sleep(1)
            seen = [event.data["i"] async for event in pending if event.data]
    assert seen == list(range(EVENT_CAPACITY + 3))


async def test_a_waiting_producer_can_be_cancelled(autojump_clock) -> None:
    """S-JOB-8: an event whose producer gave up waiting is not delivered."""

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> None:
        for i in range(EVENT_CAPACITY):
            await job.update({"i": i})
        with trio.move_on_after(1):
            await job.update({"i": "given up"})
        await job.update({"i": "last"})

    async with open_runner(Actor("a", serve=serve)) as runner:
        async with runner.job("a", "serve") as pending:
            await trio.sleep(2)
            seen = [event.data["i"] async for event in pending if event.data]
    assert seen == [*range(EVENT_CAPACITY), "last"]


async def test_leaving_lets_go_of_producers(autojump_clock) -> None:
    """S-JOB-8: nobody waits for a reader that is not going to read: events are dropped then."""
    server = Server()
    async with open_runner(server) as runner:
        async with runner.job("server", "updates", {"n": EVENT_CAPACITY + 3}) as pending:
            await trio.sleep(1)
        assert pending.status is JobStatus.COMPLETED
        assert (await runner.ask("server", "updates", {"n": EVENT_CAPACITY + 3})) == {}


async def test_one_reader_at_a_time(autojump_clock) -> None:
    """A second task that reads the events of one job is told so."""
    async with open_runner(Server()) as runner:
        async with runner.job("server", "hang") as pending, trio.open_nursery() as nursery:
            nursery.start_soon(anext, pending)
            await trio.sleep(1)
            with pytest.raises(trio.BusyResourceError):
                await anext(pending)
            nursery.cancel_scope.cancel()
        assert pending.status is JobStatus.CANCELLED


async def test_a_body_may_fail_while_another_task_reads(autojump_clock) -> None:
    """S-JOB-1: the body's exception wins and passes unwrapped, whoever reads the events."""
    async with open_runner(Server()) as runner, trio.open_nursery() as nursery:

        async def read() -> None:
            with pytest.raises(trio.BusyResourceError):
                await anext(pending)

        with pytest.raises(ZeroDivisionError):
            async with runner.job("server", "linger", {"seconds": 0.5}) as pending:
                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                raise ZeroDivisionError
        assert idle(runner)


async def test_an_event_after_the_end_is_an_error(autojump_clock) -> None:
    """Who sends an event of a job that has ended is told so."""
    kept: list[Job] = []

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> None:
        kept.append(job)

    async with open_runner(Actor("a", serve=serve)) as runner:
        await runner.ask("a", "serve")
        with pytest.raises(RuntimeError, match="has ended"):
            await kept[0].update({})


async def test_requests_and_answers_can_be_watched(autojump_clock) -> None:
    """S-JOB-4: a job is visible to subscribers as the messages of the seed, cancel included."""
    kinds = (BusJobRequestMessage, BusJobResponseMessage, BusJobCancelMessage)
    async with open_runner(Server(), name="r") as runner:
        async with runner.bus.open_subscription(*kinds) as messages:
            await runner.ask("server", "echo", {"a": 1})
            await outcome_of(runner.ask("nobody", "echo", {}))
            with trio.move_on_after(1):
                await runner.ask("server", "hang")
            seen: list[Any] = [await anext(messages) for _ in range(7)]
    request, response = seen[:2]
    assert (request.source, request.target, request.payload) == ("r", "server", {"a": 1})
    assert (response.source, response.target, response.response) == ("server", "r", {"a": 1})
    assert response.job_id == request.job_id
    assert [type(each) for each in seen[4:]] == [
        BusJobRequestMessage,
        BusJobCancelMessage,
        BusJobResponseMessage,
    ]
    assert [each.status for each in seen if isinstance(each, BusJobResponseMessage)] == [
        "completed",
        "error",
        "cancelled",
    ]


async def test_a_late_reply_is_a_dead_letter(autojump_clock) -> None:
    """S-JOB-6: a requester waits `job_grace` for a handler; what it answers later is a dead letter."""
    async with open_runner(Server(), job_grace=0.5) as runner:
        async with runner.bus.open_dead_letters() as letters:
            with trio.move_on_after(1):
                await runner.ask("server", "linger", {"seconds": 5})
            assert trio.current_time() == 1.5
            letter = await anext(letters)
        assert isinstance(letter, DeadLetter)
        assert letter.reason == "late reply"
        assert letter.at == 5
        assert runner.statistics().dead_letters == {"late reply": 1}


async def test_a_late_surrender_is_no_reply(autojump_clock) -> None:
    """A handler that gives in to its cancellation after the grace period makes no dead letter."""

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(5)
        await trio.lowlevel.checkpoint()

    async with open_runner(Actor("a", serve=serve)) as runner:
        with trio.move_on_after(1):
            await runner.ask("a", "serve")
        await trio.sleep(10)
        assert runner.statistics().dead_letters == {}
        assert idle(runner)


async def test_responses_must_fit(autojump_clock) -> None:
    """A response that is not of the annotated type is an error of the worker, not a lie."""

    class Liar(Worker):
        @job()
        async def count(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
            return {"n": "one"}

    async with open_runner(Liar("liar")) as runner:
        with pytest.raises(JobRemoteError, match="expected int") as caught:
            await runner.ask("liar", Server.count, {"n": 1})  # type: ignore[call-overload]
    assert caught.value.type_name == "TypeError"


async def test_a_cancel_reaches_a_request_that_waits_for_room(autojump_clock) -> None:
    """S-JOB-3: a request that waits for room in a full lane can be cancelled, and never runs."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(9)

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> None:
        raise AssertionError("a cancelled job was served")

    async with open_runner(Actor("a", note=nap, serve=serve, mailbox_capacity=1)) as runner:
        for _ in range(2):
            await runner.send(Note(target="a"))
            await trio.sleep(0.5)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                with pytest.raises(JobCancelledError, match="too long"):
                    await runner.ask("a", "serve")

            nursery.start_soon(ask)
            await trio.sleep(1)
            (job_id,) = runner.bus.open_requests
            assert await runner.cancel_job(job_id, "too long")
        assert trio.current_time() == 2


async def test_a_cancel_reaches_a_request_in_the_lane(autojump_clock) -> None:
    """S-JOB-3: a request that waits in the lane behind data can be cancelled; the next moves up."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(9)

    async with open_runner(Actor("a", note=nap), Server()) as runner:
        await runner.send(Note(target="a"))
        await trio.sleep(1)
        await runner.send(Note(target="a"))
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1) as scope:
                await runner.ask("a", "serve")
            assert scope.cancelled_caught
            assert trio.current_time() == 2
            nursery.start_soon(runner.ask, "a", "serve")
        assert trio.current_time() == 9


@pytest.mark.parametrize("target", ["nobody", "late"])
async def test_workers_that_are_not_there(target: str, autojump_clock) -> None:
    """S-JOB-3: a job for a worker that never existed, or has finished, fails at once."""
    async with open_runner(Server("late")) as runner:
        await runner.end_worker("late")
        await trio.sleep(1)
        with pytest.raises(UnknownWorkerError, match=f"'{target}'") as caught:
            await runner.ask(target, "echo", {})
        assert isinstance(caught.value, WorkerGoneError)
        assert trio.current_time() == 1


async def test_a_runner_serves_no_jobs(autojump_clock) -> None:
    """S-JOB-3: a job for a runner is refused at once."""
    async with open_runner(name="r") as runner:
        with pytest.raises(JobRefusedError, match="a runner serves no jobs"):
            await runner.ask("r", "echo", {})


async def test_a_cancel_in_the_step_of_the_admission(autojump_clock) -> None:
    """S-JOB-3: a request that got room in this very step is cancelled as a job, not as a sender."""

    async def note(worker: Actor) -> None:
        for request in worker.bus.open_requests.values():
            request.cancel("in the same step", "test")
        await trio.sleep(1)

    actor = Actor("a", note=note, mailbox_capacity=1)
    async with open_runner(actor) as runner:
        async with trio.open_nursery() as nursery:
            for i in range(5):
                if i == 2:
                    nursery.start_soon(outcome_of, runner.ask("a", "serve"))
                else:
                    nursery.start_soon(runner.send, Note(target="a"))
                await trio.testing.wait_all_tasks_blocked()
            # One is handled, one is in the lane, the request and two more wait for room.
            assert actor.statistics().mailbox.waiting_senders == 3
        await trio.sleep(9)
        assert idle(runner)


async def test_a_request_that_was_not_sent_holds_up_nobody(autojump_clock) -> None:
    """A request that nobody serves, or that is over, is no wait for anybody (S-MAIL-12)."""
    async with open_runner() as runner:
        waits = runner.bus.waits
        request = Request(runner._root, "nobody", "work", {}, ReplyBox(keeping=False, waits=waits))
        assert request.movers() == (False, ())
        request.gone("never was")
        assert request.movers() == (False, ())
