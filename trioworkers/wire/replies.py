"""What is said about a job that was asked for, and what of it ends the job."""

from __future__ import annotations

from typing import NamedTuple

from .._values import JobEventType
from ..messages import (
    JOB_PROTOCOL,
    BusDataMessage,
    BusJobResponseMessage,
    BusJobResponseUrgentMessage,
    BusJobStreamDataMessage,
    BusJobStreamEndMessage,
    BusJobStreamStartMessage,
    BusJobUpdateMessage,
    BusJobUpdateUrgentMessage,
    BusMessage,
    BusSystemMessage,
)

__all__ = ["FINAL", "REPLIES", "RESPONSES", "Reply", "unfit"]


class Reply(NamedTuple):
    """What a message means to the requester: which event, if any, and whether it is the last."""

    event: JobEventType | None
    final: bool


REPLIES: dict[type[BusMessage], Reply] = {
    BusJobResponseMessage: Reply(None, True),
    BusJobResponseUrgentMessage: Reply(None, True),
    BusJobUpdateMessage: Reply("update", False),
    BusJobUpdateUrgentMessage: Reply("update", False),
    BusJobStreamStartMessage: Reply("stream_start", False),
    BusJobStreamDataMessage: Reply("stream_data", False),
    # For Pipecat the end of the stream is the end of the job.
    BusJobStreamEndMessage: Reply("stream_end", True),
}

FINAL: tuple[type[BusMessage], ...] = tuple(kind for kind, reply in REPLIES.items() if reply.final)
"""What can end a job: a requester that does not get one of these waits for ever."""

RESPONSES = (BusJobResponseMessage, BusJobResponseUrgentMessage)
"""What ends it with a status."""


def unfit(kind: type[BusMessage]) -> str | None:
    """Say why no message of exactly this class can travel, on any bus; None if it can."""
    if not issubclass(kind, BusDataMessage | BusSystemMessage):
        return "it has no lane: derive it from BusDataMessage or BusSystemMessage"
    if issubclass(kind, JOB_PROTOCOL) and kind not in JOB_PROTOCOL:
        return "it is derived from a message of the job protocol, which has no others"
    return None
