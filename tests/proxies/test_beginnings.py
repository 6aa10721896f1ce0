"""`delivery="at_least_once"`: between the hellos over another connection and the link."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import trio

from tests.jobs import Server, outcome_of
from tests.proxies.lasting import LASTING, LATER, cut, housed, serializer, until
from tests.proxies.pairs import LoggedClient, LoggedServer, Network, Side
from trioworkers import Job, ReplayGapError, Restart, Worker, WorkerGoneError, job, open_runner
from trioworkers.proxies import _deliveries
from trioworkers.proxies._memory import memory_transports
from trioworkers.proxies._native import NativeDialect
from trioworkers.proxies._transport import LinkClosed
from trioworkers.wire.epoch import Epoch
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.lanes import Lanes
from trioworkers.wire.session import Session

JOBS = 20
LONG = "y" * 1000
UNREADABLE = b"\x63\0\0\0\0"
"""A chunk of a kind that there is not."""


class Talker(Worker):
    """Answers at length, and all at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.answer = trio.Event()

    @job()
    async def talk(self, job: Job, payload: Any) -> dict[str, str]:
        """Wait for the word."""
        await self.answer.wait()
        return {"x": LONG}

    @job()
    async def ping(self, job: Job, payload: Any) -> None:
        """Answer."""


async def answer_too_much(talker: Talker) -> None:
    """Let the talker answer, and its answers become too many."""
    talker.answer.set()
    await trio.sleep(0.5)


class Hooked:
    """A proxy whose hook takes its time once it is told so."""

    hook: Any = None

    async def take_time(self) -> None:
        hook, self.hook = self.hook, None
        if hook is not None:
            await hook()


class HookedClient(Hooked, LoggedClient):
    async def on_connected(self, websocket: Any) -> None:
        await super().on_connected(websocket)
        await self.take_time()


class HookedServer(Hooked, LoggedServer):
    async def on_client_connected(self, websocket: Any) -> None:
        await super().on_client_connected(websocket)
        await self.take_time()


class LateNetwork(Network):
    """Hands a connection over only when something was done."""

    late: Any = None

    async def dial(self, subprotocols: Any = ()) -> Any:
        late, self.late = self.late, None
        if late is None:
            return await super().dial(subprotocols)
        client, server = memory_transports(16)
        client.offers = server.offers = tuple(subprotocols)
        nursery, work = late

        async def hand_over() -> None:
            await work()
            self._give.send_nowait(server)

        nursery.start_soon(hand_over)
        return client


async def ready(side: Side, house: Any) -> None:
    """Wait for both ends."""
    await side.runner.registry.wait_ready("assistant")
    await house.runner.registry.wait_ready("acme")


@pytest.mark.parametrize("where", ["hook of the client", "hook of the server", "hello"])
async def test_a_session_given_up_while_it_is_resumed(
    where: str, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-JOB-3, S-PROXY-8: the peer is told, so its jobs end; and then there is another session."""
    monkeypatch.setattr(_deliveries, "ANSWER_LIMIT", len(LONG) * JOBS // 2)
    near, far, network = Talker("acme"), Talker("assistant"), LateNetwork()
    async with (
        housed(
            near, far, network=network, kind=HookedClient, make=HookedServer,
            server={"resume_within": 20.0},
        ) as (side, house),
        trio.open_nursery() as nursery,
    ):  # fmt: skip
        await ready(side, house)
        at_server = where == "hook of the server"
        asker, talker = (near, far) if at_server else (far, near)
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await outcome_of(asker.ask(talker.name, "talk")))

        for _ in range(JOBS):
            nursery.start_soon(ask)
        await trio.sleep(0.1)

        async def talk() -> None:
            await answer_too_much(talker)

        if where == "hello":
            network.late = nursery, talk
        else:
            (house.made[0] if at_server else side.proxy).hook = talk
        cut(house.end)
        with trio.fail_after(30):
            await until(lambda: len(outcomes) == JOBS)
        assert all(isinstance(each, WorkerGoneError) for each in outcomes)
        with trio.fail_after(30):
            await until(lambda: "acme" in house.runner.registry)
            await side.runner.registry.wait_ready("assistant")
            assert await asker.ask(talker.name, "ping") == {}


@pytest.mark.parametrize("how", ["deactivate", "end", "hook fails"])
async def test_a_goodbye_from_the_hook_of_a_resumed_connection(
    how: str, autojump_clock: Any
) -> None:
    """S-PROXY-8: who leaves then says so, and the other side does not wait for another connection."""
    far = Worker("assistant")

    async def fail() -> None:
        raise ZeroDivisionError

    async def stay() -> None:
        await trio.sleep(5)

    outcomes: list[Any] = []
    controller = Worker("controller")
    again = Restart.TRANSIENT
    async with housed(Server("acme"), far, kind=HookedClient, restart=again) as (side, house):
        await side.runner.add_workers(controller)
        await house.runner.registry.wait_ready("acme")

        async def ask() -> None:
            outcomes.append(await outcome_of(far.ask("acme", "hang")))
            outcomes.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.5)
            side.proxy.hook = fail if how == "hook fails" else stay
            cut(house.end)
            await trio.sleep(1)
            if how == "deactivate":
                await controller.deactivate_worker("proxy")
            elif how == "end":
                await side.runner.end("enough")
    error, ended = outcomes
    assert isinstance(error, WorkerGoneError)
    assert ended < 2


async def test_a_goodbye_while_the_other_sides_hook_runs(autojump_clock: Any) -> None:
    """S-PROXY-8: a goodbye that nobody has read yet is heard when the connection is over."""
    near, far = Worker("acme"), Server("assistant")
    async with housed(near, far, make=HookedServer) as (side, house):
        await ready(side, house)

        async def stay() -> None:
            await trio.sleep(5)

        house.made[0].hook = stay
        cut(house.end)
        await until(lambda: len(side.proxy.events) == 3)
        await side.runner.end("enough")
        with trio.fail_after(10):
            await house.made[0].wait_stopped()


class Forgetful:
    """A server by hand, which knows nothing of the sessions before."""

    def __init__(self, network: Network) -> None:
        self.network = network

    async def serve_one(self, name: str, beside: bytes = b"") -> None:
        """Say hello on one connection, and something more in that frame; then stay for a second."""
        end = await self.network.accept()
        await end.accept("trioworkers.v1")
        session = Session(Epoch(name, keeping=True), LinkLimits(heartbeat=1e5), 0.0)
        lanes: Lanes[Any] = Lanes()
        await end.send([session.next_frame(lanes, 0.0) + beside])
        with trio.move_on_after(1), suppress(LinkClosed):
            while True:
                frame = await end.receive()
                assert isinstance(frame, bytes)
                session.receive(frame, trio.current_time())
                if frame := session.next_frame(lanes, trio.current_time()):
                    await end.send([frame])
        cut(end)


@pytest.mark.parametrize("beside", [b"", UNREADABLE])
async def test_a_gap_is_told_whatever_follows(beside: bytes, autojump_clock: Any) -> None:
    """S-PROXY-8: that a session was forgotten counts, though the frame that says so is broken."""
    near, network = Worker("acme"), Network()
    server = Forgetful(network)
    settings = {**LASTING, "heartbeat": 1e5, "dialect": "native", "reconnect": LATER}
    outcomes: list[Any] = []

    async def ask() -> None:
        outcomes.append(await outcome_of(near.ask("assistant", "x")))

    with pytest.RaisesGroup(ReplayGapError, flatten_subgroups=True):
        async with open_runner(
            near, LoggedClient(network, **{**settings, "serializer": serializer()})
        ):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await server.serve_one("one")
                with trio.move_on_after(5):
                    await server.serve_one("two", beside)
                await trio.sleep(100)
    assert isinstance(outcomes[0], WorkerGoneError)
    assert trio.current_time() < 10


def test_what_is_a_goodbye() -> None:
    """S-PROXY-8: of frames that nobody takes only a goodbye counts, be they broken."""
    session = Session(Epoch("one"), LinkLimits(), 0.0)
    hello = session.next_frame(Lanes[Any](), 0.0)
    goodbye = session.part(1001, "enough")
    is_goodbye = NativeDialect.is_goodbye
    nobody: Any = None
    assert is_goodbye(nobody, goodbye)
    assert is_goodbye(nobody, hello + goodbye)
    assert not is_goodbye(nobody, hello)
    assert not is_goodbye(nobody, UNREADABLE)
    assert not is_goodbye(nobody, "text")
