"""The command line `trioworkers`; it needs the extra `cli`."""

from __future__ import annotations

import sys

from .exits import CANCELLED, WRONG_ARGUMENT

__all__ = ["main"]

_NO_EXTRA = "The command line needs an extra.  Install it: pip install 'trioworkers[cli]'\n"


def main() -> int:
    """Run the command that the process's arguments name.

    Returns:
        The exit code: 0 ended, 1 crashed, 64 wrong argument or extra not installed, 66 no such
        input, 130 second Ctrl-C.
    """
    try:
        return _start()
    except KeyboardInterrupt:
        return CANCELLED


def _start() -> int:
    try:
        import cyclopts  # noqa: F401 # pyright: ignore[reportUnusedImport]
        import rich  # noqa: F401 # pyright: ignore[reportUnusedImport]
    except ImportError:
        sys.stderr.write(_NO_EXTRA)
        return WRONG_ARGUMENT
    from . import app

    return app.start(sys.argv[1:])
