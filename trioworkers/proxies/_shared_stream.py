"""A byte stream that several tasks write to, each in whole pieces.

trio-websocket writes a frame at a time, and keeps its writers apart with a lock of its own.  Our
sender puts many frames into one write, past trio-websocket, so the lock has to be here: below both.
As everybody writes whole frames, pongs and close frames fall between ours and never into them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import trio

from ._frames import Sieve

__all__ = ["READ", "SharedStream", "address_name", "drop", "peer_name"]

READ = 65_536

# How many messages are handed over between two checkpoints.
TURN = 32

# How many empty fragments one message may have.  trio-websocket keeps them all, and counts bytes.
EMPTY_FRAGMENTS = 4096


class SharedStream(trio.abc.Stream):
    """Wraps a stream for any number of writers and one reader.

    A write that was cancelled or failed has perhaps sent a part of a frame, and whatever followed
    would be taken for the rest of it: so all later ones fail.

    Args:
        stream: what to wrap; this object owns it.
        receive_limit: how many bytes may come in before `unlimit` is called.

    Attributes:
        eof: whether the peer has closed its end.
        peer: who that is, for logs.
        returned: how many messages trio-websocket has handed over; to be counted by the user.
    """

    def __init__(self, stream: trio.abc.Stream, receive_limit: int) -> None:
        self._stream = stream
        # Those who wait here are trio-websocket's reader, and the few that send, ping or close.
        self._lock = trio.StrictFIFOLock()
        self._cut = False
        # The rest of what `send_now` has begun.
        self._rest = b""
        # Windows cannot write to sockets as to files.
        self._direct = sys.platform != "win32" and type(stream) is trio.SocketStream
        self._credit: int | None = receive_limit
        self._written = False
        self._closed = False
        self._sieve = Sieve()
        self._take: Callable[[bytes], object] | None = None
        self._limit = -1
        self.returned: int = 0
        self.eof: bool = False
        self.peer: str = peer_name(stream)

    def __repr__(self) -> str:
        return f"<SharedStream {self.peer}>"

    def unlimit(self) -> None:
        """Let any number of bytes in: from now on the frames' own limits hold."""
        self._credit = None

    def divert(self, take: Callable[[bytes], object] | None, limit: int = -1) -> None:
        """Let messages that come in leave here, instead of going up to trio-websocket.

        Only those that are whole binary frames do, and none while a message is on its way through
        trio-websocket: for that, `returned` has to be kept up to date.

        Args:
            take: gets them, in the reader's step; None to let none leave.  If it returns something
                true, others have their turn before the next one.
            limit: the size of the biggest one, in bytes.
        """
        self._take, self._limit = take, limit

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of `data`, after what others are writing.  A checkpoint.

        Raises:
            trio.BrokenResourceError: the connection is broken, or an earlier write was cut off.
            trio.ClosedResourceError: the stream was closed.
        """
        # Nothing has been sent yet.
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            # Not `async with`, which is a schedule point more; the write is one.
            self._lock.acquire_nowait()
        except trio.WouldBlock:
            await self._lock.acquire()
        try:
            if self._cut:
                raise trio.BrokenResourceError("an earlier write was cut off in the middle")
            self._cut = self._written = True
            if self._rest:
                data, self._rest = self._rest + data, b""
            await self._stream.send_all(data)
            self._cut = False
        finally:
            self._lock.release()

    def send_now(self, data: bytes) -> bool:
        """Write without waiting, if that is possible; tell whether it was, at least in part.

        The next write begins with the rest, if there is one.
        """
        if not self._direct or self._cut or self._rest or self._lock.locked():
            return False
        assert isinstance(self._stream, trio.SocketStream)
        try:
            sent = os.write(self._stream.socket.fileno(), data)
        except OSError:
            return False  # no room, or the connection is over: the next write will tell
        self._rest = data[sent:]
        return True

    @property
    def unfinished(self) -> bool:
        """Whether a part of what `send_now` has begun waits to leave."""
        return bool(self._rest)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until a write might go through at once.  A checkpoint."""
        async with self._lock:
            await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Return the next bytes, or none at the end of the stream.  A checkpoint.

        What is returned has few frames in it, however many have arrived: it is looked at in one
        step.

        Raises:
            trio.BrokenResourceError: the connection is broken, or there was too much.
            trio.ClosedResourceError: the stream was closed.
        """
        sieve = self._sieve
        data: bytes | bytearray
        while True:
            if sieve.more and not self._closed:
                await trio.lowlevel.checkpoint()
                data = b""
            elif not (data := await self._read(max_bytes or READ)):
                self.eof = True
                return data
            elif self._credit is not None:
                self._credit -= len(data)
                if self._credit < 0:
                    raise trio.BrokenResourceError("the opening handshake is too long")
            picks = self._take is not None and sieve.left_alone == self.returned
            rest, messages = sieve.sift(bytes(data), self._limit if picks else -1)
            self._judge()
            if messages:
                await self._hand_over(messages)
            if rest:
                return rest

    async def _read(self, size: int) -> bytes | bytearray:
        """Return what comes next.

        trio looks for something to read before it waits, which is in vain whenever a message was
        handed over: its receiver would go on only after that.
        """
        if self._direct:
            assert isinstance(self._stream, trio.SocketStream)
            socket = self._stream.socket
            while socket.fileno() >= 0:
                await trio.lowlevel.wait_readable(socket)
                try:
                    return os.read(socket.fileno(), size)
                except BlockingIOError:
                    pass
                except OSError as error:
                    if socket.fileno() >= 0:
                        raise trio.BrokenResourceError(f"the connection broke: {error}") from error
        return await self._stream.receive_some(size)

    async def _hand_over(self, messages: list[bytes]) -> None:
        for number, message in enumerate(messages, 1):
            if self._take is None:
                break  # the connection is about to be closed, by us
            if self._take(message) or not number % TURN:
                await trio.lowlevel.checkpoint()
        if not self._direct:
            # Whoever got something goes on first: to look into the socket again takes longer.
            await trio.lowlevel.checkpoint()

    def _judge(self) -> None:
        """Give up a peer that makes the libraries above keep, or do, too much at once."""
        sieve = self._sieve
        if sieve.empty > EMPTY_FRAGMENTS:
            raise trio.BrokenResourceError("a message has too many empty fragments")
        if self._credit is not None and sieve.ahead and not self._written:
            # It would be kept, and looked at in one step when the handshake is answered.
            raise trio.BrokenResourceError("the peer did not wait for the end of the handshake")

    async def send_eof(self) -> None:
        """Tell the peer that nothing more comes, if this kind of stream can.  A checkpoint."""
        await trio.lowlevel.checkpoint()
        if isinstance(self._stream, trio.abc.HalfCloseableStream):
            with suppress(
                trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError
            ):
                await self._stream.send_eof()

    async def linger(self) -> None:
        """Read on, to nobody, until the peer has closed its end.  A checkpoint; takes any time.

        A socket that is closed with unread bytes in it takes back what the peer has not read yet.
        """
        await self.send_eof()
        try:
            while await self._stream.receive_some(READ):
                pass
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            pass

    async def aclose(self) -> None:
        """Close the stream.  A checkpoint; cancelled, it is closed all the same."""
        self._closed = True
        await self._stream.aclose()


async def drop(resource: trio.abc.AsyncResource) -> None:
    """Close something now, without waiting.  A schedule point, also in a cancelled scope."""
    # Shielded: it does not wait, and whoever drops a connection has more to clean up.
    with trio.CancelScope(shield=True):
        await trio.aclose_forcefully(resource)


def peer_name(stream: trio.abc.Stream) -> str:
    """Name the other end of a stream, for logs."""
    inner: Any = stream
    while isinstance(inner, trio.SSLStream):
        inner = inner.transport_stream  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    if isinstance(inner, trio.SocketStream):
        try:
            return address_name(inner.socket.getpeername())
        except OSError:
            return "a peer that has gone"
    return type(stream).__name__


def address_name(address: Any) -> str:
    """Write a socket's address as `host:port`."""
    match address:
        case [host, port, *_]:
            return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
        case _:
            return str(address) or "a local socket"
