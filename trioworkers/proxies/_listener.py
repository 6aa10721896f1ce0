"""A listening socket for Hypercorn, whose peers cannot hold it up."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs
import trio

from ._shared_stream import address_name

__all__ = ["GuardedListener", "check_port", "open_guarded_listener"]


@attrs.frozen
class GuardedListener:
    """A listening socket, to be handed to an ASGI server."""

    fd: int
    """Its file descriptor.  It belongs to the server as soon as that has it."""

    host: str
    """The address it is bound to."""

    port: int
    """The port it is bound to."""

    @property
    def bind(self) -> str:
        """What Hypercorn wants to know: `config.bind = [listener.bind]`."""
        return f"fd://{self.fd}"


@asynccontextmanager
async def open_guarded_listener(
    host: str | None, port: int, *, user_timeout: float = 2.0, backlog: int = 100
) -> AsyncGenerator[GuardedListener]:
    """Open a listening socket for the time of an `async with` block that runs the server.

    Under trio Hypercorn waits without end for a peer that has stopped reading, also when it is
    shut down or cancelled.  The connections of this socket give such a peer up (`TCP_USER_TIMEOUT`)
    after `user_timeout`: no byte of what was sent has been taken for so long.  Entering is a
    checkpoint.  Linux only.

    Args:
        host: the address to listen at; of a name the first one; None for all interfaces.
        port: the port; 0 lets the system choose.
        user_timeout: seconds, at least 0.001.
        backlog: how many connections may wait to be accepted.

    Raises:
        OSError: the address cannot be had; or this platform has no `TCP_USER_TIMEOUT`.
        TypeError: `port` is no int.
        ValueError: there is no such port; or `user_timeout` is too small.
    """
    check_port(port)
    option: int | None = getattr(socket, "TCP_USER_TIMEOUT", None)
    if option is None:
        raise OSError(
            "this platform has no TCP_USER_TIMEOUT: use serve_proxies(), which does without, or "
            "let something else end the server"
        )
    if not user_timeout >= 0.001:
        raise ValueError(f"user_timeout must be at least 0.001 seconds, and is {user_timeout!r}")
    family, address = await _resolve(host, port)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_TCP, option, int(user_timeout * 1000))
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            sock.bind(address)
        except OSError as error:
            raise OSError(
                error.errno, f"cannot listen at {address_name(address)}: {error.strerror}"
            ) from None
        sock.listen(backlog)
        found, actual = sock.getsockname()[:2]
        same = os.fstat(sock.fileno())
        fd = sock.detach()
    finally:
        sock.close()
    try:
        yield GuardedListener(fd, found, actual)
    finally:
        # The server has closed it, and the number may be another file's by now; or it never had it.
        with suppress(OSError):
            if os.path.samestat(os.fstat(fd), same):
                os.close(fd)


def check_port(port: object) -> None:
    """Check the number of a port: the system would take what is too big for another one.

    Raises:
        TypeError: it is no int.
        ValueError: there is no such port.
    """
    if isinstance(port, bool) or not isinstance(port, int):
        raise TypeError(f"port must be an int, not {port!r}")
    if not 0 <= port <= 65_535:
        raise ValueError(f"port must be from 0 to 65535, and is {port!r}")


async def _resolve(host: str | None, port: int) -> tuple[int, tuple[object, ...]]:
    found = await trio.socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _type, _protocol, _name, address = found[0]
    return family, address
