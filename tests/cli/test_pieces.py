"""What crosses the link of `demo --remote`, without a link."""

from __future__ import annotations

import os
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trioworkers import BusJobStreamDataMessage, JSONMessageSerializer
from trioworkers._cli.demo.counting import Findings, Survey
from trioworkers._cli.demo.files import Kind, Root
from trioworkers._cli.demo.pieces import Errand, PiecesLost, Puzzle, Summary, pieces
from trioworkers._cli.demo.words import LONGEST_WORD, Counted

NAMES = st.binary(min_size=1, max_size=20).map(lambda name: os.fsdecode(name.replace(b"\0", b"x")))
WORDS = st.text(alphabet="aß世𐐷", min_size=1, max_size=8)
# Digits are no letters; these are, and take as many bytes as any.
DIGITS = {ord("0") + number: 0x10437 + number for number in range(10)}
FINDINGS = st.builds(
    Findings,
    files=st.lists(
        st.builds(Counted, NAMES, st.sampled_from(Kind), st.integers(0), st.integers(0)),
        max_size=250,
    ).map(tuple),
    words=st.dictionaries(WORDS, st.integers(1, 10**9)).map(Counter),
    others=st.dictionaries(st.sampled_from(Kind), st.integers(1, 99)).map(Counter),
    uncounted=st.integers(0, 99),
)


def crossed(findings: Findings) -> Puzzle:
    """Let the pieces of findings cross a link, and collect them."""
    serializer = JSONMessageSerializer()
    puzzle = Puzzle()
    for piece in pieces(findings):
        sent = BusJobStreamDataMessage(source="there", target="here", job_id="1", data=piece)
        received = serializer.deserialize(serializer.serialize(sent))
        assert isinstance(received, BusJobStreamDataMessage)
        puzzle.add(received.data or {})
    return puzzle


@given(FINDINGS)
def test_findings_cross(findings: Findings) -> None:
    """What was found there is what is shown here, whatever the files are called."""
    assert crossed(findings).finish(Summary.of(findings)) == findings


def test_the_longest_pieces_fit() -> None:
    """However long paths and words are, each piece fits into a message."""
    path = "\udcff" * 4095
    files = (Counted(path, Kind.TEXT, 10**12, 10**12),) * 201
    words = {f"{number:04}".translate(DIGITS): 10**12 for number in range(1001)}
    longest = Counter({word + "𐐷" * (LONGEST_WORD - len(word)): n for word, n in words.items()})
    findings = Findings(files, longest, Counter())
    assert crossed(findings).finish(Summary.of(findings)) == findings


@pytest.mark.parametrize("lost", [0, -1])
def test_lost_pieces_are_noticed(lost: int) -> None:
    """Findings that are not whole are an error, and not a smaller result."""
    findings = Findings((Counted("a", Kind.TEXT, 2, 3),), Counter({"alpha": 2}), Counter())
    puzzle = Puzzle()
    arrived = list(pieces(findings))
    del arrived[lost]
    for piece in arrived:
        puzzle.add(piece)
    with pytest.raises(PiecesLost, match="of 1 files and 2 words only"):
        puzzle.finish(Summary.of(findings))


def test_errands_cross() -> None:
    """A survey is the same one behind the link."""
    survey = Survey((Root("/\udcff", "\udcff"), Root("a", "b")), 3)
    assert Errand.of(survey).survey() == survey
