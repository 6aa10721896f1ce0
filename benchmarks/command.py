"""What is done with a subject, whoever asks: refuse, measure, show, keep.

`trioworkers bench` asks, with a parser of its own; and so does `python -m benchmarks.NAME`, whose
options are at the end of this file.
"""

from __future__ import annotations

import argparse
import datetime as dt
import importlib.util
import json
import math
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

from trioworkers._cli.exits import CANCELLED, CRASHED, NO_INPUT, WRONG_ARGUMENT, Refusal
from trioworkers._cli.output import complain, emit

from .claims import Part, Samples, as_text, noise, signs_of_load, slowest
from .compare import NotARecordError, check_record
from .harness import CHECKOUT, Group, Progress, machine, measure, on_stderr
from .peers.environments import PeerRefusedError
from .plots import SUFFIXES, NoPlotError, check_path, could_draw, draw_subject
from .stats import in_ms
from .subjects import Subject

MOST_ROUNDS = 1_000

CODE = ("trioworkers", "benchmarks", "pyproject.toml", ":(exclude)benchmarks/results")
"""What figures depend on, in git's words: not the figures of before."""

EXTRA = ("hdrh", "matplotlib", "pyperf")
NO_EXTRA = "bench needs an extra.  Install it: pip install 'trioworkers[bench]'"

ENDED_EARLY = "ended early: these are the rounds that were complete; Ctrl-C again cancels"


class Options(Protocol):
    """What can be said about any measurement."""

    @property
    def peers(self) -> bool:
        """Whether the peers are measured as well."""
        ...

    @property
    def yes(self) -> bool:
        """Whether their environments are made without asking."""
        ...

    @property
    def only(self) -> str | None:
        """The names of the parts that are measured, with commas between them; None for all."""
        ...

    @property
    def rounds(self) -> int | None:
        """How many rounds; None for what each part says."""
        ...

    @property
    def quick(self) -> bool:
        """Whether a look is enough."""
        ...

    @property
    def full(self) -> bool:
        """Whether it may take minutes."""
        ...

    @property
    def json(self) -> Path | None:
        """Where the record goes."""
        ...

    @property
    def plot(self) -> Path | None:
        """Where the picture goes."""
        ...


# Before anything is measured


def check_extra() -> None:
    """Refuse to measure without the extra, as some of it is needed at the end only.

    Raises:
        Refusal: something of it is not installed.
    """
    for name in EXTRA:
        try:
            found = importlib.util.find_spec(name)
        except ImportError:
            found = None
        if found is None:
            raise Refusal(WRONG_ARGUMENT, NO_EXTRA)


def refuse_unfit(subject: Subject, options: Options) -> None:
    """Refuse what cannot be done.

    Raises:
        Refusal: that is so; says what to do.
    """
    name = subject.name
    if options.quick and options.full:
        raise Refusal(WRONG_ARGUMENT, "--quick and --full exclude each other: give one of them")
    if options.rounds is not None and not 1 <= options.rounds <= MOST_ROUNDS:
        sentence = f"rounds is {options.rounds}: give a number from 1 to {MOST_ROUNDS:,}"
        raise Refusal(WRONG_ARGUMENT, sentence)
    if options.only is not None and subject.take is not None:
        raise Refusal(WRONG_ARGUMENT, f"{name} is measured as a whole: leave out --only")
    groups = chosen(subject, options)
    if options.peers and not subject.needed_peers(groups):
        what = name if options.only is None else f"{options.only} of {name}"
        alone = subject.alone or f"{what} has no peers"
        raise Refusal(WRONG_ARGUMENT, f"{alone}: leave out --peers")
    refuse_unfit_files(subject, options)


def refuse_unfit_files(subject: Subject, options: Options) -> None:
    """Refuse files that cannot be written as they are named.

    Raises:
        Refusal: that is so; says what to do.
    """
    name = subject.name
    if options.plot is not None:
        if not subject.has_plot:
            raise Refusal(WRONG_ARGUMENT, f"{name} has no plot: leave out --plot")
        try:
            check_path(options.plot)
        except NoPlotError as error:
            raise Refusal(WRONG_ARGUMENT, f"--plot: {error}") from error
        refuse_unseen(subject, options)
    if options.json is not None and (options.json.is_dir() or not options.json.parent.is_dir()):
        raise Refusal(
            WRONG_ARGUMENT,
            f"--json: {str(options.json)!r} cannot be a file: give one in a folder that exists",
        )
    # A plot of several pictures names some of them itself: this keeps them all apart.
    if options.json is not None and options.json.suffix.lower() in SUFFIXES:
        sentence = f"--json: {str(options.json)!r} is the name of a picture: give a .json"
        raise Refusal(WRONG_ARGUMENT, sentence)


def refuse_unseen(subject: Subject, options: Options) -> None:
    """Refuse to draw where no part that is measured is in a picture.

    Raises:
        Refusal: that is so; says which parts are.
    """
    sides = subject.sides(peers=options.peers)

    def is_seen(groups: Sequence[Group]) -> bool:
        return could_draw(
            subject, {run.key for group in groups for run in group.runs if run.side in sides}
        )

    if not is_seen(chosen(subject, options)):
        seen = ",".join(group.name for group in subject.groups if is_seen([group]))
        sentence = f"a plot of {subject.name} shows nothing of {options.only}"
        raise Refusal(WRONG_ARGUMENT, f"{sentence}: add {seen} to --only, or leave out --plot")


def chosen(subject: Subject, options: Options) -> list[Group]:
    """Return the parts that are wanted.

    Raises:
        Refusal: there is no such part.
    """
    known = {group.name: group for group in subject.groups}
    shorter = {} if options.full else {group.name: group for group in subject.shorter}
    if options.only is None:
        return list((shorter or known).values())
    named = [name.strip() for name in options.only.split(",") if name.strip()]
    if not named:
        sentence = f"--only names no part: give some of {','.join(known)}"
        raise Refusal(WRONG_ARGUMENT, sentence)
    if unknown := [name for name in named if name not in known]:
        sentence = (
            f"{subject.name} has no part {', '.join(map(repr, unknown))}: "
            f"give some of {','.join(known)}"
        )
        raise Refusal(WRONG_ARGUMENT, sentence)
    return [(known | shorter)[name] for name in known if name in named]


def ensure_peers(subject: Subject, groups: Sequence[Group], *, yes: bool) -> None:
    """Make the environments of the peers that a subject needs.

    Args:
        subject: what is measured.
        groups: which parts of it.
        yes: do not ask.

    Raises:
        Refusal: one is missing, and may not or cannot be made.
    """
    for peer in subject.needed_peers(groups).values():
        try:
            peer.ensure(yes=yes)
        except PeerRefusedError as error:
            raise Refusal(WRONG_ARGUMENT, f"{error}, or leave out --peers") from error
        except subprocess.CalledProcessError as error:
            sentence = f"{peer.requirements[0]} could not be installed: see above"
            raise Refusal(CRASHED, sentence) from error


# The record


def measured_subject(
    subject: Subject, options: Options, progress: Progress = on_stderr
) -> dict[str, Any]:
    """Measure, and return everything worth keeping, fit for JSON.

    A Ctrl-C ends it early: the record holds the rounds that were complete.

    Args:
        subject: what is measured; the environments of its peers are there, if they are wanted.
        options: how much of it.
        progress: told before each process.

    Raises:
        KeyboardInterrupt: a Ctrl-C, and nothing was complete.
        Refusal: nothing could be measured.
    """
    # What is measured is what stands there now, whatever is committed meanwhile.
    version, started, load = commit(), dt.datetime.now(dt.UTC), os.getloadavg()[0]
    samples, early = take(subject, options, progress)
    refuse_nothing(samples)
    samples = subject.complete(samples)
    record = {
        "subject": subject.name,
        "sides": {key: side for key, side in subject.run_sides.items() if key in samples},
        "machine": machine(),
        "started": started.isoformat(timespec="seconds"),
        "seconds": round((dt.datetime.now(dt.UTC) - started).total_seconds()),
        "load": round(load, 2),
        "quick": options.quick,
        "commit": version,
        "versions": versions(samples),
        "samples": samples,
        **subject.facts,
    }
    return {**record, "early": True} if early else record


def take(subject: Subject, options: Options, progress: Progress) -> tuple[Samples, bool]:
    """Measure, and return the samples, and whether a Ctrl-C came before the end."""
    quick, rounds = options.quick, options.rounds
    if subject.take is not None:
        return subject.take(quick=quick, rounds=rounds, progress=progress), False
    samples: Samples = {}
    groups, sides = chosen(subject, options), subject.sides(peers=options.peers)
    try:
        measure(groups, sides, quick=quick, rounds=rounds, progress=progress, into=samples)
    except KeyboardInterrupt:
        if not samples:
            raise
        complain(ENDED_EARLY)
        return samples, True
    return samples, False


def refuse_nothing(samples: Samples) -> None:
    """Refuse samples that hold no figure.

    Raises:
        Refusal: a process has refused what it was told, or all have failed.
    """
    reports = [report for each in samples.values() for report in each]
    for report in reports:
        if "refused" in report:
            raise Refusal(WRONG_ARGUMENT, str(report["refused"]))
    if reports and all("error" in report for report in reports):
        raise Refusal(CRASHED, f"nothing could be measured: {reports[0]['error']}")


def failed(record: Mapping[str, Any]) -> bool:
    """Tell whether something could not be measured."""
    return any("error" in report for each in record["samples"].values() for report in each)


def commit() -> str:
    """Return the commit that is checked out, marked if the code differs from it; or the version."""
    if CHECKOUT is None:
        return metadata.version("trioworkers")
    try:
        named = git("describe", "--always")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *CODE)
    except OSError:  # there is no git
        return "unknown"
    return (named and named + ("-dirty" if changed else "")) or "unknown"


def git(*arguments: str) -> str:
    """Return what git says of the checkout."""
    command = ["git", *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=CHECKOUT, timeout=60
    )
    return done.stdout.strip()


def versions(samples: Samples) -> dict[str, str]:
    """Return the versions of all distributions that the figures depend on."""
    found: dict[str, str] = {}
    for reports in samples.values():
        for report in reports:
            found.update(report.get("versions", {}))
    return dict(sorted(found.items()))


# Showing


def heading(record: Mapping[str, Any]) -> list[str]:
    """Return lines that tell what the figures depend on."""
    described = record["machine"]
    names = (f"{name} {version}" for name, version in record["versions"].items())
    spread = noise(record["samples"])
    took = [
        f"{record['seconds']} s",
        "quick" * record["quick"],
        "ended early" * ("early" in record),
    ]
    lines = [
        f"{described['cpu']}, {described['cores']} cores, {described['system']}",
        f"{described['implementation']} {described['python']}, {', '.join(names)}",
        f"commit {record['commit']}, {record['started']}, {', '.join(filter(None, took))}; "
        f"noise: a fixed loop took {in_ms(spread.median)}, {in_ms(spread.low)} at best, "
        f"{slowest(spread):.2g} times the median at worst",
    ]
    if signs := signs_of_load(record):
        told = " and ".join(signs)
        lines.append(f"the machine was busy ({told}): do not trust what is under 1 ms")
    return lines


def show_plain(parts: Sequence[Part]) -> None:
    """Write tables and lines of text, with an empty line between them, as plain text."""
    emit("\n\n".join(map(as_text, parts)) + "\n")


def parts_of(subject: Subject, record: Mapping[str, Any]) -> list[Part]:
    """Return what is shown of a record: tables, and sentences."""
    errors = [
        f"{key} could not be measured: {report['error']}"
        for key, reports in record["samples"].items()
        for report in reports
        if "error" in report
    ]
    parts = ["\n".join(heading(record)), *subject.shown(record), "\n".join(errors)]
    return [part for part in parts if part]


# Keeping, and reading again


def finite(text: str) -> float:
    """Read a number as JSON has them; Python would read NaN and Infinity as well.

    Raises:
        ValueError: it is no number, or too large for one.
    """
    if not math.isfinite(value := float(text)):
        message = f"it has {text}, which is no number"
        raise ValueError(message)
    return value


def read_record(path: Path) -> Mapping[str, Any]:
    """Return the record in a file.

    Raises:
        Refusal: there is none.
    """
    try:
        text = path.read_bytes()
        return check_record(json.loads(text, parse_constant=finite, parse_float=finite))
    except OSError as error:
        raise Refusal(NO_INPUT, f"cannot read {str(path)!r}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Refusal(NO_INPUT, f"{str(path)!r} is no JSON: {error}") from error
    except NotARecordError as error:
        raise Refusal(NO_INPUT, f"{str(path)!r} was not written by bench: {error}") from error


def deliver(
    subject: Subject,
    record: Mapping[str, Any],
    options: Options,
    show: Callable[[Sequence[Part]], None],
) -> None:
    """Keep a record, show it, draw it, and say which pictures there are.

    Args:
        subject: what was measured.
        record: what was found.
        options: which files were asked for.
        show: writes tables and lines of text to standard output.

    Raises:
        Refusal: something cannot be written, or nothing was measured that can be drawn; the rest
            is there all the same, as it took long.
    """
    refusals: list[Refusal] = []
    for step in (
        lambda: keep_record(record, options),
        lambda: show(parts_of(subject, record)),
        lambda: keep_pictures(subject, record, options),
    ):
        try:
            step()
        except Refusal as refusal:
            refusals.append(refusal)
    if refusals:
        raise Refusal(refusals[0].code, "; ".join(map(str, refusals)))


def keep_record(record: Mapping[str, Any], options: Options) -> None:
    """Write the record, if that was asked for."""
    if options.json is not None:
        with writing(options.json):
            text = json.dumps(record, indent=1) + "\n"
            options.json.write_text(text, encoding="utf-8")


def keep_pictures(subject: Subject, record: Mapping[str, Any], options: Options) -> None:
    """Draw, if that was asked for."""
    if options.plot is None:
        return
    try:
        with writing(options.plot):
            drawn = draw_subject(subject, record, options.plot)
    except NoPlotError as error:
        raise Refusal(CRASHED, f"--plot: {error}") from error
    for path in drawn:
        emit(f"drawn: {path}\n")


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


# The command line of this package's modules


class Given(argparse.Namespace):
    """The options of `python -m benchmarks.NAME`, which measures all there is."""

    peers: bool
    yes: bool
    only: str | None
    rounds: int | None
    quick: bool
    json: Path | None
    plot: Path | None
    show: Path | None

    @property
    def full(self) -> bool:
        """Whether it may take minutes."""
        return not self.quick


def parser(subject: Subject, doc: str | None) -> argparse.ArgumentParser:
    """Return the parser of a subject's module, which has this docstring."""
    made = argparse.ArgumentParser(
        prog=f"python -m {__package__}.{subject.name}",
        description=(doc or "").partition("\n")[0],
    )
    parts = ",".join(group.name for group in subject.groups)
    made.add_argument("--peers", action="store_true", help="measure the peers as well")
    made.add_argument("--yes", action="store_true", help="install a missing peer unasked")
    made.add_argument("--only", help=f"what to measure, of {parts}".replace("%", "%%"))
    made.add_argument("--rounds", type=int, help="rounds for every part")
    made.add_argument("--quick", action="store_true", help="fewer rounds: a look, not a figure")
    made.add_argument("--json", type=Path, help="write machine, versions and samples there")
    made.add_argument("--plot", type=Path, help="draw it there, as .svg or .png")
    made.add_argument("--show", type=Path, help="print the table of such a file instead")
    return made


def run_subject(subject: Subject, doc: str | None, arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code: 1 if a claim does not hold.

    Args:
        subject: what is measured.
        doc: the docstring of its module.
        arguments: by default those of the process.
    """
    given = parser(subject, doc).parse_args(arguments, Given())
    try:
        check_extra()
        refuse_unfit(subject, given)
        record = measured_or_read(subject, given)
        deliver(subject, record, given, show_plain)
    except Refusal as refusal:
        complain(str(refusal))
        return refusal.code
    except KeyboardInterrupt:
        complain("cancelled")
        return CANCELLED
    return int(any(line.verdict == "FAIL" for line in subject.lines(record["samples"])))


def measured_or_read(subject: Subject, given: Given) -> Mapping[str, Any]:
    """Return the record that is wanted: of a file, or a new one.

    Raises:
        Refusal: there is none.
    """
    if given.show is None:
        if given.peers:
            ensure_peers(subject, chosen(subject, given), yes=given.yes)
        return measured_subject(subject, given)
    record = read_record(given.show)
    # Records of former times do not tell their subject.
    named = record.get("subject") == subject.name or set(record["samples"]) <= set(
        subject.run_sides
    )
    if not named or not set(subject.facts) <= set(record):
        sentence = f"{str(given.show)!r} has no measurement of {subject.name}"
        raise Refusal(NO_INPUT, sentence)
    return record
