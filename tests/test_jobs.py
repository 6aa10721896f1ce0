"""Serving jobs: how a handler can end, which ones run, and who is refused."""

from __future__ import annotations

import sys
from typing import Any, Literal

import attrs
import pytest
import trio

from tests.jobs import Actor, Alarm, Count, Counted, Note, Server, idle, outcome_of
from trioworkers import (
    BusActivateWorkerMessage,
    BusDeactivateWorkerMessage,
    Instrument,
    Job,
    JobCancelledError,
    JobError,
    JobFailed,
    JobFailedError,
    JobRefusedError,
    JobRemoteError,
    JobStatus,
    Restart,
    StopReason,
    Worker,
    WorkerGoneError,
    handles,
    job,
    open_runner,
)
from trioworkers._tree import leaves

# How a handler ends


async def test_returning_is_completing(autojump_clock) -> None:
    """S-JOB-2: what the handler returns is the response, and None is an empty dict."""
    async with open_runner(Server()) as runner:
        assert await runner.ask("server", "echo", {"a": [1]}) == {"a": [1]}
        assert await runner.ask("server", "nothing") == {}
        assert await runner.ask("server", Server.nothing, {}) is None
        assert await runner.ask("server", Server.count, Count(3)) == Counted(3)
        assert await runner.ask("server", "count", {"n": 3}) == {"n": 3}


async def test_failing_on_purpose(autojump_clock) -> None:
    """S-JOB-2: `JobFailed` is FAILED, with its reason and response."""
    async with open_runner(Server()) as runner, trio.open_nursery():
        with pytest.raises(JobFailedError, match="no luck") as caught:
            await runner.ask("server", "fail")
        error = caught.value
        assert (error.status, error.response) == (JobStatus.FAILED, {"tries": 3})
        assert error.reason == "no luck"


async def test_raising_is_an_error(autojump_clock) -> None:
    """S-JOB-2: another exception is ERROR with type, message and trace; the worker lives on."""
    async with open_runner(Server()) as runner:
        with pytest.raises(JobRemoteError) as caught:
            await runner.ask("server", "boom")
        error = caught.value
        assert (error.type_name, error.message) == ("KeyError", "'boom'")
        assert 'raise KeyError("boom")' in error.trace
        assert isinstance(error.__cause__, KeyError)
        assert await runner.ask("server", "echo", {}) == {}


@pytest.mark.parametrize("returned", [3, "text", [1], (1,), object])
async def test_impossible_responses(returned: Any, autojump_clock) -> None:
    """S-JOB-2: a handler that returns something else than a dict, an attrs object or None erred."""

    async def serve(*args: Any) -> Any:
        return returned

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match="return a dict, an attrs object or None"):
            await runner.ask("a", "serve")


async def test_the_stream_end_is_the_response(autojump_clock) -> None:
    """S-JOB-2: `stream_end(x)` makes `x` the response; without data it is empty."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.stream_end()

    async with open_runner(Server(), Actor("a", serve=serve)) as runner:
        assert await runner.ask("server", "lines") == {"total": 2}
        assert await runner.ask("a", "serve") == {}


async def test_a_response_after_the_stream_end(autojump_clock) -> None:
    """S-JOB-2: returning something after `stream_end` is a TypeError."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        await job.stream_end({"total": 1})
        return {"total": 2}

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match=r"after stream_end") as caught:
            await runner.ask("a", "serve")
        assert caught.value.type_name == "TypeError"


async def test_nothing_follows_a_stream_end(autojump_clock) -> None:
    """S-JOB-2: a stream that has ended takes no more items; updates are no part of it."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.stream_end({"total": 1})
        await job.update({"still": "fine"})
        for late in (job.stream_start, job.stream, job.stream_end):
            with pytest.raises(RuntimeError, match="has ended"):
                await late({})

    async with open_runner(Actor("a", serve=serve)) as runner:
        assert await runner.ask("a", "serve") == {"total": 1}


async def test_events_take_dicts(autojump_clock) -> None:
    """An event's data is a dict or None."""

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        await job.update()
        for event in (job.update, job.stream_start, job.stream, job.stream_end):
            with pytest.raises(TypeError, match="takes a dict"):
                await event([1])  # pyright: ignore[reportArgumentType]

    async with open_runner(Actor("a", serve=serve)) as runner:
        assert await runner.ask("a", "serve") == {}


async def test_a_group_of_errors_is_an_error(autojump_clock) -> None:
    """S-JOB-2: an exception group of a handler's own nursery reaches the requester as one error."""

    async def bad() -> None:
        raise KeyError("inside")

    async def serve(*args: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(bad)
            nursery.start_soon(trio.sleep_forever)

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError) as caught:
            await runner.ask("a", "serve")
        assert caught.value.type_name == "ExceptionGroup"


class Mute(Exception):
    """Has no text."""

    def __str__(self) -> str:
        raise RuntimeError


class OddSyntax(SyntaxError):
    """Has no traceback as text."""

    def __str__(self) -> str:
        return "odd"


class Unset(JobFailed):
    def __init__(self) -> None:
        pass


ODD_PLACE: Any = ("file", "no", "no", 5)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (Mute(), "raised Mute: <Mute whose text raises RuntimeError>"),
        (OddSyntax("", ODD_PLACE), "raised OddSyntax: odd"),
        (JobFailed(Mute()), "failed: <Mute whose text raises RuntimeError>"),  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        (Unset(), "failed: no reason given"),
    ],
)
async def test_odd_exceptions_are_outcomes(error: Exception, problem: str, autojump_clock) -> None:
    """S-JOB-2: an exception that has no text is an outcome as any other, and the worker lives on."""

    async def serve(*args: Any) -> None:
        raise error

    async with open_runner(Actor("a", serve=serve), Server()) as runner:
        assert problem in str(await outcome_of(runner.ask("a", "serve")))
        assert "a" in runner.registry


async def test_a_handler_has_no_scope_of_its_desk(autojump_clock) -> None:
    """S-JOB-3: what a handler is given has no scope to cancel, which would leave no true outcome."""
    found: list[str] = []

    async def serve(*args: Any) -> None:
        (given,) = (each for each in args if isinstance(each, Job))
        public = [name for name in dir(given) if not name.startswith("_")]
        found.extend(name for name in public if isinstance(getattr(given, name), trio.CancelScope))

    async with open_runner(Actor("a", serve=serve), Server()) as runner:
        await runner.ask("a", "serve")
    assert found == []


class OddGroup(BaseExceptionGroup):
    """Stays a BaseExceptionGroup, whatever is in it."""

    def derive(self, excs: Any) -> OddGroup:
        return OddGroup(self.message, excs)


async def test_an_odd_group_of_errors_is_an_error(autojump_clock) -> None:
    """S-JOB-2: a base group that holds ordinary exceptions only is an error too."""

    async def serve(*args: Any) -> None:
        raise OddGroup("odd", [ValueError(1)])

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match="odd"):
            await runner.ask("a", "serve")


class Escape(BaseException):
    pass


async def test_what_is_no_error_is_not_kept() -> None:
    """S-JOB-2: what is no `Exception` is no outcome: it leaves the worker and the runner."""

    async def serve(*args: Any) -> None:
        raise BaseExceptionGroup("", [Escape()])

    with pytest.RaisesGroup(Escape, WorkerGoneError, flatten_subgroups=True):
        async with open_runner(Actor("a", serve=serve)) as runner:
            await runner.ask("a", "serve")


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (GeneratorExit(), "GeneratorExit"),
        (Escape(), "Escape"),
        (BaseExceptionGroup("", [Escape()]), "Escape"),
    ],
)
async def test_what_is_no_error_is_named(error: BaseException, name: str) -> None:
    """S-JOB-2: the requester hears which exception, that is no `Exception`, ended the worker."""

    async def serve(*args: Any) -> None:
        raise error

    heard: list[Any] = []
    with pytest.raises(BaseException) as caught:  # noqa: PT011 - of any kind
        async with open_runner(Actor("a", serve=serve)) as runner:
            heard.append(await outcome_of(runner.ask("a", "serve")))
    assert name in {type(leaf).__name__ for leaf in leaves(caught.value)}
    assert isinstance(heard[0], WorkerGoneError)
    assert heard[0].reason == f"its job 'serve' raised {name}"


# The first outcome wins


async def test_returning_after_the_cancel_is_completing(autojump_clock) -> None:
    """S-JOB-3: a handler that returns after its scope was cancelled has completed."""
    async with open_runner(Server()) as runner:
        async with runner.job("server", "linger", {"seconds": 2}) as pending:
            await trio.sleep(1)
            assert await runner.cancel_job(pending.id)
            assert await runner.cancel_job(pending.id, "again, while it lingers")
        assert pending.response == {"seconds": 2}


async def test_raising_while_cancelled_is_an_error(autojump_clock) -> None:
    """S-JOB-3: an exception other than Cancelled is an error, also while being cancelled."""

    async def serve(*args: Any) -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    async with open_runner(Actor("a", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match="in the cleanup"):
            async with runner.job("a", "serve") as pending:
                await trio.sleep(1)
                assert await runner.cancel_job(pending.id)


async def test_an_error_beside_a_cancellation_is_an_error(autojump_clock) -> None:
    """S-JOB-3: of a group of errors and cancellations the errors count, if the worker is cut off."""

    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleanup")

    async def serve(*args: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stubborn)
            nursery.start_soon(trio.sleep_forever)

    async with open_runner(Actor("a", serve=serve)) as runner, trio.open_nursery() as nursery:
        with pytest.raises(JobRemoteError, match="Exceptions from Trio nursery") as caught:
            async with runner.job("a", "serve"):
                await trio.sleep(1)
                nursery.start_soon(runner.cancel_worker, "a")
        assert "in the cleanup" in caught.value.trace


async def test_cancelled_by_somebody_else(autojump_clock) -> None:
    """S-JOB-3: a cancel from outside reaches the handler and the requester with its reason."""
    server = Server()
    async with open_runner(server, name="r") as runner:
        with pytest.raises(JobCancelledError, match="enough") as caught:
            async with runner.job("server", "hang") as pending:
                await trio.sleep(1)
                assert await runner.cancel_job(pending.id, "enough")
        assert (caught.value.reason, caught.value.path) == ("enough", "r")
        assert pending.status is JobStatus.CANCELLED
        assert server.log == [("cancelled", 1, "enough")]


async def test_a_handler_learns_who_cancelled_it(autojump_clock) -> None:
    """S-JOB-6: `job.stop_reason` has the reason and the path; a worker that stops is not the job's."""
    seen: list[object] = []

    async def serve(worker: Worker, job: Job, payload: object) -> None:
        seen.append(job.stop_reason)
        try:
            await trio.sleep_forever()
        finally:
            seen.append(job.stop_reason)

    actor = Actor("a", serve=serve)
    async with open_runner(actor, Worker("asker"), name="r") as runner:
        asker: Any = runner.get_worker("asker")
        with trio.CancelScope() as scope:
            async with asker.job("a", "serve"):
                await trio.sleep(1)
                scope.cancel(reason="enough")
                await trio.sleep_forever()
        with pytest.raises(WorkerGoneError):
            async with asker.job("a", "serve"):
                await trio.sleep(1)
                await runner.cancel_worker("a", "over")
    reason = StopReason("cancelled", "enough", "r/asker")
    assert seen == [None, reason, None, None]
    assert actor.stop_reason == StopReason("cancelled", "over", "r")


async def test_the_outsiders_door(autojump_clock) -> None:
    """S-JOB-7: `cancel_job` is False for what is unknown, over, or not cancellable."""
    async with open_runner(Server()) as runner:
        assert not await runner.cancel_job("nothing")
        async with runner.job("server", "echo", {}) as pending:
            await trio.sleep(1)
            assert not await runner.cancel_job(pending.id)
        async with runner.job("server", "nap", {"seconds": 2}, cancellable=False) as pending:
            assert not await runner.cancel_job(pending.id)
        assert pending.status is JobStatus.COMPLETED
        with trio.move_on_after(1) as scope:
            async with runner.job("server", "hang", cancellable=False):
                pass
        assert scope.cancelled_caught
        assert trio.current_time() == 4


# Payloads


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"n": "3"}, "expected int, got '3'"),
        ({"n": 3.0}, "expected int"),
        ({"n": True}, "expected int"),
        ({}, "n"),
        (None, "n"),
        ({"n": 1, "more": 2}, "more"),
        ({"n": 1, "word": b"x"}, "expected str"),
        (Counted(1), None),
        (Count(1), None),
    ],
)
async def test_payloads_are_checked(payload: Any, problem: str | None, autojump_clock) -> None:
    """S-JOB-2: a payload is structured strictly; what does not fit is refused as `bad payload`."""
    async with open_runner(Server()) as runner:
        answer = await outcome_of(runner.ask("server", "count", payload))
    if problem is None:
        assert answer == {"n": 1}
    else:
        assert isinstance(answer, JobRefusedError)
        assert answer.reason == "bad payload"
        assert problem in str(answer)


@attrs.frozen
class Left:
    kind: Literal["left"]


@attrs.frozen
class Right:
    kind: Literal["right"]


class Chooser(Worker):
    @job()
    async def choose(self, job: Job, side: Left | Right) -> Left | Right:
        return {"kind": "up"}  # type: ignore[return-value]  # pyright: ignore[reportReturnType]

    @job()
    async def lost(self, job: Job, payload: Missing) -> None:  # type: ignore[name-defined]  # noqa: F821  # pyright: ignore[reportUndefinedVariable, reportUnknownParameterType]
        """Its annotation names nothing."""

    @handles(Note)
    async def note(self, message: Note) -> None:
        await trio.sleep(1)


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize(
    ("name", "problem"),
    [("choose", "'up'"), ("lost", "'Missing'")],
)
async def test_bad_data_harms_nobody_else(
    name: str, problem: str, busy: bool, autojump_clock
) -> None:
    """S-JOB-3: a payload that fits nothing is refused, in the requester's step and in the lane."""
    async with open_runner(Chooser("a")) as runner:
        for _ in range(2 * busy):
            await runner.send(Note(target="a"))
        answer = await outcome_of(runner.ask("a", name, {"kind": "up"}))
        assert isinstance(answer, JobRefusedError)
        assert answer.reason == "bad payload"
        assert problem in str(answer)
        assert "a" in runner.registry


@pytest.mark.skipif(
    sys.version_info[:3] == (3, 13, 0), reason="it does not notice an endless recursion"
)
async def test_bad_responses_are_errors(autojump_clock) -> None:
    """S-JOB-3: a response that does not fit what was asked for is the one error of the job."""

    @attrs.define
    class Ring:
        inner: Any = None

    ring = Ring()
    ring.inner = ring

    async def serve(*args: Any) -> Ring:
        return ring

    async with open_runner(Chooser("a"), Actor("b", serve=serve)) as runner:
        with pytest.raises(JobRemoteError, match="its response does not fit: 'up'"):
            await runner.ask("a", Chooser.choose, Left("left"))
        with pytest.raises(JobRemoteError, match=r"its response does not fit: .*recursion"):
            await runner.ask("b", "serve")


async def test_frozen_payloads_are_not_copied(autojump_clock) -> None:
    """S-JOB-2: inside a process a frozen payload and a frozen response are passed as they are."""
    server = Server()
    count = Count(2)
    answer = Counted(2)

    class Same(Worker):
        @job()
        async def same(self, job: Job, request: Count) -> Counted:
            return answer

    async with open_runner(server, Same("same")) as runner:
        await runner.ask("server", Server.count, count)
        assert server.log[0] is count
        assert await runner.ask("same", Same.same, count) is answer


async def test_a_mutable_payload_is_copied(autojump_clock) -> None:
    """S-JOB-2: an attrs object that can be changed is not shared by two workers."""

    @attrs.define
    class Bag:
        items: list[int]

    class Changer(Worker):
        @job()
        async def change(self, job: Job, bag: dict[str, Any]) -> None:
            bag["items"].append(2)

    bag = Bag([1])
    async with open_runner(Changer("a")) as runner:
        await runner.ask("a", "change", bag)  # type: ignore[call-overload]
    assert bag == Bag([1])


# Which jobs run


async def test_jobs_of_one_worker_run_at_once(autojump_clock) -> None:
    """S-JOB-3: `max_concurrent_jobs` run, more wait in order, beyond the capacity they are busy."""
    server = Server(max_concurrent_jobs=2, mailbox_capacity=3)
    async with open_runner(server) as runner:
        answers: list[Any] = []

        async def ask(i: int) -> None:
            answers.append(await outcome_of(runner.ask("server", "nap", {"i": i, "seconds": 1})))

        async with trio.open_nursery() as nursery:
            for i in range(6):
                nursery.start_soon(ask, i)
                await trio.testing.wait_all_tasks_blocked()
            assert server.statistics().jobs_running == 2
            assert server.statistics().jobs_queued == 3
        # Those that begin in the same step do so in any order.
        assert sorted((at, i) for _, i, at in server.log) == [
            (0, 0),
            (0, 1),
            (1, 2),
            (1, 3),
            (2, 4),
        ]
        assert isinstance(answers[0], JobRefusedError)
        assert answers[0].reason == "busy"


async def test_waiting_jobs_do_not_hold_up_data(autojump_clock) -> None:
    """S-JOB-3: a job that waits for a slot does not keep data messages behind it."""
    server = Server(max_concurrent_jobs=1)
    async with open_runner(server) as runner, trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(runner.ask, "server", "nap", {"seconds": 5})
        await trio.sleep(1)
        await runner.send(Note(target="server", n=7))
        await trio.sleep(1)
        assert server.log[-1] == 7
        assert trio.current_time() == 2


async def test_sequential_jobs_keep_their_order(autojump_clock) -> None:
    """S-MAIL-3: sequential jobs of one name run one at a time and in order; others run beside."""
    server = Server()
    async with open_runner(server) as runner, trio.open_nursery() as nursery:
        for i in range(4):
            nursery.start_soon(runner.ask, "server", "serially", {"i": i, "seconds": 1})
            await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(runner.ask, "server", "nap", {"i": "beside", "seconds": 1})
    assert [(i, at) for _, i, at in server.log if i != "beside"] == [(i, i) for i in range(4)]
    assert ("begin", "beside", 0) in server.log


async def test_a_sequential_job_in_the_queue_lets_others_pass(autojump_clock) -> None:
    """S-JOB-3: a freed slot goes to the first waiting job that may run."""
    server = Server(max_concurrent_jobs=2)
    async with open_runner(server) as runner, trio.open_nursery() as nursery:
        for i, (name, seconds) in enumerate(
            [("serially", 5), ("nap", 1), ("serially", 1), ("nap", 1), ("nap", 1)]
        ):
            nursery.start_soon(runner.ask, "server", name, {"i": i, "seconds": seconds})
            await trio.testing.wait_all_tasks_blocked()
    assert [(i, at) for _, i, at in server.log] == [(0, 0), (1, 0), (3, 1), (4, 2), (2, 5)]


@pytest.mark.parametrize("overflow", ["refuse", "drop_oldest", "drop_newest"])
async def test_a_full_lane_is_busy(overflow: Any, autojump_clock) -> None:
    """S-MAIL-7: a full lane answers a request `busy` under refuse and drop; nothing is dropped."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(1)

    async with open_runner(Actor("a", note=nap, mailbox_capacity=1, overflow=overflow)) as runner:
        await runner.send(Note(target="a"))
        await trio.sleep(0.5)
        await runner.send(Note(target="a"))
        with pytest.raises(JobRefusedError, match="max_concurrent_jobs or mailbox_capacity") as e:
            await runner.ask("a", "serve")
        assert e.value.reason == "busy"
        assert trio.current_time() == 0.5
        assert runner.statistics().dead_letters == {}
        await trio.sleep(9)


async def test_a_full_lane_that_waits(autojump_clock) -> None:
    """S-MAIL-7: a request waits for room in a full lane under the policy `wait`."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(1)

    async with open_runner(Actor("a", note=nap, mailbox_capacity=1)) as runner:
        for _ in range(2):
            await runner.send(Note(target="a"))
            await trio.sleep(0.25)
        assert await runner.ask("a", "serve") == {}
        assert trio.current_time() == 1


# Refusals


async def test_an_unknown_job_is_refused(autojump_clock) -> None:
    """S-JOB-3: a job that nobody marked is refused, and the error lists what there is."""
    async with open_runner(Actor("a"), Worker("none")) as runner:
        with pytest.raises(JobRefusedError, match="it serves: serially, serve") as caught:
            await runner.ask("a", "swerve")
        assert caught.value.reason == "unknown job"
        with pytest.raises(JobRefusedError, match="it serves: none"):
            await runner.ask("none", "swerve")


async def test_an_inactive_worker_refuses(autojump_clock) -> None:
    """S-LIFE-6: an inactive worker answers a job at once, from before its first activation."""
    async with open_runner(Server(active=False)) as runner:
        with pytest.raises(JobRefusedError, match="activate the worker first") as caught:
            await runner.ask("server", "echo", {})
        assert caught.value.reason == "inactive"
        await runner.send(BusActivateWorkerMessage(target="server"))
        assert await runner.ask("server", "echo", {}) == {}
        await runner.send(BusDeactivateWorkerMessage(target="server"))
        with pytest.raises(JobRefusedError, match="inactive"):
            await runner.ask("server", "echo", {})


async def test_an_ending_worker_refuses(autojump_clock) -> None:
    """S-LIFE-7: an ending worker refuses jobs, but finishes those it has."""
    async with open_runner(Server(max_concurrent_jobs=1)) as runner:
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await runner.ask("server", "nap", {"seconds": 2}))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask)
            await trio.sleep(1)
            await runner.end_worker("server")
            with pytest.raises(JobRefusedError, match="ending"):
                await runner.ask("server", "echo", {})
            assert trio.current_time() == 1
        assert len(answers) == 2


async def test_the_lane_of_an_ending_worker(autojump_clock) -> None:
    """S-LIFE-7: requests in the lane are served, those that wait for room are refused."""

    async def nap(worker: Actor) -> None:
        await trio.sleep(4)

    async with open_runner(Actor("a", note=nap, mailbox_capacity=2)) as runner:
        for _ in range(2):
            await runner.send(Note(target="a"))
            await trio.testing.wait_all_tasks_blocked()
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await outcome_of(runner.ask("a", "serve")))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask)
                await trio.testing.wait_all_tasks_blocked()
            await runner.end_worker("a")
        refused, served = answers
        assert isinstance(refused, JobRefusedError)
        assert refused.reason == "ending"
        assert served == {}


# The worker goes


@pytest.mark.parametrize("stop", ["end deadline", "cancel", "crash"])
async def test_the_worker_goes_in_mid_job(stop: str, autojump_clock) -> None:
    """S-JOB-3: a worker that is cut off, crashes or exceeds its deadline takes its jobs with it."""

    async def crash(worker: Actor) -> None:
        raise ValueError("crashed")

    async def serve(*args: Any) -> None:
        await trio.sleep_forever()

    async with open_runner() as runner:
        await runner.add_workers(
            Actor("a", alarm=crash, serve=serve, max_concurrent_jobs=1), restart=Restart.TEMPORARY
        )
        answers: list[Any] = []

        async def ask() -> None:
            answers.append(await outcome_of(runner.ask("a", "serve")))

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(ask)
            await trio.sleep(1)
            if stop == "crash":
                await runner.send(Alarm(target="a"))
            elif stop == "cancel":
                await runner.cancel_worker("a", "why not")
            else:
                await runner.end_worker("a", deadline=2)
        assert trio.current_time() == (3 if stop == "end deadline" else 1)
        assert [type(answer) for answer in answers] == [WorkerGoneError, WorkerGoneError]
        assert {"cancel": "why not", "crash": "fail"}.get(stop, stop) in str(answers[0])
        assert idle(runner)


async def test_a_restart_in_mid_job(autojump_clock) -> None:
    """S-SUP-4: a job in progress fails with its incarnation; those that wait are for the next one."""
    made: list[Fragile] = []

    class Fragile(Server):
        @handles(Alarm)
        async def alarm(self, message: Alarm) -> None:
            raise ValueError("crashed")

    def make() -> Fragile:
        made.append(Fragile(max_concurrent_jobs=1))
        return made[-1]

    async with open_runner() as runner:
        await runner.add_workers(make, restart=Restart.PERMANENT)
        answers: list[Any] = []

        async def ask(i: int) -> None:
            request = runner.ask("server", "nap", {"i": i, "seconds": 2})
            answers.append(await outcome_of(request))

        async with trio.open_nursery() as nursery:
            for i in range(3):
                nursery.start_soon(ask, i)
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(1)
            await runner.send(Alarm(target="server"))
    assert isinstance(answers[0], WorkerGoneError)
    assert [answer["i"] for answer in answers[1:]] == [1, 2]
    assert [i for _, i, _ in made[0].log] == [0]
    assert [i for _, i, _ in made[1].log] == [1, 2]


async def test_a_job_that_is_cancelled_before_its_first_step(autojump_clock) -> None:
    """S-JOB-3: a handler that has not begun when it is cancelled never begins."""

    async def serve(*args: Any) -> None:
        raise AssertionError("it began")

    async def note(worker: Actor) -> None:
        (job_id,) = worker.bus.open_requests
        worker.bus.open_requests[job_id].cancel("at once", "somebody")

    async with open_runner(Actor("a", serve=serve, note=note)) as runner:
        async with runner.job("a", "serve") as pending:
            # The handler's task exists and has not run yet.
            runner.bus.open_requests[pending.id].cancel("at once", "somebody")
            with pytest.raises(JobCancelledError, match="at once"):
                await anext(pending)


async def test_a_worker_that_is_cut_off_with_its_parent(autojump_clock) -> None:
    """S-JOB-3: a worker in `on_stop`, cut off with its parent, refuses jobs."""

    async def slowly(worker: Actor) -> None:
        await trio.sleep(2)

    async def start(worker: Actor) -> None:
        await worker.add_workers(Actor("child", stop=slowly))

    async with open_runner(Actor("parent", start=start)) as runner:
        await runner.cancel_worker("parent")
        await trio.sleep(1)
        with pytest.raises(JobError):
            await runner.ask("child", "serve")


async def test_children_may_ask_while_the_parent_ends(autojump_clock) -> None:
    """S-LIFE-7: an ending worker still takes the requests of its jobs and of its descendants."""
    answers: list[Any] = []

    async def child_stop(worker: Actor) -> None:
        answers.append(await worker.ask("parent", "nothing"))

    async def serve(worker: Actor, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
        await trio.sleep(1)
        return await worker.ask("parent", "echo", {"own": 1})

    class Parent(Server):
        async def on_start(self) -> None:
            await self.add_workers(Actor("child", stop=child_stop))

        @job()
        async def own(self, job: Job, payload: dict[str, Any]) -> dict[str, Any]:
            return await serve(self, job, payload)  # pyright: ignore[reportArgumentType]

    async with open_runner(Parent("parent")) as runner:
        async with runner.job("parent", "own") as pending:
            await runner.end_worker("parent")
        assert pending.response == {"own": 1}
    assert answers == [{}]


# Watching


async def test_jobs_can_be_watched(autojump_clock) -> None:
    """S-JOB-3: an instrument hears of each job's begin and its one end."""
    seen: list[Any] = []

    class Watch(Instrument):
        def job_started(self, worker: str, job_id: str, job: str) -> None:
            seen.append(("started", worker, job))

        def job_finished(self, worker: str, job_id: str, job: str, status: str) -> None:
            seen.append(("finished", job, status))

    async with open_runner(Server()) as runner:
        runner.add_instrument(Watch())
        for name in ("nothing", "boom", "fail", "no such job"):
            await outcome_of(runner.ask("server", name))
    assert seen == [
        *[("started", "server", "nothing"), ("finished", "nothing", "completed")],
        *[("started", "server", "boom"), ("finished", "boom", "error")],
        *[("started", "server", "fail"), ("finished", "fail", "failed")],
    ]


async def test_what_a_handler_knows(autojump_clock) -> None:
    """A handler can see the job's id, name, requester, payload and deadline."""
    seen: list[Job] = []

    async def serve(worker: Worker, job: Job, payload: dict[str, Any]) -> None:
        seen.append(job)

    async with open_runner(Actor("a", serve=serve), name="r") as runner:
        with trio.fail_after(3):
            await runner.ask("a", "serve", {"x": 1})
        await runner.ask("a", "serially")
    first, second = seen
    assert (first.name, first.requester, first.payload) == ("serve", "r", {"x": 1})
    assert first.deadline == 3
    assert second.deadline == float("inf")
    assert second.payload == {}
    assert first.id != second.id
