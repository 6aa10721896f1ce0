"""What may cross a link: pure decisions about one message at a time.

A proxy stands for one worker on each side.  Both ways are strict: the rules are looked at in this
order, and the first one that speaks decides.

| message | out, to the peer | in, from the peer |
|---|---|---|
| what a peer sent and nobody here knows (`ForeignMessage`) | refused | refused |
| local-only (`BusLocalMessage`), without a lane, or derived from a message of the job protocol | \
refused | refused |
| announcement (`BusWorkerRegistryMessage`) | refused: the proxy announces by itself | only if it \
names the remote worker, and nobody else |
| its source | has to be the local worker | has to be the remote worker |
| session control (`SESSION_CONTROL`) | only if exactly this type is in `forward_messages` | the \
same |
| its target | the remote worker, or None if the type is in `forward_messages` | the local worker, \
or None if the type is in `forward_messages` |
| its type | any, but see below | in `accept`, if that was given |

`forward_messages` and `accept` name classes, and with a class its subclasses; only session control
has to be named exactly, so that a base class never lets it through by accident.

What comes in is delivered to the local worker and to nobody else.  `accept` does not apply to
announcements.  A job is refused on its way out if `accept` leaves out one of the messages that can
end it (`wire.replies.FINAL`): its requester might wait for ever.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import Any, cast

import attrs

from ..messages import (
    BusCancelMessage,
    BusCancelWorkerMessage,
    BusEndMessage,
    BusEndWorkerMessage,
    BusJobRequestMessage,
    BusLocalMessage,
    BusMessage,
    BusWorkerRegistryMessage,
    check_name,
)
from ..wire import ForeignMessage
from ..wire.replies import FINAL, unfit

__all__ = ["SESSION_CONTROL", "Decision", "ProxyPolicy"]

SESSION_CONTROL: tuple[type[BusMessage], ...] = (
    BusEndMessage,
    BusCancelMessage,
    BusEndWorkerMessage,
    BusCancelWorkerMessage,
)
"""What stops workers or runners.  It crosses only when it is named in `forward_messages`."""


@attrs.frozen
class Decision:
    """Whether a message may cross, and if not, why; `receiver` is the one worker that gets it.

    An announcement that may cross has no receiver: the proxy itself takes it.
    """

    allowed: bool
    receiver: str | None = None
    reason: str = ""

    def __bool__(self) -> bool:
        """Tell whether the message may cross."""
        return self.allowed


_ANNOUNCED = Decision(True)


def _refused(reason: str) -> Decision:
    return Decision(False, None, reason)


class ProxyPolicy:
    """The rules of one proxy.

    Args:
        local: the worker on this side.
        remote: the worker on the other side, as the peer names it.
        forward_messages: types that cross without a target too, and the session control that may
            cross.
        accept: if given, only these types come in.

    Raises:
        TypeError: a type is no message class.
        ValueError: a name is not allowed, or both are the same; or a type is local-only.
    """

    def __init__(
        self,
        local: str,
        remote: str,
        *,
        forward_messages: Iterable[type[BusMessage]] = (),
        accept: Iterable[type[BusMessage]] | None = None,
    ) -> None:
        self.local: str = check_name(local, "local worker name")
        self.remote: str = check_name(remote, "remote worker name")
        if local == remote:
            raise ValueError(
                f"the local and the remote worker are both {local!r}: rename one of them, or it "
                "could not be told who is meant"
            )
        self.forward_messages: tuple[type[BusMessage], ...] = _classes(
            "forward_messages", forward_messages
        )
        self.accept: tuple[type[BusMessage], ...] | None = (
            None if accept is None else _classes("accept", accept)
        )
        self._out = Decision(True, remote)
        self._in = Decision(True, local)
        self._unheard = [kind.__qualname__ for kind in FINAL if not self._takes(kind)]
        # Types of which a message has crossed between the two workers: then any other one may, as
        # beside its type only its source and target count.  There are no more of them than classes.
        self._known_out: set[type[BusMessage]] = set()
        self._known_in: set[type[BusMessage]] = set()

    def outbound(self, message: BusMessage) -> Decision:
        """Decide about a message on the way from the local bus to the peer."""
        direct = message.target == self.remote and message.source == self.local
        if direct and type(message) in self._known_out:
            return self._out
        decision = self._judge_outbound(message)
        if direct and decision is self._out:
            self._known_out.add(type(message))
        return decision

    def inbound(self, message: BusMessage) -> Decision:
        """Decide about a message on the way from the peer to the local bus."""
        direct = message.target == self.local and message.source == self.remote
        if direct and type(message) in self._known_in:
            return self._in
        decision = self._judge_inbound(message)
        if direct and decision is self._in:
            self._known_in.add(type(message))
        return decision

    def _judge_outbound(self, message: BusMessage) -> Decision:
        if reason := _never(message):
            return _refused(reason)
        if isinstance(message, BusWorkerRegistryMessage):
            return _refused("announcements are made by the proxy itself")
        if reason := self._hindrance(message, self.local, self.remote):
            return _refused(reason)
        if self._unheard and isinstance(message, BusJobRequestMessage):
            return _refused(f"accept=(...) leaves out {self._unheard[0]}, which can end the job")
        return self._out

    def _judge_inbound(self, message: BusMessage) -> Decision:
        if reason := _never(message):
            return _refused(reason)
        if isinstance(message, BusWorkerRegistryMessage):
            return self._announcement(message)
        if reason := self._hindrance(message, self.remote, self.local):
            return _refused(reason)
        if not self._takes(type(message)):
            return _refused(f"{type(message).__qualname__} is not in accept=(...)")
        return self._in

    def _hindrance(self, message: BusMessage, source: str, target: str) -> str | None:
        """Say what keeps a message from crossing, in either direction."""
        kind = type(message)
        if message.source != source:
            return f"its source is {message.source!r}, only {source!r} may send through this proxy"
        if isinstance(message, SESSION_CONTROL):
            forwarded = kind in self.forward_messages
            if not forwarded:
                return f"{kind.__qualname__} stops others and is not in forward_messages=(...)"
        else:
            forwarded = isinstance(message, self.forward_messages)
        if message.target == target or (message.target is None and forwarded):
            return None
        if message.target is None:
            return f"it has no target, and {kind.__qualname__} is not in forward_messages=(...)"
        return f"its target is {message.target!r}, only {target!r} can be reached"

    def _announcement(self, message: BusWorkerRegistryMessage) -> Decision:
        if message.target is not None and message.target != self.local:
            return _refused(f"an announcement to {message.target!r}")
        named = [entry.name for entry in message.workers]
        if named != [self.remote]:
            return _refused(f"it announces {named[:4]}, only {self.remote!r} may be announced")
        return _ANNOUNCED

    def _takes(self, kind: type[BusMessage]) -> bool:
        return self.accept is None or issubclass(kind, self.accept)


def _never(message: BusMessage) -> str | None:
    """Say why a message crosses no proxy at all."""
    if isinstance(message, ForeignMessage):
        return f"{message.tag}: {message.detail}"
    return _never_of(cast("Any", type(message)))


@functools.lru_cache(maxsize=256)
def _never_of(kind: Any) -> str | None:
    if issubclass(kind, BusLocalMessage):
        return f"{kind.__qualname__} is local-only"
    reason = unfit(kind)
    return reason and f"{kind.__qualname__} cannot cross: {reason}"


def _shown(given: object) -> str:
    return given.__name__ if isinstance(given, type) else repr(given)


def _classes(what: str, given: Iterable[Any]) -> tuple[type[BusMessage], ...]:
    if isinstance(given, type | str) or not isinstance(given, Iterable):
        raise TypeError(f"{what} takes several message classes, such as ({_shown(given)},)")
    classes = tuple(given)
    for each in classes:
        if not (isinstance(each, type) and issubclass(each, BusMessage)):
            raise TypeError(f"{what}: {each!r} is no message class")
        if issubclass(each, BusLocalMessage):
            raise ValueError(f"{what}: {each.__qualname__} is local-only and never crosses")
    return classes
