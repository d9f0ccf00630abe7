"""A route through nginx, for people and for programs. Nothing is decided here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ops.diagnosis.model import Status
from ops.interpret.address import join_address
from ops.interpret.routing.model import Header, OutcomeKind, RequestRoute, StepKind
from ops.interpret.routing.upstream import is_address
from ops.interpret.routing.words import outcome_words
from ops.report.model import BLANK, CommandReport, ReportLine
from ops.report.sentences import sentence
from ops.text.language import Language, Text
from ops.text.sanitize import without_controls

_STYLES = {StepKind.UNKNOWN: "bold magenta", StepKind.ASSUMED: "yellow"}
_AT = Text(en="sent to {}", zh="发往 {}")
_RESULT = Text(en="Result", zh="结果")
_HEADERS = Text(en="Headers that nginx writes", zh="nginx 写入的请求头")
_SERVERS = Text(en="Addresses", zh="后端地址")
_LIMITS = Text(en="Limits and time-outs in force", zh="生效的限制和超时")
_DEFAULT = Text(en="nginx's default", zh="nginx 默认值")
_AT_RUN_TIME = Text(en="known at run time: {}", zh="运行时才知道：{}")
_RESOLVED = Text(
    en="resolved once, when nginx is started or reloaded", zh="只在 nginx 启动或重新加载时解析一次"
)
_ASSUMED = Text(en="assumed: ", zh="假定：")


class RouteReport(CommandReport):
    """What `gte-ops route` reports."""

    command = "route"

    def __init__(self, route: RequestRoute) -> None:
        self.route = route

    @property
    def status(self) -> Status:
        """unknown where the route could not be computed to its end."""
        return Status.UNKNOWN if self.route.outcome.kind is OutcomeKind.UNKNOWN else Status.OK

    def headline(self, language: Language) -> str:
        """How the request ends."""
        return sentence(outcome_words(self.route), language)

    def lines(self, language: Language) -> Iterator[ReportLine]:
        """The steps with their places, the result, what is sent on, and the limits in force."""
        yield ReportLine(_request_line(self.route, language), style="bold")
        yield BLANK
        yield from step_lines(self.route, language)
        yield BLANK
        colon = "：" if language == "zh" else ": "
        words = self.headline(language)
        yield ReportLine(words, lead=_RESULT.to(language) + colon, lead_style="bold")
        if self.route.outcome.where:
            yield _place(self.route.outcome.where, 4)
        yield from _sent_on_lines(self.route, language)
        if self.route.limits:
            yield BLANK
            yield ReportLine(_LIMITS.to(language), style="bold")
        for limit in self.route.limits:
            where = limit.where or _DEFAULT.to(language)
            yield ReportLine(sentence(f"{limit.name} {limit.value}", language) + f"  {where}", 4)

    def document(self, language: Language) -> dict[str, Any]:
        """The route as docs/json.md describes it."""
        return _document(self.route, language)


def step_lines(route: RequestRoute, language: Language, indent: int = 0) -> Iterator[ReportLine]:
    """Each step of ``route``, and below it the place that decides it."""
    for number, step in enumerate(route.steps, 1):
        words = sentence(step.words, language)
        if step.kind is StepKind.ASSUMED:
            words = _ASSUMED.to(language) + words
        yield ReportLine(words, indent, _STYLES.get(step.kind, ""), lead=f"{number:2}. ")
        if step.where:
            yield _place(step.where, indent + 4)


def _place(where: str, indent: int) -> ReportLine:
    return ReportLine(without_controls(where), indent, "cyan", is_verbatim=True)


def _request_line(route: RequestRoute, language: Language) -> str:
    request = route.request
    url = f"{request.scheme}://{request.host or '-'}{request.target}"
    at = _AT.to(language).format(join_address(request.address, request.port))
    return sentence(f"{request.method} {url} ({at})", language)


def _sent_on_lines(route: RequestRoute, language: Language) -> Iterator[ReportLine]:
    proxy_pass = route.outcome.passed
    if proxy_pass is None:
        return
    if proxy_pass.servers:
        yield BLANK
        yield ReportLine(_SERVERS.to(language), style="bold")
    for server in proxy_pass.servers:
        words = sentence(" ".join((server.address, *server.parameters)), language)
        is_resolved = not server.address.startswith("unix:") and not is_address(server.name)
        host_name = f"  {server.name}: {_RESOLVED.to(language)}" if is_resolved else ""
        yield ReportLine(f"{words}{host_name}  {server.where}", 4)
    headers = [header for header in proxy_pass.headers if _is_of_nginx(header)]
    if headers:
        yield BLANK
        yield ReportLine(_HEADERS.to(language), style="bold")
    for header in headers:
        value = _AT_RUN_TIME.to(language).format(header.written) if header.value is None else header.value
        where = header.where or _DEFAULT.to(language)
        yield ReportLine(sentence(f"{header.name}: {value}", language) + f"  {where}", 4)


def _is_of_nginx(header: Header) -> bool:
    """Whether nginx writes the header; the client's own may hold its secrets, and are known to who asked."""
    return bool(header.where) or header.name in ("Host", "Connection")


def _document(route: RequestRoute, language: Language) -> dict[str, Any]:
    request, outcome, proxy_pass = route.request, route.outcome, route.outcome.passed
    return {
        "request": {
            "method": request.method,
            "url": f"{request.scheme}://{request.host or ''}{request.target}",
            "address": join_address(request.address, request.port),
        },
        "outcome": {
            "kind": outcome.kind.value,
            "status": outcome.status,
            "where": outcome.where,
            "location": outcome.location,
            "path": outcome.path,
            "summary": sentence(outcome_words(route), language),
        },
        "server": {"where": route.server_where, "names": list(route.server_names)},
        "location": {"where": route.location_where, "written": route.location},
        "steps": steps_document(route, language),
        "sent_on": proxy_pass
        and {
            "directive": proxy_pass.directive,
            "where": proxy_pass.where,
            "written": proxy_pass.written,
            "scheme": proxy_pass.scheme,
            "method": proxy_pass.method,
            "uri": proxy_pass.uri,
            "host": proxy_pass.host,
            "upstream": proxy_pass.upstream,
            "servers": [
                {"address": s.address, "where": s.where, "parameters": list(s.parameters)}
                for s in proxy_pass.servers
            ],
            "headers": [
                {"name": h.name, "value": h.value, "written": h.written, "where": h.where}
                for h in proxy_pass.headers
                if _is_of_nginx(h)
            ],
        },
        "limits": [{"name": x.name, "value": x.value, "where": x.where} for x in route.limits],
    }


def steps_document(route: RequestRoute, language: Language) -> list[dict[str, str]]:
    """The steps of ``route``, each with its kind, ``file:line`` and words."""
    return [
        {"kind": step.kind.value, "where": step.where, "words": sentence(step.words, language)}
        for step in route.steps
    ]
