"""Where the peer's requester hangs or is misled."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.jobs import Actor, Note, Server, idle, outcome_of
from trioworkers import (
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    DeadLetter,
    Job,
    JobCancelledError,
    JobFailed,
    JobGroupError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    UnknownWorkerError,
    Worker,
    WorkerGoneError,
    open_runner,
)


async def test_j1_handler_raises(autojump_clock) -> None:
    """Peer: without a timeout the requester hangs, with one it gets "timeout".  Ours: the error."""
    async with open_runner(Server()) as runner:
        with pytest.raises(JobRemoteError, match="KeyError: 'boom'"):
            await runner.ask("server", "boom")


async def test_j2_handler_never_answers(autojump_clock) -> None:
    """Peer: a handler that returns without answering leaves the requester hanging.

    Ours: returning is answering; who waits for ever inside the handler is ended by the scope.
    """
    async with open_runner(Server()) as runner:
        assert await runner.ask("server", "nothing") == {}
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await runner.ask("server", "hang")
        assert idle(runner)


async def test_j3_inactive_worker(autojump_clock) -> None:
    """Peer: a job for an inactive worker is dropped silently: hang.  Ours: refused at once."""
    async with open_runner(Server(active=False)) as runner:
        with pytest.raises(JobRefusedError, match="inactive"):
            await runner.ask("server", "nothing")
        assert trio.current_time() == 0


async def test_r1_activation_directly_followed_by_a_request(autojump_clock) -> None:
    """Peer: the request overtakes the activation and is dropped.  Ours: it keeps its place."""
    async with open_runner(Server(active=False)) as runner:
        runner.send_nowait(BusActivateWorkerMessage(target="server"))
        assert await runner.ask("server", "nothing") == {}


async def test_j5_requester_inactive_when_the_answer_comes(autojump_clock) -> None:
    """Peer: the answer for a requester that handed over is dropped: hang.  Ours: it arrives."""
    answers: list[Any] = []

    async def note(worker: Actor) -> None:
        async with worker.job("server", "nap", {"seconds": 2}) as pending:
            await worker.activate_worker("other", deactivate_self=True)
        answers.append(pending.response)

    async with open_runner(
        Actor("me", note=note), Server("other", active=False), Server()
    ) as runner:
        await runner.send(Note(target="me"))
        await trio.sleep(3)
    assert answers == [{"seconds": 2}]


async def test_r2_worker_deactivated_in_mid_job(autojump_clock) -> None:
    """Peer: its job cannot be cancelled any more, and runs on.  Ours: the cancel is delivered."""
    server = Server()
    async with open_runner(server) as runner:
        with trio.move_on_after(2):
            async with runner.job("server", "hang"):
                await runner.send(BusDeactivateWorkerMessage(target="server"))
        assert server.log[0][:2] == ("cancelled", 2)


@pytest.mark.parametrize("stop", ["end", "cancel"])
async def test_j6_j8_worker_stops_in_mid_job(stop: str, autojump_clock) -> None:
    """Peer: the requester gets {} as a success.  Ours: an end lets the job finish, a cancel is told."""
    async with open_runner(Server()) as runner:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await outcome_of(runner.ask("server", "nap", {"seconds": 3})))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            await (runner.end_worker if stop == "end" else runner.cancel_worker)("server")
    (answer,) = answers
    if stop == "end":
        assert answer == {"seconds": 3}
    else:
        assert isinstance(answer, WorkerGoneError)


async def test_j7_l3_finished_worker(autojump_clock) -> None:
    """Peer: a finished worker still answers, a zombie.  Ours: it is gone, and messages are told."""
    server = Server()
    async with open_runner(server) as runner, runner.bus.open_dead_letters() as letters:
        await server.stop()
        await server.wait_stopped()
        with pytest.raises(UnknownWorkerError):
            await runner.ask("server", "nothing")
        await runner.send(Note(target="server"))
        letter = await anext(letters)
        assert isinstance(letter, DeadLetter)
        assert letter.reason == "unknown"


async def test_j21_code_after_the_job_raises(autojump_clock) -> None:
    """Peer: an error of the requester's on_job_completed makes it hang, even with a timeout.

    Ours: it is an exception of the block, and passes.
    """
    async with open_runner(Server()) as runner:
        with pytest.raises(ZeroDivisionError):
            async with runner.job("server", "nothing") as pending:
                async for _ in pending:
                    pass
                raise ZeroDivisionError
        assert idle(runner)


async def test_j21_code_for_a_response_raises(autojump_clock) -> None:
    """Peer: an error in on_job_response loses the answer.  Ours: it ends the group's block."""
    async with open_runner(Server("a"), Server("b")) as runner:
        with pytest.raises(ZeroDivisionError):
            async with runner.job_group("a", "b", name="lines") as group:
                async for event in group:
                    if event.type == "stream_end":
                        raise ZeroDivisionError
        assert idle(runner)


async def test_j21_code_for_an_update_raises(autojump_clock) -> None:
    """Peer: an error in on_job_update loses the event.  Ours: the job is cancelled, the error passes."""
    async with open_runner(Server()) as runner:
        with pytest.raises(ZeroDivisionError):
            async with runner.job("server", "updates", {"n": 999}) as pending:
                async for _ in pending:
                    raise ZeroDivisionError
        assert pending.status is JobStatus.CANCELLED


async def test_j23_job_in_on_activated(autojump_clock) -> None:
    """Peer: awaiting a job in on_activated is a deadlock.  Ours: it is answered."""
    answers: list[Any] = []

    class Eager(Worker):
        async def on_activated(self, args: Any) -> None:
            answers.append(await self.ask("server", "nap", {"seconds": 1}))

    async with open_runner(Server(), Eager("eager")):
        await trio.sleep(2)
    assert answers == [{"seconds": 1}]


async def test_r4_events_before_the_block_is_entered(autojump_clock) -> None:
    """Peer: events and answers that come while the request is being sent are lost: hang.

    Ours: the box for them exists before the request leaves.
    """

    async def nap(worker: Actor) -> None:
        await trio.sleep(1)

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        for i in range(3):
            await job.update({"i": i})

    async with open_runner(Actor("a", note=nap, serve=serve, mailbox_capacity=1)) as runner:
        for _ in range(2):
            runner.send_nowait(Note(target="a"))
            await trio.testing.wait_all_tasks_blocked()
        # Waits for room; when there is some, the job runs before this task goes on.
        async with runner.job_group("a", name="serve") as group:
            await trio.sleep(1)
            assert [event.data async for event in group] == [{"i": i} for i in range(3)]
        await trio.sleep(2)


async def test_j14_urgent_answers(autojump_clock) -> None:
    """Peer: an urgent answer overtakes the updates before it, which are lost.  Ours: in order."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        for i in range(5):
            await job.update({"i": i}, urgent=i % 2 == 1)

    async with open_runner(Actor("a", serve=serve)) as runner:
        async with runner.job("a", "serve") as pending:
            await trio.sleep(1)
            assert [event.data async for event in pending] == [{"i": i} for i in range(5)]


async def test_j9_unknown_worker(autojump_clock) -> None:
    """Peer: a job for a worker that does not exist hangs.  Ours: fails at once, and says so."""
    async with open_runner() as runner:
        with pytest.raises(UnknownWorkerError, match="there is no worker"):
            await runner.ask("nobody", "nothing")


async def test_j13_empty_group(autojump_clock) -> None:
    """Peer: an empty group hangs.  Ours: it completes at once."""
    async with open_runner() as runner:
        async with runner.job_group("nothing", {}) as group:
            assert [event async for event in group] == []


async def test_j11_cancel_without_a_reason(autojump_clock) -> None:
    """Peer: cancelled without a reason, a job looks like a success.  Ours: it raises."""
    async with open_runner(Server()) as runner:
        with pytest.raises(JobCancelledError, match="no reason given"):
            async with runner.job("server", "hang") as pending:
                assert await runner.cancel_job(pending.id)


async def test_j12_status_of_each_member(autojump_clock) -> None:
    """Peer: statuses are not in the responses, a FAILED group looks successful.  Ours: it raises."""

    async def serve(*args: Any) -> None:
        raise JobFailed("no", response={"looks": "fine"})

    async with open_runner(Actor("a", serve=serve), Actor("b")) as runner:
        with pytest.raises(JobGroupError):
            async with runner.job_group("a", "b", name="serve"):
                pass
        async with runner.job_group("a", "b", name="serve", cancel_on_error=False) as group:
            pass
        assert group.statuses == {"a": JobStatus.FAILED, "b": JobStatus.COMPLETED}
        assert group.responses == {"b": {}}


@pytest.mark.parametrize("response", [(1, 2), {1, 2}, "text"])
async def test_p10_impossible_response(response: Any, autojump_clock) -> None:
    """Peer: a response it cannot send becomes null, or nothing.  Ours: an error that names it."""

    async def serve(*args: Any) -> Any:
        return response

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match="return a dict, an attrs object or None"):
            await runner.ask("a", "serve")
