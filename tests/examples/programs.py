"""Running an example as a program of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest
import trio

ROOT = Path(__file__).parents[2]

# Generous: a start takes half a second on an idle machine.
PATIENCE = 60

P = TypeVar("P", bound="Program")


@pytest.fixture(autouse=True)
def heed_sigint() -> Iterator[None]:
    """Let programs heed SIGINT, also where we ignore it as a background job of a shell."""
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, former)


class Program:
    """A running program, and what it has printed so far."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.output = ""
        self._changed = trio.Event()
        self._finished = False

    async def read(self) -> None:
        """Collect the output until its end."""
        assert self.process.stdout is not None
        async with self.process.stdout as stdout:
            async for chunk in stdout:
                self.output += chunk.decode()
                self._notify()
        self._finished = True
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output matches."""
        while (match := re.search(pattern, self.output)) is None:
            assert not self._finished, f"{pattern!r} is not in:\n{self.output}"
            await self._changed.wait()
        return match

    async def wait(self) -> int:
        """Wait for the end of the program and its output; return the exit code."""
        while not self._finished:
            await self._changed.wait()
        return await self.process.wait()


@asynccontextmanager
async def running(*arguments: str, kind: type[P] = Program) -> AsyncGenerator[P]:
    """Run Python with `arguments`, strict about warnings; stopped by its pid at the end."""
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            process = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, "-u", "-W", "error", *arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    check=False,
                    cwd=ROOT,
                )
            )
            program = kind(process)
            nursery.start_soon(program.read)
            yield program
            nursery.cancel_scope.cancel()
