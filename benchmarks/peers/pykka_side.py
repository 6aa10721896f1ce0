"""Pykka's side of each measurement: actors that are threads, as Pykka's documentation tells its users to write them.

Runs in Pykka's own environment (see `environments.py`).  Pykka has no bus; an actor holds references to others.
"""

# pyright: reportMissingImports=false
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

import gc
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

import pykka
from pykka import ActorRegistry

from .. import side

if TYPE_CHECKING:
    from ..side import Figures

WARM_UP = 2_000


class Tick:
    """The message that is counted: a class with slots is the cheapest that a user would write."""

    __slots__ = ("n",)

    def __init__(self, n: int) -> None:
        self.n = n


class Receiver(pykka.ThreadingActor):
    """Counts ticks."""

    def __init__(self) -> None:
        super().__init__()
        self.handled = 0

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Tick):
            self.handled += 1
            return None
        expected, finished = message
        assert self.handled == expected
        finished.append(time.perf_counter())
        self.handled = 0
        return None


class Idle(pykka.ThreadingActor):
    """Has nothing to do."""


class Sender(pykka.ThreadingActor):
    """Sends ticks from inside its handler, each made just before it is sent."""

    def on_receive(self, message: Any) -> float:
        receiver, count = message
        finished: list[float] = []
        started = time.perf_counter()
        for n in range(count):
            receiver.tell(Tick(n))
        receiver.ask((count, finished))
        return (finished[0] - started) / count


def send(count: int, others: int) -> Figures:
    """Send from one actor to another, with `others` more around."""
    for _ in range(others):
        Idle.start()
    receiver, sender = Receiver.start(), Sender.start()
    sender.ask((receiver, min(count, WARM_UP)))
    seconds = sender.ask((receiver, count))
    ActorRegistry.stop_all()
    return {"message": seconds}


class Counter(pykka.ThreadingActor):
    """Answers at once."""

    def on_receive(self, message: Any) -> Any:
        return message


class Asker(pykka.ThreadingActor):
    """Asks again and again, one at a time."""

    def on_receive(self, message: Any) -> list[float]:
        counter, count = message
        times: list[float] = []
        for n in range(count):
            started = time.perf_counter()
            answer = counter.ask(n)
            times.append(time.perf_counter() - started)
            assert answer == n
        return times


def ask(count: int) -> Figures:
    """One actor asks another, one job at a time."""
    asker = Asker.start()
    times = asker.ask((Counter.start(), count // 10 + count))
    ActorRegistry.stop_all()
    return side.percentiles(times[count // 10 :])


class Listener(pykka.ThreadingActor):
    """Counts broadcasts, together with all others of its kind."""

    lock = threading.Lock()
    left = 0
    finished = threading.Event()

    def on_receive(self, message: Any) -> None:
        with Listener.lock:
            Listener.left -= 1
            if not Listener.left:
                Listener.finished.set()


def broadcast(receivers: int, count: int) -> Figures:
    """Send to all actors at once; over when the last of them has handled it, `count` times."""
    for _ in range(receivers):
        Listener.start()
    times: list[float] = []
    for n in range(count):
        Listener.left = receivers
        Listener.finished.clear()
        started = time.perf_counter()
        ActorRegistry.broadcast(n, target_class=Listener)
        Listener.finished.wait()
        times.append(time.perf_counter() - started)
    ActorRegistry.stop_all()
    return {"broadcast": statistics.median(times)}


def spawn(count: int) -> Figures:
    """Start `count` actors; over when the last of them has handled a message."""
    gc.collect()
    started = time.perf_counter()
    for _ in range(count - 1):
        Idle.start()
    last = Counter.start()
    ready = time.perf_counter()
    last.ask(0)
    finished = time.perf_counter()
    ActorRegistry.stop_all()
    return {"spawn": finished - started, "ready": ready - started}


def memory(count: int) -> Figures:
    """Resident memory per idle actor."""
    for _ in range(50):
        Idle.start()
    time.sleep(0.1)
    before = side.resident_bytes()
    for _ in range(count):
        Idle.start()
    time.sleep(0.1)
    grown = side.resident_bytes() - before
    ActorRegistry.stop_all()
    return {"bytes": grown / count, "total": grown}


def cancel(children: int, leaves: int) -> Figures:
    """Stop as many actors as a tree of depth three has; Pykka knows no trees."""
    for _ in range(1 + children + children * leaves):
        Idle.start()
    gc.collect()
    started = time.perf_counter()
    ActorRegistry.stop_all()
    return {"cancel": time.perf_counter() - started}


if __name__ == "__main__":
    every = (send, ask, broadcast, spawn, memory, cancel)
    side.main({case.__name__: case for case in every}, ["pykka"])
