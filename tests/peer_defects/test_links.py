"""What happens at the ends of a Pipecat link when it is opened, used in a hurry, and lost.

"On sockets" means real ones, with a WebSocket client or server of the test's at the other end; the
other tests have both ends in the process, on a clock that jumps.

| Id | What it is about | Test |
|---|---|---|
| P17 | the other side goes in mid-job | `test_p17_...` on sockets |
| P17b | a clean close is not told | `test_p17b_...` on sockets |
| P18 | a client leaves, its jobs run on | `test_p18_...` on sockets |
| B8 | a runner that has gone is still listed | `test_b8_...` |
| R1 | a request right behind an activation | `test_r1_...` |
| J14 | an urgent answer overtakes updates | `test_j14_...` |
| R4, B11 | events of a group that come at once | `test_b11_...` |
| P10 | a response that cannot be written | `test_p10_...` |
| J1, J3, J9, J12 | the ends of a job, told over a link | `test_j1_j3_j9_j12_...` |
| J6, J8, J11, R2 | jobs that are cut off or cancelled over a link | `test_j6_j8_...`, `test_j11_...`, `test_r2_...` |
| P8, P14 | text frames | `test_p8_...` on sockets |
| P15 | a second activation makes a second socket | `test_p15_...` on sockets |
| P19 | a connect that fails is not tried again | `test_p19_...` |
| P21 | what is sent before the socket is open is lost | `test_p21_...` on sockets |
| P7 | the client announces nothing | `test_p7_...` on sockets |
| P20, P20b | a message that is too big | `test_p20_...` on sockets |
| P22 | activating again after a loss | `test_p22_...` on sockets |

J16 and what else is about trust is in `test_trust_boundary`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Actor, Note, Server, outcome_of
from tests.proxies import links
from tests.proxies.links import Meeting, ours
from tests.proxies.pairs import (
    KNOWN,
    Far,
    LoggedClient,
    LoggedServer,
    Network,
    connecting,
    guarded,
    pair,
    served,
)
from tests.proxies.portals import Letters
from tests.proxies.serving import build, serving
from trioworkers import (
    Backoff,
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobUpdateMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    Job,
    JobCancelledError,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    JSONMessageSerializer,
    LocalWireError,
    MessageTooBigError,
    UnknownWorkerError,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies.transports import Transport
from trioworkers.testing import Probe

pytestmark = pytest.mark.usefixtures("dialect")

ROLES = pytest.mark.parametrize("role", ["server", "client"])


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


async def until(true: Callable[[], object]) -> None:
    """Wait until something is true; sockets take their time."""
    with trio.fail_after(5):
        while not true():
            await trio.testing.wait_all_tasks_blocked(0.001)


class Socketed:
    """A runner with a worker `assistant` and a proxy, on sockets; the peer `acme` is the test."""

    def __init__(self, runner: WorkerRunner, proxy: Any, events: list[str], far: Far) -> None:
        self.runner, self.proxy, self.events, self.far = runner, proxy, events, far
        self.letters = Letters()
        runner.add_instrument(self.letters)


def listened(proxy: Any, what: str) -> list[str]:
    """Keep the events of a proxy."""
    events: list[str] = []

    async def connected(proxy: Any, websocket: Any) -> None:
        events.append("connected")

    async def disconnected(proxy: Any, websocket: Any) -> None:
        events.append("disconnected")

    proxy.event_handler(f"on_{what}connected")(connected)
    proxy.event_handler(f"on_{what}disconnected")(disconnected)
    return events


@asynccontextmanager
async def on_sockets(role: str, *workers: Worker) -> AsyncGenerator[Socketed]:
    """Run workers with a proxy, whose peer is the test, over a real connection."""
    meeting = Meeting()
    names: dict[str, Any] = {
        "remote_worker_name": "acme",
        "serializer": JSONMessageSerializer(messages=KNOWN),
    }
    with trio.fail_after(20):
        async with ours(meeting) as port, trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{port}/"
            if role == "server":
                end: Transport = await open_client_transport(
                    url, nursery=nursery, subprotocols=links.offered()
                )
                accepted = await meeting.arrive()
                server = WebSocketProxyServer(
                    "proxy", websocket=accepted, worker_name="assistant", **names
                )
                events = listened(server, "client_")
                async with open_runner(*workers, server) as runner:
                    yield Socketed(runner, server, events, Far(end))
            else:
                client = WebSocketProxyClient(
                    "proxy",
                    url=url,
                    local_worker_name="assistant",
                    active=True,
                    reconnect=None,
                    dialect=links.DIALECT,
                    **names,
                )
                events = listened(client, "")
                async with open_runner(*workers, client) as runner:
                    end = await meeting.arrive()
                    yield Socketed(runner, client, events, Far(end))
                    await end.abort()
            meeting.over.set()
            await end.abort()


# Lost links


@ROLES
@pytest.mark.parametrize("way", [1000, 1001, 1011, "abort"])
async def test_p17_the_other_side_goes_in_mid_job(role: str, way: Any) -> None:
    """Peer: the job hangs, later ones time out, the registry still lists it.  Ours: all of it fails."""
    server = Server("assistant")
    async with on_sockets(role, server) as side, trio.open_nursery() as nursery:
        await side.far.announce()
        await side.runner.registry.wait_ready("acme")
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await outcome_of(server.ask("acme", "count")))

        nursery.start_soon(ask)
        nursery.start_soon(ask)
        for _ in range(2):
            await side.far.hear(BusJobRequestMessage)
        await (side.far.end.abort() if way == "abort" else side.far.end.close(way))
        await until(lambda: len(outcomes) == 2)
        for error in outcomes:
            assert isinstance(error, WorkerGoneError)
            assert f"the link to it is lost: {1006 if way == 'abort' else way}" in str(error)
        assert side.runner.registry.get("acme") is None
        await side.proxy.wait_stopped()
        with pytest.raises(UnknownWorkerError):
            await server.ask("acme", "count")
        assert side.events == ["connected", "disconnected"]


@ROLES
@pytest.mark.parametrize("code", [1000, 1001])
async def test_p17b_a_clean_close_is_told(role: str, code: int) -> None:
    """Peer: a clean close is no event until the next send fails.  Ours: an event at once."""
    async with on_sockets(role, Probe("assistant")) as side:
        await side.far.next()
        assert side.events == ["connected"]
        await side.far.end.close(code, "bye")
        await until(lambda: side.events == ["connected", "disconnected"])
        await side.proxy.wait_stopped()
        assert f"{code} bye, closed by peer" in str(side.proxy.stop_reason)


@ROLES
@pytest.mark.parametrize("way", [1000, "abort"])
async def test_p18_the_peer_leaves_in_mid_job(role: str, way: Any) -> None:
    """Peer: the job of who has left runs on.  Ours: it is cancelled, with the reason."""
    server = Server("assistant")
    async with on_sockets(role, server) as side:
        await side.far.tell(BusJobRequestMessage, job_id="1", job_name="hang", payload={})
        await until(lambda: server._node.desk.running)
        await (side.far.end.abort() if way == "abort" else side.far.end.close(way))
        await until(lambda: server.log)
        ((what, _, reason),) = server.log
        assert what == "cancelled"
        assert "the link is lost" in reason


async def test_p18_the_session_ends() -> None:
    """Peer: the runner of a client that has left goes on.  Ours: its session ends, and its workers."""
    stopped = trio.Event()

    class Late(Worker):
        async def on_stop(self) -> None:
            stopped.set()

    async def with_late(websocket: Any) -> Any:
        return [*await build(websocket), Late("late")]

    with trio.fail_after(20):
        async with serving(with_late) as listener, trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{listener.port}/"
            far = Far(
                await open_client_transport(url, nursery=nursery, subprotocols=links.offered())
            )
            await far.next()
            assert not stopped.is_set()
            await far.end.abort()
            await stopped.wait()


async def test_b8_a_runner_that_has_gone(autojump_clock: Any) -> None:
    """Peer: a runner that has gone stays in the registry: hang.  Ours: it goes, and who watches is told."""
    acme = Probe("acme")
    async with connecting(acme) as (side, network):
        end = await network.accept()
        async with open_runner(Server("assistant"), LoggedServer(end)) as other:
            await side.runner.registry.wait_ready("assistant")
            async with trio.open_nursery() as nursery:
                outcomes: list[Any] = []

                async def ask() -> None:
                    outcomes.append(await outcome_of(acme.ask("assistant", "hang")))

                nursery.start_soon(ask)
                await settle()
                await other.cancel("power cut")
            assert isinstance(outcomes[0], WorkerGoneError)
            assert trio.current_time() == 0
        assert side.runner.registry.get("assistant") is None
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.5):
            await acme.ask("assistant", "count")
        async with open_runner(Server("assistant"), LoggedServer(await network.accept())):
            assert await acme.ask("assistant", "echo", {"n": 1}) == {"n": 1}
            await side.runner.registry.wait_ready("assistant")


# Jobs over a link


def request(job_id: str, name: str, payload: Any) -> BusJobRequestMessage:
    """Make a request of the peer's."""
    return BusJobRequestMessage(
        source="acme", target="assistant", job_id=job_id, job_name=name, payload=payload
    )


@asynccontextmanager
async def both(role: str, *workers: Worker, **settings: Any) -> AsyncGenerator[tuple[Any, Far]]:
    """Run a proxy for `assistant` whose peer `acme` is the test, at either end of the link."""
    if role == "server":
        async with served(*workers, capacity=100, **settings) as (side, far):
            yield side, far
    else:
        names = {"local_worker_name": "assistant", "remote_worker_name": "acme"}
        network = Network(100)
        async with connecting(*workers, network=network, **names, **settings) as (side, _):
            yield side, Far(await network.accept())


@ROLES
async def test_r1_a_request_right_behind_an_activation(role: str, autojump_clock: Any) -> None:
    """Peer: both frames arrive together, and the request is dropped.  Ours: it is answered."""
    worker = Server("assistant", active=False)
    async with both(role, worker) as (_, far):
        for n in range(3):
            await far.say(
                BusActivateWorkerMessage(source="acme", target="assistant"),
                request(f"{n}", "echo", {"n": n}),
                BusDeactivateWorkerMessage(source="acme", target="assistant"),
                request(f"late-{n}", "echo", {}),
            )
            answers = [await far.hear(BusJobResponseMessage) for _ in range(2)]
            response = {each.job_id: each.response for each in answers}
            assert response[f"{n}"] == {"n": n}
            assert response[f"late-{n}"]["refused"] == "inactive"


async def test_r1_on_both_sides(autojump_clock: Any) -> None:
    """Peer: the same when it is our worker that activates and asks.  Ours: it is answered."""

    def inactive() -> Server:
        return Server("assistant", active=False)

    async with pair(lambda: Probe("acme"), inactive) as (side, _):
        acme = side.worker("acme")
        await acme.activate_worker("assistant")
        assert await acme.ask("assistant", "echo", {"n": 1}) == {"n": 1}


@pytest.mark.parametrize("urgent", [False, True])
async def test_j14_an_answer_does_not_overtake(urgent: bool, autojump_clock: Any) -> None:
    """Peer: an urgent answer overtakes the updates before it.  Ours: whatever waits, in order."""

    async def serve(worker: Worker, job: Job, payload: Any) -> Any:
        for n in range(100):
            await worker.send(Note(target="acme", n=n))
        for i in range(5):
            await job.update({"i": i}, urgent=urgent and i % 2 == 1)
        return {"done": True}

    def far() -> Actor:
        return Actor("assistant", serve=serve)

    async with pair(lambda: Probe("acme"), far, capacity=1) as (side, _):
        acme = side.worker("acme")
        async with acme.job("assistant", "serve") as pending:
            events = [event.data async for event in pending]
        assert events == [{"i": i} for i in range(5)]
        assert pending.response == {"done": True}
        notes = [(await acme.receive(Note)).n for _ in range(100)]
        assert notes == list(range(100))


@ROLES
async def test_j14_a_peer_that_hurries(role: str, autojump_clock: Any) -> None:
    """Peer: its own urgent answer loses the updates before it.  Ours: what came first, counts first."""
    worker = Probe("assistant")
    async with both(role, worker) as (_, far), trio.open_nursery() as nursery:
        seen: list[Any] = []

        async def ask() -> None:
            async with worker.job("acme", "count") as pending:
                await trio.sleep(1)
                seen.extend([event.data async for event in pending])
            seen.append(pending.response)

        nursery.start_soon(ask)
        asked = await far.hear(BusJobRequestMessage)
        head = {"source": "acme", "target": "assistant", "job_id": asked.job_id}
        done = {"status": JobStatus.COMPLETED, "response": {"done": True}}
        await far.say(
            BusJobUpdateMessage(**head, update={"i": 0}),
            BusJobUpdateUrgentMessage(**head, update={"i": 1}),
            BusJobUpdateMessage(**head, update={"i": 2}),
            BusJobResponseUrgentMessage(**head, **done),
        )
    assert seen == [{"i": 0}, {"i": 1}, {"i": 2}, {"done": True}]


async def test_b11_events_of_a_group_that_come_at_once(autojump_clock: Any) -> None:
    """Peer: of a group of six, two or three workers' events are seen (20 of 20).  Ours: all."""
    acme = Probe("acme")
    names = [f"far{n}" for n in range(6)]
    networks = {name: Network() for name in names}
    proxies = [
        LoggedClient(network, f"to-{name}", remote_worker_name=name)
        for name, network in networks.items()
    ]

    async def answer(name: str) -> None:
        far = Far(await networks[name].accept(), name, "acme")
        while True:
            asked = await far.hear(BusJobRequestMessage)
            head = {"source": name, "target": "acme", "job_id": asked.job_id}
            updates = [BusJobUpdateMessage(**head, update={"i": i}) for i in range(3)]
            done = BusJobResponseMessage(**head, status=JobStatus.COMPLETED, response={})
            await far.say(*updates, done)

    async with guarded(), open_runner(acme, *proxies), trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(answer, name)
        for _ in range(20):
            async with acme.job_group(*names, name="count") as group:
                # Late: the events are there already.
                await settle()
                events = [(event.worker_name, event.data) async for event in group]
            for name in names:
                mine = [data for worker, data in events if worker == name]
                assert mine == [{"i": i} for i in range(3)]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "response",
    [
        {"a": {1, 2}},
        {(1, 2): 3},
        {"a": object()},
        {"a": float("nan")},
        {"a": "\ud800"},
        {"a": "x" * 2**20},
    ],
    ids=["set", "key", "object", "nan", "surrogate", "big"],
)
async def test_p10_a_response_that_cannot_be_written(response: Any, autojump_clock: Any) -> None:
    """Peer: null arrives, or nothing ever: hang.  Ours: an error that says what was wrong with it."""

    async def serve(worker: Worker, job: Job, payload: Any) -> Any:
        return response

    def far() -> Actor:
        return Actor("assistant", serve=serve)

    async with pair(lambda: Probe("acme"), far) as (side, _):
        acme = side.worker("acme")
        with pytest.raises(JobRemoteError, match="its response cannot cross the link: "):
            await acme.ask("assistant", "serve")
        with pytest.raises(LocalWireError):
            await acme.ask("assistant", "serve", response)
        assert side.proxy.connected
        assert trio.current_time() == 0


async def test_p10_a_tuple(autojump_clock: Any) -> None:
    """Peer: a tuple becomes null.  Ours: a list, as JSON has it."""

    async def serve(worker: Worker, job: Job, payload: Any) -> Any:
        return {"a": (1, (2, 3))}

    async with pair(lambda: Probe("acme"), lambda: Actor("assistant", serve=serve)) as (side, _):
        answer = await side.worker("acme").ask("assistant", "serve")
        assert answer == {"a": [1, [2, 3]]}


@pytest.mark.parametrize(
    ("worker", "name", "error", "says"),
    [
        (Server, "boom", JobRemoteError, "KeyError: 'boom'"),
        (Server, "fail", JobFailedError, "failed"),
        (Server, "what", JobRefusedError, "unknown job"),
        (lambda name: Server(name, active=False), "echo", JobRefusedError, "inactive"),
        (lambda name: Probe("nobody"), "echo", WorkerGoneError, "not on the bus of its side"),
    ],
    ids=["J1", "J12", "J9", "J3", "J9b"],
)
async def test_j1_j3_j9_j12_ends_of_a_job(
    worker: Any, name: str, error: Any, says: str, autojump_clock: Any
) -> None:
    """Peer: hangs, or gets a timeout or a success.  Ours: the same error as at home."""
    async with connecting(Probe("acme")) as (side, network):
        end = await network.accept()
        async with open_runner(worker("assistant"), LoggedServer(end)):
            with pytest.raises(error, match=says):
                await side.worker("acme").ask("assistant", name)
            assert trio.current_time() == 0


@pytest.mark.parametrize("stop", ["end", "cancel"])
async def test_j6_j8_the_worker_beyond_the_link_stops(stop: str, autojump_clock: Any) -> None:
    """Peer: the requester gets {} as a success.  Ours: an end lets the job finish, a cancel is told."""
    async with pair(lambda: Probe("acme"), lambda: Server("assistant")) as (side, other):
        answers: list[Any] = []

        async def ask() -> None:
            asked = side.worker("acme").ask("assistant", "nap", {"seconds": 3})
            answers.append(await outcome_of(asked))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(1)
            runner = other.runner
            await (runner.end_worker if stop == "end" else runner.cancel_worker)("assistant")
        (answer,) = answers
        if stop == "end":
            assert answer == {"seconds": 3}
        else:
            assert isinstance(answer, WorkerGoneError)


@ROLES
async def test_j11_a_cancel_without_a_reason(role: str, autojump_clock: Any) -> None:
    """Peer: a job cancelled without a reason looks like a success.  Ours: it raises."""
    worker = Probe("assistant")
    async with both(role, worker) as (_, far), trio.open_nursery() as nursery:
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await outcome_of(worker.ask("acme", "count")))

        nursery.start_soon(ask)
        asked = await far.hear(BusJobRequestMessage)
        await far.tell(BusJobResponseMessage, job_id=asked.job_id, status=JobStatus.CANCELLED)
        await settle()
        assert isinstance(outcomes[0], JobCancelledError)


@ROLES
async def test_r2_a_cancel_for_an_inactive_worker(role: str, autojump_clock: Any) -> None:
    """Peer: the job of a worker that was deactivated cannot be cancelled.  Ours: it can."""
    server = Server("assistant")
    async with both(role, server) as (_, far):
        await far.say(request("1", "hang", {}))
        await settle()
        await far.tell(BusDeactivateWorkerMessage)
        await far.tell(BusJobCancelMessage, job_id="1", reason="enough")
        assert (await far.hear(BusJobResponseMessage)).status is JobStatus.CANCELLED
        assert "enough" in server.log[0][2]


# Frames


@ROLES
@links.PIPECAT_ONLY
async def test_p8_text_frames(role: str) -> None:
    """Peer: one text frame makes a server deaf for good, silently.  Ours: reads it like any other."""
    worker = Probe("assistant")
    async with on_sockets(role, worker) as side:
        far = side.far
        text = far.serializer.serialize(Note(source="acme", target="assistant", n=1)).decode()
        await far.next()
        await far.end._connection.send_message(text)
        assert (await worker.receive(Note)).n == 1
        for garbage in ("", "hello", "{}", json.dumps({"__type__": "x", "__data__": {}})):
            await far.end._connection.send_message(garbage)
        await far.tell(Note, n=2)
        assert (await worker.receive(Note)).n == 2
        assert [reason for reason, _ in side.letters.take()] == ["undecodable"] * 4
        await worker.send(Note(target="acme", n=3))
        assert (await far.hear(Note)).n == 3
        assert side.events == ["connected"]


@ROLES
async def test_p20_a_message_that_is_too_big(role: str) -> None:
    """Peer: the link closes with 1009, and the job times out.  Ours: an error at the sender."""
    worker = Probe("assistant")
    big = {"text": "x" * 2**20}
    async with on_sockets(role, worker) as side, trio.open_nursery() as nursery:
        await side.far.next()
        with pytest.raises(MessageTooBigError):
            await worker.ask("acme", "count", big)
        assert side.proxy.connected
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await outcome_of(worker.ask("acme", "count")))

        nursery.start_soon(ask)
        await side.far.hear(BusJobRequestMessage)
        nursery.start_soon(side.far.end.send, [b"x" * (2**20 + 1)])
        end = await side.far.until_closed()
        assert end.code == 1009
        await until(lambda: outcomes)
        assert isinstance(outcomes[0], WorkerGoneError)
        assert "1009" in str(outcomes[0])
        # Who closes waits for the other end, so that it can read why.
        await side.far.end.abort()


# Connecting


@asynccontextmanager
async def counted(
    **settings: Any,
) -> AsyncGenerator[tuple[list[Any], Worker, WebSocketProxyClient]]:
    """Serve, and run a client that is not active yet; gives all connections there were."""
    connections: list[Any] = []

    async def count(websocket: Any) -> Any:
        connections.append(websocket)
        return await build(websocket)

    with trio.fail_after(20):
        async with serving(count) as listener:
            proxy = WebSocketProxyClient(
                "proxy",
                url=f"ws://127.0.0.1:{listener.port}/",
                local_worker_name="acme",
                remote_worker_name="assistant",
                **settings,
            )
            acme = Probe("acme")
            async with open_runner(acme, proxy):
                yield connections, acme, proxy


async def test_p15_activated_twice() -> None:
    """Peer: a second activation opens a second socket, the first one dangles.  Ours: there is one."""
    async with counted() as (connections, acme, proxy):
        for _ in range(5):
            await acme.activate_worker("proxy")
        assert await acme.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        await acme.activate_worker("proxy")
        assert await acme.ask("assistant", "echo", {"n": 2}) == {"n": 2}
        assert len(connections) == 1
        await acme.deactivate_worker("proxy")
        await acme.activate_worker("proxy")
        await until(lambda: len(connections) == 2 and proxy.connected)
        # The first one is over at its other end, too.
        await until(lambda: connections[0].transport.lost is not None)


async def test_p21_messages_before_the_socket_is_open() -> None:
    """Peer: what is sent before the socket is open is lost, without a word.  Ours: it arrives, in order."""
    async with counted() as (connections, acme, proxy):
        await acme.activate_worker("proxy")
        assert not proxy.connected
        answers: list[Any] = []

        async def ask(n: int) -> None:
            answers.append(await acme.ask("assistant", "echo", {"n": n}))

        async with trio.open_nursery() as nursery:
            for n in range(10):
                nursery.start_soon(ask, n)
        assert sorted(each["n"] for each in answers) == list(range(10))
        assert len(connections) == 1


async def test_p21_right_behind_the_activation(autojump_clock: Any) -> None:
    """Peer: messages right behind the activation are lost.  Ours: they leave first, in order."""
    acme = Probe("acme")
    async with connecting(acme, active=False) as (side, network), trio.open_nursery() as nursery:

        async def hurry() -> None:
            await acme.activate_worker("proxy")
            for n in range(5):
                await acme.send(Note(target="assistant", n=n))

        nursery.start_soon(hurry)
        far = await network.far()
        assert [(await far.hear(Note)).n for _ in range(5)] == list(range(5))
        assert side.letters.take() == []


async def test_p19_a_connect_that_fails(autojump_clock: Any, caplog: Any) -> None:
    """Peer: it fails once, stays "active", and nobody is told.  Ours: tried again, and said so."""
    network = Network()
    network.troubles = [ConnectionRefusedError("nobody there")] * 3
    acme = Probe("acme")
    async with connecting(acme, network=network) as (side, _), trio.open_nursery() as nursery:
        nursery.start_soon(acme.send, Note(target="assistant", n=1))
        far = await network.far()
        assert (await far.hear(Note)).n == 1
        assert network.attempts == [0, 1, 3, 7]
        assert side.proxy.what == ["connected"]
    assert caplog.text.count("nobody there; trying again in") == 3


async def test_p22_activated_again_after_a_loss() -> None:
    """Peer: after a loss somebody has to activate it again.  Ours: it comes back by itself."""
    async with counted(active=True, reconnect=Backoff(initial=0)) as (connections, acme, _):
        for n in range(3):
            assert await acme.ask("assistant", "echo", {"n": n}) == {"n": n}
            assert len(connections) == n + 1
            await connections[-1].transport.abort()
            await until(lambda: len(connections) == n + 2)  # noqa: B023 - in this turn


async def test_p7_the_client_announces_its_worker() -> None:
    """Peer: a client announces nothing, so the server cannot ask its worker.  Ours: both announce."""
    asked: list[Any] = []
    done = trio.Event()

    class Curious(Worker):
        async def on_start(self) -> None:
            await self.watch_worker("acme")

        async def on_worker_ready(self, data: Any) -> None:
            asked.append(await self.ask("acme", "echo", {"n": 1}))
            done.set()

    async def curious(websocket: Any) -> Any:
        gateway = WebSocketProxyServer(
            "gateway", websocket=websocket, worker_name="assistant", remote_worker_name="acme"
        )
        return [Curious("assistant"), gateway]

    with trio.fail_after(20):
        async with serving(curious) as listener:
            proxy = WebSocketProxyClient(
                "proxy",
                url=f"ws://127.0.0.1:{listener.port}/",
                local_worker_name="acme",
                remote_worker_name="assistant",
                active=True,
            )
            async with open_runner(Server("acme"), proxy) as runner:
                assert (await runner.registry.wait_ready("assistant")).name == "assistant"
                await done.wait()
    assert asked == [{"n": 1}]


async def test_p7_an_announcement_to_the_server(autojump_clock: Any) -> None:
    """Peer: its server takes an announcement only if it has its worker as target.  Ours: sends such."""
    async with connecting(Probe("acme")) as (_, network):
        message: BusMessage = await (await network.far()).next()
        assert isinstance(message, BusWorkerRegistryMessage)
        assert message.target == "assistant"
