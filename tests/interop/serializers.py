"""A process with the serializer of others, and how it is asked to make the messages of ours."""

from __future__ import annotations

import base64
import enum
import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import attrs

from tests.interop.peers import Peer, script
from tests.wire.samples import TextFrame
from trioworkers._values import WorkerRegistryEntry
from trioworkers.messages import BusMessage, FrameDirection, JobStatus

__all__ = ["Package", "SerializerPeer", "numbers", "serializer_peer"]


@attrs.frozen
class Package:
    """Where a package has its serializer and the classes of values, and what it calls fields."""

    serializers: str
    entry: tuple[str, str]
    status: tuple[str, str]
    keys: Mapping[str, str] = attrs.Factory(dict)

    def described(self, value: Any) -> Any:
        """Say how the peer is to make a value."""
        match value:
            case bytes():
                return {"bytes": base64.b64encode(value).decode()}
            case FrameDirection():
                return {
                    "enum": ["pipecat.processors.frame_processor", "FrameDirection", value.name]
                }
            case JobStatus():
                return {"enum": [*self.status, value.name]}
            case WorkerRegistryEntry():
                return {"!": [*self.entry, self.fields(value)]}
            case TextFrame():
                return {"!": ["pipecat.frames.frames", "TextFrame", {"text": value.text}]}
            case dict():
                return {key: self.described(each) for key, each in value.items()}
            case list():
                return [self.described(each) for each in value]
            case _:
                assert not isinstance(value, enum.Enum)
                return value

    def fields(self, value: Any) -> dict[str, Any]:
        """Describe the fields of an object, by the names that the package has for them."""
        names = (each.name for each in attrs.fields(type(value)))
        return {self.keys.get(name, name): self.described(getattr(value, name)) for name in names}


class SerializerPeer:
    """A process that has a package and its serializer."""

    def __init__(self, process: subprocess.Popen[str], package: Package) -> None:
        self._process = process
        self.package = package

    def ask(self, question: dict[str, Any]) -> dict[str, str]:
        """Ask one question."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        answer: dict[str, str] = json.loads(self._process.stdout.readline())
        return answer

    def made(self, message: BusMessage, module: str, name: str) -> bytes:
        """Let the peer make the same message, of its class, and write it."""
        answer = self.ask({"make": [module, name, self.package.fields(message)]})
        assert answer["type"] == name
        return answer["text"].encode()


@contextmanager
def serializer_peer(peer: Peer, package: Package) -> Iterator[SerializerPeer]:
    """Run such a process for the time of the block."""
    command = [peer.python, script("pipecat_serializer_peer.py"), package.serializers]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        yield SerializerPeer(process, package)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait() == 0


def numbers(data: bytes) -> dict[str, int]:
    """Read the two numbers that Pipecat counts."""
    fields = json.loads(data)["__data__"]
    return {"message_id": fields["id"], "number": int(fields["name"].rpartition("#")[2])}
