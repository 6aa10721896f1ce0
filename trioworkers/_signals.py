"""Stopping by signals: the first ends, the second cancels, the third raises KeyboardInterrupt.

Signals are counted in the signal handler itself.  trio's own signal receiver merges signals that
arrive while the loop is blocked, and then the third one would never come.
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import trio

__all__ = ["FIRST_SIGNAL", "SECOND_SIGNAL", "stop_signals"]

# The reasons that a stop by signals gives.
FIRST_SIGNAL = "a signal"
SECOND_SIGNAL = "a second signal"


@contextmanager
def stop_signals(
    signals: Sequence[signal.Signals], on_end: Callable[[], None], on_cancel: Callable[[], None]
) -> Generator[None]:
    """Handle `signals` within the block.

    Args:
        signals: which signals; counted together.
        on_end: called in the trio loop at the first signal.
        on_cancel: called in the trio loop at the second.
    """
    if not signals:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        names = ", ".join(each.name for each in signals)
        warnings.warn(
            f"{names} cannot be handled outside the main thread: pass handle_sigint=False and "
            "end the runner yourself",
            RuntimeWarning,
            stacklevel=3,
        )
        yield
        return
    token = trio.lowlevel.current_trio_token()
    former: dict[signal.Signals, Any] = {}
    count = 0

    @trio.lowlevel.enable_ki_protection
    def handle(_number: int, frame: FrameType | None) -> None:
        nonlocal count
        count += 1
        if count == 1:
            token.run_sync_soon(on_end)
        elif count == 2:
            token.run_sync_soon(on_cancel)
        else:
            restore()
            _interrupt(frame)

    def restore() -> None:
        while former:
            signal.signal(*former.popitem())

    try:
        for each in signals:
            former[each] = signal.signal(each, handle)
        yield
    finally:
        restore()


def _interrupt(frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt as trio does: not in the middle of its own work."""
    handler = signal.getsignal(signal.SIGINT)
    if not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
