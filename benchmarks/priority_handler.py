"""What a data handler does in `priority.py`, on all sides that run in trio."""

from __future__ import annotations

import trio

from .latency import spin


async def work(handler: str, cost: float) -> None:
    """Compute, sleep, or wait until something interrupts it.

    Args:
        handler: which of these: `busy`, `sleeping`, `blocked`.
        cost: for how many seconds.
    """
    if handler == "blocked":
        await trio.sleep_forever()
    elif cost and handler == "busy":
        spin(cost)
    elif cost:
        await trio.sleep(cost)
