"""What comes from outside trio: from other threads, or when trio does not run at all.

A thread that waits for room in a lane must not hold up the end of whoever waits for the thread.  If
trio started it for a task, the wait is that task's: it is in the wait-for graph, and is cancelled
with the task.  Who waits for another thread is unknown; it may be a handler of the very worker
that is to make the room.  So no thread waits longer than that worker lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import trio

from .errors import WorkerGoneError
from .messages import BusMessage

__all__ = ["check_in_trio", "hosted_in", "send_for", "wait_with"]


def check_in_trio(message: BusMessage) -> None:
    """Check that trio runs, where delivering a message takes it.

    Raises:
        RuntimeError: it does not.
    """
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            f"{message!r} has no effect outside trio: send it inside trio.run(main) once the "
            "runner is there, or from a thread with bus.send_from_thread()"
        )


def hosted_in(token: trio.lowlevel.TrioToken) -> bool:
    """Tell whether the present thread was started by a task of that run, which may wait for it.

    Raises:
        trio.Cancelled: the task was cancelled.
    """
    try:
        return trio.from_thread.run_sync(trio.lowlevel.current_trio_token) is token
    except RuntimeError:
        # Not trio's thread, or of a run that is over.
        return False


async def send_for(
    tasks: set[trio.lowlevel.Task], send: Callable[..., Awaitable[None]], *args: Any
) -> None:
    """Send for a thread; meanwhile this task is among `tasks`."""
    task = trio.lowlevel.current_task()
    tasks.add(task)
    try:
        await send(*args)
    finally:
        tasks.remove(task)


async def wait_with(
    nursery: trio.Nursery, name: str, wait: Callable[..., Awaitable[None]], *args: Any
) -> None:
    """Wait as `wait` does, but no longer than `nursery` lives, which is that of a worker.

    Args:
        nursery: where whoever is waited for lives.
        name: who that is.
        wait: an async function; a cancellation undoes what it waited for.
        args: for `wait`.

    Raises:
        WorkerGoneError: the nursery was cancelled first.
    """
    waiting, watching = trio.CancelScope(), trio.CancelScope()

    async def watch() -> None:
        with watching:
            try:
                await trio.sleep_forever()
            finally:
                waiting.cancel(reason=f"{name!r} is cut off")

    nursery.start_soon(watch, name=f"wait of a thread for {name}")
    try:
        with waiting:
            await wait(*args)
    finally:
        watching.cancel()
    if waiting.cancelled_caught:
        raise WorkerGoneError(
            name, "it was cut off while a thread waited to send to it, and the message is not sent"
        )
