"""Read what a process of the service was given when it started: variables that lead to files and other servers, its
output, its directory for temporary files, and the threads of its master."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from ops.facts.service_process import PLACES, ServiceProcess
from ops.facts.target import Target
from ops.files.presence import is_there
from ops.text.sanitize import safe_line

# Variables of every shell and environment: a path below their value is there for another reason.
_OF_SHELLS = frozenset({"OLDPWD", "PATH", "PWD", "PYTHONPATH", "SHELL", "VIRTUAL_ENV", "_"})
_PROXIES = frozenset({"ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"})
_NOT_THROUGH_PROXIES = "NO_PROXY"
_SCHEME = re.compile(r"(?i)(?:https?|ftp|socks(?:4a?|5h?)?)://")
# A name or an address, and a port. What is left of a password that no @ ends has another form.
_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,255}|\[[0-9A-Fa-f:.]{1,45}(?:%\w{1,16})?\])(?::\d{1,5})?")
_HIDDEN = "***"
# The order in which Python's tempfile tries them.
_TEMPORARY = ("TMPDIR", "TEMP", "TMP")
_FIRST = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108  places to look at, not to write to
_PATH = re.compile(r"/[^\s'\"<>|*?:;,()]{2,400}")
MAX_ENVIRONMENT_BYTES = 256 << 10
MAX_TEXTS = 60


def service_process(texts: Sequence[str], target: Target) -> ServiceProcess | None:
    """Read the service's first readable worker, or its master; None if neither is there. ``texts``: log entries that
    may name files."""
    for pid in (*target.gunicorn_workers, *((target.gunicorn_master,) if target.gunicorn_master else ())):
        environment = _environment(pid)
        if environment is not None:
            break
    else:
        return None
    temporary = _temporary(pid, environment)
    return ServiceProcess(
        pid=pid,
        variables=_telling(environment, texts[-MAX_TEXTS:]),
        outputs=_outputs(pid),
        temporary=safe_line(temporary, 400) if temporary else None,
        temporary_bytes=_size(pid, temporary) if temporary else None,
        master_threads=_threads(target.gunicorn_master),
        path=safe_line(environment["PATH"], 1000) if "PATH" in environment else None,
        programs=_programs(pid, environment.get("PATH", os.defpath), texts[-MAX_TEXTS:], target),
        shared_memory=_shared_memory(pid),
        held=held_descriptors(pid),
    )


def _environment(pid: int) -> dict[str, str] | None:
    try:
        with Path(f"/proc/{pid}/environ").open("rb") as file:
            raw = file.read(MAX_ENVIRONMENT_BYTES)
    except OSError:
        return None
    pairs = (item.decode("utf-8", "replace").partition("=") for item in raw.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs}


def _telling(environment: Mapping[str, str], texts: Sequence[str]) -> dict[str, str]:
    """The variables whose values lead to files, if the name is known or an exception names the value; proxies without
    user and password."""
    named = {path.rstrip("/.") for text in texts for path in _PATH.findall(text)}
    chosen: dict[str, str] = {}
    for name, value in sorted(environment.items()):
        bare = value.rstrip("/")
        if name.upper() in _PROXIES:
            chosen[name] = _without_user(value)
        elif name.upper() == _NOT_THROUGH_PROXIES:
            chosen[name] = value.rpartition("@")[2]
        elif (
            value.startswith("/")
            and name not in _OF_SHELLS
            and (name in PLACES or (len(bare) > 1 and _is_named(bare, named)))
        ):
            chosen[name] = value
    return {safe_line(name, 80): safe_line(value, 400) for name, value in list(chosen.items())[:40]}


def _is_named(path: str, named: set[str]) -> bool:
    return path in named or any(each.startswith(f"{path}/") for each in named)


def _without_user(value: str) -> str:
    """A proxy's scheme, host and port. A password may have any character unquoted, so the last @ ends it."""
    scheme = match[0] if (match := _SCHEME.match(value)) else ""
    host = re.split(r"[/?#]", value[len(scheme) :].rpartition("@")[2], maxsplit=1)[0]
    return scheme + (host if _HOST.fullmatch(host) else _HIDDEN)


def _outputs(pid: int) -> dict[str, str]:
    """Where standard output (1) and standard error (2) go."""
    places = {}
    for number in ("1", "2"):
        try:
            places[number] = safe_line(os.readlink(f"/proc/{pid}/fd/{number}"), 400)  # noqa: PTH115  no path: pipe:[1]
        except OSError:
            continue
    return places


def _temporary(pid: int, environment: Mapping[str, str]) -> str | None:
    """The directory of Python's tempfile: the first of its places that is there for the process; None if one before it
    may not be looked at."""
    places = [environment[name] for name in _TEMPORARY if environment.get(name)]
    for place in (*places, *_FIRST):
        at = Path(f"/proc/{pid}/root{place}")
        there = is_there(at)
        if there is None:
            return None
        if there and at.is_dir():
            return place
    return _FIRST[0]


def _size(pid: int, directory: str) -> int | None:
    """The size of the directory's file system in bytes, as the process sees it."""
    try:
        facts = os.statvfs(f"/proc/{pid}/root{directory}")
    except OSError:
        return None
    return facts.f_frsize * facts.f_blocks


def _threads(pid: int | None) -> int | None:
    try:
        return len(list(Path(f"/proc/{pid}/task").iterdir())) if pid else None
    except OSError:
        return None


# A program that is not found is named without a directory.
_PROGRAM = re.compile(r"No such file or directory: '([A-Za-z0-9][\w.+-]{0,80})'")
_MORE_PLACES = (
    "/usr/local/bin",
    "/usr/bin",
    "/bin",
    "/usr/local/sbin",
    "/usr/sbin",
    "/sbin",
    "/opt/bin",
    "/snap/bin",
)
MANY_OF_ONE_KIND = 8
MAX_DESCRIPTORS = 4096


def _programs(pid: int, path: str, texts: Sequence[str], target: Target) -> dict[str, str]:
    """The programs that exceptions name and PATH does not lead to, with where else they are."""
    names = dict.fromkeys(name for text in texts for name in _PROGRAM.findall(text))
    found: dict[str, str] = {}
    for name in list(names)[:8]:
        if any(
            is_there(Path(f"/proc/{pid}/root{part}") / name)
            for part in path.split(":")
            if part.startswith("/")
        ):
            continue
        beside = [str(Path(target.python).parent)] if target.python.startswith("/") else []
        places = (f"{place}/{name}" for place in (*beside, *_MORE_PLACES))
        found[name] = next((place for place in places if is_there(Path(f"/proc/{pid}/root{place}"))), "")
    return found


def _shared_memory(pid: int) -> str:
    """The mode, owner and room of /dev/shm as the process sees it."""
    place = f"/proc/{pid}/root/dev/shm"
    try:
        status, room = Path(place).stat(), os.statvfs(place)
    except OSError as error:
        return (error.strerror or "?").lower()
    free, total = room.f_frsize * room.f_bavail >> 20, room.f_frsize * room.f_blocks >> 20
    mode = stat.S_IMODE(status.st_mode)
    return f"{mode:04o}, uid {status.st_uid}, {free} of {total} MiB free, {room.f_ffree} inodes free"


def held_descriptors(pid: int) -> dict[str, int]:
    """What the descriptors of a process lead to, if many lead to the same, the most first: a peer and the state of its
    connection, or a file."""
    counts: Counter[str] = Counter()
    try:
        process = psutil.Process(pid)
        counts.update(
            f"{connection.raddr[0]}:{connection.raddr[1]} {connection.status}"
            for connection in process.net_connections("inet")
            if connection.raddr
        )
        counts.update(item.path for item in process.open_files()[:MAX_DESCRIPTORS])
    except (psutil.Error, OSError, ValueError):
        return {}
    return {
        safe_line(place, 200): count for place, count in counts.most_common(4) if count >= MANY_OF_ONE_KIND
    }
