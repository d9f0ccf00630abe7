"""Apply one step of an installation, and say beforehand how it is undone."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from ops.deployment.install import place
from ops.installation.assess import DAEMON_RELOAD, account_commands, restarted
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
    RetireStep,
    Step,
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
    UnitsStep,
)
from ops.installation.store import InstallStore, digest_of
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

_WELL_KNOWN = Path(CHALLENGE_PATH).parts[1]


def way_back(step: Step, host: HostTree, store: InstallStore, files: dict[str, Assessed]) -> Undo | None:
    """How the step is undone, with what that needs on disk; None if there is nothing to undo. Raises OSError."""
    phase = int(step.phase)
    match step:
        case FileStep():
            path = place(step.file, host.root)
            made = host.missing_directories(path)
            digest = digest_of(step.file.text.encode())
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
            return UndoUnits(phase, restarted(step, host, files))
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


def _is_missing(path: Path, store: InstallStore) -> bool:
    """Whether nothing of a data directory was there before this installation; its own store does not count."""
    if path == store.directory.parent and path.is_dir():
        return set(path.iterdir()) <= {store.directory}
    return not os.path.lexists(path)


def apply(step: Step, host: HostTree, files: dict[str, Assessed]) -> None:
    """Apply the step. Raises StepError, with what failed, or OSError."""
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
            for command in tuple(account_commands(step, host)):
                host.run(*command)
        case DirectoriesStep():
            for directory in step.directories:
                if not host.place(directory.path).is_dir():
                    host.make_directory(directory)
        case UnitsStep() if not step.is_before:
            host.run(*DAEMON_RELOAD)
            for unit in restarted(step, host, files):
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


def _owner(step: FileStep, path: Path) -> tuple[int, int] | None:
    """The user and group of the file that is replaced, if they are kept."""
    if not step.keeps_owner or not os.path.lexists(path):
        return None
    status = path.lstat()
    return status.st_uid, status.st_gid


def first_backup(step: BackupStep, host: HostTree) -> Text | None:
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


def end_challenge(step: CertificateStep, host: HostTree) -> None:
    """Remove the site that answered the authority. Raises StepError."""
    site = host.place(step.challenge.path)
    if os.path.lexists(site):
        host.remove(site)
        _take_up(step.test, step.reload, host)


def _allowed(command: Sequence[str]) -> tuple[int, ...]:
    """acme.sh ends with 2 where its own copy of the certificate is not due yet."""
    return (0, 2) if "--issue" in command else (0,)
