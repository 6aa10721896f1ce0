"""The package's source, parsed: what test_layers.py and test_house.py look at."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import attrs

PACKAGE = "trioworkers"
BENCHMARKS = "_benchmarks"
"""What a wheel calls the folder `benchmarks`, which is beside the package and has rules of its own."""


@attrs.frozen
class Module:
    """One module, named from below the package: `_bus`, `wire.codec`, and "" for the package."""

    name: str
    is_package: bool
    text: str
    tree: ast.Module

    def __str__(self) -> str:
        return f"{PACKAGE}.{self.name}".rstrip(".")


def read_package() -> dict[str, Module]:
    """Read the modules of the package that is imported, from the source tree or from a wheel."""
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    root = Path(next(iter(spec.submodule_search_locations)))
    modules = {}
    for path in sorted(root.rglob("*.py")):
        parts = list(path.relative_to(root).with_suffix("").parts)
        if parts[0] == BENCHMARKS:
            continue
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        text = path.read_text(encoding="utf-8")
        modules[name] = Module(name, is_package, text, ast.parse(text, filename=str(path)))
    return modules


MODULES = read_package()
