"""Finding what a block of code left behind."""

from __future__ import annotations

import functools
import os
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import trio

from .._runner import WorkerRunner
from . import _inside

__all__ = ["no_leaks"]

THREAD_GRACE = 1.0
"""Seconds that a thread which is on its way out may take for it."""

_FDS = "/proc/self/fd"


@contextmanager
def no_leaks() -> Generator[None]:
    """Check that a block leaves nothing behind.

    Looked at are threads; open files, sockets and other descriptors; every runner that was made
    in the block and has run (it has stopped, and its tables and those of its bus are empty); and,
    inside a trio run, the tasks of that run.  Idle threads that trio keeps for later and trio's
    system tasks are excepted.  Takes a tenth of a millisecond; waits only for threads, and only
    if one is left.

    Raises:
        AssertionError: something was left behind.  If the block raised, its exception leaves as
            it is, with a note about what was left.
    """
    threads, files, tasks = _threads(), _open_files(), _tasks()
    with _watch_runners() as runners:
        try:
            yield
        except BaseException as error:
            for leak in _find(threads, files, tasks, runners):
                error.add_note(f"left behind: {leak}")
            raise
        leaks = _find(threads, files, tasks, runners)
    if leaks:
        raise AssertionError("left behind: " + "; ".join(leaks))


def _find(
    threads: set[threading.Thread],
    files: dict[int, tuple[int, int]],
    tasks: set[trio.lowlevel.Task],
    runners: list[weakref.ref[WorkerRunner]],
) -> list[str]:
    found: list[str] = []
    for reference in runners:
        runner = reference()
        if runner is not None:
            found += _inside.leftovers(runner)
    found += [f"task {task.name!r}" for task in _tasks() - tasks]
    found += [f"thread {thread.name!r}" for thread in _threads() - threads if _stays(thread)]
    found += [
        f"descriptor {number} ({_describe(number)})"
        for number, identity in _open_files().items()
        if files.get(number) != identity
    ]
    return found


def _threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if not _is_idle(thread)}


def _is_idle(thread: threading.Thread) -> bool:
    # A thread of trio's cache bears this name while it is idle, and another one while it works.
    return thread.name.startswith("Trio thread ")


def _stays(thread: threading.Thread) -> bool:
    thread.join(THREAD_GRACE)
    return thread.is_alive() and not _is_idle(thread)


def _open_files() -> dict[int, tuple[int, int]]:
    """Return the open descriptors, and device and inode of each: a number may be used again."""
    found: dict[int, tuple[int, int]] = {}
    for name in os.listdir(_FDS):
        # One of them was for the listing, and is closed already.
        with suppress(OSError):
            status = os.fstat(int(name))
            found[int(name)] = (status.st_dev, status.st_ino)
    return found


def _describe(number: int) -> str:
    try:
        return os.readlink(f"{_FDS}/{number}")
    except OSError:
        return "closed meanwhile"


def _tasks() -> set[trio.lowlevel.Task]:
    """Return the tasks of the run we are in, except trio's system tasks."""
    if not trio.lowlevel.in_trio_run():
        return set()
    root = trio.lowlevel.current_root_task()
    assert root is not None
    # trio opens one nursery each for its run_sync_soon, for system tasks and for the main task.
    main = root.child_nurseries[-1]
    return {found for task in main.child_tasks for found in _inside.descendants(task)}


_watchers: list[list[weakref.ref[WorkerRunner]]] = []
_originals: list[Any] = []


@contextmanager
def _watch_runners() -> Generator[list[weakref.ref[WorkerRunner]]]:
    """Collect the runners that are made within the block.

    Runners are known to nobody but their makers, so their class is changed while somebody watches.
    Blocks may overlap in any way.
    """
    made: list[weakref.ref[WorkerRunner]] = []
    if not _watchers:
        _originals.append(WorkerRunner.__init__)
        _install(_watched(WorkerRunner.__init__))
    _watchers.append(made)
    try:
        yield made
    finally:
        # By identity: equal lists are not the same list.
        _watchers[:] = [each for each in _watchers if each is not made]
        if not _watchers:
            _install(_originals.pop())


def _install(method: Any) -> None:
    WorkerRunner.__init__ = method  # type: ignore[method-assign]


def _watched(make: Any) -> Any:
    @functools.wraps(make)
    def __init__(self: WorkerRunner, *args: Any, **kwargs: Any) -> None:  # noqa: N807
        make(self, *args, **kwargs)
        for watcher in _watchers:
            watcher.append(weakref.ref(self))

    return __init__
