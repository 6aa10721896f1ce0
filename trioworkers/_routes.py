"""What the bus finds behind a name, and where it queues messages for it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import trio

from ._mailbox import Overflow
from ._waits import Mover
from .messages import BusMessage, BusSystemMessage

__all__ = ["Intake", "Route"]


class Intake(Protocol):
    """Where messages for a name are queued: a worker's mailbox, or what leaves over a link."""

    dropped: int

    @property
    def name(self) -> str:
        """Whose messages are queued here."""
        ...

    @property
    def overflow(self) -> Overflow:
        """What happens when the data lane is full."""
        ...

    @property
    def waiting(self) -> OrderedDict[Any, Any] | None:
        """Who waits for room, and what is to enter then."""
        ...

    @property
    def full(self) -> bool:
        """Whether the data lane holds as much as it may."""
        ...

    def put(self, item: Any, now: float) -> bool:
        """Put `item` in the data lane; False if it is full and the sender has to wait."""
        ...

    def put_system(self, message: BusSystemMessage) -> None:
        """Put `message` in the system lane."""
        ...

    def wait(self, ticket: Any, item: Any) -> None:
        """Note that `ticket` waits until `item` has entered the data lane."""
        ...

    def wait_label(self) -> str:
        """Return the name of whoever makes room."""
        ...

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return who must move before there is room."""
        ...


class Route(Protocol):
    """What is behind a name on the bus: a worker slot, a runner, or a worker beyond a link."""

    @property
    def path(self) -> str:
        """Where it is, for reasons and logs."""
        ...

    @property
    def mailbox(self) -> Intake | None:
        """Where messages for it are queued; None if they cannot be."""
        ...

    @property
    def present_nursery(self) -> trio.Nursery | None:
        """Where whoever handles its messages now lives; None if nobody does, or nobody here."""
        ...

    def hears(self, message: BusMessage) -> bool:
        """Tell whether a broadcast is for it now."""
        ...

    def wake_system(self, message: BusSystemMessage) -> None:
        """See to it that the system message just queued is handled."""
        ...

    def command(self, message: BusMessage) -> None:
        """Carry out a message that acts at once instead of being queued."""
        ...
