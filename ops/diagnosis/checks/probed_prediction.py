"""The probe's route through nginx, computed from the configuration and compared with the answer that came.

A judge of it is silent if predictions pass, or if the files on disk do not load: nginx runs others then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from ops.diagnosis.finding import Evidence, quote
from ops.diagnosis.steps import replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig, NginxTest
from ops.facts.probes import Backend, Exchange, Front, HostNames
from ops.facts.target import Target
from ops.interpret.address import same_address
from ops.interpret.nginx import names_match, servers
from ops.interpret.service_name import asks_for_key, reaches_service, refuses_guessed_prediction, serves
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import RequestRoute, UpstreamServer

GATEWAY_ERRORS = (502, 503, 504)
MAX_SHOWN = 4


class ProbedPrediction(msgspec.Struct, frozen=True):
    """One probe of the front door, the service's own answers, and the configuration that routes the probe."""

    config: NginxConfig
    target: Target
    answer: Exchange
    backend: Backend | NotSeen
    host_names: HostNames | NotSeen
    method: str
    path: str

    def route(
        self, *, answer: int | None = None, is_file: bool = False, config: NginxConfig | None = None
    ) -> RequestRoute:
        from ops.interpret.routing.model import FileKind
        from ops.interpret.routing.request import probe_route

        return probe_route(
            config or self.config,
            self.target,
            self.host_names,
            self.method,
            self.path,
            answer=answer,
            assumed_file=FileKind.FILE if is_file else FileKind.MISSING,
        )

    @property
    def is_served(self) -> bool:
        """Whether the service itself answers this request correctly."""
        if isinstance(self.backend, NotSeen):
            return False
        return serves(self.backend, self.target) or (
            isinstance(self.backend.predict, Exchange) and asks_for_key(self.backend.predict)
        )

    @property
    def is_alive(self) -> bool:
        """Whether the service answers at all."""
        return (
            not isinstance(self.backend, NotSeen)
            and isinstance(self.backend.health, Exchange)
            and self.backend.health.status is not None
        )

    def seen(self) -> Evidence:
        """The answer that came instead of the service's."""
        got = self.answer.status or self.answer.detail or self.answer.failure
        return quote(f"{self.method} {self.answer.url}", str(got))

    def behind(self) -> Evidence:
        """Evidence that the service itself answers the same request."""
        return Evidence(
            f"{self.method} {self.target.backend}{self.path}",
            Text(en="the service answers there", zh="服务在此地址应答"),
        )


def probed_prediction(
    config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
) -> ProbedPrediction | None:
    """The prediction that failed at the front door; None if there is nothing to explain."""
    answer = front.predict
    if (
        not isinstance(answer, Exchange)
        or reaches_service(answer, target)
        or (isinstance(nginx_test, NginxTest) and nginx_test.exit_code != 0)
    ):
        return None
    probed = ProbedPrediction(config, target, answer, backend, host_names, "POST", target.predict_path)
    return None if _is_turned_down_by_the_application(probed) else probed


def _is_turned_down_by_the_application(probed: ProbedPrediction) -> bool:
    backend = probed.backend
    return (
        isinstance(backend, Backend)
        and refuses_guessed_prediction(backend, probed.target)
        and isinstance(backend.predict, Exchange)
        and probed.answer.status == backend.predict.status
    )


def is_of_another_site(probed: ProbedPrediction, computed: RequestRoute) -> bool:
    """Whether the server block that answers is not meant for the name, but another one is: NGX011 reports that."""
    blocks = servers(probed.config)
    domain = probed.target.domain
    answering = [server for server in blocks if server.where == computed.server_where]
    return not any(names_match(s, domain) for s in answering) and any(names_match(s, domain) for s in blocks)


def edited(where: str, old: str, new: str, target: Target) -> tuple[str | Text, ...]:
    """The steps that change one line of nginx's configuration, test it and load it."""
    return (
        Text(en=f"In {where} replace {old} by: {new}", zh=f"在 {where} 把 {old} 改为：{new}"),
        replaced_in_line(where, old, new),
        target.test_nginx,
        target.reload_nginx,
    )


def leads_to_service(members: tuple[UpstreamServer, ...], target: Target) -> bool:
    return any(same_address(target.backend, server.address) for server in members)
