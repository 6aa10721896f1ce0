"""The opening handshakes of `websockets`, which is an extra: imported when asked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidStatus
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI

from ._handshakes import Address, Asked, RawHeaders, Refused
from ._line import Line
from ._shared_stream import READ, SharedStream
from ._transport import LinkClosed
from ._websockets import WebsocketsTransport

__all__ = ["hear_client", "open_client"]

_BROKEN = (trio.BrokenResourceError, trio.ClosedResourceError)


async def open_client(
    line: Line,
    address: Address,
    headers: RawHeaders,
    subprotocols: Sequence[str],
    max_message_size: int,
) -> WebsocketsTransport:
    """Ask a server for a connection, as `Handshakes` says."""
    uri = WebSocketURI(
        secure=address.secure, host=address.host, port=address.port, path=address.resource, query=""
    )
    offers = [Subprotocol(each) for each in subprotocols]
    protocol = ClientProtocol(uri, subprotocols=offers or None, max_size=max_message_size)

    async def shake(readers: trio.Nursery) -> WebsocketsTransport:
        protocol.send_request(protocol.connect())
        request = b"".join(protocol.data_to_send())
        lines = [name + b": " + value + b"\r\n" for name, value in headers]
        # By hand: how the core encodes what is no ASCII depends on its version.
        await line.stream.send_all(b"".join((request[:-2], *lines, b"\r\n")))
        events = await _first_events(line.stream, protocol)
        problem = protocol.handshake_exc
        if isinstance(problem, InvalidStatus):
            raise Refused(problem.response.status_code, bytes(problem.response.body or b""))
        if problem is not None:
            raise LinkClosed(reason=_named(problem)) from problem
        transport = WebsocketsTransport(protocol, line, max_message_size, tuple(subprotocols))
        readers.start_soon(transport.read, events[1:])
        return transport

    return await line.shake_hands(shake)


async def hear_client(line: Line, max_message_size: int) -> Asked:
    """Wait for a client's request, as `Handshakes` says."""
    offers: list[str] = []

    def note(_: ServerProtocol, offered: Sequence[Subprotocol]) -> None:
        offers.extend(offered)

    protocol = ServerProtocol(select_subprotocol=note, max_size=max_message_size)

    async def shake(readers: trio.Nursery) -> Asked:
        events = await _first_events(line.stream, protocol)
        request = events[0] if events else None
        if isinstance(request, Request):
            try:
                response = _judged(protocol, request)
            except Exception as error:
                # Older versions raise about text that is no ASCII; nobody else is to hear of that.
                raise LinkClosed(reason=_named(error)) from error
            if response.status_code == 101:
                transport = WebsocketsTransport(
                    protocol, line, max_message_size, tuple(offers), response
                )
                readers.start_soon(transport.read)
                raw = [(_raw(name), _raw(value)) for name, value in request.headers.raw_items()]
                return Asked(request.path, raw, tuple(offers), transport, transport.refuse)
            protocol.send_response(response)
        with suppress(*_BROKEN):
            await line.stream.send_all(b"".join(protocol.data_to_send()))
        raise LinkClosed(reason=_named(protocol.handshake_exc))

    return await line.shake_hands(shake)


def _judged(protocol: ServerProtocol, request: Request) -> Response:
    """Return what a request is to be answered with: status 101, or why it is none."""
    if len(request.headers.get_all("Host")) != 1 or not request.path.isascii():
        return protocol.reject(400, "The request must have one Host, and ASCII in its path.\n")
    return protocol.accept(request)


async def _first_events(
    stream: SharedStream, protocol: ClientProtocol | ServerProtocol
) -> list[object]:
    """Read until the core tells of a request or response, or that there will be none.

    Raises:
        LinkClosed: the connection is broken.
    """
    while not (events := list[object](protocol.events_received())):
        if protocol.handshake_exc is not None:
            break
        try:
            data = await stream.receive_some(READ)
        except _BROKEN as error:
            raise LinkClosed(reason=f"{type(error).__name__}: {error}") from error
        if data:
            protocol.receive_data(bytes(data))
        else:
            protocol.receive_eof()
    return events


def _named(problem: Exception | None) -> str:
    """Say what is wrong with a handshake; not with which value, as that may be a secret."""
    if problem is None:
        return "the request is not as HTTP wants it"
    name = type(problem.__cause__ or problem).__name__
    header = getattr(problem, "name", None)
    return f"{name}: {header}" if isinstance(header, str) and header else name


def _raw(text: str) -> bytes:
    """Return a header as it was sent: in older versions what is no ASCII was escaped."""
    return text.encode("latin-1", "surrogateescape")
