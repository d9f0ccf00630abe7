"""The progress records of this gunicorn's workers: this process's own, and those of the others, read from their files.

``gte_progress`` keeps and writes a record; gunicorn's request hooks (``gunicorn_conf.py``) tell it what happens.
The doctor and the watchdog read the files; ``/ready`` and ``/metrics`` use the same facts.
"""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gte_progress import Phase, Progress, Record, Request, process_facts, remove

__all__ = [
    "Phase",
    "Progress",
    "Record",
    "Request",
    "current",
    "process_facts",
    "read",
    "read_all",
    "remove",
    "siblings",
    "start",
]

_log = logging.getLogger("service")


def read(path: Path) -> Record | None:
    """The record at ``path``, or None if there is none, it stays torn, or its process is gone.

    The file of a process that is gone, or whose pid now belongs to another process, is removed.
    """
    for _ in range(10):
        try:
            content = path.read_bytes()
            # Read during a write, digits of two states can still be valid JSON; but they do not come twice.
            if path.read_bytes() != content:
                continue
            record = Record.from_json(content)
        except OSError:
            return None
        except ValueError:
            continue
        facts = process_facts(record.pid)
        if facts is None or facts.start_ticks != record.start_ticks:
            remove(path)
            return None
        return record
    return None


def read_all(directory: Path) -> list[Record]:
    """The records of all live workers in ``directory``, by pid; those of dead ones are removed."""
    try:
        paths = sorted(path for path in directory.glob("*.json") if path.stem.isdigit())
    except OSError:
        return []
    return [record for record in map(read, paths) if record is not None]


def siblings(records: Iterable[Record], parent: int) -> list[Record]:
    """Those of ``records`` whose process is a child of ``parent``: the workers of one gunicorn master."""
    children = []
    for record in records:
        facts = process_facts(record.pid)
        if facts is not None and facts.parent == parent:
            children.append(record)
    return children


class _Current:
    """The record of this worker process, once gunicorn has forked it."""

    progress: Progress | None = None


def start(directory: Path, **options: Any) -> Progress:
    """Begin this process's record; ``current`` returns it from now on."""
    _Current.progress = Progress(directory, log=_log, **options).start()
    return _Current.progress


def current() -> Progress | None:
    """This process's record, or None if the application runs without our gunicorn configuration."""
    return _Current.progress
