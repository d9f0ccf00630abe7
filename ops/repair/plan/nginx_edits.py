"""Edits of nginx's configuration that need no past. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from ops.diagnosis.checks.nginx_site import CLIENTS, REFUSALS
from ops.facts.machine import Machine
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.interpret import nginx as nginx_rules
from ops.interpret.site import find_site
from ops.repair.model import FileEdit, Remedy
from ops.repair.nginx_text import (
    NotLocatedError,
    insert_before,
    moved_before_block,
    replace_argument_at,
    replace_statement,
)
from ops.repair.plan.case import NO_PLAN, Case
from ops.repair.plan.edits import exchange
from ops.repair.plan.gunicorn import restart_gunicorn
from ops.text.language import Text

# Directives of the http level alone that are often written into a server block (nginx documentation, Context: http).
_OF_HTTP = ("limit_req_zone", "limit_conn_zone", "log_format", "proxy_cache_path")
_NOT_ALLOWED = re.compile(r'"(\w+)" directive is not allowed here in (\S+):(\d+)')
_OPEN_FILES = 65535


def _move_to_http(case: Case) -> Iterator[Remedy]:
    """NGX003: a directive of the http level stands in a server block."""
    test = case.snapshot.nginx_test
    lines = test.lines if isinstance(test, NginxTest) else ()
    match = next((match for line in lines if (match := _NOT_ALLOWED.search(line))), None)
    if match is None or match[1] not in _OF_HTTP:
        yield case.by_hand(NO_PLAN)
        return
    name, file, line = match[1], match[2], int(match[3])
    yield _edited(
        case,
        file,
        lambda text: moved_before_block(text, line, name, "server"),
        Text(
            en=f"move {name} ({file}:{line}) out of the server block, to the http level",
            zh=f"把 {name}（{file}:{line}）移出 server 块，放到 http 级",
        ),
        None,
    )


def _let_clients_in(case: Case) -> Iterator[Remedy]:
    """NGX010: take the documented clients out of the User-Agent pattern."""
    directive = _refusing_condition(case)
    if directive is None:
        yield case.by_hand(NO_PLAN)
        return
    old = directive.args[2]
    new = _without_clients(old, ignore_case=directive.args[1] == "~*")
    if new is None:
        yield case.by_hand(NO_PLAN)
        return
    yield _edited(
        case,
        directive.file,
        lambda text: replace_argument_at(text, directive.line, "if", old, new),
        Text(
            en=f"let the documented clients in: {directive.file}:{directive.line} refuses {new} and not {old}",
            zh=f"放行文档中的客户端：{directive.file}:{directive.line} 由拒绝 {old} 改为 {new}",
        ),
        Text(en="somebody wrote the filter on purpose", zh="这条过滤规则是有人特意写的"),
    )


def _refusing_condition(case: Case) -> Directive | None:
    config = case.snapshot.nginx_config
    if not isinstance(config, NginxConfig):
        return None
    site = find_site(config, case.target.domain, case.target.backend)
    location = site.server.location_for(case.target.predict_path) if site else None
    scopes: tuple[nginx_rules.Scope, ...] = (site.server,) if site else ()
    for scope in (*scopes, *((location,) if location else ())):
        for directive in scope.own("if"):
            is_agent = len(directive.args) == 3 and directive.args[0] == "$http_user_agent"
            refuses = any(
                d.name == "return" and d.args[:1] and d.args[0] in REFUSALS for d in directive.block or ()
            )
            if is_agent and refuses and directive.args[1] in ("~", "~*"):
                condition: Directive = directive
                return condition
    return None


def _without_clients(pattern: str, *, ignore_case: bool) -> str | None:
    """``pattern``, an alternation, without the words that match a documented client; None if it is no plain one."""
    is_group = pattern.startswith("(") and pattern.endswith(")")
    words = (pattern[1:-1] if is_group else pattern).split("|")
    if any(re.search(r"[()\[\]]", word) for word in words):
        return None

    def refuses(word: str) -> bool:
        return any(
            nginx_rules.pattern_found(word, agent, ignore_case=ignore_case) for agent in CLIENTS.values()
        )

    served_words = [word for word in words if not refuses(word)]
    if not served_words or len(served_words) == len(words):
        return None
    joined = "|".join(served_words)
    return f"({joined})" if is_group else joined


def _proxy_in_place_of_a_redirect(case: Case) -> Iterator[Remedy]:
    """NGX014: the location of predictions answers with a redirect: have it proxy as the health check's does."""
    config = case.snapshot.nginx_config
    site = (
        find_site(config, case.target.domain, case.target.backend)
        if isinstance(config, NginxConfig)
        else None
    )
    if site is None or not isinstance(config, NginxConfig):
        yield case.by_hand(NO_PLAN)
        return
    location = site.server.location_for(case.target.predict_path)
    redirect = location.first_own("return") if location else None
    passed = nginx_rules.proxy_pass_for(config, site.server, case.target.health_path)
    if redirect is None or not redirect.args[:1] or not redirect.args[0].startswith("3") or passed is None:
        yield case.by_hand(NO_PLAN)
        return
    if not passed.determined or "$" in passed.written or "/" in passed.written.partition("://")[2]:
        yield case.by_hand(NO_PLAN)
        return
    statement = f"proxy_pass {passed.written};"
    yield _edited(
        case,
        redirect.file,
        lambda text: replace_statement(text, redirect.line, "return", statement),
        Text(
            en=f"pass {case.target.predict_path} on to the service ({redirect.file}:{redirect.line})",
            zh=f"把 {case.target.predict_path} 转发给服务（{redirect.file}:{redirect.line}）",
        ),
        Text(en="somebody wrote the redirect on purpose", zh="这条跳转是有人特意写的"),
    )


def _more_open_files(case: Case) -> Iterator[Remedy]:
    """HST004: worker_rlimit_nofile of nginx; gunicorn is restarted."""
    config, machine = case.snapshot.nginx_config, case.snapshot.machine
    sources = {piece.source for piece in case.cause.evidence}
    tight = {
        item.process
        for item in (machine.open_files if isinstance(machine, Machine) else ())
        if f"/proc/{item.pid}/limits" in sources
    }
    if tight == {"gunicorn"}:
        # A limit that was set on a running worker ends with it.
        yield from restart_gunicorn(case)
        return
    if not isinstance(config, NginxConfig) or "nginx" not in tight:
        yield case.by_hand(NO_PLAN)
        return
    main = nginx_rules.main_block(config)
    present = next((d for d in main.block or () if d.name == "worker_rlimit_nofile"), None)
    first = present or next((d for d in main.block or () if d.file == config.file), None)
    if first is None:
        yield case.by_hand(NO_PLAN)
        return
    statement = f"worker_rlimit_nofile {_OPEN_FILES};"
    change = replace_statement if present else insert_before
    yield _edited(
        case,
        first.file,
        lambda text: change(text, first.line, first.name, statement),
        Text(
            en=f"let nginx's workers open {_OPEN_FILES} files",
            zh=f"允许 nginx 工作进程打开 {_OPEN_FILES} 个文件",
        ),
        None,
    )


def _edited(case: Case, file: str, change: Callable[[str], str], what: Text, risk: Text | None) -> Remedy:
    before, real = case.context.files.get(file), case.context.real.get(file)
    if before is None or real is None:
        return case.by_hand(NO_PLAN)
    try:
        after = change(before.decode("utf-8", "surrogateescape"))
    except NotLocatedError:
        return case.by_hand(NO_PLAN)
    return exchange(case, (FileEdit(real, before, after.encode("utf-8", "surrogateescape")),), what, risk)


PLANNERS: dict[str, Callable[[Case], Iterator[Remedy]]] = {
    "HST004": _more_open_files,
    "NGX003": _move_to_http,
    "NGX010": _let_clients_in,
    "NGX014": _proxy_in_place_of_a_redirect,
}
