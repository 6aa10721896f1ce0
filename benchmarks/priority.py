"""How long a system message waits while data floods a worker, and how the data fares meanwhile.

    python -m benchmarks.priority                          # ours and plain trio
    python -m benchmarks.priority --peers                  # and Pykka and Pipecat
    python -m benchmarks.priority --backlog 0 --handler sleeping --cost 0.001
    python -m benchmarks.priority --scenario my_module:scenario
    python -m benchmarks.priority --peers --json priority.json --plot priority.svg
    python -m benchmarks.priority --show priority.json

How it is measured:

- *load*: a worker's lane holds a backlog, producers send data to it for ever, and system messages
  come at a steady rate, or in bursts.  The knobs are about this part; the others are the same
  whatever the knobs say, so that runs can be compared.  A scenario of the user's takes its place.
- *flood*: eight producers and no backlog, beside the same loop with no flood.
- *crowd*: busy workers beside the one that is measured, each of which handles a full turn of
  messages (64) in every pass of the scheduler.  How many passes a system message takes part in,
  from its send to its handler, is counted and does not depend on the machine.
- *backlog*: data is queued in one step, and a system message is due 0.2 ms later, while it is being
  handled: a backlog that nobody works on yet holds nothing up.  The handlers do nothing.
- *cancel*: when each handler runs round a cancel of the worker, as a picture.
- *meter*: what taking the latency costs by itself.

The rounds of a run without options are few, so that it takes less than a minute; for figures to be
kept, say `--rounds 5`.

A latency runs from when a message is *due* to its handler's first line: see `latency.py`.  *From
send* leaves out what the sender was late.  Each side is written as its own documentation tells its
users to: `priority_ours.py`, `priority_bare.py` (plain trio, three ways), `peers/pykka_priority.py`,
`peers/pipecat_priority.py`.  Each process is fresh, the sides take turns, and ratios are made within
a round.  Latencies are kept in histograms of three digits; those of all rounds are added up.

Exits with 1 if a claim does not hold.  Not part of the test suite: a test must not depend on time.
"""

from __future__ import annotations

import argparse
import inspect
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_type_hints

import attrs

from trioworkers._cli.exits import CRASHED, ENDED, WRONG_ARGUMENT, Refusal
from trioworkers._cli.output import complain, emit
from trioworkers.bench import PrioritySettings, ScenarioError

from .command import as_text, chosen, measured, peer_parser, writing
from .harness import Progress, measure, on_stderr
from .peers.environments import PeerRefusedError
from .plots import NoPlotError, check_path
from .priority_parts import SUBJECT, subject
from .priority_scenario import load_scenario
from .priority_table import complete, fails, table

if TYPE_CHECKING:
    from .claims import Samples
    from .subjects import Subject

__all__ = ["SUBJECT", "Settings", "command", "fails", "main", "plot", "run", "table"]

Settings = PrioritySettings

ENDED_EARLY = "ended early: these are the rounds that were complete; Ctrl-C again cancels"

# Measuring


def run(
    settings: PrioritySettings | None = None,
    *,
    scenario: str | None = None,
    peers: bool = False,
    yes: bool = False,
    quick: bool = False,
    rounds: int | None = None,
    only: Sequence[str] | None = None,
    progress: Progress = on_stderr,
    stopped: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Measure, and return everything worth keeping, fit for JSON.

    Args:
        settings: the knobs.
        scenario: `module:scenario`, a scenario of the user's instead of the built-in parts.
        peers: whether the peers are measured as well; their environments are made first.
        yes: make them without asking.
        quick: fewer rounds: a look, not a figure.
        rounds: how many; by default what each part says.
        only: the names of the parts; by default all.
        progress: told before each process.
        stopped: called after a Ctrl-C, and then the document holds the rounds that were complete.

    Raises:
        Refusal: `scenario` names none.
        ScenarioError: the scenario cannot be measured, or it failed.
        KeyboardInterrupt: a Ctrl-C, and nothing was complete.
    """
    if scenario is not None:
        load_scenario(scenario)
    wanted = settings or PrioritySettings()
    what = subject(wanted, scenario)
    if peers:
        make_environments(what, yes=yes)
    early = False

    def take() -> Samples:
        nonlocal early
        samples: Samples = {}
        try:
            measure(
                chosen(what.groups, only), what.sides(peers=peers), quick=quick, rounds=rounds,
                progress=progress, into=samples,
            )  # fmt: skip
        except KeyboardInterrupt:
            if stopped is None or not samples:
                raise
            early = True
            stopped()
        return complete(samples)

    document = measured(take, quick=quick, subject=what)
    if scenario is not None:
        refuse_failed(document["samples"]["load ours"], scenario)
    document |= {"settings": attrs.asdict(wanted), "scenario": scenario}
    return document | {"early": True} if early else document


def make_environments(what: Subject, *, yes: bool) -> None:
    """Make the environments of the peers.

    Raises:
        Refusal: one is missing, and may not or cannot be made.
    """
    for peer in what.needed_peers().values():
        try:
            peer.ensure(yes=yes)
        except PeerRefusedError as error:
            raise Refusal(WRONG_ARGUMENT, f"{error}, or leave out --peers") from error
        except subprocess.CalledProcessError as error:
            sentence = f"{peer.requirements[0]} could not be installed: see above"
            raise Refusal(CRASHED, sentence) from error


def refuse_failed(reports: Sequence[Mapping[str, Any]], scenario: str) -> None:
    """Refuse what a scenario that cannot be measured has left.

    Raises:
        ScenarioError: it could not be measured, or it failed.
    """
    for report in reports:
        if "refused" in report:
            raise ScenarioError(str(report["refused"]))
        if "error" in report:
            raise ScenarioError(f"{scenario} failed: {report['error']}")


def plot(document: Mapping[str, Any], path: Path) -> list[Path]:
    """Draw everything that was measured, one message to a picture; return the files.

    Args:
        document: what `run` returned.
        path: where the first picture goes, a `.svg` or `.png`; the others get its name and one of
            their own.

    Raises:
        NoPlotError: the path names no picture, or nothing was measured that can be drawn.
    """
    from .priority_plots import draw_all

    return draw_all(document, path)


# The command of `trioworkers bench`, whose parameters are made of the settings


OPTIONS: Mapping[str, tuple[Any, Any, str]] = {
    "scenario": (str | None, None, "A scenario of your own, as module:scenario, instead of the built-in parts."),
    "only": (str | None, None, f"Which parts, of {','.join(group.name for group in SUBJECT.groups)}."),
    "peers": (bool, False, "Measure Pykka and Pipecat in turn with ours, in environments of their own."),
    "yes": (bool, False, "Make these environments without asking: about 25 and 530 MB."),
    "rounds": (int | None, None, "How many rounds; by default few, so that it takes less than a minute."),
    "quick": (bool, False, "Measure less: a look, not a figure."),
    "json": (Path | None, None, "Write machine, versions and samples to this file."),
    "plot": (Path | None, None, "Draw it: a file that ends in .svg or .png; further pictures get its name and more."),
}  # fmt: skip
"""What the command takes beside the settings: type, default and help."""


def command(**given: Any) -> int:
    knobs = {name: given[name] for name in PrioritySettings.help() if name in given}
    asked = {name: given.get(name, default) for name, (_, default, _) in OPTIONS.items()}
    try:
        settings = PrioritySettings(**knobs)
        only = parts_of(asked["only"], asked["scenario"])
        check_rounds(asked["rounds"])
        if asked["plot"] is not None:
            check_path(asked["plot"])
        if asked["json"] is not None:
            check_json(asked["json"])
    except (TypeError, ValueError, NoPlotError) as error:
        raise Refusal(WRONG_ARGUMENT, str(error)) from error
    try:
        document = run(
            settings,
            scenario=asked["scenario"],
            peers=asked["peers"],
            yes=asked["yes"],
            quick=asked["quick"],
            rounds=asked["rounds"],
            only=only,
            stopped=lambda: complain(ENDED_EARLY),
        )
    except ScenarioError as error:
        raise Refusal(WRONG_ARGUMENT, str(error)) from error
    # First: it took long, and the files may go wrong.
    emit(table(document) + "\n")
    keep(document, asked["json"], asked["plot"])
    reports = (report for each in document["samples"].values() for report in each)
    return CRASHED if any("error" in report for report in reports) else ENDED


def keep(document: Mapping[str, Any], json_file: Path | None, picture: Path | None) -> None:
    """Write the files that were asked for.

    Raises:
        Refusal: one cannot be written, or nothing was measured that can be drawn.
    """
    if json_file is not None:
        with writing(json_file):
            json_file.write_text(as_text(document), encoding="utf-8")
    if picture is None:
        return
    try:
        with writing(picture):
            drawn = plot(document, picture)
    except NoPlotError as error:
        raise Refusal(CRASHED, f"--plot: {error}") from error
    for path in drawn:
        emit(f"drawn: {path}\n")


def check_rounds(rounds: int | None) -> None:
    """Refuse a number of rounds that is none.

    Raises:
        ValueError: it is below 1 or above 1,000.
    """
    if rounds is not None and not 1 <= rounds <= 1_000:
        raise ValueError(f"rounds is {rounds}: give a number from 1 to 1,000")


def check_json(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is measured.

    Raises:
        ValueError: it is a folder, or in none.
    """
    if not path.parent.is_dir():
        raise ValueError(f"--json: there is no folder {str(path.parent)!r}")
    if path.is_dir():
        raise ValueError(f"--json: {str(path)!r} is a folder: give a file in it")


def parts_of(only: str | None, scenario: str | None = None) -> list[str] | None:
    """Return the parts that were named.

    Raises:
        ValueError: there is no such part, or a scenario is measured instead of parts.
    """
    if only is None:
        return None
    if scenario is not None:
        raise ValueError("a scenario takes the place of all parts: leave out --only")
    known = [group.name for group in SUBJECT.groups]
    named = [name.strip() for name in only.split(",")]
    unknown = [name for name in named if name not in known]
    if unknown:
        raise ValueError(
            f"there is no part {', '.join(map(repr, unknown))}: give some of {','.join(known)}"
        )
    return named


def flag() -> Any:
    """Return the type of an option without a value, as the parser of commands wants it."""
    try:
        from cyclopts import Parameter
    except ImportError:  # the extra of the command line, which then is not there to parse
        return bool
    return Annotated[bool, Parameter(negative=(), show_default=False)]


def describe_command() -> None:
    """Give the command its parameters and its help: a parser reads both from the function."""
    hints, texts = get_type_hints(PrioritySettings), PrioritySettings.help()
    options = {
        name: (flag() if hint is bool else hint, default, text)
        for name, (hint, default, text) in OPTIONS.items()
    }
    every = options | {
        field.name: (hints[field.name], field.default, sentence(texts[field.name]))
        for field in attrs.fields(PrioritySettings)
    }
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
        for name, (hint, default, _) in every.items()
    ]
    function: Any = command
    function.__signature__ = inspect.Signature(parameters, return_annotation=int)
    function.__annotations__ = {name: hint for name, (hint, _, _) in every.items()} | {
        "return": int
    }
    first = (__doc__ or "").partition("\n")[0]
    lines = [f"    {name}: {text}" for name, (_, _, text) in every.items()]
    function.__doc__ = "\n".join([first, "", "Args:", *lines])


def sentence(text: str) -> str:
    """Write a text as a sentence."""
    return f"{text[0].upper()}{text[1:]}."


describe_command()


# The command line of this module


def make_parser() -> argparse.ArgumentParser:
    """Return the parser: the options of every command, and one for each knob."""
    made = peer_parser(__doc__, "priority", SUBJECT.groups)
    made.add_argument("--plot", type=Path, help="draw it there, as .svg or .png")
    made.add_argument("--scenario", help="a scenario of your own, as module:scenario")
    knobs = made.add_argument_group("knobs of the load")
    texts, hints = PrioritySettings.help(), get_type_hints(PrioritySettings)
    for field in attrs.fields(PrioritySettings):
        words = [word for word in get_args(hints[field.name]) if isinstance(word, str)]
        kind = str if words else float if hints[field.name] is float else int
        # Not choices= of argparse: the settings themselves say what is wrong.
        shown = "" if field.default is None else f" (default {field.default})"
        knobs.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=kind,
            default=field.default,
            metavar="|".join(words) or kind.__name__.upper(),
            help=texts[field.name] + shown,
        )
    return made


def main() -> int:
    """Do what the command line says; return the exit code: 1 if a claim does not hold."""
    made = make_parser()
    arguments = made.parse_args()
    names = PrioritySettings.help()
    try:
        settings = PrioritySettings(**{name: getattr(arguments, name) for name in names})
        only = parts_of(arguments.only, arguments.scenario)
        check_rounds(arguments.rounds)
    except (TypeError, ValueError) as error:
        made.error(str(error))
    if arguments.show:
        document = json.loads(arguments.show.read_text(encoding="utf-8"))
    else:
        try:
            document = run(
                settings,
                scenario=arguments.scenario,
                peers=arguments.peers,
                yes=arguments.yes,
                quick=arguments.quick,
                rounds=arguments.rounds,
                only=only,
            )
        except (Refusal, ScenarioError) as error:
            made.error(str(error))
    if arguments.json:
        arguments.json.write_text(as_text(document), encoding="utf-8")
    print(table(document))
    if arguments.plot:
        for path in plot(document, arguments.plot):
            print(f"drawn: {path}")
    return int(fails(document))


if __name__ == "__main__":
    sys.exit(main())
