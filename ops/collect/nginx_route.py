"""The route of a request through this host's nginx, from its configuration, resolved names and files."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec

from ops.collect.net.host_names import host_names
from ops.collect.services.nginx_files import look_up
from ops.collect.surroundings import look_around
from ops.facts.base import NotSeen
from ops.facts.bundle import read_bundle
from ops.facts.nginx import NginxConfig
from ops.facts.probes import HostNames
from ops.facts.target import Target
from ops.interpret.nginx import proxied_names
from ops.interpret.routing.model import FileKind, RequestRoute, RoutedRequest, RouteSurroundings
from ops.interpret.routing.route import route
from ops.settings import Settings

# Each round checks the files that the previous one needed: try_files, index and error_page lead to more.
MAX_ROUNDS = 30


class RoutingFacts(msgspec.Struct, frozen=True):
    """The facts that determine a route. ``sees_files``: whether the files are on this machine."""

    config: NginxConfig | NotSeen
    target: Target | None
    names: dict[str, tuple[str, ...]]
    hostname: str | None
    sees_files: bool


def routing_facts(settings: Settings, budget: float) -> RoutingFacts:
    """The facts of this host. ``budget``: seconds."""
    around = look_around(settings, time.monotonic() + budget)
    names = host_names(proxied_names(around.config)) if isinstance(around.config, NginxConfig) else {}
    hostname = None if isinstance(around.host, NotSeen) else around.host.hostname
    return RoutingFacts(around.config, around.target, names, hostname, sees_files=True)


def bundled_facts(path: Path) -> RoutingFacts:
    """The facts of the host that a bundle was made on. Raises BundleError."""
    snapshot = read_bundle(path).snapshot
    return RoutingFacts(
        snapshot.nginx_config,
        None if isinstance(snapshot.target, NotSeen) else snapshot.target,
        snapshot.host_names.addresses if isinstance(snapshot.host_names, HostNames) else {},
        None if isinstance(snapshot.host, NotSeen) else snapshot.host.hostname,
        sees_files=False,
    )


def compute_route(config: NginxConfig, request: RoutedRequest, facts: RoutingFacts) -> RequestRoute:
    """The route of ``request``; the files that decide it are checked if they are on this machine."""
    files: dict[str, FileKind] = {}
    around = RouteSurroundings(names=facts.names, files=files, hostname=facts.hostname)
    computed = route(config, request, around)
    for _ in range(MAX_ROUNDS if facts.sees_files else 0):
        if not computed.asked:
            break
        files |= look_up(computed.asked)
        computed = route(config, request, around)
    return computed
