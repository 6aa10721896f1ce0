"""Messages that are handed over as they come."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tests.proxies.links import OPENERS, Opener, send_text
from trioworkers.errors import RemoteWireError
from trioworkers.proxies._transport import LinkClosed, Transport

each_kind = pytest.mark.parametrize("opener", OPENERS.values(), ids=OPENERS)

BIG = b"0123456789abcdef" * 60_000
FRAMES = [BIG if n == 40 else b"%d" % n for n in range(200)]


class Taker:
    """Takes messages until the last one, and no longer."""

    def __init__(self, last: bytes) -> None:
        self.taken: list[bytes | str] = []
        self.last = last
        self.done = trio.Event()

    def take(self, message: bytes | str) -> None:
        """Take one."""
        assert not self.done.is_set()
        self.taken.append(message)
        if message == self.last:
            self.done.set()
            raise RemoteWireError("enough")


@each_kind
async def test_messages_are_handed_over_in_order(opener: Opener) -> None:
    """S-PROXY-5: text and binary messages, small and big ones, keep their order both ways."""
    async with opener() as (client, server):
        with trio.fail_after(10):
            for one, other in ((client, server), (server, client)):
                taker = Taker(b"199")
                await one.send(FRAMES[:1])
                assert await other.receive() == b"0"
                async with trio.open_nursery() as nursery:

                    async def talk(one: Transport = one) -> None:
                        for start in range(1, 200, 50):
                            await one.send(FRAMES[start : start + 25])
                            if one is client:
                                await send_text(one, f"after {start}")
                            await one.send(FRAMES[start + 25 : start + 50])

                    nursery.start_soon(talk)
                    with pytest.raises(RemoteWireError, match="enough"):
                        await other.pump(taker.take)
                assert [each for each in taker.taken if isinstance(each, bytes)] == FRAMES[1:]
                if one is client:
                    places = [taker.taken.index(f"after {n}") for n in range(1, 200, 50)]
                    assert places == [25, 76, 127, 178]


@each_kind
async def test_who_has_refused_a_message_gets_no_more(opener: Opener) -> None:
    """S-PROXY-5: after what `take` has raised, the connection can still be closed in order."""
    async with opener() as (client, server):
        taker = Taker(b"70")
        with trio.fail_after(10):
            await client.send(FRAMES[60:75])
            with pytest.raises(RemoteWireError, match="enough"):
                await server.pump(taker.take)
            assert taker.taken == FRAMES[60:71]
            ends: list[LinkClosed] = []

            async def end() -> None:
                with pytest.raises(LinkClosed) as caught:
                    await client.pump(taker.take)
                ends.append(caught.value)

            async with trio.open_nursery() as nursery:
                nursery.start_soon(end)
                await server.close(1008, "too much")
            assert (ends[0].code, ends[0].reason) == (1008, "too much")


@each_kind
async def test_pumping_ends_with_its_task(opener: Opener) -> None:
    """S-PROXY-5: nothing is handed over to a task that was cancelled; it can be received later."""
    async with opener() as (client, server):
        taken: list[bytes | str] = []
        with trio.fail_after(10):
            with trio.CancelScope() as scope:
                await client.send([b"first"])

                def take(message: bytes | str) -> None:
                    taken.append(message)
                    scope.cancel()

                await server.pump(take)
            assert taken == [b"first"]
            await client.send([b"second"])
            assert await server.receive() == b"second"
            assert taken == [b"first"]


@each_kind
async def test_a_mistake_in_take_is_raised(opener: Opener) -> None:
    """S-PROXY-5: what `take` raises by mistake comes out where the messages are asked for."""
    async with opener() as (client, server):
        taken: list[bytes | str] = []
        again = trio.Event()

        def take(message: bytes | str) -> None:
            taken.append(message)
            again.set()
            if message == b"second":
                raise ZeroDivisionError

        async def talk() -> None:
            await client.send([b"first"])
            await again.wait()
            await trio.testing.wait_all_tasks_blocked()
            await client.send([b"second"])

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                with pytest.raises(ZeroDivisionError):
                    await server.pump(take)
        assert taken == [b"first", b"second"]


@each_kind
async def test_others_have_their_turn_where_that_is_asked_for(opener: Opener) -> None:
    """S-PROXY-5: what has to take effect before the next message gets the time for it."""
    async with opener() as (client, server):
        turns = 0
        seen: list[int] = []

        async def others() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        def take(message: bytes | str) -> bool:
            seen.append(turns)
            if message == b"end":
                raise RemoteWireError("enough")
            return True

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(others)
                nursery.start_soon(client.send, [*FRAMES[60:70], b"end"])
                with pytest.raises(RemoteWireError):
                    await server.pump(take)
                nursery.cancel_scope.cancel()
        # Who comes first in a pass of the scheduler is random.
        assert seen[-1] - seen[0] >= 9
