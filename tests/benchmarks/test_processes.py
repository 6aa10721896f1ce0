"""Measured processes: real ones, with very little to do."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from benchmarks import harness
from benchmarks.claims import Samples
from benchmarks.harness import Group, Run, Side, Step, measure, run_once
from benchmarks.side import MARK, tell
from benchmarks.subjects import MODULES, PEERS, TITLES
from tests.cli.program import is_running, wait_until

CASES: dict[str, dict[str, int | str]] = {
    "send": {"count": 100, "others": 2},
    "ask": {"count": 20},
    "broadcast": {"receivers": 3, "count": 2},
    "spawn": {"count": 5},
    "memory": {"count": 50},
    "cancel": {"children": 2, "leaves": 2},
}
FIGURES = {"send": "message", "ask": "p50", "memory": "bytes"}
FEW = {"channels": ("send", "ask", "broadcast")}
OWN = {
    "send_bus": ("pipecat", {"count": 100, "others": 2}),
    "system": ("ours", {"backlog": 10, "repetitions": 2}),
    "jobs": ("ours", {"count": 50}),
}


def side(name: str) -> Side:
    """Return a side, if it can run here."""
    module = f"benchmarks.{MODULES[name]}"
    if name not in PEERS:
        return Side(TITLES[name], module)
    if not PEERS[name].is_ready():
        pytest.skip(f"{name} is not installed; `trioworkers bench ask --peers` installs it")
    return Side(TITLES[name], module, str(PEERS[name].python))


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name in MODULES for case in FEW.get(name, CASES)]
)
def test_every_side_measures(name: str, case: str) -> None:
    """Every side's program measures each case that it has, in a process of its own."""
    parameters = dict(CASES[case])
    if name == "ours" and case == "ask":
        parameters["form"] = "ask_dict"
    report = run_once(side(name), case, parameters)
    assert "error" not in report
    if case != "memory":  # of so few it may be nothing
        assert report["figures"][FIGURES.get(case, case)] > 0
    assert report["versions"]
    assert len(report["spin"]) == 2


@pytest.mark.parametrize("case", OWN)
def test_cases_of_one_side(case: str) -> None:
    """What only one side can do is measured too."""
    name, parameters = OWN[case]
    assert "error" not in run_once(side(name), case, parameters)


def test_a_process_that_fails(capfd: pytest.CaptureFixture[str]) -> None:
    """A failure is told, is an error in the samples, and the side is not tried again."""
    steps: list[Step] = []
    runs = (Run("a", "ours", "no_such_case"), Run("b", "ours", "spawn", {"count": 2}))
    samples = measure(
        [Group("g", 2, runs)],
        {"ours": side("ours")},
        quick=False,
        rounds=None,
        progress=steps.append,
    )
    assert "no_such_case" in samples["a"][0]["error"]
    assert [len(samples[key]) for key in "ab"] == [1, 2]
    assert "no_such_case" in capfd.readouterr().err
    assert [step.number for step in steps] == [1, 2, 3]


def test_a_process_that_takes_long(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """After some time it is said what is waited for, and for how long."""
    monkeypatch.setattr(harness, "LONG", 0.001)
    report = run_once(side("ours"), "spawn", {"count": 2})
    assert "figures" in report
    assert (
        capfd.readouterr().err
        == "ours, spawn: not done after 0.001 s; it is given up after 300 s\n"
    )


@pytest.mark.parametrize("module", ["keyword", "this"])
def test_a_process_that_does_not_tell(module: str) -> None:
    """A process that ends well without its figures, whatever it says instead, is an error."""
    found = run_once(Side("mute", module), "a", {})
    assert found == {"error": harness.SILENT}


@pytest.mark.skipif(sys.platform == "win32", reason="a signal ends no process there")
def test_a_process_ended_by_a_signal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a process that a signal has ended its name is told."""
    program = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "ended_by_a_signal.py").write_text(program, encoding="utf-8")
    monkeypatch.setattr(harness, "CHECKOUT", tmp_path)
    found = run_once(Side("ended", "ended_by_a_signal"), "a", {})
    assert found == {"error": "its process was ended by SIGKILL"}


@pytest.mark.parametrize(
    ("code", "errors", "said"),
    [
        (None, "not done after 300 s", "not done after 300 s"),
        (1, "Traceback\nLookupError: lost\n", "LookupError: lost"),
        (1, "", "its process ended with exit code 1"),
        (3, "", "its process ended with exit code 3"),
        (3, "tired\n", "its process ended with exit code 3; it said last: tired"),
        (-4095, "", "its process was ended by signal 4095"),
    ],
)
def test_why_a_process_failed(code: int | None, errors: str, said: str) -> None:
    """How a process ended is told where no traceback tells it, with what it said last."""
    assert harness.why_it_failed(code, errors) == said


@pytest.mark.parametrize("end", ["", "\n"])
def test_what_is_printed_beside_the_figures(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The figures have a line of their own, also where something else has not ended its line."""
    print("before", end=end)
    tell({"figures": {}})
    assert f'{MARK}{{"figures": {{}}}}' in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize(
    ("errors", "said"),
    [
        ("", "no message"),
        ("Traceback\n  a line\nLookupError: lost\n\n", "LookupError: lost"),
        ("sorry", "sorry"),
        (
            "  + Exception Group Traceback\n  | ExceptionGroup: (1)\n  +-+---- 1 ----\n"
            "    | ValueError: boom\n    | in worker runner/w\n    +-----------\n",
            "ValueError: boom",
        ),
    ],
)
def test_what_a_process_said_last(errors: str, said: str) -> None:
    """Of a traceback the line with the exception is told, also of a group of them."""
    assert harness.last_words(errors) == said


def test_an_interrupted_round(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a Ctrl-C the samples hold the complete rounds only."""

    def progress(step: Step) -> None:
        if step.number == 4:
            raise KeyboardInterrupt

    runs = tuple(Run(key, "ours", "spawn", {"count": 2}) for key in "ab")
    samples: Samples = {}
    with pytest.raises(KeyboardInterrupt):
        measure(
            [Group("g", 3, runs)],
            {"ours": side("ours")},
            quick=False,
            rounds=None,
            progress=progress,
            into=samples,
        )
    assert [len(samples[key]) for key in "ab"] == [1, 1]


def test_rounds_go_forth_and_back() -> None:
    """Every other round is backwards, so that nobody is always first; samples keep their order."""
    order: list[str] = []
    runs = tuple(Run(key, key, "spawn", {"count": 2}) for key in "abc")
    sides = {key: Side(key, "benchmarks.ours") for key in "abc"}
    samples = measure(
        [Group("g", 3, runs)], sides, quick=False, rounds=None,
        progress=lambda step: order.append(step.side),
    )  # fmt: skip
    assert "".join(order) == "abccbaabc"
    assert list(samples) == ["a", "b", "c"]


def test_what_a_process_refuses(scenario_without_system: str) -> None:
    """A process that cannot do what it was told says why, and is not started again."""
    given = {"settings": "{}", "scenario": scenario_without_system}
    runs = (Run("a", "ours", "load", given),)
    sides = {"ours": Side("ours", "benchmarks.priority_ours")}
    samples = measure([Group("g", 3, runs)], sides, quick=False, rounds=None)
    assert [list(each) for each in samples["a"]] == [["refused"]]


@pytest.fixture
def scenario_without_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A scenario that does nothing, in the current folder."""
    (tmp_path / "idle_scenario.py").write_text("async def scenario(bench): ...\n")
    monkeypatch.chdir(tmp_path)
    return "idle_scenario:scenario"


STUBBORN = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(child.pid, flush=True)
time.sleep(600)
"""


def test_nothing_is_left_behind() -> None:
    """What a measured process has started is killed with it."""
    pids: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        with harness.started([sys.executable, "-c", STUBBORN], {}) as process:
            assert process.stdout is not None
            pids += [process.pid, int(process.stdout.readline())]
            raise KeyboardInterrupt
    wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_a_peer_does_not_see_us(tmp_path: Path) -> None:
    """A program of a peer runs without our package, and without our path."""
    peer = Side("peer", "benchmarks.side", python=str(tmp_path / "python"))
    assert peer.program[1:] == ("-P", str(harness.HERE / "alone.py"), "side")
    assert "PYTHONPATH" not in harness.environment(peer)
