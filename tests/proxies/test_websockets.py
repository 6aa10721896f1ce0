"""Connections on the core of `websockets`: what is theirs alone."""

from __future__ import annotations

import contextlib
import itertools
import ssl
import subprocess
import sys
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
import trustme
from hypothesis import given
from hypothesis import strategies as st

from tests.proxies import links
from tests.proxies.attackers import CLOSE, TEXT, Attacker, frame
from tests.proxies.links import Meeting, both, link, send_text, websockets
from tests.proxies.serving import build, connected, knock, request, serving
from trioworkers.proxies import WebSocketProxyClient, serve_proxies
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._incoming import receive_request
from trioworkers.proxies._line import Line
from trioworkers.proxies._pieces import Pieces
from trioworkers.proxies._transport import LinkClosed, Transport
from trioworkers.proxies._websockets import MASKED_IN_C, QUEUE, UNMASKED_IN_C, WebsocketsTransport

NAMES: Any = {"url": "ws://127.0.0.1:1/", "local_worker_name": "a", "remote_worker_name": "b"}

FRESH = """
import sys
from trioworkers.proxies import WebSocketProxyClient
assert not [name for name in sys.modules if name.split(".")[0] == "websockets"]
make = lambda: WebSocketProxyClient(
    "proxy", url="ws://host/", local_worker_name="a", remote_worker_name="b", transport="websockets"
)
"""


def in_a_fresh_process(program: str) -> str:
    """Run a program; return what it prints."""
    command = [sys.executable, "-c", FRESH + program]
    return subprocess.run(command, capture_output=True, check=True, text=True, timeout=60).stdout


def test_it_is_imported_where_it_is_asked_for() -> None:
    """S-PROXY-1: `websockets` is not imported before, and never brings asyncio along."""
    program = "make(); print('websockets.client' in sys.modules, 'asyncio' in sys.modules)"
    assert in_a_fresh_process(program) == "True False\n"


def test_it_is_not_installed() -> None:
    """S-PROXY-1: without the extra the error says what to install."""
    program = "sys.modules['websockets'] = None\ntry: make()\nexcept ImportError as e: print(e)\n"
    said = in_a_fresh_process(program)
    assert "transport='websockets' needs an extra" in said
    assert "pip install 'trioworkers[websockets]'" in said


async def test_transports_that_there_are_not() -> None:
    """S-PROXY-1: a transport that does not exist is refused where it is chosen."""
    says = "transport must be 'trio-websocket' or 'websockets', not 'picows'"
    with pytest.raises(ValueError, match=says):
        WebSocketProxyClient("proxy", transport="picows", **NAMES)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=says):
        await serve_proxies(build, "127.0.0.1", 0, transport="picows")  # type: ignore[arg-type]


# Pieces


@given(st.text(), st.lists(st.integers(0, 40)))
def test_a_text_in_pieces(text: str, cuts: list[int]) -> None:
    """S-PROXY-4: wherever a message is cut, also within a character, it is the same again."""
    data, pieces = text.encode(), Pieces()
    for as_text in (True, False):
        places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        parts = [data[one:other] for one, other in itertools.pairwise(places)]
        pieces.begin(parts[0], text=as_text)
        for part in parts[1:]:
            assert pieces.go_on(part, final=False) is None
        assert pieces.go_on(b"", final=True) == (text if as_text else data)
    assert pieces.whole(data, text=True) == text
    assert pieces.whole(bytearray(data), text=False) == data


def test_what_is_no_text_is_seen_early() -> None:
    """S-PROXY-4: the first frame that cannot be text is refused, and a character that is cut off."""
    pieces = Pieces()
    with pytest.raises(UnicodeDecodeError):
        pieces.begin(b"\xff", text=True)
    pieces.begin(b"\xc3", text=True)
    with pytest.raises(UnicodeDecodeError):
        pieces.go_on(b"\xc3", final=False)
    pieces.begin(b"\xc3", text=True)
    with pytest.raises(UnicodeDecodeError):
        pieces.go_on(b"", final=True)
    pieces.begin(b"\xff", text=False)
    assert pieces.go_on(b"\xff", final=True) == b"\xff\xff"


# Connections


SIZES = [0, 1, 125, 126, MASKED_IN_C - 1, MASKED_IN_C, UNMASKED_IN_C, UNMASKED_IN_C + 1, 65_536]


async def test_sizes() -> None:
    """S-PROXY-5: messages of sizes that go different ways keep their order, and are whole."""
    frames = [bytes([n]) * size for n, size in enumerate(SIZES * 3)]
    async with both() as (client, server):
        for one, other in ((client, server), (server, client)):
            got: list[bytes | str] = []
            with trio.move_on_after(5) as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(one.send, frames)

                    def take(
                        message: bytes | str,
                        got: list[bytes | str] = got,
                        scope: trio.CancelScope = scope,
                    ) -> None:
                        got.append(message)
                        if len(got) == len(frames):
                            scope.cancel()

                    await other.pump(take)
            assert got == frames


@pytest.mark.parametrize("text", [True, False])
async def test_who_does_not_receive_makes_the_peer_wait(text: bool) -> None:
    """S-PROXY-5: few messages wait for who does not receive; all of them arrive in the end."""
    async with both() as (client, server):
        assert isinstance(server, WebsocketsTransport)
        sent = 0

        async def talk() -> None:
            nonlocal sent
            for n in range(200):
                if text:
                    await send_text(client, f"{n:060000}")
                else:
                    await client.send([b"%060000d" % n])
                sent += 1

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(talk)
                while len(server._queue) < QUEUE:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert len(server._queue) == QUEUE
                assert sent < 200
                assert [int((await server.receive())[-3:]) for _ in range(200)] == list(range(200))


async def test_who_pumps_catches_up() -> None:
    """S-PROXY-5: who begins to pump late is soon handed small messages as directly as others."""
    total = 21 * 200
    async with both() as (client, server), trio.open_nursery() as nursery:
        assert isinstance(server, WebsocketsTransport)
        got: list[bytes | str] = []
        done = trio.Event()

        def take(message: bytes | str) -> None:
            got.append(message)
            if len(got) == total:
                done.set()

        await client.send([b"%d" % n for n in range(200)])
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert len(server._queue) == QUEUE
        nursery.start_soon(server.pump, take)
        with trio.fail_after(10):
            for start in range(200, total, 200):
                await client.send([b"%d" % n for n in range(start, start + 200)])
            await done.wait()
        assert got == [b"%d" % n for n in range(total)]
        assert server._line.stream._sieve.left_alone < total / 2
        nursery.cancel_scope.cancel()


async def test_what_came_before_the_end_is_received() -> None:
    """S-PROXY-9: the end of a connection is told behind the messages that came before it."""
    async with both() as (client, server):
        await client.send([b"%d" % n for n in range(3 * QUEUE)])
        await send_text(client, "last")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.close, 4000, "bye")
            with trio.fail_after(5):
                await trio.testing.wait_all_tasks_blocked(0.01)
                got = [await server.receive() for _ in range(3 * QUEUE + 1)]
                assert got == [*[b"%d" % n for n in range(3 * QUEUE)], "last"]
                with pytest.raises(LinkClosed, match="4000 bye, closed by peer"):
                    await server.receive()
                await server.abort()


async def accepted_from(raw: bytes) -> tuple[LinkClosed, list[bytes | str], bytes]:
    """Send bytes to a server; return how that ended, the messages, and what was answered."""
    meeting = Meeting()
    async with websockets(meeting) as port:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            await knock(stream)
            server = await meeting.arrive()
            await stream.send_all(raw)
            got: list[bytes | str] = []
            with trio.fail_after(5), pytest.raises(LinkClosed) as caught:
                while True:
                    got.append(await server.receive())
            await server.abort()
            answer = b""
            while data := await stream.receive_some():
                answer += data
            meeting.over.set()
            return caught.value, got, answer


async def test_text_that_is_none() -> None:
    """S-PROXY-4: it closes with 1007; what came before it is received, and nothing behind it."""
    raw = frame(b"good", TEXT) + frame(b"\xff", TEXT) + frame(b"late", TEXT) + frame(b"", CLOSE)
    end, got, answer = await accepted_from(raw)
    assert (end.code, end.by) in ((1007, "us"), (1005, "peer"))
    assert got == ["good"]
    assert answer[:1] == b"\x88"


@pytest.mark.parametrize("dialect", ["native", "pipecat"])
@pytest.mark.parametrize("client", ["trio-websocket", "websockets"])
@pytest.mark.parametrize("server", ["trio-websocket", "websockets"])
async def test_pairs(server: Any, client: Any, dialect: Any) -> None:
    """S-PROXY-1: what carries one side of a link is nothing to the other side."""
    async with serving(transport=server) as listener:
        async with connected(listener, transport=client, dialect=dialect) as acme:
            for size in (0, 100, 2000, 300_000):
                payload = {"text": "x" * size}
                assert await acme.ask("assistant", "echo", payload) == payload


@pytest.mark.parametrize("client", ["trio-websocket", "websockets"])
async def test_a_server_that_closes_over_tls(client: str) -> None:
    """S-PROXY-9: over TLS nobody can hang up halfway; an orderly close takes no longer for that."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)

    async def handle(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            line = Line(trio.SSLStream(stream, context, server_side=True), nursery)
            incoming, _ = await receive_request(line, 1000, "websockets")
            await incoming.transport.accept()
            with trio.fail_after(1):
                await incoming.transport.close(4000, "bye")
            await line.abort()

    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handle, [listener])
        transport = await open_client_transport(
            f"wss://localhost:{listener.socket.getsockname()[1]}/",
            nursery=nursery,
            ssl_context=trust,
            transport=client,
        )
        with trio.fail_after(5), pytest.raises(LinkClosed, match="4000 bye, closed by peer"):
            await transport.receive()
        await transport.close()
        await transport.abort()
        await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.cancel_scope.cancel()


async def test_no_extension_is_agreed_on() -> None:
    """S-PROXY-4: compression is neither offered nor taken."""
    async with serving(transport="websockets") as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            wish = "Sec-WebSocket-Extensions: permessage-deflate"
            status, headers, _ = await knock(stream, wish)
            assert status == 101
            assert "sec-websocket-extensions" not in {each.lower() for each in headers}
    async with link(links.fastapi, transport="websockets") as (_, server):
        assert "sec-websocket-extensions" not in server.websocket.headers


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request().replace(b"Host: x\r\n", b""), b"400"),
        (request("Host: y"), b"400"),
        (request().replace(b"Version: 13", b"Version: 12"), b"400"),
        (request().replace(b"Upgrade: websocket\r\n", b""), b"426"),
    ],
)
async def test_requests_that_are_none(raw: bytes, status: bytes) -> None:
    """S-PROXY-4: a request that is no WebSocket handshake is answered so, and dropped."""
    async with serving(transport="websockets") as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            await stream.send_all(raw)
            with trio.fail_after(5):
                assert (await stream.receive_some())[9:12] == status


@pytest.mark.parametrize("behind", [b"", frame(b"x" * 70_000)])
async def test_a_client_that_says_more_than_its_request(behind: bytes) -> None:
    """S-PROXY-10: one that hangs up at once, or is refused and goes on, gets its answer only."""

    async def nobody(request: object) -> bool:
        await trio.testing.wait_all_tasks_blocked()
        return False

    async with serving(transport="websockets", authenticate=nobody) as listener:
        for _ in range(2):
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                await stream.send_all(request())
                if not behind:
                    await stream.send_eof()
                with trio.fail_after(5):
                    answer = bytes(await stream.receive_some())
                    with contextlib.suppress(trio.BrokenResourceError):
                        if behind:
                            await stream.send_all(behind)
                        while more := await stream.receive_some():
                            answer += more
                assert answer.startswith(b"HTTP/1.1 401 ")
                assert answer.endswith(b"\r\n\r\ncredentials are needed\n")


async def test_pings_that_are_cut_short() -> None:
    """S-PROXY-5: who waits for a pong learns of the end; a pong that nobody asked for is nothing."""
    async with both() as (client, server):
        assert isinstance(client, WebsocketsTransport)
        client._protocol.send_pong(b"unasked")
        await client.send([])
        with trio.move_on_after(0):
            await server.ping()
        await server.ping()
        async with trio.open_nursery() as nursery:

            async def ping() -> None:
                with pytest.raises(LinkClosed):
                    while True:
                        await client.ping()

            nursery.start_soon(ping)
            await server.abort()


async def test_closing_a_request_refuses_it() -> None:
    """S-PROXY-10: the status depends on why it is closed before it was accepted."""
    for code, status in ((1000, 403), (1001, 503), (1011, 500)):
        meeting = Meeting(accept=False)
        async with websockets(meeting) as port, trio.open_nursery() as nursery:

            async def dial(port: int = port, status: int = status) -> None:
                with pytest.raises(Exception, match=f"HTTP status {status}"):
                    await open_client_transport(f"ws://127.0.0.1:{port}/", nursery=nursery)

            nursery.start_soon(dial)
            server: Transport = await meeting.arrive()
            await server.close(code)
            with pytest.raises(LinkClosed):
                await server.send([b"x"])
            meeting.over.set()


async def test_messages_right_behind_the_handshake() -> None:
    """S-PROXY-5: what a server sends at once, behind its answer, is not lost."""
    with trio.fail_after(5):
        meeting = Meeting(accept=False)
        async with websockets(meeting) as port, trio.open_nursery() as nursery:

            async def greet() -> None:
                server = await meeting.arrive()
                await server.send([b"one"])
                await send_text(server, "two")

            nursery.start_soon(greet)
            dial = partial(open_client_transport, nursery=nursery, transport="websockets")
            client = await dial(f"ws://127.0.0.1:{port}/")
            assert [await client.receive() for _ in range(2)] == [b"one", "two"]
            await client.abort()
            meeting.over.set()


async def test_an_attack_with_tiny_frames() -> None:
    """S-PROXY-5: a flood of the smallest frames that there are does not keep others waiting."""
    async with serving(transport="websockets") as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            assert (await knock(stream))[0] == 101
            attacker, longest, last = Attacker(stream), 0.0, trio.current_time()
            with trio.move_on_after(0.5):
                async with trio.open_nursery() as nursery:

                    async def flood() -> None:
                        while True:
                            await attacker.send(frame(b"", 10) * 5000)

                    nursery.start_soon(flood)
                    while True:
                        await trio.lowlevel.checkpoint()
                        longest = max(longest, trio.current_time() - last)
                        last = trio.current_time()
            assert longest < 0.2
