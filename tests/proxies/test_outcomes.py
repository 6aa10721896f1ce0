"""The outcome of a job is the same on both sides of a link."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers import (
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    JobCancelledError,
    JobError,
    JobFailedError,
    JobGroupError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    JSONMessageSerializer,
    LocalWireError,
    MessageTooBigError,
    UnknownWorkerError,
    WorkerGoneError,
)
from trioworkers._requests import Outcome
from trioworkers.proxies import _outcomes

# They look at a few attributes only.
error_outcome: Any = _outcomes.error_outcome
outcome_of: Any = _outcomes.outcome_of
response_of: Any = _outcomes.response_of


@attrs.define
class Asked:
    """As much of a request as an outcome is about."""

    requester: str = "acme"
    target: str = "assistant"
    id: str = "j-1"
    name: str = "count"
    cancelled_by: tuple[str | None, str] | None = None

    def cancelled(self) -> Outcome:
        error = JobCancelledError(self.target, self.name, "mine", "main/acme")
        return Outcome(JobStatus.CANCELLED, error=error)


def over(outcome: Outcome, asked: Any = None) -> Outcome:
    """Send an outcome over, and read it on the other side."""
    asked = asked or Asked()
    serializer = JSONMessageSerializer()
    message = response_of(asked, outcome)
    assert (message.source, message.target, message.job_id) == ("assistant", "acme", "j-1")
    read = serializer.deserialize(serializer.serialize(message))
    assert isinstance(read, BusJobResponseMessage)
    return outcome_of(asked, read)


def error_over(error: JobError, status: JobStatus, response: Any = None) -> JobError:
    """Send an error over; return what is read."""
    arrived = over(Outcome(status, response, error)).error
    assert arrived is not None
    return arrived


NAMES = "assistant", "count"


@pytest.mark.parametrize("response", [{}, {"a": [1, None, "é"]}, {"error": "x", "gone": "y"}])
def test_completed(response: dict[str, Any]) -> None:
    """S-PROXY-7, S-JOB-2: the response crosses as it is, whatever its keys."""
    outcome = over(Outcome(JobStatus.COMPLETED, response))
    assert (outcome.status, outcome.response, outcome.error) == ("completed", response, None)


def test_completed_without_a_response() -> None:
    """S-JOB-2, S-PROXY-7: no response, as a Pipecat worker may give, is an empty one."""
    assert over(Outcome(JobStatus.COMPLETED, None)).response == {}


def test_failed_with_a_response() -> None:
    """S-JOB-2, S-PROXY-7: the handler's response crosses as it is; a reason in it is the reason."""
    failed = JobFailedError(*NAMES, "", JobStatus.FAILED, {"tries": 3})
    arrived = error_over(failed, JobStatus.FAILED, {"tries": 3})
    assert type(arrived) is JobFailedError
    assert (arrived.reason, arrived.status, arrived.response) == ("", "failed", {"tries": 3})
    arrived = error_over(failed, JobStatus.FAILED, {"error": "no luck", "tries": 3})
    assert isinstance(arrived, JobFailedError)
    assert arrived.reason == "no luck"


def test_failed_with_a_reason_only() -> None:
    """S-JOB-2, S-PROXY-7: a reason without a response crosses."""
    arrived = error_over(JobFailedError(*NAMES, "no luck", JobStatus.FAILED), JobStatus.FAILED)
    assert type(arrived) is JobFailedError
    assert (arrived.reason, str(arrived)) == (
        "no luck",
        "job 'count' of 'assistant' failed: no luck",
    )


def test_an_exception() -> None:
    """S-JOB-2, S-PROXY-7: an exception arrives as its type's name and its text, without a trace."""
    raised = JobRemoteError(*NAMES, "KeyError", "'boom'", "Traceback: /secret/path")
    raised.__cause__ = KeyError("boom")
    message = response_of(Asked(), Outcome(JobStatus.ERROR, error=raised))
    assert b"secret" not in JSONMessageSerializer().serialize(message)
    arrived = error_over(raised, JobStatus.ERROR)
    assert type(arrived) is JobRemoteError
    assert (arrived.type_name, arrived.message, arrived.trace) == ("KeyError", "'boom'", "")
    assert str(arrived) == str(raised)
    assert arrived.__cause__ is None


@pytest.mark.parametrize(
    ("reason", "detail"),
    [("inactive", ""), ("bad payload", "n is missing"), ("deadlock", "a -> b -> a"), ("busy", "")],
)
def test_a_refusal(reason: str, detail: str) -> None:
    """S-JOB-3, S-PROXY-7: a refusal arrives as one, with reason and detail."""
    refused = JobRefusedError(*NAMES, reason, detail)
    arrived = error_over(refused, JobStatus.FAILED)
    assert type(arrived) is JobRefusedError
    assert (arrived.reason, arrived.detail, str(arrived)) == (reason, detail, str(refused))


@pytest.mark.parametrize(
    "error",
    [WorkerGoneError("assistant", "ended: bye (by main)"), UnknownWorkerError("assistant")],
)
def test_a_worker_that_is_gone(error: WorkerGoneError) -> None:
    """S-JOB-3, S-PROXY-7: that the worker is gone, or unknown, arrives with the reason."""
    arrived = error_over(error, JobStatus.ERROR)
    assert type(arrived) is WorkerGoneError
    assert (arrived.name, arrived.reason) == ("assistant", error.reason)


@pytest.mark.parametrize("reason", ["enough", None])
def test_cancelled_over_there(reason: str | None) -> None:
    """S-JOB-3, S-PROXY-7: a cancel that the requester did not ask for arrives with its reason."""
    error = JobCancelledError(*NAMES, reason, "far/path")
    outcome = over(Outcome(JobStatus.CANCELLED, error=error))
    assert outcome.status is JobStatus.CANCELLED
    arrived = outcome.error
    assert type(arrived) is JobCancelledError
    assert (arrived.reason, arrived.path) == (reason, "assistant")


def test_cancelled_by_the_requester() -> None:
    """S-JOB-6, S-PROXY-7: the answer to a cancel of our own is our own outcome."""
    asked = Asked(cancelled_by=("mine", "main/acme"))
    error = JobCancelledError(*NAMES, "link", "far/path")
    outcome = over(Outcome(JobStatus.CANCELLED, error=error), asked)
    assert isinstance(outcome.error, JobCancelledError)
    assert outcome.error.path == "main/acme"


def test_any_other_error() -> None:
    """S-JOB-3: an error of any other kind arrives as a worker that did not do the job."""
    arrived = error_over(JobGroupError({}), JobStatus.ERROR)
    assert type(arrived) is WorkerGoneError


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (None, "None"),
        ({}, "{}"),
        (["what", 1], "['what', 1]"),
        ({"error": 5, "refused": None, "gone": {}, "type": 3}, "{'error': 5"),
        ({"error": "bang"}, "bang"),
    ],
)
def test_what_a_foreign_peer_says_of_an_error(response: Any, text: str) -> None:
    """S-PROXY-7: whatever stands in the response, status `error` is an error with its text."""
    message = BusJobResponseUrgentMessage(
        source="assistant", target="acme", job_id="j-1", status=JobStatus.ERROR, response=response
    )
    outcome = outcome_of(Asked(), message)
    assert type(outcome.error) is JobRemoteError
    assert text in str(outcome.error)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(status=st.sampled_from(JobStatus), response=JSON, mine=st.booleans())
def test_every_response_is_an_outcome(status: JobStatus, response: Any, mine: bool) -> None:
    """S-JOB-3, S-PROXY-4: whatever a peer answers, there is an outcome; an error if not done."""
    message = BusJobResponseMessage(
        source="assistant", target="acme", job_id="j-1", status=status, response=response
    )
    asked = Asked(cancelled_by=(None, "main/acme") if mine else None)
    outcome = outcome_of(asked, message)
    assert outcome.status == status
    assert (outcome.error is None) == (status is JobStatus.COMPLETED)
    assert str(outcome.error)


@pytest.mark.parametrize(
    "error", [MessageTooBigError(5, 3), LocalWireError("a set cannot cross \ud800")]
)
def test_a_response_that_cannot_cross(error: LocalWireError) -> None:
    """S-PROXY-4: instead of a response that cannot cross, an error says why, and that crosses."""
    outcome = error_outcome(Asked(), error)
    assert isinstance(outcome.error, JobRemoteError)
    arrived = over(outcome).error
    assert type(arrived) is JobRemoteError
    assert arrived.type_name == type(error).__name__
    assert "its response cannot cross the link: " in str(arrived)
