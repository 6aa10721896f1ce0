"""Opening a connection to a WebSocket URL."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import trio

from ..errors import RemoteWireError
from ._handshakes import PORTS, Address, Refused, handshakes_of
from ._line import Line
from ._shared_stream import drop
from ._transport import Transport

__all__ = ["Address", "check_headers", "open_client_transport", "parse_url", "shown"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OURS = {"host", "connection", "upgrade"}


def shown(url: str) -> str:
    """Return a URL as logs and errors show it: what is behind its `?` may be secret."""
    start, mark, _ = url.partition("?")
    return start + (mark and "?...")


def parse_url(url: str, ssl_context: ssl.SSLContext | None = None) -> Address:
    """Take a WebSocket URL apart.

    Raises:
        TypeError: it is no string, or `ssl_context` is none.
        ValueError: it is no URL like `ws://host:8765/path` or `wss://host/path`; or `ssl_context`
            is given and it is not secure.
    """
    if not isinstance(url, str):
        raise TypeError(f"url must be a str, not {url!r}")
    if not (ssl_context is None or isinstance(ssl_context, ssl.SSLContext)):
        raise TypeError(f"ssl_context must be an ssl.SSLContext or None, not {ssl_context!r}")
    said = repr(shown(url))
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError(f"url {said} may have visible ASCII characters only: quote the others")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url {said}: {error}") from None
    if parts.scheme not in PORTS or not parts.hostname or port == 0:
        raise ValueError(f"url {said} must look like ws://host:8765/path or wss://host/path")
    if "@" in parts.netloc:
        # Not shown: it has a password in it.
        raise ValueError("url must not have a user and password in it: use headers=")
    if parts.fragment:
        raise ValueError(f"url {said} must have no fragment: leave out what is behind the '#'")
    secure = parts.scheme == "wss"
    if ssl_context is not None and not secure:
        raise ValueError(f"url {said} is not secure, but ssl_context is given: use wss://")
    try:
        # As the look-up of the name will: no part of it may be empty or too long.
        parts.hostname.encode("idna")
    except UnicodeError as error:
        raise ValueError(f"url {said}: the host {parts.hostname!r} is no name: {error}") from None
    resource = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(parts.hostname, port or PORTS[parts.scheme], resource, secure)


def check_headers(headers: Mapping[str, str] | None) -> list[tuple[bytes, bytes]]:
    """Check headers for the opening handshake, and write them as bytes.

    Raises:
        TypeError: they are no mapping of strings.
        ValueError: a name or value is not allowed in HTTP, or the handshake has it already.
    """
    if headers is None:
        return []
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers must be a mapping of strings, not a {type(headers).__name__}")
    return [_header(name, value) for name, value in headers.items()]


def _header(name: object, value: object) -> tuple[bytes, bytes]:
    # Values are not shown: they may be secrets.
    if not isinstance(name, str) or not isinstance(value, str):
        raise TypeError(f"header {name!r} and its value must be str")
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a header")
    if name.lower() in _OURS or name.lower().startswith("sec-websocket-"):
        raise ValueError(f"header {name!r} belongs to the handshake and cannot be given")
    try:
        raw = value.strip(" \t").encode("latin-1")
    except UnicodeEncodeError:
        raise ValueError(f"the value of header {name!r} has characters outside latin-1") from None
    if any(byte < 0x20 or byte == 0x7F for byte in raw.replace(b"\t", b"")):
        raise ValueError(f"the value of header {name!r} has control characters")
    return name.encode("ascii"), raw


async def open_client_transport(
    url: str,
    *,
    nursery: trio.Nursery,
    headers: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    subprotocols: Sequence[str] = (),
    max_message_size: int = 1_048_576,
    transport: str = "trio-websocket",
) -> Transport:
    """Open a WebSocket connection, and return it when the server has accepted.

    A checkpoint; takes any time, so bound it.  Cancelled or failed, it leaves nothing behind.

    Args:
        url: `ws://host:port/path`, or `wss://` for TLS.
        nursery: where the connection is read.  It does not end before the connection has: close
            or abort it inside.  When the nursery is cancelled, the connection is still read for up
            to 10 seconds, so that it can be closed in an orderly way.
        headers: to send with the opening handshake.
        ssl_context: for `wss://`; None means one with the system's trust store.
        subprotocols: to offer.
        max_message_size: in bytes; a longer message closes the connection with 1009.
        transport: what carries it, as for `handshakes_of`.

    Raises:
        ImportError: `transport` is an extra that is not installed.
        OSError: there is no connection, or TLS failed (`ssl.SSLError` is one).
        RemoteWireError: the server answered, but did not accept.
        TypeError: an argument is of a wrong type.
        ValueError: the URL, a header or `transport` is not allowed.
    """
    handshakes = handshakes_of(transport)
    address = parse_url(url, ssl_context)
    extra = check_headers(headers)
    stream = await _connect(address, ssl_context)
    line = Line(stream, nursery)

    try:
        opened = await handshakes.open_client(line, address, extra, subprotocols, max_message_size)
    except Refused as refusal:
        await line.abort()  # noqa: ASYNC120
        raise RemoteWireError(_refusal(address, refusal)) from None
    except Exception as error:
        await line.abort()  # noqa: ASYNC120
        if line.stream.eof:
            raise ConnectionResetError(
                f"{address.authority} closed the connection during the opening handshake"
            ) from None
        raise RemoteWireError(
            f"{address.authority} did not answer as a WebSocket server does: check the port and "
            "the path"
        ) from error
    except BaseException:
        await line.abort()  # noqa: ASYNC102
        raise
    nursery.start_soon(line.limit_reader)
    return opened


async def _connect(address: Address, ssl_context: ssl.SSLContext | None) -> trio.abc.Stream:
    tcp = await trio.open_tcp_stream(address.host, address.port)
    if not address.secure:
        return tcp
    try:
        stream = trio.SSLStream(
            tcp,
            ssl_context or ssl.create_default_context(),
            server_hostname=address.host,
            https_compatible=True,
        )
        await stream.do_handshake()
    except trio.BrokenResourceError as error:
        await drop(tcp)  # noqa: ASYNC120 - does not wait
        cause = error.__cause__
        if isinstance(cause, ssl.SSLError) and not isinstance(cause, ssl.SSLEOFError):
            raise cause from None
        raise ConnectionResetError(
            f"{address.authority} closed the connection during the TLS handshake"
        ) from None
    except BaseException:
        await drop(tcp)  # noqa: ASYNC102 - does not wait
        raise
    return stream


def _refusal(address: Address, refusal: Refused) -> str:
    text = f"{address.authority}{address.resource.partition('?')[0]} refused the connection: "
    text += f"HTTP status {refusal.status}"
    body = refusal.body[:200].decode("utf-8", "replace")
    body = " ".join("".join(c if c.isprintable() else " " for c in body).split())
    return f"{text}, {body!r}" if body else text
