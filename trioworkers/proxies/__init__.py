"""Bridges between two runners."""

from __future__ import annotations

from .policy import SESSION_CONTROL, Decision, ProxyPolicy

__all__ = ["SESSION_CONTROL", "Decision", "ProxyPolicy"]
