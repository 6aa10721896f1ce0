"""Connections that an ASGI server has, through Starlette (FastAPI) or Quart.

Neither is imported: only their objects are looked at.  An ASGI application cannot send pings, and
cannot drop a connection: whoever calls it does that when its handler returns.  The server has read
a message as a whole before we see it, so its own limit on sizes holds.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import trio

from ._shared_stream import address_name
from ._transport import LinkClosed, Transport, again, check_offered

__all__ = ["QuartTransport", "StarletteTransport"]

# Seconds that the peer has to answer a close.  A server that is being shut down does not even look
# for the answer.
DRAIN = 1.0


class _ASGITransport(Transport):
    """What both have in common: an end that is noticed once, and wakes who receives."""

    def __init__(self, websocket: Any, offers: Sequence[str]) -> None:
        self.websocket = websocket
        self.peer = address_name(websocket.scope.get("client") or "an ASGI client")
        self.offers = tuple(offers)
        self._receiving: trio.CancelScope | None = None
        self._reader = trio.Lock()
        self._said: LinkClosed | None = None  # how we have begun to close it

    def _lose(self, end: LinkClosed) -> None:
        if self.lost is None:
            self.lost = self._said or end
        if self._receiving is not None:
            self._receiving.cancel(reason="the connection has ended")

    async def receive(self) -> bytes | str:
        """Return the next message."""
        try:
            self._reader.acquire_nowait()
        except trio.WouldBlock:  # the other one closes, and takes what comes meanwhile
            await self._reader.acquire()
        try:
            if self.lost is None:
                with trio.CancelScope() as self._receiving:
                    return await self._next()
            else:
                await trio.lowlevel.checkpoint()
        except LinkClosed as end:
            self._lose(end)
        finally:
            self._receiving = None
            self._reader.release()
        raise again(self.lost)

    async def send(self, frames: Sequence[bytes]) -> None:
        """Send binary messages, one after the other."""
        # Hypercorn throws away what is sent after the connection was lost, and without a schedule
        # point: a loop that sends would never let the task run that learns of the loss.
        await trio.lowlevel.checkpoint()
        for frame in frames:
            if end := self.lost or self._said:
                raise again(end)
            try:
                await self._write(frame)
            except LinkClosed as end:
                self._lose(end)
                raise

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close with a handshake, as far as the server makes one."""
        if self.lost is not None or self._said is not None:
            await trio.lowlevel.checkpoint()
            return
        self._said = LinkClosed(code, reason, "us")
        try:
            await self._close(code, reason.encode()[:123].decode(errors="ignore"))
            # What still comes in has to be taken: Hypercorn's queue has ten places, and while it is
            # full, the server cannot see the end of the connection.
            with trio.move_on_after(DRAIN):
                while True:
                    await self.receive()
        except LinkClosed:
            pass
        self._lose(self._said)

    async def abort(self) -> None:
        """Have nothing more to do with the connection: the server drops it after the handler."""
        self._lose(LinkClosed(reason="dropped", by="us"))
        await trio.lowlevel.cancel_shielded_checkpoint()

    @abstractmethod
    async def _next(self) -> bytes | str: ...

    @abstractmethod
    async def _write(self, frame: bytes) -> None: ...

    @abstractmethod
    async def _close(self, code: int, reason: str) -> None: ...


class StarletteTransport(_ASGITransport):
    """A `WebSocket` of Starlette or FastAPI."""

    def __init__(self, websocket: Any) -> None:
        super().__init__(websocket, websocket.scope.get("subprotocols") or ())

    @property
    def accepted(self) -> bool:
        """Whether we or the handler have answered."""
        accepted: bool = self.websocket.application_state.name != "CONNECTING"
        return accepted

    async def accept(self, subprotocol: str | None = None) -> None:
        """Accept, unless the handler did."""
        await trio.lowlevel.checkpoint()
        if self.lost is not None:
            raise again(self.lost)
        state = self.websocket.application_state.name
        if state == "CONNECTED":
            return
        if state != "CONNECTING" or self.websocket.client_state.name == "DISCONNECTED":
            self._lose(LinkClosed(reason="it was closed before it was accepted"))
            raise again(self.lost)
        check_offered(subprotocol, self.offers)
        try:
            await self.websocket.accept(subprotocol=subprotocol)
        except RuntimeError as error:
            raise LinkClosed(reason=str(error)) from error
        self.subprotocol = subprotocol

    async def _next(self) -> bytes | str:
        try:
            message = await self.websocket.receive()
            if message["type"] == "websocket.connect":  # what is read before an accept
                message = await self.websocket.receive()
        except RuntimeError as error:
            raise LinkClosed(reason=str(error)) from error
        if message["type"] == "websocket.disconnect":
            code = message.get("code") or 1005
            # Servers give 1006 for much more than a broken connection, and some for everything.
            reason = message.get("reason") or ""
            raise LinkClosed(code, reason, "network" if code == 1006 else "peer")
        data: bytes | str | None = message.get("bytes")
        return message.get("text") or "" if data is None else data

    async def _write(self, frame: bytes) -> None:
        gone = sys.modules["starlette.websockets"].WebSocketDisconnect
        try:
            await self.websocket.send_bytes(frame)
        except (gone, RuntimeError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkClosed(reason=str(error)) from error

    async def _close(self, code: int, reason: str) -> None:
        gone = sys.modules["starlette.websockets"].WebSocketDisconnect
        try:
            await self.websocket.close(code, reason)
        except (gone, RuntimeError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise LinkClosed(reason=str(error)) from error


class QuartTransport(_ASGITransport):
    """Quart's `websocket`, to be made in its handler.

    Quart tells of a disconnect by cancelling the handler, and in no other way.  So a task of ours
    goes into the nursery that is cancelled then: the end is noticed also where the connection is
    used by tasks that the handler does not own.
    """

    def __init__(self, websocket: Any) -> None:
        super().__init__(websocket, websocket.requested_subprotocols)
        self._accepted = False
        self._over = trio.Event()
        nursery = _handler_nursery()
        if nursery is not None:
            nursery.start_soon(self._watch, name=f"watch over {self.peer}")

    async def _watch(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self._lose(LinkClosed(reason="the handler's connection is over"))

    def _lose(self, end: LinkClosed) -> None:
        super()._lose(end)
        self._over.set()

    async def early(self) -> bytes | str:
        """Return the next message, or wait for the end where reading would accept."""
        if self._accepted:
            return await self.receive()
        await self._over.wait()
        raise again(self.lost)

    async def accept(self, subprotocol: str | None = None) -> None:
        """Accept, unless the handler did."""
        check_offered(subprotocol, self.offers)
        await trio.lowlevel.checkpoint()
        if self.lost is not None:
            raise again(self.lost)
        await self.websocket.accept(subprotocol=subprotocol)
        self._accepted = True

    async def _next(self) -> bytes | str:
        if self._said is not None and not self._accepted:
            raise LinkClosed  # Quart would accept now
        try:
            message: bytes | str | None = await self.websocket.receive()
        except _client_gone() as error:
            raise LinkClosed(reason="the client has gone") from error
        return b"" if message is None else message  # an empty binary message, in Quart 0.22

    async def _write(self, frame: bytes) -> None:
        try:
            await self.websocket.send(frame)
        except _client_gone() as error:
            raise LinkClosed(reason="the client has gone") from error
        self._accepted = True

    async def _close(self, code: int, reason: str) -> None:
        gone: tuple[type[Exception], ...] = (RuntimeError, *_client_gone())
        try:
            await self.websocket.close(code, reason)
        except gone as error:
            raise LinkClosed(reason=str(error)) from error


def _client_gone() -> tuple[type[Exception], ...]:
    """Return what Quart raises at a disconnect, from 0.23 on."""
    error: type[Exception] | None = getattr(
        sys.modules["quart.wrappers.base"], "ClientDisconnectedError", None
    )
    return () if error is None else (error,)


def _handler_nursery() -> trio.Nursery | None:
    """Find the nursery that Quart runs this task's handler in, and cancels at a disconnect."""
    task = trio.lowlevel.current_task()
    while (nursery := task.parent_nursery) is not None:
        if "ASGIWebsocketConnection.handle_websocket" in task.name:
            return nursery
        task = nursery.parent_task
    return None
