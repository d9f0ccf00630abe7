"""The part of nginx's configuration that serves the target."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import PurePosixPath

import msgspec

from ops.facts.nginx import NginxConfig
from ops.facts.target import Target
from ops.interpret import nginx as nginx_topology
from ops.interpret.address import dialled
from ops.settings import is_host


class NginxSiteConfig(msgspec.Struct, frozen=True):
    """The part of nginx's configuration that serves the target."""

    server: nginx_topology.Server
    passes: tuple[nginx_topology.ProxyPass, ...]


def find_site(config: NginxConfig, domain: str | None, backend: str | None) -> NginxSiteConfig | None:
    """Return the server block of the service; None if there is none.

    In order: a block that has the domain as a name and proxies; any block that proxies to the backend; a block that
    has the name and does not proxy; any block that proxies. TLS comes before plain HTTP."""
    sites = _sites(config)
    proxying = [s for s in sites if s.passes]
    by_name = [s for s in sites if domain and nginx_topology.names_match(s.server, domain)]
    leading = [s for s in proxying if backend and any(backend in p.addresses for p in s.passes)]
    groups = ([s for s in by_name if s.passes], leading, by_name, proxying)
    return next((group[0] for group in groups if group), None)


def scope_for(config: NginxConfig, target: Target, path: str) -> nginx_topology.Scope | None:
    """Return the location of the service's server block that takes ``path``, or the block itself; None without one."""
    site = find_site(config, target.domain, target.backend)
    return (site.server.location_for(path) or site.server) if site else None


@lru_cache(maxsize=4)
def _sites(config: NginxConfig) -> tuple[NginxSiteConfig, ...]:
    by_tls = sorted(nginx_topology.servers(config), key=lambda s: not any(item.ssl for item in s.listens))
    return tuple(NginxSiteConfig(s, nginx_topology.proxy_passes(config, s)) for s in by_tls)


def proxied_sites(config: NginxConfig) -> tuple[NginxSiteConfig, ...]:
    """Return every server block that proxies, TLS before plain HTTP."""
    return tuple(site for site in _sites(config) if site.passes)


def public_name(server: nginx_topology.Server) -> str | None:
    """Return the first server_name that is a plain host name; None if there is none."""
    return next(
        (
            n
            for n in server.names
            if n not in ("_", "", "localhost")
            and not n.startswith(("~", "."))
            and not set(n) & set("*$")
            and is_host(n)
        ),
        None,
    )


class SiteReading(msgspec.Struct, frozen=True):
    """The facts about the service in nginx's configuration and in ``nginx -V`` (``build``). They are empty if the
    configuration was not read, or if none of its blocks serves the target."""

    config: NginxConfig | None
    build: Mapping[str, str]
    site: NginxSiteConfig | None

    @property
    def server(self) -> nginx_topology.Server | None:
        """The server block of the service."""
        return self.site.server if self.site else None

    @property
    def where(self) -> str:
        """``file:line`` of that block."""
        return self.server.where if self.server else ""

    def upstreams(self) -> tuple[str, ...]:
        """Return every address the block proxies to, in the form to connect to."""
        passes = self.site.passes if self.site else ()
        return tuple(dict.fromkeys(dialled(address) for item in passes for address in item.addresses))

    def file_of(self, directive: str) -> str | None:
        """Return the absolute path of the file a directive names; None if it names no file or contains a variable."""
        value = self.server.value(directive) if self.server else None
        if self.config is None or not value or "$" in value or value.startswith(("data:", "engine:")):
            return None
        return str(PurePosixPath(self.config.file).parent / value)

    def access_log(self) -> str | None:
        """Return the first file the block logs requests to; None if there is none."""
        if self.config is None or self.server is None:
            return None
        return next(iter(nginx_topology.log_paths(self.config, self.server, "access_log")), None)

    def error_logs(self) -> tuple[str, ...]:
        """Return the block's error logs, then all others: some lines go to the default server's log. Without any
        directive, return the compiled-in log."""
        if self.config is None:
            return ()
        scope = self.server or nginx_topology.Scope((nginx_topology.main_block(self.config),))
        everywhere = (
            str(PurePosixPath(self.config.prefix) / directive.args[0])
            for directive in nginx_topology.every(self.config, "error_log")
            if directive.args and nginx_topology.is_file_log(directive.args[0])
        )
        paths = (*nginx_topology.log_paths(self.config, scope, "error_log"), *everywhere)
        compiled = nginx_topology.compiled_path(self.build, "error-log-path", self.config.prefix)
        return tuple(dict.fromkeys(paths)) or ((compiled,) if compiled else ())

    def pidfile(self) -> str | None:
        """Return the pid directive's file; None if there is none."""
        if self.config is None:
            return None
        value = next((d.args[0] for d in self.config.directives if d.name == "pid" and d.args), None)
        return str(PurePosixPath(self.config.prefix) / value) if value else None

    def front(self, port: int, *, ssl: bool) -> nginx_topology.Listen | None:
        """Return the block's listen on the port, else another of the same kind (``ssl``); None if there is none."""
        if self.server is None:
            return None
        candidates = sorted(
            (item for item in self.server.listens if not item.host.startswith("unix:") and item.ssl == ssl),
            key=lambda item: (item.port != port, item.only_ipv6),
        )
        return next(iter(candidates), None)

    def begins_with_proxy_line(self, listen: nginx_topology.Listen) -> bool:
        """Whether a connection there begins with a line of the PROXY protocol: the option on any listen of a socket
        applies to all of them (ngx_http_core_module, listen)."""
        if self.config is None:
            return listen.proxy_protocol
        return any(
            item.proxy_protocol
            for server in nginx_topology.servers(self.config)
            for item in server.listens
            if (item.host, item.port) == (listen.host, listen.port)
        )
