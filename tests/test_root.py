"""The runner's name on the bus: what it does with what is sent to it."""

from __future__ import annotations

import pytest

from trioworkers import (
    BusAddWorkerMessage,
    BusDataMessage,
    BusEndWorkerMessage,
    DeadLetter,
    JobRefusedError,
    NameTakenError,
    Worker,
    message,
    open_runner,
)


@message
class Note(BusDataMessage):
    """Something nobody asked for."""


async def test_a_worker_can_be_added_by_a_message(autojump_clock: object) -> None:
    """`BusAddWorkerMessage` adds a root in the sender's step and starts it (S-MSG-1)."""
    async with open_runner(Worker("a")) as runner:
        await runner.send(BusAddWorkerMessage(worker=Worker("b")))
        assert runner.get_worker("b") is not None
        await runner.registry.wait_ready("b")
        assert list(runner.children) == ["a", "b"]


async def test_a_name_that_is_taken_is_told_to_the_sender(autojump_clock: object) -> None:
    """A worker that cannot be added is the sender's error, not the runner's (S-BUS-5)."""
    async with open_runner(Worker("a")) as runner:
        with pytest.raises(NameTakenError, match="'a' is taken"):
            await runner.send(BusAddWorkerMessage(worker=Worker("a")))


async def test_a_runner_serves_no_jobs(autojump_clock: object) -> None:
    """A job asked of a runner is refused at once (S-JOB-3)."""
    async with open_runner(name="boss") as runner:
        with pytest.raises(JobRefusedError, match="a runner serves no jobs"):
            await runner.ask("boss", "work")


async def test_commands_for_workers_are_not_for_runners(autojump_clock: object) -> None:
    """A worker's end that is aimed at a runner is an error that names the right message."""
    async with open_runner(name="boss") as runner:
        with pytest.raises(ValueError, match="send BusEndMessage"):
            await runner.send(BusEndWorkerMessage(target="boss"))


async def test_a_message_for_a_runner_is_a_dead_letter(autojump_clock: object) -> None:
    """A runner handles no messages: what is sent to its name is not lost in silence (S-BUS-3)."""
    async with open_runner(name="boss") as runner, runner.bus.open_dead_letters() as letters:
        await runner.send(Note(target="boss"))
        letter = await anext(letters)
        assert isinstance(letter, DeadLetter)
        assert (letter.message, letter.reason) == (Note(source="boss", target="boss"), "unhandled")
