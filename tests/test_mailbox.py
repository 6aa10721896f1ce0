"""A mailbox: two lanes, overflow and statistics, without an event loop."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
)

from trioworkers import (
    BusActivateWorkerMessage,
    BusDataMessage,
    BusSystemMessage,
    MailboxFullError,
    MailboxStatistics,
    SystemLaneFullError,
    _clock,
    _mailbox,
    message,
)
from trioworkers._mailbox import OVERFLOWS, SYSTEM_LANE_LIMIT, Mailbox, Overflow


@message
class Tick(BusDataMessage):
    n: int = 0


@message
class Alarm(BusSystemMessage):
    n: int = 0


class Ask:
    """An open request: anything that is no message."""


class Owner:
    """Notes what the mailbox does with what it was given."""

    def __init__(self) -> None:
        self.rejected: list[tuple[Any, str]] = []
        self.released: list[Any] = []
        self.let_in: list[Any] = []
        self.on_reject: Callable[[Any], object] = lambda item: None
        self.moving: Sequence[Any] = ()
        self.admits = False
        self.admitted: list[Any] = []

    def reject(self, item: Any, reason: str) -> None:
        self.rejected.append((item, reason))
        self.on_reject(item)

    def may_enter_while_ending(self, item: Any) -> bool:
        return item in self.let_in

    def lane_movers(self) -> Sequence[Any]:
        return self.moving

    def admit(self, request: Any) -> None:
        self.admitted.append(request)


@pytest.fixture
def owner() -> Owner:
    """Make an owner that lets nothing in while ending."""
    return Owner()


def make_box(owner: Owner, capacity: int = 2, overflow: Overflow = "wait") -> Mailbox:
    """Make a mailbox that notes whom it releases."""
    return Mailbox("w", capacity, overflow, owner, owner.released.append)


def take(box: Mailbox) -> Any:
    """Take the head as the turn loop does."""
    item = box.data.popleft()
    box.move_up()
    return item


def put_all(box: Mailbox, *items: Any) -> None:
    """Put items that must find room."""
    for item in items:
        assert box.put(item, 0.0)


def test_first_in_first_out(owner: Owner) -> None:
    """What enters first is taken first (S-MAIL-3)."""
    box = make_box(owner, 3)
    ticks = [Tick(n=n) for n in range(3)]
    put_all(box, *ticks)
    assert [take(box) for _ in ticks] == ticks
    assert owner.rejected == []


def test_a_full_lane_does_not_take(owner: Owner) -> None:
    """With `wait` a full lane takes nothing and says so (S-MAIL-7)."""
    box = make_box(owner, 1)
    put_all(box, Tick(n=1))
    assert not box.full or not box.put(Tick(n=2), 0.0)
    assert list(box.data) == [Tick(n=1)]
    assert owner.rejected == []


def test_who_waited_longest_enters_first(owner: Owner) -> None:
    """Waiting senders enter in the order of waiting, as soon as there is room (S-MAIL-3)."""
    box = make_box(owner, 1)
    put_all(box, Tick(n=0))
    for n in (1, 2, 3):
        box.wait(f"sender {n}", Tick(n=n))
    assert take(box) == Tick(n=0)
    assert owner.released == ["sender 1"]
    assert [take(box).n for _ in range(3)] == [1, 2, 3]
    assert owner.released == ["sender 1", "sender 2", "sender 3"]


def test_a_sender_that_gave_up_does_not_enter(owner: Owner) -> None:
    """A sender that no longer waits is passed over (S-MAIL-8)."""
    box = make_box(owner, 1)
    put_all(box, Tick(n=0))
    box.wait("one", Tick(n=1))
    box.wait("two", Tick(n=2))
    assert box.waiting is not None
    del box.waiting["one"]
    assert [take(box).n for _ in range(2)] == [0, 2]
    assert owner.released == ["two"]


def test_refuse(owner: Owner) -> None:
    """With `refuse` the sender gets an error that names the worker and its capacity (S-MAIL-7)."""
    box = make_box(owner, 2, "refuse")
    put_all(box, Tick(), Tick())
    with pytest.raises(MailboxFullError, match=r"'w' is full \(2 messages") as caught:
        box.put(Tick(n=3), 0.0)
    assert (caught.value.worker, caught.value.capacity) == ("w", 2)
    assert len(box.data) == 2


def test_drop_newest(owner: Owner) -> None:
    """With `drop_newest` the new message is lost, told and counted (S-MAIL-7)."""
    box = make_box(owner, 1, "drop_newest")
    put_all(box, Tick(n=1), Tick(n=2))
    assert owner.rejected == [(Tick(n=2), "overflow")]
    assert (list(box.data), box.dropped, box.accepted) == ([Tick(n=1)], 1, 1)


def test_drop_oldest(owner: Owner) -> None:
    """With `drop_oldest` the oldest message is lost, told and counted (S-MAIL-7)."""
    box = make_box(owner, 2, "drop_oldest")
    put_all(box, Tick(n=1), Tick(n=2), Tick(n=3))
    assert owner.rejected == [(Tick(n=1), "overflow")]
    assert (list(box.data), box.dropped, box.accepted) == ([Tick(n=2), Tick(n=3)], 1, 3)


def test_drop_oldest_passes_over_what_is_never_dropped(owner: Owner) -> None:
    """Requests and activation stay, whatever the policy; the oldest other message goes (S-MAIL-7)."""
    box = make_box(owner, 3, "drop_oldest")
    ask, activate = Ask(), BusActivateWorkerMessage()
    box.put_request(ask, 0.0)
    put_all(box, activate, Tick(n=1), Tick(n=2))
    assert list(box.data) == [ask, activate, Tick(n=2)]
    assert owner.rejected == [(Tick(n=1), "overflow")]


def test_drop_oldest_with_nothing_to_drop(owner: Owner) -> None:
    """In a lane of requests only, the new message is the one that is lost (S-MAIL-7)."""
    box = make_box(owner, 1, "drop_oldest")
    box.put_request(Ask(), 0.0)
    put_all(box, Tick(n=1))
    assert owner.rejected == [(Tick(n=1), "overflow")]
    assert box.requests == 1


@pytest.mark.parametrize("overflow", ["refuse", "drop_oldest", "drop_newest"])
def test_activation_enters_a_full_lane(owner: Owner, overflow: Overflow) -> None:
    """Activation is never dropped; twice the capacity is its bound (S-MAIL-7)."""
    box = make_box(owner, 2, overflow)
    put_all(box, Tick(), Tick(), BusActivateWorkerMessage(), BusActivateWorkerMessage())
    text = rf"'w' is full \(4 messages, overflow='{overflow}', and not even activation"
    with pytest.raises(MailboxFullError, match=text) as caught:
        box.put(BusActivateWorkerMessage(), 0.0)
    assert caught.value.capacity == 2
    assert len(box.data) == 4
    assert owner.rejected == []


def test_a_full_lane_of_one(owner: Owner) -> None:
    """The error of a full lane tells its real depth, also in proper English (S-MAIL-7)."""
    box = make_box(owner, 1, "refuse")
    put_all(box, Tick())
    with pytest.raises(MailboxFullError, match=r"\(1 message, overflow='refuse'\): send later"):
        box.put(Tick(), 0.0)


def test_activation_waits_where_the_policy_is_to_wait(owner: Owner) -> None:
    """With `wait` activation waits like everything else (S-MAIL-7)."""
    box = make_box(owner, 1)
    put_all(box, Tick())
    assert not box.put(BusActivateWorkerMessage(), 0.0)


# Requests


def test_requests_keep_their_places_until_the_owner_admits(owner: Owner) -> None:
    """Before the worker is ready a request waits; then it is admitted at the head (S-JOB-4)."""
    box = make_box(owner, 4)
    asks = [Ask(), Ask(), Ask()]
    box.put_request(asks[0], 0.0)
    box.put_request(asks[1], 0.0)
    put_all(box, Tick())
    box.put_request(asks[2], 0.0)
    assert (box.requests, owner.admitted) == (3, [])
    owner.admits = True
    box.move_up()
    assert (box.requests, owner.admitted) == (1, asks[:2])
    assert take(box) == Tick()
    assert (box.requests, owner.admitted, len(box.data)) == (0, asks, 0)


def test_a_waiting_request_is_counted_when_it_enters(owner: Owner) -> None:
    """A request that had to wait is a request all the same."""
    box = make_box(owner, 1)
    ask = Ask()
    put_all(box, Tick())
    assert not box.put_request(ask, 0.0)
    box.wait("sender", ask)
    assert box.requests == 0
    take(box)
    assert (box.requests, list(box.data)) == (1, [ask])


def test_a_waiting_request_is_admitted_when_it_enters_at_the_head(owner: Owner) -> None:
    """A request that had to wait for a lane of one is admitted when that is free (S-JOB-4)."""
    box = make_box(owner, 1)
    owner.admits = True
    ask = Ask()
    put_all(box, Tick())
    box.wait("sender", ask)
    box.wait("other", Tick(n=1))
    take(box)
    assert (owner.admitted, list(box.data)) == ([ask], [Tick(n=1)])
    assert owner.released == ["sender", "other"]


def test_a_request_is_admitted_when_the_message_before_it_is_dropped(owner: Owner) -> None:
    """What a drop brings to the head is admitted in the same step, like any other (S-JOB-4)."""
    box = make_box(owner, 2, "drop_oldest")
    owner.admits = True
    ask = Ask()
    put_all(box, Tick(n=1))
    box.put_request(ask, 0.0)
    # The owner hears of the drop when all is in its place.
    owner.on_reject = lambda item: owner.admitted.append("told")
    put_all(box, Tick(n=2))
    assert owner.rejected == [(Tick(n=1), "overflow")]
    assert (owner.admitted, box.requests, list(box.data)) == ([ask, "told"], 0, [Tick(n=2)])


def test_a_request_is_admitted_when_the_one_before_it_is_removed(owner: Owner) -> None:
    """A cancelled request makes room for those behind it (S-JOB-4)."""
    box = make_box(owner, 3)
    gone, ask = Ask(), Ask()
    box.put_request(gone, 0.0)
    box.put_request(ask, 0.0)
    owner.admits = True
    box.remove(gone)
    assert (owner.admitted, box.requests) == ([ask], 0)


def test_a_request_in_an_empty_lane_is_admitted(owner: Owner) -> None:
    """A request that enters at the head does not stay there (S-JOB-4)."""
    box = make_box(owner)
    owner.admits = True
    ask = Ask()
    assert box.put_request(ask, 0.0)
    assert (owner.admitted, box.requests, len(box.data)) == ([ask], 0, 0)


def test_a_request_can_be_removed(owner: Owner) -> None:
    """A cancelled request leaves the lane, and who waited takes its room."""
    box = make_box(owner, 2)
    ask = Ask()
    put_all(box, Tick(n=1))
    box.put_request(ask, 0.0)
    box.wait("sender", Tick(n=2))
    assert box.remove(ask)
    assert not box.remove(ask)
    assert (list(box.data), box.requests) == ([Tick(n=1), Tick(n=2)], 0)
    assert owner.released == ["sender"]


def test_a_refused_request_is_not_counted(owner: Owner) -> None:
    """A request that a closed lane rejects, while the owner sends on, is no request in it."""
    box = make_box(owner)
    letter, ask = Tick(), Ask()
    owner.let_in = [letter]
    owner.on_reject = lambda item: box.put(letter, 0.0)
    box.close("ending")
    assert box.put_request(ask, 0.0)
    assert (box.requests, list(box.data)) == (0, [letter])
    assert owner.rejected == [(ask, "ending")]


# The system lane


def test_the_system_lane_takes_beside_full_data(owner: Owner) -> None:
    """The system lane never waits, and preempts data (S-MAIL-11)."""
    box = make_box(owner, 1)
    put_all(box, Tick())
    assert not box.preempt
    for n in range(100):
        box.put_system(Alarm(n=n))
    assert box.preempt
    assert list(box.system or ()) == [Alarm(n=n) for n in range(100)]


def test_the_system_lane_has_a_hard_cap(owner: Owner) -> None:
    """A flood of system messages fails loudly, with the worker's name (S-MAIL-11)."""
    box = make_box(owner)
    alarm = Alarm()
    for _ in range(SYSTEM_LANE_LIMIT):
        box.put_system(alarm)
    with pytest.raises(SystemLaneFullError, match=r"'w' holds 65536") as caught:
        box.put_system(alarm)
    assert (caught.value.worker, caught.value.limit) == ("w", SYSTEM_LANE_LIMIT)


# Waking


def test_a_put_wakes_the_consumer_once(owner: Owner) -> None:
    """A parked consumer is released by the first message, not again by the second."""
    box = make_box(owner)
    box.parked = "consumer"
    put_all(box, Tick(), Tick())
    box.wake()
    assert owner.released == ["consumer"]


# Closing


def test_ending_keeps_what_is_there_and_rejects_what_comes(owner: Owner) -> None:
    """An ending worker still handles its lane, and takes no more (S-LIFE-7)."""
    box = make_box(owner, 3)
    put_all(box, Tick(n=1))
    box.close("ending")
    put_all(box, Tick(n=2))
    box.put_system(Alarm())
    assert box.ending
    assert list(box.data) == [Tick(n=1)]
    assert len(box.system or ()) == 1
    assert owner.rejected == [(Tick(n=2), "ending")]


def test_ending_lets_in_what_the_owner_wants(owner: Owner) -> None:
    """What the owner lets in enters, and waits for room if it must (S-LIFE-7)."""
    box = make_box(owner, 1)
    inner = [Tick(n=1), Tick(n=2)]
    owner.let_in = list(inner)
    box.close("ending")
    assert box.put(inner[0], 0.0)
    assert not box.put(inner[1], 0.0)
    assert owner.rejected == []


def test_ending_releases_waiting_senders(owner: Owner) -> None:
    """A sender that waits for an ending worker goes on; one that may still enter waits on."""
    box = make_box(owner, 1)
    put_all(box, Tick(n=0))
    for n in (1, 2, 3):
        box.wait(n, Tick(n=n))
    owner.let_in = [Tick(n=2)]
    box.close("ending")
    assert owner.released == [1, 3]
    assert owner.rejected == [(Tick(n=1), "ending"), (Tick(n=3), "ending")]
    assert [take(box), take(box)] == [Tick(n=0), Tick(n=2)]


def test_stopping_rejects_everything_in_order(owner: Owner) -> None:
    """What a stopped worker still holds is rejected: system, data, who waited (S-MAIL-1)."""
    box = make_box(owner, 2)
    put_all(box, Tick(n=1), Tick(n=2))
    box.wait("sender", Tick(n=3))
    box.put_system(Alarm())
    box.close("stopped")
    assert owner.rejected == [
        (each, "stopped") for each in (Alarm(), Tick(n=1), Tick(n=2), Tick(n=3))
    ]
    assert owner.released == ["sender"]


def test_a_stopped_mailbox_takes_nothing(owner: Owner) -> None:
    """Both lanes of a stopped worker reject, whoever sends (S-MAIL-1)."""
    box = make_box(owner)
    owner.let_in = [Tick()]
    box.close("stopped")
    put_all(box, Tick())
    box.put_system(Alarm())
    assert owner.rejected == [(Tick(), "stopped"), (Alarm(), "stopped")]
    assert box.statistics(0.0).data_depth == 0


def test_a_mailbox_survives_a_restart(owner: Owner) -> None:
    """Between two lives the lanes keep what they hold, and take more afterwards (S-MAIL-1)."""
    box = make_box(owner, 3)
    put_all(box, Tick(n=1))
    box.close("ending")
    box.reopen()
    put_all(box, Tick(n=2))
    assert [take(box).n for _ in range(2)] == [1, 2]
    assert owner.rejected == []


# Owners who act on what they hear


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_an_owner_that_sends_again(owner: Owner, overflow: Overflow) -> None:
    """An owner that answers a drop with another message does not break the bound (S-MAIL-7)."""
    box = make_box(owner, 2, overflow)
    again = iter(range(10, 13))

    def send_again(_item: Any) -> None:
        if (n := next(again, None)) is not None:
            box.put(Tick(n=n), 0.0)

    owner.on_reject = send_again
    put_all(box, Tick(n=1), Tick(n=2), Tick(n=3))
    assert len(box.data) == 2
    assert len(owner.rejected) == box.dropped == 4
    everything = [*box.data, *(item for item, _ in owner.rejected)]
    assert sorted(item.n for item in everything) == [1, 2, 3, 10, 11, 12]


def test_an_owner_that_lets_another_sender_give_up(owner: Owner) -> None:
    """A sender cancelled because another one was rejected is not released a second time."""
    box = make_box(owner, 1)
    put_all(box, Tick(n=0))
    for n in (1, 2, 3):
        box.wait(n, Tick(n=n))

    def give_up(item: Any) -> None:
        if item == Tick(n=1):
            assert box.waiting is not None
            del box.waiting[2]

    owner.on_reject = give_up
    box.close("ending")
    assert owner.released == [1, 3]
    assert [item.n for item, _ in owner.rejected] == [1, 3]


def test_an_owner_that_lets_all_give_up(owner: Owner) -> None:
    """The same when nobody is left."""
    box = make_box(owner, 1)
    put_all(box, Tick(n=0))
    box.wait(1, Tick(n=1))
    box.wait(2, Tick(n=2))
    owner.on_reject = lambda item: box.waiting and box.waiting.clear()
    box.close("ending")
    assert owner.released == [1]


def test_an_owner_that_sends_to_a_mailbox_that_stops(owner: Owner) -> None:
    """What is sent while a mailbox is being emptied is rejected at once, and only once."""
    box = make_box(owner, 2)
    put_all(box, Tick(n=1), Tick(n=2))
    owner.on_reject = lambda item: item.n < 3 and box.put(Tick(n=item.n + 2), 0.0)
    box.close("stopped")
    assert [item.n for item, _ in owner.rejected] == [1, 3, 2, 4]


# As a resource


def test_a_lane_waits_for_all_its_movers(owner: Owner) -> None:
    """In the wait-for graph a lane has the worker's name and moves with its tasks (S-MAIL-12)."""
    box = make_box(owner)
    owner.moving = ("task", "system task")
    assert box.wait_label() == "w"
    assert box.movers() == (False, ("task", "system task"))


# Statistics


def test_statistics_are_a_frozen_object(owner: Owner) -> None:
    """Depths, high-water mark, age, waiting senders and drops, in an object that stays (S-MAIL-13)."""
    box = make_box(owner, 2)
    box.put(Tick(), 1.0)
    box.put(Tick(), 2.0)
    box.wait("sender", Tick())
    box.put_system(Alarm())
    found = box.statistics(5.0)
    assert found == MailboxStatistics(
        data_depth=2,
        system_depth=1,
        capacity=2,
        high_water_mark=2,
        oldest_age=4.0,
        waiting_senders=1,
        accepted=2,
        dropped=0,
    )
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        found.dropped = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


def test_the_age_of_a_stuck_head_survives_removals_behind_it(owner: Owner) -> None:
    """Requests that are cancelled behind a stuck message do not make it look young (S-MAIL-13)."""
    box = make_box(owner, 1_000)
    box.put(Tick(), 0.0)
    asks = [Ask() for _ in range(300)]
    for at, ask in enumerate(asks, 1):
        box.put_request(ask, float(at))
    for ask in asks:
        box.remove(ask)
    assert box.statistics(400.0).oldest_age == 400.0


MODEL_CLOCK = [0.0]


@attrs.frozen(eq=False)
class Entered:
    item: Any
    at: float


class MailboxMachine(RuleBasedStateMachine):
    """Drives a mailbox and a model of it side by side."""

    tickets = Bundle("tickets")
    original_clock: ClassVar[Any] = staticmethod(_clock.slice_clock)
    original_distance = _mailbox._MARK_EVERY

    @initialize(
        capacity=st.integers(1, 4), overflow=st.sampled_from(OVERFLOWS), ready=st.booleans()
    )
    def open(self, capacity: int, overflow: Overflow, ready: bool) -> None:
        self.owner = Owner()
        self.owner.admits = ready
        self.box = make_box(self.owner, capacity, overflow)
        self.lane: list[Entered] = []
        self.waiting: dict[int, Any] = {}
        self.alarms: list[Alarm] = []
        self.rejected: list[tuple[Any, str]] = []
        self.released: list[Any] = []
        self.admitted: list[Any] = []
        self.closed: str | None = None
        self.numbers = iter(range(10**9))
        self.accepted = self.dropped = self.deepest = 0
        # The times of what entered and was not taken from the middle, and who left at the head.
        self.history: list[float] = []
        self.left = 0
        MODEL_CLOCK[0] = 0.0
        _clock.slice_clock = lambda: MODEL_CLOCK[0]
        _mailbox._MARK_EVERY = 3

    def teardown(self) -> None:
        _clock.slice_clock = self.original_clock
        _mailbox._MARK_EVERY = self.original_distance

    def _enter(self, item: Any) -> None:
        if not self.lane:
            self.history, self.left = [], 0
        self.lane.append(Entered(item, MODEL_CLOCK[0]))
        self.history.append(MODEL_CLOCK[0])
        self.accepted += 1
        self.deepest = max(self.deepest, len(self.lane))
        if self.box_was_parked:
            self.released.append("consumer")
            self.box_was_parked = False

    box_was_parked = False

    def _drop_out(self, place: int) -> Any:
        del self.history[self.left + place]
        return self.lane.pop(place).item

    def _move_up(self) -> None:
        self._hand_over()
        while self.owner.admits and self.lane and isinstance(self.lane[0].item, Ask):
            self.admitted.append(self.lane.pop(0).item)
            self.left += 1
            self._hand_over()

    def _hand_over(self) -> None:
        while self.waiting and len(self.lane) < self.box.capacity:
            ticket = next(iter(self.waiting))
            self._enter(self.waiting.pop(ticket))
            self.released.append(ticket)

    def _model_put(self, item: Any) -> str:
        full = len(self.lane) >= self.box.capacity
        fixed = isinstance(item, BusActivateWorkerMessage | Ask)
        if self.closed is not None and (self.closed == "stopped" or item not in self.owner.let_in):
            self.rejected.append((item, self.closed))
        elif not full:
            self._enter(item)
        elif self.box.overflow == "wait":
            return "waits"
        elif fixed:
            if len(self.lane) >= 2 * self.box.capacity:
                return "raises"
            self._enter(item)
        elif self.box.overflow == "refuse":
            return "raises"
        else:
            self._model_drop(item)
        return "taken"

    def _model_drop(self, item: Any) -> None:
        places = [place for place, each in enumerate(self.lane) if isinstance(each.item, Tick)]
        if self.box.overflow == "drop_oldest" and places:
            if places[0] == 0:
                self.left += 1
                oldest = self.lane.pop(0).item
            else:
                oldest = self._drop_out(places[0])
            # Dropping the head of a lane of one does not make it empty.
            self.lane.append(Entered(item, MODEL_CLOCK[0]))
            self.history.append(MODEL_CLOCK[0])
            self.accepted += 1
            if self.box_was_parked:
                self.released.append("consumer")
                self.box_was_parked = False
            item = oldest
            self._move_up()
        self.rejected.append((item, "overflow"))
        self.dropped += 1

    @rule(
        target=tickets,
        kinds=st.lists(
            st.sampled_from(["tick", "tick", "tick", "ask", "ask", "activate"]),
            min_size=1,
            max_size=6,
        ),
        let_in=st.booleans(),
    )
    def put(self, kinds: list[str], let_in: bool) -> Any:
        return multiple(*[self._put(kind, let_in) for kind in kinds])

    def _put(self, kind: str, let_in: bool) -> int:
        number = next(self.numbers)
        if kind == "tick":
            return self._offer(number, Tick(n=number), let_in, self.box.put)
        if kind == "activate":
            item = BusActivateWorkerMessage(args={"n": number})
            return self._offer(number, item, let_in, self.box.put)
        if self.box.full and self.box.overflow != "wait" and self.closed is None:
            return number  # answered "busy" before it comes here
        return self._offer(number, Ask(), let_in, self.box.put_request)

    def _offer(self, number: int, item: Any, let_in: bool, put: Any) -> int:
        if let_in:
            self.owner.let_in.append(item)
        if isinstance(item, Ask) and self.box.full and self.box.overflow != "wait":
            # Nobody asks an ending worker whose lane is full and does not wait.
            self.owner.let_in.clear()
        expected = self._model_put(item)
        try:
            found = "taken" if put(item, MODEL_CLOCK[0]) else "waits"
        except MailboxFullError:
            found = "raises"
        assert found == expected
        if isinstance(item, Ask):
            self._move_up()
        if found == "waits":
            self.box.wait(number, item)
            self.waiting[number] = item
        return number

    @rule(ticket=consumes(tickets))
    def give_up(self, ticket: int) -> None:
        if self.waiting.pop(ticket, None) is not None:
            assert self.box.waiting is not None
            del self.box.waiting[ticket]

    @rule()
    def become_ready(self) -> None:
        self.owner.admits = True
        self._move_up()
        self.box.move_up()

    @rule(really=st.sampled_from([False, False, True]))
    def fail(self, really: bool) -> None:
        self.owner.admits = self.owner.admits and not really

    @precondition(lambda self: self.lane and not isinstance(self.lane[0].item, Ask))
    @rule()
    def take(self) -> None:
        expected = self.lane.pop(0).item
        self.left += 1
        assert take(self.box) is expected
        self._move_up()

    @rule(place=st.integers(0, 7))
    def remove(self, place: int) -> None:
        asks = [each.item for each in self.lane if isinstance(each.item, Ask)]
        if not asks:
            assert not self.box.remove(Ask())
            return
        ask = asks[place % len(asks)]
        where = [each.item for each in self.lane].index(ask)
        if where:
            self._drop_out(where)
        else:
            self.left += 1
            del self.lane[0]
        assert self.box.remove(ask)
        self._move_up()

    @rule()
    def alarm(self) -> None:
        alarm = Alarm(n=next(self.numbers))
        self.box.put_system(alarm)
        if self.closed == "stopped":
            self.rejected.append((alarm, "stopped"))
        else:
            self.alarms.append(alarm)

    @precondition(lambda self: self.alarms)
    @rule()
    def handle_alarm(self) -> None:
        assert self.box.system is not None
        assert self.box.system.popleft() == self.alarms.pop(0)

    @rule()
    def park(self) -> None:
        if self.box.parked is None:
            self.box.parked = "consumer"
            self.box_was_parked = True

    @rule(seconds=st.integers(0, 5))
    def pass_time(self, seconds: int) -> None:
        MODEL_CLOCK[0] += seconds

    @precondition(lambda self: self.closed is None)
    @rule()
    def end(self) -> None:
        self.closed = "ending"
        self._close_model()
        self.box.close("ending")

    @precondition(lambda self: self.closed != "stopped")
    @rule(really=st.sampled_from([False] * 9 + [True]))
    def stop(self, really: bool) -> None:
        if not really:
            return
        self.closed = "stopped"
        held = [*self.alarms, *(each.item for each in self.lane)]
        self.rejected += [(each, "stopped") for each in held]
        self.alarms, self.lane = [], []
        self._close_model()
        self.box.close("stopped")

    def _close_model(self) -> None:
        for ticket, item in tuple(self.waiting.items()):
            if self.closed == "stopped" or item not in self.owner.let_in:
                del self.waiting[ticket]
                self.released.append(ticket)
                self.rejected.append((item, str(self.closed)))

    @precondition(lambda self: self.closed == "ending")
    @rule()
    def reopen(self) -> None:
        self.closed = None
        self.box.reopen()

    @invariant()
    def same(self) -> None:
        assert list(self.box.data) == [each.item for each in self.lane]
        assert dict(self.box.waiting or {}) == self.waiting
        assert self.owner.rejected == self.rejected
        assert self.owner.released == self.released
        assert self.owner.admitted == self.admitted
        assert not (self.owner.admits and self.lane and isinstance(self.lane[0].item, Ask))
        assert self.box.requests == sum(isinstance(each.item, Ask) for each in self.lane)
        assert len(self.lane) <= 2 * self.box.capacity
        assert self.box.ending is (self.closed == "ending")

    @invariant()
    def statistics_are_right(self) -> None:
        found = self.box.statistics(MODEL_CLOCK[0])
        assert found.data_depth == len(self.lane)
        assert found.system_depth == len(self.alarms)
        assert found.high_water_mark == self.deepest
        assert found.waiting_senders == len(self.waiting)
        assert (found.accepted, found.dropped) == (self.accepted, self.dropped)
        if not self.lane:
            assert found.oldest_age == 0
            return
        since = MODEL_CLOCK[0] - found.oldest_age
        assert self.history[max(0, self.left - 3)] <= since <= self.lane[0].at


class TestMailboxAgainstItsModel(MailboxMachine.TestCase):
    """FIFO, bounds, nothing lost, each reject once, statistics right (S-MAIL-3, 7, 8, 13)."""

    settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.fixture
def clock() -> Iterator[list[float]]:
    """Swap the slice clock for one that is set by hand."""
    now = [0.0]
    original, _clock.slice_clock = _clock.slice_clock, lambda: now[0]
    yield now
    _clock.slice_clock = original


@pytest.mark.parametrize("backlog", [1, 63, 64, 65, 200, 1_000])
def test_the_age_is_exact_to_64_messages(owner: Owner, clock: list[float], backlog: int) -> None:
    """However long the backlog, the age of its head is off by less than 64 messages (S-MAIL-13)."""
    box = make_box(owner, 2_000)
    entered: deque[float] = deque()
    for _ in range(3 * backlog + 300):
        clock[0] += 1.0
        box.put(Tick(), clock[0])
        entered.append(clock[0])
        while len(entered) > backlog:
            take(box)
            entered.popleft()
    age = box.statistics(clock[0]).oldest_age
    true_age = clock[0] - entered[0]
    assert true_age <= age < true_age + 64
