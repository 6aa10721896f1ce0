"""`trioworkers demo`: a graph of workers on real input."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from rich.console import Console

from ..exits import CANCELLED, NO_INPUT, Refusal
from ..output import Style, complain, emit
from .files import Root, default_roots, named_roots
from .report import as_json, as_plain
from .script import Settings, perform
from .show import Show, TerminalShow

__all__ = ["demo"]


def demo(
    paths: Sequence[str],
    *,
    style: Style,
    workers: int,
    top: int,
    letters: int,
    messages: int,
    remote: bool,
    cuts: int,
) -> int:
    """Run the demo.

    Args:
        paths: files and folders to count; none for the package itself, and its documentation if
            that lies beside it.
        style: whom to write the results for.
        workers: how many workers count.
        top: how many files and words to list.
        letters: how short the listed words may be.
        messages: how many messages the flood has.
        remote: let a second process count.
        cuts: how often the link to it is reset meanwhile.

    Returns:
        The exit code.

    Raises:
        Refusal: a path does not exist, the output cannot be written, or the second process does
            not start or is gone too early.
    """
    settings = Settings(_roots(paths), workers, messages, remote, cuts)
    terminal = style is Style.TERMINAL
    show = TerminalShow(Console(highlight=False), top, letters) if terminal else Show()
    try:
        with show:
            report, code = trio.run(perform, settings, show)
    except* KeyboardInterrupt:  # a third one, or one before the runner looks after them
        complain("cancelled")
        raise
    if report.failure is not None:
        raise Refusal(code, report.failure)
    if code == CANCELLED:
        complain("cancelled")
    elif style is Style.JSON:
        emit(as_json(report, top, letters))
    elif style is Style.PLAIN:
        emit(as_plain(report, top, letters))
    return code


def _roots(paths: Sequence[str]) -> tuple[Root, ...]:
    if not paths:
        return default_roots()
    try:
        return named_roots(paths)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise Refusal(NO_INPUT, f"{error.filename!r} cannot be counted: {reason}") from None
