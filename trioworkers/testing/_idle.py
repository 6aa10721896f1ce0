"""Waiting until a runner has nothing to do."""

from __future__ import annotations

import trio

from .._runner import WorkerRunner
from . import _inside

__all__ = ["wait_idle"]


async def wait_idle(runner: WorkerRunner) -> None:
    """Wait until nothing is queued or being handled in `runner`, and no job runs.

    A checkpoint.  Workers that are starting or ending count as busy; one that waits to be
    restarted does not, unless messages wait for it.  What happens outside of handlers, hooks and
    jobs (tasks in `worker.nursery`, senders that have not yet sent) is not looked at.

    Args:
        runner: the runner; idle too when it has stopped.

    Raises:
        RuntimeError: called by a handler, hook or job of `runner`, which would wait for itself.
    """
    caller = _inside.serves(runner, trio.lowlevel.current_task())
    if caller is not None:
        raise RuntimeError(
            f"wait_idle() is called inside worker {caller.name!r} of the runner it waits for: "
            "call it from the test"
        )
    await trio.lowlevel.checkpoint()
    while _inside.busy(runner) is not None:
        watch = _IdleWatch(runner)
        trio.lowlevel.add_instrument(watch)
        try:
            await watch.idle.wait()
        finally:
            trio.lowlevel.remove_instrument(watch)


class _IdleWatch(trio.abc.Instrument):
    """Looks after each step of a task whether the runner has become idle."""

    def __init__(self, runner: WorkerRunner) -> None:
        self._runner = runner
        self._witness = _inside.busy(runner)
        self.idle = trio.Event()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:  # noqa: ARG002 - trio's hook
        # One busy worker is proof enough: the others are looked at only when it is not.
        if self._witness is not None and _inside.is_busy(self._witness):
            return
        self._witness = _inside.busy(self._runner)
        if self._witness is None:
            self.idle.set()
