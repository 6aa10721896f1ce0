"""The parts of `priority.py`: which runs are compared with which, and what must hold of them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from trioworkers.bench import PrioritySettings

from .claims import Claim, Figure
from .harness import Group, Run
from .stats import in_ms, in_time, in_units, in_us
from .subjects import Curve, at_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TITLES = {
    "ours": "ours",
    "limits": "bare trio",
    "two": "two channels",
    "one": "one channel",
    "pykka": "Pykka",
    "pipecat": "Pipecat",
}
MODULES = {
    "ours": "priority_ours",
    "limits": "priority_bare",
    "two": "priority_bare",
    "one": "priority_bare",
    "pykka": "peers.pykka_priority",
    "pipecat": "peers.pipecat_priority",
}
BOXES: Mapping[str, Mapping[str, str]] = {
    "limits": {"box": "limit"},
    "two": {"box": "two"},
    "one": {"box": "one"},
}

CALM = PrioritySettings(backlog=0, producers=0)
FLOOD = attrs.evolve(CALM, producers=8)
CROWD = attrs.evolve(CALM, probes=80, interval=0.01)

BACKLOGS: Mapping[str, Sequence[int]] = {
    "ours": (0, 1_000, 10_000, 100_000, 1_000_000),
    "limits": (0, 1_000, 10_000, 100_000, 1_000_000),
    "two": (0, 1_000, 10_000, 100_000),
    "one": (0, 1_000, 10_000, 100_000),
    "pykka": (0, 1_000, 10_000, 100_000),
    "pipecat": (0, 1_000, 10_000, 100_000),
}
CROWDS: Mapping[str, Sequence[int]] = {"ours": (0, 10, 100, 1_000), "pipecat": (0, 10, 100)}


def repetitions(backlog: int) -> int:
    """Return how often one process measures behind a backlog: less, the longer it takes."""
    return 10 if backlog < 100_000 else 3 if backlog < 1_000_000 else 1


def as_parameters(settings: PrioritySettings, side: str = "ours") -> dict[str, int | str]:
    """Return settings as a side's program takes them."""
    plain = attrs.asdict(settings)
    if side != "ours":
        plain["capacity"] = settings.mailbox_capacity
    return {"settings": json.dumps(plain), **BOXES.get(side, {})}


def load_group(settings: PrioritySettings, scenario: str | None) -> Group:
    """Return the runs that the knobs are about."""
    if scenario is not None:
        own = {**as_parameters(settings), "scenario": scenario}
        return Group("load", 3, (Run("load ours", "ours", "load", own),), quick_rounds=1)
    # Nobody else has what they say, and a load that is another is not compared.
    alone = settings.link == "proxy" or settings.overflow != "wait"
    sides = ["ours"] if alone else list(TITLES)
    return Group(
        "load",
        rounds=2,
        quick_rounds=1,
        runs=[Run(f"load {side}", side, "load", as_parameters(settings, side)) for side in sides],
    )


def crowd_settings(neighbours: int) -> PrioritySettings:
    """Return the settings beside some neighbours: the more, the longer a pass of the scheduler."""
    if neighbours < 1_000:
        return attrs.evolve(CROWD, neighbours=neighbours)
    return attrs.evolve(CROWD, neighbours=neighbours, probes=60, interval=0.05)


def fixed_groups() -> Iterator[Group]:
    """Return the runs that are the same whatever the knobs say."""
    yield Group(
        "flood",
        rounds=2,
        quick_rounds=1,
        runs=(
            Run("flood", "ours", "load", as_parameters(FLOOD)),
            Run("quiet", "ours", "load", as_parameters(CALM)),
        ),
    )
    yield Group("crowd", rounds=1, quick_rounds=1, runs=crowd_lines()[0])
    yield Group("backlog", rounds=1, quick_rounds=1, runs=backlog_lines()[0])
    yield Group(
        "cancel",
        rounds=1,
        quick_rounds=1,
        runs=[
            Run(f"cancel {side}", side, "cancel", {"backlog": 200, **BOXES.get(side, {})})
            for side in ("ours", "two", "one", "pipecat")
        ],
    )
    yield Group(
        "meter",
        rounds=2,
        quick_rounds=1,
        runs=[
            Run(name, "ours", "meter", {"count": 100_000, "metered": metered})
            for name, metered in (("metered", 1), ("unmetered", 0))
        ],
    )


Lines = dict[str, list[tuple[int, str]]]


def crowd_lines() -> tuple[list[Run], Lines]:
    """Return the runs beside neighbours, and what line each is a point of."""
    runs: list[Run] = []
    lines: Lines = {}
    for side, sizes in CROWDS.items():
        parameters = {size: as_parameters(crowd_settings(size), side) for size in sizes}
        found, lines[side] = at_sizes(
            "load", side, parameters, {size: f"crowd {side} {size}" for size in sizes}
        )
        runs += found
    return runs, lines


def backlog_lines() -> tuple[list[Run], Lines]:
    """Return the runs behind a backlog, and what line each is a point of."""
    runs: list[Run] = []
    lines: Lines = {}
    for side, sizes in BACKLOGS.items():
        found, lines[side] = at_sizes(
            "backlog",
            side,
            {
                size: {
                    "backlog": size,
                    "repetitions": repetitions(size),
                    **BOXES.get(side, {}),
                }
                for size in sizes
            },
        )
        runs += found
    return runs, lines


def curves() -> tuple[Curve, Curve]:
    """Return how the latency grows; a slope leaves out 0, which has no logarithm."""
    return (
        Curve(
            "backlog",
            "A backlog of data does not hold system messages up",
            "data messages queued",
            "system latency",
            "p50",
            {side: [point for point in line if point[0]] for side, line in backlog_lines()[1].items()},
        ),
        Curve(
            "crowd",
            "Beside busy neighbours a system message waits for its pass of the scheduler",
            "busy neighbours",
            "system latency",
            "system_p50",
            {side: [point for point in line if point[0]] for side, line in crowd_lines()[1].items()},
        ),
    )  # fmt: skip


def claims() -> Iterator[Claim]:
    """Return what is compared, and what must hold."""
    for side in TITLES:
        if side == "ours":
            continue
        for field in ("p50", "p99"):
            yield Claim(
                f"load: system latency, {field}",
                Figure("load ours", f"system_{field}"), in_time, "faster",
                other=Figure(f"load {side}", f"system_{field}"),
            )  # fmt: skip
        yield Claim(
            "load: time per data message",
            Figure("load ours", "data_time"), in_us, "faster",
            other=Figure(f"load {side}", "data_time"),
        )  # fmt: skip
    yield Claim(
        "flood of 8 producers: system p99 from send, to no flood",
        Figure("flood", "sent_p99"), in_us, "within", 3, other=Figure("quiet", "sent_p99"),
    )  # fmt: skip
    yield Claim(
        "flood of 8 producers: system p99 from due, to no flood",
        Figure("flood", "system_p99"), in_us, "within", 3, other=Figure("quiet", "system_p99"),
    )  # fmt: skip
    yield Claim(
        "1,000 busy neighbours: passes from send to handler, at most",
        Figure("crowd ours 1000", "crossed"), in_units, "below", 2,
    )  # fmt: skip
    yield Claim(
        "1,000 busy neighbours: system p99 from send, to p99 of a pass",
        Figure("crowd ours 1000", "sent_p99"), in_ms, "within", 2,
        other=Figure("crowd ours 1000", "passes_p99"),
    )  # fmt: skip
    yield Claim(
        "1,000 busy neighbours: system p99 from due, to p99 of a pass",
        Figure("crowd ours 1000", "system_p99"), in_ms, "within",
        other=Figure("crowd ours 1000", "passes_p99"),
    )  # fmt: skip
    yield Claim(
        "data handlers begun after a cancel of their worker",
        Figure("cancel ours", "after"), in_units, "below", 0,
    )  # fmt: skip
    yield Claim(
        "a message whose latency is taken, to one without",
        Figure("metered", "message"), in_us, "within", other=Figure("unmetered", "message"),
    )  # fmt: skip
