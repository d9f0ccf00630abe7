"""Remedies of nginx's causes, and of certificates that only a reload takes into use. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ops.facts.host import Processes
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Exchange, Front, Upstreams
from ops.interpret import nginx as nginx_rules
from ops.interpret.service_name import is_prediction
from ops.interpret.site import find_site
from ops.repair.model import EditNginx, FileEdit, ReloadNginx, Remedy, Safety, StartNginx
from ops.repair.nginx_text import (
    NotLocatedError,
    insert_before,
    replace_argument,
    replace_statement,
    without_statement,
)
from ops.repair.plan.case import NO_NGINX, NO_PLAN, Case, difference, identity, not_edited
from ops.text.language import Text
from ops.text.reasons import reason

STATUS_429 = "limit_req_status 429;"
_SYSTEMCTL_START = "systemctl start "


def _start_nginx(case: Case) -> Iterator[Remedy]:
    config = case.snapshot.nginx_config
    start = case.target.start_nginx
    unit = start.removeprefix(_SYSTEMCTL_START) if start.startswith(_SYSTEMCTL_START) else None
    if not isinstance(config, NginxConfig):
        yield case.by_hand(
            Text(
                en=f"its configuration was not read: {config.reason}",
                zh=f"没有读到它的配置：{reason(config.reason).to('zh')}",
            )
        )
        return
    if case.untested is not None:
        yield case.by_hand(case.untested)
        return
    main = nginx_rules.Scope((nginx_rules.main_block(config),))
    if unit is None and main.value("daemon") == "off":
        yield case.by_hand(
            Text(
                en="`daemon off;`: another program is meant to start and hold this nginx",
                zh="配置了 daemon off;：这个 nginx 由别的程序启动和管理",
            )
        )
        return
    yield case.remedy(
        Safety.SAFE,
        StartNginx(unit),
        Text(en="start nginx, if its configuration passes nginx -t", zh="nginx -t 通过后启动 nginx"),
        commands=(case.target.test_nginx, start),
    )


def _reload_nginx(case: Case) -> Iterator[Remedy]:
    masters = case.nginx
    if not masters or case.untested is not None:
        yield case.by_hand(case.untested or NO_NGINX)
        return
    if (why := _reload_breaks(case)) is not None:
        # Not even with --fix=risky: whoever is served now would not be any more.
        yield case.by_hand(Text(en=f"nginx is not reloaded: {why.en}", zh=f"不重新加载 nginx：{why.zh}"))
        return
    yield case.remedy(
        Safety.SAFE,
        ReloadNginx(tuple(map(identity, masters)), _nginx_workers(case)),
        Text(en="reload nginx, if its configuration passes nginx -t", zh="nginx -t 通过后重新加载 nginx"),
        commands=(case.target.test_nginx, case.target.reload_nginx),
    )


def _reload_breaks(case: Case) -> Text | None:
    """Why loading the files on disk would break the service for users who are served now; None if it would not."""
    front, config, upstreams = case.snapshot.front, case.snapshot.nginx_config, case.snapshot.upstreams
    if not isinstance(front, Front) or not isinstance(config, NginxConfig):
        return None
    if not isinstance(front.predict, Exchange) or not is_prediction(front.predict, case.target):
        return None
    site = find_site(config, case.target.domain, case.target.backend)
    if site is None:
        return Text(
            en=f"users are served now, and the files on disk have no site for {case.target.domain} any more",
            zh=f"用户目前正常，而磁盘上的配置已没有 {case.target.domain} 的站点",
        )
    proxy_pass = nginx_rules.proxy_pass_for(config, site.server, case.target.predict_path)
    if proxy_pass is None or not proxy_pass.determined or not isinstance(upstreams, Upstreams):
        return None
    answers = [upstreams.answers.get(address) for address in proxy_pass.addresses]
    if answers and all(answer is not None and answer.failure for answer in answers):
        return Text(
            en=f"users are served now, and the file on disk sends them to {', '.join(proxy_pass.addresses)},"
            " where nobody answers",
            zh=f"用户目前正常，而磁盘上的配置会把请求转到 {'、'.join(proxy_pass.addresses)}，那里无人应答",
        )
    return None


def _answer_429(case: Case) -> Iterator[Remedy]:
    config = case.snapshot.nginx_config
    server = _site_server(case)
    if not isinstance(config, NginxConfig) or server is None:
        yield case.by_hand(NO_PLAN)
        return
    places: dict[tuple[str, int], str] = {}
    is_explicit = False
    scopes: tuple[nginx_rules.Scope, ...] = (server, *server.locations())
    for scope in scopes:
        limits, statuses = scope.effective("limit_req"), scope.effective("limit_req_status")
        if not limits or nginx_rules.limit_status(scope) != nginx_rules.DEFAULT_LIMIT_STATUS:
            continue
        directive = statuses[-1] if statuses else limits[0]
        places[directive.file, directive.line] = directive.name
        is_explicit = is_explicit or bool(statuses)

    def edited(text: str, line: int, name: str) -> str:
        change = insert_before if name == "limit_req" else replace_statement
        return change(text, line, name, STATUS_429)

    risk = (
        Text(en="somebody wrote 503 there on purpose", zh="那里的 503 是有人特意写的")
        if is_explicit
        else None
    )
    what = Text(
        en="have the rate limit answer 429: test it with nginx -t, reload, or put the old file back",
        zh="让限流返回 429：先用 nginx -t 检验再重新加载，不通过就恢复原文件",
    )
    yield _nginx_edit(case, places, edited, what, risk)


def _proxy_to_the_service(case: Case) -> Iterator[Remedy]:
    """NGX005: replace the one dead address by the service's own."""
    config, server = case.snapshot.nginx_config, _site_server(case)
    proxy_pass = (
        nginx_rules.proxy_pass_for(config, server, case.target.predict_path)
        if isinstance(config, NginxConfig) and server
        else None
    )
    if proxy_pass is None or len(proxy_pass.addresses) != 1:
        yield case.by_hand(NO_PLAN)
        return
    backend, dead = case.target.backend, proxy_pass.addresses[0]
    if proxy_pass.upstream is not None:
        members = [
            d
            for d in proxy_pass.upstream.block or ()
            if d.name == "server" and d.args and nginx_rules.normal_address(d.args[0]) == dead
        ]
        places = {(d.file, d.line): "server" for d in members}
        old = {(d.file, d.line): d.args[0] for d in members}
        new = dict.fromkeys(places, backend)
    else:
        file, _, line = proxy_pass.where.rpartition(":")
        scheme, mark, rest = proxy_pass.written.partition("://")
        authority = rest.partition("/")[0]
        if not mark or backend.startswith("unix:") or authority.startswith("unix:"):
            yield case.by_hand(NO_PLAN)
            return
        places = {(file, int(line)): "proxy_pass"}
        old = {(file, int(line)): proxy_pass.written}
        new = {(file, int(line)): f"{scheme}://{backend}{rest[len(authority) :]}"}
    by_line = {line: (old[file, line], new[file, line]) for file, line in places}

    def edited(text: str, line: int, name: str) -> str:
        return replace_argument(text, line, name, *by_line[line])

    yield _nginx_edit(
        case,
        places,
        edited,
        Text(
            en=f"proxy to {backend}, where the service listens, in place of {dead}",
            zh=f"改为转发到服务实际监听的 {backend}（原为 {dead}）",
        ),
        Text(
            en="it may be gunicorn's address that is wrong, and not nginx's",
            zh="写错的也可能是 gunicorn 的地址，而不是 nginx 的",
        ),
    )


def _ask_the_service_for_health(case: Case) -> Iterator[Remedy]:
    """NGX006: proxy the health path as predictions are proxied."""
    config, server = case.snapshot.nginx_config, _site_server(case)
    location = server.location_for(case.target.health_path) if server else None
    returns = location.first_own("return") if location else None
    proxy_pass = (
        nginx_rules.proxy_pass_for(config, server, case.target.predict_path)
        if isinstance(config, NginxConfig) and server
        else None
    )
    plain = proxy_pass is not None and proxy_pass.determined and "$" not in proxy_pass.written
    if returns is None or proxy_pass is None or not plain or "/" in proxy_pass.written.partition("://")[2]:
        yield case.by_hand(NO_PLAN)
        return
    statement = f"proxy_pass {proxy_pass.written};"
    # What it added to nginx's own answer would be added to the service's.
    added = {
        (d.file, d.line): d.name
        for d in (location.own("add_header") if location else ())
        if d.args[:1] and d.args[0].lower() == "content-type"
    }
    answers = (returns.file, returns.line)

    def edited(text: str, line: int, name: str) -> str:
        if name != "return":
            return without_statement(text, line, name)
        again = without_statement(text, line, added[answers]) if answers in added else text
        return replace_statement(again, line, name, statement)

    yield _nginx_edit(
        case,
        {**added, answers: "return"},
        edited,
        Text(en="pass health checks on to the service", zh="把健康检查转发给服务"),
        Text(
            en="whoever relies on this answer will see the service's real state",
            zh="依赖这个固定应答的监控会开始看到服务的真实状态",
        ),
    )


def _nginx_edit(
    case: Case,
    places: Mapping[tuple[str, int], str],
    edited: Callable[[str, int, str], str],
    what: Text,
    risk: Text | None,
) -> Remedy:
    """One remedy that edits the directives at ``places`` (file and line, with their names).

    ``edited``: a file's text, the line and the directive's name to the new text; raises NotLocatedError."""
    before: dict[str, bytes] = {}
    texts: dict[str, str] = {}
    try:
        # Bottom up: an edit moves only the lines after it.
        for (file, line), name in sorted(places.items(), reverse=True):
            if file not in case.context.files:
                raise NotLocatedError(f"{file} was not read")
            before.setdefault(file, case.context.files[file])
            text = texts.get(file) or before[file].decode("utf-8", "surrogateescape")
            texts[file] = edited(text, line, name)
    except NotLocatedError as error:
        return case.by_hand(
            Text(
                en=f"it is not edited automatically: {error}", zh=f"不自动修改：{reason(str(error)).to('zh')}"
            )
        )
    if not texts or not case.nginx:
        return case.by_hand(NO_PLAN if not texts else NO_NGINX)
    edits = tuple(
        FileEdit(file, before[file], text.encode("utf-8", "surrogateescape")) for file, text in texts.items()
    )
    why = next((case.context.not_edited[file] for file in texts if file in case.context.not_edited), None)
    # The reload loads every other change on disk too.
    breaks = _reload_breaks(case)
    if why is not None or case.untested is not None or breaks is not None:
        lines = [line for edit in edits for line in difference(edit)]
        return case.by_hand(not_edited(why) if why else case.untested or breaks or NO_PLAN, lines)
    return case.remedy(
        Safety.RISKY if risk else Safety.SAFE,
        EditNginx(edits, tuple(map(identity, case.nginx))),
        what,
        risk=risk,
        commands=(case.target.test_nginx, case.target.reload_nginx),
        diff=tuple(line for edit in edits for line in difference(edit)),
    )


def _site_server(case: Case) -> nginx_rules.Server | None:
    config = case.snapshot.nginx_config
    if not isinstance(config, NginxConfig):
        return None
    site = find_site(config, case.target.domain, case.target.backend)
    return site.server if site else None


def _nginx_workers(case: Case) -> tuple[int, ...]:
    processes = case.snapshot.processes
    if not isinstance(processes, Processes):
        return ()
    return tuple(
        worker.pid
        for master in case.nginx
        for worker in nginx_rules.nginx_workers(processes.processes, master.pid)
    )


PLANNERS: dict[str, Callable[[Case], Iterator[Remedy]]] = {
    "TLS008": _reload_nginx,
    "NGX002": _start_nginx,
    "NGX004": _reload_nginx,
    "NGX005": _proxy_to_the_service,
    "NGX006": _ask_the_service_for_health,
    "NGX018": _answer_429,
    "NGX050": _reload_nginx,
}
