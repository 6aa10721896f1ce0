"""What the two-process measurements of all sides have in common.

A side is run twice, both times in the same way: with a case it is the client that measures, and with `serve` the process it measures
against, which the first one starts. Imports nothing beyond the standard library, because the peers' sides import it too.
"""

from __future__ import annotations

import random
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import side

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from .side import Case

WARM_UP = 10
"""The part of each measurement that is done once before, to warm up: one of so many."""

BIG = 65_536
"""About how many bytes the JSON of a big body has."""

WORDS = """
a about after all an and are as at be been but by can could do first for from had has have he her him his how I if in
into is it its like made make may more my no not now of on one only or other our out over said she so some than that the
their them then there these they this time to two up was we were what when which who will with would you
"""


def body(kind: str) -> dict[str, Any]:
    """Return what a message carries, always the same.

    Args:
        kind: `"small"` for a number, `"text"` for 64 KiB of prose, `"rows"` for 64 KiB of many small dicts.
    """
    if kind == "small":
        return {"n": 4}
    if kind == "text":
        choose, words = random.Random(1), WORDS.split()
        text = " ".join(choose.choice(words) for _ in range(BIG // 4))
        return {"text": text[: BIG - 20]}
    if kind == "rows":
        return {
            "rows": [
                {"id": i, "name": f"row {i}", "score": i * 1.5, "tags": ["a", "b"]}
                for i in range(1_100)
            ]
        }
    raise ValueError(kind)


@contextmanager
def other_process(*arguments: str) -> Iterator[int]:
    """Run the serving half of the side that this process is; gives the port that it listens at."""
    # As this process was started, whatever that took; only what comes behind the program differs.
    program = sys.orig_argv[: len(sys.orig_argv) - len(sys.argv[1:])]
    command = [sys.executable, *program[1:], "serve", *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
            process.stdin.close()  # what it waits for
            process.wait(10)
        finally:
            process.kill()


def tell_port(port: int) -> None:
    """Tell the process that has started this one where to connect."""
    print(port, flush=True)


def main(
    serve: Callable[..., None], cases: Mapping[str, Case], distributions: Sequence[str]
) -> None:
    """Be one of the two processes, as the command line says."""
    if sys.argv[1] == "serve":
        serve(*sys.argv[2:])
    else:
        side.main(cases, distributions)
