"""The commands, and what their arguments must be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeAlias

from cyclopts import App, CycloptsError, Parameter
from cyclopts.validators import Number

from trioworkers import __version__

from . import bench, demo, doctor, output, run
from .exits import ENDED, WRONG_ARGUMENT, Refusal

__all__ = ["app", "start"]

Flag: TypeAlias = Annotated[bool, Parameter(negative=(), show_default=False)]

app = App(
    name="trioworkers",
    help="Actor-style workers on trio: see them work, run your own.",
    version=__version__,
    version_flags=["--version"],
)


def start(tokens: Sequence[str]) -> int:
    """Run the command that `tokens` name, and return the exit code."""
    output.prepare()
    try:
        code = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        output.complain(str(error))
        return WRONG_ARGUMENT
    except Refusal as refusal:
        output.complain(str(refusal))
        return refusal.code
    return code if isinstance(code, int) else ENDED


@app.command(name="demo")
def demo_command(
    *paths: str,
    workers: Annotated[int, Parameter(validator=Number(gte=1, lte=64))] = 4,
    top: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000))] = 10,
    letters: Annotated[int, Parameter(validator=Number(gte=1, lte=100))] = 4,
    messages: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000_000))] = 100_000,
    remote: Flag = False,
    chaos: Flag = False,
    cuts: Annotated[int, Parameter(validator=Number(gte=1, lte=1_000))] = 10,
    plain: Flag = False,
    json: Flag = False,
) -> int:
    """Count words with a graph of workers, then flood one of them with messages.

    Ctrl-C once ends early, with the results so far; twice cancels.

    Args:
        paths: Files and folders whose text files are counted, without hidden ones and
            __pycache__.  By default the source of trioworkers itself, and its documentation if
            that lies beside it.
        workers: How many workers count.
        top: How many files and words are listed.
        letters: How many letters a word must have to be listed.
        messages: How many data messages the flood has.
        remote: Count in a second process, behind a WebSocket proxy.
        chaos: The same, and reset the link in mid-work, again and again: nothing is lost.
        cuts: How often, with --chaos.
        plain: Write lines of fields with tabs between them.  So does anything but a terminal.
        json: Write one JSON document.
    """
    return demo.demo(
        paths,
        style=_style(plain, json),
        workers=workers,
        top=top,
        letters=letters,
        messages=messages,
        remote=remote or chaos,
        cuts=cuts if chaos else 0,
    )


@app.command(name="run")
def run_command(target: str, /) -> int:
    """Run the workers of an app until they have ended.

    Ctrl-C, or SIGTERM, once ends them gracefully; twice cancels.

    Args:
        target: `module:app`, where app is `async def app(runner)` that adds workers to a
            WorkerRunner, or a function that returns workers.  Modules in the current directory
            can be imported.
    """
    return run.run(target)


@app.command(name="bench", help_flags=(), version_flags=())
def bench_command(*tokens: Annotated[str, Parameter(allow_leading_hyphen=True)]) -> int:
    """Measure what things cost, beside bare trio and beside other frameworks.

    Args:
        tokens: What to measure, and options; `trioworkers bench --help` lists them.
    """
    return bench.bench(tokens)


@app.command(name="doctor")
def doctor_command(*, plain: Flag = False, json: Flag = False) -> int:
    """Show which versions and which extras are installed.

    Args:
        plain: Write lines of fields with tabs between them.  So does anything but a terminal.
        json: Write one JSON document.
    """
    return doctor.doctor(_style(plain, json))


def _style(plain: bool, json: bool) -> output.Style:
    if plain and json:
        raise Refusal(WRONG_ARGUMENT, "--plain and --json exclude each other: give one of them")
    if json:
        return output.Style.JSON
    return output.Style.PLAIN if plain or not output.for_a_terminal() else output.Style.TERMINAL
