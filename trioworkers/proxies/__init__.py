"""Bridges between two runners."""

from __future__ import annotations

from .policy import SESSION_CONTROL, Decision, ProxyPolicy
from .server import WebSocketProxyServer

__all__ = ["SESSION_CONTROL", "Decision", "ProxyPolicy", "WebSocketProxyServer"]
