"""An attacker, with a socket and the docs, and the scene of the attack."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import attrs
import trio
import trio.testing

from tests.proxies.portals import Letters
from tests.proxies.serving import connected, knock, serving
from trioworkers import (
    BusDataMessage,
    BusSystemMessage,
    Worker,
    WorkerGoneError,
    WorkerRunner,
    WorkerState,
)
from trioworkers.proxies import IncomingConnection, WebSocketProxyServer
from trioworkers.testing import Probe

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
MODULE = "pipecat.bus.messages."


def said(tag: str, **data: Any) -> bytes:
    """Write a message by hand; `acme` to `assistant` if nothing else is said."""
    full = {"source": "acme", "target": "assistant", **data}
    return json.dumps({"__type__": tag, "__data__": full}).encode()


def built(tag: str, **data: Any) -> bytes:
    """Write one of the built-in messages."""
    return said(MODULE + tag, **data)


ECHO = built("BusJobRequestMessage", job_id="probe", job_name="echo", payload={"n": 1})


def frame(
    payload: bytes = b"",
    code: int = BINARY,
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = b"\x01\x02\x03\x04",
    size: int | None = None,
    wide: int | None = None,
) -> bytes:
    """Write a frame, right or wrong; `size` lies, `wide` is how many bytes tell the size."""
    length = len(payload) if size is None else size
    flag = 0 if mask is None else 0x80
    if wide is None:
        wide = 0 if length < 126 else 2 if length < 1 << 16 else 8
    short = {0: length, 2: 126, 8: 127}[wide]
    head = bytes((final << 7 | reserved << 4 | code, flag | short))
    head += length.to_bytes(wide, "big") if wide else b""
    if mask is None:
        return head + payload
    pad = (mask * (len(payload) // 4 + 1))[: len(payload)]
    covered = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
    return head + mask + covered.to_bytes(len(payload), "big")


class Attacker:
    """One raw connection."""

    def __init__(self, stream: trio.SocketStream, mask: bytes | None = b"\x01\x02\x03\x04") -> None:
        self.stream = stream
        self.mask = mask
        self._data = bytearray()

    async def send(self, *pieces: bytes) -> None:
        """Send bytes as they are; that the other side has gone is no surprise."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.stream.send_all(b"".join(pieces))

    async def say(self, *messages: bytes) -> None:
        """Send messages in good frames."""
        await self.send(*(frame(each, mask=self.mask) for each in messages))

    async def _need(self, count: int) -> bytes:
        while len(self._data) < count:
            data = await self.stream.receive_some()
            if not data:
                raise EOFError
            self._data += data
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    async def frame(self) -> tuple[int, bytes]:
        """Read a frame."""
        first, second = await self._need(2)
        size = second & 127
        if size > 125:
            size = int.from_bytes(await self._need(2 if size == 126 else 8), "big")
        mask = await self._need(4) if second & 128 else bytes(4)
        payload = await self._need(size)
        return first & 15, bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """Read until a message of one of these types; return its fields."""
        with trio.fail_after(30):
            while True:
                code, payload = await self.frame()
                if code not in (TEXT, BINARY):
                    assert code in (PING, PONG), payload
                    continue
                message = json.loads(payload)
                if message["__type__"].removeprefix(MODULE) in kinds:
                    data: dict[str, Any] = message["__data__"]
                    return data

    async def echo(self) -> None:
        """Check that the connection works."""
        await self.say(ECHO)
        while (answer := await self.hear("BusJobResponseMessage"))["job_id"] != "probe":
            pass
        assert answer["response"] == {"n": 1}

    async def until_closed(self) -> int:
        """Read until the end, and agree to it; return the close code, 1006 if there was none."""
        closed = 1006
        with trio.fail_after(30), contextlib.suppress(EOFError, trio.BrokenResourceError):
            while True:
                code, payload = await self.frame()
                if code == CLOSE:
                    closed = int.from_bytes(payload[:2], "big")
                    # Unless another task of the attacker is still in the middle of something.
                    with contextlib.suppress(trio.BusyResourceError):
                        await self.send(frame(payload[:2], CLOSE, mask=self.mask))
                    break
        return closed


class Victim(Probe):
    """The worker that a peer may talk to: keeps everything, and answers `echo` at once."""

    def __init__(self, name: str) -> None:
        super().__init__(name, hears=[BusDataMessage, BusSystemMessage])
        self.letters = Letters()

    async def on_start(self) -> None:
        self.runner.add_instrument(self.letters)
        self.nursery.start_soon(self.serve)

    async def serve(self) -> None:
        """Answer."""
        with contextlib.suppress(WorkerGoneError):  # it stops
            while True:
                asked = await self.next_job()
                if asked.name == "echo":
                    asked.answer(asked.payload)
                elif asked.name == "fail":
                    asked.crash(ValueError("no"))


class Bystander(Probe):
    """A worker that hears all there is on its bus, and has nothing to do with the peer."""

    def __init__(self, name: str = "bystander") -> None:
        super().__init__(name, hears=[BusDataMessage, BusSystemMessage])


@attrs.define(eq=False)
class Session:
    """What one client got."""

    victim: Victim
    bystander: Bystander
    proxy: Any

    @property
    def runner(self) -> WorkerRunner:
        found: WorkerRunner = self.victim.runner
        return found

    def said(self) -> str:
        """Take the dead letters, as text."""
        return "\n".join(f"{reason}: {detail}" for reason, detail in self.victim.letters.take())

    def untouched(self, *names: str) -> None:
        """Check that the bystander has noticed nothing, and that everybody lives."""
        assert self.bystander._messages == []
        assert self.bystander._jobs == []
        for worker in (self.victim, self.bystander):
            assert worker.state is WorkerState.READY
        known = {entry.name for entry in self.runner.registry.entries()}
        assert known == {"assistant", "bystander", "gateway", *names}
        assert self.runner.stop_reason is None


class Scene:
    """A server with one client that behaves."""

    def __init__(self, port: int, sessions: list[Session], good: Worker) -> None:
        self.port = port
        self.sessions = sessions
        self.good = good

    @contextlib.asynccontextmanager
    async def attacker(self, *headers: str) -> AsyncIterator[tuple[Attacker, Session]]:
        """Connect."""
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            before = len(self.sessions)
            assert (await knock(stream, *headers))[0] == 101
            attacker = Attacker(stream)
            await attacker.hear("BusWorkerRegistryMessage")
            yield attacker, self.sessions[before]

    async def check(self) -> None:
        """Check that the client that behaves has noticed nothing, and that others can connect."""
        first = self.sessions[0]
        first.untouched("acme")
        assert first.victim._messages == []
        assert first.said() == ""
        with trio.fail_after(30):
            assert await self.good.ask("assistant", "echo", {"n": 2}) == {"n": 2}
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                assert (await knock(stream))[0] == 101


@contextlib.asynccontextmanager
async def attacked(**settings: Any) -> AsyncIterator[Scene]:
    """Serve sessions with bystanders; one client that behaves is there, in the middle of a job."""
    sessions: list[Session] = []
    rules = {key: settings.pop(key) for key in ("forward_messages", "heartbeat") if key in settings}

    async def build(websocket: IncomingConnection) -> list[Worker]:
        proxy = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="assistant",
            remote_worker_name="acme",
            **rules,
        )
        session = Session(Victim("assistant"), Bystander(), proxy)
        sessions.append(session)
        return [session.victim, session.bystander, proxy]

    async with serving(build, **settings) as listener, connected(listener) as good:
        outcomes: list[Any] = []

        async def stay() -> None:
            outcomes.append(await good.ask("assistant", "stay", {}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(stay)
            await trio.testing.wait_all_tasks_blocked()
            yield Scene(listener.port, sessions, good)
            assert outcomes == []
            nursery.cancel_scope.cancel()
