"""The course of the demo: count, flood, cancel everything.

The workers do the work; what is here only asks them, as the runner, and tells the show.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from math import inf
from time import perf_counter

import attrs
import trio

from trioworkers import JobError, JobFailedError, Worker, WorkerRunner

from ..exits import CRASHED, ENDED, exit_code
from ..notices import EndNotice
from .counting import Coordinator, Survey
from .files import Root
from .flood import Flood, Rain, latency
from .remote import Look, SecondProcess, Surveyor, link_to, second_process
from .report import Cancelling, Counting, Flooding, Linking, Report
from .show import Show

__all__ = ["Settings", "perform"]

_ENDING = "Ctrl-C: ending, what is in hand is finished first; Ctrl-C again cancels."


@attrs.frozen
class Settings:
    """What the user chose to run."""

    roots: tuple[Root, ...]
    workers: int
    messages: int
    remote: bool = False

    @property
    def counter(self) -> str:
        """The name of the worker that is asked to count."""
        return "surveyor" if self.remote else "coordinator"


async def perform(settings: Settings, show: Show) -> tuple[Report, int]:
    """Run the demo.

    Returns:
        What it found, and the exit code.

    Raises:
        ExceptionGroup: a worker failed.
        Refusal: the second process does not start.
    """
    if not settings.remote:
        return await _perform(settings, show, [Coordinator("coordinator")])
    async with second_process() as peer:
        return await _perform(settings, show, _behind_a_proxy(peer))


def _behind_a_proxy(peer: SecondProcess) -> list[Worker]:
    link = link_to(peer)
    # Roots end in reverse: the link stays up for what the surveyor still has in hand.
    return [link, Surveyor(peer, link)]


async def _perform(
    settings: Settings, show: Show, counters: Sequence[Worker]
) -> tuple[Report, int]:
    # An end takes as long as what is in hand; whoever cannot wait presses Ctrl-C again.
    runner = WorkerRunner("demo", handle_sigterm=True, end_deadline=inf)
    runner.add_instrument(EndNotice(runner, show.note, _ENDING))
    await runner.add_workers(*counters, Flood(settings.messages))
    with _quiet_dead_letters(runner):
        async with trio.open_nursery() as nursery:
            await nursery.start(runner.run)
            nursery.start_soon(show.animate)
            report = await _play(runner, settings, show)
            await runner.wait_stopped()
            nursery.cancel_scope.cancel()
    if report.failure is not None:
        return report, CRASHED
    code = exit_code(runner.stop_reason)
    if code == ENDED and not report.complete:
        show.ended_early()
    return report, code


async def _play(runner: WorkerRunner, settings: Settings, show: Show) -> Report:
    report = Report()
    try:
        report = attrs.evolve(report, counting=await _count(runner, settings, show))
        if settings.remote and runner.stop_reason is None:
            report = attrs.evolve(report, linking=await _look_at_the_link(runner, show))
        if runner.stop_reason is None:
            report = attrs.evolve(report, flooding=await _flood(runner, settings, show))
        if runner.stop_reason is None:
            report = attrs.evolve(report, cancelling=await _cancel(runner, settings, show))
    except JobFailedError as error:
        if exit_code(runner.stop_reason) == ENDED:
            report = attrs.evolve(report, failure=error.reason)
            await runner.cancel(error.reason)
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
    async with runner.job(settings.counter, Coordinator.survey, survey) as pending:
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


async def _look_at_the_link(runner: WorkerRunner, show: Show) -> Linking:
    crossed = await runner.ask("surveyor", Surveyor.look, Look())
    round_trip = latency(crossed.round_trips)
    assert round_trip is not None
    linking = Linking(crossed.pid, crossed.sent, crossed.received, round_trip)
    show.linked(linking)
    return linking


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
def _quiet_dead_letters(runner: WorkerRunner) -> Generator[None]:
    """Let nobody warn of the dead letters that a cancel leaves behind: they are meant."""
    logger = logging.getLogger("trioworkers")

    def wanted(record: logging.LogRecord) -> bool:
        cancelled = runner.stop_reason is not None and runner.stop_reason.kind == "cancelled"
        return not (cancelled and record.getMessage().startswith("dead letter"))

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
