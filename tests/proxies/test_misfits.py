"""What cannot be used, written or read harms its own message or job, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import attrs
import pytest
import trio

from tests.jobs import Actor, Note, outcome_of
from tests.proxies import links
from tests.proxies.pairs import served
from tests.proxies.portals import Peer, peer_of
from trioworkers import (
    BusActivateWorkerMessage,
    BusEndMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamEndMessage,
    BusJobUpdateMessage,
    BusMessage,
    BusWorkerErrorMessage,
    BusWorkerRegistryMessage,
    Job,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    JSONMessageSerializer,
    LocalWireError,
    MessageSerializer,
    Restart,
    Worker,
    WorkerGoneError,
    job,
    message,
)
from trioworkers.proxies import _outbox
from trioworkers.testing import Probe
from trioworkers.wire import Limits

pytestmark = pytest.mark.usefixtures("dialect")


class Choosy(MessageSerializer):
    """Writes JSON, but for the messages it has a quarrel with."""

    def __init__(self, quarrel: Callable[[BusMessage], object]) -> None:
        self.inner = JSONMessageSerializer()
        self.quarrel = quarrel

    def serialize(self, message: BusMessage) -> bytes:
        self.quarrel(message)
        return self.inner.serialize(message)

    def deserialize(self, data: bytes) -> BusMessage:
        return self.inner.deserialize(data)


class Refusing(Choosy):
    """Writes no messages of some classes."""

    def __init__(self, *kinds: type[BusMessage]) -> None:
        super().__init__(self.refuse)
        self.kinds = kinds

    def refuse(self, message: BusMessage) -> None:
        if isinstance(message, self.kinds):
            raise LocalWireError(f"no {type(message).__name__}")


@pytest.fixture
async def jobs(autojump_clock: Any) -> Any:
    """Run the jobs of a test in tasks that end with it."""
    async with trio.open_nursery() as nursery:
        yield nursery
        nursery.cancel_scope.cancel()


async def ask(peer: Peer, nursery: trio.Nursery) -> tuple[str, list[Any]]:
    """Let the local worker ask the remote one; return the id, and where the outcome will be."""
    route: Any = peer.runner.bus.route("acme")
    outcomes: list[Any] = []

    async def run() -> None:
        outcomes.append(await outcome_of(route.worker.ask("assistant", "count")))

    await peer.heard()
    nursery.start_soon(run)
    return (await peer.hear(BusJobRequestMessage)).job_id, outcomes


# Activations


@attrs.frozen
class Briefing:
    text: str


class Briefed(Worker):
    """Cannot be activated without a briefing."""

    async def on_activated(self, args: Briefing) -> None: ...


async def test_an_activation_without_needed_arguments(autojump_clock: Any) -> None:
    """S-LIFE-6: a peer that activates without the needed arguments does not end the worker."""
    worker = Briefed("acme", active=False)
    async with peer_of(worker) as peer:
        peer.tell(BusActivateWorkerMessage)
        await peer.heard()
        assert [reason for reason, _ in peer.letters.take()] == ["bad payload"]
        peer.tell(BusActivateWorkerMessage, args={"text": "x"})
        await peer.heard()
        assert worker.active
        peer.tell(BusActivateWorkerMessage)
        await peer.heard()
        assert [reason for reason, _ in peer.letters.take()] == ["bad payload"]


# The end of a stream


@pytest.mark.parametrize("data", ["NaN", "[1]", "[" * 100 + "]" * 100])
async def test_an_end_that_cannot_be_read_ends_its_job(jobs: trio.Nursery, data: str) -> None:
    """S-JOB-3: the end of a stream ends its job, also if it cannot be read."""
    async with peer_of(Probe("acme")) as peer:
        job_id, outcomes = await ask(peer, jobs)
        end = BusJobStreamEndMessage(
            source="assistant", target="acme", job_id=job_id, data={"here": 1}
        )
        peer.say(peer.serializer.serialize(end).replace(b'{"here":1}', data.encode()))
        await peer.heard()
        assert isinstance(outcomes[0], JobRemoteError)
        assert "its answer cannot be read" in str(outcomes[0])
        assert [reason for reason, _ in peer.letters.take()] == ["undecodable"]
        assert peer.clean()


async def test_an_end_that_is_refused_ends_its_job(jobs: trio.Nursery) -> None:
    """S-JOB-3, S-PROXY-2: the end of a stream that is not let in ends its job."""
    async with peer_of(Probe("acme")) as peer:
        job_id, outcomes = await ask(peer, jobs)
        peer.tell(BusJobUpdateMessage, target="other", job_id=job_id)
        await peer.heard()
        assert outcomes == []
        peer.tell(BusJobStreamEndMessage, target="other", job_id=job_id)
        await peer.heard()
        assert isinstance(outcomes[0], WorkerGoneError)
        assert "its answer was not let through" in str(outcomes[0])


async def test_accept_without_the_end_of_a_stream(autojump_clock: Any) -> None:
    """S-JOB-3: nobody waits for an end that `accept` keeps out."""
    accept = [BusJobResponseMessage, BusJobResponseUrgentMessage]
    async with peer_of(Probe("acme"), accept=accept) as peer:
        route: Any = peer.runner.bus.route("acme")
        with pytest.raises(JobRefusedError, match="leaves out BusJobStreamEndMessage"):
            await route.worker.ask("assistant", "count")


# Cancels


@links.PIPECAT_ONLY
@pytest.mark.parametrize(
    ("reason", "crossing"),
    [
        ("bad \udcff", "bad \\udcff"),
        ("x" * 2_000_000, "x" * 1000),
        ("\u20ac" * 300_000, "\u20ac" * 1000),
        ("", ""),
        (5, "5"),
    ],
)
async def test_a_cancel_crosses_whatever_its_reason(
    jobs: trio.Nursery, reason: Any, crossing: str
) -> None:
    """S-JOB-6: the handler beyond the link is cancelled, even if the reason cannot be told."""
    async with peer_of(Probe("acme")) as peer:
        job_id, _ = await ask(peer, jobs)
        peer.runner.bus.open_requests[job_id].cancel(reason, "me")
        cancel = await peer.hear(BusJobCancelMessage)
        assert (cancel.job_id, cancel.reason) == (job_id, crossing)


@links.PIPECAT_ONLY
async def test_a_cancel_crosses_without_a_reason_that_is_too_long(jobs: trio.Nursery) -> None:
    """S-JOB-6: a reason that would make the message too big is left out."""
    tight = JSONMessageSerializer(limits=Limits(message_size=1000))
    async with peer_of(Probe("acme"), serializer=tight) as peer:
        job_id, _ = await ask(peer, jobs)
        peer.runner.bus.open_requests[job_id].cancel("x" * 1000, "me")
        assert (await peer.hear(BusJobCancelMessage)).reason is None


async def test_a_cancel_crosses_though_the_lane_is_full(
    jobs: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-JOB-6: the cap of system messages is none for cancels, which their requests bound."""
    async with peer_of(Probe("acme")) as peer:
        job_id, _ = await ask(peer, jobs)
        monkeypatch.setattr(_outbox, "SYSTEM_LIMIT", 0)
        peer.runner.bus.open_requests[job_id].cancel("enough", "me")
        assert (await peer.hear(BusJobCancelMessage)).reason == "enough"


@links.PIPECAT_ONLY
async def test_a_cancel_that_the_serializer_refuses_is_a_dead_letter(jobs: trio.Nursery) -> None:
    """S-PROXY-2: a cancel that cannot be written in any way raises nowhere, and is told of."""
    async with peer_of(Probe("acme"), serializer=Refusing(BusJobCancelMessage)) as peer:
        job_id, _ = await ask(peer, jobs)
        peer.runner.bus.open_requests[job_id].cancel("enough", "me")
        assert await peer.heard() == []
        assert peer.letters.take() == [("refused", "no BusJobCancelMessage")]


# Broadcasts


class Unprintable(Actor):
    """Fails with a text that is none."""

    def __init__(self) -> None:
        super().__init__("acme")

    async def on_start(self) -> None:
        self.nursery.start_soon(self.fail)

    async def fail(self) -> None:
        await trio.sleep(1)
        raise ValueError("\udcff")


async def test_the_failure_of_a_worker_that_cannot_be_told(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-BUS-3: that a failure cannot be told over a link does not keep the worker from its restart."""
    # Its traceback is no text either, and whoever collects the logs of tests would fail.
    caplog.set_level("CRITICAL", "trioworkers")
    async with peer_of(forward_messages=(BusWorkerErrorMessage,)) as peer:
        await peer.runner.add_workers(Unprintable, restart=Restart.PERMANENT)
        await trio.sleep(1.5)
        (detail,) = [detail for reason, detail in peer.letters.take() if reason == "refused"]
        assert "half of a surrogate pair" in detail
        assert peer.runner.bus.route("acme") is not None


async def test_a_broadcast_that_cannot_be_written(autojump_clock: Any) -> None:
    """S-BUS-2: a broadcast that one link cannot carry reaches the others all the same."""
    other = Probe("other", hears=(Note,))
    rules: Any = {"messages": (Note,), "forward_messages": (Note,)}
    async with peer_of(Probe("acme", hears=(Note,)), other, **rules) as peer:
        route: Any = peer.runner.bus.route("acme")
        await peer.heard()
        await route.worker.send(Note(n="much"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        assert await other.receive(Note)
        ((reason, detail),) = peer.letters.take()
        assert (reason, "Note.n cannot cross" in detail) == ("refused", True)
        assert await peer.heard() == []


async def test_an_end_that_cannot_be_written(autojump_clock: Any) -> None:
    """S-BUS-3: session control reaches its runner though a link cannot carry it."""
    async with peer_of(Probe("acme"), forward_messages=(BusEndMessage,)) as peer:
        route: Any = peer.runner.bus.route("acme")
        with pytest.raises(LocalWireError, match="surrogate"):
            await route.worker.send(BusEndMessage(target="assistant", reason="\udcff"))
        assert peer.letters.take() == []
        await route.worker.send(BusEndMessage(reason="\udcff"))
        assert [reason for reason, _ in peer.letters.take()] == ["refused"]
        await peer.proxy.wait_stopped()


# Classes that do not travel


@message
class Odd(BusMessage):
    x: int = 0


@message
class MyUpdate(BusJobUpdateMessage):
    y: int = 0


@pytest.mark.parametrize(
    ("kind", "reason"), [(Odd, "it has no lane"), (MyUpdate, "derived from a message of the job")]
)
def test_classes_that_do_not_travel(kind: type[BusMessage], reason: str) -> None:
    """S-PROXY-4: a class that no bus takes is refused where the serializer is made."""
    with pytest.raises(
        TypeError, match=f"messages of {kind.__name__} cannot cross a link: .*{reason}"
    ):
        JSONMessageSerializer(messages=(kind,))


class Inventive(Choosy):
    """Reads what nobody can handle."""

    def deserialize(self, data: bytes) -> BusMessage:
        kind: Any = {b"odd": Odd, b"update": partial(MyUpdate, job_id="1")}[data]
        made: BusMessage = kind(source="assistant", target="acme")
        return made


async def test_a_serializer_that_makes_what_does_not_travel(autojump_clock: Any) -> None:
    """S-PROXY-2: what a serializer of the user's reads, and no bus takes, is a dead letter."""
    async with peer_of(Probe("acme"), serializer=Inventive(lambda message: None)) as peer:
        peer.say(b"odd")
        peer.say(b"update")
        assert [reason for reason, _ in peer.letters.take()] == ["refused", "refused"]


# Answers


class Broken(dict[str, Any]):
    """Cannot be looked into."""

    def items(self) -> Any:
        raise KeyError("boo")


class Answers(Worker):
    """Answers what it was made with."""

    def __init__(self, response: dict[str, Any], name: str = "acme") -> None:
        super().__init__(name)
        self.response = response

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return self.response


def written(message: BusMessage) -> None:
    """Raise what is no error of the wire for what JSON cannot say."""
    if isinstance(message, BusJobResponseMessage):
        json.dumps(message.response)


@pytest.mark.parametrize(
    ("response", "serializer", "text"),
    [
        ({"x": {1}}, Choosy(written), "TypeError: Object of type set"),
        (Broken(a=1), None, "KeyError: 'boo'"),
        ({"x": Broken(a=1)}, None, "KeyError: 'boo'"),
    ],
)
async def test_an_answer_that_cannot_be_written(
    autojump_clock: Any,
    caplog: pytest.LogCaptureFixture,
    response: dict[str, Any],
    serializer: Any,
    text: str,
) -> None:
    """S-JOB-3: whatever the writing of an answer raises, the requester and the log hear of it."""
    async with peer_of(Answers(response), serializer=serializer) as peer:
        await peer.heard()
        peer.request()
        answer = await peer.hear(BusJobResponseMessage)
        assert answer.status is JobStatus.ERROR
        assert text in answer.response["error"]
        assert peer.clean()
    (record,) = [each for each in caplog.records if "failed for" in each.getMessage()]
    assert text in record.getMessage()
    assert record.exc_info


async def test_an_answer_that_hardly_fits(autojump_clock: Any) -> None:
    """S-JOB-3: an answer is cut to what can be written, down to its bare status."""
    tight = JSONMessageSerializer(limits=Limits(message_size=300))
    async with peer_of(Answers({"text": "x" * 500}), serializer=tight) as peer:
        await peer.heard()
        peer.request()
        answer = await peer.hear(BusJobResponseMessage)
        assert (answer.status, answer.response) == (JobStatus.ERROR, None)


async def test_an_answer_that_the_serializer_refuses(autojump_clock: Any) -> None:
    """S-PROXY-2: an answer that cannot be written in any way is a dead letter, and ends nothing."""
    async with peer_of(Answers({}), serializer=Refusing(BusJobResponseMessage)) as peer:
        await peer.heard()
        peer.request()
        assert await peer.heard() == []
        assert peer.letters.take() == [("refused", "no BusJobResponseMessage")]
        assert peer.clean()


async def test_an_answer_that_cannot_be_written_ends_the_link(autojump_clock: Any) -> None:
    """S-JOB-3: a link over which no answer can be written is closed, so that nobody waits for ever."""
    mute = Refusing(BusJobResponseMessage)
    async with served(Answers({}, "assistant"), serializer=mute) as (_, far):
        await far.tell(BusJobRequestMessage, job_id="1", job_name="echo")
        end = await far.until_closed()
        assert (end.code, end.reason) == (
            1008,
            "an answer cannot be written: no BusJobResponseMessage",
        )


# Announcements


@pytest.fixture(params=["tight", "refusing"])
def mute(request: pytest.FixtureRequest) -> Iterator[MessageSerializer]:
    """A serializer that writes no announcement."""
    if request.param == "tight":
        yield JSONMessageSerializer(limits=Limits(message_size=300))
    else:
        yield Refusing(BusWorkerRegistryMessage)


async def test_an_announcement_that_cannot_be_written(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture, mute: MessageSerializer
) -> None:
    """S-PROXY-3: a link lives without the announcement that cannot be written over it."""
    async with peer_of(Answers({"a": 1}), serializer=mute) as peer:
        assert await peer.heard() == []
        peer.request()
        await peer.hear(BusJobResponseMessage)
        assert not any(isinstance(each, BusWorkerRegistryMessage) for each in peer.crossed)
    assert "proxy proxy cannot announce acme to its peer: " in caplog.text
