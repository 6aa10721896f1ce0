"""A slow reader of a job's events over a native link: its producer waits, and nobody else does."""

from __future__ import annotations

import contextlib
from math import inf
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import Server, outcome_of
from tests.proxies import links
from tests.proxies.lasting import cut, housed, until
from tests.proxies.pairs import connecting, pair, served
from trioworkers import (
    BusJobRequestMessage,
    BusJobResponseMessage,
    BusJobStreamDataMessage,
    Job,
    JobCancelledError,
    Worker,
    job,
)
from trioworkers.proxies._outbox import CAPACITY
from trioworkers.proxies._unread import EVENT_CAPACITY
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.session import HOLDS

pytestmark = [pytest.mark.usefixtures("dialect"), links.NATIVE_ONLY]

MANY = 5000
HALF = EVENT_CAPACITY // 2


async def settle() -> None:
    """Let everybody run until they wait."""
    await trio.testing.wait_all_tasks_blocked()


class Producer(Server):
    """Makes as many events as it is asked for, in one task or in several."""

    def __init__(self, name: str = "assistant") -> None:
        super().__init__(name)
        self.made: list[int] = []
        self.cut_off: list[Any] = []

    @job()
    async def produce(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        """Stream, or tell urgently; then fail or return."""
        body = "x" * payload.get("size", 0)
        try:
            for n in range(payload.get("n", MANY)):
                if payload.get("urgent"):
                    await job.update({"n": n, "body": body}, urgent=True)
                else:
                    await job.stream({"n": n, "body": body})
                self.made.append(n)
        except trio.Cancelled as cancelled:
            self.cut_off.append((trio.current_time(), cancelled.reason))
            raise
        return {"made": len(self.made)}

    @job()
    async def several(self, job: Job, payload: dict[str, Any]) -> None:
        """Stream until it is held; then from one more task every second."""
        with trio.move_on_after(1):
            for _ in range(MANY):
                await job.stream({"n": -1})
        async with trio.open_nursery() as nursery:
            for n in range(20):
                nursery.start_soon(job.stream, {"n": n})
                await trio.sleep(1)

    @job()
    async def tell(self, job: Job, payload: dict[str, Any]) -> None:
        """Leave behind a task that goes on telling."""
        self.nursery.start_soon(self._go_on, job)
        await trio.sleep(payload["seconds"])

    async def _go_on(self, job: Job) -> None:
        with contextlib.suppress(RuntimeError):
            while True:
                await job.update({})
                self.made.append(1)


async def all_of(pending: Any) -> list[int]:
    """Read the numbers of the events to the end."""
    return [event.data["n"] async for event in pending]


@pytest.mark.parametrize("urgent", [False, True])
async def test_the_producer_waits(autojump_clock: Any, urgent: bool) -> None:
    """S-JOB-8: it waits, urgent or not, until a quarter is left to read; nothing is lost."""
    near, far = Producer("acme"), Producer()
    async with (
        pair(lambda: near, lambda: far) as (one, two),
        near.job("assistant", "produce", {"urgent": urgent}) as pending,
    ):
        await trio.sleep(60)
        stopped = len(far.made)
        assert HALF <= stopped <= HALF + LinkLimits().messages + CAPACITY
        # Nothing of it waits to leave, nor for room: only its handler does.
        assert two.proxy.link_statistics().data_depth == 0
        assert two.proxy.link_statistics().system_depth == 0
        assert not one.proxy._portal.replies.inbox
        unread = one.proxy._portal.replies.requests()[0].job.unread
        for _ in range(unread.events - EVENT_CAPACITY // 4):
            await pending.__anext__()
        await settle()
        assert len(far.made) == stopped
        await pending.__anext__()
        await settle()
        assert len(far.made) > stopped
        assert len(await all_of(pending)) > MANY - stopped
        assert unread.events == unread.size == 0
    assert pending.response == {"made": MANY}
    assert one.clean()
    assert two.clean()


async def test_all_other_replies_pass(autojump_clock: Any) -> None:
    """S-JOB-3, S-PROXY-6: answers, another stream and its own cancel pass many held jobs."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far), trio.open_nursery() as nursery:
        # More than are told with one frame, and large events among them.
        for n in range(10):
            nursery.start_soon(unread_job, near, {"n": MANY, "size": 1000 * n})
        await settle()
        assert 5 * HALF < len(far.made) < 10 * EVENT_CAPACITY
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        async with near.job("assistant", "produce", {"n": MANY}) as pending:
            assert await all_of(pending) == list(range(MANY))
        assert trio.current_time() == 0
        nursery.cancel_scope.cancel(reason="enough")
    assert {reason for _, reason in far.cut_off} == {"enough"}


async def unread_job(worker: Worker, payload: dict[str, Any]) -> None:
    """Have a job, and read none of its events."""
    async with worker.job("assistant", "produce", payload):
        await trio.sleep_forever()


async def test_large_events(autojump_clock: Any) -> None:
    """S-JOB-8: of large events fewer are kept: the bytes are bounded."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far) as (one, _):
        async with near.job("assistant", "produce", {"n": 60, "size": 1_000_000}) as pending:
            await trio.sleep(60)
            assert 8 <= len(far.made) <= 16
            assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
            assert await all_of(pending) == list(range(60))
        assert one.clean()


async def test_leaving_instead_of_reading(autojump_clock: Any) -> None:
    """S-JOB-1, S-JOB-8: who leaves the block without reading waits for the outcome, not for ever."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far) as (_, two):
        async with near.job("assistant", "produce", {}) as pending:
            await trio.sleep(60)
        assert pending.response == {"made": MANY}
        assert two.clean()


@pytest.mark.parametrize("how", ["cancel", "deadline", "stop reading"])
async def test_the_end_of_a_held_job(autojump_clock: Any, how: str) -> None:
    """S-JOB-6, S-PROXY-6: a held job's cancel and deadline reach its handler, which waits."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far) as (one, two):
        with trio.move_on_after(60 if how == "deadline" else inf) as scope:
            async with near.job("assistant", "produce", {}) as pending:
                await trio.sleep(30)
                if how == "cancel":
                    scope.cancel(reason="enough")
                if how != "stop reading":
                    await trio.sleep_forever()
                await pending.__anext__()
        ((when, reason),) = far.cut_off
        wanted = {"cancel": "enough", "deadline": "a deadline has passed"}
        assert reason == wanted.get(how, "its requester left")
        assert when == (60 if how == "deadline" else 30)
        assert one.clean()
        assert two.clean()


async def test_several_tasks_of_one_handler(autojump_clock: Any) -> None:
    """S-JOB-5: those that wait while their job is held go on in the order in which they came."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far):
        async with near.job("assistant", "several", {}) as pending:
            await trio.sleep(15)
            seen = await all_of(pending)
        assert HALF <= seen.index(0) <= EVENT_CAPACITY
        assert seen[seen.index(0) :] == list(range(20))


async def test_a_group(autojump_clock: Any) -> None:
    """S-JOB-8: members beyond a link are held each by itself, and members here wait as ever."""
    near, far, beside = Producer("acme"), Producer(), Producer("beside")
    async with pair(lambda: near, lambda: far) as (one, _):
        await one.runner.add_workers(beside)
        members = {"assistant": {}, "beside": {}}
        async with near.job_group("produce", members) as group:
            await trio.sleep(60)
            assert HALF <= len(far.made) < EVENT_CAPACITY
            assert len(beside.made) < HALF
            seen: dict[str, list[int]] = {"assistant": [], "beside": []}
            async for event in group:
                assert event.data is not None
                seen[event.worker_name].append(event.data["n"])
        assert seen == {name: list(range(MANY)) for name in ("assistant", "beside")}
        assert one.clean()


async def test_a_job_that_ends_while_it_is_held(autojump_clock: Any) -> None:
    """S-JOB-8: what somebody else tells of it does not wait for ever, and is a dead letter."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far) as (_, two):
        async with near.job("assistant", "tell", {"seconds": 5}):
            await trio.sleep(4)
            before = len(far.made)
            assert HALF <= before <= EVENT_CAPACITY
            await trio.sleep(2)
            assert len(far.made) == before + 1
            assert [reason for reason, _ in two.letters.take()] == ["late reply"]


async def test_a_peer_that_holds_for_ever(autojump_clock: Any) -> None:
    """S-PROXY-6: the handler waits, its requester's deadline and cancel still work; others go on."""
    server = Producer()
    async with served(server) as (side, far):
        assert far.native is not None
        await far.announce()
        for n, seconds in enumerate((5.0, inf)):
            request = BusJobRequestMessage(
                source="acme", target="assistant", job_id=f"j{n}", job_name="produce", payload={}
            )
            far.native.session.hold(f"j{n}", held=True)
            far.native.put(request, trio.current_time() + seconds)
        # One that was never asked for, and one that is told twice.
        far.native.session.hold("nobody", held=True)
        await far.flush()
        await settle()
        for n in range(2):
            far.native.session.hold(f"j{n}", held=True)
        await far.flush()
        await settle()
        before = len(server.made)
        await trio.sleep(6)
        assert len(server.made) == before
        assert side.proxy.link_statistics().data_depth <= CAPACITY + 1
        far.native.cancel("j1", "enough", "far/acme", 2)
        await far.flush()
        await settle()
        assert server.cut_off == [(5, "a deadline has passed"), (6, "enough")]
        # Their events and their ends are there to be had.
        with trio.move_on_after(1):
            while True:
                await far.listen()
        ends = [each for each in far.native.heard if isinstance(each, BusJobResponseMessage)]
        assert [(each.job_id, each.status) for each in ends] == [
            ("j0", "cancelled"),
            ("j1", "cancelled"),
        ]


async def test_a_peer_that_is_not_held(autojump_clock: Any) -> None:
    """S-PROXY-5: one that goes on nevertheless stops itself: what is kept here is bounded."""
    near = Server("acme")
    async with connecting(near, credit=100) as (side, network), trio.open_nursery() as nursery:
        far = await network.far()
        assert far.native is not None
        await far.announce()
        nursery.start_soon(unread_job, near, {})
        request = await far.hear(BusJobRequestMessage)
        for n in range(MANY):
            far.native.put(
                BusJobStreamDataMessage(
                    source="assistant", target="acme", job_id=request.job_id, data={"n": n}
                )
            )
        with trio.move_on_after(60):
            while True:
                await far.listen()
        (hold,) = far.native.holds
        assert (hold.job_id, hold.held) == (request.job_id, True)
        replies = side.proxy._portal.replies
        assert replies.requests()[0].job.unread.events == EVENT_CAPACITY + 100
        assert len(replies.inbox) <= 100
        assert side.proxy.connected
        nursery.cancel_scope.cancel()


async def test_many_holds_at_once(autojump_clock: Any) -> None:
    """S-PROXY-6: holds that are too many for one frame are all told, and before any more credit."""
    async with served(Producer()) as (_, far):
        assert far.native is not None
        for n in range(3 * HOLDS):
            far.native.session.hold(f"j{n}", held=True)
        frames = list(far.native.frames())
        assert len(frames) == 0  # it has not heard the hello
        await far.announce()
        assert not far.native.session._holds


async def test_over_another_connection(autojump_clock: Any) -> None:
    """S-PROXY-8: a held job stays so when its connection is lost, and goes on over the next one."""
    near, far = Producer("acme"), Producer()
    async with housed(near, far) as (side, house):
        await side.runner.registry.wait_ready("assistant")
        async with near.job("assistant", "produce", {}) as pending:
            await trio.sleep(1)
            held = len(far.made)
            assert HALF <= held <= EVENT_CAPACITY
            for _ in range(5):
                cut(house.end)
                await until(lambda: not side.proxy.connected)
                await until(lambda: side.proxy.connected)
                await trio.sleep(3)
                assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
            assert len(far.made) == held
            # That it may go on is said while there is no connection.
            cut(house.end)
            seen = [await pending.__anext__() for _ in range(held)]
            assert len(far.made) == held
            seen += [event async for event in pending]
            assert [event.data["n"] for event in seen if event.data] == list(range(MANY))
        assert pending.response == {"made": MANY}


async def test_a_link_that_is_lost(autojump_clock: Any) -> None:
    """S-PROXY-3: the handler of a held job is cancelled with the link, and so is its requester."""
    near, far = Producer("acme"), Producer()
    async with pair(lambda: near, lambda: far) as (_, two):

        async def read_later() -> None:
            async with near.job("assistant", "produce", {}) as pending:
                await trio.sleep(10)
                await all_of(pending)

        async with trio.open_nursery() as nursery:

            async def cut_soon() -> None:
                await trio.sleep(5)
                await two.proxy._transport.abort()

            nursery.start_soon(cut_soon)
            error = await outcome_of(read_later())
            assert not isinstance(error, JobCancelledError)
            assert "the link to it is lost" in str(error)
        ((when, reason),) = far.cut_off
        assert when == 5
        assert "the link is lost" in reason
        assert two.clean()
