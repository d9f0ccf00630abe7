"""Remedies that touch files alone: keys, logs, pidfiles, rotation, backups. Pure."""

from __future__ import annotations

import posixpath
import shlex
from collections.abc import Callable, Iterator

from ops.facts.certificates import Certificates, KeyFile
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.nginx import Pidfile
from ops.facts.safeguards import Rotation
from ops.interpret import gunicorn as gunicorn_rules
from ops.interpret.authority import Standing, standing
from ops.interpret.commands import as_user_of
from ops.interpret.logrotate import parse
from ops.repair.model import (
    ChangeMode,
    CreateBackup,
    InstallRotation,
    MendPidfile,
    Remedy,
    ReopenLogs,
    Safety,
)
from ops.repair.plan.case import NO_MASTER, NO_PLAN, Case, identity
from ops.text.language import Text
from ops.text.reasons import reason

# The suffix of a removed file's link in /proc/PID/fd (proc(5)).
DELETED = " (deleted)"


def _mend_pidfile(case: Case) -> Iterator[Remedy]:
    gunicorn, master = case.snapshot.gunicorn, case.master
    if not isinstance(gunicorn, Gunicorn) or not isinstance(gunicorn.pidfile, Pidfile) or master is None:
        yield case.by_hand(NO_MASTER)
        return
    pidfile = gunicorn.pidfile
    whose = standing(master, case.caller)
    if whose is Standing.CONTAINER:
        yield case.by_hand(
            Text(
                en="gunicorn runs in a container: its paths are not this host's",
                zh="gunicorn 在容器里：它的路径不是本机的",
            )
        )
        return
    if pidfile.pid is None:
        yield case.by_hand(
            Text(
                en=f"{pidfile.path} holds no process id: what it is, a person must say",
                zh=f"{pidfile.path} 里不是进程号：它究竟是什么，需要人来判断",
            )
        )
        return
    arguments = gunicorn_rules.arguments(master)
    value = gunicorn_rules.setting("pidfile", "pid", arguments, gunicorn.config)
    keeps = isinstance(value, str) and _below(master.cwd, value) == pidfile.path
    named_by_settings = case.context.pidfile == pidfile.path
    namer = None if named_by_settings or whose is Standing.HOST else master.uid
    action = MendPidfile(pidfile.path, pidfile.pid, identity(master), keeps, namer)
    path = shlex.quote(pidfile.path)

    def as_namer(words: str) -> str:
        return words if namer is None else as_user_of(master, words)

    if keeps:
        yield case.remedy(
            Safety.SAFE,
            action,
            Text(
                en=f"write the master's pid, {master.pid}, into {pidfile.path}, which gunicorn maintains",
                zh=f"把主进程号 {master.pid} 写回 gunicorn 自己的 {pidfile.path}",
            ),
            commands=(as_namer(f"echo {master.pid} > {path}"),),
        )
        return
    yield case.remedy(
        Safety.SAFE,
        action,
        Text(
            en=f"remove {pidfile.path}: the running gunicorn does not maintain it",
            zh=f"删除 {pidfile.path}：运行中的 gunicorn 并不维护它",
        ),
        commands=(as_namer(f"rm {path}"),),
    )


def _close_key(case: Case) -> Iterator[Remedy]:
    """Take the key's permissions from everybody; from its group too, if that holds nobody but the owner."""
    certificates = case.snapshot.certificates
    key = certificates.key if isinstance(certificates, Certificates) else None
    if not isinstance(key, KeyFile) or key.mode is None:
        yield case.by_hand(NO_PLAN)
        return
    without_others, owner_only = key.mode & 0o660, key.mode & 0o600
    alone = case.context.key_group_is_owners
    if key.mode & 0o007 or alone:
        after = owner_only if alone else without_others
        yield case.remedy(
            Safety.SAFE,
            ChangeMode(key.resolved, key.mode, after),
            Text(
                en=f"mode {key.mode:04o} of {key.resolved} becomes {after:04o}",
                zh=f"{key.resolved} 的权限由 {key.mode:04o} 改为 {after:04o}",
            ),
            commands=(f"chmod {after:o} {shlex.quote(key.resolved)}",),
        )
    if key.mode & 0o040 and not alone:
        yield case.remedy(
            Safety.RISKY,
            ChangeMode(key.resolved, without_others, owner_only),
            Text(
                en=f"mode {without_others:04o} of {key.resolved} becomes {owner_only:04o}",
                zh=f"{key.resolved} 的权限由 {without_others:04o} 改为 {owner_only:04o}",
            ),
            risk=Text(
                en="another program may read the key by its group",
                zh="别的程序可能靠属组读取这个私钥",
            ),
            commands=(f"chmod {owner_only:o} {shlex.quote(key.resolved)}",),
        )


def _reopen_logs(case: Case) -> Iterator[Remedy]:
    processes, rotation = case.snapshot.processes, case.snapshot.rotation
    open_logs = case.snapshot.open_logs
    if (
        not isinstance(processes, Processes)
        or not isinstance(rotation, Rotation)
        or not isinstance(open_logs, tuple)
    ):
        yield case.by_hand(NO_PLAN)
        return
    current = {log.resolved for log in rotation.logs}
    stale = tuple(
        (o.pid, o.path + DELETED if o.deleted else o.path)
        for o in open_logs
        if o.deleted or o.path not in current
    )
    writers = {pid for pid, _ in stale}
    masters = [
        master
        for master in (*case.nginx, *((case.master,) if case.master else ()))
        if master.pid in writers or any(p.pid in writers for p in processes.processes if p.ppid == master.pid)
    ]
    if not masters:
        yield case.by_hand(Text(en="who writes to it has no master here", zh="找不到写入者的主进程"))
        return
    pids = " ".join(str(master.pid) for master in masters)
    yield case.remedy(
        Safety.SAFE,
        ReopenLogs(tuple(map(identity, masters)), stale),
        Text(en=f"have process {pids} reopen its logs", zh=f"让进程 {pids} 重新打开日志"),
        commands=(f"kill -USR1 {pids}",),
    )


def _install_rotation(case: Case) -> Iterator[Remedy]:
    files = case.context.rotation
    if isinstance(files, str):
        yield case.by_hand(
            Text(
                en=f"our logrotate rule cannot be made here: {files}",
                zh=f"无法生成 logrotate 规则：{reason(files).to('zh')}",
            )
        )
        return
    rewrites = tuple(file for file in files if file.present != file.text)
    if not rewrites:
        yield case.by_hand(
            Text(
                en="our logrotate rule is in place already; another one is in its way",
                zh="我们的 logrotate 规则已在位，是别的规则与它冲突",
            )
        )
        return
    if not any(parse(file.text, file.path, {}).rules for file in rewrites):
        yield case.by_hand(
            Text(
                en="; ".join(reason.en for reason in case.context.not_rotated),
                zh="；".join(reason.zh for reason in case.context.not_rotated),
            )
            if case.context.not_rotated
            else NO_PLAN
        )
        return
    paths = ", ".join(file.path for file in rewrites)
    left_out = case.context.not_rotated
    replaced = any(file.present is not None for file in rewrites)
    yield case.remedy(
        Safety.RISKY if replaced else Safety.SAFE,
        InstallRotation(rewrites, left_out),
        Text(
            en="; ".join((f"install our logrotate rule: {paths}", *(reason.en for reason in left_out))),
            zh="；".join((f"安装 logrotate 规则：{paths}", *(reason.zh for reason in left_out))),
        ),
        risk=Text(
            en="it takes the place of the rules that are in that file (they are kept beside it)",
            zh="会替换该文件里原有的规则（原文件会保留一份）",
        )
        if replaced
        else None,
        commands=("gte-ops render logrotate --install",),
        diff=case.context.rotation_diff,
    )


def _create_backup(case: Case) -> Iterator[Remedy]:
    yield case.remedy(
        Safety.SAFE,
        CreateBackup(),
        Text(en="make a backup now", zh="立即做一份备份"),
        commands=("gte-ops backup create",),
    )


def _below(directory: str | None, path: str) -> str:
    return posixpath.join(directory or "/", path)


PLANNERS: dict[str, Callable[[Case], Iterator[Remedy]]] = {
    "TLS010": _close_key,
    "GUN002": _mend_pidfile,
    "OPS001": _install_rotation,
    "OPS002": _reopen_logs,
    "OPS003": _create_backup,
    "OPS004": _create_backup,
    "OPS005": _create_backup,
}
