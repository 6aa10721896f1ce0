"""The native dialect's session and a peer that says anything at all: a short run of the fuzzer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from benchmarks.fuzz_session import PromiseError, fuzz
from trioworkers.wire import session

FRAMES = 10_000


def test_whatever_a_peer_says() -> None:
    """S-PROXY-4: no frame makes a session raise, hold too much or say what it may not."""
    found = fuzz(FRAMES)
    assert found["frames"] >= FRAMES
    assert found["taken"] + found["refused"] + found["closed"] == found["frames"]
    assert found["refused"] > FRAMES / 50
    assert found["resumed"] > FRAMES / 50
    assert found["Arrived"] > FRAMES / 10
    assert found["peak_bytes"] < 2**20


def test_the_fuzzer_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    """S-PROXY-4: what leaves a session as an exception is found, and how to find it again is told."""

    def careless(frame: bytes) -> Iterator[Any]:
        raise ValueError(f"{len(frame)} bytes")

    monkeypatch.setattr(session.chunks, "parse", careless)
    with pytest.raises(PromiseError, match="in the conversation of seed 7"):
        fuzz(100, seed=7)
