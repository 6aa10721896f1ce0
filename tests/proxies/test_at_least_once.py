"""`delivery="at_least_once"`: a session goes on over the next connection, and nothing is lost."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import trio
import trio.testing

from tests.proxies.lasting import Party, chaotic, until
from tests.proxies.pairs import Side


@pytest.mark.parametrize("seed", range(10))
async def test_a_thousand_cuts(
    seed: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S-PROXY-8: cut a thousand times, a session loses, repeats and reorders nothing."""
    caplog.set_level(logging.ERROR, "trioworkers")
    async with chaotic(seed, 120) as (side, house, chaos):
        near, far = side.worker("acme"), house.runner.bus.route("assistant").worker
        there = Side(house.runner, None)
        parties: list[Party] = [near, far]
        await side.runner.registry.wait_ready("assistant")
        await house.runner.registry.wait_ready("acme")
        async with trio.open_nursery() as nursery:
            for party in parties:
                nursery.start_soon(party.talk)
            await until(lambda: chaos.cuts >= 100)
            for party in parties:
                party.busy = False
        for one, other in ((near, far), (far, near)):
            await until(lambda: len(other.told) >= one.sent["told"])
            assert other.told == list(range(one.sent["told"]))
            assert other.alerts == list(range(one.sent["alert"]))
            assert len(one.outcomes) == one.sent["job"]
            assert set(one.outcomes.values()) == {1}
            assert set(other.run_here.values()) == {1}
            assert one.outcomes.keys() >= other.run_here.keys()
            await until(lambda: other.cut_short == other.begun)
        assert side.letters.take() == there.letters.take() == []
