"""Environments for peers: one virtual environment each, in the user's cache folder, made on first use.

A peer never becomes a dependency of ours, and nothing of ours is installed beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import attrs


class PeerRefusedError(Exception):
    """The environment is missing and may not be made."""


@attrs.frozen
class Peer:
    """A distribution from PyPI to measure ourselves against."""

    name: str
    distribution: str
    version: str
    megabytes: int

    @property
    def folder(self) -> Path:
        """Where its environment lives."""
        return cache_folder() / "peers" / f"{self.name}-{self.version}"

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        windows = sys.platform == "win32"
        return self.folder / ("Scripts/python.exe" if windows else "bin/python")

    def is_ready(self) -> bool:
        """Tell whether the environment holds the peer in the right version."""
        if not self.python.exists():
            return False
        ask = f"from importlib.metadata import version; print(version({self.distribution!r}))"
        answer = subprocess.run(
            [self.python, "-c", ask], capture_output=True, text=True, check=False
        )
        return answer.stdout.strip() == self.version

    def ensure(self, *, yes: bool) -> None:
        """Make the environment if there is none, after asking.

        Args:
            yes: Do not ask.

        Raises:
            PeerRefusedError: There is none, and the answer was no.
            subprocess.CalledProcessError: The installation failed.
        """
        if self.is_ready():
            return
        requirement = f"{self.distribution}=={self.version}"
        print(f"{requirement} is not installed yet: about {self.megabytes} MB into {self.folder}")
        if not yes and (not sys.stdin.isatty() or input("Install it? [y/N] ").lower() != "y"):
            message = f"{requirement} is needed; say --yes to let it be installed"
            raise PeerRefusedError(message)
        venv.create(self.folder, with_pip=True, clear=True)
        subprocess.run(
            [self.python, "-m", "pip", "install", "--quiet", requirement],
            check=True,
            stdout=sys.stderr,
        )


def cache_folder() -> Path:
    """Return the user's cache folder for trioworkers, where the platform wants it."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
        return base / "trioworkers" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "trioworkers"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "trioworkers"


PIPECAT = Peer("pipecat", "pipecat-ai", "1.14.0", megabytes=530)
