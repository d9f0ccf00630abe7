"""Whose request a line of an access log is, if server blocks of several sites write to it. Pure.

Sources: nginx documentation, ngx_http_core_module ($host, $server_name, $server_port), ngx_http_upstream_module
($upstream_addr)."""

from __future__ import annotations

from collections.abc import Iterable

from ops.facts.nginx import Directive, NginxConfig
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import dialled

_NONE = (b"", b"-")
_PASSES = ("proxy_pass", "fastcgi_pass", "uwsgi_pass", "scgi_pass", "grpc_pass")


class SharedLog:
    """The site's server block and the others that log to the same file."""

    def __init__(
        self,
        config: NginxConfig,
        ours: nginx_topology.Server,
        others: Iterable[nginx_topology.Server],
    ) -> None:
        self._ours, self._others = ours, tuple(others)
        self._servers = nginx_topology.servers(config)
        mine = _addresses(config, ours)
        theirs = frozenset(address for other in self._others for address in _addresses(config, other))
        self._addresses, self._their_addresses = mine - theirs, theirs - mine
        ports = {listen.port for listen in ours.listens}
        their_ports = {listen.port for other in self._others for listen in other.listens}
        self._ports, self._their_ports = ports - their_ports, their_ports - ports
        self._by_name: dict[bytes, bool] = {}
        self._by_path: dict[bytes, bool | None] = {}

    def is_ours(
        self, *, host: bytes, port: bytes, upstream: bytes, path: bytes, status: bytes
    ) -> bool | None:
        """Whether a request was the site's, by what its line says; None if the line does not tell.

        ``host``: $host, $server_name and the like; ``upstream``: $upstream_addr."""
        if status == b"421":
            return True  # nginx's own answer about a connection, whatever name was asked for
        if host not in _NONE:
            if host not in self._by_name:
                self._by_name[host] = self._is_our_name(host.decode("utf-8", "replace").lower())
            return self._by_name[host]
        tried = frozenset(upstream.replace(b" : ", b", ").decode("utf-8", "replace").split(", "))
        if tried & self._addresses:
            return True
        if tried & self._their_addresses:
            return False
        if port.isdigit() and int(port) in self._ports | self._their_ports:
            return int(port) in self._ports
        if path not in self._by_path:
            self._by_path[path] = self._is_our_path(path.partition(b"?")[0].decode("utf-8", "replace"))
        return self._by_path[path]

    def _is_our_name(self, written: str) -> bool:
        """By $server_name, the first name of the block that was chosen, or by the name that the client sent."""
        if written in (name.lower() for name in self._ours.names[:1]):
            return True
        if any(written in (name.lower() for name in other.names[:1]) for other in self._others):
            return False
        name, colon, port = written.rpartition(":")
        if not colon or not port.isdigit():
            name = written
        if nginx_topology.names_match(self._ours, name):
            return True
        return any(
            (chosen := nginx_topology.chosen_server(self._servers, listen.host, listen.port, name))
            is not None
            and chosen.blocks[0] is self._ours.blocks[0]
            for listen in self._ours.listens
        )

    def _is_our_path(self, path: str) -> bool | None:
        """True if the site alone hands the path to an application; any may answer another one."""
        if not path.startswith("/") or not _is_passed(self._ours, path):
            return None
        return None if any(_is_passed(other, path) for other in self._others) else True


def _addresses(config: NginxConfig, server: nginx_topology.Server) -> frozenset[str]:
    return frozenset(
        word
        for proxied in nginx_topology.proxy_passes(config, server)
        for address in proxied.addresses
        # nginx logs the upstream's name if none of its servers is alive.
        for word in (address, dialled(address), *(proxied.upstream.args[:1] if proxied.upstream else ()))
    )


def _is_passed(server: nginx_topology.Server, path: str) -> bool:
    location = server.location_for(path)
    if location is None:
        return False
    own = location.blocks[0].block or ()
    return any(d.name in _PASSES or (d.name in ("if", "limit_except") and passes_on(d)) for d in own)


def passes_on(directive: Directive) -> bool:
    """Whether a block, or one in it, hands requests to an application."""
    return directive.name in _PASSES or any(passes_on(inner) for inner in directive.block or ())
