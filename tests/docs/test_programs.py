"""The code on the other pages."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, Script, blocks, run_files, run_script, scripts

OTHERS = [page for page in PAGES if page.parent == DOCS and page.name != "tutorial.md"]


@pytest.mark.parametrize("script", [each for page in OTHERS for each in scripts(page)], ids=str)
def test_a_program_prints_what_it_says(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each program runs as it stands; if there is output below it, that is what it prints."""
    run_script(script, monkeypatch)
    if script.output is not None:
        assert capsys.readouterr().out == script.output


@pytest.mark.parametrize(
    "page", [page for page in OTHERS if any(block.name for block in blocks(page))], ids=str
)
def test_the_tests_of_a_page_pass(page: Path, tmp_path: Path) -> None:
    """The blocks that name a file are a test suite that passes."""
    run_files(page, tmp_path)


def test_the_app_of_the_command_line_runs(tmp_path: Path) -> None:
    """The app that embedding.md shows is run by the command that stands below it."""
    (app,) = [each for each in blocks(DOCS / "embedding.md") if each.name == "myapp.py"]
    (tmp_path / app.name).write_text(app.text, encoding="utf-8")
    command = [sys.executable, "-m", "trioworkers", "run", "myapp:app"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert sorted(run.stdout.splitlines()) == ["ann says hello", "bob says hello"]
