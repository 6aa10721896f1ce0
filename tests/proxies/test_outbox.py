"""What waits to leave over a link."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    LocalWireError,
    SystemLaneFullError,
    _clock,
)
from trioworkers import message as message_class
from trioworkers.proxies._outbox import BYTES, CAPACITY, SMALL, SYSTEM_LIMIT, Outbox, Packed


@message_class
class Data(BusDataMessage):
    n: int = 0
    size: int = 1
    job: str | None = None


@message_class
class Alarm(BusSystemMessage):
    n: int = 0


class Owner:
    """Packs numbers as frames of a given size, and keeps what is rejected."""

    def __init__(self) -> None:
        self.rejected: list[tuple[Any, str, str]] = []
        self.refused: set[Any] = set()
        self.unwritable: set[Any] = set()
        self.released: list[Any] = []
        self.failed: list[tuple[Any, str]] = []
        self.outbox: Outbox = Outbox("assistant", self, self.release)

    def release(self, ticket: Any, error: Exception | None = None) -> None:
        if error is None:
            self.released.append(ticket)
        else:
            self.failed.append((ticket, str(error)))

    def pack(self, item: Any) -> Packed | None:
        if item.n in self.unwritable:
            raise LocalWireError(f"{item.n} cannot cross")
        if item.n in self.refused:
            self.reject(item, "refused", "forbidden")
            return None
        urgent = isinstance(item, BusSystemMessage)
        size = 1 if urgent else item.size
        return Packed(item, b"x" * size, getattr(item, "job", None), urgent)

    def reject(self, item: Any, reason: str, detail: str = "") -> None:
        self.rejected.append((item.n, reason, detail))

    def outbox_movers(self) -> tuple[()]:
        return ()


@pytest.fixture
def owner() -> Owner:
    """Make an outbox that has a link."""
    owner = Owner()
    owner.outbox.connect()
    return owner


def awaited() -> Owner:
    """Make an outbox without a link, for which two senders wait."""
    owner = Owner()
    owner.outbox.wait("one", Data(n=1))
    owner.outbox.wait("two", Data(n=2))
    return owner


def leave(outbox: Outbox) -> list[int]:
    """Take everything that is to leave, as a writer does."""
    taken: list[int] = []
    while (packed := outbox.lanes.take()) is not None:
        taken.append(packed.item.n)
    outbox.hand_over()
    return taken


async def take(outbox: Outbox) -> list[int]:
    """Take what leaves next, when there is something."""
    if not outbox.lanes:
        await outbox.changed()
    return leave(outbox)


async def test_what_waits_together_leaves_together(owner: Owner) -> None:
    """S-PROXY-5: the writer takes what is there at once, the system lane first."""
    outbox = owner.outbox
    for n in range(3):
        assert outbox.put(Data(n=n), 0.0)
    outbox.put_system(Alarm(n=9))
    assert outbox.depths() == (3, 1)
    assert await take(outbox) == [9, 0, 1, 2]
    assert outbox.empty


async def test_the_writer_waits_for_something_to_leave(owner: Owner) -> None:
    """S-PROXY-5: a writer that waits is woken by the first message; one cancelled takes nothing."""
    outbox = owner.outbox
    with trio.move_on_after(0) as scope:
        await outbox.changed()
    assert scope.cancelled_caught
    taken: list[int] = []

    async def write() -> None:
        taken.extend(await take(outbox))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        outbox.put(Data(n=1), 0.0)
        outbox.put(Data(n=2), 0.0)
    assert taken == [1, 2]


def test_a_full_outbox_lets_senders_wait(owner: Owner) -> None:
    """S-PROXY-5: 256 messages wait; the next sender does."""
    outbox = owner.outbox
    for n in range(CAPACITY):
        assert outbox.put(Data(n=n), 0.0)
    assert outbox.full
    assert not outbox.put(Data(n=-1), 0.0)
    assert outbox.depths() == (CAPACITY, 0)


def test_bytes_are_bounded_too(owner: Owner) -> None:
    """S-PROXY-5: 4 MiB wait; one message may exceed that, the next sender waits."""
    outbox = owner.outbox
    assert outbox.put(Data(n=0, size=BYTES - 1), 0.0)
    assert outbox.put(Data(n=1, size=BYTES), 0.0)
    assert not outbox.put(Data(n=2), 0.0)


async def test_who_waits_enters_in_order(owner: Owner) -> None:
    """S-MAIL-3, S-PROXY-5: who waits enters in the order of waiting as soon as there is room."""
    outbox = owner.outbox
    for n in range(CAPACITY):
        outbox.put(Data(n=n), 0.0)
    for n in (1001, 1002, 1003):
        outbox.wait(f"sender {n}", Data(n=n))
    assert outbox.waiting is not None
    del outbox.waiting["sender 1002"]
    assert outbox.lanes.take().item.n == 0  # type: ignore[union-attr]
    outbox.hand_over()
    assert owner.released == ["sender 1001"]
    assert not outbox.empty
    assert (await take(outbox))[-1] == 1001
    assert owner.released == ["sender 1001", "sender 1003"]
    assert await take(outbox) == [1003]


async def test_urgent_events_do_not_wait_for_room(owner: Owner) -> None:
    """S-PROXY-5: a system message enters a full outbox, up to its hard cap."""
    outbox = owner.outbox
    for n in range(CAPACITY):
        outbox.put(Data(n=n), 0.0)
    assert outbox.put(Alarm(n=1), 0.0)
    for n in range(2, SYSTEM_LIMIT + 1):
        outbox.put_system(Alarm(n=n))
    with pytest.raises(SystemLaneFullError, match="'assistant' holds 10000"):
        outbox.put_system(Alarm(n=0))


def test_without_a_link_only_system_messages_are_taken() -> None:
    """S-PROXY-9: while there is no link senders wait, and system messages queue."""
    owner = Owner()
    outbox = owner.outbox
    assert outbox.full
    assert not outbox.put(Data(n=1), 0.0)
    outbox.put_system(Alarm(n=2))
    assert outbox.depths() == (0, 1)


async def test_a_new_link_lets_in_who_waits() -> None:
    """S-PROXY-9: who waited for a link enters when there is one."""
    owner = Owner()
    outbox = owner.outbox
    outbox.wait("sender", Data(n=1))
    assert outbox.disconnect() == []
    outbox.connect()
    assert owner.released == ["sender"]
    assert await take(outbox) == [1]


def test_a_lost_link_gives_back_what_has_not_left(owner: Owner) -> None:
    """S-PROXY-3: what was queued does not leave over the next link; who waits goes on waiting."""
    outbox = owner.outbox
    for n in range(CAPACITY):
        outbox.put(Data(n=n), 0.0)
    outbox.wait("sender", Data(n=-1))
    assert [item.n for item in outbox.disconnect()] == list(range(CAPACITY))
    assert owner.released == []
    outbox.connect()
    assert outbox.depths() == (1, 0)


def test_what_may_not_cross_does_not_enter(owner: Owner) -> None:
    """S-PROXY-2: what was refused does not enter, and its sender does not wait."""
    outbox, owner.refused = owner.outbox, {1, 2}
    assert outbox.put(Data(n=1), 0.0)
    outbox.put_system(Alarm(n=2))
    assert outbox.empty
    assert owner.rejected == [(1, "refused", "forbidden"), (2, "refused", "forbidden")]


def test_what_cannot_cross_is_an_error_in_its_sender(owner: Owner) -> None:
    """S-PROXY-4: what cannot be written is an error at once, with or without room."""
    outbox, owner.unwritable = owner.outbox, {1}
    for linked in (True, False):
        outbox.connect() if linked else outbox.disconnect()
        with pytest.raises(LocalWireError):
            outbox.put(Data(n=1), 0.0)
        with pytest.raises(LocalWireError):
            outbox.put_system(Alarm(n=1))


def test_what_has_become_unwritable_fails() -> None:
    """S-PROXY-4: an item that was changed while its sender waited cannot enter: its sender is told."""
    owner = awaited()
    outbox = owner.outbox
    owner.unwritable = {1}
    outbox.connect()
    assert owner.failed == [("one", "1 cannot cross")]
    assert owner.released == ["two"]
    assert not owner.rejected
    assert outbox.depths() == (1, 0)


def test_who_is_cancelled_by_what_is_seen() -> None:
    """S-PROXY-2: a sender may be cut off by whoever watches that its message is refused."""
    owner = awaited()
    outbox = owner.outbox
    owner.refused = {1}

    def reject(item: Any, reason: str, detail: str = "") -> None:
        del item, reason, detail
        assert outbox.waiting is not None
        del outbox.waiting["one"]

    owner.reject = reject  # type: ignore[method-assign]
    outbox.connect()
    assert owner.released == ["two"]


def test_a_request_is_withdrawn(owner: Owner) -> None:
    """S-MAIL-6: a request that has not left is taken out again, and makes room."""
    outbox = owner.outbox
    items = [Data(n=n) for n in range(CAPACITY)]
    for item in items:
        outbox.put(item, 0.0)
    outbox.wait("sender", Data(n=-1))
    assert outbox.withdraw(items[5])
    assert owner.released == ["sender"]
    assert not outbox.withdraw(items[5])


async def test_replies_have_room(owner: Owner) -> None:
    """S-JOB-4: a reply enters a full outbox; without a link there is nobody to reply to."""
    outbox = owner.outbox
    for n in range(CAPACITY):
        outbox.put(Data(n=n), 0.0)
    outbox.put_reply(Packed(Data(n=500), b"x", "j", urgent=False))
    assert (await take(outbox))[-1] == 500
    outbox.disconnect()
    outbox.put_reply(Packed(Data(n=501), b"x", "j", urgent=False))
    assert outbox.empty


def test_a_closed_outbox_takes_nothing(owner: Owner) -> None:
    """S-MAIL-1: what is in the outbox, or waits, when its proxy stops is rejected, and what comes."""
    outbox = owner.outbox
    outbox.put(Data(n=1), 0.0)
    outbox.wait("sender", Data(n=2))
    outbox.close()
    assert outbox.put(Data(n=3), 0.0)
    outbox.put_system(Alarm(n=4))
    assert owner.rejected == [(n, "stopped", "") for n in (1, 2, 3, 4)]
    assert owner.released == ["sender"]
    assert (outbox.wait_label(), outbox.movers()) == ("assistant", (False, ()))


class Writing:
    """A link's writer: what has left in a sender's step, and what it was left to take."""

    def __init__(self, outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
        self.outbox = outbox
        self.now = 0.0
        self.whole = True
        self.sent: list[int] = []
        self.batches: list[list[int]] = []
        monkeypatch.setattr(_clock, "slice_clock", lambda: self.now)
        outbox.shortcut(self.leave_now)

    def leave_now(self) -> bool:
        self.sent.extend(leave(self.outbox))
        return self.whole

    async def run(self) -> None:
        while True:
            if not self.outbox.lanes:
                await self.outbox.changed()
            self.batches.append(leave(self.outbox))

    async def taken(self) -> list[list[int]]:
        """Let the writer run, and return what it has taken."""
        await trio.testing.wait_all_tasks_blocked()
        batches, self.batches = self.batches, []
        return batches


async def test_a_message_leaves_at_once_when_the_writer_has_nothing_to_do(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-PROXY-5: one leaves in its sender's step; those right behind it leave together."""
    outbox = owner.outbox
    writing = Writing(outbox, monkeypatch)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.run)
        assert await writing.taken() == []
        writing.now = 1.0
        for n in (1, 2, 3):
            outbox.put(Data(n=n), 0.0)
        assert writing.sent == [1]
        assert await writing.taken() == [[2, 3]]
        outbox.put_system(Alarm(n=4))
        assert writing.sent == [1], "too soon after the last one"
        assert await writing.taken() == [[4]]
        writing.now = 2.0
        outbox.put(Data(n=5, size=SMALL + 1), 0.0)
        assert writing.sent == [1]
        assert await writing.taken() == [[5]]
        writing.whole = False
        outbox.put(Data(n=6), 0.0)
        assert writing.sent == [1, 6]
        assert await writing.taken() == [[]], "to finish what has begun to leave"
        outbox.shortcut(None)
        outbox.put(Data(n=7), 0.0)
        assert await writing.taken() == [[7]]
        outbox.rouse()
        outbox.rouse()
        assert await writing.taken() == [[]]
        nursery.cancel_scope.cancel()


async def test_who_enters_while_others_leave_does_not_leave_before_them(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-PROXY-5: the room that a leaving message makes is filled behind it, however long it takes."""
    outbox = owner.outbox
    writing = Writing(outbox, monkeypatch)

    def leave_now() -> bool:
        packed = outbox.lanes.take()
        assert packed is not None
        # It takes its time, and makes room.
        writing.now += 1.0
        outbox.hand_over()
        writing.sent.append(packed.item.n)
        return not outbox.lanes

    outbox.shortcut(leave_now)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.run)
        await writing.taken()
        outbox.wait("sender", Data(n=2))
        writing.now = 1.0
        outbox.put_system(Alarm(n=1))
        assert writing.sent == [1]
        assert await writing.taken() == [[2]]
        nursery.cancel_scope.cancel()


async def test_a_message_that_is_alone_passes_the_lanes(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-PROXY-5: if nothing waits, one message leaves as it is; when it may not, as the others do."""
    outbox, alone = owner.outbox, list[int]()
    writing = Writing(outbox, monkeypatch)
    answer: list[bool | None] = [True, False, None]

    def leave_alone(packed: Packed) -> bool | None:
        if (whole := answer.pop(0)) is not None:
            alone.append(packed.item.n)
        return whole

    outbox.shortcut(writing.leave_now, leave_alone)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(writing.run)
        await writing.taken()
        writing.now = 1.0
        outbox.put(Data(n=1), 0.0)
        assert (alone, outbox.depths(), await writing.taken()) == ([1], (0, 0), [])
        outbox.put(Data(n=2), 0.0)
        assert (alone, await writing.taken()) == ([1], [[2]]), "too soon after the last one"
        writing.now = 2.0
        outbox.put(Data(n=3), 0.0)
        assert (alone, await writing.taken()) == ([1, 3], [[]]), "to finish what has begun"
        writing.now = 3.0
        outbox.put(Data(n=4), 0.0)
        assert (alone, writing.sent) == ([1, 3], [4])
        nursery.cancel_scope.cancel()
