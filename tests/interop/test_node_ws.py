"""Node's `ws` as a client of our server."""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop import foreign
from tests.interop.peers import WS, need, script

need(WS)

COMMAND = (WS.node or "node", script("ws_client_peer.js"))
ENVIRON = {"NODE_PATH": str(WS.folder / "node_modules")}


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_recorded_conversation(text: bool) -> None:
    """S-PROXY-7, S-PROXY-5: a Node client is understood, in binary and in text frames."""
    await foreign.check_conversation(*COMMAND, text=text, **ENVIRON)


@pytest.mark.parametrize("order", [{"close": 1000}, {"close": 4000}, {"abort": True}], ids=str)
async def test_loss_in_mid_job(order: dict[str, Any]) -> None:
    """S-PROXY-3: a Node client that leaves in mid-job has its job cancelled."""
    await foreign.check_loss(*COMMAND, order=order, **ENVIRON)


async def test_sizes() -> None:
    """S-PROXY-4: messages of all sizes up to the limit pass, and no bigger ones."""
    await foreign.check_sizes(*COMMAND, **ENVIRON)
