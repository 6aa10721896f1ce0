"""Connections on the sans-IO core of `websockets`, which is an extra: imported when asked for.

The core does the handshakes, control frames, text, fragments and masked messages of some size, which
it unmasks in C.  What it costs is the same for each message, however small.  So small binary ones
leave below it, as they do with trio-websocket, and the stream sees to it that few frames are looked
at in one step.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, ClassVar, NoReturn

import trio
from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import SEND_EOF, Side, State
from websockets.server import ServerProtocol

from ..errors import RemoteWireError
from ._frames import binary_frame
from ._handshakes import RawHeaders
from ._line import Line
from ._pieces import Pieces
from ._shared_stream import READ
from ._transport import LinkClosed, Transport, again, check_offered

__all__ = ["WebsocketsTransport"]

QUEUE = 8
"""How many messages wait for `receive` before the peer waits."""

UNMASKED_IN_C = 1024
"""From how many bytes on it is worth the core's way to have a message unmasked."""

MASKED_IN_C = 256

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)

# What an unaccepted request is answered with, by the code that it would have been closed with.
_REFUSALS = {1001: 503, 1011: 500}

_MESSAGES = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


class WebsocketsTransport(Transport):
    """A connection of ours, or a request for one.

    Args:
        protocol: the core's object, whose opening handshake is done, or which has a request.
        line: what is under it.
        max_message_size: what `protocol` was made with, in bytes.
        offers: the subprotocols that the client has asked for.
        response: of a request, what it is to be accepted with.
    """

    can_ping: ClassVar[bool] = True

    def __init__(
        self,
        protocol: ClientProtocol | ServerProtocol,
        line: Line,
        max_message_size: int,
        offers: tuple[str, ...],
        response: Response | None = None,
    ) -> None:
        self.websocket: Any = protocol
        self.peer: str = line.stream.peer
        self.offers: tuple[str, ...] | None = offers
        self.subprotocol: str | None = protocol.subprotocol
        self._protocol = protocol
        self._line = line
        self._response = response
        self._masks = protocol.side is Side.CLIENT
        self._max_message_size = max_message_size
        self._limit_picking()
        self._pieces = Pieces()
        self._queue: deque[bytes | str] = deque()
        self._take: Callable[[bytes | str], object] | None = None
        # Replaced at each change that the reader, or who receives, may wait for.
        self._changed = trio.Event()
        self._pings: dict[bytes, trio.Event] = {}
        self._said: LinkClosed | None = None  # by us
        # Whether nothing more will be put into the queue.
        self._over = False
        self._hung_up = False
        if response is None:
            line.stream.unlimit()

    def _limit_picking(self) -> None:
        size = self._max_message_size
        self._pick_limit = size if self._masks else min(size, UNMASKED_IN_C)

    def widen(self, size: int) -> None:
        """Take larger messages."""
        if size <= self._max_message_size:
            return
        self._max_message_size = size
        self._limit_picking()
        # It can be told before there is a request only, and that says what is needed.
        for name in ("max_message_size", "max_size"):  # the later versions' name, and the earlier
            if hasattr(self._protocol, name):
                setattr(self._protocol, name, size)

    @property
    def accepted(self) -> bool:
        """Whether it is a request no more."""
        return self._response is None

    async def accept(self, subprotocol: str | None = None) -> None:
        """Answer the request, if it is one."""
        if self._over:
            raise self._ended()
        if self._response is None:
            await trio.lowlevel.checkpoint()
            return
        check_offered(subprotocol, self.offers)
        response, self._response = self._response, None
        if subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
            self.subprotocol = subprotocol
        self._line.stream.unlimit()
        self._protocol.send_response(response)  # type: ignore[union-attr] # a server has requests
        await self._flush()

    async def refuse(self, status: int, headers: RawHeaders, body: bytes) -> None:
        """Answer the request with an HTTP status; see `Refuse`."""
        self._response = None
        given = Headers((key.decode("latin-1"), value.decode("latin-1")) for key, value in headers)
        given["Content-Length"] = str(len(body))
        response = Response(status, HTTPStatus(status).phrase, given, body)
        self._protocol.send_response(response)  # type: ignore[union-attr] # a server has requests
        await self._flush()

    async def receive(self) -> bytes | str:
        """Return the next message."""
        if self._response is not None:
            await self.accept()
        await trio.lowlevel.checkpoint()
        while not self._queue:
            if self._over:
                raise self._ended()
            await self._changed.wait()
        message = self._queue.popleft()
        self._line.stream.returned += 1
        self._tell()
        return message

    async def early(self) -> bytes | str:
        """Return the next message; of a request, wait for the end of its connection."""
        if self._response is None:
            return await self.receive()
        # Nothing is read as a message before the accept: whoever sends one is dropped.
        await self._line.done.wait()
        raise self._ended()

    async def pump(self, take: Callable[[bytes | str], object]) -> NoReturn:
        """Hand over every message, in the reader's step."""
        problem: Exception | None = None

        def fail(error: Exception) -> None:
            nonlocal problem
            problem = error
            scope.cancel(reason="a message was not taken")
            self._divert(None)

        def take_here(message: bytes | str) -> object:
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
            self._divert(take_here)
            try:
                while True:
                    take(await self.receive())
            except LinkClosed:
                if problem is None:
                    raise
            finally:
                self._divert(None)
        assert problem is not None
        raise problem

    def _divert(self, take: Callable[[bytes | str], object] | None) -> None:
        self._take = take
        self._line.stream.divert(take, self._pick_limit)
        self._tell()

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send binary messages in one write."""
        if self._response is not None:
            await self.accept()
        if not self._is_open():
            raise self._why()
        await self._flush(*[self._packed(each) for each in frames])

    @property
    def unfinished(self) -> bool:
        """Whether the stream has more to write."""
        return self._line.stream.unfinished

    def send_now(self, frame: bytes) -> bool:
        """Write one message, if the stream has room."""
        return self._is_open() and self._line.stream.send_now(self._packed(frame))

    def _packed(self, payload: bytes) -> bytes:
        if self._masks and len(payload) >= MASKED_IN_C:
            return Frame(Opcode.BINARY, payload).serialize(mask=True)
        return binary_frame(payload, mask=self._masks)

    async def ping(self) -> None:
        """Wait for a pong."""
        if self._response is not None:
            await self.accept()
        if not self._is_open():
            raise self._why()
        payload = os.urandom(8)
        answered = self._pings[payload] = trio.Event()
        try:
            self._protocol.send_ping(payload)
            await self._flush()
            await answered.wait()
            if payload in self._pings:
                raise self._why()
        finally:
            self._pings.pop(payload, None)

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake; a request that was not accepted is refused."""
        try:
            if self._response is not None:
                self._said = self._said or LinkClosed(code, reason, "us")
                await self.refuse(_REFUSALS.get(code, 403), [], b"")
                return
            if self._is_open():
                self._said = LinkClosed(code, reason, "us")
                short = reason.encode()[:123].decode(errors="ignore")
                self._protocol.send_close(code, short)
                self._stop_receiving()
                await self._flush()
        except LinkClosed:
            return
        await self._line.done.wait()

    async def abort(self) -> None:
        """Drop the connection."""
        self._said = self._said or LinkClosed(reason="dropped", by="us")
        self._response = None
        self._stop_receiving()
        await self._line.abort()

    # What has happened

    def _is_open(self) -> bool:
        return not self._over and self._protocol.state is State.OPEN

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _stop_receiving(self) -> None:
        self._over = True
        self._queue.clear()
        self._tell()

    def _ended(self) -> LinkClosed:
        """Tell how the connection has ended: always the same, but as a new exception."""
        if self.lost is None:
            self.lost: LinkClosed | None = self._why()
        return again(self.lost)

    def _why(self) -> LinkClosed:
        received, sent = self._protocol.close_rcvd, self._protocol.close_sent
        if end := self.lost or self._said:
            return again(end)
        # Who answers a close sends the same again.
        if sent is not None and sent is not received:
            return LinkClosed(sent.code, sent.reason, "us")
        if received is not None:
            return LinkClosed(received.code, received.reason, "peer")
        crash = self._line.crash
        return LinkClosed(reason="" if crash is None else f"{type(crash).__name__}: {crash}")

    # Writing

    async def _flush(self, *frames: bytes) -> None:
        """Write what the core has to say, and frames of ours behind it."""
        try:
            await self._write(self._protocol.data_to_send(), frames)
        except _BROKEN as error:
            raise self._why() from error

    async def _write(self, said: list[bytes], frames: Sequence[bytes] = ()) -> None:
        stream = self._line.stream
        data = frames[0] if len(frames) == 1 and not said else b"".join((*said, *frames))
        # If there is nothing, no pass of the loop is lost with it: the writer asks after each
        # message that has left without it.
        if data or stream.unfinished:
            await stream.send_all(data)
        if SEND_EOF in said:
            self._hung_up = True
            await stream.send_eof()

    # Reading

    async def read(self, events: Sequence[object] = ()) -> None:
        """Read until the connection is over: what the line's reader is to do.

        Args:
            events: what the core has told already.
        """
        try:
            await self._handle(events)
            while True:
                data = await self._line.stream.receive_some(READ)
                if self._protocol.state is State.CONNECTING:
                    # The request was refused, or is not accepted and its client says no more.
                    if not data:
                        return
                elif data:
                    self._protocol.receive_data(bytes(data))
                else:
                    self._protocol.receive_eof()
                await self._handle(self._protocol.events_received())
                if not data or self._is_done():
                    return
        finally:
            self._over = True
            self._tell()
            for each in self._pings.values():
                each.set()

    def _is_done(self) -> bool:
        """Tell whether it is for us to end the connection.

        A server does so when both have closed.  One that has closed for a mistake of its client
        reads on: what nobody has read takes back what the client has not read yet, on closing.
        """
        return self._hung_up and self._protocol.close_rcvd is not None

    async def _handle(self, events: Sequence[object]) -> None:
        """Do what follows from what has arrived."""
        messages: list[bytes | str] = []
        try:
            for each in events:
                if isinstance(each, Frame) and (found := self._look_at(each)) is not None:
                    messages.append(found)  # noqa: PERF401 - what came before a mistake counts
        except UnicodeDecodeError as error:
            self._protocol.fail(CloseCode.INVALID_DATA, f"{error.reason} at {error.start}")
        if said := self._protocol.data_to_send():
            await self._write(said)
        for message in messages:
            await self._deliver(message)
        if self._protocol.state is not State.OPEN and self._response is None:
            self._over = True
            self._tell()

    def _look_at(self, frame: Frame) -> bytes | str | None:
        """Look at a frame; return the message that it ends."""
        if frame.opcode is Opcode.PONG:
            answered = self._pings.pop(bytes(frame.data), None)
            if answered is not None:
                answered.set()
        elif frame.opcode in _MESSAGES:
            return self._piece(frame)
        return None

    def _piece(self, frame: Frame) -> bytes | str | None:
        data, text = bytes(frame.data), frame.opcode is Opcode.TEXT
        if frame.opcode is Opcode.CONT:
            return self._pieces.go_on(data, final=frame.fin)
        if frame.fin:
            return self._pieces.whole(data, text=text)
        self._pieces.begin(data, text=text)
        return None

    async def _deliver(self, message: bytes | str) -> None:
        """Hand over a message, or put it into the queue when there is room."""
        while not self._over:
            # What is in the queue comes first, and the queue is not filled again meanwhile: else it
            # would never be empty, and each message take its longer way.
            if self._take is not None and not self._queue:
                self._line.stream.returned += 1
                if self._take(message):
                    await trio.lowlevel.checkpoint()
                return
            if self._take is None and len(self._queue) < QUEUE:
                self._queue.append(message)
                self._tell()
                return
            await self._changed.wait()
