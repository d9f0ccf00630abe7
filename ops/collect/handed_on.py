"""The paths that nginx requests from the service, if they differ from those that users request.

A location may remove a prefix (proxy_pass with a URI, rewrite); the service then has its paths without it."""

from __future__ import annotations

import msgspec

from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig
from ops.facts.probes import Backend, Exchange
from ops.facts.target import Target
from ops.interpret.routing.model import RequestRoute
from ops.interpret.routing.request import probe_route

_NO_SUCH_PATH = (404, 405)
_NO_NAMES = NotSeen(reason="names were not asked for")


def lacks_a_path(backend: object) -> bool:
    """Whether the service answered that it does not have a requested path."""
    return isinstance(backend, Backend) and any(
        isinstance(answer, Exchange) and answer.status in _NO_SUCH_PATH
        for answer in (backend.predict, backend.health)
    )


def as_handed_on(target: Target, config: NginxConfig) -> Target | None:
    """The target with the paths that nginx requests from the service; None if users request the same ones."""
    paths = {
        name: _handed_on(
            probe_route(config, target, _NO_NAMES, method, getattr(target, name)), getattr(target, name)
        )
        for name, method in (("predict_path", "POST"), ("health_path", "GET"), ("ready_path", "GET"))
    }
    inner = msgspec.structs.replace(target, **paths)
    return None if inner == target else inner


def without_prefix(target: Target, config: NginxConfig) -> Target | None:
    """The target with its paths without the prefix of the prediction's location; None if that has no prefix, or nginx
    removes it already."""
    route = probe_route(config, target, _NO_NAMES)
    prefix = route.location.rpartition(" ")[2].rstrip("/")
    if (
        not prefix.startswith("/")
        or "~ " in route.location.replace("~*", "~")
        or route.outcome.passed is None
    ):
        return None
    paths = {
        name: path.removeprefix(prefix)
        for name in ("predict_path", "health_path", "ready_path")
        if (path := getattr(target, name)).startswith(f"{prefix}/")
    }
    return msgspec.structs.replace(target, **paths) if "predict_path" in paths else None


def _handed_on(route: RequestRoute, path: str) -> str:
    request = route.outcome.passed
    return request.uri.partition("?")[0] if request is not None and request.uri.startswith("/") else path
