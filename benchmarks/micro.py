"""What single steps cost: making a message, putting it on a wire, giving way.

    python -m benchmarks.micro
    python -m benchmarks.micro --json FILE

Steps of a few hundred nanoseconds, for which a loop in one process is not good enough: pyperf finds
out how often to repeat each, warms up, and takes values in several processes, because where a
process's memory lies makes a difference of several per cent.  The table takes each process's mean.

Trio's own steps stand beside ours: a true checkpoint is a whole pass of its scheduler, and that is
why `await send` makes one only every 64 times.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import trio

from .claims import Claim, Figure, Samples
from .command import run_subject
from .harness import PACKAGE, Group, Progress, Run, Side, Step, environment, started
from .side import spin
from .stats import in_time
from .subjects import Subject

if TYPE_CHECKING:
    from collections.abc import Callable

FLAG = "--pyperf"
"""The first argument of a process that pyperf controls."""

STEPS = {
    "make": "make a message with three fields",
    "bare class": "make an object of a class with slots",
    "write": "write a message as JSON",
    "read": "read it again, and check it",
    "if cancelled": "trio's checkpoint_if_cancelled()",
    "checkpoint": "trio's checkpoint(), with one task",
}
BARE = ("bare class", "if cancelled", "checkpoint")


# The measured process


class Slots:
    """What a class costs that checks nothing."""

    __slots__ = ("n", "source", "target")

    def __init__(self, source: str, target: str, n: int) -> None:
        self.source = source
        self.target = target
        self.n = n


def steps() -> dict[str, Callable[[int], float]]:
    """Return for each step a function that does it so many times, and says how long it took."""
    from trioworkers import JSONMessageSerializer

    from .limits import Tick

    serializer = JSONMessageSerializer(messages=[Tick])
    tick = Tick(source="sender", target="receiver", n=1)
    data = serializer.serialize(tick)

    def repeated(step: Callable[[], Any]) -> Callable[[int], float]:
        def run(loops: int) -> float:
            every = range(loops)
            begun = time.perf_counter()
            for _ in every:
                step()
            return time.perf_counter() - begun

        return run

    def awaited(step: Callable[[], Any]) -> Callable[[int], float]:
        async def run(loops: int) -> float:
            every = range(loops)
            begun = time.perf_counter()
            for _ in every:
                await step()
            return time.perf_counter() - begun

        return functools.partial(trio.run, run)

    return {
        "make": repeated(lambda: Tick(source="sender", target="receiver", n=1)),
        "bare class": repeated(lambda: Slots(source="sender", target="receiver", n=1)),
        "write": repeated(lambda: serializer.serialize(tick)),
        "read": repeated(lambda: serializer.deserialize(data)),
        "if cancelled": awaited(trio.lowlevel.checkpoint_if_cancelled),
        "checkpoint": awaited(trio.lowlevel.checkpoint),
    }


def pyperf_main() -> None:
    """Let pyperf measure all steps; it starts this program again for each process."""
    import pyperf

    sys.argv.remove(FLAG)
    runner = pyperf.Runner(program_args=("-P", "-m", f"{PACKAGE}.micro", FLAG))
    for name, run in steps().items():
        runner.bench_time_func(name, run)


# The process that measures


def take(*, quick: bool, rounds: int | None, progress: Progress) -> Samples:
    """Measure all steps.

    Args:
        quick: whether a look is enough.
        rounds: how many processes.
        progress: told once, as pyperf does not say how far it is.
    """
    import pyperf

    progress(Step("all steps", 1, 1, "pyperf", 1, 1))
    side = Side("ours", f"{PACKAGE}.micro")
    processes, values, least = (2, 2, 0.01) if quick else (5, 4, 0.05)
    options = [
        f"--processes={rounds or processes}", f"--values={values}", f"--min-time={least}",
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "micro.json"
        command = [
            *side.program, FLAG, "--quiet", "-o", str(path), "--warmups", "1", *options,
            "--inherit-environ", "PYTHONPATH,PYTHONHASHSEED",
        ]  # fmt: skip
        before = spin()
        with started(command, environment(side)) as process:
            _, errors = process.communicate()
        if process.returncode:
            print(f"pyperf failed:\n{errors}", file=sys.stderr)
            return {name: [{"error": errors.strip().rpartition("\n")[2]}] for name in STEPS}
        suite: Any = pyperf.BenchmarkSuite.load(str(path))
    return {
        str(bench.get_name()): [
            report(run, [before, spin()]) for run in bench.get_runs() if run.values
        ]
        for bench in suite.get_benchmarks()
    }


def report(run: Any, spins: list[float]) -> dict[str, Any]:
    """Return what one of pyperf's processes has measured."""
    versions = {name: version_of(name) for name in ("trio", "attrs", "cattrs", "pyperf")}
    mean = sum(run.values) / len(run.values)
    return {"figures": {"seconds": mean}, "spin": spins, "versions": versions}


def version_of(distribution: str) -> str:
    """Return the installed version of a distribution."""
    from importlib import metadata

    return metadata.version(distribution)


SUBJECT = Subject(
    "micro",
    groups=tuple(
        Group(name, rounds=1, runs=(Run(name, "limits" if name in BARE else "ours", name),))
        for name in STEPS
    ),
    claims=tuple(
        Claim(title, Figure(name, "seconds"), in_time, "below") for name, title in STEPS.items()
    ),
    take=take,
)

if __name__ == "__main__":
    if FLAG in sys.argv:
        pyperf_main()
    else:
        sys.exit(run_subject(SUBJECT, __doc__))
