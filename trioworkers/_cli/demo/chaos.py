"""The link of `demo --chaos`: a relay in the first process, which resets what it carries.

The proxies do not know of it.  To them it looks as if the network failed, in mid-message or in the
midst of a handshake; the session between them goes on over the next connection.
"""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import trio

from .files import Root, find_files
from .words import count_files

__all__ = ["Relay", "recount", "relay_to"]

_LEAST, _MOST = 1_500, 8_000
"""How many bytes a connection carries before it is cut, handshakes included."""

_NOW = struct.pack("ii", 1, 0)
"""Close without a goodbye: the other end gets a reset."""


class Relay:
    """Passes bytes between the two processes, and cuts so many of its connections."""

    def __init__(self, port: int, cuts: int) -> None:
        """Make it.

        Args:
            port: where the second process listens.
            cuts: how many connections to cut.
        """
        self._target = port
        self._left = cuts
        self.cuts: int = 0
        """How many connections were cut."""

        self.gone: trio.Event = trio.Event()
        """Set when the second process cannot be reached any more."""

    @property
    def done(self) -> bool:
        """Whether all were cut that were to be."""
        return self._left <= 0

    async def carry(self, near: trio.SocketStream) -> None:
        """Carry one connection."""
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self._target)
        except OSError:
            self.gone.set()
            await trio.aclose_forcefully(near)
            return
        flow = _Flow(random.randint(_LEAST, _MOST) if self._left > 0 else None)
        async with far, near:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(flow.run, near, far, nursery.cancel_scope)
                nursery.start_soon(flow.run, far, near, nursery.cancel_scope)
            if flow.exhausted and self._left > 0:
                self._left -= 1
                self.cuts += 1
                _reset(near)
                _reset(far)


class _Flow:
    """Both directions of one connection, up to so many bytes."""

    def __init__(self, room: int | None) -> None:
        self._room = room

    @property
    def exhausted(self) -> bool:
        """Whether it has carried all that it may."""
        return self._room is not None and self._room <= 0

    async def run(
        self, source: trio.SocketStream, sink: trio.SocketStream, both: trio.CancelScope
    ) -> None:
        """Pass on, until an end has gone or no more may be carried."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(65_536):
                passed = data if self._room is None else data[: max(self._room, 0)]
                if self._room is not None:
                    self._room -= len(passed)
                await sink.send_all(passed)
                if self.exhausted:
                    break
        both.cancel(reason="the connection is over")


def _reset(end: trio.SocketStream) -> None:
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NOW)
    end.socket.close()


@asynccontextmanager
async def relay_to(port: int, cuts: int) -> AsyncGenerator[tuple[Relay, int]]:
    """Run a relay to a port of this machine for the time of a block; gives its own port, too."""
    relay = Relay(port, cuts)
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, relay.carry, [listener])
        yield relay, listener.socket.getsockname()[1]
        nursery.cancel_scope.cancel(reason="the demo is over")


def recount(roots: Sequence[Root]) -> tuple[int, Counter[str]]:
    """Count without any worker or link: how many files there are, and the words in them."""
    words: Counter[str] = Counter()
    steps = count_files(find_files(roots).files, words)
    return sum(len(step.files) for step in steps), words
