"""Instruments, indexed by the hooks they override."""

from __future__ import annotations

import inspect
import logging

from ._interrupts import notify
from ._values import excerpt
from .abc import Instrument

__all__ = ["Observers"]

logger = logging.getLogger("trioworkers")

_HOOKS = tuple(name for name in vars(Instrument) if not name.startswith("_"))


class Observers:
    """The instruments of one bus.

    A hook nobody overrides costs one test of an empty list.
    """

    __slots__ = (
        "dead_letter",
        "job_finished",
        "job_started",
        "message_handled",
        "message_sent",
        "worker_restarted",
        "worker_state_changed",
    )

    def __init__(self) -> None:
        """Start without instruments."""
        self.dead_letter: list[Instrument] = []
        self.job_finished: list[Instrument] = []
        self.job_started: list[Instrument] = []
        self.message_handled: list[Instrument] = []
        self.message_sent: list[Instrument] = []
        self.worker_restarted: list[Instrument] = []
        self.worker_state_changed: list[Instrument] = []

    def add(self, instrument: Instrument) -> None:
        """Add `instrument` to every hook that it overrides; harmless if it is there already.

        Raises:
            TypeError: a hook is asynchronous, so nobody would await it.
        """
        hooks = [
            hook
            for hook in _HOOKS
            if getattr(type(instrument), hook) is not getattr(Instrument, hook)
        ]
        for hook in hooks:
            if inspect.iscoroutinefunction(getattr(instrument, hook)):
                raise TypeError(f"hook {hook} of {instrument!r} must be a plain 'def', not async")
        self.remove(instrument)
        for hook in hooks:
            getattr(self, hook).append(instrument)

    def remove(self, instrument: Instrument) -> None:
        """Remove `instrument` wherever it is."""
        for hook in _HOOKS:
            watchers: list[Instrument] = getattr(self, hook)
            # By identity: instruments may define what makes them equal.
            watchers[:] = [each for each in watchers if each is not instrument]

    def notify(self, hook: str, *args: object) -> None:
        """Call `hook` of all who override it; remove those who raise."""
        for instrument in tuple(getattr(self, hook)):
            try:
                notify(getattr(instrument, hook), *args)
            except Exception:
                self.remove(instrument)
                logger.exception(
                    "instrument %s raised in %s and was removed", excerpt(instrument), hook
                )
