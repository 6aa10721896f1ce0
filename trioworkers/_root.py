"""The root of a worker tree, and what is behind the runner's name on the bus."""

from __future__ import annotations

import trio

from ._interrupts import protected
from ._requests import Request
from ._tree import Context, Node
from ._values import StopReason, errors_text
from .messages import (
    BusAddWorkerMessage,
    BusCancelMessage,
    BusEndMessage,
    BusMessage,
    BusSystemMessage,
)

__all__ = ["Root"]


@protected
class Root(Node):
    """The node above the root workers, and what is behind the runner's name on the bus."""

    __slots__ = ("changed", "errors", "registry", "telling")

    mailbox = None
    present_nursery = None

    def __init__(self, name: str, context: Context) -> None:
        """Make the root of an empty tree."""
        super().__init__(name, None, context)
        self.errors: list[Exception] = []
        self.changed = trio.Event()
        # Round the handlers of `on_ready`, while they run.
        self.telling: trio.CancelScope | None = None

    def end(self, reason: str | None, seconds: float, path: str) -> None:
        """Begin to end everything; cancel after `seconds`."""
        self.note_end(reason, trio.current_time() + seconds, path)
        if self.telling is not None:
            self.telling.cancel(reason=reason)
        self.changed.set()

    def cancel(self, reason: str | None, path: str) -> None:
        """Cut off everything, now."""
        self.note_cancel(reason, path)
        self.changed.set()

    @property
    def has_work(self) -> bool:
        """Whether there is a root worker that is not just the edge to somewhere else."""
        return any(not child.is_edge for child in self.children.values())

    def stop_batch(self) -> None:
        """Do nothing: there are no messages."""

    def child_stopped(self) -> None:
        """Take note that a root worker has stopped for good."""
        self.changed.set()

    def fail(self, errors: list[Exception]) -> None:
        """Cancel everything: nobody handled these errors, and the runner raises them."""
        self.errors.extend(errors)
        self.stop = StopReason("failed", errors_text(errors), self.name)
        self.set_cut_off()
        assert self.life is not None
        self.life.cancel(reason="a worker failed")

    async def tell_failed(self, child: str, error: Exception) -> bool:
        """Handle no failure: a runner has no hook for it."""
        del child, error
        return False

    # As a route of the bus

    def hears(self, message: BusMessage) -> bool:
        """Never asked: a runner listens to no broadcasts."""
        raise NotImplementedError  # pragma: no cover

    def wake_system(self, message: BusSystemMessage) -> None:
        """Never called: there is no mailbox."""
        raise NotImplementedError  # pragma: no cover

    def offer(self, request: Request) -> bool:
        """Refuse: a runner serves no jobs."""
        request.refuse("unknown job", "a runner serves no jobs")
        return True

    def command(self, message: BusMessage) -> None:
        """End or cancel everything, or add a worker."""
        source = self.context.bus.route(message.source)
        path = message.source if source is None else source.path
        if isinstance(message, BusEndMessage):
            self.end(message.reason, self.context.end_deadline, path)
        elif isinstance(message, BusCancelMessage):
            self.cancel(message.reason, path)
        else:
            # The bus lets nothing else through to a runner.
            assert isinstance(message, BusAddWorkerMessage)
            if self.stopping:
                self.bus.dead_letter(message, "ending", self.name)
            else:
                self.supervisor.add_soon(message.worker)
