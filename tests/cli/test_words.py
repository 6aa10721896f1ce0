"""The counting of words, without workers."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers._cli.demo.files import Found, Kind
from trioworkers._cli.demo.words import CHUNK, LONGEST_WORD, WordCount, count_files


def count(*pieces: bytes) -> Counter[str]:
    """Count the words of a text that comes in pieces."""
    words = WordCount()
    for piece in pieces:
        words.feed(piece)
    return words.finish()


def found(path: Path) -> Found:
    """Describe a file as a search does."""
    return Found(str(path), path.name, path.stat().st_size)


def test_words() -> None:
    """A word is a run of letters, whatever its case; digits and underscores separate words."""
    words = count("Ärger, ärger! max_size x2y don't 3 İstanbul 世界".encode())
    assert words == Counter(
        ["ärger", "ärger", "max", "size", "x", "y", "don", "t", "i̇stanbul", "世界"]
    )


@given(
    st.text(alphabet=st.sampled_from("aBß世é_1 \n") | st.characters(codec="utf-8"), max_size=60),
    st.lists(st.integers(min_value=0, max_value=150)),
)
def test_cuts_do_not_matter(text: str, cuts: list[int]) -> None:
    """Wherever a text is cut, between words, within one or within a letter, the count is the same."""
    data = text.replace("\0", "").encode()
    places = [0, *sorted(cuts), len(data)]
    pieces = [data[start:end] for start, end in pairwise(places)]
    assert count(*pieces) == count(data)


@pytest.mark.parametrize("extra", [0, 1, 500_000])
def test_long_words(extra: int) -> None:
    """A run of letters that is too long is no word, however it is cut, and is not piled up."""
    data = b"a" * (LONGEST_WORD + extra)
    expected = {data.decode(): 1, "b": 1} if extra == 0 else {"b": 1}
    assert count(data, b" b") == expected
    assert count(*(data[at : at + 1000] for at in range(0, len(data), 1000)), b" b") == expected


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfea\0", "é".encode("latin-1"), "é".encode()[:1]])
def test_binary_data(data: bytes) -> None:
    """What has NUL bytes, or is not UTF-8, or ends within a character, is no text."""
    with pytest.raises(ValueError, match=r"."):
        count(data)


def test_files_of_all_kinds(tmp_path: Path) -> None:
    """Text is counted, binary and unreadable files are told; all bytes are progress, once."""
    (tmp_path / "text").write_text("one two two")
    (tmp_path / "empty").touch()
    (tmp_path / "binary").write_bytes(b"one\0" * CHUNK)
    (tmp_path / "late").write_bytes(b"one " * CHUNK + b"\xff")
    files = [found(tmp_path / name) for name in ("text", "empty", "binary", "late")]
    files.append(Found(str(tmp_path / "gone"), "gone", 7))
    words: Counter[str] = Counter()
    steps = list(count_files(files, words))
    counted = {file.label: file for step in steps for file in step.files}
    assert {name: file.kind for name, file in counted.items()} == {
        "text": Kind.TEXT,
        "empty": Kind.TEXT,
        "binary": Kind.BINARY,
        "late": Kind.BINARY,
        "gone": Kind.UNREADABLE,
    }
    assert words == {"one": 1, "two": 2}
    assert (counted["text"].words, counted["text"].size) == (3, 11)
    assert sum(step.size for step in steps) == sum(file.size for file in files)


def test_a_file_that_grows_is_read_as_it_was_found(tmp_path: Path) -> None:
    """No more is read of a file than it held when it was found: some never end."""
    (tmp_path / "log").write_text("one two three")
    words: Counter[str] = Counter()
    list(count_files([Found(str(tmp_path / "log"), "log", 7)], words))
    assert words == {"one": 1, "two": 1}


@pytest.mark.parametrize("size", [1000, CHUNK // 2 + 1, CHUNK, 3 * CHUNK + 5])
def test_steps(tmp_path: Path, size: int) -> None:
    """A step is a chunk or so, and where a big file ends, or a chunk of small ones, there is a step."""
    (tmp_path / "file").write_bytes(b"x" * size)
    files = [found(tmp_path / "file")] * (4 * CHUNK // size + 4)
    steps = list(count_files(files, Counter()))
    assert max(step.size for step in steps) < 2 * CHUNK
    between = [step for step in steps if not step.within_file]
    assert len(between) >= min(len(files), sum(file.size for file in files) // (2 * CHUNK))
    assert not steps[-1].within_file
