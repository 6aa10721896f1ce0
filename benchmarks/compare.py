"""Before and after: what two files of measurements say about the code between them.

    trioworkers bench compare before.json after.json --tolerance 0.1

The two were measured one after the other, so there are no rounds that met the same noise.  Therefore
every value after is divided by every value before; the table shows the median of these ratios and, in
brackets, the quarter and the three quarters of them.  A figure of ours is *worse* if the median is
above 1 by more than the tolerance, *and* nine of ten ratios are above 1.  *Better* is the same the
other way round.  A machine that was slow for one round is no news, and where there are few rounds nobody
can tell: a figure with fewer than three, before or after, gets no verdict.

Compared are the figures that a claim names, and those that are costs in any run.  What was nothing
before is worse if it is something now, and more than its claim allows.

Peers and limits are shown, but are no verdict: they say how much the machine itself differed.
"""

from __future__ import annotations

import math
import reprlib
import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from .claims import Claim, Figure, between, bounded, is_bound, noise, signs_of_load
from .stats import in_ms, in_size, in_time, share_above, significant
from .subjects import Subject

Verdict: TypeAlias = Literal["worse", "same", "better", "info"]
Show: TypeAlias = Callable[[float], str]

TIMES = frozenset(
    {"message", "p50", "p90", "p99", "p999", "broadcast", "spawn", "ready", "cancel", "job",
     "open", "close", "seconds", "byte", "sent_p50", "sent_p99", "data_p50", "data_p99",
     "starvation"}
)  # fmt: skip
"""The costs of any run that are times."""

SIZES = frozenset({"bytes", "total"})
"""Those that are numbers of bytes."""

TWICE = {"system_p50": "p50", "system_p99": "p99", "system_p999": "p999", "data_time": "message"}
"""Figures that have another name as well, and are compared by that."""

TOLERANCE = 0.1
CERTAIN = 0.9
"""How many of the ratios must be on one side."""

ENOUGH = 3
"""How many rounds there must be, before and after: nine of ten ratios of one pair are that pair."""

Kinds: TypeAlias = Mapping[str, tuple[type, ...]]

TEXT, NUMBER, LIST, OBJECT = (str,), (int, float), (list,), (dict,)

NEEDED: Kinds = {
    "machine": OBJECT, "samples": OBJECT, "started": TEXT, "seconds": NUMBER, "load": NUMBER,
    "quick": (bool,), "commit": TEXT, "versions": OBJECT,
}  # fmt: skip
"""What a record has."""

POSSIBLE: Kinds = {
    "sides": OBJECT, "settings": OBJECT, "scenario": (str, type(None)), "early": (bool,),
}  # fmt: skip
"""What it may have."""

DESCRIBED: Kinds = {
    "cpu": TEXT, "cores": (int, type(None)), "system": TEXT, "python": TEXT, "implementation": TEXT,
}  # fmt: skip
"""What it says of its machine."""

REPORTED: Kinds = {"figures": OBJECT, "spin": LIST, "versions": OBJECT, "bounds": LIST}
"""What the report of a round may have."""

CALLED = {str: "text", int: "number", bool: "boolean", list: "list", dict: "object"}
"""What JSON calls each type."""

MOST_NAMES = 5
"""How many missing figures are named."""

HEAD = ("what", "before", "after", "", "after / before [quartiles]")


class NotARecordError(Exception):
    """What was read is not what a benchmark wrote; says why."""


@attrs.frozen
class Difference:
    """One figure, before and after."""

    run: str
    field: str
    before: float
    after: float
    ratio: float
    quartiles: tuple[float, float]
    rounds: tuple[int, int]
    bounds: tuple[bool, bool]
    ours: bool
    verdict: Verdict
    show: Show

    @property
    def has_too_few(self) -> bool:
        """Whether there are too few rounds for a verdict, before or after."""
        return min(self.rounds) < ENOUGH

    @property
    def row(self) -> tuple[str, str, str, str, str]:
        """The figure as text, for a table."""
        low, high = (significant(each) for each in self.quartiles)
        ratio = f"{significant(self.ratio)}x {between(low, high, math.prod(self.rounds))}"
        old, new = self.bounds
        return (
            f"{self.run}, {self.field}",
            bounded(self.show(self.before), old),
            bounded(self.show(self.after), new),
            self.verdict,
            bounded(ratio, low=new, high=old),
        )


def check_record(record: object) -> Mapping[str, Any]:
    """Return what was read from a file, if it is a record of measurements.

    Raises:
        NotARecordError: it is none.
    """
    if not isinstance(record, dict):
        message = "it holds no JSON object"
        raise NotARecordError(message)
    check_kinds("it", record, NEEDED, needed=True)
    check_kinds("it", record, POSSIBLE)
    check_kinds("its machine", record["machine"], DESCRIBED, needed=True)
    for key, reports in record["samples"].items():
        if not isinstance(reports, list) or not all(isinstance(each, dict) for each in reports):
            message = f"its sample {key!r} is no list of reports"
            raise NotARecordError(message)
        for report in reports:
            check_kinds(f"its sample {key!r}", report, REPORTED)
            if not all(map(is_number, report.get("spin", ()))):
                value = reprlib.repr(report["spin"])
                message = f"its sample {key!r} has {value} as 'spin': no list of numbers"
                raise NotARecordError(message)
    return record


def check_kinds(
    whose: str, found: Mapping[str, Any], kinds: Kinds, *, needed: bool = False
) -> None:
    """Check the types of what has names, and with `needed` that it is there.

    Raises:
        NotARecordError: something is missing, or of another type.
    """
    for name, types in kinds.items():
        if name not in found:
            if needed:
                message = f"{whose} has no {name!r}"
                raise NotARecordError(message)
        # True is a number to Python only.
        elif not isinstance(found[name], types) or (
            isinstance(found[name], bool) and bool not in types
        ):
            value = reprlib.repr(found[name])
            message = f"{whose} has {value} as {name!r}: no {CALLED[types[0]]}"
            raise NotARecordError(message)


def compare(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    tolerance: float = TOLERANCE,
    subjects: Sequence[Subject] = (),
) -> list[Difference]:
    """Compare every cost that both records have.

    Args:
        before: a record.
        after: another one.
        tolerance: by which part a figure may be above 1 without being worse.
        subjects: whose claims say which figures are costs, and how they are written.
    """
    known = {key: side for subject in subjects for key, side in subject.run_sides.items()}
    sides = {**known, **before.get("sides", {}), **after.get("sides", {})}
    found: list[Difference] = []
    for key, reports in before["samples"].items():
        claims = claims_of(key, subjects)
        new = dict(costs(after["samples"].get(key, ()), claims))
        told = tolerance if sides.get(key, "ours") == "ours" else None
        for field, old in costs(reports, claims):
            if field in new:
                figure = Figure(key, field)
                bounds = is_bound(before["samples"], figure), is_bound(after["samples"], figure)
                found.append(difference(figure, old, new[field], bounds, told, claims.get(field)))
    return found


def claims_of(key: str, subjects: Iterable[Subject]) -> dict[str, Claim]:
    """Return the figures of a run that claims name, each with a claim: one with a bound of its own, if any."""
    found: dict[str, Claim] = {}
    for claim in (claim for subject in subjects for claim in subject.claims):
        for figure in (claim.ours, claim.other):
            if figure is not None and figure.run == key:
                if claim.kind == "below":
                    found[figure.field] = claim
                found.setdefault(figure.field, claim)
    return found


def difference(
    figure: Figure,
    before: list[float],
    after: list[float],
    bounds: tuple[bool, bool],
    tolerance: float | None,
    claim: Claim | None,
) -> Difference:
    """Compare the values of one figure; with no tolerance there is no verdict."""
    # What was nothing, and is what may be, has not changed.
    allowed = claim.bound or 0.0 if claim is not None and claim.kind == "below" else 0.0
    every = [
        of_nothing(new, allowed) if old <= 0 else max(new, 0.0) / old
        for new in after
        for old in before
    ]
    ordered = sorted(every)
    low, high = (ordered[round(share * (len(every) - 1))] for share in (0.25, 0.75))
    rounds = (len(before), len(after))
    said: Verdict = "info"
    if tolerance is not None and min(rounds) >= ENOUGH:
        said = proven(verdict(every, tolerance), bounds)
    return Difference(
        figure.run,
        figure.field,
        statistics.median(before),
        statistics.median(after),
        statistics.median(every),
        (low, high),
        rounds,
        bounds,
        tolerance is not None,
        said,
        in_size
        if figure.field in SIZES
        else in_time
        if figure.field in TIMES or claim is None
        else claim.show,
    )


def of_nothing(after: float, allowed: float) -> float:
    """Return what stands for the ratio to a cost that was nothing, or less, which is noise."""
    return 1.0 if after <= allowed else math.inf


def verdict(every: list[float], tolerance: float) -> Verdict:
    """Say what ratios of costs, after by before, mean."""
    ratio = statistics.median(every)
    if ratio > 1 + tolerance and share_above(every, 1) >= CERTAIN:
        return "worse"
    inverse = [1 / each if each > 0 else math.inf for each in every]
    if ratio < 1 / (1 + tolerance) and share_above(inverse, 1) >= CERTAIN:
        return "better"
    return "same"


def proven(said: Verdict, bounds: tuple[bool, bool]) -> Verdict:
    """Return a verdict, if figures prove it that are only bounds, before or after."""
    before, after = bounds
    return "info" if said in (["worse"] * before + ["better"] * after) else said


def costs(reports: Any, claimed: Iterable[str]) -> Iterator[tuple[str, list[float]]]:
    """Yield the figures of a run that are costs, with their values in all rounds.

    Args:
        reports: of the run.
        claimed: the figures of it that claims name.
    """
    if not reports or any("figures" not in report for report in reports):
        return
    for field in reports[0]["figures"]:
        values = [report["figures"].get(field) for report in reports]
        if TWICE.get(field) in reports[0]["figures"] or not all(map(is_number, values)):
            continue
        if field in claimed or (field in TIMES | SIZES and min(values) > 0):
            yield field, [float(each) for each in values]


def is_number(value: object) -> bool:
    """Tell whether a figure is a number; what a side has packed is none."""
    return isinstance(value, int | float)


def failed_since(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the runs that were measured before, and failed after."""
    return [
        key
        for key, reports in after["samples"].items()
        if any("error" in report for report in reports)
        and any("figures" in report for report in before["samples"].get(key, ()))
    ]


def missing_since(
    before: Mapping[str, Any], after: Mapping[str, Any], subjects: Sequence[Subject]
) -> list[str]:
    """Return the runs, and the costs of runs, that were measured before, and not after."""
    found: list[str] = []
    for key, reports in before["samples"].items():
        claimed = claims_of(key, subjects)
        new = after["samples"].get(key, ())
        if not new:
            found += [key] * any("figures" in report for report in reports)
        elif all("figures" in report for report in new):
            found += [
                f"{key}, {field}"
                for field, _ in costs(reports, claimed)
                if not all(is_number(report["figures"].get(field)) for report in new)
            ]
    return found


def changed_versions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the libraries that both were measured with, and that were not the same."""
    old, new = before["versions"], after["versions"]
    return [
        f"{name} {old[name]} before, {new[name]} after"
        for name in old
        if name in new and old[name] != new[name]
    ]


def some(names: Sequence[str]) -> str:
    """Name a few, and say how many more there are."""
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(names[:MOST_NAMES]) + more


def differences_around(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Say what else differs than the code between the two."""
    if before["machine"] != after["machine"]:
        yield "measured on different machines or Pythons: this compares those too"
    old, new = noise(before["samples"]).median, noise(after["samples"]).median
    if old and new and not 0.9 < new / old < 1.1:
        yield (
            f"a fixed loop took {in_ms(old)} before and {in_ms(new)} after: "
            f"the machine's own speed differed"
        )
    for name in ("settings", "scenario"):
        if before.get(name) != after.get(name):
            yield f"measured with different {name}: this compares those too"
    if changed := changed_versions(before, after):
        yield f"measured with different versions ({'; '.join(changed)}): this compares those too"


def doubts_about(name: str, record: Mapping[str, Any]) -> Iterator[str]:
    """Say why one of the two may not be what it seems."""
    if signs := signs_of_load(record):
        yield f"the {name} was measured on a busy machine ({' and '.join(signs)})"
    if record.get("early"):
        yield f"the {name} ended early: it has fewer rounds, or fewer runs"


def doubts(
    before: Mapping[str, Any], after: Mapping[str, Any], subjects: Sequence[Subject] = ()
) -> list[str]:
    """Say why the two may not be comparable, and what the verdicts do not tell.

    Args:
        before: a record.
        after: another one.
        subjects: whose claims say which figures are costs.
    """
    said = [
        *differences_around(before, after),
        *doubts_about("older", before),
        *doubts_about("newer", after),
    ]
    if failed := failed_since(before, after):
        said.append(f"not compared, because it failed after: {', '.join(failed)}")
    if missing := missing_since(before, after, subjects):
        said.append(f"not compared, because it is missing after: {some(missing)}")
    if before.get("quick") or after.get("quick"):
        said.append("measured with --quick: too few rounds for a figure")
    found = compare(before, after, subjects=subjects)
    if few := sum(each.ours and each.has_too_few for each in found):
        what = f"{few} figures of ours have" if few > 1 else "a figure of ours has"
        said.append(
            f"{what} fewer than {ENOUGH} rounds before or after, and no verdict: "
            f"measure both again with --rounds {ENOUGH}"
        )
    return said
