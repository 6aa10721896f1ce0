"""The opening handshakes of trio-websocket."""

from __future__ import annotations

from collections.abc import Sequence

import trio
from trio_websocket import (
    ConnectionClosed,
    ConnectionRejected,
    WebSocketConnection,
    WebSocketRequest,
    wrap_client_stream,
    wrap_server_stream,
)

from ._handshakes import Address, Asked, RawHeaders, Refused
from ._line import Line
from ._shared_stream import READ
from ._transport import LinkClosed
from ._trio_websocket import TrioTransport

__all__ = ["hear_client", "open_client"]


async def open_client(
    line: Line,
    address: Address,
    headers: RawHeaders,
    subprotocols: Sequence[str],
    max_message_size: int,
) -> TrioTransport:
    """Ask a server for a connection, as `Handshakes` says."""

    async def wrap(nursery: trio.Nursery) -> WebSocketConnection:
        return await wrap_client_stream(
            nursery,
            line.stream,  # type: ignore[arg-type] # any stream will do
            address.authority,
            address.resource,
            subprotocols=subprotocols,
            extra_headers=list(headers),
            max_message_size=max_message_size,
            receive_buffer_size=READ,
        )

    try:
        connection = await line.shake_hands(wrap)
    except ConnectionRejected as refusal:
        raise Refused(refusal.status_code, refusal.body or b"") from None
    return TrioTransport(connection, line, tuple(subprotocols), max_message_size)


async def hear_client(line: Line, max_message_size: int) -> Asked:
    """Wait for a client's request, as `Handshakes` says."""

    async def wrap(nursery: trio.Nursery) -> WebSocketRequest:
        return await wrap_server_stream(
            nursery, line.stream, max_message_size=max_message_size, receive_buffer_size=READ
        )

    request = await line.shake_hands(wrap)

    async def refuse(status: int, headers: RawHeaders, body: bytes) -> None:
        try:
            await request.reject(status, extra_headers=list(headers), body=body)
        except ConnectionClosed as error:
            raise LinkClosed from error

    transport = TrioTransport(request, line, max_message_size=max_message_size)
    offers = request.proposed_subprotocols
    return Asked(request.path, request.headers, offers, transport, refuse)
