"""Asking for jobs: `ask` and `job`, their ends, their scopes and their events."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
import trio

from tests.jobs import Actor, Alarm, Count, Counted, Note, Server, idle, outcome_of
from trioworkers import (
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusJobUpdateMessage,
    BusJobUpdateUrgentMessage,
    DeadLetter,
    Job,
    JobEvent,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    Worker,
    job,
    open_runner,
)


async def read(pending: Any) -> list[tuple[str, Any]]:
    """Read the events of a job to their end."""
    return [(event.type, event.data) async for event in pending]


# Events


async def test_events_come_in_order(autojump_clock) -> None:
    """S-JOB-5: the events of a job come in the order of sending, and then the iteration ends."""
    async with open_runner(Server()) as runner:
        async with runner.job("server", "lines") as pending:
            assert await read(pending) == [
                ("stream_start", {"n": 2}),
                ("stream_data", {"i": 0}),
                ("stream_data", {"i": 1}),
                ("stream_end", {"total": 2}),
            ]
            assert await read(pending) == []
        assert pending.response == {"total": 2}


@pytest.mark.parametrize("urgent", [False, True])
async def test_urgent_events_keep_their_order(urgent: bool, autojump_clock) -> None:
    """S-JOB-5: urgent updates do not overtake older events of their job, nor does its response."""
    kinds = (BusJobUpdateMessage, BusJobUpdateUrgentMessage)
    async with open_runner(Server()) as runner, runner.bus.open_subscription(*kinds) as seen:
        async with runner.job("server", "updates", {"n": 2, "urgent": urgent}) as pending:
            assert await read(pending) == [("update", {"i": 0}), ("update", {"i": 1})]
        assert type(await anext(seen)) is kinds[urgent]


async def test_events_are_not_lost_before_the_reader_comes(autojump_clock) -> None:
    """S-JOB-5: what was sent before the first read is there."""
    async with open_runner(Server()) as runner:
        async with runner.job("server", "updates", {"n": 5}) as pending:
            await trio.sleep(1)
            assert pending.status is JobStatus.COMPLETED
            first = await anext(pending)
            assert first == JobEvent("update", {"i": 0})
            assert len(await read(pending)) == 4


async def test_an_update_can_be_requested(autojump_clock) -> None:
    """A requester may ask how a job is getting on; the worker's hook answers with an update."""

    class Slow(Server):
        async def on_job_update_requested(self, job: Job) -> None:
            await job.update({"name": job.name, "at": trio.current_time()})

    async with open_runner(Slow()) as runner:
        async with runner.job("server", "nap", {"seconds": 5}) as pending:
            await trio.sleep(2)
            await pending.request_update()
            assert await read(pending) == [("update", {"name": "nap", "at": 2})]
            await pending.request_update()
        await pending.request_update()
        assert runner.statistics().dead_letters == {}


async def test_an_update_request_that_comes_too_late(autojump_clock) -> None:
    """A request for an update that arrives when the job is over is dropped: nothing is lost."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(2)

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await trio.sleep(1)

    async with open_runner(Actor("a", note=nap, serve=serve)) as runner:
        async with runner.job("a", "serve") as pending:
            await runner.send(Note(target="a"))
            await pending.request_update()
        await trio.sleep(2)
        assert runner.statistics().dead_letters == {}


# Ends


async def test_the_error_comes_at_the_end_of_the_iteration(autojump_clock) -> None:
    """S-JOB-1: iterated to the end, a failed job raises there, and not once more at the block's end."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.update({"i": 0})
        raise ValueError("later")

    async with open_runner(Actor("a", serve=serve)) as runner:
        async with runner.job("a", "serve") as pending:
            assert (await anext(pending)).data == {"i": 0}
            with pytest.raises(JobRemoteError, match="later"):
                await anext(pending)
        assert pending.status is JobStatus.ERROR
        with pytest.raises(JobRemoteError, match="later"):
            _ = pending.response


async def test_the_error_comes_at_the_end_of_the_block(autojump_clock) -> None:
    """S-JOB-1: not iterated, a failed job raises where the block ends."""
    async with open_runner(Server()) as runner:
        begun = False
        with pytest.raises(JobFailedError, match="no luck"):
            async with runner.job("server", "fail") as pending:
                await trio.sleep(1)
                begun = True
        assert begun
        assert pending.status is JobStatus.FAILED


async def test_read_in_part_after_it_failed(autojump_clock) -> None:
    """S-JOB-1: a job that failed while its events were read in part raises where the block ends."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.update({"i": 0})
        await job.update({"i": 1})
        raise ValueError("later")

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match="later"):
            async with runner.job("a", "serve") as pending:
                await anext(pending)
                await trio.sleep(1)


async def test_leaving_after_some_events_cancels(autojump_clock) -> None:
    """S-JOB-1: leaving the block in the middle of the events cancels the job, without an error."""
    server = Server()

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.update({})
        await Server.hang(server, job, payload)

    async with open_runner(Actor("a", serve=serve)) as runner:
        async with runner.job("a", "serve") as pending:
            async for _ in pending:
                break
        assert pending.status is JobStatus.CANCELLED
        assert server.log == [("cancelled", 0, "its requester left")]
        assert idle(runner)


async def test_leaving_early_is_a_cancellation_point(autojump_clock) -> None:
    """Leaving early in a cancelled scope is cancelled after the job is."""
    async with open_runner(Server()) as runner:
        with trio.CancelScope() as scope:
            async with runner.job("server", "updates", {"n": 999}) as pending:
                await anext(pending)
                scope.cancel()
        assert scope.cancelled_caught
        assert pending.status is JobStatus.CANCELLED


async def test_an_exception_of_the_body_wins(autojump_clock) -> None:
    """S-JOB-1: the body's exception passes unwrapped, the job is cancelled, its error not raised."""
    server = Server()
    async with open_runner(server) as runner:
        with pytest.raises(ZeroDivisionError):
            async with runner.job("server", "hang") as pending:
                await trio.sleep(1)
                raise ZeroDivisionError
        with pytest.raises(ZeroDivisionError):
            async with runner.job("server", "boom"):
                await trio.sleep(1)
                raise ZeroDivisionError
        assert pending.status is JobStatus.CANCELLED
        assert server.log == [("cancelled", 1, "its requester left")]


async def test_a_deadline_is_a_reason(autojump_clock) -> None:
    """S-JOB-6: a handler is told that its requester's deadline has passed, and not just left."""
    server = Server()
    async with open_runner(server) as runner:
        with trio.move_on_after(1):
            await runner.ask("server", "hang")
        assert server.log == [("cancelled", 1, "a deadline has passed")]


async def test_the_reason_of_a_foreign_exception_is_not_taken(autojump_clock) -> None:
    """A body's exception may have a `reason` of its own, which is no text."""

    class Refused(Exception):
        reason = OSError("its own")

    server = Server()
    async with open_runner(server) as runner:
        with pytest.raises(Refused):
            async with runner.job("server", "hang"):
                await trio.sleep(1)
                raise Refused
    assert server.log == [("cancelled", 1, "its requester left")]


async def test_two_workers_without_events_need_no_iteration(autojump_clock) -> None:
    """S-JOB-1: without iteration the block waits for the outcome, also with events unread."""
    async with open_runner(Server()) as runner:
        async with runner.job("server", "updates", {"n": 5}) as pending:
            assert pending.status is None
            with pytest.raises(RuntimeError, match="no outcome yet"):
                _ = pending.response
        assert pending.response == {}


# Scopes


async def test_the_scope_is_the_timeout(autojump_clock) -> None:
    """S-JOB-6: the caller's scope is the handler's limit; its reason reaches the handler."""
    server = Server()
    async with open_runner(server) as runner:
        with pytest.raises(trio.TooSlowError), trio.fail_after(2):
            await runner.ask("server", "hang")
        with trio.CancelScope() as scope:
            async with runner.job("server", "hang"):
                scope.cancel("no longer needed")
        assert idle(runner)
    assert [time for _, time, _ in server.log] == [2, 2]
    assert server.log[1][2] == "no longer needed"


async def test_the_limit_is_live(autojump_clock) -> None:
    """S-JOB-6: a deadline that is moved while the job runs holds for the handler."""
    server = Server()
    async with open_runner(server) as runner, trio.open_nursery() as nursery:
        with trio.move_on_after(10) as scope:

            async def sooner() -> None:
                await trio.sleep(1)
                scope.deadline = 3

            nursery.start_soon(sooner)
            await runner.ask("server", "hang")
    assert server.log[0][:2] == ("cancelled", 3)


async def test_the_handler_has_exited_before_the_block_is_left(autojump_clock) -> None:
    """S-JOB-6: a cancelled requester waits for the handler's clean-up, up to `job_grace`."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(payload["seconds"])

    async with open_runner(Actor("a", serve=serve), job_grace=2) as runner:
        with trio.move_on_after(1):
            await runner.ask("a", "serve", {"seconds": 1.5})
        assert trio.current_time() == 2.5
        assert idle(runner)
        with trio.move_on_after(1):
            await runner.ask("a", "serve", {"seconds": 5})
        assert trio.current_time() == 2.5 + 1 + 2
        assert runner.statistics().open_jobs == 0


async def test_the_grace_ends_with_the_requesters_cut_off(autojump_clock) -> None:
    """S-JOB-6: a worker that is cut off does not wait for a handler beyond its own cut-off."""

    async def note(worker: Actor) -> None:
        await worker.ask("server", "linger", {"seconds": 9})

    async with open_runner(Actor("a", note=note), Server(), job_grace=5, cancel_grace=1) as runner:
        await runner.send(Note(target="a"))
        await trio.sleep(1)
        await runner.cancel_worker("a")
        worker = runner.get_worker("a")
        assert worker is not None
        await worker.wait_stopped()
        assert trio.current_time() == 2
        await trio.sleep(9)
        assert runner.statistics().dead_letters["late reply"] == 1


async def test_a_chain_is_cancelled_from_its_root(autojump_clock) -> None:
    """S-JOB-6: a deadline at the first requester ends every handler of a chain, at once."""
    ends: list[Any] = []

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        following = payload["chain"]
        try:
            if following:
                return await worker.ask(following[0], "serve", {"chain": following[1:]})
            return await trio.sleep_forever()
        finally:
            ends.append((worker.name, trio.current_time()))

    async with open_runner(*[Actor(name, serve=serve) for name in "abc"]) as runner:
        with pytest.raises(trio.TooSlowError), trio.fail_after(2):
            await runner.ask("a", "serve", {"chain": ["b", "c"]})
    assert ends == [("c", 2), ("b", 2), ("a", 2)]


async def test_a_cancelled_ask_was_not_sent(autojump_clock) -> None:
    """S-JOB-3: in a cancelled scope a request is not sent, so no handler sees it."""
    server = Server()
    async with open_runner(server) as runner:
        with trio.CancelScope() as scope:
            scope.cancel()
            await runner.ask("server", "nap", {"seconds": 1})
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            async with runner.job("server", "nap", {"seconds": 1}):
                raise AssertionError("entered")
        assert server.log == []
        assert idle(runner)


async def test_cancelled_while_waiting_for_room(autojump_clock) -> None:
    """S-JOB-3: a requester that gives up while it waits for room leaves nothing in the lane."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(9)

    async with open_runner(Actor("a", note=nap, mailbox_capacity=1)) as runner:
        for _ in range(2):
            await runner.send(Note(target="a"))
            await trio.sleep(0.5)
        with trio.move_on_after(1):
            async with runner.job("a", "serve"):
                raise AssertionError("entered")
        assert trio.current_time() == 2
        await trio.sleep(20)
        assert idle(runner)


# Admission


@pytest.mark.parametrize("busy", ["note", "alarm"])
async def test_a_busy_turn_serves_jobs(busy: str, autojump_clock) -> None:
    """S-JOB-4: with an empty lane a request is admitted while a handler is suspended."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(5)

    async with open_runner(Actor("a", note=nap, alarm=nap)) as runner:
        await runner.send({"note": Note, "alarm": Alarm}[busy](target="a"))
        await trio.sleep(1)
        assert await runner.ask("a", "serve") == {}
        assert trio.current_time() == 1


async def test_a_request_waits_for_the_start(autojump_clock) -> None:
    """S-JOB-4: while `on_start` is suspended requests wait; nothing sent before ready is lost."""

    async def start(worker: Actor) -> None:
        await trio.sleep(3)

    async with open_runner() as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, Actor("a", start=start))
        await trio.sleep(1)
        assert await runner.ask("a", "serve") == {}
        assert trio.current_time() == 3


async def test_a_request_keeps_its_place_behind_data(autojump_clock) -> None:
    """S-JOB-4: behind a data message that waits, a request waits too; then it goes ahead of its turn."""
    log: list[Any] = []

    async def note(worker: Actor) -> None:
        log.append(("note", trio.current_time()))
        await trio.sleep(2)

    async def serve(*args: Any) -> None:
        log.append(("job", trio.current_time()))

    async with open_runner(Actor("a", note=note, serve=serve)) as runner:
        for _ in range(2):
            await runner.send(Note(target="a"))
            await trio.testing.wait_all_tasks_blocked()
        await runner.ask("a", "serve")
    assert log == [("note", 0), ("note", 2), ("job", 2)]


async def test_a_request_keeps_its_place_behind_an_activation(autojump_clock) -> None:
    """S-LIFE-6: activated and asked by the same sender in one step, a worker serves."""
    async with open_runner(Server(active=False)) as runner:
        runner.send_nowait(BusActivateWorkerMessage(target="server"))
        assert await runner.ask("server", "echo", {"a": 1}) == {"a": 1}
        runner.send_nowait(BusDeactivateWorkerMessage(target="server"))
        with pytest.raises(JobRefusedError, match="inactive"):
            await runner.ask("server", "echo", {"a": 1})


async def test_workers_may_ask_each_other_from_any_hook(autojump_clock) -> None:
    """S-JOB-4: a job may be awaited in any handler or hook, also of each other and of oneself."""
    log: list[Any] = []

    class Asker(Server):
        async def ask_around(self, where: str) -> None:
            log.append((where, await self.ask("other", "nothing")))
            log.append((where, await self.ask(self.name, "nothing")))

        async def on_activated(self, args: Any) -> None:
            await self.ask_around("on_activated")

        async def on_deactivated(self) -> None:
            log.append(("on_deactivated", await self.ask("other", "nothing")))

        async def note(self, message: Note) -> None:
            await self.ask_around("data")

        @job()
        async def nested(self, job: Job, payload: dict[str, Any]) -> None:
            await self.ask_around("job")

        async def on_stop(self) -> None:
            log.append(("on_stop", await self.ask("other", "nothing")))

    async with open_runner(Server("other"), Asker("me")) as runner:
        await trio.sleep(1)
        await runner.send(Note(target="me"))
        await trio.sleep(1)
        await runner.ask("me", "nested")
        await runner.send(BusDeactivateWorkerMessage(target="me"))
    counts = {where: sum(1 for at, answer in log if at == where) for where, _ in log}
    assert counts == {"on_activated": 2, "data": 2, "job": 2, "on_deactivated": 1, "on_stop": 1}


async def test_two_workers_may_ask_each_other(autojump_clock) -> None:
    """S-JOB-4: two workers that ask each other in their turns both get their answer."""
    answers: list[Any] = []

    async def note(worker: Actor) -> None:
        other = {"a": "b", "b": "a"}[worker.name]
        answers.append(await worker.ask(other, "serve", {"from": worker.name}))

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        await trio.sleep(1)
        return payload

    async with open_runner(*[Actor(name, note=note, serve=serve) for name in "ab"]) as runner:
        for name in "ab":
            await runner.send(Note(target=name))
        await trio.sleep(2)
    assert sorted(answer["from"] for answer in answers) == ["a", "b"]


async def test_an_answer_does_not_need_the_requesters_turn(autojump_clock) -> None:
    """S-JOB-4: replies do not travel through mailboxes: a full lane, or inactivity, is no matter."""

    async def note(worker: Actor) -> None:
        await worker.deactivate_worker("a")
        answers.append(await worker.ask("server", "nap", {"seconds": 2}))

    answers: list[Any] = []
    async with open_runner(Actor("a", note=note, mailbox_capacity=1), Server()) as runner:
        await runner.send(Note(target="a"))
        await trio.sleep(1)
        await trio.sleep(2)
        assert answers == [{"seconds": 2}]


# What is asked for


@attrs.define
class Sized:
    n: int


class Typed(Worker):
    @job("renamed")
    async def method(self, job: Job, request: Sized) -> Sized:
        return Sized(request.n + 1)

    @job()
    async def unannotated(self, job, payload):  # type: ignore[no-untyped-def]
        return payload


async def test_by_method_and_by_name(autojump_clock) -> None:
    """S-JOB-1: by method what goes in and comes out is typed; by name it is dicts."""
    typed = Typed("a")
    async with open_runner(typed, Server()) as runner:
        assert await runner.ask("a", Typed.method, Sized(1)) == Sized(2)
        assert await runner.ask("a", "renamed", {"n": 1}) == {"n": 2}
        assert await runner.ask("a", typed.method, Sized(1)) == Sized(2)  # type: ignore[arg-type]
        assert await runner.ask("a", Typed.unannotated, {"x": 1}) == {"x": 1}
        assert await runner.ask("a", "unannotated") is not None
        async with runner.job("server", Server.count, Count(5)) as pending:
            pass
        assert pending.response == Counted(5)


@pytest.mark.parametrize(
    ("worker", "name", "payload", "error", "text"),
    [
        ("a", print, {}, TypeError, "mark it @job"),
        ("a", 3, {}, TypeError, "named by a string or by a method"),
        ("a", "x", [1], TypeError, "a payload is a dict"),
        ("a", "x", Count, TypeError, "a payload is a dict"),
        ("a b", "x", {}, ValueError, "not allowed"),
        (3, "x", {}, TypeError, "must be a str"),
    ],
)
async def test_impossible_requests(
    worker: Any, name: Any, payload: Any, error: type[Exception], text: str, autojump_clock
) -> None:
    """A request that can never be right is the caller's error, raised before anything is sent."""
    async with open_runner(name="r") as runner:
        with pytest.raises(error, match=text):
            await runner.ask(worker, name, payload)
        with pytest.raises(error, match=text):
            async with runner.job(worker, name, payload):
                pass
        assert idle(runner)


async def test_a_pending_job_is_entered_once(autojump_clock) -> None:
    """What `job()` returns is entered before it is used, and only once."""
    async with open_runner(Server()) as runner:
        pending = runner.job("server", "nothing")
        for use in (lambda: pending.id, lambda: pending.status, lambda: pending.response):
            with pytest.raises(RuntimeError, match="async with"):
                use()
        async with pending:
            assert pending.id
        with pytest.raises(RuntimeError, match="sent already"):
            await pending.__aenter__()


async def test_a_worker_that_is_not_added_cannot_ask() -> None:
    """A worker that is on no bus says so when it is to ask."""
    for use in (lambda: Worker("w").ask("a", "b"), lambda: Worker("w").job("a", "b").__aenter__()):
        with pytest.raises(RuntimeError, match="add_workers"):
            await use()


async def test_thousands_of_jobs_leave_the_tables_as_they_were(autojump_clock) -> None:
    """S-LIFE-5: 2,000 jobs of every kind leave every table as it was."""
    async with open_runner(Server()) as runner:
        before = (len(runner.bus._routes), len(runner.registry._listeners))
        for i in range(2000):
            name = ("nothing", "lines", "boom", "no such job")[i % 4]
            await outcome_of(runner.ask("server", name))
        assert runner.statistics().open_jobs == 0
        assert idle(runner)
        after = (len(runner.bus._routes), len(runner.registry._listeners))
        assert after == before


async def test_dead_letters_of_jobs_name_their_job(autojump_clock) -> None:
    """A late reply is found by the job's id."""
    async with open_runner(Server(), job_grace=0) as runner:
        async with runner.bus.open_dead_letters() as letters:
            with trio.move_on_after(1):
                async with runner.job("server", "linger", {"seconds": 2}) as pending:
                    pass
            letter = await anext(letters)
        assert isinstance(letter, DeadLetter)
        assert f"{letter.message}".count(pending.id) == 1
