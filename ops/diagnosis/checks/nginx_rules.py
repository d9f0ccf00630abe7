"""Judges of the rules by which nginx refuses requests: predictions, or the ACME challenge.

Sources: nginx documentation, ngx_http_access_module, ngx_http_rewrite_module."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops.diagnosis.checks.nginx_own_answers import decided
from ops.diagnosis.checks.probed_prediction import probed_prediction
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.certificates import Lineages
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probes import REDIRECTS, Backend, Front, HostNames
from ops.facts.target import Target
from ops.interpret.nginx import every, servers
from ops.interpret.renewal import CHALLENGE_PATH
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import Decision, RequestRoute

# Answers that another judge explains (redirects, limits), or that are intended (a maintenance page, a password).
_NOT_SWALLOWED = (*REDIRECTS, 401, 413, 429, 503)
# Variables of conditions that do not depend on the client.
_ALIKE = (
    "$request_method",
    "$uri",
    "$document_uri",
    "$request_uri",
    "$scheme",
    "$host",
    "$https",
    "$server_port",
)
_REFUSALS = (("401",), ("403",), ("404",), ("410",))


@check(
    "nginx.rules",
    "NGX038",
    en="no rule of nginx's answers the prediction",
    zh="没有 nginx 规则抢先应答预测请求",
)
def rules(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX038: a return, a rule that lets nobody in or a list of methods answers instead of the service.

    Silent about rules that depend on the client, and about redirects, limits and maintenance pages."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    from ops.interpret.routing.model import StepKind

    computed = decided(probed)
    decision = computed.decision if computed else None
    if computed is None or decision is None or decision.kind not in (StepKind.RETURN, StepKind.ACCESS):
        return
    if decision.status in _NOT_SWALLOWED:
        return
    conditions = [step for step in computed.steps if step.kind is StepKind.IF]
    if any(not any(word in step.words.en for word in _ALIKE) for step in conditions):
        return  # depends on the client: NGX010 and similar checks
    words = _words_at(computed, decision)
    if decision.kind is StepKind.ACCESS and not _refuses_everyone(probed.config, decision.where):
        return
    yield Finding(
        "NGX038",
        (
            probed.seen(),
            *(Evidence(step.where, step.words) for step in conditions[-2:]),
            Evidence(decision.where, words),
            probed.behind(),
        ),
        {
            "asked": f"{probed.method} {probed.path}",
            "status": str(probed.answer.status or "444"),
            "where": decision.where,
            "rule": words,
        },
    )


def _refuses_everyone(config: NginxConfig, where: str) -> bool:
    """Whether the rule at ``where`` lets nobody in: `internal`, or a deny in a block that allows nobody."""
    if any(directive.where == where for directive in every(config, "internal")):
        return True

    def holders(directives: tuple[Directive, ...]) -> Iterator[Directive]:
        for directive in directives:
            inner = directive.block or ()
            if any(d.name == "deny" and d.where == where and d.args == ("all",) for d in inner):
                yield directive
            yield from holders(inner)

    blocks = list(holders(config.directives))
    return bool(blocks) and not any(d.name == "allow" for block in blocks for d in block.block or ())


@check(
    "nginx.challenge",
    "NGX039",
    en="the ACME challenge reaches certbot's directory",
    zh="ACME 验证请求能到达 certbot 的目录",
)
def challenge(nginx_config: NginxConfig, target: Target, lineages: Lineages) -> Iterator[Finding]:
    """NGX039: renewal uses files below a webroot, and nginx refuses the path of the challenge.

    Source: RFC 8555, 8.3: the authority requests from port 80 /.well-known/acme-challenge/TOKEN."""
    renewals = [item.renewal for item in lineages.lineages if item.renewal.authenticator == "webroot"]
    if not renewals or target.certificate is None or not _may_refuse_plain_http(nginx_config):
        return
    from ops.interpret.routing.model import FileKind, OutcomeKind, RouteSurroundings, StepKind
    from ops.interpret.routing.request import probe_request
    from ops.interpret.routing.route import route

    request = probe_request(target, "GET", f"{CHALLENGE_PATH}gte-ops", is_plain=True)
    computed = route(nginx_config, request, RouteSurroundings(assumed_file=FileKind.FILE))
    decision = computed.decision
    if (
        computed.outcome.kind is not OutcomeKind.RESPONSE
        or decision is None
        or decision.kind not in (StepKind.RETURN, StepKind.ACCESS)
        or decision.status not in (401, 403, 404, 410)
        or (decision.kind is StepKind.ACCESS and not _refuses_everyone(nginx_config, decision.where))
    ):
        return
    yield Finding(
        "NGX039",
        (
            quote(renewals[0].path, "authenticator = webroot"),
            Evidence(decision.where, _words_at(computed, decision)),
            Evidence(
                f"gte-ops route http://{target.domain}{CHALLENGE_PATH}",
                Text(
                    en=f"location {computed.location} answers {decision.status}",
                    zh=f"location {computed.location} 返回 {decision.status}",
                ),
            ),
        ),
        {
            "status": str(decision.status),
            "where": decision.where,
            "server": computed.server_where,
            "webroot": renewals[0].webroot or "/var/www/html",
        },
    )


def _may_refuse_plain_http(config: NginxConfig) -> bool:
    """Whether a block without TLS has any rule that refuses; if not, the route need not be computed."""

    def refuses(directive: Directive) -> bool:
        return (
            directive.name == "deny"
            or (directive.name == "return" and directive.args[:1] in _REFUSALS)
            or any(map(refuses, directive.block or ()))
        )

    plain = (server for server in servers(config) if not all(listen.ssl for listen in server.listens))
    return any(refuses(server.blocks[0]) for server in plain)


def _words_at(computed: RequestRoute, decision: Decision) -> Text:
    """The description of the step that decided."""
    words = (
        step.words
        for step in reversed(computed.steps)
        if step.where == decision.where and step.kind is decision.kind
    )
    return next(words, Text(en=str(decision.status), zh=str(decision.status)))


CHECKS = (
    rules,
    challenge,
)
