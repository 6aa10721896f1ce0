"""The pages on proxies and security have the arguments and the numbers of the code."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest

from tests.docs.pages import DOCS
from trioworkers import Backoff
from trioworkers.proxies import (
    SESSION_CONTROL,
    WebSocketProxyClient,
    WebSocketProxyServer,
    _anteroom,
    _deliveries,
    _line,
    _link,
    _outbox,
    _proxy,
    _serving,
    _shared_stream,
    _unread,
    serve_proxies,
)
from trioworkers.wire import Limits, pipecat_session

PROXIES = (DOCS / "proxies.md").read_text(encoding="utf-8")
SECURITY = (DOCS / "security.md").read_text(encoding="utf-8")
MIB = 2**20
EVERY_ANSWER = "answers waiting to leave, refusals and those of jobs let in before included"


def rows(page: str, first: str) -> list[list[str]]:
    """Return the cells of the table that begins with the line `first`."""
    lines = page[page.index(first) :].splitlines()
    body = [line for line in lines[2 : lines.index("")] if line]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in body]


def defaults(function: Any) -> dict[str, Any]:
    """Return the parameters of a function, with their defaults."""
    return {name: each.default for name, each in inspect.signature(function).parameters.items()}


def test_the_arguments_of_a_client() -> None:
    """Each argument of WebSocketProxyClient has a row, with its default."""
    named = {}
    for code in re.findall(r"`([^`]+)`", " ".join(row[0] for row in rows(PROXIES, "| argument |"))):
        name, _, value = code.partition("=")
        named[name] = value
    expected = {
        name: "" if value is inspect.Parameter.empty else repr(value)
        for name, value in defaults(WebSocketProxyClient).items()
        if name not in {"name", "bus"}
    }
    assert expected["reconnect"] == repr(Backoff())
    assert named == expected | {"reconnect": "Backoff()"}


def test_the_arguments_that_a_server_has_not() -> None:
    """The server proxy takes none of those that the page says it does not have."""
    assert not {"reconnect", "url", "headers"} & defaults(WebSocketProxyServer).keys()
    assert defaults(WebSocketProxyServer)["active"] is True


@pytest.mark.parametrize(
    ("what", "numbers"),
    [
        ("a message", ["1 MiB", "64 levels", "128 characters"]),
        ("waiting to leave, answers aside", ["256 messages", "4 MiB"]),
        ("answers waiting to leave", ["1,024", "8 MiB"]),
        (EVERY_ANSWER, ["2,048", "64 MiB"]),
        ("system messages waiting to leave", ["10,000"]),
        ("come in, waiting for the local worker", ["1,024 messages", "8 MiB"]),
        ("come in, in the local worker's system lane", ["256"]),
        ("events of one job, unread", ["1,024", "16 MiB"]),
        ("open jobs of one peer", ["1,024"]),
        ("come in before there is a link", ["1,024", "4 MiB"]),
        ("empty fragments of one message", ["4,096"]),
        ("unreadable messages", ["32", "every 8 good"]),
        ("on their way natively, data and replies", ["64 KiB"]),
        ("silence", ["20 s"]),
        ("an orderly close", ["2 s"]),
    ],
)
def test_the_bounds_of_a_link(what: str, numbers: list[str]) -> None:
    """Each bound on the page is that of the code (S-PROXY-4, S-PROXY-5)."""
    code = {
        "a message": [Limits().message_size // MIB, Limits().depth, Limits().name_length],
        "waiting to leave, answers aside": [_outbox.CAPACITY, _outbox.BYTES // MIB],
        "answers waiting to leave": [_deliveries.MAX_JOBS, _deliveries.ANSWER_BYTES // MIB],
        EVERY_ANSWER: [2 * _deliveries.MAX_JOBS, _deliveries.ANSWER_LIMIT // MIB],
        "system messages waiting to leave": [_outbox.SYSTEM_LIMIT],
        "come in, waiting for the local worker": [
            _deliveries.INBOX_CAPACITY,
            _deliveries.INBOX_BYTES // MIB,
        ],
        "come in, in the local worker's system lane": [_deliveries.SYSTEM_CAPACITY],
        "events of one job, unread": [_unread.EVENT_CAPACITY, _unread.EVENT_BYTES // MIB],
        "open jobs of one peer": [_deliveries.MAX_JOBS],
        "come in before there is a link": [
            _anteroom.EARLY_MESSAGES,
            _anteroom.EARLY_BYTES // MIB,
        ],
        "empty fragments of one message": [_shared_stream.EMPTY_FRAGMENTS],
        "unreadable messages": [pipecat_session.PATIENCE, pipecat_session.FORGIVEN_AFTER],
        "on their way natively, data and replies": [_proxy.WINDOW // 1024],
        "silence": [int(_proxy.HEARTBEAT)],
        "an orderly close": [int(_link.CLOSE_SECONDS)],
    }
    table = {row[0]: row[1] for row in rows(PROXIES, "| | number |")}
    assert table.keys() == code.keys()
    for number, of_code in zip(numbers, code[what], strict=True):
        assert number in table[what]
        assert f"{of_code:,}" in number


def test_the_limits_of_a_server() -> None:
    """Each limit of serve_proxies on the page is that of the code (S-PROXY-10)."""
    found = defaults(serve_proxies)
    text = " ".join(SECURITY.split())
    for piece in (
        f"| `max_connections` | {found['max_connections']:,}, ",
        f"| `handshake_timeout` | {found['handshake_timeout']:g} s ",
        f"| `max_message_size` | {found['max_message_size'] // MIB} MiB |",
        f"`end_deadline` {found['end_deadline']:g} s, `cancel_grace` {found['cancel_grace']:g} s",
        f"503, for {_serving.TURNED_AWAY} at a time",
        f"| bytes of a handshake | {_line.HANDSHAKE_LIMIT // 1024} KiB |",
    ):
        assert piece in text


def test_the_backoff() -> None:
    """The page tells how long a client waits (S-PROXY-9)."""
    backoff = Backoff()
    text = " ".join(PROXIES.split())
    assert f"`Backoff()` waits {backoff.initial} s, then twice as long" in text
    assert f"up to {backoff.maximum:g} s, each by up to a fifth" in text
    assert f"a link that lasted {backoff.reset_after:g} s" in text
    assert (backoff.factor, backoff.jitter) == (2, 0.2)


def test_session_control() -> None:
    """The table of what crosses names each type that stops others (S-PROXY-2)."""
    row = next(row for row in rows(PROXIES, "| message | here |") if "BusEndMessage" in row[0])
    assert row[0] == ", ".join(f"`{each.__name__}`" for each in SESSION_CONTROL)
