"""The programs of the tutorial, and the tests in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.pages import DOCS, Script, blocks, run_files, run_script, scripts

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
    """The files of the chapter about testing are a test suite that passes."""
    names = [block.name for block in blocks(TUTORIAL) if block.name]
    assert names == ["conftest.py", "exchange.py", "test_exchange.py"]
    run_files(TUTORIAL, tmp_path)
