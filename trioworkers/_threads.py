"""What comes from outside trio: from other threads, or when trio does not run at all."""

from __future__ import annotations

import trio

from .messages import BusMessage

__all__ = ["check_in_trio"]


def check_in_trio(message: BusMessage) -> None:
    """Check that trio runs, where delivering a message takes it.

    Raises:
        RuntimeError: it does not.
    """
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(
            f"{message!r} has no effect outside trio: send it inside trio.run(main) once the "
            "runner is there, or from a thread with bus.send_from_thread()"
        )
