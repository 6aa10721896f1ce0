"""Running the command line as its users do: in a process of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep
from typing import Any

PROGRAM = (sys.executable, "-m", "trioworkers")

LIMIT = 60
"""Seconds after which a program that hangs fails its test."""


def run(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with nothing for a terminal."""
    return run_command([*PROGRAM, *args], cwd)


def run_command(
    command: Sequence[str], cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run any program to its end."""
    return subprocess.run(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=LIMIT,
    )


FEW = ("--messages", "2000")
"""Options of a demo that is not to take long."""


def report(*args: str) -> dict[str, Any]:
    """Run a demo that must end well, and return its JSON document."""
    done = run("demo", "--json", *FEW, *args)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@contextmanager
def started(*args: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a command; it is dead when the block is left."""
    process = subprocess.Popen(
        [*PROGRAM, *args],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


def interrupt(process: subprocess.Popen[str]) -> None:
    """Press Ctrl-C."""
    process.send_signal(signal.SIGINT)


def wait_until(holds: Callable[[], bool]) -> None:
    """Wait for something outside this process, which nothing announces."""
    end = monotonic() + LIMIT
    while not holds():
        assert monotonic() < end, "this never became true"
        sleep(0.002)


def reads_below(process: subprocess.Popen[str] | int, folder: Path) -> bool:
    """Tell whether a process has a file below `folder` open."""
    pid = process if isinstance(process, int) else process.pid
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if folder in descriptor.readlink().parents:
                return True
        except OSError:  # closed meanwhile
            continue
    return False


def second_process_of(process: subprocess.Popen[str]) -> int | None:
    """Find the process that a `demo --remote` has started."""
    for task in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            for child in (task / "children").read_text().split():
                if b"demo.second" in Path(f"/proc/{child}/cmdline").read_bytes():
                    return int(child)
        except OSError:  # it has ended meanwhile
            continue
    return None


def is_running(pid: int) -> bool:
    """Tell whether a process has not ended yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


@contextmanager
def counting(how: str, folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run the demo, with `how`, until its second process counts; in the end that one is gone."""
    with started("demo", how, "--json", *FEW, str(folder)) as process:
        found: list[int] = []

        def counts() -> bool:
            pid = second_process_of(process)
            found[:] = [] if pid is None else [pid]
            return pid is not None and reads_below(pid, folder)

        wait_until(counts)
        yield process, found[0]
        process.communicate(timeout=60)
    wait_until(lambda: not is_running(found[0]))
