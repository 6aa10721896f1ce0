"""Taking the latency of messages from outside: nothing of it is in the mailbox or the turns.

A message is stamped where it is sent, by a bus of its own kind, and looked at where its handler
is called, by a function that stands in the table of handlers for the handler itself.  Both are put
in place for a measurement, so a program that measures nothing has none of it.

Stamps are kept by the identity of the message, because messages have no room for them and must not
need a field.  An identity is used again only when its message is gone, and every send stamps anew.
"""

from __future__ import annotations

from array import array
from collections.abc import Awaitable, Callable, Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import attrs
import trio

from trioworkers._bus import LocalBus
from trioworkers._handlers import HandlerTable, SystemHandler
from trioworkers._interrupts import protected
from trioworkers._slot import Slot
from trioworkers.abc import Instrument

if TYPE_CHECKING:
    from trioworkers._values import DeadLetter, WorkerState
    from trioworkers.messages import BusMessage

__all__ = ["Lane", "Recorder", "Recording", "RecordingBus"]

_MOST_SAMPLES = 1_000_000
_MOST_DEPTHS = 1_000

Handler = Callable[[Any, Any], Awaitable[object]]


class Lane:
    """The latencies of one lane, in seconds.

    Of very many it keeps every second, then every fourth, and so on: the percentiles stay what
    they are, and memory is bounded.  `count` and `longest` are of all, and so is what `counts` says.
    """

    __slots__ = ("_most", "_stride", "count", "longest", "samples")

    def __init__(self, most: int = _MOST_SAMPLES) -> None:
        """Start empty.

        Args:
            most: how many samples are kept at most.
        """
        self.samples: array[float] = array("d")
        self.count: int = 0
        self.longest: float = 0.0
        self._stride = 1
        self._most = most

    def add(self, seconds: float) -> None:
        """Add a latency."""
        self.count += 1
        if seconds > self.longest:
            self.longest = seconds
        if self.count % self._stride == 0:
            self.samples.append(seconds)
            if len(self.samples) > self._most:
                # The second, the fourth, ...: those that the new stride would have kept.
                self.samples = self.samples[1::2]
                self._stride *= 2

    def counts(self) -> Iterator[tuple[float, int]]:
        """Yield latencies, and of how many messages each is: together of all, the longest included."""
        stands_for = [self._stride] * len(self.samples)
        if self._stride > 1:
            # Those after the last one that was kept, but for the longest.
            stands_for[-1] += self.count % self._stride - 1
            yield self.longest, 1
        yield from zip(self.samples, stands_for, strict=True)


@attrs.define(eq=False)
class Recording:
    """Everything that was seen of one run."""

    system: Lane = attrs.field(factory=Lane)
    data: Lane = attrs.field(factory=Lane)
    # System messages from their own send on, in seconds, as nobody's being late is in it.
    sent: Lane = attrs.field(factory=Lane)
    starvation: float = 0.0
    unhandled: int = 0
    refused: int = 0
    begun: float = 0.0
    data_begun: float = 0.0
    data_ended: float = 0.0
    depths: list[tuple[float, int, int]] = attrs.field(factory=list[tuple[float, int, int]])

    @property
    def throughput(self) -> float:
        """Data messages handled per second, from the first one's start to the last one's end."""
        seconds = self.data_ended - self.data_begun
        return self.data.count / seconds if seconds > 0 else 0.0

    def note_depth(self, at: float, data: int, system: int) -> bool:
        """Note how full a mailbox is; True if it should be looked at half as often from now on."""
        self.depths.append((at - self.begun, data, system))
        if len(self.depths) < _MOST_DEPTHS:
            return False
        self.depths = self.depths[::2]
        return True


@protected
class RecordingBus(LocalBus):
    """A bus that stamps each message with the time at which it is sent.

    What is broadcast has no stamp: one would have to serve all who hear it.
    """

    def __init__(self) -> None:
        """Make a bus without workers."""
        super().__init__()
        self.stamps: dict[int, float] = {}
        # When messages about to be sent are due, if that is not when they are sent.
        self.due: dict[int, float] = {}

    def send_as(self, sender: str, message: BusMessage) -> Any:
        """Stamp `message`, and return what delivers it as any bus does when it is awaited."""
        self.stamps[id(message)] = perf_counter()
        return super().send_as(sender, message)

    def send_nowait_as(self, sender: str, message: BusMessage) -> None:
        """Stamp `message`, and deliver it as any bus does."""
        self.stamps[id(message)] = perf_counter()
        super().send_nowait_as(sender, message)

    def close(self, runner_name: str) -> None:
        """Forget the messages that were never handled, of which a cancelled send leaves one."""
        super().close(runner_name)
        self.stamps.clear()
        self.due.clear()


class Recorder(Instrument):
    """Takes the latencies of some workers on a `RecordingBus`."""

    def __init__(self, bus: RecordingBus) -> None:
        """Make it; `runner.add_instrument` lets it see restarts and dead letters."""
        self.bus: RecordingBus = bus
        self.recording: Recording = Recording()
        # Probes that have not been handled, with when they were due; and who waits for them.
        self.awaited: dict[int, float] = {}
        self.lost: dict[str, int] = {}
        self.all_handled: trio.Event | None = None
        # When the last data handler of each worker ended.
        self._ended: dict[str, float] = {}
        # The workers that are watched, and what stands in for their handlers.
        self._tables: dict[str, HandlerTable | None] = {}

    @property
    def watched(self) -> list[Slot]:
        """The workers whose latencies are taken and who are still there."""
        routes = (self.bus.route(name) for name in self._tables)
        return [route for route in routes if isinstance(route, Slot)]

    def watch(self, slot: Slot) -> None:
        """Take the latencies of a worker, also of what waits in its mailbox already."""
        if not self.recording.begun:
            self.recording.begun = perf_counter()
        if slot.name not in self._tables:
            self._tables[slot.name] = None
            self._stand_in(slot)

    def _stand_in(self, slot: Slot) -> None:
        # A restart of the same object has its table still.
        if slot.table is self._tables[slot.name]:
            return
        slot.table = self._tables[slot.name] = self._stand_before(slot.name, slot.table)
        if slot.turns is not None:
            slot.turns.use(slot.table)

    # As an instrument

    def worker_state_changed(self, worker: str, state: WorkerState) -> None:
        """Stand before the handlers of a worker that is restarted, as another object perhaps."""
        route = self.bus.route(worker)
        if state.value == "starting" and worker in self._tables and isinstance(route, Slot):
            self._stand_in(route)

    def dead_letter(self, letter: DeadLetter) -> None:
        """Forget a message that will not be handled."""
        number = id(letter.message)
        self.bus.stamps.pop(number, None)
        self.bus.due.pop(number, None)
        if self.awaited.pop(number, None) is not None:
            self.lost[letter.reason] = self.lost.get(letter.reason, 0) + 1
            self._look_whether_all_handled()

    # What stands in the tables

    def _stand_before(self, worker: str, table: HandlerTable) -> HandlerTable:
        data = {kind: self._data_handler(worker, each) for kind, each in table.data.items()}
        system = {
            kind: SystemHandler(self._system_handler(each.function), each.interrupt)
            for kind, each in table.system.items()
        }
        return attrs.evolve(table, data=data, system=system)

    def _data_handler(self, name: str, handler: Handler) -> Handler:
        take, due, ended = self.bus.stamps.pop, self.bus.due, self._ended
        recording = self.recording
        lane = recording.data

        async def handle(worker: Any, message: BusMessage) -> None:
            now = perf_counter()
            number = id(message)
            at = take(number, None)
            if at is not None:
                if due:
                    at = due.pop(number, at)
                if not recording.data_begun:
                    recording.data_begun = now
                lane.add(now - at)
                # It waited all this time, and none was handled.
                starved = now - max(ended.get(name, recording.begun), at)
                if starved > recording.starvation:
                    recording.starvation = starved
            try:
                await handler(worker, message)
            finally:
                ended[name] = recording.data_ended = perf_counter()

        return handle

    def _system_handler(self, handler: Handler) -> Handler:
        def handle(worker: Any, message: BusMessage) -> Awaitable[object]:
            now = perf_counter()
            number = id(message)
            at = self.bus.stamps.pop(number, None)
            if at is not None:
                self.recording.sent.add(now - at)
                self.recording.system.add(now - self.bus.due.pop(number, at))
                if self.awaited.pop(number, None) is not None:
                    self._look_whether_all_handled()
            # Its first line runs when this is awaited, which is the next thing that happens.
            return handler(worker, message)

        return handle

    # For the scenario

    def refused(self, message: BusMessage) -> None:
        """Count a message that a full lane did not take: it is not on its way."""
        self.recording.refused += 1
        self.bus.stamps.pop(id(message), None)

    def expect(self, message: BusMessage, due: float) -> None:
        """Wait for a probe from now on; `due` is when it was to be sent."""
        self.awaited[id(message)] = self.bus.due[id(message)] = due

    def _look_whether_all_handled(self) -> None:
        if not self.awaited and self.all_handled is not None:
            self.all_handled.set()

    def give_up(self) -> None:
        """Count the probes not handled yet with the time that they have waited."""
        now = perf_counter()
        for number, due in self.awaited.items():
            self.recording.unhandled += 1
            self.recording.system.add(now - due)
            # Not left out here either: who handles little would look quick.
            self.recording.sent.add(now - due)
            self.bus.due.pop(number, None)
            self.bus.stamps.pop(number, None)
        self.awaited.clear()

    def finish(self) -> Recording:
        """Return the recording; data that waits still has starved until now, or until its turn."""
        now = perf_counter()
        for slot in self.watched:
            if slot.turns is not None and slot.turns.in_hand is not None:
                continue
            age = slot.mailbox.statistics(now).oldest_age
            starved = min(age, now - self._ended.get(slot.name, self.recording.begun))
            self.recording.starvation = max(self.recording.starvation, starved)
        return self.recording
