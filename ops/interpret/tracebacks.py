"""Find in a traceback the file that an application could not use. Pure."""

from __future__ import annotations

import errno
import re

import msgspec

# str() of an OSError with a file's name: "PermissionError: [Errno 13] Permission denied: '/srv/media/a'".
_OS_ERROR = re.compile(r"^(?:\w+\.)*\w+: \[Errno (\d{1,3})\] [^:\n]{1,80}: '([^'\n]{1,1000})'", re.MULTILINE)
# SQLite's messages for SQLITE_READONLY, SQLITE_CANTOPEN and SQLITE_PERM (sqlite3ErrStr); frameworks wrap them.
_SQLITE = re.compile(
    r"^.{0,200}?(?:OperationalError|DatabaseError)\b.{0,200}"
    r"(attempt to write a readonly database|unable to open database file|access permission denied).{0,200}$",
    re.MULTILINE,
)
REFUSED = (errno.EPERM, errno.ENOENT, errno.EACCES, errno.EROFS)


class FileError(msgspec.Struct, frozen=True):
    """A file that was refused. ``path``: None if the message names none; ``error``: errno(3), EACCES for SQLite's;
    ``exception``: the line of the traceback that names the error."""

    exception: str
    error: int
    path: str | None = None


def refusal_in(text: str) -> FileError | None:
    """Return the last file refused in the tracebacks of ``text``, OSErrors before SQLite's; None if there is none."""
    if "Traceback (most recent call last)" not in text:
        return None
    by_system = [match for match in _OS_ERROR.finditer(text) if int(match[1]) in REFUSED]
    if by_system:
        return FileError(_line(text, by_system[-1].start()), int(by_system[-1][1]), by_system[-1][2])
    by_sqlite = list(_SQLITE.finditer(text))
    return FileError(_line(text, by_sqlite[-1].start()), errno.EACCES) if by_sqlite else None


def _line(text: str, at: int) -> str:
    return text[at:].partition("\n")[0].strip()
