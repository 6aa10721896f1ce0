"""`trioworkers run module:app`."""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import sys
import traceback
from collections.abc import Callable, Iterable
from types import ModuleType, TracebackType
from typing import Any, cast

import trio

from trioworkers import Worker, WorkerRunner, WorkerState
from trioworkers._checks import check_async

from .exits import CRASHED, WRONG_ARGUMENT, Refusal, exit_code
from .notices import EndNotice
from .output import complain

__all__ = ["load", "run"]

_ENDING = "ending; Ctrl-C again cancels"
_APP = "an app is 'async def app(runner)' that adds workers, or a function that returns workers"
_NOT_THE_USERS = frozenset({"cyclopts", "importlib", "outcome", "trio", "trioworkers"})


def run(target: str) -> int:
    """Run the workers of an app until they have ended.

    Args:
        target: `module:app`.

    Returns:
        The exit code.

    Raises:
        Refusal: there is no such app, or it is none.
        SystemExit: it crashed; the traceback is on standard error.
    """
    try:
        return trio.run(_serve, target, load(target))
    except Refusal:
        raise
    except Exception as error:  # noqa: BLE001 - shown, and then it is an exit code
        trace = _from_the_users_code(error.__traceback__)
        traceback.print_exception(type(error), error, trace)
        raise SystemExit(CRASHED) from None


def _from_the_users_code(trace: TracebackType | None) -> TracebackType | None:
    """Leave out the calls that lead from the command line to the app."""
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__"))
        if name.partition(".")[0] not in _NOT_THE_USERS:
            break
        trace = trace.tb_next
    return trace


async def _serve(target: str, app: Callable[..., Any]) -> int:
    runner = WorkerRunner(handle_sigterm=True)
    runner.add_instrument(EndNotice(runner, complain, _ENDING))
    if _is_async(app):
        _check_call(target, app, runner)
        returned = await app(runner)
        if runner.state is not WorkerState.ADDED:
            raise Refusal(
                WRONG_ARGUMENT,
                f"{target} has run the runner itself ({runner.stop_reason}): only add the workers, "
                f"with 'await runner.add_workers(...)'; 'trioworkers run' runs them",
            )
        if returned is not None and not runner.children:
            raise Refusal(
                WRONG_ARGUMENT,
                f"{target} added no workers but returned {returned!r}: an 'async def app(runner)' "
                f"must add them itself, with 'await runner.add_workers(...)'; a plain function "
                f"returns them",
            )
    elif inspect.isasyncgenfunction(app):
        raise Refusal(
            WRONG_ARGUMENT,
            f"{target} is 'async def' with a 'yield', so that calling it runs nothing: {_APP}",
        )
    else:
        _check_call(target, app)
        await runner.add_workers(*_workers(target, app()))
    if not runner.children:
        raise Refusal(WRONG_ARGUMENT, f"{target} added no workers: {_APP}")
    return exit_code(await runner.run())


def _is_async(app: Callable[..., Any]) -> bool:
    try:
        check_async(app, "an app")
    except TypeError:
        return False
    return True


def _check_call(target: str, app: Callable[..., Any], *args: object) -> None:
    try:
        inspect.signature(app).bind(*args)
    except TypeError as error:
        given = "the runner" if args else "no arguments"
        raise Refusal(
            WRONG_ARGUMENT, f"{target} cannot be called with {given} ({error}): {_APP}"
        ) from None


def _workers(target: str, returned: object) -> list[Any]:
    if not isinstance(returned, Iterable):
        raise Refusal(
            WRONG_ARGUMENT,
            f"{target} returned {returned!r}, which is not an iterable of workers: {_APP}",
        )
    workers = list(cast("Iterable[object]", returned))
    for worker in workers:
        if not isinstance(worker, Worker) and not callable(worker):
            raise Refusal(WRONG_ARGUMENT, f"{target} returned {worker!r} among its workers: {_APP}")
        if not isinstance(worker, Worker):
            _check_factory(target, worker)
    return workers


def _check_factory(target: str, factory: Callable[..., Any]) -> None:
    try:
        inspect.signature(factory).bind()
    except TypeError as error:
        what = f"the class {factory.__name__}" if isinstance(factory, type) else repr(factory)
        raise Refusal(
            WRONG_ARGUMENT,
            f"{target} returned {what} among its workers, which cannot be called with no "
            f"arguments ({error}): return workers, such as MyWorker('name'), or functions that "
            f"make one",
        ) from None
    except ValueError:  # written in C, and does not tell what it takes
        pass


def load(target: str) -> Callable[..., Any]:
    """Import an app; what the current directory holds can be imported.

    Args:
        target: `module:app`; the part after the colon may have dots.

    Raises:
        Refusal: it does not name something that can be called.
        Exception: whatever importing the module raises.
    """
    module_name, colon, path = target.partition(":")
    if not colon or not module_name or not path:
        raise Refusal(
            WRONG_ARGUMENT, f"{target!r} names no app: write module:app, for example myapp:app"
        )
    found: Any = _import(module_name)
    for name in path.split("."):
        found = _attribute(found, name, target)
    if not callable(found):
        raise Refusal(
            WRONG_ARGUMENT, f"{target} is {found!r} of type {type(found).__name__}: {_APP}"
        )
    return cast("Callable[..., Any]", found)


def _import(name: str) -> ModuleType:
    if (here := os.getcwd()) not in sys.path:
        sys.path.insert(0, here)
    if not all(part.isidentifier() for part in name.split(".")):
        raise Refusal(
            WRONG_ARGUMENT,
            f"{name!r} is no module name: write it as in an import, with dots{_hint(name)}",
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # A module that the app itself fails to import is a crash of the app.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise Refusal(
            WRONG_ARGUMENT, f"there is no module {error.name!r}, here or installed{_hint(name)}"
        ) from None


def _hint(module: str) -> str:
    return "; leave out the '.py'" if module.endswith(".py") else ""


def _attribute(owner: object, name: str, target: str) -> object:
    try:
        return getattr(owner, name)
    except AttributeError:
        label = f"module {owner.__name__!r}" if isinstance(owner, ModuleType) else repr(owner)
        close = difflib.get_close_matches(name, dir(owner), 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise Refusal(WRONG_ARGUMENT, f"{label} has no {name!r}{hint} (in {target})") from None
