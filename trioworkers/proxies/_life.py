"""The life of a session, as one table: whether there is one, and whether a connection carries it.

A session is what open jobs, the remote worker's place in the registry and what waits to leave
belong to.  It begins with a link; without `delivery="at_least_once"` it ends with that, too.  What
happens to connections is seen in several places, the proxies' tasks and the portal; what becomes of
the session by that is decided here, and asked here.
"""

from __future__ import annotations

from enum import Enum, auto
from math import inf

__all__ = ["TRANSITIONS", "Life", "Stage", "Step"]


class Stage(Enum):
    """How a session is."""

    NONE = "there is none"
    CARRIED = "a connection carries it"
    KEPT = "it waits for its next connection"


class Step(Enum):
    """What happens to it."""

    BEGIN = auto()
    """Both sides have agreed on a new one, and the hook has, too."""

    LOSE = auto()
    """Its connection is over, and both sides remember it."""

    RESUME = auto()
    """Both sides go on over another connection; the hook may still have to agree."""

    END = auto()
    """It is over: forgotten, given up, or closed in order."""


TRANSITIONS: dict[Stage, dict[Step, Stage]] = {
    Stage.NONE: {Step.BEGIN: Stage.CARRIED},
    Stage.CARRIED: {Step.LOSE: Stage.KEPT, Step.END: Stage.NONE},
    Stage.KEPT: {Step.RESUME: Stage.CARRIED, Step.END: Stage.NONE},
}


class Life:
    """One session after the other, of one proxy."""

    __slots__ = ("cause", "farewell", "over_at", "stage")

    def __init__(self) -> None:
        """Begin without a session."""
        self.stage: Stage = Stage.NONE
        # Whether the peer has said goodbye, and so will not go on with it.
        self.farewell: bool = False
        # How the last connection has ended, and when.
        self.cause: str | None = None
        self.over_at: float = -inf

    def step(self, step: Step) -> None:
        """Take a step.

        Raises:
            AssertionError: it is none that can be taken now.
        """
        following = TRANSITIONS[self.stage].get(step)
        if following is None:
            raise AssertionError(f"{step.name} of a session that is {self.stage.name}")
        self.stage = following

    @property
    def exists(self) -> bool:
        """Whether there is a session, be it that its connection is lost."""
        return self.stage is not Stage.NONE

    @property
    def is_carried(self) -> bool:
        """Whether there is a session with a connection."""
        return self.stage is Stage.CARRIED

    def connection_over(self, cause: str, now: float) -> None:
        """Take note of how a connection has ended."""
        self.cause, self.over_at = cause, now

    def survives(self, *, met: bool, wanted: bool, by_us: bool) -> bool:
        """Tell whether a session goes on when its connection is over.

        Args:
            met: whether both sides remember it.
            wanted: whether this side wants another connection.
            by_us: whether this side has ended the connection.
        """
        return met and wanted and not by_us and not self.farewell

    def forget(self) -> None:
        """Take note that nothing is remembered any more: the next goodbye is another one's."""
        self.farewell = False
