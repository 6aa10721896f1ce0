"""The place of a remote worker on the local bus.

Messages and requests for the remote worker's name arrive here, and leave through the outbox if
the policy lets them; what the peer sends comes in here, and goes to the local worker if the
policy lets it.  There is no I/O: a link, while there is one, empties the outbox and hands in what
arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from typing import Any, Protocol, cast

import attrs
import trio

from .._requests import Request, trace_context
from .._routes import Intake
from .._slot import Slot
from .._values import DeadLetterReason, Down, LinkStatistics, StopReason, Up
from .._waits import Mover
from ..abc import MessageSerializer
from ..errors import LocalWireError, MessageTooBigError, RemoteWireError
from ..messages import (
    BusJobCancelMessage,
    BusMessage,
    BusSystemMessage,
    BusWorkerRegistryMessage,
)
from ..wire import ForeignMessage
from ..wire.chunks import Lane
from ..wire.codec import is_dict
from ..wire.flow import Arrived
from ..wire.pipecat_session import PipecatSession
from ..wire.replies import FINAL, REPLIES, RESPONSES
from ._deliveries import NO_TERMS, Deliveries, Terms
from ._life import Life, Step
from ._outbox import Outbox, Packed
from ._outcomes import writable
from ._replies import Holding, Left, Replies
from ._transport import plain
from .policy import ProxyPolicy

__all__ = ["Portal"]

logger = logging.getLogger("trioworkers")


class Credited(Holding, Protocol):
    """What a portal asks of a dialect with credit."""

    @property
    def message_size(self) -> int:
        """How big a message the peer takes, in bytes."""
        ...

    @property
    def repeated(self) -> int:
        """How many messages have left more than once."""
        ...

    def tell_cancel(self, request: Request, number: int) -> bool:
        """Tell the peer of a cancel; return whether the request had left in part only, and ends."""
        ...

    def taken(self, lane: Lane) -> None:
        """Take note that a message that waited here does so no more."""
        ...


def retargeted(message: BusMessage, target: str) -> BusMessage:
    """Return `message`, or a copy of it, for `target`."""
    if message.target == target:
        return message
    copy: BusMessage = attrs.evolve(cast("Any", message), target=target)
    return copy


class Portal:
    """What is behind a remote worker's name on the bus, while its proxy has a place there."""

    def __init__(
        self,
        node: Slot,
        policy: ProxyPolicy,
        serializer: MessageSerializer,
        announce_to: str | None,
        life: Life,
    ) -> None:
        """Take the name of the remote worker.

        Args:
            node: the proxy's place in the tree.
            policy: what may cross.
            serializer: how messages are written.
            announce_to: the target of announcements.
            life: of the session.

        Raises:
            NameTakenError: the name is taken.
        """
        self._node = node
        self._bus = node.bus
        self._registry = node.context.registry
        self.policy: ProxyPolicy = policy
        self.name: str = policy.remote
        self._announce_to = announce_to
        self._session = PipecatSession(serializer)
        self._credit: Credited | None = None
        self._heard: tuple[type[BusMessage], ...] = ()
        self._life = life
        # The task that runs the hook of a new connection, before there is a link.
        self.greeter: trio.lowlevel.Task | None = None
        self._sent = self._received = self._resumed = 0
        # Where the peer's runner says the remote worker is.
        self._runner: str | None = None
        self.outbox: Outbox = Outbox(self.name, self, self._bus.waits.release)
        self.deliveries: Deliveries = Deliveries(self, node)
        self.replies: Replies = Replies(self._bus, self, policy.local)
        self._bus.attach(self.name, self)
        self._registry.listen(policy.local, self._local_changed)

    @property
    def tasks(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What has to run as long as there is or may be a link."""
        deliveries = self.deliveries
        inboxes = (deliveries.inbox, deliveries.urgent, self.replies.inbox)
        return (*(each.run for each in inboxes), deliveries.deadlines.run)

    def close(self) -> None:
        """Give the name back; what has not left will not."""
        self.unlink("its proxy has stopped", ended=True)
        self.outbox.close()
        self._registry.unlisten(self.policy.local, self._local_changed)
        self._bus.unlisten(self.name, self._heard)
        self._bus.detach(self.name)

    # The link

    def link(
        self,
        serializer: MessageSerializer,
        heard: Sequence[type[BusMessage]],
        credit: Credited | None = None,
        *,
        introduced: bool = False,
    ) -> None:
        """Begin to let messages leave, in a new session.

        Args:
            serializer: how messages are written from now on.
            heard: the types whose broadcasts by the local worker cross.
            credit: the peer, if it gives credit and wants it.
            introduced: whether the peer was told already that the local worker is ready.
        """
        self._session = PipecatSession(serializer)
        self._credit = credit
        self._give_credit()
        self._bus.unlisten(self.name, self._heard)
        self._heard = tuple(heard)
        self._bus.listen(self.name, self._heard)
        self._life.step(Step.BEGIN)
        self._sent = self._received = self._resumed = 0
        self.outbox.connect()
        if not introduced:
            self._announce()

    def pause(self, give_up: Callable[[str], None]) -> None:
        """Keep the session, whose connection is lost, for the next one.

        Args:
            give_up: ends it, because too much would have to be kept.
        """
        self._life.step(Step.LOSE)
        self.deliveries.give_up = give_up

    def resume(self, credit: Credited) -> None:
        """Go on with the session over another connection."""
        self._life.step(Step.RESUME)
        self._resumed += 1
        self._credit = credit
        self._give_credit()

    def _give_credit(self) -> None:
        for inbox in (self.deliveries.inbox, self.deliveries.urgent, self.replies.inbox):
            inbox.taken = None if self._credit is None else self._credit.taken
        self.replies.credit(self._credit)

    def lose(self, items: Iterable[Packed], reason: str) -> int:
        """Report what was sent and has perhaps not arrived; return how many messages that were."""
        lost = [each.item for each in items if not isinstance(each.item, BusWorkerRegistryMessage)]
        for item in lost:
            # What is open of jobs fails with the session.
            if not isinstance(item, Request):
                self.reject(item, "link lost", reason)
        return len(lost)

    def unlink(self, reason: str, *, ended: bool = False) -> int:
        """End the session: every open job over the link fails, now.

        Returns:
            How many messages and requests have not left.
        """
        if not self._life.exists:
            return 0
        self._life.step(Step.END)
        # An announcement is made again over the next link.
        items = [
            each
            for each in self.outbox.disconnect()
            if not isinstance(each, BusWorkerRegistryMessage)
        ]
        for item in items:
            self.reject(item, "link lost", reason)
        for request in self.replies.requests():
            request.gone(f"the link to it is lost: {reason}")
        self.deliveries.abandon(reason)
        self.replies.inbox.clear()
        self._registry.unregister(
            self.name, StopReason("ended" if ended else "failed", reason, self.path)
        )
        return len(items)

    @property
    def path(self) -> str:
        """Where the remote worker is, seen from here."""
        beyond = self.name if self._runner is None else f"{self._runner}/{self.name}"
        return f"{beyond} -> {self._node.path}"

    def _local_changed(self, change: Up | Down) -> None:
        if isinstance(change, Up) and self._life.exists:
            self._announce()

    def _announce(self) -> None:
        if packed := self.announcement():
            self.outbox.put_reply(packed)

    def announcement(self) -> Packed | None:
        """Return what tells the peer that the local worker is ready, if it is."""
        entry = self._registry.get(self.policy.local)
        if entry is None:
            return None
        announcement = BusWorkerRegistryMessage(
            source=self._node.name,
            target=self._announce_to,
            runner=self._node.context.runner.name,
            workers=[attrs.evolve(entry, parent=None)],
        )
        packed = self.try_pack(announcement)
        if isinstance(packed, Packed):
            return packed
        logger.warning(
            "proxy %s cannot announce %s to its peer: %s",
            self._node.name,
            self.policy.local,
            packed,
        )
        return None

    def statistics(self, *, connected: bool) -> LinkStatistics:
        """Return what waits to cross, and what has crossed since there is a link.

        Args:
            connected: whether there is one now.
        """
        data, system = self.outbox.depths()
        return LinkStatistics(
            connected=connected,
            data_depth=data,
            system_depth=system,
            waiting_senders=len(self.outbox.waiting or ()),
            inbox_depth=self.deliveries.depth,
            sent=self._sent,
            received=self._received,
            resumed=self._resumed,
            sent_again=0 if self._credit is None else self._credit.repeated,
        )

    # As a route of the bus and a responder

    # Whoever handles what is sent here lives elsewhere.
    present_nursery = None

    @property
    def mailbox(self) -> Intake:
        """Where messages for the remote worker are queued."""
        return self.outbox

    def hears(self, message: BusMessage) -> bool:
        """Tell whether a broadcast crosses now."""
        return self._life.exists and bool(self.policy.outbound(message))

    def wake_system(self, message: BusSystemMessage) -> None:
        """Do nothing: the outbox wakes its writer."""

    def command(self, message: BusMessage) -> None:
        """Let session control cross, if the policy does."""
        try:
            packed = self.pack(retargeted(message, self.name))
        except LocalWireError as error:
            if message.target is not None:
                raise
            # Whoever else is to stop must not depend on what one link can say.
            self.reject(message, "refused", str(error))
            return
        if packed is not None and not self._life.exists:
            self.reject(message, "link lost", "there is no link now")
        elif packed is not None:
            self.outbox.put_reply(packed)

    def offer(self, request: Request) -> bool:
        """Take `request`, or give it an outcome; False if it must wait for room or a link."""
        request.responder = self
        return self.outbox.put(request, 0.0)

    def cancel_request(self, request: Request) -> None:
        """Cancel a request: here if it has not left, else by a message."""
        if not isinstance(request.job, Left):
            self.outbox.withdraw(request)
        elif self._credit is None:
            if self._life.exists:
                self._send_cancel(request)
            return
        elif not self._credit.tell_cancel(request, int(request.job)):
            return
        request.finish(request.cancelled())
        request.exit()

    def _send_cancel(self, request: Request) -> None:
        """Send the cancel of a request in any case: without its reason, if need be.

        Beyond the cap of the outbox too: there is one cancel at most for each request.
        """
        reason = None if request.cancelled_by is None else request.cancelled_by[0]
        bare = BusJobCancelMessage(
            source=request.requester, target=request.target, job_id=request.id
        )
        packed = self.try_pack(attrs.evolve(cast("Any", bare), reason=reason and writable(reason)))
        if isinstance(packed, LocalWireError):
            packed = self.try_pack(bare)
        if isinstance(packed, Packed):
            self.outbox.put_reply(packed)
        else:
            self.reject(bare, "refused", str(packed))

    def request_movers(self, request: Request) -> tuple[bool, Sequence[Mover]]:
        """Return nobody: who must move is beyond the link."""
        del request
        return False, ()

    # As the owner of the outbox

    def pack(self, item: Any) -> Packed | None:
        """Encode a message or request that a user sends, if it may cross.

        Raises:
            LocalWireError: it cannot be written, and has a target.  A broadcast has other hearers,
                and may be one that no user sends: it is dead.
        """
        request: Request | None = item if isinstance(item, Request) else None
        message = cast("BusMessage", item if request is None else request.message())
        decision = self.policy.outbound(message)
        if not decision.allowed:
            self.reject(item, "refused", decision.reason)
            return None
        try:
            frame = self._encode(message)
        except LocalWireError as error:
            if message.target is not None:
                raise
            self.reject(item, "refused", str(error))
            return None
        if request is not None:
            return Packed(item, frame, None, False, request.deadline, _trace_of(request))
        reply = REPLIES.get(type(message))
        job = None if reply is None or reply.event is None else cast("Any", message).job_id
        return Packed(item, frame, job, isinstance(message, BusSystemMessage))

    def _encode(self, message: BusMessage) -> bytes:
        frame = self._session.encode(message)
        credit = self._credit
        if credit is not None and len(frame) > (largest := credit.message_size):
            raise MessageTooBigError(len(frame), largest)
        return frame

    def try_pack(self, message: BusMessage, job: str | None = None) -> Packed | LocalWireError:
        """Encode a message that no user sends, or return why that is impossible.

        Args:
            message: what to say.
            job: the id of the job that it is a reply about.
        """
        try:
            frame = self._encode(message)
        except LocalWireError as error:
            return error
        return Packed(message, frame, job, isinstance(message, BusSystemMessage))

    def left(self, packed: Packed, number: int = 0) -> None:
        """Take note that a message is about to leave; `number` counts those of its lane."""
        self._sent += 1
        item = packed.item
        if isinstance(item, Request):
            item.job = Left(number)
        elif packed.job is not None and isinstance(item, RESPONSES):
            self.deliveries.answer_left(len(packed.frame))

    def reject(self, item: Any, reason: DeadLetterReason, detail: str = "") -> None:
        """Take what will not leave: a request gets its outcome, a message is dead."""
        if not isinstance(item, Request):
            self._bus.dead_letter(item, reason, self._node.name, detail)
        elif reason == "refused":
            item.refuse("not let through", f"by proxy {self._node.name!r}: {detail}")
        else:
            item.gone(f"the link to it is lost: {detail}" if detail else "its proxy has stopped")

    def outbox_movers(self) -> Sequence[Mover]:
        """Return the proxy's own start, until it has started, or the hook of a new connection."""
        if self._node.turns is None:
            return (self._node,)
        return () if self.greeter is None else (self.greeter,)

    # What arrives

    def receive(self, frame: bytes | str) -> bool:
        """Take one frame from the peer; never waits.

        Returns:
            Whether it should have taken effect before the next one is taken: it overtakes others.

        Raises:
            RemoteWireError: the peer has sent too much that could not be read, or goes on asking
                without reading the answers.
        """
        message = self._decode(frame)
        if message is None:
            return False
        self._take(message, len(frame), Lane.DATA, NO_TERMS)
        return isinstance(message, BusSystemMessage)

    def arrive(self, arrived: Arrived, now: float) -> bool:
        """Take one message from a peer that has lanes; never waits.

        Args:
            arrived: what has come.
            now: the time.

        Returns:
            Whether it waits for room now.  If so, the inbox it is in tells when it does no more.

        Raises:
            RemoteWireError: as `receive`.
        """
        message = self._decode(arrived.body)
        if message is None:
            return False
        terms = NO_TERMS
        if arrived.seconds is not None or arrived.trace is not None:
            seconds = inf if arrived.seconds is None else arrived.seconds
            terms = Terms(now + seconds, arrived.trace)
        return self._take(message, len(arrived.body), arrived.lane, terms)

    def _decode(self, frame: bytes | str) -> BusMessage | None:
        self._received += 1
        try:
            return self._session.decode(frame)
        except RemoteWireError as error:
            unread = ForeignMessage(
                source=self.name, target=self.policy.local, tag="?", detail=str(error)
            )
            self._bus.dead_letter(unread, "undecodable", self._node.name, str(error))
            self.replies.fail_unread(frame, error)
            if self._session.abused:
                raise RemoteWireError(f"too many unreadable messages, the last: {error}") from None
            return None

    def _take(self, message: BusMessage, size: int, lane: Lane, terms: Terms) -> bool:
        decision = self.policy.inbound(message)
        if not decision.allowed:
            self._refuse_inbound(message, decision.reason)
        elif decision.receiver is None:
            assert isinstance(message, BusWorkerRegistryMessage)
            self._announced(message)
        elif type(message) in REPLIES:
            return self.replies.receive(message, size, lane)
        else:
            message = retargeted(message, decision.receiver)
            return self.deliveries.receive(message, size, lane, terms)
        return False

    def _refuse_inbound(self, message: BusMessage, reason: str) -> None:
        self._bus.dead_letter(message, "refused", self._node.name, reason)
        if not isinstance(message, FINAL):
            return
        if request := self.replies.request(cast("Any", message).job_id):
            request.gone(f"its answer was not let through by proxy {self._node.name!r}: {reason}")

    def _announced(self, message: BusWorkerRegistryMessage) -> None:
        """Enter the remote worker in the registry; whatever the entry says, it is remote."""
        self._runner = plain(message.runner)
        entry = attrs.evolve(message.workers[0], parent=None)
        if self.name in self._registry:
            self._registry.update(entry)
        else:
            self._registry.register(entry, self._runner)


def _trace_of(request: Request) -> dict[str, str] | None:
    """Return what traces a request.

    Raises:
        LocalWireError: it is no dict of texts.
    """
    trace: Any = request.variables.get(trace_context)
    if trace is None:
        return None
    if not is_dict(trace) or not all(isinstance(text, str) for text in (*trace, *trace.values())):
        raise LocalWireError(f"trace_context must hold a dict of str or None, not {trace!r:.200}")
    return trace
