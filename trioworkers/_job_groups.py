"""Job groups: several jobs that are sent, read and given up together."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import trio

from ._asking import finish, give_up, job_of, leave, new_request, post, wait_at
from ._interrupts import protected
from ._requests import Outcome, ReplyBox, Request
from ._tree import Node
from ._values import JobGroupEvent
from ._waits import Mover
from .errors import JobError, JobGroupError
from .messages import JobStatus

__all__ = ["JobGroup"]

R = TypeVar("R")


@protected
class JobGroup(Generic[R]):
    """Jobs in progress: `async with` their lifetime, `async for` their events.

    Left by an exception, or after the events were read in part, all are cancelled; left
    otherwise, or when a member that failed has cancelled the others, all outcomes are waited for.
    """

    def __init__(
        self,
        node: Node,
        job: str | Callable[..., Any],
        payloads: Mapping[str, Any],
        cancel_on_error: bool,
        label: str | None,
        cancellable: bool,
    ) -> None:
        """Made by `job_group()`."""
        self._name, self._wanted = job_of(job)
        self._node = node
        self._payloads = dict(payloads)
        self._cancel_on_error = cancel_on_error
        self._label = label
        self._cancellable = cancellable
        self._box = ReplyBox(keeping=True, waits=node.bus.waits)
        self._requests: dict[str, Request] | None = None
        self._iterated = False
        self._raised = False
        if cancel_on_error:
            self._box.failed = self._cancel_others

    @property
    def _opened(self) -> dict[str, Request]:
        if self._requests is None:
            raise RuntimeError("this job group was not sent: enter it with 'async with' first")
        return self._requests

    @property
    def ids(self) -> dict[str, str]:
        """The members' job ids, by worker name."""
        return {name: request.id for name, request in self._opened.items()}

    @property
    def statuses(self) -> dict[str, JobStatus]:
        """How each member that has an outcome ended, by worker name."""
        return {
            name: request.outcome.status
            for name, request in self._opened.items()
            if request.outcome is not None
        }

    @property
    def responses(self) -> dict[str, R]:
        """The responses of the members that completed, by worker name."""
        return {
            name: cast("R", request.result(self._wanted))
            for name, request in self._opened.items()
            if request.outcome is not None and request.outcome.error is None
        }

    async def __aenter__(self) -> JobGroup[R]:
        """Send the requests, one after the other.  A cancellation point."""
        if self._requests is not None:
            raise RuntimeError("this group was sent already: make a new one for each 'async with'")
        self._box.open(self._node.name)
        self._requests = {
            worker: new_request(
                self._node,
                worker,
                self._name,
                payload,
                self._box,
                label=self._label,
                cancellable=self._cancellable,
                grouped=True,
            )
            for worker, payload in self._payloads.items()
        }
        try:
            await trio.lowlevel.checkpoint_if_cancelled()
            for request in self._requests.values():
                # A member that failed meanwhile has cancelled the rest.
                if request.outcome is None:
                    await post(request)
        except BaseException as error:
            requests = tuple(self._requests.values())
            # Shielded, with a deadline.
            await leave(self._node, self._box, requests, error)  # noqa: ASYNC102
            raise
        return self

    def _cancel_others(self, failed: Request) -> None:
        """Cancel the other members, in the step in which one failed."""
        self._box.failed = None
        error = cast("Outcome", failed.outcome).error
        for other in self._opened.values():
            if other.outcome is None:
                other.cancel(f"worker {failed.target!r} failed: {error}", self._node.path)

    @property
    def _failed(self) -> bool:
        """Whether a failed member has cancelled the others."""
        return self._cancel_on_error and any(
            request.outcome is not None and request.outcome.error is not None
            for request in self._opened.values()
        )

    @property
    def _done(self) -> bool:
        return all(request.outcome is not None for request in self._opened.values())

    async def __aexit__(self, _type: object, error: BaseException | None, _trace: object) -> None:
        """Wait for all outcomes, or cancel the jobs."""
        requests = tuple(self._opened.values())
        given_up = self._iterated and not self._done and not self._failed
        if error is not None or given_up:
            # Shielded, with a deadline.
            await give_up(self._node, self._box, requests, error)  # noqa: ASYNC102
            return
        # Waits as a nursery does.
        await finish(self._node, self._box, self, requests)  # noqa: ASYNC102
        if not self._raised:
            self._raise_errors()

    def _raise_errors(self) -> None:
        outcomes: dict[str, Any] = {}
        for name, request in self._opened.items():
            outcome = cast("Outcome", request.outcome)
            outcomes[name] = outcome.response if outcome.error is None else outcome.error
        errors = [outcome for outcome in outcomes.values() if isinstance(outcome, JobError)]
        if errors and self._cancel_on_error:
            self._raised = True
            raise JobGroupError(outcomes) from errors[0]

    def __aiter__(self) -> JobGroup[R]:
        """Iterate over the events of all members."""
        return self

    async def __anext__(self) -> JobGroupEvent:
        """Return the next event of any member.  A cancellation point.

        Raises:
            JobGroupError: a member did not complete, and `cancel_on_error` is set.
        """
        await self._node.context.bus.pause()
        self._iterated = True
        while (event := self._box.take()) is None:
            if self._done:
                self._raise_errors()
                raise StopAsyncIteration
            requests = tuple(self._opened.values())
            await wait_at(self._box, self._node.bus.waits, self, requests)
        return cast("JobGroupEvent", event)

    # As a resource of the wait-for graph

    def wait_label(self) -> str:
        """Return the requester's name: the group is its own wait."""
        return self._node.name

    def movers(self) -> tuple[bool, Sequence[Mover]]:
        """Return the members that have no outcome: all must move."""
        return False, [request for request in self._opened.values() if request.outcome is None]
