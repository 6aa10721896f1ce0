"""Every promise of docs/semantics.md has a test; and the check of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import check_promises

PAGE = """
# Semantics

In prose, **S-HUB-1** states nothing.

## S-MSG-1 Messages
### **S-MSG-2** More
- **S-MAIL-1** A list item.  It mentions **S-MAIL-2** too.
* **S-MAIL-3.** Another.
1. **S-BUS-12**: a numbered one.
   - **S-JOB-3 Exactly one outcome.** An inner one.
- S-RUN-1 is not bold.
- **S-OTHER-1** is of no family.
"""

TEST_FILE = '''
"""S-MSG-1 in a module's docstring does not count."""

def test_one():
    """S-MSG-2, S-MAIL-1: both."""

async def test_two():
    """S-MAIL-3."""
    # S-BUS-12 in a comment does not count

class TestMore:
    """S-BUS-12."""

    def test_three(self):
        """S-JOB-33 is another number than S-JOB-3, which it names."""

def helper():
    """S-MSG-1."""
'''


@pytest.fixture
def project(tmp_path: Path) -> tuple[Path, Path]:
    """Lay out a page of promises and a folder of tests."""
    page, tests = tmp_path / "semantics.md", tmp_path / "tests"
    page.write_text(PAGE, encoding="utf-8")
    (tests / "inner").mkdir(parents=True)
    (tests / "inner" / "test_sample.py").write_text(TEST_FILE, encoding="utf-8")
    return page, tests


def test_stated_promises_are_found() -> None:
    """Headings and list items that start with the bold number state a promise."""
    found = check_promises.stated(PAGE)
    assert found == ["S-MSG-1", "S-MSG-2", "S-MAIL-1", "S-MAIL-3", "S-BUS-12", "S-JOB-3"]


def test_problems_are_found(project: tuple[Path, Path]) -> None:
    """Only the docstrings of tests count, and only numbers that are stated may be named."""
    assert check_promises.problems(*project) == [
        "S-MSG-1: no test names it",
        "S-JOB-33: a test names it, but it is not stated",
    ]


def test_a_page_without_promises_is_a_problem(tmp_path: Path) -> None:
    """A page that states nothing, perhaps in another form, does not pass for complete."""
    page = tmp_path / "semantics.md"
    page.write_text("S-MSG-1", encoding="utf-8")
    assert check_promises.problems(page, tmp_path) == ["semantics.md states no promise"]


@pytest.mark.skipif(not check_promises.SEMANTICS.exists(), reason="there is no page of promises")
def test_every_promise_has_a_test() -> None:
    """Each promise that this project states is named by a test."""
    assert not check_promises.problems(check_promises.SEMANTICS, check_promises.TESTS)
