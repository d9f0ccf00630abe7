"""An installation as a whole: applied, undone if a step fails, taken back, and ended where a run was killed."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgspec.structs import replace

from ops.deployment.render import DeploymentKind
from ops.errors import ErrorKind, OpsError
from ops.files.signals import end_if_asked, undisturbed
from ops.installation.apply import apply, end_challenge, first_backup, way_back
from ops.installation.assess import assess, file_of
from ops.installation.host import HostTree, StepError
from ops.installation.refusals import files_of, refuse_early, refuse_foreign
from ops.installation.steps import (
    Assessed,
    BackupStep,
    CertificateStep,
    FileStep,
    Record,
    Step,
    StepState,
    Undo,
    UndoCertificate,
    UndoFile,
    merged,
)
from ops.installation.store import InstallStore, Operation
from ops.installation.undo import data_words, is_data, not_written, undo_all
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, system_error


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
            refuse_foreign(record.undo, host, store)
        steps = plan()
        assessed = assess(steps, host, record, overwrite)
        due = [item for item in assessed if item.is_due]
        if not due:
            return InstallResult(assessed, undone=undone)
        refuse_early(steps, due, host, store)
        run, began = _begun(store, Operation.INSTALL), list[Undo]()
        files = {path: item for item in assessed if (path := file_of(item.step)) is not None}
        validated: set[DeploymentKind] = set()
        no_backup: Text | None = None
        try:
            for item in due:
                end_if_asked()
                step = item.step
                if isinstance(step, FileStep) and step.kind and step.kind not in validated:
                    validated.add(step.kind)
                    host.validate(step.kind, files_of(steps, step.kind), is_final=True)
                undo = way_back(step, host, store, files)
                if undo is not None:
                    store.intend(undo)
                    began.append(undo)
                if isinstance(step, BackupStep):
                    no_backup = first_backup(step, host)
                else:
                    apply(step, host, files)
                if isinstance(step, CertificateStep) and isinstance(undo, UndoCertificate):
                    began[-1] = replace(undo, is_issued=True)
                    store.intend(began[-1])
                    end_challenge(step, host)
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


def recover(host: HostTree, store: InstallStore) -> bool:
    """End what a killed run began: an installation is undone, an uninstallation is carried on. Whether there was one.

    Raises StepError if something cannot be undone: the next run tries again. Call it under the store's lock."""
    unfinished = store.unfinished()
    if unfinished is None:
        return False
    refuse_foreign(unfinished.undo, host, store)
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
    troubles = undo_all(items, host, store, purge=True)[1]
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
        refuse_foreign(record.undo, host, store)
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
    undone = tuple(item for item in items if purge or not is_data(item))
    data = tuple(words for item in items if not purge and is_data(item) for words in data_words(item))
    return UninstallResult(undone, data=data, is_dry=True)


def _carry_on_uninstalling(
    host: HostTree, store: InstallStore, record: Record | None, *, purge: bool
) -> UninstallResult:
    if record is None:
        _end_run(store, None)
        return UninstallResult(())
    refuse_foreign(record.undo, host, store)
    items = [item for item in record.undo if purge or not is_data(item)]
    copies, troubles = undo_all(items, host, store, purge=purge)
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
        return UninstallResult(tuple(reversed(items)), copies, (), (not_written(error).words,))
    data = tuple(words for item in stays for words in data_words(item))
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


def _end_run(store: InstallStore, record: Record | None) -> None:
    """The run is undone: what an earlier one installed stays."""
    if record is None:
        store.forget()
    else:
        store.end()


def _failure(error: BaseException, troubles: Sequence[Text], *, has_certificate: bool) -> BaseException:
    """``error`` with what became of the host."""
    is_interrupted = isinstance(error, KeyboardInterrupt)
    if isinstance(error, OSError):
        error = not_written(error)
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
