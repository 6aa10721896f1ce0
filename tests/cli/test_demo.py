"""`trioworkers demo`, as a program."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from time import sleep

import pytest

from tests.cli.program import (
    FEW,
    interrupt,
    reads_below,
    report,
    run,
    run_command,
    started,
    wait_until,
)

# Started by root, a program may read everything; without these two capabilities it may not.
WITHOUT_PRIVILEGES = """
import ctypes, os, sys
for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
    ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
os.execv(sys.executable, [sys.executable, "-m", "trioworkers", *sys.argv[1:]])
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with two texts and a binary file."""
    (tmp_path / "long.txt").write_text("gamma alpha alpha the the the\n" * 1000)
    (tmp_path / "short.txt").write_text("alpha\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    return tmp_path


def test_json(folder: Path) -> None:
    """`--json` prints one document: what was counted, both lanes' latencies, and the cancel."""
    found = report("--workers", "2", str(folder))
    assert found["complete"] is True
    counting = found["counting"]
    assert (counting["text"], counting["binary"], counting["workers"]) == (2, 1, 2)
    assert (counting["words"], counting["different"], counting["bytes"]) == (6001, 3, 30006)
    assert [word["word"] for word in counting["top_words"]] == ["alpha", "gamma"]
    assert counting["top_words"][0]["count"] == 2001
    assert [file["words"] for file in counting["top_files"]] == [6000, 1]
    data = found["flood"]["data"]
    assert data["count"] == 2000
    assert 0 < data["p50"] <= data["p99"] <= data["max"]
    assert found["cancel"]["workers"] == 9
    assert found["cancel"]["seconds"] > 0


def test_system_messages_arrive() -> None:
    """While a worker is flooded, system messages from a thread are handled."""
    done = run("demo", "--json", __file__)
    system = json.loads(done.stdout)["flood"]["system"]
    assert system["count"] > 0
    assert 0 < system["p50"] <= system["max"]


def test_plain(folder: Path) -> None:
    """Without a terminal the output is lines of fields with tabs, without colours or bars."""
    done = run("demo", *FEW, "--letters", "3", "--top", "1", str(folder))
    assert done.returncode == 0
    assert not done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert ["total", "text", "2"] in lines
    assert ["word", "the", "3000"] in lines
    assert [fields[0] for fields in lines].count("file") == 1
    assert lines[-1] == ["run", "complete"]
    assert "\x1b" not in done.stdout
    assert run("demo", *FEW, "--plain", "--top", "1", str(folder)).stdout.count("file\t") == 1


def test_nothing_to_count(tmp_path: Path) -> None:
    """An empty folder is no error: there is nothing to count, and the rest goes on."""
    found = report(str(tmp_path))
    assert found["complete"] is True
    assert (found["counting"]["text"], found["counting"]["workers"]) == (0, 0)


def test_missing_paths(folder: Path) -> None:
    """All paths are looked at before anything starts; one that does not exist exits 66."""
    done = run("demo", str(folder), str(folder / "missing"))
    assert done.returncode == 66
    assert not done.stdout
    assert "missing' cannot be counted: no such file or directory" in done.stderr


def test_unreadable_files(folder: Path) -> None:
    """Files and folders that may not be read are counted, and not fatal."""
    (folder / "secret").write_text("secret")
    (folder / "secret").chmod(0)
    (folder / "closed").mkdir(mode=0)
    command = [sys.executable, "-c", WITHOUT_PRIVILEGES, "demo", "--json", *FEW, str(folder)]
    done = run_command(command)
    assert done.returncode == 0
    counting = json.loads(done.stdout)["counting"]
    assert (counting["text"], counting["unreadable"]) == (2, 2)


def test_ctrl_c_ends(much: Path) -> None:
    """Ctrl-C says in one line that it ends, finishes the file in hand, reports it and exits 0."""
    with started("demo", "--json", "--workers", "1", str(much)) as process:
        wait_until(lambda: reads_below(process, much))
        interrupt(process)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors.count("\n") == 1
    assert "Ctrl-C: ending" in errors
    found = json.loads(output)
    assert found["complete"] is False
    assert found["counting"]["text"] > 0
    assert found["counting"]["text"] + found["counting"]["uncounted"] == 20
    assert found["flood"] is None


def test_ctrl_c_while_it_is_loaded(tmp_path: Path) -> None:
    """A Ctrl-C while the program's modules are imported cancels, and says so in one line."""
    (tmp_path / "cyclopts.py").write_text("raise KeyboardInterrupt\n")
    done = run("demo", *FEW, cwd=tmp_path)
    assert done.returncode == 130
    assert not done.stdout
    assert done.stderr == "trioworkers: cancelled\n"


def test_a_late_ctrl_c_is_quiet(folder: Path) -> None:
    """A Ctrl-C at any time after the report is printed changes nothing but the exit code."""
    for delay in (0, 0.005, 0.01, 0.02, 0.05):
        with started("demo", *FEW, str(folder)) as process:
            assert process.stdout is not None
            while process.stdout.readline() != "run\tcomplete\n":
                pass
            sleep(delay)
            interrupt(process)
            _, errors = process.communicate(timeout=60)
        assert process.returncode in (0, 130)
        assert not errors


def test_ctrl_c_twice_cancels(much: Path) -> None:
    """Ctrl-C twice cancels: nothing is reported, and the exit code is 130."""
    with started("demo", "--json", str(much)) as process:
        assert process.stderr is not None
        wait_until(lambda: reads_below(process, much))
        interrupt(process)
        assert "Ctrl-C: ending" in process.stderr.readline()
        interrupt(process)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not output
    assert errors == "trioworkers: cancelled\n"
