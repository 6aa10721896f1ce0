"""What a record says of the code that was measured."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from benchmarks import command


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Measure in a checkout of its own, of one commit."""
    for name in ("trioworkers/code.py", "benchmarks/core.py", "benchmarks/results/core.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("1\n", encoding="utf-8")
    author = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "."), (*author, "commit", "-qm", "a")):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("changed", "marked"),
    [
        ("trioworkers/code.py", True),
        ("benchmarks/core.py", True),
        ("benchmarks/results/core.json", False),
    ],
)
def test_code_that_differs_from_its_commit(checkout: Path, changed: str, marked: bool) -> None:
    """The commit is marked if what is measured differs from it, and not for older figures."""
    clean = command.commit()
    assert clean
    assert not clean.endswith("-dirty")
    (checkout / changed).write_text("2\n", encoding="utf-8")
    assert command.commit() == clean + "-dirty" * marked


def test_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Outside of a checkout that git knows, the commit is unknown."""
    monkeypatch.setattr(command, "CHECKOUT", tmp_path)
    assert command.commit() == "unknown"
