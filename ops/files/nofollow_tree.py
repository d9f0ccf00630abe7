"""A directory tree in which every directory of a path is opened by itself, and the kernel never follows a symbolic link
(openat(2) with O_NOFOLLOW).

Paths are relative to the tree's root and without a leading slash, as in a backup's manifest.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import posixpath
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ops.errors import OpsError
from ops.files.entry_kind import EntryKind
from ops.files.nofollow import path_entry, trusted_users
from ops.files.ownership import PathEntry
from ops.files.path_steps import PathSteps
from ops.text.language import Text

_STEP = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h
CHUNK_BYTES = 1 << 18


class EscapeError(OpsError):
    """A path would leave the directory to which a restore is confined."""

    exit_code = 2


class UntrustedLinkError(OpsError):
    """A link on the way belongs to another user, and leads to something that does not belong to that user. ``link``:
    its path; ``uid``: its owner."""

    exit_code = 2

    def __init__(self, link: str, uid: int) -> None:
        """``link``: the path as it is shown."""
        super().__init__(
            Text(
                en=f"{link}: a link of user {uid} that leads to what is not that user's is not followed",
                zh=f"{link}：用户 {uid} 的链接指向不属于该用户的内容，不予跟随",
            )
        )
        self.link, self.uid = link, uid


@dataclass(frozen=True)
class FileEntry:
    """An entry of the file system. ``kind``: None for a device, a socket or a pipe."""

    kind: EntryKind | None
    mode: int
    uid: int
    gid: int
    size: int
    modified_ns: int
    device: int
    inode: int
    target: str = ""

    @property
    def version(self) -> tuple[int, ...]:
        """Values that change if somebody writes to it or replaces it."""
        # A directory's size and time change with its entries, which are compared by themselves.
        own = () if self.kind == EntryKind.DIRECTORY else (self.size, self.modified_ns)
        return (self.device, self.inode, self.mode, self.uid, self.gid, *own)


class NoFollowTree:
    """The tree below ``root``. With ``root`` the host's own ``/``, absolute links are followed as on the host.

    A link is followed only if root or the caller owns it, or if its owner also owns its target: so a link achieves
    nothing that its owner could not do directly."""

    def __init__(self, root: Path) -> None:
        """Open ``root``. Raises OSError."""
        self.root = root
        self.is_host = os.path.realpath(root) == "/"
        self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self._pinned: dict[str, tuple[int, int]] = {}

    def close(self) -> None:
        """Close the root."""
        os.close(self._root)

    def shown(self, path: str) -> str:
        """``path`` as a person would write it."""
        return str(self.root / path)

    def resolve(self, path: str) -> str:
        """``path`` with the links among its parents followed; a link at ``path`` itself is not.

        Raises EscapeError if a link leads out of the tree, UntrustedLinkError, OSError for a cycle of links or no
        access."""
        trusted = trusted_users()
        names: list[str] = []
        # Other users' links being followed: how many parts of the path remain after each, its path and its owner.
        open_links: list[tuple[int, str, int]] = []
        steps = PathSteps(path, self.shown(path))
        while steps:
            part = steps.take()
            if part == "..":
                if not names and not self.is_host:
                    raise EscapeError(
                        Text(
                            en=f"{path}: a link on the way leads out of {self.root}; nothing was restored",
                            zh=f"{path}：途中的链接指向 {self.root} 之外；未恢复任何内容",
                        )
                    )
                names = names[:-1]
            elif (link := self._link(here := "/".join((*names, part))) if steps else None) is None:
                names.append(part)
            else:
                if link.target.startswith("/"):
                    if not self.is_host:
                        raise EscapeError(
                            Text(
                                en=f"{self.shown(here)} is a link to {link.target}, out of {self.root};"
                                " nothing was restored",
                                zh=f"{self.shown(here)} 是指向 {link.target} 的链接，在 {self.root} 之外；"
                                "未恢复任何内容",
                            )
                        )
                    names = []
                if link.uid not in trusted:
                    open_links.append((len(steps), here, link.uid))
                steps.follow(link.target)
            while open_links and len(steps) <= open_links[-1][0]:
                _, place, uid = open_links.pop()
                if (end := self._find_any("/".join(names))) is None or end.uid != uid:
                    raise UntrustedLinkError(self.shown(place), uid)
        return "/".join(names)

    def _link(self, path: str) -> FileEntry | None:
        entry = self._find_any(path)
        return entry if entry is not None and entry.kind == EntryKind.LINK else None

    def _find_any(self, path: str) -> FileEntry | None:
        """`find`; None also if one of the parents is a file."""
        try:
            return self.find(path)
        except NotADirectoryError:
            return None

    def steps(self, directory: str) -> tuple[PathEntry, ...]:
        """Every directory below the root down to ``directory`` itself, which contains no link. Raises OSError."""
        steps = []
        path = ""
        for part in directory.split("/") if directory else ():
            path = posixpath.join(path, part)
            with self.directory(path) as descriptor:
                steps.append(path_entry(self.shown(path), descriptor))
        return tuple(steps)

    def pin(self, directories: Mapping[str, tuple[int, int]]) -> None:
        """From now on work in each of ``directories`` (path to device and inode) only as long as it is the same one:
        OSError (ESTALE) is raised if it has been replaced."""
        self._pinned.update(directories)

    def _check_pinned(self, path: str, descriptor: int) -> None:
        pinned = self._pinned.get(path)
        if pinned is not None:
            status = os.fstat(descriptor)
            if (status.st_dev, status.st_ino) != pinned:
                raise OSError(errno.ESTALE, "it was replaced by another meanwhile", self.shown(path))

    @contextlib.contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """The directory at ``path`` (no link in it), opened by O_PATH. Raises OSError."""
        descriptor = os.dup(self._root)
        try:
            here = ""
            for part in path.split("/") if path else ():
                step = os.open(part, _STEP, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = step
                if self._pinned:
                    here = posixpath.join(here, part)
                    self._check_pinned(here, descriptor)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory that holds ``path``, and the name in it. Raises OSError."""
        with self.directory(posixpath.dirname(path)) as descriptor:
            yield descriptor, posixpath.basename(path) or "."

    def find(self, path: str) -> FileEntry | None:
        """The entry at ``path``, None if there is none. Raises OSError if a step to it is no directory."""
        try:
            with self.parent(path) as (descriptor, name):
                status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                kind = _kind(status.st_mode)
                target = os.readlink(name, dir_fd=descriptor) if kind == EntryKind.LINK else ""
        except FileNotFoundError:
            return None
        return FileEntry(
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=status.st_uid,
            gid=status.st_gid,
            size=status.st_size,
            modified_ns=status.st_mtime_ns,
            device=status.st_dev,
            inode=status.st_ino,
            target=target,
        )

    def names(self, path: str) -> list[str]:
        """The names in the directory ``path``, sorted. Raises OSError."""
        with self.directory(path) as descriptor:
            readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                return sorted(os.listdir(readable))  # noqa: PTH208  of a descriptor
            finally:
                os.close(readable)

    def chunks(self, path: str) -> Iterator[bytes]:
        """The content of the file at ``path``. Raises OSError."""
        descriptor = self.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            while chunk := os.read(descriptor, CHUNK_BYTES):
                yield chunk
        finally:
            os.close(descriptor)

    def open(self, path: str, flags: int, mode: int = 0o600) -> int:
        """The file at ``path``, opened without following a link. Raises OSError."""
        with self.parent(path) as (descriptor, name):
            return os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=descriptor)

    def mount(self, path: str) -> str:
        """The mount of the directory at ``path``: a rename must stay within one mount (rename(2), EXDEV)."""
        with self.directory(path) as descriptor:
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines():
                    if line.startswith("mnt_id:"):
                        return line.split()[1]
            return f"device {os.fstat(descriptor).st_dev}"

    def may_write(self, path: str) -> bool:
        """Whether entries can be made in the directory at ``path``."""
        with self.directory(path) as descriptor:
            return os.access(f"/proc/self/fd/{descriptor}", os.W_OK | os.X_OK)

    def is_read_only(self, path: str) -> bool:
        """Whether the directory at ``path`` is on a read-only file system; False if there is none."""
        try:
            with self.directory(path) as descriptor:
                return bool(os.fstatvfs(descriptor).f_flag & os.ST_RDONLY)
        except (FileNotFoundError, NotADirectoryError):
            return False

    # --- changes ----------------------------------------------------------------------------------------------------

    def make_directory(self, path: str, mode: int = 0o700) -> None:
        """Raises OSError."""
        with self.parent(path) as (descriptor, name):
            os.mkdir(name, mode, dir_fd=descriptor)

    def make_link(self, path: str, target: str) -> None:
        """Raises OSError."""
        with self.parent(path) as (descriptor, name):
            os.symlink(target, name, dir_fd=descriptor)

    def second_name(self, path: str, other: str) -> None:
        """Make a hard link ``other`` to the file at ``path``. Raises OSError."""
        with self.parent(path) as (here, name), self.parent(other) as (there, new):
            os.link(name, new, src_dir_fd=here, dst_dir_fd=there, follow_symlinks=False)

    def replace(self, path: str, over: str) -> None:
        """Rename ``path`` to ``over``, replacing it. Raises OSError."""
        with self.parent(path) as (here, name), self.parent(over) as (there, new):
            os.replace(name, new, src_dir_fd=here, dst_dir_fd=there)

    def move(self, path: str, new_path: str) -> None:
        """Rename ``path`` to ``new_path``. Raises OSError, FileExistsError if that exists."""
        with self.parent(path) as (here, name), self.parent(new_path) as (there, new):
            try:
                _renameat2(here, name, there, new, _RENAME_NOREPLACE)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                if self.find(new_path) is not None:
                    raise FileExistsError(
                        errno.EEXIST, os.strerror(errno.EEXIST), self.shown(new_path)
                    ) from None
                os.rename(name, new, src_dir_fd=here, dst_dir_fd=there)

    def exchange(self, path: str, other: str) -> None:
        """Exchange the two paths atomically (renameat2(2), RENAME_EXCHANGE). Raises OSError."""
        with self.parent(path) as (here, name), self.parent(other) as (there, new):
            _renameat2(here, name, there, new, _RENAME_EXCHANGE)

    def can_exchange(self, directory: str) -> bool:
        """Whether the file system under ``directory`` can exchange names; tried on two new files. Raises OSError."""
        names = [f"{directory}/.{letter}" for letter in "ab"]
        for name in names:
            os.close(self.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
        try:
            self.exchange(*names)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
            return False
        finally:
            for name in names:
                self.remove(name)
        return True

    def set_facts(
        self, path: str, *, mode: int | None, owner: tuple[int, int] | None, modified_ns: int | None = None
    ) -> None:
        """Set owner, mode and time, the owner first: a change of owner clears set-user-ID bits (chown(2)). ``mode``
        None for a link.

        Raises OSError."""
        with self.parent(path) as (descriptor, name):
            # chown and chmod act on the descriptor that was checked: by name they could act on a replacement.
            target = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=descriptor)
            try:
                self._check_pinned(path, target)
                if owner is not None:
                    os.chown(f"/proc/self/fd/{target}", *owner)
                if mode is not None:
                    os.chmod(f"/proc/self/fd/{target}", mode)  # noqa: PTH101
            finally:
                os.close(target)
            if modified_ns is not None:
                os.utime(name, ns=(modified_ns, modified_ns), dir_fd=descriptor, follow_symlinks=False)

    def sync(self, directory: str) -> None:
        """Make the names in ``directory`` durable. Raises OSError."""
        descriptor = self.open(directory or ".", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove(self, path: str) -> None:
        """Remove ``path`` and everything below it, if it exists. Raises OSError."""
        entry = self.find(path)
        if entry is None:
            return
        if entry.kind == EntryKind.DIRECTORY:
            with contextlib.suppress(PermissionError):
                self.set_facts(path, mode=0o700, owner=None)
            for name in self.names(path):
                self.remove(f"{path}/{name}")
        with self.parent(path) as (descriptor, name):
            if entry.kind == EntryKind.DIRECTORY:
                os.rmdir(name, dir_fd=descriptor)
            else:
                os.unlink(name, dir_fd=descriptor)


def _kind(mode: int) -> EntryKind | None:
    if stat.S_ISREG(mode):
        return EntryKind.FILE
    if stat.S_ISDIR(mode):
        return EntryKind.DIRECTORY
    return EntryKind.LINK if stat.S_ISLNK(mode) else None


# The errors of file systems, kernels and C libraries without renameat2's flags.
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def exchange_names(path: Path, other: Path) -> None:
    """Exchange two paths at one instant, links as themselves (renameat2(2), RENAME_EXCHANGE). Raises OSError."""
    _renameat2(_AT_FDCWD, str(path), _AT_FDCWD, str(other), _RENAME_EXCHANGE)


def _renameat2(here: int, name: str, there: int, new: str, flags: int) -> None:
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)  # glibc 2.28
    if call is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(here, os.fsencode(name), there, os.fsencode(new), ctypes.c_uint(flags)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name, None, new)
