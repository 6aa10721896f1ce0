"""Sessions come and go, in good ways and bad ones, and leave nothing behind."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.jobs import outcome_of
from tests.proxies.attackers import ECHO, Attacker, built, frame
from tests.proxies.links import reset
from tests.proxies.serving import connected, knock, request, serving
from trioworkers import Worker, open_runner
from trioworkers.proxies import ProxyListener, WebSocketProxyServer, bearer_token
from trioworkers.proxies._memory import memory_transports

pytestmark = pytest.mark.usefixtures("carrier", "dialect")

Way = Callable[[ProxyListener], Awaitable[None]]
TIMES = 20


async def over_memory(listener: ProxyListener) -> None:
    """Open and close a session without a socket."""
    near, far = memory_transports()
    proxy = WebSocketProxyServer(
        "gateway", websocket=near, worker_name="assistant", remote_worker_name="acme"
    )
    async with open_runner(Worker("assistant"), Worker("helper"), proxy):
        await far.receive()
        await far.close()
        await proxy.wait_stopped()


async def with_a_job(listener: ProxyListener) -> None:
    """Have a whole client, which asks for a job."""
    async with connected(listener) as acme:
        assert await acme.ask("assistant", "echo", {"n": 1}) == {"n": 1}


async def crash(listener: ProxyListener) -> None:
    """Let the session's worker crash while it has a job."""
    async with connected(listener) as acme:
        assert isinstance(await outcome_of(acme.ask("assistant", "echo", {"crash": 1})), Exception)


async def leave(listener: ProxyListener, *pieces: bytes, how: str = "close") -> None:
    """Connect, send bytes, and leave."""
    stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
    assert (await knock(stream))[0] == 101
    attacker = Attacker(stream)
    await attacker.hear("BusWorkerRegistryMessage")
    await attacker.send(*pieces)
    if how == "wait":
        await attacker.until_closed()
    if how == "reset":
        reset(stream)
    await stream.aclose()


async def in_the_handshake(listener: ProxyListener, data: bytes) -> None:
    """Send something instead of a handshake, and leave."""
    async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(data)
            await stream.send_eof()
            while await stream.receive_some():
                pass


async def refused(listener: ProxyListener) -> None:
    """Have a wrong token."""
    await in_the_handshake(listener, request("Authorization: Bearer y"))


HANG = built("BusJobRequestMessage", job_id="j", job_name="echo", payload={"crash": 0})
WAYS: dict[str, Way] = {
    "over memory": over_memory,
    "with a job": with_a_job,
    "a crash": crash,
    "a client that drops": lambda listener: leave(listener, frame(ECHO)),
    "a client that resets": lambda listener: leave(listener, frame(HANG), how="reset"),
    "a client that closes": lambda listener: leave(listener, frame(b"", 8), how="wait"),
    "a client that stops in a frame": lambda listener: leave(listener, frame(ECHO)[:20]),
    "a wrong frame": lambda listener: leave(listener, frame(ECHO, 3), how="wait"),
    "a frame too big": lambda listener: leave(listener, frame(b"x" * 70_000), how="wait"),
    "much garbage": lambda listener: leave(listener, *[frame(b"x")] * 40, how="wait"),
    "many jobs": lambda listener: leave(listener, *[frame(HANG)] * 300),
    "no handshake": lambda listener: in_the_handshake(listener, b"hello\r\n\r\n"),
    "half a handshake": lambda listener: in_the_handshake(listener, request()[:40]),
    "a wrong token": refused,
    "no words": lambda listener: in_the_handshake(listener, b""),
}


async def what_is_left(way: Way, listener: ProxyListener) -> dict[str, int]:
    """Return the kinds of objects of which each of some sessions has left one, or more."""

    async def some() -> None:
        for _ in range(TIMES):
            with trio.fail_after(5):
                await way(listener)
        await trio.testing.wait_all_tasks_blocked(0.005)
        gc.collect()

    await some()
    # What was there before is not looked at again, which is the greater part of it by far.
    gc.freeze()
    try:
        await some()
        gc.collect()
        found = Counter(type(each).__name__ for each in gc.get_objects())
    finally:
        gc.unfreeze()
    del found["ReferenceType"]  # the check for leaks remembers all runners
    return {kind: number for kind, number in found.items() if number >= TIMES}


@pytest.mark.parametrize("way", WAYS.values(), ids=list(WAYS))
async def test_nothing_is_left(way: Way, caplog: pytest.LogCaptureFixture) -> None:
    """S-PROXY-1: however sessions begin and end, no object stays behind for each."""
    caplog.set_level(logging.CRITICAL, "trioworkers")  # the records would be kept
    token = bearer_token("x") if way is refused else None
    async with serving(max_message_size=65_536, authenticate=token) as listener:
        assert await what_is_left(way, listener) == {}


async def test_many_sessions_at_once() -> None:
    """S-PROXY-1: sessions beside each other, each with a job, do not disturb each other."""
    async with serving() as listener, trio.open_nursery() as nursery:

        async def one(n: int) -> None:
            async with connected(listener) as acme:
                assert await acme.ask("assistant", "echo", {"n": n}) == {"n": n}

        for n in range(50):
            nursery.start_soon(one, n)
