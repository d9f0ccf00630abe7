"""The address of the client behind a proxy of this deployment."""

import ipaddress
import re

# Some proxies add the port of the connection that they see.
_WITH_PORT = re.compile(r"(?:\[([^\]]+)\]|([0-9.]+))(?::[0-9]{1,5})?")
_MOST_KNOWN = 4096  # peers whose answer is kept


class Proxies:
    """The proxies whose ``X-Forwarded-For`` is believed."""

    def __init__(self, allowed: str) -> None:
        """``allowed``: addresses or networks, separated by commas, or ``*``, as gunicorn's ``forwarded_allow_ips``."""
        parts = {part.strip() for part in allowed.split(",")}
        self._all = "*" in parts
        self._known: dict[str, bool] = {}
        self._networks = []
        for part in parts:
            try:
                self._networks.append(ipaddress.ip_network(part, strict=False))
            except ValueError:
                continue

    def client_of(self, peer: str, forwarded_for: str | None) -> str:
        """Who asks, given the other end of the connection (empty: a Unix socket) and the header. A proxy adds the
        address that it sees at the end, perhaps with a port; what stands before it is anybody's claim. What is no IP
        address (``unknown``) says nothing: the peer asks."""
        last = (forwarded_for or "").rpartition(",")[2].strip()
        address = _address(last) if last and self._trusts(peer) else None
        return peer if address is None else address

    def _trusts(self, peer: str) -> bool:
        if peer not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[peer] = self._is_in_networks(peer)
        return self._known[peer]

    def _is_in_networks(self, peer: str) -> bool:
        if self._all or not peer:
            return True
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self._networks)


def _address(element: str) -> str | None:
    """The IP address in an element of ``X-Forwarded-For``, without its port and its zone; None if there is none."""
    with_port = _WITH_PORT.fullmatch(element)
    text = with_port[1] or with_port[2] if with_port else element
    try:
        return str(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None
