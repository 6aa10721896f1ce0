"""`trioworkers bench`: what things cost here, beside bare trio and beside the peers."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
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

from .exits import CRASHED, ENDED, NO_INPUT, WRONG_ARGUMENT, Refusal
from .output import complain, emit, for_a_terminal

__all__ = ["bench"]

Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]

_NO_EXTRA = "bench needs an extra.  Install it: pip install 'trioworkers[bench]'"
_EXTRA = ("hdrh", "matplotlib", "pyperf")
_ENDED_EARLY = "ended early: these are the rounds that were complete; Ctrl-C again cancels"
_INSTALLED = "trioworkers._benchmarks"
_IN_A_CHECKOUT = "benchmarks"
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

    rounds: Annotated[int | None, Parameter(validator=Number(gte=1, lte=1_000))] = None
    """How many rounds; by default as many as the figures need."""

    quick: Flag = False
    """Measure less: a look, not a figure."""

    json: Path | None = None
    """Write machine, versions and samples to this file, for `bench compare`."""

    plot: Path | None = None
    """Draw it: a file that ends in .svg or .png."""


def bench(tokens: Sequence[str]) -> int:
    """Run the command of `bench` that `tokens` name.

    Returns:
        The exit code: 0 measured, or no worse; 1 a measurement failed, or worse.

    Raises:
        CycloptsError: a wrong argument.
        Refusal: it cannot be done.
    """
    code = _commands(_package())(
        tokens, exit_on_error=False, print_error=False, result_action="return_value"
    )
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
        made.command(_measurement(package, name), name=name, help=question)
    priority = _module(package, "priority")
    made.command(_needing_extra(priority.command), name="priority")
    made.command(_comparison(package), name="compare")
    return made


# Measuring


def _measurement(package: str, name: str) -> Callable[..., int]:
    def command(*, options: Options | None = None) -> int:
        return _measure(package, name, options or Options())

    return command


def _measure(package: str, name: str, options: Options) -> int:
    _check_extra()
    subject = _module(package, "catalogue").SUBJECTS[name]
    if options.plot is not None and not subject.plots:
        raise Refusal(WRONG_ARGUMENT, f"{name} has no plot: leave out --plot")
    if options.peers and not subject.needed_peers():
        raise Refusal(WRONG_ARGUMENT, f"{name} has no peers: leave out --peers")
    _check_files(package, options)
    if options.peers:
        _ensure_peers(package, subject.needed_peers().values(), yes=options.yes)
    with _progress() as progress:
        record = _module(package, "command").measured_subject(
            subject,
            peers=options.peers,
            quick=options.quick,
            rounds=options.rounds,
            progress=progress,
            stopped=lambda: complain(_ENDED_EARLY),
        )
    _show(package, record, subject.lines(record["samples"]))
    _keep(package, subject, record, options)
    failed = any("error" in report for each in record["samples"].values() for report in each)
    return CRASHED if failed else ENDED


def _check_extra() -> None:
    for name in _EXTRA:
        try:
            found = importlib.util.find_spec(name)
        except ImportError:
            found = None
        if found is None:
            raise Refusal(WRONG_ARGUMENT, _NO_EXTRA)


def _needing_extra(command: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(command)
    def checked(*args: Any, **options: Any) -> Any:
        _check_extra()
        return command(*args, **options)

    return checked


def _check_files(package: str, options: Options) -> None:
    """Refuse files that could not be written, before anything is measured."""
    plots = _module(package, "plots")
    if options.plot is not None:
        try:
            plots.check_path(options.plot)
        except plots.NoPlotError as error:
            raise Refusal(WRONG_ARGUMENT, f"--plot: {error}") from error
    if options.json is not None and (options.json.is_dir() or not options.json.parent.is_dir()):
        raise Refusal(
            WRONG_ARGUMENT,
            f"--json: {str(options.json)!r} cannot be a file: give one in a folder that exists",
        )


def _ensure_peers(package: str, peers: Iterable[Any], *, yes: bool) -> None:
    environments = _module(package, "peers.environments")
    for peer in peers:
        try:
            peer.ensure(yes=yes)
        except environments.PeerRefusedError as error:
            raise Refusal(WRONG_ARGUMENT, f"{error}, or leave out --peers") from error
        except subprocess.CalledProcessError as error:
            raise Refusal(
                CRASHED, f"{peer.requirements[0]} could not be installed: see above"
            ) from error


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


def _keep(package: str, subject: Any, record: Mapping[str, Any], options: Options) -> None:
    """Write the files that were asked for."""
    plots, command = _module(package, "plots"), _module(package, "command")
    try:
        if options.json is not None:
            with command.writing(options.json):
                options.json.write_text(command.as_text(record), encoding="utf-8")
        if options.plot is not None:
            with command.writing(options.plot):
                plots.draw_subject(subject, record, options.plot)
    except plots.NoPlotError as error:
        raise Refusal(CRASHED, f"--plot: {error}") from error


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
        records = [_read(compare, path) for path in (before, after)]
        found = compare.compare(*records, tolerance)
        if not found:
            raise Refusal(NO_INPUT, f"{str(before)!r} and {str(after)!r} have no figure in common")
        for doubt in compare.doubts(*records):
            complain(doubt)
        _show_table(package, compare.HEAD, [difference.row for difference in found], column=3)
        worse = any(each.verdict == "worse" for each in found)
        return CRASHED if worse or compare.failed_since(*records) else ENDED

    return command


def _read(compare: ModuleType, path: Path) -> Mapping[str, Any]:
    try:
        record: Mapping[str, Any] = compare.check_record(json.loads(path.read_bytes()))
    except OSError as error:
        raise Refusal(NO_INPUT, f"cannot read {str(path)!r}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(NO_INPUT, f"{str(path)!r} is no JSON: {error}") from error
    except compare.NotARecordError as error:
        raise Refusal(NO_INPUT, f"{str(path)!r} was not written by bench: {error}") from error
    return record


# Showing


def _show(package: str, record: Mapping[str, Any], lines: Sequence[Any]) -> None:
    """Write what the figures depend on, and the table."""
    heading = _module(package, "command").heading(record)
    rows = [attrs.astuple(line) for line in lines]
    head = _module(package, "claims").HEAD
    if for_a_terminal():
        console = Console(highlight=False)
        console.print(Text("\n".join(heading), style="dim"))
        console.print()
    else:
        emit("\n".join(heading) + "\n\n")
    _show_table(package, head, rows, column=4)


def _show_table(
    package: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, column: int
) -> None:
    """Write a table; the verdict in `column` has a colour on a terminal."""
    if not for_a_terminal():
        aligned = _module(package, "claims").aligned([head, *rows])
        emit("".join(f"{row}\n" for row in aligned))
        return
    console = Console(highlight=False)
    widths = (max(map(len, cells)) for cells in zip(head, *rows, strict=True))
    wraps = sum(widths) + 2 * len(head) > console.width
    table = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        header_style="bold",
        leading=int(wraps),
    )
    for title in head:
        table.add_column(Text(title))  # it has brackets, which are no markup
    for row in rows:
        cells = [Text(cell) for cell in row]
        cells[column].stylize(_COLOURS.get(row[column], "dim"))
        table.add_row(*cells)
    console.print(table)
