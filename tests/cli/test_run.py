"""`trioworkers run module:app`."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from tests.cli.program import interrupt, run, started
from trioworkers import _cli
from trioworkers._cli.exits import Refusal
from trioworkers._cli.run import run as run_target

APP = """
import functools
import trio
from trioworkers import BusDataMessage, Worker, handles, message

@message
class Go(BusDataMessage):
    pass

class Short(Worker):
    async def on_start(self):
        await self.stop("done")

    async def on_stop(self):
        print(f"{self.name} stopped", flush=True)

class Long(Worker):
    async def on_start(self):
        print("started", flush=True)

    async def on_stop(self):
        print(self.stop_reason.kind, flush=True)

class Endless(Long):
    async def on_start(self):
        await self.send(Go(target=self.name))

    @handles(Go)
    async def go(self, message):
        print("started", flush=True)
        await trio.sleep_forever()

class Crashing(Worker):
    async def on_start(self):
        self.nursery.start_soon(self.crash)

    async def crash(self):
        raise ValueError("out of order")

async def adding(runner):
    await runner.add_workers(Short("one"), Short("two"))

def returning():
    return [Short("one"), lambda: Short("two")]

def yielding():
    yield Short("one")
    yield Short("two")

async def long(runner):
    await runner.add_workers(Long("long"))

async def endless(runner):
    await runner.add_workers(Endless("endless"))

def crashing():
    return [Crashing("crashing")]

async def crashing_itself(runner):
    raise KeyError("no such setting")

async def adding_none(runner):
    pass

async def without_a_runner():
    pass

def with_an_argument(name):
    return [Short(name)]

def returning_a_number():
    return 3

def returning_numbers():
    return [3]

def returning_one_worker():
    return Short("one")

def returning_classes():
    return [Short, Short]

def returning_needy_functions():
    return [lambda name: Short(name)]

async def returning_instead(runner):
    return [Short("one")]

async def yielding_later(runner):
    yield Short("one")

async def running_itself(runner):
    await runner.add_workers(Short("one"))
    await runner.run()

class Namespace:
    app = adding

class Object:
    async def __call__(self, runner):
        await adding(runner)

instance = Object()
bound = functools.partial(instance)

number = 3
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with apps, to run commands in."""
    (tmp_path / "apps.py").write_text(APP, encoding="utf-8")
    (tmp_path / "broken.py").write_text("import not_installed_anywhere", encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(
    "app", ["adding", "returning", "yielding", "Namespace.app", "instance", "bound"]
)
def test_apps_run(folder: Path, app: str) -> None:
    """An app that adds, returns or yields workers runs until they have ended, and exits 0."""
    done = run("run", f"apps:{app}", cwd=folder)
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == ["one stopped", "two stopped"]
    assert not done.stderr


def test_crash(folder: Path) -> None:
    """A crash shows the group with the worker's traceback, without our own calls, and exits 1."""
    done = run("run", "apps:crashing", cwd=folder)
    assert done.returncode == 1
    assert "ExceptionGroup" in done.stderr
    assert "in crash" in done.stderr
    assert "ValueError: out of order" in done.stderr
    assert "_cli" not in done.stderr


def test_crash_of_the_app_itself(folder: Path) -> None:
    """An exception in the app function shows its traceback, and exits 1."""
    done = run("run", "apps:crashing_itself", cwd=folder)
    assert done.returncode == 1
    assert "KeyError: 'no such setting'" in done.stderr
    assert "_cli" not in done.stderr


def test_crash_while_importing(folder: Path) -> None:
    """A module that fails to import something else shows its traceback, and exits 1."""
    done = run("run", "broken:app", cwd=folder)
    assert done.returncode == 1
    assert "ModuleNotFoundError: No module named 'not_installed_anywhere'" in done.stderr


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("apps", "'apps' names no app: write module:app"),
        (":adding", "':adding' names no app"),
        ("apps:", "'apps:' names no app"),
        ("apps.py:adding", "there is no module 'apps.py', here or installed; leave out the '.py'"),
        ("./apps:adding", "'./apps' is no module name"),
        ("./apps.py:adding", "with dots; leave out the '.py'"),
        ("nowhere:app", "there is no module 'nowhere'"),
        ("apps:ading", "module 'apps' has no 'ading'; did you mean 'adding'?"),
        ("apps:number", "apps:number is 3 of type int"),
        ("apps:adding_none", "apps:adding_none added no workers"),
        ("apps:without_a_runner", "apps:without_a_runner cannot be called with the runner"),
        ("apps:with_an_argument", "apps:with_an_argument cannot be called with no arguments"),
        ("apps:returning_a_number", "returned 3, which is not an iterable of workers"),
        ("apps:returning_numbers", "returned 3 among its workers"),
        ("apps:returning_classes", "apps:returning_classes returned the class Short among its"),
        ("apps:returning_needy_functions", "(missing a required argument: 'name')"),
        ("apps:returning_instead", "'async def app(runner)' must add them itself"),
        ("apps:yielding_later", "apps:yielding_later is 'async def' with a 'yield'"),
        ("apps:running_itself", "has run the runner itself (ended: the last worker has stopped"),
        ("apps:returning_one_worker", "returned <Short 'one'>, which is not an iterable"),
    ],
)
def test_wrong_targets(
    folder: Path, monkeypatch: pytest.MonkeyPatch, target: str, sentence: str
) -> None:
    """A target that is no app is refused by a sentence that names it."""
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "apps", raising=False)
    with pytest.raises(Refusal) as refusal:
        run_target(target)
    assert refusal.value.code == 64
    assert sentence in str(refusal.value)


def test_a_wrong_target_exits(folder: Path) -> None:
    """A refusal is one line on stderr, and exit code 64."""
    done = run("run", "apps:ading", cwd=folder)
    assert done.returncode == 64
    assert not done.stdout
    assert done.stderr == (
        "trioworkers: module 'apps' has no 'ading'; did you mean 'adding'? (in apps:ading)\n"
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends(folder: Path, number: signal.Signals) -> None:
    """Ctrl-C, or SIGTERM, ends gracefully, says so in one line, and exits 0."""
    with started("run", "apps:long", cwd=folder) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(number)
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert output == "ended\n"
    assert errors == "trioworkers: ending; Ctrl-C again cancels\n"


def test_a_second_signal_cancels(folder: Path) -> None:
    """A second Ctrl-C cuts off what an end would wait for, and exits 130."""
    with started("run", "apps:endless", cwd=folder) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "started\n"
        interrupt(process)
        assert "again cancels" in process.stderr.readline()
        interrupt(process)
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert output == "cancelled\n"


IMPATIENT = """
import atexit, signal
import trio

async def before(runner):
    atexit.register(signal.raise_signal, signal.SIGINT)
    print("waits", flush=True)
    await trio.sleep_forever()

async def while_leaving(runner):
    try:
        await before(runner)
    finally:
        signal.raise_signal(signal.SIGINT)
"""


@pytest.mark.parametrize("app", ["before", "while_leaving"])
def test_two_signals_before_the_run(tmp_path: Path, app: str) -> None:
    """Ctrl-C while the app itself waits exits 130, however soon another one comes."""
    (tmp_path / "impatient.py").write_text(IMPATIENT)
    with started("run", f"impatient:{app}", cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waits\n"
        interrupt(process)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "")


@pytest.mark.parametrize("way", ["_start", "_main"])
def test_one_more_on_the_way_out(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C exits 130 also if it comes while another one is dealt with."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(_cli, way, interrupted)
    try:
        assert _cli.main() == 130
    finally:
        signal.signal(signal.SIGINT, handler)
