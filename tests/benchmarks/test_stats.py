"""What is made of measured numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.stats import (
    Growth,
    Spread,
    growth,
    in_size,
    in_time,
    share_above,
    significant,
)

COSTS = st.floats(min_value=1e-9, max_value=1e9)
SAMPLES = st.lists(COSTS, min_size=1, max_size=20)
SIZES = st.lists(st.integers(1, 10**6), min_size=2, max_size=8, unique=True)


@given(SAMPLES)
def test_a_spread(values: list[float]) -> None:
    """The median lies between the extremes, which are among the values."""
    spread = Spread.of(values)
    assert spread.low <= spread.median <= spread.high
    assert {spread.low, spread.high} <= set(values)


@given(SIZES, st.floats(-3, 3), st.floats(1e-6, 1e6))
def test_growth_is_found_again(sizes: list[int], exponent: float, factor: float) -> None:
    """Costs that follow a power of the size have that power as their exponent."""
    fit = growth((size, factor * size**exponent) for size in sizes)
    assert fit is not None
    spread = math.log(max(sizes)) - math.log(min(sizes))
    assert fit.exponent == pytest.approx(exponent, abs=1e-6 + 1e-9 / spread)


@given(SIZES, st.data())
def test_growth_has_no_unit(sizes: list[int], data: st.DataObject) -> None:
    """An exponent is the same whatever unit sizes and costs are in."""
    costs = data.draw(st.lists(COSTS, min_size=len(sizes), max_size=len(sizes)))
    points = list(zip(sizes, costs, strict=True))
    fit = growth(points)
    other = growth((size * 7, cost * 1e-3) for size, cost in points)
    assert fit is not None
    assert other is not None
    assert other.exponent == pytest.approx(fit.exponent, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(
    "points", [[], [(1, 1)], [(5, 1), (5, 2)], [(1, 0), (2, 1)], [(0, 1), (2, 1)]]
)
def test_no_growth(points: list[tuple[float, float]]) -> None:
    """One size, or something that has no logarithm, gives no slope."""
    assert growth(points) is None


def test_a_steep_growth_far_from_one() -> None:
    """A cost that triples from 100 to 101 is fitted, though that gives nothing for a size of 1."""
    fit = growth([(100, 1.0), (101, 3.0)])
    assert fit is not None
    assert fit.at(101) == pytest.approx(3.0)


def test_a_cost_by_its_growth() -> None:
    """A fit tells the cost at any size."""
    assert Growth(2.0, 8.0, 2.0).at(3) == 18.0


@given(SAMPLES, COSTS)
def test_shares(values: list[float], bound: float) -> None:
    """What is above a bound, and what is not, is everything."""
    below = sum(value <= bound for value in values) / len(values)
    assert share_above(values, bound) + below == pytest.approx(1)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.12345, "0.123"),
        (12.345, "12.3"),
        (99.96, "100"),
        (1234.5, "1,234"),
        (-200, "-200"),
    ],
)
def test_digits(value: float, text: str) -> None:
    """A number has three digits, or all before the point."""
    assert significant(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.0123, "12.3 ms"), (45e-6, "45 us"), (3e-9, "3 ns"), (0, "0 ns")],
)
def test_times(seconds: float, text: str) -> None:
    """A time has the unit that makes it short."""
    assert in_time(seconds) == text


@pytest.mark.parametrize(
    ("size", "text"), [(17, "17 bytes"), (5_380, "5.38 KB"), (54_321_000, "54.3 MB"), (2e9, "2 GB")]
)
def test_sizes(size: float, text: str) -> None:
    """A size has the unit that makes it short."""
    assert in_size(size) == text
