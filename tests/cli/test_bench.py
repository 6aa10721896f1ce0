"""`trioworkers bench`, as its users run it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.records import record, reports
from tests.cli.program import (
    LIMIT,
    PROGRAM,
    interrupt,
    is_running,
    run,
    run_command,
    started,
    wait_until,
)

WITHOUT_EXTRA = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"hdrh", "matplotlib", "pyperf"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
sys.argv = ["trioworkers", *sys.argv[1:]]
from trioworkers._cli import main
sys.exit(main())
"""


def test_the_subjects_are_listed() -> None:
    """The help of `bench` names every subject."""
    done = run("bench", "--help")
    assert done.returncode == 0
    subjects = {"throughput", "ask", "spawn", "memory", "cancel", "broadcast", "proxy", "priority"}
    assert subjects | {"micro", "compare"} <= set(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize("command", ["ask", "priority"])
def test_without_the_extra(command: str) -> None:
    """Without the extra `bench` a sentence says what to install, and the exit code is 64."""
    done = run_command([sys.executable, "-c", WITHOUT_EXTRA, "bench", command])
    assert done.returncode == 64
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert "pip install 'trioworkers[bench]'" in done.stderr


def test_help_without_the_extra() -> None:
    """What `bench` could do can be read before the extra is there."""
    done = run_command([sys.executable, "-c", WITHOUT_EXTRA, "bench", "--help"])
    assert done.returncode == 0
    assert "throughput" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["asks"], '"asks"'),
        (["ask", "--rounds", "0"], "rounds is 0"),
        (["ask", "--only", "asks"], "no part 'asks': give some of ask,jobs"),
        (["ask", "--quick", "--full"], "exclude each other"),
        (["priority", "--backlog", "-1"], "backlog is -1"),
        (["priority", "--capacity", "5"], "capacity 5 cannot hold"),
        (["priority", "--plot", "plot.pdf"], "a .svg or a .png"),
        (["ask", "--plot", "plot.pdf"], "a .svg or a .png"),
        (["ask", "--plot", "nowhere/plot.svg"], "no folder 'nowhere'"),
        (["ask", "--json", "nowhere/a.json"], "'nowhere/a.json'"),
        (
            ["throughput", "--only", "send,others", "--plot", "plot.svg"],
            "a plot of throughput shows nothing of send,others: add flat to --only",
        ),
        (["micro", "--plot", "plot.svg"], "micro has no plot"),
        (["micro", "--only", "make"], "micro is measured as a whole"),
        (["micro", "--peers"], "micro has no peers"),
    ],
)
def test_wrong_arguments(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """What cannot be done is refused before anything is measured, in one sentence, with 64."""
    done = run("bench", *arguments, cwd=tmp_path)
    assert done.returncode == 64
    assert not done.stdout
    assert len(done.stderr.splitlines()) == 1
    assert sentence in done.stderr


def test_a_peer_that_may_not_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a terminal nobody can be asked, so nothing is installed: 64, and what to say."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    done = run("bench", "ask", "--peers")
    assert done.returncode == 64
    assert "say --yes to let it be installed, or leave out --peers" in done.stderr
    assert not list(tmp_path.rglob("python*"))


def test_a_measurement(tmp_path: Path) -> None:
    """A run gives table, file and picture, whatever lies in the current directory; compared with itself it is no worse."""
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "__init__.py").write_text("raise SystemExit('another one')")
    file, picture = tmp_path / "ask.json", tmp_path / "ask.svg"
    arguments = ("--quick", "--rounds", "1", "--json", str(file), "--plot", str(picture))
    done = run("bench", "ask", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    lines = done.stdout.splitlines()
    head = next(line for line in lines if line.startswith("what"))
    assert head.endswith("ratio [min - max of rounds]")
    assert any(line.startswith("ask, p50") and line.endswith("]") for line in lines)
    kept = json.loads(file.read_text())
    assert kept["subject"] == "ask"
    assert kept["sides"]["bare ask"] == "limits"
    assert picture.read_text().startswith("<?xml")
    assert run("bench", "compare", str(file), str(file)).returncode == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the table cannot be written, the files that were asked for are there all the same."""
    file, picture = tmp_path / "ask.json", tmp_path / "ask.svg"
    few = ("--only", "ask", "--quick", "--rounds", "1")
    arguments = ("bench", "ask", *few, "--json", str(file), "--plot", str(picture))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=LIMIT
        )
    assert done.returncode == 1
    assert done.stderr == "trioworkers: cannot write the output: No space left on device\n"
    assert json.loads(file.read_text())["subject"] == "ask"
    assert picture.exists()


def test_what_is_worse(tmp_path: Path) -> None:
    """A figure of ours that has risen by more than the tolerance is exit code 1."""
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(record({"send": reports(1.0, 1.1, 1.2)})))
    after.write_text(json.dumps(record({"send": reports(1.4, 1.5, 1.6)})))
    done = run("bench", "compare", str(before), str(after))
    assert done.returncode == 1
    assert "worse" in done.stdout
    assert done.stdout.splitlines()[0].endswith("after / before [quartiles]")
    assert run("bench", "compare", str(before), str(after), "--tolerance", "0.5").returncode == 0
    assert run("bench", "compare", str(after), str(before)).returncode == 0


def test_what_may_be_noise(tmp_path: Path) -> None:
    """Two looks of one round each are no verdict: exit code 0, and a sentence that says what to do."""
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(record({"send": reports(1.0)})))
    after.write_text(json.dumps(record({"send": reports(9.0)})))
    done = run("bench", "compare", str(before), str(after))
    assert done.returncode == 0
    assert "9x [-]" in done.stdout
    assert "measure both again with --rounds 3" in done.stderr


def test_what_fails_now(tmp_path: Path) -> None:
    """A run that was measured before and fails now is exit code 1, and is named."""
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(record({"send": reports(1.0), "ask": reports(1.0)})))
    after.write_text(json.dumps(record({"send": reports(1.0), "ask": [{"error": "killed"}]})))
    done = run("bench", "compare", str(before), str(after))
    assert done.returncode == 1
    assert "not compared, because it failed after: ask" in done.stderr
    assert run("bench", "compare", str(after), str(before)).returncode == 0


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "No such file"),
        ("{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[1]", "not written by bench"),
        (json.dumps(record({"other": reports(1)})), "no figure in common"),
        (json.dumps(record({"send": reports(float("nan"))})), "it has NaN, which is no number"),
        (json.dumps(record({"send": reports(1)})).replace("1", "1e999"), "it has 1e999, which"),
        (json.dumps(record({"send": reports(1)}, load="x")), "has 'x' as 'load': no number"),
    ],
    ids=["missing", "cut", "deep", "other", "different", "nan", "large", "edited"],
)
def test_what_cannot_be_compared(tmp_path: Path, text: str | None, sentence: str) -> None:
    """A file that is not there, or that bench has not written, is exit code 66."""
    good, bad = tmp_path / "good.json", tmp_path / "bad.json"
    good.write_text(json.dumps(record({"send": reports(1)})))
    if text is not None:
        bad.write_text(text)
    done = run("bench", "compare", str(good), str(bad))
    assert done.returncode == 66
    assert sentence in done.stderr
    assert len(done.stderr.splitlines()) == 1


def measured_by(process: subprocess.Popen[str]) -> set[int]:
    """Return the processes that a process measures now."""
    found: set[int] = set()
    try:
        for task in Path(f"/proc/{process.pid}/task").iterdir():
            for pid in (task / "children").read_text().split():
                if b"benchmarks." in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.add(int(pid))
    except OSError:  # one of them has ended meanwhile
        pass
    return found


proc = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="there is no /proc")


@proc
def test_ctrl_c_before_a_round_is_complete() -> None:
    """Ctrl-C cancels if there is nothing to show, with 130, and leaves no process behind."""
    with started("bench", "memory") as process:
        wait_until(lambda: bool(measured_by(process)))
        left = measured_by(process)
        interrupt(process)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in errors
    wait_until(lambda: not any(is_running(pid) for pid in left))


@proc
def test_sigterm() -> None:
    """SIGTERM leaves no process behind either."""
    with started("bench", "memory") as process:
        wait_until(lambda: bool(measured_by(process)))
        left = measured_by(process)
        process.terminate()
        process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    wait_until(lambda: not any(is_running(pid) for pid in left))


@proc
def test_ctrl_c_after_a_round() -> None:
    """Ctrl-C ends early, with a table of the rounds that were complete."""
    seen: set[int] = set()

    def is_in_round(number: int) -> bool:
        seen.update(measured_by(process))
        return len(seen) > 3 * (number - 1)

    with started("bench", "throughput", "--quick", "--rounds", "1000") as process:
        wait_until(lambda: is_in_round(3))
        interrupt(process)
        output, errors = process.communicate()
    assert process.returncode == 0
    assert "ended early" in errors
    assert "await send, share of the speed of bare trio" in output
    wait_until(lambda: not any(is_running(pid) for pid in seen))
