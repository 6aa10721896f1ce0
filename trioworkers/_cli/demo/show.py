"""What a demo run looks like in a terminal."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from types import TracebackType
from typing import Self

import trio
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from trioworkers import __version__

from ..output import complain
from . import tables
from .bars import Bars
from .report import (
    Cancelling,
    Counting,
    Flooding,
    Linking,
    as_size,
    cancelling_summary,
    counting_summary,
    flooding_summary,
    linking_summary,
    number_of,
    top_files,
    top_words,
)

__all__ = ["Show", "TerminalShow"]

WIDEST = 120
"""Columns; wider lines are hard to read."""


class Show:
    """Shows nothing: for output that only programs read."""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the terminal as it was."""

    async def animate(self) -> None:
        """Redraw what moves, until cancelled."""

    def note(self, sentence: str) -> None:
        """Say something in between."""
        complain(sentence)

    def searching(self) -> None:
        """Show that files are looked for."""

    def planned(self, plan: Mapping[str, Mapping[str, int]]) -> None:
        """Show how many files and bytes each worker has to count."""

    def advanced(self, worker: str, files: int, size: int) -> None:
        """Show that a worker is done with more files and bytes."""

    def counted(self, counting: Counting) -> None:
        """Show the results of the first act."""

    def linked(self, linking: Linking) -> None:
        """Show what crossed the link to the process that counted."""

    def flooding(self, messages: int) -> None:
        """Show that the second act begins."""

    def flooded(self, flooding: Flooding) -> None:
        """Show the results of the second act."""

    def cancelled(self, cancelling: Cancelling) -> None:
        """Show how the end went."""

    def ended_early(self) -> None:
        """Show that this was not everything."""


class TerminalShow(Show):
    """Shows bars that move, and tables."""

    def __init__(self, console: Console, number: int, letters: int) -> None:
        """Make it.

        Args:
            console: where to show it.
            number: how many files and words to list.
            letters: how short the words may be.
        """
        self._console = console
        console.width = min(console.width, WIDEST)
        self._number = number
        self._letters = letters
        self._bars = Bars(console)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Show the cursor again."""
        self._bars.stop()

    async def animate(self) -> None:
        """Redraw the bars, until cancelled."""
        while True:
            await trio.sleep(0.1)
            self._bars.redraw()

    def _print(self, *lines: RenderableType) -> None:
        self._console.print(Padding(Group(*lines), (0, 0, 0, 2)))

    def note(self, sentence: str) -> None:
        """Say something above the bars."""
        self._print(Text(sentence, style="yellow"))

    def searching(self) -> None:
        """Introduce the demo, and show a bar that only says that something happens."""
        about = f"trioworkers {__version__}"
        rest = f"trio {version('trio')}, Python {platform.python_version()}"
        self._console.print()
        self._print(Text.assemble((about, "bold"), (f"  ({rest})", "dim")), "")
        self._bars.start()

    def planned(self, plan: Mapping[str, Mapping[str, int]]) -> None:
        """Show a bar for each worker, and one for all."""
        if plan:
            files = sum(share["files"] for share in plan.values())
            size = sum(share["bytes"] for share in plan.values())
            title = (
                f"Counting the words of {number_of(files, 'file')} ({as_size(size)}) "
                f"with {number_of(len(plan), 'worker')}"
            )
            self._print(Text(title, style="bold cyan"), "")
        self._bars.plan(plan)

    def advanced(self, worker: str, files: int, size: int) -> None:
        """Let two bars grow."""
        self._bars.advance(worker, files, size)

    def counted(self, counting: Counting) -> None:
        """Show the longest files, the most frequent words and the totals."""
        self._bars.stop()
        findings = counting.findings
        if files := top_files(findings, self._number):
            words = top_words(findings, self._number, self._letters)
            width = self._console.width - 2
            self._print("", tables.files_and_words(files, words, self._letters, width))
        self._print("", *(Text(line) for line in counting_summary(counting)), "")

    def linked(self, linking: Linking) -> None:
        """Show what crossed the link, and how long a round trip took."""
        self._print(*(Text(line) for line in linking_summary(linking)), "")

    def flooding(self, messages: int) -> None:
        """Introduce the second act."""
        title = (
            f"Flooding one worker with {number_of(messages, 'message')}; "
            "a thread sends system messages"
        )
        self._print(Text(title, style="bold cyan"))

    def flooded(self, flooding: Flooding) -> None:
        """Show the latencies of both lanes."""
        self._print("", tables.latencies(flooding))
        self._print("", Text(flooding_summary(flooding)), "")

    def cancelled(self, cancelling: Cancelling) -> None:
        """Show how the end went."""
        self._print(Text("Cancelling everything in the middle of another flood", "bold cyan"))
        self._print("", *(Text(line) for line in cancelling_summary(cancelling)), "")

    def ended_early(self) -> None:
        """Say that this was not everything."""
        self._print(Text("Ended early: these are the results so far.", "yellow"), "")
