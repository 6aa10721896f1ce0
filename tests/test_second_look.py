"""What a second look at the core found, each as a user would meet it."""

from __future__ import annotations

import enum
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tests.jobs import Server
from trioworkers import (
    BusAddWorkerMessage,
    BusDataMessage,
    BusSystemMessage,
    DeadLetter,
    Job,
    JobRefusedError,
    Restart,
    Worker,
    WorkerErrorData,
    handles,
    job,
    message,
    open_runner,
)


class Shade(enum.StrEnum):
    """A colour that is a string."""

    RED = "red"


class Size(enum.IntEnum):
    """A size that is a number."""

    SMALL = 1


@attrs.frozen
class Order:
    """What is ordered."""

    shade: Shade
    size: Size = Size.SMALL


@attrs.frozen
class Bigger(Order):
    """An order with more in it."""

    more: int = 0


@message
class Tick(BusDataMessage):
    """A data message."""


@message
class Zap(BusSystemMessage):
    """A message that interrupts."""


class Shop(Worker):
    """Takes orders."""

    @job()
    async def take(self, _job: Job, order: Order) -> dict[str, Any]:
        return {"shade": repr(order.shade), "size": repr(order.size)}

    @job()
    async def none(self, _job: Job, _payload: dict[str, Any]) -> Order | None:
        return None

    @job()
    async def bigger(self, _job: Job, _payload: dict[str, Any]) -> Order:
        return Bigger(Shade.RED, more=1)


@pytest.mark.parametrize("shade", ["red", Shade.RED])
@pytest.mark.parametrize("size", [1, Size.SMALL])
async def test_enums_that_are_strings_or_numbers(shade: object, size: object) -> None:
    """A member, or its value as it comes over a link, becomes the member (S-JOB-2)."""
    async with open_runner(Shop("shop")) as runner:
        answer = await runner.ask("shop", "take", {"shade": shade, "size": size})
    assert answer == {"shade": repr(Shade.RED), "size": repr(Size.SMALL)}


@pytest.mark.parametrize("payload", [{"shade": "blue"}, {"shade": Size.SMALL}, {"shade": 1.5}])
async def test_no_member(payload: dict[str, Any]) -> None:
    """What is no member of the enum is refused (S-JOB-2)."""
    async with open_runner(Shop("shop")) as runner:
        with pytest.raises(JobRefusedError, match="bad payload"):
            await runner.ask("shop", "take", payload)


async def test_typed_responses() -> None:
    """A response may be None where the annotation says so, and of a subclass (S-JOB-2)."""
    async with open_runner(Shop("shop")) as runner:
        assert await runner.ask("shop", Shop.none, {}) is None
        assert await runner.ask("shop", Shop.bigger, {}) == Bigger(Shade.RED, more=1)
        assert await runner.ask("shop", "none", {}) == {}


async def test_a_circle_that_is_no_more(autojump_clock: MockClock) -> None:
    """A wait that was cancelled closes no circle, though its task has not run yet (S-MAIL-12)."""
    sent: list[str] = []

    class First(Worker):
        @handles(Tick)
        async def tick(self, _message: Tick) -> None:
            await self.send(Tick(target="second"))

        @handles(Zap, interrupt=True)
        async def zap(self, _message: Zap) -> None:
            sent.append("zapped")

    class Second(Worker):
        @handles(Tick)
        async def tick(self, _message: Tick) -> None:
            await trio.sleep(1)
            await self.send(Zap(target="first"))
            with trio.move_on_after(5):
                await self.send(Tick(target="first"))
            sent.append("sent")
            await trio.sleep_forever()

    first, second = First("first", mailbox_capacity=1), Second("second", mailbox_capacity=1)
    async with open_runner(first, second, cancel_grace=0.1) as runner:
        await runner.send(Tick(target="second"))
        await trio.sleep(0.1)
        await runner.send(Tick(target="second"))
        await runner.send(Tick(target="first"))
        await trio.sleep(0.1)
        await runner.send(Tick(target="first"))
        await trio.sleep(3)
        assert sorted(sent) == ["sent", "zapped"]
        await runner.cancel()


async def test_a_childs_error_when_the_hook_raises() -> None:
    """A supervised child's error is not lost when the parent's hook raises too (S-LIFE-10)."""

    class Child(Worker):
        @handles(Tick)
        async def tick(self, _message: Tick) -> None:
            raise ValueError("child")

    class Parent(Worker):
        async def on_start(self) -> None:
            await self.add_workers(Child("child"), restart=Restart.PERMANENT)

        async def on_worker_failed(self, data: WorkerErrorData) -> None:
            raise KeyError(data.worker_name)

    with pytest.RaisesGroup(ValueError, KeyError):
        async with open_runner(Parent("parent")) as runner:
            await runner.send(Tick(target="child"))
            await trio.sleep_forever()


async def test_a_clean_up_cut_off_by_the_end_deadline(autojump_clock: MockClock) -> None:
    """An end whose deadline passes during `on_stop` was a cancel (S-LIFE-7)."""

    class Slow(Worker):
        async def on_stop(self) -> None:
            await trio.sleep_forever()

    slow = Slow("slow")
    async with open_runner(slow, Server("server"), cancel_grace=1) as runner:
        await runner.end_worker("slow", deadline=1)
        await slow.wait_stopped()
        assert slow.stop_reason is not None
        assert (slow.stop_reason.kind, slow.stop_reason.reason) == ("cancelled", "end deadline")


async def test_adding_by_message_while_the_runner_ends() -> None:
    """A worker that comes too late is a dead letter, and the end stays clean (S-RUN-1)."""

    class Adder(Worker):
        @handles(Tick)
        async def tick(self, _message: Tick) -> None:
            await self.runner.end()
            await self.send(BusAddWorkerMessage(worker=Server("late")))

    async with open_runner(Adder("adder")) as runner, runner.bus.open_dead_letters() as letters:
        await runner.send(Tick(target="adder"))
        letter = await anext(letters)
        assert isinstance(letter, DeadLetter)
        assert letter.reason == "ending"
        await runner.wait_stopped()
    assert runner.stop_reason is not None
    assert runner.stop_reason.kind == "ended"


@pytest.mark.parametrize(("bad", "shown"), [("5", "'5'"), (True, "True"), ([], r"\[\]")])
async def test_a_deadline_of_the_wrong_type(bad: Any, shown: str) -> None:
    """A deadline that is no number is named, and what to pass (S-RUN)."""
    async with open_runner(Server("server")) as runner:
        with pytest.raises(TypeError, match=f"deadline must be seconds or None, not {shown}"):
            await runner.end(deadline=bad)


async def test_payloads_in_the_place_of_names() -> None:
    """With `name=` a group takes names, and says so (S-JOB-1)."""
    async with open_runner(Server("s")) as runner:
        with pytest.raises(TypeError, match="takes the names of workers, not"):
            runner.job_group({"s": None}, name="echo")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
