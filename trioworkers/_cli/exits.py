"""Exit codes, and how a command refuses what it was told."""

from __future__ import annotations

from trioworkers import StopReason
from trioworkers._signals import FIRST_SIGNAL, SECOND_SIGNAL

__all__ = [
    "CANCELLED",
    "CRASHED",
    "ENDED",
    "NO_INPUT",
    "WRONG_ARGUMENT",
    "Refusal",
    "by_signal",
    "exit_code",
]

ENDED = 0
CRASHED = 1
WRONG_ARGUMENT = 64
NO_INPUT = 66
CANCELLED = 130


class Refusal(Exception):
    """A command cannot do what it was told; the message is a sentence for the user."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def by_signal(reason: StopReason | None) -> bool:
    """Tell whether it is a signal, such as Ctrl-C, that stops a runner for `reason`."""
    return reason is not None and reason.reason in (FIRST_SIGNAL, SECOND_SIGNAL)


def exit_code(reason: StopReason | None) -> int:
    """Say how to exit after a runner has stopped for `reason`."""
    if reason is not None and reason.kind == "cancelled" and by_signal(reason):
        return CANCELLED
    return ENDED
