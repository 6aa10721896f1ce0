"""A sender is cancelled while its message is on its way, at every 1/64 of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio

from tests.proxies import links
from tests.proxies.links import Server
from tests.proxies.pairs import Side
from tests.proxies.relays import Relay
from tests.proxies.sockets import bridged, is_writing, squeeze, squeezed
from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Job,
    Worker,
    WorkerGoneError,
    handles,
    job,
    message,
)
from trioworkers.proxies import _link

pytestmark = pytest.mark.usefixtures("carrier")

SIZE = 1_000_000
POINTS = 64

REST = 47_000
"""Comes behind what is cut: so much the kernel may have taken that the relay has not."""

PARCELS = 7
"""More than an outbox holds: the last sender waits for room."""


@message
class Parcel(BusDataMessage):
    """What crosses."""

    n: int
    body: str = ""


@message
class Go(BusDataMessage):
    """Begin to send."""

    way: str


@message
class Stop(BusSystemMessage):
    """Cancel the turn."""


class Party(Worker):
    """Sends big messages when it is told to, and keeps what arrives."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.other = "assistant" if name == "acme" else "acme"
        self.arrived: list[int] = []
        self.outcomes: list[Any] = []
        self.news = trio.Event()

    def note(self, n: int, body: str) -> None:
        """Keep what has arrived, if it is whole."""
        assert body == str(n % 10) * len(body)
        assert len(body) in (0, SIZE + REST)
        self.arrived.append(n)
        self.tell()

    def tell(self) -> None:
        """Wake who waits for news."""
        self.news.set()
        self.news = trio.Event()

    async def until_over(self, count: int) -> None:
        """Wait until so many sends have an outcome."""
        while len(self.outcomes) < count:
            await self.news.wait()

    async def until_arrived(self, n: int) -> None:
        """Wait for a message."""
        while n not in self.arrived:
            await self.news.wait()

    @handles(Parcel)
    async def parcel(self, message: Parcel) -> None:
        self.note(message.n, message.body)

    @job()
    async def swallow(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        self.note(payload["n"], payload["body"])
        return {"n": payload["n"]}

    @handles(Go)
    async def go(self, message: Go) -> None:
        if message.way == "ask":
            await self.try_to(self.ask_big, 0)
        else:
            for n in range(PARCELS):
                await self.try_to(self.send_big, n)

    async def ask_big(self, n: int) -> Any:
        """Ask with a big payload."""
        return await self.ask(self.other, "swallow", {"n": n, "body": str(n) * (SIZE + REST)})

    async def send_big(self, n: int) -> str:
        """Send a big message."""
        await self.send(Parcel(target=self.other, n=n, body=str(n) * (SIZE + REST)))
        return "sent"

    async def try_to(self, act: Callable[[int], Awaitable[Any]], n: int) -> None:
        """Do it, and keep what comes of it."""
        try:
            self.outcomes.append(await act(n))
        except WorkerGoneError as error:
            self.outcomes.append(error)
        except trio.Cancelled:
            self.outcomes.append("cancelled")
            raise
        finally:
            self.tell()

    @handles(Stop, interrupt=True)
    async def stop_turn(self, message: Stop) -> None:
        pass


class Cut:
    """One way of stopping a sender, tried at some points; each over a connection of its own."""

    def __init__(
        self, server: Server, what: str, *, way: str = "ask", by: str = "acme", stalls: bool = False
    ) -> None:
        self.server, self.what, self.way, self.stalls = server, what, way, stalls
        self.by, self.to = by, "assistant" if by == "acme" else "acme"
        self.allowed: list[Any] = [{"n": 0}]

    async def sweep(self, points: range) -> None:
        """Try at these 64ths."""
        limiter = trio.CapacityLimiter(64 if self.stalls else 8)

        async def one(point: int) -> None:
            async with limiter:
                with trio.fail_after(30):
                    await self.at(point)

        async with trio.open_nursery() as nursery:
            for point in points:
                nursery.start_soon(one, point)

    async def at(self, point: int) -> None:
        """Stop the sender when so many 64ths of its message have left."""
        parties = {name: Party(name) for name in ("acme", "assistant")}
        async with bridged(self.server, *parties.values()) as (near, far, relay):
            flow = relay.up
            if self.by == "assistant":
                near, far, flow = far, near, relay.down
            squeeze(near)
            reached = trio.Event()
            flow.allow(max(1, point * SIZE // POINTS), reached.set)
            await near.runner.send(Go(target=self.by, way=self.way))
            await reached.wait()
            assert is_writing(near), f"nothing was cut at {point}"
            await self.stop(near)
            if not self.stalls:
                squeeze(near, 2**20)
                relay.allow_all()
            if self.what in ("turn", "worker"):
                await self.goes_on(near, far, parties[self.by], parties[self.to])
            else:
                await self.is_over(near, far, relay, parties[self.by], parties[self.to])
            assert not [each for each in far.letters.kept if each.reason == "undecodable"]

    async def stop(self, near: Side) -> None:
        """Do it."""
        match self.what:
            case "turn":
                await near.runner.send(Stop(target=self.by))
            case "worker":
                await near.runner.cancel_worker(self.by)
            case "end":
                await near.runner.end_worker(near.proxy.name)
            case _:
                await near.runner.cancel_worker(near.proxy.name)
        await trio.lowlevel.checkpoint()

    async def goes_on(self, near: Side, far: Side, sender: Party, receiver: Party) -> None:
        """Check that the link lives: the next message arrives, and what was sent before it."""
        if self.what == "worker":
            await sender.wait_stopped()
            await near.runner.add_workers(Party(self.by))
        await near.worker(self.by).send(Parcel(target=self.to, n=99))
        await receiver.until_arrived(99)
        while "cancelled" not in sender.outcomes:
            await sender.news.wait()
        if self.way == "send":
            sent = [n for n, each in enumerate(sender.outcomes) if each == "sent"]
            assert receiver.arrived == [*sent, 99]
        assert near.proxy.events == far.proxy.events == ["connected"]

    async def is_over(
        self, near: Side, far: Side, relay: Relay, sender: Party, receiver: Party
    ) -> None:
        """Check that both ends know that the link is over, and of each message what came of it."""
        await near.proxy.wait_stopped()
        relay.allow_all()
        await far.proxy.wait_stopped()
        assert near.proxy.events == far.proxy.events == ["connected", "disconnected"]
        assert self.to not in near.runner.registry
        assert self.by not in far.runner.registry
        await sender.until_over(1 if self.way == "ask" else PARCELS)
        dead = [each.message.n for each in near.letters.kept if isinstance(each.message, Parcel)]
        if self.way == "send":
            assert receiver.arrived + dead == list(range(PARCELS))
        else:
            (outcome,) = sender.outcomes
            assert isinstance(outcome, WorkerGoneError) or outcome in self.allowed
            if self.stalls:
                assert isinstance(outcome, WorkerGoneError)
                assert receiver.arrived == []


ENDS = ["end", "cancel"]
WHATS = ["turn", "worker", *ENDS]


def spread(what: str, step: int) -> range:
    """Take some of the points, for each way of stopping others."""
    return range(WHATS.index(what) * step // len(WHATS), POINTS, step)


@pytest.mark.parametrize("what", WHATS)
async def test_an_ask_that_is_cut(what: str) -> None:
    """S-PROXY-5: a sender cancelled in the middle of a frame cuts none; or the loss is reported."""
    await Cut(links.ours, what).sweep(range(POINTS))


@pytest.mark.parametrize("what", WHATS)
async def test_a_send_that_is_cut(what: str) -> None:
    """S-PROXY-5: of many messages that are sent, all those arrive whose `send` has returned."""
    await Cut(links.ours, what, way="send").sweep(spread(what, 16))


@pytest.mark.parametrize("what", WHATS)
async def test_an_ask_by_the_server_that_is_cut(what: str) -> None:
    """S-PROXY-5: the same for a server's worker."""
    await Cut(links.ours, what, by="assistant").sweep(spread(what, 8))


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("make_app", [links.fastapi_app, links.quart_app])
async def test_an_ask_under_hypercorn_that_is_cut(make_app: Any, what: str) -> None:
    """S-PROXY-5: the same where an ASGI server owns the socket."""
    cut = Cut(squeezed(make_app), what, by="assistant")
    # Quart tells of the end of a connection by cancelling its handler, and the session in it.
    cut.allowed += ["cancelled"] if make_app is links.quart_app else []
    await cut.sweep(spread(what, 8))


@pytest.mark.parametrize("what", ENDS)
@pytest.mark.parametrize("by", ["acme", "assistant"])
async def test_a_peer_that_takes_no_more(
    monkeypatch: pytest.MonkeyPatch, by: str, what: str
) -> None:
    """S-PROXY-5, S-PROXY-9: a frame that the peer does not take is lost, and that is reported."""
    monkeypatch.setattr(_link, "CLOSE_SECONDS", 0.2)
    await Cut(links.ours, what, by=by, stalls=True).sweep(spread(what, 4))
