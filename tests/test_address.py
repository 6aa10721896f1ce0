"""What is behind a worker's name: messages, requests, commands."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.lives import Actor, Do, DoNow, Tracer, forever, note, parent_of, sleep, until
from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusEndWorkerMessage,
    BusJobUpdateRequestMessage,
    Job,
    JobCancelledError,
    JobRefusedError,
    StopReason,
    WorkerGoneError,
    WorkerRunner,
    message,
    open_runner,
)


@message
class Unheard(BusDataMessage):
    pass


async def test_broadcasts_are_for_active_workers(autojump_clock: Any) -> None:
    """S-BUS-2: a broadcast reaches who is active, not ending, and handles its type."""
    log: list[Any] = []
    act = lambda me: note(log, me.name)(me)  # noqa: E731
    a, b, c = Actor("a"), Actor("b", active=False), Actor("c", stop=sleep(9))
    async with open_runner(a, b, c) as runner:
        await c.stop()
        for kind in (Do, DoNow):
            await runner.send(kind(act=act))
        await trio.sleep(1)
        assert log == ["a", "a"]
        await runner.cancel()


async def test_what_nobody_handles(autojump_clock: Any) -> None:
    """S-BUS-3: a data message without handler is a dead letter, as is one for who is inactive."""
    async with open_runner(Actor("a"), Actor("b", active=False)) as runner:
        tracer = Tracer(runner)
        for name in ("a", "b"):
            await runner.send(Unheard(target=name))
        await trio.sleep(1)
    assert sorted(tracer.reasons) == ["inactive", "unhandled"]


async def test_requests_while_a_deactivation_is_in_hand(autojump_clock: Any) -> None:
    """S-LIFE-6: an inactive worker refuses at once, unless an activation is queued before."""

    class Slow(Actor):
        async def on_deactivated(self) -> None:
            await trio.sleep(10)

    async with open_runner(Slow()) as runner:
        await runner.send(BusDeactivateWorkerMessage(target="actor"))
        await trio.sleep(1)
        await runner.send(Do(target="actor"))
        since = trio.current_time()
        with pytest.raises(JobRefusedError) as caught:
            await runner.ask("actor", "work")
        assert caught.value.reason == "inactive"
        assert trio.current_time() == since
        await runner.send(BusActivateWorkerMessage(target="actor"))
        assert await runner.ask("actor", "work") == {"by": "actor"}
        assert trio.current_time() == pytest.approx(since + 9)


@pytest.mark.parametrize("kind", [BusEndWorkerMessage, BusCancelWorkerMessage])
async def test_commands_act_at_once(autojump_clock: Any, kind: Any) -> None:
    """S-MAIL-6: end and cancel of a worker act in the sender's own step, with its path."""
    actor, other = Actor(), Actor("other")
    async with open_runner(actor, other) as runner:
        await runner.send(Do(target="actor", act=sleep(1)))
        await trio.sleep(0.5)
        other.send_nowait(kind(target="actor", reason="go"))
        reason = actor.stop_reason
        assert reason is not None
        assert (reason.reason, reason.path) == ("go", f"{runner.name}/other")
        await actor.wait_stopped()


async def test_an_ending_worker_hears_its_descendants(autojump_clock: Any) -> None:
    """S-LIFE-7: messages of descendants are taken while it ends, its own and others' are not."""
    log: list[Any] = []
    child = Actor("child", stop=lambda me: me.send(Do(target="actor", act=note(log, "child"))))
    actor = Actor(start=parent_of(child))
    async with open_runner(actor, Actor("other")) as runner:
        tracer = Tracer(runner)
        await runner.send(Do(target="child", act=sleep(1)))
        await trio.sleep(0.1)
        await runner.end_worker("actor")
        await actor.send(Do(target="actor", act=note(log, "own")))
        await runner.send(Do(target="actor", act=note(log, "runner")))
        await actor.wait_stopped()
    assert log == ["child"]
    assert tracer.reasons == ["ending", "ending"]


async def test_waiting_senders_when_the_worker_ends(autojump_clock: Any) -> None:
    """S-LIFE-7: who waits for room when the intake closes is let go; the message is dead."""
    actor = Actor(mailbox_capacity=1)
    async with open_runner(actor) as runner:
        tracer = Tracer(runner)
        await runner.send(Do(target="actor", act=sleep(5)))
        await trio.sleep(1)
        await runner.send(Do(target="actor"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.send, Do(target="actor"))
            await trio.sleep(1)
            await runner.end_worker("actor")
    assert tracer.reasons == ["ending"]


async def test_requests_of_a_worker_that_does_not_run(autojump_clock: Any) -> None:
    """S-JOB-3: a request for who is not started waits in its lane, and can be cancelled there."""
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(Actor(start=sleep(5)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(runner.run)
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await runner.ask("actor", "work", {})
        assert scope.cancelled_caught
        async with runner.job("actor", "work", {}) as pending:
            pass
        assert pending.response == {"by": "actor"}
        await runner.end()


@pytest.mark.parametrize("overflow", ["refuse", "wait"])
async def test_requests_for_a_full_lane(autojump_clock: Any, overflow: Any) -> None:
    """S-MAIL-7: a full lane answers a request busy under refuse, and waits under wait."""
    actor = Actor(mailbox_capacity=1, overflow=overflow)
    async with open_runner(actor) as runner:
        await runner.send(Do(target="actor", act=sleep(5)))
        await trio.sleep(1)
        await runner.send(Do(target="actor"))
        if overflow == "refuse":
            with pytest.raises(JobRefusedError, match="busy"):
                await runner.ask("actor", "work", {})
        else:
            assert await runner.ask("actor", "work", {}) == {"by": "actor"}
            assert trio.current_time() == pytest.approx(5)


async def test_requests_in_the_lane_of_a_worker_that_goes(autojump_clock: Any) -> None:
    """S-JOB-3: requests in the lane of a cancelled worker end with it, and say why."""
    actor = Actor()
    async with open_runner(actor) as runner, trio.open_nursery() as nursery:
        await runner.send(Do(target="actor", act=forever))
        await runner.send(Do(target="actor"))

        async def ask() -> None:
            with pytest.raises(WorkerGoneError, match="too slow"):
                await runner.ask("actor", "work", {})

        nursery.start_soon(ask)
        await trio.sleep(1)
        await runner.cancel_worker("actor", "too slow")


async def test_a_request_in_the_lane_is_cancelled(autojump_clock: Any) -> None:
    """S-JOB-7: cancel_job takes a request out of the lane; those behind it move up."""
    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=sleep(5)))
        await runner.send(Do(target="actor"))
        pending = runner.job("actor", "work", {})
        with pytest.raises(JobCancelledError, match="why"):
            async with pending:
                assert await runner.cancel_job(pending.id, "why")
        assert trio.current_time() < 1


class Updating(Actor):
    """Answers how its jobs are getting on."""

    async def on_job_update_requested(self, job: Job) -> None:
        await job.update({"half": True})


async def test_updates_are_asked_for(autojump_clock: Any) -> None:
    """on_job_update_requested gets the running job of the requester; a late wish is nothing."""
    async with open_runner(Updating()) as runner:
        tracer = Tracer(runner)
        async with runner.job("actor", "work", {"seconds": 2}) as pending:
            await pending.request_update()
            events = [event.data async for event in pending]
            await pending.request_update()
        await trio.sleep(1)
    assert events == [{"half": True}]
    assert tracer.reasons == []


async def test_the_reasons_of_who_is_gone(autojump_clock: Any) -> None:
    """S-LIFE-9: a stopped worker's reason stays readable."""
    actor = Actor()
    async with open_runner(actor) as runner:
        await runner.end_worker("actor", "done")
        await actor.wait_stopped()
    assert actor.stop_reason == StopReason("ended", "done", runner.name)


async def test_a_waiting_request_when_the_worker_ends(autojump_clock: Any) -> None:
    """S-LIFE-7: a request that waits for room when the intake closes is refused."""
    async with open_runner(Actor(mailbox_capacity=1)) as runner, trio.open_nursery() as nursery:
        await runner.send(Do(target="actor", act=sleep(5)))
        await trio.sleep(1)
        await runner.send(Do(target="actor"))

        async def ask() -> None:
            with pytest.raises(JobRefusedError, match="ending"):
                await runner.ask("actor", "work", {})

        nursery.start_soon(ask)
        await trio.sleep(1)
        await runner.end_worker("actor")


async def test_a_waiting_request_is_cancelled(autojump_clock: Any) -> None:
    """S-JOB-7: cancel_job ends a request that waits for room at once."""
    seen: list[str] = []
    async with open_runner(Actor(mailbox_capacity=1)) as runner, trio.open_nursery() as nursery:
        await runner.send(Do(target="actor", act=sleep(5)))
        await trio.sleep(1)
        await runner.send(Do(target="actor"))

        async def ask() -> None:
            with pytest.raises(JobCancelledError, match="why"):
                await runner.ask("actor", "work", {})
            seen.append(f"at {trio.current_time():.0f}")

        nursery.start_soon(ask)
        await trio.sleep(1)
        (job_id,) = runner.bus.open_requests
        assert await runner.cancel_job(job_id, "why")
    assert seen == ["at 2"]


async def test_more_jobs_than_may_wait(autojump_clock: Any) -> None:
    """S-JOB-3: beyond the jobs that run and wait, a request is refused as busy."""
    actor = Actor(max_concurrent_jobs=1, mailbox_capacity=1)
    async with open_runner(actor) as runner, trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(runner.ask, "actor", "work", {"seconds": 5})
        await trio.sleep(1)
        with pytest.raises(JobRefusedError, match="busy"):
            await runner.ask("actor", "work", {})


async def test_updates_while_ending(autojump_clock: Any) -> None:
    """S-LIFE-7: an ending worker still tells how its jobs, any of them, are getting on."""
    async with open_runner(Updating()) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.ask, "actor", "work", {"seconds": 5})
        await trio.sleep(1)
        async with runner.job("actor", "work", {"seconds": 5}) as pending:
            await trio.sleep(1)
            await runner.end_worker("actor")
            await pending.request_update()
            assert [event.data async for event in pending] == [{"half": True}]


async def test_a_wish_for_a_job_that_is_over(autojump_clock: Any) -> None:
    """An update that is asked for too late is nobody's problem."""
    async with open_runner(Updating()) as runner:
        tracer = Tracer(runner)
        await runner.bus.send_internal(
            BusJobUpdateRequestMessage(source=runner.name, target="actor", job_id="over")
        )
        await trio.sleep(1)
    assert tracer.reasons == []


async def test_a_full_lane_of_a_worker_that_was_just_made(autojump_clock: Any) -> None:
    """S-MAIL-12: to wait for a worker that has made no step yet is no circle."""
    child = Actor("child", mailbox_capacity=1)
    log: list[Any] = []

    async def act(me: Actor) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(me.add_workers, child)
            await until(lambda: "child" in me.children)
            for number in range(3):
                await me.send(Do(target="child", act=note(log, number)))

    for _ in range(10):
        log.clear()
        child = Actor("child", mailbox_capacity=1)
        async with open_runner(Actor()) as runner:
            await runner.send(Do(target="actor", act=act))
    assert log == [0, 1, 2]


class Watching(Actor):
    async def on_worker_ready(self, data: Any) -> None:
        self.log.append(data.worker_name)


async def test_news_for_who_stops(autojump_clock: Any) -> None:
    """S-LIFE-5: news that a stopped worker did not hear is no dead letter."""
    actor = Watching()
    async with open_runner(actor) as runner:
        tracer = Tracer(runner)
        await actor.watch_worker("late")
        await actor.watch_worker("late")
        await runner.send(DoNow(target="actor", act=forever))
        await trio.sleep(1)
        await runner.add_workers(Actor("late"))
        await runner.cancel_worker("actor")
        await actor.wait_stopped()
    assert actor.log == ["start", "stop"]
    assert tracer.reasons == ["cancelled"]
