"""Running a program whose changes to files vanish when it ends: in a mount namespace of its own, with an overlay over
each directory that it may write to (mount_namespaces(7); Linux, overlayfs.rst).

For programs that only check something but change files on the way: ``nginx -t`` opens its logs, writes its errors to
them, and changes the owner of its temporary directories.
"""

from __future__ import annotations

import ctypes
import os
import re
import stat
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

# linux/sched.h, linux/mount.h
_CLONE_NEWNS = 0x00020000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
# An upper bound of the memory for everything that is written.
_SIZE = "16m"
# Every host with sysfs has this directory, and none of our programs needs it: it holds the discarded files.
_SCRATCH = "/sys/fs"
_KERNELS = ("/proc", "/sys", "/dev")
MAX_MOUNTS = 64
_OCTAL = re.compile(r"\\([0-7]{3})")


class NoThrowawayError(Exception):
    """A directory cannot be covered; the message says which, and why."""


class _Cover(msgspec.Struct, frozen=True):
    """A directory to cover, and the mounts below it, which the overlay would hide."""

    path: bytes
    mode: int
    uid: int
    gid: int
    mounts: tuple[bytes, ...]


def discarding_writes(directories: Iterable[str], files: Iterable[str]) -> Callable[[], None]:
    """A function for a child to call between fork and exec (`subprocess.Popen`, ``preexec_fn``): what the child then
    writes to ``files``, and changes in ``directories``, vanishes with it, and no other process sees it.

    Existing ``files`` look empty to it, because none is copied, however large. Raises NoThrowawayError if a directory
    cannot be covered. The child raises OSError, which Popen reports as SubprocessError, if it may not create a
    namespace (that takes CAP_SYS_ADMIN)."""
    mounts = _mount_points()
    covers = [_cover(path, mounts) for path in _outermost_first(directories, mounts)]
    bound = [
        os.fsencode(path) for path in dict.fromkeys(map(os.path.realpath, files)) if _is_writable_file(path)
    ]
    # Loaded before the fork: between fork and exec no import and no allocation of locks is safe.
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: bytes, target: bytes, kind: bytes | None, flags: int, options: bytes | None) -> None:
        if libc.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def isolate() -> None:
        if libc.unshare(_CLONE_NEWNS) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None)
        mount(b"tmpfs", _SCRATCH.encode(), b"tmpfs", 0, f"mode=700,size={_SIZE}".encode())
        for number, cover in enumerate(covers):
            _overlay(mount, f"{_SCRATCH}/{number}", cover)
        for number, path in enumerate(bound):
            empty = f"{_SCRATCH}/file-{number}".encode()
            os.close(os.open(empty, os.O_CREAT | os.O_WRONLY, 0o600))
            mount(empty, path, None, _MS_BIND, None)

    return isolate


def _overlay(mount: Callable[..., None], scratch: str, cover: _Cover) -> None:
    # By descriptors: files below the overlay have no path any more.
    lower = os.open(cover.path, os.O_PATH | os.O_DIRECTORY)
    below = [(os.open(path, os.O_PATH), path) for path in cover.mounts]
    os.mkdir(scratch, 0o700)  # noqa: PTH102  between fork and exec
    upper, work = f"{scratch}/upper", f"{scratch}/work"
    os.mkdir(upper)  # noqa: PTH102
    os.mkdir(work)  # noqa: PTH102
    os.chown(upper, cover.uid, cover.gid)
    os.chmod(upper, cover.mode)  # noqa: PTH101
    options = f"lowerdir=/proc/self/fd/{lower},upperdir={upper},workdir={work}"
    mount(b"overlay", cover.path, b"overlay", 0, options.encode())
    for descriptor, path in below:
        mount(f"/proc/self/fd/{descriptor}".encode(), path, None, _MS_BIND, None)
        os.close(descriptor)
    os.close(lower)


def _outermost_first(directories: Iterable[str], mounts: tuple[str, ...]) -> list[str]:
    """Each directory once, without those that the overlay of one above them covers."""
    outermost: list[str] = []
    for path in sorted(set(map(os.path.realpath, directories))):
        if _is_beyond(path) or not Path(path).is_dir() or os.statvfs(path).f_flag & os.ST_RDONLY:
            continue  # read-only, or one of the kernel's own file systems
        above = next((other for other in outermost if path.startswith(other + "/")), None)
        if above is None or any(path == m or path.startswith(m + "/") for m in _below(above, mounts)):
            outermost.append(path)
    return outermost


def _is_beyond(path: str) -> bool:
    return any(path == place or path.startswith(place + "/") for place in _KERNELS)


def _is_writable_file(path: str) -> bool:
    try:
        facts = os.stat(path)  # noqa: PTH116
        return stat.S_ISREG(facts.st_mode) and not os.statvfs(path).f_flag & os.ST_RDONLY
    except OSError:
        return False


def _cover(path: str, mounts: tuple[str, ...]) -> _Cover:
    if path == "/":
        raise NoThrowawayError("/ itself cannot be covered")
    below = _below(path, mounts)
    if len(below) > MAX_MOUNTS:
        raise NoThrowawayError(f"{path} has more than {MAX_MOUNTS} mounts below it")
    facts = os.stat(path)  # noqa: PTH116
    return _Cover(
        path=os.fsencode(path),
        mode=stat.S_IMODE(facts.st_mode),
        uid=facts.st_uid,
        gid=facts.st_gid,
        mounts=tuple(map(os.fsencode, below)),
    )


def _below(path: str, mounts: tuple[str, ...]) -> list[str]:
    return [mount for mount in mounts if mount.startswith(path + "/")]


def _mount_points() -> tuple[str, ...]:
    """Every mount point, outermost first (proc(5), mountinfo: the fifth field, octal escapes for blanks)."""
    try:
        rows = Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines()
    except OSError as error:
        raise NoThrowawayError(f"the mounts are not seen: {error.strerror}") from None
    escaped = (row.split(" ")[4] for row in rows if row.count(" ") > 4)
    return tuple(sorted({_OCTAL.sub(lambda code: chr(int(code[1], 8)), path) for path in escaped}))
