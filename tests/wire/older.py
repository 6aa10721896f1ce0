"""Bytes that the serializer of pipecat_subagents 0.6.0 wrote, and what they mean."""

from __future__ import annotations

from typing import Any

import trioworkers.messages as bus
from tests.wire import samples
from tests.wire.samples import TextFrame
from trioworkers._values import WorkerRegistryEntry
from trioworkers.messages import BusMessage, FrameDirection, JobStatus
from trioworkers.wire import JSONMessageSerializer

OUT: dict[str, Any] = {"source": "acme", "target": "assistant"}
JOB: dict[str, Any] = OUT | {"job_id": "t1"}

SERIALIZER = JSONMessageSerializer(
    messages=samples.MESSAGES, frames=samples.FRAMES, names="subagents"
)

KNOWN = [
    cls
    for cls in samples.CROSSING
    if "UI" not in cls.__name__ and cls is not bus.BusTTSSpeakMessage
]
"""The messages that have an older name and may cross."""


def older_name(cls: type[BusMessage]) -> str:
    """Return the older name of a message class."""
    return cls.__name__.replace("Worker", "Agent").replace("Job", "Task")


# (number of the message among all, the message, the bytes); each is the first of its class
GOLDEN: list[tuple[int, BusMessage, bytes]] = [
    (
        1,
        bus.BusFrameMessage(
            **OUT,
            frame=TextFrame(id=0, name="TextFrame#0", text="hi"),
            direction=FrameDirection.DOWNSTREAM,
            bridge="voice",
        ),
        b'{"__type__":"pipecat_subagents.bus.messages.BusFrameMessage","__data__":{"id":1,"name":"BusFrameMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","frame":{"__type__":"pipecat.frames.frames.TextFrame","__data__":{"id":0,"name":"TextFrame#0","metadata":{},"interruptible":true,"text":"hi","includes_inter_frame_spaces":false,"append_to_context":true}},"direction":{"__type__":"pipecat.processors.frame_processor.FrameDirection","__data__":"DOWNSTREAM"},"bridge":"voice"}}',
    ),
    (
        4,
        bus.BusActivateWorkerMessage(**OUT, args={"metadata": {"greeting": "hello"}}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusActivateAgentMessage","__data__":{"id":4,"name":"BusActivateAgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","args":{"metadata":{"greeting":"hello"}}}}',
    ),
    (
        6,
        bus.BusDeactivateWorkerMessage(**OUT),
        b'{"__type__":"pipecat_subagents.bus.messages.BusDeactivateAgentMessage","__data__":{"id":6,"name":"BusDeactivateAgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant"}}',
    ),
    (
        8,
        bus.BusEndMessage(**OUT, reason="r"),
        b'{"__type__":"pipecat_subagents.bus.messages.BusEndMessage","__data__":{"id":8,"name":"BusEndMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","reason":"r"}}',
    ),
    (
        10,
        bus.BusEndWorkerMessage(**OUT, reason="r"),
        b'{"__type__":"pipecat_subagents.bus.messages.BusEndAgentMessage","__data__":{"id":10,"name":"BusEndAgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","reason":"r"}}',
    ),
    (
        12,
        bus.BusCancelMessage(**OUT, reason="r"),
        b'{"__type__":"pipecat_subagents.bus.messages.BusCancelMessage","__data__":{"id":12,"name":"BusCancelMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","reason":"r"}}',
    ),
    (
        14,
        bus.BusCancelWorkerMessage(**OUT, reason="r"),
        b'{"__type__":"pipecat_subagents.bus.messages.BusCancelAgentMessage","__data__":{"id":14,"name":"BusCancelAgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","reason":"r"}}',
    ),
    (
        18,
        bus.BusWorkerRegistryMessage(
            **OUT,
            runner="runner-1",
            workers=[WorkerRegistryEntry("assistant", active=True, started_at=1.5)],
        ),
        b'{"__type__":"pipecat_subagents.bus.messages.BusAgentRegistryMessage","__data__":{"id":18,"name":"BusAgentRegistryMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","runner":"runner-1","agents":[{"__type__":"pipecat_subagents.types.AgentRegistryEntry","__data__":{"name":"assistant","active":true,"bridged":false,"started_at":1.5}}]}}',
    ),
    (
        20,
        bus.BusWorkerReadyMessage(
            **OUT, runner="runner-1", parent="p", active=True, bridged=False, started_at=1.5
        ),
        b'{"__type__":"pipecat_subagents.bus.messages.BusAgentReadyMessage","__data__":{"id":20,"name":"BusAgentReadyMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","runner":"runner-1","parent":"p","active":true,"bridged":false,"started_at":1.5}}',
    ),
    (
        22,
        bus.BusWorkerErrorMessage(**OUT, error="e"),
        b'{"__type__":"pipecat_subagents.bus.messages.BusAgentErrorMessage","__data__":{"id":22,"name":"BusAgentErrorMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","error":"e"}}',
    ),
    (
        26,
        bus.BusJobRequestMessage(**JOB, job_name="count", payload={"n": 4}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskRequestMessage","__data__":{"id":26,"name":"BusTaskRequestMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","task_name":"count","payload":{"n":4}}}',
    ),
    (
        28,
        bus.BusJobResponseMessage(**JOB, status=JobStatus.COMPLETED, response={"counted": 4}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskResponseMessage","__data__":{"id":28,"name":"BusTaskResponseMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","status":"completed","response":{"counted":4}}}',
    ),
    (
        30,
        bus.BusJobResponseUrgentMessage(**JOB, status=JobStatus.FAILED),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskResponseUrgentMessage","__data__":{"id":30,"name":"BusTaskResponseUrgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","status":"failed"}}',
    ),
    (
        32,
        bus.BusJobUpdateMessage(**JOB, update={"i": 0}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskUpdateMessage","__data__":{"id":32,"name":"BusTaskUpdateMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","update":{"i":0}}}',
    ),
    (
        34,
        bus.BusJobUpdateUrgentMessage(**JOB, update={"u": 1}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskUpdateUrgentMessage","__data__":{"id":34,"name":"BusTaskUpdateUrgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","update":{"u":1}}}',
    ),
    (
        36,
        bus.BusJobUpdateRequestMessage(**JOB),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskUpdateRequestMessage","__data__":{"id":36,"name":"BusTaskUpdateRequestMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1"}}',
    ),
    (
        38,
        bus.BusJobCancelMessage(**JOB, reason="timeout"),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskCancelMessage","__data__":{"id":38,"name":"BusTaskCancelMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","reason":"timeout"}}',
    ),
    (
        40,
        bus.BusJobStreamStartMessage(**JOB, data={"n": 3}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskStreamStartMessage","__data__":{"id":40,"name":"BusTaskStreamStartMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","data":{"n":3}}}',
    ),
    (
        42,
        bus.BusJobStreamDataMessage(**JOB, data={"i": 0}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskStreamDataMessage","__data__":{"id":42,"name":"BusTaskStreamDataMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","data":{"i":0}}}',
    ),
    (
        44,
        bus.BusJobStreamEndMessage(**JOB, data={"total": 3}),
        b'{"__type__":"pipecat_subagents.bus.messages.BusTaskStreamEndMessage","__data__":{"id":44,"name":"BusTaskStreamEndMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","task_id":"t1","data":{"total":3}}}',
    ),
]

# What they write, and never send.
LOCAL_ONLY = [
    b'{"__type__":"pipecat_subagents.bus.messages.BusAddAgentMessage","__data__":{"id":16,"name":"BusAddAgentMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant"}}',
    b'{"__type__":"pipecat_subagents.bus.messages.BusAgentLocalErrorMessage","__data__":{"id":24,"name":"BusAgentLocalErrorMessage#0","metadata":{},"interruptible":true,"source":"acme","target":"assistant","error":"e"}}',
]
