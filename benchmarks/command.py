"""What the commands that compare sides have in common: options, the record, the table."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .claims import Claim, Samples, lines_of, noise, print_table
from .harness import CHECKOUT, Group, Side, machine, measure
from .peers.environments import PIPECAT, PeerRefusedError
from .stats import in_ms as in_ms
from .stats import in_us as in_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

BUSY_LOAD = 0.7
BUSY_SPIN = 1.7


def parser(doc: str | None, module: str, parts: Iterable[str]) -> argparse.ArgumentParser:
    """Return a parser of the options that every command has.

    Args:
        doc: the docstring of the command's module.
        module: its name.
        parts: what can be measured alone.
    """
    summary = (doc or "").partition("\n")[0]
    made = argparse.ArgumentParser(prog=f"python -m {__package__}.{module}", description=summary)
    made.add_argument("--only", help="what to measure, of " + ",".join(parts))
    made.add_argument("--json", type=Path, help="write machine, versions and samples there")
    made.add_argument("--show", type=Path, help="print the table of such a file instead")
    return made


def peer_parser(doc: str | None, module: str, groups: Sequence[Group]) -> argparse.ArgumentParser:
    """Return the same for a command that measures Pipecat too."""
    made = parser(doc, module, [group.name for group in groups])
    made.add_argument("--peers", action="store_true", help="measure Pipecat as well")
    made.add_argument("--yes", action="store_true", help="install a missing peer unasked")
    made.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    made.add_argument("--rounds", type=int, help="rounds for every group")
    return made


def measure_beside_peer(
    arguments: argparse.Namespace, groups: Sequence[Group], sides: dict[str, Side], peer: str
) -> Samples:
    """Measure what the command line asks for, beside the peer if it asks for that.

    Args:
        arguments: those of `peer_parser`.
        groups: everything that can be measured.
        sides: who is measured anyway.
        peer: the module that is the peer's side.
    """
    if arguments.peers:
        try:
            PIPECAT.ensure(yes=arguments.yes)
        except PeerRefusedError as error:
            raise SystemExit(str(error)) from error
        sides = sides | {"pipecat": Side("pipecat", peer, str(PIPECAT.python))}
    wanted = arguments.only.split(",") if arguments.only else [group.name for group in groups]
    chosen = [group for group in groups if group.name in wanted]
    return measure(chosen, sides, quick=arguments.quick, rounds=arguments.rounds)


def record_of(
    arguments: argparse.Namespace, take: Callable[[], Samples], *, quick: bool = False
) -> dict[str, Any]:
    """Measure, or read what was measured; return everything worth keeping, and keep it if asked to.

    Args:
        arguments: those of `parser`.
        take: measures.
        quick: whether the figures are a look only.
    """
    if arguments.show:
        kept: dict[str, Any] = json.loads(arguments.show.read_text(encoding="utf-8"))
        return kept
    # What is measured is what stands there now, whatever is committed meanwhile.
    measured, started, load = commit(), dt.datetime.now(dt.UTC), os.getloadavg()[0]
    samples = take()
    record = {
        "machine": machine(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((dt.datetime.now(dt.UTC) - started).total_seconds()),
        "load": round(load, 2),
        "quick": quick,
        "commit": measured,
        "versions": versions(samples),
        "samples": samples,
    }
    if arguments.json:
        arguments.json.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return record


def commit() -> str:
    """Return the commit that is checked out, marked if the package differs from it; or the version."""
    if CHECKOUT is None:
        return metadata.version("trioworkers")
    describe = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(describe, capture_output=True, text=True, check=False, cwd=CHECKOUT)
    return done.stdout.strip() or "unknown"


def versions(samples: Samples) -> dict[str, str]:
    """Return the versions of all distributions that the figures depend on."""
    found: dict[str, str] = {}
    for reports in samples.values():
        for report in reports:
            found.update(report.get("versions", {}))
    return dict(sorted(found.items()))


def present(record: dict[str, Any], claims: Sequence[Claim], titles: Mapping[str, str]) -> int:
    """Print the table; return the exit code: 1 if a claim does not hold.

    Args:
        record: what was measured.
        claims: what must hold.
        titles: how the table calls the side of a run, by the run's key.
    """
    samples: Samples = record["samples"]
    lines = lines_of(claims, samples, titles)
    print_heading(record)
    print_table(lines)
    return int(any(line.verdict == "FAIL" for line in lines))


def print_heading(record: dict[str, Any]) -> None:
    """Print what the figures depend on."""
    described = record["machine"]
    print(f"{described['cpu']}, {described['cores']} cores, {described['system']}")
    names = (f"{name} {version}" for name, version in record["versions"].items())
    print(f"{described['implementation']} {described['python']}, {', '.join(names)}")
    spread = noise(record["samples"])
    slowest = spread.high / spread.median if spread.median else 1.0
    print(
        f"commit {record['commit']}, {record['started']}, {record['seconds']} s"
        f"{', quick' if record['quick'] else ''}; noise: a fixed loop took {in_ms(spread.median)}, "
        f"{in_ms(spread.low)} at best, {slowest:.2g} times the median at worst"
    )
    if record["load"] > BUSY_LOAD or slowest > BUSY_SPIN:
        print(
            f"the machine was busy (load {record['load']} before): do not trust what is under 1 ms"
        )
    print()
