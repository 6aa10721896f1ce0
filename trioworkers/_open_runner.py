"""Embedding a runner: it lives as long as a block of the caller's."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from types import TracebackType

import trio
from trio.lowlevel import current_task

from ._bus import LocalBus
from ._interrupts import protected
from ._runner import WorkerRunner, check_trio
from ._tree import leaves, split
from ._values import Strategy
from ._worker import WorkerSource

__all__ = ["open_runner"]

_MISNESTED = (
    "open_runner() must be left before what was opened round it, and after what was opened in its "
    "block: a worker that enters it in on_start cannot leave it in on_stop, when its own nursery "
    "is closed; give the block a task of its own, with 'await self.nursery.start(...)'"
)


@protected
class _OpenRunner(AbstractAsyncContextManager[WorkerRunner]):
    """The runner in a task beside the block, so that only a crash reaches the block."""

    def __init__(self, runner: WorkerRunner, workers: tuple[WorkerSource, ...]) -> None:
        self._runner = runner
        self._workers = workers
        self._manager: AbstractAsyncContextManager[trio.Nursery]
        self._nursery: trio.Nursery | None = None
        self._task: trio.lowlevel.Task | None = None
        self._crash: BaseException | None = None

    async def __aenter__(self) -> WorkerRunner:
        check_trio()
        if self._task is not None:
            raise RuntimeError("this open_runner() was entered before: call it again for a new one")
        self._task = current_task()
        self._manager = trio.open_nursery()
        try:
            await self._runner.add_workers(*self._workers)
        except BaseException:
            self._runner.abandon()
            raise
        self._nursery = await self._manager.__aenter__()
        try:
            await self._nursery.start(self._serve, name=f"runner {self._runner.name}")
        except BaseException as error:
            # Only a cancellation from outside gets here: `_serve` keeps its own errors.
            await self._leave(error)  # noqa: ASYNC102 - waits as a nursery does
            raise  # pragma: no cover - the nursery raised it
        if self._crash is not None:
            await self._leave(None)
            raise self._crash
        return self._runner

    async def _serve(self, *, task_status: trio.TaskStatus[WorkerRunner]) -> None:
        assert self._nursery is not None
        try:
            await self._runner.serve(False, task_status)
        except trio.Cancelled:
            raise
        except BaseException as error:  # noqa: BLE001 - raised where the block ends
            self._crash = error
            if self._runner.entered:
                self._nursery.cancel_scope.cancel(reason=f"runner {self._runner.name} failed")
            else:
                task_status.started(self._runner)

    async def _leave(self, cancelled: BaseException | None) -> bool:
        """Close the nursery; returns whether it was its own cancellation that `cancelled` is."""
        trace = None if cancelled is None else cancelled.__traceback__
        kind = None if cancelled is None else type(cancelled)
        return bool(await self._manager.__aexit__(kind, cancelled, trace))

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        error: BaseException | None,
        _trace: TracebackType | None,
    ) -> bool:
        return await self._leave_block(error)  # noqa: ASYNC102 - waits as a nursery does

    def _check_place(self) -> bool:
        """Look where the block is being left; tell whether what is round it was closed before."""
        if current_task() is not self._task:
            raise RuntimeError(
                "open_runner() must be left in the task that entered it: do not split the block "
                "over two tasks, and do not yield inside it except in a fixture that trio runs"
            )
        nurseries = current_task().child_nurseries
        if self._nursery in nurseries[:-1]:
            # Nothing has happened yet: it can still be left in its turn.
            raise RuntimeError(_MISNESTED)
        return self._nursery not in nurseries

    async def _leave_block(self, error: BaseException | None) -> bool:
        closed = self._check_place()
        cancelled, own = split(error, trio.Cancelled)
        if error is None:
            await self._runner.end("the block was left")
        elif own is None:
            await self._runner.cancel("the block was cancelled")
        else:
            await self._runner.cancel(f"the block raised {type(error).__name__}")
        absorbed = False
        left: BaseException | None = None
        # What leaves the nursery must not hide what the block raised, nor a crash.
        try:
            absorbed = await self._leave(cancelled)
        except BaseException as problem:  # noqa: ASYNC103, BLE001 - goes on below
            left = problem
        if closed:
            # Trio merely asserts that this does not happen.
            left = RuntimeError(_MISNESTED)
        failures = [each for each in (own, self._crash) if each is not None]
        rest = split(left, trio.Cancelled)[1]
        if rest is not None:
            failures += leaves(rest)
        if len(failures) > 1:
            flat = [leaf for each in failures for leaf in leaves(each)]
            raise BaseExceptionGroup(f"runner {self._runner.name} and its block failed", flat)
        if failures and failures[0] is not error:
            raise failures[0]
        if left is not None and not failures:
            raise left
        return absorbed and not failures


def open_runner(
    *workers: WorkerSource,
    name: str | None = None,
    bus: LocalBus | None = None,
    end_deadline: float = 30.0,
    cancel_grace: float = 5.0,
    job_grace: float = 1.0,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    max_restarts: int = 3,
    period: float = 5.0,
) -> AbstractAsyncContextManager[WorkerRunner]:
    """Open a runner for the time of an `async with` block.

    Entering and leaving are checkpoints.  Entered when every worker is ready.  Left normally, the
    runner ends; left by an exception or a cancellation, it is cancelled.  `end` and `cancel` from
    elsewhere do not cancel the block; a crash of a worker does.  Installs no signal handlers.
    It must be left in the task that entered it.

    Args:
        workers: as for `WorkerRunner.add_workers`.
        name: as for `WorkerRunner`, and so for the other keywords.
        bus: a bus to share with another runner in this process.
        end_deadline: seconds an end may take before it becomes a cancel.
        cancel_grace: seconds that clean-ups may take after a cancel.
        job_grace: seconds a requester that leaves waits for its job's handler to exit.
        strategy: which root workers are restarted with one that stops.
        max_restarts: how many restarts of root workers are allowed in `period`.
        period: seconds in which restarts are counted.

    Returns:
        An async context manager that yields the `WorkerRunner`.

    Raises:
        ExceptionGroup: workers failed.  If only the block raised, its exception leaves as it is.
    """
    runner = WorkerRunner(
        name,
        bus=bus,
        handle_sigint=False,
        end_deadline=end_deadline,
        cancel_grace=cancel_grace,
        job_grace=job_grace,
        strategy=strategy,
        max_restarts=max_restarts,
        period=period,
    )
    return _OpenRunner(runner, workers)
