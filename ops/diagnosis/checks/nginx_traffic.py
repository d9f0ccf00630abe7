"""Faults of nginx that users' own requests show although the doctor's short prediction passes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import (
    TOO_LONG,
    LocatedEntry,
    entries_with,
    nginx_entries,
    raised_by_requests,
    require_nginx_log,
    service_logs,
)
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.checks.past_failures import is_of_earlier_worker, names_path
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, check, quote
from ops.diagnosis.passable_directory import let_in
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.files import AccessStep, Reader
from ops.facts.logs import Log, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange, Front, HostNames, Upstreams
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.facts.traffic import Answers, RefusedFile
from ops.interpret import nginx as nginx_topology
from ops.interpret.access import SEARCH, WRITE, may
from ops.interpret.address import join_address
from ops.interpret.nginx import ProxyPass, named_servers
from ops.interpret.nginx_error_line import RequestInError, message, own_words, request_of, upstream
from ops.interpret.site import find_site
from ops.interpret.traffic import judged_since, service_traffic, users_traffic
from ops.text.language import UNSEEN, Text, verbatim

NOT_THERE, DENIED, NOT_PERMITTED, READ_ONLY = 2, 13, 1, 30
# Seconds between the lines of one request in nginx's error log and gunicorn's access log: both write whole seconds.
SAME_REQUEST = 2.0
_HUNG_UP = ("(104: Connection reset by peer)", "(32: Broken pipe)")
_WHILE_SENDING = "while sending request to upstream"
_WHILE_READING = "while reading response header from upstream"
_UPSTREAM = re.compile(r'https?://(unix:[^:"]+|\[[^\]"]+\]:\d+|[^/"]+)')
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")
# nginx gives these itself, whatever the service answers: an error page for them hides nothing.
_OWN_STATUSES = ("502", "503", "504")
# No failure, or one of the doctor itself: without root it may not open a socket that nginx opens.
_NO_PROOF = (None, ProbeFailure.PERMISSION, ProbeFailure.OTHER)
# [crit] and [alert] lines that are no fault of this host: clients that break off a handshake, and an old worker's
# lines when it ends after a reload.
_NOISE = (
    "SSL_do_handshake() failed",
    "SSL_read() failed",
    "SSL_write() failed",
    "SSL_shutdown() failed",
    "open socket #",
)
# Lines for which another check judges the present state.
_JUDGED_ELSEWHERE = (
    "connect() ",
    "No space left on device",
    "Too many open files",
    "worker_connections are not enough",
    "bind() to ",
    "still could not bind()",
)


@check("nginx.files", "NGX040", en="nginx can write its temporary files", zh="nginx 能写临时文件")
def files(logs: Logs) -> Iterator[Finding]:
    """NGX040: [crit] open() or mkdir() failed, and nginx's workers still cannot use the file's directory."""
    unclear: NotSeen | None = None
    for file in logs.refused_files:
        blocker = obstacle(file)
        if isinstance(blocker, NotSeen):
            unclear = blocker
        elif blocker is not None:
            user = verbatim(file.reader.user) if file.reader else UNSEEN
            count, place, words = file.count, blocker.directory, blocker.words
            yield Finding(
                "NGX040",
                (quote(file.log, file.entry.partition("\n")[0]), *blocker.evidence),
                {"count": str(count), "path": file.path, "directory": place, "user": user},
                summary=Text(
                    en=f"nginx's workers ({user.en}) could not use {file.path}, {count} times: {place} {words.en}.",
                    zh=f"nginx 的工作进程（用户 {user.zh}）有 {count} 次无法使用 {file.path}：{place} {words.zh}。",
                ),
                verify=f"namei -l {shlex.quote(_directory(file))}",
                fix=blocker.fix,
            )
            return
    if unclear is not None:
        raise NotJudgedError(unclear)


class Obstacle(NamedTuple):
    """An obstacle between nginx and a file: the directory, its fault, the commands that fix it."""

    directory: str
    words: Text
    fix: tuple[str | Text, ...]
    evidence: tuple[Evidence, ...] = ()


def _directory(file: RefusedFile) -> str:
    return file.path.rpartition("/")[0] or "/"


def obstacle(file: RefusedFile) -> Obstacle | NotSeen | None:
    """The present obstacle; None if there is none."""
    directory, reader = _directory(file), file.reader
    place = shlex.quote(directory)
    if file.error == READ_ONLY:
        words = Text(en="is on a read-only file system", zh="所在的文件系统是只读的")
        return Obstacle(directory, words, (f"findmnt -T {place}",))
    if file.error not in (NOT_THERE, DENIED, NOT_PERMITTED):
        return None  # of the process or the disk (too many open files, no space), not of the path
    # Who was denied never came to what is missing; nginx makes such directories itself (*_temp_path and cache levels).
    if file.missing is not None and (file.error == NOT_THERE or not file.steps):
        owner = (f"chown {shlex.quote(reader.user)} {place}",) if reader else ()
        words = Text(en="is not there", zh="不存在")
        return Obstacle(file.missing, words, (f"mkdir -p {place}", *owner))
    if file.error == NOT_THERE:
        return None
    if reader is None:
        return NotSeen(reason="as whom nginx's workers run: there is none", is_lasting=True)
    end = directory if file.missing is None else file.steps[-1].path
    for step in file.steps:
        if not step.is_directory:
            continue
        is_last = step.path == end
        permission = may(reader, step, SEARCH | WRITE if is_last else SEARCH)
        if permission is None:
            return NotSeen(reason=f"{step.path} has an access control list (see getfacl)")
        if not permission:
            return _closed(step, reader, is_last=is_last)
    # The modes allow it: somebody fixed them, or something else denies it (SELinux, AppArmor, a unit's sandbox).
    return None if file.complete else NotSeen(reason=f"the whole way to {directory}", needs_root=True)


def _closed(step: AccessStep, reader: Reader, *, is_last: bool) -> Obstacle:
    place = shlex.quote(step.path)
    own = (f"chown {shlex.quote(reader.user)} {place}", f"chmod u+rwx {place}")
    fix = own if is_last else (let_in(step, reader),)
    return Obstacle(
        step.path,
        Text(en="is closed to that user", zh="不允许该用户进入或写入"),
        fix,
        (quote(f"stat {step.path}", f"{step.mode:04o}, uid {step.uid}, gid {step.gid}"),),
    )


def explained_by_mended_file(answers: Answers, logs: Logs) -> bool:
    """Whether nginx logged for each of these failures a file that it could not use then, and can use now."""
    mended = [item for item in logs.refused_files if _is_mended(item)]
    lines = sum(
        1
        for log in logs.nginx_errors.values()
        if isinstance(log, Log)
        for entry in log.entries
        if names_path(entry, answers.path)
        and any(
            f"{item.path.rpartition('/')[0]}/" in message(entry.text)
            and f"({item.error}: " in own_words(entry.text)
            for item in mended
        )
    )
    return lines >= answers.count


def _is_mended(file: RefusedFile) -> bool:
    """Whether there is no obstacle now, and the path was changed after the last refusal."""
    changed_at = max((step.changed for step in file.steps), default=0.0)
    return obstacle(file) is None and changed_at >= int(file.last)


@check(
    "nginx.unread_body",
    "NGX041",
    en="the service reads requests to their end",
    zh="后端读完请求体才断开连接",
)
def unread_body(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """NGX041: the connection was reset while nginx still sent the request, or before nginx had read the answer that is
    in the service's log."""
    require_nginx_log(logs)
    since = judged_since(logs)
    entries = [
        (path, entry)
        for path, entry in of_this_site(nginx_entries(logs, *_HUNG_UP), nginx_config, target)
        if not is_of_earlier_worker(entry, since, logs)
        and (_WHILE_SENDING in own_words(entry.text) or _WHILE_READING in own_words(entry.text))
    ]
    for path, entry in reversed(entries):
        request = request_of(entry.text)
        answer = _answer_at(logs, request, entry.time)
        if answer is None and _WHILE_SENDING not in own_words(entry.text):
            continue  # an idle connection that the service closed just then
        if answer is not None and (_was_passed_on(logs, answer) or _has_raised(logs, answer)):
            continue
        own = service_traffic(logs)
        yield Finding(
            "NGX041",
            (
                quote(path, entry.text),
                *(
                    quote(own.path, line)
                    for line in (answer.newest[:1] if answer is not None else ())
                    if own is not None
                ),
            ),
            {
                "count": str(len(entries)),
                "request": f"{request.method} {request.path}" if request else "?",
                "status": answer.status if answer is not None else "?",
            },
        )
        return


def _has_raised(logs: Logs, answer: Answers) -> bool:
    """Whether the application raised for these requests: it did not read them to their end for that (APP020)."""
    return answer.status == "500" and any(
        names_path(raised.entry, answer.path)
        for log in service_logs(logs)
        for raised in raised_by_requests(log)
    )


def _was_passed_on(logs: Logs, answer: Answers) -> bool:
    """Whether nginx's access log has this very answer, and no failure of nginx for such requests: the answer came in
    before the reset."""
    statuses = {
        item.status
        for located in users_traffic(logs)
        for item in located.traffic.answers
        if (item.method, item.path) == (answer.method, answer.path)
    }
    return answer.status in statuses and not any(status >= "500" for status in statuses)


def _answer_at(logs: Logs, request: RequestInError | None, time: float) -> Answers | None:
    """The refusal (4xx, 5xx) of such a request in the service's log at about that time."""
    own = service_traffic(logs)
    if own is None or request is None:
        return None
    return next(
        (
            item
            for item in own.traffic.answers
            if (item.method, item.path) == request
            and item.status >= "400"
            and item.first - SAME_REQUEST <= time <= item.last + SAME_REQUEST
        ),
        None,
    )


@check(
    "nginx.header_limit",
    "NGX042",
    en="request lines and headers fit nginx's limits",
    zh="请求行和请求头没有超过 nginx 的上限",
)
def header_limit(logs: Logs, front: Front | NotSeen) -> Iterator[Finding]:
    """NGX042: nginx itself answered 414, 431 or 494, or 400 with its own page for headers that are too large."""
    own = service_traffic(logs)
    since = judged_since(logs)
    refusals = entries_with(logs.gunicorn_error, *TOO_LONG)
    if not all(is_of_earlier_worker(entry, since, logs) for entry in refusals):
        return  # APP022: gunicorn refuses them, and may not log them in its access log
    entries = nginx_entries(
        logs, "client sent too long URI", "client sent too long header line", "too large header"
    )
    for located in users_traffic(logs):
        for answers in located.answers("414", "400", "431", "494"):
            by_service = sum(item.count for item in (own.answers(answers.status) if own else ()))
            is_line = answers.status == "414"
            if by_service or any(address for address in answers.upstreams):
                continue
            if answers.status == "400" and not (entries or _is_header_page(answers, front)):
                continue
            yield Finding(
                "NGX042",
                (
                    *(quote(path, entry.text) for path, entry in entries[-1:]),
                    *(quote(located.path, line) for line in answers.newest[:1]),
                    quote(located.path, f"{answers.count} x {answers.status}"),
                ),
                {"count": str(answers.count), "status": answers.status},
                summary=_LINE if is_line else None,
            )
            return


_LINE = Text(
    en="nginx refused request lines (URLs) longer than a buffer of large_client_header_buffers with 414.",
    zh="请求行（URL）超过了 large_client_header_buffers 的单个缓冲区，nginx 返回 414。",
)


def _is_header_page(answers: Answers, front: Front | NotSeen) -> bool:
    """Whether these bodies are as long as nginx's page '400 Request Header Or Cookie Too Large'
    (ngx_http_special_response.c); its last line names the server as the Server header does."""
    if answers.sent is None or isinstance(front, NotSeen):
        return False
    exchanges = (front.plain, front.health, front.predict)
    names = {item.header("server") for item in exchanges if isinstance(item, Exchange)}
    lengths = {
        len(
            "<html>\r\n<head><title>400 Request Header Or Cookie Too Large</title></head>\r\n<body>\r\n"
            "<center><h1>400 Bad Request</h1></center>\r\n<center>Request Header Or Cookie Too Large</center>\r\n"
            f"<hr><center>{name}</center>\r\n</body>\r\n</html>\r\n"
        )
        for name in (names | {"nginx"}) - {""}
    }
    return bool(lengths & {answers.sent.least, answers.sent.median, answers.sent.most})


@check(
    "nginx.dead_server",
    "NGX043",
    en="every server of the upstream answers",
    zh="upstream 里的每台服务器都有应答",
)
def dead_server(
    logs: Logs,
    nginx_config: NginxConfig,
    target: Target,
    upstreams: Upstreams,
    backend: Backend,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX043: nginx distributes requests among several addresses, of which one does not take connections and others do:
    servers of an upstream, or the addresses of one name."""
    site = find_site(nginx_config, target.domain, target.backend)
    since = judged_since(logs)
    for proxy_pass in site.passes if site else ():
        half = _half_of_a_name(proxy_pass, host_names, logs)
        if half is not None:
            yield half
            return
        answers = {
            address: backend.health if address == target.backend else upstreams.answers.get(address)
            for address in proxy_pass.addresses
        }
        # Where there is no connection, nothing was asked.
        unreached = target.backend if backend.connection.failure not in _NO_PROOF else None
        dead = [
            a
            for a, x in answers.items()
            if a == unreached
            or (isinstance(x, Exchange) and x.failure not in (*_NO_PROOF, ProbeFailure.MALFORMED))
        ]
        alive = [a for a, x in answers.items() if isinstance(x, Exchange) and x.status is not None]
        if not dead or not alive:
            continue
        failed = [
            (path, entry)
            for path, entry in nginx_entries(logs, "")
            if not is_of_earlier_worker(entry, since, logs)
            and any(_names(entry.text, address) for address in dead)
        ]
        met = sum(item.count for located in users_traffic(logs)[:1] for item in located.answers("502", "504"))
        said = {a: backend.connection if a == unreached else answers[a] for a in dead}
        yield Finding(
            "NGX043",
            (
                *(
                    quote(a, "?" if x is None or isinstance(x, NotSeen) else x.detail or x.failure or "?")
                    for a, x in said.items()
                ),
                quote(
                    proxy_pass.where, f"proxy_pass {proxy_pass.written}: {', '.join(proxy_pass.addresses)}"
                ),
                *(quote(path, entry.text) for path, entry in failed[-1:]),
            ),
            {
                "address": dead[0],
                "dead": ", ".join(dead),
                "alive": ", ".join(alive),
                "count": str(len(failed)),
                "met": str(met),
            },
            severity=Severity.FAIL if met else Severity.WARN,
            subjects=tuple(dead),
        )
        return


def _half_of_a_name(proxy_pass: ProxyPass, host_names: HostNames | NotSeen, logs: Logs) -> Finding | None:
    """NGX043 for a name in proxy_pass or in an upstream with several addresses (localhost: 127.0.0.1 and ::1), of which
    one takes no connection.

    nginx tries them in turn. If one refuses, nginx logs an error and sends the request to the next; while that one
    fails too, the request ends in 502, because nginx leaves a server out for fail_timeout. A silent one costs
    proxy_connect_timeout."""
    dialled = {} if isinstance(host_names, NotSeen) else {c.address: c for c in host_names.dialled}
    for name, port, where in named_servers(proxy_pass):
        addresses = () if isinstance(host_names, NotSeen) else host_names.addresses.get(name, ())
        connections = [dialled[place] for ip in addresses if (place := join_address(ip, port)) in dialled]
        dead = [one for one in connections if one.failure not in _NO_PROOF]
        alive = [one.address for one in connections if one.failure is None]
        if not dead or not alive:
            continue
        since = judged_since(logs)
        failed = [
            (path, entry)
            for path, entry in nginx_entries(logs, "")
            if any(_names(entry.text, one.address) for one in dead)
            and not is_of_earlier_worker(entry, since, logs)
        ]
        met = sum(item.count for located in users_traffic(logs)[:1] for item in located.answers("502", "504"))
        is_silent = any(one.failure is ProbeFailure.TIMEOUT for one in dead)
        costs = (
            Text(
                en="nginx waits proxy_connect_timeout (60 s) for it before it tries the other",
                zh="nginx 要等满 proxy_connect_timeout（默认 60 秒）才会换另一个",
            )
            if is_silent
            else Text(
                en="nginx goes on to the other at once, and answers 502 (no live upstreams) while that one fails too",
                zh="nginx 会立即换另一个；另一个也失败时就返回 502（no live upstreams）",
            )
        )
        fixed = next((a for a in alive if not a.startswith("[")), alive[0])
        first = dead[0]
        return Finding(
            "NGX043",
            (
                quote(first.address, first.detail or str(first.failure)),
                quote(where, f"proxy_pass {proxy_pass.written}"),
                quote(f"getent ahosts {name}", ", ".join(addresses)),
                *(quote(path, entry.text) for path, entry in failed[-1:]),
            ),
            {
                "address": first.address,
                "dead": ", ".join(one.address for one in dead),
                "alive": ", ".join(alive),
                "count": str(len(failed)),
                "met": str(met),
            },
            severity=Severity.FAIL if met or is_silent else Severity.WARN,
            subjects=tuple(one.address for one in dead),
            summary=Text(
                en=f"{name} is {' and '.join(addresses)} to nginx, and {first.address} takes no connection: {costs.en}."
                f" nginx's log has {len(failed)} failed attempts; {met} requests ended in 502 or 504.",
                zh=f"{name} 在 nginx 看来是 {'、'.join(addresses)}，其中 {first.address} 连不上：{costs.zh}。"
                f"nginx 日志里有 {len(failed)} 次失败的尝试，{met} 个请求以 502 或 504 结束。",
            ),
            fix=(
                Text(
                    en=f"At {where} write the address that answers, {fixed}, in place of {name}:{port}; or have the"
                    f" service listen on every address of {name}",
                    zh=f"{where} 处把 {name}:{port} 改为能连上的地址 {fixed}；或者让服务监听 {name} 的每个地址",
                ),
            ),
        )
    return None


def _names(text: str, address: str) -> bool:
    match = _UPSTREAM.match(upstream(text))
    return match is not None and match[1] == address


@check(
    "nginx.replaced_errors",
    "NGX044",
    en="nginx passes the service's error answers on",
    zh="nginx 原样转发后端的错误响应",
)
def replaced_errors(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX044: proxy_intercept_errors and an error_page replace a status that the service gave to a call of its API."""
    own = service_traffic(logs)
    site = find_site(nginx_config, target.domain, target.backend)
    if site is None:
        return
    all_answers = (
        own.traffic.answers if own else tuple(a for t in users_traffic(logs) for a in t.traffic.answers)
    )
    for answers in all_answers:
        if answers.status < "400" or answers.status in _OWN_STATUSES or answers.method not in _CHANGING:
            continue
        location = site.server.location_for(answers.path)
        if location is None or location.value("proxy_intercept_errors") != "on":
            continue
        page = next((d for d in location.effective("error_page") if answers.status in d.args[:-1]), None)
        switch = location.effective("proxy_intercept_errors")[-1]
        if page is None:
            continue
        yield Finding(
            "NGX044",
            (
                quote(switch.where, "proxy_intercept_errors on;"),
                quote(page.where, f"error_page {' '.join(page.args)};"),
                *((quote(own.path, line) for line in answers.newest[:1]) if own else ()),
            ),
            {
                "status": answers.status,
                "count": str(answers.count),
                "path": f"{answers.method} {answers.path}",
                "where": switch.where,
            },
            fix=_not_intercepted(location, target),
        )
        return


def _not_intercepted(location: nginx_topology.Location, target: Target) -> tuple[str | Text, ...] | None:
    """The steps that switch the interception off only in the API's own location."""
    own, proxy_pass = location.first_own("proxy_intercept_errors"), location.first_own("proxy_pass")
    if own is not None:
        line = replaced_in_line(own.where, "proxy_intercept_errors on", "proxy_intercept_errors off")
    elif proxy_pass is not None:
        line = put_before_line(proxy_pass.where, "proxy_intercept_errors off;")
    else:
        return None
    return (line, target.test_nginx, target.reload_nginx)


@check(
    "nginx.critical", "NGX045", en="nginx's error log holds no critical line", zh="nginx 错误日志没有严重错误"
)
def critical(logs: Logs) -> Iterator[Finding]:
    """NGX045: [crit] or [alert] lines that no other check judges."""
    require_nginx_log(logs)
    file_entries = {item.entry for item in logs.refused_files}
    kinds = {(item.path.rpartition("/")[0], item.error) for item in logs.refused_files}
    since = judged_since(logs)
    entries: list[LocatedEntry] = [
        (path, entry)
        for path, entry in nginx_entries(logs, "")
        if entry.level in ("crit", "alert")
        # A worker that a signal ended is not one of the present workers.
        and ("exited on signal" in own_words(entry.text) or not is_of_earlier_worker(entry, since, logs))
        and not any(words in own_words(entry.text) for words in (*_NOISE, *_JUDGED_ELSEWHERE))
        and entry.text not in file_entries
        and not any(
            f"{directory}/" in message(entry.text) and f"({error}: " in own_words(entry.text)
            for directory, error in kinds
        )
    ]
    if not entries:
        return
    path, newest = entries[-1]
    yield Finding(
        "NGX045",
        tuple(quote(where, entry.text) for where, entry in entries[-3:]),
        {"count": str(len(entries)), "message": newest.text.partition("\n")[0][:160], "log": path},
    )


CHECKS = (files, unread_body, header_limit, dead_server, replaced_errors, critical)
