"""The host and the query that nginx sends to the service.

Sources: nginx documentation, ngx_http_proxy_module (proxy_set_header, proxy_pass), ngx_http_rewrite_module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from ops.diagnosis.checks.probed_prediction import leads_to_service, probed_prediction
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.logs import AccessLog, Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Scope
from ops.interpret.site import find_site
from ops.interpret.traffic import users_traffic
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import RequestRoute

# Answers of applications to a host that they do not serve: Django and Starlette 400, Flask (SERVER_NAME) and others
# 404, HTTP servers 421 (RFC 9110, 15.5.20).
_REFUSE_A_HOST = (400, 403, 404, 421)
# Their answers to a request without its parameters.
_REFUSE_PARAMETERS = ("400", "422", "500")
_MAX_COMPUTED = 8
# Replaces the client's query; nginx would not change any of it.
_QUERY = "gte=1"


@check(
    "nginx.sent_host",
    "NGX080",
    en="the service is told the host that was asked for",
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
        or _name(proxy_pass.host) == target.domain.lower()
    ):
        return
    line = _service_s_line(logs, probed.answer, probed.path)
    if line is None and _is_nginx_s_page(probed.answer):
        return
    scope = _scope(nginx_config, target, probed.path)
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


def _scope(config: NginxConfig, target: Target, path: str) -> Scope | None:
    site = find_site(config, target.domain, target.backend)
    return (site.server.location_for(path) or site.server) if site else None


def _host_edit(scope: Scope | None, proxy_pass: str) -> tuple[str, ...]:
    """The command that makes nginx send the client's Host. It edits the block whose proxy_set_header directives are in
    force, because one in an inner block would disable all of them."""
    headers = scope.effective("proxy_set_header") if scope is not None else ()
    wrong = next((d for d in headers if d.args and d.args[0].lower() == "host" and len(d.args) == 2), None)
    if wrong is not None:
        return (replaced_in_line(f"{wrong.file}:{wrong.line}", wrong.args[1], "$host"),)
    first: Directive | None = next(iter(headers), None)
    place = f"{first.file}:{first.line}" if first is not None else proxy_pass
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
                            en=f"{loss.written}: of {answers.method} {request} the service gets {loss.uri}",
                            zh=f"{loss.written}：{answers.method} {request} 到后端变成 {loss.uri}",
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
    written: str
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
    return _LostQuery(
        where,
        rewrites[-1].words.en,
        proxy_pass.uri,
        (
            Text(
                en=f"Take the question mark from the end of the replacement at {where}: it drops the query",
                zh=f"去掉 {where} 替换串末尾的问号：有它时 nginx 会丢掉查询参数",
            ),
        ),
    )


CHECKS = (sent_host, sent_query)
