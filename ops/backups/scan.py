"""The files on the host that a backup saves, with the links and directories on the way to them."""

from __future__ import annotations

import errno
import functools
import grp
import os
import pwd
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field

from ops.archive.manifest import MANIFEST_NAME, MAX_ENTRIES, ManifestEntry, RequestedPath
from ops.collect.host_files import Source, is_program
from ops.errors import OpsError
from ops.files.entry_kind import EntryKind
from ops.files.nofollow import trusted_users
from ops.files.path_steps import PathSteps
from ops.text.language import Text
from ops.text.sanitize import safe_line

_SPECIAL = {
    stat.S_IFSOCK: "a socket",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


@dataclass(frozen=True)
class ScannedEntry:
    """One file, directory or link by lstat; ``version`` changes whenever it is written to or replaced."""

    kind: EntryKind
    mode: int
    uid: int
    gid: int
    modified_ns: int
    size: int
    target: str
    version: tuple[int, ...]


@dataclass
class Survey:
    """Everything to save, by host path; the requested paths; the paths left out, and those that could not be read (path
    to reason)."""

    seen: dict[str, ScannedEntry] = field(default_factory=dict)
    whole: set[str] = field(default_factory=set)
    asked: list[RequestedPath] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def fingerprint(self) -> dict[str, tuple[int, ...]]:
        """A value that changes if anything is added, removed or written to. Of a directory only mode and owner count:
        an unrelated new entry does not change what is saved."""
        return {path: file.version for path, file in self.seen.items()}


def survey(sources: Iterable[Source], excluded: Iterable[str], left_out: dict[str, str]) -> Survey:
    """Scan every wanted path. ``excluded`` ones are silently skipped, those of ``left_out`` are reported.

    Raises OpsError if there are more files than a backup may hold."""
    walker = _Walker(Survey(left_out=dict(left_out)), frozenset(excluded))
    for item in dict.fromkeys(sources):
        walker.take(item)
    return walker.result


class _Walker:
    def __init__(self, result: Survey, excluded: frozenset[str]) -> None:
        self.result = result
        self.excluded = excluded
        self._walked: set[str] = set()
        self._trusted = trusted_users()

    def take(self, source: Source) -> None:
        """One wanted path, with the links it leads through."""
        try:
            real = self._follow(source.path, namer=source.namer)
            # nginx's own directory contains a link to a document root on some hosts; certbot's tree contains only
            # certbot's files.
            if (
                real is not None
                and self.result.seen[real].kind == EntryKind.DIRECTORY
                and not source.only_file
            ):
                self._walk(real, follow=source.what != "nginx")
        except OSError as error:
            if source.named or error.errno not in (errno.ENOENT, errno.ENOTDIR):
                self._ask(source, safe_line(error.strerror or str(error)).lower())
            return
        except _LeftOutError as error:
            self._ask(source, str(error))
            return
        self._ask(source, "")

    def _ask(self, source: Source, missing: str) -> None:
        path = source.path
        self.result.asked.append(RequestedPath(what=source.what, path=safe_line(path, 1000), missing=missing))

    def _follow(self, path: str, *, namer: int | None = None) -> str | None:
        """Add the target of ``path``, and every directory and link on the way; return its real path. None for the root
        itself or an excluded path.

        Raises _LeftOutError if a link on the way belongs to another user and leads to something that does not, and if
        ``namer`` is another user who does not own the file."""
        place, steps = "", PathSteps(path)
        # The steps to a missing path are not saved.
        way: dict[str, ScannedEntry] = {}
        while steps:
            part = steps.take()
            if part == "..":
                place = place.rpartition("/")[0]
                continue
            here = f"{place}/{part}"
            if here in self.excluded:
                return None
            entry = way[here] = self._look(here)
            if entry.kind == EntryKind.LINK:
                steps.follow(entry.target)
                if entry.target.startswith("/"):
                    place = ""
            elif steps and entry.kind != EntryKind.DIRECTORY:
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), here)
            else:
                place = here
        end = way.get(place)
        for link, entry in way.items():
            if (
                entry.kind == EntryKind.LINK
                and entry.uid not in self._trusted
                and (not end or end.uid != entry.uid)
            ):
                raise _UntrustedLinkError(f"{link} is a link of user {entry.uid} to what is not that user's")
        if (
            namer is not None
            and namer not in self._trusted
            and (end is None or end.kind != EntryKind.FILE or end.uid != namer)
        ):
            raise _LeftOutError(
                f"a process of user {namer} names it, and it is no file of that user's; to have it in the backup, set"
                " gunicorn.config_file or backup.include"
            )
        self.result.seen.update(way)
        return place or None

    def _walk(self, directory: str, *, follow: bool) -> None:
        if directory in self._walked:
            return
        self._walked.add(directory)
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries)
        complete = True
        for name in names:
            path = f"{directory}/{name}"
            if path in self.excluded:
                continue
            try:
                entry_here = self.result.seen[path] = self._look(path)
                if entry_here.kind == EntryKind.DIRECTORY:
                    self._walk(path, follow=follow)
                elif entry_here.kind == EntryKind.LINK:
                    self._lead(path, follow=follow)
            except OSError as error:
                self.result.failed[safe_line(path, 1000)] = safe_line(error.strerror or str(error)).lower()
                complete = False
            except _NameError as error:
                # Something that is wanted is lacking: the backup says so, and is not complete.
                self.result.failed[safe_line(path, 1000)] = str(error)
                complete = False
            except _LeftOutError as error:
                self.result.left_out[safe_line(path, 1000)] = str(error)
                complete = False
        if complete:
            self.result.whole.add(directory)

    def _lead(self, link: str, *, follow: bool) -> None:
        """The target of a link in a directory is saved too, unless it is a directory with a purpose of its own."""
        try:
            is_directory = stat.S_ISDIR(os.stat(link).st_mode)  # noqa: PTH116  a str in, ten thousand times
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                return  # it dangles on the host, and may dangle in the backup
            raise
        real = os.path.realpath(link)
        if is_directory and (not follow or is_program(real) or real.count("/") < 2):
            return
        try:
            target = self._follow(link)
            if target is not None and is_directory:
                self._walk(target, follow=follow)
        except _UntrustedLinkError as error:
            # Reported for the link only: its target may be wanted for itself.
            self.result.left_out[safe_line(link, 1000)] = str(error)
        except _NameError as error:
            self.result.failed[safe_line(real, 1000)] = str(error)
        except _LeftOutError as error:
            # /dev/null, which masks a unit: the link itself is all there is.
            self.result.left_out[safe_line(real, 1000)] = str(error)

    def _look(self, path: str) -> ScannedEntry:
        if (entry_before := self.result.seen.get(path)) is not None:
            return entry_before
        if path in self.result.left_out:
            raise _LeftOutError(self.result.left_out[path])
        status = os.lstat(path)
        if (what := _SPECIAL.get(stat.S_IFMT(status.st_mode))) is not None:
            raise _LeftOutError(f"it is {what}")
        try:
            path.encode("utf-8")
        except UnicodeEncodeError:
            raise _NameError("its name is not UTF-8") from None
        if path == f"/{MANIFEST_NAME}":
            raise _LeftOutError("its name is the manifest's")
        entry = _seen(path, status)
        if len(self.result.seen) > MAX_ENTRIES:
            raise OpsError(
                Text(
                    en=f"there are more than {MAX_ENTRIES} files to save; name less in backup.include",
                    zh=f"要备份的文件超过 {MAX_ENTRIES} 个；请缩小 backup.include 的范围",
                )
            )
        return entry


class _LeftOutError(Exception):
    """A file that no backup can hold."""


class _NameError(_LeftOutError):
    """A file with a name that the manifest cannot hold."""


class _UntrustedLinkError(_LeftOutError):
    """A link whose owner does not own its target."""


def _seen(path: str, status: os.stat_result) -> ScannedEntry:
    kind: EntryKind = EntryKind.FILE
    target = ""
    if stat.S_ISLNK(status.st_mode):
        kind = EntryKind.LINK
        target = os.readlink(path)  # noqa: PTH115
        try:
            target.encode("utf-8")
        except UnicodeEncodeError:
            raise _NameError("its target's name is not UTF-8") from None
    elif stat.S_ISDIR(status.st_mode):
        kind = EntryKind.DIRECTORY
    base = (status.st_mode, status.st_uid, status.st_gid)
    return ScannedEntry(
        kind=kind,
        mode=stat.S_IMODE(status.st_mode),
        uid=status.st_uid,
        gid=status.st_gid,
        modified_ns=status.st_mtime_ns,
        size=status.st_size if kind == EntryKind.FILE else 0,
        target=target,
        version=base
        if kind == EntryKind.DIRECTORY
        else (*base, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns),
    )


def entry(path: str, source: ScannedEntry, *, whole: bool, size: int = 0, sha256: str = "") -> ManifestEntry:
    """The manifest's entry for the scanned host path ``path``."""
    return ManifestEntry(
        path=path.lstrip("/"),
        kind=source.kind,
        mode=source.mode,
        uid=source.uid,
        gid=source.gid,
        owner=_user(source.uid),
        group=_group(source.gid),
        modified_ns=source.modified_ns,
        size=size,
        sha256=sha256,
        target=source.target,
        whole=whole,
    )


@functools.cache
def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OSError):
        return ""


@functools.cache
def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except (KeyError, OSError):
        return ""
