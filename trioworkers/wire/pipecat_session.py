"""One connection in Pipecat's dialect: a frame is a message, and there is nothing else.

No hello, no credit, no acknowledgements.  What this adds to the serializer is the count of what
could not be read: a peer that sends little else is sent away.
"""

from __future__ import annotations

import re

from .._values import error_text
from ..abc import MessageSerializer
from ..errors import LocalWireError, RemoteWireError
from ..messages import BusMessage
from .replies import FINAL

__all__ = ["PipecatSession", "answered_job"]

PATIENCE = 32
"""How many unreadable messages a peer may send; one is forgiven for every so many good ones."""

FORGIVEN_AFTER = 8


# The older names have a task where the newer ones have a job; other languages write spaces.
_ANSWER = re.compile(
    r'\s*\{\s*"__type__"\s*:\s*"[\w.]*Bus(?:(Job)|Task)(?:'
    + "|".join(kind.__name__.removeprefix("BusJob") for kind in FINAL)
    + r')"\s*,\s*"__data__"\s*:\s*\{.{0,1000}?"(?(1)job|task)_id"\s*:\s*"([\w.-]{1,128})"',
    re.DOTALL,
)


def answered_job(frame: bytes | str) -> str | None:
    """Return the id of the job that an unreadable message would have ended, if it looks like one.

    Only its beginning is looked at, as text: what comes later is why it cannot be read.
    """
    head = frame[:1400]
    match = _ANSWER.match(head if isinstance(head, str) else head.decode("latin-1"))
    return None if match is None else match[2]


class PipecatSession:
    """Encodes and decodes the messages of one connection."""

    __slots__ = ("_bad", "_good", "_serializer")

    def __init__(self, serializer: MessageSerializer) -> None:
        """Begin a connection."""
        self._serializer = serializer
        self._bad = 0
        self._good = 0

    @property
    def abused(self) -> bool:
        """Whether the peer has sent more unreadable messages than anybody sends by mistake."""
        return self._bad > PATIENCE

    def encode(self, message: BusMessage) -> bytes:
        """Return the frame for `message`.

        Raises:
            MessageTooBigError: it exceeds what the peer takes.
            LocalWireError: it cannot cross, or the serializer raised something else.
        """
        try:
            return self._serializer.serialize(message)
        except LocalWireError:
            raise
        except Exception as error:
            # A serializer of the user's, or what a payload does when it is looked at.
            raise LocalWireError(f"it could not be written: {error_text(error)}") from error

    def decode(self, frame: bytes | str) -> BusMessage:
        """Return the message in a binary or text frame.

        Raises:
            RemoteWireError: there is none, or one that is not taken; it is counted.
        """
        try:
            data = frame if isinstance(frame, bytes) else frame.encode()
            message = self._serializer.deserialize(data)
        except (RemoteWireError, UnicodeEncodeError) as error:
            self._bad += 1
            if isinstance(error, RemoteWireError):
                raise
            raise RemoteWireError(f"a text frame that is no text: {error}") from None
        self._good += 1
        if self._good >= FORGIVEN_AFTER:
            self._good = 0
            self._bad = max(0, self._bad - 1)
        return message
