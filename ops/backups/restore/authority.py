"""Whether root may restore to a path that other users control. Pure: owners and modes in, a reason out.

The rule: root does only what the user who controls the path could have done. So the restored entry, the existing entry
and every directory above must belong to that one user, who may write the directory that holds it; ownership does not
change to another user and no file becomes set-user-ID. Otherwise a user could have a file backed up, replace its
directory by a link or another directory, and make root write there.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Collection, Sequence

from ops.archive.manifest import ManifestEntry
from ops.backups.restore.plan import Owners
from ops.collect.host_files import is_program
from ops.files.entry_kind import EntryKind
from ops.files.nofollow_tree import FileEntry
from ops.files.ownership import PathEntry, distrust, may_write
from ops.text.language import Text

GroupsOf = Callable[[int], Collection[int]]


def is_shared(steps: Sequence[PathEntry], trusted: Collection[int]) -> bool:
    """Whether users outside ``trusted`` could have replaced the directory behind ``steps``, or entries in it.

    A sticky directory counts too: whoever came first chose the entry of a name in it."""
    return any(distrust((step,), trusted, listed=True) is not None for step in steps)


def reason_to_refuse_item(
    entries: Sequence[ManifestEntry],
    before: Sequence[FileEntry],
    holder: FileEntry,
    steps: Sequence[PathEntry],
    owners: Owners,
    trusted: Collection[int],
    groups_of: GroupsOf,
) -> Text | None:
    """Why ``entries``, exchanged as one, are not restored in the directory ``holder``, whose ``steps`` other users
    control.

    ``before``: the existing entries, the path itself first."""
    new_owners = {owners.wanted(entry)[0] for entry in entries}
    owner = owners.wanted(entries[0])[0]
    believed = {*trusted, owner}
    if reason := _say_of_others(steps[:-1], believed) or _owner_of_others(steps[-1:], believed):
        return reason
    groups = groups_of(owner)
    if owner not in trusted and not may_write(holder.mode, holder.uid, holder.gid, owner, groups):
        return Text(
            en=f"user {owner}, whose it is in the backup, may not write {steps[-1].path}",
            zh=f"它在备份中属于用户 {owner}，而该用户无权写入 {steps[-1].path}",
        )
    if reason := _two_owners(new_owners | {entry_here.uid for entry_here in before}):
        return reason
    allowed_groups = {holder.gid, *groups, *(entry_here.gid for entry_here in before[:1])}
    return _special_bits(entries, owners, allowed_groups)


def reason_to_refuse_metadata(
    entry: ManifestEntry,
    before: FileEntry,
    steps: Sequence[PathEntry],
    owners: Owners,
    trusted: Collection[int],
    groups_of: GroupsOf,
) -> Text | None:
    """Why the directory ``before``, below the shared ``steps``, does not get mode and owner of ``entry`` back."""
    owner = owners.wanted(entry)[0]
    if reason := _two_owners({owner, before.uid}):
        return reason
    if reason := _say_of_others(steps, {*trusted, owner}):
        return reason
    return _special_bits((entry,), owners, {before.gid, *groups_of(owner)})


def refused_link(link: str, uid: int) -> Text:
    """Why entries behind a link are not restored."""
    return Text(
        en=f"{link} is a link of user {uid} to what is not that user's",
        zh=f"{link} 是用户 {uid} 的链接，指向不属于该用户的目录",
    )


def read_only_place(directory: str) -> Text:
    """Why nothing is restored in ``directory``."""
    return Text(en=f"{directory} is on a read-only file system", zh=f"{directory} 所在的文件系统只读")


def of_a_package() -> Text:
    """Why a file of a package is not replaced."""
    return Text(
        en="a package's file is here; it stays (reinstall the package for another one)",
        zh="本机已有软件包安装的文件，保持不变（需要其他版本请重装软件包）",
    )


def is_packaged(path: str) -> bool:
    """Whether the file at ``path`` is a package's: below /usr and the like, without an administrator's units."""
    return is_program(path) and "/systemd/system/" not in path


def unstaged(place: str) -> Text:
    """Why an entry is not restored if it could only be staged in another user's directory."""
    return Text(
        en=f"the file system of {place} has no directory that is root's alone to prepare it in",
        zh=f"{place} 所在的文件系统中没有仅属 root 的目录可供准备文件",
    )


def _owner_of_others(steps: Sequence[PathEntry], believed: Collection[int]) -> Text | None:
    for step in steps:
        if step.uid not in believed:
            return Text(
                en=f"{step.path} belongs to user {step.uid}, and the backup has it as another's",
                zh=f"{step.path} 属于用户 {step.uid}，而备份中属于其他用户",
            )
    return None


def _say_of_others(steps: Sequence[PathEntry], believed: Collection[int]) -> Text | None:
    if reason := _owner_of_others(steps, believed):
        return reason
    for step in steps:
        if distrust((step,), believed) is not None:
            return Text(en=f"others may write {step.path}", zh=f"其他用户可以写入 {step.path}")
    return None


def _two_owners(uids: Collection[int]) -> Text | None:
    if len(uids) < 2:
        return None
    numbers = ", ".join(map(str, sorted(uids)))
    return Text(
        en=f"it is of several users, in the backup and on this host ({numbers})",
        zh=f"备份中与当前的内容分属多个用户（{numbers}）",
    )


def _special_bits(entries: Sequence[ManifestEntry], owners: Owners, groups: Collection[int]) -> Text | None:
    for entry in entries:
        special = entry.mode & (stat.S_ISUID | stat.S_ISGID) if entry.kind != EntryKind.LINK else 0
        if special and (entry.kind == EntryKind.FILE or owners.wanted(entry)[1] not in groups):
            return Text(
                en="it is set-user-ID or set-group-ID in the backup",
                zh="它在备份中带有 set-user-ID 或 set-group-ID 位",
            )
    return None
