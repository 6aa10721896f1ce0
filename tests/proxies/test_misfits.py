"""What cannot be used, written or read harms its own message or job, and nothing else."""

from __future__ import annotations

from typing import Any

import attrs

from tests.proxies.portals import peer_of
from trioworkers import BusActivateWorkerMessage, Worker


@attrs.frozen
class Briefing:
    text: str


class Briefed(Worker):
    """Cannot be activated without a briefing."""

    async def on_activated(self, args: Briefing) -> None: ...


async def test_an_activation_without_needed_arguments(autojump_clock: Any) -> None:
    """S-LIFE-6: a peer that activates without the needed arguments does not end the worker."""
    worker = Briefed("acme", active=False)
    async with peer_of(worker) as peer:
        peer.tell(BusActivateWorkerMessage)
        await peer.heard()
        assert [reason for reason, _ in peer.letters.take()] == ["bad payload"]
        peer.tell(BusActivateWorkerMessage, args={"text": "x"})
        await peer.heard()
        assert worker.active
        peer.tell(BusActivateWorkerMessage)
        await peer.heard()
        assert [reason for reason, _ in peer.letters.take()] == ["bad payload"]
