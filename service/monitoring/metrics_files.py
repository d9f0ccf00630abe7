"""The files in which worker processes keep their counts for Prometheus, and how their number stays small.

``prometheus_client`` gives every process its own files (``counter_PID.db``, ``histogram_PID.db``), adds up those of all
processes, dead ones included, and never removes any: each renewed worker would leave two more, and a scrape reads them
all. So the counts of a dead process are folded into one pair of files for all dead processes (pid 0), and its own files
are removed, its gauges with them.

A scrape during a fold would count a worker twice or not at all, and a falling counter looks to Prometheus like a
restart. Hence the lock (flock(2)), with short waits: the gunicorn master must never hang on a worker that is stopped
during a scrape, so it leaves the files for the next time; a scrape reads without the lock after ``_PATIENCE``.
"""

import fcntl
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_log = logging.getLogger("service")

_LOCK = "lock"
# Kinds of files whose values can be added up across processes; the others are gauges.
_ADDED_UP = ("counter", "histogram", "summary")
_OF_THE_DEAD = 0  # no process has this pid
_PATIENCE = 2.0  # seconds that a scrape waits for a fold, which takes milliseconds
_SHORT_PATIENCE = 0.05  # seconds that the master waits for scrapes
_LOOK_AGAIN = 0.005


def fold(directory: Path) -> bool:
    """Add the counts of dead processes to the files for pid 0, and remove their own files.

    Returns False if scrapes kept the directory busy; then the next call does it. The master calls this whenever a
    worker has ended.

    Raises:
        OSError: the directory cannot be written.
    """
    with _locked(directory, fcntl.LOCK_EX, _SHORT_PATIENCE) as is_locked:
        if is_locked:
            for kind in _ADDED_UP:
                _fold_kind(directory, kind)
            for path in directory.glob("gauge_*.db"):
                if not _lives(path):
                    path.unlink(missing_ok=True)
    return is_locked


@contextmanager
def reading(directory: Path) -> Iterator[None]:
    """Exclude folds during the block, unless one takes unusually long."""
    with _locked(directory, fcntl.LOCK_SH, _PATIENCE):
        yield


def _fold_kind(directory: Path, kind: str) -> None:
    # Imported here, because gunicorn_conf sets the variable that prometheus_client reads when it is imported.
    from prometheus_client.mmap_dict import MmapedDict

    dead = [path for path in directory.glob(f"{kind}_*.db") if not _lives(path)]
    own = directory / f"{kind}_{_OF_THE_DEAD}.db"
    if not dead:
        return
    totals: defaultdict[str, float] = defaultdict(float)
    for path in [own, *dead] if own.exists() else dead:
        try:
            values = list(MmapedDict.read_all_values_from_file(path))  # type: ignore[no-untyped-call]
        except Exception as error:  # noqa: BLE001  torn bytes fail in any way, and would fail every scrape
            _log.warning("the counts in %s are lost: %s", path, error)
            continue
        for key, value, _, _ in values:
            totals[key] += value
    # Write a new file and rename it: a master killed half-way leaves either the old or the new one.
    temporary = directory / f"{kind}_{_OF_THE_DEAD}.tmp"
    temporary.unlink(missing_ok=True)
    new_file = MmapedDict(str(temporary))  # type: ignore[no-untyped-call]
    try:
        for key, value in totals.items():
            new_file.write_value(key, value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        new_file.close()  # type: ignore[no-untyped-call]
    temporary.replace(own)
    for path in dead:
        path.unlink(missing_ok=True)


def _lives(path: Path) -> bool:
    pid = path.stem.rpartition("_")[2]
    # Never fold the files for pid 0 into themselves; leave foreign names alone.
    return not pid.isdigit() or int(pid) == _OF_THE_DEAD or Path(f"/proc/{pid}").exists()


@contextmanager
def _locked(directory: Path, kind: int, patience: float) -> Iterator[bool]:
    file = os.open(directory / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        yield _lock_within(file, kind, patience)
    finally:
        os.close(file)


def _lock_within(file: int, kind: int, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_LOOK_AGAIN)
        else:
            return True
