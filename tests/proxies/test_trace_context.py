"""What a tracer wants to know at the other end crosses with a request."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxies.pairs import pair
from trioworkers import Job, Worker, job, trace_context
from trioworkers.errors import LocalWireError

TRACE = {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}


class Traced(Worker):
    """Tells what its handlers find."""

    @job()
    async def trace(self, job: Job, payload: dict[str, Any] | None) -> dict[str, Any]:
        return {"trace": trace_context.get()}

    @job()
    async def further(self, job: Job, payload: dict[str, Any] | None) -> dict[str, Any]:
        found: dict[str, Any] = await self.ask("acme", "trace")
        return found


async def asked(worker: Worker, name: str, trace: Any) -> Any:
    """Ask with a trace; return what the handler has found."""
    token = trace_context.set(trace)
    try:
        return (await worker.ask("assistant", name))["trace"]
    finally:
        trace_context.reset(token)


@pytest.mark.parametrize(("dialect", "found"), [("native", TRACE), ("pipecat", None)])
async def test_it_crosses_with_a_request(autojump_clock: Any, dialect: str, found: Any) -> None:
    """S-PROXY-6: natively a handler finds what its requester has set, over there and back again."""
    # Whoever has added the proxies is nobody's requester.
    trace_context.set({"traceparent": "of the program"})
    client = {"dialect": dialect}
    async with pair(lambda: Traced("acme"), lambda: Traced("assistant"), client=client) as (
        near,
        _,
    ):
        acme = near.worker("acme")
        assert await asked(acme, "trace", TRACE) == found
        assert await asked(acme, "further", TRACE) == found
        assert await asked(acme, "trace", None) is None


async def test_within_a_process() -> None:
    """S-LIFE-12: within a process it is a context variable like any other."""
    async with pair(lambda: Traced("acme"), lambda: Traced("assistant")) as (near, _):
        runner = near.runner
        trace_context.set(TRACE)
        assert await runner.ask("acme", "trace") == {"trace": TRACE}


@pytest.mark.parametrize("trace", ["00-1", {"traceparent": 1}, {1: "traceparent"}])
async def test_what_is_no_trace(autojump_clock: Any, trace: Any) -> None:
    """S-PROXY-6: what is no dict of texts is an error where it is used, and not a lost link."""
    client = {"dialect": "native"}
    async with pair(lambda: Traced("acme"), lambda: Traced("assistant"), client=client) as (
        near,
        _,
    ):
        with pytest.raises(LocalWireError, match="trace_context must hold a dict of str or None"):
            await asked(near.worker("acme"), "trace", trace)
        assert near.proxy.connected


async def test_a_trace_that_is_too_long(autojump_clock: Any) -> None:
    """S-PROXY-6: what traces a request is not worth its loss: it is left out if it is too long."""
    client = {"dialect": "native"}
    async with pair(lambda: Traced("acme"), lambda: Traced("assistant"), client=client) as (
        near,
        _,
    ):
        assert await asked(near.worker("acme"), "trace", {"baggage": "x" * 5000}) is None
