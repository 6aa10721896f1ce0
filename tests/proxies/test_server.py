"""The proxy that is connected to: its connection, its events, its settings, its place in the tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Actor, Alarm, Note, Server, outcome_of
from tests.proxies import links
from tests.proxies.links import Meeting, ours
from tests.proxies.pairs import KNOWN, Far, LoggedServer, Side, connecting, ends, guarded, served
from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    JSONMessageSerializer,
    LinkStatistics,
    NameTakenError,
    Worker,
    WorkerState,
    handles,
    message,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyServer
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._link import CLOSE_SECONDS
from trioworkers.proxies._memory import MemoryTransport
from trioworkers.proxies._proxy import HANDSHAKE_SECONDS
from trioworkers.proxies._transport import LinkClosed
from trioworkers.testing import Probe
from trioworkers.wire import pipecat

pytestmark = pytest.mark.usefixtures("dialect")


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


async def activate(side: Side) -> None:
    """Make the proxy active."""
    await side.runner.send(BusActivateWorkerMessage(target=side.proxy.name))


async def stopped(side: Side, reason: str) -> None:
    """Check that the proxy stops in time, in order and for this reason."""
    with trio.fail_after(60):
        await side.proxy.wait_stopped()
    assert side.proxy.state is WorkerState.STOPPED
    assert reason in str(side.proxy.stop_reason)
    assert not side.proxy.connected
    assert side.runner.registry.get("acme") is None
    assert side.runner.bus.route("acme") is None


# The connection


@links.PIPECAT_ONLY
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_connection_that_is_over_already(how: str, autojump_clock: Any) -> None:
    """S-PROXY-1: a proxy of a connection that has gone meanwhile stops, and says why."""
    end, far = ends()
    async with trio.open_nursery() as nursery:
        if how == "closed":
            nursery.start_soon(far.close, 1001, "changed my mind")
        else:
            await far.abort()
        proxy = LoggedServer(end)
        async with guarded(), open_runner(Probe("assistant"), proxy) as runner:
            code = "1001 changed my mind, closed by peer" if how == "closed" else "1006"
            await stopped(Side(runner, proxy), f"the link is lost: {code}")
            assert proxy.events == ["connected", "disconnected"]


class Shy(MemoryTransport):
    """An end whose client is slow with the opening handshake, or goes before it."""

    wait = 0.0
    gone = False
    answered = False

    @property
    def accepted(self) -> bool:
        return self.answered

    async def accept(self, subprotocol: str | None = None) -> None:
        await trio.sleep(self.wait)
        self.answered = True
        if self.gone:
            raise LinkClosed(1006, "the client has gone", "peer")


def shy(wait: float, gone: bool = False) -> tuple[Shy, MemoryTransport]:
    """Make the two ends of a connection that is yet to be accepted."""
    model, far = ends()
    near = Shy("shy", model._wire, 16)
    near.join(far)
    far.join(near)
    near.wait, near.gone = wait, gone
    return near, far


async def test_a_client_that_never_finishes_the_handshake(autojump_clock: Any) -> None:
    """S-PROXY-1: accepting takes 10 seconds at most; then the connection is dropped."""
    end, far = shy(1000)
    proxy = LoggedServer(end)
    async with guarded(), open_runner(Probe("assistant"), proxy) as runner:
        await stopped(Side(runner, proxy), "no handshake within 10.0 s")
        assert trio.current_time() == HANDSHAKE_SECONDS
        assert proxy.events == []
        assert (await Far(far).until_closed()).code == 1006


async def test_a_client_that_goes_during_the_handshake(autojump_clock: Any) -> None:
    """S-PROXY-1: a client that goes before it was accepted stops the proxy, without an event."""
    end, _ = shy(1, gone=True)
    proxy = LoggedServer(end)
    async with guarded(), open_runner(Probe("assistant"), proxy) as runner:
        await stopped(Side(runner, proxy), "the link is lost: 1006 the client has gone")
        assert proxy.events == []


@pytest.mark.parametrize("stop", ["deactivate", "end", "cancel"])
async def test_given_up_during_the_handshake(stop: str, autojump_clock: Any) -> None:
    """S-PROXY-1: whatever stops it before it was accepted, the connection goes and the proxy stops."""
    end, far = shy(1000)
    proxy = LoggedServer(end)
    async with guarded(), open_runner(Probe("assistant"), proxy) as runner:
        await settle()
        if stop == "deactivate":
            await runner.send(BusDeactivateWorkerMessage(target="gateway"))
        else:
            await (runner.end_worker if stop == "end" else runner.cancel_worker)("gateway")
        await proxy.wait_stopped()
        assert trio.current_time() == 0
        assert proxy.events == []
        assert (await Far(far).until_closed()).code == 1006
        if stop == "deactivate":
            assert "given up before there was a link" in str(proxy.stop_reason)


@links.PIPECAT_ONLY
async def test_inactive_until_told(autojump_clock: Any) -> None:
    """S-PROXY-1: with active=False the connection is taken when the proxy is activated."""
    async with served(Probe("assistant"), active=False) as (side, far):
        await far.tell(Note, n=1)
        await settle()
        assert side.proxy.events == []
        assert not side.proxy.connected
        await activate(side)
        await activate(side)
        assert (await side.worker("assistant").receive(Note)).n == 1
        assert side.proxy.connected
        assert side.proxy.events == ["connected"]


async def test_deactivating_closes_and_stops(autojump_clock: Any) -> None:
    """S-PROXY-1: deactivated, a server proxy closes its only connection in order, and stops."""
    async with served(Probe("assistant")) as (side, far), trio.open_nursery() as nursery:
        ends: list[LinkClosed] = []

        async def drain() -> None:
            ends.append(await far.until_closed())

        nursery.start_soon(drain)
        await settle()
        await side.runner.send(BusDeactivateWorkerMessage(target="gateway"))
        await stopped(side, "the link is lost: 1000 the proxy was deactivated, closed by us")
        assert side.proxy.events == ["connected", "disconnected"]
    assert (ends[0].code, ends[0].reason) == (1000, "the proxy was deactivated")


async def test_the_end_of_the_runner_ends_a_proxy_that_waits(autojump_clock: Any) -> None:
    """S-PROXY-9: a proxy that was never activated does not hold up the end."""
    async with served(Probe("assistant"), active=False) as (side, _):
        await side.runner.end("enough")
        await side.runner.wait_stopped()
        assert trio.current_time() == 0
        assert side.proxy.events == []


# Leaving


async def test_hanging_up_twice(autojump_clock: Any) -> None:
    """S-PROXY-9: what has begun to close goes on closing, for the first reason."""
    async with served(Probe("assistant")) as (side, far):
        await far.next()
        side.proxy._hang_up("one")
        side.proxy._hang_up("two")
        end = await far.until_closed()
        assert (end.code, end.reason) == (1000, "one")


@pytest.mark.parametrize("leaves", [False, True])
async def test_session_control_behind_a_write(leaves: bool, autojump_clock: Any) -> None:
    """S-PROXY-2, S-PROXY-5: a cancel that is let out leaves behind the write that goes on."""
    sender = Probe("assistant")
    forward = (BusCancelMessage,)
    async with served(sender, capacity=1, forward_messages=forward) as (side, far):
        await far.next()
        for n in range(20):
            await sender.send(Note(target="acme", n=n))
        await settle()
        await sender.send(BusCancelMessage(reason="closing"))
        await trio.sleep(1)
        heard: list[BusMessage] = [await far.next() for _ in range(5)]
        if leaves:
            await far.end.abort()
        else:
            with pytest.raises(LinkClosed) as closed:
                while True:
                    heard.append(await far.next())
            assert closed.value.code == 1001
            assert isinstance(heard.pop(), BusCancelMessage)
        assert [each.n for each in heard if isinstance(each, Note)] == list(range(len(heard)))
        await side.runner.wait_stopped()
        assert trio.current_time() == 1
        assert side.proxy.events == ["connected", "disconnected"]


async def test_jobs_do_not_wait_for_the_closing_handshake(autojump_clock: Any) -> None:
    """S-PROXY-3: when this side closes, its jobs fail then, however long the peer takes to agree."""
    server = Server("assistant")
    async with served(server) as (side, far), trio.open_nursery() as nursery:
        await far.announce()
        await side.runner.registry.wait_ready("acme")
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append((await outcome_of(server.ask("acme", "x")), trio.current_time()))

        nursery.start_soon(ask)
        await far.tell(BusJobRequestMessage, job_id="1", job_name="hang", payload={})
        await far.hear(BusJobRequestMessage)
        # One too many, and then it does not read.
        await far.say(*[b"garbage"] * 33)
        await side.proxy.wait_stopped()
        assert trio.current_time() == CLOSE_SECONDS
        ((error, when),) = outcomes
        assert "the link to it is lost: 1008 too many unreadable messages" in str(error)
        assert (when, server.log[0][1]) == (0, 0)
        assert side.proxy.events == ["connected", "disconnected"]


# Events

FAILED = pytest.RaisesGroup(pytest.RaisesExc(KeyError, match="broken"), flatten_subgroups=True)


@links.PIPECAT_ONLY
@pytest.mark.parametrize("stop", ["deactivate", "end", "cancel"])
async def test_stopped_in_the_event(stop: str, autojump_clock: Any) -> None:
    """S-PROXY-1, S-PROXY-9: stopped while on_client_connected runs, the client is told, and it ends."""
    async with served(Probe("assistant"), active=False) as (side, far):
        entered = trio.Event()

        @side.proxy.event_handler("on_client_connected")
        async def linger(proxy: Worker, websocket: Any) -> None:
            entered.set()
            await trio.sleep_forever()

        await activate(side)
        await entered.wait()
        assert not side.proxy.connected
        async with trio.open_nursery() as nursery:
            ends: list[LinkClosed] = []

            async def drain() -> None:
                ends.append(await far.until_closed())

            nursery.start_soon(drain)
            if stop == "deactivate":
                await side.runner.send(BusDeactivateWorkerMessage(target="gateway"))
            else:
                await (side.runner.end_worker if stop == "end" else side.runner.cancel_worker)(
                    "gateway"
                )
            await side.proxy.wait_stopped()
        assert trio.current_time() == 0
        assert side.proxy.events == ["connected", "disconnected"]
        assert (ends[0].code, ends[0].by) == (1001, "peer")


@links.PIPECAT_ONLY
async def test_a_handler_that_raises_at_the_beginning(autojump_clock: Any, caplog: Any) -> None:
    """S-PROXY-1: an error in on_client_connected is the proxy's; the client is told 1011."""
    caplog.set_level("INFO", logger="trioworkers")
    end, far = ends()
    proxy = LoggedServer(end)

    @proxy.event_handler("on_client_connected")
    async def broken(proxy: Worker, websocket: Any) -> None:
        raise KeyError("broken")

    with FAILED:
        async with (
            guarded(),
            open_runner(Probe("assistant"), proxy),
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(trio.sleep_forever)
            assert await Far(far).until_closed()
            told = far.lost
            await trio.sleep_forever()
    assert isinstance(told, LinkClosed)
    assert (told.code, told.reason) == (1011, "the proxy has failed")
    assert proxy.events == ["connected", "disconnected"]
    assert "proxy gateway has lost memory two: 1011 the proxy has failed" in caplog.text


@links.PIPECAT_ONLY
async def test_a_handler_that_raises_before_a_peer_that_is_stuck(autojump_clock: Any) -> None:
    """S-PROXY-9: a peer that does not hear that the proxy has failed is dropped after 2 seconds."""
    end, far = ends()
    far.freeze()
    proxy = LoggedServer(end)

    @proxy.event_handler("on_client_connected")
    async def broken(proxy: Worker, websocket: Any) -> None:
        raise KeyError("broken")

    with FAILED:
        async with guarded(), open_runner(Probe("assistant"), proxy):
            await trio.sleep_forever()
    assert trio.current_time() == CLOSE_SECONDS


async def test_a_handler_that_raises_at_the_end(autojump_clock: Any) -> None:
    """S-PROXY-1: an error in on_client_disconnected is the proxy's, after the jobs have failed."""
    end, far = ends()
    proxy = LoggedServer(end)

    @proxy.event_handler("on_client_disconnected")
    async def broken(proxy: Worker, websocket: Any) -> None:
        raise KeyError("broken")

    with FAILED:
        async with guarded(), open_runner(Probe("assistant"), proxy) as runner:
            await Far(far).announce()
            await runner.registry.wait_ready("acme")
            await far.abort()
            await trio.sleep_forever()
    assert proxy.events == ["connected", "disconnected"]


@links.PIPECAT_ONLY
async def test_a_serializer_that_raises_something_else(autojump_clock: Any) -> None:
    """S-PROXY-4: a serializer's own error is the proxy's; the client is told 1011, not 1001."""
    serializer = JSONMessageSerializer(messages=KNOWN)
    end, far = ends()
    proxy = LoggedServer(end, serializer=serializer)
    told: list[LinkClosed] = []

    def deserialize(data: bytes) -> BusMessage:
        raise ZeroDivisionError

    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with guarded(), open_runner(Probe("assistant"), proxy):
            await settle()
            assert proxy._current is not None
            proxy._current._inner.deserialize = deserialize  # type: ignore[method-assign]
            peer = Far(far)
            await peer.tell(Note)
            told.append(await peer.until_closed())
            await trio.sleep_forever()
    assert (told[0].code, told[0].reason) == (1011, "the proxy has failed")
    assert proxy.events == ["connected", "disconnected"]


async def test_events_get_the_connection(autojump_clock: Any) -> None:
    """S-PROXY-1: both events get the proxy and the connection's own object."""
    seen: list[Any] = []
    async with served(Probe("assistant"), active=False) as (side, far):

        @side.proxy.event_handler("on_client_connected")
        @side.proxy.event_handler("on_client_disconnected")
        async def note(proxy: Worker, websocket: Any) -> None:
            seen.append((proxy, websocket))

        await activate(side)
        await far.next()
        await far.end.close(1000)
        await side.proxy.wait_stopped()
        assert seen == [(side.proxy, side.proxy._transport.websocket)] * 2


async def test_what_is_sent_by_a_task_of_the_event(autojump_clock: Any) -> None:
    """S-PROXY-1: what a handler has sent by a task leaves when the handler has returned."""
    sender = Probe("assistant")
    async with served(sender, active=False) as (side, far):

        @side.proxy.event_handler("on_client_connected")
        async def greet(proxy: Worker, websocket: Any) -> None:
            proxy.nursery.start_soon(sender.send, Note(target="acme", n=7))
            await trio.sleep(1)

        await activate(side)
        assert isinstance(await far.next(), BusWorkerRegistryMessage)
        assert (await far.hear(Note)).n == 7
        assert trio.current_time() == 1


def test_events_have_names() -> None:
    """S-PROXY-1: an event that does not exist is refused, with those that do."""
    proxy: Any = LoggedServer(ends()[0])
    with pytest.raises(ValueError, match="on_client_connected, on_client_disconnected"):
        proxy.event_handler("on_connected")


# The local worker


@message
class Token(BusDataMessage):
    n: int = 0


@message
class Rare(BusDataMessage):
    n: int = 0


def taker(seen: list[int], name: str = "assistant") -> Worker:
    """Make a worker with a type of its own."""

    class Taker(Worker):
        @handles(Token)
        async def take(self, message: Token) -> None:
            seen.append(message.n)

    return Taker(name)


async def test_a_worker_that_comes_later(autojump_clock: Any) -> None:
    """S-PROXY-3, S-PROXY-4: added after the link was made, it is announced, and its types known."""
    seen: list[int] = []
    async with served(Probe("other"), serializer=None) as (side, far):
        far.serializer = JSONMessageSerializer(messages=(Token,))
        await far.tell(BusJobRequestMessage, job_id="early", job_name="x", payload={})
        answer = await far.next()
        assert isinstance(answer, BusJobResponseMessage)
        assert answer.response is not None
        assert "not on the bus of its side" in answer.response["gone"]
        await far.tell(BusActivateWorkerMessage)
        await far.tell(Token, n=1)
        await settle()
        early = side.letters.take()
        assert [reason for reason, _ in early] == ["unknown", "undecodable"]
        late = taker(seen)
        await side.runner.add_workers(late)
        announced = await far.next()
        assert isinstance(announced, BusWorkerRegistryMessage)
        assert [entry.name for entry in announced.workers] == ["assistant"]
        await far.tell(Token, n=2)
        await settle()
        assert seen == [2]
        await late.send(Token(target="acme", n=3))
        assert (await far.hear(Token)).n == 3
        assert side.letters.take() == []


def handler_of(types: Sequence[type[BusMessage]]) -> type[Worker]:
    """Make a class of workers that handles these types."""

    def take(kind: type[BusMessage]) -> Any:
        async def handler(self: Worker, message: BusMessage) -> None: ...

        return handles(kind)(handler)

    return type("Many", (Worker,), {f"take_{n}": take(kind) for n, kind in enumerate(types)})


def made_type(name: str) -> type[BusMessage]:
    """Make a type of messages."""
    return message(type(name, (BusDataMessage,), {"__module__": __name__}))


async def test_one_table_for_all_sessions_of_a_route(autojump_clock: Any) -> None:
    """S-PROXY-4: a route makes its table once, in one step, whatever its worker handles."""
    made = lambda: pipecat._format.cache_info().misses  # noqa: E731
    many = [made_type(f"Many{n}") for n in range(70)]
    opaque = message(
        type("Opaque", (BusDataMessage,), {"__annotations__": {"x": set[int]}, "x": None})
    )
    # One that cannot cross, in the middle; and several routes with types of their own.
    routes = [handler_of([*many[:10], opaque, *many[10 + n :]]) for n in range(40)]
    async with served(Probe("other"), serializer=None):
        pass
    begun = made()
    for _ in range(3):
        for route in routes:
            end, far = ends()
            async with guarded(), open_runner(route("assistant"), LoggedServer(end)):
                peer = Far(far)
                peer.serializer = JSONMessageSerializer()
                assert isinstance(await peer.next(), BusWorkerRegistryMessage)
            await far.abort()
    assert made() - begun == len(routes)


async def test_a_worker_that_stops_and_another_one(autojump_clock: Any) -> None:
    """S-PROXY-3: when the local worker has stopped, its jobs are refused; another one may come."""
    seen: list[int] = []
    async with served(Server("assistant"), serializer=None) as (side, far):
        far.serializer = JSONMessageSerializer(messages=(Token, Note))
        await far.next()
        await side.runner.end_worker("assistant")
        await settle()
        assert side.proxy.connected
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={})
        gone = await far.hear(BusJobResponseMessage)
        assert gone.response is not None
        assert "not on the bus of its side" in gone.response["gone"]
        await far.tell(Note, n=1)
        await settle()
        assert [reason for reason, _ in side.letters.take()] == ["undecodable"]
        await side.runner.add_workers(taker(seen))
        await far.next()
        await far.tell(Token, n=2)
        await settle()
        assert seen == [2]


async def test_a_type_that_is_known_by_name_only(autojump_clock: Any) -> None:
    """S-PROXY-4: types named in the serializer are known although the local worker handles none."""
    serializer = JSONMessageSerializer(messages=(Rare,))
    async with served(Probe("assistant", hears=(Rare,)), serializer=serializer) as (side, far):
        far.serializer = serializer
        await far.next()
        await far.tell(Rare, n=4)
        assert (await side.worker("assistant").receive(Rare)).n == 4


# Its place


async def test_two_clients_with_one_name(autojump_clock: Any) -> None:
    """S-PROXY-3: a second proxy for a name is a NameTakenError; the first one goes on as before."""
    async with served(Server("assistant")) as (side, far):
        await far.next()
        end, second = ends()
        async with trio.open_nursery() as nursery:
            with pytest.raises(NameTakenError, match="'acme'") as caught:
                await side.runner.add_workers(LoggedServer(end, "other"))
            # What an application does with it: it was never the proxy's to close.
            nursery.start_soon(end.close, 1008, str(caught.value))
            told = await Far(second).until_closed()
        assert told.code == 1008
        assert "'acme'" in told.reason
        assert side.runner.bus.route("other") is None
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={"n": 1})
        assert (await far.hear(BusJobResponseMessage)).response == {"n": 1}
        await far.end.abort()
        await side.proxy.wait_stopped()
        # The name is free again.
        end, third = ends()
        await side.runner.add_workers(LoggedServer(end, "other"))
        assert isinstance(await Far(third).next(), BusWorkerRegistryMessage)


async def test_two_clients_with_one_name_on_sockets() -> None:
    """S-PROXY-3: on one runner the second client of a name is sent away with the reason."""
    meeting = Meeting()
    server = Server("assistant")
    with trio.fail_after(20):
        async with ours(meeting) as port, trio.open_nursery() as nursery:
            async with open_runner(server) as runner:
                clients: list[Far] = []
                for name in ("one", "two"):
                    url = f"ws://127.0.0.1:{port}/"
                    client = await open_client_transport(
                        url, nursery=nursery, subprotocols=links.offered()
                    )
                    clients.append(Far(client))
                    end = await meeting.arrive()
                    try:
                        await runner.add_workers(LoggedServer(end, name))
                    except NameTakenError as error:
                        await end.close(1008, str(error))
                one, two = clients
                told = await two.until_closed()
                assert told.code == 1008
                assert "'acme'" in told.reason
                await one.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={"n": 1})
                assert (await one.hear(BusJobResponseMessage)).response == {"n": 1}
                nursery.start_soon(one.until_closed)
            meeting.over.set()
            for each in clients:
                await each.end.abort()


async def test_a_proxy_below_a_worker(autojump_clock: Any) -> None:
    """S-PROXY-9, S-SUP-3: the end of its parent ends a proxy in order, before the parent stops."""
    end, far_end = ends()
    far = Far(far_end)
    proxy = LoggedServer(end)
    order: list[str] = []

    async def start(worker: Worker) -> None:
        await worker.add_workers(proxy)

    async def stop(worker: Worker) -> None:
        order.append(f"parent stops, events {proxy.events}")

    async with guarded(), open_runner(Actor("assistant", start=start, stop=stop)) as runner:
        await far.next()
        assert proxy.parent == "assistant"
        async with trio.open_nursery() as nursery:
            await runner.end_worker("assistant")
            nursery.start_soon(far.until_closed)
            await proxy.wait_stopped()
    assert order == ["parent stops, events ['connected', 'disconnected']"]
    assert far_end.lost is not None
    assert far_end.lost.code == 1000


async def test_connected_and_statistics(autojump_clock: Any) -> None:
    """S-PROXY-9: `connected` and `link_statistics` are there before, during and after a link."""
    proxy = LoggedServer(ends()[0])
    assert proxy.link_statistics() == LinkStatistics()
    assert not proxy.connected
    async with served(Probe("assistant"), active=False) as (side, far):
        assert side.proxy.link_statistics() == LinkStatistics()
        await activate(side)
        await far.next()
        await far.tell(Note)
        await far.tell(Alarm)
        await settle()
        statistics = side.proxy.link_statistics()
        assert statistics == LinkStatistics(connected=True, sent=1, received=2)
        assert side.proxy.connected
        await far.end.abort()
        await side.proxy.wait_stopped()
        assert not side.proxy.connected
        assert side.proxy.link_statistics() == LinkStatistics()


# Settings

_END = ends()[0]


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"websocket": 7}, TypeError, "websocket must be a WebSocket connection"),
        ({"websocket": None}, TypeError, "websocket must be a WebSocket connection"),
        ({"bus": object()}, TypeError, "takes no bus: it gets the one of the runner"),
        ({"serializer": "json"}, TypeError, "serializer must be a MessageSerializer or None"),
        ({"heartbeat": 0}, ValueError, "heartbeat must be at least 0.001 seconds"),
        ({"heartbeat": -1}, ValueError, "heartbeat must not be negative"),
        ({"heartbeat": float("nan")}, ValueError, "heartbeat must not be negative"),
        ({"heartbeat": "20"}, TypeError, "heartbeat must be a number of seconds"),
        (
            {"dialect": "morse"},
            ValueError,
            "dialect must be one of auto, native, pipecat, not 'morse'",
        ),
        ({"worker_name": "gateway"}, ValueError, "has the name 'gateway' of one of its workers"),
        ({"remote_worker_name": "gateway"}, ValueError, "has the name 'gateway' of one of"),
        ({"remote_worker_name": "assistant"}, ValueError, "are both 'assistant'"),
        ({"worker_name": "a b"}, ValueError, "local worker name"),
        ({"remote_worker_name": ""}, ValueError, "remote worker name"),
        ({"forward_messages": (int,)}, TypeError, "forward_messages: <class 'int'> is no message"),
        ({"accept": ("Note",)}, TypeError, "accept: 'Note' is no message"),
        ({"name": "a/b"}, ValueError, "a/b"),
    ],
)
def test_settings(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    """S-PROXY-1: what cannot be meant is refused where the proxy is made, and said what it is."""
    names: dict[str, Any] = {"worker_name": "assistant", "remote_worker_name": "acme"}
    with pytest.raises(error, match=says):
        WebSocketProxyServer(**{"name": "gateway", "websocket": _END, **names, **settings})


@pytest.mark.parametrize("dialect", ["auto", "pipecat"])
def test_dialects(dialect: Any) -> None:
    """S-PROXY-1: both words for the dialect are taken."""
    WebSocketProxyServer(
        "gateway",
        websocket=ends()[0],
        worker_name="assistant",
        remote_worker_name="acme",
        dialect=dialect,
    )


async def test_an_early_message_of_the_worker_s_own_type(autojump_clock: Any) -> None:
    """S-PROXY-4, S-PROXY-9: its own and forwarded types are known before there is a link."""
    early = taker([], "acme")
    names = {"serializer": None, "active": False, "forward_messages": (Rare,)}
    async with connecting(early, **names) as (side, network), trio.open_nursery() as nursery:
        nursery.start_soon(early.send, Token(target="assistant", n=1))
        await settle()
        nursery.start_soon(early.send, Rare(target="assistant", n=2))
        await settle()
        assert side.proxy.link_statistics().waiting_senders == 2
        await activate(side)
        far = await network.far()
        far.serializer = JSONMessageSerializer(messages=(Token, Rare))
        assert (await far.hear(Token)).n == 1
        assert (await far.hear(Rare)).n == 2
