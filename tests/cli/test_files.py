"""Finding files and sharing them out."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers._cli.demo.files import (
    Found,
    Kind,
    Root,
    default_roots,
    find_files,
    named_roots,
    share_out,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with something of everything."""
    for name in ("b", "a/y", "a/x", ".hidden/z", "a/.z"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(name)
    (tmp_path / "link").symlink_to(tmp_path / "b")
    (tmp_path / "loop").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


def labels(*roots: Root) -> list[str]:
    """Name the files that are found, as they are shown."""
    return sorted(file.label for file in find_files(roots).files)


def test_a_folder_is_searched(tree: Path) -> None:
    """Files are found in all folders; hidden ones, links and pipes are counted and left alone."""
    found = find_files([Root(str(tree), "top")])
    assert sorted(file.label for file in found.files) == ["top/a/x", "top/a/y", "top/b"]
    assert found.others == {Kind.HIDDEN: 2, Kind.OTHER: 3}


def test_caches_are_passed_over(tree: Path) -> None:
    """A folder `__pycache__` is neither searched nor counted, unless the user names it."""
    cache = tree / "a" / "__pycache__"
    cache.mkdir()
    (cache / "x.pyc").write_bytes(b"\0")
    found = find_files([Root(str(tree), "top")])
    assert sorted(file.label for file in found.files) == ["top/a/x", "top/a/y", "top/b"]
    assert found.others == {Kind.HIDDEN: 2, Kind.OTHER: 3}
    assert labels(Root(str(cache), "cache")) == ["cache/x.pyc"]


def test_each_file_once(tree: Path) -> None:
    """A file that is named twice, or is below two roots, is found once."""
    top = str(tree)
    roots = named_roots([top, f"{top}/a", f"{top}/a/", f"{top}/a/x"])
    assert len(roots) == 3
    assert len(labels(*roots)) == 3


def test_what_is_named_is_looked_at(tree: Path) -> None:
    """A hidden file or a link is searched when the user names it; a pipe never is."""
    names = [str(tree / name) for name in (".hidden", "a/.z", "link", "pipe")]
    found = find_files(named_roots(names))
    assert len(found.files) == 3
    assert found.others == {Kind.OTHER: 1}


def test_labels_are_short(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Below the current folder, files are shown without a dot in front."""
    monkeypatch.chdir(tree)
    assert labels(*named_roots(["."])) == ["a/x", "a/y", "b"]


def test_a_root_that_vanishes_is_unreadable(tmp_path: Path) -> None:
    """What is gone when the search comes to it is counted, and not fatal."""
    assert find_files([Root(str(tmp_path / "gone"), "gone")]).others == {Kind.UNREADABLE: 1}


@pytest.mark.parametrize("name", ["missing", "b/below", ""])
def test_missing_roots(tree: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A path that does not exist is an error that names it."""
    monkeypatch.chdir(tree)
    with pytest.raises(OSError, match=r".") as error:
        named_roots(["a", name])
    assert error.value.filename == name


def test_a_search_can_be_stopped(tree: Path) -> None:
    """A search asks at each folder whether to go on."""
    answers = iter([True, False])
    found = find_files([Root(str(tree), "top")], lambda: next(answers))
    assert [file.label for file in found.files] == ["top/b"]


def test_default_roots() -> None:
    """By default there is Python source to count."""
    found = labels(*default_roots())
    assert any(label.endswith(".py") for label in found)
    assert not any("__pycache__" in label for label in found)


sizes = st.lists(st.integers(min_value=0, max_value=1000), max_size=40)


@given(sizes, st.integers(min_value=1, max_value=8))
def test_shares(sizes: list[int], number: int) -> None:
    """Each file is in one share, no share is empty, and they differ by one file at most."""
    files = [Found(str(index), str(index), size) for index, size in enumerate(sizes)]
    shares = share_out(files, number)
    assert sorted(file.path for share in shares for file in share) == sorted(
        file.path for file in files
    )
    assert len(shares) == min(number, len(files))
    assert all(shares)
    work = [sum(file.size + 1 for file in share) for share in shares]
    if work:
        assert max(work) - min(work) <= max(sizes) + 1
