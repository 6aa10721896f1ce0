"""What the native dialect adds to a link: a stuck side, priority, cancels, deadlines."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Alarm, Note, Server, outcome_of
from tests.proxies import links
from tests.proxies.natives import Native
from tests.proxies.pairs import (
    KNOWN,
    Far,
    LoggedServer,
    Network,
    connecting,
    ends,
    guarded,
    pair,
    served,
)
from trioworkers import (
    BusDataMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusWorkerRegistryMessage,
    Job,
    JSONMessageSerializer,
    MessageTooBigError,
    SystemLaneFullError,
    Worker,
    WorkerGoneError,
    handles,
    job,
    message,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient
from trioworkers.proxies._deliveries import SYSTEM_CAPACITY
from trioworkers.proxies._memory import MemoryTransport
from trioworkers.proxies._outbox import CAPACITY, SYSTEM_LIMIT, Packed
from trioworkers.proxies._unread import EVENT_CAPACITY
from trioworkers.wire import Limits
from trioworkers.wire.chunks import Lane
from trioworkers.wire.hello import LinkLimits

pytestmark = [pytest.mark.usefixtures("dialect"), links.NATIVE_ONLY]

CREDIT = 20
LANE = 30
"""How many messages the far worker's mailbox holds."""


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


class Stuck(Server):
    """Takes one message, and no other until it is let go; may ask its peer meanwhile."""

    def __init__(self, name: str = "assistant", **settings: Any) -> None:
        super().__init__(name, mailbox_capacity=LANE, **settings)
        self.let_go = trio.Event()
        self.seen: list[int] = []
        self.alarms: list[float] = []
        self.ended: list[Any] = []
        self.stop_reasons: list[Any] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.seen.append(message.n)
        await self.let_go.wait()

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        self.alarms.append(trio.current_time())

    @job()
    async def hang(self, job: Job, payload: dict[str, Any]) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            self.ended.append((trio.current_time(), cancelled.reason))
            self.stop_reasons.append(job.stop_reason)
            raise

    @job()
    async def produce(self, job: Job, payload: dict[str, Any]) -> None:
        for n in range(payload["n"]):
            await job.stream({"n": n, "body": "x" * payload.get("size", 0)})
            self.seen.append(n)
        await job.stream_end({})


async def flood(worker: Worker, sent: list[int], count: int = 10_000) -> None:
    """Send notes for as long as there is room."""
    for n in range(count):
        await worker.send(Note(target="assistant", n=n))
        sent.append(n)


async def test_a_stuck_far_worker_stops_the_near_sender(autojump_clock: Any) -> None:
    """S-PROXY-6: what waits is credit, mailbox and outbox, exactly; all the rest goes on for 60 s."""
    far = Stuck()
    near = Server("acme")
    settings = {"credit": CREDIT, "heartbeat": 5.0}
    async with (
        pair(lambda: near, lambda: far, client=settings, server=settings) as (one, two),
        trio.open_nursery() as nursery,
    ):
        sent: list[int] = []
        outcomes: list[Any] = []
        asking = trio.CancelScope()

        async def ask() -> None:
            with asking:
                await near.ask("assistant", "hang", {})

        nursery.start_soon(ask)
        await settle()
        nursery.start_soon(flood, near, sent)
        await settle()
        # One is being handled.
        most = 1 + LANE + CREDIT + CAPACITY
        assert len(sent) == most
        for _ in range(6):
            await trio.sleep(10)
            assert len(sent) == most
            assert one.proxy.link_statistics().data_depth == CAPACITY
            assert one.proxy.link_statistics().waiting_senders == 1
            assert two.proxy.link_statistics().inbox_depth == CREDIT
            await near.send(Alarm(target="assistant"))
            # Its turn is taken, but its peer's answers and its system lane are not.
            outcomes.append(await far.ask("acme", "echo", {"n": 1}))
        assert outcomes == [{"n": 1}] * 6
        assert far.alarms == [10, 20, 30, 40, 50, 60]
        asking.cancel(reason="enough")
        await trio.sleep(0.001)
        ((when, reason),) = far.ended
        assert when == 60
        assert "enough" in reason
        assert one.proxy.connected
        far.let_go.set()
        while len(sent) < 2000:  # noqa: ASYNC110
            await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert far.seen == list(range(len(far.seen)))


async def test_a_slow_reader_stops_the_producer(autojump_clock: Any) -> None:
    """S-JOB-8, S-PROXY-6: what is unread of a job is bounded, by room and credit."""
    far, near = Stuck(), Server("acme")
    settings = {"credit": CREDIT}
    async with pair(lambda: near, lambda: far, client=settings, server=settings) as (one, _):
        async with near.job("assistant", "produce", {"n": 5000}) as pending:
            await settle()
            await trio.sleep(60)
            stopped_at = len(far.seen)
            # What is unread when the job is held, what was on its way then, and what waited to leave.
            most = EVENT_CAPACITY // 2 + CREDIT + CAPACITY
            assert EVENT_CAPACITY // 2 <= stopped_at <= most
            assert one.proxy.connected
            events: list[Any] = [each async for each in pending if each.type == "stream_data"]
            seen = [each.data["n"] for each in events]
        assert seen == list(range(5000))


async def test_a_slow_reader_does_not_hold_up_other_jobs(autojump_clock: Any) -> None:
    """S-JOB-3, S-PROXY-6: who asks in the midst of reading a long stream gets an answer."""
    far, near = Stuck(), Server("acme")
    async with pair(lambda: near, lambda: far), trio.open_nursery():
        async with near.job("assistant", "produce", {"n": 5000}) as pending:
            await settle()
            with trio.fail_after(60):
                assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
            assert len([each async for each in pending]) > 5000


async def test_data_that_is_stuck_does_not_hold_up_answers(autojump_clock: Any) -> None:
    """S-PROXY-6: answers have a lane of their own, so a worker whose data is stuck gets them."""
    far, near = Stuck(), Server("acme")
    settings = {"credit": 4}
    async with (
        pair(lambda: near, lambda: far, client=settings, server=settings),
        trio.open_nursery() as nursery,
    ):
        sent: list[int] = []
        nursery.start_soon(flood, near, sent)
        await settle()
        for n in range(20):
            assert await far.ask("acme", "echo", {"n": n}) == {"n": n}
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel()


async def test_system_messages_to_a_worker_that_is_stuck(autojump_clock: Any) -> None:
    """S-PROXY-6: none is lost, they keep their order, and in the end their sender is told."""
    let_go = trio.Event()
    seen: list[int] = []

    @message
    class Order(Alarm):
        n: int = 0

    class Busy(Worker):
        @handles(Order)
        async def order(self, message: Order) -> None:
            seen.append(message.n)
            await let_go.wait()

    known = JSONMessageSerializer(messages=(*KNOWN, Order))
    near = Worker("acme")
    settings = {"serializer": known, "credit": CREDIT}
    async with pair(lambda: near, lambda: Busy("assistant"), client=settings, server=settings) as (
        one,
        two,
    ):
        sent = 0
        with pytest.raises(SystemLaneFullError):
            for n in range(20_000):
                await near.send(Order(target="assistant", n=n))
                sent += 1
                if n % 256 == 0:
                    await settle()
        await settle()
        assert SYSTEM_LIMIT <= sent <= SYSTEM_LIMIT + SYSTEM_CAPACITY + CREDIT + 257
        assert two.letters.take() == []
        let_go.set()
        while len(seen) < sent:  # noqa: ASYNC110
            await trio.sleep(1)
        assert seen == list(range(sent))
        assert one.letters.take() == two.letters.take() == []


# Cancels and deadlines, two proxies away


class Middle(Server):
    """Asks the next one for who asks it."""

    @job()
    async def pass_on(self, job: Job, payload: dict[str, Any]) -> Any:
        return await self.ask("end", "hang", {})


@asynccontextmanager
async def three() -> AsyncGenerator[tuple[Worker, Stuck, Any]]:
    """Run three runners in a row: `acme`, `assistant` in the middle, and `end`."""
    acme, middle, last = Worker("acme"), Middle("assistant"), Stuck("end")
    network = Network()

    class Second(WebSocketProxyClient):
        async def _dial(self, nursery: trio.Nursery) -> Any:
            return await network.dial(links.offered())

    second = Second(
        "second",
        url="ws://memory/",
        local_worker_name="assistant",
        remote_worker_name="end",
        active=True,
    )
    async with pair(lambda: acme, lambda: middle) as (_, two):
        await two.runner.add_workers(second)
        gateway = LoggedServer(
            await network.accept(), worker_name="end", remote_worker_name="assistant"
        )
        async with open_runner(last, gateway):
            await two.runner.registry.wait_ready("end")
            yield acme, last, gateway._portal


async def test_a_cancel_reaches_a_handler_two_proxies_away(autojump_clock: Any) -> None:
    """S-JOB-6, S-PROXY-6: the reason arrives, with the path of who decided."""
    async with three() as (acme, last, _), trio.open_nursery() as nursery:
        scope = trio.CancelScope()

        async def ask() -> None:
            with scope:
                await acme.ask("assistant", "pass_on", {})

        nursery.start_soon(ask)
        await trio.sleep(1)
        scope.cancel(reason="the user hung up")
        await trio.sleep(0.001)
        ((when, reason),) = last.ended
        assert when == 1
        assert "the user hung up" in reason
        (told,) = last.stop_reasons
        assert told.kind == "cancelled"
        assert "the user hung up" in told.reason
        places = [part.rpartition("/")[2] for part in told.path.split(" -> ")]
        assert places == ["acme", "gateway", "assistant", "gateway"]


async def test_a_deadline_reaches_a_handler_two_proxies_away(autojump_clock: Any) -> None:
    """S-JOB-6: the time that is left crosses as a duration; the handler overruns by 50 ms at most."""
    async with three() as (acme, last, _):
        with trio.move_on_after(5) as scope:
            await acme.ask("assistant", "pass_on", {})
        assert scope.cancelled_caught
        await trio.sleep(0.1)
        ((when, _reason),) = last.ended
        assert 5 <= when <= 5.05


async def test_the_far_side_keeps_a_deadline_by_itself(autojump_clock: Any) -> None:
    """S-JOB-6: a handler ends at its deadline although the requester has fallen silent."""
    server = Server("assistant")
    async with served(server) as (side, far):
        assert far.native is not None
        request = BusJobRequestMessage(
            source="acme", target="assistant", job_id="1", job_name="hang", payload={}
        )
        far.native.put(request, deadline=trio.current_time() + 3)
        while far.native.lanes:
            await far.listen()
        await trio.sleep(4)
        ((_, when, reason),) = server.log
        assert when == 3
        assert "a deadline has passed" in reason
        assert (await far.hear(BusJobResponseMessage)).status == "cancelled"
        assert not side.proxy._portal.deliveries.jobs


async def test_deadlines_of_jobs_that_are_over_are_forgotten(autojump_clock: Any) -> None:
    """S-JOB-6: a side remembers deadlines of open jobs, and not many more."""
    near, far = Worker("acme"), Server("assistant")
    async with pair(lambda: near, lambda: far) as (_, two):
        deadlines = two.proxy._portal.deliveries.deadlines
        with trio.fail_after(1000):
            for n in range(300):
                await near.ask("assistant", "echo", {"n": n})
                assert len(deadlines) <= 70
        await trio.sleep(2000)
        assert len(deadlines) == 0


# Requests on their way


async def test_a_request_that_has_left_in_part(autojump_clock: Any) -> None:
    """S-JOB-6: a big request without credit is given up in the middle, and the lane goes on."""
    outcomes: list[Any] = []
    near = Server("acme")
    async with connecting(near) as (side, network), trio.open_nursery() as nursery:
        far = await network.far()
        await far.announce()
        scope = trio.CancelScope()

        async def ask() -> None:
            with scope:
                await near.ask("assistant", "echo", {"body": "x" * 500_000})
            outcomes.append(scope.cancelled_caught)

        # Nobody reads the first units.
        nursery.start_soon(ask)
        await settle()
        assert far.native is not None
        assert side.proxy._link is not None
        scope.cancel(reason="too slow")
        await settle()
        assert outcomes == [True]
        await near.send(Note(target="assistant", n=7))
        assert (await far.hear(BusJobCancelMessage)).reason == "too slow"
        assert (await far.hear(Note)).n == 7
        assert side.proxy.connected
        assert side.clean()
        nursery.start_soon(far.until_closed)
        await side.proxy.stop("enough")


async def test_a_cancel_that_overtakes_its_request(autojump_clock: Any) -> None:
    """S-JOB-6: it waits for the request at the other side, and ends that."""
    server = Server("assistant")
    async with served(server) as (_, far):
        await far.next()
        assert far.native is not None
        far.native.cancel("1", "never mind", "far/acme", 1)
        await far.flush()
        await settle()
        await far.tell(BusJobRequestMessage, job_id="1", job_name="hang", payload={})
        assert (await far.hear(BusJobResponseMessage)).status == "cancelled"
        assert [entry for entry in server.log if entry[0] != "cancelled"] == []


@pytest.mark.parametrize("when", ["at the beginning", "in the middle", "while we write"])
async def test_a_silent_peer(when: str, autojump_clock: Any) -> None:
    """S-PROXY-6: a peer that was stopped is found within two heartbeats; nobody need read."""
    outcomes: list[Any] = []
    near = Server("acme")

    async def ask() -> None:
        outcomes.append(await outcome_of(near.ask("assistant", "echo", {})))

    async with connecting(near, heartbeat=2.0, reconnect=None) as (side, network):
        async with trio.open_nursery() as nursery:
            far = await network.far()
            await far.announce()
            nursery.start_soon(ask)
            await far.hear(BusJobRequestMessage)
            if when == "in the middle":
                await trio.sleep(1)
                await far.tell(Note)
                await settle()
            far.end.freeze()
            frozen = trio.current_time()
            sent: list[int] = []
            if when == "while we write":
                nursery.start_soon(flood, near, sent, 2000)
            await side.proxy.wait_stopped()
            nursery.cancel_scope.cancel()
            assert 3.9 <= trio.current_time() - frozen <= 4.1
        assert isinstance(outcomes[0], WorkerGoneError)
        assert "nothing was heard for 4.000 s, two heartbeats" in str(outcomes[0])


async def test_a_hook_that_takes_longer_than_two_heartbeats(autojump_clock: Any) -> None:
    """S-PROXY-1, S-PROXY-6: a peer whose hook of a new connection takes its time is not silent."""
    near, far = Server("acme"), Server("assistant")
    network = Network()
    settings: dict[str, Any] = {"heartbeat": 1.0}
    async with connecting(near, network=network, **settings) as (side, _):
        proxy = LoggedServer(await network.accept(), **settings)

        @proxy.event_handler("on_client_connected")
        async def slow(proxy: Worker, websocket: Any) -> None:
            await trio.sleep(10)

        async with open_runner(far, proxy):
            assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
            assert trio.current_time() == 10
            assert side.proxy.what == ["connected"]


class Quick(MemoryTransport):
    """An end that sends at once."""

    def send_now(self, frame: bytes) -> bool:
        self._other._arrived.append(frame)
        self._wire.change()
        return True


async def test_a_hook_that_takes_its_time_on_a_quick_connection(autojump_clock: Any) -> None:
    """S-PROXY-6: a sign of life leaves at once where that can be; it is answered later."""
    model, far_end = ends(100)
    near_end = Quick("quick", model._wire, 100)
    near_end.join(far_end)
    far_end.join(near_end)
    near_end.offers = model.offers
    proxy, far = LoggedServer(near_end, heartbeat=1.0), Far(far_end)

    @proxy.event_handler("on_client_connected")
    async def slow(proxy: Worker, websocket: Any) -> None:
        await trio.sleep(5.5)

    await far.hail()
    async with guarded(), open_runner(Server("assistant"), proxy):
        await trio.sleep(5.2)
        assert len(far_end._arrived) == 6
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo", payload={"n": 1})
        assert (await far.hear(BusJobResponseMessage)).response == {"n": 1}
        assert trio.current_time() == 5.5
    await far_end.abort()


async def test_what_is_too_big_for_the_peer(autojump_clock: Any) -> None:
    """S-PROXY-4: a message above the peer's limit is an error of its sender, and harms no other."""
    near = Server("acme")
    async with connecting(near) as (side, network):
        far = await network.far()
        assert far.native is not None
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        size = side.proxy._portal._credit.message_size
        assert size == LinkLimits().message_size
        with pytest.raises(MessageTooBigError, match="1048576"):
            await near.ask("assistant", "echo", {"body": "x" * size})
        await near.send(Note(target="assistant"))
        await far.hear(Note)


@pytest.mark.parametrize("lane", list(Lane))
async def test_a_request_in_any_lane_waits_for_room(lane: Lane, autojump_clock: Any) -> None:
    """S-PROXY-6: who gets a message goes by its type, and credit by the lane in which it came."""
    worker = Stuck()
    async with served(worker, credit=5 * CREDIT) as (side, far):
        await far.announce()
        native = far.native
        assert native is not None
        head: dict[str, Any] = {"source": "acme", "target": "assistant"}
        for n in range(LANE + 1 + CREDIT // 2):
            native.put(Note(n=n, **head))
        await far.flush()
        await settle()
        assert side.proxy.link_statistics().inbox_depth == CREDIT // 2
        for n in range(CREDIT // 2):
            request = BusJobRequestMessage(job_id=f"job-{n}", job_name="echo", payload={}, **head)
            body = native.serializer.serialize(request)
            packed = Packed(None, body, "job" if lane is Lane.REPLY else None, False)
            (native.lanes.put_urgent if lane is Lane.SYSTEM else native.lanes.put)(
                packed, len(body), packed.job
            )
        await far.flush()
        await settle()
        worker.let_go.set()
        answered = [(await far.hear(BusJobResponseMessage)).job_id for _ in range(CREDIT // 2)]
        assert sorted(answered) == sorted(f"job-{n}" for n in range(CREDIT // 2))


async def test_messages_bear_no_numbers(autojump_clock: Any) -> None:
    """S-PROXY-7: what only Pipecat's own logs use does not cross a native link."""
    near = Worker("acme")
    async with connecting(near) as (_, network):
        far = Far(await network.accept(), "assistant", "acme")
        far.native = Native(KNOWN_TOO, me="assistant", you="acme")
        # What was written before would have them: nobody knew who is there.
        assert isinstance(await far.next(), BusWorkerRegistryMessage)
        await near.send(Alarm(target="assistant"))
        await far.hear(Alarm)
        said = [json.loads(each.body)["__data__"] for each in far.native.arrived]
        assert {"source": "acme", "target": "assistant"} in said
        assert not any({"id", "name"} & each.keys() for each in said)


async def test_what_waited_for_a_peer_that_takes_less(autojump_clock: Any) -> None:
    """S-PROXY-4: a system message that was queued before there was a peer may be too big for it."""

    @message
    class Shout(Alarm):
        body: str = ""

    near = Worker("acme")
    serializer = JSONMessageSerializer(messages=(*KNOWN, Shout))
    async with connecting(near, serializer=serializer) as (side, network):
        for size in (5000, 10):
            await near.send(Shout(target="assistant", body="x" * size))
        far = Far(await network.accept(), "assistant", "acme")
        far.serializer = serializer
        far.native = Native(serializer, LinkLimits(message_size=2000), me="assistant", you="acme")
        assert (await far.hear(Shout)).body == "x" * 10
        ((reason, detail),) = side.letters.take()
        assert reason == "refused"
        assert "the peer takes 2000" in detail
        await far.say(Note(source="assistant", target="acme"))
        assert side.proxy.connected


@message
class Big(BusDataMessage):
    body: str = ""


KNOWN_TOO = JSONMessageSerializer(messages=(*KNOWN, Big))


async def test_the_limit_is_the_peers(autojump_clock: Any) -> None:
    """S-PROXY-4: the limit that counts is what the peer has told in its hello."""
    small = JSONMessageSerializer(messages=(*KNOWN, Big), limits=Limits(message_size=2000))
    near, far = Worker("acme"), Server("assistant")
    client, server = {"serializer": KNOWN_TOO}, {"serializer": small}
    async with pair(lambda: near, lambda: far, client=client, server=server) as (_, two):
        with pytest.raises(MessageTooBigError, match="2000"):
            await near.send(Big(target="assistant", body="x" * 3000))
        with pytest.raises(MessageTooBigError, match="2000"):
            await near.ask("assistant", "echo", {"body": "x" * 3000})
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert two.letters.take() == []


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"window": 63}, ValueError, "window must be from 64 to 2147483648 bytes, and is 63"),
        ({"window": "64"}, TypeError, "window"),
        ({"window": True}, TypeError, "window"),
        ({"window": 1e6}, TypeError, "window"),
        ({"credit": 0}, ValueError, "credit"),
        ({"credit": -1}, ValueError, "credit"),
        ({"credit": None}, TypeError, "credit"),
        ({"window": 2**40}, ValueError, "window"),
        ({"credit": 2**40}, ValueError, "credit"),
        ({"heartbeat": 1e9}, ValueError, "heartbeat"),
    ],
)
def test_parameters(settings: dict[str, Any], error: Any, says: str) -> None:
    """S-PROXY-4: the limits of a link are checked where they are given."""
    with pytest.raises(error, match=says):
        WebSocketProxyClient(
            "proxy",
            url="ws://x/",
            local_worker_name="acme",
            remote_worker_name="assistant",
            **settings,
        )


async def test_urgent_events_keep_the_order_of_their_job(autojump_clock: Any) -> None:
    """S-JOB-5: an urgent event waits for an older one of its job that is half way out."""

    class Speaker(Worker):
        @job()
        async def speak(self, job: Job, payload: dict[str, Any]) -> None:
            await job.update({"n": 0, "body": "x" * 300_000})
            await job.update({"n": 1})
            await job.update({"n": 2}, urgent=True)
            await job.update({"n": 3})
            await job.update({"n": 4}, urgent=True)

    near, far = Worker("acme"), Speaker("assistant")
    async with pair(lambda: near, lambda: far):
        async with near.job("assistant", "speak", {}) as pending:
            events: list[Any] = [each async for each in pending]
            seen = [each.data["n"] for each in events]
        assert seen == [0, 1, 2, 3, 4]


async def test_an_orderly_close(autojump_clock: Any) -> None:
    """S-PROXY-6: a close lets what waits leave, then says goodbye with its code and reason."""
    near = Worker("acme")
    async with connecting(near) as (side, network):
        far = await network.far()
        assert far.native is not None
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        for n in range(100):
            await near.send(Note(target="assistant", n=n))
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def end() -> None:
                await side.runner.end_worker("proxy")

            assert [(await far.hear(Note)).n for _ in range(100)] == list(range(100))
            end_of_link = await far.until_closed()
        assert far.native.goodbye is not None
        assert (far.native.goodbye.code, far.native.goodbye.reason) == (
            1000,
            "the proxy has ended",
        )
        assert (end_of_link.code, end_of_link.reason) == (1000, "the proxy has ended")


async def test_statistics_of_what_waits(autojump_clock: Any) -> None:
    """S-PROXY-6: what a peer has not given credit for waits here, and can be seen."""
    near = Worker("acme")
    async with connecting(near, credit=5) as (side, network):
        far = await network.far()
        assert far.native is not None
        far.native.takes = False
        await far.announce()
        await side.runner.registry.wait_ready("assistant")
        for n in range(50):
            await near.send(Note(target="assistant", n=n))
        await settle()
        heard = [await far.hear(Note) for _ in range(4)]
        await settle()
        statistics = side.proxy.link_statistics()
        assert statistics.data_depth >= 50 - 5
        far.native.taken(Lane.DATA, 5)
        await far.flush()
        heard += [await far.hear(Note) for _ in range(5)]
        assert [each.n for each in heard] == list(range(9))
