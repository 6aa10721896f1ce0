"""The defects of links are tested in both dialects."""

from __future__ import annotations

from tests.proxies.conftest import dialect

__all__ = ["dialect"]
