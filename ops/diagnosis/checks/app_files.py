"""Find what denies the application a file: a step of its path, or a limit of its process; and the fix."""

from __future__ import annotations

import errno
import re
import shlex
from typing import NamedTuple

from ops.diagnosis.finding import Evidence, quote
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, Reader
from ops.facts.logs import Logs
from ops.facts.machine import Machine
from ops.facts.target import Target
from ops.facts.traffic import RefusedFile
from ops.interpret.access import READ, SEARCH, WRITE, may
from ops.interpret.exception_words import ExceptionKind, kind_of
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
        if file.error == errno.ENOENT and file.lies_at:
            return _elsewhere(file, target)
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


def _elsewhere(file: RefusedFile, target: Target) -> FileRefusal:
    where = file.working_directory
    return FileRefusal(
        (
            quote("cwd", where),
            Evidence(file.lies_at, Text(en="the file is here", zh="文件在这里")),
        ),
        Text(
            en=f"the path is relative, the service's working directory is {where}, and the file lies at {file.lies_at}",
            zh=f"路径是相对的，服务的工作目录是 {where}，而文件在 {file.lies_at}",
        ),
        (
            Text(
                en="Let the application build the path from its own place: Path(__file__).parent / ...; or start the"
                f" service in {target.app_dir}: chdir = {target.app_dir!r} in gunicorn's configuration,"
                " WorkingDirectory= in its unit",
                zh="让应用从自己的位置拼出路径：Path(__file__).parent / ...；或在"
                f" {target.app_dir} 里启动服务：chdir = {target.app_dir!r}（gunicorn 配置），或 unit 的"
                " WorkingDirectory=",
            ),
            target.restart_command,
        ),
    )


# errno(3): EMFILE, ENFILE, EAGAIN, ENOMEM; getrlimit(2); systemd.exec(5), systemd.resource-control(5).
_LIMITS = (
    ExceptionKind(
        re.compile(r"\[Errno 24\]|Too many open files(?! in system)"),
        Text(en="the service may open too few files", zh="服务可打开的文件数太少"),
        Text(
            en="Let the service open more: LimitNOFILE=65535 below [Service] of its unit (systemctl edit), minfds in"
            " supervisord.conf, or ulimit -n 65535 before its start command; if the number only ever grows, the"
            " application does not close what it opens",
            zh="让服务能打开更多文件：在 unit 的 [Service] 下写 LimitNOFILE=65535（systemctl edit），"
            "supervisord.conf 里设 minfds，或在启动命令前执行 ulimit -n 65535；"
            "如果打开数只增不减，就是应用没有关闭打开的文件",
        ),
    ),
    ExceptionKind(
        re.compile(r"\[Errno 23\]|Too many open files in system"),
        Text(en="the whole host has too many files open", zh="整台机器打开的文件太多"),
        Text(
            en="See who has them open (lsof | awk '{print $1}' | sort | uniq -c | sort -n | tail), or raise"
            " fs.file-max (sysctl)",
            zh="看是谁打开的（lsof | awk '{print $1}' | sort | uniq -c | sort -n | tail），"
            "或用 sysctl 调大 fs.file-max",
        ),
    ),
    ExceptionKind(
        re.compile(r"can't start new thread|\[Errno 11\] Resource temporarily unavailable"),
        Text(en="the service may start no more threads or processes", zh="服务不能再创建线程或进程"),
        Text(
            en="Raise TasksMax= and LimitNPROC= below [Service] of its unit (ulimit -u without one), or have the"
            " application start fewer threads (threads, worker pools, OMP_NUM_THREADS)",
            zh="在 unit 的 [Service] 下调大 TasksMax= 和 LimitNPROC=（没有 unit 时用 ulimit -u），"
            "或让应用少开线程（threads、线程池、OMP_NUM_THREADS）",
        ),
    ),
    ExceptionKind(
        re.compile(r"^MemoryError\b|\[Errno 12\]|Cannot allocate memory"),
        Text(en="the service gets no more memory", zh="服务申请不到更多内存"),
        Text(
            en="See what it may have (systemctl show -p MemoryMax UNIT; ulimit -v; free -m): raise the limit, or"
            " let one request need less",
            zh="查看上限与用量（systemctl show -p MemoryMax unit；ulimit -v；free -m）：调大上限，或让单个请求少占内存",
        ),
    ),
)


def process_limit(exception: str, machine: Machine | NotSeen, target: Target) -> FileRefusal | None:
    """Return the limit of the service's process that ``exception`` met; None if it is of another kind."""
    limit = kind_of(exception, _LIMITS)
    if limit is None:
        return None
    own = (target.gunicorn_master, *target.gunicorn_workers)
    limits = () if isinstance(machine, NotSeen) or limit is not _LIMITS[0] else machine.open_files
    tightest = sorted((item for item in limits if item.pid in own), key=lambda item: item.soft)[:1]
    words = limit.what
    for item in tightest:
        words = Text(
            en=f"{words.en} ({item.soft}, process {item.pid})",
            zh=f"{words.zh}（{item.soft}，进程 {item.pid}）",
        )
    return FileRefusal(
        tuple(
            Evidence(
                f"/proc/{item.pid}/limits",
                Text(en=f"Max open files {item.soft}", zh=f"打开文件数上限 {item.soft}"),
            )
            for item in tightest
        ),
        words,
        (limit.step, target.restart_command),
    )
