"""The model and the tables against what a real Erlang/OTP did: if these hold, the model is right."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.supervisor.otp_model import INTENSITY_TABLE, STRATEGY_TABLE, expected_trace
from tests.supervisor.otp_traces import RECORDED


@pytest.mark.parametrize("name", RECORDED)
def test_model_gives_the_recorded_trace(name: str) -> None:
    """The model gives exactly the trace that Erlang's supervisor gave (S-SUP-6)."""
    schedule, trace = RECORDED[name]
    assert schedule.model_trace() == trace


def test_recorded_schedules_reach_every_rule() -> None:
    """The recording has each strategy, kind, end and way to give up often enough to mean something (S-SUP-6)."""
    seen: Counter[object] = Counter()
    for schedule, trace in RECORDED.values():
        events = {event for group in trace for event in group}
        kind_of = dict(schedule.children)
        how = trace[-1][-1][0]
        seen[schedule.strategy, how] += 1
        seen[schedule.intensity, how] += 1
        seen.update((schedule.strategy, kind_of[e[1]], *e[2:], e[0]) for e in events if len(e) > 1)
    ends = ("supervisor_down", "supervisor_end")
    strategies = ("one_for_one", "one_for_all", "rest_for_one")
    kinds = ("permanent", "transient", "temporary")
    assert all(seen[s, end] >= 20 for s in strategies for end in ends)
    assert all(seen[i, end] >= 10 for i in range(5) for end in ends)
    assert all(
        seen[s, k, how, "exit"] >= 10
        for s in strategies
        for k in kinds
        for how in ("crash", "normal")
    )
    assert all(
        seen[s, k, "start_failed"] >= 5 for s in strategies for k in ("permanent", "transient")
    )


@pytest.mark.parametrize(("strategy", "kind", "how", "then"), STRATEGY_TABLE)
def test_model_agrees_with_the_strategy_table(
    strategy: str, kind: str, how: str, then: str
) -> None:
    """The model does what the table says for each strategy, kind and end (S-SUP-6)."""
    children = [("a", "permanent"), ("b", kind), ("c", "permanent"), ("d", "temporary")]
    step = "crash" if how == "crash" else "exit_normal"
    group = expected_trace(strategy, 1, 5, children, [], [(step, "b")])[1]
    assert group == [
        ("exit", "b", how),
        *(tuple(event.split()) for event in then.split(", ") if event),
    ]


@pytest.mark.parametrize(("intensity", "period", "times", "last_straw"), INTENSITY_TABLE)
def test_model_agrees_with_the_intensity_table(
    intensity: int, period: int, times: list[int], last_straw: int | None
) -> None:
    """The model gives up at the crash that the table names, and not before (S-SUP-6)."""
    steps: list[tuple[str | int, ...]] = []
    for before, at in zip([0, *times], times, strict=False):
        steps += [("wait_ms", (at - before) * 1000), ("crash", "a")]
    trace = expected_trace("one_for_one", intensity, period, [("a", "permanent")], [], steps)
    crashes = sum(group[:1] == [("exit", "a", "crash")] for group in trace)
    assert crashes == (last_straw or len(times))
    assert trace[-1][-1] == ("supervisor_end" if last_straw is None else "supervisor_down",)
