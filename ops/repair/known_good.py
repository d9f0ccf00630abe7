"""Find what changed files were while the service was healthy: in the baseline, else in a backup.

A backup's file counts only if its content is the baseline's by SHA-256, so that no archive's word is believed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import posixpath
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from ops.archive.error import ArchiveError
from ops.archive.manifest import ManifestEntry
from ops.archive.name import ArchiveName, backups_in, is_of_host
from ops.archive.reading import open_archive
from ops.baselines.capture import MAX_HASHED_BYTES
from ops.baselines.directory import baseline_directory
from ops.baselines.state import FileState
from ops.baselines.store import BaselineStore, Stored
from ops.facts.changes import Change, ChangeKind
from ops.files.bounded_read import read_regular_file
from ops.files.entry_kind import EntryKind
from ops.repair.model import Replacement
from ops.settings import Settings
from ops.text.language import Text
from ops.text.timestamps import local_time

# The newest backups that are opened, and the largest file that is taken from one.
MAX_BACKUPS = 5
MAX_BYTES = MAX_HASHED_BYTES


def find_known_good(
    settings: Settings, changes: Iterable[Change], utc_offset: int
) -> dict[str, tuple[Replacement, ...]]:
    """Return for each changed file what to put back; a path whose former content is nowhere is left out."""
    file_changes = [change for change in changes if change.what.startswith("/")]
    store = BaselineStore(baseline_directory(settings))
    try:
        stored = store.latest() if file_changes and store.may_read() else None
    except PermissionError:
        stored = None
    if stored is None:
        return {}
    states = {change.what: stored.baseline.files.get(change.what) for change in file_changes}
    contents = dict(_contents(store, states, stored, utc_offset))
    lacking = {
        state.digest for state in states.values() if state and state.digest and state.digest not in contents
    }
    contents |= dict(_from_backups(settings, lacking))
    good: dict[str, tuple[Replacement, ...]] = {}
    for change in file_changes:
        state = states[change.what]
        files = _added(change) if state is None else tuple(_files(change, state, contents))
        if files:
            good[change.what] = files
    return good


_Contents = Mapping[str, tuple[bytes, Text]]


def _contents(
    store: BaselineStore, states: Mapping[str, FileState | None], stored: Stored, utc_offset: int
) -> Iterator[tuple[str, tuple[bytes, Text]]]:
    """Yield the kept texts by digest, and the contents that still lie at their place."""
    at = local_time(stored.confirmed_at, utc_offset).strftime("%Y-%m-%d %H:%M:%S")
    source = Text(en=f"the baseline of {at}", zh=f"{at} 的基线")
    for path, state in states.items():
        if state is None:
            continue
        content = store.text(state.digest) if state.is_kept else None
        if content is None and (present := _read(path)) is not None and _digest(present) == state.digest:
            content = present
        if content is not None:
            yield state.digest, (content, source)


def _from_backups(settings: Settings, digests: set[str]) -> Iterator[tuple[str, tuple[bytes, Text]]]:
    """Yield the contents with these SHA-256 digests from the newest backups that hold them."""
    lacking = set(digests)
    try:
        archives = _own_first(settings)[:MAX_BACKUPS] if lacking else []
    except OSError:
        return
    for name, path in archives:
        if not lacking or name.encrypted:
            continue
        source = Text(en=f"the backup {path.name}", zh=f"备份 {path.name}")
        with contextlib.suppress(ArchiveError, OSError), open_archive(path) as archive:
            available = {entry.sha256 for entry in archive.manifest.entries if entry.size <= MAX_BYTES}
            for member in archive.members() if available & lacking else ():
                if member.entry.sha256 in lacking and member.entry.size <= MAX_BYTES:
                    content = b"".join(member.chunks())
                    lacking.discard(member.entry.sha256)
                    yield member.entry.sha256, (content, source)


def _own_first(settings: Settings) -> list[tuple[ArchiveName, Path]]:
    """The backups, this host's before others': a host may have had another name, and the digest decides."""
    archives = backups_in(Path(settings.backup.dir))
    return sorted(archives, key=lambda item: not is_of_host(item[0], platform.node()))


def _added(change: Change) -> tuple[Replacement, ...]:
    """A file that was not there: it is set aside."""
    present = _read(change.what)
    if change.kind is not ChangeKind.ADDED or present is None:
        return ()
    source = Text(en="the baseline, which has no such file", zh="基线中没有这个文件")
    return (Replacement(change.what, None, b"", source, present),)


def _files(change: Change, state: FileState, contents: _Contents) -> Iterator[Replacement]:
    path, real = change.what, state.link
    if not real:
        yield from _file(path, state, contents)
        return
    if os.path.lexists(path) and os.path.realpath(path) == real:
        yield from _file(real, state, contents)
        return
    present = _read(real)
    is_good = present is not None and _digest(present) == state.digest
    behind = () if is_good else tuple(_file(real, state, contents))
    if behind or is_good:
        yield _link(path, real, state)
        yield from behind


def _link(path: str, real: str, state: FileState) -> Replacement:
    """A link at ``path`` to ``real``, relative as certbot writes them."""
    directory = os.path.realpath(posixpath.dirname(path))
    entry = ManifestEntry(
        path=f"{directory}/{posixpath.basename(path)}".strip("/"),
        kind=EntryKind.LINK,
        mode=0o777,
        uid=os.geteuid(),
        gid=os.getegid(),
        modified_ns=state.mtime,
        target=os.path.relpath(real, directory),
    )
    return Replacement(path, entry, b"", Text(en="the baseline", zh="基线"), None)


def _file(path: str, state: FileState, contents: _Contents) -> Iterator[Replacement]:
    if state.digest not in contents or state.mode & (stat.S_ISUID | stat.S_ISGID):
        return
    content, source = contents[state.digest]
    if len(content) != state.size:
        return
    place = f"{os.path.realpath(posixpath.dirname(path))}/{posixpath.basename(path)}"
    entry = ManifestEntry(
        path=place.strip("/"),
        kind=EntryKind.FILE,
        mode=state.mode,
        uid=state.uid,
        gid=state.gid,
        modified_ns=state.mtime,
        size=len(content),
        sha256=state.digest,
    )
    yield Replacement(path, entry, content, source, _read(path))


def _read(path: str) -> bytes | None:
    try:
        file = read_regular_file(path, MAX_BYTES)
    except (OSError, ValueError):
        return None
    return file.content if file.is_whole else None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
