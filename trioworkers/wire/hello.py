"""What the two sides of a native link say at the beginning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
from attrs.validators import and_, instance_of, max_len, min_len, optional

from ..errors import RemoteWireError
from .chunks import Lane

__all__ = ["VERSION", "Hello", "LinkLimits", "Place", "between", "pick"]

VERSION = 1


def between(
    least: float, most: float, kinds: tuple[type, ...] = (int,)
) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """Return a validator of numbers."""

    def check(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
        # A bool is an int, too.
        if type(value) not in kinds or not least <= value <= most:
            raise ValueError(
                f"{field.name} must be a number from {least} to {most}, not {value!r:.50}"
            )

    return check


# Far below what the wire has room for, so that nothing that is counted on from here gets there.
_number = between(0, 2**62)
_name = and_(instance_of(str), min_len(1), max_len(128))


@attrs.frozen
class LinkLimits:
    """What one side takes.

    `message_size` is in bytes, and `heartbeat` in seconds.  `window` is how many bytes of data and
    replies may be on their way; `messages` is how many messages of one lane may be on their way or
    wait to be delivered.  Of `window` and `messages` the smaller one of both sides counts.
    """

    message_size: int = attrs.field(default=2**20, validator=between(1, 2**31))
    window: int = attrs.field(default=2**16, validator=between(64, 2**31))
    messages: int = attrs.field(default=1024, validator=between(1, 2**31))
    heartbeat: float = attrs.field(default=20.0, validator=between(0.001, 1e6, (int, float)))

    @property
    def lane_window(self) -> int:
        """How many bytes of one lane may be on their way."""
        return self.window // 2

    def with_peer(self, peer: LinkLimits) -> LinkLimits:
        """Return what counts for what comes from a peer with limits of its own."""
        return attrs.evolve(
            self,
            window=min(self.window, peer.window),
            messages=min(self.messages, peer.messages),
        )


@attrs.frozen
class Place:
    """The number of the last message of each lane, and of the last cancel."""

    data: int = attrs.field(validator=_number)
    system: int = attrs.field(validator=_number)
    reply: int = attrs.field(validator=_number)
    cancels: int = attrs.field(validator=_number)

    def of(self, lane: Lane) -> int:
        """Return the number of the last message of a lane."""
        return (self.data, self.system, self.reply)[lane]


@attrs.frozen
class Hello:
    """Who speaks and what it takes.

    `name` is that of this side of this connection, and unlike all others.  `sent` is how far it has
    come itself.  `meeting` is the connection over which it last met somebody it did not know, and
    `had` how far that one has come since: if both say the same meeting, they go on from there.
    `keeps` says whether it will remember this meeting; where one side does not, there is none.
    """

    version: int = attrs.field(validator=between(1, 2**31))
    name: str = attrs.field(validator=_name)
    limits: LinkLimits
    sent: Place
    meeting: str | None = attrs.field(validator=optional(and_(instance_of(str), max_len(260))))
    had: Place
    keeps: bool = attrs.field(default=False, validator=instance_of(bool))

    @classmethod
    def read(cls, said: dict[str, Any]) -> Hello:
        """Read a hello; what a later version may have added is left out.

        Raises:
            RemoteWireError: it is none.
        """
        try:
            return cls(
                said["version"],
                said["name"],
                pick(LinkLimits, said["limits"]),
                pick(Place, said["sent"]),
                said["meeting"],
                pick(Place, said["had"]),
                said.get("keeps", False),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteWireError(
                f"a hello that cannot be read ({error!r:.200}): {said!r:.200}"
            ) from None

    def knows(self, other: Hello) -> bool:
        """Tell whether two that say this to each other go on from where they were."""
        return self.meeting is not None and self.meeting == other.meeting

    def meet(self, other: Hello) -> str:
        """Return what both call the meeting of two that do not."""
        return " ".join(sorted((self.name, other.name)))


def pick(cls: Any, said: dict[str, Any]) -> Any:
    """Return an object of an attrs class whose fields are all in a dict, among others."""
    return cls(**{field.name: said[field.name] for field in attrs.fields(cls)})
