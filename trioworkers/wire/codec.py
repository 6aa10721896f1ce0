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
import functools
import reprlib
import types
import typing
from collections import abc
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from typing import Any, TypeGuard

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, override

from .._values import error_text, safe_text
from ..errors import LocalWireError, RemoteWireError
from ..messages import BusDataMessage, BusLocalMessage, BusMessage, is_message_class, message
from .fields import ABSENT, Check, Field, Misfit, Rule, make_reader

__all__ = [
    "ForeignMessage",
    "Shape",
    "TypeTable",
    "is_dict",
    "is_list",
    "tag_of",
]

_LINE = 300


@message
class ForeignMessage(BusDataMessage):
    """Stands in a dead letter for what a peer sent and this side has no message for.

    `tag` is what the peer called it, `detail` says why it ends here.  It never crosses a link.
    """

    tag: str
    detail: str


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


@attrs.frozen
class Shape:
    """What a registered class looks like on a wire.

    `ignored` fields may be sent by a peer and mean nothing here; `optional` ones are None if they
    are left out, also those without a default: that is how a peer tells None.
    """

    tag: str
    cls: type
    fields: tuple[Field, ...]
    ignored: frozenset[str]
    optional: tuple[str, ...]
    converter: cattrs.Converter

    # Made when they are needed first: that takes longer than all else in a table, which is made
    # while everybody waits.

    @functools.cached_property
    def _plan(self) -> tuple[tuple[str, str, Check, Any], ...]:
        return tuple((each.name, each.key, each.rule.check, each.none) for each in self.fields)

    @functools.cached_property
    def _read(self) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
        return make_reader(self.fields, self.ignored)

    @functools.cached_property
    def _structure(self) -> Callable[[Mapping[str, Any], Any], Any]:
        hooks: dict[str, Any] = {
            field.name: override(rename=field.key, struct_hook=field.rule.check)
            for field in self.fields
        }
        return make_dict_structure_fn(
            typing.cast("Any", self.cls),
            self.converter,
            _cattrs_forbid_extra_keys=True,
            _cattrs_detailed_validation=True,
            **hooks,
        )

    def take_apart(self, value: object, data: dict[str, Any]) -> None:
        """Put the fields of an object into `data`, those aside that are left out.

        Raises:
            LocalWireError: a field holds what the peer would not take.
        """
        name = ""
        try:
            for name, key, check, none in self._plan:
                each = getattr(value, name)
                check(each, None)
                if each is None:
                    if none is ABSENT:
                        continue
                    each = none
                data[key] = each
        except Misfit as error:
            raise self._unfit(name, error) from None

    def _unfit(self, name: str, error: Misfit) -> LocalWireError:
        return LocalWireError(f"{self.cls.__qualname__}.{name} cannot cross: {error}")

    def check(self, field: Field, value: object) -> None:
        """Check that a value may stand in a field.

        Raises:
            LocalWireError: the peer would not take it.
        """
        try:
            field.rule.check(value, None)
        except Misfit as error:
            raise self._unfit(field.name, error) from None

    def build(self, data: dict[str, Any]) -> Any:
        """Make an object of the fields that a peer sent; `data` is used up.

        Raises:
            RemoteWireError: fields are missing, unknown, or not what they should be.
        """
        try:
            arguments = self._read(data)
        except (Misfit, KeyError):
            arguments = None
        if arguments is None:
            return self._build_strictly(data)
        try:
            return self.cls(**arguments)
        except Exception as error:  # noqa: BLE001 - a validator of the class
            raise RemoteWireError(f"a bad {self.tag}: {_line(error_text(error))}") from None

    def _build_strictly(self, data: dict[str, Any]) -> Any:
        """Say all that is wrong, which takes cattrs longer."""
        for key in self.ignored:
            data.pop(key, None)
        for key in self.optional:
            data.setdefault(key, None)
        try:
            return self._structure(data, self.cls)
        except cattrs.ClassValidationError as error:
            keys = {field.name: field.key for field in self.fields}
            raise RemoteWireError(f"a bad {self.tag}: {_explain(error, keys)}") from None


def _explain(error: cattrs.ClassValidationError, keys: Mapping[str, str]) -> str:
    """Say what is wrong with which field, the first three of them."""
    noted, others = error.group_exceptions()
    lines: list[str] = []
    for each, note in noted:
        field = f"field {keys[note.name]!r}"
        lines.append(f"no {field}" if isinstance(each, KeyError) else f"{field}: {safe_text(each)}")
    # The constructor has not been called.
    lines.extend(
        f"unknown fields {reprlib.repr(sorted(each.extra_fields))}"
        for each in typing.cast("list[cattrs.ForbiddenExtraKeysError]", others)
    )
    return "; ".join(map(_line, lines[:3]))


def _line(text: str) -> str:
    """Cut off what a class's own validators say: they may quote a value of any length."""
    return text[:_LINE]


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


_ANYTHING = Rule(_anything, None)
_NOTHING = Rule(_nothing, frozenset({type(None)}))
_SIMPLE: dict[Any, Rule] = {
    Any: _ANYTHING,
    object: _ANYTHING,
    str: Rule(_text, frozenset({str})),
    int: Rule(_integer, frozenset({int})),
    float: Rule(_number, frozenset({int, float})),
    bool: Rule(_truth, frozenset({bool})),
    bytes: Rule(_octets, frozenset({bytes})),
    None: _NOTHING,
    type(None): _NOTHING,
}


_AS_IT_IS = frozenset({str, int, float, bool, bytes, dict, type(None)})


def _instance(cls: type) -> Rule:
    def check(value: Any, _kind: Any = None) -> Any:
        if type(value) is cls:
            return value
        raise Misfit(f"a {cls.__qualname__}", value)

    return Rule(check, frozenset({cls}))


def _plain_enum(cls: type[enum.Enum]) -> Rule:
    """An enum that is a string or a number too: it is written as that."""
    members = {each.value: each for each in cls if isinstance(each.value, str)}

    def check(value: Any, _kind: Any = None) -> Any:
        if type(value) is str and value in members:
            return members[value]  # a fifth of the time that the class takes
        try:
            return cls(value)
        except ValueError:
            raise Misfit(f"one of {[each.value for each in cls]}", value) from None

    return Rule(check, frozenset({cls}))


def _one_of(rules: Iterable[Rule], wanted: str) -> Rule:
    rules = tuple(rules)

    def check(value: Any, _kind: Any = None) -> Any:
        for each in rules:
            try:
                return each.check(value, None)
            except Misfit:
                continue
        raise Misfit(wanted, value)

    # Of what else may be there, an enum takes texts for its members.
    if all(each.sure and each.sure <= _AS_IT_IS for each in rules):
        return Rule(check, frozenset[type]().union(*(each.sure or () for each in rules)))
    return Rule(check)


def _literal(choices: tuple[Any, ...]) -> Rule:
    def check(value: Any, _kind: Any = None) -> Any:
        for each in choices:
            if type(value) is type(each) and value == each:
                return value
        raise Misfit(f"one of {list(choices)}", value)

    return Rule(check)


def _sequence(make: Callable[[Iterable[Any]], Any], inner: Rule) -> Rule:
    def check(value: Any, _kind: Any = None) -> Any:
        if not is_list(value):
            raise Misfit("a list", value)
        return make(value if inner is _ANYTHING else [inner.check(each, None) for each in value])

    return Rule(check)


def _row(inner: tuple[Rule, ...]) -> Rule:
    def check(value: Any, _kind: Any = None) -> Any:
        if not is_list(value) or len(value) != len(inner):
            raise Misfit(f"a tuple of {len(inner)}", value)
        return tuple(each.check(item, None) for each, item in zip(inner, value, strict=True))

    return Rule(check)


def _mapping(inner: Rule) -> Rule:
    def check(value: Any, _kind: Any = None) -> Any:
        if not is_dict(value):
            raise Misfit("a dict", value)
        if inner is _ANYTHING:
            return value
        return {_text(key): inner.check(each, None) for key, each in value.items()}

    return Rule(check, frozenset({dict}) if inner is _ANYTHING else frozenset())


def _short(rule: Rule, limit: int) -> Rule:
    """Bound the length of a name."""

    def shorter(value: Any, _kind: Any = None) -> Any:
        value = rule.check(value, None)
        if isinstance(value, str) and len(value) > limit:
            raise Misfit(f"a name of at most {limit} characters", value)
        return value

    return Rule(shorter, (rule.sure or frozenset()) & {str, type(None)})


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
        fields = tuple(self._field(cls, each) for each in attrs.fields(cls) if each.init)
        return Shape(
            self.tags[cls],
            cls,
            fields,
            self._ignored[cls],
            tuple(each.key for each in fields if each.default is None and _takes_none(each.rule)),
            self._converter,
        )

    def _field(self, cls: Any, attribute: attrs.Attribute[Any]) -> Field:
        name, default = attribute.name, attribute.default
        rule = self._rule(cls, attribute)
        required = default is attrs.NOTHING
        # A peer takes the default for what is left out.
        none = ABSENT if required or default is None else None
        optional = required and _takes_none(rule)
        if isinstance(default, typing.cast("Any", attrs.Factory)):
            default = ABSENT
        return Field(
            name,
            self._keys.get(cls, {}).get(name, name),
            rule,
            self._none_means.get((cls, name), none),
            self._name_length if name in self._names[cls] else None,
            attribute.alias or name,
            required and not optional,
            None if optional else default,
        )

    def _rule(self, cls: type, attribute: attrs.Attribute[Any]) -> Rule:
        if own := self._checks.get(cls, {}).get(attribute.name):
            return Rule(own)
        try:
            rule = self._rule_for(Any if attribute.type is None else attribute.type)
        except TypeError as error:
            raise TypeError(f"{cls.__qualname__}.{attribute.name}: {error}") from None
        if attribute.name in self._names[cls]:
            return _short(rule, self._name_length)
        return rule

    def _rule_for(self, kind: Any) -> Rule:
        """Choose the rule for a type; whatever is not named here cannot cross."""
        kind = _bare(kind)
        try:
            return _SIMPLE[kind]
        except (KeyError, TypeError):  # not one of them, or not hashable
            pass
        origin, arguments = typing.get_origin(kind) or kind, typing.get_args(kind)
        if origin in (typing.Union, types.UnionType):
            return _one_of(map(self._rule_for, arguments), str(kind))
        if origin is typing.Literal:
            return _literal(arguments)
        if origin in (list, tuple, abc.Sequence, dict, abc.Mapping):
            return self._collection(kind, origin, arguments)
        if isinstance(kind, type):
            return self._class(kind)
        raise TypeError(f"{kind!r} cannot cross a link")

    def _collection(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> Rule:
        if origin in (dict, abc.Mapping):
            key, inner = arguments or (str, Any)
            if _bare(key) is not str:
                raise TypeError(f"{kind!r} cannot cross a link: keys have to be str")
            return _mapping(self._rule_for(inner))
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            return _row(tuple(map(self._rule_for, arguments)))
        inner = self._rule_for(arguments[0] if arguments else Any)
        return _sequence(tuple if origin is tuple else list, inner)

    def _class(self, cls: Any) -> Rule:
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


def _takes_none(rule: Rule) -> bool:
    try:
        rule.check(None, None)
    except Misfit:
        return False
    return True
