"""Restoring a backup: compare, stage, exchange, validate, or undo everything.

All new files are staged durably on their target file systems before the first path is touched. Then each path is
exchanged atomically, so that it is old or new and never absent; nginx tests and loads the result; and unless all checks
pass, every path is exchanged back. The next run finishes a killed one (`ops.backups.restore.journal`).
"""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import posixpath
import pwd
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ops.archive.encryption import Identity
from ops.archive.manifest import Manifest, ManifestEntry
from ops.archive.reading import open_archive
from ops.backups.restore import journal as journals
from ops.backups.restore.authority import (
    is_packaged,
    is_shared,
    of_a_package,
    read_only_place,
    reason_to_refuse_item,
    reason_to_refuse_metadata,
    refused_link,
    unstaged,
)
from ops.backups.restore.difference import MAX_FILE_BYTES, content_difference
from ops.backups.restore.journal import MetadataRecord, PathExchange, RestoreJournal, RestoreState
from ops.backups.restore.plan import (
    Difference,
    Item,
    LackingAccount,
    MetadataChange,
    Owners,
    Present,
    RefusedItem,
    RestorePlan,
    chosen_entries,
    exchanged_whole,
    is_below,
    lacking_accounts,
    make_plan,
    parents,
    without_refused,
)
from ops.errors import OpsError
from ops.files.entry_kind import EntryKind
from ops.files.nofollow import groups_of, trusted_users
from ops.files.nofollow_tree import FileEntry, NoFollowTree, UntrustedLinkError
from ops.files.ownership import PathEntry, distrust
from ops.files.signals import undisturbed
from ops.text.language import Text
from ops.text.reasons import chinese

_AS_IT_WAS = Text(en="everything is as it was", zh="一切保持原样")


class RestoreError(OpsError):
    """The restore failed. The message says where, and whether everything was undone."""

    exit_code = 2


@dataclass(frozen=True)
class RestorePreview:
    """A restore that was planned and not begun. ``places``: each entry's path with the links above it followed.
    ``pinned``: directories that other users can replace, path to device and inode; the restore works only in these very
    directories. ``lacking``: owners that this machine does not have."""

    archive: Path
    manifest: Manifest
    identities: Sequence[Identity]
    plan: RestorePlan
    owners: Owners
    places: Mapping[str, str]
    pinned: Mapping[str, tuple[int, int]]
    lacking: tuple[LackingAccount, ...] = ()

    @property
    def replaced(self) -> tuple[str, ...]:
        """The paths, as in ``places``, of existing entries that will be exchanged."""
        return tuple(self.places[item.path] for item in self.plan.items if item.before is not None)

    @property
    def adjusted(self) -> tuple[str, ...]:
        """The paths of directories that stay and change their mode or owner."""
        return tuple(self.places[adjustment.path] for adjustment in self.plan.adjustments)


@dataclass(frozen=True)
class RestoreValidation:
    """The checks that a restore must pass: ``test`` (before any reload), then ``apply``, which reloads and probes. Each
    returns the problem, or None. ``reapply`` follows after everything was undone."""

    test: Callable[[], str | None]
    apply: Callable[[], str | None]
    reapply: Callable[[], str | None]


def known_owners() -> Owners:
    """This machine's users and groups."""
    return Owners(
        users={entry.pw_name: entry.pw_uid for entry in pwd.getpwall()},
        groups={entry.gr_name: entry.gr_gid for entry in grp.getgrall()},
        may_set=os.geteuid() == 0,
    )


# --- looking ----------------------------------------------------------------------------------------------------------


def look(
    tree: NoFollowTree, archive: Path, identities: Sequence[Identity], paths: Sequence[str]
) -> RestorePreview:
    """The changes that restoring ``paths`` (all if empty) of ``archive`` into ``tree`` would make.

    Raises ArchiveError, UsageError for a path that is not in it, EscapeError, OpsError if this user may not read a
    path."""
    with open_archive(archive, identities) as reader:
        manifest = reader.manifest
    entries, requested = chosen_entries(manifest, paths)
    whole = exchanged_whole(manifest, entries)
    whole = frozenset(
        path for path in whole if not requested or any(is_below(path, name) for name in requested)
    )
    owners = known_owners()
    try:
        places, links = _places(tree, entries)
        entries = tuple(entry for entry in entries if entry.path in places)
        present = dict(_present(tree, entries, places, whole))
        plan = make_plan(entries, present, whole, owners, requested)
        refusals, pinned = _judge(tree, plan, present, places, owners)
        plan = without_refused(plan, links, refusals)
    except PermissionError as error:
        raise OpsError(
            Text(
                en=f"{error.filename}: may not be read; restore as root, or choose what is yours",
                zh=f"{error.filename}：无权读取；请以 root 恢复，或只选择自己的文件",
            )
        ) from None
    except OSError as error:
        raise RestoreError(
            Text(
                en=f"{error.filename}: {error.strerror}; nothing was restored",
                zh=f"{error.filename}：{chinese(error.strerror)}；未恢复任何内容",
            )
        ) from None
    lacking = lacking_accounts(entries, owners) if owners.may_set else ()
    return RestorePreview(archive, manifest, identities, plan, owners, places, pinned, lacking)


def _places(
    tree: NoFollowTree, entries: Sequence[ManifestEntry]
) -> tuple[dict[str, str], tuple[RefusedItem, ...]]:
    """The resolved path of each entry, and the topmost path behind each link that is not followed."""
    places: dict[str, str] = {}
    refusals: list[RefusedItem] = []
    behind: set[str] = set()
    for entry in entries:
        if any(parent in behind for parent in parents(entry.path)):
            continue
        # Every parent is checked, also of missing paths, to detect an escape.
        try:
            places[entry.path] = tree.resolve(entry.path)
        except UntrustedLinkError as error:
            behind.add(entry.path)
            refusals.append(RefusedItem(entry.path, refused_link(error.link, error.uid)))
    return places, tuple(refusals)


def _judge(
    tree: NoFollowTree,
    plan: RestorePlan,
    present: Mapping[str, Present],
    places: Mapping[str, str],
    owners: Owners,
) -> tuple[dict[str, Text], dict[str, tuple[int, int]]]:
    """The parts of ``plan`` that root must not do, with the reason, and the directories to pin for the others.

    For other callers the kernel's permission checks suffice."""
    refusals = _out_of_reach(tree, plan, present, places)
    pinned: dict[str, tuple[int, int]] = {}
    if not owners.may_set:
        return refusals, pinned
    trusted = trusted_users()
    holders: dict[str, tuple[tuple[PathEntry, ...], FileEntry | None]] = {}
    parts: tuple[Item | MetadataChange, ...] = (*plan.items, *plan.adjustments)
    for change in parts:
        place = places[change.path]
        above = posixpath.dirname(place)
        if change.path in refusals:
            continue
        if above not in holders:
            holders[above] = tree.steps(above), tree.find(above)
        steps, holder = holders[above]
        if holder is None or not is_shared(steps, trusted):
            continue
        if isinstance(change, MetadataChange):
            reason = reason_to_refuse_metadata(change.entry, change.before, steps, owners, trusted, groups_of)
            pin = place, change.before
        else:
            here = [present[change.path].found] if change.path in present else []
            below = [p.found for path, p in present.items() if path.startswith(f"{change.path}/")]
            reason = reason_to_refuse_item(
                change.entries, [*here, *below], holder, steps, owners, trusted, groups_of
            )
            if reason is None and not _staging_directories(tree, above):
                reason = unstaged(tree.shown(above))
            pin = above, holder
        if reason is not None:
            refusals[change.path] = reason
        else:
            pinned[pin[0]] = pin[1].device, pin[1].inode
    return refusals, pinned


def _out_of_reach(
    tree: NoFollowTree, plan: RestorePlan, present: Mapping[str, Present], places: Mapping[str, str]
) -> dict[str, Text]:
    """The parts of ``plan`` on a read-only file system, and existing files of packages, with the reason: each is left
    and named, and the rest is restored."""
    refusals: dict[str, Text] = {}
    read_only: dict[str, bool] = {}
    parts: tuple[Item | MetadataChange, ...] = (*plan.items, *plan.adjustments)
    for change in parts:
        place = places[change.path]
        above = posixpath.dirname(place)
        if above not in read_only:
            read_only[above] = tree.is_read_only(above)
        if read_only[above]:
            refusals[change.path] = read_only_place(tree.shown(above))
        elif change.path in present and is_packaged(f"/{place}"):
            refusals[change.path] = of_a_package()
    return refusals


def _staging_directories(tree: NoFollowTree, home: str) -> list[str]:
    """The directories at and above ``home``, on the same mount, in which this user may make a directory that only this
    user controls; the nearest first."""
    mount = tree.mount(home)
    above = [home, *parents(home), *([""] if home else [])]
    return [place for place in above if tree.mount(place) == mount and _is_ours(tree, place)]


def _is_ours(tree: NoFollowTree, directory: str) -> bool:
    return tree.may_write(directory) and (
        os.geteuid() != 0 or distrust(tree.steps(directory), trusted_users()) is None
    )


def _present(
    tree: NoFollowTree, entries: Sequence[ManifestEntry], places: Mapping[str, str], whole: frozenset[str]
) -> Iterator[tuple[str, Present]]:
    paths = {entry.path for entry in entries}
    for entry in entries:
        place = places[entry.path]
        entry_here = _find(tree, place)
        if entry_here is None:
            continue
        digest, names = "", tuple[str, ...]()
        if entry.kind == entry_here.kind == EntryKind.FILE and entry.size == entry_here.size:
            digest = _digest(tree, place)
        if entry.kind == entry_here.kind == EntryKind.DIRECTORY and entry.whole:
            names = tuple(tree.names(place))
        yield entry.path, Present(entry_here, digest, names)
        if entry.path in whole and entry_here.kind == EntryKind.DIRECTORY:
            yield from (pair for pair in _surplus(tree, entry.path, place) if pair[0] not in paths)


def _surplus(tree: NoFollowTree, path: str, place: str) -> Iterator[tuple[str, Present]]:
    for name in tree.names(place):
        entry = _find(tree, f"{place}/{name}")
        if entry is not None:
            yield f"{path}/{name}", Present(entry)
            if entry.kind == EntryKind.DIRECTORY:
                yield from _surplus(tree, f"{path}/{name}", f"{place}/{name}")


def _find(tree: NoFollowTree, place: str) -> FileEntry | None:
    try:
        return tree.find(place)
    except NotADirectoryError:
        return None  # a file instead of the backup's directory is a change of its own


def _digest(tree: NoFollowTree, place: str) -> str:
    digest = hashlib.sha256()
    for chunk in tree.chunks(place):
        digest.update(chunk)
    return digest.hexdigest()


def content_changes(tree: NoFollowTree, prospect: RestorePreview) -> dict[str, list[str | Text]]:
    """The diff lines of each file whose content changes. Reads the archive once more. Raises ArchiveError."""
    changes = {
        change.path: change for change in prospect.plan.changes if change.difference == Difference.CONTENT
    }
    differences: dict[str, list[str | Text]] = {}
    if not changes:
        return differences
    with open_archive(prospect.archive, prospect.identities) as reader:
        for member in reader.members():
            change = changes.get(member.entry.path)
            if change is None or change.before is None:
                continue
            new = _bounded(member.chunks())
            try:
                old = _bounded(tree.chunks(prospect.places[change.path]))
            except OSError:
                old = b"\0"
            modes = (member.entry.mode, change.before.mode)
            differences[change.path] = list(content_difference("/" + change.path, old, new, modes))
    return differences


def _bounded(chunks: Iterator[bytes]) -> bytes:
    content = b""
    for chunk in chunks:
        if len(content) <= MAX_FILE_BYTES:
            content += chunk
    return content


# --- acting -----------------------------------------------------------------------------------------------------------


class Restoration:
    """One restore of a preview into ``tree``, with its journal in ``directory``, whose lock is held."""

    def __init__(self, tree: NoFollowTree, directory: Path, prospect: RestorePreview) -> None:
        """Does nothing yet."""
        self._tree, self._directory, self._prospect = tree, directory, prospect
        self._id = secrets.token_hex(4)
        self._journal = RestoreJournal(
            id=self._id,
            root=str(tree.root),
            archive=str(prospect.archive),
            state=RestoreState.PREPARING,
            stages=(),
            pinned=dict(prospect.pinned),
        )
        tree.pin(prospect.pinned)
        self._touched = False
        self._decided = False

    def run(self, keep: Callable[[], None], confirmation: RestoreValidation | None) -> None:
        """Restore. ``keep`` backs up everything that is about to be replaced, after staging.

        Raises RestoreError if anything failed and was undone; ArchiveError before anything was touched; and the
        interruption, after everything was undone."""
        try:
            self._stage()
            keep()
            self._exchange()
            if confirmation is not None:
                self._confirm(confirmation)
            self._decided = True
            self._record(state=RestoreState.DONE)
        except BaseException as error:
            with undisturbed():
                problem = self._put_back(confirmation)
            if isinstance(error, OSError):
                where = error.filename2 or error.filename
                what = f"{where}: {error.strerror}" if where else str(error.strerror or error)
                raise RestoreError(
                    Text(
                        en=f"the restore failed: {what}; {problem.en}",
                        zh=f"恢复失败：{chinese(what)}；{problem.zh}",
                    )
                ) from None
            if isinstance(error, _RestoreRefusedError):
                raise RestoreError(
                    Text(
                        en=f"the restore was refused: {error}; {problem.en}",
                        zh=f"恢复未获接受：{error.words.to('zh')}；{problem.zh}",
                    )
                ) from None
            if isinstance(error, Exception) and problem != _AS_IT_WAS:
                raise RestoreError(
                    Text(en=f"{error}; {problem.en}", zh=f"{chinese(error)}；{problem.zh}")
                ) from None
            raise
        with undisturbed(), contextlib.suppress(OSError):
            # The next run removes the rest: the journal says `done`.
            journals.clear_stages(self._tree, self._journal)
            journals.remove_journal(self._directory)

    def _record(self, **changes: Any) -> None:
        new = msgspec.structs.replace(self._journal, **changes)
        journals.write_journal(self._directory, new)
        self._journal = new

    # --- staging ---

    def _stage(self) -> None:
        stages = self._stages()
        self._record(stages=tuple(dict.fromkeys(stages.values())))
        second_names = {}
        for stage in self._journal.stages:
            self._tree.make_directory(stage)
            if (directory := self._tree.find(stage)) is not None:
                self._tree.pin({stage: (directory.device, directory.inode)})
            self._tree.sync(posixpath.dirname(stage))
            second_names[stage] = not self._tree.can_exchange(stage)
        spots = self._spots(stages)
        self._extract(spots)
        exchanges = []
        for number, item in enumerate(self._prospect.plan.items):
            stage, place = stages[item.path], self._prospect.places[item.path]
            staged = f"{stage}/{number}"
            new = self._tree.find(staged)
            assert new is not None  # noqa: S101  _extract has read the archive to its end
            second = f"{stage}/{number}.old" if item.before and second_names[stage] else ""
            if second:
                self._give_second_name(item, place, second)
            exchanges.append(
                PathExchange(place, staged, new.device, new.inode, item.before is not None, second)
            )
        for stage in self._journal.stages:
            self._tree.sync(stage)
        self._exchanges = tuple(exchanges)

    def _give_second_name(self, item: Item, place: str, second: str) -> None:
        entry = self._tree.find(place)
        if entry is None or entry.kind == EntryKind.DIRECTORY or item.entries[0].kind == EntryKind.DIRECTORY:
            raise _RestoreRefusedError(
                Text(
                    en=f"{self._tree.shown(place)}: this file system cannot exchange directories (RENAME_EXCHANGE)",
                    zh=f"{self._tree.shown(place)}：此文件系统不支持目录互换（RENAME_EXCHANGE）",
                )
            )
        self._tree.second_name(place, second)
        self._check_taken(place, second, entry)

    def _stages(self) -> dict[str, str]:
        """A staging directory for each item, on the same mount, as high in the tree as this user may make one."""
        tree = self._tree
        homes = {u.path: posixpath.dirname(self._prospect.places[u.path]) for u in self._prospect.plan.items}
        mounts = {home: tree.mount(home) for home in set(homes.values())}
        stage_of: dict[str, str] = {}
        for home, mount in mounts.items():
            together = [h for h, m in mounts.items() if m == mount]
            common = posixpath.commonpath([f"/{h}" for h in together]).strip("/")
            ways = _staging_directories(tree, home)
            if not ways:
                raise _RestoreRefusedError(
                    Text(en=f"{tree.shown(home)}: may not be written", zh=f"{tree.shown(home)}：不可写")
                )
            # The highest one within the common directory, else the next above that other users do not control.
            within = [place for place in ways if not common or is_below(place, common)]
            stage = within[-1] if within else ways[0]
            stage_of[home] = posixpath.join(stage, f"{journals.STAGE_PREFIX}{self._id}")
        return {path: stage_of[home] for path, home in homes.items()}

    def _spots(self, stages: Mapping[str, str]) -> dict[str, str]:
        """The staging path of each entry."""
        spots = {}
        for number, item in enumerate(self._prospect.plan.items):
            for entry in item.entries:
                below = entry.path[len(item.path) :]
                spots[entry.path] = f"{stages[item.path]}/{number}{below}"
        return spots

    def _extract(self, spots: Mapping[str, str]) -> None:
        """Write the entries to their staging paths. The archive is read to its end, which alone shows that it is
        complete."""
        directories: list[tuple[str, ManifestEntry]] = []
        with open_archive(self._prospect.archive, self._prospect.identities) as reader:
            if reader.manifest != self._prospect.manifest:
                raise _RestoreRefusedError(
                    Text(
                        en=f"{self._prospect.archive} is another file than a moment ago",
                        zh=f"{self._prospect.archive} 已被换成另一个文件",
                    )
                )
            for member in reader.members():
                entry, spot = member.entry, spots.get(member.entry.path)
                if spot is None:
                    continue
                if entry.kind == EntryKind.DIRECTORY:
                    self._tree.make_directory(spot)
                    directories.append((spot, entry))
                elif entry.kind == EntryKind.LINK:
                    self._tree.make_link(spot, entry.target)
                    self._dress(spot, entry)
                else:
                    self._write(spot, entry, member.chunks())
        for spot, entry in reversed(directories):
            self._dress(spot, entry)
            self._tree.sync(spot)

    def _write(self, spot: str, entry: ManifestEntry, chunks: Iterator[bytes]) -> None:
        descriptor = self._tree.open(spot, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[file.write(view) :]
            self._dress(spot, entry)
            os.fsync(file.fileno())

    def _dress(self, spot: str, entry: ManifestEntry) -> None:
        self._tree.set_facts(
            spot,
            mode=None if entry.kind == EntryKind.LINK else entry.mode,
            owner=self._prospect.owners.wanted(entry) if self._prospect.owners.may_set else None,
            modified_ns=entry.modified_ns,
        )

    # --- exchanging ---

    def _exchange(self) -> None:
        plan, tree = self._prospect.plan, self._tree
        directories_kept = []
        for adjustment in plan.adjustments:
            before = adjustment.before
            uid, gid = adjustment.owner or (before.uid, before.gid)
            place = self._prospect.places[adjustment.path]
            directories_kept.append(
                MetadataRecord(place, before.mode, before.uid, before.gid, adjustment.mode, uid, gid)
            )
        self._touched = True
        self._record(state=RestoreState.EXCHANGING, swaps=self._exchanges, kept=tuple(directories_kept))
        for item, exchange in zip(plan.items, self._exchanges, strict=True):
            here = _find(tree, exchange.path)
            if (here and here.version) != (item.before and item.before.version):
                raise _changed_meanwhile(tree.shown(exchange.path))
            if not exchange.had:
                tree.move(exchange.staged, exchange.path)
            elif exchange.second:
                tree.replace(exchange.staged, exchange.path)
            else:
                tree.exchange(exchange.staged, exchange.path)
                self._check_taken(exchange.path, exchange.staged, item.before)
        for change in directories_kept:
            owner = (change.new_uid, change.new_gid) if self._prospect.owners.may_set else None
            tree.set_facts(change.path, mode=change.new_mode, owner=owner)
        directories = {posixpath.dirname(exchange.path) for exchange in self._exchanges} | {
            c.path for c in directories_kept
        }
        for directory in sorted({*directories, *self._journal.stages}):
            tree.sync(directory)

    def _check_taken(self, place: str, staged: str, before: FileEntry | None) -> None:
        """Refuse if other users have replaced ``place`` since it was checked."""
        here = self._tree.find(staged)
        if posixpath.dirname(place) in self._prospect.pinned and (
            (here and here.version) != (before and before.version)
        ):
            raise _changed_meanwhile(self._tree.shown(place))

    def _confirm(self, confirmation: RestoreValidation) -> None:
        if problem := confirmation.test():
            raise _RestoreRefusedError(problem)
        self._record(reloaded=True)
        if problem := confirmation.apply():
            raise _RestoreRefusedError(problem)

    def _put_back(self, confirmation: RestoreValidation | None) -> Text:
        """Undo whatever was done. Returns a sentence on how that went."""
        untouched: tuple[str, ...] = ()
        try:
            if self._decided:
                # `done` may be on the disk already, although a later write failed.
                with contextlib.suppress(OSError):
                    self._record(state=RestoreState.EXCHANGING)
            if self._touched:
                _, untouched = journals.undo(self._tree, self._journal)
                try:
                    self._record(state=RestoreState.UNDONE)
                except OSError:
                    # The disk is full: remove the journal, so that nothing is undone twice.
                    journals.remove_journal(self._directory)
            journals.clear_stages(self._tree, self._journal)
            journals.remove_journal(self._directory)
        except OSError as error:
            where = error.filename2 or error.filename or self._directory
            return Text(
                en=f"putting everything back failed too: {where}: {error.strerror};"
                " run `gte-ops backup restore` again: it goes on with that first",
                zh=f"撤销也失败了：{where}：{chinese(error.strerror)}；"
                "请再次运行 `gte-ops backup restore`，它会先完成撤销",
            )
        again = confirmation.reapply() if confirmation and self._journal.reloaded else None
        if untouched:
            names = ", ".join(self._tree.shown(path) for path in untouched[:3])
            return Text(
                en=f"everything was put back but what somebody else changed meanwhile: {names}",
                zh=f"除他人期间改动的内容外，均已放回：{names}",
            )
        if again:
            return Text(en=f"everything was put back, but {again}", zh=f"均已放回，但 {chinese(again)}")
        return _AS_IT_WAS


class _RestoreRefusedError(OpsError):
    """Why a restore must be undone."""


def _changed_meanwhile(path: str) -> _RestoreRefusedError:
    return _RestoreRefusedError(
        Text(en=f"{path} was changed by somebody else meanwhile", zh=f"{path} 期间被他人改动")
    )
