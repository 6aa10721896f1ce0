"""Writing to standard output and standard error."""

from __future__ import annotations

import os
import sys
from enum import Enum

from .exits import CRASHED, Refusal

__all__ = ["Style", "complain", "emit", "for_a_terminal", "prepare"]


class Style(Enum):
    """Whom results are written for."""

    TERMINAL = "terminal"
    PLAIN = "plain"
    JSON = "json"


def prepare() -> None:
    """Make the standard streams safe: they exist, and no character fails.

    What an encoding cannot express becomes a question mark.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the caller, as in `trioworkers demo >&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        reconfigure = getattr(getattr(sys, name), "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


def for_a_terminal() -> bool:
    """Tell whether standard output is a terminal that can move its cursor."""
    return sys.stdout.isatty() and os.environ.get("TERM") not in {"dumb", "unknown"}


def emit(text: str) -> None:
    """Write `text` to standard output; quietly stop if the reader has gone.

    Raises:
        Refusal: it cannot be written, for another reason.
    """
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _discard()
    except OSError as error:
        _discard()
        raise Refusal(CRASHED, f"cannot write the output: {error.strerror}") from error


def _discard() -> None:
    # Else the interpreter tries to write the rest once more when it exits, and complains.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def complain(sentence: str) -> None:
    """Write one line to standard error, after the name of the program."""
    sys.stderr.write(f"trioworkers: {sentence}\n")
    sys.stderr.flush()
