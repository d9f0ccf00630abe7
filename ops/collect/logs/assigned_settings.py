"""Read what Python sources give a setting, wherever they assign it: as a name, an attribute, a key, an argument.

The source is parsed, never run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from typing import NamedTuple

# Of a call, what reads a setting and does not give it a value.
_READS = ("get", "pop", "index", "startswith", "getattr", "hasattr")


class Assignment(NamedTuple):
    """A setting's assignment: its name, its line, and its value; None if that is not written out."""

    name: str
    line: int
    value: object


def assignments(text: str, wanted: re.Pattern[str]) -> tuple[Assignment, ...]:
    """Return the assignments of the settings whose whole names match; none if the source cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return ()
    found = (
        Assignment(name, line, _written_out(value))
        for node in ast.walk(tree)
        for name, line, value in _given_by(node)
        if wanted.fullmatch(name)
    )
    return tuple(sorted(found, key=lambda assignment: assignment.line))


def _given_by(node: ast.AST) -> Iterator[tuple[str, int, ast.expr | None]]:
    """Yield the names that a node gives a value, with the value; None for one that is not written beside it."""
    match node:
        case ast.Assign():
            for target in node.targets:
                if isinstance(target, ast.Tuple | ast.List):
                    yield from ((_name_of(each), each.lineno, None) for each in target.elts)
                else:
                    yield _name_of(target), target.lineno, node.value
        case ast.AnnAssign(value=ast.expr()):
            yield _name_of(node.target), node.lineno, node.value
        case ast.AugAssign():
            yield _name_of(node.target), node.lineno, None
        case ast.Dict():
            for key, value in zip(node.keys, node.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield key.value, key.lineno, value
        case ast.keyword(arg=str()):
            yield node.arg or "", node.value.lineno, node.value
        case ast.Call():
            # setattr(x, NAME, y), headers.set(NAME, y), os.environ.get(NAME): it has a value that is not seen here.
            if _called(node.func) not in _READS or "environ" in ast.dump(node.func):
                for each in node.args:
                    if isinstance(each, ast.Constant) and isinstance(each.value, str):
                        yield each.value, each.lineno, None
        case ast.Subscript(ctx=ast.Load(), value=ast.Attribute(attr="environ")):
            yield _name_of(node), node.lineno, None


def _name_of(target: ast.expr) -> str:
    match target:
        case ast.Name():
            return target.id
        case ast.Attribute():
            return target.attr
        case ast.Subscript(slice=ast.Constant(value=str() as key)):
            return key
    return ""


def _called(function: ast.expr) -> str:
    return _name_of(function) if isinstance(function, ast.Name | ast.Attribute) else ""


def _written_out(value: ast.expr | None) -> object:
    return value.value if isinstance(value, ast.Constant) else None
