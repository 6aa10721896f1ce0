"""In whose context handlers and hooks run."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, copy_context
from math import inf
from typing import Any

import trio

from tests.lives import Act, Actor, Do, DoNow, sleep
from tests.proxies.pairs import pair
from trioworkers import (
    Backoff,
    BusAddWorkerMessage,
    Job,
    Restart,
    Strategy,
    Worker,
    WorkerRunner,
    job,
    open_runner,
)

TENANT: ContextVar[str] = ContextVar("TENANT", default="none")


def look(log: list[Any]) -> Act:
    """Make an act that writes down the tenant it sees."""

    async def act(_worker: Any) -> None:
        log.append(TENANT.get())

    return act


class Teller(Worker):
    """Tells the tenant its job sees, and sets another."""

    @job()
    async def tell(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        seen = TENANT.get()
        TENANT.set(f"set by the job of {seen}")
        await trio.sleep(1)
        return {"seen": seen}


async def ask_as(runner: WorkerRunner, tenant: str, seen: dict[str, str]) -> None:
    """Ask the teller with a tenant of its own."""
    TENANT.set(tenant)
    seen[tenant] = (await runner.ask("teller", "tell"))["seen"]


async def test_a_job_has_the_context_of_its_requester(autojump_clock: Any) -> None:
    """S-LIFE-12: also one that waits for a slot, and is started in the last step of another."""
    seen: dict[str, str] = {}
    async with open_runner(Teller("teller", max_concurrent_jobs=1)) as runner:
        async with trio.open_nursery() as nursery:
            for tenant in ("a", "b", "c"):
                nursery.start_soon(ask_as, runner, tenant, seen)
    assert seen == {"a": "a", "b": "b", "c": "c"}


async def test_a_request_that_waited_in_the_lane(autojump_clock: Any) -> None:
    """S-LIFE-12: nor does a job see what the worker that admits it has set."""

    async def busy(_worker: Actor) -> None:
        TENANT.set("the worker's")
        await trio.sleep(1)

    class Busy(Actor):
        tell = Teller.tell

    seen: dict[str, str] = {}
    async with open_runner(Busy("teller")) as runner, trio.open_nursery() as nursery:
        runner.send_nowait(Do(target="teller", act=busy))
        runner.send_nowait(Do(target="teller"))
        nursery.start_soon(ask_as, runner, "a", seen)
    assert seen == {"a": "a"}


async def test_the_context_is_that_of_the_request(autojump_clock: Any) -> None:
    """S-LIFE-12: what a requester sets after the request does not reach the job."""
    async with open_runner(Teller("teller", max_concurrent_jobs=1)) as runner:
        TENANT.set("before")
        async with runner.job("teller", "tell"), runner.job("teller", "tell") as second:
            TENANT.set("after")
        assert second.response == {"seen": "before"}


async def test_the_system_lane_has_the_context_of_its_worker(autojump_clock: Any) -> None:
    """S-LIFE-12: a system handler beside a data handler does not see its sender's context."""
    log: list[Any] = []

    async def hold(_worker: Actor) -> None:
        TENANT.set("the worker's")
        await trio.sleep(1)

    async with open_runner(Actor()) as runner:
        TENANT.set("the sender's")
        runner.send_nowait(DoNow(target="actor", act=look(log)))
        await trio.sleep(1)
        runner.send_nowait(Do(target="actor", act=hold))
        await trio.sleep(0.5)
        runner.send_nowait(DoNow(target="actor", act=look(log)))
        await trio.sleep(1)
    assert log == ["none", "the worker's"]


async def test_a_worker_that_sends_to_itself_in_another_context(autojump_clock: Any) -> None:
    """S-LIFE-12: the system lane is started also where the worker's own context is entered."""
    log: list[Any] = []

    async def hold(worker: Actor) -> None:
        def send() -> None:
            TENANT.set("another")
            worker.send_nowait(DoNow(target="actor", act=look(log)))

        copy_context().run(send)
        await trio.sleep(1)

    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=hold))
        await trio.sleep(2)
    assert log == ["none"]


class Clock(Worker):
    """Answers with the deadline that its request brings along."""

    @job()
    async def deadline(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return {"deadline": job.deadline}


class Alarming(Worker):
    """Sends a system message in a job."""

    @job()
    async def alarm(self, job: Job, payload: dict[str, Any]) -> None:
        act: Callable[..., Any] = payload["act"]
        await self.send(DoNow(target="actor", act=act))
        await trio.sleep(2)


async def test_a_sender_s_job_does_not_limit_a_system_handler(autojump_clock: Any) -> None:
    """S-LIFE-12: what a system handler asks has no deadline of the job that sent to it (S-JOB-6)."""
    found: list[Any] = []

    async def hold(_worker: Actor) -> None:
        await trio.sleep(2)

    async def ask(worker: Actor) -> None:
        found.append(await worker.ask("clock", "deadline"))

    async with open_runner(Clock("clock"), Alarming("alarming"), Actor()) as runner:
        await runner.send(Do(target="actor", act=hold))
        with trio.fail_after(5):
            await runner.ask("alarming", "alarm", {"act": ask})
    assert found == [{"deadline": inf}]


class Hirer(Worker):
    """Adds a worker in a job."""

    @job()
    async def hire(self, job: Job, payload: dict[str, Any]) -> None:
        await self.add_workers(payload["worker"])


async def test_a_job_does_not_limit_the_worker_that_it_adds(autojump_clock: Any) -> None:
    """S-LIFE-12: it has the context of the job that added it, but not its deadline (S-JOB-6)."""
    found: list[Any] = []

    async def start(worker: Actor) -> None:
        found.append(TENANT.get())
        found.append(await worker.ask("clock", "deadline"))

    TENANT.set("who asks")
    async with open_runner(Clock("clock"), Hirer("hirer")) as runner:
        with trio.fail_after(5):
            await runner.ask("hirer", "hire", {"worker": Actor(start=start)})
    assert found == ["who asks", {"deadline": inf}]


async def test_each_life_begins_in_the_context_of_the_adding(autojump_clock: Any) -> None:
    """S-LIFE-12: a restart inherits nothing that the life before or a sibling has set."""
    log: list[Any] = []
    made: list[str] = []

    async def start(worker: Actor) -> None:
        log.append((worker.name, TENANT.get()))
        TENANT.set(worker.name)

    async def crash(worker: Actor) -> None:
        if len(log) < 4:
            raise ValueError("crash")
        await worker.stop()

    def make() -> Actor:
        made.append(TENANT.get())
        return Actor("b", start=start)

    class Boss(Actor):
        strategy = Strategy.ONE_FOR_ALL
        backoff = Backoff(initial=0)

    async def hire(boss: Actor) -> None:
        TENANT.set("the boss's")
        await boss.add_workers(Actor("a", start=start), make, restart=Restart.TRANSIENT)
        TENANT.set("later")

    async with open_runner(Boss("boss", start=hire)) as runner:
        TENANT.set("the sender's")
        # "a" ends, and is woken when its sibling fails.
        await runner.send(Do(target="a", act=lambda worker: worker.stop()))
        await trio.sleep(1)
        await runner.send(Do(target="b", act=crash))
        await trio.sleep(1)
    assert log == [(name, "the boss's") for name in "abab"]
    assert made == ["the boss's"] * 2


async def test_a_root_that_has_yet_to_start(autojump_clock: Any) -> None:
    """S-LIFE-12: nor does it inherit from a sibling that fails before."""
    log: list[Any] = []

    async def start(worker: Actor) -> None:
        log.append(TENANT.get())
        TENANT.set(worker.name)

    async def crash(_worker: Actor) -> None:
        if len(log) == 1:
            raise ValueError("crash")

    runner = WorkerRunner(handle_sigint=False, strategy=Strategy.ONE_FOR_ALL)
    async with trio.open_nursery() as nursery:
        first = Actor("a", start=start, activated=crash)
        slow = Actor("b", start=sleep(1))
        last = Actor("c", start=start)
        await runner.add_workers(first, slow, last, restart=Restart.TRANSIENT)
        await nursery.start(runner.run)
        await runner.registry.wait_ready("c")
        await runner.end()
    # The last one may have started before its siblings are restarted, or with them.
    assert len(log) >= 2
    assert set(log) == {"none"}


async def test_a_worker_added_by_a_message(autojump_clock: Any) -> None:
    """S-LIFE-12: it runs in the context of whoever sent the message."""
    log: list[Any] = []
    async with open_runner() as runner:
        TENANT.set("the sender's")
        worker = Actor(start=look(log))
        await runner.send(BusAddWorkerMessage(target=runner.name, worker=worker))
        TENANT.set("later")
        await runner.registry.wait_ready("actor")
    assert log == ["the sender's"]


async def test_watches_have_the_context_of_the_runner(autojump_clock: Any) -> None:
    """S-LIFE-12: a handler of `registry.watch` does not see what the watched worker has set."""
    log: list[Any] = []

    async def start(_worker: Actor) -> None:
        TENANT.set("the worker's")

    async with open_runner() as runner:
        await runner.registry.watch("actor", look(log))
        await runner.add_workers(Actor(start=start))
        await trio.sleep(1)
    assert log == ["none"]


async def test_no_context_crosses_a_link(autojump_clock: Any) -> None:
    """S-LIFE-12: a peer's job runs in the context of the proxy."""
    async with pair(lambda: Worker("acme"), lambda: Teller("assistant")) as (near, _far):
        TENANT.set("the requester's")
        assert await near.worker("acme").ask("assistant", "tell") == {"seen": "none"}
