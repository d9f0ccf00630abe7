"""Find the module that Python could not read: its traceback ends at the statement that imports it."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.files.bounded_read import read_regular_file
from ops.files.presence import is_there
from ops.text.sanitize import safe_line

MAX_SOURCE_BYTES = 1 << 20
MAX_MODULES = 20
_FRAME = re.compile(r'^[ \t]*File "(/[^"]{1,1000})", line (\d{1,9})', re.MULTILINE)
_PACKAGES = re.compile(r"(?<=\")/[^\"\n]{1,400}/(?:site|dist)-packages(?=/)")
# CPython, import.c, marshal.c, importlib/_bootstrap_external.py.
_DAMAGED = re.compile(r"null bytes|bad marshal data|marshal data too short|bad magic number in")


def damaged_modules(app_dir: str, output: str) -> tuple[str, ...]:
    """The files that the last traceback's last statement imports and that are damaged: sources with null bytes, else
    directories of compiled files, if the message is about these. Empty if the output says nothing of the kind."""
    messages = list(_DAMAGED.finditer(output))
    frames = _FRAME.findall(output[: messages[-1].start()]) if messages else []
    if not frames:
        return ()
    path, line = frames[-1]
    roots = [Path(path).parent, Path(app_dir), *map(Path, dict.fromkeys(_PACKAGES.findall(output)))]
    files = [file for name in _imported(path, int(line)) for file in _files(name, roots)]
    if messages[-1][0] == "null bytes":
        found: Iterable[Path] = filter(_has_null_bytes, files)
    else:
        found = (file.parent / "__pycache__" for file in files if is_there(file.parent / "__pycache__"))
    return tuple(safe_line(str(place), 1000) for place in dict.fromkeys(found))[:MAX_MODULES]


def _imported(path: str, line: int) -> Iterator[str]:
    """Yield the modules that the statement at a line imports, as paths without ``.py``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(read_regular_file(path, MAX_SOURCE_BYTES).content)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return
    for node in ast.walk(tree):
        if not isinstance(node, ast.Import | ast.ImportFrom):
            continue
        if not node.lineno <= line <= (node.end_lineno or node.lineno):
            continue
        base = (node.module or "").replace(".", "/") if isinstance(node, ast.ImportFrom) else ""
        parts = base.split("/") if base else []
        yield from ("/".join(parts[: number + 1]) for number in range(len(parts)))
        for name in node.names:
            words = [*parts, *name.name.split(".")]
            yield from ("/".join(words[: number + 1]) for number in range(len(parts), len(words)))


def _files(name: str, roots: Iterable[Path]) -> Iterator[Path]:
    for root in roots:
        for candidate in (root / f"{name}.py", root / name / "__init__.py"):
            if is_there(candidate):
                yield candidate


def _has_null_bytes(file: Path) -> bool:
    try:
        return b"\0" in read_regular_file(str(file), MAX_SOURCE_BYTES).content
    except (OSError, ValueError):
        return False
