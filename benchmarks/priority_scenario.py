"""Finding a user's scenario by `module:scenario`, with errors that say what is wrong with it."""

from __future__ import annotations

import inspect
import traceback
from typing import TYPE_CHECKING, Any

from trioworkers._checks import check_async
from trioworkers._cli.exits import WRONG_ARGUMENT, Refusal
from trioworkers._cli.run import _NOT_THE_USERS, _attribute, _import

from .harness import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from trioworkers.bench import PriorityScenario

OURS = _NOT_THE_USERS | {"__main__", "runpy", PACKAGE.partition(".")[0]}
SCENARIO = "a scenario is 'async def scenario(bench: PriorityScenario)'"


def load_scenario(target: str) -> Callable[[PriorityScenario], Awaitable[None]]:
    """Import a scenario; what the current directory holds can be imported.

    Args:
        target: `module:scenario`; the part after the colon may have dots.

    Raises:
        Refusal: it does not name a scenario, or its module cannot be imported; where that is so
            because of an exception, its traceback is on standard error.
    """
    module, path = parts_of(target)
    found: Any = import_module(module)
    for name in path.split("."):
        found = _attribute(found, name, target)
    try:
        check_async(found, "a scenario")
        inspect.signature(found).bind("bench")
    except TypeError as error:
        raise Refusal(WRONG_ARGUMENT, f"{target} is no scenario ({error}): {SCENARIO}") from None
    scenario: Callable[[PriorityScenario], Awaitable[None]] = found
    return scenario


def parts_of(target: str) -> tuple[str, str]:
    """Return the module of a scenario, and its name there.

    Raises:
        Refusal: `target` has another form.
    """
    module, colon, path = target.partition(":")
    if not colon or not module or not path:
        raise Refusal(
            WRONG_ARGUMENT,
            f"{target!r} names no scenario: write module:scenario, for example mybench:scenario",
        )
    return module, path


def import_module(name: str) -> object:
    """Import the module of a scenario.

    Raises:
        Refusal: there is none, or it raises.
    """
    try:
        return _import(name)
    except Refusal:
        raise
    except Exception as error:
        show_users_traceback(type(error), error, error.__traceback__)
        sentence = f"{name} cannot be imported: {type(error).__name__}: {error}"
        raise Refusal(WRONG_ARGUMENT, sentence) from error


def show_users_traceback(
    _kind: type[BaseException], error: BaseException, _trace: TracebackType | None
) -> None:
    """Print an exception as Python does, without the calls that lead to the user's code."""
    shorten(error)
    traceback.print_exception(error)


def shorten(error: BaseException) -> None:
    """Leave the calls out that lead to the user's code, in a group's exceptions too."""
    users = error.__traceback__
    while users is not None and is_ours(users):
        users = users.tb_next
    if isinstance(error, BaseExceptionGroup):
        error.__suppress_context__ = True  # the runner made it, while it cancelled the scenario
        group: BaseExceptionGroup[BaseException] = error
        for each in group.exceptions:
            shorten(each)
    elif users is None:
        return
    error.__traceback__ = users


def is_ours(trace: TracebackType) -> bool:
    """Tell whether a line of a traceback is none of the user's code."""
    return str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] in OURS
