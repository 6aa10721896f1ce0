"""The proxy that is connected to: one for each connection."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeAlias, TypeVar, cast

import trio

from .._checks import check_settings
from .._worker import WorkerEvent
from ..abc import MessageSerializer
from ..errors import RemoteWireError
from ..messages import BusMessage
from ._anteroom import Anteroom
from ._dialects import Dialect
from ._link import CLOSE_SECONDS
from ._native import SUBPROTOCOL, is_hello
from ._proxy import (
    CREDIT,
    HANDSHAKE_SECONDS,
    HEARTBEAT,
    NEEDS_NATIVE,
    WINDOW,
    Delivery,
    WebSocketProxy,
    check_choice,
    refuse_bus,
)
from ._sessions import Returns, forget, keep
from ._transport import LinkClosed, Transport
from .policy import ProxyPolicy
from .transports import claim

__all__ = ["WebSocketProxyServer"]

logger: logging.Logger = logging.getLogger("trioworkers")

H = TypeVar("H", bound=Callable[..., Awaitable[object]])

ServerEvent: TypeAlias = WorkerEvent | Literal["on_client_connected", "on_client_disconnected"]
TOO_LATE = LinkClosed(1006, f"no handshake within {HANDSHAKE_SECONDS} s", "network")

RESUME_SECONDS = 60.0
"""Seconds that a session waits for its client."""

UNDECIDED = 1.0
"""Seconds to wait for the first word of a peer that may speak either dialect."""

_OWN_EVENTS = frozenset({"on_client_connected", "on_client_disconnected"})


class WebSocketProxyServer(WebSocketProxy):
    """Bridges a local worker to one in the process that has connected.

    Lives as long as its connection: when that is over, the proxy stops.
    """

    def __init__(
        self,
        name: str,
        *,
        websocket: Any,
        worker_name: str,
        remote_worker_name: str,
        forward_messages: Iterable[type[BusMessage]] = (),
        accept: Iterable[type[BusMessage]] | None = None,
        serializer: MessageSerializer | None = None,
        active: bool = True,
        dialect: Literal["auto", "native", "pipecat"] = "auto",
        heartbeat: float = HEARTBEAT,
        window: int = WINDOW,
        credit: int = CREDIT,
        delivery: Delivery = "at_most_once",
        resume_within: float = RESUME_SECONDS,
        bus: None = None,
    ) -> None:
        """Make a proxy for one connection; add it to a runner like any worker.

        Args:
            name: the proxy's own.
            websocket: what `serve_proxies` gives to `build`; or a connection or request of
                trio-websocket, a Starlette or FastAPI `WebSocket`, or Quart's `websocket`; accepted
                or not yet.
            worker_name: the worker on this bus that the peer may talk to.
            remote_worker_name: the worker on the other side.  That name is taken on this bus.
            forward_messages: types that cross without a target too, and the session control that
                may cross.
            accept: if given, only these types come in.
            serializer: how messages are written, and which; by default Pipecat's JSON.  The types
                in `forward_messages` and those that the local worker handles are known anyway.
            active: take the connection at the start already.
            dialect: how the two sides talk; `"auto"` takes what the peer speaks.
            window: how many bytes of data and replies the peer may have on their way; natively.
            credit: how many messages of one lane it may have on their way, or waiting for room
                here; natively.
            delivery: `"at_least_once"` lets the session of a native client go on over the next
                connection when one is lost, if the client has the same.  `serve_proxies` finds the
                proxy; a server of your own calls `continue_session` first.
            resume_within: seconds that a session waits for its client to come back, however often
                that is tried.
            heartbeat: seconds after which a silent peer is asked whether it is there, and which it
                has to answer.  Not under ASGI, where it is the server's business.
            bus: not to be passed: a proxy gets its bus from the runner it is added to.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: a name or `heartbeat` is impossible, or `websocket` has a proxy already.
        """
        refuse_bus(bus, type(self))
        check_choice("dialect", dialect, ("auto", "native", "pipecat"))
        policy = ProxyPolicy(
            worker_name, remote_worker_name, forward_messages=forward_messages, accept=accept
        )
        super().__init__(
            name,
            policy,
            serializer,
            active=active,
            heartbeat=heartbeat,
            window=window,
            credit=credit,
            delivery=delivery,
        )
        if delivery == "at_least_once" and dialect == "pipecat":
            raise ValueError(NEEDS_NATIVE)
        check_settings({"resume_within": resume_within})
        self._dialect = dialect
        self._resume_within = resume_within
        self._returns = Returns()
        # Around what is agreed on with a client that has come back.
        self._greeting = trio.CancelScope()
        self._transport: Transport = claim(websocket)
        self._room = Anteroom(self._transport, heartbeat)
        self._accept_by = math.inf
        # While it is inactive: whether the connection is wanted, and whether nobody watches it.
        self._called, self._unwatched = trio.Event(), trio.Event()
        self._unwatched.set()

    # Hooks

    async def on_client_connected(self, websocket: Any) -> None:
        """React to the connection, before its first message.

        Messages cross when this has returned: to send some from here, start a task in `nursery`.
        """

    async def on_client_disconnected(self, websocket: Any) -> None:
        """React to the end of the connection, however it ended."""

    def event_handler(self, event: ServerEvent) -> Callable[[H], H]:
        """Add a handler to a hook of this one object, as `Worker.event_handler` does."""
        return super().event_handler(cast("WorkerEvent", event))

    @classmethod
    def _events(cls) -> frozenset[str]:
        return super()._events() | _OWN_EVENTS

    async def _greeted(self, websocket: Any) -> None:
        await self._call_hook("on_client_connected", websocket)

    async def _parted(self, websocket: Any) -> None:
        await self._call_hook("on_client_disconnected", websocket)

    # The connection

    async def on_start(self) -> None:
        """Watch the connection for as long as the proxy is inactive.

        A subclass with an `on_start` of its own has to call this one.
        """
        if not self._transport.accepted:
            self._accept_by = trio.current_time() + HANDSHAKE_SECONDS
        if not self.active:
            self._called, self._unwatched = trio.Event(), trio.Event()
            self.nursery.start_soon(self._stay_inactive, name=f"watch of {self.name}")

    async def _stay_inactive(self) -> None:
        end: LinkClosed | None = TOO_LATE
        try:
            with trio.move_on_at(self._accept_by):
                end = await self._room.during(self.nursery, self._called.wait)
        finally:
            self._unwatched.set()
        if end is not None:
            if end.by == "us":
                with trio.move_on_after(CLOSE_SECONDS):
                    await self._transport.close(end.code, end.reason)
            await self._transport.abort()
            await self.stop(f"the link is lost: {end}")

    async def _stay_connected(self) -> None:
        self._called.set()
        await self._unwatched.wait()
        try:
            dialect = await self._accept()
            end = dialect
            if isinstance(dialect, Dialect):
                end = await self._serve_session(dialect)
        finally:
            with self.cleanup():
                await self._transport.abort()  # noqa: ASYNC102
        await self.stop(f"the link is lost: {end}")

    async def _serve_session(self, dialect: Dialect) -> LinkClosed:
        """Carry messages, over one connection or several; return how the last one ended."""
        keep(self._epoch, self)
        try:
            end = await self._serve_link(self._room, dialect)
            while self._stays(end):
                # Attempts that fail do not make the time any longer.
                found = await self._returns.take(self._life.over_at + self._resume_within)
                if found is None:
                    break
                self._transport, over = found
                try:
                    end = await self._serve_again(end)
                finally:
                    over.set()
        finally:
            forget(self)
            self._returns.turn_away()
        return end

    async def _serve_again(self, before: LinkClosed) -> LinkClosed:
        """Carry messages over another connection, if its client agrees."""
        room = self._room = Anteroom(self._transport, self._heartbeat)
        dialect: Dialect | None = None
        try:
            with trio.move_on_after(HANDSHAKE_SECONDS) as self._greeting:
                dialect = await self._speak(room, native=True)
        except (RemoteWireError, LinkClosed) as error:
            logger.info(
                "proxy %s was not continued by %s: %s", self.name, self._transport.peer, error
            )
        if dialect is None or self._returns.pending:
            # Or the client has come back once more in this step.
            if self._life.is_carried:
                self._link_over(before)
            await self._transport.abort()
            return before
        # It may be a new session: of a client that has never heard of the one before.
        keep(self._epoch, self)
        return await self._serve_link(room, dialect)

    def _forsake(self, reason: str) -> None:
        super()._forsake(reason)
        self._returns.give_up()

    async def go_on(self, transport: Transport) -> None:
        """Take another connection of the same client; return when that is over.

        Called by `continue_session` and `serve_proxies`.
        """
        over = self._returns.offer(transport)
        # It may not have been noticed yet that the client has gone.
        self._drop("the client has come back with another connection")
        try:
            await over.wait()
        finally:
            self._withdraw(over)

    def _withdraw(self, over: trio.Event) -> None:
        """Let go of a connection that its server carries no more, if it is not over."""
        if not self._returns.withdraw(over) and not over.is_set():
            self._drop("its server has given the connection up")

    def _drop(self, reason: str) -> None:
        """Give up the connection, as if the network had, however far it has come."""
        self._greeting.cancel(reason=reason)
        if self._link is not None:
            self._link.drop(reason)
        else:
            self._room.drop(LinkClosed(1006, reason, "network"))

    async def _given_up(self) -> None:
        await self.stop("the connection was given up before there was a link")

    async def _accept(self) -> Dialect | LinkClosed:
        """Answer the opening handshake and agree on how to talk; or return why that is not so."""
        transport = self._transport
        offered = SUBPROTOCOL in (transport.offers or (transport.subprotocol,))
        native = self._dialect == "native" or (self._dialect == "auto" and offered)
        latest = min(self._accept_by, trio.current_time() + HANDSHAKE_SECONDS)
        try:
            with trio.move_on_at(latest) as scope:
                await transport.accept(SUBPROTOCOL if native and transport.offers else None)
            if scope.cancelled_caught:
                return TOO_LATE
            if self._dialect == "auto" and transport.offers is None and not native:
                native = await self._finds_native()
            with trio.move_on_after(HANDSHAKE_SECONDS):
                return await self._speak(self._room, native)
            raise RemoteWireError(f"no hello within {HANDSHAKE_SECONDS} s")
        except RemoteWireError as error:
            end = LinkClosed(1002, str(error), "us")
            with trio.move_on_after(CLOSE_SECONDS):
                await transport.close(end.code, end.reason)
            return end
        except LinkClosed as end:
            return end

    async def _finds_native(self) -> bool:
        """Begin in Pipecat's format, and look at the first frame of a peer that has not said."""
        assert self._portal is not None
        room = self._room
        if announcement := self._portal.announcement():
            await self._transport.send([announcement.frame])
            self._introduced = True
        with trio.move_on_after(UNDECIDED):
            room.kept.appendleft(await room.receive())
        return bool(room.kept) and is_hello(room.kept[0])
