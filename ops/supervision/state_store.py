"""The watchdog's state on disk: written atomically, used by one watchdog at a time, and never a reason to fail.

There are three files side by side: the state, its lock and the pause. The lock is the kernel's (flock(2)): it is
released when its holder ends, however that happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import socket
import time
from pathlib import Path
from typing import Self

import msgspec

from ops.collect.process.boot_clock import boot_id
from ops.errors import ErrorKind, OpsError
from ops.files.atomic_file import write_atomically
from ops.files.bounded_read import read_regular_file
from ops.files.nofollow import reason_not_to_trust
from ops.supervision.observation import Clocks
from ops.supervision.state import WatchdogState, from_json, to_json
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

MAX_FILE_BYTES = 4 << 20
MAX_PAUSE_BYTES = 4096
# A pause is for maintenance; one that was forgotten must end.
LONGEST_PAUSE = 7 * 86400.0
# At most this many torn state files are kept for inspection.
KEPT_TORN = 3
LOCK_ATTEMPTS = 3


class LockedError(OpsError):
    """Another watchdog holds the lock."""

    kind = ErrorKind.LOCKED


def refuse_shared_directory(directory: Path) -> None:
    """Raises OpsError if others than root and the caller could put files into ``directory``, or into the one in which
    it will be made: the files there decide what is killed and started."""
    place = directory.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    why_not = reason_not_to_trust(str(place), listed=True)
    if why_not is not None:
        raise OpsError(
            Text(
                en=f"{directory}: not used for the watchdog's state or evidence: {why_not}; give it a directory of"
                " its own "
                "(watchdog.state_file, watchdog.evidence_dir), by default /var/lib/gte-ops",
                zh=f"{directory}：不能用于 watchdog 的状态或证据：{chinese(why_not)}；"
                "请为它指定专用目录（watchdog.state_file、watchdog.evidence_dir），默认为 /var/lib/gte-ops",
            )
        )


class Pause(msgspec.Struct, frozen=True):
    """No action is taken ``until`` then. Times are Unix seconds; ``by``: the user who paused the watchdog."""

    until: float
    since: float
    by: str = ""


def clocks() -> Clocks:
    """The present moment."""
    return Clocks(
        wall=time.time(),
        monotonic=time.monotonic(),
        boottime=time.clock_gettime(time.CLOCK_BOOTTIME),
    )


class StateStore:
    """The state file at ``path``.

    ``trouble``: why the state could not be read or written, None while it can. ``set_aside``: where a torn file was
    moved to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.trouble: str | None = None
        self.set_aside: Path | None = None

    def load(self, now: Clocks) -> WatchdogState:
        """The state in the file, or a new one if there is none. A torn file is set aside, and is no reason to fail."""
        try:
            content = read_regular_file(str(self.path), MAX_FILE_BYTES).content
        except FileNotFoundError:
            return WatchdogState(boot_id=boot_id())
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            self.trouble = safe_line(f"{self.path}: cannot be read: {why}")
            return WatchdogState(boot_id=boot_id())
        try:
            state = from_json(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._put_aside(now.wall, str(error))
            return WatchdogState(boot_id=boot_id())
        return state.carried_over(boot_id(), now)

    def save(self, state: WatchdogState) -> bool:
        """Write ``state`` so that a crash at any moment leaves the old file or the new one. False if that fails."""
        try:
            write_atomically(self.path, to_json(state))
        except OSError as error:
            self.trouble = safe_line(f"{self.path}: cannot be written: {error.strerror or error}")
            return False
        self.trouble = None
        return True

    def _put_aside(self, wall: float, why: str) -> None:
        stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(wall))
        aside = self.path.with_name(f"{self.path.name}.torn-{stamp}")
        try:
            self.path.replace(aside)
            self.set_aside = aside
            for old in sorted(self.path.parent.glob(f"{self.path.name}.torn-*"))[:-KEPT_TORN]:
                old.unlink(missing_ok=True)
        except OSError as error:
            self.trouble = safe_line(f"{self.path}: torn ({why}), and not to be moved: {error.strerror}")

    # --- pause ---------------------------------------------------------------------------------------------------

    @property
    def pause_path(self) -> Path:
        """The file of the pause."""
        return self.path.with_name(self.path.name + ".pause")

    def pause(self, pause: Pause) -> None:
        """Begin a pause, or replace the present one. Raises OSError if it cannot be written."""
        write_atomically(self.pause_path, msgspec.json.encode(pause))

    def resume(self) -> bool:
        """End the pause; returns whether there was one. Raises OSError if it cannot be removed."""
        try:
            self.pause_path.unlink()
        except FileNotFoundError:
            return False
        return True

    @property
    def rearm_path(self) -> Path:
        """The file that asks for the budget to begin anew."""
        return self.path.with_name(self.path.name + ".rearm")

    def ask_to_rearm(self) -> None:
        """Have the watchdog's next cycle begin its budget anew. Raises OSError if that cannot be written."""
        write_atomically(self.rearm_path, b"")

    def take_rearm(self) -> bool:
        """Whether somebody asked for the budget to begin anew; asked once, answered once."""
        try:
            self.rearm_path.unlink()
        except OSError:
            return False
        return True

    def paused(self, wall: float) -> Pause | None:
        """The pause in force. One that is over, torn, or longer than allowed does not count."""
        try:
            content = read_regular_file(str(self.pause_path), MAX_PAUSE_BYTES).content
            pause = msgspec.json.decode(content, type=Pause)
        except (OSError, ValueError, msgspec.MsgspecError):
            return None
        return pause if wall < pause.until <= wall + LONGEST_PAUSE else None


def remove_left_over(path: Path) -> None:
    """Remove the temporary files of watchdogs that were killed while writing. Call it with the lock held."""
    with contextlib.suppress(OSError):
        for temporary in path.parent.glob(f".{path.name}.*.tmp"):
            temporary.unlink(missing_ok=True)


class Lock:
    """One watchdog at a time for one state file. Entering it raises LockedError if another process holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        self._descriptor: int | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        try:
            # node_exporter reads the metrics there; every other file is its owner's alone.
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            self._bind_instead()
            return self
        for attempt in range(LOCK_ATTEMPTS):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # `status` holds it for a moment to find out whether it is free.
                time.sleep(0.02 if attempt + 1 < LOCK_ATTEMPTS else 0)
            else:
                self._descriptor = descriptor
                return self
        os.close(descriptor)
        raise LockedError(
            Text(en=f"another watchdog holds {self._path}", zh=f"另一个 watchdog 正占用 {self._path}")
        )

    def _bind_instead(self) -> None:
        # If no lock file can be made: a name in the abstract socket namespace (unix(7)) ends with its holder as well.
        name = hashlib.sha256(f"{os.geteuid()}:{self._path}".encode()).hexdigest()[:32]
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(f"\0gte-ops-watchdog-{name}")
        except OSError:
            self._socket.close()
            self._socket = None
            raise LockedError(
                Text(
                    en="another watchdog runs for the same state file",
                    zh="另一个 watchdog 正使用同一个状态文件",
                )
            ) from None

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def is_locked(path: Path) -> bool:
    """Whether a watchdog is running for the state file at ``path``."""
    try:
        with Lock(path):
            return False
    except LockedError:
        return True
