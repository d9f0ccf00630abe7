"""Whose a process is, by the kernel's word alone: its command line and its title are its own memory.

Apart from the table of processes, whose library a round of the watchdog need not load."""

from __future__ import annotations

import os
import re
import stat
from functools import lru_cache
from pathlib import Path

import msgspec

# docker-NUMBER.scope, libpod-NUMBER.scope, /docker/NUMBER, cri-containerd-NUMBER.scope: 64 hexadecimal digits.
_CONTAINER = re.compile(r"[-/]([0-9a-f]{12})[0-9a-f]{52}(?:\.scope)?(?:/|$)", re.MULTILINE)


class ProcessStatus(msgspec.Struct, frozen=True):
    """``uid``: who started it (the real user id: a set-user-ID program is its caller's). ``is_nested``: it lives in a
    process namespace below ours, a container's. ``is_setuid``: its program is set-user-ID, so that anybody chose its
    arguments; ``has_other_root``: its ``/`` is not ours; ``has_other_network``: its network namespace is not ours, so
    that it cannot serve this host's addresses. None: not seen."""

    uid: int
    is_nested: bool
    is_setuid: bool | None = None
    has_other_root: bool | None = None
    has_other_network: bool | None = None


def process_status(pid: int) -> ProcessStatus | None:
    """None where the process is gone or hidden.

    proc(5), /proc/pid/status: ``Uid`` is real, effective, saved, file system; ``NSpid`` is the process's number in each
    namespace from the reader's down to its own: of our own namespace's processes there is one."""
    try:
        with Path(f"/proc/{pid}/status").open("rb") as file:
            text = file.read(4096)
    except OSError:
        return None
    uid, nested = None, False
    for line in text.splitlines():
        name, _, value = line.partition(b":")
        if name == b"Uid":
            uid = int(value.split()[0])
        elif name == b"NSpid":
            nested = len(value.split()) > 1
    if uid is None:
        return None
    return ProcessStatus(
        uid=uid,
        is_nested=nested,
        is_setuid=_is_setuid(pid),
        has_other_root=_has_other_root(pid),
        has_other_network=_has_other_network(pid),
    )


def system_unit(pid: int) -> str | None:
    """The unit of the system's that a process belongs to, by its control group: nobody but root puts one there. A
    user's own units lie below user.slice and do not count (systemd: Control Groups).

    None where it belongs to none, or systemd does not run."""
    try:
        rows = Path(f"/proc/{pid}/cgroup").read_text(errors="replace").splitlines()
    except OSError:
        return None
    for row in rows:
        hierarchy, _, path = row.partition(":")[2].partition(":")
        if hierarchy in ("", "name=systemd") and path.startswith("/system.slice/"):
            return next((part for part in path.split("/") if part.endswith(".service")), None)
    return None


def container_of(pid: int) -> str | None:
    """The beginning of the number of the container a process lives in, as ``docker ps`` and ``podman ps`` print it, by
    its control group. None where that names none."""
    try:
        rows = Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    except OSError:
        return None
    return match[1] if (match := _CONTAINER.search(rows)) else None


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended: a zombie only waits to be reaped (proc(5), stat field 3)."""
    return _state(pid) not in ("", "Z", "X")


def is_zombie(pid: int) -> bool:
    """Whether there is such a process that has ended and that its parent has not reaped."""
    return _state(pid) == "Z"


def _state(pid: int) -> str:
    """The letter of proc(5), stat field 3; empty for no process."""
    try:
        stat_line = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return stat_line.rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _is_setuid(pid: int) -> bool | None:
    try:
        return bool(os.stat(f"/proc/{pid}/exe").st_mode & stat.S_ISUID)  # noqa: PTH116  called for every process
    except OSError:
        return None


def _has_other_root(pid: int) -> bool | None:
    """A unit with a mount namespace of its own (PrivateTmp=) keeps the host's root; a container has one of its own."""
    try:
        status = os.stat(f"/proc/{pid}/root")  # noqa: PTH116
    except OSError:
        return None
    return (status.st_dev, status.st_ino) != _own_root()


@lru_cache(maxsize=1)
def _own_root() -> tuple[int, int]:
    status = os.stat("/")  # noqa: PTH116
    return status.st_dev, status.st_ino


def _has_other_network(pid: int) -> bool | None:
    """namespaces(7): the same inode number is the same namespace. Only root and the process's user may look."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino != _own_network()  # noqa: PTH116
    except OSError:
        return None


@lru_cache(maxsize=1)
def _own_network() -> int:
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
