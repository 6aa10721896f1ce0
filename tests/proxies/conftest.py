"""What the tests of proxies share with pytest."""

from __future__ import annotations

import pytest

from tests.proxies import links


@pytest.fixture(params=["trio-websocket", "websockets"])
def carrier(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice: connections of ours are carried by one library, then by the other."""
    monkeypatch.setattr(links, "CARRIER", request.param)
    return str(request.param)


@pytest.fixture(params=["native", "pipecat"])
def dialect(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a test twice: both ends of each link speak one dialect, then the other."""
    monkeypatch.setattr(links, "DIALECT", request.param)
    return str(request.param)
