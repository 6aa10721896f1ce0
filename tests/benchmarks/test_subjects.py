"""What can be measured, and how costs grow."""

from __future__ import annotations

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest

from benchmarks import command, core
from benchmarks.catalogue import QUESTIONS, SUBJECTS
from benchmarks.claims import Samples
from benchmarks.harness import Run
from benchmarks.report import RESULTS
from benchmarks.subjects import PEERS, Curve, Dots, Subject, at_sizes, exponents_of
from tests.benchmarks.records import MACHINE, record, reports
from trioworkers._cli.exits import Refusal

EVERY = {
    **SUBJECTS,
    **{module.SUBJECT.name: module.SUBJECT for module in (core,)},
}
# The others are in environments that hold the peer.
IMPORTABLE = {"ours", "limits", "channels"}
WITHOUT_PLOT = {"saturated", "micro", "overtaking", "sessions"}


def runs(subject: Subject) -> list[Run]:
    """Return everything that a subject runs."""
    return [run for group in subject.groups for run in group.runs]


@pytest.mark.parametrize("name", EVERY)
def test_names_fit(name: str) -> None:
    """Claims and plots are about runs that there are, each of a known side and with a key of its own."""
    subject = EVERY[name]
    keys = [run.key for run in runs(subject)]
    assert len(keys) == len(set(keys))
    assert {run.side for run in runs(subject)} <= subject.modules.keys() & subject.titles.keys()
    named = {
        figure.run for claim in subject.claims for figure in (claim.ours, claim.other) if figure
    }
    for plot in subject.plots:
        lines = plot.lines.values() if isinstance(plot, Curve) else [plot.rows]
        named.update(key for line in lines for _, key in line)
    assert named <= set(keys)


@pytest.mark.parametrize("name", SUBJECTS)
def test_cases_take_their_parameters(name: str) -> None:
    """Every run names a case of its side's program, and what that takes."""
    subject = SUBJECTS[name]
    for run in runs(subject) if subject.take is None else []:
        if run.side in IMPORTABLE:
            module: Any = importlib.import_module(f"benchmarks.{subject.modules[run.side]}")
            inspect.signature(getattr(module, run.case)).bind(**{**run.parameters, **run.quick})


def test_every_subject_says_what_it_answers() -> None:
    """Each subject has a sentence for the list of commands."""
    assert QUESTIONS.keys() == SUBJECTS.keys()
    assert all(question.endswith((".", "?")) for question in QUESTIONS.values())


def options(subject: Subject, *arguments: str) -> command.Given:
    """Return what a command line says."""
    return command.parser(subject, None).parse_args(arguments, command.Given())


@pytest.mark.parametrize("name", EVERY)
def test_a_plot_is_drawn_or_refused(name: str, tmp_path: Path) -> None:
    """Who has no plot says so before anything is measured; all others can draw one."""
    subject = EVERY[name]
    asked = options(subject, "--plot", str(tmp_path / "a.svg"))
    if name in WITHOUT_PLOT:
        with pytest.raises(Refusal, match=f"{name} has no plot: leave out --plot"):
            command.refuse_unfit(subject, asked)
    else:
        command.refuse_unfit(subject, asked)


@pytest.mark.parametrize("name", EVERY)
def test_a_part_is_known_or_refused(name: str) -> None:
    """Each part can be measured alone, and one that there is not is told with those there are."""
    subject = EVERY[name]
    for group in subject.groups if subject.take is None else ():
        chosen = command.chosen(subject, options(subject, "--only", group.name))
        assert [each.name for each in chosen] == [group.name]
    with pytest.raises(Refusal, match=r"leave out --only|has no part 'nothing': give some of"):
        command.refuse_unfit(subject, options(subject, "--only", "nothing"))


@pytest.mark.parametrize(
    ("only", "needed"), [(None, {"pykka", "pipecat"}), ("flat", {"pipecat"}), ("send", PEERS)]
)
def test_the_peers_of_a_part(only: str | None, needed: set[str]) -> None:
    """Only the peers that the chosen parts are compared with have to be there."""
    subject = SUBJECTS["throughput"]
    given = options(subject, "--peers", *(() if only is None else ("--only", only)))
    assert subject.needed_peers(command.chosen(subject, given)).keys() == set(needed)


def test_a_part_without_peers() -> None:
    """A part that nobody else takes part in is refused with --peers, as a subject of such parts is."""
    subject = SUBJECTS["ask"]
    with pytest.raises(Refusal, match="jobs of ask has no peers: leave out --peers"):
        command.refuse_unfit(subject, options(subject, "--only", "jobs", "--peers"))


@pytest.mark.parametrize("name", EVERY)
def test_what_is_shorter_is_part_of_the_whole(name: str) -> None:
    """What runs by default has parts of the same names and runs as what runs in full."""
    subject = EVERY[name]
    whole = {group.name: {run.key for run in group.runs} for group in subject.groups}
    for group in subject.shorter:
        assert {run.key for run in group.runs} == whole[group.name]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--rounds", "0"), "rounds is 0: give a number from 1 to 1,000"),
        (("--json", "nowhere/a.json"), "'nowhere/a.json' cannot be a file"),
        (("--plot", "a.pdf"), "a plot is a .svg or a .png"),
        (("--show", "nothing.json"), "cannot read 'nothing.json': No such file"),
        (("--show", __file__), "is no JSON"),
        (("--show", str(RESULTS / "costs.json")), "was not written by bench"),
        (("--show", str(RESULTS / "sessions.json")), "has no measurement of ask"),
        (("--only", ","), "--only names no part: give some of ask,jobs"),
        (
            ("--json", "p-timeline.svg", "--plot", "p.svg"),
            "--json: 'p-timeline.svg' is the name of a picture",
        ),
    ],
)
def test_the_command_line_of_a_module_refuses(
    arguments: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`python -m benchmarks.NAME` checks what it is told as `trioworkers bench NAME` does."""
    assert command.run_subject(SUBJECTS["ask"], None, arguments) in {64, 66}
    assert sentence in capsys.readouterr().err


def test_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A module of measurements says which extra is missing, as the command does."""
    monkeypatch.setattr(command, "EXTRA", ("no_such_module",))
    assert command.run_subject(SUBJECTS["ask"], None, []) == 64
    assert "pip install 'trioworkers[bench]'" in capsys.readouterr().err


def test_a_module_that_is_interrupted(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C before anything is complete ends a module of measurements with 130, in a sentence."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "take", interrupt)
    assert command.run_subject(SUBJECTS["ask"], None, []) == 130
    assert capsys.readouterr().err == "trioworkers: cancelled\n"


def test_why_a_machine_was_busy() -> None:
    """The line says what it is concluded from: the load before, or the fixed loop meanwhile."""
    slow: Samples = {"a": [{"figures": {}, "spin": [0.005, 0.005, 0.02]}]}
    by_loop = command.heading(record(slow))[-1]
    assert by_loop.startswith("the machine was busy (a fixed loop that took 4 times as long")
    by_load = command.heading(record({"a": reports(1.0)}, load=9.0))[-1]
    assert by_load.startswith("the machine was busy (a load of 9.0 before)")


def test_a_busy_machine_is_busy_on_every_core() -> None:
    """One busy process is much on one core, and little on four."""
    for cores, doubts in ((1, 1), (4, 0)):
        found = record({"a": reports(1.0)}, load=1.0, machine={**MACHINE, "cores": cores})
        assert sum("was busy" in line for line in command.heading(found)) == doubts


def test_a_run_that_failed_is_told() -> None:
    """What could not be measured stands below the table, with its error."""
    found = record({"a": [{"error": "killed"}]})
    assert command.parts_of(Subject("a", []), found)[-1] == "a could not be measured: killed"
    assert command.failed(found)


def curve() -> tuple[Curve, list[Run]]:
    """Return a curve with three sizes."""
    made, line = at_sizes("send", "ours", {n: {"count": n} for n in (1, 10, 100)}, {10: "ten"})
    return Curve("workers", "a title", "workers", "time", "message", {"ours": line}), made


def test_sizes_have_keys() -> None:
    """A run at a size is called after it, or what it is called elsewhere."""
    _, made = curve()
    assert [run.key for run in made] == ["ours send 1", "ten", "ours send 100"]


def test_a_slope_in_the_table() -> None:
    """The table has a line for each growth, with the median and the extremes of the rounds."""
    plot, made = curve()
    costs = {1: (1e-6, 1e-6, 1e-6), 10: (1e-5, 1e-6, 1e-4), 100: (1e-4, 1e-6, 1e-2)}
    samples: Samples = {run.key: reports(*costs[int(run.parameters["count"])]) for run in made}
    (line,) = Subject("a", [], plots=[plot]).lines(samples)
    assert line.ratio == "n^1 [0 - 2]"
    assert (line.ours, line.title) == ("1 us to 100 us", "time, 1 to 100 workers")


def test_a_slope_without_points() -> None:
    """What was measured at one size only has no slope, and no line."""
    plot, made = curve()
    assert not Subject("a", [], plots=[plot]).lines({made[0].key: reports(1)})
    assert exponents_of([(1, [0.0]), (2, [0.0])]) == []


def test_dots_are_no_growth() -> None:
    """A plot of single figures adds nothing to the table."""
    dots = Dots("ask", "a title", "time", rows=[("one", "a")])
    assert not Subject("a", [], plots=[dots]).lines({"a": reports(1, field="p50")})
