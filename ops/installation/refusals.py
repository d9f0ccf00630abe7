"""What refuses an installation, or its undoing, before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from ops.deployment.install import RefusedError, place, reason_not_to_replace
from ops.deployment.render import DeploymentKind, RenderedFile
from ops.errors import OpsError
from ops.installation.host import HostTree
from ops.installation.steps import Assessed, FileStep, LinkStep, Step, Undo, UndoFile, UndoLink
from ops.installation.store import InstallStore
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

# For files, the copies of those that they replace, and the journal.
NEEDED_BYTES = 1 << 20


def refuse_early(steps: Sequence[Step], due: Sequence[Assessed], host: HostTree, store: InstallStore) -> None:
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
        host.validate(kind, files_of(steps, kind), is_final=False)


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


def files_of(steps: Sequence[Step], kind: DeploymentKind) -> list[RenderedFile]:
    """The files of one kind, which their own program checks together."""
    return [step.file for step in steps if isinstance(step, FileStep) and step.kind == kind]


def refuse_foreign(items: Iterable[Undo], host: HostTree, store: InstallStore) -> None:
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
