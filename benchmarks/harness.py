"""Runs measurements in fresh processes, in turns.

Knows nothing about workers: the file of each subject says what is measured and what is claimed.
"""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

from .claims import Claim as Claim
from .claims import Figure as Figure
from .claims import Samples
from .side import MARK

HERE = Path(__file__).resolve().parent
PACKAGE = __package__ or "benchmarks"
CHECKOUT = None if "." in PACKAGE else HERE.parent
"""The folder of the checkout that this is part of; None if it was installed, as part of a wheel."""

_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)\b")

LIMIT = 300
"""Seconds after which a measured process that hangs is given up."""

LONG = 20
"""Seconds after which it is said what is waited for."""


SILENT = (
    "its process ended, with exit code 0, without telling its figures: look for an os._exit(), or for "
    "what writes to its output meanwhile"
)


@attrs.frozen
class Side:
    """A program that can measure cases (see `side.py`), and the interpreter that runs it."""

    name: str
    module: str
    python: str = sys.executable

    @property
    def is_peer(self) -> bool:
        """Whether it runs in an environment that does not know us."""
        return self.python != sys.executable

    @property
    def program(self) -> tuple[str, ...]:
        """What starts it; a case and its parameters follow."""
        if self.is_peer:
            return (
                self.python, "-P", str(HERE / "alone.py"), self.module.removeprefix(f"{PACKAGE}."),
            )  # fmt: skip
        # Not what lies in the current directory, whatever it is called.
        return (self.python, "-P", "-m", self.module)


def environment(side: Side) -> dict[str, str]:
    """Return the environment variables of a measured process."""
    # Hashes are the same in all rounds, so that no round has a luckier order of dicts and sets.
    found = {**os.environ, "PYTHONHASHSEED": "0"}
    if side.is_peer:
        found.pop("PYTHONPATH", None)
    elif CHECKOUT is not None:
        found["PYTHONPATH"] = str(CHECKOUT)
    return found


@attrs.frozen
class Run:
    """One measurement: a case of a side, with parameters. `key` is how claims refer to it."""

    key: str
    side: str
    case: str
    parameters: Mapping[str, int | str] = attrs.field(factory=dict)
    quick: Mapping[str, int | str] = attrs.field(factory=dict)
    """What `--quick` changes."""


@attrs.frozen
class Group:
    """Runs that are compared with each other, and so take turns: A B C, C B A, A B C, ...

    Forth and back, as a machine that becomes slower or faster meanwhile would favour who is always
    first, or always last.
    """

    name: str
    rounds: int
    runs: Sequence[Run]
    quick_rounds: int = 2


@attrs.frozen
class Step:
    """What is measured now: the `number`th of `total` processes."""

    group: str
    round: int
    rounds: int
    side: str
    number: int
    total: int


Progress = Callable[[Step], None]


def on_stderr(step: Step) -> None:
    """Say in one line what is measured now, if a person may be looking."""
    if sys.stderr.isatty():
        text = f"{step.group}, round {step.round} of {step.rounds}, {step.side}"
        end = "\n" if step.number == step.total else ""
        print(f"\r\x1b[K{step.number}/{step.total} {text}", end=end, file=sys.stderr, flush=True)


def measure(
    groups: Iterable[Group],
    sides: Mapping[str, Side],
    *,
    quick: bool,
    rounds: int | None,
    progress: Progress = on_stderr,
    into: Samples | None = None,
) -> Samples:
    """Run every group whose sides are there, in fresh processes that take turns.

    Args:
        groups: What is compared with what.
        sides: Who can be measured, by the name that runs call it.
        quick: Whether a look is enough: fewer rounds, and less in each.
        rounds: How many rounds; by default what each group says.
        progress: Told before each process.
        into: Filled with the samples, so that they are there after a Ctrl-C too.  The round that it
            interrupts is not among them.

    Returns:
        For each run's key the reports of its rounds. A process that fails reports an `error`, and
        one that cannot do what it was told what it has `refused`; neither is started again.
    """
    samples: Samples = {} if into is None else into
    planned = [
        (group, runs, rounds or (group.quick_rounds if quick else group.rounds))
        for group in groups
        if (runs := [run for run in group.runs if run.side in sides])
    ]
    total = sum(len(runs) * each for _, runs, each in planned)
    number = 0
    for group, runs, each in planned:
        broken: set[str] = set()
        for turn in range(each):
            found: Samples = {}
            for run in reversed(runs) if turn % 2 else runs:
                number += 1
                if run.key in broken:
                    continue
                progress(Step(group.name, turn + 1, each, sides[run.side].name, number, total))
                parameters = {**run.parameters, **(run.quick if quick else {})}
                found[run.key] = [run_once(sides[run.side], run.case, parameters)]
                if "figures" not in found[run.key][0]:
                    broken.add(run.key)
            for run in runs:
                if run.key in found:
                    samples.setdefault(run.key, []).extend(found[run.key])
    return samples


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM unwind this process, so that it leaves no measured process behind."""

    def end(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run_once(side: Side, case: str, parameters: Mapping[str, int | str]) -> dict[str, Any]:
    """Run one case in a process of its own and return its report."""
    with started([*side.program, case, json.dumps(parameters)], environment(side)) as process:
        output, errors = what_it_said(process, f"{side.name}, {case}")
        code = process.returncode
    if code != 0:
        print(f"{side.name}, {case} failed:\n{errors}", file=sys.stderr)
        return {"error": why_it_failed(code, errors)}
    told = [line for line in output.splitlines() if line.startswith(MARK)]
    try:
        report: dict[str, Any] = json.loads(told[-1].removeprefix(MARK))
    except (IndexError, ValueError):
        return {"error": SILENT}
    if "refused" in report and errors:  # the traceback of a user's module
        print(errors, end="", file=sys.stderr)
    return report


def what_it_said(process: subprocess.Popen[str], what: str) -> tuple[str, str]:
    """Wait for a process, not for ever and not silently; return its output and its errors."""
    try:
        return process.communicate(timeout=LONG)
    except subprocess.TimeoutExpired:
        sentence = f"{what}: not done after {LONG} s; it is given up after {LIMIT} s"
        print(sentence, file=sys.stderr, flush=True)
    try:
        return process.communicate(timeout=LIMIT - LONG)
    except subprocess.TimeoutExpired:
        return "", f"not done after {LIMIT} s"


def why_it_failed(code: int | None, errors: str) -> str:
    """Return in a sentence why a process failed.

    Args:
        code: how it ended, as `subprocess` says it; None if it was given up.
        errors: what it printed as errors.
    """
    if code is None or (code == 1 and errors.strip()):  # 1 is Python's own, after a traceback
        return last_words(errors)
    if code < 0:
        how = f"its process was ended by {signal_name(-code)}"
    else:
        how = f"its process ended with exit code {code}"
    return f"{how}; it said last: {last_words(errors)}" if errors.strip() else how


def signal_name(number: int) -> str:
    """Return the name of a signal, or its number if it has none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def last_words(errors: str) -> str:
    """Return the line that names the exception; a group of them has a frame, and notes, behind it."""
    lines = [line.strip(" |+-") for line in errors.splitlines()]
    said = [line for line in lines if line] or ["no message"]
    return next((line for line in reversed(said) if _EXCEPTION.match(line)), said[-1])


@contextmanager
def started(
    command: Sequence[str], environment: dict[str, str], *, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Run a process, in a group of its own; kill what it has started too, if it does not end well.

    So a Ctrl-C reaches this process only, and nothing is left behind it, nor behind a SIGTERM.
    """
    with (
        terminable(),
        subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        ) as process,
    ):
        try:
            yield process
        finally:
            if process.returncode != 0:
                kill(process)


@contextmanager
def partner(module: str, *arguments: str) -> Iterator[Any]:
    """Run another process of the measurement that this process is part of; killed at the end."""
    side = Side("partner", module)
    with subprocess.Popen(
        [*side.program, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(side),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and everything in its group."""
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def machine() -> dict[str, Any]:
    """Describe the machine, without anything that names it."""
    return {
        "cpu": cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
    }


def cpu_model() -> str:
    """Return the processor's name where the system tells it."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()
