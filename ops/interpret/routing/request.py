"""Requests to route: those that an operator asks about, and those of the doctor's own probes."""

from __future__ import annotations

import re

from ops.facts.base import NotSeen
from ops.facts.nginx import NginxConfig
from ops.facts.probes import HostNames
from ops.facts.target import Target
from ops.interpret.address import join_host, split_address
from ops.interpret.routing.model import FileKind, RequestRoute, RoutedRequest, RouteSurroundings
from ops.interpret.routing.route import route
from ops.interpret.routing.upstream import is_address, split_authority

_URL = re.compile(r"(https?)://(\[[0-9A-Fa-f:.]+\]|[^/?#:\[\]]+)(?::(\d{1,5}))?([/?#].*)?", re.DOTALL)
_USUAL_PORTS = {"http": 80, "https": 443}
# The headers that ops/collect/net sends.
_PROBE_HEADERS = (
    ("User-Agent", "gte-ops"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
)


class RequestError(ValueError):
    """An operator's request is invalid. The message is one line."""


def named_request(
    method: str,
    place: str,
    target: Target | None,
    *,
    headers: tuple[tuple[str, str], ...] = (),
    address: str | None = None,
    client: str | None = None,
    body_length: int | None = None,
) -> RoutedRequest:
    """Return the request for ``place``, a URL or a path of the target's site. ``address``: its destination, ``host``
    or ``host:port``; by default the target's address, else this machine. Raises RequestError."""
    if place.startswith("/"):
        if target is None:
            raise RequestError("no site of this host is known: give the whole URL, http://NAME/PATH")
        place = target.url.rstrip("/") + place
    match = _URL.fullmatch(place)
    if match is None:
        raise RequestError(f"{place!r} is no URL and no path: begin with http://, https:// or /")
    scheme, host, port, rest = match[1], match[2], int(match[3] or _USUAL_PORTS[match[1]]), match[4] or "/"
    if port > 65535:
        raise RequestError(f"{port} is no port: 1 to 65535")
    authority = host if port == _USUAL_PORTS[scheme] else f"{host}:{port}"
    host_header = next((value for name, value in headers if name.lower() == "host"), authority)
    at, at_port = _address(host, port, address, target)
    return RoutedRequest(
        method=method,
        target=rest.partition("#")[0] if rest.startswith("/") else f"/{rest.partition('#')[0]}",
        host=host_header,
        address=at,
        port=at_port,
        scheme=scheme,
        headers=tuple((name, value) for name, value in headers if name.lower() != "host"),
        sni=host if scheme == "https" and not is_address(host.strip("[]")) else None,
        client=client,
        body_length=body_length,
    )


def _address(host: str, port: int, address: str | None, target: Target | None) -> tuple[str, int]:
    if address is not None:
        authority = split_authority(
            join_host(address) if address.count(":") > 1 and "[" not in address else address
        )
        if authority is None or authority.is_unix or not is_address(authority.host):
            raise RequestError(f"{address!r} is no address: an IP address, with :PORT if it is another")
        return authority.host, authority.port or port
    if is_address(host.strip("[]")):
        return host.strip("[]"), port
    for socket in (
        (target.connect_to, target.plain_connect_to) if target and target.domain == host.lower() else ()
    ):
        if socket and not socket.startswith("unix:") and split_address(socket)[1] == port:
            return split_address(socket)
    return "127.0.0.1", port


def probe_request(target: Target, method: str, path: str, *, is_plain: bool = False) -> RoutedRequest:
    """Return the request that the doctor's probe of the public URL sends for ``path``."""
    scheme = "http" if is_plain else target.url.partition(":")[0]
    url = f"{scheme}://{join_host(target.domain)}{path}" if is_plain else target.url.rstrip("/") + path
    dialled = target.plain_connect_to if is_plain else target.connect_to
    host = split_address(dialled)[0] if dialled else None
    return named_request(
        method,
        url,
        target,
        headers=_PROBE_HEADERS if method == "POST" else _PROBE_HEADERS[:2],
        address=dialled,
        client=host,
        body_length=len(target.predict_body.encode()) if method == "POST" else None,
    )


def probe_route(
    config: NginxConfig,
    target: Target,
    host_names: HostNames | NotSeen,
    method: str = "POST",
    path: str | None = None,
    *,
    answer: int | None = None,
    assumed_file: FileKind = FileKind.MISSING,
) -> RequestRoute:
    """Return the route of the doctor's probe of the public URL, by default the prediction's. Every file is assumed to
    be ``assumed_file``: none was inspected, and an API's paths have no files. ``answer``: the service's status."""
    names = host_names.addresses if isinstance(host_names, HostNames) else {}
    around = RouteSurroundings(names=names, assumed_file=assumed_file, answer=answer)
    return route(config, probe_request(target, method, path or target.predict_path), around)
