"""A pytest plugin: fixtures for runners, and a check that no test leaves anything behind.

Turn it on with `pytest_plugins = ["trioworkers.testing.plugin"]` in the top `conftest.py`.  It
needs pytest-trio; async tests are marked `@pytest.mark.trio`, or `trio_mode` is set.

It gives two fixtures to ask for, `worker_runner` and `dead_letters`, and one that every test has:
`check_leaks`, which is `no_leaks()` round the test and its other fixtures.  A fixture of that name
in a conftest or test module replaces it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from .. import WorkerRunner, open_runner
from . import _inside
from ._dead_letters import DeadLetterLog
from ._leaks import no_leaks

__all__ = ["check_leaks", "dead_letters", "worker_runner"]


@pytest.fixture(autouse=True)
def check_leaks() -> Iterator[None]:
    """Check that the test leaves no thread, descriptor or running runner behind.

    The tasks of a trio test end with it in any case; that is what nurseries are for.
    """
    with no_leaks():
        yield


@pytest.fixture
def dead_letters() -> DeadLetterLog:
    """Give the log of the dead letters of `worker_runner`: `dead_letters.expect("unknown")`."""
    return DeadLetterLog()


@pytest.fixture
async def worker_runner(dead_letters: DeadLetterLog) -> AsyncIterator[WorkerRunner]:
    """Open a runner for the time of the test: `await worker_runner.add_workers(...)`.

    Ends it after the test.  The test fails if a worker fails, if the runner leaves anything
    behind, or on dead letters that `dead_letters` does not expect.
    """
    async with open_runner() as runner:
        runner.add_instrument(dead_letters)
        yield runner
    left = _inside.leftovers(runner)
    if left:
        raise AssertionError("left behind: " + "; ".join(left))
    dead_letters.check()
