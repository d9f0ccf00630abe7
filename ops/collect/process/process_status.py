"""The owner and context of a process, from the kernel alone: a process can change its command line and title.

Separate from the table of processes, whose library the watchdog's rounds do not load."""

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
    """``uid``: the real user id (for a set-user-ID program its caller's). ``is_nested``: it runs in a process namespace
    below ours, as in a container. ``is_setuid``: its program is set-user-ID, so any user may have chosen its arguments;
    ``has_other_root``: its ``/`` is not ours; ``has_other_network``: its network namespace is not ours, so it cannot
    serve this host's addresses. None: not seen."""

    uid: int
    is_nested: bool
    is_setuid: bool | None = None
    has_other_root: bool | None = None
    has_other_network: bool | None = None


def process_status(pid: int) -> ProcessStatus | None:
    """Read the status of a process; None if it is gone or hidden.

    proc(5), /proc/pid/status: ``Uid`` is real, effective, saved, file system; ``NSpid`` is the process's number in each
    namespace from the reader's down to its own: a single number for a process in our namespace."""
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
    """The system unit that a process belongs to, by its control group: only root can place a process there. A user's
    own units are below user.slice and do not count (systemd: Control Groups).

    None if it belongs to none, or systemd does not run."""
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
    """The beginning of the ID of a process's container, as ``docker ps`` and ``podman ps`` print it, from its control
    group. None if that names no container."""
    try:
        rows = Path(f"/proc/{pid}/cgroup").read_text(errors="replace")
    except OSError:
        return None
    return match[1] if (match := _CONTAINER.search(rows)) else None


def is_running(pid: int) -> bool:
    """Whether the process exists and has not ended: a zombie only waits to be reaped (proc(5), stat field 3)."""
    return _state(pid) not in ("", "Z", "X")


def is_zombie(pid: int) -> bool:
    """Whether the process has ended and its parent has not reaped it."""
    return _state(pid) == "Z"


def _state(pid: int) -> str:
    """The state letter (proc(5), stat field 3); empty if there is no such process."""
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
    """Whether the root differs from ours: a unit with its own mounts (PrivateTmp=) shares it, a container does not."""
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
    """Whether the network namespace, by its inode (namespaces(7)), is not ours. Only root and its user may read it."""
    try:
        return os.stat(f"/proc/{pid}/ns/net").st_ino != _own_network()  # noqa: PTH116
    except OSError:
        return None


@lru_cache(maxsize=1)
def _own_network() -> int:
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116
