"""gunicorn's files: its configuration, read but never executed, and the workers' progress records."""

from __future__ import annotations

import ast
import os
import re
import warnings
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from ops.collect.process.process_status import process_status
from ops.collect.process.start_time import start_ticks
from ops.facts.base import NotSeen
from ops.facts.gunicorn import ConfigValue, GunicornConfig, InFlight, ProgressRecord
from ops.files.bounded_read import read_regular_file
from ops.interpret.authority import may_name
from ops.interpret.judged_settings import without_private_value
from ops.text.sanitize import safe_line

# A syntax tree takes about 500 times its file's size in memory; gunicorn's own example, all comments, has 8 KiB.
MAX_CONFIG_BYTES = 64 << 10
MAX_VALUE_CHARS = 4096
MAX_VALUES_CHARS = 256 << 10
MAX_RECORD_BYTES = 1 << 20
MAX_RECORDS = 512
# Limit on directory entries read, in any order.
MAX_LISTED = 10_000
# Workers replace a record by rename; if one is torn all the same, try this many times.
READ_ATTEMPTS = 3
# NAME = NUMBER from the line's beginning, with a type and a comment or without.
_PLAIN = re.compile(rb"\w+[ \t]*(?::[ \t]*\w+[ \t]*)?=[ \t]*(?:\d[\d_]*|True|False)[ \t]*(?:#.*)?\r?")


def read_config(path: str) -> GunicornConfig | NotSeen:
    """Return the settings in gunicorn's configuration file, from its syntax alone."""
    try:
        read = read_regular_file(path, MAX_CONFIG_BYTES)
    except FileNotFoundError:
        return GunicornConfig(path=path, missing=True)
    except PermissionError:
        return NotSeen(reason=f"{path} may not be read", needs_root=True)
    except (OSError, ValueError) as error:
        return NotSeen(
            reason=safe_line(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}")
        )
    if not read.is_whole:
        return NotSeen(reason=safe_line(f"{path} is larger than {MAX_CONFIG_BYTES >> 10} KiB"))
    return parse_config(path, read.content)


def parse_config(path: str, content: bytes) -> GunicornConfig:
    """Return the names assigned at the top level of a gunicorn configuration file, with values that are not private."""
    try:
        with warnings.catch_warnings():
            # Python's warnings about the file's style are not ours to print.
            warnings.simplefilter("ignore")
            tree = ast.parse(content, filename=path)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) and error.lineno else ""
        message = error.msg if isinstance(error, SyntaxError) else str(error)
        return GunicornConfig(path=path, error=safe_line(f"{message}{line}"))
    reading = _GunicornReading()
    others: list[str] = []
    stars: list[str] = []
    lines = content.split(b"\n")
    for statement in _statements(tree.body):
        if isinstance(statement, ast.Assign | ast.AnnAssign) and statement.value is not None:
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            if names := [t.id for t in targets if isinstance(t, ast.Name)]:
                reading.assign(names, statement.value, statement.lineno, is_plain=_is_plain(lines, statement))
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
        assigned={name: without_private_value(name, value) for name, value in reading.assigned.items()},
        other_names=tuple(others),
        read_names=tuple(sorted(read)),
        star_imports=tuple(stars),
    )


def _is_plain(lines: Sequence[bytes], statement: ast.stmt) -> bool:
    """Whether a line editor can replace the value: all that follows the line's first ``=``. Lines end as sed's do."""
    begins = statement.col_offset == 0 and statement.lineno <= len(lines)
    return begins and bool(_PLAIN.fullmatch(lines[statement.lineno - 1]))


def _statements(body: list[ast.stmt]) -> list[ast.stmt]:
    """Return the module's statements, including those inside if/try/with/for/while: they bind module names too."""
    statements = []
    # A list, not recursion: a chain of elif is nested as deep as it is long.
    waiting = body[::-1]
    while waiting:
        statement = waiting.pop()
        statements.append(statement)
        if isinstance(statement, ast.If | ast.Try | ast.With | ast.For | ast.While):
            inner = [
                part for name in ("body", "orelse", "finalbody") for part in getattr(statement, name, [])
            ]
            inner += [part for handler in getattr(statement, "handlers", []) for part in handler.body]
            waiting += reversed(inner)
    return statements


class _GunicornReading:
    """The assignments of one file. A value that refers to others is as large as they are together, and names that
    double each other forty times would fill the memory. So no value may exceed `MAX_VALUE_CHARS`, nor all of them
    together `MAX_VALUES_CHARS`, as JSON."""

    def __init__(self) -> None:
        self.assigned: dict[str, ConfigValue] = {}
        self._sizes: dict[str, int] = {}
        self._left = 0
        self._left_of_all = MAX_VALUES_CHARS

    def assign(self, names: Sequence[str], node: ast.expr, line: int, *, is_plain: bool) -> None:
        """Bind ``names`` to the expression ``node``."""
        source, value, size = "(nested too deeply)", None, 0
        self._left = min(MAX_VALUE_CHARS, self._left_of_all)
        try:
            source = safe_line(ast.unparse(node), 120)
            value = self._evaluate(node)
            document = msgspec.json.encode(value)
            size = len(document)
            self._left_of_all -= size * len(names)
            # A value that does not survive the snapshot's JSON (inf, a lone surrogate) counts as unknown.
            is_known = self._left_of_all >= 0 and msgspec.json.decode(document) == value
        except (ValueError, TypeError, ArithmeticError, KeyError, RecursionError):
            is_known = False
        config_value = ConfigValue(
            line=line, known=is_known, value=value if is_known else None, source=source, is_plain=is_plain
        )
        for name in names:
            self.assigned[name] = config_value
            self._sizes[name] = size

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise ValueError("too large")

    def _evaluate(self, node: ast.expr) -> Any:
        """Return the value of an expression made of literals, earlier names, + - * //, f-strings, int(), str() and the
        processor count.

        Raises ValueError for everything else: nothing of the file is run."""
        match node:
            case ast.Constant(value=None | bool() | int() | float() | str() as value):
                self._take(len(value) if isinstance(value, str) else 1)
                return value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                self._take(1)
                return [self._evaluate(item) for item in items]
            case ast.Name(id=name) if name in self.assigned and self.assigned[name].known:
                self._take(self._sizes[name])
                return self.assigned[name].value
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -self._evaluate(operand)
            case ast.BinOp(
                left=left, op=ast.Add() | ast.Sub() | ast.Mult() | ast.FloorDiv() as op, right=right
            ):
                a, b = self._evaluate(left), self._evaluate(right)
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
                    str(self._evaluate(part.value if isinstance(part, ast.FormattedValue) else part))
                    for part in parts
                )
            case ast.Call(func=ast.Attribute(attr="cpu_count"), args=[]):
                return os.cpu_count() or 1
            case ast.Call(func=ast.Name(id="int" | "str" as kind), args=[argument]):
                value = self._evaluate(argument)
                return int(value) if kind == "int" else str(value)
        raise ValueError("needs to be run")


def read_progress(directory: str | None) -> tuple[ProgressRecord, ...] | NotSeen:
    """Return the workers' progress records. Read torn ones again; leave out records of processes that are gone."""
    if not directory:
        return NotSeen(
            reason="no directory of progress records is configured (app.progress_dir)", is_lasting=True
        )
    try:
        entries = islice(Path(directory).iterdir(), MAX_LISTED)
        names = sorted(path for path in entries if path.stem.isdigit() and path.suffix == ".json")
    except FileNotFoundError:
        return NotSeen(reason=f"{directory} does not exist")
    except PermissionError:
        return NotSeen(reason=f"{directory} may not be read", needs_root=True)
    except OSError as error:
        return NotSeen(reason=safe_line(f"{directory}: {error.strerror}"))
    records = (_read_record(path) for path in names[:MAX_RECORDS])
    return tuple(record for record in records if record is not None)


class _ProgressFile(msgspec.Struct):
    pid: int
    start_ticks: int
    phase: str
    completed: int
    last_completed: float | None = None
    in_flight: list[dict[str, Any]] = []
    beat: float | None = None


def _read_record(path: Path) -> ProgressRecord | None:
    for _ in range(READ_ATTEMPTS):
        try:
            read = read_regular_file(str(path), MAX_RECORD_BYTES)
            record = msgspec.json.decode(read.content, type=_ProgressFile)
            break
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        except (OSError, ValueError, RecursionError):
            return None
    else:
        return None
    if record.start_ticks != start_ticks(record.pid):
        return None
    # A worker writes its own record: another user's file about it is forged.
    status = process_status(record.pid)
    if status is None or not may_name(read.uid, status.uid, os.geteuid()):
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
            if isinstance(item.get("since"), int | float) and abs(item["since"]) < 1e12
        ),
        beat=record.beat if record.beat is not None and abs(record.beat) < 1e12 else None,
    )
