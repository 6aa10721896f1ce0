"""The tables of a demo run."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .report import Flooding, as_duration, as_size, printable
from .words import Counted

__all__ = ["files_and_words", "latencies", "plain_table", "shorten"]

SIDE_BY_SIDE = 70
"""From this many columns on, the two tables stand side by side."""

_GAP = 4
_WORD = 16
_NUMBERS = 24
_WORDS_TABLE = 28


def files_and_words(
    files: Sequence[Counted], words: Sequence[tuple[str, int]], letters: int, width: int
) -> RenderableType:
    """Make the table of the longest files and that of the most frequent words.

    Args:
        files: what to list on the left.
        words: what to list on the right, or below.
        letters: how short the words may be.
        width: how many columns there are.
    """
    beside = width >= SIDE_BY_SIDE
    room = width - _NUMBERS - (_WORDS_TABLE + _GAP if beside else 0)
    left, right = _files(files, max(room, 10)), _words(words, letters)
    if not words:
        return left
    if not beside:
        return Group(left, "", right)
    grid = Table.grid(padding=(0, _GAP, 0, 0))
    grid.add_row(left, right)
    return grid


def plain_table() -> Table:
    """Make an empty table with a line below its head, and no other."""
    return Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )


def _files(files: Sequence[Counted], room: int) -> Table:
    table = plain_table()
    table.add_column("File", no_wrap=True)
    table.add_column("Words", justify="right", style="cyan")
    table.add_column("Size", justify="right", style="dim")
    for file in files:
        path = Text(shorten(printable(file.label), room))
        table.add_row(path, f"{file.words:,}", as_size(file.size))
    return table


def _words(words: Sequence[tuple[str, int]], letters: int) -> Table:
    table = plain_table()
    title = "Word" if letters == 1 else f"Word, {letters}+ letters"
    table.add_column(title, no_wrap=True, max_width=_WORD, overflow="ellipsis")
    table.add_column("Count", justify="right", style="cyan")
    for word, count in words:
        table.add_row(Text(word), f"{count:,}")
    return table


def latencies(flooding: Flooding) -> Table:
    """Make the table of the latencies of both lanes."""
    table = plain_table()
    table.add_column("Lane")
    for title in ("Messages", "p50", "p99", "max"):
        table.add_column(title, justify="right", min_width=8)
    for lane, found, style in (
        ("data", flooding.data, ""),
        ("system", flooding.system, "green"),
    ):
        if found is None:
            table.add_row(lane, "0", "-", "-", "-")
        else:
            times = [as_duration(each) for each in (found.p50, found.p99, found.max)]
            table.add_row(lane, f"{found.count:,}", *times, style=style)
    return table


def shorten(path: str, room: int) -> str:
    """Leave out the beginning of a path that needs more than `room` columns."""
    if cell_len(path) <= room:
        return path
    while cell_len(path) > room - 1:
        path = path[1:]
    return f"…{path}"
