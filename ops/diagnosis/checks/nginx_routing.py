"""The probe's route through nginx, computed from the configuration and compared with the answer that came.

Each judge is silent if predictions pass, or if the files on disk do not load: nginx runs others then.

Sources: nginx documentation, ngx_http_core_module (listen, location, server_name), ngx_http_proxy_module (proxy_pass),
ngx_http_upstream_module (server), ngx_http_rewrite_module."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.diagnosis.finding import Evidence, Finding, Severity, check, quote
from ops.diagnosis.steps import put_after_line, replaced_in_line
from ops.facts.base import NotSeen
from ops.facts.certificates import Lineages
from ops.facts.gunicorn import Gunicorn
from ops.facts.host import Processes
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig, NginxTest
from ops.facts.probe_failure import ProbeFailure
from ops.facts.probes import REDIRECTS, Backend, Exchange, Front, HostNames, Upstreams
from ops.facts.target import Target
from ops.interpret.address import join_address, same_address, split_address
from ops.interpret.gunicorn import setting
from ops.interpret.nginx import every, names_match, servers
from ops.interpret.renewal import CHALLENGE_PATH
from ops.interpret.service_name import asks_for_key, reaches_service, refuses_guessed_prediction, serves
from ops.text.language import Text

if TYPE_CHECKING:
    from ops.interpret.routing.model import Decision, Passed, RequestRoute, UpstreamServer

_GATEWAY_ERRORS = (502, 503, 504)
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
_MAX_SHOWN = 4
_REFUSALS = (("401",), ("403",), ("404",), ("410",))


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


def _is_of_another_site(probed: ProbedPrediction, computed: RequestRoute) -> bool:
    """Whether the server block that answers is not meant for the name, but another one is: NGX011 reports that."""
    blocks = servers(probed.config)
    domain = probed.target.domain
    answering = [server for server in blocks if server.where == computed.server_where]
    return not any(names_match(s, domain) for s in answering) and any(names_match(s, domain) for s in blocks)


# --- the listening port -------------------------------------------------------------------------------------------


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
    listen = next((d for d in every(probed.config, "listen") if f"{d.file}:{d.line}" == where), None)
    statement = f"listen {' '.join(listen.args)};" if listen else "listen"
    fixed = f"listen {' '.join((listen.args[0], 'ssl', *listen.args[1:]))};" if listen else "listen ... ssl;"
    yield Finding(
        "NGX036",
        (
            quote(f"{probed.method} {probed.answer.url}", probed.answer.detail or "tls"),
            quote(where, statement),
        ),
        {"where": where, "listen": statement, "fixed": fixed, "listen_port": str(computed.request.port)},
        fix=_edited(where, statement, fixed, probed.target) if listen else None,
    )


def _edited(where: str, old: str, new: str, target: Target) -> tuple[str | Text, ...]:
    """The steps that change one line of nginx's configuration, test it and load it."""
    return (
        Text(en=f"In {where} replace {old} by: {new}", zh=f"在 {where} 把 {old} 改为：{new}"),
        replaced_in_line(where, old, new),
        target.test_nginx,
        target.reload_nginx,
    )


# --- two blocks, one name -----------------------------------------------------------------------------------------


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
        return not (directive.name == "server" and f"{directive.file}:{directive.line}" == where)

    return msgspec.structs.replace(
        config,
        directives=tuple(
            msgspec.structs.replace(d, block=tuple(filter(kept, d.block or ()))) if d.name == "http" else d
            for d in config.directives
        ),
    )


def leads_to_service(members: tuple[UpstreamServer, ...], target: Target) -> bool:
    return any(same_address(target.backend, server.address) for server in members)


# --- requests passed on --------------------------------------------------------------------------------------------


@check(
    "nginx.scheme",
    "NGX033",
    en="nginx and the service agree on TLS between them",
    zh="nginx 与后端之间是否使用 TLS 一致",
)
def scheme(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
    upstreams: Upstreams | NotSeen,
    gunicorn: Gunicorn | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NGX033: nginx speaks TLS to a port that speaks plain HTTP, or plain HTTP to a service that is set up for TLS."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    proxy_pass = probed.route().outcome.passed
    if proxy_pass is None:
        return
    if probed.answer.status not in (*_GATEWAY_ERRORS, 400):
        return
    speaks_tls = proxy_pass.scheme in ("https", "grpcs")
    if speaks_tls:
        plain = next(
            (a for a in proxy_pass.servers if _plain_status(a.address, probed, upstreams) is not None), None
        )
        if plain is None:
            return
        status = _plain_status(plain.address, probed, upstreams)
        evidence = (
            quote(f"GET http://{plain.address}{probed.target.health_path}", str(status)),
            *_logged(logs, "SSL_do_handshake() failed"),
        )
        fixed = proxy_pass.written.replace("https://", "http://").replace("grpcs://", "grpc://")
    else:
        certfile = _certfile(gunicorn)
        if (
            certfile is None
            or proxy_pass.scheme != "http"
            or not leads_to_service(proxy_pass.servers, probed.target)
        ):
            return
        evidence = (quote("gunicorn certfile", certfile), *_logged(logs, "prematurely closed connection"))
        fixed = proxy_pass.written.replace("http://", "https://")
    yield Finding(
        "NGX033",
        (probed.seen(), quote(proxy_pass.where, f"{proxy_pass.directive} {proxy_pass.written}"), *evidence),
        {
            "where": proxy_pass.where,
            "written": f"{proxy_pass.directive} {proxy_pass.written};",
            "fixed": f"{proxy_pass.directive} {fixed};",
            "spoken": "TLS" if speaks_tls else "HTTP",
            "expected": "HTTP" if speaks_tls else "TLS",
        },
        fix=_edited(proxy_pass.where, proxy_pass.written, fixed, target),
    )


def _plain_status(address: str, probed: ProbedPrediction, upstreams: Upstreams | NotSeen) -> int | None:
    """The status of the answer to plain HTTP at ``address``; None if none came."""
    if same_address(probed.target.backend, address):
        health = None if isinstance(probed.backend, NotSeen) else probed.backend.health
        return health.status if isinstance(health, Exchange) else None
    answer = None if isinstance(upstreams, NotSeen) else upstreams.answers.get(address)
    return answer.status if answer else None


def _certfile(gunicorn: Gunicorn | NotSeen) -> str | None:
    value = None if isinstance(gunicorn, NotSeen) else setting("certfile", "certfile", (), gunicorn.config)
    return value if isinstance(value, str) and value else None


def _logged(logs: Logs | NotSeen, *phrases: str) -> tuple[Evidence, ...]:
    """The newest line of nginx's error logs with one of ``phrases``."""
    entries = () if isinstance(logs, NotSeen) else nginx_entries(logs, *phrases)
    return tuple(quote(path, entry.text) for path, entry in entries[-1:])


@check(
    "nginx.names",
    "NGX032",
    en="the names that nginx proxies to lead to the service",
    zh="nginx 转发所用的主机名指向本服务",
)
def names(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend | NotSeen,
    nginx_test: NginxTest | NotSeen,
    host_names: HostNames | NotSeen,
    processes: Processes | NotSeen,
    logs: Logs | NotSeen,
) -> Iterator[Finding]:
    """NGX032: a name in proxy_pass resolves to addresses on which nobody listens, and the service listens on the same
    port of another address. If some of the addresses answer, nginx's log must name one of the others."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    proxy_pass = probed.route().outcome.passed
    if proxy_pass is None:
        return
    from ops.interpret.routing.upstream import is_address

    if probed.answer.status not in _GATEWAY_ERRORS or isinstance(processes, NotSeen) or not probed.is_alive:
        return
    if probed.target.backend.startswith("unix:"):
        return
    backend_port = split_address(probed.target.backend)[1]
    by_name = [s for s in proxy_pass.servers if not s.address.startswith("unix:") and not is_address(s.name)]
    dead = [
        s
        for s in by_name
        if split_address(s.address)[1] == backend_port
        and not any(same_address(listener.address, s.address) for listener in processes.listeners)
    ]
    if not dead or (len(dead) < len(proxy_pass.servers) and not _refused(logs, dead)):
        return
    addresses = ", ".join(server.address for server in dead[:_MAX_SHOWN])
    host, port = split_address(probed.target.backend)
    yield Finding(
        "NGX032",
        (
            probed.seen(),
            quote(dead[0].where, f"{proxy_pass.directive} {proxy_pass.written}"),
            quote(f"getent ahosts {dead[0].name}", ", ".join(_addresses(probed, dead[0].name))),
            Evidence(
                "ss -ltn",
                Text(
                    en=f"nobody listens on {addresses}; the service listens on {probed.target.backend}",
                    zh=f"{addresses} 无人监听；服务监听在 {probed.target.backend}",
                ),
            ),
            *_refused(logs, dead),
        ),
        {
            "name": dead[0].name,
            "dead": addresses,
            "listening": probed.target.backend,
            "where": dead[0].where,
            "fixed": join_address(host, port),
        },
        fix=_edited(dead[0].where, _written_name(proxy_pass, dead[0]), join_address(host, port), target),
    )


def _written_name(proxy_pass: Passed, server: UpstreamServer) -> str:
    """A server's name as it is written, with its port if it has one."""
    authority = proxy_pass.written.partition("://")[2].partition("/")[0]
    name = authority if proxy_pass.upstream is None else _named(server)
    return name or server.name


def _addresses(probed: ProbedPrediction, name: str) -> tuple[str, ...]:
    names = {} if isinstance(probed.host_names, NotSeen) else probed.host_names.addresses
    return names.get(name.lower(), ())


def _refused(logs: Logs | NotSeen, dead: list[UpstreamServer]) -> tuple[Evidence, ...]:
    entries = () if isinstance(logs, NotSeen) else nginx_entries(logs, "while connecting to upstream")
    of_dead = [
        quote(path, entry.text)
        for path, entry in entries
        if any(
            f"//{server.address}/" in entry.text or f'//{server.address}"' in entry.text for server in dead
        )
    ]
    return tuple(of_dead[-1:])


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
        or probed.answer.status in _GATEWAY_ERRORS
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
        fix=_edited(where, f"{proxy_pass.directive} {proxy_pass.written};", fixed, target)
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
            *(Evidence(step.where, step.words) for step in replacing[:_MAX_SHOWN]),
        ),
        {
            "given": str(backend_answer.status),
            "sent": str(probed.answer.status),
            "where": replacing[-1].where,
            "switch": replacing[0].where,
        },
    )


# --- requests that nginx answers itself ----------------------------------------------------------------------------


def _decided(probed: ProbedPrediction) -> RequestRoute | None:
    """The route that ends at nginx with the answer that came, whether or not the file exists; None if there is none, or
    if the service itself would not have answered."""
    from ops.interpret.routing.model import OutcomeKind

    if not probed.is_served or probed.answer.status in _GATEWAY_ERRORS:
        return None
    either = (probed.route(), probed.route(is_file=True))
    if any(route.outcome.passed or route.outcome.kind is OutcomeKind.UNKNOWN for route in either):
        return None
    if _is_of_another_site(probed, either[0]):
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
    """NGX031: nginx looks for a file, because no location proxies the path."""
    probed = probed_prediction(nginx_config, target, front, backend, nginx_test, host_names)
    if probed is None:
        return
    from ops.interpret.routing.model import StepKind

    computed = _decided(probed)
    if computed is None or computed.decision is None or computed.decision.kind is not StepKind.FILE:
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
                    f"{location.file}:{location.line}",
                    Text(
                        en=f"requests are sent on by location {' '.join(location.args)}",
                        zh=f"转发请求的是 location {' '.join(location.args)}",
                    ),
                )
                for location in proxied[:_MAX_SHOWN]
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
        if f"{server.blocks[0].file}:{server.blocks[0].line}" == place
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

    computed = _decided(probed)
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
    if any(f"{directive.file}:{directive.line}" == where for directive in every(config, "internal")):
        return True

    def holders(directives: tuple[Directive, ...]) -> Iterator[Directive]:
        for directive in directives:
            inner = directive.block or ()
            if any(d.name == "deny" and f"{d.file}:{d.line}" == where and d.args == ("all",) for d in inner):
                yield directive
            yield from holders(inner)

    blocks = list(holders(config.directives))
    return bool(blocks) and not any(d.name == "allow" for block in blocks for d in block.block or ())


@check(
    "nginx.lone_upstream",
    "NGX035",
    en="nginx does not set the only live server of an upstream aside",
    zh="nginx 没有把 upstream 里唯一可用的服务器摘除",
)
def lone_upstream(
    nginx_config: NginxConfig,
    target: Target,
    front: Front,
    backend: Backend,
    logs: Logs | NotSeen,
    host_names: HostNames | NotSeen,
) -> Iterator[Finding]:
    """NGX035: nginx logs 'no live upstreams' for a group of several servers, of which only one is in use or all are
    marked down, while the service answers.

    A group of one server is never set aside (ngx_http_upstream_module, server: max_fails)."""
    groups = {d.args[0] for d in every(nginx_config, "upstream") if d.args and len(_members(d)) > 1}
    entries = () if isinstance(logs, NotSeen) else nginx_entries(logs, "no live upstreams")
    if not groups or not entries or not isinstance(backend.health, Exchange) or backend.health.status is None:
        return
    from ops.interpret.routing.request import probe_route

    proxy_pass = probe_route(nginx_config, target, host_names).passed
    ours = [
        (path, entry) for path, entry in entries if proxy_pass and f"//{proxy_pass.upstream}/" in entry.text
    ]
    if proxy_pass is None or proxy_pass.upstream not in groups or not ours:
        return
    live = [server for server in proxy_pass.servers if not server.is_down]
    if len(live) > 1 or (live and not live[0].max_fails):
        return
    down = [server for server in proxy_pass.servers if server.is_down]
    path, entry = ours[-1]
    is_over = isinstance(front.predict, Exchange) and reaches_service(front.predict, target)
    server = live[0] if live else down[0]
    statement = f"server {' '.join((_named(server), *server.parameters))};"
    parameters = [
        p for p in server.parameters if p not in ("down", "backup") and not p.startswith("max_fails=")
    ]
    yield Finding(
        "NGX035",
        (
            quote(path, entry.text),
            quote(server.where, statement),
            *(
                quote(s.where, f"server {' '.join((_named(s), *s.parameters))};")
                for s in down
                if s is not server
            ),
            Evidence(
                f"GET {target.backend}{target.health_path}",
                Text(en="the service answers there", zh="服务在此地址应答"),
            ),
        ),
        {
            "upstream": proxy_pass.upstream or "",
            "count": str(len(ours)),
            "where": server.where,
            "written": statement,
            "fixed": f"server {' '.join((_named(server), *parameters, 'max_fails=0'))};",
        },
        severity=Severity.WARN if is_over else None,
        fix=_edited(
            server.where,
            statement,
            f"server {' '.join((_named(server), *parameters, 'max_fails=0'))};",
            target,
        ),
    )


def _members(upstream: Directive) -> list[Directive]:
    return [d for d in upstream.block or () if d.name == "server" and d.args]


def _named(server: UpstreamServer) -> str:
    """The server as it is written: by its name if it has one."""
    from ops.interpret.routing.upstream import is_address

    if server.address.startswith("unix:") or is_address(server.name):
        return server.address
    return f"{server.name}:{split_address(server.address)[1]}"


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
            "webroot": renewals[0].webroot or "WEBROOT",
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


CHECKS = (listen_ssl, rivals, scheme, names, path, files, rules, replaced_answer, lone_upstream, challenge)
