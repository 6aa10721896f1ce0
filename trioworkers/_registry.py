"""Names: which workers are ready, here and behind links."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import trio

from ._checks import check_async
from ._interrupts import protected
from ._streams import LaggingStream
from ._values import Down, Lagged, StopReason, Up, WorkerReadyData, WorkerRegistryEntry
from ._waits import Resource, WaitGraph
from .errors import BackpressureDeadlockError
from .messages import check_name

__all__ = ["Registry"]

Listener: TypeAlias = Callable[[Up | Down], None]
ReadyHandler: TypeAlias = Callable[[WorkerReadyData], Awaitable[object]]


@protected
class Registry:
    """The ready workers of one runner, and those its links know of.

    An entry lives exactly as long as the worker is ready.
    """

    def __init__(self, runner_name: str, waits: WaitGraph) -> None:
        """Start empty."""
        self._runner_name = runner_name
        self._waits = waits
        self._entries: dict[str, WorkerRegistryEntry] = {}
        # Only of workers behind links.
        self._runners: dict[str, str] = {}
        self._listeners: dict[str, dict[Listener, None]] = {}
        # What to call when the runner stops: it ends a wait or a stream.
        self._enders: dict[Callable[[], None], None] = {}
        self._closed = False
        self._starters: dict[str, Resource] = {}
        self._start_task: Callable[..., None] | None = None
        self._early: list[tuple[ReadyHandler, WorkerReadyData]] = []

    def __contains__(self, name: object) -> bool:
        """Tell whether a worker of this name is ready."""
        return name in self._entries

    def get(self, name: str) -> WorkerRegistryEntry | None:
        """Return what is known of a ready worker, or None."""
        return self._entries.get(name)

    def entries(self) -> tuple[WorkerRegistryEntry, ...]:
        """Return what is known of all ready workers, in the order of becoming ready."""
        return tuple(self._entries.values())

    @property
    def listener_count(self) -> int:
        """How many watches, monitors and waits are open."""
        return sum(map(len, self._listeners.values()))

    async def wait_ready(self, name: str) -> WorkerRegistryEntry:
        """Wait until a worker of this name is ready.

        A checkpoint.  The worker need not exist yet.

        Args:
            name: the worker's.

        Returns:
            Its entry.

        Raises:
            ValueError: `name` is no possible name.
            BackpressureDeadlockError: that worker's start waits, directly or not, for the caller.
            trio.ClosedResourceError: the runner has stopped.
        """
        check_name(name)
        await trio.lowlevel.checkpoint()
        self._check_open()
        if name not in self._entries:
            task = trio.lowlevel.current_task()
            start = _Start(name, self._starters)
            circle = self._waits.find_circle(task, start)
            if circle is not None:
                raise BackpressureDeadlockError(circle)
            self._waits.edges[task] = start
            try:
                await self._wait_ready(name)
            finally:
                del self._waits.edges[task]
        return self._entries[name]

    async def _wait_ready(self, name: str) -> None:
        event = trio.Event()

        def listen(_change: Up | Down | None = None) -> None:
            event.set()

        self.listen(name, listen)
        self._enders[listen] = None
        try:
            while name not in self._entries:
                self._check_open()
                await event.wait()
                event = trio.Event()
        finally:
            del self._enders[listen]
            self.unlisten(name, listen)

    def _check_open(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError(
                f"runner {self._runner_name!r} has stopped: none of its workers will be ready again"
            )

    async def watch(self, name: str, handler: ReadyHandler) -> None:
        """Call `handler` each time a worker of this name becomes ready, at once if it is.

        A checkpoint.  The watch lasts as long as the runner, and `handler` runs as a task of it:
        an exception that leaves it ends the runner.

        Args:
            name: the worker's; it need not exist yet.
            handler: takes a `WorkerReadyData`.

        Raises:
            TypeError: `handler` is no async function.
            ValueError: `name` is no possible name.
            trio.ClosedResourceError: the runner has stopped.
        """
        check_name(name)
        check_async(handler, "handler")
        await trio.lowlevel.checkpoint()
        self._check_open()

        def listen(change: Up | Down) -> None:
            if isinstance(change, Up):
                self._call(handler, self.ready_data(name))

        self.listen(name, listen)
        if name in self._entries:
            listen(Up(name))

    @asynccontextmanager
    async def monitor(
        self, name: str, *, capacity: int = 64
    ) -> AsyncGenerator[AsyncIterator[Up | Down | Lagged], None]:
        """Open a stream of `Up` and `Down(reason)` of a worker.

        Entering is a checkpoint.

        Args:
            name: the worker's; it need not exist yet.
            capacity: how many events are kept for a slow reader before it gets `Lagged`.

        Yields:
            The stream; it begins with `Up` if the worker is ready, and ends with the runner.

        Raises:
            ValueError: `name` is no possible name, or `capacity` is less than 1.
            trio.ClosedResourceError: the runner has stopped.
        """
        check_name(name)
        await trio.lowlevel.checkpoint()
        self._check_open()
        stream: LaggingStream[Up | Down] = LaggingStream(capacity)
        self.listen(name, stream.push)
        self._enders[stream.close] = None
        if name in self._entries:
            stream.push(Up(name))
        try:
            yield stream
        finally:
            del self._enders[stream.close]
            self.unlisten(name, stream.push)
            stream.close()

    # For this package

    def listen(self, name: str, listener: Listener) -> None:
        """Call `listener` synchronously at each change of `name`."""
        self._listeners.setdefault(name, {})[listener] = None

    def unlisten(self, name: str, listener: Listener) -> None:
        """Undo `listen`; harmless when the runner has stopped."""
        listeners = self._listeners.get(name, {})
        listeners.pop(listener, None)
        if not listeners:
            self._listeners.pop(name, None)

    def ready_data(self, name: str) -> WorkerReadyData:
        """Return what `on_worker_ready` gets for a ready worker."""
        return WorkerReadyData(name, self._runners.get(name, self._runner_name))

    def register(self, entry: WorkerRegistryEntry, runner: str | None = None) -> None:
        """Enter a worker that became ready; `runner` is another one's name for a remote worker."""
        self._entries[entry.name] = entry
        if runner is not None:
            self._runners[entry.name] = runner
        if entry.name in self._listeners:
            self._tell(entry.name, Up(entry.name))

    def update(self, entry: WorkerRegistryEntry) -> None:
        """Replace what is known of a worker, if it is ready."""
        if entry.name in self._entries:
            self._entries[entry.name] = entry

    def unregister(self, name: str, reason: StopReason | None) -> None:
        """Remove a worker that is no longer ready; harmless if it was not."""
        if self._entries.pop(name, None) is not None:
            self._runners.pop(name, None)
            if name in self._listeners:
                self._tell(name, Down(name, reason))

    def _tell(self, name: str, change: Up | Down) -> None:
        for listener in tuple(self._listeners[name]):
            # One that was called before it may have taken it off the list.
            if listener in self._listeners.get(name, ()):
                listener(change)

    def starting(self, name: str, start: Resource | None) -> None:
        """Note what a wait for `name` waits for: its start, or None if it is not starting."""
        if start is None:
            self._starters.pop(name, None)
        else:
            self._starters[name] = start

    def open(self, start_task: Callable[..., None]) -> None:
        """Begin to run handlers of watches as tasks."""
        self._start_task = start_task
        early, self._early = self._early, []
        for handler, data in early:
            self._call(handler, data)

    def close(self) -> None:
        """Stop running handlers; forget every watch, and end every wait and stream."""
        self._closed = True
        self._start_task = None
        self._listeners.clear()
        for end in tuple(self._enders):
            end()

    def _call(self, handler: ReadyHandler, data: WorkerReadyData) -> None:
        if self._start_task is None:
            self._early.append((handler, data))
        else:
            self._start_task(_handle, handler, data, name=handler)


async def _handle(handler: ReadyHandler, data: WorkerReadyData) -> None:
    # In a task of its own: what is no async function must not fail the worker that became ready.
    await handler(data)


class _Start:
    """The wait for a worker by name, whatever incarnation of it starts meanwhile."""

    __slots__ = ("_name", "_starters")

    def __init__(self, name: str, starters: dict[str, Resource]) -> None:
        self._name = name
        self._starters = starters

    def wait_label(self) -> str:
        return self._name

    def movers(self) -> tuple[bool, tuple[Any, ...]]:
        start = self._starters.get(self._name)
        return (False, ()) if start is None else (False, (start,))
