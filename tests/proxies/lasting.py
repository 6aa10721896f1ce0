"""Two runners with a session that outlives its connections, and a network that cuts them."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from math import inf
from typing import Any

import attrs
import trio

from tests.proxies.pairs import LoggedClient, LoggedServer, Network, Side, guarded
from trioworkers import (
    Backoff,
    BusDataMessage,
    BusSystemMessage,
    Job,
    JSONMessageSerializer,
    NameTakenError,
    Restart,
    Worker,
    WorkerRunner,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyServer, continue_session, serve_proxies
from trioworkers.proxies._memory import MemoryTransport, _Wire
from trioworkers.proxies._transport import LinkClosed, Transport


@message
class Told(BusDataMessage):
    n: int = 0
    text: str = ""


@message
class Alert(BusSystemMessage):
    n: int = 0


def serializer() -> JSONMessageSerializer:
    """Return one that knows the messages of these tests."""
    return JSONMessageSerializer(messages=[Told, Alert])


LASTING: dict[str, Any] = {"delivery": "at_least_once", "heartbeat": 1.0}
SOON = Backoff(initial=0.01, maximum=0.02, jitter=0.5)
LATER = Backoff(initial=0.05, maximum=1.0, jitter=0.0)


class Party(Worker):
    """Talks to its counterpart without end, and keeps what came of that."""

    def __init__(self, name: str, other: str, chance: random.Random) -> None:
        super().__init__(name)
        self.other = other
        self.chance = chance
        # Seconds between two messages of a kind, at most.
        self.pace = 0.3
        self.busy = True
        self.sent: Counter[str] = Counter()
        self.told: list[int] = []
        self.alerts: list[int] = []
        self.run_here: Counter[str] = Counter()
        self.outcomes: Counter[str] = Counter()
        # Jobs that wait to be cancelled, and those that were.
        self.begun: Counter[str] = Counter()
        self.cut_short: Counter[str] = Counter()

    # What the other side wants

    @handles(Told)
    async def hear(self, message: Told) -> None:
        """Keep its number."""
        self.told.append(message.n)

    @handles(Alert)
    async def heed(self, message: Alert) -> None:
        """Keep its number."""
        self.alerts.append(message.n)

    @job()
    async def work(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        """Send updates, some of them urgent, and answer."""
        self.run_here[payload["id"]] += 1
        for i in range(3):
            await job.update({"i": i, "text": payload["text"]}, urgent=self.chance.random() < 0.2)
            await trio.sleep(self.chance.random() * self.pace)
        return {"id": payload["id"], "text": payload["text"]}

    @job()
    async def lines(self, job: Job, payload: dict[str, Any]) -> None:
        """Stream."""
        self.run_here[payload["id"]] += 1
        await job.stream_start({})
        for i in range(10):
            await job.stream({"i": i})
        await job.stream_end({"total": 10})

    @job()
    async def hang(self, job: Job, payload: dict[str, Any]) -> None:
        """Wait to be cancelled."""
        self.run_here[payload["id"]] += 1
        self.begun[payload["id"]] += 1
        try:
            await trio.sleep_forever()
        except trio.Cancelled:
            self.cut_short[payload["id"]] += 1
            raise

    # What this side wants

    async def talk(self) -> None:
        """Keep the link busy in every way, until `busy` is false; then finish what was begun."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.tell)
            nursery.start_soon(self.alert)
            for act in (self.ask_for_work, self.ask_for_work, self.stream, self.give_up):
                nursery.start_soon(self.ask_on, act)

    def text(self) -> str:
        """Return a text that is large now and then."""
        return "x" * self.chance.choice([0, 0, 0, 0, 0, 10, 100, 20_000, 100_000])

    async def tell(self) -> None:
        """Send data."""
        while self.busy:
            await self.send(Told(target=self.other, n=self.sent["told"], text=self.text()))
            self.sent["told"] += 1
            await trio.sleep(self.chance.random() * self.pace)

    async def alert(self) -> None:
        """Send system messages."""
        while self.busy:
            await self.send(Alert(target=self.other, n=self.sent["alert"]))
            self.sent["alert"] += 1
            await trio.sleep(self.chance.random() * self.pace)

    async def ask_on(self, act: Any) -> None:
        """Ask for one job after the other."""
        while self.busy:
            self.sent["job"] += 1
            name = f"{self.name}-{self.sent['job']}"
            await act(name)
            self.outcomes[name] += 1

    async def ask_for_work(self, name: str) -> None:
        """Have it done, seeing every update in order."""
        payload = {"id": name, "text": self.text()}
        seen: list[int] = []
        async with self.job(self.other, "work", payload) as pending:
            async for event in pending:
                assert event.data is not None
                seen.append(event.data["i"])
        assert seen == [0, 1, 2], seen
        assert pending.response == payload

    async def stream(self, name: str) -> None:
        """See a whole stream in order."""
        seen: list[int] = []
        async with self.job(self.other, "lines", {"id": name}) as pending:
            async for event in pending:
                seen += [event.data["i"]] if event.data and "i" in event.data else []
        assert seen == list(range(10))
        await trio.sleep(self.chance.random() * 0.1)

    async def give_up(self, name: str) -> None:
        """Cancel a job, begun or not."""
        with trio.move_on_after(self.chance.random() * 0.2):
            async with self.job(self.other, "hang", {"id": name}):
                await trio.sleep_forever()


class Fragile(MemoryTransport):
    """A connection that is cut after so many more frames of this end, wherever they are then."""

    frames: float = inf
    knows: bool = True
    chaos: Chaos

    async def _put(self, message: bytes | str) -> None:
        if self.frames <= 0:
            self.chaos.cut(self)
        self.frames -= 1
        await super()._put(message)


def fragile(capacity: int, chaos: Chaos) -> tuple[Fragile, Fragile]:
    """Make the two ends of a connection."""
    wire = _Wire()
    one, two = Fragile("client", wire, capacity), Fragile("server", wire, capacity)
    one.join(two)
    two.join(one)
    one.chaos = two.chaos = chaos
    return one, two


def cut(end: Any, *, unaware: Any = None) -> None:
    """Cut a connection: what is on its way is lost, and one end may learn of it much later."""
    for each in (end, end._other):
        each._arrived.clear()
        if each is unaware:
            each._frozen = True
        else:
            each._told = LinkClosed(1006, "cut", "network")
    end._wire.change()


@attrs.define(eq=False)
class Chaos:
    """Decides when connections are cut."""

    chance: random.Random
    nursery: trio.Nursery
    left: int
    cuts: int = 0

    def cut(self, end: Fragile) -> None:
        """Cut a connection, if it is not cut already."""
        if end._told is not None or end._frozen or end._other._frozen:
            return
        self.cuts += 1
        cut(end, unaware=self.chance.choice([None, None, None, end, end._other]))

    async def _later(self, end: Fragile, seconds: float) -> None:
        await trio.sleep(seconds)
        if end.lost is None:
            self.cut(end)

    def plan(self, client: Fragile, server: Fragile) -> None:
        """Decide what is to become of a new connection."""
        if self.left <= 0:
            return
        self.left -= 1
        end = self.chance.choice([client, server])
        kind = self.chance.random()
        if kind < 0.25:
            end.frames = self.chance.randrange(4)
        elif kind < 0.5:
            end.frames = self.chance.randrange(5, 40)
        # In any case, as what this end says may not be enough.
        self.nursery.start_soon(self._later, end, self.chance.random() * 0.3)


class FragileNetwork(Network):
    """Makes connections that are cut."""

    chaos: Chaos

    async def dial(self, subprotocols: tuple[str, ...] = ()) -> Transport:
        """Connect."""
        await trio.lowlevel.checkpoint()
        client, server = fragile(self.capacity, self.chaos)
        client.offers = server.offers = subprotocols
        self.chaos.plan(client, server)
        self._give.send_nowait(server)
        return client


class Slow:
    """A hook that takes its time now and then."""

    chance: random.Random

    async def dawdle(self) -> None:
        """Take some time."""
        await trio.sleep(self.chance.choice([0, 0, 0, 0.02, 0.1]))


class SlowClient(Slow, LoggedClient):
    async def on_connected(self, websocket: Any) -> None:
        await self.dawdle()
        await super().on_connected(websocket)


class SlowServer(Slow, LoggedServer):
    async def on_client_connected(self, websocket: Any) -> None:
        await self.dawdle()
        await super().on_client_connected(websocket)


@attrs.define(eq=False, slots=False)
class House:
    """A server of one's own: all sessions are in one runner."""

    runner: WorkerRunner
    network: Network
    settings: dict[str, Any]
    made: list[Any] = attrs.field(factory=list[Any])
    make: Any = LoggedServer

    @property
    def end(self) -> Any:
        """This side's end of the last connection."""
        return self.made[-1]._transport

    async def serve(self) -> None:
        """Take connections for ever."""
        async with trio.open_nursery() as nursery:
            while True:
                nursery.start_soon(self.handle, await self.network.accept())

    async def handle(self, end: MemoryTransport) -> None:
        """Take one."""
        websocket = await continue_session(end)
        if websocket is None:
            return
        proxy = self.make(websocket, name=f"gateway-{len(self.made)}", **self.settings)
        try:
            await self.runner.add_workers(proxy)
        except NameTakenError:
            # One that has heard nothing yet waits for a hello.
            await end.abort()
        else:
            self.made.append(proxy)


@asynccontextmanager
async def housed(
    near: Worker,
    far: Worker,
    *,
    network: Network | None = None,
    client: dict[str, Any] | None = None,
    server: dict[str, Any] | None = None,
    kind: Any = LoggedClient,
    make: Any = LoggedServer,
    restart: Restart | None = None,
) -> AsyncGenerator[tuple[Side, House]]:
    """Run two runners, with a session between them that goes on."""
    network = network or Network()
    settings = {**LASTING, "serializer": serializer(), **(server or {})}
    async with guarded(), open_runner(far) as there, trio.open_nursery() as nursery:
        house = House(there, network, settings, make=make)
        nursery.start_soon(house.serve)  # noqa: ASYNC113
        settings = {**LASTING, "serializer": serializer(), "dialect": "native", "reconnect": LATER}
        connect = partial(kind, network, **{**settings, **(client or {})})
        if restart is not None:
            async with open_runner(near) as here:
                await here.add_workers(connect, restart=restart)
                side = Side(here, None)
                side.proxy = side.worker("proxy")
                yield side, house
        else:
            proxy = connect()
            async with open_runner(near, proxy) as here:
                yield Side(here, proxy), house
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def chaotic(seed: int, cuts: int) -> AsyncGenerator[tuple[Side, House, Chaos]]:
    """Run two parties over a network that cuts so many connections."""
    chance = random.Random(seed)
    near, far = Party("acme", "assistant", chance), Party("assistant", "acme", chance)
    network = FragileNetwork()
    Slow.chance = chance
    quick = {"handshake_timeout": 2.0, "reconnect": SOON}
    async with trio.open_nursery() as nursery:
        network.chaos = Chaos(chance, nursery, cuts)
        async with housed(
            near, far, network=network, client=quick, kind=SlowClient, make=SlowServer
        ) as (side, house):
            yield side, house, network.chaos
        nursery.cancel_scope.cancel()


async def all_crossed(one: Party, other: Party) -> None:
    """Check that everything from one side has arrived at the other, in order, and once."""
    await until(lambda: len(other.told) >= one.sent["told"])
    await until(lambda: len(other.alerts) >= one.sent["alert"])
    assert other.told == list(range(one.sent["told"]))
    assert other.alerts == list(range(one.sent["alert"]))
    assert len(one.outcomes) == one.sent["job"]
    assert set(one.outcomes.values()) == {1}
    assert set(other.run_here.values()) == {1}
    assert one.outcomes.keys() >= other.run_here.keys()
    await until(lambda: other.cut_short == other.begun)


async def until(holds: Any) -> None:
    """Wait in virtual time until something holds."""
    with trio.fail_after(1000):
        while not holds():  # noqa: ASYNC110 - nothing announces it
            await trio.sleep(0.05)


class Sessions:
    """Makes the workers of sessions that go on, and keeps them."""

    def __init__(self) -> None:
        self.made: list[Party] = []

    def workers(self, websocket: Any) -> tuple[WebSocketProxyServer, Party]:
        """Make those of one session."""
        party = Party("assistant", "acme", random.Random(7))
        party.pace = 0.01
        self.made.append(party)
        gateway = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="assistant",
            remote_worker_name="acme",
            serializer=serializer(),
            delivery="at_least_once",
            heartbeat=0.5,
        )
        return gateway, party

    async def build(self, websocket: Any) -> list[Worker]:
        """Make them as `serve_proxies` wants it."""
        return [*self.workers(websocket)]


async def main() -> None:
    """Serve in a process of its own; say at which port."""
    async with trio.open_nursery() as nursery:
        serve = partial(serve_proxies, Sessions().build, "127.0.0.1", 0)
        print((await nursery.start(serve)).port, flush=True)


if __name__ == "__main__":
    trio.run(main)
