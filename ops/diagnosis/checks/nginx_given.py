"""What clients are given with an answer whose status is good: its type, its encoding, and whose answer it is.

Sources: nginx documentation, ngx_http_core_module (types, default_type), ngx_http_proxy_module (proxy_set_header,
proxy_cache, proxy_ignore_headers); RFC 9110, 12.5.3 (Accept-Encoding); WHATWG MIME Sniffing and HTML (types of scripts
and style sheets)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise

from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import put_before_line, replaced_in_line, replaced_statement
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.facts.traffic import Answers
from ops.interpret.nginx import Scope, every, pattern_found, resolve_proxy_pass
from ops.interpret.site import scope_for
from ops.interpret.traffic import LocatedTraffic, service_traffic, users_traffic
from ops.text.language import Text
from ops.text.sanitize import HIDDEN

# So many requests are no accident of one client.
_FEW = 3


def _counted(located: LocatedTraffic, item: Answers) -> Evidence:
    return quote(located.path, f"{item.count} x {item.method} {item.path} {item.status}")


# --- types ------------------------------------------------------------------------------------------------------------

# The types with which a browser takes a style sheet, a script, a module, an image.
_TAKEN_AS = {
    "css": ("text/css",),
    "js": ("application/javascript", "text/javascript", "application/x-javascript"),
    "mjs": ("application/javascript", "text/javascript", "application/x-javascript"),
    "svg": ("image/svg+xml",),
    "wasm": ("application/wasm",),
}


@check(
    "nginx.file_types",
    "NGX091",
    en="nginx sends files with the type that browsers need",
    zh="nginx 以浏览器需要的类型发送文件",
)
def file_types(
    nginx_config: NginxConfig,
    target: Target,
    logs: Logs,
    host_names: HostNames | NotSeen,
    nginx_test: NginxTest | NotSeen,
) -> Iterator[Finding]:
    """NGX091: users are sent style sheets, scripts or modules from files whose type browsers refuse: the types in force
    do not list the file's end."""
    if isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0:
        return
    for located in users_traffic(logs)[:1]:
        for item in located.answers("200", "304"):
            taken = _TAKEN_AS.get(_end(item.path))
            scope = scope_for(nginx_config, target, item.path)
            if taken is None or scope is None or item.method != "GET" or item.count < _FEW:
                continue
            given = _type_of(item.path, scope)
            if (
                given in taken
                or _is_meant(scope)
                or not _is_from_a_file(item, nginx_config, target, host_names)
            ):
                continue
            blocks = scope.effective("types")
            place = (*scope.blocks[:1], *scope.effective("default_type")[-1:], *blocks[-1:])[-1]
            yield Finding(
                "NGX091",
                (_counted(located, item), _what_is_listed(place, given, scope)),
                {
                    "request": f"GET {item.path}",
                    "given": given,
                    "wanted": taken[0],
                    "where": place.where,
                },
                fix=(
                    *_listed(place, item.path, nginx_config, has_types=bool(blocks)),
                    target.test_nginx,
                    target.reload_nginx,
                ),
            )
            return


def _is_meant(scope: Scope) -> bool:
    """Whether the type was chosen: for a download (Content-Disposition), by a header, or by an emptied table beside
    default_type."""
    chosen = {"content-disposition", "content-type"}
    if scope.effective("more_set_headers") or any(
        line.args[0].lower() in chosen for line in scope.effective("add_header") if line.args
    ):
        return True
    tables = scope.effective("types")
    return bool(tables) and not any(table.block for table in tables) and _is_of_one_block(scope, tables[0])


def _is_of_one_block(scope: Scope, table: Directive) -> bool:
    """Whether default_type is in the block that has ``table``."""
    block = next(block for block in scope.blocks if table in (block.block or ()))
    return any(line.name == "default_type" for line in block.block or ())


def _end(path: str) -> str:
    return path.rpartition(".")[2].lower()


def _lists(table: Directive, end: str) -> bool:
    return any(end in line.args for line in table.block or ())


def _type_of(path: str, scope: Scope) -> str:
    """The type that nginx gives a file (ngx_http_core_module, types: by its end, else default_type). Without any types
    nginx knows html, gif and jpg alone."""
    end = _end(path)
    for block in scope.effective("types"):
        for line in block.block or ():
            if end in line.args:
                return line.name
    return scope.value("default_type") or "text/plain"


def _is_from_a_file(
    item: Answers, config: NginxConfig, target: Target, host_names: HostNames | NotSeen
) -> bool:
    from ops.interpret.routing.model import FileKind, OutcomeKind
    from ops.interpret.routing.request import probe_route

    path = item.path.replace("*", "1")
    missing = probe_route(config, target, host_names, "GET", path)
    there = probe_route(config, target, host_names, "GET", path, assumed_file=FileKind.FILE)
    return there.outcome.kind is OutcomeKind.FILE and missing.outcome.passed is None


def _what_is_listed(place: Directive, given: str, scope: Scope) -> Evidence:
    tables = [line for block in scope.blocks for line in block.block or () if line.name == "types"]
    if not tables:
        words = Text(
            en=f"no types are included, so it is sent as {given}",
            zh=f"没有 include 任何 types，因此以 {given} 发送",
        )
    elif len(tables) == len(scope.effective("types")):
        words = Text(
            en=f"the types in force here do not list it, so it is sent as {given}",
            zh=f"这里生效的 types 没有列出它，因此以 {given} 发送",
        )
    else:
        words = Text(
            en=f"the types in force here do not list it, so it is sent as {given}; a types block replaces those of the"
            " blocks around it (mime.types too)",
            zh=f"这里生效的 types 没有列出它，因此以 {given} 发送；types 块会替换外层的 types（包括 mime.types）",
        )
    return Evidence(place.where, words)


def _listed(place: Directive, path: str, config: NginxConfig, *, has_types: bool) -> tuple[str | Text, ...]:
    """Steps to have the file's end in the table in force: the whole of mime.types where another table took its place
    and it lists the end; else a line in that table."""
    end = _end(path)
    tables = [table for table in every(config, "types") if table.file.endswith("/mime.types")]
    if not has_types:
        include = f"include {tables[0].file if tables else '/etc/nginx/mime.types'};"
        return (Text(en=f"In http {{ }} write {include}", zh=f"在 http {{ }} 里写 {include}"),)
    usual = next((table for table in tables if table.file != place.file and _lists(table, end)), None)
    if usual is None:
        line = f"{_TAKEN_AS[end][0]} {end};"
        return (
            Text(
                en=f"Add the line {line} to the types block at {place.where}:",
                zh=f"在 {place.where} 的 types 块里加一行 {line}：",
            ),
            _with_line(place, line),
        )
    include = f"include {usual.file};"
    return (
        Text(
            en=f"Give the block the usual types too: {include} beside types at {place.where} (or delete that types"
            " block):",
            zh=f"让这个块也有常用的类型：在 {place.where} 的 types 旁写 {include}（或删除该 types 块）：",
        ),
        put_before_line(place.where, include)
        if _stands_alone(place, config)
        else replaced_in_line(place.where, "types {", f"{include} types {{"),
    )


def _stands_alone(block: Directive, config: NginxConfig) -> bool:
    """Whether nothing but ``block`` begins on its line."""

    def beside(directives: tuple[Directive, ...]) -> Iterator[Directive]:
        for directive in directives:
            if directive != block:
                yield directive
                yield from beside(directive.block or ())

    return not any((d.file, d.line) == (block.file, block.line) for d in beside(config.directives))


def _with_line(table: Directive, line: str) -> str:
    """The command that adds ``line`` to a types block: between two of its lines, else behind its brace."""
    lines = table.block or ()
    later = next((b for a, b in pairwise(lines) if a.file == b.file and a.line < b.line), None)
    if later is not None:
        return put_before_line(later.where, line)
    return replaced_in_line(table.where, "types {", f"types {{ {line}")


# --- encoding ---------------------------------------------------------------------------------------------------------


@check(
    "nginx.encoding",
    "NGX092",
    en="answers come in an encoding that the client takes",
    zh="响应使用客户端接受的编码",
)
def encoding(
    front: Front, backend: Backend | NotSeen, target: Target, nginx_config: NginxConfig
) -> Iterator[Finding]:
    """NGX092: the prediction comes compressed, and the doctor's request takes no encoding (identity): nginx asks for
    one in every client's name, or the service does not look."""
    answer = front.predict
    if not isinstance(answer, Exchange) or answer.status is None:
        return
    name = answer.header("content-encoding").strip().lower()
    if not name or name == "identity":
        return
    scope = scope_for(nginx_config, target, target.predict_path)
    lines = [
        line
        for line in (scope.effective("proxy_set_header") if scope else ())
        if len(line.args) > 1 and line.args[0].lower() == "accept-encoding"
    ]
    asked = next((line for line in lines if line.args[1] not in ("", "$http_accept_encoding")), None)
    own = backend.predict if isinstance(backend, Backend) else None
    by_service = isinstance(own, Exchange) and own.header("content-encoding").strip().lower() == name
    if asked is None and not by_service:
        return
    where = asked.where if asked else f"http://{target.backend}{target.predict_path}"
    yield Finding(
        "NGX092",
        (
            quote(f"{answer.method} {answer.url}", f"Accept-Encoding: identity; Content-Encoding: {name}"),
            *((quote(asked.where, asked.written),) if asked else ()),
            *(
                (quote(own.url, f"Content-Encoding: {own.header('content-encoding') or '-'}"),)
                if isinstance(own, Exchange)
                else ()
            ),
        ),
        {"encoding": name, "where": where},
        fix=_as_the_client_asks(asked, where, target),
    )


def _as_the_client_asks(asked: Directive | None, where: str, target: Target) -> tuple[str | Text, ...]:
    if asked is None:
        return (
            Text(
                en=f"Have the application compress only for clients whose Accept-Encoding names it ({where})",
                zh=f"让应用只对 Accept-Encoding 里声明了的客户端压缩（{where}）",
            ),
        )
    return (
        Text(
            en=f"Delete proxy_set_header Accept-Encoding at {where}: nginx then passes on what each client takes"
            " (gunzip on; unpacks for those that take none)",
            zh=f"删除 {where} 的 proxy_set_header Accept-Encoding：nginx 会转发每个客户端自己的值"
            "（gunzip on; 可为不支持的客户端解压）",
        ),
        replaced_statement(where, f"{asked.name} {asked.args[0]}", ""),
        target.test_nginx,
        target.reload_nginx,
    )


# --- the cache --------------------------------------------------------------------------------------------------------

# The variables with which a key or a condition tells no users apart; every other one may.
_OF_ALL_USERS = frozenset(
    {
        "scheme", "host", "http_host", "proxy_host", "proxy_port", "server_name", "server_port", "server_addr",
        "request_method", "request_uri", "uri", "document_uri", "is_args", "args", "query_string",
        "http_accept", "http_accept_encoding", "http_accept_language", "http_origin", "http_pragma",
        "http_cache_control", "http_user_agent",
    }
)  # fmt: skip
_VARIABLE = re.compile(r"\$\{?(\w+)")
_WHOSE = ("cookie", "authorization")


@check(
    "nginx.private_answers",
    "NGX093",
    en="nginx's cache heeds what the service marks private",
    zh="nginx 缓存遵守后端对私有内容的声明",
)
def private_answers(
    nginx_config: NginxConfig, target: Target, logs: Logs, backend: Backend | NotSeen
) -> Iterator[Finding]:
    """NGX093: nginx gives users answers from its cache for a path whose answers the service marks as one user's or not
    to be kept (in its source, or in its answer to the doctor), which nginx ignores, and nothing in the cache's key or
    conditions may tell users apart."""
    own = service_traffic(logs)
    if own is None or own.traffic.is_conditional or own.traffic.omitted:
        return
    for located in users_traffic(logs)[:1]:
        for item in located.answers("200"):
            scope = scope_for(nginx_config, target, item.path)
            same = (item.method, item.path, item.status)
            asked = sum(a.count for a in own.traffic.answers if (a.method, a.path, a.status) == same)
            if scope is None or item.method != "GET" or item.count - asked < _FEW:
                continue
            marks = _marks(item.path, target, logs, backend)
            ignored = _ignored(scope, marks, nginx_config)
            if ignored is None:
                continue
            where = ignored.where
            yield Finding(
                "NGX093",
                (
                    _counted(located, item),
                    Evidence(own.path, Text(en=f"{asked} of them", zh=f"其中 {asked} 个")),
                    *marks.values(),
                    quote(where, ignored.written),
                    *(quote(line.where, line.written) for line in scope.effective("proxy_cache")[-1:]),
                ),
                {
                    "given": str(item.count - asked),
                    "count": str(item.count),
                    "path": item.path,
                    "where": where,
                },
                fix=(_let_it_count(where), *_without(ignored, target)),
            )
            return


def _without(line: Directive, target: Target) -> tuple[str, ...]:
    return (replaced_statement(line.where, line.name, ""), target.test_nginx, target.reload_nginx)


def _let_it_count(where: str) -> Text:
    return Text(
        en=f"Let the service's Set-Cookie and Cache-Control count again (delete the line at {where}), or leave requests"
        " of known users out: proxy_cache_bypass and proxy_no_cache $http_authorization $cookie_NAME; then empty the"
        " cache",
        zh=f"让后端的 Set-Cookie 和 Cache-Control 重新生效（删除 {where} 那一行），或让已登录用户的请求"
        "不经缓存：proxy_cache_bypass 和 proxy_no_cache $http_authorization $cookie_NAME；再清空缓存",
    )


def _marks(path: str, target: Target, logs: Logs, backend: Backend | NotSeen) -> dict[str, Evidence]:
    """The headers by which the service marks its answers at the path as one user's or not to be kept, each with what
    says so."""
    marks = {
        route.mark: quote(route.where, route.written)
        for route in logs.private_routes
        if pattern_found(f"^{route.pattern}/?$", path, ignore_case=False)
    }
    answer = backend.health if isinstance(backend, Backend) and path == target.health_path else None
    if isinstance(answer, Exchange):
        kept = answer.header("cache-control").lower()
        if "private" in kept or "no-store" in kept:
            marks["cache-control"] = quote(answer.url, f"Cache-Control: {kept}")
        if answer.header("set-cookie"):
            marks["set-cookie"] = quote(answer.url, "Set-Cookie")
    return marks


def _ignored(scope: Scope, marks: Iterable[str], config: NginxConfig) -> Directive | None:
    """The line by which the cache in force ignores every one of ``marks``; None if users may be told apart, if the
    service is not told who asks, or if not one address answers alone (another one's log has the rest)."""
    lines = scope.effective("proxy_ignore_headers")
    ignored = {word.lower() for line in lines for word in line.args}
    kept = [line.args for line in scope.effective("proxy_cache_valid")]
    is_kept = any("200" in args or "any" in args or len(args) == 1 for args in kept)
    passes = scope.effective("proxy_pass")
    if (
        scope.value("proxy_cache") in (None, "off")
        or not marks
        or not ignored.issuperset(marks)
        or not is_kept
        or not passes
        or _tells_users_apart(scope)
    ):
        return None
    passed = resolve_proxy_pass(config, scope, passes[-1])
    if not passed.determined or len(passed.addresses) != 1:
        return None
    return next(line for line in lines if any(word.lower() in marks for word in line.args))


def _tells_users_apart(scope: Scope) -> bool:
    conditions = [
        word
        for name in ("proxy_cache_key", "proxy_cache_bypass", "proxy_no_cache")
        for line in scope.effective(name)
        for word in line.args
    ]
    emptied = any(
        line.args[0].lower() in _WHOSE and line.args[1:] == ("",)
        for line in scope.effective("proxy_set_header")
        if line.args
    )
    hides = any(
        line.args[:1] and line.args[0].lower() == "set-cookie"
        for line in scope.effective("proxy_hide_header")
    )
    return (
        emptied
        or hides
        or HIDDEN in conditions
        or any(set(_VARIABLE.findall(word)) - _OF_ALL_USERS for word in conditions)
    )


CHECKS = (file_types, encoding, private_answers)
