"""What nginx's configuration does to the pages that browsers are sent: addresses that a page's script made up, words
that are to be replaced, scripts that a policy forbids.

Sources: nginx documentation, ngx_http_core_module (try_files), ngx_http_sub_module (only what is not compressed),
ngx_http_headers_module; W3C Content Security Policy Level 3."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ops.diagnosis.finding import Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line, replaced_statement, written_argument
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.target import Target
from ops.facts.traffic import Answers, ShellPage, SourceRoute
from ops.interpret.content_policy import forbidding_part, is_policy
from ops.interpret.nginx import Scope, pattern_found
from ops.interpret.site import find_site, scope_for
from ops.interpret.traffic import LocatedTraffic, service_traffic, users_traffic
from ops.text.language import Text

# Fewer are one client's.
_FEW = 3
# nginx sends a chunk for each of its buffers (proxy_buffers: a page of memory, or two).
_SMALLEST_BUFFER = 4096
_REFERRER = re.compile(r'"https?://([^/":\s]+)(?::\d+)?(/[^"?\s]*)[^"]*"')
# What answers by itself, so that no file is looked for: another program, or the words of the configuration.
_ANSWERS_ITSELF = frozenset(
    f"{program}_pass" for program in ("proxy", "fastcgi", "uwsgi", "scgi", "grpc", "memcached")
) | {"return", "internal", "deny", "rewrite"}
# What pages load and nobody navigates to, though it may have no ending.
_LOADED = re.compile(
    r"/(?:avatars?|images?|img|pictures?|photos?|thumb(?:nail)?s?|icons?|fonts?|media|videos?|audio|uploads?|files?"
    r"|downloads?|attachments?|assets?|static|css|js)(?:/|$)",
    re.IGNORECASE,
)
# Asked by a page's script, and no address of a page.
_OF_AN_INTERFACE = re.compile(r"/(?:api|graphql|rest|rpc|v\d+)(?:/|$)")


@check(
    "nginx.shell_pages",
    "NGX100",
    en="the addresses of a page's own router lead to the page",
    zh="前端路由的地址能打开页面",
)
def shell(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX100: beneath a page that a script draws, nginx itself answers 404 for addresses that the page leads to,
    because it looks for files alone."""
    site = find_site(nginx_config, target.domain, target.backend)
    for located in users_traffic(logs) if site and logs.shell_pages else ():
        for item in located.answers("404"):
            location = site.server.location_for(item.path) if site else None
            page = _page_of(item, target, logs)
            if location is None or page is None or _answers_itself(location.blocks):
                continue
            tries = location.first_own("try_files")
            if (tries and tries.args[-1] != "=404") or any(
                "404" in line.args[:-1] for line in location.effective("error_page")
            ):
                continue
            served = next(iter((*location.effective("alias"), *location.effective("root"))), None)
            place = tries or served or location.blocks[0]
            fallback = f"{page.prefix}index.html"
            statement = f"try_files $uri $uri/ {fallback};"
            yield Finding(
                "NGX100",
                (
                    quote(located.path, f"{item.count} x GET {item.path} 404"),
                    *(quote(located.path, line) for line in item.newest[:1]),
                    quote(page.path, page.prefix),
                    quote(place.where, place.written),
                ),
                {
                    "count": str(item.count),
                    "path": item.path,
                    "page": page.prefix,
                    "where": place.where,
                    "written": place.written,
                },
                fix=(
                    Text(
                        en=f"Let nginx send the page for what is no file: {statement} ({place.where})",
                        zh=f"让 nginx 对不是文件的地址返回该页面：{statement}（{place.where}）",
                    ),
                    *_tried(tries, served, statement, location.blocks[0]),
                    target.test_nginx,
                    target.reload_nginx,
                ),
            )
            return


def _answers_itself(blocks: tuple[Directive, ...]) -> bool:
    """Whether a location, a block in it, or one around it may answer in another way than by a file."""
    inner = [blocks[0]]
    for block in inner:
        inner += (line for line in block.block or () if line.block is not None)
        if any(line.name in _ANSWERS_ITSELF for line in block.block or ()):
            return True
    return any(
        line.name in ("return", "deny", "rewrite") for block in blocks[1:] for line in block.block or ()
    )


def _page_of(item: Answers, target: Target, logs: Logs) -> ShellPage | None:
    """The page beneath which the requests are, if it led to them: they name it, or an address beneath it, as what they
    came from."""
    last = item.path.rpartition("/")[2]
    if item.method != "GET" or item.count < _FEW or "." in last or any(item.upstreams):
        return None
    if _OF_AN_INTERFACE.search(item.path):
        return None
    for page in logs.shell_pages:
        led = any(
            match[1].lower() == target.domain and match[2].startswith(page.prefix)
            for line in item.newest
            for match in _REFERRER.finditer(line)
        )
        is_below = item.path.startswith(page.prefix) and not _LOADED.search(item.path, len(page.prefix) - 1)
        if is_below and led:
            return page
    return None


def _tried(
    tries: Directive | None, served: Directive | None, statement: str, block: Directive
) -> tuple[str, ...]:
    if tries is not None:
        return (replaced_statement(tries.where, "try_files", statement),)
    if served is not None and served in (block.block or ()) and served.line != block.line:
        return (put_before_line(served.where, statement),)
    return ()


@check(
    "nginx.replaced_words",
    "NGX101",
    en="nginx sees the words that it is to replace",
    zh="nginx 能看到要替换的文字",
)
def replaced_words(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX101: a location replaces words in what the service sends there, the service packs it for those who take it
    packed, and nginx hands on who does; users are sent just as many bytes as the service sent."""
    own = service_traffic(logs)
    for located in users_traffic(logs) if logs.packed_bodies else ():
        for item in located.answers("200"):
            scope = scope_for(nginx_config, target, item.path)
            packed = _packed(item, logs)
            if item.method != "GET" or item.count < _FEW or scope is None or packed is None:
                continue
            words, passed = scope.first_own("sub_filter"), scope.first_own("proxy_pass")
            headers = scope.effective("proxy_set_header")
            asks = any(line.args[:1] and line.args[0].lower() == "accept-encoding" for line in headers)
            if words is None or passed is None or asks or not _as_it_came(item, own):
                continue
            plain = 'proxy_set_header Accept-Encoding "";'
            yield Finding(
                "NGX101",
                (
                    quote(words.where, words.written),
                    quote(packed.where, packed.written),
                    quote(located.path, f"{item.count} x GET {item.path} 200"),
                ),
                {
                    "path": item.path,
                    "where": words.where,
                    "source": packed.where,
                },
                fix=(
                    Text(
                        en=f"Let nginx ask the service for what is not packed: {plain} beside sub_filter"
                        f" ({words.where}), with the outer blocks' proxy_set_header lines, which it replaces; gzip on;"
                        " packs it again for the users",
                        zh=f"让 nginx 向后端请求未压缩的内容：在 sub_filter（{words.where}）旁写 {plain}，"
                        "并重复外层的 proxy_set_header（否则不再继承）；再用 gzip on; 为用户压缩",
                    ),
                    *_unpacked(words, scope, headers, plain),
                    target.test_nginx,
                    target.reload_nginx,
                ),
            )
            return


def _unpacked(words: Directive, scope: Scope, headers: tuple[Directive, ...], plain: str) -> tuple[str, ...]:
    """The command that writes ``plain`` before sub_filter, with the headers that were inherited so far; none where
    sub_filter is in a file that other locations may include too."""
    if words.file != scope.blocks[0].file:
        return ()
    inherited = () if any(scope.own("proxy_set_header")) else headers
    lines = (
        *(f"{line.name} {' '.join(map(written_argument, line.args))};" for line in inherited),
        plain,
        "sub_filter ",
    )
    return (replaced_in_line(words.where, "sub_filter ", " ".join(lines)),)


def _packed(item: Answers, logs: Logs) -> SourceRoute | None:
    """The source's line that packs the answers of this path."""
    return next(
        (
            line
            for line in logs.packed_bodies
            if not line.pattern or pattern_found(f"^{line.pattern}/?$", item.path, ignore_case=False)
        ),
        None,
    )


def _as_it_came(item: Answers, own: LocatedTraffic | None) -> bool:
    """Whether users were sent as many bytes as the service sent, but for the chunks that nginx makes of them: replaced
    words mostly have another length."""
    same = next(
        (
            other
            for other in (own.traffic.answers if own else ())
            if (other.method, other.path, other.status) == (item.method, item.path, item.status)
        ),
        None,
    )
    return (
        same is not None
        and same.sent is not None
        and item.sent is not None
        and _is_in_chunks(int(same.sent.median), int(item.sent.median))
    )


def _is_in_chunks(length: int, sent: int) -> bool:
    """Whether a body of ``length`` bytes is sent in ``sent``, as it is or in chunks (RFC 9112, 7.1): each with its size
    in hexadecimal and CR LF twice, and an empty one at the end."""
    if length <= 0 or sent == length:
        return length > 0
    # Of what may begin a word that is to be replaced nginx makes a chunk of its own.
    most = length // _SMALLEST_BUFFER + 2
    digits = len(f"{length:x}")
    return any(5 + chunks * 5 <= sent - length <= 5 + chunks * (4 + digits) for chunks in range(1, most + 1))


@check(
    "nginx.content_policy",
    "NGX102",
    en="nginx's policy lets pages load their scripts",
    zh="nginx 的策略允许页面加载自己的脚本",
)
def content_policy(logs: Logs, nginx_config: NginxConfig, target: Target) -> Iterator[Finding]:
    """NGX102: users ask for a page, and a Content-Security-Policy that nginx adds there forbids a script or a style
    sheet that the page has."""
    for located in users_traffic(logs) if logs.page_resources else ():
        for item in (*located.answers("200"), *located.answers("304")):
            scope = scope_for(nginx_config, target, item.path)
            if item.method != "GET" or item.count < _FEW or scope is None:
                continue
            forbidden = _forbidden(item, scope, logs, nginx_config, target)
            if forbidden is None:
                continue
            line, part, loaded, where = forbidden
            yield Finding(
                "NGX102",
                (
                    quote(line.where, line.written),
                    quote(where, loaded.en),
                    quote(located.path, f"{item.count} x GET {item.path} {item.status}"),
                ),
                {
                    "path": item.path,
                    "part": part,
                    "loaded": loaded,
                    "source": where,
                    "where": line.where,
                },
            )
            return


def _forbidden(
    item: Answers, scope: Scope, logs: Logs, config: NginxConfig, target: Target
) -> tuple[Directive, str, Text, str] | None:
    """The line whose policy forbids something that the page has, the part of it, what is forbidden, and where the page
    has it."""
    site = find_site(config, target.domain, target.backend)
    for line in scope.effective("add_header"):
        if not is_policy(line):
            continue
        for resource in logs.page_resources:
            if resource.request_path != item.path:
                continue
            names = (target.domain, *(site.server.names if site else ()))
            part = forbidding_part(line.args[1], resource.kind, resource.origin, names)
            if part is not None:
                loaded = (
                    Text(en=resource.origin, zh=resource.origin)
                    if resource.origin
                    else Text(en="the script in the page itself", zh="写在页面里的脚本")
                )
                return line, part, loaded, resource.where
    return None


CHECKS = (shell, replaced_words, content_policy)
