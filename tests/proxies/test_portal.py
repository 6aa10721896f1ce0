"""The place of a remote worker on the local bus; the test is the peer, and there is no I/O."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Actor, Alarm, Note, Server, outcome_of
from tests.proxies import links
from tests.proxies.portals import Peer, Still, peer_of
from trioworkers import (
    BusActivateWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusDeactivateWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateRequestMessage,
    BusJobUpdateUrgentMessage,
    BusLocalMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    JobCancelledError,
    JobEvent,
    JobGroupError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    LinkStatistics,
    LocalWireError,
    MessageTooBigError,
    NameTakenError,
    RemoteWireError,
    UnknownWorkerError,
    Worker,
    WorkerGoneError,
    WorkerReadyData,
    WorkerState,
    handles,
    message,
    open_runner,
)
from trioworkers.proxies import _deliveries, _outbox
from trioworkers.proxies._life import Stage
from trioworkers.testing import Probe

pytestmark = pytest.mark.usefixtures("dialect")


@message
class Secret(BusDataMessage, BusLocalMessage):
    n: int = 0


@message
class Shapeless(BusDataMessage):
    thing: trio.Event


OURS = (Note, Alarm)


@pytest.fixture
async def peer() -> AsyncIterator[Peer]:
    """Link a probe named acme to the peer's assistant."""
    async with peer_of(Probe("acme", hears=OURS), messages=OURS) as peer:
        yield peer


def acme(peer: Peer) -> Any:
    """Return the local worker."""
    route: Any = peer.runner.bus.route("acme")
    return route.worker


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


# Names and announcements


async def test_a_proxy_takes_the_remote_name(autojump_clock: Any) -> None:
    """S-PROXY-3, S-BUS-5: the remote worker's name is taken from when its proxy is added."""
    proxy = Still()
    async with open_runner(Probe("acme"), proxy) as runner:
        with pytest.raises(NameTakenError, match="'assistant'"):
            await runner.add_workers(Probe("assistant"))
        with pytest.raises(NameTakenError, match="'assistant'"):
            await runner.add_workers(Still(name="other"))
        await runner.end_worker("proxy")
        await proxy.wait_stopped()
        await runner.add_workers(Probe("assistant"))
    async with open_runner(Probe("assistant")) as runner:
        with pytest.raises(NameTakenError, match="'assistant'"):
            await runner.add_workers(Still())
        await runner.add_workers(Probe("proxy"))


async def test_the_local_worker_is_announced_with_the_link(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-3: the first message of a link says that the local worker is there."""
    assert await peer.heard() == []
    (announcement,) = peer.crossed
    assert isinstance(announcement, BusWorkerRegistryMessage)
    assert (announcement.source, announcement.target) == ("proxy", None)
    assert announcement.runner == peer.runner.name
    assert [(entry.name, entry.parent) for entry in announcement.workers] == [("acme", None)]


async def test_the_local_worker_is_announced_when_it_is_ready(autojump_clock: Any) -> None:
    """S-PROXY-3: a worker that becomes ready after the link was made is announced then, once."""
    async with peer_of() as peer:
        await peer.heard()
        assert peer.crossed == []
        await peer.runner.add_workers(Probe("acme"), Probe("other"))
        await peer.heard()
        assert len(peer.crossed) == 1
        peer.unlink()
        await peer.runner.end_worker("acme")
        await acme(peer).wait_stopped()
        await peer.runner.add_workers(Probe("acme"))
        peer.link()
        await peer.heard()
        assert len(peer.crossed) == 2


async def test_the_remote_worker_is_registered(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-3: an announced worker is in the registry until the link is lost."""
    registry = peer.runner.registry
    assert registry.get("assistant") is None
    async with registry.monitor("assistant") as changes:
        peer.announce()
        await registry.wait_ready("assistant")
        entry = registry.get("assistant")
        assert entry is not None
        assert (entry.name, entry.parent, entry.active) == ("assistant", None, True)
        peer.announce()
        peer.unlink("wire cut")
        assert registry.get("assistant") is None
        seen: list[Any] = [await anext(changes), await anext(changes)]
    assert [type(change).__name__ for change in seen] == ["Up", "Down"]
    assert str(seen[1].reason) == "failed: wire cut (by far/assistant -> main/proxy)".replace(
        "main", peer.runner.name
    )


async def test_the_name_of_a_peer_s_runner_is_plain(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-3: what a peer calls its runner cannot pass for a line of its own in a log."""
    heard: list[str] = []

    async def note(data: WorkerReadyData) -> None:
        heard.append(data.runner)

    await peer.runner.registry.watch("assistant", note)
    peer.announce(runner="far\nERROR all is lost")
    await trio.testing.wait_all_tasks_blocked()
    assert heard == [r"far\nERROR all is lost"]


@pytest.mark.parametrize(
    "names", [("bank",), ("acme",), ("assistant", "bank"), ("assistant", "assistant"), ("other",)]
)
async def test_nobody_else_can_be_announced(
    peer: Peer, autojump_clock: Any, names: tuple[str, ...]
) -> None:
    """S-PROXY-3: an announcement of any other worker, or of more than one, changes nothing."""
    await peer.runner.add_workers(Probe("other"))
    before = [peer.runner.registry.get(name) for name in ("other", "acme")]
    peer.announce(*names)
    assert [peer.runner.registry.get(name) for name in ("other", "acme")] == before
    assert peer.runner.registry.get("bank") is None
    assert peer.runner.registry.get("assistant") is None
    ((reason, detail),) = peer.letters.take()
    assert reason == "refused"
    assert "only 'assistant' may be announced" in detail


# Messages out


async def test_a_message_to_the_remote_worker_crosses(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-2: what the local worker sends to the remote one leaves, in order."""
    await peer.heard()
    for n in range(3):
        await acme(peer).send(Note(target="assistant", n=n))
    heard = await peer.heard()
    assert heard == [Note(source="acme", target="assistant", n=n) for n in range(3)]
    assert peer.letters.take() == []


async def test_others_cannot_use_the_link(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-2: messages and jobs of others than the local worker do not leave."""
    other = Server("other")
    await peer.runner.add_workers(other)
    await peer.heard()
    await other.send(Note(target="assistant"))
    await peer.runner.send(Alarm(target="assistant"))
    with pytest.raises(JobRefusedError, match=r"not let through \(by proxy 'proxy': its source is"):
        await other.ask("assistant", "count")
    assert await peer.heard() == []
    letters = peer.letters.take()
    assert [reason for reason, _ in letters] == ["refused", "refused"]
    assert "only 'acme' may send through this proxy" in letters[0][1]


async def test_what_is_local_stays(autojump_clock: Any) -> None:
    """S-PROXY-2: local-only messages do not leave, even if their base is named."""
    async with peer_of(Probe("acme"), forward_messages=(BusDataMessage,)) as peer:
        await peer.heard()
        await acme(peer).send(Secret(target="assistant"))
        await acme(peer).send(Secret())
        assert await peer.heard() == []
        assert [reason for reason, _ in peer.letters.take()] == ["refused", "unhandled"]


async def test_broadcasts_cross_only_if_named(autojump_clock: Any) -> None:
    """S-PROXY-2: a broadcast of the local worker crosses if its type is in forward_messages."""
    sender, bystander = Probe("acme"), Probe("bystander", hears=OURS)
    rules = {"messages": OURS, "forward_messages": (Note,)}
    async with peer_of(sender, bystander, **rules) as peer:
        await peer.heard()
        await sender.send(Note(n=1))
        await sender.send(Alarm())
        await bystander.send(Note(n=2))
        sender.send_nowait(Note(n=3))
        assert await peer.heard() == [Note(source="acme", n=1), Note(source="acme", n=3)]
        peer.unlink()
        await sender.send(Note(n=4))
        peer.link()
        assert await peer.heard() == []
        assert peer.letters.take() == []
        assert (await bystander.receive(Note)).n == 1


async def test_session_control_crosses_only_if_named(autojump_clock: Any) -> None:
    """S-PROXY-2: ends and cancels cross if exactly they are named, and are for the far worker."""
    async with peer_of(Probe("acme")) as peer:
        await peer.heard()
        await acme(peer).send(BusEndWorkerMessage(target="assistant"))
        await acme(peer).send(BusCancelWorkerMessage(target="assistant"))
        assert await peer.heard() == []
        assert [reason for reason, _ in peer.letters.take()] == ["refused", "refused"]
    named = (BusEndWorkerMessage, BusCancelMessage)
    async with peer_of(Probe("acme"), forward_messages=named) as peer:
        await peer.heard()
        await acme(peer).send(BusEndWorkerMessage(target="assistant", reason="bye"))
        peer.unlink()
        await acme(peer).send(BusEndWorkerMessage(target="assistant"))
        assert [reason for reason, _ in peer.letters.take()] == ["link lost", "link lost"]
        peer.link()
        await peer.heard()
        await acme(peer).send(BusCancelMessage())
        # The runner is cancelled by it, too: it leaves with the link's last breath.
        packed = peer.portal.outbox.lanes.take()
        assert packed is not None
        cancel = peer.serializer.deserialize(packed.frame)
        assert isinstance(cancel, BusCancelMessage)
        assert (cancel.source, cancel.target) == ("acme", "assistant")
        await peer.runner.wait_stopped()


async def test_what_cannot_cross_is_an_error_at_the_sender(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-4: what is too big or cannot be written is an error of `send` and of `ask`."""
    await peer.heard()
    big, odd = "x" * 2**20, {"a": {1, 2}}
    for payload, error in (({"text": big}, MessageTooBigError), (odd, LocalWireError)):
        with pytest.raises(error):
            await acme(peer).ask("assistant", "count", payload)
        with pytest.raises(error):
            await acme(peer).send(BusActivateWorkerMessage(target="assistant", args=payload))
    with pytest.raises(LocalWireError, match="Shapeless are not registered"):
        await acme(peer).send(Shapeless(target="assistant", thing=trio.Event()))
    assert peer.clean()


# Messages in


async def test_a_message_of_the_remote_worker_arrives(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-2: what the remote worker sends to the local one arrives, under its name."""
    for n in range(3):
        peer.tell(Note, n=n)
    peer.tell(Alarm)
    probe = acme(peer)
    assert [(await probe.receive(Note)).n for _ in range(3)] == [0, 1, 2]
    assert (await probe.receive(Alarm)).source == "assistant"


@links.PIPECAT_ONLY
async def test_activation_crosses(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-2: activation and deactivation cross, both ways."""
    await peer.heard()
    peer.tell(BusDeactivateWorkerMessage)
    await settle()
    assert not acme(peer).active
    peer.tell(BusActivateWorkerMessage, args=None)
    peer.request("hello")
    await settle()
    assert acme(peer).active
    (await acme(peer).next_job()).answer()
    await settle()
    await acme(peer).activate_worker("assistant", {"a": 1})
    assert [type(each) for each in await peer.heard()] == [
        BusJobResponseMessage,
        BusActivateWorkerMessage,
    ]


@pytest.mark.parametrize(
    "fields",
    [
        {"source": "secret"},
        {"source": "acme"},
        {"source": "proxy"},
        {"source": ""},
        {"target": "bystander"},
        {"target": "assistant"},
        {"target": "proxy"},
        {"target": None},
    ],
)
async def test_only_the_named_pair_gets_through(
    peer: Peer, autojump_clock: Any, fields: dict[str, Any]
) -> None:
    """S-PROXY-2: any other source or target is refused, and reaches nobody."""
    bystander = Probe("bystander", hears=OURS)
    await peer.runner.add_workers(bystander)
    async with peer.runner.bus.open_subscription(BusMessage) as messages:
        for kind in OURS:
            peer.tell(kind, **fields)
        peer.tell(BusJobRequestMessage, job_id="j", job_name="x", **fields)
        await settle()
        with trio.move_on_after(0):
            pytest.fail(f"{await anext(messages)} got in")
    assert {reason for reason, _ in peer.letters.take()} == {"refused"}
    assert await peer.heard() == []
    assert peer.clean()


async def test_a_forwarded_broadcast_reaches_the_local_worker_only(autojump_clock: Any) -> None:
    """S-PROXY-2: a forwarded type without a target is for the local worker and nobody else."""
    bystander = Probe("bystander", hears=OURS)
    rules = {"messages": OURS, "forward_messages": (Note,)}
    async with peer_of(Probe("acme"), bystander, **rules) as peer:
        peer.tell(Note, target=None, n=7)
        received = await acme(peer).receive(Note)
        assert (received.n, received.target) == (7, "acme")
        await settle()
        bystander.none_left()


async def test_accept_narrows(autojump_clock: Any) -> None:
    """S-PROXY-2: with `accept`, other types stay out."""
    async with peer_of(Probe("acme"), messages=OURS, accept=(Note,)) as peer:
        await peer.heard()
        peer.tell(Note, n=1)
        peer.tell(Alarm)
        peer.request()
        assert (await acme(peer).receive(Note)).n == 1
        assert [reason for reason, _ in peer.letters.take()] == ["refused", "refused"]
        with pytest.raises(JobRefusedError, match="leaves out BusJobResponseMessage, which can"):
            await acme(peer).ask("assistant", "count")


@pytest.mark.parametrize("kind", [BusEndMessage, BusEndWorkerMessage])
@pytest.mark.parametrize("target", ["acme", None])
async def test_an_end_that_is_let_in_ends_the_local_worker_only(
    autojump_clock: Any, kind: type[BusMessage], target: str | None
) -> None:
    """S-PROXY-2: an end from the peer ends the local worker, never the runner."""
    bystander = Probe("bystander")
    async with peer_of(Probe("acme"), bystander, forward_messages=(kind,)) as peer:
        worker = acme(peer)
        peer.tell(kind, target=target, reason="enough")
        await worker.wait_stopped()
        assert str(worker.stop_reason).startswith("ended: enough (by ")
        assert bystander.state is WorkerState.READY


@pytest.mark.parametrize("kind", [BusCancelMessage, BusCancelWorkerMessage])
async def test_a_cancel_that_is_let_in_cancels_the_local_worker_only(
    autojump_clock: Any, kind: type[BusMessage]
) -> None:
    """S-PROXY-2: a cancel from the peer cancels the local worker, never the runner."""
    bystander = Probe("bystander")
    async with peer_of(Probe("acme"), bystander, forward_messages=(kind,)) as peer:
        worker = acme(peer)
        peer.tell(kind, reason="enough")
        await worker.wait_stopped()
        assert str(worker.stop_reason).startswith("cancelled: enough (by ")
        assert bystander.state is WorkerState.READY
        peer.tell(kind)
        assert [reason for reason, _ in peer.letters.take()] == ["unknown"]


@pytest.mark.parametrize(
    "kind", [BusEndMessage, BusEndWorkerMessage, BusCancelMessage, BusCancelWorkerMessage]
)
async def test_a_peer_stops_nothing_by_itself(
    peer: Peer, autojump_clock: Any, kind: type[BusMessage]
) -> None:
    """S-PROXY-2: without being named, no end and no cancel comes in."""
    for target in ("acme", None, "proxy", peer.runner.name):
        peer.tell(kind, target=target)
    await settle()
    assert acme(peer).state is WorkerState.READY
    assert {reason for reason, _ in peer.letters.take()} == {"refused"}


# What does not fit


class Slow(Worker):
    """Handles nothing until it is let."""

    def __init__(self, **settings: Any) -> None:
        super().__init__("acme", **settings)
        self.go = trio.Event()
        self.log: list[Any] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        await self.go.wait()
        self.log.append(message.n)

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        self.log.append("alarm")


@pytest.fixture
def run_deliveries() -> Any:
    """Return what runs the task that empties the inbox."""

    async def start(nursery: trio.Nursery, peer: Peer) -> None:
        nursery.start_soon(peer.portal.deliveries.inbox.run)
        await settle()

    return start


async def test_messages_wait_in_order_for_room(autojump_clock: Any, run_deliveries: Any) -> None:
    """S-PROXY-5: what finds no room waits; nothing of it overtakes anything, nor is it lost."""
    worker = Slow(mailbox_capacity=4)
    async with peer_of(worker, messages=OURS) as peer, trio.open_nursery() as nursery:
        await run_deliveries(nursery, peer)
        for n in range(100):
            peer.tell(Note, n=n)
            if n % 10 == 0:
                await settle()
        assert peer.proxy.link_statistics().inbox_depth == 100 - 5
        peer.tell(BusActivateWorkerMessage)
        peer.request("none")
        assert not peer.portal.outbox.depths()[0]
        worker.go.set()
        await settle()
        assert worker.log == list(range(100))
        assert (await peer.hear(BusJobResponseMessage)).response["refused"] == "unknown job"
        assert peer.proxy.link_statistics().inbox_depth == 0
        assert peer.clean()
        nursery.cancel_scope.cancel()


async def test_system_messages_do_not_wait_behind_data(
    autojump_clock: Any, run_deliveries: Any
) -> None:
    """S-MAIL-2, S-PROXY-5: a system message of the peer's overtakes what waits for room."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer, trio.open_nursery() as nursery:
        await run_deliveries(nursery, peer)
        for n in range(10):
            peer.tell(Note, n=n)
        await settle()
        peer.tell(Alarm)
        await settle()
        assert worker.log == ["alarm"]
        nursery.cancel_scope.cancel()


@links.PIPECAT_ONLY
async def test_what_finds_no_room_is_lost_and_said_so(autojump_clock: Any) -> None:
    """S-PROXY-5: beyond 1,024 messages that wait, what comes is a dead letter; a job is refused."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer:
        await peer.heard()
        peer.tell(Note)
        await settle()
        for n in range(1 + _deliveries.INBOX_CAPACITY):
            peer.tell(Note, n=n)
        assert peer.letters.take() == []
        peer.tell(Note, n=-1)
        peer.request("none")
        ((reason, detail),) = peer.letters.take()
        assert (reason, "too many messages" in detail) == ("overflow", True)
        answer = await peer.hear(BusJobResponseMessage)
        assert answer.response["refused"] == "busy"
        peer.unlink()
        assert peer.letters.take() == [("link lost", "cut")] * _deliveries.INBOX_CAPACITY


@links.PIPECAT_ONLY
async def test_bytes_that_wait_are_bounded(autojump_clock: Any) -> None:
    """S-PROXY-5: beyond 8 MiB that wait, what comes is a dead letter."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer:
        peer.tell(Note)
        await settle()
        peer.tell(Note)
        args = {"text": "x" * (2**20 - 2000)}
        for _ in range(20):
            peer.tell(BusActivateWorkerMessage, args=args)
        lost = len(peer.letters.take())
        assert 20 - lost == -(-_deliveries.INBOX_BYTES // (2**20 - 2000 + 170))


@links.PIPECAT_ONLY
async def test_a_peer_cannot_fill_the_system_lane(autojump_clock: Any) -> None:
    """S-PROXY-5: a peer's system messages are lost when 256 wait in the worker's lane."""
    started = trio.Event()

    async def start(worker: Worker) -> None:
        await started.wait()

    worker = Actor("acme", start=start)
    async with peer_of(messages=OURS) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(peer.runner.add_workers, worker)
        await settle()
        for _ in range(_deliveries.SYSTEM_CAPACITY):
            peer.tell(Alarm)
        assert peer.letters.take() == []
        peer.tell(Alarm)
        assert [reason for reason, _ in peer.letters.take()] == ["overflow"]
        started.set()


@pytest.mark.parametrize("overflow", ["refuse", "drop_newest"])
async def test_a_lane_that_refuses(autojump_clock: Any, overflow: Any) -> None:
    """S-PROXY-5, S-MAIL-7: what a lane refuses or drops is a dead letter and does not wait."""
    worker = Slow(mailbox_capacity=2, overflow=overflow)
    async with peer_of(worker, messages=OURS) as peer:
        peer.tell(Note)
        await settle()
        for n in range(5):
            peer.tell(Note, n=n)
        assert [reason for reason, _ in peer.letters.take()] == ["overflow"] * 3
        assert peer.proxy.link_statistics().inbox_depth == 0


async def test_the_inbox_survives_errors_of_the_lane(
    autojump_clock: Any, run_deliveries: Any
) -> None:
    """S-PROXY-5: what waited and is refused after all is a dead letter; the next ones go on."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer, trio.open_nursery() as nursery:
        for n in range(6):
            peer.tell(Note, n=n)
            await settle()
        route: Any = peer.runner.bus.route("acme")
        route.mailbox.overflow = "refuse"
        await run_deliveries(nursery, peer)
        worker.go.set()
        await settle()
        reasons = [reason for reason, _ in peer.letters.take()]
        assert reasons
        assert set(reasons) == {"overflow"}
        assert len(reasons) + len(worker.log) == 6
        nursery.cancel_scope.cancel()


async def test_what_is_in_hand_when_the_link_is_lost(
    autojump_clock: Any, run_deliveries: Any
) -> None:
    """S-PROXY-3: a message that waits for room when the link is lost is a dead letter, too."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer:
        async with trio.open_nursery() as nursery:
            await run_deliveries(nursery, peer)
            for n in range(4):
                peer.tell(Note, n=n)
                await settle()
            nursery.cancel_scope.cancel()
        assert peer.letters.take() == [("link lost", "it was waiting for room")]
        peer.unlink()
        assert peer.letters.take() == [("link lost", "cut")]
        worker.go.set()
        await settle()
        assert worker.log == [0, 1]


# Jobs of the local worker


async def ask(peer: Peer, *args: Any, into: list[Any]) -> None:
    """Ask the remote worker, and keep what comes of it."""
    into.append(await outcome_of(acme(peer).ask("assistant", *args)))


async def asked(peer: Peer, nursery: trio.Nursery, into: list[Any], name: str = "count") -> str:
    """Ask the remote worker; return the id of the request that left."""
    await peer.heard()
    nursery.start_soon(partial(ask, peer, name, {"n": 1}, into=into))
    request = await peer.hear(BusJobRequestMessage)
    assert (request.source, request.target, request.job_name) == ("acme", "assistant", name)
    return request.job_id


async def test_a_job_is_answered(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-3, S-PROXY-7: the peer's answer is the outcome."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        job_id = await asked(peer, nursery, outcomes)
        peer.respond(job_id, {"counted": 4})
    assert outcomes == [{"counted": 4}]
    assert peer.clean()


async def test_the_first_answer_wins(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-3: a second answer is a dead letter, as is one to a job that nobody asked."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        job_id = await asked(peer, nursery, outcomes)
        peer.respond(job_id, {"first": 1})
        peer.respond(job_id, {"second": 2})
    peer.respond(job_id, {"third": 3})
    peer.respond("job-of-nobody", {})
    peer.tell(BusJobUpdateMessage, job_id=job_id, update={})
    peer.respond(job_id, None, JobStatus.CANCELLED)
    assert outcomes == [{"first": 1}]
    assert [reason for reason, _ in peer.letters.take()] == ["late reply"] * 4


async def test_a_job_of_others_cannot_be_answered(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-2: an answer, event or cancel of the peer's counts for jobs over this link only."""
    server = Server()
    await peer.runner.add_workers(server)
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        await peer.heard()
        nursery.start_soon(lambda: _keep(outcomes, acme(peer).ask("server", "nap", {"seconds": 1})))
        await settle()
        (job_id,) = peer.runner.bus.open_requests
        peer.respond(job_id, {"forged": True})
        peer.tell(BusJobUpdateMessage, job_id=job_id, update={"forged": True})
        peer.tell(BusJobCancelMessage, job_id=job_id)
        assert [reason for reason, _ in peer.letters.take()] == ["late reply"] * 2
    assert outcomes == [{"seconds": 1}]


async def _keep(into: list[Any], asked: Any) -> None:
    into.append(await outcome_of(asked))


async def test_events_arrive_in_order(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-5: events of every kind arrive in the order in which the peer sent them."""
    await peer.heard()
    seen: list[Any] = []

    async def read() -> None:
        async with acme(peer).job("assistant", "count") as pending:
            seen.extend([(event.type, event.data) async for event in pending])
        seen.append(pending.response)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        job_id = (await peer.hear(BusJobRequestMessage)).job_id
        peer.tell(BusJobUpdateMessage, job_id=job_id, update={"i": 0})
        peer.tell(BusJobUpdateUrgentMessage, job_id=job_id, update={"i": 1})
        peer.tell(BusJobStreamStartMessage, job_id=job_id, data={"i": 2})
        peer.tell(BusJobStreamDataMessage, job_id=job_id, data=None)
        peer.tell(BusJobStreamEndMessage, job_id=job_id, data={"i": 3})
        peer.respond(job_id, {"i": 3})
    assert seen == [
        ("update", {"i": 0}),
        ("update", {"i": 1}),
        ("stream_start", {"i": 2}),
        ("stream_data", None),
        ("stream_end", {"i": 3}),
        {"i": 3},
    ]


@links.PIPECAT_ONLY
async def test_events_that_nobody_reads_are_bounded(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-5: 1,024 events of one job wait for their reader; the next are dead letters."""
    await peer.heard()
    go, count = trio.Event(), 0

    async def read() -> None:
        nonlocal count
        async with acme(peer).job("assistant", "count") as pending:
            await go.wait()
            async for event in pending:
                assert isinstance(event, JobEvent)
                count += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        job_id = (await peer.hear(BusJobRequestMessage)).job_id
        for n in range(1030):
            peer.tell(BusJobUpdateMessage, job_id=job_id, update={"n": n})
        assert [reason for reason, _ in peer.letters.take()] == ["overflow"] * 6
        peer.respond(job_id)
        go.set()
    assert count == 1024


async def test_a_cancel_crosses_with_its_reason(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-6: a requester that gives up cancels the job over there, and waits for its answer."""
    await peer.heard()
    done = trio.Event()

    async def give_up() -> None:
        with trio.move_on_after(1):
            await acme(peer).ask("assistant", "count")
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(give_up)
        job_id = (await peer.hear(BusJobRequestMessage)).job_id
        await trio.sleep(1)
        cancel = await peer.hear(BusJobCancelMessage)
        assert (cancel.job_id, cancel.source, cancel.target) == (job_id, "acme", "assistant")
        assert not done.is_set()
        peer.respond(job_id, None, JobStatus.CANCELLED)
        await done.wait()
    assert trio.current_time() == 1
    assert peer.clean()


async def test_a_peer_that_ignores_a_cancel_is_not_waited_for_long(
    peer: Peer, autojump_clock: Any
) -> None:
    """S-JOB-6: after `job_grace` the requester goes on; what comes then is a late reply."""
    await peer.heard()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def give_up() -> None:
            with trio.move_on_after(1):
                await acme(peer).ask("assistant", "count")

        job_id = (await peer.hear(BusJobRequestMessage)).job_id
    assert trio.current_time() == 2
    await peer.hear(BusJobCancelMessage)
    peer.respond(job_id, {"late": 1})
    assert [reason for reason, _ in peer.letters.take()] == ["late reply"]
    assert peer.clean()


async def test_a_job_that_has_not_left_is_cancelled_here(peer: Peer, autojump_clock: Any) -> None:
    """S-MAIL-6: a request that is given up before it left never leaves."""
    await peer.heard()
    with trio.move_on_after(1):
        await acme(peer).ask("assistant", "count")
    assert trio.current_time() == 1
    assert await peer.heard() == []
    assert peer.clean()


async def test_runner_cancels_a_job_over_the_link(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-7: `cancel_job` reaches a job over a link, with its reason."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        job_id = await asked(peer, nursery, outcomes)
        assert await peer.runner.cancel_job(job_id, reason="enough")
        assert (await peer.hear(BusJobCancelMessage)).reason == "enough"
        peer.respond(job_id, None, JobStatus.CANCELLED)
    assert isinstance(outcomes[0], JobCancelledError)
    assert outcomes[0].reason == "enough"


async def test_a_refused_answer_ends_its_job(autojump_clock: Any) -> None:
    """S-JOB-3, S-PROXY-2: an answer that is not let in is an outcome, too."""
    outcomes: list[Any] = []
    async with peer_of(Probe("acme")) as peer, trio.open_nursery() as nursery:
        job_id = await asked(peer, nursery, outcomes)
        peer.tell(
            BusJobResponseMessage,
            source="mallory",
            job_id="other",
            status=JobStatus.COMPLETED,
        )
        assert outcomes == []
        peer.tell(BusJobResponseMessage, target="other", job_id=job_id, status=JobStatus.COMPLETED)
        await settle()
    assert isinstance(outcomes[0], WorkerGoneError)
    assert "its answer was not let through by proxy 'proxy'" in str(outcomes[0])


@links.PIPECAT_ONLY
@pytest.mark.parametrize(
    "damage",
    [
        lambda frame: frame[:-1],
        lambda frame: frame.replace(b'"completed"', b'"perhaps"'),
        lambda frame: frame.replace(b'"response"', b'"answer"'),
        lambda frame: frame.replace(b"{}", b"[" * 100 + b"]" * 100),
        lambda frame: frame.replace(b"{}", b'"' + b"x" * 2**20 + b'"'),
        lambda frame: frame.replace(b"{}", b'"\xff"'),
        lambda frame: frame.decode().replace("{}", "NaN"),
    ],
)
async def test_an_unreadable_answer_fails_its_job(
    peer: Peer, autojump_clock: Any, damage: Any
) -> None:
    """S-PROXY-4: an answer that cannot be read fails its job at once, and is a dead letter."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        job_id = await asked(peer, nursery, outcomes)
        answer = BusJobResponseMessage(
            source="assistant",
            target="acme",
            job_id=job_id,
            status=JobStatus.COMPLETED,
            response={},
        )
        peer.say(damage(peer.serializer.serialize(answer)))
        await settle()
        assert isinstance(outcomes[0], JobRemoteError)
        assert "its answer cannot be read" in str(outcomes[0])
        ((reason, detail),) = peer.letters.take()
        assert reason == "undecodable"
        assert detail
        peer.say(damage(peer.serializer.serialize(answer)))
    assert len(outcomes) == 1
    assert peer.clean()


async def test_garbage_is_a_dead_letter_until_it_is_too_much(
    peer: Peer, autojump_clock: Any
) -> None:
    """S-PROXY-4: what cannot be read is a dead letter; 33 of them are too many."""
    for n in range(32):
        peer.say(b"garbage %d" % n)
    kept = peer.letters.kept
    assert {letter.reason for letter in kept} == {"undecodable"}
    assert len(kept) == 32
    assert kept[0].message.source == "assistant"
    assert "garbage 0" in kept[0].detail
    with pytest.raises(RemoteWireError, match="too many unreadable messages, the last: not JSON"):
        peer.say(b"garbage")


async def test_a_group_over_the_link(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-1: a member beyond the link counts as any other; its failure cancels the others."""
    server = Server()
    await peer.runner.add_workers(server)
    await peer.heard()
    outcomes: list[Any] = []

    def note(event: Any) -> None:
        outcomes.append((event.worker_name, event.data))

    async def group() -> None:
        async with acme(peer).job_group("assistant", "server", name="hang") as members:
            async for event in members:
                note(event)

    async def collect() -> None:
        try:
            await group()
        except JobGroupError as error:
            outcomes.append({name: type(each) for name, each in error.outcomes.items()})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(collect)
        job_id = (await peer.hear(BusJobRequestMessage)).job_id
        peer.tell(BusJobUpdateMessage, job_id=job_id, update={"n": 1})
        await settle()
        peer.respond(job_id, {"error": "no luck"}, JobStatus.ERROR)
    assert outcomes == [
        ("assistant", {"n": 1}),
        {"assistant": JobRemoteError, "server": JobCancelledError},
    ]
    assert peer.clean()


async def test_an_update_can_be_asked_for(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-1: `request_update` crosses."""
    await peer.heard()

    async def request() -> None:
        async with acme(peer).job("assistant", "count") as pending:
            await pending.request_update()
            async for _ in pending:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request)
        first, second = await peer.heard()
        assert isinstance(second, BusJobUpdateRequestMessage)
        assert second.job_id == first.job_id  # type: ignore[attr-defined]
        peer.respond(second.job_id)


# A lost link


async def test_jobs_fail_when_the_link_is_lost(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-3: what has left, and what was about to, fails in the step of the loss."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        await asked(peer, nursery, outcomes)
        nursery.start_soon(partial(ask, peer, "more", into=outcomes))
        await settle()
        await acme(peer).send(Note(target="assistant"))
        peer.unlink("wire cut")
        peer.unlink("again")
    assert [type(each) for each in outcomes] == [WorkerGoneError] * 2
    assert all("the link to it is lost: wire cut" in str(each) for each in outcomes)
    assert peer.letters.take() == [("link lost", "wire cut")]
    assert peer.clean()


async def test_who_waits_for_a_link_goes_on_waiting(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-9: without a link, send and ask wait for one; both leave over the next."""
    peer.unlink()
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(acme(peer).send, Note(target="assistant", n=1))
        await settle()
        nursery.start_soon(partial(ask, peer, "count", into=outcomes))
        await settle()
        with pytest.raises(trio.WouldBlock):
            acme(peer).send_nowait(Note(target="assistant", n=2))
        with pytest.raises(trio.TooSlowError), trio.fail_after(1):
            await acme(peer).ask("assistant", "never")
        assert peer.proxy.link_statistics().waiting_senders == 2
        peer.link()
        first, second = await peer.heard()
        assert first == Note(source="acme", target="assistant", n=1)
        assert isinstance(second, BusJobRequestMessage)
        peer.respond(second.job_id, {"n": 2})
    assert outcomes == [{"n": 2}]
    assert peer.clean()


async def test_a_cancel_after_the_loss_goes_nowhere(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-3: there is nobody to tell that a lost job is cancelled."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        job_id = await asked(peer, nursery, outcomes)
        request = peer.runner.bus.open_requests[job_id]
        peer.portal._life.stage = Stage.NONE
        peer.portal.cancel_request(request)  # type: ignore[arg-type]
        peer.portal._life.stage = Stage.CARRIED
        peer.unlink()
        assert not await peer.runner.cancel_job(job_id)
    peer.link()
    assert await peer.heard() == []


async def test_the_handlers_of_the_peers_jobs_are_cancelled(autojump_clock: Any) -> None:
    """S-PROXY-3: when the link is lost, the jobs that run for the peer are cancelled."""
    server = Server("acme", max_concurrent_jobs=1)
    async with peer_of(server) as peer:
        await peer.heard()
        peer.request("hang", {}, "r-1")
        peer.request("hang", {}, "r-2")
        await settle()
        peer.unlink("wire cut")
        await settle()
        assert server.log == [("cancelled", 0.0, "the link is lost: wire cut")]
        assert peer.clean()
        assert peer.letters.take() == []


async def test_what_a_stubborn_handler_says_later(autojump_clock: Any) -> None:
    """S-PROXY-3, S-JOB-6: what a handler answers or tells after the loss is a dead letter."""
    told = trio.Event()

    async def serve(worker: Worker, job: Any, payload: Any) -> dict[str, Any]:
        with trio.CancelScope(shield=True):
            await trio.sleep(1)
            await job.update({"late": 1})
            told.set()
        return {"late": 2}

    async with peer_of(Actor("acme", serve=serve)) as peer:
        peer.request("serve", {}, "r-1")
        await settle()
        peer.unlink()
        peer.link()
        # The same id over the next link is another job.
        peer.request("serve", {}, "r-1")
        await trio.sleep(1)
        await told.wait()
        await settle()
        assert [reason for reason, _ in peer.letters.take()] == ["late reply"] * 2
        answers = [m for m in await peer.heard() if isinstance(m, BusJobResponseMessage)]
        assert [(each.job_id, each.response) for each in answers] == [("r-1", {"late": 2})]
        assert peer.clean()


async def test_a_job_that_outlives_its_link_does_not_hide_another(autojump_clock: Any) -> None:
    """S-PROXY-3: the end of an abandoned job does not forget a new one with its id."""

    async def serve(worker: Worker, job: Any, payload: Any) -> None:
        with trio.CancelScope(shield=bool(payload["shield"])):
            await trio.sleep(payload["seconds"])

    async with peer_of(Actor("acme", serve=serve)) as peer:
        peer.request("serve", {"shield": True, "seconds": 1}, "r-1")
        await settle()
        peer.unlink()
        peer.link()
        peer.request("serve", {"shield": False, "seconds": 1000}, "r-1")
        await trio.sleep(2)
        assert list(peer.portal.deliveries.jobs) == ["r-1"]
        peer.tell(BusJobCancelMessage, job_id="r-1")
        await settle()
        assert not peer.portal.deliveries.jobs


async def test_a_proxy_that_stops_rejects_what_waits(autojump_clock: Any) -> None:
    """S-JOB-3, S-MAIL-1: when the proxy stops, who waits for a link gets an outcome."""
    outcomes: list[Any] = []
    async with peer_of(Probe("acme"), linked=False) as peer, trio.open_nursery() as nursery:
        nursery.start_soon(partial(ask, peer, "count", into=outcomes))
        nursery.start_soon(acme(peer).send, BusActivateWorkerMessage(target="assistant"))
        await settle()
        await peer.runner.end_worker("proxy")
        await settle()
        assert isinstance(outcomes[0], WorkerGoneError)
        assert "its proxy has stopped" in str(outcomes[0])
        assert [reason for reason, _ in peer.letters.take()] == ["stopped"]
        assert peer.proxy.link_statistics() == LinkStatistics()
        with pytest.raises(UnknownWorkerError):
            await acme(peer).ask("assistant", "count")


async def test_a_proxy_that_stops_ends_open_jobs(peer: Peer, autojump_clock: Any) -> None:
    """S-JOB-3: when the proxy stops, open jobs fail, and say that it was on purpose."""
    outcomes: list[Any] = []
    async with trio.open_nursery() as nursery:
        await asked(peer, nursery, outcomes)
        peer.announce()
        async with peer.runner.registry.monitor("assistant") as changes:
            await peer.runner.end_worker("proxy")
            await anext(changes)
            down: Any = await anext(changes)
        assert down.reason.kind == "ended"
    assert isinstance(outcomes[0], WorkerGoneError)
    assert "its proxy has stopped" in str(outcomes[0])


# Jobs of the peer


@pytest.mark.parametrize(
    ("name", "payload", "status", "response"),
    [
        ("echo", {"a": 1}, "completed", {"a": 1}),
        ("nothing", None, "completed", {}),
        ("fail", {}, "failed", {"tries": 3}),
        ("boom", {}, "error", {"error": "'boom'", "type": "KeyError"}),
        ("count", {"n": 3}, "completed", {"n": 3}),
    ],
)
async def test_a_job_for_the_peer(
    autojump_clock: Any, caplog: Any, name: str, payload: Any, status: str, response: Any
) -> None:
    """S-JOB-2, S-PROXY-7: a request of the peer is served, and its outcome leaves."""
    async with peer_of(Server("acme")) as peer:
        await peer.heard()
        peer.request(name, payload)
        answer = await peer.hear(BusJobResponseMessage)
        assert (answer.source, answer.target, answer.job_id) == ("acme", "assistant", "r-1")
        assert (answer.status, answer.response) == (status, response)
        assert peer.clean()
    assert ("KeyError" in caplog.text) == (name == "boom")


async def test_refusals_for_the_peer(autojump_clock: Any) -> None:
    """S-JOB-3: an unknown job, a bad payload, an inactive and a missing worker have an outcome."""
    async with peer_of(Server("acme")) as peer:
        await peer.heard()
        peer.request("what", {}, "1")
        peer.request("count", {"n": "3"}, "2")
        first, second = await peer.heard()
        assert first.response["refused"] == "unknown job"  # type: ignore[attr-defined]
        assert second.response["refused"] == "bad payload"  # type: ignore[attr-defined]
        peer.tell(BusDeactivateWorkerMessage)
        peer.request("echo", {}, "3")
        await settle()
        (third,) = await peer.heard()
        assert third.response["refused"] == "inactive"  # type: ignore[attr-defined]
        worker = acme(peer)
        await peer.runner.cancel_worker("acme")
        await worker.wait_stopped()
        peer.request("echo", {}, "4")
        (fourth,) = await peer.heard()
        assert fourth.status == "error"  # type: ignore[attr-defined]
        assert "not on the bus" in fourth.response["gone"]  # type: ignore[attr-defined]
        assert peer.clean()


async def test_an_answer_that_cannot_cross(autojump_clock: Any) -> None:
    """S-PROXY-4: an answer too big, or with what cannot be written, is an error for the peer."""
    answers = [{"text": "x" * 2**20}, {"set": {1}}, {"text": "\ud800"}, {"nan": float("nan")}]

    async def serve(worker: Worker, job: Any, payload: Any) -> Any:
        return answers[payload["n"]]

    async with peer_of(Actor("acme", serve=serve)) as peer:
        await peer.heard()
        for n in range(len(answers)):
            peer.request("serve", {"n": n}, f"r-{n}")
            answer = await peer.hear(BusJobResponseMessage)
            assert answer.status == "error"
            assert "its response cannot cross the link" in answer.response["error"]
        assert peer.clean()


async def test_events_for_the_peer(autojump_clock: Any) -> None:
    """S-JOB-5, S-PROXY-5: events leave before their answer; urgent ones keep their place."""
    async with peer_of(Server("acme")) as peer:
        await peer.heard()
        peer.request("lines", {})
        kinds = [type(each).__name__ for each in await peer.heard()]
        assert kinds == [
            *("BusJobStreamStartMessage", "BusJobStreamDataMessage", "BusJobStreamDataMessage"),
            "BusJobStreamEndMessage",
        ]
        peer.request("updates", {"n": 2}, "r-2")
        await settle()
        peer.request("updates", {"n": 2, "urgent": True}, "r-3")
        heard = [(type(each).__name__, each.job_id) for each in await peer.heard()]  # type: ignore[attr-defined]
        assert heard == [
            *[("BusJobUpdateUrgentMessage", "r-3")] * 2,
            *[("BusJobUpdateMessage", "r-2")] * 2,
            *[("BusJobResponseMessage", "r-2"), ("BusJobResponseMessage", "r-3")],
        ]


async def test_urgent_events_of_several_jobs_wait_for_room(
    autojump_clock: Any, monkeypatch: Any
) -> None:
    """S-PROXY-5: those of one job do not wait for room for those of another, up to a bound."""
    monkeypatch.setattr(_outbox, "SYSTEM_LIMIT", 300)
    server = Server("acme")
    async with peer_of(server) as peer:
        await peer.heard()
        peer.request("updates", {"n": 1000, "urgent": True}, "r-2")
        peer.request("updates", {"n": 1000, "urgent": True}, "r-3")
        await settle()
        assert len(server.log) == 300
        assert peer.portal.outbox.depths() == (300, 0)


@pytest.mark.parametrize("urgent", [False, True])
async def test_events_wait_for_room(autojump_clock: Any, urgent: bool) -> None:
    """S-PROXY-5: a handler that tells faster than the link takes waits, urgent or not."""
    server = Server("acme")
    async with peer_of(server) as peer:
        await peer.heard()
        peer.request("updates", {"n": 1000, "urgent": urgent})
        await settle()
        assert len(server.log) == _outbox.CAPACITY
        assert max(peer.portal.outbox.depths()) == _outbox.CAPACITY
        heard: list[Any] = []
        while more := await peer.heard():
            heard += more
        assert [each.update["i"] for each in heard[:-1]] == list(range(1000))
        assert isinstance(heard[-1], BusJobResponseMessage)
        assert peer.clean()


async def test_an_event_that_cannot_cross(autojump_clock: Any) -> None:
    """S-PROXY-4: an event that cannot be written is an error in its handler."""

    async def serve(worker: Worker, job: Any, payload: Any) -> None:
        with pytest.raises(LocalWireError):
            await job.update({"set": {1}})

    async with peer_of(Actor("acme", serve=serve)) as peer:
        await peer.heard()
        peer.request("serve", {})
        assert (await peer.hear(BusJobResponseMessage)).status == "completed"


async def test_a_peer_cancels_its_job(autojump_clock: Any) -> None:
    """S-JOB-6: a cancel of the peer's reaches the handler, with its reason, and is answered."""
    server = Server("acme")
    async with peer_of(server) as peer:
        await peer.heard()
        peer.request("hang", {})
        await settle()
        peer.tell(BusJobCancelMessage, job_id="r-1", reason="timeout")
        answer = await peer.hear(BusJobResponseMessage)
        assert answer.status == "cancelled"
        assert server.log == [("cancelled", 0.0, "timeout")]
        peer.tell(BusJobCancelMessage, job_id="r-1")
        peer.tell(BusJobCancelMessage, job_id="unknown")
        assert await peer.heard() == []
        assert peer.clean()


async def test_a_peers_request_is_cancelled_wherever_it_is(
    autojump_clock: Any, run_deliveries: Any
) -> None:
    """S-MAIL-6: a request that waits in the lane, in the inbox or for room is cancelled at once."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer, trio.open_nursery() as nursery:
        await peer.heard()
        await run_deliveries(nursery, peer)
        peer.tell(Note, n=0)
        await settle()
        peer.tell(Note, n=1)
        for n in range(3):
            peer.request("x", {}, f"r-{n}")
        await settle()
        for n in (2, 0, 1):
            peer.tell(BusJobCancelMessage, job_id=f"r-{n}")
            answer = await peer.hear(BusJobResponseMessage)
            assert (answer.job_id, answer.status) == (f"r-{n}", "cancelled")
        worker.go.set()
        await settle()
        assert worker.log == [0, 1]
        assert await peer.heard() == []
        assert peer.clean()
        nursery.cancel_scope.cancel()


async def test_a_request_that_waits_for_a_worker_that_stops(
    autojump_clock: Any, run_deliveries: Any
) -> None:
    """S-JOB-3: a request that waits for room has an outcome when its worker stops."""
    worker = Slow(mailbox_capacity=1)
    async with peer_of(worker, messages=OURS) as peer, trio.open_nursery() as nursery:
        await peer.heard()
        await run_deliveries(nursery, peer)
        peer.tell(Note, n=0)
        await settle()
        peer.tell(Note, n=1)
        peer.request("x", {}, "r-0")
        peer.request("x", {}, "r-1")
        await settle()
        await peer.runner.cancel_worker("acme")
        answers = await peer.heard()
        assert [each.status for each in answers] == ["error", "error"]  # type: ignore[attr-defined]
        assert all("gone" in each.response for each in answers)  # type: ignore[attr-defined]
        assert peer.clean()
        nursery.cancel_scope.cancel()


async def test_an_update_request_of_the_peer(autojump_clock: Any, run_deliveries: Any) -> None:
    """S-JOB-1: an update request reaches the hook of the peer's own job, and of no other."""
    server = Server("acme")
    seen: list[str] = []

    @server.event_handler("on_job_update_requested")
    async def on_request(worker: Worker, job: Any) -> None:
        seen.append(job.id)
        await job.update({"half": "way"})

    async with peer_of(server) as peer, trio.open_nursery() as nursery:
        await run_deliveries(nursery, peer)
        peer.request("hang", {})
        await peer.heard()
        peer.tell(BusJobUpdateRequestMessage, job_id="r-1")
        peer.tell(BusJobUpdateRequestMessage, job_id="other")
        update = await peer.hear(BusJobUpdateMessage)
        assert update.update == {"half": "way"}
        assert seen == ["r-1"]
        nursery.cancel_scope.cancel()


async def test_one_id_is_one_job(autojump_clock: Any) -> None:
    """S-JOB-3: a request with the id of an open one is refused, and does not disturb that."""
    async with peer_of(Server("acme")) as peer:
        await peer.heard()
        peer.request("nap", {"seconds": 1})
        peer.request("nap", {"seconds": 2})
        assert peer.letters.take() == [("refused", "a job 'r-1' is open already")]
        await trio.sleep(1)
        assert (await peer.hear(BusJobResponseMessage)).response == {"seconds": 1}


async def test_open_jobs_are_bounded(autojump_clock: Any) -> None:
    """S-PROXY-5: a peer has 1,024 open jobs, answers that it has not taken included."""
    server = Server("acme", mailbox_capacity=2000)
    async with peer_of(server) as peer:
        await peer.heard()
        for n in range(_deliveries.MAX_JOBS):
            peer.request("hang" if n % 2 else "echo", {}, f"r-{n}")
        await settle()
        peer.request("echo", {}, "one too many")
        await settle()
        last = (await peer.heard())[-1]
        assert (last.job_id, last.response["refused"]) == ("one too many", "busy")  # type: ignore[attr-defined]
        peer.request("echo", {}, "one more")
        await settle()
        assert len(peer.portal.deliveries.jobs) > 500
        peer.unlink()
        await settle()
        assert peer.clean()


async def test_a_peer_that_does_not_read_its_answers(autojump_clock: Any) -> None:
    """S-PROXY-5: a peer that asks and asks, and takes no answer, is sent away."""
    async with peer_of(Server("acme")) as peer:
        with pytest.raises(RemoteWireError, match="2048 answers wait to leave"):
            for n in range(10_000):
                peer.request("echo", {}, f"r-{n}")
                if n % 8 == 0:
                    await trio.lowlevel.checkpoint()
        assert sum(peer.portal.outbox.depths()) <= 2050


async def test_who_watches_sees_jobs_over_a_link(autojump_clock: Any) -> None:
    """S-JOB-4: requests, events and answers over a link are visible to subscribers."""
    async with peer_of(Server("acme")) as peer:
        async with peer.runner.bus.open_subscription(BusMessage) as messages:
            peer.request("updates", {"n": 1})
            outcomes: list[Any] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(ask, peer, "count", into=outcomes))
                await settle()
                job_id = next(iter(peer.runner.bus.open_requests))
                await peer.heard()
                peer.tell(BusJobUpdateMessage, job_id=job_id, update={})
                peer.respond(job_id)
            seen = []
            with trio.move_on_after(1):
                while True:
                    seen.append(type(await anext(messages)).__name__)
    assert seen.count("BusJobRequestMessage") == 2
    assert seen.count("BusJobUpdateMessage") == 2
    assert seen.count("BusJobResponseMessage") == 2


# Settings


async def test_ten_thousand_jobs_leave_nothing(autojump_clock: Any) -> None:
    """S-LIFE-5: 10,000 jobs, both ways, leave every table as it was."""
    async with peer_of(Server("acme")) as peer:
        outcomes: list[Any] = []
        for n in range(100):
            async with trio.open_nursery() as nursery:
                for k in range(50):
                    nursery.start_soon(partial(ask, peer, "count", into=outcomes))
                    peer.request("echo", {}, f"{n}-{k}")
                for each in await peer.heard():
                    if isinstance(each, BusJobRequestMessage):
                        peer.respond(each.job_id, {"n": 1})
            outcomes.clear()
        await peer.heard()
        assert peer.clean()
        assert peer.letters.take() == []
        assert peer.proxy.link_statistics().received == 10_000
        assert peer.proxy.link_statistics().sent == 10_001


def test_a_type_that_cannot_cross_is_named_early() -> None:
    """S-PROXY-4: a forwarded type with a field that no JSON can be made of is a TypeError."""
    with pytest.raises(TypeError, match="Event"):
        Still(forward_messages=(Shapeless,))


@links.PIPECAT_ONLY
async def test_a_handled_type_that_cannot_cross_is_left_out(
    autojump_clock: Any, caplog: Any
) -> None:
    """S-PROXY-4: what the local worker handles crosses if it can; what cannot is logged."""
    caplog.set_level("INFO")

    class Handler(Worker):
        @handles(Shapeless)
        async def shapeless(self, message: Shapeless) -> None: ...

        @handles(Note)
        async def note(self, message: Note) -> None:
            notes.append(message.n)

    notes: list[int] = []
    async with peer_of(Handler("acme")) as peer:
        peer.serializer = peer.serializer.including(OURS)
        peer.tell(Note, n=4)
        await settle()
        assert notes == [4]
    assert "messages of Shapeless do not cross" in caplog.text


async def test_statistics(peer: Peer, autojump_clock: Any) -> None:
    """S-PROXY-9: a proxy counts what waits and what has crossed since its link was made."""
    assert peer.proxy.link_statistics() == LinkStatistics(system_depth=1)
    await acme(peer).send(Note(target="assistant"))
    assert peer.proxy.link_statistics().data_depth == 1
    await peer.heard()
    peer.tell(Note)
    assert peer.proxy.link_statistics() == LinkStatistics(sent=2, received=1)
    peer.unlink()
    assert peer.proxy.link_statistics() == LinkStatistics(sent=2, received=1)
    peer.link()
    assert peer.proxy.link_statistics() == LinkStatistics(system_depth=1)
