"""Where the time of a message, a job and a cancelled tree goes: what limits the ratios of `core.py`.

    python -m benchmarks.costs
    python -m benchmarks.costs --json costs.json
    python -m benchmarks.costs --show costs.json

Runs the cases of `ours.py` under Python's profiler and adds up the time that each function took by
itself, without what it called.  A profiler makes calls dear, small functions above all: the shares
tell where to look, and `core.py` tells how long something takes.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
from pathlib import Path
from typing import Any

from . import ours
from .limits import synchronous

ROOT = Path(__file__).resolve().parent.parent
SHOWN = 12

CASES = {
    "100,000 messages": (ours.send, {"count": 100_000, "others": 0}),
    "10,000 jobs, one after the other": (ours.ask, {"count": 10_000, "form": "ask"}),
    "cancel of a tree of 901 workers, and its start": (ours.cancel, {"children": 30, "leaves": 29}),
}


def main() -> None:
    """Profile, or read what was profiled; print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", type=Path, help="write the shares there")
    parser.add_argument("--show", type=Path, help="print the tables of such a file instead")
    arguments = parser.parse_args()
    if arguments.show:
        record = json.loads(arguments.show.read_text(encoding="utf-8"))
    else:
        record = {title: profile(*case) for title, case in CASES.items()}
    print("\n\n".join(table(title, shares) for title, shares in record.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


def profile(case: Any, parameters: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Return the share of the whole time by package and by function."""
    profiler = cProfile.Profile()
    profiler.runcall(synchronous(case), **parameters)
    stats: Any = pstats.Stats(profiler)
    own = {place(*key): 0.0 for key in stats.stats}
    for key, (_, _, seconds, _, _) in stats.stats.items():
        own[place(*key)] += seconds
    total = sum(own.values())
    packages: dict[str, float] = {}
    for (package, _), seconds in own.items():
        packages[package] = packages.get(package, 0) + seconds / total
    functions = {
        f"{package}: {name}" if package != name else name: seconds / total
        for (package, name), seconds in own.items()
    }
    return {"packages": largest(packages), "functions": largest(functions)}


def place(file: str, _line: int, function: str) -> tuple[str, str]:
    """Return the package that a function belongs to, and its name."""
    path = Path(file)
    if "site-packages" in path.parts:
        inside = path.parts[path.parts.index("site-packages") + 1 :]
        return inside[0], f"{path.stem}.{function}"
    if path.is_relative_to(ROOT):
        return path.relative_to(ROOT).parts[0], f"{path.stem}.{function}"
    return "Python", function


def largest(shares: dict[str, float]) -> dict[str, float]:
    """Return the largest shares, the largest first."""
    found = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN]
    return {name: round(share, 3) for name, share in found if share >= 0.005}


def table(title: str, shares: dict[str, dict[str, float]]) -> str:
    """Return the table of one case."""
    packages = ", ".join(f"{name} {share:.0%}" for name, share in shares["packages"].items())
    lines = [f"{share:6.1%}  {name}" for name, share in shares["functions"].items()]
    return "\n".join([title, packages, *lines])


if __name__ == "__main__":
    main()
