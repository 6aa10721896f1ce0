"""What is under a connection of ours: its stream, and the task that reads it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import trio
from trio_websocket import HandshakeError

from ._shared_stream import SharedStream, drop
from ._transport import LinkClosed

__all__ = ["Line"]

T = TypeVar("T")

# What a handshake may have.  A body that goes with a refusal counts.
HANDSHAKE_LIMIT = 262_144

# How long the reader outlives the cancellation of what is round it, for the closing handshake.
LINGER = 10.0


class Line:
    """Runs a reader task so that it harms nobody, and outlives a cancellation.

    Three things about that task, which is trio-websocket's or ours: it raises whatever the peer's
    bytes provoke in the libraries below it, which would bring down its nursery; nobody hears of its
    end who waits for the opening handshake; and without it there is no closing handshake, so it
    must not be cancelled with the task that is about to close.

    Args:
        stream: what to read from and write to; this object owns it.
        nursery: where the reader runs.
    """

    def __init__(self, stream: trio.abc.Stream, nursery: trio.Nursery) -> None:
        self.stream: SharedStream = SharedStream(stream, HANDSHAKE_LIMIT)
        self.crash: Exception | None = None
        self.done: trio.Event = trio.Event()
        self._nursery = nursery
        self._scope = trio.CancelScope()
        self._shaking: trio.CancelScope | None = None

    async def shake_hands(self, wrap: Callable[[trio.Nursery], Awaitable[T]]) -> T:
        """Call `wrap`, which does the opening handshake, until it returns or the connection ends.

        A checkpoint; takes any time.  Whatever it raises, `abort` has to follow.

        Args:
            wrap: gets what it is to start the reader in.

        Raises:
            LinkClosed: the connection has ended, or the peer talks nonsense.
            trio_websocket.HandshakeError: the reader is trio-websocket's, and the server has
                answered that it refuses.
            Exception: whatever `wrap` has raised.
        """
        with trio.CancelScope() as self._shaking:
            result = await wrap(cast("trio.Nursery", self))  # it calls start_soon, and no more
            self._shaking = None
            self._scope.shield = True
            return result
        if isinstance(self.crash, HandshakeError):
            raise self.crash
        text = "the connection was closed during the opening handshake"
        if self.crash is not None:
            text = f"{type(self.crash).__name__}: {self.crash}"
        raise LinkClosed(reason=text) from self.crash

    def start_soon(self, reader: Callable[..., Awaitable[Any]], *args: object) -> None:
        """Start the reader task: the one thing that `wrap` asks of a nursery."""
        self._nursery.start_soon(self._read, reader, *args, name=f"reader of {self.stream.peer}")

    async def _read(self, reader: Callable[..., Awaitable[Any]], *args: object) -> None:
        try:
            with self._scope:
                await reader(*args)
        except Exception as error:  # noqa: BLE001 - the end of one connection
            self.crash = error
        finally:
            self.done.set()
            if self._shaking is not None:
                self._shaking.cancel(reason="the connection has ended")

    async def limit_reader(self) -> None:
        """Wait for the reader's end; once cancelled, see to it that it comes soon.

        To be started beside the reader if nothing else makes sure that `abort` is called.
        """
        try:
            await self.done.wait()
        finally:
            self._scope.deadline = min(self._scope.deadline, trio.current_time() + LINGER)

    async def hang_up(self) -> None:
        """Tell the peer that nothing more comes, and wait until it has closed its end.

        A checkpoint; takes any time.  For what is no WebSocket connection yet, or no more.
        """
        await self.stream.send_eof()
        await self.done.wait()

    async def abort(self) -> None:
        """Drop the connection now, without waiting.  Works in a cancelled scope, and twice."""
        self._scope.cancel(reason="the connection is dropped")
        await drop(self.stream)
