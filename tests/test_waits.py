"""The wait-for graph: a wait is refused exactly if it could never end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st

from trioworkers._waits import Mover, WaitGraph

Task = trio.lowlevel.Task


def make_task() -> Task:
    """Make a task that is only an identity."""
    return Task.__new__(Task)


class Thing:
    """A resource that is told who moves it."""

    def __init__(self, label: str, *movers: Mover, any_suffices: bool = False) -> None:
        self.label = label
        self.any_suffices = any_suffices
        self.moved_by: list[Mover] = list(movers)
        self.asked = 0

    def wait_label(self) -> str:
        return self.label

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        self.asked += 1
        return self.any_suffices, self.moved_by


@pytest.fixture
def graph() -> WaitGraph:
    """Make a graph without waits."""
    return WaitGraph()


def test_nobody_in_the_way(graph: WaitGraph) -> None:
    """What needs nobody's help, or the help of a task that does not wait, can be waited for."""
    assert graph.find_circle(make_task(), Thing("a")) is None
    assert graph.find_circle(make_task(), Thing("a", make_task())) is None
    assert graph.find_circle(make_task(), Thing("a", any_suffices=True)) is None


def test_oneself(graph: WaitGraph) -> None:
    """A task that waits for itself closes the smallest circle (S-MAIL-12)."""
    me = make_task()
    assert graph.find_circle(me, Thing("me", me)) == ("me", "me")


def test_circle_of_three_is_named_from_the_sender_round(graph: WaitGraph) -> None:
    """The circle names everybody once, and the sender at both ends (S-MAIL-12)."""
    a, b, c = make_task(), make_task(), make_task()
    lane_a, lane_b, lane_c = Thing("a", a), Thing("b", b), Thing("c", c)
    graph.edges[b] = lane_c
    graph.edges[c] = lane_a
    assert graph.find_circle(a, lane_b) == ("a", "b", "c", "a")


def test_resources_of_one_worker_are_named_once(graph: WaitGraph) -> None:
    """A job, and the lane it waits in, are both behind the name of their worker (S-MAIL-12)."""
    me, other = make_task(), make_task()
    lane = Thing("other", other)
    request = Thing("other", lane)
    graph.edges[other] = Thing("me", me)
    assert graph.find_circle(me, request) == ("me", "other", "me")


def test_one_free_mover_is_enough_where_any_suffices(graph: WaitGraph) -> None:
    """A job slot is free as soon as one of the running jobs exits (S-MAIL-12)."""
    me, stuck, free = make_task(), make_task(), make_task()
    graph.edges[stuck] = Thing("me", me)
    assert graph.find_circle(me, Thing("pool", stuck, free, any_suffices=True)) is None
    assert graph.find_circle(me, Thing("pool", stuck, stuck, any_suffices=True)) is not None


def test_one_stuck_mover_is_enough_where_all_are_needed(graph: WaitGraph) -> None:
    """A lane does not move before its data handler and its system handler have (S-MAIL-12)."""
    me, stuck, free = make_task(), make_task(), make_task()
    graph.edges[stuck] = Thing("me", me)
    assert graph.find_circle(me, Thing("lane", free, stuck)) == ("me", "lane", "me")


def test_a_look_from_inside_a_circle_is_not_remembered(graph: WaitGraph) -> None:
    """What is blocked only while its own circle is looked at is not blocked for good."""
    me, free, left, right = make_task(), make_task(), make_task(), make_task()
    either = Thing("either", left, free, any_suffices=True)
    behind = Thing("behind", right)
    graph.edges[left] = behind
    graph.edges[right] = either
    assert graph.find_circle(me, Thing("both", either, behind)) is None


def test_a_circle_of_others_never_moves(graph: WaitGraph) -> None:
    """A circle that others closed unseen is refused too, and named."""
    left, right = make_task(), make_task()
    graph.edges[left] = Thing("right", right)
    graph.edges[right] = lane = Thing("left", left)
    circle = graph.find_circle(make_task(), lane)
    assert circle is not None
    assert set(circle) == {"left", "right"}


LONG = 5_000


@pytest.mark.parametrize("movers", [1, 2])
@pytest.mark.parametrize("any_suffices", [False, True])
@pytest.mark.parametrize("closed", [False, True])
def test_long_chains(graph: WaitGraph, movers: int, any_suffices: bool, closed: bool) -> None:
    """A chain of 5,000 waits is walked without recursion, and each link is looked at once."""
    me, *others = (make_task() for _ in range(LONG))
    lane = Thing("end", *[me if closed else make_task()] * movers, any_suffices=any_suffices)
    for number, task in enumerate(others):
        graph.edges[task] = lane
        lane = Thing(str(number), *[task] * movers, any_suffices=any_suffices)
    circle = graph.find_circle(me, lane)
    assert (circle is not None) is closed
    assert not circle or len(circle) == LONG + 1
    assert {awaited.asked for awaited in graph.edges.values() if isinstance(awaited, Thing)} == {1}


@st.composite
def worlds(draw: st.DrawFn) -> tuple[WaitGraph, list[Task], list[Thing]]:
    """Draw tasks, resources that they move, and who waits for what."""
    tasks = [make_task() for _ in range(draw(st.integers(1, 6)))]
    things = [Thing(str(number)) for number in range(draw(st.integers(1, 6)))]
    for thing in things:
        thing.any_suffices = draw(st.booleans())
        thing.moved_by = draw(st.lists(st.sampled_from([*tasks, *things]), max_size=3))
    graph = WaitGraph()
    for task in tasks[1:]:
        awaited = draw(st.sampled_from([None, *things]))
        if awaited is not None:
            graph.edges[task] = awaited
    return graph, tasks, things


def brute_force(graph: WaitGraph, task: Task, wanted: Thing, everything: list[Mover]) -> bool:
    """Let move what can move, again and again; tell whether `task` never gets `wanted`."""
    moving: set[Mover] = set()

    def moves(each: Mover) -> bool:
        if isinstance(each, Task):
            return each is not task and (each not in graph.edges or graph.edges[each] in moving)
        any_suffices, movers = each.movers()
        return not movers or (any if any_suffices else all)(one in moving for one in movers)

    while fresh := {each for each in everything if each not in moving and moves(each)}:
        moving |= fresh
    return wanted not in moving


def steps(graph: WaitGraph, thing: Thing) -> Iterator[Mover]:
    """Name what stands right behind a resource."""
    for mover in thing.moved_by:
        yield graph.edges.get(mover, mover) if isinstance(mover, Task) else mover


@settings(max_examples=500, deadline=None)
@given(worlds())
def test_against_brute_force(world: tuple[WaitGraph, list[Task], list[Thing]]) -> None:
    """A circle is found exactly if the task could never be released (S-MAIL-12)."""
    graph, (me, *others), things = world
    for wanted in things:
        circle = graph.find_circle(me, wanted)
        assert (circle is not None) is brute_force(graph, me, wanted, [me, *others, *things])


@settings(deadline=None)
@given(worlds())
def test_circles_are_real(world: tuple[WaitGraph, list[Task], list[Thing]]) -> None:
    """Each name in a circle stands right behind the one before it (S-MAIL-12)."""
    graph, (me, *_), things = world
    by_label = {thing.label: thing for thing in things}
    for wanted in things:
        circle = graph.find_circle(me, wanted) or ()
        if len(circle) > 1:
            assert circle[1] == wanted.label
            assert circle[0] == circle[-1]
        for before, after in pairwise(circle[1:]):
            assert by_label[after] in steps(graph, by_label[before])
