"""Records of measurements that nobody made."""

from __future__ import annotations

from typing import Any

MACHINE = {
    "cpu": "a processor", "cores": 2, "system": "a system", "python": "3.11", "implementation": "CPython",
}  # fmt: skip


def reports(*values: float, field: str = "message") -> list[dict[str, Any]]:
    """Return a report of each round."""
    return [{"figures": {field: value}, "spin": [0.005, 0.005]} for value in values]


def record(samples: dict[str, list[dict[str, Any]]], **more: Any) -> dict[str, Any]:
    """Return a record of a run."""
    return {
        "machine": MACHINE,
        "started": "now",
        "seconds": 1,
        "load": 0.1,
        "quick": False,
        "commit": "abc",
        "versions": {"trio": "0"},
        "samples": samples,
        **more,
    }
