"""The bus: who gets a message, who waits, and what becomes of the rest."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trioworkers import (
    BackpressureDeadlockError,
    BusActivateWorkerMessage,
    BusAddWorkerMessage,
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusDataMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusJobCancelMessage,
    BusJobRequestMessage,
    BusMessage,
    BusSystemMessage,
    DeadLetter,
    Instrument,
    Lagged,
    LocalBus,
    MailboxFullError,
    NameTakenError,
    Overflow,
    SystemLaneFullError,
    Worker,
    WorkerRunner,
    _clock,
    handles,
    message,
    open_runner,
)
from trioworkers._bus import REPORTED, SENDS_PER_PASS, SLICE
from trioworkers._mailbox import SYSTEM_LANE_LIMIT, Mailbox
from trioworkers._streams import LaggingStream


@message
class Tick(BusDataMessage):
    n: int = 0


@message
class Tock(Tick):
    """Is a kind of `Tick`."""


@message
class Alarm(BusSystemMessage):
    n: int = 0


@message
class NoLane(BusMessage):
    pass


class Forgotten(BusDataMessage):
    pass


class Place:
    """What is behind a name: a mailbox nobody reads, and notes of what it was told."""

    def __init__(
        self, bus: LocalBus, name: str, capacity: int = 2, overflow: Overflow = "wait"
    ) -> None:
        self.bus, self.name, self.active = bus, name, True
        self.box = Mailbox(name, capacity, overflow, self, trio.lowlevel.reschedule)
        self.touched = 0
        self.woken: list[BusMessage] = []
        self.commands: list[BusMessage] = []
        bus.attach(name, self)
        bus.listen(name, [Tick, Alarm])
        self.touched = 0

    @property
    def mailbox(self) -> Mailbox | None:
        self.touched += 1
        return self.box

    @property
    def path(self) -> str:
        return self.name

    present_nursery: trio.Nursery | None = None

    def hears(self, message: BusMessage) -> bool:
        self.touched += 1
        return self.active

    def wake_system(self, message: BusSystemMessage) -> None:
        self.woken.append(message)

    def command(self, message: BusMessage) -> None:
        self.commands.append(message)

    def reject(self, item: Any, reason: Any) -> None:
        self.bus.dead_letter(item, reason, self.name)

    def may_enter_while_ending(self, item: Any) -> bool:
        return False

    def lane_movers(self) -> tuple[Any, ...]:
        return ()

    @property
    def admits(self) -> bool:
        return False

    def admit(self, request: Any) -> None:
        raise AssertionError(request)

    def fill(self) -> Place:
        while not self.box.full:
            self.box.put(Tick(source="filler", n=-1), 0.0)
        return self

    def take(self) -> Any:
        """Take the head as the turn loop does."""
        item = self.box.data.popleft()
        self.box.move_up()
        return item

    @property
    def held(self) -> list[int]:
        return [item.n for item in self.box.data]


class Head(Place):
    """A runner: a place without a mailbox."""

    @property
    def mailbox(self) -> None:
        return None


class Letters(Instrument):
    """Notes dead letters as (reason, worker or number)."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def dead_letter(self, letter: DeadLetter) -> None:
        self.seen.append((letter.reason, getattr(letter.message, "n", letter.message)))


@pytest.fixture
async def bus() -> LocalBus:
    """Make a bus with nobody on it."""
    return LocalBus()


@pytest.fixture
def letters(bus: LocalBus) -> Letters:
    """Note the dead letters of the bus."""
    found = Letters()
    bus.observers.add(found)
    return found


@pytest.fixture
def clock() -> Iterator[list[float]]:
    """Swap the slice clock for one that stands still until it is set."""
    now = [1_000.0]
    original, _clock.slice_clock = _clock.slice_clock, lambda: now[0]
    yield now
    _clock.slice_clock = original


def tick(n: int = 0, target: str | None = None) -> Tick:
    """Make a message of somebody's."""
    return Tick(source="s", target=target, n=n)


def alarm(n: int = 0, target: str | None = None) -> Alarm:
    """Make a system message of somebody's."""
    return Alarm(source="s", target=target, n=n)


# Names


def test_a_name_is_taken_once() -> None:
    """A second one of a name is refused, and the first one stays (S-BUS-5)."""
    bus = LocalBus()
    first = Place(bus, "w")
    with pytest.raises(NameTakenError, match="'w' is taken"):
        Place(bus, "w")
    assert bus.route("w") is first


@pytest.mark.parametrize("name", ["w", "main"])
async def test_a_worker_with_a_taken_name(name: str) -> None:
    """A name is taken by a worker and by the runner, and refused where it is added (S-BUS-5)."""
    async with open_runner(Worker("w"), name="main") as runner:
        with pytest.raises(NameTakenError, match=f"'{name}' is taken"):
            await runner.add_workers(Worker(name))


def test_who_left_is_forgotten() -> None:
    """Leaving the bus leaves nothing behind, also of the types nobody hears any more."""
    bus = LocalBus()
    before = {key: repr(value) for key, value in vars(bus).items()}
    Place(bus, "w")
    bus.unlisten("w", [Tick, Alarm])
    bus.detach("w")
    assert {key: repr(value) for key, value in vars(bus).items()} == before


async def test_others_are_still_heard_when_one_leaves(bus: LocalBus) -> None:
    """A type has listeners until the last one has left (S-BUS-2)."""
    Place(bus, "gone")
    stays = Place(bus, "stays")
    bus.unlisten("gone", [Tick, Alarm])
    await bus.send(tick(1))
    assert stays.held == [1]


# Routing


@pytest.mark.parametrize("nowait", [False, True])
async def test_a_targeted_message_touches_one_mailbox(bus: LocalBus, nowait: bool) -> None:
    """Among a thousand workers only the target is looked at (S-BUS-1)."""
    places = [Place(bus, f"w{n}") for n in range(1_000)]
    if nowait:
        bus.send_nowait(tick(1, "w7"))
    else:
        await bus.send(tick(1, "w7"))
    assert places[7].held == [1]
    assert [place for place in places if place.touched] == []


async def test_a_system_message_touches_its_target(bus: LocalBus) -> None:
    """A system message goes into the other lane, and its worker is told (S-BUS-1)."""
    places = [Place(bus, f"w{n}") for n in range(10)]
    await bus.send(sent := alarm(1, "w7"))
    assert places[7].woken == list(places[7].box.system or ()) == [sent]
    assert [place.name for place in places if place.touched] == ["w7"]


@pytest.mark.parametrize("nowait", [False, True])
async def test_a_broadcast_goes_to_who_hears_it(
    bus: LocalBus, letters: Letters, nowait: bool
) -> None:
    """Every active worker that handles the type gets it, except its source (S-BUS-2, S-MSG-3)."""
    hears, inactive, source, deaf = (Place(bus, name) for name in ("a", "b", "s", "d"))
    inactive.active = False
    bus.unlisten("d", [Tick])
    Head(bus, "main")
    if nowait:
        bus.send_nowait(tick(1))
    else:
        await bus.send(tick(1))
    assert [place.held for place in (hears, inactive, source, deaf)] == [[1], [], [], []]
    assert letters.seen == []


async def test_a_system_broadcast_goes_to_who_hears_it(bus: LocalBus, letters: Letters) -> None:
    """The same for system messages (S-BUS-2)."""
    places = {name: Place(bus, name) for name in ("a", "b", "s")}
    places["b"].active = False
    Head(bus, "main")
    await bus.send(alarm(1))
    assert {name: len(place.woken) for name, place in places.items()} == {"a": 1, "b": 0, "s": 0}
    assert letters.seen == []


async def test_a_broadcast_is_for_exactly_its_type(bus: LocalBus, letters: Letters) -> None:
    """A subclass of a handled type is another type (S-BUS-2)."""
    place = Place(bus, "w")
    await bus.send(Tock(source="s", n=1))
    assert (place.held, letters.seen) == ([], [("unhandled", 1)])


# Dead letters


@pytest.mark.parametrize("make", [tick, alarm])
@pytest.mark.parametrize("nowait", [False, True])
async def test_an_unknown_target(
    bus: LocalBus, letters: Letters, make: Callable[..., BusMessage], nowait: bool
) -> None:
    """What is for nobody on the bus is a dead letter (S-BUS-3)."""
    if nowait:
        bus.send_nowait(make(1, "nobody"))
    else:
        await bus.send(make(1, "nobody"))
    assert letters.seen == [("unknown", 1)]


@pytest.mark.parametrize("make", [tick, alarm])
async def test_a_runner_handles_nothing(
    bus: LocalBus, letters: Letters, make: Callable[..., BusMessage]
) -> None:
    """A message for a runner is a dead letter: it has no handlers (S-BUS-3)."""
    Head(bus, "main")
    await bus.send(make(1, "main"))
    assert letters.seen == [("unhandled", 1)]


@pytest.mark.parametrize("make", [tick, alarm])
@pytest.mark.parametrize("nowait", [False, True])
async def test_a_broadcast_that_nobody_handles(
    bus: LocalBus, letters: Letters, make: Callable[..., BusMessage], nowait: bool
) -> None:
    """A broadcast without handlers, its source apart, is a dead letter (S-BUS-3)."""
    Place(bus, "s")
    if nowait:
        bus.send_nowait(make(1))
    else:
        await bus.send(make(1))
    assert letters.seen == [("unhandled", 1)]


async def test_a_broadcast_that_is_read(bus: LocalBus, letters: Letters) -> None:
    """A broadcast that a subscription reads has not disappeared (S-BUS-3)."""
    async with bus.open_subscription(Alarm):
        await bus.send(tick(1))
    async with bus.open_subscription(Tick):
        await bus.send(tick(2))
    assert letters.seen == [("unhandled", 1)]


async def test_a_broadcast_to_who_is_not_there_now(bus: LocalBus, letters: Letters) -> None:
    """Broadcasts are for those who are there: that nobody is active is no dead letter (S-BUS-2)."""
    Place(bus, "w").active = False
    await bus.send(tick(1))
    await bus.send(alarm(1))
    assert letters.seen == []


async def test_dead_letters_are_counted_and_logged_once(
    bus: LocalBus, caplog: pytest.LogCaptureFixture
) -> None:
    """Each reason and worker is logged once, at WARNING; all are counted (S-BUS-3)."""
    with caplog.at_level(logging.DEBUG, "trioworkers"):
        for target in ("a", "b", "a", "a"):
            await bus.send(tick(1, target))
        await bus.send(tick(1))
        await bus.send(tick(1))
    assert bus.dead_letters == {"unknown": 4, "unhandled": 2}
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    starts = [record.getMessage().split(":")[0] for record in caplog.records]
    assert starts == [
        "dead letter (unknown) for a",
        "dead letter (unknown) for b",
        "dead letter (unhandled) for everybody",
    ]


async def test_what_was_logged_is_bounded(bus: LocalBus, caplog: pytest.LogCaptureFixture) -> None:
    """However many unknown names are tried, the bus remembers a bounded number (S-BUS-3)."""
    with caplog.at_level(logging.ERROR, "trioworkers"):
        for n in range(REPORTED + 100):
            bus.dead_letter(tick(), "unknown", f"w{n}")
    assert len(bus._reported) == REPORTED
    assert bus.dead_letters == {"unknown": REPORTED + 100}


async def test_dead_letters_can_be_read(bus: LocalBus, autojump_clock: MockClock) -> None:
    """A stream gives each letter with its message, reason and time; it tells of a lag (S-BUS-3)."""
    async with bus.open_dead_letters(capacity=1) as stream:
        await bus.send(sent := tick(1, "nobody"))
        assert await anext(stream) == DeadLetter(sent, "unknown", trio.current_time())
        for n in range(3):
            await bus.send(tick(n, "nobody"))
        assert await anext(stream) == Lagged(2)
    with pytest.raises(StopAsyncIteration):
        while True:
            await anext(stream)
    assert bus._letter_streams == []


# Full lanes


async def test_send_waits_for_room(bus: LocalBus) -> None:
    """With `wait` the sender waits until its message is in the lane (S-MAIL-7)."""
    place = Place(bus, "w").fill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, tick(1, "w"))
        await wait_all_tasks_blocked()
        assert place.held == [-1, -1]
        assert place.box.statistics(0.0).waiting_senders == 1
        place.take()
    assert place.held == [-1, 1]
    assert bus.waits.edges == {}


async def test_senders_enter_in_the_order_of_waiting(bus: LocalBus) -> None:
    """Who waited longest enters first (S-MAIL-3)."""
    place = Place(bus, "w").fill()
    async with trio.open_nursery() as nursery:
        for n in range(1, 5):
            nursery.start_soon(bus.send, tick(n, "w"))
            await wait_all_tasks_blocked()
        taken = []
        for _ in range(4):
            taken.append(place.take().n)
            await wait_all_tasks_blocked()
    assert (taken, place.held) == ([-1, -1, 1, 2], [3, 4])


async def test_refusing_lanes_raise(bus: LocalBus, letters: Letters) -> None:
    """With `refuse` the sender gets the error, and no dead letter tells it again (S-MAIL-7)."""
    place = Place(bus, "w", overflow="refuse").fill()
    with pytest.raises(MailboxFullError, match="'w' is full"):
        await bus.send(tick(1, "w"))
    with pytest.raises(MailboxFullError):
        bus.send_nowait(tick(1, "w"))
    assert (place.held, letters.seen) == ([-1, -1], [])


@pytest.mark.parametrize(
    ("overflow", "held", "lost"), [("drop_newest", [-1], 1), ("drop_oldest", [1], -1)]
)
async def test_dropping_lanes_tell(
    bus: LocalBus, letters: Letters, overflow: Overflow, held: list[int], lost: int
) -> None:
    """With a drop policy what is lost is a dead letter, and counted (S-MAIL-7)."""
    place = Place(bus, "w", 1, overflow).fill()
    await bus.send(tick(1, "w"))
    assert (place.held, letters.seen) == (held, [("overflow", lost)])
    assert place.box.dropped == 1


async def test_send_nowait_does_not_wait(bus: LocalBus, letters: Letters) -> None:
    """Without waiting a full lane is `trio.WouldBlock`, and the message can be sent again (S-MAIL-9)."""
    place = Place(bus, "w").fill()
    with pytest.raises(trio.WouldBlock):
        bus.send_nowait(tick(1, "w"))
    place.take()
    bus.send_nowait(tick(1, "w"))
    assert (place.held, letters.seen) == ([-1, 1], [])


@pytest.mark.parametrize("how", ["ending", "stopped"])
async def test_a_mailbox_that_closes_lets_its_senders_go(
    bus: LocalBus, letters: Letters, how: Any
) -> None:
    """Who waits for a worker that ends goes on; the message is a dead letter (S-BUS-3, S-MAIL-1)."""
    place = Place(bus, "w", 1).fill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, tick(1, "w"))
        await wait_all_tasks_blocked()
        place.box.close(how)
    assert (how, 1) in letters.seen
    assert bus.waits.edges == {}


async def test_a_circle_is_refused(bus: LocalBus) -> None:
    """A send that would wait for its own sender raises at once, and names the circle (S-MAIL-12)."""
    place = Place(bus, "w").fill()
    me = trio.lowlevel.current_task()
    place.lane_movers = lambda: (me,)  # type: ignore[method-assign]
    with pytest.raises(BackpressureDeadlockError, match="w -> w"):
        await bus.send(tick(1, "w"))
    assert not place.box.waiting
    assert bus.waits.edges == {}


# Broadcasts to full lanes


async def test_a_broadcast_waits_for_each_in_turn(bus: LocalBus, letters: Letters) -> None:
    """Lanes with room get it at once; the others are waited for, one after the other (S-MAIL-8)."""
    a, b, c = Place(bus, "a").fill(), Place(bus, "b"), Place(bus, "c").fill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, tick(1))
        await wait_all_tasks_blocked()
        assert (a.held, b.held, c.held) == ([-1, -1], [1], [-1, -1])
        for place in (a, c):
            place.take()
            await wait_all_tasks_blocked()
    assert (a.held, b.held, c.held) == ([-1, 1], [1], [-1, 1])
    assert letters.seen == []


async def test_a_broadcast_sees_that_there_is_room_by_now(bus: LocalBus) -> None:
    """A lane that emptied while another one was waited for is not waited for (S-MAIL-8)."""
    a, b = Place(bus, "a").fill(), Place(bus, "b").fill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, tick(1))
        await wait_all_tasks_blocked()
        b.take()
        b.take()
        a.take()
    assert (a.held, b.held) == ([-1, 1], [1])


async def test_a_broadcast_sees_that_a_worker_stopped(bus: LocalBus, letters: Letters) -> None:
    """A worker that stopped while another one was waited for is not waited for (S-BUS-3)."""
    a, b = Place(bus, "a", 1).fill(), Place(bus, "b", 1).fill()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send, tick(1))
        await wait_all_tasks_blocked()
        b.box.close("stopped")
        a.take()
    assert a.held == [1]
    assert letters.seen == [("stopped", -1), ("stopped", 1)]


async def test_a_cancelled_broadcast(
    bus: LocalBus, letters: Letters, autojump_clock: MockClock
) -> None:
    """Those a cancelled broadcast did not reach are dead letters (S-MAIL-8)."""
    a, b, c = Place(bus, "a").fill(), Place(bus, "b"), Place(bus, "c").fill()
    with trio.move_on_after(1):
        await bus.send(tick(1))
    assert (a.held, b.held, c.held) == ([-1, -1], [1], [-1, -1])
    assert letters.seen == [("cancelled", 1), ("cancelled", 1)]
    assert not a.box.waiting
    assert not c.box.waiting


async def test_a_broadcast_that_would_close_a_circle(bus: LocalBus, letters: Letters) -> None:
    """Its sender gets the error, and those it did not reach are dead letters (S-BUS-3, S-MAIL-12)."""
    a, b = Place(bus, "a"), Place(bus, "b").fill()
    me = trio.lowlevel.current_task()
    b.lane_movers = lambda: (me,)  # type: ignore[method-assign]
    Place(bus, "c").fill()
    with pytest.raises(BackpressureDeadlockError):
        await bus.send(tick(1))
    assert a.held == [1]
    assert letters.seen == [("overflow", 1), ("overflow", 1)]


@pytest.mark.parametrize("nowait", [False, True])
async def test_a_broadcast_with_one_lane_that_refuses(
    bus: LocalBus, letters: Letters, nowait: bool
) -> None:
    """A lane that refuses does not keep a broadcast from the others (S-MAIL-8)."""
    first, refuses, last = (Place(bus, name, overflow="refuse") for name in ("a", "b", "c"))
    refuses.fill()
    if nowait:
        bus.send_nowait(tick(1))
    else:
        await bus.send(tick(1))
    assert (first.held, refuses.held, last.held) == ([1], [-1, -1], [1])
    assert (letters.seen, refuses.box.dropped) == ([("overflow", 1)], 1)


async def test_send_nowait_broadcasts_to_all_or_nobody(bus: LocalBus) -> None:
    """Without waiting, a broadcast that one would have to wait for reaches nobody (S-MAIL-9)."""
    places = [Place(bus, "a"), Place(bus, "b").fill()]
    async with bus.open_subscription(Tick) as stream:
        with pytest.raises(trio.WouldBlock):
            bus.send_nowait(tick(1))
    assert [place.held for place in places] == [[], [-1, -1]]
    assert [item async for item in stream] == []


# The system lane


async def test_the_system_lane_never_waits(bus: LocalBus) -> None:
    """A system message enters beside full data, at once (S-MAIL-11)."""
    place = Place(bus, "w").fill()
    for n in range(100):
        bus.send_nowait(alarm(n, "w"))
    assert len(place.woken) == 100


def flood(place: Place) -> None:
    """Fill a system lane to its cap."""
    for _ in range(SYSTEM_LANE_LIMIT):
        place.box.put_system(alarm(-1))


async def test_the_cap_of_a_system_lane_fails_loudly(bus: LocalBus) -> None:
    """The sender of one system message too many gets the error (S-MAIL-11)."""
    flood(Place(bus, "w"))
    with pytest.raises(SystemLaneFullError, match="'w' holds 65536"):
        await bus.send(alarm(1, "w"))


async def test_a_broadcast_with_one_system_lane_at_its_cap(bus: LocalBus) -> None:
    """The others get the broadcast before its sender gets the error (S-MAIL-11)."""
    first, full, last = (Place(bus, name) for name in ("a", "b", "c"))
    flood(full)
    with pytest.raises(SystemLaneFullError, match="'b'"):
        await bus.send(alarm(1))
    assert [len(place.woken) for place in (first, full, last)] == [1, 0, 1]


# Announcements of the framework


async def test_announcements_do_not_wait(bus: LocalBus, letters: Letters) -> None:
    """An announcement that finds no room is a dead letter, in either lane (S-BUS-3)."""
    free, full, flooded = Place(bus, "a"), Place(bus, "b").fill(), Place(bus, "c")
    flood(flooded)
    Head(bus, "main")
    bus.publish(tick(1))
    bus.publish(alarm(2))
    assert (free.held, len(free.woken), len(full.woken)) == ([1], 1, 1)
    assert letters.seen == [("overflow", 1), ("overflow", 2)]
    assert (full.box.dropped, flooded.box.dropped) == (1, 1)


async def test_announcements_have_an_audience(bus: LocalBus, letters: Letters) -> None:
    """An announcement goes to its target, or to all but its source; that nobody hears is fine."""
    a, b, c = Place(bus, "a"), Place(bus, "b"), Place(bus, "c")
    b.active = False
    async with bus.open_subscription(Tick) as stream:
        bus.publish(tick(1, "a"))
        bus.publish(Tick(source="a", n=2))
        bus.publish(tick(3, "b"))
        bus.publish(Tock(source="s", n=4))
    assert (a.held, b.held, c.held, letters.seen) == ([1], [], [2], [])
    assert [item.n async for item in stream if isinstance(item, Tick)] == [1, 2, 3, 4]


async def test_internal_sends(bus: LocalBus, letters: Letters) -> None:
    """What the framework sends for a user waits, or is a dead letter, as what users send."""
    place = Place(bus, "w", 1).fill()
    Place(bus, "r", 1, "refuse").fill()
    await bus.send_internal(tick(1, "nobody"))
    await bus.send_internal(tick(2, "r"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(bus.send_internal, tick(3, "w"))
        await wait_all_tasks_blocked()
        place.take()
    assert place.held == [3]
    assert letters.seen == [("unknown", 1), ("overflow", 2)]


# Commands


async def test_worker_commands_act_at_once(bus: LocalBus, letters: Letters) -> None:
    """Ending and cancelling a worker is not queued, and repeating adds nothing to a lane (S-MAIL-11)."""
    place = Place(bus, "w").fill()
    commands = [
        cls(source="s", target="w") for cls in (BusEndWorkerMessage, BusCancelWorkerMessage)
    ]
    for command in commands * 2:
        bus.send_nowait(command)
    assert place.commands == commands * 2
    assert place.box.system is None
    bus.send_nowait(BusEndWorkerMessage(source="s", target="nobody"))
    assert [reason for reason, _ in letters.seen] == ["unknown"]


async def test_session_commands_go_to_the_runners(bus: LocalBus, letters: Letters) -> None:
    """Ending everything goes to each runner on the bus, or to the one it names (S-MAIL-6)."""
    await bus.send(early := BusEndMessage(source="s"))
    assert letters.seen == [("unknown", early)]
    heads = [Head(bus, "one"), Head(bus, "two")]
    for head in heads:
        bus.open(head.name)
    await bus.send(BusEndMessage(source="s"))
    await bus.send(BusCancelMessage(source="s", target="two"))
    assert [len(head.commands) for head in heads] == [1, 2]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (BusEndMessage(source="s", target="w"), "is for a runner, but its target 'w' is none"),
        (BusEndWorkerMessage(source="s", target="main"), "is for a worker, but its target 'main'"),
        (BusCancelWorkerMessage(source="s"), "needs a target: name the worker"),
    ],
)
async def test_commands_to_the_wrong_one(bus: LocalBus, wrong: BusMessage, says: str) -> None:
    """A command whose target cannot carry it out is refused, with what to send instead."""
    place, head = Place(bus, "w"), Head(bus, "main")
    bus.open("main")
    with pytest.raises(ValueError, match=says):
        await bus.send(wrong)
    assert place.commands == head.commands == []


# Bad input


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (5, "5 is no bus message: make it of a class marked @message"),
        (Tick, "is no bus message"),
        (Forgotten(source="s"), "Forgotten is not marked @message: put it before the class"),
        (NoLane(source="s"), "NoLane has no lane: derive it from BusDataMessage or"),
        (BusJobRequestMessage(source="s", job_id="1"), r"is not sent by hand: use ask\(\)"),
        (BusJobCancelMessage(source="s", job_id="1"), r"is not sent by hand: use ask\(\)"),
        (Tick(source="s", target=5), "target must be a worker name or None, not 5"),  # type: ignore[arg-type]
        (Tick(source="s", target=["w"]), r"worker name or None, not \['w'\]"),  # type: ignore[arg-type]
        (Alarm(source="s", target=["w"]), r"worker name or None, not \['w'\]"),  # type: ignore[arg-type]
        (BusEndWorkerMessage(source="s", target=["w"]), r"or None, not \['w'\]"),  # type: ignore[arg-type]
        (Tick(source=5), "source must be a name, not 5"),  # type: ignore[arg-type]
    ],
)
async def test_what_cannot_be_sent(bus: LocalBus, wrong: Any, says: str) -> None:
    """What is no message, or has an impossible address, is refused by every door (S-MSG-2)."""
    with pytest.raises(TypeError, match=says):
        await bus.send(wrong)
    with pytest.raises(TypeError, match=says):
        bus.send_nowait(wrong)


async def test_a_message_without_source_needs_a_sender(bus: LocalBus) -> None:
    """The bus itself has no name to fill in (S-MSG-2)."""
    with pytest.raises(ValueError, match=r"has no source: send it with the worker's own send\(\)"):
        await bus.send(Tick())
    with pytest.raises(ValueError, match="has no source"):
        bus.send_nowait(Tick())


async def test_nobody_sends_as_somebody_else() -> None:
    """A foreign source is refused, whoever it is; one's own may be given (S-BUS-6)."""
    async with open_runner(worker := Worker("w"), Worker("v"), name="main") as runner:
        for sender, own in ((worker, "w"), (runner, "main")):
            for source in ("v", "nobody"):
                with pytest.raises(ValueError, match=f"'{own}' cannot send as '{source}': leave"):
                    await sender.send(Tick(source=source, target="v"))
                with pytest.raises(ValueError, match=r"attrs\.evolve"):
                    sender.send_nowait(Tick(source=source, target="v"))
            sender.send_nowait(Tick(source=own, target="nobody"))
        assert runner.bus.dead_letters == {"unknown": 2}


@pytest.mark.parametrize("wrong", [5, None, Tick, Forgotten()])
async def test_workers_send_messages(wrong: Any) -> None:
    """What is no message is refused by a worker's own doors too (S-MSG-2)."""
    async with open_runner(worker := Worker("w")):
        with pytest.raises(TypeError, match=r"is no bus message|is not marked @message"):
            await worker.send(wrong)
        with pytest.raises(TypeError, match=r"is no bus message|is not marked @message"):
            worker.send_nowait(wrong)


async def test_a_message_is_sent_on_by_a_copy() -> None:
    """A message that somebody else has sent is sent on as a new one (S-BUS-6)."""
    worker = Worker("w")
    async with open_runner(worker) as runner, runner.bus.open_subscription(Tick) as stream:
        runner.send_nowait(sent := Tick(target="nobody"))
        worker.send_nowait(attrs.evolve(sent, source=""))
        sources = [(await anext(stream)).source for _ in range(2)]  # type: ignore[union-attr]  # pyright: ignore[reportAttributeAccessIssue]
    assert sources == [runner.name, "w"]


async def test_sending_without_a_place() -> None:
    """A worker that was not added cannot send; one that has stopped cannot any more (S-BUS-6)."""
    worker = Worker("w")
    with pytest.raises(RuntimeError, match="'w' is not on a bus: add it"):
        worker.send_nowait(Tick(target="v"))
    async with open_runner(worker):
        pass
    with pytest.raises(trio.ClosedResourceError, match="'w' has stopped"):
        await worker.send(Tick(target="v"))


async def test_a_mailbox_is_open_from_the_beginning() -> None:
    """What is sent between `add_workers` and `run` is handled; what comes too late is told (S-MAIL-1)."""
    worker, runner = Listener("w"), WorkerRunner(name="main")
    letters = Letters()
    runner.add_instrument(letters)
    await runner.add_workers(worker)
    await runner.send(Tick(target="w", n=1))
    await worker.stop()
    await runner.send(Tick(target="w", n=2))
    async with open_runner(other := Listener("v"), name="other") as second:
        await second.send(Tick(target="v", n=1))
    assert [each.n for each in other.heard] == [1]
    assert worker.heard == []
    assert letters.seen == [("stopped", 1), ("unknown", 2)]


# The doors, and who watches


class Listener(Worker):
    """Notes what it hears."""

    def __init__(self, name: str, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.heard: list[Tick] = []
        self.gate = trio.Event()
        self.gate.set()

    @handles(Tick)
    async def tick(self, message: Tick) -> None:
        if not self.gate.is_set():
            await self.gate.wait()
        self.heard.append(message)


async def test_a_subscription_reads_along(bus: LocalBus) -> None:
    """A subscription gets all messages of its types and their subclasses (S-BUS-4)."""
    Place(bus, "w", 10)
    async with bus.open_subscription(Tick, Alarm) as stream:
        for sent in (tick(1, "w"), alarm(2, "w"), Tock(source="s", n=3), tick(4, "nobody")):
            await bus.send(sent)
        bus.send_nowait(tick(5, "w"))
        bus.tell(tick(6))
        await bus.send(BusActivateWorkerMessage(source="s", target="w"))
        assert [await number(stream) for _ in range(6)] == [1, 2, 3, 4, 5, 6]
    assert not bus.watched
    bus.tell(tick(7))


async def number(stream: AsyncIterator[Any]) -> int:
    """Read the number of the next message."""
    return (await anext(stream)).n


async def test_a_slow_reader_is_told(bus: LocalBus) -> None:
    """A reader that lags gets `Lagged(n)`, and the senders never wait for it (S-BUS-4)."""
    Place(bus, "w", 10)
    async with bus.open_subscription(Tick, capacity=2) as stream:
        for n in range(5):
            bus.send_nowait(tick(n, "w"))
        assert await anext(stream) == Lagged(3)
        assert [await number(stream) for _ in range(2)] == [3, 4]


async def test_subscriptions_come_and_go_while_messages_are_sent(bus: LocalBus) -> None:
    """Each subscription reads what is sent while it is open (S-BUS-4)."""
    Place(bus, "w", 1_000)
    read: list[int] = []

    async def subscribe(items: int) -> None:
        async with bus.open_subscription(Tick) as stream:
            read.append(len([await anext(stream) for _ in range(items)]))

    async with trio.open_nursery() as nursery:
        for items in range(10):
            nursery.start_soon(subscribe, items)
        for n in range(900):
            await bus.send(tick(n, "w"))
    assert sorted(read) == list(range(10))
    assert not bus.watched


async def test_entering_is_a_checkpoint(bus: LocalBus) -> None:
    """Opening a subscription, or the dead letters, is a checkpoint."""
    for manager in (bus.open_subscription(Tick), bus.open_dead_letters()):
        with assert_checkpoints():
            await manager.__aenter__()
        await manager.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("types", "says"),
    [
        ((), "needs at least one message class"),
        ((int,), "<class 'int'> is no message class"),
        ((Tick(),), r"Tick\(.*\) is no message class"),
    ],
)
async def test_subscriptions_are_for_message_classes(bus: LocalBus, types: Any, says: str) -> None:
    """What is no message class cannot be subscribed to (S-BUS-4)."""
    with pytest.raises(TypeError, match=says):
        await bus.open_subscription(*types).__aenter__()


async def test_a_capacity_of_nothing(bus: LocalBus) -> None:
    """A stream that could hold nothing is refused, and nobody watches (S-BUS-4)."""
    for manager in (bus.open_subscription(Tick, capacity=0), bus.open_dead_letters(capacity=0)):
        with pytest.raises(ValueError, match="capacity must be at least 1, not 0"):
            await manager.__aenter__()
    assert not bus.watched


async def test_streams_end_with_the_last_runner() -> None:
    """Readers outside the tree come to an end when the last runner has stopped (S-RUN-3)."""
    bus, ended = LocalBus(), []

    async def read(manager: Any) -> None:
        async with manager as stream:
            ended.append([item async for item in stream])

    async with trio.open_nursery() as nursery:
        async with open_runner(bus=bus):
            async with open_runner(bus=bus):
                nursery.start_soon(read, bus.open_subscription(Tick))
                nursery.start_soon(read, bus.open_dead_letters())
                await wait_all_tasks_blocked()
            await wait_all_tasks_blocked()
            assert ended == []
    assert ended == [[], []]


async def test_streams_that_are_opened_too_late() -> None:
    """A stream opened after the last runner has stopped ends at once (S-BUS-4)."""
    async with open_runner() as runner:
        pass
    for manager in (runner.bus.open_subscription(Tick), runner.bus.open_dead_letters()):
        async with manager as stream:
            assert [item async for item in stream] == []


async def test_nobody_waits_for_a_runner_that_may_never_run() -> None:
    """Before the run a full lane is an error that says to start, not an endless wait (S-MAIL-7)."""
    runner = WorkerRunner(name="main")
    await runner.add_workers(Listener("w", mailbox_capacity=1))
    await runner.send(Tick(target="w"))
    with pytest.raises(RuntimeError, match=r"no runner is running on this bus.* start it first"):
        await runner.send(Tick(target="w"))


async def test_a_reader_that_outlives_its_block(bus: LocalBus) -> None:
    """A task that still reads when the block is left gets the end (S-BUS-4)."""

    async def read(stream: AsyncIterator[Any]) -> None:
        async for _ in stream:
            pass

    async with trio.open_nursery() as nursery:
        async with bus.open_subscription(Tick) as stream:
            nursery.start_soon(read, stream)  # noqa: ASYNC111 - it is to outlive the block
            await wait_all_tasks_blocked()


class Meddling(Instrument):
    """Does something whenever a message is sent or lost."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do = do

    def message_sent(self, message: BusMessage) -> None:
        self.do()

    def dead_letter(self, letter: DeadLetter) -> None:
        self.do()


async def test_an_instrument_that_answers_every_dead_letter_with_one(
    bus: LocalBus, caplog: pytest.LogCaptureFixture
) -> None:
    """An instrument that goes round in circles is removed, and the bus lives on."""
    place = Place(bus, "w")
    bus.observers.add(Meddling(lambda: bus.send_nowait(tick(1, "nobody"))))
    with caplog.at_level(logging.CRITICAL, "trioworkers"):
        await bus.send(tick(1, "nobody"))
    assert bus.observers.dead_letter == []
    await bus.send(tick(2, "w"))
    assert place.held == [2]


async def test_an_instrument_that_raises_does_not_harm_a_send(bus: LocalBus) -> None:
    """A message that an instrument choked on arrives all the same."""
    place = Place(bus, "w")
    bus.observers.add(Meddling(lambda: 1 / 0))
    bus.watch_changed()
    await bus.send(tick(1, "w"))
    await bus.send(tick(2, "w"))
    assert place.held == [1, 2]


async def test_an_instrument_that_fills_a_lane(bus: LocalBus, letters: Letters) -> None:
    """A lane that a watcher fills in the middle of a broadcast loses it aloud (S-BUS-3)."""
    place = Place(bus, "w")
    bus.observers.add(Meddling(place.fill))
    bus.watch_changed()
    bus.send_nowait(tick(1))
    assert (place.held, letters.seen) == ([-1, -1], [("overflow", 1)])


async def test_sending_is_protected_from_control_c(bus: LocalBus) -> None:
    """KeyboardInterrupt cannot come between two steps of a delivery."""
    Place(bus, "w", 100)
    protected: list[bool] = []

    class Noting(LaggingStream[BusMessage]):
        def push(self, item: BusMessage) -> None:
            protected.append(trio.lowlevel.currently_ki_protected())
            super().push(item)

    bus._subscriptions[Noting(9)] = (BusMessage,)
    bus.watch_changed()
    await bus.send(tick(1, "w"))
    await bus.send(tick(1))
    await bus.send(alarm(1, "w"))
    await bus.send_internal(tick(1, "w"))
    bus.send_nowait(tick(1, "w"))
    bus.publish(tick(1))
    assert protected == [True] * 6
    assert not trio.lowlevel.currently_ki_protected()


async def test_waiting_is_protected_from_control_c(
    bus: LocalBus, autojump_clock: MockClock
) -> None:
    """A task that notes itself as waiting does go to sleep, whoever lets it wait."""
    protected: list[bool] = []

    class Noting(Mailbox):
        __slots__ = ()

        def wait(self, ticket: Any, item: Any) -> None:
            protected.append(trio.lowlevel.currently_ki_protected())
            super().wait(ticket, item)

    place = Place(bus, "w", 1).fill()
    box = Noting("w", 1, "wait", place, trio.lowlevel.reschedule)
    with trio.move_on_after(1):
        await bus.wait_for_room(box, tick(1, "w"))
    assert protected == [True]
    assert not box.waiting


# Turns of others


async def rarest(step: Callable[[int], Any], steps: int) -> int:
    """Take steps in a tight loop; return how often the rarest of some neighbours ran meanwhile."""
    turns = [0] * 5

    async def neighbour(number: int) -> None:
        while True:
            turns[number] += 1
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(neighbour, number)
        for n in range(steps):
            await step(n)
        nursery.cancel_scope.cancel()
    return min(turns)


async def test_a_tight_loop_lets_neighbours_run(bus: LocalBus, clock: list[float]) -> None:
    """Every neighbour runs at least once per 64 sends, even if time stands still (S-MAIL-9)."""
    Place(bus, "w", 10_000)
    bus._yielded = clock[0]
    assert await rarest(lambda n: bus.send(tick(n, "w")), 10 * SENDS_PER_PASS) in (9, 10)


@pytest.mark.parametrize("ahead", [0, 1])
async def test_send_nowait_takes_no_turns_from_neighbours(
    bus: LocalBus, clock: list[float], ahead: int
) -> None:
    """Sends without waiting in between do not make the others rarer (S-MAIL-9)."""
    Place(bus, "w", 10_000)
    bus._yielded = clock[0]
    # Every 64th send is one that waits, or one that does not.
    for _ in range(ahead):
        bus.send_nowait(tick(0, "w"))

    async def step(n: int) -> None:
        await bus.send(tick(n, "w"))
        bus.send_nowait(tick(n, "w"))

    assert await rarest(step, 10 * SENDS_PER_PASS) >= 9


async def test_a_slow_loop_lets_neighbours_run_sooner(bus: LocalBus, clock: list[float]) -> None:
    """A send that comes 1 ms after the last schedule point is one (S-MAIL-9)."""
    Place(bus, "w", 10_000)

    async def step(n: int) -> None:
        clock[0] += 2 * SLICE
        await bus.send(tick(n, "w"))

    assert await rarest(step, 200) >= 199


async def test_pausing_is_the_same(bus: LocalBus, clock: list[float]) -> None:
    """What is sent outside the lanes lets neighbours run as often (S-MAIL-9)."""
    bus._yielded = clock[0]
    assert await rarest(lambda n: bus.pause(), 10 * SENDS_PER_PASS) in (9, 10)


async def test_real_workers_get_their_turns() -> None:
    """A worker that is flooded handles its messages meanwhile, and so do others (S-MAIL-9)."""
    target, other = Listener("w", mailbox_capacity=100_000), Listener("v")
    async with open_runner(target, other) as runner:
        runner.send_nowait(Tick(target="v", n=0))
        for n in range(10 * SENDS_PER_PASS):
            await runner.send(Tick(target="w", n=n))
        assert len(target.heard) >= 8 * SENDS_PER_PASS
        assert len(other.heard) == 1


async def test_send_is_a_cancellation_point_each_time(bus: LocalBus) -> None:
    """A cancelled scope ends the first send in it, whichever number it has (S-MAIL-8, S-MAIL-9)."""
    place = Place(bus, "w", 1_000)
    for n in range(2 * SENDS_PER_PASS):
        with trio.CancelScope() as scope:
            scope.cancel()
            await bus.send(tick(n, "w"))
        assert scope.cancelled_caught
    assert place.held == []


@pytest.mark.parametrize("opened", range(8))
@pytest.mark.parametrize("cancelled", range(8))
async def test_a_cancelled_send_was_not_enqueued(opened: int, cancelled: int) -> None:
    """Whenever a send is cancelled, and room is made, it was enqueued or cancelled (S-MAIL-8)."""
    worker = Listener("w", mailbox_capacity=1)
    worker.gate = trio.Event()
    sent: list[int] = []

    async def send(scope: trio.CancelScope) -> None:
        with scope:
            for n in (2, 3):
                await runner.send(Tick(target="w", n=n))
                sent.append(n)

    async with open_runner(worker) as runner:
        runner.send_nowait(Tick(target="w", n=0))
        await wait_all_tasks_blocked()
        runner.send_nowait(Tick(target="w", n=1))
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            nursery.start_soon(send, scope)
            for moment in range(9):
                if moment == opened:
                    worker.gate.set()
                if moment == cancelled:
                    scope.cancel()
                await trio.lowlevel.checkpoint()
    assert [each.n for each in worker.heard] == [0, 1, *sent]
    assert not runner.bus.dead_letters
    assert runner.bus.waits.edges == {}


@pytest.mark.parametrize("cancelled", range(4))
async def test_a_cancelled_sender_among_others(cancelled: int) -> None:
    """One of several waiting senders gives up; the others keep their order (S-MAIL-8, S-MAIL-3)."""
    worker = Listener("w", mailbox_capacity=1)
    worker.gate = trio.Event()
    scopes = [trio.CancelScope() for _ in range(4)]

    async def send(n: int) -> None:
        with scopes[n]:
            await runner.send(Tick(target="w", n=n))

    async with open_runner(worker) as runner:
        for n in (10, 11):
            runner.send_nowait(Tick(target="w", n=n))
            await wait_all_tasks_blocked()
        async with trio.open_nursery() as nursery:
            for n in range(4):
                nursery.start_soon(send, n)
                await wait_all_tasks_blocked()
            assert worker.statistics().mailbox.waiting_senders == 4
            scopes[cancelled].cancel()
            worker.gate.set()
    heard = [each.n for each in worker.heard]
    assert heard == [10, 11, *(n for n in range(4) if n != cancelled)]


async def test_a_cancelled_broadcast_to_real_workers(autojump_clock: MockClock) -> None:
    """A broadcast reaches who has room; cancelled, it tells of the rest (S-MAIL-8)."""
    free, full = Listener("free"), Listener("full", mailbox_capacity=1)
    full.gate = trio.Event()
    letters = Letters()
    async with open_runner(free, full) as runner:
        runner.add_instrument(letters)
        for n in (1, 2):
            runner.send_nowait(Tick(target="full", n=n))
            await wait_all_tasks_blocked()
        with trio.move_on_after(1):
            await runner.send(Tick(n=3))
        full.gate.set()
    assert [each.n for each in free.heard] == [3]
    assert [each.n for each in full.heard] == [1, 2]
    assert letters.seen == [("cancelled", 3)]


async def test_the_statistics_of_a_worker() -> None:
    """A worker's statistics hold those of its mailbox, frozen (S-MAIL-13)."""
    worker = Listener("w", mailbox_capacity=2)
    worker.gate = trio.Event()
    async with open_runner(worker) as runner:
        runner.send_nowait(Tick(target="w"))
        await wait_all_tasks_blocked()
        for _ in range(2):
            runner.send_nowait(Tick(target="w"))
        found = worker.statistics().mailbox
        worker.gate.set()
    assert (found.data_depth, found.high_water_mark, found.capacity, found.accepted) == (2, 2, 2, 3)
    assert found.oldest_age >= 0


# From threads


async def in_thread(send: Callable[..., None], *args: Any) -> BaseException | None:
    """Call something in a thread; return what it raised there."""

    def call() -> BaseException | None:
        try:
            send(*args)
        except Exception as error:  # noqa: BLE001 - it is what is looked at
            return error
        return None

    return await trio.to_thread.run_sync(call, abandon_on_cancel=True)


async def test_a_thread_can_send() -> None:
    """A message from a thread arrives; without a source it comes from the runner (S-MAIL-11)."""
    worker = Listener("w")
    async with open_runner(worker, name="main") as runner:
        assert await in_thread(runner.bus.send_from_thread, Tick(target="w", n=1)) is None
        own = Tick(source="w", target="w", n=2)
        assert await in_thread(runner.bus.send_from_thread, own) is None
    assert [(each.source, each.n) for each in worker.heard] == [("main", 1), ("w", 2)]


class Edges(dict[Any, Any]):
    """The waits of a bus, which tell when one begins."""

    def __init__(self) -> None:
        self.begun = trio.Event()

    def __setitem__(self, task: Any, resource: Any) -> None:
        super().__setitem__(task, resource)
        self.begun.set()


async def test_a_thread_waits_for_room() -> None:
    """A thread that sends to a full lane goes on when there is room (S-MAIL-7, S-MAIL-11)."""
    worker = Listener("w", mailbox_capacity=1)
    worker.gate = trio.Event()
    async with open_runner(worker) as runner:
        for n in (1, 2):
            runner.send_nowait(Tick(target="w", n=n))
            await wait_all_tasks_blocked()
        runner.bus.waits.edges = edges = Edges()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(in_thread, runner.bus.send_from_thread, Tick(target="w", n=3))
            await edges.begun.wait()
            assert worker.statistics().mailbox.waiting_senders == 1
            worker.gate.set()
    assert [each.n for each in worker.heard] == [1, 2, 3]


async def test_a_thread_gets_its_errors() -> None:
    """What a send raises is raised in the thread, and the run goes on (S-MAIL-11)."""
    worker = Listener("w", mailbox_capacity=1, overflow="refuse")
    worker.gate = trio.Event()
    async with open_runner(worker) as runner:
        for _ in range(2):
            runner.send_nowait(Tick(target="w"))
            await wait_all_tasks_blocked()
        send = runner.bus.send_from_thread
        assert isinstance(await in_thread(send, Tick(target="w")), MailboxFullError)
        assert isinstance(await in_thread(send, 5), TypeError)
        assert isinstance(await in_thread(send, BusJobRequestMessage(job_id="1")), TypeError)
        for source in ("nobody", ["w"]):
            error = await in_thread(send, Tick(source=source, target="w"))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            assert isinstance(error, ValueError)
            assert f"source {source!r} is not on this bus" in str(error)
        worker.gate.set()


async def test_trio_threads_do_not_block(bus: LocalBus) -> None:
    """Without a runner, and in trio's own thread, it says what to do instead (S-MAIL-11)."""
    with pytest.raises(RuntimeError, match="no runner is running on this bus"):
        bus.send_from_thread(tick(1))
    async with open_runner(bus=bus):
        with pytest.raises(RuntimeError, match=r"runs trio and must not block: use send\(\)"):
            bus.send_from_thread(tick(1))
        error = await in_thread(trio.run, as_coroutine, bus.send_from_thread, tick(1))
        assert isinstance(error, RuntimeError)
    error = await in_thread(bus.send_from_thread, tick(1))
    assert "no runner is running on this bus" in str(error)


async def as_coroutine(call: Callable[..., None], *args: Any) -> None:
    """Call something inside trio."""
    call(*args)


def test_a_run_that_is_over() -> None:
    """A thread that holds on to a run that is over gets trio's own error (S-MAIL-11)."""
    bus = LocalBus()

    async def open_and_leave() -> None:
        bus.open("main")

    trio.run(open_and_leave)
    with pytest.raises(trio.RunFinishedError):
        bus.send_from_thread(tick(1))


@pytest.mark.parametrize(
    "sent",
    [
        Tick(target="nobody"),
        Tick(),
        Alarm(target="nobody"),
        Alarm(),
        BusEndMessage(),
        BusCancelWorkerMessage(target="w"),
    ],
    ids=repr,
)
def test_outside_trio(sent: BusMessage) -> None:
    """A message that nobody could take, sent outside trio, is an error that says so (S-BUS-3)."""
    with pytest.raises(RuntimeError, match=r"outside trio: send it inside trio\.run\(main\)"):
        WorkerRunner(name="main").send_nowait(attrs.evolve(sent))


async def test_adding_a_worker_by_message() -> None:
    """A worker that is added by a message is added to the runner (S-MSG-1)."""
    async with open_runner(name="main") as runner:
        await runner.send(BusAddWorkerMessage(worker=Worker("late")))
        await runner.registry.wait_ready("late")
        assert runner.get_worker("late") is not None
