"""Connections of every kind keep the same promises."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from tests.proxies.links import OPENERS, Opener
from trioworkers.proxies.transports import LinkClosed

each_kind = pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)


@each_kind
async def test_messages_arrive_in_order_both_ways(opener: Opener) -> None:
    """S-PROXY-5: each frame is a message of its own, in the order of sending; text comes as text."""
    async with opener() as (client, server):
        with trio.fail_after(5):
            for one, other in ((client, server), (server, client)):
                frames = [b"%d " % n * n for n in range(30)]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.send, frames[:7])
                    assert [await other.receive() for _ in frames[:7]] == frames[:7]
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.send, frames[7:])
                    assert [await other.receive() for _ in frames[7:]] == frames[7:]
