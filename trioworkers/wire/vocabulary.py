"""What Pipecat's JSON calls things, now and in the older package.

What is now `pipecat.bus` was the package `pipecat-ai-subagents` before: a worker was an agent, and
a job was a task.  Its messages were frames, and carry what every frame has; beyond that the two
formats are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from .. import messages as bus
from .._values import WorkerRegistryEntry
from ..messages import BusMessage, FrameDirection

__all__ = ["BASES", "OF_FRAMES", "PIPECAT", "SUBAGENTS", "Vocabulary"]

# What a frame has beside its own fields.
OF_FRAMES = (
    *("id", "name", "pts", "broadcast_sibling_id", "metadata"),
    *("transport_source", "transport_destination", "interruptible"),
)

BASES = frozenset({bus.BusMessage, bus.BusDataMessage, bus.BusSystemMessage, bus.BusUIDataMessage})
_UI = frozenset(
    {
        bus.BusUICommandMessage,
        bus.BusUIEventMessage,
        bus.BusUIJobCompletedMessage,
        bus.BusUIJobGroupCompletedMessage,
        bus.BusUIJobGroupStartedMessage,
        bus.BusUIJobUpdateMessage,
    }
)
_BUILT_IN: list[type[BusMessage]] = [
    cls
    for cls in (getattr(bus, name) for name in bus.__all__)
    if isinstance(cls, type) and bus.is_message_class(cls) and cls not in BASES
]


@attrs.frozen(eq=False)
class Vocabulary:
    """What one package calls the messages of this one, and what it knows beside them.

    Args:
        messages: the tags of the package's own messages; those that are not in it are unknown.
        values: the tags of what stands in their fields.
        keys: the fields of these messages that have another name, ours to theirs.
        ignored: what a peer adds to each message, for itself.
        added: what is added to each message after `id` and `name`, as the peer does.
        foreign: messages that this package has not, and why they end here.
    """

    messages: Mapping[type[BusMessage], str]
    values: Mapping[type, str]
    keys: Mapping[str, str] = {}
    ignored: Iterable[str] = ("id", "name")
    added: tuple[tuple[str, Any], ...] = ()
    foreign: Mapping[str, str] = {}


_DIRECTION = {FrameDirection: "pipecat.processors.frame_processor.FrameDirection"}

PIPECAT = Vocabulary(
    messages={
        cls: f"pipecat.bus.{'ui.' if cls in _UI else ''}messages.{cls.__name__}"
        for cls in _BUILT_IN
    },
    values=_DIRECTION | {WorkerRegistryEntry: "pipecat.registry.types.WorkerRegistryEntry"},
    foreign={
        "pipecat.bus.messages.BusFlushProgressMessage": (
            "it tells Pipecat's pipelines about each other"
        )
    },
)


def _older(name: str) -> str:
    return name.replace("Worker", "Agent").replace("Job", "Task")


SUBAGENTS = Vocabulary(
    messages={
        cls: f"pipecat_subagents.bus.messages.{_older(cls.__name__)}"
        for cls in _BUILT_IN
        if cls not in _UI and cls is not bus.BusTTSSpeakMessage
    },
    values=_DIRECTION | {WorkerRegistryEntry: "pipecat_subagents.types.AgentRegistryEntry"},
    keys={"job_id": "task_id", "job_name": "task_name", "workers": "agents"},
    ignored=OF_FRAMES,
    added=(("metadata", {}), ("interruptible", True)),
)
