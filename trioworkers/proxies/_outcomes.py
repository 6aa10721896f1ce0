"""How the outcome of a job is told over a link, and read again.

The message of the bus has a status and a response, and no place for an error.  Here an outcome
without a response of the handler's own says in the response what happened, under keys that are
told apart by the status `error`, which handlers cannot answer with:

| outcome | status | response |
|---|---|---|
| completed | `completed` | the handler's |
| failed (`JobFailed`) | `failed` | the handler's, or `{"error": reason}` |
| an exception | `error` | `{"error": text, "type": name}`; never the trace, which is for this side |
| refused | `error` | `{"error": text, "refused": reason, "detail": text}` |
| the worker is gone | `error` | `{"error": text, "gone": reason}` |
| cancelled | `cancelled` | `{"error": text}`, or none |
"""

from __future__ import annotations

from typing import Any, cast

from .._requests import Outcome, Request
from .._values import safe_text
from ..errors import (
    JobCancelledError,
    JobError,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    WorkerGoneError,
)
from ..messages import BusJobResponseMessage, BusJobResponseUrgentMessage, JobStatus

__all__ = ["error_outcome", "outcome_of", "response_of", "unreadable", "writable"]


_WHY = 1000


def response_of(request: Request, outcome: Outcome) -> BusJobResponseMessage:
    """Return the message that tells the outcome of a job to its requester."""
    error = outcome.error
    status, response = outcome.status, outcome.response
    if isinstance(error, JobFailedError):
        response = {"error": error.reason} if response is None else response
    elif isinstance(error, JobCancelledError):
        response = {"error": error.reason} if error.reason else None
    elif error is not None:
        status, response = JobStatus.ERROR, _description(error)
    return BusJobResponseMessage(
        source=request.target,
        target=request.requester,
        job_id=request.id,
        status=status,
        response=response,
    )


def _description(error: JobError) -> dict[str, Any]:
    if isinstance(error, JobRemoteError):
        return {"error": error.message, "type": error.type_name}
    if isinstance(error, JobRefusedError):
        return {"error": str(error), "refused": error.reason, "detail": error.detail}
    reason = error.reason if isinstance(error, WorkerGoneError) else str(error)
    return {"error": str(error), "gone": reason}


def error_outcome(request: Request, error: Exception) -> Outcome:
    """Return the outcome of a job whose response cannot cross."""
    text = f"its response cannot cross the link: {writable(error)}"
    remote = JobRemoteError(request.target, request.name, type(error).__name__, text, "")
    return Outcome(JobStatus.ERROR, error=remote)


def unreadable(request: Request, error: Exception) -> Outcome:
    """Return the outcome of a job whose answer cannot be read."""
    text = f"its answer cannot be read: {error}"
    remote = JobRemoteError(request.target, request.name, type(error).__name__, text, "")
    return Outcome(JobStatus.ERROR, error=remote)


def writable(text: object) -> str:
    """Return the text of something, short, and without halves of surrogate pairs, so it can cross."""
    return safe_text(text)[:_WHY].encode("utf-8", "backslashreplace").decode("utf-8")[:_WHY]


def outcome_of(
    request: Request, message: BusJobResponseMessage | BusJobResponseUrgentMessage
) -> Outcome:
    """Return the outcome that a response from beyond a link tells."""
    status: JobStatus = message.status
    response: Any = message.response
    said = cast("dict[str, Any]", response if isinstance(response, dict) else {})
    if status is JobStatus.COMPLETED:
        return Outcome(status, {} if response is None else response)
    if status is JobStatus.CANCELLED:
        if request.cancelled_by is not None:
            return request.cancelled()
        cancelled = JobCancelledError(
            request.target, request.name, _text(said, "error") or None, request.target
        )
        return Outcome(status, response, cancelled)
    if status is JobStatus.FAILED:
        failed = JobFailedError(
            request.target, request.name, _text(said, "error"), status, response
        )
        return Outcome(status, response, failed)
    return Outcome(status, response, _error_of(request, said, message.response))


def _error_of(request: Request, said: dict[str, Any], response: object) -> JobError:
    text = _text(said, "error") or repr(response)
    if refused := _text(said, "refused"):
        return JobRefusedError(request.target, request.name, refused, _text(said, "detail"))
    if gone := _text(said, "gone"):
        return WorkerGoneError(request.target, gone)
    return JobRemoteError(request.target, request.name, _text(said, "type") or "an error", text, "")


def _text(said: dict[str, Any], key: str) -> str:
    value = said.get(key)
    return value if isinstance(value, str) else ""
