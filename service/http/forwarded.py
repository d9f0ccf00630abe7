"""The address of the client behind a proxy of this deployment."""

import ipaddress

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
        address that it sees at the end; what stands before it is anybody's claim."""
        last = (forwarded_for or "").rpartition(",")[2].strip()
        return last if last and self._trusts(peer) else peer

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
