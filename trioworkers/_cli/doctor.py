"""`trioworkers doctor`: what is installed, and what is missing."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, metadata, version
from typing import Literal, TypeAlias

import attrs
from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from trioworkers import __version__

from .exits import ENDED
from .output import Style, emit

__all__ = ["Diagnosis", "Extra", "Package", "diagnose", "doctor", "parse_requirement", "satisfies"]

State: TypeAlias = Literal["installed", "missing", "wrong version"]

_CORE = ("trio", "attrs", "cattrs", "trio-websocket")
_FOR_DEVELOPERS = frozenset({"dev"})
_REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)(?:\[[^]]*])?\s*\(?(?P<wanted>[^;)]*)\)?\s*(?:;.*\bextra\s*==\s*['\"](?P<extra>[^'\"]+))?"
)
_CLAUSE = re.compile(r"(>=|<=|==|!=|<|>)\s*([\d.]+)\s*$")


@attrs.frozen
class Package:
    """A package that an extra needs; `wanted` as in the metadata, `installed` None if missing."""

    name: str
    wanted: str
    installed: str | None

    @property
    def state(self) -> State:
        """Whether it can be used."""
        if self.installed is None:
            return "missing"
        return "installed" if satisfies(self.installed, self.wanted) else "wrong version"


@attrs.frozen
class Extra:
    """An optional part of trioworkers."""

    name: str
    packages: tuple[Package, ...]

    @property
    def state(self) -> State:
        """The worst state of its packages."""
        states = {package.state for package in self.packages}
        for state in ("missing", "wrong version"):
            if state in states:
                return state
        return "installed"

    @property
    def install(self) -> str:
        """The command that installs it."""
        return f"pip install 'trioworkers[{self.name}]'"


@attrs.frozen
class Diagnosis:
    """What is installed; versions by name."""

    versions: dict[str, str | None]
    extras: tuple[Extra, ...]


def doctor(style: Style) -> int:
    """Show what is installed.

    Returns:
        The exit code.

    Raises:
        Refusal: the output cannot be written.
    """
    diagnosis = diagnose()
    if style is Style.JSON:
        emit(as_json(diagnosis))
    elif style is Style.PLAIN:
        emit("".join(f"{line}\n" for line in plain_lines(diagnosis)))
    else:
        _show(diagnosis, Console(highlight=False))
    return ENDED


# Finding out


def diagnose() -> Diagnosis:
    """Look at what is installed beside this interpreter."""
    versions: dict[str, str | None] = {
        "trioworkers": __version__,
        "python": f"{platform.python_version()} ({platform.python_implementation()})",
        "platform": platform.platform(terse=True),
    }
    versions.update((name, _installed(name)) for name in _CORE)
    return Diagnosis(versions, tuple(_extras(_requirements())))


def _requirements() -> list[str]:
    try:
        return metadata("trioworkers").get_all("Requires-Dist") or []
    except PackageNotFoundError:  # run from a source tree that was not installed
        return []


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _extras(requirements: Iterable[str]) -> Iterator[Extra]:
    extras: dict[str, list[Package]] = {}
    for requirement in requirements:
        name, wanted, extra = parse_requirement(requirement)
        if extra is not None and extra not in _FOR_DEVELOPERS:
            extras.setdefault(extra, []).append(Package(name, wanted, _installed(name)))
    for extra, packages in sorted(extras.items()):
        yield Extra(extra, tuple(sorted(packages, key=lambda package: package.name)))


def parse_requirement(text: str) -> tuple[str, str, str | None]:
    """Take a line of metadata apart: the package, which versions, and for which extra."""
    found = _REQUIREMENT.match(text)
    if found is None:
        return text, "", None
    return found["name"], found["wanted"].strip(), found["extra"]


def satisfies(installed: str, wanted: str) -> bool:
    """Compare a version with clauses such as `>=3.5,<4`; what it does not know, it lets pass."""
    ours = _numbers(installed)
    for clause in wanted.split(","):
        found = _CLAUSE.match(clause.strip())
        if found is None:
            continue
        theirs = _numbers(found[2])
        length = max(len(ours), len(theirs))
        left = ours + (0,) * (length - len(ours))
        right = theirs + (0,) * (length - len(theirs))
        if not {
            ">=": left >= right,
            "<=": left <= right,
            "==": left == right,
            "!=": left != right,
            "<": left < right,
            ">": left > right,
        }[found[1]]:
            return False
    return True


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


# Writing it


def plain_lines(diagnosis: Diagnosis) -> Iterator[str]:
    """Write it as lines of fields with tabs between them; the first says what a line is."""
    for name, found in diagnosis.versions.items():
        yield f"version\t{name}\t{found or 'missing'}"
    for extra in diagnosis.extras:
        yield f"extra\t{extra.name}\t{extra.state}\t{extra.install}"
        for package in extra.packages:
            installed = package.installed or "missing"
            yield f"package\t{extra.name}\t{package.name}\t{package.wanted}\t{installed}"


def as_json(diagnosis: Diagnosis) -> str:
    """Write it as one JSON document."""
    document = {
        "versions": diagnosis.versions,
        "extras": {
            extra.name: {
                "state": extra.state,
                "install": extra.install,
                "packages": {
                    package.name: {
                        "wanted": package.wanted,
                        "installed": package.installed,
                        "state": package.state,
                    }
                    for package in extra.packages
                },
            }
            for extra in diagnosis.extras
        },
    }
    return json.dumps(document, indent=2) + "\n"


_STYLES: dict[State, str] = {"installed": "green", "missing": "yellow", "wrong version": "red"}


def _show(diagnosis: Diagnosis, console: Console) -> None:
    versions = Table.grid(padding=(0, 3, 0, 0))
    for name, found in diagnosis.versions.items():
        versions.add_row(name, Text(found or "missing", style="cyan" if found else "red"))
    extras = Table(
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 2, 0, 0),
        header_style="bold",
    )
    for title in ("Extra", "State", "Packages"):
        extras.add_column(title)
    for extra in diagnosis.extras:
        packages = ", ".join(_described(package) for package in extra.packages)
        extras.add_row(extra.name, Text(extra.state, style=_STYLES[extra.state]), packages)
    console.print()
    console.print(Padding(versions, (0, 0, 0, 2)))
    console.print()
    console.print(Padding(extras, (0, 0, 0, 2)))
    for extra in diagnosis.extras:
        if extra.state != "installed":
            console.print(Text(f"  To install {extra.name}:  {extra.install}"))
    console.print()


def _described(package: Package) -> str:
    if package.state == "installed":
        return f"{package.name} {package.installed}"
    found = "" if package.installed is None else f", not {package.installed}"
    return f"{package.name} {package.wanted}{found}"
