"""Messages that come in several frames, put together; pure."""

from __future__ import annotations

import codecs

__all__ = ["Pieces"]

_decoder_of_utf8 = codecs.getincrementaldecoder("utf-8")


class Pieces:
    """Puts the frames of each message of one connection together.

    The frames are in an order that WebSocket allows, and their sizes have a limit: both is seen to
    before.  What is no text is noticed with the first frame that shows it.
    """

    def __init__(self) -> None:
        """Begin before the first frame."""
        self._begun = bytearray()
        self._text: codecs.IncrementalDecoder | None = None

    def whole(self, data: bytes | bytearray, *, text: bool) -> bytes | str:
        """Return the message of a frame that is first and last.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        return str(data, "utf-8") if text else bytes(data)

    def begin(self, data: bytes | bytearray, *, text: bool) -> None:
        """Keep the first of several frames.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        self._begun = bytearray()
        self._text = _decoder_of_utf8() if text else None
        self.go_on(data, final=False)

    def go_on(self, data: bytes | bytearray, *, final: bool) -> bytes | str | None:
        """Take a further frame; return the message if it is the last one.

        Raises:
            UnicodeDecodeError: it is no text.
        """
        if self._text is not None:
            self._text.decode(data, final)
        self._begun += data
        if not final:
            return None
        # Bytes are kept, and not what they were decoded to: many short texts take a lot of room.
        whole, self._begun = self._begun, bytearray()
        return bytes(whole) if self._text is None else str(whole, "utf-8")
