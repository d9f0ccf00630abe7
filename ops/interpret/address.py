"""Addresses of sockets as text: ``ip:port``, ``[ip6]:port`` or ``unix:/path``."""

from __future__ import annotations

import ipaddress


def join_address(host: str, port: int) -> str:
    """``ip:port`` with the brackets IPv6 needs."""
    return f"{join_host(host)}:{port}"


def join_host(host: str) -> str:
    """The host as it stands in a URL: IPv6 in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def split_address(address: str) -> tuple[str, int]:
    """Host and port of ``ip:port`` or ``[v6]:port``; port 0 where none is written."""
    host, _, port = address.rpartition(":")
    if not is_port(port):
        return address.strip("[]"), 0
    return host.strip("[]"), int(port)


def is_port(written: str) -> bool:
    """Whether this is a port number; ``str.isdigit`` would take a superscript for one."""
    return written.isdecimal() and len(written) <= 5


def is_wildcard(host: str) -> bool:
    """Whether a bind host means every address."""
    return host in ("0.0.0.0", "::", "*", "")  # noqa: S104


def is_loopback(host: str) -> bool:
    """Whether a bind host is reachable from this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dialled(address: str) -> str:
    """The address to connect to for a listening one: loopback where it listens everywhere."""
    if address.startswith("unix:"):
        return address
    host, port = split_address(address)
    return f"127.0.0.1:{port}" if is_wildcard(host) or host == "localhost" else address


def same_address(listening: str, wanted: str) -> bool:
    """Whether a socket listening at one address takes connections to the other."""
    if listening == wanted or dialled(listening) == dialled(wanted):
        return True
    if listening.startswith("unix:") or wanted.startswith("unix:"):
        return False
    (host, port), (_, wanted_port) = split_address(listening), split_address(wanted)
    return port == wanted_port and is_wildcard(host)
