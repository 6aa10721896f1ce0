"""Finding files and sharing them out; nothing here knows of trio."""

from __future__ import annotations

import heapq
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path

import attrs

import trioworkers

__all__ = [
    "Found",
    "Kind",
    "Root",
    "Search",
    "default_roots",
    "find_files",
    "named_roots",
    "share_out",
]


_CACHE = "__pycache__"


class Kind(StrEnum):
    """What became of a file."""

    TEXT = "text"
    BINARY = "binary"
    UNREADABLE = "unreadable"
    HIDDEN = "hidden"
    OTHER = "other"


@attrs.frozen
class Root:
    """A place to search, and how it is written for people."""

    path: str
    label: str


@attrs.frozen
class Found:
    """A file to read: `size` is the number of bytes it had when it was found."""

    path: str
    label: str
    size: int


@attrs.frozen
class Search:
    """What a search found: files to read, and how many others of which kind."""

    files: tuple[Found, ...]
    others: Counter[Kind]


def default_roots() -> tuple[Root, ...]:
    """Return this package's source, and its documentation if that lies beside it."""
    package = Path(trioworkers.__file__).parent
    roots = [package]
    # Beside an installed package, "docs" would be somebody else's.
    if (package.parent / "pyproject.toml").is_file() and (package.parent / "docs").is_dir():
        roots.append(package.parent / "docs")
    return tuple(Root(str(root), root.name) for root in roots)


def named_roots(paths: Iterable[str]) -> tuple[Root, ...]:
    """Return the roots that a user named, each once.

    Raises:
        OSError: one does not exist, or cannot be looked at; `filename` says which.
    """
    roots: dict[str, Root] = {}
    for path in paths:
        os.stat(path)
        roots.setdefault(os.path.abspath(path), Root(path, os.path.normpath(path)))
    return tuple(roots.values())


def find_files(roots: Iterable[Root], go_on: Callable[[], bool] = lambda: True) -> Search:
    """Find the files at and below `roots`, each once.

    Hidden files and folders, links, pipes and devices below a root are only counted; folders
    named `__pycache__`, which hold nothing that anybody wrote, are passed over.

    Args:
        roots: where to look.
        go_on: asked at each folder; when it returns False, the search ends there.
    """
    others: Counter[Kind] = Counter()
    files: dict[str, Found] = {}
    for root in roots:
        for found in _search(root, others, go_on):
            files.setdefault(os.path.abspath(found.path), found)
    return Search(tuple(files.values()), others)


def _search(root: Root, others: Counter[Kind], go_on: Callable[[], bool]) -> Iterator[Found]:
    try:
        state = os.stat(root.path)
    except OSError:
        others[Kind.UNREADABLE] += 1
        return
    if stat.S_ISDIR(state.st_mode):
        yield from _walk(root, others, go_on)
    elif stat.S_ISREG(state.st_mode):
        yield Found(root.path, root.label, state.st_size)
    else:
        others[Kind.OTHER] += 1


def _walk(root: Root, others: Counter[Kind], go_on: Callable[[], bool]) -> Iterator[Found]:
    folders = [root]
    while folders and go_on():
        folder = folders.pop()
        try:
            entries = sorted(os.scandir(folder.path), key=lambda entry: entry.name)
        except OSError:
            others[Kind.UNREADABLE] += 1
            continue
        for entry in reversed(entries):
            if entry.name == _CACHE:
                continue
            label = os.path.normpath(os.path.join(folder.label, entry.name))
            match _look_at(entry):
                case None:
                    folders.append(Root(entry.path, label))
                case int(size):
                    yield Found(entry.path, label, size)
                case kind:
                    others[kind] += 1


def _look_at(entry: os.DirEntry[str]) -> Kind | int | None:
    """Return the size of a file, None for a folder, and of the rest what it is."""
    if entry.name.startswith("."):
        return Kind.HIDDEN
    try:
        if entry.is_dir(follow_symlinks=False):
            return None
        if entry.is_file(follow_symlinks=False):
            return entry.stat(follow_symlinks=False).st_size
    except OSError:
        return Kind.UNREADABLE
    return Kind.OTHER


def share_out(files: Sequence[Found], shares: int) -> list[tuple[Found, ...]]:
    """Share out `files` so that all shares are about equally much work.

    Args:
        files: what there is to do.
        shares: how many shares there are at most; none is empty.
    """
    number = min(shares, len(files))
    heap = [(0, index) for index in range(number)]
    result: list[list[Found]] = [[] for _ in range(number)]
    for file in sorted(files, key=lambda file: -file.size):
        work, index = heapq.heappop(heap)
        result[index].append(file)
        # Opening a file is some work, even if it is empty.
        heapq.heappush(heap, (work + file.size + 1, index))
    return [tuple(share) for share in result]
