"""Workers and the runner speak on the bus by the same methods."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.jobs import Actor, Count, Counted, Note, Server
from trioworkers import Job, MailboxFullError, Worker, open_runner
from trioworkers._participant import Participant


async def test_the_runner_speaks_as_itself(autojump_clock) -> None:
    """S-BUS-6: what the runner sends and asks comes from its name."""
    seen: list[Any] = []

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        seen.append(job.requester)

    async with open_runner(Actor("a", serve=serve), Server(), name="r") as runner:
        await runner.ask("a", "serve")
        note = Note(target="server", n=1)
        await runner.send(note)
        runner.send_nowait(Note(target="server", n=2))
    assert seen == ["r"]
    assert note.source == "r"


async def test_a_worker_speaks_as_itself(autojump_clock) -> None:
    """S-BUS-6: a worker asks, opens jobs and groups, and sends, under its own name."""
    answers: list[Any] = []

    async def note(worker: Actor) -> None:
        answers.append(await worker.ask("server", Server.count, Count(1)))
        async with worker.job("server", Server.count, Count(2), label="a job") as pending:
            pass
        answers.append(pending.response)
        async with worker.job_group("server", name="echo", payload={"n": 3}, label="all") as group:
            pass
        answers.append(group.responses)
        await worker.send(Note(target="server", n=4))
        worker.send_nowait(Note(target="server", n=5))
        with pytest.raises(ValueError, match="cannot send as 'server'"):
            await worker.send(Note(source="server", target="server"))

    server = Server()
    async with open_runner(Actor("a", note=note), server) as runner:
        await runner.send(Note(target="a"))
        await trio.sleep(1)
    assert answers == [Counted(1), Counted(2), {"server": {"n": 3}}]
    assert server.log[-2:] == [4, 5]


async def test_send_says_when_there_is_no_room(autojump_clock) -> None:
    """S-MAIL-7: `send_nowait` and a refusing lane tell the sender that there is no room."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(1)

    workers = [
        Actor("waits", note=nap, mailbox_capacity=1),
        Actor("refuses", note=nap, mailbox_capacity=1, overflow="refuse"),
    ]
    async with open_runner(*workers) as runner:
        for name, error in (("waits", trio.WouldBlock), ("refuses", MailboxFullError)):
            await runner.send(Note(target=name))
            await trio.testing.wait_all_tasks_blocked()
            await runner.send(Note(target=name))
            with pytest.raises(error):
                runner.send_nowait(Note(target=name))
        await trio.sleep(9)


async def test_who_has_stopped_is_silent(autojump_clock) -> None:
    """S-BUS-6: a worker that has stopped can neither send nor ask: its name is not its own any more."""
    actor = Actor("a")
    async with open_runner(actor, Server()) as runner:
        await runner.end_worker("a")
        await actor.wait_stopped()
        for use in (
            lambda: actor.send(Note(target="server")),
            lambda: actor.ask("server", "nothing"),
        ):
            with pytest.raises(trio.ClosedResourceError, match="has stopped"):
                await use()
        for use in (
            lambda: actor.send_nowait(Note(target="server")),
            lambda: actor.job("server", "nothing"),
            lambda: actor.job_group("server", name="nothing"),
        ):
            with pytest.raises(trio.ClosedResourceError, match="has stopped"):
                use()


def test_a_participant_needs_a_place() -> None:
    """The mixin itself has no place in a tree."""
    with pytest.raises(NotImplementedError):
        Participant().send_nowait(Note())
