"""Environments for peers: one folder each in the user's cache folder, made on first use.

A peer never becomes a dependency of ours, and nothing of ours is installed beside it.

Run it as `python -m benchmarks.peers.environments [--yes] [name ...]` to make them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

# Exits with 0 if each argument, as `name==version`, is installed.
_HOLDS = """
import sys
from importlib.metadata import version
sys.exit(any(version(name) != wanted for name, wanted in (a.split("==") for a in sys.argv[1:])))
"""


class PeerRefusedError(Exception):
    """The environment is missing, and may not or cannot be made; says why."""


@attrs.frozen
class Peer:
    """A distribution from PyPI to measure ourselves against, in a virtual environment.

    `also` are further requirements, each as `name==version`.
    """

    name: str
    distribution: str
    version: str
    megabytes: int
    also: tuple[str, ...] = ()

    @property
    def requirements(self) -> tuple[str, ...]:
        """What is to be installed, the peer itself first."""
        return (f"{self.distribution}=={self.version}", *self.also)

    @property
    def folder(self) -> Path:
        """Where its environment lives."""
        return cache_folder() / "peers" / f"{self.name}-{self.version}"

    @property
    def scripts(self) -> Path:
        """Where the environment keeps its programs."""
        return self.folder / ("Scripts" if sys.platform == "win32" else "bin")

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.scripts / ("python.exe" if sys.platform == "win32" else "python")

    def is_ready(self) -> bool:
        """Tell whether the environment holds everything in the right version."""
        return self._runs("-c", _HOLDS, *self.requirements)

    def ensure(self, *, yes: bool) -> None:
        """Make the environment if there is none that works, after asking.

        Args:
            yes: Do not ask.

        Raises:
            PeerRefusedError: There is none, and the answer was no, or its folder cannot be made.
            subprocess.CalledProcessError: The installation failed.
        """
        if self.is_ready():
            return
        _agree(self.requirements[0], self.megabytes, self.folder, yes=yes)
        with _making(self.folder):
            if not self._runs("-m", "pip", "--version"):
                venv.create(self.folder, with_pip=True, clear=True)
            subprocess.run(
                [self.python, "-m", "pip", "install", "--quiet", *self.requirements],
                check=True,
                stdout=sys.stderr,
            )

    def _runs(self, *arguments: str) -> bool:
        try:
            done = subprocess.run([self.python, *arguments], capture_output=True, check=False)
        except OSError:  # it is not there, or is nothing that can be started
            return False
        return done.returncode == 0


@attrs.frozen
class NodePeer:
    """A package from npm, in a folder of its own."""

    name: str
    version: str
    megabytes: int

    @property
    def folder(self) -> Path:
        """Where `node_modules` lives."""
        return cache_folder() / "peers" / f"{self.name}-{self.version}"

    @property
    def node(self) -> str | None:
        """The program that runs it."""
        return shutil.which("node")

    def is_ready(self) -> bool:
        """Tell whether there is a Node, and the folder holds the peer in the right version."""
        described = self.folder / "node_modules" / self.name / "package.json"
        if self.node is None or not described.exists():
            return False
        return bool(json.loads(described.read_text(encoding="utf-8"))["version"] == self.version)

    def ensure(self, *, yes: bool) -> None:
        """Install the package if it is not there, after asking.

        Args:
            yes: Do not ask.

        Raises:
            PeerRefusedError: It is not there, and the answer was no, or there is no npm, or its
                folder cannot be made.
            subprocess.CalledProcessError: The installation failed.
        """
        if self.is_ready():
            return
        requirement = f"{self.name}@{self.version}"
        npm = shutil.which("npm")
        if self.node is None or npm is None:
            message = f"{requirement} needs Node and npm; install them first"
            raise PeerRefusedError(message)
        _agree(requirement, self.megabytes, self.folder, yes=yes)
        quietly = ("--no-audit", "--no-fund", "--no-save", "--silent")
        with _making(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            subprocess.run(
                [npm, "install", *quietly, "--prefix", self.folder, requirement],
                check=True,
                stdout=sys.stderr,
            )


def _agree(requirement: str, megabytes: int, folder: Path, *, yes: bool) -> None:
    """Ask whether something may be installed."""
    print(f"{requirement} is not complete yet: about {megabytes} MB into {folder}", file=sys.stderr)
    if not yes and (not sys.stdin.isatty() or not _says_yes()):
        message = f"{requirement} is needed; say --yes to let it be installed"
        raise PeerRefusedError(message)


@contextmanager
def _making(folder: Path) -> Iterator[None]:
    """Say which folder it is that cannot be made.

    Raises:
        PeerRefusedError: The system, or `venv`, refuses it.
    """
    try:
        yield
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        message = f"cannot make {str(folder)!r} ({reason}): see to that folder"
        raise PeerRefusedError(message) from error


def _says_yes() -> bool:
    print("Install it? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() == "y"


def cache_folder() -> Path:
    """Return the user's cache folder for trioworkers, where the platform wants it."""
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
        return base / "trioworkers" / "Cache"
    if sys.platform == "darwin":
        return home / "Library" / "Caches" / "trioworkers"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache") / "trioworkers"


# FastAPI and uvicorn serve Pipecat's own proxies.
PIPECAT = Peer(
    "pipecat", "pipecat-ai", "1.14.0", megabytes=530, also=("fastapi==0.165.0", "uvicorn==0.54.0")
)
# The package that Pipecat's workers were before they were in pipecat-ai, with its extra `websocket`.
SUBAGENTS = Peer(
    "subagents",
    "pipecat-ai-subagents",
    "0.6.0",
    megabytes=530,
    also=("pipecat-ai==1.14.0", "fastapi==0.165.0", "uvicorn==0.54.0", "websockets==15.0.1"),
)
PYKKA = Peer("pykka", "pykka", "4.5.0", megabytes=25)
WEBSOCKETS = Peer("websockets", "websockets", "17.4", megabytes=20)
KOSOKU = Peer("kosoku", "kosoku", "0.1.0", megabytes=40)
WS = NodePeer("ws", "8.23.0", megabytes=1)

PEERS: dict[str, Peer | NodePeer] = {
    each.name: each for each in (PIPECAT, SUBAGENTS, PYKKA, WEBSOCKETS, KOSOKU, WS)
}


def main() -> None:
    """Make the environments named on the command line, or all."""
    parser = argparse.ArgumentParser(description="Make the environments of peers.")
    parser.add_argument("peers", nargs="*", metavar="NAME", help=f"of {', '.join(PEERS)}")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    arguments = parser.parse_args()
    if unknown := set(arguments.peers) - PEERS.keys():
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    for name in arguments.peers or PEERS:
        try:
            PEERS[name].ensure(yes=arguments.yes)
        except PeerRefusedError as error:
            sys.exit(str(error))
        except subprocess.CalledProcessError:
            sys.exit(f"{name} could not be installed: see above")


if __name__ == "__main__":
    main()
