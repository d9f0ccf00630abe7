"""The files as they are now. Each is looked at (stat); it is read only where that differs from what is known of it."""

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
# A larger file is told by its size, its beginning and its end.
MAX_HASHED_BYTES = 8 << 20
HEAD_BYTES = 64 << 10
MAX_FILES = 3000
# A file that was written just before it was read may have been written again in the same tick of the clock.
RACY_SECONDS = 2.0
_PRIVATE = b"PRIVATE KEY-----"


class CapturedFiles(msgspec.Struct, frozen=True):
    """``files`` that are there; ``missing``: paths at which nothing is; ``texts``: contents that were read, by digest.

    What may not be looked at is in none of them."""

    files: dict[str, FileState]
    missing: tuple[str, ...]
    texts: dict[str, bytes]


def capture(
    places: Mapping[str, PlaceKind], known: Mapping[str, FileState], known_at: float
) -> CapturedFiles:
    """``places``: what to look at. ``known``: states of ``known_at`` (Unix seconds): what has not changed since is
    not read again."""
    files: dict[str, FileState] = {}
    missing: list[str] = []
    texts: dict[str, bytes] = {}
    racy_from = int((known_at - RACY_SECONDS) * 1e9)
    for path, place in list(places.items())[:MAX_FILES]:
        try:
            looked = look(path, place)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(path)
            continue
        except (OSError, ValueError):
            continue
        if looked is None:
            continue
        before = known.get(path)
        if before is not None and before.signature == looked.signature and looked.ctime < racy_from:
            files[path] = before
            continue
        try:
            files[path] = _read(path, looked, texts)
        except FileNotFoundError:
            missing.append(path)
        except (OSError, ValueError):
            continue
    return CapturedFiles(files, tuple(missing), texts)


def look(path: str, place: PlaceKind) -> FileState | None:
    """The state of a regular file without its content; None for anything else. Raises OSError, ValueError."""
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
            # Not all of it: the size, the beginning (a safetensors' header) and the end stand for the rest.
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
    """When each directory's entries last changed (nanoseconds); one that is not there is left out."""
    found: dict[str, int] = {}
    for directory in directories:
        try:
            found[directory] = os.stat(directory).st_mtime_ns  # noqa: PTH116
        except (OSError, ValueError):
            continue
    return found


def removal_time(path: str) -> float | None:
    """When what was at ``path`` went, at the latest: when its directory last changed. None if that is gone too."""
    try:
        return os.stat(posixpath.dirname(path)).st_mtime  # noqa: PTH116
    except (OSError, ValueError):
        return None
