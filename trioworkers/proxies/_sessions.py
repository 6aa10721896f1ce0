"""Sessions that outlive their connections: where a client that comes back finds its proxy.

A session is named by where both sides have met: of the two names in that, nobody but they know.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, TypeAlias

import trio

from ..errors import RemoteWireError
from ..wire import chunks
from ..wire.chunks import Kind
from ..wire.epoch import Epoch
from ._native import SUBPROTOCOL, is_hello
from ._transport import LinkClosed, Transport
from .transports import claim, transport_for

__all__ = ["Resumable", "Returns", "continue_session", "forget", "keep"]

HELLO_SECONDS = 10.0
"""Seconds that a client has for its hello, while there is anything to go on with."""


class Resumable(Protocol):
    """A proxy that goes on over another connection."""

    async def go_on(self, transport: Transport) -> None:
        """Take another connection of the same client; return when that is over."""
        ...


class Returns:
    """The connections with which the client of one session comes back; the last one counts."""

    def __init__(self) -> None:
        """Begin without one."""
        # What nobody has taken yet, and what says when it is over.
        self._next: tuple[Transport, trio.Event] | None = None
        self._given_up = False
        self._changed = trio.Event()

    @property
    def pending(self) -> bool:
        """Whether there is one that nobody has taken."""
        return self._next is not None

    def offer(self, transport: Transport) -> trio.Event:
        """Let one be taken, in the place of any before; return what is set when it is over."""
        self.turn_away()
        over = trio.Event()
        self._next = transport, over
        self._changed.set()
        return over

    def withdraw(self, over: trio.Event) -> bool:
        """Let one not be taken any more; False if it was."""
        if self._next is None or self._next[1] is not over:
            return False
        self._next = None
        return True

    def turn_away(self) -> None:
        """Say of what nobody has taken that it is over."""
        if self._next is not None:
            self._next[1].set()
            self._next = None

    def give_up(self) -> None:
        """Let nobody wait any longer."""
        self._given_up = True
        self._changed.set()

    async def take(self, until: float) -> tuple[Transport, trio.Event] | None:
        """Wait for one; return it, and what is to be set when it is over.

        A checkpoint.

        Args:
            until: how long, in trio time; what comes later is not taken.

        Returns:
            None if there is none, or nobody is to wait for it.
        """
        with trio.move_on_at(until) as waiting:
            await trio.lowlevel.checkpoint()
            # What was offered may have been withdrawn since.
            while self._next is None and not self._given_up:
                self._changed = trio.Event()
                await self._changed.wait()
        given_up, self._given_up = self._given_up, False
        if waiting.cancelled_caught or given_up:
            return None
        found, self._next = self._next, None
        return found


# What a session is found by: what that is, and the text.  A client must not be able to say, as its
# name, what another one says as its meeting.
_Key: TypeAlias = tuple[Literal["meeting", "name"], str]

# Of each trio run its own: a proxy cannot take a connection of another loop.
_kept: trio.lowlevel.RunVar[dict[_Key, Resumable]] = trio.lowlevel.RunVar("sessions")


def _table() -> dict[_Key, Resumable]:
    try:
        return _kept.get()
    except LookupError:
        table: dict[_Key, Resumable] = {}
        _kept.set(table)
        return table


def keep(epoch: Epoch | None, proxy: Resumable) -> None:
    """Let the client find its proxy by the session of `epoch`, if it is kept; and by no other."""
    forget(proxy)
    if epoch is None or epoch.meeting is None:
        return
    table = _table()
    table["meeting", epoch.meeting] = proxy
    # A client that has never heard our hello knows no meeting, but will not change its own name.
    one, _, other = epoch.meeting.partition(" ")
    peer = other if one.startswith(f"{epoch.name}.") else epoch.meeting.rpartition(" ")[0]
    if name := _lasting(peer):
        table["name", name] = proxy


def forget(proxy: Resumable) -> None:
    """Let nobody find a proxy any more."""
    table = _table()
    for name in [name for name, each in table.items() if each is proxy]:
        del table[name]


def _lasting(name: str) -> str:
    """Return what of a client's name is the same for each of its connections."""
    return name.rpartition(".")[0]


async def continue_session(websocket: Any) -> Any:
    """Hand a new connection to the proxy whose session its client wants to go on with.

    For servers of your own whose proxies have `delivery="at_least_once"`; `serve_proxies` does it
    by itself.  Call it before you make a proxy for `websocket`.  A checkpoint; if there is such a
    proxy it returns when the connection is over.

    Args:
        websocket: as for `WebSocketProxyServer`; not used by any proxy yet.

    Returns:
        None if the connection was handed over, or is over already; else what to pass to a new
        proxy as `websocket=`.

    Raises:
        TypeError: it is no WebSocket connection.
        ValueError: it has a proxy already.
    """
    transport = transport_for(websocket)
    await trio.lowlevel.checkpoint()
    offers = transport.offers
    if not _table() or SUBPROTOCOL not in (offers or (transport.subprotocol,)):
        return transport
    try:
        with trio.move_on_after(HELLO_SECONDS):
            await transport.accept(SUBPROTOCOL if offers else None)
            transport.unread = (await transport.receive(),)
    except LinkClosed:
        await transport.abort()
        return None
    proxy = _proxy_of(transport.unread[0]) if transport.unread else None
    if proxy is None:
        return transport
    await proxy.go_on(claim(transport))
    return None


def _proxy_of(frame: bytes | str) -> Resumable | None:
    """Return the proxy whose session a hello wants to go on with, if there is one."""
    if not is_hello(frame):
        return None
    try:
        for kind, said in chunks.parse(frame):
            if kind is Kind.HELLO:
                return _proxy_named(said.get("meeting"), said.get("name"))
    except RemoteWireError:
        # It will be told so by the proxy that is made for it.
        pass
    return None


def _proxy_named(meeting: Any, name: Any) -> Resumable | None:
    table = _table()
    if isinstance(meeting, str) and (proxy := table.get(("meeting", meeting))):
        return proxy
    return table.get(("name", _lasting(name))) if isinstance(name, str) else None
