"""Dead letters, and which of them a test expects."""

from __future__ import annotations

from .._values import DeadLetter, DeadLetterReason
from ..abc import Instrument
from ..messages import BusMessage

__all__ = ["DeadLetterLog"]


class DeadLetterLog(Instrument):
    """Keeps every dead letter of a runner, and tells which ones were not expected.

    `letters` holds them in order.  Add it with `runner.add_instrument(log)`.
    """

    def __init__(self) -> None:
        """Start empty, expecting none."""
        self.letters: list[DeadLetter] = []
        self._expected: list[tuple[DeadLetterReason, type[BusMessage]]] = []

    def dead_letter(self, letter: DeadLetter) -> None:
        """Keep `letter`."""
        self.letters.append(letter)

    def expect(self, reason: DeadLetterReason, message_type: type[BusMessage] = BusMessage) -> None:
        """Expect one or more dead letters, before or after this call.

        Args:
            reason: why they could not be delivered.
            message_type: what they are; subclasses included.
        """
        self._expected.append((reason, message_type))

    def check(self) -> None:
        """Compare what came with what was expected.

        Raises:
            AssertionError: a letter was not expected, or an expected one did not come.
        """
        problems = [
            f"unexpected dead letter ({letter.reason}): {letter.message!r}"
            for letter in self.letters
            if not any(_matches(letter, expected) for expected in self._expected)
        ]
        problems += [
            f"no dead letter ({reason}) of type {message_type.__qualname__} came"
            for reason, message_type in self._expected
            if not any(_matches(letter, (reason, message_type)) for letter in self.letters)
        ]
        if problems:
            raise AssertionError("; ".join(problems))


def _matches(letter: DeadLetter, expected: tuple[DeadLetterReason, type[BusMessage]]) -> bool:
    reason, message_type = expected
    return letter.reason == reason and isinstance(letter.message, message_type)
