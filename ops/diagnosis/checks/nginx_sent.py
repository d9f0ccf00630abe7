"""The host, the query and the headers that reach the service.

Sources: nginx documentation, ngx_http_proxy_module (proxy_set_header, proxy_pass), ngx_http_rewrite_module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.checks.probed_prediction import leads_to_service, probed_prediction
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import (
    put_after_line,
    put_before_line,
    replaced_argument,
    replaced_in_line,
    replaced_statement,
)
from ops.diagnosis.symptom_evidence import answer_words
from ops.facts.base import NotSeen
from ops.facts.files import Environment
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.facts.traffic import Answers, WebSocketRoute
from ops.interpret.gunicorn import process_of
from ops.interpret.nginx import Scope, default_server, every, servers
from ops.interpret.nginx_error_line import message, request_of
from ops.interpret.service_name import asks_for_key
from ops.interpret.site import find_site, scope_for
from ops.interpret.traffic import LocatedTraffic, general_path, users_traffic
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.diagnosis.checks.probed_prediction import ProbedPrediction
    from ops.interpret.routing.model import Header, RequestRoute

# Answers of applications to a host that they do not serve: Django and Starlette 400, Flask (SERVER_NAME) and others
# 404, HTTP servers 421 (RFC 9110, 15.5.20).
_REFUSE_A_HOST = (400, 403, 404, 421)
# Their answers to a request without its parameters.
_REFUSE_PARAMETERS = ("400", "422", "500")
_MAX_COMPUTED = 8
# A service that does not know who asks; and servers and frameworks, of a WebSocket's handshake without Upgrade.
_NO_ACCESS = ("401", "403")
_NO_HANDSHAKE = ("400", "404", "405", "426", "500")
# So many requests, all refused, are no slip of one client.
_FEW = 3
# Replaces the client's query; nginx would not change any of it.
_QUERY = "gte=1"


@check(
    "nginx.sent_host",
    "NGX080",
    en="the service gets the host that was asked for",
    zh="后端收到的 Host 与请求的一致",
)
def sent_host(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NGX080: the service refuses the request that nginx sends with another Host, and predicts if it gets the site's
    own."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None or not probed.is_served or probed.answer.status not in _REFUSE_A_HOST:
        return
    computed = probed.route()
    proxy_pass = computed.outcome.passed
    if (
        proxy_pass is None
        or proxy_pass.scheme not in ("http", "https")
        or not leads_to_service(proxy_pass.servers, target)
        or proxy_pass.uri.partition("?")[0] != probed.path
    ):
        return
    line = _service_s_line(logs, probed.answer, probed.path)
    if line is None and _is_nginx_s_page(probed.answer):
        return
    if _name(proxy_pass.host) == target.domain.lower():
        second = next((h for h in proxy_pass.headers if h.where and _tells_another_host(h, target)), None)
        if second is not None:
            yield _told_twice(second, probed, line, target)
        return
    scope = scope_for(nginx_config, target, probed.path)
    yield Finding(
        "NGX080",
        (
            probed.seen(),
            *((line,) if line is not None else ()),
            Evidence(
                proxy_pass.where,
                Text(
                    en=f"{proxy_pass.directive} {proxy_pass.written}: the service gets Host {proxy_pass.host}",
                    zh=f"{proxy_pass.directive} {proxy_pass.written}：后端收到的 Host 是 {proxy_pass.host}",
                ),
            ),
            probed.behind(),
        ),
        {
            "sent": proxy_pass.host,
            "status": str(probed.answer.status),
            "where": next(
                (h.where for h in proxy_pass.headers if h.name.lower() == "host" and h.where),
                proxy_pass.where,
            ),
        },
        fix=(*_host_edit(scope, proxy_pass.where), target.test_nginx, target.reload_nginx),
    )


# What frameworks may believe instead of Host (Django: USE_X_FORWARDED_HOST; werkzeug: ProxyFix, x_host).
_SECOND_HOSTS = ("x-forwarded-host", "x-original-host", "x-host")


def _tells_another_host(header: Header, target: Target) -> bool:
    if header.name.lower() not in _SECOND_HOSTS:
        return False
    if header.value is None:
        return header.written not in ("$host", "$http_host", "${host}", "${http_host}")
    return bool(header.value) and _name(header.value.partition(",")[0].strip()) != target.domain.lower()


def _told_twice(header: Header, probed: ProbedPrediction, line: Evidence | None, target: Target) -> Finding:
    sent = header.value or header.written
    return Finding(
        "NGX080",
        (
            probed.seen(),
            *((line,) if line is not None else ()),
            quote(header.where, f"proxy_set_header {header.name} {header.written}"),
            probed.behind(),
        ),
        {"sent": sent, "status": str(probed.answer.status), "where": header.where},
        summary=Text(
            en=f"nginx tells the service two hosts: Host is {target.domain}, {header.name} is {sent}"
            f" ({header.where}), and the service answers {probed.answer.status}.",
            zh=f"nginx 告诉服务两个不同的主机名：Host 是 {target.domain}，{header.name} 是 {sent}（{header.where}），"
            f"服务返回 {probed.answer.status}。",
        ),
        fix=(
            replaced_argument(header.where, header.written, "$host"),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


def _name(host: str) -> str:
    """A Host header's name, without its port."""
    name, _, port = host.lower().rpartition(":")
    return name if port.isdecimal() and name else host.lower()


def _service_s_line(logs: Logs | NotSeen, answer: Exchange, path: str) -> Evidence | None:
    """The line of the service's access log which shows that the service gave the probe this answer."""
    log = None if isinstance(logs, NotSeen) else logs.gunicorn_access
    if not isinstance(log, AccessLog) or log.traffic is None:
        return None
    status = str(answer.status)
    own = [p for p in log.traffic.probes if (p.method, p.path, p.status) == (answer.method, path, status)]
    return quote(log.path, own[-1].line) if own else None


def _is_nginx_s_page(answer: Exchange) -> bool:
    """Whether nginx made this page itself (ngx_http_special_response.c): its last line names the server."""
    return "<hr><center>" in answer.body and "nginx" in answer.body.rpartition("<hr><center>")[2]


def _host_edit(scope: Scope | None, proxy_pass: str) -> tuple[str, ...]:
    """The command that makes nginx send the client's Host. It edits the block whose proxy_set_header directives are in
    force, because one in an inner block would disable all of them."""
    headers = scope.effective("proxy_set_header") if scope is not None else ()
    wrong = next((d for d in headers if d.args and d.args[0].lower() == "host" and len(d.args) == 2), None)
    if wrong is not None:
        return (replaced_in_line(wrong.where, wrong.args[1], "$host"),)
    first: Directive | None = next(iter(headers), None)
    place = first.where if first is not None else proxy_pass
    return (put_before_line(place, "proxy_set_header Host $host;"),)


@check(
    "nginx.sent_query",
    "NGX081",
    en="the service gets the query of a request",
    zh="后端能收到请求的查询参数",
)
def sent_query(
    nginx_config: NginxConfig,
    target: Target,
    logs: Logs,
    host_names: HostNames | NotSeen,
    nginx_test: NginxTest | NotSeen,
) -> Iterator[Finding]:
    """NGX081: requests with a query get an answer for missing parameters, because nginx removes the query."""
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return
    computed = 0
    for located in users_traffic(logs):
        for answers in located.answers(*_REFUSE_PARAMETERS):
            with_query = next((line for line in answers.newest if _has_query(line, answers)), None)
            if with_query is None or computed >= _MAX_COMPUTED:
                continue
            computed += 1
            loss = _lost(nginx_config, target, host_names, answers)
            if loss is None:
                continue
            total = located.total_like(answers)
            request = f"{answers.path}?{_QUERY}"
            yield Finding(
                "NGX081",
                (
                    quote(located.path, with_query),
                    quote(
                        located.path, f"{answers.count} x {answers.method} {answers.path} {answers.status}"
                    ),
                    Evidence(
                        loss.where,
                        Text(
                            en=f"{loss.statement}: of {answers.method} {request} the service gets {loss.uri}",
                            zh=f"{loss.statement}：{answers.method} {request} 到后端变成 {loss.uri}",
                        ),
                    ),
                ),
                {
                    "count": str(answers.count),
                    "total": str(total),
                    "path": answers.path,
                    "method": answers.method,
                    "asked": request,
                    "where": loss.where,
                    "status": answers.status,
                },
                severity=Severity.FAIL if 2 * answers.count >= total else Severity.WARN,
                fix=(*loss.fix, target.test_nginx, target.reload_nginx),
            )
            return


def _has_query(line: str, answers: Answers) -> bool:
    """Whether a kept line (its query is cut off after the ``?``) is of a request with a query."""
    return "?" in line.partition(f"{answers.method} ")[2].partition(" ")[0]


class _LostQuery(NamedTuple):
    """A removed query: the place (``file:line``), the directive there, the URI that the service gets, and the fix."""

    where: str
    statement: str
    uri: str
    fix: tuple[str | Text, ...]


def _lost(
    config: NginxConfig, target: Target, host_names: HostNames | NotSeen, answers: Answers
) -> _LostQuery | None:
    from ops.interpret.routing.model import StepKind
    from ops.interpret.routing.request import probe_route

    route: RequestRoute = probe_route(config, target, host_names, answers.method, f"{answers.path}?{_QUERY}")
    proxy_pass = route.outcome.passed
    if proxy_pass is None or proxy_pass.scheme not in ("http", "https") or _QUERY in proxy_pass.uri:
        return None
    if "$" in proxy_pass.written.partition("://")[2].partition("/")[2]:
        fixed = f"{proxy_pass.written}$is_args$args"
        return _LostQuery(
            proxy_pass.where,
            f"{proxy_pass.directive} {proxy_pass.written}",
            proxy_pass.uri,
            (replaced_in_line(proxy_pass.where, f"{proxy_pass.written};", f"{fixed};"),),
        )
    rewrites = [step for step in route.steps if step.kind is StepKind.REWRITE]
    if not rewrites:
        return None
    where = rewrites[-1].where
    steps: tuple[str | Text, ...] = (
        Text(
            en=f"Take the question mark from the end of the replacement at {where}: it drops the query",
            zh=f"去掉 {where} 替换串末尾的问号：有它时 nginx 会丢掉查询参数",
        ),
    )
    rewrite = next((d for d in every(config, "rewrite") if d.where == where), None)
    replacement = rewrite.args[1] if rewrite is not None and len(rewrite.args) > 1 else ""
    if replacement.endswith("?"):
        steps += (replaced_in_line(where, replacement, replacement[:-1]),)
    return _LostQuery(where, rewrites[-1].words.en, proxy_pass.uri, steps)


@check(
    "nginx.sent_headers",
    "NGX082",
    en="the headers that the application needs reach it",
    zh="应用需要的请求头能到达应用",
)
def sent_headers(
    nginx_config: NginxConfig,
    target: Target,
    logs: Logs,
    front: Front | NotSeen,
    backend: Backend | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    processes: Processes | NotSeen,
    environment: Environment | NotSeen,
) -> Iterator[Finding]:
    """NGX082: every request for a path is refused, and a header that the application needs for it is lost on the way:
    nginx empties, replaces or drops it, or gunicorn drops it, or a WebSocket's Upgrade is not passed on."""
    ignored = _ignored_headers(logs)
    routes = _refused_routes(logs, front, backend, target, nginx_config, frozenset(ignored))
    for route in (*routes, *_refused_handshakes(logs)):
        from ops.diagnosis.lost_headers import ProxiedService, lost_header, lost_upgrade

        if route.declared is not None:
            lost = lost_upgrade(nginx_config, target, route.path, route.declared)
        else:
            master = None if isinstance(processes, NotSeen) else process_of(processes, target.gunicorn_master)
            version = "" if isinstance(environment, NotSeen) else environment.packages.get("gunicorn", "")
            service = ProxiedService(master, gunicorn, version)
            entry = ignored.get((route.method, route.path))
            name = entry[0] if entry else None
            lost = lost_header(nginx_config, target, route.path, route.answer, service, name)
        if lost is None:
            continue
        yield Finding(
            "NGX082",
            (
                *route.evidence,
                *(
                    quote(entry[1], entry[2])
                    for entry in (ignored.get((route.method, route.path)),)
                    if entry and entry[0] == lost.name
                ),
                *lost.evidence,
            ),
            {
                "method": route.method,
                "path": route.path,
                "statuses": route.statuses,
                "header": lost.name,
                "why": lost.words,
            },
            fix=lost.steps,
            kind=lost.kind,
        )
        return


# ngx_http_process_request_headers, at level info: nginx goes on without the header.
_INVALID_HEADER = re.compile(r'client sent invalid header line: "([A-Za-z0-9]+_[\w-]*):')


def _ignored_headers(logs: Logs) -> dict[tuple[str, str], tuple[str, str, str]]:
    """The headers with an underscore that nginx left out, by the requests' method and path: the name, the log, the
    line."""
    ignored = {}
    for path, entry in nginx_entries(logs, "client sent invalid header line"):
        match, request = _INVALID_HEADER.match(message(entry.text)), request_of(entry.text)
        if match and request:
            place = request.method, general_path(request.path)
            # The value may be a key.
            ignored[place] = match[1], path, f'client sent invalid header line: "{match[1]}: ..."'
    return ignored


class _RefusedRoute(NamedTuple):
    """A path for which every request is refused. ``answer``: the service's refusal of the doctor's own; ``declared``:
    the WebSocket route that the application has there."""

    method: str
    path: str
    statuses: str
    evidence: tuple[Evidence, ...]
    answer: Exchange | None = None
    declared: WebSocketRoute | None = None


def _refused_routes(
    logs: Logs,
    front: Front | NotSeen,
    backend: Backend | NotSeen,
    target: Target,
    config: NginxConfig,
    ignored: frozenset[tuple[str, str]],
) -> Iterator[_RefusedRoute]:
    """The prediction's path if users or the doctor are refused there; then paths of whose location half is refused, and
    those of whose requests nginx left a header out (``ignored``)."""
    own = None if isinstance(front, NotSeen) else front.predict
    answer = own if isinstance(own, Exchange) and str(own.status) in _NO_ACCESS else None
    behind = backend.predict if isinstance(backend, Backend) else None
    is_own_header_lost = answer is not None and bool(answer.private_headers) and _is_served(behind)
    refusals = {
        (item.method, item.path): (located, item)
        for located in users_traffic(logs)[:1]
        for item in located.answers(*_NO_ACCESS)
        if item.count >= _FEW and item.count == located.total_like(item)
    }
    at_predict = refusals.pop(("POST", target.predict_path), None)
    # Without a key the doctor is refused where users may not be.
    if at_predict is not None or is_own_header_lost or (answer is not None and not asks_for_key(answer)):
        probe_evidence = () if answer is None else (quote(f"POST {answer.url}", answer_words(answer)),)
        evidence = (*probe_evidence, *(_counted(*at_predict) if at_predict else ()))
        status = str(answer.status) if answer is not None else at_predict[1].status if at_predict else "?"
        yield _RefusedRoute("POST", target.predict_path, status, evidence, answer)
    for located, item in refusals.values():
        if (item.method, item.path) in ignored or _is_half_refused(located, item.path, config, target):
            yield _RefusedRoute(item.method, item.path, item.status, _counted(located, item))


def _is_served(behind: Exchange | NotSeen | None) -> bool:
    return isinstance(behind, Exchange) and behind.status is not None and behind.status < 400


def _counted(located: LocatedTraffic, answers: Answers) -> tuple[Evidence, ...]:
    return (
        quote(located.path, f"{answers.count} x {answers.method} {answers.path} {answers.status}"),
        *(quote(located.path, line) for line in answers.newest[:1]),
    )


def _is_half_refused(located: LocatedTraffic, path: str, config: NginxConfig, target: Target) -> bool:
    """Whether half of all requests in the path's location are refused: strangers are refused at a few paths."""
    from ops.diagnosis.lost_headers import location_of

    location = location_of(config, target, path)
    if location is None:
        return False
    beside = [a for a in located.traffic.answers if location_of(config, target, a.path) == location]
    refused = sum(item.count for item in beside if item.status in _NO_ACCESS)
    return 2 * refused >= sum(item.count for item in beside)


def _refused_handshakes(logs: Logs) -> Iterator[_RefusedRoute]:
    """The WebSocket routes of the application at which no connection was ever switched, and every GET is refused."""
    for located in users_traffic(logs) if logs.websocket_routes else ():
        for item in located.traffic.answers:
            if item.method != "GET" or item.status not in _NO_HANDSHAKE or item.count < _FEW:
                continue
            declared = next(
                (route for route in logs.websocket_routes if re.search(rf"{route.pattern}/?$", item.path)),
                None,
            )
            if declared is not None and item.count == located.total_like(item):
                yield _RefusedRoute("GET", item.path, item.status, _counted(located, item), declared=declared)


@check(
    "nginx.sent_path",
    "NGX083",
    en="the service gets a path as the client encoded it",
    zh="后端收到的路径与客户端编码的一致",
)
def sent_path(
    nginx_config: NginxConfig,
    target: Target,
    logs: Logs,
    host_names: HostNames | NotSeen,
    nginx_test: NginxTest | NotSeen,
) -> Iterator[Finding]:
    """NGX083: every request with an encoded slash, or two slashes, is refused, because nginx sends the decoded path
    with its slashes merged: it does so where proxy_pass has a path of its own, or a rewrite changed it."""
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return
    for located in users_traffic(logs)[:1]:
        for answers in located.answers("400", "404"):
            encoded = _ENCODED.search(answers.path) or _INNER_SLASHES.search(answers.path)
            if encoded is None or answers.count < _FEW or answers.count < located.total_like(answers):
                continue
            is_merged = encoded[0] == "//"
            from ops.interpret.routing.request import probe_route

            passed = probe_route(
                nginx_config, target, host_names, answers.method, answers.path
            ).outcome.passed
            if passed is None or encoded[0].lower() in passed.uri.lower():
                continue
            base = passed.written.rstrip("/")
            # Without a prefix to take away, the slash alone is to go.
            is_slash = passed.written == f"{base}/" and base.count("/") == 2
            is_slash = is_slash and passed.uri == unquote(answers.path)
            yield Finding(
                "NGX083",
                (
                    quote(
                        located.path, f"{answers.count} x {answers.method} {answers.path} {answers.status}"
                    ),
                    *(quote(located.path, line) for line in answers.newest[:1]),
                    Evidence(
                        passed.where,
                        Text(
                            en=f"{passed.directive} {passed.written}; of {answers.path} the service gets {passed.uri}",
                            zh=f"{passed.directive} {passed.written}：{answers.path} 到后端变成 {passed.uri}",
                        ),
                    ),
                ),
                {
                    "count": str(answers.count),
                    "path": answers.path,
                    "method": answers.method,
                    "status": answers.status,
                    "where": passed.where,
                    "uri": passed.uri,
                },
                fix=(
                    *(
                        _unmerged(nginx_config, target)
                        if is_merged
                        else (replaced_in_line(passed.where, f"{passed.written};", f"{base};"),)
                        if is_slash
                        else (_AS_IT_CAME,)
                    ),
                    target.test_nginx,
                    target.reload_nginx,
                ),
            )
            return


# A slash or a percent sign that the client encoded (RFC 3986, 2.2): decoded, it means something else.
_ENCODED = re.compile(r"%2[Ff5]")
# An address or an empty part within the path. Scanners double the first slash, and what follows is no address.
_INNER_SLASHES = re.compile(r"(?<=[^/])//(?=[^/])")


def _unmerged(config: NginxConfig, target: Target) -> tuple[str | Text, ...]:
    """Steps that keep two slashes two. The value of the address's default server counts for all of its servers
    (ngx_http_core_module, merge_slashes)."""
    site = find_site(config, target.domain, target.backend)
    server = site.server if site else None
    usual = [listen for listen in server.listens if listen.ssl] or list(server.listens) if server else []
    first = next(
        (s for listen in usual[:1] if (s := default_server(servers(config), listen.host, listen.port))),
        server,
    )
    where = first.blocks[0].where if first else target.site_file or target.nginx_config_file
    return (
        Text(
            en=f"Keep both slashes: merge_slashes off; in the server block at {where} (the first of its address), or"
            " send the path as it came (proxy_pass without a path)",
            zh=f"保留两个斜杠：在 {where} 的 server 块（该地址的默认 server）里写 merge_slashes off;，"
            "或原样转发路径（proxy_pass 不带路径）",
        ),
        put_after_line(where, "merge_slashes off;"),
    )


_AS_IT_CAME = Text(
    en="Let nginx send the path as it came: proxy_pass without a path ($request_uri behind the address, where no prefix"
    " is to be taken away), and no rewrite before it",
    zh="让 nginx 原样转发路径：proxy_pass 不带路径（不需要去掉前缀时，可在地址后写 $request_uri），之前也不要 rewrite",
)


@check("nginx.sent_twice", "NGX084", en="nginx sends one Host", zh="nginx 只发送一个 Host")
def sent_twice(
    nginx_config: NginxConfig, target: Target, front: Front, logs: Logs | NotSeen
) -> Iterator[Finding]:
    """NGX084: proxy_set_header names Host twice for a path, nginx sends both, and the request is refused with 400 as
    RFC 9112 (3.2) demands."""
    scope = scope_for(nginx_config, target, target.predict_path)
    hosts = [
        d
        for d in (scope.effective("proxy_set_header") if scope else ())
        if d.args and d.args[0].lower() == "host"
    ]
    if len(hosts) < 2:
        return
    answer = front.predict
    users = (
        ()
        if isinstance(logs, NotSeen)
        else tuple(
            (located, item)
            for located in users_traffic(logs)[:1]
            for item in located.answers("400")
            if item.count >= _FEW and item.count == located.total_like(item)
        )
    )
    is_refused = isinstance(answer, Exchange) and answer.status == 400
    if not is_refused and not users:
        return
    yield Finding(
        "NGX084",
        (
            *(
                (quote(f"POST {answer.url}", answer_words(answer)),)
                if isinstance(answer, Exchange) and is_refused
                else ()
            ),
            *(evidence for located, item in users[:1] for evidence in _counted(located, item)),
            *(quote(d.where, f"proxy_set_header {' '.join(d.args)};") for d in hosts),
        ),
        {
            "first": hosts[0].where,
            "second": hosts[1].where,
        },
        fix=(
            *(replaced_statement(d.where, f"{d.name} {d.args[0]}", "") for d in reversed(hosts[1:])),
            target.test_nginx,
            target.reload_nginx,
        ),
    )


CHECKS = (sent_host, sent_query, sent_headers, sent_path, sent_twice)
