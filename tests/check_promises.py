"""List the promises of docs/semantics.md that no test names in its docstring.

Run it as `python tests/check_promises.py`.  It exits with 1 if a promise has no test, or if a test
names a promise that is not stated.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable
from pathlib import Path

FAMILIES = "MSG|MAIL|BUS|LIFE|JOB|SUP|RUN|PROXY|DIST|HUB"
NAMED = re.compile(rf"\bS-(?:{FAMILIES})-\d+\b")
# A promise is stated by a heading, or by a list item, that starts with its number in bold.
STATED = re.compile(
    rf"^\s*(?:#+\s+(?:\*\*)?|(?:[-*+]|\d+[.)])\s+\*\*)(S-(?:{FAMILIES})-\d+)\b", re.MULTILINE
)

TESTS = Path(__file__).parent
SEMANTICS = TESTS.parent / "docs" / "semantics.md"


def stated(text: str) -> list[str]:
    """List the promises that a page states, in its order."""
    return list(dict.fromkeys(STATED.findall(text)))


def docstrings(source: str) -> Iterable[str]:
    """Find the docstrings of the test functions and test classes of a file."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(name=name) if name.startswith("Test"):
                yield ast.get_docstring(node) or ""
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if name.startswith("test_"):
                    yield ast.get_docstring(node) or ""


def named(tests: Path) -> set[str]:
    """Collect the promises that the tests below a folder name."""
    sources = (path.read_text(encoding="utf-8") for path in tests.rglob("test_*.py"))
    return {
        promise
        for source in sources
        for docstring in docstrings(source)
        for promise in NAMED.findall(docstring)
    }


def problems(semantics: Path, tests: Path) -> list[str]:
    """Say what is wrong, a line each."""
    promises = stated(semantics.read_text(encoding="utf-8"))
    if not promises:
        return [f"{semantics.name} states no promise"]
    tested = named(tests)
    untested = [f"{each}: no test names it" for each in promises if each not in tested]
    unknown = sorted(tested - set(promises))
    return untested + [f"{each}: a test names it, but it is not stated" for each in unknown]


def main() -> int:
    """Print the problems of this project; tell the shell whether there are any."""
    found = problems(SEMANTICS, TESTS)
    print("\n".join(found) if found else "Every promise has a test.")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
