"""Headers that browsers need and nginx adds elsewhere.

Sources: nginx documentation, ngx_http_headers_module (add_header: inheritance, always), ngx_http_rewrite_module (if);
Fetch standard (CORS)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.finding import Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Backend, Exchange, HostNames
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Scope
from ops.interpret.site import find_site
from ops.interpret.traffic import LocatedTraffic, service_traffic, users_traffic
from ops.text.language import Text

# So many requests are no accident of one client.
_FEW = 3
# The statuses to which add_header without always adds.
_ADDED_TO = {"200", "201", "204", "206", "301", "302", "303", "304", "307", "308"}
# nginx sent nothing: return 444 closed the connection, or the client had gone.
_NOT_SENT = ("444", "499")
_CORS = "access-control-allow-origin"
# The last part of paths that monitors ask for, and no page.
_FOR_MONITORS = re.compile(
    r"/_*(?:health(?:z|[_-]?checks?)?|live(?:z|ness)|read(?:y|yz|iness)|[a-z_]*status|ping|heartbeat|metrics|version)/?",
    re.IGNORECASE,
)
# A page's address as the referrer, in a line that also has the agent's name that all browsers begin with.
_REFERRER = re.compile(r'"https?://([^/":\s]+)[^"]*"')
_BROWSER = "Mozilla/"
_VARIABLE = re.compile(r"\$\{?\w")


class _Lost(NamedTuple):
    """An add_header that is not in force, the line that is beside it, and why."""

    header: Directive
    instead: Directive
    words: Text


@check(
    "nginx.added_headers",
    "NGX090",
    en="answers have the headers for browsers that nginx adds elsewhere",
    zh="响应带有 nginx 在别处添加的浏览器所需响应头",
)
def added_headers(
    nginx_config: NginxConfig,
    target: Target,
    logs: Logs,
    backend: Backend | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX090: users ask for a path at which Access-Control-Allow-Origin of an outer block is not added, because an
    inner one adds another header; or pages are answered errors that lack it, because it is not added always. Quiet
    where the service answers with that header itself."""
    if _answers_pages_itself(backend):
        return
    for located in users_traffic(logs)[:1]:
        for item in located.traffic.answers:
            lost = _lost(item, located, logs, nginx_config, target, host_names)
            if lost is None:
                continue
            header, where = lost.header, lost.header.where
            beside = () if lost.instead is header else (quote(lost.instead.where, lost.instead.written),)
            yield Finding(
                "NGX090",
                (
                    quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                    quote(where, header.written),
                    *beside,
                ),
                {
                    "header": header.args[0],
                    "request": f"{item.method} {item.path}",
                    "where": where,
                    "why": lost.words,
                },
                fix=(_headers_again(lost), target.test_nginx, target.reload_nginx),
            )
            return


def _answers_pages_itself(backend: Backend | NotSeen) -> bool:
    """Whether the service's own answers have the header, or depend on who asks for a page (Vary: Origin)."""
    if not isinstance(backend, Backend):
        return False
    answers = [a for a in (backend.health, backend.ready, backend.predict) if isinstance(a, Exchange)]
    return any(answer.header(_CORS) or "origin" in answer.header("vary").lower() for answer in answers)


def _lost(
    item: Answers,
    located: LocatedTraffic,
    logs: Logs,
    config: NginxConfig,
    target: Target,
    host_names: HostNames | NotSeen,
) -> _Lost | None:
    site = find_site(config, target.domain, target.backend)
    if site is None or item.count < _FEW or item.status in _NOT_SENT:
        return None
    scope = site.server.location_for(item.path) or site.server
    # Another module changes headers too.
    if scope.effective("more_set_headers"):
        return None
    if item.status in _ADDED_TO:
        if not _is_for_pages(item, scope, target):
            return None
        return _not_inherited(scope) or _lost_in_a_condition(scope, item, config, target, host_names)
    is_met_by_pages = _is_asked_by_pages(item, target) and _is_served_otherwise(item, located, logs)
    return _not_always(scope, item) if is_met_by_pages else None


def _is_for_pages(item: Answers, scope: Scope, target: Target) -> bool:
    """Whether pages of other sites may ask for the path: it is neither a monitor's, nor a file's (images, scripts and
    style sheets are used without leave), nor closed to strangers."""
    last = item.path.rpartition("/")[2]
    is_a_monitor_s = (
        item.method == "HEAD"
        or item.path in (target.health_path, target.ready_path)
        or _FOR_MONITORS.fullmatch(item.path[item.path.rstrip("/").rfind("/") :]) is not None
    )
    is_closed = scope.value("auth_basic") not in (None, "off") or bool(scope.effective("deny"))
    return not (is_a_monitor_s or "." in last or is_closed)


def _is_cors(directive: Directive) -> bool:
    return bool(directive.args) and directive.args[0].lower() == _CORS


def _not_inherited(scope: Scope) -> _Lost | None:
    """The line of an outer block that an add_header of the innermost block puts out of force."""
    if scope.value("add_header_inherit") in ("on", "merge"):
        return None
    own = scope.effective("add_header")
    level = next((n for n, block in enumerate(scope.blocks) if own and own[0] in (block.block or ())), None)
    if level is None or any(map(_is_cors, own)):
        return None
    outer = Scope(scope.blocks[level + 1 :]).effective("add_header") if scope.blocks[level + 1 :] else ()
    header = next(filter(_is_cors, outer), None)
    if header is None:
        return None
    return _Lost(
        header,
        own[0],
        Text(
            en=f"the add_header at {own[0].where} puts every add_header of the blocks around it out of force",
            zh=f"{own[0].where} 的 add_header 使外层的所有 add_header 失效",
        ),
    )


def _lost_in_a_condition(
    scope: Scope, item: Answers, config: NginxConfig, target: Target, host_names: HostNames | NotSeen
) -> _Lost | None:
    """The line that an add_header inside an if puts out of force, where the condition held: an if is a location of its
    own."""
    header = next(filter(_is_cors, scope.effective("add_header")), None)
    condition = _condition_that_held(scope, item, config, target, host_names) if header else None
    added = [d for d in (condition.block or () if condition else ()) if d.name == "add_header" and d.args]
    if header is None or condition is None or not added or any(map(_is_cors, added)):
        return None
    words = condition.written
    return _Lost(
        header,
        added[0],
        Text(
            en=f"where {words} holds ({condition.where}), its add_header puts every other one out of force",
            zh=f"{words} 成立时（{condition.where}），其中的 add_header 使其他 add_header 全部失效",
        ),
    )


def _condition_that_held(
    scope: Scope, item: Answers, config: NginxConfig, target: Target, host_names: HostNames | NotSeen
) -> Directive | None:
    """The last of the location's conditions that held for these requests; None if none did, or if one of them depends
    on what the log does not tell."""
    from ops.interpret.routing.model import OutcomeKind, StepKind
    from ops.interpret.routing.request import probe_route

    conditions = tuple(scope.own("if"))
    if not conditions or not all(_is_told(condition) for condition in conditions):
        return None
    computed = probe_route(config, target, host_names, item.method, item.path.replace("*", "1"))
    outcome = computed.outcome
    if outcome.kind is not OutcomeKind.PROXIED and str(outcome.status) != item.status:
        return None
    held = {
        (step.where, step.words.en.rpartition(":")[0]) for step in computed.steps if step.kind is StepKind.IF
    }
    return next((c for c in reversed(conditions) if (c.where, c.written) in held), None)


def _is_told(condition: Directive) -> bool:
    """Whether a line of the log tells if the condition held: it is one of the method (of a path, a bundle hides the
    pattern)."""
    return condition.args[:1] == ("$request_method",) and not any(
        _VARIABLE.search(word) for word in condition.args[2:]
    )


def _is_asked_by_pages(item: Answers, target: Target) -> bool:
    """Whether a line of these names a page of another site as the referrer, and a browser."""
    return any(
        match[1].lower() != target.domain
        for line in item.newest
        if _BROWSER in line
        for match in _REFERRER.finditer(line)
    )


def _is_served_otherwise(item: Answers, located: LocatedTraffic, logs: Logs) -> bool:
    own = service_traffic(logs)
    return any(
        answers.path == item.path and answers.status < "400"
        for log in (located, *((own,) if own else ()))
        for answers in log.traffic.answers
    )


def _not_always(scope: Scope, item: Answers) -> _Lost | None:
    """The line that does not count for errors, where users meet errors."""
    header = next(filter(_is_cors, scope.effective("add_header")), None)
    if header is None or header.args[-1] == "always" or item.status < "400":
        return None
    return _Lost(
        header,
        header,
        Text(
            en=f"it is not added to {item.status}, because always is missing: pages see a network error in its place",
            zh=f"缺少 always，所以不会加到 {item.status} 上：网页只看到网络错误",
        ),
    )


def _headers_again(lost: _Lost) -> Text:
    header, place = lost.header, lost.instead.where
    if lost.instead is header:
        return Text(
            en=f"Write always at the end of add_header {header.args[0]} ({place})",
            zh=f"在 add_header {header.args[0]} 末尾加上 always（{place}）",
        )
    return Text(
        en=f"Repeat the add_header lines of {header.where} in the block of {place} (one include for all of them)",
        zh=f"在 {place} 所在的块里重复 {header.where} 的那些 add_header（可放进一个 include 文件）",
    )


CHECKS = (added_headers,)
