"""Socket addresses as text: ``ip:port``, ``[ip6]:port`` or ``unix:/path``."""

from __future__ import annotations

import ipaddress

from ops.errors import UsageError
from ops.text.language import Text


def join_address(host: str, port: int) -> str:
    """Return ``ip:port``, with an IPv6 address in brackets."""
    return f"{join_host(host)}:{port}"


def join_host(host: str) -> str:
    """Return the host in the form of a URL: IPv6 in brackets (RFC 3986, 3.2.2)."""
    return f"[{host}]" if ":" in host else host


def split_address(address: str) -> tuple[str, int]:
    """Split ``ip:port`` or ``[v6]:port`` into host and port; port 0 if there is none."""
    host, _, port = address.rpartition(":")
    if not is_port(port):
        return address.strip("[]"), 0
    return host.strip("[]"), int(port)


def is_port(text: str) -> bool:
    """Whether this may be a port number; ``str.isdigit`` would accept superscripts."""
    return text.isdecimal() and len(text) <= 5


def is_wildcard(host: str) -> bool:
    """Whether a bind host means every address."""
    return host in ("0.0.0.0", "::", "*", "")  # noqa: S104


def is_loopback(host: str) -> bool:
    """Whether a bind host is reachable only from this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def dialled(address: str) -> str:
    """Return the address to connect to for a listening one: loopback if that is a wildcard."""
    if address.startswith("unix:"):
        return address
    host, port = split_address(address)
    return f"127.0.0.1:{port}" if is_wildcard(host) or host == "localhost" else address


def same_address(listening: str, address: str) -> bool:
    """Whether a socket that listens at one address accepts connections to the other."""
    if listening == address or dialled(listening) == dialled(address):
        return True
    if listening.startswith("unix:") or address.startswith("unix:"):
        return False
    (host, port), (_, address_port) = split_address(listening), split_address(address)
    return port == address_port and is_wildcard(host)


def loopback_address(words: str, option: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT`` on loopback, the value of ``option``. Raises UsageError for any other address."""
    host, _, port = words.rpartition(":")
    host = host.strip("[]")
    try:
        is_loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        is_loopback = False
    if not is_loopback or not port.isdecimal() or not 0 < int(port) < 65536:
        raise UsageError(
            Text(
                en=f"{option} takes an address of loopback and a port, like 127.0.0.1:8765",
                zh=f"{option} 需要回环地址和端口，例如 127.0.0.1:8765",
            )
        )
    return host, int(port)
