"""The small values that several rooms pass around."""

from __future__ import annotations

import inspect
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers import (
    Backoff,
    BusEndMessage,
    DeadLetter,
    DeadLetterReason,
    Down,
    JobEvent,
    JobGroupEvent,
    Lagged,
    LinkStatistics,
    MailboxStatistics,
    Restart,
    RunnerStatistics,
    StopReason,
    Strategy,
    Up,
    WorkerErrorData,
    WorkerReadyData,
    WorkerRegistryEntry,
    WorkerState,
    WorkerStatistics,
    _values,
)

REQUIRED = attrs.NOTHING

# Each value, with its fields and their defaults.
FIELDS: dict[type, dict[str, Any]] = {
    Backoff: {
        "initial": 0.1,
        "maximum": 30.0,
        "factor": 2.0,
        "jitter": 0.2,
        "reset_after": 60.0,
    },
    DeadLetter: {"message": REQUIRED, "reason": REQUIRED, "at": REQUIRED, "detail": ""},
    Down: {"worker_name": REQUIRED, "reason": REQUIRED},
    JobEvent: {"type": REQUIRED, "data": REQUIRED},
    JobGroupEvent: {"worker_name": REQUIRED, "type": REQUIRED, "data": REQUIRED},
    Lagged: {"missed": REQUIRED},
    LinkStatistics: {
        "connected": False,
        **dict.fromkeys(
            (
                *("data_depth", "system_depth", "waiting_senders", "inbox_depth"),
                *("sent", "received", "resumed", "sent_again"),
            ),
            0,
        ),
    },
    StopReason: {"kind": REQUIRED, "reason": REQUIRED, "path": REQUIRED},
    Up: {"worker_name": REQUIRED},
    WorkerErrorData: {"worker_name": REQUIRED, "error": REQUIRED, "exception": None},
    WorkerReadyData: {"worker_name": REQUIRED, "runner": REQUIRED},
    WorkerRegistryEntry: {
        "name": REQUIRED,
        "parent": None,
        "active": False,
        "bridged": False,
        "started_at": None,
    },
    MailboxStatistics: dict.fromkeys(
        (
            *("data_depth", "system_depth", "capacity", "high_water_mark", "oldest_age"),
            *("waiting_senders", "accepted", "dropped"),
        ),
        REQUIRED,
    ),
    WorkerStatistics: dict.fromkeys(
        (
            *("name", "state", "active", "mailbox", "handled", "jobs_running", "jobs_queued"),
            *("jobs_served", "restarts", "children"),
        ),
        REQUIRED,
    ),
    RunnerStatistics: dict.fromkeys(
        ("name", "state", "workers", "sent", "open_jobs", "dead_letters"), REQUIRED
    ),
}


def test_all_values_are_listed() -> None:
    """The table of this test knows every value."""
    found = {
        value
        for value in vars(_values).values()
        if inspect.isclass(value) and value.__module__ == _values.__name__ and attrs.has(value)
    }
    assert found == set(FIELDS)


@pytest.mark.parametrize("value", FIELDS)
def test_fields_and_defaults(value: type) -> None:
    """Each value has the fields and defaults that are documented, and is frozen (S-MAIL-13)."""
    assert {field.name: field.default for field in attrs.fields(value)} == FIELDS[value]
    assert attrs.inspect(value).is_frozen


def test_enumerations() -> None:
    """States, restart types and strategies have OTP's words; a state prints as its word."""
    words = ["added", "starting", "ready", "ending", "stopped", "failed", "cancelled"]
    assert [str(state) for state in WorkerState] == words
    assert [each.value for each in Restart] == ["permanent", "transient", "temporary"]
    assert [each.value for each in Strategy] == ["one_for_one", "one_for_all", "rest_for_one"]


def test_reasons_of_dead_letters() -> None:
    """The reasons are a closed list (S-BUS-3)."""
    assert set(get_args(DeadLetterReason)) == {
        *("unknown", "stopped", "ending", "inactive", "unhandled", "overflow", "interrupted"),
        *("cancelled", "crashed", "bad payload", "late reply", "refused", "undecodable"),
        "link lost",
    }


def test_a_dead_letter_holds_its_message() -> None:
    """A dead letter holds the message itself."""
    message = BusEndMessage()
    letter = DeadLetter(message, "unknown", 1.0)
    assert letter.message is message
    assert letter.detail == ""


def test_a_stop_reason_is_one_line() -> None:
    """A reason prints as what, why and who, also without a why."""
    assert str(StopReason("ended", "bye", "main/w")) == "ended: bye (by main/w)"
    assert str(StopReason("cancelled", None, "main")) == "cancelled: no reason given (by main)"


# Backoff


def test_delays_grow_to_the_cap() -> None:
    """Without jitter the delays double from the first to the cap, and stay there."""
    backoff = Backoff(initial=1.0, maximum=10.0, jitter=0.0)
    assert [backoff.delay(n, 0.5) for n in (1, 2, 3, 4, 5, 6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff.delay(10_000, 0.5) == 10.0


def test_jitter_spreads_the_delay() -> None:
    """The random number places the delay between its two bounds."""
    backoff = Backoff(initial=10.0, jitter=0.2)
    assert [backoff.delay(1, random) for random in (0.0, 0.5, 1.0)] == [8.0, 10.0, 12.0]


@given(
    backoff=st.builds(
        Backoff,
        initial=st.floats(0, 1e300),
        maximum=st.floats(0, 1e300),
        factor=st.floats(1, 1e300),
        jitter=st.floats(0, 1),
    ),
    attempt=st.integers(1, 10**9),
    random=st.floats(0, 1),
)
def test_every_delay_is_possible(backoff: Backoff, attempt: int, random: float) -> None:
    """Whatever the settings and the attempt, a delay is a number within cap and jitter."""
    delay = backoff.delay(attempt, random)
    assert 0 <= delay <= backoff.maximum * (1 + backoff.jitter)


@pytest.mark.parametrize(
    "bad",
    [
        {"initial": -1},
        {"maximum": -1},
        {"factor": 0.5},
        {"jitter": -0.1},
        {"jitter": 1.1},
        {"reset_after": -1},
        {"initial": float("nan")},
    ],
)
def test_impossible_settings(bad: dict[str, float]) -> None:
    """A setting that makes no sense is refused by name, with its value."""
    (name,), (value,) = bad.keys(), bad.values()
    with pytest.raises(ValueError, match=f"'{name}' must be .*{value}"):
        Backoff(**bad)
