"""The exception tree: what is what, and that each error says what happened."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest
import trio

import trioworkers
from trioworkers import JobStatus, errors
from trioworkers.errors import (
    BackpressureDeadlockError,
    JobCancelledError,
    JobError,
    JobFailed,
    JobFailedError,
    JobGroupError,
    JobRefusedError,
    JobRemoteError,
    LocalWireError,
    MailboxFullError,
    MessageTooBigError,
    NameTakenError,
    RemoteWireError,
    ReplayGapError,
    RestartIntensityExceeded,
    SystemLaneFullError,
    UnknownWorkerError,
    WireError,
    WorkerGoneError,
    WorkersError,
)

GONE = WorkerGoneError("w", "ended: bye (by main/w)")

# One of each, with its text and its fields.
SAMPLES: list[tuple[Exception, str, dict[str, Any]]] = [
    (WorkersError("why"), "why", {}),
    (
        NameTakenError("w"),
        "the name 'w' is taken: stop the worker that has it, or choose another name",
        {"name": "w"},
    ),
    (
        MailboxFullError("w", 256),
        "the mailbox of 'w' is full (256 messages, overflow='refuse'): send later, raise "
        "mailbox_capacity, or use overflow='wait'",
        {"worker": "w", "capacity": 256},
    ),
    (
        MailboxFullError("w", 1, "drop_oldest", 2),
        "the mailbox of 'w' is full (2 messages, overflow='drop_oldest', and not even activation "
        "or deactivation may exceed twice its capacity): send later, raise mailbox_capacity, or "
        "use overflow='wait'",
        {"worker": "w", "capacity": 1},
    ),
    (
        SystemLaneFullError("w", 9),
        "the system lane of 'w' holds 9 messages, its hard cap: a system handler is stuck, or a "
        "sender uses the system lane for bulk data",
        {"worker": "w", "limit": 9},
    ),
    (
        BackpressureDeadlockError(["a", "b", "a"]),
        "waiting here would close a circle of waits: a -> b -> a; use send_nowait, a larger "
        "mailbox_capacity, or let one of them not wait",
        {"cycle": ("a", "b", "a")},
    ),
    (
        RestartIntensityExceeded("main", 3, 5.0, [ValueError("x"), GONE]),
        "'main' had to restart children more than 3 times in 5.0 s (ValueError: x; "
        f"WorkerGoneError: {GONE}): mend the cause, or raise max_restarts or period",
        {"supervisor": "main"},
    ),
    (JobError("why"), "why", {}),
    (JobFailed("why", {"a": 1}), "why", {"reason": "why", "response": {"a": 1}}),
    (JobFailed(), "", {"reason": "", "response": None}),
    (
        JobFailedError("w", "count", "why", JobStatus.FAILED, {"a": 1}),
        "job 'count' of 'w' failed: why",
        {"reason": "why", "status": JobStatus.FAILED, "response": {"a": 1}},
    ),
    (
        JobFailedError("w", "count", "", JobStatus.FAILED),
        "job 'count' of 'w' failed: no reason given",
        {"reason": "", "response": None},
    ),
    (
        JobRemoteError("w", "count", "ValueError", "x", "trace"),
        "job 'count' of 'w' raised ValueError: x",
        {"type_name": "ValueError", "message": "x", "trace": "trace"},
    ),
    (
        JobRefusedError("w", "count", "inactive"),
        "job 'count' was refused by 'w': inactive (activate the worker first)",
        {"reason": "inactive"},
    ),
    (
        JobRefusedError("w", "count", "bad payload", "n is missing"),
        "job 'count' was refused by 'w': bad payload (n is missing)",
        {"reason": "bad payload"},
    ),
    (
        JobRefusedError("w", "count", "deadlock"),
        "job 'count' was refused by 'w': deadlock",
        {"reason": "deadlock"},
    ),
    (
        JobCancelledError("w", "count", None, "main"),
        "job 'count' of 'w' was cancelled by main: no reason given",
        {"reason": None, "path": "main"},
    ),
    (GONE, "worker 'w' is gone: ended: bye (by main/w)", {"name": "w"}),
    (
        UnknownWorkerError("w"),
        "there is no worker 'w' on the bus: check the name, add the worker first, or wait for it "
        "with registry.wait_ready()",
        {"name": "w"},
    ),
    (
        JobGroupError({"a": {"n": 1}, "b": GONE}),
        f"1 of 2 members of the job group did not complete: b: {GONE}",
        {"outcomes": {"a": {"n": 1}, "b": GONE}},
    ),
    (WireError("why"), "why", {}),
    (LocalWireError("why"), "why", {}),
    (RemoteWireError("why"), "why", {}),
    (
        MessageTooBigError(10, 5),
        "the message has 10 bytes, the peer takes 5: send less at once",
        {"size": 10, "limit": 5},
    ),
    (
        ReplayGapError("acme", 7),
        "7 messages to 'acme' may be lost: its side has forgotten the session that they belong "
        "to; each is a dead letter or a failed job",
        {"worker": "acme", "lost": 7},
    ),
]


def test_each_error_has_a_sample() -> None:
    """The table of this test knows every error."""
    assert {type(error).__name__ for error, _, _ in SAMPLES} == set(errors.__all__)


@pytest.mark.parametrize(("error", "text", "fields"), SAMPLES)
def test_errors_say_what_happened(error: Exception, text: str, fields: dict[str, Any]) -> None:
    """An error names the values and what to do, and keeps them as attributes."""
    assert str(error) == text
    assert {name: getattr(error, name) for name in fields} == fields
    assert getattr(trioworkers, type(error).__name__) is type(error)


@pytest.mark.parametrize("how", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(("error", "text", "fields"), SAMPLES)
def test_errors_can_be_copied_and_pickled(
    how: Any, error: Exception, text: str, fields: dict[str, Any]
) -> None:
    """A copy, or one that came from another process, says the same."""
    again = how(error)
    assert type(again) is type(error)
    assert str(again) == text
    assert vars(again).keys() == vars(error).keys()
    assert {name: str(getattr(again, name)) for name in fields} == {
        name: str(value) for name, value in fields.items()
    }


def test_notes_survive() -> None:
    """A note on an error, such as the path of the worker, is kept by a copy."""
    error = NameTakenError("w")
    error.add_note("in worker main/w")
    assert copy.copy(error).__notes__ == ["in worker main/w"]


def test_causes_are_kept() -> None:
    """A supervisor that gave up carries every cause, oldest first."""
    causes = [ValueError("x"), TypeError("y")]
    assert RestartIntensityExceeded("main", 1, 5.0, causes).causes == tuple(causes)


def drawn(docstring: str) -> dict[str, str]:
    """Read the tree in a docstring: each name, and the one it hangs from."""
    parents: dict[str, str] = {}
    above: list[tuple[int, str]] = []
    for line in docstring.splitlines():
        name = line.lstrip(" │├└─").split(" ")[0]
        if not inspect.isclass(getattr(errors, name, None)):
            continue
        depth = line.index(name)
        while above and above[-1][0] >= depth:
            above.pop()
        parents[name] = above[-1][1] if above else "Exception"
        above.append((depth, name))
    return parents


def test_the_tree_in_the_docstring_is_true() -> None:
    """The module's docstring draws every error where its class hangs."""
    assert errors.__doc__ is not None
    found = drawn(errors.__doc__)
    assert "MessageTooBigError" in found
    for name in set(errors.__all__) - {"JobFailed"}:
        (base,) = getattr(errors, name).__bases__
        assert found[name] == base.__name__, f"{name} is a {base.__name__}"


def test_what_is_raised_to_answer_is_no_error_of_ours() -> None:
    """`JobFailed` is caught by nobody who catches what this package raises."""
    assert not issubclass(JobFailed, WorkersError)


@pytest.mark.parametrize("response", [5, "text", [1], {1}])
def test_job_failed_takes_a_dict(response: Any) -> None:
    """What goes to the requester is a dict or nothing; anything else is refused at once."""
    with pytest.raises(TypeError, match="response must be a dict or None, not "):
        JobFailed("why", response=response)


def test_trio_has_the_other_words() -> None:
    """Where trio has the word there is none here."""
    for name in ("WouldBlock", "TooSlowError", "ClosedResourceError", "BusyResourceError"):
        assert hasattr(trio, name)
        assert not hasattr(errors, name)
