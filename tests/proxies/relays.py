"""A relay between two real sockets, which passes on as much as the test lets it."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable

import trio

from tests.proxies.links import reset

BUFFER = 8192
"""How much the relay's own receive buffer takes in, about: so little that a sender must wait."""


class Flow:
    """One direction: passes on bytes up to a limit, and counts them."""

    def __init__(self) -> None:
        self.passed = 0
        self._limit: int | None = None
        self._reached: Callable[[], object] | None = None
        self._changed = trio.Event()

    def allow(self, more: int | None, reached: Callable[[], object] | None = None) -> None:
        """Let so many bytes more through, then none; `reached` is called there.  None: no limit."""
        self._limit = None if more is None else self.passed + more
        self._reached = reached
        self._changed.set()
        self._changed = trio.Event()

    async def run(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        """Pass on, until an end has gone."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                while self._limit is not None and self.passed >= self._limit:
                    if (reached := self._reached) is not None:
                        self._reached = None
                        reached()
                    else:
                        await self._changed.wait()
                room = 65_536 if self._limit is None else self._limit - self.passed
                data = await source.receive_some(min(room, 65_536))
                if not data:
                    break
                self.passed += len(data)
                await sink.send_all(data)
            await sink.send_eof()


class Relay:
    """Where clients connect instead of to the server."""

    def __init__(self, port: int, target: int) -> None:
        self.port = port
        self.up, self.down = Flow(), Flow()
        self._target = target
        self._streams: list[trio.SocketStream] = []

    def allow_all(self) -> None:
        """Let everything through again, and fast."""
        for each in self._streams:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**20)
        self.up.allow(None)
        self.down.allow(None)

    def cut(self) -> None:
        """Reset the connection, at both ends."""
        for each in self._streams:
            with contextlib.suppress(OSError):
                reset(each)
            each.socket.close()

    async def handle(self, client: trio.SocketStream) -> None:
        """Pass on the bytes of one connection."""
        far = trio.socket.socket()
        far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        await far.connect(("127.0.0.1", self._target))
        async with trio.SocketStream(far) as server:
            self._streams = [client, server]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.up.run, client, server)
                nursery.start_soon(self.down.run, server, client)


@contextlib.asynccontextmanager
async def relay(target: int) -> AsyncIterator[Relay]:
    """Run a relay to a port of this machine."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        listener.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        made = Relay(listener.socket.getsockname()[1], target)
        await nursery.start(trio.serve_listeners, made.handle, [listener])
        yield made
        nursery.cancel_scope.cancel()
