"""The knobs of a measurement of priority."""

from __future__ import annotations

from typing import Any, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers.bench import PrioritySettings


def test_the_defaults_are_allowed() -> None:
    """Without arguments there are settings, and the mailbox holds the backlog."""
    settings = PrioritySettings()
    assert settings.mailbox_capacity == settings.backlog


def test_every_knob_is_explained() -> None:
    """Each setting has a sentence of help, and none is left out."""
    texts = PrioritySettings.help()
    assert list(texts) == [field.name for field in attrs.fields(PrioritySettings)]
    assert all(texts.values())


@pytest.mark.parametrize(
    ("wrong", "error", "text"),
    [
        ({"backlog": -1}, ValueError, "backlog is -1: give a number from 0 to 1,000,000"),
        ({"backlog": 1.5}, TypeError, "backlog is a whole number, not 1.5"),
        ({"probes": True}, TypeError, "probes is a whole number, not True"),
        ({"probes": 0}, ValueError, "probes is 0: give a number from 1"),
        ({"cost": float("nan")}, TypeError, "cost is a number, not nan"),
        ({"cost": "a"}, TypeError, "cost is a number, not 'a'"),
        ({"interval": 0}, ValueError, "interval is 0: give a number from 1e-05 to 10 seconds"),
        ({"handler": "lazy"}, ValueError, "give one of busy, sleeping, blocked"),
        ({"overflow": "burst"}, ValueError, "give one of wait, refuse, drop_oldest, drop_newest"),
        ({"link": "far"}, ValueError, "give one of local, proxy"),
        ({"system_share": 1.0}, ValueError, "give a number from 0 to 0.99$"),
        ({"capacity": 10}, ValueError, "capacity 10 cannot hold a backlog of 10,000"),
        ({"handler": "blocked", "cost": 1}, ValueError, "waits for ever and has no cost"),
    ],
)
def test_what_is_wrong_is_told(wrong: dict[str, Any], error: type[Exception], text: str) -> None:
    """A value that makes no sense is refused with its name, and with what would do."""
    with pytest.raises(error, match=text):
        PrioritySettings(**wrong)


@given(
    backlog=st.integers(0, 1_000_000),
    capacity=st.none() | st.integers(1, 1_000_000),
)
def test_the_mailbox_holds_the_backlog(backlog: int, capacity: int | None) -> None:
    """Whatever is allowed, the backlog has room; with a capacity given, it is that."""
    if capacity is not None and capacity < backlog:
        with pytest.raises(ValueError, match="cannot hold"):
            PrioritySettings(backlog=backlog, capacity=capacity)
        return
    settings = PrioritySettings(backlog=backlog, capacity=capacity)
    assert settings.mailbox_capacity >= max(1, backlog)
    assert capacity is None or settings.mailbox_capacity == capacity


def test_the_types_can_be_read() -> None:
    """The annotations can be resolved, as a command line made of them needs."""
    assert get_type_hints(PrioritySettings).keys() >= PrioritySettings.help().keys()
