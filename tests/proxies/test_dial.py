"""Opening a connection: URLs, headers, TLS, refusals, and being cancelled at any moment."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing
import trustme

from tests.proxies import links
from tests.proxies.links import Meeting, fastapi, ours
from trioworkers import RemoteWireError
from trioworkers.proxies._dial import (
    Address,
    check_headers,
    open_client_transport,
    parse_url,
    shown,
)
from trioworkers.proxies._incoming import receive_request
from trioworkers.proxies._line import Line
from trioworkers.proxies._transport import LinkClosed, Transport

pytestmark = pytest.mark.usefixtures("carrier")

ANSWER = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n"
)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ws://host", Address("host", 80, "/", False)),
        ("wss://host", Address("host", 443, "/", True)),
        ("ws://host:8765/a/b?c=d&e", Address("host", 8765, "/a/b?c=d&e", False)),
        ("WS://Host:443", Address("host", 443, "/", False)),
        ("ws://[::1]:80/", Address("::1", 80, "/", False)),
        ("wss://127.0.0.1:8443?x", Address("127.0.0.1", 8443, "/?x", True)),
    ],
)
def test_urls(url: str, expected: Address) -> None:
    """S-PROXY-1: a WebSocket URL is a host, a port, a path with a query, and secure or not."""
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    ("address", "authority"),
    [
        (Address("host", 80, "/", False), "host"),
        (Address("host", 443, "/", False), "host:443"),
        (Address("host", 443, "/", True), "host"),
        (Address("::1", 81, "/", False), "[::1]:81"),
    ],
)
def test_authorities(address: Address, authority: str) -> None:
    """S-PROXY-1: the Host header has the port unless it is the scheme's own."""
    assert address.authority == authority


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://host", "must look like"),
        ("host:80", "must look like"),
        ("", "must look like"),
        ("ws://", "must look like"),
        ("ws:///path", "must look like"),
        ("ws://host:0", "must look like"),
        ("ws://host:port", "[Pp]ort"),
        ("ws://host:99999", "[Pp]ort"),
        ("ws://[::1", "IPv6"),
        ("ws://host/a b", "visible ASCII"),
        ("ws://host/\r\nX: y", "visible ASCII"),
        ("ws://h\u00f6st/", "visible ASCII"),
        ("ws://host/#part", "fragment"),
        ("ws://a..b/", "'a..b' is no name"),
        (f"ws://{'a' * 64}/", "is no name"),
    ],
)
def test_urls_that_are_none(url: str, says: str) -> None:
    """S-PROXY-1: what is no WebSocket URL is refused, and the error shows it."""
    with pytest.raises(ValueError, match=says) as caught:
        parse_url(url)
    assert repr(url) in str(caught.value)


def test_what_is_behind_the_question_mark_is_not_shown() -> None:
    """S-PROXY-10: a token in a URL is neither in errors nor in logs."""
    with pytest.raises(ValueError, match=r"url 'ws://host/\?\.\.\.' must have no fragment"):
        parse_url("ws://host/?token=secret#part")
    assert shown("ws://host/path?token=secret") == "ws://host/path?..."
    assert shown("ws://host/path") == "ws://host/path"


def test_what_an_url_must_not_be() -> None:
    """S-PROXY-10: passwords have no place in a URL, nor a TLS context beside an open one."""
    with pytest.raises(ValueError, match="use headers=") as caught:
        parse_url("ws://me:secret@host/")
    assert "secret" not in str(caught.value)
    with pytest.raises(ValueError, match="wss://"):
        parse_url("ws://host/", ssl.create_default_context())
    with pytest.raises(TypeError, match="must be a str, not 7"):
        parse_url(7)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("headers", "error", "says"),
    [
        ({"a b": "c"}, ValueError, "'a b' is no name"),
        ({"": "c"}, ValueError, "no name"),
        ({"Host": "c"}, ValueError, "belongs to the handshake"),
        ({"sec-websocket-KEY": "c"}, ValueError, "belongs to the handshake"),
        ({"X": "secret\r\nY: z"}, ValueError, "control characters"),
        ({"X": "secret\u20ac"}, ValueError, "outside latin-1"),
        ({"X": b"secret"}, TypeError, "must be str"),
        ({7: "secret"}, TypeError, "must be str"),
        ([("X", "secret")], TypeError, "mapping"),
    ],
)
def test_headers_that_are_none(headers: object, error: type[Exception], says: str) -> None:
    """S-PROXY-10: a bad header is refused before anything is sent, and its value is not shown."""
    with pytest.raises(error, match=says) as caught:
        check_headers(headers)  # type: ignore[arg-type]
    assert "secret" not in str(caught.value)


def test_headers() -> None:
    """S-PROXY-10: headers go out as they are, without what surrounds their values."""
    assert check_headers(None) == []
    assert check_headers({"Authorization": " Bearer x\t", "X-\u0041": "\u00e9"}) == [
        (b"Authorization", b"Bearer x"),
        (b"X-A", b"\xe9"),
    ]


@contextlib.asynccontextmanager
async def served(
    handle: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[str]:
    """Serve connections; gives the URL.  What a handler raises fails the test."""
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handle, [listener])
        yield f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/path?token=secret"
        nursery.cancel_scope.cancel()


def answering(*pieces: bytes, stay: bool = False) -> Callable[[trio.SocketStream], Awaitable[None]]:
    """Make a handler that answers a request with some bytes."""

    async def handle(stream: trio.SocketStream) -> None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += await stream.receive_some()
        with contextlib.suppress(trio.BrokenResourceError):
            for piece in pieces:
                await stream.send_all(piece)
        if stay:
            assert not await stream.receive_some()

    return handle


async def dial(url: str, nursery: trio.Nursery, **settings: Any) -> Transport:
    """Open a connection, carried by what the test is run with."""
    return await open_client_transport(url, nursery=nursery, transport=links.CARRIER, **settings)


async def refused(url: str) -> BaseException:
    """Fail to open a connection; nothing is left in the nursery."""
    async with trio.open_nursery() as nursery:
        with trio.fail_after(5), pytest.raises((OSError, RemoteWireError)) as caught:
            await dial(url, nursery)
        await trio.testing.wait_all_tasks_blocked()
        assert not nursery.child_tasks
    return caught.value


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 26\r\n\r\n no \r\n\x1b[31mtoken \xff here  x",
            "HTTP status 401, 'no [31mtoken \ufffd here x'",
        ),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "HTTP status 503"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b"x" * 500, f"200, '{'x' * 200}'"),
        (
            b"HTTP/1.1 302 Found\r\nLocation: /\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "302",
        ),
    ],
)
async def test_refusals(answer: bytes, says: str) -> None:
    """S-PROXY-10: whom a server refuses learns the status, and the beginning of its text."""
    async with served(answering(answer, stay=True)) as url:
        error = await refused(url)
    assert isinstance(error, RemoteWireError)
    assert str(error).endswith(says)
    assert "/path refused the connection" in str(error)
    assert "secret" not in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9\r\n",
        b"\x15\x03\x03\x00\x02\x02\x16",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        ANSWER,  # to another key
        ANSWER.replace(b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: none\r\n\r\n"),
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Protocol: \xff\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nX: " + b"y" * 300_000,
    ],
)
async def test_answers_of_something_else(answer: bytes) -> None:
    """S-PROXY-1: what answers as no WebSocket server does is told so, and dropped."""
    async with served(answering(answer, stay=False)) as url:
        error = await refused(url)
    text = str(error)
    assert "did not answer as a WebSocket server does" in text or "closed the connection" in text


async def test_a_refusal_without_end() -> None:
    """S-PROXY-4: a server cannot fill this side's memory with the text of its refusal."""

    async def handle(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(b"HTTP/1.1 403 No\r\nContent-Length: 1000000000\r\n\r\n")
            for _ in range(10_000):
                await stream.send_all(b"x" * 65_536)
            raise AssertionError("all of it was taken")

    async with served(handle) as url:
        error = await refused(url)
    assert "did not answer as a WebSocket server" in str(error)


async def test_nobody_there() -> None:
    """S-PROXY-1: a connection that cannot be made is an OSError."""
    with trio.socket.socket() as sock:
        await sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert isinstance(await refused(f"ws://127.0.0.1:{port}/"), OSError)


async def test_a_server_that_hangs_up() -> None:
    """S-PROXY-1: a server that goes in the middle of the handshake does not leave us waiting."""

    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with served(hang_up) as url:
        error = await refused(url)
        assert isinstance(error, ConnectionResetError)
        assert "during the opening handshake" in str(error)
        error = await refused(url.replace("ws:", "wss:"))
        assert isinstance(error, ConnectionResetError)
        assert "during the TLS handshake" in str(error)


async def test_a_server_that_never_answers() -> None:
    """S-PROXY-1: waiting for an answer can be cancelled, and leaves no task and no socket."""
    gone = trio.Event()

    async def wait(stream: trio.SocketStream) -> None:
        with contextlib.suppress(trio.BrokenResourceError):
            while await stream.receive_some():
                pass
        gone.set()

    for scheme in ("ws:", "wss:"):
        async with served(wait) as url:
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(0.05) as scope:
                    await dial(url.replace("ws:", scheme), nursery)
                assert scope.cancelled_caught
                with trio.fail_after(5):
                    await gone.wait()
                await trio.testing.wait_all_tasks_blocked()
                assert not nursery.child_tasks
        gone = trio.Event()


@pytest.mark.parametrize("passes", range(40))
async def test_cancelled_at_any_moment(passes: int) -> None:
    """S-PROXY-1: opening, cancelled after any number of steps, opens or leaves nothing behind."""
    meeting = Meeting()
    async with ours(meeting) as port:
        meeting.over.set()
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as inner:

                    async def count() -> None:
                        for _ in range(passes):
                            await trio.lowlevel.checkpoint()
                        scope.cancel()

                    inner.start_soon(count)
                    transport = await dial(f"ws://127.0.0.1:{port}/", nursery)
                    await transport.abort()
            with trio.fail_after(5):
                while nursery.child_tasks:  # noqa: ASYNC110, RUF100
                    await trio.lowlevel.checkpoint()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority; slow, so once."""
    return trustme.CA()


@contextlib.asynccontextmanager
async def secured(authority: trustme.CA, name: str) -> AsyncIterator[str]:
    """Serve trio-websocket's side of the handshake over TLS; gives the URL."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)

    async def handle(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            line = Line(trio.SSLStream(stream, context, server_side=True), nursery)
            with contextlib.suppress(LinkClosed):
                incoming, _ = await receive_request(line, 1000, links.CARRIER)
                message = await incoming.transport.receive()
                assert isinstance(message, bytes)
                await incoming.transport.send([message])
                await incoming.transport.receive()
            await line.abort()

    async with served(handle) as url:
        yield url.replace("ws:", "wss:").replace("127.0.0.1", "localhost")


async def test_tls(authority: trustme.CA) -> None:
    """S-PROXY-10: `wss://` is TLS with the context given; closing takes no longer than without."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with secured(authority, "localhost") as url:
        async with trio.open_nursery() as nursery:
            transport = await dial(url, nursery, ssl_context=context)
            await transport.send([b"over TLS"])
            assert await transport.receive() == b"over TLS"
            with trio.fail_after(5):
                await transport.close()
            await transport.abort()


async def test_tls_with_the_trust_store_of_the_system(
    authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S-PROXY-10: without a context, the system's trust store decides: it does not know ours."""
    async with secured(authority, "localhost") as url:
        error = await refused(url)
        assert isinstance(error, ssl.SSLCertVerificationError)
        with authority.cert_pem.tempfile() as path:
            monkeypatch.setenv("SSL_CERT_FILE", path)  # the system's trust store, for OpenSSL
            async with trio.open_nursery() as nursery:
                transport = await dial(url, nursery)
                await transport.abort()


async def test_tls_with_the_wrong_name(authority: trustme.CA) -> None:
    """S-PROXY-10: a certificate for another host is none."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    async with secured(authority, "example.org") as url, trio.open_nursery() as nursery:
        with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
            await dial(url, nursery, ssl_context=context)


async def test_headers_and_path_arrive() -> None:
    """S-PROXY-10: the server sees the headers, the path with its query, and the Host."""
    meeting = Meeting()
    async with fastapi(meeting) as port:
        async with trio.open_nursery() as nursery:
            url = f"ws://127.0.0.1:{port}/ws?a=b%20c"
            client = await dial(url, nursery, headers={"X-Token": "t", "X-Name": "\u00e9"})
            accepted = await meeting.arrive()
            request = accepted.websocket
            assert request.headers["x-token"] == "t"
            assert request.headers["x-name"] == "\u00e9"
            assert request.headers["host"] == f"127.0.0.1:{port}"
            assert request.query_params["a"] == "b c"
            await client.abort()
            meeting.over.set()
