"""gunicorn's files: its configuration, read but never executed, and the workers' progress records."""

from __future__ import annotations

import ast
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from ops.collect.start_time import start_ticks
from ops.quoting import safe_line
from ops.snapshot import ConfigValue, GunicornConfig, InFlight, NotSeen, ProgressRecord

MAX_FILE_BYTES = 1 << 20
MAX_RECORDS = 512
# A record is replaced by rename; one that is torn all the same is read again this often.
READ_ATTEMPTS = 3


def read_config(path: str) -> GunicornConfig | NotSeen:
    """The settings in gunicorn's configuration file, by its syntax alone."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        return GunicornConfig(path=path, missing=True)
    except PermissionError:
        return NotSeen(reason=f"{path} may not be read", needs_root=True)
    except OSError as error:
        return NotSeen(reason=safe_line(f"{path} cannot be read: {error.strerror}"))
    return parse_config(path, content)


def parse_config(path: str, content: bytes) -> GunicornConfig:
    """Names and values assigned at the top level of a gunicorn configuration file."""
    try:
        tree = ast.parse(content, filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        return GunicornConfig(path=path, error=safe_line(f"{message}{line}"))
    assigned: dict[str, ConfigValue] = {}
    others: list[str] = []
    stars: list[str] = []
    for statement in _statements(tree.body):
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for name in (t.id for t in targets if isinstance(t, ast.Name)):
                assigned[name] = _value(statement.value, assigned, statement.lineno)
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            for alias in statement.names:
                if alias.name == "*":
                    stars.append(getattr(statement, "module", None) or "?")
                else:
                    others.append((alias.asname or alias.name).partition(".")[0])
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            others.append(statement.name)
        elif isinstance(statement, ast.For | ast.AugAssign) and isinstance(statement.target, ast.Name):
            others.append(statement.target.id)
    read = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
    return GunicornConfig(
        path=path,
        assigned=assigned,
        other_names=tuple(others),
        read_names=tuple(sorted(read)),
        star_imports=tuple(stars),
    )


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """The module's statements, those inside if/try/with/for included: they bind module names too."""
    found = []
    for statement in body:
        found.append(statement)
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            for part in ("body", "orelse", "finalbody"):
                found += _statements(getattr(statement, part, []))
            for handler in getattr(statement, "handlers", []):
                found += _statements(handler.body)
    return found


def _value(node: ast.expr, names: Mapping[str, ConfigValue], line: int) -> ConfigValue:
    source = "(nested too deeply)"
    try:
        source = safe_line(ast.unparse(node), 120)
        value = _evaluate(node, names)
        # What does not survive the snapshot's JSON (inf, a lone surrogate) is not known.
        known = msgspec.json.decode(msgspec.json.encode(value)) == value
    except (ValueError, TypeError, ArithmeticError, KeyError, RecursionError):
        known = False
    return ConfigValue(line=line, known=known, value=value if known else None, source=source)


def _evaluate(node: ast.expr, names: Mapping[str, ConfigValue]) -> Any:
    """The value of an expression made of literals, earlier names, + - * //, f-strings and the processor count.

    Raises ValueError for everything else: nothing of the file is run."""
    match node:
        case ast.Constant(value=None | bool() | int() | float() | str() as value):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate(item, names) for item in items]
        case ast.Name(id=name) if name in names and names[name].known:
            return names[name].value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, names)
        case ast.BinOp(left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() as op, right=right):
            a, b = _evaluate(left, names), _evaluate(right, names)
            if isinstance(a, str) and isinstance(b, str) and isinstance(op, ast.Add):
                return a + b
            if not all(isinstance(x, int | float) and abs(x) < 1e9 for x in (a, b)):
                raise ValueError("not arithmetic on plain numbers")
            match op:
                case ast.Add():
                    return a + b
                case ast.Sub():
                    return a - b
                case ast.Mult():
                    return a * b
                case _:
                    return a // b
        case ast.JoinedStr(values=parts):
            return "".join(
                str(_evaluate(part.value if isinstance(part, ast.FormattedValue) else part, names))
                for part in parts
            )
        case ast.Call(func=ast.Attribute(attr="cpu_count"), args=[]):
            return os.cpu_count() or 1
        case ast.Call(func=ast.Name(id="int" | "str" as kind), args=[argument]):
            value = _evaluate(argument, names)
            return int(value) if kind == "int" else str(value)
    raise ValueError("needs to be run")


def read_progress(directory: str | None) -> tuple[ProgressRecord, ...] | NotSeen:
    """The workers' progress records; torn ones are read again, records of processes that are gone are left out."""
    if not directory:
        return NotSeen(reason="no directory of progress records is configured (app.progress_dir)")
    try:
        names = sorted(
            path for path in Path(directory).iterdir() if path.stem.isdigit() and path.suffix == ".json"
        )
    except FileNotFoundError:
        return NotSeen(reason=f"{directory} does not exist")
    except PermissionError:
        return NotSeen(reason=f"{directory} may not be read", needs_root=True)
    except OSError as error:
        return NotSeen(reason=safe_line(f"{directory}: {error.strerror}"))
    records = (_read_record(path) for path in names[:MAX_RECORDS])
    return tuple(record for record in records if record is not None)


class _Record(msgspec.Struct):
    pid: int
    start_ticks: int
    phase: str
    completed: int
    last_completed: float | None = None
    in_flight: list[dict[str, Any]] = []


def _read_record(path: Path) -> ProgressRecord | None:
    for _ in range(READ_ATTEMPTS):
        try:
            with path.open("rb") as file:
                record = msgspec.json.decode(file.read(MAX_FILE_BYTES), type=_Record)
            break
        except OSError:
            return None
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    else:
        return None
    if record.start_ticks != start_ticks(record.pid):
        return None
    return ProgressRecord(
        pid=record.pid,
        start_ticks=record.start_ticks,
        phase=safe_line(record.phase, 20),
        completed=record.completed,
        last_completed=record.last_completed,
        in_flight=tuple(
            InFlight(path=safe_line(str(item.get("path", "")), 200), since=float(item["since"]))
            for item in record.in_flight[:256]
            if isinstance(item.get("since"), int | float)
        ),
    )
