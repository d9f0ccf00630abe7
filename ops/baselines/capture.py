"""Capture the present files: stat each, and read it only if its status differs from the known one."""

from __future__ import annotations

import hashlib
import os
import posixpath
import stat
from collections.abc import Iterable, Mapping

import msgspec

from ops.baselines.state import FileState
from ops.facts.changes import PlaceKind
from ops.files.bounded_read import open_regular_file

MAX_TEXT_BYTES = 256 << 10
# A larger file is identified by its size, its beginning and its end.
MAX_HASHED_BYTES = 8 << 20
HEAD_BYTES = 64 << 10
MAX_FILES = 3000
# A file written just before it was read may have been written again within the same clock tick.
RACY_SECONDS = 2.0
_PRIVATE = b"PRIVATE KEY-----"


class CapturedFiles(msgspec.Struct, frozen=True):
    """``files`` that exist; ``missing``: paths that do not exist; ``texts``: contents that were read, by digest.

    A path that may not be inspected is in none of them."""

    files: dict[str, FileState]
    missing: tuple[str, ...]
    texts: dict[str, bytes]


def capture(
    places: Mapping[str, PlaceKind], earlier: Mapping[str, FileState], earlier_at: float
) -> CapturedFiles:
    """Capture the files at ``places``. ``earlier``: states from ``earlier_at`` (Unix seconds); a file that has not
    changed since then is not read again."""
    files: dict[str, FileState] = {}
    missing: list[str] = []
    texts: dict[str, bytes] = {}
    racy_from = int((earlier_at - RACY_SECONDS) * 1e9)
    for path, place in list(places.items())[:MAX_FILES]:
        try:
            state = look(path, place)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
            continue
        except (OSError, ValueError):
            continue
        if state is None:
            continue
        before = earlier.get(path)
        if before is not None and before.signature == state.signature and state.ctime < racy_from:
            files[path] = before
            continue
        try:
            files[path] = _read(path, state, texts)
        except FileNotFoundError:
            missing.append(path)
        except (OSError, ValueError):
            continue
    return CapturedFiles(files, tuple(missing), texts)


def look(path: str, place: PlaceKind) -> FileState | None:
    """Return the state of a regular file without its content; None for anything else. Raises OSError, ValueError."""
    status = os.stat(path)  # noqa: PTH116
    if not stat.S_ISREG(status.st_mode):
        return None
    real = os.path.realpath(path)
    return FileState(
        place=place,
        size=status.st_size,
        mtime=status.st_mtime_ns,
        ctime=status.st_ctime_ns,
        inode=status.st_ino,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        link=real if real != path else "",
    )


def _read(path: str, looked: FileState, texts: dict[str, bytes]) -> FileState:
    with open_regular_file(path) as file:
        size = os.fstat(file.fileno()).st_size
        limit = HEAD_BYTES if looked.place is PlaceKind.MODEL or size > MAX_HASHED_BYTES else MAX_HASHED_BYTES
        content = file.read(limit)
        digest = hashlib.sha256(content)
        if len(content) < size:
            # Too large to read whole: hash the size, the beginning (a safetensors' header) and the end.
            file.seek(max(len(content), size - HEAD_BYTES))
            digest.update(b"%d" % size + file.read(HEAD_BYTES))
    name = digest.hexdigest()
    is_kept = looked.place is not PlaceKind.MODEL and len(content) == size and _is_text(content)
    if is_kept:
        texts[name] = content
    return msgspec.structs.replace(looked, digest=name, is_kept=is_kept)


def _is_text(content: bytes) -> bool:
    """Whether the content may be kept: small, text, and no private key."""
    if len(content) > MAX_TEXT_BYTES or b"\0" in content or _PRIVATE in content:
        return False
    try:
        content.decode()
    except UnicodeDecodeError:
        return False
    return True


def directory_times(directories: Iterable[str]) -> dict[str, int]:
    """Return when each directory's entries last changed (nanoseconds); omit directories that do not exist."""
    times: dict[str, int] = {}
    for directory in directories:
        try:
            times[directory] = os.stat(directory).st_mtime_ns  # noqa: PTH116
        except (OSError, ValueError):
            continue
    return times


def removal_time(path: str) -> float | None:
    """Return the latest time at which ``path`` was removed: its directory's last change; None if that is gone too."""
    try:
        return os.stat(posixpath.dirname(path)).st_mtime  # noqa: PTH116
    except (OSError, ValueError):
        return None
