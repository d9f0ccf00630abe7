"""Judges of the server block that takes the probe: whether its port speaks TLS, whether another claims its name.

Sources: nginx documentation, ngx_http_core_module (listen, server_name)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import msgspec

from ops.diagnosis.checks.probed_prediction import edited, leads_to_service, probed_prediction
from ops.diagnosis.finding import Finding, check, quote
from ops.facts.base import NotSeen
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Front, HostNames
from ops.facts.target import Target
from ops.interpret.nginx import every

if TYPE_CHECKING:
    pass


@check(
    "nginx.listen_ssl",
    "NGX036",
    en="the HTTPS port speaks TLS",
    zh="HTTPS 端口提供 TLS",
)
def listen_ssl(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX036: clients speak TLS to a port whose listen directives have no ssl, and the handshake fails."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    from ops.interpret.routing.model import OutcomeKind

    computed = probed.route()
    if computed.outcome.kind is not OutcomeKind.TLS_TO_PLAIN:
        return
    if probed.answer.failure is not ProbeFailure.TLS:
        return
    where = computed.outcome.where
    listen = next((d for d in every(probed.config, "listen") if d.where == where), None)
    statement = f"listen {' '.join(listen.args)};" if listen else "listen"
    fixed = f"listen {' '.join((listen.args[0], 'ssl', *listen.args[1:]))};" if listen else "listen ... ssl;"
    yield Finding(
        "NGX036",
        (
            quote(f"{probed.method} {probed.answer.url}", probed.answer.detail or "tls"),
            quote(where, statement),
        ),
        {"where": where, "listen": statement, "fixed": fixed, "listen_port": str(computed.request.port)},
        fix=edited(where, statement, fixed, probed.target) if listen else None,
    )


@check(
    "nginx.rivals",
    "NGX034",
    en="one server block claims the name",
    zh="只有一个 server 块声明该域名",
)
def rivals(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX034: two blocks claim the name; nginx takes the first, and only the other leads to the service."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    computed = probed.route()
    if not computed.rivals or not probed.is_alive:
        return
    leads = computed.outcome.passed
    if leads is not None and leads_to_service(leads.servers, target):
        return
    other = probed.route(config=_without_block(nginx_config, computed.server_where))
    proxy_pass = other.outcome.passed
    if proxy_pass is None or not leads_to_service(proxy_pass.servers, target):
        return
    yield Finding(
        "NGX034",
        (
            probed.seen(),
            quote(computed.server_where, f"server_name {' '.join(computed.server_names)}"),
            quote(other.server_where, f"server_name {' '.join(other.server_names)}"),
            quote(proxy_pass.where, f"{proxy_pass.directive} {proxy_pass.written}"),
        ),
        {"winner": computed.server_where, "ignored": other.server_where},
    )


def _without_block(config: NginxConfig, where: str) -> NginxConfig:
    """Return the configuration without the server block at ``where``."""

    def kept(directive: Directive) -> bool:
        return not (directive.name == "server" and directive.where == where)

    return msgspec.structs.replace(
        config,
        directives=tuple(
            msgspec.structs.replace(d, block=tuple(filter(kept, d.block or ()))) if d.name == "http" else d
            for d in config.directives
        ),
    )


CHECKS = (
    listen_ssl,
    rivals,
)
