"""The proxy that connects: when, how often, what it tells of it, and what it does when it fails."""

from __future__ import annotations

import itertools
import ssl
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Actor, Note, Server
from tests.proxies import links
from tests.proxies.pairs import KNOWN, LoggedClient, Network, Side, connecting, guarded
from tests.proxies.serving import build, serving
from trioworkers import (
    Backoff,
    BackpressureDeadlockError,
    BusActivateWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    JSONMessageSerializer,
    LinkStatistics,
    LocalWireError,
    NameTakenError,
    RemoteWireError,
    Restart,
    Worker,
    WorkerState,
    handles,
    message,
    open_runner,
)
from trioworkers.abc import MessageSerializer
from trioworkers.proxies import IncomingConnection, WebSocketProxyClient, bearer_token
from trioworkers.proxies._transport import LinkClosed
from trioworkers.testing import Probe

pytestmark = pytest.mark.usefixtures("dialect")

NOBODY = ConnectionRefusedError("nobody there")


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


async def activate(side: Side) -> None:
    """Make the proxy active."""
    await side.runner.send(BusActivateWorkerMessage(target="proxy"))


async def deactivate(side: Side) -> None:
    """Make the proxy inactive."""
    await side.runner.send(BusDeactivateWorkerMessage(target="proxy"))


# When it connects


@links.PIPECAT_ONLY
async def test_it_connects_when_it_is_activated(autojump_clock: Any) -> None:
    """S-PROXY-1: by default a client does nothing until it is activated; once is enough."""
    proxy = WebSocketProxyClient(
        "p", url="ws://x/", local_worker_name="acme", remote_worker_name="assistant"
    )
    assert not proxy.active
    async with connecting(Probe("acme"), active=False) as (side, network):
        await trio.sleep(100)
        assert network.attempts == []
        for _ in range(3):
            await activate(side)
        far = await network.far()
        await far.next()
        assert side.proxy.connected
        await activate(side)
        await trio.sleep(100)
        assert network.attempts == [100]
        assert side.proxy.events == [("connected", 100)]


async def test_active_from_the_start(autojump_clock: Any) -> None:
    """S-PROXY-1: with active=True it connects at its start; the runner does not wait for that."""
    network = Network()
    network.silent = True
    async with connecting(Probe("acme"), network=network) as (side, _):
        assert trio.current_time() == 0
        await settle()
        assert network.attempts == [0]
        assert not side.proxy.connected


@links.PIPECAT_ONLY
async def test_activated_while_it_tries(autojump_clock: Any) -> None:
    """S-PROXY-1: being activated during an attempt, or between two, begins no second one."""
    network = Network()
    network.troubles = [NOBODY] * 2
    async with connecting(Probe("acme"), network=network) as (side, _):
        await trio.sleep(0.5)
        await activate(side)
        await trio.sleep(0.7)
        await activate(side)
        await trio.sleep(100)
        assert network.attempts == [0, 1, 3]
        assert side.proxy.what == ["connected"]


# Trying again


async def test_backoff(autojump_clock: Any, caplog: Any) -> None:
    """S-PROXY-9: it tries again after growing delays up to the maximum, and says so each time."""
    network = Network()
    network.troubles = [NOBODY, RemoteWireError("x:1 refused the connection: HTTP status 503")] * 3
    async with connecting(Probe("acme"), network=network) as (side, _):
        await network.far()
        await settle()
        assert network.attempts == [0, 1, 3, 7, 15, 23, 31]
        assert side.proxy.events == [("connected", 31)]
    lines = [each.message for each in caplog.records if "has no connection" in each.message]
    head = "proxy proxy has no connection to ws://memory/: "
    assert lines[:2] == [
        head + "nobody there; trying again in 1.000 s",
        head + "x:1 refused the connection: HTTP status 503; trying again in 2.000 s",
    ]
    assert len(lines) == 6


async def test_jitter(autojump_clock: Any) -> None:
    """S-PROXY-9: by default the delays are spread, so that not all clients come back at once."""
    network = Network()
    network.troubles = [NOBODY] * 40
    async with connecting(Probe("acme"), network=network, reconnect=Backoff()):
        await network.far()
    times = network.attempts
    delays = [later - earlier for earlier, later in itertools.pairwise(times)]
    for n, delay in enumerate(delays):
        middle = min(30, 0.1 * 2**n)
        assert 0.8 * middle <= delay <= 1.2 * middle
    assert len({round(delay, 6) for delay in delays[20:]}) > 10


@links.PIPECAT_ONLY
async def test_a_link_that_breaks_again_and_again(autojump_clock: Any) -> None:
    """S-PROXY-9: a server that takes connections and drops them is not asked more often than one
    that takes none; a link that held for `reset_after` starts from the first delay again.
    """
    reconnect = Backoff(initial=1, maximum=8, jitter=0, reset_after=60)
    async with connecting(Probe("acme"), reconnect=reconnect) as (side, network):
        for _ in range(5):
            await (await network.far()).end.close(1011)
        far = await network.far()
        assert network.attempts == [0, 1, 3, 7, 15, 23]
        await trio.sleep(60)
        await far.end.close(1001)
        far = await network.far()
        assert network.attempts[-1] == 84
        await trio.sleep(59)
        await far.end.close(1001)
        await network.far()
        assert network.attempts[-1] == 84 + 59 + 2
        await settle()
        assert side.proxy.what == ["connected", "disconnected"] * 7 + ["connected"]


@pytest.mark.parametrize("code", [1000, 1001, 1006, 1008, 1009, 1011, 4000])
async def test_a_lost_link_is_made_again(code: int, autojump_clock: Any, caplog: Any) -> None:
    """S-PROXY-9: whatever the close code, there is one event, and a new connection object."""
    websockets: list[Any] = []
    caplog.set_level("INFO", logger="trioworkers")
    async with connecting(Probe("acme"), active=False) as (side, network):

        @side.proxy.event_handler("on_connected")
        @side.proxy.event_handler("on_disconnected")
        async def note(proxy: Worker, websocket: Any) -> None:
            assert proxy is side.proxy
            websockets.append(websocket)

        await activate(side)
        far = await network.far()
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        await (far.end.abort() if code == 1006 else far.end.close(code, "bye"))
        far = await network.far()
        assert side.runner.registry.get("assistant") is None
        await far.next()
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        assert side.proxy.events == [("connected", 0), ("disconnected", 0), ("connected", 1)]
        assert websockets[0] is websockets[1]
        assert websockets[0] is not websockets[2]
    by = "network" if code == 1006 else "peer"
    said = f"{code}" if code == 1006 else f"{code} bye"
    assert f"proxy proxy has lost memory two: {said}, closed by {by}" in caplog.text
    assert f"has no connection to ws://memory/: {said}, closed by {by}; trying" in caplog.text


async def test_waiting_for_a_link(autojump_clock: Any) -> None:
    """S-PROXY-9: without a link a send waits, and an ask under its own deadline; both then leave."""
    acme = Probe("acme")
    network = Network()
    network.troubles = [NOBODY] * 3
    async with connecting(acme, network=network) as (side, _), trio.open_nursery() as nursery:
        with pytest.raises(trio.TooSlowError), trio.fail_after(2):
            await acme.ask("assistant", "count")
        with trio.move_on_after(1):
            await acme.send(Note(target="assistant", n=1))
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await acme.ask("assistant", "count"))

        nursery.start_soon(acme.send, Note(target="assistant", n=2))
        await settle()
        nursery.start_soon(ask)
        await settle()
        assert side.proxy.link_statistics() == LinkStatistics(waiting_senders=2)
        far = await network.far()
        assert trio.current_time() == 7
        assert (await far.hear(Note)).n == 2
        request = await far.hear(BusJobRequestMessage)
        await far.tell(BusJobResponseMessage, job_id=request.job_id, status="completed")
        await settle()
        assert answers == [{}]


# Without trying again


@pytest.mark.parametrize(
    "trouble", [NOBODY, ssl.SSLError("no certificate"), RemoteWireError("HTTP status 401")]
)
async def test_one_attempt_only(trouble: Exception, autojump_clock: Any) -> None:
    """S-PROXY-1: with reconnect=None a connect that fails is the proxy's failure."""
    network = Network()
    network.troubles = [trouble]
    failure = pytest.RaisesExc(type(trouble), check=lambda error: error is trouble)
    with pytest.RaisesGroup(failure, flatten_subgroups=True):
        async with connecting(Probe("acme"), network=network, reconnect=None):
            await trio.sleep_forever()
    assert network.attempts == [0]


async def test_a_lost_link_stops_it(autojump_clock: Any) -> None:
    """S-PROXY-1: with reconnect=None a link that is lost stops the proxy, in order."""
    async with connecting(Probe("acme"), reconnect=None) as (side, network):
        await (await network.far()).end.close(1001, "bye")
        await side.proxy.wait_stopped()
        assert side.proxy.state is WorkerState.STOPPED
        assert "the link is lost: 1001 bye, closed by peer" in str(side.proxy.stop_reason)
        assert side.proxy.what == ["connected", "disconnected"]
        assert network.attempts == [0]
        assert side.runner.state is WorkerState.READY


@links.PIPECAT_ONLY
async def test_one_attempt_for_each_activation(autojump_clock: Any) -> None:
    """S-PROXY-1: with reconnect=None it may be deactivated and activated again all the same."""
    async with connecting(Probe("acme"), reconnect=None) as (side, network):
        for _ in range(3):
            far = await network.far()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(far.until_closed)
                await deactivate(side)
                await activate(side)
        await network.far()
        await settle()
        assert side.proxy.connected
        assert side.proxy.what == ["connected", "disconnected"] * 3 + ["connected"]


@links.PIPECAT_ONLY
async def test_deactivated_when_its_link_was_lost(autojump_clock: Any) -> None:
    """S-PROXY-1: deactivating a proxy that stops already changes nothing."""
    async with connecting(Probe("acme"), active=False, reconnect=None) as (side, network):

        @side.proxy.event_handler("on_activated")
        async def linger(proxy: Worker, args: Any) -> None:
            await trio.sleep(1)

        await activate(side)
        await deactivate(side)
        await (await network.far()).end.abort()
        await side.proxy.wait_stopped()
        assert side.proxy.what == ["connected", "disconnected"]


# Deactivating


async def test_deactivating_closes_the_link(autojump_clock: Any) -> None:
    """S-PROXY-1: deactivated, it closes the link in order; what comes next finds it closed."""
    acme = Probe("acme")
    async with connecting(acme) as (side, network), trio.open_nursery() as nursery:
        far = await network.far()
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        ends: list[LinkClosed] = []

        async def drain() -> None:
            ends.append(await far.until_closed())

        nursery.start_soon(drain)
        await deactivate(side)
        await settle()
        assert not side.proxy.connected
        assert side.runner.registry.get("assistant") is None
        assert (ends[0].code, ends[0].reason) == (1000, "the proxy was deactivated")
        await trio.sleep(100)
        assert network.attempts == [0]
        with trio.move_on_after(1) as scope:
            await acme.send(Note(target="assistant"))
        assert scope.cancelled_caught
        nursery.start_soon(acme.send, Note(target="assistant", n=3))
        await activate(side)
        far = await network.far()
        assert (await far.hear(Note)).n == 3
        assert side.proxy.what == ["connected", "disconnected", "connected"]


async def test_deactivating_waits_until_the_link_is_closed(autojump_clock: Any) -> None:
    """S-PROXY-1: it is deactivated when on_disconnected has returned, not before."""
    order: list[str] = []
    async with connecting(Probe("acme")) as (side, network), trio.open_nursery() as nursery:
        far = await network.far()
        # Something that came through: until then it may not be connected.
        await far.next()

        @side.proxy.event_handler("on_disconnected")
        async def linger(proxy: Worker, websocket: Any) -> None:
            await trio.sleep(3)
            order.append("disconnected")

        @side.proxy.event_handler("on_deactivated")
        async def note(proxy: Worker) -> None:
            order.append("deactivated")

        nursery.start_soon(far.until_closed)
        await deactivate(side)
        await activate(side)
        await network.far()
        assert order == ["disconnected", "deactivated"]
        assert network.attempts == [0, 3]


async def test_what_is_sent_while_the_link_is_closed(autojump_clock: Any) -> None:
    """S-PROXY-9: during the closing handshake a send waits for the next link, and is not lost."""
    acme = Probe("acme")
    async with connecting(acme) as (side, network), trio.open_nursery() as nursery:
        far = await network.far()
        await far.next()
        await deactivate(side)
        await activate(side)
        await trio.sleep(1)
        # The server takes its time.
        nursery.start_soon(acme.send, Note(target="assistant", n=1))
        far = await network.far()
        assert trio.current_time() == 2
        assert (await far.hear(Note)).n == 1
        assert side.letters.take() == []


STOPS = pytest.mark.parametrize("stop", ["deactivate", "end", "cancel", "end of the runner"])


async def do(stop: str, side: Side) -> None:
    """Stop the proxy in one of four ways, and wait until that is done."""
    if stop == "deactivate":
        await deactivate(side)
        await settle()
        assert side.proxy.state is WorkerState.READY
        return
    if stop == "end of the runner":
        await side.runner.end()
    else:
        await (side.runner.end_worker if stop == "end" else side.runner.cancel_worker)("proxy")
    await side.proxy.wait_stopped()


@STOPS
async def test_stopped_while_it_connects(stop: str, autojump_clock: Any) -> None:
    """S-PROXY-9: whatever stops it gives up an attempt at once; there is no event."""
    network = Network()
    network.silent = True
    async with connecting(Probe("acme"), network=network) as (side, _):
        await trio.sleep(1)
        await do(stop, side)
        assert trio.current_time() == 1
        assert side.proxy.events == []


@STOPS
async def test_stopped_between_two_attempts(stop: str, autojump_clock: Any) -> None:
    """S-PROXY-9: whatever stops it ends the wait for the next attempt at once."""
    network = Network()
    network.troubles = [NOBODY]
    async with connecting(Probe("acme"), network=network) as (side, _):
        await trio.sleep(0.5)
        await do(stop, side)
        assert trio.current_time() == 0.5
        await trio.sleep(100)
        assert network.attempts == [0]


@STOPS
@links.PIPECAT_ONLY
async def test_stopped_in_the_event(stop: str, autojump_clock: Any) -> None:
    """S-PROXY-1, S-PROXY-9: stopped while on_connected runs, both events come once, the server is told."""
    network = Network()
    async with connecting(Probe("acme"), network=network, active=False) as (side, _):

        @side.proxy.event_handler("on_connected")
        async def linger(proxy: Worker, websocket: Any) -> None:
            await trio.sleep_forever()

        await activate(side)
        far = await network.far()
        await settle()
        ends: list[LinkClosed] = []

        async def drain() -> None:
            ends.append(await far.until_closed())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(drain)
            await do(stop, side)
        assert trio.current_time() == 0
        assert side.proxy.what == ["connected", "disconnected"]
        assert ends[0].code == 1001


async def test_an_event_that_waits_for_the_link_it_comes_before(autojump_clock: Any) -> None:
    """S-PROXY-1, S-MAIL-12: who would wait in on_connected for the far worker is told that it cannot."""
    told: list[BackpressureDeadlockError] = []

    async def serve(acme: Worker, job: Any, payload: Any) -> None:
        try:
            await acme.send(Note(target="assistant", n=1))
        except BackpressureDeadlockError as error:
            told.append(error)

    async with connecting(Actor("acme", serve=serve), active=False) as (side, network):

        @side.proxy.event_handler("on_connected")
        async def greet(proxy: Worker, websocket: Any) -> None:
            await proxy.ask("acme", "serve")

        await activate(side)
        await network.far()
        await settle()
        assert side.proxy.connected
        (error,) = told
        assert "assistant" in error.cycle


async def test_an_event_that_deactivates_and_one_that_activates(autojump_clock: Any) -> None:
    """S-PROXY-1: handlers of the events may deactivate and activate their own proxy."""
    async with connecting(Probe("acme"), active=False) as (side, network):
        rounds = 0

        @side.proxy.event_handler("on_connected")
        async def off(proxy: Worker, websocket: Any) -> None:
            await proxy.deactivate_worker("proxy")

        @side.proxy.event_handler("on_disconnected")
        async def on(proxy: Worker, websocket: Any) -> None:
            nonlocal rounds
            rounds += 1
            if rounds < 3:
                await proxy.activate_worker("proxy")

        await activate(side)
        for _ in range(3):
            far = await network.far()
            await far.until_closed()
        await settle()
        assert rounds == 3
        assert not side.proxy.active
        assert network.attempts == [0, 0, 0]


# Events that fail

BROKEN = pytest.RaisesExc(KeyError, match="broken")


@pytest.mark.parametrize("event", ["on_connected", "on_disconnected"])
async def test_a_handler_that_raises(event: Any, autojump_clock: Any) -> None:
    """S-PROXY-1: an error in a handler of an event is the proxy's; it does not try again."""
    network = Network()
    proxy = LoggedClient(network)
    told: list[LinkClosed] = []

    @proxy.event_handler(event)
    async def broken(proxy: Worker, websocket: Any) -> None:
        raise KeyError("broken")

    with pytest.RaisesGroup(BROKEN, flatten_subgroups=True):
        async with guarded(), open_runner(Probe("acme"), proxy):
            far = await network.far()
            if event == "on_connected":
                told.append(await far.until_closed())
            else:
                await far.next()
                await far.end.abort()
            await trio.sleep_forever()
    assert proxy.what == ["connected", "disconnected"]
    assert network.attempts == [0]
    assert [(each.code, each.reason) for each in told] in ([], [(1011, "the proxy has failed")])


async def test_a_supervised_proxy(autojump_clock: Any) -> None:
    """S-PROXY-1, S-SUP-2: a proxy that failed is restarted by its supervisor, and connects again."""
    network = Network()
    serializer = JSONMessageSerializer(messages=KNOWN)
    proxy = LoggedClient(network, reconnect=None, serializer=serializer)
    network.troubles = [NOBODY, None]
    acme = Probe("acme")
    async with guarded(), open_runner(acme) as runner, trio.open_nursery() as nursery:
        await runner.add_workers(proxy, restart=Restart.PERMANENT)
        nursery.start_soon(acme.send, Note(target="assistant", n=5))
        far = await network.far()
        assert (await far.hear(Note)).n == 5
        assert proxy.what == ["connected"]
        assert len(network.attempts) == 2


async def test_a_supervised_proxy_whose_next_name_is_taken(autojump_clock: Any) -> None:
    """S-PROXY-3: a restart that wants a name of somebody else is a failure, and tried again."""
    network = Network()
    network.troubles = [NOBODY]
    remotes = ["assistant", "taken", "butler"]

    def make() -> LoggedClient:
        return LoggedClient(network, reconnect=None, remote_worker_name=remotes.pop(0))

    async with guarded(), open_runner(Probe("acme"), Probe("taken")) as runner:
        await runner.add_workers(make, restart=Restart.PERMANENT)
        await network.far()
        assert remotes == []
        assert runner.bus.route("assistant") is None
        assert runner.bus.route("butler") is not None
        await runner.end_worker("proxy")
        await runner.end_worker("taken")


def test_events_have_names() -> None:
    """S-PROXY-1: an event that does not exist is refused, with those that do."""
    proxy: Any = LoggedClient(Network())
    with pytest.raises(ValueError, match="on_connected, on_deactivated, on_disconnected"):
        proxy.event_handler("on_client_connected")


# Its place


@message
class Token(BusDataMessage):
    n: int = 0


class Taker(Worker):
    """Handles a type of its own."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[int] = []

    @handles(Token)
    async def take(self, message: Token) -> None:
        self.seen.append(message.n)


async def test_a_local_worker_that_comes_later(autojump_clock: Any) -> None:
    """S-PROXY-3: the link is made without it; added later, it is announced to the server's worker."""
    async with connecting(Probe("other"), serializer=None) as (side, network):
        far = await network.far()
        far.serializer = JSONMessageSerializer(messages=(Token,))
        await settle()
        assert side.proxy.connected
        late = Taker("acme")
        await side.runner.add_workers(late)
        announced = await far.next()
        assert isinstance(announced, BusWorkerRegistryMessage)
        assert announced.target == "assistant"
        assert [entry.name for entry in announced.workers] == ["acme"]
        await far.tell(Token, n=1)
        await late.send(Token(target="assistant", n=2))
        assert (await far.hear(Token)).n == 2
        await settle()
        assert late.seen == [1]
        await side.runner.end_worker("acme")
        await late.wait_stopped()
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={})
        answer = await far.hear(BusJobResponseMessage)
        assert answer.response is not None
        assert "not on the bus of its side" in answer.response["gone"]
        assert side.proxy.connected


async def test_a_local_worker_that_asks_while_it_starts(autojump_clock: Any) -> None:
    """S-PROXY-9: on_start may ask over the link, also if the proxy was added first."""
    network = Network()
    proxy = LoggedClient(network)
    answers: list[Any] = []

    async def start(worker: Worker) -> None:
        await worker.send(Note(target="assistant", n=1))
        answers.append(await worker.ask("assistant", "count"))

    async with guarded(), open_runner(proxy) as runner, trio.open_nursery() as nursery:
        nursery.start_soon(runner.add_workers, Actor("acme", start=start))
        far = await network.far()
        assert (await far.hear(Note)).n == 1
        request = await far.hear(BusJobRequestMessage)
        await far.tell(
            BusJobResponseMessage, job_id=request.job_id, status="completed", response={"n": 1}
        )
        await runner.registry.wait_ready("acme")
        assert answers == [{"n": 1}]


async def test_two_clients_with_one_name(autojump_clock: Any) -> None:
    """S-PROXY-3: a second proxy for a name that is taken is refused when it is added."""
    async with connecting(Server("acme"), Probe("other")) as (side, network):
        far = await network.far()
        await far.next()
        for name, local, remote in [
            ("second", "other", "assistant"),
            ("second", "acme", "other"),
            ("proxy", "other", "third"),
        ]:
            proxy = LoggedClient(network, name, local_worker_name=local, remote_worker_name=remote)
            with pytest.raises(NameTakenError) as caught:
                await side.runner.add_workers(proxy)
            assert repr("proxy" if name == "proxy" else remote) in str(caught.value)
            assert proxy.state is not WorkerState.READY
        assert side.runner.bus.route("second") is None
        assert side.runner.bus.route("third") is None
        assert network.attempts == [0]
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={"n": 1})
        assert (await far.hear(BusJobResponseMessage)).response == {"n": 1}


async def test_one_worker_with_two_proxies(autojump_clock: Any) -> None:
    """S-PROXY-2: one worker may be bridged to two others; each link carries what is for its own."""
    acme = Probe("acme")
    one, two = Network(), Network()
    second = LoggedClient(
        two,
        "second",
        remote_worker_name="butler",
        serializer=JSONMessageSerializer(messages=KNOWN),
    )
    async with connecting(acme, second, network=one):
        near, far = await one.far(), await two.far()
        far.me = "butler"
        await acme.send(Note(target="butler", n=2))
        await acme.send(Note(target="assistant", n=1))
        assert (await near.hear(Note)).n == 1
        assert (await far.hear(Note)).n == 2
        await near.tell(Note, n=3)
        await far.tell(Note, n=4)
        await settle()
        got = [await acme.receive(Note) for _ in range(2)]
        assert {(each.source, each.n) for each in got} == {("assistant", 3), ("butler", 4)}


async def test_a_proxy_below_a_worker(autojump_clock: Any) -> None:
    """S-PROXY-9, S-SUP-3: the end of its parent ends a proxy in order, before the parent stops."""
    network = Network()
    proxy = LoggedClient(network)
    order: list[Any] = []

    async def start(worker: Worker) -> None:
        await worker.add_workers(proxy)

    async def stop(worker: Worker) -> None:
        order.append(proxy.what)

    async with guarded(), open_runner(Actor("acme", start=start, stop=stop)) as runner:
        far = await network.far()
        await far.next()
        async with trio.open_nursery() as nursery:
            await runner.end_worker("acme")
            nursery.start_soon(far.until_closed)
            await proxy.wait_stopped()
    assert order == [["connected", "disconnected"]]
    assert far.end.lost.code == 1000
    assert trio.current_time() == 0


async def test_connected_and_statistics(autojump_clock: Any) -> None:
    """S-PROXY-9: `connected` and `link_statistics` are those of the link there is now."""
    acme = Probe("acme")
    proxy = LoggedClient(Network())
    assert proxy.link_statistics() == LinkStatistics()
    assert not proxy.connected
    async with connecting(acme) as (side, network):
        far = await network.far()
        await far.next()
        await acme.send(Note(target="assistant"))
        await far.next()
        await far.tell(Note)
        await settle()
        now = side.proxy.link_statistics()
        assert now == LinkStatistics(connected=True, sent=2, received=1)
        assert side.proxy.connected
        await far.end.abort()
        await settle()
        assert not side.proxy.connected
        assert not side.proxy.link_statistics().connected
        far = await network.far()
        await far.next()
        assert side.proxy.link_statistics() == LinkStatistics(connected=True, sent=1)


class Words(MessageSerializer):
    """A serializer that is none of ours."""

    def serialize(self, message: BusMessage) -> bytes:
        if isinstance(message, Note):
            return b"%d" % message.n
        if isinstance(message, BusWorkerRegistryMessage):
            return b"here"
        raise LocalWireError("only numbers cross")

    def deserialize(self, data: bytes) -> BusMessage:
        return Note(source="assistant", target="acme", n=int(data))


@links.PIPECAT_ONLY
async def test_a_serializer_of_ones_own(autojump_clock: Any) -> None:
    """S-PROXY-2: another serializer decides alone which types there are; the rules stay the same."""
    acme = Probe("acme", hears=(Note,))
    settings: dict[str, Any] = {"serializer": Words(), "forward_messages": (Note,)}
    async with connecting(acme, **settings) as (_, network):
        end = await network.accept()
        assert await end.receive() == b"here"
        await acme.send(Note(target="assistant", n=3))
        await acme.send(Note(n=4))
        assert [await end.receive() for _ in range(2)] == [b"3", b"4"]
        await end.send([b"5"])
        assert (await acme.receive(Note)).n == 5
        with pytest.raises(LocalWireError, match="only numbers cross"):
            await acme.send(BusDeactivateWorkerMessage(target="assistant"))


# Real connections


async def test_refusals_are_tried_again(caplog: Any) -> None:
    """S-PROXY-9, S-PROXY-10: a refusal is a connect that failed; the headers are sent each time."""
    seen: list[str | None] = []

    async def moody(request: IncomingConnection) -> bool:
        seen.append(request.headers.get("authorization"))
        return len(seen) > 2

    headers = {"Authorization": "Bearer secret"}
    async with serving(build, authenticate=moody) as listener:
        proxy = WebSocketProxyClient(
            "proxy",
            url=f"ws://127.0.0.1:{listener.port}/",
            local_worker_name="acme",
            remote_worker_name="assistant",
            active=True,
            headers=headers,
            reconnect=Backoff(initial=0),
        )
        headers.clear()
        off = trio.Event()

        @proxy.event_handler("on_deactivated")
        async def note(proxy: Worker) -> None:
            off.set()

        acme = Worker("acme")
        with trio.fail_after(10):
            async with open_runner(acme, proxy):
                assert await acme.ask("assistant", "echo", {"n": 1}) == {"n": 1}
                await proxy.deactivate_worker("proxy")
                await off.wait()
                await proxy.activate_worker("proxy")
                assert await acme.ask("assistant", "echo", {"n": 2}) == {"n": 2}
    assert seen == ["Bearer secret"] * 4
    assert caplog.text.count("refused the connection: HTTP status 403") == 2
    assert "secret" not in caplog.text


async def test_a_refusal_without_trying_again() -> None:
    """S-PROXY-1, S-PROXY-10: with reconnect=None the status of the refusal is the proxy's failure."""
    refusal = pytest.RaisesExc(RemoteWireError, match="refused the connection: HTTP status 401")
    async with serving(build, authenticate=bearer_token("secret")) as listener:
        with pytest.RaisesGroup(refusal, flatten_subgroups=True), trio.fail_after(10):
            await run_one(f"ws://127.0.0.1:{listener.port}/")


async def run_one(url: str, **settings: Any) -> None:
    """Run a client that tries once."""
    proxy = WebSocketProxyClient(
        "proxy",
        url=url,
        local_worker_name="acme",
        remote_worker_name="assistant",
        active=True,
        reconnect=None,
        **settings,
    )
    async with open_runner(proxy):
        await trio.sleep_forever()


async def test_nobody_there() -> None:
    """S-PROXY-1: with reconnect=None a port where nobody listens is the proxy's failure."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    with pytest.RaisesGroup(OSError, flatten_subgroups=True), trio.fail_after(10):
        await run_one(f"ws://127.0.0.1:{port}/")


async def test_a_server_that_never_answers() -> None:
    """S-PROXY-1: `handshake_timeout` bounds the whole of connecting."""
    late = pytest.RaisesExc(RemoteWireError, match=r"no answer to the handshake with .* for 0.05 s")
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.RaisesGroup(late, flatten_subgroups=True), trio.fail_after(10):
            await run_one(f"ws://127.0.0.1:{port}/", handshake_timeout=0.05)


# Settings


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"url": "http://x/"}, ValueError, "must look like ws://"),
        ({"url": 7}, TypeError, "url must be a str"),
        ({"ssl_context": ssl.create_default_context()}, ValueError, "use wss://"),
        (
            {"url": "wss://x/", "ssl_context": object()},
            TypeError,
            "ssl_context must be an ssl.SSLC",
        ),
        ({"active": "yes"}, TypeError, "active must be a bool, not 'yes'"),
        ({"headers": {"Host": "x"}}, ValueError, "belongs to the handshake"),
        ({"headers": [("a", "b")]}, TypeError, "headers must be a mapping"),
        ({"bus": object()}, TypeError, "takes no bus: it gets the one of the runner"),
        ({"reconnect": 1.0}, TypeError, "reconnect must be a Backoff or None"),
        ({"reconnect": False}, TypeError, "reconnect must be a Backoff or None"),
        ({"serializer": "json"}, TypeError, "serializer must be a MessageSerializer or None"),
        ({"heartbeat": 0}, ValueError, "heartbeat must be at least 0.001 seconds"),
        ({"heartbeat": None}, TypeError, "heartbeat must be a number of seconds"),
        ({"handshake_timeout": -1}, ValueError, "handshake_timeout must not be negative"),
        ({"handshake_timeout": "10"}, TypeError, "handshake_timeout must be a number of seconds"),
        ({"dialect": "auto"}, ValueError, "dialect must be one of native, pipecat, not 'auto'"),
        ({"local_worker_name": "proxy"}, ValueError, "has the name 'proxy' of one of its workers"),
        ({"remote_worker_name": "proxy"}, ValueError, "has the name 'proxy' of one of its"),
        ({"remote_worker_name": "acme"}, ValueError, "are both 'acme'"),
        ({"local_worker_name": "a b"}, ValueError, "local worker name"),
        ({"remote_worker_name": "x" * 129}, ValueError, "remote worker name"),
        ({"forward_messages": (Worker,)}, TypeError, "is no message class"),
        ({"accept": (Worker,)}, TypeError, "is no message class"),
        ({"name": ""}, ValueError, "''"),
    ],
)
def test_settings(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    """S-PROXY-1: what cannot be meant is refused where the proxy is made, and said what it is."""
    usual: dict[str, Any] = {
        "name": "proxy",
        "url": "ws://x/",
        "local_worker_name": "acme",
        "remote_worker_name": "assistant",
    }
    with pytest.raises(error, match=says):
        WebSocketProxyClient(**{**usual, **settings})
