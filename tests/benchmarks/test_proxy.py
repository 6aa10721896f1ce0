"""The measurements of links: both dialects, and what they are compared with."""

from __future__ import annotations

import pytest

from benchmarks import proxy
from benchmarks.harness import run_once
from benchmarks.limits_proxy import LENGTH, unpacked
from benchmarks.side import percentiles
from benchmarks.subjects import Dots

RUNS = {run.key: run for group in proxy.GROUPS for run in group.runs}


def test_a_packed_frame_is_read_message_by_message() -> None:
    """Each message of a packed frame comes out by itself, whole and in order."""
    messages = [b"one", b"", b"three"]
    frame = b"".join(LENGTH.pack(len(each)) + each for each in messages)
    assert list(unpacked(frame)) == messages
    assert list(unpacked(b"")) == []


def test_every_run_of_ours_says_its_dialect() -> None:
    """What is compared with Pipecat's format speaks that, and what is called native does not."""
    linked = {
        key: run.parameters["dialect"]
        for key, run in RUNS.items()
        if run.side == "ours" and run.case != "local"
    }
    native = {key for key, dialect in linked.items() if dialect == "native"}
    assert native == {key for key in linked if key.endswith(" native")}
    assert set(linked.values()) == {"native", "pipecat"}


def test_the_picture_names_the_dialects() -> None:
    """The default dialect is in the picture, and Pipecat's format is called so."""
    (plot,) = proxy.SUBJECT.plots
    assert isinstance(plot, Dots)
    dialects = {label: RUNS[key].parameters.get("dialect") for label, key in plot.rows}
    assert dialects["trioworkers"] == "native"
    assert dialects["trioworkers,\nin Pipecat's format"] == "pipecat"


def test_what_the_native_dialect_must_do() -> None:
    """Thirty times Pipecat's rate, half of raw packed frames, and twice as fast a job."""
    bounds = {
        claim.title: (claim.kind, claim.bound) for claim in proxy.native_claims() if claim.bound
    }
    assert bounds == {
        "native, one way, small": ("faster", 30),
        "native, of raw packed frames": ("share", 50),
        "native, job, small, p50": ("faster", 2),
    }


@pytest.mark.parametrize(
    "key",
    ["ours", "core", "native", "bare", "packed", "local"],
)
def test_every_way_of_sending_measures(key: str) -> None:
    """Each run sends all its messages to the other process, and says what one costs."""
    run = RUNS[f"one_way small {key}"]
    sides = proxy.SUBJECT.sides(peers=False)
    report = run_once(sides[run.side], run.case, {**run.parameters, "count": 50})
    assert "error" not in report
    assert report["figures"]["message"] > 0


def test_the_99th_percentile_is_not_the_maximum() -> None:
    """Of a hundred times one is above the 99th percentile."""
    found = percentiles([float(n) for n in range(1, 101)])
    assert (found["p50"], found["p99"], found["max"]) == (50.5, 99.0, 100.0)
    assert percentiles([3.0]) == {"p50": 3.0, "p99": 3.0, "max": 3.0}
