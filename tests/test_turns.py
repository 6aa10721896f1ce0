"""Which message is handled next: preemption, interruption, slices."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.lives import (
    Act,
    Actor,
    Do,
    DoNow,
    Guardian,
    Interrupt,
    Tracer,
    crash,
    forever,
    note,
    parent_of,
    sleep,
    stubborn,
    until,
)
from trioworkers import BusCancelWorkerMessage, Worker, WorkerRunner, _clock, open_runner


def steps(log: list[Any], name: str, seconds: float = 1) -> Act:
    """Make an act that notes its begin and its end, and sleeps between them."""

    async def act(_worker: Actor) -> None:
        log.append(f"{name} begins")
        await trio.sleep(seconds)
        log.append(f"{name} ends")

    return act


async def test_a_system_message_is_next(autojump_clock: Any) -> None:
    """S-MAIL-2: with 200 queued data messages, a system message is the next one handled."""
    log: list[Any] = []

    async def first(worker: Actor) -> None:
        worker.runner.send_nowait(DoNow(target="actor", act=note(log, "system")))

    async with open_runner(Actor()) as runner:
        runner.send_nowait(Do(target="actor", act=first))
        for number in range(200):
            runner.send_nowait(Do(target="actor", act=note(log, number)))
        await trio.sleep(1)
    assert log == ["system", *range(200)]


async def test_a_system_message_overtakes_a_suspended_handler(autojump_clock: Any) -> None:
    """S-MAIL-2, S-MAIL-4: a system handler runs while a data handler is suspended."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=steps(log, "data", 2)))
        await trio.sleep(1)
        await runner.send(DoNow(target="actor", act=note(log, "system")))
        await trio.sleep(0.5)
        assert log == ["data begins", "system"]


async def test_no_data_handler_starts_beside_a_system_handler(autojump_clock: Any) -> None:
    """S-MAIL-2: while a system handler is suspended, no data handler starts."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        await runner.send(DoNow(target="actor", act=steps(log, "own task", 3)))
        await runner.send(Do(target="actor", act=steps(log, "data", 2)))
        await runner.send(Do(target="actor", act=note(log, "more data")))
        await trio.sleep(4)
        await runner.send(DoNow(target="actor", act=steps(log, "beside", 3)))
        await trio.sleep(9)
    assert log == [
        *("own task begins", "own task ends", "data begins", "beside begins"),
        *("data ends", "beside ends", "more data"),
    ]


async def test_handlers_of_a_lane_do_not_overlap(autojump_clock: Any) -> None:
    """S-MAIL-3, S-MAIL-4: each lane is handled one after the other, first in first out."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        for kind in (Do, DoNow):
            for number in range(3):
                await runner.send(kind(target="actor", act=steps(log, f"{kind.__name__} {number}")))
        await trio.sleep(10)
    for kind in (Do, DoNow):
        mine = [entry for entry in log if entry.startswith(f"{kind.__name__} ")]
        assert mine == [
            f"{kind.__name__} {n} {what}" for n in range(3) for what in ("begins", "ends")
        ]


async def test_an_interrupt_cancels_at_the_moment_of_send(autojump_clock: Any) -> None:
    """S-MAIL-5: the data handler is cancelled, exits, and then the interrupting handler runs."""
    log: list[Any] = []

    async def data(_worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            log.append(cancelled.reason)
            raise

    async with open_runner(Actor()) as runner:
        tracer = Tracer(runner)
        await runner.send(Do(target="actor", act=data))
        await runner.send(Do(target="actor", act=note(log, "next data")))
        await trio.sleep(1)
        runner.send_nowait(Interrupt(target="actor", act=note(log, "interrupt")))
        await trio.sleep(1)
    assert log == ["interrupted by a system message", "interrupt", "next data"]
    assert tracer.reasons == ["interrupted"]


async def test_an_interrupt_does_not_wait_for_other_system_messages(autojump_clock: Any) -> None:
    """S-MAIL-5: it cancels while system messages wait before it, and keeps its place in the lane."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=forever))
        await trio.sleep(1)
        for number in range(2):
            await runner.send(DoNow(target="actor", act=sleep(2)))
            await runner.send(DoNow(target="actor", act=note(log, number)))
        tracer = Tracer(runner)
        await runner.send(Interrupt(target="actor", act=note(log, "interrupt")))
        await trio.sleep(1)
        assert tracer.reasons == ["interrupted"]
        assert log == []
        await trio.sleep(9)
    assert log == [0, 1, "interrupt"]


async def test_what_interrupts_nothing_does_not_wait_for_the_unwinding(autojump_clock: Any) -> None:
    """S-MAIL-2, S-MAIL-5: a system message ahead of the interrupting one is handled at once."""
    log: list[Any] = []

    async def data(_worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            log.append("unwound")

    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=data))
        await trio.sleep(1)
        runner.send_nowait(DoNow(target="actor", act=note(log, "ahead")))
        runner.send_nowait(Interrupt(target="actor", act=note(log, "interrupt")))
        await trio.sleep(1)
        assert log == ["ahead"]
        await trio.sleep(2)
    assert log == ["ahead", "unwound", "interrupt"]


async def test_a_second_interrupt_while_the_first_unwinds(autojump_clock: Any) -> None:
    """S-MAIL-5: both interrupting handlers run after the one interrupted handler has exited."""
    log: list[Any] = []

    async def data(_worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(2)
            log.append("unwound")

    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=data))
        await trio.sleep(1)
        await runner.send(Interrupt(target="actor", act=note(log, 1)))
        await runner.send(Interrupt(target="actor", act=note(log, 2)))
        await trio.sleep(5)
    assert log == ["unwound", 1, 2]


async def test_a_handler_that_swallows_the_interruption(autojump_clock: Any) -> None:
    """S-MAIL-5: a handler that Cancelled did not leave makes no dead letter."""
    log: list[Any] = []

    async def data(_worker: Actor) -> None:
        with pytest.raises(trio.Cancelled):
            await trio.sleep_forever()
        log.append("swallowed")

    async with open_runner(Actor()) as runner:
        tracer = Tracer(runner)
        await runner.send(Do(target="actor", act=data))
        await trio.sleep(1)
        await runner.send(Interrupt(target="actor", act=note(log, "interrupt")))
        await runner.send(Do(target="actor", act=steps(log, "data")))
        await trio.sleep(2)
    assert log == ["swallowed", "interrupt", "data begins", "data ends"]
    assert tracer.reasons == []


async def test_an_interrupt_waits_no_longer_than_the_grace(
    autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """S-MAIL-5, S-LIFE-11: after cancel_grace its handler runs, and the other is reported."""
    times: list[float] = []

    async def look(_worker: Actor) -> None:
        times.append(trio.current_time())

    async with open_runner(Actor(), cancel_grace=3) as runner:
        await runner.send(Do(target="actor", act=stubborn(10)))
        await trio.sleep(1)
        await runner.send(Interrupt(target="actor", act=look))
        sent = trio.current_time()
        await trio.sleep(12)
    assert times == [pytest.approx(sent + 3)]
    assert "an interrupted data handler of" in caplog.text
    assert "3.000 s" in caplog.text
    assert "in act" in caplog.text


async def test_an_interrupt_while_a_system_handler_is_suspended(autojump_clock: Any) -> None:
    """S-MAIL-4, S-MAIL-5: it cancels the data handler, not the system handler before it."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        await runner.send(Do(target="actor", act=forever))
        await trio.sleep(1)
        await runner.send(DoNow(target="actor", act=steps(log, "system", 2)))
        await trio.sleep(1)
        tracer = Tracer(runner)
        await runner.send(Interrupt(target="actor", act=note(log, "interrupt")))
        await trio.sleep(0.5)
        assert tracer.reasons == ["interrupted"]
        await trio.sleep(2)
    assert log == ["system begins", "system ends", "interrupt"]


async def test_an_interrupt_without_data_handler_is_a_system_message(autojump_clock: Any) -> None:
    """S-MAIL-5: with no data handler in progress there is nothing to cancel."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        tracer = Tracer(runner)
        await runner.send(Interrupt(target="actor", act=note(log, 1)))
        await trio.sleep(1)
        await runner.send(DoNow(target="actor", act=steps(log, "system")))
        await runner.send(Interrupt(target="actor", act=note(log, 2)))
        await trio.sleep(3)
    assert log == [1, "system begins", "system ends", 2]
    assert tracer.reasons == []


async def test_the_first_activation_can_be_interrupted(autojump_clock: Any) -> None:
    """S-MAIL-5: on_activated of a start is a turn like any other."""
    log: list[Any] = []
    async with open_runner(Actor(activated=forever)) as runner:
        await trio.sleep(1)
        await runner.send(Interrupt(target="actor", act=note(log, "interrupt")))
        await runner.send(Do(target="actor", act=note(log, "data")))
        await trio.sleep(1)
    assert log == ["interrupt", "data"]


async def test_an_interrupted_handler_may_crash(autojump_clock: Any) -> None:
    """S-MAIL-5, S-LIFE-10: what an interrupted handler raises instead is the worker's failure."""

    async def data(_worker: Actor) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("instead")

    with pytest.RaisesGroup(ValueError) as caught:
        async with open_runner(Actor()) as runner:
            tracer = Tracer(runner)
            await runner.send(Do(target="actor", act=data))
            await trio.sleep(1)
            await runner.send(Interrupt(target="actor"))
            await trio.sleep_forever()
    assert [str(error) for error in caught.value.exceptions] == ["instead"]
    assert "crashed" in tracer.reasons


async def test_an_unhandled_system_message_is_a_dead_letter(autojump_clock: Any) -> None:
    """S-BUS-3: a system message without handler is a dead letter, and nothing else happens."""
    async with open_runner(Worker("plain")) as runner:
        tracer = Tracer(runner)
        await runner.send(DoNow(target="plain"))
        await trio.sleep(1)
    assert tracer.reasons == ["unhandled"]


class StepSizes(trio.abc.Instrument):
    """Counts how many messages are handled in one step of a task."""

    def __init__(self) -> None:
        self.sizes = [0]

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.sizes.append(0)

    async def act(self, _worker: Actor) -> None:
        self.sizes[-1] += 1


async def test_a_batch_has_at_most_64_messages(autojump_clock: Any) -> None:
    """S-MAIL-10: a receiver lets others run after 64 messages at most."""
    steps = StepSizes()
    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor(mailbox_capacity=1000)) as runner:
        for _ in range(1000):
            runner.send_nowait(Do(target="actor", act=steps.act))
        await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    assert sum(steps.sizes) == 1000
    assert max(steps.sizes) <= 64


async def test_a_batch_ends_after_a_slow_handler(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-MAIL-10: a receiver stops after the first message that ends later than 1 ms."""
    now = 0.0
    monkeypatch.setattr(_clock, "slice_clock", lambda: now)

    steps = StepSizes()

    async def slow(worker: Actor) -> None:
        nonlocal now
        now += 0.0004
        await steps.act(worker)

    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor()) as runner:
        for _ in range(30):
            runner.send_nowait(Do(target="actor", act=slow))
        await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    assert sum(steps.sizes) == 30
    assert max(steps.sizes) == 3


@pytest.mark.parametrize("target", ["actor", "parent"])
async def test_a_batch_ends_with_a_cancel(autojump_clock: Any, target: str) -> None:
    """S-MAIL-6, S-MAIL-10: after a cancel of it or above it, a worker handles no more messages."""
    log: list[Any] = []
    actor = Actor()

    async def cancel(worker: Actor) -> None:
        worker.send_nowait(BusCancelWorkerMessage(target=target))
        log.append("still here")

    async with open_runner(Actor("parent", start=lambda me: me.add_workers(actor))) as runner:
        runner.send_nowait(Do(target="actor", act=cancel))
        runner.send_nowait(Do(target="actor", act=note(log, "too late")))
        await actor.wait_stopped()
    assert log == ["still here"]


@pytest.mark.parametrize("kind", [Do, DoNow])
@pytest.mark.parametrize("following", [Do, DoNow])
async def test_a_batch_ends_with_its_scope(
    autojump_clock: Any, kind: type[Any], following: type[Any]
) -> None:
    """S-MAIL-10: after a cancel of its own scope a worker handles no more messages of either lane."""
    log: list[Any] = []
    actor = Actor()

    async def cancel(worker: Actor) -> None:
        for _ in range(3):
            worker.send_nowait(following(target="actor", act=note(log, "too late")))
        worker.nursery.cancel_scope.cancel()
        log.append("still here")

    async with open_runner(actor) as runner:
        runner.send_nowait(kind(target="actor", act=cancel))
        await actor.wait_stopped()
    assert log == ["still here"]


async def test_a_cancel_reaches_a_worker_at_its_next_checkpoint(autojump_clock: Any) -> None:
    """S-MAIL-6, S-LIFE-9: who cancels itself gets Cancelled, with the reason, not from send."""
    log: list[Any] = []

    async def cancel(worker: Actor) -> None:
        await worker.send(BusCancelWorkerMessage(target="actor", reason="enough"))
        log.append("sent")
        try:
            await trio.lowlevel.checkpoint()
        except trio.Cancelled as cancelled:
            log.append(cancelled.reason)
            raise

    actor = Actor()
    async with open_runner(actor) as runner:
        await runner.send(Do(target="actor", act=cancel))
        await actor.wait_stopped()
    assert log == ["sent", "enough"]


@pytest.mark.parametrize("beside", [False, True])
async def test_a_batch_of_system_messages(autojump_clock: Any, beside: bool) -> None:
    """S-MAIL-10: 64 messages at most in a step of the system lane too, also beside a handler."""
    steps = StepSizes()
    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor()) as runner:
        if beside:
            await runner.send(Do(target="actor", act=forever))
            await trio.sleep(1)
        for _ in range(1000):
            runner.send_nowait(DoNow(target="actor", act=steps.act))
        await trio.sleep(1)
        await runner.cancel()
    trio.lowlevel.remove_instrument(steps)
    assert sum(steps.sizes) == 1000
    assert max(steps.sizes) <= 64


async def test_a_batch_of_both_lanes(autojump_clock: Any) -> None:
    """S-MAIL-10: the messages of both lanes that are handled in one step are one batch."""
    steps = StepSizes()

    async def preempt(worker: Actor) -> None:
        await steps.act(worker)
        for _ in range(100):
            worker.send_nowait(DoNow(target="actor", act=steps.act))

    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor()) as runner:
        for act in (*[steps.act] * 40, preempt):
            runner.send_nowait(Do(target="actor", act=act))
        await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    assert sum(steps.sizes) == 141
    assert max(steps.sizes) <= 64


async def test_a_batch_of_slow_system_messages(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-MAIL-10: the system lane too stops after the first message that ends later than 1 ms."""
    now = 0.0
    monkeypatch.setattr(_clock, "slice_clock", lambda: now)

    steps = StepSizes()

    async def slow(worker: Actor) -> None:
        nonlocal now
        now += 0.0004
        await steps.act(worker)

    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor()) as runner:
        for _ in range(30):
            runner.send_nowait(DoNow(target="actor", act=slow))
        await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    assert sum(steps.sizes) == 30
    assert max(steps.sizes) == 3


async def test_a_system_handler_that_sends_to_itself(autojump_clock: Any) -> None:
    """S-MAIL-10: an endless system lane lets others run, and starts no data handler."""
    log: list[Any] = []

    async def again(worker: Actor) -> None:
        log.append("system")
        worker.send_nowait(DoNow(target="actor", act=again))

    async with open_runner(Actor()) as runner:
        runner.send_nowait(DoNow(target="actor", act=again))
        runner.send_nowait(Do(target="actor", act=note(log, "data")))
        await until(lambda: len(log) >= 1000)
        await runner.cancel()
    assert "data" not in log


class Pester(trio.abc.Instrument):
    """Sends a system message before each step that an actor makes, for some steps."""

    def __init__(self, runner: WorkerRunner, act: Act, steps: int) -> None:
        self._runner = runner
        self._act = act
        self.left = steps

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        if self.left and task is self._runner.bus.route("actor").task:  # type: ignore[union-attr]
            self.left -= 1
            self._runner.send_nowait(DoNow(target="actor", act=self._act))


async def test_system_messages_in_every_pass(autojump_clock: Any) -> None:
    """S-MAIL-2, S-MAIL-10: while the system lane does not fill the batches, data gets on."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        await trio.testing.wait_all_tasks_blocked()
        pester = Pester(runner, note(log, "system"), steps=20)
        trio.lowlevel.add_instrument(pester)
        for number in range(200):
            runner.send_nowait(Do(target="actor", act=note(log, number)))
        await until(lambda: 199 in log)
        trio.lowlevel.remove_instrument(pester)
    assert pester.left > 10
    assert log[0] == "system"
    assert [each for each in log if each != "system"] == list(range(200))


async def test_a_batch_that_begins_with_the_system_lane(autojump_clock: Any) -> None:
    """S-MAIL-10: data that is handled behind system messages, in the same step, is in their batch."""
    steps = StepSizes()
    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor()) as runner:
        for _ in range(40):
            runner.send_nowait(DoNow(target="actor", act=steps.act))
        for _ in range(100):
            runner.send_nowait(Do(target="actor", act=steps.act))
        await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    assert sum(steps.sizes) == 140
    assert max(steps.sizes) == 64


async def test_slow_system_messages_leave_no_time(
    autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-MAIL-10: a system message that ends later than 1 ms ends the step; data is in the next."""
    now = 0.0
    monkeypatch.setattr(_clock, "slice_clock", lambda: now)
    steps = StepSizes()

    async def slow(worker: Actor) -> None:
        nonlocal now
        now += 0.002
        await steps.act(worker)

    trio.lowlevel.add_instrument(steps)
    async with open_runner(Actor()) as runner:
        runner.send_nowait(DoNow(target="actor", act=slow))
        runner.send_nowait(Do(target="actor", act=steps.act))
        await trio.sleep(1)
    trio.lowlevel.remove_instrument(steps)
    assert [each for each in steps.sizes if each] == [1, 1]


async def test_a_cancel_by_a_system_handler_stops_data(autojump_clock: Any) -> None:
    """S-MAIL-6, S-MAIL-10: data behind a system handler that cancels its worker is not handled."""
    log: list[Any] = []

    async def cancel(worker: Actor) -> None:
        log.append("system")
        worker.send_nowait(BusCancelWorkerMessage(target="actor"))

    actor = Actor()
    async with open_runner(actor) as runner:
        runner.send_nowait(DoNow(target="actor", act=cancel))
        runner.send_nowait(Do(target="actor", act=note(log, "data")))
        await actor.wait_stopped()
    assert log == ["system"]


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("whole", [False, True])
async def test_a_cancel_ends_the_system_lane(
    autojump_clock: Any, beside: bool, whole: bool
) -> None:
    """S-MAIL-6, S-MAIL-10: after a cancel no system message is handled; they are dead letters."""
    log: list[Any] = []
    actor = Actor()

    async def cancel(worker: Actor) -> None:
        log.append("cancel")
        await (worker.runner if whole else worker).cancel()

    async with open_runner(actor) as runner:
        tracer = Tracer(runner)
        if beside:
            await runner.send(Do(target="actor", act=forever))
            await trio.sleep(1)
        runner.send_nowait(DoNow(target="actor", act=cancel))
        for number in range(100):
            runner.send_nowait(DoNow(target="actor", act=note(log, number)))
        await actor.wait_stopped()
    assert log == ["cancel"]
    assert tracer.reasons.count("stopped") == 100


async def test_a_cancel_before_a_system_message(autojump_clock: Any) -> None:
    """S-MAIL-6: a data handler that cancels its worker is the last one of either lane."""
    log: list[Any] = []
    actor = Actor()

    async def cancel(worker: Actor) -> None:
        worker.send_nowait(DoNow(target="actor", act=note(log, "too late")))
        worker.send_nowait(BusCancelWorkerMessage(target="actor"))

    async with open_runner(actor) as runner:
        await runner.send(Do(target="actor", act=cancel))
        await actor.wait_stopped()
    assert log == []


@pytest.mark.parametrize("kind", [DoNow, Interrupt])
async def test_system_messages_from_before_the_start(autojump_clock: Any, kind: Any) -> None:
    """S-MAIL-2: what came before the worker was ready does not wait for its first activation."""
    log: list[Any] = []
    done = trio.Event()

    async def early(_worker: Actor) -> None:
        log.append("system")
        done.set()

    async def activated(_worker: Actor) -> None:
        await done.wait()
        log.append("activated")

    async with open_runner() as runner:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.add_workers, Actor(start=sleep(1), activated=activated))
            await trio.sleep(0.5)
            runner.send_nowait(kind(target="actor", act=early))
            await trio.sleep(1)
    assert log == ["system", "activated"]


async def test_news_of_children_during_the_first_activation(autojump_clock: Any) -> None:
    """S-MAIL-2: on_worker_ready of a child added in on_start need not wait for on_activated."""
    ready = trio.Event()
    log: list[Any] = []

    class Parent(Worker):
        async def on_start(self) -> None:
            await self.add_workers(Worker("child"))

        async def on_worker_ready(self, data: Any) -> None:
            ready.set()

        async def on_activated(self, args: Any) -> None:
            await ready.wait()
            log.append("activated")

    async with open_runner(Parent("parent")):
        await trio.sleep(1)
    assert log == ["activated"]


async def test_a_cancel_before_the_first_activation(autojump_clock: Any) -> None:
    """S-MAIL-6: a worker that an early system message cancels is not activated."""
    log: list[Any] = []
    actor = Actor(start=sleep(1), activated=note(log, "activated"))

    async def cancel(worker: Actor) -> None:
        await worker.cancel()

    async with open_runner() as runner:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(runner.add_workers, actor)
            await trio.sleep(0.5)
            runner.send_nowait(DoNow(target="actor", act=cancel))
    assert log == []


@pytest.mark.parametrize("kind", [Do, DoNow])
async def test_the_message_in_hand_of_a_cancelled_worker(autojump_clock: Any, kind: Any) -> None:
    """S-MAIL-8: the message in hand of a cancelled worker is a dead letter."""
    actor = Actor()
    async with open_runner(actor) as runner:
        tracer = Tracer(runner)
        await runner.send(kind(target="actor", act=forever))
        await trio.sleep(1)
        await runner.cancel_worker("actor")
        await actor.wait_stopped()
    assert [(type(each.message), each.reason) for each in tracer.letters] == [(kind, "cancelled")]


async def test_both_messages_in_hand_of_a_cancelled_worker(autojump_clock: Any) -> None:
    """S-MAIL-8: a data and a system message can be in hand at once; the backlog was not."""
    actor = Actor()
    async with open_runner(actor) as runner:
        tracer = Tracer(runner)
        await runner.send(Do(target="actor", act=forever))
        await trio.sleep(1)
        await runner.send(DoNow(target="actor", act=forever))
        await trio.sleep(1)
        await runner.send(Do(target="actor"))
        await runner.send(DoNow(target="actor"))
        await runner.cancel_worker("actor")
        await actor.wait_stopped()
    assert sorted(tracer.reasons) == ["cancelled", "cancelled", "stopped", "stopped"]


async def test_handled_messages_are_noticed(autojump_clock: Any) -> None:
    """An instrument hears of each data and system message whose handler returned, and no hook's."""
    heard: list[str] = []

    class Listener(Tracer):
        def message_handled(self, worker: str, message: Any) -> None:
            heard.append(type(message).__name__)

    async with open_runner(Guardian("actor", start=parent_of(Actor("child")))) as runner:
        Listener(runner)
        await runner.send(DoNow(target="actor"))
        await runner.send(Do(target="actor", act=sleep(1)))
        await trio.lowlevel.checkpoint()
        await runner.send(DoNow(target="actor"))
        await trio.sleep(2)
        await runner.send(Do(target="child", act=crash))
        await runner.send(DoNow(target="child", act=crash))
        await trio.sleep(1)
        guardian = runner.get_worker("actor")
        assert isinstance(guardian, Guardian)
        assert guardian.failures
    assert heard == ["DoNow", "DoNow", "Do"]


async def test_system_messages_during_a_system_handler(autojump_clock: Any) -> None:
    """S-MAIL-3, S-MAIL-4: they wait for it, in order, when the worker is idle otherwise."""
    log: list[Any] = []
    async with open_runner(Actor()) as runner:
        await runner.send(DoNow(target="actor", act=steps(log, "first", 2)))
        await trio.sleep(1)
        await runner.send(DoNow(target="actor", act=note(log, "second")))
        await runner.send(Do(target="actor", act=note(log, "data")))
        await runner.send(DoNow(target="actor", act=note(log, "third")))
        await trio.sleep(5)
    assert log == ["first begins", "first ends", "second", "third", "data"]
