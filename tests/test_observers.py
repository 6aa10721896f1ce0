"""Instruments are called for the hooks they override, and can harm nobody."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import attrs
import pytest

from trioworkers import Instrument
from trioworkers._observers import Observers

HOOKS = [name for name in vars(Instrument) if not name.startswith("_")]


class Noting(Instrument):
    """Notes restarts."""

    def __init__(self) -> None:
        self.noted: list[object] = []

    def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
        self.noted.append((worker, attempt, delay))


class Raising(Instrument):
    def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
        raise ValueError("mine")

    def worker_state_changed(self, worker: str, state: object) -> None:
        """Notice nothing."""


@pytest.fixture
def observers() -> Observers:
    """Make a place without instruments."""
    return Observers()


def watching(observers: Observers) -> Iterator[str]:
    """Name the hooks that somebody watches."""
    return (hook for hook in HOOKS if getattr(observers, hook))


def test_every_hook_has_a_list(observers: Observers) -> None:
    """Each hook of `Instrument` can be watched, and nothing else."""
    assert list(watching(observers)) == []
    assert sorted(Observers.__slots__) == sorted(HOOKS)


def test_hooks_of_the_base_do_nothing() -> None:
    """An instrument may override any hook and leave the others, or call what it overrides."""
    for hook in HOOKS:
        count = getattr(Instrument, hook).__code__.co_argcount - 1
        assert getattr(Instrument(), hook)(*range(count)) is None


def test_only_overridden_hooks_are_called(observers: Observers) -> None:
    """An instrument is in the lists of the hooks it overrides, until it is removed."""
    noting = Noting()
    observers.add(noting)
    assert list(watching(observers)) == ["worker_restarted"]
    observers.notify("worker_restarted", "w", 1, 0.5)
    observers.remove(noting)
    observers.remove(noting)
    observers.notify("worker_restarted", "w", 2, 0.5)
    assert noting.noted == [("w", 1, 0.5)]


def test_adding_twice_is_adding_once(observers: Observers) -> None:
    """An instrument that was added twice is called once, and gone after one removal."""
    noting = Noting()
    observers.add(noting)
    observers.add(noting)
    observers.notify("worker_restarted", "w", 1, 0.5)
    assert len(noting.noted) == 1
    observers.remove(noting)
    assert list(watching(observers)) == []


def test_equal_instruments_are_two(observers: Observers) -> None:
    """Removing one instrument leaves another one that compares equal to it."""

    @attrs.define
    class Equal(Instrument):
        def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
            """Notice nothing."""

    first, second = Equal(), Equal()
    observers.add(first)
    observers.add(second)
    observers.remove(second)
    assert observers.worker_restarted[0] is first


def test_one_that_raises_is_removed(observers: Observers, caplog: pytest.LogCaptureFixture) -> None:
    """An instrument that raises is logged with its name and removed; the others go on."""
    raising, noting = Raising(), Noting()
    observers.add(raising)
    observers.add(noting)
    with caplog.at_level(logging.ERROR, "trioworkers"):
        observers.notify("worker_restarted", "w", 1, 0.5)
    assert list(watching(observers)) == ["worker_restarted"]
    assert len(noting.noted) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"instrument {raising!r} raised in worker_restarted and was removed"
    ]


def test_what_is_no_exception_passes(observers: Observers) -> None:
    """KeyboardInterrupt is not an instrument's failure, and passes."""

    class Interrupted(Instrument):
        def message_sent(self, message: object) -> None:
            raise KeyboardInterrupt

    observers.add(Interrupted())
    with pytest.raises(KeyboardInterrupt):
        observers.notify("message_sent", None)
    assert list(watching(observers)) == ["message_sent"]


def test_an_instrument_may_remove_others(observers: Observers) -> None:
    """An instrument may remove itself, or another one, from inside a hook."""

    class Once(Noting):
        def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
            super().worker_restarted(worker, attempt, delay)
            observers.remove(self)

    once, noting = Once(), Noting()
    observers.add(once)
    observers.add(noting)
    for attempt in (1, 2):
        observers.notify("worker_restarted", "w", attempt, 0.5)
    assert (len(once.noted), len(noting.noted)) == (1, 2)


def test_hooks_are_synchronous(observers: Observers) -> None:
    """An asynchronous hook is refused when it is added: nobody would await it."""

    class Async(Noting):
        async def message_sent(self, message: object) -> None:  # type: ignore[override]
            """Never run."""

    with pytest.raises(TypeError, match=r"hook message_sent of .* must be a plain 'def'"):
        observers.add(Async())
    assert list(watching(observers)) == []
