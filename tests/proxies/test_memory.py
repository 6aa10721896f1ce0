"""A connection within a process, for tests of what uses connections."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trioworkers.proxies._memory import memory_transports
from trioworkers.proxies.transports import LinkClosed


async def test_a_full_buffer_makes_the_sender_wait(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """S-PROXY-5: of a connection in memory, too, a reader that stops is felt by the sender."""
    one, two = memory_transports(capacity=2)
    with trio.move_on_after(5) as scope:
        await one.send([b"1", b"2", b"3"])
    assert scope.cancelled_caught
    assert [await two.receive(), await two.receive()] == [b"1", b"2"]
    await one.send([b"4"])
    assert await two.receive() == b"4"


async def test_a_frozen_end_is_silent(autojump_clock: trio.testing.MockClock) -> None:
    """S-PROXY-5: a peer that was stopped takes, answers and sends nothing, and tells nobody."""
    one, two = memory_transports()
    two.freeze()
    await one.send([b"kept"])
    for wait in (one.ping, two.receive, one.receive, one.close):
        with trio.move_on_after(60) as scope:
            await wait()
        assert scope.cancelled_caught
    with trio.move_on_after(60) as scope:
        await two.send([b"x"])
    assert two.lost is None
    two.thaw()
    assert await two.receive() == b"kept"
    with pytest.raises(LinkClosed, match="closed by peer"):
        await two.receive()


async def test_a_frozen_end_that_goes_tells_nobody(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """S-PROXY-5: an end that is dropped while it is frozen is like a cable that was cut."""
    one, two = memory_transports()
    two.freeze()
    await two.abort()
    with trio.move_on_after(60) as scope:
        await one.receive()
    assert scope.cancelled_caught


@pytest.mark.parametrize("ending", ["close", "abort"])
async def test_whoever_waits_is_woken(ending: str) -> None:
    """S-PROXY-3: the end of the connection wakes senders, receivers and those who ping."""
    one, two = memory_transports(capacity=1)
    woken: list[str] = []

    async def wait(name: str, what: object) -> None:
        assert callable(what)
        with pytest.raises(LinkClosed):
            await (what([b"a", b"b"]) if name == "send" else what())  # pyright: ignore[reportGeneralTypeIssues]
        woken.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "send", one.send)
        nursery.start_soon(wait, "receive", one.receive)
        two.freeze()
        nursery.start_soon(wait, "ping", one.ping)
        await wait_all_tasks_blocked()
        if ending == "abort":
            await one.abort()
        else:
            nursery.start_soon(one.close)
            await wait_all_tasks_blocked()
            await two.abort()
    assert sorted(woken) == ["ping", "receive", "send"]


async def test_subprotocols() -> None:
    """S-PROXY-4: a connection in memory checks offers as others do."""
    one, _ = memory_transports()
    with pytest.raises(ValueError, match="not offered"):
        await one.accept("a")
    one.offers = ("a",)
    await one.accept("a")
    assert one.subprotocol == "a"
    await one.send_text("x")
