"""The native dialect's session: two sides against each other, whatever the network does."""

from __future__ import annotations

from math import inf

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.wire.sides import Side
from trioworkers.wire import chunks
from trioworkers.wire.chunks import Kind, Lane
from trioworkers.wire.epoch import Cancelled
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.session import Broken

WHO = st.integers(0, 1)
LANE = st.sampled_from(list(Lane))
KEEPING = [(True, True)] * 3 + [(True, False), (False, True), (False, False)]
LINK_LIMITS = st.builds(
    LinkLimits,
    message_size=st.sampled_from([710, 710, 40]) | st.integers(1, 700),
    window=st.sampled_from([500, 64]) | st.integers(64, 500),
    messages=st.sampled_from([20, 6, 3, 2, 1]),
    heartbeat=st.just(1000),
)


class Links(RuleBasedStateMachine):
    """Two sides; and a network that delays, cuts and loses, and processes that start again."""

    @initialize(keeping=st.sampled_from(KEEPING), limits=st.tuples(*[LINK_LIMITS] * 2))
    def begin(self, keeping: tuple[bool, bool], limits: tuple[LinkLimits, LinkLimits]) -> None:
        self.sides = [
            Side(name, keeping=keeping[who], limits=limits[who])
            for who, name in enumerate(("a", "b"))
        ]
        self.put: dict[tuple[int, Lane], list[bytes]] = {
            (who, lane): [] for who in (0, 1) for lane in Lane
        }
        # Requests that were cancelled: their jobs and numbers; and those that will not come.
        self.cancelled: list[dict[str, int]] = [{}, {}]
        self.given_up: list[set[bytes]] = [set(), set()]
        self.told: list[dict[str, bool]] = [{}, {}]
        self.heard: list[list[str]] = [[], []]
        self.ever_heard: list[set[str]] = [set(), set()]
        self.count = 0
        self.links = 1
        self.restarts = 0
        self.settle()

    @rule(who=WHO, lane=LANE, size=st.integers(0, 40) | st.integers(0, 700), meta=st.booleans())
    def send(self, who: int, lane: Lane, size: int, meta: bool) -> None:
        self.count += 1
        body = b"%d:" % self.count + b"x" * size
        self.sides[who].put(lane, body, 5.0 if meta else inf)
        self.put[who, lane].append(body)

    @rule(who=WHO, lane=LANE, size=st.integers(0, 40) | st.integers(0, 700), meta=st.booleans())
    def send_alone(self, who: int, lane: Lane, size: int, meta: bool) -> None:
        """Let a message leave past the lanes, as it does when nothing else is to leave."""
        self.count += 1
        body = b"%d:" % self.count + b"x" * size
        self.sides[who].send(self.sides[1 - who], lane, body, 5.0 if meta else inf)
        self.put[who, lane].append(body)

    @rule(who=WHO, lane=LANE, count=st.integers(2, 5), size=st.integers(0, 20))
    def burst(self, who: int, lane: Lane, count: int, size: int) -> None:
        """Let several small messages leave and arrive."""
        for _ in range(count):
            self.send(who, lane, size, meta=False)
        self.say(who)
        while self.sides[1 - who].coming:
            self.hear(1 - who)

    @rule(who=WHO, which=st.integers(0, 100))
    def cancel(self, who: int, which: int) -> None:
        side = self.sides[who]
        open_jobs = [
            number for number in side.lanes.numbers if number not in self.cancelled[who].values()
        ]
        if not open_jobs:
            return
        number = open_jobs[which % len(open_jobs)]
        job = f"{side.name}-{side.starts}-{number}"
        self.cancelled[who][job] = number
        if side.session.cancel(Cancelled(job, None, "path", number)):
            self.given_up[who].add(side.lanes.numbers[number])

    @rule(who=WHO, job=st.sampled_from("abc"), held=st.booleans(), count=st.integers(1, 40))
    def hold(self, who: int, job: str, held: bool, count: int) -> None:
        """Say of a job, or of many, whether their events are to wait."""
        for number in range(count):
            name = f"{job}{number}"
            self.sides[who].session.hold(name, held=held)
            self.told[who][name] = held

    @rule(who=WHO)
    def say(self, who: int) -> None:
        self.sides[who].session.check(0)
        nothing_waits = not self.sides[who].lanes
        due = self.sides[who].session.due
        frame = self.sides[who].say(self.sides[1 - who])
        assert frame or not due
        assert due or not (frame and nothing_waits)

    @rule(who=WHO)
    def hear(self, who: int) -> None:
        side, other = self.sides[who], self.sides[1 - who]
        for event in side.hear():
            assert not isinstance(event, Broken), event
            if isinstance(event, Cancelled):
                body = other.lanes.numbers[event.after]
                arrived = body in side.arrived[Lane.DATA]
                assert arrived or body in [*self.given_up[1 - who], *other.refused, *other.lost]
                assert event.job_id not in self.heard[who]
                self.heard[who].append(event.job_id)
                self.ever_heard[who].add(event.job_id)

    @rule(who=WHO)
    def ping(self, who: int) -> None:
        self.sides[1 - who].coming.append(chunks.write_token(Kind.PING, 1))
        if not self.sides[1 - who].session.is_open:
            self.sides[1 - who].coming.pop()

    @rule(who=WHO, lane=LANE)
    def take(self, who: int, lane: Lane) -> None:
        self.sides[who].take(lane)

    @rule(first=WHO, late=st.integers(0, 3), again=st.sampled_from([True, True, False]))
    def cut(self, first: int, late: int, again: bool) -> None:
        """Cut the connection; some frames more arrive at one side."""
        for _ in range(late):
            self.hear(1 - first)
        self.sides[first].connect()
        self.sides[1 - first].connect()
        self.links += 1
        for who in (0, 1):
            if not self.sides[who].keeping:
                self.cancelled[who].clear()
        if again:
            for who in (first, 1 - first, first, 1 - first):
                self.say(who)
                self.hear(1 - who)

    @rule(who=WHO)
    def restart(self, who: int) -> None:
        """Let one side forget everything."""
        self.sides[who].start()
        self.sides[1 - who].connect()
        self.restarts += 1
        self.links += 1
        for lane in Lane:
            self.put[who, lane].clear()
            self.sides[1 - who].arrived[lane].clear()
        self.heard[who].clear()
        for each in (who, 1 - who):
            if each == who or not self.sides[each].keeping:
                self.cancelled[each].clear()

    @rule()
    def settle(self) -> None:
        while self.talk(0) | self.talk(1):
            pass

    def talk(self, who: int) -> bool:
        """Let one side do all that it can; tell whether that was anything."""
        before = len(self.sides[who].coming), len(self.sides[1 - who].coming)
        while self.sides[who].coming:
            self.hear(who)
        taken = [self.sides[who].take(lane) for lane in Lane]
        self.say(who)
        return any(taken) or any(before) or bool(self.sides[1 - who].coming)

    @invariant()
    def nothing_grows(self) -> None:
        for who, side in enumerate(self.sides):
            ours, theirs = side.limits, self.sides[1 - who].limits
            largest = ours.message_size + chunks.EXTRA + ours.lane_window
            messages, window = min(ours.messages, theirs.messages), min(ours.window, theirs.window)
            assert len(side.epoch.early) <= ours.messages
            for lane in Lane:
                had, sent = side.epoch.had[lane], side.epoch.sent[lane]
                partial = side.session._in[lane]._partial
                assert had.held + (len(partial[1]) if partial else 0) <= largest
                assert len(had.sizes) <= ours.messages
                kept = [each for each in (*sent.unconfirmed, *sent.again) if hasattr(each, "frame")]
                assert len(sent.unconfirmed) + len(sent.again) <= messages
                assert sum(len(each.frame) for each in kept) < window + 710

    @invariant()
    def no_more_than_a_window_is_on_its_way(self) -> None:
        window = min(side.limits.window for side in self.sides)
        for side in self.sides:
            on_their_way = dict.fromkeys(Lane, 0)
            for frame in side.coming:
                size = 0
                for kind, content in chunks.parse(frame):
                    if kind in (Kind.MESSAGES, Kind.UNIT, Kind.ENVELOPE):
                        bodies = content.bodies if kind is Kind.MESSAGES else [content.piece]
                        size += sum(map(len, bodies))
                        on_their_way[content.lane] += sum(map(len, bodies))
                assert size <= window // 4
            assert max(on_their_way.values()) <= window // 2

    @invariant()
    def order_is_kept(self) -> None:
        for (who, lane), bodies in self.put.items():
            other = self.sides[1 - who]
            remaining = iter(bodies)
            arrived = other.arrived[lane]
            assert all(body in remaining for body in arrived), "in order, and each once"
            assert not self.given_up[who].intersection(arrived)

    def teardown(self) -> None:
        if not hasattr(self, "sides"):
            return
        self.settle()
        for who, side in enumerate(self.sides):
            other = self.sides[1 - who]
            assert not side.lanes
            assert not side.session.due
            assert not other.epoch.early
            assert not side.epoch.cancels
            if self.links == 1:
                assert {hold.job_id: hold.held for hold in other.holds} == self.told[who]
            if self.links == 1 or side.keeping:
                accounted = {*other.delivered, *side.lost, *side.refused, *self.given_up[who]}
                for lane in Lane:
                    assert set(self.put[who, lane]) <= accounted
            if self.links == 1 or (not self.restarts and side.keeping and other.keeping):
                assert set(self.cancelled[who]) <= self.ever_heard[1 - who]
                assert not side.lost


TestLinks = Links.TestCase
TestLinks.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)
