"""WebSocket connections of every kind, behind one interface.

`transport_for` takes what the server proxy is given as `websocket=`.  Starlette and Quart are never
imported here: an object of theirs can only exist if they are.
"""

from __future__ import annotations

import sys
from typing import Any
from weakref import WeakSet

from trio_websocket import WebSocketConnection, WebSocketRequest

from ._asgi import QuartTransport, StarletteTransport
from ._incoming import IncomingConnection
from ._transport import LinkClosed, Transport
from ._trio_websocket import TrioTransport

__all__ = ["IncomingConnection", "LinkClosed", "Transport", "claim", "transport_for"]

# The connections that proxies have.  A second one would take messages away from the first.
_CLAIMED: WeakSet[Any] = WeakSet()


def claim(websocket: Any) -> Transport:
    """Recognise a WebSocket connection, wrap it, and let nobody claim it again.

    Args:
        websocket: as for `transport_for`.

    Raises:
        TypeError: it is something else.
        ValueError: it has been claimed.
        RuntimeError: it is Quart's `websocket`, and this is no handler of Quart's.
    """
    transport = transport_for(websocket)
    connection = transport.websocket
    if connection in _CLAIMED:
        raise ValueError(
            "this websocket has a proxy already: each pair of workers needs a connection of its own"
        )
    _CLAIMED.add(connection)
    return transport


def transport_for(websocket: Any) -> Transport:
    """Recognise a WebSocket connection, and wrap it.  Call it once for each connection.

    Args:
        websocket: what `serve_proxies` gives to `build`; or a `WebSocketRequest` or
            `WebSocketConnection` of trio-websocket, a `WebSocket` of Starlette or FastAPI, or
            Quart's `websocket`, in its handler; accepted or not yet.  Or a `Transport`, which is
            returned.

    Raises:
        TypeError: it is something else.
        RuntimeError: it is Quart's `websocket`, and this is no handler of Quart's.
    """
    local = _found("werkzeug.local", "LocalProxy")
    if local is not None and type(websocket) is local:
        websocket = websocket._get_current_object()
    if isinstance(websocket, Transport):
        return websocket
    if isinstance(websocket, IncomingConnection):
        return websocket.transport
    if isinstance(websocket, WebSocketConnection | WebSocketRequest):
        return TrioTransport(websocket)
    starlette = _found("starlette.websockets", "WebSocket")
    if starlette is not None and isinstance(websocket, starlette):
        return StarletteTransport(websocket)
    quart = _found("quart.wrappers.websocket", "Websocket")
    if quart is not None and isinstance(websocket, quart):
        return QuartTransport(websocket)
    raise TypeError(
        "websocket must be a WebSocket connection of trio-websocket, Starlette, FastAPI or Quart, "
        f"or what serve_proxies() gives to build(), not {websocket!r}"
    )


def _found(module: str, name: str) -> Any:
    """Return a class of a module that somebody has imported; else None."""
    return getattr(sys.modules.get(module), name, None)
