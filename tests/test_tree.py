"""Nodes: who stops whom, until when clean-ups are shielded."""

from __future__ import annotations

from math import inf
from typing import Any

import pytest
import trio

from tests.lives import Actor, Do, forever, parent_of
from trioworkers import StopReason, open_runner
from trioworkers._tree import leaves, split


def test_leaves_and_split() -> None:
    """Groups of groups are flattened and split; what is no group is one leaf."""
    one, two, three = ValueError(), KeyError(), KeyboardInterrupt()
    group = BaseExceptionGroup("", [ExceptionGroup("", [one, two]), three])
    assert list(leaves(group)) == [one, two, three]
    assert list(leaves(one)) == [one]
    matched, rest = split(group, KeyboardInterrupt)
    assert matched is not None
    assert rest is not None
    assert (list(leaves(matched)), list(leaves(rest))) == ([three], [one, two])
    assert split(one, ValueError) == (one, None)
    assert split(one, KeyError) == (None, one)
    assert split(None, KeyError) == (None, None)


async def test_chain_and_paths(autojump_clock: Any) -> None:
    """S-LIFE-9: a path names all nodes from the runner down."""
    child = Actor("child")
    async with open_runner(Actor(start=parent_of(child)), name="top"):
        node = child._node
        assert [each.name for each in node.chain()] == ["child", "actor", "top"]
        assert node.path == "top/actor/child"
        assert node.cut_off() == inf
        assert not node.stopping


async def test_an_end_gives_way_to_a_cancel_above(autojump_clock: Any) -> None:
    """S-LIFE-9: what really stopped a node is a cancel above it, not its own earlier end."""
    child = Actor("child", stop=forever)
    async with open_runner(Actor(start=parent_of(child)), cancel_grace=2) as runner:
        await runner.end_worker("child", "own")
        await trio.sleep(1)
        assert child.stop_reason == StopReason("ended", "own", runner.name)
        await runner.cancel_worker("actor", "above")
        assert child.stop_reason == StopReason("cancelled", "above", runner.name)
        await child.wait_stopped()
        assert trio.current_time() == pytest.approx(3)
    assert child.state == "cancelled"


async def test_cleanup_without_any_stop(autojump_clock: Any) -> None:
    """S-LIFE-8: cleanup() in a scope of the handler's own lasts cancel_grace, and stops nobody."""
    times: list[float] = []

    async def act(me: Actor) -> None:
        with trio.move_on_after(1):
            try:
                await trio.sleep_forever()
            finally:
                with me.cleanup():
                    await trio.sleep_forever()  # noqa: ASYNC102 - that is what is tested
        times.append(trio.current_time())

    actor = Actor()
    async with open_runner(actor, cancel_grace=3) as runner:
        await runner.send(Do(target="actor", act=act))
        await trio.sleep(5)
        assert actor.state == "ready"
        assert actor.stop_reason is None
        assert runner.stop_reason is None
    assert times == [pytest.approx(4)]


async def test_a_cleanup_that_began_before_the_cancel(autojump_clock: Any) -> None:
    """S-LIFE-8: a cancel brings the deadline of open cleanup() blocks up to date."""

    async def act(me: Actor) -> None:
        with me.cleanup() as scope:
            assert scope.deadline == inf
            await trio.sleep_forever()

    actor = Actor()
    async with open_runner(actor, cancel_grace=3) as runner:
        await runner.send(Do(target="actor", act=act))
        await trio.sleep(5)
        await runner.cancel_worker("actor")
        await actor.wait_stopped()
        assert trio.current_time() == pytest.approx(8)


async def test_the_earliest_cut_off_above_counts(autojump_clock: Any) -> None:
    """S-LIFE-8: a later cancel above shortens nothing, an earlier one is not lengthened."""
    child = Actor("child", stop=forever)
    async with open_runner(Actor(start=parent_of(child)), cancel_grace=4) as runner:
        await runner.cancel_worker("child")
        await trio.sleep(3)
        await runner.cancel_worker("actor")
        await child.wait_stopped()
        assert trio.current_time() == pytest.approx(4)
