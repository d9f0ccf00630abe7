"""Put back files as they were while the service was healthy, by the engine of `gte-ops backup restore`.

All files are staged, exchanged at one instant each, tested by the programs that read them, and loaded. Then a client is
asked, by a diagnosis. Unless the cause has gone and nothing new has come, everything is exchanged back.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import os
import platform
import shutil
import tempfile
import time
from pathlib import Path

from ops import __version__
from ops.archive.manifest import Manifest, ManifestEntry
from ops.archive.writing import compressed, tar_stream
from ops.backups.certbot_lock import certbot_lock
from ops.backups.nginx_probe import reload_nginx
from ops.backups.restore.apply import Restoration, RestoreError, RestorePreview, RestoreValidation, look
from ops.backups.restore.journal import only_restore
from ops.backups.restore.plan import parents
from ops.backups.restore.rollback_backup import drop_oldest, keep_replaced
from ops.backups.restore.run import finish_earlier
from ops.backups.restore.validate import RELOAD_SECONDS, serving_now
from ops.control.restart import check_config, find_supervisor, reload_units
from ops.deployment.install import keep_copy, reason_not_to_replace
from ops.diagnosis.model import Cause, Diagnosis
from ops.errors import OpsError
from ops.files.atomic_file import flush_directory
from ops.files.bounded_read import read_regular_file
from ops.files.entry_kind import EntryKind
from ops.files.nofollow_tree import NoFollowTree
from ops.interpret.process_ref import ProcessRef
from ops.repair.apply.gunicorn import GunicornApplier
from ops.repair.apply.nginx import NginxApplier
from ops.repair.apply.packages import set_version
from ops.repair.apply.session import (
    AppliedChange,
    NotAppliedError,
    RepairSession,
    blocked,
    not_needed,
    refused,
)
from ops.repair.audit_log import AuditStep
from ops.repair.model import ExchangeFiles, PackageVersion, Replacement, StartNginx
from ops.text.language import Text, verbatim
from ops.text.reasons import reason
from ops.text.sanitize import safe_line

# How long the cause may still be named after the files were loaded, seconds, and between two looks at it.
GONE_WITHIN = 8.0
BETWEEN_LOOKS = 1.0
CERTBOT_WAIT = 20.0
MAX_COPIED = 8 << 20
_SCRATCH = ".gte-ops-good-"
_SYSTEMCTL_START = "systemctl start "


# Of versions, or of a start command, that a baseline has.
_HEALTHY = Text(en="as it was while the service was healthy", zh="已恢复到服务正常时的内容")


class FileExchanger:
    """Puts files back, and exchanges them back if that does not help."""

    def __init__(self, session: RepairSession, gunicorn: GunicornApplier, nginx: NginxApplier) -> None:
        """Does nothing yet."""
        self.session, self.settings = session, session.settings
        self._gunicorn, self._nginx = gunicorn, nginx

    def apply(self, action: ExchangeFiles, cause: Cause) -> AppliedChange:
        """Put the files back. Raises NotAppliedError, OpsError, OSError."""
        files = [file for file in action.files if _differs(file)]
        if not files and action.files:
            raise not_needed("the files are as they were", "文件已是原来的内容")
        for file in files:
            _must_be_as_planned(file)
        keeper = Path(self.settings.backup.dir)
        keeper.mkdir(mode=0o700, parents=True, exist_ok=True)
        finish_earlier(self.settings)
        with contextlib.ExitStack() as stack:
            stack.enter_context(only_restore(keeper))
            for left in keeper.glob(f"{_SCRATCH}*"):
                # Of a run that was killed: it may hold a key. The lock says that nobody uses it.
                shutil.rmtree(left, ignore_errors=True)
            scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=keeper)))
            tree = NoFollowTree(Path("/"))
            stack.callback(tree.close)
            preview = self._preview(tree, scratch, [file for file in files if file.entry is not None])
            for item in preview.plan.refused if preview else ():
                raise blocked(f"/{item.path}: {item.reason.en}", f"/{item.path}：{item.reason.to('zh')}")
            stack.enter_context(certbot_lock(Path(self.settings.tls.letsencrypt_dir), CERTBOT_WAIT))
            attempt = _Attempt(self, action, cause, files)
            return attempt.run(tree, keeper, preview)

    def _preview(self, tree: NoFollowTree, scratch: Path, files: list[Replacement]) -> RestorePreview | None:
        if not files:
            return None
        entries = {file.entry.path: (file.entry, file.content) for file in files if file.entry is not None}
        paths = [f"/{path}" for path in entries]
        for entry, _ in tuple(entries.values()):
            for directory in parents(entry.path):
                entries.setdefault(directory, (_directory(directory, entry), b""))
        manifest = Manifest(
            created_at=time.time(),
            host=platform.node(),
            versions={"gte-ops": __version__},
            asked=(),
            entries=tuple(entry for _, (entry, _) in sorted(entries.items())),
        )
        archive = scratch / "known-good.tar.gz"
        chunks = compressed(tar_stream(manifest, lambda entry: [entries[entry.path][1]]), "gz")
        archive.write_bytes(b"".join(chunks))
        return look(tree, archive, (), paths)

    def test(self, action: ExchangeFiles, files: list[Replacement]) -> Text | None:
        """What the programs that read the files find wrong with them; None if nothing."""
        if action.nginx and (problem := self._nginx.problem()) is not None:
            return Text(en=f"nginx -t refuses: {problem}", zh=f"nginx -t 不通过：{reason(problem).to('zh')}")
        for file in files:
            if file.entry is not None and file.path.endswith(".py"):
                try:
                    ast.parse(file.content)
                except (SyntaxError, ValueError, RecursionError) as error:
                    return verbatim(safe_line(f"{file.path}: {error}"))
        if action.gunicorn:
            supervisor = find_supervisor(self.settings, self.session.output)
            words = check_config(supervisor) if supervisor is not None else None
            if words is not None:
                return Text(en=f"gunicorn --check-config: {words}", zh=f"gunicorn --check-config：{words}")
        return None

    def load(self, action: ExchangeFiles) -> None:
        """Have nginx and gunicorn load the files. Raises NotAppliedError, OpsError."""
        if action.nginx:
            self.load_nginx()
        if action.gunicorn:
            reload_units()
            self._gunicorn.restart_from_anew()

    def load_nginx(self) -> None:
        """Reload nginx, or start it. Raises NotAppliedError, OpsError."""
        around = self._nginx.look_around()
        if masters := serving_now(around):
            give_up = time.monotonic() + RELOAD_SECONDS
            reload_nginx(masters, around.target.nginx_error_logs, give_up)
            return
        start = around.target.start_nginx
        unit = start.removeprefix(_SYSTEMCTL_START) if start.startswith(_SYSTEMCTL_START) else None
        self._nginx.apply(StartNginx(unit))

    def masters(self) -> tuple[ProcessRef, ...]:
        """nginx's masters that run now."""
        return serving_now(self._nginx.look_around())


class _Attempt:
    """One exchange, with everything that its undoing needs."""

    def __init__(
        self, applier: FileExchanger, action: ExchangeFiles, cause: Cause, files: list[Replacement]
    ) -> None:
        self._applier, self._action, self._cause, self._files = applier, action, cause, files
        self._session = applier.session
        self._removed: list[tuple[Path, Path]] = []
        self._installed: list[PackageVersion] = []
        self._copies: list[Path] = []
        self._kept: Path | None = None
        self._problem: Text | None = None
        self._nginx_ran = bool(applier.masters()) if action.nginx else False
        self._is_loaded = False

    def run(self, tree: NoFollowTree, keeper: Path, preview: RestorePreview | None) -> AppliedChange:
        """Exchange, test, load, ask. Raises NotAppliedError after everything was undone; OpsError, OSError."""
        validation = RestoreValidation(self._test, self._load, self._load_again)
        try:
            if preview is not None and not preview.plan.is_empty:
                Restoration(tree, keeper, preview).run(lambda: self._keep(tree, keeper, preview), validation)
            else:
                self._without_exchange(validation)
        except BaseException as error:
            self._put_removed_back()
            for copy in self._copies:
                copy.unlink(missing_ok=True)
            if isinstance(error, RestoreError) and self._problem is not None:
                raise refused(
                    f"{self._problem.en}; the changed files are back",
                    f"{self._problem.to('zh')}；已换回改动后的文件",
                ) from None
            raise
        with contextlib.suppress(OSError):
            drop_oldest(keeper)
        copies = [str(path) for path in (*self._copies, *(copy for _, copy in self._removed))]
        if not copies and self._kept is not None:
            copies = [str(self._kept)]
        versions = (f"{package.name}=={package.version}" for package in self._action.packages)
        paths = ", ".join((*(file.path for file in self._files), *versions)) or "gunicorn"
        sources = list(dict.fromkeys(file.source for file in self._files)) or [_HEALTHY]
        return AppliedChange(
            verbatim(safe_line(paths)),
            Text(
                en=", ".join(source.en for source in sources),
                zh="、".join(source.to("zh") for source in sources),
            ),
            copies=tuple(copies),
        )

    def _without_exchange(self, validation: RestoreValidation) -> None:
        """Files are set aside or packages installed, and no file is put back."""
        self._set_aside()
        self._install()
        problem = validation.test() or validation.apply()
        if problem is not None:
            self._put_removed_back()
            if self._is_loaded:
                validation.reapply()
            raise RestoreError(self._problem or verbatim(problem))

    def _keep(self, tree: NoFollowTree, keeper: Path, preview: RestorePreview) -> None:
        """Keep what is about to be replaced: in an archive, and beside the file where root alone has a say."""
        settings = self._session.settings
        if preview.replaced or preview.adjusted:
            self._kept, _ = keep_replaced(
                tree,
                preview.replaced,
                preview.adjusted,
                keeper,
                settings.backup.recipients,
                settings.backup.signing_key,
                "",
            )
            self._session.audit_log.note(AuditStep.KEPT, archive=str(self._kept))
        for item in preview.plan.items:
            place = Path("/", preview.places[item.path])
            if _is_small_file(place) and reason_not_to_replace(place) is None:
                self._copies.append(keep_copy(place, hidden=True))
                self._session.audit_log.note(AuditStep.EDIT, path=str(place), kept=str(self._copies[-1]))
        self._set_aside()

    def _set_aside(self) -> None:
        for file in self._files:
            if file.entry is not None:
                continue
            place = Path(file.path)
            if (why := reason_not_to_replace(place)) is not None:
                raise blocked(
                    f"root does not change what others have a say in: {why}",
                    f"root 不修改他人可改动的文件：{reason(why).to('zh')}",
                )
            copy = keep_copy(place, hidden=True)
            self._session.audit_log.note(AuditStep.EDIT, path=str(place), kept=str(copy))
            self._removed.append((place, copy))
            place.unlink()
            flush_directory(place.parent)

    def _install(self) -> None:
        for package in self._action.packages:
            self._session.audit_log.note(AuditStep.INSTALL, package=package.name, version=package.version)
            self._session.tell(Text(en=f"installing {package.name}", zh=f"正在安装 {package.name}"))
            set_version(self._action.python, package.name, package.version)
            self._installed.append(package)

    def _put_removed_back(self) -> None:
        while self._installed:
            package = self._installed.pop()
            with contextlib.suppress(NotAppliedError):
                set_version(self._action.python, package.name, package.present)
        for place, copy in reversed(self._removed):
            if not os.path.lexists(place):
                copy.replace(place)
                flush_directory(place.parent)
                self._session.audit_log.note(AuditStep.PUT_BACK, path=str(place))
        self._removed.clear()

    def _test(self) -> str | None:
        return self._noted(self._applier.test(self._action, self._files))

    def _load(self) -> str | None:
        self._is_loaded = True
        began = time.time()
        try:
            self._applier.load(self._action)
        except NotAppliedError as error:
            return self._noted(error.detail)
        except OpsError as error:
            return self._noted(error.words)
        return self._noted(self._disappointment(began))

    def _load_again(self) -> str | None:
        """After the changed files are back: nginx reads them again if it ran, gunicorn if it served."""
        self._put_removed_back()
        with contextlib.suppress(NotAppliedError, OpsError, OSError):
            if self._action.nginx and self._nginx_ran:
                self._applier.load_nginx()
            if self._action.gunicorn and self._action.interrupts:
                self._applier.load(ExchangeFiles((), nginx=False, gunicorn=True))
        return None

    def _noted(self, problem: Text | None) -> str | None:
        self._problem = problem or self._problem
        return problem.en if problem else None

    def _disappointment(self, began: float) -> Text | None:
        """Why putting back has not helped, by diagnoses of the time since ``began``; None if it has."""
        before = {symptom.id for symptom in self._session.latest().symptoms}
        give_up = time.monotonic() + GONE_WITHIN
        while True:
            after = self._session.diagnose(max(1.0, time.time() - began))
            problem = _remaining(after, before, self._cause)
            if problem is None or time.monotonic() > give_up:
                return problem
            time.sleep(BETWEEN_LOOKS)


def _remaining(after: Diagnosis, before: set[str], cause: Cause) -> Text | None:
    now = {symptom.id for symptom in after.symptoms}
    if now and not before:
        worse = sorted(now)
        return Text(
            en=f"with it users met what they had not met before ({', '.join(worse)})",
            zh=f"恢复后出现了新的问题（{'、'.join(worse)}）",
        )
    if before and not now:
        return None
    if any(other.code == cause.code for other in after.causes):
        return Text(en=f"it did not help: {cause.code} is still there", zh=f"没有效果：{cause.code} 仍然存在")
    return None


def _directory(path: str, inside: ManifestEntry) -> ManifestEntry:
    """A directory above an entry: as it is, or, if it has gone, as the owner of what lies in it would make it."""
    try:
        status = Path("/", path).stat()
    except OSError:
        return ManifestEntry(
            path=path,
            kind=EntryKind.DIRECTORY,
            mode=0o755,
            uid=inside.uid,
            gid=inside.gid,
            modified_ns=inside.modified_ns,
        )
    return ManifestEntry(
        path=path,
        kind=EntryKind.DIRECTORY,
        mode=status.st_mode & 0o7777,
        uid=status.st_uid,
        gid=status.st_gid,
        modified_ns=status.st_mtime_ns,
    )


def _differs(file: Replacement) -> bool:
    """Whether the path is not as it was: content, mode, owner, or where a link leads."""
    path = Path(file.path)
    if file.entry is None:
        return path.exists()
    if file.entry.kind is EntryKind.LINK:
        return not path.is_symlink() or str(path.readlink()) != file.entry.target
    try:
        status = path.stat()
    except OSError:
        return True
    here = (status.st_mode & 0o7777, status.st_uid, status.st_gid, status.st_size)
    return here != (file.entry.mode, file.entry.uid, file.entry.gid, file.entry.size) or (
        _sha256(path.read_bytes()) != file.entry.sha256
    )


def _is_small_file(path: Path) -> bool:
    """Whether a copy is kept beside it; the archive holds every file."""
    return not path.is_symlink() and path.is_file() and path.stat().st_size <= MAX_COPIED


def _must_be_as_planned(file: Replacement) -> None:
    """Raises NotAppliedError if the file has changed since the plan was shown."""
    if file.present is None:
        return
    try:
        present = read_regular_file(file.path, len(file.present) + 1).content
    except (OSError, ValueError):
        present = None
    if present != file.present:
        raise blocked(f"{file.path} has changed meanwhile", f"{file.path} 刚被改动过")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
