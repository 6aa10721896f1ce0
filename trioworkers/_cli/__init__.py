"""The command line `trioworkers`; it needs the extra `cli`."""

from __future__ import annotations

import signal
import sys
import threading

from .exits import CANCELLED, WRONG_ARGUMENT

__all__ = ["main"]

_NO_EXTRA = "The command line needs an extra.  Install it: pip install 'trioworkers[cli]'\n"
_CANCELLED = "trioworkers: cancelled\n"


def main() -> int:
    """Run the command that the process's arguments name.

    Returns:
        The exit code: 0 ended, 1 crashed, 64 wrong argument or extra not installed, 66 no such
        input, 130 second Ctrl-C.
    """
    try:
        return _main()
    except KeyboardInterrupt:  # another one, on the way out
        _ignore_ctrl_c()
        return CANCELLED


def _main() -> int:
    try:
        code = _start()
        _ignore_ctrl_c()
    except (KeyboardInterrupt, SystemExit) as error:  # the parser makes one of the other
        _ignore_ctrl_c()
        if isinstance(error, SystemExit):
            raise
        return CANCELLED
    except BaseExceptionGroup as group:  # it came while a nursery was being left
        if group.split(KeyboardInterrupt)[1] is not None:
            raise
        _ignore_ctrl_c()
        return CANCELLED
    return code


def _ignore_ctrl_c() -> None:
    """Let a late Ctrl-C not kill the interpreter, with a traceback, while it exits.

    Unless a thread of the user's keeps it from exiting.
    """
    main_thread = threading.main_thread()
    if all(thread.daemon or thread is main_thread for thread in threading.enumerate()):
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _start() -> int:
    try:
        try:
            import cyclopts  # noqa: F401 # pyright: ignore[reportUnusedImport]
            import rich  # noqa: F401 # pyright: ignore[reportUnusedImport]
        except ImportError:
            sys.stderr.write(_NO_EXTRA)
            return WRONG_ARGUMENT
        from . import app
    except KeyboardInterrupt:  # importing takes long enough for that
        sys.stderr.write(_CANCELLED)
        raise
    return app.start(sys.argv[1:])
