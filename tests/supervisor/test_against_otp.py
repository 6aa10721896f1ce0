"""Our supervisor against Erlang's: recorded traces, the tables, and the model on any schedule.

A parent worker plays OTP's supervisor. Its children write down what happens to them: `on_start` is
OTP's `init`, and `on_stop` is a stop by the supervisor unless the child was leaving by itself.
Virtual time runs `SCALE` times as fast as OTP's, so that backoff does not move a restart from one
intensity window into the next.
"""

from __future__ import annotations

from functools import partial
from typing import Final, Literal

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.supervisor.otp_model import INTENSITY_TABLE, STRATEGY_TABLE, Step, Trace
from tests.supervisor.otp_traces import RECORDED, Schedule
from trioworkers import (
    BusDataMessage,
    Restart,
    Strategy,
    Worker,
    handles,
    message,
    open_runner,
)
from trioworkers.errors import RestartIntensityExceeded

SCALE: Final = 100_000
SETTLE: Final = 200.0
"""Seconds that are more than enough for every restart of one step."""
LONGEST: Final = 1e9
"""Seconds that no schedule takes: a run that waits for ever fails at once."""


@message
class Crash(BusDataMessage):
    """Makes its handler raise."""


@message
class EndNormally(BusDataMessage):
    """Makes the worker stop itself."""


class CrashError(Exception):
    """What a child raises."""


class Stage:
    """Where the children write, and what the schedule wants of them."""

    def __init__(self, schedule: Schedule) -> None:
        self.trace: Trace = [[]]
        self.starts_to_fail = dict(schedule.failing)

    def log(self, *event: str) -> None:
        self.trace[-1].append(event)

    def is_to_fail(self, name: str) -> bool:
        left = self.starts_to_fail.get(name, 0)
        self.starts_to_fail[name] = max(left - 1, 0)
        return left > 0


class Child(Worker):
    def __init__(self, name: str, stage: Stage) -> None:
        super().__init__(name, active=True)
        self._stage = stage
        self._leaves_by_itself = False

    async def on_start(self) -> None:
        self._leaves_by_itself = self._stage.is_to_fail(self.name)
        if self._leaves_by_itself:
            self._stage.log("start_failed", self.name)
            raise CrashError(self.name)
        self._stage.log("start", self.name)

    @handles(Crash)
    async def crash(self, _message: Crash) -> None:
        self._stage.log("exit", self.name, "crash")
        self._leaves_by_itself = True
        raise CrashError(self.name)

    @handles(EndNormally)
    async def end_normally(self, _message: EndNormally) -> None:
        self._stage.log("exit", self.name, "normal")
        self._leaves_by_itself = True
        await self.stop()

    async def on_stop(self) -> None:
        if not self._leaves_by_itself:
            self._stage.log("stop", self.name)


Passed = Literal["functions", "workers"]
"""What `add_workers` is given: a restart makes a new child, or starts the same one again."""


def make_parent(schedule: Schedule, stage: Stage, passed: Passed) -> Worker:
    """Make the worker that stands for OTP's supervisor."""

    class Parent(Worker):
        strategy = Strategy[schedule.strategy.upper()]
        max_restarts = schedule.intensity
        period = float(schedule.period * SCALE)

        async def on_start(self) -> None:
            for name, kind in schedule.children:
                make = partial(Child, name, stage)
                child = make if passed == "functions" else make()
                await self.add_workers(child, restart=Restart[kind.upper()])

        async def on_stop(self) -> None:
            stage.log("supervisor_stopped")

    return Parent("parent", active=True)


async def apply(step: Step, parent: Worker, stage: Stage) -> None:
    """Do one step of a schedule."""
    match step:
        case ("crash", str(name)):
            await parent.send(Crash(target=name))
        case ("exit_normal", str(name)):
            await parent.send(EndNormally(target=name))
        case ("fail_next", str(name), int(count)):
            stage.starts_to_fail[name] = count
        case ("wait_ms", int(milliseconds)):
            await trio.sleep(milliseconds / 1000 * SCALE)
        case _:
            raise ValueError(step)


async def play(schedule: Schedule, passed: Passed = "functions") -> Trace:
    """Run the schedule and return the trace in the words of the recording."""
    stage = Stage(schedule)
    parent = make_parent(schedule, stage, passed)
    expected = CrashError if schedule.failing else RestartIntensityExceeded
    errors = 0
    try:
        with trio.fail_after(LONGEST):
            async with open_runner(parent):
                for step in schedule.steps:
                    stage.trace.append([])
                    await apply(step, parent, stage)
                    await trio.sleep(SETTLE)
                stage.trace.append([])
    except ExceptionGroup as group:
        if group.split(expected)[1] is not None:
            raise
        errors = len(group.exceptions)
    # The parent's own last hook runs after those of all its children.
    assert stage.trace[-1].pop() == ("supervisor_stopped",)
    assert errors == 1 if schedule.failing else errors <= 1
    stage.log("supervisor_down" if errors else "supervisor_end")
    return stage.trace


def run_played(schedule: Schedule, passed: Passed = "functions") -> Trace:
    """`play` in a trio run of its own, whose clock jumps whenever every task waits."""
    return trio.run(play, schedule, passed, clock=trio.testing.MockClock(autojump_threshold=0))


@pytest.mark.parametrize("passed", ["functions", "workers"])
@pytest.mark.parametrize("name", RECORDED)
def test_same_trace_as_erlangs_supervisor(name: str, passed: Passed) -> None:
    """Each recorded crash schedule gives the trace that Erlang's supervisor gave (S-SUP-6)."""
    schedule, trace = RECORDED[name]
    assert run_played(schedule, passed) == trace


@pytest.mark.parametrize(("strategy", "kind", "how", "then"), STRATEGY_TABLE)
def test_strategies_and_kinds(strategy: str, kind: str, how: str, then: str) -> None:
    """What restarts is what OTP's table says for each strategy, kind and end (S-SUP-6)."""
    children = (("a", "permanent"), ("b", kind), ("c", "permanent"), ("d", "temporary"))
    step = "crash" if how == "crash" else "exit_normal"
    group = run_played(Schedule(strategy, 1, 5, children, steps=((step, "b"),)))[1]
    assert group == [
        ("exit", "b", how),
        *(tuple(event.split()) for event in then.split(", ") if event),
    ]


@pytest.mark.parametrize(("intensity", "period", "times", "last_straw"), INTENSITY_TABLE)
def test_intensity(intensity: int, period: int, times: list[int], last_straw: int | None) -> None:
    """The supervisor gives up at the crash that the table names, and not before (S-SUP-6)."""
    steps: list[Step] = []
    for before, at in zip([0, *times], times, strict=False):
        steps += [("wait_ms", (at - before) * 1000), ("crash", "a")]
    trace = run_played(
        Schedule("one_for_one", intensity, period, (("a", "permanent"),), steps=tuple(steps))
    )
    crashes = sum(group[:1] == [("exit", "a", "crash")] for group in trace)
    assert crashes == (last_straw or len(times))
    assert trace[-1][-1] == ("supervisor_end" if last_straw is None else "supervisor_down",)


NAMES = "abcdefg"


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Longer than the recorded ones, with more children and with windows that slide."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    name = st.sampled_from(names)
    step = st.one_of(
        st.tuples(st.sampled_from(["crash", "exit_normal"]), name),
        st.tuples(st.just("fail_next"), name, st.integers(1, 4)),
        # No sum is near the period: what happens exactly at its end is not promised.
        st.tuples(st.just("wait_ms"), st.sampled_from([1400, 2300, 5600])),
    )
    return Schedule(
        draw(st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"])),
        draw(st.integers(0, 6)),
        5,
        tuple((n, draw(st.sampled_from(["permanent", "transient", "temporary"]))) for n in names),
        steps=tuple(draw(st.lists(step, max_size=25))),
    )


@settings(deadline=None, max_examples=300)
@given(schedules())
def test_same_trace_as_the_model(schedule: Schedule) -> None:
    """Any schedule gives the trace that OTP's rules give (S-SUP-6)."""
    assert run_played(schedule) == schedule.model_trace()
