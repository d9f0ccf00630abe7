"""Apply remedies that touch files alone: permissions, pidfiles, logs, rotation, backups."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from pathlib import Path

from ops.collect.services.nginx import read_pidfile
from ops.control.pidfile import NamedPidfile, change_pidfile
from ops.control.signals import send
from ops.deployment.install import FileChange, install, present_text
from ops.deployment.render import RenderedFile
from ops.files.nofollow import resolve, trusted_users
from ops.files.ownership import distrust
from ops.repair.apply.session import (
    AppliedChange,
    NotAppliedError,
    RepairSession,
    blocked,
    failed,
    must_be_alive,
    not_needed,
)
from ops.repair.model import ChangeMode, CreateBackup, InstallRotation, MendPidfile, Outcome, ReopenLogs
from ops.text.language import Text, verbatim
from ops.text.reasons import reason
from ops.text.sanitize import safe_line

LOGS_REOPEN_WITHIN = 10.0
_STATES = {FileChange.NEW: "新建", FileChange.CHANGED: "已更改", FileChange.UNCHANGED: "未变"}


def apply_to_files(
    action: ReopenLogs | MendPidfile | ChangeMode | InstallRotation | CreateBackup, session: RepairSession
) -> AppliedChange:
    """Apply ``action``. Raises NotAppliedError, OpsError, OSError."""
    match action:
        case ReopenLogs():
            return _reopen_logs(action)
        case MendPidfile():
            return _mend_pidfile(action)
        case ChangeMode():
            return change_mode(action)
        case InstallRotation():
            return _install_rotation(action)
        case CreateBackup():
            return _create_backup(session)


def _reopen_logs(action: ReopenLogs) -> AppliedChange:
    stale = [(pid, path) for pid, path in action.stale if _has_open(pid, path)]
    if not stale:
        raise not_needed("nothing writes to it any more", "已没有进程写入")
    for master in action.masters:
        send(master, signal.SIGUSR1)
    give_up = time.monotonic() + LOGS_REOPEN_WITHIN
    while any(_has_open(pid, path) for pid, path in stale):
        if time.monotonic() > give_up:
            pid, path = stale[0]
            raise failed(
                f"process {pid} still writes to {path}: it did not follow USR1",
                f"进程 {pid} 仍在写 {path}：它没有响应 USR1",
            )
        time.sleep(0.05)
    writers = ", ".join(f"{pid}: {path}" for pid, path in stale[:8])
    return AppliedChange(verbatim(writers), Text(en="reopened", zh="已重新打开"))


def _has_open(pid: int, link: str) -> bool:
    """Whether the process has this very file open; ``link`` as /proc/PID/fd shows it."""
    try:
        entries = list(Path(f"/proc/{pid}/fd").iterdir())
    except OSError:
        return False
    for entry in entries:
        with contextlib.suppress(OSError):
            if os.readlink(entry) == link:  # noqa: PTH115  not a path: it may end in " (deleted)"
                return True
    return False


def _mend_pidfile(action: MendPidfile) -> AppliedChange:
    must_be_alive(action.master)
    present = read_pidfile(action.path)
    if present.missing or present.pid == action.master.pid:
        raise not_needed("it is already correct, or removed", "已经正确，或已被删除")
    changed_meanwhile = blocked(f"{action.path} has changed meanwhile", f"{action.path} 刚被改动过")
    if present.pid != action.number:
        raise changed_meanwhile
    content = f"{action.master.pid}\n".encode() if action.keeps else None
    try:
        refusal = change_pidfile(
            NamedPidfile(action.path, action.namer), content=content, number=action.number
        )
    except FileNotFoundError:
        raise changed_meanwhile from None
    if refusal is not None:
        raise blocked(f"{action.path}: {refusal.en}", f"{action.path}：{refusal.zh}")
    after = verbatim(str(action.master.pid)) if action.keeps else Text(en="removed", zh="已删除")
    return AppliedChange(verbatim(str(action.number)), after)


def change_mode(action: ChangeMode) -> AppliedChange:
    """Take permission bits from one file. Raises NotAppliedError, OSError."""
    descriptor, entries = resolve(action.path)
    try:
        status = os.fstat(descriptor)
        # A user who has a say in the path decides about files of its own, and no others.
        exposed = distrust(entries[:-1], {*trusted_users(), status.st_uid})
        if exposed is not None:
            raise NotAppliedError(Outcome.BLOCKED, reason(safe_line(f"{action.path}: {exposed}")))
        if not stat.S_ISREG(status.st_mode) or status.st_nlink > 1:
            raise blocked(
                f"{action.path}: not a regular file with a single name",
                f"{action.path}：不是只有一个名字的普通文件",
            )
        mode = stat.S_IMODE(status.st_mode)
        # Bits are only ever taken away.
        target_mode = mode & action.after
        if target_mode == mode:
            raise not_needed(f"its mode is {mode:04o} by now", f"权限现在已是 {mode:04o}")
        os.chmod(f"/proc/self/fd/{descriptor}", target_mode)  # noqa: PTH101  the very file that was checked
    finally:
        os.close(descriptor)
    return AppliedChange(verbatim(f"{mode:04o}"), verbatim(f"{target_mode:04o}"))


def _install_rotation(action: InstallRotation) -> AppliedChange:
    for file in action.files:
        if present_text(Path(file.path)) != file.present:
            raise blocked(f"{file.path} has changed meanwhile", f"{file.path} 刚被改动过")
    files = [RenderedFile(file.path, file.text, file.mode) for file in action.files]
    installed = install("logrotate", files, Path("/"), ())
    left_out = action.left_out
    return AppliedChange(
        after=Text(
            en=", ".join(f"{item.path}: {item.state}" for item in installed),
            zh="、".join(f"{item.path}：{_STATES[item.state]}" for item in installed),
        ),
        copies=tuple(item.kept for item in installed if item.kept),
        detail=Text(
            en="; ".join(reason.en for reason in left_out), zh="；".join(reason.zh for reason in left_out)
        )
        if left_out
        else None,
    )


def _create_backup(session: RepairSession) -> AppliedChange:
    from ops.backup import create_backup

    settings = session.settings
    backup = create_backup(
        settings, session.settings_path, settings.backup.to, lambda _step, _done, _all: None
    )
    detail = None
    if backup.failed_copies:
        words = "; ".join(f"{place}: {why}" for place, why in backup.failed_copies.items())
        detail = Text(en=f"created, but not copied: {words}", zh=f"已生成，但未能复制：{words}")
    return AppliedChange(after=verbatim(str(backup.created.path)), detail=detail)
