"""The log files, current or rotated, that nginx's and gunicorn's processes have open for writing."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from ops.facts.base import NotSeen
from ops.facts.safeguards import LogFile, OpenLog

MAX_DESCRIPTORS = 4096
DELETED = " (deleted)"
# A rotation renames the file before it signals the processes: a state seen twice, this far apart, is not transient.
SETTLE_SECONDS = 0.4


def open_logs(pids: Iterable[int], logs: Iterable[LogFile], deadline: float) -> tuple[OpenLog, ...] | NotSeen:
    """Every file open for writing that is one of ``logs``, or was before it was renamed or removed.

    Renamed or removed files are checked twice. NotSeen if permission was denied and nothing was found."""
    processes, names = tuple(pids), tuple(log.resolved for log in logs)
    items, is_refused = _look(processes, names)
    if any(item.deleted or item.path not in names for item in items):
        time.sleep(max(0.0, min(SETTLE_SECONDS, deadline - time.monotonic())))
        again = {(item.pid, item.path, item.deleted) for item in _look(processes, names)[0]}
        items = [item for item in items if (item.pid, item.path, item.deleted) in again]
    if is_refused and not items:
        return NotSeen(reason="the open files of nginx or gunicorn may not be read", needs_root=True)
    return tuple(items)


def _look(pids: tuple[int, ...], names: tuple[str, ...]) -> tuple[list[OpenLog], bool]:
    items: dict[OpenLog, None] = {}
    is_refused = False
    for pid in pids:
        try:
            for item in _of_process(pid, names):
                items[item] = None
        except PermissionError:
            is_refused = True
        except OSError:  # the process ended meanwhile
            continue
    return list(items), is_refused


def _of_process(pid: int, names: tuple[str, ...]) -> Iterator[OpenLog]:
    folder = Path(f"/proc/{pid}/fd")
    for entry in sorted(os.listdir(folder))[:MAX_DESCRIPTORS]:  # noqa: PTH208  only names
        try:
            link = os.readlink(folder / entry)  # noqa: PTH115  not a path: it may end in " (deleted)"
        except FileNotFoundError:
            continue
        path = link.removesuffix(DELETED)
        if not any(path == name or path.startswith((f"{name}.", f"{name}-")) for name in names):
            continue
        try:
            status = os.stat(folder / entry)  # noqa: PTH116  follows the descriptor, not the path
            flags = (folder.parent / "fdinfo" / entry).read_text()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(status.st_mode) and is_writing(flags):
            yield OpenLog(pid=pid, path=path, deleted=link.endswith(DELETED), size=status.st_size)


def is_writing(fdinfo: str) -> bool:
    """Whether the descriptor may be written to (proc(5), fdinfo: flags in octal)."""
    flags = next((line.split()[1] for line in fdinfo.splitlines() if line.startswith("flags:")), "0")
    return int(flags, 8) & os.O_ACCMODE != os.O_RDONLY
