"""Where Ctrl-C may strike: anywhere in the user's code, and between our steps, not within them.

Where nobody counts signals, trio raises `KeyboardInterrupt` in whatever runs at the moment, unless
a frame says otherwise: of the frames from the innermost outwards, the first that is marked decides.
Then it is raised in the main task, as soon as that waits.  Our classes are marked as protected,
because a request that is half admitted is never answered; what the user wrote is marked as
interruptible where we call it, because an endless loop there is what Ctrl-C is for.

A mark is on the code and costs nothing when the code runs.
"""

from __future__ import annotations

import functools
import inspect
import signal
from collections.abc import Callable
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

import trio
from trio.lowlevel import disable_ki_protection, enable_ki_protection

__all__ = ["call", "let_interrupt", "notify", "protected"]

C = TypeVar("C", bound=type)
F = TypeVar("F", bound=Callable[..., object])
P = ParamSpec("P")
R = TypeVar("R")


def protected(cls: C) -> C:
    """Let no interrupt strike within the methods of `cls`, nor in what they call."""
    for value in vars(cls).values():
        method: Any = value.fget if isinstance(value, property) else value
        # Not what is round a generator: all context managers have that in common.
        function: object = inspect.unwrap(method)
        if isinstance(function, FunctionType):
            enable_ki_protection(function)
    return cls


def let_interrupt(function: F) -> F:
    """Let an interrupt strike within a function of the user's; return the function itself."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    if not hasattr(inner, "__code__"):
        inner = type(inner).__call__
    if hasattr(inner, "__code__"):
        disable_ki_protection(inner)
    return function


@disable_ki_protection
def call(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call a function of the user's; an interrupt may strike within."""
    return function(*args, **kwargs)


def notify(function: Callable[..., object], *args: object) -> None:
    """Call a function of the user's in the middle of our steps.

    An interrupt may strike within, and is raised as one that has struck outside of it.
    """
    try:
        call(function, *args)
    except KeyboardInterrupt:
        if not trio.lowlevel.currently_ki_protected():
            raise
        signal.raise_signal(signal.SIGINT)
