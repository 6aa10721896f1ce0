"""One connection of a proxy, seen by a peer that is the test."""

from __future__ import annotations

import gc
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import trioworkers.messages as bus
from tests.jobs import Actor, Alarm, Note, Server, outcome_of
from tests.proxies import links
from tests.proxies.pairs import KNOWN, Far, Side, served
from tests.proxies.test_policy import OWN, make
from tests.wire.golden import GOLDEN
from tests.wire.samples import BUILT_IN
from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusEndMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    JobStatus,
    JSONMessageSerializer,
    Worker,
    WorkerGoneError,
    WorkerState,
)
from trioworkers.proxies._link import CLOSE_SECONDS
from trioworkers.proxies._transport import LinkClosed
from trioworkers.testing import Probe

pytestmark = pytest.mark.usefixtures("dialect")


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


async def ask(side: Side, into: list[Any], name: str = "count", payload: Any = None) -> None:
    """Let the local worker ask the remote one; keep what comes of it."""
    into.append(await outcome_of(side.worker("assistant").ask("acme", name, payload)))


# The order of events and messages


@links.PIPECAT_ONLY
async def test_the_event_comes_first(autojump_clock: Any) -> None:
    """S-PROXY-1: the event comes before the first message, and nothing leaves before it."""
    order: list[str] = []
    go = trio.Event()

    async def note(worker: Worker) -> None:
        order.append("note")

    async with served(Actor("assistant", note=note), active=False) as (side, far):

        @side.proxy.event_handler("on_client_connected")
        async def connected(proxy: Worker, websocket: Any) -> None:
            assert websocket is not None
            await go.wait()
            order.append("event")

        await side.runner.send(BusActivateWorkerMessage(target="gateway"))
        await far.tell(Note)
        await settle()
        assert order == []
        assert side.proxy.events == ["connected"]
        assert not side.proxy.connected
        go.set()
        assert isinstance(await far.next(), BusWorkerRegistryMessage)
        await settle()
        assert order == ["event", "note"]
        assert side.proxy.connected


WAYS = [1000, 1001, 1002, 1006, 1008, 1009, 1011, 3000, 4999]


@pytest.mark.parametrize("code", WAYS)
async def test_every_way_to_lose_a_link(autojump_clock: Any, code: int) -> None:
    """S-PROXY-3, S-PROXY-9: whatever the code, jobs both ways fail, and the event comes once."""
    server = Server("assistant")
    outcomes: list[Any] = []
    async with served(server) as (side, far), trio.open_nursery() as nursery:
        await far.announce()
        await side.runner.registry.wait_ready("acme")
        nursery.start_soon(ask, side, outcomes)
        await far.tell(BusJobRequestMessage, job_id="r", job_name="hang", payload={})
        await far.hear(BusJobRequestMessage)
        assert side.proxy.events == ["connected"]
        await settle()
        await (far.end.abort() if code == 1006 else far.end.close(code, "bye"))
        await side.proxy.wait_stopped()
        await settle()
        assert side.proxy.events == ["connected", "disconnected"]
        assert side.runner.registry.get("acme") is None
        (error,) = outcomes
        assert isinstance(error, WorkerGoneError)
        assert f"the link to it is lost: {code}" in str(error)
        ((_, when, reason),) = server.log
        assert when == 0
        assert f"the link is lost: {code}" in reason
        assert str(side.proxy.stop_reason).startswith("ended: the link is lost")
        assert side.clean()


@links.PIPECAT_ONLY
async def test_the_log_says_how_it_ended(autojump_clock: Any, caplog: Any) -> None:
    """S-PROXY-9: connecting and losing are logged, with the code and who closed."""
    caplog.set_level("INFO", logger="trioworkers")
    async with served(Probe("assistant")) as (side, far):
        await far.end.close(4001, "enough")
        await side.proxy.wait_stopped()
    assert "proxy gateway is connected to memory two" in caplog.text
    assert "proxy gateway has lost memory two: 4001 enough, closed by peer" in caplog.text


@links.PIPECAT_ONLY
async def test_a_peer_that_falls_silent_is_found(autojump_clock: Any) -> None:
    """S-PROXY-5: a peer that does not answer is found within two intervals of the heartbeat."""
    outcomes: list[Any] = []
    async with served(Probe("assistant"), heartbeat=5.0) as (side, far):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask, side, outcomes)
            await far.hear(BusJobRequestMessage)
            await trio.sleep(1000)
            assert side.proxy.connected
            begun = trio.current_time()
            far.end.freeze()
        assert trio.current_time() - begun <= 10
        assert "no answer to a ping for 5.0 s" in str(outcomes[0])
        await side.proxy.wait_stopped()
        assert side.proxy.events == ["connected", "disconnected"]


@links.PIPECAT_ONLY
async def test_a_kind_of_connection_that_cannot_be_asked(autojump_clock: Any) -> None:
    """S-PROXY-5: where pings are the server's business, none are sent."""
    async with served(Probe("assistant"), heartbeat=5.0) as (side, far):
        await settle()
        side.proxy._transport.can_ping = False
        await trio.sleep(7)  # the first interval has begun before
    async with served(Probe("assistant"), active=False, heartbeat=5.0) as (side, far):
        side.proxy._transport.can_ping = False
        await side.runner.send(BusActivateWorkerMessage(target="gateway"))
        await settle()
        far.end.freeze()
        await trio.sleep(1000)
        assert side.proxy.connected
        far.end.thaw()


# Leaving


async def test_order_both_ways(autojump_clock: Any) -> None:
    """S-MAIL-3, S-PROXY-5: thousands of messages arrive in the order of sending, both ways."""
    seen: list[int] = []

    class Receiver(Actor):
        async def act(self, what: str, *args: Any) -> Any:
            await trio.lowlevel.checkpoint()

    receiver = Receiver("assistant")

    @receiver.event_handler("on_activated")
    async def activated(worker: Worker, args: Any) -> None:
        if args is not None:
            seen.append(args["n"])

    async def send() -> None:
        for n in range(2000):
            await receiver.send(Note(target="acme", n=n))

    async def say() -> None:
        for n in range(2000):
            await far.tell(BusActivateWorkerMessage, args={"n": n})

    async with served(receiver) as (side, far), trio.open_nursery() as nursery:
        await far.next()
        nursery.start_soon(send)
        nursery.start_soon(say)
        heard = [(await far.hear(Note)).n for _ in range(2000)]
        assert heard == list(range(2000))
        await settle()
        assert seen == list(range(2000))
        assert side.letters.take() == []


async def test_a_slow_peer_makes_senders_wait(autojump_clock: Any) -> None:
    """S-PROXY-5: behind a peer that does not read senders wait; who gives up has sent nothing."""
    sender = Probe("assistant")
    async with served(sender, capacity=1) as (side, far):
        await far.next()
        sent = 0
        with trio.move_on_after(1):
            while True:
                await sender.send(Note(target="acme", n=sent))
                sent += 1
        assert side.proxy.link_statistics().data_depth == 256
        assert side.proxy.link_statistics().waiting_senders == 0
        with trio.move_on_after(1):
            await sender.ask("acme", "count", {"given": "up"})
        with trio.fail_after(1):
            await sender.send(Alarm(target="acme"))
        heard: list[BusMessage] = []
        with trio.move_on_after(1):
            while True:
                heard.append(await far.next())
        assert sum(isinstance(each, Alarm) for each in heard) == 1
        notes = [each.n for each in heard if isinstance(each, Note)]
        assert notes == list(range(sent))
        assert len(heard) == sent + 1


async def test_an_end_lets_what_waits_leave(autojump_clock: Any) -> None:
    """S-PROXY-9: a proxy that ends sends what waits, closes with 1000, and says why."""
    sender = Probe("assistant")
    async with served(sender, capacity=1) as (side, far):
        await far.next()
        for n in range(200):
            await sender.send(Note(target="acme", n=n))
        await side.runner.end_worker("gateway")
        heard = [(await far.hear(Note)).n for _ in range(200)]
        assert heard == list(range(200))
        end = await far.until_closed()
        assert (end.code, end.reason, end.by) == (1000, "the proxy has ended", "peer")
        await side.proxy.wait_stopped()
        assert side.proxy.events == ["connected", "disconnected"]
        assert side.letters.take() == []


async def test_an_end_does_not_wait_for_a_peer_that_does_not_read(autojump_clock: Any) -> None:
    """S-PROXY-9: an end gives what waits 2 seconds; what is left then is a dead letter."""
    sender = Probe("assistant")
    async with served(sender, capacity=1) as (side, far):
        await far.next()
        far.end.freeze()
        for n in range(200):
            await sender.send(Note(target="acme", n=n))
        await side.runner.end_worker("gateway")
        begun = trio.current_time()
        await side.proxy.wait_stopped()
        assert trio.current_time() - begun <= 2 * CLOSE_SECONDS
        reasons = [reason for reason, _ in side.letters.take()]
        assert set(reasons) == {"link lost"}
        assert side.proxy.events == ["connected", "disconnected"]


async def test_an_idle_link_closes_at_once(autojump_clock: Any) -> None:
    """S-PROXY-9: with nothing to leave, an end takes no time."""
    async with served(Probe("assistant")) as (side, far), trio.open_nursery() as nursery:
        await far.next()
        nursery.start_soon(far.until_closed)
        await side.runner.end_worker("gateway")
        await side.proxy.wait_stopped()
        assert trio.current_time() == 0


async def test_a_cancel_is_bounded(autojump_clock: Any) -> None:
    """S-PROXY-9, S-LIFE-8: a cancel closes with 1001; a peer that is stuck has 2 s to agree."""
    ends: list[LinkClosed] = []

    async def drain(far: Far) -> None:
        ends.append(await far.until_closed())

    async with served(Probe("assistant")) as (side, far), trio.open_nursery() as nursery:
        nursery.start_soon(drain, far)
        await settle()
        await side.runner.cancel_worker("gateway")
        await side.proxy.wait_stopped()
        assert trio.current_time() == 0
    assert (ends[0].code, ends[0].by) == (1001, "peer")
    async with served(Probe("assistant")) as (side, far):
        await far.next()
        far.end.freeze()
        begun = trio.current_time()
        await side.runner.cancel("enough")
        await side.runner.wait_stopped()
        assert trio.current_time() - begun <= CLOSE_SECONDS
        assert side.proxy.events == ["connected", "disconnected"]


async def test_a_cancel_in_the_middle_of_a_write(autojump_clock: Any) -> None:
    """S-PROXY-5, S-LIFE-8: a write that was begun is finished, if the peer takes it in 2 s."""
    for patient in (True, False):
        sender = Probe("assistant")
        async with served(sender, capacity=1) as (side, far):
            await far.next()
            for n in range(100):
                await sender.send(Note(target="acme", n=n))
            await settle()
            begun = trio.current_time()
            await side.runner.cancel_worker("gateway")
            heard: list[int] = []
            if not patient:
                await side.proxy.wait_stopped()
            with pytest.raises(LinkClosed) as lost:
                while True:
                    heard.append((await far.hear(Note)).n)
            await side.proxy.wait_stopped()
            assert trio.current_time() - begun == (0 if patient else CLOSE_SECONDS)
            assert lost.value.code == (1001 if patient else 1006)
            dead = [each.message.n for each in side.letters.kept]  # type: ignore[attr-defined]
            if patient:
                # What had not begun to leave is known to be lost.
                assert heard + dead == list(range(100))


@pytest.mark.parametrize("kind", [BusEndMessage, BusCancelMessage])
async def test_session_control_leaves_before_the_link_it_closes(
    autojump_clock: Any, kind: type[BusMessage]
) -> None:
    """S-PROXY-2: an end or cancel of the whole runner, if let through, reaches the peer first."""
    async with served(Probe("assistant"), forward_messages=(kind,)) as (side, far):
        await far.next()
        await side.worker("assistant").send(kind(reason="closing"))  # type: ignore[call-arg]
        message = await far.hear(kind)
        assert (message.source, message.target) == ("assistant", "acme")
        assert message.reason == "closing"  # type: ignore[attr-defined]
        assert (await far.until_closed()).code in (1000, 1001)
        await side.runner.wait_stopped()


async def test_a_peer_that_closes_during_the_farewell(autojump_clock: Any) -> None:
    """S-PROXY-9: a link that is lost while the last words leave is lost, and nothing more."""
    forward = (BusCancelMessage,)
    async with served(Probe("assistant"), capacity=1, forward_messages=forward) as (side, far):
        await settle()
        await side.worker("assistant").send(BusCancelMessage(reason="closing"))
        await trio.sleep(1)
        await far.end.abort()
        await side.runner.wait_stopped()
        assert trio.current_time() == 1
        assert side.proxy.events == ["connected", "disconnected"]


async def test_ending_and_losing_at_once(autojump_clock: Any) -> None:
    """S-PROXY-9: ended while the peer closes, once or twice: one event, one end."""
    async with served(Probe("assistant")) as (side, far):
        await far.next()
        await side.runner.end_worker("gateway")
        await side.runner.end_worker("gateway")
        await far.end.close(1001, "me too")
        await side.proxy.wait_stopped()
        assert side.proxy.events == ["connected", "disconnected"]


# What cannot be read


@links.PIPECAT_ONLY
async def test_garbage_is_survived_until_it_is_too_much(autojump_clock: Any) -> None:
    """S-PROXY-4: a connection survives garbage in text and binary; 33 of it end it with 1008."""
    async with served(Probe("assistant")) as (side, far):
        await far.next()
        for n in range(16):
            await far.say(b"\x00garbage %d" % n)
            await far.end.send_text("garbage \u20ac")
        await far.tell(Note, n=7)
        assert (await side.worker("assistant").receive(Note)).n == 7
        letters = side.letters.take()
        assert [reason for reason, _ in letters] == ["undecodable"] * 32
        await far.say(b"one more")
        end = await far.until_closed()
        assert end.code == 1008
        assert end.reason.startswith("too many unreadable messages, the last: not JSON")
        await side.proxy.wait_stopped()
        assert side.proxy.events == ["connected", "disconnected"]


@links.PIPECAT_ONLY
async def test_a_peer_that_asks_without_reading_is_sent_away(autojump_clock: Any) -> None:
    """S-PROXY-5: who asks and asks, and takes no answer, ends its own connection only."""
    async with served(Server("assistant"), capacity=1) as (side, far):
        asked = 0
        with pytest.raises(LinkClosed):
            while True:
                await far.tell(BusJobRequestMessage, job_id=f"{asked}", job_name="echo", payload={})
                asked += 1
        assert 2048 <= asked <= 5000
        await side.proxy.wait_stopped()
        assert side.worker("assistant").state is WorkerState.READY
        assert side.clean()


# Many jobs


@links.PIPECAT_ONLY
async def test_ten_thousand_jobs_leave_nothing(autojump_clock: Any) -> None:
    """S-LIFE-5, S-PROXY-3: after 10,000 jobs each way, tables and memory are as before."""
    server = Server("assistant")
    async with served(server) as (side, far):
        await far.next()

        async def answer(count: int) -> None:
            done = answered = 0
            while done + answered < 2 * count:
                message = await far.next()
                if isinstance(message, BusJobRequestMessage):
                    await far.tell(
                        BusJobResponseMessage,
                        job_id=message.job_id,
                        status=JobStatus.COMPLETED,
                        response={"n": 1},
                    )
                    answered += 1
                else:
                    assert isinstance(message, BusJobResponseMessage)
                    assert message.status == "completed"
                    done += 1

        async def request(count: int) -> None:
            for n in range(count):
                await far.tell(BusJobRequestMessage, job_id=f"{n}", job_name="echo", payload={})

        async def requests(count: int) -> None:
            for _ in range(count):
                assert await server.ask("acme", "count") == {"n": 1}

        sizes = []
        for count in (500, 10_000):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(answer, count)
                nursery.start_soon(request, count)
                nursery.start_soon(requests, count)
            gc.collect()
            sizes.append(len(gc.get_objects()))
        assert side.clean()
        assert side.letters.take() == []
        assert sizes[1] - sizes[0] < 200


# Whatever a peer sends

_SEEN = st.sampled_from(["acme", "assistant", "bystander", "gateway", "bank", "", None])
_TYPES = st.sampled_from([*BUILT_IN, *OWN, *KNOWN])


@st.composite
def messages(draw: Any) -> bytes:
    """Make a valid frame of any type with any names."""
    kind = draw(_TYPES)
    source, target = draw(_SEEN) or "", draw(_SEEN)
    names = draw(st.none() | st.lists(_SEEN.filter(bool), max_size=2))
    made = make(kind, source, target, names)
    try:
        return _WRITER.serialize(made)
    except Exception:  # noqa: BLE001 - local-only ones: as a hostile peer writes them
        fields = b'"source":"%s"' % source.encode()
        if target is not None:
            fields += b',"target":"%s"' % target.encode()
        return b'{"__type__":"pipecat.bus.messages.%s","__data__":{%s}}' % (
            kind.__name__.encode(),
            fields,
        )


_WRITER = JSONMessageSerializer(messages=(*KNOWN, *OWN[1:-1]))


@st.composite
def mutated(draw: Any) -> bytes:
    """Damage a recorded frame."""
    frame = bytearray(draw(st.sampled_from([frame for *_, frame in GOLDEN])))
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(frame)))
        if draw(st.booleans()):
            frame[place : place + draw(st.integers(0, 9))] = draw(st.binary(max_size=9))
        else:
            old, new = draw(st.permutations([b"acme", b"assistant", b"bystander"]))[:2]
            frame = bytearray(bytes(frame).replace(old, new))
    return bytes(frame)


FRAMES = st.lists(
    st.one_of(messages(), messages(), messages(), mutated(), st.binary(), st.text()), max_size=40
)


def may_be_seen(message: BusMessage) -> bool:
    """Tell whether a message on the bus is one that may be there: of the pair, or of this side."""
    if isinstance(message, bus.BusWorkerReadyMessage) and message.runner != "runner":
        return True  # this side's own
    if message.source == "acme":
        return message.target == "assistant"
    # Answers to jobs of the peer's, and what happens on this side anyway.
    return message.source == "assistant" and message.target == "acme"


def fuzz(frames: list[bytes | str], **rules: Any) -> None:
    """Throw frames at a server proxy, with a bystander on its bus."""

    async def run() -> None:
        bystander = Probe("bystander", hears=(*KNOWN, bus.BusFrameMessage, bus.BusTTSSpeakMessage))
        async with served(Server("assistant"), bystander, capacity=100, **rules) as (side, far):
            registry = side.runner.registry
            before = [registry.get(name) for name in ("bystander", "bank", "gateway")]
            async with side.runner.bus.open_subscription(BusMessage, capacity=10_000) as seen:
                end = None
                try:
                    for frame in frames:
                        send = far.end.send_text if isinstance(frame, str) else None
                        await (send(frame) if send else far.end.send([frame]))
                    await settle()
                except LinkClosed as closed:
                    end = closed
                alive = end is None and far.end.lost is None and side.proxy.connected
                if alive:
                    await far.tell(BusJobRequestMessage, job_id="last", job_name="echo", payload={})
                    await settle()
                else:
                    assert (await far.until_closed()).code == 1008
                with trio.move_on_after(1):
                    while True:
                        message: Any = await anext(seen)
                        assert may_be_seen(message), message
            assert [registry.get(name) for name in ("bystander", "bank", "gateway")] == before
            bystander.none_left()
            assert bystander.state is WorkerState.READY
            assert bystander.active
            if alive:
                heard = []
                with trio.move_on_after(1):
                    while True:
                        heard.append(await far.next())
                answers = [each for each in heard if isinstance(each, BusJobResponseMessage)]
                assert answers[-1].job_id == "last"
            assert side.runner.state is WorkerState.READY

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.0))


@links.PIPECAT_ONLY
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(FRAMES)
def test_whatever_a_peer_sends(frames: list[bytes | str]) -> None:
    """S-PROXY-2, S-PROXY-4: nothing forbidden reaches the bus; the link lives, or ends with 1008."""
    fuzz(frames)


@links.PIPECAT_ONLY
@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(FRAMES)
def test_whatever_a_peer_sends_where_more_is_let_in(frames: list[bytes | str]) -> None:
    """S-PROXY-2: the same where broadcasts, and the package's base classes, are let through."""
    fuzz(frames, forward_messages=(bus.BusDataMessage, bus.BusSystemMessage))
