"""The life of a session, as a table."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import trio

from tests.jobs import Server
from tests.proxies.lasting import cut, housed, until
from tests.proxies.pairs import LoggedClient
from trioworkers import Worker
from trioworkers.proxies._life import TRANSITIONS, Life, Stage, Step

WAY: dict[Stage, list[Step]] = {
    Stage.NONE: [],
    Stage.CARRIED: [Step.BEGIN],
    Stage.KEPT: [Step.BEGIN, Step.LOSE],
}


def life_in(stage: Stage) -> Life:
    """Return a life that has come so far."""
    life = Life()
    for step in WAY[stage]:
        life.step(step)
    assert life.stage is stage
    return life


@pytest.mark.parametrize(("stage", "step"), [*product(Stage, Step)])
def test_each_step_from_each_stage(stage: Stage, step: Step) -> None:
    """S-PROXY-8: a step leads where the table says; one that is not there is a mistake of ours."""
    life = life_in(stage)
    following = TRANSITIONS[stage].get(step)
    if following is None:
        with pytest.raises(AssertionError, match=f"{step.name} of a session that is {stage.name}"):
            life.step(step)
        assert life.stage is stage
    else:
        life.step(step)
        assert life.stage is following


def test_the_table() -> None:
    """S-PROXY-8: all stages can be reached, and from each a session can end, if there is one."""
    assert TRANSITIONS.keys() == set(Stage)
    assert {stage for steps in TRANSITIONS.values() for stage in steps.values()} == set(Stage)
    for stage in Stage:
        life = life_in(stage)
        assert life.exists == (Step.END in TRANSITIONS[stage])
        assert life.is_carried == (stage is Stage.CARRIED)


@pytest.mark.parametrize("what", ["met", "wanted", "by_us", "farewell"])
def test_what_survives_its_connection(what: str) -> None:
    """S-PROXY-8: only what both sides remember, this one wants, and nobody has closed in order."""
    life = Life()
    facts = {"met": True, "wanted": True, "by_us": False}
    assert life.survives(**facts)
    if what == "farewell":
        life.farewell = True
    else:
        facts[what] = not facts[what]
    assert not life.survives(**facts)
    life.forget()
    assert life.survives(**facts) == (what == "farewell")


async def test_a_connection_that_is_lost_before_its_hook_has_agreed(autojump_clock: Any) -> None:
    """S-PROXY-8: a session that was resumed is without a connection when that is lost in the hook."""

    class Slow(LoggedClient):
        async def on_connected(self, websocket: Any) -> None:
            await super().on_connected(websocket)
            await trio.sleep(10 if len(self.events) > 1 else 0)

    near = Worker("acme")
    async with housed(near, Server("assistant"), kind=Slow) as (side, house):
        await side.runner.registry.wait_ready("assistant")
        cut(house.end)
        await until(lambda: len(side.proxy.events) == 3)
        assert side.proxy._life.is_carried
        # For its users there is no link before the hook has agreed.
        assert not side.proxy.connected
        assert not side.proxy.link_statistics().connected
        network: Any = side.proxy.network
        network.troubles = [OSError("down")] * 10
        cut(house.end)
        await until(lambda: len(side.proxy.events) == 4)
        assert not side.proxy._life.is_carried
        assert side.proxy.link_statistics().resumed == 1
        network.troubles.clear()
        assert await near.ask("assistant", "echo", {"n": 1}) == {"n": 1}
        assert len(house.made) == 1
