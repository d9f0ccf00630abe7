"""The application's own log files: those that the service's workers have open for writing."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.collect.logs.lines import MAX_BYTES
from ops.collect.logs.open_logs import MAX_DESCRIPTORS, is_writing
from ops.collect.logs.tail import LogTail
from ops.facts.logs import Log, LogEntry

MAX_LOGS = 3
MAX_WORKERS = 2
_NAMED_AS_LOG = re.compile(r"\.(?:log|out|err|txt|jsonl?)(?:[.-]\d+)?$|(?:^|/)(?:log|stdout|stderr)[^/]*$")
_STREAMS = ("1", "2")
_BEGINS = b"Traceback (most recent call last):"
_MAX_LINES, _MAX_TRACEBACKS = 120, 4
# Exceptions that frameworks raise as answers (404 and the like), not failures.
_ANSWERS = (
    b"werkzeug.exceptions.",
    b"starlette.exceptions.",
    b"fastapi.exceptions.",
    b"django.http.response.",
)


def application_logs(
    workers: Iterable[int], other_logs: Iterable[str], since: float, now: float, failed_at: float
) -> tuple[Log, ...]:
    """The logs of ``workers``, except ``other_logs``, that were written to after ``since``; the newest first.

    ``failed_at``: the time of the last failed request. All times are Unix seconds."""
    passed_over = {os.path.realpath(path) for path in other_logs if path}
    logs: dict[str, tuple[float, int]] = {}
    for pid in list(workers)[:MAX_WORKERS]:
        for path, modified, user in _open_files(pid):
            if path not in passed_over and modified >= since:
                logs.setdefault(path, (modified, user))
    newest = sorted(logs.items(), key=lambda item: item[1][0], reverse=True)[:MAX_LOGS]
    return tuple(
        log for path, (_, user) in newest if (log := _read(path, user, (since, now, failed_at))) is not None
    )


def _open_files(pid: int) -> Iterator[tuple[str, float, int]]:
    folder = Path(f"/proc/{pid}/fd")
    try:
        user = folder.parent.stat().st_uid
        names = sorted(os.listdir(folder))[:MAX_DESCRIPTORS]  # noqa: PTH208  only names
    except OSError:
        return
    for name in names:
        try:
            link = os.readlink(folder / name)  # noqa: PTH115  not a path: it may end in " (deleted)"
            if not link.startswith("/") or link.endswith(" (deleted)"):
                continue
            status = (folder / name).stat()
            flags = (folder.parent / "fdinfo" / name).read_text()
        except OSError:
            continue
        is_log = name in _STREAMS or _NAMED_AS_LOG.search(link) is not None
        if is_log and stat.S_ISREG(status.st_mode) and is_writing(flags):
            yield link, status.st_mtime, user


def _read(path: str, user: int, times: tuple[float, float, float]) -> Log | None:
    since, now, failed_at = times
    from ops.collect.logs.service_logs import error_log
    from ops.interpret.log_place import LogLocation, LogPlaceKind

    log = error_log(LogLocation(LogPlaceKind.FILE, path, user), since, now, "gunicorn")
    if isinstance(log, Log):
        return log
    return _untimed(path, user, since, failed_at)


def _untimed(path: str, user: int, since: float, failed_at: float) -> Log | None:
    """Read a file whose lines have no times: the newest traceback of each exception, dated to the last failed request,
    or to the file's last write if that is earlier. None without tracebacks."""
    blocks: dict[bytes, list[bytes]] = {}
    block: list[bytes] = []
    try:
        tail = LogTail(path, since, MAX_BYTES, user)
        for line in tail.lines():
            block.append(line)
            if line.startswith(_BEGINS):
                blocks.setdefault(_exception(block), block[:-1])
                block = []
            if len(block) >= _MAX_LINES or len(blocks) >= _MAX_TRACEBACKS:
                break
    except (OSError, ValueError):
        return None
    from ops.collect.logs.service_logs import entry_text

    time = min(tail.modified, failed_at)
    entries = tuple(
        LogEntry(
            time=time,
            level="error",
            pid=None,
            text=entry_text(_BEGINS, [line for line in reversed(lines) if line.strip()]),
        )
        for raised, lines in reversed(blocks.items())
        if raised and not raised.startswith(_ANSWERS)
    )
    return (
        Log(path=path, size=tail.size, modified=tail.modified, entries=entries, complete=False)
        if entries
        else None
    )


def _exception(block: list[bytes]) -> bytes:
    """The line that names the exception, in a block of lines ordered newest first."""
    return next((line for line in block if line.strip() and not line.startswith((b" ", _BEGINS))), b"")
