"""Processes that nobody here wrote, and conversations with them."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

try:
    from benchmarks.peers.environments import (
        KOSOKU,
        PIPECAT,
        SUBAGENTS,
        WEBSOCKETS,
        WS,
        NodePeer,
        Peer,
    )
except ModuleNotFoundError:
    pytest.skip("the benchmarks, which know the peers, are not here", allow_module_level=True)

__all__ = [
    "KOSOKU",
    "PIPECAT",
    "REQUIRED",
    "SUBAGENTS",
    "WEBSOCKETS",
    "WS",
    "PeerProcess",
    "WebSocketPeer",
    "need",
    "peer_process",
    "script",
    "server_process",
]

HERE = Path(__file__).parent
REQUIRED = os.environ.get("TRIOWORKERS_INTEROP") == "require"
"""Whether a missing peer is a failure."""


def need(peer: Peer | NodePeer) -> None:
    """Skip the module if a peer is not installed; fail if TRIOWORKERS_INTEROP=require."""
    if peer.is_ready():
        return
    reason = f"{peer.name} {peer.version} is not installed; `make interop` installs it"
    if REQUIRED:
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def script(name: str) -> str:
    """Find a script beside this file."""
    return str(HERE / name)


class PeerProcess:
    """A process that talks in JSON lines."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self._process = process
        self._input = process.stdin
        self._output = process.stdout
        self._unread = bytearray()
        self._closed = False
        self.seen: list[str] = []

    async def tell(self, **line: Any) -> None:
        """Write a line."""
        await self._input.send_all(json.dumps(line).encode() + b"\n")

    async def line(self) -> dict[str, Any]:
        """Read a line.  A cancellation loses nothing."""
        while True:
            text, newline, _rest = self._unread.partition(b"\n")
            if newline:
                del self._unread[: len(text) + 1]
                self.seen.append(text.decode())
                found: dict[str, Any] = json.loads(text)
                return found
            more = await self._output.receive_some()
            assert more, "the process has ended"
            self._unread += more

    async def lines(self) -> list[dict[str, Any]]:
        """Read all lines until the process ends."""
        async for more in self._output:
            self._unread += more
        found = self._unread.decode().splitlines()
        self._unread.clear()
        self.seen += found
        return [json.loads(each) for each in found]

    async def finish(self) -> int:
        """Close its input and wait for its end."""
        await self._input.aclose()
        return await self._process.wait()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def unread(self) -> str:
        """Return what it has written and nobody has read."""
        return self._unread.decode(errors="replace")

    async def aclose(self) -> None:
        """Kill it if it still runs, and collect the rest of its output.  Harmless twice."""
        if self._closed:
            return
        self._closed = True
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()
        await self._input.aclose()
        async for more in self._output:
            self._unread += more
        await self._output.aclose()


@asynccontextmanager
async def peer_process(*command: str | Path, **environ: str) -> AsyncGenerator[PeerProcess]:
    """Run a process for the time of the block.  If the block raises, what it wrote is noted."""
    with tempfile.TemporaryFile() as log:
        process = await trio.lowlevel.open_process(
            [str(each) for each in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=os.environ | environ,
        )
        peer = PeerProcess(process)
        try:
            yield peer
        except BaseException as error:
            with trio.move_on_after(5, shield=True):
                await peer.aclose()
            log.seek(0)
            error.add_note("\n".join([f"{command[1]} wrote:", *peer.seen, peer.unread()]))
            error.add_note(f"and in its log:\n{log.read()[-20_000:].decode(errors='replace')}")
            raise
        finally:
            with trio.move_on_after(5, shield=True):
                await peer.aclose()


@contextmanager
def server_process(*command: str | Path) -> Iterator[tuple[int, Any]]:
    """Run a server for the time of the block; gives its port and the file that it logs to."""
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                log.seek(0)
                pytest.fail(log.read().decode(errors="replace"), pytrace=False)
            yield json.loads(line)["port"], log
            process.stdin.close()
            process.wait(10)
        finally:
            process.kill()


class WebSocketPeer:
    """The connection of a process that is driven by lines, as `websockets_peer.py` is."""

    def __init__(self, process: PeerProcess, *, text: bool = False) -> None:
        self.process = process
        self.text = text

    async def opened(self) -> None:
        """Wait for the connection."""
        assert "open" in await self.process.line()

    async def send(self, text: str) -> None:
        """Send a message."""
        await self.process.tell(send=text, binary=not self.text)

    async def receive(self) -> str:
        """Return the next message."""
        line = await self.process.line()
        assert line.keys() == {"got", "binary"}, line
        assert line["binary"], "Pipecat's server understands binary frames only"
        text: str = line["got"]
        return text

    async def closed(self) -> int:
        """Wait for the end of the connection; return the close code."""
        line = await self.process.line()
        assert "closed" in line, line
        code: int = line["closed"]
        return code
