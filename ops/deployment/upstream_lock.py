"""One run at a time on the upstream's file: `gte-ops deploy drain` and `undrain`, `gte-ops render nginx --install`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from ops.errors import OpsError
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, system_error

# A run that has the lock may load nginx twice and ask a client's five requests as often.
LOCK_SECONDS = 120.0
_ASK_AGAIN_SECONDS = 0.1


class UpstreamLockedError(OpsError):
    """The lock cannot be taken, and nothing was changed. The message says why, and on what."""

    exit_code = 2


@contextlib.contextmanager
def only_run(path: Path, within: float = LOCK_SECONDS) -> Iterator[None]:
    """Allow one run at a time on the file at ``path``: the lock (flock(2)) ends with its holder. Raises
    UpstreamLockedError if another run still has it after ``within`` seconds.

    The lock is a file of its own beside it, because the file itself is replaced; no include matches its name."""
    lock = path.with_name(f".{path.name}.lock~")
    deadline = time.monotonic() + within
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise UpstreamLockedError(system_error(lock, error, NOTHING_CHANGED)) from None
        if _takes(descriptor):
            break
        os.close(descriptor)
        if time.monotonic() > deadline:
            raise UpstreamLockedError(
                Text(
                    en=f"{path}: another drain, undrain or render is at work on it; nothing was changed: run it again"
                    " later",
                    zh=f"{path}：另一次 drain、undrain 或 render 正在进行；未作任何改动：请稍后重新运行",
                )
            )
        time.sleep(_ASK_AGAIN_SECONDS)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            lock.unlink()
        os.close(descriptor)


def _takes(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(descriptor).st_nlink > 0  # else the run that held it removed it
