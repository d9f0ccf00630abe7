"""A route's outcome in words, for a report and for a symptom without a cause."""

from __future__ import annotations

from ops.interpret.routing.model import OutcomeKind, Passed, RequestRoute, RouteOutcome
from ops.text.language import Text


def outcome_words(route: RequestRoute) -> Text:
    """Describe the outcome of the request in one sentence."""
    outcome = route.outcome
    if outcome.kind is OutcomeKind.PROXIED and outcome.passed is not None:
        return _passed(outcome.passed)
    if outcome.kind is OutcomeKind.FILE:
        return Text(
            en=f"nginx sends the file {outcome.path} with status {outcome.status}",
            zh=f"nginx 返回文件 {outcome.path}，状态码 {outcome.status}",
        )
    if outcome.kind is OutcomeKind.RESPONSE:
        return _response(outcome)
    if outcome.kind is OutcomeKind.UNKNOWN:
        return Text(
            en=f"what follows cannot be known from the configuration: {outcome.reason.en}",
            zh=f"后续无法从配置得知：{outcome.reason.zh}",
        )
    return outcome.reason


def _passed(request: Passed) -> Text:
    servers = ", ".join(server.address for server in request.servers if not server.is_down)
    behind = f" ({request.upstream})" if request.upstream else ""
    if not servers:
        return Text(
            en=f"{request.written}{behind}: the service would get {request.method} {request.uri}; which addresses that"
            " is was not seen",
            zh=f"{request.written}{behind}：后端会收到 {request.method} {request.uri}；没有看到对应的地址",
        )
    return Text(
        en=f"the service at {servers}{behind} gets {request.method} {request.uri} over {request.scheme},"
        f" Host {request.host}",
        zh=f"{servers}{behind} 上的服务通过 {request.scheme} 收到 {request.method} {request.uri}，"
        f"Host 为 {request.host}",
    )


def _response(outcome: RouteOutcome) -> Text:
    more = outcome.location or outcome.body
    tail = f": {more}" if more else ""
    zh_tail = f"：{more}" if more else ""
    reason_en = f" ({outcome.reason.en})" if outcome.reason.en else ""
    reason_zh = f"（{outcome.reason.zh}）" if outcome.reason.zh else ""
    return Text(
        en=f"nginx answers {outcome.status} itself{tail}{reason_en}",
        zh=f"nginx 自己返回 {outcome.status}{zh_tail}{reason_zh}",
    )
