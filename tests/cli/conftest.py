"""What the demo counts."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def much(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that takes some seconds to count."""
    folder = tmp_path_factory.mktemp("much")
    block = " ".join(f"word{number:x}" for number in range(100_000)).encode()
    for number in range(20):
        (folder / f"{number}.txt").write_bytes(block * 4)
    return folder
