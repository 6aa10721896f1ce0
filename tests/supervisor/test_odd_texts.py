"""Messages and exceptions whose own text raises: their worker is still supervised."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import trio

from trioworkers import (
    Backoff,
    BusDataMessage,
    BusLocalMessage,
    BusWorkerErrorMessage,
    BusWorkerLocalErrorMessage,
    Restart,
    RestartIntensityExceeded,
    Worker,
    WorkerErrorData,
    handles,
    message,
    open_runner,
)


class Mute:
    """Cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class MuteError(Exception):
    """Cannot be shown either."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


@message
class Crash(BusDataMessage, BusLocalMessage):
    """Make the worker fail."""

    error: Exception
    thing: Any = None


class Child(Worker):
    """Fails as it is told."""

    @handles(Crash)
    async def crash(self, message: Crash) -> None:
        raise message.error


class Parent(Worker):
    """Has one child, and hears of its failures."""

    backoff = Backoff(initial=1, jitter=0)

    def __init__(self, restart: Restart | None) -> None:
        super().__init__("parent")
        self.restart = restart
        self.heard: list[WorkerErrorData] = []

    async def on_start(self) -> None:
        await self.add_workers(Child("child"), restart=self.restart)


class Watching(Parent):
    async def on_worker_failed(self, data: WorkerErrorData) -> None:
        self.heard.append(data)


async def test_a_message_that_cannot_be_shown(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    """A worker that fails with such a message in hand is restarted as any other (S-SUP-4)."""
    async with open_runner() as runner:
        await runner.add_workers(Child("child"), restart=Restart.PERMANENT)
        await runner.send(Crash(target="child", error=OSError("disk"), thing=Mute()))
        await trio.sleep(1)
        worker = runner.get_worker("child")
        assert worker is not None
        assert worker.statistics().restarts == 1
        assert runner.statistics().dead_letters == {"crashed": 1}
    assert "for child: <Crash whose repr raises RuntimeError>;" in caplog.text
    assert "OSError: disk" in caplog.text


async def test_an_exception_without_text_reaches_the_caller(autojump_clock: object) -> None:
    """What leaves the runner is the original exception, whatever its `__str__` does (S-LIFE-10)."""
    text = "MuteError: <MuteError whose text raises RuntimeError>"
    error = MuteError()
    with pytest.RaisesGroup(pytest.RaisesExc(MuteError, check=lambda each: each is error)):
        async with open_runner(Parent(None)) as runner:
            async with runner.bus.open_subscription(BusWorkerLocalErrorMessage) as first:
                async with runner.bus.open_subscription(BusWorkerErrorMessage) as second:
                    await runner.send(Crash(target="child", error=error))
                    assert (await anext(first)).error == text  # type: ignore[union-attr]
                    assert (await anext(second)).error.startswith(text)  # type: ignore[union-attr]
            await trio.sleep_forever()
    reason = runner.stop_reason
    assert reason is not None
    assert reason.reason == text


async def test_a_hook_hears_of_an_exception_without_text(autojump_clock: object) -> None:
    """A parent handles the failure of a child whose exception has no text (S-LIFE-10)."""
    parent = Watching(None)
    error = MuteError()
    async with open_runner(parent) as runner:
        await runner.send(Crash(target="child", error=error))
        await trio.sleep(1)
        assert runner.get_worker("child") is None
    text = "MuteError: <MuteError whose text raises RuntimeError>"
    assert parent.heard == [WorkerErrorData("child", text, error)]


async def test_too_many_exceptions_without_text(autojump_clock: object) -> None:
    """A supervisor that gives up names causes whose `__str__` raises, too (S-SUP-6)."""

    class Strict(Parent):
        max_restarts = 0

    with pytest.RaisesGroup(RestartIntensityExceeded) as caught:
        async with open_runner(Strict(Restart.PERMANENT)) as runner:
            await runner.send(Crash(target="child", error=MuteError()))
            await trio.sleep_forever()
    assert "(MuteError: <MuteError whose text raises RuntimeError>)" in str(
        caught.value.exceptions[0]
    )


@dataclasses.dataclass(frozen=True)
class FrozenError(Exception):
    """Takes no notes."""

    why: str


async def test_an_exception_that_takes_no_notes(autojump_clock: object) -> None:
    """A worker whose exception cannot be noted on is restarted as any other (S-LIFE-10)."""
    async with open_runner() as runner:
        await runner.add_workers(Child("child"), restart=Restart.PERMANENT)
        await runner.send(Crash(target="child", error=FrozenError("disk")))
        await trio.sleep(1)
        worker = runner.get_worker("child")
        assert worker is not None
        assert worker.statistics().restarts == 1
