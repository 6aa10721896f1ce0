"""Payloads between Python objects and plain data: strict both ways.

cattrs converts numbers and strings into each other by default; a payload of the wrong type must
be refused instead.
"""

from __future__ import annotations

import contextlib
import enum
import functools
import reprlib
import typing
from collections import abc, deque
from collections.abc import Callable
from typing import Any, NotRequired, Required, TypeAlias

import attrs
import cattrs
from cattrs.cols import mapping_structure_factory  # pyright: ignore[reportUnknownVariableType]
from cattrs.strategies import configure_union_passthrough

from ._values import error_text, safe_text

__all__ = ["MisfitError", "as_plain", "as_type", "is_frozen"]


class MisfitError(TypeError):
    """The data does not fit, or nothing can be made of its type; the text says on one line why."""


def _misfit_of(error: Exception) -> MisfitError:
    texts: list[str] = []
    errors: list[BaseException] = [error]
    while errors:
        each = errors.pop()
        if isinstance(each, BaseExceptionGroup):
            group = typing.cast("BaseExceptionGroup[BaseException]", each)
            errors.extend(reversed(group.exceptions))
        else:
            texts.append(_what(each))
    return MisfitError("; ".join(texts))


def _what(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return f"{safe_text(error)} is missing or unknown"
    return safe_text(error) or error_text(error)


_Hook: TypeAlias = Callable[[Any, Any], Any]


def _misfit(wanted: str, value: Any) -> TypeError:
    return TypeError(f"expected {wanted}, got {reprlib.repr(value)} of type {type(value).__name__}")


def _member(value: Any, wanted: type[enum.Enum]) -> Any:
    """Return a member of an enum that is a string or a number too; over a link only that comes."""
    if isinstance(value, wanted):
        return value
    if not isinstance(value, enum.Enum) and type(value) in (str, int):
        with contextlib.suppress(ValueError):
            return wanted(value)
    raise _misfit(wanted.__qualname__, value)


def _strict(kind: type) -> _Hook:
    def structure(value: Any, wanted: Any) -> Any:
        if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
            return _member(value, wanted)
        if type(value) is kind or (kind is float and type(value) is int):
            return value
        raise _misfit(kind.__name__, value)

    return structure


def _instance(kind: Any) -> _Hook:
    """Take what cattrs does not know as it is, if it is of that class: it is in this process."""
    if not isinstance(kind, type):
        raise cattrs.StructureHandlerNotFoundError(f"no payload can be a {kind!r}", type_=kind)

    def structure(value: Any, _kind: Any) -> Any:
        if isinstance(value, kind):
            return value
        raise _misfit(kind.__qualname__, value)

    return structure


_converter = cattrs.Converter(forbid_extra_keys=True, structure_fallback_factory=_instance)
_structure: _Hook = _converter.structure
# Without bool, which would count as an int there.
configure_union_passthrough(int | float | str | bytes | None, _converter)

for _kind in (int, float, bool, str, bytes):
    _converter.register_structure_hook(_kind, _strict(_kind))


def _unresolved(kind: Any, error: NameError) -> TypeError:
    return TypeError(
        f"the annotations of {kind.__qualname__} cannot be resolved ({error}): define the class at "
        "module level"
    )


def _object(kind: Any) -> _Hook:
    try:
        # Older releases of cattrs cannot resolve those of a generic class.
        attrs.resolve_types(typing.get_origin(kind) or kind)
    except NameError as error:
        raise _unresolved(kind, error) from error

    from_dict: _Hook = _converter.gen_structure_attrs_fromdict(kind)
    return _of_dict(kind, from_dict, f"the fields of {kind.__qualname__}")


def _is_mapping(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in (dict, abc.Mapping, abc.MutableMapping)


def _mapping(kind: Any) -> _Hook:
    return _of_dict(kind, mapping_structure_factory(kind, _converter, dict), "a dict")


def _of_dict(kind: Any, from_dict: _Hook, wanted: str) -> _Hook:
    def structure(value: Any, _kind: Any) -> Any:
        if isinstance(value, dict):
            return from_dict(value, kind)
        raise _misfit(wanted, value)

    return structure


def is_typed_dict(kind: Any) -> bool:
    """Tell whether `kind` is a TypedDict, of whichever module."""
    return hasattr(kind, "__required_keys__") and isinstance(kind, type) and issubclass(kind, dict)


def _typed_dict(kind: Any) -> _Hook:
    try:
        types = typing.get_type_hints(kind)
        marked = typing.get_type_hints(kind, include_extras=True)
    except NameError as error:
        raise _unresolved(kind, error) from error
    # As `__required_keys__` has it, but also where annotations are texts.
    optional = {key for key, each in marked.items() if typing.get_origin(each) is NotRequired}
    optional |= kind.__optional_keys__ - {
        key for key, each in marked.items() if typing.get_origin(each) is Required
    }

    def structure(value: Any, _kind: Any) -> Any:
        if not isinstance(value, dict):
            raise _misfit(f"the keys of {kind.__qualname__}", value)
        given: dict[Any, Any] = typing.cast("Any", value)
        for key in (types.keys() - optional - given.keys()) | (given.keys() - types.keys()):
            raise KeyError(key)
        return {key: _structure(each, types[key]) for key, each in given.items()}

    return structure


_converter.register_structure_hook_factory(_is_mapping, _mapping)
_converter.register_structure_hook_factory(is_typed_dict, _typed_dict)
_converter.register_structure_hook_factory(attrs.has, _object)

# What each collection is made as.
_COLLECTIONS: dict[Any, Callable[[abc.Iterable[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    deque: deque,
    abc.Sequence: list,
    abc.MutableSequence: list,
    abc.Set: frozenset,
    abc.MutableSet: set,
}


def _is_collection(kind: Any) -> bool:
    return (typing.get_origin(kind) or kind) in _COLLECTIONS


def _collection(kind: Any) -> _Hook:
    """Refuse strings and dicts as collections: cattrs would take their characters and keys."""
    make = _COLLECTIONS[typing.get_origin(kind) or kind]
    elements = typing.get_args(kind) or (Any,)
    fixed = make is tuple and elements[-1] is not Ellipsis and bool(typing.get_args(kind))

    def structure(value: Any, _kind: Any) -> Any:
        if not isinstance(value, list | tuple | set | frozenset | deque):
            raise _misfit(f"a {make.__name__}", value)
        items: list[Any] = list(typing.cast("abc.Iterable[Any]", value))
        if fixed and len(items) != len(elements):
            raise _misfit(f"{len(elements)} items", value)
        kinds = elements if fixed else (elements[0],) * len(items)
        return make(map(_structure, items, kinds))

    return structure


_converter.register_structure_hook_factory(_is_collection, _collection)


@functools.lru_cache(maxsize=4096)
def is_attrs_class(cls: Any) -> bool:
    """Tell whether `cls` is an attrs class; `attrs.has` takes twenty times as long."""
    return attrs.has(cls)


def is_attrs_object(value: Any) -> bool:
    """Tell whether `value` is an instance of an attrs class."""
    return is_attrs_class(value.__class__)


@functools.lru_cache(maxsize=4096)
def _is_frozen_class(cls: Any) -> bool:
    return attrs.has(cls) and attrs.inspect(cls).is_frozen


def is_frozen(value: object) -> bool:
    """Tell whether `value` is an instance of a frozen attrs class."""
    cls: Any = type(value)
    return _is_frozen_class(cls)


def as_type(value: Any, wanted: Any) -> Any:
    """Return `value` as `wanted`, an attrs class or another type that cattrs knows.

    A frozen object of the right class is returned as it is, with whatever it holds.  Of anything
    else, what `wanted` describes is made anew: an attrs object with its fields, a list with its
    items.  What it leaves open, as a field annotated `Any` or `dict` does, is taken apart if it
    comes in an attrs object, and is shared if it comes in a dict; an object of a class that
    cattrs does not know is shared always.

    Raises:
        MisfitError: it does not fit.
    """
    if isinstance(wanted, type) and type(value) is wanted and is_frozen(value):
        return value
    value = as_plain(value)
    try:
        return _structure(value, wanted)
    except Exception as error:
        # Whatever cattrs, a validator or a converter makes of odd data.
        raise _misfit_of(error) from error


def as_plain(value: Any) -> Any:
    """Return `value` as dicts, lists, strings and numbers if it is an attrs object, else itself.

    Raises:
        MisfitError: it cannot be taken apart, as when it contains itself.
    """
    if is_attrs_object(value):
        try:
            return _converter.unstructure(value)
        except Exception as error:
            raise _misfit_of(error) from error
    return value
