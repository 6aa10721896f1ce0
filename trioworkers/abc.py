"""What others may implement: a bus, a serializer, a check of who may connect, an instrument."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, Protocol

from .messages import BusMessage

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ._values import DeadLetter, Lagged, WorkerState

__all__ = ["Authenticator", "Instrument", "MessageSerializer", "WorkerBus"]


class WorkerBus(ABC):
    """Carries messages to workers by name."""

    @abstractmethod
    async def send(self, message: BusMessage) -> None:
        """Deliver `message` to its target, or to everybody who handles its type.

        A cancellation point each time, a schedule point at least every 64 sends or 1 ms.
        """

    @abstractmethod
    def send_nowait(self, message: BusMessage) -> None:
        """Deliver `message` at once or raise `trio.WouldBlock`."""

    @abstractmethod
    def send_from_thread(self, message: BusMessage) -> None:
        """Deliver `message` from a thread other than trio's; blocks that thread meanwhile."""

    @abstractmethod
    def open_subscription(
        self, *types: type[BusMessage], capacity: int = 256
    ) -> AbstractAsyncContextManager[AsyncIterator[BusMessage | Lagged]]:
        """Open a stream of all messages of these types, and of `Lagged` where it lagged."""

    @abstractmethod
    def open_dead_letters(
        self, *, capacity: int = 256
    ) -> AbstractAsyncContextManager[AsyncIterator[DeadLetter | Lagged]]:
        """Open a stream of what could not be delivered, and of `Lagged` where it lagged."""


class MessageSerializer(ABC):
    """Writes messages as bytes for a link, and reads them."""

    @abstractmethod
    def serialize(self, message: BusMessage) -> bytes:
        """Return `message` as bytes.

        Raises:
            MessageTooBigError: it exceeds what the peer takes.
            LocalWireError: it cannot cross the link.
        """

    @abstractmethod
    def deserialize(self, data: bytes) -> BusMessage:
        """Return the message that `data` says.  Must not import or build what `data` names.

        Raises:
            RemoteWireError: it says none, or one that this side does not take.
        """


class Authenticator(Protocol):
    """Decides who may connect to `serve_proxies`: any `async def` function of this form."""

    async def __call__(self, request: Any, /) -> bool:
        """Return whether the client may connect.

        Args:
            request: an `IncomingConnection`, with `path`, `headers`, `remote` and `offers`.
        """
        ...


class Instrument:
    """Watches a runner from inside: override the hooks you need.

    Hooks are synchronous and must be quick: they run in the middle of the work.  One that raises
    is removed and its exception logged; it cannot harm the run.
    """

    def worker_state_changed(self, worker: str, state: WorkerState) -> None:
        """Notice that a worker is in a new state."""

    def message_sent(self, message: BusMessage) -> None:
        """Notice that a message was put on the bus."""

    def message_handled(self, worker: str, message: BusMessage) -> None:
        """Notice that the handler of a data or system message returned; no hook, and no job's."""

    def job_started(self, worker: str, job_id: str, job: str) -> None:
        """Notice that a job's handler is about to make its first step."""

    def job_finished(self, worker: str, job_id: str, job: str, status: str) -> None:
        """Notice that a job's handler has exited."""

    def worker_restarted(self, worker: str, attempt: int, delay: float) -> None:
        """Notice that a supervisor will restart a worker after `delay` seconds."""

    def dead_letter(self, letter: DeadLetter) -> None:
        """Notice that a message could not be delivered."""
