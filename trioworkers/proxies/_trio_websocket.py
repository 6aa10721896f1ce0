"""Connections of trio-websocket: our own, on both sides, and those that a program brings along."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

import trio
from trio_websocket import CloseReason, ConnectionClosed, WebSocketConnection, WebSocketRequest
from wsproto.utilities import LocalProtocolError

from ..errors import RemoteWireError
from ._frames import binary_frame
from ._line import Line
from ._shared_stream import address_name, drop
from ._transport import LinkClosed, Transport, again, check_offered

__all__ = ["TrioTransport"]

# trio-websocket lets these out where its own state and that of the protocol below differ.
_ENDED = (
    ConnectionClosed,
    LocalProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
)

TOO_BIG = 1009

# What an unaccepted request is answered with, by the code that it would have been closed with.
_REFUSALS = {1001: 503, 1011: 500}


class TrioTransport(Transport):
    """A connection of trio-websocket, or a request for one.

    Args:
        websocket: the connection, or the request.
        line: what is under it, if we have made it.
        offers: on a client, the subprotocols asked for.
        max_message_size: what `websocket` was made with, in bytes, if there is a line.
    """

    can_ping: ClassVar[bool] = True

    def __init__(
        self,
        websocket: WebSocketConnection | WebSocketRequest,
        line: Line | None = None,
        offers: tuple[str, ...] | None = None,
        max_message_size: int = 0,
    ) -> None:
        self._request: WebSocketRequest | None = None
        self._connection: WebSocketConnection | None = None
        self._line = line
        self._said: LinkClosed | None = None
        self._max_message_size = max_message_size
        if isinstance(websocket, WebSocketRequest):
            self._request = websocket
            self.offers = websocket.proposed_subprotocols
        else:
            self.offers = offers
            self._connect(websocket)
        self.websocket: Any = websocket
        self.peer: str = line.stream.peer if line else _remote(websocket)

    def _connect(self, connection: WebSocketConnection) -> None:
        self.websocket = self._connection = connection
        self.subprotocol: str | None = connection.subprotocol
        if self._line is not None:
            self._line.stream.unlimit()

    def widen(self, size: int) -> None:
        """Take larger messages, if the line is ours."""
        connection: Any = self._connection
        if self._line is None or connection is None or size <= self._max_message_size:
            return
        self._max_message_size = size
        # It can be told before there is a request only, and that says what is needed.
        connection._max_message_size = size

    @property
    def accepted(self) -> bool:
        """Whether it is a request no more."""
        return self._request is None

    async def accept(self, subprotocol: str | None = None) -> None:
        """Answer the request, if it is one."""
        if self._request is None:
            await trio.lowlevel.checkpoint()
            return
        check_offered(subprotocol, self.offers)
        request, self._request = self._request, None
        try:
            connection = await request.accept(subprotocol=subprotocol)
        except _ENDED as error:
            raise self._ended() from error
        self._connect(connection)

    async def receive(self) -> bytes | str:
        """Return the next message."""
        connection = await self._accepted()
        try:
            message = await connection.get_message()
        except ConnectionClosed:
            raise self._ended() from None
        if self._line is not None:
            self._line.stream.returned += 1
        return message

    async def early(self) -> bytes | str:
        """Return the next message; of a request, wait for the end of its connection."""
        if self._request is None:
            return await self.receive()
        if self._line is not None:
            # The reader task sees it.  Nothing is read as a message before the accept: what comes
            # is bytes of the handshake, which have a limit.
            await self._line.done.wait()
            raise self._ended()
        connection: Any = getattr(self._request, "_connection", None)
        if connection is None:  # pragma: no cover - another version of trio-websocket
            await trio.sleep_forever()
        try:
            message: bytes | str = await connection.get_message()
        except ConnectionClosed:
            raise self._ended() from None
        return message

    async def pump(self, take: Callable[[bytes | str], object]) -> NoReturn:
        """Hand over every message; most of them past trio-websocket, if the stream is ours."""
        if self._line is None:
            await super().pump(take)
        stream = self._line.stream
        problem: Exception | None = None

        def fail(error: Exception) -> None:
            nonlocal problem
            problem = error
            stream.divert(None)
            scope.cancel(reason="a message was not taken")

        def take_here(message: bytes) -> object:
            try:
                return take(message)
            except RemoteWireError as error:
                # Not for the reader, which is needed to close the connection in order.
                fail(error)
                return None
            except Exception as error:
                fail(error)
                raise

        with trio.CancelScope() as scope:
            stream.divert(take_here, self._max_message_size)
            try:
                while True:
                    take(await self.receive())
            finally:
                stream.divert(None)
        assert problem is not None
        raise problem

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send binary messages; in one write, if the stream below is ours."""
        connection = await self._accepted()
        try:
            if self._line is None:
                for frame in frames:
                    await connection.send_message(frame)
            elif connection.closed:
                # From here on a close frame has been written, or waits for its turn.
                raise ConnectionClosed(connection.closed)
            elif frames or self._line.stream.unfinished:
                mask = connection.is_client
                data = [binary_frame(frame, mask=mask) for frame in frames]
                await self._line.stream.send_all(data[0] if len(data) == 1 else b"".join(data))
        except _ENDED as error:
            raise self._ended() from error

    @property
    def unfinished(self) -> bool:
        """Whether the stream has more to write."""
        return self._line is not None and self._line.stream.unfinished

    def send_now(self, frame: bytes) -> bool:
        """Write one message past trio-websocket, if the stream below is ours and has room."""
        connection = self._connection
        if self._line is None or connection is None or connection.closed:
            return False
        return self._line.stream.send_now(binary_frame(frame, mask=connection.is_client))

    async def ping(self) -> None:
        """Wait for a pong."""
        connection = await self._accepted()
        try:
            await connection.ping()
        except _ENDED as error:
            raise self._ended() from error

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake; a request that was not accepted is rejected."""
        try:
            if self._connection is not None:
                if self._connection.closed is None:
                    self._said = self._said or LinkClosed(code, reason, "us")
                await self._connection.aclose(code, reason or None)
                await self._finish(self._connection)
            elif self._request is not None:
                self._said = self._said or LinkClosed(code, reason, "us")
                request, self._request = self._request, None
                await request.reject(_REFUSALS.get(code, 403))
        except _ENDED:
            pass

    async def _finish(self, connection: WebSocketConnection) -> None:
        """Wait until the peer has closed its end, if the peer or trio-websocket began with it."""
        if self._line is None:
            return
        await self._line.done.wait()
        if connection.closed and connection.closed.code == TOO_BIG and not _by_peer(connection):
            await self._line.stream.linger()

    async def abort(self) -> None:
        """Drop the connection."""
        self._said = self._said or LinkClosed(reason="dropped", by="us")
        if self._line is not None:
            await self._line.abort()
            return
        holder = self._connection or getattr(self.websocket, "_connection", None)
        # Its own aclose() leaves the socket open, and a task at it, once a peer has begun to close.
        stream = getattr(holder, "_stream", None)
        if stream is not None:
            await drop(stream)
        elif holder is not None:  # pragma: no cover - another version of trio-websocket
            await drop(holder)

    async def _accepted(self) -> WebSocketConnection:
        if self._connection is None:
            await self.accept()
        if self._connection is None:
            raise self._ended()
        return self._connection

    def _ended(self) -> LinkClosed:
        """Tell how the connection has ended: always the same, but as a new exception."""
        if self.lost is None:
            self.lost: LinkClosed | None = self._said or self._diagnose()
        return again(self.lost)

    def _diagnose(self) -> LinkClosed:
        closed: CloseReason | None = self._connection.closed if self._connection else None
        if closed is None or closed.code == 1006:
            crash = self._line.crash if self._line else None
            return LinkClosed(reason="" if crash is None else f"{type(crash).__name__}: {crash}")
        by_peer = self._connection is not None and _by_peer(self._connection)
        return LinkClosed(closed.code, closed.reason or "", "peer" if by_peer else "us")


def _by_peer(connection: WebSocketConnection) -> bool:
    """Tell whether the close code is the peer's, and not what trio-websocket says about it."""
    said = getattr(connection, "_for_testing_peer_closed_connection", None)
    return said is None or said.is_set()


def _remote(websocket: WebSocketConnection | WebSocketRequest) -> str:
    try:
        remote = websocket.remote
    except (OSError, ValueError):
        return "a peer that has gone"
    if isinstance(remote, str):
        return remote
    return address_name((str(remote.address), remote.port))
