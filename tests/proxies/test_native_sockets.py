"""What of the native dialect depends on real sockets."""

from __future__ import annotations

import pytest
import trio

from tests.jobs import Note
from tests.proxies import links
from tests.proxies.pairs import KNOWN
from tests.proxies.sockets import Sessions, TcpClient
from trioworkers import JSONMessageSerializer, Worker, open_runner
from trioworkers.testing import Probe
from trioworkers.wire import Limits

pytestmark = [pytest.mark.usefixtures("carrier", "dialect"), links.NATIVE_ONLY]


async def test_a_client_of_small_messages() -> None:
    """S-PROXY-4, S-PROXY-6: frames may be bigger than a message: they hold many."""
    small = JSONMessageSerializer(messages=KNOWN, limits=Limits(message_size=500))
    sessions = Sessions(Worker("assistant"), serializer=JSONMessageSerializer(messages=KNOWN))
    acme = Probe("acme", hears=[Note])
    async with links.ours(sessions) as port:
        proxy = TcpClient(port, serializer=small)
        async with open_runner(acme, proxy) as runner:
            side = await sessions.side()
            with trio.fail_after(30):
                await runner.registry.wait_ready("assistant")
                await side.runner.registry.wait_ready("acme")
                for n in range(200):
                    await side.worker("assistant").send(Note(target="acme", n=n))
                assert [(await acme.receive(Note)).n for _ in range(200)] == list(range(200))
            assert proxy.connected
            sessions.over.set()
