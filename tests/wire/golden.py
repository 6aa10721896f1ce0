"""Bytes recorded between two real processes of Pipecat 1.14.0, and what they mean."""

from __future__ import annotations

from typing import Any

import trioworkers.messages as bus
from tests.wire.samples import TextFrame
from trioworkers._values import WorkerRegistryEntry
from trioworkers.messages import BusMessage, FrameDirection, JobStatus

COUNT = "610ee5db-ee77-42b6-b670-f54f2a853ae9"
URGENT = "cb91249a-d6fa-485f-8b7c-1eb8ed5dd8e8"
STREAM = "639b25fb-69e1-4da8-aa68-f89974dd75fd"
OUT: dict[str, Any] = {"source": "acme", "target": "assistant"}
BACK: dict[str, Any] = {"source": "assistant", "target": "acme"}

# (number of the message among all, and among its class, the message, the bytes)
GOLDEN: list[tuple[int, int, BusMessage, bytes]] = [
    (
        8,
        2,
        bus.BusWorkerRegistryMessage(
            source="gateway", runner="runner-39d3398a", workers=[WorkerRegistryEntry("assistant")]
        ),
        b'{"__type__":"pipecat.bus.messages.BusWorkerRegistryMessage","__data__":{"id":8,"name":"BusWorkerRegistryMessage#2","source":"gateway","runner":"runner-39d3398a","workers":[{"__type__":"pipecat.registry.types.WorkerRegistryEntry","__data__":{"name":"assistant","active":false,"bridged":false}}]}}',
    ),
    (
        11,
        1,
        bus.BusActivateWorkerMessage(**OUT, args={"metadata": {"greeting": "hello"}}),
        b'{"__type__":"pipecat.bus.messages.BusActivateWorkerMessage","__data__":{"id":11,"name":"BusActivateWorkerMessage#1","source":"acme","target":"assistant","args":{"metadata":{"greeting":"hello"}}}}',
    ),
    (
        82,
        0,
        bus.BusDeactivateWorkerMessage(**OUT),
        b'{"__type__":"pipecat.bus.messages.BusDeactivateWorkerMessage","__data__":{"id":82,"name":"BusDeactivateWorkerMessage#0","source":"acme","target":"assistant"}}',
    ),
    (
        18,
        3,
        bus.BusJobRequestMessage(**OUT, job_id=COUNT, job_name="count", payload={"n": 4}),
        b'{"__type__":"pipecat.bus.messages.BusJobRequestMessage","__data__":{"id":18,"name":"BusJobRequestMessage#3","source":"acme","target":"assistant","job_id":"610ee5db-ee77-42b6-b670-f54f2a853ae9","job_name":"count","payload":{"n":4}}}',
    ),
    (
        16,
        2,
        bus.BusJobRequestMessage(**OUT, job_id="31d2852a-80c7-4325-98a3-0987d5226a67"),
        b'{"__type__":"pipecat.bus.messages.BusJobRequestMessage","__data__":{"id":16,"name":"BusJobRequestMessage#2","source":"acme","target":"assistant","job_id":"31d2852a-80c7-4325-98a3-0987d5226a67"}}',
    ),
    (
        17,
        0,
        bus.BusJobUpdateMessage(**BACK, job_id=COUNT, update={"i": 0}),
        b'{"__type__":"pipecat.bus.messages.BusJobUpdateMessage","__data__":{"id":17,"name":"BusJobUpdateMessage#0","source":"assistant","target":"acme","job_id":"610ee5db-ee77-42b6-b670-f54f2a853ae9","update":{"i":0}}}',
    ),
    (
        23,
        0,
        bus.BusJobUpdateUrgentMessage(**BACK, job_id=URGENT, update={"u": 1}),
        b'{"__type__":"pipecat.bus.messages.BusJobUpdateUrgentMessage","__data__":{"id":23,"name":"BusJobUpdateUrgentMessage#0","source":"assistant","target":"acme","job_id":"cb91249a-d6fa-485f-8b7c-1eb8ed5dd8e8","update":{"u":1}}}',
    ),
    (
        21,
        3,
        bus.BusJobResponseMessage(
            **BACK, job_id=COUNT, status=JobStatus.COMPLETED, response={"counted": 4}
        ),
        b'{"__type__":"pipecat.bus.messages.BusJobResponseMessage","__data__":{"id":21,"name":"BusJobResponseMessage#3","source":"assistant","target":"acme","job_id":"610ee5db-ee77-42b6-b670-f54f2a853ae9","status":"completed","response":{"counted":4}}}',
    ),
    (
        24,
        0,
        bus.BusJobResponseUrgentMessage(
            **BACK, job_id=URGENT, status=JobStatus.COMPLETED, response={"urgent": True}
        ),
        b'{"__type__":"pipecat.bus.messages.BusJobResponseUrgentMessage","__data__":{"id":24,"name":"BusJobResponseUrgentMessage#0","source":"assistant","target":"acme","job_id":"cb91249a-d6fa-485f-8b7c-1eb8ed5dd8e8","status":"completed","response":{"urgent":true}}}',
    ),
    (
        32,
        4,
        bus.BusJobResponseMessage(
            **BACK,
            job_id="5bc93b58-5adb-4fcd-883f-b2b712aee8de",
            status=JobStatus.FAILED,
            response={"why": "business"},
        ),
        b'{"__type__":"pipecat.bus.messages.BusJobResponseMessage","__data__":{"id":32,"name":"BusJobResponseMessage#4","source":"assistant","target":"acme","job_id":"5bc93b58-5adb-4fcd-883f-b2b712aee8de","status":"failed","response":{"why":"business"}}}',
    ),
    (
        46,
        8,
        bus.BusJobResponseMessage(
            **BACK, job_id="8544ae9a-fa73-4a6d-a837-3fc82a69faa8", status=JobStatus.CANCELLED
        ),
        b'{"__type__":"pipecat.bus.messages.BusJobResponseMessage","__data__":{"id":46,"name":"BusJobResponseMessage#8","source":"assistant","target":"acme","job_id":"8544ae9a-fa73-4a6d-a837-3fc82a69faa8","status":"cancelled"}}',
    ),
    (
        58,
        0,
        bus.BusJobUpdateRequestMessage(**OUT, job_id="637e23d6-b15e-4665-9654-1ef129e34bad"),
        b'{"__type__":"pipecat.bus.messages.BusJobUpdateRequestMessage","__data__":{"id":58,"name":"BusJobUpdateRequestMessage#0","source":"acme","target":"assistant","job_id":"637e23d6-b15e-4665-9654-1ef129e34bad"}}',
    ),
    (
        49,
        3,
        bus.BusJobCancelMessage(
            **OUT, job_id="60e44161-6294-4d41-9b5f-490ab9763856", reason="timeout"
        ),
        b'{"__type__":"pipecat.bus.messages.BusJobCancelMessage","__data__":{"id":49,"name":"BusJobCancelMessage#3","source":"acme","target":"assistant","job_id":"60e44161-6294-4d41-9b5f-490ab9763856","reason":"timeout"}}',
    ),
    (
        26,
        0,
        bus.BusJobStreamStartMessage(**BACK, job_id=STREAM, data={"n": 3}),
        b'{"__type__":"pipecat.bus.messages.BusJobStreamStartMessage","__data__":{"id":26,"name":"BusJobStreamStartMessage#0","source":"assistant","target":"acme","job_id":"639b25fb-69e1-4da8-aa68-f89974dd75fd","data":{"n":3}}}',
    ),
    (
        27,
        0,
        bus.BusJobStreamDataMessage(**BACK, job_id=STREAM, data={"i": 0}),
        b'{"__type__":"pipecat.bus.messages.BusJobStreamDataMessage","__data__":{"id":27,"name":"BusJobStreamDataMessage#0","source":"assistant","target":"acme","job_id":"639b25fb-69e1-4da8-aa68-f89974dd75fd","data":{"i":0}}}',
    ),
    (
        30,
        0,
        bus.BusJobStreamEndMessage(**BACK, job_id=STREAM, data={"total": 3}),
        b'{"__type__":"pipecat.bus.messages.BusJobStreamEndMessage","__data__":{"id":30,"name":"BusJobStreamEndMessage#0","source":"assistant","target":"acme","job_id":"639b25fb-69e1-4da8-aa68-f89974dd75fd","data":{"total":3}}}',
    ),
    (
        64,
        0,
        bus.BusFrameMessage(
            **OUT,
            frame=TextFrame(id=63, name="TextFrame#0", text="hello frame"),
            direction=FrameDirection.DOWNSTREAM,
            bridge="voice",
        ),
        b'{"__type__":"pipecat.bus.messages.BusFrameMessage","__data__":{"id":64,"name":"BusFrameMessage#0","source":"acme","target":"assistant","frame":{"__type__":"pipecat.frames.frames.TextFrame","__data__":{"id":63,"name":"TextFrame#0","metadata":{},"interruptible":true,"text":"hello frame","includes_inter_frame_spaces":false,"append_to_context":true}},"direction":{"__type__":"pipecat.processors.frame_processor.FrameDirection","__data__":"DOWNSTREAM"},"bridge":"voice"}}',
    ),
    (
        74,
        0,
        bus.BusTTSSpeakMessage(**BACK, text="say this", append_to_context=True),
        b'{"__type__":"pipecat.bus.messages.BusTTSSpeakMessage","__data__":{"id":74,"name":"BusTTSSpeakMessage#0","source":"assistant","target":"acme","text":"say this","append_to_context":true}}',
    ),
]
