"""The fields of one class: what may stand in them, and functions made for this class alone.

A loop over the fields, with a call for each, takes two to three times as long as a function that
has them one below the other.  So that one is written here, from the names and keys of a class of
this side: nothing that a peer has sent gets into it.
"""

from __future__ import annotations

import functools
import json
import reprlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = ["ABSENT", "Check", "Field", "Misfit", "Rule", "make_reader", "make_writer"]

Check: TypeAlias = Callable[[Any, Any], Any]


class Misfit(ValueError):
    """A value is not what its field is annotated with."""

    def __init__(self, wanted: str, value: object) -> None:
        super().__init__(
            f"expected {wanted}, got {reprlib.repr(value)} of type {type(value).__name__}"
        )


class Rule(NamedTuple):
    """What may stand in a field.

    `check` takes a value (and the type, which cattrs passes and nobody needs), and returns the
    value, or what is to stand in its place, or raises `Misfit`.  A value of exactly one of the
    types in `sure` would come back as it is; with None, any value.
    """

    check: Check
    sure: frozenset[type] | None = frozenset()


class _Absent:
    """Stands for the absence of a field, or of a value for it."""


ABSENT: Any = _Absent()


class Field(NamedTuple):
    """One field of a registered class.

    `key` is its name on the wire, and `argument` that in the constructor.  A name may have
    `longest` characters; there at most `str` and None are sure.  `none` is what is written in the
    place of None: `ABSENT` for nothing.  If a peer leaves the field out, the constructor gets
    `default`: nothing if that is `ABSENT`.  With `required` there has to be a value.
    """

    name: str
    key: str
    rule: Rule
    none: Any
    longest: int | None
    argument: str
    required: bool
    default: Any


class _Code:
    """A function that is being written, and the objects that it names."""

    def __init__(self, head: str) -> None:
        self.lines = [head]
        self.names: dict[str, Any] = {"ABSENT": ABSENT}

    def add(self, depth: int, *lines: str) -> None:
        self.lines += ["    " * depth + line for line in lines]

    def name(self, value: object) -> str:
        name = f"_{len(self.names)}"
        self.names[name] = value
        return name

    def sure(self, value: str, field: Field) -> str:
        """Return the condition under which a value that is not None needs no look."""
        kinds = (field.rule.sure or frozenset()) - {type(None)}
        if len(kinds) != 1:
            return f"type({value}) in {self.name(kinds)}" if kinds else "False"
        condition = f"type({value}) is {self.name(*kinds)}"
        if field.longest is not None:
            condition += f" and len({value}) <= {field.longest}"
        return condition

    def make(self) -> Any:
        exec("\n".join(self.lines), self.names)
        return self.names["made"]


def make_writer(
    fields: Sequence[Field],
    write: Callable[[Any], str],
    check: Callable[[Field, Any], None],
    head: Sequence[str | int],
    tail: str,
) -> Callable[[Any, Callable[[Any], str], int | None, int], str]:
    """Make the function that writes the fields of an object as JSON.

    It gets the object, what writes a value, and two numbers.

    Args:
        fields: those of its class.
        write: writes a value that is the same for all objects.
        check: raises what the function is to raise for a value that may not stand in a field.
        head: what stands before the fields.  In the place of 0 and 1, the function writes the two
            numbers that it gets.
        tail: what stands behind them.
    """
    code = _Code("def made(value, write, number0, number1):")
    quote = code.name(json.encoder.encode_basestring_ascii)
    for number, field in enumerate(fields):
        kinds = (field.rule.sure or frozenset()) - {type(None)}
        key = f",{json.dumps(field.key)}:"
        nothing = "" if field.none is ABSENT else key + write(field.none)
        look = f"{code.name(functools.partial(check, field))}(each)"
        code.add(1, f"each = value.{field.name}", "if each is None:")
        if field.rule.sure is not None and type(None) not in field.rule.sure:
            code.add(2, look)
        code.add(2, f"text{number} = {nothing!r}")
        if field.rule.sure is not None:
            code.add(1, f"elif not ({code.sure('each', field)}):")
            code.add(2, look, f"text{number} = {key!r} + write(each)")
        code.add(1, "else:")
        is_text = bool(kinds) and all(issubclass(kind, str) for kind in kinds)
        to_text = quote if is_text else "str" if kinds == frozenset({int}) else "write"
        code.add(2, f"text{number} = {key!r} + {to_text}(each)")
    names = [f"number{each}" if isinstance(each, int) else code.name(each) for each in head]
    texts = "".join(f"{{text{number}}}" for number in range(len(fields)))
    if str(head[-1]).endswith("{"):
        texts = f"{{f'{texts}'[1:]}}"  # without the comma
    begin = "".join(f"{{{name}}}" for name in names)
    code.add(1, f'return f"{begin}{texts}{{{code.name(tail)}}}"')
    made: Callable[[Any, Callable[[Any], str], int | None, int], str] = code.make()
    return made


def make_reader(
    fields: Sequence[Field], ignored: Iterable[str]
) -> Callable[[dict[str, Any]], dict[str, Any] | None]:
    """Make the function that makes arguments for the constructor out of what a peer sent.

    It returns None, or raises `Misfit` or `KeyError`, if it is not what it should be.
    """
    code = _Code("def made(data):")
    code.add(1, f"expected = {len(fields)}")
    for key in sorted(ignored):
        code.add(1, f"if {key!r} in data: expected += 1")
    for number, field in enumerate(fields):
        value = f"each{number}"
        if field.required:
            code.add(1, f"{value} = data[{field.key!r}]", "if True:")
        else:
            code.add(1, f"{value} = data.get({field.key!r}, ABSENT)", f"if {value} is ABSENT:")
            code.add(2, f"{value} = {code.name(field.default)}", "expected -= 1")
            code.add(1, "else:")
        code.add(2, "pass")
        check, sure = field.rule
        if sure is not None:
            may_be_none = f"{value} is None or " if type(None) in sure else ""
            code.add(2, f"if not ({may_be_none}{code.sure(value, field)}):")
            code.add(3, f"{value} = {code.name(check)}({value}, None)")
    code.add(1, "if len(data) != expected: return None")
    pairs = (f"{field.argument!r}: each{number}" for number, field in enumerate(fields))
    code.add(1, f"made = {{{', '.join(pairs)}}}")
    for number, field in enumerate(fields):
        if not field.required and field.default is ABSENT:
            code.add(1, f"if each{number} is ABSENT: del made[{field.argument!r}]")
    code.add(1, "return made")
    made: Callable[[dict[str, Any]], dict[str, Any] | None] = code.make()
    return made
