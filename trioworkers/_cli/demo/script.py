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
from .chaos import Relay, recount, relay_to
from .counting import Coordinator, Survey
from .files import Root
from .flood import Flood, Rain, latency
from .remote import Jobs, Look, SecondProcess, Surveyor, link_to, second_process
from .report import Cancelling, Chaos, Counting, Flooding, Linking, Report
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
    cuts: int = 0

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
        if not settings.cuts:
            return await _perform(settings, show, _behind_a_proxy(peer))
        async with relay_to(peer.port, settings.cuts) as (relay, port):
            return await _perform(settings, show, _behind_a_proxy(peer, relay, port))


def _behind_a_proxy(
    peer: SecondProcess, relay: Relay | None = None, port: int | None = None
) -> list[Worker]:
    link = link_to(peer, port)
    # Roots end in reverse: the link stays up for what the surveyor still has in hand.
    return [link, Surveyor(peer, link, relay)]


async def _perform(
    settings: Settings, show: Show, counters: Sequence[Worker]
) -> tuple[Report, int]:
    # An end takes as long as what is in hand; whoever cannot wait presses Ctrl-C again.
    runner = WorkerRunner("demo", handle_sigterm=True, end_deadline=inf)
    runner.add_instrument(EndNotice(runner, show.note, _ENDING))
    await runner.add_workers(*counters, Flood(settings.messages))
    with _quiet(runner):
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
        counting = await _count(runner, settings, show)
        report = attrs.evolve(report, counting=counting)
        if settings.remote and runner.stop_reason is None:
            linking = await _look_at_the_link(runner, settings, counting, show)
            report = attrs.evolve(report, linking=linking)
            if linking.chaos is not None and not linking.chaos.harmless:
                failure = "the link has lost something, or something was done twice"
                report = attrs.evolve(report, failure=f"{failure}: {linking.chaos}")
                await runner.cancel(failure)
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


async def _look_at_the_link(
    runner: WorkerRunner, settings: Settings, counting: Counting, show: Show
) -> Linking:
    crossed = await runner.ask("surveyor", Surveyor.look, Look())
    round_trip = latency(crossed.round_trips)
    assert round_trip is not None
    chaos = None
    if crossed.jobs is not None:
        chaos = await _compare(settings, counting, crossed.jobs)
    linking = Linking(crossed.pid, crossed.sent, crossed.received, round_trip, chaos)
    show.linked(linking)
    return linking


async def _compare(settings: Settings, counting: Counting, jobs: Jobs) -> Chaos:
    """Count again, without a link."""
    files, words = await trio.to_thread.run_sync(recount, settings.roots, abandon_on_cancel=True)
    findings = counting.findings
    same = len(findings.files) == files and findings.words == words
    return Chaos(
        **attrs.asdict(jobs),
        files=(len(findings.files), files),
        words=(findings.words.total(), words.total()),
        harmless=jobs.asked == jobs.done and same,
    )


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
def _quiet(runner: WorkerRunner) -> Generator[None]:
    """Let nobody warn of what is meant: the dead letters of a cancel, and links that are cut."""
    logger = logging.getLogger("trioworkers")

    def wanted(record: logging.LogRecord) -> bool:
        cancelled = runner.stop_reason is not None and runner.stop_reason.kind == "cancelled"
        text = record.getMessage()
        return not (
            (cancelled and text.startswith("dead letter"))
            or text.startswith("proxy link has no connection")
        )

    logger.addFilter(wanted)
    try:
        yield
    finally:
        logger.removeFilter(wanted)
