"""Checks of what users hand in: an error where it is handed in, and a word what to use."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

from ._values import Backoff, Strategy
from .messages import BusMessage

__all__ = ["check_async", "check_settings", "check_target", "no_target"]


def check_target(message: BusMessage) -> None:
    """Check the target of a message.

    Raises:
        TypeError: it is neither a name nor None.
    """
    if message.target is not None and not isinstance(message.target, str):
        raise no_target(message)


def no_target(message: BusMessage) -> TypeError:
    """Return the error for a target that is neither a name nor None."""
    return TypeError(f"target must be a worker name or None, not {message.target!r}")


def check_settings(settings: Mapping[str, object], owner: str = "") -> None:
    """Check settings of a runner or of a worker class.

    Args:
        settings: by name: `strategy`, `backoff`, `max_restarts`; all others are seconds.
        owner: whose they are, as an error message begins: `"Parent."`.

    Raises:
        TypeError: one is of the wrong type.
        ValueError: a number is negative.
    """
    for name, value in settings.items():
        what = f"{owner}{name}"
        if name == "strategy":
            if not isinstance(value, Strategy):
                known = ", ".join(f"Strategy.{each.name}" for each in Strategy)
                raise TypeError(f"{what} must be one of {known}, not {value!r}")
        elif name == "backoff":
            if not isinstance(value, Backoff):
                raise TypeError(f"{what} must be a Backoff(...), not {value!r}")
        elif name == "max_restarts":
            _check_number(value, what, "an int", int)
        else:
            _check_number(value, what, "a number of seconds", int | float)


def _check_number(value: object, what: str, kind: str, types: object) -> None:
    if isinstance(value, bool) or not isinstance(value, types):  # type: ignore[arg-type]
        raise TypeError(f"{what} must be {kind}, not {value!r}")
    if not value >= 0:  # type: ignore[operator]
        raise ValueError(f"{what} must not be negative, and is {value!r}")


def check_async(function: object, what: str) -> None:
    """Check that calling `function` gives something to await.

    Raises:
        TypeError: it is neither an async function nor an object with an async `__call__`.
    """
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    kind: Any = type(inner)  # pyright: ignore[reportUnknownVariableType]
    call = getattr(kind, "__call__", None)  # noqa: B004 - what a call of it would run
    if not inspect.iscoroutinefunction(inner) and not inspect.iscoroutinefunction(call):
        raise TypeError(f"{what} must be an 'async def' function, not {function!r}")
