"""Compare the steps of an installation with the host: what is new, changed, edited by hand, or as it is to be."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Sequence

from ops.deployment.install import place, present_text
from ops.installation.host import (
    HostTree,
)
from ops.installation.steps import (
    AccountsStep,
    Assessed,
    BackupStep,
    CertificateStep,
    DataStep,
    DirectoriesStep,
    DrainStep,
    EnableStep,
    EnvironmentStep,
    FileStep,
    LinkStep,
    NginxStep,
    ReadyStep,
    Record,
    RetireStep,
    Step,
    StepState,
    UnitsStep,
)
from ops.installation.store import digest_of

DAEMON_RELOAD = ("systemctl", "daemon-reload")


def assess(
    steps: Sequence[Step], host: HostTree, record: Record | None, overwrite: bool = False
) -> tuple[Assessed, ...]:
    """Compare each step with the host. Raises OpsError for a place that cannot be looked at."""
    files = {
        step.file.path: _file(step, host, record, overwrite) for step in steps if isinstance(step, FileStep)
    }
    files |= {
        step.certificate: _certificate(step, host) for step in steps if isinstance(step, CertificateStep)
    }
    assessed = [files.get(file_of(step) or "") or _other(step, host, files) for step in steps]
    if any(item.is_due for item in assessed if not isinstance(item.step, ReadyStep | DataStep | DrainStep)):
        return tuple(assessed)
    # Readiness and new data come with a change alone.
    return tuple(
        Assessed(item.step, StepState.UNCHANGED)
        if isinstance(item.step, ReadyStep | DataStep | DrainStep)
        else item
        for item in assessed
    )


def _file(step: FileStep, host: HostTree, record: Record | None, overwrite: bool) -> Assessed:
    path = place(step.file, host.root)
    old = present_text(path)
    new = step.file.text
    if old == new and path.stat().st_mode & 0o7777 == step.file.mode:
        return Assessed(step, StepState.UNCHANGED)
    before = (old or "").splitlines(keepends=True)
    names = (str(path) if old is not None else "/dev/null", str(path))
    diff = tuple(difflib.unified_diff(before, new.splitlines(keepends=True), *names))
    if old is None:
        return Assessed(step, StepState.NEW, diff)
    installed = record.digest(str(path)) if record else None
    if installed is not None and old != new and digest_of(old.encode()) != installed and not overwrite:
        return Assessed(step, StepState.EDITED, diff)
    return Assessed(step, StepState.CHANGED, diff)


def file_of(step: Step) -> str | None:
    """The file that a step is assessed by."""
    match step:
        case FileStep():
            return step.file.path
        case CertificateStep():
            return step.certificate
    return None


def _certificate(step: CertificateStep, host: HostTree) -> Assessed:
    """The site that answers the challenge as a diff, then the client's commands."""
    site = step.challenge
    text = site.text.splitlines(keepends=True)
    diff = tuple(difflib.unified_diff([], text, "/dev/null", str(host.place(site.path))))
    variables = " ".join(f"{name}={value}" for name, value in step.environment)
    commands = (
        step.test,
        step.reload,
        *((variables, *command) if variables else command for command in step.commands),
        ("rm", str(host.place(site.path))),
        step.reload,
    )
    return Assessed(step, StepState.DUE, diff, tuple(" ".join(command) for command in commands))


def _other(step: Step, host: HostTree, files: dict[str, Assessed]) -> Assessed:
    commands: list[Sequence[str]] = []
    match step:
        case LinkStep():
            path = host.place(step.path)
            present = os.readlink(path) if path.is_symlink() else None  # noqa: PTH115
            if present == step.target:
                return Assessed(step, StepState.UNCHANGED)
            command = " ".join(("ln -sfn", step.target, str(path)))
            return Assessed(
                step, StepState.CHANGED if os.path.lexists(path) else StepState.NEW, (), (command,)
            )
        case EnvironmentStep():
            if not host.satisfies(step.python, step.requirement):
                missing = not os.access(step.python, os.X_OK)
                commands = [("python3", "-m", "venv", step.directory)] if missing else []
                commands.append(step.install)
        case AccountsStep():
            return _accounts(step, host)
        case DirectoriesStep():
            commands = [
                ("install", "-d", "-m", f"{d.mode:04o}", "-o", d.user, "-g", d.group, d.path)
                for d in step.directories
                if not host.place(d.path).is_dir()
            ]
        case UnitsStep():
            if _changed(step.files, files):
                restarts = [("systemctl", "restart", unit) for unit in restarted(step, host, files)]
                commands = [DAEMON_RELOAD] if step.is_before else [DAEMON_RELOAD, *restarts]
        case EnableStep():
            units = [unit for unit in step.units if not (host.is_enabled(unit) and host.is_active(unit))]
            commands = [("systemctl", "enable", "--now", *units)] if units else []
        case NginxStep():
            if _changed(step.files, files) or not host.nginx_runs():
                commands = [step.test, step.reload]
        case DataStep():
            return Assessed(step, StepState.DUE)
        case BackupStep():
            commands = [] if host.has_backup(step.directory) else [step.command]
        case DrainStep():
            return Assessed(step, StepState.DUE)
        case RetireStep():
            commands = [*host.retirement(step.former)]
        case ReadyStep():
            scheme = "https" if step.domain else "http"
            commands = [("#", "wait", "for", f"{scheme}://{step.domain or step.address}{step.path}")]
    words = tuple(" ".join(command) for command in commands)
    return Assessed(step, StepState.DUE if commands else StepState.UNCHANGED, (), words)


def _accounts(step: AccountsStep, host: HostTree) -> Assessed:
    """What makes missing accounts, and the missing groups of accounts that are there."""
    is_due = not all(host.has_account(name) and host.has_group(name) for name in step.names)
    commands = tuple(" ".join(command) for command in account_commands(step, host)) if is_due else ()
    logins = tuple((name, *login) for name in step.names if (login := host.login_of(name)) is not None)
    return Assessed(step, StepState.DUE if is_due else StepState.UNCHANGED, (), commands, logins)


def account_commands(step: AccountsStep, host: HostTree) -> Iterator[tuple[str, ...]]:
    """systemd-sysusers makes what is missing by itself; useradd and groupadd fail for what is there."""
    for command in step.commands:
        name = command[-1]
        if command[0] != "useradd" or not host.has_account(name):
            yield command
        elif not host.has_group(name):
            yield ("groupadd", "--system", name)


def _changed(paths: Iterable[str], files: dict[str, Assessed]) -> bool:
    return any(path in files and files[path].is_due for path in paths)


def restarted(step: UnitsStep, host: HostTree, files: dict[str, Assessed]) -> tuple[str, ...]:
    """The running units that a changed file concerns."""
    return tuple(
        unit
        for unit, paths in step.restarted
        if any(path in files and files[path].state is StepState.CHANGED for path in paths)
        and host.is_active(unit)
    )
