"""Judge of requests that nginx itself failed, by the reason in its error log."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

from ops.diagnosis.checks.log_reading import LocatedEntry, nginx_entries, require_nginx_log
from ops.diagnosis.checks.nginx_errors import of_this_site
from ops.diagnosis.checks.past_failures import is_of_earlier_worker
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import put_after_line, replaced_in_line, written_argument
from ops.facts.base import NotSeen
from ops.facts.logs import LogEntry, Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Exchange, Front
from ops.facts.status import Severity
from ops.facts.target import Target
from ops.interpret.nginx import Scope, Server, every
from ops.interpret.nginx_error_line import message, request_of
from ops.interpret.probe_lines import is_of_earlier_run
from ops.interpret.renewal import OWN_CHALLENGE
from ops.interpret.site import find_site
from ops.interpret.traffic import judged_since, users_traffic
from ops.text.language import Text
from ops.text.sanitize import HIDDEN

# This many lines are no accident of a single client.
_REPEATED = 3
# Scanners ask every host for its first page; users of a site with pages do so more often than that.
_FIRST_PAGE_SHARE = 0.1


class _Kind(NamedTuple):
    """One kind of line: how nginx's message begins (a regular expression), the directives that cause it, innermost
    first, and the fix; ``{0}`` is the first group of the words, ``{quoted}`` the same for a command, ``{place}`` the
    place of the directive."""

    words: str
    directives: tuple[str, ...]
    en: str
    zh: str
    explains: tuple[str, ...] | None = None


# ngx_http_upstream.c, ngx_http_auth_request_module.c, ngx_http_core_module.c, ngx_http_proxy_module.c.
_KINDS = (
    _Kind(
        r"upstream sent too big header while reading response header from upstream",
        ("proxy_buffer_size", "proxy_pass"),
        "The service's headers are larger than proxy_buffer_size (4 or 8 KB by default), often by cookies: at {place}"
        " write proxy_buffer_size 16k; proxy_buffers 8 16k; or let the service send less",
        "后端的响应头（多半是 Cookie）超过 proxy_buffer_size（默认 4 或 8 KB）：在 {place} 写 proxy_buffer_size 16k; "
        "proxy_buffers 8 16k; 或让后端少发一些",
    ),
    _Kind(
        r"auth request unexpected status: (\d+)",
        ("auth_request",),
        "The subrequest of auth_request at {place} is answered {0}: only 2xx, 401 and 403 decide. Lead its location to"
        " a path that the service answers so, or take auth_request out",
        "{place} 的 auth_request 子请求得到 {0}：只有 2xx、401、403 才算数。让它的 location 指向会这样应答的路径，"
        "或去掉 auth_request",
    ),
    _Kind(
        r"no resolver defined to resolve ([^\s,]+)",
        ("proxy_pass",),
        "A name in a variable is resolved at each request: at {place} name a server for it (resolver ADDRESS; as in"
        " /etc/resolv.conf), or write the address of {0}, or name it in an upstream block",
        "变量里的域名在每次请求时解析：在 {place} 旁写 resolver 地址;（见 /etc/resolv.conf），或直接写 {0} 的地址，"
        "或把它写进 upstream 块",
    ),
    _Kind(
        r"(\S+) could not be resolved \(",
        ("resolver", "proxy_pass"),
        "The name server at {place} does not resolve {0}: correct one of the two",
        "{place} 的 DNS 服务器解析不了 {0}：改正其中之一",
    ),
    _Kind(
        r'rewrite or internal redirection cycle while (?:internally redirecting to|processing) "([^"]*)"',
        ("try_files", "error_page", "rewrite", "index"),
        "{place} leads to {0}, which leads there again, because the file is not there or the same location takes it:"
        " put the file there, end try_files with =404, or give the service's paths a location with proxy_pass",
        "{place} 转到 {0}，而 {0} 又回到同一处：文件不存在，或落入同一个 location。补上该文件，"
        "或把 try_files 的最后一项改为 =404，或给后端的路径单独写带 proxy_pass 的 location",
    ),
    _Kind(
        r"upstream sent (?:invalid header|duplicate header line|invalid status|invalid chunked response)",
        ("proxy_pass",),
        "The service behind {place} answers what is no valid HTTP: correct the header that the line quotes in the"
        " application",
        "{place} 后面的服务返回了不合法的 HTTP：在应用里改正日志里引用的那个响应头",
    ),
    # ngx_http_proxy_module: proxy_ssl_verify_depth is 1 by default, one certificate between the server's and a root.
    _Kind(
        r"upstream SSL certificate verify error: \((20|21|22):",
        ("proxy_ssl_verify_depth", "proxy_ssl_verify", "proxy_pass"),
        "nginx does not come from the certificate of the server behind it to one that it trusts. See what that server"
        " sends (openssl s_client -connect ADDRESS -servername NAME -showcerts </dev/null): with two intermediates or"
        " more write proxy_ssl_verify_depth 3; at {place} (the default is 1); else put its root into"
        " proxy_ssl_trusted_certificate",
        "nginx 从它后面服务器的证书走不到受信任的根。看对方发来什么（openssl s_client -connect 地址 -servername 域名"
        " -showcerts </dev/null）：有两个以上中间证书时，在 {place} 写 proxy_ssl_verify_depth 3;（默认是 1）；"
        "否则把它的根证书放进 proxy_ssl_trusted_certificate",
    ),
    # nginx sends no server name to an upstream by default (proxy_ssl_server_name off).
    _Kind(
        r"SSL_do_handshake\(\) failed \([^)]*(unrecognized name|handshake failure|internal error)[^)]*\)"
        r" while SSL handshaking to upstream",
        ("proxy_ssl_server_name", "proxy_ssl_name", "proxy_pass"),
        "The server behind {place} ends the TLS handshake ({0}): as a rule it serves several names, and nginx tells it"
        " none by default. Write proxy_ssl_server_name on; there, and proxy_ssl_name NAME; if the address in proxy_pass"
        " is not the name (to try it: openssl s_client -connect ADDRESS -servername NAME </dev/null)",
        "{place} 后面的服务器中断了 TLS 握手（{0}）：它多半按域名提供服务，而 nginx 默认不告诉它域名。在那里写"
        " proxy_ssl_server_name on;，proxy_pass 里的地址不是域名时再写 proxy_ssl_name 域名;"
        "（试一下：openssl s_client -connect 地址 -servername 域名 </dev/null）",
    ),
    # ngx_http_ssl_module: files whose names have variables are read at each handshake, by a worker.
    _Kind(
        r'cannot load certificate(?: key)? "([^"]+)": .*?(?:Permission denied|No such file or directory)',
        ("ssl_certificate_key", "ssl_certificate"),
        "The name at {place} has a variable, so a worker of nginx, and not root, opens {0} at each handshake: let"
        " nginx's user read it and enter the directories above (namei -l {quoted}), or write the name without a"
        " variable",
        "{place} 的文件名带变量，所以每次握手由 nginx 工作进程（而不是 root）打开 {0}："
        "让 nginx 的用户能读取它并进入各级目录（namei -l {quoted}），或写成不带变量的路径",
        ("tls.failed", "tls.untrusted", "http.closed"),
    ),
    # ngx_http_core_module, try_files: "$uri/" takes a directory that exists, and what follows it is not tried.
    _Kind(
        r'directory index of "([^"]+)" is forbidden',
        ("try_files",),
        "try_files at {place} takes the directory {0} for $uri/ and never comes to the service: take $uri/ out of it",
        "{place} 的 try_files 把目录 {0} 当作 $uri/，就不再走到后端：去掉其中的 $uri/",
    ),
    _Kind(
        r"upstream SSL certificate (?:verify error: \(([^)]*)\)|does not match \S+)",
        ("proxy_ssl_verify", "proxy_pass"),
        "nginx does not trust the certificate of the server behind it: correct proxy_ssl_trusted_certificate and"
        " proxy_ssl_name at {place}",
        "nginx 不信任它后面服务器的证书：改正 {place} 处的 proxy_ssl_trusted_certificate 与 proxy_ssl_name",
    ),
    _Kind(
        r"(?:invalid (?:URL prefix|port|host)|no host) in (?:upstream )?\"([^\"]*)\"",
        ("proxy_pass",),
        "The variable in proxy_pass at {place} gives {0}, which is no address: give it a value for every request",
        "{place} 的 proxy_pass 里的变量得到 {0}，不是地址：让它在每个请求里都有值",
    ),
)


@check("nginx.own_words", "NGX060", en="nginx serves the requests that it takes", zh="nginx 能处理收到的请求")
def own_words(
    logs: Logs,
    target: Target,
    nginx_config: NginxConfig,
    front: Front | NotSeen,
    taken_at: float,
) -> Iterator[Finding]:
    """NGX060: nginx failed a request and logged why, and no request of that method and path has succeeded since."""
    require_nginx_log(logs)
    since = judged_since(logs)
    entries = of_this_site(nginx_entries(logs, ""), nginx_config, target)
    matches = [
        (pair, kind, match)
        for pair in entries
        if pair[1].level in ("error", "crit")
        and not is_of_earlier_worker(pair[1], since, logs)
        and not _is_of_own_challenge(pair[1])
        and not is_of_earlier_run(pair[1], logs, taken_at)  # this run has sent it again
        for kind in _KINDS
        if (match := re.match(kind.words, message(pair[1].text)))
    ]
    matches = [
        (pair, kind, match)
        for number, (pair, kind, match) in enumerate(matches)
        if not any(other is pair for other, _, _ in matches[:number])
        and (kind.directives != ("try_files",) or _hides_the_service(pair[1], logs, nginx_config, target))
    ]
    lasting = [item for item in matches if not has_passed_since(item[0], logs, target, front, taken_at)]
    if not lasting:
        return
    (log, entry), kind, match = lasting[-1]
    same = [pair for pair, other, _ in lasting if other is kind]
    request = request_of(entry.text)
    path = request.path if request else "/"
    site = find_site(nginx_config, target.domain, target.backend)
    place = _place(site.server, path, kind.directives) if site else None
    where = place or target.site_file or target.nginx_config_file
    subject = match[1] if match.groups() and match[1] else ""
    met = path in (target.predict_path, target.health_path) and entry.time >= int(taken_at)
    empty = _empty_variable(nginx_config, site.server, path) if site and "proxy_pass at" in kind.en else None
    if site and kind.directives == ("auth_request",):
        empty = _length_of_no_body(site.server, path)
    yield Finding(
        "NGX060",
        (
            quote(log, entry.text),
            *((quote(place, _written(site.server, path, kind)),) if site and place else ()),
            *(empty.evidence if empty else ()),
        ),
        {
            "count": str(len(same)),
            "request": f"{request.method} {path}" if request else "?",
            "message": match[0],
            "where": where,
        },
        severity=Severity.FAIL if met or len(same) >= _REPEATED else Severity.WARN,
        verify=f"grep -F {shlex.quote(match[0][:60])} {shlex.quote(log)} | tail -n 5",
        fix=(
            Text(
                en=kind.en.format(subject, place=where, quoted=shlex.quote(subject)),
                zh=kind.zh.format(subject, place=where, quoted=shlex.quote(subject)),
            ),
            *(empty.steps if empty else ()),
            target.test_nginx,
            target.reload_nginx,
        ),
        explains=kind.explains,
    )


def _hides_the_service(entry: LogEntry, logs: Logs, config: NginxConfig, target: Target) -> bool:
    """Whether users miss the service's first page: try_files takes the site's own directory for it, would else hand it
    to the service, and more than a few of the users' requests are for it.

    Other directories lie among static files, and are rightly not listed."""
    request = request_of(entry.text)
    site = find_site(config, target.domain, target.backend)
    if request is None or request.path != "/" or site is None:
        return False
    scopes = _scopes(site.server, "/")
    tries = next((d for scope in scopes for d in scope.effective("try_files")[-1:]), None)
    if tries is None or "$uri/" not in tries.args[:-1]:
        return False
    last = tries.args[-1]
    leads_on = any(
        location.written == last or (not last.startswith("@") and location is site.server.location_for(last))
        for location in site.server.locations()
        if location.effective("proxy_pass")
    )
    for located in users_traffic(logs)[:1]:
        asked = sum(
            item.count for item in located.traffic.answers if item.path == "/" and item.status == "403"
        )
        everything = sum(item.count for item in located.traffic.answers)
        return leads_on and asked >= _REPEATED and asked >= _FIRST_PAGE_SHARE * everything
    return False


def is_known_kind(entry: LogEntry) -> bool:
    """Whether NGX060 judges the line."""
    return any(re.match(kind.words, message(entry.text)) for kind in _KINDS)


def _is_of_own_challenge(entry: LogEntry) -> bool:
    """Whether gte-ops, in any run, sent the request as a certificate authority would: TLS024 judges that."""
    request = request_of(entry.text)
    return request is not None and request.path.startswith(OWN_CHALLENGE)


def has_passed_since(
    pair: LocatedEntry, logs: Logs, target: Target, front: Front | NotSeen, taken_at: float
) -> bool:
    """Whether a later request of the same method and path was answered without an error: then it was fixed."""
    _, entry = pair
    request = request_of(entry.text)
    if request is None:
        # Of a handshake: scanners ask for names that no certificate is for, and others are served.
        return (
            isinstance(front, Front) and isinstance(front.predict, Exchange) and front.predict.failure is None
        )
    method, path = request
    # A line from the second in which the run began most likely precedes its first probe.
    if isinstance(front, Front) and entry.time <= taken_at:
        for answer, probe_path in ((front.predict, target.predict_path), (front.health, target.health_path)):
            if probe_path == path and isinstance(answer, Exchange) and (answer.status or 500) < 400:
                return True
    return any(
        item.last > entry.time
        for located in users_traffic(logs)
        for item in located.traffic.answers
        if (item.method, item.path) == (method, path) and item.status < "400"
    )


class _EmptyVariable(NamedTuple):
    """A variable that is empty for some requests: the place that leaves it so, and the steps against it."""

    evidence: tuple[Evidence, ...]
    steps: tuple[str | Text, ...]


def _empty_variable(config: NginxConfig, server: Server, path: str) -> _EmptyVariable | None:
    """The variable of proxy_pass whose definition leaves some requests without a value: a map, geo or split_clients
    without a default (ngx_http_map_module: the default is an empty string), or a set that only an if reaches."""
    written = next((d for scope in _scopes(server, path) for d in scope.effective("proxy_pass")[-1:]), None)
    names = _VARIABLE.findall(" ".join(written.args)) if written is not None else []
    for name in names:
        for block in (d for kind in _DEFAULTS for d in every(config, kind)):
            if block.args[-1:] != (f"${name}",) or any(
                line.name == _DEFAULTS[block.name] for line in block.block or ()
            ):
                continue
            place, default = block.where, _DEFAULTS[block.name]
            value = _only_upstream(config)
            line = f"{default} {value};"
            return _EmptyVariable(
                (
                    Evidence(
                        place,
                        Text(
                            en=f"{block.written} has no {default}: ${name} is empty for every"
                            " request that no line of it fits",
                            zh=f"{block.written} 没有 {default}：没有匹配到任何一行的请求，${name} 为空",
                        ),
                    ),
                ),
                (
                    Text(
                        en=f"In the {block.name} block at {place} give ${name} a {default}: {line}",
                        zh=f"在 {place} 的 {block.name} 块里给 ${name} 写上 {default}：{line}",
                    ),
                    *((put_after_line(place, line),) if value != "VALUE" else ()),
                ),
            )
        conditional = [d for d in every(config, "if") for inner in d.block or () if _sets(inner, name)]
        if conditional and not any(_sets(d, name) for d in _outside_of_if(server, path)):
            place = conditional[-1].where
            return _EmptyVariable(
                (
                    Evidence(
                        place,
                        Text(
                            en=f"${name} is set inside an if alone, and empty where the if does not hold",
                            zh=f"${name} 只在 if 里赋值，条件不成立时为空",
                        ),
                    ),
                ),
                (
                    Text(
                        en=f"Above the if at {place} set ${name} to the value of all other requests",
                        zh=f"在 {place} 的 if 之前，先用 set 给 ${name} 赋上其他请求要用的值",
                    ),
                ),
            )
    return None


def _length_of_no_body(server: Server, path: str) -> _EmptyVariable | None:
    """What has the service that decides for auth_request wait for a body that nginx does not send it: the request's
    Content-Length is passed on without the body (nginx documentation, ngx_http_auth_request_module, the example)."""
    asked = next(
        (d.args[0] for scope in _scopes(server, path) for d in scope.effective("auth_request") if d.args), ""
    )
    location = server.location_for(asked) if asked.startswith("/") else None
    lines = location.effective("proxy_pass_request_body") if location else ()
    if location is None or not lines or lines[-1].args != ("off",):
        return None
    set_headers = location.effective("proxy_set_header")
    headers = {d.args[0].lower(): d.args[1] for d in set_headers if len(d.args) == 2}
    if headers.get("content-length") == "" or location.value("proxy_pass_request_headers") == "off":
        return None
    line, empty = lines[-1], 'proxy_set_header Content-Length "";'
    # Headers of an outer level are inherited only where a level has none of its own.
    outer = () if any(location.own("proxy_set_header")) else set_headers
    inherited = " ".join(f"proxy_set_header {' '.join(map(written_argument, d.args))};" for d in outer)
    # The file has the secrets that are hidden here: a command would write the stars over them.
    # nginx and the reader of its files may differ about a backslash.
    is_hidden = HIDDEN in inherited or "\\" in inherited
    return _EmptyVariable(
        (
            quote(line.where, line.written),
            Evidence(
                line.where,
                Text(
                    en="no proxy_set_header Content-Length beside it: the service is told the length of a body that"
                    " never comes, and waits for it",
                    zh="旁边没有 proxy_set_header Content-Length：后端得到了请求体的长度，却等不到请求体",
                ),
            ),
        ),
        (
            Text(
                en=f"Empty Content-Length where the body is left out ({line.where}):",
                zh=f"在不转发请求体的地方清空 Content-Length（{line.where}）：",
            )
            if not is_hidden
            else Text(
                en=f"At {line.where} write {empty} and beside it, as they are there, the proxy_set_header lines of"
                f" {outer[0].where} and below: a block with one of its own inherits none",
                zh=f"在 {line.where} 写 {empty}，并把 {outer[0].where} 起的 proxy_set_header 各行原样抄到旁边："
                "块里一旦有自己的 proxy_set_header，就不再继承外层的",
            ),
            *(
                ()
                if is_hidden
                else (
                    replaced_in_line(
                        line.where,
                        "proxy_pass_request_body off;",
                        f"proxy_pass_request_body off; {inherited}{' ' if inherited else ''}{empty}",
                    ),
                )
            ),
        ),
    )


# The word for every other value, by block (ngx_http_map_module, ngx_http_geo_module, ngx_http_split_clients_module).
_DEFAULTS = {"map": "default", "geo": "default", "split_clients": "*"}
_VARIABLE = re.compile(r"\$\{?(\w+)")


def _sets(directive: Directive, name: str) -> bool:
    return directive.name == "set" and directive.args[:1] == (f"${name}",)


def _outside_of_if(server: Server, path: str) -> Iterator[Directive]:
    for scope in _scopes(server, path):
        yield from scope.own("set")


def _only_upstream(config: NginxConfig) -> str:
    """The name of the one upstream block; a placeholder if there are several or none."""
    names = [d.args[0] for d in every(config, "upstream") if d.args]
    return names[0] if len(names) == 1 else "VALUE"


def _scopes(server: Server, path: str) -> tuple[Scope, ...]:
    location = server.location_for(path)
    return (server,) if location is None else (location, server)


def _place(server: Server, path: str, directives: tuple[str, ...]) -> str | None:
    """``FILE:LINE`` of the first of ``directives`` in force for ``path``; else of its location or server block."""
    scopes = _scopes(server, path)
    for name in directives:
        for scope in scopes:
            if (effective := scope.effective(name)) and effective[-1].line:
                return effective[-1].where
    block = scopes[0].blocks[0]
    return block.where


def _written(server: Server, path: str, kind: _Kind) -> str:
    for name in kind.directives:
        for scope in _scopes(server, path):
            if effective := scope.effective(name):
                return f"{name} {' '.join(effective[-1].args)};"
    location = server.location_for(path)
    return f"location {location.written}" if location else "server"


CHECKS = (own_words,)
