"""The public face: what `trioworkers` exports, and where each name is at home."""

from __future__ import annotations

import importlib
import inspect
from types import ModuleType

import pytest

import trioworkers
from tests.source import MODULES, PACKAGE

# Tools are imported by who needs them: they are no second home of a name, and need extras.
TOOLS = {"__main__", "bench", "dashboard", "instruments", "testing"}

# Public namespaces of their own: modules without an underscore, right below the package.
NAMESPACES = sorted(
    name for name in MODULES if name and "." not in name and name[0] != "_" and name not in TOOLS
)
EXPORTS: list[str] = sorted(getattr(trioworkers, "__all__", []))


def namespace(name: str) -> ModuleType:
    """Import a public namespace; without the extra that it needs, skip."""
    try:
        return importlib.import_module(f"{PACKAGE}.{name}")
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == PACKAGE:
            raise
        pytest.skip(f"{error.name} is not installed")


def exported(module: ModuleType) -> set[str]:
    """Name what a public namespace exports."""
    return set(module.__all__)


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_exist_and_are_documented(name: str) -> None:
    """Each exported name exists; classes and functions have a docstring of their own."""
    value = getattr(trioworkers, name)
    if inspect.isclass(value):
        assert vars(value).get("__doc__"), f"{name} has no docstring"
    elif inspect.isroutine(value):
        assert value.__doc__, f"{name} has no docstring"


@pytest.mark.parametrize("name", EXPORTS)
def test_exports_have_one_home(name: str) -> None:
    """Each exported name is defined in a private module, or in exactly one public one."""
    value = getattr(trioworkers, name)
    homes = [each for each in NAMESPACES if name in exported(namespace(each))]
    assert len(homes) <= 1
    assert all(getattr(namespace(home), name) is value for home in homes)
    defined_in: str = getattr(value, "__module__", None) or ""
    if defined_in.startswith(f"{PACKAGE}."):
        private = defined_in.split(".")[1].startswith("_")
        assert private or homes == [defined_in.split(".")[1]]


def test_nothing_public_is_left_out() -> None:
    """`trioworkers` shows no name that it does not export, and exports none twice."""
    shown = {
        name
        for name, value in vars(trioworkers).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert shown <= set(EXPORTS)
    assert len(set(EXPORTS)) == len(EXPORTS)


@pytest.mark.parametrize("name", NAMESPACES)
def test_namespaces_export_what_exists(name: str) -> None:
    """A public namespace says what it exports, all of it exists and is documented."""
    module = namespace(name)
    assert exported(module)
    for each in exported(module):
        value = getattr(module, each)
        if inspect.isclass(value):
            assert vars(value).get("__doc__"), f"{name}.{each} has no docstring"
        elif inspect.isroutine(value):
            assert value.__doc__, f"{name}.{each} has no docstring"


def test_namespaces_share_nothing() -> None:
    """No name stands in two public namespaces."""
    seen: dict[str, str] = {}
    for name in NAMESPACES:
        for each in exported(namespace(name)):
            assert seen.setdefault(each, name) == name, f"{each} is in {seen[each]} and {name}"
