"""Pipecat's JSON: what real Pipecat processes write and read, byte for byte.

The format is that of `JSONMessageSerializer` of Pipecat 1.14.0; with `names="subagents"`, of the
older package `pipecat-ai-subagents` 0.6.0, which has other words for the same.  A message is one object with the
keys `__type__` (its class with the module) and `__data__` (its fields).  In `__data__` stand first
`id` and `name`, which only Pipecat's own logs use, then the fields in the order of the class;
fields that are None are left out.  In fields and in payloads

- bytes are tagged as `bytes`, and written in base64,
- enums are tagged, and named by their member, except those that are strings or numbers too,
- frames, registry entries and other registered attrs classes are tagged like messages.

Where this side differs from Pipecat on purpose:

- Only what is in the table is decoded.  Pipecat imports any module that the peer names.
- Unknown fields, missing fields and values of a wrong type are errors.  Pipecat takes them.
- What cannot be written is an error at the sender.  Pipecat writes null for a set or a datetime.
  Tuples are written as lists.
- A payload with both keys `__type__` and `__data__` in one dict is an error at the sender: every
  reader would take it for a typed value.
- A field whose default is not None is written as null when it is None.  Pipecat leaves it out, and
  the reader takes the default.
- NaN and infinities are errors, they are no JSON.  So is half of a surrogate pair.
"""

from __future__ import annotations

import binascii
import copy
import enum
import functools
import itertools
import reprlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, Self, TypeAlias, cast

import attrs

from .. import messages as bus
from .._payloads import as_plain
from ..abc import MessageSerializer
from ..errors import LocalWireError, RemoteWireError
from ..messages import BusLocalMessage, BusMessage, wire_tag
from .codec import ForeignMessage, Shape, TypeTable, is_dict, is_list, tag_of
from .fields import Misfit, make_writer
from .jsontext import Limits, encoder, has_escapes, read, write
from .replies import unfit
from .vocabulary import BASES, OF_FRAMES, PIPECAT, SUBAGENTS, Vocabulary

__all__ = ["JSONMessageSerializer"]

_TYPE, _DATA = "__type__", "__data__"
_KEY = b'"__type__"'
_START = '{"__type__"'
_FIRST = _START.encode()
_BYTES = "bytes"

# The fields of the package's own messages that are names.
_NAMES = (
    *("source", "target", "runner", "parent", "name", "bridge", "worker_name"),
    *("job_id", "job_name", "event_name", "command_name"),
)

# Pipecat needs a bool here, and True is its default.
_NONE_MEANS = {bus.BusTTSSpeakMessage: {"append_to_context": True}}


_Writer: TypeAlias = Callable[[Any, Callable[[Any], str], int | None, int], str]


class _Format:
    """One closed table in Pipecat's shape.  It has no state, so serializers share it."""

    def __init__(
        self,
        messages: tuple[type[BusMessage], ...],
        frames: tuple[type, ...],
        limits: Limits,
        words: Vocabulary,
        if_possible: tuple[type[BusMessage], ...] = (),
    ) -> None:
        self.limits = limits
        self.added = words.added
        self.foreign = words.foreign
        self.frames = frozenset(frames)
        self.table = TypeTable(name_length=limits.name_length, reserved=[_BYTES])
        for value, tag in words.values.items():
            self.table.add_value(value, tag, names=_NAMES)
        checks = {bus.BusFrameMessage: {"frame": self._frame}}
        for cls, tag in words.messages.items():
            self.table.add_message(
                cls,
                tag,
                names=_NAMES,
                ignored=words.ignored,
                keys=words.keys,
                checks=checks.get(cast("Any", cls)),
                none_means=_NONE_MEANS.get(cast("Any", cls)),
            )
        for frame in frames:
            self.table.add_value(frame, tag_of(frame), ignored=OF_FRAMES)
        own = _own(messages)
        for cls in own:
            self._add(cls, words)
        self.table.complete([*(c for c in own if not issubclass(c, BusLocalMessage)), *frames])
        self.left_out: dict[type[BusMessage], str] = {}
        for cls in _own(if_possible):
            try:
                with self.table.attempt():
                    self._add(cls, words)
                    self.table.complete([] if issubclass(cls, BusLocalMessage) else [cls])
            except (TypeError, ValueError) as error:
                self.left_out[cls] = str(error)
        # By tag, those that have come.
        self._shapes: dict[str, Shape] = {}
        # By class, those that write numbers and those that do not.
        self._numbering: dict[type, _Writer] = {}
        self._writers: dict[type, _Writer] = {}

    def _add(self, cls: type[BusMessage], words: Vocabulary) -> None:
        self.table.add_message(cls, wire_tag(cls), ignored=words.ignored)
        if reason := unfit(cls):
            raise TypeError(f"messages of {cls.__qualname__} cannot cross a link: {reason}")

    def _frame(self, value: Any, _kind: Any) -> Any:
        if type(value) in self.frames:
            return value
        raise Misfit("an object of a class in frames=(...)", value)

    # Sending.

    def encode(
        self,
        message: BusMessage,
        write_value: Callable[[Any], str],
        message_id: int | None = None,
        number: int = 0,
    ) -> bytes:
        """Write one message.

        Args:
            message: what to write.
            write_value: made by `encoder`.
            message_id: its number among all; None to write no numbers.
            number: its number among those of its class.
        """
        cls, numbered = type(message), message_id is not None
        writers = self._numbering if numbered else self._writers
        writer = writers.get(cls)
        if writer is None:
            writer = writers[cls] = self._writer(self._shape_of(cls), numbered=numbered)
        text = write(self.limits, writer, message, write_value, message_id, number)
        if text.find(_KEY, len(_FIRST)) >= 0:
            _refuse_look_alikes(message)
        return text

    def _shape_of(self, cls: type[BusMessage]) -> Shape:
        """Return what messages of a class look like.

        Raises:
            LocalWireError: they do not cross.
        """
        if issubclass(cls, BusLocalMessage):
            raise LocalWireError(f"a {cls.__qualname__} is local-only and stays in its process")
        tag = self.table.tags.get(cls)
        if tag is not None and tag in self.table.messages:
            return self.table.shape(cls)
        if cls in PIPECAT.messages:
            raise LocalWireError(
                f"a {cls.__qualname__} has no older name: pipecat_subagents does not know it"
            )
        raise LocalWireError(
            f"messages of {cls.__qualname__} are not registered: name the class in "
            "messages=(...) of the serializer"
        )

    def encoder(self) -> Callable[[Any], str]:
        """Return what writes a value: each serializer needs one of its own."""
        return encoder(self._tagged)

    def _writer(self, shape: Shape, *, numbered: bool) -> _Writer:
        """Return the function that writes messages of one class, perhaps with two numbers."""
        write = self.encoder()
        name = write(shape.tag.rpartition(".")[2])
        head: list[str | int] = [f'{_START}:{write(shape.tag)},"{_DATA}":{{']
        # A field of the same name stands in the place of what is added.
        if numbered and "id" in shape.ignored:
            head += ['"id":', 0]
        if numbered and "name" in shape.ignored:
            head += [f'{"," if len(head) > 1 else ""}"name":{name[:-1]}#', 1, '"']
        for key, value in self.added:
            if key in shape.ignored:
                head += [f'{"," if len(head) > 1 else ""}"{key}":{write(value)}']
        return make_writer(shape.fields, write, shape.check, head, "}}")

    def _tagged(self, value: Any) -> Any:
        """Write what JSON has no word for."""
        cls = cast("Any", type(value))
        tag = self.table.tags.get(cls)
        if tag is not None and tag in self.table.values:
            if isinstance(value, enum.Enum):
                return {_TYPE: tag, _DATA: value.name}
            data: dict[str, Any] = {}
            self.table.shape(cls).take_apart(value, data)
            return {_TYPE: tag, _DATA: data}
        if isinstance(value, bytes):
            return {_TYPE: _BYTES, _DATA: binascii.b2a_base64(value, newline=False).decode("ascii")}
        if attrs.has(cls) and not isinstance(value, BusMessage):
            return as_plain(value)  # a payload: its reader knows the class
        raise LocalWireError(
            f"{reprlib.repr(value)} of type {cls.__name__} cannot cross a link: send str, "
            "int, float, bool, None, bytes, and list, tuple and dict of them"
        )

    # Receiving.

    def decode(self, text: bytes) -> BusMessage:
        """Read one message."""
        envelope = read(text, self.limits)
        try:
            tag, data = envelope[_TYPE], envelope[_DATA]
            shape = self._shapes.get(tag)
        except (TypeError, LookupError):
            raise _no_message(envelope) from None
        if len(envelope) != 2 or not isinstance(tag, str) or not is_dict(data):
            raise _no_message(envelope)
        if shape is None:
            cls = self.table.messages.get(tag)
            if cls is None:
                return self._other(tag, data)
            shape = self._shapes[tag] = self.table.shape(cls)
        # A typed value cannot hide: its key is written as it is, or with an escape.
        if has_escapes(text) or _has_typed_values(text):
            data = {key: self._revive(each) for key, each in data.items()}
        message: BusMessage = shape.build(data)
        return message

    def _other(self, tag: str, data: dict[str, Any]) -> BusMessage:
        if detail := self.foreign.get(tag):
            source, target = data.get("source"), data.get("target")
            return ForeignMessage(
                source=source if isinstance(source, str) else "",
                target=target if isinstance(target, str) else None,
                tag=tag,
                detail=detail,
            )
        if tag in self.table.local_only:
            raise RemoteWireError(f"a {tag}, which is local-only and stays in its process")
        raise RemoteWireError(f"a message of the unknown type {reprlib.repr(tag)}")

    def _revive(self, value: Any) -> Any:
        """Replace the typed values in a value, from the inside out; `Limits.depth` bounds this."""
        if is_dict(value):
            if _TYPE in value and _DATA in value:
                return self._typed(value)
            return {key: self._revive(each) for key, each in value.items()}
        if is_list(value):
            return [self._revive(each) for each in value]
        return value

    def _typed(self, items: dict[str, Any]) -> Any:
        tag, data = items[_TYPE], items[_DATA]
        if len(items) != 2 or not isinstance(tag, str):
            raise RemoteWireError(f"no typed value: {reprlib.repr(items)}")
        if tag == _BYTES:
            return _from_base64(data)
        cls: Any = self.table.values.get(tag)
        if cls is None:
            raise RemoteWireError(f"a value of the unknown type {reprlib.repr(tag)}")
        if issubclass(cls, enum.Enum):
            if isinstance(data, str) and data in cls.__members__:
                return cls[data]
            raise RemoteWireError(f"no member of {tag}: {reprlib.repr(data)}")
        if not is_dict(data):
            raise RemoteWireError(f"no fields of a {tag}: {reprlib.repr(data)}")
        return self.table.shape(cls).build({key: self._revive(each) for key, each in data.items()})


def _no_message(said: object) -> RemoteWireError:
    return RemoteWireError(f"no message: {reprlib.repr(said)}")


def _has_typed_values(text: bytes) -> bool:
    """Tell whether the tag of the message may not be the only one."""
    # Nearly always it stands first.
    return text.find(_KEY, 2 if text.startswith(_FIRST) else text.find(_KEY) + 1) >= 0


def _from_base64(data: object) -> bytes:
    if isinstance(data, str):
        try:
            return binascii.a2b_base64(data, strict_mode=True)
        except ValueError:
            pass
    raise RemoteWireError(f"no bytes in base64: {reprlib.repr(data)}")


def _refuse_look_alikes(value: Any) -> None:
    """Find a dict that a reader would take for a typed value."""
    parts: Iterable[Any] = ()
    if is_dict(value):
        if _TYPE in value and _DATA in value:
            raise LocalWireError(
                f"{reprlib.repr(value)} would be taken for a typed value: it has both keys "
                "'__type__' and '__data__'; rename one of them"
            )
        parts = value.values()
    elif is_list(value):
        parts = value
    elif attrs.has(kind := cast("Any", type(value))):
        parts = [getattr(value, field.name) for field in attrs.fields(kind)]
    for each in parts:
        _refuse_look_alikes(each)


def _own(messages: Iterable[type[BusMessage]]) -> list[type[BusMessage]]:
    return [cls for cls in messages if cls not in PIPECAT.messages and cls not in BASES]


# Each session has a serializer; the tables of all those with the same types are one.  A program
# has two for each route, of some 100 KB and 10 KB for each type: more of them than it has room for
# here would be made anew for each session.
_format = functools.lru_cache(maxsize=512)(_Format)
_NAMED = {"pipecat": PIPECAT, "subagents": SUBAGENTS}


class JSONMessageSerializer(MessageSerializer):
    """Writes messages as Pipecat 1.14.0 does, and reads what it writes.

    Not to be shared between threads.

    Args:
        messages: your own message classes.  The package's own are known.  Their tag is `wire_name`
            or the qualified name; a real Pipecat process finds a class only by `module.Class`.
        frames: attrs classes, for `BusFrameMessage.frame`, with `wire_name` or the qualified name.
        limits: what a message may be, at most.
        names: `"subagents"` for a process that runs the older `pipecat_subagents`, as of 0.6.0.

    Raises:
        TypeError: a class is no message, or no attrs class, or has a field that cannot cross.
        ValueError: two classes have the same tag, or there are no such `names`.
    """

    def __init__(
        self,
        *,
        messages: Iterable[type[BusMessage]] = (),
        frames: Iterable[type] = (),
        limits: Limits | None = None,
        names: Literal["pipecat", "subagents"] = "pipecat",
    ) -> None:
        if names not in _NAMED:
            raise ValueError(f"names must be one of {', '.join(_NAMED)}, not {names!r}")
        self._messages = tuple(messages)
        self._if_possible: tuple[type[BusMessage], ...] = ()
        self._frames = tuple(frames)
        self._names: Literal["pipecat", "subagents"] = names
        self._numbered = True
        self._begin(limits or Limits())

    def _begin(self, limits: Limits) -> None:
        self._format = _format(
            self._messages, self._frames, limits, _NAMED[self._names], self._if_possible
        )
        self._write = self._format.encoder()
        self._ids = itertools.count()
        self._numbers: dict[type, int] = {}

    @property
    def limits(self) -> Limits:
        """What a message may be, at most."""
        return self._format.limits

    @property
    def messages(self) -> Iterable[type[BusMessage]]:
        """The message classes in the table: the package's own and those that were named."""
        return self._format.table.messages.values()

    @property
    def left_out(self) -> Mapping[type[BusMessage], str]:
        """The classes that were to be in the table if possible, and why each is not."""
        return self._format.left_out

    def including(
        self,
        messages: Iterable[type[BusMessage]],
        *,
        if_possible: Iterable[type[BusMessage]] = (),
    ) -> Self:
        """Return a copy of this serializer for more classes, which begins to count from 0.

        Args:
            messages: these have to be in the table.
            if_possible: each of these is, unless it is one of those that a serializer cannot be
                made with: then it is in `left_out`.

        Raises:
            TypeError, ValueError: as when a serializer is made.
        """
        # A copy, so that a subclass stays what it is.
        other = copy.copy(self)
        other._messages = tuple(dict.fromkeys((*self._messages, *messages)))
        other._if_possible = tuple(
            cls
            for cls in dict.fromkeys((*self._if_possible, *if_possible))
            if cls not in other._messages
        )
        other._begin(self.limits)
        return other

    def unnumbered(self) -> Self:
        """Return a copy of this serializer that writes no `id` and `name`.

        Only Pipecat's own logs use those.
        """
        other = copy.copy(self)
        other._numbered = False
        return other

    def serialize(self, message: BusMessage) -> bytes:
        """Return `message` as one JSON text.  Numbers messages as Pipecat does, from 0.

        Raises:
            MessageTooBigError: the text is bigger than `limits.message_size`.
            LocalWireError: the message is local-only or not registered, or holds what cannot
                cross.
        """
        if not self._numbered:
            return self._format.encode(message, self._write)
        number = self._numbers.get(type(message), 0)
        data = self._format.encode(message, self._write, next(self._ids), number)
        self._numbers[type(message)] = number + 1
        return data

    def serialize_numbered(self, message: BusMessage, *, message_id: int, number: int) -> bytes:
        """As `serialize`, with the two numbers that it would count itself.

        Args:
            message: what to write.
            message_id: the number of the message among all.
            number: its number among those of its class.
        """
        return self._format.encode(message, self._write, message_id, number)

    def deserialize(self, data: bytes) -> BusMessage:
        """Return the message that a JSON text says.

        A message of Pipecat that has no meaning here is returned as a `ForeignMessage`.

        Raises:
            RemoteWireError: it is no JSON, no message, of an unknown type, too big or too deep, or
                its fields are not what they should be.
        """
        return self._format.decode(data)
