"""What type checkers make of adding workers and of looking upwards from one."""

from __future__ import annotations

from functools import partial
from typing import assert_type

from trioworkers import Restart, Worker, WorkerRunner, open_runner


class Counter(Worker):
    """Needs a name."""


class Named(Worker):
    """Has its name already."""

    def __init__(self) -> None:
        super().__init__("named")


def make() -> Counter:
    return Counter("made")


async def upwards(worker: Worker) -> None:
    assert_type(worker.runner, WorkerRunner)
    await worker.runner.end("enough", deadline=3)
    worker.runner.nonexistent  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]


async def adding(me: Worker | WorkerRunner) -> None:
    await me.add_workers(Counter("a"), make, Named, partial(Counter, "b"), lambda: Counter("c"))
    await me.add_workers(*[Counter("a"), Counter("b")], restart=Restart.PERMANENT)
    # A class that needs a name is neither a worker nor a function without arguments.
    await me.add_workers(Counter)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await me.add_workers(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await me.add_workers("x")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await me.add_workers(dict)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def opening() -> None:
    async with open_runner(Counter("a"), make, Named) as runner:
        assert_type(runner, WorkerRunner)
    open_runner(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
