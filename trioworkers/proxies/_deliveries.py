"""What a peer sends to the local worker, and the jobs it lets the worker do.

Nothing here waits in the reader's step: what finds no room waits in a bounded inbox, which a task
of its own empties in order.  What finds no room there either is lost, and said so: Pipecat's
dialect has no way to slow the peer down.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Any, NamedTuple, Protocol, cast

import attrs
import trio
from trio.lowlevel import current_task

from .._mailbox import Mailbox
from .._requests import Outcome, ReplyBox, Request, Responder, trace_context
from .._tree import Node
from .._values import DeadLetterReason, JobEvent
from ..errors import (
    BackpressureDeadlockError,
    JobError,
    JobRemoteError,
    LocalWireError,
    MailboxFullError,
    RemoteWireError,
)
from ..messages import (
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusJobUpdateRequestMessage,
    BusMessage,
    BusSystemMessage,
)
from ..wire.chunks import Lane
from ._deadlines import Deadlines
from ._inbox import Inbox
from ._outbox import Outbox, Packed
from ._outcomes import error_outcome, response_of, writable

__all__ = ["NO_TERMS", "Deliveries", "DeliveriesOwner", "Terms"]

logger = logging.getLogger("trioworkers")

INBOX_CAPACITY = 1024
"""How many messages of the peer wait for room in the local worker's mailbox."""

INBOX_BYTES = 8 * 2**20
"""How many bytes of them wait; one message may exceed it."""

SYSTEM_CAPACITY = 256
"""How many messages the local worker's system lane may hold when a peer puts one more there."""

LOOK_AGAIN = 0.01
"""Seconds between two looks at a system lane that is full for a peer."""

MAX_JOBS = 1024
"""How many jobs one peer may have open at once, those included whose answers wait to leave."""

ANSWER_BYTES = 8 * 2**20
"""How many bytes of answers may wait to leave before a peer's further requests are refused."""

ANSWER_LIMIT = 64 * 2**20
"""How many may wait in any case, for jobs that were let in before; beyond it the link is closed."""


_ENDS = (BusEndMessage, BusEndWorkerMessage)
_CANCELS = (BusCancelMessage, BusCancelWorkerMessage)
# Of these the local worker gets no message as it is.
_NOT_DELIVERED = (BusJobRequestMessage, BusJobCancelMessage, *_ENDS, *_CANCELS)


class Terms(NamedTuple):
    """What a requester has said beside its request: until when it waits, and what traces it."""

    deadline: float = inf
    trace: dict[str, str] | None = None


NO_TERMS = Terms()


class DeliveriesOwner(Protocol):
    """What deliveries ask of the portal they belong to."""

    name: str
    outbox: Outbox

    @property
    def path(self) -> str:
        """Where the peer's worker is."""
        ...

    def pack(self, item: Any) -> Packed | None:
        """Encode a message of a user's."""
        ...

    def try_pack(self, message: BusMessage, job: str | None = None) -> Packed | LocalWireError:
        """Encode a message that no user sends, or return why that is impossible."""
        ...


class _Replies(ReplyBox):
    """Where the events and the outcome of a peer's job go: over the link."""

    __slots__ = ("_answered", "_deliveries", "_go_on", "_streamed", "_turn", "request")

    request: Request

    def __init__(self, deliveries: Deliveries) -> None:
        super().__init__(keeping=False, waits=deliveries.bus.waits)
        self._deliveries = deliveries
        self._answered = False
        self._streamed = False
        # Set when the peer, who holds the job, has room again; and whose turn it is then.
        self._go_on: trio.Event | None = None
        self._turn: trio.Lock | None = None

    def hold(self, *, held: bool) -> None:
        """Let the events of the job wait from now on, or no more."""
        if held and self._go_on is None:
            self._go_on = trio.Event()
            self._turn = self._turn or trio.Lock()
        elif not held and self._go_on is not None:
            self._go_on.set()
            self._go_on = None

    def poke(self) -> None:
        """Answer as soon as there is an outcome."""
        if self.request.outcome is not None and not self._answered:
            self._answered = True
            self.hold(held=False)
            if self._streamed and self.request.outcome.error is None:
                self._deliveries.jobs.pop(self.request.id, None)
            else:
                self._deliveries.answer(self.request, self.request.outcome)

    async def put(self, event: Any, urgent: bool = False) -> None:
        """Send an event; waits while the peer holds the job, and while the outbox is full."""
        if self._turn is None:
            await self._deliveries.send_event(self.request, event, urgent)
        else:
            await self._put_in_turn(self._turn, event, urgent)
        self._streamed = self._streamed or event.type == "stream_end"

    async def _put_in_turn(self, turn: trio.Lock, event: Any, urgent: bool) -> None:
        # Once there was a hold several may wait for its end, and keep their order.
        try:
            turn.acquire_nowait()
        except trio.WouldBlock:
            await turn.acquire()
        try:
            while self._go_on is not None:
                await self._go_on.wait()
            await self._deliveries.send_event(self.request, event, urgent)
        finally:
            turn.release()


class Deliveries:
    """Hands a peer's messages to the local worker, and the worker's answers to the outbox."""

    def __init__(self, owner: DeliveriesOwner, node: Node) -> None:
        """Begin with nothing.

        Args:
            owner: the remote worker's place on this bus.
            node: the proxy's place in the tree.
        """
        self._owner = owner
        self._node = node
        self.bus = node.bus
        self._peer = cast("Node", _Peer(owner.name, node.context))
        self.jobs: dict[str, Request] = {}
        self.inbox: Inbox = Inbox(self._enters, self._hand_over, self._lose_in_hand)
        # System messages that are too many; only a peer with credit has such.
        self.urgent: Inbox = Inbox(
            self._enters_urgently, self._hand_over_urgent, self._lose_in_hand
        )
        self.deadlines: Deadlines = Deadlines(self.jobs, self._expire)
        # How many answers wait to leave, and how big they are.
        self._unsent = self._unsent_bytes = 0
        self.give_up: Callable[[str], None] | None = None
        """Closes the link of a peer that does not read its answers, now; None without a link."""

    @property
    def depth(self) -> int:
        """How many messages wait for room in the local worker's mailbox."""
        return len(self.inbox)

    def receive(
        self, message: BusMessage, size: int, lane: Lane = Lane.DATA, terms: Terms = NO_TERMS
    ) -> bool:
        """Take a message that may come in, and has the local worker as its target.

        Args:
            message: what has come.
            size: how many bytes it had.
            lane: in which lane it came.
            terms: of a request, what its sender has said beside it.

        Returns:
            Whether it waits for room now.

        Raises:
            RemoteWireError: it is one more request of a peer that does not read its answers.
        """
        if not isinstance(message, _NOT_DELIVERED):
            return self._deliver(message, size, lane)
        if isinstance(message, BusJobRequestMessage):
            return self._request(message, size, lane, terms)
        if isinstance(message, BusJobCancelMessage):
            self.cancel(message.job_id, message.reason, self._owner.path)
        elif isinstance(message, _ENDS):
            self._command(BusEndWorkerMessage, message)
        else:
            self._command(BusCancelWorkerMessage, message)
        return False

    def cancel(self, job_id: str, reason: str | None, path: str) -> None:
        """Cancel a job of the peer's, if it is open."""
        request = self.jobs.get(job_id)
        if request is not None:
            request.cancel(reason, path)

    def hold(self, job_id: str, *, held: bool) -> None:
        """Let the events of a job of the peer's wait, or no more, if it is open."""
        request = self.jobs.get(job_id)
        if request is not None:
            cast("_Replies", request.box).hold(held=held)

    def _expire(self, request: Request) -> None:
        request.cancel("a deadline has passed", self._owner.path)

    def abandon(self, reason: str) -> None:
        """Cancel the peer's jobs: nobody is there who wants to know."""
        jobs = list(self.jobs.values())
        self.jobs.clear()
        self._unsent = self._unsent_bytes = 0
        self.give_up = None
        for request in jobs:
            request.late = True
            cast("_Replies", request.box).hold(held=False)
            request.cancel(f"the link is lost: {reason}", self._owner.path)
        for item in (*self.inbox.clear(), *self.urgent.clear()):
            if isinstance(item, BusMessage):
                self._lose(item, "link lost", reason)

    def _lose(self, message: BusMessage, reason: DeadLetterReason, detail: str) -> None:
        self.bus.dead_letter(message, reason, self._node.name, detail)

    # Messages

    def _command(
        self,
        kind: type[BusEndWorkerMessage | BusCancelWorkerMessage],
        message: BusEndMessage | BusEndWorkerMessage | BusCancelMessage | BusCancelWorkerMessage,
    ) -> None:
        """Stop the local worker, and never more than that one."""
        self.bus.send_nowait(
            kind(source=message.source, target=message.target, reason=message.reason)
        )

    def _deliver(self, message: BusMessage, size: int, lane: Lane) -> bool:
        """Hand a message to the local worker, or let it wait behind those that wait."""
        if isinstance(message, BusSystemMessage):
            if self.urgent or self._crowded(message):
                return self._hold(message, size, lane)
            self.bus.send_nowait(message)
        elif self.inbox or not self._enters(message):
            return self._enqueue(message, size, lane)
        return False

    def _enters(self, item: Any) -> bool:
        """Hand a message or a request to the local worker; False if it has to wait for room."""
        if isinstance(item, Request):
            return item.outcome is not None or self._offer(item)
        if isinstance(item, BusJobUpdateRequestMessage):
            return False
        try:
            # That its source is a worker's name was seen to by whoever has let it in.
            self.bus.send_nowait_as(item.source, item)
        except trio.WouldBlock:
            return False
        except MailboxFullError as error:
            self._lose(item, "overflow", str(error))
        return True

    def _hold(self, message: BusSystemMessage, size: int, lane: Lane) -> bool:
        if self.urgent.taken is None:
            self._lose(message, "overflow", "too many system messages wait for the worker")
            return False
        self.urgent.put(message, size, lane)
        return True

    def _enters_urgently(self, message: BusSystemMessage) -> bool:
        if self._crowded(message):
            return False
        self.bus.send_nowait(message)
        return True

    async def _hand_over_urgent(self, message: BusSystemMessage) -> None:
        # Nobody tells of room in a system lane: senders in the same process never wait for it.
        while not self._enters_urgently(message):  # noqa: ASYNC110
            await trio.sleep(LOOK_AGAIN)

    def _crowded(self, message: BusMessage) -> bool:
        """Tell whether a peer may put no more into the local worker's system lane now."""
        return self._system_depth(message) >= SYSTEM_CAPACITY

    def _system_depth(self, message: BusMessage) -> int:
        """Tell how many messages wait in the local worker's system lane."""
        route = self.bus.route(cast("str", message.target))
        box = None if route is None else route.mailbox
        return len(box.system or ()) if isinstance(box, Mailbox) else 0

    def _enqueue(self, item: Any, size: int, lane: Lane) -> bool:
        # With credit the peer never comes as far: it has as many messages as fit.
        inbox = self.inbox
        if inbox.taken is None and (len(inbox) >= INBOX_CAPACITY or inbox.size >= INBOX_BYTES):
            if isinstance(item, Request):
                item.refuse("busy", "too many messages over this link wait for the worker")
            else:
                self._lose(item, "overflow", "too many messages over this link wait for the worker")
            return False
        inbox.put(item, size, lane)
        return True

    def _lose_in_hand(self, item: Any) -> None:
        if isinstance(item, BusMessage):
            self._lose(item, "link lost", "it was waiting for room")

    async def _hand_over(self, item: Any) -> None:
        if isinstance(item, Request):
            await self._post(item)
            return
        try:
            if isinstance(item, BusJobUpdateRequestMessage):
                await self.bus.send_internal(item)
            else:
                await self.bus.send(item)
        except (MailboxFullError, BackpressureDeadlockError) as error:
            self._lose(item, "overflow", str(error))

    # Jobs

    def _request(self, message: BusJobRequestMessage, size: int, lane: Lane, terms: Terms) -> bool:
        if message.job_id in self.jobs:
            self._lose(message, "refused", f"a job {message.job_id!r} is open already")
            return False
        if self._unsent >= 2 * MAX_JOBS:
            # Refusals by now, which it does not read either.
            raise RemoteWireError(f"{self._unsent} answers wait to leave, and it goes on asking")
        box = _Replies(self)
        request = Request(
            self._peer,
            cast("str", message.target),
            message.job_name or "",
            message.payload,
            box,
            deadline=terms.deadline,
        )
        # The task that makes it may be traced itself.
        if terms.trace != request.variables.get(trace_context):
            request.variables.run(trace_context.set, terms.trace)
        request.id = message.job_id
        box.request = request
        self.bus.tell(message)
        if len(self.jobs) + self._unsent >= MAX_JOBS:
            request.refuse("busy", f"{MAX_JOBS} jobs over this link are open")
            return False
        if self._unsent_bytes >= ANSWER_BYTES:
            request.refuse("busy", "too many bytes of answers over this link wait to leave")
            return False
        self.jobs[request.id] = request
        self.deadlines.add(request)
        if self.inbox or not self._offer(request):
            return self._enqueue(request, size, lane)
        return False

    def _offer(self, request: Request) -> bool:
        """Offer a request to the local worker; False if it has to wait for room."""
        route = cast("Responder | None", self.bus.route(request.target))
        if route is None:
            request.gone("it is not on the bus of its side")
            return True
        return route.offer(request)

    async def _post(self, request: Request) -> None:
        if request.outcome is not None or self._offer(request):
            return
        route = self.bus.route(request.target)
        assert route is not None
        assert route.mailbox is not None
        request.sender = current_task()
        try:
            await self.bus.wait_for_room(route.mailbox, request)
        except BackpressureDeadlockError as error:
            request.refuse("deadlock", " -> ".join(error.cycle))
        finally:
            request.sender = None

    async def send_event(self, request: Request, event: JobEvent, urgent: bool) -> None:
        """Send an event of a job; waits while the outbox is full."""
        message = request.event_message(event.type, event.data, urgent=urgent)
        if request.late or request.outcome is not None:
            detail = "the link is lost" if request.late else "its job has ended"
            self._lose(message, "late reply", detail)
        elif not self._owner.outbox.put(message, 0.0):
            await self.bus.wait_for_room(self._owner.outbox, message)

    def answer(self, request: Request, outcome: Outcome) -> None:
        """Send the outcome of a job, if the peer is still there."""
        if request.late:
            return
        self.jobs.pop(request.id, None)
        if isinstance(outcome.error, JobRemoteError):
            # Its trace stays on this side.
            self._log_failure(request, outcome.error, outcome.error.__cause__)
        packed = self._pack_response(request, outcome)
        if packed is not None:
            self._unsent += 1
            self._unsent_bytes += len(packed.frame)
            # What is in the answer is in its frame, and would be held twice.
            packed.item.response = None
            self._owner.outbox.put_reply(packed)
            if self._unsent_bytes > ANSWER_LIMIT and self.give_up is not None:
                self.give_up(f"{self._unsent_bytes} bytes of answers wait to leave")

    def answer_left(self, size: int) -> None:
        """Take note that an answer of `size` bytes is about to leave."""
        self._unsent -= 1
        self._unsent_bytes -= size

    def _pack_response(self, request: Request, outcome: Outcome) -> Packed | None:
        """Encode an answer; one that cannot be written says so, as shortly as it must."""
        packed = self._owner.try_pack(response_of(request, outcome), request.id)
        if isinstance(packed, LocalWireError):
            failed = error_outcome(request, packed)
            self._log_failure(request, failed.error, packed)
            message = response_of(request, failed)
            packed = self._owner.try_pack(message, request.id)
            if isinstance(packed, LocalWireError):
                bare = attrs.evolve(cast("Any", message), response=None)
                packed = self._owner.try_pack(bare, request.id)
            if isinstance(packed, LocalWireError):
                self._lose(message, "refused", str(packed))
                # The requester would wait for ever; that the link is lost is an outcome.
                if self.give_up is not None:
                    self.give_up(f"an answer cannot be written: {writable(packed)}")
                return None
        return packed

    def _log_failure(
        self, request: Request, error: JobError | None, cause: BaseException | None
    ) -> None:
        logger.warning(
            "job %r of %s failed for %s: %s",
            request.name,
            request.target,
            self._owner.path,
            error,
            exc_info=cause,
        )


@attrs.frozen
class _Peer:
    """The requester beyond the link, as far as a request needs to know it."""

    name: str
    context: Any
