"""Serving proxies: who may connect, one runner for each, and an end that nobody can hold up."""

from __future__ import annotations

import contextlib
import gc
import logging
import socket
import ssl
from collections.abc import Iterable
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.proxies import links
from tests.proxies.links import reset
from tests.proxies.serving import build, connected, knock, request, serving, session
from trioworkers import (
    BusDataMessage,
    JobRemoteError,
    JSONMessageSerializer,
    Worker,
    WorkerGoneError,
    handles,
    message,
)
from trioworkers.abc import Authenticator
from trioworkers.proxies import (
    IncomingConnection,
    WebSocketProxyServer,
    bearer_token,
    serve_proxies,
)
from trioworkers.proxies._dial import open_client_transport
from trioworkers.proxies._serving import TURNED_AWAY, is_loopback
from trioworkers.proxies.transports import LinkClosed

pytestmark = pytest.mark.usefixtures("carrier", "dialect")

Log = pytest.LogCaptureFixture


@message
class Note(BusDataMessage):
    n: int
    text: str


async def dial(port: int, nursery: trio.Nursery, **headers: str) -> Any:
    """Open a connection that speaks no dialect."""
    return await open_client_transport(
        f"ws://127.0.0.1:{port}/", nursery=nursery, headers=headers, transport=links.CARRIER
    )


async def test_sessions() -> None:
    """S-PROXY-1: each connection is a session with workers and a runner of its own."""
    seen: list[IncomingConnection] = []

    async def note(websocket: IncomingConnection) -> Iterable[Worker]:
        seen.append(websocket)
        return session(websocket)

    async with serving(note) as listener:
        assert listener.addresses == (f"127.0.0.1:{listener.port}",)
        async with connected(listener) as one, connected(listener, headers={"X-A": "b"}) as two:
            assert await one.ask("assistant", "echo", {"n": 1}) == {"n": 1}
            assert await two.ask("assistant", "echo", {"n": 2}) == {"n": 2}
            assert {each.headers.get("x-a") for each in seen} == {None, "b"}
            assert seen[0].path == "/"
            assert seen[0].offers == links.offered()
            assert seen[0].remote.startswith("127.0.0.1:")


async def test_a_session_ends_with_its_link() -> None:
    """S-PROXY-1: the session's runner ends when the link is over, and the workers with it."""
    stopped = trio.Event()

    class Late(Worker):
        async def on_stop(self) -> None:
            stopped.set()

    async def build_late(websocket: IncomingConnection) -> Iterable[Worker]:
        return [*session(websocket), Late("late")]

    async with serving(build_late) as listener:
        async with connected(listener):
            assert not stopped.is_set()
        with trio.fail_after(30):
            await stopped.wait()


async def test_a_crash_ends_one_session_only(caplog: Log) -> None:
    """S-PROXY-1: a worker that fails ends its session; it is logged with the peer; others go on."""
    async with serving() as listener:
        async with connected(listener) as one, connected(listener) as two:
            with trio.fail_after(30), pytest.raises((WorkerGoneError, JobRemoteError)):
                await one.ask("assistant", "echo", {"crash": True})
            assert await two.ask("assistant", "echo", {}) == {}
            await until_logged(caplog, "crashed")
    (record,) = [each for each in caplog.records if "crashed" in each.message]
    assert record.levelno == logging.ERROR
    assert record.message.startswith("the session of 127.0.0.1:")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], ValueError)


async def until_logged(caplog: Log, text: str) -> None:
    """Wait for a line in the log."""
    with trio.fail_after(30):
        while text not in caplog.text:
            await trio.testing.wait_all_tasks_blocked(0.001)


async def no_proxy(websocket: IncomingConnection) -> Iterable[Worker]:
    """Forget the proxy."""
    return [Worker("lonely")]


async def raising(websocket: IncomingConnection) -> Iterable[Worker]:
    """Fail to build a session."""
    raise KeyError("build")


@pytest.mark.parametrize(
    ("build", "says"), [(no_proxy, "must return a WebSocketProxyServer"), (raising, "build")]
)
async def test_a_session_that_cannot_be_built(build: Any, says: str, caplog: Log) -> None:
    """S-PROXY-1: if `build` fails the client gets 500, the log the reason, and others are served."""
    async with serving(build) as listener:
        for _ in range(2):
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                status, _, _ = await knock(stream)
                assert status == 500
    assert says in caplog.text
    assert caplog.text.count("crashed") == 2


class Counting:
    """Lets in whoever has the right header, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, request: IncomingConnection, /) -> bool:
        """Decide."""
        self.asked += 1
        assert request.path == "/path?query"
        return request.headers.get("X-Key") == "right"


async def test_credentials() -> None:
    """S-PROXY-10: none are asked for with 401, wrong ones refused with 403, before any session."""
    built = 0

    async def count(websocket: IncomingConnection) -> Iterable[Worker]:
        nonlocal built
        built += 1
        return session(websocket)

    async with serving(count, authenticate=bearer_token("secret")) as listener:
        for header, expected in [
            ((), 401),
            (("Authorization: Bearer wrong",), 403),
            (("Authorization: Basic secret",), 403),
            (("Authorization: Bearer secret, Bearer secret",), 403),
            (("Authorization: Bearer secret", "Authorization: Bearer secret"), 403),
            (("Authorization: Bearer s\xe9cret",), 403),
            (("Authorization: Bearer",), 403),
        ]:
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                status, headers, text = await knock(stream, *header)
                assert status == expected
                assert (headers.get("www-authenticate") == 'Bearer realm="trioworkers"') == (
                    status == 401
                )
                assert "secret" not in text
                assert await stream.receive_some() == b""
        assert built == 0
        for scheme in ("Bearer", "bearer"):
            async with connected(listener, headers={"Authorization": f"{scheme} secret"}) as acme:
                assert await acme.ask("assistant", "echo", {}) == {}
        assert built == 2


async def test_an_authenticator_of_ones_own() -> None:
    """S-PROXY-10: any async callable may decide; it sees the path and the headers."""
    counting = Counting()
    async with serving(authenticate=counting) as listener:
        for header, expected in [("X-Key: wrong", 401), ("X-Key: right", 101)]:
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                assert (await knock(stream, header))[0] == expected
    assert counting.asked == 2


async def test_an_authenticator_that_raises(caplog: Log) -> None:
    """S-PROXY-10: if `authenticate` raises, that client gets 500 and the server lives."""

    async def broken(request: IncomingConnection) -> bool:
        raise LookupError("no database")

    async with serving(authenticate=broken) as listener:
        for _ in range(2):
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                assert (await knock(stream))[0] == 500
    assert "authenticate raised for 127.0.0.1:" in caplog.text
    assert "no database" in caplog.text


async def test_an_authenticator_that_takes_too_long(caplog: Log) -> None:
    """S-PROXY-10: the time for the handshake is bounded with `authenticate` in it."""

    async def slow(request: IncomingConnection) -> bool:
        await trio.sleep_forever()
        return True

    caplog.set_level(logging.INFO, "trioworkers")
    async with serving(authenticate=slow, handshake_timeout=0.1) as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            await stream.send_all(request())
            with trio.fail_after(30):
                assert await stream.receive_some() == b""
    assert "no handshake within 0.1 s" in caplog.text


@pytest.mark.parametrize(
    ("origins", "origin", "expected"),
    [
        (None, "http://evil.example", 101),
        (["https://a.example"], "https://a.example", 101),
        (["https://a.example"], "https://b.example", 403),
        (["https://a.example"], "https://a.example.evil", 403),
        (["https://a.example"], "null", 403),
        (["https://a.example"], None, 403),
        (["https://a.example", None], None, 101),
        ([], "https://a.example", 403),
        (["http://localhost:8000", "null"], "null", 101),
    ],
)
async def test_origins(origins: Any, origin: str | None, expected: int) -> None:
    """S-PROXY-10: told which origins are allowed, others are refused, before authentication."""
    async with serving(origins=origins) as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            headers = () if origin is None else (f"Origin: {origin}",)
            assert (await knock(stream, *headers))[0] == expected


async def test_too_many_connections(caplog: Log) -> None:
    """S-PROXY-10: one connection too many gets 503; when one has gone there is room again."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with serving(max_connections=2) as listener:
        async with connected(listener) as one:
            async with connected(listener):
                for _ in range(3):
                    async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                        status, _, text = await knock(stream)
                        assert (status, text) == (503, "too many connections\n")
                assert await one.ask("assistant", "echo", {}) == {}
            await room(listener.port)
    assert "refused 127.0.0.1:" in caplog.text


async def room(port: int) -> None:
    """Wait until there is room for one more connection."""
    with trio.fail_after(30):
        while True:
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                if (await knock(stream))[0] == 101:
                    return


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
async def test_slow_handshakes_count_and_end(sent: bytes, caplog: Log) -> None:
    """S-PROXY-10: who does not finish the handshake takes a place, but not for long."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with serving(max_connections=1, handshake_timeout=0.2) as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as slow:
            await slow.send_all(sent)
            await trio.testing.wait_all_tasks_blocked(0.01)
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                assert (await knock(stream))[0] == 503
            with trio.fail_after(30):
                assert await slow.receive_some() == b""
            await room(listener.port)
    assert "no handshake within 0.2 s" in caplog.text


async def test_a_crowd_that_says_nothing(caplog: Log) -> None:
    """S-PROXY-10: clients too many who do not even ask are dropped, not collected."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with serving(max_connections=1) as listener, contextlib.AsyncExitStack() as stack:
        for _ in range(TURNED_AWAY + 1):
            stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
            await stack.enter_async_context(stream)
            await trio.testing.wait_all_tasks_blocked()
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as last:
            with trio.fail_after(5):
                assert await last.receive_some() == b""
    assert "dropped 127.0.0.1:" in caplog.text
    assert "too many connections" in caplog.text


GARBAGE = [
    b"\x00" * 1000,
    b"\x16\x03\x01\x02\x00\x01" * 100,
    b"GET / HTTP/1.1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 300_000,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    request().replace(b"Version: 13", b"Version: 12"),
    request().replace(b"Host: x", b"Host: \xff\xfe"),
    request().replace(b"Host: x", b"Host: xn--" + b"a" * 300 + b"..b"),
    request("Sec-WebSocket-Protocol: \xff\xff"),
    request("Sec-WebSocket-Extensions: \xff"),
    request().replace(b"/path?query", b"/\xff"),
    request().replace(b"upgrade", b"\xff\xfe"),
]


@pytest.mark.parametrize("data", GARBAGE)
@pytest.mark.parametrize("stay", [True, False])
async def test_garbage_harms_nobody(data: bytes, stay: bool, caplog: Log) -> None:
    """S-PROXY-4: whatever a client sends instead of a request, it is dropped, and others go on."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with serving(handshake_timeout=0.3) as listener:
        async with connected(listener) as acme:
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
                    if not stay:
                        await stream.send_eof()
                with trio.fail_after(30), contextlib.suppress(trio.BrokenResourceError):
                    # One library knows fewer rules for headers, and lets in who breaks the others.
                    while (answer := await stream.receive_some()) and b" 101 " not in answer:
                        pass
            assert await acme.ask("assistant", "echo", {}) == {}


async def test_a_client_that_resets_before_it_is_judged(caplog: Log) -> None:
    """S-PROXY-4: a client that has gone before it was refused harms nobody."""
    caplog.set_level(logging.INFO, "trioworkers")
    gone = trio.Event()

    async def wait(request: IncomingConnection) -> bool:
        if "x-first" in request.headers:
            await gone.wait()
            return False
        return True

    async with serving(authenticate=wait) as listener:
        stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
        await stream.send_all(request("X-First: 1"))
        await trio.testing.wait_all_tasks_blocked(0.01)
        reset(stream)
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.01)
        gone.set()
        await until_logged(caplog, "refused")
        async with connected(listener) as acme:
            assert await acme.ask("assistant", "echo", {}) == {}


async def test_tls(caplog: Log) -> None:
    """S-PROXY-10: with `ssl_context` sessions go over TLS; who does not speak it is dropped."""
    caplog.set_level(logging.INFO, "trioworkers")
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    async with serving(ssl_context=context, handshake_timeout=0.5) as listener:
        url = f"wss://localhost:{listener.port}/"
        async with connected(listener, url=url, ssl_context=trust) as acme:
            assert await acme.ask("assistant", "echo", {"big": "x" * 100_000})
            async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
                with contextlib.suppress(trio.BrokenResourceError):
                    await stream.send_all(request())
                    with trio.fail_after(30):
                        while await stream.receive_some():
                            pass
            assert await acme.ask("assistant", "echo", {}) == {}


async def test_a_message_too_big() -> None:
    """S-PROXY-4: a frame beyond `max_message_size` closes that connection with 1009."""
    async with serving(max_message_size=1000) as listener, trio.open_nursery() as nursery:
        client = await dial(listener.port, nursery)
        with contextlib.suppress(LinkClosed):
            await client.send([b"x" * 1001])
        with trio.fail_after(30), pytest.raises(LinkClosed) as caught:
            while True:
                await client.receive()
        assert (caught.value.code, caught.value.by) == (1009, "peer")
        await client.abort()


@links.NATIVE_ONLY
async def test_frames_larger_than_the_servers_limit() -> None:
    """S-PROXY-4: a small `max_message_size` and a large `window` go together: frames still fit."""
    window = 2**22
    arrived: list[int] = []

    class Reader(Worker):
        @handles(Note)
        async def note(self, note: Note) -> None:
            arrived.append(note.n)

    async def build(websocket: IncomingConnection) -> Iterable[Worker]:
        gateway = WebSocketProxyServer(
            "gateway",
            websocket=websocket,
            worker_name="assistant",
            remote_worker_name="acme",
            serializer=JSONMessageSerializer(messages=[Note]),
            window=window,
        )
        return [Reader("assistant"), gateway]

    settings: dict[str, Any] = {
        "window": window,
        "serializer": JSONMessageSerializer(messages=[Note]),
    }
    async with serving(build, max_message_size=1000) as listener:
        async with connected(listener, **settings) as acme:
            # In one step, so that they leave together.
            for n in range(250):
                await acme.send(Note(target="assistant", n=n, text="x" * 3000))
            with trio.fail_after(30):
                while len(arrived) < 250:  # noqa: ASYNC110
                    await trio.sleep(0.01)
        assert arrived == list(range(250))


async def test_cancelling_closes_the_sessions() -> None:
    """S-PROXY-11: cancelled, the server stops listening and closes each link in order, with 1001."""
    ends: list[int] = []

    async def wait(client: Any) -> None:
        with pytest.raises(LinkClosed) as caught:
            while True:
                await client.receive()
        ends.append(caught.value.code)
        await client.close()
        await client.abort()

    async with trio.open_nursery() as clients:
        async with serving() as listener:
            for _ in range(3):
                clients.start_soon(wait, await dial(listener.port, clients))  # noqa: ASYNC111
            await trio.testing.wait_all_tasks_blocked(0.05)
            begun = trio.current_time()
    assert ends == [1001] * 3
    assert trio.current_time() - begun < 1
    with pytest.raises(OSError, match="connect"):
        await trio.open_tcp_stream("127.0.0.1", listener.port)


class Flood(Worker):
    """Asks whoever has connected, more than fits into a socket."""

    async def on_start(self) -> None:
        """Begin."""
        for _ in range(60):
            self.nursery.start_soon(self.ask, "acme", "anything", {"x": "y" * 200_000})


async def test_a_peer_that_has_stopped_reading_cannot_hold_the_server() -> None:
    """S-PROXY-11: cancelling the server is quick although a peer takes nothing any more."""

    async def flooding(websocket: IncomingConnection) -> Iterable[Worker]:
        _, gateway = session(websocket)
        assert isinstance(gateway, WebSocketProxyServer)
        gateways.append(gateway)
        return [Flood("assistant"), gateway]

    gateways: list[WebSocketProxyServer] = []

    with trio.socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with serving(flooding) as listener:
            await sock.connect(("127.0.0.1", listener.port))
            await sock.send(request())
            await trio.testing.wait_all_tasks_blocked(0.1)
            waiting = gateways[0].link_statistics()
            assert waiting.data_depth > 0
            assert waiting.waiting_senders > 0
            begun = trio.current_time()
        assert trio.current_time() - begun < 3


async def test_cancelled_while_there_are_handshakes() -> None:
    """S-PROXY-11: clients at any step of the handshake do not hold the server up."""
    async with contextlib.AsyncExitStack() as stack:
        async with serving() as listener:
            for length in range(0, len(request()), 9):
                stream = await trio.open_tcp_stream("127.0.0.1", listener.port)
                await stack.enter_async_context(stream)
                await stream.send_all(request()[:length])
            begun = trio.current_time()
        assert trio.current_time() - begun < 1


async def test_nothing_is_left_of_sessions() -> None:
    """S-PROXY-1: sessions that came and went leave no task and no object behind."""
    async with serving() as listener:
        counts = []
        for number in range(60):
            async with connected(listener) as acme:
                await acme.ask("assistant", "echo", {})
            if number % 20 == 19:
                await trio.testing.wait_all_tasks_blocked(0.01)
                gc.collect()
                counts.append(len(gc.get_objects()))
        assert counts[2] - counts[1] < 200


@pytest.mark.parametrize("host", [None, "", "0.0.0.0", "::", "192.0.2.1", "example.org", "myhost"])
async def test_beyond_loopback(host: str | None) -> None:
    """S-PROXY-10: where others can connect, doing without authentication has to be asked for."""
    assert not is_loopback(host)
    with pytest.raises(ValueError, match="allow_unauthenticated=True"):
        await serve_proxies(build, host, 0)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host: str) -> None:
    """S-PROXY-10: this machine's own addresses are no others'."""
    assert is_loopback(host)


@pytest.mark.parametrize(
    "settings", [{"allow_unauthenticated": True}, {"authenticate": bearer_token("x")}]
)
async def test_all_interfaces(settings: dict[str, Any]) -> None:
    """S-PROXY-10: with authentication, or told to do without, all interfaces are served."""
    async with serving(host=None, **settings) as listener:
        assert listener.addresses
        headers = {"Authorization": "Bearer x"}
        async with connected(listener, headers=headers) as acme:
            assert await acme.ask("assistant", "echo", {}) == {}


@pytest.mark.parametrize(
    ("settings", "error", "says"),
    [
        ({"build": session}, TypeError, "build must be an 'async def'"),
        ({"authenticate": session}, TypeError, "authenticate must be an 'async def'"),
        ({"port": 99_999}, ValueError, "port must be from 0 to 65535, and is 99999"),
        ({"port": -1}, ValueError, "port must be from 0 to 65535, and is -1"),
        ({"port": True}, TypeError, "port must be an int, not True"),
        ({"port": "80"}, TypeError, "port must be an int, not '80'"),
        ({"max_connections": 0}, ValueError, "max_connections must be at least 1"),
        ({"max_connections": True}, TypeError, "max_connections must be an int"),
        ({"max_message_size": 1.5}, TypeError, "max_message_size must be an int"),
        ({"handshake_timeout": -1}, ValueError, "handshake_timeout must not be negative"),
        ({"cancel_grace": "5"}, TypeError, "cancel_grace must be a number"),
        ({"origins": "https://a.example"}, TypeError, r"write \('https://a.example',\)"),
        ({"origins": [7]}, TypeError, "7 is neither a str nor None"),
        ({"origins": ["https://a.example/"]}, ValueError, "without a path"),
        ({"origins": ["a.example"]}, ValueError, "must look like"),
        ({"origins": ["https://A.example"]}, ValueError, "small letters"),
    ],
)
async def test_settings(settings: dict[str, Any], error: type[Exception], says: str) -> None:
    """S-PROXY-10: what cannot be meant is refused before anything is served."""
    settings = {"build": build, "host": "127.0.0.1", "port": 0, **settings}
    with pytest.raises(error, match=says):
        await serve_proxies(**settings)


async def test_a_port_that_is_taken() -> None:
    """S-PROXY-10: an address that cannot be had is an OSError of who wanted it."""
    async with serving() as listener:
        with pytest.raises(OSError, match="in use"):
            await serve_proxies(build, "127.0.0.1", listener.port)


@pytest.mark.parametrize(
    ("token", "error"),
    [("", ValueError), ("a b", ValueError), ("\u00e9", ValueError), (7, TypeError)],
)
def test_tokens_that_are_none(token: Any, error: type[Exception]) -> None:
    """S-PROXY-10: a token that no header can carry is refused, and never shown."""
    with pytest.raises(error):
        bearer_token(token)
    kept: Authenticator = bearer_token("secret")
    assert "secret" not in repr(kept)


async def test_headers_of_a_request() -> None:
    """S-PROXY-10: headers are found in any case, and their values do not get into logs."""
    seen: list[IncomingConnection] = []

    async def look(request: IncomingConnection) -> bool:
        seen.append(request)
        return False

    async with serving(authenticate=look) as listener:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            await knock(stream, "X-One: a", "x-one: b", "Authorization: Bearer secret")
    (request,) = seen
    assert request.headers["X-ONE"] == "a, b"
    assert "x-one" in set(request.headers)
    assert len(request.headers) > 3
    assert "secret" not in repr(request)
