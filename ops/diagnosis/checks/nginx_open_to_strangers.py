"""What nginx's configuration opens to anybody: an address that each visitor may choose, files beside those it serves.

Sources: nginx documentation, ngx_http_realip_module (set_real_ip_from), ngx_http_access_module, ngx_http_core_module
(alias replaces the location's prefix, nothing more)."""

from __future__ import annotations

import ipaddress
import posixpath
import re
from collections.abc import Iterator

from ops.diagnosis.checks.nginx_rate_limit import PRIVATE, counts_addresses
from ops.diagnosis.checks.nginx_site import site_server
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import replaced_argument, replaced_in_line
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.target import Target
from ops.interpret.nginx import Listen, Location, Scope, every, pattern_found
from ops.text.language import Text

# A CDN's own ranges are narrower (Cloudflare 104.16.0.0/13, 2a06:98c0::/29); nobody has all of a wider one.
_WIDER_THAN_ANYBODY_S = {4: 9, 6: 20}
_ANY_CAPTURE = re.compile(r"\^(/[\w/.-]*\w)\((?:\?<(\w+)>)?\.[*+]\)\$?")
_ASKED = ("$request_uri", "$uri", "$document_uri")
# They let nobody in, or take the request elsewhere.
_CLOSED = ("internal", "return", "proxy_pass", "auth_basic", "auth_request", "secure_link")


@check(
    "nginx.believed_address",
    "NGX072",
    en="only proxies may name the visitor's address",
    zh="只有代理能声明访问者的地址",
)
def believed_address(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX072: set_real_ip_from has everybody, or more than any proxy's own range, and an allow, a condition or a limit
    by address relies on what they say."""
    server = site_server(nginx_config, target)
    if server is None or not any(_is_reached_by_others(listen) for listen in server.listens):
        return
    scopes: tuple[Scope, ...] = (*server.locations(), server)
    for scope in scopes:
        wide = next((line for line in scope.effective("set_real_ip_from") if _is_anybody(line)), None)
        header = scope.value("real_ip_header") or "X-Real-IP"
        if wide is None or header == "proxy_protocol":
            continue
        relying = _by_address(scope, nginx_config)
        if relying is None:
            continue
        network = wide.args[0]
        limits = relying.name.startswith("limit_")
        yield Finding(
            "NGX072",
            (
                quote(wide.where, wide.written),
                quote(relying.where, relying.written),
                *(quote(line.where, line.written) for line in scope.effective("real_ip_header")[-1:]),
            ),
            {"network": network, "where": wide.where, "header": header, "relies": relying.where},
            summary=Text(
                en=f"nginx believes {network} ({wide.where}), which is anybody, when it names another address in"
                f" {header}; {relying.written} ({relying.where}) goes by that address: "
                + (
                    "whoever changes it with each request is never limited."
                    if limits
                    else "whoever names an address that is let in gets in."
                ),
                zh=f"{wide.where} 的 set_real_ip_from {network} 信任了所有人，任何人都能用 {header} 声明别的地址；"
                f"而 {relying.where} 的 {relying.written} 正是按这个地址判断："
                + ("每个请求换一个地址就不受限流。" if limits else "声明一个被放行的地址就能进来。"),
            ),
            fix=(
                Text(
                    en=f"At {wide.where} trust in its place the addresses of the proxies that stand before this nginx,"
                    " each by a set_real_ip_from of its own. Only if none does, take the line out: without it, limits"
                    " count all visitors behind a proxy as one",
                    zh=f"把 {wide.where} 改写成前面各个代理自己的地址，每个一行 set_real_ip_from。确认前面没有代理才能"
                    "删掉该行：否则代理后面的所有访问者会被限流算作一个",
                ),
                target.test_nginx,
                target.reload_nginx,
            ),
        )
        return


def _is_reached_by_others(listen: Listen) -> bool:
    """Whether others may connect there than a tunnel on this machine, or a proxy of one's own network: their word is
    all that there is."""
    if listen.host.startswith("unix:") or listen.host in ("127.0.0.1", "::1", "localhost"):
        return False
    try:
        address = ipaddress.ip_address(listen.host.strip("[]"))
    except ValueError:
        return True
    return not any(address in network for network in PRIVATE)


def _is_anybody(line: Directive) -> bool:
    try:
        network = ipaddress.ip_network(line.args[0] if line.args else "", strict=False)
    except ValueError:
        return False
    # All of 0.0.0.0/1 is "private" to nobody; 10.0.0.0/8 is.
    is_own = network.is_private or network.is_loopback or network.is_link_local
    return network.prefixlen < _WIDER_THAN_ANYBODY_S[network.version] and (
        not is_own or network.prefixlen == 0
    )


def _by_address(scope: Scope, config: NginxConfig) -> Directive | None:
    """What goes by the visitor's address in ``scope``: an allow beside deny all, a condition, a limit."""
    denies = any(line.args[:1] == ("all",) for line in scope.effective("deny"))
    allows = [line for line in scope.effective("allow") if line.args and line.args[0] != "all"]
    if denies and allows:
        return allows[0]
    by_address = {"$remote_addr", "$binary_remote_addr"} | {
        block.args[-1]
        for block in every(config, "geo")
        if block.args and (len(block.args) == 1 or block.args[0] in ("$remote_addr", "$binary_remote_addr"))
    }
    for condition in scope.own("if"):
        if by_address & set(condition.args):
            return condition
    limits = (line for name in ("limit_req", "limit_conn") for line in scope.effective(name))
    return next((line for line in limits if line.args and counts_addresses(line, config)), None)


@check(
    "nginx.beside_the_files",
    "NGX097",
    en="nginx serves the files of its directories alone",
    zh="nginx 只提供目录之内的文件",
)
def beside_the_files(nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX097: a location's prefix ends without a slash and its alias with one: two dots after the prefix lead to what
    lies beside the directory. A regular expression that takes everything after such a prefix does the same."""
    server = site_server(nginx_config, target)
    for location in server.locations() if server else ():
        alias = location.first_own("alias")
        prefix = _open_prefix(location, alias) if alias is not None else None
        if server is None or alias is None or prefix is None or _is_closed(location):
            continue
        asked = f"{prefix}../"
        if _is_refused(f"{asked}x", server, location):
            continue
        taken = server.location_for(f"{asked}x")
        if taken is None or taken.blocks[0] is not location.blocks[0]:
            continue
        directory = alias.args[0].partition("$")[0].rstrip("/")
        above = posixpath.dirname(directory)
        yield Finding(
            "NGX097",
            (
                quote(location.where, f"location {location.written}"),
                quote(alias.where, alias.written),
                Evidence(
                    location.where,
                    Text(
                        en=f"{asked}NAME is {directory}/../NAME, which is {above.rstrip('/')}/NAME",
                        zh=f"{asked}NAME 就是 {directory}/../NAME，也就是 {above.rstrip('/')}/NAME",
                    ),
                ),
            ),
            {"asked": asked, "directory": above, "where": location.where, "prefix": prefix},
            fix=(
                *(
                    (
                        Text(
                            en="End the prefix with a slash, as the alias does:",
                            zh="让 location 的前缀也以斜杠结尾，与 alias 一致：",
                        ),
                        replaced_argument(location.where, location.pattern, f"{location.pattern}/"),
                    )
                    if location.modifier in ("", "^~")
                    else (
                        Text(
                            en="Put the slash into the expression, before what it takes:",
                            zh="把斜杠写进正则表达式，放在捕获之前：",
                        ),
                        replaced_in_line(location.where, f"^{prefix}(", f"^{prefix}/("),
                    )
                ),
                target.test_nginx,
                target.reload_nginx,
                Text(
                    en=f"Then look in the access log for requests with {asked}, and give new values to the keys and"
                    f" passwords in {above} if there were any",
                    zh=f"再在访问日志里查找带 {asked} 的请求；如果有，更换 {above} 中的密钥和密码",
                ),
            ),
        )
        return


def _open_prefix(location: Location, alias: Directive) -> str | None:
    """The prefix after which two dots lead out of the alias; None if they do not."""
    path = alias.args[0] if alias.args else ""
    if location.modifier in ("", "^~"):
        is_open = not location.pattern.endswith("/") and location.pattern.startswith("/")
        return (
            location.pattern if is_open and path.endswith("/") and "$" not in path and path != "/" else None
        )
    match = _ANY_CAPTURE.fullmatch(location.pattern) if location.modifier in ("~", "~*") else None
    if match is None:
        return None
    captured = {"/$1", "/${1}", *((f"/${match[2]}", f"/${{{match[2]}}}") if match[2] else ())}
    fixed, slash, rest = path.rpartition("/$")
    return match[1] if fixed and "$" not in fixed and f"{slash}{rest}" in captured else None


def _is_refused(path: str, *scopes: Scope) -> bool:
    """Whether a condition on the path answers it before the file is looked for."""
    return any(
        len(condition.args) == 3
        and condition.args[0] in _ASKED
        and condition.args[1] in ("~", "~*")
        and pattern_found(condition.args[2], path, ignore_case=condition.args[1] == "~*")
        and any(line.name == "return" for line in condition.block or ())
        for scope in scopes
        for condition in scope.own("if")
    )


def _is_closed(location: Location) -> bool:
    return any(location.first_own(name) for name in _CLOSED) or any(
        line.args[:1] == ("all",) for line in location.effective("deny")
    )


CHECKS = (believed_address, beside_the_files)
