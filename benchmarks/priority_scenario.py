"""Finding a user's scenario by `module:scenario`, with errors that say what is wrong with it."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from trioworkers._checks import check_async
from trioworkers._cli.exits import WRONG_ARGUMENT, Refusal
from trioworkers._cli.run import _attribute, _import

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trioworkers.bench import PriorityScenario

SCENARIO = "a scenario is 'async def scenario(bench: PriorityScenario)'"


def load_scenario(target: str) -> Callable[[PriorityScenario], Awaitable[None]]:
    """Import a scenario; what the current directory holds can be imported.

    Args:
        target: `module:scenario`; the part after the colon may have dots.

    Raises:
        Refusal: it does not name a scenario.
        Exception: whatever importing the module raises.
    """
    module, colon, path = target.partition(":")
    if not colon or not module or not path:
        raise Refusal(
            WRONG_ARGUMENT,
            f"{target!r} names no scenario: write module:scenario, for example mybench:scenario",
        )
    found: Any = _import(module)
    for name in path.split("."):
        found = _attribute(found, name, target)
    try:
        check_async(found, "a scenario")
        inspect.signature(found).bind("bench")
    except TypeError as error:
        raise Refusal(WRONG_ARGUMENT, f"{target} is no scenario ({error}): {SCENARIO}") from None
    scenario: Callable[[PriorityScenario], Awaitable[None]] = found
    return scenario
