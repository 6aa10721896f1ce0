"""A request for a connection, as `serve_proxies` shows it to `authenticate` and `build`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import attrs

from ._handshakes import Refuse, handshakes_of
from ._line import Line
from ._transport import LinkClosed, Transport

__all__ = ["Headers", "IncomingConnection", "receive_request", "reject"]


class Headers(Mapping[str, str]):
    """The headers of a request, by name in any case.

    Several of one name are joined by `", "`.
    """

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values: dict[str, str] = {}
        for key, value in raw:
            name, text = key.decode("latin-1").lower(), value.decode("latin-1")
            self._values[name] = f"{self._values[name]}, {text}" if name in self._values else text

    def __getitem__(self, name: str) -> str:
        return self._values[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        # Values may be secrets, and this gets into logs.
        return f"<Headers {', '.join(self._values)}>"


@attrs.frozen(eq=False)
class IncomingConnection:
    """A WebSocket connection that was asked for and not accepted yet."""

    path: str
    """The path of the URL, with the query."""

    headers: Headers
    """The request's headers: `headers.get("authorization")`."""

    remote: str
    """Who asks: `"127.0.0.1:5123"`."""

    offers: tuple[str, ...]
    """The subprotocols that the client offers."""

    transport: Transport = attrs.field(repr=False)
    """What is behind it; for the proxies."""


async def receive_request(
    line: Line, max_message_size: int, transport: str = "trio-websocket"
) -> tuple[IncomingConnection, Refuse]:
    """Wait for the request of a client that has connected.

    A checkpoint; takes any time, so bound it.  In any case the line has to be aborted in the end.

    Args:
        line: the connection.
        max_message_size: in bytes; a longer message will close the connection with 1009.
        transport: what is to carry it, as for `handshakes_of`.

    Returns:
        What to show to others, and what to answer with if it is to be rejected.

    Raises:
        LinkClosed: the client has gone, or has sent something else.
    """
    asked = await handshakes_of(transport).hear_client(line, max_message_size)
    incoming = IncomingConnection(
        asked.path, Headers(asked.headers), line.stream.peer, asked.offers, asked.transport
    )
    return incoming, asked.refuse


async def reject(
    line: Line, refuse: Refuse, status: int, reason: str, challenge: str | None = None
) -> None:
    """Answer a request with an HTTP status, and let the client close the connection.

    A checkpoint; takes any time, so bound it.

    Args:
        line: the connection.
        refuse: as `receive_request` has returned it.
        status: the HTTP status.
        reason: told to the client.
        challenge: for 401, how it could do better.
    """
    headers = [(b"Content-Type", b"text/plain"), (b"Connection", b"close")]
    if challenge is not None:
        headers.append((b"WWW-Authenticate", challenge.encode()))
    try:
        await refuse(status, headers, reason.encode() + b"\n")
    except LinkClosed:
        return
    await line.hang_up()
