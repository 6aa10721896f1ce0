"""Counting the words of files, bit by bit; nothing here knows of trio.

A file is text if it is UTF-8 without NUL bytes, and binary otherwise.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator

import attrs

from .files import Found, Kind

__all__ = ["CHUNK", "Counted", "Step", "WordCount", "count_files", "next_step"]

CHUNK = 128 * 1024
"""How many bytes are read, and counted, at once."""

LONGEST_WORD = 100
"""Longer runs of letters are data (base64, mostly) and no words."""

_WORD = re.compile(r"[^\W\d_]+")
_LETTER = re.compile(r"[^\W\d_]")


@attrs.frozen
class Counted:
    """What became of one file; `words` and `size` (bytes) are what was counted of it."""

    label: str
    kind: Kind
    words: int = 0
    size: int = 0


@attrs.frozen
class Step:
    """A bit of progress: files that are done, and bytes that are done.

    `within_file` says that another file is half counted.
    """

    files: tuple[Counted, ...]
    size: int
    within_file: bool


class WordCount:
    """Counts the words of one text, which comes in pieces cut anywhere.

    A word is a run of letters; upper and lower case are one.
    """

    def __init__(self) -> None:
        """Start without a word."""
        # Grows with the number of different words: it is the result.
        self._words: Counter[str] = Counter()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._rest = ""

    def feed(self, piece: bytes) -> None:
        """Count one piece.

        Raises:
            ValueError: this is no text.
        """
        if b"\0" in piece:
            raise ValueError("a text has no NUL bytes")
        text = self._rest + self._decoder.decode(piece)
        start = _start_of_last_word(text)
        self._words.update(_WORD.findall(text[:start]))
        # One letter more than the longest word is enough to know that it is too long.
        self._rest = text[start:][: LONGEST_WORD + 1]

    def finish(self) -> Counter[str]:
        """Return how often each word occurred.

        Raises:
            ValueError: the text ends within a character.
        """
        self._decoder.decode(b"", final=True)
        self._words.update(_WORD.findall(self._rest))
        words: Counter[str] = Counter()
        for word, number in self._words.items():
            if len(word) <= LONGEST_WORD:
                words[word.lower()] += number
        return words


def _start_of_last_word(text: str) -> int:
    """Return where the letters begin that `text` ends with."""
    if text.isalpha():
        return 0
    start = len(text)
    while start and _LETTER.match(text, start - 1):
        start -= 1
    return start


def count_files(files: Iterable[Found], words: Counter[str]) -> Iterator[Step]:
    """Count the words of `files`; each step is about one chunk.

    Args:
        files: what to read.
        words: where the words of the text files are added.
    """
    done: list[Counted] = []
    size = 0
    for file in files:
        for more, counted in _count_file(file, words):
            size += more
            if counted is not None:
                done.append(counted)
            if size >= CHUNK or (counted is not None and file.size >= CHUNK):
                yield Step(tuple(done), size, within_file=counted is None)
                done, size = [], 0
    if done:
        yield Step(tuple(done), size, within_file=False)


def next_step(steps: Iterator[Step]) -> Step | None:
    """Take the next step, or return None after the last one."""
    return next(steps, None)


def _count_file(file: Found, words: Counter[str]) -> Iterator[tuple[int, Counted | None]]:
    """Yield how many more bytes are done, and in the end, with it, what became of the file."""
    count = WordCount()
    read = told = 0
    try:
        for piece in _pieces(file):
            count.feed(piece)
            read += len(piece)
            if read < file.size:
                yield len(piece), None
                told = read
        found = count.finish()
    except OSError:
        counted = Counted(file.label, Kind.UNREADABLE)
    except ValueError:
        counted = Counted(file.label, Kind.BINARY)
    else:
        words.update(found)
        counted = Counted(file.label, Kind.TEXT, found.total(), read)
    # What nobody will read is done too.
    yield file.size - told, counted


def _pieces(file: Found) -> Iterator[bytes]:
    """Read a file, but no more than it held when it was found: some grow, or never end."""
    left = file.size
    with open(file.path, "rb", buffering=0) as stream:
        while left > 0 and (piece := stream.read(min(left, CHUNK))):
            left -= len(piece)
            yield piece
