"""Making one backup: the sources are read twice and compared; the archive is written under a temporary name, flushed,
read back from the disk and hashed, and only then renamed.

No step touches earlier backups: until the last rename there are only files that end in .partial.
"""

from __future__ import annotations

import contextlib
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
from ops.archive.manifest import Manifest, ManifestEntry, ManifestError, RequestedPath
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
from ops.archive.writing import compressed, tar_stream
from ops.backups.capture import (
    Captured,
    PairMismatchError,
    Progress,
    SourceChangedError,
    SourceUnreadableError,
    capture,
    content,
    list_sources,
)
from ops.backups.certbot_lock import certbot_lock
from ops.backups.discover import BackupPlan
from ops.backups.made_here import record
from ops.backups.scan import Survey
from ops.backups.signature import sign
from ops.errors import OpsError
from ops.files.atomic_file import flush_directory
from ops.files.entry_kind import EntryKind
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

# How often the sources are read again because something changed, and how often because of the same file.
ATTEMPTS = 6
CHANGES_PER_FILE = 3
PAUSE_SECONDS = 0.2
CERTBOT_WAIT = 60.0
PAIR_WAIT = 10.0
LOCK_WAIT = 120.0


class BackupError(OpsError):
    """No backup was made; earlier ones are unchanged."""

    exit_code = 2


@dataclass(frozen=True)
class Created:
    """The backup that was made. ``complaints``: paths missing from it, with the reason; ``unsigned``: why a required
    signature is missing."""

    path: Path
    manifest: Manifest
    bytes: int
    sha256: str
    encrypted: bool
    complaints: dict[str, str] = field(default_factory=dict)
    signed: bool = False
    unsigned: str = ""


# --- the directory of backups --------------------------------------------------------------------------------


def prepare_directory(directory: Path) -> None:
    """Make the directory with mode 0700, or remove other users' access to it. Raises BackupError."""
    try:
        # parents get the umask's mode; only the last one is private
        directory.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise BackupError(
                Text(
                    en=f"{directory}: not a directory; set backup.dir to one",
                    zh=f"{directory}：不是目录；请把 backup.dir 设为目录",
                )
            )
        if status.st_mode & stat.S_ISVTX or status.st_uid != os.geteuid():
            raise BackupError(
                Text(
                    en=f"{directory}: others keep files there too; set backup.dir to a directory of its own",
                    zh=f"{directory}：其他用户也在其中存放文件；请把 backup.dir 设为专用目录",
                )
            )
        if status.st_mode & 0o077:
            directory.chmod(0o700)
    except OSError as error:
        raise BackupError(
            Text(
                en=f"{directory}: {error.strerror or error}; no backup was made",
                zh=f"{directory}：{chinese(error.strerror or error)}；未作备份",
            )
        ) from None


@contextlib.contextmanager
def locked(directory: Path, wait: float = LOCK_WAIT) -> Iterator[None]:
    """Allow one run at a time in this directory. Raises BackupError if another still runs after ``wait`` seconds."""
    deadline = time.monotonic() + wait
    try:
        descriptor = os.open(
            directory / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise BackupError(
            Text(
                en=f"{directory}: {error.strerror or error}; it cannot be locked",
                zh=f"{directory}：{chinese(error.strerror or error)}；无法加锁",
            )
        ) from None
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BackupError(
                        Text(
                            en=f"{directory}: another run has been at work there for {wait:g} s; try again when it is"
                            " done",
                            zh=f"{directory}：另一次运行已占用 {wait:g} 秒；请等它结束后重试",
                        )
                    ) from None
                time.sleep(0.1)
            except OSError as error:
                raise BackupError(
                    Text(
                        en=f"{directory}: {error.strerror or error}; it cannot be locked",
                        zh=f"{directory}：{chinese(error.strerror or error)}；无法加锁",
                    )
                ) from None
        yield
    finally:
        os.close(descriptor)


def remove_left_overs(directory: Path) -> list[Path]:
    """Remove the files that killed runs left. Requires the lock: otherwise they could belong to a running one. Raises
    OSError."""
    paths = left_over_in(directory)
    for path in paths:
        path.unlink()
    return paths


# --- writing ---------------------------------------------------------------------------------------------------


class _Hashing:
    """A file, and the SHA-256 of the bytes written so far."""

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
    """Make one backup in ``directory``, which the caller has locked. ``plan_again`` plans anew from the host; without a
    ``signing_key`` the backup is not signed.

    Raises BackupError if it cannot be made; then no file is left behind."""
    previous = os.umask(0o077)
    try:
        return _create(plan_again, directory, host, compression, recipients, signing_key, progress)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise BackupError(
            Text(
                en=f"no backup was made: {where}{error.strerror or error}; earlier backups in {directory} are as they"
                " were",
                zh=f"未作备份：{where}{chinese(error.strerror or error)}；{directory} 中原有的备份没有变化",
            )
        ) from None
    except (ManifestError, ArchiveError) as error:
        raise BackupError(Text(en=f"no backup was made: {error}", zh=f"未作备份：{chinese(error)}")) from None
    finally:
        os.umask(previous)


@dataclass(frozen=True)
class _Order:
    """The parameters of one backup. ``plan_again`` plans anew from the host; ``created_at``: Unix seconds."""

    plan_again: Callable[[], BackupPlan]
    partial: Path
    created_at: float
    host: str
    compression: Compression
    recipients: Sequence[Recipient]
    progress: Progress


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
    order = _Order(plan_again, partial, now, host, compression, recipients, progress)
    try:
        with certbot_lock(Path(plan.letsencrypt_dir), CERTBOT_WAIT):
            manifest, digest, complaints = _write_consistent(order, plan)
        size = _read_back(partial, digest, progress)
        signature, unsigned = signature_of(partial, signing_key)
        record(directory, digest, path.name)
        publish(partial, path, digest, signature)
    except BaseException:
        # Only the rename of the archive makes it a backup; a checksum or a signature alone does not.
        for leftover in (partial, *(() if path.exists() else companions(path))):
            leftover.unlink(missing_ok=True)
        raise
    return Created(
        path, manifest, size, digest, bool(recipients), complaints, signature is not None, unsigned
    )


def signature_of(archive: Path, signing_key: str) -> tuple[bytes | None, str]:
    """The signature of ``archive``, or the reason why there is none: an unsigned archive is better than none."""
    if not signing_key:
        return None, ""
    try:
        return sign(archive, signing_key), ""
    except OpsError as error:
        return None, str(error)


def free_name(directory: Path, now: float, host: str, compression: Compression, *, encrypted: bool) -> str:
    """The name of a backup made now in ``directory``. Raises BackupError, OSError."""
    second = float(int(now))
    numbers = {name.number for name, _ in backups_in(directory) if name.created_at == second}
    for number in range(1, 1000):
        name = str(ArchiveName(second, number, host_part(host), compression, encrypted))
        # Whatever their form: of two backups of the same second, the later must be listed as the newer.
        if number not in numbers and not (directory / name).exists():
            return name
    raise BackupError(
        Text(
            en=f"{directory}: a thousand backups of this second are there already",
            zh=f"{directory}：这一秒内已有一千份备份",
        )
    )


class _Retries:
    """The obstacles to a consistent reading so far. ``complaints``: path to the reason why it is missing from the
    backup or out of date."""

    def __init__(self) -> None:
        self.complaints: dict[str, str] = {}
        self._attempt = 0
        self._changes: dict[str, int] = {}
        self._mismatched_since: float | None = None

    @property
    def is_last(self) -> bool:
        """Whether a changing file is to be taken as it is, instead of trying once more."""
        return self._attempt >= ATTEMPTS

    def begin(self) -> None:
        """Count one more attempt."""
        self._attempt += 1

    def unreadable(self, error: SourceUnreadableError) -> None:
        """Leave the file out; the attempt does not count."""
        self.complaints[error.path] = error.reason
        self._attempt -= 1

    def mismatched(self, error: PairMismatchError) -> None:
        """Wait for a renewal to end; the attempt does not count. Raises BackupError after PAIR_WAIT seconds."""
        self._mismatched_since = self._mismatched_since or time.monotonic()
        if time.monotonic() - self._mismatched_since > PAIR_WAIT:
            raise BackupError(
                Text(
                    en=f"no backup was made: {error.certificate} and {error.key}: {error.problem};"
                    " finish the renewal, or remove the pair, then try again",
                    zh=f"未作备份：{error.certificate} 与 {error.key}：{chinese(error.problem)}；"
                    "请完成续期或移走这对文件后重试",
                )
            )
        self._attempt -= 1

    def changed(self, path: str) -> None:
        """Leave the file out if it keeps changing. Raises BackupError if too many files do."""
        self._changes[path] = self._changes.get(path, 0) + 1
        if self._changes[path] >= CHANGES_PER_FILE or self.is_last:
            self.complaints[path] = "it kept changing while it was read"
        if self._attempt >= 10 * ATTEMPTS:
            raise BackupError(
                Text(
                    en=f"no backup was made: too much changes while it is read, {path} for one; see backup.include",
                    zh=f"未作备份：读取期间变化的文件过多，例如 {path}；请检查 backup.include",
                )
            )


def _write_consistent(order: _Order, plan: BackupPlan) -> tuple[Manifest, str, dict[str, str]]:
    """Write the archive repeatedly until nothing changed between the first reading and the last. Returns its manifest,
    its SHA-256, and the paths that are missing or out of date (path to reason).

    Raises BackupError, OSError."""
    retries = _Retries()
    while True:
        retries.begin()
        try:
            return _write_once(order, plan, retries)
        except SourceUnreadableError as error:
            retries.unreadable(error)
            continue
        except PairMismatchError as error:
            retries.mismatched(error)
        except SourceChangedError as error:
            retries.changed(error.path)
        time.sleep(PAUSE_SECONDS)
        plan = order.plan_again()


def _write_once(order: _Order, plan: BackupPlan, retries: _Retries) -> tuple[Manifest, str, dict[str, str]]:
    captured = capture(plan, retries.complaints, order.progress)
    manifest = _manifest(order, plan, captured, retries.complaints)
    if not any(item.kind == EntryKind.FILE for item in manifest.entries):
        raise BackupError(
            Text(
                en="no backup was made: there is nothing to save on this host; see backup.include",
                zh="未作备份：本机没有可备份的内容；请检查 backup.include",
            )
        )
    digest = _write(order, manifest, captured)
    changed_path = _difference(captured.survey, list_sources(plan, retries.complaints))
    if changed_path is not None:
        if not retries.is_last:
            raise SourceChangedError(changed_path)
        retries.complaints[changed_path] = (
            "it changed while the backup was made; the backup holds it as it was before"
        )
    missing = {source.path: source.missing for source in manifest.missing}
    return manifest, digest, missing | captured.survey.failed | retries.complaints


def _difference(before: Survey, after: Survey) -> str | None:
    one, two = before.fingerprint(), after.fingerprint()
    if one == two:
        return None
    return next(iter(sorted(path for path in one.keys() | two.keys() if one.get(path) != two.get(path))))


def _manifest(order: _Order, plan: BackupPlan, captured: Captured, complaints: dict[str, str]) -> Manifest:
    sources = captured.survey
    return Manifest(
        created_at=order.created_at,
        host=order.host,
        versions=plan.versions,
        asked=tuple(
            RequestedPath(
                what=source.what, path=source.path, missing=source.missing or complaints.get(source.path, "")
            )
            for source in sources.asked
        ),
        left_out={
            safe_line(path, 1000): reason for path, reason in (sources.left_out | sources.failed).items()
        },
        nginx=plan.nginx,
        letsencrypt_dir=plan.letsencrypt_dir,
        pairs=captured.pairs,
        entries=captured.entries,
    )


def _write(order: _Order, manifest: Manifest, captured: Captured) -> str:
    """The second pass: read every file again, into the archive, and compare it with the first reading. Returns the
    archive's SHA-256.

    Raises SourceChangedError, SourceUnreadableError, OSError."""
    total, bytes_written = manifest.content_bytes, 0

    def content_of(item: ManifestEntry) -> Iterator[bytes]:
        nonlocal bytes_written
        path = f"/{item.path}"
        digest = hashlib.sha256()
        for chunk in content(path, captured.survey.seen[path].version, item.size):
            digest.update(chunk)
            bytes_written += len(chunk)
            yield chunk
        if digest.hexdigest() != item.sha256:
            raise SourceChangedError(path)
        order.progress("writing", bytes_written, total)

    # Never through a link that somebody placed there, nor into a file that another process has open.
    order.partial.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(order.partial, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        hashing = _Hashing(file)
        chunks = compressed(tar_stream(manifest, content_of), order.compression)
        if order.recipients:
            encrypt(chunks, hashing, order.recipients)
        else:
            for chunk in chunks:
                hashing.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return hashing.hexdigest()


def _read_back(partial: Path, digest: str, progress: Progress) -> int:
    """Read the archive back from the disk and compare it with the bytes written. Returns its size in bytes."""
    with partial.open("rb", buffering=0) as file:
        # Read from the disk instead of the cache, if the system supports that.
        with contextlib.suppress(OSError):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        size = os.fstat(file.fileno()).st_size
        bytes_read = 0

        def step(count: int) -> None:
            nonlocal bytes_read
            bytes_read += count
            progress("reading back", bytes_read, size)

        if hash_stream(file, step) != digest:
            raise BackupError(
                Text(
                    en=f"no backup was made: what was written to {partial} is not what is read back; look at the disk",
                    zh=f"未作备份：从 {partial} 读回的内容与写入的不一致；请检查磁盘",
                )
            )
    return size


def publish(partial: Path, path: Path, digest: str, signature: bytes | None) -> None:
    """Rename the archive to its final name. Checksum and signature go first, so that no archive exists without them.
    Raises OSError."""
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
