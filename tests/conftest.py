"""Every test checks that it leaves nothing behind."""

from __future__ import annotations

pytest_plugins = ["trioworkers.testing.plugin"]
