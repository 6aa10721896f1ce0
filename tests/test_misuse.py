"""Bad input is refused where it is handed in, with a word what to use instead."""

from __future__ import annotations

import functools
from collections.abc import Coroutine
from functools import partial
from typing import Any, ClassVar

import attrs
import pytest
import trio

from tests.lives import Tracer
from trioworkers import (
    BusActivateWorkerMessage,
    BusAddWorkerMessage,
    BusFrameMessage,
    Strategy,
    Worker,
    WorkerRunner,
    handles,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient


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


async def do(*args: Any) -> None:
    """Take anything."""


@handles(BusFrameMessage)
async def hear(self: Any, message: BusFrameMessage) -> None:
    """Be a handler."""


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("on_activate", "on_activated"),
        ("on_deactivate", "on_deactivated"),
        ("on_starts", "on_start"),
        ("on_started", "on_start"),
        ("on_stopped", "on_stop"),
        ("on_worker_failure", "on_worker_failed"),
        ("on_job_update_request", "on_job_update_requested"),
    ],
)
def test_misspelt_hooks(name: str, meant: str) -> None:
    """A method that was meant to be a hook is refused where the class is made (S-LIFE-4)."""
    with pytest.raises(TypeError, match=rf"Odd\.{name} is no hook: write {meant}, or give it"):
        type("Odd", (Worker,), {name: do})
    with pytest.raises(TypeError, match=rf"Odd\.{name} is no hook"):
        type("Odd", (type("Mixin", (), {name: do}), Worker), {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on_state", do),
        ("on_step", do),
        ("on_post", do),
        ("on_restart", do),
        ("on_ready", do),
        ("on_worker_message", do),
        ("started", do),
        ("on_activate", lambda self: None),
        ("on_activate", 5),
        ("on_started", hear),
        ("started", 5),
        ("names", 5),
        ("strategy", Strategy.ONE_FOR_ALL),
        ("event_handler", lambda self, event: None),
        ("_private", 5),
    ],
)
def test_names_that_are_free(name: str, value: object) -> None:
    """Names that only resemble a hook's, and names of handlers, are the user's own."""
    good = type("Good", (Worker,), {name: value})
    type("Better", (good,), {})


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("stop", r"Worker\.stop: rename it"),
        ("send", r"Worker\.send: rename it"),
        ("state", r"Worker\.state: rename it"),
        ("job", r"Worker\.job: rename it"),
        ("name", r"Worker\.name: pass it to super\(\).__init__\(\)"),
    ],
)
@pytest.mark.parametrize("value", [5, property(lambda self: 5), do, hear])
def test_names_that_are_taken(name: str, instead: str, value: object) -> None:
    """What would hide a part of Worker is refused where the class is made."""
    with pytest.raises(TypeError, match=rf"Odd\.{name} would hide {instead}"):
        type("Odd", (Worker,), {name: value})
    with pytest.raises(TypeError, match=rf"Odd\.{name} would hide {instead}"):
        type("Odd", (type("Mixin", (), {name: value}), type("Good", (Worker,), {})), {})


def test_a_mixin_behind_the_worker() -> None:
    """What comes behind Worker in the order of bases hides nothing."""
    type("Good", (Worker, type("Mixin", (), {"stop": do, "on_activate": do})), {})


async def no_self() -> None:
    """Take nothing."""


async def more(self: Any, one: Any, two: Any) -> None:
    """Take more than any hook gets."""


@pytest.mark.parametrize(
    ("name", "method", "text"),
    [
        ("on_start", no_self, r"must take \(self\), it takes \(\)"),
        ("on_start", more, r"must take \(self\), it takes \(self"),
        ("on_activated", no_self, r"must take \(self, args\), it takes \(\)"),
        ("on_worker_failed", more, r"must take \(self, data\), it takes"),
        ("on_connected", no_self, r"must take \(self, websocket\), it takes"),
    ],
)
def test_parameters_of_hooks(name: str, method: Any, text: str) -> None:
    """A hook that cannot be called is refused where the class is made (S-LIFE-4)."""
    base = WebSocketProxyClient if name == "on_connected" else Worker
    with pytest.raises(TypeError, match=rf"Odd\.{name} {text}"):
        type("Odd", (base,), {name: method})


def test_hooks_that_are_decorated() -> None:
    """What calls a hook's function with more, or is no plain function, is the user's business."""

    @functools.wraps(more)
    async def wrapper(self: Any) -> None:
        await more(self, 1, 2)

    for hook in (wrapper, do, Called(), staticmethod(do), classmethod(do)):
        type("Good", (Worker,), {"on_start": hook, "on_activated": do})


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


class NeedsNoName(Worker):
    """Is made without arguments."""

    def __init__(self) -> None:
        super().__init__("by-class")


async def test_a_class_in_the_place_of_a_worker() -> None:
    """S-SUP-1: a class that needs arguments is refused with what to pass; one that needs none is used."""
    for bad in (Planned, dict):
        with pytest.raises(TypeError, match="expected a Worker, "):
            await WorkerRunner(handle_sigint=False).add_workers(bad)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"not the class Planned: .* as Planned\('a-name'\)"):
        async with open_runner(Planned):  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            pass
    async with open_runner(NeedsNoName) as runner:
        assert set(runner.children) == {"by-class"}
        with pytest.raises(TypeError, match="not the class Planned"):
            await runner.send(BusAddWorkerMessage(worker=Planned))


def drive(coroutine: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine as a loop that is not trio's would."""
    coroutine.send(None)


def test_without_trio() -> None:
    """S-RUN-1: what needs trio says so where there is none."""
    runner = WorkerRunner()

    async def enter() -> None:
        async with open_runner(Worker("a")):
            pass

    for use in (runner.add_workers(Worker("a")), runner.run(auto_end=False), enter()):
        with pytest.raises(RuntimeError, match=r"start it with trio\.run\(main\), not asyncio"):
            drive(use)
    trio.run(partial(runner.add_workers, Worker("a")))


@pytest.mark.filterwarnings("default:coroutine 'LocalBus.send_as':RuntimeWarning")
async def test_a_forgotten_await() -> None:
    """Python itself warns of a `send` that nobody awaits, with the text that the error index has."""
    async with open_runner(Worker("a")) as runner:
        with pytest.warns(
            RuntimeWarning, match=r"^coroutine 'LocalBus\.send_as' was never awaited"
        ):
            runner.send(BusActivateWorkerMessage(target="a"))  # type: ignore[unused-coroutine]  # pyright: ignore[reportUnusedCoroutine]


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
