"""The directory in which an archive's content is tried, removed at the end of the run."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ops.files.signals import undisturbed

PREFIX = ".gte-ops-scratch-"
_USUAL = ("/var/tmp", "/tmp", "/run")  # noqa: S108  mkdtemp makes a directory of its own there


@contextlib.contextmanager
def scratch_directory() -> Iterator[Path]:
    """A private directory, removed at the end of the run; leftovers of killed runs are removed too.

    Nobody else can list it; a program without privileges can reach the files in it that it is given. It is in $TMPDIR
    or /tmp, or in /var/tmp if not everybody may enter those. Raises OSError."""
    base = _base()
    _sweep(base)
    # Between creation and lock another run may take it for a killed one's and remove it; then this run fails.
    with undisturbed():
        scratch = Path(tempfile.mkdtemp(prefix=PREFIX, dir=base))
        lock = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        if os.geteuid() == 0:
            scratch.chmod(0o711)
        yield scratch
    finally:
        with undisturbed():
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(lock)


def _base() -> Path:
    preferred = Path(tempfile.gettempdir()).resolve()
    if os.geteuid() != 0:
        return preferred
    return next((place for place in (preferred, *map(Path, _USUAL)) if may_be_entered(place)), preferred)


def may_be_entered(place: Path) -> bool:
    """Whether a user without privileges can reach the files in a directory."""
    try:
        return all(each.stat().st_mode & stat.S_IXOTH for each in (place, *place.parents))
    except OSError:
        return False


def _sweep(base: Path) -> None:
    for directory in base.glob(f"{PREFIX}*"):
        try:
            lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            if os.fstat(lock).st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(directory, ignore_errors=True)
        except BlockingIOError:
            pass  # a running one
        finally:
            os.close(lock)
