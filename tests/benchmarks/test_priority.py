"""`benchmarks.priority`: what is measured, what is made of it, and real but short runs."""

from __future__ import annotations

import copy
import inspect
import io
import json
import sys
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from benchmarks import (
    priority,
    priority_bare,
    priority_ours,
    priority_parts,
    priority_plots,
    priority_table,
)
from benchmarks.latency import pack
from benchmarks.limits import synchronous
from benchmarks.peers.environments import PYKKA
from benchmarks.plots import NoPlotError
from benchmarks.priority_scenario import load_scenario
from trioworkers._cli.exits import Refusal
from trioworkers.bench import PrioritySettings, ScenarioError
from trioworkers.bench._recorder import Lane, Recording

SHORT = PrioritySettings(backlog=100, probes=20, interval=0.0005, producers=2, patience=5)

SCENARIOS = """
from trioworkers import BusDataMessage, BusSystemMessage, Worker, handles, message

@message
class Data(BusDataMessage):
    pass

@message
class Urgent(BusSystemMessage):
    pass

class Mine(Worker):
    @handles(Data)
    async def data(self, message: Data) -> None: ...
    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None: ...

async def good(bench):
    await bench.runner.add_workers(Mine("mine"))
    await bench.flood("mine", Data, producers=bench.settings.producers)
    await bench.probe("mine", Urgent, count=bench.settings.probes)

async def silent(bench):
    await bench.runner.add_workers(Mine("mine"))
    await bench.flood("mine", Data)

async def broken(bench):
    raise LookupError("lost")

def plain(bench): ...
async def empty(): ...
class Holder:
    @staticmethod
    async def inner(bench): ...
"""


@pytest.fixture
def scenarios(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of scenarios in the current folder; returns its name."""
    name = f"scenarios_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(SCENARIOS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    return name


@pytest.fixture(scope="module")
def fonts() -> None:
    """Let matplotlib open the fonts, which it keeps open for as long as the process lives."""
    figure = Figure()
    figure.text(0, 0, "a$^{2}$")
    figure.savefig(io.BytesIO(), format="png")


# Scenarios of the user's


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("", "names no scenario: write module:scenario"),
        (":", "names no scenario"),
        (":goood", "has no 'goood'; did you mean 'good'"),
        (":plain", "is no scenario .*'async def' function"),
        (":empty", "is no scenario .*too many positional"),
        (":Mine", "is no scenario"),
        (".py:good", "leave out the '.py'"),
    ],
)
def test_a_wrong_scenario(scenarios: str, path: str, text: str) -> None:
    """A name that leads nowhere, or to no scenario, is refused with what is wrong with it."""
    with pytest.raises(Refusal, match=text):
        load_scenario(f"{scenarios}{path}")


def test_a_module_that_is_not_there() -> None:
    """A module that does not exist is told by its name."""
    with pytest.raises(Refusal, match="there is no module 'no_such_module'"):
        load_scenario("no_such_module:scenario")


@pytest.mark.parametrize("path", ["good", "Holder.inner"])
def test_a_scenario_is_found(scenarios: str, path: str) -> None:
    """A scenario is imported from the current folder; the path may have dots."""
    assert callable(load_scenario(f"{scenarios}:{path}"))


def test_a_scenario_is_run(scenarios: str) -> None:
    """A scenario takes the place of all parts, heeds the settings, and gives a table of lanes."""
    document = priority.run(SHORT, scenario=f"{scenarios}:good", rounds=1)
    (report,) = document["samples"]["load ours"]
    assert report["figures"]["system_p50"] > 0
    assert list(document["samples"]) == ["load ours"]
    shown = priority.table(document)
    assert f"load: the scenario {scenarios}:good" in shown
    assert not priority.fails(document)
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("silent", "the scenario sent no system message"),
        ("broken", "broken failed: LookupError: lost"),
    ],
)
def test_a_scenario_that_fails(
    scenarios: str, name: str, text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """A scenario that cannot be measured, or fails, is told in a sentence."""
    with pytest.raises(ScenarioError, match=text):
        priority.run(SHORT, scenario=f"{scenarios}:{name}", rounds=1)
    capfd.readouterr()


# Real runs, short ones


def load(side: str, settings: PrioritySettings) -> dict[str, Any]:
    """Run one side once, and return its report."""
    case = synchronous(priority_ours.load if side == "ours" else priority_bare.load)
    report = {"figures": case(**priority_parts.as_parameters(settings, side))}
    priority_table.complete_report(report)
    return report


@pytest.mark.parametrize("side", ["ours", "limits", "two", "one"])
def test_a_load(side: str) -> None:
    """Each of our sides and trio's handles every probe while data floods it."""
    report = load(side, SHORT)
    assert report["figures"]["unhandled"] == 0
    assert report["figures"]["system_p50"] > 0
    assert report["figures"]["data_p50"] > 0


@pytest.mark.parametrize(
    "knobs",
    [
        {"handler": "sleeping", "cost": 0.0001},
        {"handler": "busy", "cost": 0.0001},
        {"handler": "blocked"},
        {"handler": "blocked", "system_handler": "interrupting"},
        {"system_share": 0.5},
        {"burst": 10},
        {"neighbours": 5},
        {"overflow": "drop_oldest", "capacity": 100},
        {"overflow": "drop_newest"},
        {"overflow": "refuse"},
        {"producers": 0},
        {"link": "proxy"},
        {"link": "proxy", "handler": "blocked", "system_handler": "interrupting"},
    ],
    ids=str,
)
def test_every_knob(knobs: dict[str, Any]) -> None:
    """Whatever is turned, every system message is handled (S-MAIL-2)."""
    report = load("ours", attrs.evolve(SHORT, **knobs))
    assert report["figures"]["unhandled"] == 0
    assert report["figures"]["system_p50"] > 0


def test_another_package_of_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a proxy, too, what lies in the current directory is not what is measured."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise SystemExit('another one')")
    monkeypatch.setenv("PYTHONPATH", str(Path(priority.__file__).parents[1]))
    monkeypatch.chdir(tmp_path)
    assert load("ours", attrs.evolve(SHORT, link="proxy"))["figures"]["system_p50"] > 0


def test_very_many_are_all_counted() -> None:
    """Where every so manieth latency is kept, what is told is of all messages."""
    recording = Recording(data=Lane(10))
    for number in range(1, 1_000):
        recording.data.add(50.0 if number == 501 else 0.001)
    samples = {"load ours": [{"figures": priority_ours.tell(recording)}]}
    lane = priority_table.lane_of(priority_table.complete(samples), "load ours", "data")
    assert lane.count == 999
    assert lane.maximum == pytest.approx(50, rel=0.01)


def test_no_rate() -> None:
    """A side whose data handlers hang has no rate, and the table shows the rest."""
    samples = full_samples()
    for key in ("load ours", "load two"):
        hung = load_report([0.001], [0.01])
        hung["figures"]["throughput"] = 0.0
        samples[key] = [hung]
    document = document_of(samples)
    assert "load: system latency, p50" in priority.table(document)
    assert not priority.fails(document)


def test_what_one_channel_cannot() -> None:
    """A system message behind a handler that hangs is not handled, and counts all the same."""
    settings = attrs.evolve(SHORT, handler="blocked", patience=0.1)
    report = load("one", settings)
    assert report["figures"]["unhandled"] == settings.probes
    assert report["figures"]["system_p50"] > 0


def test_the_fixed_parts() -> None:
    """The parts without knobs run, and what must hold of counts does hold."""
    document = priority.run(only=["cancel"], rounds=1)
    shown = priority.table(document)
    assert "data handlers begun after a cancel of their worker" in shown
    assert not priority.fails(document)


# What is made of it: pure


def document_of(samples: dict[str, Any]) -> dict[str, Any]:
    """Return a document as `run` does."""
    return {
        "machine": {
            "cpu": "a processor", "cores": 2, "system": "Linux", "python": "3.11",
            "implementation": "CPython",
        },
        "started": "2026-01-01T00:00:00+00:00", "seconds": 1, "load": 0.1, "quick": False,
        "commit": "abc", "versions": {"trio": "0.35.0"}, "settings": attrs.asdict(SHORT),
        "scenario": None, "samples": priority_table.complete(samples),
    }  # fmt: skip


def load_report(system: list[float], data: list[float]) -> dict[str, Any]:
    """Return what a side reports about a load."""
    return {
        "figures": {
            "system": pack(system), "sent": pack(system), "data": pack(data), "passes": "",
            "depths": "0.0010:5:1 0.0020:7:0", "throughput": 1000.0, "starvation": 0.01,
            "unhandled": 0, "refused": 0,
        },
        "spin": [0.006],
    }  # fmt: skip


def full_samples() -> dict[str, Any]:
    """Return reports of every part."""
    one = {"spin": [0.006]}
    samples: dict[str, Any] = {
        f"load {side}": [load_report([0.001 * scale], [0.01 * scale])]
        for scale, side in enumerate(priority_parts.TITLES, 1)
    }
    samples |= {"flood": [load_report([0.002], [0.1])], "quiet": [load_report([0.001], [])]}
    for side, sizes in priority_parts.CROWDS.items():
        for size in sizes:
            report = load_report([0.001 * (size + 1)], [])
            one_pass = 0.0005 * (size + 1)
            report["figures"] |= {"crossed": 2, "pass": one_pass, "passes": pack([one_pass])}
            samples[f"crowd {side} {size}"] = [report]
    for side, sizes in priority_parts.BACKLOGS.items():
        for size in sizes:
            samples[f"{side} backlog {size}"] = [{"figures": {"p50": 1e-4, "p99": 2e-4}, **one}]
    for side in ("ours", "one", "pipecat"):
        figures = {"events": "d-1000:0 d0:1000 s-500 s10", "after": int(side != "ours")}
        samples[f"cancel {side}"] = [{"figures": figures, **one}]
    samples |= {name: [{"figures": {"message": 2e-6}, **one}] for name in ("metered", "unmetered")}
    return samples


def test_the_table_has_everything() -> None:
    """The table tells the lanes of each side, what must hold, and how latencies grow."""
    document = document_of(full_samples())
    shown = priority.table(document)
    for title in priority_parts.TITLES.values():
        assert title in shown
    assert shown.count("PASS") == 5
    assert "FAIL" not in shown
    assert "a pass of 50" in shown
    assert "11 ms to 1 s" in shown
    assert "n^0" in shown
    assert "after a cancel: ours 0, one channel 1, Pipecat 1" in shown
    assert not priority.fails(document)


def test_what_does_not_hold_fails() -> None:
    """Three passes instead of two, or four times the latency under a flood, is a FAIL."""
    for change in ("crossed", "flood"):
        samples = full_samples()
        if change == "crossed":
            samples["crowd ours 1000"][0]["figures"]["crossed"] = 3
        else:
            samples["flood"] = [load_report([0.004], [0.1])]
        document = document_of(samples)
        assert priority.fails(document)
        assert "FAIL" in priority.table(document)


def test_a_side_that_failed_is_told() -> None:
    """A process that failed is named with its error, and the others are shown."""
    samples = full_samples()
    samples["load pipecat"] = [{"error": "no such module"}]
    shown = priority.table(document_of(samples))
    assert "load pipecat could not be measured: no such module" in shown


def test_completing_is_not_repeated_by_accident() -> None:
    """A document that was read again shows the same table as the one that was written."""
    document = document_of(full_samples())
    again = json.loads(json.dumps(document))
    assert priority.table(again) == priority.table(document)


def test_rounds_are_added_up() -> None:
    """The lanes are over all rounds, each round keeps its own percentiles, and room is saved."""
    samples = {"load ours": [load_report([0.001], [0.01]), load_report([0.003], [0.03])]}
    document = document_of(samples)
    first, second = document["samples"]["load ours"]
    assert "recorded" not in second
    assert priority_table.lane_of(samples, "load ours", "system").count == 2
    assert first["figures"]["p50"] == pytest.approx(0.001, rel=0.01)
    assert second["figures"]["p50"] == pytest.approx(0.003, rel=0.01)
    assert first["recorded"]["depths"]


def test_nothing_measured() -> None:
    """A document without samples has a heading only, and no plot."""
    document = document_of({})
    assert "a processor" in priority.table(document)
    with pytest.raises(NoPlotError, match="nothing was measured"):
        priority.plot(document, Path("nothing.svg"))


def test_what_stands_over_a_cancel() -> None:
    """One handler is one handler."""
    said = [priority_plots.after_it(count) for count in range(3)]
    assert [text.partition(" begun")[0] for text in said] == [
        "no data handlers", "1 data handler", "2 data handlers",
    ]  # fmt: skip


@pytest.mark.usefixtures("fonts")
@pytest.mark.parametrize("suffix", ["svg", "png"])
def test_pictures(tmp_path: Path, suffix: str) -> None:
    """Everything that was measured is drawn, and the same figures give the same files."""
    document = document_of(full_samples())
    written = priority.plot(document, tmp_path / f"p.{suffix}")
    assert [path.name for path in written] == [
        f"p{name}.{suffix}" for name in ("", "-timeline", "-backlog", "-neighbours", "-depth")
    ]
    first = [path.read_bytes() for path in written]
    assert [path.read_bytes() for path in priority.plot(document, written[0])] == first


@pytest.mark.usefixtures("fonts")
def test_a_picture_of_one_part(tmp_path: Path) -> None:
    """What was not measured is not drawn, and the first picture has the name that was given."""
    samples = {"cancel ours": full_samples()["cancel ours"]}
    written = priority.plot(document_of(samples), tmp_path / "p.svg")
    assert [path.name for path in written] == ["p.svg"]


def test_a_picture_of_what_kind(tmp_path: Path) -> None:
    """A file that is no picture is refused."""
    with pytest.raises(NoPlotError, match=r"a plot is a \.svg or a \.png"):
        priority.plot(document_of(full_samples()), tmp_path / "p.txt")


@given(times=st.lists(st.floats(1e-6, 10), min_size=1, max_size=300))
def test_a_line_of_percentiles(times: list[float]) -> None:
    """The line rises, begins at the smallest latency and never leaves what was measured."""
    counts = [(each, 1) for each in times]
    points = priority_plots.percentile_line(counts)
    assert points[0] == (0.0, min(times))
    assert points == sorted(points)
    assert [seconds for _, seconds in points] == sorted(seconds for _, seconds in points)
    assert points[-1][1] <= max(times)


@pytest.mark.parametrize(
    ("knobs", "text"),
    [
        ({}, "100 data messages queued, 2 producers, handlers busy; a system message every 500 us"),
        ({"handler": "sleeping", "cost": 0.001}, "handlers sleeping 1 ms"),
        ({"burst": 5}, ", 5 at once"),
        ({"link": "proxy"}, ", beyond a proxy"),
        ({"neighbours": 1_000}, ", 1,000 busy neighbours"),
        ({"system_share": 0.25}, ", 25% of the flood system messages"),
        ({"overflow": "refuse"}, ", overflow refuse"),
        ({"system_handler": "interrupting"}, ", interrupting"),
    ],
)
def test_the_load_is_described(knobs: dict[str, Any], text: str) -> None:
    """The table and the pictures say in a sentence what load there was."""
    settings = attrs.asdict(attrs.evolve(SHORT, **knobs))
    assert text in priority_table.described({"settings": settings})


# The command


def test_the_command_has_every_knob() -> None:
    """The command of `trioworkers bench` takes each setting, with its default and its sentence."""
    parameters = inspect.signature(priority.command).parameters
    for field in attrs.fields(PrioritySettings):
        assert parameters[field.name].default == field.default
    doc = priority.command.__doc__ or ""
    for name, text in PrioritySettings.help().items():
        assert f"{name}: {priority.sentence(text)}" in doc


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"capacity": 5}, "capacity 5 cannot hold"),
        ({"probes": 0}, "probes is 0"),
        ({"only": "load,x"}, "there is no part 'x': give some of load,flood"),
        ({"plot": Path("a.txt")}, "a plot is a"),
        ({"json": Path("no_such_folder/a.json")}, "there is no folder 'no_such_folder'"),
        ({"json": Path()}, "'.' is a folder: give a file in it"),
        ({"rounds": 0}, "rounds is 0: give a number from 1 to 1,000"),
        ({"scenario": "nothing"}, "'nothing' names no scenario"),
        ({"scenario": "a:b", "only": "load"}, "leave out --only"),
    ],
)
def test_the_command_refuses(given: dict[str, Any], text: str) -> None:
    """What cannot be measured is refused before anything runs."""
    with pytest.raises(Refusal, match=text):
        priority.command(**given)


def test_peers_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without their environments, and without leave to make them, peers are refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Refusal, match=r"say --yes to let it be installed, or leave out --peers"):
        priority.command(peers=True)


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_peers_that_cannot_be_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failed installation is told in a sentence."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    PYKKA.python.parent.mkdir(parents=True)
    PYKKA.python.write_text('#!/bin/sh\ntest "$*" = "-m pip --version"\n')
    PYKKA.python.chmod(0o755)
    with pytest.raises(Refusal, match=r"pykka==.* could not be installed: see above"):
        priority.command(peers=True, yes=True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk(capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be written is named, and what was measured is shown all the same."""
    with pytest.raises(Refusal, match="cannot write '/dev/full': No space left"):
        priority.keep(document_of(full_samples()), Path("/dev/full"), None)
    knobs = {"backlog": 10, "probes": 10, "producers": 1, "link": "proxy"}
    with pytest.raises(Refusal, match="cannot write"):
        priority.command(only="load", rounds=1, json=Path("/dev/full"), **knobs)
    assert "beyond a proxy" in capsys.readouterr().out


@pytest.mark.usefixtures("fonts")
def test_the_command_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command measures, shows the table, and writes the files that it was asked for."""
    files = {"json": tmp_path / "p.json", "plot": tmp_path / "p.svg"}
    knobs = {"backlog": 10, "probes": 10, "producers": 1}
    assert priority.command(only="load", rounds=1, **files, **knobs) == 0
    document = json.loads(files["json"].read_text(encoding="utf-8"))
    output = capsys.readouterr().out
    assert output.startswith(priority.table(document))
    assert output.endswith(f"drawn: {tmp_path / 'p-depth.svg'}\n")
    assert document["settings"]["backlog"] == 10


# The command line of the module


def test_every_knob_is_an_option() -> None:
    """Each setting is an option with its sentence as help."""
    shown = " ".join(priority.make_parser().format_help().split())
    for name, text in PrioritySettings.help().items():
        assert f"--{name.replace('_', '-')}" in shown
        assert text in shown


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command."""
    monkeypatch.setattr(sys, "argv", ["priority", *arguments])
    return priority.main()


@pytest.mark.usefixtures("fonts")
def test_a_file_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A document that was kept is shown and drawn again; what does not hold is the exit code."""
    document = document_of(full_samples())
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(document), encoding="utf-8")
    drawn = tmp_path / "drawn.svg"
    assert command(monkeypatch, "--show", str(kept), "--plot", str(drawn)) == 0
    assert capsys.readouterr().out.startswith(priority.table(document))
    assert drawn.exists()
    worse = copy.deepcopy(document)
    worse["samples"]["crowd ours 1000"][0]["figures"]["crossed"] = 3
    kept.write_text(json.dumps(worse), encoding="utf-8")
    assert command(monkeypatch, "--show", str(kept)) == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--capacity", "5"], "capacity 5 cannot hold a backlog of 10,000"),
        (["--handler", "lazy"], "handler is 'lazy': give one of"),
        (["--scenario", "nothing"], "'nothing' names no scenario"),
    ],
)
def test_what_is_refused(
    arguments: list[str],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What cannot be measured is refused before anything runs, in a sentence."""
    with pytest.raises(SystemExit):
        command(monkeypatch, *arguments)
    assert text in capsys.readouterr().err
