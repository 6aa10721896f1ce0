"""Checks of what users hand in: an error where it is handed in, and a word what to use."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Collection, Container, Mapping
from typing import Any

from ._values import Backoff, Strategy
from .messages import BusMessage

__all__ = [
    "check_async",
    "check_counts",
    "check_hook",
    "check_message",
    "check_names",
    "check_settings",
    "check_target",
    "no_target",
    "source_of",
]

# How alike a method's name must be to a hook's to be a slip of the pen: `on_activate` is, `on_state`
# and `on_step` are not.
_ALIKE = 0.9
_OFTEN_MEANT = {"on_started": "on_start", "on_stopped": "on_stop"}


def check_message(message: object) -> None:
    """Check that something is a message at all.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(message, BusMessage):
        raise TypeError(f"{message!r} is no bus message: make it of a class marked @message")


def check_target(message: BusMessage) -> None:
    """Check the target of a message.

    Raises:
        TypeError: it is neither a name nor None.
    """
    if message.target is not None and not isinstance(message.target, str):
        raise no_target(message)


def source_of(message: BusMessage) -> str:
    """Return whom a message says it is from.

    Raises:
        TypeError: it is no message, or its `source` no name.
        ValueError: it has none.
    """
    check_message(message)
    if not message.source:
        raise ValueError(f"{message!r} has no source: send it with the worker's own send()")
    if not isinstance(message.source, str):
        raise TypeError(f"source must be a name, not {message.source!r}")
    return message.source


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


def check_hook(cls: type, base: type, name: str) -> None:
    """Check that a hook of `cls`, a subclass of `base`, can be called as hooks are.

    Raises:
        TypeError: it is not async, or takes other parameters than the hook it overrides.
    """
    what = f"{cls.__qualname__}.{name}"
    check_async(getattr(cls, name), what)
    hook = inspect.getattr_static(cls, name)
    if not inspect.isfunction(hook):
        return
    defined = (vars(each) for each in reversed(cls.__mro__) if issubclass(each, base))
    wanted = list(
        inspect.signature(next(each[name] for each in defined if name in each)).parameters
    )
    # Not of what a decorator wraps, which it may call with more or less.
    signature = inspect.signature(hook, follow_wrapped=False)
    try:
        signature.bind(*wanted)
    except TypeError as error:
        raise TypeError(f"{what} must take ({', '.join(wanted)}), it takes {signature}") from error


def check_names(
    cls: type, base: type, hooks: Collection[str], others: Container[str], marked: Container[str]
) -> None:
    """Check that `cls`, a subclass of `base`, hides nothing of it and misspells no hook.

    Args:
        cls: the class, with its bases before `base`.
        base: whose public names are taken.
        hooks: what is to be overridden.
        others: further names that may be.
        marked: methods that are handlers, whatever they are called.

    Raises:
        TypeError: a name is taken, or meant to be a hook's.
    """
    taken = _public_names(base)
    for each in cls.__mro__[: cls.__mro__.index(base)]:
        for name in vars(each):
            if name in hooks or name in others:
                continue
            what = f"{cls.__qualname__}.{name}"
            if name in taken:
                instead = "pass it to super().__init__()" if name == "name" else "rename it"
                raise TypeError(f"{what} would hide {base.__name__}.{name}: {instead}")
            meant = None if name in marked else _meant_hook(name, hooks)
            if meant is not None and inspect.iscoroutinefunction(vars(each)[name]):
                raise TypeError(f"{what} is no hook: write {meant}, or give it another name")


@functools.cache
def _public_names(base: type) -> frozenset[str]:
    return frozenset(
        name for each in base.__mro__ for name in vars(each) if not name.startswith("_")
    )


def _meant_hook(name: str, hooks: Collection[str]) -> str | None:
    if not name.startswith("on_"):
        return None
    alike = difflib.get_close_matches(name, hooks, n=1, cutoff=_ALIKE)
    return alike[0] if alike else _OFTEN_MEANT.get(name)


def check_counts(counts: Mapping[str, object]) -> None:
    """Check whole numbers, by name.

    Raises:
        TypeError: one is no int.
        ValueError: one is less than 1.
    """
    for name, value in counts.items():
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{name} must be an int, not {value!r}")
        if value < 1:
            raise ValueError(f"{name} must be at least 1, and is {value!r}")
