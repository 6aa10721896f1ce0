"""What is made of measured numbers: spreads, ratios, slopes, and how they are written.

Pure functions; nothing here measures anything.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence

import attrs


@attrs.frozen
class Spread:
    """A median and the extremes around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return the spread of some values, of which there is at least one."""
        return cls(statistics.median(values), min(values), max(values))


@attrs.frozen
class Growth:
    """How a cost grows with a size, fitted to what was measured.

    A straight line through the logarithms, told by the point in the midst of what was measured: a
    factor for a size of 1 can be out of all bounds if the sizes are far from 1.

    An exponent of 0 says that the size does not matter, 1 that twice the size costs twice as much,
    2 that it costs four times as much.
    """

    size: float
    cost: float
    exponent: float

    def at(self, size: float) -> float:
        """Return the cost at a size."""
        return float(self.cost * (size / self.size) ** self.exponent)


def growth(points: Iterable[tuple[float, float]]) -> Growth | None:
    """Fit a straight line through the logarithms, by least squares.

    Logarithms, because sizes and costs go over several powers of ten: otherwise the largest size
    alone would decide.

    Args:
        points: sizes and costs.

    Returns:
        The fit; None if there are fewer than two sizes, or if something is not above 0 and so has
        no logarithm.
    """
    measured = list(points)
    if any(size <= 0 or cost <= 0 for size, cost in measured):
        return None
    xs = [math.log(size) for size, _ in measured]
    ys = [math.log(cost) for _, cost in measured]
    if len(set(xs)) < 2:
        return None
    middle = math.exp(statistics.fmean(xs)), math.exp(statistics.fmean(ys))
    return Growth(*middle, statistics.linear_regression(xs, ys).slope)


def share_above(values: Sequence[float], bound: float) -> float:
    """Return which part of the values is above a bound, from 0 to 1."""
    return sum(value > bound for value in values) / len(values)


def significant(value: float) -> str:
    """Write a number with as many digits as its noise allows."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_time(seconds: float) -> str:
    """Write a time in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if abs(seconds) >= size:
            return f"{significant(seconds / size)} {unit}"
    return f"{significant(seconds / 1e-9)} ns"


def in_us(seconds: float) -> str:
    """Write a time in microseconds."""
    return f"{significant(seconds * 1e6)} us"


def in_ms(seconds: float) -> str:
    """Write a time in milliseconds."""
    return f"{significant(seconds * 1e3)} ms"


def in_size(size: float) -> str:
    """Write a number of bytes in the unit that suits it."""
    for unit, bytes_ in (("GB", 1e9), ("MB", 1e6), ("KB", 1e3)):
        if abs(size) >= bytes_:
            return f"{significant(size / bytes_)} {unit}"
    return f"{size:,.0f} bytes"


def in_kb(size: float) -> str:
    """Write a number of bytes in thousands."""
    return f"{size / 1_000:.3g} KB"


def in_units(count: float) -> str:
    """Write a number of things."""
    return f"{count:,.0f}"
