"""The closed table of what may stand on a wire, and the strict conversion of its fields.

A `TypeTable` is filled once, from classes that this side names.  A peer names a tag; a tag that is
not in the table is an error, and nothing is ever looked up, imported or built for it.

There are two kinds of entries.  *Messages* travel by themselves.  *Values* stand in fields and in
payloads: frames, registry entries, and the attrs classes and enums that the fields of registered
classes are annotated with.  A dialect decides how a value is written; here is only which values
there are, and whether what stands in a field may stand there.

The same check is made by the sender and by the receiver, so what one side can send, the other can
read.  What is annotated with `Any`, or is a `dict[str, Any]`, is passed on as it is: payloads are
not walked through.
"""

from __future__ import annotations

import enum
import reprlib
import types
import typing
from collections import abc
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from .._values import error_text, safe_text
from ..errors import LocalWireError, RemoteWireError
from ..messages import BusDataMessage, BusLocalMessage, BusMessage, is_message_class, message

__all__ = [
    "Check",
    "Field",
    "ForeignMessage",
    "Misfit",
    "Shape",
    "TypeTable",
    "is_dict",
    "is_list",
    "tag_of",
]

Check: TypeAlias = Callable[[Any, Any], Any]
_LINE = 300


@message
class ForeignMessage(BusDataMessage):
    """Stands in a dead letter for what a peer sent and this side has no message for.

    `tag` is what the peer called it, `detail` says why it ends here.  It never crosses a link.
    """

    tag: str
    detail: str


class Misfit(ValueError):
    """A value is not what its field is annotated with."""

    def __init__(self, wanted: str, value: object) -> None:
        super().__init__(
            f"expected {wanted}, got {reprlib.repr(value)} of type {type(value).__name__}"
        )


# isinstance() alone leaves the type of what is inside unknown.


def is_dict(value: object) -> TypeGuard[dict[Any, Any]]:
    """Tell whether `value` is a dict."""
    return isinstance(value, dict)


def is_list(value: object) -> TypeGuard[list[Any]]:
    """Tell whether `value` is a list, or a tuple, which is written as one."""
    return isinstance(value, list | tuple)


def tag_of(cls: type) -> str:
    """Return the tag of a value's class: its own `wire_name`, or its qualified name.

    An enum cannot have a `wire_name`: it is named with its module.
    """
    if issubclass(cls, enum.Enum):
        return f"{cls.__module__}.{cls.__qualname__}"
    own = cls.__dict__.get("wire_name")
    return own if isinstance(own, str) else cls.__qualname__


class _LeftOut:
    """Stands for the absence of a field."""


_LEFT_OUT = _LeftOut()


class Field(NamedTuple):
    """One field of a registered class, as a sender looks at it.

    `key` is its name on the wire; `check` raises `Misfit`; `none` is what is written in the place
    of None.
    """

    name: str
    key: str
    check: Check
    none: Any


@attrs.frozen
class Shape:
    """What a registered class looks like on a wire.

    `ignored` fields may be sent by a peer and mean nothing here; `optional` ones have no default
    but may be None, which is how a peer that leaves None out tells it.
    """

    tag: str
    cls: type
    fields: tuple[Field, ...]
    structure: Callable[[Mapping[str, Any], Any], Any]
    ignored: frozenset[str]
    optional: tuple[str, ...]

    def take_apart(self, value: object, data: dict[str, Any]) -> None:
        """Put the fields of an object into `data`, those aside that are left out.

        Raises:
            LocalWireError: a field holds what the peer would not take.
        """
        name = ""
        try:
            for name, key, check, none in self.fields:
                each = getattr(value, name)
                check(each, None)
                if each is None:
                    if none is _LEFT_OUT:
                        continue
                    each = none
                data[key] = each
        except Misfit as error:
            raise LocalWireError(f"{self.cls.__qualname__}.{name} cannot cross: {error}") from None

    def build(self, data: dict[str, Any]) -> Any:
        """Make an object of the fields that a peer sent; `data` is used up.

        Raises:
            RemoteWireError: fields are missing, unknown, or not what they should be.
        """
        for key in self.ignored:
            data.pop(key, None)
        for key in self.optional:
            data.setdefault(key, None)
        try:
            return self.structure(data, self.cls)
        except cattrs.ClassValidationError as error:
            keys = {name: key for name, key, _, _ in self.fields}
            raise RemoteWireError(f"a bad {self.tag}: {_explain(error, keys)}") from None


def _explain(error: cattrs.ClassValidationError, keys: Mapping[str, str]) -> str:
    """Say what is wrong with which field, the first three of them."""
    noted, others = error.group_exceptions()
    lines: list[str] = []
    for each, note in noted:
        field = f"field {keys[note.name]!r}"
        lines.append(f"no {field}" if isinstance(each, KeyError) else f"{field}: {safe_text(each)}")
    for each in others:
        if isinstance(each, cattrs.ForbiddenExtraKeysError):
            extra = sorted(each.extra_fields)
            lines.append(f"unknown fields {reprlib.repr(extra)}")
        else:
            lines.append(error_text(each))
    # What a class's own validators say may quote a value of any length.
    return "; ".join(line[:_LINE] for line in lines[:3])


# Checks: each takes a value (and the type, which cattrs passes and nobody needs), and returns the
# value, or what is to stand in its place, or raises Misfit.


def _anything(value: Any, _kind: Any = None) -> Any:
    return value


def _text(value: Any, _kind: Any = None) -> Any:
    if isinstance(value, str):
        return value
    raise Misfit("str", value)


def _integer(value: Any, _kind: Any = None) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise Misfit("int", value)


def _number(value: Any, _kind: Any = None) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise Misfit("float", value)


def _truth(value: Any, _kind: Any = None) -> Any:
    if isinstance(value, bool):
        return value
    raise Misfit("bool", value)


def _octets(value: Any, _kind: Any = None) -> Any:
    if isinstance(value, bytes):
        return value
    raise Misfit("bytes", value)


def _nothing(value: Any, _kind: Any = None) -> Any:
    if value is None:
        return value
    raise Misfit("None", value)


_SIMPLE: dict[Any, Check] = {
    Any: _anything,
    object: _anything,
    str: _text,
    int: _integer,
    float: _number,
    bool: _truth,
    bytes: _octets,
    None: _nothing,
    type(None): _nothing,
}


def _instance(cls: type) -> Check:
    def check(value: Any, _kind: Any = None) -> Any:
        if type(value) is cls:
            return value
        raise Misfit(f"a {cls.__qualname__}", value)

    return check


def _plain_enum(cls: type[enum.Enum]) -> Check:
    """An enum that is a string or a number too: it is written as that."""

    def check(value: Any, _kind: Any = None) -> Any:
        try:
            return cls(value)
        except ValueError:
            raise Misfit(f"one of {[each.value for each in cls]}", value) from None

    return check


def _one_of(checks: Iterable[Check], wanted: str) -> Check:
    checks = tuple(checks)

    def check(value: Any, _kind: Any = None) -> Any:
        for each in checks:
            try:
                return each(value, None)
            except Misfit:
                continue
        raise Misfit(wanted, value)

    return check


def _literal(choices: tuple[Any, ...]) -> Check:
    def check(value: Any, _kind: Any = None) -> Any:
        for each in choices:
            if type(value) is type(each) and value == each:
                return value
        raise Misfit(f"one of {list(choices)}", value)

    return check


def _sequence(make: Callable[[Iterable[Any]], Any], inner: Check) -> Check:
    def check(value: Any, _kind: Any = None) -> Any:
        if not is_list(value):
            raise Misfit("a list", value)
        return make(value if inner is _anything else [inner(each, None) for each in value])

    return check


def _row(inner: tuple[Check, ...]) -> Check:
    def check(value: Any, _kind: Any = None) -> Any:
        if not is_list(value) or len(value) != len(inner):
            raise Misfit(f"a tuple of {len(inner)}", value)
        return tuple(each(item, None) for each, item in zip(inner, value, strict=True))

    return check


def _mapping(inner: Check) -> Check:
    def check(value: Any, _kind: Any = None) -> Any:
        if not is_dict(value):
            raise Misfit("a dict", value)
        if inner is _anything:
            return value
        return {_text(key): inner(each, None) for key, each in value.items()}

    return check


def _short(check: Check, limit: int) -> Check:
    """Bound the length of a name."""

    def shorter(value: Any, _kind: Any = None) -> Any:
        value = check(value, None)
        if isinstance(value, str) and len(value) > limit:
            raise Misfit(f"a name of at most {limit} characters", value)
        return value

    return shorter


def _bare(kind: Any) -> Any:
    """Return what a `NewType`, an `Annotated` type or a `Final` one stands for."""
    while True:
        if isinstance(kind, typing.NewType):
            kind = kind.__supertype__
        elif typing.get_origin(kind) in (typing.Annotated, typing.Final):
            kind = typing.get_args(kind)[0]
        else:
            return kind


class TypeTable:
    """The closed table: tags, the classes they name, and how their fields are checked.

    Args:
        name_length: how long names may be, in characters.
        reserved: tags that the dialect itself uses.
    """

    def __init__(self, *, name_length: int, reserved: Iterable[str] = ()) -> None:
        self.messages: dict[str, type[BusMessage]] = {}
        self.values: dict[str, type] = {}
        self.tags: dict[type, str] = {}
        self.local_only: dict[str, type] = {}
        self._name_length = name_length
        self._reserved = frozenset(reserved)
        self._shapes: dict[type, Shape] = {}
        self._checks: dict[type, Mapping[str, Check]] = {}
        self._none_means: dict[tuple[type, str], Any] = {}
        self._names: dict[type, frozenset[str]] = {}
        self._keys: dict[type, Mapping[str, str]] = {}
        self._ignored: dict[type, frozenset[str]] = {}
        self._converter = cattrs.Converter()

    def add_message(
        self,
        cls: type[BusMessage],
        tag: str,
        *,
        names: Iterable[str] = ("source", "target"),
        ignored: Iterable[str] = (),
        checks: Mapping[str, Check] | None = None,
        none_means: Mapping[str, Any] | None = None,
        keys: Mapping[str, str] | None = None,
    ) -> None:
        """Let messages of this class cross.

        Args:
            cls: a class made by `@message`; one that is local-only is noted and never crosses.
            tag: what names it on the wire.
            names: the fields whose length is bounded.
            ignored: fields of no meaning that a peer may send; those that `cls` has count.
            checks: takes the place of the check that the annotation of a field asks for.
            none_means: what is written for a field that is None.
            keys: what fields are called on the wire, if not what they are called in `cls`.

        Raises:
            TypeError: `cls` was not made by `@message`, or has a field that cannot cross.
            ValueError: the tag names another class.
        """
        if not is_message_class(cls):
            raise TypeError(f"{cls!r} is no message: mark the class with @message")
        if issubclass(cls, BusLocalMessage):
            self._name(tag, cls, self.local_only)
            return
        self._name(tag, cls, self.messages)
        self._names[cls] = frozenset(names)
        self._checks[cls] = dict(checks or {})
        self._none_means.update({(cls, name): each for name, each in (none_means or {}).items()})
        self._ignored[cls] = frozenset(ignored) - _field_names(cls)
        self._keys[cls] = dict(keys or {})

    def add_value(
        self,
        cls: Any,
        tag: str,
        *,
        names: Iterable[str] = (),
        ignored: Iterable[str] = (),
    ) -> None:
        """Let values of this attrs class or enum stand in fields and payloads.

        Raises:
            TypeError: `cls` is neither, or has a field that cannot cross.
            ValueError: the tag names another class.
        """
        if issubclass(cls, enum.Enum):
            self._name(tag, cls, self.values)
            return
        if not _is_attrs(cls) or issubclass(cls, BusMessage):
            raise TypeError(f"{cls!r} cannot cross a link: make it an attrs class or an enum")
        self._name(tag, cls, self.values)
        self._names[cls] = frozenset(names)
        self._ignored[cls] = frozenset(ignored) - _field_names(cls)

    def _name(self, tag: str, cls: Any, where: dict[str, Any]) -> None:
        if not tag:
            raise ValueError(f"{cls.__qualname__} needs a tag: set wire_name")
        if tag in self._reserved:
            raise ValueError(f"the tag {tag!r} has a meaning of its own: set another wire_name")
        taken = self.messages.get(tag) or self.values.get(tag) or self.local_only.get(tag)
        if taken is not None and taken is not cls:
            raise ValueError(f"{taken!r} and {cls!r} have the same tag {tag!r}: set wire_name")
        where[tag] = cls
        self.tags[cls] = tag

    @contextmanager
    def attempt(self) -> Generator[None]:
        """Add what a block adds, or nothing at all if it raises."""
        parts: list[dict[Any, Any]] = [each for each in vars(self).values() if is_dict(each)]
        before = [part.copy() for part in parts]
        try:
            yield
        except BaseException:
            for part, old in zip(parts, before, strict=True):
                part.clear()
                part.update(old)
            raise

    def shape(self, cls: type) -> Shape:
        """Return what a registered class looks like; made when it is first asked for.

        Raises:
            TypeError: a field cannot cross a link.
        """
        if (made := self._shapes.get(cls)) is None:
            made = self._shapes[cls] = self._make_shape(cls)
        return made

    def complete(self, classes: Iterable[type]) -> None:
        """Look at these classes, and at all values they can hold, now.

        Raises:
            TypeError: a field cannot cross a link.
        """
        todo: set[Any] = set(classes)
        while todo:
            for cls in todo:
                self.shape(cls)
            todo = {
                cls
                for cls in self.values.values()
                if cls not in self._shapes and not issubclass(cls, enum.Enum)
            }

    def _make_shape(self, cls: Any) -> Shape:
        try:
            attrs.resolve_types(cls)
        except NameError as error:
            raise TypeError(
                f"the annotations of {cls.__qualname__} cannot be resolved ({error}): define what "
                "they name at module level, and import it at run time"
            ) from error
        fields: list[Field] = []
        keys = self._keys.get(cls, {})
        optional: list[str] = []
        for attribute in attrs.fields(cls):
            if not attribute.init:
                continue
            check = self._field_check(cls, attribute)
            required = attribute.default is attrs.NOTHING
            # A peer takes the default for what is left out.
            none = _LEFT_OUT if required or attribute.default is None else None
            none = self._none_means.get((cls, attribute.name), none)
            key = keys.get(attribute.name, attribute.name)
            fields.append(Field(attribute.name, key, check, none))
            if required and _takes_none(check):
                optional.append(key)
        return Shape(
            self.tags[cls],
            cls,
            tuple(fields),
            self._structure(cls, fields),
            self._ignored[cls],
            tuple(optional),
        )

    def _structure(self, cls: Any, fields: Iterable[Field]) -> Callable[[Any, Any], Any]:
        # Compiled when the first one is read: that takes longer than all else in a table, which is
        # made while everybody waits.
        made: Any = None
        hooks: dict[str, Any] = {
            name: override(rename=key, struct_hook=check) for name, key, check, _ in fields
        }

        def structure(data: Any, kind: Any) -> Any:
            nonlocal made
            if made is None:
                made = make_dict_structure_fn(
                    cls,
                    self._converter,
                    _cattrs_forbid_extra_keys=True,
                    _cattrs_detailed_validation=True,
                    **hooks,
                )
            return made(data, kind)

        return structure

    def _field_check(self, cls: type, attribute: attrs.Attribute[Any]) -> Check:
        if own := self._checks.get(cls, {}).get(attribute.name):
            return own
        try:
            check = self._check_for(Any if attribute.type is None else attribute.type)
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}.{attribute.name}: {error}") from None
        if attribute.name in self._names[cls]:
            return _short(check, self._name_length)
        return check

    def _check_for(self, kind: Any) -> Check:
        """Choose the check for a type; whatever is not named here cannot cross."""
        kind = _bare(kind)
        try:
            return _SIMPLE[kind]
        except (KeyError, TypeError):  # not one of them, or not hashable
            pass
        origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return _one_of(map(self._check_for, arguments), str(kind))
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in (list, tuple, abc.Sequence, dict, abc.Mapping):
            return self._collection(kind, origin, arguments)
        if isinstance(kind, type):
            return self._class(kind)
        raise TypeError(f"{kind!r} cannot cross a link")

    def _collection(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Check:
        if origin in (dict, abc.Mapping):
            key, inner = arguments or (str, Any)
            if _bare(key) is not str:
                raise TypeError(f"{kind!r} cannot cross a link: keys have to be str")
            return _mapping(self._check_for(inner))
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return _row(tuple(map(self._check_for, arguments)))
        inner = self._check_for(arguments[0] if arguments else Any)
        return _sequence(tuple if origin is tuple else list, inner)

    def _class(self, cls: Any) -> Check:
        is_enum = issubclass(cls, enum.Enum) and not issubclass(cls, enum.Flag)
        if is_enum and issubclass(cls, str | int | float):
            return _plain_enum(typing.cast("Any", cls))
        if not is_enum and (issubclass(cls, BusMessage) or not _is_attrs(cls)):
            raise TypeError(
                f"{cls.__qualname__} cannot cross a link: use str, int, float, bool, bytes, None, "
                "Any, enums, attrs classes, and list, tuple and dict of them"
            )
        if cls not in self.tags:
            self.add_value(cls, tag_of(cls))
        return _instance(cls)


def _is_attrs(cls: type) -> bool:
    return attrs.has(cls)  # as a plain bool: the type guard would change the type of `cls`


def _field_names(cls: Any) -> frozenset[str]:
    return frozenset(each.name for each in attrs.fields(cls))


def _takes_none(check: Check) -> bool:
    try:
        check(None, None)
    except Misfit:
        return False
    return True
