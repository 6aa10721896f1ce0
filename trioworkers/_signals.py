"""Stopping by signals: the first ends, the second cancels, the third raises KeyboardInterrupt.

Signals are counted in the signal handler itself.  trio's own signal receiver merges signals that
arrive while the loop is blocked, and then the third one would never come.

A signal has one handler in a process, and runners come and go in any order.  So there is one
handler for all of them: it is set for the first that wants the signal, tells each that does, and
is taken away after the last.
"""

from __future__ import annotations

import signal
import threading
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import attrs
import trio

__all__ = ["FIRST_SIGNAL", "SECOND_SIGNAL", "stop_signals"]

# The reasons that a stop by signals gives.
FIRST_SIGNAL = "a signal"
SECOND_SIGNAL = "a second signal"


@attrs.define(eq=False)
class _Listener:
    """One runner that is stopped by signals, and how many have come for it."""

    signals: Sequence[signal.Signals]
    on_end: Callable[[], None]
    on_cancel: Callable[[], None]
    token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token)
    count: int = 0


# Signal handlers belong to the process, and so does this: who listens, and the handlers before.
_listeners: dict[int, list[_Listener]] = {}
_former: dict[int, Any] = {}


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
    listener = _Listener(signals, on_end, on_cancel)
    try:
        _add(listener)
        yield
    finally:
        _remove(listener)


def _add(listener: _Listener) -> None:
    for number in listener.signals:
        # First, because the signal may come as soon as the handler is set.
        _listeners.setdefault(number, []).append(listener)
        if number not in _former:
            _former[number] = signal.signal(number, _handle)


def _remove(listener: _Listener) -> None:
    for number in listener.signals:
        listeners = _listeners.get(number, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            _listeners.pop(number, None)
            if number in _former:
                signal.signal(number, _former.pop(number))


@trio.lowlevel.enable_ki_protection
def _handle(number: int, frame: FrameType | None) -> None:
    listeners = tuple(_listeners.get(number, ()))
    # Without any, somebody who keeps handlers has put this one back after its time.
    third = not listeners
    for listener in listeners:
        listener.count += 1
        if listener.count == 1:
            listener.token.run_sync_soon(listener.on_end)
        elif listener.count == 2:
            listener.token.run_sync_soon(listener.on_cancel)
        else:
            _remove(listener)
            third = True
    if third:
        _interrupt(frame)


def _interrupt(frame: FrameType | None) -> None:
    """Raise KeyboardInterrupt as trio does: not in the middle of its own work."""
    handler = _former.get(signal.SIGINT) or signal.getsignal(signal.SIGINT)
    if handler is _handle or not callable(handler):
        raise KeyboardInterrupt
    handler(signal.SIGINT, frame)
