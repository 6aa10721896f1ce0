"""What a record says of the code that was measured, and what can be wrong with a peer."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import command
from benchmarks.catalogue import SUBJECTS
from benchmarks.harness import CHECKOUT, Group
from benchmarks.peers.environments import PYKKA
from trioworkers._cli.exits import Refusal


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


def folder(python: Path) -> None:
    """Put a folder where an interpreter should be."""
    python.mkdir()


def forbidden(python: Path) -> None:
    """Put a program there that may not be run."""
    python.write_text("#!/bin/sh\n", encoding="utf-8")


def garbage(python: Path) -> None:
    """Put something there that is no program."""
    python.write_bytes(b"\x7fELF, but not really")
    python.chmod(0o755)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep peers in a folder of the test, and let pip find nothing to install."""
    found = tmp_path / "cache"
    for name in ("XDG_CACHE_HOME", "LOCALAPPDATA", "HOME"):
        monkeypatch.setenv(name, str(found))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    return found


posix = pytest.mark.skipif(sys.platform == "win32", reason="it is about programs of POSIX")


@posix
@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("make", [folder, forbidden, garbage])
def test_an_interpreter_that_does_not_start(make: Callable[[Path], None]) -> None:
    """An environment whose interpreter does not start is not there, and no traceback."""
    PYKKA.scripts.mkdir(parents=True)
    make(PYKKA.python)
    assert not PYKKA.is_ready()


@posix
@pytest.mark.usefixtures("cache")
def test_an_environment_is_made_again() -> None:
    """An environment that does not work is made again, and a failed installation is told in a sentence."""
    pytest.importorskip("ensurepip")  # some systems have it in a package of its own
    PYKKA.scripts.mkdir(parents=True)
    folder(PYKKA.python)
    with pytest.raises(Refusal, match=r"pykka==.* could not be installed: see above"):
        command.ensure_peers(SUBJECTS["broadcast"], PYKKA_ONLY, yes=True)
    assert subprocess.run([PYKKA.python, "-c", ""], check=False).returncode == 0
    done = make_peers("pykka")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "pykka could not be installed: see above"


@posix
def test_a_folder_that_cannot_be_made(cache: Path) -> None:
    """A cache folder that is a file is refused with its name and the reason."""
    cache.write_text("a file", encoding="utf-8")
    expected = rf"cannot make '{PYKKA.folder}' \(.+\): see to that folder, or leave out --peers"
    with pytest.raises(Refusal, match=expected):
        command.ensure_peers(SUBJECTS["broadcast"], PYKKA_ONLY, yes=True)
    done = make_peers("pykka")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"cannot make '{PYKKA.folder}'")


PYKKA_ONLY = [
    Group("few", 1, [run for run in group.runs if run.side == "pykka"])
    for group in SUBJECTS["broadcast"].groups
]
"""What needs no other peer."""


def make_peers(*names: str) -> subprocess.CompletedProcess[str]:
    """Make environments as one does before the tests that need them."""
    return subprocess.run(
        [sys.executable, "-m", "benchmarks.peers.environments", "--yes", *names],
        capture_output=True, text=True, check=False, timeout=60, cwd=CHECKOUT,
    )  # fmt: skip
