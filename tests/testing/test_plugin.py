"""The pytest plugin, as a test uses it."""

from __future__ import annotations

import trio
from trio.testing import MockClock

from trioworkers import WorkerRunner
from trioworkers.testing import Probe


async def test_worker_runner(worker_runner: WorkerRunner, autojump_clock: MockClock) -> None:
    """The fixture is an open runner, in virtual time too (S-RUN-4)."""
    probe = Probe("probe")
    await worker_runner.add_workers(probe)
    await trio.sleep(3600)
    assert worker_runner.get_worker("probe") is probe
    assert probe.none_left()
