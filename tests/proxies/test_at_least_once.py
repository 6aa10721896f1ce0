"""`delivery="at_least_once"`: a session goes on over the next connection, and nothing is lost."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.proxies.lasting import all_crossed, chaotic, until
from tests.proxies.pairs import Side


@pytest.mark.parametrize("seed", range(10))
async def test_a_thousand_cuts(
    seed: int, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """S-PROXY-8: cut a thousand times, a session loses, repeats and reorders nothing."""
    caplog.set_level(logging.ERROR, "trioworkers")
    async with chaotic(seed, 120) as (side, house, chaos):
        near, far = side.worker("acme"), Side(house.runner, None).worker("assistant")
        there = Side(house.runner, None)
        await side.runner.registry.wait_ready("assistant")
        await house.runner.registry.wait_ready("acme")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(near.talk)
            nursery.start_soon(far.talk)
            await until(lambda: chaos.cuts >= 100)
            near.busy = far.busy = False
        await all_crossed(near, far)
        await all_crossed(far, near)
        assert side.letters.take() == there.letters.take() == []
        assert side.proxy.link_statistics().resumed > 0
        assert side.proxy.link_statistics().sent_again > 0
