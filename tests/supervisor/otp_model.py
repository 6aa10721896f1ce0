"""The rules of Erlang's supervisor as a small state machine, and as tables.

Written from the chapter "Supervisor Behaviour" of OTP Design Principles and the manual page
`supervisor(3)`; the section behind each rule is named where the rule is. Where those are silent the
recording in `otp/traces.json` decides, and the comment says so. Steps, events and groups
are those of `otp/README.md`. Nothing here knows about trioworkers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Event = tuple[str, ...]
Step = tuple["str | int", ...]
Trace = list[list[Event]]


@dataclass
class ChildSpec:
    """A row of the supervisor's list, which is kept in start order."""

    name: str
    kind: str
    running: bool = False
    starts_to_fail: int = 0


@dataclass
class OtpSupervisor:
    """One supervisor. Each operation appends to `events`."""

    strategy: str
    intensity: int
    period: float
    children: list[ChildSpec]
    now: float = 0.0
    up: bool = True
    restarts: list[float] = field(default_factory=list[float])
    events: list[Event] = field(default_factory=list[Event])

    def start(self) -> None:
        """Start every child in order; if one does not start, stop those that did.

        "Starting a Supervisor", and `start_link/3` in supervisor(3).
        """
        if self._start(self.children) is not None:
            self._go_down("supervisor_down")

    def shutdown(self) -> None:
        """Stop the children in reverse start order. "Stopping"."""
        self._go_down("supervisor_end")

    def leave(self, name: str, how: str) -> None:
        """Let a child end by itself; a child that is not running cannot."""
        child = next(
            (child for child in self.children if child.name == name and child.running), None
        )
        if child is None:
            return
        child.running = False
        self.events.append(("exit", name, how))
        # "Child Specification", key `restart`: a permanent child is always restarted, a temporary
        # one never, a transient one only if it ended abnormally.
        if child.kind == "permanent" or (child.kind == "transient" and how == "crash"):
            self._restart(child)

    def _restart(self, child: ChildSpec | None) -> None:
        # The documents do not say what happens when a restart fails. The recording shows: it is
        # tried again, as a restart of the child that did not start, and each attempt counts.
        while child is not None:
            if self._too_many_restarts():
                self._go_down("supervisor_down")
                return
            affected = self._affected_by(child)
            self._stop(affected)
            # "Child Specification": a temporary child is not restarted even if a sibling's death
            # made the supervisor stop it. A transient child that has ended normally keeps its
            # specification (`restart_child/2` in supervisor(3)), so the recording shows that a
            # sibling's crash starts it again.
            child = self._start(c for c in affected if c.kind != "temporary")

    def _too_many_restarts(self) -> bool:
        # "Maximum Restart Intensity": more than MaxR restarts in the last MaxT seconds.
        self.restarts = [at for at in self.restarts if self.now - at <= self.period] + [self.now]
        return len(self.restarts) > self.intensity

    def _affected_by(self, child: ChildSpec) -> list[ChildSpec]:
        # "Restart Strategy".
        match self.strategy:
            case "one_for_one":
                return [child]
            case "rest_for_one":
                return self.children[self.children.index(child) :]
            case "one_for_all":
                return list(self.children)
            case unknown:
                raise ValueError(unknown)

    def _start(self, children: Iterable[ChildSpec]) -> ChildSpec | None:
        # "Supervision Principles": in start order. Gives the child that failed to start, if any.
        for child in children:
            if child.starts_to_fail:
                child.starts_to_fail -= 1
                self.events.append(("start_failed", child.name))
                return child
            child.running = True
            self.events.append(("start", child.name))
        return None

    def _stop(self, children: Sequence[ChildSpec]) -> None:
        # "Supervision Principles": in reverse start order.
        for child in reversed(children):
            if child.running:
                child.running = False
                self.events.append(("stop", child.name))

    def _go_down(self, why: str) -> None:
        self._stop(self.children)
        self.events.append((why,))
        self.up = False


def expected_trace(
    strategy: str,
    intensity: int,
    period: float,
    children: Sequence[tuple[str, str]],
    failing: Sequence[tuple[str, int]],
    steps: Sequence[Step],
) -> Trace:
    """What OTP does with a schedule: a group of events for the start, each step, the shutdown."""
    specs = {name: ChildSpec(name, kind) for name, kind in children}
    for name, count in failing:
        specs[name].starts_to_fail = count
    supervisor = OtpSupervisor(strategy, intensity, period, list(specs.values()))
    supervisor.start()
    trace = [supervisor.events]
    for step in steps:
        if not supervisor.up:
            return trace
        supervisor.events = []
        match step:
            case ("crash", str(name)):
                supervisor.leave(name, "crash")
            case ("exit_normal", str(name)):
                supervisor.leave(name, "normal")
            case ("fail_next", str(name), int(count)):
                specs[name].starts_to_fail = count
            case ("wait_ms", int(milliseconds)):
                supervisor.now += milliseconds / 1000
            case _:
                raise ValueError(step)
        trace.append(supervisor.events)
    if supervisor.up:
        supervisor.events = []
        supervisor.shutdown()
        trace.append(supervisor.events)
    return trace


# The same rules by hand, row by row. Children in start order: a permanent, b of the kind in the
# row, c permanent, d temporary. One of them, b, crashes or ends normally ("Restart Strategy",
# "Child Specification").
ONE = "start b"
ALL = "stop d, stop c, stop a, start a, start b, start c"
REST = "stop d, stop c, start b, start c"
NONE = ""

STRATEGY_TABLE = [
    # strategy, kind of b, how b leaves, what the supervisor does
    ("one_for_one", "permanent", "crash", ONE),
    ("one_for_one", "permanent", "normal", ONE),
    ("one_for_one", "transient", "crash", ONE),
    ("one_for_one", "transient", "normal", NONE),
    ("one_for_one", "temporary", "crash", NONE),
    ("one_for_one", "temporary", "normal", NONE),
    ("one_for_all", "permanent", "crash", ALL),
    ("one_for_all", "permanent", "normal", ALL),
    ("one_for_all", "transient", "crash", ALL),
    ("one_for_all", "transient", "normal", NONE),
    ("one_for_all", "temporary", "crash", NONE),
    ("one_for_all", "temporary", "normal", NONE),
    ("rest_for_one", "permanent", "crash", REST),
    ("rest_for_one", "permanent", "normal", REST),
    ("rest_for_one", "transient", "crash", REST),
    ("rest_for_one", "transient", "normal", NONE),
    ("rest_for_one", "temporary", "crash", NONE),
    ("rest_for_one", "temporary", "normal", NONE),
]

# A single permanent child that crashes at these seconds; which crash (from 1) is one too many
# ("Maximum Restart Intensity").
INTENSITY_TABLE = [
    # MaxR, MaxT, crashes at, the last straw
    (0, 5, [0], 1),
    (1, 5, [0, 2], 2),
    (1, 5, [0, 7], None),
    (1, 5, [0, 7, 14, 16], 4),
    (2, 5, [0, 2, 4], 3),
    (2, 5, [0, 4, 8, 12, 16], None),
    (2, 5, [0, 1, 7, 8, 9], 5),
    (3, 5, [0, 1, 2, 8, 9, 10, 11], 7),
    (4, 60, [0, 10, 20, 30, 40], 5),
    (4, 60, [0, 10, 20, 30, 65, 75, 85], None),
    (4, 60, [0, 10, 20, 30, 65, 68], 6),
]
