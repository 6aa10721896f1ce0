"""WebSocket connections of every kind, behind one interface.

`transport_for` takes what the server proxy is given as `websocket=`.  Starlette and Quart are never
imported here: an object of theirs can only exist if they are.
"""

from __future__ import annotations

from typing import Any

from ._transport import LinkClosed, Transport

__all__ = ["LinkClosed", "Transport", "transport_for"]


def transport_for(websocket: Any) -> Transport:
    """Recognise a WebSocket connection, and wrap it.

    Args:
        websocket: what `serve_proxies` gives to `build`; or a `WebSocketRequest` or
            `WebSocketConnection` of trio-websocket, a `WebSocket` of Starlette or FastAPI, or
            Quart's `websocket`; accepted or not yet.  Or a `Transport`, which is returned.

    Raises:
        TypeError: it is something else.
    """
    if isinstance(websocket, Transport):
        return websocket
    raise TypeError(
        f"websocket must be a WebSocket connection of trio-websocket, Starlette, FastAPI or Quart, "
        f"or what serve_proxies() gives to build(), not {websocket!r}"
    )
