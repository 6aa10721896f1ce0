"""Write crash schedules as Erlang terms, for `record.escript`.

The same seed writes the same schedules. Each is the tuple
`{Id, Strategy, Intensity, Period, Children, Failing, Steps}`:

- `Children`: `{name, kind}` in start order.
- `Failing`: `{name, n}`: this child's first `n` starts fail, so the supervisor never gets up.
- `Steps`: `{crash, name}`, `{exit_normal, name}` (both do nothing if the child is not running),
  `{fail_next, name, n}` (its next `n` starts fail) and `{wait_ms, n}`.
"""

from __future__ import annotations

import argparse
import random
import sys
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
KINDS = ("permanent", "transient", "temporary")
NAMES = "abcde"

HOUR = 3600
"""A period in which every restart of a schedule counts."""


class Schedule(NamedTuple):
    """One run of one supervisor."""

    id: str
    strategy: str
    intensity: int
    period: int
    children: list[tuple[str, str]]
    failing: list[tuple[str, int]]
    steps: list[tuple[str | int, ...]]


def every_rule() -> Iterator[Schedule]:
    """Each strategy x kind of the one that leaves x way to leave, with every kind beside it."""
    for strategy in STRATEGIES:
        for kind in KINDS:
            for way in ("crash", "exit_normal"):
                children = [
                    ("a", "permanent"),
                    ("b", kind),
                    ("c", "transient"),
                    ("d", "temporary"),
                    ("e", "permanent"),
                ]
                steps: list[tuple[str | int, ...]] = [
                    (way, "b"),
                    ("crash", "a"),
                    (way, "b"),
                    ("crash", "e"),
                ]
                yield Schedule(
                    f"rule-{strategy}-{kind}-{way}", strategy, 9, HOUR, children, [], steps
                )


def every_intensity() -> Iterator[Schedule]:
    """One crash more than allowed, and restarts that fail up to the limit and one beyond."""
    children = [("a", "transient"), ("b", "permanent"), ("c", "permanent")]
    for strategy in STRATEGIES:
        for intensity in range(5):
            crashes: list[tuple[str | int, ...]] = [
                ("crash", NAMES[i % 3]) for i in range(intensity + 1)
            ]
            yield Schedule(
                f"limit-{strategy}-{intensity}", strategy, intensity, HOUR, children, [], crashes
            )
            for fails in (intensity - 1, intensity):
                if fails > 0:
                    steps: list[tuple[str | int, ...]] = [
                        ("fail_next", "b", fails),
                        ("crash", "b"),
                        ("crash", "c"),
                    ]
                    name = f"refail-{strategy}-{intensity}-{fails}"
                    yield Schedule(name, strategy, intensity, HOUR, children, [], steps)


def random_schedules(rng: random.Random, count: int) -> Iterator[Schedule]:
    """Any strategy, kinds, intensity 0 to 4 and up to ten steps."""
    for n in range(count):
        names = NAMES[: rng.randint(1, 5)]
        steps: list[tuple[str | int, ...]] = []
        for _ in range(rng.randint(1, 10)):
            name = rng.choice(names)
            match rng.choices(("crash", "exit_normal", "fail_next"), (60, 25, 15))[0]:
                case "fail_next":
                    steps.append(("fail_next", name, rng.randint(1, 3)))
                case way:
                    steps.append((way, name))
        children = [(name, rng.choice(KINDS)) for name in names]
        yield Schedule(
            f"random-{n:03}", STRATEGIES[n % 3], rng.randint(0, 4), HOUR, children, [], steps
        )


def failed_starts(rng: random.Random) -> Iterator[Schedule]:
    """A child whose first start fails: nothing is restarted, what had started is stopped."""
    for n in range(9):
        names = NAMES[: rng.randint(1, 5)]
        children = [(name, rng.choice(KINDS)) for name in names]
        yield Schedule(
            f"no-start-{n}", STRATEGIES[n % 3], 3, HOUR, children, [(rng.choice(names), 1)], []
        )


def sliding_windows(rng: random.Random) -> Iterator[Schedule]:
    """Steps spaced by real time.

    OTP 25 counts in whole seconds: two restarts less than `period` apart always count together,
    `period + 1` apart never. No two restarts here are between those two.
    """
    children = [("a", "permanent"), ("b", "transient"), ("c", "permanent")]

    def crashes(count: int) -> list[tuple[str | int, ...]]:
        return [("crash", rng.choice("abc")) for _ in range(count)]

    apart = ("wait_ms", 2200)
    for n, strategy in enumerate(STRATEGIES):
        yield Schedule(
            f"apart-{n}",
            strategy,
            1,
            1,
            children,
            [],
            [("crash", "a"), apart, ("crash", "b"), apart, ("crash", "c")],
        )
        yield Schedule(
            f"bursts-{n}",
            strategy,
            2,
            1,
            children,
            [],
            [*crashes(2), apart, *crashes(2), apart, *crashes(3)],
        )
        # The first crash has left the window when the third comes, the second has not.
        overlap = [*crashes(1), ("wait_ms", 1800), *crashes(1), ("wait_ms", 2500), *crashes(1)]
        yield Schedule(f"overlap-{n}", strategy, 2, 3, children, [], [*overlap, *crashes(1)])
        yield Schedule(f"overlap-limit-{n}", strategy, 1, 3, children, [], overlap)
        refail: list[tuple[str | int, ...]] = [
            ("fail_next", "b", 2),
            ("crash", "b"),
            apart,
            ("fail_next", "b", 3),
            ("crash", "b"),
        ]
        yield Schedule(f"refail-apart-{n}", strategy, 3, 1, children, [], refail)


def term(value: object) -> str:
    """Erlang's notation for numbers, names, tuples and lists."""
    match value:
        case list():
            return f"[{', '.join(map(term, value))}]"
        case tuple():
            return f"{{{', '.join(map(term, value))}}}"
        case _:
            return str(value)


def main() -> None:
    """Print every schedule."""
    parser = argparse.ArgumentParser(description="Write crash schedules as Erlang terms.")
    parser.add_argument("--seed", type=int, default=25)
    parser.add_argument("--count", type=int, default=360, help="how many random schedules")
    options = parser.parse_args()
    rng = random.Random(options.seed)
    groups = (
        every_rule(),
        every_intensity(),
        random_schedules(rng, options.count),
        failed_starts(rng),
        sliding_windows(rng),
    )
    sys.stdout.write(f"{{seed, {options.seed}}}.\n")
    for schedule in (s for group in groups for s in group):
        first, *rest = schedule
        sys.stdout.write(f'{{"{first}", {", ".join(map(term, rest))}}}.\n')


if __name__ == "__main__":
    main()
