"""What the client's and the server's proxy have in common."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import trio

from .._address import Address
from .._checks import check_settings
from .._handlers import HandlerTable
from .._slot import Slot
from .._values import LinkStatistics
from .._worker import Worker
from ..abc import MessageSerializer
from ..messages import BusLocalMessage, BusMessage, is_message_class
from ..wire import JSONMessageSerializer, Limits
from ._anteroom import Anteroom
from ._link import CLOSE_SECONDS, Link
from ._portal import Portal
from ._transport import LinkClosed
from .policy import SESSION_CONTROL, ProxyPolicy

__all__ = [
    "HANDSHAKE_SECONDS",
    "HEARTBEAT",
    "WebSocketProxy",
    "check_dialect",
    "refuse_bus",
]

logger = logging.getLogger("trioworkers")

HEARTBEAT = 20.0
"""Seconds between two looks at whether a silent peer is still there."""

HANDSHAKE_SECONDS = 10.0
"""Seconds that the opening handshake may take."""


class _Current(MessageSerializer):
    """Writes and reads what the local worker handles now: it may come after its proxy."""

    def __init__(
        self,
        make: Callable[[HandlerTable | None], MessageSerializer],
        find: Callable[[], object],
    ) -> None:
        self._make = make
        self._find = find
        self._handled: HandlerTable | None = None
        self._inner = make(None)

    def now(self) -> MessageSerializer:
        """Return the serializer for this moment."""
        local = self._find()
        handled = local.table if isinstance(local, Address) else None
        if handled is not self._handled:
            self._inner, self._handled = self._make(handled), handled
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
    ) -> None:
        """Prepare a proxy; called by its subclasses.

        Args:
            name: the proxy's own name.
            policy: what may cross.
            serializer: how messages are written; None for Pipecat's JSON.
            active: whether it starts active.
            heartbeat: seconds.

        Raises:
            TypeError: `serializer` is none, or `heartbeat` no number.
            ValueError: a name is impossible, or taken by the other worker; or `heartbeat` is not
                positive.
        """
        super().__init__(name, active=active)
        if name in (policy.local, policy.remote):
            raise ValueError(
                f"the proxy has the name {name!r} of one of its workers: give it another one"
            )
        if not (serializer is None or isinstance(serializer, MessageSerializer)):
            raise TypeError(f"serializer must be a MessageSerializer or None, not {serializer!r}")
        check_settings({"heartbeat": heartbeat})
        if heartbeat == 0:
            raise ValueError(f"heartbeat must be more than 0 seconds, and is {heartbeat!r}")
        self._policy = policy
        self._serializer = serializer or JSONMessageSerializer()
        self._heartbeat = heartbeat
        self._portal: Portal | None = None
        self._current: _Current | None = None
        self._link: Link | None = None
        # From an activation on until the end of what it began: cancelled to give up what is not
        # connected yet.
        self._attempt: trio.CancelScope | None = None
        # Whether a connection that is lost now is to be made again.
        self._wanted = False
        self._idle = trio.Event()
        # Fails early if a type that is to cross cannot.
        self._table(None)

    @property
    def connected(self) -> bool:
        """Whether there is a link now."""
        return self._link is not None

    def link_statistics(self) -> LinkStatistics:
        """Return what waits to cross, and what has crossed since the link was made."""
        return LinkStatistics() if self._portal is None else self._portal.statistics()

    @property
    def _message_size(self) -> int:
        serializer = self._serializer
        limits = serializer.limits if isinstance(serializer, JSONMessageSerializer) else Limits()
        return limits.message_size

    # As a worker

    def _entered_bus(self, node: Slot) -> None:
        current = _Current(self._table, partial(node.bus.route, self._policy.local))
        self._portal = Portal(node, self._policy, current, self._announce_to)
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
        try:
            with attempt:
                await self._stay_connected()
            if attempt.cancelled_caught:
                await self._given_up()
        finally:
            self._attempt = None
            self._idle.set()
            self._node.mailbox.wake()

    async def _given_up(self) -> None:
        """React to the end of an attempt that has not led to a link."""

    async def _serve_link(self, room: Anteroom) -> LinkClosed:
        """Carry messages over one connection until it is over; return how it ended."""
        transport = room.transport
        portal, current = self._portal, self._current
        assert portal is not None
        assert current is not None
        logger.info("proxy %s is connected to %s", self.name, transport.peer)
        end = LinkClosed(1001, "the proxy was cancelled", "us")
        try:
            portal.greeter = trio.lowlevel.current_task()
            greet = partial(self._greeted, transport.websocket)
            lost = await room.during(self.nursery, greet)
            portal.greeter = None
            if lost is not None:
                # What the peer has said is not for a worker whose hook has not agreed.
                end = lost
                return end
            self._link = Link(portal, transport, self._heartbeat, self._link_over, room.kept)
            portal.link(current, self._broadcasts(current.now()))
            end = await self._link.run()
        except Exception:
            end = LinkClosed(1011, "the proxy has failed", "us")
            raise
        finally:
            portal.greeter = None
            link, self._link = self._link, None
            logger.info("proxy %s has lost %s: %s", self.name, transport.peer, end)
            with self.cleanup():
                if link is None and end.by == "us":
                    # Its handler has failed, or was cut off.
                    with trio.move_on_after(CLOSE_SECONDS):
                        await transport.close(end.code, end.reason)  # noqa: ASYNC102
                await transport.abort()  # noqa: ASYNC102
                await self._parted(transport.websocket)  # noqa: ASYNC102
        return end

    def _link_over(self, end: LinkClosed) -> None:
        assert self._portal is not None
        cancelled = end.by == "us" and end.code == 1001
        self._portal.unlink(str(end), ended=cancelled or not self._wanted)

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


def check_dialect(dialect: object, known: tuple[str, ...]) -> None:
    """Check the name of a dialect.

    Raises:
        ValueError: it is unknown.
    """
    if dialect not in known:
        raise ValueError(f"dialect must be one of {', '.join(known)}, not {dialect!r}")


def _crossing(types: Iterable[type[BusMessage]]) -> list[type[BusMessage]]:
    return [cls for cls in types if is_message_class(cls) and not issubclass(cls, BusLocalMessage)]
