"""What the two processes of `demo --remote` tell each other, as data that can cross a link.

Nothing here knows of trio.  Names of files cross as bytes: not every name is text.  Findings may be
larger than a message may be, so they cross in pieces; what comes last says how many there were.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs

from .counting import Findings, Survey
from .files import Kind, Root
from .words import Counted

__all__ = ["Errand", "PiecesLost", "Puzzle", "Summary", "pieces"]

T = TypeVar("T")

# A message is at most 1 MiB, a path 4 KiB, and a word 100 letters, of up to 12 bytes in JSON.
_FILES = 100
_WORDS = 500


@attrs.frozen
class Errand:
    """A survey that can cross a link; each root is a path and its label."""

    roots: tuple[tuple[bytes, bytes], ...]
    workers: int

    @classmethod
    def of(cls, survey: Survey) -> Errand:
        """Pack a survey."""
        roots = ((os.fsencode(root.path), os.fsencode(root.label)) for root in survey.roots)
        return cls(tuple(roots), survey.workers)

    def survey(self) -> Survey:
        """Unpack it."""
        roots = (Root(os.fsdecode(path), os.fsdecode(label)) for path, label in self.roots)
        return Survey(tuple(roots), self.workers)


def pieces(findings: Findings) -> Iterator[dict[str, Any]]:
    """Cut findings into pieces that fit into a message."""
    for files in _slices(findings.files, _FILES):
        yield {"counted": [_as_row(file) for file in files]}
    for words in _slices(tuple(findings.words.items()), _WORDS):
        yield {"words": dict(words)}


@attrs.frozen
class Summary:
    """What is told when all pieces were sent: how much was in them, and what is in none."""

    files: int
    words: int
    others: dict[str, int]
    uncounted: int

    @classmethod
    def of(cls, findings: Findings) -> Summary:
        """Sum up findings."""
        others = {kind.value: number for kind, number in findings.others.items()}
        words = findings.words.total()
        return cls(len(findings.files), words, others, findings.uncounted)


class PiecesLost(Exception):
    """Some of the findings did not arrive."""


class Puzzle:
    """Puts findings together again."""

    def __init__(self) -> None:
        """Begin without a piece."""
        # Grow with what was found: they are the result.
        self._files: list[Counted] = []
        self._words: Counter[str] = Counter()

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add a piece, in the order of sending."""
        self._files += (_from_row(row) for row in piece.get("counted", ()))
        self._words.update(piece.get("words", {}))

    def finish(self, summary: Summary) -> Findings:
        """Return the findings.

        Raises:
            PiecesLost: they are not whole.
        """
        files, words = len(self._files), self._words.total()
        if (files, words) != (summary.files, summary.words):
            raise PiecesLost(
                f"of {summary.files} files and {summary.words} words only {files} and {words} "
                "came over the link"
            )
        others = Counter({Kind(kind): number for kind, number in summary.others.items()})
        return Findings(tuple(self._files), self._words, others, summary.uncounted)


def _as_row(file: Counted) -> list[Any]:
    return [os.fsencode(file.label), file.kind.value, file.words, file.size]


def _from_row(row: Sequence[Any]) -> Counted:
    label, kind, words, size = row
    return Counted(os.fsdecode(label), Kind(kind), words, size)


def _slices(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
