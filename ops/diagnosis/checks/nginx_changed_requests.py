"""Requests that the service refuses for a header or a body that nginx changes, or that nginx has browsers change.

Sources: RFC 9110 (8.8.3 and 13.1.1: ETag and If-Match; 15.5: the statuses); nginx documentation,
ngx_http_gzip_module, ngx_http_sub_module, ngx_http_proxy_module (proxy_set_header, proxy_set_body, proxy_method,
proxy_pass_request_body, proxy_cookie_path), ngx_http_ssl_module (ssl_verify_client); W3C Referrer Policy; Fetch
standard (Origin: null); RFC 6265 (5.1.4: a cookie's path)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import NamedTuple

from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_after_line, replaced_statement
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Location, Scope, servers
from ops.interpret.site import scope_for
from ops.interpret.traffic import LocatedTraffic, users_traffic
from ops.text.language import Text

# So many requests, all refused, are no slip of one client.
_FEW = 3
_WRITING = ("POST", "PUT", "PATCH", "DELETE")
_SENT_BY_FORMS = ("POST", "PUT", "PATCH")
# What nginx fills in by itself; any other variable may hold the client's own value.
_OWN_VALUES = frozenset(
    {
        "$host",
        "$http_host",
        "$proxy_host",
        "$proxy_port",
        "$remote_addr",
        "$scheme",
        "$server_name",
        "$server_port",
    }
)
_VARIABLE = re.compile(r"\$\{?(\w+)")
_LOGIN = re.compile(r"log-?_?in|sign-?_?in|session|auth", re.IGNORECASE)
_STATIC = re.compile(r"\.[a-z0-9]{2,5}$", re.IGNORECASE)


class _Change(NamedTuple):
    """What changes requests: the directive, the header (or the body) that it changes, how, and the steps."""

    directive: Directive
    header: str
    words: Text
    steps: tuple[str | Text, ...]


class _Refusal(NamedTuple):
    """Requests of one kind that are all refused, the place that they take, and what else is asked of the site."""

    item: Answers
    scope: Scope
    located: LocatedTraffic
    config: NginxConfig


class _Rule(NamedTuple):
    """Refusals that depend on one thing: the statuses, the methods (none: any), and what finds its change."""

    statuses: tuple[str, ...]
    methods: tuple[str, ...]
    find: Callable[[_Refusal], _Change | None]


@check(
    "nginx.changed_requests",
    "NGX094",
    en="no request is refused for what nginx changes about it",
    zh="没有请求因 nginx 的改动而被拒绝",
)
def changed_requests(
    nginx_config: NginxConfig, target: Target, logs: Logs, nginx_test: NginxTest | NotSeen
) -> Iterator[Finding]:
    """NGX094: every request of a kind is refused with a status that depends on one header or the body, and a directive
    in force for its path changes just that, or has browsers change it."""
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return  # nginx runs another configuration
    for located, item in _refused(logs):
        scope = scope_for(nginx_config, target, item.path)
        if scope is None:
            continue
        refusal = _Refusal(item, scope, located, nginx_config)
        change = next(
            (
                found
                for rule in _RULES
                if item.status in rule.statuses and (not rule.methods or item.method in rule.methods)
                if (found := rule.find(refusal)) is not None
            ),
            None,
        )
        if change is None:
            continue
        yield Finding(
            "NGX094",
            (
                quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}"),
                *(quote(located.path, line) for line in item.newest[:1]),
                quote(change.directive.where, change.directive.written),
            ),
            {
                "count": str(item.count),
                "request": f"{item.method} {item.path}",
                "status": item.status,
                "header": change.header,
                "where": change.directive.where,
                "why": change.words,
            },
            fix=(*change.steps, target.test_nginx, target.reload_nginx),
        )
        return


def _refused(logs: Logs) -> Iterator[tuple[LocatedTraffic, Answers]]:
    """The kinds of users' requests of which every one was refused."""
    for located in users_traffic(logs):
        for item in located.traffic.answers:
            if item.status >= "400" and item.count >= _FEW and item.count == located.total_like(item):
                yield located, item


# --- what changes a request -------------------------------------------------------------------------------------------


def _last(scope: Scope, name: str, *, unless: tuple[str, ...] = ("off",)) -> Directive | None:
    lines = scope.effective(name)
    return lines[-1] if lines and lines[-1].args[:1] and lines[-1].args[0] not in unless else None


def _header_set(scope: Scope, *names: str) -> Directive | None:
    """The proxy_set_header that replaces one of the client's headers by a value of nginx's own."""
    for line in scope.effective("proxy_set_header"):
        if len(line.args) != 2 or line.args[0].lower() not in names:
            continue
        if _OWN_VALUES.issuperset(f"${name}" for name in _VARIABLE.findall(line.args[1])):
            return line
    return None


def _taken_out(line: Directive, *, with_name: bool = False) -> tuple[str | Text, ...]:
    words = f"{line.name} {line.args[0]}" if with_name else line.name
    return (
        Text(
            en=f"Delete the line at {line.where}: {line.written}",
            zh=f"删除 {line.where} 那一行：{line.written}",
        ),
        replaced_statement(line.where, words, ""),
    )


def _version(refusal: _Refusal) -> _Change | None:
    """If-Match: what packs or rewrites an answer weakens its ETag (W/), or takes it away. Without a directive of types
    it changes pages (text/html) alone; and a version that nobody was given is not sent back."""
    item, scope = refusal.item, refusal.scope
    if line := _header_set(scope, "if-match", "if-none-match", "if-unmodified-since"):
        return _replaced(line)
    if item.status != "412" or not _is_shown(refusal):
        return None
    for name in ("gzip", "sub_filter", "ssi"):
        line = _last(scope, name)
        if line is None or not scope.effective(f"{name}_types"):
            continue
        return _Change(
            line,
            "If-Match",
            Text(
                en=f"{line.name} at {line.where} changes answers on the way, so nginx weakens their ETag (W/) or drops"
                " it; the service does not know the version again that a client sends back in If-Match",
                zh=f"{line.where} 的 {line.name} 会改动响应，nginx 因此把 ETag 变成弱标签（W/）或去掉；"
                "客户端在 If-Match 里送回时，后端认不出这个版本",
            ),
            (
                Text(
                    en=f"Leave {item.path} out: a location of its own with {line.name} off;, or have the service"
                    " compare without W/",
                    zh=f"让 {item.path} 例外：单独的 location 里写 {line.name} off;，或让后端比较时忽略 W/",
                ),
                *(
                    (replaced_statement(line.where, line.name, f"{line.name} off;"),)
                    if name == "gzip"
                    else ()
                ),
            ),
        )
    return None


def _replaced(line: Directive) -> _Change:
    name, value = line.args
    return _Change(
        line,
        name,
        Text(
            en=f"nginx sends {name} {value or '(nothing)'} in place of the client's ({line.where})",
            zh=f"nginx 用 {value or '空值'} 代替客户端的 {name}（{line.where}）",
        ),
        _taken_out(line, with_name=True),
    )


def _body(refusal: _Refusal) -> _Change | None:
    """The body, or what describes it, is not the client's."""
    scope = refusal.scope
    for name in ("proxy_pass_request_body", "proxy_pass_request_headers"):
        lines = scope.effective(name)
        if lines and lines[-1].args[:1] == ("off",):
            what = "the body" if name.endswith("body") else "headers"
            zh = "请求体" if name.endswith("body") else "请求头"
            return _Change(
                lines[-1],
                what,
                Text(
                    en=f"nginx does not pass {what} on ({name} off; at {lines[-1].where})",
                    zh=f"nginx 不传{zh}（{lines[-1].where} 的 {name} off;）",
                ),
                (replaced_statement(lines[-1].where, name, f"{name} on;"),),
            )
    if line := _last(scope, "proxy_set_body", unless=("$request_body",)):
        return _Change(
            line,
            "the body",
            Text(
                en=f"nginx sends another body ({line.where})",
                zh=f"nginx 发送的是另一个请求体（{line.where}）",
            ),
            _taken_out(line),
        )
    line = _header_set(scope, "content-type", "content-length", "content-encoding")
    if line and (refusal.item.status == "415" or "json" not in line.args[1]):
        return _replaced(line)
    return _method(refusal)


def _method(refusal: _Refusal) -> _Change | None:
    line = _last(refusal.scope, "proxy_method", unless=("$request_method",))
    if line is None or line.args[0].upper() == refusal.item.method:
        return None
    return _Change(
        line,
        "the method",
        Text(
            en=f"nginx asks the service with {line.args[0]} ({line.where})",
            zh=f"nginx 用 {line.args[0]} 方法请求后端（{line.where}）",
        ),
        _taken_out(line),
    )


def _accepted(refusal: _Refusal) -> _Change | None:
    """Without the header anything is acceptable (RFC 9110, 12.5), so an empty value has nobody refused."""
    line = _header_set(refusal.scope, "accept", "accept-language", "accept-charset", "accept-encoding")
    return _replaced(line) if line and line.args[1] else None


def _origin(refusal: _Refusal) -> _Change | None:
    """Protection against forged forms compares Origin or Referer, which nginx changes or forbids browsers to send.
    A request without Origin is compared by its Referer."""
    if not _is_shown(refusal):
        return None
    line = _header_set(refusal.scope, "origin") or _header_set(refusal.scope, "referer")
    if line and (line.args[1] or line.args[0].lower() == "referer"):
        return _replaced(line)
    for line in refusal.scope.effective("add_header"):
        if line.args[0].lower() == "referrer-policy" and line.args[1:2] == ("no-referrer",):
            return _Change(
                line,
                "Referer",
                Text(
                    en=f"Referrer-Policy: no-referrer ({line.where}) has browsers send forms without Referer and with"
                    " Origin: null, which the application takes for a forgery",
                    zh=f"Referrer-Policy: no-referrer（{line.where}）让浏览器提交表单时不带 Referer、"
                    "Origin 为 null，应用当作伪造请求",
                ),
                (
                    Text(
                        en="Let browsers name their own site: same-origin in place of no-referrer",
                        zh="允许浏览器对本站说明来源：把 no-referrer 换成 same-origin",
                    ),
                    replaced_statement(
                        line.where,
                        f"{line.name} {line.args[0]}",
                        " ".join((line.name, line.args[0], "same-origin", *line.args[2:])) + ";",
                    ),
                ),
            )
    return None


def _is_shown(refusal: _Refusal) -> bool:
    """Whether what is sent back was served before: a GET for the same path is answered well."""
    return any(
        a.path == refusal.item.path and a.method == "GET" and a.status == "200"
        for a in refusal.located.traffic.answers
    )


def _session(refusal: _Refusal) -> _Change | None:
    """Whoever logs in is asked to log in again: the cookie does not come back."""
    scope = refusal.scope
    if not isinstance(scope, Location) or not _logs_in_for_nothing(refusal, scope):
        return None
    if line := _header_set(scope, "cookie"):
        return _replaced(line)
    hidden = [
        x for x in scope.effective("proxy_hide_header") if x.args[:1] and x.args[0].lower() == "set-cookie"
    ]
    if hidden:
        return _Change(
            hidden[-1],
            "Cookie",
            Text(
                en=f"nginx keeps the service's cookies to itself ({hidden[-1].where})",
                zh=f"nginx 扣下了后端设置的 cookie（{hidden[-1].where}）",
            ),
            _taken_out(hidden[-1], with_name=True),
        )
    return _path_of_cookies(scope)


def _logs_in_for_nothing(refusal: _Refusal, scope: Location) -> bool:
    """Whether logins below the same location succeed, and are followed by as many refusals and nothing else: an API
    with keys answers some of its users, and so does a site whose sessions work."""
    below = [a for a in refusal.located.traffic.answers if a.path.startswith(scope.pattern)]
    logins = {
        a.path: a.count for a in below if a.method == "POST" and a.status < "400" and _LOGIN.search(a.path)
    }
    served = (
        a
        for a in below
        if a.status < "300"
        and a.path not in logins
        and a.path != scope.pattern
        and not _STATIC.search(a.path)
    )
    return bool(logins) and not any(served) and refusal.item.count >= sum(logins.values())


def _path_of_cookies(scope: Location) -> _Change | None:
    """proxy_pass replaces the prefix by another one, and no proxy_cookie_path does the same with cookies."""
    passes = scope.effective("proxy_pass")
    path = (
        "/" + passes[-1].args[0].partition("://")[2].partition("/")[2] if passes and passes[-1].args else "/"
    )
    prefix = scope.pattern
    is_prefix = scope.modifier in ("", "^~") and prefix not in ("/", path)
    if not is_prefix or path == "/" or "$" in path or scope.effective("proxy_cookie_path"):
        return None
    inner, outer = path.rstrip("/"), prefix.rstrip("/") or "/"
    return _Change(
        passes[-1],
        "Cookie",
        Text(
            en=f"users ask below {prefix}, and the service is asked below {path} ({passes[-1].where}): browsers never"
            f" send a cookie back whose path is {inner}, because no proxy_cookie_path changes it",
            zh=f"用户访问的是 {prefix}，后端收到的是 {path}（{passes[-1].where}）：没有 proxy_cookie_path，"
            f"路径为 {inner} 的 cookie 浏览器不会再送回来",
        ),
        (
            Text(
                en=f"Have nginx change the path of cookies too: proxy_cookie_path {inner} {outer};",
                zh=f"让 nginx 也改 cookie 的路径：proxy_cookie_path {inner} {outer};",
            ),
            put_after_line(passes[-1].where, f"proxy_cookie_path {inner} {outer};")
            if scope.blocks[0].where != passes[-1].where
            else replaced_statement(
                passes[-1].where,
                "proxy_pass",
                f"proxy_pass {passes[-1].args[0]}; proxy_cookie_path {inner} {outer};",
            ),
        ),
    )


def _connection(refusal: _Refusal) -> _Change | None:
    """nginx answers 421 where the name wants client certificates and the connection was made for another name
    (ngx_http_request.c); browsers reuse a connection whose certificate has both names (RFC 9113, 9.1.1)."""
    blocks = servers(refusal.config)
    for server in blocks:
        line = _last(server, "ssl_verify_client")
        pair = server.value("ssl_certificate")
        beside = [
            other
            for other in blocks
            if other is not server
            and pair
            and other.value("ssl_certificate") == pair
            and _share(server, other)
        ]
        if line is None or not beside:
            continue
        name = next(iter(server.names), server.where)
        other = next(iter(beside[0].names), beside[0].where)
        return _Change(
            line,
            "Host",
            Text(
                en=f"browsers come for {name}, which wants client certificates ({line.where}), over the connection that"
                f" they have to {other}: one certificate ({pair}) has both names",
                zh=f"{name} 要求客户端证书（{line.where}），而浏览器复用了到 {other} 的连接："
                f"两个域名用的是同一张证书（{pair}）",
            ),
            (
                Text(
                    en=f"Give {name} a certificate of its own, without the names of {other}, and have {other}'s leave"
                    f" {name} out (or listen for {name} on an address of its own): ssl_certificate beside {line.where}",
                    zh=f"给 {name} 单独一张证书（ssl_certificate，在 {line.where} 旁），不含 {other} 的域名，"
                    f"{other} 的证书也不要含 {name}；或让 {name} 监听单独的地址",
                ),
            ),
        )
    return None


def _share(one: Scope, other: Scope) -> bool:
    """Whether two server blocks listen at the same address."""

    def places(server: Scope) -> set[str]:
        return {line.args[0] for line in chain(server.own("listen")) if line.args}

    return bool(places(one) & places(other))


_RULES = (
    _Rule(("421",), (), _connection),
    _Rule(("412", "428"), _WRITING, _version),
    _Rule(("400", "411", "415", "417", "422"), _SENT_BY_FORMS, _body),
    _Rule(("404", "405", "501"), _WRITING, _method),
    _Rule(("406",), (), _accepted),
    _Rule(("400", "403"), _WRITING, _origin),
    _Rule(("401",), (), _session),
)

CHECKS = (changed_requests,)
