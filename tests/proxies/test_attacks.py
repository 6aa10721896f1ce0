"""Attacks from outside, with nothing but a socket and the docs; nobody else may notice any."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import json
import logging
import re
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import trio
import trio.testing

from tests.jobs import outcome_of
from tests.proxies import links
from tests.proxies.attackers import (
    BINARY,
    CLOSE,
    ECHO,
    MODULE,
    PING,
    TEXT,
    Attacker,
    Bystander,
    Victim,
    attacked,
    built,
    frame,
    said,
)
from tests.proxies.serving import connected, knock, request, serving, session
from trioworkers import (
    Backoff,
    BusActivateWorkerMessage,
    BusDataMessage,
    BusLocalMessage,
    BusSystemMessage,
    JobRemoteError,
    NameTakenError,
    WorkerGoneError,
    WorkerState,
    open_runner,
)
from trioworkers.proxies import WebSocketProxyClient, WebSocketProxyServer, bearer_token
from trioworkers.proxies._memory import memory_transports

pytestmark = pytest.mark.usefixtures("carrier")

Attempts = list[tuple[str, Any]]
Log = pytest.LogCaptureFixture
CONTROL = ["BusEndMessage", "BusCancelMessage", "BusEndWorkerMessage", "BusCancelWorkerMessage"]


def listed(attempts: dict[str, Any], count: int = 1) -> Any:
    """Parametrise a test by attempts, `count` of them at a time, named after the first one."""
    items = list(attempts.items())
    batches = [items[at : at + count] for at in range(0, len(items), count)]
    return pytest.mark.parametrize("attempts", batches, ids=[batch[0][0] for batch in batches])


@contextlib.contextmanager
def attempt(name: str) -> Iterator[None]:
    """Tell which attempt it was that did harm."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"after the attempt {name!r}")
        raise


def entry(name: Any, **more: Any) -> dict[str, Any]:
    """Write an entry of an announcement."""
    return {
        "__type__": "pipecat.registry.types.WorkerRegistryEntry",
        "__data__": {"name": name, "active": True, "bridged": False, **more},
    }


def announced(*entries: Any, **fields: Any) -> bytes:
    """Write an announcement."""
    head = {"source": "x", "target": None, "runner": "evil", "workers": list(entries), **fields}
    return json.dumps({"__type__": MODULE + "BusWorkerRegistryMessage", "__data__": head}).encode()


# Names that are not `acme` and `assistant`, but look like them.
LOOK_ALIKES = [
    "ACME",
    "acme ",
    " acme",
    "\u0430cme",
    "acme\u200b",
    "acme\x00",
    "\uff41cme",
    "acm\u0065\u0301",
]
FORGED: dict[str, bytes] = {
    **{
        f"source {name!a}": built("BusActivateWorkerMessage", source=name)
        for name in ["", "assistant", "bystander", "gateway", "proxy", "*", *LOOK_ALIKES]
    },
    **{
        f"target {name!a}": built("BusJobRequestMessage", target=name, job_id="j", job_name="echo")
        for name in ["", "acme", "bystander", "gateway", "*", "Assistant", "assist\u0430nt"]
    },
    **{
        f"{tag} to {target}": built(tag, target=target, **fields)
        for target in (None, "bystander")
        for tag, fields in {
            "BusActivateWorkerMessage": {},
            "BusDeactivateWorkerMessage": {},
            "BusTTSSpeakMessage": {"text": "x"},
            "BusWorkerErrorMessage": {"error": "x"},
            "BusJobCancelMessage": {"job_id": "j"},
            "BusJobRequestMessage": {"job_id": "j", "job_name": "echo"},
            "BusWorkerReadyMessage": {"runner": "x"},
        }.items()
    },
    **{
        f"{tag} to {target}": built(tag, target=target)
        for tag in CONTROL
        for target in (None, "assistant", "bystander", "gateway", "acme")
    },
    "the key of the target twice": ECHO.replace(
        b'"target"', b'"target": "assistant", "target": "bystander", "job_name2"'
    ).replace(b'"job_name2": "assistant", ', b""),
    "the key of the type twice": b'{"__type__": "%sBusActivateWorkerMessage",' % MODULE.encode()
    + built("BusEndMessage", target=None)[1:],
    "announcing the local worker": announced(entry("assistant")),
    "announcing a bystander": announced(entry("bystander")),
    "announcing one more": announced(entry("acme"), entry("bystander")),
    "announcing it twice": announced(entry("acme"), entry("acme")),
    "announcing nobody": announced(),
    "announcing a look-alike": announced(entry("\u0430cme")),
    "announcing to a bystander": announced(entry("acme"), target="bystander"),
}


@listed(FORGED, 16)
async def test_forged(attempts: Attempts) -> None:
    """S-PROXY-2, S-PROXY-3: what the peer may not say is refused, with a reason; the link lives."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        for name, message in attempts:
            with attempt(name):
                await attacker.say(message)
                await attacker.echo()
                victims.untouched()
                assert victims.victim._messages == []
                letters = victims.said()
                assert letters.count("\n") == 0
                assert letters.startswith("refused: ")
                assert letters != "refused: "
        await scene.check()


def patched(**fields: Any) -> bytes:
    """Write an activation with other fields."""
    return built("BusActivateWorkerMessage", **fields)


DEEP = 10_000
# Those of the package: other tests have some of their own.
LOCAL_ONLY = [
    cls for cls in BusLocalMessage.__subclasses__() if cls.__module__.startswith("trioworkers.")
]

UNREADABLE: dict[str, bytes] = {
    **{
        f"tag {tag!a}": said(tag)
        for tag in [
            "",
            "os.system",
            "builtins.eval",
            "this.X",
            "subprocess.Popen",
            "trioworkers.messages.BusEndMessage",
            "trioworkers._bus.LocalBus",
            "ForeignMessage",
            "trioworkers.wire.codec.ForeignMessage",
            "BusEndMessage",
            MODULE,
            MODULE + "BusMessage",
            MODULE + "BusDataMessage",
            MODULE + "busendmessage",
            MODULE + "BusEndMessage ",
            MODULE + "BusEndMessage\x00",
            MODULE + "__builtins__",
            "pipecat.bus.messages..BusEndMessage",
            "pipecat.registry.types.WorkerRegistryEntry",
            "bytes",
            "x" * 100_000,
        ]
    },
    **{
        f"local-only {cls.__name__}": built(cls.__name__, worker="x", error="x")
        for cls in LOCAL_ONLY
    },
    **{
        f"no tag: {tag!r}": json.dumps({"__type__": tag, "__data__": {}}).encode()
        for tag in (5, None, True, [], {}, ["os.system"], {"__type__": "bytes", "__data__": ""})
    },
    **{
        f"no data: {data!r}": json.dumps(
            {"__type__": MODULE + "BusEndMessage", "__data__": data}
        ).encode()
        for data in (5, None, True, [], "x", [["source", "acme"]])
    },
    **{
        f"no object: {text!r}": text
        for text in (b"", b" ", b"null", b"5", b'"x"', b"[]", b"{}", b"{")
    },
    "another key in the envelope": patched()[:-1] + b', "sudo": true}',
    "keys in capitals": patched().replace(b"__type__", b"__TYPE__"),
    "two documents": patched() + patched(),
    "a byte order mark": b"\xef\xbb\xbf" + patched(),
    "UTF-16": patched().decode().encode("utf-16"),
    "a comment": patched() + b"// end",
    "single quotes": patched().replace(b'"', b"'"),
    "a comma too many": patched()[:-2] + b",}}",
    "no UTF-8": patched().replace(b"acme", b"acm\xff"),
    "overlong UTF-8": patched().replace(b"acme", b"acm\xc1\xa5"),
    "half a surrogate": patched().replace(b"acme", b"acme\\ud800"),
    "a control character": patched().replace(b"acme", b"acme\x01"),
    "an extra field": patched(sudo=True),
    "a field's name in capitals": patched(Target="bystander"),
    "a private field": patched(_target="bystander"),
    "a dunder field": patched(__class__="BusEndMessage"),
    "a method as a field": patched(__init__="x"),
    **{f"source {value!r}": patched(source=value) for value in (None, 5, True, [], {}, ["acme"])},
    **{f"target {value!r}": patched(target=value) for value in (5, True, [], {}, ["bystander"])},
    "a source in disguise": patched(source={"__type__": "bytes", "__data__": "YWNtZQ=="}),
    "a target in disguise": patched(target=entry("bystander")),
    "a long name": patched(target="x" * 129),
    "a very long name": patched(target="x" * 500_000),
    "arguments that are a list": patched(args=["x"]),
    "a job without an id": built("BusJobRequestMessage", job_name="echo"),
    "a job with a number": built("BusJobRequestMessage", job_id=5, job_name="echo"),
    "a status that is none": built("BusJobResponseMessage", job_id="x", status="root"),
    **{
        f"a value of the type {tag!r}": patched(args={"x": {"__type__": tag, "__data__": data}})
        for tag, data in {
            "os.system": "true",
            "builtins.eval": {"source": "1"},
            "trioworkers.messages.BusEndMessage": {},
            MODULE + "BusEndMessage": {"source": "acme"},
            "bytes": "no base64!",
            "pipecat.processors.frame_processor.FrameDirection": "__class__",
            "pipecat.registry.types.WorkerRegistryEntry": {"name": "x", "__class__": "y"},
        }.items()
    },
    "a hidden type": patched(args={"x": {"__type__": "os.system", "__data__": ""}}).replace(
        b'"x": {"__type__"', b'"x": {"\\u005f_type__"'
    ),
    **{
        f"the number {number}": patched(args={"x": 1}).replace(b'"x": 1', b'"x": ' + number)
        for number in (
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b"1e999",
            b"-1e999",
            b"0x1",
            b"01",
            b"1" * 5000,
        )
    },
    "deep lists": patched(args={"x": 1}).replace(b'"x": 1', b'"x": ' + b"[" * DEEP + b"]" * DEEP),
    "deep dicts": patched(args={"x": 1}).replace(
        b'"x": 1', b'"x": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP
    ),
    "brackets without end": b"[" * 1_000_000,
    "braces without end": b'{"a":' * 200_000,
    "brackets after a text": patched(args={"x": '\\"[' * 100, "y": 1}).replace(
        b'"y": 1', b'"y": ' + b"[" * DEEP + b"]" * DEEP
    ),
    "a dialect of another kind": b"\x80\x04\x95\x1d\x00\x00\x00cposix\nsystem\n",
}


@listed(UNREADABLE, 16)
async def test_unreadable(attempts: Attempts) -> None:
    """S-PROXY-4: what is no message of the closed table is a dead letter; the link lives."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        for name, message in attempts:
            with attempt(name):
                await attacker.say(message)
                await attacker.echo()
                victims.untouched()
                assert victims.victim._messages == []
                letters = victims.said()
                assert letters.count("\n") == 0
                assert letters.startswith("undecodable: ")
                assert 20 < len(letters) < 2000
        await scene.check()


async def test_much_that_is_unreadable(caplog: Log) -> None:
    """S-PROXY-4: a peer that goes on is sent away, and learns why; the log says so."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        await attacker.say(*[b"garbage %d" % n for n in range(100)])
        assert await attacker.until_closed() == 1008
        with trio.fail_after(30):
            await victims.proxy.wait_stopped()
        await scene.check()
    assert "1008 too many unreadable messages" in caplog.text


# What looks odd, but is the peer's right: it says so about itself, and to the local worker.
ALLOWED: dict[str, bytes] = {
    "the key of the source twice": patched().replace(b'"source"', b'"source": "evil", "source"'),
    "the key of the target twice": patched().replace(b'"target"', b'"target": null, "target"'),
    "the key of the type twice": b'{"__type__": "os.system",' + patched()[1:],
    "escapes": patched().replace(b"acme", b"\\u0061cme"),
    "the ids of Pipecat": patched(id=5, name="x"),
    "an id that is no number": patched(id=[{}], name={"a": 1}),
    "a text": patched(args={"target": "bystander", "source": "gateway"}),
}


async def test_odd_but_allowed() -> None:
    """S-PROXY-2: whatever way it is written, it is from the peer and for the local worker."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        seen: list[Any] = []

        @victims.victim.event_handler("on_activated")
        async def activated(worker: Any, args: Any) -> None:
            seen.append(args)

        for name, message in ALLOWED.items():
            with attempt(name):
                seen.clear()
                await attacker.say(message)
                await attacker.echo()
                victims.untouched()
                assert len(seen) == 1
                assert victims.said() == ""
        await scene.check()


async def test_a_wide_policy_is_no_way_in() -> None:
    """S-PROXY-2: base classes in `forward_messages` let no session control or local-only type in."""
    forward = (BusDataMessage, BusSystemMessage)
    local_only = [cls.__name__ for cls in LOCAL_ONLY]
    async with attacked(forward_messages=forward) as scene:
        async with scene.attacker() as (attacker, victims):
            for tag in [*local_only, *CONTROL]:
                with attempt(tag):
                    for target in (None, "assistant", "bystander"):
                        await attacker.say(built(tag, target=target))
                    await attacker.say(patched(target="bystander"), patched(target="gateway"))
                    await attacker.echo()
                    victims.untouched()
                    assert victims.said().count("\n") == 4
            await scene.check()


FORGERY = "x\nERROR all is lost \x1b[31m\r\u2028"


async def test_lines_in_the_log(caplog: Log) -> None:
    """S-PROXY-4: whatever text a peer gives, it makes no line of its own in the log."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with attacked() as scene:
        async with scene.attacker() as (attacker, victims):
            await attacker.say(
                announced(entry("acme"), runner=FORGERY),
                patched(target=FORGERY),
                patched(**{FORGERY: 1}),
                said(FORGERY),
                FORGERY.encode(),
                built("BusJobRequestMessage", job_id=FORGERY, job_name=FORGERY, payload={}),
                built("BusJobRequestMessage", job_id="j", job_name="fail", payload={}),
                built("BusJobCancelMessage", job_id=FORGERY, reason=FORGERY),
            )
            while (await attacker.hear("BusJobResponseMessage"))["status"] != "error":
                pass
            await attacker.send(frame(b"\x03\xe8" + FORGERY.encode(), CLOSE))
            await attacker.until_closed()
            await attacker.stream.aclose()
            with trio.fail_after(30):
                await victims.proxy.wait_stopped()
        await scene.check()
    texts = [record.getMessage() for record in caplog.records]
    assert any("job 'fail' of assistant failed for x" in text for text in texts)
    assert any("has lost 127.0.0.1" in text and "all is lost" in text for text in texts)
    assert [text for text in texts if not text.isprintable()] == []


async def test_names_that_are_no_jobs() -> None:
    """S-PROXY-2: only what is marked as a job can be asked for, whatever else the worker has."""
    async with serving() as listener, connected(listener) as good:
        async with await trio.open_tcp_stream("127.0.0.1", listener.port) as stream:
            assert (await knock(stream))[0] == 101
            attacker = Attacker(stream)
            for name in [
                "",
                "ask",
                "stop",
                "on_stop",
                "fall_over",
                "__init__",
                "_node",
                "ECHO",
                "x" * 128,
            ]:
                with attempt(name):
                    await attacker.say(
                        built("BusJobRequestMessage", job_id="j", job_name=name, payload={})
                    )
                    answer = await attacker.hear("BusJobResponseMessage")
                    assert (answer["job_id"], answer["status"]) == ("j", "error")
                    assert answer["response"]["refused"]
            await attacker.echo()
        assert await good.ask("assistant", "echo", {}) == {}


async def test_a_flood_does_not_starve_others() -> None:
    """S-PROXY-5: while one peer sends as fast as it can, others are served in between."""
    async with attacked() as scene, scene.attacker() as (attacker, _):
        flood = frame(patched(target="bystander")) * 500
        async with trio.open_nursery() as nursery:

            async def go_on() -> None:
                while True:
                    await attacker.send(flood)
                    await trio.lowlevel.checkpoint()

            nursery.start_soon(go_on)
            await scene.check()
            with trio.fail_after(30):
                for n in range(20):
                    assert await scene.good.ask("assistant", "echo", {"n": n}) == {"n": n}
            nursery.cancel_scope.cancel()


# Jobs


async def open_jobs(victims: Any) -> tuple[Any, str]:
    """Let the bystander have a job open at the victim; return its list of outcomes, and the id."""
    outcomes: list[Any] = []

    async def stay() -> None:
        outcomes.append(await victims.bystander.ask("assistant", "stay", {}))

    victims.bystander.nursery.start_soon(stay)
    await trio.testing.wait_all_tasks_blocked()
    (job_id,) = victims.runner.bus.open_requests
    return outcomes, job_id


MEDDLING: dict[str, dict[str, Any]] = {
    "BusJobResponseMessage": {"status": "completed", "response": {"owned": True}},
    "BusJobResponseUrgentMessage": {"status": "error", "response": {"gone": "x", "error": "y"}},
    "BusJobUpdateMessage": {"update": {"x": 1}},
    "BusJobUpdateUrgentMessage": {"update": {"x": 1}},
    "BusJobStreamStartMessage": {"data": {"x": 1}},
    "BusJobStreamDataMessage": {"data": {"x": 1}},
    "BusJobStreamEndMessage": {"data": {"x": 1}},
    "BusJobCancelMessage": {"reason": "x"},
    "BusJobUpdateRequestMessage": {},
}


@pytest.mark.parametrize("whose", ["neighbour", "other client", "nobody"])
async def test_jobs_of_others(whose: str) -> None:
    """S-PROXY-2: an answer, an event or a cancel counts for a job of this link, and for no other."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        outcomes, job_id = await open_jobs(victims)
        if whose == "other client":
            (job_id,) = scene.sessions[0].proxy._portal.deliveries.jobs
        ids = [job_id] if whose != "nobody" else ["", "x", "../x"]
        for tag, fields in MEDDLING.items():
            with attempt(tag):
                for each in ids:
                    await attacker.say(built(tag, job_id=each, **fields))
                    await attacker.say(built(tag, job_id=each, target="bystander", **fields))
                await attacker.echo()
                victims.untouched()
                assert outcomes == []
                assert victims.victim._messages == []
                letters = victims.said().splitlines()
                assert sum(each.startswith("refused") for each in letters) == len(ids)
        await scene.check()


async def test_an_id_that_is_taken() -> None:
    """S-PROXY-2: a job under the id of somebody else's changes nothing for that one."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        outcomes, job_id = await open_jobs(victims)
        ask = built("BusJobRequestMessage", job_id=job_id, job_name="stay", payload={})
        await attacker.say(ask, ask, ask)
        await attacker.echo()
        assert victims.said().count("is open already") == 2
        await attacker.say(built("BusJobCancelMessage", job_id=job_id))
        answer = await attacker.hear("BusJobResponseMessage")
        assert (answer["job_id"], answer["status"]) == (job_id, "cancelled")
        await attacker.echo()
        assert outcomes == []
        victims.untouched()
        await scene.check()


async def test_answers_that_are_wrong() -> None:
    """S-PROXY-2: of several answers the first counts; events after it are late."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await victims.victim.ask("acme", "anything", {}))

        victims.victim.nursery.start_soon(ask)
        job_id = (await attacker.hear("BusJobRequestMessage"))["job_id"]
        answer = functools.partial(built, "BusJobResponseMessage", job_id=job_id)
        await attacker.say(
            answer(status="completed", response={"n": 1}),
            answer(status="completed", response={"n": 2}),
            answer(status="error", response={"error": "x"}),
            *(
                built(tag, job_id=job_id, **fields)
                for tag, fields in MEDDLING.items()
                if "Update" in tag or "Stream" in tag
            ),
        )
        await attacker.echo()
        assert outcomes == [{"n": 1}]
        letters = victims.said().splitlines()
        assert len([each for each in letters if each.startswith("late reply")]) == 7
        victims.untouched()
        await scene.check()


ERRORS: dict[str, Any] = {
    "a list": ["x"],
    "an error that is no text": {"error": {"a": 1}, "type": 5, "refused": [], "gone": {}},
    "a type of ours": {"error": "x", "type": "KeyboardInterrupt"},
    "a module": {"error": "x", "type": "os.system"},
    "long texts": {"error": "x" * 100_000, "type": "y" * 100_000},
}


async def test_errors_that_are_made_up() -> None:
    """S-PROXY-4: whatever an answer says went wrong, it is a JobError, and text."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        outcomes: list[Any] = []

        async def ask() -> None:
            try:
                outcomes.append(await victims.victim.ask("acme", "anything", {}))
            except JobRemoteError as error:
                outcomes.append(error)

        for name, response in ERRORS.items():
            with attempt(name):
                outcomes.clear()
                victims.victim.nursery.start_soon(ask)
                job_id = (await attacker.hear("BusJobRequestMessage"))["job_id"]
                fields = {"job_id": job_id, "status": "error", "response": response}
                await attacker.say(built("BusJobResponseMessage", **fields))
                await attacker.echo()
                assert isinstance(outcomes[0], JobRemoteError)
                victims.untouched()
        await scene.check()


async def test_an_announcement_over_and_over() -> None:
    """S-PROXY-3: the peer may announce itself, as often as it likes; it stays what it is."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        claims = [
            announced(entry("acme", parent="bystander")),
            announced(entry("acme"), runner=victims.runner.name),
            announced(entry("acme", bridged=True, active=False), source="assistant"),
        ]
        await attacker.say(*claims * 100)
        await attacker.echo()
        victims.untouched("acme")
        (found,) = [each for each in victims.runner.registry.entries() if each.name == "acme"]
        assert found.parent is None
        await scene.check()


async def test_two_clients_of_one_name() -> None:
    """S-PROXY-1, S-PROXY-3: sessions know nothing of each other; one bus has a name once."""
    async with attacked() as scene:
        async with scene.attacker() as (one, first), scene.attacker() as (two, second):
            await one.say(announced(entry("acme")))
            await two.say(announced(entry("acme")))
            await one.echo()
            await two.echo()
            first.untouched("acme")
            second.untouched("acme")
            # On one bus the second cannot even begin.
            third = WebSocketProxyServer(
                "third",
                websocket=memory_transports()[0],
                worker_name="assistant",
                remote_worker_name="acme",
            )
            with pytest.raises(NameTakenError):
                await first.runner.add_workers(third)
            await one.echo()
        await scene.check()


# Frames


LIMIT = 20_000
ODD_FRAMES: dict[str, list[bytes]] = {
    "text": [frame(ECHO, TEXT)],
    "one byte at a time": [
        frame(ECHO[:1], final=False),
        *(frame(bytes([byte]), 0, final=False) for byte in ECHO[1:-1]),
        frame(ECHO[-1:], 0),
    ],
    "pings between fragments": [
        frame(ECHO[:9], final=False), frame(b"x" * 125, PING), frame(ECHO[9:], 0)
    ],
    "empty fragments": [frame(b"", final=False), *[frame(b"", 0, final=False)] * 1000, frame(ECHO, 0)],
    "a mask of zeros": [frame(ECHO, mask=b"\0\0\0\0")],
    "a flood of pings": [frame(b"x" * 125, PING)] * 2000 + [frame(ECHO)],
    "a flood of pongs": [frame(b"x", 10)] * 5000 + [frame(ECHO)],
    "empty messages": [frame(b""), frame(b"", TEXT), frame(ECHO)],
}  # fmt: skip


@listed(ODD_FRAMES)
async def test_frames_that_are_odd(attempts: Attempts) -> None:
    """S-PROXY-4: what WebSocket allows is read, however it is cut."""
    ((_, pieces),) = attempts
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attacker.send, *pieces)
            assert (await attacker.hear("BusJobResponseMessage"))["response"] == {"n": 1}
        await attacker.echo()
        victims.untouched()
        await scene.check()


WRONG_FRAMES: dict[str, tuple[str, list[bytes]]] = {
    "no mask": ("1002 .*unmasked", [frame(ECHO, mask=None)]),
    "compressed": ("1002 Reserved bit", [frame(ECHO, reserved=4)]),
    "reserved bits": ("1002 Reserved bit", [frame(ECHO, reserved=3)]),
    "a compressed continuation": (
        "1002 Reserved bit",
        [frame(ECHO[:9], final=False), frame(ECHO[9:], 0, reserved=4)],
    ),
    **{f"opcode {code}": ("1002 Invalid opcode", [frame(ECHO, code)]) for code in (3, 7, 11, 15)},
    "a continuation of nothing": ("1002 unexpected CONT", [frame(ECHO, 0)]),
    "a message in a message": ("1002 expected CONT", [frame(ECHO[:9], final=False), frame(ECHO)]),
    "a text in one": ("1002 expected CONT", [frame(ECHO[:9], final=False), frame(ECHO, TEXT)]),
    "a long ping": ("1002 Control frame", [frame(b"x" * 126, PING)]),
    "a ping in pieces": ("1002 .*fragment control", [frame(b"x", PING, final=False)]),
    "no UTF-8": ("1007 ", [frame(b"\xff\xfe", TEXT)]),
    "no UTF-8 later": ("1007 ", [frame(b"x", TEXT, final=False), frame(b"\xff", 0)]),
    "a size in too many bytes": ("1002 Payload length", [frame(ECHO, wide=8)]),
    "a size with the highest bit": ("1002 8-byte payload", [frame(b"x", size=2**63)]),
    "100 MB": ("1009 ", [frame(size=100 * 2**20), b"x" * 100_000]),
    "nearly the highest bit": ("1009 ", [frame(size=2**63 - 1), b"x" * 100_000]),
    "a message too big": ("1009 ", [frame(b"x" * (LIMIT + 1))]),
    "a text too big": ("1009 ", [frame(b"x" * (LIMIT + 1), TEXT)]),
    "fragments without end": (
        "1009 ",
        [frame(b"x" * 100, final=False), *[frame(b"x" * 100, 0, final=False)] * 500],
    ),
    "a close of one byte": ("1002 CLOSE", [frame(b"x", CLOSE)]),
    **{
        f"a close with {code}": ("1002 .*CLOSE", [frame(code.to_bytes(2, "big"), CLOSE)])
        for code in (0, 999, 1005, 1006, 1015, 2999)
    },
    "a reason that is no text": ("1007 .*CLOSE", [frame(b"\x03\xe8\xff\xff", CLOSE)]),
    "garbage": ("1002 ", [bytes(range(256)) * 4]),
    "HTTP": ("1002 ", [request()]),
    "more behind a close": ("1005", [frame(b"", CLOSE), frame(ECHO), frame(b"x", PING)]),
}


WIDE = "a size in too many bytes"


@listed(WRONG_FRAMES, 8)
async def test_frames_that_are_wrong(attempts: Attempts, caplog: Log) -> None:
    """S-PROXY-4: what WebSocket forbids ends that connection, with a reason in the log."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with attacked(max_message_size=LIMIT) as scene:
        for name, (says, pieces) in attempts:
            if links.CARRIER == "websockets":
                if name == WIDE:
                    continue
                # It has words of its own, and takes all 64 bits of a size for one.
                says = "1009 " if "highest bit" in name else says[:5]
            with attempt(name):
                async with scene.attacker() as (attacker, victims):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(attacker.send, *pieces)
                        await attacker.until_closed()
                        nursery.cancel_scope.cancel()
                    await attacker.stream.aclose()
                    with trio.fail_after(30):
                        await victims.proxy.wait_stopped()
                    assert victims.victim._messages == victims.bystander._messages == []
                    assert victims.bystander._jobs == []
                assert re.search(rf"proxy gateway has lost 127\.0\.0\.1:\d+: {says}", caplog.text)
                caplog.clear()
        await scene.check()


async def test_a_size_in_too_many_bytes_does_no_harm() -> None:
    """S-PROXY-4: where the library lets a size be written too long, it is read as it is meant."""
    if links.CARRIER != "websockets":
        pytest.skip("trio-websocket forbids it")
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        await attacker.send(*WRONG_FRAMES[WIDE][1])
        assert (await attacker.hear("BusJobResponseMessage"))["response"] == {"n": 1}
        await attacker.echo()
        victims.untouched()
        await scene.check()


async def test_a_peer_that_stops_in_a_frame() -> None:
    """S-PROXY-5: a peer that begins a frame and says no more is found by the heartbeat."""
    async with attacked(heartbeat=0.1) as scene, scene.attacker() as (attacker, victims):
        await attacker.send(frame(ECHO)[:20])
        with trio.fail_after(30):
            await victims.proxy.wait_stopped()
        await scene.check()


async def test_a_peer_that_drips() -> None:
    """S-PROXY-4: a message that comes byte by byte is read when it is there; nobody waits for it."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        for byte in frame(ECHO):
            await attacker.send(bytes([byte]))
            await trio.lowlevel.checkpoint()
        assert (await attacker.hear("BusJobResponseMessage"))["response"] == {"n": 1}
        victims.untouched()
        await scene.check()


async def test_a_flood_of_pings_that_nobody_reads() -> None:
    """S-PROXY-5: a peer that pings and does not read the pongs holds up itself only, and ends."""
    async with attacked(heartbeat=0.2) as scene:
        with trio.socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            await sock.connect(("127.0.0.1", scene.port))
            stream = trio.SocketStream(sock)
            before = len(scene.sessions)
            assert (await knock(stream))[0] == 101
            async with trio.open_nursery() as nursery:

                async def flood() -> None:
                    attacker = Attacker(stream)
                    while True:
                        await attacker.send(frame(b"x" * 125, PING) * 500)
                        await trio.lowlevel.checkpoint()

                nursery.start_soon(flood)
                with trio.fail_after(30):
                    await scene.sessions[before].proxy.wait_stopped()
                await scene.check()
                nursery.cancel_scope.cancel()


async def test_a_flood_of_requests() -> None:
    """S-PROXY-5: a flood of jobs that nobody answers ends with refusals; nothing grows on."""
    async with attacked() as scene, scene.attacker() as (attacker, victims):
        asks = [
            built("BusJobRequestMessage", job_id=f"j{n}", job_name="stay", payload={})
            for n in range(1100)
        ]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(attacker.say, *asks)
            refused = 0
            while refused < len(asks) - 1024:
                answer = await attacker.hear("BusJobResponseMessage")
                assert "busy" in str(answer["response"])
                refused += 1
        assert len(victims.proxy._portal.deliveries.jobs) <= 1024
        victims.untouched()
        await scene.check()


# The handshake


async def asked(port: int, raw: bytes) -> bytes:
    """Send a request as it is; return what is answered until the end."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        answer = b""
        with trio.fail_after(30), contextlib.suppress(trio.BrokenResourceError):
            await stream.send_all(raw)
            while data := await stream.receive_some():
                answer += data
                if b"101 " in answer[:14]:
                    break
        return answer


SECRET = "s3cret-t0ken"
REQUEST = request()
INTRUDERS: dict[str, bytes] = {
    "no token": REQUEST,
    "a wrong token": request("Authorization: Bearer wrong"),
    "the beginning of the token": request(f"Authorization: Bearer {SECRET[:-1]}"),
    "the token and more": request(f"Authorization: Bearer {SECRET}x"),
    "the token in capitals": request(f"Authorization: Bearer {SECRET.upper()}"),
    "the token in quotes": request(f'Authorization: Bearer "{SECRET}"'),
    "another scheme": request(f"Authorization: Token {SECRET}"),
    "no scheme": request(f"Authorization: {SECRET}"),
    "in the query": REQUEST.replace(b"?query", f"?token={SECRET}&access_token={SECRET}".encode()),
    "in the path": REQUEST.replace(b"/path", f"/Bearer {SECRET}".replace(" ", "%20").encode()),
    "in a cookie": request(f"Cookie: authorization=Bearer {SECRET}"),
    "in another header": request(f"Proxy-Authorization: Bearer {SECRET}", f"X-Token: {SECRET}"),
    "as a subprotocol": request(f"Sec-WebSocket-Protocol: Bearer, {SECRET}"),
    "in a name that looks alike": request(f"Authorization_: Bearer {SECRET}"),
    "two of them": request("Authorization: Bearer x", f"Authorization: Bearer {SECRET}"),
    "after the request": REQUEST + f"Authorization: Bearer {SECRET}\r\n\r\n".encode(),
    "a second request": REQUEST + request(f"Authorization: Bearer {SECRET}"),
    "an obsolete fold": request("Authorization: Bearer", f" {SECRET}x"),
}


async def test_intruders(caplog: Log) -> None:
    """S-PROXY-10: without the token in its place nobody gets a session, and the log says so."""
    caplog.set_level(logging.INFO, "trioworkers")
    good = {"Authorization": f"Bearer {SECRET}"}
    built_for: list[str] = []

    async def build(websocket: Any) -> Any:
        built_for.append(websocket.remote)
        return session(websocket)

    async def intrude(name: str, raw: bytes) -> None:
        with attempt(name):
            answer = await asked(listener.port, raw)
            assert answer[:12] in (b"HTTP/1.1 401", b"HTTP/1.1 403", b"HTTP/1.1 400", b"")
            assert SECRET.encode() not in answer

    async with serving(build, authenticate=bearer_token(SECRET), handshake_timeout=0.5) as listener:
        async with trio.open_nursery() as nursery:
            for name, raw in INTRUDERS.items():
                nursery.start_soon(intrude, name, raw)
        assert built_for == []
        async with connected(listener, headers=good) as acme:
            assert await acme.ask("assistant", "echo", {}) == {}
    assert SECRET not in caplog.text
    reasons = [line for line in caplog.messages if line.startswith(("refused", "dropped"))]
    assert len(reasons) == len(INTRUDERS)


ORIGIN = "https://app.example"
PAGES = [
    "https://evil.example", "http://app.example", "https://app.example:8443", "null", "",
    "https://app.example.evil", "https://app.example@evil.example", "https://APP.EXAMPLE",
    "https://app.example/", "https://app.example https://evil.example", "file://", "*",
]  # fmt: skip


async def test_pages_from_elsewhere() -> None:
    """S-PROXY-10: an Origin that only looks like an allowed one is refused, whatever the Host is."""
    async with serving(origins=[ORIGIN]) as listener, trio.open_nursery() as nursery:

        async def visit(*headers: str) -> None:
            with attempt(str(headers)):
                answer = await asked(listener.port, request(*headers))
                assert answer[:12] in (b"HTTP/1.1 403", b"HTTP/1.1 400", b"")

        for origin in PAGES:
            here = f"Origin: {origin}"
            nursery.start_soon(visit, here)
            nursery.start_soon(visit, f"Origin: {ORIGIN}", here)
            nursery.start_soon(visit, here, f"X-Forwarded-Host: {ORIGIN}", f"Referer: {ORIGIN}/")
        assert (await asked(listener.port, request(f"Origin: {ORIGIN}")))[:12] == b"HTTP/1.1 101"


HOSTS = [b"", b"evil.example", b"127.0.0.1:1\r\nHost: other", b"[::1", b"a" * 70_000, b"\x00"]


async def test_hosts() -> None:
    """S-PROXY-10: the Host header decides nothing, and harms nobody."""
    async with attacked(handshake_timeout=0.5) as scene:
        for host in HOSTS:
            with attempt(repr(host[:20])):
                answer = await asked(scene.port, REQUEST.replace(b"Host: x", b"Host: " + host))
                assert answer[:12] in (b"HTTP/1.1 101", b"HTTP/1.1 400", b"HTTP/1.1 431", b"")
        await scene.check()


async def test_a_slow_crowd(caplog: Log) -> None:
    """S-PROXY-10: who drips a request has as long for it as everybody, and takes one place."""
    caplog.set_level(logging.INFO, "trioworkers")
    async with attacked(handshake_timeout=0.3) as scene, trio.open_nursery() as nursery:

        async def drip() -> None:
            async with await trio.open_tcp_stream("127.0.0.1", scene.port) as stream:
                with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(5) as scope:
                    await stream.send_all(b"GET / HTTP/1.1\r\n")
                    while True:
                        await stream.send_all(b"X: y\r\n")
                        await trio.testing.wait_all_tasks_blocked(0.02)
                assert not scope.cancelled_caught

        for _ in range(20):
            nursery.start_soon(drip)
        await scene.check()
    assert caplog.text.count("no handshake within 0.3 s") == 20


# A server that is hostile to our client


REVERSED = {
    name: attempt.replace(b'"acme"', b'"\0"')
    .replace(b'"assistant"', b'"acme"')
    .replace(b'"\0"', b'"assistant"')
    for name, attempt in FORGED.items()
}


@contextlib.asynccontextmanager
async def lured() -> AsyncIterator[tuple[Victim, Bystander, Any]]:
    """Run our client, whose server is the attacker."""
    give, take = trio.open_memory_channel[trio.SocketStream](10)
    over = trio.Event()

    async def handle(stream: trio.SocketStream) -> None:
        await give.send(stream)
        await over.wait()

    acme, bystander = Victim("acme"), Bystander()
    async with trio.open_nursery() as nursery:
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        await nursery.start(trio.serve_listeners, handle, [listener])
        proxy = WebSocketProxyClient(
            "proxy",
            url=f"ws://127.0.0.1:{listener.socket.getsockname()[1]}/",
            local_worker_name="acme",
            remote_worker_name="assistant",
            active=True,
            reconnect=Backoff(initial=0.01, maximum=0.01, jitter=0.0),
            handshake_timeout=0.3,
            transport=links.CARRIER,
            dialect="pipecat",
        )
        async with open_runner(acme, bystander, proxy):
            yield acme, bystander, take
        over.set()
        nursery.cancel_scope.cancel()


@contextlib.asynccontextmanager
async def welcome(stream: trio.SocketStream, *headers: str) -> AsyncIterator[Attacker]:
    """Answer the opening handshake by hand; drop the connection in the end."""
    head = b""
    while b"\r\n\r\n" not in head:
        head += await stream.receive_some()
    asked_for = next(
        each.split(b":")[1].strip()
        for each in head.split(b"\r\n")
        if each.lower().startswith(b"sec-websocket-key")
    )
    magic = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = base64.b64encode(hashlib.sha1(asked_for + magic).digest()).decode()
    lines = [
        "HTTP/1.1 101 Switching Protocols",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Accept: {accept}",
        *headers,
    ]
    async with stream:
        await stream.send_all("\r\n".join([*lines, "", ""]).encode())
        yield Attacker(stream, mask=None)


def served_echo() -> bytes:
    """Ask our client's worker."""
    return built(
        "BusJobRequestMessage",
        source="assistant",
        target="acme",
        job_id="probe",
        job_name="echo",
        payload={"n": 1},
    )


async def test_a_server_that_forges() -> None:
    """S-PROXY-2, S-PROXY-3: what a server may not say is refused by a client as well."""
    async with lured() as (acme, bystander, take), welcome(await take.receive()) as attacker:
        for name, message in REVERSED.items():
            with attempt(name):
                await attacker.say(message, served_echo())
                assert (await attacker.hear("BusJobResponseMessage"))["response"] == {"n": 1}
                assert acme._messages == bystander._messages == bystander._jobs == []
                letters = acme.letters.take()
                assert [reason for reason, _ in letters] == ["refused"]
                assert letters[0][1] != ""
                assert acme.runner.stop_reason is None
                known = {each.name for each in acme.runner.registry.entries()}
                assert known == {"acme", "bystander", "proxy"}
                assert bystander.state is WorkerState.READY


BAD_SERVERS: dict[str, bytes] = {
    "nothing": b"",
    "garbage": b"\x00\xff" * 1000,
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "200": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a redirection": b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
    "headers without end": b"HTTP/1.1 101 X\r\n" + b"X: y\r\n" * 60_000,
    "a body without end": b"HTTP/1.1 403 X\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 400_000,
    "no key": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
    "another key": b"HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
    b"Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n",
    "many answers to come": b"HTTP/1.1 100 Continue\r\n\r\n" * 1000,
}


async def works(stream: trio.SocketStream) -> None:
    """Check that our client has connected again, as if nothing had been."""
    async with welcome(stream) as attacker:
        await attacker.say(served_echo())
        assert (await attacker.hear("BusJobResponseMessage"))["response"] == {"n": 1}


@listed(BAD_SERVERS)
async def test_a_server_that_answers_wrongly(attempts: Attempts) -> None:
    """S-PROXY-1: whatever answers, it is no connection, and the client tries again."""
    ((_, answer),) = attempts
    async with lured() as (_, bystander, take):
        async with await take.receive() as stream:
            with contextlib.suppress(trio.BrokenResourceError):
                await stream.send_all(answer)
            with trio.fail_after(30):
                await works(await take.receive())
        assert bystander._messages == []
        assert bystander.state is WorkerState.READY


@pytest.mark.parametrize(
    "header",
    ["Sec-WebSocket-Protocol: evil", "Sec-WebSocket-Extensions: permessage-deflate"],
)
async def test_a_server_that_chooses_what_was_not_offered(header: str) -> None:
    """S-PROXY-4: an extension or subprotocol that was not offered is no connection."""
    async with lured() as (_, bystander, take):
        async with welcome(await take.receive(), header):
            with trio.fail_after(30):
                await works(await take.receive())
        assert bystander._messages == []


PIECES = {
    "masked": frame(ECHO),
    "compressed": frame(ECHO, reserved=4, mask=None),
    "no opcode": frame(ECHO, 3, mask=None),
    "too big": frame(b"x", mask=None, size=2**63 - 1) + b"x" * 2**21,
    "garbage": b"\xff" * 100,
}


@listed(PIECES)
async def test_a_server_that_sends_wrong_frames(attempts: Attempts) -> None:
    """S-PROXY-4: frames that WebSocket forbids end the link; open jobs fail; then it is made again."""
    ((_, piece),) = attempts
    async with lured() as (acme, bystander, take):
        outcomes: list[Any] = []

        async def ask() -> None:
            outcomes.append(await outcome_of(acme.ask("assistant", "x", {})))

        async with welcome(await take.receive()) as attacker:
            acme.nursery.start_soon(ask)
            await attacker.hear("BusJobRequestMessage")
            await attacker.send(piece)
            await attacker.stream.send_eof()
            await attacker.until_closed()
        with trio.fail_after(30):
            await works(await take.receive())
        assert isinstance(outcomes[0], WorkerGoneError)
        assert bystander._messages == []
        assert bystander.state is WorkerState.READY


def test_all_of_the_closed_table_is_tried() -> None:
    """S-PROXY-2: the attempts know every local-only type and session control there is."""
    tried = str(list(UNREADABLE))
    assert all(cls.__name__ in tried for cls in LOCAL_ONLY)
    assert BusActivateWorkerMessage.__name__ in str(list(FORGED))
    assert BINARY == 2
