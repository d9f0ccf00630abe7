"""The files and sockets that nginx was refused, from its error logs, and the current permissions on their paths."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ops.collect.services.model_access import reader_of, walk
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep
from ops.facts.logs import Log, LogEntry
from ops.facts.traffic import RefusedFile
from ops.interpret.nginx_error_line import message

MAX_DIRECTORIES = 4
# ngx_open_tempfile, ngx_create_full_path, ngx_ext_rename_file: a worker writes a body too large for memory to a file.
_REFUSED = re.compile(
    r'(?:open|mkdir|rename)\(\) "([^"]{1,1000})"(?: to "[^"]{1,1000}")? failed \((\d{1,3}): '
)
_LEVELS = ("crit", "alert")
_REFUSED_SOCKET = re.compile(r"connect\(\) to unix:(/\S{1,1000}) failed \((\d{1,3}): ")
EACCES = 13


def refused_files(logs: dict[str, Log | NotSeen], workers: Iterable[int]) -> tuple[RefusedFile, ...]:
    """The refused files, one for each directory and error. ``workers``: nginx's pids; one of them shows their user."""
    newest: dict[tuple[str, int], tuple[str, str, LogEntry, int]] = {}
    for log_path, log in logs.items():
        for entry in log.entries if isinstance(log, Log) else ():
            match = _REFUSED.match(message(entry.text)) if entry.level in _LEVELS else None
            if match is None or not match[1].startswith("/"):
                continue
            key = (os.path.dirname(match[1]), int(match[2]))  # noqa: PTH120  text from a log
            count = newest[key][3] if key in newest else 0
            if count == 0 or entry.time >= newest[key][2].time:
                newest[key] = (match[1], log_path, entry, count + 1)
    if not newest:
        return ()
    reader = next(filter(None, map(reader_of, workers)), None)
    files: list[RefusedFile] = []
    for (directory, error), (path, log_path, entry, count) in list(newest.items())[:MAX_DIRECTORIES]:
        refusal = RefusedFile(
            path=path,
            error=error,
            entry=entry.text,
            log=log_path,
            count=count,
            last=entry.time,
            steps=(),
            reader=reader,
        )
        files.append(with_way(refusal, directory))
    return tuple(files)


def refused_socket(logs: dict[str, Log | NotSeen], workers: Iterable[int]) -> RefusedFile | None:
    """The unix socket that nginx's workers were last denied, with the way to it; None if none was."""
    denied = [
        (entry, match, path)
        for path, log in logs.items()
        for entry in (log.entries if isinstance(log, Log) else ())
        if (match := _REFUSED_SOCKET.match(message(entry.text))) is not None and int(match[2]) == EACCES
    ]
    if not denied:
        return None
    entry, match, log_path = max(denied, key=lambda item: item[0].time)
    refusal = RefusedFile(
        path=match[1],
        error=EACCES,
        entry=entry.text,
        log=log_path,
        count=len(denied),
        last=entry.time,
        steps=(),
        reader=next(filter(None, map(reader_of, workers)), None),
    )
    return with_way(refusal, match[1])


def with_way(refusal: RefusedFile, place: str) -> RefusedFile:
    """``refusal`` with the steps of the way to ``place``, and the first of them that does not exist."""
    steps: dict[str, AccessStep] = {}
    complete = walk(Path(place), steps)
    return msgspec.structs.replace(
        refusal, steps=tuple(steps.values()), missing=_first_missing(place), complete=complete
    )


def _first_missing(directory: str) -> str | None:
    for place in (*reversed(Path(directory).parents), Path(directory)):
        try:
            place.lstat()
        except FileNotFoundError:
            return str(place)
        except (OSError, ValueError):
            return None
    return None
