"""What all commands have in common: the extra, options, exit codes, `python -m`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import trioworkers
from tests.cli.program import LIMIT, PROGRAM, run, run_command
from trioworkers._cli.app import start

WITHOUT_EXTRA = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"rich", "cyclopts"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
sys.argv = ["trioworkers", *sys.argv[1:]]
from trioworkers._cli import main
sys.exit(main())
"""


@pytest.mark.parametrize("arguments", [[], ["demo"]])
def test_without_the_extra(arguments: list[str]) -> None:
    """Without rich and cyclopts every command prints how to install them, and exits 64."""
    done = run_command([sys.executable, "-c", WITHOUT_EXTRA, *arguments])
    assert done.returncode == 64
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'trioworkers[cli]'" in done.stderr


def test_the_script_is_the_module() -> None:
    """The console script does what `python -m trioworkers` does."""
    script = Path(sys.executable).with_name("trioworkers")
    assert run_command([str(script), "--version"]).stdout == run("--version").stdout
    assert run("--version").stdout == f"{trioworkers.__version__}\n"


def test_help() -> None:
    """Without arguments the commands are listed, and the exit code is 0."""
    done = run()
    assert done.returncode == 0
    assert {"demo", "doctor", "run"} <= set(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["dem"], '"dem"'),
        (["run"], "TARGET"),
        (["demo", "--workers", "0"], '"0"'),
        (["demo", "--workers", "many"], '"many"'),
        (["demo", "--plain", "--json"], "--plain and --json exclude each other"),
    ],
)
def test_wrong_arguments(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    """A wrong argument is refused by one sentence that names it, with exit code 64."""
    assert start(arguments) == 64
    output, errors = capsys.readouterr()
    assert not output
    assert len(errors.splitlines()) == 1
    assert sentence in errors


def test_a_wrong_argument_exits() -> None:
    """A wrong argument of the program is its exit code 64."""
    assert run("demo", "--workers", "0").returncode == 64


def test_a_reader_that_goes() -> None:
    """When nobody reads the output, as behind `| head -1`, a command ends quietly with 0."""
    reader, writer = os.pipe()
    os.close(reader)
    with subprocess.Popen([*PROGRAM, "doctor"], stdout=writer, stderr=subprocess.PIPE) as process:
        os.close(writer)
        _, errors = process.communicate(timeout=LIMIT)
    assert process.returncode == 0
    assert not errors


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk() -> None:
    """Output that cannot be written is told in one sentence, and exits 1."""
    with open("/dev/full", "w", encoding="utf-8") as full:
        done = subprocess.run(
            [*PROGRAM, "doctor"], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT
        )
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
