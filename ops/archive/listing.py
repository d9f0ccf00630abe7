"""The backups in a directory, and which of them are good."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ops.archive.checksum import checksum_problem
from ops.archive.error import ArchiveError
from ops.archive.marks import is_pinned, read_label
from ops.archive.name import ArchiveName, backups_in, is_ahead
from ops.archive.reading import open_archive
from ops.text.language import Text
from ops.text.reasons import chinese, reason


@dataclass(frozen=True)
class ListedBackup:
    """One backup. ``good`` is None if that cannot be determined; ``reason`` explains the judgement; ``pinned``: kept
    whatever the policy says; ``ahead``: its time lies in the future."""

    name: ArchiveName
    path: Path
    bytes: int
    good: bool | None
    reason: Text
    label: str = ""
    pinned: bool = False
    ahead: bool = False


def list_backups(directory: Path) -> list[ListedBackup]:
    """Every backup in ``directory``, judged, the newest first. Raises OSError if it cannot be read."""
    now = time.time()
    return [_listed(name, path, now) for name, path in backups_in(directory)]


def _listed(name: ArchiveName, path: Path, now: float) -> ListedBackup:
    good, judgement = judge(path, encrypted=name.encrypted)
    try:
        size = path.stat().st_size
    except OSError:
        size = 0
    return ListedBackup(
        name,
        path,
        size,
        good,
        judgement,
        label=read_label(path),
        pinned=is_pinned(path),
        ahead=is_ahead(name, now),
    )


def judge(path: Path, *, encrypted: bool) -> tuple[bool | None, Text]:
    """Whether the archive is unchanged since it was made, by its SHA-256, which is written beside it once all of it has
    been read back from the disk; and, if it is not encrypted, whether its manifest can be read. `gte-ops backup verify`
    does more."""
    try:
        problem = checksum_problem(path)
    except FileNotFoundError:
        return _without_checksum(path, encrypted=encrypted)
    except OSError as error:
        words = error.strerror or str(error)
        return False, Text(en=f"it cannot be read: {words}", zh=f"无法读取：{chinese(words)}")
    if problem is not None:
        return False, reason(problem)
    if encrypted:
        return True, Text(
            en="its SHA-256 matches; it is encrypted and was not opened", zh="SHA-256 一致；已加密，未打开"
        )
    try:
        with open_archive(path):
            return True, Text(en="its SHA-256 matches", zh="SHA-256 一致")
    except ArchiveError as error:
        return False, Text(en=error.reason, zh=f"无法使用：{chinese(error.reason)}")


def _without_checksum(path: Path, *, encrypted: bool) -> tuple[bool | None, Text]:
    if encrypted:
        return None, Text(
            en=f"there is no {path.name}.sha256 beside it, and it is encrypted",
            zh=f"旁边没有 {path.name}.sha256，且已加密，无法判断",
        )
    try:
        with open_archive(path) as archive:
            for _ in archive.members():
                pass
    except ArchiveError as error:
        return False, Text(en=error.reason, zh=f"无法使用：{chinese(error.reason)}")
    return True, Text(
        en=f"every file in it is as its manifest says; there is no {path.name}.sha256 beside it",
        zh=f"每个文件都与清单一致；旁边没有 {path.name}.sha256",
    )
