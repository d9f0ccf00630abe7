"""Judge of the path that nginx passes on.

Sources: nginx documentation, ngx_http_proxy_module (proxy_pass), ngx_http_rewrite_module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from ops.diagnosis.checks.probed_prediction import (
    GATEWAY_ERRORS,
    ProbedPrediction,
    edited,
    leads_to_service,
    probed_prediction,
)
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig, NginxTest
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.interpret.service_name import reaches_service
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import Passed, RequestRoute


@check(
    "nginx.path",
    "NGX030",
    en="the service gets the path that was asked for",
    zh="后端收到的路径与请求的一致",
)
def path(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX030: the service gets another path than the client requested, and predicts at the requested one; or it gets
    the same path, and predicts at the one without the location's prefix."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    computed = probed.route()
    proxy_pass = computed.outcome.passed
    if proxy_pass is None:
        return
    shorter = backend.without_prefix if isinstance(backend, Backend) else None
    if shorter is not None and reaches_service(shorter, target):
        proof: _PathProof | None = _keeps_prefix(probed, computed, proxy_pass, shorter, target)
    else:
        proof = _changes_path(probed, computed, proxy_pass, target)
    if proof is not None:
        yield Finding("NGX030", proof.evidence, proof.facts, summary=proof.summary, fix=proof.fix)


class _PathProof(NamedTuple):
    """That the service gets another path than it serves: the parts of the finding."""

    evidence: tuple[Evidence, ...]
    facts: dict[str, str | Text]
    fix: tuple[str | Text, ...] | None
    summary: Text | None = None


def _keeps_prefix(
    probed: ProbedPrediction, computed: RequestRoute, proxy_pass: Passed, shorter: Exchange, target: Target
) -> _PathProof:
    """The service gets the location's prefix, and answers ``shorter``, the same request without it."""
    request, there = f"{probed.method} {probed.path}", urlsplit(shorter.url).path
    return _PathProof(
        (
            probed.seen(),
            quote(computed.location_where, f"location {computed.location}"),
            quote(
                proxy_pass.where,
                f"{proxy_pass.directive} {proxy_pass.written}: {proxy_pass.method} {proxy_pass.uri}",
            ),
            quote(f"{shorter.method} {target.backend}{there}", str(shorter.status)),
        ),
        {
            "asked": request,
            "got": f"{proxy_pass.method} {proxy_pass.uri}",
            "where": proxy_pass.where,
            "fixed": "",
        },
        summary=Text(
            en=f"nginx hands {request} on with the location's prefix, and the service has its paths without it: it"
            f" answers {shorter.method} {there}.",
            zh=f"nginx 把 {request} 连同 location 的前缀一起转给后端，而后端的路径不带这个前缀："
            f"它能处理 {shorter.method} {there}。",
        ),
        fix=_take_prefix_away(computed, proxy_pass, target),
    )


def _changes_path(
    probed: ProbedPrediction, computed: RequestRoute, proxy_pass: Passed, target: Target
) -> _PathProof | None:
    """The service gets another path than the client asked for, and it predicts at the client's."""
    from ops.interpret.routing.model import StepKind
    from ops.interpret.routing.uri import escape

    request_path, got = probed.path, proxy_pass.uri.partition("?")[0]
    if (
        got in (request_path, escape(request_path))
        or not probed.is_served
        or probed.answer.failure
        or probed.answer.status in GATEWAY_ERRORS
        or proxy_pass.scheme not in ("http", "https")
        or not leads_to_service(proxy_pass.servers, probed.target)
    ):
        return None
    rewrites = [step for step in computed.steps if step.kind is StepKind.REWRITE]
    changing = () if proxy_pass.is_path_replaced else tuple(quote(s.where, s.words.en) for s in rewrites[-1:])
    where = proxy_pass.where if proxy_pass.is_path_replaced or not rewrites else rewrites[-1].where
    authority = proxy_pass.written.partition("://")[2].partition("/")[0]
    fixed = (
        f"proxy_pass {proxy_pass.scheme}://{authority};"
        if proxy_pass.is_path_replaced and not proxy_pass.written.partition("://")[2].startswith("unix:")
        else ""
    )
    return _PathProof(
        (
            probed.seen(),
            quote(computed.location_where, f"location {computed.location}"),
            *changing,
            Evidence(
                proxy_pass.where,
                Text(
                    en=f"{proxy_pass.directive} {proxy_pass.written}: the service gets {proxy_pass.method}"
                    f" {proxy_pass.uri}",
                    zh=f"{proxy_pass.directive} {proxy_pass.written}：后端收到 {proxy_pass.method} {proxy_pass.uri}",
                ),
            ),
            probed.behind(),
        ),
        {
            "asked": f"{probed.method} {request_path}",
            "got": f"{proxy_pass.method} {proxy_pass.uri}",
            "where": where,
            "fixed": fixed,
        },
        fix=edited(where, f"{proxy_pass.directive} {proxy_pass.written};", fixed, target)
        if fixed and where == proxy_pass.where
        else None,
    )


def _take_prefix_away(computed: RequestRoute, proxy_pass: Passed, target: Target) -> tuple[str | Text, ...]:
    """The steps that make nginx replace the location's prefix with a slash."""
    old = f"{proxy_pass.directive} {proxy_pass.written};"
    new = f"{proxy_pass.directive} {proxy_pass.written}/;"
    either = Text(
        en="or, where the application is to know the prefix, set it there (FastAPI's root_path, Flask's"
        " APPLICATION_ROOT)",
        zh="或者让应用自己带上这个前缀（FastAPI 的 root_path、Flask 的 APPLICATION_ROOT）",
    )
    if not computed.location.endswith("/") or "$" in proxy_pass.written or proxy_pass.written.count("/") > 2:
        return (
            Text(
                en=f"At {computed.location_where} end the location and its {proxy_pass.directive} with a slash,"
                f" {either.en}",
                zh=f"在 {computed.location_where}，location 和 {proxy_pass.directive} 末尾都加上斜杠；{either.zh}",
            ),
            target.test_nginx,
            target.reload_nginx,
        )
    return (
        Text(
            en=f"A slash behind the address replaces the location's prefix ({proxy_pass.where}): {new} {either.en}",
            zh=f"地址末尾的斜杠会替换 location 的前缀（{proxy_pass.where}）：{new} {either.zh}",
        ),
        replaced_in_line(proxy_pass.where, old, new),
        target.test_nginx,
        target.reload_nginx,
    )


CHECKS = (path,)
