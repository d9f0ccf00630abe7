"""One consistent reading of a backup's sources: every file's size and SHA-256, provided nothing changes meanwhile."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ops.archive.manifest import ManifestEntry, Pair
from ops.archive.pair import MAX_PEM_BYTES, pair_problem
from ops.backups.discover import BackupPlan
from ops.backups.scan import Survey, entry, survey
from ops.files.entry_kind import EntryKind

CHUNK_BYTES = 1 << 18

Progress = Callable[[str, int, int], None]
"""Called with the step under way, how many of its bytes are done, and how many there are."""


class SourceChangedError(Exception):
    """A file was written to, replaced or removed while it was read. ``path``: the file's."""

    def __init__(self, path: str) -> None:
        """For the file at the absolute ``path``."""
        super().__init__(path)
        self.path = path


class SourceUnreadableError(Exception):
    """A file that this run may not read. ``reason``: why, for the report."""

    def __init__(self, path: str, reason: str) -> None:
        """For the file at the absolute ``path``."""
        super().__init__(path)
        self.path, self.reason = path, reason


class PairMismatchError(Exception):
    """A certificate and a private key that do not belong together. ``problem``: how they differ."""

    def __init__(self, certificate: str, key: str, problem: str) -> None:
        """For the files at the paths ``certificate`` and ``key``."""
        super().__init__(problem)
        self.certificate, self.key, self.problem = certificate, key, problem


@dataclass(frozen=True)
class Captured:
    """The sources at the time of one reading."""

    survey: Survey
    entries: tuple[ManifestEntry, ...]
    pairs: tuple[Pair, ...]


def list_sources(plan: BackupPlan, left_out: dict[str, str]) -> Survey:
    """Everything that the plan names, as it is on the host now; opens no file."""
    return survey(plan.wanted, plan.excluded, left_out)


def capture(plan: BackupPlan, left_out: dict[str, str], progress: Progress) -> Captured:
    """Read every source once, for its size and SHA-256, and compare each certificate with its key.

    Raises SourceChangedError, SourceUnreadableError, PairMismatchError, OSError."""
    sources = list_sources(plan, left_out)
    entries = _entries(sources, progress)
    return Captured(sources, entries, _matching_pairs(plan, sources, entries))


def _entries(sources: Survey, progress: Progress) -> tuple[ManifestEntry, ...]:
    total = sum(source.size for source in sources.seen.values())
    bytes_read = 0
    entries = []
    for path in sorted(sources.seen):
        source = sources.seen[path]
        if source.kind != EntryKind.FILE:
            entries.append(entry(path, source, whole=path in sources.whole))
            continue
        digest = hashlib.sha256()
        for chunk in content(path, source.version, source.size):
            digest.update(chunk)
            bytes_read += len(chunk)
        entries.append(entry(path, source, whole=False, size=source.size, sha256=digest.hexdigest()))
        progress("reading", bytes_read, total)
    return tuple(entries)


def content(path: str, version: tuple[int, ...], size: int) -> Iterator[bytes]:
    """The ``size`` bytes of the file at ``path``, in chunks, as long as its version is ``version``.

    Raises SourceChangedError, SourceUnreadableError, OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    except PermissionError:
        raise SourceUnreadableError(path, "permission denied") from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise SourceChangedError(path) from None
        raise
    try:
        if _version(descriptor) != version:
            raise SourceChangedError(path)
        remaining = size
        while remaining:
            chunk = os.read(descriptor, min(remaining, CHUNK_BYTES))
            if not chunk:
                raise SourceChangedError(path)
            remaining -= len(chunk)
            yield chunk
        # It grew, or was overwritten in place, while it was read.
        if _version(descriptor) != version:
            raise SourceChangedError(path)
    finally:
        os.close(descriptor)


def _version(descriptor: int) -> tuple[int, ...]:
    status = os.fstat(descriptor)
    return (
        status.st_mode,
        status.st_uid,
        status.st_gid,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _matching_pairs(
    plan: BackupPlan, sources: Survey, entries: tuple[ManifestEntry, ...]
) -> tuple[Pair, ...]:
    """The pairs of certificate and key whose files are both in the backup. Raises PairMismatchError for one that does
    not match, and the exceptions of ``content``."""
    by_path = {f"/{item.path}": item for item in entries}
    pairs = []
    for certificate, key in dict.fromkeys((*plan.pairs, *_lineage_pairs(plan.letsencrypt_dir, sources))):
        files = [os.path.realpath(name) for name in (certificate, key)]
        if not all(_is_small_file(by_path.get(file)) for file in files):
            continue  # a missing file is reported with the requested paths
        problem = pair_problem(*(_whole(file, sources) for file in files))
        if problem:
            raise PairMismatchError(certificate, key, problem)
        pairs.append(Pair(certificate=certificate.lstrip("/"), key=key.lstrip("/")))
    return tuple(pairs)


def _lineage_pairs(letsencrypt_dir: str, sources: Survey) -> Iterator[tuple[str, str]]:
    """cert.pem and fullchain.pem of each of certbot's lineages, each with the lineage's key."""
    live = os.path.realpath(f"{letsencrypt_dir}/live")
    for path in sorted(sources.seen):
        lineage, _, name = path.rpartition("/")
        if name == "privkey.pem" and path.startswith(f"{live}/"):
            for certificate in ("cert.pem", "fullchain.pem"):
                yield f"{lineage}/{certificate}", path


def _is_small_file(item: ManifestEntry | None) -> bool:
    return item is not None and item.kind == EntryKind.FILE and item.size <= MAX_PEM_BYTES


def _whole(path: str, sources: Survey) -> bytes:
    source = sources.seen[path]
    return b"".join(content(path, source.version, source.size))
