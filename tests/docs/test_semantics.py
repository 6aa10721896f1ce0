"""The page of promises has the messages and the numbers of the code."""

from __future__ import annotations

import inspect
import re

import attrs
import pytest

from tests.docs.pages import DOCS
from trioworkers import Backoff, Worker, WorkerRunner, messages
from trioworkers._bus import REPORTED, SENDS_PER_PASS, SLICE
from trioworkers._mailbox import SYSTEM_LANE_LIMIT
from trioworkers._requests import EVENT_CAPACITY

PAGE = " ".join((DOCS / "semantics.md").read_text(encoding="utf-8").split())
ROWS = re.findall(
    r"^\| (`Bus.*)$", (DOCS / "semantics.md").read_text(encoding="utf-8"), re.MULTILINE
)

MESSAGES = [name for name in messages.__all__ if name.startswith("Bus")]


def default(function: object, parameter: str) -> object:
    """Return the default of a parameter."""
    assert callable(function)
    return inspect.signature(function).parameters[parameter].default


@pytest.mark.parametrize("name", MESSAGES)
def test_every_message_is_in_the_table(name: str) -> None:
    """S-MSG-1: each message has a row, with all its own fields and their defaults."""
    (row,) = [row for row in ROWS if f"`{name}`" in row.split(" | ")[0]]
    cls = getattr(messages, name)
    if not attrs.has(cls):
        return
    own = [field for field in attrs.fields(cls) if field.name not in ("source", "target")]
    written = dict(re.findall(r"`(\w+)(?:: [^`=]+?)?(?: = ([^`]+))?`", row.split(" | ", 2)[2]))
    expected = {
        field.name: "" if field.default is attrs.NOTHING else repr(field.default).replace("'", '"')
        for field in own
    }
    assert written == expected


NUMBERS = {
    "at most 64 messages between two schedule points": SENDS_PER_PASS == 64,
    "at least every 64 sends or 1 ms": (SENDS_PER_PASS, SLICE) == (64, 0.001),
    "At 65,536 messages": SYSTEM_LANE_LIMIT == 65_536,
    "(1,024 such pairs are remembered)": REPORTED == 1024,
    "64 events of a job": EVENT_CAPACITY == 64,
    "messages, 256 by default": default(Worker, "mailbox_capacity") == 256,
    "`max_concurrent_jobs` (16 by default)": default(Worker, "max_concurrent_jobs") == 16,
    "`job_grace` (1 s by default": default(WorkerRunner, "job_grace") == 1,
    "`end_deadline` (30 s)": default(WorkerRunner, "end_deadline") == 30,
    "`cancel_grace` (5 s)": default(WorkerRunner, "cancel_grace") == 5,
    "More than `max_restarts` (3) within `period` (5.0 s)": (
        (Worker.max_restarts, Worker.period)
        == (default(WorkerRunner, "max_restarts"), default(WorkerRunner, "period"))
        == (3, 5.0)
    ),
    "0.1 s, doubled each time up to 30 s, with 20 % jitter, from the start again after 60 s": (
        Worker.backoff == Backoff(0.1, 30.0, 2.0, 0.2, 60.0)
    ),
}


@pytest.mark.parametrize("text", NUMBERS)
def test_numbers_are_those_of_the_code(text: str) -> None:
    """Each number on the page stands there as written, and is the one of the code."""
    assert text in PAGE
    assert NUMBERS[text]
