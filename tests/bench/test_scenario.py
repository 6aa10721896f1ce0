"""Scenarios: flooding and probing workers, and what is refused."""

from __future__ import annotations

import itertools
import logging
import re
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trioworkers import BusDataMessage, BusMessage, BusSystemMessage, Worker, handles, message
from trioworkers.bench import PriorityScenario, PrioritySettings, ScenarioError, measure_priority

FEW = PrioritySettings(probes=20, interval=0.0001, patience=5)


@message
class Data(BusDataMessage):
    pass


@message
class Urgent(BusSystemMessage):
    pass


class Target(Worker):
    """Handles both lanes at once."""

    @handles(Data)
    async def data(self, message: Data) -> None:
        pass

    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None:
        pass


class Stuck(Target):
    """Never comes back from a system handler."""

    @handles(Urgent)
    async def urgent(self, message: Urgent) -> None:
        await trio.sleep_forever()


async def flood_and_probe(bench: PriorityScenario) -> None:
    """Flood a worker, and probe it."""
    await bench.runner.add_workers(Target("target"))
    await bench.flood("target", Data, producers=3)
    await bench.probe("target", Urgent, count=bench.settings.probes)


async def test_a_flood_and_a_probe() -> None:
    """Both lanes are measured while producers send, and the flood ends with the scenario."""
    report = await measure_priority(flood_and_probe, FEW)
    assert report.system.count == 20
    assert report.data.count > 0
    assert report.throughput > 0
    assert report.unhandled == 0
    assert 0 < report.system.p50 <= report.system.maximum
    assert report.depths


async def test_bursts() -> None:
    """Of a burst all are sent when it is due; every one counts."""
    settings = PrioritySettings(probes=25, interval=0.0001, burst=10)
    assert (await measure_priority(flood_and_probe, settings)).system.count == 25


async def test_settings_by_default() -> None:
    """Without settings the scenario has the default ones, and probe sends as many as it says."""

    async def scenario(bench: PriorityScenario) -> None:
        assert bench.settings == PrioritySettings()
        await bench.runner.add_workers(Target("target"))
        await bench.probe("target", Urgent, count=3)

    assert (await measure_priority(scenario)).system.count == 3


async def test_a_flood_that_is_refused() -> None:
    """Messages that a full lane refuses are counted, and the producers go on."""

    class Small(Target):
        def __init__(self) -> None:
            super().__init__("target", mailbox_capacity=1, overflow="refuse")

    async def scenario(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Small())
        await bench.flood("target", Data, producers=4)
        await bench.probe("target", Urgent, count=20)

    assert (await measure_priority(scenario, FEW)).refused > 0


async def test_impatience(autojump_clock: MockClock) -> None:
    """When the patience is over, probes that nobody has handled are counted all the same."""

    async def scenario(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Stuck("target"))
        await bench.probe("target", Urgent, count=3)

    report = await measure_priority(scenario, FEW)
    assert report.unhandled == 2
    assert report.system.count == 3


async def test_what_a_flood_leaves_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The messages that are queued when a scenario ends are nobody's trouble."""
    with caplog.at_level(logging.WARNING):
        await measure_priority(flood_and_probe, FEW)
    assert not caplog.records


async def test_other_log_lines_stay(caplog: pytest.LogCaptureFixture) -> None:
    """A dead letter that the scenario makes is logged as ever."""

    async def scenario(bench: PriorityScenario) -> None:
        await flood_and_probe(bench)
        await bench.runner.send(Data(target="nobody"))

    with caplog.at_level(logging.WARNING):
        await measure_priority(scenario, FEW)
    assert "unknown" in caplog.text


# What is refused


async def silent(bench: PriorityScenario) -> None:
    """Flood only."""
    await bench.runner.add_workers(Target("target"))
    await bench.flood("target", Data)


async def nobody(bench: PriorityScenario) -> None:
    """Flood a worker that was not added."""
    await bench.flood("target", Data)


async def misspelt(bench: PriorityScenario) -> None:
    """Probe a worker by a wrong name."""
    await bench.runner.add_workers(Target("target"))
    await bench.probe("traget", Urgent)


async def elsewhere(bench: PriorityScenario) -> None:
    """Flood a worker with messages for another one."""
    await bench.runner.add_workers(Target("target"))
    await bench.flood("target", lambda: Data(target="other"))


async def no_message(bench: PriorityScenario) -> None:
    """Flood a worker with what is no message."""
    await bench.runner.add_workers(Target("target"))
    await bench.flood("target", lambda: 5)  # type: ignore[arg-type,return-value]


async def data_for_a_probe(bench: PriorityScenario) -> None:
    """Probe with data."""
    await bench.runner.add_workers(Target("target"))
    await bench.probe("target", Data)  # type: ignore[arg-type]


def one_and_the_same(made: BusMessage) -> Any:
    """Return a maker that is none: it returns the same message each time."""
    return lambda: made


async def the_same_data(bench: PriorityScenario) -> None:
    """Flood with one message that is never a new one."""
    await bench.runner.add_workers(Target("target"))
    await bench.flood("target", one_and_the_same(Data()), producers=1)
    await bench.probe("target", Urgent)


async def the_same_few_data(bench: PriorityScenario) -> None:
    """Flood with three messages in turns."""
    await bench.runner.add_workers(Target("target"))
    await bench.flood("target", itertools.cycle([Data(), Data(), Data()]).__next__)
    await bench.probe("target", Urgent)


async def the_same_probe(bench: PriorityScenario) -> None:
    """Probe with one message that is never a new one, faster than it can be handled."""
    await bench.runner.add_workers(Stuck("target"))
    await bench.probe("target", one_and_the_same(Urgent()))


async def deaf(bench: PriorityScenario) -> None:
    """Probe a worker that has no handler."""
    await bench.runner.add_workers(Worker("target"))
    await bench.probe("target", Urgent, count=4)


@pytest.mark.parametrize(
    ("scenario", "text"),
    [
        (silent, "the scenario sent no system message"),
        (nobody, "no worker 'target' to flood or probe: .* there are: none"),
        (misspelt, "no worker 'traget' to flood or probe: .* there are: 'target'"),
        (elsewhere, "a message for 'other' was made where 'target' is flooded"),
        (the_same_data, "^make_data returned the same Data again while it was on its way"),
        (the_same_few_data, "the same Data again .* to 'target': make a new message each time"),
        (the_same_probe, "^make_system returned the same Urgent again while it was on its way"),
        (no_message, "must be a message, not 5"),
        (data_for_a_probe, "was given Data, which is no system message"),
        (deaf, r"4 of 4 system messages to 'target' were not handled .* unhandled \(4\)"),
    ],
)
async def test_what_cannot_be_measured(scenario: object, text: str) -> None:
    """A scenario that measures nothing, or not what it says, is refused with a sentence."""
    with pytest.raises(ScenarioError, match=text):
        await measure_priority(scenario, FEW)  # type: ignore[arg-type]


async def test_a_message_sent_again_after_its_way() -> None:
    """A maker may return a message again that was handled, or that a full lane did not take."""

    class Full(Target):
        def __init__(self) -> None:
            super().__init__("target", mailbox_capacity=1, overflow="refuse")

        @handles(Data)
        async def data(self, message: Data) -> None:
            await trio.sleep_forever()

    async def scenario(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Full())
        for _ in range(2):  # one in hand, and one that takes all the room
            await bench.runner.send(Data(target="target"))
            await wait_all_tasks_blocked()
        await bench.flood("target", one_and_the_same(Data()), producers=1)
        urgent = one_and_the_same(Urgent())
        for _ in range(3):
            await bench.probe("target", urgent, count=1)

    report = await measure_priority(scenario, FEW)
    assert report.system.count == 3
    assert report.refused > 1


async def test_a_refused_flood_beside_a_failure() -> None:
    """A worker's own failure is not hidden behind what is wrong with the flood."""

    class Failing(Target):
        @handles(Data)
        async def data(self, message: Data) -> None:
            raise ValueError("it broke")

    async def scenario(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Failing("target"))
        await bench.flood("target", Data)
        await bench.probe("target", Urgent)

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="it broke")):
        await measure_priority(scenario, FEW)


@pytest.mark.parametrize("amount", [-3, 2.5, "8", True])
async def test_amounts_that_are_none(amount: Any) -> None:
    """How many producers or probes is a whole number, not less than 0; the sentence has the value."""

    async def flood(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Target("target"))
        await bench.flood("target", Data, producers=amount)

    async def probe(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Target("target"))
        await bench.probe("target", Urgent, count=amount)

    wanted = "give 0 or more, as a whole number"
    text = f"the flood of 'target' was given {amount!r} producers: {wanted}"
    with pytest.raises(ScenarioError, match=re.escape(text)):
        await measure_priority(flood, FEW)
    text = f"the probe of 'target' was given count {amount!r}: {wanted}"
    with pytest.raises(ScenarioError, match=re.escape(text)):
        await measure_priority(probe, FEW)


async def test_an_exception_of_the_scenario() -> None:
    """What a scenario raises leaves as it is, not in a group."""

    async def scenario(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Target("target"))
        await bench.flood("target", Data)
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await measure_priority(scenario, FEW)


async def test_a_worker_that_fails() -> None:
    """A worker's failure leaves as it does from any runner: in a group, with its name."""

    class Failing(Target):
        @handles(Urgent)
        async def urgent(self, message: Urgent) -> None:
            raise ValueError("it broke")

    async def scenario(bench: PriorityScenario) -> None:
        await bench.runner.add_workers(Failing("target"))
        await bench.probe("target", Urgent)

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="it broke")):
        await measure_priority(scenario, FEW)
