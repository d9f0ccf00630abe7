"""The journal of a restore, and the rule by which the next run finishes a killed one.

The journal is made durable before each phase and not changed during one; the inodes show which paths were exchanged
already:

- ``preparing``: nothing was touched. Staged files are removed.
- ``exchanging``: the restore was not validated. Every path that has the new inode gets the old one back, in reverse
  order; then ``undone``.
- ``undone``, ``done``: decided. The rest of the staging directory is removed.

Each of these can be repeated, so the next run can finish one that is killed during recovery. A path that somebody else
replaced meanwhile is left alone and reported.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import msgspec

from ops.errors import OpsError
from ops.files.atomic_file import flush_directory, taking_its_name
from ops.files.entry_kind import EntryKind
from ops.files.nofollow import trusted_users
from ops.files.nofollow_tree import FileEntry, NoFollowTree
from ops.text.language import Text

JOURNAL_NAME = ".gte-ops-restore.json"
STAGE_PREFIX = ".gte-ops-restore-"
MAX_JOURNAL_BYTES = 256 << 20
# The errors of a path after somebody replaced a directory above it by another directory, a file or a link.
_REPLACED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ESTALE)


class RestoreState(StrEnum):
    """How far a restore has come. The values are on disk, in the journal."""

    PREPARING = "preparing"
    EXCHANGING = "exchanging"
    UNDONE = "undone"
    DONE = "done"


class RestoreLockedError(OpsError):
    """Another restore is running."""


class PathExchange(msgspec.Struct, frozen=True):
    """One path and its replacement. ``device`` and ``inode``: of the new content; ``had``: the path existed before;
    ``second``: its second name in the staging directory, on file systems that cannot exchange."""

    path: str
    staged: str
    device: int
    inode: int
    had: bool
    second: str = ""


class MetadataRecord(msgspec.Struct, frozen=True):
    """Mode and owner of a directory, before and after."""

    path: str
    mode: int
    uid: int
    gid: int
    new_mode: int
    new_uid: int
    new_gid: int


class RestoreJournal(msgspec.Struct, frozen=True, kw_only=True):
    """One restore under way. ``stages``: the directories that it made; ``reloaded``: nginx may have read the new files;
    ``pinned``: directories that other users control, path to device and inode."""

    id: str
    root: str
    archive: str
    state: RestoreState
    stages: tuple[str, ...]
    swaps: tuple[PathExchange, ...] = ()
    kept: tuple[MetadataRecord, ...] = ()
    reloaded: bool = False
    pinned: dict[str, tuple[int, int]] = {}


class Recovery(msgspec.Struct, frozen=True):
    """The recovery of an unfinished restore: ``state`` as found, how many paths were undone, which were left because
    somebody changed them since, and whether nginx has to load the old files again."""

    archive: str
    root: str
    state: RestoreState
    put_back: int
    left: tuple[str, ...]
    reload: bool


@contextlib.contextmanager
def only_restore(directory: Path) -> Iterator[None]:
    """Allow one restore at a time: flock(2) on ``directory`` itself, released with the process.

    Raises RestoreLockedError, OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RestoreLockedError(
                Text(
                    en=f"{directory}: another restore is at work here; wait for it to end",
                    zh=f"{directory}：另一次恢复正在进行；请等它结束",
                )
            ) from None
        yield
    finally:
        os.close(descriptor)


def write_journal(directory: Path, journal: RestoreJournal) -> None:
    """Replace the journal atomically and durably. Raises OSError; then the previous one remains."""
    with taking_its_name(directory / JOURNAL_NAME, directory / f"{JOURNAL_NAME}.new") as file:
        file.write(msgspec.json.encode(journal))


def read_journal(directory: Path) -> RestoreJournal | None:
    """The journal in ``directory``, None if no restore is under way. Raises OpsError for one that cannot be read."""
    path = directory / JOURNAL_NAME
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            if (uid := os.fstat(descriptor).st_uid) not in trusted_users():
                raise OpsError(
                    Text(
                        en=f"{path} is of user {uid}: no restore of yours wrote it; remove it",
                        zh=f"{path} 属于用户 {uid}，不是你的恢复写下的；请删除它",
                    )
                )
            return msgspec.json.decode(file.read(MAX_JOURNAL_BYTES), type=RestoreJournal)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise OpsError(
            Text(
                en=f"{path}: the journal of a restore that did not end cannot be read ({error});"
                " compare with the backup before it, then remove this file",
                zh=f"{path}：无法读取未完成的恢复的日志（{error}）；请与恢复前的备份核对，然后删除此文件",
            )
        ) from None


def remove_journal(directory: Path) -> None:
    """Remove the journal: the restore has ended. Raises OSError."""
    (directory / f"{JOURNAL_NAME}.new").unlink(missing_ok=True)
    (directory / JOURNAL_NAME).unlink(missing_ok=True)
    flush_directory(directory)


def undo(tree: NoFollowTree, journal: RestoreJournal) -> tuple[int, tuple[str, ...]]:
    """Undo the exchanges, the last one first, however many there were. Returns how many paths were undone, and those
    left because they are neither old nor new any more. Raises OSError; may then be called again."""
    put_back, untouched = 0, []
    touched: set[str] = set()
    tree.pin(journal.pinned)
    for exchange in reversed(journal.swaps):
        try:
            was_new = _put_back(tree, exchange)
        except OSError as error:
            if error.errno not in _REPLACED:
                raise
            was_new = None
        if was_new:
            put_back += 1
            touched.update((_directory(exchange.path), _directory(exchange.staged)))
        elif was_new is None:
            untouched.append(exchange.path)
    for change in reversed(journal.kept):
        entry = _find(tree, change.path)
        if (
            entry is None
            or entry.kind != EntryKind.DIRECTORY
            # Owner and mode are set by two calls, so each may be old or new.
            or entry.mode not in (change.mode, change.new_mode)
            or entry.uid not in (change.uid, change.new_uid)
            or entry.gid not in (change.gid, change.new_gid)
            or journal.pinned.get(change.path, (entry.device, entry.inode)) != (entry.device, entry.inode)
        ):
            untouched.append(change.path)
        elif (entry.mode, entry.uid, entry.gid) != (change.mode, change.uid, change.gid):
            tree.set_facts(change.path, mode=change.mode, owner=(change.uid, change.gid))
            put_back += 1
            touched.add(change.path)
    for directory in sorted(touched):
        try:
            tree.sync(directory)
        except OSError as error:
            if error.errno not in _REPLACED:
                raise
    return put_back, tuple(reversed(untouched))


def _put_back(tree: NoFollowTree, exchange: PathExchange) -> bool | None:
    """Undo one exchange. Returns True if it was undone, False if there was nothing to undo, None if somebody replaced
    the path since. Raises OSError."""
    here, staged = _find(tree, exchange.path), tree.find(exchange.staged)
    new = (exchange.device, exchange.inode)
    if here is None or (here.device, here.inode) != new:
        is_staged = staged is not None and (staged.device, staged.inode) == new
        is_replaced = _was_changed_since(tree, exchange, is_there=here is not None, is_staged=is_staged)
        return None if is_replaced else False
    if not exchange.had:
        tree.move(exchange.path, exchange.staged)
    elif exchange.second:
        tree.replace(exchange.second, exchange.path)
    else:
        tree.exchange(exchange.staged, exchange.path)
        staged_entry = tree.find(exchange.staged)
        if (
            staged_entry is None or (staged_entry.device, staged_entry.inode) != new
        ):  # somebody replaced it between the check and the exchange
            tree.exchange(exchange.staged, exchange.path)
            return None
    return True


def _find(tree: NoFollowTree, path: str) -> FileEntry | None:
    """The entry at ``path``; None also if somebody has replaced a directory above it. Raises OSError."""
    try:
        return tree.find(path)
    except OSError as error:
        if error.errno not in _REPLACED:
            raise
        return None


def _was_changed_since(
    tree: NoFollowTree, exchange: PathExchange, *, is_there: bool, is_staged: bool
) -> bool:
    """Whether a path without the new content was exchanged nevertheless, and replaced since."""
    if is_staged:
        return False  # not exchanged yet, or put back already
    if exchange.second:
        return tree.find(exchange.second) is not None
    return is_there or exchange.had


def clear_stages(tree: NoFollowTree, journal: RestoreJournal) -> None:
    """Remove the staged files and the replaced ones. Raises OSError."""
    for stage in journal.stages:
        # Although the journal is our own, remove nothing but staging directories.
        if _is_stage(stage):
            with contextlib.suppress(NotADirectoryError):
                tree.remove(stage)


def recover(directory: Path) -> Recovery | None:
    """Finish a killed restore by the rule above; None if there is none. Call with the lock held.

    Raises OpsError if the journal cannot be read, OSError if the disk fails; the journal then stays."""
    journal = read_journal(directory)
    if journal is None:
        (directory / f"{JOURNAL_NAME}.new").unlink(missing_ok=True)
        return None
    tree = NoFollowTree(Path(journal.root))
    put_back, untouched = 0, tuple[str, ...]()
    try:
        if journal.state == RestoreState.EXCHANGING:
            put_back, untouched = undo(tree, journal)
            write_journal(directory, msgspec.structs.replace(journal, state=RestoreState.UNDONE))
        clear_stages(tree, journal)
        remove_journal(directory)
    finally:
        tree.close()
    return Recovery(
        archive=journal.archive,
        root=journal.root,
        state=journal.state,
        put_back=put_back,
        left=tuple(tree.shown(path) for path in untouched),
        reload=journal.reloaded and journal.state in (RestoreState.EXCHANGING, RestoreState.UNDONE),
    )


def recover_if_idle(directory: Path) -> Recovery | None:
    """`recover`, unless another process is restoring right now; None also if the directory does not exist.

    Raises OpsError, OSError."""
    try:
        if not (directory / JOURNAL_NAME).exists():
            return None
    except PermissionError:
        return None  # another user's backups: another user's restores
    try:
        with only_restore(directory):
            return recover(directory)
    except RestoreLockedError:
        return None


def _directory(path: str) -> str:
    return path.rpartition("/")[0]


def _is_stage(path: str) -> bool:
    return path.rpartition("/")[2].startswith(STAGE_PREFIX) and ".." not in path.split("/")
