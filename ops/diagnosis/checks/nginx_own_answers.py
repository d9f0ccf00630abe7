"""Judges of requests that nginx answers itself: from files, or with a page in place of the service's answer.

Sources: nginx documentation, ngx_http_core_module (location, try_files, error_page)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ops.diagnosis.checks.nginx_served_files import try_files_beside_a_condition
from ops.diagnosis.checks.probed_prediction import (
    GATEWAY_ERRORS,
    MAX_SHOWN,
    ProbedPrediction,
    is_of_another_site,
    probed_prediction,
)
from ops.diagnosis.finding import Evidence, Finding, check, quote
from ops.diagnosis.steps import put_after_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig, NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.interpret.nginx import every, servers
from ops.interpret.site import find_site
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import RequestRoute


@check(
    "nginx.replaced_answer",
    "NGX037",
    en="nginx hands the service's answers on",
    zh="nginx 原样返回后端的响应",
)
def replaced_answer(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX037: the service answers with an error of its own, and nginx sends a page or another status instead."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    from ops.interpret.routing.model import OutcomeKind, StepKind

    backend_answer = None if isinstance(probed.backend, NotSeen) else probed.backend.predict
    if (
        not isinstance(backend_answer, Exchange)
        or backend_answer.status is None
        or backend_answer.status < 300
    ):
        return
    if (
        probed.answer.status == backend_answer.status
        and probed.answer.media_type == backend_answer.media_type
    ):
        return
    # It is unknown whether error_page's file exists: try both.
    either = (
        probed.route(answer=backend_answer.status),
        probed.route(answer=backend_answer.status, is_file=True),
    )
    computed = next((route for route in either if route.outcome.status == probed.answer.status), None)
    if computed is None or computed.outcome.kind is OutcomeKind.PROXIED:
        return
    replacing = [step for step in computed.steps if step.kind is StepKind.ERROR_PAGE]
    if not replacing:
        return
    yield Finding(
        "NGX037",
        (
            quote(
                f"{probed.method} {probed.answer.url}",
                f"{probed.answer.status} {probed.answer.media_type}: {probed.answer.body[:80]}",
            ),
            quote(
                f"{probed.method} {probed.target.backend}{probed.path}",
                f"{backend_answer.status} {backend_answer.media_type}: {backend_answer.body[:120]}",
            ),
            *(Evidence(step.where, step.words) for step in replacing[:MAX_SHOWN]),
        ),
        {
            "given": str(backend_answer.status),
            "sent": str(probed.answer.status),
            "where": replacing[-1].where,
            "switch": replacing[0].where,
        },
        fix=_handed_on(replacing[0].where, backend_answer.status, target)
        if _has_switch(nginx_config, replacing[0].where)
        else None,
    )


def _has_switch(config: NginxConfig, place: str) -> bool:
    return any(d.where == place for d in every(config, "proxy_intercept_errors"))


def _handed_on(switch: str, status: int, target: Target) -> tuple[str | Text, ...]:
    """Steps that switch the interception off."""
    return (
        Text(
            en=f"The answer itself is the service's: why it says {status} is in the proof",
            zh=f"响应本身来自后端：返回 {status} 的原因见证据",
        ),
        replaced_in_line(switch, "proxy_intercept_errors on", "proxy_intercept_errors off"),
        target.test_nginx,
        target.reload_nginx,
    )


def decided(probed: ProbedPrediction) -> RequestRoute | None:
    """The route that ends at nginx with the answer that came, whether or not the file exists; None if there is none, or
    if the service itself would not have answered."""
    from ops.interpret.routing.model import OutcomeKind

    if not probed.is_served or probed.answer.status in GATEWAY_ERRORS:
        return None
    either = (probed.route(), probed.route(is_file=True))
    if any(route.outcome.passed or route.outcome.kind is OutcomeKind.UNKNOWN for route in either):
        return None
    if is_of_another_site(probed, either[0]):
        return None
    return next(
        (
            route
            for route in either
            if route.decision is not None
            and (
                route.outcome.status == probed.answer.status
                or (
                    route.outcome.kind is OutcomeKind.CLOSED
                    and probed.answer.failure in (ProbeFailure.CLOSED, ProbeFailure.RESET)
                )
            )
        ),
        None,
    )


@check(
    "nginx.static_files",
    "NGX031",
    en="a location sends the prediction's path to the service",
    zh="有 location 把预测路径转发给后端",
)
def files(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX031: nginx looks for a file, because no location proxies the path. Where a condition leaves out the try_files
    that would lead to one, NGX046 says so."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    from ops.interpret.routing.model import StepKind

    computed = decided(probed)
    if computed is None or computed.decision is None or computed.decision.kind is not StepKind.FILE:
        return
    site = find_site(nginx_config, target.domain, target.backend)
    location = site.server.location_for(probed.path) if site else None
    if location and all(try_files_beside_a_condition(location)):
        return
    place = computed.location_where or computed.server_where
    block_name = f"location {computed.location}" if computed.location_where else "server"
    file_steps = [step for step in computed.steps if step.kind in (StepKind.TRY_FILES, StepKind.FILE)]
    proxied = [
        location
        for location in every(probed.config, "location")
        if location.file == place.rpartition(":")[0]
        and any(d.name == "proxy_pass" for d in location.block or ())
    ]
    yield Finding(
        "NGX031",
        (
            probed.seen(),
            quote(place, block_name),
            *(Evidence(step.where or place, step.words) for step in file_steps[:1]),
            *(
                Evidence(
                    location.where,
                    Text(
                        en=f"requests are sent on by location {' '.join(location.args)}",
                        zh=f"转发请求的是 location {' '.join(location.args)}",
                    ),
                )
                for location in proxied[:MAX_SHOWN]
            ),
            probed.behind(),
        ),
        {
            "path": probed.path,
            "where": place,
            "server": computed.server_where,
            "pass_to": _pass_to(probed.target.backend),
        },
        fix=_proxied_path(computed, probed),
    )


def _proxied_path(computed: RequestRoute, probed: ProbedPrediction) -> tuple[str | Text, ...] | None:
    """The steps that add a location for the path after the line on which the server block begins; None if that line
    has more."""
    place, path = computed.server_where, probed.path
    inner = [
        d
        for server in servers(probed.config)
        if server.blocks[0].where == place
        for d in server.blocks[0].block or ()
    ]
    file, _, line = place.rpartition(":")
    is_alone = all(d.file != file or d.line > int(line) for d in inner)
    if not inner or not is_alone or not re.fullmatch(r"/[\w./~-]*", path):
        return None
    forwarded = "proxy_set_header Host $host; proxy_set_header X-Forwarded-Proto $scheme;"
    words = f"location = {path} {{ proxy_pass {_pass_to(probed.target.backend)}; {forwarded} }}"
    return (
        Text(
            en=f"In the server block at {place} give {path} a location of its own:",
            zh=f"在 {place} 的 server 块里为 {path} 单独加一个 location：",
        ),
        put_after_line(place, words),
        probed.target.test_nginx,
        probed.target.reload_nginx,
    )


def _pass_to(backend: str) -> str:
    return f"http://{backend}"


CHECKS = (
    files,
    replaced_answer,
)
