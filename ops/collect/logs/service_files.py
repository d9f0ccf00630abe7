"""The files that the application could not use, from its exceptions, and the current permissions on their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.collect.logs.refused_files import with_way
from ops.collect.services.model_access import reader_of
from ops.facts.base import NotSeen
from ops.facts.logs import Log, LogEntry
from ops.facts.target import Target
from ops.facts.traffic import RefusedFile
from ops.files.bounded_read import read_regular_file
from ops.interpret.tracebacks import refusal_in
from ops.text.sanitize import safe_line

MAX_FILES = 6
MAX_SOURCE_BYTES = 256 * 1024
MAX_ENTRIES = 300
_FRAME = re.compile(r'File "([^"]{1,500}\.py)", line \d+')
# A database file as an application names it: a path or SQLAlchemy's URL.
_LITERAL = re.compile(
    rb"""['"](?:sqlite(?:\+\w+)?:///)?([^'"\n\x00]{1,300}?\.(?:db3?|sqlite3?))(?:\?[^'"\n]*)?['"]"""
)
_SUFFIXES = (".db", ".db3", ".sqlite", ".sqlite3")
# Directories below the application in which a database may be: Flask's instance folder, and common names.
_BESIDE = ("", "instance", "data", "db", "var")


def service_files(log: Log | NotSeen, target: Target) -> tuple[RefusedFile, ...]:
    """The files of the newest exception of each kind; for SQLite, which names no file, the candidates."""
    newest: dict[str, tuple[LogEntry, int]] = {}
    for entry in log.entries if isinstance(log, Log) else ():
        refusal = refusal_in(entry.text)
        if refusal is not None:
            newest[refusal.exception] = (entry, newest.get(refusal.exception, (entry, 0))[1] + 1)
    if not newest or not isinstance(log, Log):
        return ()
    pids = (*target.gunicorn_workers, *((target.gunicorn_master,) if target.gunicorn_master else ()))
    reader = next(filter(None, map(reader_of, pids)), None)
    files: list[RefusedFile] = []
    for entry, count in reversed(list(newest.values())):
        refusal = refusal_in(entry.text)
        if refusal is None:
            continue
        paths = (refusal.path,) if refusal.path else tuple(_databases(entry.text, target, pids))
        for path in paths[: MAX_FILES - len(files)]:
            directory = _working_directory(pids) or target.app_dir or "/"
            absolute = os.path.normpath(Path(directory, path))
            file = RefusedFile(
                path=safe_line(absolute, 1000),
                error=refusal.error,
                entry=refusal.exception,
                log=log.path,
                count=count,
                last=entry.time,
                steps=(),
                reader=reader,
                working_directory="" if path.startswith("/") else safe_line(directory, 1000),
                lies_at=_lies_at(path, absolute, target),
            )
            files.append(with_way(file, absolute))
    return tuple(files)


def _working_directory(pids: Iterable[int]) -> str | None:
    """The directory in which the service looks for a relative path; None if it may not be seen."""
    for pid in pids:
        try:
            return os.readlink(f"/proc/{pid}/cwd")  # noqa: PTH115
        except OSError:
            continue
    return None


def _lies_at(path: str, absolute: str, target: Target) -> str:
    """Where a relative path is below the application's directory; empty if it is not, or where it was looked for."""
    if path.startswith("/") or not target.app_dir or os.path.lexists(absolute):
        return ""
    beside = os.path.normpath(Path(target.app_dir, path))
    return safe_line(beside, 1000) if os.path.lexists(beside) else ""


def _databases(text: str, target: Target, pids: Iterable[int]) -> Iterator[str]:
    """The SQLite files that the application may mean, the likeliest first: those named in the source files of the
    traceback, those that its workers have open, those in its directories."""
    places = [Path(target.app_dir, name) for name in _BESIDE] if target.app_dir else []
    candidates: dict[str, None] = {}
    literal: set[str] = set()
    for source in dict.fromkeys(reversed(_FRAME.findall(text))):
        if target.app_dir and _is_below(source, target.app_dir):
            for name in _named_in(source):
                literal.add(name)
                candidates.update(dict.fromkeys(str(place / name) for place in places or [Path("/")]))
    for pid in pids:
        candidates.update(dict.fromkeys(_open_databases(pid)))
    for place in places:
        candidates.update(dict.fromkeys(_lying_in(place)))
    for path in candidates:
        if path in literal or os.path.lexists(path):
            yield path


def _is_below(path: str, directory: str) -> bool:
    return os.path.normpath(path).startswith(os.path.normpath(directory).rstrip("/") + "/")


def _named_in(source: str) -> list[str]:
    try:
        content = read_regular_file(source, MAX_SOURCE_BYTES).content
    except (OSError, ValueError):
        return []
    return [name.decode("utf-8", "replace") for name in _LITERAL.findall(content)]


def _open_databases(pid: int) -> Iterator[str]:
    try:
        with os.scandir(f"/proc/{pid}/fd") as entries:
            links = [os.readlink(entry.path) for _, entry in zip(range(MAX_ENTRIES), entries, strict=False)]  # noqa: PTH115
    except OSError:
        return
    # Libraries keep databases of their own among the user's caches (XDG Base Directory Specification).
    yield from (link for link in links if link.endswith(_SUFFIXES) and "/.cache/" not in link)


def _lying_in(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return [
                entry.path
                for _, entry in zip(range(MAX_ENTRIES), entries, strict=False)
                if entry.name.endswith(_SUFFIXES)
            ]
    except OSError:
        return []
