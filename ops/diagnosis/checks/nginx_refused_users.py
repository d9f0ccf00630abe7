"""Requests of users that never reach the application: the service refuses them as nginx sends them, or nginx refuses
them itself.

Sources: gunicorn (http/errors.py, http/message.py, http/wsgi.py: SCRIPT_NAME, secure_scheme_headers); nginx
documentation, ngx_http_core_module (limit_except, client_body_timeout), ngx_http_proxy_module (proxy_cache_valid)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import TOO_LONG, nginx_entries
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, NotJudgedError, Severity, check, quote
from ops.diagnosis.steps import (
    put_after_line,
    put_before_line,
    replaced_in_line,
    replaced_statement,
)
from ops.diagnosis.symptom_evidence import answer_words
from ops.facts.base import NotSeen
from ops.facts.logs import Log, LogEntry, Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx_error_line import message
from ops.interpret.site import find_site, scope_for
from ops.interpret.traffic import LocatedTraffic, general_path, judged_since, service_traffic, users_traffic
from ops.text.language import Text

# gunicorn/workers/base.py, handle_error: "Invalid request from ip=IP: REASON".
_INVALID = re.compile(r"Invalid request from ip=([^\s:]*): (.+)")
# gunicorn's default of secure_scheme_headers: their values must agree that the request came by TLS, or not.
_SCHEME_HEADERS = ("X-Forwarded-Proto", "X-Forwarded-Protocol", "X-Forwarded-Ssl")
_STANDARD_SCHEME_HEADER = "x-forwarded-proto"
_CONTRADICTION = "Contradictory scheme headers"
# Of so many requests none is an accident of one client.
_FEW = 3
# gunicorn answers with these what it cannot read, and what contradicts itself.
_REFUSALS = (400, 500)
# The doctor's request and gunicorn's line about it are at most so many seconds apart.
_AT_ONCE = 2.0
# Requests that only read: whoever may not send others may still send these.
_READING = ("GET", "HEAD")
# Those of an API. Only scanners send TRACE and the methods of WebDAV to one.
_OF_AN_API = ("POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_REFUSED_METHOD = ("403", "404", "405", "501")
# Old failures that nginx may give from its cache. It gives 502 and 504 itself; to keep a 404 is usual.
_CACHED = ("500", "503")
AFFECTED_SHARE = 0.1
_MAX_COMPUTED = 8
_MAX_LINES = 3
_DEFAULT_TIMEOUT = "60s"


@check(
    "nginx.refused_form",
    "NGX085",
    en="the service takes requests in the form in which nginx sends them",
    zh="后端接受 nginx 所发请求的形式",
)
def refused_form(
    logs: Logs,
    target: Target,
    nginx_config: NginxConfig,
    front: Front,
    backend: Backend | NotSeen,
) -> Iterator[Finding]:
    """NGX085: gunicorn refuses requests before the application sees them, and says why; it takes the doctor's own that
    nginx did not send."""
    log = logs.gunicorn_error
    if isinstance(log, NotSeen):
        raise NotJudgedError(log)
    answer = front.predict
    own = backend.predict if isinstance(backend, Backend) else None
    if not isinstance(answer, Exchange) or not isinstance(own, Exchange):
        return
    if answer.status not in _REFUSALS or own.status is None or own.status == answer.status:
        return
    since = judged_since(logs)
    asked = _times_of_the_doctor(answer.status, logs, target)
    refused = [
        (entry, reason, sent)
        for entry in log.entries
        if (match := _INVALID.search(entry.text))
        and not is_of_earlier_worker(entry, since, logs)
        and not any(words in match[2] for words in TOO_LONG)
        and (reason := match[2].partition("\n")[0].strip())
        and (
            # Scanners send such too: it is about what nginx adds, or about the doctor's own request.
            (sent := _sent_for(reason, nginx_config, target))
            or _CONTRADICTION in reason
            or "SCRIPT_NAME" in reason
            or any(abs(entry.time - time) <= _AT_ONCE for time in asked)
        )
    ]
    if not refused:
        return
    entry, reason, sent = refused[-1]
    yield Finding(
        "NGX085",
        (
            quote(f"{answer.method} {answer.url}", answer_words(answer)),
            quote(log.path, entry.text.partition("\n")[0]),
            *(quote(line.where, f"proxy_set_header {' '.join(line.args)}") for line in sent),
            quote(f"{own.method} {target.backend}{target.predict_path}", str(own.status)),
        ),
        {
            "reason": reason,
            "status": str(answer.status),
            "where": ", ".join(line.where for line in sent) or target.site_file or target.nginx_config_file,
        },
        fix=_form_steps(reason, sent, target),
    )


def _times_of_the_doctor(status: int, logs: Logs, target: Target) -> list[float]:
    """When nginx answered the doctor's own predictions with ``status``."""
    return [
        probe.time
        for located in users_traffic(logs)[:1]
        for probe in located.traffic.probes
        if (probe.method, probe.path, probe.status) == ("POST", target.predict_path, str(status))
    ]


def _sent_for(reason: str, config: NginxConfig, target: Target) -> tuple[Directive, ...]:
    """The proxy_set_header lines in force for predictions that a refusal's words are about: it names the header or the
    value, or speaks of the headers of the scheme."""
    site = find_site(config, target.domain, target.backend)
    if site is None:
        return ()
    scope = site.server.location_for(target.predict_path) or site.server
    lines = [line for line in scope.effective("proxy_set_header") if line.args]
    if _CONTRADICTION in reason:
        names = {name.lower() for name in _SCHEME_HEADERS}
        return tuple(line for line in lines if line.args[0].lower() in names)
    words = set(re.findall(r"[a-z0-9-]+", reason.lower().replace("_", "-")))
    return tuple(line for line in lines if line.args[0].lower().replace("_", "-") in words)


def _without_header(line: Directive) -> str:
    return replaced_statement(line.where, f"{line.name} {line.args[0]}", "")


def _form_steps(reason: str, sent: tuple[Directive, ...], target: Target) -> tuple[str | Text, ...] | None:
    reload = (target.test_nginx, target.reload_nginx)
    if _CONTRADICTION in reason:
        others = [line for line in sent if line.args[0].lower() != _STANDARD_SCHEME_HEADER]
        return (
            Text(
                en="Keep X-Forwarded-Proto alone: gunicorn expects ssl in X-Forwarded-Protocol and on in"
                " X-Forwarded-Ssl where X-Forwarded-Proto says https (its setting secure_scheme_headers)",
                zh="只保留 X-Forwarded-Proto：它为 https 时，gunicorn 要求 X-Forwarded-Protocol 为 ssl、"
                "X-Forwarded-Ssl 为 on（见其 secure_scheme_headers 设置）",
            ),
            *map(_without_header, reversed(others)),
            *reload,
        )
    if "SCRIPT_NAME" in reason:
        return (
            Text(
                en="SCRIPT_NAME must be the beginning of the path that nginx sends: either pass the whole path on"
                " (proxy_pass without a slash behind the address), or do not set it (a header here, or SCRIPT_NAME in"
                " the service's environment)",
                zh="SCRIPT_NAME 必须是 nginx 所发路径的开头：要么原样转发整个路径（proxy_pass 的地址后不带斜杠），"
                "要么不要设置它（这里的请求头，或服务环境变量里的 SCRIPT_NAME）",
            ),
            *map(_without_header, reversed(sent)),
            *reload,
        )
    if not sent:
        return None
    return (
        Text(
            en=f"Correct what nginx sends: {', '.join(line.where for line in sent)}",
            zh=f"改正 nginx 发送的内容：{', '.join(line.where for line in sent)}",
        ),
        *reload,
    )


class _Proof(NamedTuple):
    """Why nginx itself gives an answer: the evidence, the place, a sentence, and the steps. ``is_certain``: users
    miss what they had; else it may be meant."""

    evidence: tuple[Evidence, ...]
    where: str
    words: Text
    steps: tuple[str | Text, ...]
    is_certain: bool = True


@check(
    "nginx.refused_users",
    "NGX086",
    en="nginx lets users' requests through to the service",
    zh="nginx 把用户的请求转给了后端",
)
def refused_users(
    logs: Logs,
    target: Target,
    nginx_config: NginxConfig,
    host_names: HostNames | NotSeen,
    nginx_test: NginxTest | NotSeen,
    front: Front | NotSeen,
) -> Iterator[Finding]:
    """NGX086: nginx answers users itself (its access log has answers that the service's does not): a method that it
    does not let through, a body for which it did not wait, an old error from its cache."""
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return  # nginx runs another configuration
    own = service_traffic(logs)
    if own is None:
        return  # what the service answered is not known
    for located in users_traffic(logs)[:1]:
        refused = list(_refused_kinds(located, own, logs, target, nginx_config, host_names, front))
        # What a scanner may have asked for does not stand before what users miss.
        for item, given, total, proof in sorted(refused, key=lambda kind: not kind.proof.is_certain)[:1]:
            yield Finding(
                "NGX086",
                (
                    quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                    *(quote(located.path, line) for line in item.newest[:1]),
                    *_logged(item, logs),
                    Evidence(
                        own.path,
                        Text(
                            en=f"{item.count - given} of them: nginx gave the others itself",
                            zh=f"其中 {item.count - given} 个；其余是 nginx 自己返回的",
                        ),
                    ),
                    *proof.evidence,
                ),
                {
                    "count": str(given),
                    "total": str(total),
                    "request": f"{item.method} {item.path}",
                    "status": item.status,
                    "where": proof.where,
                    "why": proof.words,
                    "path": item.path,
                    "method": item.method,
                },
                severity=Severity.FAIL if proof.is_certain and 2 * given >= total else Severity.WARN,
                fix=(*proof.steps, target.test_nginx, target.reload_nginx),
            )


class _Refused(NamedTuple):
    """Requests of one kind that nginx answers itself: ``given`` times of ``total``."""

    item: Answers
    given: int
    total: int
    proof: _Proof


def _refused_kinds(
    located: LocatedTraffic,
    own: LocatedTraffic,
    logs: Logs,
    target: Target,
    config: NginxConfig,
    host_names: HostNames | NotSeen,
    front: Front | NotSeen,
) -> Iterator[_Refused]:
    computed = 0
    everything = sum(item.count for item in located.traffic.answers)
    for item in located.traffic.answers:
        given = item.count - _given_by_service(item, own)
        total = located.total_like(item)
        if given < _FEW or given < AFFECTED_SHARE * total:
            continue
        is_closed = item.status in _REFUSED_METHOD and item.method in _OF_AN_API
        is_cached = item.status in _CACHED and item.method in _READING
        if is_closed or is_cached:
            computed += 1
            if computed > _MAX_COMPUTED:
                return
        proof = None
        # Some clients always go away in the middle: so many of all requests are more than those.
        if item.status == "408" and given >= AFFECTED_SHARE * everything:
            proof = _impatience(item, config, target)
        elif is_closed:
            is_known = _is_served(item, own) or _is_served(item, located)
            proof = _closed_method(item, config, target, host_names, is_known=is_known)
        elif item.method == "OPTIONS" and item.status == "401":
            proof = _locked_preflight(item, own, config, target)
        elif item.status == "400":
            proof = _plain_at_tls(item, own, config, target, _signatures(config, front))
        elif is_cached:
            proof = _cached_error(item, own, logs, config, target, host_names)
        if proof is not None:
            yield _Refused(item, given, total, proof)


def _given_by_service(item: Answers, own: LocatedTraffic) -> int:
    same = (item.method, item.path, item.status)
    return sum(a.count for a in own.traffic.answers if (a.method, a.path, a.status) == same)


def _is_served(item: Answers, located: LocatedTraffic) -> bool:
    """Whether the log has such requests that were answered."""
    same = (item.method, item.path)
    return any((a.method, a.path) == same and "200" <= a.status < "400" for a in located.traffic.answers)


def _logged(item: Answers, logs: Logs) -> Iterator[Evidence]:
    """Quote nginx's own line about the newest of these requests, if it wrote one."""
    for path, log in logs.nginx_errors.items():
        if not isinstance(log, Log):
            continue
        near = [entry for entry in log.entries if _is_about(entry, item)]
        if near:
            yield quote(path, near[-1].text.partition("\n")[0])
            return


def _is_about(entry: LogEntry, item: Answers) -> bool:
    return abs(entry.time - item.last) <= 2.0 and f'request: "{item.method} ' in entry.text


def _closed_method(
    item: Answers, config: NginxConfig, target: Target, host_names: HostNames | NotSeen, *, is_known: bool
) -> _Proof | None:
    """nginx's rules refuse this method at the path and pass GET on. ``is_known``: the service answers it there; else
    the rule may well be meant."""
    if not is_known and item.path != target.predict_path and _is_tried_by_scanners(item.path):
        return None
    from ops.interpret.routing.model import StepKind
    from ops.interpret.routing.request import probe_route

    path = item.path.replace("*", "1")
    if item.status == "405" and (kept := _sent_to_a_file(item, path, config, target, host_names)):
        return kept
    route = probe_route(config, target, host_names, item.method, path)
    decision = route.decision
    if decision is None or decision.kind not in (StepKind.ACCESS, StepKind.RETURN):
        return None
    if str(decision.status) != item.status or not decision.where:
        return None
    if probe_route(config, target, host_names, "GET", path).outcome.passed is None:
        return None
    # The list of methods (limit_except) stands before what it closes; both are shown.
    steps = [
        step
        for step in route.steps
        if step.where and step.kind in (StepKind.IF, StepKind.ACCESS, StepKind.RETURN)
    ]
    scope = scope_for(config, target, path)
    lists = [line for line in (scope.own("limit_except") if scope else ()) if item.method not in line.args]
    where = lists[0].where if lists else decision.where
    return _Proof(
        (
            *(quote(line.where, f"limit_except {' '.join(line.args)}") for line in lists[:1]),
            *(Evidence(step.where, step.words) for step in steps[-2:]),
        ),
        where,
        Text(
            en=f"{where} lets no {item.method} through, and GET for the same path",
            zh=f"{where} 不放行 {item.method}，而同一路径的 GET 放行",
        ),
        (
            Text(
                en=f"If clients of the API need {item.method}, name it there: {where}",
                zh=f"如果 API 的客户端需要 {item.method}，就在此处放行：{where}",
            ),
            *((replaced_in_line(where, "limit_except", f"limit_except {item.method}"),) if lists else ()),
        ),
        is_known,
    )


def _sent_to_a_file(
    item: Answers, path: str, config: NginxConfig, target: Target, host_names: HostNames | NotSeen
) -> _Proof | None:
    """try_files finds a file for the path, to which nginx takes no POST (ngx_http_static_module: 405); without the file
    the request would go to the service."""
    from ops.interpret.routing.model import FileKind, StepKind
    from ops.interpret.routing.request import probe_route

    without = probe_route(config, target, host_names, item.method, path)
    route = probe_route(config, target, host_names, item.method, path, assumed_file=FileKind.FILE)
    tries = [step for step in route.steps if step.where and step.kind is StepKind.TRY_FILES]
    if without.outcome.passed is None or route.outcome.status != 405 or not tries:
        return None
    where = tries[-1].where
    scope = scope_for(config, target, path)
    line = next(iter(scope.effective("try_files")[-1:] if scope else ()), None)
    last = line.args[-1] if line and line.where == where else ""
    return _Proof(
        tuple(Evidence(step.where, step.words) for step in tries[-1:]),
        where,
        Text(
            en=f"try_files at {where} finds a file for {item.path}, and nginx takes no {item.method} to a file",
            zh=f"{where} 的 try_files 为 {item.path} 找到了文件，而 nginx 不接受对文件的 {item.method}",
        ),
        (
            Text(
                en=f"Let what is no GET pass the file by: error_page 405 = {last or '@SERVICE'}; beside try_files at"
                f" {where}, or a location of its own for {item.path}",
                zh=f"让 GET 以外的请求绕过文件：在 {where} 的 try_files 旁写 error_page 405 = {last or '@SERVICE'};，"
                f"或给 {item.path} 单独写一个 location",
            ),
            *(
                (replaced_in_line(where, "try_files", f"error_page 405 = {last}; try_files"),)
                if last[:1] == "@"
                else ()
            ),
        ),
        not _is_tried_by_scanners(item.path),
    )


def _locked_preflight(
    item: Answers, own: LocatedTraffic, config: NginxConfig, target: Target
) -> _Proof | None:
    """nginx wants a password of a browser's first question, with which a browser sends none (Fetch standard,
    CORS-preflight fetch: without credentials)."""
    scope = scope_for(config, target, item.path)
    locks = [
        line
        for name in ("auth_basic", "auth_request")
        for line in (scope.effective(name)[-1:] if scope else ())
        if line.args[:1] != ("off",)
    ]
    if not locks or _is_tried_by_scanners(item.path):
        return None
    lock = locks[0]
    passes = scope.effective("proxy_pass") if scope else ()
    beside = passes[-1].where if passes else lock.where
    return _Proof(
        (quote(lock.where, lock.written),),
        lock.where,
        Text(
            en=f"{lock.name} at {lock.where} asks browsers for a password before they may ask (OPTIONS); they send none"
            " with that question, and so never come to the request itself",
            zh=f"{lock.where} 的 {lock.name} 对浏览器的预检请求（OPTIONS）也要密码；"
            "而浏览器的预检从不带凭据，真正的请求就发不出来",
        ),
        (
            Text(
                en="Let OPTIONS through: the service answers it, if it knows CORS, with auth_basic inside limit_except"
                " OPTIONS { ... }; else nginx answers it itself:",
                zh="放行 OPTIONS：应用支持 CORS 时，把 auth_basic 写进 limit_except OPTIONS { ... }，由应用应答；"
                "否则由 nginx 自己应答：",
            ),
            put_before_line(beside, "if ($request_method = OPTIONS) { return 204; }"),
        ),
        item.path == target.predict_path and _are_of_browsers(item) and not _passes_otherwise(item, own),
    )


# ngx_http_special_response.c: what nginx answers to a request without TLS at a port with ssl (its own status 497).
_PLAIN_PAGE = (
    "<html>\r\n<head><title>400 The plain HTTP request was sent to HTTPS port</title></head>\r\n<body>\r\n"
    "<center><h1>400 Bad Request</h1></center>\r\n"
    "<center>The plain HTTP request was sent to HTTPS port</center>\r\n"
    "<hr><center>{}</center>\r\n</body>\r\n</html>\r\n"
)
# msie_padding: six such lines more, for MSIE and Chrome.
_PADDING = 6 * len("<!-- a padding to disable MSIE and Chrome friendly error page -->\r\n")
# Scanners ask in the clear too, for many paths a few times each.
_MANY = 5


def _signatures(config: NginxConfig, front: Front | NotSeen) -> set[str]:
    """The names that nginx may sign its pages with: without and with its version, with the name of its build (Ubuntu's
    does always), and what its answers say (Server)."""
    answers = (front.plain, front.health, front.predict) if isinstance(front, Front) else ()
    said = {answer.header("server") for answer in answers if isinstance(answer, Exchange)}
    version = f"nginx/{config.version}"
    return {"nginx", version, f"{version} (Ubuntu)", *(name for name in said if name.startswith("nginx"))}


def _plain_at_tls(
    item: Answers, own: LocatedTraffic, config: NginxConfig, target: Target, signatures: set[str]
) -> _Proof | None:
    """Clients speak plain HTTP to the port for HTTPS: nginx logs it at level info alone, and its answer is told from
    other refusals by its length."""
    is_known = _is_served(item, own) or item.path in (target.health_path, target.predict_path)
    if item.sent is None or (not is_known and item.count < _MANY) or _is_tried_by_scanners(item.path):
        return None
    lengths = {len(_PLAIN_PAGE.format(name)) + more for name in signatures for more in (0, _PADDING)}
    site = find_site(config, target.domain, target.backend)
    line = next((d for d in (site.server.own("listen") if site else ()) if "ssl" in d.args), None)
    if not {item.sent.least, item.sent.most} <= lengths or line is None or site is None:
        return None
    target_url = f"https://{target.url.partition('://')[2].rstrip('/')}$request_uri"
    return _Proof(
        (
            quote(line.where, f"listen {' '.join(line.args)}"),
            Evidence(
                line.where,
                Text(
                    en=f"{item.sent.median:g} bytes: nginx's page of its status 497, 'The plain HTTP request was sent"
                    " to HTTPS port'",
                    zh=f"{item.sent.median:g} 字节：nginx 状态 497 的页面"
                    "（The plain HTTP request was sent to HTTPS port）",
                ),
            ),
        ),
        line.where,
        Text(
            en=f"these clients speak plain HTTP to the port for HTTPS ({line.where})",
            zh=f"这些客户端用明文 HTTP（plain HTTP）访问 HTTPS 端口（{line.where}）",
        ),
        (
            Text(
                en="Have them use https:// (a balancer that ends TLS: have it speak TLS to this port, or send it to a"
                " port without ssl). nginx can send browsers there itself:",
                zh="让它们改用 https://（终结 TLS 的负载均衡：让它对这个端口也用 TLS，或转到不带 ssl 的端口）。"
                "浏览器可由 nginx 自己跳转：",
            ),
            put_after_line(line.where, f"error_page 497 {target_url};"),
        ),
        False,
    )


# The end of a line in nginx's format combined: a page's address, and the agent that every browser names.
_OF_A_PAGE = re.compile(r'"https?://[^"]*" "Mozilla/')


def _are_of_browsers(item: Answers) -> bool:
    """Whether a page of a browser asked. Scanners and curl send OPTIONS too, and users of neither miss anything."""
    return any(_OF_A_PAGE.search(line) for line in item.newest)


def _passes_otherwise(item: Answers, own: LocatedTraffic) -> bool:
    """Whether the service answers other methods at the path: whoever has the password comes to it."""
    return any(
        a.path == item.path and a.method != "OPTIONS" and a.status < "400" for a in own.traffic.answers
    )


def _is_tried_by_scanners(path: str) -> bool:
    """Whether it is the root or a file: an API's paths are neither."""
    return path == "/" or "." in path.rpartition("/")[2]


def _impatience(item: Answers, config: NginxConfig, target: Target) -> _Proof | None:
    """nginx gave up waiting for the body or the headers."""
    scope = scope_for(config, target, item.path)
    lines = [
        line
        for name in ("client_body_timeout", "client_header_timeout")
        for line in (scope.effective(name) if scope else ())
    ]
    written = (
        f"{lines[0].name} {' '.join(lines[0].args)}" if lines else f"client_body_timeout {_DEFAULT_TIMEOUT}"
    )
    where = lines[0].where if lines else target.site_file or target.nginx_config_file
    return _Proof(
        (quote(where, written),),
        where,
        Text(
            en=f"the client did not send anything for as long as {written} allows",
            zh=f"客户端在 {written} 允许的时间内没有再发送数据",
        ),
        (
            Text(
                en="Give slow uploads more time: a phone on the move stops for many seconds",
                zh="给慢速上传多留时间：移动中的手机可能停顿很多秒",
            ),
            *((replaced_statement(where, lines[0].name, f"{lines[0].name} 120s;"),) if lines else ()),
        ),
        False,
    )


def _cached_error(
    item: Answers,
    own: LocatedTraffic,
    logs: Logs,
    config: NginxConfig,
    target: Target,
    host_names: HostNames | NotSeen,
) -> _Proof | None:
    """nginx's cache keeps such failures for this path, and the service gave fewer of them."""
    from ops.interpret.routing.request import probe_route

    scope = scope_for(config, target, item.path)
    zones = [line for line in (scope.effective("proxy_cache") if scope else ()) if line.args[:1] != ("off",)]
    if scope is None or not zones:
        return None
    kept = [
        line
        for line in scope.effective("proxy_cache_valid")
        if len(line.args) > 1 and {"any", item.status} & set(line.args[:-1])
    ]
    if not kept:
        return None
    # nginx gives both itself too: 503 by a rule of the site, and 500 with a line in its error log.
    if not _given_by_service(item, own) and (item.status == "503" or any(_logged(item, logs))):
        return None
    passed = probe_route(config, target, host_names, item.method, item.path.replace("*", "1")).outcome.passed
    if passed is None or general_path(passed.uri) != item.path:
        return None  # nginx decides, or the service's log has these requests under another path
    beside = kept[-1]
    where = beside.where
    return _Proof(
        (quote(where, beside.written),),
        where,
        Text(
            en=f"{where} keeps this answer in nginx's cache ({beside.written}), and the service"
            f" gave it only {_given_by_service(item, own)} times",
            zh=f"{where} 让这个响应留在 nginx 缓存里（{beside.written}），"
            f"而后端只返回过 {_given_by_service(item, own)} 次",
        ),
        (
            Text(
                en=f"Keep good answers alone (proxy_cache_valid 200 ...; at {where}), and empty the cache"
                f" (the directory of proxy_cache_path for {zones[-1].args[0]})",
                zh=f"只缓存成功的响应（在 {where} 写 proxy_cache_valid 200 ...;），并清空缓存"
                f"（{zones[-1].args[0]} 的 proxy_cache_path 目录）",
            ),
            replaced_statement(where, "proxy_cache_valid", f"proxy_cache_valid 200 {beside.args[-1]};"),
        ),
    )


# ngx_proxy_protocol.c: a connection began with other bytes than the PROXY line. One that only connects sends none.
_NO_PROXY_LINE = re.compile(r'broken header: "(?!")')
_PROXY_PROTOCOL = "while reading PROXY protocol"


@check(
    "nginx.proxy_line",
    "NGX087",
    en="whoever connects sends the PROXY line that nginx expects",
    zh="连接方会发送 nginx 要求的 PROXY 行",
)
def proxy_line(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX087: nginx expects the line of a balancer (listen ... proxy_protocol), clients connect without it, and no user
    was served since nginx was started."""
    since = judged_since(logs)
    broken = [
        (path, entry)
        for path, entry in nginx_entries(logs, "broken header: ")
        if _NO_PROXY_LINE.match(message(entry.text))
        and _PROXY_PROTOCOL in entry.text
        and not is_of_earlier_worker(entry, since, logs)
    ]
    site = find_site(nginx_config, target.domain, target.backend)
    lines = [line for line in (site.server.own("listen") if site else ()) if "proxy_protocol" in line.args]
    served = sum(item.count for located in users_traffic(logs) for item in located.traffic.answers)
    if len(broken) < _FEW or not lines or served:
        return
    path, entry = broken[-1]
    where = lines[-1].where
    yield Finding(
        "NGX087",
        (
            quote(path, f"{entry.text.partition(chr(10))[0][:60]} ... {_PROXY_PROTOCOL}"),
            *(quote(line.where, f"listen {' '.join(line.args)}") for line in lines[:_MAX_LINES]),
        ),
        {"count": str(len(broken)), "where": where},
        fix=(
            Text(
                en="If a balancer is in front, have it send the PROXY protocol to this port. If clients come directly"
                f" now, take proxy_protocol out of the listen lines ({', '.join(line.where for line in lines)}):",
                zh="如果前面有负载均衡，让它对这个端口发送 PROXY 协议；如果客户端现在直接连接，"
                f"就从 listen 行去掉 proxy_protocol（{', '.join(line.where for line in lines)}）：",
            ),
            *(replaced_in_line(line.where, " proxy_protocol", "") for line in lines),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


CHECKS = (refused_form, refused_users, proxy_line)
