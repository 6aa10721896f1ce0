"""The index of errors is complete."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import get_args

import pytest

from tests.docs.pages import DOCS
from tests.source import MODULES
from trioworkers import DeadLetterReason, errors

INDEX = (DOCS / "errors.md").read_text(encoding="utf-8")
SEMANTICS = (DOCS / "semantics.md").read_text(encoding="utf-8")

_LOGS = {"logger.warning", "logger.exception", "logger.error", "logger.info", "warnings.warn"}


def chapter(title: str) -> str:
    """Return what stands in the index between a heading of the second rank and the next."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", INDEX, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def logged() -> Iterator[tuple[str, str]]:
    """Find the texts that the package logs: (module and line, longest piece without values)."""
    for name, module in MODULES.items():
        if name.split(".")[0] in {"_cli", "testing"}:
            continue
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _LOGS:
                text = ast.unparse(node.args[0])
                pieces = re.split(r"%[\d.]*[a-z]|\{[^}]*\}|\\n", text.removeprefix("f"))
                yield f"{name}:{node.lineno}", max(pieces, key=len).strip(" '\"")


@pytest.mark.parametrize("name", errors.__all__)
def test_every_error_is_explained(name: str) -> None:
    """Each class of trioworkers.errors has a heading of its own in the index."""
    assert re.search(rf"^### {name}$", chapter("Exceptions of this package"), re.MULTILINE)


@pytest.mark.parametrize("reason", get_args(DeadLetterReason))
def test_every_reason_of_a_dead_letter_is_explained(reason: str) -> None:
    """Each reason has a row in the index, and one in the semantics."""
    row = rf"^\| `{reason}` \|"
    assert re.search(row, chapter("Dead letters"), re.MULTILINE)
    assert re.search(row, SEMANTICS, re.MULTILINE)


def test_no_reason_is_made_up() -> None:
    """The index explains no reason that does not exist."""
    rows = re.findall(r"^\| `([^`]+)` \|", chapter("Dead letters"), re.MULTILINE)
    assert rows == list(get_args(DeadLetterReason))


def test_every_refusal_is_explained() -> None:
    """Each reason that a request is refused with has a row in the index."""
    refusals = {
        node.args[0].value
        for module in MODULES.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "refuse"
        and isinstance(node.args[0], ast.Constant)
    }
    rows = re.findall(r"^\| `([^`]+)` \|", chapter("Why a job was refused"), re.MULTILINE)
    assert sorted(rows) == sorted(str(reason) for reason in refusals)


@pytest.mark.parametrize(("place", "piece"), list(logged()))
def test_every_log_line_is_explained(place: str, piece: str) -> None:
    """Each text that the package logs can be found in the index."""
    assert " ".join(piece.split()) in " ".join(INDEX.split()), place
