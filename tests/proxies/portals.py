"""A proxy without a connection: the test is its peer."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import trio.testing

from tests.proxies import links
from tests.proxies.natives import Native
from trioworkers import (
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    DeadLetter,
    JobStatus,
    JSONMessageSerializer,
    Worker,
    WorkerRegistryEntry,
    WorkerRunner,
    open_runner,
)
from trioworkers._address import Address
from trioworkers.abc import Instrument
from trioworkers.proxies._native import NativeDialect
from trioworkers.proxies._portal import Portal
from trioworkers.proxies._proxy import WebSocketProxy
from trioworkers.proxies.policy import ProxyPolicy
from trioworkers.wire.epoch import Epoch
from trioworkers.wire.hello import LinkLimits

M = TypeVar("M", bound=BusMessage)


class Still(WebSocketProxy):
    """A proxy that connects to nobody."""

    def __init__(
        self,
        local: str = "acme",
        remote: str = "assistant",
        *,
        name: str = "proxy",
        serializer: Any = None,
        **rules: Any,
    ) -> None:
        policy = ProxyPolicy(local, remote, **rules)
        super().__init__(name, policy, serializer, active=False, heartbeat=1.0)


class Letters(Instrument):
    """Keeps dead letters."""

    def __init__(self) -> None:
        self.kept: list[DeadLetter] = []

    def dead_letter(self, letter: DeadLetter) -> None:
        self.kept.append(letter)

    def take(self) -> list[tuple[str, str]]:
        """Take the reasons and details of all that were kept."""
        taken = [(letter.reason, letter.detail) for letter in self.kept]
        self.kept.clear()
        return taken


class Peer:
    """What is beyond the link: the test."""

    def __init__(self, runner: WorkerRunner, proxy: Still, messages: Iterable[Any]) -> None:
        self.runner = runner
        self.proxy = proxy
        assert proxy._portal is not None
        self.portal: Portal = proxy._portal
        self.serializer = JSONMessageSerializer(messages=messages)
        self.letters = Letters()
        # With a session on each side of the link, if it is a native one.
        self.dialect: NativeDialect | None = None
        self.native: Native | None = None
        self.crossed: list[BusMessage] = []

    @property
    def local(self) -> str:
        return self.portal.policy.local

    @property
    def remote(self) -> str:
        return self.portal.policy.remote

    def link(self) -> None:
        """Make a link."""
        local = self.runner.bus.route(self.local)
        serializer = self.proxy._table(local.table if isinstance(local, Address) else None)
        if links.DIALECT == "native":
            self._agree()
        self.portal.link(serializer, self.proxy._broadcasts(serializer), self.dialect)

    def _agree(self) -> None:
        """Say hello to each other, and give credit."""
        native = self.native = Native(self.serializer, me=self.remote, you=self.local)
        dialect = NativeDialect(self.portal, Epoch("near"), LinkLimits(), lambda: None)
        self.dialect = dialect
        ours = theirs = [b""]
        while ours or theirs:
            ours, theirs = dialect.leave(), list(native.frames())
            for frame in ours:
                native.hear(frame)
            for frame in theirs:
                dialect.receive(frame)

    def unlink(self, reason: str = "cut") -> None:
        """Lose it."""
        self.portal.unlink(reason)

    def say(self, message: BusMessage | bytes | str) -> None:
        """Let something come in."""
        if self.native is not None and self.dialect is not None:
            assert not isinstance(message, str)
            self.native.put(message)
            for frame in self.native.frames():
                self.dialect.receive(frame)
            while self.native.lanes and self._shuttle(self.native, self.dialect):
                pass
            assert not self.native.lanes, "there is no credit"
            return
        if isinstance(message, BusMessage):
            message = self.serializer.serialize(message)
        self.portal.receive(message)

    def tell(self, kind: type[BusMessage], **fields: Any) -> None:
        """Let a message of the remote worker to the local one come in."""
        head: dict[str, Any] = {"source": self.remote, "target": self.local, **fields}
        self.say(kind(**head))

    def request(self, name: str = "echo", payload: Any = None, job_id: str = "r-1") -> None:
        """Ask the local worker."""
        self.tell(BusJobRequestMessage, job_id=job_id, job_name=name, payload=payload)

    def respond(
        self, job_id: str, response: Any = None, status: JobStatus = JobStatus.COMPLETED
    ) -> None:
        """Answer a job of the local worker's."""
        self.tell(BusJobResponseMessage, job_id=job_id, status=status, response=response)

    def announce(self, *names: str, runner: str = "far") -> None:
        """Announce workers."""
        entries = [WorkerRegistryEntry(name, active=True) for name in names or (self.remote,)]
        self.say(BusWorkerRegistryMessage(source="gateway", runner=runner, workers=entries))

    async def heard(self) -> list[BusMessage]:
        """Let everything leave, now; announcements aside."""
        await trio.testing.wait_all_tasks_blocked()
        fresh = self.leave()
        return [each for each in fresh if not isinstance(each, BusWorkerRegistryMessage)]

    def leave(self) -> list[BusMessage]:
        """Let everything leave that is there."""
        if self.native is not None and self.dialect is not None:
            return self._leave_natively(self.native, self.dialect)
        fresh: list[BusMessage] = []
        outbox = self.portal.outbox
        while (packed := outbox.lanes.take()) is not None:
            self.portal.left(packed)
            fresh.append(self.serializer.deserialize(packed.frame))
            outbox.hand_over()
        self.crossed += fresh
        return fresh

    def _leave_natively(self, native: Native, dialect: NativeDialect) -> list[BusMessage]:
        while self._shuttle(native, dialect):
            pass
        fresh = list(native.heard)
        native.heard.clear()
        self.crossed += fresh
        return fresh

    def _shuttle(self, native: Native, dialect: NativeDialect) -> bool:
        """Carry a frame to the test and back what it answers; False if there is none."""
        frames = dialect.leave()
        for frame in frames:
            native.hear(frame)
        for frame in native.frames():
            dialect.receive(frame)
        return bool(frames)

    async def hear(self, kind: type[M]) -> M:
        """Let the one message leave that is there."""
        (message,) = await self.heard()
        assert isinstance(message, kind), message
        return message

    def clean(self) -> bool:
        """Tell whether no table holds anything of a job."""
        bus, deliveries = self.runner.bus, self.portal.deliveries
        outbox = self.portal.outbox
        return not (
            bus.open_requests
            or bus.waits.edges
            or deliveries.jobs
            or deliveries._unsent
            or deliveries.inbox
            or deliveries.urgent
            or outbox.lanes
            or outbox.lanes._jobs
            or outbox.lanes.size
            or outbox.waiting
        )


@asynccontextmanager
async def peer_of(
    *workers: Worker,
    messages: Iterable[Any] = (),
    linked: bool = True,
    serializer: Any = None,
    **rules: Any,
) -> AsyncGenerator[Peer]:
    """Run workers and a proxy without a connection; gives the peer."""
    proxy = Still(serializer=serializer or JSONMessageSerializer(messages=messages), **rules)
    # On a clock that jumps, who waits for ever is found at once.
    with trio.fail_after(100_000):
        async with _opened(proxy, workers, messages, linked) as peer:
            yield peer


@asynccontextmanager
async def _opened(
    proxy: Still, workers: Iterable[Worker], messages: Iterable[Any], linked: bool
) -> AsyncGenerator[Peer]:
    async with open_runner(*workers, proxy) as runner:
        peer = Peer(runner, proxy, messages)
        runner.add_instrument(peer.letters)
        if linked:
            peer.link()
        yield peer
