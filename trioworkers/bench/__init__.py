"""Measuring message priority in a program of your own; needs the extra `bench`.

A *scenario* is an `async def scenario(bench: PriorityScenario)` that adds workers to
`bench.runner`, floods one of them with data, and probes it with system messages.  Run it with
`trioworkers bench priority --scenario module:scenario`, or from Python with `measure_priority`.
"""

from __future__ import annotations

from ._reports import LaneReport, PriorityReport
from ._scenario import PriorityScenario, ScenarioError, measure_priority
from ._settings import PrioritySettings

__all__ = [
    "LaneReport",
    "PriorityReport",
    "PriorityScenario",
    "PrioritySettings",
    "ScenarioError",
    "measure_priority",
]
