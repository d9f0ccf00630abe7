"""`gte-ops deploy drain HOST` and `undrain HOST`: take a host out of this nginx's upstream and put it back.

The file is replaced at one instant, nginx tests and loads it, and a client verifies the front door; if anything fails,
the old file is back and loaded.
"""

from __future__ import annotations

import getpass
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import msgspec

from ops.backups.nginx_probe import ReloadError, health_problem, reload_nginx
from ops.backups.restore.validate import serving_now
from ops.baselines.directory import baseline_directory
from ops.baselines.state import Mark
from ops.baselines.store import BaselineStore
from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import exchange
from ops.collect.run import Surroundings, look_around
from ops.control.signals import GoneError, NotAllowedError
from ops.deployment.install import accepted_by_nginx, present_text, reason_not_to_replace
from ops.deployment.upstream import (
    UPSTREAM_FILE,
    PresentServer,
    matching,
    present_servers,
    with_drained,
)
from ops.deployment.values import LOOK_SECONDS, deployment_from
from ops.errors import OpsError
from ops.files.atomic_file import replace_content
from ops.interpret.process_ref import ProcessRef
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import chinese
from ops.text.sanitize import safe_line

RELOAD_SECONDS = 15.0
HOST_SECONDS = 5.0
CLIENT_SECONDS = 10.0
# So many requests in turn reach every host of a small upstream.
CLIENT_REQUESTS = 5


class DrainAction(StrEnum):
    """What is done with a host."""

    DRAIN = "drain"
    UNDRAIN = "undrain"


class DrainError(OpsError):
    """The host is where it was before. The message says why, and on what."""

    exit_code = 2


class DrainResult(msgspec.Struct, frozen=True):
    """What became of it. ``changed``: False if the host was already so, or for a dry run; ``before`` and ``after``: the
    file's text; ``serving``: the servers that get requests afterwards."""

    action: DrainAction
    address: str
    file: str
    changed: bool
    dry_run: bool
    before: str
    after: str
    serving: tuple[str, ...]


def drain(
    settings: Settings,
    settings_file: Path | None,
    host: str,
    action: DrainAction,
    *,
    dry_run: bool = False,
    force: bool = False,
) -> DrainResult:
    """Take ``host`` out or put it back. ``force``: also the last host that serves, or one that does not answer.

    Raises UsageError for a host that is not in the upstream; DrainError if it stays as it was; OpsError if the files
    cannot be read."""
    around = look_around(settings, time.monotonic() + LOOK_SECONDS)
    deployment = deployment_from(settings, settings_file, around)
    path = Path(deployment.nginx_dir, UPSTREAM_FILE)
    text = present_text(path)
    if text is None:
        raise OpsError(
            Text(
                en=f"{path}: is not there; list the hosts as [[nginx.upstream]] and run gte-ops render nginx --install",
                zh=f"{path}：不存在；请以 [[nginx.upstream]] 列出各主机，再运行 gte-ops render nginx --install",
            )
        )
    server = matching(present_servers(text), host)
    after = with_drained(text, server.address, drained=action is DrainAction.DRAIN)
    serving = tuple(item.address for item in present_servers(after) if not item.is_drained)
    result = DrainResult(action, server.address, str(path), False, dry_run, text, after, serving)
    if after == text:
        return result
    if not force:
        _refuse(action, server, present_servers(after), settings, around)
    if dry_run:
        return result
    _exchange(path, text, after, deployment.test_nginx, around)
    _record(settings, f"{action.value} {server.address}")
    return msgspec.structs.replace(result, changed=True)


def _refuse(
    action: DrainAction,
    server: PresentServer,
    after: Sequence[PresentServer],
    settings: Settings,
    around: Surroundings,
) -> None:
    """Refuse what would leave nobody to serve, or send requests to a host that does not answer."""
    if action is DrainAction.DRAIN:
        if not any(not item.is_drained and not item.is_backup for item in after):
            raise DrainError(
                Text(
                    en=f"{server.address}: the last server that gets requests; put another back first, or add --force",
                    zh=f"{server.address}：这是最后一台接收请求的服务器；请先恢复另一台，或加上 --force",
                )
            )
        return
    url = f"http://{around.target.domain}{settings.target.ready_path}"
    answer = exchange("GET", url, server.address, Deadline(time.monotonic() + HOST_SECONDS))
    if answer.status != 200:
        said = (
            safe_line(str(answer.detail or answer.failure))
            if answer.status is None
            else f"HTTP {answer.status}"
        )
        place = f"{server.address}{settings.target.ready_path}"
        raise DrainError(
            Text(
                en=f"{place}: {said}; it stays out: mend it first, or add --force",
                zh=f"{place}：{chinese(said)}；仍不接收请求：请先修复，或加 --force",
            )
        )


def _exchange(path: Path, before: str, after: str, test_nginx: Sequence[str], around: Surroundings) -> None:
    """Put the new file in place, and put the old one back if nginx or a client does not get on with it."""
    why = reason_not_to_replace(path)
    if why is not None or not test_nginx:
        reason = safe_line(why or "nginx -t is not run as root on what others may change")
        raise DrainError(
            Text(en=f"{path}: {reason}; nothing was changed", zh=f"{path}：{chinese(reason)}；未作任何改动")
        )
    masters = serving_now(around)
    if not masters:
        raise DrainError(
            Text(
                en="nginx does not run here, so there is nothing to drain a host from; nothing was changed",
                zh="本机没有运行 nginx，无法调整其上游；未作任何改动",
            )
        )
    logs = around.target.nginx_error_logs
    try:
        replace_content(path, after.encode())
    except OSError as error:
        raise DrainError(
            Text(
                en=f"{path}: cannot be written: {error.strerror}; nothing was changed: run it as root",
                zh=f"{path}：无法写入：{chinese(error.strerror)}；未作任何改动：请以 root 运行",
            )
        ) from None
    try:
        accepted_by_nginx(test_nginx)
        reload_nginx(masters, logs, time.monotonic() + RELOAD_SECONDS)
        _verify(around)
    except BaseException as error:
        replace_content(path, before.encode())
        if isinstance(error, (ReloadError, GoneError, NotAllowedError, OpsError)):
            _load_again(masters, logs)
            words = error.words
            raise DrainError(
                Text(
                    en=f"{words.en.removesuffix('; the old files are back')}; the old file is back and loaded",
                    zh=f"{words.to('zh').removesuffix('；已恢复原文件')}；已恢复并加载原文件",
                )
            ) from None
        _load_again(masters, logs)
        raise


def _load_again(masters: Sequence[ProcessRef], logs: Sequence[str]) -> None:
    try:
        reload_nginx(masters, logs, time.monotonic() + RELOAD_SECONDS)
    except OpsError as error:
        words = error.words
        raise DrainError(
            Text(
                en=f"the old file is back, but nginx did not load it: {words.en}; run nginx -t and reload nginx",
                zh=f"已恢复原文件，但 nginx 未能加载：{words.to('zh')}；请运行 nginx -t 并重新加载 nginx",
            )
        ) from None


def _verify(around: Surroundings) -> None:
    """Ask the front door as a client does, several times in turn. Raises DrainError."""
    for _ in range(CLIENT_REQUESTS):
        problem = health_problem(around.target, time.monotonic() + CLIENT_SECONDS)
        if problem is not None:
            words = safe_line(problem)
            raise DrainError(
                Text(en=f"a client is not served: {words}", zh=f"客户端得不到服务：{chinese(words)}")
            )


def _record(settings: Settings, words: str) -> None:
    """Among the marked deployments, so that the timeline and later changes have it."""
    try:
        by = getpass.getuser()
    except (KeyError, OSError):
        by = ""
    BaselineStore(baseline_directory(settings)).mark(Mark(time=time.time(), text=words, by=by))
