"""Bad input is refused where it is handed in, with a word what to use instead."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import attrs
import pytest
import trio

from tests.lives import Tracer
from trioworkers import BusActivateWorkerMessage, Worker, WorkerRunner, open_runner


@attrs.frozen
class Plan:
    """What a worker is activated with."""

    number: int


class Planned(Worker):
    """Needs a plan."""

    async def on_activated(self, args: Plan) -> None: ...


class MayBePlanned(Worker):
    """Keeps what it was activated with."""

    seen: ClassVar[list[object]] = []

    async def on_activated(self, args: Plan | None) -> None:
        self.seen.append(args)


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"name": ""}, ValueError, "runner name '' is not allowed"),
        ({"name": 0}, TypeError, "runner name must be a str, not 0"),
        ({"strategy": "one_for_one"}, TypeError, r"one of Strategy.ONE_FOR_ONE, .*'one_for_one'"),
        ({"max_restarts": 1.5}, TypeError, r"max_restarts must be an int, not 1\.5"),
        ({"max_restarts": True}, TypeError, "max_restarts must be an int, not True"),
        ({"end_deadline": "3"}, TypeError, "end_deadline must be a number of seconds, not '3'"),
        ({"period": -1}, ValueError, "period must not be negative, and is -1"),
        ({"job_grace": float("nan")}, ValueError, "job_grace must not be negative, and is nan"),
        ({"bus": 5}, TypeError, r"bus must be a LocalBus\(\) or None, not 5"),
    ],
)
def test_impossible_runners(settings: Any, error: type[Exception], text: str) -> None:
    """A runner that cannot be is refused where it is made, with a word what to use."""
    with pytest.raises(error, match=text):
        WorkerRunner(**settings)


@pytest.mark.parametrize(
    ("setting", "value", "text"),
    [
        ("strategy", "one_for_all", r"Odd\.strategy must be one of Strategy"),
        ("max_restarts", "3", r"Odd\.max_restarts must be an int"),
        ("period", None, r"Odd\.period must be a number of seconds"),
        ("backoff", 0.5, r"Odd\.backoff must be a Backoff\(\.\.\.\), not 0\.5"),
    ],
)
def test_impossible_supervisors(setting: str, value: object, text: str) -> None:
    """Settings of a worker class are checked where the class is made."""
    with pytest.raises(TypeError, match=text):
        type("Odd", (Worker,), {setting: value})


def test_hooks_are_async() -> None:
    """A hook without `async` is refused where the class is made, by its name."""
    with pytest.raises(TypeError, match=r"Sync\.on_start must be an 'async def' function"):
        type("Sync", (Worker,), {"on_start": lambda self: None})


class Called:
    """Is called as an async function."""

    async def __call__(self, *args: Any) -> None: ...


def test_event_handlers_are_async() -> None:
    """S-LIFE-4: what handles an event is an async function, or is called like one."""
    worker: Any = Worker("worker")
    runner: Any = WorkerRunner(handle_sigint=False)
    with pytest.raises(TypeError, match="a handler of on_start must be an 'async def' function"):
        worker.event_handler("on_start")(print)
    with pytest.raises(TypeError, match="a handler of on_ready must be an 'async def' function"):
        runner.event_handler("on_ready")(partial(print, 1))
    for handler in (
        Called(),
        Called().__call__,
        partial(Called(), 1),
        partial(partial(trio.sleep), 1),
    ):
        assert worker.event_handler("on_start")(handler) is handler
    with pytest.raises(TypeError, match="async def"):
        worker.event_handler("on_start")(Called)


async def test_a_forgotten_super_call() -> None:
    """A worker whose `__init__` forgets Worker's says what is missing when it is added."""

    class Forgetful(Worker):
        def __init__(self) -> None: ...

    runner = WorkerRunner(handle_sigint=False)
    with pytest.raises(RuntimeError, match=r"Forgetful.*call super\(\).__init__\(name\) first"):
        await runner.add_workers(Forgetful())
    assert not runner.children


async def test_a_start_without_arguments(autojump_clock: Any) -> None:
    """A worker that needs activation arguments cannot start active, and says what to do."""
    text = r"on_activated of .*/planned needs arguments.*active=False, or annotate"
    with pytest.RaisesGroup(pytest.RaisesExc(TypeError, match=text)):
        async with open_runner(Planned("planned")):
            await trio.sleep_forever()


async def test_activation_arguments_are_structured(autojump_clock: Any) -> None:
    """S-LIFE-6: arguments annotated `Plan | None` come as a Plan or as None; others do not fit."""
    MayBePlanned.seen.clear()
    async with open_runner(MayBePlanned("planned")) as runner:
        tracer = Tracer(runner)
        for args in ({"number": 1}, None, {"number": "x"}):
            await runner.send(BusActivateWorkerMessage(target="planned", args=args))
        await trio.sleep(1)
    assert MayBePlanned.seen == [None, Plan(1), None]
    assert tracer.reasons == ["bad payload"]
