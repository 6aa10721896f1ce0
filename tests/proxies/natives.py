"""The other side of a native link, in the test's hands: a session of `wire` without a proxy."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import count
from typing import Any

import trio

from trioworkers import BusJobCancelMessage, BusMessage, BusSystemMessage
from trioworkers.abc import MessageSerializer
from trioworkers.proxies._native import is_hello
from trioworkers.proxies._outbox import Packed
from trioworkers.wire.chunks import Lane
from trioworkers.wire.epoch import Cancelled, Epoch
from trioworkers.wire.flow import Arrived
from trioworkers.wire.hello import LinkLimits
from trioworkers.wire.lanes import Lanes
from trioworkers.wire.replies import REPLIES
from trioworkers.wire.session import Broken, Closed, Hold, Opened, Session, Speaker

_numbers = count()


class Native:
    """Turns messages into frames and back.  Cancels are shown as the messages they replace."""

    def __init__(
        self,
        serializer: MessageSerializer,
        limits: LinkLimits | None = None,
        *,
        me: str = "acme",
        you: str = "assistant",
    ) -> None:
        self.serializer = serializer
        self.me, self.you = me, you
        self.epoch = Epoch(f"test-{next(_numbers)}")
        self.session = Session(self.epoch, limits or LinkLimits(), trio.current_time())
        self.lanes: Lanes[Packed] = Lanes()
        # Whether what arrives is taken at once; if not, `taken` does it.
        self.takes = True
        self.arrived: deque[Arrived] = deque()
        self.cancels: list[Cancelled] = []
        self.heard: deque[BusMessage] = deque()
        self.holds: list[Hold] = []
        self.goodbye: Closed | None = None

    def put(self, message: BusMessage | bytes, deadline: float = float("inf")) -> None:
        """Let a message wait to leave."""
        if isinstance(message, bytes):
            self.lanes.put(Packed(None, message, None, False), len(message))
            return
        frame = self.serializer.serialize(message)
        reply = type(message) in REPLIES
        job: str | None = getattr(message, "job_id") if reply else None  # noqa: B009
        packed = Packed(message, frame, job, isinstance(message, BusSystemMessage), deadline)
        put = self.lanes.put_urgent if packed.urgent else self.lanes.put
        put(packed, len(frame), job)

    def cancel(self, job_id: str, reason: str | None, path: str, after: int = 0) -> None:
        """Cancel a job of this side's."""
        self.session.cancel(Cancelled(job_id, reason, path, after))

    def frames(self) -> Iterator[bytes]:
        """Yield what may leave now."""
        while frame := self.session.next_frame(self.lanes, trio.current_time()):
            yield frame

    def hear(self, frame: bytes | str) -> None:
        """Take a frame; what comes in Pipecat's format before the hello is left out."""
        assert isinstance(frame, bytes)
        if self.session.theirs is Speaker.SILENT and not is_hello(frame):
            return
        for event in self.session.receive(frame, trio.current_time()):
            match event:
                case Arrived():
                    self.arrived.append(event)
                    self.heard.append(self.serializer.deserialize(event.body))
                    if self.takes:
                        self.session.taken(event.lane)
                case Cancelled():
                    self.cancels.append(event)
                    fields: dict[str, Any] = {"source": self.you, "target": self.me}
                    self.heard.append(
                        BusJobCancelMessage(job_id=event.job_id, reason=event.reason, **fields)
                    )
                case Hold():
                    self.holds.append(event)
                case Closed():
                    self.goodbye = event
                case Broken():
                    raise AssertionError(event.reason)
                case Opened():
                    pass

    def taken(self, lane: Lane, number: int = 1) -> None:
        """Take the oldest messages of a lane."""
        for _ in range(number):
            self.session.taken(lane)
