"""What a worker and a runner can both do on the bus: send and ask."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, TypeVar, overload

import trio

from . import _asking
from ._asking import PendingJob
from ._job_groups import JobGroup
from ._jobs import Job
from ._tree import Node
from .messages import BusMessage

__all__ = ["Participant"]

P = TypeVar("P")
R = TypeVar("R")


class Participant:
    """Somebody with a name on the bus."""

    # Where it is in the tree; None before it was added.
    _slot: Any

    @property
    def _node(self) -> Node:
        raise NotImplementedError

    @property
    def _open_node(self) -> Node:
        node = self._node
        if node.closed:
            raise _closed(node)
        return node

    @property
    def _asking_node(self) -> Node:
        node: Node | None = self._slot
        if node is None or node.closed:
            node = self._open_node
        node.bus.check_open()
        return node

    def send(self, message: BusMessage) -> Coroutine[Any, Any, None]:
        """Send `message` to its target, or to everybody who handles its type.

        A cancellation point each time and a schedule point at least every 64 sends or 1 ms; not
        a checkpoint in trio's strict sense, which would cost five times the throughput.  Waits
        while the target's data lane is full.  A cancelled targeted send was not enqueued; a
        cancelled broadcast has reached those who had room.

        Args:
            message: made of a class marked `@message`; `source` is filled in.

        Raises:
            TypeError: it is no bus message, or one that is not sent by hand.
            ValueError: its `source` is somebody else.
            trio.ClosedResourceError: the sender has stopped.
            MailboxFullError: the target's lane is full and refuses.
            SystemLaneFullError: the target's system lane is at its hard cap.
            BackpressureDeadlockError: waiting for the target would close a circle of waits.
        """
        node: Node | None = self._slot
        if node is None or node.closed:
            node = self._open_node
        return node.bus.send_as(node.name, message)

    def send_nowait(self, message: BusMessage) -> None:
        """Send `message` at once, or raise `trio.WouldBlock` if a target's data lane is full.

        Not a checkpoint.  Raises what `send` raises; a broadcast reaches all or nobody.
        """
        node = self._open_node
        node.bus.send_nowait_as(node.name, message)

    @overload
    def ask(
        self, worker: str, job: str, payload: dict[str, Any] | None = None
    ) -> Coroutine[Any, Any, dict[str, Any]]: ...

    @overload
    def ask(
        self, worker: str, job: Callable[[Any, Job, P], Coroutine[Any, Any, R]], payload: P
    ) -> Coroutine[Any, Any, R]: ...

    def ask(self, worker: str, job: Any, payload: Any = None) -> Coroutine[Any, Any, Any]:
        """Let a worker do a job, and return its response.

        A checkpoint.  The caller's cancel scope is the time limit: when it is cancelled, so is
        the handler, and it has exited before this returns, or `job_grace` has passed.

        Args:
            worker: the worker's name.
            job: a method marked `@job()` (typed: its annotations say what goes in and comes out)
                or a job's name (dict in, dict out).
            payload: what the handler gets.

        Returns:
            What the handler returned.

        Raises:
            JobError: it did not complete; which one says why.
            TypeError: the job or the payload is of an impossible type.
            ValueError: the worker's name is impossible.
            RuntimeError: no runner is running yet.
            trio.ClosedResourceError: whoever asks has stopped.
        """
        return _asking.ask(self._asking_node, worker, job, payload)

    @overload
    def job(
        self,
        worker: str,
        job: str,
        payload: dict[str, Any] | None = None,
        *,
        label: str | None = None,
        cancellable: bool = True,
    ) -> PendingJob[dict[str, Any]]: ...

    @overload
    def job(
        self,
        worker: str,
        job: Callable[[Any, Job, P], Coroutine[Any, Any, R]],
        payload: P,
        *,
        label: str | None = None,
        cancellable: bool = True,
    ) -> PendingJob[R]: ...

    def job(
        self,
        worker: str,
        job: Any,
        payload: Any = None,
        *,
        label: str | None = None,
        cancellable: bool = True,
    ) -> PendingJob[Any]:
        """Open a job whose events can be read: `async with self.job(...) as pending`.

        Args:
            worker: the worker's name.
            job: a method marked `@job()`, or a job's name.
            payload: what the handler gets.
            label: a name for people, for those who watch.
            cancellable: whether `runner.cancel_job` may cancel it.

        Returns:
            An async context manager, and an async iterator of `JobEvent`.

        Raises:
            TypeError: `job` is neither a name nor a method marked `@job()`.
        """
        return PendingJob(self._asking_node, worker, job, payload, label, cancellable)

    @overload
    def job_group(
        self,
        job: str,
        payloads: Mapping[str, dict[str, Any] | None],
        /,
        *,
        cancel_on_error: bool = True,
        label: str | None = None,
        cancellable: bool = True,
    ) -> JobGroup[dict[str, Any]]: ...

    @overload
    def job_group(
        self,
        job: Callable[[Any, Job, P], Coroutine[Any, Any, R]],
        payloads: Mapping[str, P],
        /,
        *,
        cancel_on_error: bool = True,
        label: str | None = None,
        cancellable: bool = True,
    ) -> JobGroup[R]: ...

    @overload
    def job_group(
        self,
        *workers: str,
        name: str,
        payload: dict[str, Any] | None = None,
        cancel_on_error: bool = True,
        label: str | None = None,
        cancellable: bool = True,
    ) -> JobGroup[dict[str, Any]]: ...

    def job_group(
        self,
        *members: Any,
        name: str | None = None,
        payload: dict[str, Any] | None = None,
        cancel_on_error: bool = True,
        label: str | None = None,
        cancellable: bool = True,
    ) -> JobGroup[Any]:
        """Open jobs on several workers: `async with self.job_group(...) as group`.

        Args:
            members: a job and a mapping of worker names to payloads; or, with `name`, the names
                of the workers, which all get `payload`.
            name: the job's name, if `members` are worker names.
            payload: the payload for all, if `members` are worker names.
            cancel_on_error: when a member does not complete, cancel the others and raise
                `JobGroupError` at the end.
            label: a name for people, for those who watch.
            cancellable: whether `runner.cancel_job` may cancel the members.

        Returns:
            An async context manager, and an async iterator of `JobGroupEvent`.

        Raises:
            ValueError: a worker is named twice.
            TypeError: the arguments are neither of both forms.
        """
        if name is not None:
            job, payloads = name, _same_for_all(members, payload)
        elif len(members) == 2 and isinstance(members[1], Mapping) and payload is None:
            job, payloads = members
        else:
            raise TypeError(
                f"job_group() takes a job and a mapping of payloads, or worker names and name=; "
                f"not {members!r}"
            )
        return JobGroup(self._asking_node, job, payloads, cancel_on_error, label, cancellable)


def _closed(node: Node) -> trio.ClosedResourceError:
    return trio.ClosedResourceError(
        f"{node.name!r} has stopped ({node.stop_reason}): it can neither send nor ask any more"
    )


def _same_for_all(workers: tuple[Any, ...], payload: Any) -> dict[str, Any]:
    for each in workers:
        if not isinstance(each, str):
            raise TypeError(
                f"with name=, job_group() takes the names of workers, not {each!r}: pass the job "
                "and a mapping of payloads, or names of workers"
            )
    payloads = dict.fromkeys(workers, payload)
    if len(payloads) != len(workers):
        raise ValueError(f"the workers of a job group must be distinct: {', '.join(workers)}")
    return payloads
