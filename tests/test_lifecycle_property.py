"""Whatever is done to a small tree, in whatever order: it stops in time and leaves nothing."""

from __future__ import annotations

import contextlib
from typing import Any

import hypothesis.strategies as st
import pytest
import trio
from hypothesis import HealthCheck, given, settings
from trio.testing import MockClock

from tests.lives import (
    Act,
    Actor,
    Do,
    DoNow,
    Guardian,
    Interrupt,
    assert_empty,
    crash,
    nothing,
    sleep,
    stubborn,
)
from trioworkers import Backoff, Restart, Strategy, WorkerRunner, WorkersError

END_DEADLINE = 10.0
GRACE = 3.0
NAMES = ["a", "b", "c", "d"]


async def clean_up(me: Actor) -> None:
    """Wait until cancelled, and then clean up for some time."""
    try:
        await trio.sleep_forever()
    finally:
        with me.cleanup():
            await trio.sleep(1)  # noqa: ASYNC102 - that is what is tested
        with me.cleanup():
            await trio.sleep(100)  # noqa: ASYNC102 - that is what is tested


async def crash_late(_me: Actor) -> None:
    """Fail while being cancelled."""
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("late")


async def background(me: Actor) -> None:
    """Start a task that fails."""
    me.nursery.start_soon(crash, me)


ACTS: dict[str, Act] = {
    "nothing": nothing,
    "short": sleep(0.5),
    "forever": sleep(1e6),
    "crash": crash,
    "clean up": clean_up,
    "crash late": crash_late,
    "stop": lambda me: me.stop(),
    "end": lambda me: me.end(),
    "cancel": lambda me: me.cancel(),
    "end parent": lambda me: me.runner.end_worker("a"),
    "cancel parent": lambda me: me.runner.cancel_worker("a"),
    "cancel itself": lambda me: me.runner.cancel_worker(me.name),
}
HOOKS = [name for name in ACTS if name not in {"end", "cancel"}]
MESSAGES = {"data": Do, "system": DoNow, "interrupt": Interrupt}


class Traced(Guardian):
    """Writes each start and each end of on_stop into one history."""

    backoff = Backoff(initial=0.5, jitter=0)
    max_restarts = 2
    history: list[tuple[str, str]]

    async def on_start(self) -> None:
        self.history.append(("begins", self.name))
        await super().on_start()

    async def on_stop(self) -> None:
        self.history.append(("stops", self.name))
        try:
            await super().on_stop()
        finally:
            self.history.append(("stopped", self.name))


class AllForOne(Traced):
    strategy = Strategy.ONE_FOR_ALL


hooks = st.sampled_from(HOOKS)
restarts = st.sampled_from([None, *Restart])
workers = st.fixed_dictionaries(
    {"start": st.sampled_from(["nothing", "short", "crash", "stop", "forever"]), "stop": hooks}
)
operations = st.one_of(
    st.tuples(st.just("end"), st.sampled_from(NAMES), st.sampled_from([None, 0.0, 2.0])),
    st.tuples(st.just("cancel"), st.sampled_from(NAMES)),
    st.tuples(
        st.sampled_from(sorted(MESSAGES)), st.sampled_from(NAMES), st.sampled_from(sorted(ACTS))
    ),
    st.tuples(st.just("ask"), st.sampled_from(NAMES), st.sampled_from([0.0, 1.0, 1e6])),
    st.tuples(st.just("background"), st.sampled_from(NAMES)),
    st.tuples(st.just("add"), restarts, workers),
    st.tuples(st.just("advance"), st.sampled_from([0.0, 0.1, 1.0, 5.0])),
)
ends = st.sampled_from(["end", "cancel", "end then cancel", "host"])


def acts(spec: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of a worker for a drawn specification."""
    return {hook: ACTS[name] for hook, name in spec.items()}


class Scenario:
    """One tree: a with children b and c, and the root d; and what is done to it."""

    def __init__(self, specs: list[Any], restart: Any, one_for_all: bool) -> None:
        self.history: list[tuple[str, str]] = []
        self.runner = WorkerRunner(
            handle_sigint=False, end_deadline=END_DEADLINE, cancel_grace=GRACE
        )
        self.specs = dict(zip(NAMES, specs, strict=True))
        self.restart = restart
        self.kind = AllForOne if one_for_all else Traced
        self.added = 0
        self.failed = False

    def make(self, name: str, kind: type[Traced] = Traced, **spec: Any) -> Traced:
        worker = kind(name, failed=nothing, **spec)
        worker.history = self.history
        return worker

    async def start_family(self, me: Actor) -> None:
        for name in ("b", "c"):
            child = self.make(name, **acts(self.specs[name]))
            try:
                await me.add_workers(child, restart=self.restart)
            except (WorkersError, ValueError, RuntimeError, ExceptionGroup):
                me.log.append("a child did not start")

    async def build(self) -> None:
        root = acts(self.specs["a"]) | {"start": self.start_family}
        await self.runner.add_workers(self.make("a", self.kind, **root), restart=self.restart)
        await self.runner.add_workers(self.make("d", stop=ACTS[self.specs["d"]["stop"]]))

    async def apply(self, nursery: trio.Nursery, operation: Any) -> None:
        runner = self.runner
        match operation:
            case ("advance", seconds):
                await trio.sleep(seconds)
            case ("add", restart, spec):
                self.added += 1
                worker = self.make(f"extra-{self.added}", **acts(spec))
                nursery.start_soon(self.add, worker, restart)
            case ("ask", name, seconds):
                nursery.start_soon(self.ask, name, seconds)
            case (_, name, *_) if runner.get_worker(name) is None:
                pass
            case ("end", name, deadline):
                await runner.end_worker(name, deadline=deadline)
            case ("cancel", name):
                await runner.cancel_worker(name)
            case ("background", name):
                await runner.send(DoNow(target=name, act=background))
            case (kind, name, act):
                await runner.send(MESSAGES[kind](target=name, act=ACTS[act]))

    async def add(self, worker: Any, restart: Any) -> None:
        try:
            await self.runner.add_workers(worker, restart=restart)
        except (WorkersError, ValueError, RuntimeError, ExceptionGroup):
            worker.log.append("it did not start")

    async def ask(self, name: str, seconds: float) -> None:
        with contextlib.suppress(WorkersError, RuntimeError):
            await self.runner.ask(name, "work", {"seconds": seconds})

    async def finish(self, how: str, scope: trio.CancelScope) -> float:
        """Stop, and return when that began."""
        began = trio.current_time()
        if how == "host":
            scope.cancel()
        elif how == "cancel":
            await self.runner.cancel()
        else:
            await self.runner.end()
        if how == "end then cancel":
            await trio.sleep(1)
            await self.runner.cancel()
        return began

    def check(self) -> None:
        """Check the history: hooks of a name come in order, children stop before parents."""
        for name in {name for _, name in self.history}:
            mine = [what for what, whose in self.history if whose == name]
            assert mine == ["begins", "stops", "stopped"] * (len(mine) // 3)
        for place, (what, name) in enumerate(self.history):
            if (what, name) == ("stops", "a"):
                for child in ("b", "c"):
                    before = [w for w, whose in self.history[:place] if whose == child]
                    assert not before or before[-1] == "stopped"
        assert_empty(self.runner)


async def play(scenario: Scenario, todo: list[Any], how: str) -> None:
    """Run a scenario, and check what it leaves."""
    await scenario.build()
    host = trio.CancelScope()

    async def run() -> None:
        with host:
            try:
                await scenario.runner.run(auto_end=False)
            except* (ValueError, WorkersError):
                scenario.failed = True

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.lowlevel.checkpoint()
        for operation in todo:
            if scenario.runner.state in ("ready", "starting"):
                # A full lane or a worker that stopped meanwhile is none of this test's business.
                with contextlib.suppress(RuntimeError, ValueError, WorkersError):
                    await scenario.apply(nursery, operation)
        began = await scenario.finish(how, host)
        await scenario.runner.wait_stopped()
    limit = {"end": END_DEADLINE, "end then cancel": 1.0}.get(how, 0.0) + GRACE
    assert trio.current_time() - began <= limit + 1e-6
    scenario.check()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    specs=st.lists(workers, min_size=4, max_size=4),
    restart=restarts,
    one_for_all=st.booleans(),
    todo=st.lists(operations, max_size=8),
    how=ends,
)
def test_it_stops_in_time_and_leaves_nothing(
    specs: list[Any], restart: Any, one_for_all: bool, todo: list[Any], how: str
) -> None:
    """S-LIFE-4, S-LIFE-7, S-LIFE-8, S-RUN-3: in time, children first, nothing left behind."""
    scenario = Scenario(specs, restart, one_for_all)
    trio.run(play, scenario, todo, how, clock=MockClock(autojump_threshold=0))


def test_a_stubborn_worker_is_waited_for() -> None:
    """S-RUN-3: the property holds for all but a user's own shield, which is waited for."""
    scenario = Scenario([{"start": "nothing", "stop": "nothing"}] * 4, None, False)

    async def main() -> None:
        await scenario.build()
        async with trio.open_nursery() as nursery:
            await nursery.start(scenario.runner.run)
            await scenario.runner.send(Do(target="b", act=stubborn(50)))
            await trio.sleep(1)
            await scenario.runner.cancel()
        assert trio.current_time() == 50

    trio.run(main, clock=MockClock(autojump_threshold=0))
    scenario.check()


IDLE = {"start": "nothing", "stop": "nothing"}
ONCE_WRONG: list[tuple[list[Any], Any, bool, list[Any], str]] = [
    # A root that ends before it is ready, while another one is in a long on_stop.
    (
        [IDLE] * 4,
        None,
        False,
        [
            ("background", "a"),
            ("end", "a", 0.0),
            ("add", None, {"start": "stop", "stop": "forever"}),
            ("advance", 0.1),
        ],
        "host",
    ),
    # A child whose task has made no step when its sibling's restart takes it along.
    (
        [IDLE, {"start": "stop", "stop": "nothing"}, {"start": "forever", "stop": "nothing"}, IDLE],
        Restart.PERMANENT,
        True,
        [("add", Restart.TRANSIENT, {"start": "stop", "stop": "crash late"}), ("advance", 1.0)],
        "cancel",
    ),
]


@pytest.mark.parametrize(("specs", "restart", "one_for_all", "todo", "how"), ONCE_WRONG)
def test_what_once_went_wrong(
    specs: list[Any], restart: Any, one_for_all: bool, todo: list[Any], how: str
) -> None:
    """S-LIFE-8, S-SUP-3: cases found by the property, in many orders of the same steps."""
    for _ in range(50):
        scenario = Scenario(specs, restart, one_for_all)
        trio.run(play, scenario, todo, how, clock=MockClock(autojump_threshold=0))
