"""The proxy that is connected to: one for each connection."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Literal, TypeAlias, TypeVar, cast

import trio

from .._worker import WorkerEvent
from ..abc import MessageSerializer
from ..messages import BusMessage
from ._anteroom import Anteroom
from ._link import CLOSE_SECONDS
from ._proxy import HANDSHAKE_SECONDS, HEARTBEAT, WebSocketProxy, check_dialect, refuse_bus
from ._transport import LinkClosed, Transport
from .policy import ProxyPolicy
from .transports import claim

__all__ = ["WebSocketProxyServer"]

H = TypeVar("H", bound=Callable[..., Awaitable[object]])

ServerEvent: TypeAlias = WorkerEvent | Literal["on_client_connected", "on_client_disconnected"]
TOO_LATE = LinkClosed(1006, f"no handshake within {HANDSHAKE_SECONDS} s", "network")
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
        dialect: Literal["auto", "pipecat"] = "auto",
        heartbeat: float = HEARTBEAT,
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
            heartbeat: seconds after which a silent peer is asked whether it is there, and which it
                has to answer.  Not under ASGI, where it is the server's business.
            bus: not to be passed: a proxy gets its bus from the runner it is added to.

        Raises:
            TypeError: an argument is of the wrong type.
            ValueError: a name or `heartbeat` is impossible, or `websocket` has a proxy already.
        """
        refuse_bus(bus, type(self))
        check_dialect(dialect, ("auto", "pipecat"))
        policy = ProxyPolicy(
            worker_name, remote_worker_name, forward_messages=forward_messages, accept=accept
        )
        super().__init__(name, policy, serializer, active=active, heartbeat=heartbeat)
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
            end = await self._accept()
            if end is None:
                end = await self._serve_link(self._room)
        finally:
            with self.cleanup():
                await self._transport.abort()  # noqa: ASYNC102
        await self.stop(f"the link is lost: {end}")

    async def _given_up(self) -> None:
        await self.stop("the connection was given up before there was a link")

    async def _accept(self) -> LinkClosed | None:
        """Answer the opening handshake; return why there is no connection, or None."""
        latest = min(self._accept_by, trio.current_time() + HANDSHAKE_SECONDS)
        with trio.move_on_at(latest):
            try:
                await self._transport.accept()
            except LinkClosed as end:
                return end
            return None
        return TOO_LATE
