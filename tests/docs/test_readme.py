"""The example in the README."""

from __future__ import annotations

import pytest

from tests.docs.pages import README, run_script, scripts


def test_the_example_prints_what_it_says(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one example of the README runs, and prints the output below it."""
    (example,) = scripts(README)
    run_script(example, monkeypatch)
    assert capsys.readouterr().out == example.output


def test_the_example_is_short() -> None:
    """The example fits on a screen: at most 40 lines that are not blank."""
    (example,) = scripts(README)
    assert len([line for line in example.block.text.splitlines() if line.strip()]) <= 40
