"""A backup of everything that a restore is about to replace.

It is stored in a directory of its own, which `list` and `prune` ignore: it contains only the replaced files, and must
not be taken for the newest backup of the host.
"""

from __future__ import annotations

import grp
import hashlib
import os
import platform
import posixpath
import pwd
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ops import __version__
from ops.archive.encryption import encrypt, recipients
from ops.archive.manifest import Manifest, ManifestEntry, RequestedPath
from ops.archive.name import (
    PARTIAL,
    backups_in,
    companions,
    left_over_in,
)
from ops.archive.writing import compressed, tar_stream
from ops.backups.create import free_name, publish, signature_of
from ops.backups.made_here import record
from ops.backups.restore.plan import parents
from ops.files.entry_kind import EntryKind
from ops.files.nofollow_tree import FileEntry, NoFollowTree

DIRECTORY_NAME = "before-restore"
KEPT = 10


def keep_replaced(
    tree: NoFollowTree,
    places: Sequence[str],
    directories: Sequence[str],
    backups: Path,
    encrypt_to: Sequence[str],
    signing_key: str,
    letsencrypt_dir: str,
) -> tuple[Path, str]:
    """Back up ``places`` with everything below them, into a directory below ``backups``; of ``directories`` only mode
    and owner. Returns its path, and why a required signature is missing.

    Raises OSError, OpsError; then no file is left behind."""
    directory = backups / DIRECTORY_NAME
    directory.mkdir(mode=0o700, exist_ok=True)
    for leftover in left_over_in(directory):
        leftover.unlink()
    to = recipients(encrypt_to)
    now = float(int(time.time()))
    entries = tuple(_entries(tree, places, directories))
    manifest = Manifest(
        created_at=now,
        host=platform.node(),
        versions={"gte-ops": __version__},
        asked=tuple(RequestedPath(what="replaced by a restore", path=tree.shown(place)) for place in places),
        letsencrypt_dir=letsencrypt_dir,
        entries=entries,
    )
    path = directory / free_name(directory, now, platform.node(), "zst", encrypted=bool(to))
    partial = path.with_name(path.name + PARTIAL)
    try:
        chunks = compressed(tar_stream(manifest, lambda entry: tree.chunks(entry.path)), "zst")
        descriptor = os.open(
            partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
        with os.fdopen(descriptor, "w+b") as file:
            if to:
                encrypt(chunks, file, to)
            else:
                file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        signature, unsigned = signature_of(partial, signing_key)
        record(backups, digest, path.name)
        publish(partial, path, digest, signature)
    except BaseException:
        for leftover in (partial, *(() if path.exists() else companions(path))):
            leftover.unlink(missing_ok=True)
        raise
    return path, unsigned


def drop_oldest(backups: Path) -> None:
    """Remove all but the newest `KEPT` of them. Raises OSError."""
    for _, path in backups_in(backups / DIRECTORY_NAME)[KEPT:]:
        path.unlink()
        for beside in companions(path):
            beside.unlink(missing_ok=True)


def _entries(
    tree: NoFollowTree, places: Sequence[str], directories: Sequence[str]
) -> Iterator[ManifestEntry]:
    above = {parent for place in (*places, *directories) for parent in parents(place)}
    above.update(directories)
    entries: dict[str, tuple[FileEntry, bool]] = {}
    for path in above:
        if (here := tree.find(path)) is not None:
            entries[path] = (here, False)
    for place in places:
        entries.update(_below(tree, place))
    for path, (here, whole) in sorted(entries.items()):
        yield _entry(tree, path, here, whole)


def _below(tree: NoFollowTree, path: str) -> Iterator[tuple[str, tuple[FileEntry, bool]]]:
    here = tree.find(path)
    if here is None or here.kind is None:
        return
    yield path, (here, here.kind == EntryKind.DIRECTORY)
    if here.kind == EntryKind.DIRECTORY:
        for name in tree.names(path):
            yield from _below(tree, posixpath.join(path, name))


def _entry(tree: NoFollowTree, path: str, stat: FileEntry, whole: bool) -> ManifestEntry:
    assert stat.kind is not None  # noqa: S101  `_below` leaves out what no backup can hold
    digest, size = hashlib.sha256(), 0
    if stat.kind == EntryKind.FILE:
        for chunk in tree.chunks(path):
            digest.update(chunk)
            size += len(chunk)
    return ManifestEntry(
        path=path,
        kind=stat.kind,
        mode=stat.mode,
        uid=stat.uid,
        gid=stat.gid,
        owner=_name(lambda: pwd.getpwuid(stat.uid).pw_name),
        group=_name(lambda: grp.getgrgid(stat.gid).gr_name),
        modified_ns=stat.modified_ns,
        size=size,
        sha256=digest.hexdigest() if stat.kind == EntryKind.FILE else "",
        target=stat.target,
        whole=whole,
    )


def _name(lookup: Callable[[], str]) -> str:
    try:
        return lookup()
    except KeyError:
        return ""
