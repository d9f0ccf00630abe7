"""User requests that the framework refuses, found by its messages in the service's logs.

Sources: Django documentation, CSRF_TRUSTED_ORIGINS and SECURE_PROXY_SSL_HEADER; django.middleware.csrf."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from ops.diagnosis.checks.log_reading import said, service_logs
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line
from ops.diagnosis.symptom_evidence import answer_words
from ops.facts.base import NotSeen
from ops.facts.logs import LogEntry, Logs
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.sent_header import how_to_send, sent_header
from ops.interpret.site import find_site
from ops.interpret.traffic import LocatedTraffic, judged_since, service_traffic, users_traffic
from ops.text.language import Text

# django.middleware.csrf: REASON_BAD_ORIGIN, REASON_BAD_REFERER; django.utils.log: "Forbidden (REASON): PATH".
_FOREIGN = re.compile(
    r"(?:Origin|Referer) checking failed - (https?://[^\s/]+)\S* does not match any trusted origins"
    r"(?:.{0,20}: (/[^\s?]*))?"
)


class _Refused(NamedTuple):
    """One refusal in a log: the log's path, the line, the refused origin, and the path of the request."""

    log: str
    line: str
    origin: str
    path: str


@check(
    "app.trusted_origins",
    "APP025",
    en="the application takes its own site's forms",
    zh="应用接受本站页面提交的表单",
)
def trusted_origins(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP025: the framework's protection against forged requests (CSRF) refuses the site's own origin."""
    site = (
        find_site(nginx_config, target.domain, target.backend)
        if isinstance(nginx_config, NginxConfig)
        else None
    )
    names = {target.domain.lower(), *(name.lower() for name in (site.server.names if site else ()))}
    refusals = [item for item in _refused(logs) if (urlsplit(item.origin).hostname or "") in names]
    if not refusals:
        return
    newest = refusals[-1]
    path = newest.path or "/"
    settings = Text(
        en="If it is refused still: in the settings of Django, CSRF_TRUSTED_ORIGINS = "
        f'["{newest.origin}"], or SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
        zh=f'如果仍被拒绝：在 Django 的 settings 里写 CSRF_TRUSTED_ORIGINS = ["{newest.origin}"]，'
        '或 SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")',
    )
    untold = (
        tuple(_untold(nginx_config, target, path, newest.origin))
        if isinstance(nginx_config, NginxConfig)
        else ()
    )
    edits = tuple(step for item in untold for step in item.steps)
    yield Finding(
        "APP025",
        (quote(newest.log, newest.line), *(quote(item.where, item.statement) for item in untold)),
        {"count": str(len(refusals)), "path": path, "origin": newest.origin},
        fix=(*edits, *((target.test_nginx, target.reload_nginx) if edits else ()), settings),
    )


class _Untold(NamedTuple):
    """A missing or wrong header that the framework needs to recognise the origin as its own."""

    where: str
    statement: str
    steps: tuple[str | Text, ...]


def _untold(config: NginxConfig, target: Target, path: str, origin: str) -> Iterator[_Untold]:
    """The headers for the request's scheme and host that nginx does not send, or sends wrong, for ``path``."""
    proto = sent_header(config, target, path, "X-Forwarded-Proto")
    if proto is not None and proto.sent is None and origin.startswith("https:"):
        line = "proxy_set_header X-Forwarded-Proto $scheme;"
        yield _Untold(
            proto.where,
            f"no X-Forwarded-Proto for {path}",
            (how_to_send(proto, line), put_before_line(proto.where, line)),
        )
    host = sent_header(config, target, path, "Host")
    if host is None:
        return
    # $host has no port, but a browser's Origin has one if it is not the scheme's default.
    variable = "$http_host" if urlsplit(origin).port else "$host"
    line = f"proxy_set_header Host {variable};"
    if host.sent is None:
        yield _Untold(
            host.where,
            f"no Host for {path}: nginx sends $proxy_host",
            (how_to_send(host, line), put_before_line(host.where, line)),
        )
    elif len(host.sent.args) == 2 and host.sent.args[1] not in ("$http_host", variable):
        where = host.sent.where
        yield _Untold(
            where,
            f"proxy_set_header Host {host.sent.args[1]}",
            (replaced_in_line(where, host.sent.args[1], variable),),
        )


def _refused(logs: Logs) -> Iterator[_Refused]:
    since = judged_since(logs)
    for log in service_logs(logs):
        for entry in log.entries:
            if "checking failed - " not in said(entry) or is_of_earlier_worker(entry, since, logs):
                continue
            # Django's own format has no time, so its lines are read as continuations of the entry before them.
            for line in said(entry).splitlines():
                if (match := _FOREIGN.search(line)) is not None:
                    yield _Refused(log.path, line.strip(), match[1], match[2] or "")


# The words by which frameworks say that a request is over a limit of theirs, and the setting. Their status is 400.
# Sources: django.core.exceptions (RequestDataTooBig, TooManyFieldsSent, TooManyFilesSent), django/http/request.py and
# multipartparser.py; starlette/formparsers.py; werkzeug/formparser.py.
_OVER_A_LIMIT = (
    (re.compile(r"Request body exceeded settings\.(DATA_UPLOAD_MAX_MEMORY_SIZE)"), None),
    (re.compile(r"parameters exceeded settings\.(DATA_UPLOAD_MAX_NUMBER_FIELDS)"), None),
    (re.compile(r"files exceeded settings\.(DATA_UPLOAD_MAX_NUMBER_FILES)"), None),
    (re.compile(r"Too many (?:fields|files)\. Maximum number of \w+ is \d+"), "max_fields, max_files"),
    (re.compile(r"(?:Part|Field) exceeded maximum size of \d+ ?KB"), "max_part_size"),
)
# The lengths of Django's page "Bad Request (400)" (django/views/defaults.py), of now and before version 2.2.
_DJANGO_S_PAGE = (143.0, 26.0)
_DJANGO_S_LIMIT = 2_621_440  # Django documentation, DATA_UPLOAD_MAX_MEMORY_SIZE
# Shorter requests are refused for what they say, not for their length.
_LONG = 64 << 10
_FEW = 3


def long_requests(logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen) -> Iterator[Finding]:
    """APP021: the framework refuses long requests with 400, by its own words, by the lengths of the requests, or, for
    Django, by the page it gives to every request that is over a limit of its own."""
    own = service_traffic(logs)
    for located in (*users_traffic(logs)[:1], *((own,) if own else ())):
        for refused in located.answers("400"):
            if refused.method not in ("POST", "PUT", "PATCH") or refused.count < _FEW:
                continue
            proof = (
                _by_its_words(logs, refused)
                or _by_length(refused, located)
                or _by_django_s_page(refused, located, target, nginx_config)
            )
            if proof is None:
                continue
            total = located.total_like(refused)
            yield Finding(
                "APP021",
                (
                    quote(located.path, f"{refused.count} x {refused.method} {refused.path} 400"),
                    *(quote(located.path, line) for line in refused.newest[:1]),
                    proof.evidence,
                ),
                {"count": str(refused.count), "path": refused.path},
                severity=Severity.FAIL if proof.is_certain or 2 * refused.count >= total else Severity.WARN,
                summary=Text(
                    en=f"The application answered {refused.count} of {total} {refused.method} {refused.path} with 400,"
                    f" {'because they are' if proof.is_certain else 'most likely because they are'} over a limit of"
                    f" its framework ({proof.setting}); nginx had let them through.",
                    zh=f"应用对 {total} 个 {refused.method} {refused.path} 中的 {refused.count} 个返回了 400，"
                    f"{'因为' if proof.is_certain else '很可能是因为'}超过了框架自己的上限（{proof.setting}）；"
                    "nginx 已经放行。",
                ),
                fix=_raised(proof.setting, target),
            )
            return


class _LimitProof(NamedTuple):
    """Why a 400 is a limit's: the setting and the evidence. ``is_certain``: the framework or the lengths say so."""

    setting: str
    evidence: Evidence
    is_certain: bool = True


def _by_its_words(logs: Logs, refused: Answers) -> _LimitProof | None:
    since = judged_since(logs)
    for log in service_logs(logs):
        for entry in reversed(log.entries):
            if is_of_earlier_worker(entry, since, logs) or not _belongs_in_time(entry, refused):
                continue
            for words, setting in _OVER_A_LIMIT:
                if match := words.search(said(entry)):
                    return _LimitProof(setting or match[1], quote(log.path, match[0]))
    return None


def _by_length(refused: Answers, located: LocatedTraffic) -> _LimitProof | None:
    """Every refused request is longer than every one that was served (nginx's request_length)."""
    served = [
        item.lengths.most
        for item in located.traffic.answers
        if (item.method, item.path) == (refused.method, refused.path)
        and item.status < "400"
        and item.lengths is not None
    ]
    if refused.lengths is None or not served or refused.lengths.least <= max(_LONG, *served):
        return None
    return _LimitProof(
        "DATA_UPLOAD_MAX_MEMORY_SIZE, max_part_size",
        Evidence(
            "request_length",
            Text(
                en=f"refused from {refused.lengths.least:.0f} bytes on, served up to {max(served):.0f} bytes",
                zh=f"{refused.lengths.least:.0f} 字节起被拒绝，{max(served):.0f} 字节以内都正常",
            ),
        ),
    )


def _by_django_s_page(
    refused: Answers, located: LocatedTraffic, target: Target, config: NginxConfig | NotSeen
) -> _LimitProof | None:
    """All of these answers are as long as Django's page, others on this path are served, and nginx takes longer bodies
    than Django does by default."""
    lengths = refused.sent
    is_page = lengths is not None and lengths.least == lengths.most and lengths.least in _DJANGO_S_PAGE
    is_served = any(
        (item.method, item.path) == (refused.method, refused.path) and item.status < "400"
        for item in located.traffic.answers
    )
    if not is_page or not is_served or isinstance(config, NotSeen):
        return None
    site = find_site(config, target.domain, target.backend)
    location = site.server.location_for(refused.path) if site else None
    limits = location.effective("client_max_body_size") if location is not None else ()
    if not limits:
        return None  # 1 MB by nginx's default, below Django's
    from ops.interpret.routing.limits import size

    allowed = size(limits[-1].args[0]) if limits[-1].args else None
    if allowed is None or 0 < allowed <= _DJANGO_S_LIMIT:
        return None
    place = limits[-1].where
    return _LimitProof(
        "DATA_UPLOAD_MAX_MEMORY_SIZE",
        Evidence(
            place,
            Text(
                en=f"client_max_body_size {limits[-1].args[0]}: more than the 2.5 MB that Django takes by default; the"
                " answers are as long as Django's page 'Bad Request (400)'",
                zh=f"client_max_body_size {limits[-1].args[0]}：大于 Django 默认的 2.5 MB；"
                "这些响应的长度与 Django 的“Bad Request (400)”页面相同",
            ),
        ),
        is_certain=False,
    )


def _belongs_in_time(entry: LogEntry, answers: Answers) -> bool:
    """Whether a log line was written while such answers were given, to the second."""
    return answers.first - 2.0 <= entry.time <= answers.last + 2.0


def _raised(setting: str, target: Target) -> tuple[str | Text, ...]:
    return (
        Text(
            en=f"Raise the framework's own limit: {setting} (Django: in settings; Starlette and FastAPI: arguments of"
            " request.form())",
            zh=f"调大框架自己的上限：{setting}（Django 在 settings 里；Starlette 和 FastAPI 是 request.form() 的参数）",
        ),
        Text(
            en="The framework says which limit it was in its own log: for Django a handler for the logger"
            " django.security in LOGGING; $request_length in nginx's log_format shows the lengths",
            zh="具体是哪个上限，框架会写进自己的日志：Django 要在 LOGGING 里给 django.security 配上 handler；"
            "在 nginx 的 log_format 里加上 $request_length 可以看到请求长度",
        ),
        target.restart_command,
    )


# django.http.request and django.core.exceptions (DisallowedHost); starlette.middleware.trustedhost; werkzeug's
# SecurityError (trusted_hosts).
_DISALLOWED = re.compile(r"Invalid HTTP_HOST header: '([^',\s]{1,255})'")
# werkzeug/routing/map.py (bind_to_environ): no route matches then, so every path is answered 404.
_OTHER_NAME = re.compile(
    r"Current server name '([^']{1,255})' doesn't match configured server name '([^']{1,255})'"
)
_NOT_TRUSTED = re.compile(r"Host '?([^'\s]{1,255})'? is not trusted|^Invalid host header$")


@check("app.allowed_hosts", "APP026", en="the application serves the site's name", zh="应用接受本站的域名")
def allowed_hosts(
    logs: Logs, target: Target, nginx_config: NginxConfig | NotSeen, front: Front | NotSeen
) -> Iterator[Finding]:
    """APP026: the framework refuses the site's own name as a host it does not serve. Strangers' names are refused
    rightly."""
    names = {target.domain.lower()}
    if isinstance(nginx_config, NginxConfig) and (
        site := find_site(nginx_config, target.domain, target.backend)
    ):
        names |= {name.lower() for name in site.server.names}
    since = judged_since(logs)
    refused = [
        (log.path, line.strip(), name)
        for log in service_logs(logs)
        for entry in log.entries
        if not is_of_earlier_worker(entry, since, logs)
        for line in said(entry).splitlines()
        if (match := _DISALLOWED.search(line) or _OTHER_NAME.search(line))
        and (name := _without_port(match[1])) in names
    ]
    if refused and (other := _OTHER_NAME.search(refused[-1][1])):
        yield _of_another_name(refused[-1], other[2], target)
        return
    answers = () if isinstance(front, NotSeen) else (front.predict, front.health)
    refusals = [
        answer
        for answer in answers
        if isinstance(answer, Exchange) and answer.status == 400 and _NOT_TRUSTED.search(answer.body.strip())
    ]
    if not refused and not refusals:
        return
    name = refused[-1][2] if refused else target.domain
    yield Finding(
        "APP026",
        (
            *(quote(path, line) for path, line, _ in refused[-1:]),
            *(quote(f"{answer.method} {answer.url}", answer_words(answer)) for answer in refusals[:1]),
        ),
        {"name": name},
    )


def _of_another_name(refused: tuple[str, str, str], configured: str, target: Target) -> Finding:
    """Flask was told that it is another name's: all its routes are that name's."""
    path, line, name = refused
    where = shlex.quote(target.app_dir or ".")
    return Finding(
        "APP026",
        (quote(path, line),),
        {"name": name},
        summary=Text(
            en=f"Flask's SERVER_NAME is {configured}, and the site is {name}: no route matches, so every path is"
            " answered 404.",
            zh=f"Flask 的 SERVER_NAME 是 {configured}，而站点是 {name}：没有路由匹配，所有路径都返回 404。",
        ),
        verify=f"grep -rn SERVER_NAME {where} --include=*.py --include=*.env --include=*.cfg",
        fix=(
            f"grep -rn SERVER_NAME {where} --include=*.py --include=*.env --include=*.cfg",
            Text(
                en=f"Write SERVER_NAME = {name!r} there, or take it out: requests need it only for subdomains"
                " (subdomain_matching, host_matching)",
                zh=f"在那里写 SERVER_NAME = {name!r}，或去掉它：只有按子域名分路由时才需要（subdomain_matching、"
                "host_matching）",
            ),
            target.restart_command,
        ),
    )


def _without_port(host: str) -> str:
    name, _, port = host.lower().rpartition(":")
    return name if port.isdecimal() and name else host.lower()


# The length of Django's page "Not Found" (django/views/defaults.py).
_DJANGO_S_404 = 179.0
_STATIC = re.compile(r"\.(?:css|js|mjs|png|jpe?g|svg|ico|woff2?|map)$")


@check("app.static_files", "APP027", en="static files are served", zh="静态文件能正常访问")
def static_files(logs: Logs, target: Target, nginx_config: NginxConfig) -> Iterator[Finding]:
    """APP027: nginx passes requests for static files on to Django, which serves none unless it is debugged: all of them
    get its page for 404, and nothing below that path is served."""
    for located in users_traffic(logs)[:1]:
        top_missed: dict[str, list[Answers]] = {}
        for item in located.answers("404"):
            is_page = item.sent is not None and item.sent.least == item.sent.most == _DJANGO_S_404
            if item.method == "GET" and is_page and _STATIC.search(item.path):
                top_missed.setdefault(item.path.split("/")[1], []).append(item)
        for top, missed in top_missed.items():
            prefix, count = f"/{top}/", sum(item.count for item in missed)
            is_served = any(
                item.path.startswith(prefix) and item.status < "400" for item in located.traffic.answers
            )
            passed = _passes_on(nginx_config, target, missed[0].path)
            if count < _FEW or is_served or passed is None:
                continue
            yield Finding(
                "APP027",
                (
                    quote(located.path, f"{count} x GET {missed[0].path} 404"),
                    *(quote(located.path, line) for line in missed[0].newest[:1]),
                    Evidence(
                        passed,
                        Text(
                            en=f"the location that handles {missed[0].path}",
                            zh=f"处理 {missed[0].path} 的 location",
                        ),
                    ),
                ),
                {"count": str(count), "path": missed[0].path, "prefix": prefix, "where": passed},
            )
            return


def _passes_on(config: NginxConfig, target: Target, path: str) -> str | None:
    """``FILE:LINE`` of the location that proxies ``path``; None if nginx serves it itself."""
    site = find_site(config, target.domain, target.backend)
    location = site.server.location_for(path) if site else None
    return location.where if location is not None and location.first_own("proxy_pass") is not None else None


# Pages that name the address of FastAPI's description, and that address.
_DOCUMENTATION = ("/docs", "/redoc")
_DESCRIPTION = "/openapi.json"


@check(
    "app.root_path",
    "APP028",
    en="the application knows the path that it is served under",
    zh="应用知道自己对外的路径前缀",
)
def root_path(logs: Logs, target: Target, nginx_config: NginxConfig) -> Iterator[Finding]:
    """APP028: nginx takes a prefix away, and browsers ask for the application's files without it: all are answered 404
    at the root, and the same file, or the page that names it, is served below the prefix."""
    prefixes = tuple(_taken_away(nginx_config, target))
    for located in users_traffic(logs)[:1] if prefixes else ():
        served = {
            item.path for item in located.traffic.answers if item.method == "GET" and item.status < "400"
        }
        for missed in located.answers("404"):
            is_file = missed.path == _DESCRIPTION or _STATIC.search(missed.path) is not None
            if missed.method != "GET" or not is_file or missed.count < _FEW:
                continue
            if missed.count < located.total_like(missed):
                continue
            for prefix, where in prefixes:
                pages = _DOCUMENTATION if missed.path == _DESCRIPTION else ()
                shown = [prefix + each for each in (missed.path, *pages) if prefix + each in served]
                if not shown:
                    continue
                yield Finding(
                    "APP028",
                    (
                        quote(located.path, f"{missed.count} x GET {missed.path} 404"),
                        *(quote(located.path, line) for line in missed.newest[:1]),
                        Evidence(
                            where,
                            Text(
                                en=f"takes {prefix} away; {shown[0]} is served",
                                zh=f"去掉了 {prefix}；{shown[0]} 可以访问",
                            ),
                        ),
                    ),
                    {"count": str(missed.count), "path": missed.path, "prefix": prefix, "where": where},
                )
                return


def _taken_away(config: NginxConfig, target: Target) -> Iterator[tuple[str, str]]:
    """The prefixes that the site's locations take away from what they pass on, without their last slash, and where."""
    site = find_site(config, target.domain, target.backend)
    for location in site.server.locations() if site else ():
        passed = location.first_own("proxy_pass")
        prefix = location.pattern.rstrip("/")
        if passed is None or not prefix or location.modifier not in ("", "^~"):
            continue
        if passed.args and passed.args[0].partition("://")[2].endswith("/"):
            yield prefix, passed.where


CHECKS = (trusted_origins, allowed_hosts, static_files, root_path)
