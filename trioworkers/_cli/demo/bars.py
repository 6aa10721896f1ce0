"""Progress bars: one for each counting worker if there is room, and one for all."""

from __future__ import annotations

from collections.abc import Mapping

import attrs
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from .report import as_size

__all__ = ["Bars"]

_ALL = "all"
_SEARCH = "searching"
_LINES_OF_TEXT = 8
"""How many lines of the screen are left to other things."""


@attrs.define
class _Bar:
    """One bar: how far it has grown."""

    task: TaskID
    files: int = 0
    bytes: int = 0


class Bars:
    """Bars that are drawn when `redraw` is called, and not by a thread of their own."""

    def __init__(self, console: Console) -> None:
        """Make it; `start` shows the bars."""
        self._console = console
        self._progress = Progress(
            TextColumn("  {task.description:<10}"),
            BarColumn(
                max(min(40, console.width - 36), 4),
                complete_style="cyan",
                finished_style="green",
                pulse_style="cyan",
            ),
            TextColumn("{task.fields[files]:>13}"),
            TextColumn("{task.fields[size]:>10}", style="dim"),
            console=console,
            auto_refresh=False,
        )
        self._bars: dict[str, _Bar] = {}

    def start(self) -> None:
        """Show one bar that only says that something happens."""
        self._progress.start()
        self._add(_SEARCH, None)

    def plan(self, plan: Mapping[str, Mapping[str, int]]) -> None:
        """Show a bar for each worker, if the screen is high enough, and one for all.

        Args:
            plan: the numbers of `files` and `bytes` that each worker has to count.
        """
        self._remove(_SEARCH)
        if not plan:
            return
        # Opening a file is some work, even if it is empty.
        work = {worker: share["files"] + share["bytes"] for worker, share in plan.items()}
        if len(plan) + _LINES_OF_TEXT <= self._console.height:
            for worker, total in work.items():
                self._add(worker, total)
        self._add(_ALL, sum(work.values()))

    def advance(self, worker: str, files: int, size: int) -> None:
        """Let the bars of `worker` and of all grow by so many files and bytes."""
        for name in (worker, _ALL):
            bar = self._bars.get(name)
            if bar is not None:
                bar.files += files
                bar.bytes += size
                self._progress.update(
                    bar.task,
                    completed=bar.files + bar.bytes,
                    files=f"{bar.files:,} {'file ' if bar.files == 1 else 'files'}",
                    size=as_size(bar.bytes),
                )

    def redraw(self) -> None:
        """Draw the bars as they are now."""
        self._progress.refresh()

    def stop(self) -> None:
        """Leave the bars on the screen as they are, and the cursor below them."""
        self._remove(_SEARCH)
        self._progress.stop()

    def _add(self, name: str, total: int | None) -> None:
        self._bars[name] = _Bar(self._progress.add_task(name, total=total, files="", size=""))

    def _remove(self, name: str) -> None:
        bar = self._bars.pop(name, None)
        if bar is not None:
            self._progress.remove_task(bar.task)
