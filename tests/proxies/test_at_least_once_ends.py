"""`delivery="at_least_once"`: how a session that outlives its connections ends, and for whom."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from tests.jobs import Server, outcome_of
from tests.proxies.lasting import (
    LASTING,
    Fragile,
    House,
    SlowServer,
    Told,
    cut,
    housed,
    serializer,
    until,
)
from tests.proxies.pairs import LoggedClient, LoggedServer, Network, Side
from trioworkers import ReplayGapError, Restart, Worker, WorkerGoneError, handles
from trioworkers.proxies import _deliveries, _outbox, continue_session
from trioworkers.proxies._memory import _Wire, memory_transports
from trioworkers.proxies._native import SUBPROTOCOL
from trioworkers.proxies._proxy import CREDIT
from trioworkers.proxies._transport import LinkClosed, Transport
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind
from trioworkers.wire.hello import Hello, LinkLimits, Place


async def ready(side: Side, house: House) -> None:
    """Wait for both ends."""
    await side.runner.registry.wait_ready("assistant")
    await house.runner.registry.wait_ready("acme")


def go_down(side: Side, house: House) -> Any:
    """Cut the connection, and let no other one be made until `troubles` is cleared."""
    network: Any = side.proxy.network
    network.troubles = [OSError("down")] * 100_000
    cut(house.end)
    return network


async def lose_one(side: Side, house: House) -> Any:
    """Let a message be on its way when the connection is cut."""
    await side.worker("acme").send(Told(target="assistant", n=1))
    return go_down(side, house)


async def test_a_forgotten_session(autojump_clock: Any, caplog: pytest.LogCaptureFixture) -> None:
    """S-PROXY-8: a gap is told: dead letters, failed jobs, and a proxy that fails and is restarted."""
    near, far = Worker("acme"), Server("assistant")
    server = {"resume_within": 5.0}
    async with housed(near, far, server=server, restart=Restart.PERMANENT) as (side, house):
        await ready(side, house)
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await outcome_of(near.ask("assistant", "hang", {})))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: house.made[0]._portal.deliveries.jobs)
            # What has arrived before is confirmed once in a heartbeat.
            await trio.sleep(3)
            network = await lose_one(side, house)
            began = trio.current_time()
            await until(lambda: house.made[0].state == "stopped")
            assert 4.9 <= trio.current_time() - began < 6
            assert not outcomes
            network.troubles.clear()
        assert isinstance(outcomes[0], WorkerGoneError)
        assert [reason for reason, _ in side.letters.take()] == ["link lost"]
        await ready(side, house)
        assert "1 messages to 'assistant' may be lost" in caplog.text
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        # One that the client's first proxy has met when it was told, and one of the next proxy.
        assert len(house.made) == 3
        assert house.made[1].state == "stopped"
        assert [entry for entry in far.log if entry[0] == "cancelled"]


async def test_a_gap_without_supervision(autojump_clock: Any) -> None:
    """S-PROXY-8: the proxy fails with how many messages may be lost, those not sent included."""
    gap = pytest.RaisesExc(ReplayGapError, match="2 messages to 'assistant' may be lost")
    with pytest.RaisesGroup(gap, flatten_subgroups=True):
        async with housed(Worker("acme"), Server("assistant")) as (side, house):
            await ready(side, house)
            network = await lose_one(side, house)
            await until(lambda: not side.proxy.connected)
            await side.worker("acme").send(Told(target="assistant", n=2))
            await house.made[0].stop("restarted")
            network.troubles.clear()
            await trio.sleep(1000)


async def test_a_forgotten_session_without_losses(autojump_clock: Any) -> None:
    """S-PROXY-8: where nothing was on its way there is no gap, and the proxy goes on anew."""
    async with housed(Worker("acme"), Server("assistant")) as (side, house):
        await ready(side, house)
        await trio.sleep(1)
        network = go_down(side, house)
        await house.made[0].stop("restarted")
        network.troubles.clear()
        await until(lambda: len(house.made) == 2)
        await ready(side, house)
        assert await side.worker("acme").ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert side.letters.take() == []


async def test_a_forgotten_session_takes_no_credit_along(autojump_clock: Any) -> None:
    """S-PROXY-8: what waited here for room is no burden to the session that is begun anew."""

    class Stuck(Worker):
        def __init__(self) -> None:
            super().__init__("acme", mailbox_capacity=1)
            self.seen: list[int] = []
            self.go_on = trio.Event()

        @handles(Told)
        async def hear(self, message: Told) -> None:
            await self.go_on.wait()
            self.seen.append(message.n)

    near, far, few = Stuck(), Worker("assistant"), {"credit": 8}
    async with housed(near, far, client=few, server=few) as (side, house):
        await ready(side, house)
        for n in range(20):
            await far.send(Told(target="acme", n=n))
        await until(lambda: side.proxy.link_statistics().inbox_depth == 8)
        network = go_down(side, house)
        await house.made[0].stop("restarted")
        network.troubles.clear()
        await until(lambda: len(house.made) == 2)
        await ready(side, house)
        near.go_on.set()
        for n in range(100, 120):
            await far.send(Told(target="acme", n=n))
        await until(lambda: near.seen[-20:] == list(range(100, 120)))


async def test_a_first_hello_that_is_lost(autojump_clock: Any) -> None:
    """S-PROXY-8: what waits for a server that has not heard the client's first hello is not lost."""

    class Lossy(Network):
        dialed = 0

        async def dial(self, subprotocols: tuple[str, ...] = ()) -> Transport:
            end = await super().dial(subprotocols)
            self.dialed += 1
            if self.dialed == 1:

                async def lose(message: object) -> None:
                    del message

                end._put = lose  # type: ignore[attr-defined]
            return end

    network = Lossy()
    async with housed(Worker("acme"), Server("assistant"), network=network) as (side, house):
        acme, outcomes = side.worker("acme"), list[Any]()

        async def ask() -> None:
            outcomes.append(await acme.ask("assistant", "echo", {"n": 1}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: side.proxy.connected)
            await acme.send(Told(target="assistant", n=1))
            await trio.sleep(0.1)
            cut(house.made[0]._transport)
        assert outcomes == [{"n": 1}]
        assert network.dialed == 2
        assert side.letters.take() == []


@pytest.mark.parametrize("lasting", ["client", "server"])
async def test_one_side_only(
    lasting: str, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-PROXY-8: where one side alone keeps sessions there are none, and it says so."""
    caplog.set_level(logging.WARNING, "trioworkers")
    other = {"server" if lasting == "client" else "client": {"delivery": "at_most_once"}}
    async with housed(Worker("acme"), Server("assistant"), **other) as (side, house):  # type: ignore[arg-type]
        await ready(side, house)
        assert "delivers at most once: the side of" in caplog.text
        async with trio.open_nursery() as nursery:
            outcomes: list[Any] = []

            async def ask() -> None:
                acme = side.worker("acme")
                outcomes.append(await outcome_of(acme.ask("assistant", "hang", {})))

            nursery.start_soon(ask)
            await trio.sleep(1)
            network = go_down(side, house)
        assert isinstance(outcomes[0], WorkerGoneError)
        await until(lambda: house.made[0].state == "stopped")
        network.troubles.clear()
        await ready(side, house)
        assert side.letters.take() == []


def test_pipecats_dialect_is_refused() -> None:
    """S-PROXY-8: what cannot be promised in a dialect is an error where the proxy is made."""
    with pytest.raises(ValueError, match="does not go with dialect="):
        LoggedClient(Network(), dialect="pipecat", delivery="at_least_once")
    with pytest.raises(ValueError, match="does not go with dialect="):
        LoggedServer(memory_transports()[0], dialect="pipecat", delivery="at_least_once")
    with pytest.raises(ValueError, match="delivery must be one of at_most_once, at_least_once"):
        LoggedClient(Network(), delivery="exactly_once")


async def test_deactivated_while_it_waits(autojump_clock: Any) -> None:
    """S-PROXY-8: a deactivation ends a session that waits, at once and with nothing left."""
    async with housed(Worker("acme"), Server("assistant")) as (side, house):
        await ready(side, house)
        network = await lose_one(side, house)
        await until(lambda: not side.proxy.connected)
        assert "assistant" in side.runner.registry
        began = trio.current_time()
        await side.worker("acme").deactivate_worker("proxy")
        await until(lambda: "assistant" not in side.runner.registry)
        assert trio.current_time() - began < 1
        assert [reason for reason, _ in side.letters.take()] == ["link lost"]
        assert side.clean()
        network.troubles.clear()
        await house.made[0].stop("its client has gone")
        await side.worker("acme").activate_worker("proxy")
        await ready(side, house)
        assert await side.worker("acme").ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert side.proxy.what == ["connected", "disconnected", "connected"]


@pytest.mark.parametrize("how", ["end", "cancel"])
async def test_stopped_while_it_waits(how: str) -> None:
    """S-PROXY-8: a runner whose session waits stops at once, and each hook was called once."""
    async with housed(Worker("acme"), Server("assistant")) as (side, house):
        await ready(side, house)
        go_down(side, house)
        await until(lambda: not (side.proxy.connected or house.made[0].connected))
        began = trio.current_time()
        for runner in (side.runner, house.runner):
            await getattr(runner, how)("enough")
            await runner.wait_stopped()
        assert trio.current_time() - began < 3
    assert side.proxy.what == ["connected", "disconnected"]
    assert house.made[0].events == ["connected", "disconnected"]
    assert side.clean()


async def test_a_goodbye_is_for_good(autojump_clock: Any) -> None:
    """S-PROXY-8: an end closes the session on both sides; answers that have arrived are not lost."""
    near = Worker("acme")
    async with housed(near, Server("assistant")) as (side, house):
        await ready(side, house)
        there = Side(house.runner, house.made[0])
        for n in range(5):
            assert await near.ask("assistant", "echo", {"n": n}) == {"n": n}
        await side.runner.end("done")
        await side.runner.wait_stopped()
        await until(lambda: house.made[0].state == "stopped")
        assert there.letters.take() == []
        assert there.clean()


class Stranger:
    """A client that speaks for itself."""

    def __init__(self, network: Network) -> None:
        self.end, self.server = memory_transports()
        self.end.offers = self.server.offers = (SUBPROTOCOL,)
        network._give.send_nowait(self.server)

    async def hello(self, name: str, meeting: str | None, had: int = 0) -> Any:
        """Say hello; return how the connection ended."""
        nothing = Place(0, 0, 0, 0)
        said = Hello(1, name, LinkLimits(), nothing, meeting, attrs.evolve(nothing, data=had), True)
        await self.end.send([chunks.write_json(Kind.HELLO, attrs.asdict(said))])
        try:
            while True:
                await self.end.receive()
        except LinkClosed as end:
            return end


@pytest.mark.parametrize("meeting", [None, "", "x", "a.1 b.1", "x" * 200])
async def test_somebody_who_knows_nothing(meeting: str | None, autojump_clock: Any) -> None:
    """S-PROXY-8: who does not know the name of a session gets none of it, and does it no harm."""
    near = Worker("acme")
    async with housed(near, Server("assistant")) as (side, house):
        await ready(side, house)
        with trio.fail_after(100):
            await Stranger(side.proxy.network).hello("stranger.1", meeting)
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert side.proxy.what == ["connected"]
        assert len(house.made) == 1


async def test_somebody_who_lies(autojump_clock: Any) -> None:
    """S-PROXY-8: numbers that cannot be end the session, and the client begins another one."""
    near = Worker("acme")
    async with housed(near, Server("assistant")) as (side, house):
        await ready(side, house)
        meeting = side.proxy._epoch.meeting
        with trio.fail_after(100):
            await Stranger(side.proxy.network).hello("stranger.1", meeting, had=1_000)
        await until(lambda: len(house.made) == 2 and house.made[0].state == "stopped")
        await ready(side, house)
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}


async def test_attempts_that_fail_do_not_prolong_a_session(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-PROXY-8: `resume_within` counts from the loss on, however often it is tried to come back."""
    server = {"resume_within": 5.0}
    async with (
        housed(Worker("acme"), Server("assistant"), server=server) as (side, house),
        trio.open_nursery() as nursery,
    ):
        await ready(side, house)
        meeting = side.proxy._epoch.meeting
        go_down(side, house)
        began = trio.current_time()

        async def try_in_vain() -> None:
            while house.made[0].state != "stopped":
                stranger = Stranger(side.proxy.network)
                said = [chunks.write_json(Kind.HELLO, {"meeting": meeting})]
                await stranger.end.send(said)
                await trio.sleep(2)
                await stranger.end.abort()

        caplog.set_level(logging.INFO, "trioworkers")
        nursery.start_soon(try_in_vain)
        await until(lambda: house.made[0].state == "stopped")
        assert 4.9 <= trio.current_time() - began <= 5.1
        assert caplog.text.count("was not continued by") == 3
        nursery.cancel_scope.cancel()


async def test_memory_while_it_waits(autojump_clock: Any) -> None:
    """S-PROXY-8: a session that waits keeps what its bounds allow; senders wait, and go on later."""
    near, far = Worker("acme"), Server("assistant")
    sent = 0
    async with housed(near, far) as (side, house), trio.open_nursery() as nursery:

        async def flood() -> None:
            nonlocal sent
            for n in range(5_000):
                await near.send(Told(target="assistant", n=n))
                sent += 1

        await ready(side, house)
        network = go_down(side, house)
        nursery.start_soon(flood)
        await trio.sleep(10)
        waiting = side.proxy.link_statistics()
        assert not waiting.connected
        kept = sum(len(lane.unconfirmed) for lane in side.proxy._epoch.sent)
        assert kept <= CREDIT
        assert sent <= waiting.data_depth + kept
        assert (waiting.data_depth, waiting.waiting_senders) == (_outbox.CAPACITY, 1)
        network.troubles.clear()
        await until(lambda: sent == 5_000)


async def test_too_many_answers_while_it_waits(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-PROXY-8: a session whose answers would need too much memory is given up."""
    monkeypatch.setattr(_deliveries, "ANSWER_LIMIT", 2**20)
    near, far = Worker("acme"), Server("assistant")
    text = "x" * 100_000
    outcomes: list[Any] = []
    async with housed(near, far) as (side, house), trio.open_nursery() as nursery:

        async def ask() -> None:
            payload = {"seconds": 5, "text": text}
            outcomes.append(await outcome_of(near.ask("assistant", "nap", payload)))

        await ready(side, house)
        for _ in range(20):
            nursery.start_soon(ask)
        await until(lambda: len([entry for entry in far.log if entry[0] == "begin"]) == 20)
        network = go_down(side, house)
        await until(lambda: house.made[0].state == "stopped")
        network.troubles.clear()
        await until(lambda: len(outcomes) == 20)
        assert {type(each) for each in outcomes} == {WorkerGoneError}


class Unheard(Fragile):
    """A server's end whose hello is lost, after it has heard the client's."""

    async def _put(self, message: bytes | str) -> None:
        while not self._arrived:
            await self._wire.changed.wait()
        self._other._told = LinkClosed(1006, "cut", "network")
        self._wire.change()


class Deaf(LoggedClient):
    """A client that has lost its first connection before it has heard anything."""

    dialled = 0

    async def _dial(self, nursery: trio.Nursery) -> Any:
        self.dialled += 1
        if self.dialled > 1:
            return await super()._dial(nursery)
        wire = _Wire()
        client, server = Fragile("client", wire, 16), Unheard("server", wire, 16)
        client.join(server)
        server.join(client)
        client.offers = server.offers = (SUBPROTOCOL,)
        self.network._give.send_nowait(server)
        return client


async def test_a_client_that_has_heard_no_hello(autojump_clock: Any) -> None:
    """S-PROXY-8: a client that never heard of a session replaces it, and finds no name taken."""
    async with housed(Worker("acme"), Server("assistant"), kind=Deaf) as (side, house):
        await ready(side, house)
        assert side.proxy.dialled == 2
        assert len(house.made) == 1
        assert await side.worker("acme").ask("assistant", "echo", {"n": 1}) == {"n": 1}


async def test_a_handler_that_is_cut_off(autojump_clock: Any) -> None:
    """S-PROXY-8: a server that carries a continued connection no more costs it, not the session."""
    async with housed(Worker("acme"), Server("assistant")) as (side, house):
        await ready(side, house)
        handed: list[trio.CancelScope] = []

        async def handle(end: Any) -> None:
            with trio.CancelScope() as scope:
                handed.append(scope)
                await House.handle(house, end)

        house.handle = handle  # type: ignore[method-assign]

        async def gone_on(times: int) -> None:
            now = side.proxy.link_statistics
            await until(lambda: now().resumed == times and side.proxy.connected)

        for times in (1, 2):
            cut(house.end)
            await gone_on(times)
        handed[0].cancel()
        await gone_on(3)
        assert await side.worker("acme").ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert side.letters.take() == []


async def test_who_says_no_hello_keeps_nobody_waiting(autojump_clock: Any) -> None:
    """S-PROXY-8: while sessions are kept, a new client has 10 s for its hello, then gets a proxy."""
    async with housed(Worker("acme"), Server("assistant")) as (side, house):
        await ready(side, house)
        silent = Stranger(side.proxy.network)
        began = trio.current_time()
        websocket = None

        async def find() -> None:
            nonlocal websocket
            websocket = await continue_session(silent.server)

        async with trio.open_nursery() as nursery:  # noqa: ASYNC112
            nursery.start_soon(find)
        assert websocket is silent.server
        assert trio.current_time() - began == 10
        gone = Stranger(side.proxy.network)
        await gone.end.abort()
        assert await continue_session(gone.server) is None
        garbage = Stranger(side.proxy.network)
        await garbage.end.send([b"\x01garbage"])
        assert await continue_session(garbage.server) is garbage.server
        foreign, _ = memory_transports()
        assert await continue_session(foreign) is foreign


async def test_a_client_that_comes_back_in_the_midst_of_a_hook(autojump_clock: Any) -> None:
    """S-PROXY-8: neither a hook nor a loss that was not noticed keeps a client from coming back."""

    class Stuck(SlowServer):
        greeted = 0

        async def on_client_connected(self, websocket: Any) -> None:
            Stuck.greeted += 1
            if Stuck.greeted == 2:
                await trio.sleep(10_000)

    client, server = {"heartbeat": 1000.0}, {"heartbeat": 1000.0}
    async with housed(
        Worker("acme"), Server("assistant"), client=client, server=server, make=Stuck
    ) as (side, house):
        await ready(side, house)
        cut(house.end, unaware=house.end)
        await until(lambda: Stuck.greeted == 2)
        began = trio.current_time()
        cut(house.end, unaware=house.end)
        await until(lambda: Stuck.greeted == 3)
        assert await side.worker("acme").ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert trio.current_time() - began < 1
        assert len(house.made) == 1


@pytest.mark.parametrize("who", ["client", "server"])
async def test_cancels_wait_for_a_hook(autojump_clock: Any, who: str) -> None:
    """S-PROXY-6, S-PROXY-8: a hook that takes longer than two heartbeats costs no link, cancels or not."""
    times: list[float] = []

    async def dawdle(me: str) -> None:
        if me == who:
            times.append(trio.current_time())
            # The first connection is made at once.
            await trio.sleep(10 if len(times) > 1 else 0)

    class SlowThere(LoggedServer):
        async def on_client_connected(self, websocket: Any) -> None:
            await dawdle("server")

    class SlowHere(LoggedClient):
        async def on_connected(self, websocket: Any) -> None:
            await dawdle("client")

    near, far = Server("acme"), Server("assistant")
    asker, doer, target = (near, far, "assistant") if who == "server" else (far, near, "acme")
    async with housed(near, far, make=SlowThere, kind=SlowHere) as (side, house):
        await ready(side, house)
        with trio.CancelScope() as asking:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(asker.ask, target, "hang", {})
                await trio.sleep(1)
                # The connection is cut before the cancel has left.
                cut(house.end)
                asking.cancel(reason="enough")
        await until(lambda: len(times) == 2)
        await trio.sleep(12)
        assert [entry[2] for entry in doer.log if entry[0] == "cancelled"] == ["enough"]
        assert await asker.ask(target, "echo", {"n": 1}) == {"n": 1}
        assert len(times) == 2
        assert len(house.made) == 1


async def test_a_client_that_connects_once(autojump_clock: Any) -> None:
    """S-PROXY-1, S-PROXY-8: with `reconnect=None` no session outlives its link; why it broke is told."""
    near = Worker("acme")
    async with housed(near, Server("assistant"), client={"reconnect": None}) as (side, house):
        await ready(side, house)
        error = None

        async def ask() -> None:
            nonlocal error
            error = await outcome_of(near.ask("assistant", "hang", {}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: house.made[0]._portal.deliveries.jobs)
            cut(house.end)
        assert isinstance(error, WorkerGoneError)
        assert "the link to it is lost: 1006 cut, closed by network" in str(error)
        await side.proxy.wait_stopped()
        assert "1006 cut" in str(side.proxy.stop_reason)


async def test_a_client_that_does_not_come_back(autojump_clock: Any) -> None:
    """S-PROXY-8: when the time is over the server's side says why the link broke."""
    near, far = Server("acme"), Worker("assistant")
    async with housed(near, far, server={"resume_within": 5.0}) as (side, house):
        await ready(side, house)
        error = None

        async def ask() -> None:
            nonlocal error
            error = await outcome_of(far.ask("acme", "hang", {}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await until(lambda: side.proxy._portal.deliveries.jobs)
            go_down(side, house)
        assert isinstance(error, WorkerGoneError)
        assert "its proxy has given up after 1006 cut, closed by network" in str(error)


async def test_a_client_that_comes_back_twice_at_once(autojump_clock: Any) -> None:
    """S-PROXY-8: a connection that has been replaced by the time it was agreed on costs nothing."""

    class Hurried(LoggedServer):
        spoken = 0

        async def _speak(self, room: Any, native: bool) -> Any:
            dialect = await super()._speak(room, native)
            Hurried.spoken += 1
            if Hurried.spoken == 2:
                end, other = memory_transports()
                self._returns.offer(other)
                await end.abort()
            return dialect

    near = Worker("acme")
    async with housed(near, Server("assistant"), make=Hurried) as (side, house):
        await ready(side, house)
        cut(house.end)
        await until(lambda: Hurried.spoken == 2)
        assert not house.made[0].link_statistics().connected
        await until(lambda: Hurried.spoken == 3)
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert len(house.made) == 1


async def test_settings_of_a_lasting_session(autojump_clock: Any) -> None:
    """S-PROXY-8: seconds that no session can wait are refused where the proxy is made."""
    make = partial(LoggedServer, memory_transports()[0], **LASTING)
    with pytest.raises(ValueError, match="resume_within"):
        make(resume_within=-1)
    assert make(serializer=serializer()).delivery == "at_least_once"
