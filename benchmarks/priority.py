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
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import attrs

from trioworkers._cli.exits import Refusal
from trioworkers.bench import PrioritySettings, ScenarioError

from .command import as_text, chosen, ensure_peers, measured, peer_parser
from .harness import Progress, measure, on_stderr
from .priority_parts import SUBJECT, subject
from .priority_scenario import load_scenario
from .priority_table import complete, fails, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .claims import Samples

__all__ = ["SUBJECT", "Settings", "fails", "main", "plot", "run", "table"]

Settings = PrioritySettings

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
        ensure_peers(what, yes=yes)
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
                only=arguments.only.split(",") if arguments.only else None,
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
