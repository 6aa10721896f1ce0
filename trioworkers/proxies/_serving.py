"""Serving proxies: a listener, and for each connection a session with a runner of its own."""

from __future__ import annotations

import hmac
import ipaddress
import logging
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NoReturn

import attrs
import trio

from .._checks import check_async, check_counts, check_settings
from .._open_runner import open_runner
from .._worker import Worker
from ..abc import Authenticator
from ._handshakes import TransportName, handshakes_of
from ._incoming import IncomingConnection, receive_request, reject
from ._line import Line
from ._listener import check_port
from ._sessions import continue_session
from ._shared_stream import address_name, drop, peer_name
from ._transport import LinkClosed
from .server import WebSocketProxyServer

__all__ = ["ProxyListener", "bearer_token", "serve_proxies"]

logger = logging.getLogger("trioworkers")

Build = Callable[[IncomingConnection], Awaitable[Iterable[Worker]]]

# How many clients are told at the same time that there are too many; further ones are dropped.
TURNED_AWAY = 32

# Seconds for clients that have got their refusal, or have to be quick to get one.
PARTING = 1.0

CHALLENGE = 'Bearer realm="trioworkers"'


@attrs.frozen
class ProxyListener:
    """Where `serve_proxies` listens."""

    port: int
    """The port; of the first address, if there are several and the system has chosen the ports."""

    addresses: tuple[str, ...]
    """All addresses, as `host:port`."""


async def serve_proxies(
    build: Build,
    host: str | None,
    port: int,
    *,
    authenticate: Authenticator | None = None,
    origins: Iterable[str | None] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    allow_unauthenticated: bool = False,
    max_connections: int = 1000,
    handshake_timeout: float = 10.0,
    max_message_size: int = 1_048_576,
    end_deadline: float = 30.0,
    cancel_grace: float = 5.0,
    job_grace: float = 1.0,
    backlog: int | None = None,
    transport: TransportName = "trio-websocket",
    task_status: trio.TaskStatus[ProxyListener] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Serve proxies over WebSockets until cancelled.

    Each connection is a session: `build` makes its workers, they get a runner of their own, and
    that ends when the link of the server proxy among them is over.  A session that fails is logged
    and harms no other one.  Cancelled, it stops accepting and cancels all sessions.

    Args:
        build: an `async def` function that gets the connection, as `websocket=` of the
            `WebSocketProxyServer` that it makes, and returns the session's workers.
        host: the address to listen at; None for all interfaces.
        port: the port; 0 lets the system choose.
        authenticate: who may connect, decided before anything else is done for a client.  Without
            an `Authorization` header a client that may not gets 401, else 403.
        origins: if given, which `Origin` headers are let in, as `"https://example.org"`; None in
            it stands for clients that send none, as those that are no browser.
        ssl_context: for TLS; with the server's certificate.
        allow_unauthenticated: do without `authenticate` also where others than this machine can
            connect.
        max_connections: how many there may be at once, handshakes included; a client too many gets
            503.
        handshake_timeout: seconds for TLS, the opening handshake and `authenticate` together.
        max_message_size: in bytes; a longer message closes its connection with 1009.  Natively,
            from the hello on, what leaves together may always have as much as the session's frames
            need: a `window`, and 128 KiB.
        end_deadline: as for `open_runner`, and so `cancel_grace` and `job_grace`.
        cancel_grace: seconds that clean-ups may take after a cancel.
        job_grace: seconds a requester that leaves waits for its job's handler to exit.
        backlog: how many connections may wait to be accepted; None lets trio choose.
        transport: the library that carries the connections; `"websockets"` is an extra.
        task_status: told a `ProxyListener` when clients can connect.

    Raises:
        ImportError: `transport` is an extra that is not installed.
        OSError: the address cannot be had.
        TypeError: an argument is of the wrong type.
        ValueError: a number or `transport` is impossible; or anybody could connect and
            `allow_unauthenticated` is not set.
    """
    check_async(build, "build")
    check_port(port)
    handshakes_of(transport)
    if authenticate is not None:
        check_async(authenticate, "authenticate")
    elif not allow_unauthenticated and not is_loopback(host):
        raise ValueError(
            f"host {host!r} can be reached by others: pass authenticate=, for instance "
            "bearer_token(...), or allow_unauthenticated=True if that is meant"
        )
    grace = {"end_deadline": end_deadline, "cancel_grace": cancel_grace, "job_grace": job_grace}
    check_settings({**grace, "handshake_timeout": handshake_timeout})
    check_counts({"max_connections": max_connections, "max_message_size": max_message_size})
    server = _Server(
        build=build,
        authenticate=authenticate,
        origins=None if origins is None else check_origins(origins),
        ssl_context=ssl_context,
        max_connections=max_connections,
        handshake_timeout=handshake_timeout,
        max_message_size=max_message_size,
        runner_settings=grace,
        transport=transport,
    )
    listeners = await trio.open_tcp_listeners(port, host=host or None, backlog=backlog)
    addresses = [each.socket.getsockname() for each in listeners]
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, server.handle, listeners)
        task_status.started(
            ProxyListener(addresses[0][1], tuple(address_name(each) for each in addresses))
        )
    raise AssertionError("a listener ends only by an exception")  # pragma: no cover


@attrs.define(eq=False)
class _Server:
    """What all connections have in common."""

    build: Build
    authenticate: Authenticator | None
    origins: frozenset[str | None] | None
    ssl_context: ssl.SSLContext | None
    max_connections: int
    handshake_timeout: float
    max_message_size: int
    runner_settings: Mapping[str, float]
    transport: TransportName
    connections: int = 0
    turned_away: int = 0
    # Sessions that run, and those of them that outlive their connections.
    sessions: int = 0
    lasting: int = 0

    async def handle(self, stream: trio.SocketStream) -> None:
        """Serve one connection, from its first byte on."""
        # A client that comes back needs a place beside the one that its session has.
        if self.connections < self.max_connections + self.lasting:
            self.connections += 1
            try:
                await self._serve(stream, self.handshake_timeout, full=False)
            finally:
                self.connections -= 1
        elif self.turned_away < TURNED_AWAY:
            self.turned_away += 1
            try:
                await self._serve(stream, min(PARTING, self.handshake_timeout), full=True)
            finally:
                self.turned_away -= 1
        else:
            logger.info("dropped %s: too many connections", peer_name(stream))
            await drop(stream)

    async def _serve(self, tcp: trio.SocketStream, seconds: float, full: bool) -> None:
        stream: trio.abc.Stream = tcp
        if self.ssl_context is not None:
            stream = trio.SSLStream(tcp, self.ssl_context, server_side=True, https_compatible=True)
        async with trio.open_nursery() as nursery:
            line = Line(stream, nursery)
            try:
                incoming = None
                with trio.move_on_after(seconds) as scope:
                    incoming = await self._admit(line, full)
                if incoming is not None:
                    await self._run_session(incoming)
                elif scope.cancelled_caught:
                    logger.info("dropped %s: no handshake within %g s", line.stream.peer, seconds)
            finally:
                await line.abort()  # noqa: ASYNC102

    async def _admit(self, line: Line, full: bool) -> IncomingConnection | None:
        """Return the connection of a client that may connect."""
        try:
            incoming, refuse = await receive_request(line, self.max_message_size, self.transport)
        except LinkClosed as end:
            logger.info("dropped %s: no WebSocket handshake: %s", line.stream.peer, end.reason)
            return None
        status, reason = (503, "too many connections") if full else await self._judge(incoming)
        if not status:
            return incoming
        logger.info("refused %s: HTTP status %d, %s", incoming.remote, status, reason)
        with trio.move_on_after(PARTING):
            await reject(line, refuse, status, reason, CHALLENGE if status == 401 else None)
        return None

    async def _judge(self, incoming: IncomingConnection) -> tuple[int, str]:
        """Return with which status and reason to refuse a client; 0 to let it in."""
        if self.origins is not None and incoming.headers.get("origin") not in self.origins:
            return 403, "this origin is not allowed"
        if self.authenticate is None:
            return 0, ""
        try:
            known = await self.authenticate(incoming)
        except Exception:
            logger.exception("authenticate raised for %s, which is refused", incoming.remote)
            return 500, "internal error"
        if known:
            return 0, ""
        if "authorization" in incoming.headers:
            return 403, "these credentials are wrong"
        return 401, "credentials are needed"

    async def _run_session(self, incoming: IncomingConnection) -> None:
        """Run a session until its link is over; its crash ends here."""
        if await continue_session(incoming) is None:
            return
        if self.sessions >= self.max_connections:
            logger.info("refused %s: too many sessions", incoming.remote)
            await self._close(incoming, 1013, "too many sessions")
            return
        code = 1000
        self.sessions += 1
        try:
            await self._session(incoming)
        except* Exception as group:
            error = group.exceptions[0] if len(group.exceptions) == 1 else group
            logger.error("the session of %s crashed", incoming.remote, exc_info=error)
            code = 1011
        finally:
            self.sessions -= 1
        # The proxy has closed the connection, unless it never had the chance to.
        await self._close(incoming, code, "the session is over")

    async def _close(self, incoming: IncomingConnection, code: int, reason: str) -> None:
        with trio.move_on_after(PARTING):
            await incoming.transport.close(code, reason)

    async def _session(self, incoming: IncomingConnection) -> None:
        workers: list[Any] = list(await self.build(incoming))
        proxies = [each for each in workers if isinstance(each, WebSocketProxyServer)]
        if not proxies:
            raise TypeError(
                "build() must return a WebSocketProxyServer(..., websocket=websocket) among the "
                f"workers, not {workers!r}"
            )
        lasting = proxies[0].delivery == "at_least_once"
        self.lasting += lasting
        try:
            async with open_runner(*workers, **self.runner_settings):  # type: ignore[arg-type]
                await proxies[0].wait_stopped()
        finally:
            self.lasting -= lasting


@attrs.frozen
class _BearerToken:
    _token: bytes = attrs.field(repr=False)

    async def __call__(self, request: IncomingConnection, /) -> bool:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1"), self._token)
        return right and scheme.lower() == "bearer"


def bearer_token(token: str) -> Authenticator:
    """Make an authenticator for `serve_proxies` that lets in who has a secret.

    The client sends it as `headers={"Authorization": f"Bearer {token}"}`.  The comparison takes as
    long for a wrong secret as for the right one.

    Args:
        token: the secret: visible ASCII characters.

    Raises:
        TypeError: `token` is no str.
        ValueError: it is empty, or has other characters.
    """
    if not isinstance(token, str):
        raise TypeError(f"token must be a str, not a {type(token).__name__}")
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("token must have visible ASCII characters only, and at least one")
    return _BearerToken(token.encode())


def is_loopback(host: str | None) -> bool:
    """Tell whether only this machine can reach a listener at `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def check_origins(origins: Iterable[str | None]) -> frozenset[str | None]:
    """Check origins, and return them as a set.

    Raises:
        TypeError: it is one string instead of several, or something else is among them.
        ValueError: one is not written as browsers write it, and so would never be let in.
    """
    if isinstance(origins, str):
        raise TypeError(f"origins must be several strings: write ({origins!r},)")
    found = frozenset(origins)
    for each in found:
        if each is None or each == "null":
            continue
        if not isinstance(each, str):
            raise TypeError(f"origins: {each!r} is neither a str nor None")
        scheme, mark, rest = each.partition("://")
        if not (scheme and mark and rest) or "/" in rest or each != each.lower():
            raise ValueError(
                f"origins: {each!r} must look like 'https://example.org' or "
                "'http://localhost:8000', in small letters and without a path"
            )
    return found
