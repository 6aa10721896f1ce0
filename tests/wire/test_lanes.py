"""What waits to leave: three lanes, sizes, and the order of a job's events."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from trioworkers.wire.chunks import Lane
from trioworkers.wire.lanes import Lanes


class Item(NamedTuple):
    number: int
    size: int
    job: str | None


def put_all(lanes: Lanes[Any], *items: tuple[str, str | None, bool]) -> None:
    """Put (name, job, whether it is urgent), one byte each."""
    for name, job, urgent in items:
        (lanes.put_urgent if urgent else lanes.put)(name, 1, job)


def drained(lanes: Lanes[Any]) -> list[Any]:
    """Take everything."""
    taken = []
    while (item := lanes.take()) is not None:
        taken.append(item)
    return taken


def test_the_system_lane_goes_first() -> None:
    """S-PROXY-5: system messages leave before data, each lane in the order of sending."""
    lanes: Lanes[str] = Lanes()
    put_all(lanes, ("a", None, False), ("S", None, True), ("b", None, False), ("T", None, True))
    assert list(lanes) == ["S", "T", "a", "b"]
    assert (lanes.data_depth, lanes.system_depth, len(lanes), lanes.size) == (2, 2, 4, 4)
    assert drained(lanes) == ["S", "T", "a", "b"]


def test_an_urgent_event_takes_the_older_ones_of_its_job_along() -> None:
    """S-PROXY-5: an urgent event overtakes data, but no older event of its own job."""
    lanes: Lanes[str] = Lanes()
    put_all(lanes, ("data", None, False), ("j1", "j", False), ("k1", "k", False))
    put_all(lanes, ("j2", "j", False), ("j3!", "j", True), ("j4", "j", False), ("k2!", "k", True))
    assert drained(lanes) == ["j1", "j2", "j3!", "k1", "k2!", "data", "j4"]


def test_nothing_is_left_in_the_tables() -> None:
    """S-PROXY-5: when the lanes are empty, no job is remembered and the size is 0."""
    lanes: Lanes[str] = Lanes()
    put_all(lanes, ("a", None, False), ("j1", "j", False), ("b", None, False), ("k1!", "k", True))
    assert lanes.remove(lambda item: item == "b")
    assert not lanes.remove(lambda item: item == "k1!")
    assert not lanes.remove(lambda item: item == "j1"), "a reply is never taken back"
    assert drained(lanes) == ["k1!", "a", "j1"]
    put_all(lanes, ("j1", "j", False), ("j2!", "j", True), ("d", None, False))
    assert lanes.clear() == ["j1", "j2!", "d"]
    assert (len(lanes), lanes.size, dict(lanes._jobs)) == (0, 0, {})
    assert lanes.take() is None


def test_each_lane_can_be_emptied_alone() -> None:
    """S-PROXY-5: data and replies do not wait for each other."""
    lanes: Lanes[str] = Lanes()
    put_all(lanes, ("a", None, False), ("j1", "j", False), ("S", None, True), ("b", None, False))
    assert [lanes.head(lane) for lane in Lane] == ["a", "S", "j1"]
    assert lanes.take_from(Lane.REPLY) == "j1"
    assert lanes.head(Lane.REPLY) is None
    assert (lanes.data_depth, lanes.size, dict(lanes._jobs)) == (2, 3, {})
    assert lanes.take_from(Lane.DATA) == "a"
    assert drained(lanes) == ["S", "b"]


def test_urgent_replies_stay_in_their_lane() -> None:
    """S-PROXY-5, S-JOB-5: system messages leave before them, and they before all that is not urgent."""
    lanes: Lanes[str] = Lanes()
    put_all(lanes, ("a", None, False), ("j1", "j", False), ("k1!", "k", True), ("S", None, True))
    put_all(lanes, ("j2!", "j", True), ("j3", "j", False), ("j4!", "j", True), ("k2", "k", False))
    assert lanes.system_depth == 1
    assert [lanes.take_from(Lane.REPLY) for _ in range(3)] == ["k1!", "j1", "j2!"]
    assert lanes.take_from(Lane.DATA) == "a"
    assert drained(lanes) == ["S", "j3", "j4!", "k2"]
    with pytest.raises(IndexError):
        lanes.take_from(Lane.DATA)


class LanesMachine(RuleBasedStateMachine):
    """Compares with three plain lists: system messages, urgent replies, and the others."""

    def __init__(self) -> None:
        super().__init__()
        self.lanes: Lanes[Item] = Lanes()
        self.system: list[Item] = []
        self.urgent: list[Item] = []
        self.data: list[Item] = []
        self.count = 0
        self.left: list[Item] = []

    def item(self, size: int, job: str | None) -> Item:
        self.count += 1
        return Item(self.count, size, job)

    @rule(size=st.integers(0, 9), job=st.sampled_from([None, None, "j", "k"]))
    def put(self, size: int, job: str | None) -> None:
        item = self.item(size, job)
        self.lanes.put(item, size, job)
        self.data.append(item)

    @rule(size=st.integers(0, 9), job=st.sampled_from([None, "j", "k"]))
    def put_urgent(self, size: int, job: str | None) -> None:
        item = self.item(size, job)
        self.lanes.put_urgent(item, size, job)
        if job is None:
            self.system.append(item)
            return
        older = [each for each in self.data if each.job == job]
        self.data = [each for each in self.data if each not in older]
        self.urgent += [*older, item]

    @rule()
    def take(self) -> None:
        held = self.system or self.urgent or self.data
        expected = held.pop(0) if held else None
        assert self.lanes.take() == expected
        if expected is not None:
            self.left.append(expected)

    @rule(number=st.integers(1, 60))
    def remove(self, number: int) -> None:
        found = [each for each in self.data if each.number == number and each.job is None]
        assert self.lanes.remove(lambda each: each.number == number) == bool(found)
        self.data = [each for each in self.data if each not in found]

    @rule(lane=st.sampled_from(Lane))
    def take_from(self, lane: Lane) -> None:
        replies = [*self.urgent, *(each for each in self.data if each.job is not None)]
        data = [each for each in self.data if each.job is None]
        of_lane = {Lane.DATA: data, Lane.SYSTEM: self.system, Lane.REPLY: replies}[lane]
        first = of_lane[0] if of_lane else None
        assert self.lanes.head(lane) == first
        if first is not None:
            assert self.lanes.take_from(lane) == first
            for held in (self.system, self.urgent, self.data):
                if first in held:
                    held.remove(first)
            self.left.append(first)

    @rule()
    def clear(self) -> None:
        assert self.lanes.clear() == [*self.system, *self.urgent, *self.data]
        self.system, self.urgent, self.data = [], [], []

    @invariant()
    def they_agree(self) -> None:
        held = [*self.system, *self.urgent, *self.data]
        assert list(self.lanes) == held
        assert len(self.lanes) == len(held)
        assert self.lanes.size == sum(each.size for each in held)
        assert self.lanes.system_depth == len(self.system)
        assert self.lanes.data_depth == len(self.urgent) + len(self.data)
        replies = [*self.urgent, *self.data]
        counts = {job: sum(each.job == job for each in replies) for job in ("j", "k")}
        assert self.lanes._jobs == {job: n for job, n in counts.items() if n}
        assert self.lanes._urgent == len(self.urgent)

    @invariant()
    def each_job_keeps_its_order(self) -> None:
        for job in ("j", "k"):
            numbers = [each.number for each in self.left if each.job == job]
            assert numbers == sorted(numbers)


class TestLanes(LanesMachine.TestCase):
    """S-PROXY-5: whatever is done, order, sizes and counts are those of the model."""


@given(st.lists(st.tuples(st.sampled_from([None, "j", "k"]), st.booleans())))
def test_no_event_overtakes_an_older_one_of_its_job(
    items: list[tuple[str | None, bool]],
) -> None:
    """S-PROXY-5, S-JOB-5: urgent or not, the events of one job leave in the order of emitting."""
    lanes: Lanes[tuple[int, str | None]] = Lanes()
    for number, (job, urgent) in enumerate(items):
        put: Callable[..., None] = lanes.put_urgent if urgent else lanes.put
        put((number, job), 1, job)
    left = drained(lanes)
    assert len(left) == len(items)
    for job in ("j", "k"):
        numbers = [number for number, its in left if its == job]
        assert numbers == sorted(numbers)
