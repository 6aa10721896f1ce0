"""The pytest plugin: its fixtures, and what makes a test fail."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from trioworkers import BusDataMessage, WorkerRunner, WorkerState, message
from trioworkers.testing import DeadLetterLog, Probe

pytest_plugins = ["pytester"]


@message
class Tick(BusDataMessage):
    pass


class TestWorkerRunner:
    async def test_is_open(self, worker_runner: WorkerRunner) -> None:
        """The runner is ready and takes workers; nothing has to be closed (S-RUN-4)."""
        assert worker_runner.state is WorkerState.READY
        await worker_runner.add_workers(Probe("probe"))

    async def test_virtual_time(
        self, worker_runner: WorkerRunner, autojump_clock: MockClock
    ) -> None:
        """It works with a clock that jumps (S-RUN-4)."""
        began = trio.current_time()
        await trio.sleep(3600)
        assert trio.current_time() == began + 3600
        assert worker_runner.state is WorkerState.READY

    async def test_nursery(self, worker_runner: WorkerRunner, nursery: trio.Nursery) -> None:
        """Tasks in pytest-trio's nursery may use it until the test has ended (S-RUN-4)."""
        probe = Probe("probe")
        await worker_runner.add_workers(probe)
        nursery.start_soon(worker_runner.send, Tick(target="probe"))
        nursery.start_soon(trio.sleep_forever)
        await probe.receive(Tick)

    async def test_stopped_by_the_test(self, worker_runner: WorkerRunner) -> None:
        """A test may stop it itself (S-RUN-4)."""
        await worker_runner.cancel("enough")
        await worker_runner.wait_stopped()

    async def test_log(self, worker_runner: WorkerRunner, dead_letters: DeadLetterLog) -> None:
        """`dead_letters` is the log of this runner, before and after expecting (S-BUS-3)."""
        await worker_runner.send(Tick(target="nobody"))
        (letter,) = dead_letters.letters
        dead_letters.expect(letter.reason, Tick)


HEAD = """
import socket
import pytest
import trio
from trioworkers import BusDataMessage, Worker, WorkerRunner, handles, message
from trioworkers.testing import Probe

pytestmark = pytest.mark.trio

@message
class Tick(BusDataMessage):
    pass

class Failing(Worker):
    @handles(Tick)
    async def tick(self, message):
        raise ValueError("broken")

kept = []
"""


def run(pytester: pytest.Pytester, test: str, *args: str) -> pytest.RunResult:
    """Run a test file under the plugin, strict about warnings, without `trio_mode`."""
    pytester.makeconftest('pytest_plugins = ["trioworkers.testing.plugin"]')
    pytester.makepyfile(HEAD + test)
    return pytester.runpytest_inprocess("-p", "no:randomly", "-W", "error", *args)


class TestFailures:
    def test_leak(self, pytester: pytest.Pytester) -> None:
        """A test that leaves a socket open fails, the next one does not (S-RUN-3)."""
        result = run(
            pytester,
            """
async def test_leaks():
    kept.append(socket.socket())

async def test_does_not():
    pass

async def test_cleans_up():
    before = kept.pop()
    before.close()
""",
        )
        result.assert_outcomes(passed=3, errors=1)
        result.stdout.re_match_lines(
            [r"E +AssertionError: left behind: descriptor \d+ \(socket:.*"]
        )

    def test_leak_of_a_fixture(self, pytester: pytest.Pytester) -> None:
        """What a fixture of the test leaves is found too, what a wider one holds is not."""
        result = run(
            pytester,
            """
@pytest.fixture(scope="module")
def shared():
    with socket.socket() as sock:
        yield sock

@pytest.fixture
def leaking():
    kept.append(socket.socket())

async def test_shared(shared):
    pass

async def test_leaking(leaking):
    pass

async def test_cleans_up():
    kept.pop().close()
""",
        )
        result.assert_outcomes(passed=3, errors=1)

    def test_running_runner(self, pytester: pytest.Pytester) -> None:
        """A plain test that leaves a runner in an unfinished run fails (S-RUN-3)."""
        result = run(
            pytester,
            """
pytestmark = []

def test_guest():
    ready = []
    runner = WorkerRunner("guest", handle_sigint=False)
    trio.lowlevel.start_guest_run(
        runner.run, False, run_sync_soon_threadsafe=ready.append, done_callback=kept.append
    )
    while runner.state != "ready":
        ready.pop(0)()
    kept.append(runner)
    kept.append(ready)

def test_cleans_up():
    runner, ready = kept
    runner._root.end(None, 1, "test")
    while len(kept) < 3:
        if ready:
            ready.pop(0)()
""",
        )
        result.assert_outcomes(passed=2, errors=1)
        result.stdout.fnmatch_lines(["E *left behind: runner 'guest' is still running*"])

    def test_unexpected_dead_letter(self, pytester: pytest.Pytester) -> None:
        """A dead letter that nobody expected fails the test (S-BUS-3)."""
        result = run(
            pytester,
            """
async def test_letter(worker_runner):
    await worker_runner.send(Tick(target="nobody"))
""",
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*AssertionError: unexpected dead letter (unknown): Tick(*"])

    def test_missing_dead_letter(self, pytester: pytest.Pytester) -> None:
        """A dead letter that was expected and did not come fails the test (S-BUS-3)."""
        result = run(
            pytester,
            """
async def test_letter(worker_runner, dead_letters):
    dead_letters.expect("unknown", Tick)
""",
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(
            ["*AssertionError: no dead letter (unknown) of type Tick came*"]
        )

    def test_crash(self, pytester: pytest.Pytester) -> None:
        """A worker that fails cancels the test and fails it with its exception (S-LIFE-10)."""
        result = run(
            pytester,
            """
async def test_crash(worker_runner, dead_letters):
    dead_letters.expect("crashed")
    await worker_runner.add_workers(Failing("failing"))
    await worker_runner.send(Tick(target="failing"))
    await trio.sleep_forever()
""",
        )
        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*ValueError: broken", "*in worker runner-*/failing"])

    def test_left_by_the_runner(self, pytester: pytest.Pytester) -> None:
        """What the runner of `worker_runner` leaves in a table fails the test (S-RUN-3)."""
        result = run(
            pytester,
            """
pytestmark = []

async def test_table(worker_runner):
    worker_runner.bus.open_requests["forgotten"] = object()
    kept.append(worker_runner.bus)

def test_cleans_up():
    kept.pop().open_requests.clear()
""",
            "-o",
            "trio_mode=true",
        )
        result.assert_outcomes(failed=1, errors=1, passed=1)
        result.stdout.fnmatch_lines(["*LocalBus of runner 'runner-*' still holds open_requests*"])

    def test_check_can_be_replaced(self, pytester: pytest.Pytester) -> None:
        """A module that has its own `check_leaks` is not checked."""
        result = run(
            pytester,
            """
@pytest.fixture
def check_leaks():
    pass

async def test_leaks():
    kept.append(socket.socket())

async def test_cleans_up():
    kept.pop().close()
""",
        )
        result.assert_outcomes(passed=2)

    def test_trio_mode(self, pytester: pytest.Pytester) -> None:
        """With `trio_mode`, tests and fixtures are the same (S-RUN-4)."""
        result = run(
            pytester,
            """
pytestmark = []

async def test_mode(worker_runner, autojump_clock):
    await worker_runner.add_workers(Probe("probe"))
    await trio.sleep(60)

def test_plain():
    pass
""",
            "-o",
            "trio_mode=true",
        )
        result.assert_outcomes(passed=2)
