"""The destinations of requests: upstream blocks, host names, addresses.

Sources: nginx documentation, ngx_http_upstream_module (server), ngx_http_proxy_module (proxy_pass),
ngx_http_core_module (resolver). nginx resolves the names in its configuration once, at its start, by the system's
resolver, and uses every address, IPv4 and IPv6.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping

import msgspec

from ops.facts.nginx import Directive
from ops.interpret.address import is_port, join_address
from ops.interpret.routing.model import UpstreamServer
from ops.text.language import Text

DEFAULT_PORTS = {"https": 443, "http": 80, "grpc": 80, "grpcs": 443}


class Authority(msgspec.Struct, frozen=True):
    """The host and the port of a URL; ``port`` is None if the URL has none."""

    host: str
    port: int | None
    is_unix: bool = False


class Resolved(msgspec.Struct, frozen=True):
    """The servers of an authority. ``upstream``: the block of that name; ``problem``: why there are no servers."""

    servers: tuple[UpstreamServer, ...]
    upstream: Directive | None = None
    problem: Text | None = None
    at: str = "start"


def split_authority(text: str) -> Authority | None:
    """Parse ``host:port``, ``[v6]:port`` or ``unix:/path``; return None for anything else."""
    if text.startswith("unix:"):
        return Authority(text.rstrip(":"), None, is_unix=True)
    if text.startswith("["):
        host, closing, port = text.removeprefix("[").partition("]")
        port = port.removeprefix(":")
    else:
        host, closing, port = text.partition(":")
        closing = closing or "-"
    if not host or not closing or (port and not is_port(port)):
        return None
    return Authority(host, int(port) if port else None)


def find_upstream(http: Directive, authority: Authority) -> Directive | None:
    """Return the upstream block of that name; None if there is none."""
    if authority.is_unix or authority.port is not None:
        return None
    return next(
        (
            d
            for d in http.block or ()
            if d.name == "upstream"
            and d.block is not None
            and d.args
            and d.args[0].lower() == authority.host.lower()
        ),
        None,
    )


def resolve(
    http: Directive,
    authority: Authority,
    scheme: str,
    names: Mapping[str, tuple[str, ...]],
    where: str,
) -> Resolved:
    """Return every server of ``authority``, as nginx resolved it at its start."""
    upstream = find_upstream(http, authority)
    if upstream is None:
        servers = tuple(_addressed(authority, DEFAULT_PORTS.get(scheme, 80), names, where, ()))
        return Resolved(servers, problem=None if servers else _unresolved(authority.host))
    members: list[UpstreamServer] = []
    for directive in upstream.block or ():
        if directive.name == "server" and directive.args:
            member = split_authority(directive.args[0])
            if member is not None:
                members += _addressed(member, 80, names, directive.where, directive.args[1:])
    return Resolved(tuple(members), upstream)


def _unresolved(host: str) -> Text:
    return Text(en=f"what {host} resolves to was not seen", zh=f"没有看到 {host} 解析出的地址")


def _addressed(
    authority: Authority,
    default_port: int,
    names: Mapping[str, tuple[str, ...]],
    where: str,
    parameters: tuple[str, ...],
) -> Iterator[UpstreamServer]:
    port = default_port if authority.port is None else authority.port
    if authority.is_unix:
        addresses = [authority.host]
    elif is_address(authority.host):
        addresses = [join_address(authority.host, port)]
    else:
        addresses = [join_address(ip, port) for ip in names.get(authority.host.lower(), ())]
    fails = next((p.removeprefix("max_fails=") for p in parameters if p.startswith("max_fails=")), "1")
    for address in addresses:
        yield UpstreamServer(
            address=address,
            where=where,
            name=authority.host,
            parameters=parameters,
            is_down="down" in parameters,
            is_backup="backup" in parameters,
            max_fails=int(fails) if is_port(fails) else 1,
        )


def is_address(host: str) -> bool:
    """Whether this is an IP address rather than a name."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
