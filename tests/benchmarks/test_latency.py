"""Latencies as the sides of a benchmark take and tell them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.latency import (
    Meter,
    Share,
    due_times,
    merged,
    pack,
    pack_counts,
    rounded,
    told,
    unpack,
)

seconds = st.floats(0, 3_600)


@given(times=st.lists(seconds))
def test_what_is_packed_can_be_read(times: list[float]) -> None:
    """Every latency is counted once, in order, and right to three digits and a nanosecond."""
    found = [value for value, count in unpack(pack(times)) for _ in range(count)]
    assert len(found) == len(times)
    for value, time in zip(found, sorted(times), strict=True):
        assert value == pytest.approx(time, rel=0.006, abs=2e-9)


@given(parts=st.lists(st.lists(seconds), max_size=5))
def test_several_make_one(parts: list[list[float]]) -> None:
    """What several runs have told is, merged, what one run would have told."""
    together = pack(each for part in parts for each in part)
    assert merged(pack(part) for part in parts) == together


@given(number=st.integers(0, 10**15))
def test_rounding_keeps_three_digits(number: int) -> None:
    """A rounded number has at most three digits before its zeros, and is near."""
    assert len(str(rounded(number)).rstrip("0")) <= 3
    assert abs(rounded(number) - number) <= number / 200


@given(count=st.integers(0, 500), burst=st.integers(1, 50), interval=st.floats(1e-5, 1))
def test_the_schedule_does_not_wait(count: int, burst: int, interval: float) -> None:
    """Due times depend on nothing but the schedule: bursts of equal size at equal distances."""
    times = list(due_times(count, interval, burst, begun=10.0))
    assert len(times) == count
    assert sum(first for _, first in times) == -(-count // burst)
    for number, (due, first) in enumerate(times):
        assert due == pytest.approx(10 + number // burst * interval)
        assert first is (number % burst == 0)


@given(share=st.floats(0, 0.99), count=st.integers(0, 1_000))
def test_a_share_is_spread_evenly(share: float, count: int) -> None:
    """Of the first n, always about that share is true."""
    is_turn = Share(share)
    turns = 0
    for number in range(1, count + 1):
        turns += is_turn()
        assert abs(turns - share * number) <= 1.001


def test_a_meter_tells_what_it_saw() -> None:
    """What a side tells has each lane, the longest starvation and the rate."""
    meter = Meter()
    now = meter.begun
    meter.begun -= 10
    meter.data_begins(now - 1)
    meter.data_ends()
    meter.data_begins(now - 1)
    meter.data_ends()
    meter.system_begins(due=now - 2, sent=now - 1)
    assert meter.give_up([now - 3]) == 1
    figures = meter.tell(unhandled=1)
    assert [count for _, count in unpack(figures["system"])] == [1, 1]
    assert max(waited for waited, _ in unpack(figures["sent"])) >= 3  # not handled, not left out
    assert 1 < figures["starvation"] < 2
    assert figures["throughput"] > 0
    assert figures["unhandled"] == 1


def test_waiting_at_the_end_is_starvation() -> None:
    """Data that still waits at the end has starved until then, but not before it was sent."""
    meter = Meter()
    meter.begun -= 10
    assert meter.tell(waiting=5.0)["starvation"] == pytest.approx(5.0)


def test_a_backlog_does_not_starve_while_it_is_queued() -> None:
    """Starvation and depths count from when the load begins, as on our own side."""
    meter = Meter()
    queued = meter.begun - 10
    meter.begin()
    meter.data_begins(queued)
    meter.note_depth(1, 0)
    assert meter.tell(waiting=10.0)["starvation"] < 5
    assert meter.depths[0][0] < 5


@given(pairs=st.lists(st.tuples(seconds, st.integers(1, 100)), max_size=20))
def test_counts_are_packed(pairs: list[tuple[float, int]]) -> None:
    """A latency that stands for several is that many latencies."""
    assert pack_counts(pairs) == pack(each for each, count in pairs for _ in range(count))


def test_depths_are_thinned() -> None:
    """Looking for long keeps a bounded number of looks."""
    meter = Meter()
    assert sum(meter.note_depth(number, 0) for number in range(3_000)) >= 1
    assert len(meter.depths) < 1_000


def test_nothing_seen() -> None:
    """A run that saw nothing tells so."""
    figures = told(system="", sent="", data="", passes="", depths=(), throughput=0.0)
    assert figures == {
        "system": "", "sent": "", "data": "", "passes": "", "depths": "", "throughput": 0.0
    }  # fmt: skip
