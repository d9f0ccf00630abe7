"""Find the step of a file's path that the application may not access, and the fix."""

from __future__ import annotations

import errno
import shlex
from typing import NamedTuple

from ops.diagnosis.finding import Evidence, quote
from ops.facts.files import AccessStep, Reader
from ops.facts.logs import Logs
from ops.facts.target import Target
from ops.facts.traffic import RefusedFile
from ops.interpret.access import READ, SEARCH, WRITE, may
from ops.text.language import Text

# System directories: no fix gives anything below them to a service, whatever a log line names.
_SYSTEM = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/proc", "/sbin", "/sys", "/usr")


class FileRefusal(NamedTuple):
    """The reason why the application cannot use a file: the evidence, a sentence, and the steps that fix it."""

    evidence: tuple[Evidence, ...]
    words: Text
    fix: tuple[str | Text, ...]


def file_refusal(exception: str, logs: Logs, target: Target) -> FileRefusal | None:
    """Return the obstacle on the path of the file that ``exception`` names; None if none is seen, or no longer."""
    for file in _about(exception, logs):
        if file.error == errno.EROFS:
            return _read_only(file)
        if file.missing is not None and file.missing != file.path:
            return _missing(file, target)
        if file.reader is None or file.error == errno.ENOENT:
            continue
        obstacle = _closed(file, file.reader)
        if obstacle is not None:
            return _not_allowed(file, obstacle, file.reader, target)
    return None


def is_open_again(exception: str, logs: Logs) -> bool:
    """Whether the cause was fixed: the file is accessible now, and its path changed since the last such exception."""
    about = _about(exception, logs)
    if not about or any(file.error == errno.EROFS for file in about):
        return False
    if any(file.missing is not None or file.reader is None for file in about):
        return False
    obstacles = [_closed(file, file.reader) for file in about if file.reader is not None]
    changed_at = max((step.changed for file in about for step in file.steps), default=0.0)
    return not any(obstacles) and changed_at >= int(max(file.last for file in about))


def _about(exception: str, logs: Logs) -> tuple[RefusedFile, ...]:
    return tuple(file for file in logs.service_files if file.entry == exception)


def _closed(file: RefusedFile, reader: Reader) -> AccessStep | None:
    """The first step of the path that ``reader`` may not access."""
    directory = _directory(file)
    makes_files = file.missing is not None or _is_sqlite(file)
    for step in file.steps:
        if not step.is_directory:
            needed = READ | WRITE
        else:
            needed = SEARCH | WRITE if step.path == directory and makes_files else SEARCH
        if may(reader, step, needed) is False:
            return step
    return None


def _directory(file: RefusedFile) -> str:
    return file.path.rpartition("/")[0] or "/"


def _is_sqlite(file: RefusedFile) -> bool:
    """Whether SQLite refused: its message has no errno. It writes a journal beside the database, into the directory."""
    return "[Errno" not in file.entry


def _not_allowed(file: RefusedFile, step: AccessStep, reader: Reader, target: Target) -> FileRefusal:
    words = Text(
        en=f"the service runs as {reader.user}, and {step.path} ({step.mode:04o}, uid {step.uid}) is closed to it",
        zh=f"服务以 {reader.user} 运行，而 {step.path}（{step.mode:04o}，uid {step.uid}）不允许它访问",
    )
    place, user = shlex.quote(step.path), shlex.quote(reader.user)
    if _is_system_s(step.path, target):
        mend = Text(
            en=f"{step.path} is the system's: let the application use a directory of its own",
            zh=f"{step.path} 属于系统：让应用改用自己的目录",
        )
    elif step.is_directory and step.path != _directory(file):
        mend = Text(
            en=f"Let the service through: chmod o+x {place} (or a group of both)",
            zh=f"让服务能穿过该目录：chmod o+x {place}（或让两者同组）",
        )
    else:
        if _is_sqlite(file) and file.missing is None:
            place = f"{shlex.quote(_directory(file))} {shlex.quote(file.path)}"
        mend = Text(
            en=f"If it is the service's own, give it back to its user: chown {user} {place}",
            zh=f"如果它是服务自己的文件，把它还给服务的用户：chown {user} {place}",
        )
    return FileRefusal(
        (quote(f"stat {step.path}", f"{step.mode:04o}, uid {step.uid}, gid {step.gid}"),),
        words,
        (f"namei -l {shlex.quote(file.path)}", mend),
    )


def _is_system_s(path: str, target: Target) -> bool:
    in_system = any(path == top or path.startswith(f"{top}/") for top in _SYSTEM) or path == "/"
    own = target.app_dir.rstrip("/") if target.app_dir else ""
    return in_system and not (own and path.startswith(f"{own}/"))


def _read_only(file: RefusedFile) -> FileRefusal:
    place = shlex.quote(_directory(file))
    return FileRefusal(
        (),
        Text(en=f"{file.path} is on a read-only file system", zh=f"{file.path} 所在的文件系统是只读的"),
        (
            f"findmnt -T {place}",
            Text(
                en="If the mount is writable, the unit makes it read-only for the service (ProtectSystem, ProtectHome):"
                f" name it in ReadWritePaths={place}",
                zh="如果挂载本身可写，就是 unit 对服务做了只读限制（ProtectSystem、ProtectHome）："
                f"写上 ReadWritePaths={place}",
            ),
        ),
    )


def _missing(file: RefusedFile, target: Target) -> FileRefusal:
    missing, place = str(file.missing), shlex.quote(_directory(file))
    user = shlex.quote(file.reader.user) if file.reader else "USER"
    is_system_s = _is_system_s(missing, target)
    make = Text(
        en=f"Make the directory for the service's user: mkdir -p {place} && chown {user} {place}",
        zh=f"为服务的用户建好目录：mkdir -p {place} && chown {user} {place}",
    )
    elsewhere = Text(
        en=f"{missing} would be the system's: correct the path in the application",
        zh=f"{missing} 属于系统目录：请改正应用里的路径",
    )
    return FileRefusal(
        (Evidence(missing, Text(en="is not there", zh="不存在")),),
        Text(en=f"{missing} is not there", zh=f"{missing} 不存在"),
        (f"namei -l {shlex.quote(file.path)}", elsewhere if is_system_s else make),
    )
