"""The pages of documentation, and the code in them."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import ModuleType

import attrs
import pytest
import trio
from trio.testing import MockClock

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = ROOT / "docs"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

# Three backquotes, a language, perhaps a file's name; then the text up to the closing backquotes.
_FENCE = re.compile(r"^```(\w+)?(?: ([\w./]+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@attrs.frozen
class Block:
    """One fenced block of a page; `line` is that of its first line of code."""

    page: Path
    line: int
    language: str
    name: str
    text: str

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """Find the fenced blocks of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            page=page,
            line=text.count("\n", 0, found.start(3)) + 1,
            language=found[1] or "",
            name=found[2] or "",
            text=found[3],
        )
        for found in _FENCE.finditer(text)
    ]


@attrs.frozen
class Script:
    """A block of Python without a file's name, and the output that stands below it."""

    block: Block
    output: str | None

    def __str__(self) -> str:
        return str(self.block)


def scripts(page: Path) -> list[Script]:
    """Find the scripts of a page: a block of text right behind one is what it prints."""
    found = blocks(page)
    return [
        Script(block, after.text if after is not None and after.language == "text" else None)
        for block, after in zip_longest(found, found[1:])
        if block.language == "python" and not block.name
    ]


def prose(page: Path) -> str:
    """Return a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def run_script(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a script as it stands, except that trio's time jumps ahead when everybody waits.

    Not if it uses a link: others take their time, and the clock must not jump meanwhile.
    """
    run = trio.run

    def run_quickly(*args: object, **kwargs: object) -> object:
        return partial(run, clock=MockClock(autojump_threshold=0))(*args, **kwargs)  # type: ignore[arg-type]

    if "trioworkers.proxies" not in script.block.text:
        monkeypatch.setattr(trio, "run", run_quickly)
    module = ModuleType(f"docs_{script.block.page.stem}_{script.block.line}")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    # Blank lines before it, so that a traceback names the line of the page.
    source = "\n" * (script.block.line - 1) + script.block.text
    exec(compile(source, str(script.block.page), "exec"), module.__dict__)


def run_files(page: Path, folder: Path) -> None:
    """Write the blocks of a page that have a file's name into a folder, and run their tests there.

    Warnings are errors, and the settings of this project do not count.
    """
    for block in blocks(page):
        if block.name:
            (folder / block.name).write_text(block.text, encoding="utf-8")
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", settings]
    run = subprocess.run(
        [*command, folder], cwd=folder, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
