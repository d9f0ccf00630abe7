"""`gte-ops backup restore`: which backup, what would change, and the restore, on the host or below a directory."""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from ops.archive.encryption import read_identities
from ops.archive.error import LockedArchiveError
from ops.archive.manifest import Manifest
from ops.backups.authenticity import reason_to_doubt, refuse_bad, unsigned_words
from ops.backups.certbot_lock import certbot_lock
from ops.backups.create import CERTBOT_WAIT
from ops.backups.newest import newest_good, signature_of
from ops.backups.restore.apply import Restoration, RestorePreview, content_changes, look
from ops.backups.restore.journal import Recovery, RestoreState, only_restore, recover, recover_if_idle
from ops.backups.restore.plan import Difference, LackingAccount, is_below, parents, words_of
from ops.backups.restore.rollback_backup import drop_oldest, keep_replaced
from ops.backups.signature import SignatureError, SignatureState
from ops.errors import OpsError
from ops.files.host_lock import HostLock, only_change
from ops.files.nofollow_tree import NoFollowTree
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import chinese

if TYPE_CHECKING:
    from ops.backups.drill import Drill

HOST = Path("/")
# The parts of a backup whose change gunicorn reads only after a restart.
_GUNICORN_PARTS = ("gunicorn", "unit")


class DeclinedError(OpsError):
    """The operator was asked and declined."""

    exit_code = 1


@dataclass(frozen=True)
class PreviewLine:
    """One change: the path as in the backup, its path on the host, the kind of change, a sentence, and the lines of its
    diff."""

    path: str
    place: str
    kind: Difference
    words: Text
    diff: tuple[str | Text, ...] = ()


@dataclass(frozen=True)
class Preview:
    """The changes that a restore would make. ``left``: paths that are not in the backup and stay; ``refused``: paths
    that are not restored, each with the reason; ``lacking_accounts``: owners that this host does not have."""

    archive: Path
    root: Path
    lines: tuple[PreviewLine, ...]
    left: tuple[str, ...]
    owners_kept: int
    refused: tuple[tuple[str, Text], ...] = ()
    lacking_accounts: tuple[LackingAccount, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether everything is as in the backup already."""
        return not self.lines


@dataclass
class RestoreOutcome:
    """The result of a restore. ``safety``: the backup of the replaced files; ``notes``: remaining work for the
    operator."""

    preview: Preview
    recovery: Recovery | None
    restored: bool = False
    safety: Path | None = None
    notes: list[Text] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """1 if something differs from the backup although nothing failed."""
        preview = self.preview
        return 1 if preview.owners_kept or preview.refused or preview.lacking_accounts else 0


def finish_earlier(settings: Settings, directory: Path | None = None) -> Recovery | None:
    """Finish a killed restore (`ops.backups.restore.journal`), and have nginx load the old files; None if there is
    none. Raises OpsError."""
    place = directory or Path(settings.backup.dir)
    try:
        recovery = recover_if_idle(place)
    except OSError as error:
        raise OpsError(
            Text(
                en=f"{place}: a restore was killed, and cannot be undone: {error.filename}: {error.strerror or error}",
                zh=f"{place}：有一次恢复被强行终止，且无法撤销：{error.filename}：{chinese(error.strerror or error)}",
            )
        ) from None
    _reload_after(settings, recovery)
    return recovery


def _reload_after(settings: Settings, recovery: Recovery | None) -> None:
    if recovery is not None and recovery.reload and recovery.root == str(HOST):
        from ops.backups.restore.validate import reload_host

        if problem := reload_host(settings):
            raise OpsError(
                Text(
                    en=f"a restore that was killed was undone, but {problem}",
                    zh=f"被强行终止的恢复已撤销，但 {chinese(problem)}",
                )
            )


def recovery_words(recovery: Recovery) -> Text:
    """The sentence on how a killed restore was finished."""
    untouched = ", ".join(recovery.left[:5])
    if recovery.state == RestoreState.DONE:
        return Text(
            en=f"an earlier restore of {recovery.archive} was complete; what it had left over was removed",
            zh=f"此前对 {recovery.archive} 的恢复已完成，其遗留的临时文件已清除",
        )
    return Text(
        en=f"an earlier restore of {recovery.archive} was killed; {recovery.put_back} paths were put back as they were"
        + (f"; changed by somebody else since, and left: {untouched}" if untouched else ""),
        zh=f"此前对 {recovery.archive} 的恢复被中断，已将 {recovery.put_back} 个路径还原"
        + (f"；其后被他人改动而未还原：{untouched}" if untouched else ""),
    )


def restore(
    settings: Settings,
    archive: str | None,
    paths: Sequence[str],
    *,
    root: Path = HOST,
    dry_run: bool = False,
    identity: str | None = None,
    vouch: Callable[[Text], bool] | None,
    ask: Callable[[Preview], bool],
) -> RestoreOutcome:
    """Restore ``paths`` of ``archive`` (the newest good one for None) below ``root``, if ``ask`` agrees.

    ``vouch`` is asked first, with the reason, if nothing shows that an operator of this host made the archive; None if
    nobody can be asked. Raises OpsError (RestoreError if it failed and was undone)."""
    on_host = root.resolve() == HOST
    identities = read_identities(Path(identity)) if identity else []
    keeper = Path(settings.backup.dir) if on_host else root
    if not dry_run:
        _make(keeper, private=on_host)
    lock = HostLock(None)
    with contextlib.ExitStack() as stack:
        if dry_run:
            recovery = finish_earlier(settings, keeper)
        else:
            if on_host:
                lock = stack.enter_context(only_change())
            stack.enter_context(only_restore(keeper))
            recovery = _recover(settings, keeper)
        path = _archive(settings, archive)
        asked = (lambda doubt: lock.agreed(lambda: vouch(doubt))) if vouch else None
        check_authenticity(settings, path, asked, on_host=on_host, dry_run=dry_run)
        tree = stack.enter_context(_tree(root, dry_run=dry_run))
        with _opened():
            prospect = look(tree, path, identities, paths)
        preview = _preview(tree, prospect)
        outcome = RestoreOutcome(preview, recovery)
        outcome.notes += [account.words for account in preview.lacking_accounts]
        if prospect.plan.is_empty or not lock.agreed(lambda: ask(preview)) or dry_run:
            return outcome
        if lock.was_taken:
            with _opened():
                _refuse_other(prospect, look(tree, path, identities, paths))
        _carry_out(settings, tree, keeper, prospect, outcome, on_host=on_host)
        return outcome


def _refuse_other(shown: RestorePreview, now: RestorePreview) -> None:
    """Raises OpsError if a restore would now change something else than was shown."""
    if (shown.plan, shown.places) != (now.plan, now.places):
        raise OpsError(
            Text(
                en="another gte-ops command has changed this host while you were asked; nothing was restored: run it"
                " again, and look at what it shows",
                zh="询问期间另一个 gte-ops 命令改动了本机；未恢复任何内容：请重新运行并查看其显示的改动",
            )
        )


def check_authenticity(
    settings: Settings, path: Path, vouch: Callable[[Text], bool] | None, *, on_host: bool, dry_run: bool
) -> None:
    """Raises SignatureError for an archive with a bad signature, or one that nobody vouches for; DeclinedError."""
    signature = signature_of(settings, path)
    if signature is None and not on_host:
        return
    try:
        doubt = reason_to_doubt(path, signature, Path(settings.backup.dir))
    except OSError as error:
        raise OpsError(
            Text(
                en=f"{path}: {error.strerror or error}; nothing was restored",
                zh=f"{path}：{chinese(error.strerror or error)}；未恢复任何内容",
            )
        ) from None
    if doubt is None or dry_run:
        return
    if vouch is None:
        raise SignatureError(
            Text(
                en=f"{path}: {doubt.en}; look at it (restore --dry-run), then add --unsigned to restore it all the"
                " same",
                zh=f"{path}：{doubt.zh}；先用 restore --dry-run 查看，确认后加 --unsigned 恢复",
            )
        )
    if not vouch(Text(en=f"{path}: {doubt.en}", zh=f"{path}：{doubt.zh}")):
        raise DeclinedError(Text(en="nothing was restored", zh="未恢复任何内容"))


def rehearse(
    settings: Settings,
    archive: str | None,
    *,
    identity: str | None,
    unsigned: bool,
    tell: Callable[[Text], None],
) -> Drill:
    """Run a drill with ``archive``, or with the newest good one. ``unsigned``: even without the signature that the
    settings require; ``tell`` reports a killed restore that was finished first.

    Raises OpsError."""
    from ops.backups import drill

    identities = read_identities(Path(identity)) if identity else []
    if (recovery := finish_earlier(settings)) is not None:
        tell(recovery_words(recovery))
    path = _archive(settings, archive)
    if (signature := signature_of(settings, path)) is not None:
        refuse_bad(path, signature)
        if signature.state == SignatureState.MISSING and not unsigned:
            raise SignatureError(
                Text(
                    en=f"{path}: {unsigned_words().en}; add --unsigned to try it all the same",
                    zh=f"{path}：{unsigned_words().zh}；仍要演练请加 --unsigned",
                )
            )
    try:
        with _opened():
            return drill.rehearse(path, identities, settings.nginx.binary)
    except OSError as error:
        where = error.filename or path
        raise OpsError(
            Text(
                en=f"{where}: {error.strerror or error}; the drill was not finished",
                zh=f"{where}：{chinese(error.strerror or error)}；演练未完成",
            )
        ) from None


def _carry_out(
    settings: Settings,
    tree: NoFollowTree,
    keeper: Path,
    prospect: RestorePreview,
    outcome: RestoreOutcome,
    *,
    on_host: bool,
) -> None:
    from ops.backups.restore.validate import LOOK_SECONDS, concerns_nginx, confirmation
    from ops.collect.surroundings import look_around

    def keep() -> None:
        if on_host and (prospect.replaced or prospect.adjusted):
            outcome.safety, unsigned = keep_replaced(
                tree,
                prospect.replaced,
                prospect.adjusted,
                keeper,
                settings.backup.recipients,
                settings.backup.signing_key,
                prospect.manifest.letsencrypt_dir,
            )
            if unsigned:
                outcome.notes.append(
                    Text(
                        en=f"what was replaced is kept without a signature: {unsigned}",
                        zh=f"被替换内容的备份没有签名：{unsigned}",
                    )
                )

    confirm = None
    if on_host:
        around = look_around(settings, time.monotonic() + LOOK_SECONDS)
        places = [
            f"/{path}"
            for change in prospect.plan.changes
            for path in dict.fromkeys((change.path, _place(prospect, change.path)))
        ]
        if concerns_nginx(around, prospect.manifest.letsencrypt_dir, places):
            confirm = confirmation(settings, around, outcome.notes.append)
        if _concerns_gunicorn(prospect.manifest, places):
            restart = around.target.restart_command.replace("\n", "; ")
            outcome.notes.append(
                Text(
                    en=f"gunicorn still runs as it was started; restart it: {restart}",
                    zh=f"gunicorn 仍按原配置运行，请重启：{restart}",
                )
            )
    certbot = Path(prospect.manifest.letsencrypt_dir or "/nonexistent")
    # Against a concurrent renewal; below another root there is none.
    with certbot_lock(certbot, CERTBOT_WAIT) if on_host else contextlib.nullcontext():
        Restoration(tree, keeper, prospect).run(keep, confirm)
    outcome.restored = True
    if on_host:
        with contextlib.suppress(OSError):
            drop_oldest(keeper)


def _concerns_gunicorn(manifest: Manifest, places: Sequence[str]) -> bool:
    own = [source.path for source in manifest.asked if source.what in _GUNICORN_PARTS]
    return any(is_below(place, path) for place in places for path in own)


def _make(directory: Path, *, private: bool) -> None:
    try:
        directory.mkdir(mode=0o700 if private else 0o755, parents=True, exist_ok=True)
    except OSError as error:
        raise OpsError(
            Text(
                en=f"{directory}: {error.strerror or error}; nothing was restored",
                zh=f"{directory}：{chinese(error.strerror or error)}；未恢复任何内容",
            )
        ) from None


def _recover(settings: Settings, keeper: Path) -> Recovery | None:
    try:
        recovery = recover(keeper)
    except OSError as error:
        raise OpsError(
            Text(
                en=f"{keeper}: a restore was killed, and cannot be undone: {error.filename}: {error.strerror or error}",
                zh=f"{keeper}：有一次恢复被强行终止，且无法撤销：{error.filename}：{chinese(error.strerror or error)}",
            )
        ) from None
    _reload_after(settings, recovery)
    return recovery


@contextlib.contextmanager
def _tree(root: Path, *, dry_run: bool) -> Iterator[NoFollowTree]:
    with contextlib.ExitStack() as stack:
        place = root
        if dry_run and not root.exists():
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        try:
            tree = NoFollowTree(place)
        except OSError as error:
            raise OpsError(
                Text(
                    en=f"{root}: {error.strerror or error}; --root names a directory",
                    zh=f"{root}：{chinese(error.strerror or error)}；--root 须是目录",
                )
            ) from None
        stack.callback(tree.close)
        tree.root = root
        yield tree


@contextlib.contextmanager
def _opened() -> Iterator[None]:
    """An archive that cannot be decrypted without an identity is not a bad one: nothing was tried (exit code 3)."""
    try:
        yield
    except LockedArchiveError as error:
        raise OpsError(error.words) from None


def _archive(settings: Settings, argument: str | None) -> Path:
    if argument is None:
        return newest_good(settings)
    path = Path(argument)
    if not path.exists() and "/" not in argument:
        path = Path(settings.backup.dir, argument)
    return path.absolute()


def _preview(tree: NoFollowTree, prospect: RestorePreview) -> Preview:
    diffs = content_changes(tree, prospect)
    paths = set()
    lines = []
    for change in prospect.plan.changes:
        first = change.difference == Difference.CONTENT and change.path not in paths
        paths.add(change.path)
        lines.append(
            PreviewLine(
                f"/{change.path}",
                f"/{_place(prospect, change.path)}",
                change.difference,
                words_of(change, prospect.owners),
                tuple(diffs.get(change.path, ())) if first else (),
            )
        )
    return Preview(
        archive=prospect.archive,
        root=tree.root,
        lines=tuple(lines),
        left=tuple(f"/{path}" for path in prospect.plan.untouched),
        owners_kept=prospect.plan.owners_kept,
        refused=tuple((f"/{item.path}", item.reason) for item in prospect.plan.refused),
        lacking_accounts=prospect.lacking,
    )


def _place(prospect: RestorePreview, path: str) -> str:
    """The resolved ``path``; of one that is not in the backup, by its directory."""
    place = prospect.places.get(path)
    if place is not None:
        return place
    above = next((parent for parent in parents(path) if parent in prospect.places), None)
    return path if above is None else prospect.places[above] + path[len(above) :]


def is_archive(argument: str) -> bool:
    """Whether a command's first argument names an archive, and not the first path of the newest one."""
    from ops.archive.name import parse_name

    if parse_name(Path(argument).name) is not None:
        return True
    try:
        with Path(argument).open("rb") as file:
            magic = file.read(4)
    except OSError:
        return False
    return magic.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"age-"))
