"""Where an installation remembers itself: the record, the journal of a run that has not ended, the files as they were.

Below /var/lib/gte-ops/install, mode 0700. Files have the paths that they have in the tree: an image's record is the
host's once that has booted. A line of the journal is on disk before its step begins, and tells how the step is undone:
so a run that was killed is undone by the next one, whichever step it was killed in (fsync(2))."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

from ops.errors import ErrorKind, OpsError
from ops.files.atomic_file import flush_directory, write_atomically
from ops.files.bounded_read import read_regular_file
from ops.files.host_lock import only_change
from ops.files.nofollow import reason_not_to_trust
from ops.installation.steps import Original, Record, Undo, UndoFile, UndoLink
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, chinese, system_error
from ops.text.sanitize import safe_line

T = TypeVar("T")

PLACE = "var/lib/gte-ops/install"
MAX_FILE_BYTES = 8 << 20
# The descriptor of the lock, in the environment of a program that takes part in the run which holds it.
LOCK_VARIABLE = "GTE_OPS_INSTALL_LOCK"


class InstallLockedError(OpsError):
    """Another installation is running."""

    kind = ErrorKind.LOCKED


class Stage(StrEnum):
    """How far an upgrade is. Until FINISH an upgrade that was cut off is undone; from then on it is carried on."""

    BUILD = "build"
    SWITCH = "switch"
    FINISH = "finish"


class UpgradeRun(msgspec.Struct, frozen=True):
    """An upgrade from the environment ``source`` to ``target``. ``is_built``: this run made ``target``; ``copy``: the
    copy of an environment that is made a version."""

    source: str
    target: str
    stage: Stage = Stage.BUILD
    is_built: bool = False
    copy: str | None = None


class Operation(StrEnum):
    """What a run does."""

    INSTALL = "install"
    UNINSTALL = "uninstall"


class _Begin(msgspec.Struct, frozen=True):
    """The journal's first line."""

    run: str
    operation: Operation
    purge: bool = False


class Unfinished(msgspec.Struct, frozen=True):
    """A run that did not end: ``undo`` of each step that began, in their order."""

    run: str
    operation: Operation
    purge: bool
    undo: tuple[Undo, ...]


class InstallStore:
    """The directory below ``root``. Use `locked` around everything that writes."""

    def __init__(self, root: Path) -> None:
        self.directory = root / PLACE
        self._root = root
        self._journal = self.directory / "journal.jsonl"
        self._record = self.directory / "record.json"
        self._originals = self.directory / "originals"
        self._upgrade = self.directory / "upgrade.json"
        self.lock: int | None = None
        """The lock's descriptor, for a program that takes part in this run; None without the lock."""

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the lock, or take part in the run that holds it (`LOCK_VARIABLE`).

        Raises InstallLockedError, or HostLockedError for this host itself; OpsError if the directory cannot be made or
        others may write it."""
        if self.is_part_of_a_run:
            yield
            return
        with only_change() if self._root == Path("/") else contextlib.nullcontext(), self._locked():
            yield

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = -1
        if not self.directory.resolve().is_relative_to(self._root.resolve()):
            raise OpsError(
                Text(
                    en=f"{self.directory}: a link leads out of {self._root}; nothing was changed",
                    zh=f"{self.directory}：有链接指向 {self._root} 之外；未作任何改动",
                )
            )
        made = [path for path in self.directory.parents if not os.path.lexists(path)]
        try:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if (why := reason_not_to_trust(str(self.directory), listed=True)) is not None:
                raise OpsError(
                    Text(
                        en=f"{self.directory}: {safe_line(why)}; nothing was changed",
                        zh=f"{self.directory}：{chinese(safe_line(why))}；未作任何改动",
                    )
                )
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
            descriptor = os.open(self.directory / "lock", flags, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_nlink == 0:  # the run that held it removed it
                raise BlockingIOError
        except BlockingIOError:
            os.close(descriptor)
            raise InstallLockedError(
                Text(
                    en=f"another gte-ops install, upgrade or uninstall is running ({self.directory}); wait for its"
                    " end",
                    zh=f"另一个 gte-ops install、upgrade 或 uninstall 正在运行（{self.directory}）；请等它结束",
                )
            ) from None
        except OSError as error:
            raise OpsError(system_error(self.directory, error, NOTHING_CHANGED)) from None
        self.lock = descriptor
        try:
            yield
        finally:
            self.lock = None
            with contextlib.suppress(OSError):
                self._remove_if_unused(made)
            os.close(descriptor)

    @property
    def is_part_of_a_run(self) -> bool:
        """Whether the run that holds the lock has started this program, and waits for it."""
        with contextlib.suppress(OSError, ValueError):
            own = os.fstat(int(os.environ.get(LOCK_VARIABLE, "")))
            held = (self.directory / "lock").stat()
            return (own.st_dev, own.st_ino) == (held.st_dev, held.st_ino)
        return False

    def upgrade(self) -> UpgradeRun | None:
        """The upgrade that did not end; None if the last one did. Raises OpsError if that cannot be read."""
        advice = Text(
            en="nothing was changed: move it away, and the version that serves counts as the present one",
            zh="未作任何改动：移走它，则正在服务的版本视为当前版本",
        )
        return _decoded(self._upgrade, UpgradeRun, advice)

    def set_upgrade(self, run: UpgradeRun | None) -> None:
        """Put the state of an upgrade on disk, before what it says begins; None: it has ended. Raises OSError."""
        if run is None:
            self._upgrade.unlink(missing_ok=True)
            flush_directory(self.directory)
        else:
            write_atomically(self._upgrade, msgspec.json.encode(run))

    def record(self) -> Record | None:
        """What is installed; None for nothing. Raises OpsError if the record cannot be read."""
        advice = Text(
            en="move it away, and what is installed counts as the host's own",
            zh="移走它，则已安装的内容视为主机原有",
        )
        record = _decoded(self._record, Record, advice)
        if record is None:
            return None
        return msgspec.structs.replace(record, undo=tuple(map(self._outside, record.undo)))

    def unfinished(self) -> Unfinished | None:
        """The run that did not end; None if the last one did. A line that a crash cut short began nothing. Raises
        OpsError if the journal cannot be read."""
        try:
            content = read_regular_file(str(self._journal), MAX_FILE_BYTES).content
            lines = content.split(b"\n")[:-1]
            if not lines:
                return None
            begin = msgspec.json.decode(lines[0], type=_Begin)
            undo = tuple(self._outside(msgspec.json.decode(line, type=Undo)) for line in lines[1:])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            why = _why_unreadable(error)
            raise OpsError(
                Text(
                    en=f"{self._journal}: cannot be read ({why.en}); nothing was changed: move it away,"
                    " and what the run that was cut off did stays as it is",
                    zh=f"{self._journal}：无法读取（{why.zh}）；未作任何改动："
                    "移走它，则被中断的运行所做的改动保持原样",
                )
            ) from None
        return Unfinished(begin.run, begin.operation, begin.purge, undo)

    def begin(self, operation: Operation, *, purge: bool = False) -> str:
        """Begin a run, and return its name. Raises OSError."""
        run = secrets.token_hex(8)
        first_line = msgspec.json.encode(_Begin(run, operation, purge)) + b"\n"
        write_atomically(self._journal, first_line)
        return run

    def intend(self, undo: Undo) -> None:
        """Put on disk how the step that is about to begin is undone. Raises OSError."""
        descriptor = os.open(self._journal, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.write(descriptor, msgspec.json.encode(self._inside(undo)) + b"\n")
            os.fsync(descriptor)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._journal)) from None
        finally:
            os.close(descriptor)

    def commit(self, record: Record) -> None:
        """The run has ended: from here on ``record`` is what is installed. Raises OSError."""
        inside = msgspec.structs.replace(record, undo=tuple(map(self._inside, record.undo)))
        write_atomically(self._record, msgspec.json.encode(inside))
        self.end()

    def is_committed(self, run: str) -> bool:
        """Whether the record is this run's."""
        try:
            record = self.record()
        except OpsError:
            return False
        return record is not None and record.run == run

    def end(self) -> None:
        """Remove the journal. Raises OSError."""
        self._journal.unlink(missing_ok=True)
        flush_directory(self.directory)

    def forget(self) -> None:
        """Nothing is installed any more. Raises OSError."""
        self._record.unlink(missing_ok=True)
        self.set_upgrade(None)
        self.end()

    def _inside(self, item: Undo) -> Undo:
        """``item`` with the paths that it has in the tree."""
        return self._renamed(item, lambda path: f"/{Path(path).relative_to(self._root)}")

    def _outside(self, item: Undo) -> Undo:
        """``item`` with the paths that it has on this machine."""
        return self._renamed(item, lambda path: str(self._root / path.lstrip("/")))

    def _renamed(self, item: Undo, name: Callable[[str], str]) -> Undo:
        # In a tree that is not the running host's there are no others (run.py).
        if self._root == Path("/") or not isinstance(item, UndoFile | UndoLink):
            return item
        return msgspec.structs.replace(item, path=name(item.path), made=tuple(map(name, item.made)))

    def _remove_if_unused(self, made: Sequence[Path]) -> None:
        """Remove the directory, and those ``made`` for it that nobody else has put anything into, unless something is
        installed."""
        if self._record.exists() or self._journal.exists() or self._upgrade.exists():
            return
        shutil.rmtree(self.directory)
        for path in dict.fromkeys((self.directory.parent, *made)):
            path.rmdir()

    def keep(self, path: Path) -> Original | None:
        """Keep a file as it is, on disk before anything is done to it; None if there is none. Raises OSError."""
        try:
            status = path.stat()
            present = read_regular_file(str(path), MAX_FILE_BYTES)
        except FileNotFoundError:
            return None
        if not present.is_whole:
            raise OSError(errno.EFBIG, "too large to be kept", str(path))
        content = present.content
        digest = digest_of(content)
        write_atomically(self._originals / digest, content)
        return Original(digest, status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_mtime_ns)

    def kept(self, original: Original) -> bytes:
        """The content of a kept file. Raises OSError, also if it is no longer that content."""
        path = self._originals / Path(original.digest).name
        content = read_regular_file(str(path), MAX_FILE_BYTES).content
        if digest_of(content) != original.digest:
            raise OSError(errno.EIO, "is not what was kept", str(path))
        return content


def digest_of(content: bytes) -> str:
    """By what a record knows a file's content: SHA-256, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _decoded(path: Path, kind: type[T], advice: Text) -> T | None:
    """What a file of the store holds; None without the file. Raises OpsError, with ``advice``, if it cannot be read."""
    try:
        return msgspec.json.decode(read_regular_file(str(path), MAX_FILE_BYTES).content, type=kind)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        why = _why_unreadable(error)
        raise OpsError(
            Text(
                en=f"{path}: cannot be read ({why.en}); {advice.en}",
                zh=f"{path}：无法读取（{why.zh}）；{advice.zh}",
            )
        ) from None


def _why_unreadable(error: Exception) -> Text:
    """Why a file of the store cannot be read: the system's words, or that its content is none of ours."""
    if isinstance(error, OSError):
        words = safe_line(error.strerror or str(error))
        return Text(en=words, zh=chinese(words))
    return Text(en=safe_line(str(error)), zh="内容已损坏，不是有效的记录")
