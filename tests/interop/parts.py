"""What our workers do in a session with a real process of others, whichever it is."""

from __future__ import annotations

from typing import Any, ClassVar

import attrs
import trio

from trioworkers import Job, JobFailed, Worker, job

__all__ = ["BIG", "AcmePart", "AssistantPart", "Serving", "TextFrame"]

BIG = {"text": "Gr\u00fc\u00dfe \u2603 " * 20_000, "rows": [{"i": i} for i in range(10_000)]}


@attrs.frozen
class TextFrame:
    """Pipecat's, with the field that matters."""

    wire_name: ClassVar[str] = "pipecat.frames.frames.TextFrame"

    text: str
    includes_inter_frame_spaces: bool = False
    append_to_context: bool = True


class AcmePart(Worker):
    """Asks the assistant, and is asked back."""

    def __init__(self) -> None:
        super().__init__("acme")
        self.tell, self.heard = trio.open_memory_channel[Any](100)

    @job()
    async def shout(self, job: Job, request: dict[str, Any]) -> dict[str, Any]:
        await job.update({"breath": "deep"})
        return {"text": request["text"].upper()}

    async def told(self, name: str, payload: dict[str, Any] | None = None) -> Any:
        """Do a job; return its events and its response."""
        async with self.job("assistant", name, payload) as pending:
            events = [(event.type, event.data) async for event in pending]
        return events, pending.response


class Serving(Worker):
    """Has the jobs that every assistant has."""

    @job()
    async def count(self, job: Job, request: dict[str, Any]) -> dict[str, Any]:
        for i in range(request["n"]):
            await job.update({"i": i})
        return {"counted": request["n"]}

    @job()
    async def urgent(self, job: Job, request: dict[str, Any] | None) -> dict[str, Any]:
        await job.update({"u": 1}, urgent=True)
        return {"urgent": True}

    @job()
    async def stream(self, job: Job, request: dict[str, Any]) -> None:
        await job.stream_start({"n": request["n"]})
        for i in range(request["n"]):
            await job.stream({"i": i})
        await job.stream_end({"total": request["n"]})


class AssistantPart(Serving):
    """Serves every kind of job."""

    def __init__(self) -> None:
        super().__init__("assistant", active=False)
        self.reasons: list[str | None] = []
        self.asked: dict[str, trio.Event] = {}

    async def on_job_update_requested(self, job: Job) -> None:
        await job.update({"progress": "half"})
        self.asked[job.id].set()

    @job()
    async def fail(self, job: Job, request: dict[str, Any] | None) -> None:
        raise JobFailed("business", response={"why": "business"})

    @job()
    async def boom(self, job: Job, request: dict[str, Any] | None) -> None:
        raise ValueError("boom")

    @job()
    async def sleep(self, job: Job, request: dict[str, Any] | None) -> None:
        try:
            await job.update({"asleep": True})
            await trio.sleep_forever()
        except trio.Cancelled as error:
            self.reasons.append(error.reason)
            raise

    @job()
    async def echo(self, job: Job, request: dict[str, Any]) -> dict[str, Any]:
        return request

    @job()
    async def progress(self, job: Job, request: dict[str, Any] | None) -> dict[str, Any]:
        asked = self.asked[job.id] = trio.Event()
        await job.update({"started": True})
        await asked.wait()
        return {"done": True}

    @job()
    async def cancelled(self, job: Job, request: dict[str, Any] | None) -> dict[str, Any]:
        return {"reasons": self.reasons}

    @job()
    async def call_back(self, job: Job, request: dict[str, Any] | None) -> dict[str, Any]:
        async with self.job("acme", "shout", {"text": "hey"}) as pending:
            events = [[event.type, event.data] async for event in pending]
        return {"events": events, "response": pending.response}
