"""What a scenario is given: somebody to run its workers, to flood them, and to probe them."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import TYPE_CHECKING, Any

import trio
from trio.lowlevel import checkpoint

from trioworkers import Worker, open_runner
from trioworkers._slot import Slot
from trioworkers.errors import MailboxFullError, SystemLaneFullError
from trioworkers.messages import BusMessage, BusSystemMessage

from ._recorder import Recorder, Recording, RecordingBus
from ._reports import PriorityReport, histogram, report_of
from ._settings import PrioritySettings

if TYPE_CHECKING:
    from trioworkers import WorkerRunner

__all__ = ["PriorityScenario", "ScenarioError", "measure_priority", "record"]

logger = logging.getLogger("trioworkers")

_SERVANT = "bench-servant"
_LOOK_EVERY = 0.005
_NO_PROBE = (
    "the scenario sent no system message, so there is no priority to measure: send some with "
    "'await bench.probe(target, make_system)'"
)


class ScenarioError(Exception):
    """A scenario cannot be measured; the text says why, and what to do."""


class PriorityScenario:
    """What a scenario works with.

    Measured is what the workers handle that are flooded or probed, in both lanes, from when a
    message is sent, whoever sends it, to the start of its handler; broadcasts and jobs are not.
    """

    def __init__(
        self,
        runner: WorkerRunner,
        settings: PrioritySettings,
        recorder: Any,
        nursery: trio.Nursery,
    ) -> None:
        """Make it; a scenario is given one by `measure_priority` and does not make its own."""
        self._runner = runner
        self._settings = settings
        self._recorder: Recorder = recorder
        self._nursery = nursery

    @property
    def runner(self) -> WorkerRunner:
        """The runner; add the workers to it."""
        return self._runner

    @property
    def settings(self) -> PrioritySettings:
        """The settings of this run: heed those that make sense."""
        return self._settings

    async def flood(
        self, target: str, make_data: Callable[[], BusMessage], producers: int = 8
    ) -> None:
        """Begin to send what `make_data` makes to a worker, without an end.

        Returns when each producer is about to send; the flood ends when the scenario returns.  A
        checkpoint.

        Args:
            target: the worker's name.
            make_data: makes a new message, called for each send; a message class will do.  Its
                `target` may be left out.
            producers: how many tasks send; 0 is no flood.

        Raises:
            ScenarioError: there is no such worker, what was made is not for it, or `producers` is
                no whole number or less than 0.
        """
        _check_amount(f"the flood of {target!r} was given {producers!r} producers", producers)
        self._watch(target)
        self._made(make_data, target)  # what is wrong with it is the caller's to hear
        for number in range(producers):
            name = f"producer {number} for {target}"
            self._nursery.start_soon(self._produce, target, make_data, name=name)
        await checkpoint()

    async def probe(
        self, target: str, make_system: Callable[[], BusSystemMessage], count: int = 1_000
    ) -> None:
        """Send system messages to a worker, and wait until they are handled.

        They are due every `settings.interval` seconds, `settings.burst` at once, whether earlier
        ones were handled or not, and their latency counts from when they were due: if the loop
        was too busy to send one in time, its users would have waited too.  A checkpoint.

        Args:
            target: the worker's name.
            make_system: makes a new message, called for each send; a message class will do.  Its
                `target` may be left out.
            count: how many are sent.

        Raises:
            ScenarioError: there is no such worker, what was made is not for it or no system
                message, it was not handled and became a dead letter, or `count` is no whole number
                or less than 0.
        """
        _check_amount(f"the probe of {target!r} was given count {count!r}", count)
        self._watch(target)
        recorder, settings = self._recorder, self._settings
        recorder.lost.clear()
        await checkpoint()
        begun, clock_ahead = perf_counter(), trio.current_time() - perf_counter()
        for number in range(count):
            due = begun + number // settings.burst * settings.interval
            # Those that are late already go at once: waiting for a turn would make the next late.
            if perf_counter() < due:
                await trio.sleep_until(due + clock_ahead)
            message = self._made(make_system, target)
            if not isinstance(message, BusSystemMessage):
                raise ScenarioError(
                    f"the probe of {target!r} was given {type(message).__qualname__}, which is no "
                    "system message: derive its class from BusSystemMessage, or use flood()"
                )
            if id(message) in recorder.awaited:
                raise _same_again("make_system", message)
            recorder.expect(message, due)
            self._runner.send_nowait(message)
        await self._wait_handled(target, count)

    async def _wait_handled(self, target: str, count: int) -> None:
        recorder = self._recorder
        if recorder.awaited:
            recorder.all_handled = trio.Event()
            with trio.move_on_after(self._settings.patience):
                await recorder.all_handled.wait()
        recorder.give_up()
        if recorder.lost:
            reasons = ", ".join(f"{reason} ({n})" for reason, n in recorder.lost.items())
            raise ScenarioError(
                f"{sum(recorder.lost.values())} of {count} system messages to {target!r} were not "
                f"handled and became dead letters: {reasons}"
            )

    async def _produce(self, target: str, make_data: Callable[[], BusMessage]) -> None:
        stamps = self._recorder.bus.stamps
        # Of what is on its way one message is followed at a time, as following all would cost a
        # flood a part of its speed.  It is kept, so nothing else has its identity meanwhile.
        followed: BusMessage | None = None
        while True:
            message = self._made(make_data, target)
            if id(followed) not in stamps:
                followed = message
            elif message is followed:
                raise _same_again("make_data", message)
            try:
                await self._runner.send(message)
            except (MailboxFullError, SystemLaneFullError):
                # It is the receiver's turn, or nobody would ever have room again.
                self._recorder.refused(message)
                await checkpoint()

    def _made(self, make: Callable[[], BusMessage], target: str) -> BusMessage:
        message = make()
        if not isinstance(message, BusMessage):
            raise ScenarioError(f"what is sent to {target!r} must be a message, not {message!r}")
        if message.target is None:
            message.target = target  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]
        elif message.target != target:
            raise ScenarioError(
                f"a message for {message.target!r} was made where {target!r} is flooded or probed: "
                "leave its target out"
            )
        return message

    def _watch(self, target: str) -> None:
        """Look at a worker's mailbox now and then, from the first time that it is sent to."""
        route = self._runner.bus.route(target)
        if not isinstance(route, Slot):
            added = (repr(name) for name in self._runner.children if name != _SERVANT)
            known = ", ".join(added) or "none"
            raise ScenarioError(
                f"there is no worker {target!r} to flood or probe: add it first, with 'await "
                f"bench.runner.add_workers(...)'; there are: {known}"
            )
        if not self._recorder.watched:
            self._nursery.start_soon(self._look, name="looks at mailboxes")
        self._recorder.watch(route)

    async def _look(self) -> None:
        every = _LOOK_EVERY
        while True:
            now = perf_counter()
            depths = [(0, 0)]
            for slot in self._recorder.watched:
                seen = slot.mailbox.statistics(now)
                depths.append((seen.data_depth + seen.waiting_senders, seen.system_depth))
            if self._recorder.recording.note_depth(now, *max(depths)):
                every *= 2
            await trio.sleep(every)


def _check_amount(given: str, amount: object) -> None:
    if isinstance(amount, bool) or not isinstance(amount, int) or amount < 0:
        raise ScenarioError(f"{given}: give 0 or more, as a whole number")


def _same_again(maker: str, message: BusMessage) -> ScenarioError:
    # One stamp cannot serve two sends: the later one would make the earlier look quick.
    return ScenarioError(
        f"{maker} returned the same {type(message).__qualname__} again while it was on its way to "
        f"{message.target!r}: make a new message each time"
    )


async def measure_priority(
    scenario: Callable[[PriorityScenario], Awaitable[None]],
    settings: PrioritySettings | None = None,
) -> PriorityReport:
    """Run a scenario once, and return what was measured.

    Its exceptions, and those of its workers, leave as they do from `open_runner`.  A checkpoint.

    Args:
        scenario: adds workers, floods and probes them.
        settings: the knobs; by default those that `PrioritySettings()` has.

    Raises:
        ModuleNotFoundError: hdrhistogram is not installed; says what to install.
        ScenarioError: the scenario cannot be measured, for example because it sent no system
            message.
    """
    histogram(())  # before the run, which may take its time
    return report_of(await record(scenario, settings or PrioritySettings()))


async def record(
    scenario: Callable[[PriorityScenario], Awaitable[None]], settings: PrioritySettings
) -> Recording:
    """Run a scenario, and return everything that was seen."""
    bus = RecordingBus()
    recorder = Recorder(bus)
    # Its nursery is where the floods run: one round the scenario would wrap its exceptions.
    servant = Worker(_SERVANT)
    try:
        async with open_runner(servant, bus=bus) as runner:
            runner.add_instrument(recorder)
            await scenario(PriorityScenario(runner, settings, recorder, servant.nursery))
            recording = recorder.finish()
            logger.addFilter(_not_the_rest)
            try:
                await runner.cancel("the scenario is over")
                await runner.wait_stopped()
            finally:
                logger.removeFilter(_not_the_rest)
    except BaseExceptionGroup as group:
        refusal = _only_refusal(group)
        if refusal is None:
            raise
        raise refusal from None
    if not recording.system.count:
        raise ScenarioError(_NO_PROBE)
    return recording


def _only_refusal(group: BaseExceptionGroup[BaseException]) -> ScenarioError | None:
    """Return why a flood was refused, if nothing else is in a group."""
    refusals, others = group.split(ScenarioError)
    if refusals is None or others is not None:
        return None
    first: ScenarioError | ExceptionGroup[ScenarioError] = refusals
    while isinstance(first, ExceptionGroup):
        first = first.exceptions[0]
    return first


def _not_the_rest(line: logging.LogRecord) -> bool:
    """Tell whether a line of the log is about more than what a flood leaves behind."""
    return not (isinstance(line.args, tuple) and line.args[:1] in {("stopped",), ("cancelled",)})
