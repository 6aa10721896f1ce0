"""`trioworkers bench`: what things cost here, beside bare trio and beside the peers."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, TypeAlias

import attrs
from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

import trioworkers
from trioworkers.bench import PrioritySettings

from .exits import CRASHED, ENDED, NO_INPUT, WRONG_ARGUMENT, Refusal
from .output import complain, for_a_terminal

__all__ = ["bench"]

Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]

_INSTALLED = "trioworkers._benchmarks"
_IN_A_CHECKOUT = "benchmarks"
_SCENARIO = "A scenario of your own, as module:scenario, instead of the built-in parts."
_KNOBS = Parameter(name="*", group="Knobs of the load")
_UNBOUNDED = 100_000
_COLOURS = {"PASS": "green", "better": "green", "FAIL": "red", "worse": "red"}


@Parameter(name="*")
@attrs.frozen
class Options:
    """What can be said about any measurement."""

    peers: Flag = False
    """Measure the peers in turn with ours: Pykka and Pipecat, each in an environment of its own
    in your cache folder.  It is made on first use, after asking."""

    yes: Flag = False
    """Make these environments without asking: about 25 and 530 MB."""

    only: str | None = None
    """Measure some parts only: their names, with commas between them; a wrong one is told which
    there are."""

    rounds: int | None = None
    """How many rounds; by default few, to be done within a minute."""

    quick: Flag = False
    """Measure less: a look, not a figure."""

    full: Flag = False
    """Measure all there is, as often as for figures to be kept: this may take minutes."""

    json: Path | None = None
    """Write machine, versions and samples to this file, for `bench compare`."""

    plot: Path | None = None
    """Draw it: a file that ends in .svg or .png; further pictures get its name and more."""


def bench(tokens: Sequence[str]) -> int:
    """Run the command of `bench` that `tokens` name.

    Returns:
        The exit code: 0 measured, or no worse; 1 a measurement failed, or worse.

    Raises:
        CycloptsError: a wrong argument.
        Refusal: it cannot be done.
    """
    try:
        command, given, _ = _commands(_package()).parse_args(
            tokens, exit_on_error=False, print_error=False
        )
    except (TypeError, ValueError) as error:  # the settings say what does not go together
        raise Refusal(WRONG_ARGUMENT, str(error)) from error
    code = command(*given.args, **given.kwargs)
    return code if isinstance(code, int) else ENDED


# Finding the benchmarks


def _package() -> str:
    """Return the name of the package that measures: a part of a wheel, or of a checkout."""
    if importlib.util.find_spec(_INSTALLED) is not None:
        return _INSTALLED
    checkout = Path(trioworkers.__file__).parents[1]
    if not (checkout / _IN_A_CHECKOUT / "catalogue.py").is_file():
        raise Refusal(
            NO_INPUT,
            "this installation came without its benchmarks: install trioworkers from a wheel",
        )
    # Whatever else is called so, in the current directory for example, is not meant.
    sys.path.insert(0, str(checkout))
    try:
        found = importlib.import_module(_IN_A_CHECKOUT)
    finally:
        sys.path.remove(str(checkout))
    if not Path(str(found.__file__)).is_relative_to(checkout):
        raise Refusal(CRASHED, f"another package is called 'benchmarks': {found.__file__}")
    return _IN_A_CHECKOUT


def _module(package: str, name: str) -> ModuleType:
    return importlib.import_module(f"{package}.{name}")


def _commands(package: str) -> App:
    """Make the commands."""
    catalogue = _module(package, "catalogue")
    made = App(
        name="trioworkers bench",
        help=(
            "Measure trioworkers beside bare trio, and with --peers beside Pykka and Pipecat.\n\n"
            "Every measurement runs in a process of its own, in turns with what it is compared "
            "with.  Ctrl-C once ends early, with the rounds so far; twice cancels."
        ),
        version_flags=(),
    )
    for name, question in catalogue.QUESTIONS.items():
        make = _priority if name == "priority" else _measurement
        made.command(make(package, name), name=name, help=question)
    made.command(_comparison(package), name="compare")
    return made


# Measuring


def _measurement(package: str, name: str) -> Callable[..., int]:
    def command(*, options: Options | None = None) -> int:
        subjects = _module(package, "catalogue").SUBJECTS
        return _measure(package, lambda: subjects[name], options or Options())

    return command


def _priority(package: str, name: str) -> Callable[..., int]:
    def command(
        *,
        options: Options | None = None,
        scenario: Annotated[str | None, Parameter(help=_SCENARIO)] = None,
        settings: Annotated[PrioritySettings | None, _KNOBS] = None,
    ) -> int:
        make = _module(package, name).subject
        return _measure(package, lambda: make(settings, scenario), options or Options())

    return command


def _measure(package: str, make: Callable[[], Any], options: Options) -> int:
    command = _module(package, "command")
    command.check_extra()
    subject = make()
    command.refuse_unfit(subject, options)
    if options.peers:
        command.ensure_peers(subject, command.chosen(subject, options), yes=options.yes)
    with _progress() as progress:
        record = command.measured_subject(subject, options, progress)
    command.deliver(subject, record, options, functools.partial(_show, package))
    return CRASHED if command.failed(record) else ENDED


@contextmanager
def _progress() -> Generator[Callable[[Any], None]]:
    """Show a bar on standard error, if that is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda step: None  # noqa: ARG005 - called by name of none
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(step: Any) -> None:
            progress.update(
                task,
                description=f"{step.group}, round {step.round} of {step.rounds}: {step.side}",
                completed=step.number - 1,
                total=step.total,
            )

        yield show


# Comparing


def _comparison(package: str) -> Callable[..., int]:
    compare = _module(package, "compare")

    def command(
        before: Path,
        after: Path,
        /,
        *,
        tolerance: Annotated[
            float, Parameter(validator=Number(gte=0, lte=100))
        ] = compare.TOLERANCE,
    ) -> int:
        """Compare two files that --json has written: exits with 1 if a figure of ours is worse, or a run fails now.

        Args:
            before: The file of the older measurement.
            after: The file of the newer one.
            tolerance: By which part a figure may rise: 0.1 is a tenth.
        """
        read = _module(package, "command").read_record
        records = [read(path) for path in (before, after)]
        subjects = _module(package, "catalogue").KEPT
        found = compare.compare(*records, tolerance, subjects)
        if not found:
            raise Refusal(NO_INPUT, f"{str(before)!r} and {str(after)!r} have no figure in common")
        for doubt in compare.doubts(*records, subjects):
            complain(doubt)
        rows = [difference.row for difference in found]
        _show(package, [_module(package, "claims").Table(compare.HEAD, rows, verdict=3)])
        worse = any(each.verdict == "worse" for each in found)
        return CRASHED if worse or compare.failed_since(*records) else ENDED

    return command


# Showing


def _show(package: str, parts: Sequence[Any]) -> None:
    """Write tables and lines of text, with an empty line between them."""
    if not for_a_terminal():
        _module(package, "command").show_plain(parts)
        return
    console = Console(highlight=False)
    for number, part in enumerate(parts):
        if number:
            console.print()
        if isinstance(part, str):
            console.print(Text(part, style="dim"))
        else:
            _show_table(console, part, _module(package, "claims").as_text(part))


def _show_table(console: Console, shown: Any, text: str) -> None:
    """Write a table to a terminal; its verdict has a colour.

    Where it does not fit, its text is written: a figure that is cut would be another figure.
    """
    head, rows = shown.head, shown.rows
    verdict: int | None = shown.verdict
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for title in head:
        table.add_column(Text(title))  # it has brackets, which are no markup
    for row in rows:
        cells = [Text(cell) for cell in row]
        if verdict is not None:
            cells[verdict].stylize(_COLOURS.get(row[verdict], "dim"))
        table.add_row(*cells)
    unbounded = console.options.update(width=_UNBOUNDED)
    if console.measure(table, options=unbounded).maximum > console.width:
        console.print(Text(text), soft_wrap=True)
    else:
        console.print(table)
