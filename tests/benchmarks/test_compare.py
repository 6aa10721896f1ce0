"""Before and after."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import catalogue
from benchmarks.compare import (
    ENOUGH,
    TWICE,
    NotARecordError,
    check_record,
    claims_of,
    compare,
    doubts,
    verdict,
)
from benchmarks.report import RESULTS
from tests.benchmarks.records import MACHINE, record, reports

RATIOS = st.lists(st.floats(0.01, 100), min_size=1, max_size=30)


@given(RATIOS, st.floats(0, 1))
def test_worse_and_better_are_opposites(every: list[float], tolerance: float) -> None:
    """What is worse one way round is not worse the other way round, and a wide tolerance forgives."""
    swapped = [1 / each for each in every]
    assert {verdict(every, tolerance), verdict(swapped, tolerance)} not in ({"worse"}, {"better"})
    assert verdict(every, tolerance + 1000) == "same"


@given(st.lists(st.floats(1e-9, 1e3), min_size=3, max_size=12))
def test_the_same_is_the_same(values: list[float]) -> None:
    """A record does not differ from itself."""
    one = record({"ask": reports(*values, field="p50")})
    (found,) = compare(one, one)
    assert found.verdict == "same"


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([10, 11, 12], [14, 15, 16], "worse"),
        ([14, 15, 16], [10, 11, 12], "better"),
        ([10, 11, 12], [11, 11, 12], "same"),
        ([10, 11, 30], [12, 13, 12], "same"),  # above by the median, but not surely
    ],
)
def test_verdicts(before: list[float], after: list[float], expected: str) -> None:
    """A figure is worse if it is above by more than the tolerance, in nearly all pairs of rounds."""
    old, new = record({"send": reports(*before)}), record({"send": reports(*after)})
    assert [each.verdict for each in compare(old, new, 0.1)] == [expected]


@pytest.mark.parametrize(("few", "many"), [((1.0,), (9.0,)), ((1.0,) * 2, (9.0,) * 7)])
def test_few_rounds_are_no_verdict(few: tuple[float, ...], many: tuple[float, ...]) -> None:
    """With fewer than three rounds on either side a figure is shown only, and it is told what to do."""
    for pair in ((few, many), (many, few)):
        before, after = (record({"send": reports(*values)}) for values in pair)
        (found,) = compare(before, after)
        assert found.verdict == "info"
        (doubt,) = doubts(before, after)
        assert doubt == (
            "a figure of ours has fewer than 3 rounds before or after, and no verdict: "
            "measure both again with --rounds 3"
        )
    two = record({"send": reports(1), "ask": reports(1), "peer": reports(1)}, sides={"peer": "a"})
    (doubt,) = doubts(two, two)
    assert doubt.startswith("2 figures of ours have fewer")


def test_one_round_has_no_spread() -> None:
    """The range of one pair of rounds is no range."""
    (one,) = compare(record({"send": reports(10)}), record({"send": reports(90)}))
    (many,) = compare(record({"send": reports(10, 10)}), record({"send": reports(90, 90)}))
    assert one.row[-1] == "9x [-]"
    assert many.row[-1] == "9x [9 - 9]"


def test_peers_get_no_verdict() -> None:
    """What others cost is shown, and decides nothing."""
    old, new = record({"peer": reports(1)}, sides={"peer": "pipecat"}), record({"peer": reports(9)})
    (found,) = compare(old, new)
    assert found.verdict == "info"
    assert found.row[-1] == "9x [-]"


def test_what_is_no_cost() -> None:
    """Counts, what is 0, and what failed or is in one file only are not compared."""
    samples = {
        "a": reports(3, field="left_min"),
        "b": reports(0, field="bytes"),
        "c": [{"error": "killed"}],
        "d": reports(1),
    }
    assert not compare(record(samples), record({**samples, "d": []}))


@pytest.mark.parametrize(
    "found",
    [
        None,
        [],
        {},
        {"samples": {}},
        {"samples": {"a": 1}, "machine": {}},
        {"samples": {}, "machine": MACHINE},
        record({"a": 1}),  # type: ignore[dict-item]
        record({"a": [{"figures": 1}]}),
        record({}, machine={}),
    ],
)
def test_what_is_no_record(found: Any) -> None:
    """A file of something else is refused with a reason."""
    with pytest.raises(NotARecordError, match=r"it"):
        check_record(found)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"sides": []}, "it has [] as 'sides': no object"),
        ({"load": "x"}, "it has 'x' as 'load': no number"),
        ({"load": True}, "it has True as 'load': no number"),
        ({"versions": []}, "it has [] as 'versions': no object"),
        ({"quick": 1}, "it has 1 as 'quick': no boolean"),
        ({"machine": {**MACHINE, "cores": "2"}}, "its machine has '2' as 'cores': no number"),
        ({"samples": {"a": [{"spin": "x"}]}}, "its sample 'a' has 'x' as 'spin': no list"),
        (
            {"samples": {"a": [{"spin": ["x"]}]}},
            "its sample 'a' has ['x'] as 'spin': no list of numbers",
        ),
        ({"samples": {"a": [{"bounds": 1}]}}, "its sample 'a' has 1 as 'bounds': no list"),
    ],
)
def test_what_was_edited(changed: dict[str, Any], sentence: str) -> None:
    """A record with a value of another type is refused with its name."""
    with pytest.raises(NotARecordError, match=re.escape(sentence)):
        check_record(record({"a": reports(1)}) | changed)


def test_what_bench_writes() -> None:
    """What may be missing may be missing, and a machine may not tell its cores."""
    check_record(record({"a": reports(1)}, machine={**MACHINE, "cores": None}, scenario=None))


KEPT = [path for path in sorted(RESULTS.glob("*.json")) if path.stem != "costs"]


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_every_figure_that_a_claim_names(path: Path) -> None:
    """A result is no worse than itself, and each figure of ours that a claim names shows when it is."""
    old = check_record(json.loads(path.read_text(encoding="utf-8")))
    assert {each.verdict for each in compare(old, old, subjects=catalogue.KEPT)} <= {"same", "info"}
    new = copy.deepcopy(old)
    named: set[tuple[str, str]] = set()
    sides = {key: side for subject in catalogue.KEPT for key, side in subject.run_sides.items()}
    for key, rounds in new["samples"].items():
        for long, claim in claims_of(key, catalogue.KEPT).items():
            field = TWICE.get(long, long)
            if field not in rounds[0]["figures"]:  # a run of another subject has that name too
                continue
            for report in rounds:
                figures = report["figures"]
                figures[field] = 50 * figures[field] + (claim.bound or 0) + 1
            if sides[key] == "ours" and len(rounds) >= ENOUGH:
                named.add((key, field))
    found = compare(old, new, subjects=catalogue.KEPT)
    assert named <= {(each.run, each.field) for each in found if each.verdict == "worse"}


def test_what_was_nothing() -> None:
    """What was nothing, or less, is worse if it is more than its claim allows; a count is written as one."""

    def counted(count: int) -> dict[str, Any]:
        return record({"cancel ours": reports(count, count, count, field="after")})

    (found,) = compare(counted(0), counted(5), subjects=catalogue.KEPT)
    assert (found.verdict, found.row[1:3]) == ("worse", ("0", "5"))
    (found,) = compare(counted(5), counted(0), subjects=catalogue.KEPT)
    assert found.verdict == "better"


def test_what_has_two_names() -> None:
    """A figure that has two names is compared once."""
    both = [{"figures": {"system_p99": 1.0, "p99": 1.0}}]
    (found,) = compare(record({"load ours": both}), record({"load ours": both}))
    assert found.field == "p99"


def test_doubts() -> None:
    """Another machine, another speed and too few rounds are told."""
    old, new = record({"send": reports(1, 1, 1)}), record({"send": reports(1, 1, 1)})
    assert not doubts(old, new)
    slow = record({"send": 3 * [{"figures": {"message": 1}, "spin": [0.01, 0.01]}]}, quick=True)
    assert len(doubts(old, slow)) == 2
    assert len(doubts(old, {**new, "machine": {**MACHINE, "cores": 64}})) == 1


def test_doubts_about_what_was_measured() -> None:
    """Other knobs and runs that failed since are told, as no figure shows them."""
    old, new = record({"send": reports(1, 1, 1)}), record({"send": [{"error": "killed"}]})
    assert doubts(old, new) == ["not compared, because it failed after: send"]
    (doubt,) = doubts(old, {**old, "settings": {"backlog": 0}})
    assert "different settings" in doubt


def test_doubts_about_one_of_the_two() -> None:
    """Which of the two was measured on a busy machine, or ended early, is told."""
    good = record({"send": reports(1, 1, 1)})
    busy, early = {**good, "load": 9.0}, {**good, "early": True}
    assert doubts(busy, good) == ["the older was measured on a busy machine (a load of 9.0 before)"]
    (doubt,) = doubts(good, early)
    assert doubt.startswith("the newer ended early")


def test_doubts_about_libraries() -> None:
    """A library whose version has changed is told with both; one that one of the two lacks is not."""
    samples = {"send": reports(1, 1, 1)}
    old = record(samples, versions={"attrs": "1", "pykka": "4", "trio": "0.31"})
    new = record(samples, versions={"attrs": "1", "trio": "0.35"})
    (doubt,) = doubts(old, new)
    assert "different versions (trio 0.31 before, 0.35 after)" in doubt


def test_doubts_about_what_is_missing() -> None:
    """Runs and costs that were there before and are missing after are named; many are counted."""
    both = {"message": 1.0, "p50": 1.0}
    old = record({"send": 3 * [{"figures": both}], "ask": reports(1, 1, 1), "bad": [{"error": ""}]})
    new = record({"send": reports(1, 1, 1)})
    assert doubts(old, new) == ["not compared, because it is missing after: send, p50, ask"]
    assert not doubts(new, old)
    many = record({str(n): reports(1, 1, 1) for n in range(9)})
    (doubt,) = doubts(many, record({}))
    assert doubt.endswith("missing after: 0, 1, 2, 3, 4 and 4 more")


@pytest.mark.parametrize(
    ("old", "new", "row"),
    [
        ((), ("message",), ("10 s", "> 90 s", "worse", "> 9x [9 - 9]")),
        (("message",), (), ("> 10 s", "90 s", "info", "< 9x [9 - 9]")),
        (("message",), ("message",), ("> 10 s", "> 90 s", "info", "-")),
    ],
)
def test_bounds(old: tuple[str, ...], new: tuple[str, ...], row: tuple[str, ...]) -> None:
    """A time waited in vain is written as a bound, as is a ratio made of it, and proves no more."""
    before, after = record({"send": reports(10, 10, 10)}), record({"send": reports(90, 90, 90)})
    for each, bounds in ((before, old), (after, new)):
        each["samples"]["send"][0]["bounds"] = list(bounds)
    (found,) = compare(before, after)
    assert found.row[1:] == row
