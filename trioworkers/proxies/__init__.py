"""Bridges between two runners."""

from __future__ import annotations

from ._incoming import IncomingConnection
from ._listener import GuardedListener, open_guarded_listener
from ._serving import ProxyListener, bearer_token, serve_proxies
from ._sessions import continue_session
from .client import WebSocketProxyClient
from .policy import SESSION_CONTROL, Decision, ProxyPolicy
from .server import WebSocketProxyServer

__all__ = [
    "SESSION_CONTROL",
    "Decision",
    "GuardedListener",
    "IncomingConnection",
    "ProxyListener",
    "ProxyPolicy",
    "WebSocketProxyClient",
    "WebSocketProxyServer",
    "bearer_token",
    "continue_session",
    "open_guarded_listener",
    "serve_proxies",
]
