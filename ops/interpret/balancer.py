"""Whether this host is a balancer: nginx shares the requests among other hosts' services, and none runs here."""

from __future__ import annotations

from ipaddress import ip_address

from ops.facts.base import NotSeen
from ops.facts.host import Host
from ops.facts.target import Target
from ops.interpret.address import split_address


def is_balancer(target: Target, host: Host | NotSeen) -> bool:
    """Whether nginx shares requests among several servers, the one that is examined is another host's, and no gunicorn
    runs here: none is missing then. False where that is not known."""
    if (
        isinstance(host, NotSeen)
        or target.gunicorn_master is not None
        or len(target.upstreams) < 2
        or target.backend.startswith("unix:")
    ):
        return False
    try:
        address = ip_address(split_address(target.backend)[0])
    except ValueError:
        return False
    return not (address.is_loopback or address.is_unspecified or str(address) in host.addresses)
