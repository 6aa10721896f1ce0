"""The course of the demo: count, flood, cancel everything.

The workers do the work; what is here only asks them, as the runner, and tells the show.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from math import inf
from time import perf_counter

import attrs
import trio

from trioworkers import JobError, WorkerRunner

from ..exits import ENDED, exit_code
from ..notices import EndNotice
from .counting import Coordinator, Survey
from .files import Root
from .flood import Flood, Rain, latency
from .report import Cancelling, Counting, Flooding, Report
from .show import Show

__all__ = ["Settings", "perform"]

_ENDING = "Ctrl-C: ending, what is in hand is finished first; Ctrl-C again cancels."


@attrs.frozen
class Settings:
    """What the user chose to run."""

    roots: tuple[Root, ...]
    workers: int
    messages: int


async def perform(settings: Settings, show: Show) -> tuple[Report, int]:
    """Run the demo.

    Returns:
        What it found, and the exit code.

    Raises:
        ExceptionGroup: a worker failed.
    """
    # An end takes as long as what is in hand; whoever cannot wait presses Ctrl-C again.
    runner = WorkerRunner("demo", handle_sigterm=True, end_deadline=inf)
    runner.add_instrument(EndNotice(runner, show.note, _ENDING))
    await runner.add_workers(Coordinator("coordinator"), Flood(settings.messages))
    async with trio.open_nursery() as nursery:
        await nursery.start(runner.run)
        nursery.start_soon(show.animate)
        report = await _play(runner, settings, show)
        await runner.wait_stopped()
        nursery.cancel_scope.cancel()
    code = exit_code(runner.stop_reason)
    if code == ENDED and not report.complete:
        show.ended_early()
    return report, code


async def _play(runner: WorkerRunner, settings: Settings, show: Show) -> Report:
    report = Report()
    try:
        report = attrs.evolve(report, counting=await _count(runner, settings, show))
        if runner.stop_reason is None:
            report = attrs.evolve(report, flooding=await _flood(runner, settings, show))
        if runner.stop_reason is None:
            report = attrs.evolve(report, cancelling=await _cancel(runner, settings, show))
    except JobError:
        # A job that was asked for before a Ctrl-C may be refused or cancelled by it.
        if runner.stop_reason is None:
            raise
    return report


async def _count(runner: WorkerRunner, settings: Settings, show: Show) -> Counting:
    survey = Survey(settings.roots, settings.workers)
    workers = 0
    started = perf_counter()
    show.searching()
    async with runner.job("coordinator", Coordinator.survey, survey, label="survey") as pending:
        async for event in pending:
            match event.data:
                case {"plan": plan}:
                    workers = len(plan)
                    show.planned(plan)
                case {"worker": worker, "files": files, "bytes": size}:
                    show.advanced(worker, files, size)
                case _:
                    pass
    counting = Counting(workers, perf_counter() - started, pending.response)
    show.counted(counting)
    return counting


async def _flood(runner: WorkerRunner, settings: Settings, show: Show) -> Flooding:
    # Nothing is drawn meanwhile: that would be measured too.
    show.flooding(settings.messages)
    seen = await runner.ask("flood", Flood.run, Rain(settings.messages))
    flooding = Flooding(seen.seconds, seen.backlog, latency(seen.data), latency(seen.system))
    show.flooded(flooding)
    return flooding


async def _cancel(runner: WorkerRunner, settings: Settings, show: Show) -> Cancelling | None:
    """Cancel everything when half of a second flood was sent."""
    cancelling = None
    sent = 0
    with _quiet_dead_letters():
        try:
            async with runner.job("flood", Flood.run, Rain(settings.messages)) as pending:
                async for event in pending:
                    sent += (event.data or {}).get("sent", 0)
                    if cancelling is None and 2 * sent >= settings.messages:
                        cancelling = await _cancel_now(runner)
        except JobError:
            if cancelling is None:
                raise
    if cancelling is not None:
        show.cancelled(cancelling)
    return cancelling


async def _cancel_now(runner: WorkerRunner) -> Cancelling:
    sink = runner.get_worker("sink")
    waiting = 0 if sink is None else sink.statistics().mailbox.data_depth
    workers = runner.statistics().workers
    started = perf_counter()
    await runner.cancel("the demo is over")
    await runner.wait_stopped()
    return Cancelling(workers, waiting, perf_counter() - started)


@contextmanager
def _quiet_dead_letters() -> Generator[None]:
    """Let nobody warn of the dead letters that a cancel in a flood leaves behind: it is meant."""
    logger = logging.getLogger("trioworkers")

    def wanted(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("dead letter")

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
