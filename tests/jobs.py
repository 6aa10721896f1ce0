"""Workers that serve jobs for the tests, and what those tests look at."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import trio

from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Job,
    JobFailed,
    Worker,
    WorkerRunner,
    handles,
    job,
    message,
)


@attrs.frozen
class Count:
    n: int
    word: str = "x"


@attrs.frozen
class Counted:
    n: int


@message
class Note(BusDataMessage):
    n: int = 0


@message
class Alarm(BusSystemMessage):
    pass


class Server(Worker):
    """Serves one job for each way in which a handler can behave."""

    def __init__(self, name: str = "server", **settings: Any) -> None:
        super().__init__(name, **settings)
        self.log: list[Any] = []

    @handles(Note)
    async def note(self, message: Note) -> None:
        self.log.append(message.n)

    @job()
    async def count(self, job: Job, request: Count) -> Counted:
        self.log.append(request)
        return Counted(request.n)

    @job()
    async def echo(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return payload

    @job()
    async def nothing(self, job: Job, payload: dict[str, Any]) -> None:
        pass

    @job()
    async def boom(self, job: Job, payload: dict[str, Any]) -> None:
        raise KeyError("boom")

    @job()
    async def fail(self, job: Job, payload: dict[str, Any]) -> None:
        raise JobFailed("no luck", response={"tries": 3})

    @job()
    async def hang(self, job: Job, payload: dict[str, Any]) -> None:
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            self.log.append(("cancelled", trio.current_time(), cancelled.reason))
            raise

    @job()
    async def nap(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        self.log.append(("begin", payload.get("i"), trio.current_time()))
        await trio.sleep(payload["seconds"])
        return payload

    @job(sequential=True)
    async def serially(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        return await self.nap(job, payload)

    @job()
    async def linger(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        with trio.CancelScope(shield=True):
            await trio.sleep(payload["seconds"])
        return payload

    @job()
    async def updates(self, job: Job, payload: dict[str, Any]) -> None:
        for i in range(payload["n"]):
            await job.update({"i": i}, urgent=bool(payload.get("urgent")))
            self.log.append(i)

    @job()
    async def lines(self, job: Job, payload: dict[str, Any]) -> None:
        await job.stream_start({"n": 2})
        await job.stream({"i": 0})
        await job.stream({"i": 1})
        await job.stream_end({"total": 2})


Act = Callable[..., Awaitable[Any]]


class Actor(Worker):
    """Does what the test passes: at its start, for a `Note`, an `Alarm`, or as a job."""

    def __init__(
        self,
        name: str,
        *,
        start: Act | None = None,
        note: Act | None = None,
        alarm: Act | None = None,
        serve: Act | None = None,
        stop: Act | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(name, **settings)
        self.acts = {"start": start, "note": note, "alarm": alarm, "serve": serve, "stop": stop}

    async def act(self, what: str, *args: Any) -> Any:
        function = self.acts[what]
        return None if function is None else await function(self, *args)

    async def on_start(self) -> None:
        await self.act("start")

    async def on_stop(self) -> None:
        await self.act("stop")

    @handles(Note)
    async def note(self, message: Note) -> None:
        await self.act("note")

    @handles(Alarm)
    async def alarm(self, message: Alarm) -> None:
        await self.act("alarm")

    @job()
    async def serve(self, job: Job, payload: dict[str, Any]) -> dict[str, Any] | None:
        return await self.act("serve", job, payload)

    @job(sequential=True)
    async def serially(self, job: Job, payload: dict[str, Any]) -> dict[str, Any] | None:
        return await self.act("serve", job, payload)


def idle(runner: WorkerRunner) -> bool:
    """Tell whether no table holds anything of a job."""
    routes = [runner.bus.route(each.name) for each in runner.children.values()]
    desks: list[Any] = [getattr(route, "_desk", None) for route in routes]
    boxes: list[Any] = [getattr(route, "mailbox", None) for route in routes]
    return (
        not runner.bus.open_requests
        and not runner.bus.waits.edges
        and not any(desk.running or desk.queue for desk in desks if desk is not None)
        and not any(box.data or box.waiting or box.requests for box in boxes if box is not None)
    )


async def outcome_of(asked: Awaitable[Any]) -> Any:
    """Return what an ask returns, or the exception it raises."""
    try:
        return await asked
    except Exception as error:  # noqa: BLE001 - it is what is looked at
        return error
