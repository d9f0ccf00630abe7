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
    for refused in _about(exception, logs):
        if refused.error == errno.EROFS:
            return _read_only(refused)
        if refused.missing is not None and refused.missing != refused.path:
            return _missing(refused, target)
        if refused.reader is None or refused.error == errno.ENOENT:
            continue
        closed = _closed(refused, refused.reader)
        if closed is not None:
            return _not_allowed(refused, closed, refused.reader, target)
    return None


def is_open_again(exception: str, logs: Logs) -> bool:
    """Whether the cause was fixed: the file is accessible now, and its path changed since the last such exception."""
    about = _about(exception, logs)
    if not about or any(refused.error == errno.EROFS for refused in about):
        return False
    if any(refused.missing is not None or refused.reader is None for refused in about):
        return False
    closed = [_closed(refused, refused.reader) for refused in about if refused.reader is not None]
    changed = max((step.changed for refused in about for step in refused.steps), default=0.0)
    return not any(closed) and changed >= int(max(refused.last for refused in about))


def _about(exception: str, logs: Logs) -> tuple[RefusedFile, ...]:
    return tuple(refused for refused in logs.service_files if refused.entry == exception)


def _closed(refused: RefusedFile, reader: Reader) -> AccessStep | None:
    """The first step of the path that ``reader`` may not access."""
    directory = _directory(refused)
    makes_files = refused.missing is not None or _is_sqlite(refused)
    for step in refused.steps:
        if not step.is_directory:
            needed = READ | WRITE
        else:
            needed = SEARCH | WRITE if step.path == directory and makes_files else SEARCH
        if may(reader, step, needed) is False:
            return step
    return None


def _directory(refused: RefusedFile) -> str:
    return refused.path.rpartition("/")[0] or "/"


def _is_sqlite(refused: RefusedFile) -> bool:
    """Whether SQLite refused: its message has no errno. It writes a journal beside the database, into the directory."""
    return "[Errno" not in refused.entry


def _not_allowed(refused: RefusedFile, step: AccessStep, reader: Reader, target: Target) -> FileRefusal:
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
    elif step.is_directory and step.path != _directory(refused):
        mend = Text(
            en=f"Let the service through: chmod o+x {place} (or a group of both)",
            zh=f"让服务能穿过该目录：chmod o+x {place}（或让两者同组）",
        )
    else:
        if _is_sqlite(refused) and refused.missing is None:
            place = f"{shlex.quote(_directory(refused))} {shlex.quote(refused.path)}"
        mend = Text(
            en=f"If it is the service's own, give it back to its user: chown {user} {place}",
            zh=f"如果它是服务自己的文件，把它还给服务的用户：chown {user} {place}",
        )
    return FileRefusal(
        (quote(f"stat {step.path}", f"{step.mode:04o}, uid {step.uid}, gid {step.gid}"),),
        words,
        (f"namei -l {shlex.quote(refused.path)}", mend),
    )


def _is_system_s(path: str, target: Target) -> bool:
    in_system = any(path == top or path.startswith(f"{top}/") for top in _SYSTEM) or path == "/"
    own = target.app_dir.rstrip("/") if target.app_dir else ""
    return in_system and not (own and path.startswith(f"{own}/"))


def _read_only(refused: RefusedFile) -> FileRefusal:
    place = shlex.quote(_directory(refused))
    return FileRefusal(
        (),
        Text(en=f"{refused.path} is on a read-only file system", zh=f"{refused.path} 所在的文件系统是只读的"),
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


def _missing(refused: RefusedFile, target: Target) -> FileRefusal:
    missing, place = str(refused.missing), shlex.quote(_directory(refused))
    user = shlex.quote(refused.reader.user) if refused.reader else "USER"
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
        (f"namei -l {shlex.quote(refused.path)}", elsewhere if is_system_s else make),
    )
