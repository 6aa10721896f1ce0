"""Every example runs, as a program of its own, and does what its docstring says."""

from __future__ import annotations

import ast
import re
import signal
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest
import trio

from tests.examples.programs import PATIENCE, ROOT, Program, heed_sigint, running

__all__ = ["heed_sigint"]

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))

NUMBER = re.compile(r"[0-9a-f]{8}")


async def run(name: str) -> str:
    """Run an example to its end; return its output without random numbers."""
    async with running(f"examples/{name}.py") as program:
        assert await program.wait() == 0, program.output
        return NUMBER.sub("N", program.output)


def test_every_example_is_run() -> None:
    """Each example has a test that names it."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in EXAMPLES if name not in text] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_tells_how_to_run_it(name: str) -> None:
    """Each example has a docstring with a command that runs it."""
    text = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text))
    assert doc
    assert f"    python examples/{name}.py" in doc


async def test_ping_pong() -> None:
    """Two workers play, one asks for the end, and the runner says who did (S-RUN-1)."""
    assert (await run("ping_pong")).splitlines() == [
        "ping 1",
        "pong 2",
        "ping 3",
        "pong 4",
        "ping 5",
        "pong 6",
        "ended: the match is over (by runner-N/pong)",
    ]


async def test_priority() -> None:
    """System messages overtake data, one interrupts it, an end finishes it (S-MAIL-2, S-MAIL-5)."""
    lines = (await run("priority")).splitlines()
    assert [line for line in lines if not line.startswith("dead letter")] == [
        "page 1 begins",
        "the ink will last",
        "that page is skipped",
        "page 2 begins",
        "page 2 is done",
        "page 3 begins",
        "page 3 is done",
        "lost: {'interrupted': 1}",
    ]


async def test_bench_my_worker() -> None:
    """A worker of one's own is flooded and probed, and both lanes are told (S-MAIL-2)."""
    lines = (await run("bench_my_worker")).splitlines()
    lanes = [re.match(r"(\w+): (\d+) messages, p50 [\d.]+ ms, p99 ", line) for line in lines[:2]]
    assert [(lane[1], int(lane[2]) > 0) for lane in lanes if lane] == [
        ("system", True),
        ("data", True),
    ]
    assert re.fullmatch(r"data: \d+ a second; starved for [\d.]+ ms", lines[2])


class TestSupervisedTree:
    async def test_ctrl_c(self) -> None:
        """A till is restarted; one SIGINT ends the shop in order, with exit code 0 (S-RUN-2)."""
        async with running("examples/supervised_tree.py") as program:
            await program.wait_for("till-2 broke: ZeroDivisionError")
            await program.wait_for("(?s)till-2 broke.*till-2 opens.*till-2 serves")
            program.process.send_signal(signal.SIGINT)
            assert await program.wait() == 0, program.output
        lines = NUMBER.sub("N", program.output).splitlines()
        assert lines[-2:] == ["the shop is closed", "ended: a signal (by runner-N)"]
        assert "till-1 closes, ended: a signal (by runner-N)" in lines


class TestTrioService:
    @pytest.fixture
    async def service(self) -> AsyncIterator[Program]:
        """Run the service on a free port."""
        async with running("examples/embed_in_trio_service.py", "0") as program:
            yield program

    @staticmethod
    async def connect(program: Program) -> trio.SocketStream:
        """Connect to the service."""
        match = await program.wait_for(r"listening on port (\d+)")
        return await trio.open_tcp_stream("127.0.0.1", int(match[1]))

    @staticmethod
    async def say(stream: trio.SocketStream, line: str) -> str:
        """Say a line, and return the answer."""
        await stream.send_all(f"{line}\n".encode())
        answer = b""
        while not answer.endswith(b"\n"):
            chunk = await stream.receive_some()
            assert chunk
            answer += chunk
        return answer.decode().rstrip()

    async def test_serves(self, service: Program) -> None:
        """Messages and jobs go through, what fails is told (S-JOB-1)."""
        async with await self.connect(service) as stream:
            assert await self.say(stream, "left pear") == "10"
            assert await self.say(stream, "take pear") == "ok"
            assert await self.say(stream, "left pear") == "9"
            assert "raised KeyError" in await self.say(stream, "left unicorn")
            assert (await self.say(stream, "dance")).startswith("error: say")

    async def test_no_text(self, service: Program) -> None:
        """Bytes that are no text are an error for the client that sent them, and only that."""
        async with await self.connect(service) as other, await self.connect(service) as stream:
            await stream.send_all(b"left \xff\n")
            assert (await stream.receive_some()).startswith(b"error: say")
            assert await self.say(stream, "left pear") == "10"
            assert await self.say(other, "left pear") == "10"

    async def test_a_reset(self, service: Program) -> None:
        """A client that resets its connection leaves the others alone."""
        async with await self.connect(service) as other, await self.connect(service) as stream:
            assert await self.say(stream, "left pear") == "10"
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            await stream.aclose()
            assert await self.say(other, "left pear") == "10"
            assert await self.say(other, "left apple") == "10"

    async def test_long_lines(self, service: Program) -> None:
        """A client that never ends its line is cut off."""
        async with await self.connect(service) as stream:
            await stream.send_all(b"x" * 2000)
            assert await stream.receive_some() == b""

    async def test_crash(self, service: Program) -> None:
        """A worker that fails takes the service down, with its exception (S-RUN-4)."""
        async with await self.connect(service) as stream:
            assert await self.say(stream, "take unicorn") == "ok"
            assert await stream.receive_some() == b""
        assert await service.wait() == 1
        assert "KeyError: 'unicorn'\n" in service.output


class Service(Program):
    """A program that speaks HTTP."""

    async def request(self, method: str, path: str) -> tuple[int, str]:
        """Make a request, and return status and body."""
        match = await self.wait_for(r"Running on http://127\.0\.0\.1:(\d+)")
        return await trio.to_thread.run_sync(request, int(match[1]), method, path)


def request(port: int, method: str, path: str) -> tuple[int, str]:
    """Make a request, and return status and body."""
    with closing(HTTPConnection("127.0.0.1", port, timeout=PATIENCE)) as connection:
        connection.request(method, path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def serving(app: str) -> AbstractAsyncContextManager[Service]:
    """Run a web service on a free port."""
    return running(f"examples/{app}.py", "0", kind=Service)


@pytest.mark.parametrize("app", ["embed_in_fastapi", "embed_in_quart"])
async def test_web_service(app: str) -> None:
    """Requests reach workers; Ctrl-C ends the runner with the server (S-RUN-4)."""
    async with serving(app) as program:
        assert (await program.request("GET", "/health"))[0] == 200
        assert (await program.request("POST", "/take/pear"))[0] == 202
        assert await program.request("GET", "/left/pear") == (200, "9")
        status, body = await program.request("GET", "/left/unicorn")
        assert status == 404
        assert "raised KeyError" in body
        program.process.send_signal(signal.SIGINT)
        assert await program.wait() == 0, program.output
        assert "Traceback" not in program.output


async def test_fastapi_goes_down() -> None:
    """A worker that fails takes the service down, with its exception (S-RUN-4)."""
    async with serving("embed_in_fastapi") as program:
        assert (await program.request("POST", "/take/unicorn"))[0] == 202
        assert await program.wait() == 1
        assert "KeyError: 'unicorn'\n" in program.output


async def test_quart_turns_red() -> None:
    """A worker that fails turns the health route red; the server still stops (S-RUN-4)."""
    async with serving("embed_in_quart") as program:
        assert await program.request("GET", "/health") == (200, '{"state":"ready"}\n')
        assert (await program.request("POST", "/take/unicorn"))[0] == 202
        await program.wait_for("KeyError: 'unicorn'\n")
        assert await program.request("GET", "/health") == (503, '{"state":"failed"}\n')
        traces = program.output.count("Traceback")
        for method, path in (("GET", "/left/pear"), ("POST", "/take/pear")):
            assert await program.request(method, path) == (503, "the workers have stopped")
        assert program.output.count("Traceback") == traces
        program.process.send_signal(signal.SIGINT)
        assert await program.wait() == 0
