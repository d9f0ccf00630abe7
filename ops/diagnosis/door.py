"""Recognize nginx's access control: if it refuses the doctor, the service is judged by its own answers.

Access control is no fault. A refusal counts only if a directive in nginx's configuration gives that status, and the
service itself does not answer with the same status.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

import msgspec

from ops.diagnosis.checks.log_reading import nginx_entries
from ops.facts.base import NotSeen
from ops.facts.logs import Logs
from ops.facts.nginx import Directive, NginxConfig
from ops.facts.probes import Backend, Exchange
from ops.facts.snapshot import Snapshot
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import is_loopback, split_address
from ops.interpret.probe_lines import of_others
from ops.interpret.site import find_site
from ops.text.sanitize import safe_line

# ngx_http_ssl_module: browsers get 400; 495 and 496 are nginx's own codes for it.
_CERTIFICATE_STATUSES = (400, 403, 495, 496)


def from_behind(snapshot: Snapshot) -> Snapshot:
    """Return ``snapshot`` with `NotSeen` for each answer that only refuses the doctor; the reason names the requirement
    and its place in the configuration."""
    front, target, config = snapshot.front, snapshot.target, snapshot.nginx_config
    if (
        isinstance(front, NotSeen)
        or isinstance(target, NotSeen)
        or isinstance(config, NotSeen)
        or front.connection.failure is not None
    ):
        return snapshot
    paths = {"predict": target.predict_path, "health": target.health_path, "plain": target.health_path}
    hidden = {
        name: NotSeen(
            reason=safe_line(f"the front door wants {wants}: the service is judged from behind", 400)
        )
        for name, path in paths.items()
        if isinstance(answer := getattr(front, name), Exchange)
        and (wants := _demand(snapshot, config, target, answer, path))
    }
    if not hidden:
        return snapshot
    return msgspec.structs.replace(snapshot, front=msgspec.structs.replace(front, **hidden))


def _demand(
    snapshot: Snapshot, config: NginxConfig, target: Target, answer: Exchange, path: str
) -> str | None:
    """The front door's requirement for this request, with its place; None if no directive gives this answer."""
    if answer.status is None or answer.status < 400 or _is_the_service_s(answer, snapshot.backend):
        return None
    if (scope := _scope(config, target, answer.address, path)) is None:
        return None
    return next(_demands(scope, answer.status, _client(answer.address), snapshot), None)


def _scope(config: NginxConfig, target: Target, address: str, path: str) -> nginx_topology.Scope | None:
    host, port = split_address(address)
    server = nginx_topology.chosen_server(nginx_topology.servers(config), host, port, target.domain)
    if server is None:
        site = find_site(config, target.domain, target.backend)
        server = site.server if site else None
    return (server.location_for(path) or server) if server else None


def _is_the_service_s(answer: Exchange, backend: Backend | NotSeen) -> bool:
    """Whether the service itself answers with this status."""
    if isinstance(backend, NotSeen):
        return False
    exchange = backend.predict if answer.method == "POST" else backend.health
    return isinstance(exchange, Exchange) and exchange.status == answer.status


def _client(address: str) -> str:
    """The doctor's address as nginx sees it if the doctor dials ``address``."""
    host = split_address(address)[0]
    if is_loopback(host):
        return "::1" if ":" in host else "127.0.0.1"
    return host


def _demands(scope: nginx_topology.Scope, status: int, client: str, snapshot: Snapshot) -> Iterator[str]:
    verifies = scope.effective("ssl_verify_client")
    wants_certificate = bool(verifies) and verifies[-1].args[:1] == ("on",)
    if status in _CERTIFICATE_STATUSES and wants_certificate:
        yield f"a client certificate ({_place(verifies[-1])}; tls.client_certificate shows one)"
    if status in _CERTIFICATE_STATUSES and (condition := _condition(scope, "$ssl_client_")):
        yield f"a client certificate ({_place(condition)}; tls.client_certificate shows one)"
    for directive in scope.effective("auth_basic") if status == 401 else ():
        if directive.args[:1] != ("off",):
            yield f"a user name and a password ({_place(directive)})"
    for directive in scope.effective("auth_request") if status in (401, 403) else ():
        if directive.args[:1] != ("off",):
            yield f"what {' '.join(directive.args)} lets in ({_place(directive)})"
    if status == 403 and (denied := _denied(scope, client)) is not None:
        yield f"another address than {client} ({_place(denied)})"
    if status == 503 and (maintenance := _closed(scope)) is not None:
        yield f"clients to wait: a maintenance page is on ({_place(maintenance)})"
    for name in ("limit_req", "limit_conn"):
        limits = scope.effective(name)
        limited = nginx_topology.limit_status(scope, name)
        if limits and str(status) == limited and _are_our_own(snapshot.logs, snapshot.taken_at):
            yield f"fewer requests ({_place(limits[0])})"


def _place(directive: Directive) -> str:
    return f"{directive.written}; at {directive.where}"


def _condition(scope: nginx_topology.Scope, variable: str) -> Directive | None:
    """An `if` of the scope whose condition has ``variable``."""
    for block in scope.blocks:
        for inner in block.block or ():
            if inner.name == "if" and any(variable in word for word in inner.args):
                return inner
    return None


def _closed(scope: nginx_topology.Scope) -> Directive | None:
    """The scope's `return 503`, inside or outside of an `if`."""
    for block in scope.blocks:
        if block.name not in ("location", "server"):
            return None
        for inner in block.block or ():
            for directive in (inner, *(inner.block or ())) if inner.name == "if" else (inner,):
                if directive.name == "return" and directive.args[:1] == ("503",):
                    return directive
    return None


def _denied(scope: nginx_topology.Scope, client: str) -> Directive | None:
    """The rule that denies ``client`` but not everybody (ngx_http_access_module: the first match counts)."""
    for block in scope.blocks:
        rules = [d for d in block.block or () if d.name in ("allow", "deny") and d.args]
        if rules:
            match = next((rule for rule in rules if _fits(rule.args[0], client)), None)
            others = any(rule.name == "allow" for rule in rules) or (match and match.args[0] != "all")
            return match if match is not None and match.name == "deny" and others else None
    return None


def _fits(rule: str, client: str) -> bool:
    if rule == "all":
        return True
    try:
        return ipaddress.ip_address(client) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def _are_our_own(logs: Logs | NotSeen, taken_at: float) -> bool:
    """Whether nginx limited only the doctor, as far as the log goes back."""
    if isinstance(logs, NotSeen):
        return False
    entries = [entry for _, entry in nginx_entries(logs, "limiting")]
    return bool(entries) and not of_others(entries, logs, taken_at)
