"""Opening handshakes, by whichever library carries the connection."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module
from typing import Literal, Protocol, TypeAlias, cast

import attrs

from ._line import Line
from ._transport import Transport

__all__ = [
    "PORTS",
    "Address",
    "Asked",
    "Handshakes",
    "RawHeaders",
    "Refuse",
    "Refused",
    "TransportName",
    "handshakes_of",
]

TransportName: TypeAlias = Literal["trio-websocket", "websockets"]

RawHeaders: TypeAlias = Sequence[tuple[bytes, bytes]]

Refuse: TypeAlias = Callable[[int, RawHeaders, bytes], Awaitable[None]]
"""Answers a request with an HTTP status, headers and a text.  A checkpoint; takes any time.

It raises LinkClosed if the client has gone.
"""

_MODULES: dict[str, str] = {
    "trio-websocket": "._trio_handshakes",
    # Imported where somebody asks for it, and never before: it is an extra.
    "websockets": "._websockets_handshakes",
}

PORTS = {"ws": 80, "wss": 443}


@attrs.frozen
class Address:
    """Where a WebSocket URL leads."""

    host: str
    port: int
    resource: str
    secure: bool

    @property
    def authority(self) -> str:
        """The host, with the port unless it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = PORTS["wss" if self.secure else "ws"]
        return host if self.port == usual else f"{host}:{self.port}"


@attrs.frozen
class Asked:
    """What a client has asked for."""

    path: str
    headers: RawHeaders
    offers: tuple[str, ...]
    transport: Transport
    refuse: Refuse


class Refused(Exception):
    """A server has answered that there will be no WebSocket connection.

    Attributes:
        status: the HTTP status.
        body: the text that came with it.
    """

    def __init__(self, status: int, body: bytes) -> None:
        """Take the status and the text."""
        super().__init__(f"HTTP status {status}")
        self.status: int = status
        self.body: bytes = body


class Handshakes(Protocol):
    """Both sides of the opening handshake: what a module for one library has.

    Whatever either of them raises, the line has to be aborted.
    """

    async def open_client(
        self,
        line: Line,
        address: Address,
        headers: RawHeaders,
        subprotocols: Sequence[str],
        max_message_size: int,
    ) -> Transport:
        """Ask a server for a connection, and return it when the server has accepted.

        A checkpoint; takes any time.

        Raises:
            Refused: the server has answered, with another status than 101.
            Exception: the connection has ended, or what answers is no WebSocket server.
        """
        ...

    async def hear_client(self, line: Line, max_message_size: int) -> Asked:
        """Wait for the request of a client that has connected.  A checkpoint; takes any time.

        Raises:
            LinkClosed: the client has gone, or has sent something else.
        """
        ...


def handshakes_of(transport: str) -> Handshakes:
    """Return the handshakes by the name that users give to a library.

    Args:
        transport: one of `TransportName`.

    Raises:
        ImportError: the library is an extra that is not installed.
        ValueError: there is no such transport.
    """
    if transport not in _MODULES:
        known = " or ".join(repr(each) for each in _MODULES)
        raise ValueError(f"transport must be {known}, not {transport!r}")
    try:
        module = import_module(_MODULES[transport], __package__)
    except ImportError as error:
        raise ImportError(
            f"transport={transport!r} needs an extra that is not installed, or is too old: "
            "pip install 'trioworkers[websockets]'"
        ) from error
    return cast("Handshakes", module)
