"""Judges of nginx's error logs: exceeded limits, a forbidden backend, connections that the backend closed."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

from ops.diagnosis.checks.app_surroundings import surroundings
from ops.diagnosis.checks.log_reading import (
    LocatedEntry,
    Raised,
    entries_with,
    nginx_entries,
    raised_in,
    require_nginx_log,
    service_logs,
)
from ops.diagnosis.finding import Finding, NotJudgedError, check, quote
from ops.diagnosis.passable_directory import let_in
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, Reader
from ops.facts.host import Processes
from ops.facts.logs import AccessLog, Log, LogEntry, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.facts.traffic import RefusedFile
from ops.interpret.access import SEARCH, may
from ops.interpret.nginx_error_line import message
from ops.interpret.service_name import reaches_service
from ops.interpret.site import find_site, scope_for
from ops.text.language import Text

_SERVER = re.compile(r", server: ([^,]*),")
# "connect() to unix:/run/x.sock failed (13: Permission denied) while connecting to upstream"
_REASON = re.compile(r"connect\(\)(?: to \S+)? failed \(\d+: [^)]*\)")
_EXHAUSTED = ("worker_connections are not enough", "Too many open files")
# gunicorn's messages that explain a worker's end: a timeout, a signal, an order to stop or reload.
_WORKER_ENDED = (
    "WORKER TIMEOUT",
    "was sent SIG",
    *(f"Handling signal: {name}" for name in ("hup", "term", "quit", "int", "ttou", "usr2", "winch")),
)
# Seconds between both logs' entries of one event, at most: both write whole seconds, and a worker may take a moment
# to end.
SAME_EVENT = 5.0


def of_this_site(
    entries: tuple[LocatedEntry, ...], config: NginxConfig | NotSeen, target: Target
) -> tuple[LocatedEntry, ...]:
    """Entries that name no server block (``server: ...``) or the site's own; other sites may share the log."""
    site = None if isinstance(config, NotSeen) else find_site(config, target.domain, target.backend)
    # nginx writes the block's first name (ngx_http_log_error), or nothing for a block without a name.
    ours = {"", target.domain, *(site.server.names[:1] if site else ())}
    return tuple(
        (path, entry)
        for path, entry in entries
        if (match := _SERVER.search(entry.text)) is None or match[1] in ours
    )


@check("nginx.body_size", "NGX009", en="requests fit nginx's limit", zh="请求体没有超过 nginx 的上限")
def body_size(
    logs: Logs, front: Front, target: Target, nginx_config: NginxConfig | NotSeen
) -> Iterator[Finding]:
    """NGX009: 413 and 'client intended to send too large body' in the window."""
    require_nginx_log(logs)
    entries = of_this_site(
        nginx_entries(logs, "client intended to send too large body"), nginx_config, target
    )
    if not entries:
        return
    access = logs.nginx_access
    refusals = access.statuses.get("413", 0) if isinstance(access, AccessLog) else 0
    met = isinstance(front.predict, Exchange) and front.predict.status == 413
    if not refusals and not met:
        if isinstance(access, NotSeen):
            raise NotJudgedError(access)
        return
    path, entry = entries[-1]
    yield Finding(
        "NGX009",
        (
            quote(path, entry.text),
            *((quote(access.path, f"{refusals} x 413"),) if isinstance(access, AccessLog) else ()),
        ),
        {"count": str(max(len(entries), refusals))},
        fix=_larger_bodies([entry.text for _, entry in entries], nginx_config, target),
    )


def _larger_bodies(
    messages: list[str], config: NginxConfig | NotSeen, target: Target
) -> tuple[str | Text, ...] | None:
    """Steps to set client_max_body_size to the largest refused body, at least 50 MiB; None if no place is known."""
    scope = scope_for(config, target, target.predict_path) if isinstance(config, NginxConfig) else None
    if scope is None:
        return None
    sizes = [
        int(match[1])
        for text in messages
        if (match := re.search(r"too large body: (\d{1,15}) bytes", message(text)))
    ]
    new_statement = f"client_max_body_size {max(50, -(-max(sizes, default=0) // (1 << 20)))}m;"
    limits, proxy_pass = scope.effective("client_max_body_size"), scope.first_own("proxy_pass")
    if limits:
        old_statement = f"client_max_body_size {' '.join(limits[-1].args)};"
        line = replaced_in_line(limits[-1].where, old_statement, new_statement)
    elif proxy_pass is not None:
        line = put_before_line(proxy_pass.where, new_statement)
    else:
        return None
    return (
        Text(
            en="If the service accepts bodies of that size; else let clients send smaller batches:",
            zh="如果服务接受这么大的请求体；否则让客户端减小批量：",
        ),
        line,
        target.test_nginx,
        target.reload_nginx,
    )


@check(
    "nginx.capacity",
    "NGX015",
    en="nginx has connections and descriptors left",
    zh="nginx 的连接数和描述符够用",
)
def capacity(logs: Logs) -> Iterator[Finding]:
    """NGX015: nginx ran out of worker_connections or descriptors, by any error log that the configuration names."""
    entries = nginx_entries(logs, *_EXHAUSTED)
    require_nginx_log(logs)
    if not entries:
        return
    # Quote only the newest entry of each kind: a flood repeats the same message.
    newest = {words: of_kind[-1] for words in _EXHAUSTED if (of_kind := nginx_entries(logs, words))}
    yield Finding(
        "NGX015",
        tuple(quote(path, entry.text) for path, entry in newest.values()),
        {"message": "; ".join(f"{words} ({len(nginx_entries(logs, words))}x)" for words in newest)},
    )


@check("nginx.permission", "NGX016", en="nginx may connect to the service", zh="nginx 有权限连接服务")
def permission(
    logs: Logs, front: Front, target: Target, nginx_config: NginxConfig | NotSeen, taken_at: float
) -> Iterator[Finding]:
    """NGX016: connect() ... (13: Permission denied) in the window, and not fixed since."""
    require_nginx_log(logs)
    denied = nginx_entries(logs, "(13: Permission denied)")
    entries = [
        pair
        for pair in of_this_site(denied, nginx_config, target)
        if _REASON.match(message(pair[1].text)) is not None
    ]
    if not entries:
        return
    path, entry = entries[-1]
    # Modes and policies do not change by themselves: if predictions pass and no connect failed meanwhile, it was fixed.
    passes = isinstance(front.predict, Exchange) and reaches_service(front.predict, target)
    if passes and entry.time < int(taken_at):
        return
    match = _REASON.match(message(entry.text))
    words = match[0] if match else entry.text[:120]
    closed = _closed_to_nginx(logs.refused_socket, entry)
    if closed is None:
        yield Finding("NGX016", (quote(path, entry.text),), {"message": words})
        return
    socket, step, reader = closed
    user = reader.user
    # Nobody but its owner has any right there: somebody meant it so.
    is_private = step.mode & 0o077 == 0 and reader.uid != step.uid
    yield Finding(
        "NGX016",
        (
            quote(path, entry.text),
            quote(f"stat {step.path}", f"{step.mode:04o}, uid {step.uid}, gid {step.gid}"),
        ),
        {"message": words},
        summary=Text(
            en=f"nginx's workers ({user}) may not enter {step.path}, so they cannot reach the service's socket"
            f" {socket}.",
            zh=f"nginx 的工作进程（用户 {user}）无权进入 {step.path}，因此连不上服务的 socket {socket}。",
        ),
        verify=f"namei -l {shlex.quote(socket)}",
        fix=(
            *(() if is_private else (let_in(step, reader),)),
            Text(
                en=f"Where others must not enter {step.path}, put the socket in a directory of /run instead"
                " (RuntimeDirectory in the unit), in bind and in proxy_pass",
                zh=f"如果不能让其他用户进入 {step.path}，就把 socket 移到 /run 下的目录（unit 里设 RuntimeDirectory），"
                "并同时修改 bind 和 proxy_pass",
            ),
        ),
    )


def _closed_to_nginx(refused: RefusedFile | None, entry: LogEntry) -> tuple[str, AccessStep, Reader] | None:
    """The socket that ``entry`` is about, the directory above it that nginx's workers may not enter, and who they are;
    None if all are open."""
    if refused is None or refused.reader is None:
        return None
    if not message(entry.text).startswith(f"connect() to unix:{refused.path} failed"):
        return None  # another socket, or no socket: SELinux forbids a port
    for step in refused.steps:
        if step.is_directory and may(refused.reader, step, SEARCH) is False:
            return refused.path, step, refused.reader
    return None


@check(
    "nginx.premature_close",
    "NGX019",
    en="the service answers before it closes a connection",
    zh="服务没有在应答前断开连接",
)
def premature_close(
    logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen, processes: Processes
) -> Iterator[Finding]:
    """NGX019: 'upstream prematurely closed connection' in the window, since the present master started, at a time for
    which gunicorn's log explains no worker's end."""
    require_nginx_log(logs)
    entries = of_this_site(
        nginx_entries(logs, "upstream prematurely closed connection"), nginx_config, target
    )
    if not entries:
        return
    master = next((p for p in processes.processes if p.pid == target.gunicorn_master), None)
    if master is None:
        return  # gunicorn is not running: its end closed the connections
    log = logs.gunicorn_error
    ends = entries_with(log, *_WORKER_ENDED)
    unexplained = [
        (path, entry)
        for path, entry in entries
        if entry.time >= int(master.started) and not _is_told(entry, ends)
    ]
    if not unexplained:
        return
    if isinstance(log, NotSeen):
        raise NotJudgedError(log)
    path, entry = unexplained[-1]
    if raised := _raised_at(logs, entry):
        count = len(unexplained)
        yield Finding(
            "NGX019",
            (quote(path, entry.text), quote(raised.where, raised.exception)),
            {"count": str(count)},
            summary=Text(
                en=f"The application raised {raised.exception} while it answered, and the service cut off {count}"
                " answers.",
                zh=f"应用在应答途中抛出 {raised.exception}，服务中断了 {count} 个响应。",
            ),
            verify=f"grep -n -A 40 Traceback {shlex.quote(log.path)} | tail -n 50",
            fix=around.fix
            if (around := surroundings(raised.exception, target))
            else (
                Text(
                    en=f"Correct the application, by the traceback that ends at {raised.where}: {raised.exception}",
                    zh=f"按最后一帧为 {raised.where} 的堆栈修复应用：{raised.exception}",
                ),
                target.restart_command,
            ),
        )
        return
    yield Finding(
        "NGX019",
        (quote(path, entry.text), quote(log.path, _said_at(log, entry.time))),
        {"count": str(len(unexplained))},
    )


def _raised_at(logs: Logs, entry: LogEntry) -> Raised | None:
    """The exception that the application raised as the connection was cut: the same second or the one beside it."""
    near = [
        item
        for own in service_logs(logs)
        for item in raised_in(own)
        if abs(item.entry.time - entry.time) <= 1.0
        and "Exception in worker process" not in item.entry.text
        and not item.exception.startswith(("SystemExit", "KeyboardInterrupt"))
    ]
    return near[-1] if near else None


def _is_told(entry: LogEntry, ends: tuple[LogEntry, ...]) -> bool:
    return any(abs(end.time - entry.time) <= SAME_EVENT for end in ends)


def _said_at(log: Log, time: float) -> str:
    """The first line of the entry nearest to ``time``, within ``SAME_EVENT`` seconds; ``-`` if there is none."""
    near = [entry for entry in log.entries if abs(entry.time - time) <= SAME_EVENT]
    return min(near, key=lambda e: abs(e.time - time)).text.partition("\n")[0] if near else "-"


CHECKS = (body_size, capacity, permission, premature_close)
