"""A worker's data lane under every overflow policy, with messages and requests mixed at random."""

from __future__ import annotations

import random
from typing import Any

import pytest
import trio

from tests.jobs import Actor, Note, idle, outcome_of
from trioworkers import (
    BusActivateWorkerMessage,
    Job,
    JobRefusedError,
    MailboxFullError,
    WorkerRunner,
    handles,
    job,
    open_runner,
)
from trioworkers._mailbox import OVERFLOWS


class Reader(Actor):
    """Handles notes slowly, and serves at once."""

    def __init__(self, seed: int, **settings: Any) -> None:
        super().__init__("r", **settings)
        self.random = random.Random(seed)
        self.handled: list[int] = []
        self.served: list[int] = []

    async def on_start(self) -> None:
        await trio.sleep(self.random.choice([0, 0.5]))

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.handled.append(message.n)
        await trio.sleep(self.random.choice([0, 0.1, 0.3]))

    @job()
    async def number(self, job: Job, payload: dict[str, int]) -> dict[str, int]:
        self.served.append(payload["n"])
        return payload


class Crowd:
    """Sends notes, switches and requests from several tasks, and notes what becomes of each."""

    def __init__(self, runner: WorkerRunner, seed: int) -> None:
        self.runner = runner
        self.random = random.Random(seed)
        self.outcomes: dict[int, Any] = {}
        self.sent: list[int] = []
        self.refused = 0

    async def one(self, first: int) -> None:
        for n in range(first, first + 20):
            await trio.sleep(self.random.choice([0, 0.05, 0.2]))
            act = self.random.choice([self.send, self.send, self.ask, self.give_up, self.activate])
            await act(n)

    async def send(self, n: int) -> None:
        try:
            await self.runner.send(Note(target="r", n=n))
            self.sent.append(n)
        except MailboxFullError:
            self.refused += 1

    async def activate(self, n: int) -> None:
        try:
            await self.runner.send(BusActivateWorkerMessage(target="r"))
        except MailboxFullError:
            self.refused += 1

    async def ask(self, n: int) -> None:
        self.outcomes[n] = await outcome_of(self.runner.ask("r", "number", {"n": n}))

    async def give_up(self, n: int) -> None:
        with trio.move_on_after(0.05):
            await self.ask(n)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("overflow", OVERFLOWS)
async def test_every_request_in_a_lane_is_answered(
    overflow: Any, seed: int, autojump_clock: Any
) -> None:
    """S-JOB-3, S-MAIL-7: a worker that stays ready answers all or says `busy`, and loses nothing."""
    reader = Reader(seed, mailbox_capacity=1 + seed % 3, overflow=overflow)
    async with open_runner() as runner:
        crowd = Crowd(runner, seed)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.add_workers, reader)
            await trio.testing.wait_all_tasks_blocked()
            for first in range(0, 80, 20):
                nursery.start_soon(crowd.one, first)
        await trio.sleep(60)
        for n, outcome in crowd.outcomes.items():
            if isinstance(outcome, JobRefusedError):
                assert outcome.reason == "busy"
                assert overflow != "wait"
            else:
                assert outcome == {"n": n}
                assert n in reader.served
        lost = runner.statistics().dead_letters.get("overflow", 0)
        assert len(reader.handled) + lost == len(crowd.sent)
        assert set(reader.handled) <= set(crowd.sent)
        assert lost == 0 or overflow in ("drop_oldest", "drop_newest")
        assert idle(runner)


async def test_a_request_outlives_the_message_before_it(autojump_clock: Any) -> None:
    """S-JOB-4, S-MAIL-7: a request behind a message that is dropped is admitted in that step."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(1)

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return {"at": trio.current_time()}

    worker = Actor("w", note=nap, serve=serve, mailbox_capacity=2, overflow="drop_oldest")
    answers: list[Any] = []

    async def ask(runner: WorkerRunner) -> None:
        answers.append(await outcome_of(runner.ask("w", "serve")))

    async with open_runner(worker) as runner, trio.open_nursery() as nursery:
        await runner.send(Note(target="w", n=0))
        await trio.sleep(0.25)
        await runner.send(Note(target="w", n=1))
        nursery.start_soon(ask, runner)
        await trio.sleep(0.25)
        assert worker.statistics().mailbox.data_depth == 2
        await runner.send(Note(target="w", n=2))
        await trio.testing.wait_all_tasks_blocked()
        assert answers == [{"at": 0.5}]
        assert worker.statistics().mailbox.data_depth == 1
        assert runner.statistics().dead_letters == {"overflow": 1}
