"""`trioworkers demo --remote`: a second process counts, and never outlives the first."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.cli.program import (
    FEW,
    counting,
    interrupt,
    is_running,
    report,
    run,
    second_process_of,
    started,
    wait_until,
)


def test_the_same_is_found(tmp_path: Path) -> None:
    """Two processes find what one finds, whatever the files are called; and tell of the link."""
    (tmp_path / "long.txt").write_text("gamma alpha alpha the the the\n" * 1000)
    (tmp_path / "many.txt").write_text(
        " ".join(f"{'abcdefghij'[n % 10] * (n + 1)}" for n in range(99))
    )
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("alpha\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / ".hidden").touch()
    here, there = report(str(tmp_path)), report("--remote", str(tmp_path))
    for found in (here, there):
        del found["counting"]["seconds"]
    assert there["counting"] == here["counting"]
    assert there["complete"] is True
    assert here["link"] is None
    assert there["link"]["sent"] > 0
    assert there["link"]["received"] > 4
    assert 0 < there["link"]["round_trip"]["p50"] < 1


def test_plain(tmp_path: Path) -> None:
    """Without a terminal there are lines about the link too."""
    done = run("demo", "--remote", *FEW, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert [fields[1] for fields in lines if fields[0] == "link"] == [
        "sent",
        "received",
        "round trip",
    ]
    assert lines[-1] == ["run", "complete"]


def test_missing_paths(tmp_path: Path) -> None:
    """A path that does not exist exits 66 before a process is started."""
    done = run("demo", "--remote", str(tmp_path / "missing"))
    assert done.returncode == 66


def test_ctrl_c_ends(much: Path) -> None:
    """Ctrl-C lets the second process finish the files in hand, reports them and exits 0."""
    with counting("--remote", much) as (process, _):
        interrupt(process)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0
    assert errors.count("\n") == 1
    assert "Ctrl-C: ending" in errors
    found = json.loads(output)
    assert found["complete"] is False
    assert found["counting"]["text"] > 0
    assert found["counting"]["text"] + found["counting"]["uncounted"] == 20


def test_ctrl_c_of_a_terminal_ends(much: Path) -> None:
    """The second process is not in the foreground, so a terminal's Ctrl-C does not reach it."""
    with counting("--remote", much) as (process, second):
        assert os.getpgid(second) == second != os.getpgid(process.pid)
        interrupt(process)


def test_ctrl_c_twice_cancels(much: Path) -> None:
    """Ctrl-C twice cancels both processes: nothing is reported, and the exit code is 130."""
    with counting("--remote", much) as (process, _):
        assert process.stderr is not None
        interrupt(process)
        assert "Ctrl-C: ending" in process.stderr.readline()
        interrupt(process)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130
    assert not output
    assert errors == "trioworkers: cancelled\n"


def test_ctrl_c_before_the_second_process_has_started() -> None:
    """A Ctrl-C that comes before there is anything to end cancels, and says so in one line."""
    with started("demo", "--remote", "--json", *FEW) as process:
        wait_until(lambda: second_process_of(process) is not None)
        interrupt(process)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert not output
    assert errors == "trioworkers: cancelled\n"


def test_a_killed_first_process(much: Path) -> None:
    """If the first process is killed, the second one ends: its link and its input are gone."""
    with counting("--remote", much) as (process, _):
        process.kill()


def test_a_killed_second_process(much: Path) -> None:
    """If the second process is killed, one line says so, and the exit code is 1."""
    with counting("--remote", much) as (process, second):
        os.kill(second, signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 1
    assert not output
    assert errors.startswith("trioworkers: the second process is gone: the link to it is lost")
    assert errors.count("\n") == 1


def test_a_stuck_second_process(much: Path) -> None:
    """A second process that does not react is killed."""
    with counting("--remote", much) as (process, second):
        assert process.stderr is not None
        os.kill(second, signal.SIGSTOP)
        interrupt(process)
        assert "Ctrl-C: ending" in process.stderr.readline()
        interrupt(process)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert not is_running(second)
    assert errors == "trioworkers: cancelled\n"
