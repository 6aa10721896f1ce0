"""pytest-trio by itself: runners in fixtures of one's own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio
from trio.testing import MockClock

from trioworkers import (
    BusDataMessage,
    StopReason,
    Worker,
    WorkerRunner,
    WorkerState,
    handles,
    message,
    open_runner,
)
from trioworkers.testing import Probe

pytest_plugins = ["pytester"]


@message
class Tick(BusDataMessage):
    pass


class Relay(Worker):
    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        await self.send(Tick(target="probe"))

    async def on_stop(self) -> None:
        await trio.sleep(1)


@pytest.fixture
async def runner() -> AsyncIterator[WorkerRunner]:
    """Open a runner in a fixture's own task."""
    async with open_runner(Relay("relay")) as runner:
        yield runner
    assert runner.stop_reason == StopReason("ended", "the block was left", runner.name)


@pytest.fixture
async def probe(runner: WorkerRunner) -> AsyncIterator[Probe]:
    """Add a probe, and see that it was taken along before the runner went."""
    probe = Probe("probe")
    await runner.add_workers(probe)
    yield probe
    assert runner.state is WorkerState.READY
    assert probe.none_left()


async def test_fixtures(runner: WorkerRunner, probe: Probe, autojump_clock: MockClock) -> None:
    """A runner may live in a fixture, and others may build on it (S-RUN-4)."""
    await runner.send(Tick(target="relay"))
    await probe.receive(Tick)


async def test_nursery(nursery: trio.Nursery) -> None:
    """pytest-trio's nursery may run a runner, and cancels it after the test (S-RUN-1)."""
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(Probe("probe"))
    assert await nursery.start(runner.run) is runner
    assert runner.state is WorkerState.READY


HEAD = """
import pytest
import trio
from trioworkers import BusDataMessage, Worker, WorkerRunner, handles, message, open_runner

@message
class Tick(BusDataMessage):
    pass

class Failing(Worker):
    @handles(Tick)
    async def tick(self, message):
        raise ValueError("broken")

@pytest.fixture
async def runner():
    async with open_runner(Failing("failing")) as runner:
        yield runner
"""


def run(pytester: pytest.Pytester, test: str) -> pytest.RunResult:
    """Run a test file with pytest-trio only, strict about warnings."""
    pytester.makepyfile(HEAD + test)
    return pytester.runpytest_inprocess(
        *("-p", "no:randomly"), *("-W", "error"), *("-o", "trio_mode=true")
    )


def test_crash_in_a_fixture(pytester: pytest.Pytester) -> None:
    """A worker that fails cancels the test that uses its runner, and fails it (S-RUN-4)."""
    result = run(
        pytester,
        """
async def test_crash(runner):
    await runner.send(Tick(target="failing"))
    await trio.sleep_forever()
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: broken", "*in worker runner-*/failing"])


def test_crash_in_the_nursery(pytester: pytest.Pytester) -> None:
    """A runner that crashes in pytest-trio's nursery fails the test (S-RUN-1)."""
    result = run(
        pytester,
        """
async def test_crash(nursery):
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(Failing("failing"))
    await nursery.start(runner.run)
    await runner.send(Tick(target="failing"))
    await trio.sleep_forever()
""",
    )
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ValueError: broken", "*in worker runner-*/failing"])


def test_failing_test(pytester: pytest.Pytester) -> None:
    """A test that fails by itself fails with its own error; the runner ends (S-RUN-4)."""
    result = run(
        pytester,
        """
async def test_fails(runner):
    assert runner is None

async def test_works(runner):
    assert runner is not None
""",
    )
    result.assert_outcomes(failed=1, passed=1)
    result.stdout.no_fnmatch_line("*ValueError*")
