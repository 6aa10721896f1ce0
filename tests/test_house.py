"""Rules of the house: sizes, no asyncio, and exceptions that are not swallowed."""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator

import pytest

from tests.source import MODULES, Module

MAX_FUNCTION_LINES = 60
MAX_METHODS = 40
MAX_MODULE_LINES = 500

# Modules that may catch more than they name, without raising it again, and why.
MAY_CATCH_BROADLY = {
    "_jobs": "a handler's exception is an outcome of its job, told to the requester",
    "_cli": "an interrupt after the run becomes its exit code",
    "_open_runner": "a crash is raised where the block ends",
    "proxies._line": "what a peer's bytes provoke in the WebSocket library ends one connection",
    "proxies._serving": "the crash of a session, or of an authenticator, is that client's only",
    "_observers": "an instrument that raises is removed, and must not harm the run",
    "_runner": "what ends the tree is held until everything is put away, then raised",
    "_slot": "a worker's failure is caught in its own task, for its supervisor",
    "_values": "an exception that cannot be shown must not hide what is told with it",
    "_supervisor": "a supervisor catches what its children raise",
}

BROAD = {"Exception", "BaseException", "ExceptionGroup", "BaseExceptionGroup", "Cancelled"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def docstring_of(node: ast.AST) -> ast.Expr | None:
    """Find the docstring of a module, class or function."""
    match node:
        case (
            ast.Module(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
            | ast.ClassDef(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
            | ast.FunctionDef(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
            | ast.AsyncFunctionDef(body=[ast.Expr(value=ast.Constant(value=str())) as first, *_])
        ):
            return first
    return None


def body_lines(function: Function) -> int:
    """Count the lines of a function's body, without its docstring."""
    body = function.body[1:] if docstring_of(function) else function.body
    if not body:
        return 0
    return (body[-1].end_lineno or 0) - body[0].lineno + 1


def code_lines(module: Module) -> int:
    """Count the lines with code: no blank ones, comments or docstrings."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(module.tree):
        if docstring := docstring_of(node):
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def methods(node: ast.ClassDef) -> set[str]:
    """Name the methods a class defines; overloads and setters count once."""
    return {child.name for child in node.body if isinstance(child, Function)}


def always_raises(body: list[ast.stmt]) -> bool:
    """Tell whether every way through these statements ends in a `raise`."""
    match body[-1] if body else None:
        case ast.Raise():
            return True
        case ast.If(body=yes, orelse=no):
            return always_raises(yes) and always_raises(no)
        case ast.With(body=inner) | ast.AsyncWith(body=inner) | ast.Try(body=inner, handlers=[]):
            return always_raises(inner)
    return False


def is_broad(caught: ast.expr | None) -> bool:
    """Tell whether an `except` clause, or an argument of `suppress`, catches too much."""
    match caught:
        case None:
            return True
        case ast.Tuple(elts=each):
            return any(is_broad(one) for one in each)
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in BROAD
    return False


def swallowing(tree: ast.AST) -> Iterator[int]:
    """Find the lines where exceptions of any kind may end."""
    for node in ast.walk(tree):
        match node:
            case ast.ExceptHandler(type=caught, body=body):
                if is_broad(caught) and not always_raises(body):
                    yield node.lineno
            case ast.Call(func=ast.Name(id="suppress") | ast.Attribute(attr="suppress"), args=args):
                if any(is_broad(caught) for caught in args):
                    yield node.lineno


@pytest.mark.parametrize("name", MODULES)
def test_functions_are_short(name: str) -> None:
    """No function's body is longer than 60 lines, its docstring not counted."""
    found = [node for node in ast.walk(MODULES[name].tree) if isinstance(node, Function)]
    sizes = {f"{node.name} (line {node.lineno})": body_lines(node) for node in found}
    assert not {each: size for each, size in sizes.items() if size > MAX_FUNCTION_LINES}


@pytest.mark.parametrize("name", MODULES)
def test_classes_are_small(name: str) -> None:
    """No class defines more than 40 methods."""
    found = [node for node in ast.walk(MODULES[name].tree) if isinstance(node, ast.ClassDef)]
    sizes = {node.name: len(methods(node)) for node in found}
    assert not {each: size for each, size in sizes.items() if size > MAX_METHODS}


@pytest.mark.parametrize("name", MODULES)
def test_modules_are_short(name: str) -> None:
    """No module has more than 500 lines of code."""
    size = code_lines(MODULES[name])
    assert size <= MAX_MODULE_LINES, f"{MODULES[name]} has {size} lines of code: split it"


@pytest.mark.parametrize("name", MODULES)
def test_no_asyncio(name: str) -> None:
    """Nothing imports asyncio, nor names it to be imported."""
    for node in ast.walk(MODULES[name].tree):
        match node:
            case ast.Import(names=names):
                assert not any(alias.name.split(".")[0] == "asyncio" for alias in names)
            case ast.ImportFrom(module=str(origin)):
                assert origin.split(".")[0] != "asyncio"
            case ast.Constant(value="asyncio"):
                pytest.fail(f"line {node.lineno} names asyncio")


@pytest.mark.parametrize("name", sorted(MODULES.keys() - MAY_CATCH_BROADLY.keys()))
def test_nothing_is_swallowed(name: str) -> None:
    """A broad `except` raises again, except in the modules on the list."""
    lines = list(swallowing(MODULES[name].tree))
    assert not lines, f"{MODULES[name]} swallows exceptions on lines {lines}"


@pytest.mark.parametrize("name", sorted(MODULES.keys() & MAY_CATCH_BROADLY.keys()))
def test_the_list_is_needed(name: str) -> None:
    """A module that catches nothing broadly any more is taken off the list."""
    assert list(swallowing(MODULES[name].tree))


@pytest.mark.parametrize(
    ("handler", "swallows"),
    [
        ("except ValueError: pass", False),
        ("except Exception: log()", True),
        ("except: pass", True),
        ("except (KeyError, BaseException): pass", True),
        ("except trio.Cancelled: pass", True),
        ("except* Exception: pass", True),
        ("except BaseException:\n    log()\n    raise", False),
        ("except Exception as e: raise X from e", False),
        ("except Exception:\n    if x: raise", True),
        ("except Exception:\n    if x: raise\n    else: raise Y", False),
        ("except ValueError:\n    with contextlib.suppress(Exception): f()", True),
    ],
)
def test_swallowing_is_seen(handler: str, swallows: bool) -> None:
    """The rule sees bare, broad and cancelling handlers, and those that raise on every way."""
    assert bool(list(swallowing(ast.parse(f"try: f()\n{handler}")))) is swallows


def test_lines_are_counted() -> None:
    """Blank lines, comments and docstrings are no code; a text over several lines is."""
    text = '"""Doc."""\n\n# why\ndef f(x):\n    """Doc\n    more."""\n    y = """a\n    b"""\n\n    return y\n'
    tree = ast.parse(text)
    assert code_lines(Module("sample", False, text, tree)) == 4
    function = tree.body[1]
    assert isinstance(function, ast.FunctionDef)
    assert body_lines(function) == 4
