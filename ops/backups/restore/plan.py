"""The changes of a restore: a backup's entries compared with the host's. Pure; `ops.backups.restore.apply` reads and
writes."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from ops.archive.manifest import Manifest, ManifestEntry, resolve
from ops.errors import UsageError
from ops.files.entry_kind import EntryKind
from ops.files.nofollow_tree import FileEntry
from ops.text.language import Text


class Difference(StrEnum):
    """How a path on the host differs from the backup's entry."""

    NEW = "new"
    KIND = "kind"
    CONTENT = "content"
    TARGET = "target"
    MODE = "mode"
    OWNER = "owner"
    SURPLUS = "surplus"


@dataclass(frozen=True)
class Present:
    """The existing entry at a path: its facts, a file's SHA-256 if its size matches, a directory's names."""

    found: FileEntry
    sha256: str = ""
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class PathDifference:
    """One difference. ``entry`` is None for a file that exists but is not in the backup (`surplus`)."""

    path: str
    difference: Difference
    entry: ManifestEntry | None
    before: FileEntry | None


@dataclass(frozen=True)
class Item:
    """A path that is exchanged as a whole; with a directory, everything below it. ``entries``: its new content, the
    path itself first; ``before``: the existing entry."""

    path: str
    entries: tuple[ManifestEntry, ...]
    before: FileEntry | None


@dataclass(frozen=True)
class MetadataChange:
    """A directory that stays and gets its mode and owner back."""

    path: str
    entry: ManifestEntry
    before: FileEntry
    mode: int
    owner: tuple[int, int] | None


@dataclass(frozen=True)
class RefusedItem:
    """A path that is not restored because other users control it, and why."""

    path: str
    reason: Text


@dataclass(frozen=True)
class RestorePlan:
    """``untouched``: paths in directories that were backed up whole, not in the backup, and left as they are.
    ``owners_kept``: how many owners would have to change and cannot, because only root may."""

    items: tuple[Item, ...]
    adjustments: tuple[MetadataChange, ...]
    changes: tuple[PathDifference, ...]
    untouched: tuple[str, ...]
    owners_kept: int
    refused: tuple[RefusedItem, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether everything is already as in the backup."""
        return not self.items and not self.adjustments


def without_refused(
    plan: RestorePlan, refused_links: Sequence[RefusedItem], reasons: Mapping[str, Text]
) -> RestorePlan:
    """``plan`` without the items and directories in ``reasons`` (path to reason); ``refused_links`` are listed with
    them."""
    items = {item.path for item in plan.items if item.path in reasons}
    return replace(
        plan,
        items=tuple(item for item in plan.items if item.path not in items),
        adjustments=tuple(each for each in plan.adjustments if each.path not in reasons),
        changes=tuple(
            change
            for change in plan.changes
            if change.path not in reasons and not any(parent in items for parent in parents(change.path))
        ),
        refused=(*refused_links, *(RefusedItem(path, reason) for path, reason in reasons.items())),
    )


@dataclass(frozen=True)
class Owners:
    """Names of this machine's users and groups to numbers; ``may_set``: whether this process may give files away."""

    users: Mapping[str, int]
    groups: Mapping[str, int]
    may_set: bool

    def wanted(self, entry: ManifestEntry) -> tuple[int, int]:
        """The ids for an entry: those of its names if this machine knows them, else the entry's own numbers; root's if
        another account here has such a number."""
        return _number(entry.owner, entry.uid, self.users), _number(entry.group, entry.gid, self.groups)


def _number(name: str, number: int, known: Mapping[str, int]) -> int:
    if not name:
        return number
    return known.get(name, 0 if number in known.values() else number)


@dataclass(frozen=True)
class LackingAccount:
    """A user (else a group) of the backup that this machine does not have. ``number``: the backup's; ``files``: how
    many entries it owns; ``taken_by``: whose that number is here, or empty."""

    name: str
    number: int
    is_group: bool
    files: int
    taken_by: str = ""

    @property
    def words(self) -> Text:
        """What that means for its files, and what to do."""
        kind, kind_zh = ("group", "组") if self.is_group else ("user", "用户")
        add = "groupadd --system" if self.is_group else "useradd --system"
        if self.taken_by:
            fate = f"{self.number} is {self.taken_by}'s here, so root gets its {self.files} files"
            fate_zh = f"编号 {self.number} 在本机属于 {self.taken_by}，其 {self.files} 个文件改归 root"
        else:
            fate = f"its {self.files} files get its number, {self.number}"
            fate_zh = f"其 {self.files} 个文件使用其编号 {self.number}"
        return Text(
            en=f"there is no {kind} {self.name} here: {fate}; `{add} {self.name}`, then restore again",
            zh=f"本机没有{kind_zh} {self.name}：{fate_zh}；请先 `{add} {self.name}`，再恢复一次",
        )


def lacking_accounts(entries: Sequence[ManifestEntry], owners: Owners) -> tuple[LackingAccount, ...]:
    """The users, then the groups, that own ``entries`` and that this machine does not have."""
    kinds = (
        (False, owners.users, [(entry.owner, entry.uid) for entry in entries]),
        (True, owners.groups, [(entry.group, entry.gid) for entry in entries]),
    )
    lacking = []
    for is_group, known, holders in kinds:
        counts: dict[tuple[str, int], int] = {}
        for holder in holders:
            if holder[0] and holder[0] not in known:
                counts[holder] = counts.get(holder, 0) + 1
        names = {number: name for name, number in known.items()}
        lacking += [
            LackingAccount(name, number, is_group, count, names.get(number, ""))
            for (name, number), count in sorted(counts.items())
        ]
    return tuple(lacking)


def chosen_entries(
    manifest: Manifest, paths: Sequence[str]
) -> tuple[tuple[ManifestEntry, ...], tuple[str, ...]]:
    """The entries at and below ``paths`` (absolute, as on the host), with the directories above them, and the paths as
    the manifest has them; all entries and no path without any.

    Raises UsageError for a path that is not in the backup."""
    if not paths:
        return manifest.entries, ()
    by_path = {entry.path: entry for entry in manifest.entries}
    targets = []
    for path in paths:
        inside = posixpath.normpath(path).strip("/")
        if inside in ("", "."):
            return manifest.entries, ()
        target = inside if inside in by_path else resolve(inside, by_path)
        if target not in by_path:
            raise UsageError(
                Text(
                    en=f"{path} is not in this backup; `gte-ops backup restore --dry-run` shows what is",
                    zh=f"{path} 不在此备份中；用 `gte-ops backup restore --dry-run` 查看其中的内容",
                )
            )
        targets.append(target)
    above = {parent for path in targets for parent in parents(path)}
    selection = tuple(
        entry
        for entry in manifest.entries
        if entry.path in above or any(is_below(entry.path, path) for path in targets)
    )
    return selection, tuple(targets)


def is_below(path: str, directory: str) -> bool:
    """Whether ``path`` is ``directory`` or lies below it."""
    return path == directory or path.startswith(f"{directory}/")


def parents(path: str) -> list[str]:
    """The directories above ``path``, the nearest first; not the root."""
    directories = []
    while path := posixpath.dirname(path):
        directories.append(path)
    return directories


def exchanged_whole(manifest: Manifest, entries: Collection[ManifestEntry]) -> frozenset[str]:
    """The directories that are replaced, not merged: those in certbot's archive/.

    certbot takes the highest number there for the newest certificate (certbot/_internal/storage.py, newest available
    version): a file from after the backup would be linked again at the next renewal."""
    if not manifest.letsencrypt_dir:
        return frozenset()
    archive_path = posixpath.join(manifest.letsencrypt_dir.strip("/"), "archive")
    archive = resolve(archive_path, {entry.path: entry for entry in manifest.entries})
    return frozenset(
        entry.path
        for entry in entries
        if entry.kind == EntryKind.DIRECTORY and entry.whole and posixpath.dirname(entry.path) == archive
    )


def make_plan(
    entries: Sequence[ManifestEntry],
    present: Mapping[str, Present],
    whole: Collection[str],
    owners: Owners,
    requested: Collection[str] = (),
) -> RestorePlan:
    """The changes that make the host's entries equal to ``entries``.

    ``present``: the existing entries at these paths, and below the directories ``whole``, which are replaced.
    ``requested``: the requested paths; directories above them are created if missing and otherwise left alone."""
    replaced = frozenset(path for path in whole if _differs_inside(path, entries, present, owners))
    planner = _Planner(frozenset(entry.path for entry in entries), replaced, present, owners)
    for entry in entries:
        above_what_was_asked = bool(requested) and not any(is_below(entry.path, path) for path in requested)
        if not (above_what_was_asked and entry.path in present):
            planner.add(entry)
    return planner.plan()


class _Planner:
    """Sorts the entries, parents first, into those that are exchanged, those that only change mode or owner, and those
    that stay."""

    def __init__(
        self,
        paths: frozenset[str],
        replaced: frozenset[str],
        present: Mapping[str, Present],
        owners: Owners,
    ) -> None:
        """``paths``: the paths of all entries; ``replaced``: the directories that are exchanged with all they hold."""
        self._known, self._replaced = paths, replaced
        self._present, self._owners = present, owners
        # The exchanged items: by topmost path, the new entries, and the existing one.
        self._items: dict[str, list[ManifestEntry]] = {}
        self._before: dict[str, FileEntry | None] = {}
        self._adjustments: list[MetadataChange] = []
        self._changes: list[PathDifference] = []
        self._untouched: list[str] = []
        self._owners_kept = 0

    def add(self, entry: ManifestEntry) -> None:
        """Compare one entry with the existing one at its path."""
        here = self._present.get(entry.path)
        differences = self._compare(entry, here)
        root = next((path for path in parents(entry.path) if path in self._items), None)
        if root is not None:
            self._items[root].append(entry)
        elif (
            here is not None and entry.kind == EntryKind.DIRECTORY and here.found.kind == EntryKind.DIRECTORY
        ):
            self._add_directory(entry, here, differences)
        elif differences and not _is_directory_behind_link(entry, here):
            self._begin_item(entry, here.found if here else None)

    def _compare(self, entry: ManifestEntry, here: Present | None) -> list[Difference]:
        differences = _differences(entry, here, self._owners)
        if Difference.OWNER in differences and not self._owners.may_set:
            self._owners_kept += 1
            differences.remove(Difference.OWNER)
        present = here.found if here else None
        self._changes += [
            PathDifference(entry.path, difference, entry, present) for difference in differences
        ]
        return differences

    def _add_directory(self, entry: ManifestEntry, here: Present, differences: Sequence[Difference]) -> None:
        inside = (f"{entry.path}/{name}" for name in here.names)
        surplus = [path for path in inside if path not in self._known]
        if entry.path in self._replaced:
            self._begin_item(entry, here.found)
            self._changes += [
                PathDifference(path, Difference.SURPLUS, None, present.found)
                for path in surplus
                if (present := self._present.get(path))
            ]
            return
        if entry.whole:
            self._untouched += surplus
        if differences:
            owner = self._owners.wanted(entry) if self._owners.may_set else None
            self._adjustments.append(MetadataChange(entry.path, entry, here.found, entry.mode, owner))

    def _begin_item(self, entry: ManifestEntry, before: FileEntry | None) -> None:
        self._items[entry.path], self._before[entry.path] = [entry], before

    def plan(self) -> RestorePlan:
        """The plan for the entries added."""
        return RestorePlan(
            items=tuple(
                Item(path, tuple(inside), self._before[path]) for path, inside in self._items.items()
            ),
            adjustments=tuple(self._adjustments),
            changes=tuple(c for c in self._changes if not _is_behind_link(c, self._present)),
            untouched=tuple(self._untouched),
            owners_kept=self._owners_kept,
        )


def _differences(entry: ManifestEntry, here: Present | None, owners: Owners) -> list[Difference]:
    if here is None:
        return [Difference.NEW]
    present = here.found
    if present.kind != entry.kind:
        return [Difference.KIND]
    differences: list[Difference] = []
    if entry.kind == EntryKind.FILE and here.sha256 != entry.sha256:
        differences.append(Difference.CONTENT)
    if entry.kind == EntryKind.LINK and present.target != entry.target:
        differences.append(Difference.TARGET)
    if entry.kind != EntryKind.LINK and present.mode != entry.mode:
        differences.append(Difference.MODE)
    if (present.uid, present.gid) != owners.wanted(entry):
        differences.append(Difference.OWNER)
    return differences


def _differs_inside(
    directory: str, entries: Sequence[ManifestEntry], present: Mapping[str, Present], owners: Owners
) -> bool:
    inside = [entry for entry in entries if is_below(entry.path, directory)]
    surplus = {path for path in present if is_below(path, directory)} - {entry.path for entry in inside}
    ignored = () if owners.may_set else (Difference.OWNER,)
    return bool(surplus) or any(
        set(_differences(entry, present.get(entry.path), owners)) - set(ignored) for entry in inside
    )


def _is_directory_behind_link(entry: ManifestEntry, here: Present | None) -> bool:
    """Whether the host has a link instead of the backup's directory: then the entries behind the link are restored, and
    the link stays."""
    return here is not None and entry.kind == EntryKind.DIRECTORY and here.found.kind == EntryKind.LINK


def _is_behind_link(change: PathDifference, present: Mapping[str, Present]) -> bool:
    return change.entry is not None and _is_directory_behind_link(change.entry, present.get(change.path))


_WORDS: dict[Difference, Text] = {
    Difference.NEW: Text(en="is missing and will be created", zh="不存在，将创建"),
    Difference.KIND: Text(en="is {before} and will be {after}", zh="现为{before}，将变为{after}"),
    Difference.CONTENT: Text(en="content changes", zh="内容将改变"),
    Difference.TARGET: Text(en="link changes from {before} to {after}", zh="链接将由 {before} 改为 {after}"),
    Difference.MODE: Text(en="mode changes from {before} to {after}", zh="权限将由 {before} 改为 {after}"),
    Difference.OWNER: Text(en="owner changes from {before} to {after}", zh="属主将由 {before} 改为 {after}"),
    Difference.SURPLUS: Text(
        en="is not in the backup and will go with its directory", zh="不在备份中，将随所在目录一并移除"
    ),
}


_KINDS: dict[EntryKind | None, Text] = {
    EntryKind.FILE: Text(en="a file", zh="文件"),
    EntryKind.DIRECTORY: Text(en="a directory", zh="目录"),
    EntryKind.LINK: Text(en="a link", zh="链接"),
    None: Text(en="a device, a socket or a pipe", zh="设备、socket 或管道"),
}


def words_of(change: PathDifference, owners: Owners) -> Text:
    """The sentence for one change, without its path."""
    words = _WORDS[change.difference]
    before = after = ""
    entry, present = change.entry, change.before
    if entry is not None and present is not None:
        if change.difference == Difference.KIND:
            old, new = _KINDS[present.kind], _KINDS[entry.kind]
            return Text(
                en=words.en.format(before=old.en, after=new.en),
                zh=words.zh.format(before=old.zh, after=new.zh),
            )
        if change.difference == Difference.TARGET:
            before, after = present.target, entry.target
        elif change.difference == Difference.MODE:
            before, after = f"{present.mode:04o}", f"{entry.mode:04o}"
        elif change.difference == Difference.OWNER:
            owner = owners.wanted(entry)
            before = f"{_name(owners.users, present.uid)}:{_name(owners.groups, present.gid)}"
            after = f"{_name(owners.users, owner[0])}:{_name(owners.groups, owner[1])}"
    return Text(
        en=words.en.format(before=before, after=after), zh=words.zh.format(before=before, after=after)
    )


def _name(numbers: Mapping[str, int], number: int) -> str:
    return next((name for name, value in numbers.items() if value == number), str(number))
