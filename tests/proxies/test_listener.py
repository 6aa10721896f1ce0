"""A listening socket that lets Hypercorn end whatever its peers do."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing
from hypercorn.config import Config
from hypercorn.trio import serve

from tests.proxies.links import Meeting, fastapi_app, quart_app
from tests.proxies.test_transports import REQUEST, ended
from trioworkers.proxies import open_guarded_listener
from trioworkers.proxies.transports import LinkClosed, transport_for

pytestmark = pytest.mark.skipif(
    not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs TCP_USER_TIMEOUT"
)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
async def test_what_it_gives(host: str) -> None:
    """S-PROXY-11: the socket listens at the address, with the timeout that its connections get."""
    async with open_guarded_listener(host, 0, user_timeout=1.5) as listener:
        assert listener.bind == f"fd://{listener.fd}"
        with socket.socket(fileno=os.dup(listener.fd)) as sock:
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1500
            assert sock.getsockname()[:2] == (listener.host, listener.port)
        async with await trio.open_tcp_stream(listener.host, listener.port):
            pass


async def test_the_server_owns_the_socket() -> None:
    """S-PROXY-11: closed by the server, the descriptor's number may be another file's by then."""
    async with open_guarded_listener("127.0.0.1", 0) as listener:
        os.close(listener.fd)
        again = os.open("/dev/null", os.O_RDONLY)
        assert again == listener.fd
    os.fstat(again)
    os.close(again)
    async with open_guarded_listener("127.0.0.1", 0) as listener:
        os.close(listener.fd)


@pytest.mark.parametrize(
    ("port", "error"),
    [
        *((number, ValueError) for number in (65_536, 99_999, -1)),
        *((wrong, TypeError) for wrong in (True, "80", 1.5, None)),
    ],
)
async def test_ports_that_do_not_exist(port: Any, error: type[Exception]) -> None:
    """S-PROXY-11: a number that is no port is an error, and not taken for another one."""
    with pytest.raises(error, match=f"port must be .* {port!r}"):
        async with open_guarded_listener("127.0.0.1", port):
            pass


async def test_addresses_that_cannot_be_had() -> None:
    """S-PROXY-11: an address that is taken is an error that names it, and leaves no socket."""
    async with open_guarded_listener(None, 0) as listener:
        with pytest.raises(OSError, match=rf"cannot listen at .*:{listener.port}: "):
            async with open_guarded_listener(listener.host, listener.port):
                pass
    with pytest.raises(OSError, match=r"not known|resolution|address"):
        async with open_guarded_listener("no.such.host.invalid", 0):
            pass


@pytest.mark.parametrize("seconds", [0, -1, 0.0001, float("nan")])
async def test_timeouts_that_are_none(seconds: float) -> None:
    """S-PROXY-11: no timeout at all would be no guard."""
    with pytest.raises(ValueError, match=r"at least 0\.001 seconds"):
        async with open_guarded_listener("127.0.0.1", 0, user_timeout=seconds):
            pass


async def test_a_platform_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """S-PROXY-11: where there is no TCP_USER_TIMEOUT the error says so, and what else there is."""
    monkeypatch.delattr(socket, "TCP_USER_TIMEOUT")
    with pytest.raises(OSError, match=r"no TCP_USER_TIMEOUT: use serve_proxies\(\)"):
        async with open_guarded_listener("127.0.0.1", 0):
            pass


class Talker(Meeting):
    """Sends without end from inside the handler, as a proxy in a runner there does."""

    async def host(self, websocket: Any) -> None:
        """Send and receive until the connection is over."""
        transport = transport_for(websocket)
        await transport.accept()
        await self._give.send(transport)

        async def send() -> None:
            with contextlib.suppress(LinkClosed):
                while True:
                    await transport.send([b"x" * 100_000])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await ended(transport, within=20)


async def stalled_hypercorn(
    make_app: Callable[[Meeting], Any], ending: str, user_timeout: float, within: float
) -> None:
    """Run Hypercorn with a peer that does not read, and end it."""
    talker, stop, over = Talker(), trio.Event(), trio.Event()
    config = Config()
    config.accesslog = config.errorlog = None
    config.graceful_timeout = 0.1
    async with open_guarded_listener("127.0.0.1", 0, user_timeout=user_timeout) as listener:
        config.bind = [listener.bind]

        async def run(task_status: trio.TaskStatus[list[str]]) -> None:
            try:
                app = make_app(talker)
                await serve(app, config, shutdown_trigger=stop.wait, task_status=task_status)
            finally:
                over.set()

        async with trio.open_nursery() as nursery:
            await nursery.start(run)
            with trio.socket.socket() as sock:
                # Small, so that little fits in.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await sock.connect((listener.host, listener.port))
                await sock.send(REQUEST)
                await talker.arrive()
                await trio.testing.wait_all_tasks_blocked(0.05)
                if ending == "cancel":
                    nursery.cancel_scope.cancel()
                else:
                    stop.set()
                deadline = trio.current_time() + within
                with trio.CancelScope(shield=True, deadline=deadline) as waiting:
                    await over.wait()
    assert not waiting.cancelled_caught, "it ended only when the peer had gone"


@pytest.mark.parametrize("ending", ["cancel", "shutdown"])
@pytest.mark.parametrize("make_app", [fastapi_app, quart_app])
async def test_hypercorn_ends_although_a_peer_has_stopped_reading(
    make_app: Callable[[Meeting], Any], ending: str
) -> None:
    """S-PROXY-11: with the guarded listener, cancelling and shutting down Hypercorn both end it."""
    await stalled_hypercorn(make_app, ending, user_timeout=0.3, within=30)


async def test_without_a_guard_it_does_not() -> None:
    """S-PROXY-11: the guard is needed; with a timeout too long for this test Hypercorn hangs."""
    with pytest.raises(AssertionError, match="only when the peer had gone"):
        await stalled_hypercorn(fastapi_app, "cancel", user_timeout=60, within=1)
