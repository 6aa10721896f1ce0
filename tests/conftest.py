"""Every test checks that it leaves nothing behind, and a virtual clock goes for slices as well."""

from __future__ import annotations

import pytest

from trioworkers import _clock

pytest_plugins = ["trioworkers.testing.plugin"]

VIRTUAL = {"autojump_clock", "mock_clock"}


@pytest.fixture(autouse=True)
def slices_of_virtual_time(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the slice clock stand still where trio's is virtual.

    Otherwise a busy machine ends a slice early, and what is asserted about the order in which
    things happen depends on how busy it is.  Tests of slices set the clock by hand.
    """
    if VIRTUAL.intersection(request.fixturenames):
        monkeypatch.setattr(_clock, "slice_clock", lambda: 0.0)
