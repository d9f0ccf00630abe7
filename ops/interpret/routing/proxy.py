"""Send a request on: the URI that the service gets, Host and the other headers, the addresses.

Source: nginx documentation, ngx_http_proxy_module (proxy_pass, proxy_set_header), ngx_http_proxy_create_request.
"""

from __future__ import annotations

import msgspec

from ops.facts.nginx import Directive
from ops.interpret.nginx import Scope
from ops.interpret.routing.files import enclosing_location
from ops.interpret.routing.model import (
    Header,
    Passed,
    RouteSurroundings,
    UndeterminedError,
    as_bytes,
    as_text,
    first_argument,
    is_on,
)
from ops.interpret.routing.upstream import (
    DEFAULT_PORTS,
    Authority,
    Resolved,
    find_upstream,
    is_address,
    resolve,
    split_authority,
)
from ops.interpret.routing.uri import escape
from ops.interpret.routing.values import Variables
from ops.text.language import Text

# nginx 1.29.7 and later use HTTP/1.1 to the service and keep the connection (nginx's CHANGES).
KEEPS_CONNECTIONS_SINCE = (1, 29, 7)
_OTHER_PROTOCOLS = {
    "uwsgi_pass": "uwsgi",
    "fastcgi_pass": "fastcgi",
    "scgi_pass": "scgi",
    "memcached_pass": "memcached",
}
# Headers of the client that nginx passes on only if proxy_set_header sets them.
_NOT_PASSED = (
    "host",
    "connection",
    "content-length",
    "transfer-encoding",
    "te",
    "keep-alive",
    "expect",
    "upgrade",
)


class UriState(msgspec.Struct, frozen=True):
    """The request's state that decides the URI sent on. ``unparsed``: the request target as received, None after a
    rewrite or an internal redirect replaced it; ``has_location``: the location's prefix may be replaced;
    ``is_escaped``: the path is escaped again."""

    unparsed: str | None
    has_location: bool
    is_escaped: bool


class ProxyDestination(msgspec.Struct, frozen=True):
    """The parts of a proxy_pass or a similar directive, with variables filled in (bytes)."""

    scheme: str
    authority: Authority
    uri: str
    has_variables: bool
    key: str


def destination(directive: Directive, variables: Variables) -> ProxyDestination:
    """Return scheme, host and URI of a proxy_pass or a similar directive. Raises UndeterminedError."""
    url = directive.args[0]
    where = directive.where
    value = variables.fill(url, where)
    scheme, rest = _OTHER_PROTOCOLS.get(directive.name, ""), value
    if directive.name in ("proxy_pass", "grpc_pass"):
        before, mark, after = value.partition("://")
        if mark and before.lower() in DEFAULT_PORTS:
            scheme, rest = before.lower(), after
        elif directive.name == "grpc_pass":
            scheme = "grpc"
        else:
            raise UndeterminedError(
                Text(
                    en=f"invalid URL prefix in {as_text(value)!r}: nginx answers 500",
                    zh=f"{as_text(value)!r} 不是有效的 URL 前缀：nginx 返回 500",
                ),
                where,
            )
    host, uri = _cut(rest) if directive.name == "proxy_pass" else (rest, "")
    authority = split_authority(as_text(host))
    if authority is None:
        raise UndeterminedError(
            Text(en=f"no host can be read in {as_text(value)!r}", zh=f"从 {as_text(value)!r} 读不出主机"),
            where,
        )
    return ProxyDestination(scheme, authority, uri, "$" in url, host)


def _cut(rest: str) -> tuple[str, str]:
    """Split the text after ``http://`` into host and URI; a socket's path ends at a colon."""
    if rest.startswith("unix:"):
        path, _, uri = rest.removeprefix("unix:").partition(":")
        return f"unix:{path}", uri
    end = min((at for at in map(rest.find, "/?") if at >= 0), default=len(rest))
    uri = rest[end:]
    return rest[:end], f"/{uri}" if uri.startswith("?") else uri


def upstream_uri(
    target: ProxyDestination, scope: Scope, variables: Variables, state: UriState
) -> tuple[str, bool]:
    """Return the request target that the service gets (bytes), and whether the location's prefix was replaced."""
    if target.has_variables and target.uri:
        return target.uri, False
    if not target.uri and state.unparsed is not None:
        return state.unparsed, False
    location = enclosing_location(scope)
    replaces = state.has_location and bool(target.uri) and location is not None
    prefix = len(as_bytes(location.pattern)) if replaces and location is not None else 0
    rest = variables.uri[min(prefix, len(variables.uri)) :]
    path = (target.uri if state.has_location else "") + (escape(rest) if state.is_escaped else rest)
    return path + (f"?{variables.arguments}" if variables.arguments else ""), replaces


def pass_on(
    directive: Directive,
    scope: Scope,
    http: Directive,
    variables: Variables,
    around: RouteSurroundings,
    state: UriState,
    version: tuple[int, ...],
) -> Passed:
    """Return the request as ``directive`` sends it on. Raises UndeterminedError."""
    where = directive.where
    target = destination(directive, variables)
    uri, is_replaced = upstream_uri(target, scope, variables, state)
    host = _host_header(target, find_upstream(http, target.authority))
    variables.proxy = {
        "host": host,
        "port": str(target.authority.port or DEFAULT_PORTS.get(target.scheme, 80)),
    }
    resolution = _resolve(directive, target, scope, http, around, where)
    if resolution.problem is not None and target.has_variables:
        raise UndeterminedError(resolution.problem, where)
    is_http = directive.name in ("proxy_pass", "grpc_pass")
    headers = _headers(scope, variables, host, version) if directive.name == "proxy_pass" else ()
    method = first_argument(scope, "proxy_method", "")[0] if directive.name == "proxy_pass" else ""
    return Passed(
        directive=directive.name,
        where=where,
        written=directive.args[0],
        scheme=target.scheme,
        method=as_text(variables.fill(method, where)).upper() if method else variables.method,
        uri=as_text(uri) if is_http else as_text(variables.uri),
        host=next((h.value or h.written for h in headers if h.name.lower() == "host"), as_text(host)),
        servers=resolution.servers,
        headers=headers,
        upstream=resolution.upstream.args[0] if resolution.upstream else None,
        upstream_where=resolution.upstream.where if resolution.upstream else "",
        is_path_replaced=is_replaced,
        resolved_at=resolution.at,
    )


def _resolve(
    directive: Directive,
    target: ProxyDestination,
    scope: Scope,
    http: Directive,
    around: RouteSurroundings,
    where: str,
) -> Resolved:
    if not target.has_variables or target.authority.is_unix or is_address(target.authority.host):
        return resolve(http, target.authority, target.scheme, around.names, where)
    if find_upstream(http, target.authority) is not None or _is_named_elsewhere(http, target):
        return resolve(http, target.authority, target.scheme, around.names, where)
    resolver = scope.effective("resolver")
    name = target.authority.host
    if not resolver:
        problem = Text(
            en=f"no resolver is defined to resolve {name}: nginx answers 502",
            zh=f"没有配置 resolver，解析不了 {name}：nginx 返回 502",
        )
        raise UndeterminedError(problem, directive.where)
    resolution = resolve(http, target.authority, target.scheme, around.names, where)
    at = f"resolver {' '.join(resolver[-1].args)} ({resolver[-1].where})"
    return msgspec.structs.replace(resolution, at=at, problem=None)


def _is_named_elsewhere(http: Directive, target: ProxyDestination) -> bool:
    """Whether a proxy_pass without variables has the same host and port: nginx then already knows the addresses."""

    def walk(block: Directive) -> bool:
        for d in block.block or ():
            if d.name == "proxy_pass" and d.args and "$" not in d.args[0]:
                scheme, mark, rest = d.args[0].partition("://")
                other = split_authority(_cut(rest)[0]) if mark else None
                if (
                    other is not None
                    and other.host.lower() == target.authority.host.lower()
                    and (other.port or DEFAULT_PORTS.get(scheme, 80))
                    == (target.authority.port or DEFAULT_PORTS.get(target.scheme, 80))
                ):
                    return True
            if walk(d):
                return True
        return False

    return walk(http)


def _host_header(target: ProxyDestination, upstream: Directive | None) -> str:
    """Return $proxy_host: the host, with its port unless that is the scheme's default (ngx_http_proxy_set_vars)."""
    authority = target.authority
    if authority.is_unix:
        return "localhost"
    host = target.key.rpartition(":")[0] if authority.port is not None else target.key
    usual = DEFAULT_PORTS.get(target.scheme, 80)
    if upstream is not None or authority.port in (None, usual):
        return host
    return f"{host}:{authority.port}"


def _headers(
    scope: Scope, variables: Variables, proxy_host: str, version: tuple[int, ...]
) -> tuple[Header, ...]:
    """Return the headers that nginx sets, without empty ones, then the client's own if nginx passes them on."""
    directives = [d for d in scope.effective("proxy_set_header") if len(d.args) == 2]
    keeps = version >= KEEPS_CONNECTIONS_SINCE
    headers: list[Header] = []
    names = {d.args[0].lower() for d in directives}
    if "host" not in names:
        headers.append(Header("Host", as_text(proxy_host), "$proxy_host", ""))
    if "connection" not in names and not keeps:
        headers.append(Header("Connection", "close", "close", ""))
    for d in directives:
        try:
            value: str | None = as_text(variables.fill(d.args[1], d.where))
        except UndeterminedError:
            value = None
        if value != "":
            headers.append(Header(d.args[0], value, d.args[1], d.where))
    if is_on(scope, "proxy_pass_request_headers", default=True):
        for name, value in variables.request.headers:
            if name.lower() not in names and name.lower() not in _NOT_PASSED:
                headers.append(Header(name, value, value, ""))
    return tuple(headers)
