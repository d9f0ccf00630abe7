"""Removing the files that `render --install` put in place, as long as nobody has edited them since.

They can be told from others by their content alone: a file that is not as it would be rendered now is left where it is,
and shown."""

from __future__ import annotations

import difflib
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePosixPath

from ops.deployment.install import (
    KEPT,
    TOOL_SECONDS,
    RefusedError,
    accepted_by_nginx,
    place,
    present_text,
    refuse_shared,
)
from ops.deployment.render import DeploymentKind, RenderedFile
from ops.errors import OpsError
from ops.files.atomic_file import taking_its_name
from ops.files.programs import trusted_program
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, system_error


class FileRemoval(StrEnum):
    """What becomes of one file."""

    REMOVED = "removed"
    ABSENT = "absent"
    EDITED = "edited"


@dataclass(frozen=True)
class RemovedFile:
    """``diff``: how an edited file differs; ``copies``: of former files, which `render --install` kept beside it."""

    path: str
    state: FileRemoval
    diff: tuple[str, ...] = ()
    copies: tuple[str, ...] = ()


def removals(files: Sequence[RenderedFile], root: Path) -> tuple[RemovedFile, ...]:
    """What `remove` would do. Raises OpsError for a file that cannot be read."""
    return tuple(_removal(file, root) for file in files)


def _removal(file: RenderedFile, root: Path) -> RemovedFile:
    path = place(file, root)
    text = present_text(path)
    if text is None:
        return RemovedFile(str(path), FileRemoval.ABSENT)
    if text != file.text:
        rendered, present = file.text.splitlines(keepends=True), text.splitlines(keepends=True)
        diff = difflib.unified_diff(rendered, present, "rendered", str(path))
        return RemovedFile(str(path), FileRemoval.EDITED, tuple(diff))
    copies = (str(copy) for copy in sorted(path.parent.iterdir()) if _is_copy(copy.name, path.name))
    return RemovedFile(str(path), FileRemoval.REMOVED, (), tuple(copies))


def _is_copy(name: str, original: str) -> bool:
    return name.endswith(KEPT) and name.lstrip(".").startswith(f"{original}.2")


def remove(
    kind: DeploymentKind, files: Sequence[RenderedFile], root: Path, nginx_test: Sequence[str]
) -> tuple[RemovedFile, ...]:
    """Remove the files that are as they were rendered, and return what became of each.

    ``nginx_test``: the command that tests nginx's configuration on this host. Raises RefusedError, with every file in
    place again, for units that are in use, for a place that other users control, and if nginx refuses what is left;
    OpsError if a file cannot be removed."""
    for file in files:
        refuse_shared(file, root)
    results = removals(files, root)
    on_host = root == Path("/")
    if kind == "systemd" and on_host:
        _refuse_units_in_use(files)
    if kind == "nginx" and on_host and not nginx_test:
        raise RefusedError(
            Text(
                en="nginx -t is not run as root on what others may change (gte-ops doctor says what: NGX022), and"
                " without that test nothing is removed",
                zh="他人可改动的内容不会以 root 执行 nginx -t（gte-ops doctor 会指出：NGX022），未经该测试则不删除",
            )
        )
    removed: list[RenderedFile] = []
    try:
        for file, item in zip(files, results, strict=True):
            if item.state is FileRemoval.REMOVED:
                Path(item.path).unlink()
                removed.append(file)
        if kind == "nginx" and on_host and removed:
            accepted_by_nginx(nginx_test)
    except BaseException as error:
        for file in removed:
            with taking_its_name(path := place(file, root), path.with_name(f".{path.name}{KEPT}")) as out:
                out.write(file.text.encode())
            path.chmod(file.mode)
        if not isinstance(error, OSError):
            raise
        raise OpsError(system_error(error.filename or root, error, NOTHING_CHANGED)) from None
    return results


def _refuse_units_in_use(files: Sequence[RenderedFile]) -> None:
    """Without its file a unit can be neither stopped in order nor disabled."""
    units = [PurePosixPath(file.path).name for file in files if file.path.endswith((".service", ".timer"))]
    systemctl = trusted_program("systemctl")
    if systemctl is None:
        return
    in_use = [
        unit for unit in units if _asks(systemctl, "is-active", unit) or _asks(systemctl, "is-enabled", unit)
    ]
    if in_use:
        words = " ".join(in_use)
        raise RefusedError(
            Text(
                en=f"in use: {words}; nothing was removed: systemctl disable --now {words}, then again",
                zh=f"正在使用：{words}；未作任何删除：请先 systemctl disable --now {words}，然后重新运行",
            )
        )


def _asks(systemctl: str, question: str, unit: str) -> bool:
    ran = subprocess.run(
        [systemctl, question, unit],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TOOL_SECONDS,
        check=False,
    )
    return ran.stdout.strip() in ("active", "activating", "reloading", "enabled")


def steps_after(kind: DeploymentKind, reload_nginx: str) -> tuple[str, ...]:
    """The commands that are left to do once files were removed from a running host."""
    return {
        "nginx": (reload_nginx,),
        "systemd": ("systemctl daemon-reload",),
        "prometheus": (
            "promtool check config /etc/prometheus/prometheus.yml",
            "systemctl reload prometheus",
        ),
    }.get(kind, ())
