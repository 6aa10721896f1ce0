"""A link is lost, in every way, over real sockets and in both roles."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

from tests.jobs import outcome_of
from tests.proxies import links
from tests.proxies.links import Meeting, Server
from tests.proxies.pairs import Far, LoggedServer, Side
from tests.proxies.relays import Relay, relay
from tests.proxies.sockets import Sessions, TcpClient
from tests.proxies.test_listener import stalled_hypercorn
from trioworkers import (
    Backoff,
    BusJobRequestMessage,
    Job,
    JobEvent,
    Worker,
    WorkerGoneError,
    WorkerState,
    job,
    open_runner,
)
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies.transports import Transport, transport_for

pytestmark = pytest.mark.usefixtures("carrier", "dialect")

ROOT = Path(__file__).resolve().parents[2]


class Local(Worker):
    """Has jobs that do not end by themselves."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.begun = trio.Event()
        self.go = trio.Event()
        self.cancelled: list[str | None] = []
        self.outcomes: list[Any] = []

    @job()
    async def hang(self, job: Job, payload: dict[str, Any]) -> None:
        self.begun.set()
        try:
            await trio.sleep_forever()
        except trio.Cancelled as cancelled:
            self.cancelled.append(cancelled.reason)
            raise

    @job()
    async def wait(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        self.begun.set()
        await self.go.wait()
        return payload

    async def keep_asking(self, name: str, what: str) -> None:
        """Ask, and keep what comes of it."""
        self.outcomes.append(await outcome_of(self.ask(name, what, {"n": 1})))

    async def read_events(self, name: str) -> None:
        """Open a job and read its events; keep what comes of it."""
        try:
            async with self.job(name, "hang", {}) as pending:
                events: list[JobEvent] = [event async for event in pending]
                self.outcomes.append(events)
        except WorkerGoneError as error:
            self.outcomes.append(error)


@attrs.define
class Scene:
    """One of our runners, its peer, and what stands between them."""

    side: Side
    far: Far
    relay: Relay

    @property
    def local(self) -> Local:
        found: Local = self.side.worker(self.far.you)
        return found


def bystanders() -> tuple[Local, Local]:
    """Make workers on the same runner that have nothing to do with the link."""
    return Local("neighbour"), Local("watcher")


@contextlib.asynccontextmanager
async def at_the_client(**settings: Any) -> AsyncGenerator[Scene]:
    """Run our client; the server is the test."""
    meeting = Meeting()
    async with links.ours(meeting) as port, relay(port) as between:
        proxy = TcpClient(between.port, **settings)
        async with open_runner(Local("acme"), *bystanders(), proxy) as runner:
            far = Far(await meeting.arrive(), "assistant", "acme")
            yield Scene(Side(runner, proxy), far, between)
            meeting.over.set()


@contextlib.asynccontextmanager
async def at_a_server(server: Server, **settings: Any) -> AsyncGenerator[Scene]:
    """Run our server proxy; the client is the test."""
    async with trio.open_nursery() as outer:
        # Quart would cancel the runner with the handler, of which it would be a part.
        nursery = outer if server is links.quart else None
        sessions = Sessions(Local("assistant"), *bystanders(), nursery=nursery, **settings)
        async with meet(server, sessions) as scene:
            yield scene


@contextlib.asynccontextmanager
async def meet(server: Server, sessions: Sessions) -> AsyncGenerator[Scene]:
    """Connect to a server."""
    async with server(sessions) as port, relay(port) as between:
        async with trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{between.port}/ws"
            end = await open_client_transport(
                url, nursery=nursery, transport=links.CARRIER, subprotocols=links.offered()
            )
            yield Scene(await sessions.side(), Far(end), between)
            sessions.over.set()
            await end.abort()


async def check_loss(scene: Scene, lose: Callable[[], Awaitable[object]], says: str = "") -> None:
    """Lose the link while jobs are open in both directions; look at everybody."""
    side, far, local = scene.side, scene.far, scene.local
    neighbour, watcher = side.worker("neighbour"), side.worker("watcher")
    async with trio.open_nursery() as nursery:
        await far.announce()
        await side.runner.registry.wait_ready(far.me)
        nursery.start_soon(local.keep_asking, far.me, "one")
        nursery.start_soon(local.read_events, far.me)
        nursery.start_soon(watcher.keep_asking, "neighbour", "wait")
        await far.hear(BusJobRequestMessage)
        await far.hear(BusJobRequestMessage)
        await far.tell(BusJobRequestMessage, job_id="theirs", job_name="hang", payload={})
        await local.begun.wait()
        await neighbour.begun.wait()
        nursery.start_soon(lose)
        await side.proxy.wait_stopped()
        assert watcher.outcomes == []
        neighbour.go.set()
    check_after(side, local, far.me, says)
    assert watcher.outcomes == [{"n": 1}]
    assert neighbour.cancelled == []
    for each in (local, neighbour, watcher):
        assert each.state is WorkerState.READY


def check_after(side: Side, local: Local, remote: str, says: str) -> None:
    """Check that everybody concerned knows of the loss, once, and nothing is left."""
    assert side.proxy.events == ["connected", "disconnected"]
    assert remote not in side.runner.registry
    assert side.runner.bus.route(remote) is None
    assert side.clean()
    for outcome in local.outcomes:
        assert isinstance(outcome, WorkerGoneError)
        assert f"the link to it is lost: {says}" in str(outcome)
    assert len(local.outcomes) == 2
    (reason,) = local.cancelled
    assert reason is not None
    assert f"the link is lost: {says}" in reason


CODES = [1000, 1001, 1009, 1011, 4000]
SERVERS = pytest.mark.parametrize("server", links.SERVERS.values(), ids=list(links.SERVERS))


@pytest.mark.parametrize("code", CODES)
async def test_the_server_closes(code: int) -> None:
    """S-PROXY-3, S-PROXY-9: a client whose server closes, whatever the code, knows all that."""
    with trio.fail_after(30):
        async with at_the_client() as scene:
            await check_loss(scene, lambda: scene.far.end.close(code, "bye"), f"{code} bye")


@SERVERS
@pytest.mark.parametrize("code", CODES)
async def test_the_client_closes(server: Server, code: int) -> None:
    """S-PROXY-3, S-PROXY-9: the same for a server proxy on any kind of connection."""
    with trio.fail_after(30):
        async with at_a_server(server) as scene:
            await check_loss(scene, lambda: scene.far.end.close(code, "bye"))


async def drop(scene: Scene) -> None:
    """End the connection without a close frame."""
    await scene.far.end.abort()


async def reset(scene: Scene) -> None:
    """End it by a TCP reset."""
    scene.relay.cut()


async def freeze(scene: Scene) -> None:
    """Let nothing through any more, without telling anybody."""
    scene.relay.up.allow(0)
    scene.relay.down.allow(0)


@pytest.mark.parametrize("lose", [drop, reset, freeze])
async def test_the_server_goes_without_a_word(lose: Callable[[Scene], Awaitable[None]]) -> None:
    """S-PROXY-3, S-PROXY-5: dropped, reset, or silent for two intervals: the link is lost, 1006."""
    with trio.fail_after(30):
        async with at_the_client(heartbeat=0.1 if lose is freeze else 20.0) as scene:
            await check_loss(scene, lambda: lose(scene), "1006")
            scene.relay.allow_all()


@SERVERS
@pytest.mark.parametrize("lose", [drop, reset, freeze])
async def test_the_client_goes_without_a_word(
    server: Server, lose: Callable[[Scene], Awaitable[None]]
) -> None:
    """S-PROXY-3, S-PROXY-5: the same for a server proxy; silence under ASGI is for the server."""
    if lose is freeze and server in (links.fastapi, links.quart):
        pytest.skip("under ASGI finding silent peers is the server's business")
    with trio.fail_after(30):
        async with at_a_server(server, heartbeat=0.1 if lose is freeze else 20.0) as scene:
            await check_loss(scene, lambda: lose(scene))
            scene.relay.allow_all()


@pytest.mark.parametrize("lose", [1000, 1011, drop, reset])
async def test_a_client_comes_back(lose: Any) -> None:
    """S-PROXY-9: whatever the way, the link is made again; an ask that waited then is answered."""
    reconnect = Backoff(initial=0.01, maximum=0.01, jitter=0.0)
    meeting = Meeting()
    with trio.fail_after(30):
        async with links.ours(meeting) as port, relay(port) as between:
            proxy = TcpClient(between.port, reconnect=reconnect)
            acme = Local("acme")
            async with open_runner(acme, proxy) as runner, trio.open_nursery() as nursery:
                scene = Scene(
                    Side(runner, proxy), Far(await meeting.arrive(), "assistant", "acme"), between
                )
                nursery.start_soon(acme.keep_asking, "assistant", "one")
                await scene.far.hear(BusJobRequestMessage)
                await (scene.far.end.close(lose) if isinstance(lose, int) else lose(scene))
                again = Far(await meeting.arrive(), "assistant", "acme")
                await again.announce()
                await runner.registry.wait_ready("assistant")
                assert isinstance(acme.outcomes[0], WorkerGoneError)
                assert proxy.events == ["connected", "disconnected", "connected"]
                nursery.start_soon(acme.keep_asking, "assistant", "two")
                request = await again.hear(BusJobRequestMessage)
                assert request.job_name == "two"
                nursery.cancel_scope.cancel()
                meeting.over.set()


@contextlib.asynccontextmanager
async def process(*arguments: str) -> AsyncIterator[trio.Process]:
    """Run the other side in a process of its own; kill it in the end."""
    command = [sys.executable, "-m", "tests.proxies.far_process", links.CARRIER, *arguments]
    child = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        yield child
    finally:
        child.kill()
        with trio.CancelScope(shield=True):
            await child.wait()
        assert child.stdout is not None
        await child.stdout.aclose()  # noqa: ASYNC102


async def line(child: trio.Process) -> str:
    """Read what the other process says next."""
    assert child.stdout is not None
    text = b""
    with trio.fail_after(30):
        while not text.endswith(b"\n"):
            text += await child.stdout.receive_some()
    return text.decode().strip()


async def check_process(side: Side, child: trio.Process, remote: str, how: signal.Signals) -> None:
    """Stop or kill the peer's process while jobs are open in both directions."""
    local: Local = side.worker("acme" if remote == "assistant" else "assistant")
    with trio.fail_after(30):
        await side.runner.registry.wait_ready(remote)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(local.keep_asking, remote, "hang")
            nursery.start_soon(local.read_events, remote)
            await local.begun.wait()
            child.send_signal(how)
            await side.proxy.wait_stopped()
    check_after(side, local, remote, "1006")
    if how == signal.SIGSTOP:
        child.send_signal(signal.SIGCONT)
        said = await line(child)
        await child.wait()
        assert (said, child.returncode) == ("lost", 0)
        with trio.fail_after(30):
            await child.wait()


SIGNALS = pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])


@SIGNALS
async def test_the_servers_process_dies(how: signal.Signals) -> None:
    """S-PROXY-3, S-PROXY-5: a killed process is known at once, a stopped one by its silence."""
    async with process("server") as child:
        proxy = TcpClient(int(await line(child)), heartbeat=0.2)
        async with open_runner(Local("acme"), proxy) as runner:
            await check_process(Side(runner, proxy), child, "assistant", how)


@SIGNALS
async def test_the_clients_process_dies(how: signal.Signals) -> None:
    """S-PROXY-3, S-PROXY-5: the same for a server that loses its client."""
    sessions = Sessions(Local("assistant"), heartbeat=0.2)
    async with links.ours(sessions) as port:
        async with process("client", str(port)) as child:
            side = await sessions.side()
            await check_process(side, child, "acme", how)
            sessions.over.set()


class Flood(Worker):
    """Asks for more than fits into a socket."""

    async def on_start(self) -> None:
        """Begin."""
        for _ in range(60):
            self.nursery.start_soon(self.ask, "acme", "anything", {"x": "y" * 200_000})


class Flooding(Meeting):
    """Runs sessions that flood whoever has connected."""

    def __init__(self, talker: Meeting) -> None:
        super().__init__()
        self._talker = talker

    async def host(self, websocket: Any) -> None:
        """Run a session."""
        transport: Transport = transport_for(websocket)
        proxy = LoggedServer(transport)
        async with open_runner(Flood("assistant"), proxy):
            await self._talker._give.send(transport)
            await proxy.wait_stopped()


@pytest.mark.parametrize("ending", ["cancel", "shutdown"])
@pytest.mark.parametrize("make_app", [links.fastapi_app, links.quart_app])
async def test_hypercorn_ends_although_a_sessions_peer_has_stopped_reading(
    make_app: Callable[[Meeting], Any], ending: str
) -> None:
    """S-PROXY-11: with the guarded listener Hypercorn ends, also with a proxy that is stuck."""

    def make(talker: Meeting) -> Any:
        return make_app(Flooding(talker))

    await stalled_hypercorn(make, ending, user_timeout=0.3, within=30)
