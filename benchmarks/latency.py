"""Latencies of messages in two lanes, as every side of `priority.py` takes and tells them.

**Due, not sent.**  Under a steady load, the sender of a message that is due while the loop is busy
comes too late itself.  Counting from its send would leave out exactly the waiting that the load
causes: the slower the system, the fewer and the happier the messages (*coordinated omission*).  So
each system message has a time at which it is due, which does not depend on how the earlier ones
fared, and its latency counts from then on.  Beside it is kept what passed since the send itself: an
idle trio loop wakes up for a timer up to a millisecond late, which is the timer's doing and not the
mailbox's.

Imports nothing beyond the standard library, because the peers' sides import it too.
"""

from __future__ import annotations

import time
from array import array
from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

NANOSECONDS = 1_000_000_000
DIGITS = 3
INTO_BACKLOG = 0.0002
"""How many seconds after a backlog was queued a system message is due: it is being handled then."""

LOOK_EVERY = 0.005
MOST_DEPTHS = 1_000


def rounded(nanoseconds: int) -> int:
    """Round to three significant digits."""
    step = int(10 ** max(0, len(str(nanoseconds)) - DIGITS))
    return (nanoseconds + step // 2) // step * step


def pack(seconds: Iterable[float]) -> str:
    """Write latencies as text, sorted: nanoseconds to three digits, and how often, if not once."""
    return written(Counter(rounded(max(0, round(each * NANOSECONDS))) for each in seconds))


def pack_counts(pairs: Iterable[tuple[float, int]]) -> str:
    """Write latencies, each with how often it occurred, as `pack` does."""
    counts: Counter[int] = Counter()
    for seconds, count in pairs:
        counts[rounded(max(0, round(seconds * NANOSECONDS)))] += count
    return written(counts)


def written(counts: Counter[int]) -> str:
    """Write nanoseconds and how often they occurred."""
    return " ".join(f"{key}x{n}" if n > 1 else str(key) for key, n in sorted(counts.items()))


def merged(texts: Iterable[str]) -> str:
    """Return what `pack` has written several times as one text."""
    counts: Counter[int] = Counter()
    for text in texts:
        for item in text.split():
            key, _, count = item.partition("x")
            counts[int(key)] += int(count or 1)
    return written(counts)


def unpack(text: str) -> Iterator[tuple[float, int]]:
    """Read what `pack` has written: seconds, and how often they occurred."""
    for item in text.split():
        key, _, count = item.partition("x")
        yield int(key) / NANOSECONDS, int(count or 1)


def due_times(
    count: int, interval: float, burst: int, begun: float
) -> Iterator[tuple[float, bool]]:
    """Say when each of `count` messages is due, and whether it is the first of those due then."""
    for number in range(count):
        yield begun + number // burst * interval, number % burst == 0


class Share:
    """Spreads a share of true values evenly over many."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._sum = 0.0

    def __call__(self) -> bool:
        """Return whether it is the turn of one of the share."""
        self._sum += self._share
        if self._sum >= 1:
            self._sum -= 1
            return True
        return False


def spin(seconds: float) -> None:
    """Compute for some time."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


class Meter:
    """What one run of a side sees; `trioworkers.bench` has its own, for messages without fields."""

    def __init__(self) -> None:
        # Of all messages: a run lasts seconds.
        self.system = array("d")
        self.sent = array("d")
        self.data = array("d")
        self.passes = array("d")
        self.depths: list[tuple[float, int, int]] = []
        self.starvation = 0.0
        self.refused = 0
        self.probes_left = 0
        self.begun = time.perf_counter()
        self._first = 0.0
        self._ended = 0.0

    def begin(self) -> None:
        """Begin now: a backlog is queued, and nobody starves while it is being queued."""
        self.begun = time.perf_counter()

    def data_begins(self, sent: float) -> None:
        """Note that a data handler's first line runs; `sent` is when its message was sent."""
        now = time.perf_counter()
        self.data.append(now - sent)
        self._first = self._first or now
        # Its message waited all this time, and none was handled.
        self.starvation = max(self.starvation, now - max(self._ended, sent, self.begun))

    def data_ends(self) -> None:
        """Note that a data handler has returned."""
        self._ended = time.perf_counter()

    def system_begins(self, due: float, sent: float) -> None:
        """Note that a system handler's first line runs."""
        now = time.perf_counter()
        self.system.append(now - due)
        self.sent.append(now - sent)

    def give_up(self, dues: Iterable[float]) -> int:
        """Count probes that were not handled with the time that they have waited."""
        now = time.perf_counter()
        waited = [now - due for due in dues]
        self.system.extend(waited)
        # When each was sent is not known; without them, who handles little would look quick.
        self.sent.extend(waited)
        return len(waited)

    def note_depth(self, data: int, system: int) -> bool:
        """Note how full the mailbox is; True if it should be looked at half as often from now on."""
        self.depths.append((time.perf_counter() - self.begun, data, system))
        if len(self.depths) < MOST_DEPTHS:
            return False
        self.depths = self.depths[::2]
        return True

    def tell(self, *, waiting: float = 0.0, unhandled: int = 0) -> dict[str, Any]:
        """Return everything, as a side's figures.

        Args:
            waiting: how long the oldest data message has waited by now, in seconds.
            unhandled: how many probes were not handled.
        """
        now = time.perf_counter()
        seconds = self._ended - self._first
        return told(
            system=pack(self.system),
            sent=pack(self.sent),
            data=pack(self.data),
            passes=pack(self.passes),
            starvation=max(self.starvation, min(waiting, now - max(self._ended, self.begun))),
            throughput=len(self.data) / seconds if seconds > 0 else 0.0,
            unhandled=unhandled,
            refused=self.refused,
            depths=self.depths,
        )


def told(
    *,
    system: str,
    sent: str,
    data: str,
    passes: str,
    depths: Iterable[tuple[float, int, int]],
    **figures: float,
) -> dict[str, Any]:
    """Return what a run has seen as a side tells it: packed lanes; `figures` are there as they are."""
    return {
        "system": system,
        "sent": sent,
        "data": data,
        "passes": passes,
        "depths": " ".join(f"{at:.4f}:{data}:{system}" for at, data, system in depths),
        **figures,
    }


def told_of_cancel(
    data: Iterable[tuple[float, float] | list[float]], system: Iterable[float], cancelled: float
) -> dict[str, Any]:
    """Return when handlers ran round a cancel, as a side tells it: microseconds from it on.

    Args:
        data: when each data handler began and ended.
        system: when each system handler began.
        cancelled: when the worker was cancelled.
    """
    spans = [(a - cancelled, b - cancelled) for a, b in data]
    events = [f"d{begun * 1e6:.0f}:{ended * 1e6:.0f}" for begun, ended in spans]
    events += [f"s{(at - cancelled) * 1e6:.0f}" for at in system]
    return {"events": " ".join(events), "after": sum(begun > 0 for begun, _ in spans)}
