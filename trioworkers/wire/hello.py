"""What the two sides of a native link say at the beginning."""

from __future__ import annotations

from typing import Any

import attrs
from attrs.validators import and_, ge, instance_of, max_len, optional

from ..errors import RemoteWireError
from .chunks import Lane

__all__ = ["Hello", "LinkLimits", "Place"]

_count = and_(instance_of(int), ge(0))
_name = and_(instance_of(str), max_len(128))


@attrs.frozen
class LinkLimits:
    """What one side takes.

    `message_size` is in bytes, and `heartbeat` in seconds.  `window` is how many bytes of data and
    replies may be on their way; `messages` is how many messages of one lane may be on their way or
    wait to be delivered.
    """

    message_size: int = attrs.field(default=2**20, validator=and_(_count, ge(1)))
    window: int = attrs.field(default=2**16, validator=and_(_count, ge(64)))
    messages: int = attrs.field(default=1024, validator=and_(_count, ge(1)))
    heartbeat: float = attrs.field(
        default=20.0, validator=and_(instance_of((int, float)), ge(0.001))
    )

    @property
    def lane_window(self) -> int:
        """How many bytes of one lane may be on their way."""
        return self.window // 2


@attrs.frozen
class Place:
    """The number of the last message of each lane, and of the last cancel."""

    data: int = attrs.field(validator=_count)
    system: int = attrs.field(validator=_count)
    reply: int = attrs.field(validator=_count)
    cancels: int = attrs.field(validator=_count)

    def of(self, lane: Lane) -> int:
        """Return the number of the last message of a lane."""
        return (self.data, self.system, self.reply)[lane]


@attrs.frozen
class Hello:
    """Who speaks and what it takes.

    `sent` is how far it has come itself, `knows` the epoch of the other side that it has met, and
    `had` how far that had come.
    """

    version: int = attrs.field(validator=and_(instance_of(int), ge(1)))
    epoch: str = attrs.field(validator=_name)
    limits: LinkLimits
    sent: Place
    knows: str | None = attrs.field(validator=optional(_name))
    had: Place

    @classmethod
    def read(cls, said: dict[str, Any]) -> Hello:
        """Read a hello; what a later version may have added is left out.

        Raises:
            RemoteWireError: it is none.
        """
        try:
            return cls(
                said["version"],
                said["epoch"],
                _pick(LinkLimits, said["limits"]),
                _pick(Place, said["sent"]),
                said["knows"],
                _pick(Place, said["had"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise RemoteWireError(
                f"a hello that cannot be read ({error!r}): {said!r:.200}"
            ) from None


def _pick(cls: Any, said: dict[str, Any]) -> Any:
    return cls(**{field.name: said[field.name] for field in attrs.fields(cls)})
