"""The files that nginx could not open to serve: the permissions on each path, and another place that may be meant."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from ops.collect.services.model_access import reader_of, walk
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep
from ops.facts.logs import Log, LogEntry
from ops.facts.traffic import NO_INDEX, UnservedFile
from ops.files.presence import is_directory, is_file
from ops.interpret.nginx_error_line import about_request, message

MAX_FILES = 6
MAX_PARTS = 12
# ngx_http_static_module: a file that does not exist, or that nginx's workers may not read.
_UNSERVED = re.compile(r'open\(\) "(/[^"]{1,1000})" failed \((2|13): ')
# ngx_http_autoindex_module, ngx_http_index_module: a directory without an index page.
_NO_INDEX = re.compile(r'(?:directory index of )"(/[^"]{0,1000}/)" is (forbidden)')
_INDEX = ("index.html", "index.htm")
# Where programs put the pages that they build (MkDocs, Sphinx, Vite, Hugo and their like).
_BUILT = ("dist", "build", "html", "public", "site", "out", "www", "_build/html", "build/html")
MAX_LISTED = 200
_REQUEST = re.compile(r'request: "([A-Z]{1,20}) ([^ "?]{0,1000})')


def unserved_files(logs: dict[str, Log | NotSeen], workers: Iterable[int]) -> tuple[UnservedFile, ...]:
    """The unserved files, one for each directory and error, the newest first. ``workers``: nginx's pids; one of them
    shows their user."""
    newest: dict[tuple[str, str], tuple[re.Match[str], str, LogEntry, int]] = {}
    for log_path, log in logs.items():
        for entry in log.entries if isinstance(log, Log) else ():
            words = message(entry.text) if entry.level == "error" else ""
            match = _UNSERVED.match(words) or _NO_INDEX.match(words)
            if match is None:
                continue
            key = (match[1].rpartition("/")[0], match[2])
            count = newest[key][3] if key in newest else 0
            if count == 0 or entry.time >= newest[key][2].time:
                newest[key] = (match, log_path, entry, count + 1)
    if not newest:
        return ()
    items = sorted(newest.values(), key=lambda item: item[2].time, reverse=True)[:MAX_FILES]
    reader = next(filter(None, map(reader_of, workers)), None)
    return tuple(_looked_at(*item, reader) for item in items)


def _looked_at(match: re.Match[str], log: str, entry: LogEntry, count: int, reader: object) -> UnservedFile:
    from ops.facts.files import Reader

    path, error = match[1], int(match[2]) if match[2].isdecimal() else NO_INDEX
    request = _REQUEST.search(about_request(entry.text))
    steps: dict[str, AccessStep] = {}
    complete = walk(Path(path), steps) if error == errno.EACCES else True
    is_there = is_file(path)
    lies_at = (
        _built_below(path)
        if error == NO_INDEX
        else ""
        if error != errno.ENOENT or is_there
        else next(filter(is_file, _readings(path, request[2] if request else "")), "")
    )
    return UnservedFile(
        path=path,
        error=error,
        request=f"{request[1]} {request[2]}" if request else "",
        entry=entry.text,
        log=log,
        count=count,
        last=entry.time,
        steps=tuple(steps.values()),
        complete=complete,
        reader=reader if isinstance(reader, Reader) else None,
        lies_at=lies_at,
        is_there=is_there,
    )


def _built_below(directory: str) -> str:
    """The one index page that nginx might have been meant to send for ``directory``: in a directory below where pages
    are built, or the only one below; or of another ending. Empty if none, or several, might be."""
    above = Path(directory)
    try:
        entries = [path for _, path in zip(range(MAX_LISTED), above.iterdir(), strict=False)]
    except (OSError, ValueError):
        return ""
    places = [above, *(above / name for name in _BUILT)]
    if len(entries) == 1 and is_directory(entries[0]):
        places.append(entries[0])
    found = [
        str(place / name) for place in dict.fromkeys(places) for name in _INDEX if is_file(str(place / name))
    ]
    return found[0] if len(found) == 1 else ""


def _readings(path: str, request_path: str) -> Iterator[str]:
    """The paths that may have been meant if alias and root were confused (ngx_http_core_module): ``path`` with a slash
    added between two joined directory names, with one directory removed, and with the whole path ``request_path``."""
    parts = PurePosixPath(path).parts[1:]
    if not 2 <= len(parts) <= MAX_PARTS:
        return
    for at, part in enumerate(parts):
        for cut in range(len(part) - 1, 0, -1):
            if is_directory(Path("/", *parts[:at], part[:cut])):
                yield "/" + "/".join((*parts[:at], part[:cut], part[cut:], *parts[at + 1 :]))
                break
    for at in range(1, len(parts) - 1):
        yield "/" + "/".join((*parts[:at], *parts[at + 1 :]))
    plain = PurePosixPath(request_path).parts[1:]
    if plain and ".." not in plain and plain[-1] == parts[-1]:
        for at in range(1, len(parts)):
            yield "/" + "/".join((*parts[:at], *plain))
