"""Find the backups on this host, including the guide's own tar files, and check whether the newest can be restored.

The cost is bounded: the newest files are hashed and, if they are not this program's archives, listed; a file that is
too large is reported as not inspected, never as 'good'. `gte-ops backup verify` does the full check.
"""

from __future__ import annotations

import fnmatch
import platform
import posixpath
import tarfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ops.archive.checksum import checksum_problem
from ops.archive.error import ArchiveError, LockedArchiveError
from ops.archive.manifest import loose_links
from ops.archive.name import is_ahead, is_of_host, parse_name
from ops.archive.reading import open_archive
from ops.facts.base import NotSeen
from ops.facts.safeguards import Backup, Backups
from ops.files.bounded_read import open_regular_file
from ops.settings import BackupSettings
from ops.text.sanitize import safe_line

# The guide's command: tar -czf gte-prod-backup-$(date +%Y%m%d).tar.gz, in any directory.
GUIDE_PATTERN = "gte-prod-backup-*.tar.gz"
_ENDINGS = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tar.gz.age", ".tar.zst.age")
MAX_LISTED = 200
# Number of the newest backups to inspect, and their size limits.
MAX_OPENED = 3
MAX_BYTES = 128 << 20
MAX_UNPACKED_BYTES = 512 << 20
MAX_MEMBERS = 100_000
# The directory of a certificate's links.
_LIVE = "letsencrypt/live/"


class _TooMuchError(Exception):
    """Limit exceeded: too large to inspect during a run."""


def backups(settings: BackupSettings, places: tuple[str, ...], deadline: float) -> Backups | NotSeen:
    """Return the backups in the backup directory, and the guide's archives in ``places``, the newest first.

    NotSeen if none was found and a directory could not be read."""
    folder = Path(settings.dir)
    unseen: list[NotSeen] = []
    archives = list(_in_directory(folder, unseen))
    for place in dict.fromkeys(places):
        if Path(place) != folder:
            archives += _guides(Path(place), unseen)
    if not archives and unseen:
        return unseen[0]
    hostname, now = platform.node(), time.time()
    names = {item.path: parse_name(PurePosixPath(item.path).name) for item in archives}
    others = {name.host for name in names.values() if name and not is_of_host(name, hostname)}
    archives = [item for item in archives if not (name := names[item.path]) or name.host not in others]
    ahead = [item.path for item in archives if (name := names[item.path]) and is_ahead(name, now)]
    archives = [item for item in archives if item.path not in ahead]
    archives.sort(key=lambda item: item.created_at, reverse=True)
    looked_into = [_looked_into(item, deadline) for item in archives[:MAX_OPENED]]
    return Backups(
        directory=str(folder),
        max_age=float(settings.max_age),
        backups=(*looked_into, *archives[MAX_OPENED:MAX_LISTED]),
        other_hosts=tuple(sorted(others)[:MAX_LISTED]),
        ahead=tuple(sorted(ahead)[:MAX_LISTED]),
    )


def _in_directory(folder: Path, unseen: list[NotSeen]) -> Iterator[Backup]:
    try:
        paths = sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return
    except PermissionError:
        unseen.append(NotSeen(reason=f"{folder} may not be read", needs_root=True))
        return
    except OSError as error:
        unseen.append(NotSeen(reason=safe_line(f"{folder}: {error.strerror or error}")))
        return
    yield from _files(path for path in paths if path.name.endswith(_ENDINGS))


def _guides(folder: Path, unseen: list[NotSeen]) -> Iterator[Backup]:
    try:
        # Not glob(): it hides a directory that may not be read.
        paths = sorted(path for path in folder.iterdir() if fnmatch.fnmatch(path.name, GUIDE_PATTERN))
        yield from _files(iter(paths))
    except PermissionError:
        unseen.append(NotSeen(reason=f"{folder} may not be read", needs_root=True))
    except OSError:
        return


def _files(paths: Iterator[Path]) -> Iterator[Backup]:
    for path in paths:
        try:
            if path.is_symlink() or not path.is_file():
                continue
            status = path.stat()
        except OSError:
            continue
        name = parse_name(path.name)
        yield Backup(
            path=str(path),
            created_at=name.created_at if name else status.st_mtime,
            size=status.st_size,
            is_own=name is not None,
        )


def _looked_into(item: Backup, deadline: float) -> Backup:
    """Return ``item`` with the facts that its content shows."""
    path = Path(item.path)
    try:
        if item.size > MAX_BYTES:
            raise _TooMuchError(f"larger than {MAX_BYTES >> 20} MiB")
        problem = None
        try:
            problem = checksum_problem(path)
            hashed = True
        except FileNotFoundError:
            hashed = False
        if problem is None:
            loose = _own(path, hashed, deadline) if item.is_own else _foreign(path, deadline)
            return _with(item, verified=True, loose_links=loose)
        return _with(item, verified=False, reason=problem)
    except _TooMuchError as limit:
        return _with(item, reason=f"not looked into: {limit}")
    except LockedArchiveError:
        # The identity is kept elsewhere: only the hash beside the archive can be compared here.
        return _with(item, verified=True if hashed else None, reason="encrypted")
    except ArchiveError as error:
        return _with(item, verified=False, reason=error.reason)
    except PermissionError:
        return _with(item, reason="it may not be read", needs_root=True)
    except OSError as error:
        return _with(item, reason=safe_line(error.strerror or str(error)))


def _with(item: Backup, **changes: Any) -> Backup:
    import msgspec

    return msgspec.structs.replace(item, **changes)


def _own(path: Path, hashed: bool, deadline: float) -> tuple[str, ...]:
    """Return the loose links of a certificate in one of this program's archives. Without a hash, read it to the end."""
    with open_archive(path) as archive:
        loose = tuple(entry.path for entry, _ in loose_links(archive.manifest.entries) if _LIVE in entry.path)
        if not hashed:
            for member in archive.members():
                for _ in member.chunks():
                    if time.monotonic() > deadline:
                        raise _TooMuchError("no time left")
        return loose


def _foreign(path: Path, deadline: float) -> tuple[str, ...]:
    """Do the same for any tar file, listing it to its end. Raises ArchiveError if it is damaged or empty."""
    names: set[str] = set()
    links: list[tuple[str, str]] = []
    try:
        with (
            open_regular_file(str(path)) as file,
            tarfile.open(fileobj=_stream(file, deadline), mode="r|") as tar,
        ):
            for member in tar:
                if len(names) >= MAX_MEMBERS:
                    raise _TooMuchError(f"more than {MAX_MEMBERS} members")
                name = posixpath.normpath(member.name).lstrip("/")
                names.add(name)
                if member.issym() and _LIVE in f"{name}":
                    target = posixpath.normpath(posixpath.join("/", posixpath.dirname(name), member.linkname))
                    links.append((name, target.lstrip("/")))
    except (tarfile.TarError, EOFError, zlib.error, ValueError) as error:
        raise ArchiveError(path, safe_line(f"tar cannot read it: {error}")) from None
    if not names:
        raise ArchiveError(path, "it is empty")
    return tuple(name for name, target in links if target not in names)


class _Bounded:
    """A stream that gives up after too many bytes or too long a time."""

    def __init__(self, stream: IO[bytes] | Any, deadline: float) -> None:
        self._stream, self._deadline, self._left = stream, deadline, MAX_UNPACKED_BYTES

    def read(self, size: int) -> bytes:
        """Return the next bytes. Raises _TooMuchError."""
        if time.monotonic() > self._deadline:
            raise _TooMuchError("no time left")
        content: bytes = self._stream.read(size)
        self._left -= len(content)
        if self._left < 0:
            raise _TooMuchError(f"more than {MAX_UNPACKED_BYTES >> 20} MiB unpacked")
        return content


def _stream(file: IO[bytes], deadline: float) -> Any:
    """Return a stream of the uncompressed bytes; the first bytes name the format (gzip: RFC 1952; zstd: RFC 8878)."""
    magic = file.read(4)
    file.seek(0)
    if magic[:2] == b"\x1f\x8b":
        import gzip

        return _Bounded(gzip.GzipFile(fileobj=file), deadline)
    if magic == b"\x28\xb5\x2f\xfd":
        import zstandard

        return _Bounded(zstandard.ZstdDecompressor(max_window_size=8 << 20).stream_reader(file), deadline)
    return _Bounded(file, deadline)
