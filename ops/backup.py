"""`gte-ops backup`: what each of its commands does, from top to bottom. Restoring stands in ops.backups.restore.run."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ops.archive.encryption import Identity, recipients
from ops.archive.listing import ListedBackup, judge
from ops.archive.listing import list_backups as listed_in
from ops.archive.marks import check_label, held, is_pinned, pin, unpin, write_label
from ops.archive.name import backups_in, companions, parse_name
from ops.backups import copies, create, retention
from ops.backups.capture import Progress, list_sources
from ops.backups.copies import CopyDestination
from ops.backups.create import BackupError, Created
from ops.backups.discover import make_plan
from ops.backups.newest import newest, signature_of
from ops.backups.scan import Survey
from ops.backups.signature import check_signing_key
from ops.backups.verify import Verified, verify
from ops.errors import OpsError
from ops.files.atomic_file import flush_directory
from ops.settings import BackupSettings, Settings
from ops.text.language import Text
from ops.text.reasons import chinese, system_error


@dataclass
class BackupOutcome:
    """What one run of `create` did. ``failed_copies``: destination to reason; ``prune_problem``: why nothing old was
    removed."""

    created: Created
    removed: list[Path] = field(default_factory=list)
    left_overs: list[Path] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    failed_copies: dict[str, str] = field(default_factory=dict)
    prune_problem: str = ""

    @property
    def exit_code(self) -> int:
        """0 all of it, 1 something is missing in it, it is not signed or nothing old could be removed, 2 it was not
        copied."""
        if self.failed_copies:
            return 2
        return 1 if self.created.complaints or self.created.unsigned or self.prune_problem else 0


def create_backup(
    settings: Settings,
    settings_file: Path | None,
    to: Sequence[str],
    progress: Progress,
    *,
    label: str | None = None,
    pinned: bool = False,
) -> BackupOutcome:
    """Makes a backup, removes what the policy no longer keeps, and copies the new one to each destination in ``to``.
    With a ``label``, and ``pinned``: kept whatever the policy says.

    Raises OpsError where no backup was made."""
    own = settings.backup
    # What is wrong with the settings is told before anything is done.
    retention.check_policy(own.keep)
    words = None if label is None else check_label(label)
    encrypt_to = recipients(own.recipients)
    if own.signing_key:
        check_signing_key(own.signing_key)
    destinations = _destinations(to)
    directory = Path(own.dir)
    create.prepare_directory(directory)
    with create.locked(directory):
        left_overs = _cleaned(directory)
        backup = create.create(
            lambda: make_plan(settings, settings_file),
            directory,
            host=platform.node(),
            compression=own.compression,
            recipients=encrypt_to,
            signing_key=own.signing_key,
            progress=progress,
        )
        outcome = BackupOutcome(backup, left_overs=left_overs)
        try:
            if words is not None:
                write_label(backup.path, words)
            if pinned:
                pin(backup.path)
            outcome.removed = _pruned(own, known_good=backup.path)
        except (OpsError, OSError) as error:
            outcome.prune_problem = str(error)
        for destination in destinations:
            try:
                copies.copy(backup.path, backup.sha256, destination)
                outcome.copied.append(str(destination))
            except OpsError as error:
                outcome.failed_copies[str(destination)] = str(error)
    return outcome


def _destinations(values: Sequence[str]) -> list[CopyDestination]:
    destinations = [copies.parse_destination(each) for each in values]
    for destination in destinations:
        copies.check_installed(destination)
    return destinations


def what_would_go_in(settings: Settings, settings_file: Path | None) -> Survey:
    """What a backup made now would hold. Reads no content and writes nothing."""
    retention.check_policy(settings.backup.keep)
    recipients(settings.backup.recipients)
    return list_sources(make_plan(settings, settings_file), {})


def list_backups(settings: Settings) -> list[ListedBackup]:
    """Every backup, the newest first; none where there is no directory. Raises OpsError where it cannot be read."""
    directory = Path(settings.backup.dir)
    try:
        return listed_in(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise OpsError(system_error(directory, error)) from None


def verify_backup(
    settings: Settings, archive: Path | None, identities: Sequence[Identity], *, unsigned: bool
) -> Verified:
    """Proves that ``archive``, or the newest backup, could be restored; ``unsigned``: even where it lacks the signature
    that settings ask for. Raises OpsError where there is none."""
    from ops.backups.nginx_dry_run import try_nginx

    nginx_test = partial(try_nginx, program=settings.nginx.binary)
    if archive is not None:
        return verify(archive, identities, nginx_test, signature_of(settings, archive), unsigned=unsigned)
    backup, passed_over = newest(settings)
    verification = verify(backup, identities, nginx_test, signature_of(settings, backup), unsigned=unsigned)
    verification.notes += [
        Text(
            en=f"{path.name} is newer and was passed over: {reason.en}",
            zh=f"{path.name} 更新，但已跳过：{reason.zh}",
        )
        for path, reason in passed_over.items()
    ]
    return verification


def prune_backups(settings: Settings, *, dry_run: bool) -> list[Path]:
    """Removes what the policy does not keep, and returns it; with ``dry_run`` it only says so. Raises OpsError."""
    retention.check_policy(settings.backup.keep)
    directory = Path(settings.backup.dir)
    if not directory.is_dir():
        return []
    if dry_run:
        return [path for _, path in _unkept(settings.backup, known_good=None)]
    create.prepare_directory(directory)
    with create.locked(directory):
        _cleaned(directory)
        try:
            return _pruned(settings.backup, known_good=None)
        except OSError as error:
            raise BackupError(
                Text(
                    en=f"{error.filename or directory}: {error.strerror}; not all was removed",
                    zh=f"{error.filename or directory}：{chinese(error.strerror)}；未能全部删除",
                )
            ) from None


def pin_backup(settings: Settings, argument: str, *, pinned: bool) -> tuple[Path, bool]:
    """Pins the backup that ``argument`` names, or ends that; its path, and whether that changed anything. Raises
    OpsError."""
    directory = Path(settings.backup.dir)
    path = Path(argument) if "/" in argument else directory / argument
    if parse_name(path.name) is None or path.is_symlink() or not path.is_file():
        raise OpsError(
            Text(
                en=f"{path}: no backup; `gte-ops backup list` shows them",
                zh=f"{path}：不是备份；用 `gte-ops backup list` 查看",
            )
        )
    if is_pinned(path) == pinned:
        return path, False
    try:
        if pinned:
            with held(path):
                pin(path)
        else:
            unpin(path)
    except OSError as error:
        raise OpsError(system_error(path, error)) from None
    return path, True


def _cleaned(directory: Path) -> list[Path]:
    try:
        return create.remove_left_overs(directory)
    except OSError as error:
        raise BackupError(
            Text(
                en=f"{directory}: {error.strerror or error}; left-overs cannot be removed",
                zh=f"{directory}：{chinese(error.strerror or error)}；无法清除残留文件",
            )
        ) from None


def _unkept(own: BackupSettings, known_good: Path | None) -> list[retention.Backup]:
    backups = backups_in(Path(own.dir))
    pinned = {path for _, path in backups if is_pinned(path)}
    return retention.to_remove(backups, own.keep, _good_once(known_good), now=time.time(), pinned=pinned)


def _good_once(known_good: Path | None) -> Callable[[Path], bool]:
    verdicts: dict[Path, bool] = {} if known_good is None else {known_good: True}

    def is_good(path: Path) -> bool:
        if path not in verdicts:
            name = parse_name(path.name)
            verdicts[path] = judge(path, encrypted=name is not None and name.encrypted)[0] is True
        return verdicts[path]

    return is_good


def _pruned(own: BackupSettings, known_good: Path | None) -> list[Path]:
    removed = []
    for _, path in _unkept(own, known_good):
        with held(path):
            # Pinned since: to judge the archives takes minutes.
            if is_pinned(path):
                continue
            # The archive first: what stands beside it is a left-over without it, and would be a doubt if it were
            # missing.
            path.unlink()
            for beside in companions(path):
                beside.unlink(missing_ok=True)
        removed.append(path)
    if removed:
        flush_directory(Path(own.dir))
    return removed
