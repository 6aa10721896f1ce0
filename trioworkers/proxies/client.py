"""The proxy that connects."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypeVar, cast

import trio

from .._checks import check_settings
from .._values import Backoff
from .._worker import WorkerEvent
from ..abc import MessageSerializer
from ..errors import RemoteWireError
from ..messages import BusMessage
from ._anteroom import Anteroom
from ._dial import check_headers, open_client_transport, parse_url, shown
from ._dialects import Dialect
from ._handshakes import TransportName, handshakes_of
from ._native import SUBPROTOCOL
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
from ._transport import LinkClosed, Transport
from .policy import ProxyPolicy

__all__ = ["WebSocketProxyClient"]

logger: logging.Logger = logging.getLogger("trioworkers")

H = TypeVar("H", bound=Callable[..., Awaitable[object]])

ClientEvent: TypeAlias = WorkerEvent | Literal["on_connected", "on_disconnected"]
_OWN_EVENTS = frozenset({"on_connected", "on_disconnected"})


class WebSocketProxyClient(WebSocketProxy):
    """Bridges a local worker to one in another process, by connecting to it.

    Connects when it is activated, and again when the connection is lost.  While there is no
    connection, whoever sends to the remote worker waits as for a full mailbox.
    """

    def __init__(
        self,
        name: str,
        *,
        url: str,
        local_worker_name: str,
        remote_worker_name: str,
        forward_messages: Iterable[type[BusMessage]] = (),
        accept: Iterable[type[BusMessage]] | None = None,
        headers: Mapping[str, str] | None = None,
        serializer: MessageSerializer | None = None,
        active: bool = False,
        dialect: Literal["native", "pipecat"] = "native",
        ssl_context: ssl.SSLContext | None = None,
        reconnect: Backoff | None = Backoff(),  # noqa: B008 - frozen
        heartbeat: float = HEARTBEAT,
        handshake_timeout: float = HANDSHAKE_SECONDS,
        transport: TransportName = "trio-websocket",
        window: int = WINDOW,
        credit: int = CREDIT,
        delivery: Delivery = "at_most_once",
        bus: None = None,
    ) -> None:
        """Make a proxy; add it to a runner like any worker.

        Args:
            name: the proxy's own.
            url: where the server is, `ws://...` or `wss://...`.
            local_worker_name: the worker on this bus that the peer may talk to.
            remote_worker_name: the worker on the other side.  That name is taken on this bus.
            forward_messages: types that cross without a target too, and the session control that
                may cross.
            accept: if given, only these types come in.
            headers: for the handshake, such as a token.
            serializer: how messages are written, and which; by default Pipecat's JSON.  The types
                in `forward_messages` and those that the local worker handles are known anyway.
            active: connect at the start already.
            dialect: how the two sides talk: `"native"` with another trioworkers, `"pipecat"` with
                a real Pipecat process.
            ssl_context: for `wss://`; None for the system's trust store.
            reconnect: how long to wait before each attempt; None to make one only: then a connect
                that fails fails the proxy, and a lost connection ends it.
            heartbeat: seconds after which a silent peer is asked whether it is there, and which it
                has to answer.
            handshake_timeout: seconds that connecting may take, and then the peer's hello.
            transport: the library that carries the connection; `"websockets"` is an extra.
            window: how many bytes of data and replies the peer may have on their way; natively.
            credit: how many messages of one lane it may have on their way, or waiting for room
                here; natively.
            delivery: `"at_least_once"` lets a session go on over the next connection when one is
                lost: jobs stay open, what was not confirmed is sent again, and the receiver drops
                what it has had.  The server's proxy has to have the same.
            bus: not to be passed: a proxy gets its bus from the runner it is added to.

        Raises:
            ImportError: `transport` is an extra that is not installed.
            TypeError: an argument is of the wrong type.
            ValueError: a name, the URL, a header, `transport` or a number of seconds is impossible.
        """
        refuse_bus(bus, type(self))
        check_choice("dialect", dialect, ("native", "pipecat"))
        policy = ProxyPolicy(
            local_worker_name,
            remote_worker_name,
            forward_messages=forward_messages,
            accept=accept,
        )
        if delivery == "at_least_once" and dialect != "native":
            raise ValueError(NEEDS_NATIVE)
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
        self._native = dialect == "native"
        if not (reconnect is None or isinstance(reconnect, Backoff)):
            raise TypeError(f"reconnect must be a Backoff or None, not {reconnect!r}")
        check_settings({"handshake_timeout": handshake_timeout})
        parse_url(url, ssl_context)
        check_headers(headers)
        handshakes_of(transport)
        self._carrier: TransportName = transport
        self._url = url
        self._headers = dict(headers or {})
        self._ssl_context = ssl_context
        self._reconnect = reconnect
        self._handshake_timeout = handshake_timeout

    # Hooks

    async def on_connected(self, websocket: Any) -> None:
        """React to a new connection, before its first message.

        Messages cross when this has returned: to send some from here, start a task in `nursery`.
        """

    async def on_disconnected(self, websocket: Any) -> None:
        """React to the end of a connection, once for each, however it ended."""

    def event_handler(self, event: ClientEvent) -> Callable[[H], H]:
        """Add a handler to a hook of this one object, as `Worker.event_handler` does."""
        return super().event_handler(cast("WorkerEvent", event))

    @classmethod
    def _events(cls) -> frozenset[str]:
        return super()._events() | _OWN_EVENTS

    async def _greeted(self, websocket: Any) -> None:
        await self._call_hook("on_connected", websocket)

    async def _parted(self, websocket: Any) -> None:
        await self._call_hook("on_disconnected", websocket)

    # The connection

    def _stays(self, end: LinkClosed) -> bool:
        """Tell whether the session goes on: not where there will be no other connection."""
        return self._reconnect is not None and super()._stays(end)

    @property
    def _announce_to(self) -> str | None:
        # A real Pipecat server takes an announcement only if it is for the worker it exposes.
        return self._policy.remote

    async def _stay_connected(self) -> None:
        failures = 0
        while True:
            begun = trio.current_time()
            end = await self._connect_once()
            if not self._wanted:
                return
            if self._reconnect is None:
                await self._give_up(end)
                return
            healthy = trio.current_time() - begun >= self._reconnect.reset_after
            failures = 1 if isinstance(end, LinkClosed) and healthy else failures + 1
            delay = self._reconnect.delay(failures, self._node.context.random.random())
            logger.warning(
                "proxy %s has no connection to %s: %s; trying again in %.3f s",
                self.name,
                shown(self._url),
                end,
                delay,
            )
            await trio.sleep(delay)

    async def _connect_once(self) -> LinkClosed | Exception:
        """Connect and carry messages; return how it ended, or why it failed."""
        async with trio.open_nursery() as nursery:
            end: LinkClosed | Exception
            try:
                transport = await self._dial(nursery)
                room = Anteroom(transport, self._heartbeat)
                dialect = await self._begin(room)
            except (OSError, RemoteWireError, LinkClosed) as error:
                end = error
            else:
                end = await self._serve_link(room, dialect)
            nursery.cancel_scope.cancel(reason="the connection is over")
        return end

    async def _dial(self, nursery: trio.Nursery) -> Transport:
        with trio.move_on_after(self._handshake_timeout):
            return await open_client_transport(
                self._url,
                headers=self._headers,
                ssl_context=self._ssl_context,
                subprotocols=(SUBPROTOCOL,) if self._native else (),
                max_message_size=self._frame_size if self._native else self._message_size,
                nursery=nursery,
                transport=self._carrier,
            )
        seconds = self._handshake_timeout
        raise RemoteWireError(f"no answer to the handshake with {shown(self._url)} for {seconds} s")

    async def _begin(self, room: Anteroom) -> Dialect:
        """Agree on how to talk; a connection without that is dropped."""
        seconds = self._handshake_timeout
        try:
            with trio.move_on_after(seconds):
                return await self._speak(room, self._native)
            raise RemoteWireError(
                f"the peer at {shown(self._url)} is not native: no hello within {seconds} s; "
                'dialect="pipecat" is for a Pipecat process'
            )
        except BaseException:
            await room.transport.abort()  # noqa: ASYNC102 - does not wait
            raise

    async def _give_up(self, end: LinkClosed | Exception) -> None:
        if not isinstance(end, LinkClosed):
            raise end
        await self.stop(f"the link is lost: {end}")
