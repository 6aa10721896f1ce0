"""Telling the user that a Ctrl-C was heard."""

from __future__ import annotations

from collections.abc import Callable

from trioworkers import Instrument, WorkerRunner, WorkerState

from .exits import by_signal

__all__ = ["EndNotice"]


class EndNotice(Instrument):
    """Says once, at the moment a signal begins to end a runner, that it does."""

    def __init__(self, runner: WorkerRunner, say: Callable[[str], None], sentence: str) -> None:
        """Make it; `runner.add_instrument` starts it.

        Args:
            runner: the runner that may be ended.
            say: where the sentence goes.
            sentence: what to say.
        """
        self._runner = runner
        self._say = say
        self._sentence = sentence
        self._said = False

    def worker_state_changed(self, worker: str, state: WorkerState) -> None:  # noqa: ARG002
        """Look whether a signal is the reason for what happens."""
        if not self._said and by_signal(self._runner.stop_reason):
            self._said = True
            self._say(self._sentence)
