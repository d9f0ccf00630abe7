"""Apply an installation's steps, undo them, and end what a killed run began."""

from __future__ import annotations

import difflib
import glob
import hashlib
import os
import secrets
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ops.deployment.install import RefusedError, place, present_text, reason_not_to_replace
from ops.deployment.render import DeploymentKind, RenderedFile
from ops.errors import ErrorKind, OpsError
from ops.files.signals import end_if_asked, undisturbed
from ops.installation.host import (
    BACKUP_SECONDS,
    ISSUE_SECONDS,
    PACKAGES_SECONDS,
    HostTree,
    StepError,
)
from ops.installation.issuance import CHALLENGE_PATH
from ops.installation.pair import pair_defect
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
    Undo,
    UndoAccounts,
    UndoCertificate,
    UndoData,
    UndoDirectories,
    UndoDrain,
    UndoEnable,
    UndoEnvironment,
    UndoFile,
    UndoLink,
    UndoNginx,
    UndoRetire,
    UndoUnits,
    UndoVersions,
    UnitsStep,
    merged,
)
from ops.installation.store import InstallStore, Operation
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, chinese, root_hint, system_error
from ops.text.sanitize import safe_line

# For files, the copies of those that they replace, and the journal.
NEEDED_BYTES = 1 << 20
_WELL_KNOWN = Path(CHALLENGE_PATH).parts[1]
_DAEMON_RELOAD = ("systemctl", "daemon-reload")


@dataclass(frozen=True)
class InstallResult:
    """What an installation did, or would do. ``kept``: the copies of files that were replaced, by path; ``undone``: an
    earlier run had been cut off, and was undone first; ``no_backup``: why the first backup could not be made."""

    assessed: tuple[Assessed, ...]
    kept: tuple[tuple[str, str], ...] = ()
    undone: bool = False
    is_dry: bool = False
    no_backup: Text | None = None

    @property
    def has_changes(self) -> bool:
        """Whether anything was done, or is to be done."""
        return any(item.is_due for item in self.assessed)

    @property
    def edited(self) -> tuple[Assessed, ...]:
        """The files that were edited by hand, and left alone."""
        return tuple(item for item in self.assessed if item.state is StepState.EDITED)


@dataclass(frozen=True)
class UninstallResult:
    """What was undone. ``copies``: of edited files; ``data``: what stays until --purge; ``troubles``: what could not be
    undone, and is tried again by the next run."""

    undone: tuple[Undo, ...]
    copies: tuple[str, ...] = ()
    data: tuple[str, ...] = ()
    troubles: tuple[Text, ...] = ()
    is_dry: bool = False


class InstallInterruptedError(OpsError):
    """Ctrl-C, SIGTERM or a lost terminal; the message says what became of the host."""

    exit_code = 130
    kind = ErrorKind.INTERRUPTED


Plan = Callable[[], Sequence[Step]]


# --- assess -----------------------------------------------------------------------------------------------------------


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
    assessed = [files.get(_path(step) or "") or _other(step, host, files) for step in steps]
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
    if installed is not None and old != new and _digest(old.encode()) != installed and not overwrite:
        return Assessed(step, StepState.EDITED, diff)
    return Assessed(step, StepState.CHANGED, diff)


def _path(step: Step) -> str | None:
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
                restarts = [("systemctl", "restart", unit) for unit in _restarted(step, host, files)]
                commands = [_DAEMON_RELOAD] if step.is_before else [_DAEMON_RELOAD, *restarts]
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
    commands = tuple(" ".join(command) for command in _account_commands(step, host)) if is_due else ()
    logins = tuple((name, *login) for name in step.names if (login := host.login_of(name)) is not None)
    return Assessed(step, StepState.DUE if is_due else StepState.UNCHANGED, (), commands, logins)


def _account_commands(step: AccountsStep, host: HostTree) -> Iterator[tuple[str, ...]]:
    """systemd-sysusers makes what is missing by itself; useradd and groupadd fail for what is there."""
    for command in step.commands:
        name = command[-1]
        if command[0] != "useradd" or not host.has_account(name):
            yield command
        elif not host.has_group(name):
            yield ("groupadd", "--system", name)


def _changed(paths: Iterable[str], files: dict[str, Assessed]) -> bool:
    return any(path in files and files[path].is_due for path in paths)


def _restarted(step: UnitsStep, host: HostTree, files: dict[str, Assessed]) -> tuple[str, ...]:
    """The running units that a changed file concerns."""
    return tuple(
        unit
        for unit, paths in step.restarted
        if any(path in files and files[path].state is StepState.CHANGED for path in paths)
        and host.is_active(unit)
    )


# --- apply ------------------------------------------------------------------------------------------------------------


def install(plan: Plan, host: HostTree, store: InstallStore, *, overwrite: bool = False) -> InstallResult:
    """End what a killed run began, then apply the steps that are due. If one fails, all of them are undone.

    ``plan`` is called after an unfinished run was undone. Raises RefusedError, StepError or OpsError: the host is as it
    was, or the message says what is left."""
    with store.locked():
        undone = recover(host, store)
        if undone and not os.path.exists(sys.executable):  # noqa: PTH110  a link's target counts
            raise StepError(
                Text(
                    en="an uninstall that had been cut off was carried on, and removed the version that runs this"
                    " command; run it again: the environment of before is back",
                    zh="之前中断的 uninstall 已继续完成，并移除了运行本命令的版本；请再次运行：原来的环境已恢复",
                )
            )
        record = store.record()
        if record is not None:
            _refuse_foreign(record.undo, host, store)
        steps = plan()
        assessed = assess(steps, host, record, overwrite)
        due = [item for item in assessed if item.is_due]
        if not due:
            return InstallResult(assessed, undone=undone)
        _refuse_early(steps, due, host, store)
        run, began = _begun(store, Operation.INSTALL), list[Undo]()
        files = {path: item for item in assessed if (path := _path(item.step)) is not None}
        validated: set[DeploymentKind] = set()
        no_backup: Text | None = None
        try:
            for item in due:
                end_if_asked()
                step = item.step
                if isinstance(step, FileStep) and step.kind and step.kind not in validated:
                    validated.add(step.kind)
                    host.validate(step.kind, _files_of(steps, step.kind), is_final=True)
                undo = _way_back(step, host, store, files)
                if undo is not None:
                    store.intend(undo)
                    began.append(undo)
                if isinstance(step, BackupStep):
                    no_backup = _first_backup(step, host)
                else:
                    _apply(step, host, files)
                if isinstance(step, CertificateStep) and isinstance(undo, UndoCertificate):
                    began[-1] = replace(undo, is_issued=True)
                    store.intend(began[-1])
                    _end_challenge(step, host)
            store.commit(merged(record, run, tuple(began)))
        except BaseException as error:
            if store.is_committed(run):
                raise  # cut off after the last step
            with undisturbed():
                troubles, issued = _roll_back(began, host, store, record, run)
            raise _failure(error, troubles, has_certificate=bool(issued)) from None
        kept = tuple(
            (item.path, str(store.directory / "originals" / item.original.digest))
            for item in began
            if isinstance(item, UndoFile) and item.original is not None
        )
        return InstallResult(assessed, kept, undone, no_backup=no_backup)


def dry_run(plan: Plan, host: HostTree, store: InstallStore, *, overwrite: bool = False) -> InstallResult:
    """What `install` would do, without doing anything."""
    undone = store.unfinished() is not None
    return InstallResult(assess(plan(), host, store.record(), overwrite), undone=undone, is_dry=True)


def _refuse_early(
    steps: Sequence[Step], due: Sequence[Assessed], host: HostTree, store: InstallStore
) -> None:
    """Raises RefusedError before anything is done, where that is already known."""
    for item in due:
        if isinstance(item.step, FileStep):
            path, keeps_owner = place(item.step.file, host.root), item.step.keeps_owner
        elif isinstance(item.step, LinkStep):
            path = host.place(item.step.path)
            if path.exists() and not path.is_symlink():
                raise RefusedError(
                    Text(
                        en=f"{path}: is there, and no link; nothing was changed: move it away first",
                        zh=f"{path}：已存在且不是链接；未作任何改动：请先移走它",
                    )
                )
            path, keeps_owner = path.parent / "any", False
        else:
            continue
        why = reason_not_to_replace(path, keeps_owner=keeps_owner)
        if why is None and not path.parent.resolve().is_relative_to(host.root.resolve()):
            why = f"a link leads out of {host.root}"
        if why is not None:
            head = "" if str(path) in why else f"{path}: "
            raise RefusedError(
                Text(
                    en=f"{head}{safe_line(why)}; nothing was changed: root alone must control it",
                    zh=f"{head}{chinese(safe_line(why))}；未作任何改动：它必须只由 root 控制",
                )
            )
    _refuse_full(due, host, store)
    kinds = dict.fromkeys(
        item.step.kind for item in due if isinstance(item.step, FileStep) and item.step.kind
    )
    for kind in kinds:
        host.validate(kind, _files_of(steps, kind), is_final=False)


def _refuse_full(due: Sequence[Assessed], host: HostTree, store: InstallStore) -> None:
    """Raises RefusedError for a file system without the room that the files and their copies need."""
    paths = [place(item.step.file, host.root) for item in due if isinstance(item.step, FileStep)]
    for path in (store.directory / "record.json", *paths):
        directory, free = host.free_bytes(path)
        if free is not None and free < NEEDED_BYTES:
            raise RefusedError(
                Text(
                    en=f"{directory}: {free >> 10} KiB are free there, and an installation needs"
                    f" {NEEDED_BYTES >> 10} KiB; nothing was changed: make room first (gte-ops doctor says what"
                    " fills it)",
                    zh=f"{directory}：只剩 {free >> 10} KiB 可用，安装需要 {NEEDED_BYTES >> 10} KiB；未作任何改动："
                    "请先腾出空间（gte-ops doctor 会指出占用空间的内容）",
                )
            )


def _files_of(steps: Sequence[Step], kind: DeploymentKind) -> list[RenderedFile]:
    return [step.file for step in steps if isinstance(step, FileStep) and step.kind == kind]


def _way_back(step: Step, host: HostTree, store: InstallStore, files: dict[str, Assessed]) -> Undo | None:
    """How the step is undone, with what that needs on disk; None if there is nothing to undo. Raises OSError."""
    phase = int(step.phase)
    match step:
        case FileStep():
            path = place(step.file, host.root)
            made = host.missing_directories(path)
            digest = _digest(step.file.text.encode())
            return UndoFile(phase, str(path), digest, store.keep(path), made, step.is_data)
        case LinkStep():
            path = host.place(step.path)
            before = os.readlink(path) if path.is_symlink() else None  # noqa: PTH115
            return UndoLink(phase, str(path), step.target, before, host.missing_directories(path))
        case DataStep():
            missing = tuple(str(path) for path in map(host.place, step.paths) if _is_missing(path, store))
            return UndoData(phase, missing) if missing else None
        case EnvironmentStep():
            is_there = os.access(step.python, os.X_OK)
            packages = host.packages(step.python) if is_there else None
            made = host.missing_directories(Path(step.directory))
            return UndoEnvironment(phase, step.directory, step.python, packages, made)
        case AccountsStep():
            missing = tuple(name for name in step.names if not host.has_account(name))
            there = [name for name in step.names if name not in missing]
            return UndoAccounts(phase, missing, tuple(name for name in there if not host.has_group(name)))
        case DirectoriesStep():
            missing_paths: list[str] = []
            for directory in step.directories:
                path = host.place(directory.path)
                if not path.is_dir():
                    missing_paths += [*host.missing_directories(path), str(path)]
            return UndoDirectories(phase, tuple(dict.fromkeys(missing_paths)))
        case UnitsStep() if step.is_before:
            return UndoUnits(phase, _restarted(step, host, files))
        case EnableStep():
            return UndoEnable(
                phase,
                tuple(unit for unit in step.units if not host.is_enabled(unit)),
                tuple(unit for unit in step.units if not host.is_active(unit)),
            )
        case DrainStep():
            return UndoDrain(phase, step.file, step.seconds)
        case RetireStep():
            return UndoRetire(phase, step.former, step.seconds)
        case NginxStep() if step.is_before:
            return UndoNginx(phase, step.test, step.reload, host.nginx_runs())
        case CertificateStep():
            own, shared = (
                tuple(str(path) for path in map(host.place, paths) if not os.path.lexists(path))
                for paths in (step.own, step.shared)
            )
            others = str(host.place(step.others)) if step.others else None
            site = host.place(step.challenge.path)
            made = (*host.missing_directories(site), *host.missing_directories(host.place(step.certificate)))
            challenge = str(host.place(step.challenge_root) / _WELL_KNOWN)
            answers = challenge if challenge in own else ""
            return UndoCertificate(phase, str(site), own, shared, others, made, answers)
    return None


def _owner(step: FileStep, path: Path) -> tuple[int, int] | None:
    """The user and group of the file that is replaced, if they are kept."""
    if not step.keeps_owner or not os.path.lexists(path):
        return None
    status = path.lstat()
    return status.st_uid, status.st_gid


def _apply(step: Step, host: HostTree, files: dict[str, Assessed]) -> None:
    match step:
        case FileStep():
            path = place(step.file, host.root)
            host.put(path, step.file.text.encode(), step.file.mode, _owner(step, path))
        case LinkStep():
            host.link(host.place(step.path), step.target)
        case EnvironmentStep():
            if not os.access(step.python, os.X_OK):
                host.run("python3", "-m", "venv", step.directory, seconds=PACKAGES_SECONDS)
            host.run(*step.install, seconds=PACKAGES_SECONDS)
        case AccountsStep():
            for command in tuple(_account_commands(step, host)):
                host.run(*command)
        case DirectoriesStep():
            for directory in step.directories:
                if not host.place(directory.path).is_dir():
                    host.make_directory(directory)
        case UnitsStep() if not step.is_before:
            host.run(*_DAEMON_RELOAD)
            for unit in _restarted(step, host, files):
                host.run("systemctl", "restart", unit)
        case EnableStep():
            _start(step, host)
        case NginxStep() if not step.is_before:
            _take_up(step.test, step.reload, host)
        case CertificateStep():
            _issue(step, host)
        case RetireStep():
            host.drain(step.file, step.seconds)
            host.retire(step.former)
        case ReadyStep():
            why = host.wait_until_ready(step.address, step.path, step.seconds, step.domain, step.payload)
            if why is not None:
                where = f"https://{step.domain}" if step.domain else f"http://{step.address}"
                raise StepError(
                    Text(
                        en=f"{where}{step.path}: not ready within {step.seconds:.0f} s: {safe_line(why)}",
                        zh=f"{where}{step.path}：{step.seconds:.0f} 秒内未就绪：{chinese(safe_line(why))}",
                    )
                )


def _first_backup(step: BackupStep, host: HostTree) -> Text | None:
    """Make the first backup; why there is none afterwards. A place for copies that cannot be reached, say, is no reason
    to take a service back that serves."""
    try:
        host.run(*step.command, seconds=BACKUP_SECONDS)
    except StepError as error:
        return error.words
    return None


def _start(step: EnableStep, host: HostTree) -> None:
    units = [unit for unit in step.units if not (host.is_enabled(unit) and host.is_active(unit))]
    try:
        host.run("systemctl", "enable", "--now", *units)
    except StepError as error:
        words = next(filter(None, (host.journal_line(unit) for unit in units)), "")
        raise StepError(
            Text(
                en=f"{error.words.en} {safe_line(words, 300)}".rstrip(),
                zh=f"{error.words.zh} {safe_line(words, 300)}".rstrip(),
            )
        ) from None


def _take_up(test: tuple[str, ...], reload: tuple[str, ...], host: HostTree) -> None:
    host.run(*test)
    if host.nginx_runs():
        host.run(*reload)
    elif host.has_systemd:
        host.run("systemctl", "enable", "--now", "nginx.service")
    else:
        host.run("nginx")


def _issue(step: CertificateStep, host: HostTree) -> None:
    """Obtain the certificate. nginx answers for the challenge before the authority is asked: it counts failures."""
    site = host.place(step.challenge.path)
    name = f"gte-ops-{secrets.token_hex(16)}"
    token = host.place(f"{step.challenge_root}{CHALLENGE_PATH}/{name}")
    made = host.missing_directories(token)
    host.put(token, name.encode(), 0o644)
    try:
        is_served = host.serves(step.address, step.domain, f"{CHALLENGE_PATH}/{name}", name, seconds=0.0)
        if not is_served:
            host.put(site, step.challenge.text.encode(), step.challenge.mode)
            _take_up(step.test, step.reload, host)
            is_served = host.serves(step.address, step.domain, f"{CHALLENGE_PATH}/{name}", name)
    finally:
        host.remove(token)
        host.remove_directories(made)
    if not is_served:
        raise StepError(
            Text(
                en=f"http://{step.domain}{CHALLENGE_PATH}/ is not answered by this nginx at {step.address}: another"
                " site has that name or port; look at nginx -T, then again",
                zh=f"本机 nginx 在 {step.address} 上没有应答 http://{step.domain}{CHALLENGE_PATH}/："
                "该名称或端口属于另一个站点；请查看 nginx -T，然后重新运行",
            )
        )
    for command in step.commands:
        host.run(*command, seconds=ISSUE_SECONDS, variables=step.environment, allowed=_allowed(command))
    if (
        why := pair_defect(*(str(host.place(path)) for path in (step.certificate, step.private_key)))
    ) is not None:
        raise StepError(why)


def _end_challenge(step: CertificateStep, host: HostTree) -> None:
    site = host.place(step.challenge.path)
    if os.path.lexists(site):
        host.remove(site)
        _take_up(step.test, step.reload, host)


def _allowed(command: Sequence[str]) -> tuple[int, ...]:
    """acme.sh ends with 2 where its own copy of the certificate is not due yet."""
    return (0, 2) if "--issue" in command else (0,)


# --- undo -------------------------------------------------------------------------------------------------------------


def recover(host: HostTree, store: InstallStore) -> bool:
    """End what a killed run began: an installation is undone, an uninstallation is carried on. Whether there was one.

    Raises StepError if something cannot be undone: the next run tries again. Call it under the store's lock."""
    unfinished = store.unfinished()
    if unfinished is None:
        return False
    _refuse_foreign(unfinished.undo, host, store)
    record = store.record()
    if record is not None and record.run == unfinished.run:
        store.end()  # killed after its last step
        return False
    if unfinished.operation is Operation.UNINSTALL:
        _carry_on_uninstalling(host, store, record, purge=unfinished.purge)
        return True
    troubles = _roll_back(unfinished.undo, host, store, record, unfinished.run)[0]
    if troubles:
        raise _left(troubles)
    return True


def _roll_back(
    items: Sequence[Undo], host: HostTree, store: InstallStore, record: Record | None, run: str
) -> tuple[list[Text], list[UndoCertificate]]:
    """Undo what an installation began: what failed, and a certificate that was issued. That stays for the next run, as
    data: an authority issues only a few a week for one name."""
    issued = [item for item in items if isinstance(item, UndoCertificate) and item.is_issued]
    if issued:
        # The journal has the certificate twice: as it was intended, and as it was issued.
        items = [
            replace(item, own=(item.challenge,) if item.challenge else (), shared=())
            if item in issued
            else item
            for item in items
            if item in issued or not isinstance(item, UndoCertificate)
        ]
    troubles = _undo_all(items, host, store, purge=True)[1]
    if issued and not troubles:
        store.commit(merged(record, run, tuple(issued)))
    elif not troubles:
        _end_run(store, record)
    return troubles, issued


def uninstall(host: HostTree, store: InstallStore, *, purge: bool) -> UninstallResult:
    """Undo everything that is recorded. Accounts and data (settings, logs, backups) stay, unless ``purge``."""
    with store.locked():
        recover(host, store)
        record = store.record()
        if record is None:
            _end_run(store, None)
            return UninstallResult(())
        _refuse_foreign(record.undo, host, store)
        _begun(store, Operation.UNINSTALL, purge=purge)
        return _carry_on_uninstalling(host, store, record, purge=purge)


def _begun(store: InstallStore, operation: Operation, *, purge: bool = False) -> str:
    """The name of a run that begins. Raises OpsError: nothing was changed."""
    try:
        return store.begin(operation, purge=purge)
    except OSError as error:
        raise OpsError(system_error(error.filename or store.directory, error, NOTHING_CHANGED)) from None


def planned_uninstall(store: InstallStore, *, purge: bool) -> UninstallResult:
    """What `uninstall` would undo."""
    record = store.record()
    items = () if record is None else tuple(reversed(record.undo))
    undone = tuple(item for item in items if purge or not _is_data(item))
    data = tuple(words for item in items if not purge and _is_data(item) for words in _data_words(item))
    return UninstallResult(undone, data=data, is_dry=True)


def _carry_on_uninstalling(
    host: HostTree, store: InstallStore, record: Record | None, *, purge: bool
) -> UninstallResult:
    if record is None:
        _end_run(store, None)
        return UninstallResult(())
    _refuse_foreign(record.undo, host, store)
    items = [item for item in record.undo if purge or not _is_data(item)]
    copies, troubles = _undo_all(items, host, store, purge=purge)
    stays = tuple(item for item in record.undo if item not in items)
    if troubles:
        return UninstallResult(tuple(reversed(items)), copies, (), tuple(troubles))
    try:
        _end_upgrade(host, store)
        if stays:
            store.commit(Record(record.run, stays))
        else:
            _end_run(store, None)
    except OSError as error:
        return UninstallResult(tuple(reversed(items)), copies, (), (_not_written(error).words,))
    data = tuple(words for item in stays for words in _data_words(item))
    return UninstallResult(tuple(reversed(items)), copies, data)


def _end_upgrade(host: HostTree, store: InstallStore) -> None:
    """Remove what an upgrade that was cut off has built. The service has ended, and the environment of before is back.
    Raises OSError."""
    run = store.upgrade()
    if run is None:
        return
    if run.is_built and host.is_running:
        host.remove_tree(Path(run.target))
        host.remove_directories((str(Path(run.target).parent),))
    store.set_upgrade(None)


def _refuse_foreign(items: Iterable[Undo], host: HostTree, store: InstallStore) -> None:
    """Raises OpsError, before anything is undone, where a tree's record reaches beyond the tree: it was made for
    another place, or by whoever made the tree. In a tree there are files and links alone."""
    if host.is_running:
        return
    root = host.root.resolve()
    for item in items:
        paths = (item.path, *item.made) if isinstance(item, UndoFile | UndoLink) else ()
        if not paths or not all(Path(path).parent.resolve().is_relative_to(root) for path in paths):
            raise OpsError(
                Text(
                    en=f"{store.directory}: what it records is not below {host.root}; nothing was changed: move it"
                    " away, and what is installed counts as the tree's own",
                    zh=f"{store.directory}：其中记录的内容不在 {host.root} 之下；未作任何改动："
                    "移走它，则已安装的内容视为该目录原有",
                )
            )


def _is_data(item: Undo) -> bool:
    return isinstance(item, UndoData | UndoAccounts | UndoCertificate) or (
        isinstance(item, UndoFile) and item.is_data
    )


def _data_words(item: Undo) -> tuple[str, ...]:
    match item:
        case UndoData():
            return item.paths
        case UndoAccounts():
            return tuple(dict.fromkeys((*item.names, *item.groups)))
        case UndoFile():
            return (item.path,)
        case UndoCertificate():
            return item.own
    return ()


def _undo_all(
    items: Sequence[Undo], host: HostTree, store: InstallStore, *, purge: bool
) -> tuple[tuple[str, ...], list[Text]]:
    """Undo in the reverse order, whatever fails: the copies of edited files, and what failed."""
    copies: list[str] = []
    troubles: list[Text] = []
    for item in reversed(items):
        try:
            copies += _undo(item, host, store, purge=purge)
        except OpsError as error:
            troubles.append(error.words)
        except OSError as error:
            troubles.append(_not_written(error).words)
        if troubles and isinstance(item, UndoRetire):
            break  # without the former service the new one goes on serving
    return tuple(copies), troubles


def _undo(item: Undo, host: HostTree, store: InstallStore, *, purge: bool) -> Iterator[str]:
    """Undo one step, whether it was applied wholly, in part or not at all; yields the copies of edited files."""
    match item:
        case UndoFile():
            yield from _undo_file(item, host, store)
        case UndoLink():
            path = Path(item.path)
            if path.is_symlink() and os.readlink(path) == item.target:  # noqa: PTH115
                if item.before is None:
                    host.remove(path)
                else:
                    host.link(path, item.before)
            host.remove_directories(item.made)
        case UndoData():
            for path in map(Path, item.paths if purge else ()):
                _remove_data(path, host, store)
        case UndoEnvironment():
            _undo_environment(item, host)
        case UndoVersions():
            _undo_versions(item, host)
        case UndoAccounts():
            for name in item.names:
                host.remove_account(name)
            for name in item.groups:
                host.remove_group(name)
        case UndoDirectories():
            host.remove_directories(item.paths)
        case UndoUnits():
            host.run(*_DAEMON_RELOAD)
            for unit in item.restarted:
                host.run("systemctl", "restart", unit)
        case UndoEnable():
            _undo_enable(item, host)
        case UndoNginx():
            if not item.was_active:
                if host.nginx_runs():
                    host.run(
                        *(
                            ("systemctl", "stop", "nginx.service")
                            if host.has_systemd
                            else ("nginx", "-s", "stop")
                        )
                    )
            elif host.nginx_runs():
                host.run(*item.test)
                host.run(*item.reload)
        case UndoCertificate():
            _undo_certificate(item, host)
        case UndoDrain():
            host.drain(item.file, item.seconds)
        case UndoRetire():
            host.bring_back(item.former, item.seconds)


def _is_missing(path: Path, store: InstallStore) -> bool:
    """Whether nothing of a data directory was there before this installation; its own store does not count."""
    if path == store.directory.parent and path.is_dir():
        return set(path.iterdir()) <= {store.directory}
    return not os.path.lexists(path)


def _remove_data(path: Path, host: HostTree, store: InstallStore) -> None:
    if path.is_file():
        for file in (path, *path.parent.glob(f"{glob.escape(path.name)}.*")):  # and its rotated ones
            host.remove(file)
        return
    if path != store.directory.parent:
        host.remove_tree(path)
        return
    for inner in sorted(path.iterdir()) if path.is_dir() else ():
        if inner.is_dir() and not inner.is_symlink():
            if inner != store.directory:
                host.remove_tree(inner)
        else:
            host.remove(inner)


def _undo_file(item: UndoFile, host: HostTree, store: InstallStore) -> Iterator[str]:
    path = Path(item.path)
    original = item.original
    if path.is_file():
        digest = _digest(path.read_bytes())
        if digest != item.digest and (original is None or digest != original.digest):
            yield host.keep_edited(path)
    if original is None:
        host.remove(path)
    else:
        host.put(path, store.kept(original), original.mode, (original.uid, original.gid))
        host.set_modified(path, original.modified_ns)
    host.remove_directories(item.made)


def _undo_certificate(item: UndoCertificate, host: HostTree) -> None:
    """nginx takes this up afterwards: the step before it is undone next (UndoNginx)."""
    host.remove(Path(item.site))
    _remove_all(item.own, host)
    if item.others is None or not glob.glob(item.others):  # noqa: PTH207  one pattern, of one's own
        _remove_all(item.shared, host)
    host.remove_directories(item.made)


def _remove_all(paths: Iterable[str], host: HostTree) -> None:
    for path in map(Path, paths):
        if path.is_dir() and not path.is_symlink():
            host.remove_tree(path)
        elif os.path.lexists(path):
            host.remove(path)


def _undo_environment(item: UndoEnvironment, host: HostTree) -> None:
    if item.packages is None:
        host.remove_tree(Path(item.directory))
        host.remove_directories(item.made)
        return
    added = [name for name in host.packages(item.python) if name not in item.packages]
    if added:
        host.run(item.python, "-m", "pip", "uninstall", "--quiet", "--yes", *added)


def _undo_versions(item: UndoVersions, host: HostTree) -> None:
    link, original = Path(item.link), Path(item.original)
    if link.is_symlink() and original.is_dir() and not original.is_symlink():
        host.exchange(link, original)
    host.remove_tree(Path(item.directory))


def _undo_enable(item: UndoEnable, host: HostTree) -> None:
    # A unit that is not enabled and not active is not touched: its file may not have been there at all.
    stopped = [unit for unit in item.stopped if host.is_active(unit)]
    if stopped:
        host.run("systemctl", "stop", *stopped)
    disabled = [unit for unit in item.disabled if host.is_enabled(unit)]
    if disabled:
        host.run("systemctl", "disable", *disabled)


def _end_run(store: InstallStore, record: Record | None) -> None:
    """The run is undone: what an earlier one installed stays."""
    if record is None:
        store.forget()
    else:
        store.end()


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _not_written(error: OSError) -> OpsError:
    hint = root_hint(error)
    where = f"{error.filename}: " if error.filename else ""
    return OpsError(
        Text(
            en=f"{where}{error.strerror or error}{hint.en}",
            zh=f"{where}{chinese(error.strerror or str(error))}{hint.zh}",
        )
    )


def _failure(error: BaseException, troubles: Sequence[Text], *, has_certificate: bool) -> BaseException:
    """``error`` with what became of the host."""
    is_interrupted = isinstance(error, KeyboardInterrupt)
    if isinstance(error, OSError):
        error = _not_written(error)
    elif is_interrupted:
        error = InstallInterruptedError(Text(en="interrupted", zh="已中断"))
    if not isinstance(error, OpsError):
        return error
    back = Text(en="everything is as it was", zh="一切已恢复原状")
    if has_certificate:
        back = Text(
            en="everything is as it was, but the certificate was issued and stays for the next run",
            zh="其余已恢复原状；证书已签发，保留给下次运行使用",
        )
    if troubles:
        left = _left(troubles).words
        back = Text(en=left.en, zh=left.zh)
    words = Text(en=f"{error.words.en}; {back.en}", zh=f"{error.words.zh}；{back.zh}")
    return InstallInterruptedError(words) if is_interrupted else StepError(words)


def _left(troubles: Sequence[Text]) -> StepError:
    """What could not be undone."""
    return StepError(
        Text(
            en=f"not undone: {'; '.join(item.en for item in troubles)}; the next run tries again",
            zh=f"未能撤销：{'；'.join(item.zh for item in troubles)}；下次运行会再试",
        )
    )
