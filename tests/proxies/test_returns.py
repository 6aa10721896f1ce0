"""How a client that comes back finds its session, and the session its client."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import trio
import trio.testing

from trioworkers.proxies._memory import memory_transports
from trioworkers.proxies._sessions import Returns, _proxy_of, forget, keep
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind
from trioworkers.wire.epoch import Epoch


class Proxy:
    """Stands where a proxy is that can go on."""

    async def go_on(self, transport: Any) -> None:
        raise AssertionError


def met(meeting: str) -> Epoch:
    """Return an epoch whose sides have met there."""
    epoch = Epoch("server", keeping=True)
    epoch.meeting = meeting
    return epoch


def found(**said: Any) -> Any:
    """Return whose session a client wants that says this hello."""
    return _proxy_of(chunks.write_json(Kind.HELLO, said))


@pytest.fixture
async def proxy() -> Any:
    """Make a proxy that nobody finds afterwards."""
    return Proxy()


async def test_a_client_finds_its_session(proxy: Any) -> None:
    """S-PROXY-8: by where both have met, or, if it has not heard of that, by its own name."""
    keep(met("server.1 secret.1"), proxy)
    assert found(name="secret.2", meeting="server.1 secret.1") is proxy
    assert found(name="secret.2", meeting=None) is proxy
    assert found(name="other.1", meeting="server.1 secret.1") is proxy
    assert found(name="other.1", meeting=None) is None
    forget(proxy)
    assert found(name="secret.2", meeting="server.1 secret.1") is None


@pytest.mark.parametrize("name", ["None.1", "server.1 secret.1.1", ".1", "null.1", "1.1"])
async def test_no_client_gets_into_the_session_of_another(proxy: Any, name: str) -> None:
    """S-PROXY-11: what a client calls itself is never what another one asks for."""
    keep(met(f"server.1 {name}"), proxy)
    for meeting in (None, "None", 1, "server.1 secret.1", [], {}):
        assert found(name="victim.1", meeting=meeting) is None
    assert found(name=None, meeting=None) is None
    assert found(name=1, meeting=1.1) is None
    forget(proxy)


@pytest.fixture
def ends() -> Iterator[list[Any]]:
    """Make some connections."""
    return iter([list(memory_transports()) for _ in range(2)])


async def test_what_was_withdrawn_is_not_waited_for_less(
    autojump_clock: trio.testing.MockClock, ends: Iterator[list[Any]]
) -> None:
    """S-PROXY-8: a connection that was taken back before anybody looked leaves the time as it was."""
    returns = Returns()
    first, second = next(ends)[0], next(ends)[0]
    got: list[Any] = []

    async def wait() -> None:
        got.append(await returns.take(trio.current_time() + 30))

    async with trio.open_nursery() as nursery:
        assert returns.withdraw(returns.offer(first))
        nursery.start_soon(wait)
        await trio.sleep(10)
        # In one step, so that the one who waits is awake already.
        assert returns.withdraw(returns.offer(first))
        await trio.sleep(10)
        over = returns.offer(second)
    assert got == [(second, over)]
    assert trio.current_time() == 20


async def test_nobody_waits_longer_than_allowed(autojump_clock: trio.testing.MockClock) -> None:
    """S-PROXY-8: who is given up, and whose time is over, waits no more; a later one may."""
    returns = Returns()
    assert await returns.take(trio.current_time() + 30) is None
    assert trio.current_time() == 30
    returns.give_up()
    assert await returns.take(trio.current_time() + 30) is None
    assert trio.current_time() == 30
    async with trio.open_nursery() as nursery:
        nursery.start_soon(returns.take, 1000)
        await trio.sleep(1)
        returns.give_up()
    assert trio.current_time() == 31
