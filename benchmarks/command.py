"""What the commands that compare sides have in common: options, the record, the table."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import subprocess
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trioworkers._cli.exits import CRASHED, Refusal

from .claims import Claim, Line, Samples, lines_of, noise, print_table
from .harness import CHECKOUT, Group, Progress, Side, machine, measure, on_stderr
from .peers.environments import PIPECAT, PeerRefusedError
from .stats import in_ms as in_ms
from .stats import in_us as in_us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from .subjects import Subject

BUSY_LOAD = 0.7
BUSY_SPIN = 1.7


# The command line of this package's modules


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
    made.add_argument("--peers", action="store_true", help="measure the peers as well")
    made.add_argument("--yes", action="store_true", help="install a missing peer unasked")
    made.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    made.add_argument("--rounds", type=int, help="rounds for every group")
    return made


def run_subject(subject: Subject, doc: str | None) -> int:
    """Do what the command line says; return the exit code: 1 if a claim does not hold.

    Args:
        subject: what is measured.
        doc: the docstring of its module.
    """
    made = peer_parser(doc, subject.name, subject.groups)
    made.add_argument("--plot", type=Path, help="draw it there, as .svg or .png")
    arguments = made.parse_args()
    only = arguments.only.split(",") if arguments.only else None

    def take() -> Samples:
        if subject.take is not None:
            return subject.take(quick=arguments.quick, progress=on_stderr)
        sides = subject.sides(peers=arguments.peers)
        if arguments.peers:
            ensure_peers(subject, yes=arguments.yes)
        return measure(
            chosen(subject.groups, only), sides, quick=arguments.quick, rounds=arguments.rounds
        )

    record = record_of(arguments, take, quick=arguments.quick, subject=subject)
    code = present_lines(record, subject.lines(record["samples"]))
    if arguments.plot:
        from .plots import draw_subject

        draw_subject(subject, record, arguments.plot)
    return code


def chosen(groups: Sequence[Group], only: Sequence[str] | None) -> list[Group]:
    """Return the groups that are wanted; all if `only` is None."""
    return [group for group in groups if only is None or group.name in only]


def ensure_peers(subject: Subject, *, yes: bool) -> None:
    """Make the environments of the peers that a subject needs.

    Raises:
        SystemExit: one is missing, and may not be made.
    """
    try:
        for peer in subject.needed_peers().values():
            peer.ensure(yes=yes)
    except PeerRefusedError as error:
        raise SystemExit(str(error)) from error


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
    only = arguments.only.split(",") if arguments.only else None
    return measure(chosen(groups, only), sides, quick=arguments.quick, rounds=arguments.rounds)


# The record


def record_of(
    arguments: argparse.Namespace,
    take: Callable[[], Samples],
    *,
    quick: bool = False,
    subject: Subject | None = None,
) -> dict[str, Any]:
    """Measure, or read what was measured; return everything worth keeping, and keep it if asked to.

    Args:
        arguments: those of `parser`.
        take: measures.
        quick: whether the figures are a look only.
        subject: what is measured, if it is one.
    """
    if arguments.show:
        kept: dict[str, Any] = json.loads(arguments.show.read_text(encoding="utf-8"))
        return kept
    record = measured(take, quick=quick, subject=subject)
    if arguments.json:
        arguments.json.write_text(as_text(record), encoding="utf-8")
    return record


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say which file it is that cannot be written: a full disk does not.

    Raises:
        Refusal: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        name = str(error.filename or path)
        raise Refusal(CRASHED, f"cannot write {name!r}: {error.strerror}") from error


def as_text(record: Mapping[str, Any]) -> str:
    """Return a record as it stands in a file."""
    return json.dumps(record, indent=1) + "\n"


def measured(
    take: Callable[[], Samples], *, quick: bool, subject: Subject | None
) -> dict[str, Any]:
    """Measure, and return everything worth keeping.

    Args:
        take: measures.
        quick: whether the figures are a look only.
        subject: what is measured, if it is one.
    """
    # What is measured is what stands there now, whatever is committed meanwhile.
    version, started, load = commit(), dt.datetime.now(dt.UTC), os.getloadavg()[0]
    samples = take()
    named = (
        {}
        if subject is None
        else {
            "subject": subject.name,
            "sides": {key: side for key, side in subject.run_sides.items() if key in samples},
        }
    )
    return {
        **named,
        "machine": machine(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((dt.datetime.now(dt.UTC) - started).total_seconds()),
        "load": round(load, 2),
        "quick": quick,
        "commit": version,
        "versions": versions(samples),
        "samples": samples,
    }


def measured_subject(
    subject: Subject,
    *,
    peers: bool = False,
    quick: bool = False,
    rounds: int | None = None,
    progress: Progress = on_stderr,
    stopped: Callable[[], None] | None = None,
) -> dict[str, Any]:
    """Measure a subject, and return the record.

    Args:
        subject: what is measured.
        peers: with those whose environments must be there.
        quick: whether a look is enough.
        rounds: how many; by default what each group says.
        progress: told before each process.
        stopped: called after a Ctrl-C, and then the record holds the rounds that were complete.
            By default a Ctrl-C leaves no record.

    Raises:
        KeyboardInterrupt: a Ctrl-C, and nothing was complete.
    """
    early = False

    def take() -> Samples:
        nonlocal early
        if subject.take is not None:
            return subject.take(quick=quick, progress=progress)
        samples: Samples = {}
        sides = subject.sides(peers=peers)
        try:
            measure(
                subject.groups, sides, quick=quick, rounds=rounds, progress=progress, into=samples
            )
        except KeyboardInterrupt:
            if stopped is None or not samples:
                raise
            early = True
            stopped()
        return samples

    record = measured(take, quick=quick, subject=subject)
    return {**record, "early": True} if early else record


def commit() -> str:
    """Return the commit that is checked out, marked if the package differs from it; or the version."""
    if CHECKOUT is None:
        return metadata.version("trioworkers")
    describe = ["git", "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(
            describe, capture_output=True, text=True, check=False, cwd=CHECKOUT, timeout=60
        )
    except OSError:  # there is no git
        return "unknown"
    return done.stdout.strip() or "unknown"


def versions(samples: Samples) -> dict[str, str]:
    """Return the versions of all distributions that the figures depend on."""
    found: dict[str, str] = {}
    for reports in samples.values():
        for report in reports:
            found.update(report.get("versions", {}))
    return dict(sorted(found.items()))


# The table


def present(record: dict[str, Any], claims: Sequence[Claim], titles: Mapping[str, str]) -> int:
    """Print the table; return the exit code: 1 if a claim does not hold.

    Args:
        record: what was measured.
        claims: what must hold.
        titles: how the table calls the side of a run, by the run's key.
    """
    return present_lines(record, lines_of(claims, record["samples"], titles))


def present_lines(record: dict[str, Any], lines: Sequence[Line]) -> int:
    """Print what the figures depend on and the table; return the exit code."""
    for line in heading(record):
        print(line)
    print()
    print_table(lines)
    return int(any(line.verdict == "FAIL" for line in lines))


def heading(record: dict[str, Any]) -> list[str]:
    """Return lines that tell what the figures depend on."""
    described = record["machine"]
    names = (f"{name} {version}" for name, version in record["versions"].items())
    spread = noise(record["samples"])
    slowest = spread.high / spread.median if spread.median else 1.0
    lines = [
        f"{described['cpu']}, {described['cores']} cores, {described['system']}",
        f"{described['implementation']} {described['python']}, {', '.join(names)}",
        f"commit {record['commit']}, {record['started']}, {record['seconds']} s"
        f"{', quick' if record['quick'] else ''}; noise: a fixed loop took {in_ms(spread.median)}, "
        f"{in_ms(spread.low)} at best, {slowest:.2g} times the median at worst",
    ]
    if record["load"] > BUSY_LOAD or slowest > BUSY_SPIN:
        lines.append(
            f"the machine was busy (load {record['load']} before): do not trust what is under 1 ms"
        )
    return lines
