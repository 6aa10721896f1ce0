"""Circles of waits are refused where they would be closed, and nothing else is (S-MAIL-12)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.jobs import Act, Actor, Note, Server, idle, outcome_of
from trioworkers import (
    BackpressureDeadlockError,
    Job,
    JobError,
    JobGroupError,
    JobRefusedError,
    Worker,
    WorkerRunner,
    job,
    open_runner,
)


def deadlock(error: Any) -> str:
    """Return the circle that a refused job names."""
    assert isinstance(error, JobRefusedError), error
    assert error.reason == "deadlock"
    return str(error).partition("deadlock (")[2].rstrip(")")


def sends(count: int, targets: dict[str, str]) -> tuple[list[Any], Act]:
    """Return a log, and a handler that sends `count` notes to the worker's target, once."""
    log: list[Any] = []
    begun: set[str] = set()

    async def note(worker: Actor) -> None:
        if worker.name in begun:
            return
        begun.add(worker.name)
        for _ in range(count):
            try:
                await worker.send(Note(target=targets[worker.name]))
            except BackpressureDeadlockError as error:
                log.append(error.cycle)
                return
        log.append("sent")

    return log, note


async def settle(runner: WorkerRunner, *names: str) -> None:
    """Send a note to each, and let everything happen."""
    for name in names:
        await runner.send(Note(target=name))
    await trio.sleep(100)
    assert idle(runner)


async def test_mutual_sends_on_full_lanes(autojump_clock) -> None:
    """S-MAIL-12: of two workers that fill each other's lanes one is refused, with the circle."""
    log, note = sends(5, {"a": "b", "b": "a"})
    async with open_runner(
        *[Actor(name, note=note, mailbox_capacity=2) for name in "ab"]
    ) as runner:
        await settle(runner, "a", "b")
    refused = [entry for entry in log if entry != "sent"]
    assert len(refused) == 1
    assert refused[0] in (("a", "b", "a"), ("b", "a", "b"))
    assert log.count("sent") == 1


async def test_a_worker_that_fills_its_own_lane(autojump_clock) -> None:
    """S-MAIL-12: a handler that waits for room in its own lane would wait for itself."""
    log, note = sends(5, {"a": "a"})
    async with open_runner(Actor("a", note=note, mailbox_capacity=2)) as runner:
        await settle(runner, "a")
    assert log == [("a", "a")]


async def test_a_request_that_waits_for_room_in_a_circle(autojump_clock) -> None:
    """S-MAIL-12: an ask that would wait for room in the asker's own full lane is refused."""
    answers: list[Any] = []

    async def note(worker: Actor) -> None:
        if not answers:
            worker.send_nowait(Note(target="a"))
            answers.append(await outcome_of(worker.ask("a", "serve")))

    async with open_runner(Actor("a", note=note, mailbox_capacity=1)) as runner:
        await settle(runner, "a")
    assert deadlock(answers[0]) == "a -> a"


async def test_a_ring_of_sends(autojump_clock) -> None:
    """S-MAIL-12: a circle of any length is refused; the error names all of it."""
    names = "abcde"
    ring = dict(zip(names, names[1:] + names[0], strict=True))
    log, note = sends(9, ring)
    async with open_runner(
        *[Actor(name, note=note, mailbox_capacity=2) for name in names]
    ) as runner:
        await settle(runner, *names)
    refused = [entry for entry in log if entry != "sent"]
    assert len(refused) == 1
    assert set(refused[0]) == set(names)
    assert len(refused[0]) == 6


async def test_an_open_chain_of_sends_is_none(autojump_clock) -> None:
    """S-MAIL-12: full lanes in a row that ends are backpressure, not a circle."""
    log, note = sends(9, {"a": "b", "b": "c", "c": "sink"})
    workers = [Actor(name, note=note, mailbox_capacity=2) for name in "abc"]
    async with open_runner(*workers, Server("sink", mailbox_capacity=2)) as runner:
        await settle(runner, *"abc")
    assert log == ["sent"] * 3


@pytest.mark.parametrize("between", [0, 1])
async def test_mutual_asks(between: int, autojump_clock) -> None:
    """S-MAIL-12: mutual asks work; with data in between, the one that closes the circle is refused."""
    answers: list[Any] = []

    async def note(worker: Actor) -> None:
        if worker.statistics().handled:
            return
        other = {"a": "b", "b": "a"}[worker.name]
        await trio.sleep(1)
        for _ in range(between):
            await worker.send(Note(target=other))
        await trio.sleep(1)
        answers.append(await outcome_of(worker.ask(other, "serve")))

    async with open_runner(*[Actor(name, note=note) for name in "ab"]) as runner:
        await settle(runner, "a", "b")
    refused = [answer for answer in answers if answer != {}]
    assert len(refused) == between
    for error in refused:
        assert deadlock(error) in ("a -> b -> a", "b -> a -> b")


async def test_all_job_slots_wait(autojump_clock) -> None:
    """S-MAIL-12: when every slot of a worker waits for a job that waits for a slot, it is refused."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        if payload["depth"]:
            await trio.sleep(1)
            return await worker.ask("a", "serve", {"depth": payload["depth"] - 1})
        return {"deep": True}

    answers: list[Any] = []
    async with open_runner(Actor("a", serve=serve, max_concurrent_jobs=2)) as runner:

        async def ask() -> None:
            answers.append(await outcome_of(runner.ask("a", "serve", {"depth": 1})))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            nursery.start_soon(ask)
    # The first one waits for a slot that the second one can still free: by being refused.
    assert answers.count({"deep": True}) == 1
    (error,) = [answer for answer in answers if answer != {"deep": True}]
    assert "deadlock (a -> a)" in str(error)
    assert error.type_name == "JobRefusedError"


@pytest.mark.parametrize("depth", [3, 4, 20])
async def test_recursion_through_the_slots(depth: int, autojump_clock) -> None:
    """S-MAIL-12: recursion works up to `max_concurrent_jobs`, and is refused beyond."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        if payload["depth"] == 1:
            return {}
        return await worker.ask("a", "serve", {"depth": payload["depth"] - 1})

    async with open_runner(Actor("a", serve=serve, max_concurrent_jobs=4)) as runner:
        answer = await outcome_of(runner.ask("a", "serve", {"depth": depth}))
        assert idle(runner)
    if depth > 4:
        assert "deadlock (a -> a)" in str(answer)
    else:
        assert answer == {}


@pytest.mark.parametrize("job_name", ["serially", "serve"])
async def test_recursion_of_a_sequential_job(job_name: str, autojump_clock) -> None:
    """S-MAIL-12: a sequential job that asks for itself waits for itself; another one does not."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return await worker.ask("a", job_name, {"end": True}) if not payload else {}

    async with open_runner(Actor("a", serve=serve)) as runner:
        answer = await outcome_of(runner.ask("a", "serially"))
    assert ("deadlock (a -> a)" in str(answer)) is (job_name == "serially")


async def test_sequential_jobs_of_two_workers(autojump_clock) -> None:
    """S-MAIL-12: sequential jobs that ask for each other are refused with both names."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        await trio.sleep(1)
        other = {"a": "b", "b": "a"}[worker.name]
        return await worker.ask(other, "serially", payload)

    async with open_runner(*[Actor(name, serve=serve) for name in "ab"]) as runner:
        answer = await outcome_of(runner.ask("a", "serially"))
    assert any(f"deadlock ({circle})" in str(answer) for circle in ("a -> b -> a", "b -> a -> b"))


@pytest.mark.parametrize("close", [True, False])
async def test_a_queue_that_closes_a_circle_later(close: bool, autojump_clock) -> None:
    """S-MAIL-12: a request that gets from the lane into the queue for a slot may close a circle."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any] | None:
        await trio.sleep(1)
        if payload.get("inner"):
            return {"inner": True}
        return await worker.ask("a" if close else "b", "serially", {"inner": True})

    async def note(worker: Actor) -> None:
        await trio.sleep(3)

    # The inner request waits behind a note, in the lane, before it waits for the slot.
    async with open_runner(Actor("a", serve=serve, note=note), Actor("b", serve=serve)) as runner:
        async with runner.job("a", "serially") as pending:
            for _ in range(2):
                await runner.send(Note(target="a"))
                await trio.testing.wait_all_tasks_blocked()
            answer = await outcome_of(anext(pending))
        await trio.sleep(9)
        assert idle(runner)
    if close:
        assert "deadlock (a -> a)" in str(answer)
    else:
        assert pending.response == {"inner": True}


async def test_add_workers_in_a_circle(autojump_clock) -> None:
    """S-MAIL-12: a child whose start waits for the handler that adds it is refused."""
    errors: list[Any] = []

    async def start(worker: Actor) -> None:
        for _ in range(9):
            try:
                await worker.send(Note(target="parent"))
            except BackpressureDeadlockError as error:
                errors.append(error.cycle)
                return

    async def note(worker: Actor) -> None:
        if not worker.children:
            await worker.add_workers(Actor("child", start=start))

    async with open_runner(Actor("parent", note=note, mailbox_capacity=2)) as runner:
        await settle(runner, "parent")
    assert errors == [("child", "parent", "child")] or errors == [("parent", "child", "parent")]


async def test_a_child_may_ask_the_parent_that_adds_it(autojump_clock) -> None:
    """S-MAIL-12: a job of a parent that waits in `add_workers` is no circle: it needs no turn."""
    answers: list[Any] = []

    async def start(worker: Actor) -> None:
        answers.append(await worker.ask("parent", "serve"))

    async def note(worker: Actor) -> None:
        await worker.add_workers(Actor("child", start=start))

    async with open_runner(Actor("parent", note=note)) as runner:
        await settle(runner, "parent")
    assert answers == [{}]


async def test_wait_ready_in_a_circle(autojump_clock) -> None:
    """S-MAIL-12: a start that waits for a sibling which starts after it is refused."""

    async def waits(worker: Actor) -> None:
        await worker.registry.wait_ready({"a": "b", "b": "a"}[worker.name])

    with pytest.RaisesGroup(
        pytest.RaisesExc(BackpressureDeadlockError, check=lambda error: set(error.cycle) == {*"ab"})
    ):
        async with open_runner(Actor("a", start=waits), Actor("b")):
            raise AssertionError("entered")


async def test_wait_ready_that_can_be_served(autojump_clock) -> None:
    """S-MAIL-12: waiting for a sibling that is started before, or independently, is no circle."""

    async def waits(worker: Actor) -> None:
        await worker.registry.wait_ready("a")

    async def slowly(worker: Actor) -> None:
        await trio.sleep(2)

    async with open_runner(Actor("a", start=slowly), Actor("b", start=waits)) as runner:
        assert trio.current_time() == 2
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.registry.wait_ready, "late")
            await trio.sleep(1)
            await runner.add_workers(Actor("late"))


async def test_asking_a_worker_whose_start_waits_for_the_asker(autojump_clock) -> None:
    """S-MAIL-12: an ask of a starting worker whose start asks the asker's start is refused."""
    answers: list[Any] = []

    async def start(worker: Actor) -> None:
        other = {"a": "b", "b": "a"}[worker.name]
        await trio.sleep(1)
        answers.append(await outcome_of(worker.ask(other, "serve")))

    async with open_runner() as runner, trio.open_nursery() as nursery:
        for name in "ab":
            nursery.start_soon(runner.add_workers, Actor(name, start=start))
    refused = [answer for answer in answers if answer != {}]
    assert len(refused) == 1
    assert deadlock(refused[0]) in ("a -> b -> a", "b -> a -> b")


@pytest.mark.parametrize("hook", ["start", "stop"])
async def test_asking_oneself_where_no_job_can_run(hook: str, autojump_clock) -> None:
    """S-MAIL-12: in `on_start` and `on_stop` a worker serves no jobs, so asking itself is refused."""
    answers: list[Any] = []

    async def ask(worker: Actor) -> None:
        answers.append(await outcome_of(worker.ask("a", "serve")))

    hooks: dict[str, Any] = {hook: ask}
    async with open_runner(Actor("a", **hooks)):
        pass
    assert [deadlock(answer) for answer in answers] == ["a -> a"]
    assert trio.current_time() == 0


@pytest.mark.parametrize("cancel_on_error", [True, False])
async def test_groups_in_a_circle(cancel_on_error: bool, autojump_clock) -> None:
    """S-MAIL-12: of a group that waits for its own requester, the members at fault are refused."""
    outcomes: list[Any] = []

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        if worker.name == "other":
            return {}
        group_of = {"a": payload, "other": payload}
        try:
            async with worker.job_group(
                "serially", group_of, cancel_on_error=cancel_on_error
            ) as group:
                pass
        except JobGroupError as error:
            outcomes.append(error.outcomes)
            return {}
        return {name: str(status) for name, status in group.statuses.items()}

    async with open_runner(Actor("a", serve=serve), Actor("other", serve=serve)) as runner:
        answer = await runner.ask("a", "serially")
        assert idle(runner)
    if cancel_on_error:
        assert deadlock(outcomes[0]["a"]) == "a -> a"
    else:
        assert answer == {"a": "failed", "other": "completed"}


async def test_a_member_of_a_group_in_a_later_circle(autojump_clock) -> None:
    """S-MAIL-12: a group waits for all its members: one that is stuck is enough for a circle."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        if worker.name == "a":
            async with worker.job_group("b", "c", name="serially", payload={}) as group:
                pass
            return group.responses
        await trio.sleep(1)
        return {} if worker.name == "c" else await worker.ask("a", "serially")

    async with open_runner(*[Actor(name, serve=serve) for name in "abc"]) as runner:
        answer = await outcome_of(runner.ask("a", "serially"))
        assert idle(runner)
    assert "deadlock (" in str(answer)
    assert trio.current_time() == 1


async def test_a_circle_is_refused_though_somebody_has_a_deadline(autojump_clock) -> None:
    """S-MAIL-12: a chain that ends in a circle is refused at once, also if a member has a deadline."""
    names = "abc"

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        following = names[(names.index(worker.name) + 1) % 3]
        with trio.fail_after(5):
            return await worker.ask(following, "serially")

    async with open_runner(*[Actor(name, serve=serve) for name in names]) as runner:
        answer = await outcome_of(runner.ask("a", "serially"))
    assert "a -> b -> c -> a" in str(answer) or "c -> a -> b -> c" in str(answer)
    assert trio.current_time() == 0


@pytest.mark.parametrize(
    "free", [lambda nursery: None, lambda nursery: nursery.cancel_scope.cancel()]
)
async def test_waits_that_somebody_else_ends_are_no_circle(
    free: Callable[[trio.Nursery], None], autojump_clock
) -> None:
    """S-MAIL-12: a slot that a third job will free is waited for; nothing is refused."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        if "nap" in payload:
            await trio.sleep(payload["nap"])
            return {"napped": True}
        await trio.sleep(1)
        return await worker.ask("a", "serve", {"nap": 1})

    async with open_runner(Actor("a", serve=serve, max_concurrent_jobs=2)) as runner:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.ask, "a", "serve", {"nap": 5})
            await trio.testing.wait_all_tasks_blocked()
            assert await runner.ask("a", "serve", {}) == {"napped": True}
            free(nursery)
        assert trio.current_time() == 6


async def test_asks_of_child_tasks_are_not_the_turn(autojump_clock) -> None:
    """S-MAIL-12: a handler's own child task waits for itself only; its deadlock is not seen."""
    answers: list[Any] = []

    async def note(worker: Actor) -> None:
        async def ask() -> None:
            with trio.move_on_after(2):
                answers.append(await outcome_of(worker.ask("a", "serve")))

        if worker.statistics().handled == 0:
            await worker.send(Note(target="a"))
            async with trio.open_nursery() as nursery:  # noqa: ASYNC112 - a task of its own is the point
                nursery.start_soon(ask)

    async with open_runner(Actor("a", note=note)) as runner:
        await settle(runner, "a")
    # The framework cannot know that the handler waits for its child task: the scope ends it.
    assert answers == []


# Against brute force

NAMES = "abcd"
Plan = tuple[str, bool, list[Any]]


def plans() -> st.SearchStrategy[list[Plan]]:
    """Draw trees of calls: whom to ask, whether for the sequential job, and what it asks in turn."""
    names, sequential = st.sampled_from(NAMES), st.booleans()
    return st.recursive(
        st.just([]),
        lambda inner: st.lists(st.tuples(names, sequential, inner), max_size=3),
        max_leaves=20,
    )


def refusals(plan: list[Plan], stack: tuple[tuple[str, bool], ...], slots: int) -> int:
    """Count by brute force the calls that would wait for a job which waits for them."""
    count = 0
    for name, sequential, inner in plan:
        full = sum(1 for each, _ in stack if each == name) >= slots
        if full or (sequential and (name, True) in stack):
            count += 1
        else:
            count += refusals(inner, (*stack, (name, sequential)), slots)
    return count


async def carry_out(plans: list[list[Plan]], slots: int) -> int:
    """Let the runner carry out all plans at once; count what is refused."""
    refused = 0

    async def do(asker: Any, plan: list[Plan]) -> None:
        nonlocal refused
        for name, sequential, inner in plan:
            kind = "serially" if sequential else "serve"
            answer = await outcome_of(asker.ask(name, kind, {"plan": inner}))
            if answer != {}:
                deadlock(answer)
                refused += 1

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await do(worker, payload["plan"])

    workers = [Actor(name, serve=serve, max_concurrent_jobs=slots) for name in NAMES]
    async with open_runner(*workers) as runner:
        with trio.fail_after(1000):
            async with trio.open_nursery() as nursery:
                for plan in plans:
                    nursery.start_soon(do, runner, plan)
        assert idle(runner)
    return refused


@settings(deadline=None)
@given(plans(), st.integers(1, 3))
def test_exactly_the_circles_are_refused(plan: list[Plan], slots: int) -> None:
    """S-MAIL-12: of any tree of asks, exactly those that would wait for themselves are refused."""
    refused = trio.run(carry_out, [plan], slots, clock=MockClock(autojump_threshold=0))
    assert refused == refusals(plan, (), slots)


@settings(deadline=None)
@given(st.lists(plans(), min_size=2, max_size=4), st.integers(1, 3))
def test_askers_at_once_never_wait_for_ever(plan: list[list[Plan]], slots: int) -> None:
    """S-MAIL-12: of any trees of asks at once, each comes to an end; without nesting none is refused."""
    refused = trio.run(carry_out, plan, slots, clock=MockClock(autojump_threshold=0))
    if not any(inner for each in plan for _, _, inner in each):
        assert refused == 0


async def test_a_reader_that_asks_behind_its_own_stream(autojump_clock: object) -> None:
    """A reader that asks what waits behind the stream it reads is refused, not stuck (S-MAIL-12)."""

    class Streamer(Worker):
        @job()
        async def many(self, job: Job, payload: dict[str, Any]) -> None:
            for number in range(200):
                await job.stream({"number": number})

        @job()
        async def one(self, job: Job, payload: dict[str, Any]) -> None: ...

    with trio.fail_after(1):
        async with open_runner(Streamer("s", max_concurrent_jobs=1)) as runner:
            with pytest.raises(JobError, match=r"circle of waits|deadlock"):
                async with runner.job("s", "many") as pending:
                    async for _ in pending:
                        await runner.ask("s", "one")


async def test_a_stream_whose_reader_waits_behind_it(autojump_clock: object) -> None:
    """A stream that would wait for a reader who waits for its job is refused (S-MAIL-12)."""

    class Streamer(Worker):
        @job()
        async def many(self, job: Job, payload: dict[str, Any]) -> None:
            await trio.sleep(1)
            for number in range(200):
                await job.stream({"number": number})

        @job()
        async def one(self, job: Job, payload: dict[str, Any]) -> None: ...

    with trio.fail_after(5):
        async with open_runner(Streamer("s", max_concurrent_jobs=1)) as runner:
            with pytest.raises(JobError, match="BackpressureDeadlockError"):
                async with runner.job("s", "many"):
                    assert await runner.ask("s", "one") == {}
