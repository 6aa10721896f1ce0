"""What the client's and the server's proxy have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from secrets import token_hex
from typing import Any, ClassVar, Literal, TypeAlias

import trio

from .._checks import check_counts, check_settings
from .._handlers import HandlerTable
from .._slot import Slot
from .._values import LinkStatistics
from .._worker import Worker
from ..abc import MessageSerializer
from ..errors import ReplayGapError
from ..messages import BusLocalMessage, BusMessage, is_message_class
from ..wire import JSONMessageSerializer, Limits
from ..wire.epoch import Epoch
from ..wire.hello import LinkLimits
from ..wire.session import SLACK, Opened
from ._anteroom import Anteroom
from ._dialects import Dialect, PipecatDialect
from ._life import Life
from ._link import CLOSE_SECONDS, Link
from ._native import NativeDialect
from ._portal import Portal
from ._transport import LinkClosed, Transport, again
from .policy import SESSION_CONTROL, ProxyPolicy

__all__ = [
    "HANDSHAKE_SECONDS",
    "HEARTBEAT",
    "NEEDS_NATIVE",
    "Delivery",
    "WebSocketProxy",
    "check_choice",
    "refuse_bus",
]

logger = logging.getLogger("trioworkers")

Delivery: TypeAlias = Literal["at_most_once", "at_least_once"]

HEARTBEAT = 20.0
"""Seconds between two looks at whether a silent peer is still there."""

HANDSHAKE_SECONDS = 10.0
"""Seconds that the opening handshake may take."""

WINDOW = 64 * 2**10
"""How many bytes of data and replies a native peer may have on their way."""

CREDIT = 1024
"""How many messages of one lane a native peer may have on their way, or waiting for room."""

NEEDS_NATIVE = (
    'delivery="at_least_once" does not go with dialect="pipecat", which has no acknowledgements'
)


MOST = 2**31
"""How much of either."""

GIVEN_UP = LinkClosed(1008, "the session was given up meanwhile", "us")


class _Current(MessageSerializer):
    """Writes and reads what the local worker handles now: it may come after its proxy."""

    def __init__(
        self,
        make: Callable[[HandlerTable | None], MessageSerializer],
        find: Callable[[], object],
    ) -> None:
        self._make = make
        self._find = find
        self._native = False
        self._renew(None)

    def begin(self, *, native: bool) -> None:
        """Begin a session: in the native dialect nobody looks at the numbers of messages."""
        if native is not self._native:
            self._native = native
            self._renew(self._handled)

    def _renew(self, handled: HandlerTable | None) -> None:
        self._handled = handled
        self._inner = self._make(handled)
        if self._native and isinstance(self._inner, JSONMessageSerializer):
            self._inner = self._inner.unnumbered()

    def now(self) -> MessageSerializer:
        """Return the serializer for this moment."""
        # As `isinstance` with `Address`, which is abstract and takes its time to say so.
        handled: HandlerTable | None = getattr(self._find(), "table", None)
        if handled is not self._handled:
            self._renew(handled)
        return self._inner

    def serialize(self, message: BusMessage) -> bytes:
        """Return `message` as bytes."""
        return self.now().serialize(message)

    def deserialize(self, data: bytes) -> BusMessage:
        """Return the message that `data` says."""
        return self.now().deserialize(data)


class WebSocketProxy(Worker):
    """A worker that bridges one local and one remote worker."""

    _is_edge: ClassVar[bool] = True

    def __init__(
        self,
        name: str,
        policy: ProxyPolicy,
        serializer: MessageSerializer | None,
        *,
        active: bool,
        heartbeat: float,
        window: int = WINDOW,
        credit: int = CREDIT,
        delivery: Delivery = "at_most_once",
    ) -> None:
        """Prepare a proxy; called by its subclasses.

        Args:
            name: the proxy's own name.
            policy: what may cross.
            serializer: how messages are written; None for Pipecat's JSON.
            active: whether it starts active.
            heartbeat: seconds.
            window: how many bytes a native peer may have on their way.
            credit: how many messages of one lane it may have on their way, or waiting here.
            delivery: whether a session goes on when its connection is lost.

        Raises:
            TypeError: `serializer` is none, or a number is of the wrong type.
            ValueError: a name is impossible, or taken by the other worker; or a number is.
        """
        super().__init__(name, active=active)
        if name in (policy.local, policy.remote):
            raise ValueError(
                f"the proxy has the name {name!r} of one of its workers: give it another one"
            )
        if not (serializer is None or isinstance(serializer, MessageSerializer)):
            raise TypeError(f"serializer must be a MessageSerializer or None, not {serializer!r}")
        check_settings({"heartbeat": heartbeat})
        if heartbeat < 0.001:
            raise ValueError(f"heartbeat must be at least 0.001 seconds, and is {heartbeat!r}")
        check_counts({"credit": credit, "window": window})
        if not 64 <= window <= MOST:
            raise ValueError(f"window must be from 64 to {MOST} bytes, and is {window!r}")
        if credit > MOST:
            raise ValueError(f"credit must be {MOST} messages at most, and is {credit!r}")
        self._policy = policy
        self._serializer = serializer or JSONMessageSerializer()
        self._heartbeat = heartbeat
        self._limits = LinkLimits(
            message_size=self._message_size, window=window, messages=credit, heartbeat=heartbeat
        )
        check_choice("delivery", delivery, ("at_most_once", "at_least_once"))
        self._keeping = delivery == "at_least_once"
        # What is known of a session beyond its connection, if it is kept.
        self._epoch: Epoch | None = None
        self._life = Life()
        # Whether the peer was told of the local worker before it was known how it speaks.
        self._introduced = False
        self._portal: Portal | None = None
        self._current: _Current | None = None
        self._link: Link | None = None
        # From an activation on until the end of what it began: cancelled to give up what is not
        # connected yet.
        self._attempt: trio.CancelScope | None = None
        # Whether a connection that is lost now is to be made again.
        self._wanted = False
        # What a new connection has to go through before there is a link: hellos, then the hook.
        self._agreeing = trio.CancelScope()
        self._anteroom: Anteroom | None = None
        self._idle = trio.Event()
        # Fails early if a type that is to cross cannot.
        self._table(None)

    @property
    def delivery(self) -> Delivery:
        """What was asked for: whether a session goes on when its connection is lost."""
        return "at_least_once" if self._keeping else "at_most_once"

    @property
    def connected(self) -> bool:
        """Whether there is a link now."""
        return self._link is not None

    def link_statistics(self) -> LinkStatistics:
        """Return what waits to cross, and what has crossed since the link was made."""
        if self._portal is None:
            return LinkStatistics()
        return self._portal.statistics(connected=self.connected)

    @property
    def _message_size(self) -> int:
        serializer = self._serializer
        limits = serializer.limits if isinstance(serializer, JSONMessageSerializer) else Limits()
        return limits.message_size

    @property
    def _frame_size(self) -> int:
        """How big a frame a native peer may send: it may hold many small messages."""
        return max(self._message_size, self._limits.window + SLACK)

    # As a worker

    def _entered_bus(self, node: Slot) -> None:
        current = _Current(self._table, partial(node.bus.route, self._policy.local))
        self._portal = Portal(node, self._policy, current, self._announce_to, self._life)
        self._current = current

    @property
    def _announce_to(self) -> str | None:
        return None

    def _left_bus(self, node: Slot) -> None:
        del node
        if self._portal is not None:
            self._portal.close()
            self._portal = self._current = None

    def _is_drained(self, node: Slot) -> bool:
        del node
        self._hang_up("the proxy has ended")
        return self._attempt is None

    async def on_activated(self, args: Any) -> None:
        """Connect, if there is no connection and none is being made."""
        del args
        if self._attempt is None:
            self._wanted = True
            self._attempt = trio.CancelScope()
            self._idle = trio.Event()
            self.nursery.start_soon(self._occupy, self._attempt, name=f"link of {self.name}")

    async def on_deactivated(self) -> None:
        """Close the connection, and wait until it is closed."""
        if self._attempt is not None:
            self._hang_up("the proxy was deactivated")
            await self._idle.wait()

    # The connection

    async def _stay_connected(self) -> None:
        raise NotImplementedError  # pragma: no cover - both kinds of proxy have it

    async def _greeted(self, websocket: Any) -> None:
        """Call the hook of a new connection."""
        raise NotImplementedError  # pragma: no cover - both kinds of proxy have it

    async def _parted(self, websocket: Any) -> None:
        """Call the hook of a connection that is over."""
        raise NotImplementedError  # pragma: no cover - both kinds of proxy have it

    def _hang_up(self, reason: str) -> None:
        self._wanted = False
        if self._link is not None:
            self._link.close_soon(1000, reason)
        elif self._attempt is not None:
            self._attempt.cancel(reason=reason)

    async def _occupy(self, attempt: trio.CancelScope) -> None:
        self._life.cause = None
        handing_over = trio.CancelScope()
        self.nursery.start_soon(self._hand_over, handing_over, name=f"inboxes of {self.name}")
        try:
            with attempt:
                await self._stay_connected()
            if attempt.cancelled_caught:
                await self._given_up()
        finally:
            # What waited for another connection gets none.
            cause = "" if self._life.cause is None else f" after {self._life.cause}"
            self._end_session(f"its proxy has given up{cause}", ended=not self._wanted)
            handing_over.cancel(reason="there is no link")
            self._attempt = None
            self._idle.set()
            self._node.mailbox.wake()

    async def _hand_over(self, scope: trio.CancelScope) -> None:
        """Hand over what waits for room, as long as there is an attempt."""
        assert self._portal is not None
        with scope:
            async with trio.open_nursery() as nursery:
                for task in self._portal.tasks:
                    nursery.start_soon(task)

    async def _given_up(self) -> None:
        """React to the end of an attempt that has not led to a link."""

    async def _speak(self, room: Anteroom, native: bool) -> Dialect:
        """Begin to talk over a new connection.  A checkpoint; takes any time.

        Raises:
            RemoteWireError: the peer does not speak the native dialect.
            LinkClosed: the connection is over.
        """
        portal = self._portal
        assert portal is not None
        if not native:
            if self._keeping:
                self._warn_of_loss()
            return PipecatDialect(portal, self._heartbeat)
        room.transport.widen(self._frame_size)
        epoch = self._epoch or Epoch(token_hex(16), keeping=self._keeping)
        dialect = NativeDialect(portal, epoch, self._limits, self._heard_goodbye)
        if self._keeping:
            # Before the peer has answered: if that is lost, it finds by our name what it has begun.
            self._epoch = epoch
        answered = epoch.answered
        opened: Opened | None = None
        with trio.CancelScope() as self._agreeing:
            opened = await dialect.open(room)
        if opened is None or (self._keeping and self._epoch is not epoch):
            await self._part(room.transport, dialect, GIVEN_UP)
            raise again(GIVEN_UP)
        if self._keeping and epoch.meeting is None:
            self._warn_of_loss()
        # A peer that has never answered has perhaps not heard our hello, and nothing has left for it.
        if self._life.exists and answered and not opened.resumed:
            try:
                self._forgotten(opened.lost)
            except ReplayGapError as error:
                end = LinkClosed(1000, str(error), "us")
                await self._part(room.transport, dialect, end)  # noqa: ASYNC120 - bounded
                raise
        dialect.take_rest()
        if self._life.exists:
            # From now on, and not only when the hook has agreed: it is this connection that has to
            # tell what happens meanwhile.
            portal.resume(dialect)
        return dialect

    async def _part(self, transport: Transport, dialect: Dialect, end: LinkClosed) -> None:
        """Tell the peer that this side will not go on with the session, and close the connection."""
        with trio.move_on_after(CLOSE_SECONDS), suppress(LinkClosed):
            if frames := dialect.part(end.code, end.reason):
                await transport.send(frames)
            await transport.close(end.code, end.reason)

    def _warn_of_loss(self) -> None:
        logger.warning(
            "proxy %s delivers at most once: the side of %s keeps no session",
            self.name,
            self._policy.remote,
        )

    def _forgotten(self, lost: Iterable[Any]) -> None:
        """End a session that the peer knows no more.

        Raises:
            ReplayGapError: nobody can say what has become of its last messages.
        """
        assert self._portal is not None
        reason = "its side has forgotten the session"
        count = self._portal.lose(lost, reason) + self._portal.unlink(reason)
        if count:
            raise ReplayGapError(self._policy.remote, count)

    def _heard_goodbye(self) -> None:
        self._life.farewell = True

    def _stays(self, end: LinkClosed) -> bool:
        """Tell whether the session goes on over another connection."""
        met = self._epoch is not None and self._epoch.meeting is not None
        return self._life.survives(met=met, wanted=self._wanted, by_us=end.by == "us")

    def _forsake(self, reason: str) -> None:
        """Give up a session that waits for its next connection, however far that has come."""
        self._end_session(reason, ended=False)
        # The peer is told, and then there may be another session.
        self._agreeing.cancel(reason=reason)
        if self._anteroom is not None:
            self._anteroom.drop(LinkClosed(1008, reason, "us"))

    def _end_session(self, reason: str, *, ended: bool) -> None:
        """Give up what was kept for another connection."""
        epoch, self._epoch = self._epoch, None
        self._life.forget()
        if self._portal is None:
            return
        if epoch is not None:
            self._portal.lose((each for lane in epoch.sent for each in lane.forget()), reason)
        self._portal.unlink(reason, ended=ended)

    async def _serve_link(self, room: Anteroom, dialect: Dialect) -> LinkClosed:
        """Carry messages over one connection until it is over; return how it ended."""
        transport = room.transport
        portal, current = self._portal, self._current
        assert portal is not None
        assert current is not None
        logger.info("proxy %s is connected to %s", self.name, transport.peer)
        end = LinkClosed(1001, "the proxy was cancelled", "us")
        try:
            lost = await self._greet(room, dialect)
            if lost is not None:
                # What the peer has said is not for a worker whose hook has not agreed.
                end = lost
                if self._life.is_carried:
                    if room.kept and dialect.is_goodbye(room.kept[-1]):
                        self._heard_goodbye()
                    self._link_over(end)
                return end
            self._link = Link(portal, transport, dialect, self._link_over, room.kept)
            if not self._life.exists:
                credit = dialect if isinstance(dialect, NativeDialect) else None
                current.begin(native=credit is not None)
                heard = self._broadcasts(current.now())
                introduced = self._introduced and credit is None
                portal.link(current, heard, credit, introduced=introduced)
            end = await self._link.run()
        except Exception:
            end = LinkClosed(1011, "the proxy has failed", "us")
            raise
        finally:
            self._life.connection_over(str(end), trio.current_time())
            link, self._link = self._link, None
            logger.info("proxy %s has lost %s: %s", self.name, transport.peer, end)
            with self.cleanup():
                if link is None and end.by == "us":
                    # Its handler has failed, or was cut off.
                    await self._part(transport, dialect, end)  # noqa: ASYNC102 - bounded
                await transport.abort()  # noqa: ASYNC102
                await self._parted(transport.websocket)  # noqa: ASYNC102
        return end

    async def _greet(self, room: Anteroom, dialect: Dialect) -> LinkClosed | None:
        """Call the hook of a new connection; return why there is none any more, if that is so."""
        assert self._portal is not None
        if isinstance(dialect, NativeDialect):
            room.show_life = dialect.show_life
        resumed = self._life.is_carried
        self._portal.greeter, self._anteroom = trio.lowlevel.current_task(), room
        try:
            lost = await room.during(self.nursery, partial(self._greeted, room.transport.websocket))
        finally:
            self._portal.greeter = self._anteroom = None
        if lost is None and resumed and not self._life.is_carried:
            # In the step in which the hook was done.
            lost = GIVEN_UP
        return lost

    def _link_over(self, end: LinkClosed) -> None:
        if self._stays(end):
            assert self._portal is not None
            self._portal.pause(self._forsake)
            return
        cancelled = end.by == "us" and end.code == 1001
        self._end_session(str(end), ended=cancelled or not self._wanted)

    def _table(self, handled: HandlerTable | None) -> MessageSerializer:
        """Return a serializer for what may cross without being named by the user.

        Args:
            handled: what the local worker handles, if there is one.
        """
        serializer = self._serializer
        if not isinstance(serializer, JSONMessageSerializer):
            return serializer
        # All in one step: each step is a table of its own, and making one takes its time.
        serializer = serializer.including(
            _crossing(self._policy.forward_messages),
            if_possible=_crossing(() if handled is None else handled.heard()),
        )
        for cls, reason in serializer.left_out.items():
            logger.info("messages of %s do not cross: %s", cls.__qualname__, reason)
        return serializer

    def _broadcasts(self, serializer: MessageSerializer) -> list[type[BusMessage]]:
        """Return the types that cross without a target."""
        forwarded = self._policy.forward_messages
        if not isinstance(serializer, JSONMessageSerializer):
            return _crossing(forwarded)
        return [
            cls
            for cls in serializer.messages
            if (cls in forwarded if cls in SESSION_CONTROL else issubclass(cls, forwarded))
        ]


def refuse_bus(bus: object, cls: type) -> None:
    """Explain that a proxy takes no bus.

    Raises:
        TypeError: one was passed.
    """
    if bus is not None:
        raise TypeError(
            f"{cls.__name__} takes no bus: it gets the one of the runner that it is added to with "
            "add_workers()"
        )


def check_choice(what: str, given: object, known: tuple[str, ...]) -> None:
    """Check one of several words.

    Raises:
        ValueError: it is another one.
    """
    if given not in known:
        raise ValueError(f"{what} must be one of {', '.join(known)}, not {given!r}")


def _crossing(types: Iterable[type[BusMessage]]) -> list[type[BusMessage]]:
    return [cls for cls in types if is_message_class(cls) and not issubclass(cls, BusLocalMessage)]
