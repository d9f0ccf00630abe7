"""The files whose code the service runs, their modification times, and the memory its workers hold."""

from __future__ import annotations

import ast
from pathlib import Path

import psutil

from ops.facts.files import Application, SourceFile
from ops.facts.machine import Footprint
from ops.facts.target import Target
from ops.files.bounded_read import read_regular_file
from ops.files.presence import is_file
from ops.text.sanitize import safe_line

MAX_MODULES = 300
MAX_SOURCE_BYTES = 1 << 20
KEPT = 20


def application(target: Target, wsgi: str) -> Application:
    """Return gunicorn's configuration file, and the application's module with all it imports from its own directory.

    ``wsgi``: gunicorn's argument, ``package.module:name``. Modules imported from elsewhere do not count as the
    application's, nor does a script beside it that nothing imports."""
    root = Path(target.app_dir)
    files: dict[Path, SourceFile] = {}
    waiting = [wsgi.partition(":")[0]]
    names = set(waiting)
    while waiting and len(files) < MAX_MODULES:
        module = waiting.pop()
        for path in _files_of(root, module):
            if path in files:
                continue
            try:
                source = read_regular_file(str(path), MAX_SOURCE_BYTES)
            except (OSError, ValueError):
                continue
            files[path] = SourceFile(path=safe_line(str(path), 1000), modified=source.modified)
            package = module if path.name == "__init__.py" else module.rpartition(".")[0]
            for name in _imported(source.content, package) - names:
                names.add(name)
                waiting.append(name)
    newest = sorted(files.values(), key=lambda file: -file.modified)[:KEPT]
    return Application(config=_seen(target.gunicorn_config_file), modules=tuple(newest))


def _seen(path: str | None) -> SourceFile | None:
    try:
        return SourceFile(path=path, modified=Path(path).stat().st_mtime) if path else None
    except (OSError, ValueError):
        return None


def _files_of(root: Path, module: str) -> list[Path]:
    """Return the files that ``import module`` runs: its own, and the ``__init__.py`` of each package around it."""
    parts = [part for part in module.split(".") if part.isidentifier()]
    if not parts or len(parts) != len(module.split(".")):
        return []
    places = [root.joinpath(*parts[: depth + 1]) / "__init__.py" for depth in range(len(parts))]
    return [path for path in (*places, root.joinpath(*parts).with_suffix(".py")) if is_file(path)]


def _imported(source: bytes, package: str) -> set[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".") if package else []
            packages = above[: len(above) - node.level + 1] if node.level else []
            base = ".".join([*packages, *([node.module] if node.module else [])])
            names.update(filter(None, (base, *(f"{base}.{a.name}".lstrip(".") for a in node.names))))
    return names


def footprint(target: Target) -> Footprint:
    """Return the machine's available memory and each worker's private memory (USS), in bytes."""
    private: dict[int, int] = {}
    for pid in target.gunicorn_workers:
        try:
            private[pid] = int(psutil.Process(pid).memory_full_info().uss)
        except psutil.Error:
            continue
    return Footprint(available=int(psutil.virtual_memory().available), private=private)
