"""Failures that meet a restart: one round of stopping and starting serves them all."""

from __future__ import annotations

import random
from contextlib import suppress
from functools import partial

import attrs
import pytest
import trio
from trio.testing import MockClock

from trioworkers import (
    Backoff,
    BusActivateWorkerMessage,
    BusDataMessage,
    Job,
    NameTakenError,
    Restart,
    RestartIntensityExceeded,
    Strategy,
    Worker,
    WorkerErrorData,
    WorkersError,
    handles,
    job,
    message,
    open_runner,
)

GROUPS = [Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL]


@message
class Crash(BusDataMessage):
    """Make a child fail."""


@message
class Quit(BusDataMessage):
    """Make a child end normally."""


class Child(Worker):
    """Takes its time to start and to stop."""

    def __init__(self, name: str, start: float = 0, stop: float = 0) -> None:
        super().__init__(name)
        self.seconds = start, stop

    async def on_start(self) -> None:
        await trio.sleep(self.seconds[0])

    async def on_stop(self) -> None:
        await trio.sleep(self.seconds[1])

    @handles(Crash)
    async def crash(self, _message: Crash) -> None:
        raise ValueError(self.name)

    @handles(Quit)
    async def quit(self, _message: Quit) -> None:
        await self.stop()

    @job()
    async def ping(self, _job: Job, _payload: dict[str, object]) -> dict[str, object]:
        return {}


def supervisor(
    strategy_: Strategy,
    children: list[tuple[str, float, float]],
    restart: Restart,
    intensity: int = 1000,
) -> Worker:
    """Make the parent of `children`."""

    class Parent(Worker):
        strategy = strategy_
        max_restarts = intensity
        period = 60.0
        backoff = Backoff(initial=0.1, jitter=0, factor=1)

        async def on_start(self) -> None:
            await self.add_workers(*(partial(Child, *each) for each in children), restart=restart)

    return Parent("parent")


async def _all_answer(parent: Worker, names: str) -> None:
    for name in names:
        with trio.fail_after(5):
            await parent.ask(name, "ping")


@pytest.mark.parametrize("bad", [2, 3])
@pytest.mark.parametrize("names", ["ab", "abc"])
@pytest.mark.parametrize("strategy", GROUPS)
async def test_several_bad_messages(
    strategy: Strategy, names: str, bad: int, autojump_clock: MockClock
) -> None:
    """A child that fails again at once is restarted again, and everybody answers (S-SUP-6)."""
    parent = supervisor(strategy, [(name, 0, 0) for name in names], Restart.PERMANENT)
    async with open_runner(parent) as runner:
        for _ in range(bad):
            await runner.send(Crash(target="a"))
        await trio.sleep(5)
        await _all_answer(parent, names)
        child = runner.get_worker("a")
        assert child is not None
        assert child.statistics().restarts == bad


async def test_failures_in_the_same_instant_count_once(autojump_clock: MockClock) -> None:
    """What a restart stops anyway may have failed: that is no restart more (S-SUP-6)."""
    parent = supervisor(
        Strategy.ONE_FOR_ALL, [("a", 0, 0), ("b", 0, 0)], Restart.PERMANENT, intensity=1
    )
    async with open_runner(parent) as runner:
        runner.send_nowait(Crash(target="a"))
        runner.send_nowait(Crash(target="b"))
        await trio.sleep(5)
        await _all_answer(parent, "ab")


@pytest.mark.parametrize("kind", [Restart.PERMANENT, Restart.TRANSIENT])
async def test_a_failure_while_a_sibling_stops(kind: Restart, autojump_clock: MockClock) -> None:
    """A failure in the middle of a restart leaves nobody behind (S-SUP)."""
    parent = supervisor(
        Strategy.ONE_FOR_ALL, [("a", 0, 0), ("b", 0, 0), ("c", 0, 0), ("d", 0, 0.5)], kind
    )
    async with open_runner(parent) as runner:
        await runner.send(Crash(target="a"))
        await trio.sleep(0.2)
        await runner.send(Crash(target="b"))
        await trio.sleep(5)
        await _all_answer(parent, "abcd")


async def test_giving_up_while_a_sibling_stops(autojump_clock: MockClock) -> None:
    """Giving up in the middle of a restart raises that, at once, and nothing else (S-SUP)."""
    parent = supervisor(
        Strategy.ONE_FOR_ALL,
        [("a", 0.3, 0), ("b", 0, 0), ("d", 0, 0.5)],
        Restart.PERMANENT,
        intensity=1,
    )
    started = 0.0
    with pytest.RaisesGroup(RestartIntensityExceeded):
        async with open_runner(parent) as runner:
            started = trio.current_time()
            await runner.send(Crash(target="a"))
            await trio.sleep(0.8)
            await runner.send(Crash(target="b"))
            await runner.send(Crash(target="b"))
            await trio.sleep_forever()
    assert trio.current_time() - started < 4


async def test_a_function_that_fails_once_for_a_child_that_had_ended(
    autojump_clock: MockClock,
) -> None:
    """A function that fails for a resting child is a failed start, and tried again (S-SUP)."""
    made = 0

    def make() -> Worker:
        nonlocal made
        made += 1
        if made == 2:
            raise OSError("not just now")
        return Child("a")

    class Parent(Worker):
        strategy = Strategy.ONE_FOR_ALL

        async def on_start(self) -> None:
            await self.add_workers(make, partial(Child, "b"), restart=Restart.TRANSIENT)

    parent = Parent("parent")
    async with open_runner(parent) as runner:
        await runner.send(Quit(target="a"))
        await trio.sleep(1)
        await runner.send(Crash(target="b"))
        await trio.sleep(5)
        assert made == 3
        await _all_answer(parent, "ab")


@pytest.mark.parametrize("strategy", GROUPS)
async def test_a_child_told_to_stop_while_its_start_has_failed(
    strategy: Strategy, autojump_clock: MockClock
) -> None:
    """A restart goes on without a child that is told to stop in it (S-SUP)."""
    fails = False

    class Failing(Child):
        async def on_start(self) -> None:
            if fails:
                raise ValueError("no start")

    class Parent(Worker):
        backoff = Backoff(initial=0.1, jitter=0, factor=1)

        async def on_start(self) -> None:
            await self.add_workers(
                partial(Failing, "a"), partial(Child, "b"), restart=Restart.PERMANENT
            )

        async def on_worker_failed(self, data: object) -> None:
            if fails:
                await self.end_worker("a")

    Parent.strategy = strategy
    parent = Parent("parent")
    async with open_runner(parent) as runner:
        fails = True
        await runner.send(Crash(target="a"))
        await trio.sleep(5)
        assert runner.get_worker("a") is None
        await _all_answer(parent, "b")


@pytest.mark.parametrize("told", ["a", "b", "ab"])
async def test_children_told_to_stop_while_a_restart_waits(
    told: str, autojump_clock: MockClock
) -> None:
    """A restart goes on without whoever is told to stop in its delay (S-SUP)."""
    parent = supervisor(Strategy.ONE_FOR_ALL, [("a", 0, 0), ("b", 0, 0)], Restart.PERMANENT)
    async with open_runner(parent) as runner:
        await runner.send(Crash(target="a"))
        await trio.sleep(0.05)
        for name in told:
            await runner.end_worker(name)
        await trio.sleep(5)
        assert [name for name in "ab" if runner.get_worker(name) is None] == list(told)
        await _all_answer(parent, "".join(sorted(set("ab") - set(told))))


async def test_a_parent_that_fails_while_a_restart_stops_a_child(
    autojump_clock: MockClock,
) -> None:
    """A child that a restart is stopping is waited for by whoever stops everything (S-SUP)."""
    stopped: list[float] = []

    class Slow(Child):
        async def on_stop(self) -> None:
            await trio.sleep(0.5)
            stopped.append(trio.current_time())

    class Parent(Worker):
        strategy = Strategy.ONE_FOR_ALL

        async def on_start(self) -> None:
            children = partial(Child, "a"), partial(Slow, "b")
            await self.add_workers(*children, restart=Restart.PERMANENT)

        async def on_stop(self) -> None:
            stopped.append(-1)

        @handles(Crash)
        async def crash(self, _message: Crash) -> None:
            raise OSError("the parent")

    begun = 0.0
    with pytest.RaisesGroup(OSError):
        async with open_runner(Parent("parent")) as runner:
            begun = trio.current_time()
            await runner.send(Crash(target="a"))
            await trio.sleep(0.2)
            await runner.send(Crash(target="parent"))
            await trio.sleep_forever()
    assert stopped == [begun + 0.5, -1]


SEEDS = 60


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_random_failures(seed: int, autojump_clock: MockClock) -> None:
    """Whatever fails or ends whenever, in the end everybody is up and answers (S-SUP, S-JOB-3)."""
    chance = random.Random(seed)
    kind = chance.choice([Restart.PERMANENT, Restart.TRANSIENT])
    times = [0, 0, 0.05, 0.3]
    children = [(name, chance.choice(times), chance.choice(times)) for name in "abcd"]
    parent = supervisor(chance.choice(list(Strategy)), children, kind)
    async with open_runner(parent) as runner:
        for _ in range(chance.randint(1, 6)):
            await trio.sleep(chance.choice([0, 0.01, 0.05, 0.12, 0.3, 0.6]))
            what = Crash if kind is Restart.TRANSIENT or chance.random() < 0.7 else Quit
            with suppress(WorkersError):
                runner.send_nowait(what(target=chance.choice("abcd")))
        await trio.sleep(30)
        await _all_answer(parent, "abcd")


class Reusing(Worker):
    """Takes the name of a child that has ended for another one."""

    backoff = Backoff(initial=1, jitter=0)

    async def on_start(self) -> None:
        await self.add_workers(
            partial(Child, "a"), partial(Child, "b"), partial(Child, "c"), restart=Restart.TRANSIENT
        )


@pytest.mark.parametrize("again", [Restart.TRANSIENT, None])
@pytest.mark.parametrize("strategy", GROUPS)
async def test_a_new_child_takes_the_place_of_one_that_rests(
    strategy: Strategy, again: Restart | None, autojump_clock: MockClock
) -> None:
    """The name of a child that has ended is free, and a restart starts the new one (S-SUP)."""
    parent = type("Kind", (Reusing,), {"strategy": strategy})("parent")
    async with open_runner(parent) as runner:
        await runner.send(Quit(target="b"))
        await trio.sleep(1)
        new = Child("b")
        await parent.add_workers(new, restart=again)
        await runner.send(Crash(target="a"))
        await trio.sleep(5)
        await _all_answer(parent, "abc")
        assert list(parent.children) == ["a", "c", "b"]
        assert parent.children["b"] is new
        assert new.statistics().restarts == (0 if again is None else 1)


async def test_a_new_child_in_the_middle_of_a_restart(autojump_clock: MockClock) -> None:
    """A child added while a restart waits to start one of its name takes its place (S-SUP)."""
    parent = type("Kind", (Reusing,), {"strategy": Strategy.ONE_FOR_ALL})("parent")
    async with open_runner(parent) as runner:
        await runner.send(Quit(target="b"))
        await trio.sleep(1)
        await runner.send(Crash(target="a"))
        await trio.sleep(0.5)
        new = Child("b")
        await parent.add_workers(new, restart=Restart.TRANSIENT)
        await trio.sleep(5)
        await _all_answer(parent, "abc")
        assert list(parent.children) == ["a", "c", "b"]
        assert new.statistics().restarts == 0


async def test_a_name_that_stays_taken_keeps_who_rests(autojump_clock: MockClock) -> None:
    """A child that could not be added takes no place away (S-SUP, S-BUS-5)."""
    parent = type("Kind", (Reusing,), {"strategy": Strategy.ONE_FOR_ALL})("parent")
    async with open_runner(parent) as runner:
        await runner.send(Quit(target="b"))
        await trio.sleep(1)
        await runner.add_workers(Child("b"))
        with pytest.raises(NameTakenError):
            await parent.add_workers(Child("b"), restart=Restart.TRANSIENT)
        await runner.end_worker("b")
        await trio.sleep(1)
        await runner.send(Crash(target="a"))
        await trio.sleep(5)
        await _all_answer(parent, "abc")


async def test_a_child_that_rests_must_keep_its_name(autojump_clock: MockClock) -> None:
    """A function that makes another name for a resting child is a failed start (S-SUP-1)."""
    names = iter(["a", "z", "a"])

    class Parent(Worker):
        strategy = Strategy.ONE_FOR_ALL

        async def on_start(self) -> None:
            await self.add_workers(
                lambda: Child(next(names)), partial(Child, "b"), restart=Restart.TRANSIENT
            )

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            errors.append(data.error)

    errors: list[str] = []
    parent = Parent("parent")
    async with open_runner(parent) as runner:
        await runner.send(Quit(target="a"))
        await trio.sleep(1)
        await runner.send(Crash(target="b"))
        await trio.sleep(5)
        await _all_answer(parent, "ab")
        assert list(parent.children) == ["a", "b"]
    assert "'a' made one named 'z': it must keep the name" in errors[1]


@attrs.frozen
class One:
    """What the first incarnation is activated with."""

    x: int


@attrs.frozen
class Two:
    """What the later ones want."""

    y: int


class Early(Child):
    """Is active with one kind of arguments."""

    async def on_activated(self, args: One | None) -> None:
        pass


class Late(Child):
    """Wants another kind."""

    async def on_activated(self, args: Two | None) -> None:
        pass


async def test_an_incarnation_whose_arguments_do_not_fit(autojump_clock: MockClock) -> None:
    """S-SUP-6: arguments that the next incarnation does not take are a failed start."""
    made: list[Worker] = []

    def make() -> Worker:
        made.append((Late if made else Early)("a"))
        return made[-1]

    class Parent(Worker):
        max_restarts = 2

        async def on_start(self) -> None:
            await self.add_workers(make, restart=Restart.PERMANENT)

    with pytest.RaisesGroup(RestartIntensityExceeded):
        async with open_runner(Parent("parent")) as runner:
            await runner.send(BusActivateWorkerMessage(target="a", args={"x": 1}))
            await runner.send(Crash(target="a"))
            await trio.sleep_forever()
    assert len(made) == 3
