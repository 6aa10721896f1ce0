"""The two programs of examples/remote_assistant, as processes of their own."""

from __future__ import annotations

import ast
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest
import trio

from tests.examples.programs import ROOT, Program, heed_sigint, running

__all__ = ["heed_sigint"]

FOLDER = "examples/remote_assistant"

# So many that asking for their price takes longer than a test needs to press Ctrl-C.
MANY = ["anvil"] * 90

GREETING = """\
connected
assistant: Welcome to Acme. What can I do for you?
acme: When do you open?
assistant: We are open from 9 to 17.
acme: Do you like music?
assistant: I do not know.
"""
WORKING = "'price': 120}\n"


@pytest.fixture
async def assistant() -> AsyncIterator[Program]:
    """Run the server, on a free port."""
    async with running(f"{FOLDER}/assistant.py", "--port", "0") as program:
        yield program


async def url_of(assistant: Program) -> str:
    """Return the address that the server prints."""
    return (await assistant.wait_for(r"listening at (ws://\S+)\n"))[1]


def asking(url: str, *items: str) -> AbstractAsyncContextManager[Program]:
    """Run the client."""
    return running(f"{FOLDER}/main.py", "--remote-url", url, *items)


async def ask(assistant: Program, *items: str) -> tuple[int, str]:
    """Run the client to its end; return the exit code, and what came after the greeting."""
    async with asking(await url_of(assistant), *items) as client:
        code = await client.wait()
    assert client.output.startswith(GREETING)
    return code, client.output.removeprefix(GREETING)


@pytest.mark.parametrize("name", ["assistant", "main"])
def test_they_tell_how_to_run_them(name: str) -> None:
    """Each docstring has a command that installs what is needed, and one that runs it."""
    text = (ROOT / FOLDER / f"{name}.py").read_text(encoding="utf-8")
    doc = ast.get_docstring(ast.parse(text))
    assert doc
    assert "    pip install " in doc
    assert f"    python {FOLDER}/{name}.py" in doc


async def test_a_talk(assistant: Program) -> None:
    """Activation, frames, a job with updates and its failure cross; sessions follow each other."""
    code, said = await ask(assistant, "anvil", "rope")
    assert re.sub("[0-9a-f]{8}", "N", said).splitlines() == [
        "assistant: {'item': 'anvil', 'price': 120}",
        "assistant: {'item': 'rope', 'price': 15}",
        "total: 135",
        "disconnected",
        "ended: everything was asked (by runner-N/acme)",
    ]
    assert code == 0
    code, said = await ask(assistant, "unicorn")
    assert said.startswith("assistant: we do not sell 'unicorn'\ndisconnected\n")
    assert code == 0
    await assistant.wait_for("(?s)(.*a client has gone){2}")
    assert assistant.output.count("told: Welcome the user.") == 2
    assistant.process.send_signal(signal.SIGINT)
    assert await assistant.wait() == 0
    assert "Traceback" not in assistant.output


async def test_ctrl_c_in_the_client_first(assistant: Program) -> None:
    """The first lets the client finish its question, the second cuts it; the server goes on."""
    async with asking(await url_of(assistant), *(["anvil"] * 10)) as client:
        await client.wait_for(WORKING)
        client.process.send_signal(signal.SIGINT)
        assert await client.wait() == 1
    assert "total: 1200\ndisconnected\nended: a signal" in client.output
    async with asking(await url_of(assistant), *MANY) as client:
        await client.wait_for(WORKING)
        client.process.send_signal(signal.SIGINT)
        await trio.testing.wait_all_tasks_blocked()
        await client.wait_for(f"(?s)({WORKING}.*){{3}}")
        client.process.send_signal(signal.SIGINT)
        assert await client.wait() == 1
    assert "total" not in client.output
    assert "disconnected\n" in client.output
    assert "\ncancelled: a second signal" in client.output
    assert (await ask(assistant, "rope"))[0] == 0
    assistant.process.send_signal(signal.SIGINT)
    assert await assistant.wait() == 0
    assert "Traceback" not in client.output + assistant.output


async def test_ctrl_c_in_the_server_first(assistant: Program) -> None:
    """The client in mid-job is told that the assistant has gone, and fails (S-PROXY-3)."""
    async with asking(await url_of(assistant), *MANY) as client:
        await client.wait_for(WORKING)
        assistant.process.send_signal(signal.SIGINT)
        assert await assistant.wait() == 0
        assert await client.wait() == 1
    assert "the assistant has gone: worker 'assistant' is gone: " in client.output
    assert "Traceback" not in client.output + assistant.output
    assert "a client has gone" in assistant.output


async def test_a_killed_server(assistant: Program) -> None:
    """So is the client of a server that was killed (S-PROXY-3)."""
    async with asking(await url_of(assistant), *MANY) as client:
        await client.wait_for(WORKING)
        os.kill(assistant.process.pid, signal.SIGKILL)
        assert await client.wait() == 1
    assert "the assistant has gone: worker 'assistant' is gone: the link to it" in client.output
    assert "Traceback" not in client.output


async def test_wrong_addresses(assistant: Program) -> None:
    """What cannot be reached is one clear line, and an exit code (S-PROXY-1)."""
    url = await url_of(assistant)
    expected = {
        "http://localhost": (2, "'http://localhost' must look like ws://"),
        url.replace("/ws", "/nope"): (1, "refused the connection: HTTP status 403"),
        "ws://127.0.0.1:1/ws": (1, "no connection to ws://127.0.0.1:1/ws: "),
    }
    for wrong, (code, words) in expected.items():
        async with asking(wrong) as client:
            assert await client.wait() == code
        assert words in client.output
        assert "Traceback" not in client.output


async def test_what_is_secret_in_a_url() -> None:
    """What is behind the `?` of a URL is not printed (S-PROXY-10)."""
    async with asking("ws://127.0.0.1:1/ws?token=secret") as client:
        assert await client.wait() == 1
    assert "no connection to ws://127.0.0.1:1/ws?...: " in client.output
    assert "secret" not in client.output


async def test_a_port_that_does_not_exist() -> None:
    """So is one beyond the last (S-PROXY-11)."""
    async with running(f"{FOLDER}/assistant.py", "--port", "99999") as program:
        assert await program.wait() == 1
    assert program.output == "cannot serve: port must be from 0 to 65535, and is 99999\n"


async def test_a_taken_port(assistant: Program) -> None:
    """A port that is taken is one clear line (S-PROXY-11)."""
    port = re.sub(r".*:(\d+)/ws", r"\1", await url_of(assistant))
    async with running(f"{FOLDER}/assistant.py", "--port", port) as second:
        assert await second.wait() == 1
    assert second.output == f"cannot serve: [Errno 98] cannot listen at 127.0.0.1:{port}: " + (
        "Address already in use\n"
    )
