"""The house has storeys, and imports go down them only, or leftwards within one."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import attrs
import pytest

from tests.source import MODULES, PACKAGE, Module

# Lowest storey first, and from left to right.  A package stands for all modules in it, except those
# that have a place of their own.
STOREYS: list[list[str]] = [
    ["_values", "messages", "errors", "abc"],
    ["_version", "_checks", "_payloads", "wire", "hub.core"],
    [
        "_interrupts",
        "_clock",
        "_observers",
        "_waits",
        "_streams",
        "_mailbox",
        "_routes",
        "_registry",
        "_threads",
        "_bus",
    ],
    [
        "_tree",
        "_handlers",
        "_requests",
        "_jobs",
        "_asking",
        "_job_groups",
        "_participant",
        "_turns",
        "_address",
        "_slot",
        "_worker",
        "ui",
    ],
    ["_supervisor"],
    ["_signals", "_watchdog", "_root", "_runner", "_open_runner"],
    ["proxies", "brokers", "hub"],
    ["bench", "_cli", "dashboard", "instruments", "testing", "__main__"],
]

# The package itself re-exports what these storeys hold; those above may import it.
RE_EXPORTED = range(6)

# Imports upwards that only a type checker follows: (importer, imported) -> reason.
UPWARDS_FOR_TYPES: dict[tuple[str, str], str] = {
    ("_values", "messages"): "a dead letter holds a message, a message's base holds values",
    ("_tree", "_runner"): "the runner is in what all nodes share",
    ("_worker", "_runner"): "`worker.runner` has a type",
}

# The lowest two storeys do no I/O and know no time: clocks, ids and chance are passed in.
SANS_IO = range(2)
IO_MODULES = {
    *("asyncio", "hiredis", "multiprocessing", "os", "random", "secrets", "select", "selectors"),
    *("signal", "socket", "sqlite3", "ssl", "subprocess", "threading", "time", "trio"),
    *("trio_websocket", "uuid", "wsproto"),
}

RANKS = {
    name: (number, place)
    for number, storey in enumerate(STOREYS)
    for place, name in enumerate(storey)
}


@attrs.frozen
class Import:
    """One imported module, by its whole name."""

    target: str
    line: int
    for_types: bool


def absolute(module: Module, level: int, target: str | None) -> str:
    """Make the whole name of what a (relative) import names."""
    if level == 0:
        return target or ""
    package = str(module).split(".")
    if not module.is_package:
        package.pop()
    package = package[: len(package) - (level - 1)]
    return ".".join([*package, *([target] if target else [])])


def is_type_checking(test: ast.expr) -> bool:
    """Tell whether this is the condition of an `if TYPE_CHECKING:`."""
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def targets(module: Module, node: ast.AST) -> Iterator[str]:
    """Name what one statement or call imports: the submodule where there is one."""
    match node:
        case ast.Import(names=names):
            for alias in names:
                yield alias.name
        case ast.ImportFrom(module=origin, names=names, level=level):
            base = absolute(module, level, origin)
            for alias in names:
                whole = f"{base}.{alias.name}"
                yield whole if whole.removeprefix(f"{PACKAGE}.") in MODULES else base
        case ast.Call(func=func, args=[ast.Constant(value=str(name)), *_]):
            if ast.unparse(func) in {"importlib.import_module", "import_module", "__import__"}:
                level = len(name) - len(name.lstrip("."))
                yield absolute(module, level, name.lstrip("."))


def imports(module: Module) -> Iterator[Import]:
    """Find every import of a module, inside functions and conditions too."""

    def walk(node: ast.AST, for_types: bool) -> Iterator[Import]:
        for target in targets(module, node):
            yield Import(target, getattr(node, "lineno", 0), for_types)
        if isinstance(node, ast.If) and is_type_checking(node.test):
            for child in node.body:
                yield from walk(child, True)
            for child in node.orelse:
                yield from walk(child, for_types)
            return
        for child in ast.iter_child_nodes(node):
            yield from walk(child, for_types)

    yield from walk(module.tree, False)


def room(name: str) -> str | None:
    """Find the entry of the table that a module belongs to, the most exact one."""
    parts = name.split(".")
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((prefix for prefix in prefixes if prefix in RANKS), None)


def rank(name: str) -> tuple[int, float]:
    """Say how far up, and how far right, a module is."""
    if not name:  # the package itself
        return RE_EXPORTED[-1], float("inf")
    found = room(name)
    assert found is not None, f"{name} is in no storey: add it to the table in {__file__}"
    return RANKS[found]


def goes_down(importer: str, imported: str) -> bool:
    """Tell whether the house allows this import."""
    if importer and imported and room(importer) == room(imported):
        return True
    return rank(imported) < rank(importer)


LOW = [name for name in MODULES if (found := room(name)) and RANKS[found][0] in SANS_IO]


def test_every_module_has_its_place() -> None:
    """A module that the table of storeys does not know has no place in the house."""
    homeless = [name for name in MODULES if name and room(name) is None]
    assert not homeless, f"add these to the table STOREYS in {__file__}: {homeless}"


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_down(name: str) -> None:
    """A module imports from lower storeys, or from its left, and from nowhere else."""
    wrong = []
    for found in imports(MODULES[name]):
        if found.target.split(".")[0] != PACKAGE:
            continue
        imported = found.target.removeprefix(PACKAGE).removeprefix(".")
        if found.for_types and (name, imported) in UPWARDS_FOR_TYPES:
            continue
        if not goes_down(name, imported):
            wrong.append(f"line {found.line}: {imported or PACKAGE}")
    assert not wrong, f"{MODULES[name]} imports upwards: {wrong}"


@pytest.mark.parametrize("pair", UPWARDS_FOR_TYPES, ids=" to ".join)
def test_exceptions_are_needed(pair: tuple[str, str]) -> None:
    """An exception that nothing uses any more is taken out of the list."""
    importer, imported = pair
    whole = f"{PACKAGE}.{imported}"
    assert any(found.for_types and found.target == whole for found in imports(MODULES[importer]))
    assert not goes_down(importer, imported)


@pytest.mark.parametrize("name", LOW)
def test_low_storeys_do_no_io(name: str) -> None:
    """The lowest two storeys import nothing that does I/O, tells the time or draws lots."""
    found = {each.target.split(".")[0] for each in imports(MODULES[name]) if not each.for_types}
    assert not found & IO_MODULES


SAMPLE = """
import trioworkers.errors, asyncio
from . import _bus
from .wire import codec
from trioworkers import Worker
if TYPE_CHECKING:
    from ._runner import WorkerRunner
else:
    from ._supervisor import x
def late():
    import importlib
    importlib.import_module("trioworkers._cli")
    importlib.import_module(".hub.core", "trioworkers")
"""


def test_all_ways_to_import_are_seen() -> None:
    """Imports in functions, by name, relative ones and those for types are all found."""
    sample = Module("_worker", False, SAMPLE, ast.parse(SAMPLE))
    found = {(each.target, each.for_types) for each in imports(sample)}
    assert {target for target, for_types in found if for_types} == {"trioworkers._runner"}
    assert {target for target, for_types in found if not for_types} >= {
        "asyncio",
        "importlib",
        "trioworkers",
        "trioworkers._cli",
        "trioworkers._supervisor",
        "trioworkers.errors",
        "trioworkers.hub.core",
    }


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("_bus", "messages", True),
        ("_bus", "_mailbox", True),
        ("_mailbox", "_bus", False),
        ("_bus", "_runner", False),
        ("wire.session", "wire.codec", True),
        ("hub.core", "hub.server", False),
        ("hub.server", "hub.core", True),
        ("_worker", "", False),
        ("proxies.client", "", True),
        ("", "_runner", True),
        ("", "proxies", False),
    ],
)
def test_directions(importer: str, imported: str, allowed: bool) -> None:
    """Down and leftwards is allowed, upwards and rightwards is not; a package is one room."""
    assert goes_down(importer, imported) is allowed
