"""Pykka's side of `priority.py`: an actor with its one inbox, as its documentation tells its users to write it.

Runs in Pykka's own environment (see `environments.py`).  Actors and producers are threads, the inbox has no bound
and no priority: a system message queues behind the data.  A flood without any bound would only fill the memory, so the
producers stop for a moment whenever more than `backlog` messages, or 256, are queued, in Pykka's favour.
"""

# pyright: reportMissingImports=false
# mypy: disable-error-code="import-not-found,misc"

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pykka
from pykka import ActorRegistry

from .. import side
from ..latency import INTO_BACKLOG, LOOK_EVERY, Meter, Share, due_times, pack, spin

LEAST = 256
WARM_UP = 2_000


class Chunk:
    """The data."""

    __slots__ = ("sent",)

    def __init__(self, sent: float) -> None:
        self.sent = sent


class Note:
    """A system message; the number is that of a probe, or -1."""

    __slots__ = ("due", "number", "sent")

    def __init__(self, due: float, sent: float, number: int) -> None:
        self.due = due
        self.sent = sent
        self.number = number


class Target(pykka.ThreadingActor):
    """Handles chunks as the settings say."""

    use_daemon_thread = True

    def __init__(self, settings: dict[str, Any], meter: Meter, left: dict[int, float]) -> None:
        super().__init__()
        self.settings = settings
        self.meter = meter
        self.left = left

    def on_receive(self, message: Any) -> Any:
        if isinstance(message, Note):
            self.meter.system_begins(message.due, message.sent)
            self.left.pop(message.number, None)
        elif isinstance(message, Chunk):
            self.meter.data_begins(message.sent)
            work(self.settings)
            self.meter.data_ends()


class Neighbour(pykka.ThreadingActor):
    """Is busy from its first message on, until it is told to stop."""

    use_daemon_thread = True

    def __init__(self, stopped: threading.Event) -> None:
        super().__init__()
        self.stopped = stopped

    def on_receive(self, message: Any) -> Any:
        if not self.stopped.is_set():
            self.actor_ref.tell(message)


def work(settings: dict[str, Any]) -> None:
    """Do what a data handler does."""
    if settings["handler"] == "blocked":
        threading.Event().wait()
    elif settings["cost"] and settings["handler"] == "busy":
        spin(settings["cost"])
    elif settings["cost"]:
        time.sleep(settings["cost"])


def produce(target: Any, settings: dict[str, Any], stopped: threading.Event) -> None:
    """Send until told to stop."""
    is_system = Share(settings["system_share"])
    most = max(LEAST, settings["backlog"])
    while not stopped.is_set():
        now = time.perf_counter()
        target.tell(Note(now, now, -1) if is_system() else Chunk(now))
        while target.actor_inbox.qsize() > most and not stopped.is_set():
            time.sleep(0.0001)


def look(target: Any, meter: Meter, stopped: threading.Event) -> None:
    """Look at the inbox now and then."""
    every = LOOK_EVERY
    while not stopped.wait(every):
        if meter.note_depth(target.actor_inbox.qsize(), 0):
            every *= 2


def load(settings: str) -> dict[str, Any]:
    """Flood and probe.

    Args:
        settings: those of `PrioritySettings`, as JSON.
    """
    wanted = json.loads(settings)
    meter, stopped = Meter(), threading.Event()
    left: dict[int, float] = {}
    target = Target.start(wanted, meter, left)
    for _ in range(wanted["neighbours"]):
        Neighbour.start(stopped).tell("again")
    for _ in range(wanted["backlog"]):
        target.tell(Chunk(time.perf_counter()))
    meter.begin()
    helpers = [threading.Thread(target=look, args=(target, meter, stopped), daemon=True)]
    for _ in range(wanted["producers"]):
        arguments = (target, wanted, stopped)
        helpers.append(threading.Thread(target=produce, args=arguments, daemon=True))
    for helper in helpers:
        helper.start()
    begun = time.perf_counter()
    dues = due_times(wanted["probes"], wanted["interval"], wanted["burst"], begun)
    for number, (due, _) in enumerate(dues):
        if (wait := due - time.perf_counter()) > 0:
            time.sleep(wait)
        left[number] = due
        target.tell(Note(due, time.perf_counter(), number))
    until = time.perf_counter() + wanted["patience"]
    while left and time.perf_counter() < until:
        time.sleep(0.001)
    stopped.set()
    unhandled = meter.give_up(list(left.values()))
    told = meter.tell(unhandled=unhandled)
    ActorRegistry.stop_all(block=False)
    return told


def backlog(backlog: int, repetitions: int) -> dict[str, Any]:
    """Queue data, and send a system message that is due while it is handled; repeatedly."""
    meter = Meter()
    left: dict[int, float] = {}
    times: list[float] = []
    target = Target.start({"handler": "busy", "cost": 0.0}, meter, left)
    for number in range(repetitions + 1):
        amount = backlog if number else min(backlog, WARM_UP)
        for _ in range(amount):
            target.tell(Chunk(time.perf_counter()))
        due = left[0] = time.perf_counter() + INTO_BACKLOG
        time.sleep(INTO_BACKLOG)
        target.tell(Note(due, time.perf_counter(), 0))
        while left or target.actor_inbox.qsize():
            time.sleep(0.001)
        if number:  # the first is to warm up
            times.append(meter.system[-1])
    ActorRegistry.stop_all()
    return side.percentiles(times) | {"system": pack(times)}


if __name__ == "__main__":
    side.main({"load": load, "backlog": backlog}, ["pykka"])
