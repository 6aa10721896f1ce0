"""The limits on a text hold before it is parsed, whatever stands in its strings."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from trioworkers.errors import RemoteWireError
from trioworkers.wire import Limits
from trioworkers.wire.jsontext import read

TRICKY = st.text('[]{}"\\/ux0 ', max_size=6)
VALUES = st.recursive(
    st.integers() | TRICKY,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(TRICKY, inner, max_size=4)
        | inner.map(lambda each: [[[[each, "]"]]], "["])
    ),
    max_leaves=30,
)


def depth(value: Any) -> int:
    """Count the dicts and lists round the innermost value."""
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


@settings(deadline=None, max_examples=500)
@given(VALUES, st.integers(4, 12), st.booleans())
@example([[[["]", {"\\": ["\\"]}]]], "["], 5, False)
@example([[[["]]]]]]", ["[[[["]]]], "]"], 4, False)
def test_depth_is_counted_exactly(value: Any, limit: int, spaced: bool) -> None:
    """S-PROXY-4: a text is refused exactly if it nests deeper than the limit."""
    data = json.dumps(value, indent=1 if spaced else None).encode()
    if depth(value) > limit:
        with pytest.raises(RemoteWireError, match=f"nests deeper than {limit}"):
            read(data, Limits(depth=limit))
    else:
        assert read(data, Limits(depth=limit)) == value


@settings(deadline=None, max_examples=500)
@given(st.text('[]{}"\\,:1 ', max_size=40))
def test_what_is_not_json_is_refused(text: str) -> None:
    """S-PROXY-4: a text that is nearly JSON is read as `json` reads it, or refused."""
    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(RemoteWireError):
            read(text.encode(), Limits(depth=4))
    else:
        assert depth(expected) > 4 or read(text.encode(), Limits(depth=4)) == expected


@pytest.mark.parametrize("brackets", [b"[", b'{"a":', b'["]",', b'["\\"]",', b"[[],", b"[1,"])
def test_no_text_reaches_the_parsers_own_limit(brackets: bytes) -> None:
    """S-PROXY-4: however a text nests, it is refused before a parser could run out of stack."""
    with pytest.raises(RemoteWireError, match="nests deeper than 200"):
        read(brackets * 100_000, Limits(depth=200))
