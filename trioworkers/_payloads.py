"""Payloads between Python objects and plain data: strict both ways.

cattrs converts numbers and strings into each other by default; a payload of the wrong type must
be refused instead.
"""

from __future__ import annotations

from typing import Any, cast

import attrs
import cattrs

__all__ = ["MISFIT", "as_plain", "as_type", "is_frozen"]

MISFIT = (cattrs.BaseValidationError, cattrs.StructureHandlerNotFoundError, TypeError, ValueError)
"""What `as_type` raises when the data does not fit."""

_converter = cattrs.Converter(forbid_extra_keys=True)


def _strict(kind: type) -> Any:
    def structure(value: Any, _type: Any) -> Any:
        if type(value) is kind or (kind is float and type(value) is int):
            return value
        raise TypeError(f"expected {kind.__name__}, got {value!r} of type {type(value).__name__}")

    return structure


for _kind in (int, float, bool, str, bytes):
    _converter.register_structure_hook(_kind, _strict(_kind))


def is_frozen(value: object) -> bool:
    """Tell whether `value` is an instance of a frozen attrs class."""
    cls = type(value)
    return attrs.has(cls) and attrs.inspect(cls).is_frozen


def as_type(value: Any, wanted: Any) -> Any:
    """Return `value` as `wanted`, an attrs class or another type that cattrs knows.

    A frozen object of the right class is returned as it is; anything else is converted, so that
    two workers never share something that either can change.

    Raises:
        BaseException: one of `MISFIT`, if it does not fit.
    """
    if isinstance(wanted, type) and type(value) is wanted and is_frozen(value):
        return value
    return _converter.structure(as_plain(value), wanted)


def as_plain(value: Any) -> Any:
    """Return `value` as dicts, lists, strings and numbers if it is an attrs object, else itself."""
    if attrs.has(cast("type[Any]", type(value))):
        return _converter.unstructure(value)
    return value
