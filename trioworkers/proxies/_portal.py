"""The place of a remote worker on the local bus.

Messages and requests for the remote worker's name arrive here, and leave through the outbox if
the policy lets them; what the peer sends comes in here, and goes to the local worker if the
policy lets it.  There is no I/O: a link, while there is one, empties the outbox and hands in what
arrived.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, cast

import attrs
import trio

from .._requests import Outcome, Request
from .._routes import Intake
from .._slot import Slot
from .._values import DeadLetterReason, Down, LinkStatistics, StopReason, Up
from .._waits import Mover
from ..abc import MessageSerializer
from ..errors import JobRemoteError, LocalWireError, RemoteWireError
from ..messages import (
    BusJobCancelMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusMessage,
    BusSystemMessage,
    BusWorkerRegistryMessage,
    JobStatus,
)
from ..wire import ForeignMessage
from ..wire.pipecat_session import PipecatSession, answered_job
from ..wire.replies import FINAL, REPLIES, RESPONSES
from ._deliveries import Deliveries
from ._outbox import Outbox, Packed
from ._outcomes import outcome_of, writable
from ._transport import plain
from .policy import ProxyPolicy

__all__ = ["Portal"]

logger = logging.getLogger("trioworkers")

EVENT_CAPACITY = 1024
"""How many events of one job over a link wait for a slow reader; the next ones are lost."""

_LEFT: Any = object()
"""Stands in `Request.job`: the request has left, its handler is beyond the link."""


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
    ) -> None:
        """Take the name of the remote worker.

        Args:
            node: the proxy's place in the tree.
            policy: what may cross.
            serializer: how messages are written.
            announce_to: the target of announcements.

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
        self._heard: tuple[type[BusMessage], ...] = ()
        self._linked = False
        # The task that runs the hook of a new connection, before there is a link.
        self.greeter: trio.lowlevel.Task | None = None
        self._sent = self._received = 0
        # Where the peer's runner says the remote worker is.
        self._runner: str | None = None
        self.outbox: Outbox = Outbox(self.name, self, self._bus.waits.release)
        self.deliveries: Deliveries = Deliveries(self, node)
        self._bus.attach(self.name, self)
        self._registry.listen(policy.local, self._local_changed)

    def close(self) -> None:
        """Give the name back; what has not left will not."""
        self.unlink("its proxy has stopped", ended=True)
        self.outbox.close()
        self._registry.unlisten(self.policy.local, self._local_changed)
        self._bus.unlisten(self.name, self._heard)
        self._bus.detach(self.name)

    # The link

    def link(self, serializer: MessageSerializer, heard: Sequence[type[BusMessage]]) -> None:
        """Begin to let messages leave, in a new session.

        Args:
            serializer: how messages are written from now on.
            heard: the types whose broadcasts by the local worker cross.
        """
        self._session = PipecatSession(serializer)
        self._bus.unlisten(self.name, self._heard)
        self._heard = tuple(heard)
        self._bus.listen(self.name, self._heard)
        self._linked = True
        self._sent = self._received = 0
        self.outbox.connect()
        self._announce()

    def unlink(self, reason: str, *, ended: bool = False) -> None:
        """End the session: every open job over the link fails, now."""
        if not self._linked:
            return
        self._linked = False
        for item in self.outbox.disconnect():
            # An announcement is made again over the next link.
            if not isinstance(item, BusWorkerRegistryMessage):
                self.reject(item, "link lost", reason)
        for request in tuple(self._bus.open_requests.values()):
            if request.responder is self and request.job is _LEFT:
                request.gone(f"the link to it is lost: {reason}")
        self.deliveries.abandon(reason)
        self._registry.unregister(
            self.name, StopReason("ended" if ended else "failed", reason, self.path)
        )

    @property
    def path(self) -> str:
        """Where the remote worker is, seen from here."""
        beyond = self.name if self._runner is None else f"{self._runner}/{self.name}"
        return f"{beyond} -> {self._node.path}"

    def _local_changed(self, change: Up | Down) -> None:
        if isinstance(change, Up) and self._linked:
            self._announce()

    def _announce(self) -> None:
        """Tell the peer that the local worker is ready, if it is."""
        entry = self._registry.get(self.policy.local)
        if entry is not None:
            announcement = BusWorkerRegistryMessage(
                source=self._node.name,
                target=self._announce_to,
                runner=self._node.context.runner.name,
                workers=[attrs.evolve(entry, parent=None)],
            )
            packed = self.try_pack(announcement)
            if isinstance(packed, Packed):
                self.outbox.put_reply(packed)
            else:
                logger.warning(
                    "proxy %s cannot announce %s to its peer: %s",
                    self._node.name,
                    self.policy.local,
                    packed,
                )

    def statistics(self) -> LinkStatistics:
        """Return what waits to cross, and what has crossed since there is a link."""
        data, system = self.outbox.depths()
        return LinkStatistics(
            connected=self._linked,
            data_depth=data,
            system_depth=system,
            waiting_senders=len(self.outbox.waiting or ()),
            inbox_depth=self.deliveries.depth,
            sent=self._sent,
            received=self._received,
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
        return self._linked and bool(self.policy.outbound(message))

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
        if packed is not None and not self._linked:
            self.reject(message, "link lost", "there is no link now")
        elif packed is not None:
            self.outbox.put_reply(packed)

    def offer(self, request: Request) -> bool:
        """Take `request`, or give it an outcome; False if it must wait for room or a link."""
        request.responder = self
        return self.outbox.put(request, 0.0)

    def cancel_request(self, request: Request) -> None:
        """Cancel a request: here if it has not left, else by a message."""
        if request.job is not _LEFT:
            self.outbox.withdraw(request)
            request.finish(request.cancelled())
            request.exit()
        elif self._linked:
            self._send_cancel(request)

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
        message: BusMessage = item.message() if isinstance(item, Request) else item
        decision = self.policy.outbound(message)
        if not decision:
            self.reject(item, "refused", decision.reason)
            return None
        try:
            frame = self._session.encode(message)
        except LocalWireError as error:
            if message.target is not None:
                raise
            self.reject(item, "refused", str(error))
            return None
        reply = REPLIES.get(type(message))
        job = None if reply is None or reply.event is None else cast("Any", message).job_id
        return Packed(item, frame, job, isinstance(message, BusSystemMessage))

    def try_pack(self, message: BusMessage) -> Packed | LocalWireError:
        """Encode a message that no user sends, or return why that is impossible."""
        try:
            frame = self._session.encode(message)
        except LocalWireError as error:
            return error
        return Packed(message, frame, None, isinstance(message, BusSystemMessage))

    def left(self, packed: Packed) -> None:
        """Take note that a frame is about to leave."""
        self._sent += 1
        if isinstance(packed.item, Request):
            packed.item.job = _LEFT
        elif isinstance(packed.item, RESPONSES):
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
        self._received += 1
        try:
            message = self._session.decode(frame)
        except RemoteWireError as error:
            unread = ForeignMessage(
                source=self.name, target=self.policy.local, tag="?", detail=str(error)
            )
            self._bus.dead_letter(unread, "undecodable", self._node.name, str(error))
            self._fail_answered(frame, error)
            if self._session.abused:
                raise RemoteWireError(f"too many unreadable messages, the last: {error}") from None
            return False
        decision = self.policy.inbound(message)
        if not decision:
            self._refuse_inbound(message, decision.reason)
        elif decision.receiver is None:
            assert isinstance(message, BusWorkerRegistryMessage)
            self._announced(message)
        elif isinstance(message, RESPONSES):
            self._answered(message)
        elif type(message) in REPLIES:
            self._happened(message)
        else:
            self.deliveries.receive(retargeted(message, decision.receiver), len(frame))
        return isinstance(message, BusSystemMessage)

    def _refuse_inbound(self, message: BusMessage, reason: str) -> None:
        self._bus.dead_letter(message, "refused", self._node.name, reason)
        if not isinstance(message, FINAL):
            return
        if request := self._open_request(cast("Any", message).job_id):
            request.gone(f"its answer was not let through by proxy {self._node.name!r}: {reason}")

    def _fail_answered(self, frame: bytes | str, error: RemoteWireError) -> None:
        """Fail the job that an unreadable answer was for: its requester would wait for ever."""
        job_id = answered_job(frame)
        request = None if job_id is None else self._open_request(job_id)
        if request is not None and not request.exited:
            text = f"its answer cannot be read: {error}"
            remote = JobRemoteError(self.name, request.name, type(error).__name__, text, "")
            request.finish(Outcome(JobStatus.ERROR, error=remote))
            request.exit()

    def _announced(self, message: BusWorkerRegistryMessage) -> None:
        """Enter the remote worker in the registry; whatever the entry says, it is remote."""
        self._runner = plain(message.runner)
        entry = attrs.evolve(message.workers[0], parent=None)
        if self.name in self._registry:
            self._registry.update(entry)
        else:
            self._registry.register(entry, self._runner)

    def _open_request(self, job_id: str) -> Request | None:
        """Return the request that left here and that a reply is about."""
        request = self._bus.open_requests.get(job_id)
        if isinstance(request, Request) and request.responder is self and request.job is _LEFT:
            return request
        return None

    def _answered(self, message: BusJobResponseMessage | BusJobResponseUrgentMessage) -> None:
        request = self._open_request(message.job_id)
        if request is not None and not request.exited:
            request.finish(outcome_of(request, message))
            request.exit()
        elif message.status is not JobStatus.CANCELLED:
            # That a handler gave in to its cancellation, however late, is no reply.
            self._bus.dead_letter(message, "late reply", self.policy.local)

    def _happened(self, message: Any) -> None:
        request = self._open_request(message.job_id)
        if request is None or request.exited:
            self._bus.dead_letter(message, "late reply", self.policy.local)
            return
        self._bus.tell(message)
        data = message.update if hasattr(message, "update") else message.data
        reply = REPLIES[type(message)]
        assert reply.event is not None
        event = request.event(reply.event, data)
        if not request.box.put_nowait(event, EVENT_CAPACITY):
            self._bus.dead_letter(message, "overflow", self.policy.local)
        if reply.final:
            request.finish(Outcome(JobStatus.COMPLETED, {} if data is None else data))
            request.exit()
