"""Making one backup: the sources are read twice and compared, the archive is written aside, flushed, read back from
the disk and hashed, and only then does it get its name.

Every step leaves earlier backups alone: until the last rename there is nothing but files that end in .partial.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from ops.archive.checksum import checksum_line, hash_stream
from ops.archive.encryption import Recipient, encrypt
from ops.archive.error import ArchiveError
from ops.archive.manifest import Asked, Manifest, ManifestEntry, ManifestError, Pair
from ops.archive.name import (
    LOCK_NAME,
    PARTIAL,
    ArchiveName,
    Compression,
    backups_in,
    checksum_path,
    companions,
    host_part,
    left_over_in,
    signature_path,
)
from ops.archive.pair import MAX_PEM_BYTES, pair_problem
from ops.archive.writing import compressed, tar_stream
from ops.backups.certbot_lock import certbot_lock
from ops.backups.discover import BackupPlan
from ops.backups.made_here import record
from ops.backups.scan import Survey, entry, survey
from ops.backups.signature import sign
from ops.errors import OpsError
from ops.files.atomic_file import flush_directory
from ops.text.sanitize import safe_line

CHUNK_BYTES = 1 << 18
# How often the sources are read anew because something changed meanwhile, and how often one file may be the reason.
ATTEMPTS = 6
BLAMED_AT_MOST = 3
PAUSE_SECONDS = 0.2
CERTBOT_WAIT = 60.0
PAIR_WAIT = 10.0
LOCK_WAIT = 120.0

Progress = Callable[[str, int, int], None]
"""Told what is being done, how many bytes of it are done, and of how many."""


class BackupError(OpsError):
    """No backup was made; earlier ones are as they were."""

    exit_code = 2


@dataclass(frozen=True)
class Created:
    """The backup that was made. ``complaints``: what is not in it though it should be, path to reason; ``unsigned``:
    why it is not signed though it should be."""

    path: Path
    manifest: Manifest
    bytes: int
    sha256: str
    encrypted: bool
    complaints: dict[str, str] = field(default_factory=dict)
    signed: bool = False
    unsigned: str = ""


@dataclass
class Captured:
    """One consistent look at the sources."""

    survey: Survey
    entries: tuple[ManifestEntry, ...]
    pairs: tuple[Pair, ...]


class _ChangedError(Exception):
    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class _UnreadableError(Exception):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path)
        self.path, self.reason = path, reason


# --- the directory of backups --------------------------------------------------------------------------------


def prepare_directory(directory: Path) -> None:
    """Makes the directory, mode 0700, or sees to it that nobody else may look into it. Raises BackupError."""
    try:
        # parents get the umask's mode; the last one is ours alone
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise BackupError(f"{directory}: not a directory; set backup.dir to one")
        if status.st_mode & stat.S_ISVTX or status.st_uid != os.geteuid():
            raise BackupError(
                f"{directory}: others keep files there too; set backup.dir to a directory of its own"
            )
        if status.st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise BackupError(f"{directory}: {error.strerror or error}; no backup was made") from None


@contextlib.contextmanager
def locked(directory: Path, wait: float = LOCK_WAIT) -> Iterator[None]:
    """One run at a time in this directory. Raises BackupError where another is at work after ``wait`` seconds."""
    deadline = time.monotonic() + wait
    try:
        descriptor = os.open(
            directory / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise BackupError(f"{directory}: {error.strerror or error}; it cannot be locked") from None
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackupError(
                        f"{directory}: another run has been at work there for {wait:g} s; try again when it is done"
                    ) from None
                time.sleep(0.1)
            except OSError as error:
                raise BackupError(f"{directory}: {error.strerror or error}; it cannot be locked") from None
        yield
    finally:
        os.close(descriptor)


def remove_left_overs(directory: Path) -> list[Path]:
    """Removes what killed runs left; only under the lock, or it could be another run's. Raises OSError."""
    left = left_over_in(directory)
    for path in left:
        path.unlink()
    return left


# --- reading the sources -------------------------------------------------------------------------------------


def look(plan: BackupPlan, left_out: dict[str, str]) -> Survey:
    """Everything the plan wants, as it lies there now; nothing is opened."""
    return survey(plan.wanted, plan.excluded, left_out)


def _capture(plan: BackupPlan, unsteady: dict[str, str], progress: Progress) -> Captured:
    """The first pass: every file's size and SHA-256."""
    found = look(plan, unsteady)
    total = sum(seen.size for seen in found.seen.values())
    done = 0
    entries = []
    for path in sorted(found.seen):
        seen = found.seen[path]
        if seen.kind != "file":
            entries.append(entry(path, seen, whole=path in found.whole))
            continue
        digest = hashlib.sha256()
        for chunk in _content(path, seen.version, seen.size):
            digest.update(chunk)
            done += len(chunk)
        entries.append(entry(path, seen, whole=False, size=seen.size, sha256=digest.hexdigest()))
        progress("reading", done, total)
    return Captured(found, tuple(entries), ())


def _content(path: str, version: tuple[int, ...], size: int) -> Iterator[bytes]:
    """The content of a file, as long as it is the one that was looked at. Raises _ChangedError, _UnreadableError,
    OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC)
    except PermissionError:
        raise _UnreadableError(path, "permission denied") from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO):
            raise _ChangedError(path) from None
        raise
    try:
        if _version(descriptor) != version:
            raise _ChangedError(path)
        left = size
        while left:
            chunk = os.read(descriptor, min(left, CHUNK_BYTES))
            if not chunk:
                raise _ChangedError(path)
            left -= len(chunk)
            yield chunk
        # Grown, or written to in place while it was read.
        if _version(descriptor) != version:
            raise _ChangedError(path)
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


def _check_pairs(plan: BackupPlan, captured: Captured) -> tuple[Pair, ...]:
    """The pairs that are in the backup, each of which belongs together. Raises _MismatchError."""
    by_path = {f"/{e.path}": e for e in captured.entries}
    live = f"{plan.letsencrypt_dir}/live"
    lineages = sorted(
        path.rpartition("/")[0]
        for path in captured.survey.seen
        if path.endswith("/privkey.pem") and path.startswith(f"{os.path.realpath(live)}/")
    )
    wanted = dict.fromkeys(
        (
            *plan.pairs,
            *(
                (f"{lineage}/{name}", f"{lineage}/privkey.pem")
                for lineage in lineages
                for name in ("cert.pem", "fullchain.pem")
            ),
        )
    )
    pairs = []
    for certificate, key in wanted:
        real = [os.path.realpath(name) for name in (certificate, key)]
        if not all(
            (e := by_path.get(name)) is not None and e.kind == "file" and e.size <= MAX_PEM_BYTES
            for name in real
        ):
            continue  # that it is missing is told among what was asked for
        contents = [_whole(name, captured) for name in real]
        problem = pair_problem(*contents)
        if problem:
            raise _MismatchError(certificate, key, problem)
        pairs.append(Pair(certificate=certificate.lstrip("/"), key=key.lstrip("/")))
    return tuple(pairs)


class _MismatchError(Exception):
    def __init__(self, certificate: str, key: str, problem: str) -> None:
        super().__init__(problem)
        self.certificate, self.key, self.problem = certificate, key, problem


def _whole(path: str, captured: Captured) -> bytes:
    seen = captured.survey.seen[path]
    return b"".join(_content(path, seen.version, seen.size))


# --- writing ---------------------------------------------------------------------------------------------------


class _Hashing:
    """A file that is written, and the SHA-256 of what was."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()

    def write(self, content: bytes) -> int:
        self._digest.update(content)
        return self._file.write(content)

    def flush(self) -> None:
        self._file.flush()

    def hexdigest(self) -> str:
        return self._digest.hexdigest()


def create(
    plan_again: Callable[[], BackupPlan],
    directory: Path,
    *,
    host: str,
    compression: Compression,
    recipients: Sequence[Recipient],
    signing_key: str,
    progress: Progress,
) -> Created:
    """Makes one backup in ``directory``, which the caller has locked. ``plan_again`` looks around anew; without a
    ``signing_key`` it is not signed.

    Raises BackupError, with nothing left behind, where it cannot be made."""
    previous = os.umask(0o077)
    try:
        return _create(plan_again, directory, host, compression, recipients, signing_key, progress)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise BackupError(
            f"no backup was made: {where}{error.strerror or error}; earlier backups in {directory} are as they were"
        ) from None
    except (ManifestError, ArchiveError) as error:
        raise BackupError(f"no backup was made: {error}") from None
    finally:
        os.umask(previous)


def _create(
    plan_again: Callable[[], BackupPlan],
    directory: Path,
    host: str,
    compression: Compression,
    recipients: Sequence[Recipient],
    signing_key: str,
    progress: Progress,
) -> Created:
    plan = plan_again()
    now = time.time()
    path = directory / free_name(directory, now, host, compression, encrypted=bool(recipients))
    partial = path.with_name(path.name + PARTIAL)
    try:
        with certbot_lock(Path(plan.letsencrypt_dir), CERTBOT_WAIT):
            manifest, digest, complaints = _write_steady(
                plan_again, plan, partial, now, host, compression, recipients, progress
            )
        size = _read_back(partial, digest, progress)
        signature, unsigned = signature_of(partial, signing_key)
        record(directory, digest, path.name)
        publish(partial, path, digest, signature)
    except BaseException:
        # Under any name but the last it is no backup; a checksum or a signature alone is none either.
        for left in (partial, *(() if path.exists() else companions(path))):
            left.unlink(missing_ok=True)
        raise
    return Created(
        path, manifest, size, digest, bool(recipients), complaints, signature is not None, unsigned
    )


def signature_of(archive: Path, signing_key: str) -> tuple[bytes | None, str]:
    """The signature of ``archive``, or why there is none: an archive without one is better than no archive."""
    if not signing_key:
        return None, ""
    try:
        return sign(archive, signing_key), ""
    except OpsError as error:
        return None, str(error)


def free_name(directory: Path, now: float, host: str, compression: Compression, *, encrypted: bool) -> str:
    """The name of a backup made now in ``directory``. Raises BackupError, OSError."""
    second = float(int(now))
    taken = {name.number for name, _ in backups_in(directory) if name.created_at == second}
    for number in range(1, 1000):
        name = str(ArchiveName(second, number, host_part(host), compression, encrypted))
        # Whatever their form: the later of two of one second is to be listed as the newer.
        if number not in taken and not (directory / name).exists():
            return name
    raise BackupError(f"{directory}: a thousand backups of this second are there already")


def _write_steady(
    plan_again: Callable[[], BackupPlan],
    plan: BackupPlan,
    partial: Path,
    now: float,
    host: str,
    compression: Compression,
    recipients: Sequence[Recipient],
    progress: Progress,
) -> tuple[Manifest, str, dict[str, str]]:
    """Reads and writes until nothing changed from the first look to the last; a file that never holds still is left
    out and told of."""
    unsteady: dict[str, str] = {}
    blamed: dict[str, int] = {}
    mismatched_since: float | None = None
    attempt = 0
    while True:
        attempt += 1
        last = attempt >= ATTEMPTS
        try:
            captured = _capture(plan, unsteady, progress)
            captured.pairs = _check_pairs(plan, captured)
            manifest = _manifest(plan, captured, now, host, unsteady)
            if not any(e.kind == "file" for e in manifest.entries):
                raise BackupError(
                    "no backup was made: there is nothing to save on this host; see backup.include"
                )
            digest = _write(partial, manifest, captured, compression, recipients, progress)
            changed = _difference(captured.survey, look(plan, unsteady))
            if changed is not None and not last:
                raise _ChangedError(changed)
            if changed is not None:
                unsteady[changed] = (
                    "it changed while the backup was made; the backup holds it as it was before"
                )
            failed = captured.survey.failed
            return (
                manifest,
                digest,
                {asked.path: asked.missing for asked in manifest.missing} | failed | unsteady,
            )
        except _UnreadableError as error:
            unsteady[error.path] = error.reason
            attempt -= 1
            continue
        except _MismatchError as error:
            mismatched_since = mismatched_since or time.monotonic()
            if time.monotonic() - mismatched_since > PAIR_WAIT:
                raise BackupError(
                    f"no backup was made: {error.certificate} and {error.key}: {error.problem};"
                    " finish the renewal, or remove the pair, then try again"
                ) from None
            attempt -= 1
        except _ChangedError as error:
            blamed[error.path] = blamed.get(error.path, 0) + 1
            if blamed[error.path] >= BLAMED_AT_MOST or last:
                unsteady[error.path] = "it kept changing while it was read"
            if attempt >= 10 * ATTEMPTS:
                raise BackupError(
                    f"no backup was made: too much changes while it is read, {error.path} for one; see backup.include"
                ) from None
        time.sleep(PAUSE_SECONDS)
        plan = plan_again()


def _difference(before: Survey, after: Survey) -> str | None:
    one, two = before.fingerprint(), after.fingerprint()
    if one == two:
        return None
    return next(iter(sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))))


def _manifest(
    plan: BackupPlan, captured: Captured, now: float, host: str, unsteady: dict[str, str]
) -> Manifest:
    found = captured.survey
    return Manifest(
        created_at=now,
        host=host,
        versions=plan.versions,
        asked=tuple(_told(asked, unsteady) for asked in found.asked),
        left_out={safe_line(path, 1000): reason for path, reason in (found.left_out | found.failed).items()},
        nginx=plan.nginx,
        letsencrypt_dir=plan.letsencrypt_dir,
        pairs=captured.pairs,
        entries=captured.entries,
    )


def _told(asked: Asked, unsteady: dict[str, str]) -> Asked:
    return Asked(what=asked.what, path=asked.path, missing=asked.missing or unsteady.get(asked.path, ""))


def _write(
    partial: Path,
    manifest: Manifest,
    captured: Captured,
    compression: Compression,
    recipients: Sequence[Recipient],
    progress: Progress,
) -> str:
    """The second pass: every file is read again, into the archive, and must be what it was. Returns the archive's
    SHA-256."""
    total, done = manifest.content_bytes, 0

    def content_of(item: ManifestEntry) -> Iterator[bytes]:
        nonlocal done
        path = f"/{item.path}"
        digest = hashlib.sha256()
        for chunk in _content(path, captured.survey.seen[path].version, item.size):
            digest.update(chunk)
            done += len(chunk)
            yield chunk
        if digest.hexdigest() != item.sha256:
            raise _ChangedError(path)
        progress("writing", done, total)

    # Never through a link that somebody laid there, never into a file that somebody else has open.
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        hashing = _Hashing(file)
        chunks = compressed(tar_stream(manifest, content_of), compression)
        if recipients:
            encrypt(chunks, hashing, recipients)
        else:
            for chunk in chunks:
                hashing.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return hashing.hexdigest()


def _read_back(partial: Path, digest: str, progress: Progress) -> int:
    """Reads the archive from the disk and compares it with what was written. Returns its size in bytes."""
    with partial.open("rb", buffering=0) as file:
        # So that it is the disk that answers and not the cache; where the system will not, the cache does.
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(file.fileno()).st_size
        done = 0

        def step(count: int) -> None:
            nonlocal done
            done += count
            progress("reading back", done, size)

        if hash_stream(file, step) != digest:
            raise BackupError(
                f"no backup was made: what was written to {partial} is not what is read back; look at the disk"
            )
    return size


def publish(partial: Path, path: Path, digest: str, signature: bytes | None) -> None:
    """Gives the archive its name. Checksum and signature go first: an archive is never there without them. Raises
    OSError."""
    _write_beside(checksum_path(path), checksum_line(digest, path.name))
    if signature is not None:
        _write_beside(signature_path(path), signature)
    partial.rename(path)
    flush_directory(path.parent)


def _write_beside(beside: Path, content: bytes) -> None:
    waiting = beside.with_name(beside.name + PARTIAL)
    waiting.unlink(missing_ok=True)
    try:
        descriptor = os.open(
            waiting, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        waiting.rename(beside)
    except BaseException:
        waiting.unlink(missing_ok=True)
        raise
