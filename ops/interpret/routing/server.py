"""Find the server block for a request: by the address that receives it, then by the requested name.

Sources: nginx documentation, 'How nginx processes a request', 'Server names', ngx_http_core_module (listen,
server_name).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping

import msgspec

from ops.facts.nginx import Directive
from ops.interpret.address import is_port
from ops.interpret.nginx import Server
from ops.interpret.routing.model import as_bytes
from ops.interpret.routing.patterns import PatternMatch, search

_ANY_V4 = "0.0.0.0"  # noqa: S104  only compared with listen addresses
_ANY_V6 = "::"


class Socket(msgspec.Struct, frozen=True):
    """One address that a server block listens on. ``host``: an IP address, or ``unix:/path`` with port 0."""

    host: str
    port: int
    directive: Directive | None
    is_default: bool = False
    ssl: bool = False
    proxy_protocol: bool = False
    takes_ipv4: bool = False

    @property
    def where(self) -> str:
        """The ``file:line`` of its listen directive; empty without one."""
        return self.directive.where if self.directive else ""


class Door(msgspec.Struct, frozen=True):
    """One socket with its server blocks, in order, and its default server."""

    socket: Socket
    servers: tuple[Server, ...]
    default: Server
    is_tls: bool
    proxy_protocol: bool


def sockets(server: Server, names: Mapping[str, tuple[str, ...]]) -> Iterator[Socket]:
    """Yield every address that the block listens on, without QUIC; by default port 80 of every IPv4 address."""
    directives = [d for d in server.own("listen") if d.args]
    if not directives:
        yield Socket(_ANY_V4, 80, None)
        return
    ssl_on = any(d.args == ("on",) for d in server.own("ssl"))
    for directive in directives:
        options = directive.args[1:]
        if "quic" in options:
            continue
        for host, port in _addresses(directive.args[0], names):
            yield Socket(
                host,
                port,
                directive,
                is_default="default_server" in options or "default" in options,
                ssl="ssl" in options or ssl_on,
                proxy_protocol="proxy_protocol" in options,
                takes_ipv4=host == _ANY_V6 and "ipv6only=off" in options,
            )


def _addresses(listen: str, names: Mapping[str, tuple[str, ...]]) -> Iterator[tuple[str, int]]:
    if listen.startswith("unix:"):
        yield listen, 0
        return
    host, ports = _split(listen)
    hosts = (host,) if _is_ip(host) else names.get(host, ("127.0.0.1",) if host == "localhost" else ())
    first, _, last = ports.partition("-")
    if not is_port(first) or (last and not is_port(last)):
        return
    for port in range(int(first), min(int(last or first), int(first) + 65535) + 1):
        for address in hosts:
            yield _canonical(address), port


def _split(listen: str) -> tuple[str, str]:
    if listen.startswith("["):
        host, _, port = listen.removeprefix("[").partition("]")
        return host, port.removeprefix(":") or "80"
    if listen.replace("-", "").isdecimal():
        return _ANY_V4, listen
    host, _, port = listen.partition(":")
    return (_ANY_V4 if host == "*" else host), port or "80"


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _canonical(host: str) -> str:
    return str(ipaddress.ip_address(host)) if _is_ip(host) else host


def door(
    servers: Iterable[Server], host: str, port: int, names: Mapping[str, tuple[str, ...]]
) -> Door | None:
    """Return the socket that accepts a connection to ``host:port``, and its server blocks: the most specific address
    wins. None if nothing in the configuration listens there."""
    everyone = list(servers)
    destination = _canonical(host.strip("[]"))
    by_server = [(server, socket) for server in everyone for socket in sockets(server, names)]
    wildcard = _ANY_V6 if ":" in destination else _ANY_V4
    groups = (
        [pair for pair in by_server if pair[1].host == destination],
        [pair for pair in by_server if pair[1].host == wildcard],
        [pair for pair in by_server if pair[1].takes_ipv4 and ":" not in destination],
    )
    for group in groups:
        pairs = [pair for pair in group if pair[1].port == port]
        if pairs:
            marked = next((pair for pair in pairs if pair[1].is_default), pairs[0])
            return Door(
                socket=marked[1],
                servers=tuple(server for server, _ in pairs),
                default=marked[0],
                is_tls=any(socket.ssl for _, socket in pairs),
                proxy_protocol=any(socket.proxy_protocol for _, socket in pairs),
            )
    return None


class Choice(msgspec.Struct, frozen=True):
    """The server block for a name. ``written``: the server_name that matched, None for the default server;
    ``captures``: of a regular expression; ``ignored``: later blocks with the same name, which nginx ignores."""

    server: Server
    written: str | None = None
    captures: PatternMatch | None = None
    ignored: tuple[Server, ...] = ()


class _Names:
    """The names of one socket as nginx registers them: nginx ignores the later of two that conflict, and
    ``.example.com`` conflicts with ``example.com`` and with ``*.example.com`` (ngx_hash_add_key)."""

    def __init__(self, servers: Iterable[Server]) -> None:
        self._claims: dict[str, tuple[Server, str]] = {}
        self._taken: dict[str, Server] = {}
        self.patterns: list[tuple[str, Server]] = []
        self.ignored: dict[str, list[Server]] = {}
        for server in servers:
            for name in server.names or ("",):
                self._add(as_bytes(name), server)

    def _add(self, name: str, server: Server) -> None:
        if name.startswith("~"):
            self.patterns.append((name, server))
            return
        lower = name.lower()
        rest = lower.lstrip("*").removeprefix(".") if lower.startswith(("*.", ".")) else lower
        keys = {f"*.{rest}"} if lower.startswith("*.") else {rest, f"*.{rest}"} if rest != lower else {lower}
        holder = next((self._taken[key] for key in keys if key in self._taken), None)
        if holder is not None:
            if holder != server:
                for key in keys:
                    self.ignored.setdefault(key, []).append(server)
            if rest in self._taken or len(keys) == 1:
                return
            self._taken[rest] = server
            return
        for key in keys:
            self._taken[key] = server
            self._claims[key] = (server, name)

    def find(self, host: str) -> tuple[str, Server, str] | None:
        """Return the registered name that covers ``host``, its block, and the name as configured."""
        for key in _candidates(host):
            if key in self._claims:
                return key, *self._claims[key]
        return None


def choose(behind: Door, host: str) -> Choice:
    """Return the block for the name ``host`` (lower case, no port): exact, longest leading wildcard, longest trailing
    wildcard, first regular expression, else the default server. Raises UndeterminedError."""
    host = as_bytes(host)
    names = _Names(behind.servers)
    claim = names.find(host)
    if claim is not None:
        key, server, name = claim
        return Choice(server, name, None, tuple(names.ignored.get(key, ())))
    for name, server in names.patterns if host else ():
        captures = search(name[1:], host, ignore_case=True, where=server.where)
        if captures is not None:
            return Choice(server, name, captures)
    return Choice(behind.default)


def _candidates(host: str) -> Iterator[str]:
    """Yield the forms of server_name that cover ``host``, by falling precedence."""
    yield host
    labels = host.split(".")
    for start in range(1, len(labels)):
        yield f"*.{'.'.join(labels[start:])}"
    for end in range(len(labels) - 1, 0, -1):
        yield ".".join(labels[:end]) + ".*"


def bare_host(header: str) -> tuple[str, bool]:
    """Return the name in a Host header in lower case, without port and last dot, and whether nginx accepts it
    (ngx_http_validate_host)."""
    if not header or any(ch <= " " or ch in "/\\\x7f" for ch in header):
        return "", False
    if header.startswith("["):
        inside, closing, _ = header.partition("]")
        return (inside + closing).lower(), bool(closing)
    host = header.partition(":")[0]
    if ".." in host:
        return "", False
    return host.removesuffix(".").lower(), True
