"""What can be turned in a measurement of priority, and what is refused, in one place."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite
from typing import Any, Literal, TypeAlias, cast, get_args

import attrs

from trioworkers._mailbox import Overflow

__all__ = ["HandlerKind", "Link", "PrioritySettings", "SystemKind"]

HandlerKind: TypeAlias = Literal["busy", "sleeping", "blocked"]
SystemKind: TypeAlias = Literal["overlapping", "interrupting"]
Link: TypeAlias = Literal["local", "proxy"]

_MOST = 1_000_000
_DEFAULT_CAPACITY = 256


def _whole(low: int, high: int) -> Callable[[Any, Any, Any], None]:
    """Make a validator of whole numbers."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"{field.name} is a whole number, not {value!r}")
        if not low <= value <= high:
            raise ValueError(f"{field.name} is {value}: give a number from {low:,} to {high:,}")

    return check


def _number(low: float, high: float, unit: str) -> Callable[[Any, Any, Any], None]:
    """Make a validator of numbers."""

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise TypeError(f"{field.name} is a number, not {value!r}")
        if not low <= value <= high:
            what = f"{low:g} to {high:g} {unit}".rstrip()
            raise ValueError(f"{field.name} is {value:g}: give a number from {what}")

    return check


def _one_of(alias: Any) -> Callable[[Any, Any, Any], None]:
    """Make a validator of words."""
    words: tuple[str, ...] = get_args(alias)

    def check(_: object, field: attrs.Attribute[Any], value: object) -> None:
        if value not in words:
            raise ValueError(f"{field.name} is {value!r}: give one of {', '.join(words)}")

    return check


@attrs.frozen(kw_only=True)
class PrioritySettings:
    """How much of what is sent to whom: the knobs of a measurement of priority.

    `PrioritySettings.help()` has a sentence for each.  A scenario of your own reads those that it
    wants from `bench.settings`; `probe` heeds `interval`, `burst` and `patience` by itself.

    Raises:
        TypeError: a value is of the wrong type.
        ValueError: a value is out of its range, or does not go with another one.
    """

    backlog: int = attrs.field(
        default=10_000,
        validator=_whole(0, _MOST),
        metadata={"help": "data messages that wait before the first system message is sent"},
    )
    producers: int = attrs.field(
        default=8,
        validator=_whole(0, 1_000),
        metadata={"help": "tasks that send data for ever meanwhile"},
    )
    handler: HandlerKind = attrs.field(
        default=cast("Any", "busy"),
        validator=_one_of(HandlerKind),
        metadata={
            "help": "what a data handler does: compute, sleep, or wait until something interrupts it"
        },
    )
    cost: float = attrs.field(
        default=0.0,
        validator=_number(0, 10, "seconds"),
        metadata={"help": "how many seconds a data handler takes"},
    )
    system_share: float = attrs.field(
        default=0.0,
        validator=_number(0, 0.99, ""),
        metadata={"help": "the part of what the producers send that is system messages"},
    )
    probes: int = attrs.field(
        default=1_000,
        validator=_whole(1, _MOST),
        metadata={"help": "system messages whose latency is measured"},
    )
    interval: float = attrs.field(
        default=0.001,
        validator=_number(0.00001, 10, "seconds"),
        metadata={"help": "seconds between two bursts of them"},
    )
    burst: int = attrs.field(
        default=1,
        validator=_whole(1, 10_000),
        metadata={"help": "how many are sent at once; 1 is a steady load"},
    )
    neighbours: int = attrs.field(
        default=0,
        validator=_whole(0, 100_000),
        metadata={"help": "other workers that are busy all the time"},
    )
    capacity: int | None = attrs.field(
        default=None,
        validator=attrs.validators.optional(_whole(1, _MOST)),
        metadata={
            "help": "data messages that the mailbox holds; by default 256, or the backlog if that is more"
        },
    )
    overflow: Overflow = attrs.field(
        default=cast("Any", "wait"),
        validator=_one_of(Overflow),
        metadata={"help": "what happens when the mailbox is full"},
    )
    system_handler: SystemKind = attrs.field(
        default=cast("Any", "overlapping"),
        validator=_one_of(SystemKind),
        metadata={
            "help": "whether system handlers run beside a data handler, or interrupt it first"
        },
    )
    link: Link = attrs.field(
        default=cast("Any", "local"),
        validator=_one_of(Link),
        metadata={"help": "where the worker is: here, or beyond a proxy in another process"},
    )
    patience: float = attrs.field(
        default=10.0,
        validator=_number(0.1, 600, "seconds"),
        metadata={"help": "seconds to wait for system messages not handled yet"},
    )

    def __attrs_post_init__(self) -> None:
        """Refuse what does not go together."""
        if self.capacity is not None and self.capacity < self.backlog:
            raise ValueError(
                f"a mailbox with capacity {self.capacity:,} cannot hold a backlog of "
                f"{self.backlog:,}: give a smaller backlog, or leave the capacity out"
            )
        if self.link == "proxy" and self.neighbours:
            raise ValueError(
                f"{self.neighbours:,} neighbours and a link over a proxy do not go together: leave "
                "the neighbours out, or let the link be local"
            )
        if self.handler == "blocked" and self.cost:
            raise ValueError(
                "a blocked handler waits for ever and has no cost: leave the cost out, or let the "
                "handler be sleeping"
            )

    @property
    def mailbox_capacity(self) -> int:
        """How many data messages the mailbox is to hold."""
        if self.capacity is not None:
            return self.capacity
        return max(_DEFAULT_CAPACITY, self.backlog)

    @classmethod
    def help(cls) -> dict[str, str]:
        """Return a sentence on each setting, by its name."""
        return {field.name: str(field.metadata["help"]) for field in attrs.fields(cls)}
