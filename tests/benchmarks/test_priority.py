"""`benchmarks.priority`: what is measured, what is made of it, and real but short runs."""

from __future__ import annotations

import copy
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
    command,
    priority,
    priority_bare,
    priority_ours,
    priority_parts,
    priority_plots,
    priority_table,
)
from benchmarks.claims import as_text
from benchmarks.latency import pack
from benchmarks.limits import synchronous
from benchmarks.peers.environments import PYKKA
from benchmarks.plots import NoPlotError, draw_subject
from benchmarks.priority_scenario import load_scenario
from trioworkers._cli import bench
from trioworkers._cli.exits import CRASHED, WRONG_ARGUMENT, Refusal
from trioworkers.bench import PrioritySettings
from trioworkers.bench._recorder import Lane, Recording

SHORT = PrioritySettings(backlog=100, probes=20, interval=0.0005, producers=2, patience=5)

SCENARIOS = """
import atexit
import os

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

class Crashing(Mine):
    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None:
        raise LookupError("lost by a worker")

async def crashing(bench):
    await bench.runner.add_workers(Crashing("mine"))
    await bench.probe("mine", Urgent, count=1)

async def leaving(bench):
    raise SystemExit(3)

class Leaving(Mine):
    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None:
        raise SystemExit(3)

async def left_by_a_worker(bench):
    await bench.runner.add_workers(Leaving("mine"))
    await bench.probe("mine", Urgent, count=1)

async def chatty(bench):
    await good(bench)
    atexit.register(print, "good bye")
    print("it is over", end="")

async def short_of_breath(bench):
    atexit.register(os._exit, 0)
    await silent(bench)

async def exiting(bench):
    os._exit(3)

async def exiting_well(bench):
    os._exit(0)

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


def measured(
    *arguments: str, settings: PrioritySettings | None = None, scenario: str | None = None
) -> dict[str, Any]:
    """Measure what the arguments say."""
    subject = priority.subject(settings, scenario)
    given = command.parser(subject, None).parse_args(arguments, command.Given())
    return command.measured_subject(subject, given)


def table(document: dict[str, Any]) -> str:
    """Return what is shown of a document."""
    return "\n\n".join(map(as_text, command.parts_of(priority.SUBJECT, document)))


def fails(document: dict[str, Any]) -> bool:
    """Tell whether something that must hold does not."""
    return any(line.verdict == "FAIL" for line in priority.SUBJECT.lines(document["samples"]))


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
    document = measured("--rounds", "1", settings=SHORT, scenario=f"{scenarios}:good")
    (report,) = document["samples"]["load ours"]
    assert report["figures"]["system_p50"] > 0
    assert list(document["samples"]) == ["load ours"]
    shown = table(document)
    assert f"load: the scenario {scenarios}:good" in shown
    assert not fails(document)
    assert json.loads(json.dumps(document)) == document


def test_a_module_that_cannot_be_imported(
    scenarios: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module that raises is told with its traceback, which begins in the user's code."""
    Path(f"{scenarios}_raising.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(Refusal, match="_raising cannot be imported: ZeroDivisionError") as refused:
        load_scenario(f"{scenarios}_raising:good")
    assert refused.value.code == WRONG_ARGUMENT
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Traceback")
    assert f"{scenarios}_raising.py" in lines[1]


def test_a_scenario_without_system_messages(scenarios: str) -> None:
    """A scenario that cannot be measured is a wrong argument, and is not run again."""
    with pytest.raises(Refusal, match="the scenario sent no system message") as refused:
        measured(settings=SHORT, scenario=f"{scenarios}:silent")
    assert refused.value.code == WRONG_ARGUMENT


@pytest.mark.parametrize(
    ("name", "error", "calls"),
    [("broken", "LookupError: lost", 1), ("crashing", "LookupError: lost by a worker", 1)],
)
def test_a_scenario_that_raises(
    scenarios: str, name: str, error: str, calls: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A scenario that raises has crashed; its traceback has the user's code only."""
    with pytest.raises(Refusal, match=f"nothing could be measured: {error}") as refused:
        measured(settings=SHORT, scenario=f"{scenarios}:{name}")
    assert refused.value.code == CRASHED
    told = capfd.readouterr().err
    assert told.count("ours, load failed:") == 1
    files = [line for line in told.splitlines() if 'File "' in line]
    assert len(files) == calls
    assert f"{scenarios}.py" in files[0]


def test_a_module_that_runs_trio(scenarios: str) -> None:
    """A module that runs trio when it is imported is measured, and this process runs nothing of it."""
    text = Path(f"{scenarios}.py").read_text(encoding="utf-8")
    more = "import trio\ntrio.run(trio.lowlevel.checkpoint)\n"
    Path(f"{scenarios}_running.py").write_text(text + more, encoding="utf-8")
    document = measured("--rounds", "1", settings=SHORT, scenario=f"{scenarios}_running:good")
    assert document["samples"]["load ours"][0]["figures"]["system_p50"] > 0
    assert f"{scenarios}_running" not in sys.modules


def test_the_process_tells_what_is_wrong(scenarios: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A module that raises is refused by the process that imports it, with its traceback."""
    Path(f"{scenarios}_raising.py").write_text("1 / 0\n", encoding="utf-8")
    with pytest.raises(Refusal, match="_raising cannot be imported: ZeroDivisionError") as refused:
        measured(settings=SHORT, scenario=f"{scenarios}_raising:good")
    assert refused.value.code == WRONG_ARGUMENT
    assert capfd.readouterr().err.startswith("Traceback")


def test_a_scenario_that_prints_at_the_end(scenarios: str) -> None:
    """What a user's functions print after the measurement does not lose it."""
    document = measured("--rounds", "1", settings=SHORT, scenario=f"{scenarios}:chatty")
    assert document["samples"]["load ours"][0]["figures"]["system_p50"] > 0


def test_a_scenario_that_exits_at_the_end(scenarios: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the process has told is not lost when a function of the user's ends it at once."""
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    with pytest.raises(Refusal, match="the scenario sent no system message"):
        measured(settings=SHORT, scenario=f"{scenarios}:short_of_breath")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("exiting", "its process ended with exit code 3"),
        ("exiting_well", "its process ended, with exit code 0, without telling its figures"),
    ],
)
def test_a_scenario_that_exits_at_once(scenarios: str, name: str, text: str) -> None:
    """A scenario whose process ends without a word is told with its exit code."""
    with pytest.raises(Refusal, match=f"nothing could be measured: {text}") as refused:
        measured(settings=SHORT, scenario=f"{scenarios}:{name}")
    assert refused.value.code == CRASHED


@pytest.mark.parametrize("name", ["leaving", "left_by_a_worker"])
def test_a_scenario_that_exits(scenarios: str, name: str) -> None:
    """A scenario that ends its process is refused with what it should do."""
    with pytest.raises(
        Refusal, match=r"ended its process, with sys\.exit\(3\): a scenario returns"
    ):
        measured(settings=SHORT, scenario=f"{scenarios}:{name}")


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


@pytest.mark.parametrize("side", ["limits", "two", "one"])
def test_neighbours_of_plain_trio(side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neighbours are a load on each side that is measured beside ours."""
    busy: list[object] = []
    be_busy = priority_bare.be_busy

    async def seen(box: priority_bare.Box) -> None:
        busy.append(box)
        await be_busy(box)

    monkeypatch.setattr(priority_bare, "be_busy", seen)
    report = load(side, attrs.evolve(SHORT, neighbours=5))
    assert report["figures"]["unhandled"] == 0
    assert len(busy) == 5


@pytest.mark.parametrize(
    ("knobs", "alone"),
    [
        ({}, False),
        ({"neighbours": 5}, False),
        ({"overflow": "refuse"}, True),
        ({"link": "proxy"}, True),
    ],
    ids=str,
)
def test_who_is_under_the_load(knobs: dict[str, Any], alone: bool) -> None:
    """A load that others do not have is not measured on them, so that no ratio is made of it."""
    group = priority_parts.load_group(attrs.evolve(SHORT, **knobs), None)
    assert [run.side for run in group.runs] == (["ours"] if alone else list(priority_parts.TITLES))


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
    assert "load: system latency, p50" in table(document)
    assert not fails(document)


def test_what_one_channel_cannot() -> None:
    """A system message behind a handler that hangs is not handled, and counts all the same."""
    settings = attrs.evolve(SHORT, handler="blocked", patience=0.1)
    report = load("one", settings)
    assert report["figures"]["unhandled"] == settings.probes
    assert report["figures"]["system_p50"] > 0


def test_the_fixed_parts() -> None:
    """The parts without knobs run, and what must hold of counts does hold."""
    document = measured("--only", "cancel", "--rounds", "1")
    shown = table(document)
    assert "data handlers begun after a cancel of their worker" in shown
    assert not fails(document)


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
    shown = table(document)
    for title in priority_parts.TITLES.values():
        assert title in shown
    assert shown.count("PASS") == 5
    assert "FAIL" not in shown
    assert "ours 50" in shown
    assert "11 ms to 1 s" in shown
    assert "n^0" in shown
    assert "after a cancel: ours 0, one channel 1, Pipecat 1" in shown
    assert not fails(document)


def test_what_does_not_hold_fails() -> None:
    """Three passes instead of two, or four times the latency under a flood, is a FAIL."""
    for change in ("crossed", "flood"):
        samples = full_samples()
        if change == "crossed":
            samples["crowd ours 1000"][0]["figures"]["crossed"] = 3
        else:
            samples["flood"] = [load_report([0.004], [0.1])]
        document = document_of(samples)
        assert fails(document)
        assert "FAIL" in table(document)


def test_a_side_that_failed_is_told() -> None:
    """A process that failed is named with its error, and the others are shown."""
    samples = full_samples()
    samples["load pipecat"] = [{"error": "no such module"}]
    shown = table(document_of(samples))
    assert "load pipecat could not be measured: no such module" in shown


def test_completing_is_not_repeated_by_accident() -> None:
    """A document that was read again shows the same table as the one that was written."""
    document = document_of(full_samples())
    again = json.loads(json.dumps(document))
    assert table(again) == table(document)


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


def test_the_fullest_of_all_rounds() -> None:
    """The table has the most messages that waited in any round, not those of the last."""
    rounds = [load_report([0.001], [0.01]), load_report([0.001], [0.01])]
    rounds[0]["figures"]["depths"] = "0.0010:50000:1"
    document = document_of({"load ours": rounds})
    assert priority_table.most_queued(document["samples"], "load ours") == 50_000
    assert "50,000" in table(document)


def test_a_record_without_the_fullest() -> None:
    """A record that has the depths of its last round only is read all the same."""
    document = document_of({"load ours": [load_report([0.001], [0.01])]})
    del document["samples"]["load ours"][0]["figures"]["most_queued"]
    assert priority_table.most_queued(document["samples"], "load ours") == 7


def test_what_was_not_handled_is_a_bound() -> None:
    """Where the patience ran out, times and ratios say that they are at least so much."""
    waiting = load_report([10.0] * 60 + [0.001] * 40, [0.01])
    waiting["figures"]["unhandled"] = 60
    document = document_of({"load ours": [load_report([0.001], [0.01])], "load one": [waiting]})
    assert "system_p50" in document["samples"]["load one"][0]["bounds"]
    lines = priority.SUBJECT.lines(document["samples"])
    middle = next(line for line in lines if line.title == "load: system latency, p50")
    assert middle.other.startswith("one channel > 10 s")
    assert middle.ratio.startswith("> 10,0")
    assert "> 10 s" in table(document)


def test_what_few_did_not_handle() -> None:
    """A percentile below those that were not handled is a latency, and no bound."""
    assert priority_table.unreached(1_000, 0) == []
    assert priority_table.unreached(1_000, 20) == ["p99", "p999", "maximum"]
    assert priority_table.unreached(1_000, 1_000) == list(priority_table.PERCENTILES)


def test_nothing_measured() -> None:
    """A document without samples has a heading only, and no plot."""
    document = document_of({})
    assert "a processor" in table(document)
    with pytest.raises(NoPlotError, match="nothing was measured"):
        draw_subject(priority.SUBJECT, document, Path("nothing.svg"))


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
    written = draw_subject(priority.SUBJECT, document, tmp_path / f"p.{suffix}")
    assert [path.name for path in written] == [
        f"p{name}.{suffix}" for name in ("", "-timeline", "-backlog", "-neighbours", "-depth")
    ]
    first = [path.read_bytes() for path in written]
    assert [
        path.read_bytes() for path in draw_subject(priority.SUBJECT, document, written[0])
    ] == first


@pytest.mark.usefixtures("fonts")
def test_a_picture_of_what_was_not_handled(tmp_path: Path) -> None:
    """The picture says of whom some messages were not handled, and how many."""
    samples = {"load one": [load_report([10.0], [0.01])]}
    samples["load one"][0]["figures"]["unhandled"] = 1
    written = draw_subject(priority.SUBJECT, document_of(samples), tmp_path / "p.svg")
    assert "(1 system messages not" in written[0].read_text(encoding="utf-8")
    assert not priority_plots.at_least(0)


@pytest.mark.usefixtures("fonts")
def test_a_picture_of_one_part(tmp_path: Path) -> None:
    """What was not measured is not drawn, and the first picture has the name that was given."""
    samples = {"cancel ours": full_samples()["cancel ours"]}
    written = draw_subject(priority.SUBJECT, document_of(samples), tmp_path / "p.svg")
    assert [path.name for path in written] == ["p.svg"]


def test_a_picture_of_what_kind(tmp_path: Path) -> None:
    """A file that is no picture is refused."""
    with pytest.raises(NoPlotError, match=r"a plot is a \.svg or a \.png"):
        draw_subject(priority.SUBJECT, document_of(full_samples()), tmp_path / "p.txt")


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


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ("--capacity 5", "capacity 5 cannot hold"),
        ("--probes 0", "probes is 0"),
        ("--link proxy --neighbours 5", "5 neighbours and a link over a proxy do not go together"),
        ("--only load,x", "no part 'x': give some of load,flood"),
        ("--scenario nothing", "'nothing' names no scenario"),
        ("--scenario no_such_module:scenario", "there is no module 'no_such_module'"),
    ],
)
def test_the_command_refuses(arguments: str, text: str) -> None:
    """What cannot be measured is refused before anything runs."""
    with pytest.raises(Refusal, match=text) as refused:
        bench.bench(["priority", *arguments.split()])
    assert refused.value.code == WRONG_ARGUMENT


def test_a_scenario_takes_the_place_of_all_parts(scenarios: str) -> None:
    """With a scenario there is nothing else to choose."""
    with pytest.raises(Refusal, match="priority has no part 'flood': give some of load"):
        bench.bench(["priority", "--scenario", f"{scenarios}:good", "--only", "flood"])


def test_a_scenario_has_no_peers(scenarios: str) -> None:
    """Peers cannot run a scenario, which is written for us, and the sentence says so."""
    with pytest.raises(Refusal, match="a scenario is measured on trioworkers alone: leave out"):
        bench.bench(["priority", "--scenario", f"{scenarios}:good", "--peers"])


def test_the_command_has_every_knob(capsys: pytest.CaptureFixture[str]) -> None:
    """Each setting is an option, with its sentence and its default."""
    assert bench.bench(["priority", "--help"]) == 0
    told = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for field in attrs.fields(PrioritySettings):
        default = "" if field.default is None else f"[default: {field.default}]"
        assert f"--{field.name.replace('_', '-')} " in told
        assert PrioritySettings.help()[field.name] in told
        assert default in told


def test_peers_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without their environments, and without leave to make them, peers are refused."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Refusal, match=r"say --yes to let it be installed, or leave out --peers"):
        command.ensure_peers(priority.SUBJECT, priority.SUBJECT.groups, yes=False)


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a shell script")
def test_peers_that_cannot_be_installed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A failed installation is told in a sentence."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    PYKKA.python.parent.mkdir(parents=True)
    PYKKA.python.write_text('#!/bin/sh\ntest "$*" = "-m pip --version"\n')
    PYKKA.python.chmod(0o755)
    with pytest.raises(Refusal, match=r"pykka==.* could not be installed: see above"):
        command.ensure_peers(priority.SUBJECT, priority.SUBJECT.groups, yes=True)


FEW = ("--only", "load", "--rounds", "1", "--backlog", "10", "--probes", "10", "--producers", "1")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.usefixtures("fonts")
def test_a_full_disk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that cannot be written is named; what was measured is shown and drawn all the same."""
    with pytest.raises(Refusal, match="cannot write '/dev/full': No space left"):
        plot = ["--plot", str(tmp_path / "p.svg")]
        bench.bench(["priority", *FEW, "--link", "proxy", "--json", "/dev/full", *plot])
    assert "beyond a proxy" in capsys.readouterr().out
    assert (tmp_path / "p.svg").exists()


@pytest.mark.usefixtures("fonts")
def test_the_command_measures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command measures, shows the table, and writes the files that it was asked for."""
    kept, drawn = tmp_path / "p.json", tmp_path / "p.svg"
    assert bench.bench(["priority", *FEW, "--json", str(kept), "--plot", str(drawn)]) == 0
    document = json.loads(kept.read_text(encoding="utf-8"))
    output = capsys.readouterr().out
    assert output.startswith(table(document))
    assert output.endswith(f"drawn: {tmp_path / 'p-depth.svg'}\n")
    assert document["settings"]["backlog"] == 10


@pytest.mark.usefixtures("fonts")
def test_a_file_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A document that was kept is shown and drawn again; what does not hold is the exit code."""
    document = document_of(full_samples())
    kept = tmp_path / "kept.json"
    kept.write_text(json.dumps(document), encoding="utf-8")
    drawn = tmp_path / "drawn.svg"
    arguments = ["--show", str(kept), "--plot", str(drawn)]
    assert command.run_subject(priority.SUBJECT, None, arguments) == 0
    assert capsys.readouterr().out.startswith(table(document))
    assert drawn.exists()
    worse = copy.deepcopy(document)
    worse["samples"]["crowd ours 1000"][0]["figures"]["crossed"] = 3
    kept.write_text(json.dumps(worse), encoding="utf-8")
    assert command.run_subject(priority.SUBJECT, None, ["--show", str(kept)]) == 1
    capsys.readouterr()
