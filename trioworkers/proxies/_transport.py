"""What a proxy asks of a WebSocket connection, whoever made it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Literal, NoReturn

__all__ = ["LinkClosed", "Transport", "again", "check_offered", "plain"]


class LinkClosed(Exception):
    """The connection is over.

    Attributes:
        code: the close code of RFC 6455; 1006 if none was received.
        reason: what the closing side said, or what went wrong, as text; may be empty.
        by: who ended it; `"network"` if that cannot be told.
    """

    def __init__(
        self, code: int = 1006, reason: str = "", by: Literal["peer", "us", "network"] = "network"
    ) -> None:
        """Take the code, the reason and who ended the connection."""
        super().__init__(f"{code} {plain(reason)}".strip() + f", closed by {by}")
        self.code: int = code
        self.reason: str = reason
        self.by: Literal["peer", "us", "network"] = by


def plain(text: str) -> str:
    """Return a peer's text so that it cannot pass for a line of its own in a log."""
    return text if text.isprintable() else repr(text)[1:-1]


def again(end: LinkClosed | None) -> LinkClosed:
    """Tell the same once more; an exception that is raised twice collects tracebacks."""
    return LinkClosed() if end is None else LinkClosed(end.code, end.reason, end.by)


class Transport(ABC):
    """One WebSocket connection.

    One task receives, one sends; `ping`, `close` and `abort` may be called by any.  Whoever made or
    took over a transport has to `abort` it in the end, also after `close`.
    """

    can_ping: ClassVar[bool] = False
    """Whether `ping` works."""

    websocket: Any
    """The underlying object, for event handlers."""

    peer: str
    """The other side, for logs: `"127.0.0.1:5123"`."""

    offers: tuple[str, ...] | None = None
    """The subprotocols that the client has offered; None if that cannot be known.

    On a client: those offered to the server.
    """

    subprotocol: str | None = None
    """The subprotocol that the server has chosen, once that is known."""

    unread: tuple[bytes | str, ...] = ()
    """What was received by somebody who has left it to whoever comes next; at most one message."""

    lost: LinkClosed | None = None
    """How the connection ended, as far as that was noticed: nothing can be received any more."""

    @property
    def accepted(self) -> bool:
        """Whether the opening handshake was answered, or cannot be seen to be open."""
        return True

    def widen(self, size: int) -> None:  # noqa: B027 - most have no limit, or not one of ours
        """Take messages of up to `size` bytes from now on, where the limit is ours and is lower."""

    @abstractmethod
    async def accept(self, subprotocol: str | None = None) -> None:
        """Answer the opening handshake, if that was not done yet.  A checkpoint.

        Args:
            subprotocol: the one to choose; it must be among `offers`.

        Raises:
            ValueError: it was not offered.
            LinkClosed: the client has gone.
        """

    @abstractmethod
    async def receive(self) -> bytes | str:
        """Return the next message, waiting for it.  A checkpoint; cancelled, it has lost nothing.

        Raises:
            LinkClosed: there is none any more.
        """

    async def early(self) -> bytes | str:
        """Return the next message, as `receive`, but never answer the opening handshake for it.

        For whoever wants to know of the end of a connection that is not to be used yet.

        Raises:
            LinkClosed: there is none any more, or the client has gone before it was accepted.
        """
        return await self.receive()

    async def pump(self, take: Callable[[bytes | str], object]) -> NoReturn:
        """Hand over every message as it comes.  A checkpoint.

        `take` is perhaps called by another task, but never after the end of this one, and not
        again once it has raised.  It must not wait.

        Args:
            take: gets the messages, one after the other.  If it returns something true, others have
                their turn before the next one.

        Raises:
            LinkClosed: there is none any more.
            Exception: whatever `take` has raised.
        """
        while True:
            take(await self.receive())

    @abstractmethod
    async def send(self, frames: Sequence[bytes]) -> None:
        """Send each of `frames` as a binary message, in one write where that is possible.

        A checkpoint.  A cancelled `send` may have sent a part: the only thing left to do then is
        `abort`.

        Raises:
            LinkClosed: the connection is closed or closing; some of it may have been sent.
        """

    @property
    def unfinished(self) -> bool:
        """Whether a part of a message that was sent with `send_now` is still to leave."""
        return False

    def send_now(self, frame: bytes) -> bool:
        """Send one binary message if that needs no waiting; tell whether that was done.

        Not while another task is sending.  What is left of a message that went only in part leaves
        first with the next `send`, which has to follow soon if it is `unfinished`, be it without
        any frames.
        """
        del frame
        return False

    async def ping(self) -> None:
        """Wait for the other side's WebSocket to answer a ping.  A checkpoint; takes any time.

        Raises:
            LinkClosed: the connection is over.
            NotImplementedError: this kind of connection cannot: `can_ping` is false.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot ping")

    @abstractmethod
    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection in an orderly way, waiting for the other side to agree.

        A checkpoint; takes any time, so bound it.  Has no effect on a connection that is over.

        Args:
            code: the close code to tell.
            reason: why; cut off at 123 bytes.
        """

    @abstractmethod
    async def abort(self) -> None:
        """Drop the connection now, without waiting.  Works in a cancelled scope, and twice."""


def check_offered(subprotocol: str | None, offers: Sequence[str] | None) -> None:
    """Check that a subprotocol may be chosen.

    Some servers stop altogether if one is chosen that was not offered.

    Raises:
        ValueError: it was not offered.
    """
    if subprotocol is not None and subprotocol not in (offers or ()):
        known = "nothing" if not offers else ", ".join(offers)
        raise ValueError(f"the client has not offered subprotocol {subprotocol!r}, but {known}")
