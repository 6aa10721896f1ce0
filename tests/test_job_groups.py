"""Job groups: several jobs that are sent, read and given up together."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.jobs import Actor, Count, Counted, Note, Server, idle
from trioworkers import (
    Job,
    JobCancelledError,
    JobGroupError,
    JobGroupEvent,
    JobRefusedError,
    JobStatus,
    UnknownWorkerError,
    Worker,
    open_runner,
)


def servers(count: int = 3) -> list[Server]:
    """Make servers named s0, s1, ..."""
    return [Server(f"s{i}") for i in range(count)]


async def test_by_mapping_and_by_names(autojump_clock) -> None:
    """S-JOB-1: a group is a job with a payload for each worker, or names with one payload for all."""
    async with open_runner(*servers()) as runner:
        async with runner.job_group(Server.count, {"s0": Count(0), "s1": Count(1)}) as group:
            pass
        assert group.responses == {"s0": Counted(0), "s1": Counted(1)}
        assert group.statuses == {"s0": JobStatus.COMPLETED, "s1": JobStatus.COMPLETED}
        async with runner.job_group("s2", "s1", name="echo", payload={"a": 1}) as named:
            pass
        assert named.responses == {"s2": {"a": 1}, "s1": {"a": 1}}
        async with runner.job_group("count", {"s0": {"n": 5}}) as plain:
            assert set(plain.ids) == {"s0"}
        assert plain.responses == {"s0": {"n": 5}}


async def test_members_run_at_once(autojump_clock) -> None:
    """S-JOB-1: the members of a group run beside each other."""
    async with open_runner(*servers()) as runner:
        async with runner.job_group("s0", "s1", "s2", name="nap", payload={"seconds": 2}) as group:
            assert group.statuses == {}
            assert group.responses == {}
        assert trio.current_time() == 2
        assert len(group.responses) == 3


async def test_an_empty_group_completes(autojump_clock) -> None:
    """S-JOB-1: an empty group completes at once, read or not."""
    async with open_runner() as runner:
        async with runner.job_group("count", {}) as group:
            assert [event async for event in group] == []
        async with runner.job_group(name="count"):
            pass
        assert (group.responses, group.statuses) == ({}, {})
        assert trio.current_time() == 0


async def test_workers_are_distinct(autojump_clock) -> None:
    """S-JOB-1: a worker that is named twice is a ValueError."""
    async with open_runner(*servers()) as runner:
        with pytest.raises(ValueError, match="distinct: s0, s1, s0"):
            runner.job_group("s0", "s1", "s0", name="echo")


async def test_events_name_their_worker(autojump_clock) -> None:
    """S-JOB-5: the events of each member keep their order, and say whose they are."""
    async with open_runner(*servers(2)) as runner:
        async with runner.job_group("s0", "s1", name="updates", payload={"n": 3}) as group:
            events = [event async for event in group]
    assert isinstance(events[0], JobGroupEvent)
    for name in ("s0", "s1"):
        mine = [event.data for event in events if event.worker_name == name]
        assert mine == [{"i": 0}, {"i": 1}, {"i": 2}]


async def test_a_failed_member_cancels_the_others(autojump_clock) -> None:
    """S-JOB-1: with `cancel_on_error` one failure cancels the rest; the error has every outcome."""
    log = servers()

    async def serve(*args: Any) -> None:
        await trio.sleep(1)
        raise ValueError("mine")

    group_of = {"done": {}, "bad": {}, "s0": {}}
    doers = [Actor("done"), Actor("bad", serve=serve)]

    async def hang(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await Server.hang(log[0], job, payload)

    async with open_runner(*doers, Actor("s0", serve=hang)) as runner:
        with pytest.raises(JobGroupError, match="2 of 3 members") as caught:
            async with runner.job_group("serve", group_of) as group:
                await trio.sleep(5)
        outcomes = caught.value.outcomes
        assert outcomes["done"] == {}
        assert isinstance(outcomes["s0"], JobCancelledError)
        assert "worker 'bad' failed" in str(outcomes["s0"])
        assert caught.value.__cause__ is outcomes["bad"]
        assert group.statuses == {"done": "completed", "bad": "error", "s0": "cancelled"}
        assert group.responses == {"done": {}}
        assert idle(runner)
    # In the step of the failure, while the block did something else.
    assert log[0].log[0][:2] == ("cancelled", 1)


async def test_the_group_error_comes_once(autojump_clock) -> None:
    """S-JOB-1: iterated to the end the group raises there, and not at the block's end again."""
    async with open_runner(*servers()) as runner:
        async with runner.job_group("s0", "s1", name="boom") as group:
            with pytest.raises(JobGroupError, match="boom"):
                await anext(group)
        with pytest.raises(JobGroupError):
            async with runner.job_group("s0", "s1", name="boom") as group:
                async for _ in group:
                    pass


async def test_without_cancel_on_error(autojump_clock) -> None:
    """S-JOB-1: without `cancel_on_error` the others go on, and statuses tell who failed."""

    async def serve(*args: Any) -> None:
        raise ValueError

    async def nap(*args: Any) -> None:
        await trio.sleep(2)

    workers = [Actor("bad", serve=serve), Actor("good", serve=nap)]
    async with open_runner(*workers) as runner:
        async with runner.job_group("bad", "good", name="serve", cancel_on_error=False) as group:
            assert [event async for event in group] == []
        assert group.statuses == {"bad": JobStatus.ERROR, "good": JobStatus.COMPLETED}
        assert group.responses == {"good": {}}
        assert trio.current_time() == 2


async def test_a_member_that_is_not_there(autojump_clock) -> None:
    """S-JOB-1: a member that fails before the others are sent keeps them from being sent."""
    server = Server("s0")
    async with open_runner(server) as runner:
        with pytest.raises(JobGroupError) as caught:
            async with runner.job_group("nobody", "s0", name="hang"):
                pass
        assert isinstance(caught.value.outcomes["nobody"], UnknownWorkerError)
        assert isinstance(caught.value.outcomes["s0"], JobCancelledError)
        assert server.statistics().jobs_served == 0
        async with runner.job_group(
            "nobody", "s0", name="echo", payload={}, cancel_on_error=False
        ) as group:
            pass
        assert group.statuses == {"nobody": "error", "s0": "completed"}


async def test_a_failure_while_another_member_waits_for_room(autojump_clock) -> None:
    """S-JOB-1: a failed member cancels one that still waits for room in a full lane."""

    async def note(worker: Actor) -> None:
        await trio.sleep(50)

    async def serve(*args: Any) -> None:
        await trio.sleep(1)
        raise ValueError

    full = Actor("full", note=note, mailbox_capacity=1)
    async with open_runner(Actor("bad", serve=serve), full) as runner:
        for _ in range(2):
            await runner.send(Note(target="full"))
            await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(JobGroupError):
            async with runner.job_group("bad", "full", name="serve"):
                pass
        assert trio.current_time() == 1
        await runner.cancel_worker("full")


async def test_a_failure_while_the_others_are_sent(monkeypatch, autojump_clock) -> None:
    """S-JOB-1: a member that was cancelled before it was sent is not sent, wherever sending was."""
    monkeypatch.setattr("trioworkers._bus.SENDS_PER_PASS", 1)
    served: list[str] = []

    async def serve(worker: Worker, *args: Any) -> None:
        served.append(worker.name)
        raise ValueError

    names = [f"a{i}" for i in range(5)]
    async with open_runner(*(Actor(name, serve=serve) for name in names)) as runner:
        with pytest.raises(JobGroupError, match="5 of 5 members") as caught:
            async with runner.job_group(*names, name="serve"):
                pass
        unsent = {name for name in names if name not in served}
        assert unsent
        for name in unsent:
            assert isinstance(caught.value.outcomes[name], JobCancelledError)
        assert idle(runner)


@pytest.mark.parametrize("seconds", [1.2, 3])
async def test_a_failure_after_some_events(seconds: float, autojump_clock) -> None:
    """S-JOB-1: also read in part, the block waits for the others of a failed member, and raises."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        if worker.name == "bad":
            await trio.sleep(1)
            raise ValueError
        await job.update({})
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(1)

    async with open_runner(Actor("bad", serve=serve), Actor("slow", serve=serve)) as runner:
        with pytest.raises(JobGroupError, match="2 of 2 members"):
            async with runner.job_group("bad", "slow", name="serve") as group:
                async for _ in group:
                    break
                await trio.sleep(seconds)
        assert trio.current_time() == max(2, seconds)
        assert group.statuses == {"bad": "error", "slow": "cancelled"}
        assert idle(runner)


async def test_leaving_after_some_events_cancels_all(autojump_clock) -> None:
    """S-JOB-1: left in the middle of the events, a group cancels its members without an error."""
    workers = servers(2)

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.update({})
        await Server.hang(workers[0], job, payload)

    async with open_runner(Actor("a", serve=serve), Actor("b", serve=serve)) as runner:
        async with runner.job_group("a", "b", name="serve") as group:
            async for _ in group:
                break
        assert group.statuses == {"a": "cancelled", "b": "cancelled"}
        assert [entry[2] for entry in workers[0].log] == ["its requester left"] * 2
        assert idle(runner)


async def test_an_exception_of_the_body_wins(autojump_clock) -> None:
    """S-JOB-1: the body's exception passes unwrapped, though a member failed."""
    async with open_runner(*servers(2)) as runner:
        with pytest.raises(ZeroDivisionError):
            async with runner.job_group("s0", "s1", name="boom"):
                await trio.sleep(1)
                raise ZeroDivisionError
        assert idle(runner)


async def test_the_scope_is_the_timeout(autojump_clock) -> None:
    """S-JOB-6: a cancelled requester cancels every member and waits for them, with one grace."""
    workers = servers(2)
    async with open_runner(*workers, job_grace=1) as runner:
        with pytest.raises(trio.TooSlowError), trio.fail_after(2):
            async with runner.job_group("s0", "s1", name="hang"):
                pass
        assert trio.current_time() == 2
        with pytest.raises(trio.TooSlowError), trio.fail_after(2):
            async with runner.job_group("s0", "s1", name="linger", payload={"seconds": 9}):
                pass
        assert trio.current_time() == 5
    assert [worker.log[0][1] for worker in workers] == [2, 2]


async def test_cancelled_before_it_was_sent(autojump_clock) -> None:
    """S-JOB-3: in a cancelled scope no member is sent; a group left early is a cancellation point."""
    workers = servers(2)
    async with open_runner(*workers) as runner:
        with trio.CancelScope() as scope:
            scope.cancel()
            async with runner.job_group("s0", "s1", name="nap", payload={"seconds": 1}):
                raise AssertionError("entered")
        assert [worker.log for worker in workers] == [[], []]
        with trio.CancelScope() as scope:
            async with runner.job_group("s0", "s1", name="updates", payload={"n": 999}) as group:
                await anext(group)
                scope.cancel()
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            async with runner.job_group(name="nothing"):
                scope.cancel()
        assert scope.cancelled_caught
        assert idle(runner)


async def test_members_can_be_cancelled_from_outside(autojump_clock) -> None:
    """S-JOB-7: `cancellable` holds for each member of a group."""
    async with open_runner(*servers(2)) as runner:
        async with runner.job_group(
            "s0", "s1", name="nap", payload={"seconds": 3}, cancel_on_error=False
        ) as group:
            await trio.sleep(1)
            assert await runner.cancel_job(group.ids["s0"], "not that one")
        assert group.statuses == {"s0": "cancelled", "s1": "completed"}
        async with runner.job_group(
            "s0", name="nap", payload={"seconds": 3}, cancellable=False
        ) as group:
            assert not await runner.cancel_job(group.ids["s0"])


async def test_members_that_are_refused(autojump_clock) -> None:
    """S-JOB-1: a refusal is an outcome of its member like any other."""
    async with open_runner(Server("s0", active=False), Server("s1")) as runner:
        with pytest.raises(JobGroupError) as caught:
            async with runner.job_group("s1", "s0", name="echo", payload={}):
                pass
        assert isinstance(caught.value.outcomes["s0"], JobRefusedError)


async def test_the_forms_of_the_arguments(autojump_clock) -> None:
    """Arguments that are neither of the two forms, and impossible names, are the caller's error."""
    async with open_runner(Server("s0")) as runner:
        group_of: Any = runner.job_group
        for args, keywords in [
            (("s0", "s1"), {}),
            (("echo",), {}),
            (("echo", {"s0": {}}), {"payload": {}}),
        ]:
            with pytest.raises(TypeError, match="takes a job and a mapping"):
                group_of(*args, **keywords)
        with pytest.raises(TypeError, match="mark it @job"):
            group_of(print, {})
        with pytest.raises(ValueError, match="not allowed"):
            await group_of("echo", {"s 0": {}}).__aenter__()
        with pytest.raises(TypeError, match="a payload is a dict"):
            await group_of("echo", {"s0": 3}).__aenter__()
        assert idle(runner)


async def test_a_group_is_entered_once(autojump_clock) -> None:
    """What `job_group()` returns is entered before it is used, and only once."""
    async with open_runner(Server("s0")) as runner:
        group = runner.job_group("s0", name="nothing")
        for use in (lambda: group.ids, lambda: group.statuses, lambda: group.responses):
            with pytest.raises(RuntimeError, match="async with"):
                use()
        async with group:
            pass
        with pytest.raises(RuntimeError, match="sent already"):
            await group.__aenter__()
