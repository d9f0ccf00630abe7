"""certbot's own lock on its configuration directory, used in the same way as certbot does.

Source: certbot, certbot/_internal/lock.py and util.lock_dir_until_exit: ``.certbot.lock`` in the directory, locked with
lockf, removed before it is released.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ops.errors import OpsError
from ops.text.language import Text

LOCK_NAME = ".certbot.lock"
POLL_SECONDS = 0.1


@contextlib.contextmanager
def certbot_lock(directory: Path, wait: float) -> Iterator[bool]:
    """Hold the lock, so that no certbot changes the tree.

    Yields False if there is no tree, or if this user may not lock it (and so could not read its keys either). Raises
    OpsError if certbot still runs after ``wait`` seconds."""
    path = directory / LOCK_NAME
    deadline = time.monotonic() + wait
    descriptor = None
    while descriptor is None:
        try:
            descriptor = _try(path)
        except (FileNotFoundError, PermissionError, NotADirectoryError):
            yield False
            return
        except OSError as error:
            if error.errno == errno.EROFS:
                yield False
                return
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
        if descriptor is None:
            if time.monotonic() > deadline:
                raise OpsError(
                    Text(
                        en=f"{directory}: certbot has been at work there for {wait:g} s ({path} is locked);"
                        " wait until it is done, then try again",
                        zh=f"{directory}：certbot 已占用 {wait:g} 秒（{path} 已加锁）；请等它结束后重试",
                    )
                )
            time.sleep(POLL_SECONDS)
    try:
        yield True
    finally:
        # Remove it while it is still locked, as certbot does; afterwards it could be another process's new lock.
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        os.close(descriptor)


def _try(path: Path) -> int | None:
    """The locked descriptor; None if the file was replaced meanwhile. Raises OSError: EAGAIN if another process holds
    it."""
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ours = os.fstat(descriptor)
        with contextlib.suppress(FileNotFoundError):
            there = path.stat()
            if (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino):
                locked, descriptor = descriptor, -1
                return locked
        return None
    except PermissionError as error:
        # lockf may fail with EACCES for a held lock; open fails with it for missing permission.
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
