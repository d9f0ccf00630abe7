"""`gte-ops deploy drain HOST` and `undrain HOST`: take a host out of this nginx's upstream and put it back.

The file is replaced at one instant, nginx tests and loads it, and a client verifies the front door; if anything fails,
the old file is back and loaded.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from enum import StrEnum
from pathlib import Path

import msgspec

from ops.backups.nginx_probe import health_problem, reload_nginx
from ops.backups.restore.validate import serving_now
from ops.baselines.deployment_mark import mark_deployment
from ops.collect.net.connection import Deadline
from ops.collect.net.http_probe import PROXIED, exchange
from ops.collect.surroundings import Surroundings, look_around
from ops.deployment.install import accepted_by_nginx, nginx_complaint, present_text, reason_not_to_replace
from ops.deployment.upstream import UPSTREAM_FILE, matching, present_servers, socket_of, with_drained
from ops.deployment.values import LOOK_SECONDS, deployment_from
from ops.errors import OpsError
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Exchange
from ops.files.atomic_file import replace_content
from ops.files.host_lock import SHORT_CHANGE_SECONDS, only_change
from ops.files.signals import undisturbed
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import join_address, join_host
from ops.interpret.process_ref import ProcessRef
from ops.interpret.site import find_site
from ops.settings import Settings
from ops.text.language import Text
from ops.text.reasons import NOTHING_CHANGED, chinese, system_error
from ops.text.sanitize import safe_line

RELOAD_SECONDS = 15.0
HOST_SECONDS = 5.0
# So many of the servers that are left are asked at once.
MAX_AT_ONCE = 16
SERVER_ERROR = 500
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
    file's text; ``serving``: the servers that get requests afterwards; ``unrecorded``: why it is not among the marked
    deployments."""

    action: DrainAction
    address: str
    file: str
    changed: bool
    dry_run: bool
    before: str
    after: str
    serving: tuple[str, ...]
    unrecorded: Text | None = None


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

    If the file has it so already, nginx loads it all the same: the run that wrote it may have been killed before.
    Raises UsageError for a host that is not in the upstream; DrainError if it stays as it was, HostLockedError if
    another command changes the host; OpsError if the files cannot be read."""
    around = look_around(settings, time.monotonic() + LOOK_SECONDS)
    deployment = deployment_from(settings, settings_file, around)
    path = Path(deployment.nginx_dir, UPSTREAM_FILE)
    planned = _plan(path, host, action, dry_run=dry_run)
    _refuse_unread(path, around)
    if dry_run:
        if planned.after != planned.before and not force:
            _refuse(planned, settings, around)
        return planned
    masters = _masters(path, deployment.test_nginx, around)
    _refuse_broken(deployment.test_nginx)
    with only_change(SHORT_CHANGE_SECONDS):
        # Another run may have changed the file until now.
        planned = _plan(path, host, action, dry_run=False)
        is_change = planned.after != planned.before
        if is_change and not force:
            _refuse(planned, settings, around)
        _exchange(path, planned, deployment.test_nginx, masters, around)
        unrecorded = _record(settings, f"{action.value} {planned.address}") if is_change else None
    return msgspec.structs.replace(planned, changed=is_change, unrecorded=unrecorded)


def _plan(path: Path, host: str, action: DrainAction, *, dry_run: bool) -> DrainResult:
    """What becomes of the file as it is now."""
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
    return DrainResult(action, server.address, str(path), False, dry_run, text, after, serving)


def _refuse_unread(path: Path, around: Surroundings) -> None:
    """Refuse a file that nginx reads for no upstream of the site: changing it would change nothing for users."""
    if not isinstance(around.config, NginxConfig):
        words = safe_line(around.config.reason)
        raise DrainError(
            Text(
                en=f"nginx's configuration was not read: {words}; nothing was changed",
                zh=f"未能读取 nginx 的配置：{chinese(words)}；未作任何改动",
            )
        )
    if not any(_is_from(path, upstream) for upstream in _upstreams(around.config, around)):
        raise DrainError(
            Text(
                en=f"{path}: no upstream that the site passes to includes it; nothing was changed: write include"
                f" {UPSTREAM_FILE}; in that upstream, or run gte-ops render nginx --install",
                zh=f"{path}：站点所转发到的 upstream 都没有包含它；未作任何改动：请在该 upstream 中写入 include"
                f" {UPSTREAM_FILE};，或运行 gte-ops render nginx --install",
            )
        )


def _upstreams(config: NginxConfig, around: Surroundings) -> Iterator[Directive]:
    """The upstreams that the site passes to; all of them, if a variable selects one."""
    passes = _passes(config, around)
    if any(not item.determined for item in passes):
        yield from nginx_topology.every(config, "upstream")
        return
    yield from (item.upstream for item in passes if item.upstream is not None)


def _passes(config: NginxConfig, around: Surroundings) -> Sequence[nginx_topology.ProxyPass]:
    site = find_site(config, around.target.domain, around.target.backend)
    return site.passes if site else ()


def _is_from(path: Path, upstream: Directive) -> bool:
    """Whether a server of ``upstream`` stands in the file at ``path``."""
    files = {item.file for item in upstream.block or () if item.name == "server"}
    return any(Path(file).resolve() == path.resolve() for file in files)


def _masters(path: Path, test_nginx: Sequence[str], around: Surroundings) -> tuple[ProcessRef, ...]:
    """The nginx that will load the file. Raises DrainError where nothing may or can be loaded."""
    # A link stays one: the file that it leads to is replaced.
    why = reason_not_to_replace(path) or reason_not_to_replace(path.resolve())
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
                zh="本机没有运行 nginx，无法调整其 upstream；未作任何改动",
            )
        )
    return masters


def _refuse_broken(test_nginx: Sequence[str]) -> None:
    """Refuse while nginx would not load its files even without this change."""
    complaint = nginx_complaint(test_nginx)
    if complaint is not None:
        raise DrainError(
            Text(
                en=f"nginx refuses its configuration as it is: {complaint}; nothing was changed: mend that first",
                zh=f"nginx 现在就不接受其配置：{chinese(complaint)}；未作任何改动：请先修复",
            )
        )


def _refuse(planned: DrainResult, settings: Settings, around: Surroundings) -> None:
    """Refuse what would leave nobody to serve, or send requests to a host that does not answer."""
    if planned.action is DrainAction.DRAIN:
        _refuse_last(planned, settings, around)
        return
    answer = _asked(planned.address, settings, around, time.monotonic() + HOST_SECONDS)
    if answer.status != 200:
        place, said = f"{planned.address}{settings.target.ready_path}", _said(answer)
        raise DrainError(
            Text(
                en=f"{place}: {said}; it stays out: fix it first, or add --force",
                zh=f"{place}：{chinese(said)}；仍不接收请求：请先修复，或加 --force",
            )
        )


def _refuse_last(planned: DrainResult, settings: Settings, around: Surroundings) -> None:
    """Refuse if no other server gets requests, or if none of those that do answers. A backup counts: nginx sends it the
    requests while every other server is down."""
    if not planned.serving:
        raise DrainError(
            Text(
                en=f"{planned.address}: the last server that gets requests; put another back first, or add --force",
                zh=f"{planned.address}：这是最后一台接收请求的服务器；请先恢复另一台，或加上 --force",
            )
        )
    silent = _all_silent(planned.serving, settings, around)
    if not silent:
        return
    others = "; ".join(f"{address}: {_said(silent[address])}" for address in dict.fromkeys(planned.serving))
    raise DrainError(
        Text(
            en=f"{planned.address}: no other server answers ({others}); mend one first, or add --force",
            zh=f"{planned.address}：其他服务器都没有应答（{chinese(others)}）；请先修复一台，或加上 --force",
        )
    )


def _all_silent(addresses: Sequence[str], settings: Settings, around: Surroundings) -> Mapping[str, Exchange]:
    """What each of them said, if none serves; empty as soon as one does. They are asked beside each other, so that
    those that hang take no time from the others."""
    silent: dict[str, Exchange] = {}
    pool = ThreadPoolExecutor(max_workers=min(len(addresses), MAX_AT_ONCE))
    try:
        asked = {pool.submit(_asked_now, address, settings, around): address for address in addresses}
        for done in as_completed(asked):
            answer = done.result()
            if answer.status is not None and answer.status < SERVER_ERROR:
                return {}
            silent[asked[done]] = answer
    finally:
        # Those that hang are not waited for.
        pool.shutdown(wait=False, cancel_futures=True)
    return silent


def _asked_now(address: str, settings: Settings, around: Surroundings) -> Exchange:
    """What a server says within its own time."""
    return _asked(address, settings, around, time.monotonic() + HOST_SECONDS)


def _asked(address: str, settings: Settings, around: Surroundings, deadline: float) -> Exchange:
    """What a server says at the ready path, asked as nginx would: over TLS where nginx passes to it so."""
    config = around.config
    passes = _passes(config, around) if isinstance(config, NginxConfig) else ()
    scheme = "https" if any(item.written.startswith("https:") for item in passes) else "http"
    host, port = socket_of(address)
    return exchange(
        "GET",
        f"{scheme}://{join_host(around.target.domain)}{settings.target.ready_path}",
        join_address(host, port) if port else host,
        Deadline(deadline),
        headers=PROXIED,
    )


def _said(answer: Exchange) -> str:
    """One line: its status, or why there is none."""
    if answer.status is None:
        return safe_line(str(answer.detail or answer.failure))
    return f"HTTP {answer.status}"


def _exchange(
    path: Path,
    planned: DrainResult,
    test_nginx: Sequence[str],
    masters: Sequence[ProcessRef],
    around: Surroundings,
) -> None:
    """Put the new file in place, and put the old one back if nginx or a client does not get on with it."""
    logs = around.target.nginx_error_logs
    try:
        if planned.after != planned.before:
            replace_content(path.resolve(), planned.after.encode())
        accepted_by_nginx(test_nginx)
        reload_nginx(masters, logs, time.monotonic() + RELOAD_SECONDS)
        _verify(around)
    except BaseException as error:
        # A second Ctrl-C does not leave the new file.
        with undisturbed():
            consequence = _put_back(path, planned, masters, logs)
        if isinstance(error, OSError):
            raise DrainError(system_error(path, error, consequence)) from None
        if isinstance(error, OpsError):
            words = error.words
            raise DrainError(
                Text(
                    en=f"{words.en.removesuffix('; the old files are back')}{consequence.en}",
                    zh=f"{words.to('zh').removesuffix('；已恢复原文件')}{consequence.to('zh')}",
                )
            ) from None
        raise


def _put_back(path: Path, planned: DrainResult, masters: Sequence[ProcessRef], logs: Sequence[str]) -> Text:
    """Undo this run's change and no other's. What is so now, for the end of a message. Raises OpsError."""
    present = present_text(path)
    if present == planned.before:
        return NOTHING_CHANGED
    if present != planned.after:
        return Text(
            en=f"; {path} was changed by another meanwhile and stays: run nginx -t and reload nginx",
            zh=f"；{path} 期间被他人改动，保持不动：请运行 nginx -t 并重新加载 nginx",
        )
    try:
        replace_content(path.resolve(), planned.before.encode())
    except OSError as error:
        stays = Text(en="; the new file stays", zh="；新文件仍在原处")
        raise DrainError(system_error(path, error, stays)) from None
    _load_again(masters, logs)
    return Text(en="; the old file is back and loaded", zh="；已恢复并加载原文件")


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


def _record(settings: Settings, words: str) -> Text | None:
    """Among the marked deployments, so that the timeline and later changes have it. The reason if it cannot be
    recorded: the host is moved all the same."""
    try:
        mark_deployment(settings, words)
    except OpsError as error:
        return error.words
    return None
