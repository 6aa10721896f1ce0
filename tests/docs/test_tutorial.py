"""The programs of the tutorial, and the tests in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Script, blocks, run_script, scripts

TUTORIAL = DOCS / "tutorial.md"


@pytest.mark.parametrize("script", scripts(TUTORIAL), ids=str)
def test_a_script_prints_what_it_says(
    script: Script, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each program of the tutorial runs as it stands, and prints the output below it."""
    assert script.output is not None, "a program of the tutorial shows what it prints"
    run_script(script, monkeypatch)
    assert capsys.readouterr().out == script.output


def test_the_tests_of_the_tutorial_pass(tmp_path: Path) -> None:
    """The files of the chapter about testing are a test suite that passes, warnings as errors."""
    files = [block for block in blocks(TUTORIAL) if block.name]
    assert {block.name for block in files} >= {"conftest.py", "test_exchange.py"}
    for block in files:
        (tmp_path / block.name).write_text(block.text, encoding="utf-8")
    # -c: the settings of this project are not to be found, should the folder be inside it.
    ini = tmp_path / "pytest.ini"
    ini.write_text("[pytest]\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        ini,
        "-q",
        "-W",
        "error",
        "-p",
        "no:cacheprovider",
    ]
    run = subprocess.run(
        [*command, tmp_path], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
