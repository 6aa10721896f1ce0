"""`trioworkers demo --chaos`: the link is reset in mid-work, and nobody would know by the results."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.cli.program import (
    FEW,
    counting,
    interrupt,
    report,
    run,
)


def test_the_same_is_found(tmp_path: Path) -> None:
    """S-PROXY-8: a link that is reset ten times changes no result, and every job was done once."""
    for number in range(300):
        (tmp_path / f"{number}.txt").write_text(f"alpha {'abcdefghij'[number % 10] * 9}\n" * 20)
    here, there = report(str(tmp_path)), report("--chaos", str(tmp_path))
    for found in (here, there):
        del found["counting"]["seconds"]
    assert there["counting"] == here["counting"]
    assert there["complete"] is True
    chaos = there["link"]["chaos"]
    assert chaos["cuts"] == 10
    assert chaos["resumed"] >= 5
    assert chaos["harmless"] is True
    assert chaos["asked"] == chaos["done"] > 200
    assert chaos["files"] == [300, 300]
    assert chaos["words"] == [12_000, 12_000]
    assert report("--remote", str(tmp_path))["link"]["chaos"] is None


def test_plain(tmp_path: Path) -> None:
    """Without a terminal there are lines about the cuts, as many of them as were asked for."""
    (tmp_path / "text").write_text("hello " * 1000)
    done = run("demo", "--remote", "--chaos", "--cuts", "3", *FEW, str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    chaos = [fields[1:] for fields in lines if fields[0] == "chaos"]
    assert chaos[0] == ["cuts", "3"]
    assert [fields[0] for fields in chaos] == [
        "cuts",
        "resumed",
        "sent again",
        "jobs",
        "files",
        "words",
    ]
    assert lines[-1] == ["run", "complete"]


def test_ctrl_c_ends(much: Path) -> None:
    """Ctrl-C lets the second process finish the files in hand, cuts or not, and exits 0."""
    with counting("--chaos", much) as (process, _):
        interrupt(process)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0
    assert errors.count("\n") == 1
    assert "Ctrl-C: ending" in errors
    found = json.loads(output)
    assert found["counting"]["text"] + found["counting"]["uncounted"] == 20


def test_ctrl_c_twice_cancels(much: Path) -> None:
    """Ctrl-C twice cancels both processes: nothing is reported, and the exit code is 130."""
    with counting("--chaos", much) as (process, _):
        assert process.stderr is not None
        interrupt(process)
        assert "Ctrl-C: ending" in process.stderr.readline()
        interrupt(process)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 130
    assert not output
    assert errors == "trioworkers: cancelled\n"


def test_a_killed_second_process(much: Path) -> None:
    """If the second process is killed, its session does not go on: one line says so."""
    with counting("--chaos", much) as (process, second):
        os.kill(second, signal.SIGKILL)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 1
    assert not output
    assert errors.startswith("trioworkers: the second process is gone: the link to it is lost")
    assert errors.count("\n") == 1


def test_a_number_of_cuts_that_cannot_be() -> None:
    """There is at least one cut."""
    assert run("demo", "--chaos", "--cuts", "0").returncode == 64
