"""The recorded traces of `otp/traces.json`, as objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from tests.supervisor.otp_model import expected_trace

if TYPE_CHECKING:
    from tests.supervisor.otp_model import Step, Trace


@attrs.frozen
class Schedule:
    """What happens to one supervisor; the fields are those of `otp/README.md`."""

    strategy: str
    intensity: int
    period: float
    children: tuple[tuple[str, str], ...]
    failing: tuple[tuple[str, int], ...] = ()
    steps: tuple[Step, ...] = ()

    def model_trace(self) -> Trace:
        """What the model of OTP's rules does with it."""
        return expected_trace(
            self.strategy, self.intensity, self.period, self.children, self.failing, self.steps
        )


def _load() -> dict[str, tuple[Schedule, Trace]]:
    text = (Path(__file__).parent / "otp" / "traces.json").read_text(encoding="utf-8")
    recorded: dict[str, tuple[Schedule, Trace]] = {}
    rows: list[dict[str, Any]] = json.loads(text)["schedules"]
    for row in rows:
        schedule = Schedule(
            row["strategy"],
            row["intensity"],
            row["period"],
            tuple((name, kind) for name, kind in row["children"]),
            tuple((name, count) for name, count in row["failing"]),
            tuple(tuple(step) for step in row["steps"]),
        )
        recorded[row["id"]] = (
            schedule,
            [[tuple(event) for event in group] for group in row["trace"]],
        )
    return recorded


RECORDED = _load()
"""Every schedule with the trace of Erlang's supervisor, by id."""
